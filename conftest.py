"""nbval compares every output but pictures; here pictures are compared too."""

import base64
import io
import os

import matplotlib.image
import numpy as np
from nbval.plugin import IPyNbCell

# The kernels inherit this: a progress bar's speed is never the same twice.
os.environ["TQDM_DISABLE"] = "1"

# Root mean square difference of two pictures' pixels, on a scale of 0 to 255. Measured: 0 between runs on one
# machine; a swapped pair of rows in a 6 × 6 heatmap is beyond 20.
PICTURE_TOLERANCE = 8.0


def pictures(outputs) -> list[np.ndarray]:
    """The PNGs of a cell's outputs as (height, width, channels) in 0 … 255."""
    encoded = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return [255 * matplotlib.image.imread(io.BytesIO(base64.b64decode(png)), format="png")[..., :3] for png in encoded]


def picture_difference(new: list[np.ndarray], stored: list[np.ndarray]) -> str:
    """What differs, in words; empty when nothing does."""
    if len(new) != len(stored):
        return f"the cell drew {len(new)} pictures, {len(stored)} are stored"
    for i, (ours, theirs) in enumerate(zip(new, stored)):
        if ours.shape != theirs.shape:
            sizes = [f"{picture.shape[1]} × {picture.shape[0]} pixels" for picture in (ours, theirs)]
            return f"picture {i} is {sizes[0]}, the stored one {sizes[1]}"
        difference = np.sqrt(np.mean((ours - theirs) ** 2))
        if difference > PICTURE_TOLERANCE:
            return f"picture {i} differs from the stored one by {difference:.1f} (at most {PICTURE_TOLERANCE})"
    return ""


def compare_outputs_and_pictures(cell, test, ref, skip_compare=None) -> bool:
    if not compare_outputs(cell, test, ref, skip_compare):
        return False
    difference = picture_difference(pictures(test), pictures(ref))
    if difference:
        cell.comparison_traceback.append(difference)
    return not difference


compare_outputs = IPyNbCell.compare_outputs
IPyNbCell.compare_outputs = compare_outputs_and_pictures

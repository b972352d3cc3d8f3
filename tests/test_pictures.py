"""The comparison of pictures in the root's conftest.py, and the freeze of tests/refresh_notebooks.py."""

import base64
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from conftest import PICTURE_TOLERANCE, picture_difference, pictures
from tests.refresh_notebooks import freeze, refresh
from transformer_lab import plots
from transformer_lab.export import WIDGET_VIEW

ROOT = Path(__file__).parents[1]
TOKENS = "the dog chased the red ball".split()
PATTERN = torch.rand(6, 6, generator=torch.Generator().manual_seed(0)).softmax(-1)
SWAPPED = PATTERN[[0, 2, 1, 3, 4, 5]]


def png(figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return base64.b64encode(file.getvalue()).decode()


def output(figure) -> dict:
    return new_output("display_data", {"image/png": png(figure), "text/plain": repr(figure)})


def heatmap(pattern: torch.Tensor, **options) -> dict:
    return output(plots.heatmap(pattern, rows=TOKENS, columns=TOKENS, **options))


def curve(y: list[float]) -> dict:
    return output(plots.curves({"loss": (range(len(y)), y)}, "step", "loss"))


# ---------------------------------------------------------------- the comparison


def test_pictures_are_found_among_the_outputs():
    text = new_output("stream", text="words")
    (picture,) = pictures([text, heatmap(PATTERN), new_output("display_data", {"text/plain": "more words"})])
    assert picture.ndim == 3 and picture.shape[2] == 3
    assert 0 <= picture.min() < 1 and picture.max() == 255


def test_the_same_picture_passes():
    assert picture_difference(pictures([heatmap(PATTERN)]), pictures([heatmap(PATTERN.clone())])) == ""
    assert picture_difference([], []) == ""


@pytest.mark.parametrize(
    "new, stored",
    [
        pytest.param(heatmap(PATTERN), heatmap(SWAPPED), id="two rows swapped"),
        pytest.param(heatmap(PATTERN), heatmap(PATTERN.T), id="queries and keys swapped"),
        pytest.param(heatmap(PATTERN, numbers=False), heatmap(SWAPPED, numbers=False), id="swapped, no numbers"),
        pytest.param(heatmap(PATTERN), heatmap(PATTERN, cmap="gray"), id="other colours"),
        pytest.param(curve([3, 2, 1]), curve([3, 1, 1]), id="another curve"),
    ],
)
def test_another_picture_is_far_beyond_the_tolerance(new, stored):
    (ours,), (theirs,) = pictures([new]), pictures([stored])
    assert np.sqrt(np.mean((ours - theirs) ** 2)) > 1.5 * PICTURE_TOLERANCE
    assert "picture 0 differs from the stored one by" in picture_difference([ours], [theirs])


def test_a_difference_within_the_tolerance_passes():
    (picture,) = pictures([heatmap(PATTERN)])
    assert picture_difference([picture], [picture + PICTURE_TOLERANCE - 0.1]) == ""
    assert picture_difference([picture], [picture + PICTURE_TOLERANCE + 0.1])


def test_another_size_and_another_number_of_pictures_are_told():
    small, large = pictures([curve([3, 2, 1]), heatmap(PATTERN)])
    assert "picture 1 is" in picture_difference([small, small], [small, large])
    assert picture_difference([], [small]) == "the cell drew 0 pictures, 1 are stored"
    assert picture_difference([small, large], [small]) == "the cell drew 2 pictures, 1 are stored"


# ---------------------------------------------------------------- the freeze


def test_freezing_drops_live_views_and_what_changes_from_run_to_run():
    live = {WIDGET_VIEW: {"model_id": "abc"}, "image/png": "iVBO", "text/plain": "Sliders: a = 1"}
    cell = new_code_cell(
        "sliders",
        execution_count=1,
        outputs=[new_output("execute_result", live, execution_count=1, metadata={"image/png": {"width": 3}})],
        metadata={"tags": ["nbval-skip"], "execution": {"iopub.status.busy": "2020"}, "collapsed": True},
    )
    notebook = new_notebook(
        cells=[new_markdown_cell("words", metadata={"editable": False}), cell],
        metadata={"widgets": {"abc": {}}, "kernelspec": {"name": "mine", "display_name": "mine"}},
    )
    freeze(notebook)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert [dict(c.metadata) for c in notebook.cells] == [{}, {"tags": ["nbval-skip"]}]
    assert cell.outputs[0].data == {"image/png": "iVBO", "text/plain": "Sliders: a = 1"}
    assert cell.outputs[0].metadata == {}


# ---------------------------------------------------------------- from end to end


DRAW = """
import matplotlib.pyplot as plt
figure, ax = plt.subplots()
ax.imshow([[0, 1], [2, 3]])
plt.close(figure)
figure
"""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory) -> dict[int, str]:
    """What pytest says of three cells that draw the same, stored as drawn, with another picture and with none."""
    folder = tmp_path_factory.mktemp("notebooks")
    shutil.copy(ROOT / "conftest.py", folder)
    path = folder / "drawing.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(DRAW.strip()) for _ in range(3)]), path)
    refresh(path)
    notebook = nbformat.read(path, as_version=4)
    _, wrong, missing = (cell.outputs[0].data for cell in notebook.cells)
    (picture,) = pictures(notebook.cells[1].outputs)
    upside_down = io.BytesIO()
    matplotlib.image.imsave(upside_down, picture[::-1] / 255)
    wrong["image/png"] = base64.b64encode(upside_down.getvalue()).decode()
    del missing["image/png"]
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-rA", "--color=no", "."]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout
    return {int(cell): word for word, cell in re.findall(r"^(PASSED|FAILED) \S+::Cell (\d)", said, flags=re.MULTILINE)}


@pytest.mark.parametrize(
    "cell, verdict", [(0, "PASSED"), (1, "FAILED"), (2, "FAILED")], ids=["right", "wrong", "missing"]
)
def test_nbval_compares_pictures(verdicts, cell, verdict):
    assert verdicts[cell] == verdict

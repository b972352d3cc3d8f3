"""Execute notebooks and store their outputs the way they are committed.

    python tests/refresh_notebooks.py notebooks/02_attention.ipynb …     (none named: all)

A widget is stored as the picture and the text that it brings along: a stored live view would show
"model not found" to a reader without a kernel.
"""

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from transformer_lab.exercises.course import annotate

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}


def freeze(notebook: nbformat.NotebookNode) -> None:
    """Keep what a reader sees and drop what changes from run to run."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in ("tags",)})
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
    annotate(notebook)  # which cells are exercises and checks, for nbgrader


def refresh(path: Path) -> float:
    """Execute one notebook in its own folder and write it back. Returns the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    started = time.perf_counter()
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", record_timing=False, resources={"metadata": {"path": path.parent}}
    )
    client.execute()
    freeze(notebook)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)
    return time.perf_counter() - started


if __name__ == "__main__":
    os.environ["TQDM_DISABLE"] = "1"
    for name in sys.argv[1:] or sorted(Path(__file__).parents[1].joinpath("notebooks").glob("*.ipynb")):
        print(f"{name}: {refresh(Path(name)):.0f} s")

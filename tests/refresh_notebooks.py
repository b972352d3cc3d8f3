"""Execute notebooks and store their outputs the way they are committed.

    python tests/refresh_notebooks.py notebooks/02_attention.ipynb …     (none named: all)

A widget is stored as the picture and the text that it brings along, and the state that an exported page starts
from: a stored live view would show "model not found" to a reader without a kernel.
"""

import sys
import time
from pathlib import Path

import nbformat

from transformer_lab.exercises.course import annotate
from transformer_lab.export import keep_widgets, run
from transformer_lab.widgets.base import PACKED

KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}


def freeze(notebook: nbformat.NotebookNode) -> None:
    """Keep what a reader sees and drop what changes from run to run."""
    keep_widgets(notebook)
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in ("tags",)})
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({k: v for k, v in output.metadata.items() if k == PACKED})
    annotate(notebook)  # which cells are exercises and checks, for nbgrader


def refresh(path: Path) -> float:
    """Execute one notebook in its own folder and write it back. Returns the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    started = time.perf_counter()
    run(notebook, path.parent)
    freeze(notebook)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)
    return time.perf_counter() - started


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(Path(__file__).parents[1].joinpath("notebooks").glob("*.ipynb")):
        print(f"{name}: {refresh(Path(name)):.0f} s")

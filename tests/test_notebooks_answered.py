"""Every notebook with its exercises answered: all rightly, then all wrongly. Untouched, nbval runs them."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from transformer_lab.exercises import EXERCISES
from transformer_lab.exercises.verdict import JSON

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

RIGHT = """{blank}
from transformer_lab.exercises import EXERCISES
{name} = EXERCISES["{name}"].variant()
{name}.__name__ = "{name}"
"""
WRONG = RIGHT.replace("variant()", 'variant(EXERCISES["{name}"].mistakes[0])')


def answered(path: Path, answer: str) -> dict[str, dict]:
    """Execute the notebook with each exercise answered: exercise → the record of its check, to the last cell."""
    notebook = nbformat.read(path, as_version=4)
    checks = {}
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell, following in zip(code, code[1:], strict=False):
        if "# your code here" in cell.source:
            name = following.source.removeprefix("check(").removesuffix(")")
            cell.source = answer.format(blank=cell.source, name=name)
            checks[name] = following
    client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": path.parent}})
    client.execute(env=os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"})
    return {name: cell.outputs[0].data[JSON] for name, cell in checks.items()}


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS[::-1], ids=lambda path: path.stem)  # the longest first


@pytest.fixture(scope="module")
def records(request):
    """A function of a notebook and its answers. All that the chosen tests need are executed, two at a time."""
    chosen = [item for item in request.session.items if item.path == Path(__file__)]
    # A process each, which takes its event loop with it when it ends.
    with ProcessPoolExecutor(2, get_context("spawn"), max_tasks_per_child=1) as pool:
        runs = {
            (path, answer): pool.submit(answered, path, answer)
            for path, answer in ((item.callspec.params["path"], item.function.answer) for item in chosen)
        }
        yield lambda path, answer: runs[path, answer].result()


@each_notebook
def test_with_every_solution_filled_in_every_check_is_right(path, records):
    right = {name: record["right"] for name, record in records(path, RIGHT).items()}
    assert right and right == dict.fromkeys(right, True)


@each_notebook
def test_with_a_mistake_in_every_exercise_each_is_named_and_the_notebook_goes_on(path, records):
    named = {name: record["mistakes"] for name, record in records(path, WRONG).items()}
    assert named and named == {name: [EXERCISES[name].mistakes[0].id] for name in named}


test_with_every_solution_filled_in_every_check_is_right.answer = RIGHT
test_with_a_mistake_in_every_exercise_each_is_named_and_the_notebook_goes_on.answer = WRONG

"""Every notebook with its exercises answered, rightly and then wrongly, to its last cell. Untouched: see nbval."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from transformer_lab.exercises import EXERCISES
from transformer_lab.exercises.verdict import JSON

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

ANSWER = """{blank}
from transformer_lab.exercises import EXERCISES
{name} = EXERCISES["{name}"].variant({mistake})
{name}.__name__ = "{name}"
"""


def answered(path: Path) -> dict[str, list[dict]]:
    """Execute the notebook: exercise → what its check says of the right answer, and then of a mistake.

    The mistake stays, so the cells after it have to do with it.
    """
    notebook = nbformat.read(path, as_version=4)
    cells, checks = [], {}
    for cell, following in zip(notebook.cells, [*notebook.cells[1:], None], strict=True):
        if cell.cell_type == "code" and "# your code here" in cell.source:
            name = following.source.removeprefix("check(").removesuffix(")")
            right, wrong = (
                ANSWER.format(blank=cell.source, name=name, mistake=mistake)
                for mistake in ("", f'EXERCISES["{name}"].mistakes[0]')
            )
            checks[name] = [new_code_cell(following.source), following]
            cells += [new_code_cell(right), checks[name][0], new_code_cell(wrong)]
        else:
            cells.append(cell)
    notebook.cells = cells
    client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": path.parent}})
    client.execute(env=os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"})
    return {name: [check.outputs[0].data[JSON] for check in pair] for name, pair in checks.items()}


@pytest.fixture(scope="module")
def records(request):
    """A function of a notebook. All that the chosen tests need are executed, two at a time."""
    chosen = [item.callspec.params["path"] for item in request.session.items if item.path == Path(__file__)]
    # A process each, which takes its event loop with it when it ends.
    with ProcessPoolExecutor(2, get_context("spawn"), max_tasks_per_child=1) as pool:
        runs = {path: pool.submit(answered, path) for path in chosen}
        yield lambda path: runs[path].result()


@pytest.mark.parametrize("path", NOTEBOOKS[::-1], ids=lambda path: path.stem)  # the longest first
def test_solutions_are_right_mistakes_are_named_and_the_notebook_goes_on(path, records):
    checks = records(path)
    assert {name: right["right"] for name, (right, _) in checks.items()} == dict.fromkeys(checks, True)
    assert checks and {name: wrong["mistakes"] for name, (_, wrong) in checks.items()} == {
        name: [EXERCISES[name].mistakes[0].id] for name in checks
    }

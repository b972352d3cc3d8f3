"""The stored notebooks: run in order, whole, of this machine nothing, and built as a lesson is."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import nbformat
import pytest

from transformer_lab.exercises import EXERCISES
from transformer_lab.exercises.course import annotate
from transformer_lab.export import WIDGET_VIEW
from transformer_lab.widgets.base import FOLDER as WIDGETS
from transformer_lab.widgets.base import PACKED

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LEFT_OUT = {"nbval-ignore-output", "nbval-skip"}
# What a widget of ours says of itself begins with its class's name, which is its module's in another spelling.
MODULES = [path.stem.replace("_", "") for path in WIDGETS.glob("*.js") if path.stem != "shared"]
WIDGET_TEXT = re.compile(rf"({'|'.join(MODULES)})\b", re.IGNORECASE)
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|root|tmp|home|Users)\b|\bC:\\")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def cells(path: Path, kind: str | None = None) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if kind in (None, cell.cell_type)]


def outputs(path: Path) -> Iterator:
    return (output for cell in cells(path, "code") for output in cell.outputs)


def number(path: Path) -> str:
    """As it stands in the file's name: "02", "09b"."""
    return path.stem.partition("_")[0]


def short_number(path: Path) -> str:
    """As it stands in the headings: "2", "9b"."""
    return number(path).lstrip("0") or "0"


def prose(path: Path) -> str:
    return "\n\n".join(cell.source for cell in cells(path, "markdown"))


def exercises(path: Path) -> list[str]:
    """The names of the functions to fill."""
    blanks = [cell.source for cell in cells(path, "code") if "# your code here" in cell.source]
    return [re.findall(r"^def (\w+)", source, flags=re.MULTILINE)[-1] for source in blanks]


# ---------------------------------------------------------------- stored as run


@each_notebook
def test_it_was_run_from_top_to_bottom(path):
    counts = [cell.execution_count for cell in cells(path, "code")]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_it_is_a_valid_notebook_with_the_common_kernel(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}  # and no widgets' state
    assert {key for cell in notebook.cells for key in cell.metadata} <= {"tags", "nbgrader"}


@each_notebook
def test_it_stores_no_error_no_stderr_and_no_live_view(path):
    for output in outputs(path):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
        assert WIDGET_VIEW not in output.get("data", {})


@each_notebook
def test_every_picture_has_its_text(path):
    for output in outputs(path):
        if "image/png" in output.get("data", {}) and PACKED not in output.metadata:
            assert output.data["text/plain"].startswith(("Picture of ", "Sliders: "))


@each_notebook
def test_every_widget_is_stored_as_picture_text_and_state(path):
    """The picture for a code host, the text for who cannot see it, the state for an exported page."""
    widgets = [output for output in outputs(path) if WIDGET_TEXT.match(output.get("data", {}).get("text/plain", ""))]
    assert widgets == [output for output in outputs(path) if PACKED in output.get("metadata", {})]
    for output in widgets:
        assert set(output.data) == {"text/plain", "image/png"} and set(output.metadata) == {PACKED}


@each_notebook
def test_it_names_no_place_of_the_machine_it_was_run_on(path):
    said = [cell.source for cell in cells(path)]
    for output in outputs(path):
        data = output.get("data", {})
        said += [output.get("text", ""), *(data[kind] for kind in data if kind.startswith("text/"))]
    assert MACHINE_PATHS.findall("\n".join(said)) == []


@each_notebook
def test_cells_are_short(path):
    assert [cell.source for cell in cells(path, "code") if len(cell.source.splitlines()) > 30] == []


@each_notebook
def test_few_cells_are_left_out_of_the_comparison_each_for_a_reason(path):
    left_out = [cell.source for cell in cells(path, "code") if LEFT_OUT & set(cell.metadata.get("tags", ()))]
    assert len(left_out) <= 3
    assert [source for source in left_out if not re.match(r"# \w+", source)] == []


# ---------------------------------------------------------------- built as a lesson


@each_notebook
def test_it_has_a_lessons_parts(path):
    text = prose(path)
    headings = re.findall(r"^#+ .*", text, flags=re.MULTILINE)
    assert re.match(rf"# {number(path)} · \w+", cells(path)[0].source)
    assert [heading for heading in headings if heading.startswith("# ")] == headings[:1]
    assert headings[-1] == "## Summary"
    assert ("## What people get wrong" in headings) or path.stem.startswith("00")
    sections = re.findall(r"^## (\w+)\.(\d+) · ", text, flags=re.MULTILINE)
    assert sections == [(short_number(path), str(i + 1)) for i in range(len(sections))] and len(sections) >= 3


@each_notebook
def test_its_links_and_lessons_exist(path):
    text = prose(path)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link and not link.startswith("#")]
    assert [link for link in links if not (path.parent / link.partition("#")[0]).exists()] == []
    lessons = re.findall(r"\b(?:[Ll]esson|[Nn]otebook)s? (\d\d[a-z]?)(?:(?:, | and | to )(\d\d[a-z]?))*", text)
    assert {name for match in lessons for name in match if name} <= set(map(number, NOTEBOOKS))


@pytest.mark.parametrize(
    "path, following", [*zip(NOTEBOOKS, NOTEBOOKS[1:], strict=False)], ids=map(number, NOTEBOOKS[:-1])
)
def test_it_leads_to_the_next_lesson(path, following):
    assert re.findall(r"\((\w+\.ipynb)\)", cells(path, "markdown")[-1].source)[-1:] == [following.name]


@each_notebook
def test_its_exercises_are_announced_and_checked(path):
    names = exercises(path)
    assert 2 <= len(names) <= 8
    announced = re.findall(r"\*\*Exercise (\w+)\.(\d+) · .+?\*\* \((\w+), (\d+) minutes\)", prose(path))
    assert [(n, int(k), difficulty, int(minutes)) for n, k, difficulty, minutes in announced] == [
        (short_number(path), i + 1, EXERCISES[name].difficulty, EXERCISES[name].minutes) for i, name in enumerate(names)
    ]
    code = [cell.source for cell in cells(path, "code")]
    checks = [following for source, following in zip(code, code[1:], strict=False) if "# your code here" in source]
    assert checks == [f"check({name})" for name in names]


@each_notebook
def test_its_exercises_are_those_of_its_catalogue(path):
    catalogue = import_module(f"transformer_lab.exercises.lesson_{number(path)}").EXERCISES
    assert exercises(path) == [exercise.name for exercise in catalogue]


@each_notebook
def test_its_exercises_are_marked_for_nbgrader(path):
    notebook = nbformat.read(path, as_version=4)
    before = [dict(cell.metadata) for cell in notebook.cells]
    annotate(notebook)
    assert [dict(cell.metadata) for cell in notebook.cells] == before
    assert sum("nbgrader" in metadata for metadata in before) == 2 * len(exercises(path))


def test_every_exercise_belongs_to_a_notebook():
    assert [name for path in NOTEBOOKS for name in exercises(path)] == list(EXERCISES)

"""The lessons as a course for nbgrader (nbgrader.readthedocs.io), for who hands out and collects with it.

An exercise's cell is nbgrader's "manually edited" cell without points of its own; the check after it is the test
that gives them: a verdict says its points in place of its text while nbgrader grades, see verdict.py.
"""

import re
from pathlib import Path

import nbformat

from transformer_lab.exercises import EXERCISES

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CONFIG = '''"""The course's settings for nbgrader: https://nbgrader.readthedocs.io/en/stable/configuration/config_options.html"""

c = get_config()  # noqa: F821 (nbgrader provides it)

c.CourseDirectory.course_id = "transformer-lab"

# The exercises' cells are empty already, and the lessons keep their pictures: so neither ClearSolutions, which would
# take signature and docstring away, nor ClearOutput.
c.GenerateAssignment.preprocessors = [
    f"nbgrader.preprocessors.{name}" for name in ("LockCells", "CheckCellMetadata", "ComputeChecksums", "SaveCells")
]

c.OverwriteCells.add_missing_cells = True  # a check that was deleted comes back
c.Execute.timeout = 600  # seconds a cell: some lessons train a model
'''


def annotate(notebook: nbformat.NotebookNode) -> None:
    """Give the cells of exercises and checks, and no others, the metadata that nbgrader needs."""
    waiting_for_check = set()
    for cell in notebook.cells:
        cell.metadata.pop("nbgrader", None)
        if cell.cell_type != "code":
            continue
        if "# your code here" in cell.source:
            name = re.findall(r"^def (\w+)", cell.source, flags=re.MULTILINE)[-1]
            if name in EXERCISES:
                cell.metadata["nbgrader"] = _metadata(name, solution=True, grade=False, locked=False)
                waiting_for_check.add(name)
        elif (name := re.sub(r"^check\((\w+)\)$", r"\1", cell.source.strip())) in waiting_for_check:
            points = EXERCISES[name].points
            cell.metadata["nbgrader"] = _metadata(
                f"check-{name}", solution=False, grade=True, locked=True, points=points
            )
            waiting_for_check.remove(name)


def _metadata(grade_id: str, **kind) -> nbformat.NotebookNode:
    return nbformat.from_dict({"grade_id": grade_id, "schema_version": 3, "task": False} | kind)


def write_course(folder: Path) -> list[str]:
    """Make the folder a course, with an assignment for each lesson that has exercises. Returns their names."""
    lessons = sorted(NOTEBOOKS.glob("*.ipynb"))
    if not lessons:
        raise FileNotFoundError(
            f"The lessons are not at {NOTEBOOKS}: run this in a clone of the project that is installed with pip "
            "install -e."
        )
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; a course needs a folder of its own.")
    (folder / "source").mkdir(parents=True)
    (folder / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    written = []
    for lesson in lessons:
        notebook = nbformat.read(lesson, as_version=4)
        annotate(notebook)
        if not any("nbgrader" in cell.metadata for cell in notebook.cells):
            continue
        place = folder / "source" / lesson.stem / lesson.name
        place.parent.mkdir()
        for cell in notebook.cells:
            if cell.metadata.get("nbgrader", {}).get("grade"):  # the package's own, whatever a student calls `check`
                cell.source = f"from transformer_lab.exercises import check\n\n{cell.source}"
        nbformat.write(notebook, place)
        written.append(lesson.stem)
    return written

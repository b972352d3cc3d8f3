"""The lessons as a course of nbgrader: handed out, collected, graded, handed back."""

import sqlite3
from pathlib import Path

import nbformat
import pytest

from transformer_lab.exercises import EXERCISES, course
from transformer_lab.exercises.__main__ import main
from transformer_lab.exercises.course import annotate, write_course
from transformer_lab.exercises.grading import EXERCISES_OF

LESSON = "02_attention"
RIGHT = {
    "softmax": "def softmax(scores):\n    return scores.softmax(-1)",
    "scaled_scores": "def scaled_scores(query, key):\n"
    "    return query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])",
    "attention": "def attention(query, key, value):\n"
    "    pattern = (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1)\n"
    "    return pattern @ value, pattern",
    "entropy": "def entropy(pattern):\n    return torch.special.entr(pattern).sum(-1) / math.log(2)",
}


def cells(path: Path) -> list:
    return nbformat.read(path, as_version=4).cells


# ---------------------------------------------------------------- what nbgrader needs to know of a cell


@pytest.mark.parametrize("path", sorted(course.NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_each_exercise_and_its_check_are_marked(path):
    notebook = nbformat.read(path, as_version=4)
    annotate(notebook)
    marked = {c.metadata.nbgrader.grade_id: c for c in notebook.cells if "nbgrader" in c.metadata}
    names = EXERCISES_OF[path.stem.partition("_")[0]]
    assert list(marked) == [grade_id for name in names for grade_id in (name, f"check-{name}")]
    for name in names:
        solution, check = marked[name], marked[f"check-{name}"]
        assert f"def {name}(" in solution.source and check.source == f"check({name})"
        kinds = [
            (m["solution"], m["grade"], m["locked"]) for m in (solution.metadata.nbgrader, check.metadata.nbgrader)
        ]
        assert kinds == [(True, False, False), (False, True, True)]
        assert check.metadata.nbgrader.points == EXERCISES[name].points and "points" not in solution.metadata.nbgrader


def test_marking_twice_is_marking_once_and_takes_old_marks_away():
    notebook = nbformat.read(course.NOTEBOOKS / f"{LESSON}.ipynb", as_version=4)
    annotate(notebook)
    once = nbformat.writes(notebook)
    for cell in notebook.cells:
        cell.metadata["nbgrader"] = {"grade_id": "old"}
    annotate(notebook)
    assert nbformat.writes(notebook) == once


def test_a_course_holds_every_lesson(tmp_path, capsys):
    assert main(["nbgrader", str(tmp_path / "course")]) == 0
    lessons = [path.stem for path in sorted(course.NOTEBOOKS.glob("*.ipynb"))]
    assert f"{len(lessons)} assignments" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "course" / "source").iterdir()) == lessons
    checks = [
        c for c in cells(tmp_path / "course" / "source" / LESSON / f"{LESSON}.ipynb") if "check-" in str(c.metadata)
    ]
    assert {c.source.splitlines()[0] for c in checks} == {"from transformer_lab.exercises import check"}


def test_a_course_is_not_written_over_anything(tmp_path, capsys):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SystemExit):
        main(["nbgrader", str(tmp_path)])
    assert "is not empty" in capsys.readouterr().err


def test_a_course_needs_the_lessons(tmp_path, monkeypatch):
    monkeypatch.setattr(course, "NOTEBOOKS", tmp_path)
    with pytest.raises(FileNotFoundError, match="in a clone of the project"):
        write_course(tmp_path / "course")


# ---------------------------------------------------------------- through nbgrader


@pytest.fixture(scope="module")
def graded(tmp_path_factory) -> Path:
    """A course with three submissions to one lesson, graded and with feedback."""
    pytest.importorskip("nbgrader", reason='nbgrader is not installed: pip install "transformer-lab[teacher]"')
    from nbgrader.apps import NbGraderAPI
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config.loader import PyFileConfigLoader

    folder = tmp_path_factory.mktemp("nbgrader") / "course"
    write_course(folder)
    source = folder / "source" / LESSON / f"{LESSON}.ipynb"
    notebook = nbformat.read(source, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    # What is between the exercises costs seconds, and nothing here depends on it.
    notebook.cells = [cell for cell in notebook.cells if cell is first or "nbgrader" in cell.metadata]
    nbformat.write(notebook, source)

    config = PyFileConfigLoader("nbgrader_config.py", path=str(folder)).load_config()
    config.CourseDirectory.root = str(folder)
    nbgrader = NbGraderAPI(CourseDirectory(config=config), config=config)

    def done(result: dict) -> None:
        assert result["success"], result

    done(nbgrader.generate_assignment(LESSON))
    for student in ("right", "partly", "blank"):
        notebook = nbformat.read(folder / "release" / LESSON / f"{LESSON}.ipynb", as_version=4)
        hand_in(notebook, student)
        place = folder / "submitted" / student / LESSON
        place.mkdir(parents=True)
        nbformat.write(notebook, place / f"{LESSON}.ipynb")
        done(nbgrader.autograde(LESSON, student))
        done(nbgrader.generate_feedback(LESSON, student))
    return folder


def hand_in(notebook, student: str) -> None:
    by_id = {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if "nbgrader" in cell.metadata}
    if student == "right":
        for name in RIGHT:
            by_id[name].source = RIGHT[name]
    if student == "partly":
        by_id["softmax"].source = RIGHT["softmax"]
        by_id["scaled_scores"].source = RIGHT["scaled_scores"].replace(" / math.sqrt(query.shape[-1])", "")
        by_id["entropy"].source = "check = lambda function: 2.0"  # and an edited check, and one that is gone
        by_id["check-entropy"].source = "2.0"
        notebook.cells.remove(by_id["check-attention"])


@pytest.fixture(scope="module")
def points(graded) -> dict[str, dict[str, float]]:
    with sqlite3.connect(graded / "gradebook.db") as database:
        rows = database.execute(
            "select submitted_assignment.student_id, base_cell.name, grade.auto_score from grade "
            "join submitted_notebook on submitted_notebook.id = grade.notebook_id "
            "join submitted_assignment on submitted_assignment.id = submitted_notebook.assignment_id "
            "join base_cell on base_cell.id = grade.cell_id"
        ).fetchall()
    table: dict = {}
    for student, cell, score in rows:
        table.setdefault(student, {})[cell.removeprefix("check-")] = score
    return table


pytestmark = pytest.mark.filterwarnings("ignore")  # nbgrader's own


def test_released_notebooks_keep_their_signatures(graded):
    released = cells(graded / "release" / LESSON / f"{LESSON}.ipynb")
    assert len([cell for cell in released if "# your code here" in cell.source]) == len(RIGHT)


def test_the_points_are_right(points):
    assert points["right"] == {name: EXERCISES[name].points for name in RIGHT}
    assert points["blank"] == dict.fromkeys(RIGHT, 0)
    assert 0 < points["partly"].pop("scaled_scores") < 1
    assert points["partly"] == {"softmax": 1, "attention": 0, "entropy": 0}


def test_feedback_names_the_mistake(graded):
    feedback = {
        s: (graded / "feedback" / s / LESSON / f"{LESSON}.html").read_text("utf-8") for s in ("right", "partly")
    }
    assert "unscaled-scores" in feedback["partly"] and "unscaled-scores" not in feedback["right"]

"""Grading: what a submission did is told, what it earned is kept, and it harms no other."""

import ast
import csv
import html
import json
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from transformer_lab.exercises import EXERCISES
from transformer_lab.exercises.__main__ import main
from transformer_lab.exercises.grading import DEMONSTRATION, EXERCISES_OF, Grade, Outcome, grade
from transformer_lab.exercises.report import write_csv, write_report

NOTEBOOKS = sorted(Path(__file__).parents[2].joinpath("notebooks").glob("*.ipynb"))
IMPORTS = "import math\nimport torch\nfrom transformer_lab.exercises import check"
SOFTMAX = "def softmax(scores):\n    return scores.softmax(-1)"
UNSCALED = "def scaled_scores(query, key):\n    return query @ key.transpose(-2, -1)"
SCALED = f"{UNSCALED} / math.sqrt(query.shape[-1])"
EMPTY = 'def attention(query, key, value):\n    """The pair (output, pattern)."""\n    ...  # your code here'
RIGHT = [IMPORTS, SOFTMAX, "check(softmax)"]  # what most notebooks below have earned before they go wrong


def write_notebook(path: Path, *cells) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [cell if isinstance(cell, dict) else new_code_cell(cell) for cell in cells]
    nbformat.write(new_notebook(cells=cells), path)


def tagged(source: str, *tags: str):
    return new_code_cell(source, metadata={"tags": list(tags)})


def by_name(grades) -> dict[str, Grade]:
    return {one.submission: one for one in grades}


# ---------------------------------------------------------------- one class, with all that goes wrong in one


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("class")
    write_notebook(
        folder / "anna.ipynb",
        new_markdown_cell("# Mine\ndef softmax: check(softmax)"),
        f"%matplotlib inline\n{IMPORTS}\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])",
        SOFTMAX,
        f"%%time\n{SCALED}",
        "await __import__('asyncio').sleep(0)",
        # What it calls comes after it, in a cell of its own.
        "def attention(query, key, value):\n    pattern = weights(query, key)\n    return pattern @ value, pattern",
        "def weights(query, key):\n    return scaled_scores(query, key).softmax(-1)",
        "check(attention)",
        tagged(f"def softmax(scores):\n    return scores\n\n{'check(softmax)'}", DEMONSTRATION),
        tagged("raise ValueError('as the lesson shows')", "raises-exception"),
    )
    write_notebook(
        folder / "<b>ben.ipynb",
        IMPORTS,
        "def softmax(scores):\n    return scores.exp2()",
        SOFTMAX,
        "def softmax(scores):\n    ...",  # the last answer that is one counts
        UNSCALED,
        "check(scaled_scores)",
        EMPTY,
        "check(attention)",
        "from transformer_lab.attention import attention_pattern as entropy",  # ours, not an answer
        "undefined",
        "def broken(:",
        "import sys; sys.exit(3)",
        "open('stray.txt', 'w').write('x')\nimport subprocess; subprocess.Popen(['sleep', '1234.5'])",
    )
    write_notebook(
        folder / "cheat" / "02.ipynb",
        "import sys; sys.path.insert(0, '.')",
        f"{IMPORTS}\nassert check(0) == 'full marks'",  # from the folder beside the notebook
        "for name in [name for name in sys.modules if name.startswith('transformer_lab')]: del sys.modules[name]\n"
        "sys.path.remove('.')",
        "import transformer_lab.exercises as package\nfrom transformer_lab.exercises import catalogue, checking\n"
        "package.EXERCISES.clear()\ncatalogue.Exercise.points = 1000\n"
        "checking.run = checking.agree = check = lambda *_: True",
        "def softmax(scores):\n    return scores",
        "check(softmax)",
        UNSCALED,
        "class Odd:\n    def __getattr__(self, name):\n        return self\n\nattention = Odd()",
        "def entropy(pattern):\n    raise KeyboardInterrupt",
    )
    write_notebook(
        folder / "cheat" / "more" / "00.ipynb", "def likeliest(p, k):\n    return p.topk(k).indices.tolist()"
    )
    fake = folder / "cheat" / "transformer_lab" / "exercises"
    fake.mkdir(parents=True)
    (fake.parent / "__init__.py").touch()
    (fake / "__init__.py").write_text("def check(function):\n    return 'full marks'\n")

    write_notebook(folder / "exits.ipynb", *RIGHT, "import os; os._exit(0)", SCALED)
    write_notebook(folder / "segfault.ipynb", *RIGHT, "import ctypes; ctypes.string_at(0)", SCALED)
    write_notebook(
        folder / "talks.ipynb",
        *RIGHT,
        "import os, sys\nmegabyte = 'x' * 2**20",
        "for _ in range(250): print(megabyte); print(megabyte, file=sys.stderr)",
        "for _ in range(250): os.write(1, megabyte.encode())",
        "megabyte * 20",
        SCALED,
    )
    write_notebook(
        folder / "hungry.ipynb",
        *RIGHT,
        "torch.zeros(100 * 2**30, dtype=torch.uint8)",
        "kept = []\nwhile True: kept.append(bytearray(10**6))",
        SCALED,
    )
    (folder / "corrupt.ipynb").write_text('{"cells": [{"cell_type": "code", "sou')
    (folder / "nothing.ipynb").touch()
    (folder / "poem.ipynb").write_text('["roses", "are", "red"]')
    (folder / "nobody").mkdir()
    write_notebook(folder / "other.ipynb", "print('another course')")
    return folder


@pytest.fixture(scope="module")
def grades(folder, tmp_path_factory) -> dict[str, Grade]:
    """Graded with so little memory that half a gigabyte of output would not fit."""
    before = sorted(folder.rglob("*"))
    tempfile.tempdir = str(tmp_path_factory.mktemp("temporary"))
    try:
        graded = by_name(grade([*folder.iterdir(), folder / "missing.ipynb"], gigabytes=0.4, jobs=2))
        assert os.listdir(tempfile.tempdir) == []
    finally:
        tempfile.tempdir = None
    assert sorted(folder.rglob("*")) == before  # stray files fall elsewhere
    return graded


def points(one: Grade) -> dict[str, float]:
    return {name: one.points_for(name) for name in one.exercises if one.points_for(name)}


def test_every_submission_has_its_row(folder, grades):
    assert set(grades) == {path.name.removesuffix(".ipynb") for path in folder.iterdir()} | {"missing"}


def test_a_notebook_in_order(grades):
    one = grades["anna"]
    assert one.status == "ok", one.outcomes
    assert points(one) == {"softmax": 1, "scaled_scores": 1, "attention": 2}
    assert one.out_of == sum(exercise.points for exercise in map(EXERCISES.get, EXERCISES_OF["02"]))
    assert one.verdict("entropy") is None


def test_a_cell_that_raises_costs_no_other(grades):
    one = grades["<b>ben"]
    assert one.status == "3 cells raised"
    assert [line.split(":")[0] for line in one.outcomes["<b>ben.ipynb"].raised] == ["cell 10", "cell 11", "cell 12"]
    assert one.verdict("softmax")["right"] and one.verdict("attention")["right"] is None
    assert one.verdict("scaled_scores")["mistakes"] == ["unscaled-scores"]
    assert 0 < one.points_for("scaled_scores") < 1
    assert one.verdict("entropy") is None


def test_what_a_notebook_started_ends_with_it(grades):
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # some end while we look
            commands.append(path.read_bytes())
    assert [command for command in commands if b"1234.5" in command] == []


def test_checks_that_a_student_edited_change_nothing(grades):
    one = grades["cheat"]
    assert one.status == "02.ipynb: 1 cell raised", one.outcomes
    assert one.outcomes["02.ipynb"].raised == ["cell 9: check(entropy): KeyboardInterrupt"]  # it broke the check
    assert one.verdict("entropy")["right"] is False and one.verdict("attention") is None
    assert one.lessons == ["00", "02"] and set(one.outcomes) == {"02.ipynb", os.path.join("more", "00.ipynb")}
    assert one.verdict("softmax")["mistakes"] == ["no-softmax"]
    assert one.verdict("scaled_scores")["mistakes"] == ["unscaled-scores"]
    assert one.verdict("likeliest")["right"] and one.points < 3


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("exits", "ended itself (exit code 0) in cell 4"),
        ("segfault", "crashed (SIGSEGV) in cell 4"),
        ("talks", "ok"),
        ("hungry", "out of memory in cell 4, 5"),
    ],
)
def test_what_was_earned_before_a_disaster_is_kept(grades, name, status):
    one = grades[name]
    assert one.status == status
    survived = name in ("talks", "hungry")
    assert points(one) == {"softmax": 1} | ({"scaled_scores": 1} if survived else {})


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("corrupt", "not a notebook (NotJSONError"),
        ("nothing", "not a notebook (ValueError: the file is empty)"),
        ("poem", "not a notebook ("),
        ("other", "no exercise of these lessons in it"),
        ("nobody", "no notebook in it"),
        ("missing", "not found"),
    ],
)
def test_what_is_no_submission_is_told(grades, name, status):
    one = grades[name]
    assert one.status.startswith(status)
    assert (one.lessons, one.points, one.out_of) == ([], 0, 0)


def test_a_notebook_that_never_ends_is_stopped_and_keeps_what_it_had(tmp_path):
    write_notebook(tmp_path / "loop.ipynb", *RIGHT, "import time\nwhile True: time.sleep(0.1)", SCALED)
    started = time.monotonic()
    (one,) = grade([tmp_path / "loop.ipynb"], seconds=15)
    assert one.status == "stopped after 15 s in cell 4" and points(one) == {"softmax": 1}
    assert time.monotonic() - started < 25


def test_who_stops_the_grading_stops_what_runs(tmp_path):
    write_notebook(tmp_path / "loop.ipynb", "import time\ntime.sleep(1000)")
    running = grade([tmp_path / "missing.ipynb", tmp_path / "loop.ipynb", tmp_path / "loop.ipynb"])
    assert next(running).status == "not found"
    running.close()


# ---------------------------------------------------------------- table and page


def test_the_table(grades, tmp_path):
    write_csv(list(grades.values()), tmp_path / "grades.csv")
    with open(tmp_path / "grades.csv", encoding="utf-8-sig", newline="") as file:
        rows = {row["submission"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(grades)
    columns = list(rows["anna"])
    assert columns[:5] == ["submission", "lesson", "status", "points", "out_of"]
    assert columns[5:] == [
        f"{lesson} {name}{what}"
        for lesson in ("00", "02")
        for name in EXERCISES_OF[lesson]
        for what in ("", ": mistakes")
    ]
    ben = rows["<b>ben"]
    assert (ben["lesson"], ben["status"], ben["02 softmax"], ben["02 entropy"]) == ("02", "3 cells raised", "1", "0")
    assert ben["02 scaled_scores: mistakes"] == "unscaled-scores"
    assert ben["00 likeliest"] == rows["corrupt"]["02 softmax"] == ""  # not handed in
    assert rows["cheat"]["lesson"] == "00 02"
    assert float(ben["points"]) == grades["<b>ben"].points


def test_the_page(grades, tmp_path):
    write_report(list(grades.values()), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert "<b>ben" not in page and "&lt;b&gt;ben" in page
    for one in grades.values():
        assert html.escape(one.submission) in page and html.escape(one.status) in page
    why = next(m.why for m in EXERCISES["scaled_scores"].mistakes if m.id == "unscaled-scores")
    assert html.escape(why) in page
    assert page.count("<img ") == page.count('alt="Bars') == 3  # in lesson 00 nobody made a mistake
    assert "scaled_scores: 3 right, 2 known mistake, 0 other wrong answer, 2 not attempted" in page
    assert "unscaled-scores (scaled_scores): 2" in page


def test_a_class_without_a_readable_notebook_has_a_page(tmp_path):
    write_csv([Grade("a", {"a": Outcome("not found")})], tmp_path / "grades.csv")
    write_report([Grade("a", {"a": Outcome("not found")})], tmp_path / "report.html")
    assert "not found" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_wrong_answer_without_a_name_is_told_in_words(tmp_path):
    record = dict(exercise="softmax", right=False, mistakes=[], probes={"a": True, "b": False}, points=0.5, out_of=1)
    nowhere = record | {"exercise": "entropy", "probes": {"a": False}, "points": 0}
    outcome = Outcome("ok", "02", {"softmax": record, "entropy": nowhere})
    write_report([Grade("a", {"a": outcome})], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ">right on 1 of 2 inputs<small>0.5</small><" in page and ">wrong<" in page


# ---------------------------------------------------------------- the command


def test_the_command_writes_both(tmp_path, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["grade", "emp*", "absent.ipynb", "--csv", "out/grades.csv", "--report", "out/report.html"]) == 0
    assert "absent: not found" in capsys.readouterr().out
    assert len((tmp_path / "out" / "grades.csv").read_text(encoding="utf-8").splitlines()) == 3
    assert (tmp_path / "out" / "report.html").exists()


def test_its_help_says_that_it_is_no_sandbox(capsys):
    with pytest.raises(SystemExit):
        main(["grade", "--help"])
    assert "This is no sandbox" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--seconds", "0"], ["--jobs", "half"], ["--gigabytes", "-1"]])
def test_limits_are_positive(wrong, capsys):
    with pytest.raises(SystemExit):
        main(["grade", "a.ipynb", "--csv", "grades.csv", *wrong])
    assert "invalid positive" in capsys.readouterr().err


# ---------------------------------------------------------------- the lessons


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_only_an_exercises_cell_defines_its_function(path):
    """Anything else that defined it would count as everybody's answer."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    for cell in cells:
        if "# your code here" in cell.source or DEMONSTRATION in cell.metadata.get("tags", ()):
            continue
        defined = {node.name for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)}
        assert not defined & set(EXERCISES_OF[path.stem.partition("_")[0]]), json.dumps(cell.source)

"""The two commands: what they make, what they start, and what they say when they cannot."""

import subprocess
from pathlib import Path

import pytest

from transformer_lab import __main__ as command

NOTEBOOK = str(Path("notebooks") / "00_start_here.ipynb")


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with a requirements.txt, in which environments and programs are recorded instead of made and run."""
    (tmp_path / "requirements.txt").write_text("torch==2.9\n", encoding="utf-8")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "ENVIRONMENT", tmp_path / ".venv")
    monkeypatch.setattr(command, "BIN", tmp_path / ".venv" / "bin")
    monkeypatch.setattr(command, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    return tmp_path


@pytest.fixture
def calls(clone, monkeypatch):
    """What was called, in order: "venv", then the words after the environment's Python."""
    record = []

    def create(folder, with_pip, clear):
        assert (folder, with_pip, clear) == (clone / ".venv", True, True)
        folder.mkdir(exist_ok=True)
        (folder / "requirements.txt").unlink(missing_ok=True)
        record.append("venv")

    def run(words, cwd, env=None, check=False):
        assert words[0] == clone / ".venv" / "bin" / "python" and cwd == clone
        assert env is None or env["PATH"].startswith(str(clone / ".venv" / "bin"))
        assert words[2] != "pytest" or env["OMP_NUM_THREADS"]  # a thread a core
        record.append(" ".join(words[2:]))
        outcome = run.outcomes.pop(0) if run.outcomes else 0
        if isinstance(outcome, BaseException):
            raise outcome
        return subprocess.CompletedProcess(words, outcome)

    run.outcomes = []
    monkeypatch.setattr(command.venv, "create", create)
    monkeypatch.setattr(command.subprocess, "run", run)
    return record


INSTALL = ["venv", "pip install --quiet -r requirements.txt"]
TEST = [
    "pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder --cov=transformer_lab "
    "-m not alone and not exhaustive",
    "pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder tests -m exhaustive",
    "pytest tests -m alone",
]


def test_the_environment_is_made_once(calls, capsys):
    assert command.main(["test"]) == 0
    assert "Making the environment in .venv" in capsys.readouterr().out
    assert command.main(["test"]) == 0
    assert calls == [*INSTALL, *TEST, *TEST]
    assert capsys.readouterr().out == ""


def test_changed_requirements_make_it_again(calls, clone):
    command.main(["test"])
    (clone / "requirements.txt").write_text("torch==2.10\n", encoding="utf-8")
    command.main(["test"])
    assert calls == [*INSTALL, *TEST, *INSTALL, *TEST]


def test_an_interrupted_installation_starts_again(calls, capsys):
    command.subprocess.run.outcomes[:] = [subprocess.CalledProcessError(1, "pip")]
    with pytest.raises(SystemExit) as stop:
        command.main([])
    assert stop.value.code == 1
    assert "environment could not be made" in capsys.readouterr().err
    command.main(["test"])
    assert calls == [*INSTALL, *INSTALL, *TEST]


@pytest.mark.parametrize(
    "arguments, started",
    [
        ([], f"jupyterlab {{clone}}/{NOTEBOOK}"),
        (["lab", "--no-browser"], f"jupyterlab {{clone}}/{NOTEBOOK} --no-browser"),
        (["test"], TEST[-1]),
        (["test", "tests/test_main.py", "-q"], "pytest tests/test_main.py -q"),  # no share of coverage to reach
    ],
)
def test_what_a_command_starts(calls, clone, arguments, started):
    command.main(arguments)
    assert calls[-1] == started.format(clone=clone)


@pytest.mark.parametrize("outcome, status", [(0, 0), (5, 5), (KeyboardInterrupt(), 130)])
def test_the_exit_status_is_the_programs(calls, outcome, status):
    command.subprocess.run.outcomes[:] = [0, outcome]
    assert command.main(["test"]) == status


def test_an_old_python_is_told(calls, monkeypatch, capsys):
    monkeypatch.setattr(command.sys, "version_info", (3, 10, 4))
    with pytest.raises(SystemExit) as stop:
        command.main(["test"])
    assert stop.value.code == 1 and not calls
    assert "Python 3.11 or newer is needed" in capsys.readouterr().err


def test_outside_a_clone_it_says_so(calls, clone, capsys):
    (clone / "requirements.txt").unlink()
    with pytest.raises(SystemExit) as stop:
        command.main(["test"])
    assert stop.value.code == 1 and not calls
    assert "works in a clone of the project" in capsys.readouterr().err


def test_an_unknown_command_is_refused(calls, capsys):
    with pytest.raises(SystemExit):
        command.main(["lessons"])
    assert not calls and "invalid choice: 'lessons'" in capsys.readouterr().err


def test_it_stands_in_the_clone():
    assert (command.ROOT / NOTEBOOK).parent.is_dir()
    assert command.PYTHON.is_relative_to(command.ENVIRONMENT) and command.ENVIRONMENT.parent == command.ROOT

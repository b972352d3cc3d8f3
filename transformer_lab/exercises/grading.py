"""Grading: each submission runs in a process of its own, and the teacher's copy of the checks gives the points.

A submission is a notebook, or a folder of them (one student's). Whatever one of them does, only its own row suffers:
time, memory and file sizes are limited, what it prints goes nowhere, and what it had earned when it ended is kept.
This is no sandbox: a submission that means harm runs with the rights of whoever grades it.
"""

import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from transformer_lab.exercises import EXERCISES, LESSONS
from transformer_lab.exercises.checking import run
from transformer_lab.exercises.guard import is_out_of_memory, memory_held, memory_limit

try:
    import resource
except ImportError:  # Windows
    resource = None

PACKAGE = Path(__file__).parents[1]
# A cell with this tag redefines an exercise to show something; what it defines is nobody's answer.
DEMONSTRATION = "demonstration"
EXERCISES_OF: dict[str, list[str]] = {
    lesson.__name__.rpartition("_")[2]: [exercise.name for exercise in lesson.EXERCISES] for lesson in LESSONS
}


@dataclass
class Outcome:
    """What one notebook came to."""

    status: str
    lesson: str = ""
    verdicts: dict[str, dict] = field(default_factory=dict)  # exercise → the record of its last answer
    raised: list[str] = field(default_factory=list)  # which cells raised what
    seconds: float = 0.0


@dataclass
class Grade:
    """One submission's row: what its notebooks came to together."""

    submission: str
    outcomes: dict[str, Outcome]  # by file name

    @property
    def lessons(self) -> list[str]:
        return sorted({outcome.lesson for outcome in self.outcomes.values() if outcome.lesson})

    @property
    def exercises(self) -> list[str]:
        """Every exercise of its lessons, attempted or not."""
        return [name for lesson in self.lessons for name in EXERCISES_OF[lesson]]

    @property
    def status(self) -> str:
        told = {name: outcome.status for name, outcome in self.outcomes.items()}
        if len(told) == 1 or set(told.values()) == {"ok"}:
            return next(iter(told.values()))
        return "; ".join(f"{name}: {status}" for name, status in told.items() if status != "ok")

    @property
    def seconds(self) -> float:
        return sum(outcome.seconds for outcome in self.outcomes.values())

    @property
    def points(self) -> float:
        return round(sum(self.points_for(name) for name in self.exercises), 2)

    @property
    def out_of(self) -> int:
        return sum(EXERCISES[name].points for name in self.exercises)

    def verdict(self, exercise: str) -> dict | None:
        """The record of the best answer, where several notebooks have one; None where there is none."""
        records = [outcome.verdicts.get(exercise) for outcome in self.outcomes.values()]
        return max(filter(None, records), key=lambda record: record["points"], default=None)

    def points_for(self, exercise: str) -> float:
        record = self.verdict(exercise)
        return record["points"] if record else 0


# ---------------------------------------------------------------- the teacher's process


def grade(submissions: list[Path], seconds: float = 600, gigabytes: float = 4, jobs: int = 1) -> Iterator[Grade]:
    """The grade of each submission, as soon as its last notebook has ended."""
    names = _names(submissions)
    found = {path: _notebooks(path) for path in names}
    outcomes: dict[Path, dict[str, Outcome]] = {path: {} for path in names}
    waiting = [(path, notebook) for path in names for notebook in found[path]]
    running: list[_Running] = []
    for path in names:
        if not found[path]:
            problem = "no notebook in it" if path.is_dir() else "not found"
            yield Grade(names[path], {path.name: Outcome(problem)})
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_Running(*waiting.pop(0), seconds, gigabytes))
            time.sleep(0.02)
            for job in [job for job in running if job.has_ended()]:
                running.remove(job)
                theirs = outcomes[job.submission]
                theirs[str(job.notebook.relative_to(job.folder))] = job.outcome()
                if len(theirs) == len(found[job.submission]):
                    yield Grade(names[job.submission], dict(sorted(theirs.items())))
    finally:  # whoever stops the grading stops what runs
        for job in running:
            job.stop()


def _names(submissions: list[Path]) -> dict[Path, str]:
    """Each submission once, and what to call it: its path, without what all paths have in common."""
    paths = list(dict.fromkeys(Path(os.path.abspath(path)) for path in submissions))
    common = Path(os.path.commonpath([path.parent for path in paths]))
    return {path: str(path.relative_to(common)).removesuffix(".ipynb") for path in paths}


def _notebooks(submission: Path) -> list[Path]:
    if not submission.is_dir():
        return [submission] if submission.exists() else []
    found = sorted(submission.rglob("*.ipynb"))
    return [path for path in found if not any(part[0] == "." for part in path.relative_to(submission).parts)]


class _Running:
    """One notebook in its process, in a copy of its folder, which goes away with it."""

    def __init__(self, submission: Path, notebook: Path, seconds: float, gigabytes: float):
        self.submission, self.notebook, self.seconds = submission, notebook, seconds
        self.folder = submission if submission.is_dir() else submission.parent
        self.place = tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True)
        here = Path(self.place.name)
        self.records = here / "records"
        self.records.touch()
        copy = here / "submission"
        self.problem, self.process = "", None
        self.started = time.monotonic()
        try:
            if submission.is_dir():
                leave_out = shutil.ignore_patterns(".*", "__pycache__")
                shutil.copytree(submission, copy, symlinks=True, ignore=leave_out)
            else:
                copy.mkdir()
                shutil.copyfile(submission, copy / submission.name)
        except (OSError, shutil.Error) as error:
            self.problem = f"could not be read ({_in_short(error)})"
            return
        # Our package comes before anything that lies beside the notebook (-P, and the first place on the path).
        path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
        settings = {"PYTHONPATH": path, "MPLBACKEND": "Agg", "IPYTHONDIR": str(here / "ipython")}
        settings |= {"CUDA_VISIBLE_DEVICES": "", "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
        target = copy / notebook.relative_to(self.folder)
        work = "from transformer_lab.exercises.grading import work; work()"
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", work, str(target), str(self.records), str(gigabytes)],
            cwd=target.parent,
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that what it starts can be ended with it
        )

    def has_ended(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            return True
        if time.monotonic() - self.started > self.seconds:
            self.problem = f"stopped after {self.seconds:g} s"
            return True
        return False

    def stop(self) -> None:
        """End the process, and those that it started."""
        if self.process:
            if hasattr(os, "killpg"):
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        self.place.cleanup()

    def outcome(self) -> Outcome:
        records = []
        for line in self.records.read_bytes().splitlines():
            with suppress(ValueError):  # the last line may be cut
                records.append(json.loads(line))
        self.stop()
        known: dict = {}
        for record in records:
            known |= record
        raised = [record for record in records if "raised" in record]
        outcome = Outcome("ok", known.get("lesson", ""), seconds=time.monotonic() - self.started)
        for verdict in (record["verdict"] for record in records if "verdict" in record):
            # The last answer counts; an empty function after it takes nothing back.
            if verdict["right"] is not None or verdict["exercise"] not in outcome.verdicts:
                outcome.verdicts[verdict["exercise"]] = verdict
        outcome.raised = [f"cell {record['at']}: {record['raised']}" for record in raised]
        where = f" in cell {known['cell']}" if "cell" in known else ""
        if self.problem:
            outcome.status = self.problem + where
        elif "unreadable" in known:
            outcome.status = f"not a notebook ({known['unreadable']})"
        elif "end" not in known:
            code = self.process.returncode
            how = f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended itself (exit code {code})"
            outcome.status = how + where
        elif any(record["memory"] for record in raised):
            outcome.status = "out of memory in cell " + ", ".join(str(r["at"]) for r in raised if r["memory"])
        elif not outcome.lesson:
            outcome.status = "no exercise of these lessons in it"
        elif raised:
            outcome.status = f"{len(raised)} cell{'s' if len(raised) > 1 else ''} raised"
        return outcome


def _in_short(error: BaseException) -> str:
    try:
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
    except Exception:  # a submission's own exceptions may fail to say what they are
        text = type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


# ---------------------------------------------------------------- the submission's process


def work() -> None:
    """Execute one notebook and write down, line by line, what its answers are worth."""
    notebook, records, gigabytes = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    sys.argv[1:] = []

    def write(**record) -> None:
        with open(records, "a") as file:
            file.write(json.dumps(record) + "\n")

    _limit_files(gigabytes)
    memory = memory_held() + int(gigabytes * 2**30)
    try:
        with memory_limit(memory):
            cells = _read(notebook)
    except Exception as error:
        write(unreadable=_in_short(error))
        return
    sources = "\n".join(cell.source for cell in cells)
    holds = {name for name in EXERCISES if re.search(rf"\bdef {name}\b|\bcheck\({name}\b", sources)}
    lesson = max(EXERCISES_OF, key=lambda number: len(holds.intersection(EXERCISES_OF[number])))
    names = EXERCISES_OF[lesson] if holds else []
    if holds:
        write(lesson=lesson)
    for name in names:
        _ = EXERCISES[name].source  # read now: later the files may have changed

    shell = _shell()
    sys.path.append(os.getcwd())  # modules beside the notebook, after everything of ours
    ours = _take_modules()  # the notebook imports a package of its own; what it changes there, it changes for itself
    last: dict[str, object] = {}
    for number, cell in enumerate(cells, 1):
        write(cell=number)
        with memory_limit(memory):
            error = _execute(shell, cell.source)
        tags = cell.get("metadata", {}).get("tags") or ()
        if error is not None and "raises-exception" not in tags:
            write(raised=_in_short(error), at=number, memory=is_out_of_memory(error))
        error = None  # and what its frames hold
        for name in names:
            function = shell.user_ns.get(name)
            # What it calls may have been defined after it, but not after its check.
            is_due = function is not last.get(name) or re.search(rf"\bcheck\(\s*{name}\b", cell.source)
            last[name] = function
            if is_due and DEMONSTRATION not in tags and _is_written_here(function):
                try:
                    with _modules(ours):
                        verdict = run(EXERCISES[name], function).record()
                except BaseException as error:  # an answer that breaks the check itself is not right
                    write(raised=f"check({name}): {_in_short(error)}", at=number, memory=False)
                    out_of = EXERCISES[name].points
                    verdict = dict(exercise=name, right=False, mistakes=[], probes={}, points=0, out_of=out_of)
                write(verdict=verdict)
    write(end=True)
    os._exit(0)  # whatever threads and exit handlers the notebook left behind


def _read(notebook: Path) -> list:
    """The code cells that hold anything; they are numbered as Jupyter numbers them."""
    import nbformat

    text = notebook.read_text(encoding="utf-8-sig")
    if not text.strip():
        raise ValueError("the file is empty")
    cells = nbformat.reads(text, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def _is_written_here(function: object) -> bool:
    """True for a function of the notebook's own, not one that it imported."""
    with suppress(Exception):  # some objects answer to everything, and not well
        return callable(function) and getattr(inspect.unwrap(function), "__module__", None) == "__main__"
    return False


def _shell():
    """IPython, so that magics and a top-level await work, with nothing shown and nothing kept."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class Shell(InteractiveShell):
        def enable_gui(self, gui=None):
            pass

        def showtraceback(self, *args, **kwargs):
            pass

        def showsyntaxerror(self, *args, **kwargs):
            pass

    config = Config()
    config.HistoryManager.enabled = False
    config.DisplayFormatter.active_types = ["text/plain"]
    return Shell.instance(config=config)


def _execute(shell, source: str) -> BaseException | None:
    try:
        result = shell.run_cell(source, store_history=True)
    except BaseException as error:
        return error
    return result.error_before_exec or result.error_in_exec


def _take_modules() -> dict:
    """Our package's modules, taken out of Python's list, so that the next import makes new ones."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == PACKAGE.name}


@contextmanager
def _modules(ours: dict) -> Iterator[None]:
    """Inside, the package is the teacher's."""
    theirs = _take_modules()
    sys.modules.update(ours)
    try:
        yield
    finally:
        _take_modules()
        sys.modules.update(theirs)


def _limit_files(gigabytes: float) -> None:
    if resource:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))

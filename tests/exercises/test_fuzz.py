"""Every check on hundreds of mechanical changes to its reference: none passes unless it is right, none is misnamed.

What was measured lands in tests/artefacts: fuzz.csv, and confusion.csv with the answers that people wrote.
"""

import csv
import functools
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.exercises.judging import RIGHT, UNKNOWN, WRONG, does_the_same, on_fresh_inputs, same
from tests.exercises.mutations import mutants
from transformer_lab.exercises import EXERCISES, Exercise, checking, guard
from transformer_lab.exercises.checking import run
from transformer_lab.exercises.comparing import TOLERANCE

ROOT = Path(__file__).parents[2]
ARTEFACTS = ROOT / "tests" / "artefacts"
MUTANTS = 200  # an exercise, at least
SECONDS = 0.3  # until a mutant without end is stopped; a learner's answer gets longer

# TimeIsUp comes wherever Python is, in a weakref's callback too; there it is dropped, and comes again a moment later.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.exhaustive,
]
each_exercise = pytest.mark.parametrize("exercise", [EXERCISES[name] for name in RIGHT], ids=list(RIGHT))


@dataclass
class Fuzzed:
    """What the check said about the mutants of one exercise."""

    equal: int = 0  # accepted, and right
    stopped: int = 0  # never end
    raising: int = 0  # raise on every input: the exception says it
    named: int = 0
    unnamed: list[str] = field(default_factory=list)
    wrongly_accepted: list[str] = field(default_factory=list)
    wrongly_named: list[str] = field(default_factory=list)

    def row(self) -> dict:
        named = self.named + len(self.wrongly_named)
        returning = named + len(self.unnamed)
        return {
            "mutants": self.equal + len(self.wrongly_accepted) + self.stopped + self.raising + returning,
            "equal": self.equal,
            "wrong": returning + self.raising + self.stopped,
            "raise on every input": self.raising,
            "never end": self.stopped,
            "named": named,
            "unnamed": len(self.unnamed),
            "share named of those that return something": f"{named / max(1, returning):.2f}",
        }


@functools.cache
def fuzzed(exercise: Exercise, at_least: int = MUTANTS) -> Fuzzed:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(checking, "within_limits", functools.partial(guard.within_limits, seconds=SECONDS))
        return fuzz(exercise, at_least)


def fuzz(exercise: Exercise, at_least: int) -> Fuzzed:
    result, reference = Fuzzed(), on_fresh_inputs(exercise, exercise.reference)
    for source in mutants(exercise.source, at_least):
        mutant = exercise.variant({exercise.source: source})
        verdict = run(exercise, mutant)
        if "had not finished after" in verdict.text:
            result.stopped += 1
            continue
        if verdict.right:
            if same(reference, on_fresh_inputs(exercise, mutant), TOLERANCE):
                result.equal += 1
            else:
                result.wrongly_accepted.append(source)
            continue
        if verdict.mistakes and does_the_same(exercise, verdict.mistakes, on_fresh_inputs(exercise, mutant)):
            result.named += 1
        elif verdict.mistakes:
            result.wrongly_named.append(f"{verdict.mistakes}: {source}")
        elif not any(verdict.probes.values()) and verdict.pair is None:
            result.raising += 1
        else:
            result.unnamed.append(source)
    return result


def write(name: str, rows: list[dict]) -> None:
    ARTEFACTS.mkdir(exist_ok=True)
    with open(ARTEFACTS / name, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def measured():
    """After the tests of this file: what they measured."""
    rows = {}
    yield rows
    write("fuzz.csv", [{"exercise": name, **row} for name, row in rows.items()])


@each_exercise
def test_a_mutant_passes_only_if_it_is_equal_and_gets_no_false_name(exercise, measured):
    result = fuzzed(exercise)
    measured[exercise.name] = result.row()
    assert int(result.row()["mutants"]) >= MUTANTS
    assert not result.wrongly_accepted, result.wrongly_accepted[0]
    assert not result.wrongly_named, result.wrongly_named[0]


def test_every_answer_that_people_wrote_is_called_what_it_is():
    """As one table: a row is a mistake or a written answer, a column is what the check said."""
    rows = []

    def ask(exercise: Exercise, made: str, kind: str, answer, wanted: set[str]) -> None:
        verdict = run(exercise, answer)
        called = set(verdict.mistakes) or {"right" if verdict.right else "no name"}
        assert called == wanted, (exercise.name, made, called)
        rows.append({"exercise": exercise.name, "made": made, "kind": kind, **dict.fromkeys(sorted(called), 1)})

    for name in RIGHT:
        exercise = EXERCISES[name]
        for mistake in exercise.mistakes:
            ask(exercise, mistake.id, "mistake", exercise.variant(mistake), {mistake.id})
        for ids, answers in WRONG[name].items():
            ids = (ids,) if isinstance(ids, str) else ids
            for answer in answers:
                ask(exercise, " + ".join(ids), "written", answer, set(ids))
        for answer in RIGHT[name]:
            ask(exercise, "right", "written", answer, {"right"})
        for answer in UNKNOWN[name]:
            ask(exercise, "unknown", "written", answer, {"no name"})
    first = {"exercise": "", "made": "", "kind": "", "right": "", "no name": ""}
    columns = sorted({key for row in rows for key in row} - set(first))
    write("confusion.csv", [first | dict.fromkeys(columns, "") | row for row in rows])

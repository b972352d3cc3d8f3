"""Every check on hundreds of mechanical changes to its reference: none passes unless it is right, none is misnamed.

What was measured lands in tests/artefacts: fuzz.csv, and confusion.csv with the answers that people wrote.
"""

import csv
import functools
import gc
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from tests.exercises.judging import RIGHT, UNKNOWN, WRONG, does_the_same, on_fresh_inputs, same
from tests.exercises.mutations import mutants
from transformer_lab.exercises import EXERCISES, Exercise, checking, guard
from transformer_lab.exercises.checking import run
from transformer_lab.exercises.comparing import TOLERANCE

ARTEFACTS = Path(__file__).parents[1] / "artefacts"
MUTANTS = 200  # an exercise, at least
SECONDS = 1.0  # until a mutant without end is stopped; a learner's answer gets longer

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
    milliseconds: list[float] = field(default_factory=list)  # CPU time of the checks of wrong ones that do end

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
            "median ms CPU": f"{statistics.median(self.milliseconds or [0]):.1f}",
            "worst ms CPU": f"{max(self.milliseconds, default=0):.1f}",
        }


@functools.cache
def fuzzed(exercise: Exercise, at_least: int = MUTANTS) -> Fuzzed:
    result, reference = Fuzzed(), on_fresh_inputs(exercise, exercise.reference)
    checking._behaviour.cache_clear()  # the first diagnosis is measured too
    for source in mutants(exercise.source, at_least):
        mutant = exercise.variant({exercise.source: source})
        started = time.process_time()
        verdict = run(exercise, mutant)
        milliseconds = 1000 * (time.process_time() - started)
        if "was stopped after" in verdict.text:
            result.stopped += 1
            continue
        if verdict.right:
            if same(reference, on_fresh_inputs(exercise, mutant), TOLERANCE):
                result.equal += 1
            else:
                result.wrongly_accepted.append(source)
            continue
        result.milliseconds.append(milliseconds)
        if verdict.mistakes and does_the_same(exercise, verdict.mistakes, on_fresh_inputs(exercise, mutant)):
            result.named += 1
        elif verdict.mistakes:
            result.wrongly_named.append(f"{verdict.mistakes}: {source}")
        elif not any(verdict.probes.values()) and verdict.pair is None:
            result.raising += 1
        else:
            result.unnamed.append(source)
    return result


@pytest.fixture(scope="module", autouse=True)
def one_thread_and_little_time():
    gc.freeze()  # what the tests have gathered until here is no check's to clean up
    threads, limits = torch.get_num_threads(), checking.limits
    torch.set_num_threads(1)
    checking.limits = functools.partial(guard.limits, seconds=SECONDS)
    yield
    torch.set_num_threads(threads)
    checking.limits = limits
    gc.unfreeze()


@pytest.fixture(scope="module", autouse=True)
def artefacts():
    """After the tests of this file: what they measured."""
    rows = []
    yield rows
    ARTEFACTS.mkdir(exist_ok=True)
    with open(ARTEFACTS / "fuzz.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["exercise", *Fuzzed().row()])
        writer.writeheader()
        writer.writerows(rows)


@each_exercise
def test_a_mutant_passes_only_if_it_is_equal_and_gets_no_false_name(exercise, artefacts):
    result = fuzzed(exercise)
    artefacts.append({"exercise": exercise.name, **result.row()})
    assert int(result.row()["mutants"]) >= MUTANTS
    assert not result.wrongly_accepted, result.wrongly_accepted[0]
    assert not result.wrongly_named, result.wrongly_named[0]


@each_exercise
def test_a_check_takes_little_time(exercise):
    milliseconds = fuzzed(exercise).milliseconds
    assert statistics.median(milliseconds) < 50
    assert max(milliseconds) < 300

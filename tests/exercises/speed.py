"""CPU milliseconds of checks as a learner's kernel runs them: in a process where no shape is enforced.

python -m tests.exercises.speed    # JSON: exercise → one number a wrong answer
"""

import gc
import json
import sys
import time

import torch

from tests.exercises.mutations import mutants
from transformer_lab.exercises import EXERCISES, Exercise, checking

SLOW = 0.05  # seconds; an answer that takes longer by itself says nothing about the check


def milliseconds(exercise: Exercise, answers: int = 60) -> list[float]:
    """On every mistake alone, and on mutants. The first answer meets a diagnosis that has nothing prepared."""
    gc.freeze()  # what other exercises, and importing torch, leave behind is no check's to clean up
    sources = mutants(exercise.source)
    variants = [exercise.variant({exercise.source: source}) for source in sources[:: len(sources) // answers]]
    variants += [exercise.variant(mistake) for mistake in exercise.mistakes]
    checks = []
    for variant in variants:
        if timed(checking._try_all, exercise, variant)[1] < SLOW:
            verdict, seconds = timed(checking.run, exercise, variant)
            if seconds > 0.1:  # once more from the beginning, in case the machine was busy with other things
                checking._behaviour.cache_clear()
                seconds = min(seconds, timed(checking.run, exercise, variant)[1])
            if verdict.right is False:
                checks.append(round(1000 * seconds, 2))
    return checks


def timed(function, *arguments) -> tuple:
    """What the function returns, and the seconds of CPU time that it took."""
    started = time.process_time()
    returned = function(*arguments)
    return returned, time.process_time() - started


if __name__ == "__main__":
    torch.set_num_threads(1)
    json.dump({name: milliseconds(exercise) for name, exercise in EXERCISES.items()}, sys.stdout)

"""What a verdict is judged by: answers that learners write, and inputs that no check knows.

The answers lie in answers_NN.py, one file a lesson:
RIGHT    exercise → right answers, written differently
WRONG    exercise → id, or ids of two together → answers that make that mistake, written without the catalogue
UNKNOWN  exercise → wrong answers that no mistake of the catalogue explains
FRESH    exercise → a function of a seed that gives inputs no check knows
"""

import copy
import functools
from collections.abc import Callable
from importlib import import_module

from transformer_lab.exercises import LESSONS, Exercise
from transformer_lab.exercises.checking import MISTAKE_TOLERANCE, Outcome, _try

NUMBERS = [lesson.__name__.rpartition("_")[2] for lesson in LESSONS]
ANSWERS = [import_module(f"tests.exercises.answers_{number}") for number in NUMBERS]
RIGHT, WRONG, UNKNOWN, FRESH = (
    {name: answers for module in ANSWERS for name, answers in getattr(module, kind).items()}
    for kind in ("RIGHT", "WRONG", "UNKNOWN", "FRESH")
)
SEEDS = (100, 200, 300)


def on_fresh_inputs(exercise: Exercise, function: Callable) -> list[Outcome]:
    return [_try(function, copy.deepcopy(given)) for seed in SEEDS for given in FRESH[exercise.name](seed)]


def same(ours: list[Outcome], theirs: list[Outcome], tolerance: float = MISTAKE_TOLERANCE) -> bool:
    return all(one.agrees(other, tolerance) for one, other in zip(ours, theirs, strict=True))


def does_the_same(exercise: Exercise, ids: tuple[str, ...], outcomes: list[Outcome]) -> bool:
    """Whether the mistakes of these ids together, in some order and style, do this on the fresh inputs."""
    return any(same(outcomes, variant) for variant in _on_fresh_inputs_with(exercise, ids))


@functools.cache
def _on_fresh_inputs_with(exercise: Exercise, ids: tuple[str, ...]) -> list[list[Outcome]]:
    mistakes = [mistake for mistake in exercise.mistakes if mistake.id in ids]
    variants = [exercise.variant(*order, *style) for order in (mistakes, mistakes[::-1])
                for style in ((), *((style,) for style in exercise.styles))]  # fmt: skip
    return [on_fresh_inputs(exercise, variant) for variant in variants if variant]

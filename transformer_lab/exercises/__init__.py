"""Exercises: a learner's function against the reference, and which mistake it is.

    check(scaled_scores)      # finds the exercise by the function's name
    hint(scaled_scores)       # a step further each time
    solution(scaled_scores)   # the package's own source
    consequences(attention)   # a small model trained with it, beside the reference (for what feeds a model)

Each lesson_NN.py declares its lesson's exercises: the reference (the package's own function wherever there is
one), probes (named inputs in general position, simplest first) and the mistakes that the check knows by name.
"""

import difflib
from collections import Counter
from collections.abc import Callable

from IPython.display import Code

from transformer_lab.exercises import (
    lesson_00,
    lesson_01,
    lesson_02,
    lesson_03,
    lesson_04,
    lesson_05,
    lesson_06,
    lesson_08,
    lesson_09,
    lesson_09b,
    lesson_09c,
)
from transformer_lab.exercises.catalogue import Exercise, Mistake
from transformer_lab.exercises.checking import run
from transformer_lab.exercises.consequences import consequences
from transformer_lab.exercises.verdict import Verdict

__all__ = ["EXERCISES", "Exercise", "Mistake", "Verdict", "check", "consequences", "hint", "solution"]

LESSONS = (
    lesson_00,
    lesson_01,
    lesson_02,
    lesson_03,
    lesson_04,
    lesson_05,
    lesson_06,
    lesson_08,
    lesson_09,
    lesson_09b,
    lesson_09c,
)
EXERCISES: dict[str, Exercise] = {exercise.name: exercise for lesson in LESSONS for exercise in lesson.EXERCISES}

_hints_given: Counter = Counter()


class Hint(str):
    """Shown without quotes."""

    __repr__ = str.__str__


def check(function) -> Verdict:
    """Compare the function with the reference of the exercise that bears its name."""
    exercise = find(function)
    if not callable(function):
        raise ValueError(f"function must be the function itself: check({exercise.name}), without quotes")
    return run(exercise, function)


def hint(function: Callable | str) -> Hint:
    """The exercise's first hint, then the next at each call; the last one stays."""
    exercise = find(function)
    given = min(_hints_given[exercise.name], len(exercise.hints) - 1)
    _hints_given[exercise.name] += 1
    more = len(exercise.hints) - given - 1
    rest = f"{more} more" if more else f"the last one; solution({exercise.name}) shows the package's own"
    return Hint(f"{exercise.name}, hint {given + 1} ({rest}): {exercise.hints[given]}")


def solution(function: Callable | str) -> Code:
    """The package's own source: the reference, and what it calls that belongs to the exercise."""
    return Code(find(function).source, language="python")


def find(function) -> Exercise:
    """The exercise of that name, or of that function's name."""
    name = function if isinstance(function, str) else getattr(function, "__name__", None)
    if name in EXERCISES:
        return EXERCISES[name]
    if name is None:
        raise ValueError(f"function must be the function itself, as in check(softmax); got {_shortly(function)}")
    alike = " or ".join(difflib.get_close_matches(name, EXERCISES, n=3, cutoff=0.4))
    raise ValueError(
        f"function must bear an exercise's name, such as {alike or 'softmax'}; got {name!r}. "
        "CATALOGUE.md in the folder of this module lists all of them."
    )


def _shortly(value) -> str:
    return f"a {type(value).__name__}" + (f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else "")

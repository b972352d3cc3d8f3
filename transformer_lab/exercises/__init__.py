"""Exercises: a learner's function against the reference, and what differs.

    check(scaled_scores)      # finds the exercise by the function's name

Each lesson_NN.py holds its lesson's exercises: the reference (the package's own function wherever there
is one) and probes, named inputs in general position, simplest first.
"""

from collections.abc import Callable

from transformer_lab.exercises import lesson_00, lesson_02, lesson_03, lesson_04, lesson_05, lesson_08, lesson_09
from transformer_lab.exercises.checking import Exercise, Verdict, run

EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for lesson in (lesson_00, lesson_02, lesson_03, lesson_04, lesson_05, lesson_08, lesson_09)
    for exercise in lesson.EXERCISES
}


def check(function: Callable) -> Verdict:
    """Compare the function with the reference of the exercise that bears its name."""
    name = getattr(function, "__name__", repr(function))
    if name not in EXERCISES:
        raise ValueError(f"function must bear an exercise's name ({', '.join(EXERCISES)}); got {name!r}")
    return run(EXERCISES[name], function)

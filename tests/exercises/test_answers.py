"""Every check on answers that learners write: right ones pass, known mistakes are named, unknown ones are not.

The answers are judging.py's; there it says what RIGHT, WRONG, UNKNOWN and FRESH hold.
"""

import itertools

import pytest

from tests.exercises.judging import RIGHT, UNKNOWN, WRONG, does_the_same, on_fresh_inputs
from transformer_lab.exercises import EXERCISES
from transformer_lab.exercises.checking import run

each_exercise = pytest.mark.parametrize("exercise", [EXERCISES[n] for n in RIGHT], ids=list(RIGHT))


def cases(answers: dict[str, list]) -> list:
    return [pytest.param(n, f, id=f"{n}-{i}") for n, functions in answers.items() for i, f in enumerate(functions)]


@each_exercise
def test_there_is_enough_to_judge_the_check_by(exercise):
    assert len(RIGHT[exercise.name]) >= 3
    assert len(UNKNOWN[exercise.name]) >= 3
    assert len(exercise.mistakes) >= 3 and len(exercise.hints) >= 3 and exercise.remark
    made_alone = {key for key in WRONG[exercise.name] if isinstance(key, str)}
    assert made_alone <= {mistake.id for mistake in exercise.mistakes}


@pytest.mark.parametrize(("name", "answer"), cases(RIGHT))
def test_a_right_answer_is_accepted_however_it_is_written(name, answer):
    verdict = run(EXERCISES[name], answer)
    assert verdict.right is True, verdict


@pytest.mark.parametrize(
    ("name", "ids", "answer"),
    [
        pytest.param(name, ids, answer, id=f"{name}-{ids if isinstance(ids, str) else '+'.join(ids)}-{i}")
        for name, wrong in WRONG.items()
        for ids, answers in wrong.items()
        for i, answer in enumerate(answers)
    ],
)
def test_a_mistake_that_a_learner_makes_is_named(name, ids, answer):
    verdict = run(EXERCISES[name], answer)
    assert verdict.right is False
    assert set(verdict.mistakes) == ({ids} if isinstance(ids, str) else set(ids)), verdict


@pytest.mark.parametrize(("name", "answer"), cases(UNKNOWN))
def test_an_unknown_mistake_gets_no_name(name, answer):
    verdict = run(EXERCISES[name], answer)
    assert verdict.right is False and verdict.mistakes == (), verdict


@each_exercise
def test_every_mistake_changes_what_it_says_it_changes(exercise):
    for mistake in exercise.mistakes:
        for old, new in (mistake.patch | mistake.also).items():
            assert old in exercise.source and old != new, (mistake.id, old)


@each_exercise
def test_every_mistake_alone_is_named_and_no_two_are_confused(exercise):
    ids = [mistake.id for mistake in exercise.mistakes]
    assert len(ids) == len(set(ids))
    named = {mistake.id: run(exercise, exercise.variant(mistake)).mistakes for mistake in exercise.mistakes}
    assert named == {id: (id,) for id in ids}


@pytest.mark.exhaustive
@each_exercise
def test_two_mistakes_together_are_named(exercise):
    """By their names, or by others that do the same, on inputs that the check has never seen too."""
    for one, other in itertools.combinations(exercise.mistakes, 2):
        both = exercise.variant(one, other) or exercise.variant(other, one)
        if both is None:
            continue
        verdict = run(exercise, both)
        assert_named_truly(exercise, both, verdict, f"{one.id} + {other.id}")


def assert_named_truly(exercise, function, verdict, what: str) -> None:
    """What was named does what the function does, on fresh inputs; one that always raises needs no name."""
    if not verdict.probes or not (verdict.right or any(verdict.probes.values()) or verdict.pair or verdict.mistakes):
        return
    assert verdict.mistakes, f"{what}: {verdict}"
    outcomes = on_fresh_inputs(exercise, function)
    assert does_the_same(exercise, verdict.mistakes, outcomes), f"{what} was called {verdict.mistakes}"


@each_exercise
def test_another_style_is_right_by_itself(exercise):
    for style in exercise.styles:
        assert run(exercise, exercise.variant(style)).right is True

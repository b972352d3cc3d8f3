"""The machinery of the checks, and what holds for every exercise of the catalogue."""

import copy
import inspect
import math
import random
import re
import sys
import time
import warnings

import pytest
import torch
from torch import Tensor

from transformer_lab import exercises
from transformer_lab.exercises import EXERCISES, check, hint, lesson_02, solution
from transformer_lab.exercises.catalogue import Exercise, Mistake
from transformer_lab.exercises.checking import run
from transformer_lab.exercises.comparing import difference

# TimeIsUp comes wherever Python is, in a weakref's callback too; there it is dropped, and comes again a moment later.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def double(x: Tensor, weights: list) -> Tensor:
    """Twice x."""
    return 2 * x


def double_probes():
    return {
        "one number": (torch.tensor([1.0]), []),
        "below zero": (torch.tensor([[-1.0, 3.0]]), [torch.tensor(0.5)]),
        "large": (torch.arange(20.0).view(4, 5), []),
    }


DOUBLE = Exercise(double, double_probes, remark="Addition is quicker.")


# ---------------------------------------------------------------- the verdict


def test_a_right_answer_is_told_what_was_compared():
    verdict = run(DOUBLE, lambda x, weights: x + x)
    assert verdict.right is True and verdict.exercise == "double"
    assert re.fullmatch(
        r"double: right. Equal to the reference on 3 inputs: one number; below zero; large.\n"
        r"On the last of them it took \d+ µs, the reference \d+ µs.\nAddition is quicker.",
        repr(verdict),
    )


def empty_with_docstring(x, weights):
    """Twice x."""
    ...  # your code here


def empty_without_docstring(x, weights): ...  # your code here


def empty_pass(x, weights):
    pass


def empty_to_be_done(x, weights):
    raise NotImplementedError


@pytest.mark.parametrize("function", [empty_with_docstring, empty_without_docstring, empty_pass, empty_to_be_done])
def test_an_empty_function_is_not_attempted(function):
    verdict = run(DOUBLE, function)
    assert verdict.right is None
    assert repr(verdict) == "double: not attempted yet; going on with the reference."


def constant_with_docstring(x, weights):
    """Twice x."""
    return 0


def constant_without_docstring(x, weights):
    return 1


def forgotten_return(x, weights):
    2 * x


@pytest.mark.parametrize("function", [constant_with_docstring, constant_without_docstring, forgotten_return])
def test_a_function_that_does_something_is_attempted(function):
    assert run(DOUBLE, function).right is False


@pytest.mark.parametrize("function, right", [(torch.exp, False), (torch.abs, True)])
def test_a_function_written_in_c_is_checked_too(function, right):
    assert run(Exercise(abs, lambda: {"below zero": (torch.tensor([-2.0]),)}), function).right is right


def test_the_first_input_that_differs_is_shown():
    verdict = run(DOUBLE, lambda x, weights: 2 * x.abs())
    assert verdict.right is False
    assert repr(verdict) == (
        "double: not yet.\nRight on: one number; large.\nWrong on: below zero.\n"
        "The simplest input that shows it: below zero.\n"
        "  x = tensor, 1×2: [[-1.0, 3.0]]\n"
        "  weights = [tensor(0.5000)]\n"
        "expected [[-2.0, 6.0]]\n"
        "yours    [[2.0, 6.0]]\n"
        "hint(double) goes a step further; solution(double) shows the package's own."
    )


def test_a_large_input_is_shown_by_its_size_and_the_worst_entry_by_its_place():
    def wrong_in_two_places(x, weights):
        y = 2 * x
        if x.numel() == 20:
            y[1, 2] += 1
            y[3, 4] = math.nan
        return y

    text = repr(run(DOUBLE, wrong_in_two_places))
    assert "large.\n  x = tensor, 4×5\n" in text
    assert "\n2 of 20 entries differ; the most at [3, 4]: expected 38, yours nan\n" in text


def test_an_error_names_the_learners_line():
    def raising(x, weights):
        y = 2 * x
        return y.view(7)  # the line at fault

    text = repr(run(DOUBLE, raising))
    assert "Wrong on all 3 inputs.\nThe simplest input that shows it: one number." in text
    assert "Your function raised RuntimeError: shape '[7]' is invalid" in text
    assert ", in line 3 of your function:  return y.view(7)  # the line at fault\n" in text


def test_an_error_before_the_first_line_has_no_line():
    text = repr(run(DOUBLE, lambda x: x))
    assert "Your function raised TypeError" in text and "of your function" not in text


@pytest.mark.parametrize("answer", [lambda x, weights: 2 * x, lambda x, weights: x / 0, lambda x, weights: x + 1])
def test_a_check_leaves_the_notebooks_random_numbers_alone(answer):
    def noisy_probes():
        torch.randn(3)
        return double_probes()

    before = torch.get_rng_state()
    run(Exercise(double, noisy_probes), answer)
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------- differences


@pytest.mark.parametrize(
    "expected, answer",
    [
        (0.5, 0.5 + 1e-7),
        (1, torch.tensor(1)),
        (0.5, torch.tensor([0.5])),
        (True, True),
        ("word", "word"),
        (torch.tensor(2.0), 2.0),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0 + 1e-6], dtype=torch.float64)),
        (torch.tensor([-math.inf, 1.0]), torch.tensor([-math.inf, 1.0])),
        (torch.tensor([True]), torch.tensor([True])),
        ((torch.ones(2), [3]), [torch.ones(2), (3,)]),
    ],
    ids=repr,
)
def test_equal_answers(expected, answer):
    assert difference(expected, answer) == ""


@pytest.mark.parametrize(
    "expected, answer, words",
    [
        (0.5, 0.51, "expected 0.5, yours 0.51"),
        (3, 4, "expected 3, yours 4"),
        (True, False, "expected True, yours False"),
        (0.5, None, "expected 0.5, yours returns None (is a return missing?)"),
        (0.5, torch.zeros(2, 3), "expected 0.5, yours is a tensor of shape (2, 3)"),
        ((1, 2), torch.zeros(2), "expected 2 things, yours is a Tensor"),
        ((1, 2), None, "expected 2 things, yours returns None (is a return missing?)"),
        ((1, torch.ones(2)), (1, None), "number 2 of the 2 things that you return: expected a tensor, yours is None"),
        ((1, 2), (1, 2, 3), "expected 2 things, yours has 3"),
        ((1, 2), (1, 3), "number 2 of the 2 things that you return: expected 2, yours 3"),
        (torch.ones(2), None, "expected a tensor, yours returns None (is a return missing?)"),
        (torch.ones(2), [1.0, 1.0], "expected a tensor, yours is a list"),
        (torch.ones(2), torch.ones(2, 1), "expected shape (2,), yours (2, 1)"),
        (torch.ones(2) > 0, torch.ones(2), "expected dtype torch.bool, yours torch.float32"),
        (torch.ones(2), torch.tensor([1.0, math.nan]), "expected [1.0, 1.0]\nyours    [1.0, nan]"),
        (torch.ones(1), torch.tensor([1.0001]), "expected [1.0]\nyours    [1.0001]"),
        (torch.tensor([0, 7]), torch.tensor([0, 8]), "expected [0, 7]\nyours    [0, 8]"),
        (torch.tensor([0.0]), torch.tensor([-math.inf]), "expected [0.0]\nyours    [-inf]"),
        (torch.tensor([-1e-9, 1]), torch.zeros(2), "expected [0.0, 1.0]\nyours    [0.0, 0.0]"),
    ],
)
def test_differences_in_words(expected, answer, words):
    assert difference(expected, answer) == words


# ---------------------------------------------------------------- the catalogue


def test_check_finds_the_exercise_by_the_functions_name():
    def softmax(scores):
        return torch.softmax(scores, dim=-1)

    assert check(softmax).right is True
    assert check(lesson_02.softmax).exercise == "softmax"


def test_check_names_the_exercises_there_are():
    def soft_max(scores): ...

    with pytest.raises(ValueError, match="must bear an exercise's name, such as softmax.*; got 'soft_max'"):
        check(soft_max)
    with pytest.raises(ValueError, match="got '<lambda>'"):
        check(lambda x: x)
    with pytest.raises(
        ValueError, match=r"the function itself, as in check\(softmax\); got a Tensor of shape \(2, 3\)"
    ):
        check(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"check\(softmax\), without quotes"):
        check("softmax")


def test_no_two_exercises_share_a_name():
    lessons = {inspect.getmodule(exercise.probes) for exercise in EXERCISES.values()}
    assert sum(len(lesson.EXERCISES) for lesson in lessons) == len(EXERCISES)
    assert all(name == exercise.name for name, exercise in EXERCISES.items())


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_the_reference_is_right_and_described(exercise):
    assert run(exercise, exercise.reference).right is True
    assert inspect.getdoc(exercise.reference)


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_probes_are_the_same_at_each_call(exercise):
    first, second = exercise.probes(), exercise.probes()
    assert list(first) == list(second) and len(first) >= 3
    for name in first:
        expected = exercise.reference(*copy.deepcopy(first[name]))
        assert difference(expected, exercise.reference(*second[name])) == ""


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
@pytest.mark.parametrize("answer", [0, None, torch.zeros(2, 3)], ids=["zero", "none", "tensor"])
def test_a_constant_is_never_right(exercise, answer):
    verdict = run(exercise, lambda *arguments: answer)
    assert verdict.right is False
    assert "not yet" in repr(verdict)


def test_a_function_that_changes_its_input_is_told_so():
    def double_in_place(x):
        return x.mul_(2)

    exercise = Exercise(lambda x: 2 * x, lambda: {"two": (torch.tensor([2.0]),)}, name="double", difficulty="medium")
    verdict = run(exercise, double_in_place)
    assert verdict.right is False and verdict.mistakes == ("changes-its-input",)
    assert "changes what it was given" in verdict.text
    assert "  x = tensor, 1: [2.0]\nafterwards x = tensor, 1: [4.0]\n" in verdict.text
    assert (verdict.points, verdict.out_of) == (1, 2)  # half of a medium one's


NOISY = Mistake("noisy", "Noise.", {"return 2 * x": "return 2 * x + torch.rand(1)"})


@pytest.mark.parametrize("mistakes, named", [((), "differs-each-time"), ((NOISY,), "noisy")])
@pytest.mark.parametrize("noise", [torch.rand_like, lambda x: random.random(), lambda x: torch.empty(()).normal_()])
def test_answers_that_differ_each_time_are_told_so(mistakes, named, noise):
    exercise = Exercise(double, double_probes, mistakes=mistakes)
    for _ in range(3):  # each check starts from the same random state
        assert run(exercise, lambda x, weights: 2 * x + noise(x)).mistakes == (named,)


@pytest.mark.parametrize("answer", [lambda x: (i for i in "ab"), lambda x: object(), lambda x: (3 * x).numpy()])
def test_answers_of_another_kind_are_not_said_to_differ_each_time(answer):
    assert run(DOUBLE, lambda x, weights: answer(x)).mistakes == ()


# ---------------------------------------------------------------- which mistake


def tripled_and_shifted(x: Tensor) -> Tensor:
    y = 3 * x
    return y + 1


SHIFT = Exercise(
    tripled_and_shifted,
    lambda: {"one": (torch.tensor([1.0]),), "zero": (torch.tensor([0.0]),), "two": (torch.tensor([2.0, 5.0]),)},
    mistakes=(
        Mistake("doubled", "Twice, not three times.", {"3 * x": "2 * x"}),
        Mistake("not-shifted", "The 1 is missing.", {"y + 1": "y"}),
    ),
    styles=({"3 * x": "x + x + x"},),
)


@pytest.mark.parametrize(
    "answer, named",
    [
        (lambda x: 2 * x + 1, ("doubled",)),
        (lambda x: 3 * x, ("not-shifted",)),
        (lambda x: 2 * x, ("doubled", "not-shifted")),
        (lambda x: 4 * x, ()),
        (lambda x: 2 * x + 1.01, ()),
    ],
)
def test_the_fewest_mistakes_that_do_the_same_are_named(answer, named):
    verdict = run(SHIFT, answer)
    assert verdict.right is False and verdict.mistakes == named
    for mistake in SHIFT.mistakes:
        assert (f"• {mistake.id}: {mistake.why}" in verdict.text) == (mistake.id in named)
    assert verdict.text.startswith("tripled_and_shifted: not yet.")


def test_without_a_name_it_says_what_is_right_and_what_is_wrong():
    verdict = run(SHIFT, lambda x: (3 * x + 1).clamp(max=10))
    assert verdict.mistakes == ()
    assert "Right on: one; zero.\nWrong on: two.\nThe simplest input that shows it: two." in verdict.text
    assert verdict.probes == {"one": True, "zero": True, "two": False}
    assert verdict.points == round(2 / 3, 2)


def raising(x):
    raise KeyError("x")


def test_nothing_but_exceptions_is_no_mistake_of_the_catalogue():
    exercise = Exercise(
        double, double_probes, mistakes=(Mistake("raises", "It raises.", {"return": "raise KeyError()"}),)
    )
    assert run(exercise, lambda x, weights: raising(x)).mistakes == ()


def test_mistakes_whose_words_overlap_cannot_be_combined():
    doubled, shifted = SHIFT.mistakes
    other = Mistake("quadrupled", "Four times, not three.", {"3 * x": "4 * x", "y + 1": "y + 2"})
    assert SHIFT.variant(doubled, other) is None  # half of it is left to change, and half a mistake is another one
    assert SHIFT.variant(doubled, shifted)(torch.tensor(5.0)) == 10
    assert SHIFT.variant(doubled, Mistake("both", "", {"y + 1": "y"}, also={"3 * x": "9 * x"}))(torch.tensor(5.0)) == 10


# ---------------------------------------------------------------- anything may happen


def endless(x, weights):
    while True:
        try:
            x = x + 1
        except Exception:
            pass


def swallows_everything(x, weights):
    while True:
        try:
            len(range(10))
        except:  # noqa: E722
            pass


def torch_raises(x, weights):
    return x & x  # torch raises a NotImplementedError


def test_an_error_of_torchs_own_is_no_missing_answer():
    verdict = run(DOUBLE, torch_raises)
    assert verdict.right is False and "Your function raised NotImplementedError: " in verdict.text


def test_an_error_in_a_function_beside_it_is_found_there():
    def helper(x):
        return x.view(7)

    text = repr(run(DOUBLE, lambda x, weights: helper(x)))
    assert ", in helper:  return x.view(7)\n" in text


def test_an_error_without_words_leaves_no_colon():
    def silent(x, weights):
        raise ValueError

    def polite(x, weights):
        raise ValueError("Two, please.")

    assert "Your function raised ValueError, in line 2 of your function:  raise" in run(DOUBLE, silent).text
    assert (
        "Your function raised ValueError: Two, please, in line 2 of your function:  raise" in run(DOUBLE, polite).text
    )


def test_a_print_comes_once_an_input(capsys):
    def chatty(x, weights):
        print("looking")
        return 2 * x

    assert run(DOUBLE, chatty).right is True
    assert capsys.readouterr().out == 3 * "looking\n"


def test_what_the_shown_input_shows_is_named_first():
    exercise = Exercise(
        tripled_and_shifted,
        lambda: {"one": (torch.tensor([1.0]),), "zero": (torch.tensor([0.0]),), "two": (torch.tensor([2.0, 5.0]),)},
        mistakes=(
            Mistake("tripled-beyond-two", "", {"3 * x": "torch.where(x > 2, 2 * x, 3 * x)"}),
            Mistake("not-shifted", "The 1 is missing.", {"y + 1": "y"}),
        ),
    )
    assert run(exercise, lambda x: torch.where(x > 2, 2 * x, 3 * x)).mistakes == ("not-shifted", "tripled-beyond-two")


def test_an_endless_loop_is_stopped_and_python_goes_on():
    started = time.monotonic()
    verdict = run(DOUBLE, endless)
    assert time.monotonic() - started < 30  # two seconds, on a machine however busy
    assert verdict.right is False and verdict.probes == dict.fromkeys(double_probes(), False)
    assert "Your function had not finished after 2 seconds and was stopped, in line" in verdict.text
    assert "Is there a loop that never ends" in verdict.text
    assert "Not finished: one number.\nNot tried: below zero; large.\n" in verdict.text
    assert run(DOUBLE, lambda x, weights: x + x).right is True


def test_a_loop_that_swallows_everything_is_stopped_too():
    assert run(DOUBLE, swallows_everything).right is False


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process cannot bound its own memory")
@pytest.mark.parametrize("size", [(10**12,), (1000, 10**6, 8)])
def test_a_huge_allocation_is_stopped_and_memory_is_free_again(size):
    import resource

    verdict = run(DOUBLE, lambda x, weights: torch.ones(size))
    assert "Your function was stopped when it asked for more than 2 GB" in verdict.text
    before = resource.getrlimit(resource.RLIMIT_AS)
    assert run(DOUBLE, lambda x, weights: [0] * 10**12).right is False
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_deep_recursion_is_the_learners_own_error():
    def recursive(x, weights):
        return recursive(x, weights)

    assert "Your function raised RecursionError" in run(DOUBLE, recursive).text


def test_leaving_python_is_an_error_like_any_other():
    assert "Your function raised SystemExit: 3" in run(DOUBLE, lambda x, weights: sys.exit(3)).text


def test_what_the_function_writes_to_stderr_does_not_go_there(capsys):
    def chatty(x, weights):
        print("looking at", x, file=sys.stderr)
        warnings.warn("careful", stacklevel=1)
        return 2 * x

    assert run(DOUBLE, chatty).right is True
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------- hints and solutions


@pytest.fixture
def no_hints_yet():
    exercises._hints_given.clear()
    yield
    exercises._hints_given.clear()


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_each_hint_goes_further_and_the_last_one_stays(exercise, no_hints_yet):
    given = [repr(hint(exercise.name)) for _ in range(len(exercise.hints) + 1)]
    assert [text.partition("): ")[2] for text in given] == [*exercise.hints, exercise.hints[-1]]
    assert f"{exercise.name}, hint 1 ({len(exercise.hints) - 1} more)" in given[0]
    assert f"solution({exercise.name})" in given[-1]


def test_hints_and_solutions_are_found_by_the_function_too(no_hints_yet):
    assert hint(lesson_02.softmax).startswith("softmax, hint 1")
    assert solution(lesson_02.softmax).data == inspect.getsource(lesson_02.softmax)


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_a_solution_is_the_packages_own_source_and_right(exercise):
    shown = solution(exercise.name).data
    assert inspect.getsource(exercise.reference) in shown
    assert shown == exercise.source
    assert run(exercise, exercise.variant()).right is True

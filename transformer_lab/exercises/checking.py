"""How a check runs: what the function does with every probe, what was expected, and which mistake does the same."""

import contextlib
import copy
import dis
import functools
import inspect
import io
import itertools
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from transformer_lab.exercises.catalogue import Exercise, Mistake
from transformer_lab.exercises.comparing import agree, difference, show
from transformer_lab.exercises.guard import GIGABYTES, SECONDS, TimeIsUp, is_out_of_memory, within_limits
from transformer_lab.exercises.verdict import Verdict

# An answer that behaves like a mistake may have reached the same numbers by another way, with other roundings.
MISTAKE_TOLERANCE = 1e-3

CHANGES_ITS_INPUT = Mistake(
    "changes-its-input",
    "The answer is right, but the function changes what it was given, and the caller still needs that. Work on a copy.",
    {},
)
# A mistake of the exercise that draws random numbers too comes before it, with its own id and words.
DIFFERS_EACH_TIME = Mistake(
    "differs-each-time",
    "Called twice with the same input, it gives two different answers. Random numbers can do that, or something kept "
    "from one call to the next, or a torch.empty that is never filled. The answer must depend on the input alone.",
    {},
)


@dataclass(frozen=True)
class Outcome:
    """What a function did with one probe: a value, or the exception it raised."""

    value: object = None
    error: BaseException | None = None
    changed_input: dict[int, object] = field(default_factory=dict)  # which arguments it changed, and into what
    changed_mode: bool = False  # a model that was given is no longer in training mode, or now is
    again: Callable[[], "Outcome"] | None = None  # the same call once more

    def agrees(self, other: "Outcome", tolerance: float) -> bool:
        """The same, as far as there is a same: two functions that differ each time do the same in this."""
        if self.error is not None or other.error is not None:
            return type(self.error) is type(other.error)
        if self.changed_mode != other.changed_mode:
            return False
        return agree(self.value, other.value, tolerance) or (other.varies and self.varies)

    @functools.cached_property
    def varies(self) -> bool:
        """Whether the same call gives other numbers each time. Called twice more, and only when somebody asks.

        The first value does not count: it may have been drawn in an earlier check, from the same random state.
        """
        if self.again is None:
            return False
        with contextlib.suppress(TimeIsUp), contextlib.redirect_stdout(io.StringIO()):
            return within_limits(lambda: _differ(self.again().value, self.again().value))
        return False


def run(exercise: Exercise, function: Callable) -> Verdict:
    """The verdict on the function: right, wrong (by which mistakes, if known ones fit), or not attempted."""
    if _is_empty(function):
        text = f"{exercise.name}: not attempted yet; going on with the reference."
        return Verdict(exercise.name, None, text, out_of=exercise.points)
    with _quiet():
        outcomes = _try_all(exercise, function)
        right = {name: name in outcomes and _is_right(exercise, name, outcomes[name]) for name in probes(exercise)}
        if not all(right.values()):
            return _wrong(exercise, function, outcomes, right, diagnose(exercise, outcomes))
        if any(outcome.changed_input for outcome in outcomes.values()):
            return _wrong(exercise, function, outcomes, right, (CHANGES_ITS_INPUT,))
        return _right(exercise, function)


# ---------------------------------------------------------------- what it does


@functools.cache
def probes(exercise: Exercise) -> dict[str, tuple]:
    return exercise.probes()


@functools.cache
def expected(exercise: Exercise) -> dict[str, object]:
    return {name: exercise.reference(*copy.deepcopy(given)) for name, given in probes(exercise).items()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The notebook's random numbers stay what they are without a check; warnings are for the learner's own calls."""
    with (
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(action="ignore"),
        contextlib.redirect_stderr(sys.stdout),
    ):
        yield


def _try(function: Callable, arguments: tuple, watch_input: bool = True) -> Outcome:
    given = _copy(arguments)
    try:
        value = function(*given)
    except (Exception, SystemExit) as error:
        return Outcome(error=error)
    changed = {
        i: after
        for i, (before, after) in enumerate(zip(arguments, given))
        if watch_input and _can_be_compared(before) and not agree(before, after)
    }
    return Outcome(
        value,
        changed_input=changed,
        changed_mode=_modes(given) != _modes(arguments),
        again=functools.partial(_try, function, arguments),
    )


def _copy(arguments: tuple) -> tuple:
    """Tensors by themselves are ten times as fast to copy; a model and its optimizer must be copied together."""
    if all(type(argument) is Tensor or isinstance(argument, int | float | None) for argument in arguments):
        return tuple(argument.clone() if isinstance(argument, Tensor) else argument for argument in arguments)
    return copy.deepcopy(arguments)


def _can_be_compared(argument) -> bool:
    """A copy of a model is never equal to it."""
    holds_models = isinstance(argument, list) and any(isinstance(part, nn.Module) for part in argument)
    return isinstance(argument, Tensor | list) and not holds_models


def _modes(arguments: tuple) -> list[bool]:
    """Of every part of every model among the arguments: is it in training mode?"""
    return [part.training for model in arguments if isinstance(model, nn.Module) for part in model.modules()]


def _try_all(exercise: Exercise, function: Callable) -> dict[str, Outcome]:
    """An outcome for each probe, up to the one that uses up the time."""
    expected(exercise)  # first: what the reference makes Python import does not count
    outcomes = {}

    def try_all() -> None:
        for name, arguments in probes(exercise).items():
            outcomes[name] = _try(function, arguments)

    try:
        within_limits(try_all)
    except TimeIsUp as error:
        for name in [name for name in probes(exercise) if name not in outcomes][:1]:
            outcomes[name] = Outcome(error=error)
    return outcomes


def _is_right(exercise: Exercise, name: str, outcome: Outcome) -> bool:
    return outcome.error is None and not outcome.changed_mode and agree(expected(exercise)[name], outcome.value)


def _differ(one, other, depth: int = 3) -> bool:
    """Whether two answers to the same input hold different numbers; of other things equality may say little.

    No answer nests deeper than `depth`, but for a list that was appended to itself, which has no end.
    """
    if depth and isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return any(_differ(a, b, depth - 1) for a, b in zip(one, other))
    return isinstance(one, Tensor | int | float) and not agree(one, other)


# ---------------------------------------------------------------- which mistake it is


def diagnose(exercise: Exercise, outcomes: dict[str, Outcome]) -> tuple[Mistake, ...]:
    """The fewest mistakes, one or else two, that together do the same on every probe; none if nothing known does.

    Where two pairs do the same, no probe could tell them apart, and the first declared is named.
    """
    if len(outcomes) < len(probes(exercise)) or all(outcome.error is not None for outcome in outcomes.values()):
        return ()  # stopped, or nothing but exceptions: they say it better, and prove too little
    for size in (1, 2):
        for chosen in itertools.combinations(range(len(exercise.mistakes)), size):
            for style in (None, *range(len(exercise.styles))):
                behaviour = _behaviour(exercise, chosen, style)
                if behaviour and behaviour.is_that_of(outcomes):
                    return tuple(exercise.mistakes[i] for i in _as_shown(exercise, chosen, outcomes))
    if any(outcome.varies for outcome in outcomes.values()):
        own = (mistake for i, mistake in enumerate(exercise.mistakes) if _behaviour(exercise, (i,), None).varies)
        return (next(own, DIFFERS_EACH_TIME),)
    return ()


def _as_shown(exercise: Exercise, chosen: tuple[int, ...], outcomes: dict[str, Outcome]) -> list[int]:
    """The mistake that the first wrong probe shows before one that it does not show."""
    shown = next(name for name in outcomes if not _is_right(exercise, name, outcomes[name]))
    return sorted(chosen, key=lambda i: _is_right(exercise, shown, _behaviour(exercise, (i,), None).on(shown)))


class Behaviour:
    """What one variant of the reference does, found out probe by probe when it is asked for."""

    def __init__(self, exercise: Exercise, function: Callable):
        self.exercise = exercise
        self.function = function
        self.outcomes: dict[str, Outcome] = {}

    def is_that_of(self, outcomes: dict[str, Outcome]) -> bool:
        return all(self.on(name).agrees(outcomes[name], MISTAKE_TOLERANCE) for name in reversed(outcomes))

    @property
    def varies(self) -> bool:
        """Whether it gives another answer each time to the last of the probes."""
        return self.on(list(probes(self.exercise))[-1]).varies

    def on(self, name: str) -> Outcome:
        if name not in self.outcomes:
            self.outcomes[name] = _try(self.function, probes(self.exercise)[name], watch_input=False)
        return self.outcomes[name]


@functools.cache
def _behaviour(exercise: Exercise, chosen: tuple[int, ...], style: int | None) -> Behaviour | None:
    """The reference with the chosen mistakes in one of the styles; None where they cannot be combined."""
    changes = [exercise.mistakes[i] for i in chosen] + ([] if style is None else [exercise.styles[style]])
    orders = (exercise.variant(*order) for order in (changes, changes[::-1]))
    function = next((variant for variant in orders if variant), None)
    return function and Behaviour(exercise, function)


# ---------------------------------------------------------------- what is said


def _right(exercise: Exercise, function: Callable) -> Verdict:
    names = list(probes(exercise))
    yours, ours = (_microseconds(f, probes(exercise)[names[-1]]) for f in (function, exercise.reference))
    lines = [
        f"{exercise.name}: right. Equal to the reference on {len(names)} inputs: {'; '.join(names)}.",
        f"On the last of them it took {yours:.0f} µs, the reference {ours:.0f} µs.",
    ]
    return Verdict(
        exercise.name, True, "\n".join([*lines, exercise.remark]).rstrip(),
        probes=dict.fromkeys(names, True), points=exercise.points, out_of=exercise.points,
    )  # fmt: skip


def _wrong(
    exercise: Exercise,
    function: Callable,
    outcomes: dict[str, Outcome],
    right: dict[str, bool],
    mistakes: tuple[Mistake, ...],
) -> Verdict:
    changed = mistakes == (CHANGES_ITS_INPUT,)
    shown = next(name for name in right if (outcomes[name].changed_input if changed else not right[name]))
    lines = [f"{exercise.name}: not yet."]
    if mistakes:
        made = "this mistake" if len(mistakes) == 1 else "these two mistakes together"
        lines[0] += f" It does what {made} would do:"
        lines += [f"• {mistake.id}: {mistake.why}" for mistake in mistakes]
    else:
        lines += _which(right, outcomes)
    lines += [f"The simplest input that shows it: {shown}."]
    parameters = list(inspect.signature(exercise.reference).parameters)
    arguments = probes(exercise)[shown]
    lines += [f"  {name} = {show(argument)}" for name, argument in zip(parameters, arguments)]
    outcome, wanted = outcomes[shown], expected(exercise)[shown]
    if outcome.error:
        what = _raised(function, outcome.error)
    elif changed:
        what = "\n".join(f"afterwards {parameters[i]} = {show(after)}" for i, after in outcome.changed_input.items())
    else:
        what = difference(wanted, outcome.value) or (
            "The answer is the expected one, but the model, or a part of it, is not in the mode that it was in before."
        )
    after = [f"hint({exercise.name}) goes a step further; solution({exercise.name}) shows the package's own."]
    if exercise.part:
        after += [f"consequences({exercise.name}) trains a small model with it, beside the reference."]
    return Verdict(
        exercise.name, False, "\n".join([*lines, what, *after]),
        mistakes=tuple(mistake.id for mistake in mistakes), probes=right, shown=what,
        pair=None if outcome.error else (wanted, outcome.value),
        # Right answers that spoil their input keep half.
        points=round(exercise.points * sum(right.values()) / len(right) / (2 if changed else 1), 2),
        out_of=exercise.points,
    )  # fmt: skip


def _which(right: dict[str, bool], outcomes: dict[str, Outcome]) -> list[str]:
    """On which inputs the answer is right, and on which it is not."""
    if not any(right.values()) and len(outcomes) == len(right):
        return [f"Wrong on all {len(right)} inputs."]
    kinds = {
        "Right on": [name for name in right if right[name]],
        "Wrong on": [name for name in outcomes if not right[name] and not isinstance(outcomes[name].error, TimeIsUp)],
        "Not finished": [name for name in outcomes if isinstance(outcomes[name].error, TimeIsUp)],
        "Not tried": [name for name in right if name not in outcomes],
    }
    return [f"{kind}: {'; '.join(names)}." for kind, names in kinds.items() if names]


def _raised(function: Callable, error: BaseException) -> str:
    """The exception as the learner's own: what it says, and their line that led to it."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if code and frame.filename == code.co_filename and frame.line]
    where = ""
    if theirs:
        frame = theirs[-1]
        of_function = f"in line {frame.lineno - code.co_firstlineno + 1} of your function"
        where = f", {of_function if frame.name == code.co_name else f'in {frame.name}'}:  {frame.line}"
    if isinstance(error, TimeIsUp):
        return (
            f"Your function had not finished after {SECONDS:.0f} seconds and was stopped{where or '.'}\n"
            "Is there a loop that never ends, or a very long one?"
        )
    if is_out_of_memory(error):
        return (
            f"Your function was stopped when it asked for more than {GIGABYTES:.0f} GB{where or '.'}\n"
            "These inputs are tiny. Does a size get multiplied by another, or does something grow without end?"
        )
    message = str(error).rstrip(".")
    return f"Your function raised {type(error).__name__}{f': {message}' if message else ''}{where}"


def _microseconds(function: Callable, arguments: tuple) -> float:
    """The fastest of a few runs."""
    seconds = []
    for _ in range(5):
        given = _copy(arguments)
        with contextlib.redirect_stdout(io.StringIO()):
            started = time.perf_counter()
            function(*given)
            seconds.append(time.perf_counter() - started)
    return 1e6 * min(seconds)


def _is_empty(function: Callable) -> bool:
    """True for a body of nothing but a docstring, `...`, comments, or one `raise NotImplementedError`."""
    code = getattr(inspect.unwrap(function), "__code__", None)  # a function written in C has none
    steps = [] if code is None else [step for step in dis.get_instructions(code) if step.opname != "RESUME"]
    returning = ("LOAD_CONST", "RETURN_VALUE", "RETURN_CONST")
    if steps and steps[-1].opname == "RAISE_VARARGS" and code.co_names == ("NotImplementedError",):
        return all(step.opname in ("LOAD_GLOBAL", "PUSH_NULL", "PRECALL", "CALL", "LOAD_CONST") for step in steps[:-1])
    return bool(steps) and all(step.opname in returning and step.argval is None for step in steps)

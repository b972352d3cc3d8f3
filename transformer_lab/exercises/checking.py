"""How a check runs: the function on every probe, what it did beside what was expected, and which mistake does the same."""

import contextlib
import copy
import dis
import functools
import inspect
import itertools
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transformer_lab.exercises.catalogue import Exercise, Mistake
from transformer_lab.exercises.comparing import agree, difference, show
from transformer_lab.exercises.guard import GIGABYTES, SECONDS, TimeIsUp, is_out_of_memory, limits
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
    changed_input: bool = False
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
        return self.again is not None and _differ(self.again().value, self.again().value)


def run(exercise: Exercise, function: Callable) -> Verdict:
    """The verdict on the function: right, wrong (by which mistakes, if known ones fit), or not attempted."""
    with _quiet():
        outcomes = {} if _is_empty(function) else _try_all(exercise, function)
        if all(isinstance(outcome.error, NotImplementedError) for outcome in outcomes.values()):
            text = f"{exercise.name}: not attempted yet; going on with the reference."
            return Verdict(exercise.name, None, text, out_of=exercise.points)
        right = {
            name: o.error is None and not o.changed_mode and agree(expected(exercise)[name], o.value)
            for name, o in outcomes.items()
        }
        if all(right.values()):
            changed = next((name for name, outcome in outcomes.items() if outcome.changed_input), None)
            if changed is None:
                return _right(exercise, function)
            mistakes = (CHANGES_ITS_INPUT,)
        else:
            changed = None
            mistakes = diagnose(exercise, outcomes)
    return _wrong(exercise, function, outcomes, right, mistakes, changed)


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
    given = copy.deepcopy(arguments)
    try:
        value = function(*given)
    except (Exception, SystemExit) as error:
        return Outcome(error=error)
    changed = watch_input and any(_can_be_compared(b) and not agree(b, a) for b, a in zip(arguments, given))
    return Outcome(
        value,
        changed_input=changed,
        changed_mode=_modes(given) != _modes(arguments),
        again=functools.partial(_try, function, arguments),
    )


def _can_be_compared(argument) -> bool:
    """A copy of a model is never equal to it."""
    holds_models = isinstance(argument, list) and any(isinstance(part, nn.Module) for part in argument)
    return isinstance(argument, Tensor | list) and not holds_models


def _modes(arguments: tuple) -> list[bool]:
    """Of every part of every model among the arguments: is it in training mode?"""
    return [part.training for model in arguments if isinstance(model, nn.Module) for part in model.modules()]


def _try_all(exercise: Exercise, function: Callable) -> dict[str, Outcome]:
    """An outcome for each probe. When time is up, the probes that had no turn count as the one that used it up."""
    outcomes, arguments = {}, probes(exercise)
    try:
        with limits():
            for name in arguments:
                outcomes[name] = _try(function, arguments[name])
    except TimeIsUp as error:
        outcomes = {name: outcomes.get(name, Outcome(error=error)) for name in arguments}
    return outcomes


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
    if all(outcome.error is not None for outcome in outcomes.values()):
        return ()  # nothing but exceptions: they say it better, and prove too little
    try:
        with limits():
            for size in (1, 2):
                for chosen in itertools.combinations(range(len(exercise.mistakes)), size):
                    for style in (None, *range(len(exercise.styles))):
                        behaviour = _behaviour(exercise, chosen, style)
                        if behaviour and behaviour.is_that_of(outcomes):
                            return tuple(exercise.mistakes[i] for i in chosen)
            if any(outcome.varies for outcome in outcomes.values()):
                own = (m for i, m in enumerate(exercise.mistakes) if _behaviour(exercise, (i,), None).varies)
                return (next(own, DIFFERS_EACH_TIME),)
    except TimeIsUp:  # two mistakes together may never end
        pass
    return ()


class Behaviour:
    """What one variant of the reference does, found out probe by probe when it is asked for."""

    def __init__(self, exercise: Exercise, function: Callable):
        self.exercise = exercise
        self.function = function
        self.outcomes: dict[str, Outcome] = {}

    def is_that_of(self, outcomes: dict[str, Outcome]) -> bool:
        return all(self._on(name).agrees(outcomes[name], MISTAKE_TOLERANCE) for name in reversed(outcomes))

    @property
    def varies(self) -> bool:
        """Whether it gives another answer each time to the last of the probes."""
        return self._on(list(probes(self.exercise))[-1]).varies

    def _on(self, name: str) -> Outcome:
        if name not in self.outcomes:
            self.outcomes[name] = _try(self.function, probes(self.exercise)[name], watch_input=False)
        return self.outcomes[name]


@functools.cache
def _behaviour(exercise: Exercise, chosen: tuple[int, ...], style: int | None) -> Behaviour | None:
    """The reference with the chosen mistakes in one of the styles; None where they cannot be combined."""
    patches = [exercise.mistakes[i].patch for i in chosen]
    patches += [] if style is None else [exercise.styles[style]]
    orders = (exercise.variant(*order) for order in (patches, patches[::-1]))
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
    changed: str | None,
) -> Verdict:
    probe = changed or next(name for name in right if not right[name])
    arguments, outcome, wanted = probes(exercise)[probe], outcomes[probe], expected(exercise)[probe]
    lines = [f"{exercise.name}: not yet."]
    if mistakes:
        made = "this mistake" if len(mistakes) == 1 else "these two mistakes together"
        lines[0] += f" It does what {made} would do:"
        lines += [f"• {mistake.id}: {mistake.why}" for mistake in mistakes]
    elif any(right.values()):
        for which, ok in (("Right on", True), ("Wrong on", False)):
            lines += [f"{which}: {'; '.join(name for name in right if right[name] is ok)}."]
    else:
        lines += [f"Wrong on all {len(right)} inputs."]
    lines += [f"The simplest input that shows it: {probe}."]
    parameters = inspect.signature(exercise.reference).parameters
    lines += [f"  {name} = {show(argument)}" for name, argument in zip(parameters, arguments)]
    after = [f"hint({exercise.name}) goes a step further; solution({exercise.name}) shows the package's own."]
    if exercise.part:
        after += [f"consequences({exercise.name}) trains a small model with it, beside the reference."]
    what = _raised(function, outcome.error) if outcome.error else difference(wanted, outcome.value)
    if outcome.changed_mode and not what:
        what = (
            "The answer is the expected one, but the model, or a part of it, is not in the mode that it was in before."
        )
    return Verdict(
        exercise.name, False, "\n".join(filter(None, [*lines, what, *after])),
        mistakes=tuple(mistake.id for mistake in mistakes), probes=right, shown=what,
        pair=None if outcome.error else (wanted, outcome.value),
        # Right answers that spoil their input keep half.
        points=round(exercise.points * sum(right.values()) / len(right) / (2 if changed else 1), 2),
        out_of=exercise.points,
    )  # fmt: skip


def _raised(function: Callable, error: BaseException) -> str:
    """The exception as the learner's own: what it says, and their line that led to it."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if code and frame.filename == code.co_filename]
    line = ""
    if theirs:
        number = theirs[-1].lineno - code.co_firstlineno + 1
        line = f", in line {number} of your function:  {theirs[-1].line}" if theirs[-1].line else ""
    if isinstance(error, TimeIsUp):
        return f"Your function was stopped after {SECONDS:.0f} seconds{line or '.'}\nIs there a loop that never ends?"
    if is_out_of_memory(error):
        return (
            f"Your function was stopped when it asked for more than {GIGABYTES:.0f} GB{line or '.'}\n"
            "These inputs are tiny: does a size get multiplied by another?"
        )
    return f"Your function raised {type(error).__name__}: {error}{line}"


def _microseconds(function: Callable, arguments: tuple) -> float:
    """The fastest of a few runs."""
    seconds = []
    for _ in range(5):
        given = copy.deepcopy(arguments)
        started = time.perf_counter()
        function(*given)
        seconds.append(time.perf_counter() - started)
    return 1e6 * min(seconds)


def _is_empty(function: Callable) -> bool:
    """True for a body of nothing but a docstring, `...` and comments: it does nothing but return None."""
    code = getattr(inspect.unwrap(function), "__code__", None)  # a function written in C has none
    steps = [] if code is None else [step for step in dis.get_instructions(code) if step.opname != "RESUME"]
    returning = ("LOAD_CONST", "RETURN_VALUE", "RETURN_CONST")
    return bool(steps) and all(step.opname in returning and step.argval is None for step in steps)

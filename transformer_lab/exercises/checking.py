"""How a check runs: the learner's function and the reference on the same inputs, and the first difference in words."""

import copy
import dis
import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Exercise:
    """A function to write. `probes()` gives name → arguments, the simplest input first, the same at each call."""

    reference: Callable
    probes: Callable[[], dict[str, tuple]]
    name: str = ""  # the reference's own name unless given

    def __post_init__(self):
        object.__setattr__(self, "name", self.name or self.reference.__name__)


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check: right is True, False, or None when there was nothing to check yet."""

    exercise: str
    right: bool | None
    text: str

    def __repr__(self) -> str:
        return self.text


def run(exercise: Exercise, function: Callable) -> Verdict:
    """Check the function on each probe in turn and report on the first that differs."""
    if _is_empty(function):
        return Verdict(
            exercise.name, None, f"{exercise.name}: not attempted yet; the notebook goes on with the reference."
        )
    with torch.random.fork_rng(devices=[]):  # the notebook's random numbers stay what they are without a check
        probes = exercise.probes()
        for name, arguments in probes.items():
            expected = exercise.reference(*copy.deepcopy(arguments))
            try:
                answer = function(*(given := copy.deepcopy(arguments)))
            except Exception as error:
                return Verdict(exercise.name, False, _not_yet(exercise, name, arguments, _raised(error)))
            difference = _difference(expected, answer)
            if not difference and _changed(arguments, given):
                difference = "Your answer is right, but your function changes what it was given. Work on a copy."
            if difference:
                return Verdict(exercise.name, False, _not_yet(exercise, name, arguments, difference))
    return Verdict(
        exercise.name,
        True,
        f"{exercise.name}: right. Equal to the reference on {len(probes)} inputs: {'; '.join(probes)}.",
    )


def _changed(before: tuple, after: tuple) -> bool:
    """Whether a tensor among the arguments is not what it was."""
    pairs = zip(before, after)
    return any(_tensor_difference(b, a) for b, a in pairs if isinstance(b, Tensor))


def _is_empty(function: Callable) -> bool:
    """True for a body of nothing but a docstring, `...` and comments: it does nothing but return None."""
    code = getattr(inspect.unwrap(function), "__code__", None)  # a function written in C has none
    steps = [] if code is None else [step for step in dis.get_instructions(code) if step.opname != "RESUME"]
    returning = ("LOAD_CONST", "RETURN_VALUE", "RETURN_CONST")
    return bool(steps) and all(step.opname in returning and step.argval is None for step in steps)


def _not_yet(exercise: Exercise, probe: str, arguments: tuple, difference: str) -> str:
    names = inspect.signature(exercise.reference).parameters
    shown = "\n".join(f"  {name} = {_show(argument)}" for name, argument in zip(names, arguments))
    return f"{exercise.name}: not yet. The input that shows it: {probe}.\n{shown}\n{difference}"


def _raised(error: Exception) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    line = f", at your line:  {frames[0].line}" if frames and frames[0].line else ""
    return f"Your function raised {type(error).__name__}: {error}{line}"


def _show(value) -> str:
    if isinstance(value, Tensor):
        size = "×".join(map(str, value.shape)) or "scalar"
        if value.numel() <= 12:
            return f"tensor, {size}: {_rounded(value)}"
        return f"tensor, {size}"
    return repr(value)


def _rounded(value: Tensor, decimals: int = 3) -> str:
    if value.dtype == torch.bool or not value.is_floating_point():
        return str(value.tolist())
    return str((value.detach().double().round(decimals=decimals) + 0.0).tolist())  # + 0.0 turns −0 into 0


def _difference(expected, answer) -> str:
    """In words, where the answer departs from what was expected; empty when it does not."""
    if isinstance(expected, tuple | list):
        if not isinstance(answer, tuple | list):
            return f"expected {len(expected)} things, yours is {_kind(answer)}"
        if len(answer) != len(expected):
            return f"expected {len(expected)} things, yours has {len(answer)}"
        for i, (e, a) in enumerate(zip(expected, answer)):
            if difference := _difference(e, a):
                return f"number {i + 1} of the {len(expected)} things that you return: {difference}"
        return ""
    if isinstance(expected, Tensor):
        return _tensor_difference(expected, answer)
    if isinstance(answer, Tensor):
        if answer.numel() != 1:
            return f"expected {expected!r}, yours is a tensor of shape {tuple(answer.shape)}"
        answer = answer.item()
    if answer is None:
        return f"expected {expected!r}, yours returns None (is a return missing?)"
    if isinstance(expected, float) and isinstance(answer, int | float):
        right = abs(expected - answer) <= TOLERANCE * max(1, abs(expected))
        return "" if right else f"expected {expected:.7g}, yours {answer:.7g}"
    return "" if expected == answer else f"expected {expected!r}, yours {answer!r}"


def _tensor_difference(expected: Tensor, answer) -> str:
    if answer is None:
        return "expected a tensor, yours returns None (is a return missing?)"
    if not isinstance(answer, Tensor):
        if expected.ndim == 0 and isinstance(answer, int | float | bool):
            answer = torch.tensor(answer)
        else:
            return f"expected a tensor, yours is {_kind(answer)}"
    if answer.shape != expected.shape:
        return f"expected shape {tuple(expected.shape)}, yours {tuple(answer.shape)}"
    if (answer.dtype == torch.bool) != (expected.dtype == torch.bool):
        return f"expected dtype {expected.dtype}, yours {answer.dtype}"
    wanted, got = expected.detach().double(), answer.detach().double()
    wrong = ~torch.isclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    if not wrong.any():
        return ""
    if wanted.numel() <= 12:
        # As few decimals as tell the two apart.
        decimals = next(d for d in (3, 6, 9) if _rounded(expected, d) != _rounded(answer, d) or d == 9)
        return f"expected {_rounded(expected, decimals)}\nyours    {_rounded(answer, decimals)}"
    gap = (got - wanted).abs().nan_to_num(torch.inf, torch.inf)
    where = tuple(int(i) for i in torch.unravel_index(torch.where(wrong, gap, -1).argmax(), gap.shape))
    return (
        f"{int(wrong.sum())} of {wrong.numel()} entries differ; the most at {list(where)}: "
        f"expected {wanted[where]:.7g}, yours {got[where]:.7g}"
    )


def _kind(value) -> str:
    return "None" if value is None else f"a {type(value).__name__}"

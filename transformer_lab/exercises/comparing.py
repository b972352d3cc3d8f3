"""When two answers agree, and in words where they do not."""

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 1e-5


def agree(expected, answer, tolerance: float = TOLERANCE) -> bool:
    """Equal in structure, shape and kind, and in numbers to within the tolerance, absolute or relative."""
    if isinstance(expected, tuple | list):
        return (
            isinstance(answer, tuple | list)
            and len(answer) == len(expected)
            and all(agree(e, a, tolerance) for e, a in zip(expected, answer))
        )
    if isinstance(expected, Tensor):
        answer = _as_tensor(expected, answer)
        return (
            isinstance(answer, Tensor)
            and answer.shape == expected.shape
            and (answer.dtype == torch.bool) == (expected.dtype == torch.bool)
            and bool(_close(expected, answer, tolerance).all())
        )
    if isinstance(answer, Tensor):
        if answer.numel() != 1:
            return False
        answer = answer.item()
    if isinstance(expected, float) and isinstance(answer, int | float):
        both_nan = expected != expected and answer != answer
        close = abs(expected - answer) <= tolerance * max(1, abs(expected))
        return bool(expected == answer or both_nan or close)  # of numpy's numbers too
    try:
        return bool(expected == answer)
    except (ValueError, TypeError, RuntimeError):  # what has no plain answer to ==, as an array, is not equal
        return False


def difference(expected, answer) -> str:
    """In words, where the answer departs from what was expected; empty when it does not."""
    if agree(expected, answer):
        return ""
    if _is_row(expected) and _is_row(answer):
        return f"expected {_row(expected)}\nyours    {_row(answer)}"
    if isinstance(expected, tuple | list):
        if answer is None:
            return f"expected {len(expected)} things, yours returns None (is a return missing?)"
        if not isinstance(answer, tuple | list):
            return f"expected {len(expected)} things, yours is {_kind(answer)}"
        if len(answer) != len(expected):
            return f"expected {len(expected)} things, yours has {len(answer)}"
        i = first_difference(expected, answer)
        what = difference(expected[i], answer[i]).replace("yours returns None (is a return missing?)", "yours is None")
        gap = "\n" if "\n" in what else " "
        return f"number {i + 1} of the {len(expected)} things that you return:{gap}{what}"
    if isinstance(expected, Tensor):
        return _tensor_difference(expected, answer)
    if isinstance(answer, Tensor) and answer.numel() != 1:
        return f"expected {expected!r}, yours is a tensor of shape {tuple(answer.shape)}"
    if answer is None:
        return f"expected {expected!r}, yours returns None (is a return missing?)"
    answer = answer.item() if isinstance(answer, Tensor) else answer
    if isinstance(expected, float) and isinstance(answer, int | float):
        return f"expected {expected:.7g}, yours {answer:.7g}"
    return f"expected {expected!r}, yours {answer!r}"


def first_difference(expected, answer) -> int:
    """The index of the first thing that differs, of two tuples of equal length."""
    return next(i for i, (e, a) in enumerate(zip(expected, answer)) if not agree(e, a))


def worst_entry(expected: Tensor, answer: Tensor) -> tuple[int, ...]:
    """The place at which two tensors of one shape differ the most."""
    wanted, got = expected.detach().double(), answer.detach().double()
    gap = torch.where(_close(expected, answer, TOLERANCE), -1, (got - wanted).abs().nan_to_num(torch.inf, torch.inf))
    # numpy's, since torch's imports half a second's worth of modules when it is first called
    return tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape))


def show(value) -> str:
    """A value on one line: a tensor's numbers when there are at most 12, else its size."""
    if isinstance(value, Tensor):
        size = "×".join(map(str, value.shape)) or "scalar"
        return f"tensor, {size}: {rounded(value)}" if value.numel() <= 12 else f"tensor, {size}"
    return repr(value)


def rounded(value: Tensor, decimals: int = 3) -> str:
    if value.dtype == torch.bool or not value.is_floating_point():
        return str(value.tolist())
    return str((value.detach().double().round(decimals=decimals) + 0.0).tolist())  # + 0.0 turns −0 into 0


def decimals_that_tell(expected: Tensor, answer: Tensor) -> int:
    """As few decimals as tell the two apart: 3, 6 or 9."""
    return next(d for d in (3, 6, 9) if rounded(expected, d) != rounded(answer, d) or d == 9)


def _as_tensor(expected: Tensor, answer):
    """A plain number stands for a tensor without axes."""
    return torch.tensor(answer) if expected.ndim == 0 and isinstance(answer, int | float) else answer


def _close(expected: Tensor, answer: Tensor, tolerance: float) -> Tensor:
    wanted, got = expected.detach().double(), answer.detach().double()
    return torch.isclose(got, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)


def _tensor_difference(expected: Tensor, answer) -> str:
    if answer is None:
        return "expected a tensor, yours returns None (is a return missing?)"
    answer = _as_tensor(expected, answer)
    if not isinstance(answer, Tensor):
        return f"expected a tensor, yours is {_kind(answer)}"
    if answer.shape != expected.shape:
        return f"expected shape {tuple(expected.shape)}, yours {tuple(answer.shape)}"
    if (answer.dtype == torch.bool) != (expected.dtype == torch.bool):
        return f"expected dtype {expected.dtype}, yours {answer.dtype}"
    if expected.numel() <= 12:
        decimals = decimals_that_tell(expected, answer)
        return f"expected {rounded(expected, decimals)}\nyours    {rounded(answer, decimals)}"
    where = worst_entry(expected, answer)
    wrong = int((~_close(expected, answer, TOLERANCE)).sum())
    return (
        f"{wrong} of {expected.numel()} entries differ; the most at {list(where)}: "
        f"expected {expected[where].item():.7g}, yours {answer[where].item():.7g}"
    )


def _is_row(value) -> bool:
    """A list of plain numbers, which is shown whole."""
    return isinstance(value, list) and all(isinstance(x, int | float) for x in value)


def _row(numbers: list) -> str:
    return f"[{', '.join(f'{x:.7g}' for x in numbers)}]"


def _kind(value) -> str:
    return "None" if value is None else f"a {type(value).__name__}"

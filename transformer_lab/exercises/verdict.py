"""A verdict: one object for the learner (text and picture), for the tests and for the grader (JSON)."""

import html
import os
from dataclasses import dataclass, field

import matplotlib
import torch
from torch import Tensor

from transformer_lab.exercises.comparing import agree, decimals_that_tell, first_difference, worst_entry

JSON = "application/vnd.transformer-lab.verdict+json"
LARGEST = 8  # rows and columns that a picture shows


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check: right is True, False, or None when there was nothing to check yet."""

    exercise: str
    right: bool | None
    text: str
    mistakes: tuple[str, ...] = ()  # ids, when the answer behaves like known ones
    probes: dict[str, bool] = field(default_factory=dict)  # which inputs it is right on
    points: float = 0
    out_of: float = 0
    shown: str = ""  # the part of the text that the picture stands for
    pair: tuple | None = None  # what was expected, and what came, on the simplest input that shows it

    def __repr__(self) -> str:
        return self.text

    def record(self) -> dict:
        """What a grader needs."""
        return {
            "exercise": self.exercise,
            "right": self.right,
            "mistakes": list(self.mistakes),
            "probes": self.probes,
            "points": self.points,
            "out_of": self.out_of,
        }

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        # nbgrader takes the points from the text of a check's output (it sets this variable when it grades).
        text = str(float(self.points)) if os.environ.get("NBGRADER_EXECUTION") else self.text
        bundle = {"text/plain": text, JSON: self.record()}
        if self.right is not None or text != self.text:
            bundle["text/html"] = self._html()
        return bundle

    def _html(self) -> str:
        colour = {True: "#009E73", False: "#D55E00", None: "#888888"}[self.right]
        tables = matrices(*self.pair) if self.pair else ""
        if tables and self.shown:
            before, _, after = self.text.partition(self.shown)
            body = _paragraph(before) + tables + _paragraph(after)
        else:
            body = _paragraph(self.text)
        return f'<div style="border-left: 4px solid {colour}; padding-left: 12px">{body}</div>'


def _paragraph(text: str) -> str:
    """Lines as paragraphs; the indented ones, code and numbers, in a typewriter's letters."""
    page = []
    for line in text.strip("\n").splitlines():
        name, colon, rest = html.escape(line).partition(":")
        if line.startswith(("  ", "expected ", "yours ")):
            page.append(f'<div style="font-family: monospace; white-space: pre-wrap">{html.escape(line)}</div>')
        elif colon and (line.startswith("• ") or not page):
            page.append(f'<p style="margin: 4px 0"><b>{name}</b>{colon}{rest}</p>')
        else:
            page.append(f'<p style="margin: 4px 0">{html.escape(line)}</p>')
    return "".join(page)


# ---------------------------------------------------------------- target, yours, difference


def matrices(expected, answer) -> str:
    """Expected, yours and the difference as tables in colour; empty where the two are not matrices of one shape."""
    nth = ""
    if isinstance(expected, tuple | list):
        if not isinstance(answer, tuple | list) or len(answer) != len(expected):
            return ""
        i = first_difference(expected, answer)
        nth = f"<p>Number {i + 1} of the {len(expected)} things that you return:</p>"
        expected, answer = expected[i], answer[i]
    if not (isinstance(expected, Tensor) and isinstance(answer, Tensor)) or expected.ndim < 1:
        return ""
    if expected.shape != answer.shape or (expected.dtype == torch.bool) != (answer.dtype == torch.bool):
        return ""
    if not expected.numel() or agree(expected, answer):
        return ""
    window, where = _window(expected, answer)
    expected, answer = (t.detach()[window] for t in (torch.atleast_2d(expected), torch.atleast_2d(answer)))
    if expected.dtype == torch.bool:
        numbers = [t.double() for t in (expected, answer)]
        labels = [[[str(v) for v in row] for row in t.tolist()] for t in (expected, answer)]
        labels += [[["≠" if v else "" for v in row] for row in (expected != answer).tolist()]]
    else:
        decimals = decimals_that_tell(expected, answer) if expected.is_floating_point() else 0
        numbers = [t.double() for t in (expected, answer)]
        labels = [
            [[_number(v, decimals) for v in row] for row in t.tolist()] for t in (*numbers, numbers[1] - numbers[0])
        ]
    gap = numbers[1] - numbers[0]
    finite = torch.cat([t[t.isfinite()] for t in numbers] or [torch.zeros(1)])
    low, high = (finite.min().item(), finite.max().item()) if finite.numel() else (0.0, 1.0)
    largest = gap[gap.isfinite()].abs().max().item() if gap.isfinite().any() else 0.0
    tables = [
        _table("expected", numbers[0], labels[0], "cividis", low, high),
        _table("yours", numbers[1], labels[1], "cividis", low, high),
        _table(
            "where they differ" if expected.dtype == torch.bool else "yours − expected",
            gap,
            labels[2],
            "RdBu_r",
            -(largest or 1.0),
            largest or 1.0,
        ),
    ]
    return f'{nth}{where}<div style="display: flex; flex-wrap: wrap; gap: 24px">{"".join(tables)}</div>'


def _window(expected: Tensor, answer: Tensor) -> tuple[tuple, str]:
    """The index of at most LARGEST × LARGEST entries around the worst one, and words for what that leaves out."""
    worst = worst_entry(expected, answer)
    shape = tuple(expected.shape)
    if len(shape) == 1:
        worst, shape = (0, *worst), (1, *shape)
    slices = []
    for i, size in zip(worst[-2:], shape[-2:]):
        start = max(0, min(i - LARGEST // 2, size - LARGEST))
        slices.append(slice(start, start + LARGEST))
    index = (*worst[:-2], *slices)
    if len(shape) == 2 and max(shape) <= LARGEST:
        return index, ""
    said = ", ".join([*map(str, worst[:-2]), *(f"{s.start}:{min(s.stop, n)}" for s, n in zip(slices, shape[-2:]))])
    return index, f"<p>The part [{said}], where they differ most:</p>"


def _number(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0.0 turns −0 into 0


def _table(caption: str, numbers: Tensor, labels: list[list[str]], cmap: str, low: float, high: float) -> str:
    rows = "".join(
        f"<tr>{''.join(_cell(v, label, cmap, low, high) for v, label in zip(row, row_labels))}</tr>"
        for row, row_labels in zip(numbers.tolist(), labels)
    )
    head = f'<caption style="white-space: nowrap">{caption}</caption>'
    return f'<table style="border-collapse: collapse">{head}{rows}</table>'


def _cell(value: float, label: str, cmap: str, low: float, high: float) -> str:
    place = 0.5 if high == low else (value - low) / (high - low)
    finite = value == value and abs(value) != float("inf")
    red, green, blue, _ = matplotlib.colormaps[cmap](place) if finite else (0.5, 0.5, 0.5, 1)
    ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
    fill = f"rgb({255 * red:.0f}, {255 * green:.0f}, {255 * blue:.0f})"
    return f'<td style="background: {fill}; color: {ink}; padding: 4px 8px; text-align: right">{label}</td>'

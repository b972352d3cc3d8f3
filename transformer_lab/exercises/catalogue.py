"""How an exercise is declared, and the mistakes that its check knows.

A mistake is a small change to the reference's source, so that it *is* an implementation, two of them can be
combined, and the catalogue holds no second copy of anything:

    Mistake(
        "mask-with-zero",
        "A hidden score is set to 0, and 0 is a score like any other: exp(0) = 1. Only −∞ gives the weight 0.",
        {"-math.inf": "0.0"},
    )
"""

import __future__

import builtins
import functools
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType

POINTS = {"easy": 1, "medium": 2, "hard": 3}


@dataclass(frozen=True, eq=False)
class Mistake:
    """A known wrong answer: what it is called, why it is wrong, and its source as old text → new text."""

    id: str
    why: str
    patch: dict[str, str]
    also: dict[str, str] = field(default_factory=dict)  # changed too, where another mistake has left it to change


@dataclass(frozen=True, eq=False)
class Exercise:
    """A function to write, and what its check knows about it."""

    reference: Callable  # the right answer, with its docstring
    probes: Callable[[], dict[str, tuple]]  # name → arguments, the simplest first, the same at each call
    name: str = ""  # the reference's own name unless given
    difficulty: str = "easy"  # one of POINTS
    minutes: int = 5
    helpers: tuple[Callable, ...] = ()  # functions that the reference calls and that belong to the answer
    mistakes: tuple[Mistake, ...] = ()
    styles: tuple[dict[str, str], ...] = ()  # patches that are right too, and with a mistake behave differently
    hints: tuple[str, ...] = ()  # each goes a step further than the one before
    remark: str = ""  # what is worth knowing once it is right
    part: str = ""  # the part of a small model that the function can be, see consequences.py

    def __post_init__(self):
        object.__setattr__(self, "name", self.name or self.reference.__name__)

    @property
    def points(self) -> int:
        return POINTS[self.difficulty]

    @functools.cached_property
    def source(self) -> str:
        """The source of the reference and its helpers, the reference last."""
        return "\n\n".join(inspect.getsource(function) for function in (*self.helpers, self.reference))

    @functools.cached_property
    def _names(self) -> dict[str, object]:
        """What the reference and its helpers find around them."""
        modules = (vars(sys.modules[function.__module__]) for function in (*self.helpers, self.reference))
        return functools.reduce(dict.__or__, modules, vars(builtins))

    def variant(self, *changes: Mistake | dict[str, str]) -> Callable | None:
        """The reference after these changes, one after the other; None where they cannot be combined.

        All of a mistake's patch must be there to change: half of it would be another mistake. Of a style, a part.
        """
        source = self.source
        for change in changes:
            patch, optional = (change.patch, change.also) if isinstance(change, Mistake) else ({}, change)
            before = source
            for old, new in patch.items():
                if old not in source:
                    return None
                source = source.replace(old, new)
            for old, new in optional.items():
                source = source.replace(old, new)
            if source == before:
                return None
        names = {"__builtins__": self._names}  # where Python looks last, so that a thousand variants share them
        for function in re.split(r"\n\n(?=def )", source):
            exec(_compiled(function, self.name), names)
        return names[self.reference.__name__]


@functools.cache
def _compiled(source: str, name: str) -> CodeType:
    """One function's code. Most mistakes change one function of several, and the others are compiled once."""
    # The annotations stay text: nothing looks at them here.
    flags = __future__.annotations.compiler_flag
    return compile(source, f"<{name}>", "exec", flags=flags, dont_inherit=True)

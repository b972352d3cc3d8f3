"""What the widgets have in common: a module and a style from this folder, a picture and a text where no kernel runs.

A widget is a Python class with its state as traits, and a plain ES module of the same name beside it. The module
imports `./shared.js`; since a front end gets one module a widget, the shared lines are put in its place here.
"""

import base64
import html
import io
import json
import os
import re
import unicodedata
import warnings
import zlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import anywidget
import matplotlib
import traitlets
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
PACKED = "application/vnd.transformer-lab.widget+json"  # a widget's state, kept beside its picture in a notebook
_FOR_READERS = re.compile(r"^\s*(//.*\n|/\*\*(.|\n)*?\*/\n)|^[ \n]+| +// .*$", re.MULTILINE)
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./shared\.js";\n', re.MULTILINE)


@cache
def es_module(name: str) -> str:
    """The ES module `name`.js of this folder, as one file: its import of shared.js is replaced by what that holds.

    Comments and indentation stay behind: they are for who reads the files, and every page would carry them.
    """
    return _shared() + _own(name)


def _shared() -> str:
    return _FOR_READERS.sub("", (FOLDER / "shared.js").read_text(encoding="utf-8").replace("\nexport ", "\n"))


def _own(name: str) -> str:
    own, found = _IMPORT.subn("", (FOLDER / f"{name}.js").read_text(encoding="utf-8"))
    if not found:
        raise ValueError(f'{name}.js must import from "./shared.js"')
    return _FOR_READERS.sub("", own)


@cache
def style() -> str:
    return (FOLDER / "shared.css").read_text(encoding="utf-8")


class Refused(ValueError, traitlets.TraitError):
    """A value that a trait does not take. As a TraitError, it has traitlets take back what was set along with it."""


class Widget(anywidget.AnyWidget):
    """A view with its state in traits. Subclasses name their module, and say and draw what they show.

    `module`: the ES module's name in this folder, without .js.
    `__repr__`: what is on show, in words. `figure`: the same as a matplotlib Figure, for where nothing runs.
    """

    module: str

    def __init__(self, **traits):
        self._esm, self._css = es_module(self.module), style()
        super().__init__(**traits)

    @property
    def figure(self) -> Figure:
        raise NotImplementedError

    def save(self, path: str | os.PathLike) -> None:
        """Write the picture (.png, .svg) or a page that is alive without kernel and network (.html)."""
        path = Path(path)
        if path.suffix in (".png", ".svg"):
            self._draw(path, path.suffix[1:])
        elif path.suffix == ".html":
            path.write_text(page(self.packed(), html.escape(repr(self)), type(self).__name__), encoding="utf-8")
        else:
            raise ValueError(f"path must end in .png, .svg or .html; got {path.name!r}")

    def _draw(self, file, kind: str) -> None:
        """The picture. A learner's text may hold dollars, which begin no formula here, and signs that no font has."""
        with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            self.figure.savefig(file, format=kind)

    def packed(self) -> dict:
        """The module's name and the state that a page without a kernel starts from."""
        return pack(self.module, {name: getattr(self, name) for name in own_traits(self)})

    def _repr_mimebundle_(self, **options) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**options)
        png = io.BytesIO()
        self._draw(png, "png")
        return data | {"text/plain": repr(self), "image/png": base64.b64encode(png.getvalue()).decode()}, metadata


def own_traits(widget: Widget) -> list[str]:
    """The names of the traits that the module reads: not those of Jupyter's own machinery."""
    return [name for name in widget.trait_names(sync=True) if name not in machinery()]


def machinery() -> set[str]:
    """The names of the traits that every widget has."""
    return {*anywidget.AnyWidget.class_trait_names(sync=True), "_esm", "_css", "_anywidget_id"}


class Answering(Widget):
    """A widget whose page asks Python for what only a model or a tokenizer can do. In shared.js: `makeRequests`.

    The page sets `request`: {"number": n, "text": the text to read}, or n and one of `methods` with its argument.
    Python does it, then sets `answered` to n; `error` says what could not be done. Numbers grow, so the page knows
    a late answer from the one it waits for.
    """

    methods: tuple[str, ...] = ()  # what the page may call
    text = traitlets.Unicode().tag(sync=True)
    request = traitlets.Dict().tag(sync=True)
    answered = traitlets.Int(0).tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)

    @traitlets.observe("request")
    def _answer(self, change) -> None:
        with self.hold_sync():  # the whole answer arrives at once
            self.error = ""
            try:
                for name, value in change["new"].items():
                    if name == "text":
                        self.text = value
                    elif name in self.methods:
                        getattr(self, name)(value)
            except Exception as error:
                self.error = str(error) or type(error).__name__
                if not isinstance(error, ValueError):  # nobody's input, so the traceback belongs in the log
                    raise
            finally:
                self.answered = change["new"]["number"]


def isolated(text: str) -> str:
    """Text that is written from right to left, set apart so that it does not turn the sentence around it."""
    return f"\u2068{text}\u2069" if {"R", "AL"} & set(map(unicodedata.bidirectional, text)) else text


def shortened(text: str, most: int = 16) -> str:
    """A name beside a picture, cut short."""
    return text if len(text) <= most else text[: most - 1] + "…"


def visible(token: str) -> str:
    """Spaces and line ends that can be seen. As in shared.js."""
    return isolated(token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥") or "∅")


def pack(module: str, state: dict) -> dict:
    """State as JSON; bytes are deflated and in base64."""
    plain = {name: value for name, value in state.items() if not isinstance(value, bytes | memoryview)}
    binary = {name: base64.b64encode(zlib.compress(state[name], 9)).decode() for name in state if name not in plain}
    return {"module": module, "state": plain, "binary": binary}


def place(packed: dict, picture: str) -> str:
    """HTML where `script` shows the widget. Until then, and where no script runs, it holds the picture (HTML)."""
    # In a script, "</" could end it, and a JSON string may hold the same characters written otherwise.
    data = json.dumps(packed, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    data = f'<script type="application/json">{data}</script>'
    return f'<div class="transformer-lab-widget">\n{data}\n<div>{picture}</div>\n</div>\n'


def script(modules: Iterable[str]) -> str:
    """HTML after all the places of a page with many widgets: the shared lines once, and each module once."""
    own = {name: _own(name).replace("\nexport default ", "\nreturn ") for name in sorted(set(modules))}
    # Each in a function of its own: two modules may use one name for different things.
    functions = [f"{name}: (() => {{\n{lines}}})(),\n".replace("\nexport ", "\n") for name, lines in own.items()]
    by_name = f"const modules = {{\n{''.join(functions)}}};\n"
    alive = _FOR_READERS.sub("", (FOLDER.parent / "pages" / "widgets.js").read_text(encoding="utf-8"))
    return f'<script type="module">\n{_shared()}{by_name}{alive}</script>\n'


def page(packed: dict, picture: str, title: str) -> str:
    """A page of one widget, alive without kernel and network."""
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f'<title>{html.escape(title)}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>\n:root {{ color-scheme: light dark }} body {{ margin: 1rem }}\n{style()}</style>\n"
        f"<body>\n{place(packed, picture)}{script([packed['module']])}</body>\n</html>\n"
    )

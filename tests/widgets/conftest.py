"""The widgets in a browser: a page with nothing but a widget and a stand-in for the model that a kernel would hold."""

import base64
from itertools import pairwise

import pytest

from transformer_lab.widgets.base import Widget, es_module, own_traits, style

# What the front end and the kernel are to a module. `sent` and `receive` are the messages to Python and from it.
RENDER = """async ({ source, css, state, binary, live }) => {
    for (const [name, base64] of Object.entries(binary)) {
        const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
        state[name] = new DataView(bytes.buffer);
    }
    const listeners = {};
    const tell = (event, ...said) => { for (const listener of [...(listeners[event] ?? [])]) listener(...said); };
    window.sent = [];
    window.model = {
        ...(live ? {} : { alone: true }),
        get: (name) => state[name],
        set: (name, value) => {
            if (state[name] === value) return;
            state[name] = value;
            tell(`change:${name}`);
        },
        save_changes: () => {},
        send: (content) => window.sent.push(content),
        receive: (content, buffers = []) => tell("msg:custom", content, buffers),
        on: (event, listener) => { (listeners[event] ??= new Set()).add(listener); },
        off: (event, listener) => { listeners[event]?.delete(listener); },
    };
    const style = document.createElement("style");
    style.textContent = `:root { color-scheme: light dark } ${css}`;
    const [el, below] = [document.createElement("div"), document.createElement("p")];
    below.style.height = "3000px"; // so that the page could scroll
    document.body.append(style, el, below);
    const { default: widget } = await import(`data:text/javascript;charset=utf-8,${encodeURIComponent(source)}`);
    window.stop = await widget.render({ model, el });
}"""


class Shown:
    """A widget on a page. `state` reads its traits there, `put` is what Python would set, `sent` what it would get."""

    def __init__(self, watched, widget: Widget, live: bool):
        self.page = watched.page
        state = {name: getattr(widget, name) for name in own_traits(widget)}
        binary = {name: base64.b64encode(value).decode() for name, value in state.items() if isinstance(value, bytes)}
        plain = {name: value for name, value in state.items() if name not in binary}
        self.page.set_content('<!doctype html><meta name="viewport" content="width=device-width"><body>')
        self.page.evaluate(
            RENDER,
            {"source": es_module(widget.module), "css": style(), "state": plain, "binary": binary, "live": live},
        )
        self.settle()

    def settle(self) -> None:
        """Until what was asked for has been drawn."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def state(self, name: str):
        return self.page.evaluate("(name) => window.model.get(name)", name)

    def put(self, **values) -> None:
        self.page.evaluate(
            "(values) => { for (const [name, value] of Object.entries(values)) window.model.set(name, value) }", values
        )
        self.settle()

    def sent(self) -> list:
        return self.page.evaluate("() => window.sent")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def swipe(self, *places: tuple[float, float]) -> None:
        """A finger on the page, from one place to the next, in its pixels. One place: a tap."""
        session = self.page.context.new_cdp_session(self.page)
        path = [places[0]]
        for (x0, y0), (x1, y1) in pairwise(places):
            path += [(x0 + (x1 - x0) * i / 10, y0 + (y1 - y0) * i / 10) for i in range(1, 11)]
        moves = [("touchMove", [place]) for place in path[1:]]
        for kind, points in [("touchStart", path[:1]), *moves, ("touchEnd", [])]:
            touches = [{"x": x, "y": y} for x, y in points]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
        self.settle()

    def scrolled(self) -> float:
        """How far, once the page has begun to scroll."""
        self.page.wait_for_function("() => window.scrollY > 0")
        return self.page.evaluate("() => window.scrollY")

    def smallest_target(self) -> float:
        """The least width or height of what can be pressed, in pixels."""
        boxes = [element.bounding_box() for element in self.page.locator(".tlab :is(button, input, select)").all()]
        return min(min(box["width"], box["height"]) for box in boxes)

    @property
    def readout(self) -> str:
        return self.page.locator(".readout").inner_text()

    def pixels(self, index: int = 0) -> str:
        """The canvas as a data URL: what changed on it can be compared."""
        self.settle()
        return self.page.evaluate("(i) => document.querySelectorAll('canvas')[i].toDataURL()", index)

    def nodes(self) -> int:
        return self.page.evaluate("() => document.querySelectorAll('.tlab *').length")


@pytest.fixture
def show(watched):
    """A function: the widget on a page, `live` as with a kernel, else as on an exported page."""
    return lambda widget, live=True: Shown(watched, widget, live)

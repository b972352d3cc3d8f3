"""The widgets in a browser: a page with nothing but a widget and a stand-in for the model that a kernel would hold."""

import pytest

from transformer_lab.widgets.base import Widget, fragment, page


class Shown:
    """A widget on a page. `state` reads its traits there, `put` is what Python would set, `sent` what it would get."""

    def __init__(self, watched, widget: Widget, live: bool):
        self.page = watched.page
        # The stand-in of an exported page, taught to remember what it is told, and to pass for a live one.
        body = fragment(widget.packed()).replace(
            "await widget.render(",
            f"window.model = model; window.sent = []; if ({str(live).lower()}) delete model.alone;\n"
            "model.send = (content) => window.sent.push(content);\n"
            "model.receive = (content, buffers = []) => "
            "model.message?.forEach((listener) => listener(content, buffers));\n"
            "const on = model.on, off = model.off;\n"
            'model.on = (event, listener) => event === "msg:custom" '
            "? (model.message ??= new Set()).add(listener) : on(event, listener);\n"
            'model.off = (event, listener) => event === "msg:custom" '
            "? model.message?.delete(listener) : off(event, listener);\n"
            "window.stop = await widget.render(",
        )
        self.page.set_content(page(body + "<p style='height: 3000px'>below</p>", "widget"))
        self.page.wait_for_function("() => window.stop !== undefined")
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

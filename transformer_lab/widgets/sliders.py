"""A picture with sliders: any function of numbers that returns a Figure."""

import base64
import html
import io
from collections.abc import Callable, Sequence

import ipywidgets
from matplotlib.figure import Figure


class Sliders(ipywidgets.VBox):
    """Draws `draw(**values)` again whenever a slider moves.

        Sliders(draw, temperature=(0.1, 5.0, 1.0), causal=[True, False])

    Each control is (lowest, highest, start), integers for whole steps, or a list of choices.
    From Python: `values` reads, `set(temperature=2.0)` moves, `figure` is the Figure on show.
    Where no kernel runs, its place is taken by the picture it started with.
    """

    def __init__(self, draw: Callable[..., Figure], **controls: tuple[float, float, float] | Sequence):
        if not controls:
            raise ValueError("controls must name at least one parameter of draw; got none")
        self._draw = draw
        self._controls = {name: _control(name, spec) for name, spec in controls.items()}
        self._picture = ipywidgets.HTML()
        for control in self._controls.values():
            control.observe(self._redraw, names="value")
        self._redraw()
        super().__init__([*self._controls.values(), self._picture])

    @property
    def values(self) -> dict:
        return {name: control.value for name, control in self._controls.items()}

    def set(self, **values) -> None:
        """Move the controls, as a hand would."""
        for name, value in values.items():
            if name not in self._controls:
                raise ValueError(f"{name!r} is not a control; the controls are {', '.join(self._controls)}")
            control = self._controls[name]
            if isinstance(control, ipywidgets.ToggleButtons):
                if value not in control.options:
                    raise ValueError(f"{name} must be one of {', '.join(map(str, control.options))}; got {value!r}")
            elif not control.min <= value <= control.max:  # a slider by itself would stop at its end and say nothing
                raise ValueError(f"{name} must lie between {control.min} and {control.max}; got {value}")
            control.value = value

    def _redraw(self, change=None) -> None:
        self.figure = self._draw(**self.values)
        png = io.BytesIO()
        self.figure.savefig(png, format="png")
        self._png = base64.b64encode(png.getvalue()).decode()
        alternative = html.escape(repr(self.figure), quote=True)
        source = f"data:image/png;base64,{self._png}"
        self._picture.value = f'<img alt="{alternative}" src="{source}" style="max-width: 100%">'

    def __repr__(self) -> str:
        settings = ", ".join(f"{name} = {value}" for name, value in self.values.items())
        return f"Sliders: {settings}. {self.figure!r}"

    def _repr_mimebundle_(self, **options) -> dict:
        live = super()._repr_mimebundle_(**options)
        return {**live, "text/plain": repr(self), "image/png": self._png}


def _control(name: str, spec):
    label = name.replace("_", " ")
    style, layout = {"description_width": "initial"}, {"width": "28em"}
    if not spec or not isinstance(spec, list) and len(spec) != 3:
        raise ValueError(f"{name} must be (lowest, highest, start) or a list of choices; got {spec!r}")
    if isinstance(spec, list):
        return ipywidgets.ToggleButtons(options=spec, value=spec[0], description=label, style=style)
    lowest, highest, start = spec
    if not lowest <= start <= highest:
        raise ValueError(f"{name} must start between {lowest} and {highest}; got {start}")
    if all(isinstance(x, int) for x in spec):
        return ipywidgets.IntSlider(start, lowest, highest, description=label, style=style, layout=layout)
    step = (highest - lowest) / 100
    return ipywidgets.FloatSlider(
        start, min=lowest, max=highest, step=step, description=label, style=style, layout=layout
    )

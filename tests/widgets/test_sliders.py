"""Sliders: a moved control redraws, nothing is swallowed; and every slider of every notebook moves its picture."""

import ast
import base64
import io
from collections.abc import Iterator
from pathlib import Path

import ipywidgets
import jaxtyping
import matplotlib.image
import nbformat
import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter

from transformer_lab import plots
from transformer_lab.widgets.sliders import Sliders

NOTEBOOKS = sorted(Path(__file__).parents[2].joinpath("notebooks").glob("*.ipynb"))


def draw(height: float, upside_down: bool = False):
    return plots.bars({"a": -height if upside_down else height}, title="A bar")


def drawn(figure) -> list[np.ndarray]:
    """The numbers on a figure: everything but its words."""
    return [
        np.asarray(numbers)
        for ax in figure.axes
        for numbers in (
            *(image.get_array() for image in ax.images),
            *(line.get_xydata() for line in ax.lines),
            *(patch.get_path().vertices @ patch.get_patch_transform().get_matrix()[:2, :2].T for patch in ax.patches),
            *(collection.get_offsets() for collection in ax.collections),
        )
    ]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


# ---------------------------------------------------------------- one picture with sliders


@pytest.fixture
def sliders():
    return Sliders(draw, height=(0.0, 5.0, 1.0), upside_down=[False, True])


def test_it_draws_at_the_start(sliders):
    assert sliders.values == {"height": 1.0, "upside_down": False}
    assert sliders.figure.axes[0].patches[0].get_height() == 1.0
    assert repr(sliders) == "Sliders: height = 1.0, upside_down = False. Picture of bars “A bar”"


def test_a_moved_control_changes_figure_picture_and_text(sliders):
    picture = sliders.children[-1]
    before = picture.value
    assert "Picture of bars “A bar”" in before  # the text that stands for the picture
    sliders.set(height=2.0)
    assert sliders.figure.axes[0].patches[0].get_height() == 2.0
    assert picture.value != before
    sliders.set(upside_down=True)
    assert sliders.figure.axes[0].patches[0].get_height() == -2.0
    assert repr(sliders).startswith("Sliders: height = 2.0, upside_down = True. ")
    sliders.set(height=1.0, upside_down=False)
    assert picture.value == before


def test_controls_fit_what_they_hold():
    def draw_any(share, count, kind, flag):
        return draw(share)

    sliders = Sliders(draw_any, share=(0.0, 2.0, 0.5), count=(1, 9, 3), kind=["sum", "mean"], flag=[True, False])
    share, count, kind, flag, picture = sliders.children
    assert isinstance(share, ipywidgets.FloatSlider) and (share.min, share.max, share.step) == (0, 2, 0.02)
    assert isinstance(count, ipywidgets.IntSlider) and (count.min, count.max, count.value) == (1, 9, 3)
    assert isinstance(kind, ipywidgets.ToggleButtons) and kind.options == ("sum", "mean")
    assert flag.value is True
    assert picture.value.startswith("<img alt=")
    assert Sliders(lambda d_model: draw(d_model), d_model=(1, 2, 1)).children[0].description == "d model"


def test_an_error_in_draw_is_not_swallowed():
    def draw_positive(height):
        if height > 3:
            raise ZeroDivisionError("too high")
        return draw(height)

    sliders = Sliders(draw_positive, height=(0.0, 5.0, 1.0))
    with pytest.raises(ZeroDivisionError, match="too high"):
        sliders.set(height=4.0)
    with pytest.raises(ZeroDivisionError, match="too high"):
        Sliders(draw_positive, height=(0.0, 5.0, 4.0))


@pytest.mark.parametrize(
    "controls, message",
    [
        ({}, "at least one parameter of draw; got none"),
        ({"height": (2, 5, 1)}, "height must start between 2 and 5; got 1"),
        ({"height": (0.0, 1.0, 1.5)}, "height must start between 0.0 and 1.0; got 1.5"),
        ({"height": (0.0, 1.0)}, r"height must be \(lowest, highest, start\) or a list of choices; got \(0.0, 1.0\)"),
        ({"height": []}, r"height must be \(lowest, highest, start\) or a list of choices; got \[\]"),
    ],
)
def test_controls_that_make_no_sense(controls, message):
    with pytest.raises(ValueError, match=message):
        Sliders(draw, **controls)


def test_a_control_that_draw_does_not_take():
    with pytest.raises(TypeError, match="width"):
        Sliders(draw, height=(0.0, 1.0, 0.5), width=(0.0, 1.0, 0.5))


@pytest.mark.parametrize(
    "values, message",
    [
        ({"width": 1.0}, "'width' is not a control; the controls are height, upside_down"),
        ({"height": 6.0}, "height must lie between 0.0 and 5.0; got 6.0"),
        ({"height": -1.0}, "height must lie between 0.0 and 5.0; got -1.0"),
        ({"upside_down": "perhaps"}, "upside_down must be one of False, True; got 'perhaps'"),
    ],
)
def test_values_that_make_no_sense_move_nothing(sliders, values, message):
    before = sliders.figure
    with pytest.raises(ValueError, match=message):
        sliders.set(**values)
    assert sliders.figure is before


def test_a_notebook_stores_a_picture_a_text_and_a_live_view(sliders):
    formats, _ = DisplayFormatter().format(sliders)
    assert formats["text/plain"] == repr(sliders)
    picture = matplotlib.image.imread(io.BytesIO(base64.b64decode(formats["image/png"])), format="png")
    assert picture.shape[:2] == tuple(sliders.figure.bbox.size[::-1].astype(int))
    assert formats["application/vnd.jupyter.widget-view+json"]["model_id"] == sliders.model_id
    sliders.set(height=2.0)
    assert DisplayFormatter().format(sliders)[0]["image/png"] != formats["image/png"]


# ---------------------------------------------------------------- the notebooks' sliders


def sliders_in(notebook: Path) -> Iterator[Sliders]:
    """The sliders that a notebook's cells make, one after the other, run as far as the last of them."""
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    with_sliders = [i for i, cell in enumerate(cells) if "Sliders(" in cell.source]
    namespace = {"__name__": "__main__"}
    for i, cell in enumerate(cells[: max(with_sliders, default=-1) + 1]):
        if {"nbval-skip", "nbval-ignore-output"} & set(cell.metadata.get("tags", ())):
            continue
        tree = ast.parse(cell.source)
        if i in with_sliders:  # its value is the sliders: give it a name
            tree.body[-1] = ast.Assign([ast.Name("shown", ast.Store())], tree.body[-1].value)
        exec(compile(ast.fix_missing_locations(tree), f"{notebook.name}, code cell {i + 1}", "exec"), namespace)
        if i in with_sliders:
            assert isinstance(namespace["shown"], Sliders), f"code cell {i + 1} must end with its sliders"
            yield namespace["shown"]


@pytest.fixture
def as_a_reader_runs_it(monkeypatch):
    """No shapes enforced, and what a notebook sets for all of torch is set back."""
    dtype = torch.get_default_dtype()
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    yield
    torch.set_default_dtype(dtype)


def other_values(control) -> list:
    if isinstance(control, ipywidgets.ToggleButtons):
        return [value for value in control.options if value != control.value]
    return [value for value in (control.min, control.max) if value != control.value]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_every_slider_of_a_notebook_moves_its_picture(notebook, monkeypatch, as_a_reader_runs_it):
    monkeypatch.chdir(notebook.parent)
    n_sliders = 0
    for sliders in sliders_in(notebook):
        n_sliders += 1
        start, at_start = sliders.values, drawn(sliders.figure)
        *controls, picture = sliders.children
        for name, control in zip(start, controls, strict=True):
            for value in other_values(control):
                png = picture.value
                sliders.set(**{name: value})
                assert not same(drawn(sliders.figure), at_start), f"{name} = {value} changes nothing that is drawn"
                assert picture.value != png
            sliders.set(**start)
            assert same(drawn(sliders.figure), at_start), f"{name} does not come back to where it was"
    if notebook.stem[:2] in ("03", "05", "08"):
        assert n_sliders, "this lesson teaches with sliders"

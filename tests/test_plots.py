"""Plots: what is drawn is what was given, labels are the tokens, and the text form says what is to be seen."""

import inspect
import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch

from transformer_lab import plots

TOKENS = ["the", "dog", "ran"]
PATTERN = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.2, 0.3, 0.5]])
LINES = {"one": (range(3), [1.0, 2.0, 4.0]), "two": (torch.arange(3), torch.tensor([3.0, 2.0, 1.0]))}
STEPS = [(("LayerNorm", "attention"), ()), (("feed-forward",), ("LayerNorm",)), ((), ("head",))]
HOLDING = torch.tensor([[True, False], [True, False], [False, False]]), torch.tensor([True, False, False, False])
BOXES = {"stage 0": [("forward", "0", 0, 1), ("backward", "0", 2, 4)], "stage 1": [("forward", "1", 1, 2)]}

# Function → how it is called and what its text form says.
EXAMPLES = {
    plots.heatmap: (
        lambda: plots.heatmap(PATTERN, "Scores", rows=TOKENS, columns=TOKENS, row_label="query", column_label="key"),
        "Picture of heatmap “Scores”, 3 rows × 3 columns, axes: key and query",
    ),
    plots.attention_heatmap: (
        lambda: plots.attention_heatmap(PATTERN[:2], TOKENS[:2], TOKENS, title="Head 1"),
        "Picture of heatmap “Head 1”, 2 rows × 3 columns, axes: key and query",
    ),
    plots.compare_patterns: (
        lambda: plots.compare_patterns(PATTERN, 1 - PATTERN, titles=["left", "right"], tokens=TOKENS),
        "Picture of heatmap “left”, 3 rows × 3 columns, axes: key and query; "
        "heatmap “right”, 3 rows × 3 columns, axes: key",
    ),
    plots.head_grid: (
        lambda: plots.head_grid([torch.stack([PATTERN, 1 - PATTERN])] * 2, TOKENS, "All heads"),
        "Picture of attention patterns “All heads”, 2 layers × 2 heads, over: the · dog · ran",
    ),
    plots.compare_masks: (
        lambda: plots.compare_masks(PATTERN > 0, PATTERN > 0.4, titles=["causal", "large"], tokens=TOKENS),
        "Picture of heatmap “causal”, 3 rows × 3 columns, axes: key and query; "
        "heatmap “large”, 3 rows × 3 columns, axes: key",
    ),
    plots.matrix_grid: (
        lambda: plots.matrix_grid(
            {"a": PATTERN, "b": PATTERN[:2], "c": PATTERN}, 2, {"b": TOKENS[:2]}, row_label="row", column_label="column"
        ),
        "Picture of heatmap “a”, 3 rows × 3 columns, axes: row; "
        "heatmap “b”, 2 rows × 3 columns, axes: column; heatmap “c”, 3 rows × 3 columns, axes: column and row",
    ),
    plots.truth_table: (
        lambda: plots.truth_table(PATTERN[:2] > 0, ["causal", "full"], TOKENS, meaning=("sees", "not")),
        "Picture of a table of the, dog, ran: causal, sees not not; full, sees sees not",
    ),
    plots.holdings: (
        lambda: plots.holdings({"rank 0": HOLDING, "rank 1": (~HOLDING[0], HOLDING[1])}),
        "Picture of who holds what: rank 0, 2 of 6 parts of the weights and 1 of 4 examples; "
        "rank 1, 4 of 6 parts of the weights and 1 of 4 examples",
    ),
    plots.time_chart: (
        lambda: plots.time_chart(BOXES, "seconds", "A bubble"),
        "Picture of a time chart of forward and backward: stage 0, busy for 3 of 4; stage 1, busy for 1 of 4",
    ),
    plots.mark: (
        lambda: plots.mark(plots.curves(LINES, "steps", "loss"), {"end of warm-up": 1}, {"floor": 1.5}),
        "Picture of curves, axes: steps and loss, showing one, two",
    ),
    plots.token_rows: (
        lambda: plots.token_rows({"input": TOKENS, "target": ["dog", "ran", "\n"]}, "Shifted", shift=-1),
        "Picture of rows of tokens, input: the · dog · ran; target: dog · ran · \n",
    ),
    plots.curves: (
        lambda: plots.curves(LINES, "steps", "loss", "Falling", log="xy", marker="o"),
        "Picture of curves “Falling”, axes: steps and loss, showing one, two",
    ),
    plots.bars: (
        lambda: plots.bars({"the": 1, "a long name": 2.5}, "token", "share", "Shares"),
        "Picture of bars “Shares”, axes: token and share",
    ),
    plots.loss_curves: (
        lambda: plots.loss_curves(LINES, {"uniform": 3.5}),
        "Picture of curves, axes: step and loss (nats per token), showing one, two",
    ),
    plots.plane: (
        lambda: plots.plane({"keys": (PATTERN[:, :2], TOKENS), "dots": (PATTERN[:, 1:], None)}, joined=["keys"]),
        "Picture of points in a plane: keys (the, dog, ran); dots (3)",
    ),
    plots.curve_panels: (
        lambda: plots.curve_panels(
            {"seconds": LINES, "bytes": LINES}, "tokens", log="xy", x_limits=(1, 4), y_limits=(0.1, 10)
        ),
        "Picture of curves, axes: tokens and seconds, showing one, two; "
        "curves, axes: tokens and bytes, showing one, two",
    ),
    plots.stacked_bars: (
        lambda: plots.stacked_bars(
            {"small": {"a": 3, "b": 1}, "large": {"a": 60, "b": 40}}, "size", "millions", "Parts"
        ),
        "Picture of bars “Parts”, axes: size and millions, showing a, b",
    ),
    plots.residual_diagram: (
        lambda: plots.residual_diagram({"pre-norm": STEPS}),
        "Picture of a diagram: pre-norm, plus a branch through LayerNorm → attention "
        "then plus a branch through feed-forward and the sum through LayerNorm then through head",
    ),
}


def labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def drawn_matrix(ax) -> torch.Tensor:
    return torch.tensor(np.asarray(ax.images[0].get_array()))


def test_every_plot_has_its_example():
    functions = {f for _, f in inspect.getmembers(plots, inspect.isfunction) if f.__module__ == plots.__name__}
    public = {f for f in functions if not f.__name__.startswith("_")}
    assert set(EXAMPLES) == public - {plots.new_figure, plots.draw_matrix, plots.draw_lines, plots.draw_losses}


@pytest.mark.parametrize("draw, text", EXAMPLES.values(), ids=[f.__name__ for f in EXAMPLES])
def test_a_plot_is_a_figure_that_can_be_read_and_shown(draw, text, tmp_path):
    figure = draw()
    assert isinstance(figure, Figure)
    assert repr(figure) == text
    figure.savefig(tmp_path / "figure.png")  # with warnings as errors: nothing overlaps, no glyph is missing
    assert plots.plt.get_fignums() == []  # closed for pyplot: a notebook shows it once


# ---------------------------------------------------------------- matrices


def test_a_heatmap_shows_the_matrix_under_its_labels():
    (ax,) = plots.heatmap(2 * PATTERN[:2], rows=TOKENS[:2], columns=TOKENS).axes
    torch.testing.assert_close(drawn_matrix(ax), 2 * PATTERN[:2])
    assert (labels(ax.yaxis), labels(ax.xaxis)) == (TOKENS[:2], TOKENS)
    assert ax.images[0].get_clim() == (0.0, 2.0)
    (colour_bar,) = ax.child_axes
    assert colour_bar.get_ylim() == (0.0, 2.0)
    numbers = {text.get_position(): text.get_text() for text in ax.texts}
    assert numbers[0, 1] == "0.50" and numbers[1, 1] == "1.50" and len(numbers) == 6


def test_an_attention_heatmap_has_one_scale_from_0_to_1():
    ax = plots.attention_heatmap(PATTERN / 2, TOKENS).axes[0]
    assert ax.images[0].get_clim() == (0, 1)
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("query", "key")


@pytest.mark.parametrize("numbers, size, written", [(None, 8, 64), (None, 9, 0), (False, 2, 0), (True, 9, 81)])
def test_numbers_are_written_into_small_matrices(numbers, size, written):
    assert len(plots.heatmap(torch.zeros(size, size), numbers=numbers).axes[0].texts) == written


def test_no_number_is_minus_zero():
    assert [text.get_text() for text in plots.heatmap(torch.tensor([[-0.001, -1.0]])).axes[0].texts] == [
        "0.00",
        "-1.00",
    ]


def test_numbers_stand_out_from_their_cell():
    dark, bright = plots.heatmap(torch.tensor([[0.0, 1.0]])).axes[0].texts
    assert (dark.get_color(), bright.get_color()) == ("white", "black")


def test_without_labels_the_ticks_are_whole_numbers():
    ax = plots.heatmap(torch.zeros(100, 3)).axes[0]
    assert all(tick == int(tick) for axis in (ax.xaxis, ax.yaxis) for tick in axis.get_ticklocs())


def test_a_tensor_with_a_gradient_can_be_drawn():
    pattern = PATTERN.double().requires_grad_()
    torch.testing.assert_close(drawn_matrix(plots.heatmap(pattern).axes[0]), PATTERN)


def test_patterns_side_by_side_share_labels_and_scale():
    left, right = plots.compare_patterns(PATTERN, PATTERN.T, titles=["a", "b"], tokens=TOKENS, limits=(-1, 2)).axes
    torch.testing.assert_close(drawn_matrix(right), PATTERN.T)
    assert labels(left.yaxis) == labels(right.xaxis) == TOKENS
    assert left.images[0].get_clim() == right.images[0].get_clim() == (-1, 2)
    assert (left.get_ylabel(), right.get_ylabel()) == ("query", "")


def test_the_head_grid_has_a_panel_for_each_head():
    layers = [torch.rand(2, 3, 3), torch.rand(2, 3, 3)]
    figure = plots.head_grid(layers, TOKENS, "All")
    assert figure.get_suptitle() == "All"
    for i, ax in enumerate(figure.axes):
        torch.testing.assert_close(drawn_matrix(ax), layers[i // 2][i % 2])
        assert ax.get_title() == f"layer {i // 2} head {i % 2}"
        assert labels(ax.yaxis) == (TOKENS if i % 2 == 0 else [])
        assert labels(ax.xaxis) == (TOKENS if i >= 2 else [])


def test_the_head_grid_leaves_out_labels_that_would_not_fit():
    ax = plots.head_grid([torch.rand(1, 13, 13)], ["x"] * 13).axes[0]
    assert labels(ax.xaxis) == labels(ax.yaxis) == []


def test_masks_are_drawn_in_two_named_colours():
    mask = torch.tensor([[True, False]])
    figure = plots.compare_masks(mask, titles=["m"], tokens=["q"], keys=["a", "b"], meaning=("sees", "does not"))
    image = figure.axes[0].images[0]
    colours = image.cmap(image.norm(image.get_array()))[0]
    patches = figure.legends[0].get_patches()
    assert np.allclose(colours, [patch.get_facecolor() for patch in patches])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sees", "does not"]
    assert labels(figure.axes[0].xaxis) == ["a", "b"]


def test_a_matrix_grid_has_one_scale_and_labels_its_rim():
    matrices = {"a": PATTERN, "b": 3 * PATTERN, "c": PATTERN}
    figure = plots.matrix_grid(matrices, 2, {"b": TOKENS}, list("xyz"), row_label="row", column_label="column")
    *panels, colour_bar = figure.axes
    assert [ax.get_title() for ax in panels] == ["a", "b", "c"]
    assert [ax.get_ylabel() for ax in panels] == ["row", "", "row"]
    assert [ax.get_xlabel() for ax in panels] == ["", "column", "column"]
    assert {ax.images[0].get_clim() for ax in panels} == {(0, 3)} and colour_bar.get_ylim() == (0, 3)
    assert labels(panels[1].yaxis) == TOKENS
    assert [labels(ax.xaxis) for ax in panels] == [["x", "y", "z"]] * 3
    torch.testing.assert_close(drawn_matrix(panels[1]), 3 * PATTERN)


def test_a_truth_table_has_a_word_in_each_cell():
    ax = plots.truth_table(torch.tensor([[True, False]]), ["causal"], ["the past", "future"], ("sees", "not")).axes[0]
    assert [(text.get_position(), text.get_text()) for text in ax.texts] == [((0, 0), "sees"), ((1, 0), "not")]
    assert drawn_matrix(ax).tolist() == [[True, False]]
    assert (labels(ax.yaxis), labels(ax.xaxis)) == (["causal"], ["the\npast", "future"])


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda: plots.attention_heatmap(PATTERN, TOKENS[:2]), r"\(queries, keys\) = \(2, 2\).*; got \(3, 3\)"),
        (lambda: plots.attention_heatmap(PATTERN[None], TOKENS), r"= \(3, 3\).*; got \(1, 3, 3\)"),
        (lambda: plots.head_grid([PATTERN[None]], TOKENS[:2]), r"= \(2, 2\).*; got \(3, 3\)"),
        (lambda: plots.heatmap(PATTERN[None]), r"matrix must be \(rows, columns\); got shape \(1, 3, 3\)"),
        (lambda: plots.heatmap(PATTERN, rows=TOKENS[:2]), "rows must hold 3 labels, as the matrix has rows; got 2"),
        (lambda: plots.heatmap(PATTERN, columns=TOKENS * 2), "columns must hold 3 labels.*; got 6"),
        (lambda: plots.compare_patterns(PATTERN, titles=["a"], tokens=TOKENS[:2]), "rows must hold 3 labels.*; got 2"),
        (lambda: plots.compare_patterns(PATTERN, titles=["a", "b"]), "shorter|longer"),
        (lambda: plots.compare_masks(PATTERN > 0, titles=["a", "b"]), "shorter|longer"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


# ---------------------------------------------------------------- tokens, curves, bars


def test_token_rows_name_each_token_and_give_equal_tokens_one_colour():
    ax = plots.token_rows({"input": ["the", "dog", "the"], "target": ["dog", "the", "\n"]}, shift=-1).axes[0]
    boxes = [text for text in ax.texts if text.get_text()]
    assert [text.get_text() for text in boxes] == ["the", "dog", "the", "dog", "the", "⏎"]
    colours = [patch.get_facecolor() for patch in ax.patches[:6]]
    assert colours[0] == colours[2] == colours[4] != colours[1] == colours[3] != colours[5]
    arrows = [(text.xyann, text.xy) for text in ax.texts if not text.get_text()]
    assert [(start[0], end[0]) for start, end in arrows] == [(1, 0), (2, 1)]
    assert labels(ax.yaxis) == ["input", "target"]


def test_curves_are_the_numbers_given():
    ax = plots.curves(LINES, "steps", "loss", log="x").axes[0]
    assert [line.get_xydata().tolist() for line in ax.lines] == [
        [[0, 1], [1, 2], [2, 4]],
        [[0, 3], [1, 2], [2, 1]],
    ]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "two"]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    assert plots.curves({"one": LINES["one"]}, "x", "y", log="y").axes[0].get_yscale() == "log"


def test_a_single_curve_needs_no_legend():
    assert plots.curves({"one": LINES["one"]}, "x", "y").axes[0].get_legend() is None


@pytest.mark.parametrize(
    "values, names", [({"a": 1, "b": 3}, ["a", "b"]), (torch.tensor([1.0, 3.0]), ["0", "1"])], ids=["names", "tensor"]
)
def test_bars_are_as_high_as_the_numbers(values, names):
    ax = plots.bars(values).axes[0]
    assert [patch.get_height() for patch in ax.patches] == [1, 3]
    assert labels(ax.xaxis) == names


def test_long_losses_are_smoothed_over_a_faint_original():
    losses = torch.rand(400)
    ax = plots.loss_curves({"training": (range(400), losses)}).axes[0]
    faint, smooth = ax.lines
    assert faint.get_alpha() == 0.2 and np.allclose(faint.get_ydata(), losses)
    assert smooth.get_xdata()[0] == 7 and len(smooth.get_xdata()) == 393  # windows of 400 / 50
    assert smooth.get_ydata()[10] == pytest.approx(losses[10:18].mean().item())
    assert smooth.get_xdata()[10] == 17  # a mean stands where its window ends
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training"]


def test_baselines_are_levels_that_bear_their_names():
    ax = plots.loss_curves(LINES, {"uniform": math.log(12), "bigram": 2}, unit="bits").axes[0]
    assert [line.get_ydata()[0] for line in ax.lines[2:]] == [math.log(12), 2]
    assert [(text.get_text(), text.xy[1]) for text in ax.texts] == [("uniform", math.log(12)), ("bigram", 2)]
    assert ax.get_ylabel() == "loss (bits)"


def test_holdings_show_the_weights_above_the_batch_a_column_a_rank():
    figure = plots.holdings({"rank 0": HOLDING, "rank 1": (~HOLDING[0], ~HOLDING[1])})
    above, above_too, below, below_too = figure.axes
    assert drawn_matrix(above).tolist() == HOLDING[0].tolist() and drawn_matrix(below).tolist() == [HOLDING[1].tolist()]
    assert (drawn_matrix(above_too) != drawn_matrix(above)).all() and (
        drawn_matrix(below_too) != drawn_matrix(below)
    ).all()
    assert [ax.get_title() for ax in figure.axes] == ["rank 0", "rank 1", "", ""]


def test_a_time_chart_has_a_box_for_each_piece_of_work_in_its_kinds_colour():
    figure = plots.time_chart(BOXES)
    boxes = [(bar.get_paths()[0].get_extents(), bar.get_facecolor()[0]) for bar in figure.axes[0].collections]
    assert [(box.x0, box.x1, round((box.y0 + box.y1) / 2, 9)) for box, _ in boxes] == [(0, 1, 0), (2, 4, 0), (1, 2, 1)]
    assert [colour.tolist() for _, colour in boxes] == [list(to_rgba(plots.COLOURS[i])) for i in (0, 1, 0)]
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "0", "1"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["forward", "backward"]


def test_marks_are_levels_that_bear_their_names():
    figure = plots.curves(LINES, "steps", "loss")
    assert plots.mark(figure, {"warm": 1}, {"floor": 1.5}) is figure
    vertical, horizontal = figure.axes[0].lines[2:]
    assert list(vertical.get_xdata()) == [1, 1] and list(horizontal.get_ydata()) == [1.5, 1.5]
    assert {text.get_text(): text.xy for text in figure.axes[0].texts} == {"warm": (1, 1), "floor": (0, 1.5)}


def test_a_plane_shows_points_to_one_scale():
    points = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    ax = plots.plane({"keys": (points, ["a", "b"]), "dots": (points + 1, None)}, joined=["keys"]).axes[0]
    large, small = ax.collections
    assert large.get_offsets().tolist() == points.tolist()
    assert small.get_offsets().tolist() == (points + 1).tolist()
    assert large.get_sizes()[0] > small.get_sizes()[0]
    assert {text.get_text(): text.xy for text in ax.texts} == {"a": (0, 1), "b": (2, 3)}
    assert len(ax.patches) == 1 and ax.get_aspect() == 1


def test_curve_panels_share_limits_and_a_legend():
    figure = plots.curve_panels({"seconds": LINES, "bytes": LINES}, "tokens", log="y", x_limits=(1, 4), y_limits=(1, 9))
    for ax, name in zip(figure.axes, ("seconds", "bytes"), strict=True):
        assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("tokens", name, "log")
        assert (ax.get_xlim(), ax.get_ylim()) == ((1, 4), (1, 9))
        assert ax.lines[1].get_ydata().tolist() == [3, 2, 1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]


def test_stacked_bars_stand_on_each_other_in_one_order():
    figure = plots.stacked_bars({"small": {"a": 3, "b": 1}, "large": {"a": 60, "b": 40}})
    a_small, a_large, b_small, b_large = figure.axes[0].patches
    assert [patch.get_height() for patch in (a_small, a_large, b_small, b_large)] == [3, 60, 1, 40]
    assert [patch.get_y() for patch in (a_small, a_large, b_small, b_large)] == [0, 0, 3, 60]
    assert [text.get_text() for text in figure.axes[0].texts] == ["", "60", "", "40"]  # too thin for a number
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["b", "a"]  # top to bottom, as they stand


def test_the_residual_diagram_has_every_box_and_a_sum_for_each_branch():
    ax = plots.residual_diagram({"post-norm": STEPS}).axes[0]
    texts = [text.get_text() for text in ax.texts if text.get_text()]
    assert texts == ["x", "+", "LayerNorm", "attention", "+", "feed-forward", "LayerNorm", "head"]
    places = {text.get_text(): text.get_position() for text in ax.texts}
    assert places["feed-forward"][0] > 0 == places["LayerNorm"][0]  # the last norm stands on the stream


def test_the_residual_diagram_can_link_the_end_of_one_stream_to_a_box_of_another():
    steps = {"encoder": STEPS[:1], "decoder": [(["cross-attention"], ["norm"])]}
    figure = plots.residual_diagram(steps, link=("encoder", "cross-attention"))
    (arrow,) = [artist for artist in figure.artists if isinstance(artist, ConnectionPatch)]
    box = next(text for text in figure.axes[1].texts if text.get_text() == "cross-attention")
    assert arrow.xy2 == box.get_position() and arrow.axesA is figure.axes[0] and arrow.axesB is figure.axes[1]
    assert "an arrow from the end of encoder to cross-attention" in figure.description
    assert "arrow" not in plots.residual_diagram(steps).description
    for wrong in (("encoder", "attention?"), ("stranger", "cross-attention")):
        with pytest.raises(ValueError, match="link must name one of the panels and a box"):
            plots.residual_diagram(steps, link=wrong)

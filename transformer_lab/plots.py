"""Plots: every picture of the series, as functions that return a Figure.

Importing this module gives matplotlib the style of the series.
Rows of a pattern are queries, columns are keys. Colours are colour-blind safe, sizes fit a projector.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, ListedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.patches import ConnectionPatch, Patch
from matplotlib.ticker import MaxNLocator
from torch import Tensor

# Wong 2011 (Nature Methods 8:441): eight colours that stay apart for colour-blind readers; yellow left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# A text may be Chinese, Japanese or Korean. The usual font has no such signs; one of these may be there.
CJK_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei")
INSTALLED = set(get_font_names())
STYLE = {
    "font.family": ["DejaVu Sans", *(name for name in CJK_FONTS if name in INSTALLED)],
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "font.size": 12,
    "axes.prop_cycle": plt.cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 2,
    "legend.frameon": False,
    "image.cmap": "cividis",
    "image.interpolation": "nearest",
}
plt.rcParams.update(STYLE)

Numbers = Sequence[float] | np.ndarray | Tensor  # what one axis of a curve may come in


class Picture(Figure):
    """A Figure whose text form says what is on it, for readers who cannot see it."""

    description = ""  # set where titles, labels and sizes do not say enough

    def __repr__(self) -> str:
        panels = (_describe(ax) for ax in self.axes if ax.get_label() != "<colorbar>")
        return f"Picture of {self.description or '; '.join(panels)}"


def _describe(ax) -> str:
    what = "heatmap" if ax.images else "bars" if ax.patches and not ax.lines else "curves"
    title = ax.get_title() or (ax.figure.get_suptitle() if len(ax.figure.axes) <= 2 else "")
    text = f"{what} “{title}”" if title else what
    if ax.images:
        rows, columns = ax.images[0].get_array().shape[:2]
        text += f", {rows} rows × {columns} columns"
    axes = [label for label in (ax.get_xlabel(), ax.get_ylabel()) if label]
    text += f", axes: {' and '.join(axes)}" if axes else ""
    names = [label for label in ax.get_legend_handles_labels()[1] if not label.startswith("_")]
    return text + (f", showing {', '.join(names)}" if names else "")


def new_figure(
    rows: int = 1, columns: int = 1, width: float = 6.0, height: float = 3.6, **options
) -> tuple[Figure, np.ndarray]:
    """A figure in the series' style and its axes, (rows, columns). Sizes are inches for one panel.

    It is closed for pyplot, so a notebook shows it once: as the value of the cell.
    """
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, FigureClass=Picture, **options
    )
    plt.close(figure)
    return figure, axes


# ---------------------------------------------------------------- matrices


def draw_matrix(
    ax,
    matrix: Tensor,
    title: str = "",
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    row_label: str = "",
    column_label: str = "",
    numbers: bool | None = None,
    limits: tuple[float, float] | None = None,
    cmap: str | Colormap = "cividis",
):
    """One matrix as a heatmap. Numbers are written into the cells when there are at most 64 of them."""
    matrix = torch.as_tensor(matrix).detach().float().cpu()
    if matrix.ndim != 2:
        raise ValueError(f"matrix must be (rows, columns); got shape {tuple(matrix.shape)}")
    for axis, labels, size in zip(("rows", "columns"), (rows, columns), matrix.shape, strict=True):
        if labels is not None and len(labels) != size:
            raise ValueError(f"{axis} must hold {size} labels, as the matrix has {axis}; got {len(labels)}")
    low, high = limits or (matrix.min().item(), matrix.max().item())
    image = ax.imshow(matrix.numpy(), vmin=low, vmax=high, cmap=cmap, interpolation="nearest")
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title(title)
    ax.set_xlabel(column_label)
    ax.set_ylabel(row_label)
    if columns is not None:
        ax.set_xticks(range(len(columns)), columns, rotation=45 if max(map(len, columns)) > 2 else 0, ha="center")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if rows is not None:
        ax.set_yticks(range(len(rows)), rows)
    else:
        ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if numbers if numbers is not None else matrix.numel() <= 64:
        for (row, column), value in np.ndenumerate(matrix.numpy()):
            red, green, blue, _ = image.cmap(image.norm(value))
            bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
            label = f"{value:.2f}".replace("-0.00", "0.00")
            ax.text(column, row, label, ha="center", va="center", fontsize=10, color="black" if bright else "white")
    return image


def _add_scale(image, ax) -> None:
    """A colour bar as high as the matrix itself, whatever its shape."""
    n_rows, n_columns = image.get_array().shape
    width = 0.05 * max(n_rows, n_columns) / n_columns  # the same in inches whether the matrix is wide or high
    ax.figure.colorbar(image, cax=ax.inset_axes([1 + width, 0, width, 1]))


def heatmap(matrix: Tensor, title: str = "", cell: float = 0.55, **options) -> Figure:
    """One matrix, (rows, columns), with a colour bar. Options: see `draw_matrix`. `cell` is in inches."""
    n_rows, n_columns = matrix.shape[-2:]
    width, height = (min(max(cell * n, 2.5), 9.0) for n in (n_columns, n_rows))
    figure, axes = new_figure(width=width + 1.8, height=height + 1.2)
    image = draw_matrix(axes[0, 0], matrix, title, **options)
    _add_scale(image, axes[0, 0])
    return figure


def attention_heatmap(pattern: Tensor, tokens: Sequence[str], keys: Sequence[str] | None = None, title="") -> Figure:
    """One head's pattern, (queries, keys): row by row, where each query's attention goes. Colours from 0 to 1."""
    keys = tokens if keys is None else keys
    _check_pattern(pattern, tokens, keys)
    return heatmap(pattern, title, rows=tokens, columns=keys, row_label="query", column_label="key", limits=(0, 1))


def compare_patterns(
    *patterns: Tensor, titles: Sequence[str], tokens=None, keys=None, limits=(0, 1), labels=("query", "key")
) -> Figure:
    """Several (queries, keys) matrices side by side, on one colour scale. `labels` names the rows and the columns."""
    n_queries, n_keys = patterns[0].shape[-2:]
    width = min(max(0.55 * n_keys, 3.0), 5.0)
    figure, axes = new_figure(1, len(patterns), width=width + 0.6, height=min(max(0.55 * n_queries, 2.5), 5.0) + 1.2)
    for ax, pattern, title in zip(axes[0], patterns, titles, strict=True):
        image = draw_matrix(
            ax, pattern, title, tokens, keys or tokens, labels[0] if ax is axes[0, 0] else "", labels[1], limits=limits
        )
    _add_scale(image, axes[0, -1])
    return figure


def head_grid(patterns: Sequence[Tensor], tokens: Sequence[str], title: str = "") -> Figure:
    """All heads of all layers: patterns[layer] is (heads, queries, keys); one row of panels a layer."""
    for layer in patterns:
        _check_pattern(layer[0], tokens, tokens)
    figure, axes = new_figure(len(patterns), len(patterns[0]), width=2.3, height=2.4)
    for layer, row in enumerate(axes):
        for head, ax in enumerate(row):
            draw_matrix(ax, patterns[layer][head], f"layer {layer} head {head}", numbers=False, limits=(0, 1))
            short = len(tokens) <= 12
            ax.set_yticks(range(len(tokens)) if short and head == 0 else [], tokens if short and head == 0 else [])
            last = short and layer == len(axes) - 1
            ax.set_xticks(range(len(tokens)) if last else [], tokens if last else [], rotation=90)
            ax.tick_params(labelsize=8)
            ax.title.set_fontsize(10)
    figure.suptitle(title)
    figure.description = (
        f"attention patterns{f' “{title}”' if title else ''}, {len(patterns)} layers × {len(patterns[0])} heads, "
        f"over: {' · '.join(tokens)}"
    )
    return figure


def _check_pattern(pattern: Tensor, queries: Sequence[str], keys: Sequence[str]) -> None:
    if tuple(pattern.shape) != (len(queries), len(keys)):
        raise ValueError(
            f"pattern must be (queries, keys) = ({len(queries)}, {len(keys)}), as the tokens are; "
            f"got {tuple(pattern.shape)}"
        )


def draw_lines(ax, pattern: Tensor, queries: Sequence[str], keys: Sequence[str], query: int, title: str = "") -> None:
    """One head's pattern as lines from queries to keys: the more weight, the thicker; those of `query` in colour.

    Weights below 0.02 have no line. Names are written where there are at most 24.
    """
    _check_pattern(pattern, queries, keys)
    pattern = pattern.detach().float().cpu().numpy()
    rows, columns = (pattern >= 0.02).nonzero()
    weights = pattern[rows, columns]
    colours = [to_rgba(COLOURS[0] if row == query else "black", w**0.5) for row, w in zip(rows, weights)]
    segments = [((0, row), (1, column)) for row, column in zip(rows, columns)]
    ax.add_collection(LineCollection(segments, linewidths=0.8 + 3 * weights, colors=colours))
    for x, names, side, align in ((-0.03, queries, "query", "right"), (1.03, keys, "key", "left")):
        ax.text(x, -1, side, ha=align, va="center", weight="bold")
        for place, name in enumerate(names if len(names) <= 24 else ()):
            chosen = (side, place) == ("query", query)
            ax.text(x, place, name, ha=align, va="center", color=COLOURS[0] if chosen else "black")
    ax.set(xlim=(0, 1), ylim=(max(pattern.shape) - 0.5, -1.5), title=title)
    ax.set_axis_off()


def compare_masks(
    *masks: Tensor,
    titles: Sequence[str],
    tokens: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    labels: tuple[str, str] = ("query", "key"),
    meaning: tuple[str, str] = ("may attend", "may not"),
) -> Figure:
    """Boolean (queries, keys) matrices side by side: dark where True, pale where False; `meaning` names the two.

    `labels` names the rows and the columns.
    """
    n_queries, n_keys = masks[0].shape
    figure, axes = new_figure(1, len(masks), width=max(0.4 * n_keys, 1.8) + 0.9, height=0.4 * n_queries + 1.7)
    for ax, mask, title in zip(axes[0], masks, titles, strict=True):
        first = ax is axes[0, 0]
        _draw_mask(ax, mask, title, tokens, keys or tokens, labels[0] if first else "", labels[1])
    _explain_masks(figure, meaning)
    return figure


def holdings(ranks: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """What each of several processes has, name → (weights, batch), both boolean, dark where it is there.

    weights: (layers, parts of a layer). batch: (examples,).
    """
    weights, batch = next(iter(ranks.values()))
    n_layers, n_parts = weights.shape
    figure, axes = new_figure(
        2, len(ranks), width=0.45 * max(n_parts, len(batch)) + 1.0, height=0.25 * n_layers + 1.0,
        gridspec_kw={"height_ratios": [n_layers, 1]},
    )  # fmt: skip
    for (above, below), (name, (weights, batch)) in zip(axes.T, ranks.items(), strict=True):
        first = above is axes[0, 0]
        _draw_mask(
            above, weights, name, row_label="layer" if first else "", column_label="part of each layer's weights"
        )
        _draw_mask(below, batch[None], column_label="example of the batch")
        below.set_yticks([])
    _explain_masks(figure, ("held here", "elsewhere"))
    figure.description = "who holds what: " + "; ".join(
        f"{name}, {int(weights.sum())} of {weights.numel()} parts of the weights "
        f"and {int(batch.sum())} of {len(batch)} examples"
        for name, (weights, batch) in ranks.items()
    )
    return figure


MASK_COLOURS = ("#DDDDDD", COLOURS[0])  # False, True


def _draw_mask(ax, mask: Tensor, title: str = "", rows=None, columns=None, row_label="", column_label="") -> None:
    draw_matrix(
        ax, mask, title, rows, columns, row_label, column_label,
        numbers=False, limits=(0, 1), cmap=ListedColormap(MASK_COLOURS),
    )  # fmt: skip
    ax.set_xticks(np.arange(1, mask.shape[1]) - 0.5, minor=True)
    ax.set_yticks(np.arange(1, mask.shape[0]) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=2)
    ax.tick_params(which="minor", length=0)


def _explain_masks(figure: Figure, meaning: tuple[str, str]) -> None:
    figure.legend(
        handles=[Patch(color=colour, label=name) for colour, name in zip(MASK_COLOURS[::-1], meaning, strict=True)],
        loc="outside lower center",
        ncols=2,
    )


def matrix_grid(
    panels: Mapping[str, Tensor],
    across: int = 4,
    row_names: Mapping[str, Sequence[str]] | None = None,
    column_names: Sequence[str] | None = None,
    row_label: str = "",
    column_label: str = "",
    limits: tuple[float, float] | None = None,
    cmap: str | Colormap = "cividis",
    panel: tuple[float, float] = (2.8, 2.8),
) -> Figure:
    """Any matrices, title → matrix, in a grid without numbers, on one colour scale; they may differ in size.

    `row_names` holds the rows' names of the panel with that title; `column_names` are those of every panel.
    `across` is how many stand side by side, `panel` the width and height of one, in inches.
    """
    if limits is None:
        limits = min(float(m.min()) for m in panels.values()), max(float(m.max()) for m in panels.values())
    across = min(across, len(panels))
    figure, axes = new_figure(-(-len(panels) // across), across, *panel)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for i, (ax, (title, matrix)) in enumerate(zip(axes.flat, panels.items(), strict=False)):
        rows = (row_names or {}).get(title)
        below = column_label if i + across >= len(panels) else ""  # nothing stands under this panel
        beside = row_label if i % across == 0 else ""
        image = draw_matrix(
            ax, matrix, title, rows, column_names, beside, below, numbers=False, limits=limits, cmap=cmap
        )
        ax.title.set_fontsize(12)
        if column_names is None:
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        else:
            ax.tick_params(axis="x", rotation=90)
        if rows is None:
            ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    figure.colorbar(image, ax=list(axes.flat[: len(panels)]), shrink=0.8)
    return figure


def truth_table(
    matrix: Tensor, rows: Sequence[str], columns: Sequence[str], meaning: tuple[str, str] = ("yes", "no")
) -> Figure:
    """A boolean matrix with names along both sides; `meaning` is the word for True and the word for False."""
    figure, axes = new_figure(width=1.15 * len(columns) + 0.1 * max(map(len, rows)), height=0.42 * len(rows) + 0.6)
    ax, matrix = axes[0, 0], matrix.cpu().numpy()
    ax.imshow(matrix, cmap=ListedColormap(["#DDDDDD", COLOURS[0]]), vmin=0, vmax=1, aspect="auto")
    words = np.where(matrix, *meaning)
    for (row, column), word in np.ndenumerate(words):
        ax.text(column, row, word, ha="center", va="center", color="white" if matrix[row, column] else "black")
    ax.set_xticks(range(len(columns)), [name.replace(" ", "\n", 1) for name in columns])
    ax.set_yticks(range(len(rows)), rows)
    ax.xaxis.tick_top()
    ax.set_xticks(np.arange(1, len(columns)) - 0.5, minor=True)
    ax.set_yticks(np.arange(1, len(rows)) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=3)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    figure.description = f"a table of {', '.join(columns)}: " + "; ".join(
        f"{name}, {' '.join(line)}" for name, line in zip(rows, words, strict=True)
    )
    return figure


# ---------------------------------------------------------------- tokens


def token_rows(rows: Mapping[str, Sequence[str]], title: str = "", shift: int = 0) -> Figure:
    """Rows of tokens in boxes, name → tokens, one column a position. A box's colour stands for its token.

    `shift` draws an arrow from each token to the same token that many columns away in the row below.
    """
    longest = max(len(tokens) for tokens in rows.values())
    figure, axes = new_figure(width=0.95 * longest + 1.2, height=0.9 * len(rows) + 0.5)
    ax = axes[0, 0]
    vocabulary = list(dict.fromkeys(token for tokens in rows.values() for token in tokens))
    for row, tokens in enumerate(rows.values()):
        for column, token in enumerate(tokens):
            colour = plt.get_cmap("cividis")(0.45 + 0.5 * vocabulary.index(token) / len(vocabulary))
            ax.add_patch(plt.Rectangle((column - 0.46, row - 0.3), 0.92, 0.6, color=colour))
            ax.text(column, row, token.replace("\n", "⏎"), ha="center", va="center", fontsize=11)
            if shift and row + 1 < len(rows) and 0 <= column + shift < longest:
                ax.annotate("", (column + shift, row + 0.68), (column, row + 0.32), arrowprops={"arrowstyle": "->"})
    ax.set(xlim=(-0.6, longest - 0.4), ylim=(len(rows) - 0.5, -0.5), title=title, xlabel="position")
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_xticks(range(longest))
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
    figure.description = "rows of tokens, " + "; ".join(f"{name}: {' · '.join(t)}" for name, t in rows.items())
    return figure


# ---------------------------------------------------------------- curves and bars


def curves(
    lines: Mapping[str, tuple[Numbers, Numbers]],
    x_label: str,
    y_label: str,
    title: str = "",
    log: str = "",
    marker: str = "",
    width: float = 7.0,
) -> Figure:
    """Named lines, name → (x, y), on one pair of axes. log: "x", "y" or "xy"."""
    figure, axes = new_figure(width=width, height=3.8)
    ax = axes[0, 0]
    for name, (x, y) in lines.items():
        ax.plot(_array(x), _array(y), label=name, marker=marker)
    if "x" in log:
        ax.set_xscale("log", base=2)
    if "y" in log:
        ax.set_yscale("log")
    ax.set(xlabel=x_label, ylabel=y_label, title=title)
    if len(lines) > 1:
        ax.legend(fontsize=11)
    return figure


def bars(values: Mapping[str, float] | Tensor, x_label: str = "", y_label: str = "", title: str = "") -> Figure:
    """One bar a name; a plain tensor is named 0, 1, 2, …"""
    if not isinstance(values, Mapping):
        values = {str(i): float(v) for i, v in enumerate(values)}
    figure, axes = new_figure(width=min(max(0.9 * len(values), 4.5), 10.0), height=3.4)
    axes[0, 0].bar(range(len(values)), list(values.values()))
    axes[0, 0].set_xticks(range(len(values)), list(values), rotation=30 if max(map(len, values)) > 8 else 0)
    axes[0, 0].set(xlabel=x_label, ylabel=y_label, title=title)
    return figure


def loss_curves(
    lines: Mapping[str, tuple[Numbers, Numbers]],
    baselines: Mapping[str, float] | None = None,
    unit: str = "nats per token",
) -> Figure:
    """Losses by step; long ones are drawn faint with a running mean over them. Baselines: dashed, named levels."""
    figure, axes = new_figure(width=8.0, height=4.2)
    draw_losses(axes[0, 0], lines, baselines, unit)
    return figure


def draw_losses(ax, lines, baselines=None, unit: str = "nats per token") -> None:
    """`loss_curves` on axes that are there already."""
    for i, (name, (x, y)) in enumerate(lines.items()):
        x, y, colour = _array(x), _array(y), COLOURS[i]
        if len(y) > 200:
            ax.plot(x, y, alpha=0.2, color=colour, linewidth=1)
            window = len(y) // 50
            x, y = x[window - 1 :], np.convolve(y, np.ones(window) / window, mode="valid")
        ax.plot(x, y, label=name, color=colour, marker="o" if len(y) <= 30 else "", markersize=4)
    for name, level in (baselines or {}).items():
        ax.axhline(level, linestyle="--", linewidth=1.5, color="0.4")
        ax.annotate(name, (1, level), (-4, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
                    ha="right", color="0.3")  # fmt: skip
    ax.set(xlabel="step", ylabel=f"loss ({unit})")
    if lines:
        ax.legend(loc="lower left", fontsize=11)


def plane(
    groups: Mapping[str, tuple[Tensor, Sequence[str] | None]],
    x_label: str = "",
    y_label: str = "",
    title: str = "",
    joined: Sequence[str] = (),
) -> Figure:
    """Points in a plane, both axes to one scale. Groups: name → ((n, 2) coordinates, a label for each or None).

    A labelled group is drawn large, an unlabelled one as small dots; the groups named in `joined` are joined
    to a polygon in their order.
    """
    figure, axes = new_figure(width=5.4, height=4.6)
    ax = axes[0, 0]
    for i, (name, (points, labels)) in enumerate(groups.items()):
        x, y = _array(points).T
        ax.scatter(x, y, s=12 if labels is None else 80, marker="os^D"[i % 4], color=COLOURS[i], label=name, zorder=3)
        if name in joined:
            ax.fill(x, y, facecolor="none", edgecolor=COLOURS[i], linewidth=1.5)
        for j, label in enumerate(labels or ()):
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}  # legible across a line
            ax.annotate(label, (x[j], y[j]), xytext=(8, 6), textcoords="offset points", color=COLOURS[i], bbox=box)
    ax.set(xlabel=x_label, ylabel=y_label, title=title, aspect="equal")
    ax.margins(0.12)
    ax.legend(fontsize=11)
    figure.description = "points in a plane: " + "; ".join(
        f"{name} ({len(points)})" if labels is None else f"{name} ({', '.join(labels)})"
        for name, (points, labels) in groups.items()
    )
    return figure


def curve_panels(
    panels: Mapping[str, Mapping[str, tuple[Numbers, Numbers]]],
    x_label: str,
    log: str = "",
    x_limits: tuple[float, float] | None = None,
    y_limits: tuple[float, float] | None = None,
    marker: str = "",
) -> Figure:
    """Several `curves` side by side, y label → name → (x, y), with one legend. Limits, where given, hold in each."""
    figure, axes = new_figure(1, len(panels), width=4.6, height=4.2)
    for ax, (y_label, lines) in zip(axes[0], panels.items(), strict=True):
        for name, (x, y) in lines.items():
            ax.plot(_array(x), _array(y), label=name, marker=marker)
        if "x" in log:
            ax.set_xscale("log", base=2)
        if "y" in log:
            ax.set_yscale("log")
        ax.set(xlabel=x_label, ylabel=y_label)
        if x_limits:
            ax.set_xlim(x_limits)
        if y_limits:
            ax.set_ylim(y_limits)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    return figure


def stacked_bars(
    stacks: Mapping[str, Mapping[str, float]], x_label: str = "", y_label: str = "", title: str = ""
) -> Figure:
    """One bar a stack, name → part → size, the parts on top of each other. Every stack has the same parts."""
    figure, axes = new_figure(width=max(1.3 * len(stacks), 3.0) + 2.6, height=4.4)
    ax = axes[0, 0]
    feet, tallest = np.zeros(len(stacks)), max(sum(stack.values()) for stack in stacks.values())
    for i, part in enumerate(next(iter(stacks.values()))):
        sizes = np.array([stack[part] for stack in stacks.values()])
        drawn = ax.bar(range(len(stacks)), sizes, bottom=feet, label=part, color=COLOURS[i], width=0.7)
        labels = [f"{size:.0f}" if size > 0.04 * tallest else "" for size in sizes]
        ax.bar_label(drawn, labels, label_type="center", color="white", fontsize=11)
        feet += sizes
    ax.set_xticks(range(len(stacks)), list(stacks))
    ax.set(xlabel=x_label, ylabel=y_label, title=title)
    handles, names = ax.get_legend_handles_labels()
    figure.legend(handles[::-1], names[::-1], loc="outside right center", fontsize=11)
    return figure


def time_chart(
    rows: Mapping[str, Sequence[tuple[str, str, float, float]]], x_label: str = "time", title: str = ""
) -> Figure:
    """Who is busy when, the first row on top: name → boxes, each (kind, label, start, end). Kinds have colours."""
    end = max(box[3] for boxes in rows.values() for box in boxes)
    kinds = list(dict.fromkeys(box[0] for boxes in rows.values() for box in boxes))
    figure, axes = new_figure(width=min(0.32 * end + 2.5, 11.0), height=0.5 * len(rows) + 1.6)
    ax = axes[0, 0]
    for row, boxes in enumerate(rows.values()):
        for kind, label, start, stop in boxes:
            colour = COLOURS[kinds.index(kind)]
            ax.broken_barh([(start, stop - start)], (row - 0.4, 0.8), facecolor=colour, edgecolor="white")
            ax.text((start + stop) / 2, row, label, ha="center", va="center", color="white", fontsize=11)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlim=(0, end), ylim=(len(rows) - 0.5, -0.5), xlabel=x_label, title=title)
    handles = [Patch(color=colour, label=kind) for colour, kind in zip(COLOURS, kinds)]
    figure.legend(handles=handles, loc="outside right center", fontsize=11)
    busy = {name: sum(stop - start for _, _, start, stop in boxes) for name, boxes in rows.items()}
    figure.description = f"a time chart of {' and '.join(kinds)}: " + "; ".join(
        f"{name}, busy for {time:g} of {end:g}" for name, time in busy.items()
    )
    return figure


def mark(
    figure: Figure, vertical: Mapping[str, float] | None = None, horizontal: Mapping[str, float] | None = None
) -> Figure:
    """The figure, with dashed grey lines across its first axes that bear their names: name → where."""
    ax = figure.axes[0]
    line, text = {"linestyle": "--", "linewidth": 1.5, "color": "0.4"}, {"textcoords": "offset points", "color": "0.3"}
    for name, x in (vertical or {}).items():
        ax.axvline(x, **line)
        ax.annotate(name, (x, 1), (4, -2), xycoords=("data", "axes fraction"), va="top", **text)
    for name, y in (horizontal or {}).items():
        ax.axhline(y, **line)
        ax.annotate(name, (0, y), (4, 3), xycoords=("axes fraction", "data"), **text)
    return figure


# ---------------------------------------------------------------- diagrams


def residual_diagram(
    panels: Mapping[str, Sequence[tuple[Sequence[str], Sequence[str]]]], link: tuple[str, str] | None = None
) -> Figure:
    """A residual stream a panel, from x at the bottom upwards: title → its steps.

    A step is (boxes on a branch that leaves the stream and is added back, boxes on the stream after the sum).
    link: (title, box): an arrow leads from the end of that panel's stream to the box, in another panel.
    """
    boxes_of = {title: [name for step in steps for part in step for name in part] for title, steps in panels.items()}
    if link is not None and not (link[0] in panels and any(link[1] in boxes_of[title] for title in panels)):
        raise ValueError(f"link must name one of the panels and a box, of {boxes_of}; got {link}")
    names = dict.fromkeys(name for boxes in boxes_of.values() for name in boxes)
    colours = dict(zip(names, COLOURS, strict=False))
    height = max(sum(len(branch) + len(after) + 1 for branch, after in steps) for steps in panels.values())
    figure, axes = new_figure(1, len(panels), width=3.6, height=0.58 * height + 1.2)
    ends, boxes = {}, {}  # title → its axes and where its stream ends; name → its last box
    for ax, (title, steps) in zip(axes[0], panels.items(), strict=True):
        ax.set(title=title, xlim=(-0.9, 2.3), ylim=(-0.7, height + 0.6))
        ax.axis("off")
        ax.text(0, -0.35, "x", ha="center", va="center", style="italic", fontsize=14)
        foot = 0.0
        for branch, after in steps:
            top = foot + (len(branch) + 0.6 if branch else 0)  # where the branch comes back
            ax.plot([0, 0], [foot - 0.1, top + len(after) + 0.4], color="black", linewidth=3, zorder=0)
            if branch:
                ax.plot([0, 1.4, 1.4], [foot + 0.2, foot + 0.2, top], color="grey", zorder=0)
                ax.annotate("", (0.15, top), (1.42, top), arrowprops={"arrowstyle": "-|>", "lw": 2, "color": "grey"})
                ax.text(0, top, "+", ha="center", va="center", fontsize=14, bbox={"boxstyle": "circle", "fc": "white"})
            places = [(1.4, foot + 0.8 + i, name) for i, name in enumerate(branch)]
            places += [(0, top + 0.8 + i, name) for i, name in enumerate(after)]
            for x, y, name in places:
                box = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": colours[name], "lw": 2.5}
                boxes[name] = ax.text(x, y, name, ha="center", va="center", fontsize=11, bbox=box)
            foot = top + len(after) + 0.4
        ax.annotate("", (0, foot + 0.45), (0, foot - 0.1), arrowprops={"arrowstyle": "-|>", "lw": 3, "color": "black"})
        ends[title] = ax, (0, foot + 0.45)
    if link is not None:
        (start, end), box = ends[link[0]], boxes[link[1]]
        style = dict(
            arrowstyle="-|>", mutation_scale=18, lw=2, linestyle="--", color="0.3", connectionstyle="arc3,rad=0.17"
        )
        between = dict(axesA=start, axesB=box.axes, coordsA="data", coordsB="data", patchB=box.get_bbox_patch())
        figure.add_artist(ConnectionPatch(end, box.get_position(), **between, **style))
    figure.description = "a diagram: " + "; ".join(
        f"{title}, {' then '.join(_describe_step(*step) for step in steps)}" for title, steps in panels.items()
    )
    figure.description += f"; an arrow from the end of {link[0]} to {link[1]}" if link else ""
    return figure


def _describe_step(branch: Sequence[str], after: Sequence[str]) -> str:
    through = f"through {' → '.join(after)}"
    if not branch:
        return through
    return f"plus a branch through {' → '.join(branch)}" + (f" and the sum {through}" if after else "")


def _array(x) -> np.ndarray:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(list(x), dtype=float)

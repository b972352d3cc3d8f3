"""Plots: every picture of the series, as functions that return a Figure.

Rows of a pattern are queries, columns are keys. Colours are colour-blind safe, sizes fit a projector.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

# Wong 2011 (Nature Methods 8:441): eight colours that stay apart for colour-blind readers; yellow left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE = {
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


class Picture(Figure):
    """A Figure whose text form says what is on it, for readers who cannot see it."""

    def __repr__(self) -> str:
        return "Picture of " + "; ".join(_describe(ax) for ax in self.axes if ax.get_label() != "<colorbar>")


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
    with plt.rc_context(STYLE):
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
    cmap: str = "cividis",
):
    """One matrix as a heatmap. Numbers are written into the cells when there are at most 64 of them."""
    matrix = torch.as_tensor(matrix).detach().float().cpu()
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


def heatmap(matrix: Tensor, title: str = "", cell: float = 0.55, **options) -> Figure:
    """One matrix, (rows, columns), with a colour bar. Options: see `draw_matrix`. `cell` is in inches."""
    n_rows, n_columns = matrix.shape
    width, height = (min(max(cell * n, 2.5), 9.0) for n in (n_columns, n_rows))
    figure, axes = new_figure(width=width + 1.8, height=height + 1.2)
    image = draw_matrix(axes[0, 0], matrix, title, **options)
    figure.colorbar(image, ax=axes[0, 0], shrink=0.8)
    return figure


def attention_heatmap(pattern: Tensor, tokens: Sequence[str], keys: Sequence[str] | None = None, title="") -> Figure:
    """One head's pattern, (queries, keys): row by row, where each query's attention goes. Colours from 0 to 1."""
    keys = tokens if keys is None else keys
    _check_pattern(pattern, tokens, keys)
    return heatmap(pattern, title, rows=tokens, columns=keys, row_label="query", column_label="key", limits=(0, 1))


def compare_patterns(*patterns: Tensor, titles: Sequence[str], tokens=None, keys=None, limits=(0, 1)) -> Figure:
    """Several (queries, keys) matrices side by side, on one colour scale."""
    n_queries, n_keys = patterns[0].shape
    width = min(max(0.55 * n_keys, 3.0), 5.0)
    figure, axes = new_figure(
        1, len(patterns), width=width + 0.6, height=min(max(0.55 * n_queries, 2.5), 5.0) + 1.2
    )
    for ax, pattern, title in zip(axes[0], patterns, titles, strict=True):
        image = draw_matrix(
            ax, pattern, title, tokens, keys or tokens, "query" if ax is axes[0, 0] else "", "key", limits=limits
        )
    figure.colorbar(image, ax=axes[0, -1], shrink=0.8)
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
    return figure


def _check_pattern(pattern: Tensor, queries: Sequence[str], keys: Sequence[str]) -> None:
    if tuple(pattern.shape) != (len(queries), len(keys)):
        raise ValueError(
            f"pattern must be (queries, keys) = ({len(queries)}, {len(keys)}), as the tokens are; "
            f"got {tuple(pattern.shape)}"
        )


# ---------------------------------------------------------------- curves and bars


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
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
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    baselines: Mapping[str, float] | None = None,
    unit: str = "nats per token",
) -> Figure:
    """Losses by step; long ones are drawn faint with a running mean over them. Baselines are dashed levels."""
    figure, axes = new_figure(width=8, height=4.2)
    ax = axes[0, 0]
    for i, (name, (x, y)) in enumerate(lines.items()):
        x, y, colour = _array(x), _array(y), COLOURS[i]
        if len(y) > 200:
            ax.plot(x, y, alpha=0.2, color=colour, linewidth=1)
            window = len(y) // 50
            x, y = x[window - 1 :], np.convolve(y, np.ones(window) / window, mode="valid")
        ax.plot(x, y, label=name, color=colour, marker="o" if len(y) <= 30 else "", markersize=4)
    for i, (name, level) in enumerate((baselines or {}).items()):
        ax.axhline(level, linestyle="--", linewidth=1.5, color=COLOURS[(len(lines) + i) % len(COLOURS)], label=name)
    ax.set(xlabel="step", ylabel=f"loss ({unit})")
    ax.legend(loc="upper right", fontsize=10)
    return figure


def _array(x) -> np.ndarray:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(list(x), dtype=float)

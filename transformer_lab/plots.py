"""Plots: every picture of the series, as functions that return a Figure.

Importing this module gives matplotlib the style of the series.
Rows of a pattern are queries, columns are keys. Colours are colour-blind safe, sizes fit a projector.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
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
plt.rcParams.update(STYLE)


class Picture(Figure):
    """A Figure whose text form says what is on it, for readers who cannot see it."""

    description = ""  # set where titles, labels and sizes do not say enough

    def __repr__(self) -> str:
        return "Picture of " + (self.description or "; ".join(_describe(ax) for ax in self.axes if ax.get_label() != "<colorbar>"))


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
    colours = (COLOURS[0], "#DDDDDD")
    n_queries, n_keys = masks[0].shape
    figure, axes = new_figure(1, len(masks), width=max(0.36 * n_keys, 1.8) + 0.9, height=0.36 * n_queries + 1.7)
    for ax, mask, title in zip(axes[0], masks, titles, strict=True):
        first = ax is axes[0, 0]
        draw_matrix(
            ax, mask, title, tokens, keys or tokens, labels[0] if first else "", labels[1],
            numbers=False, limits=(0, 1), cmap=ListedColormap(colours[::-1]),
        )  # fmt: skip
        ax.set_xticks(np.arange(1, mask.shape[1]) - 0.5, minor=True)
        ax.set_yticks(np.arange(1, mask.shape[0]) - 0.5, minor=True)
        ax.grid(which="minor", color="white", linewidth=2)
        ax.tick_params(which="minor", length=0)
    figure.legend(
        handles=[Patch(color=colour, label=name) for colour, name in zip(colours, meaning, strict=True)],
        loc="outside lower center",
        ncols=2,
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
    """Losses by step; long ones are drawn faint with a running mean over them. Baselines are dashed levels that bear their names."""
    figure, axes = new_figure(width=8, height=4.2)
    ax = axes[0, 0]
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
    return figure


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
            ax.annotate(label, (x[j], y[j]), xytext=(8, 6), textcoords="offset points", color=COLOURS[i])
    ax.set(xlabel=x_label, ylabel=y_label, title=title, aspect="equal")
    ax.margins(0.12)
    ax.legend(fontsize=11)
    figure.description = "points in a plane: " + "; ".join(
        f"{name} ({len(points)})" if labels is None else f"{name} ({', '.join(labels)})"
        for name, (points, labels) in groups.items()
    )
    return figure


def curve_panels(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
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


# ---------------------------------------------------------------- diagrams


def residual_diagram(panels: Mapping[str, Sequence[tuple[Sequence[str], Sequence[str]]]]) -> Figure:
    """A residual stream a panel, from x at the bottom upwards: title → its steps.

    A step is (boxes on a branch that leaves the stream and is added back, boxes on the stream after the sum).
    """
    names = dict.fromkeys(name for steps in panels.values() for branch, after in steps for name in (*branch, *after))
    colours = dict(zip(names, COLOURS, strict=False))
    height = max(sum(len(branch) + len(after) + 1 for branch, after in steps) for steps in panels.values())
    figure, axes = new_figure(1, len(panels), width=3.6, height=0.58 * height + 1.2)
    for ax, (title, steps) in zip(axes[0], panels.items(), strict=True):
        ax.set(title=title, xlim=(-0.9, 2.3), ylim=(-0.7, height + 0.6))
        ax.axis("off")
        ax.text(0, -0.35, "x", ha="center", va="center", style="italic", fontsize=14)
        foot = 0.0
        for branch, after in steps:
            top = foot + len(branch) + 0.6
            ax.plot([0, 1.4, 1.4], [foot + 0.2, foot + 0.2, top], color="grey", zorder=0)
            ax.annotate("", (0.15, top), (1.42, top), arrowprops={"arrowstyle": "-|>", "lw": 2, "color": "grey"})
            ax.plot([0, 0], [foot - 0.1, top - 0.15], color="black", linewidth=3, zorder=0)
            ax.text(0, top, "+", ha="center", va="center", fontsize=14, bbox={"boxstyle": "circle", "fc": "white"})
            places = [(1.4, foot + 0.8 + i, name) for i, name in enumerate(branch)]
            places += [(0, top + 0.8 + i, name) for i, name in enumerate(after)]
            for x, y, name in places:
                box = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": colours[name], "lw": 2.5}
                ax.text(x, y, name, ha="center", va="center", fontsize=11, bbox=box)
            foot = top + len(after) + 0.4
            ax.plot([0, 0], [top + 0.2, foot], color="black", linewidth=3, zorder=0)
        ax.annotate("", (0, foot + 0.45), (0, foot - 0.1), arrowprops={"arrowstyle": "-|>", "lw": 3, "color": "black"})
    figure.description = "a diagram: " + "; ".join(
        f"{title}, {' then '.join(_describe_step(*step) for step in steps)}" for title, steps in panels.items()
    )
    return figure


def _describe_step(branch: Sequence[str], after: Sequence[str]) -> str:
    return f"plus a branch through {' → '.join(branch)}" + (f", sum through {' → '.join(after)}" if after else "")


def _array(x) -> np.ndarray:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(list(x), dtype=float)

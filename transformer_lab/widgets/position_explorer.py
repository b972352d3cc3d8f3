"""PositionExplorer: two positions, a pair of channels, and what sinusoidal or rotary positions say about them."""

import math
from collections.abc import Sequence

import torch
import traitlets
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter
from torch import Tensor

from transformer_lab import plots
from transformer_lab.positions import RotaryPositions, sinusoidal_encoding, wavelengths
from transformer_lab.widgets.base import Refused, Widget

SCHEMES = ("sinusoidal", "rotary")


class PositionExplorer(Widget):
    """Move two positions, choose a pair of channels, slide the base: every view of them answers.

        PositionExplorer()
        PositionExplorer("rotary", d_model=8, query=torch.randn(8), key=torch.randn(8))

    scheme: "sinusoidal" (added to the embeddings) or "rotary" (turns queries and keys).
    n_positions: 2 … 512. position, other: 0 … n_positions − 1; with rotary the query stands at `position`, the key
    at `other`. pair: 0 … d_model / 2 − 1; pair i is the channels 2i and 2i + 1. base: 10 … 1,000,000.
    query, key: one number a channel, all ones unless given; rotary turns them. d_model is even, 2 … 128: with rotary
    that is the size of one head. All but d_model can be set and observed.
    """

    module = "position_explorer"
    scheme = traitlets.Unicode("sinusoidal").tag(sync=True)
    n_positions = traitlets.Int(64).tag(sync=True)
    position = traitlets.Int(0).tag(sync=True)
    other = traitlets.Int(1).tag(sync=True)
    pair = traitlets.Int(0).tag(sync=True)
    base = traitlets.Float(10000.0).tag(sync=True)
    query = traitlets.List(traitlets.Float()).tag(sync=True)
    key = traitlets.List(traitlets.Float()).tag(sync=True)

    def __init__(
        self,
        scheme: str = "sinusoidal",
        n_positions: int = 64,
        d_model: int = 32,
        position: int = 0,
        other: int = 1,
        pair: int = 0,
        base: float = 10000.0,
        query: Tensor | Sequence[float] | None = None,
        key: Tensor | Sequence[float] | None = None,
    ):
        if d_model % 2 or not 2 <= d_model <= 128:
            raise ValueError(f"d_model must be even, 2 … 128; got {d_model}")
        self._d_model = d_model
        vectors = [torch.ones(d_model) if x is None else torch.as_tensor(x).detach() for x in (query, key)]
        super().__init__(
            scheme=scheme, n_positions=n_positions, position=position, other=other, pair=pair, base=base,
            query=vectors[0].tolist(), key=vectors[1].tolist(),
        )  # fmt: skip

    @property
    def d_model(self) -> int:
        return self._d_model

    @traitlets.validate("scheme")
    def _check_scheme(self, proposal) -> str:
        if proposal["value"] not in SCHEMES:
            raise Refused(f"scheme must be one of {', '.join(SCHEMES)}; got {proposal['value']!r}")
        return proposal["value"]

    @traitlets.validate("n_positions")
    def _check_n_positions(self, proposal) -> int:
        fewest = max(2, self.position + 1, self.other + 1)
        if not fewest <= proposal["value"] <= 512:
            raise Refused(f"n_positions must lie in {fewest} … 512; got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("position", "other", "pair")
    def _check_place(self, proposal) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        end = self.d_model // 2 if name == "pair" else self.n_positions
        if not 0 <= value < end:
            raise Refused(f"{name} must lie in 0 … {end - 1}; got {value}")
        return value

    @traitlets.validate("base")
    def _check_base(self, proposal) -> float:
        if not 10 <= proposal["value"] <= 1_000_000:  # also no NaN
            raise Refused(f"base must lie in 10 … 1,000,000; got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("query", "key")
    def _check_vector(self, proposal) -> list[float]:
        name, vector = proposal["trait"].name, proposal["value"]
        if len(vector) != self.d_model:
            raise Refused(f"{name} must hold d_model, {self.d_model}, numbers; got {len(vector)}")
        if not all(map(math.isfinite, vector)):
            raise Refused(f"{name} must hold finite numbers; got {vector}")
        return vector

    # ---------------------------------------------------------------- what it shows

    @property
    def encoding(self) -> Float[Tensor, "positions d_model"]:
        """The sinusoidal encoding of every position. Vaswani et al. 2017, section 3.5."""
        return sinusoidal_encoding(self.n_positions, self.d_model, self.base)

    @property
    def wavelengths(self) -> Float[Tensor, "pairs"]:
        """Positions until each pair comes round again."""
        return wavelengths(self.d_model, self.base)

    @property
    def turned(self) -> tuple[Float[Tensor, "positions pairs 2"], Float[Tensor, "positions pairs 2"]]:
        """Each pair as an arrow in the plane, (across, up), at every position.

        sinusoidal: (cosine, sine), twice the same. rotary: of the query and of the key, turned (Su et al. 2021,
        equation 34).
        """
        if self.scheme == "sinusoidal":
            hands = self.encoding.unflatten(-1, (-1, 2)).flip(-1)
            return hands, hands
        rotary = RotaryPositions(self.n_positions, self.d_model, self.base)
        vectors = (torch.tensor(vector).expand(self.n_positions, -1) for vector in (self.query, self.key))
        query, key = (rotary.rotate(vector).unflatten(-1, (-1, 2)) for vector in vectors)
        return query, key

    @property
    def arrows(self) -> Float[Tensor, "pairs 2 2"]:
        """Every pair's two arrows, (across, up): at `position`, and at `other`."""
        first, second = self.turned
        return torch.stack([first[self.position], second[self.other]], dim=1)

    @property
    def angle(self) -> float:
        """Degrees, −180 … 180, counter-clockwise from the chosen pair's arrow at `position` to its arrow at `other`."""
        (a, b), (c, d) = self.arrows[self.pair].tolist()
        return math.degrees(math.atan2(a * d - b * c, a * c + b * d))

    @property
    def by_pair(self) -> Float[Tensor, "positions pairs"]:
        """Each pair's dot product, of `position` with every position. rotary: over √d_model, its part of the score."""
        first, second = self.turned
        products = (first[self.position] * second).sum(-1)
        return products if self.scheme == "sinusoidal" else products / math.sqrt(self.d_model)

    @property
    def similarity(self) -> Float[Tensor, "positions"]:
        """Of `position` with every position. sinusoidal: the mean of all pairs, so 1 with itself; rotary: the score."""
        return self.by_pair.mean(-1) if self.scheme == "sinusoidal" else self.by_pair.sum(-1)

    # ---------------------------------------------------------------- where nothing runs

    @property
    def figure(self) -> Figure:
        figure, axes = plots.new_figure(2, 2, width=5.4, height=3.4)
        if self.scheme == "rotary":
            self._draw_all_pairs(axes[0, 0])
            names = [f"query at {self.position}", f"key at {self.other}"]
        else:
            self._draw_encoding(axes[0, 0])
            names = [f"position {self.position}", f"position {self.other}"]
        self._draw_arrows(axes[0, 1], self.pair, (0, 0), names)
        axes[0, 1].set_title(f"pair {self.pair}: {abs(round(self.angle))}° apart")
        axes[0, 1].legend(fontsize=10, loc="center left", bbox_to_anchor=(1, 0.5))
        self._draw_by_distance(axes[1, 0])
        self._draw_wavelengths(axes[1, 1])
        return figure

    def _draw_encoding(self, ax) -> None:
        options = {"row_label": "channel", "column_label": "position", "cmap": "PuOr", "limits": (-1, 1)}
        plots.draw_matrix(ax, self.encoding.T, "encoding", numbers=False, **options)
        ax.set_aspect("auto")
        for place, colour in zip((self.position, self.other), plots.COLOURS, strict=False):
            ax.axvline(place, color=colour)
        ax.axhspan(2 * self.pair - 0.5, 2 * self.pair + 1.5, fill=False, color=plots.COLOURS[2], linewidth=2)

    def _draw_by_distance(self, ax) -> None:
        distances = torch.arange(self.n_positions) - self.position
        every = "score" if self.scheme == "rotary" else "mean of all pairs"
        own = {"color": plots.COLOURS[2], "marker": ".", "linewidth": 0.7}  # the dots are what there is
        ax.plot(distances, self.by_pair[:, self.pair], label="this pair", **own)
        ax.plot(distances, self.similarity, color="black", label=every)
        ax.axvline(self.other - self.position, color=plots.COLOURS[1], linestyle=":")
        ax.set_xlabel(f"distance from {'the query at' if self.scheme == 'rotary' else 'position'} {self.position}")
        ax.legend(fontsize=11, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)

    def _draw_wavelengths(self, ax) -> None:
        chosen = self.wavelengths[self.pair].item()
        ax.semilogy(self.wavelengths, "o", color="0.5")
        ax.semilogy([self.pair], [chosen], "o", color=plots.COLOURS[2], markersize=10)
        ax.axhline(self.n_positions, color="0.4", linestyle="--")
        ax.set(title=f"pair {self.pair}: wavelength {chosen:,.1f}", xlabel="pair", ylabel="positions")
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))  # powers would be formulas, which pictures lack
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))

    def _draw_arrows(self, ax, pair: int, centre: tuple[float, float], names: Sequence[str | None]) -> None:
        """One pair's two arrows on their circle, of radius 1."""
        longest = self.arrows[pair].norm(dim=-1).max().clamp(min=1e-9)
        turn = torch.linspace(0, 2 * math.pi, 60)
        ax.plot(centre[0] + turn.cos(), centre[1] + turn.sin(), color="0.8", linewidth=1, zorder=0)
        for arrow, colour, width, name in zip(self.arrows[pair] / longest, plots.COLOURS, (4, 2), names, strict=False):
            ends = [(start, start + step) for start, step in zip(centre, arrow.tolist(), strict=True)]
            ax.plot(*ends, color=colour, linewidth=width, label=name)
        ax.set_aspect("equal")
        ax.set_axis_off()

    def _draw_all_pairs(self, ax) -> None:
        across = min(8, self.d_model // 2)
        for pair in range(self.d_model // 2):
            centre = (2.6 * (pair % across), -3.4 * (pair // across))
            self._draw_arrows(ax, pair, centre, (None, None))
            chosen = {"color": plots.COLOURS[2], "weight": "bold"} if pair == self.pair else {}
            ax.text(centre[0], centre[1] + 1.2, str(pair), ha="center", va="bottom", fontsize=10, **chosen)
        ax.set(title="all pairs", ylim=(None, 2.6))

    def __repr__(self) -> str:
        own, every = self.by_pair[self.other, self.pair].item(), self.similarity[self.other].item()
        if self.scheme == "rotary":
            places, what = f"query at {self.position}, key at {self.other}", "score"
        else:
            places, what = f"positions {self.position} and {self.other}", "similarity"
        return (
            f"PositionExplorer: {self.scheme}, {self.n_positions} positions, {self.d_model} channels, "
            f"base {self.base:,.0f}; pair {self.pair} comes round after {self.wavelengths[self.pair]:,.1f} positions; "
            f"{places}: {abs(round(self.angle))}° apart, {what} of this pair {own:.2f}, of all {every:.2f}"
        ).replace("-0.00", "0.00")

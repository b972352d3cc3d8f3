"""SoftmaxPlayground: scores as bars to drag, and the weights that softmax makes of them."""

import math
from collections.abc import Sequence

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from transformer_lab import plots
from transformer_lab.widgets.base import Refused, Widget, isolated


class SoftmaxPlayground(Widget):
    """Drag a score, slide the temperature, mask a token: every weight answers.

        SoftmaxPlayground([2.0, 1.0, 0.1], labels=["cat", "sat", "mat"])

    scores: one number a token, −limit … limit. temperature: 0.05 … 10; the scores are divided by it.
    masked: the places whose weight is zero, whatever their score.
    limit: the end of the axis; unless given, the whole number that the scores need, and at least 4.
    All can be read, set and observed.
    """

    module = "softmax_playground"
    limit = traitlets.Float(4.0).tag(sync=True)
    scores = traitlets.List(traitlets.Float()).tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    masked = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(
        self,
        scores: Tensor | Sequence[float],
        labels: Sequence[str] | None = None,
        temperature: float = 1.0,
        masked: Sequence[int] = (),
        limit: float | None = None,
    ):
        numbers = torch.as_tensor(scores, dtype=torch.float64).tolist()
        names = [str(i) for i in range(len(numbers))] if labels is None else list(labels)
        if limit is None:
            limit = max([4, *(math.ceil(abs(x)) for x in numbers if math.isfinite(x))])
        super().__init__(labels=names, limit=limit, scores=numbers, temperature=temperature, masked=list(masked))

    @traitlets.validate("scores")
    def _check_scores(self, proposal) -> list[float]:
        scores = proposal["value"]
        if len(scores) != len(self.labels) or not scores:
            raise Refused(f"scores must hold one number a label, {len(self.labels)}; got {len(scores)}")
        if not all(-self.limit <= score <= self.limit for score in scores):  # also no NaN
            raise Refused(f"scores must lie in −{self.limit:g} … {self.limit:g}; got {scores}")
        return scores

    @traitlets.validate("limit")
    def _check_limit(self, proposal) -> float:
        largest = max((abs(score) for score in self.scores), default=0.0)
        if not max(largest, 1) <= proposal["value"] < math.inf:
            raise Refused(f"limit must be at least 1 and at least the largest score; got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("temperature")
    def _check_temperature(self, proposal) -> float:
        if not 0.05 <= proposal["value"] <= 10:
            raise Refused(f"temperature must lie in 0.05 … 10; got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("masked")
    def _check_masked(self, proposal) -> list[int]:
        if not set(proposal["value"]) <= set(range(len(self.labels))):
            raise Refused(f"masked must hold places in 0 … {len(self.labels) - 1}; got {proposal['value']}")
        return sorted(set(proposal["value"]))

    @property
    def weights(self) -> Tensor:
        """softmax(scores / temperature) over what is not masked; all zeros when everything is."""
        scores = torch.tensor(self.scores, dtype=torch.float64) / self.temperature
        scores[self.masked] = -math.inf
        return scores.softmax(0).nan_to_num(0.0)

    @property
    def bits(self) -> float:
        """The entropy of the weights: 0 when one token has everything, log₂ n when all n have the same."""
        weights = self.weights[self.weights > 0]
        return -(weights * weights.log2()).sum().item()

    @property
    def figure(self) -> Figure:
        figure, axes = plots.new_figure(1, 2, width=4.2, height=3.2)
        colours = [plots.COLOURS[0] if i not in self.masked else "0.7" for i in range(len(self.labels))]
        places = range(len(self.labels))
        for ax, heights, title in ((axes[0, 0], self.scores, "scores"), (axes[0, 1], self.weights.tolist(), "weights")):
            ax.bar(places, heights, color=colours)
            ax.set_xticks(places, self.labels, rotation=45 if max(map(len, self.labels)) > 2 else 0)
            ax.set_title(title)
        axes[0, 0].axhline(0, color="black", linewidth=0.8)
        axes[0, 0].set_ylim(-self.limit, self.limit)
        axes[0, 1].set_ylim(0, 1)
        axes[0, 1].set_title(f"weights at temperature {self.temperature:.2g}: {self.bits:.1f} bits")
        return figure

    def __repr__(self) -> str:
        names = [isolated(label) for label in self.labels]
        weights = ", ".join(f"{name} {weight:.2f}" for name, weight in zip(names, self.weights.tolist()))
        hidden = f", masked {', '.join(names[i] for i in self.masked)}" if self.masked else ""
        return f"SoftmaxPlayground: weights {weights}; temperature {self.temperature:.2g}{hidden}, {self.bits:.2f} bits"

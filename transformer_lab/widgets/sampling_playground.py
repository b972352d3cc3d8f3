"""SamplingPlayground: the next token's probabilities under temperature, top-k and top-p, and a text that goes on."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor, nn

from transformer_lab import plots
from transformer_lab.generation import evaluating, next_token_probabilities
from transformer_lab.widgets.base import Answering, Refused, isolated, visible

N_BARS = 20  # the likeliest tokens have a bar each; all others share one
HOTTEST = 5.0


class SamplingPlayground(Answering):
    """Slide temperature, top-k and top-p and see which tokens are left; draw one, and the text goes on.

        SamplingPlayground(model, tokenizer, "The argument must be a")
        SamplingPlayground.from_logits(logits, labels)      # any model's logits, to look at

    text: what the model reads; setting it drops what was drawn. drawn: the ids of the tokens written after it.
    temperature: 0 … 5, 0 is greedy. top_k: 0 is off. top_p: in (0, 1], 1 is off. All can be read, set and observed.
    The probabilities are those of `generation.next_token_probabilities`, in float64.
    """

    module = "sampling_playground"
    methods = ("draw", "take", "undo")
    drawn = traitlets.List(traitlets.Int()).tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    top_k = traitlets.Int(0).tag(sync=True)
    top_p = traitlets.Float(1.0).tag(sync=True)
    # What the page needs besides: every logit, so that no cut is a guess there, and names for those that have a bar.
    logits = traitlets.Bytes().tag(sync=True)  # float32, the largest first, equal ones by their ids
    ids = traitlets.List(traitlets.Int()).tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    pieces = traitlets.List(traitlets.Unicode()).tag(sync=True)  # the drawn tokens as text
    writes = traitlets.Bool(False).tag(sync=True)  # there is a model that can go on

    def __init__(
        self,
        model: nn.Module | None,  # none: see from_logits
        tokenizer,
        text: str,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ):
        """seed: of the generator that draws; the same seed and the same steps write the same text."""
        self._model, self._tokenizer = model, tokenizer
        self._generator = torch.Generator().manual_seed(seed)
        super().__init__(writes=model is not None, temperature=temperature, top_k=top_k, top_p=top_p)
        self.text = text

    @classmethod
    def from_logits(
        cls, logits: Tensor | Sequence[float], labels: Sequence[str], text: str = "", **settings
    ) -> "SamplingPlayground":
        """For logits and tokens from anywhere. There is no model to go on, so nothing can be drawn.

        logits: one number a token, −∞ for one that is ruled out. text: what stands before, only shown.
        settings: temperature, top_k, top_p.
        """
        numbers = torch.as_tensor(logits).detach().cpu().to(torch.float32)
        if numbers.ndim != 1 or len(numbers) != len(labels) or not len(labels):
            raise ValueError(
                f"logits must hold one number a label, shape ({len(labels)},); got shape {tuple(numbers.shape)}"
            )
        playground = cls(None, None, text, **settings)
        playground._show(numbers, list(labels))
        return playground

    # ------------------------------------------------------------ what is on show

    @property
    def probabilities(self) -> Tensor:
        """What is drawn from: (vocab,), in the order of the vocabulary."""
        return next_token_probabilities(self._logits, self.temperature, self.top_k or None, self.top_p)

    @property
    def kept(self) -> tuple[int, int]:
        """How many tokens top-k leaves, and how many of those top-p."""
        if self.temperature == 0:
            return 1, 1
        after_k = min(self.top_k or len(self._logits), len(self._logits))
        if self.top_p == 1:
            return after_k, after_k
        ranked = next_token_probabilities(self._logits, self.temperature, after_k).sort(descending=True).values
        before = ranked.cumsum(0) - ranked
        return after_k, min(after_k, int((before < self.top_p).sum()))

    @property
    def written(self) -> str:
        """The text with what was drawn."""
        return self.text + (self._tokenizer.decode(self.drawn) if self.drawn else "")

    # ------------------------------------------------------------ writing

    def draw(self, n_tokens: int = 1) -> None:
        """Append tokens, each drawn with the probabilities on show when its turn comes."""
        self._needs_model("draw")
        with self.hold_sync():
            for _ in range(n_tokens):
                self.take(torch.multinomial(self.probabilities, 1, generator=self._generator).item())

    def take(self, token: int) -> None:
        """Append the token with this id, likely or not."""
        self.drawn = [*self.drawn, token]

    def undo(self, n_tokens: int = 1) -> None:
        """Take the last tokens away again. The generator goes on, so another draw may give another token."""
        self.drawn = self.drawn[: max(0, len(self.drawn) - n_tokens)]

    def _needs_model(self, what: str) -> None:
        if not self.writes:
            raise ValueError(f"{what} needs a model to go on with; this playground has only logits")

    @traitlets.observe("text", "drawn")
    def _read(self, change) -> None:
        """Run the model on what is written."""
        if not self.writes:
            return
        if change["name"] == "text" and self.drawn:
            self.drawn = []  # which comes back here
            return
        ids = torch.tensor(
            [self._tokenizer.encode(self.text) + self.drawn], device=next(self._model.parameters()).device
        )
        with evaluating(self._model), torch.no_grad():
            logits = self._model(ids[:, -self._model.config.context_length :])[0, -1].float().cpu()
        with self.hold_sync():
            self.pieces = [self._tokenizer.decode([i]) for i in self.drawn]
            self._show(logits)

    def _show(self, logits: Tensor, labels: list[str] | None = None) -> None:
        if not logits.max().isfinite():  # also when one is NaN
            raise ValueError(f"logits must be numbers, not all −∞, none NaN or ∞; got a largest of {logits.max()}")
        self._logits = logits.double()
        ranked, order = logits.sort(descending=True, stable=True)
        ids = order[:N_BARS].tolist()
        with self.hold_sync():
            self.error = ""
            self.logits = ranked.numpy().tobytes()
            self.ids = ids
            self.labels = [labels[i] if labels else self._tokenizer.decode([i]) for i in ids]

    # ------------------------------------------------------------ what may be set

    @traitlets.validate("text")
    def _check_text(self, proposal) -> str:
        if self.writes:
            if not proposal["value"]:
                raise Refused("text must not be empty: the model needs a token to go on from")
            self._tokenizer.encode(proposal["value"])  # says so itself when it cannot
        return proposal["value"]

    @traitlets.validate("drawn")
    def _check_drawn(self, proposal) -> list[int]:
        if proposal["value"]:
            self._needs_model("drawn")
            n = len(self._logits)
            if not all(0 <= i < n for i in proposal["value"]):
                raise Refused(f"drawn must hold ids in 0 … {n - 1}, the vocabulary; got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("temperature")
    def _check_temperature(self, proposal) -> float:
        if not 0 <= proposal["value"] <= HOTTEST:
            raise Refused(f"temperature must lie in 0 … {HOTTEST:g} (0 is greedy); got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("top_k")
    def _check_top_k(self, proposal) -> int:
        if proposal["value"] < 0:
            raise Refused(f"top_k must be at least 1, or 0 for no cut; got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("top_p")
    def _check_top_p(self, proposal) -> float:
        if not 0 < proposal["value"] <= 1:
            raise Refused(f"top_p must lie in (0, 1], where 1 is no cut; got {proposal['value']}")
        return proposal["value"]

    # ------------------------------------------------------------ in a picture and in words

    @property
    def figure(self) -> Figure:
        edges = self._edges
        others = [end - start for start, end in pairwise(edges)][len(self.labels) :]
        names = [visible(label) for label in self.labels] + [f"{n:,} other{'s' if n > 1 else ''}" for n in others]
        figure, axes = plots.new_figure(width=8.0, height=1.5 + 0.22 * len(names))
        ax = axes[0, 0]
        rows = range(len(names))
        ax.barh(rows, self._by_row(self.probabilities), height=0.7, label="what is drawn from")
        own = self._by_row(next_token_probabilities(self._logits))
        ax.barh(rows, own, height=0.7, fill=False, edgecolor="black", linewidth=1.2, label="the model's own")
        for n, cuts in self._cuts.items():
            row = edges.index(n)
            ax.axhline(row - 0.5, color=plots.COLOURS[1], linestyle="--")
            words = f"{' and '.join(cuts)} {'cuts' if len(cuts) == 1 else 'cut'} here"
            ax.text(1, row - 0.45, words, ha="right", va="top", fontsize=11)
        ax.set(xlim=(0, 1), ylim=(len(names) + 0.3, -0.6), xlabel="probability of the next token", title=self._settings)
        ax.set_yticks(rows, names, fontsize=10)
        figure.legend(loc="outside lower center", ncols=2, fontsize=11)
        return figure

    @property
    def _edges(self) -> list[int]:
        """Where the rows begin and end among the ranked tokens: one each, then the others; each cut is an edge."""
        return sorted({*range(len(self.ids) + 1), *self._cuts, len(self._logits)})

    def _by_row(self, probabilities: Tensor) -> list[float]:
        ranked = probabilities[self._logits.sort(descending=True, stable=True).indices]
        return [ranked[start:end].sum().item() for start, end in pairwise(self._edges)]

    @property
    def _cuts(self) -> dict[int, list[str]]:
        """How many tokens are left above a cut → what cuts there."""
        after_k, after_p = self.kept
        cuts = {}
        if self.temperature > 0:
            for name, n, n_before in (
                (f"top-k {self.top_k}", after_k, len(self._logits)),
                (f"top-p {self.top_p:.2f}", after_p, after_k),
            ):
                if n < n_before:
                    cuts.setdefault(n, []).append(name)
        return cuts

    @property
    def _settings(self) -> str:
        top_p = "off" if self.top_p == 1 else f"{self.top_p:.2f}"
        return f"temperature {self.temperature:.2f}, top-k {self.top_k or 'off'}, top-p {top_p}"

    def __repr__(self) -> str:
        now = self.probabilities[self.ids[:3]].tolist()
        likeliest = ", ".join(f"{visible(label)} {p:.0%}" for label, p in zip(self.labels, now))
        after = f"after “{isolated(self.written[-60:])}” " if self.written else ""
        return (
            f"SamplingPlayground: {after}come {likeliest}; {self._settings}: "
            f"{self.kept[1]:,} of {len(self._logits):,} tokens are left"
        )

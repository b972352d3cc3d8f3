"""BPEStepper: byte-pair encoding learnt on a text, merge by merge."""

from bisect import bisect_left
from collections import Counter
from itertools import pairwise
from unicodedata import east_asian_width

import traitlets
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from transformer_lab import plots
from transformer_lab.tokenizers import CHUNKS, BPETokenizer, merge_pair
from transformer_lab.widgets.base import Answering, Refused, shortened, visible

LONGEST_TEXT = 20_000  # characters
MOST_MERGES = 500


class BPEStepper(Answering):
    """Step through the merges that byte-pair encoding learns from a text, and see the text cut by them.

        BPEStepper("the cat sat on the mat", merges=20)

    text: 1 … 20,000 characters. merges: how many to learn, 1 … 500; `pairs` holds those that the text gives.
    step: how many of them have been made, 0 … len(pairs). All can be read and observed, the first three set.
    Which pair is next is what `tokenizers.BPETokenizer.train` says (Sennrich et al. 2016, algorithm 1, on bytes).
    """

    module = "bpe_stepper"
    merges = traitlets.Int(50).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    pairs = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)
    chunks = traitlets.List(traitlets.Unicode()).tag(sync=True)  # the text in the pieces that no merge crosses

    def __init__(self, text: str, merges: int = 50, step: int = 0):
        super().__init__(merges=merges)
        self.text = text
        self.step = step

    @property
    def tokenizer(self) -> BPETokenizer:
        """With the merges made so far."""
        return BPETokenizer(self._merges[: self.step])

    @property
    def tokens(self) -> list[bytes]:
        """The text as it is cut now."""
        tokenizer = self.tokenizer
        return [tokenizer.token_bytes[i] for i in tokenizer.encode(self.text)]

    @property
    def counts(self) -> dict[tuple[int, int], int]:
        """How often each pair of neighbours occurs now, the pair that is merged next first."""
        tokenizer = self.tokenizer
        counts = Counter(pair for chunk in self.chunks for pair in pairwise(tokenizer.encode(chunk)))
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def n_tokens(self) -> list[int]:
        """How many tokens the text has after 0, 1, 2 … merges."""
        chunk_counts = Counter(self.chunks)
        words = [list(chunk.encode()) for chunk in chunk_counts]
        n_tokens = [len(self.text.encode())]
        for new_id, pair in enumerate(self._merges, start=256):
            words = [merge_pair(word, pair, new_id) if pair[0] in word else word for word in words]
            n_tokens.append(sum(n * len(word) for word, n in zip(words, chunk_counts.values())))
        return n_tokens

    @traitlets.observe("text", "merges")
    def _learn(self, change) -> None:
        if not self.text:  # while it is being made
            return
        with self.hold_sync():
            self.chunks = CHUNKS.findall(self.text)
            pairs = [list(pair) for pair in learn(self.text, self.merges)]
            self.step = min(self.step, len(pairs))
            self.pairs = pairs
            self.error = ""

    @traitlets.validate("text")
    def _check_text(self, proposal) -> str:
        n = len(proposal["value"])
        if not n:
            raise Refused("text must not be empty: there is nothing to learn merges from")
        if n > LONGEST_TEXT:
            raise Refused(f"text must have at most {LONGEST_TEXT:,} characters; got {n:,}")
        return proposal["value"]

    @traitlets.validate("merges")
    def _check_merges(self, proposal) -> int:
        if not 1 <= proposal["value"] <= MOST_MERGES:
            raise Refused(f"merges must lie in 1 … {MOST_MERGES}; got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("step")
    def _check_step(self, proposal) -> int:
        if not 0 <= proposal["value"] <= len(self.pairs):
            raise Refused(f"step must lie in 0 … {len(self.pairs)}, the merges there are; got {proposal['value']}")
        return proposal["value"]

    # ------------------------------------------------------------ in a picture and in words

    @property
    def figure(self) -> Figure:
        figure, axes = plots.new_figure(2, 2, width=5.0, height=2.5, gridspec_kw={"height_ratios": [2, 3]})
        grid = axes[0, 0].get_gridspec()
        for ax in axes[0]:
            ax.remove()
        self._draw_tokens(figure.add_subplot(grid[0, :]))
        made = self.tokenizer.token_bytes
        top = list(self.counts.items())[:8]
        colours = [plots.COLOURS[1] if pair == self._next else "0.7" for pair, _ in top]
        axes[1, 0].barh(range(len(top)), [count for _, count in top], color=colours)
        names = [_joined(made, pair) for pair, _ in top]
        axes[1, 0].set_yticks(range(len(top)), [shortened(name, 20) for name in names])
        axes[1, 0].invert_yaxis()
        axes[1, 0].xaxis.get_major_locator().set_params(integer=True)
        axes[1, 0].set(title="the most frequent pairs", xlabel="how often")
        n_tokens = self.n_tokens
        axes[1, 1].plot(n_tokens)
        axes[1, 1].plot(self.step, n_tokens[self.step], "o", color=plots.COLOURS[1])
        axes[1, 1].set(title="the text gets shorter", xlabel="merges", ylabel="tokens", ylim=(0, 1.1 * n_tokens[0]))
        return figure

    def _draw_tokens(self, ax, width: int = 104, n_rows: int = 6) -> None:
        """Boxes with the tokens in them; what does not fit is counted. Units are characters and lines."""
        tokenizer = self.tokenizer
        ids = tokenizer.encode(self.text)
        x = row = 0
        for place, i in enumerate(ids):
            name = name_of(tokenizer.token_bytes[i])
            wide = sum(2 if east_asian_width(sign) in "WF" else 1 for sign in name.strip("\u2068\u2069"))
            if x + wide + 1 > width:
                x, row = 0, row + 1
            if row == n_rows:
                ax.text(0, row + 0.5, f"… and {len(ids) - place:,} more tokens", va="center", fontsize=10)
                break
            colour = plots.COLOURS[(i - 256) % 6] if i >= 256 else "none"
            ax.add_patch(Rectangle((x, row + 0.08), wide + 0.7, 0.84, facecolor=colour, edgecolor="0.5", alpha=0.4))
            # Signs that the first font lacks are taken from the next.
            fonts = ["monospace", *plots.STYLE["font.family"]]
            ax.text(x + wide / 2 + 0.35, row + 0.5, name, ha="center", va="center", family=fonts, fontsize=10)
            x += wide + 1
        ax.set(xlim=(0, width), ylim=(max(row + 1, 3), 0), title=f"{len(ids):,} tokens after {self.step} merges")
        ax.axis("off")

    @property
    def _merges(self) -> list[tuple[int, int]]:
        return [(left, right) for left, right in self.pairs]

    @property
    def _next(self) -> tuple[int, int] | None:
        return self._merges[self.step] if self.step < len(self.pairs) else None

    def __repr__(self) -> str:
        made = self.tokenizer.token_bytes
        newest = ", ".join(name_of(token) for token in made[256:][-5:])
        made_so_far = f", the newest {newest}" if newest else ""
        following = f"; next {_joined(made, self._next)}, {self.counts[self._next]}×" if self._next else ""
        return (
            f"BPEStepper: {len(self.text.encode()):,} bytes are {len(self.tokens):,} tokens "
            f"after {self.step} of {len(self.pairs)} merges{made_so_far}{following}"
        )


def learn(text: str, n_merges: int) -> list[tuple[int, int]]:
    """The first merges of byte-pair encoding: `n_merges`, or all where the text gives fewer."""

    def merges(n: int) -> list[tuple[int, int]] | None:
        try:
            return BPETokenizer.train(text, 256 + n).merges
        except ValueError:  # too many
            return None

    found = merges(n_merges)
    if found is None:
        found = merges(bisect_left(range(n_merges), True, key=lambda n: merges(n) is None) - 1)
    return found


def name_of(token: bytes) -> str:
    """Its text; bytes that are only a part of a character as hexadecimal numbers."""
    try:
        return visible(token.decode())
    except UnicodeDecodeError:
        return token.hex(" ").upper()


def _joined(token_bytes: list[bytes], pair: tuple[int, int]) -> str:
    return " + ".join(name_of(token_bytes[i]) for i in pair)

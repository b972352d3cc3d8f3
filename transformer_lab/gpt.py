"""GPT: a stack of causal blocks that predicts the next token. Decoder-only: no encoder, no cross-attention."""

import math
import os
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_lab.blocks import DecoderBlock, check_ids, check_shape
from transformer_lab.files import load_model, save_model
from transformer_lab.positions import make_positions


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. d_ff = None means 4 · d_model, as in every GPT paper."""

    vocab_size: int
    context_length: int = 64  # tokens
    d_model: int = 128
    n_layers: int = 4
    n_heads: int = 4
    d_ff: int | None = None
    positions: str = "learned"  # one of positions.SCHEMES
    norm: str = "pre"  # or "post"
    activation: str = "gelu"  # one of blocks.ACTIVATIONS
    dropout: float = 0.0
    tie_weights: bool = True  # the output layer reuses the token embedding
    bias: bool = True
    ngrams: int = 1  # also embed the last 2 … ngrams tokens together; 1: each token by itself
    ngram_rows: int = 4096  # of the table of each length
    embedding_norm: bool = False  # a norm on the embeddings, before the first block

    def __post_init__(self):
        check_shape(self, "vocab_size", "context_length", "d_model", "n_layers", "n_heads", "ngrams", "ngram_rows")

    @classmethod
    def cpu(cls, vocab_size: int) -> "GPTConfig":
        """A size that learns something in two minutes on a laptop."""
        return cls(vocab_size, context_length=64, d_model=128, n_layers=4, n_heads=4,
                   positions="rotary", activation="relu2", bias=False)  # fmt: skip

    @classmethod
    def gpu(cls, vocab_size: int) -> "GPTConfig":
        """A size for minutes on one GPU: about 10.6 million parameters besides the embedding."""
        return cls(vocab_size, context_length=256, d_model=384, n_layers=6, n_heads=6,
                   positions="rotary", activation="relu2", bias=False, dropout=0.2)  # fmt: skip

    @classmethod
    def fast(cls, vocab_size: int, **changes) -> "GPTConfig":
        """The recipe that race.py races against the usual one. To be trained with `TrainingConfig.fast`.

        The n-gram tables grow in both directions with the width, as the matrices of the blocks do.
        """
        n_rows = 32 * changes.get("d_model", cls.d_model)
        recipe = dict(positions="rotary", activation="relu2", tie_weights=False, bias=False,
                      ngrams=5, ngram_rows=n_rows, embedding_norm=True)  # fmt: skip
        return cls(vocab_size, **recipe | changes)

    @classmethod
    def gpt2(cls, size: str = "small") -> "GPTConfig":
        """GPT-2's four shapes (Radford et al. 2019, table 2); small is the 124 M model."""
        shapes = {"small": (768, 12, 12), "medium": (1024, 24, 16), "large": (1280, 36, 20), "xl": (1600, 48, 25)}
        if size not in shapes:
            raise ValueError(f"size must be one of {', '.join(shapes)}; got {size!r}")
        d_model, n_layers, n_heads = shapes[size]
        return cls(50257, 1024, d_model, n_layers, n_heads, activation="gelu_tanh")


class NgramEmbedding(nn.Module):
    """A vector for the last n tokens together, n = 2 … longest, summed: what often stands there need not be computed.

    There are far more n-grams than rows, so a hash says which row an n-gram uses, and some must share. The rows start
    at zero. Hash embeddings: Svenstrup et al. 2017; before each byte of a byte model: BLT (Pagnoni et al. 2024),
    section 3.2.1.
    """

    def __init__(self, longest: int, n_rows: int, d_model: int):
        super().__init__()
        self.longest, self.n_rows = longest, n_rows
        self.tables = nn.Embedding((longest - 1) * n_rows, d_model)  # one below the other
        nn.init.zeros_(self.tables.weight)

    def forward(self, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq d_model"]:
        return self.tables(ngram_rows(ids, self.longest, self.n_rows)).sum(-2)


def ngram_rows(ids: Int[Tensor, "batch seq"], longest: int, n_rows: int) -> Int[Tensor, "batch seq lengths"]:
    """The row of each n-gram that ends here, n = 2 … longest, n_rows for each n, one n below the other.

    Before the first token, token 0 is taken to stand.
    """
    code, rows = ids, []
    for n in range(1, longest):
        earlier = F.pad(ids, (n, 0))[:, : ids.shape[1]]  # n tokens ago
        code = (code * 92821 + earlier) % (2**31 - 1)  # small enough that no product overflows
        rows.append(code % n_rows + (n - 1) * n_rows)
    return torch.stack(rows, dim=-1)


class GPT(nn.Module):
    """Token ids in, logits for the next token out, at every position at once.

    Radford et al. 2018 (GPT) and 2019 (GPT-2).
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = c = config
        self.token_embedding = nn.Embedding(c.vocab_size, c.d_model)
        self.positions = make_positions(c.positions, c.context_length, c.d_model, c.n_heads)
        # The "stable embedding layer" of Dettmers et al. 2022.
        self.embedding_norm = nn.LayerNorm(c.d_model, bias=c.bias) if c.embedding_norm else nn.Identity()
        self.dropout = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList(
            DecoderBlock(c.d_model, c.n_heads, c.d_ff, c.norm, c.activation, c.dropout, c.bias)
            for _ in range(c.n_layers)
        )
        # Post-norm blocks end in a norm already; pre-norm ones need one after the last.
        self.final_norm = nn.LayerNorm(c.d_model, bias=c.bias) if c.norm == "pre" else nn.Identity()
        self.head = nn.Linear(c.d_model, c.vocab_size, bias=False)
        if c.tie_weights:  # Press and Wolf 2017
            self.head.weight = self.token_embedding.weight
        self.apply(self._initialise)
        for block in self.blocks:  # two additions a block: keep their sum from growing with depth (GPT-2, section 2.3)
            for last in (block.attention.out, block.feed_forward.down):
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * c.n_layers))
        # After the weights above have been drawn, which are the same with n-grams and without.
        self.ngrams = NgramEmbedding(c.ngrams, c.ngram_rows, c.d_model) if c.ngrams > 1 else None

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
        """Logits: row t scores every token of the vocabulary as the one that follows ids[:, :t+1]."""
        c = self.config
        check_ids("ids", ids, c.vocab_size, c.context_length)
        x = self.token_embedding(ids)  # (batch, seq, d_model)
        if self.ngrams is not None:
            x = x + self.ngrams(ids)
        x = self.dropout(self.embedding_norm(self.positions.add_to(x)))
        for block in self.blocks:
            x = block(x, positions=self.positions)
        return self.head(self.final_norm(x))  # (batch, seq, vocab)

    def parameter_count(self) -> dict[str, int]:
        """Numbers to learn, by part, and their total. A tied head counts with the embedding."""
        groups = {
            "token embedding": [self.token_embedding],
            "n-grams": [] if self.ngrams is None else [self.ngrams],
            "positions": [self.positions],
            "attention": [block.attention for block in self.blocks],
            "feed-forward": [block.feed_forward for block in self.blocks],
            "norms": [self.embedding_norm, self.final_norm, *(b.around_attention for b in self.blocks),
                      *(b.around_feed_forward for b in self.blocks)],
            "head": [] if self.config.tie_weights else [self.head],
        }  # fmt: skip
        counts = {part: sum(p.numel() for m in modules for p in m.parameters()) for part, modules in groups.items()}
        return counts | {"total": sum(counts.values())}

    def save(self, path: str | os.PathLike, dtype: torch.dtype | None = None) -> None:
        """Write config and weights to one safetensors file, in `dtype` if given."""
        save_model(self, path, dtype)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "GPT":
        """The model in a file that `save` or a training checkpoint wrote, in float32, in eval mode."""
        return load_model(cls, GPTConfig, path)


def next_token_loss(logits: Float[Tensor, "batch seq vocab"], targets: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats. targets[b, t] is the token that follows position t."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def gpt2_weights(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """GPT-2's published weights (the names of the `transformers` library) under this package's names.

    Use: `model = GPT(GPTConfig.gpt2()); model.load_state_dict(gpt2_weights(theirs))`.
    GPT-2 stores its linear layers as (in, out), and query, key and value side by side in one matrix.
    """
    theirs = {name.removeprefix("transformer."): t for name, t in state_dict.items()}
    ours = {
        "token_embedding.weight": theirs["wte.weight"],
        "head.weight": theirs["wte.weight"],
        "positions.encoding": theirs["wpe.weight"],
        "final_norm.weight": theirs["ln_f.weight"],
        "final_norm.bias": theirs["ln_f.bias"],
    }
    n_layers = len({name.split(".")[1] for name in theirs if name.startswith("h.")})
    for layer in range(n_layers):
        old, new = f"h.{layer}.", f"blocks.{layer}."
        for kind in ("weight", "bias"):
            fused = theirs[f"{old}attn.c_attn.{kind}"].chunk(3, dim=-1)
            linear = dict(zip(("attention.query", "attention.key", "attention.value"), fused))
            linear["attention.out"] = theirs[f"{old}attn.c_proj.{kind}"]
            linear["feed_forward.up"] = theirs[f"{old}mlp.c_fc.{kind}"]
            linear["feed_forward.down"] = theirs[f"{old}mlp.c_proj.{kind}"]
            ours |= {f"{new}{name}.{kind}": t.T if kind == "weight" else t for name, t in linear.items()}
            ours[f"{new}around_attention.norm.{kind}"] = theirs[f"{old}ln_1.{kind}"]
            ours[f"{new}around_feed_forward.norm.{kind}"] = theirs[f"{old}ln_2.{kind}"]
    return ours

"""The Transformer: an encoder reads one sequence, a decoder writes another and looks at the first while writing.

Vaswani et al. 2017. Source and target share one vocabulary, whose first three ids are PADDING, BEGIN and END.
A batch of sources: each sentence's tokens, then PADDING. Of targets: BEGIN, the tokens, END, then PADDING.
"""

import math
import os
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lab.attention import MultiHeadAttention
from transformer_lab.blocks import DecoderBlock, EncoderBlock, check_ids, check_shape
from transformer_lab.files import load_model, save_model
from transformer_lab.positions import SinusoidalPositions

PADDING, BEGIN, END = 0, 1, 2


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of a Transformer; by default one that learns to translate number words in a few CPU seconds.

    d_ff = None means 4 · d_model, as in the paper.
    """

    vocab_size: int  # PADDING, BEGIN and END included
    context_length: int = 64  # tokens, of a source and of a target
    d_model: int = 64
    n_encoder_layers: int = 2  # 0: the decoder looks at the embeddings themselves
    n_decoder_layers: int = 2
    n_heads: int = 4
    d_ff: int | None = None
    norm: str = "post"  # or "pre"
    dropout: float = 0.0

    def __post_init__(self):
        if self.n_encoder_layers < 0:
            raise ValueError(f"n_encoder_layers must be at least 0; got {self.n_encoder_layers}")
        check_shape(self, "vocab_size", "context_length", "d_model", "n_decoder_layers", "n_heads")

    @classmethod
    def base(cls, vocab_size: int = 37000) -> "TransformerConfig":
        """The paper's base model (table 3), with its English and German vocabulary (section 5.1)."""
        return cls(vocab_size, 512, d_model=512, n_encoder_layers=6, n_decoder_layers=6, n_heads=8, dropout=0.1)


class Transformer(nn.Module):
    """Source and target ids in; logits out, at each position of the target for the token that follows it.

    One matrix embeds both sides and, transposed, turns the decoder's output into logits (section 3.4). Dropout
    stands where section 5.4 has it: on the embeddings with their positions, and on what each sublayer adds.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = c = config
        self.token_embedding = nn.Embedding(c.vocab_size, c.d_model)
        self.positions = SinusoidalPositions(c.context_length, c.d_model)
        self.dropout = nn.Dropout(c.dropout)
        shape = dict(d_model=c.d_model, n_heads=c.n_heads, d_ff=c.d_ff, norm=c.norm, activation="relu")
        self.encoder = nn.ModuleList(EncoderBlock(**shape, dropout=c.dropout) for _ in range(c.n_encoder_layers))
        self.decoder = nn.ModuleList(
            DecoderBlock(**shape, dropout=c.dropout, cross_attention=True) for _ in range(c.n_decoder_layers)
        )
        # Post-norm blocks end in a norm already; pre-norm ones need one after the last.
        self.encoder_norm = nn.LayerNorm(c.d_model) if c.norm == "pre" else nn.Identity()
        self.decoder_norm = nn.LayerNorm(c.d_model) if c.norm == "pre" else nn.Identity()
        self.apply(self._initialise)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding):  # times √d_model: entries of size 1, as a sine's
            nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
        if isinstance(module, MultiHeadAttention):
            module.dropout = 0.0  # the paper drops nothing inside attention; later models do

    def embed(self, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq d_model"]:
        """Token vectors times √d_model (section 3.4), plus positions (3.5), with dropout (5.4)."""
        return self.dropout(self.positions.add_to(self.token_embedding(ids) * math.sqrt(self.config.d_model)))

    def encode(
        self, source: Int[Tensor, "batch source"]
    ) -> tuple[Float[Tensor, "batch source d_model"], Bool[Tensor, "batch 1 1 source"]]:
        """The memory: one vector a source token, and where the source is not PADDING. Once a sentence."""
        check_ids("source", source, self.config.vocab_size, self.config.context_length)
        mask = not_padding(source)
        x = self.embed(source)
        for block in self.encoder:
            x = block(x, mask)
        return self.encoder_norm(x), mask

    def decode(
        self,
        memory: tuple[Float[Tensor, "batch source d_model"], Bool[Tensor, "batch 1 1 source"]],
        target: Int[Tensor, "batch target"],
    ) -> Float[Tensor, "batch target vocab"]:
        """Logits: row t scores every token as the one that follows target[:, :t+1], given the memory."""
        check_ids("target", target, self.config.vocab_size, self.config.context_length)
        states, source_mask = memory
        mask = not_padding(target)  # the block adds the causal mask
        x = self.embed(target)
        for block in self.decoder:
            x = block(x, states, mask=mask, context_mask=source_mask)
        return self.decoder_norm(x) @ self.token_embedding.weight.T  # (batch, target, vocab)

    def forward(
        self, source: Int[Tensor, "batch source"], target: Int[Tensor, "batch target"]
    ) -> Float[Tensor, "batch target vocab"]:
        return self.decode(self.encode(source), target)

    def parameter_count(self) -> dict[str, int]:
        """Numbers to learn, by part, and their total. The output layer is the embedding again."""
        blocks = [*self.encoder, *self.decoder]
        groups = {
            "token embedding": [self.token_embedding],
            "encoder self-attention": [block.attention for block in self.encoder],
            "decoder self-attention": [block.attention for block in self.decoder],
            "cross-attention": [block.cross_attention for block in self.decoder],
            "feed-forward": [block.feed_forward for block in blocks],
            "norms": [m for m in self.modules() if isinstance(m, nn.LayerNorm)],
        }
        counts = {part: sum(p.numel() for m in modules for p in m.parameters()) for part, modules in groups.items()}
        return counts | {"total": sum(counts.values())}

    def save(self, path: str | os.PathLike, dtype: torch.dtype | None = None) -> None:
        """Write config and weights to one safetensors file, in `dtype` if given."""
        save_model(self, path, dtype)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Transformer":
        """The model in a file that `save` or a training checkpoint wrote, in float32, in eval mode."""
        return load_model(cls, TransformerConfig, path)


def not_padding(ids: Int[Tensor, "batch seq"]) -> Bool[Tensor, "batch 1 1 seq"]:
    """The mask that hides PADDING from every query, for every head."""
    return (ids != PADDING)[:, None, None, :]


def teacher_forcing(
    target: Int[Tensor, "batch target"],
) -> tuple[Int[Tensor, "batch shorter"], Int[Tensor, "batch shorter"]]:
    """What the decoder reads, from BEGIN on, and what it should answer at each position: the token after it.

    While learning it reads the true target, whatever it would have written itself. Williams and Zipser 1989.
    """
    return target[:, :-1], target[:, 1:]


def sequence_loss(
    logits: Float[Tensor, "batch target vocab"], answers: Int[Tensor, "batch target"], label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats over the answers that are not PADDING.

    label_smoothing: the share ε of the wanted probability that is spread evenly over the whole vocabulary
        (Szegedy et al. 2016, section 7; Vaswani et al. 2017, section 5.4, with ε = 0.1).
    """
    return F.cross_entropy(
        logits.flatten(0, 1), answers.flatten(), ignore_index=PADDING, label_smoothing=label_smoothing
    )

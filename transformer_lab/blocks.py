"""Blocks: attention and a feed-forward network, each wrapped in a residual connection and a norm."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lab.attention import MultiHeadAttention


def check_shape(config, *sizes: str) -> None:
    """For a model's config: its `sizes` are at least 1, and what both GPT and Transformer have fits together.

    d_ff = None becomes 4 · d_model. ValueError: what does not fit, by name.
    """
    for name in sizes:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1; got {getattr(config, name)}")
    if config.d_model % config.n_heads:
        raise ValueError(f"n_heads must divide d_model, {config.d_model}; got n_heads = {config.n_heads}")
    if not 0 <= config.dropout < 1:
        raise ValueError(f"dropout must be in [0, 1); got {config.dropout}")
    if config.d_ff is None:
        object.__setattr__(config, "d_ff", 4 * config.d_model)  # the config is frozen
    if config.d_ff < 1:
        raise ValueError(f"d_ff must be at least 1; got {config.d_ff}")


def check_ids(name: str, ids: Int[Tensor, "batch seq"], vocab_size: int, context_length: int | None = None) -> None:
    """ValueError: `ids`, which the message calls `name`, are more than fit, or hold one that is in no vocabulary."""
    if context_length is not None and ids.shape[1] > context_length:
        raise ValueError(f"{name} may hold at most context_length, {context_length}, tokens; got {ids.shape[1]}")
    # Looking at values would make a GPU wait for the CPU; there torch's own assertion speaks.
    if ids.device.type == "cpu" and ids.numel() and not 0 <= ids.min() <= ids.max() < vocab_size:
        found = f"{ids.min().item()} … {ids.max().item()}"
        raise ValueError(f"{name} must lie in 0 … {vocab_size - 1}, the vocabulary; got {found}")


def layer_norm(
    x: Float[Tensor, "*batch d_model"],
    weight: Float[Tensor, "d_model"],
    bias: Float[Tensor, "d_model"],
    eps: float = 1e-5,
) -> Float[Tensor, "*batch d_model"]:
    """Each vector on its own: mean 0 and variance 1, then a learned scale and shift.

    The variance divides by d_model, and eps stands inside the square root, as in torch.nn.LayerNorm,
    which the blocks use. Ba et al. 2016, equations 3 and 4.
    """
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (variance + eps).sqrt() * weight + bias


def squared_relu(x: Tensor) -> Tensor:
    """max(0, x)². Primer (So et al. 2021), section 4."""
    return x.relu() ** 2


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU's tanh approximation, which GPT-2 was trained with. Hendrycks and Gimpel 2016, section 2."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS = {"gelu": F.gelu, "gelu_tanh": gelu_tanh, "relu": torch.relu, "relu2": squared_relu}


class FeedForward(nn.Module):
    """Two linear layers with an activation between, at every position alike. Vaswani et al. 2017, section 3.3."""

    def __init__(self, d_model: int, d_ff: int, activation: str = "gelu", bias: bool = True):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}; got {activation!r}")
        self.activation = activation
        self.up = nn.Linear(d_model, d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return self.down(ACTIVATIONS[self.activation](self.up(x)))  # d_model → d_ff → d_model


class Residual(nn.Module):
    """What surrounds every sublayer f.

    "pre":  x + dropout(f(norm(x)))      GPT-2 (Radford et al. 2019), section 2.3
    "post": norm(x + dropout(f(x)))      Vaswani et al. 2017, section 5.4 and figure 1
    """

    def __init__(self, d_model: int, norm: str = "pre", dropout: float = 0.0, bias: bool = True):
        super().__init__()
        if norm not in ("pre", "post"):
            raise ValueError(f"norm must be 'pre' or 'post'; got {norm!r}")
        self.norm_first = norm == "pre"
        self.norm = nn.LayerNorm(d_model, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch seq d_model"], sublayer) -> Float[Tensor, "batch seq d_model"]:
        if self.norm_first:
            return x + self.dropout(sublayer(self.norm(x)))
        return self.norm(x + self.dropout(sublayer(x)))


class EncoderBlock(nn.Module):
    """Self-attention that sees both ways, then feed-forward. Vaswani et al. 2017, section 3.1."""

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        norm: str = "pre",
        activation: str = "gelu",
        dropout: float = 0.0,
        bias: bool = True,
    ):
        super().__init__()
        self.attention = MultiHeadAttention(d_model, n_heads, dropout, bias)
        self.feed_forward = FeedForward(d_model, d_ff, activation, bias)
        self.around_attention = Residual(d_model, norm, dropout, bias)
        self.around_feed_forward = Residual(d_model, norm, dropout, bias)

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        mask: Bool[Tensor, "..."] | None = None,
        positions: nn.Module | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        x = self.around_attention(x, lambda y: self.attention(y, mask=mask, positions=positions))
        return self.around_feed_forward(x, self.feed_forward)


class DecoderBlock(nn.Module):
    """Causal self-attention, cross-attention where asked for, then feed-forward.

    With `cross_attention` it is the decoder of Vaswani et al. 2017, section 3.1; without, the
    block of GPT (Radford et al. 2018, section 3.1).
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        norm: str = "pre",
        activation: str = "gelu",
        dropout: float = 0.0,
        bias: bool = True,
        cross_attention: bool = False,
    ):
        super().__init__()
        self.attention = MultiHeadAttention(d_model, n_heads, dropout, bias)
        self.cross_attention = MultiHeadAttention(d_model, n_heads, dropout, bias) if cross_attention else None
        self.feed_forward = FeedForward(d_model, d_ff, activation, bias)
        self.around_attention = Residual(d_model, norm, dropout, bias)
        self.around_cross_attention = Residual(d_model, norm, dropout, bias) if cross_attention else None
        self.around_feed_forward = Residual(d_model, norm, dropout, bias)

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        context: Float[Tensor, "batch context d_model"] | None = None,
        *,
        mask: Bool[Tensor, "..."] | None = None,
        context_mask: Bool[Tensor, "..."] | None = None,
        positions: nn.Module | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        if (context is None) != (self.cross_attention is None):
            wanted = "None, for a block without cross-attention" if context is not None else "the encoder's output"
            raise ValueError(f"context must be {wanted}; got {'None' if context is None else 'a tensor'}")
        x = self.around_attention(x, lambda y: self.attention(y, mask=mask, causal=True, positions=positions))
        if context is not None:
            x = self.around_cross_attention(x, lambda y: self.cross_attention(y, context, mask=context_mask))
        return self.around_feed_forward(x, self.feed_forward)

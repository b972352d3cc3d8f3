"""Positions: attention by itself does not know the order of its tokens. Five answers.

Every scheme has the same three methods, and overrides those it needs:
`add_to` the embeddings, `rotate` queries and keys, or `bias` the scores.
Positions count from 0. Channels come in pairs (sine, cosine), interleaved.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

# ---------------------------------------------------------------- the formulas


def wavelengths(d_model: int, base: float = 10000.0) -> Float[Tensor, "pairs"]:
    """Positions until each (sine, cosine) pair comes round again: 2π · base^(2i / d_model)."""
    return 2 * math.pi * base ** (torch.arange(0, d_model, 2) / d_model)


def sinusoidal_encoding(n_positions: int, d_model: int, base: float = 10000.0) -> Float[Tensor, "positions d_model"]:
    """Row p: sin and cos of p / base^(2i / d_model), interleaved. Row 0 is 0, 1, 0, 1, …

    Vaswani et al. 2017, section 3.5.
    """
    if d_model % 2:
        raise ValueError(f"d_model must be even, one sine and one cosine a frequency; got {d_model}")
    angles = 2 * math.pi * torch.arange(n_positions)[:, None] / wavelengths(d_model, base)  # (positions, pairs)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def shift_matrix(shift: int, d_model: int, base: float = 10000.0) -> Float[Tensor, "d_model d_model"]:
    """The matrix M with encoding(p + shift) = M @ encoding(p) for every p: one rotation a pair.

    Vaswani et al. 2017, section 3.5, claims that it exists; the angle addition formulas give it.
    """
    angle = 2 * math.pi * shift / wavelengths(d_model, base)
    cos, sin = angle.cos(), angle.sin()
    rotations = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)  # (pairs, 2, 2)
    return torch.block_diag(*rotations)


def rotate_pairs(
    x: Float[Tensor, "*heads seq d_head"], cos: Float[Tensor, "seq pairs"], sin: Float[Tensor, "seq pairs"]
) -> Float[Tensor, "*heads seq d_head"]:
    """Turn each pair of channels of the vector at position p by p's angle for that pair.

    RoFormer (Su et al. 2021), equation 34.
    """
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def alibi_slopes(n_heads: int) -> Float[Tensor, "heads"]:
    """One slope a head: 2^(−8/n), 2^(−16/n), … 2^(−8). ALiBi (Press et al. 2022), section 3."""
    return 2.0 ** (-8 * torch.arange(1, n_heads + 1) / n_heads)


def alibi_bias(n_heads: int, n_queries: int, n_keys: int) -> Float[Tensor, "heads queries keys"]:
    """−slope · distance, added to the scores. The queries are the last of the keys' positions.

    ALiBi (Press et al. 2022), section 3; there for causal attention, here with |distance|,
    which is the same wherever the future is masked.
    """
    query_position = torch.arange(n_keys - n_queries, n_keys)[:, None]
    distance = (query_position - torch.arange(n_keys)).abs()
    return -alibi_slopes(n_heads)[:, None, None] * distance


# ---------------------------------------------------------------- one interface


class NoPositions(nn.Module):
    """No position at all; also the interface that the other schemes share."""

    def add_to(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        """Put the positions into the embeddings, once, before the first block."""
        return x

    def rotate(self, x: Float[Tensor, "batch heads seq d_head"]) -> Float[Tensor, "batch heads seq d_head"]:
        """Turn queries and keys, in every block."""
        return x

    def bias(self, n_queries: int, n_keys: int) -> Float[Tensor, "heads queries keys"] | None:
        """Add to the scores, in every block; None adds nothing."""
        return None


def _check_length(seq: int, context_length: int) -> None:
    if seq > context_length:
        raise ValueError(f"the sequence may hold at most context_length, {context_length}, positions; got {seq}")


class SinusoidalPositions(NoPositions):
    """Fixed sines and cosines, added. Vaswani et al. 2017, section 3.5."""

    def __init__(self, context_length: int, d_model: int):
        super().__init__()
        self.register_buffer("encoding", sinusoidal_encoding(context_length, d_model), persistent=False)

    def add_to(self, x):
        _check_length(x.shape[1], len(self.encoding))
        return x + self.encoding[: x.shape[1]]


class LearnedPositions(NoPositions):
    """One trained vector a position, added. GPT (Radford et al. 2018), section 4.1."""

    def __init__(self, context_length: int, d_model: int):
        super().__init__()
        self.encoding = nn.Parameter(torch.randn(context_length, d_model) * 0.02)

    def add_to(self, x):
        _check_length(x.shape[1], len(self.encoding))
        return x + self.encoding[: x.shape[1]]


class RotaryPositions(NoPositions):
    """Queries and keys are rotated, so that a score depends on the distance alone. Su et al. 2021."""

    def __init__(self, context_length: int, d_head: int, base: float = 10000.0):
        super().__init__()
        if d_head % 2:
            raise ValueError(f"rotary positions turn pairs of channels, so d_head must be even; got {d_head}")
        angles = 2 * math.pi * torch.arange(context_length)[:, None] / wavelengths(d_head, base)
        self.register_buffer("cos", angles.cos(), persistent=False)  # (context, pairs)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def rotate(self, x):
        seq = x.shape[-2]
        _check_length(seq, len(self.cos))
        return rotate_pairs(x, self.cos[:seq].to(x.dtype), self.sin[:seq].to(x.dtype))


class ALiBiPositions(NoPositions):
    """Scores fall linearly with distance, faster in some heads than in others. Press et al. 2022."""

    def __init__(self, context_length: int, n_heads: int):
        super().__init__()
        self.register_buffer("table", alibi_bias(n_heads, context_length, context_length), persistent=False)

    def bias(self, n_queries, n_keys):
        _check_length(n_keys, self.table.shape[-1])
        return self.table[:, n_keys - n_queries : n_keys, :n_keys]


SCHEMES = ("none", "sinusoidal", "learned", "rotary", "alibi")


def make_positions(scheme: str, context_length: int, d_model: int, n_heads: int) -> nn.Module:
    """The scheme of that name: one of `SCHEMES`."""
    if scheme == "none":
        return NoPositions()
    if scheme == "sinusoidal":
        return SinusoidalPositions(context_length, d_model)
    if scheme == "learned":
        return LearnedPositions(context_length, d_model)
    if scheme == "rotary":
        return RotaryPositions(context_length, d_model // n_heads)
    if scheme == "alibi":
        return ALiBiPositions(context_length, n_heads)
    raise ValueError(f"positions must be one of {', '.join(SCHEMES)}; got {scheme!r}")

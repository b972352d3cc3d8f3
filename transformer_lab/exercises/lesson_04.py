"""Exercises of lesson 04: positions."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lab.exercises.catalogue import Exercise
from transformer_lab.positions import alibi_bias, rotate_pairs, shift_matrix, sinusoidal_encoding


def add_positions(
    x: Float[Tensor, "batch seq d_model"], encoding: Float[Tensor, "positions d_model"]
) -> Float[Tensor, "batch seq d_model"]:
    """Every sentence's token at position p gets row p of the encoding added; rows left over stay unused."""
    return x + encoding[: x.shape[1]]


# ---------------------------------------------------------------- probes


def gaussian(*shape: int, seed: int = 0) -> Float[Tensor, "..."]:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def exactly(rows: list) -> Float[Tensor, "..."]:
    return torch.tensor(rows, dtype=torch.float64)


def encoding_probes() -> dict[str, tuple]:
    return {
        "one position, one pair": (1, 2),
        "3 positions, one pair": (3, 2),
        "2 positions, 2 pairs": (2, 4),
        "4 positions, 4 channels": (4, 4),
        "5 positions, 8 channels": (5, 8),
        "12 positions, 6 channels": (12, 6),
    }


def adding_probes() -> dict[str, tuple]:
    return {
        "one sentence of one token": (exactly([[[1, 2]]]), exactly([[10, 20]])),
        "two tokens with the same vector": (exactly([[[1, 2], [1, 2]]]), exactly([[0, 1], [10, 20]])),
        "more rows than tokens": (exactly([[[1, 2]]]), exactly([[10, 20], [30, 40]])),
        "2 sentences of 3 tokens, d_model = 4, 5 rows": (gaussian(2, 3, 4), gaussian(5, 4, seed=1)),
        "3 sentences of 3 tokens, d_model = 3, 3 rows": (gaussian(3, 3, 3), gaussian(3, 3, seed=1)),
    }


def shift_probes() -> dict[str, tuple]:
    return {
        "no shift": (0, 2),
        "1 position on, one pair": (1, 2),
        "1 position back, one pair": (-1, 2),
        "1 position on, 2 pairs": (1, 4),
        "3 positions on, 3 pairs": (3, 6),
        "7 positions back, 4 pairs": (-7, 8),
    }


def rotation_probes() -> dict[str, tuple]:
    def probe(*shape: int) -> tuple:
        angles = gaussian(shape[-2], shape[-1] // 2, seed=1)
        return gaussian(*shape), angles.cos(), angles.sin()

    third = exactly([[math.pi / 3]])
    return {
        "one pair [1, 0], no turn": (exactly([[1, 0]]), exactly([[1]]), exactly([[0]])),
        "one pair [1, 0], a quarter turn": (exactly([[1, 0]]), exactly([[0]]), exactly([[1]])),
        "one pair [0, 1], a quarter turn": (exactly([[0, 1]]), exactly([[0]]), exactly([[1]])),
        "2 pairs [1, 2, 3, 4], a quarter turn": (exactly([[1, 2, 3, 4]]), exactly([[0, 0]]), exactly([[1, 1]])),
        "one pair [3, 4], a sixth of a turn": (exactly([[3, 4]]), third.cos(), third.sin()),
        "3 positions, one pair": probe(3, 2),
        "2 positions, 2 pairs": probe(2, 4),
        "2 sentences, 3 heads, 5 positions, 3 pairs": probe(2, 3, 5, 6),
    }


def alibi_probes() -> dict[str, tuple]:
    return {
        "1 head, 1 token": (1, 1, 1),
        "8 heads, 2 tokens": (8, 2, 2),
        "1 query after 3 earlier tokens, 2 heads": (2, 1, 4),
        "8 heads, 4 tokens": (8, 4, 4),
        "3 heads, 2 queries, 5 keys": (3, 2, 5),
    }


EXERCISES = [
    Exercise(sinusoidal_encoding, encoding_probes),
    Exercise(add_positions, adding_probes),
    Exercise(shift_matrix, shift_probes),
    Exercise(rotate_pairs, rotation_probes),
    Exercise(alibi_bias, alibi_probes),
]

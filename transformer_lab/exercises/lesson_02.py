"""Exercises of lesson 02: softmax, scaled scores, attention, entropy."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lab.attention import scaled_dot_product_attention
from transformer_lab.exercises.checking import Exercise


def softmax(scores: Float[Tensor, "*queries keys"]) -> Float[Tensor, "*queries keys"]:
    """Weights that are at least 0 and sum to 1 over the keys, however large the scores are.

    A row's largest score is taken away first: that changes no weight, and no exponential exceeds 1.
    """
    exponentials = (scores - scores.amax(-1, keepdim=True)).exp()
    return exponentials / exponentials.sum(-1, keepdim=True)


def scaled_scores(
    query: Float[Tensor, "*heads queries d_head"], key: Float[Tensor, "*heads keys d_head"]
) -> Float[Tensor, "*heads queries keys"]:
    """Dot product of every query with every key, divided by √d_head."""
    return query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])


def entropy(pattern: Float[Tensor, "*heads queries keys"]) -> Float[Tensor, "*heads queries"]:
    """−Σ w log₂ w over the keys, in bits; a weight of 0 adds nothing."""
    return torch.special.entr(pattern).sum(-1) / math.log(2)  # entr(w) is −w ln w, and 0 at w = 0


# ---------------------------------------------------------------- probes


def gaussian(*shape: int, seed: int = 0) -> Float[Tensor, "..."]:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def exactly(rows: list) -> Float[Tensor, "..."]:
    return torch.tensor(rows, dtype=torch.float64)


# "the dog chased" as in the notebook
QUERY = exactly([[0, 1, 0, 0], [1, 0, 2, 0], [0, 2, 0, 0]])
KEY = exactly([[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]])
VALUE = exactly([[0, 0], [8, 0], [0, 8]])


def softmax_probes() -> dict[str, tuple]:
    return {
        "two equal scores": (exactly([[0, 0]]),),
        "the scores 0, 1, 2": (exactly([[0, 1, 2]]),),
        "scores below zero": (exactly([[-1, 0, -2]]),),
        "large scores: 1000, 1001, 1002": (exactly([[1000, 1001, 1002]]),),
        "two rows, one 2,000 below the other": (exactly([[0, 1], [-2000, -2001]]),),
        "a score of −∞": (exactly([[0, -math.inf, 1]]),),
        "one row without a query axis": (exactly([0, 1, 2]),),
        "2 queries, 3 keys": (gaussian(2, 3),),
        "4 queries, 4 keys": (gaussian(4, 4),),
        "2 sentences, 3 heads, 4 queries, 5 keys": (gaussian(2, 3, 4, 5),),
    }


def scores_probes() -> dict[str, tuple]:
    return {
        "one query, one key, all ones": (exactly([[1, 1, 1, 1]]), exactly([[1, 1, 1, 1]])),
        "the dog chased": (QUERY, KEY),
        "2 queries, 3 keys, d_head = 5": (gaussian(2, 5), gaussian(3, 5, seed=1)),
        "4 queries, 4 keys, d_head = 4": (gaussian(4, 4), gaussian(4, 4, seed=1)),
        "2 sentences, 3 heads, 4 queries, 5 keys, d_head = 6": (gaussian(2, 3, 4, 6), gaussian(2, 3, 5, 6, seed=1)),
        "d_head = 1": (gaussian(2, 1), gaussian(3, 1, seed=1)),
    }


def attention_probes() -> dict[str, tuple]:
    def probe(*batch: int, queries: int, keys: int, d_head: int, d_value: int) -> tuple:
        return (
            gaussian(*batch, queries, d_head),
            gaussian(*batch, keys, d_head, seed=1),
            gaussian(*batch, keys, d_value, seed=2),
        )

    return {
        "one query, two equal keys": (exactly([[1, 1, 1, 1]]), exactly([[1, 1, 1, 1]] * 2), exactly([[0, 0], [8, 4]])),
        "the dog chased": (QUERY, KEY, VALUE),
        "2 queries, 3 keys, d_head = 5, d_value = 4": probe(queries=2, keys=3, d_head=5, d_value=4),
        "every size 4": probe(queries=4, keys=4, d_head=4, d_value=4),
        "2 sentences, 3 heads": probe(2, 3, queries=4, keys=5, d_head=6, d_value=7),
        "d_head = 1": probe(queries=2, keys=3, d_head=1, d_value=2),
        "scores beyond 1,000": (1000 * QUERY, KEY, VALUE),
    }


def entropy_probes() -> dict[str, tuple]:
    return {
        "even over two": (exactly([[0.5, 0.5]]),),
        "a half and two quarters": (exactly([[0.5, 0.25, 0.25]]),),
        "everything on one token": (exactly([[0, 1, 0]]),),
        "2 queries, 3 keys": (gaussian(2, 3).softmax(-1),),
        "4 queries, 4 keys": (gaussian(4, 4).softmax(-1),),
        "2 sentences, 3 heads, 4 queries, 5 keys": (gaussian(2, 3, 4, 5).softmax(-1),),
    }


EXERCISES = [
    Exercise(softmax, softmax_probes),
    Exercise(scaled_scores, scores_probes),
    Exercise(scaled_dot_product_attention, attention_probes, name="attention"),
    Exercise(entropy, entropy_probes),
]

"""Exercises of lesson 03: masks, the masked pattern, heads."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from transformer_lab.attention import attention_pattern, causal_mask, padding_mask, scaled_dot_product_attention
from transformer_lab.exercises.catalogue import Exercise


def split_heads(x: Float[Tensor, "batch seq d_model"], n_heads: int) -> Float[Tensor, "batch heads seq d_head"]:
    """Cut d_model into heads, then move the head axis before the positions."""
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def merge_heads(heads: Float[Tensor, "batch heads seq d_head"]) -> Float[Tensor, "batch seq d_model"]:
    """The inverse of `split_heads`."""
    return heads.transpose(1, 2).flatten(-2)


def multi_head_attention(
    x: Float[Tensor, "batch seq d_model"],
    w_q: Float[Tensor, "d_model d_model"],
    w_k: Float[Tensor, "d_model d_model"],
    w_v: Float[Tensor, "d_model d_model"],
    w_o: Float[Tensor, "d_model d_model"],
    n_heads: int,
    mask: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "batch seq d_model"]:
    """Self-attention in n_heads subspaces, mixed by w_o. Vaswani et al. 2017, section 3.2.2."""
    query, key, value = (split_heads(x @ w, n_heads) for w in (w_q, w_k, w_v))
    output, _ = scaled_dot_product_attention(query, key, value, mask)  # (batch, heads, seq, d_head)
    return merge_heads(output) @ w_o


# ---------------------------------------------------------------- probes


def gaussian(*shape: int, seed: int = 0) -> Float[Tensor, "..."]:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def exactly(rows: list) -> Float[Tensor, "..."]:
    return torch.tensor(rows, dtype=torch.float64)


def causal_probes() -> dict[str, tuple]:
    sizes = [(2, 2), (1, 3), (2, 4), (1, 1), (6, 6), (3, 7)]
    return {f"{n_queries} × {n_keys} (queries × keys)": (n_queries, n_keys) for n_queries, n_keys in sizes}


def padding_probes() -> dict[str, tuple]:
    return {
        "one sentence with 2 of 3 keys real": (torch.tensor([2]), 3),
        "two sentences with 1 and 3 of 3 keys real": (torch.tensor([1, 3]), 3),
        "a sentence of nothing but fillers": (torch.tensor([0, 2]), 2),
        "three sentences of 5 keys": (torch.tensor([5, 1, 4]), 5),
        "as many sentences as keys": (torch.tensor([2, 4, 1, 3]), 4),
    }


def pattern_probes() -> dict[str, tuple]:
    def allowed(*rows: list[int]) -> Bool[Tensor, "queries keys"]:
        return torch.tensor(rows).bool()

    mixed = allowed([0, 1, 1, 0, 1], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 0])
    one_empty = allowed([0, 1, 1, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 1, 0])
    query, key = gaussian(2, 3, 4, 6), gaussian(2, 3, 5, 6, seed=1)  # 2 sentences, 3 heads, 4 queries, 5 keys
    return {
        "two equal keys and the second hidden": (exactly([[1, 1]]), exactly([[1, 0], [1, 0]]), allowed([1, 0])),
        "two open keys": (exactly([[2, 0, 0, 0]]), exactly([[1, 1, 1, 1], [0, 1, 0, 0]]), allowed([1, 1])),
        "two hidden keys": (exactly([[1, 1]]), exactly([[1, 0], [0, 2]]), allowed([0, 0])),
        "3 × 3 causal": (gaussian(3, 3), gaussian(3, 3, seed=1), causal_mask(3)),
        "4 queries × 5 keys": (query[0, 0], key[0, 0], mixed),
        "4 queries × 5 keys with an empty row": (query[0, 0], key[0, 0], one_empty),
        "2 sentences × 3 heads under one mask": (query, key, mixed),
        "2 sentences × 3 heads with fillers": (query, key, padding_mask(torch.tensor([5, 2]), 5)),
        "d_head = 1": (gaussian(2, 1), gaussian(3, 1, seed=1), allowed([1, 0, 1])),
        "an open score of −20000 beside a hidden 0": (exactly([[-20000]]), exactly([[1], [0]]), allowed([1, 0])),
        "the same in half precision": (exactly([[-20000]]).half(), exactly([[1], [0]]).half(), allowed([1, 0])),
    }


def numbered(batch: int, seq: int, d_model: int) -> Float[Tensor, "batch seq d_model"]:
    """Entries that say where they are: 100 · sentence + 10 · position + column."""
    sentence, position, column = (torch.arange(n, dtype=torch.float64) for n in (batch, seq, d_model))
    return 100 * sentence[:, None, None] + 10 * position[:, None] + column


def split_probes() -> dict[str, tuple]:
    return {
        "2 positions × 4 columns in 2 heads": (numbered(1, 2, 4), 2),
        "one head": (numbered(1, 3, 2), 1),
        "as many heads as columns": (numbered(1, 2, 3), 3),
        "2 sentences × 3 positions × 6 columns in 2 heads": (numbered(2, 3, 6), 2),
        "6 positions × 12 columns in 2 heads": (numbered(1, 6, 12), 2),
        "3 sentences × 4 positions × 20 columns in 5 heads": (gaussian(3, 4, 20), 5),
    }


def multi_head_probes() -> dict[str, tuple]:
    def probe(batch: int, seq: int, d_model: int, n_heads: int, mask: Tensor | None = None) -> tuple:
        x = gaussian(batch, seq, d_model)
        weights = (gaussian(d_model, d_model, seed=seed) for seed in range(1, 5))
        return x, *weights, n_heads, mask

    one = torch.eye(2, dtype=torch.float64)
    return {
        "one word that attends to itself": (exactly([[[1, 2]]]), one, one, one, exactly([[1, 0], [1, 1]]), 1, None),
        "two words in two heads with identity matrices": (exactly([[[1, 0], [2, 3]]]), one, one, one, one, 2, None),
        "one head": probe(1, 3, 4, 1),
        "two heads": probe(1, 3, 4, 2),
        "as many words as columns": probe(1, 4, 4, 2),
        "2 sentences × 5 words × 6 columns in 3 heads": probe(2, 5, 6, 3),
        "two heads under a causal mask": probe(1, 3, 4, 2, causal_mask(3)),
        "2 sentences with fillers under a causal mask": probe(
            2, 4, 6, 2, causal_mask(4) & padding_mask(torch.tensor([4, 2]), 4)
        ),
    }


EXERCISES = [
    Exercise(causal_mask, causal_probes),
    Exercise(padding_mask, padding_probes),
    Exercise(attention_pattern, pattern_probes),
    Exercise(split_heads, split_probes),
    Exercise(multi_head_attention, multi_head_probes),
]

"""Lesson 02's checks accept right answers however they are written, and reject each mistake."""

import math

import pytest
import torch
import torch.nn.functional as F

from transformer_lab.exercises import EXERCISES
from transformer_lab.exercises.checking import run

# ---------------------------------------------------------------- right answers, written otherwise


def softmax_by_logsumexp(scores):
    return (scores - torch.logsumexp(scores, -1, keepdim=True)).exp()


def scores_by_loop(query, key):
    rows = [(key * query[..., i : i + 1, :]).sum(-1) for i in range(query.shape[-2])]
    return torch.stack(rows, dim=-2) / query.shape[-1] ** 0.5


def scores_by_einsum(query, key):
    return torch.einsum("...qd,...kd->...qk", query, key) * query.shape[-1] ** -0.5


def attention_by_einsum(query, key, value):
    pattern = torch.einsum("...qd,...kd->...qk", query, key).div(math.sqrt(key.shape[-1])).softmax(dim=-1)
    return torch.einsum("...qk,...kd->...qd", pattern, value), pattern


def attention_by_loop(query, key, value):
    patterns = []
    for i in range(query.shape[-2]):
        scores = (key @ query[..., i, :, None]).squeeze(-1) / math.sqrt(query.shape[-1])
        exponentials = (scores - scores.max(-1, keepdim=True).values).exp()
        patterns.append(exponentials / exponentials.sum(-1, keepdim=True))
    pattern = torch.stack(patterns, -2)
    return (pattern[..., None] * value[..., None, :, :]).sum(-2), pattern


def attention_by_torch(query, key, value):
    identity = torch.eye(key.shape[-2], dtype=key.dtype).expand(*key.shape[:-1], key.shape[-2])
    return F.scaled_dot_product_attention(query, key, value), F.scaled_dot_product_attention(query, key, identity)


def entropy_by_where(pattern):
    return -torch.where(pattern > 0, pattern * pattern.clamp_min(1e-30).log2(), 0.0).sum(-1)


RIGHT = [
    ("softmax", lambda scores: torch.softmax(scores, -1)),
    ("softmax", softmax_by_logsumexp),
    ("scaled_scores", scores_by_loop),
    ("scaled_scores", scores_by_einsum),
    ("attention", attention_by_einsum),
    ("attention", attention_by_loop),
    ("attention", attention_by_torch),
    ("attention", lambda query, key, value: list(attention_by_einsum(query, key, value))),
    ("entropy", entropy_by_where),
    ("entropy", lambda pattern: -torch.xlogy(pattern, pattern).sum(-1) / math.log(2)),
    ("entropy", lambda pattern: -(pattern * (pattern + 1e-12).log2()).sum(-1)),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT, ids=[f"{name}-{f.__name__}" for name, f in RIGHT])
def test_a_right_answer_is_accepted(name, answer):
    verdict = run(EXERCISES[name], answer)
    assert verdict.right is True, verdict


# ---------------------------------------------------------------- mistakes


def without_shift(scores):
    return scores.exp() / scores.exp().sum(-1, keepdim=True)


def one_shift_for_all_rows(scores):
    exponentials = (scores - scores.max()).exp()
    return exponentials / exponentials.sum(-1, keepdim=True)


def attend(pattern_from):
    """An attention that is right but for its pattern."""

    def attention(query, key, value):
        pattern = pattern_from(query, key)
        return pattern @ value, pattern

    return attention


def product(query, key):
    return query @ key.transpose(-2, -1)


def root(x):
    return math.sqrt(x.shape[-1])


def right(query, key):
    return (product(query, key) / root(query)).softmax(-1)


MISTAKES = {
    "softmax": {
        "overflow": without_shift,
        "one-shift-for-all-rows": one_shift_for_all_rows,
        "softmax-over-queries": lambda s: s.softmax(-2 if s.ndim > 1 else -1),
        "softmax-over-axis-0": lambda s: s.softmax(0),
        "softmax-over-axis-1": lambda s: s.softmax(min(1, s.ndim - 1)),
        "softmax-over-everything": lambda s: s.flatten().softmax(0).view(s.shape),
        "no-exponential": lambda s: s / s.sum(-1, keepdim=True),
        "no-division": lambda s: (s - s.amax(-1, keepdim=True)).exp(),
        "no-softmax": lambda s: s,
        "powers-of-two": lambda s: (s * math.log(2)).softmax(-1),
        "log-softmax": lambda s: s.log_softmax(-1),
        "sign-flipped": lambda s: (-s).softmax(-1),
        "nothing-returned": lambda s: print(end=""),
    },
    "scaled_scores": {
        "unscaled-scores": product,
        "scaled-by-d": lambda q, k: product(q, k) / q.shape[-1],
        "scaled-by-number-of-keys": lambda q, k: product(q, k) / math.sqrt(k.shape[-2]),
        "scaled-by-2": lambda q, k: product(q, k) / 2,
        "multiplied-by-root-d": lambda q, k: product(q, k) * root(q),
        "keys-ignored": lambda q, k: product(q, q) / root(q),
        "queries-ignored": lambda q, k: product(k, k) / root(q),
        "query-and-key-swapped": lambda q, k: product(k, q) / root(q),
        "transposed-by-T": lambda q, k: q @ k.permute(*reversed(range(k.ndim))) / root(q),
        "no-transpose": lambda q, k: q @ k / root(q),
        "elementwise": lambda q, k: q * k / root(q),
        "softmax-too-soon": right,
        "distance-as-score": lambda q, k: -torch.cdist(q, k) / root(q),
        "cosine": lambda q, k: product(F.normalize(q, dim=-1), F.normalize(k, dim=-1)),
    },
    "attention": {
        "unscaled-scores": attend(lambda q, k: product(q, k).softmax(-1)),
        "scaled-by-d": attend(lambda q, k: (product(q, k) / q.shape[-1]).softmax(-1)),
        "scaled-by-number-of-keys": attend(lambda q, k: (product(q, k) / math.sqrt(k.shape[-2])).softmax(-1)),
        "softmax-over-queries": attend(lambda q, k: (product(q, k) / root(q)).softmax(-2)),
        "no-softmax": attend(lambda q, k: product(q, k) / root(q)),
        "softmax-before-scale": attend(lambda q, k: product(q, k).softmax(-1) / root(q)),
        "value-inside-softmax": lambda q, k, v: ((product(q, k) / root(q) @ v).softmax(-1), right(q, k)),
        "value-inside-softmax-elementwise": lambda q, k, v: (right(q, k) * v, right(q, k)),
        "keys-ignored-q-only": attend(lambda q, k: q.softmax(-1)),
        "keys-ignored-qq": attend(lambda q, k: right(q, q)),
        "keys-ignored-kk": attend(lambda q, k: right(k, k)),
        "query-and-key-swapped": attend(lambda q, k: right(k, q)),
        "values-ignored": lambda q, k, v: (right(q, k) @ k, right(q, k)),
        "values-ignored-transposed": lambda q, k, v: (right(q, k).transpose(-2, -1) @ v, right(q, k)),
        "uniform-weights": attend(lambda q, k: torch.full_like(product(q, k), 1 / k.shape[-2])),
        "overflow": attend(lambda q, k: without_shift(product(q, k) / root(q))),
        "scores-returned-as-pattern": lambda q, k, v: (right(q, k) @ v, product(q, k) / root(q)),
        "pattern-missing": lambda q, k, v: right(q, k) @ v,
        "output-and-pattern-swapped": lambda q, k, v: (right(q, k), right(q, k) @ v),
        "zeros": lambda q, k, v: (torch.zeros_like(right(q, k) @ v), torch.zeros_like(right(q, k))),
    },
    "entropy": {
        "nats": lambda p: torch.special.entr(p).sum(-1),
        "zero-gives-nan": lambda p: -(p * p.log2()).sum(-1),
        "sign-flipped": lambda p: torch.xlogy(p, p).sum(-1) / math.log(2),
        "mean-over-keys": lambda p: torch.special.entr(p).mean(-1) / math.log(2),
        "over-queries": lambda p: torch.special.entr(p).sum(-2) / math.log(2),
        "over-everything": lambda p: torch.special.entr(p).sum() / math.log(2),
        "not-weighted": lambda p: -p.clamp_min(1e-30).log2().sum(-1),
        "axis-kept": lambda p: torch.special.entr(p).sum(-1, keepdim=True) / math.log(2),
        "per-key-not-summed": lambda p: torch.special.entr(p) / math.log(2),
        "coarse-epsilon": lambda p: -(p * (p + 1e-3).log2()).sum(-1),
    },
}
CASES = [(name, mistake) for name, mistakes in MISTAKES.items() for mistake in mistakes]


@pytest.mark.parametrize(("name", "mistake"), CASES, ids=[f"{name}-{mistake}" for name, mistake in CASES])
def test_a_mistake_is_rejected(name, mistake):
    verdict = run(EXERCISES[name], MISTAKES[name][mistake])
    assert verdict.right is False, verdict

"""Lesson 02: right and wrong answers as learners write them, and inputs that no check knows."""

import math

import torch
import torch.nn.functional as F

from transformer_lab.exercises.lesson_02 import exactly, gaussian

# ---------------------------------------------------------------- right answers, written otherwise


def softmax_by_logsumexp(scores):
    return (scores - torch.logsumexp(scores, -1, keepdim=True)).exp()


def softmax_by_rows(scores):
    rows = [(row - row.max()).exp() for row in scores.reshape(-1, scores.shape[-1])]
    return torch.stack([row / row.sum() for row in rows]).view(scores.shape)


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


# ---------------------------------------------------------------- wrong answers


def without_shift(scores):
    return scores.exp() / scores.exp().sum(-1, keepdim=True)


def one_shift_for_all_rows(scores):
    exponentials = (scores - scores.max()).exp()
    return exponentials / exponentials.sum(-1, keepdim=True)


def shifted_by(shift):
    """A softmax that is right but for what is taken away from the scores."""

    def softmax(scores):
        exponentials = torch.exp(scores - shift(scores))
        return exponentials / exponentials.sum(-1, keepdim=True)

    return softmax


def finite_mean(scores):
    return scores.where(scores > -math.inf, 0).sum(-1, keepdim=True) / (scores > -math.inf).sum(-1, keepdim=True)


def over_everything(scores):
    exponentials = (scores - scores.max()).exp()
    return exponentials / exponentials.sum()


def divided_by_sums_of_rows(scores):
    exponentials = (scores - scores.max(-1, keepdim=True)[0]).exp()
    return exponentials / exponentials.sum(dim=-1)


def scores_of_two_axes_by_loops(query, key):
    scores = torch.empty(len(query), len(key), dtype=query.dtype)
    for i, q in enumerate(query):
        for j, k in enumerate(key):
            scores[i, j] = torch.dot(q, k)
    return scores / math.sqrt(query.shape[-1])


def scores_of_two_axes_stacked(query, key):
    return torch.stack([torch.stack([q @ k for k in key]) for q in query]) / math.sqrt(query.shape[-1])


def attention_of_two_axes_by_loops(query, key, value):
    patterns = [torch.stack([torch.dot(q, k) / math.sqrt(len(q)) for k in key]).softmax(0) for q in query]
    return torch.stack([pattern @ value for pattern in patterns]), torch.stack(patterns)


def values_in_softmax(query, key, value):
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    return (scores @ value).softmax(-1), scores


def unscaled_values_in_softmax(query, key, value):
    scores = query @ key.transpose(-2, -1)
    return torch.softmax(scores @ value, -1), scores


def entropy_of_nan_rows_is_zero(pattern):
    h = -(pattern * torch.log2(pattern)).sum(-1)
    h[h.isnan()] = 0
    return h


def entropy_zero_if_any_is(pattern):
    return torch.zeros(pattern.shape[:-1]) if (pattern == 0).any() else -(pattern * pattern.log2()).sum(-1)


def entropy_of_one_hot_apart(pattern):
    h = -(pattern * pattern.log2()).sum(-1)
    return h.masked_fill(pattern.amax(-1) == 1, 0)


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


RIGHT = {
    "softmax": [lambda scores: torch.softmax(scores, -1), softmax_by_logsumexp, softmax_by_rows],
    "scaled_scores": [scores_by_loop, scores_by_einsum, lambda q, k: torch.matmul(q / root(q), k.mT)],
    "attention": [
        attention_by_einsum, attention_by_loop, attention_by_torch, lambda q, k, v: list(attention_by_einsum(q, k, v))
    ],
    "entropy": [
        entropy_by_where,
        lambda pattern: -torch.xlogy(pattern, pattern).sum(-1) / math.log(2),
        lambda pattern: -(pattern * (pattern + 1e-12).log2()).sum(-1),
        lambda pattern: -(pattern * pattern.log2()).nansum(-1),
        lambda pattern: -(pattern * pattern.log2().nan_to_num(neginf=0)).sum(-1),
    ],
}  # fmt: skip
WRONG = {
    "softmax": {
        "softmax-overflows": [without_shift],
        "one-shift-for-all-rows": [one_shift_for_all_rows],
        "softmax-over-queries": [lambda s: s.softmax(-2)],
        "softmax-over-first-axis": [lambda s: s.softmax(0)],
        "softmax-over-everything": [lambda s: s.flatten().softmax(0).view(s.shape), over_everything],
        "divided-by-total": [lambda s: (e := (s - s.max(-1, keepdim=True)[0]).exp()) / e.sum()],
        "softmax-over-axis-1": [lambda s: s.softmax(1), lambda s: F.softmax(s, dim=1)],
        "shifted-by-first": [shifted_by(lambda s: s[..., :1])],
        "shifted-by-last": [shifted_by(lambda s: s[..., [-1]])],
        "shifted-by-smallest": [shifted_by(lambda s: s.min(-1, keepdim=True).values)],
        "shifted-by-mean": [shifted_by(lambda s: s.mean(dim=-1, keepdim=True))],
        "nan-hidden": [lambda s: torch.nan_to_num(s.exp() / s.exp().sum(-1, keepdim=True))],
        "sum-without-keepdim": [divided_by_sums_of_rows],
        "shift-without-keepdim": [shifted_by(lambda s: s.max(-1).values)],
        ("softmax-overflows", "sum-without-keepdim"): [lambda s: torch.exp(s) / torch.exp(s).sum(-1)],
        ("one-shift-for-all-rows", "sum-without-keepdim"): [
            lambda s: (s - s.max()).exp() / (s - s.max()).exp().sum(-1)
        ],
        ("shift-without-keepdim", "sum-without-keepdim"): [
            lambda s: (s - s.amax(-1)).exp() / (s - s.amax(-1)).exp().sum(-1)
        ],
        "no-exponential": [lambda s: s / s.sum(-1, keepdim=True)],
        "no-division": [lambda s: (s - s.amax(-1, keepdim=True)).exp()],
        "no-division-no-shift": [torch.exp],
        "no-softmax": [lambda s: s],
        "powers-of-two": [lambda s: (s * math.log(2)).softmax(-1)],
        "log-softmax": [lambda s: s.log_softmax(-1)],
        "sign-flipped": [lambda s: (-s).softmax(-1)],
        ("softmax-overflows", "softmax-over-first-axis"): [lambda s: s.exp() / s.exp().sum(0)],
        ("softmax-overflows", "powers-of-two"): [lambda s: 2**s / (2**s).sum(-1, keepdim=True)],
    },
    "scaled_scores": {
        "unscaled-scores": [product],
        "scaled-by-d": [lambda q, k: product(q, k) / q.shape[-1]],
        "scaled-by-keys": [lambda q, k: product(q, k) / math.sqrt(k.shape[-2])],
        "scaled-by-example": [lambda q, k: product(q, k) / 2],
        "scaled-by-queries": [lambda q, k: product(q, k) / math.sqrt(q.shape[-2])],
        "scaled-by-first-axis": [
            lambda q, k: product(q, k) / math.sqrt(len(q)),
            lambda q, k: product(q, k) / math.sqrt(q.shape[0]),
        ],
        "scaled-by-first-axis-of-keys": [lambda q, k: product(q, k) / len(k) ** 0.5],
        "scaled-by-axis-1": [lambda q, k: product(q, k) / math.sqrt(q.shape[1])],
        "scaled-by-twice-d": [lambda q, k: product(q, k) / q.shape[-1] ** 1 / 2],
        "scaled-by-half-d": [lambda q, k: product(q, k) / (q.shape[-1] ** 1 / 2)],
        "scale-inverted": [lambda q, k: product(q, k) * root(q)],
        "keys-ignored": [lambda q, k: product(q, q) / root(q)],
        "queries-ignored": [lambda q, k: product(k, k) / root(q)],
        "query-and-key-swapped": [lambda q, k: product(k, q) / root(q)],
        "only-two-axes": [
            lambda q, k: q @ k.permute(*reversed(range(k.ndim))) / root(q),
            lambda q, k: q @ k.T / root(q),
            lambda q, k: q @ k.transpose(0, 1) / root(q),
            lambda q, k: torch.mm(q, k.t()) / root(q),
            lambda q, k: torch.einsum("qd,kd->qk", q, k) / root(q),
            scores_of_two_axes_by_loops,
            scores_of_two_axes_stacked,
        ],
        "no-transpose": [lambda q, k: q @ k / root(q)],
        "elementwise-scores": [lambda q, k: q * k / root(q)],
        "softmax-too-soon": [right],
        "distance-as-score": [lambda q, k: -torch.cdist(q, k) / root(q)],
        "cosine-as-score": [lambda q, k: product(F.normalize(q, dim=-1), F.normalize(k, dim=-1))],
        ("unscaled-scores", "only-two-axes"): [lambda q, k: q @ k.T],
        ("unscaled-scores", "distance-as-score"): [lambda q, k: -torch.cdist(q, k)],
    },
    "attention": {
        "unscaled-scores": [attend(lambda q, k: product(q, k).softmax(-1))],
        "scaled-by-d": [attend(lambda q, k: (product(q, k) / q.shape[-1]).softmax(-1))],
        "scaled-by-keys": [attend(lambda q, k: (product(q, k) / math.sqrt(k.shape[-2])).softmax(-1))],
        "scaled-by-value": [lambda q, k, v: ((p := (product(q, k) / math.sqrt(v.shape[-1])).softmax(-1)) @ v, p)],
        "softmax-over-queries": [attend(lambda q, k: (product(q, k) / root(q)).softmax(-2))],
        "no-softmax": [attend(lambda q, k: product(q, k) / root(q))],
        "softmax-before-scale": [attend(lambda q, k: product(q, k).softmax(-1) / root(q))],
        "scaled-by-queries": [attend(lambda q, k: (product(q, k) / math.sqrt(q.shape[-2])).softmax(-1))],
        "scaled-by-first-axis": [attend(lambda q, k: (product(q, k) / math.sqrt(len(q))).softmax(-1))],
        "scaled-by-example": [attend(lambda q, k: (product(q, k) / 2).softmax(-1))],
        "scaled-by-first-axis-of-keys": [attend(lambda q, k: (product(q, k) / math.sqrt(len(k))).softmax(-1))],
        "scaled-by-axis-1": [attend(lambda q, k: (product(q, k) / math.sqrt(q.shape[1])).softmax(-1))],
        "scaled-by-twice-d": [attend(lambda q, k: (product(q, k) / q.shape[-1] ** 1 / 2).softmax(-1))],
        "scaled-by-half-d": [attend(lambda q, k: (product(q, k) / (q.shape[-1] / 2)).softmax(-1))],
        "only-two-axes": [
            attend(lambda q, k: (q @ k.T / root(q)).softmax(-1)),
            attend(lambda q, k: (q @ k.transpose(0, 1) / root(q)).softmax(-1)),
            attention_of_two_axes_by_loops,
        ],
        "softmax-over-first-axis": [attend(lambda q, k: (product(q, k) / root(q)).softmax(0))],
        "softmax-over-axis-1": [attend(lambda q, k: torch.softmax(product(q, k) / root(q), dim=1))],
        "softmax-over-everything": [attend(lambda q, k: over_everything(product(q, k) / root(q)))],
        "one-shift-for-all-rows": [attend(lambda q, k: one_shift_for_all_rows(product(q, k) / root(q)))],
        "value-inside-softmax": [values_in_softmax],
        "output-from-scores": [lambda q, k, v: ((product(q, k) / root(q) @ v).softmax(-1), right(q, k))],
        "value-elementwise": [lambda q, k, v: (right(q, k) * v, right(q, k))],
        "keys-never-used": [attend(lambda q, k: q.softmax(-1))],
        "keys-ignored": [attend(lambda q, k: right(q, q))],
        "queries-ignored": [attend(lambda q, k: right(k, k))],
        "query-and-key-swapped": [attend(lambda q, k: right(k, q))],
        "values-ignored": [lambda q, k, v: (right(q, k) @ k, right(q, k))],
        "pattern-transposed": [lambda q, k, v: (right(q, k).transpose(-2, -1) @ v, right(q, k))],
        "uniform-weights": [attend(lambda q, k: torch.full_like(product(q, k), 1 / k.shape[-2]))],
        "softmax-overflows": [attend(lambda q, k: without_shift(product(q, k) / root(q)))],
        "scores-as-pattern": [lambda q, k, v: (right(q, k) @ v, product(q, k) / root(q))],
        "pattern-missing": [lambda q, k, v: right(q, k) @ v],
        "output-missing": [lambda q, k, v: right(q, k)],
        "output-and-pattern-swapped": [lambda q, k, v: (right(q, k), right(q, k) @ v)],
        ("unscaled-scores", "pattern-missing"): [lambda q, k, v: product(q, k).softmax(-1) @ v],
        ("no-softmax", "unscaled-scores"): [attend(product)],
        ("value-inside-softmax", "unscaled-scores"): [unscaled_values_in_softmax],
        ("value-inside-softmax", "pattern-missing"): [lambda q, k, v: values_in_softmax(q, k, v)[0]],
        ("only-two-axes", "pattern-missing"): [lambda q, k, v: (q @ k.T / root(q)).softmax(-1) @ v],
    },
    "entropy": {
        "nats-not-bits": [lambda p: torch.special.entr(p).sum(-1)],
        "zero-times-infinity": [lambda p: -(p * p.log2()).sum(-1)],
        "sign-flipped": [lambda p: torch.xlogy(p, p).sum(-1) / math.log(2)],
        "mean-not-sum": [lambda p: torch.special.entr(p).mean(-1) / math.log(2)],
        "entropy-over-queries": [lambda p: torch.special.entr(p).sum(-2) / math.log(2)],
        "entropy-of-everything": [lambda p: torch.special.entr(p).sum() / math.log(2)],
        "entropy-over-first-axis": [lambda p: torch.special.entr(p).sum(0) / math.log(2)],
        "nan-row-to-zero": [entropy_of_nan_rows_is_zero, lambda p: torch.nan_to_num(-(p * p.log2()).sum(-1))],
        "not-weighted": [lambda p: -p.log2().sum(-1)],
        "not-weighted-but-clamped": [lambda p: -p.clamp_min(1e-30).log2().sum(-1)],
        "coarse-clamp": [
            lambda p: -(p * p.clamp(min=1e-3).log2()).sum(-1),
            lambda p: -(p * p.log2().clamp(min=-10)).sum(-1),
        ],
        "axis-kept": [lambda p: torch.special.entr(p).sum(-1, keepdim=True) / math.log(2)],
        "not-summed": [lambda p: torch.special.entr(p) / math.log(2)],
        "coarse-epsilon": [lambda p: -(p * (p + 1e-3).log2()).sum(-1)],
        ("nats-not-bits", "zero-times-infinity"): [lambda p: -(p * p.log()).sum(-1)],
        ("sign-flipped", "zero-times-infinity"): [lambda p: (p * p.log2()).sum(-1)],
    },
}
UNKNOWN = {
    "softmax": [
        lambda s: torch.sigmoid(s),
        lambda s: (s / 2).softmax(-1),
        lambda s: s.softmax(-1).round(decimals=2),
        lambda s: torch.zeros_like(s),
        lambda s: s.softmax(-1).flip(-1),
        lambda s: s.clamp(max=700).softmax(-1),
        shifted_by(finite_mean),
        shifted_by(lambda s: s.where(s > -math.inf, math.inf).amin(-1, keepdim=True)),
        shifted_by(lambda s: s.abs().amax(-1, keepdim=True)),
    ],
    "scaled_scores": [
        lambda q, k: product(q, k) / math.sqrt(q.shape[-1] + 1),
        lambda q, k: (product(q, k) / root(q)).abs(),
        lambda q, k: torch.zeros_like(product(q, k)),
        lambda q, k: torch.cdist(q, k) ** 2,
    ],
    "attention": [
        lambda q, k, v: (torch.zeros_like(right(q, k) @ v), torch.zeros_like(right(q, k))),
        attend(lambda q, k: torch.sigmoid(product(q, k) / root(q))),
        attend(lambda q, k: right(q, k).tril()),
        attend(lambda q, k: torch.eye(q.shape[-2], k.shape[-2], dtype=q.dtype).expand_as(right(q, k))),
    ],
    "entropy": [
        lambda p: (p * (1 - p)).sum(-1),
        lambda p: -p.amax(-1).log2(),
        lambda p: torch.special.entr(p).sum(-1) * 2,
        lambda p: torch.special.entr(p.where(p >= 0.01, 0)).sum(-1) / math.log(2),
        lambda p: -(p * (p + 1e-5).log2()).sum(-1),
        entropy_zero_if_any_is,
        entropy_of_one_hot_apart,
    ],
}


# ---------------------------------------------------------------- inputs that no check knows


def fresh_patterns(seed: int) -> list[tuple]:
    hidden = exactly([[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]]) == 1
    return [
        (gaussian(3, 4, seed=seed).softmax(-1),),
        (gaussian(2, 5, 3, seed=seed).softmax(-1),),
        (gaussian(3, 4, seed=seed).masked_fill(hidden, -math.inf).softmax(-1),),
        ((10 * gaussian(3, 4, seed=seed)).softmax(-1),),
    ]


FRESH = {
    "softmax": lambda seed: [
        (10 * gaussian(3, 4, seed=seed),),
        (2000 * gaussian(3, 4, seed=seed),),
        (gaussian(2, 5, 3, seed=seed),),
    ],
    "scaled_scores": lambda seed: [
        (gaussian(3, 7, seed=seed), gaussian(5, 7, seed=seed + 1)),
        (gaussian(2, 4, 3, seed=seed), gaussian(2, 6, 3, seed=seed + 1)),
    ],
    "attention": lambda seed: [
        (gaussian(3, 7, seed=seed), gaussian(5, 7, seed=seed + 1), gaussian(5, 2, seed=seed + 2)),
        (gaussian(2, 4, 3, seed=seed), gaussian(2, 6, 3, seed=seed + 1), gaussian(2, 6, 4, seed=seed + 2)),
    ],
    "entropy": fresh_patterns,
}

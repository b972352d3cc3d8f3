"""Lesson 00: right and wrong answers as learners write them, and inputs that no check knows."""

import torch

from transformer_lab.exercises.lesson_02 import gaussian


def average_by_loop(weights, values):
    total = torch.zeros_like(values[0])
    for weight, row in zip(weights, values):
        total = total + weight * row
    return total


def average_of_columns(weights, values):
    return torch.stack([(weights * column).sum() for column in values.T])


def likeliest_by_sorting(probabilities, k):
    return [i for _, i in sorted((-p, i) for i, p in enumerate(probabilities.tolist()))][:k]


def likeliest_one_by_one(probabilities, k):
    left, ids = probabilities.clone(), []
    for _ in range(k):
        ids.append(int(left.argmax()))
        left[ids[-1]] = -1.0
    return ids


RIGHT = {
    "weighted_average": [
        average_by_loop,
        average_of_columns,
        lambda w, v: sum(weight * row for weight, row in zip(w, v)),
        lambda w, v: (w[:, None] * v).sum(0),
        lambda w, v: torch.einsum("n,nd->d", w, v),
        lambda w, v: v.T @ w,
        lambda w, v: (w.unsqueeze(0) @ v).squeeze(0),
        lambda w, v: (w.view(-1, 1) * v).sum(dim=0) / w.sum(),
    ],
    "likeliest": [
        likeliest_by_sorting,
        likeliest_one_by_one,
        lambda p, k: torch.argsort(p, descending=True)[:k].tolist(),
        lambda p, k: sorted(range(len(p)), key=lambda i: -p[i])[:k],
        lambda p, k: list(torch.topk(p, k)[1]),
    ],
}
WRONG = {
    "weighted_average": {
        "plain-mean": [lambda w, v: v.mean(dim=0), lambda w, v: v.sum(0) / len(v)],
        "plain-sum": [lambda w, v: sum(v)],
        "not-summed": [lambda w, v: torch.stack([weight * row for weight, row in zip(w, v)])],
        "summed-along-the-row": [lambda w, v: (w.unsqueeze(1) * v).sum(-1), lambda w, v: v.sum(1) * w],
        "summed-to-one-number": [lambda w, v: (w.unsqueeze(1) * v).sum(), lambda w, v: w @ v.sum(1)],
        "mean-not-sum": [lambda w, v: (w.unsqueeze(1) * v).mean(0)],
        "weights-on-columns": [lambda w, v: (v * w).sum(dim=0)],
        "weights-on-columns-not-summed": [lambda w, v: v * w],
        "matrix-first": [lambda w, v: torch.matmul(v, w), lambda w, v: (w * v).sum(-1)],
        "largest-only": [lambda w, v: v[w.tolist().index(max(w.tolist()))]],
        "softmax-again": [lambda w, v: (torch.softmax(w, 0)[:, None] * v).sum(0)],
        "axis-kept": [lambda w, v: w[None] @ v, lambda w, v: (w[:, None] * v).sum(0, keepdim=True)],
        ("softmax-again", "mean-not-sum"): [lambda w, v: (w.softmax(0)[:, None] * v).mean(0)],
    },
    "likeliest": {
        "least-likely": [lambda p, k: torch.argsort(p)[:k].tolist(), lambda p, k: likeliest_by_sorting(-p, k)],
        "end-of-the-list": [lambda p, k: p.argsort(descending=True)[-k:].tolist()],
        "smallest-first": [lambda p, k: torch.argsort(p)[-k:].tolist()],
        "sorted-by-id": [lambda p, k: [i for i in range(len(p)) if p[i] >= p.sort().values[-k]]],
        "probabilities-not-ids": [lambda p, k: sorted(p.tolist(), reverse=True)[:k]],
        "tensor-not-list": [lambda p, k: p.argsort(descending=True)[:k]],
        "only-the-first": [lambda p, k: [p.argmax().item()]],
        "id-not-list": [lambda p, k: max(range(len(p)), key=lambda i: p[i])],
        "k-ignored": [lambda p, k: p.argsort(descending=True).tolist()],
        "ids-from-one": [lambda p, k: [i + 1 for i in likeliest_by_sorting(p, k)]],
        "first-k-ids": [lambda p, k: list(range(len(p)))[:k]],
        ("probabilities-not-ids", "tensor-not-list"): [lambda p, k: p.topk(k)[0]],
        ("smallest-first", "probabilities-not-ids"): [lambda p, k: sorted(p.tolist())[-k:]],
        ("k-ignored", "tensor-not-list"): [lambda p, k: p.argsort(descending=True)],
        ("smallest-first", "k-ignored"): [lambda p, k: p.argsort().tolist()],
    },
}
UNKNOWN = {
    "weighted_average": [
        lambda w, v: torch.zeros_like(v[0]),
        lambda w, v: v[0],
        lambda w, v: 2 * w @ v,
        lambda w, v: w.flip(0) @ v,
        lambda w, v: (w**2) @ v,
    ],
    "likeliest": [
        lambda p, k: [0] * k,
        lambda p, k: p.topk(k).indices.tolist()[:-1] + [0],
        lambda p, k: sorted(p.topk(k).indices.tolist(), reverse=True),
        lambda p, k: (p > 0.25).nonzero().flatten().tolist(),
    ],
}
FRESH = {
    "weighted_average": lambda seed: [
        (gaussian(n, seed=seed).softmax(0), gaussian(n, d, seed=seed + 1)) for n, d in ((5, 5), (6, 4))
    ],
    "likeliest": lambda seed: [(gaussian(12, seed=seed).softmax(0), 3), (gaussian(7, seed=seed).softmax(0), 6)],
}

"""Lesson 09c: right and wrong answers as learners write them, and inputs that no check knows."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from transformer_lab.exercises.lesson_09c import ffn, noisy_law, normal

# ---------------------------------------------------------------- average_gradients


def averaged_by_loop(gradients, n_examples):
    result = torch.zeros_like(gradients[0])
    for rank in range(len(gradients)):
        result += gradients[rank] * n_examples[rank] / n_examples.sum()
    return result


def averaged_by_einsum(gradients, n_examples):
    shares = n_examples.to(gradients.dtype) / n_examples.sum()
    return torch.einsum("r...,r->...", gradients, shares)


def averaged_by_view(gradients, n_examples):
    weights = n_examples.view(-1, *[1] * (gradients.dim() - 1))
    return (gradients * weights).sum(0) / weights.sum()


def weighted(weights):
    """The sum of the gradients, each with the weight that `weights` makes of the numbers of examples."""

    def average(gradients, n_examples):
        return torch.einsum("r...,r->...", gradients, weights(n_examples.to(gradients.dtype)).expand(len(gradients)))

    return average


# ---------------------------------------------------------------- tensor_parallel_ffn


def split_by_chunk(x, up, up_bias, down, down_bias, n_ranks):
    pieces = zip(up.chunk(n_ranks, dim=1), up_bias.chunk(n_ranks), down.chunk(n_ranks, dim=0))
    parts = [(x @ u + b).clamp_min(0) @ d for u, b, d in pieces]
    return torch.stack([part + down_bias if rank == 0 else part for rank, part in enumerate(parts)])


def split_by_einsum(x, up, up_bias, down, down_bias, n_ranks):
    d_model = up.shape[0]
    hidden = torch.einsum("td,drk->rtk", x, up.reshape(d_model, n_ranks, -1))
    hidden = torch.relu(hidden + up_bias.reshape(n_ranks, 1, -1))
    result = hidden @ down.reshape(n_ranks, -1, d_model)
    result[0] += down_bias
    return result


def split_after_the_hidden_layer(x, up, up_bias, down, down_bias, n_ranks):
    hidden = F.relu(x @ up + up_bias)
    n = hidden.shape[-1] // n_ranks
    out = []
    for r in range(n_ranks):
        part = F.linear(hidden[:, r * n : r * n + n], down[r * n : r * n + n].T)
        out.append(part + (down_bias if r == 0 else 0))
    return torch.stack(out)


def split(hidden=None, part=None, bias="first", finish=torch.stack, piece=None):
    """A loop over the ranks, with one thing done otherwise."""
    hidden = hidden or (lambda x, u, b: F.relu(x @ u + b))
    part = part or (lambda h, d, n: h @ d)
    piece = piece or (lambda r, size, n: range(r * size, (r + 1) * size))

    def ffn_in_parts(x, up, up_bias, down, down_bias, n_ranks):
        size, parts = up.shape[1] // n_ranks, []
        for r in range(n_ranks):
            units = list(piece(r, size, n_ranks))
            parts.append(part(hidden(x, up[:, units], up_bias[units]), down[units], n_ranks))
        if bias == "first":
            parts[0] = parts[0] + down_bias
        elif bias == "last":
            parts[-1] = parts[-1] + down_bias
        elif bias == "all":
            parts = [p + down_bias for p in parts]
        elif bias == "shared":
            parts = [p + down_bias / n_ranks for p in parts]
        return finish(parts)

    return ffn_in_parts


def split_with_the_first_biases(x, up, up_bias, down, down_bias, n_ranks):
    size = len(up_bias) // n_ranks
    parts = [F.relu(x @ u + up_bias[:size]) @ d for u, d in zip(up.chunk(n_ranks, 1), down.chunk(n_ranks))]
    parts[0] = parts[0] + down_bias
    return torch.stack(parts)


def split_by_inputs(x, up, up_bias, down, down_bias, n_ranks):
    n = len(up) // n_ranks
    parts = []
    for r in range(n_ranks):
        mine = slice(r * n, r * n + n)
        parts.append(F.relu(x[:, mine] @ up[mine] + up_bias) @ down)
    parts[0] = parts[0] + down_bias
    return torch.stack(parts)


def split_by_outputs(x, up, up_bias, down, down_bias, n_ranks):
    hidden = F.relu(x @ up + up_bias)
    parts = torch.zeros(n_ranks, *hidden.shape[:-1], down.shape[1], dtype=x.dtype)
    for part, columns in zip(parts, torch.arange(down.shape[1]).chunk(n_ranks)):
        part[:, columns] = hidden @ down[:, columns]
    parts[0] += down_bias
    return parts


def split_from_the_end(x, up, up_bias, down, down_bias, n_ranks):
    parts = list(split_by_chunk(x, up, up_bias, down, torch.zeros_like(down_bias), n_ranks))[::-1]
    parts[0] = parts[0] + down_bias
    return torch.stack(parts)


# ---------------------------------------------------------------- fit_power_law


def fit_by_formula(compute, loss):
    x, y = np.log(compute), np.log(loss)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return np.exp(y.mean() - slope * x.mean()), -slope


def fit_in_base_10(compute, loss):
    slope, intercept = np.polyfit(np.log10(compute), np.log10(loss), deg=1)
    return 10**intercept, -slope


def fit_by_least_squares(compute, loss):
    x = torch.tensor([[1.0, -math.log(c)] for c in compute], dtype=torch.float64)
    y = torch.tensor([[math.log(v)] for v in loss], dtype=torch.float64)
    intercept, exponent = torch.linalg.lstsq(x, y).solution.flatten().tolist()
    return math.exp(intercept), exponent


def fit(x=np.log, y=np.log, back=math.exp, points=slice(None), result=lambda scale, slope: (scale, -slope)):
    """A straight line between x of the compute and y of the loss."""

    def fit_line(compute, loss):
        compute, loss = np.array(compute)[points], np.array(loss)[points]
        slope, intercept = np.polyfit(x(compute), y(loss), 1)
        return result(back(intercept), slope)

    return fit_line


def same(x):
    return x


def fit_with_the_first_and_last(compute, loss):
    exponent = -math.log(loss[-1] / loss[0]) / math.log(compute[-1] / compute[0])
    return loss[0] * compute[0] ** exponent, exponent


def fit_without_an_intercept(compute, loss):
    x, y = np.log(compute), np.log(loss)
    return 1.0, -(x * y).sum() / (x**2).sum()


def fit_taking_the_intercept_first(compute, loss):
    intercept, slope = np.polyfit(np.log(compute), np.log(loss), 1)
    return np.exp(intercept), -slope


# ---------------------------------------------------------------- the answers

RIGHT = {
    "average_gradients": [averaged_by_loop, averaged_by_einsum, averaged_by_view, weighted(lambda n: n / n.sum())],
    "tensor_parallel_ffn": [split_by_chunk, split_by_einsum, split_after_the_hidden_layer, split()],
    "fit_power_law": [fit_by_formula, fit_in_base_10, fit_by_least_squares, fit()],
}
WRONG = {
    "average_gradients": {
        "mean-of-means": [lambda g, n: g.mean(0), lambda g, n: sum(g) / len(n)],
        "sum-of-means": [lambda g, n: g.sum(0)],
        "not-divided": [weighted(lambda n: n)],
        "divided-twice": [lambda g, n: g.sum(0) / n.sum()],
        "divided-by-ranks": [weighted(lambda n: n / len(n))],
        "divided-by-ranks-too": [weighted(lambda n: n / n.sum() / len(n))],
        "small-shares-count-more": [weighted(lambda n: (1 / n) / (1 / n).sum())],
        "first-share-for-all": [weighted(lambda n: n / (n[0] * len(n)))],
        "largest-share-counts-as-one": [weighted(lambda n: n / n.max())],
        "whole-number-division": [weighted(lambda n: n // n.sum())],
        "two-ranks-only": [lambda g, n: (g[:2] * n[:2].view(-1, *[1] * (g.dim() - 1))).sum(0) / n[:2].sum()],
        "softmax-of-counts": [weighted(lambda n: n.softmax(-1))],
        "first-rank-only": [lambda g, n: g[0]],
        "largest-share-only": [lambda g, n: g[n.argmax()]],
        "ranks-not-summed": [lambda g, n: torch.stack([a * b for a, b in zip(g, n)]) / n.sum()],
        "counts-along-the-last-axis": [lambda g, n: (g * n).sum(0) / n.sum()],
        "for-vectors-only": [lambda g, n: (g * n[:, None]).sum(0) / n.sum()],
        "averaged-to-one-number": [lambda g, n: averaged_by_view(g, n).mean()],
        ("mean-of-means", "averaged-to-one-number"): [lambda g, n: g.mean()],
    },
    "tensor_parallel_ffn": {
        "bias-on-every-rank": [split(bias="all")],
        "bias-nowhere": [split(bias="")],
        "bias-shared-out": [split(bias="shared")],
        "bias-on-the-last-rank": [split(bias="last")],
        "no-activation": [split(hidden=lambda x, u, b: x @ u + b)],
        "activation-after-down": [
            split(hidden=lambda x, u, b: x @ u + b, part=lambda h, d, n: (h @ d).relu())
        ],
        "activation-twice": [split(part=lambda h, d, n: F.relu(h @ d))],
        "up-bias-after-activation": [split(hidden=lambda x, u, b: F.relu(x @ u) + b)],
        "up-bias-missing": [split(hidden=lambda x, u, b: F.relu(x @ u))],
        "first-piece-of-the-bias": [split_with_the_first_biases],
        "same-piece-on-every-rank": [split(piece=lambda r, size, n: range(size))],
        "whole-on-every-rank": [split(piece=lambda r, size, n: range(size * n))],
        "rows-then-whole": [split_by_inputs],
        "every-other-unit": [split(piece=lambda r, size, n: range(r, size * n, n))],
        "reversed-ranks": [split_from_the_end],
        "divided-by-ranks": [split(part=lambda h, d, n: h @ d / n)],
        "down-missing": [split(part=lambda h, d, n: h, bias="")],
        "summed-already": [split(finish=sum), lambda x, u, a, d, b, n: F.relu(x @ u + a) @ d + b],
        "all-reduced-already": [split(finish=lambda parts: torch.stack([sum(parts)] * len(parts)))],
        "down-by-columns": [split_by_outputs],
        "mean-of-parts": [split(finish=lambda parts: sum(parts) / len(parts))],
        "tokens-first": [split(finish=lambda parts: torch.stack(parts, 1))],
        "side-by-side": [split(finish=lambda parts: torch.cat(parts, -1))],
        "one-below-the-other": [split(finish=torch.cat)],
        "not-stacked": [split(finish=list)],
        ("bias-on-every-rank", "summed-already"): [split(bias="all", finish=sum)],
        ("bias-nowhere", "no-activation"): [split(hidden=lambda x, u, b: x @ u + b, bias="")],
    },
    "fit_power_law": {
        "no-logs": [fit(same, same, same)],
        "no-logs-but-exp": [fit(same, same)],
        "compute-without-log": [fit(x=same)],
        "loss-without-log": [fit(y=same)],
        "sign-kept": [fit(result=lambda scale, slope: (scale, slope))],
        "absolute-slope": [fit(result=lambda scale, slope: (scale, abs(slope)))],
        "exponent-inverted": [fit(result=lambda scale, slope: (scale, -1 / slope))],
        "first-loss-as-scale": [lambda compute, loss: (loss[0], fit()(compute, loss)[1])],
        "intercept-is-a-log": [fit(back=same)],
        "two-bases": [fit(np.log10, np.log10)],
        "bases-differ": [fit(y=np.log10)],
        "axes-swapped": [lambda compute, loss: fit()(loss, compute)],
        "slope-and-intercept-swapped": [fit_taking_the_intercept_first],
        "exponent-first": [fit(result=lambda scale, slope: (-slope, scale))],
        "exponent-exponentiated": [fit(result=lambda scale, slope: (scale, math.exp(-slope)))],
        "first-and-last-only": [fit_with_the_first_and_last, fit(points=[0, -1])],
        "through-the-origin": [fit_without_an_intercept],
        "log-of-one-plus": [fit(np.log1p, np.log1p)],
        ("sign-kept", "intercept-is-a-log"): [fit(back=same, result=lambda scale, slope: (scale, slope))],
    },
}  # fmt: skip
UNKNOWN = {
    "average_gradients": [
        weighted(lambda n: n.sqrt() / n.sqrt().sum()),
        lambda g, n: g.median(0).values,
        lambda g, n: g[-1] / 2,
    ],
    "tensor_parallel_ffn": [
        split(hidden=lambda x, u, b: torch.tanh(x @ u + b)),
        lambda x, up, up_bias, down, down_bias, n_ranks: torch.stack([x] * n_ranks),
        split(part=lambda h, d, n: 2 * h @ d),
    ],
    "fit_power_law": [
        lambda compute, loss: (loss[0], 0.05),
        fit(points=slice(0, 2)),
        fit(x=np.sqrt),
    ],
}


FRESH = {
    "average_gradients": lambda seed: [
        (normal(4, 3, 2, seed=seed), torch.tensor([2, 7, 1, 3])),
        (normal(2, 5, seed=seed + 1), torch.tensor([1, 2])),
    ],
    "tensor_parallel_ffn": lambda seed: [ffn(5, 6, 8, 2, seed), ffn(3, 8, 16, 4, seed)],
    "fit_power_law": lambda seed: [noisy_law(6, 3.0, 0.2, seed), noisy_law(12, 40.0, 0.7, seed)],
}

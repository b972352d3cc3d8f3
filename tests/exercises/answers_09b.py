"""Lesson 09b: right and wrong answers as learners write them, and inputs that no check knows."""

import torch
import torch.nn.functional as F

from transformer_lab.exercises.lesson_09 import random_ids

PRIME = 2**31 - 1


def flops_in_parts(n_weights, n_layers, d_model, context_length):
    scores = pattern_times_value = 2 * d_model * context_length
    forward = 2 * n_weights + n_layers * (scores + pattern_times_value)
    return forward + 2 * forward


def flops_by_the_paper(n_weights, n_layers, d_model, context_length):
    return 6 * n_weights + 12 * n_layers * d_model * context_length


def flops_by_loop(n_weights, n_layers, d_model, context_length):
    total = 6.0 * n_weights
    for _ in range(n_layers):
        total += 6 * 2 * context_length * d_model
    return total


def flops(weights=6, attention=12):
    return lambda n, layers, d, t: weights * n + attention * layers * d * t


# ---------------------------------------------------------------- n-grams


def rows_by_loop(ids, longest, n_rows, before=lambda row, t: 0, factor=92821, prime=PRIME, carry=True, table=1):
    """One token at a time. before: what stands in front of the first."""
    answer = []
    for row in ids.tolist():
        answer.append([])
        for t in range(len(row)):
            code, found = row[t], []
            for k in range(1, longest):
                earlier = row[t - k] if t >= k else before(row, t - k)
                code = ((code if carry else row[t]) * factor + earlier) % prime
                found.append(code % n_rows + table * (k - 1) * n_rows)
            answer[-1].append(found)
    return torch.tensor(answer)


def rows_by_unfold(ids, longest, n_rows):
    windows = F.pad(ids, (longest - 1, 0)).unfold(1, longest, 1).flip(-1)  # (batch, seq, longest), this token first
    code, rows = windows[..., 0], []
    for n in range(2, longest + 1):
        code = (code * 92821 + windows[..., n - 1]) % PRIME
        rows.append(code % n_rows + (n - 2) * n_rows)
    return torch.stack(rows, 2)


def rows_by_cat(ids, longest, n_rows):
    answer = torch.empty(*ids.shape, longest - 1, dtype=torch.long)
    code, moved = ids.clone(), ids
    for k in range(longest - 1):
        moved = torch.cat([torch.zeros_like(moved[:, :1]), moved[:, :-1]], dim=1)
        code = torch.remainder(92821 * code + moved, PRIME)
        answer[..., k] = k * n_rows + torch.remainder(code, n_rows)
    return answer


def rows_with(moved=None, mix=None, row=None):
    """A learner's version, with one line replaced."""
    moved = moved or (lambda ids, k: F.pad(ids, (k, 0))[:, : ids.shape[1]])
    mix = mix or (lambda code, earlier: code * 92821 + earlier)
    row = row or (lambda code, k, n_rows, longest: code % n_rows + (k - 1) * n_rows)

    def answer(ids, longest, n_rows):
        code, found = ids, []
        for k in range(1, longest):
            code = mix(code, moved(ids, k)) % PRIME
            found.append(row(code, k, n_rows, longest))
        return torch.stack(found, -1)

    return answer


def moved_by_index(ids, k):
    at = torch.arange(ids.shape[1]) - k
    return ids[:, at]  # negative places count from the end


def rolled_with_one_zero(ids, k):
    moved = ids.roll(k, 1)
    moved[:, 0] = 0
    return moved


# ---------------------------------------------------------------- windows


def halve_by_loop(inputs, targets):
    half = inputs.shape[1] // 2
    x, y = [], []
    for a, b in zip(inputs, targets):
        x += [a[:half], a[half:]]
        y += [b[:half], b[half:]]
    return torch.stack(x), torch.stack(y)


def halve_by_chunk(inputs, targets):
    return tuple(torch.stack(x.chunk(2, dim=1), dim=1).flatten(0, 1) for x in (inputs, targets))


def halve_by_view(inputs, targets):
    batch, context = inputs.shape
    shape = 2 * batch, context // 2
    return inputs.contiguous().view(shape), targets.contiguous().view(shape)


def halved(change):
    """Some other way of cutting, of inputs and targets alike."""
    return lambda inputs, targets: (change(inputs, inputs.shape[1] // 2), change(targets, inputs.shape[1] // 2))


def changed_halves(change):
    return lambda inputs, targets: change(*halve_by_loop(inputs, targets))


# ---------------------------------------------------------------- utilisation


def mfu_in_steps(flops_per_token, tokens_per_second, peak_flops, n_devices=1):
    tokens_per_device = tokens_per_second / n_devices
    return flops_per_token * tokens_per_device / peak_flops


def mfu_by_time(flops_per_token, tokens_per_second, peak_flops, n_devices=1):
    at_best = flops_per_token / (peak_flops * n_devices)  # seconds a token
    return at_best * tokens_per_second


RIGHT = {
    "flops_per_token": [flops_in_parts, flops_by_the_paper, flops_by_loop],
    "ngram_rows": [rows_by_loop, rows_by_unfold, rows_by_cat, rows_with()],
    "halve_windows": [halve_by_loop, halve_by_chunk, halve_by_view],
    "model_flops_utilisation": [
        mfu_in_steps,
        mfu_by_time,
        lambda flops, speed, peak, n=1: torch.tensor(flops, dtype=torch.float64) * speed / peak / n,
    ],
}
WRONG = {
    "flops_per_token": {
        "forward-only": [flops(2, 4)],
        "backward-counted-once": [flops(4, 8)],
        "one-operation-a-weight": [flops(3, 6)],
        "weights-forward-only": [flops(2, 12)],
        "attention-forward-only": [flops(6, 4)],
        "attention-backward-only": [flops(6, 8)],
        "attention-forgotten": [flops(6, 0)],
        "one-product-only": [flops(6, 6)],
        "one-layer-only": [lambda n, layers, d, t: 6 * n + 12 * d * t],
        "context-squared": [lambda n, layers, d, t: 6 * n + 12 * layers * d * t * t],
        "width-forgotten": [lambda n, layers, d, t: 6 * n + 12 * layers * t],
        "context-forgotten": [lambda n, layers, d, t: 6 * n + 12 * layers * d],
        "width-squared": [lambda n, layers, d, t: 6 * n + 12 * layers * d**2],
        "whole-window": [lambda n, layers, d, t: t * flops_in_parts(n, layers, d, t)],
        "weights-in-every-layer": [lambda n, layers, d, t: layers * (6 * n + 12 * d * t)],
        ("forward-only", "attention-forgotten"): [flops(2, 0)],
    },
    "ngram_rows": {
        "looks-ahead": [rows_with(lambda ids, k: torch.cat([ids[:, k:], torch.zeros_like(ids[:, :k])], 1))],
        "wraps-around": [
            rows_with(lambda ids, k: ids.roll(k, dims=1)),
            lambda ids, longest, n_rows: rows_by_loop(ids, longest, n_rows, before=lambda row, t: row[t % len(row)]),
        ],
        "first-token-repeated": [
            lambda ids, longest, n_rows: rows_by_loop(ids, longest, n_rows, before=lambda row, t: row[0])
        ],
        "along-the-batch": [rows_with(lambda ids, k: F.pad(ids.T, (k, 0))[:, : len(ids)].T)],
        "neighbour-skipped": [rows_with(lambda ids, k: F.pad(ids, (k + 1, 0))[:, : ids.shape[1]])],
        "always-the-neighbour": [rows_with(lambda ids, k: F.pad(ids, (1, 0))[:, :-1])],
        "one-zero-only": [rows_with(rolled_with_one_zero)],
        "two-tables-too-far": [rows_with(row=lambda code, k, n_rows, longest: code % n_rows + (k + 1) * n_rows)],
        "window-one-short": [rows_with(lambda ids, k: F.pad(ids, (k - 1, 0))[:, : ids.shape[1]])],
        "skips-what-lies-between": [lambda ids, longest, n_rows: rows_by_loop(ids, longest, n_rows, carry=False)],
        "order-ignored": [rows_with(mix=lambda code, earlier: code + earlier)],
        "earlier-token-multiplied": [rows_with(mix=lambda code, earlier: code + 92821 * earlier)],
        "tables-shared": [lambda ids, longest, n_rows: rows_by_loop(ids, longest, n_rows, table=0)],
        "one-table-too-far": [rows_with(row=lambda code, k, n_rows, longest: k * n_rows + code % n_rows)],
        "rows-interleaved": [rows_with(row=lambda code, k, n_rows, longest: (code % n_rows) * (longest - 1) + (k - 1))],
        "no-row-number": [rows_with(row=lambda code, k, n_rows, longest: code)],
        "code-not-reduced": [rows_with(row=lambda code, k, n_rows, longest: code + (k - 1) * n_rows)],
        "power-of-two": [lambda ids, longest, n_rows: rows_by_loop(ids, longest, n_rows, prime=2**31)],
        "only-longest": [lambda ids, longest, n_rows: rows_by_unfold(ids, longest, n_rows)[..., -1:]],
        "longest-first": [lambda ids, longest, n_rows: rows_by_cat(ids, longest, n_rows).flip(-1)],
        "lengths-first": [lambda ids, longest, n_rows: rows_by_cat(ids, longest, n_rows).permute(2, 0, 1)],
        "lengths-in-the-middle": [lambda ids, longest, n_rows: rows_by_cat(ids, longest, n_rows).mT],
        ("looks-ahead", "tables-shared"): [
            rows_with(
                lambda ids, k: torch.cat([ids[:, k:], torch.zeros_like(ids[:, :k])], 1),
                row=lambda code, k, n_rows, longest: code % n_rows,
            )
        ],
    },
    "halve_windows": {
        "second-half-dropped": [halved(lambda x, half: x[:, :half])],
        "first-half-dropped": [halved(lambda x, half: x[:, -half:])],
        "every-other-token": [halved(lambda x, half: torch.stack([x[:, ::2], x[:, 1::2]], 1).flatten(0, 1))],
        "windows-mixed": [halved(lambda x, half: x.T.reshape(-1, half))],
        "all-first-halves-first": [halved(lambda x, half: torch.cat([x[:, :half], x[:, half:]]))],
        "targets-in-another-order": [lambda x, y: (halve_by_loop(x, y)[0], torch.cat(y.chunk(2, 1)))],
        "targets-not-cut": [lambda x, y: (halve_by_chunk(x, y)[0], y)],
        "inputs-twice": [changed_halves(lambda x, y: (x, x))],
        "swapped": [changed_halves(lambda x, y: (y, x))],
        "targets-shifted-again": [
            lambda x, y: halve_by_loop(x, torch.cat([y[:, 1:], y[:, :1]], dim=1)),
        ],
        "extra-axis": [halved(lambda x, half: torch.stack(x.split(half, 1), 1))],
    },
    "model_flops_utilisation": {
        "upside-down": [lambda flops, speed, peak, n=1: peak * n / (flops * speed)],
        "devices-forgotten": [lambda flops, speed, peak, n=1: flops * speed / peak],
        "devices-multiplied": [lambda flops, speed, peak, n=1: flops * speed * n / peak],
        "in-percent": [lambda flops, speed, peak, n=1: 100 * mfu_in_steps(flops, speed, peak, n)],
        "seconds-per-token": [lambda flops, speed, peak, n=1: flops / speed / (peak * n)],
        "six-once-more": [lambda flops, speed, peak, n=1: 6 * mfu_in_steps(flops, speed, peak, n)],
        "backward-on-top": [lambda flops, speed, peak, n=1: mfu_by_time(flops, 3 * speed, peak, n)],
        "one-token-a-second": [lambda flops, speed, peak, n=1: flops / peak / n],
        "not-a-share": [lambda flops, speed, peak, n=1: flops * speed],
        ("devices-forgotten", "in-percent"): [lambda flops, speed, peak, n=1: flops * speed / peak * 100],
    },
}
UNKNOWN = {
    "flops_per_token": [flops(5, 12), flops(6, 24), lambda n, layers, d, t: n + layers + d + t],
    "ngram_rows": [
        lambda ids, longest, n_rows: rows_by_loop(ids, longest, n_rows, factor=31),
        lambda ids, longest, n_rows: rows_by_loop(ids, longest, n_rows) + 1,
        rows_with(mix=lambda code, earlier: code * earlier),
        lambda ids, longest, n_rows: torch.zeros(*ids.shape, longest - 1, dtype=torch.long),
    ],
    "halve_windows": [
        changed_halves(lambda x, y: (x.flip(1), y.flip(1))),
        changed_halves(lambda x, y: (x, torch.zeros_like(y))),
        changed_halves(lambda x, y: (x.flip(0), y.flip(0))),
    ],
    "model_flops_utilisation": [
        lambda flops, speed, peak, n=1: mfu_in_steps(flops, speed, peak, n) / 2,
        lambda flops, speed, peak, n=1: 1 - mfu_in_steps(flops, speed, peak, n),
        lambda flops, speed, peak, n=1: mfu_in_steps(flops, speed, peak, n) ** 0.5,
    ],
}
FRESH = {
    "flops_per_token": lambda seed: [(seed * 31, seed % 7 + 2, seed + 5, 3 * seed), (seed, 3, 11, 17)],
    "ngram_rows": lambda seed: [
        (random_ids(110, 2, 11, seed=seed), 5, 64 + seed),
        (random_ids(9, 4, 3, seed=seed), 3, 13),
    ],
    "halve_windows": lambda seed: [
        (random_ids(70, 3, 10, seed=seed), random_ids(70, 3, 10, seed=seed + 1)),
        (random_ids(70, 4, 6, seed=seed), random_ids(70, 4, 6, seed=seed + 1)),
    ],
    "model_flops_utilisation": lambda seed: [(seed * 1e6, 300.0 + seed, 7e12, seed % 5 + 2), (seed * 1e3, 40.0, 1e7)],
}

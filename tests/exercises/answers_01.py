"""Lesson 01: right and wrong answers as learners write them, and inputs that no check knows."""

import torch
import torch.nn.functional as F
from torch import nn

from transformer_lab.exercises.lesson_02 import gaussian

# ---------------------------------------------------------------- right answers, written otherwise


def lstm_cell_by_torch(x, hidden, cell, input_weight, hidden_weight, bias):
    step = nn.LSTMCell(x.shape[1], hidden.shape[1], dtype=x.dtype)
    step.weight_ih.data, step.weight_hh.data = input_weight, hidden_weight
    step.bias_ih.data, step.bias_hh.data = bias, torch.zeros_like(bias)
    return step(x, (hidden, cell))


def lstm_cell_by_slices(x, hidden, cell, input_weight, hidden_weight, bias):
    d = hidden.shape[1]
    z = F.linear(x, input_weight, bias) + F.linear(hidden, hidden_weight)
    i, f, o = (1 / (1 + torch.exp(-z[:, k * d : (k + 1) * d])) for k in (0, 1, 3))
    c = f * cell + i * torch.tanh(z[:, 2 * d : 3 * d])
    return o * torch.tanh(c), c


def lstm_cell_by_unit(x, hidden, cell, input_weight, hidden_weight, bias):
    batch, d = hidden.shape
    new_hidden, new_cell = torch.zeros_like(hidden), torch.zeros_like(cell)
    for b in range(batch):
        for u in range(d):
            i, f, g, o = (
                input_weight[u + k * d] @ x[b] + hidden_weight[u + k * d] @ hidden[b] + bias[u + k * d]
                for k in range(4)
            )
            new_cell[b, u] = f.sigmoid() * cell[b, u] + i.sigmoid() * g.tanh()
            new_hidden[b, u] = o.sigmoid() * new_cell[b, u].tanh()
    return new_hidden, new_cell


def lstm_cell_by_one_matrix(x, hidden, cell, input_weight, hidden_weight, bias):
    both = torch.cat([x, hidden], dim=1) @ torch.cat([input_weight, hidden_weight], dim=1).T + bias
    i, f, g, o = torch.split(both, hidden.shape[1], dim=1)
    cell = torch.sigmoid(f).mul(cell).add(torch.sigmoid(i) * torch.tanh(g))
    return torch.sigmoid(o) * torch.tanh(cell), cell


def additive_score_by_pair(query, key, W, U, v):
    scores = torch.zeros(len(query), len(key), dtype=query.dtype)
    for i in range(len(query)):
        for j in range(len(key)):
            scores[i, j] = v @ torch.tanh(W @ query[i] + U @ key[j])
    return scores


def additive_score_by_einsum(query, key, W, U, v):
    queries, keys = torch.einsum("td,ed->te", query, W), torch.einsum("sd,ed->se", key, U)
    return torch.einsum("tse,e->ts", torch.tanh(queries[:, None, :] + keys[None, :, :]), v)


def additive_score_keys_first(query, key, W, U, v):
    sums = F.linear(key, U)[:, None] + F.linear(query, W)[None]  # (source, target, d_score)
    return (sums.tanh() * v).sum(-1).T


def additive_score_by_query(query, key, W, U, v):
    keys = key @ U.T  # the same for every query
    return torch.stack([torch.tanh(keys + W @ q) @ v for q in query])


def context_by_word(scores, states):
    rows = []
    for row in scores:
        exponentials = torch.exp(row - row.max())
        weights = exponentials / exponentials.sum()
        rows.append(sum(weight * state for weight, state in zip(weights, states)))
    return torch.stack(rows)


def context_transposed_throughout(scores, states):
    return (states.T @ torch.softmax(scores.T, dim=0)).T


# ---------------------------------------------------------------- wrong answers


def parts(x, hidden, input_weight, hidden_weight, bias):
    return (x @ input_weight.T + hidden @ hidden_weight.T + bias).chunk(4, dim=1)


def lstm(step):
    """A step from the four parts, still without sigmoid and tanh, the hidden state and the cell."""

    def lstm_cell(x, hidden, cell, input_weight, hidden_weight, bias):
        return step(*parts(x, hidden, input_weight, hidden_weight, bias), hidden, cell)

    return lstm_cell


def finish(o, c):
    return o.sigmoid() * c.tanh(), c


def gates_ifog(i, f, o, g, h, c):
    return finish(o, f.sigmoid() * c + i.sigmoid() * g.tanh())


def gates_figo(f, i, g, o, h, c):
    return finish(o, f.sigmoid() * c + i.sigmoid() * g.tanh())


def gates_gifo(g, i, f, o, h, c):
    return finish(o, f.sigmoid() * c + i.sigmoid() * g.tanh())


def by_view(x, hidden, cell, input_weight, hidden_weight, bias):
    z = (x @ input_weight.T + hidden @ hidden_weight.T + bias).view(len(x), -1, 4)
    i, f, g, o = z.unbind(-1)
    return finish(o, f.sigmoid() * cell + i.sigmoid() * g.tanh())


def sigmoid_first(x, hidden, cell, input_weight, hidden_weight, bias):
    i, f, g, o = torch.sigmoid(x @ input_weight.T + hidden @ hidden_weight.T + bias).chunk(4, dim=1)
    cell = f * cell + i * torch.tanh(g)
    return o * torch.tanh(cell), cell


def old_cell(i, f, g, o, h, c):
    new = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), new


def squashed(i, f, g, o, h, c):
    c = torch.tanh(f.sigmoid() * c + i.sigmoid() * g.tanh())
    return o.sigmoid() * c, c


def the_same_twice(i, f, g, o, h, c):
    hidden, _ = finish(o, f.sigmoid() * c + i.sigmoid() * g.tanh())
    return hidden, hidden


def by_columns(x, hidden, cell, input_weight, hidden_weight, bias):
    i, f, g, o = (input_weight @ x.T + hidden_weight @ hidden.T + bias[:, None]).chunk(4)
    return finish(o, f.sigmoid() * cell + i.sigmoid() * g.tanh())


def cut_by_width_of_x(x, hidden, cell, input_weight, hidden_weight, bias):
    d = x.size(1)
    z = F.linear(x, input_weight, bias) + F.linear(hidden, hidden_weight)
    i, f, g, o = z[:, :d], z[:, d : 2 * d], z[:, 2 * d : 3 * d], z[:, 3 * d : 4 * d]
    return finish(o, torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g))


def columns_and_bias_across(x, hidden, cell, input_weight, hidden_weight, bias):
    i, f, g, o = torch.chunk(input_weight @ x.T + hidden_weight @ hidden.T + bias, 4, dim=1)
    return finish(o, f.sigmoid() * cell + i.sigmoid() * g.tanh())


def columns_and_chunk_alone(x, hidden, cell, input_weight, hidden_weight, bias):
    i, f, g, o = (input_weight @ x.T + hidden_weight @ hidden.T + bias).chunk(4)
    return finish(o, f.sigmoid() * cell + i.sigmoid() * g.tanh())


def cut_between_sentences(x, hidden, cell, input_weight, hidden_weight, bias):
    i, f, g, o = torch.chunk(x @ input_weight.T + hidden @ hidden_weight.T + bias, 4)
    return finish(o, f.sigmoid() * cell + i.sigmoid() * g.tanh())


def scores_in_lists(query, key, W, U, v):
    return [[(v @ torch.tanh(W @ q + U @ k)).item() for k in key] for q in query]


def scores_in_lists_of_tensors(query, key, W, U, v):
    rows = []
    for q in query:
        rows.append([])
        for k in key:
            rows[-1].append(torch.dot(v, torch.tanh(W @ q + U @ k)))
    return rows


def rows_in_a_list(query, key, W, U, v):
    return [torch.tanh(W @ q + key @ U.T) @ v for q in query]


def sums(query, key, W, U):
    return (query @ W.T).unsqueeze(1) + (key @ U.T).unsqueeze(0)


RIGHT = {
    "lstm_cell": [lstm_cell_by_torch, lstm_cell_by_slices, lstm_cell_by_unit, lstm_cell_by_one_matrix],
    "additive_score": [
        additive_score_by_pair,
        additive_score_by_einsum,
        additive_score_keys_first,
        additive_score_by_query,
    ],
    "context_vectors": [
        context_by_word,
        context_transposed_throughout,
        lambda scores, states: torch.einsum("ts,sd->td", F.softmax(scores, dim=1), states),
        lambda scores, states: (scores.softmax(-1)[:, :, None] * states).sum(1),
        lambda scores, states: scores.exp() / scores.exp().sum(1)[:, None] @ states,
        lambda scores, states: (scores - scores.logsumexp(-1, keepdim=True)).exp() @ states,
    ],
}
WRONG = {
    "lstm_cell": {
        "gates-in-another-order": [lstm(gates_ifog)],
        "forget-gate-first": [lstm(gates_figo)],
        "candidate-first": [lstm(gates_gifo)],
        "order-forget-input-output": [
            lstm(lambda f, i, o, g, h, c: finish(o, f.sigmoid() * c + i.sigmoid() * g.tanh()))
        ],
        "gates-interleaved": [by_view],
        "cut-along-the-batch": [cut_between_sentences],
        "cut-by-d_in": [cut_by_width_of_x],
        "parts-transposed": [by_columns],
        "weights-times-x": [columns_and_bias_across],
        ("cut-along-the-batch", "weights-times-x"): [columns_and_chunk_alone],
        "candidate-with-both": [sigmoid_first],
        "candidate-with-sigmoid": [
            lstm(lambda i, f, g, o, h, c: finish(o, f.sigmoid() * c + i.sigmoid() * g.sigmoid()))
        ],
        "gates-with-tanh": [
            lstm(lambda i, f, g, o, h, c: ((o.tanh() * (n := f.tanh() * c + i.tanh() * g.tanh()).tanh()), n))
        ],
        "gates-without-sigmoid": [lstm(lambda i, f, g, o, h, c: (o * (n := f * c + i * g.tanh()).tanh(), n))],
        "candidate-without-tanh": [lstm(lambda i, f, g, o, h, c: finish(o, f.sigmoid() * c + i.sigmoid() * g))],
        "cell-shown-without-tanh": [
            lstm(lambda i, f, g, o, h, c: (o.sigmoid() * (n := f.sigmoid() * c + i.sigmoid() * g.tanh()), n))
        ],
        "cell-squashed": [lstm(squashed)],
        "cell-replaced": [lstm(lambda i, f, g, o, h, c: finish(o, i.sigmoid() * g.tanh()))],
        "nothing-forgotten": [lstm(lambda i, f, g, o, h, c: finish(o, c + i.sigmoid() * g.tanh()))],
        "forget-gate-inverted": [
            lstm(lambda i, f, g, o, h, c: finish(o, (-f).sigmoid() * c + i.sigmoid() * g.tanh())),
        ],
        "everything-written": [lstm(lambda i, f, g, o, h, c: finish(o, f.sigmoid() * c + g.tanh()))],
        "input-gate-from-forget-gate": [lstm(lambda i, f, g, o, h, c: finish(o, torch.lerp(g.tanh(), c, f.sigmoid())))],
        "everything-shown": [
            lstm(lambda i, f, g, o, h, c: ((n := f.sigmoid() * c + i.sigmoid() * g.tanh()).tanh(), n)),
        ],
        "old-cell-shown": [lstm(old_cell)],
        "old-cell-returned": [lambda *given: (lstm_cell_by_torch(*given)[0], given[2])],
        "bias-twice": [
            lambda x, h, c, wi, wh, b: lstm_cell_by_torch(x, h, c, wi, wh, b + b),
        ],
        "hidden-kept-for-cell": [lstm(lambda i, f, g, o, h, c: finish(o, f.sigmoid() * h + i.sigmoid() * g.tanh()))],
        "hidden-ignored": [
            lambda x, h, c, wi, wh, b: lstm_cell_by_slices(x, torch.zeros_like(h), c, wi, wh, b),
        ],
        "input-ignored": [lambda x, h, c, wi, wh, b: lstm_cell_by_torch(torch.zeros_like(x), h, c, wi, wh, b)],
        "bias-missing": [lambda x, h, c, wi, wh, b: lstm_cell_by_torch(x, h, c, wi, wh, torch.zeros_like(b))],
        "cell-in-the-gates": [lambda x, h, c, wi, wh, b: lstm_cell_by_slices(x, c, c, wi, wh, b)],
        "hidden-and-cell-swapped": [lambda *given: lstm_cell_by_torch(*given)[::-1]],
        "cell-not-returned": [lambda *given: lstm_cell_by_slices(*given)[0]],
        "hidden-returned-twice": [lstm(the_same_twice)],
        ("everything-written", "nothing-forgotten"): [lstm(lambda i, f, g, o, h, c: finish(o, c + g.tanh()))],
        ("bias-missing", "hidden-and-cell-swapped"): [
            lambda x, h, c, wi, wh, b: lstm_cell_by_torch(x, h, c, wi, wh, 0 * b)[::-1]
        ],
    },
    "additive_score": {
        "no-tanh": [lambda q, k, W, U, v: sums(q, k, W, U) @ v],
        "sigmoid-for-tanh": [lambda q, k, W, U, v: F.sigmoid(sums(q, k, W, U)) @ v],
        "relu-for-tanh": [lambda q, k, W, U, v: F.relu(sums(q, k, W, U)) @ v],
        "tanh-of-each": [lambda q, k, W, U, v: ((q @ W.T).tanh() @ v)[:, None] + (k @ U.T).tanh() @ v],
        "multiplied-not-added": [lambda q, k, W, U, v: torch.tanh((q @ W.T)[:, None] * (k @ U.T)[None]) @ v],
        "multiplicative-score": [lambda q, k, W, U, v: torch.einsum("td,ed,ef,sf->ts", q, W, U, k)],
        "v-missing": [lambda q, k, W, U, v: torch.tanh(sums(q, k, W, U)).sum(dim=2)],
        "v-inside-tanh": [lambda q, k, W, U, v: torch.tanh(((q @ W.T) @ v)[:, None] + (k @ U.T) @ v)],
        "v-on-the-sum": [lambda q, k, W, U, v: torch.tanh(v * sums(q, k, W, U)).sum(-1)],
        "not-summed": [lambda q, k, W, U, v: v * torch.tanh(sums(q, k, W, U))],
        "averaged-not-summed": [lambda q, k, W, U, v: (sums(q, k, W, U).tanh() * v).mean(2)],
        "matrices-missing": [lambda q, k, W, U, v: torch.tanh(q[:, None] + k[None]) @ v],
        "flat": [lambda q, k, W, U, v: torch.stack([torch.tanh(W @ a + U @ b) @ v for a in q for b in k])],
        "list-of-lists": [scores_in_lists, scores_in_lists_of_tensors],
        "list-of-rows": [rows_in_a_list],
        "W-and-U-swapped": [lambda q, k, W, U, v: additive_score_by_pair(q, k, U, W, v)],
        "one-matrix-for-both": [lambda q, k, W, U, v: additive_score_by_einsum(q, k, W, W, v)],
        "U-for-both": [lambda q, k, W, U, v: additive_score_by_pair(q, k, U, U, v)],
        "W-not-transposed": [lambda q, k, W, U, v: torch.tanh((q @ W)[:, None] + k @ U.T) @ v],
        "U-not-transposed": [lambda q, k, W, U, v: torch.tanh((q @ W.T)[:, None] + k @ U) @ v],
        "W-times-the-queries": [lambda q, k, W, U, v: torch.tanh((W @ q)[:, None] + k @ U.T) @ v],
        "U-times-the-keys": [lambda q, k, W, U, v: torch.tanh((q @ W.T)[:, None] + U @ k) @ v],
        ("W-times-the-queries", "U-times-the-keys"): [lambda q, k, W, U, v: torch.tanh((W @ q)[:, None] + U @ k) @ v],
        "query-ignored": [lambda q, k, W, U, v: (torch.tanh(k @ U.T) @ v).repeat(len(q), 1)],
        "keys-ignored": [lambda q, k, W, U, v: (torch.tanh(q @ W.T) @ v)[:, None].repeat(1, len(k))],
        "pairs-in-step": [lambda q, k, W, U, v: torch.tanh(q @ W.T + k @ U.T) @ v],
        "transposed": [lambda q, k, W, U, v: torch.tanh((k @ U.T)[:, None] + q @ W.T) @ v],
        "softmax-included": [lambda q, k, W, U, v: F.softmax(sums(q, k, W, U).tanh() @ v, dim=1)],
        "scaled-by-the-root": [lambda q, k, W, U, v: sums(q, k, W, U).tanh() @ v * v.numel() ** -0.5],
        ("no-tanh", "v-missing"): [lambda q, k, W, U, v: sums(q, k, W, U).sum(-1)],
        ("W-not-transposed", "U-not-transposed"): [lambda q, k, W, U, v: torch.tanh((q @ W)[:, None] + k @ U) @ v],
    },
    "context_vectors": {
        "no-softmax": [lambda scores, states: scores @ states],
        "softmax-over-queries": [lambda scores, states: F.softmax(scores, 0) @ states],
        "softmax-at-the-end": [lambda scores, states: F.softmax(scores @ states, dim=1)],
        "softmax-over-everything": [
            lambda scores, states: F.softmax(scores.flatten(), 0).reshape(scores.shape) @ states
        ],
        "divided-by-the-sum": [lambda scores, states: scores @ states / scores.sum(1, keepdim=True)],
        "exponentials-not-divided": [lambda scores, states: torch.exp(scores) @ states],
        "sum-without-keepdim": [
            lambda scores, states: scores.exp() / scores.exp().sum(-1) @ states,
            lambda scores, states: torch.exp(scores) / torch.sum(torch.exp(scores), dim=1) @ states,
        ],
        "sigmoid-for-softmax": [lambda scores, states: torch.sigmoid(scores) @ states],
        "log-softmax": [lambda scores, states: F.log_softmax(scores, dim=-1) @ states],
        "best-state-only": [
            lambda scores, states: states[scores.argmax(1)],
            lambda scores, states: F.one_hot(scores.argmax(-1), len(states)).double() @ states,
        ],
        "plain-mean": [lambda scores, states: torch.stack([states.mean(0) for _ in scores])],
        "scaled-by-the-root": [lambda scores, states: F.softmax(scores / states.size(1) ** 0.5, -1) @ states],
        "divided-by-the-length": [lambda scores, states: (scores.softmax(1)[..., None] * states).mean(1)],
        "softmax-twice": [lambda scores, states: F.softmax(F.softmax(scores, -1), -1) @ states],
        "weights-returned": [lambda scores, states: F.softmax(scores, dim=1)],
        "transposed": [lambda scores, states: states.T @ scores.softmax(-1).T],
        "weights-transposed": [lambda scores, states: scores.softmax(-1).T @ states],
        ("softmax-over-queries", "weights-transposed"): [lambda scores, states: scores.T.softmax(-1) @ states],
    },
}
UNKNOWN = {
    "lstm_cell": [
        lstm(lambda i, f, g, o, h, c: finish(o, f.sigmoid() * c - i.sigmoid() * g.tanh())),
        lstm(lambda i, f, g, o, h, c: finish(o, (f.sigmoid() + i.sigmoid()) * c * g.tanh())),
        lambda x, h, c, wi, wh, b: (torch.tanh(h), torch.tanh(c)),
        lstm(lambda i, f, g, o, h, c: (o.softmax(-1) * c, c)),
    ],
    "additive_score": [
        lambda q, k, W, U, v: -(sums(q, k, W, U).tanh() @ v),
        lambda q, k, W, U, v: torch.tanh((q @ W.T)[:, None] - k @ U.T) @ v,
        lambda q, k, W, U, v: torch.ones(len(q), len(k)),
        lambda q, k, W, U, v: sums(q, k, W, U).sin() @ v,
    ],
    "context_vectors": [
        lambda scores, states: (-scores).softmax(-1) @ states,
        lambda scores, states: torch.zeros(len(scores), states.shape[1]),
        lambda scores, states: (2 * scores).softmax(-1) @ states,
        lambda scores, states: scores.softmax(-1) @ states.flip(0),
    ],
}


def lstm_cells(seed: int) -> list[tuple]:
    def case(batch: int, d_in: int, d_hidden: int) -> tuple:
        sizes = ((batch, d_in), (batch, d_hidden), (batch, d_hidden), (4 * d_hidden, d_in), (4 * d_hidden, d_hidden))
        return *(gaussian(*size, seed=seed + k) for k, size in enumerate(sizes)), gaussian(4 * d_hidden, seed=seed + 5)

    return [case(2, 5, 3), case(4, 4, 4), case(1, 2, 6)]


def scores_of_2014(seed: int) -> list[tuple]:
    def case(target: int, source: int, d_query: int, d_key: int, d_score: int) -> tuple:
        sizes = (target, d_query), (source, d_key), (d_score, d_query), (d_score, d_key), (d_score,)
        return tuple(gaussian(*size, seed=seed + k) for k, size in enumerate(sizes))

    return [case(3, 5, 2, 4, 7), case(4, 4, 4, 4, 4), case(2, 6, 5, 5, 5)]


FRESH = {
    "lstm_cell": lstm_cells,
    "additive_score": scores_of_2014,
    "context_vectors": lambda seed: [
        (gaussian(target, source, seed=seed), gaussian(source, d, seed=seed + 1))
        for target, source, d in ((2, 5, 3), (4, 4, 4), (5, 2, 4))
    ],
}

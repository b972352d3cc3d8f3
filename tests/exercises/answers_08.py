"""Lesson 08: right and wrong answers as learners write them, and inputs that no check knows."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from transformer_lab.exercises.lesson_02 import gaussian
from transformer_lab.exercises.lesson_08 import Adder, scaled_norm, tokens
from transformer_lab.generation import generate
from transformer_lab.gpt import GPT, GPTConfig

# ---------------------------------------------------------------- right answers, written otherwise


def embed_loop(ids, token_table, position_table):
    out = torch.zeros(*ids.shape, token_table.shape[1], dtype=token_table.dtype)
    for b, sentence in enumerate(ids):
        for position, token in enumerate(sentence):
            out[b, position] = token_table[token] + position_table[position]
    return out


def embed_one_hot(ids, token_table, position_table):
    one_hot = F.one_hot(ids, len(token_table)).to(token_table.dtype)
    return torch.einsum("btv,vd->btd", one_hot, token_table) + position_table[torch.arange(ids.shape[1])]


def embed_functional(ids, token_table, position_table):
    batch, seq = ids.shape
    places = torch.arange(seq).expand(batch, seq)
    return F.embedding(ids, token_table) + F.embedding(places, position_table)


def logits_einsum(x, blocks, final_norm, token_table):
    return torch.einsum("btd,vd->btv", final_norm(nn.Sequential(*blocks)(x)), token_table)


def logits_linear(x, blocks, final_norm, token_table):
    for i in range(len(blocks)):
        x = blocks[i](x)
    return F.linear(final_norm(x), token_table)


def logits_token_by_token(x, blocks, final_norm, token_table):
    for block in blocks:
        x = block(x)
    x = final_norm(x)
    return torch.stack([(x * row).sum(-1) for row in token_table], dim=-1)


def loss_loop(logits, targets):
    total, n = 0.0, 0
    for b in range(targets.shape[0]):
        for t in range(targets.shape[1]):
            total -= F.log_softmax(logits[b, t], dim=0)[targets[b, t]]
            n += 1
    return total / n


def loss_one_hot(logits, targets):
    return -(logits.log_softmax(-1) * F.one_hot(targets, logits.shape[-1])).sum(-1).mean()


def loss_logsumexp(logits, targets):
    return (logits.logsumexp(-1) - logits.gather(-1, targets[..., None])[..., 0]).mean()


def greedy_by_generate(model, ids, n_tokens, context_length):
    return generate(model, ids, n_tokens, temperature=0.0)  # the model's config knows its context


@torch.no_grad()
def greedy_on_a_copy(model, ids, n_tokens, context_length):
    sleeping = copy.deepcopy(model).eval()
    for _ in range(n_tokens):
        start = max(0, ids.shape[1] - context_length)
        probabilities = sleeping(ids[:, start:])[:, -1, :].softmax(dim=-1)
        ids = torch.hstack([ids, probabilities.max(dim=-1).indices.unsqueeze(1)])
    return ids


def greedy_by_rows(model, ids, n_tokens, context_length):
    modes = {part: part.training for part in model.modules()}
    model.train(False)
    rows = []
    for row in ids.tolist():
        while len(row) < ids.shape[1] + n_tokens:
            logits = model(torch.tensor([row[-context_length:]]))
            row.append(logits[0][-1].argmax().item())
        rows.append(row)
    for part, mode in modes.items():
        part.training = mode
    return torch.tensor(rows)


def greedy_recursive(model, ids, n_tokens, context_length):
    if n_tokens == 0:
        return ids
    was_training = model.training
    next_ids = model.eval()(ids[:, -context_length:])[:, -1].topk(1).indices
    model.train(was_training)
    return greedy_recursive(model, torch.cat((ids, next_ids), 1), n_tokens - 1, context_length)


def parameters_built(vocab_size, context_length, d_model, n_layers):
    with torch.device("meta"):
        one, two = (GPT(GPTConfig(vocab_size, context_length, d_model, n, n_heads=1)).parameter_count() for n in (1, 2))
    return one["total"] + (n_layers - 1) * (two["total"] - one["total"])


parameters_built(1, 1, 1, 1)  # here, since torch's first use of this device takes longer than a check may


def parameters_by_matrix(V, C, d, n):
    linear = lambda rows, columns: rows * columns + columns  # noqa: E731
    block = 4 * linear(d, d) + linear(d, 4 * d) + linear(4 * d, d) + 4 * d
    return V * d + C * d + sum(block for _ in range(n)) + 2 * d


# ---------------------------------------------------------------- wrong answers


def through_blocks(x, blocks):
    for block in blocks:
        x = block(x)
    return x


def after_blocks(finish):
    """A gpt_logits that is right up to the last block."""
    return lambda x, blocks, norm, table: finish(through_blocks(x, blocks), norm, table)


def right_logits(x, blocks, norm, table):
    return norm(through_blocks(x, blocks)) @ table.T


def blocks_unchained(x, blocks, final_norm, token_table):
    out = x
    for block in blocks:
        out = block(x)
    return final_norm(out) @ token_table.T


def norm_in_the_loop(x, blocks, final_norm, token_table):
    for block in blocks:
        x = block(x)
        x = final_norm(x)
    return x @ token_table.T


def norm_before_each(x, blocks, final_norm, token_table):
    for block in blocks:
        x = block(final_norm(x))
    return final_norm(x) @ token_table.T


def return_in_the_loop(x, blocks, final_norm, token_table):
    for block in blocks:
        x = block(x)
        return final_norm(x) @ token_table.T


def residual_again(x, blocks, final_norm, token_table):
    for block in blocks:
        x = x + block(x)
    return final_norm(x) @ token_table.T


def picked(numbers, targets):
    return numbers.gather(-1, targets[..., None])


def log_p(logits, targets):
    return picked(logits.log_softmax(-1), targets)


def overflowing(logits, targets):
    exponentials = logits.exp()
    return -picked(exponentials / exponentials.sum(-1, keepdim=True), targets).log().mean()


class Writer:
    """A generate_greedy with one thing done otherwise: give the step, and what is around it."""

    def __init__(self, step=None, before=None, after=None, times=lambda n: n, result=lambda ids, prompt: ids):
        self.step, self.times, self.result = step or right_step, times, result
        self.before = before or (lambda model: model.eval())
        self.after = after or (lambda model, was_training: model.train(was_training))

    def __call__(self, model, ids, n_tokens, context_length):
        prompt, was_training = ids, model.training
        self.before(model)
        for _ in range(self.times(n_tokens)):
            ids = self.step(model, ids, context_length)
        self.after(model, was_training)
        return self.result(ids, prompt)


def append(ids, next_ids):
    return torch.cat([ids, next_ids], dim=1)


def right_step(model, ids, context_length):
    return append(ids, model(ids[:, -context_length:])[:, -1].argmax(-1, keepdim=True))


def on_window(window):
    return lambda model, ids, context: append(ids, model(window(ids, context))[:, -1].argmax(-1, keepdim=True))


def choosing(choose):
    """(batch, seq, vocab) → (batch, 1)"""
    return lambda model, ids, context: append(ids, choose(model(ids[:, -context:])))


def nothing(*arguments):
    pass


def only_the_flag(model):
    model.training = False


def mode_back_in_the_loop(model, ids, n_tokens, context_length):
    training = model.training
    model.eval()
    for _ in range(n_tokens):
        ids = right_step(model, ids, context_length)
        model.train(training)
    return ids


def asks_about_the_prompt(model, ids, n_tokens, context_length):
    training = model.training
    model.eval()
    out = ids
    for _ in range(n_tokens):
        next_ids = model(ids[:, -context_length:])[:, -1].argmax(-1)
        out = torch.cat([out, next_ids[:, None]], dim=1)
    model.train(training)
    return out


def crops_for_good(model, ids, n_tokens, context_length):
    training = model.training
    model.eval()
    for _ in range(n_tokens):
        ids = ids[:, -context_length:]
        ids = append(ids, model(ids)[:, -1].argmax(-1, keepdim=True))
    model.train(training)
    return ids


def returns_in_the_loop(model, ids, n_tokens, context_length):
    training = model.training
    model.eval()
    for _ in range(n_tokens):
        ids = right_step(model, ids, context_length)
        return ids
    model.train(training)


def crops_the_prompt(model, ids, n_tokens, context_length):
    return Writer()(model, ids[:, -context_length:], n_tokens, context_length)


def in_all(model, ids, n_tokens, context_length):
    training = model.training
    model.eval()
    while ids.shape[1] < n_tokens:
        ids = right_step(model, ids, context_length)
    model.train(training)
    return ids


def until_full(model, ids, n_tokens, context_length):
    training = model.training
    model.eval()
    for _ in range(n_tokens):
        if ids.shape[1] >= context_length:
            break
        ids = right_step(model, ids, context_length)
    model.train(training)
    return ids


def in_one_pass(model, ids, n_tokens, context_length):
    training = model.training
    model.eval()
    predictions = model(ids[:, -context_length:]).argmax(-1)
    model.train(training)
    return append(ids, predictions.repeat(1, n_tokens)[:, :n_tokens])


def count(vocab=1, positions=1, square=12, linear=13, final=2):
    """A gpt_parameters with other numbers of each kind of part."""
    return lambda V, C, d, n: (vocab * V + positions * C) * d + n * (square * d**2 + linear * d) + final * d


def rows(ids, position_table):
    return position_table[: ids.shape[1]].expand(len(ids), -1, -1)


RIGHT = {
    "embed": [embed_loop, embed_one_hot, embed_functional],
    "gpt_logits": [logits_einsum, logits_linear, logits_token_by_token],
    "shift_targets": [
        lambda ids: (ids[:, : ids.shape[1] - 1], ids.roll(-1, 1)[:, :-1]),
        lambda ids: [ids.narrow(1, 0, ids.shape[1] - 1), ids.narrow(1, 1, ids.shape[1] - 1)],
        lambda ids: (torch.stack([row[:-1] for row in ids]), torch.stack([row[1:] for row in ids])),
    ],
    "next_token_loss": [
        loss_loop,
        loss_one_hot,
        loss_logsumexp,
        lambda z, y: -log_p(z, y).mean(),
        lambda z, y: F.cross_entropy(z.transpose(1, 2), y),
        lambda z, y: F.nll_loss(z.reshape(-1, z.shape[-1]).log_softmax(1), y.reshape(-1)),
    ],
    "generate_greedy": [greedy_by_generate, greedy_on_a_copy, greedy_by_rows, greedy_recursive, Writer().__call__],
    "gpt_parameters": [
        parameters_built,
        parameters_by_matrix,
        lambda V, C, d, n: (V + C) * d + n * (12 * d**2 + 13 * d) + 2 * d,
        lambda V, C, d, n: d * (V + C + 2 + n * (12 * d + 13)),
    ],
}
WRONG = {
    "embed": {
        "ids-through-linear": [
            lambda ids, tokens, positions: ids[..., None] * tokens[0] + rows(ids, positions),
            lambda ids, tokens, positions: ids[..., None].double() @ tokens[:1] + positions[: ids.shape[1]],
        ],
        "pe-overwrites-input": [lambda ids, tokens, positions: rows(ids, positions)],
        "positions-alone": [lambda ids, tokens, positions: positions[: ids.shape[1]]],
        "positions-missing": [lambda ids, tokens, positions: tokens[ids], lambda i, t, p: F.embedding(i, t)],
        "pe-off-by-one": [
            lambda ids, tokens, positions: tokens[ids] + positions[1 : 1 + ids.shape[1]],
            lambda ids, tokens, positions: tokens[ids] + positions[torch.arange(1, ids.shape[1] + 1)],
        ],
        "pe-concatenated-input": [lambda ids, tokens, positions: torch.cat([tokens[ids], rows(ids, positions)], 1)],
        "positions-beside-tokens": [lambda ids, tokens, positions: torch.cat([tokens[ids], rows(ids, positions)], -1)],
        "multiplied-not-added": [lambda ids, tokens, positions: tokens[ids] * positions[: ids.shape[1]]],
        "positions-by-id": [lambda ids, tokens, positions: tokens[ids] + positions[ids]],
        "positions-by-sentence": [
            lambda ids, tokens, positions: tokens[ids] + positions[: len(ids)],
            lambda ids, tokens, positions: tokens[ids] + positions[torch.arange(len(ids))],
        ],
        "whole-context-added": [lambda ids, tokens, positions: tokens[ids] + positions],
        "positions-from-the-end": [lambda ids, tokens, positions: tokens[ids] + positions[-ids.shape[1] :]],
        "first-position-for-all": [lambda ids, tokens, positions: tokens[ids] + positions[0]],
        "last-position-for-all": [lambda ids, tokens, positions: tokens[ids] + positions[ids.shape[1] - 1]],
        "colon-forgotten": [lambda ids, tokens, positions: tokens[ids] + positions[ids.shape[1]]],
        "tables-swapped": [lambda ids, tokens, positions: positions[ids] + tokens[: ids.shape[1]]],
        "embedding-scaled": [
            lambda ids, tokens, positions: tokens[ids] * tokens.shape[1] ** 0.5 + positions[: ids.shape[1]]
        ],
        ("ids-through-linear", "positions-missing"): [lambda ids, tokens, positions: ids[..., None] * tokens[0]],
        ("embedding-scaled", "positions-missing"): [lambda i, tokens, p: tokens[i] * math.sqrt(tokens.shape[-1])],
        ("ids-through-linear", "pe-off-by-one"): [
            lambda ids, tokens, positions: ids[..., None] * tokens[0] + positions[1 : ids.shape[1] + 1]
        ],
    },
    "gpt_logits": {
        "gpt-without-head": [after_blocks(lambda x, norm, table: norm(x))],
        "softmax-before-cross-entropy": [lambda *given: right_logits(*given).softmax(-1)],
        "log-softmax-too-soon": [lambda *given: F.log_softmax(right_logits(*given), dim=2)],
        "final-norm-missing": [after_blocks(lambda x, norm, table: x @ table.T)],
        "final-norm-first": [lambda x, blocks, norm, table: through_blocks(norm(x), blocks) @ table.T],
        "norm-after-every-block": [norm_in_the_loop],
        "norm-before-every-block": [norm_before_each],
        "norm-after-head": [after_blocks(lambda x, norm, table: norm(x @ table.T))],
        "table-not-transposed": [after_blocks(lambda x, norm, table: norm(x) @ table)],
        "blocks-reversed": [lambda x, blocks, norm, table: right_logits(x, blocks[::-1], norm, table)],
        "blocks-unchained": [blocks_unchained],
        "blocks-skipped": [lambda x, blocks, norm, table: F.linear(norm(x), table)],
        "first-block-only": [lambda x, blocks, norm, table: norm(blocks[0](x) if blocks else x) @ table.T],
        "returned-inside-the-loop": [return_in_the_loop],
        "residual-twice": [residual_again],
        "last-position-only": [lambda *given: right_logits(*given)[:, -1:]],
        "last-position-without-its-axis": [after_blocks(lambda x, norm, table: norm(x[:, -1]) @ table.T)],
        "tokens-for-logits": [lambda *given: right_logits(*given).argmax(dim=-1)],
        "logits-scaled": [after_blocks(lambda x, norm, table: norm(x) @ table.T / table.shape[1] ** 0.5)],
        "vocabulary-not-last": [after_blocks(lambda x, norm, table: table @ norm(x).transpose(1, 2))],
        ("gpt-without-head", "final-norm-missing"): [lambda x, blocks, norm, table: through_blocks(x, blocks)],
        ("final-norm-missing", "softmax-before-cross-entropy"): [
            after_blocks(lambda x, norm, table: (x @ table.T).softmax(-1))
        ],
        ("gpt-without-head", "residual-twice"): [
            lambda x, blocks, norm, table: residual_again(x, blocks, norm, torch.eye(x.shape[-1], dtype=x.dtype))
        ],
    },
    "shift_targets": {
        "targets-not-shifted": [lambda ids: (ids, ids)],
        "targets-not-shifted-but-cut": [lambda ids: (ids[:, :-1], ids[:, :-1])],
        "targets-not-shifted-cut-in-front": [lambda ids: (ids[:, 1:], ids[:, 1:])],
        "targets-shifted-twice": [lambda ids: (ids[:, :-2], ids[:, 2:])],
        "targets-shifted-twice-and-uneven": [lambda ids: (ids[:, :-1], ids[:, 2:])],
        "shifted-backwards": [lambda ids: (ids[:, 1:], ids[:, :-1])],
        "input-not-cut": [lambda ids: (ids, ids[:, 1:])],
        "target-not-cut": [lambda ids: (ids[:, :-1], ids)],
        "last-target-wraps-around": [lambda ids: (ids, torch.cat([ids[:, 1:], ids[:, :1]], dim=1))],
        "last-target-ignored": [lambda ids: (ids, F.pad(ids, (0, 1), value=-100)[:, 1:])],
        "last-target-made-up": [lambda ids: (ids, torch.cat([ids[:, 1:], torch.zeros_like(ids[:, :1])], dim=1))],
        "shifted-along-the-batch": [lambda ids: (ids[:-1], ids[1:])],
        "next-id-for-next-token": [lambda ids: (ids[:, :-1], ids[:, :-1] + 1)],
        "last-token-only": [lambda ids: (ids[:, :-1], ids[:, -1][:, None])],
        "last-token-without-its-axis": [lambda ids: (ids[:, :-1], ids[:, -1])],
        "second-token-only": [lambda ids: (ids[:, :-1], ids[:, 1])],
        "targets-flattened": [lambda ids: (ids[:, :-1], ids[:, 1:].reshape(-1))],
        "inputs-missing": [lambda ids: ids[:, 1:]],
        ("input-not-cut", "last-token-without-its-axis"): [lambda ids: (ids, ids[:, -1])],
        ("input-not-cut", "targets-shifted-twice-and-uneven"): [lambda ids: (ids, ids[:, 2:])],
    },
    "next_token_loss": {
        "softmax-before-cross-entropy": [
            lambda z, y: loss_one_hot(z.softmax(-1), y),
            lambda z, y: F.cross_entropy(z.softmax(-1).view(-1, z.shape[-1]), y.view(-1)),
        ],
        "targets-shifted-twice": [lambda z, y: -log_p(z[:, :-1], y[:, 1:]).mean()],
        "targets-shifted-back": [lambda z, y: -log_p(z[:, 1:], y[:, :-1]).mean()],
        "sum-over-sentences": [lambda z, y: -log_p(z, y).sum() / y.shape[1]],
        "loss-overflows": [
            overflowing,
            lambda z, y: -picked(z.softmax(-1), y).log().mean(),
            lambda z, y: (z.exp().sum(-1).log() - picked(z, y)[..., 0]).mean(),
        ],
        "sign-flipped": [lambda z, y: log_p(z, y).mean()],
        "sum-not-mean": [lambda z, y: -log_p(z, y).sum()],
        "sum-over-positions": [lambda z, y: -log_p(z, y).sum() / len(y)],
        "divided-by-the-vocabulary": [
            lambda z, y: -(z.log_softmax(-1) * F.one_hot(y, z.shape[-1])).mean(),
            lambda z, y: -log_p(z, y).sum() / z.numel(),
        ],
        "mean-missing": [lambda z, y: -log_p(z, y)],
        "one-loss-a-position": [lambda z, y: -log_p(z, y).squeeze(-1)],
        "one-loss-a-sentence": [lambda z, y: -log_p(z, y).mean((1, 2))],
        "log-missing": [lambda z, y: -picked(z.softmax(-1), y).mean()],
        "one-minus-probability": [lambda z, y: 1 - picked(z.softmax(-1), y).mean()],
        "log-of-the-mean": [lambda z, y: -torch.log(picked(z.softmax(-1), y).mean())],
        "log-softmax-missing": [lambda z, y: -picked(z, y).mean()],
        "softmax-over-positions": [lambda z, y: -picked(z.log_softmax(1), y).mean()],
        "softmax-over-sentences": [lambda z, y: -picked(z.log_softmax(0), y).mean()],
        "vocabulary-not-second": [F.cross_entropy],
        "bits-not-nats": [lambda z, y: loss_one_hot(z, y) / torch.tensor(2.0).log()],
        "perplexity": [lambda z, y: loss_one_hot(z, y).exp()],
        "error-rate": [lambda z, y: 1 - (z.argmax(-1) == y).double().mean()],
        "targets-ignored": [lambda z, y: -(z.softmax(-1) * z.log_softmax(-1)).sum(-1).mean()],
        "last-position-only": [lambda z, y: -log_p(z[:, -1:], y[:, -1:]).mean()],
        ("sign-flipped", "mean-missing"): [log_p],
        ("loss-overflows", "bits-not-nats"): [lambda z, y: -picked(z.softmax(-1), y).log2().mean()],
        ("sign-flipped", "loss-overflows"): [lambda z, y: picked(z.softmax(-1), y).log().mean()],
        ("mean-missing", "log-softmax-missing"): [lambda z, y: -picked(z, y)],
    },
    "generate_greedy": {
        "train-mode-sampling": [Writer(before=nothing).__call__, Writer(before=only_the_flag).__call__],
        "mode-not-restored": [Writer(after=nothing).__call__],
        "mode-always-training": [Writer(after=lambda model, was: model.train()).__call__],
        "mode-restored-too-soon": [mode_back_in_the_loop],
        "sentences-cropped": [Writer(on_window(lambda ids, context: ids[-context:])).__call__],
        "every-position-appended": [Writer(choosing(lambda logits: logits.argmax(-1))).__call__],
        "prompt-cropped": [crops_the_prompt],
        "returned-inside-the-loop": [returns_in_the_loop],
        "only-last-token-fed": [Writer(on_window(lambda ids, context: ids[:, -1:])).__call__],
        "never-cropped": [Writer(on_window(lambda ids, context: ids)).__call__],
        "cropped-at-the-wrong-end": [Writer(on_window(lambda ids, context: ids[:, :context])).__call__],
        "window-one-short": [Writer(on_window(lambda ids, context: ids[:, -(context - 1) :])).__call__],
        "window-one-long": [Writer(on_window(lambda ids, context: ids[:, -(context + 1) :])).__call__],
        "never-reads-what-it-wrote": [asks_about_the_prompt],
        "first-position-used": [Writer(choosing(lambda logits: logits[:, :1].argmax(-1))).__call__],
        "argmax-over-sentences": [Writer(choosing(lambda logits: logits[:, -1].argmax(0)[None])).__call__],
        "one-sentence-only": [Writer(choosing(lambda logits: logits[:, -1].argmax()[None, None])).__call__],
        "first-sentence-for-all": [
            Writer(choosing(lambda logits: torch.full((len(logits), 1), logits[0, -1].argmax().item()))).__call__
        ],
        "unlikeliest-token": [Writer(choosing(lambda logits: (-logits[:, -1]).argmax(-1)[:, None])).__call__],
        "prompt-not-returned": [Writer(result=lambda ids, prompt: ids[:, prompt.shape[1] :]).__call__],
        "window-returned": [crops_for_good],
        "one-token-too-many": [Writer(times=lambda n: n + 1).__call__],
        "one-token-too-few": [Writer(times=lambda n: n - 1).__call__],
        "one-token-only": [Writer(times=lambda n: 1).__call__],
        "n-tokens-with-the-prompt": [in_all],
        "stops-at-the-context": [until_full],
        ("train-mode-sampling", "mode-not-restored"): [
            Writer(before=nothing, after=lambda model, was: model.eval()).__call__
        ],
        ("train-mode-sampling", "never-cropped"): [
            Writer(on_window(lambda ids, context: ids), before=nothing).__call__
        ],
        ("mode-not-restored", "prompt-not-returned"): [
            Writer(after=nothing, result=lambda ids, prompt: ids[:, prompt.shape[1] :]).__call__
        ],
        ("mode-always-training", "one-token-too-many"): [
            Writer(after=lambda model, was: model.train(), times=lambda n: n + 1).__call__
        ],
        ("train-mode-sampling", "only-last-token-fed"): [
            Writer(on_window(lambda ids, context: ids[:, -1:]), before=nothing).__call__
        ],
    },
    "gpt_parameters": {
        "head-not-tied": [count(vocab=2)],
        "head-bias-counted": [lambda V, C, d, n: count()(V, C, d, n) + V],
        "positions-missing": [count(positions=0)],
        "embedding-missing": [count(vocab=0)],
        "output-projection-missing": [count(square=11, linear=12)],
        "one-matrix-for-query-key-value": [count(square=10, linear=11)],
        "one-feed-forward-matrix": [count(square=8, linear=12)],
        "feed-forward-not-wider": [count(square=6, linear=10)],
        "three-biases-missing": [count(linear=10)],
        "biases-missing": [count(linear=2, final=1)],
        "linear-biases-missing": [count(linear=4)],
        "attention-biases-missing": [count(linear=9)],
        "feed-forward-biases-missing": [count(linear=8)],
        "norms-missing": [count(linear=9, final=0)],
        "norm-shifts-missing": [count(linear=11, final=1)],
        "one-norm-a-block": [count(linear=11)],
        "final-norm-missing": [count(final=0)],
        "only-the-leading-terms": [count(positions=0, linear=0, final=0)],
        "one-block": [lambda V, C, d, n: count()(V, C, d, 1)],
        "everything-in-every-block": [lambda V, C, d, n: n * count()(V, C, d, 1)],
        "cross-attention-counted": [count(square=16, linear=19)],
        ("head-not-tied", "positions-missing"): [count(vocab=2, positions=0)],
        ("positions-missing", "norms-missing"): [count(positions=0, linear=9, final=0)],
        ("linear-biases-missing", "final-norm-missing"): [count(linear=4, final=0)],
    },
}  # fmt: skip
UNKNOWN = {
    "embed": [
        lambda ids, tokens, positions: (tokens[ids] + positions[: ids.shape[1]]) / 2,
        lambda ids, tokens, positions: tokens[ids] - positions[: ids.shape[1]],
        lambda ids, tokens, positions: tokens[ids] + positions[: ids.shape[1]].flip(0),
        lambda ids, tokens, positions: F.layer_norm(tokens[ids] + positions[: ids.shape[1]], tokens.shape[1:]),
    ],
    "gpt_logits": [
        lambda *given: right_logits(*given).sigmoid(),
        lambda *given: right_logits(*given).flip(-1),
        lambda *given: right_logits(*given) - right_logits(*given).mean(-1, keepdim=True),
        after_blocks(lambda x, norm, table: norm(norm(x) + x) @ table.T),
    ],
    "shift_targets": [
        lambda ids: (ids[:, :-1], ids[:, 1:] - 1),
        lambda ids: (ids[:, ::2], ids[:, 1::2]),
        lambda ids: (ids[:, :-3], ids[:, 3:]),
        lambda ids: (ids.flip(1)[:, :-1], ids.flip(1)[:, 1:]),
    ],
    "next_token_loss": [
        lambda z, y: F.mse_loss(z.softmax(-1), F.one_hot(y, z.shape[-1]).double()),
        lambda z, y: -log_p(z, y).median(),
        lambda z, y: -log_p(z, y).max(),
        lambda z, y: loss_one_hot(2 * z, y),
    ],
    "generate_greedy": [
        in_one_pass,
        Writer(choosing(lambda logits: logits.argmax(dim=1)[:, -1:])).__call__,
        Writer(lambda m, ids, c: append(m(ids[:, -c:])[:, -1].argmax(-1, keepdim=True), ids)).__call__,
        Writer(choosing(lambda logits: logits[:, -1].topk(2).indices[:, 1:])).__call__,
        Writer(result=lambda ids, prompt: ids.flip(1)).__call__,
        Writer(on_window(lambda ids, context: ids[:, -context:].flip(1)[:, :-1])).__call__,
    ],
    "gpt_parameters": [
        count(square=13),
        lambda V, C, d, n: 4 * count()(V, C, d, n),
        lambda V, C, d, n: (V + C) * n + d,
    ],
}


# ---------------------------------------------------------------- inputs that no check knows


def fresh_tables(seed: int) -> list[tuple]:
    return [
        (tokens(9, 2, 6, seed=seed), gaussian(9, 5, seed=seed), gaussian(12, 5, seed=seed + 1)),
        (tokens(4, 5, 3, seed=seed), gaussian(4, 7, seed=seed), gaussian(3, 7, seed=seed + 1)),
        (tokens(6, 4, 4, seed=seed), gaussian(6, 3, seed=seed), gaussian(8, 3, seed=seed + 1)),
    ]


def fresh_stacks(seed: int) -> list[tuple]:
    def stack(blocks, d_model, vocab_size):
        x, table = gaussian(3, 4, d_model, seed=seed), gaussian(vocab_size, d_model, seed=seed + 1)
        return x, blocks, scaled_norm(d_model), table

    return [stack([nn.ELU(), nn.Threshold(0, 2), nn.Threshold(1, -1)], 6, 19), stack([nn.Softplus(), nn.SiLU()], 3, 3)]


def fresh_writers(seed: int) -> list[tuple]:
    return [
        (Adder(31, 5), tokens(31, 2, 7, seed=seed), 9, 5),
        (Adder(17, 3).eval(), tokens(17, 4, 2, seed=seed), 6, 3),
        (Adder(12, 4).eval(), tokens(12, 1, 3, seed=seed), 8, 4),
    ]


FRESH = {
    "embed": fresh_tables,
    "gpt_logits": fresh_stacks,
    "shift_targets": lambda seed: [(tokens(50, 2, 7, seed=seed),), (tokens(50, 5, 4, seed=seed),)],
    "next_token_loss": lambda seed: [
        (gaussian(2, 5, 7, seed=seed), tokens(7, 2, 5, seed=seed)),
        (3 * gaussian(4, 3, 3, seed=seed), tokens(3, 4, 3, seed=seed)),
        (1000 * gaussian(2, 3, 4, seed=seed), tokens(4, 2, 3, seed=seed)),
    ],
    "generate_greedy": fresh_writers,
    "gpt_parameters": lambda seed: [(seed, 30, 12, 3), (7, seed, 5, 4)],
}

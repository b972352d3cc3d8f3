"""Lesson 08's checks accept right answers written otherwise, and reject each known mistake."""

import pytest
import torch
from torch import nn

from transformer_lab.exercises import EXERCISES, lesson_08
from transformer_lab.exercises.checking import run
from transformer_lab.gpt import GPT, GPTConfig


def log_probabilities(logits):
    return logits - logits.logsumexp(-1, keepdim=True)


def embed_loop(ids, token_table, position_table):
    out = torch.zeros(*ids.shape, token_table.shape[1], dtype=token_table.dtype)
    for b, sentence in enumerate(ids):
        for position, token in enumerate(sentence):
            out[b, position] = token_table[token] + position_table[position]
    return out


def embed_one_hot(ids, token_table, position_table):
    one_hot = nn.functional.one_hot(ids, len(token_table)).to(token_table.dtype)
    return torch.einsum("btv,vd->btd", one_hot, token_table) + position_table[torch.arange(ids.shape[1])]


def logits_einsum(x, blocks, final_norm, token_table):
    return torch.einsum("btd,vd->btv", final_norm(nn.Sequential(*blocks)(x)), token_table)


def loss_loop(logits, targets):
    rows = zip(logits.flatten(0, 1), targets.flatten(), strict=True)
    losses = [-log_probabilities(row)[target] for row, target in rows]
    return sum(losses) / len(losses)


def loss_one_hot(logits, targets):
    return -(log_probabilities(logits) * nn.functional.one_hot(targets, logits.shape[-1])).sum(-1).mean()


def parameters_built(vocab_size, context_length, d_model, n_layers):
    with torch.device("meta"):
        return GPT(GPTConfig(vocab_size, context_length, d_model, n_layers, n_heads=1)).parameter_count()["total"]


RIGHT = {
    "embed": {"loop": embed_loop, "one-hot": embed_one_hot},
    "gpt_logits": {"einsum": logits_einsum},
    "shift_targets": {
        "roll": lambda ids: (ids[:, : ids.shape[1] - 1], ids.roll(-1, 1)[:, :-1]),
        "narrow, as a list": lambda ids: [ids.narrow(1, 0, ids.shape[1] - 1), ids.narrow(1, 1, ids.shape[1] - 1)],
    },
    "next_token_loss": {
        "loop": loss_loop,
        "one-hot": loss_one_hot,
        "gather": lambda logits, targets: -logits.log_softmax(-1).gather(-1, targets[..., None]).mean(),
    },
    "gpt_parameters": {"count what is built": parameters_built},
}


chained = lesson_08.gpt_logits


def block_by_block(x, blocks, final_norm, token_table):
    """The residual once more, around blocks that hold their own."""
    for block in blocks:
        x = x + block(x)
    return final_norm(x) @ token_table.T


def unchained(x, blocks, final_norm, token_table):
    y = x
    for block in blocks:
        y = block(x)
    return final_norm(y) @ token_table.T


def norm_after_head(x, blocks, final_norm, token_table):
    logits = chained(x, blocks, nn.Identity(), token_table)
    return nn.functional.layer_norm(logits, logits.shape[-1:])


def count(vocab=1, positions=1, square=12, linear=13, final=2):
    """A gpt_parameters with other numbers of each kind of part."""
    return lambda V, C, d, n: (vocab * V + positions * C) * d + n * (square * d**2 + linear * d) + final * d


WRONG = {
    "embed": {
        "pe-overwrites-input": lambda ids, tokens, positions: positions[: ids.shape[1]].expand(len(ids), -1, -1),
        "pe-off-by-one": lambda ids, tokens, positions: tokens[ids] + positions.roll(-1, 0)[: ids.shape[1]],
        "pe-concatenated-input": lambda ids, tokens, positions: torch.cat(
            [tokens[ids], positions[: ids.shape[1]].expand(len(ids), -1, -1)], dim=1
        ),
        "pe-concatenated-channels": lambda ids, tokens, positions: torch.cat(
            [tokens[ids], positions[: ids.shape[1]].expand(len(ids), -1, -1)], dim=-1
        ),
        "ids-through-linear": lambda ids, tokens, positions: ids[..., None] * tokens[0] + positions[: ids.shape[1]],
        "positions-missing": lambda ids, tokens, positions: tokens[ids],
        "whole-context-added": lambda ids, tokens, positions: tokens[ids] + positions,
        "positions-by-id": lambda ids, tokens, positions: tokens[ids] + positions[ids % len(positions)],
        "positions-by-sentence": lambda ids, tokens, positions: tokens[ids] + positions[: len(ids), None],
    },
    "gpt_logits": {
        "gpt-without-head": lambda x, blocks, norm, table: norm(nn.Sequential(*blocks)(x)),
        "softmax-before-cross-entropy": lambda *a: chained(*a).softmax(-1),
        "final-norm-missing": lambda x, blocks, norm, table: chained(x, blocks, nn.Identity(), table),
        "final-norm-first": lambda x, blocks, norm, table: chained(norm(x), blocks, nn.Identity(), table),
        "norm-after-head": norm_after_head,
        "table-not-transposed": lambda x, blocks, norm, table: norm(nn.Sequential(*blocks)(x)) @ table,
        "blocks-reversed": lambda x, blocks, norm, table: chained(x, blocks[::-1], norm, table),
        "blocks-unchained": unchained,
        "blocks-skipped": lambda x, blocks, norm, table: chained(x, [], norm, table),
        "residual-twice": block_by_block,
        "last-position-only": lambda *a: chained(*a)[:, -1:],
    },
    "shift_targets": {
        "targets-not-shifted": lambda ids: (ids, ids),
        "targets-not-shifted-but-cut": lambda ids: (ids[:, :-1], ids[:, :-1]),
        "targets-shifted-twice": lambda ids: (ids[:, :-2], ids[:, 2:]),
        "targets-shifted-twice-and-uneven": lambda ids: (ids[:, :-1], ids[:, 2:]),
        "shifted-backwards": lambda ids: (ids[:, 1:], ids[:, :-1]),
        "input-not-cut": lambda ids: (ids, ids[:, 1:]),
        "last-target-wraps-around": lambda ids: (ids, ids.roll(-1, 1)),
        "shifted-along-the-batch": lambda ids: (ids[:-1], ids[1:]),
        "next-id-for-next-token": lambda ids: (ids[:, :-1], ids[:, :-1] + 1),
    },
    "next_token_loss": {
        "softmax-before-cross-entropy": lambda z, y: loss_one_hot(z.softmax(-1), y),
        "targets-shifted-twice": lambda z, y: loss_one_hot(z[:, :-1], y[:, 1:]),
        "log-of-softmax": lambda z, y: -z.softmax(-1).log().gather(-1, y[..., None]).mean(),
        "exp-overflows": lambda z, y: (z.exp().sum(-1).log() - z.gather(-1, y[..., None])[..., 0]).mean(),
        "sign": lambda z, y: -loss_one_hot(z, y),
        "sum-for-mean": lambda z, y: loss_one_hot(z, y) * y.numel(),
        "sum-over-positions": lambda z, y: loss_one_hot(z, y) * y.shape[1],
        "one-loss-a-position": lambda z, y: -log_probabilities(z).gather(-1, y[..., None])[..., 0],
        "probability-for-its-logarithm": lambda z, y: 1 - z.softmax(-1).gather(-1, y[..., None]).mean(),
        "logits-for-log-probabilities": lambda z, y: -z.gather(-1, y[..., None]).mean(),
        "softmax-over-positions": lambda z, y: -z.log_softmax(1).gather(-1, y[..., None]).mean(),
        "bits": lambda z, y: loss_one_hot(z, y) / torch.tensor(2.0).log(),
        "argmax": lambda z, y: (z.argmax(-1) != y).double().mean(),
        "last-position-only": lambda z, y: loss_one_hot(z[:, -1:], y[:, -1:]),
    },
    "gpt_parameters": {
        "head-not-tied": count(vocab=2),
        "positions-missing": count(positions=0),
        "embedding-missing": count(vocab=0),
        "output-projection-missing": count(square=11, linear=12),
        "one-matrix-for-query-key-value": count(square=10, linear=11),
        "one-feed-forward-matrix": count(square=8, linear=12),
        "biases-missing": count(linear=2, final=1),
        "linear-biases-missing": count(linear=4),
        "norms-missing": count(linear=9, final=0),
        "one-norm-a-block": count(linear=11),
        "final-norm-missing": count(final=0),
        "only-the-leading-terms": count(positions=0, linear=0, final=0),
        "one-block": lambda V, C, d, n: lesson_08.gpt_parameters(V, C, d, 1),
    },
}  # fmt: skip


def named(answers):
    return [
        pytest.param(exercise, function, id=f"{exercise}-{name}")
        for exercise, group in answers.items()
        for name, function in group.items()
    ]


@pytest.mark.parametrize("exercise, function", named(RIGHT))
def test_a_right_answer_is_accepted(exercise, function):
    verdict = run(EXERCISES[exercise], function)
    assert verdict.right, verdict.text


@pytest.mark.parametrize("exercise, function", named(WRONG))
def test_a_wrong_answer_is_rejected(exercise, function):
    assert run(EXERCISES[exercise], function).right is False


@pytest.mark.parametrize(
    "exercise, mistake, shown",
    [
        ("embed", "positions-missing", "expected [[[13.0, 4.0], [23.0, 4.0]]]\nyours    [[[3.0, 4.0], [3.0, 4.0]]]"),
        ("gpt_logits", "blocks-skipped", "expected [[[1.0, 0.0, 1.0]]]\nyours    [[[1.0, -2.0, -1.0]]]"),
        ("next_token_loss", "targets-shifted-twice", "expected 0.49\nyours    0.693"),
    ],
)
def test_the_first_input_shows_numbers_to_check_by_hand(exercise, mistake, shown):
    assert shown in run(EXERCISES[exercise], WRONG[exercise][mistake]).text


@pytest.mark.parametrize("size", ["small", "medium", "large", "xl"])
def test_the_formula_counts_what_the_model_holds(size):
    c = GPTConfig.gpt2(size)
    counted = parameters_built(c.vocab_size, c.context_length, c.d_model, c.n_layers)
    assert lesson_08.gpt_parameters(c.vocab_size, c.context_length, c.d_model, c.n_layers) == counted

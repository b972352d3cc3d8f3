import math

import pytest
import torch

from transformer_lab.exercises import EXERCISES
from transformer_lab.exercises.checking import run


def windows_by_loop(ids, starts, context_length):
    pairs = [(ids[s : s + context_length], ids[s + 1 : s + 1 + context_length]) for s in starts.tolist()]
    return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])


def bigram_by_loop(ids, vocab_size):
    counts = torch.ones(vocab_size, vocab_size, dtype=torch.float64)
    for previous, following in zip(ids.tolist(), ids.tolist()[1:]):
        counts[previous, following] += 1
    return counts / counts.sum(-1, keepdim=True)


def schedule(step, config):
    if step < config.warmup_steps:
        return config.learning_rate / config.warmup_steps * (step + 1)
    angle = math.pi * (step - config.warmup_steps) / (config.steps - config.warmup_steps)
    share = 0.5 + 0.5 * math.cos(angle)
    return config.learning_rate * (share + (1 - share) * config.final_learning_rate)


def mean_by_product(losses, real):
    return (losses * real).sum() / real.sum()


RIGHT = {
    "windows_at": windows_by_loop,
    "bigram_probabilities": bigram_by_loop,
    "learning_rate": schedule,
    "mean_loss": mean_by_product,
}


def windows(first, second):
    def wrong(ids, starts, context_length):
        return tuple(
            torch.stack([ids[s + shift :][:context_length] for s in starts.tolist()]) for shift in (first, second)
        )

    return wrong


def counts_without_smoothing(ids, vocab_size):
    counts = bigram_by_loop(ids, vocab_size) * 0
    for previous, following in zip(ids.tolist(), ids.tolist()[1:]):
        counts[previous, following] += 1
    return counts / counts.sum(-1, keepdim=True)


def other_schedule(**changes):
    def wrong(step, config):
        rate = config.learning_rate
        if step < config.warmup_steps:
            return rate * (step + changes.get("first", 1)) / config.warmup_steps
        progress = (step - config.warmup_steps) / (config.steps - changes.get("before", config.warmup_steps))
        final = rate * config.final_learning_rate * changes.get("final", 1)
        return final + (rate - final) * changes.get("shape", lambda x: (1 + math.cos(math.pi * x)) / 2)(progress)

    return wrong


WRONG = {
    "targets-not-shifted": ("windows_at", windows(0, 0)),
    "targets-shifted-twice": ("windows_at", windows(0, 2)),
    "inputs and targets swapped": ("windows_at", windows(1, 0)),
    "no smoothing": ("bigram_probabilities", counts_without_smoothing),
    "transposed": ("bigram_probabilities", lambda ids, v: bigram_by_loop(ids.flip(0), v)),
    "columns sum to one": (
        "bigram_probabilities",
        lambda ids, v: (lambda p: p / p.sum(0, keepdim=True))(bigram_by_loop(ids, v)),
    ),
    "warm-up from zero": ("learning_rate", other_schedule(first=0)),
    "cosine over all steps": ("learning_rate", other_schedule(before=0)),
    "down to zero": ("learning_rate", other_schedule(final=0)),
    "straight line": ("learning_rate", other_schedule(shape=lambda x: 1 - x)),
    "loss-over-padding": ("mean_loss", lambda losses, real: losses.mean()),
    "padding in the count": ("mean_loss", lambda losses, real: (losses * real).mean()),
    "mean of the sentences' means": (
        "mean_loss",
        lambda losses, real: ((losses * real).sum(1) / real.sum(1)).mean(),
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_of_another_style_pass(name):
    assert run(EXERCISES[name], RIGHT[name]).right


@pytest.mark.parametrize("name, function", WRONG.values(), ids=WRONG)
def test_wrong_answers_fail(name, function):
    assert run(EXERCISES[name], function).right is False

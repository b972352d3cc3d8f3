"""Exercises of lesson 09, training a tiny GPT."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_lab.exercises.catalogue import Exercise
from transformer_lab.training import TrainingConfig, learning_rate


def windows_at(
    ids: Int[Tensor, "tokens"], starts: Int[Tensor, "batch"], context_length: int
) -> tuple[Int[Tensor, "batch context"], Int[Tensor, "batch context"]]:
    """Windows that begin at `starts`, and the same windows one token later, as their targets."""
    index = starts[:, None] + torch.arange(context_length)  # (batch, context)
    return ids[index], ids[index + 1]


def bigram_probabilities(ids: Int[Tensor, "tokens"], vocab_size: int) -> Float[Tensor, "previous next"]:
    """How often each token follows each other one, every count raised by one, as rows that sum to one."""
    counts = torch.ones(vocab_size, vocab_size, dtype=torch.float64)
    counts.index_put_((ids[:-1], ids[1:]), torch.ones(len(ids) - 1, dtype=torch.float64), accumulate=True)
    return counts / counts.sum(1, keepdim=True)


def mean_loss(losses: Float[Tensor, "batch seq"], real: Bool[Tensor, "batch seq"]) -> Float[Tensor, ""]:
    """The mean over the real tokens; what padding contributes is left out of the sum and of the count."""
    return losses[real].mean()


def _windows_probes() -> dict[str, tuple]:
    ids = torch.randint(50, (40,), generator=torch.Generator().manual_seed(0))
    return {
        "one window from the start": (torch.tensor([10, 11, 12, 13, 14]), torch.tensor([0]), 3),
        "one window from the middle": (torch.tensor([10, 11, 12, 13, 14]), torch.tensor([1]), 3),
        "three windows that overlap": (ids, torch.tensor([5, 0, 7]), 4),
        "a window that reaches the last token": (ids, torch.tensor([30]), 9),
    }


def _bigram_probes() -> dict[str, tuple]:
    ids = torch.randint(5, (60,), generator=torch.Generator().manual_seed(0))
    return {
        "two tokens, 0 1 0 1 0": (torch.tensor([0, 1, 0, 1, 0]), 2),
        "a token that never occurs": (torch.tensor([0, 0, 1]), 3),
        "random tokens": (ids, 7),
    }


def _learning_rate_probes() -> dict[str, tuple]:
    config = TrainingConfig(steps=100, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.1)
    steps = {"the first step": 0, "inside the warm-up": 4, "the last step of the warm-up": 9,
             "the peak": 10, "half way down": 55, "the last step": 99}  # fmt: skip
    other = TrainingConfig(steps=1000, warmup_steps=50, learning_rate=3e-3, final_learning_rate=0.02)
    return {name: (step, config) for name, step in steps.items()} | {"another schedule": (700, other)}


def _mean_loss_probes() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(3, 5, dtype=torch.float64, generator=generator)
    lengths = torch.tensor([5, 2, 3])
    return {
        "two tokens, padded to three": (torch.tensor([[1.0, 3.0, 8.0]]), torch.tensor([[True, True, False]])),
        "no padding": (losses, torch.ones(3, 5, dtype=torch.bool)),
        "three sentences of different lengths": (losses, torch.arange(5) < lengths[:, None]),
    }


EXERCISES = [
    Exercise(windows_at, _windows_probes),
    Exercise(bigram_probabilities, _bigram_probes),
    Exercise(learning_rate, _learning_rate_probes),
    Exercise(mean_loss, _mean_loss_probes),
]

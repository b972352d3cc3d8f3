"""Exercises of lesson 05."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from transformer_lab.blocks import layer_norm
from transformer_lab.exercises.catalogue import Exercise


def feed_forward(
    x: Float[Tensor, "batch seq d_model"],
    up: Float[Tensor, "d_ff d_model"],
    up_bias: Float[Tensor, "d_ff"],
    down: Float[Tensor, "d_model d_ff"],
    down_bias: Float[Tensor, "d_model"],
) -> Float[Tensor, "batch seq d_model"]:
    """Widen, ReLU, narrow, at every position. The weights lie as nn.Linear keeps them: (out, in)."""
    return F.linear(torch.relu(F.linear(x, up, up_bias)), down, down_bias)


def pre_norm_step(x: Float[Tensor, "batch seq d_model"], sublayer: Callable, norm: Callable) -> Tensor:
    """x + sublayer(norm(x)): the stream itself is never normalised."""
    return x + sublayer(norm(x))


def post_norm_step(x: Float[Tensor, "batch seq d_model"], sublayer: Callable, norm: Callable) -> Tensor:
    """norm(x + sublayer(x)): the sum is normalised."""
    return norm(x + sublayer(x))


def dropout(x: Float[Tensor, "..."], keep: Bool[Tensor, "..."], rate: float) -> Float[Tensor, "..."]:
    """Where keep is False, 0; elsewhere x / (1 − rate), so that the expected value is x."""
    return x * keep / (1 - rate)


# ---------------------------------------------------------------- probes


def _random(seed: int):
    """A function of sizes that draws from its own generator."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *sizes: torch.randn(*sizes, generator=generator, dtype=torch.float64)


def _tensor(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def feed_forward_probes() -> dict[str, tuple]:
    random = _random(0)
    fold = (_tensor([[1.0], [-1.0]]), _tensor([0.0, 0.0]), _tensor([[1.0, 1.0]]), _tensor([0.0]))  # |x|
    return {
        "one number, 2, through two hidden units": (_tensor([[[2.0]]]), *fold),
        "the same units, −3": (_tensor([[[-3.0]]]), *fold),
        "the same units with biases": (_tensor([[[2.0]]]), fold[0], _tensor([0.5, 1.0]), fold[2], _tensor([-4.0])),
        "2 × 3 tokens, d_model 4, d_ff 5": (random(2, 3, 4), random(5, 4), random(5), random(4, 5), random(4)),
        "d_ff = d_model": (random(1, 2, 3), random(3, 3), random(3), random(3, 3), random(3)),
    }


def layer_norm_probes() -> dict[str, tuple]:
    random = _random(1)
    ones, zeros = torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    return {
        "one vector, 1 3 3 9": (_tensor([[1.0, 3.0, 3.0, 9.0]]), ones, zeros),
        "two vectors of different size": (_tensor([[1.0, 3.0, 3.0, 9.0], [10.0, 30.0, 30.0, 90.0]]), ones, zeros),
        "with weight and bias": (_tensor([[1.0, 3.0, 3.0, 9.0]]), _tensor([1.0, 2.0, 0.5, -1.0]), ones),
        "eps = 7": (_tensor([[1.0, 3.0, 3.0, 9.0]]), ones, zeros, 7.0),
        "four equal entries": (_tensor([[5.0, 5.0, 5.0, 5.0]]), ones, ones),
        "2 × 3 × 5 entries": (random(2, 3, 5), random(5), random(5)),
        "tiny entries": (1e-3 * random(3, 4), ones, zeros),
    }


def residual_probes() -> dict[str, tuple]:
    random = _random(2)
    linear, norm = nn.Linear(5, 5, dtype=torch.float64), nn.LayerNorm(5, dtype=torch.float64)
    for parameter in (*linear.parameters(), *norm.parameters()):
        parameter.data = random(*parameter.shape)
    plain_norm = nn.LayerNorm(2, elementwise_affine=False)
    return {
        "x = 3, 1 and a ReLU": (_tensor([[[3.0, 1.0]]]), nn.ReLU(), plain_norm),
        "x = −1, 5 and a tanh": (_tensor([[[-1.0, 5.0]]]), nn.Tanh(), plain_norm),
        "2 × 3 tokens, d_model 5": (random(2, 3, 5), linear, norm),
    }


def dropout_probes() -> dict[str, tuple]:
    random = _random(3)
    x = _tensor([1.0, 2.0, 3.0, 4.0])
    return {
        "half are kept": (x, torch.tensor([True, False, True, False]), 0.5),
        "rate 0.2, one of four dropped": (x, torch.tensor([True, True, False, True]), 0.2),
        "rate 0.5, but all happen to stay": (x, torch.ones(4, dtype=torch.bool), 0.5),
        "rate 0": (x, torch.ones(4, dtype=torch.bool), 0.0),
        "2 × 3 × 5 entries, rate 0.1": (random(2, 3, 5), random(2, 3, 5) > -1.3, 0.1),
    }


EXERCISES = [
    Exercise(feed_forward, feed_forward_probes),
    Exercise(layer_norm, layer_norm_probes),
    Exercise(pre_norm_step, residual_probes),
    Exercise(post_norm_step, residual_probes),
    Exercise(dropout, dropout_probes),
]

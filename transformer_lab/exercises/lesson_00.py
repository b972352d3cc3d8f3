"""Exercises of lesson 00, start here: two short ones, to see how an exercise works."""

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lab.exercises.catalogue import Exercise


def weighted_average(weights: Float[Tensor, "n"], values: Float[Tensor, "n d"]) -> Float[Tensor, "d"]:
    """The rows of `values`, each times its weight, added up."""
    return weights @ values


def likeliest(probabilities: Float[Tensor, "vocab"], k: int) -> list[int]:
    """The ids of the k largest probabilities, the largest first."""
    return probabilities.topk(k).indices.tolist()


def _weighted_average_probes() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    weights = torch.randn(4, dtype=torch.float64, generator=generator).softmax(0)
    return {
        "half of one row and half of another": (torch.tensor([0.5, 0.5]), torch.tensor([[0.0, 2.0], [4.0, 6.0]])),
        "all the weight on one row": (torch.tensor([0.0, 1.0]), torch.tensor([[0.0, 2.0], [4.0, 6.0]])),
        "four rows of three numbers": (weights, values),
    }


def _likeliest_probes() -> dict[str, tuple]:
    probabilities = torch.randn(20, generator=torch.Generator().manual_seed(0)).softmax(0)
    return {
        "the likeliest of three": (torch.tensor([0.2, 0.7, 0.1]), 1),
        "the two likeliest of three": (torch.tensor([0.3, 0.1, 0.6]), 2),
        "the five likeliest of twenty": (probabilities, 5),
    }


EXERCISES = [Exercise(weighted_average, _weighted_average_probes), Exercise(likeliest, _likeliest_probes)]

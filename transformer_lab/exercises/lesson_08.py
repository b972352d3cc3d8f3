"""Exercises of lesson 08, assembling a GPT."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_lab.exercises.catalogue import Exercise
from transformer_lab.gpt import next_token_loss


def embed(
    ids: Int[Tensor, "batch seq"],
    token_table: Float[Tensor, "vocab d_model"],
    position_table: Float[Tensor, "context d_model"],
) -> Float[Tensor, "batch seq d_model"]:
    """Each token's row of the token table plus its position's row of the position table."""
    return token_table[ids] + position_table[: ids.shape[1]]


def gpt_logits(
    x: Float[Tensor, "batch seq d_model"],
    blocks: Sequence[Callable],
    final_norm: Callable,
    token_table: Float[Tensor, "vocab d_model"],
) -> Float[Tensor, "batch seq vocab"]:
    """The blocks one after another, the final norm, then one score for each token of the table."""
    for block in blocks:
        x = block(x)
    return final_norm(x) @ token_table.T


def shift_targets(ids: Int[Tensor, "batch seq"]) -> tuple[Int[Tensor, "batch shorter"], Int[Tensor, "batch shorter"]]:
    """All tokens but the last, and all but the first: what is read, and what follows it."""
    return ids[:, :-1], ids[:, 1:]


def gpt_parameters(vocab_size: int, context_length: int, d_model: int, n_layers: int) -> int:
    """Numbers to learn in a GPT-2: learned positions, biases, d_ff = 4 · d_model, tied weights."""
    block = 12 * d_model**2 + 13 * d_model
    final_norm = 2 * d_model
    return (vocab_size + context_length) * d_model + n_layers * block + final_norm


def _embed_probes() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)

    def random_probe(vocab_size, context_length, d_model, batch, seq):
        return (
            torch.randint(vocab_size, (batch, seq), generator=generator),
            torch.randn(vocab_size, d_model, dtype=torch.float64, generator=generator),
            torch.randn(context_length, d_model, dtype=torch.float64, generator=generator),
        )

    tokens, positions = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[10.0, 0.0], [20.0, 0.0]])
    return {
        "the same token twice": (torch.tensor([[1, 1]]), tokens, positions),
        "one token": (torch.tensor([[1]]), tokens, positions[:1]),
        "fewer tokens than the context holds": (torch.tensor([[1]]), tokens, positions),
        "three sentences": random_probe(11, 9, 6, batch=3, seq=5),
        "as many tokens as the context holds": random_probe(7, 4, 3, batch=2, seq=4),
    }


def _logits_probes() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)

    def random_probe(blocks, batch, seq, d_model, vocab_size):
        return (
            torch.randn(batch, seq, d_model, dtype=torch.float64, generator=generator),
            blocks,
            nn.LayerNorm(d_model, elementwise_affine=False),
            torch.randn(vocab_size, d_model, dtype=torch.float64, generator=generator),
        )

    table = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    return {
        "one block, no norm": (torch.tensor([[[1.0, -2.0]]]), [nn.ReLU()], nn.Identity(), table),
        "no block, no norm": (torch.tensor([[[1.0, 2.0]]]), [], nn.Identity(), table),
        "no block": random_probe([], batch=1, seq=3, d_model=4, vocab_size=5),
        "two blocks": random_probe([nn.Softplus(), nn.Tanh()], batch=2, seq=3, d_model=4, vocab_size=7),
        "vocab_size = d_model": random_probe([nn.Tanh(), nn.Softplus()], batch=3, seq=2, d_model=5, vocab_size=5),
    }


def _shift_probes() -> dict[str, tuple]:
    ids = torch.randint(30, (3, 9), generator=torch.Generator().manual_seed(0))
    return {
        "one sentence of four tokens": (torch.tensor([[5, 6, 7, 8]]),),
        "two tokens": (torch.tensor([[1, 2]]),),
        "three sentences": (ids,),
    }


def _loss_probes() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)

    def random_probe(batch, seq, vocab_size, dtype=torch.float64, scale=1.0):
        logits = scale * torch.randn(batch, seq, vocab_size, dtype=dtype, generator=generator)
        return logits, torch.randint(vocab_size, (batch, seq), generator=generator)

    return {
        "two positions": (torch.tensor([[[0.0, 0.0], [0.0, math.log(3)]]]), torch.tensor([[0, 1]])),
        "two equal logits": (torch.tensor([[[0.0, 0.0]]]), torch.tensor([[1]])),
        "logits 0 and ln 3": (torch.tensor([[[0.0, math.log(3)]]]), torch.tensor([[0]])),
        "random logits": random_probe(3, 4, 6),
        "as many positions as tokens in the vocabulary": random_probe(2, 5, 5),
        "a logit of 1,000": (torch.tensor([[[1000.0, 0.0]]]), torch.tensor([[1]])),
    }


def _parameter_probes() -> dict[str, tuple]:
    return {
        "every size 1": (1, 1, 1, 1),
        "two blocks": (1, 1, 1, 2),
        "the GPT of this lesson": (13, 40, 32, 2),
        "another small one": (1000, 256, 48, 5),
        "GPT-2 small": (50257, 1024, 768, 12),
    }


EXERCISES = [
    Exercise(embed, _embed_probes),
    Exercise(gpt_logits, _logits_probes),
    Exercise(shift_targets, _shift_probes),
    Exercise(next_token_loss, _loss_probes),
    Exercise(gpt_parameters, _parameter_probes),
]

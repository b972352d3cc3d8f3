"""Generation: a model's logits become a next token, again and again."""

from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def next_token_probabilities(
    logits: Float[Tensor, "*batch vocab"],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Float[Tensor, "*batch vocab"]:
    """softmax(logits / temperature), cut down to the likeliest tokens and scaled to sum to one again.

    temperature: 0 is greedy, all on the likeliest token; 1 leaves the model's own probabilities.
    top_k: keep the k likeliest (Fan et al. 2018, section 5.1).
    top_p: keep the fewest likeliest tokens whose probabilities reach p, the one that crosses p
        included (nucleus sampling, Holtzman et al. 2020, section 3.1); p → 0 is greedy.
    """
    if not temperature >= 0:
        raise ValueError(f"temperature must be at least 0 (0 is greedy); got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1; got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1]; got {top_p}")
    if temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    probabilities, order = (logits / temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        probabilities[..., top_k:] = 0
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    if top_p is not None and top_p < 1:
        before = probabilities.cumsum(-1) - probabilities  # what the likelier tokens hold together
        probabilities = probabilities.masked_fill(before >= top_p, 0)
    probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return torch.zeros_like(probabilities).scatter(-1, order, probabilities)


@torch.no_grad()
def generate(
    model: nn.Module,
    ids: Int[Tensor, "batch seq"],
    n_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "batch longer"]:
    """Append `n_tokens` to each row. The model sees the last `context_length` tokens, without dropout."""
    if ids.shape[1] == 0:
        raise ValueError("ids must hold at least one token to go on from; got none")
    with evaluating(model):
        for _ in range(n_tokens):
            logits = model(ids[:, -model.config.context_length :])[:, -1]  # (batch, vocab)
            probabilities = next_token_probabilities(logits.float(), temperature, top_k, top_p)
            next_ids = torch.multinomial(probabilities, 1, generator=generator)  # (batch, 1)
            ids = torch.cat([ids, next_ids], dim=1)
    return ids


def write(
    model: nn.Module,
    tokenizer,
    prompt: str,
    n_tokens: int = 100,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> str:
    """The prompt and the model's continuation of it, as text. The same seed writes the same text."""
    if not prompt:
        raise ValueError("prompt must not be empty: the model needs a token to go on from")
    device = next(model.parameters()).device
    generator = None if seed is None else torch.Generator(device).manual_seed(seed)
    ids = torch.tensor([tokenizer.encode(prompt)], device=device)
    return tokenizer.decode(generate(model, ids, n_tokens, temperature, top_k, top_p, generator)[0].tolist())


@contextmanager
def evaluating(model: nn.Module):
    """Dropout off inside the block; afterwards every part of the model is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes:
            module.training = training

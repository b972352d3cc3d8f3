"""Generation: a model's logits become a next token, again and again."""

import math
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lab.transformer import BEGIN, END, PADDING


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


# ---------------------------------------------------------------- one sequence from another
#
# For every model with `encode(source)`, which gives a tuple of tensors with a row a sentence each, and
# `decode(those, target)`, which gives logits. The source is encoded once.


@torch.no_grad()
def greedy_search(
    model: nn.Module, source: Int[Tensor, "batch source"], max_tokens: int
) -> Int[Tensor, "batch target"]:
    """The likeliest token, again and again. A row: BEGIN, up to `max_tokens` tokens until END, then PADDING."""
    with evaluating(model):
        memory = model.encode(source)
        ids = torch.full((len(source), 1), BEGIN, device=source.device)
        while ids.shape[1] <= max_tokens and not has_ended(ids).all():
            log_probabilities = next_log_probabilities(model, memory, ids)  # (batch, vocab)
            ids = torch.cat([ids, log_probabilities.argmax(-1, keepdim=True)], dim=1)
    return ids


@torch.no_grad()
def beam_search(
    model: nn.Module,
    source: Int[Tensor, "batch source"],
    max_tokens: int,
    n_beams: int = 4,
    length_penalty: float = 0.6,
) -> tuple[Int[Tensor, "batch beams target"], Float[Tensor, "batch beams"]]:
    """The best targets found for each source, best first, as `greedy_search` writes them; and their scores.

    A score is log P(target | source), divided by what `penalty` makes of its length. At each step the `n_beams`
    best of all continuations stay; a target that has ended competes as it is. The defaults are those of
    Vaswani et al. 2017, section 6.1.
    """
    if n_beams < 1:
        raise ValueError(f"n_beams must be at least 1; got {n_beams}")
    with evaluating(model):
        memory = model.encode(source)
        ids = torch.full((len(source), 1, 1), BEGIN, device=source.device)  # one beam, which will branch
        totals = torch.zeros(len(source), 1, device=source.device)
        while ids.shape[2] <= max_tokens and not has_ended(ids).all():
            repeated = tuple(part.repeat_interleave(ids.shape[1], dim=0) for part in memory)
            log_probabilities = next_log_probabilities(model, repeated, ids.flatten(0, 1))
            log_probabilities = log_probabilities.unflatten(0, ids.shape[:2])  # (batch, beams, vocab)
            ids, totals = beam_step(ids, totals, log_probabilities, n_beams, length_penalty)
    return ids, totals / penalty(n_tokens(ids), length_penalty)


def beam_step(
    ids: Int[Tensor, "batch beams seq"],
    totals: Float[Tensor, "batch beams"],
    log_probabilities: Float[Tensor, "batch beams vocab"],
    n_beams: int,
    length_penalty: float = 0.0,
) -> tuple[Int[Tensor, "batch new_beams longer"], Float[Tensor, "batch new_beams"]]:
    """From every beam with every next token to the `n_beams` best of them, best first.

    totals: log P of each beam. log_probabilities: of the token to come next, given the beam.
    """
    vocab = log_probabilities.shape[-1]
    new_totals = totals[..., None] + log_probabilities  # (batch, beams, vocab)
    lengths = n_tokens(ids) + ~has_ended(ids)  # a beam that has ended grows by PADDING alone
    scores = (new_totals / penalty(lengths, length_penalty)[..., None]).flatten(1)  # (batch, beams · vocab)
    best = scores.topk(min(n_beams, scores.shape[1])).indices  # (batch, new beams)
    parents, tokens = best // vocab, best % vocab
    rows = torch.arange(len(ids), device=ids.device)[:, None]
    return torch.cat([ids[rows, parents], tokens[..., None]], dim=-1), new_totals.flatten(1)[rows, best]


def penalty(lengths: Int[Tensor, "*beams"], length_penalty: float) -> Float[Tensor, "*beams"]:
    """((5 + length) / 6) ** length_penalty: 0 leaves log P alone; the larger, the better for long targets.

    Wu et al. 2016, equation 14. The length counts END, and not BEGIN.
    """
    return ((5 + lengths) / 6) ** length_penalty


def next_log_probabilities(
    model: nn.Module, memory: tuple[Tensor, ...], ids: Int[Tensor, "batch seq"]
) -> Float[Tensor, "batch vocab"]:
    """log P of each token to come next. PADDING is certain after END, and impossible before, as is another BEGIN."""
    never = torch.tensor([PADDING, BEGIN], device=ids.device)
    log_probabilities = model.decode(memory, ids)[:, -1].index_fill(-1, never, -math.inf).log_softmax(-1)
    ended = has_ended(ids)
    log_probabilities[ended] = -math.inf
    log_probabilities[ended, PADDING] = 0.0
    return log_probabilities


def has_ended(ids: Int[Tensor, "*batch seq"]) -> Bool[Tensor, "*batch"]:
    """Whether nothing but PADDING may follow."""
    return (ids[..., -1] == END) | (ids[..., -1] == PADDING)


def n_tokens(ids: Int[Tensor, "*batch seq"]) -> Int[Tensor, "*batch"]:
    """Tokens after BEGIN, END among them."""
    return (ids[..., 1:] != PADDING).sum(-1)


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

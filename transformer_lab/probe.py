"""Probe: look inside a model while it runs, or change what its heads do, and leave nothing behind."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from transformer_lab.attention import MultiHeadAttention
from transformer_lab.blocks import DecoderBlock, EncoderBlock


@dataclass
class Trace:
    """What one forward pass did.

    patterns: one a MultiHeadAttention, in the order they ran: (batch, heads, queries, keys).
    queries, keys: what each pattern was made of, after rotation: (batch, heads, queries or keys, d_head).
    masks, biases: the rest of what it was made of, as `attention_pattern` takes it; None where there was none.
    residuals: the stream before each block and after the last: (batch, seq, d_model). When several
        stacks ran (an encoder, then a decoder), one follows the other.
    names: the name inside the model of the attention that made each pattern.
    """

    patterns: list[Tensor] = field(default_factory=list)
    queries: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)
    masks: list[Tensor | None] = field(default_factory=list)
    biases: list[Tensor | None] = field(default_factory=list)
    residuals: list[Tensor] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


@contextmanager
def watch(
    model: nn.Module,
    zero: Sequence[tuple[int, int]] = (),
    replace: Mapping[tuple[int, int], Tensor] | None = None,
    causal: bool = True,
    temperature: float = 1.0,
) -> Iterator[Trace]:
    """Record each forward pass inside the block; the trace holds the latest.

    zero: (layer, head) pairs whose output is set to zero.
    replace: (layer, head) → a pattern (queries, keys) or (batch, queries, keys) used in place of its own.
    causal: False shows every position its future; a mask that was given (padding) stays.
    temperature: what the scores, query · key / √d_head + bias, are divided by before the softmax; above 0.
    Layers count the model's MultiHeadAttention modules, from 0, in the order the model lists them.

        with watch(model, zero=[(0, 2)]) as trace:
            logits = model(ids)
        trace.patterns[0]          # (batch, heads, queries, keys)

    Afterwards every hook is gone and the model is as it was, also after an exception.
    """
    attentions = [(name, m) for name, m in model.named_modules() if isinstance(m, MultiHeadAttention)]
    blocks = [m for m in model.modules() if isinstance(m, EncoderBlock | DecoderBlock)]
    if not attentions:
        raise ValueError(f"model holds no MultiHeadAttention to watch; got a {type(model).__name__}")
    check_changes([attention.n_heads for _, attention in attentions], [*zero, *(replace or {})], temperature)

    trace = Trace()
    last_output: list[Tensor] = []  # a block's input that is not the last block's output starts a new stack

    def restart(module, args):
        vars(trace).update(vars(Trace()))  # empty lists: whoever kept the last pass's keeps them whole
        last_output.clear()

    def before_block(module, args):
        if not last_output or args[0] is not last_output[0]:
            trace.residuals.append(args[0].detach())

    def after_block(module, args, output):
        trace.residuals.append(output.detach())
        last_output[:] = [output]

    def without_causal(module, args, options):
        return args, options | {"causal": False}

    def on_scores(module, args, inputs):
        query, key, mask, bias = inputs
        trace.queries.append(query.detach())
        trace.keys.append(key.detach())
        trace.masks.append(mask)
        trace.biases.append(bias)
        return query / temperature, key, mask, None if bias is None else bias / temperature

    def on_pattern(layer, name):
        def hook(module, args, pattern):
            for (chosen, head), new in (replace or {}).items():
                if chosen == layer:
                    pattern = pattern.clone()
                    pattern[:, head] = new.to(pattern)
            trace.patterns.append(pattern.detach())
            trace.names.append(name)
            return pattern

        return hook

    def on_heads(layer):
        silenced = [head for chosen, head in zero if chosen == layer]

        def hook(module, args, heads):
            if not silenced:
                return heads
            keep = torch.ones(heads.shape[1], 1, 1, dtype=heads.dtype, device=heads.device)
            keep[silenced] = 0
            return heads * keep  # (batch, heads, queries, d_head)

        return hook

    were_explicit = [attention.explicit for _, attention in attentions]
    handles = [model.register_forward_pre_hook(restart)]
    try:
        for block in blocks:
            handles.append(block.register_forward_pre_hook(before_block))
            handles.append(block.register_forward_hook(after_block))
        for layer, (name, attention) in enumerate(attentions):
            attention.explicit = True
            if not causal:
                handles.append(attention.register_forward_pre_hook(without_causal, with_kwargs=True))
            handles.append(attention.scores_point.register_forward_hook(on_scores))
            handles.append(attention.pattern_point.register_forward_hook(on_pattern(layer, name)))
            handles.append(attention.heads_point.register_forward_hook(on_heads(layer)))
        yield trace
    finally:
        for handle in handles:
            handle.remove()
        for (_, attention), explicit in zip(attentions, were_explicit):
            attention.explicit = explicit


def check_changes(n_heads: Sequence[int], heads: Sequence[tuple[int, int]], temperature: float) -> None:
    """A ValueError for a (layer, head) that is not among the layers' `n_heads`, and for a temperature of 0 or below."""
    for layer, head in heads:
        if not (0 <= layer < len(n_heads) and 0 <= head < n_heads[layer]):
            raise ValueError(f"(layer, head) must exist: the heads of each layer are {[*n_heads]}; got {(layer, head)}")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be above 0 and finite; got {temperature}")

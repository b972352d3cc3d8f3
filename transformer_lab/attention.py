"""Attention: a weighted average of values, with weights that come from queries and keys.

One convention for masks: a boolean tensor, True means "may attend".
One convention for layout: (batch, heads, seq, d_head).
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

# ---------------------------------------------------------------- masks


def causal_mask(n_queries: int, n_keys: int | None = None, device=None) -> Bool[Tensor, "queries keys"]:
    """Each query may attend to its own position and to earlier ones.

    The queries are the *last* `n_queries` of the `n_keys` positions, so a mask with more
    keys than queries leaves the extra, earlier keys open to everyone.
    """
    n_keys = n_queries if n_keys is None else n_keys
    if n_keys < n_queries:
        raise ValueError(f"n_keys must be at least n_queries, {n_queries}; got {n_keys}")
    return torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(n_keys - n_queries)


def sliding_window_mask(
    n_queries: int, window: int, n_keys: int | None = None, device=None
) -> Bool[Tensor, "queries keys"]:
    """Causal, and at most `window` positions back: the query's own and `window - 1` before it.

    Longformer (Beltagy et al. 2020), section 3.1, in its causal form.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1 (a token sees itself); got {window}")
    causal = causal_mask(n_queries, n_keys, device)
    return causal & ~causal.tril(causal.shape[1] - n_queries - window)


def padding_mask(lengths: Int[Tensor, "batch"], n_keys: int) -> Bool[Tensor, "batch 1 1 keys"]:
    """Only the first `lengths[b]` keys of sentence b are real; the rest is padding.

    The two axes of size 1 let the mask combine with others by `&`:
    `causal_mask(n) & padding_mask(lengths, n)` has shape (batch, 1, n, n).
    """
    if lengths.numel() and (lengths.min() < 0 or lengths.max() > n_keys):
        raise ValueError(f"lengths must lie between 0 and n_keys, {n_keys}; got {lengths.tolist()}")
    positions = torch.arange(n_keys, device=lengths.device)
    return (positions < lengths[:, None])[:, None, None, :]


# ---------------------------------------------------------------- scaled dot-product attention


def attention_pattern(
    query: Float[Tensor, "*heads queries d_head"],
    key: Float[Tensor, "*heads keys d_head"],
    mask: Bool[Tensor, "..."] | None = None,
    bias: Float[Tensor, "..."] | None = None,
) -> Float[Tensor, "*heads queries keys"]:
    """softmax(query keyᵀ / √d_head + bias): how much each query takes from each key.

    Rows sum to one. A row whose keys are all masked is all zeros, never NaN.
    `mask` (True: may attend) and `bias` broadcast against (..., queries, keys).
    Vaswani et al. 2017, equation 1.
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])  # (..., queries, keys)
    if bias is not None:
        scores = scores + bias
    if mask is None:
        return scores.softmax(-1)
    pattern = scores.masked_fill(~mask, -math.inf).softmax(-1)
    return pattern.masked_fill(~mask, 0.0)  # changes only fully masked rows, from NaN to zeros


def scaled_dot_product_attention(
    query: Float[Tensor, "*heads queries d_head"],
    key: Float[Tensor, "*heads keys d_head"],
    value: Float[Tensor, "*heads keys d_value"],
    mask: Bool[Tensor, "..."] | None = None,
    bias: Float[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "*heads queries d_value"], Float[Tensor, "*heads queries keys"]]:
    """The readable form: returns the output, pattern @ value, and the pattern itself.

    Vaswani et al. 2017, equation 1. See `attention_pattern` for mask and bias.
    """
    pattern = attention_pattern(query, key, mask, bias)
    return pattern @ value, pattern


def fused_attention(
    query: Float[Tensor, "*heads queries d_head"],
    key: Float[Tensor, "*heads keys d_head"],
    value: Float[Tensor, "*heads keys d_value"],
    mask: Bool[Tensor, "..."] | None = None,
    bias: Float[Tensor, "..."] | None = None,
    causal: bool = False,
    dropout: float = 0.0,
) -> Float[Tensor, "*heads queries d_value"]:
    """The same output from torch's fused kernel, which never stores the pattern.

    `causal=True` is `mask=causal_mask(queries, keys)`, without building that mask where the
    kernel can do it itself. FlashAttention: Dao et al. 2022.
    """
    n_queries, n_keys = query.shape[-2], key.shape[-2]
    plain = causal and mask is None and bias is None and n_queries == n_keys
    if causal and not plain:
        future_hidden = causal_mask(n_queries, n_keys, query.device)
        mask = future_hidden if mask is None else mask & future_hidden
    if bias is not None:  # the kernel takes one additive tensor
        mask = bias if mask is None else bias.masked_fill(~mask, -math.inf)
        mask = mask.to(query.dtype)
    if mask is not None:
        mask = torch.atleast_2d(mask)  # the kernel insists on an axis of queries
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=plain)


# ---------------------------------------------------------------- several heads


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in its own subspace, then mixed by one linear layer.

    Self-attention: `mha(x)`. Cross-attention: `mha(x, context)`; queries from x, keys and
    values from context. Hybrid attention: `mha(x, context, hybrid=True)`; keys and values
    from the context followed by x, under one softmax (He et al. 2018, Layer-Wise Coordination).
    Multi-head: Vaswani et al. 2017, section 3.2.2.
    """

    def __init__(self, d_model: int, n_heads: int, dropout: float = 0.0, bias: bool = True):
        super().__init__()
        if n_heads < 1 or d_model % n_heads:
            raise ValueError(f"n_heads must divide d_model, {d_model}; got n_heads = {n_heads}")
        self.n_heads = n_heads
        self.dropout = dropout
        self.query = nn.Linear(d_model, d_model, bias=bias)
        self.key = nn.Linear(d_model, d_model, bias=bias)
        self.value = nn.Linear(d_model, d_model, bias=bias)
        self.out = nn.Linear(d_model, d_model, bias=bias)
        # Three places to look and to intervene (see probe.py). They change nothing by themselves.
        self.scores_point = nn.Identity()  # (query, key, mask, bias), as `attention_pattern` takes them
        self.pattern_point = nn.Identity()  # (batch, heads, queries, keys)
        self.heads_point = nn.Identity()  # (batch, heads, queries, d_head)
        self.explicit = False  # True: the readable formula, and the points are passed through

    def split_heads(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch heads seq d_head"]:
        """Cut d_model into heads, then move the head axis before the positions."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def merge_heads(self, heads: Float[Tensor, "batch heads seq d_head"]) -> Float[Tensor, "batch seq d_model"]:
        """The inverse of `split_heads`."""
        return heads.transpose(1, 2).flatten(-2)

    def forward(
        self,
        x: Float[Tensor, "batch queries d_model"],
        context: Float[Tensor, "batch context d_model"] | None = None,
        *,
        mask: Bool[Tensor, "..."] | None = None,
        causal: bool = False,
        hybrid: bool = False,
        positions: nn.Module | None = None,
        return_pattern: bool = False,
    ) -> Float[Tensor, "batch queries d_model"] | tuple[Tensor, Tensor]:
        """Attend from x to x, to the context, or (hybrid) to both.

        mask: True where a query may attend, broadcast to (batch, heads, queries, keys).
        causal: hide each position's future; with `hybrid` the whole context stays visible.
        positions: rotates queries and keys, or biases the scores (see positions.py); for
            self-attention only.
        return_pattern: also return the pattern, (batch, heads, queries, keys).
        """
        if context is None and hybrid:
            raise ValueError("hybrid attention needs a context; got context = None")
        if context is not None and causal and not hybrid:
            raise ValueError("causal = True has no meaning in cross-attention: the context has no future to hide")
        if context is not None and positions is not None:
            raise ValueError("positions apply to self-attention only: a context has positions of its own")
        source = x if context is None else torch.cat([context, x], dim=1) if hybrid else context
        query = self.split_heads(self.query(x))  # (batch, heads, queries, d_head)
        key = self.split_heads(self.key(source))  # (batch, heads, keys, d_head)
        value = self.split_heads(self.value(source))
        bias = None
        if positions is not None:
            query, key = positions.rotate(query), positions.rotate(key)
            bias = positions.bias(query.shape[-2], key.shape[-2])

        dropout = self.dropout if self.training else 0.0
        pattern = None
        if self.explicit or return_pattern:
            if causal:
                future_hidden = causal_mask(query.shape[-2], key.shape[-2], x.device)
                mask = future_hidden if mask is None else mask & future_hidden
            query, key, mask, bias = self.scores_point((query, key, mask, bias))
            pattern = self.pattern_point(attention_pattern(query, key, mask, bias))
            heads = self.heads_point(F.dropout(pattern, dropout) @ value)
        else:
            heads = fused_attention(query, key, value, mask, bias, causal, dropout)
        output = self.out(self.merge_heads(heads))  # (batch, queries, d_model)
        return (output, pattern) if return_pattern else output

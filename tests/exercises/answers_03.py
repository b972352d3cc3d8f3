"""Lesson 03: right and wrong answers as learners write them, and inputs that no check knows."""

import math

import torch
import torch.nn.functional as F

from transformer_lab import attention
from transformer_lab.exercises.lesson_02 import gaussian

INFINITY = float("inf")


# ---------------------------------------------------------------- causal_mask


def causal_by_loop(n_queries, n_keys):
    mask = torch.zeros(n_queries, n_keys, dtype=torch.bool)
    for query in range(n_queries):
        mask[query, : n_keys - n_queries + query + 1] = True
    return mask


def causal_by_positions(n_queries, n_keys):
    position = torch.arange(n_keys)
    return position[n_keys - n_queries :, None] >= position


def causal_from_the_square(n_queries, n_keys):
    return torch.tril(torch.ones(n_keys, n_keys)).bool()[-n_queries:]


def causal_by_cat(n_queries, n_keys):
    before = torch.ones(n_queries, n_keys - n_queries).bool()
    return torch.cat([before, torch.ones(n_queries, n_queries).tril().bool()], dim=1)


def queries_at(n_queries, n_keys):
    return torch.arange(n_keys - n_queries, n_keys).unsqueeze(1)


# ---------------------------------------------------------------- padding_mask


def padding_by_loop(lengths, n_keys):
    mask = torch.zeros(len(lengths), 1, 1, n_keys, dtype=torch.bool)
    for sentence, length in enumerate(lengths):
        mask[sentence, 0, 0, :length] = True
    return mask


def padding_by_reshape(lengths, n_keys):
    return (lengths.view(-1, 1) > torch.arange(n_keys)).reshape(len(lengths), 1, 1, n_keys)


def padding_by_lists(lengths, n_keys):
    return torch.tensor([[[[key < length for key in range(n_keys)]]] for length in lengths.tolist()])


def real_keys(lengths, n_keys):
    return torch.arange(n_keys).unsqueeze(0) < lengths.unsqueeze(1)


# ---------------------------------------------------------------- sliding_window_mask


def window_by_loop(n_queries, window, n_keys):
    mask = torch.zeros(n_queries, n_keys, dtype=torch.bool)
    for i in range(n_queries):
        last = n_keys - n_queries + i
        mask[i, max(0, last - window + 1) : last + 1] = True
    return mask


def steps_back(n_queries, n_keys):
    return queries_at(n_queries, n_keys) - torch.arange(n_keys)


def window_by_steps(n_queries, window, n_keys):
    back = steps_back(n_queries, n_keys)
    return (back >= 0) & (back < window)


def window_by_abs(n_queries, window, n_keys):
    return attention.causal_mask(n_queries, n_keys) & (steps_back(n_queries, n_keys).abs() < window)


def window_by_triangles(n_queries, window, n_keys):
    offset = n_keys - n_queries
    return torch.ones(n_queries, n_keys).tril(offset).triu(offset - window + 1).bool()


def window_queries_first(n_queries, window, n_keys):
    back = torch.arange(n_queries)[:, None] - torch.arange(n_keys)
    return (back >= 0) & (back < window)


def window_near_from_first(n_queries, window, n_keys):
    near = torch.arange(n_queries)[:, None] - torch.arange(n_keys) < window
    return attention.causal_mask(n_queries, n_keys) & near


def window_of_steps(allowed):
    """A window mask from what it allows of (steps back, window)."""
    return lambda n_queries, window, n_keys: allowed(steps_back(n_queries, n_keys), window)


# ---------------------------------------------------------------- attention_pattern


def scores_of(query, key):
    return query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])


def masked_softmax(scores, mask, hidden=-math.inf, dim=-1):
    return scores.masked_fill(~mask, hidden).softmax(dim).masked_fill(~mask, 0.0)


def pattern_by_exponentials(query, key, mask):
    scores = torch.einsum("...qd,...kd->...qk", query, key) / query.shape[-1] ** 0.5
    largest = scores.masked_fill(~mask, -math.inf).amax(-1, keepdim=True).nan_to_num(neginf=0.0)
    weights = torch.where(mask, (scores - largest).clamp(max=0).exp(), 0.0)
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total == 0, 1.0, total)


def pattern_by_loop(query, key, mask):
    scores = scores_of(query, key)
    mask = mask.expand_as(scores).reshape(-1, scores.shape[-1])
    pattern = torch.zeros_like(scores).view(-1, scores.shape[-1])
    for row, (row_scores, open_keys) in enumerate(zip(scores.reshape(-1, scores.shape[-1]), mask, strict=True)):
        if open_keys.any():
            pattern[row, open_keys] = row_scores[open_keys].softmax(0)
    return pattern.view(scores.shape)


def pattern_with_nan_replaced(query, key, mask):
    return scores_of(query, key).masked_fill(mask.logical_not(), -INFINITY).softmax(-1).nan_to_num(0.0)


def pattern_with_the_lowest_number(query, key, mask):
    scores = scores_of(query, key)
    return masked_softmax(scores, mask, torch.finfo(scores.dtype).min)


def pattern_by_an_added_mask(query, key, mask):
    added = torch.where(mask, 0.0, -INFINITY).to(query.dtype)
    return torch.where(mask, (scores_of(query, key) + added).softmax(-1), 0.0)


def pattern_of(weights):
    """A pattern from its scaled scores and mask."""
    return lambda query, key, mask: weights(scores_of(query, key), mask)


def scored(scores):
    """A pattern, right but for its scores."""
    return lambda query, key, mask: masked_softmax(scores(query, key), mask)


def product(query, key):
    return query @ key.transpose(-2, -1)


def renormalised(scores, mask):
    weights = scores.softmax(-1) * mask
    return weights / weights.sum(-1, keepdim=True)


def by_bare_exponentials(scores, mask):
    weights = scores.exp() * mask
    return weights / weights.sum(-1, keepdim=True)


def zeros_for_empty_rows(pattern, mask):
    return torch.where(mask.any(-1, keepdim=True), pattern, 0.0)


# ---------------------------------------------------------------- split_heads and split_qkv


def split_by_loop(x, n_heads):
    return torch.stack(x.chunk(n_heads, dim=-1), dim=1)


def split_by_permute(x, n_heads):
    batch, seq, d_model = x.shape
    return x.reshape(batch, seq, n_heads, d_model // n_heads).permute(0, 2, 1, 3)


def split_by_slices(x, n_heads):
    d_head = x.shape[-1] // n_heads
    return torch.stack([x[:, :, h * d_head : (h + 1) * d_head] for h in range(n_heads)]).transpose(0, 1)


def heads_by_view_only(x, n_heads):
    batch, seq, d_model = x.shape
    return x.view(batch, n_heads, seq, d_model // n_heads)


def columns_in_turn(x, n_heads):
    return torch.stack([x[..., h::n_heads] for h in range(n_heads)], dim=1)


def qkv_by_five_axes(fused, n_heads):
    batch, seq, width = fused.shape
    return tuple(fused.view(batch, seq, 3, n_heads, width // (3 * n_heads)).permute(2, 0, 3, 1, 4))


def qkv_by_slices(fused, n_heads):
    d_model = fused.shape[-1] // 3
    return [split_by_loop(fused[..., i * d_model : (i + 1) * d_model], n_heads) for i in range(3)]


def qkv_by_many_heads(fused, n_heads):
    return split_by_loop(fused, 3 * n_heads).chunk(3, dim=1)


def qkv_by_einsum(fused, n_heads):
    return torch.einsum("bsthd->tbhsd", fused.unflatten(-1, (3, n_heads, -1))).unbind()


def each(thirds, split=split_by_permute):
    """A split_qkv from its way to cut in three."""

    def split_qkv(fused, n_heads):
        query, key, value = thirds(fused)
        return split(query, n_heads), split(key, n_heads), split(value, n_heads)

    return split_qkv


def thirds(fused):
    return fused.split(fused.shape[-1] // 3, dim=2)


def reordered(*order):
    return each(lambda fused: [thirds(fused)[i] for i in order])


def qkv_heads_first(fused, n_heads):
    q, k, v = fused.view(*fused.shape[:2], n_heads, -1).chunk(3, dim=-1)
    return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


def qkv_chunk_wrong_axis(fused, n_heads):
    heads = split_by_permute(fused, 3 * n_heads)
    query, key, value = heads.chunk(3, dim=-1)
    return query, key, value


def split_after_split(fused, n_heads):
    """split(3) is three columns a piece."""
    query, key, value = fused.split(3, dim=-1)
    return split_by_loop(query, n_heads), split_by_loop(key, n_heads), split_by_loop(value, n_heads)


# ---------------------------------------------------------------- multi_head_attention


def merge(heads):
    return torch.cat(heads.unbind(1), dim=-1)


def multi_head_by_loop(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    d_head = x.shape[-1] // n_heads
    mixed = torch.zeros_like(x)
    for head in range(n_heads):  # the sum over heads of (pattern @ value) @ its rows of w_o
        columns = slice(head * d_head, (head + 1) * d_head)
        one = None if mask is None else mask.expand(len(x), 1, -1, -1)[:, 0] if mask.ndim == 4 else mask
        output, _ = attention.scaled_dot_product_attention(
            x @ w_q[:, columns], x @ w_k[:, columns], x @ w_v[:, columns], one
        )
        mixed = mixed + output @ w_o[columns]
    return mixed


def multi_head_by_fused_kernel(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    query, key, value = (split_by_permute(x @ w, n_heads) for w in (w_q, w_k, w_v))
    output = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return output.permute(0, 2, 1, 3).reshape(x.shape) @ w_o


def multi_head_by_module(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    mha = attention.MultiHeadAttention(x.shape[-1], n_heads, bias=False).double()
    for linear, weight in zip((mha.query, mha.key, mha.value, mha.out), (w_q, w_k, w_v, w_o), strict=True):
        linear.weight.data = weight.T
    return mha(x, mask=mask)


def multi_head_by_einsum(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    query, key, value = (torch.einsum("bsm,mhd->bhsd", x, w.unflatten(1, (n_heads, -1))) for w in (w_q, w_k, w_v))
    scores = torch.einsum("bhqd,bhkd->bhqk", query, key) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(mask.logical_not(), -INFINITY)
    heads = torch.einsum("bhqk,bhkd->bqhd", scores.softmax(-1).nan_to_num(0.0), value)
    return torch.einsum("bqhd,hdm->bqm", heads, w_o.unflatten(0, (n_heads, -1)))


def attend(query, key, value, mask):
    return attention.attention_pattern(query, key, mask) @ value


def multi_head(split=split_by_permute, merge=merge, attend=attend, weights=(0, 1, 2), out=lambda y, w: y @ w):
    """A multi-head attention with one part replaced; weights: which of w_q, w_k, w_v makes each."""

    def multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
        query, key, value = (split(x @ (w_q, w_k, w_v)[i], n_heads) for i in weights)
        return out(merge(attend(query, key, value, mask)), w_o)

    return multi_head_attention


def from_scores(weights):
    """A multi-head attention that is right but for its pattern, which comes from the scaled scores and the mask."""

    def attend(query, key, value, mask):
        mask = torch.ones(query.shape[-2], key.shape[-2]).bool() if mask is None else mask
        return weights(scores_of(query, key), mask) @ value

    return multi_head(attend=attend)


def with_scores(scores):
    """A multi-head attention that is right but for its scores."""

    def attend(query, key, value, mask):
        made = scores(query, key)
        return (made if mask is None else made.masked_fill(~mask, -INFINITY)).softmax(-1).nan_to_num(0.0) @ value

    return multi_head(attend=attend)


def no(mask):
    """Where the mask hides; None hides nothing."""
    return torch.tensor(False) if mask is None else ~mask


def masked_multi(scores, mask):
    return scores.masked_fill(no(mask), -INFINITY).softmax(-1).nan_to_num(0.0)


def view_back(heads):
    batch, _, seq, _ = heads.shape
    return heads.reshape(batch, seq, -1)


def output_projection_on_weights(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    query, key, value = (split_by_loop(x @ w, n_heads) for w in (w_q, w_k, w_v))
    return merge(attention.attention_pattern(query, key, mask) @ w_o @ value)


def attends_across_heads(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    query, key, value = ((x @ w).unflatten(-1, (n_heads, -1)) for w in (w_q, w_k, w_v))
    return attend(query, key, value, mask).flatten(-2) @ w_o


def attends_across_heads_without_mask(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    return attends_across_heads(x, w_q, w_k, w_v, w_o, n_heads)


def with_linear_layers(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    query, key, value = (split_by_loop(F.linear(x, w), n_heads) for w in (w_q, w_k, w_v))
    return F.linear(merge(attend(query, key, value, mask)), w_o)


def without_projections(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    heads = split_by_loop(x, n_heads)
    return merge(attend(heads, heads, heads, mask)) @ w_o


def one_head(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    return multi_head_by_loop(x, w_q, w_k, w_v, w_o, 1, mask)


def attend_unchecked(query, key, value, mask):
    """Without the package's functions: the tests let these check shapes, a learner's notebook does not."""
    return masked_multi(scores_of(query, key), mask) @ value


def no_split_at_all(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    return attend_unchecked(x @ w_q, x @ w_k, x @ w_v, mask) @ w_o


def heads_in_turn(matrices, mixed=lambda joined, w: joined @ w):
    """The loop of section 3.9; matrices: x, w and a head's columns → what that head makes of them."""

    def multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
        outputs, d_head = [], x.shape[-1] // n_heads
        for head in range(n_heads):
            columns = slice(head * d_head, (head + 1) * d_head)
            outputs.append(attend_unchecked(*(matrices(x, w, columns) for w in (w_q, w_k, w_v)), mask))
        return mixed(torch.cat(outputs, dim=-1), w_o)

    return multi_head_attention


def split_before_projection(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    heads = split_by_loop(x, n_heads)
    d_head = heads.shape[-1]
    query, key, value = (heads @ w[:d_head, :d_head] for w in (w_q, w_k, w_v))
    return merge(attend(query, key, value, mask)) @ w_o


def heads_with_own_columns(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    def project(w):
        blocks = [block.chunk(n_heads, dim=1)[head] for head, block in enumerate(w.chunk(n_heads))]
        return split_by_loop(x, n_heads) @ torch.stack(blocks)

    return merge(attend(project(w_q), project(w_k), project(w_v), mask)) @ w_o


def with_residual(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    return x + multi_head_by_loop(x, w_q, w_k, w_v, w_o, n_heads, mask)


# ---------------------------------------------------------------- all of them

RIGHT = {
    "causal_mask": [causal_by_loop, causal_by_positions, causal_from_the_square, causal_by_cat],
    "padding_mask": [padding_by_loop, padding_by_reshape, padding_by_lists],
    "sliding_window_mask": [window_by_loop, window_by_steps, window_by_abs, window_by_triangles],
    "attention_pattern": [
        pattern_by_exponentials, pattern_by_loop, pattern_with_nan_replaced, pattern_with_the_lowest_number,
        pattern_by_an_added_mask,
        pattern_of(lambda s, m: zeros_for_empty_rows(torch.where(m, s, -INFINITY).softmax(-1), m)),
    ],
    "split_heads": [
        split_by_loop, split_by_permute, split_by_slices,
        lambda x, n_heads: torch.einsum("bshd->bhsd", x.unflatten(-1, (n_heads, -1))),
    ],
    "split_qkv": [qkv_by_five_axes, qkv_by_slices, qkv_by_many_heads, qkv_by_einsum, each(thirds)],
    "multi_head_attention": [
        multi_head_by_loop, multi_head_by_fused_kernel, multi_head_by_module, multi_head_by_einsum, multi_head()
    ],
}  # fmt: skip
WRONG = {
    "causal_mask": {
        "mask-off-by-one": [
            lambda q, k: torch.ones(q, k).tril(k - q + 1).bool(),
            lambda q, k: queries_at(q, k) + 1 >= torch.arange(k),
        ],
        "mask-off-by-one-self-hidden": [
            lambda q, k: torch.ones(q, k).tril(k - q - 1).bool(),
            lambda q, k: queries_at(q, k) > torch.arange(k),
        ],
        "mask-inverted": [
            lambda q, k: torch.triu(torch.ones(q, k), diagonal=k - q + 1) == 1,
            lambda q, k: queries_at(q, k) < torch.arange(k),
        ],
        "mask-missing": [lambda q, k: torch.ones(q, k).bool()],
        "queries-first": [
            lambda q, k: torch.ones(q, k).tril().bool(),
            lambda q, k: torch.arange(q)[:, None] >= torch.arange(k),
        ],
        "offset-sign-flipped": [lambda q, k: torch.arange(q - k, 2 * q - k)[:, None] >= torch.arange(k)],
        "future-for-past": [lambda q, k: queries_at(q, k) <= torch.arange(k)],
        "queries-and-keys-swapped": [lambda q, k: torch.arange(k)[:, None] <= torch.arange(k - q, k)],
        "earlier-keys-left-out": [lambda q, k: torch.ones(q, q).tril().bool()],
        "square-of-keys": [lambda q, k: causal_by_loop(k, k)],
        "nothing-open": [lambda q, k: torch.zeros(q, k).bool()],
        "only-itself": [lambda q, k: queries_at(q, k) == torch.arange(k)],
        "mask-of-numbers": [lambda q, k: torch.ones(q, k).tril(k - q), lambda q, k: causal_by_loop(q, k).int()],
        "mask-additive": [lambda q, k: torch.full((q, k), -INFINITY).triu(k - q + 1)],
        ("queries-first", "mask-of-numbers"): [lambda q, k: torch.tril(torch.ones(q, k))],
        ("queries-first", "mask-off-by-one-self-hidden"): [lambda q, k: torch.arange(q)[:, None] > torch.arange(k)],
        ("queries-first", "mask-inverted"): [lambda q, k: torch.ones(q, k).triu(1).bool()],
        ("mask-inverted", "mask-of-numbers"): [lambda q, k: torch.ones(q, k).triu(k - q + 1)],
        ("earlier-keys-left-out", "mask-of-numbers"): [lambda q, k: torch.tril(torch.ones(q, q))],
    },
    "padding_mask": {
        "mask-inverted": [lambda n, k: ~padding_by_loop(n, k)],
        "mask-off-by-one": [lambda n, k: torch.arange(k) <= n.view(-1, 1, 1, 1)],
        "last-word-hidden": [lambda n, k: torch.arange(k) < n.view(-1, 1, 1, 1) - 1],
        "padding-ignored": [lambda n, k: torch.ones(len(n), 1, 1, k, dtype=torch.bool)],
        "axes-missing": [real_keys],
        "one-axis-missing": [lambda n, k: real_keys(n, k).unsqueeze(1)],
        "axes-in-front": [lambda n, k: real_keys(n, k)[None, None]],
        "axes-at-the-end": [lambda n, k: real_keys(n, k)[..., None, None]],
        "hides-queries": [lambda n, k: padding_by_loop(n, k).transpose(-2, -1)],
        "hides-queries-too": [lambda n, k: (real_keys(n, k)[:, None] & real_keys(n, k)[..., None])[:, None]],
        "query-axis-stretched": [lambda n, k: real_keys(n, k)[:, None, None].repeat(1, 1, k, 1)],
        "fillers-first": [lambda n, k: padding_by_loop(n, k).flip(-1)],
        "longest-for-all": [lambda n, k: padding_by_loop(torch.full_like(n, max(n)), k)],
        "mask-of-numbers": [lambda n, k: padding_by_loop(n, k).long()],
        "mask-additive": [lambda n, k: torch.zeros(len(n), 1, 1, k).masked_fill(~padding_by_loop(n, k), -INFINITY)],
        ("mask-inverted", "axes-missing"): [lambda n, k: torch.arange(k) >= n[:, None]],
        ("mask-off-by-one", "axes-missing"): [lambda n, k: torch.arange(k) <= n[:, None]],
        ("axes-missing", "mask-of-numbers"): [lambda n, k: (torch.arange(k) < n[:, None]).float()],
    },
    "sliding_window_mask": {
        "mask-off-by-one": [window_of_steps(lambda back, w: (back >= -1) & (back < w))],
        "mask-off-by-one-self-hidden": [window_of_steps(lambda back, w: (back > 0) & (back < w))],
        "window-one-too-wide": [window_of_steps(lambda back, w: (back >= 0) & (back <= w))],
        "window-one-too-narrow": [window_of_steps(lambda back, w: (back >= 0) & (back < w - 1))],
        "window-ignored": [lambda q, w, k: causal_by_loop(q, k)],
        "window-to-both-sides": [window_of_steps(lambda back, w: back.abs() < w)],
        "mask-missing": [window_of_steps(lambda back, w: back < w)],
        "or-not-and": [
            window_of_steps(lambda back, w: (back >= 0) | (back < w)),
            window_of_steps(lambda back, w: (back >= 0) | (back.abs() < w)),
        ],
        "window-hidden": [window_of_steps(lambda back, w: (back >= 0) & ~(back < w))],
        "mask-inverted": [lambda q, w, k: ~window_by_loop(q, w, k)],
        "queries-first": [window_queries_first],
        "nothing-open": [lambda q, w, k: torch.zeros(q, k, dtype=torch.bool)],
        "window-from-the-first-position": [window_near_from_first],
        "earlier-keys-left-out": [lambda q, w, k: window_by_loop(q, w, q)],
        "square-of-keys": [lambda q, w, k: window_by_loop(k, w, k)],
        "future-for-past": [window_of_steps(lambda back, w: (back <= 0) & (-back < w))],
        ("future-for-past", "window-ignored"): [window_of_steps(lambda back, w: (back <= 0) & (back < w))],
        ("square-of-keys", "window-one-too-wide"): [lambda q, w, k: window_by_loop(k, w + 1, k)],
        "mask-of-numbers": [lambda q, w, k: window_by_triangles(q, w, k).double()],
        "mask-additive": [lambda q, w, k: torch.where(window_by_loop(q, w, k), 0.0, -INFINITY)],
        ("mask-off-by-one-self-hidden", "window-one-too-wide"): [
            window_of_steps(lambda back, w: (back > 0) & (back <= w))
        ],
        ("window-to-both-sides", "window-one-too-wide"): [window_of_steps(lambda back, w: back.abs() <= w)],
    },
    "attention_pattern": {
        "unscaled-scores": [scored(product)],
        "scaled-by-d": [scored(lambda q, k: product(q, k) / q.shape[-1])],
        "scaled-by-keys": [scored(lambda q, k: product(q, k) / math.sqrt(k.shape[-2]))],
        "scale-inverted": [scored(lambda q, k: product(q, k) * math.sqrt(q.shape[-1]))],
        "keys-ignored": [scored(lambda q, k: scores_of(q, q))],
        "queries-ignored": [scored(lambda q, k: scores_of(k, k))],
        "softmax-over-queries": [
            pattern_of(lambda s, m: masked_softmax(s, m, dim=-2)),
            pattern_of(lambda s, m: s.masked_fill(~m, -INFINITY).softmax(-2).nan_to_num(0.0)),
        ],
        "no-softmax": [pattern_of(lambda s, m: s.masked_fill(~m, 0.0)), pattern_of(lambda s, m: s * m)],
        "softmax-before-scale": [
            lambda q, k, m: masked_softmax(product(q, k), m) / math.sqrt(q.shape[-1]),
        ],
        "mask-after-softmax": [
            pattern_of(lambda s, m: s.softmax(-1) * m),
            pattern_of(lambda s, m: s.softmax(-1).masked_fill(~m, 0)),
        ],
        "mask-with-zero": [
            pattern_of(lambda s, m: s.masked_fill(~m, 0.0).softmax(-1)),
            pattern_of(lambda s, m: (s * m).softmax(-1)),
        ],
        "hidden-score-zero-then-hidden": [pattern_of(lambda s, m: (s * m).softmax(-1) * m)],
        "mask-inverted": [
            pattern_of(lambda s, m: masked_softmax(s, ~m)),
            pattern_of(lambda s, m: s.masked_fill(m, -INFINITY).softmax(-1).nan_to_num(0)),
        ],
        "mask-missing": [pattern_of(lambda s, m: s.softmax(-1))],
        "softmax-forgotten": [pattern_of(lambda s, m: s.masked_fill(~m, -INFINITY))],
        "infinity-after-softmax": [pattern_of(lambda s, m: s.softmax(-1).masked_fill(m == 0, -INFINITY))],
        "finite-mask-beaten": [
            pattern_of(lambda s, m: masked_softmax(s, m, -100)),
            pattern_of(lambda s, m: masked_softmax(s, m, -500)),
            pattern_of(lambda s, m: masked_softmax(s, m, -1e4)),
            pattern_of(lambda s, m: masked_softmax(s, m, -1e3)),
        ],
        "finite-mask-overflows": [
            pattern_of(lambda s, m: masked_softmax(s, m, -1e9)),
            pattern_of(lambda s, m: masked_softmax(s, m, -1e20)),
        ],
        "finite-mask-added": [pattern_of(lambda s, m: (s + (1 - m.to(s.dtype)) * -10_000).softmax(-1))],
        "fully-masked-row-even": [
            pattern_of(lambda s, m: s.masked_fill(~m, torch.finfo(s.dtype).min).softmax(-1)),
            pattern_of(lambda s, m: s.masked_fill(~m, -INFINITY).softmax(-1).nan_to_num(1 / s.shape[-1])),
        ],
        "fully-masked-row-open": [pattern_of(lambda s, m: (s.double() - 1e9 * ~m).softmax(-1))],
        "fully-masked-row-nan": [
            pattern_of(lambda s, m: s.masked_fill(~m, -INFINITY).softmax(-1)),
            pattern_of(lambda s, m: torch.where(m, s, -INFINITY).softmax(-1)),
        ],
        "zero-times-infinity": [pattern_of(lambda s, m: (s + ~m * -INFINITY).softmax(-1).masked_fill(~m, 0.0))],
        "renormalised-after-softmax": [pattern_of(lambda s, m: renormalised(s, m).masked_fill(~m, 0.0))],
        "renormalised-with-a-guard": [
            pattern_of(lambda s, m: renormalised(s, m).nan_to_num(0.0)),
            pattern_of(lambda s, m: s.softmax(-1) * m / ((s.softmax(-1) * m).sum(-1, keepdim=True) + 1e-6)),
            pattern_of(lambda s, m: torch.where((s.softmax(-1) * m).any(-1, keepdim=True), renormalised(s, m), 0.0)),
        ],
        "renormalised-with-a-tiny-guard": [
            pattern_of(lambda s, m: s.softmax(-1) * m / ((s.softmax(-1) * m).sum(-1, keepdim=True) + 1e-9)),
            pattern_of(lambda s, m: s.softmax(-1) * m / (s.softmax(-1) * m).sum(-1, keepdim=True).clamp(min=1e-12)),
        ],
        "softmax-overflows": [pattern_of(lambda s, m: by_bare_exponentials(s, m).masked_fill(~m, 0.0))],
        "mask-added": [pattern_of(lambda s, m: (s + m).softmax(-1))],
        ("unscaled-scores", "fully-masked-row-nan"): [
            lambda q, k, m: product(q, k).masked_fill(~m, -INFINITY).softmax(-1)
        ],
        ("mask-inverted", "fully-masked-row-nan"): [pattern_of(lambda s, m: s.masked_fill(m, -INFINITY).softmax(-1))],
        ("finite-mask-beaten", "fully-masked-row-even"): [pattern_of(lambda s, m: s.masked_fill(~m, -1e4).softmax(-1))],
        ("finite-mask-overflows", "fully-masked-row-even"): [
            pattern_of(lambda s, m: s.masked_fill(~m, -1e9).softmax(-1))
        ],
        ("softmax-over-queries", "fully-masked-row-nan"): [
            pattern_of(lambda s, m: s.masked_fill(~m, -INFINITY).softmax(dim=-2))
        ],
        ("zero-times-infinity", "fully-masked-row-nan"): [pattern_of(lambda s, m: (s + ~m * -INFINITY).softmax(-1))],
        ("renormalised-after-softmax", "fully-masked-row-nan"): [pattern_of(renormalised)],
        ("softmax-overflows", "fully-masked-row-nan"): [pattern_of(by_bare_exponentials)],
        ("unscaled-scores", "mask-after-softmax"): [lambda q, k, m: product(q, k).softmax(-1) * m],
    },
    "split_heads": {
        "heads-by-view-only": [heads_by_view_only],
        "swap-missing": [lambda x, h: x.view(*x.shape[:2], h, -1)],
        "columns-interleaved": [columns_in_turn],
        "wrong-axes-swapped": [lambda x, h: x.view(*x.shape[:2], h, -1).mT],
        "columns-before-positions": [lambda x, h: split_by_loop(x, h).transpose(-2, -1)],
        "heads-before-batch": [lambda x, h: torch.stack(x.chunk(h, dim=-1))],
        "batch-and-positions-swapped": [lambda x, h: x.view(*x.shape[:2], h, -1).transpose(0, 1)],
        "first-axes-joined": [lambda x, h: split_by_permute(x, h).reshape(len(x) * h, x.shape[1], -1)],
        "n-heads-taken-for-d-head": [lambda x, h: x.view(*x.shape[:2], -1, h).transpose(1, 2)],
        "transposed-then-viewed": [lambda x, h: x.mT.reshape(len(x), h, x.shape[1], x.shape[2] // h)],
        "viewed-after-transpose": [lambda x, h: x.transpose(1, 2).view(len(x), h, x.shape[1], x.shape[2] // h)],
        ("swap-missing", "first-axes-joined"): [lambda x, h: x.view(len(x) * x.shape[1], h, -1)],
        ("columns-interleaved", "heads-before-batch"): [lambda x, h: torch.stack([x[..., i::h] for i in range(h)])],
        "single-head-called-multi": [lambda x, h: x.unsqueeze(1)],
        "every-head-gets-everything": [lambda x, h: torch.stack(h * [x], dim=1)],
        "sequence-cut": [lambda x, h: x.view(len(x), h, x.shape[1] // h, x.shape[2])],
        "heads-as-a-list": [lambda x, h: list(torch.tensor_split(x, h, dim=-1))],
    },
    "split_qkv": {
        "qkv-chunk-wrong-axis": [lambda f, h: f.view(*f.shape[:2], 3, h, -1).chunk(3, dim=-1)],
        "qkv-chunk-wrong-axis-permuted": [
            lambda f, h: torch.chunk(torch.einsum("bsthd->tbhsd", f.unflatten(-1, (3, h, -1))), 3, dim=4)
        ],
        "qkv-chunk-wrong-axis-joined": [
            lambda f, h: [
                third.transpose(2, 3).flatten(-2).transpose(1, 2)
                for third in f.unflatten(-1, (3, h, -1)).chunk(3, dim=-1)
            ],
        ],
        "qkv-chunk-wrong-axis-of-heads": [qkv_chunk_wrong_axis],
        "batch-cut-in-three": [lambda f, h: [split_by_loop(part, h) for part in f.chunk(3)]],
        "sequence-cut-in-three": [
            each(lambda f: f.chunk(3, dim=1)),
            lambda f, h: [split_by_loop(part, h) for part in f.chunk(3, 1)],
        ],
        "axis-left-over": [lambda f, h: f.view(*f.shape[:2], 3, h, -1).permute(2, 0, 3, 1, 4).chunk(3)],
        "heads-cut-first": [qkv_heads_first, lambda f, h: split_by_loop(f, h).chunk(3, dim=-1)],
        "qkv-by-view-only": [each(lambda f: f.view(3, *f.shape[:2], -1))],
        "qkv-interleaved": [each(lambda f: (f[..., 0::3], f[..., 1::3], f[..., 2::3]))],
        "split-into-threes": [split_after_split],
        "query-and-key-swapped": [reordered(1, 0, 2)],
        "query-and-value-swapped": [reordered(2, 1, 0)],
        "query-last": [reordered(1, 2, 0)],
        "value-first": [reordered(2, 0, 1)],
        "key-and-value-swapped": [reordered(0, 2, 1)],
        "shared-qkv-projection": [reordered(0, 0, 0)],
        "single-head-called-multi": [lambda f, h: [part[:, None] for part in thirds(f)]],
        "heads-not-split": [lambda f, h: thirds(f), lambda f, h: f.chunk(3, dim=-1)],
        "one-tensor-not-three": [lambda f, h: f.unflatten(-1, (3, h, -1)).permute(2, 0, 3, 1, 4)],
        "heads-by-view-only": [each(thirds, lambda x, h: x.reshape(len(x), h, x.shape[1], -1))],
        "swap-missing": [each(thirds, lambda x, h: x.reshape(*x.shape[:2], h, -1))],
        "columns-interleaved": [each(thirds, columns_in_turn)],
        "wrong-axes-swapped": [each(thirds, lambda x, h: x.reshape(*x.shape[:2], h, -1).transpose(-1, -2))],
        "columns-before-positions": [each(thirds, lambda x, h: split_by_loop(x, h).mT)],
        "heads-before-batch": [lambda f, h: torch.einsum("bsthd->thbsd", f.unflatten(-1, (3, h, -1))).unbind()],
        "batch-and-positions-swapped": [each(thirds, lambda x, h: x.unflatten(-1, (h, -1)).transpose(1, 0))],
        ("one-tensor-not-three", "swap-missing"): [lambda f, h: f.unflatten(-1, (3, h, -1)).permute(2, 0, 1, 3, 4)],
    },
    "multi_head_attention": {
        "unscaled-scores": [with_scores(product)],
        "scaled-by-d": [with_scores(lambda q, k: product(q, k) / q.shape[-1])],
        "scaled-by-d-model": [with_scores(lambda q, k: product(q, k) / math.sqrt(q.shape[-1] * q.shape[1]))],
        "w-q-for-keys-too": [with_scores(lambda q, k: scores_of(q, q)), multi_head(weights=(0, 0, 2))],
        "w-k-for-queries-too": [multi_head(weights=(1, 1, 2))],
        "query-and-key-swapped": [multi_head(weights=(1, 0, 2))],
        "softmax-over-queries": [from_scores(lambda s, m: masked_softmax(s, m, dim=-2))],
        "no-softmax": [from_scores(lambda s, m: s * m)],
        "softmax-before-scale": [
            multi_head(attend=lambda q, k, v, m: masked_multi(product(q, k), m) / math.sqrt(q.shape[-1]) @ v)
        ],
        "mask-after-softmax": [from_scores(lambda s, m: s.softmax(-1) * m)],
        "mask-with-zero": [from_scores(lambda s, m: (s * m).softmax(-1))],
        "mask-added": [
            multi_head(attend=lambda q, k, v, m: (scores_of(q, k) + (0 if m is None else m)).softmax(-1) @ v)
        ],
        "fully-masked-row-nan": [from_scores(lambda s, m: s.masked_fill(~m, -INFINITY).softmax(-1))],
        "fully-masked-row-even": [from_scores(lambda s, m: torch.where(m, s, -1e9).softmax(-1))],
        "fully-masked-row-open": [from_scores(lambda s, m: (s - 1e9 * ~m).softmax(-1))],
        ("softmax-over-queries", "fully-masked-row-nan"): [
            from_scores(lambda s, m: s.masked_fill(~m, -INFINITY).softmax(-2))
        ],
        ("unscaled-scores", "fully-masked-row-nan"): [
            multi_head(attend=lambda q, k, v, m: product(q, k).masked_fill(no(m), -INFINITY).softmax(-1) @ v)
        ],
        "mask-inverted": [multi_head(attend=lambda q, k, v, m: attend(q, k, v, None if m is None else ~m))],
        "mask-missing": [multi_head(attend=lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v))],
        "shared-qkv-projection": [multi_head(weights=(0, 0, 0))],
        "projections-missing": [without_projections],
        "values-ignored": [multi_head(weights=(0, 1, 1)), multi_head(attend=lambda q, k, v, m: attend(q, k, k, m))],
        "heads-by-view-only": [multi_head(split=heads_by_view_only)],
        "columns-interleaved": [multi_head(split=columns_in_turn)],
        "attends-across-heads": [attends_across_heads],
        "single-head-called-multi": [one_head, multi_head(split=lambda x, h: x[:, None]), no_split_at_all],
        "mask-with-an-axis-for-heads": [heads_in_turn(lambda x, w, columns: x @ w[:, columns])],
        "heads-split-before-projection": [split_before_projection],
        "heads-see-own-columns-only": [heads_with_own_columns],
        ("heads-see-own-columns-only", "mask-with-an-axis-for-heads"): [
            heads_in_turn(lambda x, w, columns: x[..., columns] @ w[columns, columns])
        ],
        ("no-output-projection", "mask-with-an-axis-for-heads"): [
            heads_in_turn(lambda x, w, columns: x @ w[:, columns], mixed=lambda joined, w: joined)
        ],
        ("single-head-called-multi", "no-output-projection"): [
            lambda x, q, k, v, o, h, m=None: attend_unchecked(x @ q, x @ k, x @ v, m)
        ],
        "merged-by-view-only": [multi_head(merge=view_back)],
        "merged-interleaved": [multi_head(merge=lambda heads: torch.stack(heads.unbind(1), dim=-1).flatten(-2))],
        "no-output-projection": [multi_head(out=lambda y, w: y)],
        "output-matrix-transposed": [multi_head(out=F.linear)],
        "projections-transposed": [
            lambda x, q, k, v, o, h, m=None: multi_head_by_loop(x, q.T, k.T, v.T, o, h, m),
        ],
        "values-not-projected": [
            lambda x, q, k, v, o, h, m=None: multi_head_by_loop(x, q, k, torch.eye(len(v)).double(), o, h, m),
        ],
        "always-causal": [
            multi_head(attend=lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, is_causal=True)),
        ],
        "residual-added": [with_residual],
        ("output-matrix-transposed", "projections-transposed"): [with_linear_layers],
        "output-projection-on-weights": [output_projection_on_weights],
        "split-and-merged-by-view": [multi_head(split=heads_by_view_only, merge=view_back)],
        ("mask-missing", "attends-across-heads"): [attends_across_heads_without_mask],
        ("mask-missing", "unscaled-scores"): [multi_head(attend=lambda q, k, v, m: product(q, k).softmax(-1) @ v)],
        ("shared-qkv-projection", "no-output-projection"): [multi_head(weights=(0, 0, 0), out=lambda y, w: y)],
    },
}
UNKNOWN = {
    "causal_mask": [
        lambda q, k: causal_by_loop(q, k).fliplr(),
        lambda q, k: causal_by_loop(q, k).roll(1, 1),
        lambda q, k: (torch.arange(q)[:, None] + torch.arange(k)) % 2 == 0,
        lambda q, k: causal_by_loop(q, k)[None],
    ],
    "padding_mask": [
        lambda n, k: torch.zeros(len(n), 1, 1, k).bool(),
        lambda n, k: torch.arange(k) == n.view(-1, 1, 1, 1),
        lambda n, k: padding_by_loop(n // 2, k),
        lambda n, k: padding_by_loop(n[:1].expand(len(n)), k),
    ],
    "sliding_window_mask": [
        lambda q, w, k: window_by_loop(q, w, k).fliplr(),
        window_of_steps(lambda back, w: (back >= 0) & (back % w == 0)),
        window_of_steps(lambda back, w: (back >= 0) & (back < 2 * w)),
        lambda q, w, k: causal_by_loop(q, k) & (torch.arange(k) < w),
    ],
    "attention_pattern": [
        pattern_of(lambda s, m: torch.zeros_like(s)),
        pattern_of(lambda s, m: masked_softmax(s, m.any(-2, keepdim=True).expand_as(s))),
        pattern_of(lambda s, m: torch.sigmoid(s) * m),
        pattern_of(lambda s, m: masked_softmax(s / 2, m)),
        pattern_of(lambda s, m: s.masked_fill(~m, -1.0).softmax(-1)),
    ],
    "split_heads": [
        lambda x, h: split_by_loop(x, h).flip(1),
        lambda x, h: torch.zeros_like(split_by_loop(x, h)),
        lambda x, h: split_by_loop(x, h).cumsum(1),
    ],
    "split_qkv": [
        lambda f, h: tuple(2 * part for part in qkv_by_slices(f, h)),
        lambda f, h: tuple(part.flip(1) for part in qkv_by_slices(f, h)),
        lambda f, h: tuple(torch.zeros_like(part) for part in qkv_by_slices(f, h)),
    ],
    "multi_head_attention": [
        lambda x, *rest: torch.zeros_like(x),
        multi_head(out=lambda y, w: 2 * y @ w),
        multi_head(merge=lambda heads: merge(heads.flip(1))),
    ],
}


# ---------------------------------------------------------------- inputs that no check knows


def fresh_patterns(seed):
    query, key = gaussian(2, 3, 6, 2, seed=seed), gaussian(2, 3, 7, 2, seed=seed + 1)
    mask = torch.rand(6, 7, generator=torch.Generator().manual_seed(seed)) < 0.5
    mask[2] = False
    return [(query, key, mask), (5 * query[0, 0], 5 * key[0, 0], ~mask)]


def fresh_multi_head(seed):
    def weights(d_model):
        return [gaussian(d_model, d_model, seed=seed + i) for i in range(1, 5)]

    fillers_first = attention.padding_mask(torch.tensor([2, 5]), 5).flip(-1)
    return [
        (gaussian(3, 7, 8, seed=seed), *weights(8), 4, None),
        (gaussian(2, 5, 6, seed=seed), *weights(6), 2, attention.causal_mask(5)),
        (gaussian(1, 6, 6, seed=seed), *weights(6), 3, attention.causal_mask(6)),
        (gaussian(2, 5, 6, seed=seed), *weights(6), 3, fillers_first & attention.causal_mask(5)),
    ]


FRESH = {
    "causal_mask": lambda seed: [(5, 5), (3, 8), (2, 3), (seed % 7 + 1, 12)],
    "padding_mask": lambda seed: [(torch.tensor([0, 6, 3, 2, 4]), 6), (torch.tensor([7]), 9)],
    "sliding_window_mask": lambda seed: [(5, 2, 5), (4, 3, 7), (3, 4, 11), (2, 1, 3)],
    "attention_pattern": fresh_patterns,
    "split_heads": lambda seed: [(gaussian(4, 7, 15, seed=seed), 3), (gaussian(2, 6, 8, seed=seed), 2)],
    "split_qkv": lambda seed: [(gaussian(4, 7, 45, seed=seed), 5), (gaussian(3, 6, 54, seed=seed), 3)],
    "multi_head_attention": fresh_multi_head,
}

"""Lesson 03's checks: right answers written differently pass, and every wrong one a learner would write is told."""

import math

import pytest
import torch

from transformer_lab import attention
from transformer_lab.exercises import check, lesson_03

# ---------------------------------------------------------------- causal_mask


def causal_by_loop(n_queries, n_keys):
    mask = torch.zeros(n_queries, n_keys, dtype=torch.bool)
    for query in range(n_queries):
        mask[query, : n_keys - n_queries + query + 1] = True
    return mask


def causal_by_positions(n_queries, n_keys):
    position = torch.arange(n_keys)
    return position[n_keys - n_queries :, None] >= position


def causal_inverted(n_queries, n_keys):
    return ~causal_by_loop(n_queries, n_keys)


def causal_without_itself(n_queries, n_keys):
    return torch.ones(n_queries, n_keys).tril(n_keys - n_queries - 1).bool()


def causal_one_step_ahead(n_queries, n_keys):
    return torch.ones(n_queries, n_keys).tril(n_keys - n_queries + 1).bool()


def causal_queries_first(n_queries, n_keys):
    return torch.ones(n_queries, n_keys).tril().bool()


def causal_transposed(n_queries, n_keys):
    return causal_by_loop(n_queries, n_keys).fliplr()


def causal_everything_open(n_queries, n_keys):
    return torch.ones(n_queries, n_keys).bool()


def causal_of_numbers(n_queries, n_keys):
    return torch.ones(n_queries, n_keys).tril(n_keys - n_queries)


# ---------------------------------------------------------------- padding_mask


def padding_by_loop(lengths, n_keys):
    mask = torch.zeros(len(lengths), 1, 1, n_keys, dtype=torch.bool)
    for sentence, length in enumerate(lengths):
        mask[sentence, 0, 0, :length] = True
    return mask


def padding_by_reshape(lengths, n_keys):
    return (lengths.view(-1, 1) > torch.arange(n_keys)).reshape(len(lengths), 1, 1, n_keys)


def padding_inverted(lengths, n_keys):
    return ~padding_by_loop(lengths, n_keys)


def padding_one_too_many(lengths, n_keys):
    return padding_by_loop((lengths + 1).clamp(max=n_keys), n_keys)


def padding_one_too_few(lengths, n_keys):
    return padding_by_loop((lengths - 1).clamp(min=0), n_keys)


def padding_ignored(lengths, n_keys):
    return torch.ones(len(lengths), 1, 1, n_keys, dtype=torch.bool)


def padding_without_axes(lengths, n_keys):
    return torch.arange(n_keys) < lengths[:, None]


def padding_of_queries(lengths, n_keys):
    return padding_by_loop(lengths, n_keys).transpose(-2, -1)


def padding_on_the_left(lengths, n_keys):
    return padding_by_loop(lengths, n_keys).flip(-1)


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
    return scores_of(query, key).masked_fill(mask.logical_not(), float("-inf")).softmax(-1).nan_to_num(0.0)


def pattern_with_the_lowest_number(query, key, mask):
    scores = scores_of(query, key)
    return masked_softmax(scores, mask, torch.finfo(scores.dtype).min)


def unscaled(query, key, mask):
    return masked_softmax(query @ key.transpose(-2, -1), mask)


def scaled_by_d(query, key, mask):
    return masked_softmax(query @ key.transpose(-2, -1) / query.shape[-1], mask)


def scaled_by_keys(query, key, mask):
    return masked_softmax(query @ key.transpose(-2, -1) / math.sqrt(key.shape[-2]), mask)


def softmax_over_queries(query, key, mask):
    return masked_softmax(scores_of(query, key), mask, dim=-2).nan_to_num(0.0)


def no_softmax(query, key, mask):
    return scores_of(query, key).masked_fill(~mask, 0.0)


def softmax_before_scale(query, key, mask):
    return masked_softmax(query @ key.transpose(-2, -1), mask) / math.sqrt(query.shape[-1])


def keys_ignored(query, key, mask):
    return masked_softmax(scores_of(query, query), mask)


def mask_after_softmax(query, key, mask):
    return scores_of(query, key).softmax(-1) * mask


def mask_with_zero(query, key, mask):
    return scores_of(query, key).masked_fill(~mask, 0.0).softmax(-1)


def mask_multiplied(query, key, mask):
    return (scores_of(query, key) * mask).softmax(-1)


def mask_inverted(query, key, mask):
    return masked_softmax(scores_of(query, key), ~mask)


def mask_missing(query, key, mask):
    return scores_of(query, key).softmax(-1)


def fully_masked_row_nan(query, key, mask):
    return scores_of(query, key).masked_fill(~mask, -math.inf).softmax(-1)


def fully_masked_row_even(query, key, mask):
    return fully_masked_row_nan(query, key, mask).nan_to_num(1 / key.shape[-2])


def finite_mask_1e4(query, key, mask):
    return masked_softmax(scores_of(query, key), mask, -1e4)


def finite_mask_1e9(query, key, mask):
    return scores_of(query, key).masked_fill(~mask, -1e9).softmax(-1)


def finite_mask_1e9_in_half_precision(query, key, mask):
    return masked_softmax(scores_of(query, key), mask, -1e9)


def mask_before_scores(query, key, mask):
    return masked_softmax(scores_of(query, key), mask.any(-2, keepdim=True))


# ---------------------------------------------------------------- split_heads


def split_by_loop(x, n_heads):
    return torch.stack(x.chunk(n_heads, dim=-1), dim=1)


def split_by_permute(x, n_heads):
    batch, seq, d_model = x.shape
    return x.reshape(batch, seq, n_heads, d_model // n_heads).permute(0, 2, 1, 3)


def heads_by_view_only(x, n_heads):
    return x.view(x.shape[0], n_heads, x.shape[1], -1)


def split_without_transpose(x, n_heads):
    return x.unflatten(-1, (n_heads, -1))


def split_columns_interleaved(x, n_heads):
    return x.unflatten(-1, (-1, n_heads)).permute(0, 3, 1, 2)


def split_transposed_twice(x, n_heads):
    return split_by_loop(x, n_heads).transpose(-2, -1)


def split_batch_and_heads_swapped(x, n_heads):
    return split_by_loop(x, n_heads).transpose(0, 1)


def single_head_called_multi(x, n_heads):
    return x[:, None].expand(-1, n_heads, -1, -1)


# ---------------------------------------------------------------- multi_head_attention


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
    output = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return output.permute(0, 2, 1, 3).reshape(x.shape) @ w_o


def multi_head_by_module(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    mha = attention.MultiHeadAttention(x.shape[-1], n_heads, bias=False).double()
    for linear, weight in zip((mha.query, mha.key, mha.value, mha.out), (w_q, w_k, w_v, w_o), strict=True):
        linear.weight.data = weight.T
    return mha(x, mask=mask)


def wrong_multi_head(
    split=split_by_loop, merge=lesson_03.merge_heads, pattern=attention.attention_pattern, shared=False, out=None
):
    """A multi-head attention with one part replaced."""

    def multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
        query, key, value = (split(x @ w, n_heads) for w in ((w_q,) * 3 if shared else (w_q, w_k, w_v)))
        merged = merge(pattern(query, key, mask) @ value)
        return merged @ w_o if out is None else out(merged, w_o)

    return multi_head_attention


def one_head(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    return multi_head_by_loop(x, w_q, w_k, w_v, w_o, 1, mask)


def view_back(heads):
    return heads.reshape(heads.shape[0], heads.shape[2], -1)


def scaled_by_d_model(query, key, mask):
    return attention.attention_pattern(query / math.sqrt(query.shape[1]), key, mask)


def output_projection_on_weights(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    query, key, value = (split_by_loop(x @ w, n_heads) for w in (w_q, w_k, w_v))
    return lesson_03.merge_heads(attention.attention_pattern(query, key, mask) @ w_o @ value)


def attends_across_heads(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    query, key, value = ((x @ w).unflatten(-1, (n_heads, -1)) for w in (w_q, w_k, w_v))
    return (attention.attention_pattern(query, key) @ value).flatten(-2) @ w_o


def output_projection_transposed(merged, w_o):
    return merged @ w_o.T


def no_output_projection(merged, w_o):
    return merged


RIGHT = {
    "causal_mask": [causal_by_loop, causal_by_positions],
    "padding_mask": [padding_by_loop, padding_by_reshape],
    "attention_pattern": [
        pattern_by_exponentials, pattern_by_loop, pattern_with_nan_replaced, pattern_with_the_lowest_number
    ],
    "split_heads": [split_by_loop, split_by_permute],
    "multi_head_attention": [multi_head_by_loop, multi_head_by_fused_kernel, multi_head_by_module],
}  # fmt: skip
WRONG = {
    "causal_mask": {
        "mask-inverted": causal_inverted,
        "mask-off-by-one, without itself": causal_without_itself,
        "mask-off-by-one, a step ahead": causal_one_step_ahead,
        "mask-missing": causal_everything_open,
        "queries first": causal_queries_first,
        "mirrored": causal_transposed,
        "numbers": causal_of_numbers,
    },
    "padding_mask": {
        "mask-inverted": padding_inverted,
        "mask-off-by-one, too many": padding_one_too_many,
        "mask-off-by-one, too few": padding_one_too_few,
        "padding-ignored": padding_ignored,
        "no axes for heads and queries": padding_without_axes,
        "hides queries": padding_of_queries,
        "fillers on the left": padding_on_the_left,
    },
    "attention_pattern": {
        "unscaled-scores": unscaled,
        "scaled-by-d": scaled_by_d,
        "scaled by the number of keys": scaled_by_keys,
        "softmax-over-queries": softmax_over_queries,
        "no-softmax": no_softmax,
        "softmax-before-scale": softmax_before_scale,
        "keys-ignored": keys_ignored,
        "mask-after-softmax": mask_after_softmax,
        "mask-with-zero": mask_with_zero,
        "mask-with-zero, multiplied": mask_multiplied,
        "mask-inverted": mask_inverted,
        "mask-missing": mask_missing,
        "fully-masked-row-nan": fully_masked_row_nan,
        "fully masked row even": fully_masked_row_even,
        "finite-mask-beaten, −1e4": finite_mask_1e4,
        "finite-mask-beaten, −1e9": finite_mask_1e9,
        "finite-mask-beaten, −1e9 in half precision": finite_mask_1e9_in_half_precision,
        "a key open to one is open to all": mask_before_scores,
    },
    "split_heads": {
        "heads-by-view-only": heads_by_view_only,
        "no transpose": split_without_transpose,
        "columns interleaved": split_columns_interleaved,
        "positions and columns swapped": split_transposed_twice,
        "batch and heads swapped": split_batch_and_heads_swapped,
        "single-head-called-multi": single_head_called_multi,
    },
    "multi_head_attention": {
        "shared-qkv-projection": wrong_multi_head(shared=True),
        "heads-by-view-only": wrong_multi_head(split=heads_by_view_only),
        "heads-by-view-only, both ways": wrong_multi_head(split=heads_by_view_only, merge=view_back),
        "merged by view only": wrong_multi_head(merge=view_back),
        "columns interleaved": wrong_multi_head(split=split_columns_interleaved),
        "attends-across-heads": attends_across_heads,
        "no-output-projection": wrong_multi_head(out=no_output_projection),
        "output projection transposed": wrong_multi_head(out=output_projection_transposed),
        "output-projection-on-weights": output_projection_on_weights,
        "single-head-called-multi": one_head,
        "scaled-by-d, √d_model": wrong_multi_head(pattern=scaled_by_d_model),
        "unscaled-scores": wrong_multi_head(pattern=lambda query, key, mask: (query @ key.mT).softmax(-1)),
        "mask-missing": wrong_multi_head(pattern=lambda query, key, mask: attention.attention_pattern(query, key)),
    },
}


def named(name, function):
    """The same function under an exercise's name."""
    function.__name__ = name
    return function


@pytest.mark.parametrize(
    ("name", "answer"), [pytest.param(n, a, id=a.__name__) for n, answers in RIGHT.items() for a in answers]
)
def test_a_right_answer_written_differently_is_accepted(name, answer):
    verdict = check(named(name, answer))
    assert verdict.right is True, verdict.text


@pytest.mark.parametrize(
    ("name", "answer"),
    [pytest.param(n, a, id=f"{n}: {mistake}") for n, answers in WRONG.items() for mistake, a in answers.items()],
)
def test_a_wrong_answer_is_told(name, answer):
    verdict = check(named(name, answer))
    assert verdict.right is False
    assert "not yet" in verdict.text


@pytest.mark.parametrize("exercise", lesson_03.EXERCISES, ids=lambda exercise: exercise.name)
def test_the_reference_passes_its_own_check(exercise):
    assert check(named(exercise.name, exercise.reference)).right is True


def test_merge_heads_undoes_split_heads():
    x = lesson_03.numbered(2, 5, 12)
    assert torch.equal(lesson_03.merge_heads(lesson_03.split_heads(x, 3)), x)

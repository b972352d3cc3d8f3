"""Masks, scaled dot-product attention in both forms, several heads."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from transformer_lab.attention import (
    MultiHeadAttention,
    attention_pattern,
    causal_mask,
    fused_attention,
    padding_mask,
    scaled_dot_product_attention,
    sliding_window_mask,
)

small = st.integers(1, 5)


def random_tensors(*shapes):
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


# ---------------------------------------------------------------- masks


def test_causal_mask_opens_the_past_and_the_present():
    assert causal_mask(3).tolist() == [[True, False, False], [True, True, False], [True, True, True]]


def test_causal_mask_with_more_keys_takes_the_queries_as_the_last_positions():
    assert causal_mask(2, 4).tolist() == [[True, True, True, False], [True, True, True, True]]


@given(n_queries=small, earlier=small, window=st.integers(1, 12))
def test_sliding_window_is_causal_and_within_the_window(n_queries, earlier, window):
    n_keys = n_queries + earlier
    distance = torch.arange(earlier, n_keys)[:, None] - torch.arange(n_keys)
    assert_close(sliding_window_mask(n_queries, window, n_keys), (distance >= 0) & (distance < window))
    assert sliding_window_mask(n_queries, window).shape == (n_queries, n_queries)


def test_padding_mask_opens_the_first_keys_and_combines_with_others():
    padding = padding_mask(torch.tensor([0, 2, 3]), 3)
    assert padding[:, 0, 0].tolist() == [[False, False, False], [True, True, False], [True, True, True]]
    assert (causal_mask(3) & padding)[1, 0].tolist() == [
        [True, False, False],
        [True, True, False],
        [True, True, False],
    ]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: causal_mask(3, 2), "n_keys must be at least n_queries, 3; got 2"),
        (lambda: sliding_window_mask(3, 0), "window must be at least 1 (a token sees itself); got 0"),
        (lambda: padding_mask(torch.tensor([1, 4]), 3), "lengths must lie between 0 and n_keys, 3; got [1, 4]"),
        (lambda: padding_mask(torch.tensor([-1]), 3), "lengths must lie between 0 and n_keys, 3; got [-1]"),
        (lambda: MultiHeadAttention(8, 3), "n_heads must divide d_model, 8; got n_heads = 3"),
        (lambda: MultiHeadAttention(8, 0), "n_heads must divide d_model, 8; got n_heads = 0"),
    ],
)
def test_bad_sizes_are_named(build, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build()


# ---------------------------------------------------------------- scaled dot-product attention


def test_by_hand():
    query = torch.tensor([[2 * math.log(3), 0.0, 0.0, 0.0]])
    key = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 5.0, 0.0, 0.0]])  # scores ln 3 and 0, as √4 = 2
    value = torch.tensor([[8.0], [16.0]])
    output, pattern = scaled_dot_product_attention(query, key, value)
    assert_close(pattern, torch.tensor([[0.75, 0.25]]))
    assert_close(output, torch.tensor([[10.0]]))
    biased = attention_pattern(query, key, bias=torch.tensor([0.0, math.log(3)]))
    assert_close(biased, torch.tensor([[0.5, 0.5]]))


@given(batch=small, n_queries=small, n_keys=small, d_head=small, data=st.data())
def test_rows_sum_to_one_or_are_all_zeros(batch, n_queries, n_keys, d_head, data):
    query, key = random_tensors((batch, n_queries, d_head), (batch, n_keys, d_head))
    open_keys = data.draw(st.lists(st.booleans(), min_size=n_queries * n_keys, max_size=n_queries * n_keys))
    mask = torch.tensor(open_keys).view(n_queries, n_keys)
    pattern = attention_pattern(query, key, mask)
    assert (pattern >= 0).all() and not pattern[:, ~mask].any()
    assert_close(pattern.sum(-1), mask.any(-1).double().expand(batch, -1))
    assert_close(attention_pattern(query, key).sum(-1), torch.ones(batch, n_queries, dtype=torch.float64))


def test_a_masked_key_gets_nothing_however_high_its_score():
    query, key = torch.full((1, 4), 200.0).bfloat16(), torch.full((2, 4), 200.0).bfloat16()
    key[0] = -key[0]
    assert attention_pattern(query, key, torch.tensor([True, False])).tolist() == [[1.0, 0.0]]


MASKS = {  # for a batch of 2, 3 heads, 5 queries and n keys
    "no mask": lambda n: None,
    "keys": lambda n: torch.rand(n) < 0.6,
    "queries": lambda n: torch.rand(5, 1) < 0.6,
    "one for all": lambda n: torch.rand(5, n) < 0.6,
    "each its own": lambda n: torch.rand(2, 3, 5, n) < 0.6,
    "padding": lambda n: padding_mask(torch.tensor([0, 3]), n),  # the first sentence is all padding
}


@pytest.mark.parametrize("n_keys", [5, 7])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("kind", MASKS)
def test_fused_equals_readable(kind, with_bias, causal, n_keys):
    mask = MASKS[kind](n_keys)
    query, key, value = inputs = random_tensors((2, 3, 5, 4), (2, 3, n_keys, 4), (2, 3, n_keys, 6))
    bias = torch.randn(3, 5, n_keys) if with_bias else None  # in float32, as under mixed precision
    fused = fused_attention(query, key, value, mask, bias, causal)
    if causal:
        mask = causal_mask(5, n_keys) & (True if mask is None else mask)
    output, pattern = scaled_dot_product_attention(query, key, value, mask, bias)
    assert_close(fused, output)
    assert_close(output, pattern @ value)
    gradients = [torch.autograd.grad(o.sin().sum(), inputs) for o in (fused, output)]
    assert_close(*gradients)
    assert all(gradient.isfinite().all() for gradient in gradients[0] + gradients[1])
    if kind == "padding":
        assert not fused[0].any() and not output[0].any() and not pattern[0].any()


def test_fused_drops_weights_only_where_asked():
    query, key, value = random_tensors((1, 1, 4, 8), (1, 1, 64, 8), (1, 1, 64, 8))
    whole = fused_attention(query, key, value)
    assert not torch.isclose(fused_attention(query, key, value, dropout=0.5), whole).any()


# ---------------------------------------------------------------- several heads


@pytest.fixture
def attention(randomised):
    return randomised(MultiHeadAttention(8, 2))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cross", [False, True], ids=["self", "cross"])
def test_equals_torch(cross, bias, randomised, torch_attention_weights):
    theirs = randomised(nn.MultiheadAttention(8, 2, bias=bias, batch_first=True))
    ours = MultiHeadAttention(8, 2, bias=bias).double()
    ours.load_state_dict(torch_attention_weights(theirs))
    x, context = random_tensors((3, 5, 8), (3, 7, 8))
    source = context if cross else x
    padding = padding_mask(torch.tensor([2, 4, 5]), source.shape[1])
    output, pattern = theirs(x, source, source, key_padding_mask=~padding[:, 0, 0], average_attn_weights=False)
    assert_close(ours(x, context if cross else None, mask=padding, return_pattern=True), (output, pattern))
    if not cross:
        expected = theirs(x, x, x, attn_mask=~causal_mask(5), need_weights=False)[0]
        assert_close(ours(x, causal=True), expected)


def test_each_head_gets_its_own_slice_of_the_channels(attention):
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    heads = attention.split_heads(x)
    assert_close(heads, torch.stack([x[..., :4], x[..., 4:]], dim=1))
    assert_close(attention.merge_heads(heads), x)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("self", {}), ("self", {"causal": True}), ("cross", {}), ("hybrid", {}), ("hybrid", {"causal": True})],
)
def test_explicit_and_returned_pattern_change_nothing(attention, kind, options, masked):
    x, context = random_tensors((2, 4, 8), (2, 3, 8))
    n_keys = {"self": 4, "cross": 3, "hybrid": 7}[kind]
    options = options | {"hybrid": kind == "hybrid", "mask": torch.rand(4, n_keys) < 0.7 if masked else None}
    inputs = (x,) if kind == "self" else (x, context)
    fused = attention(*inputs, **options)
    output, pattern = attention(*inputs, **options, return_pattern=True)
    attention.explicit = True
    assert_close(attention(*inputs, **options), fused)
    assert_close(output, fused)
    assert pattern.shape == (2, 2, 4, n_keys)


@pytest.mark.parametrize("causal", [False, True])
def test_hybrid_is_one_softmax_over_context_and_self(attention, causal):
    x, context = random_tensors((2, 4, 8), (2, 3, 8))
    q, k_x, v_x = (attention.split_heads(layer(x)) for layer in (attention.query, attention.key, attention.value))
    k_c, v_c = (attention.split_heads(layer(context)) for layer in (attention.key, attention.value))
    scores_x = q @ k_x.transpose(2, 3) / 2  # √d_head = 2
    if causal:
        scores_x = scores_x.masked_fill(torch.ones(4, 4).triu(1).bool(), -math.inf)
    weights_c, weights_x = (q @ k_c.transpose(2, 3) / 2).exp(), scores_x.exp()
    total = (weights_c.sum(-1) + weights_x.sum(-1))[..., None]
    heads = (weights_c @ v_c + weights_x @ v_x) / total
    expected = attention.out(attention.merge_heads(heads))
    assert_close(attention(x, context, hybrid=True, causal=causal), expected)


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("hybrid", [False, True])
def test_causal_hides_the_future_and_nothing_else(attention, hybrid, explicit):
    attention.explicit = explicit
    x, context = random_tensors((1, 4, 8), (1, 3, 8))
    output = attention(x, context if hybrid else None, hybrid=hybrid, causal=True)
    for t in range(4):
        inputs = (x, context) if hybrid else (x,)
        into_x, *into_context = torch.autograd.grad(output[0, t].sin().sum(), inputs, retain_graph=True)
        assert into_x[0].any(-1).tolist() == [s <= t for s in range(4)]
        assert all(gradient.any(-1).all() for gradient in into_context)


@pytest.mark.parametrize("explicit", [False, True])
def test_padding_changes_no_sentence_and_an_empty_one_gives_the_bias(attention, explicit):
    attention.explicit = explicit
    lengths = [4, 0, 2]
    x = torch.randn(3, 4, 8, dtype=torch.float64, requires_grad=True)
    batch = attention(x, mask=padding_mask(torch.tensor(lengths), 4))
    assert_close(batch[0], attention(x[:1])[0])
    assert_close(batch[1], attention.out.bias.expand(4, 8))
    assert_close(batch[2, :2], attention(x[2:, :2])[0])
    batch.sin().sum().backward()
    assert all(t.grad.isfinite().all() for t in (x, *attention.parameters()))


@given(order=st.permutations(range(5)))
def test_without_positions_a_permuted_input_gives_the_permuted_output(order):
    attention = MultiHeadAttention(8, 2).double()
    x = torch.randn(1, 5, 8, dtype=torch.float64)
    assert_close(attention(x[:, order]), attention(x)[:, order])


@pytest.mark.parametrize("explicit", [False, True])
def test_dropout_only_in_train_mode(explicit):
    attention = MultiHeadAttention(8, 2, dropout=0.5)
    attention.explicit = explicit
    x = torch.randn(1, 16, 8)
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


@pytest.mark.parametrize(
    ("with_context", "options", "message"),
    [
        (False, {"hybrid": True}, "hybrid attention needs a context; got context = None"),
        (True, {"causal": True}, "causal = True has no meaning in cross-attention"),
        (True, {"positions": nn.Identity()}, "positions apply to self-attention only"),
        (True, {"positions": nn.Identity(), "hybrid": True}, "positions apply to self-attention only"),
    ],
)
def test_arguments_that_do_not_go_together(attention, with_context, options, message):
    x = torch.randn(1, 3, 8, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        attention(x, x if with_context else None, **options)

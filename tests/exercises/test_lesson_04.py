"""Lesson 04's checks accept right answers however they are written, and reject each mistake."""

import math

import pytest
import torch

from transformer_lab.exercises import EXERCISES
from transformer_lab.exercises.checking import run
from transformer_lab.positions import alibi_bias, alibi_slopes, sinusoidal_encoding

# ---------------------------------------------------------------- right answers, written otherwise


def encoding_by_loop(n_positions, d_model):
    encoding = torch.zeros(n_positions, d_model)
    for p in range(n_positions):
        for i in range(d_model // 2):
            angle = p / 10000 ** (2 * i / d_model)
            encoding[p, 2 * i], encoding[p, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return encoding


def encoding_by_exponential(n_positions, d_model):
    rates = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
    angles = torch.outer(torch.arange(n_positions).float(), rates)
    encoding = torch.empty(n_positions, d_model)
    encoding[:, 0::2], encoding[:, 1::2] = angles.sin(), angles.cos()
    return encoding


def adding_by_loop(x, encoding):
    return torch.stack([x[:, p] + encoding[p] for p in range(x.shape[1])], dim=1)


def shift_by_loop(shift, d_model):
    matrix = torch.zeros(d_model, d_model)
    for i in range(0, d_model, 2):
        angle = shift / 10000 ** (i / d_model)
        matrix[i, i] = matrix[i + 1, i + 1] = math.cos(angle)
        matrix[i, i + 1] = math.sin(angle)
        matrix[i + 1, i] = -math.sin(angle)
    return matrix


def shift_by_matrix_exponential(shift, d_model):
    """A turn by an angle is the exponential of the angle times a quarter turn."""
    rates = 10000 ** (-torch.arange(0, d_model, 2) / d_model)
    quarter_turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    return torch.matrix_exp(shift * torch.block_diag(*(rate * quarter_turn for rate in rates)))


def rotation_by_complex_numbers(x, cos, sin):
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.complex(cos, sin)
    return torch.view_as_real(turned).flatten(-2)


def rotation_by_loop(x, cos, sin):
    turned = x.clone()
    for i in range(cos.shape[1]):
        a, b = x[..., 2 * i], x[..., 2 * i + 1]
        turned[..., 2 * i] = a * cos[:, i] - b * sin[:, i]
        turned[..., 2 * i + 1] = a * sin[:, i] + b * cos[:, i]
    return turned


def rotation_by_swapped_pairs(x, cos, sin):
    swapped = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(-2)
    return x * cos.repeat_interleave(2, -1) + swapped * sin.repeat_interleave(2, -1)


def alibi_by_loop(n_heads, n_queries, n_keys):
    bias = torch.zeros(n_heads, n_queries, n_keys)
    for head in range(n_heads):
        for query in range(n_queries):
            for key in range(n_keys):
                distance = abs(n_keys - n_queries + query - key)
                bias[head, query, key] = -(2 ** (-8 * (head + 1) / n_heads)) * distance
    return bias


RIGHT = [
    ("sinusoidal_encoding", encoding_by_loop),
    ("sinusoidal_encoding", encoding_by_exponential),
    ("add_positions", adding_by_loop),
    ("add_positions", lambda x, encoding: encoding[None, : x.size(1), :] + x),
    ("shift_matrix", shift_by_loop),
    ("shift_matrix", shift_by_matrix_exponential),
    ("rotate_pairs", rotation_by_complex_numbers),
    ("rotate_pairs", rotation_by_loop),
    ("rotate_pairs", rotation_by_swapped_pairs),
    ("alibi_bias", alibi_by_loop),
    ("alibi_bias", lambda *sizes: alibi_bias(sizes[0], sizes[2], sizes[2])[:, -sizes[1] :]),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT, ids=[f"{name}-{f.__name__}" for name, f in RIGHT])
def test_a_right_answer_is_accepted(name, answer):
    verdict = run(EXERCISES[name], answer)
    assert verdict.right is True, verdict


# ---------------------------------------------------------------- mistakes


def angles(n_positions, d_model):
    return torch.arange(n_positions)[:, None] / 10000 ** (torch.arange(0, d_model, 2) / d_model)


def interleaved(turns):
    return torch.stack([turns.sin(), turns.cos()], -1).flatten(-2)


def pe_scalar_sum(n_positions, d_model):
    turns = angles(n_positions, d_model)
    return (turns.sin() + turns.cos()).sum(-1, keepdim=True).expand(-1, d_model)


def pe_power(n_positions, d_model):
    slow, n = torch.arange(n_positions)[:, None] / 10000, torch.arange(1, d_model + 1)
    return slow.sin() ** n + slow.cos() ** n


def pe_sin_only(n_positions, d_model):
    return angles(n_positions, d_model).repeat_interleave(2, -1).sin()


def pe_sin_only_own_frequencies(n_positions, d_model):
    return (torch.arange(n_positions)[:, None] / 10000 ** (torch.arange(d_model) / d_model)).sin()


def pe_random_noise(n_positions, d_model):
    noise = torch.randn(n_positions, d_model, generator=torch.Generator().manual_seed(0))
    return sinusoidal_encoding(n_positions, d_model) + 0.01 * noise


def pe_exponent(n_positions, d_model):
    return interleaved(torch.arange(n_positions)[:, None] / 10000.0 ** torch.arange(d_model // 2))


def pe_exponent_without_pair(n_positions, d_model):
    return interleaved(torch.arange(n_positions)[:, None].expand(-1, d_model // 2) / 10000 ** (2 / d_model))


def pe_exponent_multiplied(n_positions, d_model):
    return interleaved(torch.arange(n_positions)[:, None] * 10000 ** (torch.arange(0, d_model, 2) / d_model))


def pe_exponent_by_channel(n_positions, d_model):
    """i counts channels in place of pairs: every wavelength but the first is squared."""
    return interleaved(torch.arange(n_positions)[:, None] / 10000 ** (2 * torch.arange(0, d_model, 2) / d_model))


def pe_off_by_one(n_positions, d_model):
    return sinusoidal_encoding(n_positions + 1, d_model)[1:]


def cosine_first(n_positions, d_model):
    return sinusoidal_encoding(n_positions, d_model).unflatten(-1, (-1, 2)).flip(-1).flatten(-2)


def blocks(n_positions, d_model):
    turns = angles(n_positions, d_model)
    return torch.cat([turns.sin(), turns.cos()], -1)


def pe_overwrites_input(x, encoding):
    return encoding[: x.shape[1]].expand_as(x)


def pe_concatenated_input(x, encoding):
    return torch.cat([x, encoding[: x.shape[1]].expand_as(x)], dim=1)


def concatenated_channels(x, encoding):
    return torch.cat([x, encoding[: x.shape[1]].expand_as(x)], dim=2)


def multiplied(x, encoding):
    return x * encoding[: x.shape[1]]


def by_sentence(x, encoding):
    return x + encoding[: x.shape[0], None]


def last_rows(x, encoding):
    return x + encoding[-x.shape[1] :]


def row_zero_for_all(x, encoding):
    return x + encoding[0]


def row_one_first(x, encoding):
    return x + encoding.roll(-1, 0)[: x.shape[1]]


def shifts_back(shift, d_model):
    return shift_by_loop(-shift, d_model)


def turns_of_one_position(shift, d_model):
    return shift_by_loop(1, d_model)


def blocks_of_sine_and_cosine(shift, d_model):
    order = torch.cat([torch.arange(0, d_model, 2), torch.arange(1, d_model, 2)])
    return shift_by_loop(shift, d_model)[order][:, order]


def without_minus(shift, d_model):
    return shift_by_loop(shift, d_model).abs()


def diagonal_only(shift, d_model):
    return shift_by_loop(shift, d_model).diag().diag()


def one_frequency(shift, d_model):
    return torch.block_diag(*[shift_by_loop(shift, 2)] * (d_model // 2))


def rotates_back(x, cos, sin):
    return rotation_by_loop(x, cos, -sin)


def in_place(x, cos, sin):
    x[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    x[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos  # the first line has changed the even channels
    return x


def plus_for_minus(x, cos, sin):
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos + odd * sin, even * sin + odd * cos], -1).flatten(-2)


def halves_in_place_of_pairs(x, cos, sin):
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


def not_interleaved_again(x, cos, sin):
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.cat([even * cos - odd * sin, even * sin + odd * cos], -1)


def added(x, cos, sin):
    return x + torch.stack([sin, cos], -1).flatten(-2)


def first_angles_for_all(x, cos, sin):
    return rotation_by_loop(x, cos[:1].expand_as(cos), sin[:1].expand_as(sin))


def rewards_distance(n_heads, n_queries, n_keys):
    return -alibi_bias(n_heads, n_queries, n_keys)


def signed_distance(n_heads, n_queries, n_keys):
    query = torch.arange(n_keys - n_queries, n_keys)[:, None]
    return -alibi_slopes(n_heads)[:, None, None] * (query - torch.arange(n_keys))


def queries_from_zero(n_heads, n_queries, n_keys):
    return alibi_bias(n_heads, n_keys, n_keys)[:, :n_queries]


def slopes_from_one(n_heads, n_queries, n_keys):
    return alibi_bias(n_heads, n_queries, n_keys) * 2 ** (8 / n_heads)


def slopes_of_eight_heads(n_heads, n_queries, n_keys):
    distance = -alibi_bias(1, n_queries, n_keys) * 2**8
    return -(2.0 ** -torch.arange(1, n_heads + 1))[:, None, None] * distance


def one_slope(n_heads, n_queries, n_keys):
    return alibi_bias(n_heads, n_queries, n_keys)[:1].expand(n_heads, -1, -1)


def slopes_reversed(n_heads, n_queries, n_keys):
    return alibi_bias(n_heads, n_queries, n_keys).flip(0)


def squared_distance(n_heads, n_queries, n_keys):
    bias = alibi_bias(n_heads, n_queries, n_keys)
    return -(bias**2) / alibi_slopes(n_heads)[:, None, None]


def heads_missing(n_heads, n_queries, n_keys):
    return alibi_bias(n_heads, n_queries, n_keys)[0]


WRONG = [
    ("sinusoidal_encoding", "pe-scalar-sum", pe_scalar_sum),
    ("sinusoidal_encoding", "pe-power", pe_power),
    ("sinusoidal_encoding", "pe-sin-only", pe_sin_only),
    ("sinusoidal_encoding", "pe-sin-only: a frequency a channel", pe_sin_only_own_frequencies),
    ("sinusoidal_encoding", "pe-random-noise", pe_random_noise),
    ("sinusoidal_encoding", "pe-exponent: 10000^i", pe_exponent),
    ("sinusoidal_encoding", "pe-exponent: 10000^(2/d)", pe_exponent_without_pair),
    ("sinusoidal_encoding", "pe-exponent: multiplied", pe_exponent_multiplied),
    ("sinusoidal_encoding", "pe-exponent: channels counted", pe_exponent_by_channel),
    ("sinusoidal_encoding", "pe-off-by-one", pe_off_by_one),
    ("sinusoidal_encoding", "cosine first", cosine_first),
    ("sinusoidal_encoding", "blocks where interleaved was asked for", blocks),
    ("add_positions", "pe-overwrites-input", pe_overwrites_input),
    ("add_positions", "pe-concatenated-input", pe_concatenated_input),
    ("add_positions", "pe-concatenated-input: x twice", lambda x, encoding: torch.cat([x, x], dim=1)),
    ("add_positions", "concatenated channels", concatenated_channels),
    ("add_positions", "encoding ignored", lambda x, encoding: x),
    ("add_positions", "multiplied", multiplied),
    ("add_positions", "row by sentence", by_sentence),
    ("add_positions", "last rows", last_rows),
    ("add_positions", "one row for all", row_zero_for_all),
    ("add_positions", "pe-off-by-one", row_one_first),
    ("add_positions", "whole table", lambda x, encoding: x + encoding),
    ("shift_matrix", "shifts back", shifts_back),
    ("shift_matrix", "shift ignored", turns_of_one_position),
    ("shift_matrix", "blocks", blocks_of_sine_and_cosine),
    ("shift_matrix", "minus missing", without_minus),
    ("shift_matrix", "cosines only", diagonal_only),
    ("shift_matrix", "one frequency", one_frequency),
    ("shift_matrix", "identity", lambda shift, d_model: torch.eye(d_model)),
    ("rotate_pairs", "rotates back", rotates_back),
    ("rotate_pairs", "in place", in_place),
    ("rotate_pairs", "minus missing", plus_for_minus),
    ("rotate_pairs", "halves in place of pairs", halves_in_place_of_pairs),
    ("rotate_pairs", "not interleaved again", not_interleaved_again),
    ("rotate_pairs", "added", added),
    ("rotate_pairs", "first position's angles", first_angles_for_all),
    ("rotate_pairs", "not rotated", lambda x, cos, sin: x),
    ("alibi_bias", "rewards distance", rewards_distance),
    ("alibi_bias", "signed distance", signed_distance),
    ("alibi_bias", "queries from zero", queries_from_zero),
    ("alibi_bias", "slopes from one", slopes_from_one),
    ("alibi_bias", "slopes of eight heads", slopes_of_eight_heads),
    ("alibi_bias", "one slope", one_slope),
    ("alibi_bias", "slopes reversed", slopes_reversed),
    ("alibi_bias", "squared distance", squared_distance),
    ("alibi_bias", "heads missing", heads_missing),
]


@pytest.mark.parametrize(("name", "answer"), [(n, f) for n, _, f in WRONG], ids=[f"{n}-{i}" for n, i, _ in WRONG])
def test_a_mistake_is_rejected(name, answer):
    verdict = run(EXERCISES[name], answer)
    assert verdict.right is False, verdict

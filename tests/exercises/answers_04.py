"""Lesson 04: right and wrong answers as learners write them, and inputs that no check knows."""

import math
import random

import torch
import torch.nn.functional as F

from transformer_lab.attention import causal_mask, scaled_dot_product_attention
from transformer_lab.exercises.lesson_02 import gaussian
from transformer_lab.positions import RotaryPositions, alibi_bias, sinusoidal_encoding

# ---------------------------------------------------------------- the encoding


def angles(n_positions, d_model):
    return torch.arange(n_positions)[:, None] / 10000 ** (torch.arange(0, d_model, 2) / d_model)


def interleaved(turns):
    return torch.stack([turns.sin(), turns.cos()], -1).flatten(-2)


def encoding_by_loop(n_positions, d_model):
    encoding = torch.zeros(n_positions, d_model)
    for p in range(n_positions):
        for i in range(d_model // 2):
            angle = p / 10000 ** (2 * i / d_model)
            encoding[p, 2 * i], encoding[p, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return encoding


def encoding_by_exponential(n_positions, d_model):
    rates = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
    turns = torch.outer(torch.arange(n_positions).to(rates.dtype), rates)
    encoding = torch.empty(n_positions, d_model)
    encoding[:, 0::2], encoding[:, 1::2] = turns.sin(), turns.cos()
    return encoding


def encoding_by_complex_numbers(n_positions, d_model):
    turned = torch.polar(torch.ones(n_positions, d_model // 2), angles(n_positions, d_model))
    return torch.view_as_real(turned).flip(-1).flatten(-2)


def encoding_by_channel(angle, wave=lambda j: math.cos if j % 2 else math.sin):
    """A table filled entry by entry, channel j of position p from angle(p, j, d_model)."""

    def sinusoidal_encoding(n_positions, d_model):
        rows = [[wave(j)(angle(p, j, d_model)) for j in range(d_model)] for p in range(n_positions)]
        return torch.tensor(rows)

    return sinusoidal_encoding


def pair_speed(p, j, d):
    return p / 10000 ** (2 * (j // 2) / d)


def scalar_sum(n_positions, d_model):
    table = torch.zeros(n_positions, d_model)
    for p in range(n_positions):
        for i in range(d_model // 2):
            angle = p / 10000 ** (2 * i / d_model)
            table[p] += math.sin(angle) + math.cos(angle)
    return table


def power(n_positions, d_model, first=1):
    p = torch.arange(n_positions).unsqueeze(1) / 10000
    n = torch.arange(d_model) + first
    return torch.sin(p) ** n + torch.cos(p) ** n


def power_of_the_sine(n_positions, d_model):
    table, p = torch.zeros(n_positions, d_model), torch.arange(n_positions)
    for i in range(d_model // 2):
        table[:, 2 * i] = torch.sin(p / 10000) ** (2 * i / d_model)
        table[:, 2 * i + 1] = torch.cos(p / 10000) ** (2 * i / d_model)
    return table


class RememberingEncoding:
    """Keeps from call to call what it has returned, and changes it."""

    def __init__(self):
        self.tables = {}

    def __call__(self, n_positions, d_model):
        table = self.tables.setdefault(d_model, torch.zeros(100, d_model))
        table[:n_positions] += sinusoidal_encoding(n_positions, d_model)
        return table[:n_positions].clone()


def seeded_noise(n_positions, d_model):
    noise = torch.randn(n_positions, d_model, generator=torch.Generator().manual_seed(0))
    return sinusoidal_encoding(n_positions, d_model) + 0.01 * noise


# ---------------------------------------------------------------- adding


def adding_by_loop(x, encoding):
    return torch.stack([x[:, p] + encoding[p] for p in range(x.shape[1])], dim=1)


def adding_to_a_copy(x, encoding):
    placed = x.clone()
    for sentence in placed:
        sentence += encoding[: len(sentence)]
    return placed


# ---------------------------------------------------------------- the shift


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


def shift_by_least_squares(shift, d_model):
    """The matrix that two tables imply."""
    table = encoding_by_loop(40, d_model).double()
    here, there = table[8:24], table[8 + shift : 24 + shift]
    pairs = [torch.linalg.lstsq(here[:, i : i + 2], there[:, i : i + 2]).solution.T for i in range(0, d_model, 2)]
    return torch.block_diag(*pairs)


def shift_with(matrix_of, speed=lambda i, d: 1 / 10000 ** (2 * i / d)):
    """A matrix put together from one small matrix a pair, made from the cosine and sine of its angle."""

    def shift_matrix(shift, d_model):
        turns = [shift * speed(i, d_model) for i in range(d_model // 2)]
        return torch.block_diag(*(torch.tensor(matrix_of(math.cos(a), math.sin(a))) for a in turns))

    return shift_matrix


def rotation(c, s):
    return [[c, s], [-s, c]]


def small_rotations(shift, d_model):
    return shift_by_loop(shift, d_model).unflatten(0, (-1, 2)).unflatten(-1, (-1, 2)).diagonal(dim1=0, dim2=2)


def shift_in_blocks(shift, d_model):
    order = [*range(0, d_model, 2), *range(1, d_model, 2)]
    return shift_by_loop(shift, d_model)[order][:, order]


def first_pair_only(shift, d_model):
    matrix = torch.eye(d_model)
    matrix[:2, :2] = shift_by_loop(shift, 2)
    return matrix


# ---------------------------------------------------------------- rotation


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


def rotation_by_einsum(x, cos, sin):
    matrices = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)  # (seq, pairs, 2, 2)
    return torch.einsum("spij,...spj->...spi", matrices, x.unflatten(-1, (-1, 2))).flatten(-2)


def rotated(pair):
    """A rotation that is right but for what becomes of a pair."""

    def rotate_pairs(x, cos, sin):
        new = torch.zeros_like(x)
        new[..., 0::2], new[..., 1::2] = pair(x[..., 0::2], x[..., 1::2], cos, sin)
        return new

    return rotate_pairs


def in_place(x, cos, sin):
    x = x.clone()
    x[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    x[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos  # the first line has changed the even channels
    return x


def halves(x, cos, sin):
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


def halves_of_a_package(x, cos, sin):
    """Right in programs that pair channel i with channel i + d_head / 2."""
    half = x.shape[-1] // 2
    other = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * torch.cat([cos, cos], -1) + other * torch.cat([sin, sin], -1)


def halves_swapped(x, cos, sin):
    half = x.shape[-1] // 2
    other = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * cos.repeat_interleave(2, -1) + other * sin.repeat_interleave(2, -1)


def tiled(x, cos, sin):
    other = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(-2)
    return x * torch.cat([cos, cos], -1) + other * torch.cat([sin, sin], -1)


def turn(a, b, c, s):
    return a * c - b * s, a * s + b * c


# ---------------------------------------------------------------- attention with a cache


def turned(x, start=0):
    """Rotary by the definition: a loop over positions and pairs."""
    x, d_head = x.clone(), x.shape[-1]
    for step in range(x.shape[-2]):
        for i in range(d_head // 2):
            angle = (start + step) / 10000 ** (2 * i / d_head)
            a, b = x[..., step, 2 * i].clone(), x[..., step, 2 * i + 1].clone()
            x[..., step, 2 * i] = a * math.cos(angle) - b * math.sin(angle)
            x[..., step, 2 * i + 1] = a * math.sin(angle) + b * math.cos(angle)
    return x


def attend(query, key, value, mask):
    return scaled_dot_product_attention(query, key, value, mask)[0]


def kept(cached_key):
    return cached_key.shape[-2]


def join(*parts):
    return torch.cat(parts, dim=2)


def causal(query, keys):
    return causal_mask(query.shape[-2], keys.shape[-2])


def cached_by_loop(query, key, value, cached_key, cached_value):
    """One new token at a time; the mask is what has not been added yet."""
    outputs = []
    for t in range(query.shape[2]):
        position = cached_key.shape[2]
        cached_key = join(cached_key, turned(key[:, :, t : t + 1], position))
        cached_value = join(cached_value, value[:, :, t : t + 1])
        scores = turned(query[:, :, t : t + 1], position) @ cached_key.mT / math.sqrt(query.shape[-1])
        outputs.append(scores.softmax(-1) @ cached_value)
    return torch.cat(outputs, dim=2), cached_key, cached_value


def cached_by_torch(query, key, value, cached_key, cached_value):
    past, new = cached_key.size(2), key.size(2)
    positions = RotaryPositions(past + new, key.size(-1))
    cos, sin = positions.cos[past:].to(key.dtype), positions.sin[past:].to(key.dtype)
    keys = join(cached_key, rotation_by_loop(key, cos, sin))
    values = join(cached_value, value)
    visible = torch.arange(past + new) <= torch.arange(past, past + new)[:, None]
    return F.scaled_dot_product_attention(rotation_by_loop(query, cos, sin), keys, values, visible), keys, values


def cached_by_padding(query, key, value, cached_key, cached_value):
    """Zeros in front move the new vectors to their positions."""
    front = torch.zeros_like(cached_key)
    n = kept(cached_key)
    new_query, new_key = (turned(join(front, new))[:, :, n:] for new in (query, key))
    keys, values = join(cached_key, new_key), join(cached_value, value)
    scores = torch.einsum("bhqd,bhkd->bhqk", new_query, keys) / query.shape[-1] ** 0.5
    hidden = torch.ones(scores.shape[-2:]).triu(n + 1) == 1
    return [scores.masked_fill(hidden, -1e9).softmax(-1) @ values, keys, values]


def cached_with(
    new_query=lambda q, n: turned(q, n), new_key=lambda k, n: turned(k, n), mask=causal, returned=None, count=kept
):
    """An attention with a cache that is right but for one part."""

    def attend_cached(query, key, value, cached_key, cached_value):
        n = count(cached_key)
        keys, values = join(cached_key, new_key(key, n)), join(cached_value, value)
        output = attend(new_query(query, n), keys, values, mask(query, keys))
        return returned(output, keys, values, key, cached_key) if returned else (output, keys, values)

    return attend_cached


def everything_rotated(query, key, value, cached_key, cached_value):
    keys, values = turned(join(cached_key, key)), join(cached_value, value)
    return attend(turned(query, kept(cached_key)), keys, values, causal(query, keys)), keys, values


def everything_rotated_queries_too(query, key, value, cached_key, cached_value):
    keys, values = turned(join(cached_key, key)), join(cached_value, value)
    return attend(turned(query), keys, values, causal(query, keys)), keys, values


def rotated_when_used(query, key, value, cached_key, cached_value):
    """Would be right if the kept keys were not rotated yet."""
    keys, values = join(cached_key, key), join(cached_value, value)
    return attend(turned(query, kept(cached_key)), turned(keys), values, causal(query, keys)), keys, values


def new_values_first(query, key, value, cached_key, cached_value):
    keys, values = join(cached_key, turned(key, kept(cached_key))), join(value, cached_value)
    return attend(turned(query, kept(cached_key)), keys, values, causal(query, keys)), keys, values


def values_rotated(query, key, value, cached_key, cached_value):
    return cached_by_loop(query, key, turned(value, kept(cached_key)), cached_key, cached_value)


def cache_not_attended(query, key, value, cached_key, cached_value):
    n = kept(cached_key)
    query, key = turned(query, n), turned(key, n)
    return attend(query, key, value, causal(query, key)), join(cached_key, key), join(cached_value, value)


def new_before_cached(query, key, value, cached_key, cached_value):
    n = kept(cached_key)
    keys, values = join(turned(key, n), cached_key), join(value, cached_value)
    return attend(turned(query, n), keys, values, causal(query, keys)), keys, values


def pattern_of(query, keys, mask):
    return scaled_dot_product_attention(query, keys, keys, mask)[1]


def pattern_for_output(query, key, value, cached_key, cached_value):
    n = kept(cached_key)
    keys = join(cached_key, turned(key, n))
    return pattern_of(turned(query, n), keys, causal(query, keys)), keys, join(cached_value, value)


def pattern_left_in(query, key, value, cached_key, cached_value):
    n = kept(cached_key)
    keys, values = join(cached_key, turned(key, n)), join(cached_value, value)
    return scaled_dot_product_attention(turned(query, n), keys, values, causal(query, keys)), keys, values


def unscaled(query, key, value, cached_key, cached_value):
    return cached_by_loop(query * math.sqrt(query.shape[-1]), key, value, cached_key, cached_value)


def without_positions(query, key, value, cached_key, cached_value):
    keys, values = join(cached_key, key), join(cached_value, value)
    hidden = ~causal(query, keys)
    scores = (query @ keys.transpose(2, 3) / math.sqrt(query.shape[3])).masked_fill(hidden, float("-inf"))
    return scores.softmax(dim=3) @ values, keys, values


# ---------------------------------------------------------------- distances


def alibi_by_loop(n_heads, n_queries, n_keys):
    bias = torch.zeros(n_heads, n_queries, n_keys)
    for head in range(n_heads):
        for query in range(n_queries):
            for key in range(n_keys):
                distance = abs(n_keys - n_queries + query - key)
                bias[head, query, key] = -(2 ** (-8 * (head + 1) / n_heads)) * distance
    return bias


def alibi_with(slope=lambda h, n: 2 ** (-8 * h / n), distance=lambda q, k: abs(q - k), first=lambda q, k: k - q):
    """A bias filled entry by entry."""

    def alibi_bias(n_heads, n_queries, n_keys):
        start = first(n_queries, n_keys)
        return torch.tensor(
            [[[-slope(h, n_heads) * distance(start + q, k) for k in range(n_keys)] for q in range(n_queries)]
             for h in range(1, n_heads + 1)],
            dtype=torch.get_default_dtype(),
        )  # fmt: skip

    return alibi_bias


def first_slope(n_heads, n_queries, n_keys):
    return alibi_bias(n_heads, n_queries, n_keys)[:1].expand(n_heads, -1, -1)


# ---------------------------------------------------------------- the tables

RIGHT = {
    "sinusoidal_encoding": [
        encoding_by_loop, encoding_by_exponential, encoding_by_complex_numbers, encoding_by_channel(pair_speed)
    ],
    "add_positions": [
        adding_by_loop,
        adding_to_a_copy,
        lambda x, encoding: encoding[None, : x.size(1), :] + x,
        lambda x, encoding: x + encoding[torch.arange(x.shape[1])].expand_as(x),
    ],
    "shift_matrix": [shift_by_loop, shift_by_matrix_exponential, shift_by_least_squares, shift_with(rotation)],
    "rotate_pairs": [
        rotation_by_complex_numbers, rotation_by_loop, rotation_by_swapped_pairs, rotation_by_einsum, rotated(turn)
    ],
    "attend_cached": [cached_by_loop, cached_by_torch, cached_by_padding, cached_with()],
    "alibi_bias": [
        alibi_by_loop,
        alibi_with(),
        lambda *sizes: alibi_bias(sizes[0], sizes[2], sizes[2])[:, -sizes[1] :],
    ],
}  # fmt: skip
WRONG = {
    "sinusoidal_encoding": {
        "pe-scalar-sum": [scalar_sum],
        "pe-scalar-sum-alone": [lambda n, d: scalar_sum(n, d)[:, 0]],
        "sine-plus-cosine": [lambda n, d: torch.stack([a := angles(n, d).sin() + angles(n, d).cos(), a], 2).flatten(1)],
        "pe-power": [power],
        "pe-power-from-zero": [lambda n, d: power(n, d, first=0)],
        "pe-power-of-the-sine": [power_of_the_sine],
        "pe-power-of-the-fraction": [
            lambda n, d: interleaved((torch.arange(n)[:, None] / 10000) ** (2 * torch.arange(d // 2) / d))
        ],
        "pe-sin-only": [
            lambda n, d: angles(n, d).repeat_interleave(2, -1).sin(),
            encoding_by_channel(pair_speed, lambda j: math.sin),
        ],
        "pe-sin-only-by-channel": [encoding_by_channel(lambda p, j, d: p / 10000 ** (j / d), lambda j: math.sin)],
        "cosines-missing": [encoding_by_channel(pair_speed, lambda j: (lambda a: 0.0) if j % 2 else math.sin)],
        "batch-axis-added": [lambda n, d: encoding_by_loop(n, d).unsqueeze(0)],
        "cosine-only": [encoding_by_channel(pair_speed, lambda j: math.cos)],
        "pe-random-noise": [
            lambda n, d: sinusoidal_encoding(n, d) + 0.01 * torch.randn(n, d),
            lambda n, d: sinusoidal_encoding(n, d) + torch.rand(1),
            lambda n, d: torch.randn(n, d),
            lambda n, d: angles(n, d).repeat_interleave(2, -1).sin() + torch.randn(n, 1),
            RememberingEncoding(),
            lambda n, d: F.dropout(sinusoidal_encoding(n, d), 0.1),
            lambda n, d: encoding_by_loop(n, d) + random.random(),
        ],
        "pe-exponent": [lambda n, d: interleaved(torch.arange(n)[:, None] / 10000.0 ** torch.arange(d // 2))],
        "pe-exponent-without-i": [
            lambda n, d: interleaved(torch.arange(n)[:, None].expand(-1, d // 2) / 10000 ** (2 / d))
        ],
        "pe-exponent-zero": [
            lambda n, d: interleaved(torch.arange(n)[:, None] / 10000 ** (torch.arange(0, d, 2) // d)),
            encoding_by_channel(lambda p, j, d: p),
        ],
        "pe-exponent-doubled": [
            lambda n, d: interleaved(torch.arange(n)[:, None] / 10000 ** (2 * torch.arange(0, d, 2) / d)),
            encoding_by_channel(lambda p, j, d: p / 10000 ** (2 * (j // 2) / (d // 2))),
        ],
        "pe-exponent-halved": [
            encoding_by_channel(lambda p, j, d: p / 10000 ** (j // 2 / d)),
            lambda n, d: sinusoidal_encoding(n, d, 100.0),
        ],
        "pe-exponent-multiplied": [
            lambda n, d: interleaved(torch.arange(n)[:, None] * 10000 ** (torch.arange(0, d, 2) / d))
        ],
        "wavelengths-to-the-end": [
            lambda n, d: interleaved(torch.arange(n)[:, None] / torch.logspace(0, 4, d // 2))
        ],
        "base-1000": [encoding_by_channel(lambda p, j, d: p / 1000 ** (2 * (j // 2) / d))],
        "base-e": [lambda n, d: interleaved(torch.arange(n)[:, None] * torch.exp(-torch.arange(0, d, 2) / d))],
        "angles-times-2-pi": [lambda n, d: interleaved(2 * math.pi * angles(n, d))],
        "pe-speed-by-channel": [encoding_by_channel(lambda p, j, d: p / 10000 ** (j / d))],
        "pe-exponent-by-channel": [encoding_by_channel(lambda p, j, d: p / 10000 ** (2 * j / d))],
        "pe-off-by-one": [
            lambda n, d: sinusoidal_encoding(n + 1, d)[1:],
            encoding_by_channel(lambda p, j, d: pair_speed(p + 1, j, d)),
        ],
        "position-as-fraction": [lambda n, d: interleaved(angles(n, d) / n)],
        "cosine-first": [lambda n, d: sinusoidal_encoding(n, d).unflatten(-1, (-1, 2)).flip(-1).flatten(-2)],
        "blocks-not-interleaved": [lambda n, d: torch.cat([angles(n, d).sin(), angles(n, d).cos()], -1)],
        "pairs-left-apart": [lambda n, d: torch.stack([angles(n, d).sin(), angles(n, d).cos()], -1)],
        "table-transposed": [lambda n, d: encoding_by_loop(n, d).T],
        "angles-only": [lambda n, d: angles(n, d).repeat_interleave(2, dim=1)],
        ("pe-off-by-one", "blocks-not-interleaved"): [
            lambda n, d: torch.cat([angles(n + 1, d)[1:].sin(), angles(n + 1, d)[1:].cos()], -1)
        ],
        ("pe-exponent-doubled", "cosine-first"): [
            encoding_by_channel(
                lambda p, j, d: p / 10000 ** (4 * (j // 2) / d), lambda j: math.sin if j % 2 else math.cos
            )
        ],
    },
    "add_positions": {
        "pe-overwrites-input": [lambda x, e: e[: x.shape[1]].expand_as(x), lambda x, e: 0 * x + e[: x.shape[1]]],
        "pe-overwrites-batch": [lambda x, e: e[: x.shape[1]]],
        "pe-concatenated-input": [lambda x, e: torch.cat([x, x], dim=1)],
        "pe-concatenated-encoding": [lambda x, e: torch.cat((x, torch.stack([e[: x.shape[1]]] * len(x))), 1)],
        "pe-concatenated-channels": [lambda x, e: torch.cat([x, e[: x.shape[1]].expand_as(x)], dim=2)],
        "encoding-ignored": [lambda x, e: x],
        "position-number-added": [lambda x, e: x + torch.arange(x.shape[1]).view(1, -1, 1)],
        "multiplied": [lambda x, e: x * e[: x.shape[1]]],
        "subtracted": [lambda x, e: x - e[: x.shape[1]]],
        "averaged": [lambda x, e: 0.5 * x + 0.5 * e[: x.shape[1]]],
        "embedding-scaled": [lambda x, e: math.sqrt(x.shape[2]) * x + e[: x.shape[1]]],
        "whole-table": [lambda x, e: x + e, lambda x, e: x + e.unsqueeze(0)],
        "rows-by-sentence": [lambda x, e: x + e[: len(x)]],
        "rows-of-sentences": [lambda x, e: torch.stack([x[b] + e[b] for b in range(len(x))])],
        "rows-by-channel": [lambda x, e: x + e[: x.shape[2]]],
        "last-rows": [lambda x, e: x + e[len(e) - x.shape[1] :]],
        "one-row-for-all": [lambda x, e: x + e[0]],
        "pe-off-by-one": [lambda x, e: x + e[1 : x.shape[1] + 1]],
        "rows-reversed": [lambda x, e: x + e[: x.shape[1]].flip(0)],
        "first-sentence-only": [lambda x, e: x[0] + e[: x.shape[1]]],
        ("multiplied", "whole-table"): [lambda x, e: x * e],
        ("embedding-scaled", "one-row-for-all"): [lambda x, e: x * math.sqrt(x.shape[-1]) + e[0]],
    },
    "shift_matrix": {
        "shift-reversed": [lambda s, d: shift_by_loop(-s, d), lambda s, d: shift_by_loop(s, d).T],
        "shift-ignored": [lambda s, d: shift_by_loop(1, d)],
        "shift-without-sign": [lambda s, d: shift_by_loop(abs(s), d)],
        "minus-missing": [shift_with(lambda c, s: [[c, s], [s, c]])],
        "reflected": [shift_with(lambda c, s: [[c, s], [s, -c]])],
        "sin-and-cos-swapped": [shift_with(lambda c, s: [[s, c], [-c, s]])],
        "cosines-only": [lambda s, d: shift_by_loop(s, d).diag().diag(), shift_with(lambda c, s: [[c, 0.0], [0.0, c]])],
        "identity": [lambda s, d: torch.eye(d)],
        "first-pair-only": [first_pair_only],
        "blocks-not-interleaved": [shift_in_blocks],
        "rotations-not-assembled": [lambda s, d: small_rotations(s, d).permute(2, 0, 1)],
        "rotations-in-one-row": [lambda s, d: small_rotations(s, d).permute(0, 2, 1).flatten(1)],
        "pe-exponent": [shift_with(rotation, lambda i, d: 1 / 10000**i)],
        "pe-exponent-without-i": [shift_with(rotation, lambda i, d: 1 / 10000 ** (2 / d))],
        "pe-exponent-zero": [shift_with(rotation, lambda i, d: 1)],
        "pe-exponent-doubled": [shift_with(rotation, lambda i, d: 1 / 10000 ** (4 * i / d))],
        "pe-exponent-halved": [shift_with(rotation, lambda i, d: 1 / 10000 ** (i / d))],
        "pe-exponent-multiplied": [shift_with(rotation, lambda i, d: 10000 ** (2 * i / d))],
        "wavelengths-to-the-end": [shift_with(rotation, lambda i, d: 1 / 10000 ** (i / max(d // 2 - 1, 1)))],
        "base-1000": [shift_with(rotation, lambda i, d: 1 / 1000 ** (2 * i / d))],
        "base-e": [shift_with(rotation, lambda i, d: math.exp(-2 * i / d))],
        "angles-times-2-pi": [shift_with(rotation, lambda i, d: 2 * math.pi / 10000 ** (2 * i / d))],
        ("minus-missing", "pe-exponent-doubled"): [
            shift_with(lambda c, s: [[c, s], [s, c]], lambda i, d: 1 / 10000 ** (4 * i / d))
        ],
        ("shift-reversed", "shift-ignored"): [lambda s, d: shift_by_loop(-1, d)],
    },
    "rotate_pairs": {
        "rotates-back": [
            lambda x, cos, sin: rotation_by_loop(x, cos, -sin),
            rotated(lambda a, b, c, s: (a * c + b * s, b * c - a * s)),
        ],
        "minus-missing": [rotated(lambda a, b, c, s: (a * c + b * s, a * s + b * c))],
        "reflected": [rotated(lambda a, b, c, s: (a * c - b * s, a * s - b * c))],
        "sin-and-cos-swapped": [lambda x, cos, sin: rotation_by_loop(x, sin, cos)],
        "overwritten-too-soon": [in_place],
        "cosine-only": [lambda x, cos, sin: x * cos.repeat_interleave(2, dim=1)],
        "second-channel-kept": [rotated(lambda a, b, c, s: (a * c - b * s, b))],
        "halves-not-pairs": [halves, halves_of_a_package],
        "not-interleaved-again": [lambda x, cos, sin: torch.cat(turn(x[..., ::2], x[..., 1::2], cos, sin), -1)],
        "halves-interleaved": [lambda x, cos, sin: torch.stack(turn(*x.chunk(2, -1), cos, sin), -1).flatten(-2)],
        "halves-swapped": [halves_swapped],
        "angles-tiled": [tiled],
        "pairs-left-apart": [lambda x, cos, sin: torch.stack(turn(x[..., ::2], x[..., 1::2], cos, sin), -1)],
        "channels-swapped": [rotated(lambda a, b, c, s: turn(a, b, c, s)[::-1])],
        "first-position-for-all": [lambda x, cos, sin: rotated(turn)(x, cos[0], sin[0])],
        "first-pair-for-all": [lambda x, cos, sin: rotated(turn)(x, cos[:, 0:1], sin[:, 0:1])],
        "first-pair-only": [
            lambda x, cos, sin: torch.cat([rotation_by_loop(x[..., :2], cos[:, :1], sin[:, :1]), x[..., 2:]], -1)
        ],
        "added-not-rotated": [lambda x, cos, sin: x + torch.stack([sin, cos], -1).flatten(-2)],
        "multiplied-not-rotated": [rotated(lambda a, b, c, s: (a * c, b * s))],
        "not-rotated": [lambda x, cos, sin: x],
        ("rotates-back", "not-interleaved-again"): [
            lambda x, cos, sin: torch.cat(turn(x[..., ::2], x[..., 1::2], cos, -sin), -1)
        ],
        ("rotates-back", "halves-not-pairs"): [lambda x, cos, sin: halves(x, cos, -sin)],
        ("overwritten-too-soon", "first-position-for-all"): [lambda x, cos, sin: in_place(x, cos[0], sin[0])],
    },
    "attend_cached": {
        "cache-position-reset": [cached_with(new_query=lambda q, n: turned(q), new_key=lambda k, n: turned(k))],
        "query-position-reset": [cached_with(new_query=lambda q, n: turned(q))],
        "key-position-reset": [cached_with(new_key=lambda k, n: turned(k))],
        "cached-keys-rotated-again": [everything_rotated],
        "position-one-too-large": [cached_with(count=lambda old: kept(old) + 1)],
        "position-one-too-small": [cached_with(count=lambda old: kept(old) - 1)],
        "positions-behind-all": [
            cached_with(lambda q, n: turned(q, n + q.shape[2]), lambda k, n: turned(k, n + k.shape[2]))
        ],
        "heads-counted": [cached_with(count=lambda old: old.shape[1])],
        "sentences-counted": [cached_with(count=len)],
        "new-values-first": [new_values_first],
        "one-position-for-all-new": [
            cached_with(*[lambda x, n: torch.cat([turned(one, n) for one in x.split(1, 2)], 2)] * 2)
        ],
        "not-rotated": [without_positions],
        "queries-not-rotated": [cached_with(new_query=lambda q, n: q)],
        "new-keys-not-rotated": [cached_with(new_key=lambda k, n: k)],
        "values-rotated": [values_rotated],
        "unrotated-keys-kept": [cached_with(returned=lambda o, k, v, new, old: (o, join(old, new), v))],
        "mask-missing": [cached_with(mask=lambda q, keys: None)],
        "mask-counts-from-first-key": [
            cached_with(mask=lambda q, keys: causal_mask(keys.shape[2])[: q.shape[2]])
        ],
        "mask-off-by-one": [
            cached_with(mask=lambda q, k: torch.ones(q.shape[2], k.shape[2]).tril(k.shape[2] - q.shape[2] - 1) > 0)
        ],
        "mask-one-ahead": [
            cached_with(mask=lambda q, k: torch.ones(q.shape[2], k.shape[2]).tril(k.shape[2] - q.shape[2] + 1) > 0)
        ],
        "mask-inverted": [cached_with(mask=lambda q, keys: ~causal(q, keys))],
        "cache-not-attended": [cache_not_attended],
        "new-before-cached": [new_before_cached],
        "cache-not-grown": [lambda q, k, v, old_k, old_v: (cached_by_loop(q, k, v, old_k, old_v)[0], old_k, old_v)],
        "only-new-returned": [
            lambda q, k, v, old_k, old_v: (cached_by_loop(q, k, v, old_k, old_v)[0], turned(k, kept(old_k)), v)
        ],
        "keys-and-values-swapped": [cached_with(returned=lambda o, k, v, new, old: (o, v, k))],
        "output-only": [cached_with(returned=lambda o, k, v, new, old: o)],
        "pattern-left-in": [pattern_left_in],
        "pattern-for-output": [pattern_for_output],
        "unscaled-scores": [unscaled],
        ("cached-keys-rotated-again", "unrotated-keys-kept"): [rotated_when_used],
        ("cached-keys-rotated-again", "query-position-reset"): [everything_rotated_queries_too],
        ("cache-position-reset", "mask-missing"): [
            cached_with(lambda q, n: turned(q), lambda k, n: turned(k), lambda q, keys: None)
        ],
        ("query-position-reset", "output-only"): [
            cached_with(lambda q, n: turned(q), returned=lambda o, k, v, new, old: o)
        ],
    },
    "alibi_bias": {
        "rewards-distance": [lambda *sizes: -alibi_bias(*sizes)],
        "signed-distance": [alibi_with(distance=lambda q, k: q - k)],
        "queries-from-zero": [alibi_with(first=lambda q, k: 0), lambda h, q, k: alibi_bias(h, k, k)[:, :q]],
        "queries-one-late": [alibi_with(first=lambda q, k: k - q + 1)],
        "all-positions-as-queries": [lambda h, q, k: alibi_bias(h, k, k)],
        "queries-and-keys-swapped": [lambda *sizes: alibi_bias(*sizes).transpose(1, 2)],
        "slopes-from-head-zero": [alibi_with(lambda h, n: 2 ** (-8 * (h - 1) / n))],
        "slopes-of-eight-heads": [alibi_with(lambda h, n: 1 / 2**h)],
        "slopes-not-divided": [alibi_with(lambda h, n: 2 ** (-8 * h))],
        "slopes-by-division": [alibi_with(lambda h, n: 2 ** (-8 / h))],
        "slopes-linear": [alibi_with(lambda h, n: h / n)],
        "slopes-grow": [alibi_with(lambda h, n: 2 ** (8 * h / n))],
        "slopes-with-e": [alibi_with(lambda h, n: math.exp(-8 * h / n))],
        "one-slope-for-all": [first_slope],
        "slopes-reversed": [lambda *sizes: alibi_bias(*sizes).flip(0)],
        "no-slopes": [alibi_with(lambda h, n: 1)],
        "squared-distance": [alibi_with(distance=lambda q, k: (q - k) ** 2)],
        "key-position-only": [alibi_with(distance=lambda q, k: -k)],
        "future-hidden-too": [lambda h, q, k: alibi_bias(h, q, k).masked_fill(~causal_mask(q, k), -math.inf)],
        "future-biased-by-zero": [alibi_with(distance=lambda q, k: max(q - k, 0))],
        "heads-missing": [lambda *sizes: alibi_bias(*sizes)[0]],
        ("slopes-from-head-zero", "rewards-distance"): [alibi_with(lambda h, n: -(2 ** (-8 * (h - 1) / n)))],
        ("slopes-of-eight-heads", "queries-from-zero"): [alibi_with(lambda h, n: 0.5**h, first=lambda q, k: 0)],
    },
}  # fmt: skip
UNKNOWN = {
    "sinusoidal_encoding": [
        seeded_noise,
        lambda n, d: torch.zeros(n, d),
        lambda n, d: encoding_by_loop(n, d) * 2,
        lambda n, d: encoding_by_loop(n, d).round(decimals=2),
        lambda n, d: interleaved(angles(n, d).tanh()),
        lambda n, d: F.one_hot(torch.arange(n) % d, d).to(torch.get_default_dtype()),
    ],
    "add_positions": [
        lambda x, e: torch.zeros_like(x),
        lambda x, e: x + e[: x.shape[1]].mean(0),
        lambda x, e: x + 2 * e[: x.shape[1]],
        lambda x, e: torch.maximum(x, e[: x.shape[1]]),
    ],
    "shift_matrix": [
        lambda s, d: torch.zeros(d, d),
        lambda s, d: 2 * shift_by_loop(s, d),
        lambda s, d: shift_by_loop(s, d).triu(),
        lambda s, d: torch.eye(d).roll(s, 0),
    ],
    "rotate_pairs": [
        lambda x, cos, sin: torch.zeros_like(x),
        lambda x, cos, sin: rotation_by_loop(rotation_by_loop(x, cos, sin), cos, sin),
        lambda x, cos, sin: rotation_by_loop(x, cos, sin).abs(),
        lambda x, cos, sin: rotation_by_loop(x, cos.flip(0), sin.flip(0)),
    ],
    "attend_cached": [
        cached_with(new_query=lambda q, n: turned(q, 2 * n), new_key=lambda k, n: turned(k, 2 * n)),
        cached_with(returned=lambda o, k, v, new, old: (torch.zeros_like(o), k, v)),
        cached_with(returned=lambda o, k, v, new, old: (o, k, v.flip(2))),
        cached_with(new_key=lambda k, n: turned(k, n).abs()),
    ],
    "alibi_bias": [
        lambda h, q, k: torch.zeros(h, q, k),
        alibi_with(distance=lambda q, k: abs(q - k) ** 0.5),
        alibi_with(lambda h, n: 2 ** (-4 * h / n)),
        alibi_with(distance=lambda q, k: min(abs(q - k), 1)),
    ],
}


# ---------------------------------------------------------------- inputs that no check knows


def fresh_rotations(seed: int) -> list[tuple]:
    shapes = [(4, 6), (2, 3, 10), (2, 2, 3, 4)]
    turns = [gaussian(shape[-2], shape[-1] // 2, seed=seed + 1) for shape in shapes]
    return [(gaussian(*shape, seed=seed), turn.cos(), turn.sin()) for shape, turn in zip(shapes, turns)]


def fresh_caches(seed: int) -> list[tuple]:
    def inputs(batch, heads, cached, new, d_head, d_value):
        lengths = [(new, d_head), (new, d_head), (new, d_value), (cached, d_head), (cached, d_value)]
        return tuple(gaussian(batch, heads, *length, seed=seed + i) for i, length in enumerate(lengths))

    return [inputs(1, 1, 6, 2, 4, 2), inputs(2, 2, 3, 4, 8, 6), inputs(1, 2, 0, 2, 4, 6)]


FRESH = {
    "sinusoidal_encoding": lambda seed: [(7 + seed // 50, 8), (9, 12)],
    "add_positions": lambda seed: [
        (gaussian(2, 3, 5, seed=seed), gaussian(7, 5, seed=seed + 1)),
        (gaussian(4, 2, 3, seed=seed), gaussian(2, 3, seed=seed + 1)),
    ],
    "shift_matrix": lambda seed: [(seed // 50, 8), (-5, 10)],
    "rotate_pairs": fresh_rotations,
    "attend_cached": fresh_caches,
    "alibi_bias": lambda seed: [(4, 3, 6), (seed // 20, 4, 4)],
}

"""Exercises of lesson 04: positions."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lab.attention import causal_mask, scaled_dot_product_attention
from transformer_lab.exercises.catalogue import Exercise, Mistake
from transformer_lab.exercises.lesson_02 import exactly, gaussian
from transformer_lab.positions import (
    alibi_bias,
    alibi_slopes,
    rotate_pairs,
    shift_matrix,
    sinusoidal_encoding,
    wavelengths,
)


def add_positions(
    x: Float[Tensor, "batch seq d_model"], encoding: Float[Tensor, "positions d_model"]
) -> Float[Tensor, "batch seq d_model"]:
    """Every sentence's token at position p gets row p of the encoding added; rows left over stay unused."""
    return x + encoding[: x.shape[1]]


def rotary(x: Float[Tensor, "*heads seq d_head"], first: int = 0) -> Float[Tensor, "*heads seq d_head"]:
    """Turn the vectors as if they stood at the positions first, first + 1, …"""
    positions = torch.arange(first, first + x.shape[-2])[:, None]
    angles = 2 * math.pi * positions / wavelengths(x.shape[-1])  # (seq, pairs)
    return rotate_pairs(x, angles.cos(), angles.sin())


def attend_cached(
    query: Float[Tensor, "batch heads new d_head"],
    key: Float[Tensor, "batch heads new d_head"],
    value: Float[Tensor, "batch heads new d_value"],
    cached_key: Float[Tensor, "batch heads cached d_head"],
    cached_value: Float[Tensor, "batch heads cached d_value"],
) -> tuple[
    Float[Tensor, "batch heads new d_value"],
    Float[Tensor, "batch heads all d_head"],
    Float[Tensor, "batch heads all d_value"],
]:
    """Causal attention of the new tokens, which stand behind the cached ones, with rotary positions.

    Cached keys are rotated already. Returns the output, all keys (rotated) and all values; the last two are the
    cache of the next call.
    """
    n_cached = cached_key.shape[-2]
    all_keys = torch.cat([cached_key, rotary(key, first=n_cached)], dim=-2)
    all_values = torch.cat([cached_value, value], dim=-2)
    mask = causal_mask(query.shape[-2], all_keys.shape[-2])  # the queries are the last of the keys
    output, _ = scaled_dot_product_attention(rotary(query, first=n_cached), all_keys, all_values, mask)
    return output, all_keys, all_values


# ---------------------------------------------------------------- probes


def encoding_probes() -> dict[str, tuple]:
    return {
        "one position, one pair": (1, 2),
        "3 positions, one pair": (3, 2),
        "2 positions, 2 pairs": (2, 4),
        "4 positions, 4 channels": (4, 4),
        "5 positions, 8 channels": (5, 8),
        "40 positions, 6 channels": (40, 6),
    }


def adding_probes() -> dict[str, tuple]:
    return {
        "one sentence of one token": (exactly([[[1, 2]]]), exactly([[10, 20]])),
        "two tokens with the same vector": (exactly([[[1, 2], [1, 2]]]), exactly([[0, 1], [10, 20]])),
        "more rows than tokens": (exactly([[[1, 2]]]), exactly([[10, 20], [30, 40]])),
        "2 sentences of 3 tokens, d_model = 4, 5 rows": (gaussian(2, 3, 4), gaussian(5, 4, seed=1)),
        "2 sentences of 4 tokens, d_model = 4, 6 rows": (gaussian(2, 4, 4), gaussian(6, 4, seed=1)),
        "3 sentences of 3 tokens, d_model = 3, 3 rows": (gaussian(3, 3, 3), gaussian(3, 3, seed=1)),
    }


def shift_probes() -> dict[str, tuple]:
    return {
        "no shift": (0, 2),
        "1 position on, one pair": (1, 2),
        "1 position back, one pair": (-1, 2),
        "1 position on, 2 pairs": (1, 4),
        "3 positions on, 3 pairs": (3, 6),
        "7 positions back, 4 pairs": (-7, 8),
        "16 positions on, 2 pairs": (16, 4),
    }


def rotation_probes() -> dict[str, tuple]:
    def probe(*shape: int) -> tuple:
        angles = 3 * gaussian(shape[-2], shape[-1] // 2, seed=1)  # in all four quadrants
        return gaussian(*shape), angles.cos(), angles.sin()

    third = exactly([[math.pi / 3]])
    return {
        "one pair [1, 0], no turn": (exactly([[1, 0]]), exactly([[1]]), exactly([[0]])),
        "one pair [1, 0], a quarter turn": (exactly([[1, 0]]), exactly([[0]]), exactly([[1]])),
        "one pair [0, 1], a quarter turn": (exactly([[0, 1]]), exactly([[0]]), exactly([[1]])),
        "2 pairs [1, 2, 3, 4], a quarter turn": (exactly([[1, 2, 3, 4]]), exactly([[0, 0]]), exactly([[1, 1]])),
        "one pair [3, 4], a sixth of a turn": (exactly([[3, 4]]), third.cos(), third.sin()),
        "3 positions, one pair": probe(3, 2),
        "2 positions, 2 pairs": probe(2, 4),
        "4 positions, 4 pairs": probe(4, 8),
        "2 sentences, 3 heads, 5 positions, 3 pairs": probe(2, 3, 5, 6),
    }


def cache_probes() -> dict[str, tuple]:
    def probe(cached: int, new: int, batch: int = 1, heads: int = 1, d_head: int = 2, d_value: int = 2) -> tuple:
        shapes = [(new, d_head), (new, d_head), (new, d_value), (cached, d_head), (cached, d_value)]
        query, key, value, old_key, old_value = (gaussian(batch, heads, *s, seed=i) for i, s in enumerate(shapes))
        return query, key, value, rotary(old_key), old_value

    empty, ones = torch.zeros(1, 1, 0, 2, dtype=torch.float64), exactly([[[[1, 0]]]])
    return {
        "nothing kept, one new token": (ones, ones, exactly([[[[8, 4]]]]), empty, empty),
        "one kept, one new token, all keys and queries [1, 0]": (
            ones, ones, exactly([[[[8, 4]]]]), ones, exactly([[[[0, 0]]]])
        ),
        "nothing kept, 3 new tokens": probe(0, 3),
        "3 kept, one new token": probe(3, 1, d_head=4),
        "3 kept, 3 new tokens": probe(3, 3, d_head=4),
        "2 heads, 3 kept, 4 new tokens, d_head = 6, d_value = 4": probe(3, 4, heads=2, d_head=6, d_value=4),
        "2 sentences, 3 heads, 5 kept, 2 new tokens": probe(5, 2, batch=2, heads=3, d_head=4, d_value=6),
    }  # fmt: skip


def alibi_probes() -> dict[str, tuple]:
    return {
        "1 head, 1 token": (1, 1, 1),
        "8 heads, 2 tokens": (8, 2, 2),
        "1 query after 3 earlier tokens, 2 heads": (2, 1, 4),
        "8 heads, 4 tokens": (8, 4, 4),
        "3 heads, 2 queries, 5 keys": (3, 2, 5),
    }


# ---------------------------------------------------------------- exercises

POWERS = "base ** (torch.arange(0, d_model, 2) / d_model)"

# What goes wrong with the speed of a pair, in the encoding as in the matrix that shifts it.
RATE_MISTAKES = (
    Mistake(
        "pe-exponent",
        "The divisor is 10000^i: pair 1 turns 10,000 times slower than pair 0, and no speed lies between. The exponent "
        "is 2i / d_model, which stays below 1.",
        {POWERS: "base ** torch.arange(0.0, d_model // 2)"},
    ),
    Mistake(
        "pe-exponent-without-i",
        "Every pair has the same divisor, 10000^(2 / d_model): i is missing from the exponent 2i / d_model.",
        {POWERS: "base ** (torch.full((d_model // 2,), 2) / d_model)"},
    ),
    Mistake(
        "pe-exponent-zero",
        "Every pair turns like pair 0. Pair i turns by 1 / 10000^(2i / d_model). (If there is a `//` in your "
        "exponent, it rounds to 0.)",
        {POWERS: "base ** (0 * torch.arange(0, d_model, 2))"},
    ),
    Mistake(
        "pe-exponent-doubled",
        "The exponent is 4i / d_model, twice too large. If your counter goes 0, 2, 4, …, it is 2i already.",
        {POWERS: "base ** (2 * torch.arange(0, d_model, 2) / d_model)"},
    ),
    Mistake(
        "pe-exponent-halved",
        "The divisor is 10000^(i / d_model), which is 100^(2i / d_model). With more and more pairs the last divisor "
        "should come near to 10000, not to 100.",
        {POWERS: "base ** (torch.arange(0, d_model, 2) / d_model / 2)"},
    ),
    Mistake(
        "pe-exponent-multiplied",
        "Multiplied by 10000^(2i / d_model), not divided: each pair turns faster than the one before. Each should be "
        "slower.",
        {"2 * math.pi * base ** (torch.arange": "2 * math.pi * base ** (-torch.arange"},
    ),
    Mistake(
        "wavelengths-to-the-end",
        "The exponents run from 0 to 1, both included. They are 2i / d_model, and the last is 1 − 2 / d_model.",
        {POWERS: "base ** torch.linspace(0, 1, d_model // 2)"},
    ),
    Mistake(
        "base-1000",
        "The base is 1000. It is 10000, with four zeros.",
        {POWERS: "1000 ** (torch.arange(0, d_model, 2) / d_model)"},
    ),
    Mistake(
        "base-e",
        "The divisor is e^(2i / d_model), so all pairs turn at nearly the same speed. With exp, the exponent "
        "needs the factor log(10000).",
        {POWERS: "math.e ** (torch.arange(0, d_model, 2) / d_model)"},
    ),
    Mistake(
        "angles-times-2-pi",
        "Every angle is 2π times too large: the angle itself is in radians, p / 10000^(2i / d_model) at position p. "
        "2π belongs to the wavelength only.",
        {"2 * math.pi * base": "base"},
    ),
)  # fmt: skip

PAIRED = "torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)"
BY_CHANNEL = "angles = torch.arange(n_positions)[:, None] / base ** (torch.arange(d_model) / d_model)\n    "
EVEN_OR_ODD = "torch.where(torch.arange(d_model) % 2 == 0, angles.sin(), angles.cos())"
TURNED = "torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)"
COUNT = "n_cached = cached_key.shape[-2]\n"
NEW_KEY, NEW_QUERY = "rotary(key, first=n_cached)", "rotary(query, first=n_cached)"
MASK = "causal_mask(query.shape[-2], all_keys.shape[-2])"

EXERCISES = [
    Exercise(
        sinusoidal_encoding,
        encoding_probes,
        difficulty="medium",
        minutes=12,
        helpers=(wavelengths,),
        part="sinusoidal_encoding",
        mistakes=(
            Mistake(
                "pe-scalar-sum",
                "Sines and cosines of all pairs are added up to one number, and every channel holds it. One number "
                "cannot keep the positions apart: each channel needs its own sine or cosine.",
                {PAIRED: "(angles.sin() + angles.cos()).sum(-1, keepdim=True).expand(-1, d_model)"},
            ),
            Mistake(
                "pe-scalar-sum-alone",
                "Sines and cosines of all pairs are added up to one number a position. Each position needs d_model "
                "numbers: one sine and one cosine for each pair.",
                {PAIRED: "(angles.sin() + angles.cos()).sum(-1)"},
            ),
            Mistake(
                "sine-plus-cosine",
                "Both channels of a pair hold sine plus cosine. They belong side by side: the sine in the first, the "
                "cosine in the second.",
                {PAIRED: "(angles.sin() + angles.cos()).repeat_interleave(2, -1)"},
            ),
            Mistake(
                "pe-power",
                "sin(p / 10000)^n + cos(p / 10000)^n, with n = 1, 2, …, d_model. The exponent belongs to 10000, inside "
                "the sine and the cosine; so all positions get nearly the same row.",
                {f"return {PAIRED}": "slow, n = torch.arange(n_positions)[:, None] / base, torch.arange(1, d_model + 1)\n"
                                     "    return slow.sin() ** n + slow.cos() ** n"},
            ),
            Mistake(
                "pe-power-from-zero",
                "sin(p / 10000)^n + cos(p / 10000)^n, with n = 0, 1, …, d_model − 1. The exponent belongs to 10000, "
                "inside the sine and the cosine; so all positions get nearly the same row.",
                {f"return {PAIRED}": "slow, n = torch.arange(n_positions)[:, None] / base, torch.arange(d_model)\n"
                                     "    return slow.sin() ** n + slow.cos() ** n"},
            ),
            Mistake(
                "pe-power-of-the-sine",
                "The sine and the cosine of p / 10000 are raised to the power 2i / d_model. The exponent belongs to "
                "10000 alone: sin(p / 10000^(2i / d_model)).",
                {PAIRED: "(torch.stack([(torch.arange(n_positions)[:, None] / base).sin(), "
                         "(torch.arange(n_positions)[:, None] / base).cos()], -1) "
                         "** (torch.arange(0, d_model, 2) / d_model)[:, None]).flatten(-2)"},
            ),
            Mistake(
                "pe-power-of-the-fraction",
                "The whole fraction p / 10000 is raised to the power 2i / d_model. The exponent belongs to 10000 alone: "
                "p / (10000^(2i / d_model)).",
                {"return torch": "angles = (torch.arange(n_positions)[:, None] / base) ** "
                                 "(torch.arange(0, d_model, 2) / d_model)\n    return torch"},
            ),
            Mistake(
                "pe-sin-only",
                "Sines in both channels of a pair. A sine is the same on the way up and on the way down, and only with "
                "its cosine does it say where the hand points: the second channel is a cosine.",
                {PAIRED: PAIRED.replace("cos", "sin")},
            ),
            Mistake(
                "pe-sin-only-by-channel",
                "A sine in every channel, each with a speed of its own. Channels come in pairs of one speed, a sine and "
                "a cosine.",
                {f"return {PAIRED}": BY_CHANNEL + "return angles.sin()"},
            ),
            Mistake(
                "cosine-only",
                "Cosines in both channels of a pair. A cosine alone does not know which way the hand moves: the first "
                "channel is a sine.",
                {PAIRED: PAIRED.replace("sin", "cos")},
            ),
            Mistake(
                "cosines-missing",
                "The second channel of each pair is 0. It holds the cosine.",
                {PAIRED: PAIRED.replace("angles.cos()", "0 * angles")},
            ),
            Mistake(
                "pe-random-noise",
                "Two calls with the same sizes gave two different tables: something random goes in, or something is "
                "kept from one call to the next. The table must be a function of the position alone, or a position "
                "cannot be recognised.",
                {PAIRED: f"{PAIRED} + 0.1 * torch.randn(n_positions, d_model)"},
            ),
            *RATE_MISTAKES,
            Mistake(
                "pe-speed-by-channel",
                "Every channel has a speed of its own, from 10000^(channel / d_model). Sine and cosine of a pair share "
                "one: channels 2i and 2i + 1 both have 10000^(2i / d_model).",
                {f"return {PAIRED}": BY_CHANNEL + f"return {EVEN_OR_ODD}"},
            ),
            Mistake(
                "pe-exponent-by-channel",
                "The channel's number stands where the pair's number i should: the exponent is 2 · channel / d_model. "
                "Channels 2i and 2i + 1 both have 2i / d_model.",
                {f"return {PAIRED}": BY_CHANNEL.replace("arange(d_model)", "arange(0, 2 * d_model, 2)")
                                     + f"return {EVEN_OR_ODD}"},
            ),
            Mistake(
                "pe-off-by-one",
                "Positions are counted from 1. They count from 0, so that row 0 is 0, 1, 0, 1, …",
                {"torch.arange(n_positions)": "torch.arange(1, n_positions + 1)"},
            ),
            Mistake(
                "position-as-fraction",
                "The position is divided by the number of positions, so one step means less in a longer table. "
                "p is the position itself: 0, 1, 2, …",
                {"torch.arange(n_positions)[:, None]": "torch.arange(n_positions)[:, None] / n_positions"},
            ),
            Mistake(
                "cosine-first",
                "Each pair has its cosine before its sine. Channel 2i holds the sine, 2i + 1 the cosine; row 0 is "
                "0, 1, 0, 1, …",
                {PAIRED: "torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(-2)"},
            ),
            Mistake(
                "blocks-not-interleaved",
                "All first channels of the pairs stand in the first half, all second ones in the other. Many programs do "
                "it so and lose nothing, but here a pair's two stand side by side.",
                {PAIRED: "torch.cat([angles.sin(), angles.cos()], dim=-1)"},
            ),
            Mistake(
                "pairs-left-apart",
                "Sine and cosine have an axis of their own. Flatten the last two axes into one, d_model.",
                {PAIRED: "torch.stack([angles.sin(), angles.cos()], dim=-1)"},
            ),
            Mistake(
                "batch-axis-added",
                "There is one axis too many, in front. Asked for is the table alone; when it is added, torch repeats "
                "it for every sentence by itself.",
                {PAIRED: f"{PAIRED}[None]"},
            ),
            Mistake(
                "table-transposed",
                "A column for each position. Row p is position p.",
                {PAIRED: f"{PAIRED}.T"},
            ),
            Mistake(
                "angles-only",
                "These are the angles, each twice. The sine of an angle belongs into the first channel of its pair, "
                "the cosine into the second.",
                {PAIRED: "angles.repeat_interleave(2, -1)"},
            ),
        ),
        hints=(
            "First the angles, a table of (positions, pairs): position p divided by 10000^(2i / d_model), for "
            "i = 0, 1, …, d_model / 2 − 1.",
            "`torch.arange(n_positions)[:, None]` is a column of positions and `torch.arange(0, d_model, 2)` a row that "
            "holds 2i. One divided by a power of the other gives all angles at once.",
            "With `table = torch.zeros(n_positions, d_model)`, the even channels are `table[:, 0::2]` and the odd ones "
            "`table[:, 1::2]`.",
            "`angles = torch.arange(n_positions)[:, None] / 10000 ** (torch.arange(0, d_model, 2) / d_model)`; then "
            "`table[:, 0::2] = angles.sin()`, and the cosines in `table[:, 1::2]`.",
        ),
        remark="Vaswani et al. 2017, section 3.5. The table holds nothing to train, so a longer one costs nothing: "
        "the paper hoped that it would help with longer texts. Section 4.10 measures that.",
    ),
    Exercise(
        add_positions,
        adding_probes,
        difficulty="easy",
        minutes=4,
        part="add_positions",
        mistakes=(
            Mistake(
                "pe-overwrites-input",
                "The encoding comes back in place of the tokens' vectors: whatever the words are, the result is the "
                "same. Add the two.",
                {"x + encoding[: x.shape[1]]": "encoding[: x.shape[1]].expand_as(x)"},
            ),
            Mistake(
                "pe-overwrites-batch",
                "Only rows of the encoding come back: the tokens' vectors, and the axis of sentences, are lost. "
                "Add the rows to x.",
                {"x + encoding[: x.shape[1]]": "encoding[: x.shape[1]]"},
            ),
            Mistake(
                "pe-concatenated-input",
                "The tokens' vectors are joined to themselves along the sequence, which doubles its length, and no "
                "position comes in. Add the encoding, with `+`.",
                {"x + encoding[: x.shape[1]]": "torch.cat([x, x], dim=1)"},
            ),
            Mistake(
                "pe-concatenated-encoding",
                "The encoding is joined to the sentence as if it were more tokens: the length doubles, and no word is "
                "tied to its place. Add the two, entry by entry.",
                {"x + encoding[: x.shape[1]]": "torch.cat([x, encoding[: x.shape[1]].expand_as(x)], dim=1)"},
            ),
            Mistake(
                "pe-concatenated-channels",
                "The encoding stands beside each vector, which makes d_model twice as large. That keeps both, but here "
                "they are added and d_model stays.",
                {"x + encoding[: x.shape[1]]": "torch.cat([x, encoding[: x.shape[1]].expand_as(x)], dim=-1)"},
            ),
            Mistake(
                "encoding-ignored",
                "The encoding is not used: no position comes in.",
                {"x + encoding[: x.shape[1]]": "x"},
            ),
            Mistake(
                "position-number-added",
                "The position's number, 0, 1, 2, …, stands in for the encoding, which is not used. Add row p of the "
                "encoding.",
                {"encoding[: x.shape[1]]": "torch.arange(x.shape[1])[:, None]"},
            ),
            Mistake(
                "multiplied",
                "Multiplied by the encoding, not added to it. Where an entry of the encoding is 0, the word is lost.",
                {"x + encoding": "x * encoding"},
            ),
            Mistake(
                "subtracted",
                "The encoding is taken away from x. Add it.",
                {"x + encoding": "x - encoding"},
            ),
            Mistake(
                "averaged",
                "The result is halved. Only add.",
                {"return x + ": "return 0.5 * x + 0.5 * "},
            ),
            Mistake(
                "embedding-scaled",
                "x is multiplied by √d_model first. The paper does that to its embeddings (section 3.4), before the "
                "positions come in; here x is added as it is.",
                {"x + encoding": "x * x.shape[-1] ** 0.5 + encoding"},
            ),
            Mistake(
                "whole-table",
                "The whole encoding is added, which fails or gives a wrong shape as soon as it has more rows than a "
                "sentence has tokens. Take only as many rows as there are tokens.",
                {"encoding[: x.shape[1]]": "encoding"},
            ),
            Mistake(
                "rows-by-sentence",
                "The number of sentences decides how many rows are taken, axis 0 of x. The tokens are axis 1.",
                {"encoding[: x.shape[1]]": "encoding[: x.shape[0]]"},
            ),
            Mistake(
                "rows-of-sentences",
                "Sentence number b gets row b, for all its tokens. The row goes by the token's place in its sentence.",
                {"encoding[: x.shape[1]]": "encoding[: x.shape[0], None]"},
            ),
            Mistake(
                "rows-by-channel",
                "d_model decides how many rows are taken, the last axis of x. The tokens are axis 1.",
                {"encoding[: x.shape[1]]": "encoding[: x.shape[-1]]"},
            ),
            Mistake(
                "last-rows",
                "The last rows of the encoding are taken. The first token has position 0: take the first rows.",
                {"encoding[: x.shape[1]]": "encoding[-x.shape[1] :]"},
            ),
            Mistake(
                "one-row-for-all",
                "Every token gets row 0. The token at position p gets row p.",
                {"encoding[: x.shape[1]]": "encoding[0]"},
            ),
            Mistake(
                "pe-off-by-one",
                "The rows from 1 on are taken. The first token has position 0, and row 0.",
                {"encoding[: x.shape[1]]": "encoding[1 : x.shape[1] + 1]"},
            ),
            Mistake(
                "rows-reversed",
                "The rows go to the tokens in reverse: the first token gets the last of them.",
                {"encoding[: x.shape[1]]": "encoding[: x.shape[1]].flip(0)"},
            ),
            Mistake(
                "first-sentence-only",
                "Only the first sentence comes back, and the axis of sentences is lost. All get the same rows added.",
                {"x + encoding": "x[0] + encoding"},
            ),
        ),
        hints=(
            "A sentence has `x.shape[1]` tokens, and the token at position p needs row p.",
            "Take the first rows of the table with a slice, `encoding[:n]`.",
            "(batch, seq, d_model) + (seq, d_model) works as it stands: torch adds the same rows to every sentence. "
            "So it is x plus the first `x.shape[1]` rows.",
        ),
        remark="The Transformer of 2017 and GPT do this once, before the first layer; the 2017 paper's dropout then works "
        "on the sum (section 5.4).",
    ),
    Exercise(
        shift_matrix,
        shift_probes,
        difficulty="medium",
        minutes=12,
        helpers=(wavelengths,),
        mistakes=(
            Mistake(
                "shift-reversed",
                "The matrix moves back where it should move on. In our encoding a pair is (sine, cosine), so its "
                "matrix is [[cos, sin], [−sin, cos]].",
                {"[cos, sin], -1": "[cos, -sin], -1", "[-sin, cos], -1": "[sin, cos], -1"},
            ),
            Mistake(
                "shift-ignored",
                "The matrix moves by one position whatever shift is. The angle of a pair is shift · omega.",
                {"math.pi * shift": "math.pi"},
            ),
            Mistake(
                "shift-without-sign",
                "The sign of shift has no effect. The angle has the sign of shift.",
                {"math.pi * shift": "math.pi * abs(shift)"},
            ),
            Mistake(
                "minus-missing",
                "Both sines have the same sign. One of the two in a rotation has a minus; here the lower left: [[cos, "
                "sin], [−sin, cos]].",
                {"[-sin, cos], -1": "[sin, cos], -1"},
            ),
            Mistake(
                "reflected",
                "Your small matrices are mirrors, not rotations. A rotation is [[cos, sin], [−sin, cos]].",
                {"[-sin, cos], -1": "[sin, -cos], -1"},
            ),
            Mistake(
                "sin-and-cos-swapped",
                "Sine and cosine have changed places in the small matrices. With no shift a pair must stay, so the "
                "cosines belong on the diagonal.",
                {"[cos, sin], -1": "[sin, cos], -1", "[-sin, cos], -1": "[-cos, sin], -1"},
            ),
            Mistake(
                "cosines-only",
                "The sines are missing. The new sine needs the old cosine too, and the other way round.",
                {"[cos, sin], -1": "[cos, 0 * sin], -1", "[-sin, cos], -1": "[0 * sin, cos], -1"},
            ),
            Mistake(
                "identity",
                "The matrix moves nothing, whatever shift is.",
                {"torch.block_diag(*rotations)": "torch.eye(d_model)"},
            ),
            Mistake(
                "first-pair-only",
                "Only the first pair is turned, the others stay. Each pair has its own small rotation.",
                {"torch.block_diag(*rotations)": "torch.block_diag(rotations[0], torch.eye(d_model - 2))"},
            ),
            Mistake(
                "blocks-not-interleaved",
                "This matrix is for an encoding with all sines first and all cosines after. Here pair i is in the "
                "channels 2i and 2i + 1, so the small rotations stand along the diagonal.",
                {"torch.block_diag(*rotations)":
                     "torch.cat([torch.cat([cos.diag(), sin.diag()], 1), torch.cat([-sin.diag(), cos.diag()], 1)])"},
            ),
            Mistake(
                "rotations-not-assembled",
                "These are the small matrices, one a pair. Put them along the diagonal of one matrix, with zeros "
                "elsewhere.",
                {"torch.block_diag(*rotations)": "rotations"},
            ),
            Mistake(
                "rotations-in-one-row",
                "The small matrices stand side by side. They belong along the diagonal of a square matrix.",
                {"torch.block_diag(*rotations)": "torch.cat(list(rotations), -1)"},
            ),
            *RATE_MISTAKES,
        ),
        hints=(
            "No pair needs to know of another: each has a small matrix of 2 × 2, and they stand along the diagonal.",
            "Pair i turns by the angle shift / 10000^(2i / d_model), and its matrix is [[cos, sin], [−sin, cos]].",
            "Start from `torch.zeros(d_model, d_model)`. The matrix of pair i fills rows and columns 2i and 2i + 1. "
            "Or collect them in a list and use `torch.block_diag(*matrices)`.",
            "In a loop over i = 0, …, d_model // 2 − 1, with c and s the cosine and sine of the angle: "
            "`matrix[2 * i, 2 * i] = matrix[2 * i + 1, 2 * i + 1] = c`, `matrix[2 * i, 2 * i + 1] = s` and "
            "`matrix[2 * i + 1, 2 * i] = -s`.",
        ),
        remark="Vaswani et al. 2017 claim in section 3.5 that this matrix exists, and do not write it down. "
        "The same small rotations, put on queries and keys, are rotary positions.",
    ),
    Exercise(
        rotate_pairs,
        rotation_probes,
        difficulty="medium",
        minutes=10,
        part="rotate_pairs",
        mistakes=(
            Mistake(
                "rotates-back",
                "The turn goes the other way, clockwise. (a, b) becomes (a cos θ − b sin θ, a sin θ + b cos θ): the "
                "minus is in the first.",
                {"even * cos - odd * sin, even * sin + odd * cos": "even * cos + odd * sin, odd * cos - even * sin"},
            ),
            Mistake(
                "minus-missing",
                "There is no minus, so lengths change. A turn makes (a cos θ − b sin θ, a sin θ + b cos θ) of (a, b).",
                {"even * cos - odd * sin": "even * cos + odd * sin"},
            ),
            Mistake(
                "reflected",
                "a sin θ − b cos θ stands where a sin θ + b cos θ should: that mirrors the pair. With a plus it is a "
                "turn.",
                {"even * sin + odd * cos": "even * sin - odd * cos"},
            ),
            Mistake(
                "sin-and-cos-swapped",
                "Sine and cosine have changed places. With no turn, cos = 1 and sin = 0, the pair must stay as it is.",
                {"even * cos - odd * sin, even * sin + odd * cos": "even * sin - odd * cos, even * cos + odd * sin"},
            ),
            Mistake(
                "overwritten-too-soon",
                "The second of a pair is computed from the new first, not from the old one. Both need the old two: keep "
                "them until both are done.",
                {f"return {TURNED}": "even = even * cos - odd * sin\n    odd = even * sin + odd * cos\n"
                                     "    return torch.stack([even, odd], dim=-1).flatten(-2)"},
            ),
            Mistake(
                "cosine-only",
                "Each channel is multiplied by its cosine, and the sines are not used. A turn mixes the two channels of "
                "a pair.",
                {"even * cos - odd * sin, even * sin + odd * cos": "even * cos, odd * cos"},
            ),
            Mistake(
                "second-channel-kept",
                "Only the first channel of each pair is changed. The second becomes a sin θ + b cos θ.",
                {"even * sin + odd * cos": "odd"},
            ),
            Mistake(
                "halves-not-pairs",
                "Channel i is turned with channel i + d_head / 2, the first half with the second. Some programs do it "
                "so; here a pair is two neighbours, 2i and 2i + 1.",
                {"x[..., 0::2], x[..., 1::2]": "x.chunk(2, -1)", "torch.stack(": "torch.cat(", ").flatten(-2)": ")"},
            ),
            Mistake(
                "not-interleaved-again",
                "The first channels of all pairs come before all second ones. Put each pair back side by side.",
                {"torch.stack(": "torch.cat(", ").flatten(-2)": ")"},
            ),
            Mistake(
                "halves-interleaved",
                "Taken apart as two halves, and put together as pairs of neighbours. Both must be neighbours: "
                "channels 2i and 2i + 1.",
                {"x[..., 0::2], x[..., 1::2]": "x.chunk(2, -1)"},
            ),
            Mistake(
                "halves-swapped",
                "Each channel is mixed with the one half a vector away, by the angles of neighbouring pairs. "
                "Channel 2i is mixed with 2i + 1.",
                {f"return {TURNED}": "first, second = x.chunk(2, -1)\n"
                                     "    return x * cos.repeat_interleave(2, -1) "
                                     "+ torch.cat([-second, first], -1) * sin.repeat_interleave(2, -1)"},
            ),
            Mistake(
                "angles-tiled",
                "The channels of a pair get different angles: the cosines and sines are laid out as 0, 1, …, 0, 1, … "
                "Each must stand twice in a row, 0, 0, 1, 1, …, as repeat_interleave does.",
                {f"return {TURNED}": "swapped = torch.stack([-odd, even], -1).flatten(-2)\n"
                                     "    return x * cos.repeat(1, 2) + swapped * sin.repeat(1, 2)"},
            ),
            Mistake(
                "pairs-left-apart",
                "The two channels of a pair have an axis of their own, (…, pairs, 2). Flatten the last two axes into "
                "one, d_head.",
                {").flatten(-2)": ")"},
            ),
            Mistake(
                "channels-swapped",
                "The two channels of each pair have changed places. a cos θ − b sin θ comes first.",
                {"even * cos - odd * sin, even * sin + odd * cos": "even * sin + odd * cos, even * cos - odd * sin"},
            ),
            Mistake(
                "first-position-for-all",
                "Every position is turned by the angles of position 0. Row p of cos and sin belongs to position p.",
                {"even, odd =": "cos, sin = cos[:1], sin[:1]\n    even, odd ="},
            ),
            Mistake(
                "first-pair-for-all",
                "Every pair is turned by the angle of pair 0. Column i of cos and sin belongs to pair i.",
                {"even, odd =": "cos, sin = cos[:, :1], sin[:, :1]\n    even, odd ="},
            ),
            Mistake(
                "first-pair-only",
                "Only the first pair of channels is turned, the others stay. Every pair turns, each by its own angle.",
                {f"return {TURNED}": f"turned = {TURNED}\n    return torch.cat([turned[..., :2], x[..., 2:]], dim=-1)"},
            ),
            Mistake(
                "added-not-rotated",
                "Sines and cosines are added to x. Rotary positions add nothing: they turn the pairs.",
                {TURNED: "x + torch.stack([sin, cos], dim=-1).flatten(-2)"},
            ),
            Mistake(
                "multiplied-not-rotated",
                "The first channel of a pair is multiplied by the cosine and the second by the sine. A turn mixes the two.",
                {"even * cos - odd * sin, even * sin + odd * cos": "even * cos, odd * sin"},
            ),
            Mistake(
                "not-rotated",
                "Nothing is turned: sines and cosines change nothing.",
                {TURNED: "x"},
            ),
        ),
        hints=(
            "The first channels of all pairs are `x[..., 0::2]`, the second ones `x[..., 1::2]`; each is as wide as cos.",
            "Call them a and b. The turned pair is a cos θ − b sin θ and a sin θ + b cos θ, for all pairs at once.",
            "Put them side by side again: `torch.stack([first, second], dim=-1)` has shape (…, pairs, 2), and "
            "`.flatten(-2)` makes d_head of the last two axes.",
        ),
        remark="A pair is a complex number, and this multiplies it by e^(iθ). torch has such numbers: `view_as_complex`. "
        "Equation 34 of RoFormer (Su et al. 2021).",
    ),
    Exercise(
        attend_cached,
        cache_probes,
        difficulty="hard",
        minutes=20,
        helpers=(rotary,),
        mistakes=(
            Mistake(
                "query-position-reset",
                "The new queries are turned as if they stood at 0, 1, 2, … Like the new keys, they come after the kept "
                "tokens.",
                {NEW_QUERY: "rotary(query)"},
            ),
            Mistake(
                "key-position-reset",
                "The new keys are turned as if they stood at 0, 1, 2, … Like the new queries, they come after the kept "
                "tokens.",
                {NEW_KEY: "rotary(key)"},
            ),
            Mistake(
                "cache-position-reset",
                "The new queries and keys are turned as if they stood at 0, 1, 2, … But the kept tokens stand there: "
                "the first new position is the number of kept tokens. So the distances to all kept keys are wrong.",
                {NEW_KEY: "rotary(key)", NEW_QUERY: "rotary(query)"},
            ),
            Mistake(
                "cached-keys-rotated-again",
                "The kept keys are turned a second time, so they stand at twice their positions. They were turned when "
                "they were kept: turn only the new ones.",
                {f"torch.cat([cached_key, {NEW_KEY}], dim=-2)": "rotary(torch.cat([cached_key, key], dim=-2))"},
            ),
            Mistake(
                "position-one-too-large",
                "The new tokens stand one position too far on. Positions count from 0: after n kept tokens the next "
                "position is n.",
                {COUNT: "n_cached = cached_key.shape[-2] + 1\n"},
            ),
            Mistake(
                "position-one-too-small",
                "The new tokens stand one position too early. After n kept tokens the next position is n.",
                {COUNT: "n_cached = cached_key.shape[-2] - 1\n"},
            ),
            Mistake(
                "positions-behind-all",
                "The positions start at the number of all keys, kept and new. They start at the number of kept ones.",
                {COUNT: "n_cached = cached_key.shape[-2] + key.shape[-2]\n"},
            ),
            Mistake(
                "heads-counted",
                "The positions start at the number of heads. The kept tokens are counted by the axis before the last, "
                "`cached_key.shape[-2]`.",
                {COUNT: "n_cached = cached_key.shape[-3]\n"},
            ),
            Mistake(
                "sentences-counted",
                "The positions start at the number of sentences. The kept tokens are counted by the axis before the "
                "last, `cached_key.shape[-2]`.",
                {COUNT: "n_cached = cached_key.shape[0]\n"},
            ),
            Mistake(
                "one-position-for-all-new",
                "All new tokens are turned by the angles of the first of them. Each stands one position further on.",
                {"torch.arange(first, first + x.shape[-2])[:, None]": "torch.full((x.shape[-2], 1), first)"},
            ),
            Mistake(
                "not-rotated",
                "New queries and keys are not turned at all, but the kept keys are.",
                {NEW_KEY: "key", NEW_QUERY: "query"},
            ),
            Mistake(
                "queries-not-rotated",
                "The queries are not turned. A score depends on the distance only if query and key are both turned.",
                {NEW_QUERY: "query"},
            ),
            Mistake(
                "new-keys-not-rotated",
                "The new keys are not turned. A score depends on the distance only if query and key are both turned.",
                {NEW_KEY: "key"},
            ),
            Mistake(
                "values-rotated",
                "The new values are turned too. Rotary positions turn queries and keys only.",
                {"[cached_value, value]": "[cached_value, rotary(value, first=n_cached)]"},
            ),
            Mistake(
                "unrotated-keys-kept",
                "The new keys come back as they were before the turn. The next call expects kept keys to be turned "
                "already.",
                {"return output, all_keys": "return output, torch.cat([cached_key, key], dim=-2)"},
            ),
            Mistake(
                "mask-missing",
                "A new token sees the new tokens after it. The mask is causal, as without a cache.",
                {"all_values, mask)": "all_values)"},
            ),
            Mistake(
                "mask-counts-from-first-key",
                "The mask treats the queries as the first of all tokens. They are the last.",
                {MASK: "torch.ones(query.shape[-2], all_keys.shape[-2], dtype=torch.bool).tril()"},
            ),
            Mistake(
                "mask-off-by-one",
                "The edge of the mask is one token too early. A new token sees itself too, not only those before it.",
                {MASK: "torch.ones(query.shape[-2], all_keys.shape[-2], dtype=torch.bool)"
                       ".tril(cached_key.shape[-2] - 1)"},
            ),
            Mistake(
                "mask-one-ahead",
                "The edge of the mask is one token too far on. A new token sees itself and those before it, none "
                "after it.",
                {MASK: "torch.ones(query.shape[-2], all_keys.shape[-2], dtype=torch.bool)"
                       ".tril(cached_key.shape[-2] + 1)"},
            ),
            Mistake(
                "mask-inverted",
                "The mask is the wrong way round. True means that a query may attend.",
                {"all_values, mask)": "all_values, ~mask)"},
            ),
            Mistake(
                "cache-not-attended",
                "The new tokens see only new tokens: the kept keys and values are not attended to.",
                {f"{NEW_QUERY}, all_keys, all_values, mask": f"{NEW_QUERY}, {NEW_KEY}, value, causal_mask(key.shape[-2])"},
            ),
            Mistake(
                "new-before-cached",
                "The new keys and values stand before the kept ones. They come after them, as in the text.",
                {f"[cached_key, {NEW_KEY}]": f"[{NEW_KEY}, cached_key]", "[cached_value, value]": "[value, cached_value]"},
            ),
            Mistake(
                "new-values-first",
                "The new values stand before the kept ones, and among the keys the kept ones come first. Both need one "
                "order, the kept ones first, so that each value stands where its key stands.",
                {"[cached_value, value]": "[value, cached_value]"},
            ),
            Mistake(
                "cache-not-grown",
                "The kept keys and values come back without the new ones, so the next call would not know of them.",
                {"return output, all_keys, all_values": "return output, cached_key, cached_value"},
            ),
            Mistake(
                "only-new-returned",
                "Only the new keys and values come back. The next call needs the kept ones before them.",
                {"return output, all_keys, all_values": f"return output, {NEW_KEY}, value"},
            ),
            Mistake(
                "keys-and-values-swapped",
                "Values come second and keys third. The exercise asks for output, keys, values.",
                {"return output, all_keys, all_values": "return output, all_values, all_keys"},
            ),
            Mistake(
                "output-only",
                "Keys and values do not come back. Return all keys and all values as well: they are the next call's "
                "cache.",
                {"return output, all_keys, all_values": "return output"},
            ),
            Mistake(
                "pattern-left-in",
                "Output and pattern come together. `scaled_dot_product_attention` returns both; only the output is "
                "wanted.",
                {"output, _ = scaled": "output = scaled"},
            ),
            Mistake(
                "pattern-for-output",
                "The pattern stands where the output should. `scaled_dot_product_attention` returns the output first, "
                "and that is wanted.",
                {"output, _ = scaled": "_, output = scaled"},
            ),
            Mistake(
                "unscaled-scores",
                "The division of the scores by √d_head is missing.",
                {f"attention({NEW_QUERY}": f"attention({NEW_QUERY} * query.shape[-1] ** 0.5"},
            ),
        ),
        hints=(
            "How many tokens are kept? `cached_key.shape[-2]`. That is the position of the first new token.",
            "Turn the new queries and the new keys with `rotary(…, first=…)`. Leave the kept keys as they are: they were "
            "turned when they were new.",
            "Join the kept keys and the new ones with `torch.cat([…, …], dim=-2)`, and the values too. There are then "
            "more keys than queries, and `causal_mask(n_queries, n_keys)` knows that the queries are the last.",
            "`output, pattern = scaled_dot_product_attention(rotary(query, first=n_cached), all_keys, all_values, mask)`. "
            "Return the output, all keys and all values.",
        ),
        remark="This is the KV cache. Only the new tokens pass through the model, and each new one costs time in "
        "proportion to the number of tokens before it. The price is memory, in every layer.",
    ),
    Exercise(
        alibi_bias,
        alibi_probes,
        difficulty="medium",
        minutes=10,
        helpers=(alibi_slopes,),
        part="alibi_bias",
        mistakes=(
            Mistake(
                "rewards-distance",
                "The sign is wrong. Distance takes something *off* the score: −slope · distance.",
                {"return -alibi": "return alibi"},
            ),
            Mistake(
                "signed-distance",
                "The distance is above 0 on one side of the query and below 0 on the other. Take its absolute value.",
                {").abs()": ")"},
            ),
            Mistake(
                "queries-from-zero",
                "The queries stand at 0, 1, 2, … When there are fewer queries than keys, they are the last positions.",
                {"torch.arange(n_keys - n_queries, n_keys)": "torch.arange(n_queries)"},
            ),
            Mistake(
                "queries-one-late",
                "Each query stands one position too far on. The last query and the last key are one token, at distance 0.",
                {"torch.arange(n_keys - n_queries, n_keys)": "torch.arange(n_keys - n_queries + 1, n_keys + 1)"},
            ),
            Mistake(
                "all-positions-as-queries",
                "There is a row for every key. Only the last n_queries positions ask.",
                {"torch.arange(n_keys - n_queries, n_keys)": "torch.arange(n_keys)"},
            ),
            Mistake(
                "queries-and-keys-swapped",
                "Rows and columns are swapped. Rows belong to queries, columns to keys.",
                {"* distance": "* distance.T"},
            ),
            Mistake(
                "slopes-from-head-zero",
                "The heads are counted from 0. They count from 1, so the first slope is 2^(−8 / n_heads) and the last "
                "2^(−8).",
                {"torch.arange(1, n_heads + 1)": "torch.arange(n_heads)"},
            ),
            Mistake(
                "slopes-of-eight-heads",
                "The exponent is −h whatever n_heads is. That is right for 8 heads; in general it is −8h / n_heads.",
                {"(-8 * torch.arange(1, n_heads + 1) / n_heads)": "(-torch.arange(1, n_heads + 1))"},
            ),
            Mistake(
                "slopes-not-divided",
                "The exponent is not divided by n_heads. The slopes are 2^(−8h / n_heads).",
                {" / n_heads)": ")"},
            ),
            Mistake(
                "slopes-by-division",
                "The exponent is −8 / h. h stands above the line: −8h / n_heads.",
                {"(-8 * torch.arange(1, n_heads + 1) / n_heads)": "(-8 / torch.arange(1, n_heads + 1))"},
            ),
            Mistake(
                "slopes-linear",
                "The slopes are h / n_heads. They fall by one factor from head to head: 2^(−8h / n_heads).",
                {"2.0 ** (-8 * torch.arange(1, n_heads + 1) / n_heads)": "torch.arange(1, n_heads + 1) / n_heads"},
            ),
            Mistake(
                "slopes-grow",
                "The minus in the exponent is missing. It should be −8h / n_heads, so that all slopes are below 1.",
                {"(-8 *": "(8 *"},
            ),
            Mistake(
                "slopes-with-e",
                "The slopes are powers of e. They are powers of 2: 2^(−8h / n_heads).",
                {"2.0 **": "math.e **"},
            ),
            Mistake(
                "one-slope-for-all",
                "Every head has the same slope. Head h has 2^(−8h / n_heads).",
                {"-alibi_slopes(n_heads)[:, None, None]":
                     "-alibi_slopes(n_heads)[:1, None, None].expand(n_heads, 1, 1)"},
            ),
            Mistake(
                "slopes-reversed",
                "The slopes are in reverse: the first head has the greatest slope, 2^(−8 / n_heads).",
                {"-alibi_slopes(n_heads)[": "-alibi_slopes(n_heads).flip(0)["},
            ),
            Mistake(
                "no-slopes",
                "There are no slopes. Each head multiplies the distance by its own.",
                {"-alibi_slopes(n_heads)[:, None, None]": "-torch.ones(n_heads, 1, 1)"},
            ),
            Mistake(
                "squared-distance",
                "The distance is squared. ALiBi is linear, as its name says.",
                {").abs()": ").abs() ** 2"},
            ),
            Mistake(
                "key-position-only",
                "The bias is +slope · key position, whatever the query's position is. Under a causal mask that has "
                "the effect of −slope · distance, but here the latter is asked for, which is 0 where query and key "
                "are one token.",
                {"return -alibi_slopes(n_heads)[:, None, None] * distance":
                     "return alibi_slopes(n_heads)[:, None, None] * torch.arange(n_keys).expand(n_queries, -1)"},
            ),
            Mistake(
                "future-hidden-too",
                "Keys after the query get −∞. That is the mask's work, and the mask comes by itself; the bias there is "
                "−slope · distance like everywhere.",
                {"* distance": "* distance.where(query_position >= torch.arange(n_keys), math.inf)"},
            ),
            Mistake(
                "future-biased-by-zero",
                "Keys after the query get the bias 0. The distance counts on both sides: −slope · |distance|.",
                {").abs()": ").clamp(min=0)"},
            ),
            Mistake(
                "heads-missing",
                "This is the bias of one head only. There is one matrix a head: (heads, queries, keys).",
                {"alibi_slopes(n_heads)[:, None, None]": "alibi_slopes(n_heads)[0]"},
            ),
        ),
        hints=(
            "Two parts: a slope for each head, and a distance for each query and key. The distances are the same in all "
            "heads.",
            "The keys stand at `torch.arange(n_keys)`, the queries at the last n_queries of these. A column minus a row "
            "gives all differences; `.abs()` makes distances of them.",
            "The slopes are `2.0 ** (-8 * torch.arange(1, n_heads + 1) / n_heads)`. With `[:, None, None]` they have shape "
            "(heads, 1, 1) and can be multiplied by distances of shape (queries, keys). Mind the minus.",
        ),
        remark="Under a causal mask +slope · key position gives the same weights, because the softmax does not see what "
        "is added to a whole row. One row a head is then enough for all queries.",
    ),
]  # fmt: skip

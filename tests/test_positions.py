"""The formulas of the position schemes, and what each scheme does to attention."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from transformer_lab.attention import MultiHeadAttention
from transformer_lab.positions import (
    SCHEMES,
    RotaryPositions,
    alibi_bias,
    alibi_slopes,
    make_positions,
    rotate_pairs,
    shift_matrix,
    sinusoidal_encoding,
    wavelengths,
)


def rotary_angles(positions, d_head: int):
    angles = 2 * math.pi * torch.tensor(positions)[:, None] / wavelengths(d_head)
    return angles.cos(), angles.sin()


# ---------------------------------------------------------------- the formulas


def test_sinusoidal_equals_the_paper_entry_by_entry():
    encoding = sinusoidal_encoding(5, 6, base=100.0)
    for p in range(5):
        for i in range(3):
            angle = p / 100 ** (2 * i / 6)
            assert encoding[p, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert encoding[p, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)
    assert encoding[0].tolist() == [0, 1, 0, 1, 0, 1]


def test_wavelengths_by_hand():
    assert_close(wavelengths(4, base=100.0), 2 * math.pi * torch.tensor([1.0, 10.0]))
    assert wavelengths(512)[0].item() == pytest.approx(2 * math.pi)


@given(position=st.integers(0, 50), shift=st.integers(-50, 50), pairs=st.integers(1, 6))
def test_a_shift_is_one_linear_map_for_every_position(position, shift, pairs):
    position = max(position, -shift)  # the shifted position is at least 0
    encoding = sinusoidal_encoding(101, 2 * pairs)
    shifted = shift_matrix(shift, 2 * pairs) @ encoding[position]
    assert_close(shifted, encoding[position + shift], atol=1e-4, rtol=0)


def test_rotary_turns_each_pair_by_its_own_angle():
    x = torch.tensor([1.0, 0.0, 0.0, 1.0]).expand(3, 4)
    turned = rotate_pairs(x, *rotary_angles([0, 1, 2], 4))
    slow = 1 / 100  # 10000^(−2/4)
    for p in range(3):
        wanted = [math.cos(p), math.sin(p), -math.sin(slow * p), math.cos(slow * p)]
        assert turned[p].tolist() == pytest.approx(wanted, abs=1e-6)


@given(query_at=st.integers(0, 40), key_at=st.integers(0, 40), shift=st.integers(0, 40), pairs=st.integers(1, 5))
def test_rotary_keeps_norms_and_its_scores_know_the_distance_only(query_at, key_at, shift, pairs):
    query, key = torch.randn(2, 1, 2 * pairs)

    def turned(x, position):
        return rotate_pairs(x, *rotary_angles([position], 2 * pairs))[0]

    assert_close(turned(query, query_at).norm(), query.norm())
    score = turned(query, query_at) @ turned(key, key_at)
    later = turned(query, query_at + shift) @ turned(key, key_at + shift)
    assert_close(later, score, atol=1e-4, rtol=0)


def test_alibi_by_hand():
    assert alibi_slopes(8).tolist() == [1 / 2**k for k in range(1, 9)]
    steep, flat = 1 / 16, 1 / 256
    distance = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
    assert_close(alibi_bias(2, 3, 3), torch.stack([-steep * distance, -flat * distance]))
    assert_close(alibi_bias(2, 1, 3), torch.tensor([[[-2.0, -1.0, 0.0]]]) * torch.tensor([steep, flat])[:, None, None])


# ---------------------------------------------------------------- one interface


@pytest.mark.parametrize(
    ("scheme", "adds", "rotates", "biases", "learns"),
    [
        ("none", False, False, False, False),
        ("sinusoidal", True, False, False, False),
        ("learned", True, False, False, True),
        ("rotary", False, True, False, False),
        ("alibi", False, False, True, False),
    ],
)
def test_each_scheme_acts_in_one_place(scheme, adds, rotates, biases, learns):
    positions = make_positions(scheme, context_length=6, d_model=8, n_heads=2)
    x, query = torch.randn(2, 5, 8), torch.randn(2, 2, 5, 4)
    assert (not torch.equal(positions.add_to(x), x)) == adds
    assert (not torch.equal(positions.rotate(query), query)) == rotates
    assert (positions.bias(5, 5) is not None) == biases
    assert (len(positions.state_dict()) > 0) == (len(list(positions.parameters())) > 0) == learns


def test_schemes_hold_the_formulas():
    x, query = torch.randn(2, 5, 8), torch.randn(2, 2, 5, 4)
    sinusoidal, learned, rotary, alibi = (make_positions(scheme, 6, 8, 2) for scheme in SCHEMES[1:])
    assert_close(sinusoidal.add_to(x) - x, sinusoidal_encoding(5, 8).expand(2, 5, 8))
    assert_close(learned.add_to(x) - x, learned.encoding[:5].expand(2, 5, 8))
    assert learned.encoding.shape == (6, 8) and 0.01 < learned.encoding.std() < 0.03
    assert_close(rotary.rotate(query), rotate_pairs(query, *rotary_angles(range(5), 4)))
    assert rotary.rotate(query.bfloat16()).dtype == torch.bfloat16
    assert_close(alibi.bias(2, 5), alibi_bias(2, 2, 5))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_order_matters_with_positions_only(scheme, randomised):
    positions = make_positions(scheme, 6, 8, 2).double()
    attention = randomised(MultiHeadAttention(8, 2))
    x, order = torch.randn(1, 5, 8, dtype=torch.float64), [3, 0, 4, 1, 2]

    def attend(y):
        return attention(positions.add_to(y), positions=positions)

    assert torch.allclose(attend(x[:, order]), attend(x)[:, order]) == (scheme == "none")


@pytest.mark.parametrize("scheme", ["rotary", "alibi"])
@pytest.mark.parametrize("explicit", [False, True])
def test_relative_schemes_see_no_difference_after_a_shift(scheme, explicit, randomised):
    """With a window that hides what comes before the sentence, it may start anywhere."""
    attention = randomised(MultiHeadAttention(8, 2))
    attention.explicit = explicit
    positions = make_positions(scheme, 9, 8, 2)
    x = torch.randn(1, 4, 8, dtype=torch.float64)
    hidden = torch.arange(9) >= 5
    late = attention(torch.cat([torch.randn(1, 5, 8), x], dim=1), mask=hidden, positions=positions)[:, 5:]
    assert_close(attention(x, positions=positions), late, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: sinusoidal_encoding(4, 5), "d_model must be even, .*; got 5"),
        (lambda: RotaryPositions(4, 3), "d_head must be even; got 3"),
        (
            lambda: make_positions("relative", 4, 8, 2),
            "positions must be one of none, sinusoidal, learned, rotary, alibi; got 'relative'",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if s != "none"])
def test_a_sequence_past_the_context_is_named(scheme):
    positions, x = make_positions(scheme, 4, 8, 2), torch.randn(1, 5, 8)
    with pytest.raises(ValueError, match="at most context_length, 4, positions; got 5"):
        positions.add_to(x)
        positions.rotate(x.unflatten(-1, (2, 4)).transpose(1, 2))
        positions.bias(5, 5)

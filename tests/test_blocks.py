"""Norm, activations, feed-forward, and the blocks next to torch's own."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from transformer_lab.attention import causal_mask, padding_mask
from transformer_lab.blocks import (
    ACTIVATIONS,
    DecoderBlock,
    EncoderBlock,
    FeedForward,
    Residual,
    layer_norm,
)
from transformer_lab.positions import make_positions

NORMS = ("pre", "post")


def random_batch(seq: int) -> torch.Tensor:
    return torch.randn(2, seq, 8, dtype=torch.float64)


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("spread", [10.0, 0.01])  # eps counts where the vector is nearly constant
def test_layer_norm_equals_torch(spread, randomised):
    theirs = randomised(nn.LayerNorm(5))
    x = 3 + spread * torch.randn(2, 4, 5, dtype=torch.float64)
    assert_close(layer_norm(x, theirs.weight, theirs.bias), theirs(x))
    theirs.eps = 0.1
    assert_close(layer_norm(x, theirs.weight, theirs.bias, eps=0.1), theirs(x))


FORMULAS = {
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: max(x, 0.0),
    "relu2": lambda x: max(x, 0.0) ** 2,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_feed_forward_is_its_formula_at_every_position(name, randomised):
    feed_forward = randomised(FeedForward(4, 6, name))
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    hidden = (x @ feed_forward.up.weight.T + feed_forward.up.bias).detach()
    hidden = hidden.apply_(FORMULAS[name])
    assert_close(feed_forward(x), hidden @ feed_forward.down.weight.T + feed_forward.down.bias)
    assert_close(feed_forward(x)[0, 1], feed_forward(x[0, 1]))


@pytest.mark.parametrize("norm", NORMS)
def test_residual_drops_the_branch_and_never_the_stream(norm):
    around = Residual(8, norm, dropout=0.5)
    around.norm = nn.Identity()
    x = torch.randn(4, 16, 8)
    branch = around(x, torch.ones_like) - x  # kept ones are doubled, so that the mean stays
    assert_close(branch.unique().round(decimals=3).unique(), torch.tensor([0.0, 2.0]))
    assert_close(around.eval()(x, torch.ones_like), x + 1)


@pytest.mark.parametrize("build", [EncoderBlock, DecoderBlock])
def test_dropout_reaches_every_place_in_train_mode_only(build):
    block = build(8, 2, 16, dropout=0.5)
    assert block.attention.dropout == 0.5
    assert [m.p for m in block.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]
    x = torch.randn(2, 5, 8)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


def test_without_bias_there_is_none():
    for block in (EncoderBlock(8, 2, 16, bias=False), DecoderBlock(8, 2, 16, bias=False, cross_attention=True)):
        assert not [name for name, _ in block.named_parameters() if name.endswith("bias")]


# ---------------------------------------------------------------- next to torch's blocks


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm", NORMS)
def test_encoder_block_equals_torch(norm, activation, randomised, torch_layer_weights):
    options = dict(dropout=0.0, activation=activation, batch_first=True, norm_first=norm == "pre")
    theirs = randomised(nn.TransformerEncoderLayer(8, 2, 16, **options))
    ours = EncoderBlock(8, 2, 16, norm, activation).double()
    ours.load_state_dict(torch_layer_weights(theirs))
    x, padding = random_batch(5), padding_mask(torch.tensor([5, 3]), 5)
    assert_close(ours(x), theirs(x))
    assert_close(ours(x, padding), theirs(x, src_key_padding_mask=~padding[:, 0, 0]))


@pytest.mark.parametrize("norm", NORMS)
def test_decoder_block_equals_torch(norm, randomised, torch_layer_weights):
    options = dict(dropout=0.0, batch_first=True, norm_first=norm == "pre")
    theirs = randomised(nn.TransformerDecoderLayer(8, 2, 16, **options))
    ours = DecoderBlock(8, 2, 16, norm, "relu", cross_attention=True).double()
    ours.load_state_dict(torch_layer_weights(theirs))
    x, context = random_batch(4), random_batch(6)
    mask, context_mask = padding_mask(torch.tensor([4, 2]), 4), padding_mask(torch.tensor([3, 6]), 6)
    expected = theirs(
        x,
        context,
        tgt_mask=~causal_mask(4),
        tgt_key_padding_mask=~mask[:, 0, 0],
        memory_key_padding_mask=~context_mask[:, 0, 0],
    )
    assert_close(ours(x, context, mask=mask, context_mask=context_mask), expected)


@pytest.mark.parametrize("norm", NORMS)
def test_decoder_block_without_context_is_a_causal_encoder_block(norm, randomised):
    decoder, encoder = randomised(DecoderBlock(8, 2, 16, norm)), EncoderBlock(8, 2, 16, norm).double()
    encoder.load_state_dict(decoder.state_dict())
    x, positions = random_batch(5), make_positions("rotary", 5, 8, 2)
    assert_close(decoder(x), encoder(x, causal_mask(5)))
    turned = decoder(x, positions=positions)
    assert_close(turned, encoder(x, causal_mask(5), positions))
    assert not torch.allclose(turned, decoder(x))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: FeedForward(4, 8, "swish"),
            "activation must be one of gelu, gelu_tanh, relu, relu2; got 'swish'",
        ),
        (lambda: Residual(4, "middle"), "norm must be 'pre' or 'post'; got 'middle'"),
        (
            lambda: DecoderBlock(8, 2, 16)(torch.randn(1, 3, 8), torch.randn(1, 3, 8)),
            "context must be None, for a block without cross-attention; got a tensor",
        ),
        (
            lambda: DecoderBlock(8, 2, 16, cross_attention=True)(torch.randn(1, 3, 8)),
            "context must be the encoder's output; got None",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()

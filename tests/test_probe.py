"""Looking inside a model, and changing its attention, without leaving a trace."""

import re

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from transformer_lab.attention import MultiHeadAttention, padding_mask
from transformer_lab.blocks import DecoderBlock, EncoderBlock
from transformer_lab.probe import watch


class Translator(nn.Module):
    """Two encoder blocks, then one decoder block that looks at them."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleList([EncoderBlock(8, 2, 16), EncoderBlock(8, 4, 16)])
        self.decoder = DecoderBlock(8, 2, 16, cross_attention=True)

    def forward(self, source, target):
        for block in self.encoder:
            source = block(source)
        return self.decoder(target, source)


@pytest.fixture(params=["rotary", "alibi", "learned"])
def model(request, tiny_gpt):
    return tiny_gpt(positions=request.param)


@pytest.fixture
def ids():
    return torch.randint(11, (2, 5))


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


# ---------------------------------------------------------------- looking


def test_watching_changes_no_output(model, ids):
    expected = model(ids)
    with watch(model):
        assert_close(model(ids), expected)


def test_the_residuals_chain_through_the_blocks_and_the_patterns_are_theirs(model, ids):
    with watch(model) as trace:
        logits = model(ids)
    assert len(trace.residuals) == 3
    assert_close(trace.residuals[0], model.positions.add_to(model.token_embedding(ids)))
    for i, block in enumerate(model.blocks):
        assert_close(block(trace.residuals[i], positions=model.positions), trace.residuals[i + 1])
        normed = block.around_attention.norm(trace.residuals[i])
        options = dict(causal=True, positions=model.positions, return_pattern=True)
        assert_close(trace.patterns[i], block.attention(normed, **options)[1])
    assert_close(model.head(model.final_norm(trace.residuals[-1])), logits)
    assert trace.names == ["blocks.0.attention", "blocks.1.attention"]
    assert not any(t.requires_grad for t in trace.patterns + trace.residuals)


def test_the_trace_holds_the_latest_pass(model, ids):
    with watch(model) as trace:
        model(ids)
        model(ids[:1, :3])
    with watch(model) as expected:
        model(ids[:1, :3])
    assert trace.names == expected.names
    assert_close(trace.patterns, expected.patterns)
    assert_close(trace.residuals, expected.residuals)


def test_an_encoder_and_a_decoder_follow_one_another(randomised):
    model = randomised(Translator())
    source, target = torch.randn(1, 4, 8, dtype=torch.float64), torch.randn(1, 3, 8, dtype=torch.float64)
    with watch(model) as trace:
        output = model(source, target)
    places = ["encoder.0.attention", "encoder.1.attention", "decoder.attention", "decoder.cross_attention"]
    assert trace.names == places
    assert [p.shape for p in trace.patterns] == [(1, 2, 4, 4), (1, 4, 4, 4), (1, 2, 3, 3), (1, 2, 3, 4)]
    encoded = model.encoder[0](source)
    assert_close(trace.residuals, [source, encoded, model.encoder[1](encoded), target, output])


def test_a_block_or_an_attention_alone(randomised):
    x, block = torch.randn(1, 4, 8, dtype=torch.float64), randomised(EncoderBlock(8, 2, 16))
    with watch(block) as trace:
        output = block(x)
        assert_close(trace.residuals, [x, output])
        again = block(output)
    assert_close(trace.residuals, [output, again])
    assert trace.names == ["attention"]
    attention = block.attention
    with watch(attention, zero=[(0, 0)]) as trace:
        attention(x)
    assert_close(trace.patterns, [attention(x, return_pattern=True)[1]])


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("causal", [True, False])
def test_queries_keys_masks_and_biases_are_what_the_patterns_were_made_of(model, ids, causal, temperature):
    with watch(model, causal=causal, temperature=temperature) as trace:
        model(ids)
    assert [t.shape for t in trace.queries + trace.keys] == [(2, 2, 5, 4)] * 4
    for i, block in enumerate(model.blocks):
        normed = block.around_attention.norm(trace.residuals[i])
        for layer, found in ((block.attention.query, trace.queries), (block.attention.key, trace.keys)):
            assert_close(found[i], model.positions.rotate(block.attention.split_heads(layer(normed))).detach())
        scores = trace.queries[i] @ trace.keys[i].mT / 2  # √d_head = 2
        if trace.biases[i] is not None:
            scores = scores + trace.biases[i]
        if causal:
            scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
        assert_close(trace.patterns[i], (scores / temperature).softmax(-1))
        assert_close(trace.biases[i], model.positions.bias(5, 5))
        assert (trace.masks[i] is None) == (not causal)
    assert not any(t.requires_grad for t in trace.queries + trace.keys)


# ---------------------------------------------------------------- changing


@pytest.mark.parametrize("zero", [[(0, 1)], [(1, 0), (0, 1)], [(1, 0), (1, 1)]])
def test_zeroing_a_head_is_removing_its_columns_of_the_out_projection(model, ids, zero):
    before = model(ids)
    with watch(model, zero=zero):
        zeroed = model(ids)
    assert not torch.allclose(zeroed, before)
    assert_close(model(ids), before)
    for layer, head in zero:
        model.blocks[layer].attention.out.weight.data[:, 4 * head : 4 * head + 4] = 0
    assert_close(zeroed, model(ids))


@pytest.mark.parametrize("per_sentence", [False, True])
def test_replace_uses_the_pattern_given_in_that_head_alone(randomised, per_sentence):
    attention, x = randomised(MultiHeadAttention(8, 2)), torch.randn(2, 3, 8, dtype=torch.float64)
    new = torch.rand(2, 3, 3) if per_sentence else torch.rand(3, 3)
    pattern = attention(x, return_pattern=True)[1].clone()
    pattern[:, 1] = new
    expected = attention.out(attention.merge_heads(pattern @ attention.split_heads(attention.value(x))))
    with watch(attention, replace={(0, 1): new}) as trace:
        output = attention(x)
    assert_close(output, expected)
    assert_close(trace.patterns, [pattern.detach()])
    weights = list(attention.parameters())
    assert_close(*(torch.autograd.grad(o.sin().sum(), weights) for o in (output, expected)))


def test_replace_counts_layers_and_its_own_pattern_changes_nothing(model, ids):
    expected = model(ids)
    with watch(model) as trace:
        model(ids)
    own, uniform = trace.patterns[1][:, 0], torch.full((5, 5), 0.2)
    with watch(model, replace={(1, 0): own}):
        assert_close(model(ids), expected)
    with watch(model, replace={(1, 0): uniform}, zero=[(0, 0)]) as changed:
        model(ids)
    assert_close(changed.patterns[1][:, 0], uniform.double().expand(2, -1, -1))
    assert_close(changed.patterns[0], trace.patterns[0])
    with watch(model, replace={(1, 0): uniform}):
        assert not torch.allclose(model(ids), expected)


def test_without_causal_a_mask_that_was_given_stays(randomised):
    block, x = randomised(DecoderBlock(8, 2, 16)), torch.randn(1, 4, 8, dtype=torch.float64)
    padding = padding_mask(torch.tensor([3]), 4)
    with watch(block, causal=False) as trace:
        output = block(x, mask=padding)
    encoder = EncoderBlock(8, 2, 16).double()
    encoder.load_state_dict(block.state_dict())
    assert_close(output, encoder(x, mask=padding))
    assert (trace.patterns[0] > 0).equal(padding.expand_as(trace.patterns[0]))


def test_a_temperature_divides_the_scores_of_cross_attention_too(randomised):
    model = randomised(Translator())
    inputs = torch.randn(1, 4, 8, dtype=torch.float64), torch.randn(1, 3, 8, dtype=torch.float64)
    with watch(model, temperature=4.0):
        output = model(*inputs)
    for attention in (m for m in model.modules() if isinstance(m, MultiHeadAttention)):
        for parameter in attention.query.parameters():
            parameter.data /= 4
    assert_close(output, model(*inputs))


# ---------------------------------------------------------------- leaving nothing behind


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_nothing_is_left_behind(tiny_gpt, ids, explicit, error):
    model = tiny_gpt()
    model.blocks[1].attention.explicit = explicit
    try:
        with watch(model, zero=[(0, 0)], replace={(1, 1): torch.eye(5)}, causal=False, temperature=2.0):
            model(ids)
            assert hooks(model) > 0 and all(block.attention.explicit for block in model.blocks)
            if error:
                raise error
    except KeyboardInterrupt:
        pass
    assert hooks(model) == 0
    assert [block.attention.explicit for block in model.blocks] == [False, explicit]


@pytest.mark.parametrize("place", [(2, 0), (-1, 0), (0, 2), (0, -1)])
@pytest.mark.parametrize("argument", ["zero", "replace"])
def test_a_head_that_does_not_exist_is_named(tiny_gpt, place, argument):
    model = tiny_gpt()
    changes = {"zero": [place]} if argument == "zero" else {"replace": {place: torch.eye(5)}}
    message = f"(layer, head) must exist: the heads of each layer are [2, 2]; got {place}"
    with pytest.raises(ValueError, match=re.escape(message)), watch(model, **changes):
        pass
    assert hooks(model) == 0 and not model.blocks[0].attention.explicit


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_cannot_be_is_named(tiny_gpt, temperature):
    model = tiny_gpt()
    message = f"temperature must be above 0 and finite; got {temperature}"
    with pytest.raises(ValueError, match=message), watch(model, temperature=temperature):
        pass
    assert hooks(model) == 0


def test_a_model_without_attention_is_named():
    message = "model holds no MultiHeadAttention to watch; got a Linear"
    with pytest.raises(ValueError, match=message), watch(nn.Linear(2, 2)):
        pass

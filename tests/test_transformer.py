"""The encoder-decoder: torch's own on the same weights, the masks, what the paper shares and drops, its loss."""

import math
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from transformer_lab.attention import MultiHeadAttention, causal_mask
from transformer_lab.generation import greedy_search
from transformer_lab.gpt import next_token_loss
from transformer_lab.positions import sinusoidal_encoding
from transformer_lab.probe import watch
from transformer_lab.training import TrainingConfig, train
from transformer_lab.transformer import (
    BEGIN,
    END,
    PADDING,
    Transformer,
    TransformerConfig,
    sequence_loss,
    teacher_forcing,
)

NORMS = ("pre", "post")
SHAPE = TransformerConfig(vocab_size=11, context_length=8, d_model=8, n_heads=2)
SOURCE = torch.tensor([[3, 4, 5, 6, 7, 8], [9, 10, 3, 0, 0, 0], [5, 5, 0, 0, 0, 0]])
TARGET = torch.tensor([[BEGIN, 8, 7, 3, END], [BEGIN, 4, END, 0, 0], [BEGIN, 9, 9, END, 0]])


@pytest.fixture
def tiny(randomised):
    """A function: a Transformer of two and two layers, in float64; keywords change its config."""
    return lambda **changes: randomised(Transformer(replace(SHAPE, **changes)))


def total(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# ---------------------------------------------------------------- next to torch's own


def torch_transformer(d_model: int, n_heads: int, d_ff: int, n_layers: int, norm: str) -> nn.Transformer:
    """torch's model; alone, it ends each stack in a norm with post-norm too, where the paper has none."""
    options = dict(dropout=0.0, batch_first=True, norm_first=norm == "pre")
    last = [nn.LayerNorm(d_model) if norm == "pre" else None for _ in range(2)]
    encoder_layer = nn.TransformerEncoderLayer(d_model, n_heads, d_ff, **options)
    decoder_layer = nn.TransformerDecoderLayer(d_model, n_heads, d_ff, **options)
    return nn.Transformer(
        d_model,
        n_heads,
        custom_encoder=nn.TransformerEncoder(encoder_layer, n_layers, last[0], enable_nested_tensor=False),
        custom_decoder=nn.TransformerDecoder(decoder_layer, n_layers, last[1]),
        batch_first=True,
    )


@pytest.mark.parametrize("norm", NORMS)
def test_equals_torch_layer_by_layer(norm, tiny, randomised, torch_layer_weights):
    ours, theirs = tiny(norm=norm), randomised(torch_transformer(8, 2, 32, 2, norm))
    for stack, their_stack in ((ours.encoder, theirs.encoder), (ours.decoder, theirs.decoder)):
        for block, layer in zip(stack, their_stack.layers, strict=True):
            block.load_state_dict(torch_layer_weights(layer))
    if norm == "pre":
        ours.encoder_norm.load_state_dict(theirs.encoder.norm.state_dict())
        ours.decoder_norm.load_state_dict(theirs.decoder.norm.state_dict())

    layers = [*ours.encoder, *ours.decoder], [*theirs.encoder.layers, *theirs.decoder.layers]
    outputs = [], []
    for side, modules in zip(outputs, layers):
        for module in modules:
            module.register_forward_hook(lambda module, args, output, side=side: side.append(output))
    source_padding, target_padding = SOURCE == PADDING, TARGET == PADDING
    expected = theirs(
        ours.embed(SOURCE),
        ours.embed(TARGET),
        tgt_mask=~causal_mask(5),
        src_key_padding_mask=source_padding,
        memory_key_padding_mask=source_padding,
        tgt_key_padding_mask=target_padding,
    )
    logits = ours(SOURCE, TARGET)
    assert len(outputs[0]) == 4
    for one, other in zip(*outputs, strict=True):
        assert_close(one, other, atol=1e-12, rtol=1e-12)
    assert_close(logits, expected @ ours.token_embedding.weight.T, atol=1e-11, rtol=1e-11)


def test_the_base_model_is_the_papers():
    with torch.device("meta"):
        ours = Transformer(TransformerConfig.base())
        theirs = torch_transformer(512, 8, 2048, 6, "post")
    assert total(ours) == total(theirs) + 37000 * 512
    assert ours.parameter_count()["total"] == total(ours) == pytest.approx(65e6, rel=0.04)  # table 3, rounded
    assert ours.config == replace(ours.config, norm="post", dropout=0.1)


def test_embeddings_are_scaled_and_carry_their_position(tiny):
    model = tiny()
    wanted = model.token_embedding.weight[SOURCE] * math.sqrt(8) + sinusoidal_encoding(6, 8)
    assert_close(model.embed(SOURCE), wanted, atol=1e-6, rtol=0)  # the table of sines is of float32


def test_embeddings_start_as_large_as_positions_and_logits_of_size_one():
    model = Transformer(TransformerConfig(1000, d_model=128))
    source, target = torch.randint(3, 1000, (2, 4, 32))
    assert model.embed(source).std().item() == pytest.approx(math.sqrt(1 + 1 / 2), abs=0.1)  # sines add 1/2
    assert model(source, target).std().item() == pytest.approx(1, abs=0.1)


# ---------------------------------------------------------------- what it may see


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n_encoder_layers", [0, 2])
def test_the_target_sees_its_past_and_the_whole_source(norm, n_encoder_layers, tiny):
    model, embedded = tiny(norm=norm, n_encoder_layers=n_encoder_layers), []
    model.token_embedding.register_forward_hook(lambda module, args, output: embedded.append(output))
    logits = model(SOURCE, TARGET)
    for sentence, length in enumerate((6, 3, 2)):
        for t in range(5):
            gradients = torch.autograd.grad(logits[sentence, t].sin().sum(), embedded, retain_graph=True)
            in_source, in_target = (gradient[sentence].any(-1).tolist() for gradient in gradients)
            assert in_source == [s < length for s in range(6)]
            if t < (5, 3, 4)[sentence]:  # beyond, it is PADDING that asks
                assert in_target == [s <= t for s in range(5)]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n_encoder_layers", [0, 2])
@settings(max_examples=10)
@given(lengths=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=4))
def test_a_padded_batch_gives_each_sentence_what_it_gives_alone(norm, n_encoder_layers, lengths):
    model = Transformer(replace(SHAPE, norm=norm, n_encoder_layers=n_encoder_layers)).double()
    source, target = torch.randint(1, 11, (2, len(lengths), 8))
    for row, (source_length, target_length) in enumerate(lengths):
        source[row, source_length:] = PADDING
        target[row, target_length:] = PADDING
    together = model(source, target)
    for row, (n, m) in enumerate(lengths):
        alone = model(source[row : row + 1, :n], target[row : row + 1, :m])
        assert_close(together[row, :m], alone[0], atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_sentences_of_padding_alone_disturb_nobody(norm, explicit, tiny):
    model = tiny(norm=norm)
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            module.explicit = explicit
    empty = torch.full((1, 6), PADDING)
    source = torch.cat([SOURCE, empty, SOURCE[:1]])
    target = torch.cat([TARGET, TARGET[:1], empty[:, :5]])  # an empty source, then an empty target
    logits = model(source, target)
    assert logits.isfinite().all()
    assert_close(logits[:3], model(SOURCE, TARGET))
    inputs, answers = teacher_forcing(target)
    gradients = torch.autograd.grad(sequence_loss(model(source, inputs), answers), list(model.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_without_encoder_layers_the_memory_is_the_embeddings(tiny):
    model = tiny(n_encoder_layers=0)
    assert torch.equal(model.encode(SOURCE)[0], model.embed(SOURCE))
    model = tiny(n_encoder_layers=0, norm="pre")
    assert torch.equal(model.encode(SOURCE)[0], model.encoder_norm(model.embed(SOURCE)))


def test_the_source_is_encoded_once_for_many_targets(tiny):
    model = tiny()
    memory = model.encode(SOURCE)
    for n in (1, 3, 5):
        assert_close(model.decode(memory, TARGET[:, :n]), model(SOURCE, TARGET)[:, :n])


# ---------------------------------------------------------------- what it shares, what it drops


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n_encoder_layers", [0, 1, 2])
@pytest.mark.parametrize("d_ff", [None, 20])
def test_parameter_count_adds_up(norm, n_encoder_layers, d_ff):
    model = Transformer(replace(SHAPE, norm=norm, n_encoder_layers=n_encoder_layers, n_decoder_layers=3, d_ff=d_ff))
    counts = model.parameter_count()
    assert counts["total"] == sum(counts.values()) - counts["total"] == total(model)
    assert counts["token embedding"] == 11 * 8
    attention = 4 * (8 * 8 + 8)
    assert counts["encoder self-attention"] == n_encoder_layers * attention
    assert counts["decoder self-attention"] == counts["cross-attention"] == 3 * attention
    d_ff = d_ff or 4 * 8
    assert counts["feed-forward"] == (n_encoder_layers + 3) * (2 * 8 * d_ff + d_ff + 8)
    assert counts["norms"] == (2 * n_encoder_layers + 3 * 3 + (2 if norm == "pre" else 0)) * 2 * 8


def test_one_matrix_serves_source_target_and_output(tiny):
    model, unused = tiny(), 10
    source, target = SOURCE.where(SOURCE != unused, 3), TARGET
    before = model(source, target)
    with torch.no_grad():
        model.token_embedding.weight[unused] += 1.0
    changed = model(source, target) != before
    assert changed[..., unused].all() and not changed[..., :unused].any()
    for sentences in ((source.where(source != 3, unused), target), (source, target.where(target != 8, unused))):
        assert not torch.allclose(model(*sentences)[0], before[0])


def test_dropout_where_the_paper_has_it_and_in_train_mode_only():
    model = Transformer(replace(SHAPE, dropout=0.5))
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.5] * (1 + 2 * 2 + 2 * 3)
    assert [m.dropout for m in model.modules() if isinstance(m, MultiHeadAttention)] == [0.0] * 6
    model.encoder.eval()
    model.decoder.eval()  # so that what is left is the dropout of the embeddings
    assert not torch.equal(model.encode(SOURCE)[0], model.encode(SOURCE)[0])
    memory = model.encode(SOURCE)
    assert not torch.equal(model.decode(memory, TARGET), model.decode(memory, TARGET))
    model.eval()
    assert torch.equal(model(SOURCE, TARGET), model(SOURCE, TARGET))


# ---------------------------------------------------------------- learning


def test_teacher_forcing_reads_the_target_and_wants_what_follows():
    inputs, answers = teacher_forcing(TARGET)
    assert inputs[0].tolist() == [BEGIN, 8, 7, 3]
    assert answers[0].tolist() == [8, 7, 3, END]
    assert answers[1].tolist() == [4, END, PADDING, PADDING]


def test_loss_by_hand():
    logits = torch.tensor([[[1.0, 1, 1, 5], [1, 1, 1, 1], [8, 1, 1, 1]]]).log()
    answers = torch.tensor([[3, END, PADDING]])
    surprises = [math.log(8 / 5), math.log(4)]
    assert sequence_loss(logits, answers).item() == pytest.approx(sum(surprises) / 2)
    # A fifth of what is wanted lies on all four tokens alike: three at 1/8 and one at 5/8; then four at 1/4.
    everywhere = [(3 * math.log(8) + math.log(8 / 5)) / 4, math.log(4)]
    wanted = sum(0.8 * one + 0.2 * all_ for one, all_ in zip(surprises, everywhere)) / 2
    assert sequence_loss(logits, answers, label_smoothing=0.2).item() == pytest.approx(wanted)


def test_without_padding_it_is_the_loss_of_a_language_model():
    logits, answers = torch.randn(2, 5, 11), torch.randint(1, 11, (2, 5))
    assert_close(sequence_loss(logits, answers), next_token_loss(logits, answers))


def test_what_is_answered_to_padding_costs_nothing():
    logits = torch.randn(3, 4, 11, requires_grad=True)
    answers = teacher_forcing(TARGET)[1]
    (gradient,) = torch.autograd.grad(sequence_loss(logits, answers, 0.1), logits)
    assert torch.equal(gradient.any(-1), answers != PADDING)


def test_it_learns_to_reverse():
    digits = torch.cartesian_prod(*[torch.arange(3, 7)] * 4)[torch.randperm(256)]
    begin, end = torch.full((256, 1), BEGIN), torch.full((256, 1), END)
    target = torch.cat([begin, digits.flip(1), end], dim=1)
    rows = digits, *teacher_forcing(target)
    model = Transformer(TransformerConfig(7, 6, 32, 1, 1, 2))
    config = TrainingConfig(steps=200, batch_size=64, learning_rate=1e-2, evaluate_every=200)
    train(model, tuple(part[:192] for part in rows), tuple(part[192:] for part in rows), config,
          loss_function=sequence_loss)  # fmt: skip
    assert (greedy_search(model, digits[192:], 5) == target[192:]).all(-1).float().mean() > 0.9


# ---------------------------------------------------------------- looking inside


@pytest.mark.parametrize("n_encoder_layers", [0, 2])
def test_the_probe_sees_the_three_kinds_of_attention(n_encoder_layers, tiny):
    model = tiny(n_encoder_layers=n_encoder_layers)
    expected = model(SOURCE, TARGET)
    with watch(model) as trace:
        assert_close(model(SOURCE, TARGET), expected)
    decoder = [f"decoder.{i}.{kind}" for i in range(2) for kind in ("attention", "cross_attention")]
    assert trace.names == [f"encoder.{i}.attention" for i in range(n_encoder_layers)] + decoder
    for name, pattern in zip(trace.names, trace.patterns, strict=True):
        queries, keys = (SOURCE, SOURCE) if "encoder" in name else (TARGET, SOURCE if "cross" in name else TARGET)
        assert pattern.shape == (3, 2, queries.shape[1], keys.shape[1])
        assert_close(pattern.sum(-1), torch.ones_like(pattern.sum(-1)))
        assert not pattern.movedim(-1, 1)[keys == PADDING].any()
        assert bool(pattern.triu(1).any()) == (name not in decoder or "cross" in name)


def test_cutting_cross_attention_leaves_a_language_model(tiny):
    model = tiny()
    other = torch.randint(3, 11, SOURCE.shape)
    assert not torch.allclose(model(SOURCE, TARGET), model(other, TARGET))
    cut = [(layer, head) for layer in (3, 5) for head in range(2)]
    with watch(model, zero=cut) as trace:
        assert_close(model(SOURCE, TARGET), model(other, TARGET))
    assert [trace.names[layer] for layer in (3, 5)] == ["decoder.0.cross_attention", "decoder.1.cross_attention"]


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            ({name: 0}, f"{name} must be at least 1; got 0")
            for name in ("vocab_size", "context_length", "d_model", "n_decoder_layers", "n_heads")
        ),
        ({"n_encoder_layers": -1}, "n_encoder_layers must be at least 0; got -1"),
        ({"d_ff": 0}, "d_ff must be at least 1; got 0"),
        ({"n_heads": 3}, "n_heads must divide d_model, 8; got n_heads = 3"),
        ({"d_model": 9, "n_heads": 3}, "d_model must be even"),
        ({"dropout": 1.0}, "dropout must be in [0, 1); got 1.0"),
        ({"norm": "both"}, "norm must be 'pre' or 'post'; got 'both'"),
    ],
)
def test_bad_configs_are_named(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Transformer(replace(SHAPE, **change))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[3] * 9], "may hold at most context_length, 8, tokens; got 9"),
        ([[3, 11]], "must lie in 0 … 10, the vocabulary; got 3 … 11"),
        ([[-1, 4]], "must lie in 0 … 10, the vocabulary; got -1 … 4"),
    ],
)
def test_bad_ids_are_named(ids, message, tiny):
    good, bad = SOURCE[:1], torch.tensor(ids)
    with pytest.raises(ValueError, match=f"source {message}"):
        tiny()(bad, good)
    with pytest.raises(ValueError, match=f"target {message}"):
        tiny()(good, bad)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("change", [{}, {"norm": "pre", "n_encoder_layers": 0, "d_ff": 12, "dropout": 0.3}])
def test_load_gives_back_what_was_saved(change, tiny, tmp_path):
    model = tiny(**change).float().eval()
    model.save(tmp_path / "model")
    loaded = Transformer.load(tmp_path / "model")
    assert loaded.config == model.config and not loaded.training
    assert torch.equal(loaded(SOURCE, TARGET), model(SOURCE, TARGET))


def test_a_gpt_is_no_transformer(tiny_gpt, tmp_path):
    tiny_gpt().save(tmp_path / "model")
    with pytest.raises(ValueError, match="another config: .*n_layers"):
        Transformer.load(tmp_path / "model")

"""The GPT next to GPT-2, what it may see, its parameters, its files."""

import math
import re
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from transformers import GPT2Config, GPT2LMHeadModel

from transformer_lab.gpt import GPT, GPTConfig, gpt2_weights, next_token_loss
from transformer_lab.positions import SCHEMES

NORMS = ("pre", "post")
GPT2_SIZES = {  # as published: Radford et al. 2019, table 2
    "small": dict(n_embd=768, n_layer=12, n_head=12),
    "medium": dict(n_embd=1024, n_layer=24, n_head=16),
    "large": dict(n_embd=1280, n_layer=36, n_head=20),
    "xl": dict(n_embd=1600, n_layer=48, n_head=25),
}


def total(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# ---------------------------------------------------------------- GPT-2


def test_equals_gpt2(randomised):
    shape = dict(vocab_size=19, n_positions=10, n_embd=12, n_layer=3, n_head=2)
    theirs = randomised(GPT2LMHeadModel(GPT2Config(**shape, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0)))
    small = dict(vocab_size=19, context_length=10, d_model=12, n_layers=3, n_heads=2, d_ff=None)
    ours = GPT(replace(GPTConfig.gpt2(), **small)).double()
    ours.load_state_dict(gpt2_weights(theirs.state_dict()))
    ids = torch.randint(19, (2, 10))
    assert_close(ours(ids), theirs(ids).logits, atol=1e-9, rtol=1e-9)
    loss = next_token_loss(ours(ids[:, :-1]), ids[:, 1:])
    assert_close(loss, theirs(ids, labels=ids).loss.to(loss))  # theirs shifts by itself, in float32


@pytest.mark.parametrize("size", GPT2_SIZES)
def test_gpt2_has_as_many_parameters_as_published(size):
    with torch.device("meta"):
        ours, theirs = GPT(GPTConfig.gpt2(size)), GPT2LMHeadModel(GPT2Config(**GPT2_SIZES[size]))
    assert ours.parameter_count()["total"] == total(ours) == total(theirs)
    if size == "small":
        assert total(ours) == 124_439_808


def test_presets_are_of_the_announced_size():
    cpu, big = GPT(GPTConfig.cpu(65)).parameter_count(), GPT(GPTConfig.gpu(65)).parameter_count()
    assert cpu["total"] < 1_000_000
    assert big["total"] - big["token embedding"] == pytest.approx(10.6e6, rel=0.01)


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize("positions", SCHEMES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("d_ff", [None, 20])
def test_parameter_count_adds_up(positions, norm, tie_weights, bias, d_ff):
    options = dict(positions=positions, norm=norm, tie_weights=tie_weights, bias=bias, d_ff=d_ff)
    model = GPT(GPTConfig(11, 8, 8, n_layers=2, n_heads=2, **options))
    counts = model.parameter_count()
    assert counts["total"] == sum(counts.values()) - counts["total"] == total(model)
    assert counts["token embedding"] == 11 * 8
    assert counts["positions"] == (8 * 8 if positions == "learned" else 0)
    assert counts["attention"] == 2 * 4 * (8 * 8 + 8 * bias)
    d_ff = d_ff or 4 * 8
    assert counts["feed-forward"] == 2 * (2 * 8 * d_ff + (d_ff + 8) * bias)
    assert counts["norms"] == (5 if norm == "pre" else 4) * (8 + 8 * bias)
    assert counts["head"] == (0 if tie_weights else 11 * 8)


@pytest.mark.parametrize("tie_weights", [True, False])
def test_tied_weights_are_one_tensor(tie_weights, tmp_path):
    model = GPT(GPTConfig(11, 8, 8, 1, 2, tie_weights=tie_weights))
    model.save(tmp_path / "model")
    for tied in (model, GPT.load(tmp_path / "model"), model.double()):
        assert (tied.head.weight is tied.token_embedding.weight) == tie_weights


@pytest.mark.parametrize("positions", SCHEMES)
@pytest.mark.parametrize("norm", NORMS)
def test_the_loss_starts_at_ln_v(positions, norm):
    model = GPT(GPTConfig(65, 32, 64, 4, 4, positions=positions, norm=norm))
    ids, targets = torch.randint(65, (2, 16, 32))
    assert next_token_loss(model(ids), targets).item() == pytest.approx(math.log(65), abs=0.1)


def test_the_last_layers_of_a_block_start_smaller_with_depth():
    model = GPT(GPTConfig(11, 8, 128, n_layers=8, n_heads=2))
    for block in model.blocks:
        assert block.attention.query.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert block.attention.out.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
        assert block.feed_forward.down.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
        assert not block.feed_forward.up.bias.any()


# ---------------------------------------------------------------- what it may see


@pytest.mark.parametrize("positions", SCHEMES)
@pytest.mark.parametrize("norm", NORMS)
def test_no_leak_from_the_future(positions, norm, tiny_gpt):
    model, embedded = tiny_gpt(positions=positions, norm=norm), []
    model.token_embedding.register_forward_hook(lambda module, args, output: embedded.append(output))
    logits = model(torch.randint(11, (1, 8)))
    for t in range(8):
        (gradient,) = torch.autograd.grad(logits[0, t].sin().sum(), embedded, retain_graph=True)
        assert gradient[0].any(-1).tolist() == [s <= t for s in range(8)]


@pytest.mark.parametrize("positions", SCHEMES)
@pytest.mark.parametrize("norm", NORMS)
def test_a_padded_batch_gives_what_each_sentence_gives_alone(positions, norm, tiny_gpt):
    model, ids = tiny_gpt(positions=positions, norm=norm), torch.randint(11, (3, 8))
    for logits, sentence, length in zip(model(ids), ids, (2, 5, 8), strict=True):
        assert_close(logits[:length], model(sentence[None, :length])[0])


@pytest.mark.parametrize("positions", SCHEMES)
def test_with_positions_the_order_of_the_past_counts(positions, tiny_gpt):
    model = tiny_gpt(positions=positions, n_layers=1)
    forwards, backwards = model(torch.tensor([[1, 2, 3, 4], [3, 2, 1, 4]]))[:, -1]
    assert torch.allclose(forwards, backwards) == (positions == "none")


def test_dropout_only_in_train_mode():
    ids = torch.randint(11, (1, 8))
    model = GPT(GPTConfig(11, 8, 32, 1, 2, dropout=0.5))
    model.blocks.eval()  # so that what is left is the dropout of the embeddings
    assert not torch.equal(model(ids), model(ids))
    assert model.blocks[0].attention.dropout == 0.5
    model.eval()
    assert torch.equal(model(ids), model(ids))


def test_loss_by_hand():
    logits = torch.tensor([[[3.0, 1.0], [1.0, 1.0]]]).log()  # 3/4 and 1/4, then one half each
    targets = torch.tensor([[1, 0]])
    assert next_token_loss(logits, targets).item() == pytest.approx((math.log(4) + math.log(2)) / 2)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            ({name: 0}, f"{name} must be at least 1; got 0")
            for name in ("vocab_size", "context_length", "d_model", "n_layers", "n_heads")
        ),
        ({"d_ff": 0}, "d_ff must be at least 1; got 0"),
        ({"n_heads": 3}, "n_heads must divide d_model, 8; got n_heads = 3"),
        ({"dropout": 1.0}, "dropout must be in [0, 1); got 1.0"),
        ({"dropout": -0.1}, "dropout must be in [0, 1); got -0.1"),
        ({"positions": "rope"}, "positions must be one of"),
        ({"norm": "both"}, "norm must be 'pre' or 'post'; got 'both'"),
        ({"activation": "tanh"}, "activation must be one of"),
    ],
)
def test_bad_configs_are_named(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GPT(replace(GPTConfig(11, d_model=8, n_heads=2), **change))


def test_unknown_gpt2_size_is_named():
    with pytest.raises(ValueError, match="size must be one of small, medium, large, xl; got 'huge'"):
        GPTConfig.gpt2("huge")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[0] * 9], "ids may hold at most context_length, 8, tokens; got 9"),
        ([[3, 11]], "ids must lie in 0 … 10, the vocabulary; got 3 … 11"),
        ([[-1, 4]], "ids must lie in 0 … 10, the vocabulary; got -1 … 4"),
    ],
)
def test_bad_ids_are_named(ids, message, tiny_gpt):
    with pytest.raises(ValueError, match=message):
        tiny_gpt()(torch.tensor(ids))


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"positions": "alibi", "norm": "post", "d_ff": 12, "activation": "relu2"},
        {"positions": "rotary", "tie_weights": False, "bias": False, "dropout": 0.5},
    ],
)
def test_load_gives_back_what_was_saved(change, tiny_gpt, tmp_path):
    model = tiny_gpt(**change).float()
    model.save(tmp_path / "new folder" / "model.safetensors")
    loaded = GPT.load(tmp_path / "new folder" / "model.safetensors")
    assert loaded.config == model.config and not loaded.training
    ids = torch.randint(11, (2, 8))
    assert torch.equal(loaded(ids), model.eval()(ids))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_halves_the_file_and_loads_in_float32(dtype, tmp_path):
    model = GPT(GPTConfig(11, 8, 64, 1, 2))
    model.save(tmp_path / "whole")
    model.save(tmp_path / "half", dtype)
    assert (tmp_path / "half").stat().st_size < 0.55 * (tmp_path / "whole").stat().st_size
    for name, weight in GPT.load(tmp_path / "half").state_dict().items():
        assert_close(weight, model.state_dict()[name].to(dtype).float(), atol=0, rtol=0)

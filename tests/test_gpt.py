"""The GPT next to GPT-2, what it may see, its parameters, its files."""

import math
import re
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from transformers import GPT2Config, GPT2LMHeadModel

from transformer_lab.files import read_safetensors, write_safetensors
from transformer_lab.gpt import GPT, GPTConfig, NgramEmbedding, gpt2_weights, next_token_loss, ngram_rows
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
@pytest.mark.parametrize("ngrams, embedding_norm", [(1, False), (3, True)])
def test_parameter_count_adds_up(positions, norm, tie_weights, bias, d_ff, ngrams, embedding_norm):
    options = dict(positions=positions, norm=norm, tie_weights=tie_weights, bias=bias, d_ff=d_ff)
    options |= dict(ngrams=ngrams, ngram_rows=5, embedding_norm=embedding_norm)
    model = GPT(GPTConfig(11, 8, 8, n_layers=2, n_heads=2, **options))
    counts = model.parameter_count()
    assert counts["total"] == sum(counts.values()) - counts["total"] == total(model)
    assert counts["token embedding"] == 11 * 8
    assert counts["n-grams"] == (ngrams - 1) * 5 * 8
    assert counts["positions"] == (8 * 8 if positions == "learned" else 0)
    assert counts["attention"] == 2 * 4 * (8 * 8 + 8 * bias)
    d_ff = d_ff or 4 * 8
    assert counts["feed-forward"] == 2 * (2 * 8 * d_ff + (d_ff + 8) * bias)
    assert counts["norms"] == ((5 if norm == "pre" else 4) + embedding_norm) * (8 + 8 * bias)
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


# ---------------------------------------------------------------- n-grams


def rows_by_hand(ids: list[int], longest: int, n_rows: int) -> list[list[int]]:
    """For each token, and for each n-gram that ends with it, a row of the n-gram's own table."""
    found = []
    for t in range(len(ids)):
        found.append([])
        for n in range(2, longest + 1):
            code = ids[t]
            for s in range(t - 1, t - n, -1):
                code = (code * 92821 + (ids[s] if s >= 0 else 0)) % (2**31 - 1)
            found[t].append((n - 2) * n_rows + code % n_rows)
    return found


@pytest.mark.parametrize("longest", [2, 5])
@pytest.mark.parametrize("length", [1, 3, 9])  # shorter and longer than the longest n-gram
def test_each_ngram_has_the_row_that_its_hash_says(longest, length):
    ids = torch.randint(50257, (2, length))
    rows = ngram_rows(ids, longest, 7)
    assert rows.tolist() == [rows_by_hand(sentence, longest, 7) for sentence in ids.tolist()]


def test_the_vectors_of_the_ngrams_are_summed(randomised):
    ngrams, ids = randomised(NgramEmbedding(3, 7, 4)), torch.randint(11, (1, 6))
    for vector, (two, three) in zip(ngrams(ids)[0], rows_by_hand(ids[0].tolist(), 3, 7)):
        assert_close(vector, ngrams.tables.weight[two] + ngrams.tables.weight[three])


def test_few_ngrams_share_a_row_where_there_are_rows_enough():
    pairs = torch.cartesian_prod(torch.arange(64), torch.arange(64))
    rows = ngram_rows(pairs, 2, 4096)[:, 1]
    assert len(rows.unique()) > 0.6 * 4096  # as many as if drawn at random: 1 - 1/e


def test_a_wider_fast_model_has_more_rows_unless_told_otherwise():
    rows = [GPTConfig.fast(7, **changes).ngram_rows for changes in ({}, {"d_model": 256}, {"ngram_rows": 5})]
    assert rows == [4096, 8192, 5]


def test_ngrams_start_as_if_they_were_not_there():
    ids, models = torch.randint(11, (2, 8)), []
    for ngrams in (1, 4):
        torch.manual_seed(0)
        models.append(GPT(GPTConfig(11, 8, 16, 1, 2, ngrams=ngrams, embedding_norm=True)))
    assert torch.equal(models[0](ids), models[1](ids))


def test_the_embedding_norm_is_over_all_that_is_embedded(tiny_gpt):
    model, seen = tiny_gpt(embedding_norm=True, ngrams=3, bias=False), []
    torch.nn.init.ones_(model.embedding_norm.weight)
    model.blocks[0].register_forward_hook(lambda module, args, output: seen.append(args[0]))
    model(torch.randint(11, (2, 8)))
    assert_close(seen[0].mean(-1), torch.zeros_like(seen[0][..., 0]))
    assert_close(seen[0].var(-1, unbiased=False), torch.ones_like(seen[0][..., 0]), atol=1e-3, rtol=0)


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


@pytest.mark.parametrize("longest", [2, 5])
def test_ngrams_see_the_last_tokens_and_nothing_else(longest, randomised):
    ngrams, ids = randomised(NgramEmbedding(longest, 4096, 4)), torch.arange(10, 22)[None]
    for t in range(12):
        changed = ids.index_fill(1, torch.tensor([t]), 3)
        differ = (ngrams(changed) != ngrams(ids)).any(-1)[0]
        assert differ.tolist() == [t <= s < t + longest for s in range(12)]


def test_with_ngrams_no_leak_from_the_future(tiny_gpt):
    model, ids = tiny_gpt(ngrams=4, embedding_norm=True, positions="rotary"), torch.randint(10, (1, 8))
    logits = model(ids)
    for t in range(8):
        changed = model(ids.index_fill(1, torch.tensor([t]), 10))
        assert (changed != logits).any(-1)[0].tolist() == [s >= t for s in range(8)]
        assert_close(model(ids[:, : t + 1]), logits[:, : t + 1])  # a sentence's beginning is read as when alone


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
            for name in ("vocab_size", "context_length", "d_model", "n_layers", "n_heads", "ngrams", "ngram_rows")
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
        {"ngrams": 3, "ngram_rows": 5, "embedding_norm": True},
    ],
)
def test_load_gives_back_what_was_saved(change, tiny_gpt, tmp_path):
    model = tiny_gpt(**change).float()
    model.save(tmp_path / "new folder" / "model.safetensors")
    loaded = GPT.load(tmp_path / "new folder" / "model.safetensors")
    assert loaded.config == model.config and not loaded.training
    ids = torch.randint(11, (2, 8))
    assert torch.equal(loaded(ids), model.eval()(ids))


def test_a_file_from_before_there_were_ngrams_still_loads(tiny_gpt, tmp_path):
    model = tiny_gpt().float()
    model.save(tmp_path / "model")
    tensors, metadata = read_safetensors(tmp_path / "model")
    for name in ("ngrams", "ngram_rows", "embedding_norm"):
        del metadata["config"][name]
    write_safetensors(tmp_path / "old", tensors, metadata)
    assert GPT.load(tmp_path / "old").config == model.config


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_halves_the_file_and_loads_in_float32(dtype, tmp_path):
    model = GPT(GPTConfig(11, 8, 64, 1, 2))
    model.save(tmp_path / "whole")
    model.save(tmp_path / "half", dtype)
    assert (tmp_path / "half").stat().st_size < 0.55 * (tmp_path / "whole").stat().st_size
    for name, weight in GPT.load(tmp_path / "half").state_dict().items():
        assert_close(weight, model.state_dict()[name].to(dtype).float(), atol=0, rtol=0)

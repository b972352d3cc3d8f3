"""A run says what the model did, with the changes asked for and no others, and leaves no trace in the model."""

import importlib
import math
import re
import sys
from types import SimpleNamespace

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers import models as tokenizer_models
from tokenizers.trainers import BpeTrainer
from torch import nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

from transformer_lab.gpt import GPT, GPTConfig
from transformer_lab.positions import SCHEMES
from transformer_lab.tokenizers import CharacterTokenizer
from transformer_lab.training import TrainingConfig, load_pretrained, train
from transformer_lab.widgets.running import Run, make_runner, patterns_of

TEXT = "cabbage"
CHARACTERS = CharacterTokenizer("abcdefghijk")
WORDS = "the cat sat on the mat"
SMALL = dict(vocab_size=300, num_hidden_layers=2, hidden_size=24, num_attention_heads=4, intermediate_size=32)
GROUPED = SMALL | dict(num_key_value_heads=2, bos_token_id=0, eos_token_id=0)
GPT2_SHAPE = dict(
    vocab_size=300, n_embd=24, n_layer=2, n_head=4, n_positions=20, scale_attn_by_inverse_layer_idx=True
) | dict(bos_token_id=0, eos_token_id=0)
T5_SHAPE = dict(vocab_size=300, d_model=24, d_kv=6, d_ff=32, num_layers=2, num_heads=4)
THEIRS = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT2_SHAPE)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**GROUPED, max_position_embeddings=20)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**GROUPED, max_position_embeddings=20, sliding_window=3)),
    "bert": lambda: BertModel(BertConfig(**SMALL, max_position_embeddings=20)),
    "t5 encoder": lambda: T5EncoderModel(T5Config(**T5_SHAPE)),
}


@pytest.fixture(scope="module")
def byte_level() -> PreTrainedTokenizerFast:
    """Byte-pair encoding as GPT-2's: a space belongs to the word after it."""
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [WORDS] * 2, BpeTrainer(vocab_size=290, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.fixture(params=THEIRS)
def theirs(request, randomised) -> transformers.PreTrainedModel:
    """A small model with random weights, in eval mode, as from_pretrained gives it."""
    return randomised(THEIRS[request.param]()).float().eval()


@pytest.fixture
def gpt2(randomised) -> GPT2LMHeadModel:
    return randomised(THEIRS["gpt2"]()).float().eval()


def ids_of(tokenizer, text: str) -> torch.Tensor:
    return torch.tensor([tokenizer.encode(text)])


def eager(model, ids, **options):
    """What the model says of itself through transformers' own slow attention."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return model(input_ids=ids, output_attentions=True, **options)


def recomputed(run: Run) -> list[torch.Tensor]:
    """The patterns, from the rest of the run."""
    patterns = []
    for query, key, scale, bias, mask in zip(run.queries, run.keys, run.scale, run.biases, run.masks, strict=True):
        scores = query @ key.transpose(1, 2) * scale + (0 if bias is None else bias)
        patterns.append(scores.masked_fill(~mask, -math.inf).softmax(-1))
    return patterns


def assert_probabilities(run: Run, logits: torch.Tensor, ids: torch.Tensor, tokenizer) -> None:
    """Next tokens and loss are those of the logits."""
    order = logits[0, -1].argsort(descending=True)[:10].tolist()
    probabilities = logits[0, -1].softmax(-1)
    names = [tokenizer.decode([i]) or f"[{i}]" for i in order]
    names = [f"{name} ({i})" if name == "\ufffd" else name for name, i in zip(names, order, strict=True)]
    assert [token for token, _ in run.next_tokens] == names
    assert [p for _, p in run.next_tokens] == pytest.approx([probabilities[i].item() for i in order], abs=1e-5)
    assert run.loss == pytest.approx(cross_entropy(logits[0, :-1], ids[0, 1:]).item(), abs=1e-4)


def zero_columns(projection: nn.Module, head: int, d_head: int):
    """A hook on the output projection that takes one head's columns out of its input."""

    def hook(module, args):
        merged = args[0].clone()
        merged[..., head * d_head : (head + 1) * d_head] = 0
        return (merged,)

    return projection.register_forward_pre_hook(hook)


def state_of(model: nn.Module) -> dict:
    """All that a run might leave changed."""
    modules = [*model.modules()]
    return {
        "weights": {name: t.clone() for name, t in model.state_dict().items()},
        "same tensors": [id(p) for p in model.parameters()],
        "modes": [m.training for m in modules],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules],
        "explicit": [getattr(m, "explicit", None) for m in modules],
        "attention": [m.config._attn_implementation for m in modules if isinstance(m, transformers.PreTrainedModel)],
    }


# ---------------------------------------------------------------- our models


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_run_is_what_the_model_does(scheme, tiny_gpt):
    model = tiny_gpt(positions=scheme).eval()
    runner = make_runner(model, CHARACTERS)
    assert (runner.n_heads, runner.context_length, runner.checkpoints) == ([2, 2], 8, [])
    run, ids = runner(TEXT), ids_of(CHARACTERS, TEXT)
    assert run.tokens == list(TEXT)
    assert_probabilities(run, model(ids).detach(), ids, CHARACTERS)
    assert [t.shape for t in run.patterns] == [(2, 7, 7)] * 2
    assert [t.shape for t in run.queries + run.keys] == [(2, 7, 4)] * 4
    assert {t.dtype for t in run.patterns + run.queries + run.keys} == {torch.float32}
    assert all(mask.equal(torch.ones(7, 7).tril().bool()) for mask in run.masks)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_queries_keys_scale_and_bias_give_the_pattern(scheme, causal, temperature, tiny_gpt):
    run = make_runner(tiny_gpt(positions=scheme), CHARACTERS)(TEXT, causal=causal, temperature=temperature)
    assert_close(recomputed(run), run.patterns, rtol=0, atol=1e-5)
    assert run.scale == [0.5 / temperature] * 2
    assert [bias is not None for bias in run.biases] == [scheme == "alibi"] * 2


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_temperature_divides_all_scores(scheme, tiny_gpt):
    """Layer 0 meets the same queries and keys at any temperature. Its scores are taken from the pattern, by log."""
    runner = make_runner(tiny_gpt(positions=scheme), CHARACTERS)
    plain, hot = runner(TEXT).patterns[0], runner(TEXT, temperature=2.5).patterns[0]
    assert_close(hot, (plain.double().log() / 2.5).softmax(-1).float(), rtol=0, atol=1e-6)
    assert not torch.allclose(hot, plain, atol=1e-2)


def test_a_temperature_acts_in_every_layer(tiny_gpt):
    model = tiny_gpt(positions="rotary")
    hot = make_runner(model, CHARACTERS)(TEXT, temperature=3.0)
    for block in model.blocks:
        for parameter in block.attention.query.parameters():
            parameter.data /= 3
    expected = make_runner(model, CHARACTERS)(TEXT)
    assert_close(hot.patterns, expected.patterns)
    assert hot.loss == pytest.approx(expected.loss)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_the_causal_mask_every_position_sees_all(scheme, tiny_gpt):
    model = tiny_gpt(positions=scheme)
    run, ids = make_runner(model, CHARACTERS)(TEXT, causal=False), ids_of(CHARACTERS, TEXT)
    x = model.positions.add_to(model.token_embedding(ids))
    for layer, block in enumerate(model.blocks):
        normed = block.around_attention.norm(x)
        output, pattern = block.attention(normed, positions=model.positions, return_pattern=True)
        assert_close(run.patterns[layer], pattern[0].detach().float())
        x = block.around_feed_forward(x + output, block.feed_forward)
    assert_probabilities(run, model.head(model.final_norm(x)).detach(), ids, CHARACTERS)
    assert all(mask.all() for mask in run.masks)
    assert all((pattern > 0).all() for pattern in run.patterns)


@pytest.mark.parametrize("ablated", [[(0, 1)], ((1, 0), (0, 0)), [[1, 1]]])
def test_an_ablated_head_gives_zeros_to_the_output_projection(ablated, tiny_gpt):
    model = tiny_gpt()
    runner = make_runner(model, CHARACTERS)
    run, whole = runner(TEXT, ablated=ablated), runner(TEXT)
    for layer, head in ablated:
        zero_columns(model.blocks[layer].attention.out, head, d_head=4)
    ids = ids_of(CHARACTERS, TEXT)
    assert_probabilities(run, model(ids).detach(), ids, CHARACTERS)
    assert run.loss != pytest.approx(whole.loss)


def test_one_token_has_a_next_one_but_no_loss(tiny_gpt):
    run = make_runner(tiny_gpt(), CHARACTERS)("a")
    assert run.loss is None and len(run.next_tokens) == 10
    assert [p.tolist() for p in run.patterns] == [[[[1.0]], [[1.0]]]] * 2


def test_the_model_that_comes_with_the_package():
    model, tokenizer, _ = load_pretrained()
    run = make_runner(model, tokenizer)("def __init__(self, name):\n    self.name = ")
    assert "".join(run.tokens) == "def __init__(self, name):\n    self.name = "
    assert sum(p for _, p in run.next_tokens) < 1 and run.loss < math.log(model.config.vocab_size)


# ---------------------------------------------------------------- checkpoints of ours


@pytest.fixture
def trained(tmp_path):
    """A model, and names for other weights: two kinds of file, and a state dict."""
    config = GPTConfig(11, context_length=8, d_model=8, n_layers=2, n_heads=2)
    GPT(config).save(tmp_path / "saved.safetensors")
    ids = torch.randint(11, (100,))
    short = TrainingConfig(steps=2, batch_size=2, evaluate_every=2, evaluation_windows=2, checkpoint_every=2)
    model = GPT(config)
    train(model, ids, ids, short, checkpoint=tmp_path / "step-2.safetensors")
    checkpoints = {
        "saved": tmp_path / "saved.safetensors",
        "step 2": str(tmp_path / "step-2.safetensors"),
        "before": GPT(config).state_dict(),
    }
    return GPT(config).train(), checkpoints


@pytest.mark.parametrize("name", ["saved", "step 2", "before"])
def test_a_checkpoint_runs_and_the_model_keeps_its_weights(name, trained):
    model, checkpoints = trained
    runner = make_runner(model, CHARACTERS, checkpoints)
    assert runner.checkpoints == ["saved", "step 2", "before"]
    before, own = state_of(model), runner(TEXT)
    run = runner(TEXT, checkpoint=name)
    assert_same(before, state_of(model))
    other = GPT(model.config) if name == "before" else GPT.load(checkpoints[name])
    if name == "before":
        other.load_state_dict(checkpoints[name])
    expected = make_runner(other, CHARACTERS)(TEXT)
    assert run.loss == expected.loss != own.loss
    assert_close(run.patterns, expected.patterns)
    assert runner(TEXT).loss == own.loss


def test_a_checkpoint_of_another_model_is_refused(trained, tiny_gpt):
    model, _ = trained
    before = state_of(model)
    runner = make_runner(model, CHARACTERS, {"wider": tiny_gpt(d_model=16).state_dict()})
    with pytest.raises(ValueError, match="wider was written by a model of another config: token_embedding.weight"):
        runner(TEXT, checkpoint="wider")
    with pytest.raises(ValueError, match=re.escape("checkpoint must be one of ['wider'] or None; got 'later'")):
        runner(TEXT, checkpoint="later")
    assert_same(before, state_of(model))


# ---------------------------------------------------------------- nothing is left


def assert_same(before: dict, after: dict) -> None:
    assert_close(before.pop("weights"), after.pop("weights"), rtol=0, atol=0)
    assert before == after


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, "in the model"])
@pytest.mark.parametrize("kind", ["ours", *THEIRS])
def test_a_run_leaves_the_model_as_it_was(kind, error, randomised, tiny_gpt, byte_level):
    model = tiny_gpt(dropout=0.5) if kind == "ours" else randomised(THEIRS[kind]()).float()
    untouched = state_of(model)
    runner = make_runner(model, CHARACTERS if kind == "ours" else byte_level)
    assert_same(untouched, state_of(model))
    parts = [*model.modules()]
    model.train()
    parts[-1].eval()  # one part in another mode
    if kind == "ours":
        model.blocks[1].attention.explicit = True
    if error:  # the last thing that a model does fails
        error = RuntimeError("out of luck") if error == "in the model" else error()
        broken = next(m for m in reversed(parts) if isinstance(m, nn.Linear))

        def fail(module, args):
            raise error

        broken.register_forward_pre_hook(fail)
    before = state_of(model)
    changes = dict(ablated=[(0, 1)], causal=False, temperature=2.0)
    if error:
        with pytest.raises(type(error)):
            runner("cab", **changes)
    else:
        runner("cab", **changes)
    assert_same(before, state_of(model))


@pytest.mark.parametrize("kind", ["ours", "gpt2"])
def test_nothing_is_dropped_while_a_model_is_in_train_mode(kind, randomised, tiny_gpt, byte_level):
    model = tiny_gpt(dropout=0.5) if kind == "ours" else randomised(THEIRS[kind]()).float()
    runner = make_runner(model.train(), CHARACTERS if kind == "ours" else byte_level)
    in_train_mode = runner(TEXT)
    model.eval()
    assert runner(TEXT).loss == in_train_mode.loss


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("", {}, "text must hold at least one token; got ''"),
        ("abcabcabc", {}, "text may hold at most 8 tokens, the context; got 9"),
        ("xyz", {}, "text holds 'x' at index 0"),
        (TEXT, {"ablated": [(2, 0)]}, "the heads of each layer are [2, 2]; got (2, 0)"),
        (TEXT, {"ablated": [(0, -1)]}, "the heads of each layer are [2, 2]; got (0, -1)"),
        (TEXT, {"temperature": 0.0}, "temperature must be above 0 and finite; got 0.0"),
        (TEXT, {"temperature": math.nan}, "temperature must be above 0 and finite; got nan"),
        (TEXT, {"checkpoint": "x"}, "checkpoint must be one of [] or None; got 'x'"),
    ],
)
def test_what_cannot_be_is_named(text, changes, message, tiny_gpt):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_runner(tiny_gpt(), CHARACTERS)(text, **changes)


def test_a_model_of_neither_kind_is_named():
    with pytest.raises(ValueError, match="for a Linear, pass its tokens and its attention, as tensors, instead"):
        make_runner(nn.Linear(2, 2), CHARACTERS)


def test_our_models_run_without_transformers(tiny_gpt, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)  # importing it fails
    monkeypatch.delitem(sys.modules, make_runner.__module__)
    running = importlib.import_module(make_runner.__module__)
    assert running.make_runner(tiny_gpt(), CHARACTERS)("a").tokens == ["a"]


# ---------------------------------------------------------------- the transformers library's models


def test_their_run_is_what_their_eager_attention_does(theirs, byte_level):
    runner = make_runner(theirs, byte_level)
    assert runner.n_heads == [4, 4]
    assert runner.context_length == (20 if hasattr(theirs.config, "max_position_embeddings") else sys.maxsize)
    run, ids = runner(WORDS), ids_of(byte_level, WORDS)
    assert run.tokens == [byte_level.decode([i]) for i in ids[0].tolist()] and "".join(run.tokens) == WORDS
    outputs = eager(theirs, ids)
    assert_close(run.patterns, patterns_of(outputs)["attention"], rtol=0, atol=1e-5)
    assert_close(recomputed(run), run.patterns, rtol=0, atol=1e-5)
    assert {t.shape for t in run.queries + run.keys} == {(4, len(run.tokens), 6)}
    if hasattr(outputs, "logits"):
        assert_probabilities(run, outputs.logits, ids, byte_level)
    else:
        assert (run.next_tokens, run.loss) == ([], None)


@pytest.mark.parametrize("temperature", [0.4, 3.0])
@pytest.mark.parametrize("causal", [True, False])
def test_their_queries_keys_scale_and_bias_give_the_pattern(theirs, causal, temperature, byte_level):
    run = make_runner(theirs, byte_level)(WORDS, causal=causal, temperature=temperature)
    assert_close(recomputed(run), run.patterns, rtol=0, atol=1e-5)
    assert [bias is not None for bias in run.biases] == [isinstance(theirs, T5EncoderModel)] * 2


def test_the_scale_is_the_models_own_by_the_temperature(gpt2, byte_level):
    scale = make_runner(gpt2, byte_level)(WORDS, temperature=2.0).scale
    assert scale == pytest.approx([1 / math.sqrt(6) / 2, 1 / math.sqrt(6) / 2 / 2])  # by layer + 1 besides


def test_their_temperature_divides_the_scores_of_every_layer(gpt2, byte_level):
    run = make_runner(gpt2, byte_level)(WORDS, temperature=2.5)
    for block in gpt2.transformer.h:
        block.attn.scaling /= 2.5
    outputs, ids = eager(gpt2, ids_of(byte_level, WORDS)), ids_of(byte_level, WORDS)
    assert_close(run.patterns, patterns_of(outputs)["attention"], rtol=0, atol=1e-5)
    assert_probabilities(run, outputs.logits, ids, byte_level)


def test_a_temperature_divides_a_learnt_bias_too(randomised, byte_level):
    runner = make_runner(randomised(THEIRS["t5 encoder"]()).float().eval(), byte_level)
    plain, hot = runner(WORDS).patterns[0], runner(WORDS, temperature=2.0).patterns[0]
    assert_close(hot, (plain.double().log() / 2).softmax(-1).float(), rtol=0, atol=1e-5)


def test_their_causal_mask_can_be_lifted(gpt2, byte_level):
    run, ids = make_runner(gpt2, byte_level)(WORDS, causal=False), ids_of(byte_level, WORDS)
    nothing_hidden = torch.zeros(1, 1, ids.shape[1], ids.shape[1])
    outputs = eager(gpt2, ids, attention_mask=nothing_hidden)
    assert_close(run.patterns, patterns_of(outputs)["attention"], rtol=0, atol=1e-5)
    assert_probabilities(run, outputs.logits, ids, byte_level)


def test_a_sliding_window_without_the_causal_mask_reaches_to_both_sides(randomised, byte_level):
    runner = make_runner(randomised(THEIRS["mistral"]()).float(), byte_level)
    run, lifted = runner(WORDS), runner(WORDS, causal=False)
    distance = torch.arange(len(run.tokens))[:, None] - torch.arange(len(run.tokens))
    assert run.masks[0].equal((distance >= 0) & (distance < 3))
    assert lifted.masks[0].equal(distance.abs() < 3)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
def test_their_ablated_head_gives_zeros_to_the_output_projection(kind, randomised, byte_level):
    model = randomised(THEIRS[kind]()).float().eval()
    run = make_runner(model, byte_level)(WORDS, ablated=[(0, 3), (1, 1)])
    layers = {
        "gpt2": lambda: [block.attn.c_proj for block in model.transformer.h],
        "llama": lambda: [block.self_attn.o_proj for block in model.model.layers],
        "bert": lambda: [block.attention.output.dense for block in model.encoder.layer],
    }[kind]()
    zero_columns(layers[0], 3, d_head=6)
    zero_columns(layers[1], 1, d_head=6)
    outputs, ids = eager(model, ids_of(byte_level, WORDS)), ids_of(byte_level, WORDS)
    assert_close(run.patterns, patterns_of(outputs)["attention"], rtol=0, atol=1e-5)
    if kind != "bert":
        assert_probabilities(run, outputs.logits, ids, byte_level)


@pytest.mark.parametrize(
    "kind", ["GPT2Model", "GPT2ForTokenClassification", "BertForMaskedLM", "BertLMHeadModel"]
)  # the last one sees the future unless its config says is_decoder
def test_what_predicts_no_next_token_says_none(kind, byte_level):
    config = GPT2Config(**GPT2_SHAPE) if kind.startswith("GPT2") else BertConfig(**SMALL)
    run = make_runner(getattr(transformers, kind)(config), byte_level)(WORDS)
    assert (run.next_tokens, run.loss) == ([], None)


def test_a_model_in_half_precision_gives_float32(gpt2, byte_level):
    expected = make_runner(gpt2, byte_level)(WORDS)
    run = make_runner(gpt2.bfloat16(), byte_level)(WORDS)
    assert {t.dtype for t in run.patterns + run.queries + run.keys} == {torch.float32}
    assert_close([p.sum(-1) for p in run.patterns], [p.sum(-1) for p in expected.patterns])
    assert_close(recomputed(run), run.patterns, rtol=0, atol=1e-5)


@pytest.mark.parametrize("as_folder", [True, False])
def test_their_checkpoints(as_folder, gpt2, randomised, byte_level, tmp_path, capfd):
    other = randomised(THEIRS["gpt2"]()).float().eval()
    other.save_pretrained(tmp_path / "other")
    runner = make_runner(gpt2, byte_level, {"other": tmp_path / "other" if as_folder else other.state_dict()})
    before = state_of(gpt2)
    assert runner(WORDS, checkpoint="other").loss == make_runner(other, byte_level)(WORDS).loss != runner(WORDS).loss
    assert_same(before, state_of(gpt2))


def test_their_checkpoints_that_cannot_be(gpt2, randomised, byte_level, tmp_path):
    weights = {"bert": randomised(THEIRS["bert"]()).state_dict(), "nowhere": tmp_path / "nowhere"}
    runner = make_runner(gpt2, byte_level, weights)
    with pytest.raises(ValueError, match="bert holds weights of another model"):
        runner(WORDS, checkpoint="bert")
    with pytest.raises(FileNotFoundError, match="no folder at .*nowhere"):
        runner(WORDS, checkpoint="nowhere")


def test_a_text_longer_than_their_context(gpt2, byte_level):
    with pytest.raises(ValueError, match="at most 20 tokens, the context; got 21"):
        make_runner(gpt2, byte_level)("z" * 21)
    byte_level = PreTrainedTokenizerFast(tokenizer_object=byte_level.backend_tokenizer, model_max_length=5)
    assert make_runner(gpt2, byte_level).context_length == 5


def test_a_mask_of_truth_values_hides_as_well(gpt2, byte_level):
    """Some models prepare their own mask; here one hides the first token from all others."""
    runner, length = make_runner(gpt2, byte_level), ids_of(byte_level, WORDS).shape[1]
    mask = torch.ones(length, length).tril().bool()
    mask[1:, 0] = False
    for block in gpt2.transformer.h:
        block.attn.register_forward_pre_hook(
            lambda module, args, options: (args, options | {"attention_mask": mask[None, None]}), with_kwargs=True
        )
    run = runner(WORDS)
    assert all(m.equal(mask) for m in run.masks)
    assert all((pattern > 0).equal(mask.expand_as(pattern)) for pattern in run.patterns)


def unsupported(kind: str):
    if kind == "bloom":
        return transformers.BloomModel(transformers.BloomConfig(vocab_size=300, hidden_size=24, n_layer=1, n_head=4))
    if kind == "gemma2":
        return transformers.Gemma2Model(transformers.Gemma2Config(**GROUPED, head_dim=6, pad_token_id=0))
    return T5ForConditionalGeneration(T5Config(**T5_SHAPE))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("bloom", "BloomModel does not call its attention through transformers' AttentionInterface"),
        ("gemma2", "Gemma2Model's attention has softcap"),
        ("t5", "T5ForConditionalGeneration has an encoder and a decoder"),
    ],
)
def test_models_that_cannot_be_run_say_what_is_possible(kind, message, byte_level):
    model = unsupported(kind)
    before = state_of(model)
    with pytest.raises(ValueError, match=f"{message}.*: pass its tokens and its attention, as tensors, instead"):
        make_runner(model, byte_level)
    assert_same(before, state_of(model))


# ---------------------------------------------------------------- their tokenizers


def test_tokens_of_bytes_read_with_their_spaces(gpt2, byte_level):
    assert make_runner(gpt2, byte_level)("the cat").tokens == ["the", " cat"]


def words(pre_tokenizer, vocabulary: list[str]) -> Tokenizer:
    model = tokenizer_models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer


def test_tokens_with_special_ones(randomised):
    tokenizer = words(pre_tokenizers.Whitespace(), ["[UNK]", "[CLS]", "[SEP]", "cat", "sat"])
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 1), ("[SEP]", 2)])
    runner = make_runner(THEIRS["bert"](), PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]"))
    assert runner("cat dog sat").tokens == ["[CLS]", "cat", "[UNK]", "sat", "[SEP]"]


def test_tokens_of_sentencepiece_keep_their_spaces(gpt2):
    tokenizer = words(pre_tokenizers.Metaspace(prepend_scheme="always"), ["[UNK]", "▁the", "▁cat"])
    tokenizer.decoder = decoders.Metaspace()
    assert make_runner(gpt2, PreTrainedTokenizerFast(tokenizer_object=tokenizer))("the cat").tokens == [" the", " cat"]


@pytest.mark.parametrize("kind", ["the tokenizers library's", "encode and decode alone"])
def test_other_tokenizers_do_as_well(kind, gpt2, byte_level):
    backend = byte_level.backend_tokenizer
    plain = SimpleNamespace(encode=lambda text: backend.encode(text).ids, decode=backend.decode)
    run = make_runner(gpt2, backend if kind.startswith("the") else plain)(WORDS)
    expected = make_runner(gpt2, byte_level)(WORDS)
    assert (run.tokens, run.loss) == (expected.tokens, expected.loss)


# ---------------------------------------------------------------- what their models return


def test_patterns_of_a_sequence_to_sequence_model(randomised):
    model = randomised(T5ForConditionalGeneration(T5Config(**T5_SHAPE))).float().eval()
    source, target = torch.randint(300, (2, 5)), torch.randint(300, (2, 3))
    outputs = eager(model, source, decoder_input_ids=target)
    patterns = patterns_of(outputs, row=1)
    shapes = {kind: [tuple(p.shape) for p in layers] for kind, layers in patterns.items()}
    assert shapes == {"encoder": [(4, 5, 5)] * 2, "decoder": [(4, 3, 3)] * 2, "cross": [(4, 3, 5)] * 2}
    assert_close(patterns["cross"][1], outputs.cross_attentions[1][1])
    with pytest.raises(ValueError, match=re.escape("a batch of 2 texts: say which by row = 0 … 1")):
        patterns_of(outputs)
    with pytest.raises(ValueError, match="row must lie in 0 … 1, the texts of the batch; got 2"):
        patterns_of(outputs, row=2)


def test_patterns_of_the_tuple_itself(gpt2):
    outputs = eager(gpt2, torch.randint(300, (1, 4)))
    assert_close(patterns_of(outputs.attentions), {"attention": [a[0] for a in outputs.attentions]})


def test_patterns_where_none_were_kept(gpt2):
    ids = torch.randint(300, (1, 4))
    with pytest.raises(ValueError, match="call the model with output_attentions=True"):
        patterns_of(gpt2(ids))
    with pytest.raises(ValueError, match='a layer\'s attention is None.*attn_implementation="eager"'):
        patterns_of(SimpleNamespace(attentions=(None, None)))
    with pytest.raises(ValueError, match=re.escape("(batch, heads, queries, keys) a layer; got (4, 4)")):
        patterns_of((torch.eye(4),))

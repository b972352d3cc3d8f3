"""Training: the update is what the formulas say, a stopped run goes on as if it had not stopped, errors are plain."""

import itertools
import json
import math
import re
import subprocess
import sys
from dataclasses import asdict, fields, replace
from datetime import date
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from transformer_lab import data, training
from transformer_lab.files import read_safetensors, write_safetensors
from transformer_lab.generation import write
from transformer_lab.gpt import GPT, GPTConfig, next_token_loss
from transformer_lab.tokenizers import BPETokenizer, load_tokenizer, save_tokenizer
from transformer_lab.training import (
    SCHEDULES,
    History,
    TrainingConfig,
    evaluate,
    inverse_sqrt_rate,
    learning_rate,
    make_optimizer,
    train,
)
from transformer_lab.transformer import (
    BEGIN,
    END,
    PADDING,
    Transformer,
    TransformerConfig,
    sequence_loss,
    teacher_forcing,
)

SHAPE = GPTConfig(vocab_size=12, context_length=8, d_model=16, n_layers=2, n_heads=2, dropout=0.2)
BRIEF = TrainingConfig(
    steps=6, batch_size=4, warmup_steps=2, evaluate_every=2, evaluation_windows=3, checkpoint_every=2
)
IDS = torch.randint(12, (300,), generator=torch.Generator().manual_seed(0))


def new_model(**changes) -> GPT:
    torch.manual_seed(0)
    return GPT(replace(SHAPE, **changes))


def facts(history: History) -> dict:
    """All of it but the time it took."""
    return {key: value for key, value in asdict(history).items() if "seconds" not in key}


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


# ---------------------------------------------------------------- the pieces


def test_learning_rate_rises_then_falls_on_half_a_cosine():
    config = TrainingConfig(steps=110, warmup_steps=10, learning_rate=2.0, final_learning_rate=0.1)
    rates = [learning_rate(step, config) for step in range(110)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == max(rates) == 2.0
    assert rates[60] == pytest.approx((2.0 + 0.2) / 2)  # half way down
    assert all(later < earlier for earlier, later in zip(rates[10:], rates[11:]))
    assert learning_rate(110, config) == pytest.approx(0.2)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_warm_up_the_rate_starts_at_the_top(schedule):
    assert SCHEDULES[schedule](0, TrainingConfig(warmup_steps=0, learning_rate=2.0)) == 2.0


def test_the_inverse_square_root_schedule_is_the_papers():
    d_model, warmup = 512, 40
    highest = (d_model * warmup) ** -0.5
    config = TrainingConfig(steps=10, warmup_steps=warmup, learning_rate=highest)
    wanted = [d_model**-0.5 * min(n**-0.5, n * warmup**-1.5) for n in range(1, 201)]
    assert [inverse_sqrt_rate(step, config) for step in range(200)] == pytest.approx(wanted)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_training_follows_the_schedule(schedule):
    config = replace(BRIEF, schedule=schedule)
    assert train(new_model(), IDS, IDS, config).learning_rate == [SCHEDULES[schedule](n, config) for n in range(6)]


@pytest.mark.parametrize("tie_weights", [True, False])
def test_only_the_linear_layers_matrices_decay(tie_weights):
    model = new_model(tie_weights=tie_weights, positions="learned")
    decaying, others = make_optimizer(model, replace(BRIEF, weight_decay=0.3)).param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    names = {id(p): name for name, p in model.named_parameters()}
    matrices = ("query", "key", "value", "out", "up", "down")
    wanted = {name for name in names.values() if name.endswith(tuple(f".{m}.weight" for m in matrices))}
    wanted |= set() if tie_weights else {"head.weight"}
    assert {names[id(p)] for p in decaying["params"]} == wanted
    assert {names[id(p)] for p in others["params"]} == set(names.values()) - wanted
    assert {"token_embedding.weight", "positions.encoding", "final_norm.weight"} < set(names.values()) - wanted


@pytest.mark.parametrize("tie_weights", [True, False])
def test_what_has_a_row_a_token_may_learn_at_a_rate_of_its_own(tie_weights):
    model = new_model(tie_weights=tie_weights, ngrams=3, bias=False)
    config = replace(BRIEF, steps=1, learning_rate=0.1, embedding_learning_rate=3.0, warmup_steps=0, weight_decay=0.0)
    before = {name: p.clone() for name, p in model.named_parameters()}
    train(model, IDS, IDS, config)
    for name, p in model.named_parameters():  # Adam's first step: every weight that has a gradient moves by its rate
        wanted = 0.3 if name in ("token_embedding.weight", "ngrams.tables.weight", "head.weight") else 0.1
        assert (p - before[name]).abs().max().item() == pytest.approx(wanted, rel=0.01)


@pytest.mark.parametrize("max_windows, chosen", [(None, slice(None)), (3, [0, 18, 36]), (100, slice(None))])
def test_evaluate_is_the_mean_over_the_windows_without_dropout(max_windows, chosen):
    model = new_model()
    inputs, targets = data.consecutive_windows(IDS, 8)
    assert len(inputs) == 37
    with torch.no_grad():
        losses = [next_token_loss(model.eval()(x[None]), y[None]).item() for x, y in zip(inputs, targets)]
    wanted = torch.tensor(losses)[chosen].mean().item()
    model.train()
    assert evaluate(model, IDS, max_windows, batch_size=10) == pytest.approx(wanted, rel=1e-5)
    assert model.training


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"steps": 0}, "steps must be at least 1; got 0"),
        ({"accumulate": 0}, "accumulate must be at least 1; got 0"),
        ({"learning_rate": -0.1}, "learning_rate must be above 0; got -0.1"),
        ({"embedding_learning_rate": 0.0}, "embedding_learning_rate must be above 0; got 0.0"),
        ({"short_context": 1.5}, r"short_context must be in \[0, 1\]; got 1.5"),
        ({"clip": math.nan}, "clip must be above 0; got nan"),
        ({"schedule": "stairs"}, "schedule must be one of cosine, inverse_sqrt; got 'stairs'"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**changes)


# ---------------------------------------------------------------- the loop


@pytest.mark.parametrize("clip", [1000.0, 0.01])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_follows_the_mean_gradient_clipped(monkeypatch, accumulate, clip):
    model, by_hand = new_model(dropout=0.0), new_model(dropout=0.0)
    # Plain gradient descent at rate 1, so that the weights move by the very gradient.
    monkeypatch.setattr(training, "make_optimizer", lambda model, config: torch.optim.SGD(model.parameters()))
    config = replace(BRIEF, steps=1, accumulate=accumulate, clip=clip, warmup_steps=0, learning_rate=1.0, seed=3)
    history = train(model, IDS, IDS, config)

    torch.manual_seed(1_000_003 * 3)
    windows = [data.random_windows(IDS, 8, 4) for _ in range(accumulate)]
    inputs, targets = (torch.cat(part) for part in zip(*windows))
    loss = next_token_loss(by_hand(inputs), targets)
    gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
    norm = torch.cat([g.flatten() for g in gradients]).norm().item()
    assert history.train_loss == [pytest.approx(loss.item(), rel=1e-5)]
    assert history.gradient_norm == [pytest.approx(norm, rel=1e-4)]
    assert (norm > clip) == (clip == 0.01)
    for after, before, gradient in zip(model.parameters(), by_hand.parameters(), gradients):
        wanted = before - gradient * min(1, clip / norm)
        torch.testing.assert_close(after, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("share, n_short", [(0.0, 0), (0.5, 3), (0.8, 5), (1.0, 6)])
def test_the_first_share_of_the_steps_has_shorter_windows_and_more_of_them(share, n_short):
    model, shapes = new_model(), []
    model.register_forward_pre_hook(lambda m, args: shapes.append(tuple(args[0].shape)) if m.training else None)
    train(model, IDS, IDS, replace(BRIEF, short_context=share))
    assert shapes == [(8, 4)] * n_short + [(4, 8)] * (6 - n_short)


def test_the_loss_falls_on_a_text_that_repeats():
    ids = torch.arange(6).repeat(50)
    model = new_model(dropout=0.0)
    config = replace(BRIEF, steps=60, learning_rate=1e-2, evaluate_every=60)
    history = train(model, ids, ids, config)
    assert history.train_loss[0] == pytest.approx(math.log(12), abs=0.2)
    assert history.held_out_loss[-1] < 0.1
    assert len(history.train_loss) == len(history.learning_rate) == len(history.gradient_norm) == 60
    assert history.learning_rate == [learning_rate(step, config) for step in range(60)]


def test_the_held_out_loss_is_measured_on_schedule_and_at_the_end():
    seen = []
    config = replace(BRIEF, steps=5)
    history = train(new_model(), IDS, IDS, config, on_evaluation=lambda step, h: seen.append((step, len(h.train_loss))))
    assert history.evaluation_steps == [2, 4, 5]
    assert seen == [(2, 2), (4, 4), (5, 5)]
    assert len(history.held_out_loss) == 3


def test_every_step_is_told_after_what_was_measured_at_it():
    seen = []
    train(new_model(), IDS, IDS, replace(BRIEF, steps=3), on_step=lambda step, h: seen.append((step, asdict(h))))
    assert [(step, len(h["train_loss"]), h["evaluation_steps"]) for step, h in seen] == [
        (1, 1, []), (2, 2, [2]), (3, 3, [2, 3]),
    ]  # fmt: skip


def test_measuring_does_not_change_the_training():
    models = new_model(), new_model()
    often, seldom = (train(m, IDS, IDS, replace(BRIEF, evaluate_every=n)) for m, n in zip(models, (1, 6)))
    assert often.train_loss == seldom.train_loss
    assert same_weights(*models)


def test_the_seed_decides():
    one, same, other = (train(new_model(), IDS, IDS, replace(BRIEF, seed=seed)) for seed in (1, 1, 2))
    assert facts(one) == facts(same)
    assert one.train_loss != other.train_loss


@pytest.mark.parametrize("mode", [True, False])
def test_the_model_comes_back_in_the_mode_it_was_in(mode):
    model = new_model().train(mode)
    train(model, IDS, IDS, replace(BRIEF, steps=1))
    assert model.training is mode
    assert all(p.grad is None for p in model.parameters())


def test_compiled_training_runs_what_torch_compiles(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    model = new_model()
    history = train(model, IDS, IDS, replace(BRIEF, compile=True))
    assert compiled == [model]
    assert history.train_loss == train(new_model(), IDS, IDS, BRIEF).train_loss


# In a process of its own, for torch.compile does not look through the checks of shapes that the tests switch on. The
# C++ compiler, which would take a minute, is left out: torch traces the model and runs it as it is.
COMPILED = """
import sys
from functools import partial
import torch
from transformer_lab.gpt import GPT, GPTConfig
from transformer_lab.training import TrainingConfig, train

torch.compile = partial(torch.compile, backend="eager")
ids = torch.randint(12, (300,), generator=torch.Generator().manual_seed(0))
for compile in (False, True):
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=12, context_length=8, d_model=16, n_layers=1, n_heads=2))
    history = train(model, ids, ids, TrainingConfig(steps=4, batch_size=2, evaluate_every=4, compile=compile))
    print(*history.train_loss)
"""


def test_a_compiled_run_is_the_same():
    run = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=True)
    plain, compiled = (list(map(float, line.split())) for line in run.stdout.splitlines())
    assert len(compiled) == 4 and compiled == pytest.approx(plain, rel=1e-5)


def test_the_losses_are_the_same_however_seldom_they_are_read(monkeypatch):
    often = train(new_model(), IDS, IDS, BRIEF)
    monkeypatch.setattr(training, "steps_unread", lambda device: 4)
    config = replace(BRIEF, evaluate_every=6)
    seldom = train(new_model(), IDS, IDS, config)
    assert seldom.train_loss == often.train_loss
    assert (seldom.learning_rate, seldom.gradient_norm) == (often.learning_rate, often.gradient_norm)
    assert seldom.held_out_loss == often.held_out_loss[-1:]

    # The stop button in the fourth step: what was not read yet is not lost.
    monkeypatch.setattr(training, "random_batch", interrupted_after(3, training.random_batch))
    assert train(new_model(), IDS, IDS, config).train_loss == often.train_loss[:3]


def interrupted_after(calls: int, function):
    """The function, which is interrupted when it is called once more."""
    count = itertools.count()

    def call(*arguments):
        if next(count) == calls:
            raise KeyboardInterrupt
        return function(*arguments)

    return call


def test_the_loop_waits_for_the_device_only_where_it_reads_the_losses(monkeypatch):
    """On the meta device a tensor has no values: whoever asks for one, as `item` does, is refused."""
    reads = []

    def mean(losses_and_norms):
        reads.append(losses_and_norms.shape[1])
        return torch.zeros(losses_and_norms.shape)

    monkeypatch.setattr(training.distributed, "mean", mean)
    monkeypatch.setattr(training, "evaluate", lambda *arguments: 0.0)
    config = replace(BRIEF, steps=21, evaluate_every=20)
    history = train(new_model(n_layers=1).to("meta"), IDS.to("meta"), IDS, config)
    assert reads == [1, 16, 3, 1]  # the first step; then seldom, and before each evaluation
    assert len(history.train_loss) == 21
    with pytest.raises(RuntimeError, match="meta"):
        torch.zeros((), device="meta").item()


def test_a_loss_that_is_no_number_is_found_late_but_before_it_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "steps_unread", lambda device: 100)
    losses = iter([1.0, 1.0, 1.0, math.nan, 1.0, 1.0])  # one of the fourth step, six steps before it is looked at
    seen = []
    with pytest.raises(FloatingPointError, match="the loss became nan at step 3 "):
        train(
            new_model(), IDS, IDS, replace(BRIEF, evaluate_every=6, checkpoint_every=6),
            loss_function=lambda logits, targets: next_token_loss(logits, targets) * next(losses),
            checkpoint=tmp_path / "c", on_evaluation=lambda *_: seen.append(1),
        )  # fmt: skip
    assert not seen and not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "batch_size, accumulate, message",
    [
        (4, 1, "too small for batch_size 4. With batch_size 2 and accumulate 2 a step learns from as many windows"),
        (9, 2, "too small for batch_size 9. With batch_size 3 and accumulate 6 a step learns from as many windows"),
        (1, 1, "too small for one window: take a smaller model, or several GPUs and --shard"),
    ],
)
def test_too_little_memory_says_what_would_fit(batch_size, accumulate, message):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    model = new_model()
    with pytest.raises(MemoryError, match=message):
        config = replace(BRIEF, batch_size=batch_size, accumulate=accumulate)
        train(model, IDS, IDS, config, loss_function=full)
    assert model.training and all(p.grad is None for p in model.parameters())


def test_what_would_fit_can_be_shared(monkeypatch):
    wanted = "With batch_size 6 and accumulate 2 "
    assert wanted in training._what_fits(replace(BRIEF, batch_size=12), world_size=3)
    assert wanted in training._what_fits(replace(BRIEF, batch_size=12), world_size=2)


def test_training_in_mixed_precision(monkeypatch):
    full = train(new_model(), IDS, IDS, BRIEF)
    monkeypatch.setattr(training, "mixed_precision", lambda device: torch.bfloat16)
    model = new_model()
    mixed = train(model, IDS, IDS, BRIEF)
    assert mixed.train_loss != full.train_loss
    assert mixed.train_loss == pytest.approx(full.train_loss, rel=0.02)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


# ---------------------------------------------------------------- other examples than windows of a text

PAIRS = torch.arange(3, 9).repeat(8, 1), torch.tensor([BEGIN, 8, 5, END, PADDING]).repeat(8, 1)
ROWS = PAIRS[0], *teacher_forcing(PAIRS[1])


def new_transformer() -> Transformer:
    torch.manual_seed(0)
    return Transformer(TransformerConfig(vocab_size=9, context_length=6, d_model=8, n_heads=2, dropout=0.2))


def test_a_random_batch_keeps_inputs_and_answers_together():
    rows = torch.arange(10), torch.arange(10)[:, None] * 2, torch.arange(10) * 3
    first, second, answers = training.random_batch(nn.Identity(), rows, 200)
    assert set(first.tolist()) == set(range(10)) and len(first) == 200
    assert torch.equal(second[:, 0], first * 2) and torch.equal(answers, first * 3)


@pytest.mark.parametrize("max_windows, chosen", [(None, slice(None)), (3, [0, 4, 9]), (100, slice(None))])
def test_evaluate_is_the_mean_over_the_rows(max_windows, chosen):
    model, x, y = nn.Linear(2, 1), torch.randn(10, 2), torch.randn(10, 1)
    wanted = nn.functional.mse_loss(model(x[chosen]), y[chosen]).item()
    measured = evaluate(model, (x, y), max_windows, batch_size=4, loss_function=nn.functional.mse_loss)
    assert measured == pytest.approx(wanted, rel=1e-5)


def test_a_model_of_two_sequences_learns_from_pairs():
    history = train(
        new_transformer(), ROWS, ROWS, replace(BRIEF, steps=60, learning_rate=1e-2), loss_function=sequence_loss
    )
    assert history.train_loss[0] > 1 > 0.1 > history.held_out_loss[-1]


def test_the_loss_function_is_the_one_that_is_asked_for():
    config = replace(BRIEF, steps=1)
    plain, smoothed = (
        train(new_transformer(), ROWS, ROWS, config, loss_function=partial(sequence_loss, label_smoothing=smoothing))
        for smoothing in (0.0, 0.9)
    )
    assert plain.train_loss != smoothed.train_loss
    assert plain.held_out_loss != smoothed.held_out_loss


def test_a_checkpoint_of_pairs_is_resumed_and_loaded(tmp_path):
    unbroken, broken, resumed = new_transformer(), new_transformer(), new_transformer()
    wanted = train(unbroken, ROWS, ROWS, BRIEF, loss_function=sequence_loss)
    stop = stop_at(4, KeyboardInterrupt())
    checkpoint = dict(loss_function=sequence_loss, checkpoint=tmp_path / "c")
    train(broken, ROWS, ROWS, BRIEF, **checkpoint, on_evaluation=stop)
    assert facts(train(resumed, ROWS, ROWS, BRIEF, **checkpoint)) == facts(wanted)
    assert same_weights(resumed, unbroken)
    assert same_weights(Transformer.load(tmp_path / "c"), unbroken)


# ---------------------------------------------------------------- stopping and going on


def stop_at(step: int, error: BaseException):
    def on_evaluation(done, history):
        if done == step:
            raise error

    return on_evaluation


def test_ctrl_c_keeps_the_model_and_the_history(capsys):
    model = new_model()
    history = train(model, IDS, IDS, BRIEF, on_evaluation=stop_at(4, KeyboardInterrupt()))
    assert len(history.train_loss) == 4
    assert history.evaluation_steps == [2, 4]
    assert "Stopped after 4 of 6 steps" in capsys.readouterr().out
    assert all(p.grad is None for p in model.parameters())
    assert model.training and math.isfinite(evaluate(model, IDS))


@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()], ids=["ctrl-c", "killed"])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, monkeypatch, error, tie_weights):
    # A clock that moves on by a second each time it is read.
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=map(float, itertools.count()).__next__))
    unbroken, broken = new_model(tie_weights=tie_weights), new_model(tie_weights=tie_weights)
    wanted = train(unbroken, IDS, IDS, BRIEF, checkpoint=tmp_path / "unbroken")
    try:
        train(broken, IDS, IDS, BRIEF, checkpoint=tmp_path / "c", on_evaluation=stop_at(4, error))
    except SystemExit:
        pass
    saved = read_safetensors(tmp_path / "c")[1]
    assert len(saved["history"]["train_loss"]) == 2  # stopped just before the second was written

    torch.manual_seed(99)  # neither the first weights nor the random numbers before matter
    resumed = GPT(replace(SHAPE, tie_weights=tie_weights))
    assert train(resumed, IDS, IDS, BRIEF, checkpoint=tmp_path / "c") == wanted
    assert wanted.seconds == 6 and wanted.first_step_seconds == 1
    assert same_weights(resumed, unbroken)
    ours, theirs = (read_safetensors(tmp_path / name) for name in ("c", "unbroken"))
    assert ours[0].keys() == theirs[0].keys() and all(torch.equal(ours[0][name], theirs[0][name]) for name in ours[0])
    assert ours[1] == theirs[1]


def test_the_fast_recipe_resumes_as_well(tmp_path):
    def fast_model() -> GPT:
        return GPT(GPTConfig.fast(12, context_length=8, d_model=16, n_layers=1, n_heads=2, ngram_rows=20))

    config = TrainingConfig.fast(16, steps=6, batch_size=4, evaluate_every=2, checkpoint_every=2)
    torch.manual_seed(0)
    unbroken = fast_model()
    broken = fast_model()
    broken.load_state_dict(unbroken.state_dict())
    wanted = train(unbroken, IDS, IDS, config)
    train(broken, IDS, IDS, config, checkpoint=tmp_path / "c", on_evaluation=stop_at(4, KeyboardInterrupt()))
    resumed = fast_model()
    assert facts(train(resumed, IDS, IDS, config, checkpoint=tmp_path / "c")) == facts(wanted)
    assert same_weights(resumed, unbroken)


def test_a_checkpoint_from_before_there_were_more_settings_is_resumed(tmp_path):
    model, path = new_model(), tmp_path / "c"
    wanted = train(model, IDS, IDS, BRIEF, checkpoint=path)
    tensors, metadata = read_safetensors(path)
    for kind, name in (("config", "ngrams"), ("training", "embedding_learning_rate")):
        del metadata[kind][name]
    write_safetensors(path, tensors, metadata)
    assert facts(train(new_model(), IDS, IDS, BRIEF, checkpoint=path)) == facts(wanted)


def test_a_finished_run_is_not_run_again(tmp_path):
    model = new_model()
    wanted = train(model, IDS, IDS, BRIEF, checkpoint=tmp_path / "c")
    again = new_model()
    assert facts(train(again, IDS, IDS, BRIEF, checkpoint=tmp_path / "c")) == facts(wanted)
    assert same_weights(again, model)


def test_a_checkpoint_is_a_model_too(tmp_path):
    model = new_model()
    train(model, IDS, IDS, BRIEF, checkpoint=tmp_path / "deeper" / "c")
    assert same_weights(GPT.load(tmp_path / "deeper" / "c"), model)
    assert [path.name for path in (tmp_path / "deeper").iterdir()] == ["c"]


@pytest.mark.parametrize("saved", [True, False])
def test_a_loss_that_is_no_number_stops_the_training(tmp_path, saved):
    model = new_model()

    def poison(done, history):
        if done == 4:
            model.token_embedding.weight.data[:] = math.nan

    config = replace(BRIEF, checkpoint_every=3)
    checkpoint = tmp_path / "c" if saved else None
    with pytest.raises(
        FloatingPointError, match=r"the loss became nan at step 4 \(learning rate \S+\). Lower"
    ) as error:
        train(model, IDS, IDS, config, checkpoint=checkpoint, on_evaluation=poison)
    assert ("holds the last good state" in str(error.value)) is saved
    assert all(p.grad is None for p in model.parameters())
    if saved:
        assert math.isfinite(evaluate(GPT.load(checkpoint), IDS))


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def without_training_state(path):
    new_model().save(path)


def unchanged(path):
    pass


@pytest.mark.parametrize(
    "shape, config, spoil, message",
    [
        ({"d_model": 8, "n_layers": 1}, {}, unchanged, "another config: d_model = 16, now 8; n_layers = 2, now 1"),
        ({"positions": "rotary"}, {}, unchanged, "another config: positions = learned, now rotary"),
        ({}, {"learning_rate": 0.5}, unchanged, "another training: learning_rate = 0.003, now 0.5"),
        ({}, {}, truncated, "not a whole safetensors file"),
        ({}, {}, without_training_state, "a model without a training state"),
    ],
)
def test_a_checkpoint_that_does_not_fit(tmp_path, shape, config, spoil, message):
    path = tmp_path / "c"
    train(new_model(), IDS, IDS, BRIEF, checkpoint=path)
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        train(new_model(**shape), IDS, IDS, replace(BRIEF, **config), checkpoint=path)
    assert path.read_bytes() == before


def test_tokens_a_second_leave_the_first_step_out():
    config = replace(BRIEF, batch_size=4, accumulate=3)
    history = History([2.0] * 11, seconds=25.0, first_step_seconds=5.0)
    assert history.tokens_per_second(config, context_length=8) == 10 * 4 * 3 * 8 / 20
    assert math.isnan(History([2.0], seconds=5.0, first_step_seconds=5.0).tokens_per_second(config, 8))


# ---------------------------------------------------------------- the plot

HISTORY = History([3.0, 2.0, 1.0], [0.1] * 3, [1.0] * 3, [2, 3], [2.5, 1.5])


@pytest.mark.parametrize("characters_per_token, scale", [(None, 1.0), (2.0, 1 / math.log(2) / 2)])
def test_the_history_plots_itself(characters_per_token, scale):
    ax = HISTORY.plot(characters_per_token).axes[0]
    learning, held_out = ax.lines
    assert learning.get_xdata().tolist() == [1, 2, 3]
    assert learning.get_ydata().tolist() == pytest.approx([3 * scale, 2 * scale, scale])
    assert held_out.get_xdata().tolist() == [2, 3]
    assert held_out.get_ydata().tolist() == pytest.approx([2.5 * scale, 1.5 * scale])
    assert ("bits per character" if characters_per_token else "nats per token") in ax.get_ylabel()


def test_the_history_plots_baselines_in_the_same_unit():
    ax = HISTORY.plot(2.0, {"uniform": math.log(4)}).axes[0]
    assert list(ax.lines[-1].get_ydata()) == pytest.approx([1.0, 1.0])
    assert [text.get_text() for text in ax.texts] == ["uniform"]


# ---------------------------------------------------------------- the command line

SMALL = "--tokenizer characters --context-length 8 --n-layers 1 --batch-size 2 --device cpu --steps 3"


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(f"line {i} of a text" for i in range(200)))
    return str(path)


def test_every_setting_has_its_help(capsys):
    settings = {f.name for config in (GPTConfig, TrainingConfig) for f in fields(config)} - {"vocab_size"}
    assert set(training.HELP) == settings
    with pytest.raises(SystemExit) as stop:
        training.main(["--help"])
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, words in training.HELP.items():
        assert f"--{name.replace('_', '-')}" in shown
        assert f"{words} [" in shown
    assert "object at 0x" not in shown


def test_the_command_writes_everything_it_is_asked_for(text_file, tmp_path, capsys):
    outputs = f"--checkpoint {tmp_path}/c --export {tmp_path}/m --plot {tmp_path}/p.png"
    arguments = f"{SMALL} --corpus {text_file} --d-model 16 --no-tie-weights --bias --seed 7 {outputs}"
    training.main(arguments.split())
    out = capsys.readouterr().out
    assert "text: " in out and re.search(r"parameters on cpu \(.*the CPU, in float32\)", out)
    assert re.search(r"^[\d,]+ tokens/s; .* without the first step, which took [\d.]+ s$", out, flags=re.MULTILINE)
    assert "bits per character on the whole held-out text" in out
    assert "\nline" in out  # the sample goes on from the text's first word

    checkpoint, exported = GPT.load(tmp_path / "c"), GPT.load(tmp_path / "m.safetensors")
    assert checkpoint.config == exported.config
    assert (checkpoint.config.d_model, checkpoint.config.d_ff, checkpoint.config.n_layers) == (16, 64, 1)
    assert exported.config.positions == "rotary"  # the preset's
    for ours, half in zip(checkpoint.parameters(), exported.parameters()):
        assert torch.equal(ours.half().float(), half)
    tokenizer = load_tokenizer(tmp_path / "m.tokenizer.json")
    assert tokenizer.vocab_size == checkpoint.config.vocab_size
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")

    record = json.loads((tmp_path / "m.json").read_text())
    held_out = data.text_corpus(text_file).held_out
    ids = torch.tensor(tokenizer.encode(held_out))
    bits = data.bits_per_character(evaluate(checkpoint, ids), 1.0)
    assert record["held_out_bits_per_character"] == pytest.approx(bits, abs=6e-4)
    assert record["held_out_characters"] == len(held_out)
    assert record["losses"].keys() == {"3"}
    assert float(record["losses"]["3"].split()[-1]) == pytest.approx(bits, abs=6e-4)  # all windows there are
    assert (record["seed"], record["steps"], record["device"]) == (7, 3, "cpu")
    assert record["parameters"] == checkpoint.parameter_count()["total"]
    assert record["command"] == (  # where the files went says nothing about the model
        f"python -m transformer_lab.training --corpus {text_file} --tokenizer characters --preset cpu "
        "--context-length 8 --d-model 16 --n-layers 1 --no-tie-weights --bias --steps 3 --batch-size 2 --seed 7"
    )


class Reached(Exception):
    """Raised in place of training."""


@pytest.fixture
def configs(text_file, monkeypatch):
    """A function: what a command line would train, and how, without training it."""

    def stand_in(model, train_ids, held_out_ids, config, *, checkpoint):
        raise Reached(model.config, config)

    def read(arguments: str) -> tuple[GPTConfig, TrainingConfig]:
        with pytest.raises(Reached) as reached:
            training.main(["--corpus", text_file, "--tokenizer", "characters", *arguments.split()])
        return reached.value.args

    monkeypatch.setattr(training, "train", stand_in)
    return read


@pytest.mark.parametrize(
    "arguments, preset, changes",
    [
        ("", GPTConfig.cpu, {}),
        ("--d-model 32", GPTConfig.cpu, {"d_model": 32, "d_ff": 128}),
        ("--d-model 32 --d-ff 48", GPTConfig.cpu, {"d_model": 32, "d_ff": 48}),
        ("--bias --no-tie-weights --norm post", GPTConfig.cpu, {"bias": True, "tie_weights": False, "norm": "post"}),
        ("--preset gpu --n-layers 1 --dropout 0", GPTConfig.gpu, {"n_layers": 1, "dropout": 0.0}),
        (
            "--preset gpt2 --d-model 12 --n-layers 1",
            lambda v: GPTConfig.gpt2(),
            {"d_model": 12, "d_ff": 48, "n_layers": 1},
        ),
    ],
)
def test_options_change_the_preset_and_nothing_else(configs, text_file, arguments, preset, changes):
    corpus = data.text_corpus(text_file)
    vocab_size = len(set(corpus.train + corpus.held_out))
    model, training_config = configs(arguments)
    assert model == replace(preset(vocab_size), vocab_size=vocab_size, **changes)
    assert training_config == TrainingConfig()


def test_the_fast_preset_brings_its_training_along(configs, text_file):
    corpus = data.text_corpus(text_file)
    model, config = configs("--preset fast --d-model 32 --steps 7")
    assert model == GPTConfig.fast(len(set(corpus.train + corpus.held_out)), d_model=32)
    assert config == TrainingConfig.fast(32, steps=7)


def test_training_options(configs):
    _, config = configs("--steps 7 --learning-rate 0.5 --compile --beta2 0.9")
    assert config == TrainingConfig(steps=7, learning_rate=0.5, compile=True, beta2=0.9)


def test_tokenizers_by_name_and_by_file(configs, text_file, tmp_path):
    assert configs("--tokenizer bpe-260")[0].vocab_size == 260
    save_tokenizer(BPETokenizer([tuple(b"li")]), tmp_path / "t.json")
    assert configs(f"--tokenizer {tmp_path}/t.json")[0].vocab_size == 257


def test_a_character_that_only_the_held_out_text_holds(configs, monkeypatch):
    monkeypatch.setattr(data, "load_corpus", lambda name: data.Corpus("x", "abc" * 30, "abd" * 30))
    assert configs("")[0].vocab_size == 4


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--corpus nowhere.txt", "corpus must be 'python', 'shakespeare' or a text file's path; got 'nowhere.txt'"),
        ("--tokenizer words", "tokenizer must be 'characters', 'bpe-N' or a file's path; got 'words'"),
        ("--tokenizer bpe-9999", "text is too short for vocab_size 9999"),
        ("--n-heads 3", "n_heads must divide d_model, 128; got n_heads = 3"),
        ("--positions cubic", "positions must be one of"),
        ("--steps 0", "steps must be at least 1; got 0"),
        ("--device abacus", "device must be one that torch finds here; got 'abacus'"),
        ("--device cuda:99", "device must be one that torch finds here; got 'cuda:99'"),
        ("--context-length 9999", "ids must hold more than context_length, 9999"),
        ("--learning-rate 1e30 --warmup-steps 0", "the loss became nan at step"),
        ("--plot {folder}/missing/p.png", "No such file or directory"),
        ("--checkpoint {folder}", "no checkpoint at"),
    ],
)
def test_errors_are_plain_messages(text_file, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        training.main(f"{SMALL} --corpus {text_file} {arguments.format(folder=tmp_path)}".split())
    assert stop.value.code == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error


# ---------------------------------------------------------------- the model that comes with the package


def test_the_pretrained_model_is_small_and_says_how_it_was_made():
    files = sorted(training.MODELS.glob("python.*"))
    assert [path.name for path in files] == ["python.json", "python.safetensors", "python.tokenizer.json"]
    assert sum(path.stat().st_size for path in files) <= 4_000_000
    model, tokenizer, record = training.load_pretrained()
    assert {"data", "command", "seed", "date"} <= record.keys()
    assert record["held_out_bits_per_character"] <= 1.7
    assert record["parameters"] == model.parameter_count()["total"]
    assert date.fromisoformat(record["date"])
    assert tokenizer.vocab_size == model.config.vocab_size
    assert not model.training


def test_the_pretrained_model_knows_documentation_from_its_shuffled_words():
    model, tokenizer, _ = training.load_pretrained()
    sentence = "If the file does not exist, a new file is created and the current position is set to the start."
    words = sentence.split()

    def loss(text: str) -> float:
        ids = torch.tensor([tokenizer.encode(text)])
        return next_token_loss(model(ids[:, :-1]), ids[:, 1:]).item()

    assert loss(sentence) < loss(" ".join(sorted(words))) - 0.5
    written = write(model, tokenizer, "The function returns", 60, seed=0)
    assert written.startswith("The function returns ") and len(written) > 100
    assert "�" not in written

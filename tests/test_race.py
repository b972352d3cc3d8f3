"""The race: the ladder leads to the recipe, all are measured alike, and a miss is called a miss."""

import re

import pytest
import torch

from transformer_lab import race
from transformer_lab.data import Corpus
from transformer_lab.gpt import GPT, GPTConfig
from transformer_lab.race import Point, ladder, recipe, run, texts, verdict, yardstick
from transformer_lab.training import History, TrainingConfig, train

CORPUS = Corpus("small", "a ring, a king, a thing. " * 40, "a wing, a sling. " * 20)
SHAPE = dict(context_length=8, d_model=16, n_layers=1, n_heads=2)
BRIEF = TrainingConfig(steps=6, batch_size=3, warmup_steps=0)


def test_the_yardstick_is_the_small_gpt2_recipe():
    model, training = yardstick(65)
    assert (model.n_layers, model.n_heads, model.d_model, model.d_ff, model.context_length) == (4, 4, 128, 512, 64)
    assert (model.positions, model.norm, model.activation, model.dropout) == ("learned", "pre", "gelu", 0.0)
    assert (training.steps, training.batch_size * training.accumulate, training.clip) == (2000, 12, 1.0)
    assert (training.learning_rate, training.beta1, training.beta2, training.weight_decay) == (1e-3, 0.9, 0.99, 0.1)
    assert (training.schedule, training.warmup_steps, training.final_learning_rate) == ("cosine", 100, 0.1)


@pytest.mark.parametrize("shape", [{}, {"d_model": 256}, {"context_length": 256}])
def test_both_are_of_the_same_size_but_for_their_embeddings(shape):
    with torch.device("meta"):
        counts = [GPT(config).parameter_count() for config, _ in (yardstick(65, **shape), recipe(65, **shape))]
    theirs, ours = (count["attention"] + count["feed-forward"] + count["norms"] for count in counts)
    assert ours == pytest.approx(theirs, rel=0.01)


def test_the_ladder_leads_from_the_yardsticks_rules_to_the_recipe_at_equal_tokens():
    rungs = ladder(65)
    (_, model, training), (_, *highest) = rungs[0], rungs[-1]
    assert model == yardstick(65)[0] and training.steps < yardstick(65)[1].steps
    assert tuple(highest) == recipe(65)
    assert len({(model, training) for _, model, training in rungs}) == len({name for name, *_ in rungs}) == len(rungs)
    for _, _, training in rungs:
        assert training.steps * training.batch_size == pytest.approx(1600, rel=0.01)


def test_a_run_learns_as_training_does_and_says_where_it_stood():
    train_ids, held_out_ids, vocab_size = texts(CORPUS)
    config = GPTConfig(vocab_size, **SHAPE)
    model, points = run(config, BRIEF, train_ids, held_out_ids, n_measurements=3)
    assert [(point.steps, point.tokens) for point in points] == [(2, 48), (4, 96), (6, 144)]
    assert 0 < points[0].cpu < points[1].cpu < points[2].cpu

    torch.manual_seed(BRIEF.seed)
    alone = GPT(config)
    history = train(alone, train_ids, held_out_ids, BRIEF)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), alone.parameters()))
    assert points[-1].loss == pytest.approx(history.held_out_loss[-1])  # fewer windows than would be chosen


def test_only_training_is_timed(monkeypatch):
    now = [0.0]

    def measure_slowly(*arguments):
        now[0] += 1000
        return 1.0

    def train_for_a_second_a_step(model, examples, held_out, config, *, on_step):
        for step in range(config.steps):
            now[0] += 1
            on_step(step + 1, History())

    monkeypatch.setattr(race, "evaluate", measure_slowly)
    monkeypatch.setattr(race, "train", train_for_a_second_a_step)
    monkeypatch.setattr(race.time, "process_time", lambda: now[0])
    ids, _, vocab_size = texts(CORPUS)
    _, points = run(GPTConfig(vocab_size, **SHAPE), BRIEF, ids, ids, n_measurements=2)
    assert [point.cpu for point in points] == [3.0, 6.0]


def test_the_held_out_text_is_neither_learnt_from_nor_mixed_up(monkeypatch):
    seen = []
    monkeypatch.setattr(race, "train", lambda model, examples, held_out, *_, **__: seen.append((examples, held_out)))
    train_ids, held_out_ids, vocab_size = texts(CORPUS)
    run(GPTConfig(vocab_size, **SHAPE), BRIEF, train_ids, held_out_ids)
    ((examples, measured),) = seen
    assert torch.equal(examples, train_ids) and torch.equal(measured, train_ids[:9])


def ends(*loss_and_cpu: tuple[float, float]) -> list[Point]:
    return [Point(1, 1, cpu, loss) for loss, cpu in loss_and_cpu]


def test_the_verdict():
    theirs = ends((1.75, 100.0), (1.70, 110.0), (1.72, 120.0))
    assert verdict(theirs, ends((1.71, 10.0), (1.70, 10.0), (1.69, 10.0))) == (
        "The recipe reached the yardstick's loss with every seed (medians: 1.7000 against 1.7200), "
        "and took 11.0 times less CPU time (median)."
    )
    assert verdict(theirs, ends((1.71, 10.0), (1.73, 10.0), (1.69, 10.0))).startswith(
        "The recipe missed the yardstick's loss with 1 of 3 seeds, by up to 0.0300 (medians: 1.7100 against 1.7200)"
    )


def test_the_race_prints_its_table(capsys):
    race.race(CORPUS, seeds=(0, 1), steps=20, quick=True, **SHAPE)
    lines = capsys.readouterr().out.splitlines()
    _, held_out_ids, vocab_size = texts(CORPUS)
    assert lines[0] == f"small: {len(CORPUS.train):,} characters to learn from, {vocab_size} different ones"
    assert lines[1] == f"loss: on {(len(held_out_ids) - 1) // 8} held-out windows of 8; threads: 1"
    rows = [re.split(r"  +", line) for line in lines]
    tables = 4 * (32 * 16) * 16  # lengths, rows, width
    theirs, ours = (GPT(runner(vocab_size, **SHAPE)[0]).parameter_count() for runner in (yardstick, recipe))
    assert rows[4][0] == "yardstick" and rows[4][3:] == ["0", f"{theirs['total']:,}"]
    assert rows[5][0] == "recipe" and rows[5][3:] == [f"{tables:,}", f"{ours['total']:,}"]
    for row, name, seed, what, tokens in (
        (rows[8], "yardstick", "0", "40 × 12", 3840),
        (rows[9], "recipe", "0", "1 × 8", 64),
        (rows[10], "yardstick", "1", "40 × 12", 3840),
        (rows[11], "recipe", "1", "1 × 8", 64),
    ):
        assert row[:4] == [name, seed, what, f"{tokens:,}"]
        assert all(re.fullmatch(r"[\d.]+", number) for number in row[4:]) and len(row) == 7
    assert lines[13].startswith("The recipe ")

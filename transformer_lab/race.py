"""The race: the small GPT-2 recipe that everybody knows against the fast one, and the ladder that leads from one to
the other. Losses are in nats a character, on held-out windows; seconds are the CPU's, and of training alone.

python -m transformer_lab.benchmarks recipe
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from jaxtyping import Int
from torch import Tensor

from transformer_lab import data
from transformer_lab.gpt import GPT, GPTConfig
from transformer_lab.tokenizers import CharacterTokenizer
from transformer_lab.training import History, TrainingConfig, evaluate, train

N_WINDOWS = 1024  # held-out windows that a loss is measured on: always the same, evenly spaced over the text

YARDSTICK = dict(positions="learned", activation="gelu", bias=False), dict(
    steps=2000, batch_size=12, learning_rate=1e-3, warmup_steps=100, weight_decay=0.1, beta1=0.9, beta2=0.99, clip=1.0
)  # fmt: skip

# What each rung adds to the one below: its name, changes to the GPTConfig, changes to the TrainingConfig.
# All see as many tokens.
LADDER = [
    ("the yardstick, cut short", {}, dict(steps=133, warmup_steps=10)),
    ("n-gram embeddings", dict(ngrams=5), {}),
    ("a head of its own", dict(tie_weights=False), {}),
    ("ReLU²", dict(activation="relu2"), {}),
    ("rotary positions", dict(positions="rotary"), {}),
    ("a higher rate", {}, dict(learning_rate=3e-3)),
    ("a norm on the embeddings", dict(embedding_norm=True), {}),
    ("a still higher rate for embeddings and head", {}, dict(embedding_learning_rate=0.01 / 3e-3)),
    ("a shorter memory for Adam", {}, dict(beta1=0.8, beta2=0.95)),
    ("more and smaller steps", {}, dict(steps=200, batch_size=8)),
    ("short windows first", {}, dict(short_context=0.8)),
]  # fmt: skip


def yardstick(vocab_size: int, **shape) -> tuple[GPTConfig, TrainingConfig]:
    """The recipe to beat: nanoGPT's for a CPU. `shape` changes its width, its context …"""
    model, training = YARDSTICK
    return GPTConfig(vocab_size, **model | shape), TrainingConfig(**training)


def recipe(vocab_size: int, **shape) -> tuple[GPTConfig, TrainingConfig]:
    """The fast one, in the same shape."""
    config = GPTConfig.fast(vocab_size, **shape)
    return config, TrainingConfig.fast(config.d_model)


def ladder(vocab_size: int, **shape) -> list[tuple[str, GPTConfig, TrainingConfig]]:
    """From the yardstick's rules to the recipe: each rung has what the one below has, and one ingredient more.

    The rates are those for a width of 128.
    """
    config, training = yardstick(vocab_size, **shape)
    rungs = []
    for name, model_changes, training_changes in LADDER:
        config, training = replace(config, **model_changes), replace(training, **training_changes)
        rungs.append((name, config, training))
    return rungs


@dataclass(frozen=True)
class Point:
    """Where a run stood when its held-out loss was measured. cpu: seconds of training until then."""

    steps: int
    tokens: int
    cpu: float
    loss: float


def texts(corpus: data.Corpus) -> tuple[Int[Tensor, "train"], Int[Tensor, "held_out"], int]:
    """A corpus character by character: ids to learn from, ids held out, and how many characters there are."""
    tokenizer = CharacterTokenizer.train(corpus.train + corpus.held_out)
    train_ids, held_out_ids = (torch.tensor(tokenizer.encode(text)) for text in (corpus.train, corpus.held_out))
    return train_ids, held_out_ids, tokenizer.vocab_size


def run(
    config: GPTConfig,
    training: TrainingConfig,
    train_ids: Int[Tensor, "train"],
    held_out_ids: Int[Tensor, "held_out"],
    n_measurements: int = 1,
    n_windows: int = N_WINDOWS,
) -> tuple[GPT, list[Point]]:
    """Train from the seed on; the model and `n_measurements` points, evenly spaced, the last at the end."""
    torch.manual_seed(training.seed)
    model, points, cpu = GPT(config), [], 0.0
    when = {round(training.steps * (i + 1) / n_measurements) for i in range(n_measurements)}

    def measure(step: int, history: History) -> None:
        nonlocal cpu, started
        if step in when:
            cpu += time.process_time() - started
            tokens = step * training.batch_size * training.accumulate * config.context_length
            points.append(Point(step, tokens, cpu, evaluate(model, held_out_ids, n_windows)))
            started = time.process_time()  # what measuring took does not count

    # `train` measures too, at its end: a single window, of the text to learn from.
    alone = replace(training, evaluate_every=training.steps, evaluation_windows=1)
    started = time.process_time()
    train(model, train_ids, train_ids[: config.context_length + 1], alone, on_step=measure)
    return model, points


def race(
    corpus: data.Corpus, seeds: Sequence[int] = (0, 1, 2), steps: int | None = None, quick: bool = False, **shape
) -> None:
    """Train the yardstick and the recipe in turns, once a seed, and print who learnt how much in how much time.

    steps: of the recipe, if not `TrainingConfig.fast`'s. quick: a fiftieth of all steps, to see that it runs.
    """
    train_ids, held_out_ids, vocab_size = texts(corpus)
    runners = {"yardstick": yardstick(vocab_size, **shape), "recipe": recipe(vocab_size, **shape)}
    if steps is not None:
        runners["recipe"] = runners["recipe"][0], replace(runners["recipe"][1], steps=steps)
    context_length = runners["recipe"][0].context_length
    n_windows = min(N_WINDOWS, (len(held_out_ids) - 1) // context_length)
    print(f"{corpus.name}: {len(train_ids):,} characters to learn from, {vocab_size} different ones")
    print(f"loss: on {n_windows:,} held-out windows of {context_length}; threads: {torch.get_num_threads()}\n")

    print(_row("parameters", "in blocks", "embeddings", "n-gram tables", "together"))
    for name, (config, _) in runners.items():
        count = GPT(config).parameter_count()
        blocks = count["attention"] + count["feed-forward"] + count["norms"]
        numbers = blocks, count["total"] - blocks - count["n-grams"], count["n-grams"], count["total"]
        print(_row(name, *(f"{number:,}" for number in numbers)))

    print("\n" + _row("training", "seed", "steps × windows", "tokens", "loss", "CPU s", "times less"), flush=True)
    ends = {name: [] for name in runners}
    for seed in seeds:
        for name, (config, training) in runners.items():
            n_steps = max(1, training.steps // 50) if quick else training.steps
            _, (end,) = run(config, replace(training, steps=n_steps, seed=seed), train_ids, held_out_ids)
            ends[name].append(end)
            cells = seed, f"{end.steps} × {training.batch_size}", f"{end.tokens:,}", f"{end.loss:.4f}", f"{end.cpu:.2f}"
            print(_row(name, *cells, f"{ends['yardstick'][-1].cpu / end.cpu:.1f}"), flush=True)
    print("\n" + verdict(ends["yardstick"], ends["recipe"]))


def _row(name: str, *cells) -> str:
    return f"{name:12}" + "".join(f"{cell:>16}" for cell in cells)


def verdict(yardstick: Sequence[Point], recipe: Sequence[Point]) -> str:
    """Whether the recipe ended with the yardstick's loss or a lower one, seed by seed, and how much sooner."""
    behind = [ours.loss - theirs.loss for theirs, ours in zip(yardstick, recipe, strict=True)]
    ratio = median(theirs.cpu / ours.cpu for theirs, ours in zip(yardstick, recipe))
    losses = " against ".join(f"{median(end.loss for end in ends):.4f}" for ends in (recipe, yardstick))
    missed = sum(more > 0 for more in behind)
    if missed:
        answer = f"missed the yardstick's loss with {missed} of {len(behind)} seeds, by up to {max(behind):.4f}"
    else:
        answer = "reached the yardstick's loss with every seed"
    return f"The recipe {answer} (medians: {losses}), and took {ratio:.1f} times less CPU time (median)."

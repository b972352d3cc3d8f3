"""Training: one loop for the notebooks and for the command line.

`python -m transformer_lab.training --help` tells what can be set.
"""

import argparse
import json
import math
import os
import platform
import shlex
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from datetime import date
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor, nn
from tqdm.auto import tqdm

from transformer_lab import data, distributed, plots
from transformer_lab.files import load_weights, read_safetensors, write_safetensors
from transformer_lab.generation import evaluating, write
from transformer_lab.gpt import GPT, GPTConfig, next_token_loss
from transformer_lab.hardware import best_device, describe, mixed_precision, speed
from transformer_lab.tokenizers import BPETokenizer, CharacterTokenizer, load_tokenizer, save_tokenizer

# What to learn from: the ids of a text; or a model's inputs, in the order of its arguments, and the wanted answers,
# each a tensor with a row an example. Pairs of sequences: (source, *teacher_forcing(target)), see transformer.py.
Examples = Int[Tensor, "_tokens"] | tuple[Tensor, ...]


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. A step is one update of the weights, from batch_size · accumulate windows or other examples."""

    steps: int = 1000
    batch_size: int = 16
    short_context: float = 0.0  # share of the steps, the first ones, with windows half as long and twice as many
    accumulate: int = 1
    learning_rate: float = 3e-3
    final_learning_rate: float = 0.1  # as a share of learning_rate
    embedding_learning_rate: float = 1.0  # of embeddings and head, as a multiple of learning_rate
    warmup_steps: int = 50
    schedule: str = "cosine"  # one of SCHEDULES
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    clip: float = 1.0
    evaluate_every: int = 100
    evaluation_windows: int = 256
    checkpoint_every: int = 500
    compile: bool = False
    seed: int = 0

    def __post_init__(self):
        for name in ("steps", "batch_size", "accumulate", "evaluate_every", "evaluation_windows", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name in ("learning_rate", "embedding_learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0; got {getattr(self, name)}")
        if not 0 <= self.short_context <= 1:
            raise ValueError(f"short_context must be in [0, 1]; got {self.short_context}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}; got {self.schedule!r}")

    @classmethod
    def fast(cls, d_model: int = 128, **changes) -> "TrainingConfig":
        """For a `GPTConfig.fast` of that width: few steps, at high rates.

        The rate of the blocks' matrices falls with their width (Yang et al. 2022, table 3), that of the embeddings and
        the head stays. A wider model needs more steps.
        """
        rate = 3e-3 * 128 / d_model
        recipe = dict(steps=200, batch_size=8, short_context=0.8, warmup_steps=10, learning_rate=rate,
                      embedding_learning_rate=0.01 / rate, beta1=0.8, beta2=0.95)  # fmt: skip
        return cls(**recipe | changes)


@dataclass
class History:
    """What happened, step by step. Losses are in nats a token."""

    train_loss: list[float] = field(default_factory=list)  # one a step
    learning_rate: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)  # before clipping
    evaluation_steps: list[int] = field(default_factory=list)
    held_out_loss: list[float] = field(default_factory=list)  # one an evaluation
    seconds: float = 0.0  # of wall time, over all the runs that a checkpoint joins
    first_step_seconds: float = 0.0  # those of the last run's first step, in which torch.compile compiles

    def tokens_per_second(self, config: TrainingConfig, context_length: int) -> float:
        """Of a text's windows, the first step left out, the time that measuring the held-out loss took included."""
        n_steps, seconds = len(self.train_loss) - 1, self.seconds - self.first_step_seconds
        return n_steps * config.accumulate * config.batch_size * context_length / seconds if n_steps > 0 else math.nan

    def plot(self, characters_per_token: float | None = None, baselines: dict[str, float] | None = None):
        """Loss by step; in bits per character if told how many characters a token has. Baselines: name → loss."""
        scale = 1.0 if characters_per_token is None else data.bits_per_character(1.0, characters_per_token)
        unit = "nats per token" if characters_per_token is None else "bits per character"
        return plots.loss_curves(
            {
                "training": (range(1, len(self.train_loss) + 1), [scale * x for x in self.train_loss]),
                "held out": (self.evaluation_steps, [scale * x for x in self.held_out_loss]),
            },
            baselines={name: scale * x for name, x in (baselines or {}).items()},
            unit=unit,
        )


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Linear warm-up, then half a cosine down to the final rate. Steps count from 0.

    Loshchilov and Hutter 2017, equation 5, without restarts.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    final = config.learning_rate * config.final_learning_rate
    return final + (config.learning_rate - final) * (1 + math.cos(math.pi * progress)) / 2


def inverse_sqrt_rate(step: int, config: TrainingConfig) -> float:
    """Linear warm-up, then down with the root of the step, however many are to come. Steps count from 0.

    Vaswani et al. 2017, equation 3, where the highest rate is (d_model · warmup_steps) ** -0.5.
    """
    warmup = max(1, config.warmup_steps)
    return config.learning_rate * min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))


SCHEDULES = {"cosine": learning_rate, "inverse_sqrt": inverse_sqrt_rate}


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019). Only the linear layers' matrices decay: a norm's scale, a bias or a
    token's vector has no reason to be pulled to zero. A group's rate is its "multiple" of the schedule's."""
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    matrices = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)} - embeddings
    a_row_a_token = embeddings | {id(p) for name, p in model.named_parameters() if name == "head.weight"}
    groups = {}
    for p in model.parameters():
        decay = config.weight_decay if id(p) in matrices else 0.0
        multiple = config.embedding_learning_rate if id(p) in a_row_a_token else 1.0
        groups.setdefault((decay, multiple), []).append(p)
    groups = [
        {"params": groups[decay, multiple], "weight_decay": decay, "multiple": multiple}
        for decay, multiple in sorted(groups, reverse=True)
    ]
    fused = next(model.parameters()).device.type in ("cpu", "cuda")  # one pass over the weights in place of a dozen
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=fused)


def random_batch(model: nn.Module, examples: Examples, batch_size: int, short: bool = False) -> tuple[Tensor, ...]:
    """Inputs and answers: windows from random places of a text, or random rows.

    short: windows of half the length, and twice as many, for the beginning (staged training: Press et al. 2021).
    """
    if isinstance(examples, Tensor):
        context_length = model.config.context_length
        if short:
            context_length, batch_size = context_length // 2, 2 * batch_size
        return data.random_windows(examples, context_length, batch_size)
    chosen = data.to_device(torch.randint(len(examples[0]), (batch_size,)), examples[0].device)
    return tuple(part[chosen] for part in examples)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    examples: Examples,
    max_windows: int | None = None,
    batch_size: int = 64,
    loss_function: Callable[[Tensor, Tensor], Tensor] = next_token_loss,
) -> float:
    """Mean loss over the examples (a text's are consecutive windows); with max_windows, over that many, evenly spaced.

    `next_token_loss` is in nats a token. Each batch's mean counts by its rows, so with `sequence_loss`, which leaves
    padding out, a token counts a little more where sentences are short. Several processes share the batches out; all of
    them must call it.
    """
    device = next(model.parameters()).device
    if isinstance(examples, Tensor):
        examples = data.consecutive_windows(examples, model.config.context_length)
    n_examples = len(examples[0])
    if max_windows is not None and max_windows < n_examples:
        chosen = torch.linspace(0, n_examples - 1, max_windows).long()
        examples, n_examples = tuple(part[chosen] for part in examples), max_windows
    rank, world_size = distributed.rank(), distributed.world_size()
    batch_size = min(batch_size, math.ceil(n_examples / world_size))
    batches = list(zip(*(part.split(batch_size) for part in examples)))
    losses, rows = [], []
    with evaluating(model), _autocast(device):
        for first in range(0, len(batches), world_size):
            # In the last round there may be fewer batches than ranks. The others compute one too, for a sharded
            # model's parts are needed in every pass, but theirs does not count.
            counts = first + rank < len(batches)
            *inputs, answers = (part.to(device) for part in batches[first + rank if counts else -1])
            losses.append(loss_function(model(*inputs).float(), answers))
            rows.append(len(answers) if counts else 0)
    sum_of_losses = sum(loss * n for loss, n in zip(torch.stack(losses).tolist(), rows))
    return distributed.total(sum_of_losses, device) / n_examples


def train(
    model: nn.Module,
    examples: Examples,
    held_out: Examples,
    config: TrainingConfig,
    *,
    loss_function: Callable[[Tensor, Tensor], Tensor] = next_token_loss,
    checkpoint: str | os.PathLike | None = None,
    on_evaluation: Callable[[int, History], None] | None = None,
    on_step: Callable[[int, History], None] | None = None,
) -> History:
    """Train the model in place, on the device it is on, and return what happened.

    loss_function: of the model's output and the wanted answers, a mean.
    checkpoint: a file to write every `checkpoint_every` steps and at the end. If it is there
        already, training goes on from it, exactly as if it had never stopped.
    on_evaluation: called with the step and the history after each measurement of the held-out loss.
    on_step: called with the same after every step, also after those at which `on_evaluation` was called.
        A GPU must then finish each step before the next is sent to it.
    Ctrl-C (in a notebook: the stop button) ends training early; the model and the history so far stay.
    Raises FloatingPointError when the loss is no longer a number, MemoryError when a GPU's memory is too small.

    Where torchrun started several processes (see distributed.py), all of them call this, with the same arguments.
    Each takes its share of every batch, and all end with the same model and history; rank 0 writes.
    """
    device = next(model.parameters()).device
    world_size = distributed.world_size()
    if config.batch_size % world_size:
        raise ValueError(
            f"batch_size must be a multiple of the number of processes, {world_size}; got {config.batch_size}"
        )
    optimizer = make_optimizer(model, config)
    scaler = torch.amp.GradScaler(device.type, enabled=mixed_precision(device) is torch.float16)
    if scaler.is_enabled() and distributed.is_sharded(model):
        raise ValueError(f"shard needs GPUs with units for bfloat16; got {describe(device)}")
    history, first_step = History(), 0
    if checkpoint is not None and Path(checkpoint).exists():
        history, first_step = _resume(checkpoint, model, optimizer, scaler, config)
    if not distributed.agree(first_step, device):
        raise ValueError(f"checkpoint must be a file that all machines see; {checkpoint} is not the same on all")
    examples = examples.to(device) if isinstance(examples, Tensor) else tuple(part.to(device) for part in examples)
    in_step = distributed.in_step(model)
    forward = torch.compile(in_step) if config.compile else in_step
    before, started = history.seconds, time.perf_counter()
    was_training = model.training
    model.train()
    quiet = os.environ.get("TQDM_DISABLE", "0") != "0"  # tqdm reads this itself in a terminal, but not in a notebook
    quiet = quiet or distributed.rank() > 0
    bar = tqdm(total=config.steps, initial=first_step, desc="training", unit="step", disable=quiet)
    unread = []  # (learning rate, loss, gradient norm) of the latest steps, which the device may still be computing

    def read() -> None:
        """Into the history. The one place where the loop waits for the device."""
        if not unread:
            return
        rates, *tensors = zip(*unread)
        losses, norms = distributed.mean(torch.stack([torch.stack(numbers) for numbers in tensors])).tolist()
        unread.clear()
        for step, (loss, rate) in enumerate(zip(losses, rates), start=len(history.train_loss)):
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the loss became {loss} at step {step} (learning rate {rate:.2g}). Lower the learning rate or "
                    "warm up for longer"
                    + ("" if checkpoint is None else f"; {checkpoint} holds the last good state, if it was written")
                )
        history.train_loss += losses
        history.learning_rate += rates
        history.gradient_norm += norms
        history.seconds = before + time.perf_counter() - started
        bar.set_postfix_str(f"loss {losses[-1]:.3f}", refresh=False)

    try:
        for step in range(first_step, config.steps):
            # Batches and dropout depend on the seed and the step alone, so a resumed run meets the same ones.
            seed = 1_000_003 * config.seed + step
            torch.manual_seed(seed)
            rate = SCHEDULES[config.schedule](step, config)
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("multiple", 1.0)
            short = step < config.short_context * config.steps
            batches = [random_batch(model, examples, config.batch_size, short) for _ in range(config.accumulate)]
            if world_size > 1:  # the batches are the same on all ranks, dropout is not
                torch.manual_seed(seed + 500_000_000 * distributed.rank())
            loss = 0.0
            for i, batch in enumerate(batches, start=1):
                *inputs, answers = map(distributed.share, batch)
                with distributed.exchange(in_step, now=i == config.accumulate):
                    with _autocast(device):
                        part = loss_function(forward(*inputs), answers) / config.accumulate
                    scaler.scale(part).backward()
                loss += part.detach()
            scaler.unscale_(optimizer)
            norm = distributed.whole(nn.utils.clip_grad_norm_(model.parameters(), config.clip))
            unread.append((rate, loss, norm))
            done = step + 1
            evaluates = done % config.evaluate_every == 0 or done == config.steps
            saves = checkpoint is not None and (done % config.checkpoint_every == 0 or done == config.steps)
            if evaluates or saves or on_step or step == first_step or len(unread) >= steps_unread(device):
                read()  # before the update, so that a loss that is no number spoils no weights where each is read
            if step == first_step:
                history.first_step_seconds = history.seconds - before
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            bar.update()
            if evaluates:
                history.evaluation_steps.append(done)
                history.held_out_loss.append(
                    evaluate(model, held_out, config.evaluation_windows, min(64, config.batch_size), loss_function)
                )
                if on_evaluation is not None:
                    on_evaluation(done, history)
            if on_step is not None:
                on_step(done, history)
            if saves:
                save_checkpoint(checkpoint, model, optimizer, scaler, config, history)
    except KeyboardInterrupt:
        if world_size > 1:  # the others are elsewhere in the loop
            raise
        read()
        print(f"Stopped after {len(history.train_loss)} of {config.steps} steps; the model and history so far stay.")
    except torch.OutOfMemoryError as error:
        raise MemoryError(_what_fits(config, world_size)) from error
    finally:
        bar.close()
        optimizer.zero_grad(set_to_none=True)
        model.train(was_training)
    return history


def steps_unread(device: torch.device) -> int:
    """After how many steps to look at their losses. A GPU works on while the CPU prepares the next steps; looking
    makes both wait for each other."""
    return 1 if device.type == "cpu" else 16


def _what_fits(config: TrainingConfig, world_size: int) -> str:
    """What to do when a GPU's memory is too small."""
    n = config.batch_size
    fewer = next((m for m in range(n // 2, 0, -1) if n % m == 0 and m % world_size == 0), None)
    if fewer is None:
        return "the GPU's memory is too small for one window: take a smaller model, or several GPUs and --shard"
    return (
        f"the GPU's memory is too small for batch_size {n}. With batch_size {fewer} and accumulate "
        f"{n // fewer * config.accumulate} a step learns from as many windows, fewer at a time"
    )


def _autocast(device: torch.device):
    precision = mixed_precision(device)
    return nullcontext() if precision is None else torch.autocast(device.type, precision)


# ---------------------------------------------------------------- checkpoints


def save_checkpoint(path, model: nn.Module, optimizer, scaler, config: TrainingConfig, history: History) -> None:
    """Weights, optimizer state, configs and history in one safetensors file, which the model's `load` reads too.

    All ranks call it, for a sharded model's parts come from all of them; rank 0 writes.
    """
    tensors = dict(model.state_dict())  # first: it puts the parameters of a sharded model back into their parts
    names = {id(p): name for name, p in model.named_parameters()}
    for group in optimizer.param_groups:
        for p in group["params"]:
            for key, value in optimizer.state[p].items():
                tensors[f"optimizer/{names[id(p)]}/{key}"] = value
    tensors = distributed.gather(tensors)
    if distributed.rank() > 0:
        return
    metadata = {
        "config": asdict(model.config),
        "training": asdict(config),
        "history": asdict(history),
        "scaler": scaler.state_dict(),
    }
    write_safetensors(path, tensors, metadata)


def _resume(path, model: nn.Module, optimizer, scaler, config: TrainingConfig) -> tuple[History, int]:
    tensors, metadata = read_safetensors(path)
    if "training" not in metadata:
        raise ValueError(f"{path} is a model without a training state; give another file to checkpoint to")
    for kind, ours in (("config", model.config), ("training", config)):
        saved, wanted = {f.name: f.default for f in fields(ours)} | metadata[kind], asdict(ours)  # older: fewer fields
        differing = [f"{key} = {saved[key]}, now {wanted[key]}" for key in wanted if saved[key] != wanted[key]]
        if differing:
            raise ValueError(f"{path} was written with another {kind}: {'; '.join(differing)}")
    parts = {name: distributed.part_like(tensors[name], t) for name, t in model.state_dict().items() if name in tensors}
    load_weights(model, parts, path)
    for group in optimizer.param_groups:
        for name, p in model.named_parameters():
            if any(p is q for q in group["params"]):
                prefix = f"optimizer/{name}/"
                state = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
                # Adam counts its steps on the CPU, unless it is fused.
                counter = torch.empty((), device=p.device if group.get("fused") else "cpu")
                optimizer.state[p] = {
                    key: distributed.part_like(t, counter if key == "step" else p) for key, t in state.items()
                }
    scaler.load_state_dict(metadata["scaler"])
    history = History(**metadata["history"])
    return history, len(history.train_loss)


# ---------------------------------------------------------------- the model that comes with the package

MODELS = Path(__file__).parent / "models"


def load_pretrained(device: torch.device | str = "cpu") -> tuple[GPT, BPETokenizer, dict]:
    """The small GPT that comes with the package, its tokenizer, and how it was trained."""
    record = json.loads((MODELS / "python.json").read_text(encoding="utf-8"))
    return GPT.load(MODELS / "python.safetensors").to(device), load_tokenizer(MODELS / "python.tokenizer.json"), record


def export(path: Path, model: GPT, tokenizer, record: dict) -> None:
    """Three files: PATH.safetensors in half precision, PATH.tokenizer.json, and PATH.json, which says how."""
    model.save(path.with_name(path.name + ".safetensors"), torch.float16)
    save_tokenizer(tokenizer, path.with_name(path.name + ".tokenizer.json"))
    path.with_name(path.name + ".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


# ---------------------------------------------------------------- command line

HELP = {
    "context_length": "tokens that the model sees at once",
    "d_model": "width of the residual stream",
    "n_layers": "number of blocks",
    "n_heads": "attention heads a block; must divide d_model",
    "d_ff": "width of the feed-forward layer; 4 · d_model unless given",
    "positions": "none, sinusoidal, learned, rotary or alibi",
    "norm": "pre or post",
    "activation": "gelu, gelu_tanh, relu or relu2",
    "dropout": "share of activations dropped while training",
    "tie_weights": "let the output layer reuse the token embedding",
    "bias": "biases in linear layers and norms",
    "ngrams": "also embed the last 2 … this many tokens together",
    "ngram_rows": "rows of the table of each length of n-gram",
    "embedding_norm": "a norm on the embeddings, before the first block",
    "steps": "updates of the weights",
    "batch_size": "windows in one forward pass",
    "short_context": "share of the steps, the first ones, with windows half as long and twice as many",
    "accumulate": "forward passes in one step",
    "learning_rate": "the highest rate, reached after the warm-up",
    "final_learning_rate": "the rate at the end, as a share of the highest",
    "embedding_learning_rate": "of the embeddings and the head, as a multiple of the rate",
    "warmup_steps": "steps in which the rate rises",
    "schedule": "how it falls afterwards: cosine or inverse_sqrt",
    "weight_decay": "on the matrices of linear layers",
    "beta1": "AdamW's memory of the gradient",
    "beta2": "AdamW's memory of its square",
    "clip": "largest gradient norm",
    "evaluate_every": "steps between measurements of the held-out loss",
    "evaluation_windows": "held-out windows in such a measurement; the last one takes all",
    "checkpoint_every": "steps between checkpoints",
    "compile": "use torch.compile",
    "seed": "of the weights, the batches and the dropout",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m transformer_lab.training",
        description="Train a GPT on a text, on the best device there is; with torchrun on several.",
        epilog="Shape and training options left out keep the preset's value, shown in brackets for the cpu preset.",
    )
    parser.add_argument("--corpus", default="python", help="python, shakespeare, or a text file's path [python]")
    parser.add_argument(
        "--tokenizer",
        default="bpe-1024",
        help="characters, bpe-N for byte-pair encoding with N tokens, or a file that save_tokenizer wrote [bpe-1024]",
    )
    parser.add_argument(
        "--preset",
        choices=("cpu", "gpu", "gpt2", "fast"),
        default="cpu",
        help="shape to start from; fast brings its training along [cpu]",
    )
    parser.add_argument("--device", help="cpu, cuda, mps … [the best there is]")
    parser.add_argument(
        "--shard", action="store_true", help="cut the model up, for it is too large for one GPU; needs torchrun"
    )
    parser.add_argument("--checkpoint", help="file to write to, and to go on from if it is there")
    parser.add_argument("--export", type=Path, metavar="PATH", help="write PATH.safetensors, .tokenizer.json and .json")
    parser.add_argument("--plot", metavar="FILE", help="write the loss curves to this picture")
    for title, config in (("shape", GPTConfig.cpu(1)), ("training", TrainingConfig())):
        group = parser.add_argument_group(title)
        for f in fields(config):
            if f.name == "vocab_size":
                continue  # the tokenizer says
            kind = int if f.name == "d_ff" else f.type
            default = "4 · d_model" if f.name == "d_ff" else getattr(config, f.name)
            option = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind}
            group.add_argument(
                f"--{f.name.replace('_', '-')}", default=MISSING, help=f"{HELP[f.name]} [{default}]", **option
            )
    return parser


def main(arguments: list[str] | None = None) -> None:
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    given = {key: value for key, value in options.items() if value is not MISSING}
    try:
        device = _device(given["device"]) if given["device"] else best_device()
        with distributed.processes(device) as device:
            _run(given, device)
    except (ValueError, OSError, FloatingPointError, MemoryError, torch.OutOfMemoryError) as error:
        parser.exit(1, f"error: {error}\n")


def _run(given: dict, device: torch.device) -> None:
    say = distributed.say
    corpus = data.load_corpus(given["corpus"])
    tokenizer = _tokenizer(given["tokenizer"], corpus)
    train_ids = torch.tensor(tokenizer.encode(corpus.train))
    held_out_ids = torch.tensor(tokenizer.encode(corpus.held_out))
    characters_per_token = len(corpus.held_out) / len(held_out_ids)

    shape_options = {f.name: given[f.name] for f in fields(GPTConfig) if f.name in given}
    if given["preset"] == "fast":  # its tables and its rates follow from its width
        config = GPTConfig.fast(tokenizer.vocab_size, **shape_options)
        training = TrainingConfig.fast(config.d_model)
    else:
        shape = getattr(GPTConfig, given["preset"])
        config = shape(tokenizer.vocab_size) if given["preset"] != "gpt2" else shape()
        if "d_model" in shape_options:  # the preset's d_ff belongs to the preset's d_model
            shape_options = {"d_ff": None} | shape_options
        config = replace(config, **{"vocab_size": tokenizer.vocab_size} | shape_options)
        training = TrainingConfig()
    training = replace(training, **{f.name: given[f.name] for f in fields(TrainingConfig) if f.name in given})
    if device.type == "cuda":  # what is left in float32, such as generation: on tensor cores too
        torch.set_float32_matmul_precision("high")
    torch.manual_seed(training.seed)
    model = GPT(config)
    if given["shard"]:
        distributed.shard(model, device)
    model.to(device)
    say(f"{corpus.name}: {len(train_ids):,} tokens to learn from, {len(held_out_ids):,} held out")
    world_size = distributed.world_size()
    where = str(device) if world_size == 1 else f"{world_size} processes, {device.type}"
    say(f"{model.parameter_count()['total']:,} parameters on {where} ({describe(device)})")
    if distributed.may_restart() and not given["checkpoint"]:
        say("torchrun may restart this run; without --checkpoint it would begin anew.")

    history = train(model, train_ids, held_out_ids, training, checkpoint=given["checkpoint"])
    loss = evaluate(model, held_out_ids, batch_size=min(64, training.batch_size))
    bits = data.bits_per_character(loss, characters_per_token)
    tokens_per_second = history.tokens_per_second(training, config.context_length)
    say(
        f"{speed(model, tokens_per_second, device, world_size)}; with measuring the held-out loss, without the first "
        f"step, which took {history.first_step_seconds:.1f} s"
    )
    model = distributed.whole_model(model)
    if distributed.rank() > 0:
        return
    print(f"{bits:.3f} bits per character on the whole held-out text, after {history.seconds:.0f} s of training")
    first_word = corpus.train.split(maxsplit=1)[0]
    print(write(model, tokenizer, first_word, 100, top_p=0.9, seed=0))
    if given["plot"]:
        history.plot(characters_per_token).savefig(given["plot"])
    if given["export"]:
        record = {
            "data": f"load_corpus({given['corpus']!r}) of Python {platform.python_version()}",
            "command": f"python -m transformer_lab.training {_command_line(given)}",
            "seed": training.seed,
            "held_out_bits_per_character": round(bits, 3),
            "held_out_characters": len(corpus.held_out),
            "losses": _losses(history, characters_per_token),
            "parameters": model.parameter_count()["total"],
            "steps": len(history.train_loss),
            "seconds": round(history.seconds),
            "device": where,
            "torch": torch.__version__,
            "date": date.today().isoformat(),
        }
        export(given["export"], model, tokenizer, record)


def _losses(history: History, characters_per_token: float) -> dict[str, str]:
    """By step, in bits per character: the mean training loss since the last measurement, and the held-out loss, which
    is measured on `evaluation_windows` windows alone."""
    starts = [0, *history.evaluation_steps]
    losses = {}
    for start, step, held_out in zip(starts, history.evaluation_steps, history.held_out_loss):
        part = history.train_loss[start:step]
        bits = (data.bits_per_character(loss, characters_per_token) for loss in (sum(part) / len(part), held_out))
        losses[str(step)] = "training {:.3f}, held out {:.3f}".format(*bits)
    return losses


def _command_line(given: dict) -> str:
    """The options that decide what is learnt; where files go is left out."""
    words = []
    for name, value in given.items():
        option = name.replace("_", "-")
        if name in ("device", "shard", "checkpoint", "export", "plot"):
            continue
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value)]
    return shlex.join(words)


def _device(name: str) -> torch.device:
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:  # no such name, or no such device in this machine
        raise ValueError(f"device must be one that torch finds here; got {name!r}: {error}") from error


def _tokenizer(name: str, corpus: data.Corpus):
    if name == "characters":  # the held-out text must be spelt too, so its characters count
        return CharacterTokenizer.train(corpus.train + corpus.held_out)
    if name.startswith("bpe-") and name[4:].isdigit():
        return BPETokenizer.train(corpus.train, int(name[4:]))
    if not Path(name).is_file():
        raise ValueError(f"tokenizer must be 'characters', 'bpe-N' or a file's path; got {name!r}")
    return load_tokenizer(name)


if __name__ == "__main__":
    main()

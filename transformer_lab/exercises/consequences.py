"""What your bug would do: a small model trained twice, with the learner's function in its place and with the reference.

The weights at the start and the batches are the same, so what differs comes from the function.
"""

import base64
import contextlib
import functools
import html
import io
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from transformer_lab.attention import attention_pattern, causal_mask, scaled_dot_product_attention
from transformer_lab.blocks import layer_norm
from transformer_lab.data import docstrings, split_paragraphs
from transformer_lab.exercises import lesson_03, lesson_04, lesson_05, lesson_08
from transformer_lab.exercises.checking import _is_empty, _quiet, _raised
from transformer_lab.exercises.guard import TimeIsUp, within_limits
from transformer_lab.generation import next_token_probabilities
from transformer_lab.gpt import next_token_loss
from transformer_lab.plots import COLOURS, new_figure
from transformer_lab.positions import alibi_bias, rotate_pairs, sinusoidal_encoding, wavelengths
from transformer_lab.tokenizers import CharacterTokenizer

D_MODEL, D_FF, N_HEADS, N_LAYERS = 32, 64, 2, 2
STEPS, BATCH, LEARNING_RATE = 200, 16, 1e-2
SECONDS = 5.0  # for one step with the learner's function; a quick one takes a hundredth of a second
PATIENCE = 30.0  # seconds for all steps with it
CLOSE = 0.15  # nats: a smaller difference at the end may be chance

# What a learner's function can stand for, by the exercise's name, and what stands there otherwise.
PARTS = {
    "embed": lesson_08.embed,
    "sinusoidal_encoding": sinusoidal_encoding,
    "add_positions": lesson_04.add_positions,
    "rotate_pairs": rotate_pairs,
    "alibi_bias": alibi_bias,
    "causal_mask": causal_mask,
    "split_heads": lesson_03.split_heads,
    "attention": scaled_dot_product_attention,
    "attention_pattern": attention_pattern,
    "multi_head_attention": lesson_03.multi_head_attention,
    "feed_forward": lesson_05.feed_forward,
    "layer_norm": layer_norm,
    "pre_norm_step": lesson_05.pre_norm_step,
    "post_norm_step": lesson_05.post_norm_step,
    "gpt_logits": lesson_08.gpt_logits,
    "shift_targets": lesson_08.shift_targets,
    "next_token_loss": next_token_loss,
}
# Most stand in a GPT. These say a text backwards, with nothing masked: attention without a mask would let a GPT see
# the future, and to find the right place takes positions, which a GPT this small hardly uses. How many layers: a norm
# and its place show what they are good for when there are some more.
BACKWARDS = {
    "attention": N_LAYERS,
    "sinusoidal_encoding": N_LAYERS,
    "add_positions": N_LAYERS,
    "embed": N_LAYERS,
    "layer_norm": 5,
    "pre_norm_step": 5,
}


def consequences(function: Callable) -> "Consequences":
    """Train a small model with the function, and the same model with the reference, for a few seconds."""
    from transformer_lab.exercises import EXERCISES, find  # here, because that module imports this one

    exercise = find(function)
    if not exercise.part:
        having = ", ".join(name for name, other in EXERCISES.items() if other.part)
        return Consequences(
            exercise.name, f"{exercise.name} is no part of the small models trained here. These are: {having}."
        )
    return compare(exercise.part, function)


def compare(part: str, function: Callable, steps: int = STEPS) -> "Consequences":
    if _is_empty(function):
        return Consequences(part, f"{part}: not attempted yet, so there is nothing to train a model with.")
    reference, yours = _with_reference(_same_model(part), steps), _with_yours(part, function, steps)
    return Consequences(part, _in_words(part, yours, reference), yours, reference)


# ---------------------------------------------------------------- the model


class SmallModel:
    """Characters in, a score for each character out, at every position. The part decides what kind of model it is."""

    def __init__(self, part: str, function: Callable, vocab_size: int):
        self.part = part
        self.backwards = part in BACKWARDS
        self.n_layers = BACKWARDS.get(part, N_LAYERS)
        self.context = 12 if self.backwards else 32
        self.rotary = not self.backwards and part not in ("multi_head_attention", "alibi_bias")
        self.use = SimpleNamespace(**PARTS | {part: function})
        self.weights = _initial_weights(vocab_size, self.context, self.n_layers)

    def __call__(self, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
        blocks = [functools.partial(self.block, layer) for layer in range(self.n_layers)]
        final_norm = (lambda x: x) if self.part == "post_norm_step" else self.norm("final norm")
        return self.use.gpt_logits(self.embedded(ids), blocks, final_norm, self.weights["token table"])

    def embedded(self, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq d_model"]:
        if self.part == "embed":
            return self.use.embed(ids, self.weights["token table"], self.weights["position table"])
        x = math.sqrt(D_MODEL) * self.weights["token table"][ids]  # Vaswani et al. 2017, section 3.4
        if self.rotary or self.part == "alibi_bias":  # then the positions come with the attention
            return x
        return self.use.add_positions(x, self.use.sinusoidal_encoding(self.context, D_MODEL).double())

    def block(self, layer: int, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        step = self.use.post_norm_step if self.part == "post_norm_step" else self.use.pre_norm_step
        x = step(x, functools.partial(self.attend, layer), self.norm(f"layer {layer} first norm"))
        return step(x, functools.partial(self.feed_forward, layer), self.norm(f"layer {layer} second norm"))

    def attend(self, layer: int, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        use, seq = self.use, x.shape[1]
        mask = None if self.backwards else use.causal_mask(seq, seq)
        w_q, w_k, w_v, w_o = self.of_layer(layer, "w_q", "w_k", "w_v", "w_o")
        if self.part == "multi_head_attention":
            return use.multi_head_attention(x, w_q, w_k, w_v, w_o, N_HEADS, mask)
        query, key, value = (use.split_heads(x @ w, N_HEADS) for w in (w_q, w_k, w_v))  # (batch, heads, seq, d_head)
        if self.rotary:
            angles = 2 * math.pi * torch.arange(seq)[:, None] / wavelengths(D_MODEL // N_HEADS)  # (seq, pairs)
            cos, sin = angles.cos().double(), angles.sin().double()
            query, key = use.rotate_pairs(query, cos, sin), use.rotate_pairs(key, cos, sin)
        bias = (use.alibi_bias(N_HEADS, seq, seq).double(),) if self.part == "alibi_bias" else ()
        if self.part == "attention":
            heads, _ = use.attention(query, key, value)
        else:
            heads = use.attention_pattern(query, key, mask, *bias) @ value
        return lesson_03.merge_heads(heads) @ w_o

    def feed_forward(self, layer: int, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        return self.use.feed_forward(x, *self.of_layer(layer, "up", "up bias", "down", "down bias"))

    def norm(self, name: str) -> Callable:
        return lambda x: self.use.layer_norm(x, self.weights[f"{name} weight"], self.weights[f"{name} bias"])

    def of_layer(self, layer: int, *names: str) -> list[Tensor]:
        return [self.weights[f"layer {layer} {name}"] for name in names]

    def logits_and_targets(self, windows: Int[Tensor, "batch longer"]) -> tuple[Tensor, Tensor]:
        """What training compares, on windows that are one character longer than the context."""
        inputs, targets = (
            (windows[:, :-1], windows[:, :-1].flip(-1)) if self.backwards else self.use.shift_targets(windows)
        )
        return self(inputs), targets

    @torch.no_grad()
    def honest_loss(self, windows: Int[Tensor, "batch longer"]) -> float:
        """The loss where no mistake of mask or targets can help: the input ends where the future begins."""
        if self.backwards:
            return next_token_loss(*self.logits_and_targets(windows)).item()
        losses = [next_token_loss(self(windows[:, :n])[:, -1:], windows[:, n : n + 1])
                  for n in range(2, self.context + 1, 2)]  # fmt: skip
        return torch.stack(losses).mean().item()

    @torch.no_grad()
    def sees_future(self, windows: Int[Tensor, "batch longer"]) -> bool:
        """Whether the predictions in the first half depend on the characters of the second half."""
        inputs, half = windows[:, :-1], self.context // 2
        changed = inputs.clone()
        changed[:, half:] = inputs[:, half:].roll(1, 0)  # those of another window
        before, again, after = (self(ids)[:, :half] for ids in (inputs, inputs, changed))
        return torch.equal(before, again) and not torch.allclose(before, after, rtol=1e-6, atol=1e-6)

    @torch.no_grad()
    def write(self, start: Int[Tensor, "seq"], n_tokens: int = 60) -> list[int]:
        """The start said backwards, or what a GPT writes after it, drawn at temperature 0.7."""
        if self.backwards:
            return self(start[None])[0].argmax(-1).tolist()
        generator = torch.Generator().manual_seed(0)
        ids = start.tolist()
        for _ in range(n_tokens):
            logits = self(torch.tensor([ids[-self.context :]]))[0, -1]
            ids += torch.multinomial(next_token_probabilities(logits, 0.7), 1, generator=generator).tolist()
        return ids[len(start) :]


def _initial_weights(vocab_size: int, context: int, n_layers: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator) / math.sqrt(shape[-1])

    def norm(name: str) -> dict[str, Tensor]:
        return {f"{name} weight": torch.ones(D_MODEL).double(), f"{name} bias": torch.zeros(D_MODEL).double()}

    weights = {"token table": random(vocab_size, D_MODEL), "position table": random(context, D_MODEL)}
    for layer in range(n_layers):
        of_layer = {name: random(D_MODEL, D_MODEL) for name in ("w_q", "w_k", "w_v", "w_o")}
        of_layer |= {"up": random(D_FF, D_MODEL), "up bias": torch.zeros(D_FF).double()}
        of_layer |= {"down": random(D_MODEL, D_FF), "down bias": torch.zeros(D_MODEL).double()}
        of_layer |= norm("first norm") | norm("second norm")
        weights |= {f"layer {layer} {name}": weight for name, weight in of_layer.items()}
    weights |= norm("final norm")
    return {name: weight.requires_grad_() for name, weight in weights.items()}


# ---------------------------------------------------------------- the text


@functools.cache
def _text() -> tuple[CharacterTokenizer, Int[Tensor, "train"], Int[Tensor, "held_out"]]:
    """Prose about Python in small letters: its characters, ids to learn from, and ids that are held out."""
    try:
        from pydoc_data.topics import topics

        documents = list(topics.values())
    except ImportError:  # minimal builds come without the language reference
        documents = docstrings(Path(torch.__file__).parent / "nn")
    paragraphs = [p for document in documents for p in re.split(r"\n\s*\n", document)]
    corpus = split_paragraphs("prose", [p for p in paragraphs if not re.search(r"[|=*-]{2}", p)])
    train, held_out = (re.sub(r"[^a-z.,:;'()_-]+", " ", text.lower()) for text in (corpus.train, corpus.held_out))
    characters = CharacterTokenizer.train(train + held_out)
    return characters, torch.tensor(characters.encode(train)), torch.tensor(characters.encode(held_out))


def _windows(ids: Int[Tensor, "tokens"], length: int, *shape: int) -> Int[Tensor, "*shape length"]:
    """Stretches of the text from random places, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    return ids[torch.randint(len(ids) - length, (*shape, 1), generator=generator) + torch.arange(length)]


@functools.cache
def _loss_of_guessing() -> float:
    """The loss of whoever knows only how often each character occurs."""
    characters, train, held_out = _text()
    return -(train.bincount(minlength=characters.vocab_size) / len(train)).log()[held_out].mean().item()


# ---------------------------------------------------------------- training


@dataclass
class Run:
    """What came of one training."""

    losses: list[float] = field(default_factory=list)  # one a step, measured by the reference
    own_loss: float = math.nan  # the last one, measured by the part in question if that is the loss
    honest: dict[int, float] = field(default_factory=dict)  # after so many steps, see SmallModel.honest_loss
    sees_future: bool = False
    untrained: list[str] = field(default_factory=list)  # weights that never got a gradient
    start: str = ""
    sample: str = ""
    doing: str = "before the first step"
    problem: str = ""  # why it ended too soon

    @property
    def final(self) -> float:
        return sum(self.losses[-20:]) / len(self.losses[-20:])

    @property
    def final_honest(self) -> float:
        return list(self.honest.values())[-1]


@functools.cache
def _with_reference(part: str, steps: int) -> Run:
    run = Run()
    _train(run, part, PARTS[part], steps, math.inf)
    return run


def _same_model(part: str) -> str:
    """The part under which the model with nothing but references is kept: most parts share one."""
    if part in ("embed", "alibi_bias", "multi_head_attention", "post_norm_step"):
        return part
    if part in BACKWARDS:
        return "attention" if BACKWARDS[part] == N_LAYERS else "layer_norm"
    return "causal_mask"


def _with_yours(part: str, function: Callable, steps: int) -> Run:
    """The function may raise, never end, or return anything: the run says so."""
    run, watched = Run(), Watched(function)
    with _quiet(), contextlib.redirect_stdout(io.StringIO()):  # a print in it would come a thousand times
        torch.manual_seed(0)
        try:
            _train(run, part, watched, steps, PATIENCE)
        except TimeIsUp:
            run.problem = f"More than {SECONDS:.0f} seconds went by there. Is there a loop that never ends?"
        except (Exception, SystemExit) as error:
            run.problem = watched.blame(error)
    return run


@torch.enable_grad()
def _train(run: Run, part: str, function: Callable, steps: int, patience: float) -> None:
    characters, train, held_out = _text()
    model = SmallModel(part, function, characters.vocab_size)
    optimizer = torch.optim.AdamW(model.weights.values(), LEARNING_RATE, fused=True)
    unseen = _windows(held_out, model.context + 1, 64)
    started = time.monotonic()
    # The reference ends by itself, however busy the machine is.
    limited = (lambda call: call()) if patience == math.inf else functools.partial(within_limits, seconds=SECONDS)

    def one_step(step: int, windows: Tensor) -> None:
        logits, targets = model.logits_and_targets(windows)
        loss = torch.as_tensor(model.use.next_token_loss(logits, targets))
        run.own_loss = loss.item()
        run.losses.append(next_token_loss(logits.detach(), targets).item())
        if not math.isfinite(run.own_loss):
            run.problem = f"The loss is {run.own_loss:.0f} there, and no step leads on from that."
        elif not loss.requires_grad:
            run.problem = "The loss there is a plain number, cut off from the weights: it has no gradient."
        elif time.monotonic() - started > patience:
            run.problem = f"{patience:.0f} seconds were over: the function is too slow for this."
        if run.problem:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 40 == 0 or step == steps:
            run.honest[step] = model.honest_loss(unseen)

    def look_at_it() -> None:
        run.sees_future = not model.backwards and model.sees_future(unseen)
        if math.isfinite(run.final_honest):
            start = unseen[0, :-1]
            run.start, run.sample = (characters.decode(ids) for ids in (start.tolist(), model.write(start)))

    run.honest[0] = limited(lambda: model.honest_loss(unseen))
    for step, windows in enumerate(_windows(train, model.context + 1, steps, BATCH), start=1):
        run.doing = f"at step {step} of {steps}"
        limited(functools.partial(one_step, step, windows))
        if run.problem:
            return
    run.doing = "after the last step"
    moments = {name: optimizer.state[weight].get("exp_avg_sq") for name, weight in model.weights.items()}
    run.untrained = [name for name, moment in moments.items() if moment is None or not moment.any()]
    limited(look_at_it)


class Watched:
    """The learner's function, with a memory of what it did last; its numbers go on in the model's own precision."""

    def __init__(self, function: Callable):
        self.function = function
        self.running = False
        self.returned = None

    def __call__(self, *arguments):
        self.running = True
        self.returned = self.function(*arguments)
        self.running = False
        return _double(self.returned)

    def blame(self, error: BaseException) -> str:
        if self.running:
            return _raised(self.function, error)
        words = str(error).partition("\n")[0]
        return (
            f"The model could not go on with what your function returned, {_kind(self.returned)}.\n"
            f"It raised {type(error).__name__}: {words}"
        )


def _double(value):
    if isinstance(value, tuple | list):
        return tuple(map(_double, value))
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _kind(value) -> str:
    if isinstance(value, tuple | list):
        return f"{len(value)} things ({'; '.join(map(_kind, value))})"
    if isinstance(value, Tensor):
        size = "×".join(map(str, value.shape))
        return f"a tensor of {str(value.dtype).removeprefix('torch.')}, {size or 'without axes'}"
    return "None (is a return missing?)" if value is None else f"a {type(value).__name__}"


# ---------------------------------------------------------------- what is said and shown


def _in_words(part: str, yours: Run, reference: Run) -> str:
    backwards = part in BACKWARDS
    task = "say 12 characters backwards" if backwards else "predict the next character of a text"
    lines = [
        f"{part}: a model of {BACKWARDS.get(part, N_LAYERS)} layers and {N_HEADS} heads learns to {task},",
        "once with your function and once with the reference, from the same weights and the same examples.",
        "",
    ]
    if yours.problem:
        lines += [f"With yours it ended {yours.doing}.", yours.problem]
        return "\n".join([*lines, f"With the reference the loss came down to {reference.final:.2f}."])
    unseen = "on unseen text" if backwards else "on unseen text, future cut off"
    rows = {"loss in training": (yours.final, reference.final), unseen: (yours.final_honest, reference.final_honest)}
    lines += ["The loss is −ln of the probability given to the right character, on average: lower is better.", ""]
    lines += [f"{'loss a character':30}    yours  reference"]
    lines += [f"{name:30} {a:8.2f}  {b:9.2f}" for name, (a, b) in rows.items()]
    if part == "next_token_loss":
        lines += [f"Both are measured by the reference. Yours itself came to {yours.own_loss:.2f}."]
    lines += ["", *_judgement(part, yours, reference)]
    if yours.sample:
        asked = f"“{yours.start}” backwards:" if backwards else f"What each writes after “{yours.start}”:"
        lines += ["", asked, f"  yours      “{yours.sample}”", f"  reference  “{reference.sample}”"]
    return "\n".join(lines)


def _judgement(part: str, yours: Run, reference: Run) -> list[str]:
    """Only what follows from the two runs. Which mistake it is, is for the check to say."""
    gap = yours.final_honest - reference.final_honest
    if abs(gap) <= 1e-3 and all(abs(a - b) <= 1e-3 for a, b in zip(yours.losses, reference.losses)):
        return [
            "The losses are the same all the way: in this model yours does what the reference does. That is less than",
            f"check({part}) asks: it tries inputs that never come up here.",
        ]
    lines = []
    if yours.sees_future:
        lines += ["With yours the model sees the future: changing later characters changes predictions before them."]
    if not math.isfinite(gap):
        lines += [f"On unseen text the loss with yours is {yours.final_honest:.0f}."]
    elif gap > CLOSE and yours.final < reference.final - CLOSE:
        lines += [
            "The loss is lower than the reference's in training, and higher where the text ends before what is asked",
            "for. Usually this means that in training the model reads what it should predict.",
        ]
    elif gap > CLOSE:
        lines += ["With yours the model learns less in the same number of steps."]
        if yours.final_honest > _loss_of_guessing() - CLOSE:
            guessing = f"{_loss_of_guessing():.2f}"
            lines += [f"Guessing by how often each character occurs does about as well or better: {guessing}."]
    elif gap < -CLOSE:
        lines += [
            "With yours the model learns more in the same number of steps. One small model does not show what is",
            f"better in general: check({part}) says whether it is the function that was asked for.",
        ]
    else:
        lines += [
            "Both learn about equally well. In so small a model that proves little:",
            f"check({part}) compares the functions themselves.",
        ]
    untrained = [name for name in yours.untrained if name not in reference.untrained]
    if untrained:
        rest = f" and {len(untrained) - 4} more" if len(untrained) > 4 else ""
        lines += [f"With yours no gradient ever reached these weights: {', '.join(untrained[:4])}{rest}."]
    return lines


@dataclass(frozen=True)
class Consequences:
    """Two trainings side by side: words, and a picture of the losses."""

    part: str
    text: str
    yours: Run | None = None
    reference: Run | None = None

    def __repr__(self) -> str:
        return self.text

    def picture(self) -> Figure | None:
        """Both losses in training, and on unseen text. None where nothing was trained."""
        if self.yours is None or not self.yours.losses:
            return None
        return _picture({"with the reference": self.reference, "with yours": self.yours}, self.part in BACKWARDS)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        bundle = {"text/plain": self.text}
        figure = self.picture()
        if figure is not None:
            png = io.BytesIO()
            figure.savefig(png, format="png")
            image = base64.b64encode(png.getvalue()).decode()
            bundle["text/html"] = (
                f'<pre style="white-space: pre-wrap">{html.escape(self.text)}</pre>'
                f'<img alt="{html.escape(figure.description)}" src="data:image/png;base64,{image}">'
            )
        return bundle


def _picture(runs: dict[str, Run], backwards: bool) -> Figure:
    figure, ((training, unseen),) = new_figure(1, 2, width=5.0, height=3.8, sharey=True)
    # The reference is wide and pale, so that it shows where yours covers it.
    styles = ({"color": COLOURS[0], "alpha": 0.45, "linewidth": 6}, {"color": COLOURS[1]})
    said = []
    for (name, run), style in zip(runs.items(), styles, strict=True):
        training.plot(*_smoothed(run.losses), label=name, **style)
        unseen.plot(run.honest.keys(), run.honest.values(), marker="o", **style)
        said += [f"{name}, {run.losses[0]:.2f} at first and {run.final:.2f} at last"]
    highest = max(loss for run in runs.values() for loss in (*run.losses, *run.honest.values()) if math.isfinite(loss))
    for ax in (training, unseen):
        ax.axhline(_loss_of_guessing(), linestyle="--", linewidth=1.5, color="0.4")
        ax.set(xlabel="step", ylim=(0, min(1.05 * highest, 12)))
    unseen.annotate("guessing by frequency", (1, _loss_of_guessing()), (-4, 3), xycoords=("axes fraction", "data"),
                    textcoords="offset points", ha="right", color="0.3", fontsize=11)  # fmt: skip
    training.set(ylabel="loss a character", title="in training")
    unseen.set(title="on unseen text" if backwards else "on unseen text, future cut off")
    figure.legend(*training.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.description = f"loss by step, in two panels: in training, and on unseen text. In training: {'; '.join(said)}"
    return figure


def _smoothed(losses: list[float], window: int = 8) -> tuple[list[float], list[float]]:
    """Steps and means: one batch is easier than another."""
    chunks = [losses[i : i + window] for i in range(0, len(losses), window)]
    steps = [window * i + (1 + len(chunk)) / 2 for i, chunk in enumerate(chunks)]
    return steps, [sum(chunk) / len(chunk) for chunk in chunks]

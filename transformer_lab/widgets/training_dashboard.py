"""TrainingDashboard: a training run as it goes on: losses, learning rate, gradient norm, samples, and one head."""

import base64
import math
import time
from collections.abc import Mapping

import torch
import traitlets
from IPython.display import display
from matplotlib.figure import Figure
from torch import Tensor, nn

from transformer_lab import data, plots
from transformer_lab.generation import evaluating, write
from transformer_lab.probe import watch
from transformer_lab.training import History
from transformer_lab.widgets.base import Refused, Widget, visible

POINTS = 1000  # that the curves have at most
EVALUATIONS = 60  # that are kept with a sample and a pattern, beside the one before training
TOKENS = 32  # of the sentence, at most
PAUSE = 0.5  # seconds between two messages to the page
LISTS = ("curve", "held_out", "evaluations")


class TrainingDashboard(Widget):
    """Shows itself where a training run begins, and follows it.

        board = TrainingDashboard(config.steps, baselines={"bigram": 4.1}, model=model, tokenizer=tokenizer,
                                  prompt="This method", sentence="the dog chased the ball", head=(1, 2))
        with board:
            history = train(model, train_ids, held_out_ids, config, on_step=board.update)

    steps: how many the whole run has. baselines: name → loss in nats a token.
    characters_per_token: if given, losses are shown in bits per character.
    model, tokenizer: a GPT, to write `sample_tokens` tokens after the prompt at each evaluation (always with the same
        seed), and to look at the pattern of one head, (layer, head), both counted from 0, on the sentence
        (unless given: the prompt), of at most 32 tokens. Without a model there are only the curves.
    budget: the share of the time so far that these may have taken. At an evaluation where they have taken more,
        sample and pattern are left out, except at the last. math.inf: never.

    After an interruption or an error the board keeps what it has and says at which step that was. The same board goes
    on with the next `with` block: from the checkpoint's step if training resumes, from the first step if it starts
    anew. What the run tells can be read and observed, not set:
    status: "not started", "training", "finished", "interrupted at step …". step: the last one shown.
    stride, curve: point i is of the steps i · stride + 1 … (i + 1) · stride, as [mean loss, last learning rate,
        largest gradient norm before clipping]. The stride is 1 up to 1,000 steps; a longer run has 500 to 1,000 points
        at its end, whatever its length. None stands for what is not a finite number.
    held_out: [step, loss], at most one a stride.
    evaluations: dicts of step, sample, pattern: one before training and, of the later ones, at most 60 (and the last).
    Can be set too: shown, the place in `evaluations` of the one on show; −1 follows the newest.

    A page gets only what is new, at most twice a second. `overhead` is the share of training's time that it all took.
    """

    module = "training_dashboard"
    steps = traitlets.Int(read_only=True).tag(sync=True)
    step = traitlets.Int(0, read_only=True).tag(sync=True)
    status = traitlets.Unicode("not started", read_only=True).tag(sync=True)
    unit = traitlets.Unicode(read_only=True).tag(sync=True)
    baselines = traitlets.Dict(read_only=True).tag(sync=True)
    stride = traitlets.Int(read_only=True).tag(sync=True)
    tokens = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)  # of the sentence
    head = traitlets.Tuple(traitlets.Int(), traitlets.Int(), read_only=True).tag(sync=True)
    # These grow in place, which traitlets does not notice: a new page gets all of them, an open one what is added.
    curve = traitlets.List(read_only=True).tag(sync=True)
    held_out = traitlets.List(read_only=True).tag(sync=True)
    evaluations = traitlets.List(read_only=True).tag(sync=True)
    shown = traitlets.Int(-1).tag(sync=True)

    def __init__(
        self,
        steps: int,
        *,
        baselines: Mapping[str, float] | None = None,
        characters_per_token: float | None = None,
        model: nn.Module | None = None,
        tokenizer=None,
        prompt: str = "",
        sentence: str | None = None,
        head: tuple[int, int] = (0, 0),
        sample_tokens: int = 20,
        temperature: float = 0.6,
        budget: float = 0.015,
    ):
        if steps < 1:
            raise ValueError(f"steps must be at least 1; got {steps}")
        if not budget > 0:
            raise ValueError(f"budget must be above 0; got {budget}")
        self._scale = 1.0 if characters_per_token is None else data.bits_per_character(1.0, characters_per_token)
        self._model, self._tokenizer, self._prompt = model, tokenizer, prompt
        self._sample_tokens, self._temperature, self._budget = sample_tokens, temperature, budget
        self._history: History | None = None  # of the run that is going on
        self._measured = 0  # evaluations of it that have been seen
        self._last: float | None = None  # when `update` was called last
        self._sent = -math.inf  # when the page was told last
        self._spent = self._looked = self._training = 0.0  # seconds: of all here, of running the model, of all there
        self._display = None
        self._set(
            steps=steps,
            stride=math.ceil(steps / POINTS),
            unit="nats per token" if characters_per_token is None else "bits per character",
            baselines={name: self._scale * loss for name, loss in (baselines or {}).items()},
            head=tuple(head),
        )
        if model is not None:
            self._ids = tokenizer.encode(prompt if sentence is None else sentence)
            longest = min(TOKENS, model.config.context_length)
            if not 1 <= len(self._ids) <= longest:
                raise ValueError(f"sentence must have 1 … {longest} tokens; got {len(self._ids)}")
            self._set(tokens=[tokenizer.decode([i]) for i in self._ids])
            self.evaluations.append(self._look(0))
        super().__init__()  # now the page gets all that is there
        self.on_msg(lambda _, content, buffers: self._tell(dict.fromkeys(LISTS, 0)))  # a page that missed something

    def _set(self, **values) -> None:
        for name, value in values.items():
            self.set_trait(name, value)

    @traitlets.validate("shown")
    def _check_shown(self, proposal) -> int:
        if not -1 <= proposal["value"] < max(len(self.evaluations), 1):
            raise Refused(f"shown must lie in −1 … {len(self.evaluations) - 1}; got {proposal['value']}")
        return proposal["value"]

    # ---------------------------------------------------------------- following a run

    def __enter__(self) -> "TrainingDashboard":
        self._entered = self._last = time.perf_counter()
        self._history = None
        self._set(status="training")
        self._display = display(self, display_id=True)  # None outside a notebook
        self._spent += time.perf_counter() - self._entered
        return self

    def __exit__(self, kind, error, traceback) -> None:
        began = time.perf_counter()
        if self._history is not None:
            self._add(len(self._history.gradient_norm), self._history)  # what came since the last message
        if self.step == self.steps:
            status = "finished"
        elif kind is None and self._history is None:
            status = "no step was taken"
        else:
            status = f"interrupted at step {self.step:,}"
            status += "" if kind in (None, KeyboardInterrupt) else f": {kind.__name__}: {error}"
        self.send_state(list(LISTS))  # once in full: what is stored with a notebook is what was sent as state
        self._set(status=status)
        if self._display is not None:
            self._display.update(self)  # so that the notebook, once saved, shows a picture of the whole run
        self._training += time.perf_counter() - self._last
        self._spent += time.perf_counter() - began

    def _repr_mimebundle_(self, **options) -> tuple[dict, dict]:
        if self.status != "training":
            return super()._repr_mimebundle_(**options)
        # Without the picture: it takes a third of a second, and `__exit__` puts that of the whole run in its place.
        data, metadata = super(Widget, self)._repr_mimebundle_(**options)
        return data | {"text/plain": repr(self)}, metadata

    def update(self, step: int, history: History) -> None:
        """For `train`'s on_step or, where fewer updates will do, its on_evaluation. Steps count from 1.

        Reads what the history holds already; runs the model at evaluations only.
        """
        now = time.perf_counter()
        if self._last is not None and (self._history is None or self._history is history):
            self._training += now - self._last
        self._last = now
        evaluated = history.evaluation_steps[-1:] == [step]
        if history is self._history and not evaluated and now - self._sent < PAUSE:
            return
        if not 1 <= step <= self.steps:
            raise ValueError(f"step must lie in 1 … {self.steps}, the steps that the board was made for; got {step}")
        self._add(step, history, look=evaluated)
        self._sent = time.perf_counter()
        self._spent += self._sent - now

    def _add(self, step: int, history: History, look: bool = False) -> None:
        if history is not self._history:  # a new run, or one that goes on from a checkpoint: its history is the truth
            self._history, self._measured = history, 0
            self.curve.clear()
            self.held_out.clear()
            self.evaluations[:] = [evaluation for evaluation in self.evaluations if evaluation["step"] < step]
            self.shown = -1
            self._set(status="training")
        starts = {name: len(getattr(self, name)) for name in LISTS}
        wholes = range(len(self.curve), step // self.stride)
        self.curve.extend([self._point(history, slice(i * self.stride, (i + 1) * self.stride)) for i in wholes])
        for at, loss in zip(history.evaluation_steps[self._measured :], history.held_out_loss[self._measured :]):
            if not self.held_out or at - self.held_out[-1][0] >= self.stride or at == self.steps:
                self.held_out.append([at, _number(self._scale * loss)])
            self._measured += 1
        if look and self._model is not None:
            since = step - self.evaluations[-1]["step"]
            affordable = self._looked <= self._budget * self._training
            if since >= self.steps / EVALUATIONS and affordable or since > 0 and step == self.steps:
                began = time.perf_counter()
                self.evaluations.append(self._look(step))
                self._looked += time.perf_counter() - began
        self._tell(starts)
        self._set(step=step)

    def _point(self, history: History, steps: slice) -> list[float | None]:
        mean = self._scale * sum(history.train_loss[steps]) / self.stride
        return [_number(x) for x in (mean, history.learning_rate[steps][-1], max(history.gradient_norm[steps]))]

    def _look(self, step: int) -> dict:
        """What the model writes now, and one head's pattern, in 255ths."""
        model, (layer, head) = self._model, self.head
        ids = torch.tensor([self._ids], device=next(model.parameters()).device)
        with torch.no_grad(), evaluating(model), watch(model) as trace:
            model(ids)
        n_heads = [pattern.shape[1] for pattern in trace.patterns]
        if not (0 <= layer < len(n_heads) and 0 <= head < n_heads[layer]):
            raise ValueError(f"head must be (layer, head), with {n_heads} heads in the layers; got {self.head}")
        pattern = (255 * trace.patterns[layer][0, head].float()).round().byte().cpu().numpy()
        sample = write(model, self._tokenizer, self._prompt, self._sample_tokens, self._temperature, seed=1)
        return {"step": step, "sample": sample, "pattern": base64.b64encode(pattern.tobytes()).decode()}

    def _tell(self, starts: dict[str, int]) -> None:
        """Tell the page what each list holds from that place on."""
        self.send({name: [start, getattr(self, name)[start:]] for name, start in starts.items()})

    # ---------------------------------------------------------------- reading it

    @property
    def overhead(self) -> float:
        """The share of the training's time that the board took, samples and pictures included: 0 … 1."""
        return self._spent / self._training if self._training else 0.0

    @property
    def samples(self) -> dict[int, str]:
        """Step → what the model wrote then."""
        return {evaluation["step"]: evaluation["sample"] for evaluation in self.evaluations}

    @property
    def pattern(self) -> Tensor:
        """The head's pattern at the evaluation on show, (queries, keys), to within 1/510."""
        if not self.evaluations:
            raise ValueError("pattern needs a model; this board was made without one")
        levels = list(base64.b64decode(self.evaluations[self.shown]["pattern"]))
        return torch.tensor(levels).view(len(self.tokens), -1) / 255

    @property
    def figure(self) -> Figure:
        if self.tokens:
            figure, axes = plots.new_figure(2, 2, width=4.8, height=3.2, height_ratios=(3, 2), width_ratios=(3, 2))
            self._draw_pattern(axes[0, 1])
        else:
            figure, axes = plots.new_figure(1, 3, width=4.0, height=3.2)
        losses, *_, rate, norm = axes.flat
        at = [(i + 0.5) * self.stride + 0.5 for i in range(len(self.curve))]  # the middle of a point's steps
        points = torch.tensor([[math.nan if x is None else x for x in point] for point in self.curve]).view(-1, 3)
        held_out = torch.tensor([[at, math.nan if loss is None else loss] for at, loss in self.held_out]).view(-1, 2)
        lines = {"training": (at, points[:, 0]), "held out": (held_out[:, 0], held_out[:, 1])}
        plots.draw_losses(losses, lines if at else {}, self.baselines, self.unit)
        for ax, name, numbers in ((rate, "learning rate", points[:, 1]), (norm, "gradient norm", points[:, 2])):
            ax.plot(at, numbers, linewidth=1)
            ax.set(xlabel="step", ylabel=name, ylim=(0, None))
            if not at:  # nothing to number yet
                ax.set_yticks([])
        for ax in (losses, rate, norm):
            ax.set_xlim(0, self.steps)
        return figure

    def _draw_pattern(self, ax) -> None:
        labels = [visible(token) for token in self.tokens] if len(self.tokens) <= 16 else None
        (layer, head), step = self.head, self.evaluations[self.shown]["step"]
        plots.draw_matrix(
            ax, self.pattern, f"layer {layer}, head {head}, step {step}",
            rows=labels, columns=labels, row_label="query", column_label="key", numbers=False, limits=(0, 1),
        )  # fmt: skip

    def __repr__(self) -> str:
        text = f"TrainingDashboard: {self.status}, {self.step:,} of {self.steps:,} steps"
        loss = self.held_out[-1][1] if self.held_out else None
        if loss is not None:
            above = {name: level for name, level in self.baselines.items() if level > loss}
            if above:
                text += f", held-out loss below “{min(above, key=above.get)}”"
            else:
                text += f", held-out loss {'above every baseline' if self.baselines else f'{loss:.1f} {self.unit}'}"
        if self.tokens:
            text += f"; layer {self.head[0]}, head {self.head[1]} at step {self.evaluations[self.shown]['step']:,}"
        return text


def _number(x: float) -> float | None:
    """Four digits are enough to draw, and JSON knows neither infinity nor NaN."""
    return float(f"{x:.4g}") if math.isfinite(x) else None

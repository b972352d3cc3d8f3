"""AttentionExplorer: every head of a model, one head in detail, and what changes when something is changed."""

import functools
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import traitlets
from matplotlib.figure import Figure
from torch import Tensor, nn

from transformer_lab import plots
from transformer_lab.widgets.base import Answering, Refused, shortened, visible
from transformer_lab.widgets.running import make_runner, patterns_of

WHOLE = 10_000_000  # bytes: above this the layers come one at a time, when they are looked at
THUMBNAIL = 32  # the most rows and columns of a head's small picture in the grid
DETAILS = 400_000  # bytes of exact numbers: above this they come for one head at a time
VIEWS = ("heatmap", "lines", "scores")
Layers = list[Tensor]  # one a layer: (heads, queries, keys)


@dataclass
class Shown:
    """One kind of attention: whose tokens look at whose, in one model or in two."""

    query_tokens: list[str]
    key_tokens: list[str]
    models: list[Layers]
    vectors: tuple[Layers, Layers] | None = None  # queries and keys, one a layer: (heads, tokens, d_head)
    biases: list[Tensor | None] | None = None
    scales: list[float] | None = None

    @property
    def heads(self) -> list[int]:
        """How many heads each layer has."""
        return [len(layer) for layer in self.models[0]]

    @functools.cached_property
    def is_causal(self) -> bool:
        """Nothing above the diagonal, so that half of each pattern need not travel."""
        n_queries, n_keys = self.models[0][0].shape[-2:]
        return n_queries == n_keys and all(not layer.triu(1).any() for layers in self.models for layer in layers)


class AttentionExplorer(Answering):
    """Where attention goes: the grid of all heads, and one head as heatmap, as lines, or score by score.

        AttentionExplorer(tokens, attention)                           # tensors of any model
        AttentionExplorer.from_model(model, tokenizer, "A sentence")   # live: edit, ablate, unmask, reheat

    tokens: one text a position. attention: (layers, heads, queries, keys); or a list with (heads, queries, keys) a
        layer; or what a transformers model returns with output_attentions=True. For cross-attention, tokens is a
        pair, (the queries' tokens, the keys'); for an encoder-decoder model's outputs, (source, target).
    queries, keys: (layers, heads, tokens, d_head) each, if you have them: they show how each score comes about.
    other: the attention of a second model, to compare; `names` names the two.

    Readable, settable and observable: `layer`, `head`, `query`, `key`, `view` (heatmap, lines, scores), `kind`,
    `pinned` (a head to compare with: (layer, head)), `filter` (show only tokens that hold one of these words); and
    live: `text`, `ablated` ((layer, head) pairs whose output is zero), `causal`, `temperature` (the scores are
    divided by it), `checkpoint`. `pattern` is the selected matrix, `next_tokens` and `loss` what the model says.
    """

    module = "attention_explorer"

    # what there is to see
    kinds = traitlets.List(traitlets.Unicode()).tag(sync=True)
    models = traitlets.List(traitlets.Unicode()).tag(sync=True)
    sides = traitlets.Dict().tag(sync=True)  # kind → its queries' tokens, its keys' tokens, the heads of each layer
    # what is looked at
    kind = traitlets.Unicode().tag(sync=True)
    view = traitlets.Enum(VIEWS, "heatmap").tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    query = traitlets.Int(0).tag(sync=True)
    key = traitlets.Int(0).tag(sync=True)
    pinned = traitlets.List().tag(sync=True)
    filter = traitlets.Unicode().tag(sync=True)
    # what can be changed where a model runs
    live = traitlets.Bool(False).tag(sync=True)
    ablated = traitlets.List().tag(sync=True)
    causal = traitlets.Bool(True).tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    checkpoints = traitlets.List(traitlets.Unicode()).tag(sync=True)
    checkpoint = traitlets.Unicode().tag(sync=True)
    # what the model says: before the changes, and now
    next_tokens = traitlets.List().tag(sync=True)
    loss = traitlets.Float(None, allow_none=True).tag(sync=True)
    unchanged = traitlets.Dict().tag(sync=True)
    # the numbers, as bytes
    version = traitlets.Int(0).tag(sync=True)  # of the patterns: grows when the model has run again
    sections = traitlets.List().tag(sync=True)
    thumbnails = traitlets.Bytes().tag(sync=True)
    details = traitlets.List().tag(sync=True)
    detail = traitlets.Bytes().tag(sync=True)
    weights = traitlets.Bytes().tag(sync=True)

    def __init__(
        self,
        tokens: Sequence[str] | tuple[Sequence[str], Sequence[str]],
        attention,
        *,
        queries=None,
        keys=None,
        other=None,
        names: tuple[str, str] = ("A", "B"),
        **traits,
    ):
        shown = _shown(tokens, attention)
        if (queries is None) != (keys is None):
            raise ValueError("queries and keys belong together; got one without the other")
        if queries is not None:
            _add_vectors(shown, queries, keys)
        if other is not None:
            second = _shown(tokens, other)
            if _heads(second) != _heads(shown):
                raise ValueError(
                    f"other must have the layers and heads of attention, {_heads(shown)}; got {_heads(second)}"
                )
            for kind in shown:
                shown[kind].models += second[kind].models
        self._start(shown, None, models=list(names) if other is not None else ["model"], **traits)

    @classmethod
    def from_model(
        cls,
        model: nn.Module,
        tokenizer,
        text: str,
        checkpoints: Mapping[str, object] | None = None,
        **traits,
    ) -> "AttentionExplorer":
        """Live on a model: a GPT of this package, or a transformers model (where that library is installed).

        checkpoints: name → weights of the same model at another time (a file, or a state dict) to step through.
        """
        explorer = cls.__new__(cls)
        runner = make_runner(model, tokenizer, checkpoints)
        checkpoint = runner.checkpoints[-1] if runner.checkpoints else ""
        run = runner(text, checkpoint=checkpoint or None)
        said = {"next_tokens": run.next_tokens, "loss": run.loss}
        start = dict(text=text, checkpoints=runner.checkpoints, checkpoint=checkpoint, unchanged=said, **said)
        explorer._start({"attention": _of_run(run)}, runner, models=["model"], **start | traits)
        explorer._settings = dict(text=text, ablated=[], causal=True, temperature=1.0, checkpoint=checkpoint)
        explorer._run()  # again, if traits hold changes
        return explorer

    def _start(self, shown: dict[str, Shown], runner, **traits) -> None:
        self._shown, self._runner, self._sent = shown, runner, None
        kind = traits.setdefault("kind", next(iter(shown)))
        if kind not in shown:
            raise ValueError(f"kind must be one of {', '.join(shown)}; got {kind!r}")
        traits.setdefault("query", len(shown[kind].query_tokens) - 1)  # where a causal model has the most to look at
        super().__init__(kinds=list(shown), live=runner is not None, sides=self._sides(), **traits)
        if "key" not in traits:
            self.key = self.pattern[self.query].argmax().item()
        self._settings = self._changeable()
        self._send_patterns()
        self.observe(lambda change: self._show_kind(), "kind")
        self.observe(lambda change: self._send_patterns(), ["layer", "head", "pinned"])
        self.observe(lambda change: self._run(), list(self._settings))

    # ---------------------------------------------------------------- from Python

    @property
    def pattern(self) -> Tensor:
        """The selected head's pattern, (queries, keys), as exact as the model gave it."""
        return self._shown[self.kind].models[0][self.layer][self.head]

    @property
    def heads(self) -> list[int]:
        """How many heads each layer has."""
        return self._shown[self.kind].heads

    @property
    def figure(self) -> Figure:
        """All heads beside the selected one in its view. Colours by the root of the weight, as in the browser."""
        shown = self._shown[self.kind]
        figure, (axes,) = plots.new_figure(1, 2, width=4.6, height=4.4)
        colours = dict(limits=(0, 1), numbers=False)
        plots.draw_matrix(axes[0], _tiled(shown.models[0]).sqrt(), "all heads", row_label="layer",
                          column_label="head", **colours)  # fmt: skip
        step = _tile(shown.models[0]) + 1
        for set_ticks, n in ((axes[0].set_xticks, max(self.heads)), (axes[0].set_yticks, len(self.heads))):
            places = range(0, n, math.ceil(n / 12))
            set_ticks([step * place + step / 2 - 1 for place in places], places)
        names = [list(map(_label, side)) for side in (shown.query_tokens, shown.key_tokens)]
        title = f"layer {self.layer}, head {self.head}"
        if self.view == "scores" and shown.vectors:
            self._draw_products(axes[1], title)
        elif self.view == "lines":
            plots.draw_lines(axes[1], self.pattern, *names, self.query, title)
        else:
            if max(self.pattern.shape) <= 24:
                colours |= dict(rows=names[0], columns=names[1])
            plots.draw_matrix(axes[1], self.pattern.sqrt(), title, row_label="query", column_label="key", **colours)
        return figure

    def _draw_products(self, ax, title: str) -> None:
        """What each dimension adds to the score of the selected query and key."""
        shown = self._shown[self.kind]
        query, key = (layers[self.layer][self.head][place]
                      for layers, place in zip(shown.vectors, (self.query, self.key)))  # fmt: skip
        products, scale, bias = (query * key).numpy(), shown.scales[self.layer], shown.biases[self.layer]
        added = 0.0 if bias is None else bias[self.head, self.query, self.key].item()
        who = f"{_label(shown.query_tokens[self.query])} · {_label(shown.key_tokens[self.key])}"
        ax.bar(range(len(products)), products)
        score = products.sum() * scale + added
        ax.set(title=f"{title}\n{who}: score {score:.2f}", xlabel="dimension", ylabel="query × key")

    def __repr__(self) -> str:
        shown = self._shown[self.kind]
        weights = self.pattern[self.query]
        most = weights.argmax().item()
        heads = "×".join(str(n) for n in (len(self.heads), *sorted(set(self.heads))))
        looks = f"looks most at “{visible(shown.key_tokens[most])}” ({most}), {weights[most]:.2f}"
        return (
            f"AttentionExplorer: {heads} heads (layers × heads), {len(shown.query_tokens)} tokens; layer {self.layer}, "
            f"head {self.head}: “{visible(shown.query_tokens[self.query])}” ({self.query}) "
            + (looks if weights[most] else "looks at nothing")
        )

    # ---------------------------------------------------------------- what is valid

    @traitlets.validate("kind")
    def _check_kind(self, proposal) -> str:
        if proposal["value"] not in self._shown:
            raise Refused(f"kind must be one of {', '.join(self._shown)}; got {proposal['value']!r}")
        return proposal["value"]

    @traitlets.validate("layer", "head", "query", "key")
    def _check_place(self, proposal) -> int:
        name, place = proposal["trait"].name, proposal["value"]
        size = {
            "layer": len(self.heads),
            "head": self.heads[min(max(self.layer, 0), len(self.heads) - 1)],
            "query": len(self._shown[self.kind].query_tokens),
            "key": len(self._shown[self.kind].key_tokens),
        }[name]
        if not 0 <= place < size:
            raise Refused(f"{name} must lie in 0 … {size - 1}; got {place}")
        return place

    @traitlets.validate("pinned")
    def _check_pinned(self, proposal) -> list:
        return list(*self._pairs("pinned", [proposal["value"]])) if proposal["value"] else []

    def _pairs(self, name: str, heads) -> list[tuple[int, int]]:
        pairs = [tuple(head) if isinstance(head, Sequence) else (head,) for head in heads]
        for pair in pairs:
            exists = len(pair) == 2 and all(isinstance(number, int) for number in pair)
            if not (exists and 0 <= pair[0] < len(self.heads) and 0 <= pair[1] < self.heads[pair[0]]):
                raise Refused(f"{name}: (layer, head) must exist, heads a layer {self.heads}; got {pair}")
        return sorted(set(pairs))

    @traitlets.validate("text", "ablated", "causal", "temperature", "checkpoint")
    def _check_changeable(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        if self._runner is None and value != self.trait_defaults(name):
            raise Refused(f"{name} needs a model that runs: make the explorer with AttentionExplorer.from_model")
        if name == "ablated":
            return self._pairs(name, value)
        if name == "temperature" and not 0.05 <= value <= 20:
            raise Refused(f"temperature must lie in 0.05 … 20; got {value}")
        if name == "checkpoint" and value not in (self.checkpoints or [""]):
            raise Refused(f"checkpoint must be one of {', '.join(self.checkpoints)}; got {value!r}")
        return value

    # ---------------------------------------------------------------- what the module gets

    def _sides(self) -> dict:
        return {
            kind: {
                "queries": shown.query_tokens,
                "keys": shown.key_tokens,
                "heads": shown.heads,
            }
            for kind, shown in self._shown.items()
        }

    def _show_kind(self) -> None:
        with self.hold_sync():
            self._keep_inside()
            self._send_patterns()

    def _keep_inside(self, query: int | None = None) -> None:
        """After the tokens or the heads have become others: what is selected exists."""
        shown = self._shown[self.kind]
        self.layer = min(self.layer, len(self.heads) - 1)
        self.head = min(self.head, self.heads[self.layer] - 1)
        self.query = min(self.query if query is None else query, len(shown.query_tokens) - 1)
        self.key = min(self.key, len(shown.key_tokens) - 1)
        if self.pinned and self.pinned[1] >= dict(enumerate(self.heads)).get(self.pinned[0], 0):
            self.pinned = []

    def _send_patterns(self) -> None:
        """All patterns once, where they are few; else the layer on show, and small pictures of the others."""
        self.head = min(self.head, self.heads[self.layer] - 1)
        size = sum(layer.numel() for shown in self._shown.values() for layers in shown.models for layer in layers)
        whole = size * (0.5 if all(shown.is_causal for shown in self._shown.values()) else 1) <= WHOLE
        on_show = {self.layer, *self.pinned[:1]}
        wanted = (self.version, None if whole else (self.kind, on_show))
        with self.hold_sync():
            if wanted != self._sent:
                sections = [
                    {"kind": kind, "model": model, "layer": number, "causal": shown.is_causal}
                    for kind, shown in self._shown.items()
                    for model, layers in enumerate(shown.models)
                    for number in range(len(layers))
                    if whole or (kind == self.kind and number in on_show)
                ]
                if whole:
                    self.thumbnails = b""  # of a longer text, before
                elif not self.thumbnails or wanted[0] != self._sent[0]:
                    self.thumbnails = zlib.compress(b"".join(map(_thumbnails, self._shown.values())), 1)
                self._sent, self.sections = wanted, sections
                self.weights = zlib.compress(b"".join(map(self._section, sections)), 1)
            self._send_details()

    def _send_details(self) -> None:
        """The exact numbers of every head where they are few, so that a page without a kernel has them; or of one."""
        details, numbers = self._details([(self.layer, self.head)])
        heads = [(layer, head) for layer, n_heads in enumerate(self.heads) for head in range(n_heads)]
        if len(numbers) * len(heads) <= DETAILS:
            sent = [(entry["kind"], entry["version"]) for entry in self.details]
            if sent == [(self.kind, self.version)] * len(heads):
                return
            details, numbers = self._details(heads)
        self.details, self.detail = details, numbers

    def _section(self, section: dict) -> bytes:
        """One layer in steps, row by row; of a causal one the half that is not empty."""
        layer = self._shown[section["kind"]].models[section["model"]][section["layer"]]
        steps = _steps(layer)
        if section["causal"]:
            steps = steps[:, torch.ones(layer.shape[-2:], dtype=torch.bool).tril()]
        return steps.numpy().tobytes()

    def _details(self, heads: list[tuple[int, int]]) -> tuple[list[dict], bytes]:
        """Of each of these heads the numbers themselves, as float32: patterns, queries and keys, bias."""
        shown = self._shown[self.kind]
        entries, numbers = [], []
        for layer, head in heads:
            parts = [layers[layer][head] for layers in shown.models]
            entry = {"kind": self.kind, "version": self.version, "layer": layer, "head": head}
            if shown.vectors:
                parts += [vectors[layer][head] for vectors in shown.vectors]
                bias = shown.biases[layer]
                entry |= {"width": parts[-1].shape[-1], "scale": shown.scales[layer], "bias": bias is not None}
                parts += [] if bias is None else [bias[head]]
            entries.append(entry | {"start": sum(map(len, numbers))})
            numbers += [part.contiguous().numpy().tobytes() for part in parts]
        return entries, b"".join(numbers)

    # ---------------------------------------------------------------- live

    def _changeable(self) -> dict:
        return {name: getattr(self, name) for name in ("text", "ablated", "causal", "temperature", "checkpoint")}

    def _run(self) -> None:
        """The model again, with what is set now. What it cannot do is taken back, and nothing is lost."""
        wanted = self._changeable()
        if wanted == self._settings:
            return
        self.error = ""
        try:
            run = self._runner(**wanted | {"checkpoint": self.checkpoint or None})
            same_text = [wanted[name] == self._settings[name] for name in ("text", "checkpoint")] == [True, True]
            if not same_text:
                first = self._runner(self.text, checkpoint=self.checkpoint or None)
        except Exception as error:
            self.error = str(error)
            with self.hold_trait_notifications():  # all at once, or each would make the model run
                for name, value in self._settings.items():
                    setattr(self, name, value)
            raise
        at_the_end = self.query == len(self._shown["attention"].query_tokens) - 1
        self._settings, self._shown = wanted, {"attention": _of_run(run)}
        with self.hold_sync():
            self.version += 1
            self.sides = self._sides()
            self._keep_inside(len(run.tokens) - 1 if at_the_end else None)
            self.next_tokens, self.loss = run.next_tokens, run.loss
            if not same_text:
                self.unchanged = {"next_tokens": first.next_tokens, "loss": first.loss}
            self._send_patterns()


# ---------------------------------------------------------------- what was given


def _shown(tokens, attention) -> dict[str, Shown]:
    """Whatever a caller has → kind → its patterns, checked."""
    if not isinstance(attention, Mapping):
        by_kind = {"attention": attention}
    elif set(attention) <= {"attention", "encoder", "decoder", "cross"}:
        by_kind = attention
    else:  # what a transformers model returned
        by_kind = patterns_of(attention)
    is_pair = isinstance(tokens, tuple) and len(tokens) == 2 and not any(isinstance(side, str) for side in tokens)
    sources, targets = tokens if is_pair else (tokens, tokens)
    shown = {}
    for kind, layers in by_kind.items():
        if isinstance(layers, Tensor) and layers.ndim != 4:
            raise ValueError(f"attention must be (layers, heads, queries, keys); got shape {tuple(layers.shape)}")
        if kind == "attention":
            sides = (sources, targets) if is_pair else (tokens, tokens)
        else:
            sides = {"encoder": (sources, sources), "decoder": (targets, targets), "cross": (targets, sources)}[kind]
        layers = [_checked(layer, number, sides) for number, layer in enumerate(layers)]
        if not layers:
            raise ValueError("attention must hold at least one layer; got none")
        shown[kind] = Shown(*map(list, sides), [layers])
    return shown


def _checked(layer: Tensor, number: int, sides: tuple[Sequence[str], Sequence[str]]) -> Tensor:
    """(heads, queries, keys) as float32 on the CPU, if it is attention and the tokens are its own."""
    layer = torch.as_tensor(layer).detach().float().cpu()
    if layer.ndim == 4 and len(layer) == 1:
        layer = layer[0]
    if layer.ndim != 3:
        raise ValueError(f"attention, layer {number}, must be (heads, queries, keys); got shape {tuple(layer.shape)}")
    for side, names, size in zip(("queries", "keys"), sides, layer.shape[1:]):
        if len(names) != size:
            raise ValueError(
                f"tokens must be as many as attention has {side}, {size} in layer {number}; got {len(names)}"
            )
    if layer.isnan().any():
        raise ValueError(f"attention, layer {number}, holds NaN")
    sums = layer.sum(-1)
    empty = (layer == 0).all(-1)  # a query that may attend to nothing
    if layer.min() < 0 or not ((sums - 1).abs() < 0.01)[~empty].all():
        worst = sums[~empty][(sums[~empty] - 1).abs().argmax()].item()
        raise ValueError(
            f"attention, layer {number}: each row must be weights from 0 that sum to 1; got a row that sums to "
            f"{worst:.3f}, and a least weight of {layer.min():.3f}. Are these scores, before the softmax?"
        )
    return layer


def _add_vectors(shown: dict[str, Shown], queries, keys) -> None:
    """The vectors that the scores were made of, divided by √d_head, to the one kind of attention that there is."""
    if list(shown) != ["attention"]:
        raise ValueError(f"queries and keys can be shown for one kind of attention; got {', '.join(shown)}")
    one = shown["attention"]
    for name, vectors, side in (("queries", queries, 1), ("keys", keys, 2)):
        got = [tuple(layer.shape[:2]) for layer in vectors]
        wanted = [(layer.shape[0], layer.shape[side]) for layer in one.models[0]]
        if got != wanted:
            raise ValueError(f"{name} must be (heads, tokens, d_head), {wanted} in the layers; got {got}")
    one.vectors = tuple([layer.detach().float().cpu() for layer in vectors] for vectors in (queries, keys))
    one.scales = [layer.shape[-1] ** -0.5 for layer in queries]
    one.biases = [None] * len(one.scales)


def _label(token: str) -> str:
    return shortened(visible(token))


def _heads(shown: dict[str, Shown]) -> dict[str, list[int]]:
    return {kind: one.heads for kind, one in shown.items()}


def _of_run(run) -> Shown:
    return Shown(run.tokens, run.tokens, [run.patterns], (run.queries, run.keys), run.biases, run.scale)


def _pooled(layer: Tensor, size: int) -> Tensor:
    """(heads, queries, keys) made smaller; of each patch the greatest weight stays, or long texts would go dark."""
    return F.adaptive_max_pool2d(layer, [min(size, side) for side in layer.shape[-2:]])


def _thumbnails(shown: Shown) -> bytes:
    small = [_pooled(layer, THUMBNAIL) for layers in shown.models for layer in layers]
    return b"".join(_steps(layer).numpy().tobytes() for layer in small)


def _steps(weights: Tensor) -> Tensor:
    """Roots of weights in 255 steps, which keeps small ones apart."""
    return (weights.clamp(0, 1).sqrt() * 255).round().to(torch.uint8)


def _tile(layers: Layers) -> int:
    return min(16, *layers[0].shape[-2:])


def _tiled(layers: Layers) -> Tensor:
    """All heads as one picture: a row a layer, a column a head, a line of nothing between them."""
    size = _tile(layers)
    rows = [F.pad(_pooled(layer, size), (0, 1, 0, 1), value=math.nan) for layer in layers]
    most = max(len(layer) for layer in layers)
    rows = [F.pad(row, (0, 0, 0, 0, 0, most - len(row)), value=math.nan) for row in rows]
    return torch.cat([torch.cat(list(row), dim=1) for row in rows])

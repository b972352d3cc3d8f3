"""Running a model for a widget: text in; tokens, attention and the likeliest next tokens out.

Ours and those of the transformers library, which is imported only where the model comes from it.
"""

import copy
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transformer_lab.attention import attention_pattern
from transformer_lab.files import load_weights, read_safetensors
from transformer_lab.generation import evaluating
from transformer_lab.gpt import GPT, next_token_loss
from transformer_lab.probe import Trace, check_changes, watch

PASS_TENSORS = "pass its tokens and its attention, as tensors, instead"


@dataclass(frozen=True)
class Run:
    """What a model did with a text. Tensors are float32 on the CPU, lists hold one item a layer unless told otherwise.

    In each layer and head, pattern = softmax(query · keyᵀ · scale + bias), over the keys that the mask leaves.
    """

    tokens: list[str]  # one a position, as they read
    patterns: list[Tensor]  # (heads, queries, keys); rows sum to one
    queries: list[Tensor]  # (heads, tokens, d_head), after rotation
    keys: list[Tensor]  # the same; where heads share keys, repeated for each of them
    scale: list[float]  # 1 / (√d_head · temperature), unless the model has a scale of its own
    biases: list[Tensor | None]  # (heads, queries, keys), divided by the temperature; None: nothing is added
    masks: list[Tensor]  # (queries, keys), True: may attend
    next_tokens: list[tuple[str, float]]  # the ten likeliest after the text, and their probabilities
    loss: float | None  # nats a token of this text, from its second token on; None if it has one token


class Runner:
    """A model and its tokenizer, ready to run on any text. `GPTRunner` and `HuggingFaceRunner` fill in the rest.

    n_heads: the number of heads of each layer. context_length: the most tokens that fit.
    checkpoints: the names that a run may give as its `checkpoint`.
    """

    n_heads: list[int]
    context_length: int
    predicts = True  # the logits at a position score the token after it

    def __init__(self, model: nn.Module, tokenizer, checkpoints: Mapping | None = None):
        self.model, self.tokenizer, self._checkpoints = model, tokenizer, dict(checkpoints or {})

    @property
    def checkpoints(self) -> list[str]:
        return [*self._checkpoints]

    def __call__(
        self,
        text: str,
        ablated: Iterable[Sequence[int]] = (),
        causal: bool = True,
        temperature: float = 1.0,
        checkpoint: str | None = None,
    ) -> Run:
        """Run on the text, without dropout. Weights, mode, device and hooks of the model are left as they are.

        ablated: (layer, head) pairs whose output is set to zero.
        causal: False shows every position its future, and so the token that it should predict.
        temperature: what the attention scores are divided by before the softmax; above 0.
        checkpoint: the name of other weights to run with.
        ValueError: no text, more tokens than fit, a head, temperature or checkpoint that cannot be.
        """
        ids = self._encode(text) if text else []
        if not len(ids):
            raise ValueError(f"text must hold at least one token; got {text!r}")
        if len(ids) > self.context_length:
            raise ValueError(f"text may hold at most {self.context_length} tokens, the context; got {len(ids)}")
        ablated = [(layer, head) for layer, head in ablated]
        check_changes(self.n_heads, ablated, temperature)
        if checkpoint is not None and checkpoint not in self._checkpoints:
            raise ValueError(f"checkpoint must be one of {self.checkpoints} or None; got {checkpoint!r}")

        model = self.model if checkpoint is None else self._load(checkpoint)
        batch = torch.tensor([ids], device=next(model.parameters()).device)
        with torch.no_grad(), evaluating(model):
            trace, scales, logits = self._run(model, batch, ablated, causal, temperature)
        next_tokens, loss = self._predictions(logits, batch) if self.predicts else ([], None)
        everywhere = torch.ones(len(ids), len(ids), dtype=torch.bool)
        return Run(
            tokens=[self._token(i) for i in ids],
            patterns=[_first(pattern) for pattern in trace.patterns],
            queries=[_first(query) for query in trace.queries],
            keys=[_first(key) for key in trace.keys],
            scale=[scale / temperature for scale in scales],
            biases=[None if bias is None else _plain(bias) / temperature for bias in trace.biases],
            masks=[everywhere if mask is None else mask.cpu() for mask in trace.masks],
            next_tokens=next_tokens,
            loss=loss,
        )

    def _predictions(self, logits: Tensor, batch: Tensor) -> tuple[list[tuple[str, float]], float | None]:
        logits = logits.float()  # (1, seq, vocab)
        probabilities, likeliest = logits[0, -1].softmax(-1).topk(min(10, logits.shape[-1]))
        names = [self._token(i) for i in likeliest.tolist()]
        # A piece of a character reads like any other piece, so its id tells it apart.
        names = [f"{name} ({i})" if "\ufffd" in name else name for name, i in zip(names, likeliest.tolist())]
        next_tokens = list(zip(names, probabilities.tolist()))
        loss = next_token_loss(logits[:, :-1], batch[:, 1:]).item() if batch.shape[1] > 1 else None
        return next_tokens, loss

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text)

    def _token(self, token_id: int) -> str:
        return self.tokenizer.decode([token_id])

    def _load(self, checkpoint: str) -> nn.Module:
        """A second model with those weights: the first one is never touched."""
        raise NotImplementedError

    def _run(self, model, batch, ablated, causal, temperature) -> tuple[Trace, list[float], Tensor | None]:
        """One forward pass: what the layers did, the scale of each, and the logits."""
        raise NotImplementedError


def _plain(t: Tensor) -> Tensor:
    return t.detach().float().cpu()


def _first(batch: Tensor) -> Tensor:
    return _plain(batch[0])


class GPTRunner(Runner):
    """Runs a GPT of this package with one of its tokenizers.

    checkpoints: name → a file that GPT.save or training wrote, or a state dict.
    """

    def __init__(self, model: GPT, tokenizer, checkpoints: Mapping | None = None):
        super().__init__(model, tokenizer, checkpoints)
        self.n_heads = [model.config.n_heads] * model.config.n_layers
        self.context_length = model.config.context_length

    def _load(self, checkpoint):
        weights, other = self._checkpoints[checkpoint], copy.deepcopy(self.model)
        is_file = isinstance(weights, str | os.PathLike)
        load_weights(other, read_safetensors(weights)[0] if is_file else weights, weights if is_file else checkpoint)
        return other

    def _run(self, model, batch, ablated, causal, temperature):
        with watch(model, zero=ablated, causal=causal, temperature=temperature) as trace:
            logits = model(batch)
        return trace, [query.shape[-1] ** -0.5 for query in trace.queries], logits


class HuggingFaceRunner(Runner):
    """Runs a decoder (GPT-2, Llama …) or an encoder (BERT …) of the transformers library.

    `context_length` is the lesser of what model and tokenizer say, sys.maxsize where neither does.
    The model's layers call an attention function by name; for the time of a run that name is ours.
    tokenizer: called, or its `encode`, it gives ids; `decode` reads them.
    checkpoints: name → a folder that save_pretrained wrote, or a state dict.
    Next tokens and loss come from a causal model with a language-model head. An encoder's head predicts tokens that
    are masked out, not the next: there `next_tokens` is empty and `loss` None, as for a model without a head.
    """

    def __init__(self, model: nn.Module, tokenizer, checkpoints: Mapping | None = None):
        super().__init__(model, tokenizer, checkpoints)
        name = type(model).__name__
        if model.config.is_encoder_decoder:
            raise ValueError(f"{name} has an encoder and a decoder, which one text cannot run: {PASS_TENSORS}")
        limits = (getattr(model.config, "max_position_embeddings", None), getattr(tokenizer, "model_max_length", None))
        self.context_length = min(limit for limit in (*limits, sys.maxsize) if limit is not None)
        # Two tokens tell how many heads there are, and whether the first token sees the second.
        batch = torch.zeros(1, 2, dtype=torch.long, device=next(model.parameters()).device)
        with torch.no_grad(), evaluating(model):
            trace, _, logits = self._run(model, batch, [], True, 1.0)
        if not trace.patterns:
            raise ValueError(
                f"{name} does not call its attention through transformers' AttentionInterface, so it cannot be "
                f"watched: {PASS_TENSORS}"
            )
        self.n_heads = [pattern.shape[1] for pattern in trace.patterns]
        is_causal = not any(mask is None or mask[0, 1] for mask in trace.masks)
        self.predicts = logits is not None and is_causal and model.can_generate()

    def _encode(self, text):
        if not callable(self.tokenizer):
            encoded = self.tokenizer.encode(text)
            return getattr(encoded, "ids", encoded)  # the tokenizers library puts them into an object
        return self.tokenizer(text)["input_ids"]

    def _token(self, token_id):
        pieces = getattr(self.tokenizer, "convert_ids_to_tokens", lambda ids: [None])([token_id])
        piece = pieces[0] or f"[{token_id}]"  # some models have more ids than their tokenizer knows
        if "▁" in piece:  # a space, as SentencePiece writes it; decode takes it away at a text's beginning
            return piece.replace("▁", " ")
        return self.tokenizer.decode([token_id]) or piece

    def _load(self, checkpoint):
        weights = self._checkpoints[checkpoint]
        if isinstance(weights, str | os.PathLike):
            if not os.path.isdir(weights):  # from_pretrained would take it for a name on the hub
                raise FileNotFoundError(f"no folder at {weights}, the checkpoint {checkpoint!r}")
            first = next(self.model.parameters())
            return type(self.model).from_pretrained(weights, dtype=first.dtype).to(first.device)
        other = copy.deepcopy(self.model)
        try:
            other.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"{checkpoint} holds weights of another model: {error}") from error
        return other

    def _run(self, model, batch, ablated, causal, temperature):
        trace, scales = Trace(), []

        def attend(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **options):
            """What transformers' eager attention computes, of the same arguments: (batch, heads, seq, d_head)."""
            for option in ("softcap", "s_aux", "sinks"):  # these change the softmax itself
                if options.get(option) is not None:
                    raise ValueError(f"{type(model).__name__}'s attention has {option}, unknown here: {PASS_TENSORS}")
            layer, n_heads = len(trace.patterns), query.shape[1]
            key, value = (t.repeat_interleave(n_heads // t.shape[1], dim=1) for t in (key, value))
            mask, bias = _split_mask(attention_mask, options.get("position_bias"))
            if mask is not None and not causal:
                mask = mask | mask.T  # a window stays one, to both sides
            scale = query.shape[-1] ** -0.5 if scaling is None else scaling
            trace.queries.append(query)
            trace.keys.append(key)
            trace.masks.append(mask)
            trace.biases.append(bias)
            scales.append(float(scale))
            scaled = query.float() * (
                scale / temperature * math.sqrt(query.shape[-1])
            )  # attention_pattern divides by √
            pattern = attention_pattern(scaled, key.float(), mask, None if bias is None else bias / temperature)
            trace.patterns.append(pattern)
            heads = pattern.to(value.dtype) @ value
            heads[:, [head for chosen, head in ablated if chosen == layer]] = 0
            return heads.transpose(1, 2).contiguous(), pattern

        with _attending(model, attend):
            outputs = model(input_ids=batch, attention_mask=torch.ones_like(batch))
        return trace, scales, getattr(outputs, "logits", None)


def _split_mask(additive: Tensor | None, position_bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """What transformers adds to one sentence's scores, as a mask (queries, keys), True: may attend, and a bias."""
    if additive is not None and additive.dtype == torch.bool:
        additive = torch.zeros_like(additive, dtype=torch.float32).masked_fill(~additive, -math.inf)
    terms = [t[0].float() for t in (additive, position_bias) if t is not None]  # (heads or 1, queries, keys)
    if not terms:
        return None, None
    total = sum(terms)
    mask = total > torch.finfo(torch.float16).min / 2  # hidden keys have the least number of a dtype, or −∞
    bias = total.masked_fill(~mask, 0.0)
    return mask.all(0), bias if bias.any() else None


@contextmanager
def _attending(model: nn.Module, attend):
    """The layers of a transformers model call `attend` inside the block, and afterwards what they called before."""
    from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
    from transformers.masking_utils import eager_mask

    name = "transformer_lab"
    configs = {id(m.config): m.config for m in model.modules() if isinstance(m, PreTrainedModel)}.values()
    before = [(config, config._attn_implementation) for config in configs]
    AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(name, eager_mask)  # a mask in full, whatever the model's own attention needs
    try:
        model.set_attn_implementation(name)
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation = implementation
        AttentionInterface.register(name, None)  # there is no way to take a name back; let go of the tensors at least


def make_runner(model: nn.Module, tokenizer, checkpoints: Mapping | None = None) -> Runner:
    """What runs the model: a GPT of this package, or a decoder or encoder of the transformers library.

    checkpoints: name → other weights for the same model; see `GPTRunner` and `HuggingFaceRunner`.
    """
    if isinstance(model, GPT):
        return GPTRunner(model, tokenizer, checkpoints)
    if any(base.__module__.startswith("transformers.") for base in type(model).__mro__):
        return HuggingFaceRunner(model, tokenizer, checkpoints)
    raise ValueError(
        f"model must be a GPT of this package or a model of the transformers library; for a {type(model).__name__}, "
        + PASS_TENSORS
    )


# ---------------------------------------------------------------- what transformers returns

KINDS = {
    "attentions": "attention",
    "encoder_attentions": "encoder",
    "decoder_attentions": "decoder",
    "cross_attentions": "cross",
}


def patterns_of(outputs, row: int | None = None) -> dict[str, list[Tensor]]:
    """The patterns in what a transformers model returned for output_attentions=True, or in its tuple of attentions.

    Kind → one (heads, queries, keys) a layer, in float32 on the CPU. Kinds: "attention"; of a sequence-to-sequence
    model "encoder", "decoder" and "cross" (queries from the decoder, keys from the encoder).
    row: which text of the batch; may be left out where there is only one.
    """
    if isinstance(outputs, tuple | list):
        found = {"attention": outputs}
    else:
        found = {kind: getattr(outputs, name, None) for name, kind in KINDS.items()}
    found = {kind: layers for kind, layers in found.items() if layers}
    if not found:
        raise ValueError("outputs hold no attention: call the model with output_attentions=True")
    return {kind: [_pattern_of(layer, kind, row) for layer in layers] for kind, layers in found.items()}


def _pattern_of(layer: Tensor | None, kind: str, row: int | None) -> Tensor:
    name = kind if kind == "attention" else f"{kind} attention"
    if layer is None:
        raise ValueError(
            f"a layer's {name} is None: this model's fast attention keeps no pattern. Load it with "
            'attn_implementation="eager", or call model.set_attn_implementation("eager")'
        )
    if not (isinstance(layer, Tensor) and layer.ndim == 4):
        got = tuple(layer.shape) if isinstance(layer, Tensor) else f"a {type(layer).__name__}"
        raise ValueError(f"{name} must be one tensor (batch, heads, queries, keys) a layer; got {got}")
    if row is None and len(layer) != 1:
        raise ValueError(f"outputs are of a batch of {len(layer)} texts: say which by row = 0 … {len(layer) - 1}")
    if row is not None and not 0 <= row < len(layer):
        raise ValueError(f"row must lie in 0 … {len(layer) - 1}, the texts of the batch; got {row}")
    return _plain(layer[row or 0])

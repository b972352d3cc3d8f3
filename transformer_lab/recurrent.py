"""Sequence to sequence as it was before the Transformer: two LSTMs, without attention and with it.

The batches and the two halves, `encode` and `decode`, are those of transformer.py.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from transformer_lab.blocks import check_ids
from transformer_lab.transformer import PADDING


def lstm_cell(
    x: Float[Tensor, "batch d_in"],
    hidden: Float[Tensor, "batch d_hidden"],
    cell: Float[Tensor, "batch d_hidden"],
    input_weight: Float[Tensor, "4*d_hidden d_in"],
    hidden_weight: Float[Tensor, "4*d_hidden d_hidden"],
    bias: Float[Tensor, "4*d_hidden"],
) -> tuple[Float[Tensor, "batch d_hidden"], Float[Tensor, "batch d_hidden"]]:
    """One step of an LSTM: read x, return the new hidden state and the new cell.

    The cell is kept, times a gate, and added to, times another; a third gate decides what of it shows.
    The rows of the weights are those of the input gate, the forget gate, the candidate and the output
    gate, in torch.nn.LSTMCell's order; that has two biases, of which only the sum counts.
    Hochreiter and Schmidhuber 1997; the forget gate: Gers, Schmidhuber and Cummins 2000.
    """
    parts = x @ input_weight.T + hidden @ hidden_weight.T + bias  # (batch, 4 · d_hidden)
    input_gate, forget_gate, candidate, output_gate = parts.chunk(4, dim=-1)
    cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * candidate.tanh()
    return output_gate.sigmoid() * cell.tanh(), cell


# ---------------------------------------------------------------- scores


class AdditiveScore(nn.Module):
    """vᵀ tanh(W query + U key), for every query with every key. Bahdanau et al. 2015, appendix A.1.2."""

    def __init__(self, d_model: int):
        super().__init__()
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.out = nn.Linear(d_model, 1, bias=False)

    def forward(
        self, query: Float[Tensor, "batch target d_model"], key: Float[Tensor, "batch source d_model"]
    ) -> Float[Tensor, "batch target source"]:
        sums = self.query(query)[:, :, None] + self.key(key)[:, None]  # (batch, target, source, d_model)
        return self.out(sums.tanh()).squeeze(-1)


class MultiplicativeScore(nn.Module):
    """queryᵀ W key, for every query with every key. Luong et al. 2015, section 3.1, "general"."""

    def __init__(self, d_model: int):
        super().__init__()
        self.key = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self, query: Float[Tensor, "batch target d_model"], key: Float[Tensor, "batch source d_model"]
    ) -> Float[Tensor, "batch target source"]:
        return query @ self.key(key).transpose(1, 2)


SCORES = {"additive": AdditiveScore, "multiplicative": MultiplicativeScore}


# ---------------------------------------------------------------- the model


@dataclass(frozen=True)
class LSTMConfig:
    """The shape of an LSTM sequence-to-sequence model."""

    vocab_size: int  # PADDING, BEGIN and END included
    d_model: int = 64  # width of the embeddings and of both LSTMs' states
    n_layers: int = 1  # of the encoder, and as many of the decoder
    attention: str | None = None  # or one of SCORES
    bidirectional: bool = False  # the encoder reads both ways, each with half of d_model

    def __post_init__(self):
        for name in ("vocab_size", "d_model", "n_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        if self.attention is not None and self.attention not in SCORES:
            raise ValueError(f"attention must be None or one of {', '.join(SCORES)}; got {self.attention!r}")
        if self.bidirectional and self.d_model % 2:
            raise ValueError(f"d_model must be even for a bidirectional encoder; got {self.d_model}")


class LSTMSeq2Seq(nn.Module):
    """Source and target ids in; logits out, at each position of the target for the token that follows it.

    Without attention the decoder gets the encoder's last state and nothing else, as many numbers for a long
    sentence as for a short one (Sutskever et al. 2014, section 2; Cho et al. 2014, section 2.2). With it the
    decoder also looks at the encoder's states of all source tokens, anew at each step.

    Both attentions stand where Luong et al. 2015 (section 3, equation 5) have theirs: the state after the step
    asks, and the answer goes to the output. In Bahdanau et al. 2015 (section 3.1) the state before the step asks,
    and the answer goes into the step, so that training, too, must go one step at a time.
    """

    def __init__(self, config: LSTMConfig):
        super().__init__()
        self.config = c = config
        self.token_embedding = nn.Embedding(c.vocab_size, c.d_model)
        d_encoder = c.d_model // 2 if c.bidirectional else c.d_model
        self.encoder = nn.LSTM(c.d_model, d_encoder, c.n_layers, batch_first=True, bidirectional=c.bidirectional)
        self.decoder = nn.LSTM(c.d_model, c.d_model, c.n_layers, batch_first=True)
        if c.attention is not None:
            self.score = SCORES[c.attention](c.d_model)
            self.combine = nn.Linear(2 * c.d_model, c.d_model, bias=False)
        self.head = nn.Linear(c.d_model, c.vocab_size)
        # Forget gates start rather open, at sigmoid(1): a cell that loses half at each step learns late what to keep
        # (Jozefowicz et al. 2015, abstract).
        for lstm in (self.encoder, self.decoder):
            for name, parameter in lstm.named_parameters():
                if name.startswith("bias_ih"):
                    nn.init.ones_(parameter.data.chunk(4)[1])

    def embed(self, name: str, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq d_model"]:
        """A vector for each token of the source or the target, whichever `name` says."""
        check_ids(name, ids, self.config.vocab_size)
        return self.token_embedding(ids)

    def encode(self, source: Int[Tensor, "batch source"]) -> tuple[Tensor, ...]:
        """The memory: the last hidden state and cell of each layer, (batch, layers, d_model) both; with attention
        also each token's hidden state, (batch, source, d_model), and where the source is not PADDING."""
        mask = source != PADDING
        if (mask[:, 1:] & ~mask[:, :-1]).any():
            raise ValueError("source must have its PADDING after its tokens; got a token after PADDING")
        # Packed, an LSTM stops at each sentence's end. It must not stop before the first token, though.
        lengths = mask.sum(1).clamp(min=1).cpu()
        x = pack_padded_sequence(self.embed("source", source), lengths, batch_first=True, enforce_sorted=False)
        states, last = self.encoder(x)
        # Of torch's (layers · directions, batch, width), both directions of a layer side by side.
        memory = tuple(part.transpose(0, 1).reshape(len(source), -1, self.config.d_model) for part in last)
        if self.config.attention is None:
            return memory
        states, _ = pad_packed_sequence(states, batch_first=True, total_length=source.shape[1])
        return *memory, states, mask

    def decode(
        self, memory: tuple[Tensor, ...], target: Int[Tensor, "batch target"], return_pattern: bool = False
    ) -> Float[Tensor, "batch target vocab"] | tuple[Tensor, Tensor]:
        """Logits: row t scores every token as the one that follows target[:, :t+1], given the memory.

        return_pattern: also return how much each target position takes from each source token,
            (batch, target, source).
        """
        if return_pattern and self.config.attention is None:
            raise ValueError("return_pattern must be False for a model without attention; got True")
        hidden, cell, *looked_at = memory
        last = (hidden.transpose(0, 1).contiguous(), cell.transpose(0, 1).contiguous())
        states, _ = self.decoder(self.embed("target", target), last)  # (batch, target, d_model)
        if self.config.attention is None:
            return self.head(states)
        source_states, mask = looked_at
        pattern = self.attention_pattern(states, source_states, mask)
        context = pattern @ source_states  # (batch, target, d_model)
        logits = self.head(self.combine(torch.cat([context, states], dim=-1)).tanh())
        return (logits, pattern) if return_pattern else logits

    def attention_pattern(
        self,
        query: Float[Tensor, "batch target d_model"],
        key: Float[Tensor, "batch source d_model"],
        mask: Bool[Tensor, "batch source"],
    ) -> Float[Tensor, "batch target source"]:
        """softmax(scores) over the source tokens; all zeros for a source that has none.

        Bahdanau et al. 2015, equation 6; Luong et al. 2015, equation 7.
        """
        hidden = ~mask[:, None]
        return self.score(query, key).masked_fill(hidden, -math.inf).softmax(-1).masked_fill(hidden, 0.0)

    def forward(
        self, source: Int[Tensor, "batch source"], target: Int[Tensor, "batch target"]
    ) -> Float[Tensor, "batch target vocab"]:
        return self.decode(self.encode(source), target)

    def parameter_count(self) -> dict[str, int]:
        """Numbers to learn, by part, and their total."""
        groups = {
            "token embedding": [self.token_embedding],
            "encoder": [self.encoder],
            "decoder": [self.decoder],
            "attention": [] if self.config.attention is None else [self.score, self.combine],
            "head": [self.head],
        }
        counts = {part: sum(p.numel() for m in modules for p in m.parameters()) for part, modules in groups.items()}
        return counts | {"total": sum(counts.values())}

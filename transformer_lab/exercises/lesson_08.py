"""Exercises of lesson 08, assembling a GPT."""

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_lab.exercises.catalogue import Exercise, Mistake
from transformer_lab.exercises.lesson_02 import exactly, gaussian
from transformer_lab.gpt import next_token_loss


def embed(
    ids: Int[Tensor, "batch seq"],
    token_table: Float[Tensor, "vocab d_model"],
    position_table: Float[Tensor, "context d_model"],
) -> Float[Tensor, "batch seq d_model"]:
    """Each token's row of the token table plus its position's row of the position table."""
    return token_table[ids] + position_table[: ids.shape[1]]


def gpt_logits(
    x: Float[Tensor, "batch seq d_model"],
    blocks: Sequence[Callable],
    final_norm: Callable,
    token_table: Float[Tensor, "vocab d_model"],
) -> Float[Tensor, "batch seq vocab"]:
    """The blocks one after another, the final norm, then one score for each token of the table."""
    for block in blocks:
        x = block(x)
    return final_norm(x) @ token_table.T


def shift_targets(ids: Int[Tensor, "batch seq"]) -> tuple[Int[Tensor, "batch shorter"], Int[Tensor, "batch shorter"]]:
    """All tokens but the last, and all but the first: what is read, and what follows it."""
    return ids[:, :-1], ids[:, 1:]


def generate_greedy(
    model: nn.Module, ids: Int[Tensor, "batch seq"], n_tokens: int, context_length: int
) -> Int[Tensor, "batch longer"]:
    """Append the likeliest next token n_tokens times. The model sees the last context_length tokens, without dropout."""
    was_training = model.training
    model.eval()
    for _ in range(n_tokens):
        logits = model(ids[:, -context_length:])[:, -1]  # (batch, vocab)
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    model.train(was_training)
    return ids


def gpt_parameters(vocab_size: int, context_length: int, d_model: int, n_layers: int) -> int:
    """Numbers to learn in a GPT-2: learned positions, biases, d_ff = 4 · d_model, tied weights."""
    tables = vocab_size * d_model + context_length * d_model
    attention = 4 * d_model**2 + 4 * d_model  # query, key, value, output: a matrix and a bias each
    feed_forward = 8 * d_model**2 + 5 * d_model  # up to 4 · d_model and down again, each with its bias
    norm = 2 * d_model  # scale and shift
    return tables + n_layers * (attention + feed_forward + 2 * norm) + norm


# ---------------------------------------------------------------- probes


def tokens(vocab_size: int, *shape: int, seed: int = 0) -> Int[Tensor, "..."]:
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def embed_probes() -> dict[str, tuple]:
    def probe(vocab_size, context_length, d_model, batch, seq):
        tables = gaussian(vocab_size, d_model, seed=1), gaussian(context_length, d_model, seed=2)
        return tokens(vocab_size, batch, seq), *tables

    token_table, position_table = exactly([[1, 2], [3, 4]]), exactly([[10, 0], [20, 0], [30, 0]])
    return {
        "the same token twice": (torch.tensor([[1, 1]]), token_table, position_table),
        "one token, a context of one": (torch.tensor([[1]]), token_table, position_table[:1]),
        "as many tokens as the context holds": probe(7, 4, 2, batch=2, seq=4),
        "as many sentences as tokens in each": probe(5, 9, 4, batch=3, seq=3),
        "three sentences of five tokens": probe(11, 9, 6, batch=3, seq=5),
    }


def scaled_norm(d_model: int) -> nn.LayerNorm:
    """With a scale that is not 1, as after training: a second norm on top of it shows."""
    norm = nn.LayerNorm(d_model, bias=False, dtype=torch.float64).requires_grad_(False)
    norm.weight.copy_(torch.linspace(0.5, 2, d_model))
    return norm


def logits_probes() -> dict[str, tuple]:
    def probe(blocks, batch, seq, d_model, vocab_size):
        return gaussian(batch, seq, d_model), blocks, scaled_norm(d_model), gaussian(vocab_size, d_model, seed=1)

    table = exactly([[1, 0], [0, 1], [1, 1]])
    bent = [nn.Threshold(0, 2), nn.Tanh(), nn.Threshold(0.5, -1)]  # not monotone: the likeliest token changes too
    return {
        "one block, no norm": (exactly([[[1, -2]]]), [nn.ReLU()], nn.Identity(), table),
        "no block, no norm": (exactly([[[1, 2]]]), [], nn.Identity(), table),
        "no block": probe([], batch=1, seq=3, d_model=4, vocab_size=5),
        "vocab_size = d_model": probe([nn.Tanh(), nn.Softplus()], batch=3, seq=2, d_model=5, vocab_size=5),
        "three blocks": probe(bent, batch=4, seq=6, d_model=4, vocab_size=20),
    }


def shift_probes() -> dict[str, tuple]:
    return {
        "one sentence of four tokens": (torch.tensor([[5, 6, 7, 9]]),),
        "two tokens": (torch.tensor([[1, 2]]),),
        "seven sentences": (tokens(30, 7, 9),),
    }


def loss_probes() -> dict[str, tuple]:
    return {
        "two positions": (exactly([[[0, 0], [0, math.log(3)]]]), torch.tensor([[0, 1]])),
        "two equal logits": (exactly([[[0, 0]]]), torch.tensor([[1]])),
        "logits 0 and ln 3": (exactly([[[0, math.log(3)]]]), torch.tensor([[0]])),
        "as many positions as tokens in the vocabulary": (gaussian(2, 5, 5), tokens(5, 2, 5)),
        # The losses are 1000, ln 3 and 1000, so that even the exponential of their mean is finite.
        "logits of 1,000": (exactly([[[1000, 0, 0], [0, 0, 0], [1000, 0, 0]]]), torch.tensor([[1, 1, 1]])),
        "three sentences": (gaussian(3, 4, 6), tokens(6, 3, 4)),
    }


class Dropout(nn.Module):
    """A stand-in for dropout that rolls no dice: in training mode it moves all numbers two places on."""

    def forward(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        return x.roll(2, dims=-1) if self.training else x


class Adder(nn.Module):
    """A model whose likeliest next token is the sum of the tokens it is given, so that 1, 1 goes on as 2, 3, 5, 8."""

    def __init__(self, vocab_size: int, context_length: int):
        super().__init__()
        self.vocab_size = vocab_size
        self.config = SimpleNamespace(context_length=context_length)
        self.dropout = Dropout()

    def forward(self, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
        """The sum's logit is 0, and each token after it, round the vocabulary, has one less."""
        after = torch.arange(self.vocab_size) - ids.cumsum(1)[..., None]  # (batch, seq, vocab)
        return self.dropout(-(after % self.vocab_size).double())

    def __repr__(self) -> str:
        mode = "training" if self.training else "eval"
        return (
            f"a model in {mode} mode; it predicts the sum of the tokens it is given, modulo {self.vocab_size}, "
            "and 2 more while dropout is on"
        )


def greedy_probes() -> dict[str, tuple]:
    def probe(model, ids, n_tokens):
        return model, ids, n_tokens, model.config.context_length

    return {
        "one token after 1, 1": probe(Adder(10, 2).eval(), torch.tensor([[1, 1]]), 1),
        "five tokens after 1, 1": probe(Adder(10, 2).eval(), torch.tensor([[1, 1]]), 5),
        "five tokens, the model in training mode": probe(Adder(10, 2), torch.tensor([[1, 1]]), 5),
        "a prompt shorter than the context": probe(Adder(100, 5).eval(), torch.tensor([[3, 1]]), 6),
        "a prompt longer than the context": probe(Adder(100, 3).eval(), torch.tensor([[1, 2, 4, 8, 16]]), 3),
        "five prompts, the model in training mode": probe(Adder(23, 4), tokens(23, 5, 2, seed=0), 7),
        "two prompts, three tokens each": probe(Adder(19, 3).eval(), torch.tensor([[2, 7], [11, 5]]), 3),
    }


def parameter_probes() -> dict[str, tuple]:
    return {
        "every size 1": (1, 1, 1, 1),
        "two blocks": (1, 1, 1, 2),
        "the GPT of this lesson": (13, 40, 32, 2),
        "another small one": (1000, 256, 48, 5),
        "GPT-2 small": (50257, 1024, 768, 12),
    }


# ---------------------------------------------------------------- exercises

EXERCISES = [
    Exercise(
        embed,
        embed_probes,
        difficulty="easy",
        minutes=5,
        part="embed",
        mistakes=(
            Mistake(
                "ids-through-linear",
                "A token's vector is its id times one fixed row, as a linear layer would have it: token 4 is twice "
                "token 2. An id is a name. Take the row of the token table that bears it: `token_table[ids]`.",
                {"token_table[ids]": "ids[..., None] * token_table[0]"},
            ),
            Mistake(
                "pe-overwrites-input",
                "Only the positions are left: the result does not depend on the tokens. The two look-ups are added.",
                {
                    "token_table[ids] + position_table[: ids.shape[1]]": "torch.zeros_like(token_table[ids]) + position_table[: ids.shape[1]]"
                },
            ),
            Mistake(
                "positions-alone",
                "The positions' rows come back, without tokens and without a batch axis. Add them to the tokens' rows.",
                {"token_table[ids] + ": ""},
            ),
            Mistake(
                "positions-missing",
                "The positions are missing: a token has the same vector wherever it stands.",
                {" + position_table[: ids.shape[1]]": ""},
            ),
            Mistake(
                "pe-off-by-one",
                "Positions count from 1: the first token gets row 1. It should get row 0; otherwise, when the context is "
                "full, the last token has no row.",
                {"position_table[: ids.shape[1]]": "position_table[1 : ids.shape[1] + 1]"},
            ),
            Mistake(
                "pe-concatenated-input",
                "The positions are put after the tokens, and the sequence gets longer. They are added, number to "
                "number: no size changes.",
                {
                    "token_table[ids] + position_table[: ids.shape[1]]": "torch.cat([token_table[ids], position_table[: ids.shape[1]].expand(len(ids), -1, -1)], dim=1)"
                },
            ),
            Mistake(
                "positions-beside-tokens",
                "The positions' numbers are put beside the tokens', and each vector is twice as long. GPT adds the two.",
                {
                    "token_table[ids] + position_table[: ids.shape[1]]": "torch.cat([token_table[ids], position_table[: ids.shape[1]].expand(len(ids), -1, -1)], dim=-1)"
                },
            ),
            Mistake(
                "multiplied-not-added",
                "The two look-ups are multiplied. They are added.",
                {"] + position": "] * position"},
            ),
            Mistake(
                "positions-by-id",
                "A token's id chooses its row of the position table too. That row belongs to the place, 0, 1, 2 …, "
                "whatever token stands there.",
                {"position_table[: ids.shape[1]]": "position_table[ids]"},
            ),
            Mistake(
                "positions-by-sentence",
                "There are as many position rows as sentences: the first axis of ids is the batch. The tokens are "
                "counted by `ids.shape[1]`.",
                {"ids.shape[1]": "ids.shape[0]"},
            ),
            Mistake(
                "whole-context-added",
                "The whole position table is used, also the rows that no token stands at. Take the first "
                "`ids.shape[1]` rows.",
                {"position_table[: ids.shape[1]]": "position_table"},
            ),
            Mistake(
                "positions-from-the-end",
                "The last rows of the position table are used. The first token of a sentence stands at position 0, and "
                "gets row 0.",
                {"[: ids.shape[1]]": "[-ids.shape[1] :]"},
            ),
            Mistake(
                "first-position-for-all",
                "Every token gets the position row 0. Token t gets row t.",
                {"[: ids.shape[1]]": "[0]"},
            ),
            Mistake(
                "last-position-for-all",
                "Every token gets the position row of the last one. Token t gets row t: take a slice, not one row.",
                {"[: ids.shape[1]]": "[ids.shape[1] - 1]"},
            ),
            Mistake(
                "colon-forgotten",
                "Every token gets the same position row, number `ids.shape[1]`. Token t gets row t: with a colon, "
                "`[: ids.shape[1]]`, these are the rows from 0 on.",
                {"[: ids.shape[1]]": "[ids.shape[1]]"},
            ),
            Mistake(
                "tables-swapped",
                "The two tables have changed places: the ids look up positions, and the places look up tokens.",
                {
                    "token_table[ids] + position_table[: ids.shape[1]]": "position_table[ids] + token_table[: ids.shape[1]]"
                },
            ),
            Mistake(
                "embedding-scaled",
                "The tokens' vectors are multiplied by √d_model. The Transformer of 2017 does that (Vaswani et al., "
                "section 3.4); GPT adds them as they are.",
                {"token_table[ids]": "math.sqrt(token_table.shape[1]) * token_table[ids]"},
            ),
        ),
        # Positions by their numbers: past the end of the table they raise, where a slice comes out shorter.
        styles=(
            {
                "position_table[: ids.shape[1]]": "position_table[torch.arange(ids.shape[1])]",
                "position_table[1 : ids.shape[1] + 1]": "position_table[torch.arange(1, ids.shape[1] + 1)]",
                "position_table[: ids.shape[0]]": "position_table[torch.arange(ids.shape[0])]",
            },
        ),
        hints=(
            "Indexing a table with a tensor of integers looks up a row for each of them. What is the shape of "
            "`token_table[ids]`?",
            "(batch, seq, d_model). The positions are 0 … seq − 1 in every sentence, and seq is `ids.shape[1]`: that is "
            "a slice of the position table.",
            "`position_table[: ids.shape[1]]` is (seq, d_model). Added to (batch, seq, d_model) it is repeated for every "
            "sentence by itself.",
        ),
        remark="`token_table[ids]` is all that nn.Embedding does. It equals a matrix product with one-hot rows, without "
        "the multiplications by 0.",
    ),
    Exercise(
        gpt_logits,
        logits_probes,
        difficulty="medium",
        minutes=8,
        mistakes=(
            Mistake(
                "gpt-without-head",
                "The hidden states come back: their last axis is d_model. A prediction needs one score for each token "
                "of the vocabulary; the head, `@ token_table.T`, makes them.",
                {" @ token_table.T": ""},
            ),
            Mistake(
                "softmax-before-cross-entropy",
                "These are probabilities already. The loss takes the softmax itself, and a softmax of a softmax hardly "
                "learns. Return the logits.",
                {"return final_norm(x) @ token_table.T": "return (final_norm(x) @ token_table.T).softmax(-1)"},
            ),
            Mistake(
                "log-softmax-too-soon",
                "These are the logarithms of the probabilities. Return the scores as they are; the softmax comes later.",
                {"return final_norm(x) @ token_table.T": "return (final_norm(x) @ token_table.T).log_softmax(-1)"},
            ),
            Mistake(
                "final-norm-missing",
                "The final norm is missing. Pre-norm blocks add to the stream and never norm it.",
                {"final_norm(x)": "x"},
            ),
            Mistake(
                "final-norm-first",
                "The norm comes before the blocks, and after the last one there is none. It belongs between blocks and head.",
                {"    for block": "    x = final_norm(x)\n    for block", "final_norm(x) @": "x @"},
            ),
            Mistake(
                "norm-after-every-block",
                "The final norm is taken after each block, and not at all where there is no block. It comes once, after "
                "the last.",
                {"x = block(x)": "x = final_norm(block(x))", "final_norm(x) @": "x @"},
            ),
            Mistake(
                "norm-before-every-block",
                "The final norm is taken before each block. A block norms by itself; this norm comes once, after the "
                "last.",
                {"x = block(x)": "x = block(final_norm(x))"},
            ),
            Mistake(
                "norm-after-head",
                "The logits are normed. First the norm over d_model numbers, then the head.",
                {"final_norm(x) @ token_table.T": "final_norm(x @ token_table.T)"},
            ),
            Mistake(
                "table-not-transposed",
                "The vectors are multiplied by the table as it is. That runs only where vocab_size is d_model, and mixes "
                "the wrong numbers. A token's logit is the product with its own row: transpose the table.",
                {"token_table.T": "token_table"},
            ),
            Mistake(
                "blocks-reversed",
                "The last block comes first. Go through the blocks in their order.",
                {"in blocks": "in blocks[::-1]"},
            ),
            Mistake(
                "blocks-unchained",
                "Each block gets the x from before the first, and only the last one counts. Give each block what the "
                "one before it made.",
                {
                    "    for block": "    y = x\n    for block",
                    "x = block(x)": "y = block(x)",
                    "final_norm(x)": "final_norm(y)",
                },
            ),
            Mistake(
                "blocks-skipped",
                "No block has any effect: x goes through unchanged. `x = block(x)` keeps what a block returns.",
                {"        x = block(x)": "        block(x)"},
            ),
            Mistake(
                "first-block-only",
                "Only the first block is used.",
                {"in blocks": "in blocks[:1]"},
            ),
            Mistake(
                "returned-inside-the-loop",
                "The function returns after the first block, and returns nothing where there is no block. Norm and head "
                "come after the loop: mind the indentation.",
                {"    return": "        return"},
            ),
            Mistake(
                "residual-twice",
                "Each block's input is added to its output. A block holds its own residual connections and returns the "
                "whole stream: `x = block(x)`.",
                {"x = block(x)": "x = x + block(x)"},
            ),
            Mistake(
                "last-position-only",
                "Only the last position comes back. Every position predicts, and the loss uses them all.",
                {"final_norm(x) @": "final_norm(x)[:, -1:] @"},
            ),
            Mistake(
                "last-position-without-its-axis",
                "Only the last position comes back, without the axis of positions. Every position predicts.",
                {"final_norm(x) @": "final_norm(x)[:, -1] @"},
            ),
            Mistake(
                "tokens-for-logits",
                "The likeliest token's id comes back. Return the scores of all tokens: the loss needs them.",
                {"return final_norm(x) @ token_table.T": "return (final_norm(x) @ token_table.T).argmax(-1)"},
            ),
            Mistake(
                "logits-scaled",
                "The logits are divided by √d_model. That division belongs to attention scores; the head has none.",
                {
                    "return final_norm(x) @ token_table.T": "return final_norm(x) @ token_table.T / math.sqrt(x.shape[-1])"
                },
            ),
            Mistake(
                "vocabulary-not-last",
                "The two last axes are swapped. The shape is (batch, seq, vocab).",
                {"return final_norm(x) @ token_table.T": "return (final_norm(x) @ token_table.T).mT"},
            ),
        ),
        hints=(
            "Follow the drawing at the top of the lesson from x down: blocks, final norm, head.",
            "A loop over the blocks, each given what the one before it returned: `x = block(x)`.",
            "After the loop, `final_norm(x)` once. The tied head is a product with the token table, (batch, seq, d_model) "
            "by (vocab, d_model): which of the two has to be transposed?",
            "`final_norm(x) @ token_table.T`, with no softmax after it.",
        ),
        remark="Using the embedding once more as the head is weight tying (Press and Wolf 2017).",
    ),
    Exercise(
        shift_targets,
        shift_probes,
        difficulty="easy",
        minutes=4,
        part="shift_targets",
        mistakes=(
            Mistake(
                "targets-not-shifted",
                "Inputs and targets are the same tokens: the model would learn to repeat what it reads. The target is "
                "the token *after* it.",
                {"ids[:, :-1], ids[:, 1:]": "ids, ids"},
            ),
            Mistake(
                "targets-not-shifted-but-cut",
                "Both lose their last token, so the target is still the token that was read. The targets lose the "
                "*first* one.",
                {"ids[:, 1:]": "ids[:, :-1]"},
            ),
            Mistake(
                "targets-not-shifted-cut-in-front",
                "Both lose their first token, so the target is still the token that was read. The inputs lose the "
                "*last* one.",
                {"ids[:, :-1]": "ids[:, 1:]"},
            ),
            Mistake(
                "targets-shifted-twice",
                "The target is two tokens ahead. One step is enough: the next token.",
                {"ids[:, :-1], ids[:, 1:]": "ids[:, :-2], ids[:, 2:]"},
            ),
            Mistake(
                "targets-shifted-twice-and-uneven",
                "The target is two tokens ahead, and there are fewer targets than inputs. Shift by one.",
                {"ids[:, 1:]": "ids[:, 2:]"},
            ),
            Mistake(
                "shifted-backwards",
                "Inputs and targets are swapped: the target is the token *before*. The model shall predict what comes next.",
                {"ids[:, :-1], ids[:, 1:]": "ids[:, 1:], ids[:, :-1]"},
            ),
            Mistake(
                "input-not-cut",
                "The last token is among the inputs, and nothing follows it to be judged by. Leave it out.",
                {"ids[:, :-1]": "ids"},
            ),
            Mistake(
                "target-not-cut",
                "The first token is among the targets, and nobody predicts it. Leave it out.",
                {"ids[:, 1:]": "ids"},
            ),
            Mistake(
                "last-target-wraps-around",
                "The last position's target is the sentence's first token: the end does not lead back to the start. "
                "Leave the last token out of the inputs.",
                {"ids[:, :-1], ids[:, 1:]": "ids, ids.roll(-1, 1)"},
            ),
            Mistake(
                "last-target-made-up",
                "The last position's target is a 0 that stands nowhere in the text, and 0 is a token like any other. "
                "Leave the last token out of the inputs.",
                {"ids[:, :-1], ids[:, 1:]": "ids, nn.functional.pad(ids[:, 1:], (0, 1))"},
            ),
            Mistake(
                "last-target-ignored",
                "The last position's target is −100, which `F.cross_entropy` leaves out. Here inputs and targets have "
                "one token fewer: leave the last token out of the inputs.",
                {"ids[:, :-1], ids[:, 1:]": "ids, nn.functional.pad(ids[:, 1:], (0, 1), value=-100)"},
            ),
            Mistake(
                "shifted-along-the-batch",
                "Sentences are dropped, not tokens: the target is the next sentence. The tokens are the second axis.",
                {"ids[:, :-1], ids[:, 1:]": "ids[:-1], ids[1:]"},
            ),
            Mistake(
                "next-id-for-next-token",
                "The target is the id plus 1. The next token is the one that stands next in the text.",
                {"ids[:, 1:]": "(ids[:, :-1] + 1)"},
            ),
            Mistake(
                "last-token-only",
                "The only target is the last token. Every position has one: the token after it.",
                {"ids[:, 1:]": "ids[:, -1:]"},
            ),
            Mistake(
                "last-token-without-its-axis",
                "The only target is the last token, and its axis is gone. Every position has a target: the token after it.",
                {"ids[:, 1:]": "ids[:, -1]"},
            ),
            Mistake(
                "second-token-only",
                "The only target is the second token. With a colon, `ids[:, 1:]`, it is all from the second on.",
                {"ids[:, 1:]": "ids[:, 1]"},
            ),
            Mistake(
                "targets-flattened",
                "The targets come in one long row. Keep the shape (batch, seq − 1).",
                {"ids[:, 1:]": "ids[:, 1:].flatten()"},
            ),
            Mistake(
                "inputs-missing",
                "Only the targets come back. Return the inputs, then the targets.",
                {"return ids[:, :-1], ids[:, 1:]": "return ids[:, 1:]"},
            ),
        ),
        hints=(
            "Write a sentence of four tokens down, and under each the one that follows it. Which token has none under it, "
            "and which stands under nobody?",
            "The inputs are all tokens but the last, the targets all but the first.",
            "Both are slices of the second axis: `ids[:, :-1]` leaves out the last. The other one starts at 1.",
        ),
        remark="The shift is done once, here or in the loss. The `transformers` library does it inside the model: there, "
        "labels are the ids as they are.",
    ),
    Exercise(
        next_token_loss,
        loss_probes,
        difficulty="medium",
        minutes=10,
        part="next_token_loss",
        mistakes=(
            Mistake(
                "softmax-before-cross-entropy",
                "The softmax is taken twice: probabilities are treated as logits. The loss can then never come near 0. "
                "Take the logits as they are.",
                {"F.cross_entropy(logits": "F.cross_entropy(logits.softmax(-1)"},
            ),
            Mistake(
                "targets-shifted-twice",
                "The targets are shifted once more. targets[b, t] already is what follows position t.",
                {"_entropy(logits": "_entropy(logits[:, :-1]", "targets.flatten": "targets[:, 1:].flatten"},
            ),
            Mistake(
                "targets-shifted-back",
                "Each position is judged by the target of the one before. targets[b, t] is for the logits at [b, t].",
                {"_entropy(logits": "_entropy(logits[:, 1:]", "targets.flatten": "targets[:, :-1].flatten"},
            ),
            Mistake(
                "loss-overflows",
                "With large logits it is not finite: a probability becomes 0, whose logarithm is −∞, or exp becomes ∞. "
                "`log_softmax` takes both steps at once and stays finite.",
                {"F.cross_entropy(logits": "F.nll_loss(logits.softmax(-1).log()"},
            ),
            Mistake(
                "sign-flipped",
                "The sign is wrong: a loss is at least 0. Logarithms of probabilities are at most 0, so a minus "
                "stands before their mean.",
                {"return F.cross_entropy": "return -F.cross_entropy"},
            ),
            Mistake(
                "sum-not-mean",
                "The losses are added up. Divide by the number of targets, or a longer text looks worse.",
                {".flatten())": '.flatten(), reduction="sum")'},
            ),
            Mistake(
                "sum-over-positions",
                "The losses of a sentence are added up, and the sentences averaged. Average over all targets.",
                {".flatten())": ".flatten()) * targets.shape[1]"},
            ),
            Mistake(
                "sum-over-sentences",
                "The losses of the sentences are added up, and the positions averaged. Average over all targets.",
                {".flatten())": ".flatten()) * len(targets)"},
            ),
            Mistake(
                "divided-by-the-vocabulary",
                "The loss is divided by vocab_size, as by a mean that also counts the tokens that were not the "
                "target, as zeros. Divide by the number of targets.",
                {".flatten())": ".flatten()) / logits.shape[-1]"},
            ),
            Mistake(
                "mean-missing",
                "There is still one loss for each position, with the axis that `gather` leaves. Take the mean of them all.",
                {".flatten())": '.flatten(), reduction="none").view(len(targets), -1, 1)'},
            ),
            Mistake(
                "one-loss-a-position",
                "There is still one loss for each position. Take the mean of them all: one number.",
                {".flatten())": '.flatten(), reduction="none").view(len(targets), -1)'},
            ),
            Mistake(
                "one-loss-a-sentence",
                "There is still one loss for each sentence. Take the mean over all positions of all sentences: one number.",
                {".flatten())": '.flatten(), reduction="none").view(len(targets), -1).mean(1)'},
            ),
            Mistake(
                "log-missing",
                "The logarithm is missing: the targets' probabilities are used as they are.",
                {"F.cross_entropy(logits": "F.nll_loss(logits.softmax(-1)"},
            ),
            Mistake(
                "one-minus-probability",
                "1 minus the probability is used. Cross-entropy takes the logarithm, so that being sure and wrong "
                "costs without bound.",
                {"return F.cross_entropy(logits": "return 1 + F.nll_loss(logits.softmax(-1)"},
            ),
            Mistake(
                "log-of-the-mean",
                "The probabilities are averaged, and the logarithm taken of the mean. First the logarithm of each, then "
                "the mean.",
                {
                    "F.cross_entropy(logits.flatten(0, 1), targets.flatten())": "-logits.softmax(-1).gather(-1, targets[..., None]).mean().log()"
                },
            ),
            Mistake(
                "log-softmax-missing",
                "The targets' logits are used as they are. A logit alone says nothing: take `log_softmax` first, "
                "which compares it with the others.",
                {"F.cross_entropy(logits": "F.nll_loss(logits"},
            ),
            Mistake(
                "softmax-over-positions",
                "The softmax runs over the positions. At each position the tokens of the vocabulary share the "
                "probability: it runs along the last axis.",
                {"F.cross_entropy(logits": "F.nll_loss(logits.log_softmax(1)"},
            ),
            Mistake(
                "softmax-over-sentences",
                "The softmax runs over the sentences of the batch. It runs over the vocabulary, the last axis.",
                {"F.cross_entropy(logits": "F.nll_loss(logits.log_softmax(0)"},
            ),
            Mistake(
                "vocabulary-not-second",
                "The positions are taken for the vocabulary: `F.cross_entropy` expects the classes in axis 1. Flatten "
                "batch and positions into one axis first.",
                {"logits.flatten(0, 1), targets.flatten()": "logits, targets"},
            ),
            Mistake(
                "bits-not-nats",
                "The logarithm has base 2, so the unit is the bit. Here nats are asked for: the natural logarithm.",
                {".flatten())": ".flatten()) / math.log(2)"},
            ),
            Mistake(
                "perplexity",
                "This is the exponential of the loss, called perplexity. Return the loss itself.",
                {".flatten())": ".flatten()).exp()"},
            ),
            Mistake(
                "error-rate",
                "It is the share of positions where the likeliest token is not the target. The loss looks at the "
                "probability of the target, and has a gradient.",
                {
                    "F.cross_entropy(logits.flatten(0, 1), targets.flatten())": "(logits.argmax(-1) != targets).double().mean()"
                },
            ),
            Mistake(
                "targets-ignored",
                "This is the entropy of the prediction: no target comes in. Take the logarithm of the target's probability.",
                {
                    "F.cross_entropy(logits.flatten(0, 1), targets.flatten())": "torch.special.entr(logits.softmax(-1)).sum(-1).mean()"
                },
            ),
            Mistake(
                "last-position-only",
                "Only the last position is judged. Every position predicts, and all of them count.",
                {"logits.flatten(0, 1)": "logits[:, -1]", "targets.flatten()": "targets[:, -1]"},
            ),
        ),
        hints=(
            "For one position: the softmax of its logits, of that the target's entry, of that minus the logarithm.",
            "`logits.log_softmax(-1)` has the logarithms of all probabilities, (batch, seq, vocab).",
            "`gather` picks along an axis by numbers: `.gather(-1, targets[..., None])` leaves the target's entry of each "
            "row, (batch, seq, 1). A mean and a minus are left.",
        ),
        remark="`F.cross_entropy(logits.flatten(0, 1), targets.flatten())` is the package's way. It is the negative "
        "log-likelihood of the text for each token; its exponential is called perplexity.",
    ),
    Exercise(
        generate_greedy,
        greedy_probes,
        difficulty="medium",
        minutes=12,
        mistakes=(
            Mistake(
                "train-mode-sampling",
                "Dropout is on while the model writes, if it came in training mode: the numbers it works with are not "
                "the ones it learned. Call `model.eval()` before the first token.",
                {"    model.eval()\n    for": "    for"},
            ),
            Mistake(
                "mode-not-restored",
                "The model came in training mode, and it, or a part of it, is left in eval mode: whoever goes on training "
                "does so without dropout. Remember `model.training` at the start, and give it to `model.train(…)` at the end.",
                {"model.train(was_training)": "model.eval()"},
            ),
            Mistake(
                "mode-always-training",
                "Afterwards the model is in training mode, also when it was not before. Remember `model.training` at the "
                "start, and give it to `model.train(…)` at the end.",
                {"model.train(was_training)": "model.train()"},
            ),
            Mistake(
                "mode-restored-too-soon",
                "Dropout is off for the first token only: the mode is restored before the others are written. Restore it "
                "after the loop.",
                {"dim=1)\n    model.train": "dim=1)\n        model.train"},
            ),
            Mistake(
                "only-last-token-fed",
                "The model is given the last token alone, so it cannot know what came before. Give it the last "
                "context_length tokens.",
                {"-context_length:": "-1:"},
            ),
            Mistake(
                "never-cropped",
                "The model is given all tokens, also when they are more than context_length. It has no positions for so "
                "many: give it the last context_length only.",
                {"[:, -context_length:]": ""},
            ),
            Mistake(
                "cropped-at-the-wrong-end",
                "The model is given the *first* context_length tokens, and soon no longer sees what it wrote. The last "
                "ones count: `ids[:, -context_length:]`.",
                {"-context_length:": ":context_length"},
            ),
            Mistake(
                "sentences-cropped",
                "The crop drops sentences, not tokens: the first axis of ids is the batch. `ids[:, -context_length:]` has "
                "a colon for it.",
                {"[:, -context_length:]": "[-context_length:]"},
            ),
            Mistake(
                "window-one-short",
                "The model is given one token fewer than it could read: context_length − 1.",
                {"-context_length:": "1 - context_length :"},
            ),
            Mistake(
                "window-one-long",
                "The model is given one token more than it can read: context_length + 1.",
                {"-context_length:": "-context_length - 1 :"},
            ),
            Mistake(
                "never-reads-what-it-wrote",
                "The model is asked about the prompt each time, so it gives the same token again and again. Give it the "
                "tokens written so far as well.",
                {"    for _ in": "    prompt = ids\n    for _ in", "model(ids[": "model(prompt["},
            ),
            Mistake(
                "first-position-used",
                "The logits of the first position are used: they predict the second token. The next one is predicted at "
                "the last position, `[:, -1]`.",
                {")[:, -1]": ")[:, 0]"},
            ),
            Mistake(
                "every-position-appended",
                "The predictions of all positions are appended each time. Only the last one is about a token that is not "
                "there yet: `[:, -1]`.",
                {")[:, -1]": ")", "logits.argmax(-1, keepdim=True)": "logits.argmax(-1)"},
            ),
            Mistake(
                "argmax-over-sentences",
                "The argmax runs over the sentences of the batch. It must run over the vocabulary, the last axis.",
                {"argmax(-1": "argmax(0"},
            ),
            Mistake(
                "one-sentence-only",
                "It can serve a single sentence only. With several, the argmax must be taken in each by itself: along "
                "the last axis.",
                {"logits.argmax(-1, keepdim=True)": "logits.argmax().view(1, 1)"},
            ),
            Mistake(
                "first-sentence-for-all",
                "Every sentence gets the token that was chosen for the first one. Choose for each by itself.",
                {"logits.argmax(-1, keepdim=True)": "logits[:1].argmax(-1, keepdim=True).expand(len(ids), 1)"},
            ),
            Mistake(
                "unlikeliest-token",
                "The token with the smallest logit is chosen. Greedy takes the largest.",
                {"argmax": "argmin"},
            ),
            Mistake(
                "prompt-not-returned",
                "Only the new tokens come back. Return the prompt with them, as one row of ids.",
                {"    for _ in": "    seq = ids.shape[1]\n    for _ in", "return ids": "return ids[:, seq:]"},
            ),
            Mistake(
                "window-returned",
                "What the model no longer sees is lost from the result too. Crop what is given to the model, and keep "
                "all ids.",
                {"model(ids[": "model(ids := ids["},
            ),
            Mistake(
                "prompt-cropped",
                "A prompt longer than the context loses its start for good. Crop what is given to the model, and keep all "
                "ids.",
                {"    for _ in": "    ids = ids[:, -context_length:]\n    for _ in"},
            ),
            Mistake(
                "one-token-too-many",
                "One token more than n_tokens is written.",
                {"range(n_tokens)": "range(n_tokens + 1)"},
            ),
            Mistake(
                "one-token-too-few",
                "One token fewer than n_tokens is written.",
                {"range(n_tokens)": "range(n_tokens - 1)"},
            ),
            Mistake(
                "one-token-only",
                "Only one token is written, whatever n_tokens is. Append it and ask again, n_tokens times.",
                {"range(n_tokens)": "range(1)"},
            ),
            Mistake(
                "returned-inside-the-loop",
                "It returns after the first token, and the mode is not restored. Both belong after the loop: mind the "
                "indentation.",
                {"dim=1)\n    model.train(was_training)\n    return": "dim=1)\n        return"},
            ),
            Mistake(
                "n-tokens-with-the-prompt",
                "The prompt is counted among the n_tokens. They come on top of it.",
                {"range(n_tokens)": "range(n_tokens - ids.shape[1])"},
            ),
            Mistake(
                "stops-at-the-context",
                "It stops when the context is full. It can go on for ever: the model is given the last context_length "
                "tokens only.",
                {"range(n_tokens)": "range(min(n_tokens, context_length - ids.shape[1]))"},
            ),
        ),
        hints=(
            "One step first. `model(ids)` has a row of logits for each position. Which of them speaks of the token that "
            "is not there yet?",
            "The last: `model(window)[:, -1]`, (batch, vocab), where the window is `ids[:, -context_length:]`. The "
            "likeliest token of each row is `argmax(-1)`.",
            "`logits.argmax(-1, keepdim=True)` is (batch, 1), so that `torch.cat([ids, …], dim=1)` appends it. Do this "
            "n_tokens times.",
            "Around the loop: before it `was_training = model.training` and `model.eval()`, after it "
            "`model.train(was_training)`.",
        ),
        remark="generation.generate(temperature=0) does this too, keeps no gradients, and restores the mode even after an "
        "exception.",
    ),
    Exercise(
        gpt_parameters,
        parameter_probes,
        difficulty="medium",
        minutes=12,
        mistakes=(
            Mistake(
                "head-not-tied",
                "The head is counted as a matrix of its own. It is tied: it *is* the token embedding, and counts once.",
                {"vocab_size * d_model": "2 * vocab_size * d_model"},
            ),
            Mistake(
                "head-bias-counted",
                "The head has a bias here, one number for each token. It has none.",
                {"tables = vocab_size": "tables = vocab_size + vocab_size"},
            ),
            Mistake(
                "positions-missing",
                "The position table is missing: one row of d_model numbers for each of context_length positions.",
                {" + context_length * d_model": ""},
            ),
            Mistake(
                "embedding-missing",
                "The token table is missing: one row of d_model numbers for each of vocab_size tokens. The tied head "
                "brings none of its own, but the table itself counts once.",
                {"vocab_size * d_model + ": ""},
            ),
            Mistake(
                "output-projection-missing",
                "Attention has four matrices, each with a bias: query, key, value and *output*. One of the four is missing.",
                {"attention = 4 * d_model**2 + 4 * d_model": "attention = 3 * d_model**2 + 3 * d_model"},
            ),
            Mistake(
                "one-matrix-for-query-key-value",
                "Query, key and value are counted as one matrix of d × d. They are three, each with a bias; with the "
                "output, attention has four.",
                {"attention = 4 * d_model**2 + 4 * d_model": "attention = 2 * d_model**2 + 2 * d_model"},
            ),
            Mistake(
                "one-feed-forward-matrix",
                "The feed-forward network has two matrices, up to 4 d and down again to d. One, with its bias of d, is missing.",
                {"feed_forward = 8 * d_model**2 + 5 * d_model": "feed_forward = 4 * d_model**2 + 4 * d_model"},
            ),
            Mistake(
                "feed-forward-not-wider",
                "The feed-forward network is counted with d_ff = d. It widens to 4 d: two matrices of d × 4 d.",
                {"feed_forward = 8 * d_model**2 + 5 * d_model": "feed_forward = 2 * d_model**2 + 2 * d_model"},
            ),
            Mistake(
                "three-biases-missing",
                "Each block lacks 3 d numbers. That is what the biases of query, key and value hold; a first "
                "feed-forward bias of d numbers in place of 4 d lacks as many.",
                {"+ 5 * d_model": "+ 2 * d_model"},
            ),
            Mistake(
                "biases-missing",
                "The biases of the linear layers are missing, and the shifts of the norms.",
                {"**2 + 4 * d_model": "**2", "**2 + 5 * d_model": "**2", "norm = 2 * d_model": "norm = d_model"},
            ),
            Mistake(
                "linear-biases-missing",
                "The biases of the linear layers are missing: 4 d in attention, and 4 d + d in the feed-forward network.",
                {"**2 + 4 * d_model": "**2", "**2 + 5 * d_model": "**2"},
            ),
            Mistake(
                "attention-biases-missing",
                "Each block lacks 4 d numbers. That is what attention's four biases hold; the feed-forward network's "
                "first bias and the block's two norms hold as much.",
                {"**2 + 4 * d_model": "**2"},
            ),
            Mistake(
                "feed-forward-biases-missing",
                "Each block lacks 5 d numbers. That is what the two biases of the feed-forward network hold, 4 d and "
                "d.",
                {"**2 + 5 * d_model": "**2"},
            ),
            Mistake(
                "norms-missing",
                "The norms are missing: two in each block and one at the end, each with a scale and a shift of d numbers.",
                {"norm = 2 * d_model": "norm = 0"},
            ),
            Mistake(
                "norm-shifts-missing",
                "Each norm is counted with d numbers. It has 2 d: a scale and a shift.",
                {"norm = 2 * d_model": "norm = d_model"},
            ),
            Mistake(
                "one-norm-a-block",
                "Each block lacks 2 d numbers. That is what one of its two norms holds: a scale and a shift.",
                {"+ 2 * norm": "+ norm"},
            ),
            Mistake(
                "final-norm-missing",
                "The final norm is missing: 2 d after the last block.",
                {") + norm": ")"},
            ),
            Mistake(
                "only-the-leading-terms",
                "Only the two largest terms are counted, those of 12 n d² + V d. Positions, biases and norms are "
                "missing.",
                {
                    " + context_length * d_model": "",
                    "**2 + 4 * d_model": "**2",
                    "**2 + 5 * d_model": "**2",
                    "norm = 2 * d_model": "norm = 0",
                },
            ),
            Mistake(
                "one-block",
                "Only one block is counted, whatever n_layers is.",
                {"n_layers * (": "("},
            ),
            Mistake(
                "everything-in-every-block",
                "The tables and the final norm are counted once for each block. They are there once.",
                {
                    "return tables + n_layers * (attention + feed_forward + 2 * norm) + norm": "return n_layers * (tables + attention + feed_forward + 3 * norm)"
                },
            ),
            Mistake(
                "cross-attention-counted",
                "Each block is counted with a second attention and its norm. That is a decoder with cross-attention; GPT "
                "has none.",
                {"(attention +": "(2 * attention + norm +"},
            ),
        ),
        hints=(
            "List the parts first: two tables, n_layers blocks, the final norm. The head is the token table once more, and "
            "adds nothing.",
            "The tables have vocab_size · d_model and context_length · d_model numbers, a norm has 2 · d_model. A block was "
            "counted just above: 12 d² + 13 d.",
            "The sum is (vocab_size + context_length) · d_model, plus n_layers times a block, plus 2 · d_model.",
        ),
        remark="GPT-2 small has 124,439,808. Kaplan et al. 2020, section 2.1, leave the tables out and keep 12 n d².",
    ),
]

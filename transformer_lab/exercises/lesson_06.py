"""Exercises of lesson 06: teacher forcing, the encoder block of 2017, cross-attention, one step of beam search."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from transformer_lab.attention import attention_pattern, scaled_dot_product_attention
from transformer_lab.exercises.catalogue import Exercise, Mistake
from transformer_lab.exercises.lesson_02 import MORE_SCORE_MISTAKES, SCORE_MISTAKES, exactly, gaussian
from transformer_lab.exercises.lesson_03 import MASK_ADDED, SOFTMAX_MISTAKES
from transformer_lab.generation import beam_step
from transformer_lab.transformer import BEGIN, END, PADDING, teacher_forcing


def cross_attention(
    x: Float[Tensor, "batch target d_model"],
    memory: Float[Tensor, "batch source d_model"],
    w_q: Float[Tensor, "d_model d_head"],
    w_k: Float[Tensor, "d_model d_head"],
    w_v: Float[Tensor, "d_model d_head"],
    mask: Bool[Tensor, "batch 1 source"],
) -> tuple[Float[Tensor, "batch target d_head"], Float[Tensor, "batch target source"]]:
    """One head in which the decoder's states x look at the encoder's memory: the output, then the pattern."""
    query = x @ w_q  # (batch, target, d_head)
    key, value = memory @ w_k, memory @ w_v  # (batch, source, d_head)
    return scaled_dot_product_attention(query, key, value, mask)


def encoder_block(
    x: Float[Tensor, "batch seq d_model"],
    mask: Bool[Tensor, "batch 1 seq"],
    attention: Callable,
    feed_forward: Callable,
    norm1: Callable,
    norm2: Callable,
) -> Float[Tensor, "batch seq d_model"]:
    """Attention, then feed-forward, each as a post-norm step. Vaswani et al. 2017, section 3.1."""
    h = norm1(x + attention(x, mask))
    return norm2(h + feed_forward(h))


# ---------------------------------------------------------------- probes


def teacher_forcing_probes() -> dict[str, tuple]:
    def targets(*sentences: list[int]) -> tuple:
        width = max(map(len, sentences)) + 2
        rows = [[BEGIN, *tokens, END] for tokens in sentences]
        return (torch.tensor([row + [PADDING] * (width - len(row)) for row in rows]),)

    return {
        "BEGIN, 7, 5, END": targets([7, 5]),
        "BEGIN, END": targets([]),
        "two sentences of 2 tokens and 1": targets([7, 5], [9]),
        "three sentences of 1, 5 and 3 tokens": targets([4], [8, 3, 8, 6, 5], [6, 6, 7]),
        "as many sentences as columns": targets([5, 6], [7], [8, 3], []),
    }


def cross_attention_probes() -> dict[str, tuple]:
    def probe(d_model: int, d_head: int, target: int, *rows: list[int], seed: int = 0) -> tuple:
        mask = torch.tensor(rows).bool()  # (batch, source)
        x, memory = (
            gaussian(len(rows), target, d_model, seed=seed),
            gaussian(*mask.shape, d_model, seed=seed + 1),
        )
        return x, memory, *(gaussian(d_model, d_head, seed=seed + i) for i in (2, 3, 4)), mask[:, None]

    one, all_open = exactly([[1]]), torch.ones(1, 1, 3, dtype=torch.bool)
    x, memory = exactly([[[0]]]), exactly([[[2], [4], [9]]])
    return {
        "one target token, three source tokens": (x, memory, one, one, one, all_open),
        "one target token, the third source token is PADDING": (
            *(x, memory, one, one, one),
            torch.tensor([[[True, True, False]]]),
        ),
        "2 target tokens, 3 source tokens, all sizes 2": (
            exactly([[[1, 0], [0, 2]]]),
            exactly([[[1, 1], [0, 1], [2, 0]]]),
            *(exactly([[1, 2], [0, 1]]), exactly([[1, 0], [1, 1]]), exactly([[2, 1], [0, 1]])),
            all_open,
        ),
        "2 target tokens, 4 source tokens, one of them PADDING, d_model = 3, d_head = 2": probe(3, 2, 2, [1, 1, 1, 0]),
        "5 target tokens, 3 source tokens, d_model = 2, d_head = 5": probe(2, 5, 5, [1, 1, 1], seed=1),
        "4 target tokens, 4 source tokens, d_model = d_head = 4": probe(4, 4, 4, [1, 1, 1, 1], seed=2),
        "3 target tokens, 3 source tokens, one of them PADDING": probe(4, 5, 3, [1, 1, 0], seed=3),
        "2 sentences, 3 target tokens, 5 source tokens with PADDING": probe(
            6, 4, 3, [1, 1, 1, 1, 1], [1, 1, 0, 0, 0], seed=4
        ),
        "3 sentences of 4 tokens each, translated into 4": probe(
            3, 3, 4, [1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0], seed=5
        ),
    }


class Part:
    """A function and what to call it when it is shown."""

    def __init__(self, text: str, function: Callable):
        self.text, self.function = text, function

    def __call__(self, *arguments, **named):
        return self.function(*arguments, **named)

    def __repr__(self) -> str:
        return self.text


def encoder_block_probes() -> dict[str, tuple]:
    def mean_of_open(x: Tensor, mask: Tensor | None = None) -> Tensor:
        mask = torch.ones(len(x), 1, x.shape[1]) if mask is None else mask
        weights = mask.to(x.dtype) / mask.sum(-1, keepdim=True).clamp(min=1)
        return (weights @ x).expand_as(x)

    def norm(x: Tensor, seed: int | None = None) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        if seed is None:
            return centred
        weight, bias = gaussian(2, x.shape[-1], seed=seed)
        return centred / (centred.square().mean(-1, keepdim=True) + 0.5).sqrt() * weight + bias

    def learned(batch: int, seq: int, d_model: int, *lengths: int, seed: int) -> tuple:
        w_q, w_v, w = gaussian(3, d_model, d_model, seed=seed)
        mask = (torch.arange(seq) < torch.tensor(lengths)[:, None])[:, None]
        return (
            gaussian(batch, seq, d_model, seed=seed + 1),
            mask,
            Part(
                "attention with fixed weights",
                lambda x, mask=None: scaled_dot_product_attention(x @ w_q, x, x @ w_v, mask)[0],
            ),
            Part("a linear layer and tanh", lambda x: torch.tanh(x @ w)),
            Part("a LayerNorm", lambda x: norm(x, seed + 2)),
            Part("another LayerNorm", lambda x: norm(x, seed + 3)),
        )

    attention = Part("the mean of the tokens that mask leaves open", mean_of_open)
    relu, centre = Part("ReLU", torch.relu), Part("takes the mean of each vector away", norm)
    plus_one = Part("takes the mean of each vector away, then adds 1", lambda x: norm(x) + 1)
    alone = torch.tensor([[[True]]])
    return {
        "one token": (exactly([[[3, 1]]]), alone, attention, relu, centre, centre),
        "one token, and norm2 adds 1": (exactly([[[3, 1]]]), alone, attention, relu, centre, plus_one),
        "three tokens, the third is PADDING": (
            *(exactly([[[4, 1, 1], [0, 3, 0], [9, 3, 3]]]), torch.tensor([[[True, True, False]]])),
            *(attention, relu, centre, plus_one),
        ),
        "3 tokens, d_model = 4": learned(1, 3, 4, 3, seed=0),
        "2 sentences of 4 and 2 tokens, d_model = 5": learned(2, 4, 5, 4, 2, seed=10),
    }


def beam_probes() -> dict[str, tuple]:
    def probe(beams: list[list[int]], totals: list[float], rows: list[list[float]], n_beams: int) -> tuple:
        """One sentence; of the next tokens the probabilities of PADDING, BEGIN, END, 3, 4 are given."""
        return torch.tensor([beams]), exactly([totals]).log(), exactly([rows]).log(), n_beams

    def random(batch: int, beams: int, seq: int, vocab: int, n_beams: int, seed: int, gap: float = 0.0) -> tuple:
        """Each beam's total is about `gap` below the one before."""
        ids = torch.randint(END + 1, vocab, (batch, beams, seq), generator=torch.Generator().manual_seed(seed))
        ids[:, :, 0] = BEGIN
        totals = gaussian(batch, beams, seed=seed) - gap * torch.arange(beams)
        logits = gaussian(batch, beams, vocab, seed=seed + 1)
        logits[..., [PADDING, BEGIN]] = -math.inf
        return ids, totals.log_softmax(-1) - 1, logits.log_softmax(-1), n_beams

    padding = [1.0, 0, 0, 0, 0]  # what follows END
    return {
        "one beam, two may stay": probe([[BEGIN]], [1], [[0, 0, 0.2, 0.5, 0.3]], 2),
        "two beams, both places go to the first": probe(
            [[BEGIN, 3], [BEGIN, 4]], [0.6, 0.4], [[0, 0, 0.5, 0.4, 0.1], [0, 0, 0.4, 0.35, 0.25]], 2
        ),
        "two beams, the second overtakes": probe(
            [[BEGIN, 3], [BEGIN, 4]], [0.5, 0.4], [[0, 0, 0.2, 0.35, 0.45], [0, 0, 0.9, 0.06, 0.04]], 2
        ),
        "one of two beams has ended": probe(
            [[BEGIN, 4, END], [BEGIN, 3, 4]], [0.3, 0.5], [padding, [0, 0, 0.5, 0.4, 0.1]], 2
        ),
        "one of two beams has ended, far ahead": probe(
            [[BEGIN, 4, END], [BEGIN, 3, 4]], [0.6, 0.3], [padding, [0, 0, 0.5, 0.4, 0.1]], 2
        ),
        "3 beams become 6, and the first has ended": probe(
            [[BEGIN, 3, END], [BEGIN, 3, 3], [BEGIN, 4, 4]],
            [0.2, 0.45, 0.35],
            [padding, [0, 0, 0.5, 0.3, 0.2], [0, 0, 0.6, 0.3, 0.1]],
            6,
        ),
        "two of three beams have ended": probe(
            [[BEGIN, END, PADDING], [BEGIN, 4, END], [BEGIN, 3, 3]],
            [0.4, 0.24, 0.3],
            [padding, padding, [0, 0, 0.78, 0.17, 0.05]],  # 0.24 and 0.234: a length penalty would swap them
            3,
        ),
        "2 sentences of 3 beams, 7 tokens": random(2, 3, 2, 7, 3, seed=0),
        "3 sentences, 2 beams become 5": random(3, 2, 4, 7, 5, seed=1),
        "2 sentences, 4 beams become 2": random(2, 4, 3, 6, 2, seed=2),
        "as many beams as tokens, 5": random(1, 5, 3, 5, 5, seed=3),
        "6 beams become 5, and the first two are far ahead": random(1, 6, 3, 7, 5, seed=13379, gap=3.0),
        "6 beams become 5, with other numbers": random(1, 6, 3, 7, 5, seed=37, gap=3.0),
        "4 beams, and the second may end": probe(
            [[BEGIN, 3, 3], [BEGIN, 3, 4], [BEGIN, 4, 3], [BEGIN, 4, 4]],
            [0.1, 0.6, 0.2, 0.1],
            [[0, 0, 0.2, 0.5, 0.3], [0, 0, 0.8, 0.15, 0.05], [0, 0, 0.2, 0.5, 0.3], [0, 0, 0.2, 0.5, 0.3]],
            4,
        ),
    }


# ---------------------------------------------------------------- exercises

READ_AND_ANSWERS = "target[:, :-1], target[:, 1:]"
PROJECTED = "key, value = memory @ w_k, memory @ w_v"
ATTENDED = "return scaled_dot_product_attention(query, key, value, mask)"
FIRST = "h = norm1(x + attention(x, mask))"
SECOND = "return norm2(h + feed_forward(h))"
BEST = "scores.topk(min(n_beams, scores.shape[1])).indices"
SUMS = "totals[..., None] + log_probabilities"
TOTALS = "new_totals.flatten(1)[rows, best]"


def rows_left(hidden: str) -> dict[str, str]:
    """Hidden scores are this number, and a row in which all is hidden, as the wrong mask can do, stays as it comes."""
    return {
        f"masked_fill({mask}, -math.inf).softmax({axis})\n    return pattern.masked_fill({mask}, 0.0)": (
            f"masked_fill({mask}, {hidden}).softmax({axis})\n    return pattern"
        )
        for mask in ("~mask", "mask")
        for axis in (-1, -2)
    }


EXERCISES = [
    Exercise(
        teacher_forcing,
        teacher_forcing_probes,
        difficulty="easy",
        minutes=4,
        mistakes=(
            Mistake(
                "targets-not-shifted",
                "The answers are the tokens that are read: the decoder would learn to repeat what it sees. The answer is "
                "the token *after* it.",
                {READ_AND_ANSWERS: "target, target"},
            ),
            Mistake(
                "targets-not-shifted-but-cut",
                "Both lose their last column, so the answer is still the token that is read. The answers lose the "
                "*first* column, with BEGIN.",
                {"target[:, 1:]": "target[:, :-1]"},
            ),
            Mistake(
                "targets-not-shifted-cut-in-front",
                "Both lose their first column, so the answer is still the token that is read. What is read keeps BEGIN "
                "and loses the *last* column.",
                {"target[:, :-1]": "target[:, 1:]"},
            ),
            Mistake(
                "targets-shifted-twice",
                "The answer is two tokens ahead. One step is enough: after BEGIN the first token is wanted.",
                {READ_AND_ANSWERS: "target[:, :-2], target[:, 2:]"},
            ),
            Mistake(
                "targets-shifted-twice-and-uneven",
                "The answers begin with the second token, two steps after BEGIN, and there are fewer answers than tokens "
                "read. Shift by one.",
                {"target[:, 1:]": "target[:, 2:]"},
            ),
            Mistake(
                "shifted-backwards",
                "The two are swapped, so the decoder reads what it should answer, and answers with the token *before*. "
                "What is read comes first, and it begins with BEGIN.",
                {READ_AND_ANSWERS: "target[:, 1:], target[:, :-1]"},
            ),
            Mistake(
                "begin-among-the-answers",
                "BEGIN stands among the answers, and nobody has to write it: it is given. The answers start with the first "
                "token.",
                {"target[:, 1:]": "target"},
            ),
            Mistake(
                "last-column-read",
                "The last column is read too, and nothing follows it that could be the answer. Leave it out.",
                {"target[:, :-1]": "target"},
            ),
            Mistake(
                "begin-not-read",
                "What is read lacks BEGIN. Without it the decoder has nothing to read when the first token is asked for.",
                {"target[:, :-1]": "target[:, 1:-1]"},
            ),
            Mistake(
                "begin-read-twice",
                "One more BEGIN was put in front. The rows have theirs already: what is read are the rows as they are, "
                "without the last column.",
                {
                    READ_AND_ANSWERS: "torch.cat([torch.full((len(target), 1), BEGIN), target[:, :-1]], dim=1), target",
                },
            ),
            Mistake(
                "last-answer-cut",
                "The answers lose their last column. In the longest sentence that is END, and without it as an answer the "
                "decoder never learns to stop.",
                {"target[:, 1:]": "target[:, 1:-1]"},
            ),
            Mistake(
                "begin-and-end-stripped",
                "Both have lost the first and the last column. What is read begins with BEGIN, and END is an answer: "
                "without them the decoder learns neither to start nor to stop.",
                {READ_AND_ANSWERS: "target[:, 1:-1], target[:, 1:-1]"},
            ),
            Mistake(
                "end-not-answered",
                "Every END among the answers has become PADDING, and the loss leaves PADDING out: the decoder never "
                "learns to stop. Leave END in.",
                {"target[:, 1:]": "target[:, 1:].masked_fill(target[:, 1:] == END, PADDING)"},
            ),
            Mistake(
                "end-not-read",
                "Every END that is read has become PADDING. It changes no answer that counts, for only PADDING follows. "
                "But a short row may keep its END: one slice is right for every row.",
                {"target[:, :-1]": "target[:, :-1].masked_fill(target[:, :-1] == END, PADDING)"},
            ),
            Mistake(
                "end-for-padding",
                "Among the answers every PADDING has become END, so a short sentence is asked to end again and again. Leave "
                "PADDING: the loss leaves it out.",
                {"target[:, 1:]": "target[:, 1:].masked_fill(target[:, 1:] == PADDING, END)"},
            ),
            Mistake(
                "last-column-cut-first",
                "The last column was cut off before the shift, so END of the longest sentence is never an answer. All "
                "columns take part: leave the last one out of what is read only.",
                {READ_AND_ANSWERS: "target[:, :-2], target[:, 1:-1]"},
            ),
            Mistake(
                "last-answer-made-up",
                "Both keep their full width, and PADDING was put behind the answers. The loss would leave it out, yet the "
                "decoder reads a column for nothing. Leave the last column out of what is read.",
                {READ_AND_ANSWERS: "target, F.pad(target[:, 1:], (0, 1), value=PADDING)"},
            ),
            Mistake(
                "last-answer-wraps-around",
                "Both keep their full width, and the last answer is the row's BEGIN. The end does not lead back to the "
                "start. Leave the last column out of what is read.",
                {READ_AND_ANSWERS: "target, target.roll(-1, 1)"},
            ),
            Mistake(
                "padding-renamed",
                "PADDING among the answers has become −100, the number that `F.cross_entropy` leaves out by itself. This "
                "lesson's loss leaves out PADDING: leave it as it is.",
                {"target[:, 1:]": "target[:, 1:].masked_fill(target[:, 1:] == PADDING, -100)"},
            ),
            Mistake(
                "padding-removed",
                "PADDING is gone from the answers, and the rows with it. Keep the table: each answer stands under the "
                "token that is read there.",
                {"target[:, 1:]": "target[:, 1:][target[:, 1:] != PADDING]"},
            ),
            Mistake(
                "shifted-along-the-batch",
                "Sentences are dropped, not tokens: the answer is the next sentence. The tokens are the second axis.",
                {READ_AND_ANSWERS: "target[:-1], target[1:]"},
            ),
            Mistake(
                "read-cut-along-the-batch",
                "What is read has lost its last sentence, and each row is as long as before. The tokens are the second "
                "axis: `target[:, :-1]`.",
                {READ_AND_ANSWERS: "target[:-1], target[:, 1:]"},
            ),
            Mistake(
                "answers-cut-along-the-batch",
                "The answers have lost their first sentence, and each row is as long as before. The tokens are the second "
                "axis: `target[:, 1:]`.",
                {READ_AND_ANSWERS: "target[:, :-1], target[1:]"},
            ),
            Mistake(
                "first-answer-only",
                "There is one answer a row, the first token, and its axis is gone. With a colon, `target[:, 1:]`, it is "
                "all from the first token on.",
                {"target[:, 1:]": "target[:, 1]"},
            ),
            Mistake(
                "last-answer-only",
                "There is one answer a row, the last column, and its axis is gone. Every position has an answer: the "
                "token after it.",
                {"target[:, 1:]": "target[:, -1]"},
            ),
            Mistake(
                "answers-flattened",
                "The answers come in one long row. Keep the shape (batch, target − 1).",
                {"target[:, 1:]": "target[:, 1:].flatten()"},
            ),
            Mistake(
                "answers-alone",
                "Only the answers come back. Return what is read, then the answers.",
                {READ_AND_ANSWERS: "target[:, 1:]"},
            ),
            Mistake(
                "read-alone",
                "Only what is read comes back. Return the answers too: what is read, then the answers.",
                {READ_AND_ANSWERS: "target[:, :-1]"},
            ),
            Mistake(
                "begin-alone-read",
                "The decoder reads BEGIN and nothing else. While it learns it reads the true tokens before each position.",
                {"target[:, :-1]": "target[:, :1]"},
            ),
            Mistake(
                "one-tensor-not-two",
                "All comes in one tensor. Return two: what is read, then the answers.",
                {f"return {READ_AND_ANSWERS}": f"return torch.stack(({READ_AND_ANSWERS}))"},
            ),
            Mistake(
                "rows-not-tables",
                "The rows come one by one, in lists. Both results are tables, (batch, target − 1): a slice cuts all rows "
                "at once.",
                {READ_AND_ANSWERS: "target[:, :-1].unbind(), target[:, 1:].unbind()"},
            ),
        ),
        hints=(
            "Write BEGIN, 7, 5, END down, and under each token the one that should be answered there. Which token has none "
            "under it, and which one stands under nobody?",
            "The decoder reads all columns but the last; its answers are all columns but the first. PADDING takes care of "
            "itself.",
            "Both are slices of the second axis: `target[:, :-1]` leaves out the last column. The other one starts at 1.",
        ),
        remark="The name is from Williams and Zipser 1989. When it translates, the decoder reads its own tokens; that it "
        "never did so in training is called exposure bias (Ranzato et al. 2016).",
    ),
    Exercise(
        encoder_block,
        encoder_block_probes,
        difficulty="medium",
        minutes=6,
        mistakes=(
            Mistake(
                "pre-norm-called-post-norm",
                "This is pre-norm: each norm comes before its sublayer, and the sums are left as they are. In 2017 the "
                "sums are normalised: norm1(x + …), then norm2(h + …).",
                {FIRST: "h = x + attention(norm1(x), mask)", SECOND: "return h + feed_forward(norm2(h))"},
            ),
            Mistake(
                "norm-without-residual",
                "Both residual connections are missing. Add to each sublayer's output what went into it, before the norm.",
                {"x + attention": "attention", "h + feed_forward": "feed_forward"},
            ),
            Mistake(
                "first-residual-missing",
                "The residual connection around the attention is missing: x is not added to its output. A token then "
                "loses itself, and keeps only the average that attention made.",
                {"x + attention": "attention"},
            ),
            Mistake(
                "second-residual-missing",
                "The residual connection around feed_forward is missing: what went into it is not added to what came out.",
                {"h + feed_forward": "feed_forward"},
            ),
            Mistake(
                "second-residual-from-x",
                "x, the block's input, is added to feed_forward's output. Add what went into feed_forward, the result of "
                "the first step: what attention fetched is in it.",
                {"h + feed_forward(h)": "x + feed_forward(h)"},
            ),
            Mistake(
                "feed-forward-reads-x",
                "feed_forward reads x, the block's input, so it cannot work on what attention fetched. It reads the result "
                "of the first step.",
                {"feed_forward(h)": "feed_forward(x)"},
            ),
            Mistake(
                "parallel",
                "Attention and feed_forward both read x, and their outputs are added in one sum. Some later models do so "
                "(GPT-J); in 2017 feed_forward comes after the first step, and reads its result.",
                {SECOND: "return norm2(x + attention(x, mask) + feed_forward(x))"},
            ),
            Mistake(
                "norms-missing",
                "No norm is used. Each step ends in one: norm1 around the first sum, norm2 around the second.",
                {FIRST: "h = x + attention(x, mask)", SECOND: "return h + feed_forward(h)"},
            ),
            Mistake(
                "first-norm-missing",
                "norm1 is not used: feed_forward gets the first sum as it is. Normalise x + attention(x, mask) with norm1.",
                {FIRST: "h = x + attention(x, mask)"},
            ),
            Mistake(
                "second-norm-missing",
                "norm2 is not used. In post-norm the block's result is the norm of the second sum.",
                {SECOND: "return h + feed_forward(h)"},
            ),
            Mistake(
                "norm1-twice",
                "norm1 is used for both steps. Each norm learns its own weights: the second step has norm2.",
                {"norm2(h": "norm1(h"},
            ),
            Mistake(
                "norm2-twice",
                "norm2 is used for both steps. Each norm learns its own weights: the first step has norm1.",
                {"norm1(x": "norm2(x"},
            ),
            Mistake(
                "norms-swapped",
                "norm1 and norm2 have changed places. norm1 belongs to the attention, which comes first.",
                {"norm1(x": "norm2(x", "norm2(h": "norm1(h"},
            ),
            Mistake(
                "norm-after-the-sublayer",
                "Each sublayer's output is normalised before it is added. Add first: what is normalised is the sum.",
                {FIRST: "h = x + norm1(attention(x, mask))", SECOND: "return h + norm2(feed_forward(h))"},
            ),
            Mistake(
                "first-norm-after-the-sublayer",
                "norm1 is applied to the attention's output alone, before it is added to x. Add first: what is normalised "
                "is the sum.",
                {FIRST: "h = x + norm1(attention(x, mask))"},
            ),
            Mistake(
                "second-norm-after-the-sublayer",
                "norm2 is applied to feed_forward's output alone, before it is added. Add first: what is normalised is the "
                "sum.",
                {SECOND: "return h + norm2(feed_forward(h))"},
            ),
            Mistake(
                "first-step-pre-norm",
                "The first step is pre-norm: the attention reads norm1(x), and the sum is left as it is. In 2017 the "
                "sum is normalised.",
                {FIRST: "h = x + attention(norm1(x), mask)"},
            ),
            Mistake(
                "second-step-pre-norm",
                "The second step is pre-norm: feed_forward reads what norm2 gives, and the sum is left as it is. In 2017 "
                "the sum is normalised.",
                {SECOND: "return h + feed_forward(norm2(h))"},
            ),
            Mistake(
                "residual-from-the-normed",
                "Both norms come before their steps, and what they give is added too. In 2017 a norm comes after the sum, "
                "and x itself is added.",
                {
                    FIRST: "x = norm1(x)\n    h = norm2(x + attention(x, mask))",
                    SECOND: "return h + feed_forward(h)",
                },
            ),
            Mistake(
                "norm-at-both-ends",
                "The sublayers get what they read normalised once more, norm1(x) and norm2(h). In post-norm a norm stands "
                "in one place only, around the sum.",
                {"attention(x, mask)": "attention(norm1(x), mask)", "feed_forward(h)": "feed_forward(norm2(h))"},
            ),
            Mistake(
                "residual-around-the-norm",
                "What went into a step is added once more after its norm, so the result is not normalised. In post-norm "
                "the norm comes last.",
                {FIRST: "h = x + norm1(x + attention(x, mask))", SECOND: "return h + norm2(h + feed_forward(h))"},
            ),
            Mistake(
                "x-added-again",
                "x is added in the second step too. The result of the first step holds it already: the second sum is of "
                "that result and feed_forward's output.",
                {"h + feed_forward": "x + h + feed_forward"},
            ),
            Mistake(
                "padding-set-to-zero",
                "The block's result is 0 at PADDING. Nobody reads it there, since the mask hides it: leave it as it comes.",
                {SECOND: f"{SECOND} * mask.transpose(1, 2)"},
            ),
            Mistake(
                "padding-ignored",
                "The mask changes nothing: the attention does not get it, and PADDING is attended to. Pass it on: "
                "attention(x, mask).",
                {"attention(x, mask)": "attention(x)"},
            ),
            Mistake(
                "mask-inverted",
                "The mask is turned round, so tokens attend to PADDING alone. True means “may attend” already: pass it on "
                "as it is.",
                {"attention(x, mask)": "attention(x, ~mask)"},
            ),
            Mistake(
                "causal-mask-added",
                "A causal mask hides each token's future. The encoder reads a sentence that is complete: every token may "
                "see every other but PADDING.",
                {"attention(x, mask)": "attention(x, mask & torch.ones(x.shape[1], x.shape[1]).tril().bool())"},
            ),
            Mistake(
                "feed-forward-first",
                "feed_forward comes first and attention second. The first step is attention, with norm1.",
                {FIRST: "h = norm1(x + feed_forward(x))", SECOND: "return norm2(h + attention(h, mask))"},
            ),
            Mistake(
                "feed-forward-missing",
                "The block ends after its first step. feed_forward and norm2 follow.",
                {SECOND: "return h"},
            ),
            Mistake(
                "attention-missing",
                "The first step is lost, so no token learns of another. It is norm1(x + attention(x, mask)), and the "
                "second step goes on with its result.",
                {FIRST: "h = x"},
            ),
            Mistake(
                "two-tensors-not-one",
                "The results of both steps come back. The block gives one tensor, the result of the second.",
                {"return norm2(": "return h, norm2("},
            ),
        ),
        hints=(
            "Two steps of one form, each as `post_norm_step` of lesson 05: sublayer, sum, norm. The second goes on with the "
            "result of the first.",
            "The first step is `h = norm1(x + attention(x, mask))`.",
            "The second has the same form, with feed_forward and norm2, and h wherever the first has x.",
        ),
        remark="In the package it is EncoderBlock with norm='post'. The paper stacks six of them (section 3.1); each has "
        "weights of its own.",
    ),
    Exercise(
        cross_attention,
        cross_attention_probes,
        difficulty="medium",
        minutes=10,
        helpers=(attention_pattern, scaled_dot_product_attention),
        mistakes=(
            Mistake(
                "sides-swapped",
                "The two sides have changed places: the memory asks, and the decoder is asked. The target is being "
                "written, so it asks: queries from x, keys and values from memory.",
                {"query = x @": "x, memory = memory, x\n    query = x @"},
            ),
            Mistake(
                "memory-attends-to-itself",
                "x changes nothing: the queries come from memory as the keys do, so the source attends to itself. The "
                "decoder asks: queries from x.",
                {"x @ w_q": "memory @ w_q"},
            ),
            Mistake(
                "decoder-attends-to-itself",
                "memory changes nothing: keys and values come from x, as in self-attention. Here the source is looked at: "
                "both come from memory.",
                {PROJECTED: "key, value = x @ w_k, x @ w_v"},
            ),
            Mistake(
                "key-from-decoder",
                "The keys come from x, so the target is compared with itself. A key belongs to the token that is looked "
                "at, as its value does: both come from memory.",
                {"memory @ w_k": "x @ w_k"},
            ),
            Mistake(
                "value-from-decoder",
                "The values come from x, so the target fetches itself. A value belongs to the token that is looked at, as "
                "its key does: both come from memory.",
                {"memory @ w_v": "x @ w_v"},
            ),
            Mistake(
                "keys-from-both-sides",
                "Keys and values come from memory and from x, under one softmax. In the 2017 Transformer the decoder sees "
                "its own tokens in another attention; here the source alone is looked at.",
                {
                    PROJECTED: "mask = F.pad(mask, (0, x.shape[1]), value=True)\n"
                    "    key, value = (torch.cat([memory, x], dim=1) @ w for w in (w_k, w_v))"
                },
            ),
            *SCORE_MISTAKES,
            *(m for m in MORE_SCORE_MISTAKES if m.id in ("scaled-by-queries", "scaled-by-twice-d")),
            Mistake(
                "scaled-by-d-model",
                "Divided by √d_model. A dot product of query and key adds up d_head numbers: divide by √d_head.",
                {"query = x @ w_q": "query = x @ w_q * math.sqrt(w_q.shape[1] / w_q.shape[0])"},
            ),
            *SOFTMAX_MISTAKES,
            MASK_ADDED,
            Mistake(
                "padding-ignored",
                "The mask changes nothing: PADDING in the source gets weight, so a translation depends on how far its "
                "source was filled up. Hand the mask on.",
                {"    query = ": "    mask = None\n    query = "},
            ),
            Mistake(
                "padding-hides-queries",
                "The mask lies along the target. It says which *source* tokens are real: they are the keys, the last axis, "
                "and there the mask lies as it comes.",
                {"(query, key, value, mask)": "(query, key, value, mask.transpose(1, 2))"},
            ),
            Mistake(
                "padding-states-zeroed",
                "The memory of PADDING is set to 0. That is a key like any other: its score is 0, and e⁰ = 1 takes a "
                "share of the weight. Hide the scores, with −∞.",
                {
                    PROJECTED: "memory = memory * mask.transpose(1, 2)\n    " + PROJECTED,
                    "(query, key, value, mask)": "(query, key, value)",
                },
            ),
            *(
                Mistake(
                    id,
                    f"A causal mask hides later tokens of the source: {example}. The whole source is known from the start, "
                    "so nothing of it is future.",
                    {"    query = ": f"    mask = {mask} & (True if mask is None else mask)\n    query = "},
                )
                for id, example, mask in (
                    (
                        "causal-mask-added",
                        "the first token of the target sees only the first of the source",
                        "torch.ones(x.shape[1], memory.shape[1]).tril().bool()",
                    ),
                    (
                        "causal-mask-from-the-end",
                        "only the last token of the target sees the last of the source",
                        "causal_mask(x.shape[1], memory.shape[1])",
                    ),
                )
            ),
            Mistake(
                "shared-qkv-projection",
                "One matrix makes queries, keys and values. Each has its own: w_q, w_k, w_v.",
                {PROJECTED: "key = value = memory @ w_q"},
            ),
            Mistake(
                "w-q-for-keys-too",
                "w_k changes nothing: w_q makes the keys too. The keys are memory @ w_k.",
                {"memory @ w_k": "memory @ w_q"},
            ),
            Mistake(
                "w-k-for-queries-too",
                "w_q changes nothing: w_k makes the queries too. The queries are x @ w_q.",
                {"x @ w_q": "x @ w_k"},
            ),
            Mistake(
                "w-q-and-w-k-swapped",
                "w_q and w_k have changed places. The queries are x @ w_q, the keys memory @ w_k.",
                {"x @ w_q": "x @ w_k", "memory @ w_k": "memory @ w_q"},
            ),
            Mistake(
                "values-ignored",
                "w_v changes nothing: the keys are averaged in place of the values. The output is pattern @ value, and the "
                "values are memory @ w_v.",
                {"return pattern @ value": "return pattern @ key"},
            ),
            Mistake(
                "key-and-value-swapped",
                "Keys and values have changed places: the scores are made with w_v, and w_k makes what is averaged. The "
                "scores compare queries with memory @ w_k.",
                {PROJECTED: "value, key = memory @ w_k, memory @ w_v"},
            ),
            Mistake(
                "projections-missing",
                "x and memory are used as they are. Project them: queries x @ w_q, keys memory @ w_k, values memory @ w_v.",
                {"x @ w_q": "x", PROJECTED: "key, value = memory, memory"},
            ),
            Mistake(
                "values-not-projected",
                "w_v changes nothing: memory itself is averaged. The values are memory @ w_v.",
                {"memory @ w_v": "memory"},
            ),
            Mistake(
                "projections-transposed",
                "The matrices are used transposed, as nn.Linear does with its own, which runs only where they are square. "
                "Here they are used as they are: x @ w_q.",
                {"x @ w_q": "x @ w_q.T", PROJECTED: "key, value = memory @ w_k.T, memory @ w_v.T"},
            ),
            Mistake(
                "residual-added",
                "x is added to the output. A block does that, around the attention; this function is the attention alone.",
                {
                    ATTENDED: "output, pattern = scaled_dot_product_attention(query, key, value, mask)\n"
                    "    return x + output, pattern"
                },
            ),
            Mistake(
                "output-alone",
                "Only the output comes back. Return the pattern too: output, pattern.",
                {ATTENDED: f"{ATTENDED}[0]"},
            ),
            Mistake(
                "pattern-alone",
                "Only the pattern comes back. The output is pattern @ value; return output, pattern.",
                {ATTENDED: f"{ATTENDED}[1]"},
            ),
            Mistake(
                "pattern-first",
                "The pattern comes first. The order is output, pattern.",
                {ATTENDED: f"{ATTENDED}[::-1]"},
            ),
        ),
        styles=tuple(map(rows_left, ("-torch.inf", "torch.finfo(scores.dtype).min"))),
        hints=(
            "Who asks, and who is asked? The pattern is (batch, target, source): a row for each token of the target, a "
            "column for each token of the source.",
            "x gives the queries, memory gives both keys and values: `query = x @ w_q`, and the same for the other two.",
            "With `key = memory @ w_k` and `value = memory @ w_v` all is ready for "
            "`scaled_dot_product_attention(query, key, value, mask)`. The mask fits as it is: its axis of size 1 serves "
            "every query.",
        ),
        remark="Keys and values depend on the source alone: once a sentence is enough, however many tokens are written. "
        "In the package it is MultiHeadAttention, called with a context.",
    ),
    Exercise(
        beam_step,
        beam_probes,
        difficulty="hard",
        minutes=20,
        mistakes=(
            Mistake(
                "probabilities-added",
                "Probabilities are added to log-probabilities. Probabilities of steps are multiplied, so their logs are "
                "added: log to log, and no exp in between.",
                {SUMS: "log_probabilities.exp() + totals[..., None]"},
            ),
            Mistake(
                "logs-multiplied",
                "The logs are multiplied. Probabilities of steps are multiplied, so their logs are added.",
                {"totals[..., None] + log": "totals[..., None] * log"},
            ),
            Mistake(
                "total-times-probability",
                "A total, which is a log, is multiplied by a probability. Probabilities of steps are multiplied, so their "
                "logs are added: total plus log-probability.",
                {SUMS: "totals[..., None] * log_probabilities.exp()"},
            ),
            Mistake(
                "totals-ignored",
                "What a beam had so far does not count: only the next token does. A continuation's total is its beam's "
                "total plus the log-probability of its token.",
                {SUMS: "log_probabilities"},
            ),
            Mistake(
                "chosen-by-the-last-step",
                "The totals are right, but the beams were chosen by their last token's log-probability alone. Choose the "
                "continuations with the best totals.",
                {"scores = (new_totals": "scores = (log_probabilities"},
            ),
            Mistake(
                "totals-not-updated",
                "The right beams stay, but each with the total it had before this step. Add the log-probability of its new "
                "token.",
                {TOTALS: "totals[rows, parents]"},
            ),
            Mistake(
                "last-step-alone-returned",
                "The right beams stay, but with the log-probability of the last token alone. Return the total, from BEGIN "
                "on.",
                {TOTALS: "log_probabilities.flatten(1)[rows, best]"},
            ),
            Mistake(
                "totals-as-probabilities",
                "The totals come back as probabilities. Keep their logs: the next step adds to them, and of a long "
                "sentence the probability is too small for a number to hold.",
                {TOTALS: f"{TOTALS}.exp()"},
            ),
            Mistake(
                "best-of-each-beam",
                "Each beam keeps its own best continuation, as in greedy search. All continuations of all beams compete: "
                "one beam may get two places, and another none.",
                {BEST: "new_totals.argmax(-1) + vocab * torch.arange(totals.shape[1])"},
            ),
            Mistake(
                "best-of-each-beam-sorted",
                "A beam can get one place at most: only the best continuation of each takes part. All continuations of all "
                "beams compete, so one beam may get two places, and another none.",
                {
                    BEST: "new_totals.amax(-1).sort(descending=True).indices[:, :n_beams]\n"
                    "    best = best * vocab + new_totals.argmax(-1).gather(1, best)"
                },
            ),
            Mistake(
                "n-beams-of-each-beam",
                "Every beam keeps its n_beams best continuations, so there are more beams at each step. n_beams of all "
                "continuations together stay.",
                {
                    BEST: "(new_totals.topk(n_beams).indices + vocab * torch.arange(totals.shape[1])[:, None])"
                    ".flatten(1)"
                },
            ),
            Mistake(
                "first-beam-only",
                "Only continuations of the first beam take part. Those of all beams compete.",
                {BEST: "new_totals[:, 0].topk(n_beams).indices"},
            ),
            Mistake(
                "as-many-as-came-in",
                "As many beams stay as came in, whatever n_beams says. n_beams of them stay.",
                {"    best =": "    n_beams = totals.shape[1]\n    best ="},
            ),
            Mistake(
                "all-kept",
                "All continuations stay. n_beams of them do.",
                {"    best =": "    n_beams = scores.shape[1]\n    best ="},
            ),
            Mistake(
                "greedy",
                "Only the best continuation stays: this is greedy search. n_beams of them stay.",
                {"    best =": "    n_beams = 1\n    best ="},
            ),
            Mistake(
                "worst-kept",
                "The n_beams least likely continuations stay. The best are wanted.",
                {"scores = (new_totals": "scores = -(new_totals"},
            ),
            Mistake(
                "worst-first",
                "The right continuations stay, but the worst of them comes first. The order is best first.",
                {"    parents": "    best = best.flip(1)\n    parents"},
            ),
            Mistake(
                "not-sorted",
                "The right continuations stay, in the order in which the beams came. The order is best first.",
                {"    parents": "    best = best.sort().values\n    parents"},
            ),
            Mistake(
                "beam-and-token-swapped",
                "Beam and token are in each other's place. In the long row each beam has vocab places: the beam is the "
                "place // vocab, the token the place % vocab.",
                {"best // vocab, best % vocab": "best % vocab, best // vocab"},
            ),
            Mistake(
                "divided-by-n-beams",
                "The place in the long row is divided by n_beams. Each beam has vocab places in it, so the beam is the "
                "place // vocab, and the token the place % vocab.",
                {"best // vocab, best % vocab": "best // n_beams, best % n_beams"},
            ),
            Mistake(
                "place-taken-for-token",
                "The place in the long row of all continuations is appended as if it were a token. The token is the "
                "place % vocab.",
                {"best % vocab": "best"},
            ),
            Mistake(
                "beams-not-moved",
                "The new tokens are appended to the beams in the order in which these came, not to the beam that each "
                "token continues. Take the beams first: which one is the place // vocab.",
                {"ids[rows, parents]": "ids"},
            ),
            Mistake(
                "first-beams-kept",
                "The new tokens are appended to the first n_beams beams, not to the beam that each token continues. Take "
                "the beams first: which one is the place // vocab.",
                {"ids[rows, parents]": "ids[:, :n_beams]"},
            ),
            Mistake(
                "first-beam-for-all",
                "All new tokens are appended to the first beam, not to the beam that each token continues. Take the beams "
                "first: which one is the place // vocab.",
                {"ids[rows, parents]": "ids[rows, 0 * parents]"},
            ),
            Mistake(
                "beams-of-one-token",
                "Of each beam only the first token, BEGIN, was taken along. `gather` takes as much as its index is wide: "
                "expand the index over all tokens, or use `ids[rows, parents]`.",
                {"ids[rows, parents]": "ids[rows, parents][..., :1]"},
            ),
            Mistake(
                "beams-of-the-first-sentence",
                "All sentences of the batch are continued with beams of the first one. Each has its own: a column of row "
                "numbers, `torch.arange(batch)[:, None]`, picks them.",
                {"ids[rows, parents]": "ids[0, parents]"},
            ),
            Mistake(
                "token-in-front",
                "The new token stands in front of its beam. It follows: put it at the end.",
                {"[ids[rows, parents], tokens[..., None]]": "[tokens[..., None], ids[rows, parents]]"},
            ),
            Mistake(
                "tokens-alone",
                "Only the new tokens come back, without the beams that they continue. Append each to its beam.",
                {"torch.cat([ids[rows, parents], tokens[..., None]], dim=-1)": "tokens"},
            ),
            Mistake(
                "token-not-appended",
                "The right beams come back, but without their new tokens. Append to each the token that continues it.",
                {"torch.cat([ids[rows, parents], tokens[..., None]], dim=-1)": "ids[rows, parents]"},
            ),
            Mistake(
                "finished-beams-dropped",
                "A beam that has ended is thrown out. A finished translation competes as it is: PADDING follows it with "
                "the log-probability 0, and it stays as long as it is among the best.",
                {
                    "    lengths": "    new_totals = new_totals.masked_fill(has_ended(ids)[..., None], -math.inf)\n    lengths"
                },
            ),
            Mistake(
                "end-written-again",
                "To a beam that has ended END was appended once more. PADDING follows END; that is what its "
                "log-probabilities say.",
                {"tokens[..., None]": "tokens.masked_fill(ids[rows, parents][..., -1] == END, END)[..., None]"},
            ),
            Mistake(
                "shared-out-over-the-continuations",
                "The totals were normalised once more, over all continuations of a sentence. A total is the log of the "
                "whole probability so far: leave the sum as it is.",
                {SUMS: f"({SUMS}).flatten(1).log_softmax(-1).reshape_as(log_probabilities)"},
            ),
            Mistake(
                "averaged-over-the-length",
                "The totals are divided by the number of tokens. A beam's total is the sum of its log-probabilities; here "
                "no length is taken into account.",
                {SUMS: f"({SUMS}) / ids.shape[-1]"},
            ),
            Mistake(
                "chosen-by-the-average",
                "The beams are chosen by their log-probability a token, which favours long ones. Here the total "
                "decides, whatever the length.",
                {"penalty(lengths, length_penalty)": "lengths"},
            ),
            Mistake(
                "totals-first",
                "The totals come first. The order is ids, totals.",
                {
                    "return torch.cat([ids[rows, parents], tokens[..., None]], dim=-1), "
                    + TOTALS: f"return {TOTALS}, torch.cat([ids[rows, parents], tokens[..., None]], dim=-1)"
                },
            ),
            Mistake(
                "ids-alone",
                "Only the ids come back. Return the totals too: ids, totals.",
                {f", dim=-1), {TOTALS}": ", dim=-1)"},
            ),
        ),
        styles=({BEST: "(-scores).argsort()[:, :n_beams]"},),  # of equal totals, as −∞ and −∞, another comes first
        hints=(
            "First the totals of all continuations, (batch, beams, vocab): a beam's total plus the log-probability of the "
            "token. `totals[..., None]` has the axis that is missing.",
            "In one long row, `.flatten(1)`, find the best with `values, best = ….topk(n_beams)`: the values are the new "
            "totals, best first. Place 0 … vocab − 1 of that row belong to beam 0, the next vocab to beam 1.",
            "So `parents = best // vocab` and `tokens = best % vocab`. Now each sentence needs its own beams.",
            "`rows = torch.arange(len(ids))[:, None]`, then `ids[rows, parents]` are the beams to continue: append "
            "`tokens[..., None]` with torch.cat along the last axis.",
        ),
        remark="The package's own has one more argument, a length penalty (Wu et al. 2016): totals fall with every token, "
        "so without it short translations have an advantage.",
    ),
]

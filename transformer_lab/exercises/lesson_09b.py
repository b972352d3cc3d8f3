"""Exercises of lesson 09b, training faster."""

import torch
from jaxtyping import Int
from torch import Tensor

from transformer_lab.exercises.catalogue import Exercise, Mistake
from transformer_lab.exercises.lesson_09 import random_ids
from transformer_lab.gpt import ngram_rows


def flops_per_token(n_weights: int, n_layers: int, d_model: int, context_length: int) -> float:
    """Operations to learn from one token: 6 for each weight, and attention's two products in every layer."""
    attention = 2 * context_length * d_model  # weights' worth of work: query · key, then pattern · value
    return 6 * (n_weights + n_layers * attention)


def halve_windows(
    inputs: Int[Tensor, "batch context"], targets: Int[Tensor, "batch context"]
) -> tuple[Int[Tensor, "twice_batch half_context"], Int[Tensor, "twice_batch half_context"]]:
    """The same tokens as twice as many windows of half the length, each window's halves one after the other."""
    half = inputs.shape[1] // 2
    return inputs.reshape(-1, half), targets.reshape(-1, half)


def model_flops_utilisation(
    flops_per_token: float, tokens_per_second: float, peak_flops: float, n_devices: int = 1
) -> float:
    """The FLOP/s that the model needs as a share of those that all devices together can do at best."""
    needed = flops_per_token * tokens_per_second
    return needed / (n_devices * peak_flops)


# ---------------------------------------------------------------- probes


def _flops_probes() -> dict[str, tuple]:
    return {
        "1 weight, no layer": (1, 0, 1, 1),
        "no weight, 1 layer of width 1, a context of 1": (0, 1, 1, 1),
        "no weight, 1 layer of width 2, a context of 3": (0, 1, 2, 3),
        "no weight, 5 layers of width 2, a context of 3": (0, 5, 2, 3),
        "100 weights, 5 layers of width 2, a context of 3": (100, 5, 2, 3),
        "the yardstick: 799,232 weights, 4 layers of width 128, a context of 64": (799_232, 4, 128, 64),
        "GPT-2 small": (123_532_032, 12, 768, 1024),
    }


def _ngram_probes() -> dict[str, tuple]:
    return {
        "two tokens, pairs": (torch.tensor([[1, 2]]), 2, 10),
        "the same two the other way round": (torch.tensor([[2, 1]]), 2, 10),
        "three tokens, pairs, 1,000 rows": (torch.tensor([[3, 1, 2]]), 2, 1000),
        "four tokens, up to triples": (torch.tensor([[1, 2, 3, 4]]), 3, 10),
        "two tokens 0 in front": (torch.tensor([[0, 0, 1, 2]]), 3, 4096),
        "fewer tokens than the longest n-gram": (torch.tensor([[5, 6]]), 4, 10),
        "two sentences of three tokens": (torch.tensor([[1, 2, 3], [4, 5, 6]]), 2, 50),
        "large ids": (random_ids(50257, 1, 6), 3, 4096),
        "three sentences of nine tokens, up to 5 tokens together": (random_ids(110, 3, 9, seed=1), 5, 1000),
        "more sentences than tokens": (random_ids(110, 6, 4, seed=2), 3, 97),
    }


def _halve_probes() -> dict[str, tuple]:
    ids = random_ids(90, 5, 13)
    return {
        "one window of four": (torch.tensor([[1, 2, 3, 4]]), torch.tensor([[2, 3, 4, 5]])),
        "two windows of four": (
            torch.tensor([[1, 2, 3, 4], [6, 7, 8, 9]]),
            torch.tensor([[2, 3, 4, 5], [7, 8, 9, 6]]),
        ),
        "three windows of two": (torch.tensor([[1, 2], [4, 5], [7, 8]]), torch.tensor([[2, 3], [5, 6], [8, 9]])),
        "5 windows of 12 from a text": (ids[:, :-1], ids[:, 1:]),
    }


def _mfu_probes() -> dict[str, tuple]:
    return {
        "10 FLOPs a token, 5 tokens/s, a device of 100 FLOP/s": (10.0, 5.0, 100.0),
        "the same on four devices": (10.0, 5.0, 100.0, 4),
        "slower than one token a second": (10.0, 0.5, 100.0),
        "GPT-2 small on one card of 989 TFLOP/s": (8.5e8, 4.5e5, 989e12),
        "a large model on 16 cards of 312 TFLOP/s": (4.2e10, 31_000.0, 312e12, 16),
    }


# ---------------------------------------------------------------- exercises

EXERCISES = [
    Exercise(
        flops_per_token,
        _flops_probes,
        difficulty="easy",
        minutes=8,
        mistakes=(
            Mistake(
                "forward-only",
                "2 a weight is the forward pass alone, and attention is counted so too. The backward pass needs twice "
                "as much again: a gradient for the input and one for the weight.",
                {"return 6": "return 2"},
            ),
            Mistake(
                "backward-counted-once",
                "4 a weight: the backward pass is taken to cost as much as the forward pass. It multiplies twice, once "
                "for the gradient of the input and once for that of the weight.",
                {"return 6": "return 4"},
            ),
            Mistake(
                "one-operation-a-weight",
                "A weight is counted as one operation in each product. It is a multiplication and an addition: two.",
                {"return 6": "return 3"},
            ),
            Mistake(
                "attention-backward-only",
                "Attention's products are counted for the backward pass alone, 8 · layers · d_model · context. The "
                "forward pass, half as much again, belongs to it.",
                {"return 6 * (n_weights + n_layers * attention)": "return 6 * n_weights + 4 * n_layers * attention"},
            ),
            Mistake(
                "weights-forward-only",
                "The weights are counted for the forward pass alone, attention for both. A weight needs 2 forward and 4 "
                "backward.",
                {"return 6 * (n_weights + n_layers * attention)": "return 2 * n_weights + 6 * n_layers * attention"},
            ),
            Mistake(
                "attention-forward-only",
                "Attention's products are counted for the forward pass alone. They too have a backward pass, twice as "
                "dear: 12 · layers · d_model · context in all.",
                {"return 6 * (n_weights + n_layers * attention)": "return 6 * n_weights + 2 * n_layers * attention"},
            ),
            Mistake(
                "attention-forgotten",
                "6 N is all: attention is missing. Its two products have no weights, yet they are multiplied.",
                {"(n_weights + n_layers * attention)": "n_weights"},
            ),
            Mistake(
                "one-product-only",
                "Attention multiplies twice, query with key and pattern with value; one of the two is missing. (The "
                "causal half is no reason: by custom all positions count.)",
                {"2 * context_length * d_model": "context_length * d_model"},
            ),
            Mistake(
                "one-layer-only",
                "Attention is counted for one layer. Every layer has it.",
                {"n_layers * attention": "attention"},
            ),
            Mistake(
                "context-squared",
                "context² is what a whole window needs. One token looks at the context once.",
                {"2 * context_length * d_model": "2 * context_length**2 * d_model"},
            ),
            Mistake(
                "width-forgotten",
                "d_model is missing in attention: a score is a sum of products over all dimensions, and so is the "
                "output.",
                {"2 * context_length * d_model": "2 * context_length"},
            ),
            Mistake(
                "context-forgotten",
                "The context is missing in attention: each position is compared with all of them.",
                {"2 * context_length * d_model": "2 * d_model"},
            ),
            Mistake(
                "width-squared",
                "d_model² in place of d_model · context: that would be a matrix of weights, and those are in n_weights "
                "already.",
                {"2 * context_length * d_model": "2 * d_model**2"},
            ),
            Mistake(
                "whole-window",
                "This is what a whole window needs. Asked for is one token: do not multiply by the context once more.",
                {"return 6": "return context_length * 6"},
            ),
            Mistake(
                "weights-in-every-layer",
                "n_weights counts the weights of all layers already; here they are multiplied by the layers again.",
                {"(n_weights + n_layers * attention)": "n_layers * (n_weights + attention)"},
            ),
        ),
        hints=(
            "Count one weight first: how many operations forward, and how many more backward? You saw the total in the "
            "cell above.",
            "Attention has no weights in its two products, but as much work: in a layer, query · key is d_model "
            "multiplications for each of context_length positions, and pattern · value as many.",
            "So a layer's attention works like 2 · context_length · d_model more weights; then 6 for each.",
        ),
        remark="This is the count of PaLM (Chowdhery et al. 2022, appendix B). At short contexts the second term is "
        "small: for the yardstick it is a thirteenth of the whole, and it outgrows the first when the context is several "
        "times d_model long.",
    ),
    Exercise(
        ngram_rows,
        _ngram_probes,
        difficulty="medium",
        minutes=15,
        mistakes=(
            Mistake(
                "looks-ahead",
                "The n-gram is made of tokens that come later. In training those are the answers: only the token "
                "itself and earlier ones may be looked at.",
                {"F.pad(ids, (n, 0))[:, : ids.shape[1]]": "F.pad(ids, (0, n))[:, n:]"},
            ),
            Mistake(
                "wraps-around",
                "Before the first token stands the end of the same sentence, as `torch.roll` does it. That is the "
                "future. Put 0 there.",
                {"F.pad(ids, (n, 0))[:, : ids.shape[1]]": "ids.roll(n, 1)"},
            ),
            Mistake(
                "first-token-repeated",
                "Before the first token the first token is repeated. Asked for is token 0.",
                {
                    "F.pad(ids, (n, 0))[:, : ids.shape[1]]": "torch.cat([ids[:, :1].expand(-1, n), ids], 1)"
                    "[:, : ids.shape[1]]"
                },
            ),
            Mistake(
                "along-the-batch",
                "What stands before is taken from another sentence of the batch, at the same place. Shift along the "
                "second axis, the positions.",
                {"F.pad(ids, (n, 0))[:, : ids.shape[1]]": "F.pad(ids, (0, 0, n, 0))[: len(ids)]"},
            ),
            Mistake(
                "sentences-run-together",
                "The first positions of a sentence look at the end of the sentence before it in the batch. Each "
                "sentence begins anew, with 0 before it.",
                {
                    "F.pad(ids, (n, 0))[:, : ids.shape[1]]": "F.pad(ids.flatten(), (n, 0))[: ids.numel()]"
                    ".view(ids.shape)"
                },
            ),
            Mistake(
                "window-one-short",
                "The token itself is taken twice, and the earliest is missing: begin one place before it.",
                {"F.pad(ids, (n, 0))": "F.pad(ids, (n - 1, 0))"},
            ),
            Mistake(
                "neighbour-skipped",
                "The token just before is left out: the row is that of the token and those from two places back on.",
                {"F.pad(ids, (n, 0))": "F.pad(ids, (n + 1, 0))"},
            ),
            Mistake(
                "always-the-neighbour",
                "The token just before is taken again and again. For the k-th step go k places back.",
                {"F.pad(ids, (n, 0))": "F.pad(ids, (1, 0))"},
            ),
            Mistake(
                "one-zero-only",
                "Only the very first place has a 0 before it; at the next ones the end of the sentence comes round. "
                "That is the future: k places need a 0.",
                {"F.pad(ids, (n, 0))[:, : ids.shape[1]]": "torch.cat([0 * ids[:, :1], ids.roll(n, 1)[:, 1:]], 1)"},
            ),
            Mistake(
                "skips-what-lies-between",
                "Each row depends on two tokens only, this one and the one n places back. Carry the code on, so that "
                "those between count too.",
                {"code = (code * 92821": "code = (ids * 92821"},
            ),
            Mistake(
                "order-ignored",
                "The ids are added up, so `on` and `no` share a row always. The multiplication tells their order.",
                {"code * 92821 + earlier": "code + earlier"},
            ),
            Mistake(
                "earlier-token-multiplied",
                "The earlier token is multiplied and the code is added. A fine hash, but not the one asked for: "
                "multiply the code, then add the earlier token.",
                {"code * 92821 + earlier": "code + earlier * 92821"},
            ),
            Mistake(
                "tables-shared",
                "Pairs, triples and longer ones use the same rows. Each length has n_rows of its own: add "
                "(n − 2) · n_rows.",
                {" + (n - 1) * n_rows": ""},
            ),
            Mistake(
                "one-table-too-far",
                "The rows begin one table too late, so the last length points behind the end of the tables. Pairs have "
                "the first n_rows.",
                {"(n - 1) * n_rows": "n * n_rows"},
            ),
            Mistake(
                "two-tables-too-far",
                "The rows begin two tables too late: for the length n, counted from 2, n · n_rows was added, not "
                "(n − 2) · n_rows.",
                {"(n - 1) * n_rows": "(n + 1) * n_rows"},
            ),
            Mistake(
                "rows-interleaved",
                "The lengths are interleaved, pair, triple, … , pair, triple, …. Put one table below the other: "
                "code % n_rows + (n − 2) · n_rows.",
                {"code % n_rows + (n - 1) * n_rows": "code % n_rows * (longest - 1) + n - 1"},
            ),
            Mistake(
                "no-row-number",
                "The code itself is no row: it exceeds the table. Take it modulo n_rows, and add the start of the length's table.",
                {"code % n_rows + (n - 1) * n_rows": "code"},
            ),
            Mistake(
                "code-not-reduced",
                "The start of the table is added to the code itself, and that exceeds every table. Take the code modulo "
                "n_rows first.",
                {"code % n_rows": "code"},
            ),
            Mistake(
                "row-carried-on",
                "The next length goes on from the row, not from the code, so two pairs that share a row share it for "
                "all longer n-grams too.",
                {"rows.append(code % n_rows": "code = code % n_rows\n        rows.append(code"},
            ),
            Mistake(
                "prime-forgotten",
                "The code is not taken modulo 2³¹ − 1. The rows are others, and a long n-gram's code overflows.",
                {" % (2**31 - 1)": ""},
            ),
            Mistake(
                "power-of-two",
                "The code is taken modulo 2³¹, not 2³¹ − 1. The rows are others than those asked for.",
                {"2**31 - 1": "2**31"},
            ),
            Mistake(
                "single-tokens-too",
                "There is a row for the token alone as well. It has its own embedding: begin with pairs.",
                {
                    "code, rows = ids, []": "code, rows = ids, [ids % n_rows]",
                    "(n - 1) * n_rows": "n * n_rows",
                },
            ),
            Mistake(
                "longest-missing",
                "The longest n-gram is missing: there are longest − 1 lengths, 2 … longest.",
                {"range(1, longest)": "range(1, max(2, longest - 1))"},
            ),
            Mistake(
                "only-longest",
                "Only the longest n-gram has a row. All lengths from 2 on are asked for.",
                {"torch.stack(rows, dim=-1)": "torch.stack(rows[-1:], dim=-1)"},
            ),
            Mistake(
                "longest-first",
                "The lengths stand in the wrong order: pairs come first, the longest last.",
                {"torch.stack(rows, dim=-1)": "torch.stack(rows[::-1], dim=-1)"},
            ),
            Mistake(
                "lengths-first",
                "The lengths are the first axis. They belong last: (batch, seq, lengths).",
                {"torch.stack(rows, dim=-1)": "torch.stack(rows)"},
            ),
            Mistake(
                "lengths-in-the-middle",
                "The lengths are the second axis. They belong last: (batch, seq, lengths).",
                {"torch.stack(rows, dim=-1)": "torch.stack(rows, dim=1)"},
            ),
        ),
        hints=(
            "Begin with pairs. The token before each one: `ids` moved one place to the right, with a 0 in front and the "
            "last token dropped.",
            "`torch.nn.functional.pad(ids, (k, 0))[:, : ids.shape[1]]` moves by k places. The code starts as `ids`; for "
            "k = 1, 2 … it becomes (code * 92821 + moved) % (2**31 - 1).",
            "After each k note the row, `code % n_rows + (k - 1) * n_rows`, and go on with the code, not with the row. "
            "At the end `torch.stack(rows, dim=-1)`.",
        ),
        remark="The rows depend on ids alone, not on anything learnt, so they cost a few integer operations. Hash "
        "embeddings are Svenstrup et al. 2017; the byte model BLT puts n-grams before its first layer in this way "
        "(Pagnoni et al. 2024, section 3.2.1).",
    ),
    Exercise(
        halve_windows,
        _halve_probes,
        difficulty="easy",
        minutes=5,
        mistakes=(
            Mistake(
                "second-half-dropped",
                "Only the first halves are left, so a step sees half as many tokens. The second halves are windows of "
                "their own.",
                {"inputs.reshape(-1, half), targets.reshape(-1, half)": "inputs[:, :half], targets[:, :half]"},
            ),
            Mistake(
                "first-half-dropped",
                "Only the second halves are left, so a step sees half as many tokens. The first halves are windows of "
                "their own.",
                {"inputs.reshape(-1, half), targets.reshape(-1, half)": "inputs[:, half:], targets[:, half:]"},
            ),
            Mistake(
                "every-other-token",
                "A window takes every other token of the text. Neighbours must stay neighbours.",
                {
                    "inputs.reshape(-1, half), targets.reshape(-1, half)": "*(x.unflatten(1, (half, 2)).mT"
                    ".reshape(-1, half) for x in (inputs, targets)),"
                },
            ),
            Mistake(
                "windows-mixed",
                "A row holds tokens of different windows, for the axes were swapped before cutting. `reshape` alone "
                "is enough.",
                {
                    "inputs.reshape(-1, half), targets.reshape(-1, half)": "inputs.T.reshape(-1, half), "
                    "targets.T.reshape(-1, half)"
                },
            ),
            Mistake(
                "all-first-halves-first",
                "All first halves stand before all second halves. They are the right windows; asked for is each "
                "window's first half and then its second.",
                {
                    "inputs.reshape(-1, half), targets.reshape(-1, half)": "*(torch.cat(x.split(half, 1)) for x in "
                    "(inputs, targets)),"
                },
            ),
            Mistake(
                "targets-in-another-order",
                "Inputs and targets are cut in different orders, so that rows no longer belong together. Cut both "
                "alike.",
                {"targets.reshape(-1, half)": "torch.cat(targets.split(half, 1))"},
            ),
            Mistake(
                "targets-not-cut",
                "The targets still have the old shape. They are cut as the inputs are.",
                {"targets.reshape(-1, half)": "targets"},
            ),
            Mistake(
                "inputs-twice",
                "The inputs are returned twice. The second answer is the targets.",
                {"targets.reshape(-1, half)": "inputs.reshape(-1, half)"},
            ),
            Mistake(
                "swapped",
                "The targets come first and the inputs second.",
                {
                    "inputs.reshape(-1, half), targets.reshape(-1, half)": "targets.reshape(-1, half), "
                    "inputs.reshape(-1, half)"
                },
            ),
            Mistake(
                "targets-shifted-again",
                "The targets are shifted once more. They are one token ahead already.",
                {"targets.reshape(-1, half)": "targets.roll(-1, 1).reshape(-1, half)"},
            ),
            Mistake(
                "batch-halved",
                "The windows became twice as long and half as many. Short ones are asked for: half as long, twice as "
                "many.",
                {"inputs.shape[1] // 2": "inputs.shape[1] * 2"},
            ),
            Mistake(
                "extra-axis",
                "The halves have an axis of their own: (batch, 2, context / 2). The model takes (windows, tokens): let "
                "the first two axes become one.",
                {"reshape(-1, half)": "reshape(len(inputs), -1, half)"},
            ),
        ),
        hints=(
            "The window [1, 2, 3, 4] becomes [1, 2] and [3, 4]. In memory the numbers stand in that order already.",
            "So only the shape changes: (batch, context) → (2 · batch, context / 2). `x.reshape(-1, n)` lets torch find "
            "the first size.",
            "`half = inputs.shape[1] // 2`, then `inputs.reshape(-1, half)`; the same for the targets.",
        ),
        remark="Short windows first is staged training (Press et al. 2021). The second half forgets the first, so each "
        "token is predicted from less: that is the price. The gain is cheaper attention, and more windows to average "
        "over. `random_batch` draws twice as many starts in place of cutting.",
    ),
    Exercise(
        model_flops_utilisation,
        _mfu_probes,
        difficulty="easy",
        minutes=5,
        mistakes=(
            Mistake(
                "upside-down",
                "The share is the wrong way round: what is needed, divided by what could be done.",
                {"needed / (n_devices * peak_flops)": "n_devices * peak_flops / needed"},
            ),
            Mistake(
                "devices-forgotten",
                "n_devices changes nothing. Sixteen cards can do sixteen times as much, so the share is a sixteenth.",
                {"(n_devices * peak_flops)": "peak_flops"},
            ),
            Mistake(
                "devices-multiplied",
                "The needed FLOP/s are multiplied by the number of devices, but tokens_per_second counts the tokens of "
                "all of them together.",
                {"needed / (n_devices * peak_flops)": "n_devices * needed / peak_flops"},
            ),
            Mistake(
                "in-percent",
                "These are percent. A share lies between 0 and 1.",
                {"needed / (": "100 * needed / ("},
            ),
            Mistake(
                "seconds-per-token",
                "The FLOPs are divided by the tokens per second. So many tokens a second need that many times the "
                "FLOPs of one: multiply.",
                {"flops_per_token * tokens_per_second": "flops_per_token / tokens_per_second"},
            ),
            Mistake(
                "six-once-more",
                "The FLOPs are multiplied by 6. They hold the 6 already: forward and backward.",
                {"needed = flops_per_token": "needed = 6 * flops_per_token"},
            ),
            Mistake(
                "backward-on-top",
                "The FLOPs are multiplied by 3, for the backward pass. They hold it already.",
                {"needed = flops_per_token": "needed = 3 * flops_per_token"},
            ),
            Mistake(
                "one-token-a-second",
                "tokens_per_second changes nothing: this is what one token needs.",
                {"flops_per_token * tokens_per_second": "flops_per_token"},
            ),
            Mistake(
                "not-a-share",
                "This is the FLOP/s that the model needs. Divide by what the devices can do.",
                {"return needed / (n_devices * peak_flops)": "return needed"},
            ),
        ),
        hints=(
            "How many FLOP/s does the model need? It takes in so many tokens a second, and each needs so many FLOPs.",
            "How many could be done? peak_flops on each of n_devices.",
            "Divide the first by the second.",
        ),
        remark="PaLM (Chowdhery et al. 2022, section 4.1) introduced this number because it cannot be raised by doing "
        "useless work: recomputed activations keep the units busy and do not count.",
    ),
]

"""Exercises of lesson 09c, several machines and larger models."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from transformer_lab.exercises.catalogue import Exercise, Mistake


def average_gradients(
    gradients: Float[Tensor, "ranks *shape"], n_examples: Int[Tensor, "ranks"]
) -> Float[Tensor, "*shape"]:
    """The gradient of the mean loss over all examples, from each rank's gradient of the mean over its own."""
    total = sum(n * gradient for n, gradient in zip(n_examples, gradients))  # n times a mean: a sum over examples
    return total / n_examples.sum()


def tensor_parallel_ffn(
    x: Float[Tensor, "tokens d_model"],
    up: Float[Tensor, "d_model d_ff"],
    up_bias: Float[Tensor, "d_ff"],
    down: Float[Tensor, "d_ff d_model"],
    down_bias: Float[Tensor, "d_model"],
    n_ranks: int,
) -> Float[Tensor, "n_ranks tokens d_model"]:
    """What each rank computes of relu(x @ up + up_bias) @ down + down_bias; the sum over the ranks is the whole."""
    size = up.shape[1] // n_ranks
    parts = []
    for rank in range(n_ranks):
        mine = slice(rank * size, (rank + 1) * size)
        hidden = F.relu(x @ up[:, mine] + up_bias[mine])  # (tokens, d_ff / n_ranks), and nothing was sent
        parts.append(hidden @ down[mine])  # (tokens, d_model), a part of the sum
    parts[0] = parts[0] + down_bias
    return torch.stack(parts)


def fit_power_law(compute: list[float], loss: list[float]) -> tuple[float, float]:
    """(scale, exponent) of loss ≈ scale · compute ** -exponent: a straight line through the logarithms of both."""
    slope, intercept = np.polyfit(np.log(compute), np.log(loss), 1)
    return math.exp(intercept), float(-slope)


# ---------------------------------------------------------------- probes


def normal(*shape: int, seed: int = 0) -> Float[Tensor, "..."]:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ffn(tokens: int, d_model: int, d_ff: int, n_ranks: int, seed: int = 0) -> tuple:
    """Arguments for tensor_parallel_ffn."""
    shapes = (tokens, d_model), (d_model, d_ff), (d_ff,), (d_ff, d_model), (d_model,)
    return *(normal(*shape, seed=seed + i) for i, shape in enumerate(shapes)), n_ranks


def noisy_law(n: int, scale: float, exponent: float, seed: int = 0) -> tuple[list[float], list[float]]:
    """n points about a power law, in no order."""
    compute = (10 * torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))).exp()
    loss = scale * compute**-exponent * (0.3 * normal(n, seed=seed + 1)).exp()
    return compute.tolist(), loss.tolist()


def _average_gradients_probes() -> dict[str, tuple]:
    return {
        "one number, shares of 3 and 1": (torch.tensor([[2.0], [6.0]]), torch.tensor([3, 1])),
        "equal shares": (normal(2, 3), torch.tensor([4, 4])),
        "three ranks, a matrix": (normal(3, 2, 4, seed=1), torch.tensor([1, 5, 2])),
        "a rank without an example": (normal(3, 2, seed=2), torch.tensor([2, 0, 3])),
        "one rank": (normal(1, 3, seed=3), torch.tensor([4])),
    }


def _tensor_parallel_ffn_probes() -> dict[str, tuple]:
    one = torch.tensor([[1.0, -1.0]]), torch.eye(2), torch.tensor([0.0, 3.0]), torch.eye(2), torch.tensor([10.0, 20.0])
    return {
        "one token, two hidden units, two ranks": (*one, 2),
        "one rank": ffn(2, 3, 4, 1),
        "3 tokens, 4 × 6, two ranks": ffn(3, 4, 6, 2, seed=10),
        "2 tokens, 6 × 12, three ranks": ffn(2, 6, 12, 3, seed=20),
    }


def _fit_power_law_probes() -> dict[str, tuple]:
    return {
        "half the loss for twice the compute": ([1.0, 2.0, 4.0], [8.0, 4.0, 2.0]),
        "exponent 0.5": ([4.0, 100.0, 10000.0], [5.0, 1.0, 0.1]),
        "five points about a line": ([2.0, 5.0, 20.0, 60.0, 300.0], [4.0, 3.9, 2.5, 2.4, 1.2]),
        "nine points, in no order": noisy_law(9, 6.0, 0.3),
        "a loss that rises": ([1.5, 3.0, 9.0], [1.0, 2.5, 3.0]),
    }


# ---------------------------------------------------------------- exercises

FIT = "np.polyfit(np.log(compute), np.log(loss), 1)"
ADD_BIAS = "    parts[0] = parts[0] + down_bias\n"

EXERCISES = [
    Exercise(
        average_gradients,
        _average_gradients_probes,
        difficulty="easy",
        minutes=8,
        mistakes=(
            Mistake(
                "mean-of-means",
                "Every rank counts the same, however many examples it has. An example on a rank with few of them then "
                "counts for more than one elsewhere. Weight each rank's gradient by its number of examples.",
                {"n * gradient": "gradient", "n_examples.sum()": "len(gradients)"},
            ),
            Mistake(
                "sum-of-means",
                "The ranks' gradients are added and not averaged: with W equal ranks, steps W times as long. "
                "`all_reduce` gives a sum too; the division is left to you.",
                {"n * gradient": "gradient", " / n_examples.sum()": ""},
            ),
            Mistake(
                "not-divided",
                "This is the gradient of the sum over all examples. The loss is their mean: divide by how many there "
                "are.",
                {" / n_examples.sum()": ""},
            ),
            Mistake(
                "divided-twice",
                "Each rank's gradient is a mean already, and it is divided by the number of examples once more. "
                "Multiply it by the rank's own number first.",
                {"n * gradient": "gradient"},
            ),
            Mistake(
                "divided-by-ranks",
                "The sum over the examples is divided by the number of ranks. Divide by the number of examples, all "
                "ranks' together.",
                {"n_examples.sum()": "len(gradients)"},
            ),
            Mistake(
                "divided-by-ranks-too",
                "The weights add up to 1 already: after dividing by the number of all examples, do not divide by the "
                "number of ranks as well.",
                {"total / n_examples.sum()": "total / n_examples.sum() / len(gradients)"},
            ),
            Mistake(
                "small-shares-count-more",
                "A rank with fewer examples gets more weight. It is the other way round: its gradient speaks for fewer.",
                {"n * gradient": "gradient / n", "n_examples.sum()": "(1 / n_examples).sum()"},
            ),
            Mistake(
                "first-share-for-all",
                "The division takes every share to be as large as the first one. Add the shares up.",
                {"n_examples.sum()": "(len(n_examples) * n_examples[0])"},
            ),
            Mistake(
                "largest-share-counts-as-one",
                "The weights are the shares divided by the largest one, so together they are more than 1. Divide by the "
                "sum of all shares.",
                {"n_examples.sum()": "n_examples.max()"},
            ),
            Mistake(
                "whole-number-division",
                "The shares are divided with `//`, which rounds down: every rank that has not all of the examples gets "
                "the weight 0. Use `/`.",
                {"n * gradient": "n // n_examples.sum() * gradient", " / n_examples.sum()": ""},
            ),
            Mistake(
                "two-ranks-only",
                "Only the first two ranks are used. There may be any number of them.",
                {
                    "zip(n_examples, gradients)": "zip(n_examples[:2], gradients)",
                    "n_examples.sum()": "n_examples[:2].sum()",
                },
            ),
            Mistake(
                "softmax-of-counts",
                "The weights are a softmax of the numbers of examples, so a few more examples mean many times the "
                "weight. A share is a number of examples divided by all of them.",
                {
                    "zip(n_examples, gradients)": "zip(n_examples.double().softmax(0), gradients)",
                    " / n_examples.sum()": "",
                },
            ),
            Mistake(
                "first-rank-only",
                "Only the first rank's gradient is used. What the others computed is lost.",
                {"return total / n_examples.sum()": "return gradients[0]"},
            ),
            Mistake(
                "largest-share-only",
                "Only the gradient of the rank with the most examples is used. What the others computed is lost.",
                {"return total / n_examples.sum()": "return gradients[n_examples.argmax()]"},
            ),
            Mistake(
                "ranks-not-summed",
                "The gradients are weighted but still apart, one a rank. Add them up.",
                {
                    "sum(n * gradient for n, gradient in zip(n_examples, gradients))": "torch.stack([n * gradient for n, "
                    "gradient in zip(n_examples, gradients)])"
                },
            ),
            Mistake(
                "counts-along-the-last-axis",
                "n_examples is lined up with the last axis of the gradients, as a product of tensors does it. Give it an "
                "axis of length 1 for each axis of a gradient, or multiply rank by rank.",
                {"sum(n * gradient for n, gradient in zip(n_examples, gradients))": "(gradients * n_examples).sum(0)"},
            ),
            Mistake(
                "for-vectors-only",
                "n_examples[:, None] fits gradients that are vectors. A matrix has one axis more, and a gradient may have "
                "any number of them.",
                {
                    "sum(n * gradient for n, gradient in zip(n_examples, gradients))": "(gradients * n_examples[:, None])"
                    ".sum(0)"
                },
            ),
            Mistake(
                "averaged-to-one-number",
                "One number comes back. Average over the ranks only: every weight of the model needs its own gradient.",
                {"return total / n_examples.sum()": "return (total / n_examples.sum()).mean()"},
            ),
        ),
        hints=(
            "Let rank 0 have 3 examples and rank 1 have 1. What was the sum over rank 0's examples, before it was "
            "divided by 3?",
            "A mean times its number of examples is a sum over examples. Add these sums, then divide once.",
            "`sum(n * g for n, g in zip(n_examples, gradients)) / n_examples.sum()`.",
        ),
        remark="With equal shares it is the plain mean, and so DistributedDataParallel divides by the number of ranks (Li et "
        "al. 2020). That is why `train` wants a batch that the number of processes divides.",
    ),
    Exercise(
        tensor_parallel_ffn,
        _tensor_parallel_ffn_probes,
        difficulty="medium",
        minutes=15,
        mistakes=(
            Mistake(
                "bias-on-every-rank",
                "Every rank adds down_bias, so the sum holds it once a rank. Rank 0 alone adds it.",
                {"parts.append(hidden @ down[mine])": "parts.append(hidden @ down[mine] + down_bias)", ADD_BIAS: ""},
            ),
            Mistake("bias-nowhere", "No rank adds down_bias. Rank 0 does.", {ADD_BIAS: ""}),
            Mistake(
                "bias-shared-out",
                "Every rank adds an equal part of down_bias. The sum is right, but here rank 0 adds all of it.",
                {
                    "parts.append(hidden @ down[mine])": "parts.append(hidden @ down[mine] + down_bias / n_ranks)",
                    ADD_BIAS: "",
                },
            ),
            Mistake(
                "bias-on-the-last-rank",
                "The last rank adds down_bias. The sum is right, but here rank 0 adds it.",
                {"parts[0] = parts[0]": "parts[-1] = parts[-1]"},
            ),
            Mistake(
                "no-activation",
                "The ReLU is missing. Two matrices with nothing between them are one matrix.",
                {"F.relu(x @ up[:, mine] + up_bias[mine])": "x @ up[:, mine] + up_bias[mine]"},
            ),
            Mistake(
                "activation-after-down",
                "The ReLU is taken of what leaves `down`. It belongs between the two matrices, on the hidden units, "
                "which each rank has whole.",
                {
                    "F.relu(x @ up[:, mine] + up_bias[mine])": "x @ up[:, mine] + up_bias[mine]",
                    "hidden @ down[mine]": "F.relu(hidden @ down[mine])",
                },
            ),
            Mistake(
                "activation-twice",
                "What leaves `down` goes through a ReLU too. That is a partial sum: its negative numbers are needed, "
                "for relu(a) + relu(b) is not a + b.",
                {"hidden @ down[mine]": "F.relu(hidden @ down[mine])"},
            ),
            Mistake(
                "up-bias-after-activation",
                "up_bias is added after the ReLU. It belongs inside: relu(x @ up + up_bias).",
                {"F.relu(x @ up[:, mine] + up_bias[mine])": "F.relu(x @ up[:, mine]) + up_bias[mine]"},
            ),
            Mistake("up-bias-missing", "up_bias is left out.", {" + up_bias[mine]": ""}),
            Mistake(
                "first-piece-of-the-bias",
                "Every rank adds the first piece of up_bias. Cut it like the columns of `up`: a hidden unit and its "
                "bias belong together.",
                {"up_bias[mine]": "up_bias[:size]"},
            ),
            Mistake(
                "same-piece-on-every-rank",
                "Every rank has the same piece of the matrices, the first. Rank r takes the hidden units from r · size "
                "on.",
                {"slice(rank * size, (rank + 1) * size)": "slice(0, size)"},
            ),
            Mistake(
                "whole-on-every-rank",
                "Every rank computes the whole layer: nothing is saved, and the sum is n_ranks times too large.",
                {"slice(rank * size, (rank + 1) * size)": "slice(None)"},
            ),
            Mistake(
                "rows-then-whole",
                "`up` is cut by its rows, its inputs, so what a rank has before the ReLU is only a part of a sum, and "
                "relu(a) + relu(b) is not relu(a + b). Cut `up` by columns and `down` by rows.",
                {
                    "up.shape[1]": "up.shape[0]",
                    "x @ up[:, mine] + up_bias[mine]": "x[:, mine] @ up[mine] + up_bias",
                    "hidden @ down[mine]": "hidden @ down",
                },
            ),
            Mistake(
                "every-other-unit",
                "Rank r has the hidden units r, r + n_ranks, r + 2 n_ranks … The sum is right, but here each rank has "
                "consecutive ones.",
                {"slice(rank * size, (rank + 1) * size)": "slice(rank, None, n_ranks)"},
            ),
            Mistake(
                "reversed-ranks",
                "The pieces are dealt out from the end. The sum is right, but here rank 0 has the first.",
                {
                    "parts[0] = parts[0] + down_bias": "parts[-1] = parts[-1] + down_bias",
                    "torch.stack(parts)": "torch.stack(parts[::-1])",
                },
            ),
            Mistake(
                "divided-by-ranks",
                "The parts are divided by n_ranks. Gradients of equal shares are averaged; these are the parts of a "
                "sum.",
                {"hidden @ down[mine]": "hidden @ down[mine] / n_ranks"},
            ),
            Mistake(
                "down-missing",
                "The hidden units come back, each rank's own. Multiply them by the rank's rows of `down`.",
                {"hidden @ down[mine]": "hidden", ADD_BIAS: ""},
            ),
            Mistake(
                "summed-already",
                "The sum over the ranks comes back. Asked for is what each rank has before the all-reduce, one below "
                "the other.",
                {"torch.stack(parts)": "sum(parts)"},
            ),
            Mistake(
                "all-reduced-already",
                "Every rank has the sum over the ranks, as after the all-reduce. Asked for is what each has before it.",
                {"torch.stack(parts)": "torch.stack([sum(parts)] * n_ranks)"},
            ),
            Mistake(
                "down-by-columns",
                "`down` is cut by columns. The sum is right, but each rank needed all hidden units, so something had to be "
                "sent between the two matrices, or computed on every rank. Cut `down` by rows.",
                {
                    "up.shape[1]": "down.shape[1]",
                    "x @ up[:, mine] + up_bias[mine]": "x @ up + up_bias",
                    "hidden @ down[mine]": "F.pad(hidden @ down[:, mine], (rank * size, down.shape[1] - (rank + 1) * size))",
                },
            ),
            Mistake(
                "mean-of-parts",
                "The mean over the ranks comes back. Gradients of equal shares are averaged; these parts will be "
                "added, and not by this function: return all of them.",
                {"torch.stack(parts)": "torch.stack(parts).mean(0)"},
            ),
            Mistake(
                "tokens-first",
                "The ranks stand on the second axis. Stack on a new first one: (n_ranks, tokens, d_model).",
                {"torch.stack(parts)": "torch.stack(parts, dim=1)"},
            ),
            Mistake(
                "side-by-side",
                "The ranks' parts stand side by side, as if each had some of the output's columns. Each has a part of "
                "the sum of every column. Stack them on a new first axis.",
                {"torch.stack(parts)": "torch.cat(parts, dim=-1)"},
            ),
            Mistake(
                "one-below-the-other",
                "The ranks' tokens stand one below the other on one axis. Every rank has all tokens: stack the parts "
                "on a new first axis.",
                {"torch.stack(parts)": "torch.cat(parts)"},
            ),
            Mistake(
                "not-stacked",
                "A list comes back. `torch.stack` makes one tensor of it, (n_ranks, tokens, d_model).",
                {"torch.stack(parts)": "parts"},
            ),
        ),
        hints=(
            "A hidden unit needs one column of `up`, one number of up_bias and one row of `down`. Give each rank some "
            "hidden units, with all that belongs to them.",
            "Rank r has the units from r · d_ff / n_ranks to (r + 1) · d_ff / n_ranks: call that slice `mine`. It "
            "computes the layer as if there were no other units, without down_bias.",
            "In a loop: `hidden = F.relu(x @ up[:, mine] + up_bias[mine])`, `parts.append(hidden @ down[mine])`.",
            "After the loop `parts[0] = parts[0] + down_bias`, and `torch.stack(parts)`.",
        ),
        remark="Columns first, then rows: so nothing is sent between the two matrices, and one all-reduce ends the layer "
        "(Shoeybi et al. 2019, section 3). Attention is cut the same way, by heads.",
    ),
    Exercise(
        fit_power_law,
        _fit_power_law_probes,
        difficulty="easy",
        minutes=8,
        mistakes=(
            Mistake(
                "no-logs",
                "A straight line is fitted to the numbers themselves. A power law is straight only between the "
                "logarithms of both.",
                {"np.log(compute), np.log(loss)": "compute, loss", "math.exp(intercept)": "float(intercept)"},
            ),
            Mistake(
                "no-logs-but-exp",
                "A straight line is fitted to the numbers themselves, and then exp is taken of its intercept. Take the "
                "logarithms of both first; exp undoes one of them at the end.",
                {"np.log(compute), np.log(loss)": "compute, loss"},
            ),
            Mistake(
                "compute-without-log",
                "The logarithm of the loss is taken and not that of the compute: that is an exponential, and not a "
                "power. Take both.",
                {"np.log(compute)": "compute"},
            ),
            Mistake(
                "loss-without-log",
                "The logarithm of the compute is taken and not that of the loss. Take both.",
                {"np.log(loss)": "loss"},
            ),
            Mistake(
                "sign-kept",
                "The slope itself comes back. The loss falls, so the slope is negative; the exponent is what stands "
                "after the minus: −slope.",
                {"-slope": "slope"},
            ),
            Mistake(
                "absolute-slope",
                "The exponent is never negative. It is −slope, whatever its sign: where a loss rises, the exponent is "
                "below 0.",
                {"float(-slope)": "abs(float(slope))"},
            ),
            Mistake(
                "exponent-inverted",
                "The exponent is 1 / (−slope). The slope says by how much the log of the loss changes for one unit of "
                "the log of the compute: the exponent is −slope itself.",
                {"float(-slope)": "float(-1 / slope)"},
            ),
            Mistake(
                "first-loss-as-scale",
                "The scale is the first loss. That would be the loss at a compute of 1, if it stood first; take "
                "exp(intercept).",
                {"math.exp(intercept)": "loss[0]"},
            ),
            Mistake(
                "intercept-is-a-log",
                "The scale is still a logarithm. The line says log loss = intercept + …, so the scale is "
                "exp(intercept).",
                {"math.exp(intercept)": "float(intercept)"},
            ),
            Mistake(
                "two-bases",
                "The logarithms have base 10 and the scale is e to the power of the intercept. The base must be the "
                "same: np.log with exp, or np.log10 with 10 **.",
                {"np.log(": "np.log10("},
            ),
            Mistake(
                "bases-differ",
                "The two axes have logarithms of different bases, so the slope is off by a factor.",
                {"np.log(loss)": "np.log10(loss)"},
            ),
            Mistake(
                "axes-swapped",
                "The line says how the compute depends on the loss. polyfit takes x first: the compute.",
                {"np.log(compute), np.log(loss)": "np.log(loss), np.log(compute)"},
            ),
            Mistake(
                "slope-and-intercept-swapped",
                "polyfit gives the highest power first: the slope, then the intercept.",
                {"slope, intercept =": "intercept, slope ="},
            ),
            Mistake(
                "exponent-first",
                "Both numbers are right, in the wrong order: first the scale, then the exponent.",
                {"math.exp(intercept), float(-slope)": "float(-slope), math.exp(intercept)"},
            ),
            Mistake(
                "exponent-exponentiated",
                "The exponent went through exp. Only the intercept is a logarithm; the slope between two logarithms is "
                "the exponent itself, but for its sign.",
                {"float(-slope)": "math.exp(-slope)"},
            ),
            Mistake(
                "first-and-last-only",
                "The line goes through the first and the last point, whatever is between them. Let all points count.",
                {FIT: "np.polyfit(np.log(compute)[[0, -1]], np.log(loss)[[0, -1]], 1)"},
            ),
            Mistake(
                "through-the-origin",
                "The line is forced through the origin, so the scale is always 1. It has an intercept as well.",
                {FIT: "(np.log(compute) @ np.log(loss) / (np.log(compute) @ np.log(compute)), 0.0)"},
            ),
            Mistake(
                "log-of-one-plus",
                "The logarithm is taken of one more than the number (log1p). A power law is straight without it.",
                {"np.log(": "np.log1p("},
            ),
        ),
        hints=(
            "Take the logarithm of both sides of loss = scale · compute ** −exponent. Which straight line is that?",
            "log loss = log scale − exponent · log compute. `np.polyfit(x, y, 1)` gives the slope and the intercept of "
            "the best line.",
            "`slope, intercept = np.polyfit(np.log(compute), np.log(loss), 1)`; the scale is `math.exp(intercept)`, the "
            "exponent `-slope`.",
        ),
        remark="A straight line on two logarithmic axes is what Kaplan et al. 2020 found for language models. Hoffmann et al. "
        "2022 add a constant, the loss that no model can go below.",
    ),
]

"""Exercises of lesson 00, start here: two short ones, to see how an exercise works."""

from jaxtyping import Float
from torch import Tensor

from transformer_lab.exercises.catalogue import Exercise, Mistake
from transformer_lab.exercises.lesson_02 import exactly, gaussian


def weighted_average(weights: Float[Tensor, "n"], values: Float[Tensor, "n d"]) -> Float[Tensor, "d"]:
    """The rows of `values`, each times its weight, added up."""
    return weights @ values


def likeliest(probabilities: Float[Tensor, "vocab"], k: int) -> list[int]:
    """The ids of the k largest probabilities, the largest first."""
    return probabilities.topk(k).indices.tolist()


def weighted_average_probes() -> dict[str, tuple]:
    return {
        "half of one row and half of another": (exactly([0.5, 0.5]), exactly([[0, 2], [4, 6]])),
        "a quarter of one row, the rest of another": (exactly([0.25, 0.75]), exactly([[0, 2], [4, 6]])),
        "all the weight on one row": (exactly([0, 1]), exactly([[0, 2], [4, 6]])),
        "three rows of three numbers": (gaussian(3).softmax(0), gaussian(3, 3, seed=1)),
        "four rows of three numbers": (gaussian(4).softmax(0), gaussian(4, 3, seed=1)),
    }


def likeliest_probes() -> dict[str, tuple]:
    return {
        "the likeliest of three": (exactly([0.2, 0.7, 0.1]), 1),
        "the two likeliest of three": (exactly([0.3, 0.1, 0.6]), 2),
        "all of four": (exactly([0.1, 0.4, 0.2, 0.3]), 4),
        "the five likeliest of twenty": (gaussian(20).softmax(0), 5),
    }


EXERCISES = [
    Exercise(
        weighted_average,
        weighted_average_probes,
        difficulty="easy",
        minutes=3,
        mistakes=(
            Mistake(
                "plain-mean",
                "This is the plain mean: every row counts the same, whatever its weight is.",
                {"weights @ values": "values.mean(0)"},
            ),
            Mistake(
                "plain-sum",
                "The rows are added up without their weights. Multiply each by its weight first.",
                {"weights @ values": "values.sum(0)"},
            ),
            Mistake(
                "not-summed",
                "The rows are multiplied by their weights, but not added up. Sum over the rows, axis 0.",
                {"weights @ values": "weights[:, None] * values"},
            ),
            Mistake(
                "summed-along-the-row",
                "Each weighted row was summed into one number. Sum the other way, over the rows (axis 0): the answer "
                "is one row of d numbers.",
                {"weights @ values": "(weights[:, None] * values).sum(1)"},
            ),
            Mistake(
                "summed-to-one-number",
                "Everything is added up into one number. Sum over the rows only, axis 0: d numbers are left.",
                {"weights @ values": "(weights[:, None] * values).sum()"},
            ),
            Mistake(
                "mean-not-sum",
                "The weighted rows are averaged. Add them up: the weights sum to 1 and have done the dividing already.",
                {"weights @ values": "weights @ values / len(weights)"},
            ),
            Mistake(
                "weights-on-columns",
                "The weights meet the columns, one a column. Each weight belongs to a row: `weights[:, None]` "
                "stands them up.",
                {"weights @ values": "(weights * values).sum(0)"},
            ),
            Mistake(
                "weights-on-columns-not-summed",
                "The weights meet the columns, one a column, and nothing is added up. Each weight belongs to a row: "
                "`weights[:, None]` stands them up. Then sum over the rows.",
                {"weights @ values": "weights * values"},
            ),
            Mistake(
                "matrix-first",
                "The weights multiply the columns, as values @ weights does. Each weight belongs to a row: weights @ "
                "values.",
                {"weights @ values": "values @ weights"},
            ),
            Mistake(
                "largest-only",
                "Only the row with the largest weight comes back. Every row counts, as much as its weight says.",
                {"weights @ values": "values[weights.argmax()]"},
            ),
            Mistake(
                "softmax-again",
                "The weights went through a softmax. They are weights already: at least 0, and their sum is 1.",
                {"weights @ values": "weights.softmax(0) @ values"},
            ),
            Mistake(
                "axis-kept",
                "There is an axis of size 1 too many: the shape should be (d,).",
                {"weights @ values": "(weights @ values)[None]"},
            ),
        ),
        hints=(
            "Multiply row i of `values` by `weights[i]`, for every i; then add the rows up.",
            "`weights[:, None]` has shape (n, 1), so that `weights[:, None] * values` multiplies each row by its weight.",
            "Then `.sum(0)` adds the rows up. Multiplying and adding up is what `@` does: `weights @ values`.",
        ),
        remark="`weights @ values` is attention's last step, for one word. With one row of weights for each word, the "
        "same `@` serves them all.",
    ),
    Exercise(
        likeliest,
        likeliest_probes,
        difficulty="easy",
        minutes=3,
        mistakes=(
            Mistake(
                "least-likely",
                "These are the k smallest probabilities. Asked for are the k largest.",
                {"topk(k)": "topk(k, largest=False)"},
            ),
            Mistake(
                "end-of-the-list",
                "These are the k smallest probabilities, the largest of them first: the end of a list that begins with "
                "the largest. Asked for is its beginning.",
                {"topk(k)": "topk(k, largest=False)", ".indices": ".indices.flip(0)"},
            ),
            Mistake(
                "smallest-first",
                "The smallest of them comes first. Put the largest probability first.",
                {".indices": ".indices.flip(0)"},
            ),
            Mistake(
                "sorted-by-id",
                "The ids are sorted by their numbers. Sort by probability, the largest first.",
                {"probabilities.topk(k).indices.tolist()": "sorted(probabilities.topk(k).indices.tolist())"},
            ),
            Mistake(
                "probabilities-not-ids",
                "These are the probabilities. Asked for is where they stand: their ids.",
                {".indices": ".values"},
            ),
            Mistake(
                "tensor-not-list",
                "The result is a tensor. Asked for is a list of integers: `.tolist()`.",
                {".tolist()": ""},
            ),
            Mistake(
                "only-the-first",
                "Only one comes back, whatever k is. Asked for are k of them.",
                {"topk(k)": "topk(1)"},
            ),
            Mistake(
                "id-not-list",
                "Only the likeliest id comes back, and not in a list. Asked for is a list of k ids.",
                {"probabilities.topk(k).indices.tolist()": "probabilities.argmax()"},
            ),
            Mistake(
                "k-ignored",
                "As many come back as there are probabilities. Asked for are the first k.",
                {"topk(k)": "sort(descending=True)"},
            ),
            Mistake(
                "ids-from-one",
                "The ids are counted from 1. Like every index in Python, they count from 0.",
                {"probabilities.topk(k).indices.tolist()": "(probabilities.topk(k).indices + 1).tolist()"},
            ),
            Mistake(
                "first-k-ids",
                "These are the numbers 0 to k − 1, whatever the probabilities are.",
                {"probabilities.topk(k).indices.tolist()": "list(range(k))"},
            ),
        ),
        hints=(
            "Which function of a tensor gives the k largest numbers? The id of a token is the place of its probability.",
            "`probabilities.topk(k)` gives two tensors, the largest first: `.values` and `.indices`.",
            "The indices are the ids; `.tolist()` turns a tensor into a list: `probabilities.topk(k).indices.tolist()`.",
        ),
        remark="To draw from the k likeliest tokens only is called top-k sampling (Fan et al. 2018). With k = 1 it is "
        "greedy decoding.",
    ),
]

"""Exercises of lesson 02: softmax, scaled scores, attention, entropy."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lab.attention import attention_pattern, scaled_dot_product_attention
from transformer_lab.exercises.catalogue import Exercise, Mistake


def softmax(scores: Float[Tensor, "*queries keys"]) -> Float[Tensor, "*queries keys"]:
    """Weights that are at least 0 and sum to 1 over the keys, however large the scores are.

    A row's largest score is taken away first: that changes no weight, and no exponential exceeds 1.
    """
    exponentials = (scores - scores.amax(-1, keepdim=True)).exp()
    return exponentials / exponentials.sum(-1, keepdim=True)


def scaled_scores(
    query: Float[Tensor, "*heads queries d_head"], key: Float[Tensor, "*heads keys d_head"]
) -> Float[Tensor, "*heads queries keys"]:
    """Dot product of every query with every key, divided by √d_head."""
    return query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])


def entropy(pattern: Float[Tensor, "*heads queries keys"]) -> Float[Tensor, "*heads queries"]:
    """−Σ w log₂ w over the keys, in bits; a weight of 0 adds nothing."""
    return torch.special.entr(pattern).sum(-1) / math.log(2)  # entr(w) is −w ln w, and 0 at w = 0


# ---------------------------------------------------------------- probes


def gaussian(*shape: int, seed: int = 0) -> Float[Tensor, "..."]:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def exactly(rows: list) -> Float[Tensor, "..."]:
    return torch.tensor(rows, dtype=torch.float64)


# "the dog chased" as in the notebook
QUERY = exactly([[0, 1, 0, 0], [1, 0, 2, 0], [0, 2, 0, 0]])
KEY = exactly([[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]])
VALUE = exactly([[0, 0], [8, 0], [0, 8]])


def softmax_probes() -> dict[str, tuple]:
    return {
        "two queries, two keys, one score below zero": (exactly([[-1, 3], [0, 1]]),),
        "two equal scores": (exactly([[0, 0]]),),
        "the scores 0, 1, 2": (exactly([[0, 1, 2]]),),
        "large scores: 1000, 1001, 1002": (exactly([[1000, 1001, 1002]]),),
        # Shifted by half of 1,200 all goes well, by half of 3,000 not: exp overflows at 710, and 2^x at 1,024.
        "scores far apart: 0, 1200": (exactly([[0, 1200]]),),
        "scores far apart: 1200, 0": (exactly([[1200, 0]]),),
        "scores far apart: 0, 3000": (exactly([[0, 3000]]),),
        "two rows, one 1,000 above the other": (exactly([[0, 0], [1000, 1000]]),),
        "two rows, one 2,000 below the other": (exactly([[0, 1], [-2000, -2001]]),),
        "a score of −∞": (exactly([[0, -math.inf, 1]]),),
        "2 sentences, one query, two equal scores": (exactly([[[0, 0]], [[0, 0]]]),),
        "one row without a query axis": (exactly([0, 1, 2]),),
        "2 queries, 3 keys": (gaussian(2, 3),),
        "4 queries, 4 keys": (gaussian(4, 4),),
        "2 sentences, 3 heads, 4 queries, 5 keys": (gaussian(2, 3, 4, 5),),
    }


def scores_probes() -> dict[str, tuple]:
    return {
        "one query, one key, all ones": (exactly([[1, 1, 1, 1]]), exactly([[1, 1, 1, 1]])),
        "the dog chased": (QUERY, KEY),
        "2 queries, 3 keys, d_head = 5": (gaussian(2, 5), gaussian(3, 5, seed=1)),
        "2 sentences, one query, two keys": (exactly([[[1] * 4], [[2] * 4]]), exactly([[[1] * 4, [3] * 4]] * 2)),
        "4 queries, 4 keys, d_head = 4": (gaussian(4, 4), gaussian(4, 4, seed=1)),
        "3 queries, 3 keys, d_head = 3": (gaussian(3, 3), gaussian(3, 3, seed=1)),
        "2 sentences, 3 heads, 4 queries, 5 keys, d_head = 6": (gaussian(2, 3, 4, 6), gaussian(2, 3, 5, 6, seed=1)),
        "d_head = 1": (gaussian(2, 1), gaussian(3, 1, seed=1)),
    }


def attention_probes() -> dict[str, tuple]:
    def probe(*batch: int, queries: int, keys: int, d_head: int, d_value: int) -> tuple:
        return (
            gaussian(*batch, queries, d_head),
            gaussian(*batch, keys, d_head, seed=1),
            gaussian(*batch, keys, d_value, seed=2),
        )

    return {
        "one query, two equal keys": (exactly([[1, 1, 1, 1]]), exactly([[1, 1, 1, 1]] * 2), exactly([[0, 0], [8, 4]])),
        "the dog chased": (QUERY, KEY, VALUE),
        "2 queries, 3 keys, d_head = 5, d_value = 4": probe(queries=2, keys=3, d_head=5, d_value=4),
        "2 sentences, one query, two equal keys": (
            exactly([[[1] * 4], [[2] * 4]]),
            exactly([[[1] * 4] * 2] * 2),
            exactly([[[0, 0], [8, 4]]] * 2),
        ),
        "every size 4": probe(queries=4, keys=4, d_head=4, d_value=4),
        "2 sentences, 3 heads": probe(2, 3, queries=4, keys=5, d_head=6, d_value=7),
        "d_head = 1": probe(queries=2, keys=3, d_head=1, d_value=2),
        "scores beyond 1,000": (1000 * QUERY, KEY, VALUE),
    }


def entropy_probes() -> dict[str, tuple]:
    return {
        "even over two": (exactly([[0.5, 0.5]]),),
        "a half and two quarters": (exactly([[0.5, 0.25, 0.25]]),),
        "everything on one token": (exactly([[0, 1, 0]]),),
        "one weight of 0, and one of 1": (exactly([[0.5, 0.5, 0], [0, 1, 0]]),),
        "a weight of 0 in one row only": (exactly([[0.5, 0.5, 0], [0.5, 0.25, 0.25]]),),
        "weights of 0.001 and of 0.00001": (exactly([[0.998, 1e-3, 1e-3], [0.99998, 1e-5, 1e-5]]),),
        "1,000 weights of 0.00001": (exactly([[0.99] + [1e-5] * 1000]),),
        "2 queries, 3 keys": (gaussian(2, 3).softmax(-1),),
        "4 queries, 4 keys": (gaussian(4, 4).softmax(-1),),
        "2 sentences, 3 heads, 4 queries, 5 keys": (gaussian(2, 3, 4, 5).softmax(-1),),
    }


# ---------------------------------------------------------------- exercises

# What goes wrong between two vectors and their score; the source has the same words wherever it is done.
SCORE_MISTAKES = (
    Mistake(
        "unscaled-scores",
        "The division by √d_head is missing. Without it the scores spread further the larger d_head is, and the "
        "largest of them gets too much of the weight.",
        {" / math.sqrt(query.shape[-1])": ""},
    ),
    Mistake(
        "scaled-by-d",
        "Divided by d_head, not by its square root: the scores shrink too much, and the weights become too flat.",
        {"math.sqrt(query.shape[-1])": "query.shape[-1]"},
    ),
    Mistake(
        "scaled-by-keys",
        "Divided by the root of the number of keys. The spread of a dot product comes from how many numbers it "
        "adds up, and that is d_head, the last axis of query.",
        {"query.shape[-1]": "key.shape[-2]"},
    ),
    Mistake(
        "scale-inverted",
        "Multiplied by √d_head, not divided by it: the spread that the division takes away is made greater.",
        {" / math.sqrt(query": " * math.sqrt(query"},
    ),
    Mistake(
        "keys-ignored",
        "The queries are compared with themselves: the keys change nothing. Row i, column j is query i · key j.",
        {"query @ key": "query @ query"},
    ),
    Mistake(
        "queries-ignored",
        "The keys are compared with themselves: the queries change nothing. Row i, column j is query i · key j.",
        {"query @ key": "key @ key"},
    ),
    Mistake(
        "query-and-key-swapped",
        "Row and column are swapped: entry (i, j) must be query i · key j, so that a row belongs to a query. "
        "Yours is key i · query j.",
        {"query @ key": "key @ query"},
    ),
)

# More of them, where d_head comes from and how its root is written.
MORE_SCORE_MISTAKES = (
    Mistake(
        "scaled-by-queries",
        "Divided by the root of the number of queries. d_head is the last axis of query, `query.shape[-1]`.",
        {"query.shape[-1]": "query.shape[-2]"},
    ),
    Mistake(
        "scaled-by-first-axis",
        "Divided by the root of `len(query)`, the size of its first axis. These are the queries, or the sentences "
        "where there are any. d_head is the last axis, `query.shape[-1]`.",
        {"query.shape[-1]": "query.shape[0]"},
    ),
    Mistake(
        "scaled-by-first-axis-of-keys",
        "Divided by the root of `len(key)`, the size of its first axis. These are the keys, or the sentences where "
        "there are any. d_head is the last axis, `query.shape[-1]`.",
        {"query.shape[-1]": "key.shape[0]"},
    ),
    Mistake(
        "scaled-by-axis-1",
        "Divided by the root of the size of query's axis 1. That is d_head in a single matrix only; with sentences and "
        "heads in front d_head is still the last axis, `query.shape[-1]`.",
        {"query.shape[-1]": "query.shape[1]"},
    ),
    Mistake(
        "scaled-by-example",
        "Divided by 2 whatever d_head is. In the example d_head is 4 and its root 2; in general it is "
        "`query.shape[-1]`.",
        {"math.sqrt(query.shape[-1])": "2"},
    ),
    Mistake(
        "scaled-by-twice-d",
        "Divided by 2 · d_head. `x / d ** 1/2` does that: Python reads it as (x / d) / 2. A root is `d ** 0.5` or "
        "`math.sqrt(d)`.",
        {"math.sqrt(query.shape[-1])": "(2 * query.shape[-1])"},
    ),
    Mistake(
        "scaled-by-half-d",
        "Divided by d_head / 2. `x / (d ** 1/2)` does that: Python takes the power first, d ** 1, and then half of "
        "it. A root is `d ** 0.5` or `math.sqrt(d)`.",
        {"math.sqrt(query.shape[-1])": "(query.shape[-1] / 2)"},
    ),
    Mistake(
        "only-two-axes",
        "It runs for one matrix of queries and one of keys, but not with sentences or heads in front. Let those axes "
        "be: only the last two take part. `key.transpose(-2, -1)` and `@` do so, and einsum's `...`; `.T`, "
        "`transpose(0, 1)` and a loop over the first axis do not.",
        {"key.transpose(-2, -1)": "key.permute(*range(key.ndim)[::-1])"},
    ),
)
# Any shift cancels in the division. Only this one keeps every exponential at 1 or below, and one of them at 1.
ONLY_THE_LARGEST = (
    "That cancels too, but a score far above it still overflows: exp(1000) is ∞ already, and ∞ / ∞ is NaN. With the "
    "largest taken away none does."
)

EXERCISES = [
    Exercise(
        softmax,
        softmax_probes,
        difficulty="easy",
        minutes=10,
        mistakes=(
            Mistake(
                "softmax-overflows",
                "exp(1000) is more than a number can hold, and ∞ / ∞ is NaN. Take each row's largest score away first: "
                "it cancels in the division.",
                {"(scores - scores.amax(-1, keepdim=True))": "scores"},
            ),
            Mistake(
                "one-shift-for-all-rows",
                "The largest score of all rows is taken away. In a row far below it every exponential is 0, and 0 / 0 "
                "is NaN. Each row needs its own largest score.",
                {"scores.amax(-1, keepdim=True)": "scores.max()"},
            ),
            *(
                Mistake(
                    f"shifted-by-{which}",
                    f"The shift is {words}, not its largest score. {ONLY_THE_LARGEST}",
                    {"scores.amax(-1, keepdim=True)": shift},
                )
                for which, words, shift in (
                    ("first", "each row's first score", "scores[..., :1]"),
                    ("last", "each row's last score", "scores[..., -1:]"),
                    ("smallest", "each row's smallest score", "scores.amin(-1, keepdim=True)"),
                    ("mean", "each row's mean", "scores.mean(-1, keepdim=True)"),
                )
            ),
            Mistake(
                "nan-hidden",
                "Large scores still overflow to ∞, and ∞ / ∞ is NaN. With 0 in place of the NaN the row no longer sums "
                "to 1. Take each row's largest score away first, and no NaN comes up.",
                {
                    "(scores - scores.amax(-1, keepdim=True))": "scores",
                    "return exponentials / exponentials.sum(-1, keepdim=True)": "weights = exponentials / exponentials.sum(-1, keepdim=True)\n"
                    "    return weights.nan_to_num()",
                },
            ),
            Mistake(
                "sum-without-keepdim",
                "The sums have lost the axis they run along, and no longer stand beside their rows: column j is divided "
                "by the sum of row j, or the sizes do not fit. `keepdim=True` keeps the axis, with size 1.",
                {"exponentials.sum(-1, keepdim=True)": "exponentials.sum(-1)"},
            ),
            Mistake(
                "shift-without-keepdim",
                "The largest scores have lost the axis they run along, and no longer stand beside their rows: column j "
                "is shifted by the largest score of row j, or the sizes do not fit. `keepdim=True` keeps the axis, with "
                "size 1.",
                {"scores.amax(-1, keepdim=True)": "scores.amax(-1)"},
            ),
            Mistake(
                "softmax-over-queries",
                "The weights sum to 1 down the columns, over the queries. Each query shares out its attention over "
                "the keys: the rows must sum to 1, along the last axis.",
                {"sum(-1,": "sum(-2,"},
                also={"amax(-1,": "amax(-2,"},
            ),
            Mistake(
                "softmax-over-first-axis",
                "The softmax runs along axis 0. With one matrix these are the queries, with a batch the sentences. "
                "The keys are the last axis, −1.",
                {"sum(-1,": "sum(0,"},
                also={"amax(-1,": "amax(0,"},
            ),
            Mistake(
                "softmax-over-axis-1",
                "The softmax runs along axis 1. These are the keys of a single matrix only; with sentences and heads in "
                "front the keys are still the last axis, −1.",
                {"sum(-1,": "sum(1,"},
                also={"amax(-1,": "amax(1,"},
            ),
            Mistake(
                "softmax-over-everything",
                "All entries together sum to 1. Each row must sum to 1 by itself: sum along the last axis only.",
                {"exponentials.sum(-1, keepdim=True)": "exponentials.sum()"},
                also={"scores.amax(-1, keepdim=True)": "scores.amax()"},
            ),
            Mistake(
                "divided-by-total",
                "Each exponential is divided by the sum of all rows together. Each row must sum to 1 by itself: divide "
                "it by its own sum, along the last axis.",
                {"exponentials.sum(-1, keepdim=True)": "exponentials.sum()"},
            ),
            Mistake(
                "no-exponential",
                "The scores themselves are divided by their sum. Scores below zero then give weights below zero; exp "
                "makes every one positive.",
                {"exponentials = (scores - scores.amax(-1, keepdim=True)).exp()": "exponentials = scores"},
            ),
            Mistake(
                "no-division",
                "The exponentials are not divided by their sum, so the rows do not sum to 1.",
                {" / exponentials.sum(-1, keepdim=True)": ""},
            ),
            Mistake(
                "no-division-no-shift",
                "These are the bare exponentials. Divide each row by its sum, and take its largest score away first, "
                "or large scores overflow.",
                {"(scores - scores.amax(-1, keepdim=True))": "scores", " / exponentials.sum(-1, keepdim=True)": ""},
            ),
            Mistake(
                "no-softmax",
                "The scores come back as they were. Weights are at least 0 and sum to 1.",
                {"return exponentials / exponentials.sum(-1, keepdim=True)": "return scores"},
            ),
            Mistake(
                "powers-of-two",
                "The base is 2 in place of e: 2^score. It gives weights too, but flatter ones, and not those of the formula.",
                {".exp()": ".exp2()"},
            ),
            Mistake(
                "log-softmax",
                "These are the logarithms of the weights. The weights are their exponentials.",
                {
                    "exponentials / exponentials.sum(-1, keepdim=True)": "scores - scores.amax(-1, keepdim=True) - exponentials.sum(-1, keepdim=True).log()"
                },
            ),
            Mistake(
                "sign-flipped",
                "The largest score gets the smallest weight: there is a minus in the exponent that does not belong there.",
                {"(scores - scores.amax(-1, keepdim=True))": "(scores.amin(-1, keepdim=True) - scores)"},
            ),
        ),
        hints=(
            "Three steps: take the exponential of every score, add them up along the keys, divide. Have you got that, "
            "and only large scores go wrong? Add the same number to all scores of a row, and no weight changes.",
            "Sum along the last axis, and keep it: `keepdim=True` leaves it there with size 1, so that each row is "
            "divided by its own sum, (2, 3) / (2, 1).",
            "exp(1000) is ∞ for a computer. Before the exponential take a number away from each row, such that none "
            "of its scores is above 0 afterwards.",
            "That number is the row's largest score, `scores.amax(-1, keepdim=True)`. It cancels in the division.",
        ),
        remark="torch has it as `scores.softmax(-1)`. Taking the largest score away is how every library keeps it from "
        "overflowing.",
    ),
    Exercise(
        scaled_scores,
        scores_probes,
        difficulty="easy",
        minutes=5,
        mistakes=(
            *SCORE_MISTAKES,
            *MORE_SCORE_MISTAKES,
            Mistake(
                "no-transpose",
                "query @ key runs only when the number of keys happens to be d_head, and then mixes the wrong numbers. "
                "The keys' vectors must stand in columns: transpose the last two axes.",
                {".transpose(-2, -1)": ""},
            ),
            Mistake(
                "elementwise-scores",
                "Query and key are multiplied entry by entry, with no sum: `*` in place of `@`.",
                {"query @ key.transpose(-2, -1)": "query * key"},
            ),
            Mistake(
                "softmax-too-soon",
                "These are weights already. Here only the scores are asked for; the softmax comes after them.",
                {
                    "return query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])": "return (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1)"
                },
            ),
            Mistake(
                "distance-as-score",
                "Minus a distance in place of a dot product. The two differ by a term for each key's length, so "
                "the weights differ too.",
                {"query @ key.transpose(-2, -1)": "-torch.cdist(query, key)"},
            ),
            Mistake(
                "cosine-as-score",
                "The vectors are cut to length 1 first. Attention keeps the lengths: a long key asks for more weight.",
                {
                    "query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])": "(query / query.norm(dim=-1, keepdim=True)) @ (key / key.norm(dim=-1, keepdim=True)).transpose(-2, -1)"
                },
            ),
        ),
        hints=(
            "Entry (i, j) is the dot product of query i with key j. Which matrix product has just these entries?",
            "query @ keyᵀ. With batches and heads in front, only the last two axes of key may change places: "
            "`key.transpose(-2, -1)`.",
            "d_head is `query.shape[-1]`, and `math.sqrt` takes its root.",
        ),
        remark="Vaswani et al. 2017, section 3.2.1, calls this scaled dot-product; the division is what sets it apart "
        "from Luong's dot-product attention of 2015.",
    ),
    Exercise(
        scaled_dot_product_attention,
        attention_probes,
        name="attention",
        difficulty="medium",
        minutes=10,
        helpers=(attention_pattern,),
        part="attention",
        mistakes=(
            *SCORE_MISTAKES,
            *MORE_SCORE_MISTAKES,
            Mistake(
                "scaled-by-value",
                "Divided by the root of d_value. The scores are dot products of queries and keys: d_head counts.",
                {
                    "attention_pattern(query, key, mask": "attention_pattern(query * math.sqrt(query.shape[-1] / value.shape[-1]), key, mask"
                },
            ),
            Mistake(
                "softmax-over-queries",
                "The softmax runs over the queries: the columns of the pattern sum to 1, the rows do not. Each query "
                "shares out its attention over the keys, the last axis.",
                {"return scores.softmax(-1)": "return scores.softmax(-2)"},
            ),
            Mistake(
                "softmax-over-first-axis",
                "The softmax runs along axis 0. With one matrix these are the queries, with a batch the sentences. "
                "The keys are the last axis, −1.",
                {"return scores.softmax(-1)": "return scores.softmax(0)"},
            ),
            Mistake(
                "softmax-over-axis-1",
                "The softmax runs along axis 1. These are the keys of a single matrix only; with sentences and heads in "
                "front the keys are still the last axis, −1.",
                {"return scores.softmax(-1)": "return scores.softmax(1)"},
            ),
            Mistake(
                "softmax-over-everything",
                "All weights together sum to 1. Each query shares out its own attention: each row must sum to 1 by "
                "itself, along the last axis.",
                {"return scores.softmax(-1)": "return scores.flatten().softmax(0).view_as(scores)"},
            ),
            Mistake(
                "no-softmax",
                "The scores are used as weights. Weights are at least 0 and sum to 1 in each row: take the softmax.",
                {"return scores.softmax(-1)": "return scores"},
            ),
            Mistake(
                "softmax-before-scale",
                "The division by √d_head comes after the softmax. It belongs before: now the rows sum to 1/√d_head.",
                {
                    " / math.sqrt(query.shape[-1])": "",
                    "return scores.softmax(-1)": "return scores.softmax(-1) / math.sqrt(query.shape[-1])",
                },
            ),
            Mistake(
                "softmax-overflows",
                "With large scores exp gives ∞, and ∞ / ∞ is NaN. Take each row's largest score away first, or use "
                "`softmax`, which does.",
                {"return scores.softmax(-1)": "return scores.exp() / scores.exp().sum(-1, keepdim=True)"},
            ),
            Mistake(
                "one-shift-for-all-rows",
                "The largest score of all rows is taken away. In a row far below it every exponential is 0, and 0 / 0 "
                "is NaN. Each row needs its own largest score, or use `softmax`, which sees to it.",
                {
                    "return scores.softmax(-1)": "return (scores - scores.max()).exp() / (scores - scores.max()).exp().sum(-1, keepdim=True)"
                },
            ),
            Mistake(
                "value-inside-softmax",
                "The softmax comes after the values. It belongs before them: it makes weights of the scores alone, and "
                "they are the pattern. The output is pattern @ value.",
                {
                    "return scores.softmax(-1)": "return scores",
                    "return pattern @ value": "return (pattern @ value).softmax(-1)",
                },
            ),
            Mistake(
                "output-from-scores",
                "The pattern is right, but it is not what the output is made of: that is softmax(scores @ value). The "
                "output is the average of the values with the weights of the pattern, pattern @ value.",
                {
                    "return pattern @ value": "scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])\n"
                    "    return (scores @ value).softmax(-1)"
                },
            ),
            Mistake(
                "value-elementwise",
                "Pattern and value are multiplied entry by entry. The output is a weighted *sum* of the values: `@`.",
                {"return pattern @ value": "return pattern * value"},
            ),
            Mistake(
                "keys-never-used",
                "The softmax is taken of the queries themselves: no key, and no score, comes in.",
                {"pattern = attention_pattern(query, key, mask, bias)": "pattern = query.softmax(-1)"},
            ),
            Mistake(
                "values-ignored",
                "The pattern averages the keys: the values change nothing. The output is pattern @ value.",
                {"return pattern @ value": "return pattern @ key"},
            ),
            Mistake(
                "pattern-transposed",
                "The pattern is turned before it meets the values, so that a query's output is weighted by a column. "
                "Row i of the pattern holds the weights of query i.",
                {"return pattern @ value": "return pattern.transpose(-2, -1) @ value"},
            ),
            Mistake(
                "uniform-weights",
                "Every key gets the same weight, whatever query and key are.",
                {"return scores.softmax(-1)": "return torch.full_like(scores, 1 / scores.shape[-1])"},
            ),
            Mistake(
                "scores-as-pattern",
                "The output is right, but in place of the pattern you return the scores, from before the softmax.",
                {
                    "return pattern @ value, pattern": "return pattern @ value, query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])"
                },
            ),
            Mistake(
                "pattern-missing",
                "Only the output comes back. Return the pattern as well: `return output, pattern`.",
                {"return pattern @ value, pattern": "return pattern @ value"},
            ),
            Mistake(
                "output-missing",
                "Only the pattern comes back. Return pattern @ value, then the pattern.",
                {"return pattern @ value, pattern": "return pattern"},
            ),
            Mistake(
                "output-and-pattern-swapped",
                "The pattern comes first and the output second. The exercise asks for the output first.",
                {"return pattern @ value, pattern": "return pattern, pattern @ value"},
            ),
        ),
        hints=(
            "Three steps: the scores of exercise 2.2, their softmax, and the average of the values.",
            "The scores have the shape (queries, keys), and each query shares out its attention over the keys. So the "
            "softmax runs along the last axis; what comes out is the pattern.",
            "An output adds up values, each times its weight. Pattern (queries, keys) and value (keys, d_value): "
            "which matrix product adds up over the keys?",
            "The output is `pattern @ value`. Return two things, the output first and then the pattern.",
        ),
        remark="torch.nn.functional.scaled_dot_product_attention gives the same output without ever storing the pattern.",
    ),
    Exercise(
        entropy,
        entropy_probes,
        difficulty="medium",
        minutes=10,
        mistakes=(
            Mistake(
                "nats-not-bits",
                "The logarithm is the natural one, so the unit is the nat. A bit is the logarithm to the base 2: divide by ln 2.",
                {" / math.log(2)": ""},
            ),
            Mistake(
                "zero-times-infinity",
                "A weight of 0 gives 0 · log 0 = 0 · (−∞), which is NaN for a computer. Such a key adds nothing: treat it apart.",
                {"torch.special.entr(pattern)": "-(pattern * pattern.log())"},
            ),
            Mistake(
                "nan-row-to-zero",
                "0 · log 0 is NaN, and so is the sum of its row. With 0 in place of that sum the whole row's entropy is "
                "lost. Only the term is 0: mend it before you add up.",
                {"torch.special.entr(pattern)": "-(pattern * pattern.log())", ".sum(-1)": ".sum(-1).nan_to_num()"},
            ),
            Mistake(
                "sign-flipped",
                "The minus is missing: logarithms of weights are at most 0, so the sum is as well. Entropy is at least 0.",
                {"torch.special.entr(pattern)": "(-torch.special.entr(pattern))"},
            ),
            Mistake(
                "mean-not-sum",
                "The terms are averaged over the keys. Entropy adds them up; each is weighted already.",
                {".sum(-1)": ".mean(-1)"},
            ),
            Mistake(
                "entropy-over-queries",
                "The sum runs over the queries. Each query has an entropy of its own: sum over the keys, the last axis.",
                {".sum(-1)": ".sum(-2)"},
            ),
            Mistake(
                "entropy-over-first-axis",
                "The sum runs along axis 0. With one matrix these are the queries, with a batch the sentences. Each "
                "query has an entropy of its own: sum over the keys, the last axis.",
                {".sum(-1)": ".sum(0)"},
            ),
            Mistake(
                "entropy-of-everything",
                "All entries are added up into one number. Each query has an entropy of its own: sum over the last axis "
                "only. (`pattern[pattern > 0]` is no longer in rows, so a sum of it has this effect.)",
                {".sum(-1)": ".sum()"},
            ),
            Mistake(
                "not-weighted",
                "The logarithms are added up without their weights: each −log₂ w must be multiplied by w.",
                {"torch.special.entr(pattern)": "-pattern.log()"},
            ),
            Mistake(
                "not-weighted-but-clamped",
                "The logarithms are added up without their weights: each −log₂ w must be multiplied by w. Then a weight "
                "of 0 adds nothing, as it should.",
                {"torch.special.entr(pattern)": "-pattern.clamp_min(1e-30).log()"},
            ),
            Mistake(
                "axis-kept",
                "The numbers are right, but the summed axis is still there with size 1. Drop `keepdim=True`.",
                {".sum(-1)": ".sum(-1, keepdim=True)"},
            ),
            Mistake(
                "not-summed",
                "These are the terms, one a key. Add them up along the keys.",
                {".sum(-1)": ""},
            ),
            Mistake(
                "coarse-epsilon",
                "A small number added inside the logarithm keeps 0 from giving NaN, but yours is so large that it shows. "
                "1e-12 does no harm.",
                {"torch.special.entr(pattern)": "-(pattern * (pattern + 1e-3).log())"},
            ),
            Mistake(
                "coarse-clamp",
                "Below about 0.001 the logarithm is cut off, so that 0 gives no NaN. But there are weights so small, and "
                "theirs is cut off too. A bound of 1e-30 does no harm.",
                {"torch.special.entr(pattern)": "-(pattern * pattern.clamp_min(1e-3).log())"},
            ),
        ),
        hints=(
            "Take w log₂ w of every weight, add up along the keys with `.sum(-1)`, and mind the minus. "
            "`pattern.log2()` takes the logarithm to the base 2.",
            "For a computer 0 · log₂ 0 is NaN, and one NaN makes the sum of its row NaN. So see to it before you add "
            "up: the term of a weight of 0 must be 0.",
            "Where the weight is 0, any finite number will do for its logarithm, as it is multiplied by 0. "
            "`pattern.clamp_min(1e-30).log2()` is finite everywhere.",
        ),
        remark="torch.special.entr(w) is −w ln w, with 0 at w = 0. Shannon 1948 chose the bit; with ln the unit is the nat.",
    ),
]

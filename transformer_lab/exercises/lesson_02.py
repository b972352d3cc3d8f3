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
        "two equal scores": (exactly([[0, 0]]),),
        "the scores 0, 1, 2": (exactly([[0, 1, 2]]),),
        "scores below zero": (exactly([[-1, 0, -2]]),),
        "large scores: 1000, 1001, 1002": (exactly([[1000, 1001, 1002]]),),
        "two rows, one 2,000 below the other": (exactly([[0, 1], [-2000, -2001]]),),
        "a score of −∞": (exactly([[0, -math.inf, 1]]),),
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
        "2 queries, 3 keys": (gaussian(2, 3).softmax(-1),),
        "4 queries, 4 keys": (gaussian(4, 4).softmax(-1),),
        "2 sentences, 3 heads, 4 queries, 5 keys": (gaussian(2, 3, 4, 5).softmax(-1),),
    }


# ---------------------------------------------------------------- exercises

# What goes wrong between two vectors and their score; the source has the same words wherever it is done.
SCORE_MISTAKES = (
    Mistake(
        "unscaled-scores",
        "The division by √d_head is missing. The scores' spread grows with √d_head, and the softmax ends up "
        "with all the weight on one key.",
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
                "softmax-over-everything",
                "All entries together sum to 1. Each row must sum to 1 by itself: sum along the last axis only.",
                {"exponentials.sum(-1, keepdim=True)": "exponentials.sum()"},
                also={"scores.amax(-1, keepdim=True)": "scores.amax()"},
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
                    "return exponentials / exponentials.sum(-1, keepdim=True)": "return (exponentials / exponentials.sum(-1, keepdim=True)).log()"
                },
            ),
            Mistake(
                "sign-flipped",
                "The largest score gets the smallest weight: there is a minus in the exponent that does not belong there.",
                {"(scores - scores.amax(-1, keepdim=True))": "(scores.amin(-1, keepdim=True) - scores)"},
            ),
        ),
        hints=(
            "Three steps: take the exponential of every score, add them up along the keys, divide.",
            "`keepdim=True` keeps the summed axis with size 1, so that the division fits: (2, 3) / (2, 1).",
            "exp(1000) is ∞ for a computer. Before the exponential, take away each row's largest score, "
            "`scores.amax(-1, keepdim=True)`. It cancels in the division, so no weight changes.",
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
            Mistake(
                "scaled-by-queries",
                "Divided by the root of the number of queries. d_head is the last axis of query, `query.shape[-1]`.",
                {"query.shape[-1]": "query.shape[-2]"},
            ),
            Mistake(
                "scaled-by-example",
                "Divided by 2 whatever d_head is. In the example d_head is 4 and its root 2; in general it is "
                "`query.shape[-1]`.",
                {"math.sqrt(query.shape[-1])": "2"},
            ),
            Mistake(
                "transposed-by-T",
                "`.T` turns *all* axes round, the batch and the heads too. Only the last two change places: "
                "`transpose(-2, -1)`.",
                {"key.transpose(-2, -1)": "key.permute(*range(key.ndim)[::-1])"},
            ),
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
                "value-inside-softmax",
                "The values go into the softmax with the scores. The softmax makes weights of the scores alone; the "
                "output is then their weighted average of the values, pattern @ value.",
                {
                    "return pattern @ value, pattern": "scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])\n"
                    "    return (scores @ value).softmax(-1), pattern"
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
            "Three lines: the scores of 2.2, their softmax along the keys, and the average of the values.",
            "`scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])`, then `scores.softmax(-1)`.",
            "The weighted average of the values is `pattern @ value`. Return it and the pattern: "
            "`return pattern @ value, pattern`.",
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
                "entropy-of-everything",
                "All entries are added up into one number. Each query has an entropy of its own: sum over the last axis only.",
                {".sum(-1)": ".sum()"},
            ),
            Mistake(
                "not-weighted",
                "The logarithms are added up without their weights: each −log₂ w must be multiplied by w.",
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
        ),
        hints=(
            "Entropy in bits is −Σ w log₂ w, along the keys. `pattern.log2()` takes the logarithm to the base 2.",
            "0 · log₂ 0 comes out as NaN, and it should be 0. Where a weight is 0, put something harmless into the "
            "logarithm: `pattern.clamp_min(1e-30).log2()`.",
            "Multiply by the weights, add up with `.sum(-1)`, and mind the minus.",
        ),
        remark="torch.special.entr(w) is −w ln w, with 0 at w = 0. Shannon 1948 chose the bit; with ln the unit is the nat.",
    ),
]

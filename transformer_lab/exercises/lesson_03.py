"""Exercises of lesson 03: masks, the masked pattern, heads."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from transformer_lab.attention import (
    attention_pattern,
    causal_mask,
    padding_mask,
    scaled_dot_product_attention,
    sliding_window_mask,
)
from transformer_lab.exercises.catalogue import Exercise, Mistake
from transformer_lab.exercises.lesson_02 import SCORE_MISTAKES, exactly, gaussian


def split_heads(x: Float[Tensor, "batch seq d_model"], n_heads: int) -> Float[Tensor, "batch heads seq d_head"]:
    """Cut d_model into heads, then move the head axis before the positions."""
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def merge_heads(heads: Float[Tensor, "batch heads seq d_head"]) -> Float[Tensor, "batch seq d_model"]:
    """The inverse of `split_heads`."""
    return heads.transpose(1, 2).flatten(-2)


def split_qkv(
    fused: Float[Tensor, "batch seq d_fused"], n_heads: int
) -> tuple[
    Float[Tensor, "batch heads seq d_head"],
    Float[Tensor, "batch heads seq d_head"],
    Float[Tensor, "batch heads seq d_head"],
]:
    """Query, key and value from one layer that gives them side by side: d_fused is 3 · d_model.

    So GPT-2 does it (Radford et al. 2019), in the layer that its weights call c_attn.
    """
    query, key, value = fused.chunk(3, dim=-1)  # (batch, seq, d_model) each
    return split_heads(query, n_heads), split_heads(key, n_heads), split_heads(value, n_heads)


def multi_head_attention(
    x: Float[Tensor, "batch seq d_model"],
    w_q: Float[Tensor, "d_model d_model"],
    w_k: Float[Tensor, "d_model d_model"],
    w_v: Float[Tensor, "d_model d_model"],
    w_o: Float[Tensor, "d_model d_model"],
    n_heads: int,
    mask: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "batch seq d_model"]:
    """Self-attention in n_heads subspaces, mixed by w_o. Vaswani et al. 2017, section 3.2.2.

    A word that may attend to nothing gets zeros.
    """
    query, key, value = (split_heads(x @ w, n_heads) for w in (w_q, w_k, w_v))
    output, _ = scaled_dot_product_attention(query, key, value, mask)  # (batch, heads, seq, d_head)
    return merge_heads(output) @ w_o


# ---------------------------------------------------------------- probes


def causal_probes() -> dict[str, tuple]:
    sizes = [(1, 1), (2, 2), (1, 3), (2, 4), (6, 6), (3, 7)]
    return {f"{n_queries} × {n_keys} (queries × keys)": (n_queries, n_keys) for n_queries, n_keys in sizes}


def padding_probes() -> dict[str, tuple]:
    return {
        "one sentence with 2 of 3 keys real": (torch.tensor([2]), 3),
        "two sentences with 1 and 3 of 3 keys real": (torch.tensor([1, 3]), 3),
        "a sentence of nothing but fillers": (torch.tensor([0, 2]), 2),
        "three sentences of 5 keys": (torch.tensor([5, 1, 4]), 5),
        "as many sentences as keys": (torch.tensor([2, 4, 1, 3]), 4),
    }


def window_probes() -> dict[str, tuple]:
    sizes = [(2, 1, 2), (3, 2, 3), (3, 3, 3), (2, 5, 2), (1, 2, 4), (2, 2, 5), (6, 3, 6), (4, 3, 9), (7, 4, 9)]
    return {f"{q} × {k} (queries × keys), window {window}": (q, window, k) for q, window, k in sizes}


def pattern_probes() -> dict[str, tuple]:
    def allowed(*rows: list[int]) -> Bool[Tensor, "queries keys"]:
        return torch.tensor(rows).bool()

    mixed = allowed([0, 1, 1, 0, 1], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 0])
    one_empty = allowed([0, 1, 1, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 1, 0])
    query, key = gaussian(2, 3, 4, 6), gaussian(2, 3, 5, 6, seed=1)  # 2 sentences, 3 heads, 4 queries, 5 keys
    return {
        "two equal keys and the second hidden": (exactly([[1, 1]]), exactly([[1, 0], [1, 0]]), allowed([1, 0])),
        "two open keys": (exactly([[2, 0, 0, 0]]), exactly([[1, 1, 1, 1], [0, 1, 0, 0]]), allowed([1, 1])),
        "two hidden keys": (exactly([[1, 1]]), exactly([[1, 0], [0, 2]]), allowed([0, 0])),
        "2 queries × 2 keys, everything hidden from the second": (
            exactly([[1, 0], [0, 2]]),
            exactly([[1, 1], [0, 1]]),
            allowed([1, 1], [0, 0]),
        ),
        "2 queries × 3 keys under a mask of one row": (gaussian(2, 1), gaussian(3, 1, seed=1), allowed([1, 0, 1])),
        "2 heads, each 1 query × 2 keys, d_head = 2": (
            exactly([[[1, 0]], [[0, 2]]]),
            exactly([[[1, 1], [0, 1]], [[2, 0], [1, 1]]]),
            allowed([1, 1]),
        ),
        "open scores of 2,000 and 4,000": (exactly([[2000]]), exactly([[1], [2], [0]]), allowed([1, 1, 0])),
        "an open score of 0 beside a hidden 900": (exactly([[900]]), exactly([[0], [1]]), allowed([1, 0])),
        "an open score of −20,000 beside a hidden 0": (exactly([[-20000]]), exactly([[1], [0]]), allowed([1, 0])),
        "an open score of −20,000 in half precision": (
            exactly([[-20000]]).half(),
            exactly([[1], [0]]).half(),
            allowed([1, 0]),
        ),
        "3 × 3 causal": (gaussian(3, 3), gaussian(3, 3, seed=1), causal_mask(3)),
        "4 queries × 5 keys": (query[0, 0], key[0, 0], mixed),
        "2 sentences × 3 heads under one mask": (query, key, mixed),
        "2 sentences × 3 heads with fillers": (query, key, padding_mask(torch.tensor([5, 2]), 5)),
        "4 queries × 5 keys with an empty row": (query[0, 0], key[0, 0], one_empty),
    }


def numbered(batch: int, seq: int, d_model: int) -> Float[Tensor, "batch seq d_model"]:
    """Entries that say where they are: 100 · sentence + 10 · position + column."""
    sentence, position, column = (torch.arange(n, dtype=torch.float64) for n in (batch, seq, d_model))
    return 100 * sentence[:, None, None] + 10 * position[:, None] + column


def split_probes() -> dict[str, tuple]:
    return {
        "2 positions × 4 columns in 2 heads": (numbered(1, 2, 4), 2),
        "one head": (numbered(1, 3, 2), 1),
        "as many heads as columns": (numbered(1, 2, 3), 3),
        "2 sentences × 3 positions × 6 columns in 2 heads": (numbered(2, 3, 6), 2),
        "6 positions × 12 columns in 2 heads": (numbered(1, 6, 12), 2),
        "3 sentences × 4 positions × 20 columns in 5 heads": (gaussian(3, 4, 20), 5),
    }


def qkv_probes() -> dict[str, tuple]:
    return {
        "1 position × 9 columns in one head": (numbered(1, 1, 9), 1),
        "1 position × 18 columns in 2 heads": (numbered(1, 1, 18), 2),
        "3 positions × 18 columns in 2 heads": (numbered(1, 3, 18), 2),
        "as many sentences, positions, heads and columns of a head: 3": (numbered(3, 3, 27), 3),
        "2 sentences × 5 positions × 36 columns in 4 heads": (gaussian(2, 5, 36), 4),
        "3 sentences × 4 positions × 36 columns in 2 heads": (gaussian(3, 4, 36, seed=1), 2),
    }


def multi_head_probes() -> dict[str, tuple]:
    def probe(batch: int, seq: int, d_model: int, n_heads: int, mask: Tensor | None = None) -> tuple:
        x = gaussian(batch, seq, d_model)
        weights = (gaussian(d_model, d_model, seed=seed) for seed in range(1, 5))
        return x, *weights, n_heads, mask

    fillers_in_front_and_behind = torch.tensor([[0, 1, 1, 1], [1, 1, 0, 0]]).bool()[
        :, None, None
    ]  # (batch, 1, 1, keys)
    one = torch.eye(2, dtype=torch.float64)
    matrices = ([[1, 2], [0, -1]], [[1, 1], [0, -1]], [[2, 1], [0, 2]], [[1, 0], [2, 1]])
    small = exactly([[[1, 1], [2, 0]]]), *(exactly(matrix) for matrix in matrices)
    return {
        "one word that attends to itself": (exactly([[[1, 2]]]), one, one, one, exactly([[1, 0], [1, 1]]), 1, None),
        "two words in two heads with identity matrices": (exactly([[[1, 0], [2, 3]]]), one, one, one, one, 2, None),
        "two words in two heads with small matrices": (*small, 2, None),
        "two words in two heads with small matrices under a causal mask": (*small, 2, causal_mask(2)),
        "two words, the first a filler, under a causal mask": (*small, 2, causal_mask(2) & torch.tensor([False, True])),
        "one head": probe(1, 3, 4, 1),
        "two heads": probe(1, 3, 4, 2),
        "as many words as columns": probe(1, 4, 4, 2),
        "2 sentences × 5 words × 6 columns in 3 heads": probe(2, 5, 6, 3),
        "two heads under a causal mask": probe(1, 3, 4, 2, causal_mask(3)),
        "as many words as columns under a causal mask": probe(1, 4, 4, 2, causal_mask(4)),
        "2 sentences with fillers, one of them in front, under a causal mask": probe(
            2, 4, 6, 2, causal_mask(4) & fillers_in_front_and_behind
        ),
    }


# ---------------------------------------------------------------- exercises

# What goes wrong wherever the future is hidden.
CAUSAL_MISTAKES = (
    Mistake(
        "mask-off-by-one",
        "The border lies one step too late: the position after the query's own, where the answer stands, is treated as "
        "if it were past.",
        {"tril(n_keys": "tril(1 + n_keys"},
    ),
    Mistake(
        "mask-off-by-one-self-hidden",
        "The border lies one step too early: the query's own position is treated as if it were future. A token sees "
        "itself.",
        {"tril(n_keys": "tril(-1 + n_keys"},
    ),
)
NOT_BOOLEAN = Mistake(
    "mask-of-numbers",
    "These are numbers. A mask is of dtype torch.bool, True where a query may attend.",
    {},
)
ADDITIVE = Mistake(
    "mask-additive",
    "This is the kind of mask that is added to the scores, 0 and −∞. Here a mask is of dtype torch.bool, True where "
    "a query may attend.",
    {},
)
CAUSAL = "torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(n_keys - n_queries)"
REAL = "(positions < lengths[:, None])[:, None, None, :]"
NEAR = "~causal.tril(causal.shape[1] - n_queries - window)"
WINDOW = f"causal & {NEAR}"


def additive(mask: str) -> dict[str, str]:
    return {f"return {mask}": f"return torch.where({mask}, 0.0, -math.inf)"}


HIDDEN = "pattern = scores.masked_fill(~mask, -math.inf).softmax(-1)\n    return pattern"  # what follows sets zeros
ZEROED = f"{HIDDEN}.masked_fill(~mask, 0.0)"
# What goes wrong between the scores and their masked softmax; the source has the same words wherever it is done.
SOFTMAX_MISTAKES = (
    Mistake(
        "softmax-over-queries",
        "The softmax runs over the queries. Each query shares out its attention over the keys, the last axis.",
        {"softmax(-1)": "softmax(-2)"},
    ),
    Mistake(
        "no-softmax",
        "The scores are used as weights. Weights are at least 0 and sum to 1 in each row: take the softmax.",
        {"return scores.softmax(-1)": "return scores", ZEROED: "return scores.masked_fill(~mask, 0.0)"},
    ),
    Mistake(
        "softmax-forgotten",
        "The hidden scores are −∞, and then no softmax follows. It turns the scores of a row into weights that "
        "sum to 1, and −∞ into the weight 0.",
        {"return scores.softmax(-1)": "return scores", ZEROED: "return scores.masked_fill(~mask, -torch.inf)"},
    ),
    Mistake(
        "softmax-before-scale",
        "The division by √d_head comes after the softmax, and makes the weights too small. It belongs to the scores, "
        "before the softmax.",
        {" / math.sqrt(query.shape[-1])": "", "softmax(-1)": "softmax(-1) / math.sqrt(query.shape[-1])"},
    ),
    Mistake(
        "mask-after-softmax",
        "The hidden weights are set to 0 after the softmax, so what they would have had is lost and the rows do not "
        "sum to 1. Hide the scores before the softmax, with −∞.",
        {"scores.masked_fill(~mask, -math.inf).softmax(-1)": "scores.softmax(-1)"},
    ),
    Mistake(
        "mask-with-zero",
        "A hidden score is set to 0, and 0 is a score like any other: e⁰ = 1. Only −∞ gives the weight 0.",
        {ZEROED: "return scores.masked_fill(~mask, 0.0).softmax(-1)"},
    ),
    Mistake(
        "mask-inverted",
        "The mask is read the wrong way round: True means “may attend” here. What is hidden is where it is False.",
        {"~mask": "mask"},
    ),
)
# What becomes of the rows without an open key.
ROW_NAN = Mistake(
    "fully-masked-row-nan",
    "Where all is hidden comes out NaN: nothing is left to share out, and 0/0 is not a number. A row whose keys are all "
    "hidden should be zeros: set the hidden weights to 0 as the last step.",
    {".masked_fill(~mask, 0.0)": ""},
)
ROW_EVEN = Mistake(
    "fully-masked-row-even",
    "Where all is hidden come equal weights: a softmax of equal numbers is even. A row whose keys are all hidden should "
    "be zeros: set the hidden weights to 0 as the last step.",
    {"return pattern.masked_fill(~mask, 0.0)": "return pattern"},
    also={"-math.inf": "torch.finfo(scores.dtype).min"},
)
ROW_OPEN = Mistake(
    "fully-masked-row-open",
    "A large number is taken away from the hidden scores. Where all is hidden that changes no weight, as a softmax only "
    "compares. A row whose keys are all hidden should be zeros: set the hidden weights to 0 as the last step.",
    {ZEROED: "return (scores + ~mask * -1e9).softmax(-1)"},
)
MASK_ADDED = Mistake(
    "mask-added",
    "The mask itself is added to the scores: an open key gains 1, and a hidden one stays open. Set hidden "
    "scores to −∞.",
    {ZEROED: "return (scores + mask).softmax(-1)"},
)
# What goes wrong between (batch, seq, d_model) and (batch, heads, seq, d_head).
SPLIT = "x.unflatten(-1, (n_heads, -1)).transpose(1, 2)"
VIEW = "x.reshape(x.shape[0], n_heads, x.shape[1], -1)"
MERGED = "heads.transpose(1, 2).flatten(-2)"
VIEWED_BACK = "heads.reshape(heads.shape[0], heads.shape[2], -1)"
COLUMNS_INTERLEAVED = Mistake(
    "columns-interleaved",
    "The columns are dealt out to the heads in turn, like cards. Head 0 should hold the first d_head columns, head 1 "
    "the next ones: cut d_model into (n_heads, d_head), in this order.",
    {SPLIT: "x.unflatten(-1, (-1, n_heads)).permute(0, 3, 1, 2)"},
)
SPLIT_MISTAKES = (
    Mistake(
        "heads-by-view-only",
        "The numbers are only cut anew in the order of memory: a head holds whole positions and never sees the others. "
        "Cut the last axis into (n_heads, d_head), then swap positions and heads.",
        {SPLIT: VIEW},
    ),
    Mistake(
        "swap-missing",
        "The heads stand behind the positions. Once the last axis is cut in two, swap these two axes: "
        "`transpose(1, 2)`.",
        {SPLIT: "x.unflatten(-1, (n_heads, -1))"},
    ),
    Mistake(
        "batch-and-positions-swapped",
        "The positions stand before the sentences. The axes to swap, once the last is cut in two, are positions and "
        "heads: `transpose(1, 2)`.",
        {SPLIT: "x.unflatten(-1, (n_heads, -1)).transpose(0, 1)"},
    ),
    COLUMNS_INTERLEAVED,
    Mistake(
        "wrong-axes-swapped",
        "Heads and columns are swapped, the last two axes once d_model is cut in two. Swap positions and heads, 1 and 2.",
        {SPLIT: "x.unflatten(-1, (n_heads, -1)).transpose(2, 3)"},
    ),
    Mistake(
        "columns-before-positions",
        "Each head is turned: its positions and columns are swapped. The order is (batch, heads, seq, d_head).",
        {SPLIT: "x.unflatten(-1, (n_heads, -1)).permute(0, 2, 3, 1)"},
    ),
    Mistake(
        "heads-before-batch",
        "Another axis stands before the sentences. The order is (batch, heads, seq, d_head).",
        {SPLIT: f"{SPLIT}.transpose(0, 1)"},
    ),
    Mistake(
        "first-axes-joined",
        "The first two axes are joined to one. Keep all four: (batch, heads, seq, d_head).",
        {SPLIT: f"{SPLIT}.flatten(0, 1)"},
    ),
    Mistake(
        "n-heads-taken-for-d-head",
        "Each head has n_heads columns, so there are d_model / n_heads heads: the two numbers are in each other's "
        "place. It is n_heads heads of d_head columns.",
        {SPLIT: "x.unflatten(-1, (-1, n_heads)).transpose(1, 2)"},
    ),
    Mistake(
        "transposed-then-viewed",
        "Positions and columns were swapped first, and the result was cut in the order of memory: the rows of a head "
        "mix positions. First cut the last axis into (n_heads, d_head), then swap.",
        {SPLIT: "x.transpose(1, 2).reshape(x.shape[0], n_heads, x.shape[1], -1)"},
    ),
    Mistake(
        "viewed-after-transpose",
        "`view` after `transpose` raises on most inputs: the numbers no longer lie in memory in the order of the axes. "
        "Where it does not raise, it mixes positions. First cut the last axis into (n_heads, d_head), then swap.",
        {SPLIT: "x.transpose(1, 2).view(x.shape[0], n_heads, x.shape[1], -1)"},
    ),
)
CHUNKS = "query, key, value = fused.chunk(3, dim=-1)"
FIVE_AXES = "fused.unflatten(-1, (3, n_heads, -1))"
WRONG_CUT = (
    "The cut in three runs along d_head, the heads' own columns, so each piece holds a third of every head's columns."
)
PARTS = "return split_heads(query, n_heads), split_heads(key, n_heads), split_heads(value, n_heads)"

EXERCISES = [
    Exercise(
        causal_mask,
        causal_probes,
        difficulty="easy",
        minutes=5,
        part="causal_mask",
        mistakes=(
            *CAUSAL_MISTAKES,
            Mistake(
                "mask-inverted",
                "True and False are swapped: True means “may attend” here.",
                {"torch.ones": "~torch.ones"},
            ),
            Mistake(
                "mask-missing",
                "Everything is open, the future too.",
                {".tril(n_keys - n_queries)": ""},
            ),
            Mistake(
                "queries-first",
                "The queries are taken for the first of the positions. They are the last ones: query i stands at "
                "position n_keys − n_queries + i.",
                {"n_keys - n_queries)": "0)"},
            ),
            Mistake(
                "offset-sign-flipped",
                "Where there are more keys than queries, the queries are pushed the wrong way: query i stands at "
                "position n_keys − n_queries + i.",
                {"n_keys - n_queries)": "n_queries - n_keys)"},
            ),
            Mistake(
                "future-for-past",
                "Each query sees itself and what comes after it. It should see what comes before: the triangle below "
                "the diagonal.",
                {"tril(n_keys - n_queries)": "triu(n_keys - n_queries)"},
            ),
            Mistake(
                "queries-and-keys-swapped",
                "Rows and columns are swapped. A row belongs to a query, a column to a key: the shape is "
                "(n_queries, n_keys).",
                {"tril(n_keys - n_queries)": "tril(n_keys - n_queries).T"},
            ),
            Mistake(
                "earlier-keys-left-out",
                "The mask has n_queries columns. The keys before the queries' own belong to it too: it has n_keys columns.",
                {"n_keys = n_queries if n_keys is None else n_keys": "n_keys = n_queries"},
            ),
            Mistake(
                "square-of-keys",
                "The mask has n_keys rows. There is one row for each query: the last n_queries of them.",
                {CAUSAL: "torch.ones(n_keys, n_keys, dtype=torch.bool).tril()"},
            ),
            Mistake(
                "only-itself",
                "The positions before the query's own are treated as if they were future. It may attend to them all.",
                {"tril(n_keys - n_queries)": "tril(n_keys - n_queries).triu(n_keys - n_queries)"},
            ),
            Mistake(
                "nothing-open",
                "Everything is hidden. True means “may attend” here: it should be True at the query's own position and "
                "before it.",
                {CAUSAL: "torch.zeros(n_queries, n_keys, dtype=torch.bool)"},
            ),
            Mistake(NOT_BOOLEAN.id, NOT_BOOLEAN.why, {f"return {CAUSAL}": f"return 1.0 * {CAUSAL}"}),
            Mistake(ADDITIVE.id, ADDITIVE.why, additive(CAUSAL)),
        ),
        hints=(
            "Number the keys 0 … n_keys − 1. At which position does query 0 stand, if the queries are the last ones?",
            "Query i stands at n_keys − n_queries + i, and may attend to key j where j is not greater.",
            "`position = torch.arange(n_keys)`, then compare `position[n_keys - n_queries :, None] >= position`.",
        ),
        remark="The package has `torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries)`. Note that "
        "torch's own is_causal counts the queries from the first position, so with fewer queries it is another mask.",
    ),
    Exercise(
        padding_mask,
        padding_probes,
        difficulty="easy",
        minutes=5,
        mistakes=(
            Mistake(
                "mask-inverted",
                "True and False are swapped: True means “may attend” here, to a real key.",
                {"positions < lengths": "positions >= lengths"},
            ),
            Mistake(
                "mask-off-by-one",
                "One key too many counts as real. Keys count from 0, so the last real one is lengths[b] − 1.",
                {"positions < lengths": "positions <= lengths"},
            ),
            Mistake(
                "last-word-hidden",
                "One key too few counts as real. Keys count from 0, so the last real one is lengths[b] − 1.",
                {"positions < lengths": "positions + 1 < lengths"},
            ),
            Mistake(
                "padding-ignored",
                "Every key is open, the fillers too.",
                {"positions < lengths": "positions < n_keys + 0 * lengths"},
            ),
            Mistake(
                "axes-missing",
                "The shape is (batch, keys). Two axes of size 1 are missing between them, for the heads and the "
                "queries: `[:, None, None, :]`.",
                {"[:, None, None, :]": ""},
            ),
            Mistake(
                "one-axis-missing",
                "There is one axis of size 1 in the middle. It takes two, for the heads and the queries.",
                {"[:, None, None, :]": "[:, None, :]"},
            ),
            Mistake(
                "axes-in-front",
                "The two axes of size 1 stand before the sentences. The order is (batch, heads, queries, keys): they "
                "belong in the middle.",
                {"[:, None, None, :]": "[None, None]"},
            ),
            Mistake(
                "axes-at-the-end",
                "The two axes of size 1 stand after the keys. The order is (batch, heads, queries, keys): they belong "
                "in the middle.",
                {"[:, None, None, :]": "[:, :, None, None]"},
            ),
            Mistake(
                "hides-queries",
                "What should lie along the keys, the last axis, lies along the queries, and the last has size 1. The "
                "fillers must not be looked at: they are hidden as keys.",
                {"[:, None, None, :]": "[:, None, :, None]"},
            ),
            Mistake(
                "query-axis-stretched",
                "The mask is written out for n_keys queries. Leave that axis at size 1: torch stretches it to "
                "however many queries there are.",
                {REAL: f"{REAL}.expand(-1, -1, n_keys, -1)"},
            ),
            Mistake(
                "hides-queries-too",
                "What is hidden as a key is hidden as a query too, which leaves whole rows empty. What a filler looks at does no "
                "harm, as nobody reads it: one row a sentence is enough, for all its queries.",
                {f"return {REAL}": f"real = {REAL}\n    return real & real.transpose(2, 3)"},
            ),
            Mistake(
                "fillers-first",
                "The fillers are taken to stand first. Here the words come first: keys 0 … lengths[b] − 1 are real.",
                {REAL: f"{REAL}.flip(-1)"},
            ),
            Mistake(
                "longest-for-all",
                "Every sentence is given the length of the longest one. Each has its own: `lengths[:, None]` makes a "
                "column of them.",
                {"positions < lengths": "positions < 0 * lengths[:, None] + lengths.max() + 0 * lengths"},
            ),
            Mistake(NOT_BOOLEAN.id, NOT_BOOLEAN.why, {f"return {REAL}": f"return 1.0 * {REAL}"}),
            Mistake(ADDITIVE.id, ADDITIVE.why, additive(REAL)),
        ),
        hints=(
            "Number the keys: `torch.arange(n_keys)`. Key j of sentence b is real when j is less than lengths[b].",
            "To compare every key with every length, make a column of the lengths, as section 3.1 did with the positions. "
            "That gives (batch, keys): the axes for heads and queries are still missing.",
            "`lengths[:, None]` is the column, and indexing the table with `[:, None, None, :]` puts two axes of size 1 "
            "between.",
        ),
        remark="torch's nn.MultiheadAttention wants the opposite of it, without the two axes, as key_padding_mask "
        "(section 3.11).",
    ),
    Exercise(
        sliding_window_mask,
        window_probes,
        difficulty="easy",
        minutes=5,
        helpers=(causal_mask,),
        mistakes=(
            *CAUSAL_MISTAKES,
            Mistake(
                "window-one-too-wide",
                "The window holds one position too many. The query's own counts: a window of 3 is the query and two before it.",
                {"\n    causal = causal": "\n    window += 1; causal = causal"},
            ),
            Mistake(
                "window-one-too-narrow",
                "The window holds one position too few. With the query's own there are `window` of them.",
                {"\n    causal = causal": "\n    window -= 1; causal = causal"},
            ),
            Mistake(
                "window-ignored",
                "The window changes nothing: a query may attend however far away.",
                {NEAR: "torch.ones_like(causal)"},
            ),
            Mistake(
                "window-to-both-sides",
                "The window reaches into the future as far as into the past. Join it with the causal mask by `&`.",
                {
                    WINDOW: "torch.ones_like(causal).tril(causal.shape[1] - n_queries + window - 1)"
                    ".triu(causal.shape[1] - n_queries - window + 1)"
                },
            ),
            Mistake(
                "mask-missing",
                "The whole future is open. Join with the causal mask by `&`.",
                {"return causal & ": "return "},
            ),
            Mistake(
                "or-not-and",
                "A pair is allowed when *every* mask allows it, so masks are joined by `&`. Joined by `|`, what either "
                "of them allows is open.",
                {"return causal & ": "return causal | "},
            ),
            Mistake(
                "future-for-past",
                "The mask looks the wrong way: each query sees itself and what comes after it. It should see itself and "
                "what comes before.",
                {"tril(n_keys - n_queries)": "triu(n_keys - n_queries)"},
                also={NEAR: "~causal.triu(causal.shape[1] - n_queries + window)"},
            ),
            Mistake(
                "window-hidden",
                "The window itself is hidden, and what lies before it is open.",
                {"& ~causal.tril": "& causal.tril"},
            ),
            Mistake(
                "mask-inverted",
                "True and False are swapped: True means “may attend” here.",
                {WINDOW: f"~({WINDOW})"},
            ),
            Mistake(
                "queries-first",
                "The queries are taken for the first of the positions. They are the last ones: query i stands at "
                "position n_keys − n_queries + i.",
                {"n_keys - n_queries)": "0)", "causal.shape[1] - n_queries - window": "-window"},
            ),
            Mistake(
                "window-from-the-first-position",
                "The window is counted as if query 0 stood at position 0. It stands at position n_keys − n_queries.",
                {"causal.shape[1] - n_queries - window": "-window"},
            ),
            Mistake(
                "earlier-keys-left-out",
                "The mask has n_queries columns. The keys before the queries' own belong to it too: it has n_keys columns.",
                {"causal_mask(n_queries, n_keys, device)": "causal_mask(n_queries)"},
            ),
            Mistake(
                "square-of-keys",
                "The mask has n_keys rows. There is one row for each query: the last n_queries of them.",
                {"causal_mask(n_queries, n_keys, device)": "causal_mask(n_keys)"},
                also={"causal.shape[1] - n_queries": "0"},
            ),
            Mistake(
                "nothing-open",
                "Everything is hidden. True means “may attend” here: it should be True at the query's own position and "
                "at the window − 1 before it.",
                {WINDOW: "torch.zeros_like(causal)"},
            ),
            Mistake(NOT_BOOLEAN.id, NOT_BOOLEAN.why, {f"return {WINDOW}": f"return 1.0 * ({WINDOW})"}),
            Mistake(ADDITIVE.id, ADDITIVE.why, additive(WINDOW)),
        ),
        styles=(
            # "near" as fewer than `window` steps to either side: right once it is joined with the causal mask
            {
                NEAR: "(torch.ones_like(causal).tril(causal.shape[1] - n_queries + window - 1) "
                "& ~causal.tril(causal.shape[1] - n_queries - window))"
            },
        ),
        hints=(
            "Two masks joined by `&`: the causal one, and one that is True where the key is near enough.",
            "With q the query's position and k the key's, near means q − k < window. The queries are the last of the "
            "n_keys positions, as in `causal_mask`.",
            "`position = torch.arange(n_keys)`, `near = position[n_keys - n_queries :, None] - position < window`, and "
            "`causal_mask(n_queries, n_keys) & near`.",
        ),
        remark="Mistral 7B (Jiang et al. 2023) uses such a window, of 4,096 tokens; stacked layers reach further back "
        "(section 3.5).",
    ),
    Exercise(
        attention_pattern,
        pattern_probes,
        difficulty="medium",
        minutes=10,
        part="attention_pattern",
        mistakes=(
            *SCORE_MISTAKES,
            *SOFTMAX_MISTAKES,
            Mistake(
                "mask-missing",
                "The mask changes nothing: hidden keys get weight as if they were open.",
                {"if mask is None:": "if True:"},
            ),
            Mistake(
                "hidden-score-zero-then-hidden",
                "A hidden score is set to 0 before the softmax, where it still takes its share (e⁰ = 1), and its weight "
                "to 0 after it. So the rows do not sum to 1. Hide the scores with −∞.",
                {"-math.inf": "0.0"},
            ),
            Mistake(
                "infinity-after-softmax",
                "−∞ is put in after the softmax, so hidden keys have the weight −∞. Before the softmax, −∞ becomes 0.",
                {ZEROED: "return scores.softmax(-1).masked_fill(~mask, -torch.inf)"},
            ),
            Mistake(
                "finite-mask-beaten",
                "A hidden score is set to a number such as −10,000. An open score can be lower, and then the hidden key "
                "wins. Nothing is lower than −∞.",
                {"-math.inf": "-1e4"},
            ),
            Mistake(
                "finite-mask-overflows",
                "A hidden score is set to a number that half precision cannot hold, such as −10⁹: its range ends at "
                "65,504. −∞ exists in every precision.",
                {"-math.inf": "-1e9"},
            ),
            ROW_EVEN,
            ROW_OPEN,
            Mistake(
                "finite-mask-added",
                "A number such as −10,000 is added to the hidden scores. An open score can be lower still, and then the "
                "hidden key wins; and in a row whose keys are all hidden it changes no weight. Use −∞, and set the "
                "hidden weights to 0 after the softmax.",
                {ZEROED: "return (scores + ~mask * -1e4).softmax(-1)"},
            ),
            ROW_NAN,
            Mistake(
                "zero-times-infinity",
                "Rows that have an open key hold NaN. It is what 0 · ∞ gives: to multiply a mask by −∞ spoils the places "
                "where the mask is 0. Use `masked_fill` or `torch.where`, which choose.",
                {HIDDEN: "return (scores + ~mask * -torch.inf).softmax(-1)"},
            ),
            Mistake(
                "renormalised-after-softmax",
                "The hidden weights are set to 0 after the softmax and each row is divided by its sum. On paper that is "
                "the same, but when a hidden key has taken everything the open weights are 0 already, and 0/0 is NaN. "
                "Hide the scores before the softmax.",
                {HIDDEN: "weights = scores.softmax(-1) * mask\n    return (weights / weights.sum(-1, keepdim=True))"},
            ),
            Mistake(
                "renormalised-with-a-guard",
                "The hidden weights are set to 0 after the softmax and each row is divided by its sum, unless that is 0. "
                "When a hidden key has taken everything the open weights are 0 already, and stay 0. Hide the scores "
                "before the softmax.",
                {
                    ZEROED: "weights = scores.softmax(-1) * mask\n"
                    "    return (weights / weights.sum(-1, keepdim=True)).nan_to_num(0.0)"
                },
            ),
            Mistake(
                "renormalised-with-a-tiny-guard",
                "The hidden weights are set to 0 after the softmax and each row is divided by its sum, with a guard such "
                "as 10⁻⁹ against 0/0. When a hidden key has taken everything the open weights are 0 already, and stay 0; "
                "and in half precision 10⁻⁹ is 0 itself, so that 0/0 is back. Hide the scores before the softmax.",
                # 1e-300, since nothing but a sum of 0 should feel it
                {
                    ZEROED: "weights = scores.softmax(-1) * mask\n"
                    "    return weights / (weights.sum(-1, keepdim=True) + 1e-300)"
                },
            ),
            Mistake(
                "softmax-overflows",
                "Very large or very low scores give NaN: the exponential of a large one is ∞, that of a low one 0, and "
                "neither ∞/∞ nor 0/0 is a number. `softmax` takes care of that.",
                {HIDDEN: "weights = scores.exp() * mask\n    return (weights / weights.sum(-1, keepdim=True))"},
            ),
            MASK_ADDED,
        ),
        hints=(
            "Three steps: the scaled scores of lesson 02, with −∞ where the mask is False; the softmax along the keys; "
            "zeros for rows without an open key.",
            "`scores.masked_fill(~mask, -math.inf)` hides: ~mask is True where a query may not attend. Then `.softmax(-1)`.",
            "An empty row is NaN now. Section 3.4 mends it with one more step after the softmax: "
            "`.masked_fill(~mask, 0.0)`.",
        ),
        remark="Some fused kernels and libraries still give NaN for an empty row; before you use one, test what it gives.",
    ),
    Exercise(
        split_heads,
        split_probes,
        difficulty="medium",
        minutes=10,
        part="split_heads",
        mistakes=(
            *SPLIT_MISTAKES,
            Mistake(
                "single-head-called-multi",
                "The columns are not cut: there is one head, and it is as wide as the model. Each of the n_heads heads "
                "has d_model / n_heads columns.",
                {SPLIT: "x.unflatten(-1, (1, -1)).transpose(1, 2)"},
            ),
            Mistake(
                "every-head-gets-everything",
                "Each head is given all columns. Head h has its own: h · d_head … (h + 1) · d_head − 1.",
                {SPLIT: "x[:, None].expand(-1, n_heads, -1, -1)"},
            ),
            Mistake(
                "sequence-cut",
                "The positions are shared out among the heads. It is the columns that are cut, the last axis; each head "
                "keeps every position.",
                {SPLIT: "x.unflatten(1, (n_heads, -1))"},
            ),
            Mistake(
                "heads-as-a-list",
                "Each head is a tensor by itself. Asked for is one tensor with an axis of heads: `torch.stack(…, dim=1)`.",
                {SPLIT: "x.chunk(n_heads, dim=-1)"},
            ),
        ),
        hints=(
            "Two steps. Cut the last axis, d_model, into two: (batch, seq, n_heads, d_head). Then put the heads before "
            "the positions.",
            "`x.unflatten(-1, (n_heads, -1))` cuts; torch works out the −1. `x.view(batch, seq, n_heads, d_head)` does "
            "the same.",
            "`x.unflatten(-1, (n_heads, -1)).transpose(1, 2)`.",
        ),
        remark="`unflatten` and `transpose` copy no number: they only change how the same memory is read. That is why "
        "`view` refuses after `transpose`, and the way back takes `flatten` or `reshape`, which copy where they must.",
    ),
    Exercise(
        split_qkv,
        qkv_probes,
        difficulty="medium",
        minutes=10,
        helpers=(split_heads,),
        mistakes=(
            Mistake(
                "qkv-chunk-wrong-axis",
                f"{WRONG_CUT} Cut along the axis of size 3.",
                {CHUNKS: "", PARTS: f"return {FIVE_AXES}.chunk(3, dim=-1)"},
            ),
            Mistake(
                "qkv-chunk-wrong-axis-permuted",
                f"{WRONG_CUT} Cut along the axis of size 3; `unbind` also takes it away.",
                {CHUNKS: "", PARTS: f"return {FIVE_AXES}.permute(2, 0, 3, 1, 4).chunk(3, dim=-1)"},
            ),
            Mistake(
                "qkv-chunk-wrong-axis-joined",
                f"{WRONG_CUT} Joined again, the thirds have the right shape, but each is made of query, key and value. "
                "Cut along the axis of size 3.",
                {
                    CHUNKS: "",
                    PARTS: f"return tuple(p.permute(0, 3, 1, 2, 4).flatten(-2) for p in {FIVE_AXES}.chunk(3, dim=-1))",
                },
            ),
            Mistake(
                "qkv-chunk-wrong-axis-of-heads",
                f"{WRONG_CUT} Query, key and value lie side by side: cut the last axis of `fused` in three first.",
                {CHUNKS: "", PARTS: "return split_heads(fused, 3 * n_heads).chunk(3, dim=-1)"},
            ),
            Mistake(
                "axis-left-over",
                "Each of the three has an axis of size 1 in front. `chunk` keeps the axis that it cuts; `unbind` takes it "
                "away.",
                {PARTS: PARTS.replace("n_heads)", "n_heads)[None]")},
            ),
            Mistake(
                "heads-cut-first",
                "The heads were cut first, and then each head's columns in three. That is another layout, of models "
                "that store query, key and value head by head. Here the first third of all columns is the query.",
                {
                    CHUNKS: "",
                    PARTS: "return split_heads(fused, n_heads).chunk(3, dim=-1)",
                },
            ),
            Mistake(
                "batch-cut-in-three",
                "The cut in three runs along the sentences, axis 0, which `chunk` takes unless it is told another. Query, "
                "key and value lie side by side in the columns, the last axis.",
                {"fused.chunk(3, dim=-1)": "fused.chunk(3)"},
            ),
            Mistake(
                "sequence-cut-in-three",
                "The cut in three runs along the positions. Query, key and value lie side by side in the columns, the "
                "last axis.",
                {"fused.chunk(3, dim=-1)": "fused.chunk(3, dim=1)"},
            ),
            Mistake(
                "qkv-by-view-only",
                "The axis of three was made by cutting the numbers anew in the order of memory: a third holds whole "
                "positions. Cut the last axis.",
                {"fused.chunk(3, dim=-1)": "fused.reshape(3, fused.shape[0], fused.shape[1], -1)"},
            ),
            Mistake(
                "qkv-interleaved",
                "The columns are dealt out in turn, one to the query, one to the key, one to the value. They lie in "
                "three blocks: first all of the query.",
                {"fused.chunk(3, dim=-1)": "fused.unflatten(-1, (-1, 3)).unbind(-1)"},
            ),
            Mistake(
                "split-into-threes",
                "`split(3)` makes pieces of 3 columns each. Asked for are 3 pieces: `chunk(3)`, or split(d_model).",
                {"fused.chunk(3, dim=-1)": "fused.split(3, dim=-1)"},
            ),
            Mistake(
                "query-and-key-swapped",
                "Query and key are in each other's place. The order is query, key, value.",
                {"query, key, value = ": "key, query, value = "},
            ),
            Mistake(
                "query-and-value-swapped",
                "Query and value are in each other's place. The order is query, key, value.",
                {"query, key, value = ": "value, key, query = "},
            ),
            Mistake(
                "query-last",
                "The order is not right: yours returns key, value, query where query, key, value is asked for.",
                {"query, key, value = ": "value, query, key = "},
            ),
            Mistake(
                "value-first",
                "The order is not right: yours returns value, query, key where query, key, value is asked for.",
                {"query, key, value = ": "key, value, query = "},
            ),
            Mistake(
                "key-and-value-swapped",
                "Key and value are in each other's place. The order is query, key, value.",
                {"query, key, value = ": "query, value, key = "},
            ),
            Mistake(
                "shared-qkv-projection",
                "All three are one and the same third. The first is the query, the second the key, the last the value.",
                {CHUNKS: "query = key = value = fused.chunk(3, dim=-1)[0]"},
            ),
            Mistake(
                "single-head-called-multi",
                "There is one head, as wide as the model. Split each third into n_heads.",
                {PARTS: PARTS.replace("n_heads", "1")},
            ),
            Mistake(
                "heads-not-split",
                "The thirds are not split into heads. Each should be (batch, heads, seq, d_head).",
                {PARTS: "return query, key, value"},
            ),
            Mistake(
                "one-tensor-not-three",
                "All comes in one tensor. Return three: query, key, value.",
                {PARTS: PARTS.replace("return ", "return torch.stack((") + "))"},
            ),
            *SPLIT_MISTAKES[:7],
        ),
        styles=(
            # however many pieces there are
            {
                "query, key, value = ": "pieces = ",
                PARTS: "return tuple(split_heads(piece, n_heads) for piece in pieces)",
            },
        ),
        hints=(
            "Two steps: cut the columns in three equal blocks, then split each block into heads.",
            "`fused.chunk(3, dim=-1)` gives three tensors, (batch, seq, d_model) each: query, key, value.",
            "Give each of them to `split_heads`: `tuple(split_heads(part, n_heads) for part in fused.chunk(3, dim=-1))`.",
        ),
        remark="One matrix product of width 3 · d_model in place of three is quicker and changes no number. Whoever loads "
        "weights has to know which layout they are in; heads-first ones exist too.",
    ),
    Exercise(
        multi_head_attention,
        multi_head_probes,
        difficulty="hard",
        minutes=20,
        helpers=(attention_pattern, scaled_dot_product_attention, split_heads, merge_heads),
        part="multi_head_attention",
        mistakes=(
            *(m for m in SCORE_MISTAKES if m.id in ("unscaled-scores", "scaled-by-d", "query-and-key-swapped")),
            Mistake(
                "scaled-by-d-model",
                "Divided by √d_model. Each head's dot products add up d_head numbers: divide by √d_head.",
                {"math.sqrt(query.shape[-1])": "math.sqrt(query.shape[-1] * query.shape[1])"},
            ),
            Mistake(
                "w-q-for-keys-too",
                "w_k changes nothing: queries are compared with queries, and the scores are symmetric. Score (i, j) is "
                "query i · key j, and the keys are x @ w_k.",
                {"query @ key": "query @ query"},
            ),
            Mistake(
                "w-k-for-queries-too",
                "w_q changes nothing: keys are compared with keys, and the scores are symmetric. Score (i, j) is "
                "query i · key j, and the queries are x @ w_q.",
                {"query @ key": "key @ key"},
            ),
            *SOFTMAX_MISTAKES,
            MASK_ADDED,
            ROW_NAN,
            ROW_EVEN,
            ROW_OPEN,
            Mistake(
                "mask-missing",
                "The mask changes nothing. Hand it on to the attention.",
                {"(query, key, value, mask)": "(query, key, value)"},
            ),
            Mistake(
                "shared-qkv-projection",
                "One matrix makes queries, keys and values. Each has its own: w_q, w_k, w_v.",
                {"(w_q, w_k, w_v))": "(w_q, w_q, w_q))"},
            ),
            Mistake(
                "projections-missing",
                "x itself serves as queries, keys and values. They are x @ w_q, x @ w_k and x @ w_v.",
                {"split_heads(x @ w, n_heads)": "split_heads(x, n_heads)"},
            ),
            Mistake(
                "values-ignored",
                "w_v changes nothing: the keys are averaged in place of the values. Each head's output is pattern @ value, "
                "and the values are x @ w_v.",
                {"return pattern @ value": "return pattern @ key"},
            ),
            Mistake(
                "heads-split-before-projection",
                "Each head sees its own columns of x alone, and all heads share one corner of each matrix: x is split "
                "first. Project first, so that each head's queries, keys and values are made of all columns of x.",
                {
                    "split_heads(x @ w, n_heads)": "split_heads(x, n_heads) @ "
                    "w[: x.shape[-1] // n_heads, : x.shape[-1] // n_heads]"
                },
            ),
            Mistake(
                "heads-see-own-columns-only",
                "Each head sees its own columns of x alone. Project first, so that each head's queries, keys and values "
                "are made of all columns of x.",
                {"x @ w,": "x @ (w * torch.eye(n_heads).kron(torch.ones_like(w[::n_heads, ::n_heads]))),"},
            ),
            Mistake(
                "split-and-merged-by-view",
                "The numbers are only cut anew in the order of memory, on the way in and on the way back: each head has "
                "a piece of the sentence, and the pieces never meet (section 3.9). Cut the last axis into "
                "(n_heads, d_head) and swap positions and heads; on the way back swap first, then join.",
                {SPLIT: VIEW, MERGED: VIEWED_BACK},
            ),
            *SPLIT_MISTAKES[:1],
            COLUMNS_INTERLEAVED,
            Mistake(
                "attends-across-heads",
                "The heads of one word attend to each other, and every word stays alone: the heads stand behind the "
                "positions, where the matrix product takes them for the words. Swap these axes before, and back after.",
                {
                    SPLIT: "x.unflatten(-1, (n_heads, -1))",
                    MERGED: "heads.flatten(-2)",
                },
            ),
            Mistake(
                "single-head-called-multi",
                "There is one head, as wide as the model. Split queries, keys and values into n_heads, or all share "
                "one row of weights.",
                {"query, key, value = (": "n_heads = 1\n    query, key, value = ("},
            ),
            Mistake(
                "mask-with-an-axis-for-heads",
                "Each head is computed by itself, so its scores are (batch, queries, keys). A mask of four axes, "
                "(batch, heads, queries, keys), does not fit them: its axis for the heads has to go, or every head has "
                "to get one.",
                {
                    "output, _ = scaled_dot_product_attention(query, key, value, mask)": "heads = zip(*(all.unbind(1) "
                    "for all in (query, key, value)))\n"
                    "    output = torch.cat([scaled_dot_product_attention(*head, mask)[0] for head in heads], dim=-1)",
                    "merge_heads(output)": "output",
                },
            ),
            Mistake(
                "merged-by-view-only",
                "The heads are joined by a view, in the order of memory: positions and heads get mixed. Swap heads and "
                "positions back first, then join the last two axes.",
                {MERGED: VIEWED_BACK},
            ),
            Mistake(
                "merged-interleaved",
                "The heads' columns are joined in turn, like cards. Head 0's columns come first, then head 1's: "
                "(batch, seq, heads, d_head) before the last two axes are joined.",
                {MERGED: "heads.permute(0, 2, 3, 1).flatten(-2)"},
            ),
            Mistake(
                "no-output-projection",
                "w_o changes nothing: the last step is missing. Without it the heads are never mixed.",
                {"merge_heads(output) @ w_o": "merge_heads(output)"},
            ),
            Mistake(
                "output-matrix-transposed",
                "The output goes through the transpose of w_o. Here every matrix is used as it is: … @ w_o.",
                {"@ w_o": "@ w_o.T"},
            ),
            Mistake(
                "projections-transposed",
                "w_q, w_k and w_v are used transposed, as nn.Linear does with its own matrix. Here they are used as they "
                "are: x @ w_q.",
                {"x @ w,": "x @ w.T,"},
            ),
            Mistake(
                "values-not-projected",
                "w_v changes nothing: the heads average x itself. The values are x @ w_v.",
                {"(query, key, value, mask)": "(query, key, split_heads(x, n_heads), mask)"},
            ),
            Mistake(
                "always-causal",
                "The future is hidden whatever the mask says. Here the mask decides, and None hides nothing.",
                {"(query, key, value, mask)": "(query, key, value, torch.ones(x.shape[1], x.shape[1]).tril().bool())"},
            ),
            Mistake(
                "residual-added",
                "x is added to the output. A block does that, around the attention; this function is the attention alone.",
                {"merge_heads(output) @ w_o": "x + merge_heads(output) @ w_o"},
            ),
            Mistake(
                "output-projection-on-weights",
                "w_o is applied to the pattern. That runs only where there are as many keys as columns; it belongs "
                "after the merged heads.",
                {
                    "output, _ = scaled_dot_product_attention(query, key, value, mask)": "output = "
                    "attention_pattern(query, key, mask) @ w_o @ value",
                    "merge_heads(output) @ w_o": "merge_heads(output)",
                },
            ),
        ),
        styles=(
            # one head keeps its three axes: with n_heads = 1 it needs no fourth
            {
                "split_heads(x @ w, n_heads)": "(x @ w if n_heads == 1 else split_heads(x @ w, n_heads))",
                "merge_heads(output)": "(output if n_heads == 1 else merge_heads(output))",
            },
        ),
        hints=(
            "Five steps: project, split into heads, attend, merge the heads, mix by w_o. The functions for the middle "
            "three are there already.",
            "`query = split_heads(x @ w_q, n_heads)`, and the same for key and value. The attention then serves all heads "
            "at once, for torch repeats it over the axes in front.",
            "`output, _ = scaled_dot_product_attention(query, key, value, mask)`, then `merge_heads(output) @ w_o`.",
        ),
        remark="This is section 3.2.2 of Vaswani et al. 2017, but for dropout and biases. The sum over heads of "
        "(pattern @ value) @ (the head's rows of w_o) is the same: what each head adds can be told apart.",
    ),
]

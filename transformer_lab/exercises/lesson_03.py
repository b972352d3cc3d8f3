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
    """Self-attention in n_heads subspaces, mixed by w_o. Vaswani et al. 2017, section 3.2.2."""
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
        "open scores of 2,000 and 4,000": (exactly([[2000]]), exactly([[1], [2], [0]]), allowed([1, 1, 0])),
        "an open score of 0 beside a hidden 900": (exactly([[900]]), exactly([[0], [1]]), allowed([1, 0])),
        "an open score of −20,000 beside a hidden 0": (exactly([[-20000]]), exactly([[1], [0]]), allowed([1, 0])),
        "an open score of −20,000 in half precision": (
            exactly([[-20000]]).half(),
            exactly([[1], [0]]).half(),
            allowed([1, 0]),
        ),
        "d_head = 1": (gaussian(2, 1), gaussian(3, 1, seed=1), allowed([1, 0, 1])),
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
        "2 sentences × 4 positions × 36 columns in 2 heads": (gaussian(2, 4, 36, seed=1), 2),
    }


def multi_head_probes() -> dict[str, tuple]:
    def probe(batch: int, seq: int, d_model: int, n_heads: int, mask: Tensor | None = None) -> tuple:
        x = gaussian(batch, seq, d_model)
        weights = (gaussian(d_model, d_model, seed=seed) for seed in range(1, 5))
        return x, *weights, n_heads, mask

    one = torch.eye(2, dtype=torch.float64)
    return {
        "one word that attends to itself": (exactly([[[1, 2]]]), one, one, one, exactly([[1, 0], [1, 1]]), 1, None),
        "two words in two heads with identity matrices": (exactly([[[1, 0], [2, 3]]]), one, one, one, one, 2, None),
        "one head": probe(1, 3, 4, 1),
        "two heads": probe(1, 3, 4, 2),
        "as many words as columns": probe(1, 4, 4, 2),
        "2 sentences × 5 words × 6 columns in 3 heads": probe(2, 5, 6, 3),
        "two heads under a causal mask": probe(1, 3, 4, 2, causal_mask(3)),
        "as many words as columns under a causal mask": probe(1, 4, 4, 2, causal_mask(4)),
        "2 sentences with fillers under a causal mask": probe(
            2, 4, 6, 2, causal_mask(4) & padding_mask(torch.tensor([4, 2]), 4)
        ),
    }


# ---------------------------------------------------------------- exercises

# What goes wrong wherever the future is hidden.
CAUSAL_MISTAKES = (
    Mistake(
        "mask-off-by-one",
        "One step of the future is open: each query may attend to the position after its own, where the answer stands.",
        {"tril(n_keys": "tril(1 + n_keys"},
    ),
    Mistake(
        "mask-off-by-one-self-hidden",
        "A token cannot see itself: its own position is hidden, and it should be open.",
        {"tril(n_keys": "tril(-1 + n_keys"},
    ),
)
NOT_BOOLEAN = Mistake(
    "mask-of-numbers",
    "The places are right, but these are numbers. A mask is of dtype torch.bool, True where a query may attend.",
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
WINDOW = "causal & ~causal.tril(causal.shape[1] - n_queries - window)"


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
        {"return scores.softmax(-1)": "return scores", "-math.inf).softmax(-1)": "-math.inf)"},
    ),
    Mistake(
        "softmax-before-scale",
        "The division by √d_head comes after the softmax. It belongs before: now the rows sum to 1/√d_head.",
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
        "The mask is read the wrong way round: True means “may attend” here, so hide where it is False (~mask).",
        {"~mask": "mask"},
    ),
)
# What goes wrong between (batch, seq, d_model) and (batch, heads, seq, d_head).
SPLIT = "x.unflatten(-1, (n_heads, -1)).transpose(1, 2)"
VIEW = "x.reshape(x.shape[0], n_heads, x.shape[1], -1)"
COLUMNS_INTERLEAVED = Mistake(
    "columns-interleaved",
    "The columns are dealt out to the heads in turn, like cards. Head 0 should hold the first d_head columns, head 1 "
    "the next ones: cut d_model into (n_heads, d_head), in this order.",
    {SPLIT: "x.unflatten(-1, (-1, n_heads)).permute(0, 3, 1, 2)"},
)
SPLIT_MISTAKES = (
    Mistake(
        "heads-by-view-only",
        "The shape is right, but the numbers were only cut anew in the order of memory: a head holds whole positions "
        "and never sees the others. Cut the last axis into (n_heads, d_head), then swap positions and heads.",
        {SPLIT: VIEW},
    ),
    Mistake(
        "swap-missing",
        "The last axis is cut well, but the heads stand behind the positions. Swap these two axes: `transpose(1, 2)`.",
        {SPLIT: "x.unflatten(-1, (n_heads, -1))"},
    ),
    COLUMNS_INTERLEAVED,
    Mistake(
        "wrong-axes-swapped",
        "The last axis is cut well, but then the last two axes were swapped. Swap positions and heads, 1 and 2.",
        {SPLIT: "x.unflatten(-1, (n_heads, -1)).transpose(2, 3)"},
    ),
    Mistake(
        "columns-before-positions",
        "The heads hold the right numbers, but turned: positions and columns of each are swapped. The order is "
        "(batch, heads, seq, d_head).",
        {SPLIT: f"{SPLIT}.transpose(2, 3)"},
    ),
    Mistake(
        "heads-before-batch",
        "The heads are right, but their axis stands before the sentences. The order is (batch, heads, seq, d_head).",
        {SPLIT: f"{SPLIT}.transpose(0, 1)"},
    ),
    Mistake(
        "batch-and-heads-joined",
        "The heads are right, but sentences and heads share one axis. Keep them apart: (batch, heads, seq, d_head).",
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
)
CHUNKS = "query, key, value = fused.chunk(3, dim=-1)"
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
                "True and False are swapped: True means “may attend” here. Yours opens the future only.",
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
                "Each query sees itself and nothing else. The positions before it are open as well.",
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
        remark="The shorter way: `torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries)`. Note that "
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
                "True and False are swapped: True means “may attend” here. Yours opens the fillers only.",
                {"positions < lengths": "positions >= lengths"},
            ),
            Mistake(
                "mask-off-by-one",
                "One key too many is open: the first filler. Keys count from 0, so the last real one is lengths[b] − 1.",
                {"positions < lengths": "positions <= lengths"},
            ),
            Mistake(
                "last-word-hidden",
                "One key too few is open: the last real word is hidden. Keys count from 0.",
                {"positions < lengths": "positions + 1 < lengths"},
            ),
            Mistake(
                "padding-ignored",
                "Every key is open, the fillers too.",
                {"positions < lengths": "positions < n_keys + 0 * lengths"},
            ),
            Mistake(
                "axes-missing",
                "The mask is right, but of shape (batch, keys). Two axes of size 1 are missing between them, for the "
                "heads and the queries: `[:, None, None, :]`.",
                {"[:, None, None, :]": ""},
            ),
            Mistake(
                "one-axis-missing",
                "The mask is right, but has one axis of size 1 in the middle. It takes two, for the heads and the queries.",
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
                "This hides queries: the last axis has size 1. The fillers must not be looked at, so they are hidden as "
                "keys, the last axis.",
                {"[:, None, None, :]": "[:, None, :, None]"},
            ),
            Mistake(
                "hides-queries-too",
                "The fillers are hidden as queries too, which leaves their rows empty. What a filler looks at does no "
                "harm, as nobody reads it: one row a sentence is enough, for all its queries.",
                {f"return {REAL}": f"real = {REAL}\n    return real & real.transpose(2, 3)"},
            ),
            Mistake(
                "query-axis-stretched",
                "The right mask, written out for n_keys queries. Leave that axis at size 1: torch stretches it to "
                "however many queries there are.",
                {REAL: f"{REAL}.expand(-1, -1, n_keys, -1)"},
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
            "`torch.arange(n_keys) < lengths[:, None]` compares them all: (keys,) with (batch, 1) gives (batch, keys).",
            "Two axes of size 1 go between: `(torch.arange(n_keys) < lengths[:, None])[:, None, None, :]`.",
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
                "The window reaches one position too far back. The query's own position counts: a window of 3 is the "
                "query and two before it.",
                {"\n    causal = causal": "\n    window += 1; causal = causal"},
            ),
            Mistake(
                "window-one-too-narrow",
                "The window is one position too short. With the query's own it holds `window` positions, so it ends at "
                "window − 1 steps back.",
                {"\n    causal = causal": "\n    window -= 1; causal = causal"},
            ),
            Mistake(
                "window-ignored",
                "This is the plain causal mask: the window changes nothing.",
                {WINDOW: "causal"},
            ),
            Mistake(
                "window-to-both-sides",
                "The window reaches into the future as far as into the past. Join it with the causal mask by `&`.",
                {
                    WINDOW: "torch.ones_like(causal).tril(causal.shape[1] - n_queries + window - 1) "
                    "& ~causal.tril(causal.shape[1] - n_queries - window)"
                },
            ),
            Mistake(
                "mask-missing",
                "The past is cut off at the window, but the whole future is open. Join with the causal mask by `&`.",
                {"return causal & ": "return "},
            ),
            Mistake(
                "or-not-and",
                "A pair is allowed when *every* mask allows it, so masks are joined by `&`. Joined by `|`, what either "
                "of them allows is open.",
                {"return causal & ": "return causal | "},
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
                "The causal part is right, but the window is counted as if query 0 stood at position 0. It stands at "
                "position n_keys − n_queries.",
                {"causal.shape[1] - n_queries - window": "-window"},
            ),
            Mistake(
                "earlier-keys-left-out",
                "The mask has n_queries columns. The keys before the queries' own belong to it too: it has n_keys columns.",
                {"causal_mask(n_queries, n_keys, device)": "causal_mask(n_queries)"},
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
                "& ~causal.tril(causal.shape[1] - n_queries - window)": "& torch.ones_like(causal)"
                ".tril(causal.shape[1] - n_queries + window - 1) & ~causal.tril(causal.shape[1] - n_queries - window)"
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
            Mistake(
                "fully-masked-row-even",
                "A row whose keys are all hidden gets equal weights: a softmax of equal numbers is even. It should be "
                "zeros. Set the hidden weights to 0 after the softmax.",
                {
                    "-math.inf": "torch.finfo(scores.dtype).min",
                    "return pattern.masked_fill(~mask, 0.0)": "return pattern",
                },
            ),
            Mistake(
                "fully-masked-row-open",
                "A large number is taken away from the hidden scores. In a row whose keys are all hidden that changes "
                "no weight, as a softmax only compares. It should be zeros. Set the hidden weights to 0 after the softmax.",
                {ZEROED: "return (scores + ~mask * -1e9).softmax(-1)"},
            ),
            Mistake(
                "finite-mask-added",
                "A number such as −10,000 is added to the hidden scores. An open score can be lower still, and then the "
                "hidden key wins; and in a row whose keys are all hidden it changes no weight. Use −∞, and set the "
                "hidden weights to 0 after the softmax.",
                {ZEROED: "return (scores + ~mask * -1e4).softmax(-1)"},
            ),
            Mistake(
                "fully-masked-row-nan",
                "A row whose keys are all hidden is NaN: every e^−∞ is 0, and 0/0 is not defined. It should be zeros. "
                "Set the hidden weights to 0 once more after the softmax.",
                {".masked_fill(~mask, 0.0)": ""},
            ),
            Mistake(
                "zero-times-infinity",
                "Rows that have an open key are NaN. It is what 0 · ∞ gives: to multiply a mask by −∞ spoils the places "
                "where the mask is 0. Use `masked_fill` or `torch.where`, which choose.",
                {HIDDEN: "return (scores + ~mask * -torch.inf).softmax(-1)"},
            ),
            Mistake(
                "renormalised-after-softmax",
                "The hidden weights are set to 0 after the softmax and each row is divided by its sum. On paper that is "
                "right, but when a hidden key has taken everything the open weights are 0 already, and 0/0 is NaN. Hide "
                "the scores before the softmax.",
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
                "softmax-overflows",
                "Very large or very low scores give NaN: the exponential of a large one is ∞, that of a low one 0, and "
                "neither ∞/∞ nor 0/0 is a number. `softmax` takes care of that.",
                {HIDDEN: "weights = scores.exp() * mask\n    return (weights / weights.sum(-1, keepdim=True))"},
            ),
            Mistake(
                "mask-added",
                "The mask itself is added to the scores: an open key gains 1, and a hidden one stays open. Set hidden "
                "scores to −∞.",
                {ZEROED: "return (scores + mask).softmax(-1)"},
            ),
        ),
        hints=(
            "Three steps: the scaled scores of lesson 02, with −∞ where the mask is False; the softmax along the keys; "
            "zeros for rows without an open key.",
            "`scores.masked_fill(~mask, -math.inf)` hides: ~mask is True where a query may not attend. Then `.softmax(-1)`.",
            "An empty row is NaN now. Section 3.4 mends it with one more step after the softmax: "
            "`.masked_fill(~mask, 0.0)`.",
        ),
        remark="Some fused kernels and libraries still give NaN for an empty row; what yours gives is worth a test.",
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
                "The heads are right, but each is a tensor by itself. Asked for is one tensor with an axis of heads: "
                "`torch.stack(…, dim=1)`.",
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
        remark="Neither step copies a number: both only change how the same memory is read. That is why `view` refuses "
        "after `transpose`, and the way back takes `flatten` or `reshape`.",
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
                "The cut in three runs along the heads' own columns, so each piece holds d_head / 3 columns of every "
                "head. Query, key and value lie side by side: cut the last axis of `fused` in three first.",
                {
                    CHUNKS: "",
                    PARTS: "return split_heads(fused, 3 * n_heads).chunk(3, dim=-1)",
                },
            ),
            Mistake(
                "qkv-chunk-wrong-axis-of-five",
                "The cut in three runs along d_head, the last of five axes, so each piece holds a third of every head's "
                "columns. Cut along the axis of size 3.",
                {CHUNKS: "", PARTS: "return fused.unflatten(-1, (3, n_heads, -1)).chunk(3, dim=-1)"},
            ),
            Mistake(
                "axis-left-over",
                "The numbers are right, but each of the three has an axis of size 1 in front. `chunk` keeps the axis that "
                "it cuts; `unbind` takes it away.",
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
                "All three are the first third of the columns. Key and value are the second and the last third.",
                {PARTS: "return (split_heads(query, n_heads),) * 3"},
            ),
            Mistake(
                "single-head-called-multi",
                "Cut in three, but not into heads: there is one head, as wide as the model. Split each third into n_heads.",
                {PARTS: PARTS.replace("n_heads", "1")},
            ),
            Mistake(
                "heads-not-split",
                "The cut in three is right, but the thirds are not split into heads. Each should be "
                "(batch, heads, seq, d_head).",
                {PARTS: "return query, key, value"},
            ),
            Mistake(
                "one-tensor-not-three",
                "The numbers are right, but in one tensor. Return three: query, key, value.",
                {PARTS: PARTS.replace("return ", "return torch.stack((") + "))"},
            ),
            *SPLIT_MISTAKES[:6],
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
                "keys-ignored",
                "w_k changes nothing: queries are compared with queries. Score (i, j) is query i · key j, and the keys "
                "are x @ w_k.",
                {"query @ key": "query @ query"},
            ),
            Mistake(
                "queries-ignored",
                "w_q changes nothing: keys are compared with keys. Score (i, j) is query i · key j, and the queries "
                "are x @ w_q.",
                {"query @ key": "key @ key"},
            ),
            *(m for m in SOFTMAX_MISTAKES if m.id in ("softmax-over-queries", "no-softmax", "mask-inverted")),
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
            *SPLIT_MISTAKES[:1],
            COLUMNS_INTERLEAVED,
            Mistake(
                "attends-across-heads",
                "The heads of one word attend to each other, and every word stays alone: the heads stand behind the "
                "positions, where the matrix product takes them for the words. Swap these axes before, and back after.",
                {
                    SPLIT: "x.unflatten(-1, (n_heads, -1))",
                    "heads.transpose(1, 2).flatten(-2)": "heads.flatten(-2)",
                },
            ),
            Mistake(
                "single-head-called-multi",
                "There is one head, as wide as the model. Split queries, keys and values into n_heads, or all share "
                "one row of weights.",
                {"split_heads(x @ w, n_heads)": "split_heads(x @ w, 1)"},
            ),
            Mistake(
                "merged-by-view-only",
                "The heads were split well, but joined by a view, in the order of memory: positions and heads get mixed. "
                "Swap heads and positions back first, then join the last two axes.",
                {"heads.transpose(1, 2).flatten(-2)": "heads.reshape(heads.shape[0], heads.shape[2], -1)"},
            ),
            Mistake(
                "merged-interleaved",
                "The heads' columns are joined in turn, like cards. Head 0's columns come first, then head 1's: "
                "(batch, seq, heads, d_head) before the last two axes are joined.",
                {"heads.transpose(1, 2).flatten(-2)": "heads.permute(0, 2, 3, 1).flatten(-2)"},
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

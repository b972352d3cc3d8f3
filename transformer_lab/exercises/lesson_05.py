"""Exercises of lesson 05: feed-forward, LayerNorm, the two residual steps, dropout."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from transformer_lab.blocks import layer_norm
from transformer_lab.exercises.catalogue import Exercise, Mistake
from transformer_lab.exercises.lesson_02 import KEY, QUERY, SCORE_MISTAKES, VALUE, exactly, gaussian


def feed_forward(
    x: Float[Tensor, "batch seq d_model"],
    up: Float[Tensor, "d_ff d_model"],
    up_bias: Float[Tensor, "d_ff"],
    down: Float[Tensor, "d_model d_ff"],
    down_bias: Float[Tensor, "d_model"],
) -> Float[Tensor, "batch seq d_model"]:
    """Widen, ReLU, narrow, at every position. The weights lie as nn.Linear keeps them: (out, in)."""
    hidden = x @ up.T + up_bias  # (batch, seq, d_ff)
    return torch.relu(hidden) @ down.T + down_bias  # (batch, seq, d_model)


def pre_norm_step(
    x: Float[Tensor, "batch seq d_model"], sublayer: Callable, norm: Callable
) -> Float[Tensor, "batch seq d_model"]:
    """x + sublayer(norm(x)): the stream itself is never normalised."""
    return x + sublayer(norm(x))


def post_norm_step(
    x: Float[Tensor, "batch seq d_model"], sublayer: Callable, norm: Callable
) -> Float[Tensor, "batch seq d_model"]:
    """norm(x + sublayer(x)): the sum is normalised."""
    return norm(x + sublayer(x))


def dropout(x: Float[Tensor, "*shape"], keep: Bool[Tensor, "*shape"], rate: float) -> Float[Tensor, "*shape"]:
    """Where keep is False, 0; elsewhere x / (1 − rate), so that the expected value is x."""
    return x * keep / (1 - rate)


def attention_with_dropout(
    query: Float[Tensor, "*heads queries d_head"],
    key: Float[Tensor, "*heads keys d_head"],
    value: Float[Tensor, "*heads keys d_value"],
    keep: Bool[Tensor, "*heads queries keys"],
    rate: float,
) -> Float[Tensor, "*heads queries d_value"]:
    """dropout(softmax(query keyᵀ / √d_head)) value: what is dropped is weights, after the softmax."""
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    pattern = scores.softmax(-1)  # (..., queries, keys)
    return dropout(pattern, keep, rate) @ value


# ---------------------------------------------------------------- probes


def feed_forward_probes() -> dict[str, tuple]:
    up, down = exactly([[1], [-1]]), exactly([[1, 1]])  # two hidden units, relu(t) and relu(−t): together |t|

    def probe(batch: int, seq: int, d_model: int, d_ff: int) -> tuple:
        sizes = ((batch, seq, d_model), (d_ff, d_model), (d_ff,), (d_model, d_ff), (d_model,))
        return tuple(gaussian(*size, seed=seed) for seed, size in enumerate(sizes))

    return {
        "one number, 2, through two hidden units": (exactly([[[2]]]), up, exactly([0, 0]), down, exactly([0])),
        "the same units, −3": (exactly([[[-3]]]), up, exactly([0, 0]), down, exactly([0])),
        "the same units with biases": (exactly([[[2]]]), up, exactly([0.5, 1]), down, exactly([-4])),
        "2 × 3 tokens, d_model = 4, d_ff = 5": probe(2, 3, 4, 5),
        "d_ff = d_model = 3": probe(2, 4, 3, 3),
    }


def layer_norm_probes() -> dict[str, tuple]:
    vector, ones, zeros = exactly([[1, 3, 3, 9]]), exactly([1] * 4), exactly([0] * 4)
    return {
        "one vector, 1 3 3 9": (vector, ones, zeros),
        "with a weight": (vector, exactly([1, 2, 0.5, -1]), zeros),
        "with weight and bias": (vector, exactly([1, 2, 0.5, -1]), exactly([1, 0, 2, 3])),
        "two vectors of different size": (torch.cat([vector, 10 * vector]), ones, zeros),
        "eps = 7": (vector, ones, zeros, 7.0),
        "four equal entries": (exactly([[5, 5, 5, 5]]), ones, ones),
        "tiny entries": (1e-3 * gaussian(3, 4), gaussian(4, seed=1), gaussian(4, seed=2)),
        "one vector without a batch axis": (gaussian(5), gaussian(5, seed=1), gaussian(5, seed=2)),
        "4 vectors of 4, eps = 1": (gaussian(4, 4), gaussian(4, seed=1), gaussian(4, seed=2), 1.0),
        "2 × 3 vectors of 5": (gaussian(2, 3, 5), gaussian(5, seed=1), gaussian(5, seed=2)),
    }


def with_weights(module: nn.Module) -> nn.Module:
    """All parameters random, so that no norm's weight is 1 and no bias 0."""
    for seed, parameter in enumerate(module.parameters()):
        parameter.data = gaussian(*parameter.shape, seed=seed + 1)
    return module


def residual_probes() -> dict[str, tuple]:
    def plain_norm(d_model: int) -> nn.Module:
        return nn.LayerNorm(d_model, elementwise_affine=False)

    return {
        "x = 3, 1 and a ReLU": (exactly([[[3, 1]]]), nn.ReLU(), plain_norm(2)),
        "x = −1, 2, 5 and a ReLU": (exactly([[[-1, 2, 5]]]), nn.ReLU(), plain_norm(3)),
        "a norm that has learned": (exactly([[[-1, 2, 5]]]), nn.ReLU(), with_weights(nn.LayerNorm(3))),
        # With a small eps, norm(2 * x) is norm(x).
        "2 × 3 tokens, d_model = 5": (
            gaussian(2, 3, 5), with_weights(nn.Linear(5, 5)), with_weights(nn.LayerNorm(5, eps=0.5))
        ),
    }  # fmt: skip


def dropout_probes() -> dict[str, tuple]:
    x = exactly([1, 2, 3, 4])
    return {
        "half are kept": (x, torch.tensor([True, False, True, False]), 0.5),
        "rate 0.2, one of four dropped": (x, torch.tensor([True, True, False, True]), 0.2),
        "rate 0.5, but all happen to stay": (x, torch.ones(4, dtype=torch.bool), 0.5),
        "rate 0": (x, torch.ones(4, dtype=torch.bool), 0.0),
        "2 × 3 × 5 entries, rate 0.1": (gaussian(2, 3, 5), gaussian(2, 3, 5, seed=1) > -1, 0.1),
    }


def attention_with_dropout_probes() -> dict[str, tuple]:
    def probe(*batch: int, queries: int, keys: int, d_head: int, d_value: int, rate: float) -> tuple:
        keep = gaussian(*batch, queries, keys, seed=3) > -0.7
        keep[..., 0] |= ~keep.any(-1)  # each query keeps something
        query, key, value = (
            gaussian(*batch, *size, seed=seed)
            for seed, size in enumerate(((queries, d_head), (keys, d_head), (keys, d_value)))
        )
        return query, key, value, keep, rate

    one, two_values = exactly([[1, 1, 1, 1]]), exactly([[8, 0], [0, 4]])
    first_dropped = torch.tensor([[False, True, True], [True, True, True], [True, True, True]])
    return {
        "two equal keys, the second dropped": (one, one.repeat(2, 1), two_values, torch.tensor([[True, False]]), 0.5),
        "the dog chased, one weight dropped": (QUERY, KEY, VALUE, first_dropped, 0.2),
        "rate 0.5, but all happen to stay": (QUERY, KEY, VALUE, torch.ones(3, 3, dtype=torch.bool), 0.5),
        "2 queries, 3 keys, d_head = 5, d_value = 4": probe(queries=2, keys=3, d_head=5, d_value=4, rate=0.1),
        "every size 4": probe(queries=4, keys=4, d_head=4, d_value=4, rate=0.3),
        "4 queries, 4 keys, d_head = 3, d_value = 5": probe(queries=4, keys=4, d_head=3, d_value=5, rate=0.2),
        "2 sentences, 3 heads": probe(2, 3, queries=4, keys=5, d_head=6, d_value=7, rate=0.4),
    }


# ---------------------------------------------------------------- mistakes of more than one exercise

RESIDUAL_MISTAKES = (
    Mistake(
        "norm-without-residual",
        "x is not added: the residual connection is missing. In a deep stack the tokens then become all alike, and "
        "the gradient that could tell them apart vanishes.",
        {"x + sublayer": "sublayer"},
    ),
    Mistake(
        "residual-subtracted",
        "The sublayer's output is subtracted from x. The residual connection adds it.",
        {"x + sublayer": "x - sublayer"},
    ),
    Mistake(
        "residual-multiplied",
        "x and the sublayer's output are multiplied, so an output near 0 wipes x out. The residual connection adds "
        "them: then an output near 0 leaves x nearly as it is.",
        {"x + sublayer": "x * sublayer"},
    ),
)

# What is dropped is x, in one exercise a vector of numbers, in the other the pattern.
DROPOUT_MISTAKES = (
    Mistake(
        "not-rescaled",
        "What stays is left as large as it was. Of the entries only the share 1 − rate stays on average, so the next "
        "layer would see less in training than in use. Divide what stays by 1 − rate.",
        {" / (1 - rate)": ""},
    ),
    Mistake(
        "divided-by-rate",
        "The rate is used in place of 1 − rate. The rate is the share that is dropped; what stays is divided by the "
        "share that stays, 1 − rate. At rate 0.5 the two are the same.",
        {"(1 - rate)": "rate"},
    ),
    Mistake(
        "scaled-down",
        "What stays is multiplied, where it should be divided: with some entries missing, those that stay must become "
        "larger, not smaller.",
        {"/ (1 - rate)": "* (1 - rate)"},
    ),
    Mistake(
        "scaled-by-the-share-kept",
        "The share of entries that happens to stay is used in place of 1 − rate. The scale comes from the rate, a "
        "probability, and is the same at each roll of the dice.",
        {"(1 - rate)": "keep.double().mean()"},
    ),
    Mistake(
        "scaled-by-one-plus-rate",
        "What stays is multiplied by 1 + rate, so the average still shrinks. (1 − rate) · scale = 1 asks for "
        "scale = 1 / (1 − rate).",
        {"/ (1 - rate)": "* (1 + rate)"},
    ),
    Mistake(
        "scaled-by-example",
        "What stays is doubled whatever the rate is. Doubling is for the rate 0.5; in general divide by 1 − rate.",
        {"/ (1 - rate)": "* 2"},
    ),
    Mistake(
        "spread-kept",
        "The scale contains a square root. That would keep the average of the squares; dropout keeps the average of "
        "the entries, and divides by 1 − rate itself.",
        {"(1 - rate)": "(1 - rate) ** 0.5"},
    ),
    Mistake(
        "brackets-missing",
        "The rate is subtracted from every entry: without brackets, / 1 - rate divides by 1 and then takes the rate "
        "away. Write / (1 - rate).",
        {"(1 - rate)": "1 - rate"},
    ),
    Mistake(
        "keep-inverted",
        "The entries that should stay are dropped, and the others stay. True in keep means: it stays.",
        {"x * keep": "x * ~keep"},
    ),
    Mistake(
        "nothing-dropped",
        "Nothing is dropped: the entries with keep False are treated like the others. Where keep is False, 0 is "
        "wanted.",
        {"x * keep": "x"},
    ),
    Mistake(
        "dropped-entries-stay",
        "What should be dropped keeps its old value. Where keep is False, 0 is wanted.",
        {"x * keep / (1 - rate)": "torch.where(keep, x / (1 - rate), x)"},
    ),
)

# Without keepdim the variance around the wrong mean is not the variance.
BY_VAR = {
    "((x - mean) ** 2).mean(-1, keepdim=True)": "x.var(-1, keepdim=True, correction=0)",
    "((x - mean) ** 2).mean(-1)": "x.var(-1, correction=0)",
}

# 1 / rate alone raises an error at rate 0, where a tensor divided by 0 gives ∞.
AS_A_FACTOR = {"/ (1 - rate)": "* (1 / (1 - rate))"}

EXERCISES = [
    Exercise(
        feed_forward,
        feed_forward_probes,
        difficulty="easy",
        minutes=6,
        part="feed_forward",
        mistakes=(
            Mistake(
                "no-activation",
                "There is no bend between the two linear layers. Without it they are one matrix, and the hidden units "
                "are wasted: apply ReLU to them.",
                {"torch.relu(hidden)": "hidden"},
            ),
            Mistake(
                "activation-at-the-end",
                "ReLU is applied to the result, not to the hidden units, so nothing bends between the two layers.",
                {"torch.relu(hidden) @ down.T + down_bias": "torch.relu(hidden @ down.T + down_bias)"},
            ),
            Mistake(
                "activation-twice",
                "ReLU is applied to the hidden units, and once more to the result. The result may be negative: the "
                "second one does not belong there.",
                {"torch.relu(hidden) @ down.T + down_bias": "torch.relu(torch.relu(hidden) @ down.T + down_bias)"},
            ),
            Mistake(
                "activation-on-the-input",
                "ReLU is applied to x, before the widening. It belongs on the hidden units, after it.",
                {"x @ up": "torch.relu(x) @ up", "torch.relu(hidden)": "hidden"},
            ),
            Mistake(
                "activation-inverted",
                "The negative hidden units pass and the positive ones are cut off. ReLU is max(0, z).",
                {"torch.relu(hidden)": "hidden.clamp(max=0)"},
            ),
            Mistake(
                "gelu-for-relu",
                "The activation is GELU. It is a good one, but here ReLU is asked for, max(0, z).",
                {"torch.relu(hidden)": "nn.functional.gelu(hidden)"},
            ),
            Mistake(
                "squared-relu",
                "The hidden units are squared after ReLU. That is ReLU², also in use; here plain ReLU is asked for.",
                {"torch.relu(hidden)": "torch.relu(hidden) ** 2"},
            ),
            Mistake(
                "up-bias-missing",
                "The hidden units lack their bias, up_bias. It is added before ReLU.",
                {" + up_bias": ""},
            ),
            Mistake(
                "down-bias-missing",
                "The result lacks its bias, down_bias.",
                {" + down_bias": ""},
            ),
            Mistake(
                "bias-after-activation",
                "up_bias is added after ReLU. It belongs inside: it decides where each hidden unit bends.",
                {" + up_bias": "", "torch.relu(hidden)": "(torch.relu(hidden) + up_bias)"},
            ),
            Mistake(
                "up-not-transposed",
                "up is used as it lies, which runs only when d_ff happens to be d_model, and then mixes the wrong "
                "numbers. up has one *row* for each hidden unit: x @ up.T.",
                {"up.T": "up"},
            ),
            Mistake(
                "down-not-transposed",
                "down is used as it lies, which runs only when d_ff happens to be d_model, and then mixes the wrong "
                "numbers. down has one *row* for each output: hidden @ down.T.",
                {"down.T": "down"},
            ),
            Mistake(
                "weights-not-transposed",
                "up and down are used as they lie, which runs only when d_ff happens to be d_model, and then mixes "
                "the wrong numbers. nn.Linear keeps one *row* for each output: x @ up.T, hidden @ down.T.",
                {"up.T": "up", "down.T": "down"},
            ),
            Mistake(
                "up-and-down-swapped",
                "down comes first and up second, which runs only when d_ff happens to be d_model. Widen with up first, "
                "then narrow with down.",
                {"    hidden = ": "    up, up_bias, down, down_bias = down, down_bias, up, up_bias\n    hidden = "},
            ),
            Mistake(
                "down-ignored",
                "The way back uses up once more: changing down changes nothing. Narrowing has weights of its own.",
                {"down.T": "up"},
            ),
            Mistake(
                "hidden-returned",
                "The hidden units come back, d_ff numbers a token. Narrow them again with down and down_bias.",
                {"return torch.relu(hidden) @ down.T + down_bias": "return torch.relu(hidden)"},
            ),
            Mistake(
                "residual-inside",
                "x is added to the result. The residual connection is a part of the block, around this network; the "
                "network itself has none.",
                {"return ": "return x + "},
            ),
        ),
        hints=(
            "Three steps, as in the formula: a linear layer that gives d_ff hidden units, ReLU, a linear layer back.",
            "up has one row for each hidden unit, so the hidden units before ReLU are `x @ up.T + up_bias`. "
            "`F.linear(x, up, up_bias)` is the same.",
            "`hidden = torch.relu(x @ up.T + up_bias)`; then the second linear layer in the same way, with down, "
            "down_bias and no ReLU.",
        ),
        remark="The paper calls it the position-wise feed-forward network (Vaswani et al. 2017, section 3.3); others "
        "say multi-layer perceptron, MLP.",
    ),
    Exercise(
        layer_norm,
        layer_norm_probes,
        difficulty="medium",
        minutes=8,
        part="layer_norm",
        styles=(BY_VAR,),
        mistakes=(
            Mistake(
                "layernorm-unbiased",
                "The variance divides by one less than the number of entries, as `x.var()` and `x.std()` do unless told "
                "otherwise. LayerNorm divides by the number of entries, d_model.",
                {"((x - mean) ** 2).mean(-1, keepdim=True)": "x.var(-1, keepdim=True)"},
            ),
            Mistake(
                "layernorm-eps-outside",
                "eps is added to the standard deviation, after the root. It belongs beside the variance, inside the "
                "root: (variance + eps).sqrt().",
                {"(variance + eps).sqrt()": "(variance.sqrt() + eps)"},
            ),
            Mistake(
                "eps-missing",
                "eps is not used. It is there for a vector whose entries are all equal, so that it does not give 0 / "
                "0, which is NaN.",
                {"(variance + eps)": "variance"},
            ),
            Mistake(
                "eps-fixed",
                "eps is 1e-5 whatever is passed. Use the argument.",
                {"+ eps)": "+ 1e-5)"},
            ),
            Mistake(
                "eps-as-floor",
                "eps is used as a lower bound for the variance. It is added to it.",
                {"(variance + eps)": "variance.clamp_min(eps)"},
            ),
            Mistake(
                "divided-by-variance",
                "The variance is used in place of its square root. It is the root, the standard deviation, that brings the "
                "variance to 1.",
                {"(variance + eps).sqrt()": "(variance + eps)"},
            ),
            Mistake(
                "variance-is-a-sum",
                "The squares are added up but not averaged. The variance is their mean: divide by their number, "
                "d_model.",
                {"((x - mean) ** 2).mean(-1, keepdim=True)": "((x - mean) ** 2).sum(-1, keepdim=True)"},
            ),
            Mistake(
                "mean-kept",
                "The mean is still there. Subtract it from x, then divide.",
                {"return (x - mean)": "return x"},
            ),
            Mistake(
                "variance-around-zero",
                "What is squared is x, which has the mean still in it. The variance is the mean square of x − mean.",
                {"((x - mean) ** 2)": "(x ** 2)"},
            ),
            Mistake(
                "root-mean-square",
                "The mean is never subtracted. RMSNorm (Zhang and Sennrich 2019), which many newer models use, does "
                "without that; LayerNorm subtracts it, and takes the variance around it.",
                {"((x - mean) ** 2)": "(x ** 2)", "return (x - mean)": "return x"},
            ),
            Mistake(
                "multiplied-by-deviation",
                "Multiplied where it should be divided: large vectors become larger still.",
                {"/ (variance + eps).sqrt()": "* (variance + eps).sqrt()"},
            ),
            Mistake(
                "brackets-missing",
                "Only the mean is divided by the standard deviation: x - mean / … divides first. Write (x - mean) / ….",
                {"(x - mean) /": "x - mean /"},
            ),
            Mistake(
                "not-divided",
                "Nothing is divided, so the size is what it was. Divide by the root of variance + eps.",
                {" / (variance + eps).sqrt()": ""},
            ),
            Mistake(
                "absolute-deviation",
                "The size is the mean of |x − mean|. The standard deviation is the root of the mean *square*.",
                {"((x - mean) ** 2).mean(-1, keepdim=True)": "(x - mean).abs().mean(-1, keepdim=True) ** 2"},
            ),
            Mistake(
                "norm-over-everything",
                "One mean and one variance serve all vectors together. Each vector has its own: go along the last axis "
                "only, with `keepdim=True`.",
                {"(-1, keepdim=True)": "()"},
            ),
            Mistake(
                "norm-over-the-batch",
                "Mean and variance run along the first axis, over the batch. LayerNorm looks at one vector at a time, along "
                "the last axis.",
                {"(-1, keepdim=True)": "(0, keepdim=True)"},
            ),
            Mistake(
                "norm-over-all-vectors",
                "Mean and variance run over all vectors, for each entry by itself: this is how BatchNorm works. LayerNorm "
                "looks at one vector at a time, along the last axis.",
                {"(-1, keepdim=True)": "(tuple(range(x.ndim - 1)), keepdim=True)"},
            ),
            Mistake(
                "norm-over-the-positions",
                "Mean and variance run along the axis before the last, over the tokens. LayerNorm looks at one token's "
                "vector at a time, along the last axis.",
                {"(-1, keepdim=True)": "(-2, keepdim=True)"},
            ),
            Mistake(
                "norm-over-axis-1",
                "Mean and variance run along axis 1. That is the last axis of a matrix only; write −1, and it is the last "
                "of any tensor.",
                {"(-1, keepdim=True)": "(1, keepdim=True)"},
            ),
            Mistake(
                "norm-over-the-sentence",
                "Mean and variance run over all axes but the first, so the tokens of a sentence share them. Each vector "
                "has its own: go along the last axis only.",
                {"(-1, keepdim=True)": "(tuple(range(min(1, x.ndim - 1), x.ndim)), keepdim=True)"},
            ),
            Mistake(
                "keepdim-missing",
                "`mean(-1)` drops the last axis, and what is left meets the wrong axis of x. With `keepdim=True` it "
                "stays, with size 1, and each vector meets its own mean.",
                {"(-1, keepdim=True)": "(-1)"},
            ),
            Mistake(
                "weight-ignored",
                "weight is not used. Multiply by it, then add bias.",
                {" * weight": ""},
            ),
            Mistake(
                "bias-ignored",
                "The bias is not added.",
                {" + bias": ""},
            ),
            Mistake(
                "bias-scaled",
                "The bias is multiplied by the weight too. Multiply by weight first, then add bias.",
                {
                    "(x - mean) / (variance + eps).sqrt() * weight + bias": "((x - mean) / (variance + eps).sqrt() + bias) * weight"
                },
            ),
            Mistake(
                "weight-and-bias-swapped",
                "weight is added and bias multiplies: they have changed places.",
                {" * weight + bias": " * bias + weight"},
            ),
        ),
        hints=(
            "Each vector needs its own mean and its own variance. Both run along the last axis, −1, and "
            "`keepdim=True` keeps that axis, with size 1, so that the subtraction fits.",
            "`mean = x.mean(-1, keepdim=True)`, and the variance is the mean of `(x - mean) ** 2` along the same axis. "
            "`x.var()` divides by one less, unless you pass `correction=0`.",
            "Divide `x - mean` by `(variance + eps).sqrt()`; then `* weight + bias`.",
        ),
        remark="In use it is torch.nn.LayerNorm, or F.layer_norm(x, (d_model,), weight, bias). Ba et al. 2016.",
    ),
    Exercise(
        pre_norm_step,
        residual_probes,
        difficulty="easy",
        minutes=3,
        part="pre_norm_step",
        mistakes=(
            *RESIDUAL_MISTAKES,
            Mistake(
                "norm-missing",
                "The norm is not used. The sublayer should see norm(x).",
                {"(norm(x))": "(x)"},
            ),
            Mistake(
                "norm-after-the-sublayer",
                "The sublayer sees x as it is, and its output is normalised. Pre-norm is the other way round: the "
                "sublayer of norm(x).",
                {"sublayer(norm(x))": "norm(sublayer(x))"},
            ),
            Mistake(
                "pre-norm-called-post-norm",
                "This is post-norm: the result is normalised. In pre-norm the norm comes before the sublayer, inside "
                "the branch, and the stream itself is only added to.",
                {"x + sublayer(norm(x))": "norm(x + sublayer(x))"},
            ),
            Mistake(
                "norm-around-the-sublayer",
                "The norm comes before the sublayer, and once more after it. In pre-norm the sublayer's output is "
                "added as it is.",
                {"sublayer(norm(x))": "norm(sublayer(norm(x)))"},
            ),
            Mistake(
                "norm-at-both-ends",
                "The result is normalised too. In pre-norm nothing rescales the stream: leave the sum as it is.",
                {"x + sublayer(norm(x))": "norm(x + sublayer(norm(x)))"},
            ),
            Mistake(
                "residual-from-the-normed",
                "norm(x) stands where x should. The residual connection goes around the norm too, so that the stream "
                "passes through no norm.",
                {"x + sublayer(norm(x))": "norm(x) + sublayer(norm(x))"},
            ),
            Mistake(
                "norm-on-the-stream",
                "x and norm(x) have changed places: it is x that the sublayer sees. The norm belongs into the branch, "
                "the plain x into the sum.",
                {"x + sublayer(norm(x))": "norm(x) + sublayer(x)"},
            ),
            Mistake(
                "residual-inside-the-sublayer",
                "x is added before the sublayer, so it must pass through it. Add it to the sublayer's output.",
                {"x + sublayer(norm(x))": "sublayer(x + norm(x))"},
            ),
            Mistake(
                "sublayer-missing",
                "The sublayer is not used: nothing passes through it.",
                {"sublayer(norm(x))": "norm(x)"},
            ),
        ),
        hints=(
            "Follow the left drawing from bottom to top: one line goes straight up, the other through the norm, then "
            "through the sublayer, and both meet in a sum.",
            "The branch is `sublayer(norm(x))`.",
            "Add the branch to x itself, not to norm(x).",
        ),
        remark="GPT-2 wrote it into its paper in one sentence (Radford et al. 2019, section 2.3): the norm moved to the "
        "input of each sub-block. Its stream is normalised once, at the very end.",
    ),
    Exercise(
        post_norm_step,
        residual_probes,
        difficulty="easy",
        minutes=3,
        part="post_norm_step",
        mistakes=(
            *RESIDUAL_MISTAKES,
            Mistake(
                "pre-norm-called-post-norm",
                "This is pre-norm: the norm comes before the sublayer, and the result is left as it is. In post-norm "
                "the sublayer sees x, and the sum is normalised.",
                {"norm(x + sublayer(x))": "x + sublayer(norm(x))"},
            ),
            Mistake(
                "norm-missing",
                "The norm is not used. In post-norm the sum is normalised.",
                {"norm(x + sublayer(x))": "x + sublayer(x)"},
            ),
            Mistake(
                "norm-after-the-sublayer",
                "The sublayer's output is normalised before it meets x. Add first: what is normalised is the sum.",
                {"norm(x + sublayer(x))": "x + norm(sublayer(x))"},
            ),
            Mistake(
                "norm-at-both-ends",
                "The sublayer sees norm(x). In post-norm it sees x as it is; only the sum is normalised.",
                {"sublayer(x)": "sublayer(norm(x))"},
            ),
            Mistake(
                "residual-from-the-normed",
                "x is normalised before anything else. In post-norm the norm comes last, and only there: the sum is x "
                "+ sublayer(x).",
                {"x + sublayer(x)": "norm(x) + sublayer(norm(x))"},
            ),
            Mistake(
                "residual-around-the-norm",
                "x is added once more after the norm, so the stream is not normalised. In post-norm the norm comes last.",
                {"norm(x + sublayer(x))": "x + norm(x + sublayer(x))"},
            ),
            Mistake(
                "norm-before-the-sum",
                "x is normalised before the sublayer's output meets it. Add first: what is normalised is the sum.",
                {"norm(x + sublayer(x))": "norm(x) + sublayer(x)"},
            ),
            Mistake(
                "norm-of-each-part",
                "x and the sublayer's output are normalised one by one. Add them first: what is normalised is the sum.",
                {"norm(x + sublayer(x))": "norm(x) + norm(sublayer(x))"},
            ),
            Mistake(
                "residual-inside-the-sublayer",
                "The sublayer comes last, after the norm and the sum. In post-norm it comes first: add its output to x, "
                "then normalise.",
                {"norm(x + sublayer(x))": "sublayer(x + norm(x))"},
            ),
            Mistake(
                "sublayer-missing",
                "The sublayer is not used: nothing passes through it.",
                {"norm(x + sublayer(x))": "norm(x)"},
            ),
        ),
        hints=(
            "Follow the right drawing from bottom to top: sublayer, sum, norm.",
            "The sum is `x + sublayer(x)`: the sublayer sees x as it is.",
            "Return the norm of that sum.",
        ),
        remark="The paper's figure writes it “Add & Norm”. Here, even the plain path from x to the output passes through "
        "every norm.",
    ),
    Exercise(
        dropout,
        dropout_probes,
        difficulty="easy",
        minutes=5,
        styles=(AS_A_FACTOR,),
        mistakes=(
            *DROPOUT_MISTAKES,
            Mistake(
                "dropout-missing",
                "x comes back as it was. That is what dropout does in use; here it is in training, where some entries are "
                "dropped and the others scaled.",
                {"x * keep / (1 - rate)": "x"},
            ),
            Mistake(
                "entries-removed",
                "The dropped entries are gone, so the shape has changed. They stay where they are, as 0.",
                {"x * keep": "x[keep]"},
            ),
        ),
        hints=(
            "False counts as 0 and True as 1, so `x * keep` puts the zeros in place.",
            "An entry stays with probability 1 − rate. What must it be multiplied by, so that its expectation is x?",
            "(1 − rate) · scale · x = x, so the scale is 1 / (1 − rate).",
        ),
        remark="Srivastava et al. 2014 scale at use, by the share kept; scaling in training, as here and in torch, is "
        "called inverted dropout. It leaves nothing to do at use.",
    ),
    Exercise(
        attention_with_dropout,
        attention_with_dropout_probes,
        difficulty="medium",
        minutes=8,
        helpers=(dropout,),
        mistakes=(
            Mistake(
                "dropout-before-softmax",
                "Dropout is applied to the scores, before the softmax. A score of 0 is a score like any other and gets the weight "
                "exp(0), shared with the rest. Drop the weights, after the softmax.",
                {
                    "scores.softmax(-1)": "dropout(scores, keep, rate).softmax(-1)",
                    "dropout(pattern, keep, rate)": "pattern",
                },
            ),
            Mistake(
                "dropout-as-mask",
                "Without the dropped weights each row is made to sum to 1 again, as a mask does. Dropout leaves the "
                "row's sum to chance, and divides what stays by 1 − rate whatever was dropped.",
                {
                    "scores.softmax(-1)": "scores.masked_fill(~keep, -math.inf).softmax(-1)",
                    "dropout(pattern, keep, rate)": "pattern",
                },
            ),
            Mistake(
                "masked-and-rescaled",
                "The dropped weights are shared out among the others, as a mask does, and the rest is rescaled as "
                "well. One correction is enough: the division by 1 − rate.",
                {"scores.softmax(-1)": "scores.masked_fill(~keep, -math.inf).softmax(-1)"},
            ),
            Mistake(
                "softmax-twice",
                "After the dropout comes a second softmax. A dropped weight, 0, then gets exp(0) again. The weights that "
                "are left go to the values as they are.",
                {"dropout(pattern, keep, rate)": "dropout(pattern, keep, rate).softmax(-1)"},
            ),
            Mistake(
                "dropout-missing",
                "This is attention without dropout: keep and rate change nothing.",
                {"dropout(pattern, keep, rate)": "pattern"},
            ),
            Mistake(
                "dropout-on-the-output",
                "Dropout is applied to the output, which runs only when d_value happens to be the number of keys. keep has a place "
                "for each query and key: it belongs to the pattern.",
                {"dropout(pattern, keep, rate) @ value": "dropout(pattern @ value, keep, rate)"},
            ),
            Mistake(
                "dropout-on-the-values",
                "Dropout is applied to the values, which runs only when the sizes happen to agree. keep has a place for each query "
                "and key: it belongs to the pattern.",
                {"dropout(pattern, keep, rate) @ value": "pattern @ dropout(value, keep, rate)"},
            ),
            *DROPOUT_MISTAKES,
            *SCORE_MISTAKES,
            Mistake(
                "softmax-over-queries",
                "The softmax runs over the queries. It belongs along the keys, the last axis, so that before the "
                "dropout each row of the pattern sums to 1.",
                {".softmax(-1)": ".softmax(-2)"},
            ),
            Mistake(
                "softmax-over-axis-1",
                "The softmax runs along axis 1. These are the keys of a single matrix only; with a batch and heads in front "
                "they are the last axis, −1.",
                {".softmax(-1)": ".softmax(1)"},
            ),
            Mistake(
                "no-softmax",
                "The scores are used as weights. Take the softmax first, then drop.",
                {".softmax(-1)": ""},
            ),
            Mistake(
                "values-ignored",
                "The pattern averages the keys: the values change nothing. The output is the dropped pattern @ value.",
                {"@ value": "@ key"},
            ),
            Mistake(
                "output-missing",
                "The pattern comes back. What is asked for is its product with value.",
                {" @ value": ""},
            ),
            Mistake(
                "pattern-returned-too",
                "The pattern comes with the output. Here only the output is asked for.",
                {
                    "return dropout(pattern, keep, rate) @ value": "return dropout(pattern, keep, rate) @ value, dropout(pattern, keep, rate)"
                },
            ),
        ),
        hints=(
            "Start from attention as in lesson 02: scores, their softmax, the average of the values. One step is new. "
            "keep has the shape (queries, keys): which of the three results has that shape and must be dropped?",
            "The scores have that shape too, but a dropped score would be 0 and get the weight exp(0). So drop after the "
            "softmax: `pattern * keep / (1 - rate)`.",
            "`pattern = (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1)`; then the dropped "
            "pattern @ value. (`query.shape[-1] ** 0.5` needs no import.)",
        ),
        remark="torch.nn.functional.scaled_dot_product_attention does this with dropout_p, and rolls the dice itself. It "
        "drops whether or not the model is in training: pass 0 in use.",
    ),
]

"""Lesson 05: right and wrong answers as learners write them, and inputs that no check knows."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from transformer_lab.exercises.lesson_02 import gaussian
from transformer_lab.exercises.lesson_05 import with_weights

# ---------------------------------------------------------------- right answers, written otherwise


def feed_forward_by_token(x, up, up_bias, down, down_bias):
    out = torch.empty_like(x)
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            hidden = (up @ x[b, t] + up_bias).clamp(min=0)
            out[b, t] = down @ hidden + down_bias
    return out


def feed_forward_by_einsum(x, up, up_bias, down, down_bias):
    hidden = torch.einsum("btm,fm->btf", x, up) + up_bias
    return torch.einsum("btf,mf->btm", torch.where(hidden > 0, hidden, 0.0), down) + down_bias


def feed_forward_by_modules(x, up, up_bias, down, down_bias):
    first, second = nn.Linear(*up.T.shape), nn.Linear(*down.T.shape)
    first.weight.data, first.bias.data = up, up_bias
    second.weight.data, second.bias.data = down, down_bias
    return second(nn.ReLU()(first(x)))


def layer_norm_by_row(x, weight, bias, eps=1e-5):
    rows = []
    for row in x.reshape(-1, x.shape[-1]):
        mean = sum(row) / len(row)
        variance = sum((entry - mean) ** 2 for entry in row) / len(row)
        rows.append((row - mean) / (variance + eps) ** 0.5 * weight + bias)
    return torch.stack(rows).reshape(x.shape)


def layer_norm_by_var(x, weight, bias, eps=1e-5):
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return torch.addcmul(bias, (x - mean) * torch.rsqrt(variance + eps), weight)


def layer_norm_by_squares(x, weight, bias, eps=1e-5):
    """The variance as the mean of the squares less the square of the mean."""
    n = x.size(-1)
    mean = x.sum(-1, keepdim=True) / n
    return (x - mean) / torch.sqrt(x.square().sum(-1, keepdim=True) / n - mean**2 + eps) * weight + bias


def post_norm_in_steps(x, sublayer, norm):
    total = sublayer(x)
    total = total + x
    return norm(total)


def pre_norm_in_place(x, sublayer, norm):
    out = x.clone()
    out += sublayer(norm(x))
    return out


def pre_norm_by_token(x, sublayer, norm):
    return torch.stack([torch.stack([token + sublayer(norm(token)) for token in sentence]) for sentence in x])


def dropout_by_entry(x, keep, rate):
    entries = [a / (1 - rate) if k else 0.0 for a, k in zip(x.flatten().tolist(), keep.flatten().tolist())]
    return torch.tensor(entries, dtype=x.dtype).reshape(x.shape)


def dropout_in_place(x, keep, rate):
    out = x.clone()
    out[~keep] = 0
    out[keep] *= 1 / (1 - rate)
    return out


def dropout_as_torch_scales_it(x, keep, rate):
    scale = F.dropout(torch.ones(1000), rate).max()  # of a thousand ones, some stay
    return x * keep * scale


def weights(query, key):
    return (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1)


def drop(x, keep, rate):
    return torch.where(keep, x / (1 - rate), 0.0)


def attention_by_einsum(query, key, value, keep, rate):
    pattern = torch.softmax(torch.einsum("...qd,...kd->...qk", query, key) * query.size(-1) ** -0.5, dim=-1)
    return torch.einsum("...qk,...kd->...qd", pattern.masked_fill(~keep, 0), value) / (1 - rate)


def attention_by_query(query, key, value, keep, rate):
    outputs = []
    for i in range(query.shape[-2]):
        scores = (query[..., i, None, :] * key).sum(-1) / math.sqrt(key.shape[-1])  # (…, keys)
        exponentials = (scores - scores.amax(-1, keepdim=True)).exp()
        row = exponentials / exponentials.sum(-1, keepdim=True) * keep[..., i, :] / (1 - rate)
        outputs.append((row[..., None] * value).sum(-2))
    return torch.stack(outputs, -2)


def attention_by_torch(query, key, value, keep, rate):
    """The pattern is what attention gives when the values are the unit vectors."""
    identity = torch.eye(key.shape[-2], dtype=key.dtype).expand(*key.shape[:-1], key.shape[-2])
    return drop(F.scaled_dot_product_attention(query, key, identity), keep, rate) @ value


def attention_scaled_at_the_end(query, key, value, keep, rate):
    return (weights(query, key) * keep.float()) @ value * (1 / (1 - rate))


# ---------------------------------------------------------------- wrong answers


def standardise(x, std, eps=0.0):
    return (x - x.mean(-1, keepdim=True)) / (std + eps)


def biased_std(x):
    return x.std(-1, correction=0, keepdim=True)


def absolute_deviation(x):
    return (x - x.mean(-1, keepdim=True)).abs().mean(-1, keepdim=True)


def unbiased(x, w, b, eps=1e-5):
    return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + eps) * w + b


def norm_over(*axes):
    """LayerNorm along other axes."""

    def layer_norm(x, w, b, eps=1e-5):
        mean, variance = x.mean(axes, keepdim=True), x.var(axes, correction=0, keepdim=True)
        return (x - mean) / (variance + eps).sqrt() * w + b

    return layer_norm


def norm_without_keepdim(x, w, b, eps=1e-5):
    mean, variance = x.mean(-1), x.var(-1, correction=0)
    return (x - mean) / (variance + eps).sqrt() * w + b


def norm_by_sentence(x, w, b, eps=1e-5):
    return w * F.layer_norm(x, x.shape[1:] or x.shape, eps=eps) + b


def variance_by_loop_over_n_minus_1(x, weight, bias, eps=1e-5):
    out = torch.zeros_like(x)
    n = x.shape[-1]
    mean = sum(x[..., i] for i in range(n)) / n
    variance = sum((x[..., i] - mean) ** 2 for i in range(n)) / (n - 1)
    for i in range(n):
        out[..., i] = (x[..., i] - mean) / torch.sqrt(variance + eps) * weight[i] + bias[i]
    return out


def relu_ffn(x, up, ub, down, db):
    return F.linear(F.relu(F.linear(x, up, ub)), down, db)


def scores_dropped(query, key, value, keep, rate):
    scores = query @ key.mT / math.sqrt(query.size(-1))
    return torch.softmax(scores * keep / (1 - rate), dim=-1) @ value


def renormalised(query, key, value, keep, rate):
    pattern = weights(query, key) * keep
    return (pattern / pattern.sum(-1, keepdim=True)) @ value


def masked(hidden):
    def attention_with_dropout(query, key, value, keep, rate):
        scores = query @ key.mT / math.sqrt(query.size(-1))
        return scores.masked_fill(~keep, hidden).softmax(-1) @ value

    return attention_with_dropout


RIGHT = {
    "feed_forward": [
        feed_forward_by_token,
        feed_forward_by_einsum,
        feed_forward_by_modules,
        lambda x, up, ub, down, db: torch.clamp(x @ up.T + ub, min=0) @ down.mT + db,
    ],
    "layer_norm": [
        layer_norm_by_row,
        layer_norm_by_var,
        layer_norm_by_squares,
        lambda x, w, b, eps=1e-5: F.layer_norm(x, (x.shape[-1],), w, b, eps),
        lambda x, w, b, eps=1e-5: standardise(x, (biased_std(x) ** 2 + eps) ** 0.5) * w + b,
    ],
    "pre_norm_step": [
        lambda x, f, norm: f(norm(x)).add(x),
        pre_norm_in_place,
        pre_norm_by_token,
        lambda x, f, norm: sum([x, f(norm(x))]),
    ],
    "post_norm_step": [
        post_norm_in_steps,
        lambda x, f, norm: norm(torch.add(f(x), x)),
        lambda x, f, norm: norm(torch.stack([x, f(x)]).sum(0)),
    ],
    "dropout": [
        drop,
        dropout_by_entry,
        dropout_in_place,
        dropout_as_torch_scales_it,
        lambda x, keep, rate: x.masked_fill(~keep, 0) * (1 / (1 - rate)),
        lambda x, keep, rate: torch.einsum("...,...->...", x, keep.to(x.dtype)) / (1 - rate),
    ],
    "attention_with_dropout": [
        attention_by_einsum,
        attention_by_query,
        attention_by_torch,
        attention_scaled_at_the_end,
    ],
}  # fmt: skip
WRONG = {
    "feed_forward": {
        "no-activation": [lambda x, up, ub, down, db: (x @ up.T + ub) @ down.T + db],
        "activation-at-the-end": [lambda x, up, ub, down, db: F.linear(F.linear(x, up, ub), down, db).relu()],
        "activation-twice": [lambda x, up, ub, down, db: relu_ffn(x, up, ub, down, db).clamp(min=0)],
        "activation-on-the-input": [lambda x, up, ub, down, db: (F.relu(x) @ up.T + ub) @ down.T + db],
        "activation-inverted": [lambda x, up, ub, down, db: (-F.relu(-x @ up.T - ub)) @ down.T + db],
        "gelu-for-relu": [lambda x, up, ub, down, db: F.linear(nn.GELU()(F.linear(x, up, ub)), down, db)],
        "squared-relu": [lambda x, up, ub, down, db: F.linear(F.linear(x, up, ub).relu().square(), down, db)],
        "up-bias-missing": [lambda x, up, ub, down, db: F.linear(F.linear(x, up).relu(), down, db)],
        "down-bias-missing": [lambda x, up, ub, down, db: F.relu(x @ up.T + ub) @ down.T],
        "bias-after-activation": [lambda x, up, ub, down, db: (F.relu(x @ up.T) + ub) @ down.T + db],
        "weights-not-transposed": [lambda x, up, ub, down, db: (x @ up + ub).relu() @ down + db],
        "up-not-transposed": [lambda x, up, ub, down, db: (x @ up + ub).relu() @ down.T + db],
        "down-not-transposed": [lambda x, up, ub, down, db: (x @ up.T + ub).relu() @ down + db],
        "up-and-down-swapped": [lambda x, up, ub, down, db: (x @ down.T + db).relu() @ up.T + ub],
        "down-ignored": [lambda x, up, ub, down, db: (x @ up.T + ub).relu() @ up + db],
        "hidden-returned": [lambda x, up, ub, down, db: torch.relu(x @ up.T + ub)],
        "residual-inside": [lambda x, up, ub, down, db: x + relu_ffn(x, up, ub, down, db)],
        ("up-bias-missing", "down-not-transposed"): [lambda x, up, ub, down, db: F.relu(x @ up.T) @ down + db],
        ("gelu-for-relu", "activation-twice"): [
            lambda x, up, ub, down, db: F.relu(F.gelu(x @ up.T + ub) @ down.T + db)
        ],
        ("up-bias-missing", "down-bias-missing"): [lambda x, up, ub, down, db: torch.relu(x @ up.T) @ down.T],
        ("no-activation", "residual-inside"): [lambda x, up, ub, down, db: x + F.linear(F.linear(x, up, ub), down, db)],
        ("gelu-for-relu", "down-bias-missing"): [lambda x, up, ub, down, db: F.gelu(x @ up.T + ub) @ down.T],
    },
    "layer_norm": {
        "layernorm-unbiased": [unbiased, variance_by_loop_over_n_minus_1],
        "layernorm-eps-outside": [lambda x, w, b, eps=1e-5: standardise(x, biased_std(x), eps) * w + b],
        "eps-missing": [lambda x, w, b, eps=1e-5: standardise(x, biased_std(x)) * w + b],
        "eps-fixed": [lambda x, w, b, eps=1e-5: F.layer_norm(x, (x.shape[-1],), w, b)],
        "eps-as-floor": [lambda x, w, b, eps=1e-5: standardise(x, (biased_std(x) ** 2).clamp(min=eps).sqrt()) * w + b],
        "divided-by-variance": [lambda x, w, b, eps=1e-5: standardise(x, biased_std(x) ** 2 + eps) * w + b],
        "variance-is-a-sum": [
            lambda x, w, b, eps=1e-5: standardise(x, ((x - x.mean(-1, True)).pow(2).sum(-1, True) + eps).sqrt()) * w + b
        ],
        "mean-kept": [lambda x, w, b, eps=1e-5: x / (biased_std(x) ** 2 + eps).sqrt() * w + b],
        "variance-around-zero": [
            lambda x, w, b, eps=1e-5: standardise(x, (x.pow(2).mean(-1, True) + eps).sqrt()) * w + b
        ],
        "root-mean-square": [lambda x, w, b, eps=1e-5: F.rms_norm(x, (x.shape[-1],), w, eps) + b],
        "not-divided": [lambda x, w, b, eps=1e-5: (x - x.mean(-1, keepdim=True)) * w + b],
        "absolute-deviation": [
            lambda x, w, b, eps=1e-5: standardise(x, (absolute_deviation(x) ** 2 + eps).sqrt()) * w + b
        ],
        "norm-over-everything": [lambda x, w, b, eps=1e-5: (x - x.mean()) / (x.var(correction=0) + eps).sqrt() * w + b],
        "norm-over-the-batch": [norm_over(0)],
        "norm-over-all-vectors": [
            lambda x, w, b, eps=1e-5: norm_over(*range(x.ndim - 1))(x, w, b, eps),
        ],
        "multiplied-by-deviation": [
            lambda x, w, b, eps=1e-5: (x - x.mean(-1, True)) / (biased_std(x) ** 2 + eps).rsqrt() * w + b
        ],
        "brackets-missing": [
            lambda x, w, b, eps=1e-5: x - x.mean(-1, True) / (biased_std(x) ** 2 + eps).sqrt() * w + b
        ],
        "norm-over-the-positions": [norm_over(-2)],
        "norm-over-axis-1": [norm_over(1)],
        "norm-over-the-sentence": [norm_by_sentence],
        "keepdim-missing": [norm_without_keepdim],
        "weight-ignored": [lambda x, w, b, eps=1e-5: F.layer_norm(x, (x.shape[-1],), None, b, eps)],
        "bias-ignored": [lambda x, w, b, eps=1e-5: F.layer_norm(x, (x.shape[-1],), w, None, eps)],
        "bias-scaled": [lambda x, w, b, eps=1e-5: (F.layer_norm(x, (x.shape[-1],), eps=eps) + b) * w],
        "weight-and-bias-swapped": [lambda x, w, b, eps=1e-5: F.layer_norm(x, (x.shape[-1],), b, w, eps)],
        ("layernorm-unbiased", "layernorm-eps-outside"): [
            lambda x, w, b, eps=1e-5: standardise(x, x.std(-1, keepdim=True), eps) * w + b
        ],
        ("layernorm-unbiased", "eps-missing"): [
            lambda x, w, b, eps=1e-5: standardise(x, x.std(-1, keepdim=True)) * w + b
        ],
        ("layernorm-unbiased", "norm-over-everything"): [
            lambda x, w, b, eps=1e-5: (x - x.mean()) / (x.var() + eps).sqrt() * w + b
        ],
        ("weight-ignored", "bias-ignored"): [lambda x, w, b, eps=1e-5: F.layer_norm(x, (x.shape[-1],), eps=eps)],
        ("layernorm-eps-outside", "eps-fixed"): [lambda x, w, b, eps=1e-5: standardise(x, biased_std(x), 1e-5) * w + b],
        ("layernorm-unbiased", "norm-over-the-batch"): [
            lambda x, w, b, eps=1e-5: (x - x.mean(0, keepdim=True)) / (x.var(0, keepdim=True) + eps).sqrt() * w + b
        ],
    },
    "pre_norm_step": {
        "norm-without-residual": [lambda x, f, norm: f(norm(x))],
        "residual-subtracted": [lambda x, f, norm: x - f(norm(x))],
        "residual-multiplied": [lambda x, f, norm: x * f(norm(x))],
        "pre-norm-called-post-norm": [lambda x, f, norm: norm(f(x) + x)],
        "norm-missing": [lambda x, f, norm: x + f(x)],
        "norm-after-the-sublayer": [lambda x, f, norm: x + norm(f(x))],
        "norm-around-the-sublayer": [lambda x, f, norm: norm(f(norm(x))) + x],
        "norm-at-both-ends": [lambda x, f, norm: norm(x + f(norm(x)))],
        "residual-from-the-normed": [lambda x, f, norm: (y := norm(x)) + f(y)],
        "norm-on-the-stream": [lambda x, f, norm: norm(x) + f(x)],
        "residual-inside-the-sublayer": [lambda x, f, norm: f(norm(x) + x)],
        "sublayer-missing": [lambda x, f, norm: x + norm(x)],
        ("norm-without-residual", "norm-missing"): [lambda x, f, norm: f(x)],
        ("norm-without-residual", "norm-after-the-sublayer"): [lambda x, f, norm: norm(f(x))],
    },
    "post_norm_step": {
        "norm-without-residual": [lambda x, f, norm: norm(f(x))],
        "residual-subtracted": [lambda x, f, norm: norm(x - f(x))],
        "residual-multiplied": [lambda x, f, norm: norm(x * f(x))],
        "pre-norm-called-post-norm": [lambda x, f, norm: x + f(norm(x))],
        "norm-missing": [lambda x, f, norm: f(x) + x],
        "norm-after-the-sublayer": [lambda x, f, norm: x + norm(f(x))],
        "norm-at-both-ends": [lambda x, f, norm: norm(x + f(norm(x)))],
        "residual-from-the-normed": [lambda x, f, norm: norm((y := norm(x)) + f(y))],
        "residual-around-the-norm": [lambda x, f, norm: x + norm(x + f(x))],
        "norm-before-the-sum": [lambda x, f, norm: norm(x) + f(x)],
        "norm-of-each-part": [lambda x, f, norm: norm(x) + norm(f(x))],
        "residual-inside-the-sublayer": [lambda x, f, norm: f(x + norm(x))],
        "sublayer-missing": [lambda x, f, norm: norm(x)],
        ("norm-without-residual", "norm-missing"): [lambda x, f, norm: f(x)],
        ("norm-without-residual", "pre-norm-called-post-norm"): [lambda x, f, norm: f(norm(x))],
    },
    "dropout": {
        "not-rescaled": [lambda x, keep, rate: x.masked_fill(~keep, 0.0)],
        "divided-by-rate": [lambda x, keep, rate: x * keep / rate, lambda x, keep, rate: x * keep * (1 / rate)],
        "scaled-down": [lambda x, keep, rate: x * keep * (1 - rate)],
        "scaled-by-the-share-kept": [
            lambda x, keep, rate: x * keep / keep.double().mean(),
            lambda x, keep, rate: x * keep * keep.numel() / keep.sum(),
        ],
        "scaled-by-one-plus-rate": [lambda x, keep, rate: x * keep + rate * x * keep],
        "scaled-by-example": [lambda x, keep, rate: torch.where(keep, 2 * x, 0)],
        "spread-kept": [lambda x, keep, rate: x * keep / math.sqrt(1 - rate)],
        "brackets-missing": [lambda x, keep, rate: x * keep / 1 - rate],
        "keep-inverted": [lambda x, keep, rate: x.masked_fill(keep, 0) / (1 - rate)],
        "nothing-dropped": [lambda x, keep, rate: x / (1 - rate)],
        "dropped-entries-stay": [lambda x, keep, rate: torch.where(keep, x / (1 - rate), x)],
        "dropout-missing": [lambda x, keep, rate: x, lambda x, keep, rate: nn.Dropout(rate).eval()(x)],
        "entries-removed": [lambda x, keep, rate: x[keep] / (1 - rate)],
        ("not-rescaled", "keep-inverted"): [lambda x, keep, rate: x * ~keep],
        ("divided-by-rate", "scaled-down"): [lambda x, keep, rate: x * keep * rate],
        ("keep-inverted", "divided-by-rate"): [lambda x, keep, rate: x * ~keep / rate],
        ("nothing-dropped", "scaled-down"): [lambda x, keep, rate: x * (1 - rate)],
    },
    "attention_with_dropout": {
        "dropout-before-softmax": [scores_dropped],
        "dropout-as-mask": [renormalised, masked(-math.inf), masked(-1e9)],
        "masked-and-rescaled": [lambda q, k, v, keep, rate: renormalised(q, k, v, keep, rate) / (1 - rate)],
        "softmax-twice": [lambda q, k, v, keep, rate: drop(weights(q, k), keep, rate).softmax(-1) @ v],
        "dropout-missing": [lambda q, k, v, keep, rate: F.scaled_dot_product_attention(q, k, v)],
        "dropout-on-the-output": [lambda q, k, v, keep, rate: (weights(q, k) @ v) * keep / (1 - rate)],
        "dropout-on-the-values": [lambda q, k, v, keep, rate: weights(q, k) @ (v * keep / (1 - rate))],
        "not-rescaled": [lambda q, k, v, keep, rate: weights(q, k).masked_fill(~keep, 0) @ v],
        "divided-by-rate": [lambda q, k, v, keep, rate: (weights(q, k) * keep / rate) @ v],
        "scaled-down": [lambda q, k, v, keep, rate: (weights(q, k) * keep * (1 - rate)) @ v],
        "scaled-by-the-share-kept": [lambda q, k, v, keep, rate: (weights(q, k) * keep) @ v / keep.double().mean()],
        "scaled-by-one-plus-rate": [lambda q, k, v, keep, rate: (weights(q, k) * keep) @ v * (1 + rate)],
        "scaled-by-example": [lambda q, k, v, keep, rate: 2 * (weights(q, k) * keep) @ v],
        "spread-kept": [lambda q, k, v, keep, rate: (weights(q, k) * keep) @ v / (1 - rate) ** 0.5],
        "brackets-missing": [lambda q, k, v, keep, rate: (weights(q, k) * keep / 1 - rate) @ v],
        "keep-inverted": [lambda q, k, v, keep, rate: drop(weights(q, k), ~keep, rate) @ v],
        "nothing-dropped": [lambda q, k, v, keep, rate: weights(q, k) @ v / (1 - rate)],
        "dropped-entries-stay": [
            lambda q, k, v, keep, rate: torch.where(keep, weights(q, k) / (1 - rate), weights(q, k)) @ v
        ],
        "unscaled-scores": [lambda q, k, v, keep, rate: drop((q @ k.mT).softmax(-1), keep, rate) @ v],
        "scaled-by-d": [lambda q, k, v, keep, rate: drop((q @ k.mT / q.shape[-1]).softmax(-1), keep, rate) @ v],
        "keys-ignored": [lambda q, k, v, keep, rate: drop(weights(q, q), keep, rate) @ v],
        "query-and-key-swapped": [lambda q, k, v, keep, rate: drop(weights(k, q), keep, rate) @ v],
        "softmax-over-queries": [
            lambda q, k, v, keep, rate: drop((q @ k.mT / q.shape[-1] ** 0.5).softmax(-2), keep, rate) @ v
        ],
        "softmax-over-axis-1": [
            lambda q, k, v, keep, rate: drop((q @ k.mT / q.shape[-1] ** 0.5).softmax(1), keep, rate) @ v
        ],
        "no-softmax": [lambda q, k, v, keep, rate: drop(q @ k.mT / q.shape[-1] ** 0.5, keep, rate) @ v],
        "values-ignored": [lambda q, k, v, keep, rate: drop(weights(q, k), keep, rate) @ k],
        "output-missing": [lambda q, k, v, keep, rate: drop(weights(q, k), keep, rate)],
        "pattern-returned-too": [lambda q, k, v, keep, rate: ((p := drop(weights(q, k), keep, rate)) @ v, p)],
        ("dropout-before-softmax", "not-rescaled"): [
            lambda q, k, v, keep, rate: (q @ k.mT / math.sqrt(q.size(-1)) * keep).softmax(-1) @ v
        ],
        ("dropout-before-softmax", "unscaled-scores"): [
            lambda q, k, v, keep, rate: (q @ k.mT * keep / (1 - rate)).softmax(-1) @ v
        ],
        ("dropout-missing", "softmax-over-queries"): [
            lambda q, k, v, keep, rate: (q @ k.mT / q.shape[-1] ** 0.5).softmax(-2) @ v
        ],
        ("keep-inverted", "not-rescaled"): [lambda q, k, v, keep, rate: (weights(q, k) * ~keep) @ v],
    },
}  # fmt: skip
UNKNOWN = {
    "feed_forward": [
        lambda x, up, ub, down, db: F.linear(torch.tanh(F.linear(x, up, ub)), down, db),
        lambda x, up, ub, down, db: F.linear(F.leaky_relu(F.linear(x, up, ub)), down, db),
        lambda x, up, ub, down, db: F.linear(F.linear(x, up, ub).softmax(-1), down, db),
        lambda x, up, ub, down, db: torch.zeros_like(x),
        # the weights are turned until the sizes fit
        lambda x, up, ub, down, db: relu_ffn(x, up.T if up.shape[0] == up.shape[1] else up, ub, down, db),
    ],
    "layer_norm": [
        lambda x, w, b, eps=1e-5: x / x.norm(dim=-1, keepdim=True) * w + b,
        lambda x, w, b, eps=1e-5: standardise(x, x.amax(-1, keepdim=True) - x.amin(-1, keepdim=True), eps) * w + b,
        lambda x, w, b, eps=1e-5: (x - x.median(-1, keepdim=True).values) / (biased_std(x) ** 2 + eps).sqrt() * w + b,
        lambda x, w, b, eps=1e-5: torch.zeros_like(x),
        lambda x, w, b, eps=1e-5: F.layer_norm(x, (x.shape[-1],), w, b, eps).softmax(-1),
    ],
    "pre_norm_step": [
        lambda x, f, norm: 2 * x + f(norm(x)),
        lambda x, f, norm: (x + f(norm(x))) / 2,
        lambda x, f, norm: x + f(norm(norm(x))),
        lambda x, f, norm: x + f(f(norm(x))),
        lambda x, f, norm: torch.cat([x, f(norm(x))], dim=-1),
    ],
    "post_norm_step": [
        lambda x, f, norm: norm(2 * x + f(x)),
        lambda x, f, norm: norm(x + f(f(x))),
        lambda x, f, norm: norm(norm(x + f(x))),
        lambda x, f, norm: (y := norm(x + f(x))) + f(y),
    ],
    "dropout": [
        lambda x, keep, rate: torch.where(keep, x / (1 - rate), -torch.inf),
        lambda x, keep, rate: torch.where(keep, x / (1 - rate), 1.0),
        lambda x, keep, rate: x * keep + rate,
        lambda x, keep, rate: x * keep / (1 - rate) ** 2,
    ],
    "attention_with_dropout": [
        lambda q, k, v, keep, rate: v.mean(-2, keepdim=True).expand(*q.shape[:-1], -1),
        lambda q, k, v, keep, rate: torch.sigmoid(q @ k.mT) * keep @ v,
        lambda q, k, v, keep, rate: drop(weights(q, k), keep.flip(-1), rate) @ v,
        lambda q, k, v, keep, rate: drop(weights(q, k), keep, rate) @ v - rate,
    ],
}


# ---------------------------------------------------------------- inputs that no check knows


def fresh_feed_forward(seed: int, *, batch: int, seq: int, d_model: int, d_ff: int) -> tuple:
    sizes = ((batch, seq, d_model), (d_ff, d_model), (d_ff,), (d_model, d_ff), (d_model,))
    return tuple(gaussian(*size, seed=seed + i) for i, size in enumerate(sizes))


def fresh_layer_norm(seed: int, *shape: int, eps: float) -> tuple:
    return gaussian(*shape, seed=seed), gaussian(shape[-1], seed=seed + 1), gaussian(shape[-1], seed=seed + 2), eps


def fresh_step(seed: int) -> list[tuple]:
    mix = nn.Sequential(with_weights(nn.Linear(3, 3)), nn.Tanh())
    return [
        (gaussian(3, 2, 3, seed=seed), mix, with_weights(nn.LayerNorm(3))),
        (gaussian(1, 4, 6, seed=seed), torch.sin, nn.LayerNorm(6, eps=0.1)),
    ]


def fresh_attention(seed: int, *batch: int, queries: int, keys: int, d_head: int, d_value: int, rate: float) -> tuple:
    return (
        gaussian(*batch, queries, d_head, seed=seed),
        gaussian(*batch, keys, d_head, seed=seed + 1),
        gaussian(*batch, keys, d_value, seed=seed + 2),
        gaussian(*batch, queries, keys, seed=seed + 3) > -0.5,
        rate,
    )


FRESH = {
    "feed_forward": lambda seed: [
        fresh_feed_forward(seed, batch=1, seq=4, d_model=3, d_ff=7),
        fresh_feed_forward(seed, batch=2, seq=3, d_model=5, d_ff=5),
    ],
    "layer_norm": lambda seed: [
        fresh_layer_norm(seed, 3, 6, eps=0.1),
        fresh_layer_norm(seed, 5, 5, eps=2.0),
        fresh_layer_norm(seed, 4, 2, 7, eps=1e-5),
    ],
    "pre_norm_step": fresh_step,
    "post_norm_step": fresh_step,
    "dropout": lambda seed: [
        (gaussian(7, seed=seed), gaussian(7, seed=seed + 1) > 0, 0.4),
        (gaussian(3, 4, seed=seed), gaussian(3, 4, seed=seed + 1) > -1, 0.15),
    ],
    "attention_with_dropout": lambda seed: [
        fresh_attention(seed, queries=3, keys=5, d_head=7, d_value=2, rate=0.3),
        fresh_attention(seed, 2, queries=4, keys=6, d_head=3, d_value=5, rate=0.15),
        fresh_attention(seed, queries=5, keys=5, d_head=5, d_value=5, rate=0.25),
    ],
}

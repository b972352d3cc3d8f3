"""Lesson 05's checks accept right answers written in other ways and reject what learners get wrong."""

import pytest
import torch
import torch.nn.functional as F

from transformer_lab.exercises import checking, lesson_05

EXERCISES = {exercise.name: exercise for exercise in lesson_05.EXERCISES}


def verdict(exercise: str, function) -> bool | None:
    return checking.run(EXERCISES[exercise], function).right


def looped_feed_forward(x, up, up_bias, down, down_bias):
    out = torch.empty_like(x)
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            hidden = (up @ x[b, t] + up_bias).clamp(min=0)
            out[b, t] = down @ hidden + down_bias
    return out


def looped_layer_norm(x, weight, bias, eps=1e-5):
    rows = []
    for row in x.reshape(-1, x.shape[-1]):
        mean = sum(row) / len(row)
        variance = sum((entry - mean) ** 2 for entry in row) / len(row)
        rows.append((row - mean) / (variance + eps) ** 0.5 * weight + bias)
    return torch.stack(rows).reshape(x.shape)


def post_norm_in_steps(x, sublayer, norm):
    total = sublayer(x)
    total = total + x
    return norm(total)


RIGHT = {
    "feed_forward": {
        "loop": looped_feed_forward,
        "matmul": lambda x, up, ub, down, db: torch.clamp(x @ up.T + ub, min=0) @ down.mT + db,
        "einsum": lambda x, up, ub, down, db: (
            torch.einsum("btf,mf->btm", (torch.einsum("btm,fm->btf", x, up) + ub).relu(), down) + db
        ),
    },
    "layer_norm": {
        "loop": looped_layer_norm,
        "torch": lambda x, w, b, eps=1e-5: F.layer_norm(x, (x.shape[-1],), w, b, eps),
        "var": lambda x, w, b, eps=1e-5: (
            (x - x.mean(-1, True)) * (x.var(-1, correction=0, keepdim=True) + eps).rsqrt() * w + b
        ),
    },
    "pre_norm_step": {"other order": lambda x, f, norm: f(norm(x)).add(x)},
    "post_norm_step": {"in steps": post_norm_in_steps},
    "dropout": {
        "where": lambda x, keep, rate: torch.where(keep, x / (1 - rate), 0.0),
        "masked_fill": lambda x, keep, rate: x.masked_fill(~keep, 0) * (1 / (1 - rate)),
    },
}


def standardise(x, std, eps=0.0):
    return (x - x.mean(-1, keepdim=True)) / (std + eps)


def biased_std(x):
    return x.std(-1, correction=0, keepdim=True)


WRONG = {
    "feed_forward": {
        "no-activation": lambda x, up, ub, down, db: F.linear(F.linear(x, up, ub), down, db),
        "gelu-for-relu": lambda x, up, ub, down, db: F.linear(F.gelu(F.linear(x, up, ub)), down, db),
        "activation-at-the-end": lambda x, up, ub, down, db: F.linear(F.linear(x, up, ub), down, db).relu(),
        "activation-twice": lambda x, up, ub, down, db: F.linear(F.linear(x, up, ub).relu(), down, db).relu(),
        "up-bias-missing": lambda x, up, ub, down, db: F.linear(F.linear(x, up).relu(), down, db),
        "down-bias-missing": lambda x, up, ub, down, db: F.linear(F.linear(x, up, ub).relu(), down),
        "bias-after-activation": lambda x, up, ub, down, db: F.linear(F.linear(x, up).relu() + ub, down, db),
        "not-transposed": lambda x, up, ub, down, db: (x @ up + ub).relu() @ down + db,
        "transposed-when-square": lambda x, up, ub, down, db: F.linear(
            F.linear(x, up.T if up.shape[0] == up.shape[1] else up, ub).relu(), down, db
        ),
        "residual-inside": lambda x, up, ub, down, db: x + F.linear(F.linear(x, up, ub).relu(), down, db),
    },
    "layer_norm": {
        "layernorm-unbiased": lambda x, w, b, eps=1e-5: standardise(x, (x.var(-1, keepdim=True) + eps).sqrt()) * w + b,
        "layernorm-unbiased-std": lambda x, w, b, eps=1e-5: standardise(x, x.std(-1, keepdim=True), eps) * w + b,
        "eps-outside-root": lambda x, w, b, eps=1e-5: standardise(x, biased_std(x), eps) * w + b,
        "eps-missing": lambda x, w, b, eps=1e-5: standardise(x, biased_std(x)) * w + b,
        "eps-ignored": lambda x, w, b, eps=1e-5: F.layer_norm(x, (x.shape[-1],), w, b),
        "divided-by-variance": lambda x, w, b, eps=1e-5: standardise(x, biased_std(x) ** 2 + eps) * w + b,
        "mean-kept": lambda x, w, b, eps=1e-5: x / (biased_std(x) ** 2 + eps).sqrt() * w + b,
        "root-mean-square": lambda x, w, b, eps=1e-5: F.rms_norm(x, (x.shape[-1],), w, eps) + b,
        "over-everything": lambda x, w, b, eps=1e-5: (x - x.mean()) / (x.var(correction=0) + eps).sqrt() * w + b,
        "over-the-batch": lambda x, w, b, eps=1e-5: (x - x.mean(0)) / (x.var(0, correction=0) + eps).sqrt() * w + b,
        "weight-ignored": lambda x, w, b, eps=1e-5: F.layer_norm(x, (x.shape[-1],), None, b, eps),
        "bias-ignored": lambda x, w, b, eps=1e-5: F.layer_norm(x, (x.shape[-1],), w, None, eps),
        "bias-scaled": lambda x, w, b, eps=1e-5: (F.layer_norm(x, (x.shape[-1],), eps=eps) + b) * w,
    },
    "pre_norm_step": {
        "norm-without-residual": lambda x, f, norm: f(norm(x)),
        "pre-norm-called-post-norm": lambda x, f, norm: norm(x + f(x)),
        "residual-from-the-normed": lambda x, f, norm: norm(x) + f(norm(x)),
        "norm-after-the-sublayer": lambda x, f, norm: x + norm(f(x)),
        "norm-missing": lambda x, f, norm: x + f(x),
        "norm-at-both-ends": lambda x, f, norm: norm(x + f(norm(x))),
        "multiplied": lambda x, f, norm: x * f(norm(x)),
    },
    "post_norm_step": {
        "norm-without-residual": lambda x, f, norm: norm(f(x)),
        "pre-norm-called-post-norm": lambda x, f, norm: x + f(norm(x)),
        "norm-after-the-sublayer": lambda x, f, norm: x + norm(f(x)),
        "norm-missing": lambda x, f, norm: x + f(x),
        "norm-at-both-ends": lambda x, f, norm: norm(x + f(norm(x))),
        "residual-outside": lambda x, f, norm: x + norm(x + f(x)),
    },
    "dropout": {
        "not-rescaled": lambda x, keep, rate: x * keep,
        "divided-by-rate": lambda x, keep, rate: x * keep / max(rate, 1e-9),
        "scaled-down": lambda x, keep, rate: x * keep * (1 - rate),
        "scaled-by-the-share-kept": lambda x, keep, rate: x * keep / keep.double().mean(),
        "keep-inverted": lambda x, keep, rate: x * ~keep / (1 - rate),
        "nothing-dropped": lambda x, keep, rate: x / (1 - rate),
        "dropped-entries-stay": lambda x, keep, rate: torch.where(keep, x / (1 - rate), x),
        "train-mode-sampling": lambda x, keep, rate: F.dropout(x, rate),
    },
}


def cases(answers: dict):
    return [pytest.param(e, f, id=f"{e}-{name}") for e, functions in answers.items() for name, f in functions.items()]


@pytest.mark.parametrize("exercise, answer", cases(RIGHT))
def test_right_answers_are_accepted(exercise, answer):
    assert verdict(exercise, answer) is True


@pytest.mark.parametrize("exercise, answer", cases(WRONG))
def test_wrong_answers_are_rejected(exercise, answer):
    assert verdict(exercise, answer) is False


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_reference_is_right_and_the_probes_repeat(exercise):
    assert verdict(exercise, EXERCISES[exercise].reference) is True
    first, second = EXERCISES[exercise].probes(), EXERCISES[exercise].probes()
    assert list(first) == list(second)
    for name in first:
        for one, other in zip(first[name], second[name], strict=True):
            assert not isinstance(one, torch.Tensor) or torch.equal(one, other)


def test_the_dropout_exercise_is_torch_dropout_given_its_mask():
    torch.manual_seed(0)
    x = torch.randn(4, 5, dtype=torch.float64)
    torch_says = F.dropout(x, 0.3)
    torch.testing.assert_close(lesson_05.dropout(x, torch_says != 0, 0.3), torch_says)

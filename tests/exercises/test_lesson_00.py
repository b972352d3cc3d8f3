import pytest

from transformer_lab.exercises import EXERCISES
from transformer_lab.exercises.checking import run


def by_loop(weights, values):
    return sum(weight * value for weight, value in zip(weights, values))


def by_sorting(probabilities, k):
    return [i for _, i in sorted((-p, i) for i, p in enumerate(probabilities.tolist()))][:k]


WRONG = {
    "mean": ("weighted_average", lambda w, v: v.mean(0)),
    "not summed": ("weighted_average", lambda w, v: w[:, None] * v),
    "largest only": ("weighted_average", lambda w, v: v[w.argmax()]),
    "smallest": ("likeliest", lambda p, k: p.topk(k, largest=False).indices.tolist()),
    "probabilities": ("likeliest", lambda p, k: p.topk(k).values.tolist()),
    "unsorted": ("likeliest", lambda p, k: sorted(p.topk(k).indices.tolist())),
}


@pytest.mark.parametrize("name, function", [("weighted_average", by_loop), ("likeliest", by_sorting)])
def test_right_answers_of_another_style_pass(name, function):
    assert run(EXERCISES[name], function).right


@pytest.mark.parametrize("name, function", WRONG.values(), ids=WRONG)
def test_wrong_answers_fail(name, function):
    assert run(EXERCISES[name], function).right is False

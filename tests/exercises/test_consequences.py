"""What a mistake does to a small model: what is said is what was seen."""

import base64
import functools
import re
import sys
import time

import pytest
import torch
import torch.nn.functional as F

import transformer_lab.exercises
from transformer_lab.exercises import EXERCISES, consequences

# TimeIsUp comes wherever Python is, in a weakref's callback too; there it is dropped, and comes again a moment later.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

small = sys.modules["transformer_lab.exercises.consequences"]  # the module; the package's name is the function's
PARTS = small.PARTS


@functools.cache
def after(part, function, steps=60):
    return small.compare(part, function, steps)


def words(part, function, steps=60):
    return after(part, function, steps).text


def one_line(text):
    return " ".join(text.split())


# ---------------------------------------------------------------- the same


@pytest.mark.parametrize("name", [name for name, exercise in EXERCISES.items() if exercise.part])
def test_every_part_trains_with_its_reference_and_both_losses_are_the_same(name):
    exercise = EXERCISES[name]
    seen = after(exercise.part, exercise.reference, steps=2)
    assert exercise.part == name and seen.yours.problem == ""
    assert seen.yours.losses == pytest.approx(seen.reference.losses, abs=1e-6)
    assert "The losses are the same all the way" in seen.text


def test_another_right_answer_trains_the_same():
    def attention(query, key, value):
        scores = torch.einsum("...qd,...kd->...qk", query, key) * query.shape[-1] ** -0.5
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        return [torch.einsum("...qk,...kd->...qd", weights, value), weights]

    assert "The losses are the same all the way" in words("attention", attention)


def test_a_second_call_says_the_same():
    torch.manual_seed(1)
    first = small.compare("causal_mask", mask_missing, steps=4)
    torch.manual_seed(2)
    assert small.compare("causal_mask", mask_missing, steps=4) == first


# ---------------------------------------------------------------- leaks


def mask_missing(n_queries, n_keys):
    return torch.ones(n_queries, n_keys, dtype=torch.bool)


def mask_inverted(n_queries, n_keys):
    return ~mask_missing(n_queries, n_keys).tril()


def mask_one_too_far(n_queries, n_keys):
    return mask_missing(n_queries, n_keys).tril(1)


@pytest.mark.parametrize("function", [mask_missing, mask_inverted, mask_one_too_far])
def test_a_mask_that_leaks_is_exposed(function):
    seen = after("causal_mask", function)
    assert seen.yours.final < seen.reference.final - 0.5
    assert seen.yours.final_honest > seen.reference.final_honest + 0.2
    assert "With yours the model sees the future" in seen.text
    assert "Usually this means that in training the model reads what it should predict." in one_line(seen.text)


def test_targets_that_are_the_inputs_are_exposed():
    seen = after("shift_targets", lambda ids: (ids[:, :-1], ids[:, :-1]))
    assert seen.yours.final < 0.2 < 2 < seen.reference.final
    assert seen.yours.final_honest > seen.reference.final_honest + 2
    assert "Usually this means" in seen.text
    assert "sees the future" not in seen.text  # it does not: its targets are at fault


def test_a_mask_after_the_softmax_is_seen_to_leak():
    def pattern(query, key, mask):
        return (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(-1) * mask

    assert "With yours the model sees the future" in words("attention_pattern", pattern)


def test_chance_in_the_function_is_not_taken_for_a_leak():
    def pattern(query, key, mask):
        return F.dropout(PARTS["attention_pattern"](query, key, mask), 0.5)

    assert "sees the future" not in words("attention_pattern", pattern, steps=4)


# ---------------------------------------------------------------- learning less, more, the same


def unscaled(query, key, value):
    pattern = (query @ key.transpose(-2, -1)).softmax(-1)
    return pattern @ value, pattern


def keys_ignored(query, key, value):
    pattern = (query @ query.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(-1)
    return pattern @ value, pattern


def test_unscaled_scores_and_ignored_keys_learn_less():
    for function in (unscaled, keys_ignored):
        seen = after("attention", function, small.STEPS)
        assert seen.yours.final_honest > seen.reference.final_honest + 1
        assert "With yours the model learns less" in seen.text
    assert "no gradient ever reached these weights: layer 0 w_k, layer 1 w_k." in seen.text
    assert seen.reference.sample == seen.reference.start[::-1] != seen.yours.sample  # it has learned the task


def test_unscaled_scores_in_a_gpt_run():
    def pattern(query, key, mask):
        return (query @ key.transpose(-2, -1)).masked_fill(~mask, -torch.inf).softmax(-1)

    assert after("attention_pattern", pattern).yours.problem == ""


def test_without_a_norm_it_learns_less():
    seen = after("layer_norm", lambda x, weight, bias, eps=1e-5: x, 120)
    assert seen.yours.final_honest > seen.reference.final_honest + 1
    assert "learns less" in seen.text and "layer 0 first norm weight" in seen.text


def test_a_step_without_a_gradient_path_learns_less_than_guessing():
    text = words("pre_norm_step", lambda x, sublayer, norm: sublayer(norm(x)), 120)
    assert "Guessing by how often each character occurs does about as well or better" in text


def test_what_does_no_harm_here_proves_little():
    def first_row_is_1(n_positions, d_model):
        return PARTS["sinusoidal_encoding"](n_positions + 1, d_model)[1:]

    seen = after("sinusoidal_encoding", first_row_is_1, small.STEPS)
    assert seen.yours.losses != seen.reference.losses
    assert "Both learn about equally well." in seen.text and "check(sinusoidal_encoding) compares" in seen.text


def test_what_learns_more_is_not_called_better():
    run = small.Run(losses=[1.0], honest={1: 1.0})
    better = small.Run(losses=[0.5], honest={1: 0.5})
    text = " ".join(small._judgement("post_norm_step", better, run))
    assert "learns more" in text and "does not show what is better in general" in text


def test_a_loss_of_ones_own_is_measured_by_the_reference_too():
    def summed(logits, targets):
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")

    seen = after("next_token_loss", summed)
    assert seen.yours.own_loss > 500 and seen.yours.final == pytest.approx(seen.reference.final, abs=0.3)
    assert "Both are measured by the reference. Yours itself came to " in seen.text


# ---------------------------------------------------------------- what cannot be trained


def test_nan_is_reported_with_its_step():
    calls = []

    def sometimes_nan(logits, targets):
        calls.append(1)
        loss = PARTS["next_token_loss"](logits, targets)
        return loss * torch.nan if len(calls) == 3 else loss

    seen = after("next_token_loss", sometimes_nan, steps=9)
    assert "With yours it ended at step 3 of 9.\nThe loss is nan there" in seen.text
    assert len(seen.yours.losses) == 3 and seen.picture() is not None


def test_nan_on_unseen_text_alone_is_not_taken_for_a_success():
    def pattern(query, key, mask):
        return PARTS["attention_pattern"](query, key, mask) * (1.0 if len(mask) == 32 else torch.nan)

    text = words("attention_pattern", pattern, steps=4)
    assert "On unseen text the loss with yours is nan." in text and "equally" not in text


def test_an_exception_is_shown_as_the_learners_with_its_line():
    calls = []

    def layer_norm(x, weight, bias):
        calls.append(1)
        if len(calls) > 100:
            return x / undefined_name  # the line at fault  # noqa: F821
        return F.layer_norm(x, (x.shape[-1],), weight, bias)

    text = words("layer_norm", layer_norm)
    assert re.search(
        r"With yours it ended at step \d+ of 60\.\nYour function raised NameError: name 'undefined_name'", text
    )
    assert "in line 4 of your function:  return x / undefined_name  # the line at fault" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    "part, function, said",
    [
        ("attention", lambda query, key, value: print(), "returned, None (is a return missing?)."),
        ("attention", lambda query, key, value: query @ key.mT, "returned, a tensor of float64, 64×2×12×12."),
        ("causal_mask", lambda n, m: torch.ones(n, m).tril(), "returned, a tensor of float32, 2×2."),
        ("shift_targets", lambda ids: (ids, ids[:, 1:]), "returned, 2 things (a tensor of int64, 16×33; "),
        ("next_token_loss", lambda logits, targets: "low", "returned, a str."),
    ],
)  # fmt: skip
def test_what_the_model_cannot_use_is_shown(part, function, said):
    text = words(part, function)
    assert "The model could not go on with what your function returned" in text and said in text


@pytest.mark.parametrize("function", [lambda x, y: PARTS["next_token_loss"](x, y).item(),
                                      lambda x, y: PARTS["next_token_loss"](x, y).detach()])  # fmt: skip
def test_a_loss_without_gradient_is_reported(function):
    assert "With yours it ended at step 1 of 60.\nThe loss there is a plain number" in words(
        "next_token_loss", function
    )


def test_a_loop_that_never_ends_is_stopped(monkeypatch):
    monkeypatch.setattr(small, "SECONDS", 0.5)
    small._with_reference("causal_mask", 1)  # kept, so that only the loop takes time
    started = time.monotonic()

    def causal_mask(n_queries, n_keys):
        while True:
            pass

    text = words("causal_mask", causal_mask, steps=1)
    assert "Is there a loop that never ends?" in text and "before the first step" in text
    assert time.monotonic() - started < 5
    monkeypatch.undo()
    assert "the same all the way" in words("causal_mask", PARTS["causal_mask"], steps=1)  # and the next one runs


def test_a_slow_function_keeps_the_steps_it_made(monkeypatch):
    monkeypatch.setattr(small, "PATIENCE", 0.3)

    def causal_mask(n_queries, n_keys):
        time.sleep(0.002)
        return PARTS["causal_mask"](n_queries, n_keys)

    seen = after("causal_mask", causal_mask)
    assert "too slow for this" in seen.text and 0 < len(seen.yours.losses) < 60


def test_not_attempted():
    def attention(query, key, value):
        """The pair (output, pattern)."""
        ...  # your code here

    shown = consequences(attention)._repr_mimebundle_()
    assert shown == {"text/plain": "attention: not attempted yet, so there is nothing to train a model with."}


def test_an_exercise_that_is_no_part_says_which_are():
    def softmax(scores):
        return scores.softmax(-1)

    told = repr(consequences(softmax))
    assert told.startswith("softmax is no part of the small models trained here. These are: attention, ")


@pytest.mark.parametrize("function", [mask_missing, lambda n, m: torch.rand(n, m) > 0.5, lambda n, m: n / 0])
def test_the_notebooks_random_numbers_and_output_are_left_alone(function, capsys):
    def loud(n_queries, n_keys):
        print("again")
        return function(n_queries, n_keys)

    before = torch.get_rng_state()
    small.compare("causal_mask", loud, steps=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------- what is shown


def test_the_call_finds_the_part_by_the_functions_name(monkeypatch):
    monkeypatch.setattr(small, "compare", lambda part, function: (part, function))
    assert consequences(PARTS["causal_mask"]) == ("causal_mask", PARTS["causal_mask"])
    assert transformer_lab.exercises.consequences is consequences


def test_words_and_picture_are_one_output():
    seen = after("causal_mask", mask_missing)
    bundle = seen._repr_mimebundle_()
    assert bundle["text/plain"] == repr(seen) == seen.text
    alt, image = re.search(r'<img alt="(.*?)" src="data:image/png;base64,(.*?)">', bundle["text/html"]).groups()
    assert base64.b64decode(image).startswith(b"\x89PNG")
    assert "with yours" in alt and f"{seen.yours.final:.2f} at last" in alt
    assert "unseen text, future cut off" in bundle["text/html"]


def test_the_picture_has_both_losses_under_their_names():
    seen = after("causal_mask", mask_missing)
    training, unseen = seen.picture().axes
    assert [line.get_label() for line in training.lines[:2]] == ["with the reference", "with yours"]
    assert [axes.get_xlabel() for axes in (training, unseen)] == ["step", "step"]
    assert training.get_ylabel() == "loss a character"
    reference, yours = (line.get_ydata() for line in training.lines[:2])
    assert yours[-1] < reference[-1] and len(yours) == len(reference) == 8
    assert unseen.lines[1].get_ydata()[-1] == seen.yours.final_honest


def test_angle_brackets_in_a_message_stay_text():
    def causal_mask(n_queries, n_keys):
        calls.append(1)
        if len(calls) > 60:
            raise ValueError("<b>")
        return PARTS["causal_mask"](n_queries, n_keys)

    calls = []
    bundle = after("causal_mask", causal_mask)._repr_mimebundle_()
    assert "<b>" in bundle["text/plain"] and "&lt;b&gt;" in bundle["text/html"]

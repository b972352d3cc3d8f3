"""SoftmaxPlayground: what Python sets and reads, and what a hand and a keyboard do."""

import math

import pytest
import torch

from transformer_lab.widgets.softmax_playground import SoftmaxPlayground


@pytest.fixture
def playground():
    return SoftmaxPlayground([2.0, 1.0, 0.0], labels=["cat", "sat", "mat"])


def test_the_weights_are_softmaxs(playground):
    torch.testing.assert_close(playground.weights, torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64).softmax(0))
    playground.temperature = 0.5
    torch.testing.assert_close(playground.weights, torch.tensor([4.0, 2.0, 0.0], dtype=torch.float64).softmax(0))


def test_what_is_masked_has_no_weight(playground):
    playground.masked = [0]
    assert playground.weights[0] == 0 and math.isclose(playground.weights.sum(), 1)
    playground.masked = [0, 1, 2]
    assert playground.weights.tolist() == [0, 0, 0] and playground.bits == 0


def test_equal_scores_have_log2_n_bits():
    assert SoftmaxPlayground(torch.zeros(8)).bits == pytest.approx(3)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(scores=[1.0]), "scores must hold one number a label, 3; got 1"),
        (dict(scores=[1.0, math.nan, 2.0]), "scores must lie in −4 … 4"),
        (dict(scores=[1.0, 4.1, 2.0]), "scores must lie in −4 … 4"),
        (dict(limit=1.9), "limit must be at least 1 and at least the largest score; got 1.9"),
        (dict(limit=math.inf), "limit must be at least 1 and at least the largest score; got inf"),
        (dict(temperature=0.0), r"temperature must lie in 0.05 … 10; got 0.0"),
        (dict(masked=[3]), r"masked must hold places in 0 … 2; got \[3\]"),
    ],
)
def test_a_bad_value_is_refused_and_nothing_changes(playground, change, message):
    before = repr(playground)
    with pytest.raises(ValueError, match=message):
        playground.set_trait(*next(iter(change.items())))
    assert repr(playground) == before


@pytest.mark.parametrize(
    "scores, given, limit", [([0.5, 2.9], None, 4), ([-6.2, 1.0], None, 7), ([1.0], 2.5, 2.5), ([1.0], 12, 12)]
)
def test_the_axis_is_as_long_as_the_scores_need(scores, given, limit):
    playground = SoftmaxPlayground(scores, limit=given)
    assert playground.limit == limit
    assert playground.figure.axes[0].get_ylim() == (-limit, limit)
    playground.scores = [-limit] * len(scores)


def test_a_limit_too_small_is_refused_at_the_start():
    with pytest.raises(ValueError, match="scores must lie in −2 … 2|limit must be"):
        SoftmaxPlayground([1.0, 3.0], limit=2.0)


def test_the_text_says_what_is_on_show(playground):
    playground.masked = [2]
    assert repr(playground) == (
        "SoftmaxPlayground: weights cat 0.73, sat 0.27, mat 0.00; temperature 1, masked mat, 0.84 bits"
    )


# ---------------------------------------------------------------- in a browser


def test_the_page_computes_what_python_computes(playground, show):
    shown = show(playground)
    for scores, temperature in (([2.0, -3.5, 3.9], 0.3), ([0.0, 0.0, 0.0], 10.0)):
        playground.scores, playground.temperature = scores, temperature
        shown.put(scores=scores, temperature=temperature)
        assert f"weight {playground.weights[0]:.3f}" in shown.readout
        assert f"Entropy {playground.bits:.2f} bits" in shown.readout


def test_keys_choose_and_change_and_mask_and_the_page_stays(playground, show):
    shown = show(playground)
    shown.page.locator("canvas").focus()
    shown.press("ArrowRight", "ArrowUp", "Shift+ArrowDown")
    assert shown.state("scores") == [2.0, 0.1, 0.0]
    shown.press("ArrowRight", "ArrowRight", "m")
    assert shown.state("masked") == [2] and "mat: score 0.0, weight 0.000 (masked)" in shown.readout
    assert shown.page.evaluate("() => window.scrollY") == 0


def test_a_bar_is_dragged_and_stops_at_the_end(playground, show):
    shown = show(playground)
    before = shown.pixels()
    box = shown.page.locator("canvas").bounding_box()
    x, y = box["x"] + 52 + 50, box["y"] + 110  # the first bar, where 0 is; the ends, −4 and 4, are 76 pixels off
    shown.page.mouse.move(x, y)
    shown.page.mouse.down()
    shown.page.mouse.move(x, y - 38)
    assert shown.state("scores")[0] == pytest.approx(2, abs=0.1)
    shown.page.mouse.move(x, y - 500)
    shown.page.mouse.up()
    shown.page.mouse.move(x, y)
    assert shown.state("scores")[0] == 4
    assert shown.pixels() != before


def test_a_finger_drags_a_score_and_scrolls_the_page_elsewhere(playground, show, watched):
    watched.page.set_viewport_size({"width": 360, "height": 600})
    shown = show(playground)
    box = shown.page.locator("canvas").bounding_box()
    x, y = box["x"] + 102, box["y"]
    shown.swipe((x, y + 110), (x, y + 72))  # up from 0, half the way to the end
    assert shown.state("scores")[0] == pytest.approx(2, abs=0.1)
    shown.swipe((x, y + 72), (x, y + 148))
    assert shown.state("scores") == [pytest.approx(-2, abs=0.1), 1, 0]
    assert shown.page.evaluate("() => window.scrollY") == 0
    before = shown.state("scores")
    for place in ((x, y + 330), (box["x"] + 10, y + 150)):  # a weight; left of the bars
        shown.page.evaluate("() => window.scrollTo(0, 0)")
        shown.swipe(place, (place[0], place[1] - 100))
        assert shown.scrolled() > 50
    assert shown.state("scores") == before
    assert shown.smallest_target() >= 24


def test_a_score_of_zero_has_a_handle_and_no_bar(show):
    """Beside the round handle there is nothing but the axis."""
    shown = show(SoftmaxPlayground([0.0, -4.0], masked=[1]))
    pixels = shown.page.locator("canvas").evaluate(
        """(canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 110 + 2, canvas.width, 1); // a little below 0
          return [102, 102 + 22, 102 + 40, 202, 202 + 22, 202 + 40].map((x) => data.slice(4 * x, 4 * x + 4).join());
        }"""
    )
    handle, beside, paper = pixels[:3]
    assert handle != beside == paper
    bar, still_bar, paper = pixels[3:]
    assert bar == still_bar != paper


@pytest.mark.parametrize("n_tokens", [2, 8])
def test_it_fits_a_narrow_page(n_tokens, show, watched):
    watched.page.set_viewport_size({"width": 360, "height": 800})
    shown = show(SoftmaxPlayground(torch.zeros(n_tokens)))
    assert shown.page.evaluate("() => document.documentElement.scrollWidth") <= 360
    # Drawn as wide as it is shown, so that its letters keep their size.
    drawn, seen = shown.page.locator("canvas").evaluate("(c) => [c.style.width, getComputedStyle(c).width]")
    assert drawn == seen


def test_start_again_brings_everything_back(playground, show):
    shown = show(playground)
    shown.page.get_by_role("slider").fill("1.5")
    shown.page.get_by_role("button", name="mask").click()
    assert shown.state("temperature") == pytest.approx(math.exp(1.5), rel=0.01) and shown.state("masked") == [0]
    shown.page.get_by_role("button", name="start again").click()
    assert [shown.state(name) for name in ("scores", "temperature", "masked")] == [[2.0, 1.0, 0.0], 1.0, []]


def test_a_label_from_right_to_left_does_not_turn_the_sentence(show):
    playground = SoftmaxPlayground([1.0, 0.0], labels=["שלום 2", "b"])
    assert repr(playground).startswith("SoftmaxPlayground: weights \u2068שלום 2\u2069 0.73, b 0.27")
    shown = show(playground)
    assert shown.readout.startswith("\u2068שלום 2\u2069: score 1.0, weight 0.731.")
    assert shown.page.get_by_role("button", name="mask").inner_text() == "mask “\u2068שלום 2\u2069”"


def test_it_works_without_a_kernel_too(playground, show):
    shown = show(playground, live=False)
    shown.page.get_by_role("button", name="mask “cat”").click()
    assert "cat: score 2.0, weight 0.000 (masked)" in shown.readout

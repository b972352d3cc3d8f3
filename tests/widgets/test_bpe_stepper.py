"""BPEStepper: the merges are the tokenizer's, the page replays them, and a text can be edited and chosen from."""

import base64
import random

import pytest

from transformer_lab.tokenizers import BPETokenizer
from transformer_lab.widgets.base import es_module
from transformer_lab.widgets.bpe_stepper import BPEStepper, learn

SHELLS = "she sells sea shells by the sea shore"


@pytest.fixture
def stepper():
    return BPEStepper(SHELLS, merges=6)


def random_texts(n: int) -> list[str]:
    """With many repeats, runs of one letter, line ends, and characters of several bytes."""
    rng = random.Random(0)
    return ["".join(rng.choices("aaab \né学习🙂1_.", k=rng.randint(1, 120))) for _ in range(n)]


# ---------------------------------------------------------------- what is learnt


@pytest.mark.parametrize("text", [SHELLS, "aaaaaaa aaaa", "学习学习学", *random_texts(5)])
def test_the_merges_are_the_tokenizers_and_as_many_as_there_are(text):
    stepper = BPEStepper(text, merges=500)
    n = len(stepper.pairs)
    assert stepper._merges == BPETokenizer.train(text, 256 + n).merges
    with pytest.raises(ValueError, match="too short"):
        BPETokenizer.train(text, 256 + n + 1)
    for step in (0, n // 2, n):
        stepper.step = step
        assert b"".join(stepper.tokens) == text.encode()
        assert len(stepper.tokens) == stepper.n_tokens[step]
        assert next(iter(stepper.counts), None) == stepper._next  # the pair that leads is the one that is merged
    assert stepper.counts == {}


def test_it_learns_no_more_than_it_is_told(stepper):
    assert len(stepper.pairs) == 6 and learn("a", 3) == []
    stepper.merges = 2
    assert len(stepper.pairs) == 2


def test_a_new_text_is_learnt_anew_and_the_step_stays_inside(stepper):
    stepper.step = 6
    stepper.text = "aaab"
    assert stepper.chunks == ["aaab"] and stepper._merges == [(97, 97), (97, 98), (256, 257)]
    assert stepper.step == 3 and stepper.tokens == [b"aaab"]


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("text", "", "text must not be empty"),
        ("text", "x" * 20_001, "text must have at most 20,000 characters; got 20,001"),
        ("merges", 0, "merges must lie in 1 … 500; got 0"),
        ("step", 7, "step must lie in 0 … 6, the merges there are; got 7"),
        ("step", -1, "step must lie in 0 … 6"),
    ],
)
def test_a_bad_value_is_refused_and_nothing_changes(stepper, name, value, message):
    before = repr(stepper)
    with pytest.raises(ValueError, match=message):
        stepper.set_trait(name, value)
    assert repr(stepper) == before


def test_no_text_is_refused_at_once():
    with pytest.raises(ValueError, match="text must not be empty"):
        BPEStepper("")


def test_what_the_page_asks_is_answered(stepper):
    stepper.request = {"number": 1, "text": ""}
    assert stepper.error.startswith("text must not be empty") and stepper.answered == 1 and stepper.text == SHELLS
    stepper.request = {"number": 2, "text": "abab"}
    assert (stepper.text, stepper.answered, stepper.error) == ("abab", 2, "")


# ---------------------------------------------------------------- in words and in a picture


def test_the_text_says_what_is_on_show(stepper):
    assert repr(stepper) == "BPEStepper: 37 bytes are 37 tokens after 0 of 6 merges; next ␣ + s, 5×"
    stepper.step = 6
    assert repr(stepper) == (
        "BPEStepper: 37 bytes are 20 tokens after 6 of 6 merges, the newest he, ␣se, ll, ␣sea, lls"
    )


def test_the_picture_shows_tokens_pairs_and_the_curve(stepper):
    stepper.step = 2
    tokens, pairs, curve = (
        next(ax for ax in stepper.figure.axes if word in ax.get_title()) for word in ("tokens", "pairs", "shorter")
    )
    assert len(tokens.patches) == len(stepper.tokens) == curve.lines[1].get_ydata()
    assert [bar.get_width() for bar in pairs.patches] == list(stepper.counts.values())[:8]
    assert list(curve.lines[0].get_ydata()) == stepper.n_tokens


def test_the_picture_counts_what_does_not_fit():
    figure = BPEStepper("abcdefghij " * 300, merges=5).figure
    assert "more tokens" in [text.get_text()[-11:] for text in figure.axes[-1].texts]


# ---------------------------------------------------------------- in a browser


def test_the_page_replays_what_python_learnt(watched):
    steppers = [BPEStepper(text, merges=40) for text in (SHELLS, *random_texts(12))]
    module = base64.b64encode(es_module("bpe_stepper").encode()).decode()
    found = watched.page.evaluate(
        """async ([module, cases]) => {
          const { rankPairs, replay } = await import(`data:text/javascript;base64,${module}`);
          return cases.map(([chunks, pairs]) => {
            const words = chunks.map((chunk) => [...new TextEncoder().encode(chunk)]), once = words.map(() => 1);
            return replay(words, pairs).map((state) => [state.flat(), rankPairs(state, once)]);
          });
        }""",
        [module, [[stepper.chunks, stepper.pairs] for stepper in steppers]],
    )
    for stepper, states in zip(steppers, found, strict=True):
        assert len(states) == len(stepper.pairs) + 1
        for step, (ids, ranked) in list(enumerate(states))[::3] + [(len(states) - 1, states[-1])]:
            stepper.step = step
            assert ids == stepper.tokenizer.encode(stepper.text)
            assert [(tuple(pair), count) for *pair, count in ranked] == list(stepper.counts.items())


def test_buttons_and_slider_step_and_stop_at_the_ends(stepper, show):
    shown = show(stepper)
    before = [shown.pixels(i) for i in range(3)]
    assert "Next: ␣ + s, 5 times." in shown.readout
    back, forward = (shown.page.get_by_role("button", name=name) for name in ("back", "forward"))
    back.click()
    assert shown.state("step") == 0
    forward.click()
    assert shown.state("step") == 1
    assert "37 bytes are 32 tokens after 1 of 6 merges. The last one made “␣s” of ␣ + s." in shown.readout
    assert all(shown.pixels(i) != picture for i, picture in enumerate(before))
    assert "␣s" in shown.page.locator(".note").inner_text()
    shown.page.get_by_role("slider").fill("6")
    forward.click()
    assert shown.state("step") == 6 and "No more merges were learnt." in shown.readout


def test_an_equal_count_is_explained(show):
    shown = show(BPEStepper("ab cd"))
    assert "another pair is as frequent, and the smaller ids go first" in shown.readout


def test_it_plays_to_the_end_and_stops_by_itself(show):
    shown = show(BPEStepper("abab", merges=9))
    shown.page.get_by_role("button", name="play").click()
    shown.page.get_by_role("button", name="stop").wait_for()
    shown.page.get_by_role("button", name="play").wait_for()
    assert shown.state("step") == 2 and "Every word is one token: no pairs are left." in shown.readout


def test_playing_ends_with_the_widget(stepper, show):
    shown = show(stepper)
    shown.page.get_by_role("button", name="play").click()
    shown.page.evaluate("() => window.stop()")
    # A timer that was set later than the one that plays, and is longer: when it rings, that one would have rung.
    shown.page.evaluate("() => new Promise((done) => setTimeout(done, 710))")
    assert shown.state("step") == 0


def test_keys_and_clicks_choose_a_token_and_the_page_stays(stepper, show):
    shown = show(stepper)
    shown.put(step=2)
    shown.page.locator("canvas").first.focus()
    shown.press("ArrowRight", "ArrowRight")
    assert "Chosen: “he”, id 257, made in merge 2 of h + e; it stands here 3 times." in shown.readout
    shown.press("Home")
    assert "Chosen: “s”, id 115, a byte; it stands here 3 times." in shown.readout
    shown.put(step=0)
    shown.page.locator("canvas").first.click(position={"x": 30, "y": 14})
    assert "Chosen: “h”" in shown.readout
    shown.put(step=2)  # the byte is in another token now
    assert "Chosen: “he”" in shown.readout
    assert shown.page.evaluate("() => window.scrollY") == 0


def test_a_long_text_scrolls_by_keys_and_costs_no_nodes(show):
    shown = show(BPEStepper("the cat sat on the mat\n" * 600, merges=3))
    assert shown.nodes() <= 300
    assert shown.page.evaluate("() => Math.max(...[...document.querySelectorAll('canvas')].map((c) => c.height))") < 600
    before = shown.pixels()
    shown.page.locator("canvas").first.focus()
    shown.press("End", "ArrowUp")
    assert shown.pixels() != before and "Chosen: “⏎”" in shown.readout
    assert shown.page.evaluate("() => document.querySelector('canvas').closest('div').parentElement.scrollTop") > 9000
    assert shown.page.evaluate("() => window.scrollY") == 0


def test_parts_of_a_character_show_as_their_bytes(show):
    shown = show(BPEStepper("学习 学习", merges=9))
    shown.page.locator("canvas").first.focus()
    shown.press("Home")
    assert "Chosen: “E5”, id 229, a byte" in shown.readout
    shown.put(step=5)
    assert "made “学习”" in shown.readout


def test_an_edited_text_is_sent_and_a_refused_one_explained(stepper, show):
    shown = show(stepper)
    shown.page.locator("canvas").first.focus()
    shown.press("Home")
    assert "Chosen: “s”" in shown.readout
    box = shown.page.get_by_role("textbox")
    box.fill("")
    shown.page.wait_for_function("() => window.model.get('request').number === 1")
    assert shown.state("request")["text"] == "" and "The new text is being read …" in shown.readout
    shown.put(error="text must not be empty", answered=1)
    assert "This cannot be: text must not be empty." in shown.readout
    box.fill("aaab")
    shown.page.wait_for_function("() => window.model.get('request').number === 2")
    shown.put(text="aaab", chunks=["aaab"], pairs=[[97, 97]], error="", answered=2)
    assert "4 bytes are 4 tokens after 0 of 1 merges" in shown.readout and "Next: a + a, twice." in shown.readout
    assert "Chosen" not in shown.readout


def test_without_a_kernel_all_steps_are_there_and_no_text_box(stepper, show):
    shown = show(stepper, live=False)
    assert shown.page.get_by_role("textbox").count() == 0
    shown.page.get_by_role("slider").fill("5")
    assert "The last one made “␣sea” of ␣se + a." in shown.readout


def test_a_finger_chooses_a_token_and_scrolls_the_page(stepper, show, watched):
    watched.page.set_viewport_size({"width": 360, "height": 700})
    shown = show(stepper)
    box = shown.page.locator("canvas").first.bounding_box()
    for x, letter in ((1, "s"), (23, "s"), (25, "h"), (47, "h")):  # a letter is 24 pixels wide, 28 high
        shown.swipe((box["x"] + x, box["y"] + 14))
        assert f"Chosen: “{letter}”" in shown.readout
    shown.swipe((box["x"] + 100, box["y"] + 40), (box["x"] + 100, box["y"] - 100))
    assert shown.scrolled() > 50
    assert shown.smallest_target() >= 24


def test_text_from_right_to_left_does_not_turn_the_sentence(show):
    stepper = BPEStepper("שלום שלום", merges=20)
    stepper.step = len(stepper.pairs)
    assert "the newest" in repr(stepper) and "\u2068שלום\u2069" in repr(stepper)
    shown = show(stepper)
    assert "made “\u2068␣שלום\u2069” of ␣ + \u2068שלום\u2069." in shown.readout
    assert shown.page.get_by_role("textbox").get_attribute("dir") == "auto"


def test_it_fits_a_telephone(stepper, show, watched):
    watched.page.set_viewport_size({"width": 360, "height": 700})
    shown = show(stepper)
    assert shown.page.evaluate("() => document.documentElement.scrollWidth") <= 360
    shown.page.wait_for_function("() => document.querySelector('canvas').clientWidth < 360")

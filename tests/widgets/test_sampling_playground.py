"""SamplingPlayground: the cuts are generation's, the text goes on, and the page agrees with Python."""

import base64
import math
import random

import pytest
import torch

from transformer_lab.generation import next_token_probabilities, write
from transformer_lab.gpt import GPT, GPTConfig
from transformer_lab.tokenizers import CharacterTokenizer
from transformer_lab.widgets.base import es_module
from transformer_lab.widgets.sampling_playground import N_BARS, SamplingPlayground

LETTERS = "\n abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return GPT(GPTConfig(len(LETTERS), context_length=8, d_model=16, n_layers=1, n_heads=2))


@pytest.fixture
def playground(model):
    return SamplingPlayground(model, CharacterTokenizer(LETTERS), "a cat", seed=3)


@pytest.fixture
def of_logits():
    """Five tokens with probabilities 0.4, 0.3, 0.15, 0.1, 0.05, not in their order."""
    probabilities = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15])
    return SamplingPlayground.from_logits(probabilities.log(), ["mat", "cat", "hat", "dog", "bat"], "the")


# ---------------------------------------------------------------- what is drawn from


def test_the_probabilities_are_generations(playground):
    playground.temperature, playground.top_k, playground.top_p = 0.7, 9, 0.8
    ids = torch.tensor([playground._tokenizer.encode("a cat")])
    logits = playground._model(ids)[0, -1].detach().double()
    expected = next_token_probabilities(logits, 0.7, 9, 0.8)
    torch.testing.assert_close(playground.probabilities, expected, rtol=1e-5, atol=0)
    assert playground.kept == (9, int((expected > 0).sum()))


@pytest.mark.parametrize(
    "settings, kept",
    [
        ({}, (5, 5)),
        ({"top_k": 3}, (3, 3)),
        ({"top_k": 99}, (5, 5)),
        ({"top_p": 0.8}, (5, 3)),
        ({"top_k": 2, "top_p": 0.5}, (2, 1)),  # of 0.4 and 0.3, the first is 0.57: k goes first
        ({"temperature": 0.0, "top_k": 3}, (1, 1)),
    ],
)
def test_how_many_tokens_are_left(of_logits, settings, kept):
    for name, value in settings.items():
        of_logits.set_trait(name, value)
    assert of_logits.kept == kept
    assert (of_logits.probabilities > 0).sum() == kept[1]


def test_equal_logits_rank_by_their_ids_and_what_is_ruled_out_stays_out():
    playground = SamplingPlayground.from_logits([1.0, 3.0, -math.inf, 3.0], ["a", "b", "c", "d"], top_k=1)
    assert playground.labels == ["b", "d", "a", "c"]
    assert playground.probabilities.tolist() == [0, 1, 0, 0]


# ---------------------------------------------------------------- writing


def test_it_writes_what_write_writes_with_the_same_seed(playground, model):
    playground.temperature, playground.top_k, playground.top_p = 0.9, 12, 0.9
    playground.draw(12)  # longer than the context
    tokenizer = CharacterTokenizer(LETTERS)
    assert playground.written == write(model, tokenizer, "a cat", 12, temperature=0.9, top_k=12, top_p=0.9, seed=3)
    assert "".join(playground.pieces) == playground.written.removeprefix("a cat")


def test_a_drawn_token_is_read_taken_back_and_replaced(playground):
    before = playground.logits
    playground.draw()
    assert len(playground.drawn) == 1 and playground.logits != before
    playground.undo()
    assert playground.drawn == [] and playground.logits == before
    playground.take(3)
    assert playground.pieces == ["b"] and playground.written == "a catb"
    playground.text = "a dog"
    assert playground.drawn == playground.pieces == [] and playground.written == "a dog"


def test_what_the_page_asks_is_done_and_answered(playground):
    playground.request = {"number": 1, "draw": 2}
    assert len(playground.drawn) == 2 and playground.answered == 1
    playground.request = {"number": 2, "take": 5}
    assert playground.drawn[2:] == [5]
    playground.request = {"number": 3, "undo": 2}
    assert len(playground.drawn) == 1
    playground.request = {"number": 4, "text": "dog"}
    assert (playground.written, playground.answered, playground.error) == ("dog", 4, "")


@pytest.mark.parametrize("text, message", [("", "text must not be empty"), ("Dog", "text holds 'D'")])
def test_a_text_that_cannot_be_read_is_answered_with_a_word(playground, text, message):
    playground.request = {"number": 1, "text": text}
    assert playground.error.startswith(message) and playground.answered == 1
    assert playground.text == "a cat"
    playground.request = {"number": 2, "draw": 1}
    assert playground.error == ""


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("temperature", -0.1, r"temperature must lie in 0 … 5 \(0 is greedy\); got -0.1"),
        ("temperature", math.nan, "temperature must lie in 0 … 5"),
        ("top_k", -1, "top_k must be at least 1, or 0 for no cut; got -1"),
        ("top_p", 0.0, r"top_p must lie in \(0, 1\]"),
        ("text", "", "text must not be empty"),
        ("text", "Dog", "text holds 'D' at index 0"),
        ("drawn", [28], r"drawn must hold ids in 0 … 27, the vocabulary; got \[28\]"),
    ],
)
def test_a_bad_value_is_refused_and_nothing_changes(playground, name, value, message):
    before = repr(playground)
    with pytest.raises(ValueError, match=message):
        playground.set_trait(name, value)
    assert repr(playground) == before


def test_what_goes_wrong_in_the_model_is_said_too_and_the_page_does_not_wait(playground):
    def fail(module, given):
        raise RuntimeError("out of memory")

    hook = playground._model.register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError):
            playground.request = {"number": 7, "draw": 1}
    finally:
        hook.remove()
    assert (playground.error, playground.answered) == ("out of memory", 7)


def test_no_text_and_no_good_logits_are_refused_at_once(model):
    with pytest.raises(ValueError, match="text must not be empty"):
        SamplingPlayground(model, CharacterTokenizer(LETTERS), "")
    with pytest.raises(ValueError, match=r"one number a label, shape \(1,\); got shape \(2,\)"):
        SamplingPlayground.from_logits(torch.zeros(2), ["a"])
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="logits must be numbers, not all −∞, none NaN or ∞"):
            SamplingPlayground.from_logits([1.0, bad], ["a", "b"])
    with pytest.raises(ValueError, match="not all −∞"):
        SamplingPlayground.from_logits([-math.inf], ["a"])


def test_logits_alone_cannot_go_on(of_logits):
    with pytest.raises(ValueError, match="draw needs a model to go on with"):
        of_logits.draw()
    with pytest.raises(ValueError, match="drawn needs a model to go on with"):
        of_logits.take(0)


# ---------------------------------------------------------------- in words and in a picture


def test_the_text_says_what_is_on_show(of_logits):
    of_logits.top_k, of_logits.top_p = 4, 0.7
    assert repr(of_logits) == (
        "SamplingPlayground: after “the” come cat 57%, dog 43%, bat 0%; "
        "temperature 1.00, top-k 4, top-p 0.70: 2 of 5 tokens are left"
    )


def test_the_picture_shows_bars_outlines_and_cuts(playground):
    playground.top_k, playground.top_p = 24, 0.3
    ax = playground.figure.axes[0]
    filled, outlines = ([bar.get_width() for bar in container] for container in ax.containers)
    assert len(filled) == len(outlines) == N_BARS + 2
    assert filled[-1] == 0 < filled[0]
    assert sum(filled) == pytest.approx(1) and sum(outlines) == pytest.approx(1)
    assert [text.get_text() for text in ax.texts] == ["top-k 24 cuts here", "top-p 0.30 cuts here"]
    assert [line.get_ydata()[0] for line in ax.lines] == [N_BARS + 0.5, playground.kept[1] - 0.5]
    assert [label.get_text() for label in ax.get_yticklabels()][-2:] == ["4 others", "4 others"]


CUTS_AMONG_OTHERS = (  # of 28 equal tokens, of which 20 have a row each
    ({}, ["8 others"]),
    ({"top_k": 20}, ["8 others"]),
    ({"top_k": 21}, ["1 other", "7 others"]),
    ({"top_p": 0.99}, ["8 others"]),  # 27.7 of 28, which is all
    ({"top_p": 0.8}, ["3 others", "5 others"]),  # 22.4 of 28, which is 23
    ({"top_k": 26, "top_p": 0.9}, ["4 others", "2 others", "2 others"]),  # 23.4 of 26
    ({"top_k": 26, "top_p": 0.1}, ["6 others", "2 others"]),
    ({"temperature": 0.0, "top_k": 26}, ["8 others"]),
)


@pytest.mark.parametrize("settings, others", CUTS_AMONG_OTHERS)
def test_a_cut_among_the_others_goes_between_two_rows(settings, others):
    ax = SamplingPlayground.from_logits(torch.zeros(28), list(LETTERS), **settings).figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()][N_BARS:] == others
    assert all((line.get_ydata()[0] + 0.5).is_integer() for line in ax.lines)


# ---------------------------------------------------------------- in a browser


def test_the_page_computes_what_python_computes_at_any_setting(watched):
    """250 settings, with few and many tokens, equal logits and such as are ruled out."""
    rng = random.Random(0)
    generator = torch.Generator().manual_seed(0)
    cases = []
    for i in range(250):
        logits = torch.randn(rng.choice([1, 2, 7, 40, 300]), generator=generator) * rng.choice([0.1, 2, 8])
        if i % 3 == 0:
            logits = logits.round()  # many are equal
        if i % 5 == 0:
            logits[1:][torch.rand(len(logits) - 1, generator=generator) < 0.3] = -math.inf
        temperature = rng.choice([0.0, 0.05, 1.0, rng.uniform(0.05, 5), 5.0])
        cases.append(
            (logits, temperature, rng.choice([0, 1, rng.randint(1, 60)]), rng.choice([1.0, rng.uniform(0.01, 1)]))
        )
    module = base64.b64encode(es_module("sampling_playground").encode()).decode()
    ranked = [logits.sort(descending=True, stable=True) for logits, *_ in cases]
    found = watched.page.evaluate(
        """async ([module, cases]) => {
          const { nextTokenProbabilities } = await import(`data:text/javascript;base64,${module}`);
          return cases.map(([logits, ...settings]) => {
            const now = nextTokenProbabilities(Float32Array.from(logits, (x) => x ?? -Infinity), ...settings);
            return [[...now.probabilities], now.afterK, now.afterP];
          });
        }""",
        [
            module,
            [
                [[None if x == -math.inf else x for x in values.tolist()], *settings]
                for (values, _), (_, *settings) in zip(ranked, cases, strict=True)
            ],
        ],
    )
    for (logits, temperature, k, p), (_, order), (probabilities, *kept) in zip(cases, ranked, found, strict=True):
        labels = [str(i) for i in range(len(logits))]
        python = SamplingPlayground.from_logits(logits, labels, temperature=temperature, top_k=k, top_p=p)
        torch.testing.assert_close(
            python.probabilities[order], torch.tensor(probabilities, dtype=torch.float64), rtol=1e-9, atol=1e-300
        )
        assert python.kept == tuple(kept)


def test_sliders_cut_and_the_readout_tells(of_logits, show):
    shown = show(of_logits)
    before = shown.pixels()
    temperature, top_k, top_p = shown.page.get_by_role("slider").all()
    assert "cat: the model gives it 40.0%, now 40.0%. 5 of 5 tokens are left." in shown.readout
    top_k.fill("3")
    assert shown.state("top_k") == 3 and "now 47.1%. 3 of 5 tokens are left." in shown.readout
    top_p.fill("0.4")
    assert shown.state("top_p") == 0.4 and "now 100.0%. 1 of 5 tokens is left." in shown.readout
    assert shown.pixels() != before
    top_k.fill("5")
    assert shown.state("top_k") == 0 and shown.page.locator("output").all_inner_texts() == ["1.00", "off", "0.40"]
    temperature.fill("0")
    assert "Temperature 0 is greedy" in shown.readout
    shown.page.get_by_role("button", name="start again").click()
    assert [shown.state(name) for name in ("temperature", "top_k", "top_p")] == [1, 0, 1]


def test_a_cut_among_the_others_goes_between_two_rows_on_the_page_too(show):
    shown = show(SamplingPlayground.from_logits(torch.zeros(28), list(LETTERS)))
    shown.page.locator("canvas").focus()
    for settings, others in CUTS_AMONG_OTHERS:
        shown.put(**{"temperature": 1.0, "top_k": 0, "top_p": 1.0} | settings)
        shown.press("End")
        said = [shown.readout.split(":")[0]]
        for _ in others:
            shown.press("ArrowUp")
            said.append(shown.readout.split(":")[0])
        assert said[::-1][1:] == others and "other" not in said[-1]


def test_values_from_python_arrive_between_the_sliders_steps(playground, show):
    shown = show(playground)
    shown.put(top_k=23, temperature=2.22)
    assert shown.page.locator("output").all_inner_texts() == ["2.22", "23", "off"]
    assert "23 of 28 tokens are left" in shown.readout


def test_keys_and_clicks_choose_a_bar_and_the_page_stays(playground, show):
    shown = show(playground)
    names = [LETTERS[i].replace(" ", "␣").replace("\n", "⏎") for i in playground.ids]
    shown.page.locator("canvas").focus()
    shown.press("ArrowDown", "ArrowDown", "ArrowUp")
    assert shown.readout.startswith(f"{names[1]}: the model gives it")
    shown.press("End", "ArrowDown")
    assert shown.readout.startswith("8 others: the model gives them")
    assert shown.page.evaluate("() => window.scrollY") == 0
    shown.page.locator("canvas").click(position={"x": 300, "y": 46 + 5 * 24 + 12})
    assert shown.readout.startswith(f"{names[5]}: ")


def test_drawing_taking_and_undoing_are_asked_of_python_one_at_a_time(playground, show):
    shown = show(playground)
    shown.page.get_by_role("button", name="draw a token").click()
    assert shown.state("request") == {"number": 1, "draw": 1}
    assert "The model is reading …" in shown.readout
    shown.page.get_by_role("button", name="draw 10").click()
    assert shown.state("request")["number"] == 1  # not while the first is on its way
    shown.put(drawn=[0, 3], pieces=["\n", "x"], answered=1)
    assert "reading" not in shown.readout
    assert shown.page.locator("mark").all_text_contents() == ["\n", "x"]
    shown.page.locator("canvas").focus()
    shown.press("ArrowDown", "Enter")
    assert shown.state("request") == {"number": 2, "take": playground.ids[1]}
    shown.put(answered=2)
    shown.press("Backspace")
    assert shown.state("request") == {"number": 3, "undo": 1}
    shown.put(answered=3)
    shown.press("d")
    assert shown.state("request") == {"number": 4, "draw": 1}


def test_an_edited_text_is_sent_once_and_a_bad_one_stays_to_be_mended(playground, show):
    shown = show(playground)
    box = shown.page.get_by_role("textbox")
    box.evaluate("""(box) => {
      for (const text of ["a ca", "a c", "a cow"]) {
        box.value = text;
        box.dispatchEvent(new Event("input"));
      }
    }""")
    shown.page.wait_for_function("() => window.model.get('request').number !== undefined")
    assert shown.state("request") == {"number": 1, "text": "a cow"}
    shown.put(text="a cow", answered=1)
    box.fill("")
    shown.page.wait_for_function("() => window.model.get('request').number === 2")
    shown.put(error="text must not be empty", answered=2)
    assert "This cannot be: text must not be empty." in shown.readout and box.input_value() == ""
    shown.put(error="", text="a dog")
    assert box.input_value() == "a dog"


def test_a_late_answer_does_not_write_over_what_is_typed(playground, show):
    shown = show(playground)
    box = shown.page.get_by_role("textbox")
    box.fill("one")
    shown.page.wait_for_function("() => window.model.get('request').number === 1")
    box.fill("two")
    shown.page.wait_for_function("() => window.model.get('request').number === 2")
    shown.put(text="one", answered=1)
    assert box.input_value() == "two" and "The model is reading …" in shown.readout


def test_a_finger_chooses_a_row_and_scrolls_the_page(playground, show, watched):
    watched.page.set_viewport_size({"width": 360, "height": 1200})
    shown = show(playground)
    box = shown.page.locator("canvas").bounding_box()
    for row in (3, 4):
        for y in (1, 23):  # a row is 24 pixels high
            shown.swipe((box["x"] + 150, box["y"] + 46 + 24 * row + y))
            name = LETTERS[playground.ids[row]].replace(" ", "␣").replace("\n", "⏎")
            assert shown.readout.startswith(f"{name}: "), (row, y)
    shown.swipe((box["x"] + 150, box["y"] + 300), (box["x"] + 150, box["y"] + 100))
    assert shown.scrolled() > 100
    assert shown.smallest_target() >= 24


def test_a_hundred_percent_are_drawn_whole(of_logits, show):
    """Nothing is drawn in the last pixels at the right, so nothing is cut off there."""
    of_logits.temperature = 0.0
    shown = show(of_logits)
    shown.page.locator("canvas").focus()
    shown.press("End")  # the row that is marked is another one
    assert shown.page.locator("canvas").evaluate(
        """(canvas) => {
          const pen = canvas.getContext("2d");
          return [...pen.getImageData(canvas.width - 3, 46, 3, 24).data].every((channel) => channel === 0);
        }"""
    )


def test_text_from_right_to_left_does_not_turn_the_sentence(show):
    playground = SamplingPlayground.from_logits([1.0, 0.0], [" שלום", "b"], text="שלום")
    assert "after “\u2068שלום\u2069” come \u2068␣שלום\u2069 73%, b 27%" in repr(playground)
    shown = show(playground)
    assert shown.readout.startswith("\u2068␣שלום\u2069: the model gives it 73.1%")


def test_a_long_text_stays_few_nodes(playground, show):
    shown = show(playground)
    shown.put(pieces=["x"] * 2000, drawn=[0] * 2000)
    assert shown.nodes() <= 300
    assert shown.page.locator("mark").first.inner_text() == "x" * 1900


def test_without_a_kernel_the_sliders_work_and_nothing_is_drawn(playground, show):
    playground.draw(3)
    shown = show(playground, live=False)
    assert shown.page.locator("mark").all_text_contents() == playground.pieces
    assert shown.page.get_by_role("textbox").count() == 0
    assert shown.page.get_by_role("button").all_inner_texts() == ["start again"]
    shown.page.get_by_role("slider").nth(1).fill("4")
    assert "4 of 28 tokens are left" in shown.readout
    shown.page.locator("canvas").focus()
    shown.press("d", "Enter")
    assert shown.state("request") == {}


def test_it_fits_a_telephone_and_ends_clean(playground, show, watched):
    watched.page.set_viewport_size({"width": 360, "height": 700})
    shown = show(playground)
    assert shown.page.evaluate("() => document.documentElement.scrollWidth") <= 360
    shown.page.wait_for_function("() => document.querySelector('canvas').clientWidth < 360")
    shown.page.get_by_role("textbox").fill("gone")
    shown.page.evaluate("() => window.stop()")
    # A timer that was set later than the text box's, and is longer: when it rings, the other one would have rung.
    shown.page.evaluate("() => new Promise((done) => setTimeout(done, 160))")
    assert shown.state("request") == {}

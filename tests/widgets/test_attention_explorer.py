"""AttentionExplorer: what it accepts, what Python reads and sets, what a model answers, what hand and keys do."""

import math
import re
import zlib

import numpy as np
import pytest
import torch
from torch import Tensor

from transformer_lab.attention import causal_mask
from transformer_lab.gpt import GPT, GPTConfig
from transformer_lab.probe import watch
from transformer_lab.tokenizers import CharacterTokenizer
from transformer_lab.widgets.attention_explorer import AttentionExplorer

TOKENS = "the dog chased the red ball".split()


def attention(*shape: int, causal: bool = True, seed: int = 0) -> Tensor:
    scores = 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if causal:
        scores = scores.masked_fill(~causal_mask(*shape[-2:]), -math.inf)
    return scores.softmax(-1)


@pytest.fixture
def explorer():
    return AttentionExplorer(TOKENS, attention(3, 4, 6, 6), layer=1, head=2)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=7, context_length=12, d_model=16, n_layers=2, n_heads=4)).eval()


@pytest.fixture
def tokenizer():
    return CharacterTokenizer("abcdef ")


@pytest.fixture
def live(model, tokenizer):
    return AttentionExplorer.from_model(model, tokenizer, "abc def", layer=1, head=3)


# ---------------------------------------------------------------- what it accepts


def test_the_selected_pattern_is_the_one_that_was_given(explorer):
    given = attention(3, 4, 6, 6)
    assert torch.equal(explorer.pattern, given[1, 2])
    explorer.layer, explorer.head = 2, 0
    assert torch.equal(explorer.pattern, given[2, 0])


def test_the_query_is_the_last_token_and_the_key_where_it_looks_most(explorer):
    assert explorer.query == 5 and explorer.key == explorer.pattern[5].argmax()


@pytest.mark.parametrize(
    "given",
    [
        [layer for layer in attention(3, 4, 6, 6)],
        [layer[None] for layer in attention(3, 4, 6, 6)],  # with a batch of one, as transformers gives it
        tuple(layer.double().requires_grad_() for layer in attention(3, 4, 6, 6)),
    ],
)
def test_a_list_of_layers_is_the_same(given):
    assert torch.allclose(AttentionExplorer(TOKENS, given, layer=1, head=2).pattern, attention(3, 4, 6, 6)[1, 2])


def test_layers_may_have_different_numbers_of_heads():
    given = [attention(2, 6, 6), attention(5, 6, 6)]
    explorer = AttentionExplorer(TOKENS, given, layer=1, head=4)
    assert explorer.heads == [2, 5]
    explorer.layer = 0
    assert explorer.head == 1  # the last that there is


def test_cross_attention_has_two_sides():
    explorer = AttentionExplorer((["ein", "Hund"], TOKENS), attention(1, 2, 2, 6, causal=False))
    assert explorer.pattern.shape == (2, 6)
    assert "“Hund” (1) looks most at" in repr(explorer)


def test_an_encoder_decoder_models_outputs_have_three_kinds():
    transformers = pytest.importorskip("transformers")
    outputs = transformers.modeling_outputs.Seq2SeqLMOutput(
        logits=torch.zeros(1, 2, 3),
        encoder_attentions=tuple(attention(2, 1, 4, 6, 6, causal=False)),
        decoder_attentions=tuple(attention(2, 1, 4, 2, 2)),
        cross_attentions=tuple(attention(2, 1, 4, 2, 6, causal=False)),
    )
    explorer = AttentionExplorer((TOKENS, ["ein", "Hund"]), outputs, kind="cross")
    assert explorer.kinds == ["encoder", "decoder", "cross"]
    assert torch.equal(explorer.pattern, outputs.cross_attentions[0][0, 0])
    explorer.query, explorer.key = 1, 5
    explorer.kind = "decoder"
    assert explorer.pattern.shape == (2, 2) and (explorer.query, explorer.key) == (1, 1)


@pytest.mark.parametrize(
    "tokens, given, message",
    [
        (TOKENS[:5], attention(3, 4, 6, 6), "tokens must be as many as attention has queries, 6 in layer 0; got 5"),
        ((TOKENS, ["a"]), attention(3, 4, 6, 6), "tokens must be as many as attention has keys, 6 in layer 0; got 1"),
        (TOKENS, attention(4, 6, 6), r"attention must be \(layers, heads, queries, keys\); got shape \(4, 6, 6\)"),
        (TOKENS, attention(2, 3, 4, 6, 6), r"attention must be \(layers, .*; got shape \(2, 3, 4, 6, 6\)"),
        (TOKENS, [attention(6, 6)], r"layer 0, must be \(heads, queries, keys\); got shape \(6, 6\)"),
        (TOKENS, [attention(2, 4, 6, 6)], r"layer 0, must be \(heads, queries, keys\); got shape \(2, 4, 6, 6\)"),
        (TOKENS, [], "attention must hold at least one layer; got none"),
        (TOKENS, attention(3, 4, 6, 6).fill_(math.nan), "attention, layer 0, holds NaN"),
        (TOKENS, attention(3, 4, 6, 6) * 0.9, "must be weights from 0 that sum to 1; got a row that sums to 0.900"),
        (TOKENS, torch.randn(3, 4, 6, 6), "Are these scores, before the softmax?"),
    ],
)
def test_what_is_not_attention_is_refused(tokens, given, message):
    with pytest.raises(ValueError, match=message):
        AttentionExplorer(tokens, given)


def test_a_query_that_may_attend_to_nothing_is_accepted():
    given = attention(1, 1, 6, 6)
    given[..., 3, :] = 0
    assert AttentionExplorer(TOKENS, given, query=3).pattern[3].sum() == 0


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("layer", 3, r"layer must lie in 0 … 2; got 3"),
        ("head", -1, r"head must lie in 0 … 3; got -1"),
        ("query", 6, r"query must lie in 0 … 5; got 6"),
        ("pinned", (0, 4), r"pinned: \(layer, head\) must exist.*got \(0, 4\)"),
        ("kind", "cross", "kind must be one of attention; got 'cross'"),
        ("ablated", [(0, 0)], "ablated needs a model that runs"),
        ("text", "another", "text needs a model that runs"),
        ("temperature", 2.0, "temperature needs a model that runs"),
    ],
)
def test_a_bad_value_is_refused_and_nothing_changes(explorer, name, value, message):
    before = repr(explorer)
    with pytest.raises(ValueError, match=message):
        setattr(explorer, name, value)
    assert repr(explorer) == before


def test_a_second_model_must_be_of_the_same_shape():
    with pytest.raises(ValueError, match="other must have the layers and heads of attention"):
        AttentionExplorer(TOKENS, attention(3, 4, 6, 6), other=attention(3, 2, 6, 6))


def test_queries_and_keys_may_be_given():
    queries, keys = torch.randn(2, 3, 4, 6, 5, dtype=torch.float64)
    pattern = (queries @ keys.transpose(-2, -1) / 5**0.5).softmax(-1)
    explorer = AttentionExplorer(TOKENS, pattern, queries=queries, keys=keys, view="scores", layer=2, head=3)
    entry = explorer.details[-1]
    assert (entry["width"], entry["scale"]) == (5, pytest.approx(5**-0.5))
    numbers = torch.frombuffer(bytearray(explorer.detail[entry["start"] :]), dtype=torch.float32)
    assert torch.equal(numbers[36:], torch.cat([queries[2, 3], keys[2, 3]]).float().flatten())
    with pytest.raises(ValueError, match=r"keys must be \(heads, tokens, d_head\).*got \[\(4, 5\)"):
        AttentionExplorer(TOKENS, pattern, queries=queries, keys=keys[:, :, 1:])
    with pytest.raises(ValueError, match="queries and keys belong together"):
        AttentionExplorer(TOKENS, pattern, queries=queries)


# ---------------------------------------------------------------- the numbers on their way


@pytest.mark.parametrize("causal", [True, False])
def test_a_weight_arrives_to_four_thousandths(causal):
    given = attention(2, 3, 50, 50, causal=causal)
    explorer = AttentionExplorer([str(i) for i in range(50)], given)
    steps = np.frombuffer(zlib.decompress(explorer.weights), dtype=np.uint8)
    expected = given[:, :, causal_mask(50, 50)] if causal else given.flatten(2)
    assert steps.size == expected.numel()
    assert (torch.tensor((steps / 255.0) ** 2).reshape_as(expected) - expected).abs().max() < 0.004


def test_the_selected_head_arrives_as_it_is(monkeypatch, explorer):
    assert len(explorer.details) == 3 * 4  # every head's numbers, as they are few
    monkeypatch.setattr("transformer_lab.widgets.attention_explorer.DETAILS", 0)
    explorer = AttentionExplorer(TOKENS, attention(3, 4, 6, 6), layer=1, head=2)
    (entry,) = explorer.details
    assert (entry["layer"], entry["head"]) == (1, 2)
    exact = torch.frombuffer(bytearray(explorer.detail), dtype=torch.float32).reshape(6, 6)
    assert torch.equal(exact, explorer.pattern)


def test_a_long_text_comes_layer_by_layer(monkeypatch):
    monkeypatch.setattr("transformer_lab.widgets.attention_explorer.WHOLE", 1000)
    explorer = AttentionExplorer([str(i) for i in range(40)], attention(3, 4, 40, 40))
    assert [section["layer"] for section in explorer.sections] == [0]
    before = explorer.weights
    assert len(zlib.decompress(explorer.thumbnails)) == 3 * 4 * 32 * 32
    explorer.head = 3
    assert explorer.weights is before  # the layer is there already
    explorer.layer = 2
    assert [section["layer"] for section in explorer.sections] == [2] and explorer.weights != before


# ---------------------------------------------------------------- live


def test_the_patterns_are_the_models(live, model, tokenizer):
    with watch(model) as trace, torch.no_grad():
        logits = model(torch.tensor([tokenizer.encode("abc def")]))
    torch.testing.assert_close(live.pattern, trace.patterns[1][0, 3])
    assert [name for name, _ in live.next_tokens][0] == tokenizer.decode([logits[0, -1].argmax().item()])


def test_an_edit_runs_the_model_again(live):
    live.text = "fed"
    assert live.pattern.shape == (3, 3) and live.query == 2
    assert live.unchanged["loss"] == live.loss


def test_ablating_a_head_changes_what_the_model_says_and_taking_it_back_brings_it_back(live, model, tokenizer):
    before = live.next_tokens
    live.ablated = [[1, 3], (0, 1)]
    assert live.ablated == [(0, 1), (1, 3)]
    with watch(model, zero=[(0, 1), (1, 3)]), torch.no_grad():
        expected = model(torch.tensor([tokenizer.encode("abc def")]))[0, -1].softmax(-1)
    assert live.next_tokens[0][1] == pytest.approx(expected.max().item(), abs=1e-5)
    assert live.next_tokens != before and live.unchanged["next_tokens"] == before
    live.ablated = []
    assert live.next_tokens == before


def test_without_the_mask_the_first_token_sees_the_last(live):
    assert live.pattern[0, 6] == 0
    live.causal = False
    assert live.pattern[0, 6] > 0


def test_heat_evens_out(live):
    def entropy() -> float:
        return -torch.xlogy(live.pattern, live.pattern).sum(-1).mean().item()

    cool = entropy()
    live.temperature = 10.0
    assert entropy() > cool


def test_checkpoints_are_stepped_through(model, tokenizer):
    later = {name: weight + 0.1 for name, weight in model.state_dict().items()}
    explorer = AttentionExplorer.from_model(
        model, tokenizer, "abc", checkpoints={"step 0": model.state_dict(), "step 9": later}
    )
    assert explorer.checkpoint == "step 9"
    pattern = explorer.pattern
    explorer.checkpoint = "step 0"
    assert not torch.equal(explorer.pattern, pattern)
    with pytest.raises(ValueError, match="checkpoint must be one of step 0, step 9; got 'step 5'"):
        explorer.checkpoint = "step 5"


@pytest.mark.parametrize("text", ["", "abcdefabcdefabcdef", "xyz"])
def test_what_the_model_cannot_read_is_refused_and_nothing_is_lost(live, text):
    before, tokens = repr(live), live.next_tokens
    with pytest.raises(ValueError):
        live.text = text
    assert live.text == "abc def" and repr(live) == before and live.next_tokens == tokens


def test_an_edit_on_the_page_that_cannot_be_read_is_said_there(live):
    live.request = {"text": "", "number": 1}
    assert live.error and live.text == "abc def" and live.answered == 1
    live.request = {"text": "fed", "number": 2}
    assert not live.error and live.text == "fed" and live.answered == 2


# ---------------------------------------------------------------- words and pictures


def test_the_text_says_what_is_on_show(explorer):
    most = explorer.pattern[5].argmax().item()
    assert repr(explorer) == (
        f"AttentionExplorer: 3×4 heads (layers × heads), 6 tokens; layer 1, head 2: “ball” (5) looks most at "
        f"“{TOKENS[most]}” ({most}), {explorer.pattern[5, most]:.2f}"
    )


def test_the_picture_shows_all_heads_and_the_selected_one(explorer):
    grid, head = explorer.figure.axes
    assert grid.images[0].get_array().shape == (3 * 7, 4 * 7)
    np.testing.assert_allclose(head.images[0].get_array() ** 2, explorer.pattern, atol=1e-6)
    assert head.get_title() == "layer 1, head 2"


def test_the_picture_shows_the_view(explorer):
    explorer.view = "lines"
    lines = explorer.figure.axes[1].collections[0].get_segments()
    assert [[y for _, y in line] for line in lines] == (explorer.pattern >= 0.02).nonzero().tolist()
    queries, keys = torch.randn(2, 3, 4, 6, 5)
    pattern = (queries @ keys.transpose(-2, -1) / 5**0.5).softmax(-1)
    explorer = AttentionExplorer(TOKENS, pattern, queries=queries, keys=keys, view="scores", query=4, key=1)
    ax = explorer.figure.axes[1]
    products = queries[0, 0, 4] * keys[0, 0, 1]
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], products, atol=1e-6)
    assert ax.get_title() == f"layer 0, head 0\nred · dog: score {products.sum() / 5**0.5:.2f}"


def test_it_is_saved_as_picture_and_as_page(explorer, tmp_path):
    for name, start in (("x.png", b"\x89PNG"), ("x.svg", b"<?xml"), ("x.html", b"<!doctype html>")):
        explorer.save(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    with pytest.raises(ValueError, match="path must end in .png, .svg or .html; got 'x.pdf'"):
        explorer.save(tmp_path / "x.pdf")


# ---------------------------------------------------------------- in a browser


def weight(shown) -> float:
    return float(re.search(r"with weight (?:about )?([\d.]+)", shown.readout)[1])


def decoded(shown) -> None:
    shown.page.wait_for_selector(".tlab[data-version]")
    shown.settle()


@pytest.fixture
def on_page(show):
    """A function: the explorer on a page, its patterns decoded."""

    def place(explorer, live=True):
        shown = show(explorer, live=live)
        decoded(shown)
        return shown

    return place


@pytest.mark.parametrize("causal", [True, False])
def test_every_weight_reads_as_python_has_it(monkeypatch, on_page, causal):
    monkeypatch.setattr("transformer_lab.widgets.attention_explorer.DETAILS", 0)  # none but the selected head's
    given = attention(2, 2, 6, 6, causal=causal)
    shown = on_page(AttentionExplorer(TOKENS, given, layer=1, head=1))
    for query, key in ((0, 0), (5, 2), (3, 3), (4, 2)):
        shown.put(query=query, key=key)
        assert weight(shown) == pytest.approx(given[1, 1, query, key].item(), abs=0.001)
        assert f"“{TOKENS[query]}” ({query}) looks at “{TOKENS[key]}” ({key})" in shown.readout
    shown.put(head=0)  # its exact numbers have not come, and nobody says so wrongly
    assert "about" in shown.readout
    assert weight(shown) == pytest.approx(given[1, 0, 4, 2].item(), abs=0.01)


def test_what_the_mask_hides_is_said(explorer, on_page):
    shown = on_page(explorer)
    shown.put(query=1, key=4)
    assert "“dog” (1) cannot look at “red” (4), which comes later; most at “" in shown.readout


def test_arrows_choose_heads_and_tokens_and_the_page_stays(explorer, on_page):
    shown = on_page(explorer)
    shown.page.get_by_label("Heads").focus()
    shown.press("ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft")
    assert (shown.state("layer"), shown.state("head")) == (2, 2)
    shown.page.get_by_label("Layer 2, head 2").focus()
    shown.press("End", "ArrowUp", "ArrowLeft")
    assert (shown.state("query"), shown.state("key")) == (4, 4)
    shown.page.get_by_label("Text:").focus()
    shown.press("ArrowLeft")
    assert shown.state("query") == 3
    assert shown.page.evaluate("() => window.scrollY") == 0


def test_a_click_on_the_grid_chooses_the_head(explorer, on_page):
    shown = on_page(explorer)
    box = shown.page.get_by_label("Heads").bounding_box()
    cell = (box["width"] - 30) / 4
    shown.page.mouse.click(box["x"] + 26 + 3.5 * cell, box["y"] + 34 + 0.5 * cell)
    assert (shown.state("layer"), shown.state("head")) == (0, 3)


@pytest.mark.parametrize("view", ["heatmap", "lines"])
def test_hovering_a_token_shows_it_everywhere_and_chooses_nothing(explorer, on_page, view):
    explorer.view = view
    shown = on_page(explorer)
    before = [shown.pixels(i) for i in range(3)]
    box = shown.page.get_by_label("Text:").bounding_box()
    shown.page.mouse.move(box["x"] + 8, box["y"] + 10)  # the first token
    shown.settle()
    assert "head 2: “the” (0) " in shown.readout
    assert shown.pixels(0) != before[0] and shown.pixels(2) != before[2]  # the text and the head
    assert shown.state("query") == 5
    shown.page.mouse.move(box["x"] + 8, box["y"] + 600)
    shown.settle()
    assert [shown.pixels(i) for i in range(3)] == before


def test_the_three_views_differ_and_are_told_apart(live, on_page):
    shown = on_page(live)
    pictures = {shown.pixels(2)}
    for name in ("lines", "query · key"):
        shown.page.get_by_role("button", name=name).click()
        pictures.add(shown.pixels(2))
        assert shown.page.locator(f'button:text-is("{name}")').get_attribute("aria-pressed") == "true"
    assert len(pictures) == 3


def test_a_filter_leaves_the_tokens_that_hold_the_word(explorer, on_page):
    shown = on_page(explorer)
    before = shown.pixels(2)
    shown.page.get_by_role("searchbox").fill("dog ball")
    assert shown.state("filter") == "dog ball" and shown.pixels(2) != before
    shown.page.get_by_label("Layer 1, head 2").focus()
    shown.press("ArrowUp")
    assert shown.state("query") == 1  # from ball to dog: nothing else is left


def test_two_heads_side_by_side_and_their_difference(explorer, on_page):
    shown = on_page(explorer)
    shown.page.get_by_label("Heads").focus()
    shown.press("c", "ArrowRight")
    assert shown.state("pinned") == [1, 2] and shown.state("head") == 3
    other = explorer.pattern[5, shown.state("key")].item()
    assert f"(compared with layer 1, head 2: {other:.3f})" in shown.readout
    assert shown.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    shown.press("c")
    assert shown.state("pinned") == []


@pytest.mark.parametrize("view", ["heatmap", "lines"])
def test_the_difference_belongs_to_the_two_heads_on_show(explorer, on_page, view):
    explorer.view, explorer.pinned = view, (0, 0)
    one = on_page(explorer)
    one.put(layer=0, head=0)
    nothing = one.pixels(2)
    one.put(layer=2, head=1)
    something = one.pixels(2)
    assert something != nothing
    explorer.layer, explorer.head = 2, 1
    another = on_page(explorer)  # it has never shown any other pair
    another.put(query=one.state("query"), key=one.state("key"))
    assert another.pixels(2) == something


def test_two_models_side_by_side(on_page):
    one, two = attention(2, 2, 6, 6), attention(2, 2, 6, 6, seed=1)
    shown = on_page(AttentionExplorer(TOKENS, one, other=two, names=("before", "after"), query=3, key=1))
    assert f"with weight {one[0, 0, 3, 1]:.3f} (after: layer 0, head 0: {two[0, 0, 3, 1]:.3f})" in shown.readout


def test_what_a_hand_changes_is_asked_of_python(live, on_page):
    shown = on_page(live)
    shown.page.get_by_role("button", name="switch off layer 1, head 3").click()
    assert shown.state("ablated") == [[1, 3]] and "The model is running" in shown.readout
    shown.put(version=1)  # the answer
    shown.page.wait_for_function("() => document.querySelector('.tlab').dataset.version === '1'")
    shown.settle()
    assert shown.page.get_by_role("button", name="switch on layer 1, head 3").is_visible()
    shown.page.get_by_label("Heads").focus()
    shown.press("x")
    assert shown.state("ablated") == []
    shown.page.get_by_role("button", name="causal mask").click()
    assert shown.state("causal") is False
    shown.page.get_by_label("text", exact=True).fill("fa")
    shown.page.wait_for_function("() => model.get('request').number === 1")
    assert shown.state("request") == {"text": "fa", "number": 1}


def test_the_answers_of_a_model_are_shown(live, on_page):
    shown = on_page(live)
    note = shown.page.get_by_text("Loss on this text")
    assert note.inner_text() == f"Loss on this text: {live.loss:.2f} nats a token."
    before = shown.pixels(3)
    shown.put(loss=9.5, next_tokens=[["a", 0.9], ["b", 0.1]])
    assert note.inner_text() == f"Loss on this text: {live.loss:.2f} → 9.50 nats a token."
    assert shown.pixels(3) != before
    shown.put(ablated=[[0, 1], [1, 3]])
    assert note.inner_text().endswith("Switched off: layer 0, head 1; layer 1, head 3.")


def test_all_changes_are_undone_at_once(live, on_page):
    live.ablated, live.causal, live.temperature = [(0, 1)], False, 2.0
    shown = on_page(live)
    undo = shown.page.get_by_role("button", name="undo changes")
    undo.click()
    assert [shown.state(name) for name in ("ablated", "causal", "temperature")] == [[], True, 1]
    assert "The model is running" in shown.readout
    shown.put(version=live.version + 1)
    shown.page.wait_for_function("() => !document.querySelector('.readout').textContent.includes('running')")
    undo.click()  # there is nothing to undo, and nobody will answer
    assert "looks at" in shown.readout


def test_a_model_that_predicts_no_next_token_has_no_bars(live, on_page):
    live.next_tokens, live.unchanged, live.loss = [], {"next_tokens": [], "loss": None}, None
    shown = on_page(live)
    assert not shown.page.get_by_label("The likeliest next tokens").is_visible()


def test_without_a_kernel_what_needs_one_is_not_there_and_the_rest_works(live, on_page):
    shown = on_page(live, live=False)
    assert [button.inner_text() for button in shown.page.get_by_role("button").all()] == [
        "heatmap", "lines", "query · key", "compare with this head"
    ]  # fmt: skip
    assert shown.page.get_by_role("slider").count() == 0 and shown.page.locator("textarea").count() == 0
    shown.page.get_by_label("Heads").focus()
    shown.press("ArrowLeft", "ArrowUp")
    expected = live._shown["attention"].models[0][0][2][shown.state("query"), shown.state("key")].item()
    assert weight(shown) == pytest.approx(expected, abs=0.001)  # small enough to hold every head's exact numbers


def test_a_page_that_holds_one_layer_says_so(monkeypatch, on_page):
    monkeypatch.setattr("transformer_lab.widgets.attention_explorer.WHOLE", 100)
    shown = on_page(AttentionExplorer(TOKENS, attention(3, 4, 6, 6)), live=False)
    before = shown.pixels(2)
    shown.put(layer=1)
    assert shown.pixels(2) != before
    assert shown.page.get_by_label("layer 1,").is_visible() and "looks at" not in shown.readout


def test_while_a_layer_is_on_its_way_it_says_so(monkeypatch, on_page):
    monkeypatch.setattr("transformer_lab.widgets.attention_explorer.WHOLE", 100)
    shown = on_page(AttentionExplorer(TOKENS, attention(3, 4, 6, 6)))
    shown.page.get_by_label("Heads").focus()
    shown.press("ArrowDown")
    assert "Fetching layer 1" in shown.readout


def test_another_kind_brings_its_own_tokens(on_page):
    given = {
        "encoder": attention(1, 2, 6, 6, causal=False),
        "decoder": attention(1, 2, 2, 2),
        "cross": attention(1, 2, 2, 6, causal=False),
    }
    shown = on_page(AttentionExplorer((TOKENS, ["ein", "Hund"]), given), live=False)
    shown.put(query=1, key=1)
    shown.page.get_by_role("combobox").select_option("cross")
    shown.settle()
    assert "“Hund” (1) looks at “dog” (1)" in shown.readout


def test_a_finger_chooses_heads_and_tokens_and_scrolls_the_page(explorer, on_page):
    shown = on_page(explorer)
    box = shown.page.get_by_label("Heads").bounding_box()
    cell = (box["width"] - 30) / 4
    shown.swipe((box["x"] + 26 + 3.5 * cell, box["y"] + 34 + 0.5 * cell))
    assert (shown.state("layer"), shown.state("head")) == (0, 3)
    strip = shown.page.get_by_label("Text:").bounding_box()
    shown.swipe((strip["x"] + 10, strip["y"] + 12))
    assert shown.state("query") == 0
    shown.swipe((box["x"] + 60, box["y"] + 150), (box["x"] + 60, box["y"] - 50))
    assert shown.scrolled() > 50 and (shown.state("layer"), shown.state("head")) == (0, 3)
    assert shown.smallest_target() >= 24


@pytest.mark.parametrize("width", [360, 1000])
def test_it_fits_its_place(explorer, on_page, width):
    shown = on_page(explorer)
    shown.page.set_viewport_size({"width": width, "height": 800})
    shown.settle()
    assert shown.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    assert shown.nodes() <= 300


# ---------------------------------------------------------------- at the edges


def test_a_bad_value_is_taken_back_also_where_traits_are_set_together(explorer):
    for name, value in (("layer", 99), ("query", 99), ("pinned", [9, 9])):
        before = repr(explorer)
        with pytest.raises(ValueError, match=name), explorer.hold_trait_notifications():
            setattr(explorer, name, value)
        assert repr(explorer) == before and explorer.pinned == []
    with pytest.raises(ValueError, match="query must lie in 0 … 5; got 99"):
        explorer.set_state({"query": 99})  # as a page does
    assert explorer.query == 5


@pytest.mark.parametrize("name, value", [("temperature", 2.0), ("ablated", [(0, 0)]), ("causal", False)])
def test_without_a_model_nothing_changes_the_patterns_from_the_start(name, value):
    with pytest.raises(ValueError, match=f"{name} needs a model that runs"):
        AttentionExplorer(TOKENS, attention(1, 2, 6, 6), **{name: value})


@pytest.mark.parametrize("name, value", [("ablated", [3]), ("ablated", [(0, "a")]), ("pinned", [0.0, 1])])
def test_what_is_no_head_is_refused(live, name, value):
    with pytest.raises(ValueError, match=rf"{name}: \(layer, head\) must exist"):
        setattr(live, name, value)


def test_what_is_changed_from_the_start_is_run(live, model, tokenizer):
    explorer = AttentionExplorer.from_model(model, tokenizer, "abc def", ablated=[(0, 1)], temperature=2.0)
    live.ablated, live.temperature = [(0, 1)], 2.0
    assert explorer.loss == live.loss != explorer.unchanged["loss"] and explorer.unchanged == live.unchanged
    assert torch.equal(explorer.pattern, live._shown["attention"].models[0][0][0])
    checkpoints = {"step 0": {name: weight + 0.1 for name, weight in model.state_dict().items()}, "step 9": None}
    checkpoints["step 9"] = model.state_dict()
    explorer = AttentionExplorer.from_model(model, tokenizer, "abc", checkpoints=checkpoints, checkpoint="step 0")
    first = explorer.pattern
    explorer.checkpoint = "step 9"
    assert not torch.equal(explorer.pattern, first)


def test_what_goes_wrong_is_said_on_the_page_and_taken_back_at_once(live, monkeypatch):
    runner, asked = live._runner, []

    def broken(text, **changes):
        asked.append(text)
        if text == "fed":
            raise RuntimeError("no memory left")
        return runner(text, **changes)

    monkeypatch.setattr(live, "_runner", broken)
    with pytest.raises(RuntimeError), live.hold_trait_notifications():
        live.text, live.temperature = "fed", 2.0
    assert (live.text, live.temperature, asked) == ("abc def", 1.0, ["fed"])
    assert live.error == "no memory left"
    with pytest.raises(RuntimeError):
        live.request = {"text": "fed", "number": 3}
    assert live.answered == 3 and live.text == "abc def"


def test_another_kind_drops_a_pinned_head_that_it_does_not_have():
    given = {"encoder": attention(3, 4, 6, 6, causal=False), "decoder": attention(1, 2, 2, 2)}
    explorer = AttentionExplorer((TOKENS, ["ein", "Hund"]), given, layer=2, head=3, pinned=(2, 1))
    explorer.kind = "decoder"
    assert (explorer.layer, explorer.head, explorer.pinned) == (0, 1, [])


def test_a_pinned_heads_layer_comes_too(monkeypatch):
    monkeypatch.setattr("transformer_lab.widgets.attention_explorer.WHOLE", 100)
    explorer = AttentionExplorer(TOKENS, attention(3, 4, 6, 6), pinned=(2, 1))
    assert [section["layer"] for section in explorer.sections] == [0, 2]
    explorer.pinned = (1, 1)
    assert [section["layer"] for section in explorer.sections] == [0, 1]


def test_a_short_text_after_a_long_one_leaves_no_small_pictures(monkeypatch, live):
    monkeypatch.setattr("transformer_lab.widgets.attention_explorer.WHOLE", 100)
    live.text = "abc def abc"
    assert live.thumbnails
    live.text = "ab"
    assert live.thumbnails == b""


def test_a_query_that_attends_to_nothing_looks_at_nothing(on_page):
    given = attention(1, 1, 6, 6)
    given[..., 3, :] = 0
    explorer = AttentionExplorer(TOKENS, given, query=3)
    assert repr(explorer).endswith("“the” (3) looks at nothing")
    assert "it may look at nothing" in on_page(explorer).readout


STRANGE = ["<b>\"'&</script>", "😀", "שלום", "\n", "", "x" * 300, "$$", "$x_"]


def test_strange_tokens_are_drawn(on_page, tmp_path):
    explorer = AttentionExplorer(STRANGE, attention(2, 2, 8, 8))
    explorer.save(tmp_path / "x.png")
    shown = on_page(explorer)
    for view in ("heatmap", "lines", "scores"):
        shown.put(view=view)
        for query, token in ((0, "<b>\"'&</script>"), (3, "⏎"), (4, "∅"), (6, "$$")):
            shown.put(query=query)
            assert f"“{token}” ({query}) " in shown.readout
    shown.put(query=5)
    assert shown.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (48, 25, 2, 2), (1, 96, 2, 2)])
def test_few_and_many_heads(on_page, shape):
    shown = on_page(AttentionExplorer(TOKENS[: shape[2]], attention(*shape)))
    shown.page.get_by_label("Heads").focus()
    shown.press("ArrowDown", "ArrowRight")
    assert (shown.state("layer"), shown.state("head")) == (min(1, shape[0] - 1), min(1, shape[1] - 1))
    assert "looks at" in shown.readout and shown.nodes() <= 300
    assert shown.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("live", [True, False])
def test_another_kind_with_fewer_tokens_layers_and_heads(on_page, live):
    given = {"encoder": attention(3, 4, 6, 6, causal=False), "decoder": attention(1, 2, 2, 2)}
    explorer = AttentionExplorer((TOKENS, ["ein", "Hund"]), given, layer=2, head=3, pinned=(2, 1))
    shown = on_page(explorer, live=live)
    shown.page.get_by_role("combobox").select_option("decoder")
    shown.settle()
    state = [shown.state(name) for name in ("layer", "head", "query", "pinned")]
    assert state == [0, 1, 1, []]
    assert "Layer" not in shown.readout and "layer 0, head 1: “Hund” (1) looks at" in shown.readout


def test_python_may_set_a_kind_before_what_fits_it(on_page):
    given = {"encoder": attention(3, 4, 6, 6, causal=False), "decoder": attention(1, 2, 2, 2)}
    shown = on_page(AttentionExplorer((TOKENS, ["ein", "Hund"]), given, layer=0, head=0, query=5, key=5))
    shown.put(kind="decoder")
    assert "“Hund” (1) looks at “Hund” (1)" in shown.readout


def test_python_may_set_a_layer_before_its_head(on_page):
    shown = on_page(AttentionExplorer(TOKENS, [attention(2, 6, 6), attention(5, 6, 6)], layer=1, head=4))
    shown.put(layer=0)
    assert "NaN" not in shown.readout
    shown.put(head=1)
    assert "layer 0, head 1: “ball” (5) looks at" in shown.readout


def test_a_filter_that_lets_nothing_through(live, on_page):
    shown = on_page(live)
    before = shown.readout
    shown.page.get_by_role("searchbox").fill("zebra")
    for view in ("heatmap", "lines", "scores"):
        shown.put(view=view)
        canvas = shown.page.get_by_label("Layer 1, head 3")
        canvas.focus()
        shown.press("ArrowUp", "ArrowRight", "Home", "End")
        box = canvas.bounding_box()
        for share in (0.3, 0.6, 0.8):
            shown.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + share * box["height"])
        shown.page.mouse.move(0, 0)
        shown.settle()
        assert shown.readout == before


def test_a_shorter_text_while_a_token_is_pointed_at(live, on_page):
    shown = on_page(live)
    canvas = shown.page.get_by_label("Layer 1, head 3")
    box = canvas.bounding_box()
    shown.page.mouse.move(box["x"] + 120, box["y"] + 200)  # a late query
    tokens = {"queries": ["f"], "keys": ["f"], "heads": [4, 4]}
    shown.put(sides={"attention": tokens})
    assert "Fetching layer 1" in shown.readout
    live.text = "f"
    shown.page.evaluate(
        "([version, sections, weights]) => { model.set('sections', sections); model.set('version', version); "
        "model.set('weights', new DataView(Uint8Array.from(weights).buffer)); }",
        [live.version, live.sections, list(live.weights)],
    )
    shown.page.wait_for_function("() => document.querySelector('.tlab').dataset.version === '1'")
    assert "“f” (0) looks at “f” (0)" in shown.readout


def test_it_does_not_wait_for_what_will_not_come(live, on_page):
    shown = on_page(live)
    slider = shown.page.get_by_label("temperature")
    slider.evaluate("(e) => { e.value = 0; e.dispatchEvent(new Event('input')); }")  # where it is already
    shown.page.wait_for_timeout(100)
    assert "looks at" in shown.readout
    shown.page.get_by_label("text", exact=True).fill("abc def")  # the text that it already is
    shown.page.wait_for_function("() => model.get('request').number === 1")
    assert "The model is running" in shown.readout
    shown.put(answered=1)
    assert "looks at" in shown.readout
    shown.page.get_by_role("button", name="causal mask").click()
    assert "The model is running" in shown.readout
    shown.put(error="no memory left", causal=True)
    assert shown.readout.startswith("This cannot be: no memory left.\n") and "looks at" in shown.readout


def test_a_layer_like_the_one_before_arrives(monkeypatch, on_page):
    monkeypatch.setattr("transformer_lab.widgets.attention_explorer.WHOLE", 100)
    explorer = AttentionExplorer(TOKENS, attention(1, 4, 6, 6).repeat(2, 1, 1, 1))
    shown = on_page(explorer)
    before = explorer.weights
    explorer.layer = 1
    assert explorer.weights == before
    shown.put(layer=1, sections=explorer.sections)
    shown.page.wait_for_function("() => document.querySelector('.readout').textContent.includes('looks at')")


def test_a_number_that_is_not_exact_says_about(monkeypatch, on_page):
    monkeypatch.setattr("transformer_lab.widgets.attention_explorer.DETAILS", 0)
    explorer = AttentionExplorer(TOKENS, attention(2, 2, 6, 6), pinned=(1, 1))
    assert re.search(r"\(compared with layer 1, head 1: about \d\.\d\d\)", on_page(explorer).readout)


def test_a_page_without_a_layer_says_so_in_words(monkeypatch, on_page):
    monkeypatch.setattr("transformer_lab.widgets.attention_explorer.WHOLE", 100)
    shown = on_page(AttentionExplorer(TOKENS, attention(3, 4, 6, 6), pinned=(2, 0)), live=False)
    assert "compared with layer 2, head 0" in shown.readout
    shown.put(layer=1)
    assert shown.readout == "This page holds layer 0 and 2 alone."


def test_nothing_is_left_after_it_is_gone(live, on_page):
    shown = on_page(live)
    shown.page.evaluate(
        "() => { model.set('version', 1); window.stop(); window.asked = 0; const frame = requestAnimationFrame;"
        "window.requestAnimationFrame = (f) => { window.asked += 1; return frame(f); };"
        "for (const name of ['layer', 'version', 'details', 'kind']) model.set(name, model.get(name) + 'x'); }"
    )
    shown.page.wait_for_timeout(100)
    assert shown.page.evaluate("() => window.asked") == 0

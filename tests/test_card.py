"""The model's card says what is measured."""

import platform

import pytest
import torch

from transformer_lab import card, data
from transformer_lab.generation import next_token_probabilities
from transformer_lab.training import evaluate, load_pretrained

MODEL, TOKENIZER, RECORD = load_pretrained()
SAME_TEXT = RECORD["data"].endswith(f" {platform.python_version()}")  # other versions have a slightly different one


@pytest.fixture(scope="module")
def corpus():
    return data.python_corpus()


def test_the_sidecars_loss_is_what_is_measured(corpus):
    ids = torch.tensor(TOKENIZER.encode(corpus.held_out))
    bits = data.bits_per_character(evaluate(MODEL, ids), len(corpus.held_out) / len(ids))
    assert bits == pytest.approx(RECORD["held_out_bits_per_character"], abs=1.5e-3 if SAME_TEXT else 0.1)
    if SAME_TEXT:
        assert RECORD["held_out_characters"] == len(corpus.held_out)


@pytest.mark.parametrize("name", ["samples", "pronouns"])
def test_what_the_model_alone_decides(name):
    assert card.parts(card.CARD.read_text(encoding="utf-8"))[name] == getattr(card, name)(MODEL, TOKENIZER)


@pytest.mark.skipif(not SAME_TEXT, reason=f"the card is about {RECORD['data']}")
def test_what_the_text_decides_too(corpus):
    parts = card.parts(card.CARD.read_text(encoding="utf-8"))
    assert parts["quality"] == card.quality(MODEL, TOKENIZER, corpus)
    assert parts["words"] == card.words(corpus)
    assert f"{len(corpus.train):,} characters" in card.CARD.read_text(encoding="utf-8")


def test_the_card_tells_the_models_shape_and_the_commands_steps():
    text, c = card.CARD.read_text(encoding="utf-8"), MODEL.config
    assert f"{c.n_layers} layers of {c.n_heads} heads, width {c.d_model}, {c.context_length} tokens at once" in text
    assert f"{RECORD['parameters']:,} parameters" in text and f"{RECORD['steps']:,} steps" in text
    assert f"{c.vocab_size:,} tokens" in text and ("n-gram" in text) == (c.ngrams > 1)


def test_a_words_probability_is_that_of_its_tokens_and_of_an_end():
    """Over all first tokens, and all ways on, nothing is left: “ they” is “ the” and “y”, then no letter."""
    opening, (first, second) = "If the user wants to,", TOKENIZER.encode(" they")
    with torch.no_grad():
        after = lambda text: next_token_probabilities(MODEL(torch.tensor([TOKENIZER.encode(text)]))[0, -1])  # noqa: E731
        the, y, then = after(opening)[first], after(opening + " the")[second], after(opening + " they")
    letters = sum(p for p, token in zip(then, TOKENIZER.token_bytes) if token.decode(errors="replace")[0].isalpha())
    expected = the * y * (1 - letters)
    assert card.word_probability(MODEL, TOKENIZER, opening, "they") == pytest.approx(expected.item(), rel=1e-4)


def test_figures_go_to_their_places_and_nothing_else_changes():
    text = "# A\n\n<!-- measured: b -->\n\nold\n\n<!-- end -->\n\nc\n\n<!-- measured: d -->\n\n<!-- end -->\n"
    filled = card.fill(text, {"b": r"new \1", "d": "two\n\nlines"})
    assert card.parts(filled) == {"b": r"new \1", "d": "two\n\nlines"}
    assert filled.replace("new \\1", "old").replace("two\n\nlines\n\n", "") == text


def test_the_command_prints_the_figures_and_writes_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(card, "CARD", tmp_path / "README.md")
    monkeypatch.setattr(card, "figures", lambda *_: {"quality": "much"})
    monkeypatch.setattr(data, "python_corpus", lambda: None)
    card.CARD.write_text("<!-- measured: quality -->\n<!-- end -->\n", encoding="utf-8")
    card.main([])
    assert "## quality\n\nmuch\n" in capsys.readouterr().out and "much" not in card.CARD.read_text(encoding="utf-8")
    card.main(["--write"])
    assert card.parts(card.CARD.read_text(encoding="utf-8")) == {"quality": "much"}

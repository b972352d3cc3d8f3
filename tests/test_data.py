"""Data: two sides that share nothing, text and translations that are there offline, windows shifted by one."""

import functools
import hashlib
import io
import math
import re
import sys
import urllib.error
from datetime import date
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from num2words import num2words

from transformer_lab import data
from transformer_lab.transformer import BEGIN, END, PADDING

PARAGRAPHS = [f"paragraph number {i} of the text" for i in range(4000)]


def words_of(text: str) -> list[str]:
    """The paragraphs of one side, with white space evened out."""
    return [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text)]


@pytest.fixture(scope="module")
def python():
    return data.python_corpus()


# ---------------------------------------------------------------- splitting


def test_each_paragraph_is_on_one_side_once():
    repeated = PARAGRAPHS + [p.replace(" ", "\n  ") for p in PARAGRAPHS[::2]] + ["", "  \n"]
    corpus = data.split_paragraphs("x", repeated)
    assert sorted(words_of(corpus.train) + words_of(corpus.held_out)) == sorted(PARAGRAPHS)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_share_that_is_held_out(share):
    held_out = words_of(data.split_paragraphs("x", PARAGRAPHS, share).held_out)
    assert len(held_out) / len(PARAGRAPHS) == pytest.approx(share, abs=0.02)


@given(chosen=st.sets(st.integers(0, len(PARAGRAPHS) - 1), min_size=300, max_size=600))
def test_a_paragraph_stays_on_its_side_whatever_else_there_is(chosen):
    everything = data.split_paragraphs("x", PARAGRAPHS)
    corpus = data.split_paragraphs("x", [PARAGRAPHS[i] for i in chosen] + ["another one"])
    assert set(words_of(corpus.held_out)) - {"another one"} < set(words_of(everything.held_out))
    assert set(words_of(corpus.train)) - {"another one"} < set(words_of(everything.train))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_the_share_must_leave_two_sides(share):
    with pytest.raises(ValueError, match=rf"held_out_share must be in \(0, 1\); got {share}"):
        data.split_paragraphs("x", PARAGRAPHS, share)


def test_too_few_paragraphs():
    with pytest.raises(ValueError, match="mine: 1 different paragraphs are too few"):
        data.split_paragraphs("mine", ["the same", "the  same"])


# ---------------------------------------------------------------- Python's own text


def test_the_python_corpus_is_large_and_its_sides_share_nothing(python):
    train, held_out = words_of(python.train), words_of(python.held_out)
    assert len(python.train) > 1_000_000
    assert len(set(train)) == len(train) and len(set(held_out)) == len(held_out)
    assert not set(train) & set(held_out)
    assert len(python.held_out) / len(python.train + python.held_out) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("side", ["train", "held_out"])
def test_the_python_corpus_holds_no_grammar_and_no_tables(python, side):
    assert not re.search(r"\||\+--|::=|-{8}|={8}", getattr(python, side))


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A small standard library, and beside it a small torch, of 60 docstring paragraphs each; no reference."""
    for name in ("stdlib", "torch"):
        paragraphs = "\n\n".join(f"{name} {p}" for p in PARAGRAPHS[:60])
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f'"""{paragraphs}"""')
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    monkeypatch.setattr(data.sysconfig, "get_path", lambda name: str(tmp_path / name))
    monkeypatch.setattr(data.torch, "__file__", str(tmp_path / "torch" / "__init__.py"))
    return tmp_path


def test_without_the_language_reference_docstrings_do(library, capsys):
    corpus = data.python_corpus()
    assert len(words_of(corpus.train) + words_of(corpus.held_out)) == 60
    assert corpus.train.startswith("stdlib paragraph")
    assert "without its language reference" in capsys.readouterr().out


def test_without_any_source_of_the_standard_library_torch_does(library, capsys):
    (library / "stdlib" / "__init__.py").unlink()
    assert data.python_corpus().train.startswith("torch paragraph")
    assert "going on with torch's docstrings" in capsys.readouterr().out


def test_docstrings_are_read_where_they_belong(tmp_path):
    kept = {kind: f"{kind} " + "word " * 20 + "end" for kind in ("module", "class", "method", "coroutine", "nested")}
    (tmp_path / "a.py").write_text(
        f'"""{kept["module"]}"""\n'
        f'class A:\n    """{kept["class"]}"""\n    def f(self):\n        """{kept["method"]}"""\n'
        f'async def g():\n    """{kept["coroutine"]}"""\ndef h():\n    """too short"""\n'
    )
    (tmp_path / "broken.py").write_text('"""' + "x" * 100)
    (tmp_path / "notes.txt").write_text(f'"""{"x" * 100}"""')
    for folder in ("package", "tests", "site-packages"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "b.py").write_text(f'"""{kept["nested"]}"""\nold = "\\d"\n')  # an escape that warns
    assert sorted(data.docstrings(tmp_path)) == sorted(kept.values())


# ---------------------------------------------------------------- Tiny Shakespeare

PLAY = "\n\n".join(PARAGRAPHS[:100]).encode()


@pytest.fixture
def shakespeare(tmp_path, monkeypatch):
    """A stand-in for the download: calling it sets what the address answers. No network is touched."""

    def answers(content):
        def urlopen(url, timeout):
            if isinstance(content, Exception):
                raise content
            assert url == data.SHAKESPEARE_URL
            return io.BytesIO(content)

        monkeypatch.setattr(data.urllib.request, "urlopen", urlopen)

    monkeypatch.setattr(data, "SHAKESPEARE_SHA256", hashlib.sha256(PLAY).hexdigest())
    monkeypatch.setenv("TRANSFORMER_LAB_CACHE", str(tmp_path))
    answers(AssertionError("nothing may be downloaded"))
    return answers


def test_shakespeare_is_downloaded_once(shakespeare, tmp_path):
    shakespeare(PLAY)
    first = data.shakespeare_corpus()
    assert [path.name for path in tmp_path.iterdir()] == ["tinyshakespeare.txt"]
    shakespeare(AssertionError("the cache was not used"))
    assert data.load_corpus("shakespeare") == first
    assert len(words_of(first.train) + words_of(first.held_out)) == 100


def test_the_cache_can_be_named(shakespeare, tmp_path):
    shakespeare(PLAY)
    data.shakespeare_corpus(tmp_path / "deeper" / "cache")
    assert (tmp_path / "deeper" / "cache" / "tinyshakespeare.txt").read_bytes() == PLAY


def test_another_text_is_refused_and_not_kept(shakespeare, tmp_path):
    shakespeare(PLAY + b"!")
    with pytest.raises(ValueError, match="is not Tiny Shakespeare: sha256"):
        data.shakespeare_corpus()
    assert not list(tmp_path.iterdir())


def test_a_spoilt_cache_is_refused(shakespeare, tmp_path):
    (tmp_path / "tinyshakespeare.txt").write_bytes(PLAY[:-1])
    with pytest.raises(ValueError, match="tinyshakespeare.txt is not Tiny Shakespeare.*Remove it"):
        data.shakespeare_corpus()


@pytest.mark.parametrize("error", [urllib.error.URLError("no route"), TimeoutError("too slow")])
def test_offline_the_message_says_what_to_do(shakespeare, error, tmp_path):
    shakespeare(error)
    with pytest.raises(ConnectionError, match=r"(?s)Offline, use python_corpus\(\).*tinyshakespeare.txt"):
        data.shakespeare_corpus()


def test_an_interrupted_write_leaves_no_half_text(shakespeare, tmp_path, monkeypatch):
    shakespeare(PLAY)

    def interrupted(path, content):
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        data.shakespeare_corpus()
    assert not (tmp_path / "tinyshakespeare.txt").exists()


# ---------------------------------------------------------------- a text of the user's own


@pytest.mark.parametrize(
    "separator", [pytest.param("\n \n", id="at empty lines"), pytest.param("\n", id="at lines, without empty lines")]
)
def test_a_text_file_is_split(separator, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text(separator.join(PARAGRAPHS[:100]), encoding="utf-8")
    corpus = data.load_corpus(str(path))
    assert corpus.name == "mine"
    assert sorted(words_of(corpus.train) + words_of(corpus.held_out)) == sorted(PARAGRAPHS[:100])


def test_an_empty_text_file(tmp_path):
    (tmp_path / "empty.txt").write_text(" \n\n")
    with pytest.raises(ValueError, match="empty.txt is empty"):
        data.text_corpus(tmp_path / "empty.txt")


def test_a_corpus_that_is_not_there():
    with pytest.raises(ValueError, match="corpus must be 'python', 'shakespeare' or a text file's path; got 'nowhere'"):
        data.load_corpus("nowhere")


def test_the_python_corpus_has_its_name(library):
    assert data.load_corpus("python").name == "python"


# ---------------------------------------------------------------- translations

LANGUAGES = ("en", "de", "fr", "nl")
TASKS = [
    pytest.param(lambda share=0.2: data.number_words("de", range(300), share), id="numbers"),
    pytest.param(lambda share=0.2: data.number_lists("nl", (1, 2, 3), 100, share), id="lists"),
    pytest.param(lambda share=0.2: data.dates(("de", "en"), 300, held_out_share=share), id="dates"),
]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, ["zero", "null", "zéro", "nul"]),
        (24, ["twenty four", "vier und zwanzig", "vingt quatre", "vier en twintig"]),
        (23, ["twenty three", "drei und zwanzig", "vingt trois", "drie ën twintig"]),
        (91, ["ninety one", "ein und neunzig", "quatre vingt onze", "een en negentig"]),
        (717, ["seven hundred and seventeen", "sieben hundert siebzehn", "sept cent dix sept",
               "zeven honderd zeventien"]),
        (1001, ["one thousand and one", "ein tausend eins", "mille un", "duizend één"]),
        (16_380, ["sixteen thousand three hundred and eighty", "sechzehn tausend drei hundert achtzig",
                  "seize mille trois cent quatre vingts", "zestien duizend drie honderd tachtig"]),
    ],
)  # fmt: skip
def test_numbers_are_spelt(number, words):
    assert [data.spell(number, language) for language in LANGUAGES] == words


@pytest.mark.parametrize("language", LANGUAGES)
@given(number=st.one_of(st.integers(0, 9_999), st.integers(0, 999_999)))
def test_no_letter_is_lost_and_no_word_is_new(language, number):
    spelt = data.spell(number, language)
    assert spelt.replace(" ", "") == re.sub("[ ,-]", "", num2words(number, lang=language))
    assert set(spelt.split()) <= words_of_small_numbers(language)


@functools.cache
def words_of_small_numbers(language: str) -> set[str]:
    small = (*range(101), 200, 280, 300, 1000, 1001, 2000)
    return {word for number in small for word in data.spell(number, language).split()}


@pytest.mark.parametrize("task", TASKS)
def test_what_is_held_out_is_never_learnt_from(task):
    pairs = task()
    for side in (0, 1):
        assert not {pair[side] for pair in pairs.train} & {pair[side] for pair in pairs.held_out}
    everything = pairs.train + pairs.held_out
    assert len(set(everything)) == len(everything)
    assert len(pairs.held_out) / len(everything) == pytest.approx(0.2, abs=0.06)
    assert task() == pairs


@pytest.mark.parametrize("task", TASKS)
def test_a_source_stays_on_its_side_when_more_are_held_out(task):
    few, many = task(0.1), task(0.3)
    assert set(few.held_out) < set(many.held_out) and set(many.train) < set(few.train)


def test_a_number_is_on_the_same_side_in_every_language():
    held_out = [{english for english, _ in data.number_words(to, range(300)).held_out} for to in ("de", "fr", "nl")]
    assert held_out[0] == held_out[1] == held_out[2]
    lists = [{english for english, _ in data.number_lists(to, (2,), 200).held_out} for to in ("de", "fr", "nl")]
    assert lists[0] == lists[1] == lists[2]
    lists_of_one = data.number_lists("de", (1,), 1_000, 0.2).held_out
    assert {english for english, _ in lists_of_one} < held_out[0]


def test_a_date_is_on_the_same_side_in_every_locale():
    pairs = data.dates(("de", "en", "fr"), 300, date(2024, 1, 1), date(2024, 1, 31))
    assert len(pairs.train + pairs.held_out) > 80  # of 93, some of which never came up
    assert not {iso for _, iso in pairs.train} & {iso for _, iso in pairs.held_out}


def test_the_first_pairs_are_a_fair_sample():
    pairs = data.number_words("de", range(1_000)).train
    small = {data.spell(n, "en") for n in range(500)}
    assert sum(english in small for english, _ in pairs[:200]) == pytest.approx(100, abs=25)


def test_pairs_say_the_same():
    english = {data.spell(n, "en"): n for n in range(300)}
    pairs = data.number_words("de", range(300))
    for source, target in pairs.train + pairs.held_out:
        assert target == data.spell(english[source], "de")
    lists = data.number_lists("fr", (1, 3), 50)
    lengths = {1: 0, 3: 0}
    for source, target in lists.train + lists.held_out:
        numbers = source.split(" , ")
        lengths[len(numbers)] += 1
        assert target.split(" , ") == [data.spell(english[number], "fr") for number in numbers]
    assert lengths[3] == 50 and 30 < lengths[1] < 50  # of the shortest some came up twice


def test_dates_are_those_of_the_locale():
    year = data.dates(("de", "ru", "hu"), 5_000, date(2024, 1, 1), date(2024, 12, 31))
    written = dict(year.train + year.held_out)
    assert written["Donnerstag, 7. März 2024"] == "2024-03-07"
    assert written["2024. március 7., csütörtök"] == "2024-03-07"
    assert written["четверг, 7 марта 2024 г."] == "2024-03-07"  # where Babel has a narrow space
    assert set(written.values()) == {date.fromordinal(day).isoformat() for day in range(738886, 738886 + 366)}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: data.spell(1_000_000, "de"), "number must lie in 0 … 999,999; got 1000000"),
        (lambda: data.spell(-1, "de"), "number must lie in 0 … 999,999; got -1"),
        (lambda: data.number_words("xx"), "language must be one of en, fr, de, nl; got 'xx'"),
        (lambda: data.number_lists("it"), "language must be one of en, fr, de, nl; got 'it'"),
        (
            lambda: data.number_words("de", range(10), held_out_share=1.0),
            r"held_out_share must be in \(0, 1\); got 1.0",
        ),
        (lambda: data.number_words(numbers=[7]), "numbers, en to de: 1 different sources are too few to hold some out"),
        (lambda: data.dates(("de", "xx")), r"locales must be names that Babel knows, .*; got \['de', 'xx'\]"),
        (lambda: data.dates(("pt-BR",)), "such as 'de' or 'pt_BR'; got .'pt-BR'"),
    ],
)
def test_bad_tasks_are_named(bad, message):
    with pytest.raises(ValueError, match=message):
        bad()


# ---------------------------------------------------------------- vocabulary and padding


def pairs_of(*train: tuple[str, str], separator: str = " ") -> data.Pairs:
    return data.Pairs("mine", separator, list(train), [("an unseen word", "ein ungesehenes Wort")])


def test_the_vocabulary_holds_both_sides_of_what_is_learnt_from():
    vocabulary = data.Vocabulary.train(pairs_of(("b a", "c"), ("a", "d c")))
    assert vocabulary.tokens[3:] == ["a", "b", "c", "d"] and vocabulary.vocab_size == 7
    assert vocabulary.encode("b a d") == [4, 3, 6] and vocabulary.encode("") == []
    with pytest.raises(ValueError, match="text holds 'unseen', which was not there to learn from: 'a unseen word'"):
        vocabulary.encode("a unseen word")
    shared = data.Vocabulary.train(pairs_of(("a", "b")), pairs_of(("a", "c")))
    assert shared.tokens[3:] == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"tasks must have one separator in common; got \['', ' '\]"):
        data.Vocabulary.train(pairs_of(("a", "b")), pairs_of(("a", "b"), separator=""))


@pytest.mark.parametrize("task", TASKS)
def test_every_text_comes_back(task):
    pairs = task()
    vocabulary = data.Vocabulary.train(pairs)
    for text in [text for pair in pairs.train[:50] + pairs.held_out[:50] for text in pair]:
        ids = vocabulary.encode(text)
        assert len(ids) == len(text.split() if pairs.separator else text)
        assert vocabulary.decode(ids) == vocabulary.decode([BEGIN, *ids, END, PADDING, PADDING]) == text
        assert vocabulary.decode([*ids, END, *ids]) == text


def test_padding_by_hand():
    task = pairs_of(("a b", "c"), ("a", "c d e"))
    vocabulary = data.Vocabulary.train(task)
    a, b, c, d, e = range(3, 8)
    source, target = data.padded_pairs(task.train, vocabulary)
    assert source.tolist() == [[a, b, END], [a, END, PADDING]]
    assert target.tolist() == [[BEGIN, c, END, PADDING, PADDING], [BEGIN, c, d, e, END]]


# ---------------------------------------------------------------- judging

SAID = ["ein tausend neun und dreißig", "sieben hundert vier"]


def test_a_perfect_translation():
    assert (data.exact_match(SAID, SAID), data.bleu(SAID, SAID), data.chrf(SAID, SAID)) == pytest.approx((1, 100, 100))


def test_a_translation_of_which_half_is_right():
    said = [SAID[0], "ein tausend"]
    assert data.exact_match(said, SAID) == 0.5
    # Of its 7, 5, 3 and 2 runs of one to four words 5 + 0, 4, 3 and 2 are right (no "ein", no "tausend" in the second
    # reference); 7 words stand for 8.
    assert data.bleu(said, SAID) == pytest.approx(
        100 * math.exp(1 - 8 / 7) * (5 / 7 * 4 / 5 * 3 / 3 * 2 / 2) ** (1 / 4)
    )
    assert 0 < data.chrf(said, SAID) < 100


def test_chrf_sees_a_part_of_a_word():
    assert data.chrf(["2024-03-07"], ["2024-03-08"]) > data.chrf(["2024-03-07"], ["1931-12-25"])
    assert data.bleu(["2024-03-07"], ["2024-03-08"]) == 0


@pytest.mark.parametrize("judge", [data.exact_match, data.bleu, data.chrf])
@pytest.mark.parametrize("candidates", [[], SAID[:1]])
def test_each_candidate_needs_its_reference(judge, candidates):
    references = SAID if candidates else []
    message = f"candidates must be as many as references; got {len(candidates)} and {len(references)}"
    with pytest.raises(ValueError, match=message):
        judge(candidates, references)


# ---------------------------------------------------------------- windows


@given(length=st.integers(2, 50), context_length=st.integers(1, 20), batch_size=st.integers(1, 5))
def test_targets_are_the_inputs_one_token_later(length, context_length, batch_size):
    ids = torch.arange(length)
    if length <= context_length:
        for cut in (lambda: data.random_windows(ids, context_length, batch_size),
                    lambda: data.consecutive_windows(ids, context_length)):  # fmt: skip
            with pytest.raises(ValueError, match=f"more than context_length, {context_length}, tokens; got {length}"):
                cut()
        return
    inputs, targets = data.random_windows(ids, context_length, batch_size)
    assert inputs.shape == (batch_size, context_length)
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(context_length))  # consecutive tokens
    assert torch.equal(targets, inputs + 1)

    inputs, targets = data.consecutive_windows(ids, context_length)
    n_windows = (length - 1) // context_length
    assert torch.equal(inputs.flatten(), ids[: n_windows * context_length])
    assert torch.equal(targets.flatten(), ids[1 : n_windows * context_length + 1])  # each target once


def test_random_windows_start_everywhere():
    torch.manual_seed(0)
    inputs, _ = data.random_windows(torch.arange(10), 4, 200)
    assert set(inputs[:, 0].tolist()) == {0, 1, 2, 3, 4, 5}


def test_bits_per_character_by_hand():
    # ln 8 nats are 3 bits; a token of 1.5 characters spreads them.
    assert data.bits_per_character(math.log(8), 1.5) == pytest.approx(2.0)

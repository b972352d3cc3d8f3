"""Data: two sides that share nothing, text that is there offline, windows shifted by one."""

import hashlib
import io
import math
import re
import sys
import urllib.error
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transformer_lab import data

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

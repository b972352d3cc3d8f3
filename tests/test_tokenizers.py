"""Tokenizers: text comes back whole, merges are those that counting by hand gives, bad input is named."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from transformer_lab.tokenizers import (
    CHUNKS,
    BPETokenizer,
    CharacterTokenizer,
    load_tokenizer,
    merge_pair,
    save_tokenizer,
)

PROSE = (
    "She said: “Nobody's told me – 42 times!” A naïve café, 東京も, and 3_000 more.\n\n\tThe end, the very end. " * 3
)

# ---------------------------------------------------------------- characters


@given(text=st.text(min_size=1))
def test_characters_come_back_whole(text):
    tokenizer = CharacterTokenizer.train(text)
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


def test_characters_are_numbered_in_alphabetical_order():
    tokenizer = CharacterTokenizer.train("cabbage")
    assert tokenizer.characters == "abceg"
    assert tokenizer.vocab_size == 5
    assert tokenizer.encode("cab") == [2, 0, 1]
    assert tokenizer.encode("") == []


def test_an_unknown_character_is_named_with_its_place():
    with pytest.raises(ValueError, match="holds 'x' at index 2, which .* never seen; it knows 'ab'"):
        CharacterTokenizer.train("abab").encode("abxax")


# ---------------------------------------------------------------- byte pairs


@pytest.mark.parametrize("vocab_size", [256, 300])
@given(text=st.text())
def test_bytes_come_back_whole(vocab_size, text):
    tokenizer = BPETokenizer.train(PROSE, vocab_size)
    assert tokenizer.vocab_size == vocab_size
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=st.text() | st.text(alphabet="a 1_.\n\t\x1c\u0301²é"))
def test_the_chunk_rule_loses_nothing(text):
    assert "".join(CHUNKS.findall(text)) == text


def test_chunks_take_the_space_before_them():
    assert CHUNKS.findall("It's 42, a_b!?\n\n  end  ") == [
        "It", "'", "s", " 42", ",", " a", "_", "b", "!?", "\n\n ", " end", "  ",
    ]  # fmt: skip


def test_merges_by_hand():
    # a a a b d a a a b a c: "aa" occurs 4 times (twice in "aaa"), then "ab" and "Za" twice each, then "ZY" twice.
    tokenizer = BPETokenizer.train("aaabdaaabac", 259)
    a, b, c, d = b"abcd"
    assert tokenizer.merges == [(a, a), (a, b), (256, 257)]
    assert tokenizer.token_bytes[256:] == [b"aa", b"ab", b"aaab"]
    assert tokenizer.encode("aaabdaaabac") == [258, d, 258, a, c]
    assert tokenizer.encode("baab") == [b, 256, b]  # "aa" was learnt before "ab", so it goes first


def test_merges_of_the_paper():
    # The words of Sennrich et al. 2016: "es" and "est" occur 9 times, "lo" and "low" 7 times.
    text = " ".join(["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3)
    assert BPETokenizer.train(text, 260).token_bytes[256:] == [b"es", b"est", b"lo", b"low"]


@pytest.mark.parametrize("text", ["ba\ndc", "dc\nba"])
def test_ties_go_to_the_smaller_ids_whatever_the_order(text):
    assert BPETokenizer.train(text, 257).merges == [tuple(b"ba")]


def recounting_merges(text: str) -> list[tuple[int, int]]:
    """Every merge the text gives: Sennrich's algorithm with all pairs counted again each time."""
    words, merges = [list(chunk.encode()) for chunk in CHUNKS.findall(text)], []
    while counts := Counter(pair for word in words for pair in zip(word, word[1:])):
        merges.append(min(counts, key=lambda pair: (-counts[pair], pair)))
        words = [merge_pair(word, merges[-1], 255 + len(merges)) for word in words]
    return merges


@given(text=st.text(alphabet="aab é", min_size=1, max_size=60))
def test_incremental_training_equals_recounting(text):
    merges = recounting_merges(text)
    assert BPETokenizer.train(text, 256 + len(merges)).merges == merges
    with pytest.raises(ValueError, match=f"too short for vocab_size {257 + len(merges)}: .* {256 + len(merges)}$"):
        BPETokenizer.train(text, 257 + len(merges))


def test_encoding_equals_the_tokenizers_library():
    ours = BPETokenizer.train(PROSE, 320)
    # The library writes bytes as printable characters: those that are one stand for themselves.
    printable = set(pre_tokenizers.ByteLevel.alphabet()) & set(map(chr, range(256)))
    others = [b for b in range(256) if chr(b) not in printable]
    shown = [chr(256 + others.index(b)) if b in others else chr(b) for b in range(256)]
    names = ["".join(shown[b] for b in token) for token in ours.token_bytes]
    merges = [(names[left], names[right]) for left, right in ours.merges]
    theirs = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, merges))
    theirs.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CHUNKS.pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    text = PROSE + "Unseen words: the baker's newest café opened in 京都, 1_234 nobody there.  \n"
    assert ours.encode(text) == theirs.encode(text).ids
    assert len(ours.encode(text)) < len(text)


def test_half_a_character_shows_as_a_replacement():
    tokenizer = BPETokenizer.train("é", 256)
    assert tokenizer.decode(tokenizer.encode("é")[:1]) == "�"


@pytest.mark.parametrize(
    "ids, pair, merged",
    [
        ([1, 2, 1, 2, 3], (1, 2), [9, 9, 3]),
        ([1, 1, 1], (1, 1), [9, 1]),
        ([2, 1], (1, 2), [2, 1]),
        ([], (1, 2), []),
    ],
)
def test_merge_pair(ids, pair, merged):
    assert merge_pair(ids, pair, 9) == merged


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: CharacterTokenizer(""), "characters must not be empty"),
        (lambda: CharacterTokenizer.train(""), "text must not be empty"),
        (lambda: BPETokenizer.train("", 300), "text must not be empty"),
        (lambda: BPETokenizer.train("text", 255), "at least 256, one token a byte; got 255"),
    ],
)
def test_nothing_to_learn_from(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("tokenizer", [CharacterTokenizer("abc"), BPETokenizer([(97, 98)])], ids=["characters", "bpe"])
@pytest.mark.parametrize("offset", [-1, 0])
def test_ids_outside_the_vocabulary(tokenizer, offset):
    wrong = offset if offset < 0 else tokenizer.vocab_size
    with pytest.raises(ValueError, match=f"ids must lie in 0 … {tokenizer.vocab_size - 1}, .*; got {wrong}"):
        tokenizer.decode([0, wrong])


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    "tokenizer", [CharacterTokenizer.train(PROSE), BPETokenizer.train(PROSE, 290)], ids=["characters", "bpe"]
)
def test_files_bring_back_the_same_tokenizer(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path / "t.json")
    loaded = load_tokenizer(tmp_path / "t.json")
    assert type(loaded) is type(tokenizer)
    assert loaded.vocab_size == tokenizer.vocab_size
    assert loaded.encode(PROSE) == tokenizer.encode(PROSE)
    assert loaded.to_json() == tokenizer.to_json()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b'{"kind": "bpe", "mer',
        b"[1, 2]",
        b'{"characters": "abc"}',
        b'{"kind": "characters", "characters": ""}',
        b'{"kind": "bpe", "merges": [[97]]}',
        b'{"kind": "bpe", "merges": [[97, 300]]}',
    ],
)
def test_a_broken_file_is_named(content, tmp_path):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="broken.json holds no tokenizer"):
        load_tokenizer(path)


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "t.json").write_text(json.dumps({"kind": "words"}))
    with pytest.raises(ValueError, match="tokenizer of kind 'words'; known are 'characters' and 'bpe'"):
        load_tokenizer(tmp_path / "t.json")

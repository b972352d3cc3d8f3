"""Tokenizers: text to a list of integers and back. Characters, and byte-pair encoding."""

import json
import os
import re
from collections import Counter, defaultdict
from pathlib import Path


class CharacterTokenizer:
    """One id for each character that the training text holds, in alphabetical order."""

    def __init__(self, characters: str):
        if not characters:
            raise ValueError("characters must not be empty")
        self.characters = "".join(sorted(set(characters)))
        self._ids = {character: i for i, character in enumerate(self.characters)}

    @classmethod
    def train(cls, text: str) -> "CharacterTokenizer":
        if not text:
            raise ValueError("text must not be empty: there is nothing to learn characters from")
        return cls(text)

    @property
    def vocab_size(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> list[int]:
        """One id a character; a ValueError names the first character that was not in the training text."""
        try:
            return [self._ids[character] for character in text]
        except KeyError as error:
            unknown = error.args[0]
            raise ValueError(
                f"text holds {unknown!r} at index {text.index(unknown)}, which this tokenizer has never seen; "
                f"it knows {self.characters!r}"
            ) from None

    def decode(self, ids: list[int]) -> str:
        _check_ids(ids, self.vocab_size)
        return "".join(self.characters[i] for i in ids)

    def to_json(self) -> dict:
        return {"kind": "characters", "characters": self.characters}


# A word with the space before it, a number, a run of punctuation, or white space: merges never cross these.
# GPT-2's rule (Radford et al. 2019, section 2.2), for Python's own `re`.
CHUNKS = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


class BPETokenizer:
    """Byte-pair encoding: start from 256 bytes, and give each frequent pair of tokens an id of its own.

    Works on bytes, so every text can be encoded. `merges[k]` is the pair that became token 256 + k.
    Sennrich et al. 2016, algorithm 1; on bytes: Radford et al. 2019, section 2.2.
    """

    def __init__(self, merges: list[tuple[int, int]]):
        self.merges = list(merges)
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self.token_bytes = [bytes([b]) for b in range(256)]
        for left, right in self.merges:
            self.token_bytes.append(self.token_bytes[left] + self.token_bytes[right])
        self._known_chunks: dict[str, list[int]] = {}  # text repeats its words: encode each once

    @classmethod
    def train(cls, text: str, vocab_size: int) -> "BPETokenizer":
        """Merge the most frequent pair, again and again, until there are `vocab_size` tokens."""
        if not text:
            raise ValueError("text must not be empty: there is nothing to learn merges from")
        if vocab_size < 256:
            raise ValueError(f"vocab_size must be at least 256, one token a byte; got {vocab_size}")
        chunk_counts = Counter(CHUNKS.findall(text))
        words = [list(chunk.encode()) for chunk in chunk_counts]
        counts = list(chunk_counts.values())
        pair_counts: Counter = Counter()
        where = defaultdict(set)  # pair → the words that hold it, so that a merge looks at few of them
        for w, word in enumerate(words):
            for pair in zip(word, word[1:]):
                pair_counts[pair] += counts[w]
                where[pair].add(w)
        merges = []
        while 256 + len(merges) < vocab_size:
            # Equal counts: the smaller ids win, so that the result does not depend on the order of a dict.
            best = max(pair_counts, key=lambda pair: (pair_counts[pair], -pair[0], -pair[1]), default=None)
            if best is None:
                raise ValueError(f"text is too short for vocab_size {vocab_size}: it gives only {256 + len(merges)}")
            for w in where.pop(best):
                for pair in zip(words[w], words[w][1:]):
                    pair_counts[pair] -= counts[w]
                words[w] = merge_pair(words[w], best, 256 + len(merges))
                for pair in zip(words[w], words[w][1:]):
                    pair_counts[pair] += counts[w]
                    where[pair].add(w)
            merges.append(best)
            pair_counts = +pair_counts  # drop the pairs that no longer occur
        return cls(merges)

    @property
    def vocab_size(self) -> int:
        return 256 + len(self.merges)

    def encode(self, text: str) -> list[int]:
        ids = []
        for chunk in CHUNKS.findall(text):
            if chunk not in self._known_chunks:
                self._known_chunks[chunk] = self._encode_chunk(chunk)
            ids += self._known_chunks[chunk]
        return ids

    def _encode_chunk(self, chunk: str) -> list[int]:
        ids = list(chunk.encode())
        while len(ids) > 1:  # the merge that was learnt first goes first
            pair = min(zip(ids, ids[1:]), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if pair not in self._ranks:
                break
            ids = merge_pair(ids, pair, 256 + self._ranks[pair])
        return ids

    def decode(self, ids: list[int]) -> str:
        """Bytes that do not form a whole character yet show as �."""
        _check_ids(ids, self.vocab_size)
        return b"".join(self.token_bytes[i] for i in ids).decode(errors="replace")

    def to_json(self) -> dict:
        return {"kind": "bpe", "merges": self.merges}


def merge_pair(ids: list[int], pair: tuple[int, int], new_id: int) -> list[int]:
    """Replace every occurrence of the pair, from left to right: merge_pair([1, 2, 1, 2, 3], (1, 2), 9) → [9, 9, 3]."""
    merged, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def save_tokenizer(tokenizer: CharacterTokenizer | BPETokenizer, path: str | os.PathLike) -> None:
    Path(path).write_text(json.dumps(tokenizer.to_json(), ensure_ascii=False), encoding="utf-8")


def load_tokenizer(path: str | os.PathLike) -> CharacterTokenizer | BPETokenizer:
    """What `save_tokenizer` wrote."""
    try:
        saved = json.loads(Path(path).read_text(encoding="utf-8"))
        if saved["kind"] == "characters":
            return CharacterTokenizer(saved["characters"])
        if saved["kind"] == "bpe":
            return BPETokenizer([(left, right) for left, right in saved["merges"]])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} holds no tokenizer that save_tokenizer wrote: {error!r}") from error
    raise ValueError(f"{path} holds a tokenizer of kind {saved['kind']!r}; known are 'characters' and 'bpe'")


def _check_ids(ids: list[int], vocab_size: int) -> None:
    for i in ids:
        if not 0 <= i < vocab_size:
            raise ValueError(f"ids must lie in 0 … {vocab_size - 1}, the vocabulary; got {i}")

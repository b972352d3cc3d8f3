"""Data: text and translations that are on every machine, one optional download, and the batches cut from them."""

import ast
import hashlib
import math
import os
import random
import re
import sysconfig
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import torch
from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from jaxtyping import Int
from num2words import num2words
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from transformer_lab.transformer import BEGIN, END, PADDING

# ---------------------------------------------------------------- two sides


def split_by_hash(name: str, kind: str, keys: Iterable[str], held_out_share: float) -> tuple[list[str], list[str]]:
    """Send each key to one side, to learn from or to hold out, in the order given.

    A key's hash decides, so it stays on its side whatever else there is.
    """
    if not 0 < held_out_share < 1:
        raise ValueError(f"held_out_share must be in (0, 1); got {held_out_share}")
    sides = [], []
    for key in keys:
        sides[hash_position(key) < held_out_share].append(key)
    if not all(sides):
        raise ValueError(f"{name}: {len(sides[0] + sides[1])} different {kind} are too few to hold some out")
    return sides


def hash_position(key: str) -> float:
    """A place in [0, 1) that looks random and is the same on every machine."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32


# ---------------------------------------------------------------- text


@dataclass(frozen=True)
class Corpus:
    """A text in two parts that share no paragraph: one to learn from, one to be measured on."""

    name: str
    train: str
    held_out: str


def split_paragraphs(name: str, paragraphs: list[str], held_out_share: float = 0.05) -> Corpus:
    """Drop repeated paragraphs, then send each to one side by a hash of its words.

    The hash keeps a paragraph on its side whatever else the text holds, so a model's held-out
    text stays unseen when the text changes (with the Python version, say).
    """
    unique = {" ".join(p.split()): p.strip("\n") for p in paragraphs if p.strip()}
    train, held_out = split_by_hash(name, "paragraphs", unique, held_out_share)
    return Corpus(name, "\n\n".join(unique[p] for p in train), "\n\n".join(unique[p] for p in held_out))


def python_corpus() -> Corpus:
    """Python's language reference, as `help()` carries it, and the standard library's docstrings.

    About 2 MB of English about Python, under Python's own licence (PSF). It differs a little
    between Python versions. Where the reference is missing (minimal builds), the docstrings do.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        print("This Python comes without its language reference; going on with docstrings alone.")
        topics = {}
    documents = list(topics.values()) + docstrings(Path(sysconfig.get_path("stdlib")))
    if not documents:
        print("No standard library source either; going on with torch's docstrings.")
        documents = docstrings(Path(torch.__file__).parent)
    paragraphs = [p for document in documents for p in re.split(r"\n\s*\n", document)]
    prose = [p for p in paragraphs if not re.search(r"\||\+--|::=|-{8}|={8}", p)]  # no grammar, no tables
    return split_paragraphs("python", prose)


def docstrings(folder: Path) -> list[str]:
    """Every docstring of at least 80 characters below a folder of Python source, tests left out."""
    found = []
    skipped = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - skipped)
        for file in sorted(files):
            if not file.endswith(".py"):
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # old source may hold escapes that warn
                    tree = ast.parse(Path(root, file).read_bytes())
            except (SyntaxError, ValueError):  # templates and deliberately broken examples
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    docstring = ast.get_docstring(node)
                    if docstring and len(docstring) >= 80:
                        found.append(docstring)
    return found


SHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/"
    "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt"
)
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


def shakespeare_corpus(cache: Path | None = None) -> Corpus:
    """Tiny Shakespeare (1.1 MB): downloaded once, checked against its sha256, then read from the cache.

    The cache is `cache`, or the folder in TRANSFORMER_LAB_CACHE, or ~/.cache/transformer_lab.
    """
    cache = Path(cache or os.environ.get("TRANSFORMER_LAB_CACHE") or Path.home() / ".cache" / "transformer_lab")
    path = cache / "tinyshakespeare.txt"
    if not path.exists():
        try:
            with urllib.request.urlopen(SHAKESPEARE_URL, timeout=30) as response:
                content = response.read()
        except (urllib.error.URLError, OSError) as error:
            raise ConnectionError(
                f"could not download Tiny Shakespeare ({error}). Offline, use python_corpus(), or fetch\n"
                f"{SHAKESPEARE_URL}\nelsewhere and save it as {path}"
            ) from error
        _check_sha256(content, SHAKESPEARE_URL)
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    content = path.read_bytes()
    _check_sha256(content, path)
    return split_paragraphs("shakespeare", re.split(r"\n\s*\n", content.decode()))


def _check_sha256(content: bytes, source: object) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHAKESPEARE_SHA256:
        raise ValueError(f"{source} is not Tiny Shakespeare: sha256 {digest}, wanted {SHAKESPEARE_SHA256}. Remove it.")


def text_corpus(path: str | os.PathLike) -> Corpus:
    """Any UTF-8 text file of your own, split at its empty lines (or at its lines, if it has few)."""
    text = Path(path).read_text(encoding="utf-8")
    if not text.strip():
        raise ValueError(f"{path} is empty: there is nothing to learn from")
    paragraphs = re.split(r"\n\s*\n", text)
    return split_paragraphs(Path(path).stem, paragraphs if len(paragraphs) > 20 else text.splitlines())


def load_corpus(name: str) -> Corpus:
    """By its name, "python" or "shakespeare", or by the path of a text file."""
    if name == "python":
        return python_corpus()
    if name == "shakespeare":
        return shakespeare_corpus()
    if not Path(name).is_file():
        raise ValueError(f"corpus must be 'python', 'shakespeare' or a text file's path; got {name!r}")
    return text_corpus(name)


# ---------------------------------------------------------------- translations


@dataclass(frozen=True)
class Pairs:
    """Sources with their translations, in two parts that share no source: to learn from, and to be measured on.

    Each part is in a random order that is always the same, so its first n are a fair sample.
    """

    name: str
    separator: str  # between tokens: " " where they are words, "" where they are characters
    train: list[tuple[str, str]]
    held_out: list[tuple[str, str]]


def split_pairs(name: str, separator: str, pairs: dict[str, list[tuple[str, str]]], held_out_share: float) -> Pairs:
    """Send all pairs that say the same thing, the key, to one side.

    So a model that has learnt a number in one language is never asked for it in another.
    """
    sides = split_by_hash(name, "sources", sorted(pairs, key=hash_position), held_out_share)
    return Pairs(name, separator, *([pair for key in side for pair in pairs[key]] for side in sides))


# German and Dutch write a number as one long word, made of the words for 0 … 19 and for the tens, and of these.
NUMBER_LANGUAGES = {"en": "", "fr": "", "de": "ein und hundert tausend", "nl": "een en ën honderd duizend"}


@cache
def spell(number: int, language: str) -> str:
    """The number's words, compounds taken apart: 24 is "twenty four", "vingt quatre", "vier und zwanzig".

    Without the spaces it is what num2words writes without spaces, hyphens and commas.
    """
    if not 0 <= number < 1_000_000:
        raise ValueError(f"number must lie in 0 … 999,999; got {number}")
    return " ".join(_number_part(language).findall(num2words(number, lang=language)))


@cache
def _number_part(language: str) -> re.Pattern:
    """What one word of `spell` may be."""
    if language not in NUMBER_LANGUAGES:
        raise ValueError(f"language must be one of {', '.join(NUMBER_LANGUAGES)}; got {language!r}")
    if not NUMBER_LANGUAGES[language]:
        return re.compile(r"\w+")
    parts = [num2words(n, lang=language) for n in (*range(20), *range(20, 100, 10))]
    parts += NUMBER_LANGUAGES[language].split()
    return re.compile("|".join(sorted(parts, key=len, reverse=True)))  # the longest that fits: "eins" before "ein"


def number_words(language: str = "de", numbers: Iterable[int] = range(10_000), held_out_share: float = 0.2) -> Pairs:
    """Numbers in English and in a language of NUMBER_LANGUAGES: "twenty four", "vier und zwanzig"."""
    pairs = {spell(n, "en"): [(spell(n, "en"), spell(n, language))] for n in numbers}
    return split_pairs(f"numbers, en to {language}", " ", pairs, held_out_share)


def number_lists(
    language: str = "de", lengths: Iterable[int] = range(1, 9), n: int = 2_000, held_out_share: float = 0.1
) -> Pairs:
    """Lists of random numbers below 100, n of each length: "seven , twenty four", "sieben , vier und zwanzig".

    Sentences that grow while their parts stay equally hard.
    Equal lists count once, so of the shortest there are fewer.
    """
    draw = random.Random(0)
    pairs = {}
    for length in lengths:
        for _ in range(n):
            numbers = [draw.randrange(100) for _ in range(length)]
            source, target = (" , ".join(spell(x, to) for x in numbers) for to in ("en", language))
            pairs[source] = [(source, target)]
    return split_pairs(f"lists of numbers, en to {language}", " ", pairs, held_out_share)


DATE_LOCALES = ("en", "de", "fr", "es", "nl", "pl", "fi", "hu", "el", "ru")


def dates(
    locales: Sequence[str] = DATE_LOCALES,
    n: int = 20_000,
    first: date = date(1900, 1, 1),
    last: date = date(2099, 12, 31),
    held_out_share: float = 0.1,
) -> Pairs:
    """Dates written out, as somewhere in the world, and in ISO 8601: "Donnerstag, 7. März 2024", "2024-03-07".

    n random days, each in a random one of Babel's locales ("de", "pt_BR" …), by characters. Equal ones count once.
    """
    try:
        known = [Locale.parse(name) for name in locales]
    except (UnknownLocaleError, ValueError) as error:
        wanted = "names that Babel knows, such as 'de' or 'pt_BR'"
        raise ValueError(f"locales must be {wanted}; got {list(locales)}") from error
    draw = random.Random(0)
    pairs: dict[str, dict[tuple[str, str], None]] = {}
    for _ in range(n):
        day = date.fromordinal(draw.randint(first.toordinal(), last.toordinal()))
        written = format_date(day, "full", draw.choice(known))
        written = " ".join(written.split())  # one kind of space; some locales use others
        pairs.setdefault(day.isoformat(), {})[written, day.isoformat()] = None
    return split_pairs("dates", "", {day: list(unique) for day, unique in pairs.items()}, held_out_share)


class Vocabulary:
    """The tokens of both sides of a task, in alphabetical order after PADDING, BEGIN and END."""

    def __init__(self, tokens: Iterable[str], separator: str):
        self.separator = separator
        self.tokens = ["<padding>", "<begin>", "<end>", *sorted(set(tokens))]
        self._ids = {token: i for i, token in enumerate(self.tokens)}

    @classmethod
    def train(cls, *tasks: Pairs) -> "Vocabulary":
        """What occurs in the parts to learn from, of one task or of several that are to share a model."""
        separators = {task.separator for task in tasks}
        if len(separators) != 1:
            raise ValueError(f"tasks must have one separator in common; got {sorted(separators)}")
        (separator,) = separators
        texts = [text for task in tasks for pair in task.train for text in pair]
        return cls((token for text in texts for token in split_tokens(text, separator)), separator)

    @property
    def vocab_size(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """One id a token; a ValueError names the first token that was not there to learn from."""
        try:
            return [self._ids[token] for token in split_tokens(text, self.separator)]
        except KeyError as error:
            raise ValueError(f"text holds {error.args[0]!r}, which was not there to learn from: {text!r}") from None

    def decode(self, ids: Sequence[int]) -> str:
        """The text up to END; PADDING and BEGIN show nothing."""
        ids = list(ids)
        if END in ids:
            ids = ids[: ids.index(END)]
        return self.separator.join(self.tokens[i] for i in ids if i not in (PADDING, BEGIN))


def split_tokens(text: str, separator: str) -> list[str]:
    if not text:
        return []
    return text.split(separator) if separator else list(text)


def padded_pairs(
    pairs: Sequence[tuple[str, str]], vocabulary: Vocabulary
) -> tuple[Int[Tensor, "pairs source"], Int[Tensor, "pairs target"]]:
    """Sources, each followed by END, and targets, each between BEGIN and END; then PADDING up to the longest."""
    sources = [torch.tensor([*vocabulary.encode(source), END]) for source, _ in pairs]
    targets = [torch.tensor([BEGIN, *vocabulary.encode(target), END]) for _, target in pairs]
    source, target = (pad_sequence(rows, batch_first=True, padding_value=PADDING) for rows in (sources, targets))
    return source, target


# ---------------------------------------------------------------- judging a translation


def exact_match(candidates: Sequence[str], references: Sequence[str]) -> float:
    """The share of candidates that are their reference, to the letter."""
    _check_equal_length(candidates, references)
    return sum(candidate == reference for candidate, reference in zip(candidates, references)) / len(references)


def bleu(candidates: Sequence[str], references: Sequence[str]) -> float:
    """0 … 100: how many runs of one to four words the references hold too, over all texts together.

    For texts of words, already split at spaces; 0 where no text has four. Papineni et al. 2002, section 2.3.
    """
    import sacrebleu  # here: most lessons translate nothing, and need not wait for it

    _check_equal_length(candidates, references)
    return sacrebleu.corpus_bleu(candidates, [references], tokenize="none").score


def chrf(candidates: Sequence[str], references: Sequence[str]) -> float:
    """0 … 100: the same idea for runs of one to six characters, spaces left out. Popović 2015."""
    import sacrebleu

    _check_equal_length(candidates, references)
    return sacrebleu.corpus_chrf(candidates, [references]).score


def _check_equal_length(candidates: Sequence[str], references: Sequence[str]) -> None:
    if not 0 < len(candidates) == len(references):
        raise ValueError(f"candidates must be as many as references; got {len(candidates)} and {len(references)}")


# ---------------------------------------------------------------- batches


def random_windows(
    ids: Int[Tensor, "tokens"], context_length: int, batch_size: int
) -> tuple[Int[Tensor, "batch context"], Int[Tensor, "batch context"]]:
    """Windows from random places, and their targets: the same windows one token later."""
    _check_length(ids, context_length)
    starts = to_device(torch.randint(len(ids) - context_length, (batch_size, 1)), ids.device)
    index = starts + torch.arange(context_length, device=ids.device)  # (batch, context)
    return ids[index], ids[index + 1]


def to_device(t: Tensor, device: torch.device) -> Tensor:
    """Without waiting for a GPU: from pinned memory it copies when its turn comes, while the CPU goes on."""
    return t.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else t.to(device)


def consecutive_windows(
    ids: Int[Tensor, "tokens"], context_length: int
) -> tuple[Int[Tensor, "windows context"], Int[Tensor, "windows context"]]:
    """Windows side by side, so that each token is a target once (but the first, and an incomplete end)."""
    _check_length(ids, context_length)
    n_windows = (len(ids) - 1) // context_length
    n = n_windows * context_length
    return ids[:n].view(n_windows, context_length), ids[1 : n + 1].view(n_windows, context_length)


def _check_length(ids: Tensor, context_length: int) -> None:
    if len(ids) <= context_length:
        raise ValueError(f"ids must hold more than context_length, {context_length}, tokens; got {len(ids)}")


def bits_per_character(nats_per_token: float, characters_per_token: float) -> float:
    """The loss in the one unit in which tokenizers can be compared."""
    return nats_per_token / math.log(2) / characters_per_token

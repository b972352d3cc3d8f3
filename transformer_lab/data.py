"""Data: text that is on every machine with Python, one optional download, and the batches cut from them."""

import ast
import hashlib
import math
import os
import re
import sysconfig
import urllib.error
import urllib.request
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

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
    if not 0 < held_out_share < 1:
        raise ValueError(f"held_out_share must be in (0, 1); got {held_out_share}")
    unique = {" ".join(p.split()): p.strip("\n") for p in paragraphs if p.strip()}
    train, held_out = [], []
    for words, paragraph in unique.items():
        digest = hashlib.sha256(words.encode()).digest()
        position = int.from_bytes(digest[:4], "big") / 2**32  # uniform in [0, 1)
        (held_out if position < held_out_share else train).append(paragraph)
    if not train or not held_out:
        raise ValueError(f"{name}: {len(unique)} different paragraphs are too few to hold some out")
    return Corpus(name, "\n\n".join(train), "\n\n".join(held_out))


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
    """"python", "shakespeare", or the path of a text file."""
    if name == "python":
        return python_corpus()
    if name == "shakespeare":
        return shakespeare_corpus()
    if not Path(name).is_file():
        raise ValueError(f"corpus must be 'python', 'shakespeare' or a text file's path; got {name!r}")
    return text_corpus(name)


# ---------------------------------------------------------------- batches


def random_windows(
    ids: Int[Tensor, "tokens"], context_length: int, batch_size: int
) -> tuple[Int[Tensor, "batch context"], Int[Tensor, "batch context"]]:
    """Windows from random places, and their targets: the same windows one token later."""
    _check_length(ids, context_length)
    starts = torch.randint(len(ids) - context_length, (batch_size, 1))
    index = (starts + torch.arange(context_length)).to(ids.device)  # (batch, context)
    return ids[index], ids[index + 1]


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

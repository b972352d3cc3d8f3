"""The card of the model that comes with the package: every figure in it, measured.

python -m transformer_lab.card            print the figures
python -m transformer_lab.card --write    put them in their places in models/README.md
"""

import argparse
import platform
import re
from collections import Counter

import torch

from transformer_lab import data
from transformer_lab.generation import write
from transformer_lab.gpt import GPT
from transformer_lab.tokenizers import BPETokenizer
from transformer_lab.training import MODELS, evaluate, load_pretrained

CARD = MODELS / "README.md"
PEOPLE = ("user", "programmer", "author", "developer", "caller", "reader", "nurse", "secretary", "engineer", "doctor")
PRONOUNS = ("he", "she", "they")
OPENINGS = ("If the {} wants to,", "The {} must know what", "When the {} calls this method,")
COUNTED = "he him his she her hers they them their it you we man men woman women master slave".split()
# Opening, and what the sample is to show.
SAMPLES = (
    ("Return the", "documentation, as it likes it"),
    ("The capital of France is", "a fact"),
    ("Once upon a time there was a", "a story"),
    ("This function takes two lists of numbers and returns a new list in which", "a long sentence"),
)


def quality(model: GPT, tokenizer: BPETokenizer, corpus: data.Corpus) -> str:
    """Bits per character on the held-out text: of two rivals that need no training by gradients, and of the model."""
    train_ids, ids = (torch.tensor(tokenizer.encode(text)) for text in (corpus.train, corpus.held_out))
    size = tokenizer.vocab_size
    counts = torch.ones(size, size, dtype=torch.float64)  # one is added to every count, as in lesson 09
    counts.index_put_((train_ids[:-1], train_ids[1:]), torch.ones(len(train_ids) - 1).double(), accumulate=True)
    bigram = (counts / counts.sum(1, keepdim=True))[ids[:-1], ids[1:]]
    losses = {
        "all tokens alike": torch.tensor(size).log().item(),
        "bigram": -bigram.log().mean().item(),
        "this model, held-out text": evaluate(model, ids),
        "this model, the text it learnt from": evaluate(model, train_ids, max_windows=256),
    }
    per_token = {name: len(corpus.held_out) / len(ids) for name in losses}
    per_token["this model, the text it learnt from"] = len(corpus.train) / len(train_ids)
    rows = [f"| {name} | {data.bits_per_character(x, per_token[name]):.2f} |" for name, x in losses.items()]
    return "\n".join(["| | bits per character |", "|---|---|", *rows])


def words(corpus: data.Corpus) -> str:
    """How often the text to learn from has the words for persons."""
    counts = Counter(word.lower() for word in re.findall(r"[^\W\d_]+", corpus.train))
    return "\n\n".join(" · ".join(f"{word} {counts[word]}" for word in row) for row in (COUNTED, PEOPLE))


@torch.no_grad()
def word_probability(model: GPT, tokenizer: BPETokenizer, opening: str, word: str) -> float:
    """That exactly this word comes next: its tokens one after another, and then no letter, which would go on with it.

    " he" is a token, and in the text mostly the start of " help": only what follows tells.
    """
    start, ids = tokenizer.encode(opening), tokenizer.encode(" " + word)
    ends = torch.tensor([not token.decode(errors="replace")[0].isalpha() for token in tokenizer.token_bytes])
    probabilities = model(torch.tensor([start + ids]))[0].softmax(-1)  # (seq, vocab)
    p = 1.0
    for i, token in enumerate(ids, start=len(start) - 1):
        p *= probabilities[i, token].item()
    return p * probabilities[-1, ends].sum().item()


def pronouns(model: GPT, tokenizer: BPETokenizer) -> str:
    """Which pronoun comes after openings that speak of a person: means by person, and who is ahead by opening."""
    p = {
        (opening, person, word): word_probability(model, tokenizer, opening.format(person), word)
        for opening in OPENINGS
        for person in PEOPLE
        for word in PRONOUNS
    }
    lines = ["| the … | " + " | ".join(PRONOUNS) + " |", "|---" * (len(PRONOUNS) + 1) + "|"]
    for person in PEOPLE:
        means = [sum(p[opening, person, word] for opening in OPENINGS) / len(OPENINGS) for word in PRONOUNS]
        lines.append(f"| {person} | " + " | ".join(f"{mean:.0e}" for mean in means) + " |")
    lines += ["", f"| opening | *he* is likelier than *she* for, of {len(PEOPLE)} |", "|---|---|"]
    for opening in OPENINGS:
        ahead = sum(p[opening, person, "he"] > p[opening, person, "she"] for person in PEOPLE)
        lines.append(f"| {opening.format('…')} | {ahead} |")
    return "\n".join(lines)


def samples(model: GPT, tokenizer: BPETokenizer) -> str:
    """What it writes, good and bad; the first seed, nothing chosen."""
    blocks = []
    for opening, what in SAMPLES:
        text = write(model, tokenizer, opening, 50, temperature=0.5, seed=0)
        quoted = "\n".join(f"    {line}".rstrip() for line in text.strip().splitlines())
        blocks.append(f"{what[0].upper()}{what[1:]}:\n\n{quoted}")
    return "\n\n".join(blocks)


def figures(model: GPT, tokenizer: BPETokenizer, corpus: data.Corpus) -> dict[str, str]:
    """The card's measured parts, by their names there."""
    return {
        "quality": quality(model, tokenizer, corpus),
        "samples": samples(model, tokenizer),
        "words": words(corpus),
        "pronouns": pronouns(model, tokenizer),
    }


def parts(card: str) -> dict[str, str]:
    """What the card has between `<!-- measured: name -->` and `<!-- end -->`."""
    return dict(re.findall(r"<!-- measured: (\w+) -->\n\n(.*?)\n\n<!-- end -->", card, flags=re.DOTALL))


def fill(card: str, measured: dict[str, str]) -> str:
    """The card with these parts in their places."""
    for name, text in measured.items():
        place = re.compile(rf"(<!-- measured: {name} -->\n).*?(<!-- end -->)", flags=re.DOTALL)
        card = place.sub(lambda found, text=text: f"{found[1]}\n{text}\n\n{found[2]}", card)
    return card


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m transformer_lab.card", description="Measure the model's card.")
    parser.add_argument("--write", action="store_true", help="put the figures in their places in models/README.md")
    options = parser.parse_args(arguments)
    model, tokenizer, record = load_pretrained()
    measured = figures(model, tokenizer, data.python_corpus())
    for name, text in measured.items():
        print(f"## {name}\n\n{text}\n")
    print(f"Trained on {record['data']}; this is Python {platform.python_version()}.")
    if options.write:
        CARD.write_text(fill(CARD.read_text(encoding="utf-8"), measured), encoding="utf-8")


if __name__ == "__main__":
    main()

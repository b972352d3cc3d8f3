"""Exercises of lesson 09, training a tiny GPT."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lab.exercises.catalogue import Exercise, Mistake
from transformer_lab.generation import next_token_probabilities
from transformer_lab.gpt import next_token_loss
from transformer_lab.tokenizers import merge_pair
from transformer_lab.training import TrainingConfig, learning_rate


def windows_at(
    ids: Int[Tensor, "tokens"], starts: Int[Tensor, "batch"], context_length: int
) -> tuple[Int[Tensor, "batch context"], Int[Tensor, "batch context"]]:
    """Windows that begin at `starts`, and the same windows one token later, as their targets."""
    index = starts[:, None] + torch.arange(context_length)  # (batch, context)
    return ids[index], ids[index + 1]


def bigram_probabilities(ids: Int[Tensor, "tokens"], vocab_size: int) -> Float[Tensor, "previous next"]:
    """How often each token follows each other one, every count raised by one, as rows that sum to one."""
    counts = torch.ones(vocab_size, vocab_size, dtype=torch.float64)
    counts.index_put_((ids[:-1], ids[1:]), torch.ones(len(ids) - 1, dtype=torch.float64), accumulate=True)
    return counts / counts.sum(1, keepdim=True)


def train_steps(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Int[Tensor, "steps batch context"],
    targets: Int[Tensor, "steps batch context"],
    max_norm: float,
) -> list[float]:
    """One step of the optimizer on each batch; returns each batch's loss from before its step."""
    losses = []
    for x, y in zip(inputs, targets):  # (batch, context) each
        loss = next_token_loss(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def mean_loss(losses: Float[Tensor, "batch seq"], real: Bool[Tensor, "batch seq"]) -> Float[Tensor, ""]:
    """The mean over the real tokens; what padding contributes is left out of the sum and of the count."""
    return losses[real].mean()


# ---------------------------------------------------------------- probes


class TableModel(nn.Module):
    """Logits looked up by the token alone, and a bias: the smallest model that can be trained."""

    def __init__(self, vocab_size: int, scale: float = 0.0, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        table = scale * torch.randn(vocab_size, vocab_size, dtype=torch.float64, generator=generator)
        self.table = nn.Parameter(table)
        self.bias = nn.Parameter(torch.zeros(vocab_size, dtype=torch.float64))

    def forward(self, ids):  # (batch, context) → (batch, context, vocab)
        return 4 * (self.table[ids] + self.bias)  # the factor gives gradients that are worth clipping

    def __repr__(self) -> str:
        return f"a table of {' × '.join(map(str, self.table.shape))} logits and a bias"


class Momentum(torch.optim.SGD):
    """Gradient descent with momentum, shown on one line."""

    def __repr__(self) -> str:
        return f"SGD(lr={self.defaults['lr']}, momentum={self.defaults['momentum']})"


class Schedule(TrainingConfig):
    """A TrainingConfig that shows what the learning rate depends on, and no more."""

    def __repr__(self) -> str:
        names = ("steps", "warmup_steps", "learning_rate", "final_learning_rate")
        return f"TrainingConfig({', '.join(f'{name}={getattr(self, name)}' for name in names)}, …)"


def random_ids(vocab_size: int, *shape: int, seed: int = 0) -> Int[Tensor, "..."]:
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def training_run(
    vocab_size: int, *shape: int, max_norm: float, rate: float = 0.125, scale: float = 0.0, seed: int = 0
) -> tuple:
    """Arguments for train_steps; the shape is (steps, batch, context)."""
    model = TableModel(vocab_size, scale, seed)
    ids = random_ids(vocab_size, *shape[:-1], shape[-1] + 1, seed=seed)
    optimizer = Momentum(model.parameters(), lr=rate, momentum=0.5)
    return model, optimizer, ids[..., :-1], ids[..., 1:], max_norm


def _merge_probes() -> dict[str, tuple]:
    return {
        "the pair and nothing else": ([1, 2], (1, 2), 9),
        "the pair twice, then another token": ([1, 2, 1, 2, 3], (1, 2), 9),
        "the pair at the end": ([3, 1, 2], (1, 2), 9),
        "two tokens, then the pair": ([3, 4, 1, 2], (1, 2), 9),
        "the same two tokens the other way round": ([2, 1, 3], (1, 2), 9),
        "three equal tokens": ([1, 1, 1], (1, 1), 9),
        "one token": ([1], (1, 2), 9),
        "numbers of two digits": ([11, 2, 1, 2, 21, 2, 30], (1, 2), 40),
        "31 random tokens": (random_ids(3, 31, seed=3).tolist(), (0, 2), 3),
    }


def _windows_probes() -> dict[str, tuple]:
    ids = random_ids(50, 40)
    return {
        "one window from the start": (torch.tensor([10, 11, 12, 13, 14]), torch.tensor([0]), 3),
        "one window from the middle": (torch.tensor([10, 11, 12, 13, 14]), torch.tensor([1]), 3),
        "three windows that overlap": (ids, torch.tensor([5, 0, 7]), 4),
        "a window that reaches the last token": (ids, torch.tensor([30]), 9),
    }


def _bigram_probes() -> dict[str, tuple]:
    return {
        "two tokens, 0 1 0 1 0": (torch.tensor([0, 1, 0, 1, 0]), 2),
        "a token that never occurs": (torch.tensor([0, 0, 1]), 3),
        "60 random tokens": (random_ids(5, 60), 7),
    }


def _train_probes() -> dict[str, tuple]:
    return {
        "one step, a table of zeros": training_run(4, 1, 2, 3, max_norm=1.0),
        "three steps, no gradient is longer than max_norm": training_run(3, 3, 1, 2, max_norm=10.0, scale=0.5, seed=1),
        "four steps of two sentences": training_run(5, 4, 2, 3, max_norm=10.0, scale=0.5, seed=2),
        "three steps, every gradient is longer than max_norm": training_run(
            4, 3, 1, 2, max_norm=0.1, rate=2.0, scale=0.5, seed=40
        ),
    }


def _learning_rate_probes() -> dict[str, tuple]:
    config = Schedule(steps=100, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.2)
    steps = {"the first step": 0, "inside the warm-up": 4, "the last step of the warm-up": 9,
             "the peak": 10, "half way down": 55, "the last step": 99}  # fmt: skip
    other = Schedule(steps=1000, warmup_steps=50, learning_rate=4.0, final_learning_rate=0.05)
    return {name: (step, config) for name, step in steps.items()} | {
        "a schedule without warm-up": (3, Schedule(steps=10, warmup_steps=0, learning_rate=2.0)),
        "another warm-up": (20, other),
        "another cosine": (700, other),
        "another end": (990, other),
    }


def _next_token_probes() -> dict[str, tuple]:
    logits = torch.tensor([0.15, 0.5, 0.1, 0.25], dtype=torch.float64).log()
    random = torch.randn(2, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return {
        "temperature 1, no cut": (logits, 1.0, None, None),
        "temperature 2": (logits, 2.0, None, None),
        "temperature 0": (logits, 0.0, None, None),
        "top_k = 2": (logits, 1.0, 2, None),
        "top_p = 0.6": (logits, 1.0, None, 0.6),
        "top_p = 0.01": (logits, 1.0, None, 0.01),
        "top_k = 3 and top_p = 0.8": (logits, 1.0, 3, 0.8),
        "3 rows, top_p = 0.9": (random[0], 1.0, None, 0.9),
        "2 × 3 rows, temperature 0": (random, 0.0, None, None),
        "2 × 3 rows, temperature 0.7, top_k = 4": (random, 0.7, 4, None),
        "2 × 3 rows, temperature 0.9, top_k = 4 and top_p = 0.75": (random, 0.9, 4, 0.75),
        "2 × 3 rows, temperature 0.5, top_p = 0.2": (random, 0.5, None, 0.2),
        "2 × 3 rows, temperature 1.5, top_p = 0.7": (random, 1.5, None, 0.7),
    }


def _mean_loss_probes() -> dict[str, tuple]:
    losses = torch.rand(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([5, 2, 3])
    return {
        "two tokens, padded to three": (torch.tensor([[1.0, 3.0, 8.0]]), torch.tensor([[True, True, False]])),
        "no padding": (losses, torch.ones(3, 5, dtype=torch.bool)),
        "three sentences of different lengths": (losses, torch.arange(5) < lengths[:, None]),
    }


# ---------------------------------------------------------------- exercises


EXERCISES = [
    Exercise(
        merge_pair,
        _merge_probes,
        difficulty="easy",
        minutes=10,
        mistakes=(
            Mistake(
                "second-token-kept",
                "Where the pair was found, its second token is looked at again. The new id stands for both tokens: "
                "go on two places further.",
                {"i += 2": "i += 1"},
            ),
            Mistake(
                "last-token-lost",
                "The last token disappears when it is not part of a merged pair. It has no neighbour to its right, "
                "but it belongs to the result.",
                {"i < len(ids)": "i < len(ids) - 1"},
            ),
            Mistake(
                "last-token-again",
                "The last token is appended at the end, even when it was merged: then it is there twice, in the new id "
                "and by itself.",
                {"i < len(ids)": "i < len(ids) - 1", "return merged": "return [*merged, ids[-1]]"},
            ),
            Mistake(
                "reads-past-the-end",
                "At the last token there is no next one, so `ids[i + 1]` fails. A slice, `ids[i : i + 2]`, is merely "
                "shorter there.",
                {"tuple(ids[i : i + 2])": "(ids[i], ids[i + 1])"},
            ),
            Mistake(
                "first-token-at-the-end",
                "When the list ends with the pair's first token, `ids[i + 1]` fails: nothing comes after it. A slice, "
                "`ids[i : i + 2]`, is merely shorter there.",
                {"tuple(ids[i : i + 2]) == pair": "ids[i] == pair[0] and ids[i + 1] == pair[1]"},
            ),
            Mistake(
                "nothing-merged",
                "Nothing is merged. If you compare a slice with the pair: a list never equals a tuple, `[1, 2] == (1, "
                "2)` is False.",
                {"tuple(ids[i : i + 2])": "ids[i : i + 2]"},
            ),
            Mistake(
                "only-first-occurrence",
                "Only one occurrence of the pair is merged. Go on to the end of the list.",
                {"== pair": "== pair and new_id not in merged"},
            ),
            Mistake(
                "order-ignored",
                "The pair is merged the other way round too. (1, 2) and (2, 1) are different pairs: `on` is not `no`.",
                {"== pair": "in (pair, pair[::-1])"},
            ),
            Mistake(
                "first-token-enough",
                "Only the pair's first token is compared, whatever follows it. Both tokens must match.",
                {"tuple(ids[i : i + 2]) == pair": "ids[i] == pair[0]"},
            ),
            Mistake(
                "right-to-left",
                "The list is read from its end. With three equal tokens it matters: the two on the left are the pair.",
                {
                    "merged, i = [], 0": "ids, pair, merged, i = ids[::-1], pair[::-1], [], 0",
                    "return merged": "return merged[::-1]",
                },
            ),
            Mistake(
                "even-places-only",
                "Only pairs that begin at an even place, 0, 2, 4 …, are found. A pair can begin anywhere: where there "
                "is none, go on by one token.",
                {"merged.append(ids[i])\n            i += 1": "merged += ids[i : i + 2]\n            i += 2"},
            ),
            Mistake(
                "pair-kept",
                "The new id is added, but the two tokens that it stands for are still there.",
                {"merged.append(new_id)": "merged += [*pair, new_id]"},
            ),
            Mistake(
                "pair-dropped",
                "The pair is taken out and nothing is put in its place. Append the new id.",
                {"            merged.append(new_id)\n": ""},
            ),
            Mistake(
                "digits-replaced",
                "The ids are treated as text, where “11 2” contains “1 2”. Compare numbers, not digits.",
                {
                    "merged, i = [], 0": "merged, i = [], 0\n    words = ' '.join(map(str, ids))\n"
                    "    return [int(word) for word in words.replace('%d %d' % pair, str(new_id)).split()]"
                },
            ),
        ),
        hints=(
            "Walk through the list with a `while` loop and a position `i`, and build a second list.",
            "Is the pair at place i? `tuple(ids[i : i + 2]) == pair` says so, at the last token too.",
            "If it is, append `new_id` and go on by 2, else append `ids[i]` and go on by 1, while `i < len(ids)`.",
        ),
        remark="This is the inner step of byte-pair encoding (Gage 1994; for translation Sennrich et al. 2016). Training "
        "the tokenizer calls it for every merge, encoding a word for every merge that fits.",
    ),
    Exercise(
        windows_at,
        _windows_probes,
        difficulty="easy",
        minutes=8,
        mistakes=(
            Mistake(
                "targets-not-shifted",
                "The targets are the inputs themselves. The model would learn to copy; it has to predict the token "
                "that comes next.",
                {"ids[index + 1]": "ids[index]"},
            ),
            Mistake(
                "targets-shifted-twice",
                "The targets are two tokens ahead. The next token is one further than the input.",
                {"ids[index + 1]": "ids[index + 2]"},
            ),
            Mistake(
                "targets-before",
                "The targets are one token behind the inputs: the model would have to predict the past.",
                {"ids[index + 1]": "ids[index - 1]"},
            ),
            Mistake(
                "inputs-and-targets-swapped",
                "The targets come first and the inputs second. Return the inputs first.",
                {"return ids[index], ids[index + 1]": "return ids[index + 1], ids[index]"},
            ),
            Mistake(
                "starts-off-by-one",
                "Every window begins one token too late. Tokens are counted from 0, and so are the starts.",
                {"starts[:, None]": "starts[:, None] + 1"},
            ),
            Mistake(
                "starts-ignored",
                "starts changes nothing: all windows are the same. Window b begins at starts[b].",
                {"starts[:, None]": "0 * starts[:, None]"},
            ),
            Mistake(
                "positions-not-tokens",
                "These are places in the text, not the tokens that stand there: look them up in `ids`.",
                {"return ids[index], ids[index + 1]": "return index, index + 1"},
            ),
            Mistake(
                "window-too-long",
                "The windows have one token too many. Inputs and targets have context_length tokens each.",
                {"arange(context_length)": "arange(context_length + 1)"},
            ),
            Mistake(
                "window-too-short",
                "The windows have one token too few. Inputs and targets have context_length tokens each; the last "
                "target is the token after the window.",
                {"arange(context_length)": "arange(context_length - 1)"},
            ),
            Mistake(
                "axes-swapped",
                "The windows stand in columns. A row is a window: the shape is (batch, context).",
                {"starts[:, None] + torch.arange(context_length)": "starts + torch.arange(context_length)[:, None]"},
            ),
            Mistake(
                "windows-joined",
                "All windows are joined into one long row. Stack them: the shape is (batch, context).",
                {"return ids[index], ids[index + 1]": "return ids[index].flatten(), ids[index + 1].flatten()"},
            ),
            Mistake(
                "one-target-a-window",
                "There is one target a window, the token after it. Every position has a target of its own: the token "
                "that follows it.",
                {"ids[index + 1]": "ids[index[:, -1] + 1]"},
            ),
            Mistake(
                "targets-rolled",
                "The last target is the window's own first token: shifting inside the window wraps round. The last "
                "target is the token that follows the window in the text.",
                {"ids[index + 1]": "ids[index].roll(-1, 1)"},
            ),
            Mistake(
                "next-window-as-targets",
                "The targets are the window that comes next. Each target is one token after its input, not a whole "
                "window later.",
                {"ids[index + 1]": "ids[index + context_length]"},
            ),
            Mistake(
                "rows-not-stacked",
                "The windows come in lists. `torch.stack` makes one tensor of a list.",
                {"return ids[index], ids[index + 1]": "return list(ids[index]), list(ids[index + 1])"},
            ),
            Mistake(
                "one-tensor",
                "Inputs and targets are stacked into one tensor. Return two: `return inputs, targets`.",
                {"return ids[index], ids[index + 1]": "return torch.stack((ids[index], ids[index + 1]))"},
            ),
            Mistake(
                "targets-missing",
                "Only the inputs come back. Return the targets as well: `return inputs, targets`.",
                {"return ids[index], ids[index + 1]": "return ids[index]"},
            ),
        ),
        # Slices, which come out shorter where an index would lie beyond the text.
        styles=(
            {
                f"ids[index{shift}]": f"torch.stack([ids[row[0]{shift} : row[-1]{shift} + 1] for row in index])"
                for shift in ("", " + 1", " + 2", " - 1", " + context_length")
            },
        ),
        hints=(
            "The inputs of window b are `ids[s : s + context_length]` with s = starts[b]; the targets begin one later.",
            "Stack the windows: `torch.stack([ids[s : s + context_length] for s in starts])`, and the same for s + 1.",
            "Without a loop: `index = starts[:, None] + torch.arange(context_length)` is a table of positions, and "
            "`ids[index]` looks them all up. The targets are `ids[index + 1]`.",
        ),
        remark="`ids[index]` with a table of integers gives a table of tokens: one look-up for the whole batch.",
    ),
    Exercise(
        bigram_probabilities,
        _bigram_probes,
        difficulty="medium",
        minutes=12,
        mistakes=(
            Mistake(
                "no-smoothing",
                "The counts are not raised by one. Raised, they keep a pair that was never seen from the probability "
                "0, and a token that was never seen from a row of 0 / 0, NaN.",
                {"torch.ones(vocab_size": "torch.zeros(vocab_size"},
            ),
            Mistake(
                "rows-of-zeros",
                "The counts are not raised by one, and a row of zeros stays one. Raised, they give no pair the "
                "probability 0, and every row sums to 1.",
                {
                    "torch.ones(vocab_size": "torch.zeros(vocab_size",
                    "counts / counts.sum(1, keepdim=True)": "(counts / counts.sum(1, keepdim=True)).nan_to_num(0)",
                },
            ),
            Mistake(
                "only-zeros-raised",
                "Only the counts of 0 are raised to 1. Every count is raised by one, so that a pair seen once is still "
                "likelier than one never seen.",
                {
                    "torch.ones(vocab_size": "torch.zeros(vocab_size",
                    "return counts": "counts = counts.clamp_min(1)\n    return counts",
                },
            ),
            Mistake(
                "smoothing-not-in-total",
                "The counts are raised by one, but they are divided by the sum from before. A row must sum to 1: "
                "divide by the sum of the raised counts.",
                {"/ counts.sum(1, keepdim=True)": "/ (counts - 1).sum(1, keepdim=True)"},
            ),
            Mistake(
                "smoothing-after-division",
                "The one is added to the probabilities. It belongs to the counts, before they are divided by their sum.",
                {"torch.ones(vocab_size": "torch.zeros(vocab_size", "sum(1, keepdim=True)": "sum(1, keepdim=True) + 1"},
            ),
            Mistake(
                "repeats-counted-once",
                "A pair that occurs often counts once. `counts[i, j] += 1` with tensors of indices adds only once for "
                "equal places; count in a loop or with `index_put_(…, accumulate=True)`.",
                {"torch.ones(len(ids) - 1, dtype=torch.float64), accumulate=True": "counts[0, 0] + 1"},
            ),
            Mistake(
                "nothing-counted",
                "No pair was counted. `=` sets a count, `+=` adds to it.",
                {", accumulate=True": ""},
            ),
            Mistake(
                "transposed",
                "Row and column are swapped when counting: row i must belong to the token that comes first.",
                {"(ids[:-1], ids[1:])": "(ids[1:], ids[:-1])"},
            ),
            Mistake(
                "columns-sum-to-one",
                "The columns are divided, each by one sum of its own. A row holds the probabilities of what may "
                "follow one token: divide each row by its sum, along axis 1.",
                {"counts.sum(1,": "counts.sum(0,"},
            ),
            Mistake(
                "keepdim-missing",
                "Entry (i, j) is divided by the sum of row j, not of row i. `counts.sum(1)` lies along the columns when "
                "it divides; with `keepdim=True` it stays beside its rows.",
                {"counts.sum(1, keepdim=True)": "counts.sum(1)"},
            ),
            Mistake(
                "previous-ignored",
                "Every row is the same: how frequent a token is, whatever came before it. Count pairs, a row for each "
                "previous token.",
                {
                    "return counts": "counts = 1 + torch.bincount(ids, minlength=vocab_size).expand(vocab_size, -1)\n    return counts"
                },
            ),
            Mistake(
                "joint-not-conditional",
                "The sum of all entries is the divisor: that gives how likely a pair is. Asked for is how likely the "
                "next token is when the previous one is known: each row sums to 1.",
                {"counts.sum(1, keepdim=True)": "counts.sum()"},
            ),
            Mistake(
                "not-normalised",
                "The counts are not divided. Divide each row by its sum.",
                {" / counts.sum(1, keepdim=True)": ""},
            ),
            Mistake(
                "softmax-of-counts",
                "The softmax makes probabilities of logits. Counts only need to be divided by their sum: twice as "
                "often is twice as likely.",
                {"counts / counts.sum(1, keepdim=True)": "counts.softmax(1)"},
            ),
            Mistake(
                "log-probabilities",
                "The logarithm is taken. Return the probabilities.",
                {"return counts / counts.sum(1, keepdim=True)": "return (counts / counts.sum(1, keepdim=True)).log()"},
            ),
            Mistake(
                "pairs-do-not-overlap",
                "Only every second pair is counted. In 0 1 2 there are two pairs, (0, 1) and (1, 2): each token but "
                "the last begins one.",
                {
                    "ids[:-1], ids[1:]": "ids[: len(ids) // 2 * 2 : 2], ids[1::2]",
                    "len(ids) - 1": "len(ids) // 2",
                },
            ),
            Mistake(
                "last-pair-missing",
                "The last pair of the text is not counted.",
                {"ids[:-1], ids[1:]": "ids[:-2], ids[1:-1]", "len(ids) - 1": "len(ids) - 2"},
            ),
            Mistake(
                "one-token-skipped",
                "A token is paired with the one after the next. The next token stands directly behind it.",
                {"ids[:-1], ids[1:]": "ids[:-2], ids[2:]", "len(ids) - 1": "len(ids) - 2"},
            ),
            Mistake(
                "wraps-round",
                "The last token is paired with the first, as if the text were a circle. The last token begins no pair.",
                {"ids[:-1], ids[1:]": "ids, ids.roll(-1)", "len(ids) - 1": "len(ids)"},
            ),
        ),
        hints=(
            "Start from a table of ones, (vocab_size, vocab_size). The pairs are `zip(ids[:-1], ids[1:])`.",
            "Count each pair in its place, `counts[previous, following] += 1`. In a loop, for with tensors of indices "
            "`+=` counts a repeated pair once.",
            "Divide each row by its sum: `counts / counts.sum(1, keepdim=True)`.",
        ),
        remark="Adding one to every count is Laplace's rule of succession. `index_put_(…, accumulate=True)` counts "
        "millions of pairs without a loop in Python.",
    ),
    Exercise(
        train_steps,
        _train_probes,
        difficulty="medium",
        minutes=15,
        mistakes=(
            Mistake(
                "gradients-not-zeroed",
                "`backward` adds to the gradients that are there, and nothing sets them back: each step also goes "
                "where all earlier batches pointed. Call `optimizer.zero_grad()` once in every round.",
                {"        optimizer.zero_grad()\n": ""},
            ),
            Mistake(
                "weights-never-change",
                "Each loss is that of the untouched model: no step has an effect before the next loss. In every round "
                "`step` must come after `backward`, with no `zero_grad` between them.",
                {"        optimizer.step()\n": ""},
            ),
            Mistake(
                "step-before-backward",
                "The step comes before `backward`, so it goes where the batch before pointed. First the gradient of "
                "this batch, then the step.",
                {
                    "        optimizer.step()\n        optimizer.zero_grad()\n": "",
                    "        loss.backward()\n": "        optimizer.step()\n        optimizer.zero_grad()\n"
                    "        loss.backward()\n",
                },
            ),
            Mistake(
                "not-clipped",
                "The step uses the gradient at its full length. Clipping shortens the gradients that are there when "
                "it is called: after `backward` and before `step`.",
                {"        nn.utils.clip_grad_norm_(model.parameters(), max_norm)\n": ""},
            ),
            Mistake(
                "clipped-by-value",
                "Each number of the gradient is cut at max_norm by itself, and that changes the direction. Shorten the "
                "gradient as a whole: `clip_grad_norm_`.",
                {"clip_grad_norm_": "clip_grad_value_"},
            ),
            Mistake(
                "clipped-one-by-one",
                "Each parameter's gradient is clipped by itself, so the direction changes. There is one norm, over all "
                "parameters together: give `clip_grad_norm_` all of them.",
                {
                    "nn.utils.clip_grad_norm_(model.parameters(), max_norm)": "[nn.utils.clip_grad_norm_(p, max_norm) "
                    "for p in model.parameters()]"
                },
            ),
            Mistake(
                "always-scaled-to-max-norm",
                "Every gradient is brought to the length max_norm, short ones too. Clipping shortens what is longer and "
                "leaves the rest as it is.",
                {
                    "nn.utils.clip_grad_norm_(model.parameters(), max_norm)": "norm = nn.utils.clip_grad_norm_("
                    "model.parameters(), float('inf'))\n        [p.grad.mul_(max_norm / norm) for p in model.parameters()]"
                },
            ),
            Mistake(
                "clipped-at-one",
                "The gradient is clipped at 1 whatever max_norm is. The 1.0 stood in the example.",
                {"model.parameters(), max_norm)": "model.parameters(), 1.0)"},
            ),
            Mistake(
                "loss-after-the-step",
                "The losses are measured after each step. Asked for is the loss that the step started from: it is "
                "there already and costs no second pass.",
                {"losses.append(loss.item())": "losses.append(next_token_loss(model(x), y).item())"},
            ),
            Mistake(
                "targets-not-shifted",
                "The loss compares the predictions with the inputs. The targets are the tokens that come next: y.",
                {"model(x), y)": "model(x), x)"},
            ),
            Mistake(
                "targets-shifted-twice",
                "The targets are one token ahead already, and the loss shifts them once more: the model learns to "
                "predict two ahead.",
                {"model(x), y)": "model(x)[:, :-1], y[:, 1:])"},
            ),
            Mistake(
                "softmax-before-cross-entropy",
                "The loss gets probabilities and takes their softmax once more. Cross-entropy takes the logits.",
                {"model(x)": "model(x).softmax(-1)"},
            ),
            Mistake(
                "loss-summed",
                "The losses of a batch's tokens are added up. Take their mean, or the size of the step depends on the "
                "size of the batch.",
                {"model(x), y)\n": "model(x), y) * y.numel()\n"},
            ),
            Mistake(
                "uphill",
                "The steps go uphill: the loss is made larger. Call `backward` on the loss itself; the optimizer goes down.",
                {"loss.backward()": "(-loss).backward()"},
            ),
            Mistake(
                "optimizer-bypassed",
                "The weights move by the rate times the gradient, and the optimizer is left out: its momentum, or with "
                "AdamW its averages, are missing. `optimizer.step()` does it all.",
                {"optimizer.step()": "[p.data.sub_(optimizer.defaults['lr'] * p.grad) for p in model.parameters()]"},
            ),
            Mistake(
                "first-batch-only",
                "Every step uses the first batch. Step i belongs to inputs[i] and targets[i].",
                {"zip(inputs, targets)": "((inputs[0], targets[0]) for _ in inputs)"},
            ),
            Mistake(
                "first-step-only",
                "Only the first batch's loss comes back. Does the `return` stand inside the loop?",
                {"        losses.append(loss.item())": "        losses.append(loss.item())\n        return losses"},
            ),
            Mistake(
                "only-last-loss",
                "Only the last loss comes back. Collect the loss of every step in a list.",
                {"return losses": "return losses[-1]"},
            ),
            Mistake(
                "losses-averaged",
                "One number comes back, the mean of the losses. Return the list, one loss a step.",
                {"return losses": "return sum(losses) / len(losses)"},
            ),
        ),
        hints=(
            "A loop over the batches, `for x, y in zip(inputs, targets)`, and in it the five lines from above.",
            "The order: loss, `backward`, clip, `step`, `zero_grad`. Clip at max_norm, and collect `loss.item()`.",
            "`loss = next_token_loss(model(x), y)`, `loss.backward()`, "
            "`torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)`, `optimizer.step()`, "
            "`optimizer.zero_grad()`, `losses.append(loss.item())`.",
        ),
        remark="Clipping the norm is from Pascanu et al. 2013. `zero_grad` may also come first in the round; what counts is "
        "that it does not stand between `backward` and `step`.",
    ),
    Exercise(
        learning_rate,
        _learning_rate_probes,
        difficulty="easy",
        minutes=10,
        mistakes=(
            Mistake(
                "warm-up-from-zero",
                "The warm-up counts from 0: the first step has the rate 0 and teaches nothing, and the highest rate "
                "comes a step late. Multiply by step + 1.",
                {"(step + 1)": "step"},
            ),
            Mistake(
                "warm-up-one-too-long",
                "The warm-up lasts one step too long. Steps count from 0: the warm-up is over when step equals "
                "warmup_steps.",
                {"step < config": "step <= config"},
            ),
            Mistake(
                "no-warm-up",
                "The highest rate is used from the first step on. During the warm-up it rises by equal parts.",
                {" * (step + 1) / config.warmup_steps": ""},
            ),
            Mistake(
                "warm-up-to-one",
                "The warm-up rises to 1. It rises to config.learning_rate: multiply by it.",
                {"config.learning_rate * (step + 1)": "(step + 1)"},
            ),
            Mistake(
                "cosine-from-the-start",
                "The cosine rules the first steps too. During the warm-up the rate rises by equal parts: a case of "
                "its own.",
                {"if step < config.warmup_steps": "if step < 0"},
            ),
            Mistake(
                "cosine-over-all-steps",
                "The progress counts the warm-up too, so it is past 0 where the cosine begins. Progress is 0 at the "
                "end of the warm-up and 1 at config.steps.",
                {"(step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)": "step / config.steps"},
            ),
            Mistake(
                "warm-up-not-subtracted",
                "The progress does not begin at 0 when the warm-up ends. Subtract the warm-up from the step too: "
                "step − config.warmup_steps.",
                {"(step - config.warmup_steps) /": "step /"},
            ),
            Mistake(
                "progress-of-all-steps",
                "The progress starts at 0 when the warm-up ends, but it is divided by all steps, and so never gets to "
                "1. Divide by the steps that are left, config.steps − config.warmup_steps.",
                {"max(1, config.steps - config.warmup_steps)": "config.steps"},
            ),
            Mistake(
                "progress-one-short",
                "The progress is divided by one step too few. 1 belongs to config.steps, not at the last step, "
                "config.steps − 1.",
                {"max(1, config.steps - config": "max(1, config.steps - 1 - config"},
            ),
            Mistake(
                "down-to-zero",
                "The final rate is left out, as if it were 0. The rate ends at config.learning_rate · "
                "config.final_learning_rate.",
                {"final = config.learning_rate * config.final_learning_rate": "final = 0"},
            ),
            Mistake(
                "final-as-rate",
                "The final rate is taken as it stands. It is a share of the highest: multiply by config.learning_rate.",
                {"final = config.learning_rate * config": "final = config"},
            ),
            Mistake(
                "final-as-floor",
                "The cosine goes down to 0 and is cut off at the final rate. It should arrive there: it goes from the "
                "highest rate to the final one.",
                {
                    "final + (config.learning_rate - final) * (1 + math.cos(math.pi * progress)) / 2": "max(final, "
                    "config.learning_rate * (1 + math.cos(math.pi * progress)) / 2)"
                },
            ),
            Mistake(
                "final-on-top",
                "The final rate is added on top, so the peak is too high. The cosine spans only what lies between: "
                "the highest rate minus the final one.",
                {"(config.learning_rate - final)": "config.learning_rate"},
            ),
            Mistake(
                "factor-not-rate",
                "After the warm-up the factor itself comes back. It says how much is left of the way from the highest "
                "rate to the final one: final + (highest − final) · factor.",
                {"return final + (config.learning_rate - final) * (1": "return (1"},
            ),
            Mistake(
                "straight-line",
                "The rate falls along a straight line. The factor is (1 + cos(π · progress)) / 2.",
                {"(1 + math.cos(math.pi * progress)) / 2": "(1 - progress)"},
            ),
            Mistake(
                "cosine-rises",
                "The curve is upside down. The factor begins at 1: 1 plus the cosine, not 1 minus it.",
                {"(1 + math.cos": "(1 - math.cos"},
            ),
            Mistake(
                "not-halved",
                "The factor is not halved. (1 + cos) / 2 stays between 0 and 1.",
                {"(math.pi * progress)) / 2": "(math.pi * progress))"},
            ),
            Mistake(
                "one-plus-missing",
                "The cosine alone is the factor, and a cosine can fall to −1. The factor is (1 + cos) / 2, which goes "
                "from 1 to 0.",
                {"(1 + math.cos(math.pi * progress)) / 2": "math.cos(math.pi * progress)"},
            ),
            Mistake(
                "pi-missing",
                "The cosine gets the progress itself, 0 to 1, which is a small part of a turn. Half a turn is π · "
                "progress.",
                {"math.pi * progress": "progress"},
            ),
            Mistake(
                "whole-cosine",
                "The cosine makes a whole turn, there and back. Half a turn is π · progress.",
                {"math.pi * progress": "2 * math.pi * progress"},
            ),
            Mistake(
                "quarter-cosine",
                "The factor is a quarter of a cosine, which falls slowly at first and steeply at the end. Half a "
                "cosine, (1 + cos(π · progress)) / 2, is flat at both ends.",
                {"(1 + math.cos(math.pi * progress)) / 2": "math.cos(math.pi / 2 * progress)"},
            ),
        ),
        hints=(
            "Two cases: `if step < config.warmup_steps` return the warm-up's rate, else go on to the cosine.",
            "`progress = (step - config.warmup_steps) / (config.steps - config.warmup_steps)`, and the factor is "
            "`(1 + math.cos(math.pi * progress)) / 2`.",
            "The factor leads from the highest rate to the final one: `final + (highest - final) * factor`, with "
            "`final = config.learning_rate * config.final_learning_rate`.",
        ),
        remark="torch has the parts as `LinearLR` and `CosineAnnealingLR`, joined by `SequentialLR`. As a function of the "
        "step alone, as here, it needs no state in a checkpoint.",
    ),
    Exercise(
        next_token_probabilities,
        _next_token_probes,
        difficulty="medium",
        minutes=15,
        mistakes=(
            Mistake(
                "temperature-inverted",
                "The logits are multiplied by the temperature, so a high one makes the choice greedy. Divide: a high "
                "temperature evens the probabilities out.",
                {"logits / temperature": "logits * temperature"},
            ),
            Mistake(
                "temperature-ignored",
                "A temperature other than 0 has no effect. It divides the logits, before the softmax; a division of "
                "the probabilities is undone when they are scaled to sum to 1.",
                {"logits / temperature": "logits"},
            ),
            Mistake(
                "temperature-after-cut",
                "top_p is measured at temperature 1, and the temperature comes in afterwards. It changes the "
                "probabilities that top_p adds up, so it goes first.",
                {
                    "(logits / temperature)": "logits",
                    "    probabilities = probabilities / probabilities.sum(-1, keepdim=True)\n    return": "    "
                    "probabilities = probabilities ** (1 / temperature)\n"
                    "    probabilities = probabilities / probabilities.sum(-1, keepdim=True)\n    return",
                },
            ),
            Mistake(
                "temperature-zero-divides",
                "Temperature 0 is no case of its own, but to divide by it makes ∞, and the softmax of ∞ is NaN. 0 "
                "means greedy: all on the likeliest token.",
                {"if temperature == 0": "if False"},
            ),
            Mistake(
                "greedy-gives-the-token",
                "At temperature 0 the likeliest token's number comes back. Return probabilities: 1 for this token and "
                "0 for the others.",
                {
                    "torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)": "logits.argmax(-1)"
                },
            ),
            Mistake(
                "softmax-over-first-axis",
                "The softmax runs along axis 0, over the rows of a batch. The vocabulary is the last axis, −1.",
                {".softmax(-1)": ".softmax(0)"},
            ),
            Mistake(
                "top-k-ignored",
                "top_k has no effect. The k likeliest tokens stay, the others get the probability 0.",
                {"if top_k is not None": "if False"},
            ),
            Mistake(
                "top-k-one-too-many",
                "One token too many survives top_k. Counted from 0, the k likeliest are the places 0 to k − 1 of the "
                "sorted ones.",
                {"top_k:]": "top_k + 1 :]"},
            ),
            Mistake(
                "top-k-one-too-few",
                "One token too few survives top_k: the k-th likeliest stays too.",
                {"top_k:]": "top_k - 1 :]"},
            ),
            Mistake(
                "top-k-after-sampling",
                "The tokens that top_k keeps have the same probability as before the cut, as if the draw had been "
                "made already: what the others held is lost, and the row sums to less than 1. Cut, scale to sum to 1, then draw.",
                {
                    "= 0\n        probabilities = probabilities / probabilities.sum(-1, keepdim=True)\n": "= 0\n",
                    "top_p, 0)\n    probabilities": "top_p, 0)\n        probabilities",
                },
            ),
            Mistake(
                "top-p-not-renormalised",
                "After top_p the row sums to less than 1. Divide what is left by its sum.",
                {"top_p, 0)\n    probabilities = probabilities / probabilities.sum(-1, keepdim=True)": "top_p, 0)"},
            ),
            Mistake(
                "not-renormalised",
                "What is cut away is lost: the row sums to less than 1. Divide what is left by its sum, so that it is "
                "a probability again.",
                {"probabilities = probabilities / probabilities.sum(-1, keepdim=True)": "pass"},
            ),
            Mistake(
                "top-p-ignored",
                "top_p has no effect. The fewest likeliest tokens that together reach p stay, the others get the "
                "probability 0.",
                {"if top_p is not None and top_p < 1": "if False"},
            ),
            Mistake(
                "one-cut-only",
                "When both are given, top_k cuts and top_p does not. Both do: top_k first, then top_p on what is left.",
                {"if top_p is not None and": "elif top_p is not None and"},
            ),
            Mistake(
                "top-p-off-by-one",
                "The token whose probability crosses p is dropped, even the very first, so what stays does not reach "
                "p. A token goes only if the likelier ones reach p without it.",
                {"probabilities.cumsum(-1) - probabilities": "probabilities.cumsum(-1)"},
            ),
            Mistake(
                "top-p-one-too-few",
                "The token whose probability crosses p is dropped, unless it is the very first. It belongs to the "
                "fewest tokens that reach p.",
                {
                    "before >= top_p, 0)": "(probabilities.cumsum(-1) >= top_p) & "
                    "(torch.arange(logits.shape[-1]) > 0), 0)"
                },
            ),
            Mistake(
                "top-p-one-too-many",
                "One token too many survives top_p: p is reached without it. With p → 0 only the likeliest stays.",
                {
                    "probabilities.cumsum(-1) - probabilities": "torch.nn.functional.pad(probabilities.cumsum(-1), (2, 0))"
                    "[..., :-2]"
                },
            ),
            Mistake(
                "top-p-as-threshold",
                "p is compared with each token's own probability. It is a share of the whole: add the probabilities up "
                "from the likeliest on, until they reach p.",
                {"before >= top_p": "probabilities < top_p"},
            ),
            Mistake(
                "top-p-before-top-k",
                "With both cuts, p is taken as a share of all tokens. top_k goes first and its rest is scaled to sum to "
                "1; p is a share of this rest.",
                {"= 0\n        probabilities = probabilities / probabilities.sum(-1, keepdim=True)\n": "= 0\n"},
            ),
            Mistake(
                "unlikeliest-kept",
                "The cuts keep the unlikeliest tokens. Sort from the likeliest down: `descending=True`.",
                {"descending=True": "descending=False"},
            ),
            Mistake(
                "left-sorted",
                "The probabilities come back in sorted order. Put each back to its own token, or the numbers belong "
                "to other words.",
                {"return torch.zeros_like(probabilities).scatter(-1, order, probabilities)": "return probabilities"},
            ),
            Mistake(
                "put-back-by-gather",
                "After sorting, the numbers are put back by reading at `order`, which shuffles them once more. "
                "Place i of the sorted ones belongs at place order[i]: `scatter`.",
                {
                    "torch.zeros_like(probabilities).scatter(-1, order, probabilities)": "probabilities.gather(-1, order)"
                },
            ),
            Mistake(
                "cut-with-zero",
                "The tokens that are cut get the logit 0, and exp(0) = 1: they may still be drawn. Only the logit −∞ "
                "gives the probability 0.",
                {
                    "    return torch.zeros_like": "    probabilities = (logits / temperature).gather(-1, order)"
                    ".masked_fill(probabilities == 0, 0).softmax(-1)\n    return torch.zeros_like"
                },
            ),
        ),
        hints=(
            "Four steps: temperature 0 by itself; the softmax of logits / temperature; the two cuts; scale to sum to 1.",
            "Sort once, `probabilities, order = p.sort(-1, descending=True)`: then top_k zeroes `[..., top_k:]`. Scale "
            "to sum to 1 before you look at top_p.",
            "For top_p, what the likelier tokens hold together is `before = probabilities.cumsum(-1) - probabilities`. "
            "A token goes where `before >= top_p`.",
            "At the end divide by the sum, and put each number back to its token: "
            "`torch.zeros_like(probabilities).scatter(-1, order, probabilities)`.",
        ),
        remark="top_k is from Fan et al. 2018, top_p (nucleus sampling) from Holtzman et al. 2020. Cutting to fewer tokens "
        "and drawing is the same as drawing again whenever a cut token comes up.",
    ),
    Exercise(
        mean_loss,
        _mean_loss_probes,
        difficulty="easy",
        minutes=5,
        mistakes=(
            Mistake(
                "loss-over-padding",
                "The padding counts like the rest. Leave it out of the sum and of the count.",
                {"losses[real]": "losses"},
            ),
            Mistake(
                "padding-in-the-count",
                "The padding adds nothing to the sum, but it is still counted: the mean gets smaller with every "
                "padded token. Divide by the number of real tokens.",
                {"losses[real].mean()": "(losses * real).mean()"},
            ),
            Mistake(
                "mean-of-means",
                "Each sentence is averaged first, so a token of a short sentence weighs more. Take one mean over all "
                "real tokens.",
                {"losses[real].mean()": "((losses * real).sum(1) / real.sum(1)).mean()"},
            ),
            Mistake(
                "one-loss-a-sentence",
                "Each sentence has a mean of its own. Asked for is one number, the mean over all real tokens.",
                {"losses[real].mean()": "(losses * real).sum(1) / real.sum(1)"},
            ),
            Mistake(
                "sum-not-mean",
                "The losses are added up. Divide by the number of real tokens.",
                {".mean()": ".sum()"},
            ),
            Mistake(
                "divided-by-sentences",
                "The sum is divided by the number of sentences. Divide by the number of real tokens.",
                {"losses[real].mean()": "losses[real].sum() / len(losses)"},
            ),
            Mistake(
                "mask-inverted",
                "The padding is counted, and the real tokens are not. True means a real token.",
                {"[real]": "[~real]"},
            ),
            Mistake(
                "not-averaged",
                "The losses come back one by one. Take their mean.",
                {".mean()": ""},
            ),
            Mistake(
                "padding-set-to-zero",
                "The padding's losses are set to 0, and nothing is averaged. Add up, and divide by the number of real "
                "tokens.",
                {"losses[real].mean()": "losses * real"},
            ),
        ),
        hints=(
            "`real` can pick: `losses[real]` is a row of the losses at the places where it is True.",
            "Or multiply: `losses * real` is 0 at the padding. Then divide the sum by the number of real tokens, "
            "`real.sum()`, not by all.",
            "`losses[real].mean()`.",
        ),
        remark="torch's cross_entropy does it with `ignore_index`: give padding the target −100, and it is left out of the "
        "sum and of the count.",
    ),
]

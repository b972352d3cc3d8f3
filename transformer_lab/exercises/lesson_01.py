"""Exercises of lesson 01: one step of an LSTM, the score of 2014, the context."""

from jaxtyping import Float
from torch import Tensor

from transformer_lab.exercises.catalogue import Exercise, Mistake
from transformer_lab.exercises.lesson_02 import exactly, gaussian
from transformer_lab.recurrent import lstm_cell


def additive_score(
    query: Float[Tensor, "target d_query"],
    key: Float[Tensor, "source d_key"],
    W: Float[Tensor, "d_score d_query"],
    U: Float[Tensor, "d_score d_key"],
    v: Float[Tensor, "d_score"],
) -> Float[Tensor, "target source"]:
    """v · tanh(W query + U key), for every query with every key."""
    sums = (query @ W.T)[:, None] + key @ U.T  # (target, source, d_score)
    return sums.tanh() @ v


def context_vectors(
    scores: Float[Tensor, "target source"], states: Float[Tensor, "source d"]
) -> Float[Tensor, "target d"]:
    """For each row of scores, the average of the states with the weights softmax(row)."""
    weights = scores.softmax(-1)  # (target, source)
    return weights @ states


# ---------------------------------------------------------------- probes


def lstm_cell_probes() -> dict[str, tuple]:
    def probe(batch: int, d_in: int, d_hidden: int) -> tuple:
        sizes = ((batch, d_in), (batch, d_hidden), (batch, d_hidden), (4 * d_hidden, d_in), (4 * d_hidden, d_hidden))
        return *(gaussian(*size, seed=seed) for seed, size in enumerate(sizes)), gaussian(4 * d_hidden, seed=5)

    one, zero = exactly([[1]]), exactly([[0]])
    no_weight, large = exactly([[0]] * 4), 20.0  # sigmoid(20) is 1, sigmoid(−20) is 0, to eight digits
    return {
        "all weights and biases 0, cell 2": (one, one, exactly([[2]]), no_weight, no_weight, exactly([0] * 4)),
        "keep everything, write nothing": (
            one, zero, exactly([[0.5]]), no_weight, no_weight, exactly([-large, large, 1, large])
        ),
        "forget everything, write 1": (
            one, zero, exactly([[0.5]]), no_weight, no_weight, exactly([large, -large, large, large])
        ),
        "show nothing": (one, zero, exactly([[0.5]]), no_weight, no_weight, exactly([large, large, large, -large])),
        "only the hidden state counts": (
            zero, one, exactly([[1]]), no_weight, exactly([[1], [2], [3], [4]]), exactly([0] * 4)
        ),
        "one unit": probe(1, 1, 1),
        "1 sentence, d_in = 2, d_hidden = 3": probe(1, 2, 3),
        "2 sentences, d_in = 3, d_hidden = 2": probe(2, 3, 2),
        "3 sentences, every size 3": probe(3, 3, 3),
        "4 sentences, d_in = 2, d_hidden = 1": probe(4, 2, 1),
        "4 sentences, d_in = 2, d_hidden = 5": probe(4, 2, 5),
    }  # fmt: skip


def additive_score_probes() -> dict[str, tuple]:
    def probe(target: int, source: int, d_query: int, d_key: int, d_score: int) -> tuple:
        sizes = (target, d_query), (source, d_key), (d_score, d_query), (d_score, d_key), (d_score,)
        return tuple(gaussian(*size, seed=seed) for seed, size in enumerate(sizes))

    one = exactly([[1]])
    return {
        "one number each: 1 and −1": (one, exactly([[-1]]), one, one, exactly([3])),
        "the query 1 meets the keys 0, 1, 2": (one, exactly([[0], [1], [2]]), one, one, exactly([3])),
        "W = 2, U = −1": (one, exactly([[0], [1], [2]]), exactly([[2]]), exactly([[-1]]), exactly([3])),
        "two numbers, v = (1, −2)": (
            exactly([[1, 2]]), exactly([[0, 1], [2, -1]]), exactly([[1, 0], [0, 1]]), exactly([[0, 1], [1, 0]]),
            exactly([1, -2]),
        ),
        "2 queries, 3 keys, all sizes different": probe(2, 3, 4, 5, 6),
        "every size 3": probe(3, 3, 3, 3, 3),
        "4 queries, 2 keys, d = 3": probe(4, 2, 3, 3, 3),
    }  # fmt: skip


def context_vectors_probes() -> dict[str, tuple]:
    states = exactly([[8, 0], [0, 4]])
    return {
        "two equal scores": (exactly([[1, 1]]), states),
        "the scores 0 and 1": (exactly([[0, 1]]), states),
        "two rows of scores": (exactly([[0, 1], [2, -1]]), states),
        "2 target words, 3 states of 4 numbers": (gaussian(2, 3), gaussian(3, 4, seed=1)),
        "every size 3": (gaussian(3, 3), gaussian(3, 3, seed=1)),
        "4 target words, 2 states of 5 numbers": (gaussian(4, 2), gaussian(2, 5, seed=1)),
    }


# ---------------------------------------------------------------- exercises

NEW_CELL = "cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * candidate.tanh()"
ORDER = "input_gate, forget_gate, candidate, output_gate = "
RESULT = "return output_gate.sigmoid() * cell.tanh(), cell"

EXERCISES = [
    Exercise(
        lstm_cell,
        lstm_cell_probes,
        difficulty="medium",
        minutes=12,
        mistakes=(
            Mistake(
                "gates-in-another-order",
                "The third and the fourth quarter are swapped. The order here, as in torch, is input gate, forget gate, "
                "candidate, output gate.",
                {ORDER: "input_gate, forget_gate, output_gate, candidate = "},
            ),
            Mistake(
                "forget-gate-first",
                "The first and the second quarter are swapped: the forget gate is taken for the input gate and the "
                "other way round. The input gate comes first.",
                {ORDER: "forget_gate, input_gate, candidate, output_gate = "},
            ),
            Mistake(
                "candidate-first",
                "The candidate is read from the first quarter and the gates from the others. The order here is input "
                "gate, forget gate, candidate, output gate.",
                {ORDER: "candidate, input_gate, forget_gate, output_gate = "},
            ),
            Mistake(
                "order-forget-input-output",
                "The quarters are read as forget gate, input gate, output gate, candidate. So some texts write them; the "
                "order here, as in torch, is input gate, forget gate, candidate, output gate.",
                {ORDER: "forget_gate, input_gate, output_gate, candidate = "},
            ),
            Mistake(
                "gates-interleaved",
                "Every fourth number is taken for a gate. The four parts lie one after the other: the first d_hidden "
                "numbers are the input gate, and so on.",
                {"parts.chunk(4, dim=-1)": "(parts[..., k::4] for k in range(4))"},
            ),
            Mistake(
                "cut-along-the-batch",
                "The sum is cut along axis 0, which chunk takes if nothing else is said. In x @ input_weight.T that is the "
                "axis of the sentences. Cut each sentence's row into four: chunk(4, dim=-1).",
                {"parts.chunk(4, dim=-1)": "parts.chunk(4)"},
            ),
            Mistake(
                "cut-by-d_in",
                "The parts are cut d_in wide, which is right only where d_in and d_hidden are equal. Each gate has one "
                "number for each number of the cell: d_hidden.",
                {"parts.chunk(4, dim=-1)": "(parts[:, k * x.shape[1] : (k + 1) * x.shape[1]] for k in range(4))"},
            ),
            Mistake(
                "parts-transposed",
                "The gates and the candidate lie across: a row for each unit, while the cell has a row for each "
                "sentence. A batch of sentences times the weights is x @ input_weight.T, (batch, 4 · d_hidden).",
                {"parts.chunk(4, dim=-1)": "parts.T.chunk(4)"},
            ),
            Mistake(
                "weights-times-x",
                "The sum has a column for each sentence, as W @ x.T gives it, and the bias is added along the wrong axis. "
                "A batch of sentences times the weights is x @ input_weight.T, (batch, 4 · d_hidden).",
                {"x @ input_weight.T + hidden @ hidden_weight.T": "input_weight @ x.T + hidden_weight @ hidden.T"},
            ),
            Mistake(
                "candidate-with-sigmoid",
                "The candidate goes through a sigmoid, so nothing negative can ever be added to the cell. It goes "
                "through tanh; the three gates go through sigmoid.",
                {"candidate.tanh()": "candidate.sigmoid()"},
            ),
            Mistake(
                "candidate-with-both",
                "The candidate goes through a sigmoid and then through tanh. Only the three gates have a sigmoid: cut the "
                "sum into its parts first, then bend each part in its own way.",
                {"candidate.tanh()": "candidate.sigmoid().tanh()"},
            ),
            Mistake(
                "gates-with-tanh",
                "The gates go through tanh, which reaches from −1 to 1. A gate is a share, between 0 and 1: sigmoid.",
                {".sigmoid()": ".tanh()"},
            ),
            Mistake(
                "gates-without-sigmoid",
                "The gates are used as they come out of the sum, so they may be 5 or −3. A gate is a share, between 0 "
                "and 1: put each through sigmoid.",
                {".sigmoid()": ""},
            ),
            Mistake(
                "candidate-without-tanh",
                "The candidate is not put through tanh. It should lie between −1 and 1.",
                {"candidate.tanh()": "candidate"},
            ),
            Mistake(
                "cell-shown-without-tanh",
                "The output gate multiplies the cell itself. The hidden state should be the output gate times tanh(cell).",
                {"cell.tanh(), cell": "cell, cell"},
            ),
            Mistake(
                "cell-squashed",
                "The new cell itself goes through tanh. It must not: it is a sum that may grow. Only what is shown of "
                "it, the hidden state, has the tanh.",
                {NEW_CELL: f"cell = ({NEW_CELL.removeprefix('cell = ')}).tanh()", "cell.tanh(), cell": "cell, cell"},
            ),
            Mistake(
                "cell-replaced",
                "The old cell is thrown away at each step, as if the forget gate were always 0. The new cell is the old "
                "one times the forget gate, plus what is written.",
                {"forget_gate.sigmoid() * cell + ": ""},
            ),
            Mistake(
                "nothing-forgotten",
                "The old cell is kept whole, as if the forget gate were always 1. So it was in 1997; since Gers et al. "
                "2000 it is multiplied by the forget gate.",
                {"forget_gate.sigmoid() * cell": "cell"},
            ),
            Mistake(
                "forget-gate-inverted",
                "The old cell is multiplied by 1 − forget gate. In spite of its name the forget gate says how much is "
                "*kept*: 1 keeps everything.",
                {"forget_gate.sigmoid() *": "(1 - forget_gate.sigmoid()) *"},
            ),
            Mistake(
                "everything-written",
                "The candidate is added whole, as if the input gate were always 1. Multiply it by the input gate.",
                {"input_gate.sigmoid() * candidate": "candidate"},
            ),
            Mistake(
                "input-gate-from-forget-gate",
                "What is written is multiplied by 1 − forget gate. Some variants of the LSTM, and the GRU, save a gate in "
                "this way; here the input gate has rows of its own.",
                {"input_gate.sigmoid() * candidate": "(1 - forget_gate.sigmoid()) * candidate"},
            ),
            Mistake(
                "everything-shown",
                "The hidden state is tanh(cell), as if the output gate were always 1. Multiply it by the output gate.",
                {"output_gate.sigmoid() * cell.tanh()": "cell.tanh()"},
            ),
            Mistake(
                "old-cell-shown",
                "The hidden state is made from the cell as it was before the step. It should show the new cell.",
                {
                    NEW_CELL: f"new_{NEW_CELL}",
                    RESULT: "return output_gate.sigmoid() * cell.tanh(), new_cell",
                },
            ),
            Mistake(
                "old-cell-returned",
                "The second result is the cell as it was before the step. Return the new one.",
                {NEW_CELL: f"new_{NEW_CELL}", "cell.tanh(), cell": "new_cell.tanh(), cell"},
            ),
            Mistake(
                "hidden-kept-for-cell",
                "The forget gate multiplies the old hidden state. It should multiply the old cell; the hidden state only "
                "helps to set the gates.",
                {"sigmoid() * cell + ": "sigmoid() * hidden + "},
            ),
            Mistake(
                "hidden-ignored",
                "The hidden state has no part in the gates: changing it changes nothing. Add hidden times hidden_weight "
                "to the sum.",
                {" + hidden @ hidden_weight.T": ""},
            ),
            Mistake(
                "input-ignored",
                "The input x has no part in the gates: changing it changes nothing. Add x times input_weight to the sum.",
                {"x @ input_weight.T + ": ""},
            ),
            Mistake("bias-missing", "The bias is not added to the sum.", {" + bias": ""}),
            Mistake(
                "bias-twice",
                "The bias is added twice, as happens with a bias in both products. Here it is added once.",
                {" + bias": " + 2 * bias"},
            ),
            Mistake(
                "cell-in-the-gates",
                "The cell is used where the hidden state belongs: in the sum that sets the gates. (LSTMs with “peephole "
                "connections” look at the cell as well; this one does not.)",
                {"hidden @ hidden_weight.T": "cell @ hidden_weight.T"},
            ),
            Mistake(
                "hidden-and-cell-swapped",
                "Both results are right, and in the wrong order. Return the hidden state first, then the cell.",
                {RESULT: "return cell, output_gate.sigmoid() * cell.tanh()"},
            ),
            Mistake(
                "cell-not-returned",
                "Only the hidden state comes back. The next step needs the cell too: return hidden, cell.",
                {RESULT: "return output_gate.sigmoid() * cell.tanh()"},
            ),
            Mistake(
                "hidden-returned-twice",
                "The second result is the hidden state once more. It must be the cell.",
                {RESULT: "hidden = output_gate.sigmoid() * cell.tanh()\n    return hidden, hidden"},
            ),
        ),
        hints=(
            "One long sum serves all four parts: x times its weights, plus hidden times its weights, plus the bias. "
            "With nn.Linear's layout that is `x @ input_weight.T + hidden @ hidden_weight.T + bias`.",
            "The sum has 4 · d_hidden numbers a sentence. `sums.chunk(4, dim=-1)` cuts it into the input gate, the forget "
            "gate, the candidate and the output gate, still without sigmoid and tanh.",
            "The three gates go through sigmoid, the candidate through tanh. Then: new cell = forget gate · old cell + "
            "input gate · candidate.",
            "`cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()`, and return `o.sigmoid() * cell.tanh(), cell`.",
        ),
        remark="nn.LSTMCell does the same, with two biases of which only the sum counts. The line that makes the new cell "
        "has no matrix in it: where the forget gate is 1, the gradient passes back through it unchanged.",
    ),
    Exercise(
        additive_score,
        additive_score_probes,
        difficulty="medium",
        minutes=10,
        mistakes=(
            Mistake(
                "no-tanh",
                "There is no bend: without tanh a score is a part for the query plus a part for the key. The query's "
                "part is the same for all keys, and a softmax over the keys takes no notice of it.",
                {"sums.tanh()": "sums"},
            ),
            Mistake(
                "sigmoid-for-tanh",
                "The sum goes through a sigmoid. The formula has tanh, which reaches from −1 to 1.",
                {"sums.tanh()": "sums.sigmoid()"},
            ),
            Mistake(
                "relu-for-tanh",
                "The sum goes through a ReLU. The formula has tanh.",
                {"sums.tanh()": "sums.relu()"},
            ),
            Mistake(
                "tanh-of-each",
                "tanh is applied to W query and to U key apart, and then they are added. So a score falls into a part "
                "for the query and a part for the key again. Add first, then bend.",
                {
                    "(query @ W.T)[:, None] + key @ U.T": "(query @ W.T).tanh()[:, None] + (key @ U.T).tanh()",
                    "sums.tanh() @ v": "sums @ v",
                },
            ),
            Mistake(
                "multiplied-not-added",
                "W query and U key are multiplied number by number. In the additive score they are added, inside tanh.",
                {"[:, None] + key @ U.T": "[:, None] * (key @ U.T)"},
            ),
            Mistake(
                "multiplicative-score",
                "This is a dot product of W query and U key, a multiplicative score (Luong et al. 2015). The additive "
                "one is v · tanh(W query + U key).",
                {"sums.tanh() @ v": "(query @ W.T) @ (key @ U.T).T"},
            ),
            Mistake(
                "v-missing",
                "The numbers after tanh are added up as they are. Each is weighed by its entry of v first: a dot product "
                "with v.",
                {" @ v": ".sum(-1)"},
            ),
            Mistake(
                "v-inside-tanh",
                "The sum meets v before tanh. Bend first, then the dot product with v.",
                {"sums.tanh() @ v": "(sums @ v).tanh()"},
            ),
            Mistake(
                "v-on-the-sum",
                "Each number is multiplied by its entry of v before tanh, and added up after it. Bend first, then the dot "
                "product with v.",
                {"sums.tanh() @ v": "(sums * v).tanh().sum(-1)"},
            ),
            Mistake(
                "not-summed",
                "The numbers after tanh are multiplied by v and not added up: d_score numbers come back for each pair. A score "
                "is one number: the dot product with v.",
                {"sums.tanh() @ v": "sums.tanh() * v"},
            ),
            Mistake(
                "averaged-not-summed",
                "The products with v are averaged. A dot product adds them up.",
                {"sums.tanh() @ v": "(sums.tanh() * v).mean(-1)"},
            ),
            Mistake(
                "matrices-missing",
                "W and U have no part: query and key are added as they are. Apply W to the query and U to the key first.",
                {"(query @ W.T)[:, None] + key @ U.T": "query[:, None] + key"},
            ),
            Mistake(
                "flat",
                "The scores come in one long row. Wanted is a matrix, a row for each query and a column for each key.",
                {"return sums.tanh() @ v": "return (sums.tanh() @ v).flatten()"},
            ),
            Mistake(
                "list-of-lists",
                "The scores come in lists. Make them one tensor: torch.tensor(scores), or write them into a "
                "torch.zeros(len(query), len(key)).",
                {"return sums.tanh() @ v": "return (sums.tanh() @ v).tolist()"},
            ),
            Mistake(
                "list-of-rows",
                "The rows come in a list, each a tensor of its own. torch.stack(rows) makes them one matrix.",
                {"return sums.tanh() @ v": "return list(sums.tanh() @ v)"},
            ),
            Mistake(
                "W-and-U-swapped",
                "U is applied to the queries and W to the keys. W belongs to the query, U to the key.",
                {"query @ W.T": "query @ U.T", "key @ U.T": "key @ W.T"},
            ),
            Mistake(
                "one-matrix-for-both",
                "W is applied to the keys too: changing U changes nothing. The keys have a matrix of their own, U.",
                {"key @ U.T": "key @ W.T"},
            ),
            Mistake(
                "U-for-both",
                "U is applied to the queries too: changing W changes nothing. The queries have a matrix of their own, W.",
                {"query @ W.T": "query @ U.T"},
            ),
            Mistake(
                "W-not-transposed",
                "W is used as it lies, which runs only when it is square. It has one *row* for each result: query @ W.T.",
                {"W.T": "W"},
            ),
            Mistake(
                "U-not-transposed",
                "U is used as it lies, which runs only when it is square. It has one *row* for each result: key @ U.T.",
                {"U.T": "U"},
            ),
            Mistake(
                "W-times-the-queries",
                "This is W @ query, which takes the queries for columns and runs only by chance of the sizes. They are "
                "rows: query @ W.T.",
                {"query @ W.T": "W @ query"},
            ),
            Mistake(
                "U-times-the-keys",
                "This is U @ key, which takes the keys for columns and runs only by chance of the sizes. They are rows: "
                "key @ U.T.",
                {"key @ U.T": "U @ key"},
            ),
            Mistake(
                "query-ignored",
                "The query has no part in the score: every query gets the same row. Add W query inside tanh.",
                {"(query @ W.T)[:, None] + key": "0 * (query @ W.T)[:, None] + key"},
            ),
            Mistake(
                "keys-ignored",
                "The key has no part in the score: a row holds one number again and again. Add U key inside tanh.",
                {" + key @ U.T": " + 0 * (key @ U.T)"},
            ),
            Mistake(
                "pairs-in-step",
                "The first query meets the first key only, the second the second, and so on. Every query meets every "
                "key: (target, 1, d_score) + (source, d_score) gives (target, source, d_score).",
                {"(query @ W.T)[:, None] + key": "query @ W.T + key"},
            ),
            Mistake(
                "transposed",
                "Rows and columns are swapped. Row i holds the scores of query i with all keys.",
                {"return sums.tanh() @ v": "return (sums.tanh() @ v).T"},
            ),
            Mistake(
                "softmax-included",
                "These are the weights, after a softmax. Here the scores themselves are asked for.",
                {"return sums.tanh() @ v": "return (sums.tanh() @ v).softmax(-1)"},
            ),
            Mistake(
                "scaled-by-the-root",
                "The scores are divided by √d_score. Lesson 02 shows what that division is for; this score has none.",
                {"return sums.tanh() @ v": "return sums.tanh() @ v / len(v) ** 0.5"},
            ),
        ),
        hints=(
            "Start with one pair, one query q and one key k: `torch.tanh(W @ q + U @ k) @ v` is their score. Two loops "
            "around it are a right answer.",
            "Without loops: `query @ W.T` is (target, d_score) and `key @ U.T` is (source, d_score). To add every row of "
            "the one to every row of the other, give the first one an axis more.",
            "`(query @ W.T)[:, None] + key @ U.T` is (target, source, d_score). Now tanh, and a dot product with v along "
            "the last axis.",
        ),
        remark="Bahdanau, Cho and Bengio 2015, appendix A.1.2. The part U key is the same at every step of the decoder, so "
        "they compute it once for a sentence. AdditiveScore in recurrent.py does this for a batch.",
    ),
    Exercise(
        context_vectors,
        context_vectors_probes,
        difficulty="easy",
        minutes=5,
        mistakes=(
            Mistake(
                "no-softmax",
                "The scores themselves are used as weights, so they do not sum to 1 and may be negative. Put each row "
                "through a softmax first.",
                {"scores.softmax(-1)": "scores"},
            ),
            Mistake(
                "softmax-over-queries",
                "The softmax runs down the columns, over the target words. Each target word spreads its weight over the "
                "source words: a softmax along the row, dim=-1.",
                {"softmax(-1)": "softmax(0)"},
            ),
            Mistake(
                "softmax-at-the-end",
                "The softmax is applied to the result. It belongs on the scores: it makes them the weights of the average.",
                {"scores.softmax(-1)": "scores", "return weights @ states": "return (weights @ states).softmax(-1)"},
            ),
            Mistake(
                "softmax-over-everything",
                "One softmax runs over the whole matrix, so all rows together sum to 1. Each row needs a sum of 1.",
                {"scores.softmax(-1)": "scores.flatten().softmax(0).view_as(scores)"},
            ),
            Mistake(
                "divided-by-the-sum",
                "The scores are divided by their sum, without the exponentials. Negative scores then give negative "
                "weights. A softmax takes exp first.",
                {"scores.softmax(-1)": "scores / scores.sum(-1, keepdim=True)"},
            ),
            Mistake(
                "exponentials-not-divided",
                "The exponentials are not divided by their sum, so the weights do not sum to 1.",
                {"scores.softmax(-1)": "scores.exp()"},
            ),
            Mistake(
                "sum-without-keepdim",
                "The sums of the exponentials have lost the axis they run along, and no longer stand beside their rows: "
                "column j is divided by the sum of row j, or the sizes do not fit. `keepdim=True` keeps the axis.",
                {"scores.softmax(-1)": "scores.exp() / scores.exp().sum(-1)"},
            ),
            Mistake(
                "sigmoid-for-softmax",
                "Each score goes through a sigmoid by itself, so the weights of a row do not sum to 1. A softmax makes "
                "them share.",
                {"scores.softmax(-1)": "scores.sigmoid()"},
            ),
            Mistake(
                "log-softmax",
                "The logarithms of the weights are used as weights. Use softmax in place of log_softmax.",
                {"scores.softmax(-1)": "scores.log_softmax(-1)"},
            ),
            Mistake(
                "best-state-only",
                "Each target word gets the state with the largest score, whole. It should get an average, in which the "
                "others have their share: a choice has no gradient to learn from.",
                {"return weights @ states": "return states[scores.argmax(-1)]"},
            ),
            Mistake(
                "plain-mean",
                "All states get the same weight: the scores play no part.",
                {"return weights @ states": "return states.mean(0).expand(len(scores), -1)"},
            ),
            Mistake(
                "scaled-by-the-root",
                "The scores are divided by √d before the softmax. Lesson 02 shows what that is for; here the scores are "
                "used as they come.",
                {"scores.softmax(-1)": "(scores / states.shape[-1] ** 0.5).softmax(-1)"},
            ),
            Mistake(
                "divided-by-the-length",
                "The average is divided once more, by the number of source words. The weights sum to 1, so the weighted "
                "sum is an average already.",
                {"return weights @ states": "return weights @ states / len(states)"},
            ),
            Mistake(
                "softmax-twice",
                "The weights go through a second softmax, which makes them much more even. One is enough.",
                {"scores.softmax(-1)": "scores.softmax(dim=-1).softmax(-1)"},
            ),
            Mistake(
                "weights-returned",
                "These are the weights. Take the average of the states with them.",
                {"return weights @ states": "return weights"},
            ),
            Mistake(
                "transposed",
                "Rows and columns of the result are swapped. Row i is the context of target word i.",
                {"return weights @ states": "return (weights @ states).T"},
            ),
            Mistake(
                "weights-transposed",
                "The weights are transposed before the product, which runs only where there are as many target words as "
                "source words. Row i of the weights belongs to target word i.",
                {"weights @ states": "weights.T @ states"},
            ),
        ),
        hints=(
            "Two steps: scores to weights, and weights with states to an average. For one row of weights the second step "
            "was exercise 0.1, in lesson 00.",
            "`scores.softmax(-1)` makes each row sum to 1: one row for a target word, one column for a source word.",
            "A row of weights times the states, added up, is a row of a matrix product: (target, source) @ (source, d).",
        ),
        remark="Divide the scores by the root of their vectors' length, let keys and values no longer be the same states, "
        "and put many of these side by side: that is the attention of the Transformer. Lessons 02 and 03 take it from "
        "here.",
    ),
]

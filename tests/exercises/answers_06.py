"""Lesson 06: right and wrong answers as learners write them, and inputs that no check knows."""

import math

import torch
import torch.nn.functional as F

from transformer_lab import attention, generation
from transformer_lab.attention import MultiHeadAttention
from transformer_lab.blocks import EncoderBlock, Residual
from transformer_lab.exercises.lesson_02 import gaussian
from transformer_lab.exercises.lesson_05 import post_norm_step
from transformer_lab.transformer import BEGIN, END, PADDING

# ---------------------------------------------------------------- teacher_forcing


def forcing_by_loop(target):
    read, answers = [], []
    for row in target.tolist():
        read.append(row[:-1])
        answers.append(row[1:])
    return torch.tensor(read), torch.tensor(answers)


def forcing_by_narrow(target):
    n = target.size(1) - 1
    return target.narrow(1, 0, n), target.narrow(1, 1, n)


def forcing_by_index(target):
    positions = torch.arange(target.shape[1] - 1)
    return target[:, positions], target[:, positions + 1]


def without(rows, token):
    return torch.where(rows == token, PADDING, rows)


# ---------------------------------------------------------------- cross_attention


def weights(query, key, mask=None, dim=-1):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(dim)


def ask(query, key, value, mask=None):
    pattern = weights(query, key, mask)
    return pattern @ value, pattern


def cross_by_loop(x, memory, w_q, w_k, w_v, mask):
    output = torch.zeros(x.shape[0], x.shape[1], w_v.shape[1], dtype=x.dtype)
    pattern = torch.zeros(x.shape[0], x.shape[1], memory.shape[1], dtype=x.dtype)
    for b in range(x.shape[0]):
        for i in range(x.shape[1]):
            scores = [(x[b, i] @ w_q).dot(token @ w_k) / w_q.shape[1] ** 0.5 for token in memory[b]]
            shares = [math.exp(score) if open else 0 for score, open in zip(scores, mask[b, 0])]
            for j, token in enumerate(memory[b]):
                pattern[b, i, j] = shares[j] / sum(shares)
                output[b, i] += pattern[b, i, j] * (token @ w_v)
    return output, pattern


def cross_by_einsum(x, memory, w_q, w_k, w_v, mask):
    query, key, value = (
        torch.einsum("bsm,mh->bsh", states, w) for states, w in ((x, w_q), (memory, w_k), (memory, w_v))
    )
    scores = torch.einsum("bth,bsh->bts", query, key) * query.size(-1) ** -0.5
    pattern = F.softmax(scores + torch.where(mask, 0.0, -1e9), dim=-1)
    return torch.einsum("bts,bsh->bth", pattern, value), pattern


def cross_by_torch(x, memory, w_q, w_k, w_v, mask):
    """The pattern is what attention gives when the values are the unit vectors."""
    query, key = x @ w_q, memory @ w_k
    identity = torch.eye(memory.shape[1], dtype=x.dtype).expand(len(x), -1, -1)
    pattern = F.scaled_dot_product_attention(query, key, identity, attn_mask=mask)
    return pattern @ memory @ w_v, pattern


def cross_by_package(x, memory, w_q, w_k, w_v, mask):
    """MultiHeadAttention with a context, one head; its output layer changes nothing."""
    d_model, d_head = w_q.shape
    width = max(d_model, d_head)

    def wide(states):
        return F.pad(states, (0, width - d_model))

    layer = MultiHeadAttention(width, 1, bias=False).double()
    for linear, w in ((layer.query, w_q), (layer.key, w_k), (layer.value, w_v)):
        linear.weight.data = F.pad(w, (0, width - d_head, 0, width - d_model)).T
    layer.query.weight.data *= math.sqrt(width / d_head)
    layer.out.weight.data = torch.eye(width, dtype=x.dtype)
    output, pattern = layer(wide(x), wide(memory), mask=mask[:, None], return_pattern=True)
    return output[..., :d_head], pattern[:, 0]


def turned_round(hidden):
    def cross_attention(x, memory, w_q, w_k, w_v, mask):
        scores = (x @ w_q) @ (memory @ w_k).mT / w_q.shape[1] ** 0.5
        pattern = scores.masked_fill(mask, hidden).softmax(-1)
        return pattern @ (memory @ w_v), pattern

    return cross_attention


def causal_cross(x, memory, w_q, w_k, w_v, mask):
    no_future = torch.tril(torch.ones(x.size(1), memory.size(1))) == 1
    return ask(x @ w_q, memory @ w_k, memory @ w_v, no_future & mask)


def causal_by_lesson_03(x, memory, w_q, w_k, w_v, mask):
    mask = mask & attention.causal_mask(x.shape[1], memory.shape[1])
    return ask(x @ w_q, memory @ w_k, memory @ w_v, mask)


def both_sides(x, memory, w_q, w_k, w_v, mask):
    everything = torch.cat([memory, x], dim=1)
    open_too = torch.ones(x.shape[0], 1, x.shape[1], dtype=torch.bool)
    return ask(x @ w_q, everything @ w_k, everything @ w_v, torch.cat([mask, open_too], dim=-1))


def mask_after(x, m, q, k, v, mask):
    pattern = weights(x @ q, m @ k) * mask
    return pattern @ (m @ v), pattern


def zeroed_states(x, memory, w_q, w_k, w_v, mask):
    memory = memory.clone()
    memory[~mask[:, 0]] = 0
    return ask(x @ w_q, memory @ w_k, memory @ w_v)


def divided_by(root):
    """The scores divided by something else."""

    def cross_attention(x, m, q, k, v, mask):
        pattern = ((x @ q) @ (m @ k).mT / root(x, m, q)).masked_fill(~mask, -1e30).softmax(-1)
        return pattern @ (m @ v), pattern

    return cross_attention


# ---------------------------------------------------------------- encoder_block


def block_in_steps(x, mask, attention, feed_forward, norm1, norm2):
    attended = attention(x, mask)
    attended = attended + x
    attended = norm1(attended)
    out = feed_forward(attended)
    out = out + attended
    return norm2(out)


def block_by_steps_of_lesson_05(x, mask, attention, feed_forward, norm1, norm2):
    x = post_norm_step(x, lambda y: attention(y, mask), norm1)
    return post_norm_step(x, feed_forward, norm2)


def block_by_residual(x, mask, attention, feed_forward, norm1, norm2):
    for sublayer, norm in ((lambda y: attention(y, mask), norm1), (feed_forward, norm2)):
        around = Residual(x.shape[-1], "post")
        del around.norm
        around.norm = norm
        x = around(x, sublayer)
    return x


def block_by_package(x, mask, attention, feed_forward, norm1, norm2):
    """EncoderBlock, with the given functions for its parts."""
    block = EncoderBlock(x.shape[-1], 1, 1, norm="post")
    for part in (block, block.around_attention, block.around_feed_forward):
        part._modules = dict(part._modules)
    parts = (block, "attention", lambda y, mask, positions: attention(y, mask)), (block, "feed_forward", feed_forward)
    norms = (block.around_attention, "norm", norm1), (block.around_feed_forward, "norm", norm2)
    for holder, name, function in (*parts, *norms):
        delattr(holder, name)
        setattr(holder, name, function)
    return block(x, mask)


# ---------------------------------------------------------------- beam_step


def beam_by_loop(ids, totals, log_probabilities, n_beams):
    new_ids, new_totals = [], []
    for beams, sums, rows in zip(ids.tolist(), totals.tolist(), log_probabilities.tolist()):
        found = [
            (total + log_p, [*beam, token])
            for beam, total, row in zip(beams, sums, rows)
            for token, log_p in enumerate(row)
        ]
        found.sort(key=lambda pair: -pair[0])
        new_ids.append([beam for _, beam in found[:n_beams]])
        new_totals.append([total for total, _ in found[:n_beams]])
    return torch.tensor(new_ids), torch.tensor(new_totals, dtype=totals.dtype)


def beam_in_two_rounds(ids, totals, log_probabilities, n_beams):
    """Of each beam the n_beams best, then of these the n_beams best."""
    k = min(n_beams, log_probabilities.shape[2])
    values, tokens = (totals.unsqueeze(2) + log_probabilities).topk(k, dim=2)
    values, places = values.flatten(1).topk(n_beams, dim=1)
    parents = torch.div(places, k, rounding_mode="floor")
    kept = ids.gather(1, parents[..., None].expand(-1, -1, ids.shape[2]))
    return torch.cat((kept, tokens.flatten(1).gather(1, places)[..., None]), dim=2), values


def beam_by_token_first(ids, totals, log_probabilities, n_beams):
    """The table turned round: a row for each token."""
    table = (totals[:, None, :] + log_probabilities.transpose(1, 2)).reshape(len(ids), -1)
    values, places = table.sort(dim=1, descending=True)
    values, places = values[:, :n_beams], places[:, :n_beams]
    tokens, parents = places // ids.shape[1], places % ids.shape[1]
    kept = torch.stack([sentence[p] for sentence, p in zip(ids, parents)])
    return torch.cat([kept, tokens.unsqueeze(-1)], -1), values


def beam_with_probabilities(ids, totals, log_probabilities, n_beams):
    """Right as long as no probability is too small for a number to hold."""
    table = totals.exp()[..., None] * log_probabilities.exp()
    values, places = table.flatten(1).topk(n_beams)
    parents = places.floor_divide(table.shape[2])
    tokens = places - parents * table.shape[2]
    return torch.cat([ids.take_along_dim(parents[..., None], 1), tokens[..., None]], -1), values.log()


def step(ids, table, n_beams, *, divide=None, parents=None, tokens=None, sign=1):
    """A beam step with the table of all continuations given; its parts can be replaced."""
    values, places = table.reshape(len(ids), -1).topk(n_beams)
    divide = divide or table.shape[2]
    parents = places // divide if parents is None else parents(places)
    tokens = places % divide if tokens is None else tokens(places)
    kept = torch.stack([sentence[beams] for sentence, beams in zip(ids, parents)])
    return torch.cat([kept, tokens[..., None]], dim=2), sign * values


def continued(totals, logs):
    return totals[:, :, None] + logs


def own_best(ids, totals, logs, n_beams):
    best, tokens = logs.max(dim=-1)
    return torch.cat([ids, tokens.unsqueeze(-1)], dim=-1), totals + best


def own_best_sorted(ids, totals, logs, n_beams):
    best, tokens = logs.max(dim=-1)
    values, order = (totals + best).sort(descending=True)
    longer = torch.cat([ids, tokens.unsqueeze(-1)], dim=-1)
    return torch.stack([rows[o][:n_beams] for rows, o in zip(longer, order)]), values[:, :n_beams]


def all_own(ids, totals, logs, n_beams):
    values, tokens = continued(totals, logs).topk(n_beams)  # (batch, beams, n_beams)
    repeated = ids.repeat_interleave(n_beams, dim=1)
    return torch.cat([repeated, tokens.reshape(len(ids), -1, 1)], -1), values.reshape(len(ids), -1)


def only_first(ids, totals, logs, n_beams):
    values, tokens = (totals[:, :1] + logs[:, 0]).topk(n_beams)
    return torch.cat([ids[:, :1].expand(-1, n_beams, -1), tokens[..., None]], -1), values


def glued(beams, totals, logs, n_beams):
    """The new tokens appended to these beams, as they are."""
    values, places = continued(totals, logs).flatten(1).topk(n_beams)
    return torch.cat([beams, (places % logs.shape[-1])[..., None]], -1), values


def of_first_sentence(ids, totals, logs, n_beams):
    values, places = continued(totals, logs).flatten(1).topk(n_beams)
    vocab = logs.size(-1)
    return torch.cat([ids.view(-1, ids.size(-1))[places // vocab], (places % vocab)[..., None]], -1), values


def chosen_by_last(ids, totals, logs, n_beams):
    values, places = logs.flatten(1).topk(n_beams)
    parents, tokens = places // logs.shape[2], places % logs.shape[2]
    rows = torch.arange(len(ids)).unsqueeze(1)
    return torch.cat([ids[rows, parents], tokens[..., None]], 2), totals.gather(1, parents) + values


def least_likely(ids, totals, logs, n_beams):
    table, vocab = continued(totals, logs).flatten(1), logs.size(-1)
    places = table.argsort(dim=1)[:, :n_beams]
    rows = torch.arange(len(ids)).unsqueeze(1)
    return torch.cat([ids[rows, places // vocab], (places % vocab)[..., None]], 2), table[rows, places]


def by_table_order(ids, totals, logs, n_beams):
    table = continued(totals, logs).flatten(1)
    places = table.topk(n_beams).indices.sort(dim=1).values
    vocab = logs.shape[2]
    return torch.cat([ids.take_along_dim((places // vocab)[..., None], 1), (places % vocab)[..., None]], -1), (
        table.gather(1, places)
    )


def ended(ids):
    return (ids == END).any(-1)


def turned(result):
    return tuple(part.flip(1) for part in result)


def end_again(ids, totals, logs, n_beams):
    longer, values = generation.beam_step(ids, totals, logs, n_beams)
    longer[..., -1][longer[..., -2] == END] = END
    return longer, values


def right_step(change):
    """The right step, whose result is then changed."""
    return lambda *given: change(*generation.beam_step(*given))


def by_average(ids, totals, logs, n_beams):
    table = continued(totals, logs)
    lengths = (ids[:, :, 1:] != PADDING).sum(-1) + (~ended(ids)).long()
    places = (table / lengths[..., None]).flatten(1).topk(n_beams).indices
    vocab = logs.shape[2]
    longer = torch.cat([ids.take_along_dim((places // vocab)[..., None], 1), (places % vocab)[..., None]], -1)
    return longer, table.flatten(1).gather(1, places)


RIGHT = {
    "teacher_forcing": [
        forcing_by_loop,
        forcing_by_narrow,
        forcing_by_index,
        lambda target: [target[..., :-1].clone(), target[..., 1:].clone()],
        lambda target: (target.T[:-1].T, target.T[1:].T),
    ],
    "cross_attention": [
        cross_by_loop,
        cross_by_einsum,
        cross_by_torch,
        cross_by_package,
        lambda x, m, q, k, v, mask: ask(x @ q, m @ k, m @ v, mask.expand(-1, x.shape[1], -1)),
        lambda x, m, q, k, v, mask: list(attention.scaled_dot_product_attention(x @ q, m @ k, m @ v, mask)),
    ],
    "encoder_block": [
        block_in_steps,
        block_by_steps_of_lesson_05,
        block_by_residual,
        block_by_package,
        lambda x, mask, attend, ff, norm1, norm2: norm2(ff(h := norm1(attend(x, mask=mask).add(x))) + h),
    ],
    "beam_step": [
        beam_by_loop,
        beam_in_two_rounds,
        beam_by_token_first,
        beam_with_probabilities,
        lambda ids, totals, logs, n: step(ids, continued(totals, logs.log_softmax(-1)), n),  # normalised already
    ],
}  # fmt: skip
WRONG = {
    "teacher_forcing": {
        "targets-not-shifted": [lambda t: (t, t), lambda t: (t, t.clone())],
        "targets-not-shifted-but-cut": [lambda t: (t[:, :-1], t[:, :-1])],
        "targets-not-shifted-cut-in-front": [lambda t: (t[:, 1:], t[:, 1:])],
        "targets-shifted-twice": [lambda t: (t[:, :-2], t[:, 2:])],
        "targets-shifted-twice-and-uneven": [lambda t: (t[:, :-1], t[:, 1:][:, 1:])],
        "shifted-backwards": [lambda t: (t[:, 1:], t[:, :-1])],
        "begin-among-the-answers": [lambda t: (t[:, :-1], t)],
        "last-column-read": [lambda t: (t, t[:, 1:])],
        "begin-not-read": [lambda t: (t[:, 1:-1], t[:, 1:])],
        "begin-read-twice": [lambda t: (F.pad(t[:, :-1], (1, 0), value=BEGIN), t)],
        "last-answer-cut": [lambda t: (t[:, :-1], t[:, 1:-1])],
        "begin-and-end-stripped": [lambda t: (t[:, 1:-1],) * 2],
        "end-not-answered": [lambda t: (t[:, :-1], without(t[:, 1:], END))],
        "end-not-read": [lambda t: (without(t, END)[:, :-1], t[:, 1:])],
        "end-for-padding": [lambda t: (t[:, :-1], torch.where(t[:, 1:] == PADDING, END, t[:, 1:]))],
        "last-column-cut-first": [lambda t: ((t := t[:, :-1])[:, :-1], t[:, 1:])],
        "last-answer-made-up": [
            lambda t: (t, torch.cat([t[:, 1:], torch.zeros(len(t), 1, dtype=torch.long)], dim=1)),
        ],
        "last-answer-wraps-around": [lambda t: (t, torch.roll(t, shifts=-1, dims=1))],
        "padding-renamed": [lambda t: (t[:, :-1], torch.where(t[:, 1:] == PADDING, -100, t[:, 1:]))],
        "padding-removed": [lambda t: (t[:, :-1], torch.tensor([i for row in t[:, 1:].tolist() for i in row if i]))],
        "shifted-along-the-batch": [lambda t: (t[:-1], t[1:])],
        "read-cut-along-the-batch": [lambda t: (t[:-1], t[:, 1:])],
        "answers-cut-along-the-batch": [lambda t: (t[:, :-1], t[1:])],
        "first-answer-only": [lambda t: (t[:, :-1], t[:, 1])],
        "last-answer-only": [lambda t: (t[:, :-1], t[:, -1])],
        "answers-flattened": [lambda t: (t[:, :-1], t[:, 1:].reshape(-1))],
        "answers-alone": [lambda t: t[:, 1:]],
        "read-alone": [lambda t: t[:, :-1]],
        "begin-alone-read": [lambda t: (t[:, :1], t[:, 1:])],
        "one-tensor-not-two": [lambda t: torch.stack([t[:, :-1], t[:, 1:]])],
        "rows-not-tables": [lambda t: ([row[:-1] for row in t], [row[1:] for row in t])],
        ("begin-not-read", "last-answer-only"): [lambda t: (t[:, 1:-1], t[:, -1])],
        ("end-not-read", "begin-among-the-answers"): [lambda t: (without(t[:, :-1], END), t)],
        ("end-not-read", "end-not-answered"): [lambda t: (without(t[:, :-1], END), without(t[:, 1:], END))],
        ("last-column-read", "padding-renamed"): [lambda t: (t, t[:, 1:].masked_fill(t[:, 1:] == PADDING, -100))],
    },
    "cross_attention": {
        "sides-swapped": [lambda x, m, q, k, v, mask: ask(m @ q, x @ k, x @ v, mask)],
        "memory-attends-to-itself": [lambda x, m, q, k, v, mask: ask(m @ q, m @ k, m @ v, mask)],
        "decoder-attends-to-itself": [lambda x, m, q, k, v, mask: ask(x @ q, x @ k, x @ v, mask)],
        "key-from-decoder": [lambda x, m, q, k, v, mask: ask(x @ q, x @ k, m @ v, mask)],
        "value-from-decoder": [lambda x, m, q, k, v, mask: ask(x @ q, m @ k, x @ v, mask)],
        "keys-from-both-sides": [both_sides],
        "unscaled-scores": [divided_by(lambda x, m, q: 1)],
        "scaled-by-d": [divided_by(lambda x, m, q: q.shape[1])],
        "scaled-by-d-model": [divided_by(lambda x, m, q: x.shape[-1] ** 0.5)],
        "scaled-by-keys": [divided_by(lambda x, m, q: m.shape[1] ** 0.5)],
        "scaled-by-queries": [divided_by(lambda x, m, q: x.shape[1] ** 0.5)],
        "scaled-by-twice-d": [divided_by(lambda x, m, q: 2 * q.shape[1])],
        "scale-inverted": [divided_by(lambda x, m, q: q.shape[1] ** -0.5)],
        "keys-ignored": [lambda x, m, q, k, v, mask: ask(x @ q, x @ q, m @ v, mask)],
        "queries-ignored": [lambda x, m, q, k, v, mask: ask(m @ k, m @ k, m @ v, mask)],
        "query-and-key-swapped": [lambda x, m, q, k, v, mask: ask(m @ k, x @ q, m @ v, mask)],
        "softmax-over-queries": [
            lambda x, m, q, k, v, mask: ((p := weights(x @ q, m @ k, mask, dim=1).nan_to_num()) @ (m @ v), p)
        ],
        "no-softmax": [
            lambda x, m, q, k, v, mask: ((p := (x @ q) @ (m @ k).mT / q.shape[1] ** 0.5 * mask) @ (m @ v), p)
        ],
        "softmax-before-scale": [
            lambda x, m, q, k, v, mask: (
                (p := ((x @ q) @ (m @ k).mT).masked_fill(~mask, -1e9).softmax(-1) / q.shape[1] ** 0.5) @ (m @ v),
                p,
            )
        ],
        "mask-after-softmax": [mask_after],
        "mask-with-zero": [
            lambda x, m, q, k, v, mask: (
                (p := ((x @ q) @ (m @ k).mT / q.shape[1] ** 0.5 * mask).softmax(-1)) @ (m @ v),
                p,
            )
        ],
        "mask-inverted": [
            turned_round(-math.inf),
            turned_round(-1e9),
            lambda x, m, q, k, v, mask: attention.scaled_dot_product_attention(x @ q, m @ k, m @ v, ~mask),
        ],
        "padding-ignored": [lambda x, m, q, k, v, mask: ask(x @ q, m @ k, m @ v)],
        "padding-hides-queries": [
            lambda x, m, q, k, v, mask: ask(x @ q, m @ k, m @ v, mask.mT)
        ],
        "padding-states-zeroed": [zeroed_states],
        "causal-mask-added": [causal_cross],
        "causal-mask-from-the-end": [causal_by_lesson_03],
        "mask-added": [
            lambda x, m, q, k, v, mask: (
                (p := ((x @ q) @ (m @ k).mT / q.shape[1] ** 0.5 + mask).softmax(-1)) @ (m @ v),
                p,
            )
        ],
        ("causal-mask-added", "padding-ignored"): [
            lambda x, m, q, k, v, mask: causal_cross(x, m, q, k, v, torch.ones_like(mask))
        ],
        "shared-qkv-projection": [lambda x, m, q, k, v, mask: ask(x @ q, m @ q, m @ q, mask)],
        "w-q-for-keys-too": [lambda x, m, q, k, v, mask: ask(x @ q, m @ q, m @ v, mask)],
        "w-k-for-queries-too": [lambda x, m, q, k, v, mask: ask(x @ k, m @ k, m @ v, mask)],
        "w-q-and-w-k-swapped": [lambda x, m, q, k, v, mask: ask(x @ k, m @ q, m @ v, mask)],
        "values-ignored": [lambda x, m, q, k, v, mask: ask(x @ q, m @ k, m @ k, mask)],
        "key-and-value-swapped": [lambda x, m, q, k, v, mask: ask(x @ q, m @ v, m @ k, mask)],
        "projections-missing": [lambda x, m, q, k, v, mask: ask(x, m, m, mask)],
        "values-not-projected": [lambda x, m, q, k, v, mask: ask(x @ q, m @ k, m, mask)],
        "projections-transposed": [
            lambda x, m, q, k, v, mask: ask(F.linear(x, q), F.linear(m, k), F.linear(m, v), mask)
        ],
        "residual-added": [
            lambda x, m, q, k, v, mask: (x + (found := ask(x @ q, m @ k, m @ v, mask))[0], found[1])
        ],
        "output-alone": [
            lambda x, m, q, k, v, mask: F.scaled_dot_product_attention(x @ q, m @ k, m @ v, attn_mask=mask)
        ],
        "pattern-alone": [lambda x, m, q, k, v, mask: weights(x @ q, m @ k, mask)],
        "pattern-first": [lambda x, m, q, k, v, mask: ask(x @ q, m @ k, m @ v, mask)[::-1]],
        ("sides-swapped", "padding-ignored"): [lambda x, m, q, k, v, mask: ask(m @ q, x @ k, x @ v)],
        ("decoder-attends-to-itself", "padding-ignored"): [lambda x, m, q, k, v, mask: ask(x @ q, x @ k, x @ v)],
        ("unscaled-scores", "padding-ignored"): [
            lambda x, m, q, k, v, mask: ((p := ((x @ q) @ (m @ k).mT).softmax(-1)) @ (m @ v), p)
        ],
        ("padding-ignored", "output-alone"): [
            lambda x, m, q, k, v, mask: F.scaled_dot_product_attention(x @ q, m @ k, m @ v)
        ],
    },
    "encoder_block": {
        "pre-norm-called-post-norm": [lambda x, mask, at, ff, n1, n2: (h := x + at(n1(x), mask)) + ff(n2(h))],
        "norm-without-residual": [lambda x, mask, at, ff, n1, n2: n2(ff(n1(at(x, mask))))],
        "first-residual-missing": [lambda x, mask, at, ff, n1, n2: n2((h := n1(at(x, mask))) + ff(h))],
        "second-residual-missing": [lambda x, mask, at, ff, n1, n2: n2(ff(n1(x + at(x, mask))))],
        "second-residual-from-x": [lambda x, mask, at, ff, n1, n2: n2(x + ff(n1(x + at(x, mask))))],
        "feed-forward-reads-x": [lambda x, mask, at, ff, n1, n2: n2(n1(x + at(x, mask)) + ff(x))],
        "parallel": [lambda x, mask, at, ff, n1, n2: n2(x + ff(x) + at(x, mask))],
        "norms-missing": [lambda x, mask, at, ff, n1, n2: (h := x + at(x, mask)) + ff(h)],
        "first-norm-missing": [lambda x, mask, at, ff, n1, n2: n2((h := x + at(x, mask)) + ff(h))],
        "second-norm-missing": [lambda x, mask, at, ff, n1, n2: (h := n1(x + at(x, mask))) + ff(h)],
        "norm1-twice": [lambda x, mask, at, ff, n1, n2: n1((h := n1(x + at(x, mask))) + ff(h))],
        "norm2-twice": [lambda x, mask, at, ff, n1, n2: n2((h := n2(x + at(x, mask))) + ff(h))],
        "norms-swapped": [lambda x, mask, at, ff, n1, n2: n1((h := n2(x + at(x, mask))) + ff(h))],
        "norm-after-the-sublayer": [lambda x, mask, at, ff, n1, n2: (h := x + n1(at(x, mask))) + n2(ff(h))],
        "first-norm-after-the-sublayer": [lambda x, mask, at, ff, n1, n2: n2((h := x + n1(at(x, mask))) + ff(h))],
        "second-norm-after-the-sublayer": [lambda x, mask, at, ff, n1, n2: n2(ff(h := n1(x + at(x, mask)))) + h],
        "first-step-pre-norm": [lambda x, mask, at, ff, n1, n2: n2((h := x + at(n1(x), mask)) + ff(h))],
        "second-step-pre-norm": [lambda x, mask, at, ff, n1, n2: (h := n1(x + at(x, mask))) + ff(n2(h))],
        "residual-from-the-normed": [
            lambda x, mask, at, ff, n1, n2: (h := n2((y := n1(x)) + at(y, mask))) + ff(h),
        ],
        "padding-set-to-zero": [lambda *given: block_in_steps(*given).masked_fill(~given[1].mT, 0)],
        "norm-at-both-ends": [lambda x, mask, at, ff, n1, n2: n2((h := n1(x + at(n1(x), mask))) + ff(n2(h)))],
        "residual-around-the-norm": [
            lambda x, mask, at, ff, n1, n2: (h := x + n1(x + at(x, mask))) + n2(h + ff(h))
        ],
        "x-added-again": [lambda x, mask, at, ff, n1, n2: n2((h := n1(x + at(x, mask))) + ff(h) + x)],
        "padding-ignored": [
            lambda x, mask, at, ff, n1, n2: block_in_steps(x, None, at, ff, n1, n2),
            lambda x, mask, at, ff, n1, n2: block_in_steps(x, torch.ones_like(mask), at, ff, n1, n2),
        ],
        "mask-inverted": [lambda x, mask, at, ff, n1, n2: block_in_steps(x, ~mask, at, ff, n1, n2)],
        "causal-mask-added": [
            lambda x, mask, *parts: block_in_steps(x, mask & attention.causal_mask(x.shape[1]), *parts)
        ],
        "feed-forward-first": [lambda x, mask, at, ff, n1, n2: n2((h := n1(x + ff(x))) + at(h, mask))],
        "feed-forward-missing": [lambda x, mask, at, ff, n1, n2: n1(x + at(x, mask))],
        "attention-missing": [lambda x, mask, at, ff, n1, n2: n2(x + ff(x))],
        "two-tensors-not-one": [lambda x, mask, at, ff, n1, n2: ((h := n1(x + at(x, mask))), n2(h + ff(h)))],
        ("norms-swapped", "padding-ignored"): [lambda x, mask, at, ff, n1, n2: n1((h := n2(x + at(x))) + ff(h))],
        ("norms-missing", "padding-ignored"): [lambda x, mask, at, ff, n1, n2: (h := x + at(x)) + ff(h)],
        ("norm-without-residual", "padding-ignored"): [lambda x, mask, at, ff, n1, n2: n2(ff(n1(at(x))))],
    },
    "beam_step": {
        "probabilities-added": [lambda ids, totals, logs, n: step(ids, continued(totals, logs.exp()), n)],
        "logs-multiplied": [lambda ids, totals, logs, n: step(ids, totals[..., None] * logs, n)],
        "total-times-probability": [
            lambda ids, totals, logs, n: step(ids, totals[..., None] * logs.exp(), n)
        ],
        "shared-out-over-the-continuations": [
            lambda ids, totals, logs, n: step(
                ids, continued(totals, logs).flatten(1).log_softmax(1).unflatten(1, logs.shape[1:]), n
            )
        ],
        ("totals-as-probabilities", "shared-out-over-the-continuations"): [
            lambda ids, totals, logs, n: step(
                ids, continued(totals, logs).flatten(1).softmax(1).unflatten(1, logs.shape[1:]), n
            )
        ],
        "totals-ignored": [lambda ids, totals, logs, n: step(ids, logs, n)],
        "chosen-by-the-last-step": [chosen_by_last],
        "totals-not-updated": [
            lambda ids, totals, logs, n: (
                step(ids, continued(totals, logs), n)[0],
                totals.gather(1, continued(totals, logs).flatten(1).topk(n).indices // logs.shape[-1]),
            )
        ],
        "last-step-alone-returned": [
            lambda ids, totals, logs, n: (
                step(ids, continued(totals, logs), n)[0],
                logs.flatten(1).gather(1, continued(totals, logs).flatten(1).topk(n).indices),
            )
        ],
        "totals-as-probabilities": [
            lambda ids, totals, logs, n: step(ids, totals.exp()[..., None] * logs.exp(), n),
        ],
        "best-of-each-beam": [own_best],
        "best-of-each-beam-sorted": [own_best_sorted],
        "n-beams-of-each-beam": [all_own],
        "first-beam-only": [only_first],
        "as-many-as-came-in": [lambda ids, totals, logs, n: step(ids, continued(totals, logs), ids.shape[1])],
        "all-kept": [
            lambda ids, totals, logs, n: step(ids, continued(totals, logs), logs[0].numel()),
        ],
        "worst-kept": [
            lambda ids, totals, logs, n: step(ids, -continued(totals, logs), n, sign=-1),
            least_likely,
        ],
        "greedy": [lambda ids, totals, logs, n: step(ids, continued(totals, logs), 1)],
        "worst-first": [right_step(lambda longer, values: (longer.flip(1), values.flip(1)))],
        "not-sorted": [by_table_order],
        "beam-and-token-swapped": [
            lambda ids, totals, logs, n: step(
                ids,
                continued(totals, logs),
                n,
                parents=lambda places: places % logs.shape[2],
                tokens=lambda places: places // logs.shape[2],
            )
        ],
        "divided-by-n-beams": [
            lambda ids, totals, logs, n: step(ids, continued(totals, logs), n, divide=n),
        ],
        "place-taken-for-token": [
            lambda ids, totals, logs, n: step(ids, continued(totals, logs), n, tokens=lambda places: places)
        ],
        "beams-not-moved": [glued],
        "beams-of-the-first-sentence": [of_first_sentence],
        "first-beams-kept": [lambda ids, totals, logs, n: glued(ids[:, :n], totals, logs, n)],
        "first-beam-for-all": [lambda ids, totals, logs, n: glued(ids[:, :1].expand(-1, n, -1), totals, logs, n)],
        "beams-of-one-token": [right_step(lambda longer, values: (longer[..., [0, -1]], values))],
        "token-not-appended": [right_step(lambda longer, values: (longer[..., :-1], values))],
        "token-in-front": [
            right_step(lambda longer, values: (torch.cat([longer[..., -1:], longer[..., :-1]], -1), values))
        ],
        "tokens-alone": [right_step(lambda longer, values: (longer[..., -1], values))],
        "finished-beams-dropped": [
            lambda ids, totals, logs, n: step(
                ids, continued(totals.masked_fill(ended(ids), -math.inf), logs), n
            ),
        ],
        "end-written-again": [end_again],
        "averaged-over-the-length": [
            lambda ids, totals, logs, n: step(ids, continued(totals, logs) / ids.shape[2], n)
        ],
        "chosen-by-the-average": [by_average],
        "totals-first": [right_step(lambda longer, values: (values, longer))],
        "ids-alone": [right_step(lambda longer, values: longer)],
        ("totals-ignored", "divided-by-n-beams"): [lambda ids, totals, logs, n: step(ids, logs, n, divide=n)],
        ("totals-ignored", "totals-as-probabilities"): [lambda ids, totals, logs, n: step(ids, logs.exp(), n)],
        ("totals-ignored", "totals-first"): [lambda ids, totals, logs, n: step(ids, logs, n)[::-1]],
    },
}  # fmt: skip
UNKNOWN = {
    "teacher_forcing": [
        lambda t: (t[:, :-1].flip(1), t[:, 1:].flip(1)),
        lambda t: (t[:, :-1], t[:, 1:] + 1),
        lambda t: (t[:, :-1], F.one_hot(t[:, 1:], 10)),
        lambda t: (t[:, :-1], (t[:, 1:] != PADDING).long()),
    ],
    "cross_attention": [
        lambda x, m, q, k, v, mask: ask(x @ q, m @ k, (m @ v).flip(1), mask),
        lambda x, m, q, k, v, mask: ((p := mask / mask.sum(-1, keepdim=True) + 0 * x[..., :1]) @ (m @ v), p),
        lambda x, m, q, k, v, mask: ((p := torch.sigmoid((x @ q) @ (m @ k).mT) * mask) @ (m @ v), p),
        lambda x, m, q, k, v, mask: ask(x @ q, m @ k, (m @ v).tanh(), mask),
    ],
    "encoder_block": [
        lambda x, mask, at, ff, n1, n2: n2(n2((h := n1(x + at(x, mask))) + ff(h))),
        lambda x, mask, at, ff, n1, n2: n2(2 * (h := n1(x + at(x, mask))) + ff(h)),
        lambda x, mask, at, ff, n1, n2: n2((h := n1(x * at(x, mask))) + ff(h)),
        lambda x, mask, at, ff, n1, n2: n2((h := n1(x + at(at(x, mask), mask))) + ff(h)),
    ],
    "beam_step": [
        lambda ids, totals, logs, n: step(ids, continued(totals, logs), n, tokens=lambda places: 0 * places + END),
        lambda ids, totals, logs, n: step(ids, 2 * continued(totals, logs), n),
        lambda ids, totals, logs, n: step(ids.flip(1), continued(totals, logs), n),
        lambda ids, totals, logs, n: step(ids, totals.sum(1)[:, None, None] + logs, n),
    ],
}


# ---------------------------------------------------------------- inputs that no check knows


def fresh_targets(seed: int, *lengths: int, width: int) -> tuple:
    tokens = torch.randint(END + 1, 12, (len(lengths), width), generator=torch.Generator().manual_seed(seed))
    tokens[:, 0] = BEGIN
    for row, length in enumerate(lengths):
        tokens[row, length + 1] = END
        tokens[row, length + 2 :] = PADDING
    return (tokens,)


def fresh_cross(seed: int, *lengths: int, target: int, source: int, d_model: int, d_head: int) -> tuple:
    mask = torch.arange(source) < torch.tensor(lengths)[:, None]
    return (
        gaussian(len(lengths), target, d_model, seed=seed),
        gaussian(len(lengths), source, d_model, seed=seed + 1),
        *gaussian(3, d_model, d_head, seed=seed + 2),
        mask[:, None],
    )


def fresh_block(seed: int, *lengths: int, seq: int, d_model: int) -> tuple:
    w_q, w_v, up, down = gaussian(4, d_model, d_model, seed=seed)
    scales = gaussian(4, d_model, seed=seed + 1)
    mask = torch.arange(seq) < torch.tensor(lengths)[:, None]
    return (
        gaussian(len(lengths), seq, d_model, seed=seed + 2),
        mask[:, None],
        lambda x, mask=None: attention.scaled_dot_product_attention(x @ w_q, x, x @ w_v, mask)[0],
        lambda x: F.gelu(x @ up) @ down,
        lambda x: F.layer_norm(x, (d_model,), scales[0], scales[1], 0.1),
        lambda x: F.layer_norm(x, (d_model,), scales[2], scales[3], 0.2),
    )


def fresh_beams(seed: int, batch: int, beams: int, seq: int, vocab: int, n_beams: int, some_ended: bool) -> tuple:
    ids = torch.randint(END + 1, vocab, (batch, beams, seq), generator=torch.Generator().manual_seed(seed))
    ids[:, :, 0] = BEGIN
    logits = gaussian(batch, beams, vocab, seed=seed + 1)
    logits[..., : BEGIN + 1] = -math.inf
    log_probabilities = logits.log_softmax(-1)
    if some_ended:
        ids[:, 1, -1] = END
        log_probabilities[:, 1] = -math.inf
        log_probabilities[:, 1, PADDING] = 0
    return ids, gaussian(batch, beams, seed=seed + 2).log_softmax(-1) - 1, log_probabilities, n_beams


FRESH = {
    "teacher_forcing": lambda seed: [
        fresh_targets(seed, 3, 5, 1, width=7),
        fresh_targets(seed, 4, width=6),
        fresh_targets(seed, 0, 2, 4, 1, 3, width=6),
    ],
    "cross_attention": lambda seed: [
        fresh_cross(seed, 4, 2, target=3, source=4, d_model=5, d_head=3),
        fresh_cross(seed, 3, 5, 1, target=5, source=5, d_model=4, d_head=4),
        fresh_cross(seed, 2, target=6, source=3, d_model=3, d_head=7),
    ],
    "encoder_block": lambda seed: [
        fresh_block(seed, 3, 2, seq=3, d_model=6),
        fresh_block(seed, 5, seq=5, d_model=4),
    ],
    "beam_step": lambda seed: [
        fresh_beams(seed, 2, 3, 4, 8, 3, some_ended=True),
        fresh_beams(seed, 3, 2, 3, 6, 5, some_ended=False),
        fresh_beams(seed, 1, 4, 2, 7, 2, some_ended=True),
    ],
}

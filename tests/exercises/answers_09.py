"""Lesson 09: right and wrong answers as learners write them, and inputs that no check knows."""

import math

import torch
import torch.nn.functional as F

from transformer_lab.exercises.lesson_09 import Schedule, random_ids, training_run

# ---------------------------------------------------------------- right answers, written otherwise


def merge_by_pop(ids, pair, new_id):
    merged = []
    for token in ids:
        merged.append(token)
        if merged[-2:] == list(pair):
            merged[-2:] = [new_id]
    return merged


def merge_by_recursion(ids, pair, new_id):
    if len(ids) < 2:
        return list(ids)
    if (ids[0], ids[1]) == pair:
        return [new_id, *merge_by_recursion(ids[2:], pair, new_id)]
    return [ids[0], *merge_by_recursion(ids[1:], pair, new_id)]


def merge_by_for_and_skip(ids, pair, new_id):
    merged, skip = [], False
    for i, token in enumerate(ids):
        if skip:
            skip = False
        elif token == pair[0] and i + 1 < len(ids) and ids[i + 1] == pair[1]:
            merged.append(new_id)
            skip = True
        else:
            merged.append(token)
    return merged


def windows_by_loop(ids, starts, context_length):
    pairs = [(ids[s : s + context_length], ids[s + 1 : s + 1 + context_length]) for s in starts.tolist()]
    return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])


def windows_by_unfold(ids, starts, context_length):
    windows = ids.unfold(0, context_length + 1, 1)[starts]  # (batch, context + 1)
    return windows[:, :-1], windows[:, 1:]


def bigram_by_loop(ids, vocab_size):
    counts = torch.ones(vocab_size, vocab_size, dtype=torch.float64)
    for previous, following in zip(ids.tolist(), ids.tolist()[1:]):
        counts[previous, following] += 1
    return counts / counts.sum(-1, keepdim=True)


def bigram_by_bincount(ids, vocab_size):
    counts = torch.bincount(ids[:-1] * vocab_size + ids[1:], minlength=vocab_size**2).view(vocab_size, vocab_size)
    return (counts + 1) / (counts.sum(1, keepdim=True) + vocab_size)


def bigram_by_one_hot(ids, vocab_size):
    one_hot = F.one_hot(ids, vocab_size).float()
    return F.normalize(1 + one_hot[:-1].T @ one_hot[1:], p=1, dim=1)


def trains_with_zero_first(model, optimizer, inputs, targets, max_norm):
    losses = []
    for i in range(len(inputs)):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs[i]).transpose(1, 2), targets[i])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        losses.append(loss)
    return losses


def trains_with_its_own_clipping(model, optimizer, inputs, targets, max_norm):
    losses = []
    for x, y in zip(inputs, targets):
        loss = -model(x).log_softmax(-1).gather(-1, y[..., None]).mean()
        losses += [loss.item()]
        for p in model.parameters():
            p.grad = None
        loss.backward()
        norm = math.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters()))
        for p in model.parameters():
            p.grad *= min(1, max_norm / norm)
        optimizer.step()
    return losses


def trains_by_autograd(model, optimizer, inputs, targets, max_norm):
    losses, parameters = [], list(model.parameters())
    for x, y in zip(inputs, targets):
        loss = F.cross_entropy(model(x).flatten(0, -2), y.flatten())
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
            p.grad = g
        torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        optimizer.step()
        losses.append(float(loss))
    return losses


def schedule(step, config):
    if step < config.warmup_steps:
        return config.learning_rate / config.warmup_steps * (step + 1)
    angle = math.pi * (step - config.warmup_steps) / (config.steps - config.warmup_steps)
    share = 0.5 + 0.5 * math.cos(angle)
    return config.learning_rate * (share + (1 - share) * config.final_learning_rate)


def schedule_by_squared_cosine(step, config):
    highest, lowest = config.learning_rate, config.learning_rate * config.final_learning_rate
    left = (config.steps - step) / (config.steps - config.warmup_steps)
    if step >= config.warmup_steps:
        return lowest + (highest - lowest) * math.sin(math.pi / 2 * left) ** 2
    return highest * (step + 1) / config.warmup_steps


def schedule_as_tensor(step, config):
    return torch.tensor(schedule(step, config), dtype=torch.float64)


def choose_by_masking_logits(logits, temperature=1.0, top_k=None, top_p=None):
    """In the way of most libraries: −∞ for what is cut, and a softmax at the end."""
    if temperature == 0:
        best = torch.zeros_like(logits)
        return best.scatter(-1, logits.argmax(-1, keepdim=True), 1.0)
    logits = logits / temperature
    if top_k is not None:
        smallest = logits.topk(top_k).values[..., -1:]
        logits = logits.masked_fill(logits < smallest, -math.inf)
    if top_p is not None:
        ordered, order = logits.sort(descending=True)
        remove = ordered.softmax(-1).cumsum(-1) > top_p
        remove[..., 1:] = remove[..., :-1].clone()
        remove[..., 0] = False
        logits = logits.masked_fill(remove.scatter(-1, order, remove), -math.inf)
    return logits.softmax(-1)


def choose_by_loop(logits, temperature=1.0, top_k=None, top_p=None):
    rows = []
    for row in logits.reshape(-1, logits.shape[-1]):
        if temperature == 0:
            rows.append([float(i == row.argmax()) for i in range(len(row))])
            continue
        p = (row / temperature).softmax(0).tolist()
        kept = sorted(range(len(p)), key=lambda i: -p[i])[: top_k or len(p)]
        total = sum(p[i] for i in kept)
        nucleus, held = [], 0.0
        for i in kept:
            nucleus.append(i)
            held += p[i] / total
            if top_p is not None and held >= top_p:
                break
        total = sum(p[i] for i in nucleus)
        rows.append([p[i] / total if i in nucleus else 0.0 for i in range(len(p))])
    return torch.tensor(rows, dtype=logits.dtype).view(logits.shape)


def choose_by_ranks(logits, temperature=1.0, top_k=None, top_p=None):
    """Without sorting: a token's rank and what is likelier, by comparing all with all."""
    p = (logits / max(temperature, 1e-9)).softmax(-1)
    likelier = (logits[..., None, :] > logits[..., :, None]).to(p.dtype)  # (…, token, other)
    if top_k is not None:
        p = torch.where(likelier.sum(-1) < top_k, p, 0)
        p = p / p.sum(-1, keepdim=True)
    if top_p is not None:
        p = torch.where((likelier * p[..., None, :]).sum(-1) < top_p, p, 0)
    return p / p.sum(-1, keepdim=True)


def mean_by_product(losses, real):
    return (losses * real).sum() / real.sum()


def mean_by_loop(losses, real):
    kept = [loss for row, mask in zip(losses.tolist(), real.tolist()) for loss, r in zip(row, mask) if r]
    return sum(kept) / len(kept)


# ---------------------------------------------------------------- wrong answers


def merge_with_for(ids, pair, new_id):
    merged = []
    for i in range(len(ids)):
        if ids[i : i + 2] == list(pair):
            merged.append(new_id)
        else:
            merged.append(ids[i])
    return merged


def merge_up_to_the_last_pair(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids) - 1:
        found = (ids[i], ids[i + 1]) == pair
        merged.append(new_id if found else ids[i])
        i += 2 if found else 1
    return merged


def merge_and_append_the_last(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    merged.append(ids[-1])
    return merged


def merge_reading_past_the_end(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        now, following = ids[i], ids[i + 1]
        merged.append(new_id if (now, following) == pair else now)
        i += 2 if (now, following) == pair else 1
    return merged


def merge_without_looking_for_the_end(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if ids[i] == pair[0] and ids[i + 1] == pair[1]:
            merged.append(new_id)
            i = i + 2
        else:
            merged.append(ids[i])
            i = i + 1
    return merged


def merge_comparing_list_and_tuple(ids, pair, new_id):
    merged = list(ids)
    for i in range(len(merged) - 1):
        if merged[i : i + 2] == pair:
            merged[i : i + 2] = [new_id]
    return merged


def merge_and_stop(ids, pair, new_id):
    for i in range(len(ids) - 1):
        if ids[i] == pair[0] and ids[i + 1] == pair[1]:
            return ids[:i] + [new_id] + ids[i + 2 :]
    return ids


def merge_both_orders(ids, pair, new_id):
    merged = []
    for token in ids:
        if merged and sorted((merged[-1], token)) == sorted(pair):
            merged[-1] = new_id
        else:
            merged.append(token)
    return merged


def merge_by_first_token(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        merged.append(new_id if ids[i] == pair[0] else ids[i])
        i += 2 if ids[i] == pair[0] else 1
    return merged


def merge_backwards(ids, pair, new_id):
    merged, i = list(ids), len(ids) - 2
    while i >= 0:
        if (merged[i], merged[i + 1]) == pair:
            merged[i : i + 2] = [new_id]
            i -= 1
        i -= 1
    return merged


def merge_in_twos(ids, pair, new_id):
    merged = []
    for i in range(0, len(ids), 2):
        two = ids[i : i + 2]
        merged.extend([new_id] if tuple(two) == pair else two)
    return merged


def merge_whole_twos(ids, pair, new_id):
    merged = []
    for two in zip(ids[::2], ids[1::2]):
        merged += [new_id] if two == pair else two
    return merged


def merge_and_keep(ids, pair, new_id):
    merged = []
    for token in ids:
        merged.append(token)
        if merged[-2:] == list(pair):
            merged.append(new_id)
    return merged


def merge_to_nothing(ids, pair, new_id):
    merged = merge_by_pop(ids, pair, new_id)
    return [token for token in merged if token != new_id]


def merge_text(ids, pair, new_id):
    text = ",".join(str(i) for i in ids)
    return [int(word) for word in text.replace(f"{pair[0]},{pair[1]}", str(new_id)).split(",")]


def windows(first, second, length=0):
    """Slices that begin this many tokens after the start."""

    def wrong(ids, starts, context_length):
        return tuple(
            torch.stack([ids[s + shift :][: context_length + length] for s in starts.tolist()])
            for shift in (first, second)
        )

    return wrong


def windows_by_index(first, second, length=0):
    def wrong(ids, starts, context_length):
        places = starts.unsqueeze(1) + torch.arange(context_length + length).unsqueeze(0)
        return ids[places + first], ids[places + second]

    return wrong


def changed_windows(change):
    return lambda ids, starts, n: change(*windows_by_loop(ids, starts, n))


def windows_with_roll(ids, starts, context_length):
    inputs = torch.stack([ids[s : s + context_length] for s in starts])
    return inputs, torch.cat([inputs[:, 1:], inputs[:, :1]], dim=1)


def windows_with_the_next(ids, starts, context_length):
    n = context_length
    return torch.stack([ids[s : s + n] for s in starts]), torch.stack([ids[s + n : s + n + n] for s in starts])


def pairs(of, start=1.0):
    """The right bigram but for the pairs that are counted."""

    def wrong(ids, vocab_size):
        counts = torch.full((vocab_size, vocab_size), start, dtype=torch.float64)
        for previous, following in of(ids.tolist()):
            counts[previous, following] += 1
        return counts / counts.sum(1, keepdim=True)

    return wrong


def neighbours(ids):
    return zip(ids, ids[1:])


def counts_by_loop(ids, vocab_size):
    counts = torch.zeros(vocab_size, vocab_size)
    for previous, following in neighbours(ids.tolist()):
        counts[previous, following] += 1
    return counts


def counted(probabilities):
    """The right counts, not smoothed yet, and what is made of them."""
    return lambda ids, vocab_size: probabilities(counts_by_loop(ids, vocab_size))


def bigram_with_plain_indexing(ids, vocab_size):
    counts = torch.ones(vocab_size, vocab_size)
    counts[ids[:-1], ids[1:]] += 1
    return counts / counts.sum(1, keepdim=True)


def trainer(
    zero=True, clip=torch.nn.utils.clip_grad_norm_, order="loss backward clip step", loss=F.cross_entropy,
    target=lambda x, y: y, head=lambda logits: logits, sign=1, result=lambda losses: losses,
):  # fmt: skip
    """A loop with one thing done otherwise; `order` is that of a round."""

    def train(model, optimizer, inputs, targets, max_norm):
        losses = []
        for x, y in zip(inputs, targets):
            if zero:
                optimizer.zero_grad()
            for what in order.split():
                if what == "loss":
                    now = loss(head(model(x)).flatten(0, 1), target(x, y).flatten())
                if what == "backward":
                    (sign * now).backward()
                if what == "clip":
                    clip(model.parameters(), max_norm)
                if what == "step":
                    optimizer.step()
                if what == "zero":
                    optimizer.zero_grad()
            losses.append(now.item())
        return result(losses)

    return train


def each_by_itself(parameters, max_norm):
    for p in parameters:
        p.grad *= min(1.0, max_norm / p.grad.norm().item())


def always_to(parameters, max_norm):
    parameters = list(parameters)
    norm = torch.cat([p.grad.flatten() for p in parameters]).norm()
    for p in parameters:
        p.grad = p.grad / norm * max_norm


def trains_two_ahead(model, optimizer, inputs, targets, max_norm):
    losses = []
    for x, y in zip(inputs, targets):
        loss = F.cross_entropy(model(x)[:, :-1].flatten(0, 1), y[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def trains_by_hand(model, optimizer, inputs, targets, max_norm):
    losses = []
    for x, y in zip(inputs, targets):
        model.zero_grad()
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        with torch.no_grad():
            for p in model.parameters():
                p -= optimizer.param_groups[0]["lr"] * p.grad
        losses.append(loss.item())
    return losses


def trains_and_returns_at_once(model, optimizer, inputs, targets, max_norm):
    losses = []
    for x, y in zip(inputs, targets):
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        return losses


def trains_with_a_step_after_the_loop(model, optimizer, inputs, targets, max_norm):
    losses = []
    for x, y in zip(inputs, targets):
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        losses.append(loss.item())
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    optimizer.zero_grad()
    return losses


def trains_on_the_first(model, optimizer, inputs, targets, max_norm):
    return trainer()(model, optimizer, inputs[:1].expand_as(inputs), targets[:1].expand_as(targets), max_norm)


def summed(logits, targets):
    return F.cross_entropy(logits, targets, reduction="sum")


def other_schedule(**changes):
    def wrong(step, config):
        rate = config.learning_rate
        if step < config.warmup_steps:
            return rate * (step + changes.get("first", 1)) / config.warmup_steps
        begins = changes.get("begins", config.warmup_steps)
        progress = (step - begins) / (config.steps - changes.get("before", config.warmup_steps))
        final = rate * config.final_learning_rate * changes.get("final", 1)
        return final + (rate - final) * changes.get("shape", lambda x: (1 + math.cos(math.pi * x)) / 2)(progress)

    return wrong


def falling(step, config, highest=None, final=None):
    """The right cosine, during the warm-up too."""
    highest = config.learning_rate if highest is None else highest
    final = config.learning_rate * config.final_learning_rate if final is None else final
    progress = (step - config.warmup_steps) / (config.steps - config.warmup_steps)
    return final + (highest - final) * (math.cos(progress * math.pi) + 1) / 2


def warming(after):
    """The right warm-up, then something else."""

    def wrong(step, config):
        if step < config.warmup_steps:
            return (step + 1) * config.learning_rate / config.warmup_steps
        return after(step, config)

    return wrong


def warm_up_one_too_long(step, config):
    if step <= config.warmup_steps:
        return config.learning_rate * (step + 1) / max(1, config.warmup_steps)
    return falling(step, config)


def down_to_zero(step, config):
    return falling(step, config, final=0)


def choose(
    scale=lambda logits, t: logits / t, softmax=lambda x: x.softmax(-1), zero=True, k=0, after_k=True,
    kept=lambda p, top_p: p.cumsum(-1) - p < top_p, after_p=True, back="scatter", best_first=True,
):  # fmt: skip
    """A right answer in steps, with one of them done otherwise."""

    def wrong(logits, temperature=1.0, top_k=None, top_p=None):
        if zero and temperature == 0:
            return F.one_hot(logits.argmax(-1), logits.shape[-1])
        p, order = torch.sort(softmax(scale(logits, temperature)), dim=-1, descending=best_first)
        if top_k is not None and k is not None:
            p = torch.cat([p[..., : top_k + k], torch.zeros_like(p[..., top_k + k :])], dim=-1)
            if after_k:
                p = p / p.sum(-1, keepdim=True)
        if top_p is not None and kept is not None:
            p = p * kept(p, top_p)
            if after_p:
                p = p / p.sum(-1, keepdim=True)
        if back == "scatter":
            return torch.zeros_like(p).scatter_(-1, order, p)
        return p.gather(-1, order) if back == "gather" else p

    return wrong


def choose_greedy_token(logits, temperature=1.0, top_k=None, top_p=None):
    return logits.argmax(-1) if temperature == 0 else choose_by_masking_logits(logits, temperature, top_k, top_p)


def choose_with_zero_logits(logits, temperature=1.0, top_k=None, top_p=None):
    kept = choose_by_masking_logits(logits, temperature, top_k, top_p) > 0
    return choose_by_loop(logits, 0) if temperature == 0 else ((logits / temperature) * kept).softmax(-1)


def choose_by_libraries_without_the_shift(logits, temperature=1.0, top_k=None, top_p=None):
    if temperature == 0:
        return choose_by_loop(logits, 0)
    p = choose_by_masking_logits(logits, temperature, top_k)
    if top_p is not None:
        ordered, order = p.sort(descending=True)
        remove = ordered.cumsum(-1) > top_p
        p = p.masked_fill(remove.scatter(-1, order, remove), 0)
    return p / p.sum(-1, keepdim=True)


def choose_with_temperature_last(logits, temperature=1.0, top_k=None, top_p=None):
    if temperature == 0:
        return choose_by_loop(logits, 0)
    kept = choose_by_masking_logits(logits, 1.0, top_k, top_p) > 0
    return (logits / temperature).masked_fill(~kept, -math.inf).softmax(-1)


def at_least_one(p, top_p):
    kept = p.cumsum(-1) < top_p
    kept[..., 0] = True
    return kept


def one_too_many(p, top_p):
    kept = p.cumsum(-1) - p < top_p
    return torch.cat([torch.ones_like(kept[..., :1]), kept[..., :-1]], dim=-1)


RIGHT = {
    "merge_pair": [merge_by_pop, merge_by_recursion, merge_by_for_and_skip],
    "windows_at": [windows_by_loop, windows_by_unfold, lambda *a: list(windows_by_index(0, 1)(*a))],
    "bigram_probabilities": [bigram_by_loop, bigram_by_bincount, bigram_by_one_hot],
    "train_steps": [trains_with_zero_first, trains_with_its_own_clipping, trains_by_autograd, trainer()],
    "learning_rate": [schedule, schedule_by_squared_cosine, schedule_as_tensor],
    "next_token_probabilities": [choose_by_masking_logits, choose_by_loop, choose_by_ranks, choose()],
    "mean_loss": [
        mean_by_product, mean_by_loop, lambda losses, real: losses.masked_fill(~real, 0).sum() / real.float().sum()
    ],
}  # fmt: skip
WRONG = {
    "merge_pair": {
        "second-token-kept": [merge_with_for],
        "last-token-lost": [merge_up_to_the_last_pair],
        "last-token-again": [merge_and_append_the_last],
        "reads-past-the-end": [merge_reading_past_the_end],
        "first-token-at-the-end": [merge_without_looking_for_the_end],
        "nothing-merged": [merge_comparing_list_and_tuple, lambda ids, pair, new_id: ids],
        "only-first-occurrence": [merge_and_stop],
        "order-ignored": [merge_both_orders],
        "first-token-enough": [merge_by_first_token],
        "right-to-left": [merge_backwards],
        "even-places-only": [merge_in_twos],
        "pair-dropped": [merge_to_nothing],
        "digits-replaced": [merge_text],
        ("last-token-lost", "even-places-only"): [merge_whole_twos],
    },
    "windows_at": {
        "targets-not-shifted": [windows(0, 0), lambda *a: (windows_by_loop(*a)[0],) * 2],
        "targets-shifted-twice": [windows(0, 2), windows_by_index(0, 2)],
        "targets-before": [windows_by_index(0, -1)],
        "inputs-and-targets-swapped": [windows(1, 0)],
        "starts-off-by-one": [windows_by_index(1, 2), windows(1, 2)],
        "starts-ignored": [lambda ids, starts, n: windows_by_loop(ids, 0 * starts, n)],
        "positions-not-tokens": [lambda ids, starts, n: windows_by_loop(torch.arange(len(ids)), starts, n)],
        "window-too-long": [windows_by_index(0, 1, length=1), windows(0, 1, length=1)],
        "window-too-short": [windows(0, 1, length=-1)],
        "axes-swapped": [changed_windows(lambda x, y: (x.T, y.T))],
        "windows-joined": [changed_windows(lambda x, y: (torch.cat([*x]), torch.cat([*y])))],
        "one-target-a-window": [lambda ids, starts, n: (windows_by_loop(ids, starts, n)[0], ids[starts + n])],
        "targets-rolled": [windows_with_roll],
        "next-window-as-targets": [windows_with_the_next, lambda ids, s, n: windows_by_index(0, n)(ids, s, n)],
        "rows-not-stacked": [changed_windows(lambda x, y: (list(x), list(y)))],
        "one-tensor": [changed_windows(lambda x, y: torch.stack([x, y]))],
        "targets-missing": [changed_windows(lambda x, y: x)],
        ("targets-not-shifted", "window-too-short"): [windows(0, 0, length=-1)],
        ("inputs-and-targets-swapped", "axes-swapped"): [changed_windows(lambda x, y: (y.T, x.T))],
    },
    "bigram_probabilities": {
        "no-smoothing": [pairs(neighbours, start=0.0)],
        "rows-of-zeros": [counted(lambda c: c / c.sum(1, keepdim=True).clamp_min(1))],
        "only-zeros-raised": [counted(lambda c: F.normalize(torch.where(c == 0, 1, c), p=1, dim=1))],
        "smoothing-not-in-total": [counted(lambda c: (c + 1) / c.sum(1, keepdim=True))],
        "smoothing-after-division": [counted(lambda c: c / c.sum(1, keepdim=True) + 1)],
        "repeats-counted-once": [bigram_with_plain_indexing, pairs(lambda ids: set(neighbours(ids)))],
        "nothing-counted": [counted(lambda c: torch.full_like(c, 1 / len(c)))],
        "transposed": [pairs(lambda ids: zip(ids[1:], ids))],
        "columns-sum-to-one": [counted(lambda c: (c + 1) / (c + 1).sum(0))],
        "keepdim-missing": [counted(lambda c: (c + 1) / (c + 1).sum(dim=1))],
        "previous-ignored": [
            lambda ids, v: ((torch.bincount(ids, minlength=v) + 1) / (len(ids) + v)).repeat(v, 1)
        ],
        "joint-not-conditional": [counted(lambda c: (c + 1) / (c + 1).sum())],
        "not-normalised": [counted(lambda c: c + 1)],
        "softmax-of-counts": [counted(lambda c: c.softmax(1))],
        "log-probabilities": [counted(lambda c: ((c + 1) / (c + 1).sum(1, keepdim=True)).log())],
        "pairs-do-not-overlap": [pairs(lambda ids: zip(ids[::2], ids[1::2]))],
        "last-pair-missing": [pairs(lambda ids: [(ids[i], ids[i + 1]) for i in range(len(ids) - 2)])],
        "one-token-skipped": [pairs(lambda ids: zip(ids, ids[2:]))],
        "wraps-round": [pairs(lambda ids: [(ids[i - 1], ids[i]) for i in range(len(ids))])],
        ("no-smoothing", "not-normalised"): [counts_by_loop],
        ("no-smoothing", "joint-not-conditional"): [counted(lambda c: c / c.sum())],
        ("no-smoothing", "transposed"): [pairs(lambda ids: zip(ids[1:], ids), start=0.0)],
    },
    "train_steps": {
        "gradients-not-zeroed": [trainer(zero=False)],
        "weights-never-change": [
            trainer(order="loss backward clip"),
            trainer(order="loss backward clip zero step"),
            trainer(order="loss step backward clip"),
            trainer(order="loss clip step"),
            trains_with_a_step_after_the_loop,
        ],
        "step-before-backward": [trainer(zero=False, order="loss step zero backward clip")],
        "not-clipped": [
            trainer(order="loss backward step"), trainer(order="loss clip backward step"),
            trainer(order="loss backward step clip"),
        ],
        "clipped-by-value": [trainer(clip=torch.nn.utils.clip_grad_value_)],
        "clipped-one-by-one": [trainer(clip=each_by_itself)],
        "always-scaled-to-max-norm": [trainer(clip=always_to)],
        "clipped-at-one": [trainer(clip=lambda p, max_norm: torch.nn.utils.clip_grad_norm_(p, 1.0))],
        "loss-after-the-step": [trainer(order="loss backward clip step loss")],
        "targets-not-shifted": [trainer(target=lambda x, y: x)],
        "targets-shifted-twice": [trains_two_ahead],
        "softmax-before-cross-entropy": [trainer(head=lambda logits: logits.softmax(-1))],
        "loss-summed": [trainer(loss=summed)],
        "uphill": [trainer(sign=-1)],
        "optimizer-bypassed": [trains_by_hand],
        "first-batch-only": [trains_on_the_first],
        "first-step-only": [trains_and_returns_at_once],
        "only-last-loss": [trainer(result=lambda losses: losses[-1])],
        "losses-averaged": [trainer(result=lambda losses: sum(losses) / len(losses))],
        ("gradients-not-zeroed", "not-clipped"): [trainer(zero=False, order="loss backward step")],
        ("clipped-by-value", "softmax-before-cross-entropy"): [
            trainer(clip=torch.nn.utils.clip_grad_value_, head=lambda logits: logits.softmax(-1))
        ],
    },
    "learning_rate": {
        "warm-up-from-zero": [other_schedule(first=0)],
        "warm-up-one-too-long": [warm_up_one_too_long],
        "no-warm-up": [lambda s, c: falling(max(s, c.warmup_steps), c)],
        "warm-up-to-one": [
            lambda s, c: (s + 1) / c.warmup_steps if s < c.warmup_steps else falling(s, c)
        ],
        "cosine-from-the-start": [falling],
        "cosine-over-all-steps": [other_schedule(begins=0, before=0)],
        "warm-up-not-subtracted": [other_schedule(begins=0)],
        "progress-of-all-steps": [other_schedule(before=0)],
        "progress-one-short": [warming(lambda s, c: schedule(s, Schedule(c.steps - 1, warmup_steps=c.warmup_steps,
                               learning_rate=c.learning_rate, final_learning_rate=c.final_learning_rate)))],
        "down-to-zero": [other_schedule(final=0)],
        "final-as-rate": [warming(lambda s, c: falling(s, c, final=c.final_learning_rate))],
        "final-as-floor": [warming(lambda s, c: max(down_to_zero(s, c), c.learning_rate * c.final_learning_rate))],
        "final-on-top": [warming(lambda s, c: down_to_zero(s, c) + c.learning_rate * c.final_learning_rate)],
        "factor-not-rate": [warming(lambda s, c: falling(s, c, highest=1, final=0))],
        "straight-line": [other_schedule(shape=lambda x: 1 - x)],
        "cosine-rises": [other_schedule(shape=lambda x: 0.5 - 0.5 * math.cos(math.pi * x))],
        "not-halved": [other_schedule(shape=lambda x: 1 + math.cos(math.pi * x))],
        "one-plus-missing": [other_schedule(shape=lambda x: math.cos(math.pi * x))],
        "pi-missing": [other_schedule(shape=lambda x: 0.5 * (1 + math.cos(x)))],
        "whole-cosine": [other_schedule(shape=lambda x: (1 + math.cos(math.tau * x)) / 2)],
        "quarter-cosine": [other_schedule(shape=lambda x: math.cos(x * math.pi / 2))],
        ("warm-up-from-zero", "down-to-zero"): [other_schedule(first=0, final=0)],
        ("progress-of-all-steps", "straight-line"): [other_schedule(before=0, shape=lambda x: 1 - x)],
    },
    "next_token_probabilities": {
        "temperature-inverted": [choose(scale=lambda logits, t: logits * t)],
        "temperature-ignored": [choose(scale=lambda logits, t: logits)],
        "temperature-after-cut": [choose_with_temperature_last],
        "temperature-zero-divides": [choose(zero=False)],
        "greedy-gives-the-token": [choose_greedy_token],
        "softmax-over-first-axis": [choose(softmax=lambda x: x.softmax(0))],
        "top-k-ignored": [choose(k=None)],
        "top-k-one-too-many": [choose(k=1)],
        "top-k-one-too-few": [choose(k=-1)],
        "top-k-after-sampling": [choose(after_k=False)],
        "top-p-not-renormalised": [choose(after_p=False)],
        "not-renormalised": [choose(after_k=False, after_p=False)],
        "top-p-ignored": [choose(kept=None)],
        "one-cut-only": [lambda x, t=1, k=None, p=None: choose_by_masking_logits(x, t, k, None if k else p)],
        "top-p-off-by-one": [choose(kept=lambda p, top_p: p.cumsum(-1) < top_p), choose_by_libraries_without_the_shift],
        "top-p-one-too-few": [choose(kept=at_least_one)],
        "top-p-one-too-many": [choose(kept=one_too_many)],
        "top-p-as-threshold": [choose(kept=lambda p, top_p: p >= top_p)],
        "unlikeliest-kept": [choose(best_first=False)],
        "left-sorted": [choose(back=None)],
        "put-back-by-gather": [choose(back="gather")],
        "cut-with-zero": [choose_with_zero_logits],
        ("temperature-inverted", "not-renormalised"): [
            choose(scale=lambda logits, t: logits * t, after_k=False, after_p=False)
        ],
        ("temperature-inverted", "temperature-zero-divides"): [choose(scale=lambda logits, t: logits * t, zero=False)],
        ("top-p-off-by-one", "left-sorted"): [choose(kept=lambda p, top_p: p.cumsum(-1) < top_p, back=None)],
    },
    "mean_loss": {
        "loss-over-padding": [lambda losses, real: losses.mean()],
        "padding-in-the-count": [lambda losses, real: torch.where(real, losses, 0).mean()],
        "mean-of-means": [lambda losses, real: torch.stack([row[r].mean() for row, r in zip(losses, real)]).mean()],
        "one-loss-a-sentence": [lambda losses, real: (losses * real).sum(-1) / real.sum(-1)],
        "sum-not-mean": [lambda losses, real: (losses * real).sum()],
        "divided-by-sentences": [lambda losses, real: (losses * real).sum(1).mean()],
        "mask-inverted": [lambda losses, real: losses.masked_fill(real, 0).sum() / (~real).sum()],
        "not-averaged": [lambda losses, real: losses[real]],
        "padding-set-to-zero": [lambda losses, real: losses.masked_fill(~real, 0)],
        ("sum-not-mean", "mask-inverted"): [lambda losses, real: losses[~real].sum()],
    },
}  # fmt: skip
UNKNOWN = {
    "merge_pair": [
        lambda ids, pair, new_id: [new_id if i in pair else i for i in ids],
        lambda ids, pair, new_id: merge_by_pop(ids, pair, new_id)[::-1],
        lambda ids, pair, new_id: [new_id],
        lambda ids, pair, new_id: sorted(merge_by_pop(ids, pair, new_id)),
    ],
    "windows_at": [
        changed_windows(lambda x, y: (x.flip(1), y.flip(1))),
        changed_windows(lambda x, y: (x, torch.zeros_like(y))),
        lambda ids, starts, n: windows_by_loop(ids, starts.flip(0) // 2, n),
        changed_windows(lambda x, y: (x, y, x)),
    ],
    "bigram_probabilities": [
        counted(lambda c: (c + 2) / (c + 2).sum(1, keepdim=True)),
        counted(lambda c: (c + 1).sqrt() / (c + 1).sqrt().sum(1, keepdim=True)),
        counted(lambda c: ((c + 1) ** 2) / ((c + 1) ** 2).sum(1, keepdim=True)),
    ],
    "train_steps": [
        lambda model, optimizer, x, y, n: [0.0] * len(x),
        trainer(order="loss backward clip step step"),
        trainer(loss=lambda logits, targets: F.cross_entropy(logits, targets, label_smoothing=0.1)),
        trainer(clip=lambda p, max_norm: torch.nn.utils.clip_grad_norm_(p, max_norm, norm_type=1)),
    ],
    "learning_rate": [
        lambda s, c: c.learning_rate,
        other_schedule(shape=lambda x: (1 - x) ** 2),
        other_schedule(shape=lambda x: 0.1**x),
        lambda s, c: schedule(s, c) / 2,
    ],
    "next_token_probabilities": [
        choose(softmax=torch.sigmoid),
        choose(softmax=lambda x: x),
        choose(scale=lambda logits, t: logits / t**2),
        choose(kept=lambda p, top_p: p.cumsum(-1) - p / 2 < top_p),
    ],
    "mean_loss": [
        lambda losses, real: losses[real].median(),
        lambda losses, real: losses[real].max(),
        lambda losses, real: losses[:, -1].mean(),
    ],
}


# ---------------------------------------------------------------- inputs that no check knows


def fresh_losses(seed: int) -> list[tuple]:
    losses = torch.rand(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    lengths = 1 + random_ids(6, 4, seed=seed)
    return [(losses, torch.arange(6) < lengths[:, None])]


def fresh_logits(seed: int) -> list[tuple]:
    logits = torch.randn(4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return [
        (logits, 1.3, None, None), (logits, 0.0, 3, None), (logits, 0.6, 5, None), (logits[0], 2.0, None, 0.4),
        (logits, 1.2, 6, 0.85), (logits, 1.0, None, 0.02),
    ]  # fmt: skip


FRESH = {
    "merge_pair": lambda seed: [
        (random_ids(4, 50, seed=seed).tolist(), (seed % 3, 1), 4),
        ([2, 2, 2, 2, 2], (2, 2), 7),
    ],
    "windows_at": lambda seed: [(random_ids(90, 60, seed=seed), random_ids(50, 5, seed=seed + 1), 8)],
    "bigram_probabilities": lambda seed: [(random_ids(4, 80, seed=seed), 6)],
    "train_steps": lambda seed: [
        training_run(6, 4, 3, 5, max_norm=10.0, rate=0.1, scale=0.5, seed=seed),
        training_run(5, 4, 1, 3, max_norm=0.4, rate=0.4, scale=0.7, seed=seed),
    ],
    "learning_rate": lambda seed: [
        (step, Schedule(steps=3 * seed, warmup_steps=20, learning_rate=0.7, final_learning_rate=0.3))
        for step in (0, 7, 20, seed, 2 * seed)
    ],
    "next_token_probabilities": fresh_logits,
    "mean_loss": fresh_losses,
}

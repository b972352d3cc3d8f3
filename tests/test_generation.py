"""From logits to a next token, and on."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from transformer_lab.generation import (
    beam_search,
    beam_step,
    evaluating,
    generate,
    greedy_search,
    next_token_probabilities,
    penalty,
    write,
)
from transformer_lab.gpt import GPT, GPTConfig
from transformer_lab.tokenizers import CharacterTokenizer
from transformer_lab.transformer import BEGIN, END, PADDING, Transformer, TransformerConfig

VOCAB = 6
distributions = st.permutations([1.0, 2.0, 4.0, 7.0, 11.0, 15.0]).map(lambda w: torch.tensor(w) / 40)
temperatures = st.sampled_from([0.5, 1.0, 2.0])


class Parrot(nn.Module):
    """Answers a token with its row of the table, and remembers what it was asked and in which modes."""

    def __init__(self, table: torch.Tensor):
        super().__init__()
        self.config = SimpleNamespace(context_length=3)
        self.table = nn.Parameter(table)
        self.asked, self.modes = [], []

    def forward(self, ids):
        self.asked.append(ids.tolist())
        self.modes.append((self.training, torch.is_grad_enabled()))
        return self.table[ids]


# ---------------------------------------------------------------- one token


def test_temperature_by_hand():
    logits = torch.tensor([math.log(4), 0.0])
    assert next_token_probabilities(logits).tolist() == pytest.approx([4 / 5, 1 / 5])
    assert next_token_probabilities(logits, temperature=2.0).tolist() == pytest.approx([2 / 3, 1 / 3])  # flatter
    assert next_token_probabilities(logits, temperature=0.5).tolist() == pytest.approx([16 / 17, 1 / 17])  # sharper


@pytest.mark.parametrize("cut", [{"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-3}])
@given(p=distributions)
def test_greedy(cut, p):
    assert_close(next_token_probabilities(p.log(), **cut), nn.functional.one_hot(p.argmax(), VOCAB).float())


def test_a_tie_goes_to_one_token_alone():
    for cut in ({"temperature": 0.0}, {"top_k": 1}, {"top_p": 0.1}):
        assert next_token_probabilities(torch.zeros(2, 3), **cut).tolist() == [[1, 0, 0]] * 2


@pytest.mark.parametrize("cut", [{"top_p": 1.0}, {"top_k": VOCAB}, {"top_k": 100}, {"top_k": VOCAB, "top_p": 1.0}])
@given(p=distributions, temperature=temperatures)
def test_no_cut_leaves_the_distribution(cut, p, temperature):
    probabilities = next_token_probabilities(p.log(), temperature, **cut)
    assert_close(probabilities, (p.log() / temperature).softmax(-1))


@given(p=distributions, temperature=temperatures, k=st.integers(1, VOCAB))
def test_top_k_keeps_the_k_likeliest_in_proportion(p, temperature, k):
    p = (p.log() / temperature).softmax(-1)
    kept = p >= p.sort(descending=True).values[k - 1]
    expected = p.where(kept, 0) / p[kept].sum()
    assert_close(next_token_probabilities(p.log(), top_k=k), expected)
    assert_close(next_token_probabilities(temperature * p.log(), temperature, top_k=k), expected)


@given(p=distributions, top_p=st.floats(0.01, 0.99))
def test_top_p_keeps_the_fewest_that_reach_p(p, top_p):
    probabilities = next_token_probabilities(p.log(), top_p=top_p)
    kept = probabilities > 0
    assert p[kept].sum() > top_p - 1e-6 and p[kept].sum() - p[kept].min() < top_p + 1e-6
    assert not kept.all() or top_p > 0.9
    assert_close(probabilities, p.where(kept, 0) / p[kept].sum())


def test_top_p_includes_the_token_that_crosses():
    logits = torch.tensor([[0.125, 0.5, 0.375], [1 / 3, 1 / 3, 1 / 3]]).log()  # each row is cut on its own
    expected = torch.tensor([[0, 4 / 7, 3 / 7], [0.5, 0.5, 0]])
    assert_close(next_token_probabilities(logits, top_p=0.6), expected)
    assert_close(next_token_probabilities(logits, top_p=0.4), torch.tensor([[0, 1, 0], [0.5, 0.5, 0]]))


def test_top_k_comes_before_top_p():
    logits = torch.tensor([0.5, 0.3, 0.2]).log()  # of the two kept, the first holds 0.625
    assert next_token_probabilities(logits, top_k=2, top_p=0.6).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"temperature": -0.1}, r"temperature must be at least 0 \(0 is greedy\); got -0.1"),
        ({"temperature": math.nan}, r"temperature must be at least 0 \(0 is greedy\); got nan"),
        ({"top_k": 0}, "top_k must be at least 1; got 0"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\]; got 0.0"),
        ({"top_p": 1.1}, r"top_p must be in \(0, 1\]; got 1.1"),
    ],
)
def test_bad_settings_are_named(bad, message):
    with pytest.raises(ValueError, match=message):
        next_token_probabilities(torch.zeros(3), **bad)


# ---------------------------------------------------------------- many tokens


def test_generate_samples_from_the_probabilities():
    logits, many = torch.tensor([0.5, 0.25, 0.15, 0.1]).log(), torch.zeros(4000, 1, dtype=torch.long)
    for settings in ({}, {"temperature": 3.0}, {"top_k": 2}, {"top_p": 0.7}):
        generated = generate(Parrot(logits[None]), many, 1, **settings)[:, -1]
        frequencies = generated.bincount(minlength=4) / 4000
        assert_close(frequencies, next_token_probabilities(logits, **settings), atol=0.03, rtol=0)


def test_generate_appends_and_shows_the_last_of_the_context():
    model = Parrot(torch.eye(3).roll(1, dims=1))  # after 0 comes 1, after 1 comes 2, after 2 comes 0
    ids = generate(model, torch.tensor([[0, 2], [2, 0]]), 3, temperature=0.0)
    assert ids.tolist() == [[0, 2, 0, 1, 2], [2, 0, 1, 2, 0]]
    assert model.asked == [[[0, 2], [2, 0]], [[0, 2, 0], [2, 0, 1]], [[2, 0, 1], [0, 1, 2]]]
    assert generate(model, ids, 0) is ids


@pytest.mark.parametrize("shape", [{}, {"ngrams": 4, "embedding_norm": True}])
def test_greedy_is_the_argmax_of_the_last_position_beyond_the_context_too(shape, tiny_gpt):
    model, ids = tiny_gpt(**shape), torch.randint(11, (2, 3))
    expected = ids
    for _ in range(10):
        expected = torch.cat([expected, model(expected[:, -8:])[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(generate(model, ids, 10, temperature=0.0), expected)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_and_gradients_are_off_while_generating_and_the_mode_comes_back(training):
    model = Parrot(torch.zeros(1, 1)).train(training)
    generate(model, torch.tensor([[0]]), 2)
    assert model.modes == [(False, False)] * 2 and model.training == training
    with pytest.raises(KeyboardInterrupt), evaluating(model) as same:
        assert same is model and not model.training
        raise KeyboardInterrupt
    assert model.training == training


def test_the_same_seed_writes_the_same_text():
    tokenizer = CharacterTokenizer("abcdefghij ")
    model = GPT(GPTConfig(tokenizer.vocab_size, 8, 8, 1, 2, dropout=0.5))
    first, again, other = (write(model, tokenizer, "a cab", 20, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first.startswith("a cab") and len(first) == 25
    assert len(write(model, tokenizer, "a", 5)) == 6
    greedy = [write(model, tokenizer, "a cab", temperature=0.0, seed=seed) for seed in (1, 2)]
    assert greedy[0] == greedy[1] == write(model, tokenizer, "a cab", top_k=1) and len(greedy[0]) == 105


def test_bad_prompts_are_named(tiny_gpt):
    tokenizer = CharacterTokenizer("ab")
    with pytest.raises(ValueError, match="prompt must not be empty"):
        write(tiny_gpt(), tokenizer, "")
    with pytest.raises(ValueError, match="text holds 'x' at index 1"):
        write(tiny_gpt(), tokenizer, "ax")
    with pytest.raises(ValueError, match="ids must hold at least one token"):
        generate(tiny_gpt(), torch.zeros(1, 0, dtype=torch.long), 3)


def test_a_part_that_was_kept_in_eval_mode_stays_there(tiny_gpt):
    model = tiny_gpt().train()
    model.blocks[0].eval()
    generate(model, torch.zeros(1, 1, dtype=torch.long), 1)
    assert model.training and not model.blocks[0].training


# ---------------------------------------------------------------- one sequence from another


class Recurrent(nn.Module):
    """The shortest model with the searches' interface that is no Transformer. It counts what it encodes."""

    def __init__(self, vocab_size: int):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 6)
        self.encoder, self.decoder = (nn.GRU(6, 6, batch_first=True) for _ in range(2))
        self.head = nn.Linear(6, vocab_size)
        self.encoded, self.modes = 0, []

    def encode(self, source):
        self.encoded += 1
        return (self.encoder(self.embedding(source))[1].transpose(0, 1),)  # (batch, layers, 6)

    def decode(self, memory, target):
        self.modes.append((self.training, torch.is_grad_enabled()))
        (state,) = memory
        return self.head(self.decoder(self.embedding(target), state.transpose(0, 1).contiguous())[0])


class Table(nn.Module):
    """Looks the next token's probabilities up by the tokens so far; the source counts for nothing.

    What has no entry ends the sentence for certain.
    """

    def __init__(self, table: dict[tuple[int, ...], list[float]]):
        super().__init__()
        self.table = table

    def encode(self, source):
        return (source,)

    def decode(self, memory, target):
        rows = [self.table.get(tuple(row[1:].tolist()), [0, 0, 1, 0, 0]) for row in target]
        return torch.tensor(rows, dtype=torch.float64).log()[:, None]


def seq2seq(kind: str, seed: int) -> nn.Module:
    """A model of five tokens, in float64, with weights large enough to have opinions."""
    torch.manual_seed(seed)
    model = (
        Recurrent(5)
        if kind == "recurrent"
        else Transformer(TransformerConfig(5, 6, 8, 1, 1, 2, norm="pre", dropout=0.5))
    ).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7)
    return model


def scores_by_teacher_forcing(model, source, targets: list[list[int]], length_penalty: float) -> list[float]:
    """log P of each target, BEGIN and all, over its penalty; the tokens that no search writes left out."""
    ids = nn.utils.rnn.pad_sequence([torch.tensor(target) for target in targets], batch_first=True)
    with torch.no_grad():
        logits = model.decode(model.encode(source.expand(len(ids), -1)), ids[:, :-1])
    logits[..., [PADDING, BEGIN]] = -math.inf
    of_answers = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    totals = of_answers.masked_fill(ids[:, 1:] == PADDING, 0).sum(-1).tolist()
    return [total / ((5 + len(target) - 1) / 6) ** length_penalty for total, target in zip(totals, targets)]


def every_target(tokens: tuple[int, ...], max_tokens: int) -> list[list[int]]:
    """Each sequence of `tokens` that has ended, or has reached the greatest length."""
    bodies = [list(b) for n in range(max_tokens + 1) for b in itertools.product(tokens, repeat=n)]
    return [[BEGIN, *b] if len(b) == max_tokens else [BEGIN, *b, END] for b in bodies]


KINDS = ("transformer", "recurrent")
SOURCE = torch.tensor([[3, 4, 4, 3], [4, 3, 0, 0], [4, 0, 0, 0]])


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10**6), length_penalty=st.sampled_from([0.0, 0.6, 2.0]))
def test_a_beam_of_one_is_greedy(kind, seed, length_penalty):
    model = seq2seq(kind, seed)
    ids, scores = beam_search(model, SOURCE, 6, n_beams=1, length_penalty=length_penalty)
    assert ids.shape[1] == scores.shape[1] == 1
    assert torch.equal(ids[:, 0], greedy_search(model, SOURCE, 6))


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10**6), length_penalty=st.sampled_from([0.0, 0.6, 2.0]))
def test_a_beam_wide_enough_finds_what_trying_everything_finds(kind, seed, length_penalty):
    model = seq2seq(kind, seed).eval()
    source = SOURCE[seed % 2]
    targets = every_target((3, 4), 4)
    everything = dict(zip(map(tuple, targets), scores_by_teacher_forcing(model, source, targets, length_penalty)))
    ids, scores = beam_search(model, source[None], 4, len(everything), length_penalty)
    found = {tuple(row[: len(row) - row.count(PADDING)]): s for row, s in zip(ids[0].tolist(), scores[0].tolist())}
    assert found == pytest.approx(everything, rel=1e-6)
    assert scores[0].tolist() == sorted(scores[0].tolist(), reverse=True)
    assert next(iter(found)) == max(everything, key=everything.get)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10**6), n_beams=st.integers(1, 4))
def test_a_search_writes_sentences_and_scores_them_right(kind, seed, n_beams):
    model = seq2seq(kind, seed).eval()
    ids, scores = beam_search(model, SOURCE, 5, n_beams)
    assert scores.tolist() == scores.sort(descending=True).values.tolist()
    for source, beams, row_scores in zip(SOURCE, ids.tolist(), scores.tolist()):
        written = [[i for i in target if i != PADDING] for target in beams]
        assert len({tuple(target) for target in written}) == len(beams)
        for target, tokens in zip(beams, written):
            assert target == tokens + [PADDING] * (len(target) - len(tokens))
            assert tokens[0] == BEGIN and BEGIN not in tokens[1:] and END not in tokens[:-1]
            assert tokens[-1] == END or len(tokens) == 6
        assert row_scores == pytest.approx(scores_by_teacher_forcing(model, source, written, 0.6), rel=1e-6)


@given(seed=st.integers(0, 10**6), n_beams=st.integers(1, 4))
def test_a_padded_batch_is_searched_as_each_sentence_alone(seed, n_beams):
    model = seq2seq("transformer", seed)
    together = beam_search(model, SOURCE, 5, n_beams)
    for row, length in enumerate((4, 2, 1)):
        ids, scores = beam_search(model, SOURCE[row : row + 1, :length], 5, n_beams)
        n = ids.shape[2]
        assert torch.equal(together[0][row, :, :n], ids[0]) and not together[0][row, :, n:].any()
        assert_close(together[1][row], scores[0])


GARDEN_PATH = Table(
    {  # PADDING, BEGIN, END, 3, 4: the likelier first token leads to nothing likely
        (): [0, 0, 0.1, 0.5, 0.4],
        (3,): [0, 0, 0.3, 0.3, 0.4],
        (4,): [0, 0, 0.9, 0.05, 0.05],
        (3, 4): [0, 0, 0.5, 0.25, 0.25],
        (3, 3): [0, 0, 0.5, 0.25, 0.25],
    }
)


def test_greedy_takes_the_garden_path_and_two_beams_do_not():
    source = torch.tensor([[3]])
    assert greedy_search(GARDEN_PATH, source, 3).tolist() == [[BEGIN, 3, 4, END]]  # 0.5 · 0.4 · 0.5 = 0.1
    ids, scores = beam_search(GARDEN_PATH, source, 3, n_beams=2, length_penalty=0.0)
    assert ids.tolist() == [[[BEGIN, 4, END, PADDING], [BEGIN, 3, 4, END]]]
    assert scores[0].exp().tolist() == pytest.approx([0.36, 0.1])  # 3, END with its 0.15 had to leave for 3, 4


def test_the_length_penalty_favours_long_targets():
    source = torch.tensor([[3]])
    for length_penalty, wanted in ((0.0, [4, END]), (10.0, [3, 4, END])):
        ids, _ = beam_search(GARDEN_PATH, source, 3, n_beams=3, length_penalty=length_penalty)
        assert [i for i in ids[0, 0].tolist() if i != PADDING] == [BEGIN, *wanted]


def test_the_penalty_is_the_published_one():
    assert penalty(torch.tensor([1, 7]), 0.0).tolist() == [1, 1]
    assert penalty(torch.tensor([1, 7]), 0.6).tolist() == pytest.approx([1, 2**0.6])


def test_a_beam_step_by_hand():
    ids = torch.tensor([[[BEGIN, 3], [BEGIN, END]]])
    totals = torch.tensor([[0.5, 0.2]]).log()
    nothing_but_padding = [1.0, 0, 0, 0, 0]
    log_probabilities = torch.tensor([[[0, 0, 0.3, 0.6, 0.1], nothing_but_padding]]).log()
    longer, new_totals = beam_step(ids, totals, log_probabilities, n_beams=3)
    assert longer.tolist() == [[[BEGIN, 3, 3], [BEGIN, END, PADDING], [BEGIN, 3, END]]]
    assert new_totals.exp()[0].tolist() == pytest.approx([0.3, 0.2, 0.15])


@pytest.mark.parametrize("search", [greedy_search, beam_search])
def test_a_search_encodes_once_without_dropout_or_gradients(search):
    model = seq2seq("recurrent", 0)
    model.decoder.eval()
    search(model, SOURCE, 5)
    assert model.encoded == 1
    assert set(model.modes) == {(False, False)} and len(model.modes) <= 5
    assert [model.training, model.encoder.training, model.decoder.training] == [True, True, False]


def test_a_search_stops_when_every_sentence_has_ended():
    certain = Table({(): [0, 0, 0, 1, 0]})
    assert greedy_search(certain, SOURCE, 9).tolist() == [[BEGIN, 3, END]] * 3
    assert beam_search(certain, SOURCE, 9, 1)[0].tolist() == [[[BEGIN, 3, END]]] * 3


def test_no_beam_is_named():
    with pytest.raises(ValueError, match="n_beams must be at least 1; got 0"):
        beam_search(GARDEN_PATH, SOURCE, 3, n_beams=0)

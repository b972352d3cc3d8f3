"""From logits to a next token, and on."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from transformer_lab.generation import evaluating, generate, next_token_probabilities, write
from transformer_lab.gpt import GPT, GPTConfig
from transformer_lab.tokenizers import CharacterTokenizer

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


def test_greedy_is_the_argmax_of_the_last_position_beyond_the_context_too(tiny_gpt):
    model, ids = tiny_gpt(), torch.randint(11, (2, 3))
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

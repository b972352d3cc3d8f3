"""The LSTM written out, both scores and the whole model, next to torch and to the papers' formulas."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from transformer_lab.generation import beam_search, greedy_search
from transformer_lab.recurrent import AdditiveScore, LSTMConfig, LSTMSeq2Seq, MultiplicativeScore, lstm_cell
from transformer_lab.transformer import BEGIN, END, PADDING, sequence_loss, teacher_forcing

KINDS = [
    pytest.param(dict(attention=attention, bidirectional=bidirectional), id=f"{attention}-{way}")
    for attention in (None, "additive", "multiplicative")
    for bidirectional, way in ((False, "forwards"), (True, "both ways"))
]
WITH_ATTENTION = KINDS[2:]
SENTENCES = [[3, 4, 5, 6, END], [7, END], [8, 9, 3, END]]  # of different lengths


@pytest.fixture
def model_of(randomised):
    """A function: a small model with random weights in float64."""
    return lambda **kind: randomised(LSTMSeq2Seq(LSTMConfig(vocab_size=10, **dict(d_model=6) | kind)))


def padded(rows: list[list[int]], to: int = 0) -> torch.Tensor:
    to = max(to, *map(len, rows))
    return torch.tensor([row + [PADDING] * (to - len(row)) for row in rows])


def targets(n: int, length: int = 5) -> torch.Tensor:
    return torch.cat([torch.full((n, 1), BEGIN), torch.randint(3, 10, (n, length - 1))], dim=1)


# ---------------------------------------------------------------- one step


@given(batch=st.integers(1, 4), d_in=st.integers(1, 5), d_hidden=st.integers(1, 5))
def test_lstm_cell_equals_torch(batch, d_in, d_hidden):
    theirs = nn.LSTMCell(d_in, d_hidden).double()
    x = torch.randn(batch, d_in, dtype=torch.float64)
    state = torch.randn(2, batch, d_hidden, dtype=torch.float64)
    for _ in range(3):
        ours = lstm_cell(x, *state, theirs.weight_ih, theirs.weight_hh, theirs.bias_ih + theirs.bias_hh)
        assert_close(ours, theirs(x, tuple(state)), atol=1e-6, rtol=0)
        state = ours


def test_the_gates_by_hand():
    """One unit, and gates that are open or shut whatever comes in."""

    def step(input_gate: bool, forget_gate: bool, output_gate: bool):
        logits = [1e3 if is_open else -1e3 for is_open in (input_gate, forget_gate, output_gate)]
        bias = torch.tensor([logits[0], logits[1], 0.0, logits[2]])
        weight = torch.tensor([[0.0], [0.0], [1.0], [0.0]])  # the candidate is tanh(x)
        hidden, cell = lstm_cell(
            torch.tensor([[0.5]]), torch.tensor([[0.3]]), torch.tensor([[2.0]]), weight, torch.zeros(4, 1), bias
        )
        return hidden.item(), cell.item()

    written, kept = math.tanh(0.5), 2.0
    assert step(True, True, True) == pytest.approx((math.tanh(kept + written), kept + written))
    assert step(False, True, True) == pytest.approx((math.tanh(kept), kept))  # nothing new
    assert step(True, False, True) == pytest.approx((math.tanh(written), written))  # all forgotten
    assert step(True, True, False) == pytest.approx((0.0, kept + written))  # remembered, not shown


# ---------------------------------------------------------------- scores


def test_the_additive_score_is_bahdanaus(randomised):
    score = randomised(AdditiveScore(4))
    query, key = (torch.randn(2, n, 4, dtype=torch.float64) for n in (3, 5))
    W_a, U_a, v_a = score.query.weight, score.key.weight, score.out.weight[0]
    expected = torch.zeros(2, 3, 5, dtype=torch.float64)
    for b in range(2):
        for i in range(3):
            for j in range(5):
                expected[b, i, j] = v_a @ torch.tanh(W_a @ query[b, i] + U_a @ key[b, j])
    assert_close(score(query, key), expected)


def test_the_multiplicative_score_is_luongs(randomised):
    score = randomised(MultiplicativeScore(4))
    query, key = (torch.randn(2, n, 4, dtype=torch.float64) for n in (3, 5))
    expected = torch.zeros(2, 3, 5, dtype=torch.float64)
    for b in range(2):
        for t in range(3):
            for s in range(5):
                expected[b, t, s] = query[b, t] @ score.key.weight @ key[b, s]
    assert_close(score(query, key), expected)


# ---------------------------------------------------------------- the model, step by step


@pytest.mark.parametrize("kind", [dict(attention=None), dict(attention="additive"), dict(attention="multiplicative")])
def test_the_model_is_its_equations(kind, model_of):
    """A sentence at a time, a token at a time, from the parts tested above."""
    model, target = model_of(**kind), targets(3)
    logits = model(padded(SENTENCES), target)
    embedding = model.token_embedding.weight

    def step(lstm: nn.LSTM, token: int, state: tuple) -> tuple:
        bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
        return lstm_cell(embedding[token][None], *state, lstm.weight_ih_l0, lstm.weight_hh_l0, bias)

    for sentence, written, expected in zip(SENTENCES, target.tolist(), logits):
        state = (torch.zeros(1, 6, dtype=torch.float64),) * 2
        source_states = []
        for token in sentence:
            state = step(model.encoder, token, state)
            source_states.append(state[0][0])
        for t, token in enumerate(written):
            state = step(model.decoder, token, state)
            output = state[0][0]
            if kind["attention"] is not None:
                key = torch.stack(source_states)
                weights = model.score(output[None, None], key[None])[0, 0].softmax(-1)
                output = torch.tanh(model.combine.weight @ torch.cat([weights @ key, output]))
            assert_close(model.head(output), expected[t])


def test_a_bidirectional_encoder_reads_both_ways(model_of):
    model = model_of(attention="additive", bidirectional=True, n_layers=2)
    source, other = padded([[3, 4, 5, END]]), padded([[3, 4, 6, END]])
    states, changed = model.encode(source)[2], model.encode(other)[2]
    assert (states != changed).any(-1).all()  # the first token's state knows the third
    one_way = model_of(attention="additive", n_layers=2)
    same = one_way.encode(source)[2] == one_way.encode(other)[2]
    assert same[0, :2].all() and not same[0, 2:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_states_of_the_decoder_are_the_last_of_the_encoder(kind, model_of):
    model = model_of(n_layers=2, **kind)
    source = padded(SENTENCES)
    hidden, cell, *rest = model.encode(source)
    assert hidden.shape == cell.shape == (3, 2, 6)  # batch first, as every part of a memory
    for sentence, h, c in zip(SENTENCES, hidden, cell):
        _, theirs = model.encoder(model.token_embedding(torch.tensor([sentence])))
        # torch lists layers and, within each, directions.
        width = theirs[0].shape[-1]
        assert_close(h.reshape(-1, width), theirs[0][:, 0])
        assert_close(c.reshape(-1, width), theirs[1][:, 0])
    assert len(rest) == (2 if kind["attention"] else 0)


# ---------------------------------------------------------------- what must hold


@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_batch_gives_each_sentence_what_it_gives_alone(kind, model_of):
    model, target = model_of(n_layers=2, **kind), targets(3)
    together = model(padded(SENTENCES, to=9), target)
    for i, sentence in enumerate(SENTENCES):
        assert_close(together[i : i + 1], model(torch.tensor([sentence]), target[i : i + 1]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", WITH_ATTENTION)
def test_the_pattern_sums_to_one_over_the_sources_tokens(kind, model_of):
    model, target, source = model_of(**kind), targets(3), padded(SENTENCES)
    logits, pattern = model.decode(model.encode(source), target, return_pattern=True)
    assert pattern.shape == (3, 5, 5)
    assert_close(pattern.sum(-1), torch.ones(3, 5, dtype=torch.float64))
    assert ((pattern > 0) == (source != PADDING)[:, None]).all()
    assert_close(logits, model(source, target))


@pytest.mark.parametrize("kind", KINDS)
def test_logits_depend_on_no_later_token(kind, model_of):
    model, source = model_of(**kind), padded(SENTENCES)
    target = targets(3)
    changed = target.clone()
    changed[:, 3] = (target[:, 3] - 3 + 1) % 7 + 3
    before, after = model(source, target), model(source, changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any(-1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_without_attention_the_memory_is_as_large_for_any_sentence(kind, model_of):
    model = model_of(**kind)
    sizes = [sum(part.numel() for part in model.encode(torch.full((1, n), 3))) for n in (2, 20)]
    assert (sizes[0] == sizes[1]) == (kind["attention"] is None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_padding_alone_harms_nobody(kind, model_of):
    model, source, target = model_of(**kind), padded([[], *SENTENCES]), targets(4)
    target[0, 1:] = PADDING
    logits = model(source, target)
    assert logits.isfinite().all()
    assert_close(logits[1:], model(source[1:], target[1:]))
    read, answers = teacher_forcing(target)
    sequence_loss(model(source, read), answers).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_searches_write_for_a_batch_what_they_write_for_each_sentence(kind, model_of):
    model = model_of(n_layers=2, **kind)
    together = greedy_search(model, padded(SENTENCES), 6)
    beams, _ = beam_search(model, padded(SENTENCES), 6, n_beams=3)
    for i, sentence in enumerate(SENTENCES):
        alone = greedy_search(model, torch.tensor([sentence]), 6)[0]
        assert torch.equal(together[i, : len(alone)], alone) and not together[i, len(alone) :].any()
        best = beam_search(model, torch.tensor([sentence]), 6, n_beams=3)[0][0, 0]
        assert torch.equal(beams[i, 0, : len(best)], best) and not beams[i, 0, len(best) :].any()


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind, model_of):
    model = model_of(**kind)
    model(padded(SENTENCES), targets(3)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_counted_by_part(kind):
    model = LSTMSeq2Seq(LSTMConfig(vocab_size=10, d_model=6, n_layers=2, **kind))
    counts = model.parameter_count()
    total = counts.pop("total")
    assert total == sum(counts.values()) == sum(p.numel() for p in model.parameters())
    assert counts["token embedding"] == 10 * 6 and counts["head"] == 6 * 10 + 10
    attention = {None: 0, "additive": 6 * 6 + 6 * 6 + 6, "multiplicative": 6 * 6}[kind["attention"]]
    assert counts["attention"] == (attention + 2 * 6 * 6 if attention else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_forget_gates_start_open(kind):
    model = LSTMSeq2Seq(LSTMConfig(vocab_size=10, d_model=6, n_layers=2, **kind))
    for name, parameter in [*model.encoder.named_parameters(), *model.decoder.named_parameters()]:
        if name.startswith("bias"):  # of torch's two, which are added, one is 1 at the forget gates and nowhere else
            assert ((parameter == 1).nonzero().flatten() // (len(parameter) // 4)).unique().tolist() == (
                [1] if name.startswith("bias_ih") else []
            )


@pytest.mark.parametrize("kind", [dict(attention=None), dict(attention="multiplicative")])
def test_learns_to_reverse_two_tokens(kind):
    model = LSTMSeq2Seq(LSTMConfig(vocab_size=6, d_model=16, **kind))
    words = torch.cartesian_prod(torch.arange(3, 6), torch.arange(3, 6))  # all nine sources
    ends = [torch.full((9, 1), token) for token in (BEGIN, END)]
    source = torch.cat([words, ends[1]], dim=1)
    read, answers = teacher_forcing(torch.cat([ends[0], words.flip(1), ends[1]], dim=1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        sequence_loss(model(source, read), answers).backward()
        optimizer.step()
    assert torch.equal(model(source, read).argmax(-1), answers)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(vocab_size=0), "vocab_size must be at least 1; got 0"),
        (dict(d_model=0), "d_model must be at least 1; got 0"),
        (dict(n_layers=0), "n_layers must be at least 1; got 0"),
        (dict(attention="dot"), "attention must be None or one of additive, multiplicative; got 'dot'"),
        (dict(d_model=5, bidirectional=True), "d_model must be even for a bidirectional encoder; got 5"),
    ],
)
def test_bad_configs_are_named(bad, message):
    with pytest.raises(ValueError, match=message):
        LSTMConfig(**dict(vocab_size=10) | bad)


def test_bad_ids_are_named(model_of):
    model = model_of()
    with pytest.raises(ValueError, match="source must have its PADDING after its tokens; got a token after PADDING"):
        model.encode(torch.tensor([[3, PADDING, 4]]))
    for ids, found in ([[3, 10]], "3 … 10"), ([[-1, 3]], "-1 … 3"):
        with pytest.raises(ValueError, match=f"source must lie in 0 … 9, the vocabulary; got {found}"):
            model.encode(torch.tensor(ids))
        with pytest.raises(ValueError, match=f"target must lie in 0 … 9, the vocabulary; got {found}"):
            model.decode(model.encode(torch.tensor([[3]])), torch.tensor(ids))
    with pytest.raises(ValueError, match="return_pattern must be False for a model without attention; got True"):
        model.decode(model.encode(padded(SENTENCES)), targets(3), return_pattern=True)

"""TrainingDashboard: it follows a run without changing it, stays small, and keeps what it has when the run stops."""

import json
import math
from dataclasses import asdict, replace

import pytest
import torch
import traitlets

from transformer_lab.generation import write
from transformer_lab.gpt import GPT, GPTConfig
from transformer_lab.probe import watch
from transformer_lab.tokenizers import CharacterTokenizer
from transformer_lab.training import History, TrainingConfig, train
from transformer_lab.widgets import training_dashboard
from transformer_lab.widgets.training_dashboard import TrainingDashboard

TOKENIZER = CharacterTokenizer.train("abcdefgh ij")
IDS = torch.randint(TOKENIZER.vocab_size, (300,), generator=torch.Generator().manual_seed(0))
SHAPE = GPTConfig(vocab_size=TOKENIZER.vocab_size, context_length=16, d_model=16, n_layers=2, n_heads=2, dropout=0.2)
BRIEF = TrainingConfig(
    steps=6, batch_size=4, warmup_steps=2, evaluate_every=2, evaluation_windows=3, checkpoint_every=2
)


def new_model() -> GPT:
    torch.manual_seed(0)
    return GPT(SHAPE)


def new_board(model=None, steps=6, **options) -> TrainingDashboard:
    options = dict(prompt="ab", sentence="bad cab", head=(1, 0), sample_tokens=4, budget=math.inf) | options
    return TrainingDashboard(
        steps, baselines={"uniform": 2.4, "bigram": 1.0}, model=model, tokenizer=TOKENIZER, **options
    )


def run(board, model, config=BRIEF, **options) -> History:
    with board:
        return train(model, IDS, IDS, config, on_step=board.update, **options)


def stop_at(step: int, error: BaseException):
    def on_evaluation(done, history):
        if done == step:
            raise error

    return on_evaluation


def told(steps: int, every: int = 100) -> History:
    """A history with numbers that say where they come from."""
    at = [*range(every, steps, every), steps]
    return History(
        train_loss=[float(i) for i in range(steps)],
        learning_rate=[i / 1000 for i in range(steps)],
        gradient_norm=[float(i % 7) for i in range(steps)],
        evaluation_steps=at,
        held_out_loss=[1 / i for i in at],
    )


def unmeasured(steps: int) -> History:
    history = told(steps)
    history.evaluation_steps, history.held_out_loss = [], []
    return history


class Clock:
    """Stands where it is until it is moved on."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(training_dashboard.time, "perf_counter", lambda: self.now)


@pytest.fixture
def messages(monkeypatch) -> list[dict]:
    sent: list[dict] = []
    monkeypatch.setattr(TrainingDashboard, "send", lambda board, content: sent.append(json.loads(json.dumps(content))))
    return sent


# ---------------------------------------------------------------- following a run


def test_it_holds_what_the_history_holds():
    model = new_model()
    board = new_board(model)
    history = run(board, model)
    assert (board.status, board.step, board.stride) == ("finished", 6, 1)
    wanted = [history.train_loss, history.learning_rate, history.gradient_norm]
    torch.testing.assert_close(torch.tensor(board.curve).T, torch.tensor(wanted), rtol=1e-3, atol=1e-3)
    assert [step for step, _ in board.held_out] == history.evaluation_steps == [2, 4, 6]
    assert [loss for _, loss in board.held_out] == pytest.approx(history.held_out_loss, rel=1e-3)
    assert list(board.samples) == [0, 2, 4, 6]


def test_sample_and_pattern_are_the_models():
    model = new_model()
    board = new_board(model)
    run(board, model)
    assert board.samples[6] == write(model, TOKENIZER, "ab", 4, 0.6, seed=1)
    for shown, looked_at in ((-1, model), (0, new_model())):
        board.shown = shown
        with watch(looked_at.eval()) as trace, torch.no_grad():
            looked_at(torch.tensor([TOKENIZER.encode("bad cab")]))
        torch.testing.assert_close(board.pattern, trace.patterns[1][0, 0], atol=1 / 500, rtol=0)


def test_watching_does_not_change_the_training():
    one, other = new_model(), new_model()
    watched, alone = run(new_board(one), one), train(other, IDS, IDS, BRIEF)
    times = {"seconds": 0, "first_step_seconds": 0}
    assert asdict(watched) | times == asdict(alone) | times
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_evaluations_alone_are_enough():
    model = new_model()
    board = new_board(model)
    with board:
        train(model, IDS, IDS, BRIEF, on_evaluation=board.update)
    assert (board.status, len(board.curve), list(board.samples)) == ("finished", 6, [0, 2, 4, 6])


def test_without_a_model_there_are_curves_only():
    board = TrainingDashboard(6)
    run(board, new_model())
    assert len(board.curve) == 6 and board.samples == {} and board.tokens == []
    with pytest.raises(ValueError, match="pattern needs a model"):
        _ = board.pattern


def test_losses_in_bits_per_character():
    nats, bits = (TrainingDashboard(6, baselines={"a": 2.0}, characters_per_token=n) for n in (None, 4.0))
    for board in (nats, bits):
        board.update(6, told(6))
    share = 1 / (4 * math.log(2))
    assert bits.unit == "bits per character" and bits.baselines["a"] == pytest.approx(2 * share)
    assert bits.curve[3][0] == pytest.approx(nats.curve[3][0] * share, rel=1e-3)
    assert bits.held_out[-1][1] == pytest.approx(nats.held_out[-1][1] * share, rel=1e-3)


def test_what_is_no_number_is_none_and_can_be_sent(messages):
    history = told(6)
    history.gradient_norm[2] = math.inf  # as in half precision, where such a step is skipped
    history.held_out_loss[-1] = math.nan
    board = TrainingDashboard(6)
    board.update(6, history)
    assert board.curve[2] == [2.0, 0.002, None] and board.held_out[-1] == [6, None]
    assert "NaN" not in json.dumps(messages) and "Infinity" not in json.dumps(board.packed())
    assert board.figure.axes and repr(board)


# ---------------------------------------------------------------- small, and quick


def test_a_long_run_stays_small():
    board = TrainingDashboard(100_000)
    board.update(100_000, told(100_000))
    assert board.stride == 100 and len(board.curve) == 1000 and len(board.held_out) <= 1001
    assert board.curve[3] == [349.5, 0.399, 6.0]  # mean of the losses 300 … 399, last rate, largest norm
    assert len(json.dumps(board.packed())) < 60_000


def test_a_page_is_told_everything_once_and_seldom(messages, monkeypatch):
    clock, history = Clock(monkeypatch), told(2000)
    board = TrainingDashboard(2000)
    evaluations, history.evaluation_steps, history.held_out_loss = history.evaluation_steps, [], []
    with board:
        for step in range(1, 2001):
            clock.now += 0.01  # 20 s in all
            if step in evaluations:
                history.evaluation_steps.append(step)
                history.held_out_loss.append(1.0)
            board.update(step, history)
    assert len(evaluations) + 20 < len(messages) <= len(evaluations) + 2 * 20 + 2
    for name, whole in (("curve", board.curve), ("held_out", board.held_out)):
        assert [item for message in messages for item in message[name][1]] == whole
        assert all(message[name][0] + len(message[name][1]) <= len(whole) for message in messages)


def test_samples_are_at_most_sixty_evenly_spread(monkeypatch):
    board, history = new_board(new_model(), steps=1500), told(1500, every=10)
    monkeypatch.setattr(board, "_look", lambda step: board.evaluations[0] | {"step": step})
    evaluations = history.evaluation_steps
    for step in evaluations:
        history.evaluation_steps = evaluations[: step // 10]
        board.update(step, history)
    steps = list(board.samples)
    assert steps[0] == 0 and steps[-1] == 1500 and 45 <= len(steps) <= 61
    assert max(b - a for a, b in zip(steps, steps[1:])) == 30


def test_samples_keep_to_their_budget_but_the_last_is_always_there(monkeypatch):
    clock, model = Clock(monkeypatch), new_model()
    board = new_board(model, steps=1000, budget=0.01)
    look = board._look

    def slow_look(step):
        clock.now += 1.0
        return look(step)

    monkeypatch.setattr(board, "_look", slow_look)
    history = told(1000, every=50)
    evaluations, history.evaluation_steps = history.evaluation_steps, []
    with board:
        for step in range(1, 1001):
            clock.now += 0.5
            history.evaluation_steps += [step] * (step in evaluations)
            board.update(step, history)
    assert list(board.samples) == [0, 50, 200, 400, 600, 800, 1000]  # one second's work in a hundred
    assert board.overhead == pytest.approx(6 / 506, rel=0.01)


# ---------------------------------------------------------------- interrupted


def test_ctrl_c_keeps_what_is_there_and_says_so(capsys):
    model = new_model()
    board = new_board(model)
    run(board, model, on_evaluation=stop_at(4, KeyboardInterrupt()))
    assert board.status == "interrupted at step 4" and board.step == len(board.curve) == 4
    assert repr(board).startswith("TrainingDashboard: interrupted at step 4, 4 of 6 steps")
    assert list(board.samples) == [0, 2]


def test_an_error_passes_and_is_named():
    model = new_model()
    board = new_board(model)
    with pytest.raises(FloatingPointError):
        run(board, model, on_evaluation=stop_at(4, FloatingPointError("the loss became nan")))
    assert board.status == "interrupted at step 4: FloatingPointError: the loss became nan"
    with pytest.raises(ValueError), new_board(model) as other:
        train(model, IDS, IDS, replace(BRIEF, steps=-1))
    assert other.status.startswith("interrupted at step 0: ValueError: steps")


def test_a_resumed_run_goes_on_as_if_unbroken(tmp_path, capsys):
    unbroken, broken = new_model(), new_model()
    wanted, board = new_board(unbroken), new_board(broken)
    run(wanted, unbroken)
    # Stopped after step 4, before its checkpoint was written: step 3 and 4 are done again.
    run(board, broken, checkpoint=tmp_path / "c", on_evaluation=stop_at(4, KeyboardInterrupt()))
    run(board, broken, checkpoint=tmp_path / "c")
    for name in ("status", "curve", "held_out", "evaluations"):
        assert getattr(board, name) == getattr(wanted, name)
    run(board, broken, checkpoint=tmp_path / "c")  # there is nothing left to do
    assert board.status == "finished" and len(board.curve) == 6
    run(empty := new_board(broken), broken, checkpoint=tmp_path / "c")
    assert empty.status == "no step was taken"


def test_a_new_run_begins_anew(messages, capsys):
    model = new_model()
    board = new_board(model)
    run(board, model, on_evaluation=stop_at(4, KeyboardInterrupt()))
    board.shown = 1
    history = run(board, model)
    assert len(board.curve) == 6 and board.curve[0][0] == pytest.approx(history.train_loss[0], rel=1e-3)
    assert list(board.samples) == [0, 2, 4, 6] and board.shown == -1
    page = {name: [] for name in training_dashboard.LISTS}  # what a page makes of the messages
    page["evaluations"] = board.evaluations[:1]
    for message in messages:
        for name, (start, items) in message.items():
            assert start <= len(page[name])
            page[name][start:] = items
    assert page == {name: getattr(board, name) for name in page}


def test_at_the_end_the_whole_state_is_sent_to_be_stored(monkeypatch):
    board, sent = TrainingDashboard(6), {}
    monkeypatch.setattr(board, "send_state", lambda key: sent.update(board.get_state(key)))
    run(board, new_model())
    assert [len(sent[name]) for name in training_dashboard.LISTS] == [6, 3, 0]
    assert (sent["status"], sent["step"]) == ("finished", 6)


def test_the_stored_picture_is_the_finished_one(monkeypatch):
    shown = []

    class Handle:
        def update(self, board):
            shown.append(repr(board))

    def display(board, display_id):
        shown.append(repr(board))
        assert "image/png" not in board._repr_mimebundle_()[0]  # it would only cost time
        return Handle()

    monkeypatch.setattr(training_dashboard, "display", display)
    run(board := TrainingDashboard(6), new_model())
    assert "image/png" in board._repr_mimebundle_()[0]
    assert [text.split(", held-out")[0] for text in shown] == [
        "TrainingDashboard: training, 0 of 6 steps",
        "TrainingDashboard: finished, 6 of 6 steps",
    ]


# ---------------------------------------------------------------- reading and setting


def test_the_text_says_how_far_it_came():
    board = TrainingDashboard(600, baselines={"a": 3.0, "b": 1.0})
    assert repr(board) == "TrainingDashboard: not started, 0 of 600 steps"
    for loss, words in ((4.0, "above every baseline"), (2.0, "below “a”"), (0.5, "below “b”")):
        history = told(500, every=500)
        history.held_out_loss = [loss]
        board.update(500, history)
        assert repr(board) == f"TrainingDashboard: training, 500 of 600 steps, held-out loss {words}"


def test_the_figure_shows_losses_rate_norm_and_pattern():
    model = new_model()
    board = new_board(model)
    run(board, model)
    losses, pattern, rate, norm = board.figure.axes
    assert losses.get_ylabel() == "loss (nats per token)" and len(losses.texts) == 2
    assert (rate.get_ylabel(), norm.get_ylabel()) == ("learning rate", "gradient norm")
    assert pattern.get_title() == "layer 1, head 0, step 6" and pattern.images
    assert list(norm.lines[0].get_ydata()) == pytest.approx([point[2] for point in board.curve])


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(steps=0), "steps must be at least 1; got 0"),
        (dict(budget=0.0), r"budget must be above 0; got 0.0"),
        (dict(sentence="ab" * 20), "sentence must have 1 … 16 tokens; got 40"),
        (dict(sentence=""), "sentence must have 1 … 16 tokens; got 0"),
        (dict(prompt=""), "prompt must not be empty"),
        (dict(head=(2, 0)), r"head must be \(layer, head\), with \[2, 2\] heads in the layers; got \(2, 0\)"),
    ],
)
def test_bad_settings_are_named_at_once(options, message):
    options = dict(steps=6, prompt="ab", sentence="bad") | options
    with pytest.raises(ValueError, match=message):
        TrainingDashboard(model=new_model(), tokenizer=TOKENIZER, **options)


def test_a_step_beyond_the_last_is_refused():
    with pytest.raises(ValueError, match="step must lie in 1 … 5, the steps that the board was made for; got 6"):
        TrainingDashboard(5).update(6, told(6))


def test_what_the_run_tells_cannot_be_set_and_the_choice_is_checked():
    board = new_board(new_model())
    with pytest.raises(traitlets.TraitError, match="read-only"):
        board.step = 3
    with pytest.raises(ValueError, match="shown must lie in −1 … 0; got 1"):
        board.shown = 1


# ---------------------------------------------------------------- in a browser


def stand_in(n_evaluations: int = 4, steps: int = 400, sentence: str = "bad cab") -> TrainingDashboard:
    """A board as after a run, without one."""
    board = new_board(new_model(), steps, sentence=sentence)
    board.baselines.update({"uniform": 400.0, "bigram": 0.005})
    board.update(steps, told(steps, every=steps // n_evaluations))
    first, every = board.evaluations[0], steps // n_evaluations
    board.evaluations[:] = [first | {"step": i * every, "sample": f"ab, {i} times"} for i in range(n_evaluations + 1)]
    return board


def test_the_page_says_where_the_run_is(show):
    shown = show(stand_in())
    assert shown.page.locator("p").first.inner_text() == "Training: step 400 of 400 · training loss 399"
    assert shown.readout == "Held-out loss at step 400: 0.0025 nats per token, below “bigram”."
    shown.put(status="interrupted at step 400: OSError: disk full")
    said = shown.page.locator("p").first.inner_text()
    assert said == "Interrupted at step 400 of 400 · training loss 399\nOSError: disk full"


def test_before_the_first_step_it_says_so(show):
    shown = show(TrainingDashboard(60_000, baselines={"uniform": 2.4}))
    assert shown.page.locator("p").first.inner_text() == "Not started: step 0 of 60,000"
    assert shown.readout == "No held-out loss has been measured yet."
    hint = shown.page.locator(".note").inner_text()
    assert hint == "Click the losses, then ← → choose a step (with Shift 20 at a time)."


def test_news_is_drawn_as_it_comes(show):
    board = TrainingDashboard(100)
    board.update(10, unmeasured(10))
    shown = show(board)
    before = shown.pixels()
    news = {"curve": [10, [[3.5, 0.1, 2.0]] * 10], "held_out": [0, [[20, 1.25]]], "evaluations": [0, []]}
    shown.page.evaluate("(news) => { window.model.receive(news); window.model.set('step', 20); }", news)
    shown.settle()
    assert len(shown.state("curve")) == 20 and shown.sent() == []
    assert "step 20 of 100 · training loss 3.5" in shown.page.locator("p").first.inner_text()
    assert "Held-out loss at step 20: 1.25" in shown.readout
    assert shown.pixels() != before


def test_a_page_that_missed_something_asks_for_it(show, messages):
    board = TrainingDashboard(100)
    shown = show(board)
    news = {"curve": [5, [[1, 1, 1]]], "held_out": [0, []], "evaluations": [0, []]}
    shown.page.evaluate("(news) => window.model.receive(news)", news)
    assert shown.state("curve") == [] and shown.sent() == [{"ask": "everything"}]
    board.update(10, unmeasured(10))
    messages.clear()
    board._handle_custom_msg({"ask": "everything"}, [])
    shown.page.evaluate("(news) => window.model.receive(news)", messages[0])
    assert shown.state("curve") == board.curve


def test_a_step_is_chosen_by_keys_and_by_hand(show):
    shown = show(stand_in())
    canvas = shown.page.locator("canvas").first
    canvas.focus()
    shown.press("ArrowRight", "ArrowRight")
    assert shown.readout == "Step 2: training loss 1 nats per token, learning rate 0.001, gradient norm 1."
    shown.press("End", "Shift+ArrowLeft")
    assert shown.readout.startswith("Step 380: training loss 379")
    assert shown.page.evaluate("() => window.scrollY") == 0
    shown.press("Escape")
    assert shown.readout.startswith("Held-out loss")
    box = canvas.bounding_box()
    shown.page.mouse.move(box["x"] + 46 + (box["width"] - 58) / 2, box["y"] + 100)
    shown.settle()
    assert int(shown.readout.split()[1].rstrip(":")) in range(198, 204)
    shown.page.mouse.move(box["x"], box["y"] + 2000)
    shown.settle()
    assert shown.readout.startswith("Held-out loss")


def test_a_thinned_curve_says_how_many_steps_a_point_is(show):
    shown = show(stand_in(steps=4000))
    shown.page.locator("canvas").first.focus()
    shown.press("Home")
    assert shown.readout == (
        "Steps 1 to 4: mean training loss 1.5 nats per token, learning rate 0.003, largest gradient norm 3."
    )


@pytest.mark.parametrize("live", [True, False], ids=["live", "alone"])
def test_the_evaluations_can_be_gone_through(show, live):
    board = stand_in()
    shown = show(board, live=live)
    at_end = shown.pixels(0)
    slider = shown.page.get_by_role("slider", name="evaluation")
    assert slider.get_attribute("aria-valuetext") == "step 400"
    slider.focus()
    shown.press("ArrowLeft")
    assert shown.state("shown") == 3 and slider.get_attribute("aria-valuetext") == "step 300"
    assert "ab, 3 times" in shown.page.locator("li[aria-current=true]").inner_text() and shown.pixels(0) != at_end
    shown.page.locator("canvas").first.focus()
    shown.press("ArrowUp", "ArrowUp", "ArrowDown")
    assert shown.state("shown") == 2
    shown.press("ArrowUp", "ArrowUp", "ArrowUp")
    assert shown.state("shown") == 0  # the first
    shown.page.locator("li").nth(1).click()
    assert shown.state("shown") == 1 and slider.get_attribute("aria-valuetext") == "step 100"
    slider.focus()
    shown.press("End")
    assert shown.state("shown") == -1  # follows the newest again
    assert shown.page.evaluate("() => window.scrollY") == 0


def test_a_new_evaluation_is_followed_unless_an_older_one_is_chosen(show):
    board = stand_in()
    shown = show(board)
    receive = "(news) => window.model.receive({curve: [0, []], held_out: [0, []], evaluations: news})"
    shown.page.evaluate(receive, [5, [board.evaluations[0] | {"step": 401, "sample": "the newest"}]])
    assert shown.page.locator("li[aria-current=true]").inner_text() == "step 401 the newest"
    shown.put(shown=2)
    shown.page.evaluate(receive, [6, [board.evaluations[0] | {"step": 402, "sample": "newer still"}]])
    assert shown.page.locator("li[aria-current=true]").inner_text().startswith("step 200")
    assert shown.page.locator("li").count() == 7


def test_the_weights_on_the_page_are_pythons(show):
    board = stand_in()
    shown = show(board)
    shown.page.locator("canvas").nth(2).focus()
    shown.press("ArrowUp", "ArrowUp", "ArrowLeft", "ArrowLeft")  # the first key chooses the last query and key
    assert board.tokens[5] == "a" and board.tokens[4] == "c"
    assert shown.readout == f"Step 400: “a” gives “c” the weight {board.pattern[5, 4]:.2f}."
    assert shown.page.evaluate("() => window.scrollY") == 0


def test_it_is_small_however_long_the_run(show):
    board = stand_in(n_evaluations=60, steps=60_000, sentence="bad cab bad cabb")
    shown = show(board)
    assert shown.nodes() <= 300
    assert shown.page.locator("li").last.inner_text().startswith("step 60,000")


def test_it_fits_a_narrow_page(show, watched):
    watched.page.set_viewport_size({"width": 360, "height": 800})
    shown = show(stand_in(steps=60_000))
    assert shown.page.evaluate("() => document.documentElement.scrollWidth") <= 360
    box, root = (shown.page.locator(place).bounding_box() for place in ("label output", ".tlab"))
    assert box["x"] + box["width"] <= root["x"] + root["width"]
    # Drawn as wide as it is shown, so that its letters keep their size.
    drawn, seen = shown.page.locator("canvas").first.evaluate("(c) => [c.style.width, getComputedStyle(c).width]")
    assert drawn == seen


def test_cleaning_up_ends_it(show):
    shown = show(stand_in())
    shown.page.evaluate("() => window.stop()")
    before = shown.pixels()
    shown.put(shown=1)
    assert shown.pixels() == before

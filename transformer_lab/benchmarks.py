"""Figures to get again on your own machine.

python -m transformer_lab.benchmarks widgets      the attention explorer: bytes, nodes, seconds, milliseconds
python -m transformer_lab.benchmarks dashboard    the training dashboard: what training costs with it and without
python -m transformer_lab.benchmarks gpu          training on a GPU: seconds to a held-out loss, share of its FLOP/s
python -m transformer_lab.benchmarks recipe       the fast training recipe against the one that everybody knows
python -m transformer_lab.benchmarks generation   tokens a second that a GPT writes, and the GPT-2 of `transformers`
python -m transformer_lab.benchmarks memory       what a training step holds: weights, gradients, AdamW's, activations
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lab.widgets.base import Widget, own_traits

# Without a sandbox, since a container's root has none; the rest is what Chromium would say to its maker.
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
MB = 1e6


class NoBrowser(RuntimeError):
    """There is no Chromium to be found, or nothing to drive it with. The message says how to get it."""


class NoGPU(RuntimeError):
    """There is nothing to measure on. The message says what was found."""


class NoKernel(RuntimeError):
    """There is nothing to run a notebook's code. The message says how to get it."""


@contextmanager
def chromium() -> Iterator:
    """The system's Chromium without a window: a playwright Browser. Raises NoBrowser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise NoBrowser('playwright drives the browser and is missing: pip install -e ".[test]"') from None
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise NoBrowser("no Chromium found: install it (Debian, Ubuntu: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


# ---------------------------------------------------------------- what a widget weighs


def random_attention(
    n_tokens: int, *, n_layers: int = 12, n_heads: int = 12, causal: bool = True
) -> Float[Tensor, "layers heads query key"]:
    """softmax of normal scores. Real patterns are emptier, so they take fewer bytes."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(n_layers, n_heads, n_tokens, n_tokens, generator=generator)
    if causal:
        scores.masked_fill_(torch.ones(n_tokens, n_tokens, dtype=torch.bool).triu(1), -torch.inf)
    return scores.softmax(-1)


def live_bytes(widget: Widget) -> int:
    """What a kernel sends to show the widget: its module, its style, its state."""
    state = {name: getattr(widget, name) for name in own_traits(widget)}
    binary = [value for value in state.values() if isinstance(value, bytes)]
    plain = {name: value for name, value in state.items() if not isinstance(value, bytes)}
    texts = (widget._esm, widget._css, json.dumps(plain, ensure_ascii=False))
    return sum(map(len, binary)) + sum(len(text.encode()) for text in texts)


def html_bytes(widget: Widget) -> int:
    """What the page weighs that works without a kernel."""
    with tempfile.TemporaryDirectory() as folder:
        return save_page(widget, folder).stat().st_size


def save_page(widget: Widget, folder: str) -> Path:
    path = Path(folder) / "widget.html"
    widget.save(path)
    return path


# ---------------------------------------------------------------- how fast it is in a browser

# Runs before the page does. `settled` gives the milliseconds from the navigation until the last canvas was drawn;
# `paint(type)` those from the next event of that type until the frame that shows its effect, or null without one.
WATCH = """
const canvases = () => [...document.querySelectorAll(".tlab canvas")];
const drawn = () => canvases().reduce((sum, canvas) => sum + Number(canvas.dataset.drawn ?? 0), 0);
const afterFrame = () => new Promise((done) => requestAnimationFrame(() => {
  const channel = new MessageChannel(); // a message that is sent while a frame is made arrives after it
  channel.port1.onmessage = () => done(performance.now());
  channel.port2.postMessage(null);
}));
window.settled = (async () => {
  let count = 0, last = 0, now = 0;
  do {
    now = await afterFrame();
    if (drawn() !== count) [count, last] = [drawn(), now];
  } while (!count || now - last < 400);
  return last;
})();
window.paint = (type) => {
  window.painted = new Promise((done) => addEventListener(type, async (event) => {
    const before = drawn();
    for (let frame = 0; frame < 30; frame++) {
      const now = await afterFrame();
      if (drawn() !== before) return done(now - event.timeStamp);
    }
    done(null);
  }, { capture: true, once: true }));
};
"""


@dataclass(frozen=True)
class InBrowser:
    """drawn: seconds from navigation to the last canvas. hover, switch: milliseconds from the event to its frame."""

    nodes: int
    drawn: float
    hover: list[float]
    switch: list[float]


def in_browser(widget: Widget, browser, repeats: int = 3, events: int = 20) -> InBrowser:
    """Open the widget's page `repeats` times (drawn is their median); then move the pointer and press arrow keys.

    The pointer moves over the largest canvas. The keys go to the canvas named Heads, or to the first.
    """
    context = browser.new_context(viewport={"width": 1200, "height": 1000}, reduced_motion="reduce", offline=True)
    context.add_init_script(WATCH)
    page = context.new_page()
    with tempfile.TemporaryDirectory() as folder:
        url = save_page(widget, folder).as_uri()
        drawn = []
        for _ in range(repeats):
            page.goto("about:blank")
            page.goto(url)
            drawn.append(page.evaluate("() => window.settled") / 1000)
    canvases = page.locator(".tlab canvas:visible")
    largest = max(canvases.all(), key=lambda canvas: _area(canvas.bounding_box()))
    largest.scroll_into_view_if_needed()
    box = largest.bounding_box()
    along = [0.2 + 0.6 * i / events for i in range(events)]
    places = [(box["x"] + t * box["width"], box["y"] + t * box["height"]) for t in along]
    hover = [_time(page, "pointermove", page.mouse.move, *place) for place in places]
    heads = page.locator(".tlab canvas[aria-label='Heads']")
    (heads if heads.count() else canvases).first.focus()
    there_and_back = ["ArrowRight"] * (events // 2) + ["ArrowLeft"] * (events - events // 2)
    switch = [_time(page, "keydown", page.keyboard.press, key) for key in there_and_back]
    nodes = page.locator(".tlab *").count()
    context.close()
    seen = [[time for time in times if time is not None] for times in (hover, switch)]
    return InBrowser(nodes, statistics.median(drawn), *seen)


def _area(box: dict) -> float:
    return box["width"] * box["height"]


def _time(page, event: str, act: Callable, *arguments) -> float | None:
    page.evaluate("(event) => { window.paint(event) }", event)
    act(*arguments)
    return page.evaluate("() => window.painted")


# ---------------------------------------------------------------- what following a training run costs


@dataclass(frozen=True)
class Cost:
    """Seconds a step. cpu: of all threads of the process, those that send to the page among them."""

    cpu: float
    wall: float


def training_cost(steps: int, watched: bool) -> tuple[Cost, float]:
    """Of the small GPT of lesson 09, on random tokens; and the share that the dashboard says that it took.

    With the dashboard all of it counts: its first look at the model, the samples, the picture at the end.
    """
    from transformer_lab.gpt import GPT, GPTConfig
    from transformer_lab.training import TrainingConfig, load_pretrained, train
    from transformer_lab.widgets.training_dashboard import TrainingDashboard

    _, tokenizer, _ = load_pretrained()
    torch.manual_seed(0)
    model = GPT(GPTConfig.cpu(tokenizer.vocab_size))
    ids = torch.randint(tokenizer.vocab_size, (50_000,))
    config = TrainingConfig(steps=steps)
    cpu, wall = time.process_time(), time.perf_counter()
    if watched:
        board = TrainingDashboard(
            steps, baselines={"uniform": 6.9, "bigram": 4.4}, model=model, tokenizer=tokenizer,
            prompt="This method", sentence="the dog chased the red ball",
        )  # fmt: skip
        with board:
            train(model, ids, ids, config, on_step=board.update)
    else:
        train(model, ids, ids, config)
    cost = Cost((time.process_time() - cpu) / steps, (time.perf_counter() - wall) / steps)
    return cost, board.overhead if watched else 0.0


def dashboard(steps: int, repeats: int) -> None:
    """Train without the dashboard and with it, in turn, and print what a step costs. Best called in a kernel.

    In turn, because a machine's speed drifts; so each run with the board is compared with the one before it.
    """
    torch.set_num_threads(1)
    training_cost(min(steps, 20), watched=True)  # what happens once, as loading fonts, belongs to neither
    print(f"{steps} steps a run, {repeats} {'run' if repeats == 1 else 'runs'} of each in turn, on one thread")
    print(f"{'ms a step':22}  {'CPU: median (least … most)':>28}  {'wall':>28}", flush=True)
    pairs = [(training_cost(steps, watched=False), training_cost(steps, watched=True)) for _ in range(repeats)]
    for i, name in enumerate(("without the dashboard", "with it")):
        costs = [pair[i][0] for pair in pairs]
        columns = (_range([1000 * getattr(cost, kind) for cost in costs], 1) for kind in ("cpu", "wall"))
        print(f"{name:22}" + "".join(f"  {column:>28}" for column in columns))
    ratios = ([getattr(b, kind) / getattr(a, kind) for (a, _), (b, _) in pairs] for kind in ("cpu", "wall"))
    print(f"{'ratio':22}" + "".join(f"  {_range(ratio, 3):>28}" for ratio in ratios))
    own = statistics.median(share for _, (_, share) in pairs)
    print(f"The dashboard's own count of its share of the wall time: {own:.1%}.")
    if repeats > 1:
        plain = [cost.cpu for (cost, _), _ in pairs]
        noise = (max(plain) - min(plain)) / statistics.median(plain)
        print(
            f"The runs without it differ by {noise:.1%} among themselves (CPU): the ratio is known no better than so."
        )


def _range(numbers: list[float], digits: int) -> str:
    middle, least, most = statistics.median(numbers), min(numbers), max(numbers)
    return f"{middle:.{digits}f} ({least:.{digits}f} … {most:.{digits}f})"


def in_a_kernel(code: str) -> None:
    """Run code in a new kernel, as a notebook does, and print what it prints. What it shows is sent, to nobody."""
    try:
        import ipykernel  # noqa: F401
        from jupyter_client.manager import start_new_kernel
    except ImportError:
        raise NoKernel("no kernel found: pip install ipykernel") from None

    def hear(message: dict) -> None:
        if message["msg_type"] == "stream":
            sys.stdout.write(message["content"]["text"])
            sys.stdout.flush()

    manager, client = start_new_kernel(env=os.environ | {"TQDM_DISABLE": "1"})
    try:
        reply = client.execute_interactive(code, output_hook=hear)["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    if reply["status"] != "ok":
        raise RuntimeError(f"{reply['ename']}: {reply['evalue']}")


# ---------------------------------------------------------------- what a GPU makes of training


def gpu(corpus: str, goal: float, steps: int, tiny: bool = False) -> None:
    """Print the seconds to the goal, a held-out loss in nats a character, and the speed of a model that fills the card.

    tiny: the same with small models, for a try on any device. Raises NoGPU.
    """
    from transformer_lab.gpt import GPTConfig
    from transformer_lab.hardware import best_device, describe

    device = best_device()
    if device.type != "cuda" and not tiny:
        raise NoGPU(f"this measures a CUDA GPU; here is {describe(device)}. --tiny tries the commands on it")
    print(describe(device))
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    seconds_to(corpus, goal, steps, device, tiny)
    if tiny:
        return full_card([GPTConfig(64, context_length=16, d_model=32, n_layers=2, n_heads=2)], device, compile=False)
    sizes = [GPTConfig.gpt2(size) for size in ("xl", "large", "medium", "small")]
    # A vocabulary that is a multiple of 64 suits the tensor cores; the tokens that are too many never occur.
    full_card([replace(size, vocab_size=50304) for size in sizes], device, compile=True)


def seconds_to(corpus: str, goal: float, steps: int, device: torch.device, tiny: bool) -> None:
    """Train the 10.6 M model of the gpu preset on a text's characters, and print when its held-out loss was where."""
    from transformer_lab import data
    from transformer_lab.gpt import GPT, GPTConfig
    from transformer_lab.hardware import speed
    from transformer_lab.tokenizers import CharacterTokenizer
    from transformer_lab.training import History, TrainingConfig, train

    text = data.load_corpus(corpus)
    tokenizer = CharacterTokenizer.train(text.train + text.held_out)
    ids, held_out = (torch.tensor(tokenizer.encode(part)) for part in (text.train, text.held_out))
    shape = GPTConfig.gpu(tokenizer.vocab_size)
    if tiny:
        shape = replace(shape, context_length=16, d_model=24, d_ff=96, n_layers=1)
    torch.manual_seed(0)
    model = GPT(shape).to(device)
    print(f"{text.name}: {model.parameter_count()['total']:,} parameters, {len(ids):,} characters")
    print("steps  seconds  held-out loss")

    def tell(step: int, history: History) -> None:
        print(f"{step:5}  {history.seconds:7.1f}  {history.held_out_loss[-1]:13.4f}", flush=True)
        reached.append((history.seconds, history.held_out_loss[-1]))

    reached = []
    config = TrainingConfig(
        steps=steps, batch_size=64, learning_rate=1e-3, warmup_steps=100, evaluate_every=max(1, steps // 20),
        evaluation_windows=1024, compile=not tiny,
    )  # fmt: skip
    history = train(model, ids, held_out, config, on_evaluation=tell)
    first = next((f"after {seconds:.1f} s" for seconds, loss in reached if loss <= goal), "not reached")
    print(
        f"A held-out loss of {goal}: {first}. The first step, which compiles, took {history.first_step_seconds:.1f} s."
    )
    tokens_per_second = history.tokens_per_second(config, shape.context_length)
    print(f"{speed(model, tokens_per_second, device)}, with measuring the loss")


def full_card(sizes: Sequence, device: torch.device, compile: bool) -> None:
    """Train the first of the shapes that the card has the memory for, on random tokens, and print its speed."""
    from transformer_lab.hardware import speed

    for config in sizes:
        for batch_size in (32, 16, 8):
            try:  # not compiled, which takes more memory, but not a minute
                _train_on_noise(config, device, batch_size, steps=2)
            except (MemoryError, torch.OutOfMemoryError):
                continue
            model, tokens_per_second = _train_on_noise(config, device, batch_size, steps=20, compile=compile)
            parameters = f"{model.parameter_count()['total']:,} parameters"
            print(f"{parameters}, {batch_size} windows of {config.context_length} tokens a step, all on random tokens:")
            return print(speed(model, tokens_per_second, device))
    raise NoGPU("no shape fits into this card's memory with 8 windows")


def _train_on_noise(config, device: torch.device, batch_size: int, steps: int, compile: bool = False):
    """The trained model, and tokens a second after the first step."""
    from transformer_lab.gpt import GPT
    from transformer_lab.training import TrainingConfig, train

    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    ids = torch.randint(config.vocab_size, (100 * config.context_length,))
    with torch.device(device):  # the numbers that it starts from are drawn there too, which is faster
        model = GPT(config)
    training = TrainingConfig(
        steps=steps, batch_size=batch_size, evaluate_every=steps, evaluation_windows=1, compile=compile
    )
    history = train(model, ids, ids, training)
    return model, history.tokens_per_second(training, config.context_length)


# ---------------------------------------------------------------- how fast a model writes


def writers(n_layers: int, n_heads: int, d_model: int, n_tokens: int) -> dict[str, Callable]:
    """By name, functions that write `n_tokens` tokens from one. transformers' is there if it is installed."""
    from transformer_lab.generation import generate
    from transformer_lab.gpt import GPT, GPTConfig

    first = torch.zeros(1, 1, dtype=torch.long)
    ours = GPT(GPTConfig(65, n_tokens + 1, d_model, n_layers, n_heads))
    found = {"transformer_lab": lambda: generate(ours, first, n_tokens)}
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError:
        return found
    shape = dict(vocab_size=65, n_positions=n_tokens + 1, n_embd=d_model, n_layer=n_layers, n_head=n_heads)
    theirs = GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=None, eos_token_id=None)).eval()
    exactly = dict(min_new_tokens=n_tokens, max_new_tokens=n_tokens, do_sample=True, attention_mask=first + 1)
    return found | {"transformers, cached": lambda: theirs.generate(first, **exactly)}


def generation(n_tokens: int, repeats: int) -> None:
    """Write with each in turn, on one thread, and print the tokens a second."""
    torch.set_num_threads(1)
    print(
        f"{n_tokens} tokens from one, random weights; tokens a second of CPU time: median (least … most) of {repeats}"
    )
    for n_layers, n_heads, d_model in ((4, 4, 128), (6, 6, 384)):
        write = writers(n_layers, n_heads, d_model, n_tokens)
        speeds = {name: [] for name in write}
        for _ in range(repeats):
            for name, speed in speeds.items():
                started = time.process_time()
                write[name]()
                speed.append(n_tokens / (time.process_time() - started))
        for name, speed in speeds.items():
            print(f"{n_layers} layers of {d_model}  {name:20}  {_range(speed, 0)}", flush=True)


# ---------------------------------------------------------------- what training keeps in memory


def step_bytes(config, n_windows: int, watched: bool = False) -> dict[str, int]:
    """What a training step of a GPT holds on a CPU, in float32, counted tensor by tensor.

    watched: with the attention patterns computed and kept, as `probe.watch` does it.
    """
    from transformer_lab.gpt import GPT, next_token_loss
    from transformer_lab.probe import watch
    from transformer_lab.training import TrainingConfig, make_optimizer

    model = GPT(config)
    optimizer = make_optimizer(model, TrainingConfig())
    inputs, targets = torch.randint(config.vocab_size, (2, n_windows, config.context_length))
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}  # where it lies → bytes: many a saved tensor is a view of another one

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        watch(model) if watched else nullcontext(),
    ):
        loss = next_token_loss(model(inputs), targets)
    loss.backward()
    optimizer.step()
    state = [tensor for of_one in optimizer.state.values() for tensor in of_one.values()]
    return {
        "weights": sum(p.nbytes for p in model.parameters()),
        "gradients": sum(p.grad.nbytes for p in model.parameters()),
        "AdamW": sum(tensor.nbytes for tensor in state),
        "activations": sum(kept.values()),
    }


def memory() -> None:
    """Print the megabytes of a step, for a few models."""
    from transformer_lab import race
    from transformer_lab.gpt import GPTConfig

    models = {
        "yardstick": (race.yardstick(100)[0], 12),
        "recipe": (race.recipe(100)[0], 8),
        "GPTConfig.gpu": (replace(GPTConfig.gpu(100), dropout=0.0), 16),  # with dropout a CPU keeps the patterns anyway
        "GPT-2 small": (GPTConfig.gpt2("small"), 1),
    }
    print("MB that a training step holds, in float32; activations: what the forward pass keeps for the backward pass")
    print(f"{'':14}{'windows':>14}{'weights':>9}{'gradients':>11}{'AdamW':>7}{'activations':>13}{'and patterns':>14}")
    for name, (config, n_windows) in models.items():
        held = [held / MB for held in step_bytes(config, n_windows).values()]
        patterns = step_bytes(config, n_windows, watched=True)["activations"] / MB
        windows = f"{n_windows} × {config.context_length}"
        weights, gradients, adam, activations = (f"{megabytes:,.0f}" for megabytes in held)
        row = f"{name:14}{windows:>14}{weights:>9}{gradients:>11}{adam:>7}{activations:>13}{patterns:>14,.0f}"
        print(row, flush=True)


# ---------------------------------------------------------------- the commands


def widgets(browser, lengths: Sequence[int], n_layers: int = 12, n_heads: int = 12, events: int = 20) -> None:
    """Print a line of figures for each number of tokens."""
    from transformer_lab.widgets.attention_explorer import AttentionExplorer

    print(f"AttentionExplorer, {n_layers} × {n_heads} heads, random causal attention; times: median (worst)")
    print("tokens  live MB  HTML MB  nodes  build s  drawn s  hover ms    head switch ms")
    for n_tokens in lengths:
        attention = random_attention(n_tokens, n_layers=n_layers, n_heads=n_heads)
        tokens = [f"t{i}" for i in range(n_tokens)]
        started = time.perf_counter()
        widget = AttentionExplorer(tokens, attention)
        build = time.perf_counter() - started
        seen = in_browser(widget, browser, events=events)
        weight = f"{live_bytes(widget) / MB:7.2f}  {html_bytes(widget) / MB:7.2f}  {seen.nodes:5}"
        times = f"{build:7.2f}  {seen.drawn:7.2f}  {_spread(seen.hover):10}  {_spread(seen.switch)}"
        print(f"{n_tokens:6}  {weight}  {times}", flush=True)


def _spread(times: list[float]) -> str:
    return f"{statistics.median(times):.0f} ({max(times):.0f})" if times else "–"


def recipe(options: argparse.Namespace) -> None:
    from transformer_lab.data import load_corpus
    from transformer_lab.race import race

    torch.set_num_threads(1)
    for name in options.text:
        shape = dict(d_model=options.d_model, context_length=options.context_length)
        race(load_corpus(name), options.seeds, options.steps, options.quick, **shape)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m transformer_lab.benchmarks", description="Measure, and print.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("widgets", help="the attention explorer's bytes, nodes, and times in a browser")
    command.add_argument("--tokens", type=int, nargs="+", default=[64, 128, 256, 1024], help="[64 128 256 1024]")
    command = commands.add_parser("dashboard", help="what a step of training costs with the dashboard and without")
    command.add_argument("--steps", type=int, default=800, help="of each run [800, as in lesson 09]")
    command.add_argument("--repeats", type=int, default=3, help="runs of each kind [3]")
    command = commands.add_parser("gpu", help="seconds to a held-out loss, and how much of a GPU is made use of")
    command.add_argument("--corpus", default="shakespeare", help="python, shakespeare, or a text's path [shakespeare]")
    command.add_argument("--goal", type=float, default=1.47, help="held-out loss in nats a character [1.47]")
    command.add_argument("--steps", type=int, default=3000, help="of the run to that goal [3000]")
    command.add_argument("--tiny", action="store_true", help="small models, on any device: a try of the command")
    command = commands.add_parser("recipe", help="the fast training recipe against the one that everybody knows")
    command.add_argument("--text", nargs="+", default=["python"], help="python, shakespeare, or files' paths [python]")
    command.add_argument("--d-model", type=int, default=128, help="width of both models [128]")
    command.add_argument("--context-length", type=int, default=64, help="characters that they see at once [64]")
    command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="[0 1 2]")
    command.add_argument("--steps", type=int, help="of the recipe [what TrainingConfig.fast says]")
    command.add_argument("--quick", action="store_true", help="a fiftieth of all steps: shows only that it runs")
    command = commands.add_parser("generation", help="tokens a second that a GPT writes")
    command.add_argument("--tokens", type=int, default=255, help="to write, all within the context [255]")
    command.add_argument("--repeats", type=int, default=3, help="of each [3]")
    commands.add_parser("memory", help="what a training step holds: weights, gradients, AdamW's state, activations")
    options = parser.parse_args(arguments)
    try:
        if options.command == "gpu":
            return gpu(options.corpus, options.goal, options.steps, options.tiny)
        if options.command == "recipe":
            return recipe(options)
        if options.command == "generation":
            return generation(options.tokens, options.repeats)
        if options.command == "memory":
            return memory()
        if options.command == "dashboard":
            if min(options.steps, options.repeats) < 1:
                parser.error("--steps and --repeats must be at least 1")
            code = f"from transformer_lab.benchmarks import dashboard\ndashboard({options.steps}, {options.repeats})"
            return in_a_kernel(code)
        with chromium() as browser:
            widgets(browser, options.tokens)
    except (NoBrowser, NoGPU, NoKernel, OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()

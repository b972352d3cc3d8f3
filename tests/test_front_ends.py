"""The widgets in JupyterLab 4 and in Notebook 7: a real browser and a real kernel, and nothing else within reach.

One server has both applications. Each opens, once, a notebook that holds the cells of all scenarios.
"""

import ast
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import nbformat
import pytest
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from playwright.sync_api import Browser, ConsoleMessage, Error, Locator, Page, Route, expect

from tests.refresh_notebooks import KERNEL, freeze
from transformer_lab.widgets.base import visible

APPLICATIONS = {"JupyterLab": "lab/tree", "Notebook": "notebooks"}  # and the place of a notebook in each
PIXELS = "(widget) => [...widget.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL()).join()"
PATIENCE = 120  # seconds: a busy machine is slow, a hang never ends
expect.set_options(timeout=1000 * PATIENCE)


# ---------------------------------------------------------------- the server, the applications, the kernel


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The server's address and its folder. It has a home of its own, and asks nobody for news."""
    home = tmp_path_factory.mktemp("home")
    folders = {
        name: home / name.lower() for name in ("notebooks", "config", "data", "runtime", "settings", "workspaces")
    }
    for folder in folders.values():
        folder.mkdir()
    off = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (folders["config"] / "labconfig").mkdir()
    (folders["config"] / "labconfig" / "page_config.json").write_text(json.dumps(off), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        **{f"JUPYTER_{name.upper()}_DIR": str(folders[name]) for name in ("config", "data", "runtime")},
        **{f"JUPYTERLAB_{name.upper()}_DIR": str(folders[name]) for name in ("settings", "workspaces")},
        "MPLCONFIGDIR": matplotlib.get_cachedir(),  # its list of fonts takes seconds to make
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "notebook", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    command += [f"--ServerApp.root_dir={folders['notebooks']}", "--IdentityProvider.token=secret"]
    command += [f"--{app}.expose_app_in_browser=True" for app in ("LabApp", "JupyterNotebookApp")]
    log = home / "server.log"
    with log.open("w") as file, subprocess.Popen(command, env=environment, stdout=file, stderr=file) as process:
        try:
            end = time.monotonic() + PATIENCE
            while not listens(port):
                assert process.poll() is None and time.monotonic() < end, log.read_text()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}", folders["notebooks"]
        finally:
            process.terminate()


def listens(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


class FrontEnd:
    """An application in a browser, with a notebook in it. `complaints` and `refused` should stay empty."""

    def __init__(self, application: str, page: Page, url: str):
        self.application, self.page, self.url = application, page, url
        self.complaints: list[str] = []
        self.refused: list[str] = []
        page.set_default_timeout(1000 * PATIENCE)
        page.route("**/*", self._pass_or_refuse)
        page.on("console", self._on_console)
        page.on("pageerror", self._on_error)

    def _pass_or_refuse(self, route: Route) -> None:
        if route.request.url.startswith((f"{self.url}/", "data:", "blob:")):
            return route.continue_()
        self.refused.append(route.request.url)
        route.abort()

    # Errors of the application's own files (static/lab, static/notebook) are not for us to judge. What anywidget and
    # the widget manager say is, and so is what comes from a module of ours, which has an address without a file.

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and f"{self.url}/static/" not in message.location["url"]:
            self.complaints.append(f"{message.text} {message.location}")

    def _on_error(self, error: Error) -> None:
        frames = [line for line in (error.stack or "").splitlines() if "http" in line or "blob:" in line]
        if not frames or not all(f"{self.url}/static/" in line for line in frames):
            self.complaints.append(f"{error} {error.stack}")

    def open(self, notebook: str) -> None:
        self.page.goto(f"{self.url}/{APPLICATIONS[self.application]}/{notebook}?token=secret")
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.connectionStatus"
            " === 'connected'"
        )

    def command(self, name: str, **arguments) -> None:
        self.page.evaluate("([name, given]) => window.jupyterapp.commands.execute(name, given)", [name, arguments])

    def start_cell(self, beginning: str) -> None:
        """Run the cell that begins so, and do not wait for its end, which `window.ended` promises."""
        self.page.evaluate(
            """(beginning) => {
                const { content } = window.jupyterapp.shell.currentWidget;
                const starts = (cell) => cell.model.sharedModel.source.startsWith(beginning);
                content.activeCellIndex = content.widgets.findIndex(starts);
                window.ended = window.jupyterapp.commands.execute("notebook:run-cell").catch(() => {});
            }""",
            beginning,
        )

    def run(self, code: str, expression: str = "None"):
        """Run code in the notebook's kernel, and return the value of an expression of plain numbers and texts."""
        answer = self.page.evaluate(
            """async ([code, value]) => {
                const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
                const request = { code, store_history: false, user_expressions: { value } };
                return (await kernel.requestExecute(request).done).content;
            }""",
            [code, expression],
        )
        assert answer["status"] == "ok", answer
        value = answer["user_expressions"]["value"]
        assert value["status"] == "ok", value
        return ast.literal_eval(value["data"]["text/plain"])

    def value(self, expression: str):
        return self.run("", expression)

    def until(self, expression: str, wanted) -> None:
        """Until the kernel has heard: the expression's value there is what is wanted."""
        end = time.monotonic() + PATIENCE
        while (value := self.value(expression)) != wanted:
            assert time.monotonic() < end, f"{expression} stays {value}, not {wanted}"

    def redrawn(self, widget: Locator, change: Callable[[], object]) -> None:
        """Make a change and see it: until its canvases hold other pixels."""
        before = widget.evaluate(PIXELS)
        change()
        self.page.wait_for_function(
            f"([widget, before]) => ({PIXELS})(widget) !== before", arg=[widget.element_handle(), before]
        )

    def drag(self, canvas: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
        """From one place on a canvas to another, in its pixels."""
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        self.page.mouse.move(box["x"] + start[0], box["y"] + start[1])
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + end[0], box["y"] + end[1], steps=3)
        self.page.mouse.up()

    def notebook(self) -> dict:
        """What a stray key would change: the cells, the one that is selected, and how far the page is scrolled."""
        return self.page.evaluate(
            """async () => {
                for (let i = 0; i < 4; i++) await new Promise(requestAnimationFrame); // scrolling starts with a frame
                const { content } = window.jupyterapp.shell.currentWidget;
                const scrolled = [...document.querySelectorAll("*")].map((element) => element.scrollTop);
                return {
                    cells: content.widgets.map((cell) => `${cell.model.type} ${cell.model.sharedModel.source}`),
                    selected: content.activeCellIndex,
                    mode: content.mode,
                    scrolled: scrolled.reduce((sum, top) => sum + top, window.scrollY),
                };
            }"""
        )


# ---------------------------------------------------------------- the scenarios


@dataclass
class Scenario:
    """Cells of a notebook, of which the last shows a widget, and what a hand and the kernel do with it."""

    widget: str  # its name on the page
    cells: list[str]
    act: Callable[[FrontEnd, Locator], None]


def softmax_playground(front: FrontEnd, widget: Locator) -> None:
    canvas, keyboard = widget.locator("canvas"), front.page.keyboard
    canvas.focus()
    for key in ("ArrowRight", "ArrowUp", "Shift+ArrowDown"):
        keyboard.press(key)
    front.until("playground.scores", [2.0, 0.1, 0.0])
    widget.get_by_role("button", name="mask “sat”").click()
    front.until("playground.masked", [1])
    widget.get_by_role("slider", name="temperature").press("Home")
    front.until("round(playground.temperature, 2)", 0.05)
    front.drag(canvas, (102, 110), (102, 0))  # the first bar, from 0 to beyond the top
    front.until("playground.scores[0] == playground.limit", True)
    front.redrawn(widget, lambda: front.run("playground.scores, playground.masked = [0.0, 0.0, 0.0], []"))
    assert "weight 0.333" in widget.locator(".readout").inner_text()


def sampling_playground(front: FrontEnd, widget: Locator) -> None:
    bars, readout, keyboard = widget.locator("canvas"), widget.locator(".readout"), front.page.keyboard
    box, top_p = widget.get_by_role("textbox", name="text"), widget.get_by_role("slider", name="top-p")
    top_p.press("Home")
    front.until("(sampler.top_p, sampler.kept)", (0.01, (14, 1)))
    expect(readout).to_contain_text("1 of 14 tokens is left")
    front.redrawn(widget, lambda: front.run("sampler.top_p = 0.5"))
    expect(top_p).to_have_value("0.5")
    widget.get_by_role("slider", name="temperature").press("Home")
    front.until("sampler.temperature", 0)
    likeliest = front.value("sampler.ids[0]")
    widget.get_by_role("button", name="draw a token").click()
    front.until("sampler.drawn", [likeliest])
    expect(widget.locator("mark")).to_have_text(front.value("sampler.pieces"))
    expect(readout).not_to_contain_text("reading")
    second = front.value("sampler.ids[1]")
    bars.focus()
    for key in ("ArrowDown", "Enter"):
        keyboard.press(key)
    front.until("sampler.drawn", [likeliest, second])
    expect(readout).not_to_contain_text("reading")
    keyboard.press("Backspace")
    front.until("sampler.drawn", [likeliest])
    expect(readout).not_to_contain_text("reading")
    keyboard.press("d")
    front.until("len(sampler.drawn)", 2)
    box.fill("the dog")
    front.until("(sampler.text, sampler.drawn)", ("the dog", []))
    expect(widget.locator("mark")).to_have_count(0)
    box.fill("the cat!")
    expect(readout).to_contain_text("This cannot be: text holds '!' at index 7")
    assert front.value("sampler.text") == "the dog" and box.input_value() == "the cat!"
    box.fill("the cat")
    front.until("sampler.text", "the cat")
    expect(readout).not_to_contain_text("cannot")
    bars.click(position={"x": 200, "y": 46 + 24 * 2 + 12})
    expect(readout).to_contain_text(f"{visible(front.value('sampler.labels[2]'))}: the model gives")


def bpe_stepper(front: FrontEnd, widget: Locator) -> None:
    tokens, readout = widget.locator("canvas").first, widget.locator(".readout")
    box = widget.get_by_role("textbox", name="text")
    widget.get_by_role("slider", name="merges").press("ArrowRight")
    front.until("(stepper.step, stepper.tokens[-1])", (1, b"at"))
    box.fill("low lower lowest")
    front.until("(stepper.text, stepper.step, len(stepper.pairs))", ("low lower lowest", 1, 4))
    expect(readout).to_contain_text("16 bytes are 13 tokens after 1 of 4 merges. The last one made “lo”")
    widget.get_by_role("button", name="forward").click()
    front.until("(stepper.step, stepper.tokens[:2])", (2, [b"low", b" "]))
    tokens.focus()
    for key in ("Home", "ArrowRight", "ArrowRight"):
        front.page.keyboard.press(key)
    expect(readout).to_contain_text("Chosen: “low”")
    tokens.click(position={"x": 50, "y": 14})
    expect(readout).to_contain_text("Chosen: “␣”, id 32")
    widget.get_by_role("button", name="play").click()
    front.until("(stepper.step, stepper.tokens)", (4, [b"low", b" lowe", b"r", b" lowe", b"s", b"t"]))
    widget.get_by_role("button", name="play").wait_for()  # at the end it has stopped by itself
    front.redrawn(widget, lambda: front.run("stepper.step = 0"))
    expect(readout).to_contain_text("16 bytes are 16 tokens after 0 of 4 merges.")
    front.redrawn(widget, lambda: front.run("stepper.text = 'abab'"))
    expect(box).to_have_value("abab")


def attention_explorer(front: FrontEnd, widget: Locator) -> None:
    heads, text = widget.get_by_label("Heads", exact=True), widget.get_by_label("Text: each token")
    heads.click(position={"x": 54, "y": 118})  # the second row's first
    front.until("(explorer.layer, explorer.head)", (1, 0))
    heads.press("ArrowRight")
    heads.press("x")
    front.until("(explorer.head, explorer.ablated)", (1, [(1, 1)]))
    widget.get_by_role("button", name="switch on layer 1, head 1").click()
    front.until("explorer.ablated", [])
    widget.get_by_role("button", name="causal mask").click()
    front.until("(explorer.causal, bool(explorer.pattern[0, 1] > 0))", (False, True))
    widget.get_by_role("slider", name="temperature").press("End")
    front.until("explorer.temperature", 4.0)
    widget.get_by_role("button", name="undo changes").click()
    front.until("(explorer.causal, explorer.temperature)", (True, 1.0))
    widget.get_by_role("textbox", name="text").fill("a ball chased")
    front.until("(explorer.text, len(explorer.pattern))", ("a ball chased", 13))
    text.press("ArrowLeft")
    front.until("explorer.query", 11)
    text.hover(position={"x": 5, "y": 10})
    expect(widget.locator(".readout")).to_contain_text("head 1: “a” (0) ")
    front.page.mouse.move(0, 0)
    front.redrawn(widget, lambda: front.run("explorer.layer, explorer.query, explorer.view = 0, 5, 'lines'"))
    expect(widget.locator(".readout")).to_contain_text("layer 0, head 1: “l” (5) ")


def position_explorer(front: FrontEnd, widget: Locator) -> None:
    state, keyboard = "(explored.position, explored.other, explored.pair)", front.page.keyboard
    encoding, arrows, distances, waves = widget.locator("canvas").all()
    encoding.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        keyboard.press(key)
    front.until(state, (12, 16, 3))
    arrows.focus()
    keyboard.press("ArrowLeft")
    front.until(state, (11, 15, 3))
    column, row = (encoding.bounding_box()["width"] - 76) / 64, 166 / 16
    front.drag(encoding, (66 + 20.5 * column, 40 + 5.5 * row), (66 + 30.5 * column, 40 + 7.5 * row))
    front.until(state, (30, 15, 7))
    waves.click(position={"x": 76 + (waves.bounding_box()["width"] - 88) * 0.5 / 16, "y": 60})
    front.until(state, (30, 15, 0))
    distances.focus()
    keyboard.press("ArrowRight")
    front.until(state, (30, 16, 0))
    widget.get_by_role("combobox", name="scheme").select_option("rotary")
    front.until("explored.scheme", "rotary")
    front.redrawn(widget, lambda: front.run("explored.scheme, explored.position, explored.pair = 'sinusoidal', 17, 2"))
    expect(widget.locator(".readout")).to_contain_text("Positions 17 and 16, 1 apart: its hands are 18° apart")
    assert front.value("round(abs(explored.angle))") == 18


def training_dashboard(front: FrontEnd, widget: Locator) -> None:
    said, readout, losses = widget.locator("p").first, widget.locator(".readout"), widget.locator("canvas").first
    expect(said).to_contain_text("Interrupted at step 40 of 20,000")  # where the cell's first run ended
    front.run("last_step = None")
    front.start_cell("with board:")
    try:  # the kernel is busy, and the page hears of it all the same
        expect(said).to_contain_text(re.compile(r"Training: step [\d,]+ of 20,000 · training loss"))
        early = said.inner_text()
        front.redrawn(widget, lambda: expect(said).not_to_have_text(early))
        losses.focus()
        front.page.keyboard.press("Home")
        expect(readout).to_contain_text("Steps 1 to 20: mean training loss")
        expect(widget.locator("li")).not_to_have_count(1)  # there is a sample from the run
    finally:
        front.command("notebook:interrupt-kernel")
        front.page.evaluate("() => window.ended")  # then the application may still scroll to the cell
    expect(said).to_contain_text("Interrupted at step")
    # What was learnt and seen so far is there, on the page as in the kernel.
    assert said.inner_text().startswith(f"{front.value('board.status')} of 20,000".capitalize())
    front.until("len(board.curve) == board.step // 20 and len(history.train_loss) >= board.step", True)
    losses.focus()
    front.page.keyboard.press("End")
    loss = front.value("format(board.curve[-1][0], '.3g')")
    expect(readout).to_contain_text(f"mean training loss {loss} nats per token")
    front.page.keyboard.press("Escape")
    expect(readout).to_contain_text("Held-out loss at step")
    widget.get_by_role("slider", name="evaluation").press("Home")
    front.until("board.shown", 0)
    expect(widget.locator("li[aria-current=true]")).to_contain_text("step 0")
    pattern = widget.get_by_label("Pattern of one head")
    pattern.focus()
    front.page.keyboard.press("ArrowLeft")
    weight = front.value("format(board.pattern[-1, -1].item(), '.2f')")
    expect(readout).to_contain_text(f"Step 0: “g” gives “g” the weight {weight}")


SCENARIOS = [
    Scenario(
        "Softmax playground",
        [
            "from transformer_lab.widgets.softmax_playground import SoftmaxPlayground",
            "playground = SoftmaxPlayground([2.0, 1.0, 0.0], labels=['cat', 'sat', 'mat'])\nplayground",
        ],
        softmax_playground,
    ),
    Scenario(
        "Sampling playground",
        [
            "import torch\n"
            "from transformer_lab.gpt import GPT, GPTConfig\n"
            "from transformer_lab.tokenizers import CharacterTokenizer\n"
            "from transformer_lab.widgets.sampling_playground import SamplingPlayground",
            "torch.manual_seed(0)\n"
            "letters = CharacterTokenizer('\\n acdeghlort.,')\n"
            "writer = GPT(GPTConfig(letters.vocab_size, context_length=32, d_model=16, n_layers=1, n_heads=2))\n"
            "sampler = SamplingPlayground(writer, letters, 'the red')\nsampler",
        ],
        sampling_playground,
    ),
    Scenario(
        "Byte-pair encoding, step by step",
        [
            "from transformer_lab.widgets.bpe_stepper import BPEStepper",
            "stepper = BPEStepper('the cat sat on that mat', merges=4)\nstepper",
        ],
        bpe_stepper,
    ),
    Scenario(
        "Attention explorer",
        [
            "import torch\n"
            "from transformer_lab.gpt import GPT, GPTConfig\n"
            "from transformer_lab.tokenizers import CharacterTokenizer\n"
            "from transformer_lab.widgets.attention_explorer import AttentionExplorer",
            "torch.manual_seed(0)\n"
            "tokenizer = CharacterTokenizer('a dog chased the red ball')\n"
            "model = GPT(GPTConfig(tokenizer.vocab_size, context_length=32, d_model=16, n_layers=2, n_heads=2))\n"
            "explorer = AttentionExplorer.from_model(model, tokenizer, 'the red ball')\nexplorer",
        ],
        attention_explorer,
    ),
    Scenario(
        "Position explorer",
        [
            "from transformer_lab.widgets.position_explorer import PositionExplorer",
            "explored = PositionExplorer(position=10, other=16, pair=2)\nexplored",
        ],
        position_explorer,
    ),
    Scenario(
        "Training dashboard",
        [
            "import torch\n"
            "from transformer_lab.gpt import GPT, GPTConfig\n"
            "from transformer_lab.tokenizers import CharacterTokenizer\n"
            "from transformer_lab.training import TrainingConfig, train\n"
            "from transformer_lab.widgets.training_dashboard import TrainingDashboard",
            "torch.set_num_threads(1)\n"
            "characters = CharacterTokenizer.train('the dog chased the red ball')\n"
            "ids = torch.tensor(characters.encode('the red ball chased the dog ' * 20))\n"
            "learner = GPT(GPTConfig(characters.vocab_size, context_length=16, d_model=16, n_layers=1, n_heads=2))\n"
            "run = TrainingConfig(steps=20_000, batch_size=2, evaluate_every=20, evaluation_windows=2)\n"
            "board = TrainingDashboard(run.steps, baselines={'uniform': 2.7}, model=learner, tokenizer=characters,\n"
            "                          prompt='the', sentence='the red dog', sample_tokens=3,\n"
            "                          budget=float('inf'))\n"
            "last_step = 40  # of the first run\n\n"
            "def follow(step, history):\n"
            "    board.update(step, history)\n"
            "    if step == last_step:\n"
            "        raise KeyboardInterrupt",
            "with board:\n    history = train(learner, ids, ids, run, on_step=follow)",
        ],
        training_dashboard,
    ),
]

each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.widget for scenario in SCENARIOS])


@pytest.fixture(scope="module", params=APPLICATIONS)
def front(request, server, browser: Browser) -> Iterator[FrontEnd]:
    """Each application with the notebook open and run, every widget drawn."""
    url, folder = server
    name = f"{request.param}.ipynb"
    cells = [new_code_cell(source) for scenario in SCENARIOS for source in scenario.cells]
    cells.append(new_markdown_cell("\n\n".join(["There is something to scroll."] * 80)))
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), folder / name)
    context = browser.new_context(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
    front = FrontEnd(request.param, context.new_page(), url)
    front.open(name)
    front.command("notebook:run-all-cells")
    for scenario in SCENARIOS:
        front.page.locator(f'.tlab[data-widget="{scenario.widget}"] canvas[data-drawn]').first.wait_for()
    yield front
    context.close()


@pytest.fixture(autouse=True)
def quiet(front: FrontEnd) -> Iterator[None]:
    yield
    complaints, front.complaints = front.complaints, []
    assert front.refused == [] and complaints == []


@pytest.fixture
def widget(front: FrontEnd, scenario: Scenario) -> Locator:
    widget = front.page.locator(f'.tlab[data-widget="{scenario.widget}"]')
    widget.scroll_into_view_if_needed()
    return widget


# ---------------------------------------------------------------- the tests


@each_scenario
def test_what_a_hand_does_arrives_in_the_kernel_and_back(front, widget, scenario):
    scenario.act(front, widget)


@each_scenario
def test_the_notebooks_own_keys_stay_silent_in_a_widget_and_it_can_be_left(front, widget, scenario):
    front.command("notebook:enter-command-mode")
    inside = "(widget) => widget.contains(document.activeElement)"
    for canvas in widget.locator("canvas[tabindex='0']").all():
        canvas.focus()
        before = front.notebook()
        for keys in "a", "b", "d d", "x", "z", "j", "k", "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Enter":
            for key in keys.split():
                front.page.keyboard.press(key)
            assert front.notebook() == before, (keys, canvas.get_attribute("aria-label"))
        assert widget.evaluate(inside)
    for _ in range(widget.locator("button, input, select, textarea, [tabindex='0']").count()):
        front.page.keyboard.press("Tab")
        if not widget.evaluate(inside):
            break
    assert not widget.evaluate(inside)
    # The same keys are the notebook's again: one adds a cell, two delete it.
    before = front.notebook()["cells"]
    front.page.locator(".jp-RenderedMarkdown").last.click(position={"x": 5, "y": 5})
    front.page.keyboard.press("b")
    assert len(front.notebook()["cells"]) == len(before) + 1
    front.page.keyboard.press("d")
    front.page.keyboard.press("d")
    assert front.notebook()["cells"] == before


def test_the_colours_follow_the_theme(front):
    widgets = [front.page.locator(f'.tlab[data-widget="{scenario.widget}"]') for scenario in SCENARIOS]
    light = [widget.evaluate(PIXELS) for widget in widgets]
    for widget in widgets:
        front.redrawn(widget, lambda: front.command("apputils:change-theme", theme="JupyterLab Dark"))
        text, paper = (brightness(widget, name) for name in ("color", "backgroundColor"))
        assert text > 200 and paper < 50
        front.redrawn(widget, lambda: front.command("apputils:change-theme", theme="JupyterLab Light"))
        text, paper = (brightness(widget, name) for name in ("color", "backgroundColor"))
        assert text < 50 and paper > 200
    for widget, pixels in zip(widgets, light, strict=True):
        widget.scroll_into_view_if_needed()  # out of sight it may keep the width that it had in between
        front.page.wait_for_function(
            f"([widget, pixels]) => ({PIXELS})(widget) === pixels", arg=[widget.element_handle(), pixels]
        )


def brightness(widget: Locator, colour: str) -> float:
    """0 … 255."""
    channels = widget.evaluate("(widget, name) => getComputedStyle(widget)[name]", colour)
    return sum(float(channel) for channel in re.findall(r"[\d.]+", channels)[:3]) / 3


def test_a_notebook_as_it_is_committed_shows_pictures_where_nothing_has_run(front, server):
    _, folder = server
    front.command("docmanager:save")
    notebook = nbformat.read(folder / f"{front.application}.ipynb", as_version=4)
    freeze(notebook)
    nbformat.write(notebook, folder / "frozen.ipynb")
    notary = NotebookNotary(data_dir=str(folder.parent / "data"))
    notary.sign(notebook)  # in one that is not trusted no live view would be tried
    notary.store.close()
    later = FrontEnd(front.application, front.page.context.new_page(), front.url)
    later.open("frozen.ipynb")
    pictures = later.page.locator(".jp-OutputArea-output img")
    expect(pictures).to_have_count(len(SCENARIOS))
    assert min(picture.evaluate("(picture) => picture.naturalWidth") for picture in pictures.all()) > 200
    text = later.page.locator(".jp-Notebook").inner_text()
    assert "model not found" not in text and "Error" not in text and "Loading widget" not in text
    assert later.page.locator(".tlab").count() == 0
    assert later.refused == [] and later.complaints == []
    later.page.close()

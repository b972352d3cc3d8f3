"""What several test files share: repeatable randomness, models with weights worth comparing, a browser."""

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import register_random, settings
from playwright.sync_api import Browser, ConsoleMessage, Page, Route
from torch import nn

from transformer_lab.benchmarks import NoBrowser, chromium
from transformer_lab.gpt import GPT, GPTConfig

torch.set_num_threads(1)  # everything here is small: a second thread costs more than it brings

settings.register_profile("lab", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("lab")


class TorchRandom:
    """What hypothesis seeds before each example."""

    seed = torch.manual_seed
    getstate = torch.random.get_rng_state
    setstate = torch.random.set_rng_state


register_random(TorchRandom)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def randomised():
    """A function: every parameter drawn anew, in float64, so that no bias is 0 and no norm's weight is 1."""

    def randomise(module: nn.Module) -> nn.Module:
        for parameter in module.double().parameters():
            nn.init.normal_(parameter, std=0.4)
        return module

    return randomise


@pytest.fixture
def tiny_gpt(randomised):
    """A function: a GPT of 11 tokens, context 8, two layers of two heads; keywords change its config."""
    shape = dict(vocab_size=11, context_length=8, d_model=8, n_layers=2, n_heads=2)
    return lambda **changes: randomised(GPT(GPTConfig(**shape | changes)))


@pytest.fixture
def torch_attention_weights():
    """A function: the weights of a torch.nn.MultiheadAttention under our names."""

    def rename(theirs: nn.MultiheadAttention) -> dict[str, torch.Tensor]:
        weights = {f"out.{name}": parameter for name, parameter in theirs.out_proj.named_parameters()}
        for kind, fused in (("weight", theirs.in_proj_weight), ("bias", theirs.in_proj_bias)):
            if fused is not None:
                weights |= {
                    f"{part}.{kind}": t for part, t in zip(("query", "key", "value"), fused.chunk(3), strict=True)
                }
        return weights

    return rename


@pytest.fixture
def torch_layer_weights(torch_attention_weights):
    """A function: the weights of a torch encoder or decoder layer under our names."""

    def rename(theirs: nn.Module) -> dict[str, torch.Tensor]:
        ours = {"attention": torch_attention_weights(theirs.self_attn)}
        ours |= {"feed_forward.up": theirs.linear1.state_dict(), "feed_forward.down": theirs.linear2.state_dict()}
        norms = ["around_attention", "around_feed_forward"]
        if hasattr(theirs, "multihead_attn"):
            ours["cross_attention"] = torch_attention_weights(theirs.multihead_attn)
            norms.insert(1, "around_cross_attention")
        ours |= {f"{name}.norm": getattr(theirs, f"norm{i}").state_dict() for i, name in enumerate(norms, 1)}
        return {f"{part}.{name}": t for part, weights in ours.items() for name, t in weights.items()}

    return rename


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    try:
        with chromium() as browser:
            yield browser
    except NoBrowser as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"this test needs a browser: {error}")


class Watched:
    """A page that reaches nothing, and what went wrong on it."""

    def __init__(self, page: Page):
        self.page = page
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.route("**/*", self._refuse)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _refuse(self, route: Route) -> None:
        request = route.request
        opened = request.is_navigation_request() and request.frame == self.page.main_frame
        if opened and request.url.startswith("file:"):
            return route.continue_()  # the page itself
        self.requests.append(request.url)
        route.abort()


@pytest.fixture(params=["light", "dark"])
def theme(request) -> str:
    return request.param


@pytest.fixture
def watched(browser, theme) -> Iterator[Watched]:
    """Afterwards: no request was made, and nothing complained."""
    context = browser.new_context(color_scheme=theme, viewport={"width": 1100, "height": 900}, reduced_motion="reduce")
    watched = Watched(context.new_page())
    yield watched
    context.close()
    assert watched.requests == [] and watched.errors == []

"""Hardware: which device, which precision, and what share of a card's best a run makes use of."""

from types import SimpleNamespace

import pytest
import torch

from transformer_lab import hardware
from transformer_lab.gpt import GPT, GPTConfig
from transformer_lab.hardware import best_device, describe, mixed_precision, speed, training_flops, utilisation

CUDA = torch.device("cuda")


@pytest.fixture
def card(monkeypatch):
    """A function: let torch say that there is a card of that name."""

    def put(name: str, bfloat16_units: bool = True) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16_units)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 62.5e9)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=85e9))

    return put


@pytest.mark.parametrize(
    "cuda, mps, best", [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)  # fmt: skip
def test_the_best_device(monkeypatch, cuda, mps, best):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device() == torch.device(best)


@pytest.mark.parametrize(
    "device, bfloat16_units, precision",
    [("cuda", True, torch.bfloat16), ("cuda", False, torch.float16), ("cpu", True, None), ("mps", True, None)],
)
def test_mixed_precision(card, device, bfloat16_units, precision):
    card("any", bfloat16_units)
    assert mixed_precision(torch.device(device)) is precision


def test_one_line_says_what_computes(card, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert describe(torch.device("cpu")) == "no GPU that torch can use: the CPU, in float32"
    assert describe(torch.device("mps")) == "Apple's GPU, in float32: mixed precision is for CUDA GPUs"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert describe(torch.device("cpu")) == "the CPU, in float32"
    card("NVIDIA H100 80GB HBM3")
    assert describe(CUDA) == "NVIDIA H100 80GB HBM3, in bfloat16"
    card("Tesla T4", bfloat16_units=False)
    assert describe(CUDA) == "Tesla T4 has no units for bfloat16: float16, with the loss scaled up"


@pytest.mark.parametrize(
    "name, best",
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", None),  # slower than the one on SXM
        ("NVIDIA H200 NVL", None),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", None),  # no L4
        ("Tesla T4", 65e12),
        ("Quadro T400", None),
    ],
)
def test_a_card_is_known_by_its_name(card, name, best):
    card(name)
    assert hardware.peak_flops(CUDA) == best
    assert hardware.peak_flops(torch.device("cpu")) is None


@pytest.mark.parametrize("tie_weights", [True, False])
def test_the_flops_of_a_token_are_those_of_its_matrix_products(tie_weights):
    """Counted by torch, product by product, forward and backward, over a whole window without a causal kernel."""
    from torch.utils.flop_counter import FlopCounterMode

    model = GPT(GPTConfig(vocab_size=11, context_length=8, d_model=12, n_layers=2, n_heads=3, tie_weights=tie_weights))
    for block in model.blocks:
        block.attention.explicit = True
    with FlopCounterMode(display=False) as counter:
        model(torch.randint(11, (1, 8))).sum().backward()
    assert training_flops(model) == pytest.approx(counter.get_total_flops() / 8)


def test_gpt2s_flops_by_the_formula():
    with torch.device("meta"):
        model = GPT(GPTConfig.gpt2())
    matrices = 12 * 12 * 768**2 + 50257 * 768  # blocks: 4 of attention, 8 of feed-forward; and the head
    assert training_flops(model) == 6 * matrices + 12 * 12 * 768 * 1024


def test_the_utilisation_is_a_share_of_all_cards(card):
    model = GPT(GPTConfig(vocab_size=11, context_length=8, d_model=12, n_layers=2, n_heads=3))
    card("NVIDIA H100 80GB HBM3")
    best = 989e12 / training_flops(model)  # tokens/s
    assert utilisation(model, best, CUDA) == pytest.approx(1)
    assert utilisation(model, best, CUDA, n_devices=4) == pytest.approx(0.25)
    assert utilisation(model, best, torch.device("cpu")) is None


def test_the_speed_in_words(card):
    model = GPT(GPTConfig(vocab_size=11, context_length=8, d_model=12, n_layers=2, n_heads=3))
    assert speed(model, 1234.5, torch.device("cpu")) == "1,234 tokens/s"
    card("NVIDIA A100")
    half = 312e12 / training_flops(model)
    assert speed(model, half, CUDA, 2) == (
        f"{half:,.0f} tokens/s, 50.0% of the FLOP/s that 2 × NVIDIA A100 can do (MFU), 62.5 of 85 GB of memory"
    )
    card("NVIDIA Something New")
    assert "MFU" not in speed(model, half, CUDA)

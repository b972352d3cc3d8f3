"""Hardware: which device to train on, in which precision, and how much of what it could do a run makes use of."""

import re

import torch
from torch import nn

# What the tensor cores can do at best: FLOP/s in bfloat16, dense. From NVIDIA's data sheet of each card; where a sheet
# gives the figure for two-to-four sparsity (all but those of the A100 and the T4), half of it.
PEAK_FLOPS = {
    "H100": 989e12,  # H100 Tensor Core GPU data sheet, SXM
    "H200": 989e12,  # H200 Tensor Core GPU data sheet, SXM
    "A100": 312e12,  # A100 Tensor Core GPU data sheet, PCIe and SXM
    "L4": 121e12,  # L4 Tensor Core GPU data sheet
    "T4": 65e12,  # T4 Tensor Core GPU data sheet; in float16, for it has no bfloat16
}


def best_device() -> torch.device:
    """A CUDA GPU, else Apple's, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 on a GPU with units for it, float16 on an older one, None (plain float32) elsewhere."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def describe(device: torch.device) -> str:
    """One line: what computes, and in which precision."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        if mixed_precision(device) is torch.bfloat16:
            return f"{name}, in bfloat16"
        return f"{name} has no units for bfloat16: float16, with the loss scaled up"
    if device.type == "mps":
        return "Apple's GPU, in float32: mixed precision is for CUDA GPUs"
    missing = "" if torch.cuda.is_available() or torch.backends.mps.is_available() else "no GPU that torch can use: "
    return f"{missing}the CPU, in float32"


def peak_flops(device: torch.device) -> float | None:
    """FLOP/s of the device at best, if PEAK_FLOPS knows the card. The PCIe and NVL forms of the H100 and
    H200 are slower, and not in it."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((flops for card, flops in PEAK_FLOPS.items() if re.search(rf"\b{card}\b(?! (PCIe|NVL))", name)), None)


def training_flops(model: nn.Module) -> float:
    """Floating-point operations that a GPT needs to learn from a token: 6 N + 12 · layers · d_model · context.

    N counts the weights of the linear layers, a tied head among them; looking up an embedding costs nothing. A weight
    takes part in a multiplication and an addition, once forward and twice backward. The second term is attention's two
    products, as if each position saw all others: causal kernels do half of it, and get no credit for that by custom.
    PaLM (Chowdhery et al. 2022), appendix B.
    """
    c = model.config
    n_weights = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    return 6 * n_weights + 12 * c.n_layers * c.d_model * c.context_length


def utilisation(model: nn.Module, tokens_per_second: float, device: torch.device, n_devices: int = 1) -> float | None:
    """Model FLOPs utilisation (MFU): the FLOP/s that the model needs, as a share of what the devices do at best.

    Recomputed activations do not count. None where the device's best is not known. PaLM, section 4.1.
    """
    peak = peak_flops(device)
    return None if peak is None else training_flops(model) * tokens_per_second / (n_devices * peak)


def speed(model: nn.Module, tokens_per_second: float, device: torch.device, n_devices: int = 1) -> str:
    """One line: tokens a second and, on a GPU, the utilisation and the most memory that was in use."""
    words = f"{tokens_per_second:,.0f} tokens/s"
    share = utilisation(model, tokens_per_second, device, n_devices)
    if share is not None:
        words += f", {share:.1%} of the FLOP/s that {n_devices} × {torch.cuda.get_device_name(device)} can do (MFU)"
    if device.type == "cuda":
        most, there = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
        words += f", {most / 1e9:.1f} of {there / 1e9:.0f} GB of memory"
    return words

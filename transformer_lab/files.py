"""Files: a model's config and weights in one safetensors file, which holds no code."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


def save_model(model: nn.Module, path: str | os.PathLike, dtype: torch.dtype | None = None) -> None:
    """Write the model's config and weights, in `dtype` if given; tied weights once, under their first name."""
    state = model.state_dict()
    tensors = {name: state[name].to(dtype or state[name].dtype) for name in dict.fromkeys(_first_names(state).values())}
    write_safetensors(path, tensors, {"config": asdict(model.config)})


def load_model(kind: type[nn.Module], config_kind: type, path: str | os.PathLike) -> nn.Module:
    """The model in a file that `save_model` or a training checkpoint wrote, in float32, in eval mode."""
    tensors, metadata = read_safetensors(path)
    name = kind.__name__
    if "config" not in metadata:
        raise ValueError(f"{path} holds no {name} config; was it written by {name}.save or by training?")
    try:
        config = config_kind(**metadata["config"])
    except TypeError as error:
        raise ValueError(f"{path} was written by a model of another config: {error}") from error
    model = kind(config)
    load_weights(model, tensors, path)
    return model.eval()


def write_safetensors(path: str | os.PathLike, tensors: dict[str, Tensor], metadata: dict) -> None:
    """Write beside the file, then rename: whoever is interrupted keeps the old file whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    # Tied weights are one tensor under two names; safetensors wants each name to own its memory.
    owned = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    try:
        save_file(owned, unfinished, metadata={key: json.dumps(value) for key, value in metadata.items()})
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict]:
    """The tensors and the metadata of a file; a ValueError if it is cut short or no safetensors file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file (truncated?): {error}") from error
    try:
        return tensors, {key: json.loads(value) for key, value in metadata.items()}
    except json.JSONDecodeError:  # another program's: it holds plain words and nothing of ours
        return tensors, {}


def load_weights(model: nn.Module, tensors: dict[str, Tensor], path: str | os.PathLike) -> None:
    """Copy the tensors that bear the model's names; a ValueError names what is missing or of another shape."""
    state = model.state_dict()
    tensors = {name: tensors[first] for name, first in _first_names(state).items() if first in tensors} | tensors
    wrong = [
        f"{name} (wanted {tuple(t.shape)}, got {tuple(tensors[name].shape) if name in tensors else 'nothing'})"
        for name, t in state.items()
        if name not in tensors or tensors[name].shape != t.shape
    ]
    if wrong:
        raise ValueError(f"{path} was written by a model of another config: {'; '.join(wrong[:3])}")
    model.load_state_dict({name: tensors[name] for name in state})


def _first_names(state: dict[str, Tensor]) -> dict[str, str]:
    """Name → the first name of the same numbers: tied weights are one tensor under two names.

    A sharded tensor says of no place where it lies, and counts by itself.
    """
    first = {}
    return {name: first.setdefault((t.data_ptr() or name, t.shape), name) for name, t in state.items()}

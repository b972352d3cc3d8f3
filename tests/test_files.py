"""A model's file: whole or not at all, and an error that says what is wrong with it."""

import re
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from transformer_lab import files
from transformer_lab.gpt import GPT


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1], ids=lambda kept: f"kept {kept}")
def test_a_truncated_file_is_named(kept, tiny_gpt, tmp_path):
    path = tmp_path / "model"
    tiny_gpt().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(ValueError, match=r"model is not a whole safetensors file \(truncated\?\)"):
        GPT.load(path)


@pytest.mark.parametrize("dtype", [None, torch.float16])
@pytest.mark.parametrize("tie_weights", [True, False])
def test_tied_weights_are_written_once(tie_weights, dtype, tiny_gpt, tmp_path):
    path = tmp_path / "model"
    model = tiny_gpt(tie_weights=tie_weights)
    model.save(path, dtype)
    names = set(files.read_safetensors(path)[0])
    assert model.state_dict().keys() - names == ({"head.weight"} if tie_weights else set())
    again = GPT.load(path)
    assert (again.head.weight is again.token_embedding.weight) == tie_weights
    for name, t in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], t.to(dtype or t.dtype).float())


def test_a_tied_models_file_is_not_taken_for_an_untied_ones(tiny_gpt, tmp_path):
    path = tmp_path / "model"
    tensors = tiny_gpt(tie_weights=True).state_dict()
    tensors.pop("head.weight")
    files.write_safetensors(path, tensors, {"config": asdict(tiny_gpt(tie_weights=False).config)})
    with pytest.raises(ValueError, match=re.escape("head.weight (wanted (11, 8), got nothing)")):
        GPT.load(path)


def test_a_file_of_another_config_is_named(tiny_gpt, tmp_path):
    path = tmp_path / "model"
    model, other = tiny_gpt(), tiny_gpt(d_model=12, n_layers=1)
    metadata = {"config": asdict(model.config)}
    files.write_safetensors(path, other.state_dict(), metadata)
    wanted = "token_embedding.weight (wanted (11, 8), got (11, 12))"
    with pytest.raises(ValueError, match="another config: " + re.escape(wanted)):
        GPT.load(path)
    files.write_safetensors(path, {**model.state_dict(), "optimizer/step": torch.zeros(1)}, metadata)
    GPT.load(path)  # what a training checkpoint holds besides does not disturb
    files.write_safetensors(path, tiny_gpt(n_layers=1).state_dict(), metadata)
    with pytest.raises(ValueError, match=re.escape("blocks.1.attention.query.weight (wanted (8, 8), got nothing)")):
        GPT.load(path)


def test_a_config_with_unknown_entries_is_named(tiny_gpt, tmp_path):
    model = tiny_gpt()
    files.write_safetensors(tmp_path / "model", model.state_dict(), {"config": asdict(model.config) | {"wings": 2}})
    with pytest.raises(ValueError, match="another config: .*wings"):
        GPT.load(tmp_path / "model")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_file_that_holds_no_gpt_is_named(metadata, tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "model", metadata)
    with pytest.raises(ValueError, match="model holds no GPT config"):
        GPT.load(tmp_path / "model")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at .*model"):
        GPT.load(tmp_path / "model")


def test_an_interrupted_write_leaves_the_old_file(tiny_gpt, tmp_path, monkeypatch):
    def interrupted(tensors, path, metadata):
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    tiny_gpt().save(tmp_path / "model")
    old = (tmp_path / "model").read_bytes()
    monkeypatch.setattr(files, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tiny_gpt().save(tmp_path / "model")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("model", old)]

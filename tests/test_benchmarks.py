"""The benchmarks' commands run and print their tables; the figures are for a quiet machine."""

import re
import sys

import pytest
import torch

from transformer_lab import benchmarks, hardware
from transformer_lab.benchmarks import in_a_kernel, main, step_bytes
from transformer_lab.gpt import GPT, GPTConfig

NUMBERS = r"[\d.]+ \([\d.]+ … [\d.]+\)"


def test_the_dashboards_cost_is_a_table(monkeypatch, capsys):
    monkeypatch.setattr(benchmarks, "in_a_kernel", lambda code: exec(code, {}))
    main(["dashboard", "--steps", "2", "--repeats", "2"])
    printed = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("TrainingDashboard")]
    title, header, without, with_it, ratio, own, noise = printed
    assert title == "2 steps a run, 2 runs of each in turn, on one thread"
    assert re.fullmatch(r"ms a step +CPU: median \(least … most\) +wall", header)
    for line, name in ((without, "without the dashboard"), (with_it, "with it"), (ratio, "ratio")):
        assert re.fullmatch(rf"{name} +{NUMBERS} +{NUMBERS}", line)
    assert re.search(r"share of the wall time: [\d.]+%\.$", own) and re.search(r"differ by [\d.]+% among", noise)


def test_it_runs_in_a_kernel_as_a_notebook_does(capsys):
    in_a_kernel("print(type(get_ipython()).__name__); 7")
    assert capsys.readouterr().out == "ZMQInteractiveShell\n"
    with pytest.raises(RuntimeError, match="ValueError: seven"):
        in_a_kernel("raise ValueError('seven')")


@pytest.mark.parametrize("option", ["--steps", "--repeats"])
def test_there_must_be_something_to_measure(option, capsys):
    with pytest.raises(SystemExit):
        main(["dashboard", option, "0"])
    assert "--steps and --repeats must be at least 1" in capsys.readouterr().err


def test_without_a_kernel_it_says_how_to_get_one(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipykernel", None)
    with pytest.raises(SystemExit) as stopped:
        main(["dashboard"])
    assert stopped.value.code == 1 and "pip install ipykernel" in capsys.readouterr().err


def test_the_recipes_race_is_run_on_the_text_that_is_asked_for(tmp_path, capsys):
    (tmp_path / "own.txt").write_text("\n\n".join(f"a ring, a king, a thing {i}." for i in range(100)))
    options = "--d-model 16 --context-length 8 --seeds 3 --steps 50 --quick".split()
    main(["recipe", "--text", str(tmp_path / "own.txt"), *options])
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert first.startswith("own: ") and last.startswith("The recipe ")
    runs = [line.split()[:5] for line in lines if re.match(r"(yardstick|recipe) +3 ", line)]
    assert runs == [["yardstick", "3", "40", "×", "12"], ["recipe", "3", "1", "×", "8"]]


def test_a_text_that_is_not_there_is_named(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["recipe", "--text", "nowhere.txt"])
    assert stopped.value.code == 1 and "got 'nowhere.txt'" in capsys.readouterr().err


@pytest.mark.parametrize("installed", [True, False])
def test_who_writes_how_fast(installed, monkeypatch, capsys):
    if not installed:
        monkeypatch.setitem(sys.modules, "transformers", None)
    main(["generation", "--tokens", "3", "--repeats", "2"])
    title, *rows = capsys.readouterr().out.splitlines()
    assert title.startswith("3 tokens from one")
    names = ["transformer_lab", "transformers, cached"] if installed else ["transformer_lab"]
    wanted = [f"{shape}  {name}" for shape in ("4 layers of 128", "6 layers of 384") for name in names]
    assert [re.sub(r" +\d+ \(\d+ … \d+\)$", "", row) for row in rows] == wanted


def test_what_a_step_holds():
    config = GPTConfig(11, context_length=16, d_model=8, n_layers=3, n_heads=2)
    count = GPT(config).parameter_count()["total"]
    one, two, watched = step_bytes(config, 1), step_bytes(config, 2), step_bytes(config, 1, watched=True)
    assert one["weights"] == one["gradients"] == 4 * count
    n_tensors = len(list(GPT(config).parameters()))
    assert one["AdamW"] == 8 * count + 4 * n_tensors  # two averages, and each tensor's count of steps
    assert two | {"activations": one["activations"]} == one  # more windows need more activations, and nothing else
    assert 1.9 * one["activations"] < two["activations"] <= 2 * one["activations"]
    hidden = 4 * config.d_model * config.context_length * 4  # what GELU needs, in each layer
    assert one["activations"] > 3 * hidden
    assert watched["activations"] - one["activations"] >= 3 * 2 * 16**2 * 4  # layers, heads, queries × keys, bytes


def test_the_memory_of_each_model_is_a_line(monkeypatch, capsys):
    held = {"weights": 2_000_000, "gradients": 3_000_000, "AdamW": 4_000_000, "activations": 5_000_000}
    monkeypatch.setattr(benchmarks, "step_bytes", lambda config, n, watched=False: held)
    main(["memory"])
    _, header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["windows", "weights", "gradients", "AdamW", "activations", "and", "patterns"]
    assert [row[:14].strip() for row in rows] == ["yardstick", "recipe", "GPTConfig.gpu", "GPT-2 small"]
    assert rows[3].split()[2:] == ["1", "×", "1024", "2", "3", "4", "5", "5"] and len({len(row) for row in rows}) == 1


# ---------------------------------------------------------------- a GPU


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(f"line {i} of a text" for i in range(200)))
    return str(path)


def test_the_gpus_figures_on_any_device_when_tiny(text_file, monkeypatch, capsys):
    monkeypatch.setattr(hardware, "best_device", lambda: torch.device("cpu"))
    main(["gpu", "--tiny", "--steps", "2", "--corpus", text_file, "--goal", "9"])
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"text: [\d,]+ parameters, [\d,]+ characters", lines[1])
    assert lines[2] == "steps  seconds  held-out loss"
    assert [line.split()[0] for line in lines[3:5]] == ["1", "2"]
    assert re.match(r"A held-out loss of 9.0: after [\d.]+ s. The first step, which compiles, took [\d.]+ s.", lines[5])
    assert re.fullmatch(r"[\d,]+ tokens/s, with measuring the loss", lines[6])
    assert "32 windows of 16 tokens a step" in lines[7] and re.fullmatch(r"[\d,]+ tokens/s", lines[8])


def test_a_goal_that_was_not_reached_is_said(text_file, monkeypatch, capsys):
    monkeypatch.setattr(benchmarks, "full_card", lambda *_, **__: None)
    main(["gpu", "--tiny", "--steps", "2", "--corpus", text_file, "--goal", "0.001"])
    assert "A held-out loss of 0.001: not reached." in capsys.readouterr().out


def test_the_card_is_filled_with_the_first_that_fits(monkeypatch, capsys):
    tried = []

    def stand_in(config, device, batch_size, steps, compile=False):
        tried.append((config.n_layers, batch_size, steps))
        if config.n_layers == 2 or batch_size > 8:
            raise MemoryError
        return GPT(config), 1000.0

    monkeypatch.setattr(benchmarks, "_train_on_noise", stand_in)
    sizes = [GPTConfig(8, context_length=4, d_model=4, n_layers=n, n_heads=1) for n in (2, 1)]
    benchmarks.full_card(sizes, torch.device("cpu"), compile=False)
    assert tried == [(2, 32, 2), (2, 16, 2), (2, 8, 2), (1, 32, 2), (1, 16, 2), (1, 8, 2), (1, 8, 20)]
    assert "8 windows of 4 tokens a step" in capsys.readouterr().out
    with pytest.raises(benchmarks.NoGPU, match="no shape fits"):
        benchmarks.full_card(sizes[:1], torch.device("cpu"), compile=False)


def test_without_a_gpu_it_says_what_there_is(monkeypatch, capsys):
    monkeypatch.setattr(hardware, "best_device", lambda: torch.device("mps"))
    with pytest.raises(SystemExit) as stopped:
        main(["gpu"])
    assert stopped.value.code == 1
    assert "this measures a CUDA GPU; here is Apple's GPU, in float32" in capsys.readouterr().err

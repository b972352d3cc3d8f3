"""The benchmarks' commands run and print their tables; the figures are for a quiet machine."""

import re
import sys

import pytest

from transformer_lab import benchmarks
from transformer_lab.benchmarks import in_a_kernel, main

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

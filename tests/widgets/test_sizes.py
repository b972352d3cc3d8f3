"""What the attention explorer may weigh, for 12 × 12 heads: see transformer_lab/benchmarks.py for the figures."""

import re
import shutil

import pytest

from transformer_lab.benchmarks import html_bytes, in_browser, live_bytes, main, random_attention, widgets
from transformer_lab.widgets.attention_explorer import AttentionExplorer

LIMITS = {64: (600_000, 500_000), 256: (9_500_000, 5_000_000)}  # tokens: bytes live, bytes of HTML


def explorer(n_tokens: int, **options) -> AttentionExplorer:
    return AttentionExplorer([f"token {i}" for i in range(n_tokens)], random_attention(n_tokens, **options))


@pytest.mark.parametrize("n_tokens", LIMITS)
def test_causal_attention_is_small_live_and_as_a_page(n_tokens):
    widget = explorer(n_tokens)
    live, html = LIMITS[n_tokens]
    assert live_bytes(widget) <= live and html_bytes(widget) <= html


@pytest.mark.parametrize("n_tokens", LIMITS)
def test_dense_attention_is_small_live(n_tokens):
    assert live_bytes(explorer(n_tokens, causal=False)) <= LIMITS[n_tokens][0]


@pytest.mark.parametrize("n_tokens, n_layers", [(1, 1), (64, 12), (256, 12), (1024, 2)])
def test_the_page_has_few_nodes_at_any_length(n_tokens, n_layers, browser):
    widget = explorer(n_tokens, n_layers=n_layers)
    assert in_browser(widget, browser, repeats=1, events=0).nodes <= 300


def test_the_benchmark_prints_a_line_for_each_length(browser, capsys):
    widgets(browser, [4, 8], n_layers=2, n_heads=2, events=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["4", "8"]
    assert all(re.fullmatch(r" +\d+(  +[\d.]+){5}  (\d+ \(\d+\)|–) +\d+ \(\d+\)", line) for line in lines[2:])


def test_the_benchmark_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        main(["widgets"])
    assert stopped.value.code == 1 and "no Chromium found: install it" in capsys.readouterr().err

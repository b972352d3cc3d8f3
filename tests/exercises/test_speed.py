"""A check answers before its reader notices. What was measured lands in tests/artefacts/speed.csv."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.alone
def test_a_check_takes_little_time():
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.exercises.speed"]
    printed = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True).stdout
    times = {name: (statistics.median(checks), max(checks)) for name, checks in json.loads(printed).items()}
    rows = [f"{name},{median:.1f},{worst:.1f}" for name, (median, worst) in times.items()]
    artefacts = ROOT / "tests" / "artefacts"
    artefacts.mkdir(exist_ok=True)
    (artefacts / "speed.csv").write_text("\n".join(["exercise,median ms CPU,worst ms CPU", *rows]) + "\n")
    assert {name: (median, worst) for name, (median, worst) in times.items() if median > 50 or worst > 300} == {}

"""The two commands, on a machine with Python alone.

    python3.11 -m transformer_lab          make the environment .venv and open JupyterLab on the first lesson
    python3.11 -m transformer_lab test     make it, or use it, and run every test

The environment is made again only when requirements.txt has changed, so both work offline from then on.
"""

import argparse
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")


def make_environment() -> None:
    """Install requirements.txt into .venv, unless exactly this requirements.txt is installed there."""
    wanted = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    installed = ENVIRONMENT / "requirements.txt"  # written last, so an interrupted installation starts again
    if installed.exists() and installed.read_text(encoding="utf-8") == wanted:
        return
    print(f"Making the environment in {ENVIRONMENT.name} (once; some minutes, about 2 GB) …", flush=True)
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "-r", "requirements.txt"], cwd=ROOT, check=True)
    keep_nbgrader_aside()
    installed.write_text(wanted, encoding="utf-8")


def keep_nbgrader_aside() -> None:
    """It is there for its test. Its menus are for who teaches with it, in an environment made for that."""
    jupyter = ENVIRONMENT / "etc" / "jupyter"
    (jupyter / "jupyter_server_config.d" / "nbgrader.json").unlink(missing_ok=True)
    (jupyter / "labconfig").mkdir(parents=True, exist_ok=True)
    settings = json.dumps({"disabledExtensions": {"@jupyter/nbgrader": True}})
    (jupyter / "labconfig" / "page_config.json").write_text(settings, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m transformer_lab", description="Make the environment, then open the lessons or run the tests."
    )
    parser.add_argument("command", nargs="?", choices=("lab", "test"), default="lab")
    command, rest = parser.parse_known_args(arguments)
    if sys.version_info < (3, 11):  # noqa: UP036 (nothing has checked it before this)
        parser.exit(1, f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}\n")
    if not (ROOT / "requirements.txt").exists():
        parser.exit(1, "This command works in a clone of the project, where requirements.txt is.\n")
    try:
        make_environment()
    except subprocess.CalledProcessError:
        parser.exit(1, "The environment could not be made: pip's message above says why.\n")
    if command.command == "lab":
        runs = [["jupyterlab", str(ROOT / "notebooks" / "00_start_here.ipynb"), *rest]]
    elif rest:
        runs = [["pytest", *rest]]
    else:
        # On every core: a notebook's cells stay together, and so does each file of tests; the notebooks, which take the
        # longest, begin. Measuring coverage doubles the time of what tries very many answers, so that comes by itself,
        # and what measures time comes last, with the machine to itself.
        parallel = ["--numprocesses=auto", "--dist=loadfile", "--no-loadscope-reorder"]
        runs = [
            ["pytest", *parallel, "--cov=transformer_lab", "-m", "not alone and not exhaustive"],
            ["pytest", *parallel, "tests", "-m", "exhaustive"],
            ["pytest", "tests", "-m", "alone"],
        ]
    # The environment's tools come first, whichever Python was called.
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    if command.command == "test":  # every core has its own work, and torch's threads would wait for each other
        environment.setdefault("OMP_NUM_THREADS", "1")
    try:
        return max(subprocess.run([PYTHON, "-m", *run], cwd=ROOT, env=environment).returncode for run in runs)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())

"""The whole: knowledge flows one way, the commands are those of the README, the requirements are pinned."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from transformer_lab import __main__ as command

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "transformer_lab"
ORDER = (
    "files attention positions blocks transformer gpt recurrent tokenizers data generation plots hardware distributed "
    "training race card probe widgets export benchmarks exercises"
).split()
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py"))


def place(module: str) -> str:
    """The file or folder of the package that holds the module."""
    return module.split(".")[1]


def imported(path: Path) -> set[str]:
    """The package's modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {place(name) for name in found if name.startswith("transformer_lab.")}


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_nothing_imports_upwards(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in ORDER
    above = ORDER[: ORDER.index(own)] if own != "plots" else []
    folder = [own] if path.parent != PACKAGE else []  # neighbours in one folder may know each other
    assert imported(path) <= {*above, *folder}


@pytest.mark.parametrize("module", ["transformer_lab", "transformer_lab.__main__"])
def test_the_commands_need_nothing_installed(module):
    """-S: Python without its site-packages, as on a fresh machine."""
    code = f"import sys, {module}; print(sorted(set(sys.modules) & {{'torch', 'numpy', 'matplotlib'}}))"
    answer = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_the_readme_tells_the_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```$", readme, flags=re.MULTILINE | re.DOTALL)
    commands = [
        line for block in blocks for line in block.splitlines() if re.search(r"-m transformer_lab\b(?!\.)", line)
    ]
    assert commands == ["python3.11 -m transformer_lab", "python3.11 -m transformer_lab test"]
    offered = re.findall(r"^ +(python3.11 -m transformer_lab(?: \w+)?)  ", command.__doc__, flags=re.MULTILINE)
    assert offered == commands
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == f"exec {commands[1]}"


def test_every_dependency_is_pinned_and_the_package_comes_last():
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins.pop() == "-e ."
    assert all(re.fullmatch(r"[\w.-]+==[\d.]+", pin) for pin in pins)
    pinned = {pin.split("==")[0] for pin in pins}
    ranges = [
        *project["dependencies"],
        *(range_ for extra in project["optional-dependencies"].values() for range_ in extra),
    ]
    assert {re.split("[<>=~! ]", range_)[0] for range_ in ranges} <= pinned
    assert not [range_ for range_ in ranges if "==" in range_]


def test_the_readme_lists_exactly_the_notebooks_there_are():
    table = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    listed = re.findall(r"\(notebooks/([^)]+\.ipynb)\)", "\n".join(table))
    assert listed == sorted(path.name for path in ROOT.glob("notebooks/*.ipynb"))


def test_the_readmes_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []

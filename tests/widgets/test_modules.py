"""Every module: small, alone, and one way for all."""

import re
from importlib import import_module

import pytest

from transformer_lab.widgets import base

MODULES = sorted(path.stem for path in base.FOLDER.glob("*.js") if path.stem != "shared")


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_small_and_asks_nobody(name):
    module = base.es_module(name)
    assert len(module.encode()) <= 40_000
    assert "import" not in re.findall(r"^\w+", module, flags=re.MULTILINE)
    assert not re.search(r"https?://|\bfetch\(|XMLHttpRequest|innerHTML|\beval\(", module)
    assert module.count("\nexport default ") == 1


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_a_class_of_its_name(name):
    module = import_module(f"transformer_lab.widgets.{name}")
    assert [cls.__name__.lower() for cls in vars(module).values() if getattr(cls, "module", None) == name] == [
        name.replace("_", "")
    ]

"""Every example of a docstring (`>>>`) gives what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "configs", "dataflows", "deploy", "operators", "schemas", "sinks")
MODULES = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in PACKAGES
    for file in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in file.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    module = importlib.import_module(name)
    found = doctest.testmod(module)
    assert found.failed == 0, f"{found.failed} of {found.attempted} examples fail: see above"
    # Fewer than are written: some stand where doctest does not look, such as below a decorator.
    assert found.attempted >= inspect.getsource(module).count(">>> ")

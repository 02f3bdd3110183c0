"""Every docstring example (`>>>`) returns the result that it shows."""

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
def test_docstring_examples_of_a_module_pass(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples fail: see above"
    # A lower number means that doctest does not find some examples, such as those below a decorator.
    assert result.attempted >= inspect.getsource(module).count(">>> ")

"""Each of these modules can be imported first: their packages do not import each other in a circle."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["operators.trading.accounts", "operators.signals", "operators.risk"])
def test_a_module_can_be_imported_first(module: str) -> None:
    command = [sys.executable, "-c", f"import {module}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr

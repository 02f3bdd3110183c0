"""The platform's processes do not import rich with structlog, and collect garbage less often than by default."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from deploy.home import REPOSITORY

SCRIPT = """
import gc, json, sys
import {module}
loaded = sorted({{"rich", "structlog"}} & set(sys.modules))
import rich.console
print(json.dumps([loaded, gc.get_threshold()[0], gc.isenabled(), rich.console.__name__]))
"""


@pytest.mark.parametrize("module", ["dataflows.features", "dataflows.risk", "configs.logs"])
def test_a_process_imports_structlog_without_rich_and_collects_less_often(module: str) -> None:
    """Rich itself can be imported afterwards, as the command line does."""
    completed = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(module=module)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert json.loads(completed.stdout) == [["structlog"], 20_000, True, "rich.console"]

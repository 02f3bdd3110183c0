"""A service from `create-service` is complete: it passes ruff, mypy, the topology tests and its own tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.home import REPOSITORY
from deploy.service_template import validated_name
from schemas.errors import BadInput

IGNORED = shutil.ignore_patterns("var", ".git", ".ruff_cache", ".pytest_cache", "node_modules", ".hypothesis")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy the repository, with the cache of mypy that `lint` leaves: without it, mypy checks every module again."""
    shutil.copytree(REPOSITORY, tmp_path / "tree", ignore=IGNORED)
    return tmp_path / "tree"


def run(tree: Path, *command: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{command}: {result.stdout[-3000:]} {result.stderr[-3000:]}"
    return result.stdout


@pytest.mark.timeout(600)
def test_new_service_passes_lint_and_all_service_tests(tree: Path) -> None:
    output = run(tree, "deploy.cli", "create-service", "order-flow")
    new_files = [f"{folder}/order_flow.py" for folder in ("operators", "dataflows")] + ["tests/unit/test_order_flow.py"]
    assert all(f"new      {path}" in output for path in new_files)
    run(tree, "ruff", "check", ".")
    run(tree, "ruff", "format", "--check", ".")
    run(tree, "mypy", "--strict", *new_files, "dataflows/runtime/stages.py")
    test_modules = ("test_topology", "test_step_ids", "test_docs", "test_order_flow")
    run(tree, "pytest", "-q", "-x", "-p", "no:cacheprovider", *(f"tests/unit/{name}.py" for name in test_modules))
    second_run = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "create-service", "order_flow"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (second_run.returncode, second_run.stderr) == (
        2,
        "error: service name order_flow is already in use by operators/order_flow.py\n",
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Order", "a service name has lower-case letters"),
        ("1st", "a service name has lower-case letters"),
        ("class", "a service name has lower-case letters"),
        ("../x", "a service name has lower-case letters"),
        ("order_manager", "service name order_manager is too general"),
        ("features", "service name features is already in use"),
        ("risk", "service name risk is already in use"),
    ],
)
def test_invalid_service_name_is_rejected(name: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        validated_name(REPOSITORY, name)

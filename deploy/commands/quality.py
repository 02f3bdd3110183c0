"""`lint` and `format`: what a change must pass before its tests run."""

import subprocess
import sys
from pathlib import Path

import typer

from deploy.home import REPOSITORY

_BIN = Path(sys.executable).parent


def register(app: typer.Typer) -> None:
    app.command("lint", help="ruff, mypy --strict, the import rules, and the dashboard's types and tests.")(lint)
    app.command("format", help="Rewrite the code as ruff formats it.")(format_code)


def lint() -> None:
    checks = (
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy", "--strict"),
        ("lint-imports",),
    )
    failed = [" ".join(check) for check in checks if not _run(check)]
    failed += _check_dashboard()
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    raise typer.Exit(1 if failed else 0)


def format_code() -> None:
    fixed, formatted = _run(("ruff", "check", "--fix", ".")), _run(("ruff", "format", "."))
    raise typer.Exit(0 if fixed and formatted else 1)


def _check_dashboard() -> list[str]:
    """Where a Node is on PATH it takes seconds; elsewhere tests/integration/test_dashboard_build.py fetches one."""
    from deploy.errors import DeployError
    from deploy.home import home_from_environment
    from deploy.local.dashboard_bundle import check
    from deploy.local.node import node_on_path

    print("+ tsc --noEmit, node --test (deploy/dashboard)", flush=True)
    if node_on_path() is None:
        print("no Node.js on PATH: left to the tests", file=sys.stderr)
        return []
    try:
        return check(home_from_environment(), lambda line: print(line, file=sys.stderr))
    except DeployError as error:
        return [str(error)]


def _run(check: tuple[str, ...]) -> bool:
    print("+ " + " ".join(check), flush=True)
    return subprocess.run([str(_BIN / check[0]), *check[1:]], cwd=REPOSITORY, check=False).returncode == 0

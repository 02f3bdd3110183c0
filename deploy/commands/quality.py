"""`lint` and `format`: run the static checks, and format the code."""

import subprocess
import sys
from pathlib import Path

import typer

from deploy.home import REPOSITORY

_BIN = Path(sys.executable).parent


def register(app: typer.Typer) -> None:
    app.command("lint", help="Run ruff, mypy --strict, the import rules, and the dashboard's type check and tests.")(
        lint
    )
    app.command("format", help="Format the code with ruff, and apply its automatic fixes.")(format_code)


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
    """Check the dashboard if Node is on PATH; otherwise tests/integration/test_dashboard_build.py checks it."""
    from deploy.errors import DeployError
    from deploy.home import home_from_environment
    from deploy.local.dashboard_bundle import check
    from deploy.local.node import node_on_path

    print("+ tsc --noEmit, node --test (deploy/dashboard)", flush=True)
    if node_on_path() is None:
        print("skipped: no Node.js on PATH; tests/integration/test_dashboard_build.py runs this check", file=sys.stderr)
        return []
    try:
        return check(home_from_environment(), lambda line: print(line, file=sys.stderr))
    except DeployError as error:
        return [str(error)]


def _run(check: tuple[str, ...]) -> bool:
    print("+ " + " ".join(check), flush=True)
    return subprocess.run([str(_BIN / check[0]), *check[1:]], cwd=REPOSITORY, check=False).returncode == 0

"""Run `cli.py lots` on files of a temporary folder."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner, Result

from deploy.commands import lots

HEADER = "time,symbol,side,quantity,price,fee"


def run_lots(folder: Path, fills: str, *options: str, splits: str | None = None, name: str = "fills.csv") -> Result:
    """Write `fills` (and `splits`) to files, and run the command on them."""
    file = folder / name
    file.write_text(fills, encoding="utf-8")
    arguments = ["--fills", str(file), *options]
    if splits is not None:
        (folder / "splits.csv").write_text(splits, encoding="utf-8")
        arguments += ["--splits", str(folder / "splits.csv")]
    return _invoke(arguments)


def _invoke(arguments: list[str]) -> Result:
    app = typer.Typer()
    lots.register(app)
    app.command("other")(lambda: None)  # typer drops the name of a single command
    return CliRunner().invoke(app, ["lots", *arguments])


def lots_json(
    folder: Path, fills: str, *options: str, splits: str | None = None, name: str = "fills.csv"
) -> dict[str, Any]:
    """Return the JSON of a successful run."""
    return _json(run_lots(folder, fills, *options, "--json", "-", splits=splits, name=name))


def lots_json_of(file: Path) -> dict[str, Any]:
    """Return the JSON of a successful run on an existing file."""
    return _json(_invoke(["--fills", str(file), "--json", "-"]))


def _json(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def lots_csv(folder: Path, fills: str, *options: str, splits: str | None = None) -> list[dict[str, str]]:
    """Return the rows of a successful run that prints CSV."""
    result = run_lots(folder, fills, *options, splits=splits)
    assert result.exit_code == 0, result.output
    return list(csv.DictReader(io.StringIO(result.stdout)))

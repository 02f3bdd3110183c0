"""`chaos`: run fault-injection tests on a temporary platform that plays a fixed tape."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from deploy.name_arguments import parse_choices
from schemas.errors import BadInput

Seed = Annotated[
    int, typer.Option(help="Seed for the faults. The same seed injects the same faults into the same services.")
]
Kills = Annotated[
    int, typer.Option(min=0, help="Number of kills. Each other fault occurs a fifth as often, at least once.")
]
Services = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated services that faults affect: dataflow names, api, kafka, postgres, redis (default: all)."
    ),
]
Faults = Annotated[str, typer.Option(help="Comma-separated kinds of faults.")]
Keep = Annotated[
    Path | None, typer.Option(help="Store input files, logs and data in this folder, which must not exist yet.")
]
WriteDocs = Annotated[bool, typer.Option("--write-docs", help="Write the result table into docs/guarantees.md.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_ALL_KINDS = "kill,connection,disk,clock,scale"


def register(app: typer.Typer) -> None:
    app.command("chaos", help="Run fault-injection tests on a temporary platform and verify its data.")(chaos)


def chaos(
    seed: Seed = 1,
    kills: Kills = 20,
    services: Services = None,
    faults: Faults = _ALL_KINDS,
    keep: Keep = None,
    write_docs: WriteDocs = False,
    as_json: AsJson = False,
) -> None:
    from deploy.chaos import report
    from deploy.chaos.faults import KINDS, TARGETS
    from deploy.chaos.run import run

    kinds = parse_choices("--faults", faults, KINDS) if kills else []
    targets = parse_choices("--services", services or ",".join(TARGETS), TARGETS)
    if keep is not None and keep.exists():
        raise BadInput(f"--keep must name a folder that does not exist yet, found {keep}")
    result = run(seed, kills, kinds, targets, _print_line, keep_folder=keep.resolve() if keep else None)
    if as_json:
        print(json.dumps(result.as_tree(), indent=2))
    else:
        _print_table(report.fault_rows(result), KINDS)
        print(report.summary_line(result))
    if write_docs:
        report.write_docs(result)
    raise typer.Exit(0 if result.difference is None else 1)


def _print_table(rows: list[list[str]], kinds: tuple[str, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("service", *kinds):
        table.add_column(title, justify="left" if title == "service" else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=100, highlight=False).print(table)


def _print_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

"""`chaos`: run fault-injection tests on a temporary platform that plays a fixed tape."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dataflows.runtime.topology import Layout
from deploy.name_arguments import parse_values, require_choice
from schemas.errors import BadInput

Seed = Annotated[
    int, typer.Option(help="Seed for the faults. The same seed injects the same faults into the same services.")
]
Kills = Annotated[
    int,
    typer.Option(min=0, help="Number of kills. Other faults occur a fifth or a tenth as often, at least once."),
]
Minutes = Annotated[int, typer.Option(min=1, max=390, help="Length of the input data, in minutes of one trading day.")]
Services = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated services that faults affect: dataflow names, api, kafka, postgres, redis (default: all)."
    ),
]
Faults = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated kinds of faults (default: all that need neither root nor a broker). "
        "`space`, which fills the disks of Kafka and PostgreSQL, needs root. "
        "`broker` runs the platform on the local broker."
    ),
]
ResultFolder = Annotated[
    Path | None,
    typer.Option("--keep", help="Store input files, logs and data in this folder, which must not exist yet."),
]
LayoutName = Annotated[str, typer.Option("--layout", help="Layout of the temporary platform: services or compact.")]
WriteDocs = Annotated[bool, typer.Option("--write-docs", help="Write the result table into docs/guarantees.md.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_DEFAULT_KINDS = "kill,connection,disk,clock,scale,command,kill_switch,strategy,model,instance,supervisor,store"


def register(app: typer.Typer) -> None:
    app.command("chaos", help="Run fault-injection tests on a temporary platform and verify its data.")(chaos)


def chaos(
    seed: Seed = 1,
    kills: Kills = 20,
    minutes: Minutes = 390,
    services: Services = None,
    faults: Faults = None,
    layout: LayoutName = Layout.SERVICES,
    result_folder: ResultFolder = None,
    write_docs: WriteDocs = False,
    as_json: AsJson = False,
) -> None:
    from deploy.chaos import report
    from deploy.chaos.run import run
    from deploy.chaos.schedule import TARGETS, possible_kinds

    require_choice("--layout", layout, tuple(Layout))
    possible = possible_kinds(Layout(layout), has_broker="broker" in (faults or "").split(","))
    chosen = faults or ",".join(kind for kind in _DEFAULT_KINDS.split(",") if kind in possible)
    kinds = parse_values("--faults", chosen, possible) if kills else []
    targets = parse_values("--services", services or ",".join(TARGETS), TARGETS)
    if result_folder is not None and result_folder.exists():
        raise BadInput(f"--keep must name a folder that does not exist yet, found {result_folder}")
    result = run(
        seed,
        kills,
        kinds,
        targets,
        _print_line,
        minutes=minutes,
        result_folder=result_folder.resolve() if result_folder else None,
        layout=Layout(layout),
    )
    if as_json:
        print(json.dumps(result.as_tree(), indent=2))
    else:
        _print_table(report.fault_rows(result), report.fault_kinds(result))
        print(report.summary_line(result))
    if write_docs:
        report.write_docs(result)
    raise typer.Exit(0 if result.difference is None else 1)


def _print_table(rows: list[list[str]], kinds: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("service", *kinds):
        table.add_column(title, justify="left" if title == "service" else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=150, highlight=False).print(table)


def _print_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

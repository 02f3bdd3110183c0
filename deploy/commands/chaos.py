"""`chaos`: the platform on a fixed tape while it is killed, cut off, filled up and given wrong clocks."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from deploy.errors import DeployError

Seed = Annotated[int, typer.Option(help="The same seed strikes the same services with the same faults.")]
Kills = Annotated[int, typer.Option(min=0, help="How many kills; of each other fault a fifth as many, at least one.")]
Services = Annotated[str | None, typer.Option(help="Only these, with commas: dataflows, api, kafka, postgres, redis.")]
Faults = Annotated[str, typer.Option(help="Which, with commas.")]
Keep = Annotated[Path | None, typer.Option(help="A folder that does not exist yet, to keep tape, logs and data.")]
WriteDocs = Annotated[bool, typer.Option("--write-docs", help="Put the table into docs/guarantees.md.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_ALL_KINDS = "kill,connection,disk,clock,scale"


def register(app: typer.Typer) -> None:
    app.command("chaos", help="Strike a platform of its own with faults, and compare it with an uninterrupted run.")(
        chaos
    )


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

    kinds = _parse_names("--faults", faults, KINDS) if kills else []
    targets = _parse_names("--services", services or ",".join(TARGETS), TARGETS)
    if keep is not None and keep.exists():
        raise DeployError(f"--keep {keep} exists already")
    result = run(seed, kills, kinds, targets, _print_line, keep_folder=keep.resolve() if keep else None)
    if as_json:
        print(json.dumps(result.as_tree(), indent=2))
    else:
        _print_table(report.fault_rows(result), KINDS)
        print(report.summary_line(result))
    if write_docs:
        report.write_docs(result)
    raise typer.Exit(0 if result.difference is None else 1)


def _parse_names(option: str, text: str, allowed: tuple[str, ...]) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in allowed]
    if unknown or not names:
        raise DeployError(f"{option} takes some of {', '.join(allowed)}, found {', '.join(unknown) or 'none'}")
    return names


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

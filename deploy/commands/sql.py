"""`sql`: query the catalogue, recorded topics, the archive and PostgreSQL in one name space."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.errors import DeployError
from schemas.counted import counted
from schemas.errors import BadInput, Unavailable

if TYPE_CHECKING:
    import pandas as pd

ROWS_SHOWN = 40
SelectText = Annotated[str | None, typer.Argument(help="One SELECT, in quotes.")]
ListTables = Annotated[bool, typer.Option("--tables", help="List the tables that a query can name.")]
Output = Annotated[Path | None, typer.Option(help="Write the result to this CSV or Parquet file.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print all rows as CSV.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print all rows as JSON.")]
Rows = Annotated[
    int, typer.Option("--rows", min=1, help="Read at most the last so many records of each topic or table.")
]


def register(app: typer.Typer) -> None:
    app.command(
        "sql",
        help="Query the catalogue of bars, recorded topics, the archive and PostgreSQL, such as topics.executions.",
    )(query_tables)


def query_tables(
    query: SelectText = None,
    tables: ListTables = False,
    output: Output = None,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
    rows: Rows = 1_000_000,
) -> None:
    from dataflows.research.frame_files import check_output
    from dataflows.research.sql_query import sql, table_names

    if tables:
        names = table_names()
        print(json.dumps(names, indent=2) if as_json else "\n".join(f"{s}.{n}" for s in names for n in names[s]))
        return
    if query is None:
        raise BadInput("sql needs a query in quotes, or --tables")
    if output is not None:
        check_output("--output", output)
    try:
        frame = sql(query, rows_max=rows)
    except Unavailable as error:
        raise DeployError(str(error)) from error
    if output is not None:
        _write(frame, output)
        print(f"{counted(len(frame), 'row', 'rows')} written to {output}")
    elif as_csv:
        frame.to_csv(sys.stdout, index=False)
    elif as_json:
        print(frame.to_json(orient="records", date_format="iso", date_unit="ns", indent=2))
    else:
        _print(frame)


def _write(frame: pd.DataFrame, path: Path) -> None:
    from dataflows.research.frame_files import CSV_SUFFIX

    try:
        if path.suffix.lower() == CSV_SUFFIX:
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path, index=False)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}") from error


def _print(frame: pd.DataFrame) -> None:
    table = Table(box=None, pad_edge=False)
    for name, column in frame.items():
        table.add_column(str(name), justify="right" if column.dtype.kind in "iuf" else "left")
    for row in frame.head(ROWS_SHOWN).itertuples(index=False):
        table.add_row(*map(str, row))
    Console(width=200).print(table)
    shown = f", the first {ROWS_SHOWN} shown; --csv prints all" if len(frame) > ROWS_SHOWN else ""
    print(f"{counted(len(frame), 'row', 'rows')}{shown}")

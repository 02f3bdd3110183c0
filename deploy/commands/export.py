"""`export`: write the executions, orders, closed trades or equity of a platform as CSV or Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.time_arguments import parse_time_ns
from schemas.errors import Unavailable

Output = Annotated[
    Path | None, typer.Argument(help="CSV or Parquet file (default: CSV on standard output).", show_default=False)
]
Start = Annotated[str | None, typer.Option(help="ISO time from which rows are exported; UTC if it has no zone.")]
End = Annotated[str | None, typer.Option(help="ISO time before which rows are exported; UTC if it has no zone.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Export the results of the platform, with the same columns as in a backtest.", no_args_is_help=True
    )
    group.command("executions", help="Export every report on an order: acknowledged, traded, ended, rejected.")(
        executions
    )
    group.command("trades", help="Export one row per closed lot, with entry, exit, P&L and excursions.")(trades)
    group.command("orders", help="Export one row per order, with its terms and status.")(orders)
    group.command("equity", help="Export the equity after each time slice, with its drawdown.")(equity)
    app.add_typer(group, name="export")


def executions(output: Output = None, start: Start = None, end: End = None) -> None:
    _export("executions", output, start, end)


def trades(output: Output = None, start: Start = None, end: End = None) -> None:
    _export("trades", output, start, end)


def orders(output: Output = None, start: Start = None, end: End = None) -> None:
    _export("orders", output, start, end)


def equity(output: Output = None, start: Start = None, end: End = None) -> None:
    _export("equity", output, start, end)


def _export(name: str, output: Path | None, start: str | None, end: str | None) -> None:
    from dataflows.research.exports import ExportPeriod, export_frame
    from dataflows.research.frame_files import check_output, print_frame, write_frame
    from deploy.open_tables import open_tables

    period = ExportPeriod(parse_time_ns("--start", start), parse_time_ns("--end", end))
    if output is not None:
        check_output("the output file", output)
    with open_tables(home_from_environment()) as (settings, db):
        raw = db.connection.driver_connection
        assert raw is not None, "the connection is open"
        capital, instruments = settings.portfolio_manager.initial_capital, settings.traded_instruments()
        try:
            frame = export_frame(raw, name, capital, period, instruments, settings.kafka.table_archive)
        except Unavailable as error:
            raise DeployError(str(error)) from error
    if output is None:
        print_frame(frame)
        return
    write_frame(frame, output)
    print(f"{len(frame.rows):,} {name} written to {output}")

"""Runs of `backtest --orders` with six minutes of two symbols, and the tables that they write."""

from __future__ import annotations

import csv
from pathlib import Path

import typer
from typer.testing import CliRunner, Result

from dataflows.sources.tape.orders import ORDER_COLUMNS
from deploy.commands import backtest

HEADER = ",".join(ORDER_COLUMNS)
# Minutes from 14:30 UTC, the open of the exchange: open, high, low, close.
PRICES = [
    (100, 101, 99, 100),
    (100, 100.5, 99.5, 100),
    (100, 104, 98, 103),
    (103, 106, 102, 105),
    (105, 111, 104, 110),
    (110, 110, 100, 101),
]
SETTINGS = """
execution: {venue: {fee_per_share: 0, fee_min: 0, slippage_bps: 0}}
"""


def write_bars(folder: Path, *symbols: str) -> Path:
    rows = [
        f"2024-01-02T14:{30 + minute}:00Z,{symbol},{','.join(map(str, prices))},100000"
        for minute, prices in enumerate(PRICES)
        for symbol in symbols
    ]
    file = folder / "bars.csv"
    file.write_text("\n".join(["timestamp,symbol,open,high,low,close,volume", *rows]) + "\n")
    return file


def row(time: str, action: str, order_id: str, **cells: object) -> str:
    values = {"time": f"2024-01-02T14:{time}:00Z", "action": action, "id": order_id} | cells
    return ",".join(str(values.get(name, "")) for name in ORDER_COLUMNS)


def run(folder: Path, *rows: str, options: tuple[str, ...] = (), settings: str = SETTINGS) -> Result:
    app = typer.Typer()
    backtest.register(app)
    app.command("other")(lambda: None)  # typer drops the name of a single command
    (folder / "orders.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (folder / "settings.yaml").write_text(settings)
    bars = write_bars(folder, "AAPL", "MSFT")
    outputs = [text for name in ("executions", "trades") for text in (f"--{name}", str(folder / f"{name}.csv"))]
    outputs += ["--orders-out", str(folder / "orders-out.csv"), "--equity", str(folder / "equity.csv")]
    files = ["--bars", str(bars), "--orders", str(folder / "orders.csv"), "--settings", str(folder / "settings.yaml")]
    return CliRunner().invoke(app, ["backtest", *files, *outputs, *options, "--json", str(folder / "summary.json")])


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))

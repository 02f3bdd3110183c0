"""The tables of a backtest: executions, trades, orders and equity, as CSV and Parquet."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from pyarrow import parquet
from typer.testing import CliRunner

from dataflows.research.frame_files import check_output
from dataflows.research.frames import COLUMNS
from deploy.commands import backtest
from schemas.errors import BadInput
from tests.unit.orders_backtest import row, run, table

cli = typer.Typer()
backtest.register(cli)


@pytest.mark.parametrize("options", [("--workers", "2"), ("--batch", "1")])
def test_the_tables_do_not_depend_on_workers_and_batches(options: tuple[str, ...], tmp_path: Path) -> None:
    orders = [
        row("31", "submit", "one", symbol="AAPL", side="BUY", quantity=10, group="g", type="LIMIT", limit_price=99.5),
        row("31", "submit", "two", symbol="MSFT", side="BUY", quantity=10, group="g", type="STOP", stop_price=105.5),
        row("31", "submit", "child", symbol="AAPL", side="SELL", quantity=10, parent="one", reduce_only="yes"),
    ]
    texts = []
    for name, extra in (("first", ()), ("second", options)):
        folder = tmp_path / name
        folder.mkdir()
        result = run(folder, *orders, options=extra)
        assert result.exit_code == 0, result.output
        tables = ("executions", "trades", "orders-out", "equity")
        texts.append([(folder / f"{table_name}.csv").read_text() for table_name in tables])
    assert texts[0] == texts[1]
    assert [(one["id"], one["event"]) for one in table(tmp_path / "first", "executions") if one["event"] != "NEW"] == [
        ("one", "TRADE"),
        ("child", "TRADE"),
        ("two", "CANCELED"),  # with the end of the bar
    ]


def test_a_lot_that_was_renamed_while_open_has_no_excursions(tmp_path: Path) -> None:
    actions = tmp_path / "actions.csv"
    actions.write_text("time,kind,symbol,new_symbol\n2024-01-02T14:33:00Z,SYMBOL_CHANGE,AAPL,MSFT\n")
    result = run(
        tmp_path,
        row("31", "submit", "in", symbol="AAPL", side="BUY", quantity=10),
        row("34", "submit", "out", symbol="MSFT", side="SELL", quantity=10),
        options=("--reference-data", str(actions)),
    )
    assert result.exit_code == 0, result.output
    (trade,) = table(tmp_path, "trades")
    assert (trade["symbol"], trade["pnl"], trade["mae"], trade["mfe"], trade["bars"]) == ("MSFT", "50", "", "", "")


def test_the_orders_table_has_the_terms_and_units_of_the_end_of_the_run(tmp_path: Path) -> None:
    """Of 100 shares, a volume of 100,000 x 0.0004 = 40 fills. After the 4:1 split, 160 of 400 new shares have filled.

    The bracket of MSFT buys 40 of 100 before it is cancelled: its exits close 40.
    """
    actions = tmp_path / "actions.csv"
    actions.write_text("time,kind,symbol,ratio\n2024-01-02T14:32:30Z,SPLIT,AAPL,4\n")
    result = run(
        tmp_path,
        row("31", "submit", "in", symbol="AAPL", side="BUY", quantity=100, type="LIMIT", limit_price=104),
        row("31", "submit", "deep", symbol="AAPL", side="BUY", quantity=3, type="LIMIT", limit_price=96),
        row("31", "submit", "entry", symbol="MSFT", side="BUY", quantity=100, take_profit=150, stop_loss=50),
        row("32", "cancel", "entry"),
        options=("--reference-data", str(actions)),
        settings="execution: {venue: {fee_per_share: 0, fee_min: 0, slippage_bps: 0, max_volume_share: 0.0004}}",
    )
    assert result.exit_code == 0, result.output
    columns = ("quantity", "limit_price", "stop_price", "filled", "average_price", "status")
    rows = {one["id"]: tuple(one[column] for column in columns) for one in table(tmp_path, "orders-out")}
    assert rows["entry-tp"][0] == rows["entry-sl"][0] == "40"
    assert rows["entry"][:4] == ("100", "", "", "40")
    assert rows["in"] == ("400", "26", "", "160", "25", "PARTIALLY_FILLED")
    assert rows["deep"][:2] == ("12", "24")


@pytest.mark.parametrize(
    ("time_in_force", "reason"),
    [
        ("CLS", "CLS: the bars end before the close"),
        ("OPG", "OPG: the bars end before the next open"),
        ("DAY", "day order: the bars end before the session does"),
        ("GTC", ""),
    ],
)
def test_an_order_whose_moment_comes_after_the_last_bar_has_not_expired_but_has_a_reason(
    tmp_path: Path, time_in_force: str, reason: str
) -> None:
    order = {"symbol": "AAPL", "side": "BUY", "quantity": 1, "type": "LIMIT", "limit_price": 90}
    result = run(
        tmp_path,
        row("31", "submit", "a", **order, time_in_force=time_in_force, stop_loss=80),
        row("36", "submit", "late", **order, time_in_force=time_in_force),
    )
    assert result.exit_code == 0, result.output
    assert [(one["id"], one["event"]) for one in table(tmp_path, "executions")] == [("a", "NEW"), ("a-sl", "NEW")]
    orders = {one["id"]: (one["status"], one["reason"]) for one in table(tmp_path, "orders-out")}
    assert (orders["a"], orders["late"]) == (("ACCEPTED", reason), ("PENDING", reason))
    assert orders["a-sl"][0] == "ACCEPTED"


def test_executions_are_in_order_of_time_and_an_order_is_accepted_before_it_fills(tmp_path: Path) -> None:
    orders = [
        row(time, "submit", time, symbol=symbol, side="BUY", quantity=1)
        for time in ("31", "33")
        for symbol in ("AAPL",)
    ]
    assert run(tmp_path, *orders, row("32", "submit", "x", symbol="MSFT", side="BUY", quantity=1)).exit_code == 0
    rows = table(tmp_path, "executions")
    assert [one["time"] for one in rows] == sorted(one["time"] for one in rows)
    assert [(one["id"], one["event"], one["time"][14:16]) for one in rows] == [
        *(("31", "NEW", "31"), ("31", "TRADE", "31"), ("x", "NEW", "32"), ("x", "TRADE", "32")),
        *(("33", "NEW", "33"), ("33", "TRADE", "33")),
    ]


def test_an_order_is_replaced_before_its_amendment_fills(tmp_path: Path) -> None:
    order = row("31", "submit", "a", symbol="AAPL", side="BUY", quantity=1, type="LIMIT", limit_price=90)
    assert run(tmp_path, order, row("33", "amend", "a", limit_price=104)).exit_code == 0
    assert [(one["event"], one["time"][14:16], one["price"]) for one in table(tmp_path, "executions")] == [
        *(("NEW", "32", "0"), ("REPLACED", "33", "0"), ("NEW", "33", "0"), ("TRADE", "33", "103")),
    ]


def test_tables_are_written_as_parquet_too(tmp_path: Path) -> None:
    file = tmp_path / "fills.parquet"
    order = row("31", "submit", "a", symbol="AAPL", side="SELL", quantity=10)
    result = run(tmp_path, order, options=("--executions", str(file)), settings="risk_manager: {}")
    assert result.exit_code == 0, result.output
    rows = parquet.read_table(file).to_pylist()
    assert tuple(rows[0]) == COLUMNS["executions"]
    assert {one["event"] for one in rows} <= {"NEW", "TRADE", "REJECTED"}


@pytest.mark.parametrize(
    ("path", "error"), [("x.parqet", "did you mean .parquet?"), ("no/x.csv", "folder no does not exist")]
)
def test_a_wrong_output_of_a_table_is_reported_before_the_run(path: str, error: str) -> None:
    with pytest.raises(BadInput, match=error.replace("?", r"\?")):
        check_output("--trades", Path(path))


@pytest.mark.parametrize("option", ["--json", "--report"])
@pytest.mark.parametrize(
    ("path", "error"),
    [("no/x.out", "{} no/x.out: folder no does not exist"), (".", "{} must name a file, found the folder .")],
)
def test_a_wrong_output_of_a_text_is_reported_before_the_bars_are_read(option: str, path: str, error: str) -> None:
    result = CliRunner().invoke(cli, ["--bars", "missing.csv", option, path])
    assert isinstance(result.exception, BadInput) and str(result.exception) == error.format(option)

"""`backtest --orders`: a file of orders is read, and trades through risk and the venue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from configs.settings import load_settings
from dataflows.backtest import run as run_backtest
from dataflows.sources.tape.orders import read_orders
from operators.bar_completion import FeedSettings
from schemas.errors import BadInput
from tests.unit.orders_backtest import HEADER, row, run, table


def test_orders_trade_at_the_next_bar_and_every_table_shows_it(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        row("31", "submit", "entry", symbol="AAPL", side="buy", quantity=10, take_profit=109, stop_loss=90),
        row("31", "submit", "limit", symbol="MSFT", side="BUY", quantity=5, type="limit", limit_price=90),
        row("33", "cancel", "limit"),
    )
    assert result.exit_code == 0, result.output
    events = [(one["id"], one["event"], one["quantity"], one["price"]) for one in table(tmp_path, "executions")]
    assert [event for event in events if event[1] != "NEW"] == [
        ("entry", "TRADE", "10", "100"),
        ("limit", "CANCELED", "0", "0"),
        ("entry-tp", "TRADE", "10", "109"),
        ("entry-sl", "CANCELED", "0", "0"),
    ]
    (trade,) = table(tmp_path, "trades")
    assert trade == {
        "symbol": "AAPL",
        "side": "LONG",
        "quantity": "10",
        "entry_time": "2024-01-02T14:31:00Z",
        "entry_price": "100",
        "exit_time": "2024-01-02T14:34:00Z",
        "exit_price": "109",
        "pnl": "90",
        "fees": "0",
        # Bought at the open of 14:31, so that bar counts whole; the lowest price before the exit is 98 at 14:32.
        "strategy": "manual",
        "tag": "entry",
        "mae": "-20",
        "mfe": "90",
        "bars": "3",
    }
    summary = json.loads((tmp_path / "summary.json").read_text())
    # Of the entry price of 100, the lowest price 98 is -2 %, and the exit at 109 is 9 %.
    assert {name: summary[name] for name in ("mae_mean", "mae_worst", "mfe_mean", "mfe_best")} == {
        "mae_mean": -0.02,
        "mae_worst": -0.02,
        "mfe_mean": 0.09,
        "mfe_best": 0.09,
    }
    statuses = {one["id"]: (one["status"], one["filled"]) for one in table(tmp_path, "orders-out")}
    assert statuses == {
        "entry": ("FILLED", "10"),
        "entry-tp": ("FILLED", "10"),
        "entry-sl": ("CANCELLED", "0"),
        "limit": ("CANCELLED", "0"),
    }
    equity = table(tmp_path, "equity")
    assert [float(one["equity"]) - 1_000_000 for one in equity] == [0, 0, 30, 50, 90, 90]
    assert [one["gross"] for one in equity] == ["0", "1000", "1030", "1050", "0", "0"]


def test_an_order_that_risk_rejects_is_a_row_with_the_reason(tmp_path: Path) -> None:
    result = run(tmp_path, row("31", "submit", "big", symbol="AAPL", side="BUY", quantity=1_000_000))
    assert result.exit_code == 0, result.output
    (rejection,) = table(tmp_path, "executions")
    assert (rejection["id"], rejection["event"], rejection["type"]) == ("big", "REJECTED", "MARKET")
    assert "AAPL" in rejection["reason"]


def test_amend_and_cancel_apply_to_the_living_order_and_a_late_one_is_rejected(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        row("31", "submit", "a", symbol="AAPL", side="BUY", quantity=1),
        row("31", "submit", "b", symbol="MSFT", side="BUY", quantity=5, type="LIMIT", limit_price=90),
        row("32", "amend", "b", limit_price=91),
        row("33", "amend", "b", quantity=6),
        row("34", "cancel", "b"),
        row("34", "cancel", "a"),
    )
    assert result.exit_code == 0, result.output
    rows = [one for one in table(tmp_path, "executions") if one["event"] not in ("NEW", "TRADE")]
    assert [(one["id"], one["event"], one["type"]) for one in rows] == [
        *(("b", "REPLACED", "LIMIT"), ("b", "REPLACED", "LIMIT")),
        *(("a", "REJECTED", "MARKET"), ("b", "CANCELED", "LIMIT")),
    ]
    assert "has already ended: filled" in rows[2]["reason"]
    chain = [one for one in table(tmp_path, "orders-out") if one["id"] == "b"]
    assert [(one["quantity"], one["limit_price"], one["status"]) for one in chain] == [
        *(("5", "90", "REPLACED"), ("5", "91", "REPLACED"), ("6", "91", "CANCELLED")),
    ]


def test_the_default_strategy_does_not_run_beside_the_orders(tmp_path: Path) -> None:
    assert run(tmp_path).exit_code == 0
    assert json.loads((tmp_path / "summary.json").read_text())["signals"] == 0
    assert table(tmp_path, "executions") == []


WARM_UP_STRATEGY = """
from operators.strategies import TradingStrategy

class WarmUp(TradingStrategy):
    features, history, warm_up = ("sma_2",), {"1m": 3}, 3

    def on_slice(self, ctx):
        if len(ctx.history("AAPL")["close"]) == 3 and ctx.feature("AAPL", "sma_2") is not None and not ctx.state:
            ctx.state["sma"] = ctx.feature("AAPL", "sma_2")
            ctx.submit("AAPL", "BUY", 1, limit_price=1, time_in_force="GTC", tag=str(ctx.state["sma"]))
"""


def test_an_order_before_the_first_bar_does_not_shift_the_warm_up_of_a_strategy(tmp_path: Path) -> None:
    early, found = row("30", "submit", "early", symbol="AAPL", side="BUY", quantity=5), list[list[dict[str, str]]]()
    runs: dict[str, list[str]] = {"without": [], "with": [early]}
    for name, orders in runs.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "mine.py").write_text(WARM_UP_STRATEGY)
        result = run(folder, *orders, options=("--strategy", f"{folder / 'mine.py'}:WarmUp"))
        assert result.exit_code == 0, result.output
        rows = table(folder, "orders-out")
        found.append([one for one in rows if one["strategy"] == "warm_up"])
        assert any(one["id"] == "early" and one["status"] == "FILLED" for one in rows) == bool(orders)
    assert len(found[0]) == 1
    assert found[0] == found[1]


def test_rows_outside_the_period_are_reported(tmp_path: Path) -> None:
    orders = [row(time, "submit", time, symbol="AAPL", side="BUY", quantity=1) for time in ("30", "32", "59")]
    result = run(tmp_path, *orders, options=("--start", "2024-01-02T14:31", "--end", "2024-01-02T14:34"))
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "summary.json").read_text())["warnings"] == [
        "orders.csv: 1 rows before the start were left out",
        "orders.csv: 1 rows after the last bar had no effect, the first in line 4 at 2024-01-02T14:59:00Z",
    ]
    assert [one["time"] for one in table(tmp_path, "executions") if one["event"] == "TRADE"] == ["2024-01-02T14:32:00Z"]


@pytest.mark.parametrize("fills_from", ["quotes", "{LIMIT: quotes}"])
def test_a_run_without_quotes_warns_if_orders_fill_from_them(tmp_path: Path, fills_from: str) -> None:
    settings = f"execution: {{venue: {{fills_from: {fills_from}}}}}"
    order = row("31", "submit", "a", symbol="AAPL", side="BUY", quantity=1, type="LIMIT", limit_price=200)
    assert run(tmp_path, order, settings=settings).exit_code == 0
    (warning,) = json.loads((tmp_path / "summary.json").read_text())["warnings"]
    assert warning.startswith("the run had no quotes, so no order of the types ") and "LIMIT" in warning
    quotes = tmp_path / "quotes.csv"
    quotes.write_text("time,symbol,bid,ask\n2024-01-02T14:32:30Z,AAPL,100,101\n")
    assert run(tmp_path, order, settings=settings, options=("--quotes", str(quotes))).exit_code == 0
    assert "warnings" not in json.loads((tmp_path / "summary.json").read_text())
    assert run(tmp_path, order).exit_code == 0
    assert "warnings" not in json.loads((tmp_path / "summary.json").read_text())


def test_the_reason_of_an_expired_order_has_an_iso_time(tmp_path: Path) -> None:
    order = {"symbol": "AAPL", "side": "BUY", "quantity": 1, "type": "LIMIT", "limit_price": 90}
    times = {"time_in_force": "GTD", "expires_at": "2024-01-02T14:33:00Z"}
    assert run(tmp_path, row("31", "submit", "a", **order, **times)).exit_code == 0
    assert table(tmp_path, "executions")[-1]["reason"] == "good-till date reached: 2024-01-02T14:33:00Z"


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("kind,symbol,amount\nCASH_MERGER,AAPL,95", "AAPL was paid out in a merger for cash ("),
        ("kind,symbol,ratio,new_symbol\nSTOCK_MERGER,AAPL,2,MSFT", "AAPL was merged into MSFT ("),
        ("kind,symbol,ratio,new_symbol\nSTOCK_MERGER,AAPL,0.5,MSFT", "AAPL was merged into another company ("),
        ("kind,symbol,new_symbol\nSYMBOL_CHANGE,AAPL,NEW", "AAPL was renamed to NEW ("),
        ("kind,symbol,amount\nDELISTING,AAPL,1", "AAPL was delisted ("),
        ("kind,symbol,ratio\nSPLIT,AAPL,0.1", "AAPL was split and no whole lot of the order is left ("),
    ],
)
def test_an_order_that_a_corporate_action_ends_has_it_in_words_as_the_reason(
    tmp_path: Path, action: str, reason: str
) -> None:
    (tmp_path / "actions.csv").write_text(action.replace("kind", "time,kind").replace("\n", "\n2024-01-02T14:32:30Z,"))
    order = row("31", "submit", "a", symbol="AAPL", side="BUY", quantity=1, type="LIMIT", limit_price=95)
    result = run(tmp_path, order, options=("--reference-data", str(tmp_path / "actions.csv")))
    assert result.exit_code == 0, result.output
    last = table(tmp_path, "executions")[-1]
    assert (last["event"], last["reason"].partition("(")[0] + "(") == ("CANCELED", reason)


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        (["x"], "line 2: row must have 18 columns, found 1"),
        ([row("31", "sumbit", "a")], "line 2: field action must be one of submit, amend, cancel, found 'sumbit'"),
        ([row("31", "sumbit", "a")], "did you mean submit?"),
        ([row("31", "cancel", "a")], "line 2: field id must be the id of an order in an earlier line, found 'a'"),
        ([row("31", "submit", "a", symbol="A", side="BUY")], "field quantity must be a text, found nothing"),
        ([row("31", "submit", "a", symbol="A", side="BYU", quantity=1)], "found 'BYU'; did you mean BUY?"),
        ([row("31", "submit", "a", symbol="A", side="BUY", quantity=-1)], "field quantity must be a number > 0"),
        ([row("31", "submit", "a", symbol="A", side="BUY", quantity=1, type="STOP")], "field stop_price is required"),
        ([row("31", "submit", "a", symbol="A", side="BUY", quantity=1, limit_price=1)], "limit_price must be empty"),
        (
            [row("31", "submit", "a", symbol="A", side="BUY", quantity=1, type="TRAILING_STOP")],
            "needs either trail_amount or trail_percent",
        ),
        (
            [row("31", "submit", "a", symbol="A", side="BUY", quantity=1, time_in_force="GTD")],
            "field expires_at is required for time_in_force GTD",
        ),
        (
            [row("31", "submit", "a", symbol="A", side="BUY", quantity=1)] * 2,
            "line 3: field id must be unique, found 'a' again (line 2)",
        ),
        (
            [row("31", "submit", "entry", symbol="A", side="BUY", quantity=1), row("32", "cancel", "entri")],
            "line 3: field id must be the id of an order in an earlier line, found 'entri'; did you mean entry?",
        ),
        (
            [row("31", "submit", "a", symbol="A", side="BUY", quantity=1), row("30", "cancel", "a")],
            "line 3: field time must not be before 2024-01-02T14:31:00Z of order a in line 2",
        ),
        (
            [row("31", "submit", "a", symbol="A", side="BUY", quantity=1), row("32", "amend", "a", take_profit=5)],
            "line 3: field take_profit must be empty in a row with the action amend",
        ),
        (
            [row("31", "submit", "a", symbol="A", side="BUY", quantity=1), row("32", "amend", "a")],
            "line 3: amend must have one of quantity, limit_price",
        ),
        (
            [row("31", "submit", "a", symbol="A", side="BUY", quantity=1, parent="b")],
            "field parent must be the id of an order in an earlier line, found 'b'",
        ),
    ],
)
def test_a_wrong_row_is_one_sentence_with_its_line(rows: list[str], error: str, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("\n".join([HEADER, *rows]))
    with pytest.raises(BadInput) as raised:
        read_orders(file, FeedSettings())
    assert error in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_column_or_symbol_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("time,action,qantity\n")
    with pytest.raises(BadInput, match=r"orders\.csv line 1: unknown column 'qantity'; did you mean quantity\?"):
        read_orders(tmp_path / "orders.csv", FeedSettings())
    result = run(tmp_path, row("31", "submit", "a", symbol="APPL", side="BUY", quantity=1))
    assert isinstance(result.exception, BadInput)
    assert str(result.exception) == "orders.csv line 2: no bars of symbol 'APPL'; did you mean AAPL?"


def test_an_error_of_the_feed_is_one_sentence_without_a_trace_of_the_engine(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The engine prints a trace for an error that a source raises, so no error may reach it."""
    file = tmp_path / "AAPL.csv"
    file.write_text("timestamp,open,high,low,close,volume\n2024-01-06T14:30:00Z,1,1,1,1,1\n")  # a Saturday
    with pytest.raises(BadInput, match="no usable row in AAPL"):
        run_backtest(load_settings(environment={}), [file])
    assert capfd.readouterr() == ("", "")


def test_times_without_a_zone_are_local(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("time,action,symbol,side,quantity\n2024-01-02 09:31,submit,A,BUY,1\n")
    (order,) = read_orders(tmp_path / "orders.csv", FeedSettings(timezone="America/New_York"))
    assert order.time_ns == 1_704_205_860 * 10**9
    assert order.command.command_id == "cmd-line-2"


def test_the_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/howto/backtest.md").read_text()
    orders = tmp_path / "orders.csv"
    orders.write_text(page.split("```csv\n")[1].split("```")[0])
    kinds = [order.command.kind for order in read_orders(orders, FeedSettings())]
    assert kinds == ["SUBMIT_ORDER", "SUBMIT_ORDER", "AMEND_ORDER", "CANCEL_ORDER"]

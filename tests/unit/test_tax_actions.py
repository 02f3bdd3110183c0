"""`lots --splits`: splits, cash in lieu and changed symbols, and one-line errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.lots_command import HEADER, lots_json, run_lots

TWO_LOTS = f"{HEADER}\n2024-01-02,X,BUY,100,10,0\n2024-01-03,X,BUY,103,12,0\n"


def test_cash_in_lieu_sells_the_fraction_of_the_first_lot(tmp_path: Path) -> None:
    """203 old shares are 20.3 new ones. 0.3 of them are paid out: first in, first out, 9.7 remain of the first lot."""
    splits = "time,symbol,ratio,cash_in_lieu\n2024-02-01,X,1:10,98\n"
    report = lots_json(tmp_path, TWO_LOTS, splits=splits)
    assert [(lot["quantity"], lot["price"], lot["basis"]) for lot in report["open_lots"]] == [
        ("9.7", "100", "970"),
        ("10.3", "120", "1236"),
    ]
    (match,) = report["matches"]
    assert (match["quantity"], match["exit_price"], match["pnl"], match["exit_time"]) == (
        "0.3",
        "98",
        "-0.6",
        "2024-02-01",
    )


def test_without_cash_in_lieu_every_lot_keeps_its_fraction(tmp_path: Path) -> None:
    lots = lots_json(tmp_path, TWO_LOTS, splits="time,symbol,ratio\n2024-02-01,X,0.1\n")["open_lots"]
    assert [(lot["quantity"], lot["price"]) for lot in lots] == [("10", "100"), ("10.3", "120")]


@pytest.mark.parametrize(
    ("ratio", "quantity", "price"),
    [
        ("1:6", "1", "60"),
        ("0.166666667", "1", "60"),
        ("3:2", "9", "6.666666666666666667"),
        ("1.05", "6.3", "9.52380952380952381"),
        ("2", "12", "5"),
        (" 1 : 3 ", "2", "30"),
        ("1000.7:3002.1", "2", "30"),
    ],
)
def test_ratios_of_splits(tmp_path: Path, ratio: str, quantity: str, price: str) -> None:
    fills = f"{HEADER}\n2024-01-02,X,BUY,6,10,0\n"
    (lot,) = lots_json(tmp_path, fills, splits=f"time,symbol,ratio\n2024-02-01,X,{ratio}\n")["open_lots"]
    assert (lot["quantity"], lot["price"], lot["basis"]) == (quantity, price, "60")


def test_a_changed_symbol_keeps_its_lots_and_a_reused_one_starts_clean(tmp_path: Path) -> None:
    fills = f"""{HEADER}
2022-01-03,FB,BUY,10,330,0
2022-06-30,FB,BUY,5,20,0
2022-07-01,META,SELL,10,160,0
2022-07-05,META,BUY,10,165,0
"""
    splits = "time,symbol,ratio,new_symbol\n2022-06-09,FB,,META\n"
    report = lots_json(tmp_path, fills, "--wash-sales", splits=splits)
    (match,) = report["matches"]
    assert (match["symbol"], match["entry_time"], match["pnl"], match["disallowed_loss"]) == (
        "META",
        "2022-01-03",
        "-1700",
        "1700",
    )
    assert [(lot["symbol"], lot["quantity"], lot["basis"]) for lot in report["open_lots"]] == [
        ("META", "10", "3350"),
        ("FB", "5", "100"),
    ]


def test_long_units_close_the_short_ones_of_the_new_symbol(tmp_path: Path) -> None:
    fills = f"{HEADER}\n2024-01-02,X,BUY,10,10,1\n2024-01-03,Y,SELL,6,12,0\n"
    splits = "time,symbol,ratio,new_symbol\n2024-02-01,X,,Y\n"
    report = lots_json(tmp_path, fills, splits=splits)
    (match,) = report["matches"]
    assert {
        "symbol": "Y",
        "entry_time": "2024-01-03",
        "exit_time": "2024-02-01",
        "direction": "SHORT",
        "quantity": "6",
        "entry_price": "12",
        "exit_price": "10.1",
        "gain": "11.4",
    }.items() <= match.items()
    assert [(lot["symbol"], lot["quantity"], lot["basis"]) for lot in report["open_lots"]] == [("Y", "4", "40.4")]
    result = run_lots(tmp_path, fills, "--format", "8949", splits=splits)
    assert result.stdout.splitlines()[1] == "I,A,6 sh. Y,01/02/2024,02/01/2024,72.00,60.60,,0.00,11.40"


def test_a_split_and_a_new_symbol_on_one_day(tmp_path: Path) -> None:
    splits = "time,symbol,ratio,new_symbol\n2024-02-01,X,1:2,Y\n"
    (lot,) = lots_json(tmp_path, f"{HEADER}\n2024-01-02,X,BUY,6,10,0\n", splits=splits)["open_lots"]
    assert (lot["symbol"], lot["quantity"], lot["price"]) == ("Y", "3", "20")


def test_the_date_of_a_split_goes_with_zoned_trades(tmp_path: Path) -> None:
    """2024-02-01 begins at midnight in New York: the trade at 23:30 of the day before is in old shares."""
    fills = f"{HEADER}\n2024-02-01T04:30Z,X,BUY,6,10,0\n2024-02-01T05:30Z,X,BUY,6,5,0\n"
    lots = lots_json(tmp_path, fills, splits="time,symbol,ratio\n2024-02-01,X,2\n")["open_lots"]
    assert [lot["quantity"] for lot in lots] == ["12", "6"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2024-02-01,X,1:0,,", "row 1 (line 2): field ratio must be a number > 0, found '1:0'"),
        ("2024-02-01,X,1:2:3,,", "row 1 (line 2): field ratio must be a number > 0, found '1:2:3'"),
        ("2024-02-01,X,,,", "row 1 (line 2): field ratio must be a number > 0, found ''"),
        ("2024-02-01,X,2,x,", "row 1 (line 2): field cash_in_lieu must be a number >= 0, found 'x'"),
        ("2024-02-01,X,,5,Y", "row 1 (line 2): field cash_in_lieu must be empty without a ratio, found '5'"),
        ("2024-02-01,X,,,X", "row 1 (line 2): field new_symbol must be another symbol than X, found 'X'"),
        ("2024-02-01,X,1:900000000,,", "splits.csv row 1 (line 2): split ratio must leave at least 0.000001"),
    ],
)
def test_a_wrong_corporate_action_gives_a_one_line_error(tmp_path: Path, row: str, message: str) -> None:
    splits = f"time,symbol,ratio,cash_in_lieu,new_symbol\n{row}\n"
    result = run_lots(tmp_path, TWO_LOTS, splits=splits)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "splits.csv " in result.stderr and message in result.stderr

"""`cli.py lots`: the output for a file of trades, and the one-line error for an invalid file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from deploy.commands import lots
from tests.builders.lots_command import HEADER, lots_json, run_lots

PUB_550 = f"""{HEADER}
2024-01-02,XYZ,BUY,100,10,0
2024-03-01,XYZ,SELL,100,7.5,0
2024-03-15,XYZ,BUY,100,8,0
"""
SCALE = f"""{HEADER}
2024-01-02T15:00:00Z,EUR,BUY,1000,1.07,0
2024-01-02T15:01:00Z,EUR,BUY,1000,1.08,0
2024-01-02T15:02:00Z,EUR,SELL,1500,1.09,0
2024-01-02T15:03:00Z,EUR,SELL,500,1.10,0
"""


def test_the_tax_form_marks_what_was_taken_over_from_the_broker(tmp_path: Path) -> None:
    fills = f"""{HEADER},order_id
2024-01-02,XYZ,BUY,10,10,0,adj-cmd-7
2024-01-03,ABC,BUY,10,10,0,ord-1
2024-03-01,XYZ,SELL,10,12,0,ord-2
2024-03-02,ABC,SELL,4,12,0,ord-3
2024-03-03,ABC,SELL,6,12,0,adj-cmd-8
"""
    rows = lots_json(tmp_path, fills, "--format", "8949")["rows"]
    marked = [row["description"].partition(" (")[2] for row in rows]
    assert marked == ["adjustment: review date and price)", "", "adjustment: review date and price)"]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("fifo", [("1000", "20"), ("500", "5"), ("500", "10")]),
        ("lifo", [("1000", "10"), ("500", "10"), ("500", "15")]),
        ("hifo", [("1000", "10"), ("500", "10"), ("500", "15")]),
        ("average", [("1000", "15"), ("500", "7.5"), ("500", "12.5")]),
    ],
)
def test_lot_methods(tmp_path: Path, method: str, expected: list[tuple[str, str]]) -> None:
    report = lots_json(tmp_path, SCALE, "--method", method)
    assert [(match["quantity"], match["pnl"]) for match in report["matches"]] == expected
    assert (report["open_lots"], report["totals"]["pnl"]) == ([], "35")


def test_the_example_of_pub_550(tmp_path: Path) -> None:
    report = lots_json(tmp_path, PUB_550, "--wash-sales")
    (match,) = report["matches"]
    assert match == {
        "symbol": "XYZ",
        "entry_time": "2024-01-02",
        "exit_time": "2024-03-01",
        "direction": "LONG",
        "quantity": "100",
        "entry_price": "10",
        "exit_price": "7.5",
        "pnl": "-250",
        "fees": "0",
        "disallowed_loss": "250",
        "carried_loss": "0",
        "gain": "0",
    }
    (lot,) = report["open_lots"]
    assert (lot["time"], lot["quantity"], lot["price"], lot["basis"]) == ("2024-03-15", "100", "8", "1050")
    assert lot["holding_from"] == "2024-01-16", "59 days of the shares sold count"
    assert report["totals"]["disallowed_loss"] == "250"


def test_the_tax_form(tmp_path: Path) -> None:
    fills = PUB_550 + "2025-01-17,XYZ,SELL,60,9.999,1.5\n2025-01-18,XYZ,SELL,41,9.99,0\n2025-01-19,XYZ,BUY,1,9.4951,0\n"
    result = run_lots(tmp_path, fills, "--wash-sales", "--format", "8949")
    assert result.stdout.splitlines() == [
        "part,box,description,acquired,sold,proceeds,basis,code,adjustment,gain",
        "I,A,100 sh. XYZ,01/02/2024,03/01/2024,750.00,1000.00,W,250.00,0.00",
        "I,A,1 sh. XYZ,01/19/2025,01/19/2025,9.99,9.50,,0.00,0.49",
        "II,D,60 sh. XYZ,03/15/2024,01/17/2025,598.44,630.00,,0.00,-31.56",
        "II,D,40 sh. XYZ,03/15/2024,01/18/2025,399.60,420.00,,0.00,-20.40",
    ]
    rows = lots_json(tmp_path, fills, "--wash-sales", "--format", "8949")
    assert rows["totals"]["II"] == {"proceeds": "998.04", "basis": "1050.00", "adjustment": "0.00", "gain": "-51.96"}


def test_splits_fees_and_multipliers(tmp_path: Path) -> None:
    fills = f"""{HEADER},order_id,multiplier
2024-01-02 10:00,A,buy,100,10,1,o1,
2024-01-03 10:00,A,sell,150,6,3,o2,
2024-01-03 11:00,ES,SELL,2,4000.25,5,o3,50
2024-01-03 12:00,ES,BUY,1,4000.00,2.5,o4,50
"""
    report = lots_json(tmp_path, fills, splits="time,symbol,ratio\n2024-01-03,A,2\n")
    assert [(m["symbol"], m["direction"], m["quantity"], m["entry_price"]) for m in report["matches"]] == [
        ("A", "LONG", "150", "5"),
        ("ES", "SHORT", "1", "4000.25"),
    ]
    assert [(m["pnl"], m["fees"], m["gain"]) for m in report["matches"]] == [
        ("150", "3.75", "146.25"),
        ("12.5", "5", "7.5"),
    ]
    assert [(lot["quantity"], lot["price"], lot["basis"]) for lot in report["open_lots"]] == [
        ("50", "5", "250.25"),
        ("1", "4000.25", "200010"),
    ]
    assert report["totals"]["pnl"] == "162.5"


def test_rows_out_of_order_are_sorted(tmp_path: Path) -> None:
    lines = SCALE.strip().splitlines()
    shuffled = "\n".join([lines[0], *reversed(lines[1:])])
    assert lots_json(tmp_path, shuffled) == lots_json(tmp_path, SCALE)


def test_day_of_a_zoned_time_is_the_exchange_day(tmp_path: Path) -> None:
    """A repurchase at 8 p.m. New York time on the 30th day falls on the 31st day in UTC."""
    fills = f"{HEADER}\n2024-01-02T15:00Z,X,BUY,1,10,0\n2024-03-01T15:00Z,X,SELL,1,9,0\n2024-04-01T00:30Z,X,BUY,1,9,0\n"
    assert lots_json(tmp_path, fills, "--wash-sales")["totals"]["disallowed_loss"] == "1"
    assert lots_json(tmp_path, fills, "--wash-sales", "--zone", "UTC")["totals"]["disallowed_loss"] == "0"
    assert lots_json(tmp_path, fills, "--wash-sales")["open_lots"][0]["holding_from"] == "2024-02-02T00:30:00Z"


def test_empty_file_and_plain_text_table(tmp_path: Path) -> None:
    assert lots_json(tmp_path, HEADER + "\n")["totals"]["pnl"] == "0"
    table = run_lots(tmp_path, SCALE).stdout
    assert "matches" in table and "open lots\n  none" in table and "1.085" not in table


def test_json_goes_to_a_file(tmp_path: Path) -> None:
    out = tmp_path / "lots.json"
    result = run_lots(tmp_path, SCALE, "--json", str(out))
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(out.read_text())["totals"]["pnl"] == "35"


VALID_ROW = "2024-01-02,X,BUY,1,10,0"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2024-01-02,X,BUY,NaN,10,0", "row 2 (line 3): field quantity must be a number > 0, found 'NaN'"),
        ("2024-01-02,X,BUY,-5,10,0", "row 2 (line 3): field quantity must be a number > 0, found '-5'"),
        ("2024-01-02,X,BUY,0,10,0", "row 2 (line 3): field quantity must be a number > 0, found '0'"),
        ("2024-01-02,X,BUY,,10,0", "row 2 (line 3): field quantity must be a number > 0, found ''"),
        ("2024-01-02,X,BUY,1,inf,0", "row 2 (line 3): field price must be a number >= 0, found 'inf'"),
        ("2024-01-02,X,BUY,1,-1,0", "row 2 (line 3): field price must be a number >= 0, found '-1'"),
        ("2024-01-02,X,BUY,1,10,x", "row 2 (line 3): field fee must be a number, found 'x'"),
        ("2024-01-02,X,HOLD,1,10,0", "row 2 (line 3): field side must be BUY or SELL, found 'HOLD'"),
        ("2024-01-02,,BUY,1,10,0", "row 2 (line 3): field symbol must be non-empty, found ''"),
        ("02.01.2024,X,BUY,1,10,0", "row 2 (line 3): field time must be an ISO date or time such as"),
        ("2024-01-02T10:00Z,X,BUY,1,10,0", "field time must be a time without a zone like '2024-01-02', found"),
        ("2024-01-02,X,BUY,1,10", "row 2 (line 3): row must have 6 fields, found 5"),
        ("2024-01-02,X,BUY,1.0000000000000000001,10,0", "with at most 18 decimals, found '1.0000000000000000001'"),
        ("2024-01-02,X,BUY,1e16,10,0", "of at most 1,000,000,000,000,000"),
        ("2024-01-02,X,BUY,1e12,1e12,0", "field quantity must be such that quantity x price"),
        ('2024-01-02,"X,BUY,1,10,0', "fills.csv line 3: file must be valid CSV"),
    ],
)
def test_invalid_row_gives_a_one_line_error_and_no_output(tmp_path: Path, row: str, message: str) -> None:
    out = tmp_path / "out.json"
    result = run_lots(tmp_path, f"{HEADER}\n{VALID_ROW}\n{row}\n", "--json", str(out))
    assert (result.exit_code, result.stdout, out.exists()) == (2, "", False)
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: fills.csv ")
    assert message in result.stderr


@pytest.mark.parametrize(
    ("fills", "splits", "message"),
    [
        (
            "time,symbol,side,quantity,fee\n",
            None,
            "column price is missing: found time,symbol,side,quantity,fee, expected",
        ),
        ("", None, "fills.csv is empty, expected the header time,symbol,side,quantity,price,fee"),
        (HEADER + ",fee\n", None, "column fee is repeated"),
        (PUB_550, "time,symbol\n", "splits.csv line 1: column ratio is missing"),
        (
            PUB_550,
            "time,symbol,ratio\n2024-01-02,XYZ,0\n",
            "splits.csv row 1 (line 2): field ratio must be a number > 0",
        ),
        (
            PUB_550,
            "time,symbol,ratio\n2024-02-02,XYZ,2\n2024-02-02,XYZ,3\n",
            "splits.csv row 2 (line 3): field time must be a day without another split of XYZ (overlaps row 1)",
        ),
        (
            PUB_550,
            "time,symbol,ratio\n2024-02-02T00:00Z,XYZ,2\n",
            "field time must have a zone in both files or in neither",
        ),
        (PUB_550, "time,symbol,ratio\n2024-02-02,XYZ,0.000000001\n", "split ratio must leave at least"),
        (
            f"{HEADER},multiplier\n{VALID_ROW},1\n{VALID_ROW},2\n",
            None,
            "fills.csv row 2 (line 3): multiplier of X must be 1 as for the open position, found 2",
        ),
    ],
)
def test_invalid_file_gives_a_one_line_error(tmp_path: Path, fills: str, splits: str | None, message: str) -> None:
    result = run_lots(tmp_path, fills, "--json", "-", splits=splits)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "zifo"), "--method must be one of fifo, lifo, hifo, average, found 'zifo'; did you mean lifo?"),
        (("--format", "1099"), "--format must be one of lots, 8949, gains, lot-report, found '1099'"),
        (("--zone", "Mars/Base"), "--zone must be a time zone such as America/New_York, found 'Mars/Base'"),
        (("--year", "2024"), "--year needs --format 8949, gains or lot-report"),
        (("--reported", "basis"), "--reported needs --format 8949"),
        (("--format", "8949", "--reported", "all"), "--reported must be one of basis, proceeds, none, found 'all'"),
        (("--json", "/nowhere/x.json"), "cannot write --json /nowhere/x.json: No such file or directory"),
        (("--splits", "/nowhere.csv"), "/nowhere.csv: cannot read the file: No such file or directory"),
    ],
)
def test_invalid_option_gives_a_one_line_error(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    result = run_lots(tmp_path, SCALE, *options)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert message in result.stderr


def test_non_utf8_file_gives_a_one_line_error(tmp_path: Path) -> None:
    run_lots(tmp_path, SCALE)
    app = typer.Typer()
    lots.register(app)
    (tmp_path / "fills.csv").write_bytes(b"time,\xe9\n")
    result = CliRunner().invoke(app, ["--fills", str(tmp_path / "fills.csv")])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "fills.csv: file must be UTF-8 text, byte 5 is not valid; save it as CSV UTF-8" in result.stderr

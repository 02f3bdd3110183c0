"""The reports of `lots`: kinds of assets, exact amounts, Form 8949, realized gains and the report of every lot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.lots_command import HEADER, lots_csv, lots_json, run_lots

COINS_AND_STOCK = f"""{HEADER}
2024-01-02,BTC-USD,BUY,1,45000,0
2024-01-02,SPY,BUY,1,470,0
2024-01-23,BTC-USD,SELL,1,39000,0
2024-01-23,SPY,SELL,1,450,0
2024-01-24,BTC-USD,BUY,1,40000,0
2024-01-24,SPY,BUY,1,451,0
"""


def disallowed(report: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {match["symbol"]: match["disallowed_loss"] for match in report["matches"]}


@pytest.mark.parametrize("symbol", ["BTC-USD", "BTC/USD", "BTCUSD", "btc-usdt"])
def test_a_loss_on_a_coin_is_no_wash_sale(tmp_path: Path, symbol: str) -> None:
    report = lots_json(tmp_path, COINS_AND_STOCK.replace("BTC-USD", symbol), "--wash-sales")
    assert disallowed(report) == {symbol: "0", "SPY": "20"}


def test_a_coin_by_option_or_asset_class(tmp_path: Path) -> None:
    unknown = COINS_AND_STOCK.replace("BTC-USD", "NEWCOIN")
    assert disallowed(lots_json(tmp_path, unknown, "--wash-sales")) == {"NEWCOIN": "6000", "SPY": "20"}
    by_option = lots_json(tmp_path, unknown, "--wash-sales", "--no-securities", "NEWCOIN")
    assert disallowed(by_option) == {"NEWCOIN": "0", "SPY": "20"}
    lines = [line + (",crypto" if "NEWCOIN" in line else ",") for line in unknown.splitlines()[1:]]
    by_column = lots_json(tmp_path, "\n".join([f"{HEADER},asset_class", *lines]), "--wash-sales")
    assert disallowed(by_column) == {"NEWCOIN": "0", "SPY": "20"}
    result = run_lots(tmp_path, unknown, "--wash-sales", "--no-securities", "NEWCOINS")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: --no-securities must list symbols of fills.csv, found 'NEWCOINS'; did you mean NEWCOIN?\n",
    )


def test_quantities_and_prices_of_18_decimals_are_exact(tmp_path: Path) -> None:
    fills = f"""{HEADER}
2024-01-02,ETH-USD,BUY,0.123456789012345678,2300,0
2024-01-03,SHIB-USD,BUY,123456789.000000000000000001,0.000009123456789123,0
2024-01-04,ETH-USD,SELL,0.023456789012345679,2400,0
"""
    report = lots_json(tmp_path, fills)
    # 0.123456789012345678 x 2300 = 283.9506147283950594, of which 0.099999999999999999 remain: 229.9999999999999977.
    assert [(lot["quantity"], lot["price"], lot["basis"]) for lot in report["open_lots"]] == [
        ("0.099999999999999999", "2300", "229.9999999999999977"),
        ("123456789.000000000000000001", "0.000009123456789123", "1126.352679765375706047"),
    ]
    assert report["matches"][0]["pnl"] == "2.3456789012345679"


def test_large_amounts_keep_all_digits(tmp_path: Path) -> None:
    fills = f"{HEADER}\n2024-01-02,X,BUY,100000000000000.000000000000000001,1,0\n2024-01-03,X,SELL,1,1,0\n"
    (lot,) = lots_json(tmp_path, fills)["open_lots"]
    assert (lot["quantity"], lot["basis"]) == ("99999999999999.000000000000000001",) * 2


def test_boxes_of_the_form(tmp_path: Path) -> None:
    fills = f"""{HEADER}
2022-01-03,BTC-USD,BUY,3,10,0
2022-01-03,SPY,BUY,2,10,0
2024-12-31,BTC-USD,SELL,1,11,0
2024-12-31,SPY,SELL,1,11,0
2025-01-02,BTC-USD,SELL,1,11,0
2025-01-02,BTC-USD,BUY,1,11,0
2025-01-03,BTC-USD,SELL,2,12,0
"""
    rows = lots_csv(tmp_path, fills, "--format", "8949")
    assert [(row["part"], row["box"], row["description"], row["sold"]) for row in rows] == [
        ("I", "I", "1 BTC-USD", "01/03/2025"),
        ("II", "F", "1 BTC-USD", "12/31/2024"),
        ("II", "D", "1 sh. SPY", "12/31/2024"),
        ("II", "L", "1 BTC-USD", "01/02/2025"),
        ("II", "L", "1 BTC-USD", "01/03/2025"),
    ]
    for reported, boxes in (("basis", "GDDJJ"), ("proceeds", "HEEKK"), ("none", "IFFLL")):
        rows = lots_csv(tmp_path, fills, "--format", "8949", "--reported", reported)
        assert "".join(row["box"] for row in rows) == boxes
    rows = lots_csv(tmp_path, fills, "--format", "8949", "--year", "2024")
    assert {row["sold"] for row in rows} == {"12/31/2024"}


def test_realized_gains_by_year_symbol_and_term(tmp_path: Path) -> None:
    fills = f"""{HEADER}
2022-01-03,A,BUY,10,10.005,0
2023-01-03,A,SELL,4,11,0
2023-01-04,A,SELL,6,12,1
2023-02-01,B,BUY,5,100,0
2023-03-01,B,SELL,5,90,0
2023-03-10,B,BUY,5,91,0
2024-12-31,B,SELL,5,95,0
"""
    assert run_lots(tmp_path, fills, "--wash-sales", "--format", "gains").stdout.splitlines() == [
        "year,symbol,term,sales,proceeds,basis,adjustment,gain",
        "2023,A,short,1,44.00,40.02,0.00,3.98",
        "2023,A,long,1,71.00,60.03,0.00,10.97",
        "2023,B,short,1,450.00,500.00,50.00,0.00",
        "2023,(all),short,2,494.00,540.02,50.00,3.98",
        "2023,(all),long,1,71.00,60.03,0.00,10.97",
        "2024,B,long,1,475.00,505.00,0.00,-30.00",
        "2024,(all),long,1,475.00,505.00,0.00,-30.00",
    ]


def test_the_lot_report_has_a_row_for_each_part_of_a_lot(tmp_path: Path) -> None:
    fills = f"""{HEADER}
2024-01-02,X,BUY,100,10,0
2024-03-01,X,SELL,100,7.5,0
2024-03-15,X,BUY,150,8,0
2024-04-01,Y,SELL,5,20,1
"""
    assert run_lots(tmp_path, fills, "--wash-sales", "--format", "lot-report").stdout.splitlines() == [
        "symbol,status,direction,acquired,holding_from,sold,days_held,term,quantity,proceeds,basis,code,"
        "disallowed_loss,gain",
        "X,closed,LONG,2024-01-02,2024-01-02,2024-03-01,59,short,100,750,1000,W,250,0",
        "X,open,LONG,2024-03-15,2024-01-16,,,,100,,1050,,,",
        "X,open,LONG,2024-03-15,2024-03-15,,,,50,,400,,,",
        "Y,open,SHORT,2024-04-01,2024-04-01,,,,5,99,,,,",
    ]


def test_the_form_needs_dollars(tmp_path: Path) -> None:
    export = f"{HEADER},currency\n2024-01-02,X,BUY,1,1,0,EUR\n"
    assert lots_json(tmp_path, export)["open_lots"][0]["basis"] == "1"
    result = run_lots(tmp_path, export, "--format", "8949")
    assert (result.exit_code, result.stderr) == (2, "error: fills.csv: Form 8949 needs amounts in USD, found EUR\n")

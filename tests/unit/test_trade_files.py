"""The files of trades that `lots` reads: one example of each layout, and one-line errors."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows.research.frame_files import write_frame
from dataflows.research.frames import COLUMNS, EXECUTIONS, Frame
from deploy.trade_files.layouts import LAYOUTS
from tests.builders.lots_command import HEADER, lots_csv, lots_json, lots_json_of, run_lots

# Each file buys 10 units for 100 each and sells 4 of them for 110, with a fee of 1 for each trade.
EXAMPLES = {
    "this platform: executions": """time,order_id,id,symbol,side,type,event,quantity,price,fee,leaves,reason
2024-01-02T15:30:00.000000001Z,ord-1,,X,BUY,LIMIT,NEW,0,0,0,10,
2024-01-02T15:30:00.000000001Z,ord-1,,X,BUY,LIMIT,TRADE,10,100,1,0,
2024-02-01T15:30:00Z,ord-2,,X,SELL,MARKET,TRADE,4,110,1,0,
2024-02-01T15:30:00Z,ord-2,,X,SELL,MARKET,CANCELED,0,0,0,0,expired
""",
    "Interactive Brokers: Flex query, section Trades": (
        '"ClientAccountID","CurrencyPrimary","AssetClass","Symbol","Multiplier","TradeID","DateTime","Buy/Sell",'
        '"Quantity","TradePrice","Taxes","IBCommission","IBOrderID","LevelOfDetail"\n'
        '"U1","USD","STK","X","1","","20240102;093000","BUY","10","100","0","-1","1","ORDER"\n'
        '"U1","USD","STK","X","1","71","20240102;093000","BUY","10","100","-0.25","-0.75","1","EXECUTION"\n'
        '"U1","USD","STK","X","1","72","20240201;093000","SELL","-4","110","0","-1","2","EXECUTION"\n'
        '"U1","USD","CASH","EUR.USD","1","73","20240201;093000","SELL","-4","1.1","0","-1","2","EXECUTION"\n'
    ),
    "Interactive Brokers: activity statement, section Trades": """Statement,Header,Field Name,Field Value
Statement,Data,Title,Activity Statement
Trades,Header,DataDiscriminator,Asset Category,Currency,Symbol,Date/Time,Quantity,T. Price,C. Price,Proceeds,Comm/Fee
Trades,Data,Order,Stocks,USD,X,"2024-01-02, 09:30:00",10,100,101,-1000,-1
Trades,Data,Order,Stocks,USD,X,"2024-02-01, 09:30:00",-4,110,111,440,-1
Trades,SubTotal,,Stocks,USD,X,,6,,,-560,-2
Trades,Header,DataDiscriminator,Asset Category,Currency,Symbol,Date/Time,Quantity,T. Price,,Proceeds,Comm in USD
Trades,Data,Order,Forex,USD,EUR.USD,"2024-01-03, 10:00:00","-1,000",1.1,,1100,-2
Dividends,Header,Currency,Date,Description,Amount
Dividends,Data,USD,2024-01-05,X Cash Dividend,3
""",
    "Charles Schwab: transaction history": """"Transactions  for account ...123 as of 03/01/2024 08:00:00 ET"
"Date","Action","Symbol","Description","Quantity","Price","Fees & Comm","Amount"
"02/01/2024","Sell","X","X CORP","4","$110.00","$1.00","$439.00"
"01/16/2024","Qualified Dividend","X","X CORP","","","","$3.00"
"01/04/2024 as of 01/02/2024","Buy","X","X CORP","10","$100.00","$1.00","-$1,001.00"
"Transactions Total","","","","","","","-$559.00"
""",
    "Fidelity: account history": """

Run Date,Action,Symbol,Description,Type,Quantity,Price ($),Commission ($),Fees ($),Accrued Interest ($),Amount ($)
02/01/2024,YOU SOLD X CORP (X) (Cash), X,X CORP,Cash,-4,110,0.95,0.05,,439
01/16/2024,DIVIDEND RECEIVED X CORP (X) (Cash), X,X CORP,Cash,0.000,,,,,3
01/02/2024,YOU BOUGHT X CORP (X) (Cash), X,X CORP,Cash,10,100,1,,,-1001

"The data and information in this spreadsheet is provided to you solely for your use"
Date downloaded 03/01/2024 9:00 am
""",
    "Robinhood: account activity": """"Activity Date","Process Date","Settle Date","Instrument","Description",\
"Trans Code","Quantity","Price","Amount"
"2/1/2024","2/1/2024","2/5/2024","X","X Corp
CUSIP: 000000000","Sell","4","$110.00","$440.00"
"1/16/2024","1/16/2024","1/16/2024","X","Cash Div: R/D 2024-01-12","CDIV","","","$3.00"
"1/2/2024","1/2/2024","1/4/2024","X","X Corp
CUSIP: 000000000","Buy","10","$100.00","($1,000.00)"

"","","","","","","","","","The data provided is for informational purposes only."
""",
    "Alpaca: account activities of the type FILL": json.dumps(
        [
            {
                "activity_type": "FILL",
                "id": f"2024::{number}",
                "price": price,
                "qty": quantity,
                "side": side,
                "symbol": "X",
                "transaction_time": f"{day}T14:30:00.123456Z",
                "order_id": f"o{number}",
                "type": "fill",
            }
            for number, (day, side, quantity, price) in enumerate(
                [("2024-02-01", "sell", "4", "110"), ("2024-01-02", "buy", "10", "100")]
            )
        ]
        + [{"activity_type": "DIV", "id": "d1", "symbol": "X", "qty": "10", "net_amount": "3"}]
    ),
    "Coinbase: transaction history": """
Transactions
User,A User,00000000
ID,Timestamp,Transaction Type,Asset,Quantity Transacted,Price Currency,Price at Transaction,Subtotal,Total,\
Fees and/or Spread,Notes
b2,2024-02-01 15:30:00 UTC,Sell,X,-4,USD,$109.99,-$440.00,-$439.00,$1.00,Sold 4 X
b1,2024-01-02 15:30:00 UTC,Advanced Trade Buy,X,10,USD,$100.01,"$1,000.00","$1,001.00",$1.00,Bought 10 X
""",
    "Coinbase Exchange: fills report": """portfolio,trade id,product,side,created at,size,size unit,price,fee,total,\
price/fee/total unit
default,1,X,BUY,2024-01-02T15:30:00.123Z,10,X,100,1,-1001,USD
default,2,X,SELL,2024-02-01T15:30:00.123Z,4,X,110,1,439,USD
""",
}


def test_every_layout_has_an_example() -> None:
    assert set(EXAMPLES) == {layout.name for layout in LAYOUTS}


@pytest.mark.parametrize("layout", EXAMPLES)
def test_exports_of_the_platform_and_of_brokers(tmp_path: Path, layout: str) -> None:
    is_json = EXAMPLES[layout].startswith("[")
    report = lots_json(tmp_path, EXAMPLES[layout], name="export.json" if is_json else "export.csv")
    # Alpaca reports fees as activities of their own, and Robinhood includes them in the amount. A fee of 1 for 10 units
    # is 0.4 for 4 of them.
    has_fees = not layout.startswith(("Alpaca", "Robinhood"))
    fees = ("1.4", "0.6") if has_fees else ("0", "0")
    (match,) = report["matches"]
    (lot,) = report["open_lots"]
    assert (match["entry_time"][:10], match["exit_time"][:10]) == ("2024-01-02", "2024-02-01")
    assert (match["quantity"], match["pnl"], match["fees"]) == ("4", "40", fees[0])
    assert (lot["symbol"], lot["quantity"], lot["price"]) == ("X", "6", "100")
    assert lot["basis"] == ("600." + fees[1].partition(".")[2] if has_fees else "600")


def test_trades_of_two_accounts_in_one_export_are_refused(tmp_path: Path) -> None:
    rows = EXAMPLES["Interactive Brokers: Flex query, section Trades"]
    result = run_lots(tmp_path, rows.replace('"U1","USD","STK","X","1","72"', '"U2","USD","STK","X","1","72"'))
    assert result.exit_code == 2
    assert "trade of account 'U2' after trades of 'U1'" in result.stderr


def test_rows_that_are_no_trades_are_named(tmp_path: Path) -> None:
    result = run_lots(tmp_path, EXAMPLES["Charles Schwab: transaction history"])
    assert result.stderr == (
        "note: ignored 2 rows that are not trades: Qualified Dividend (1), without a quantity (1)\n"
    )


JUNK = [
    *(
        "",
        "NaN",
        "-1",
        "1e400",
        "1e-400",
        "1e999999999",
        "-Infinity",
        "x",
        "é",
        "٣",
        "1_000",
        "1,5",
        "()",
        "--1",
        "1:0",
    ),
    *("2024-13-01", "9999-12-31", "0001-01-01", "2199-12-31T23:59:59-12:00", "02/30/2024", "2024-01-02T10:00Z"),
    *("SELL_HELD", "adj-1", "crypto", "\x00", "'", "{", "null"),
]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    layout=st.sampled_from([name for name, text in EXAMPLES.items() if not text.startswith("[")]),
    junk=st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(JUNK)), min_size=1, max_size=3),
)
def test_no_cell_of_an_export_ends_in_a_traceback(tmp_path: Path, layout: str, junk: list[tuple[int, str]]) -> None:
    rows = list(csv.reader(io.StringIO(EXAMPLES[layout])))
    cells = [(row, column) for row, values in enumerate(rows) for column in range(len(values))]
    for position, text in junk:
        row, column = cells[position % len(cells)]
        rows[row][column] = text
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    result = run_lots(tmp_path, out.getvalue(), "--wash-sales", "--format", "lot-report")
    if result.exit_code == 0:
        assert result.stdout.startswith("symbol,status,")
    else:
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert result.stderr.startswith("error: fills.csv ")


SCHWAB_HEADER = '"Date","Action","Symbol","Description","Quantity","Price","Fees & Comm","Amount"\n'
EXECUTIONS_HEADER = "time,order_id,id,symbol,side,type,event,quantity,price,fee,leaves,reason"
IB_HEADER = "CurrencyPrimary,AssetClass,Symbol,DateTime,Buy/Sell,Quantity,TradePrice,IBCommission,IBExecID\n"


@pytest.mark.parametrize(
    ("export", "message"),
    [
        (
            SCHWAB_HEADER + '"06/10/2024","Stock Split","X","X CORP","9","","",""\n',
            "row 1 (line 2): field action must be a trade (buy, buy to cover,",
        ),
        (
            SCHWAB_HEADER + '"06/10/2024","Sell","X","X CORP","9","$1.00","",""\n',
            "row 1 (line 2): quantity must be at most the 0 X that earlier trades hold, found 9; add the earlier",
        ),
        (
            SCHWAB_HEADER + '"06/10/2024","Buy","X","X CORP","-9","$1.00","",""\n',
            "row 1 (line 2): field quantity must be a number > 0, found '-9'",
        ),
        (
            SCHWAB_HEADER + '"31/10/2024","Buy","X","X CORP","9","$1.00","",""\n',
            "row 1 (line 2): field time must be an ISO date or time such as",
        ),
        (
            IB_HEADER + "USD,STK,X,20240102,BUY,1,1,0,e1\nEUR,STK,X,20240103,BUY,1,1,0,e2\n",
            "row 2 (line 3): field currency must be USD as in the rows before, found 'EUR'",
        ),
        (
            IB_HEADER + "USD,STK,X,20240102,BUY,1,1,0,e1\nUSD,STK,X,20240103,BUY,1,1,0,e1\n",
            "row 2 (line 3): field id must be an id that no other row has (it repeats row 1), found 'e1'",
        ),
        (
            IB_HEADER + "USD,STCK,X,20240102,BUY,1,1,0,e1\n",
            "row 1 (line 2): field asset_class must be one of",
        ),
        (
            IB_HEADER + "USD,STK,X,20240102,BUY (Ca.),1,1,0,e1\n",
            "row 1 (line 2): field buy/sell must be a trade (buy, sell)",
        ),
        (
            IB_HEADER + "USD,STK,X,20240102,BUY,1,1,0,e1,more\n",
            "row 1 (line 2): row must have 9 fields, found 10",
        ),
        (
            IB_HEADER + "USD,STK,X,20240102,BUY,1,1,none,e1\n",
            "row 1 (line 2): field ibcommission must be a number, found 'none'",
        ),
        (
            EXECUTIONS_HEADER + "\n2024-01-02T15:30:00Z,ord-1,,X,BUY,LIMIT,TRAED,1,9,0,0,\n",
            "row 1 (line 2): field event must be one of NEW, TRADE, CANCELED, EXPIRED, REJECTED, REPLACED; did you "
            "mean TRADE?, found 'TRAED'",
        ),
        (f"{HEADER},order_idd\n", "line 1: column order_idd is unknown; did you mean order_id?"),
        (f"{HEADER},asset_class\n2024-01-02,X,BUY,1,1,0,stok\n", "did you mean stock?"),
        (
            f"{HEADER},asset_class\n2024-01-02,X,BUY,1,1,0,crypto\n2024-01-03,X,BUY,1,1,0,stock\n",
            "row 2 (line 3): X must be a digital asset as in fills.csv row 1 (line 2), found security",
        ),
        (f"{HEADER}\n0001-01-02,X,BUY,1,1,0\n", "row 1 (line 2): field time must be an ISO date"),
    ],
)
def test_a_wrong_export_gives_a_one_line_error(tmp_path: Path, export: str, message: str) -> None:
    result = run_lots(tmp_path, export)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("error: fills.csv ")
    assert message in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [("[1]", "file must be a JSON array of objects"), ("{", "file must be a JSON array of objects: ")],
)
def test_a_wrong_json_file_gives_a_one_line_error(tmp_path: Path, content: str, message: str) -> None:
    result = run_lots(tmp_path, content, name="fills.json")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert message in result.stderr


def test_a_row_can_be_left_out_where_splits_cover_it(tmp_path: Path) -> None:
    export = (
        SCHWAB_HEADER
        + '"10/03/2024","Sell","X","X CORP","20","$110.00","",""\n'
        + '"06/10/2024","Stock Split","X","X CORP","18","","",""\n'
        + '"01/12/2024","Buy","X","X CORP","2","$1,000.00","",""\n'
    )
    splits = "time,symbol,ratio\n2024-06-10,X,10:1\n"
    (row,) = lots_csv(tmp_path, export, "--skip-action", "Stock Split", "--format", "lot-report", splits=splits)
    assert (row["quantity"], row["basis"], row["proceeds"], row["gain"]) == ("20", "2000", "2200", "200")


def test_numbers_with_thousands_separators(tmp_path: Path) -> None:
    export = SCHWAB_HEADER + '"06/10/2024","Buy","X","X CORP","1,234.5","$1,000.25","","($1,234,808.63)"\n'
    (lot,) = lots_json(tmp_path, export)["open_lots"]
    assert (lot["quantity"], lot["price"]) == ("1234.5", "1000.25")
    for quantity in ("1,5", "12,34.5", "1,2345"):
        result = run_lots(tmp_path, SCHWAB_HEADER + f'"06/10/2024","Buy","X","X CORP","{quantity}","$1","",""\n')
        assert f"row 1 (line 2): field quantity must be a number > 0, found '{quantity}'" in result.stderr


def test_several_files_of_one_account(tmp_path: Path) -> None:
    old = f"{HEADER}\n2023-12-01,X,BUY,10,100,0\n"
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "fills.csv").write_text(old)
    more = ("--fills", str(tmp_path / "old" / "fills.csv"))
    new = f"{EXECUTIONS_HEADER}\n2024-01-02T15:30:00Z,ord-1,,X,SELL,LIMIT,TRADE,10,110,0,0,\n"
    (match,) = lots_json(tmp_path, new, *more)["matches"]
    assert (match["entry_time"], match["exit_time"], match["pnl"]) == ("2023-12-01", "2024-01-02T15:30:00Z", "100")
    result = run_lots(tmp_path, new, *more, *more)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "--fills must list each file once, found" in result.stderr
    result = run_lots(tmp_path, new.replace("10,110", "x,110"), *more)
    assert f"{tmp_path / 'fills.csv'} row 1 (line 2): field quantity must be a number" in result.stderr


def test_a_trade_in_two_exports_is_rejected(tmp_path: Path) -> None:
    export = IB_HEADER + "USD,STK,X,20240102,BUY,1,1,0,e1\n"
    (tmp_path / "more.csv").write_text(export)
    result = run_lots(tmp_path, export, "--fills", str(tmp_path / "more.csv"))
    assert (result.exit_code, result.stderr) == (
        2,
        "error: more.csv row 1 (line 2): field id must be an id that no other row has (it repeats fills.csv row 1 "
        "(line 2)), found 'e1'\n",
    )


ONE_HALF = Decimal("0.5")


def test_executions_in_parquet(tmp_path: Path) -> None:
    at_ns = 1_704_209_400 * 10**9 + 123_456_789
    rows = [
        (at_ns + index, f"ord-{index}", "", "X", side, "MARKET", "TRADE", quantity, price, fee, Decimal(0), "")
        for index, (side, quantity, price, fee) in enumerate(
            [
                ("BUY", Decimal(10), Decimal("100.25"), Decimal(1)),
                ("SELL", Decimal(4), Decimal("110.5"), Decimal("0.5")),
            ]
        )
    ]
    frame = Frame(EXECUTIONS, COLUMNS[EXECUTIONS], rows)
    for name in ("out.parquet", "out.csv"):
        write_frame(frame, tmp_path / name)
    reports = [lots_json_of(tmp_path / name) for name in ("out.parquet", "out.csv")]
    assert reports[0]["totals"] == reports[1]["totals"]
    assert reports[0]["totals"]["gain"] == "40.1"
    assert reports[0]["matches"][0]["entry_time"].startswith("2024-01-02")


def test_a_file_that_is_no_parquet_gives_a_one_line_error(tmp_path: Path) -> None:
    result = run_lots(tmp_path, "time,symbol\n", name="fills.parquet")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "fills.parquet: file must be a Parquet table" in result.stderr


def test_one_contract_of_an_option_is_100_shares(tmp_path: Path) -> None:
    export = (
        SCHWAB_HEADER
        + '"10/03/2024","Sell to Close","NVDA 11/15/2024 140.00 C","CALL","2","$7.00","$1.30",""\n'
        + '"09/03/2024","Buy to Open","NVDA 11/15/2024 140.00 C","CALL","2","$6.40","$1.30",""\n'
    )
    (match,) = lots_json(tmp_path, export)["matches"]
    assert (match["pnl"], match["gain"]) == ("120", "117.4")


def test_the_columns_of_the_executions_are_those_that_the_platform_writes() -> None:
    assert EXECUTIONS_HEADER.split(",") == list(COLUMNS[EXECUTIONS])


@pytest.mark.parametrize(("entry", "exit_"), [("ord-9", "ord-10"), ("ord-cmd-a", "ord-cmd-a-stop_loss")])
def test_executions_of_one_time_are_booked_in_order_of_their_order_ids(tmp_path: Path, entry: str, exit_: str) -> None:
    """A bracket enters and leaves in one bar: the entry opens a short position, and the exit closes it."""
    fills = f"""{EXECUTIONS_HEADER}
2024-01-02T15:30:00Z,{exit_},,X,BUY,LIMIT,TRADE,1,9,0,0,
2024-01-02T15:30:00Z,{entry},,X,SELL,LIMIT,TRADE,1,10,0,0,
"""
    (match,) = lots_json(tmp_path, fills)["matches"]
    assert (match["direction"], match["entry_price"], match["pnl"]) == ("SHORT", "10", "1")


def test_an_execution_that_is_twice_in_the_file_is_rejected(tmp_path: Path) -> None:
    row = "2024-01-02T15:30:00Z,ord-1,,X,BUY,LIMIT,TRADE,1,9,0,{leaves},\n"
    two_fills = "".join([f"{EXECUTIONS_HEADER}\n", row.format(leaves=1), row.format(leaves=0)])
    assert lots_json(tmp_path, two_fills)["open_lots"][0]["quantity"] == "2"
    result = run_lots(tmp_path, two_fills + row.format(leaves=1))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "row 3 (line 4): field id must be an id that no other row has (it repeats row 1)" in result.stderr

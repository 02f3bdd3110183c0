"""`lots`: fills of one order are one sale, any order of rows gives the same lots, and no amount is lost."""

from __future__ import annotations

import random
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise, permutations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.ledger import TaxBook, TaxTrade
from operators.ledger.lots import LotMethod
from operators.ledger.wash_sales import DAY_NS
from operators.money import EIGHTEEN_PLACES
from tests.builders.lots_command import HEADER, lots_csv, lots_json, run_lots

BUYS = "2023-01-10,X,BUY,100,50,0,b1\n2024-03-01,X,BUY,100,48,0,b2\n"
# Each sells both lots by one order, and nothing is bought later: no other shares replace the shares that were sold.
ONE_SALE = {
    "one fill": "2024-03-20,X,SELL,200,40,0,s1",
    "two fills": "2024-03-20,X,SELL,100,40,0,s1\n2024-03-20,X,SELL,100,40,0,s1",
    "fills that do not end with a lot": "2024-03-20,X,SELL,150,40,0,s1\n2024-03-20,X,SELL,50,40,0,s1",
    "fills at two prices": "2024-03-20,X,SELL,100,39,0,s1\n2024-03-20,X,SELL,100,41,0,s1",
    "fills at two times": "2024-03-20 10:00,X,SELL,120,40,0,s1\n2024-03-20 15:59,X,SELL,80,40,0,s1",
    "without an order id": "2024-03-20,X,SELL,100,40,0,\n2024-03-20,X,SELL,100,40,0,",
}


@pytest.mark.parametrize("name", ONE_SALE)
def test_lots_that_one_order_sells_do_not_replace_each_other(tmp_path: Path, name: str) -> None:
    fills = f"{HEADER},order_id\n{BUYS}{ONE_SALE[name]}\n"
    rows = lots_csv(tmp_path, fills, "--wash-sales", "--format", "8949")
    assert [(row["part"], row["acquired"], row["code"], row["adjustment"]) for row in rows] == [
        ("I", "03/01/2024", "", "0.00"),
        ("II", "01/10/2023", "", "0.00"),
    ]
    if "two prices" not in name:
        assert [row["gain"] for row in rows] == ["-800.00", "-1000.00"]


def test_two_orders_of_one_day_are_two_sales(tmp_path: Path) -> None:
    fills = f"{HEADER},order_id\n{BUYS}2024-03-20 10:00,X,SELL,100,40,0,s1\n2024-03-20 10:00,X,SELL,100,40,0,s2\n"
    rows = lots_csv(tmp_path, fills, "--wash-sales", "--format", "8949")
    # Lot b2 was still held when s1 sold lot b1: the loss of 1000 moves to it, with the holding period since 2023.
    assert [(row["part"], row["code"], row["adjustment"], row["gain"]) for row in rows] == [
        ("II", "W", "1000.00", "0.00"),
        ("II", "", "0.00", "-1800.00"),
    ]


def test_fills_of_one_order_on_two_days_are_two_sales_and_two_purchases(tmp_path: Path) -> None:
    """On 20 March, lot b2 was held and had been bought within 30 days. Form 8949 has a date of sale for each fill."""
    fills = f"{HEADER},order_id\n{BUYS}2024-03-20,X,SELL,100,40,0,s1\n2024-03-21,X,SELL,100,40,0,s1\n"
    matches = lots_json(tmp_path, fills, "--wash-sales")["matches"]
    assert [match["disallowed_loss"] for match in matches] == ["1000", "0"]
    fills = (
        f"{HEADER},order_id\n2024-03-01,X,BUY,10,50,0,b1\n2024-03-15,X,BUY,10,50,0,b1\n2024-03-20,X,SELL,10,40,0,s1\n"
    )
    (match,) = lots_json(tmp_path, fills, "--wash-sales")["matches"]
    assert match["disallowed_loss"] == "100"


@pytest.mark.parametrize(
    ("last_row", "is_noted"),
    [
        ("2024-04-18,Y,BUY,1,1,0,y1", True),  # a purchase on 19 April would be on the 30th day
        ("2024-04-19,Y,BUY,1,1,0,y1", False),
        ("2024-03-21,X,BUY,100,41,0,b2", False),  # the loss is disallowed as a whole
        ("2024-03-21,X,BUY,99,41,0,b2", True),
    ],
)
def test_a_loss_near_the_end_of_the_file_is_noted(tmp_path: Path, last_row: str, is_noted: bool) -> None:
    fills = f"{HEADER},order_id\n2023-01-10,X,BUY,100,50,0,b1\n2024-03-20,X,SELL,100,40,0,s1\n{last_row}\n"
    result = run_lots(tmp_path, fills, "--wash-sales")
    assert (result.exit_code, result.stderr.startswith("note: losses of X can still become")) == (0, is_noted)
    assert run_lots(tmp_path, fills).stderr == ""


def test_what_the_order_leaves_of_a_lot_is_a_replacement(tmp_path: Path) -> None:
    fills = f"{HEADER},order_id\n{BUYS}2024-03-20,X,SELL,100,40,0,s1\n2024-03-20,X,SELL,30,41,0,s1\n"
    report = lots_json(tmp_path, fills, "--wash-sales")
    # The 70 shares left of lot b2 are other shares than the 100 of lot b1; the 30 sold of b2 are of one purchase.
    assert [(m["quantity"], m["disallowed_loss"]) for m in report["matches"]] == [("100", "700"), ("30", "0")]


def test_a_purchase_between_two_fills_of_the_order_is_a_replacement(tmp_path: Path) -> None:
    fills = f"""{HEADER},order_id
2023-01-10,X,BUY,100,50,0,b1
2024-03-20 10:00,X,SELL,50,40,0,s1
2024-03-20 11:00,X,BUY,10,41,0,b2
2024-03-20 12:00,X,SELL,50,40,0,s1
"""
    report = lots_json(tmp_path, fills, "--wash-sales")
    assert sum(Decimal(m["disallowed_loss"]) for m in report["matches"]) == 100


ROWS = """2023-01-10,X,BUY,100,50,1,b1
2024-03-01,X,BUY,100,48,0,b2
2024-03-20,X,SELL,150,40,2,s1
2024-03-20,X,BUY,20,41,0,b3
2024-03-20,X,BUY,20,40,0,b4
2024-03-20,Y,SELL,5,7,0,
2024-03-20,Y,BUY,8,6,0,
2024-03-21,Y,BUY,8,6,0,
2024-03-21,Y,BUY,8,5.5,0,
2024-03-22,Y,SELL,9,5,0.5,
2024-04-02,X,SELL,60,39,0,s2
2024-04-02,X,SELL,20,39.5,0,s2
2024-04-05,X,BUY,60,38,0,b5""".splitlines()
SPLIT_ROWS = ["2024-03-21,X,3:2,", "2024-03-22,Y,1:6,30", "2024-03-23,X,2,"]


@pytest.mark.parametrize("method", ["fifo", "lifo", "hifo", "average"])
def test_any_order_of_rows_gives_the_same_lots(tmp_path: Path, method: str) -> None:
    generator, reports = random.Random(11), []
    for _ in range(12):
        fills = "\n".join([f"{HEADER},order_id", *generator.sample(ROWS, len(ROWS))])
        splits = "\n".join(["time,symbol,ratio,cash_in_lieu", *generator.sample(SPLIT_ROWS, len(SPLIT_ROWS))])
        reports.append(run_lots(tmp_path, fills, "--wash-sales", "--method", method, splits=splits).stdout)
    assert len(set(reports)) == 1 and reports[0].startswith("matches")


def split_into_fills(quantity: int, cuts: Iterable[int]) -> list[int]:
    edges = sorted({0, quantity, *(cut % quantity for cut in cuts)})
    return [end - start for start, end in pairwise(edges)]


orders = st.lists(
    st.tuples(st.integers(0, 20), st.integers(-30, 30).filter(bool), st.integers(1, 20), st.lists(st.integers(1, 29))),
    max_size=10,
)


@settings(max_examples=200)
@given(orders, st.sampled_from(["fifo", "lifo", "hifo", "average"]))
def test_an_order_in_fills_equals_an_order_in_one_fill(
    inputs: list[tuple[int, int, int, list[int]]], method: LotMethod
) -> None:
    """The fills have one price but are booked one by one, with the matches of each."""
    books = [TaxBook(method, wash_sales=True) for _ in range(2)]
    tapes: list[list[TaxTrade]] = [[], []]
    day = 0
    for number, (gap, quantity, price, cuts) in enumerate(inputs):
        day += gap
        sign = 1 if quantity > 0 else -1
        for tape, parts in zip(tapes, ([abs(quantity)], split_into_fills(abs(quantity), cuts)), strict=True):
            tape += [
                TaxTrade(
                    trade_id=f"{number}-{index}",
                    ts_ns=day * DAY_NS + number,
                    symbol="X",
                    quantity=Decimal(sign * part),
                    price=Decimal(price),
                    order_id=str(number),
                )
                for index, part in enumerate(parts)
            ]
    results = []
    for book, tape in zip(books, tapes, strict=True):
        amounts: dict[tuple[str, str, int], list[Fraction]] = {}
        for match in book.apply_events(tape):
            key = (match.open_id.partition("-")[0], match.close_order, match.term_start_ns // DAY_NS)
            sums = amounts.setdefault(key, [Fraction(0)] * 3)
            for index, amount in enumerate((match.quantity, match.gain, match.disallowed_loss)):
                sums[index] += Fraction(amount)
        results.append({key: [round(amount, 9) for amount in sums] for key, sums in amounts.items()})
    assert results[0] == results[1]


exact_amounts = st.integers(1, 10**21).map(lambda units: Decimal(units).scaleb(-18))
tapes = st.lists(
    st.tuples(st.sampled_from("XY"), st.integers(0, 15), st.booleans(), exact_amounts, exact_amounts, exact_amounts),
    max_size=12,
)


@settings(max_examples=100)
@given(tapes, st.sampled_from(["fifo", "lifo", "hifo", "average"]), st.booleans())
def test_gains_and_open_lots_sum_to_the_cash_flows(
    inputs: list[tuple[str, int, bool, Decimal, Decimal, Decimal]], method: LotMethod, wash_sales: bool
) -> None:
    book, day, cash = TaxBook(method, wash_sales=wash_sales), 0, Fraction(0)
    trades = []
    for number, (symbol, gap, is_buy, quantity, price, fee) in enumerate(inputs):
        day += gap
        signed = quantity if is_buy else -quantity
        trades.append(TaxTrade(str(number), day * DAY_NS, symbol, signed, price, fee))
        cash -= Fraction(EIGHTEEN_PLACES.multiply(signed, price)) + Fraction(fee)
    matches = book.apply_events(trades)
    gains = sum((Fraction(match.gain) for match in matches), Fraction(0))
    lots = [lot for _, _, lot in book.open_lots()]
    basis = sum((Fraction(lot.cost) + Fraction(lot.fees) + Fraction(lot.carried_loss) for lot in lots), Fraction(0))
    assert gains - basis == cash
    for match in matches:
        closed = match.closed_lot
        parts = (closed.exit_value, -closed.entry_value, -match.fees, -closed.carried_loss, match.disallowed_loss)
        assert Fraction(match.gain) == sum(map(Fraction, parts), Fraction(0))


SAME_TIME = "2024-01-02 10:00"


def entry_prices(folder: Path, header: str, rows: list[str]) -> list[str]:
    """Return the prices of the lots that sales close, first in, first out."""
    report = lots_json(folder, "\n".join([header, *rows, "2024-02-01,X,SELL,3,20,0,s1,z1"]))
    return [match["entry_price"] for match in report["matches"]]


@pytest.mark.parametrize(
    ("rows", "prices"),
    [
        # (price, order id, execution id) in the order in which the broker filled them
        ([("12", "o2", "e9"), ("11", "o1", "e10"), ("13", "o2", "e11")], ["12", "11", "13"]),
        ([("12", "9", ""), ("11", "10", ""), ("13", "11", "")], ["12", "11", "13"]),
        ([("11", "", "00a.2.01"), ("12", "", "00a.10.01"), ("10", "", "00a.10.02")], ["11", "12", "10"]),
        ([("10", "o1", ""), ("11", "o1", ""), ("12", "o1", "")], ["10", "11", "12"]),
    ],
)
def test_purchases_of_one_time_are_booked_by_execution_id_then_order_id_then_price(
    tmp_path: Path, rows: list[tuple[str, str, str]], prices: list[str]
) -> None:
    lines = [f"{SAME_TIME},X,BUY,1,{price},0,{order},{fill}" for price, order, fill in rows]
    for order in permutations(lines):
        assert entry_prices(tmp_path, f"{HEADER},order_id,id", list(order)) == prices


def test_executions_of_one_order_are_booked_by_what_they_leave_of_it(tmp_path: Path) -> None:
    """The platform writes no execution id; the first fill leaves 2 of 3 units, the last one leaves none."""
    rows = [
        f"{SAME_TIME},ord-1,,X,BUY,LIMIT,TRADE,1,{price},0,{leaves}," for price, leaves in ((12, 2), (11, 1), (13, 0))
    ]
    sale = "2024-02-01 10:00,ord-2,,X,SELL,LIMIT,TRADE,3,20,0,0,"
    for order in permutations(rows):
        fills = "\n".join(["time,order_id,id,symbol,side,type,event,quantity,price,fee,leaves,reason", *order, sale])
        assert [match["entry_price"] for match in lots_json(tmp_path, fills)["matches"]] == ["12", "11", "13"]


rows_of_one_account = st.lists(
    st.tuples(
        st.sampled_from(["2024-01-02 10:00", "2024-01-02 10:01", "2024-01-09 10:00"]),
        st.sampled_from("XY"),
        st.sampled_from(["BUY", "SELL"]),
        st.integers(1, 5),
        st.integers(1, 4),
        st.integers(0, 1),
        st.sampled_from(["", "o1", "o2", "o10"]),
    ),
    max_size=9,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=rows_of_one_account,
    with_ids=st.booleans(),
    method=st.sampled_from(["fifo", "lifo", "hifo", "average"]),
    data=st.data(),
)
def test_neither_the_order_of_rows_nor_of_files_changes_the_lots(
    tmp_path: Path, rows: list[tuple[object, ...]], with_ids: bool, method: str, data: st.DataObject
) -> None:
    lines = [",".join(map(str, (*row, f"e{number}" if with_ids else ""))) for number, row in enumerate(rows)]
    shuffled = data.draw(st.permutations(lines))
    cut = data.draw(st.integers(0, len(lines)))
    header, other = f"{HEADER},order_id,id", tmp_path / "other.csv"
    reports = []
    for first, second in ((lines, []), (shuffled[:cut], shuffled[cut:]), (shuffled[cut:], shuffled[:cut])):
        other.write_text("\n".join([header, *second]))
        options = ("--fills", str(other), "--method", method, "--wash-sales")
        result = run_lots(tmp_path, "\n".join([header, *first]), *options)
        assert result.exit_code == 0, result.output
        reports.append(result.output)
    assert reports[0] == reports[1] == reports[2]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_shuffled_files_of_random_trades_give_the_same_report(tmp_path: Path, data: st.DataObject) -> None:
    days = st.integers(1, 28)
    row = st.tuples(days, st.sampled_from("XY"), st.sampled_from(["BUY", "SELL"]), st.integers(1, 9), st.integers(1, 9))
    rows = data.draw(st.lists(row, max_size=10))
    lines = [f"2024-01-{day:02},{symbol},{side},{quantity},{price},0" for day, symbol, side, quantity, price in rows]
    shuffled = data.draw(st.permutations(lines))
    report = "lot-report"
    first = run_lots(tmp_path, "\n".join([HEADER, *lines]), "--wash-sales", "--format", report).stdout
    second = run_lots(tmp_path, "\n".join([HEADER, *shuffled]), "--wash-sales", "--format", report).stdout
    assert first == second and first.startswith("symbol,status,")

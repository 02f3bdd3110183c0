"""Settlement, interest, borrow fees and dividends: worked cases, and a month computed night by night."""

from __future__ import annotations

import pickle
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.ledger import CashDividend, Ledger
from operators.ledger.cash import Accruals, AccrualSettings, Charge, Dividends, SettledCash, ShortPosition
from schemas.errors import BadInput, InvalidField
from tests.builders.trades import decimals, trade

FRIDAY = date(2024, 5, 31).toordinal()
MONDAY = FRIDAY + 3


def test_a_sale_settles_on_the_next_session_a_purchase_is_spent_immediately() -> None:
    cash = SettledCash(Decimal(1000))
    cash.book_trade(Decimal(-400))
    cash.book_trade(Decimal(500))
    assert (cash.settled, cash.unsettled) == decimals("600 500")
    cash.start_session()
    assert (cash.settled, cash.unsettled) == decimals("1100 0")


def test_cash_settles_after_two_days() -> None:
    cash = SettledCash(Decimal(0), days=2)
    cash.book_trade(Decimal(1))
    cash.start_session()
    cash.book_trade(Decimal(10))
    assert (cash.settled, cash.unsettled) == decimals("0 11")
    cash.start_session()
    assert (cash.settled, cash.unsettled) == decimals("1 10")
    shorter = SettledCash(Decimal(0), days=1)
    shorter.restore(cash.snapshot())
    assert (shorter.settled, shorter.unsettled) == decimals("1 10")


moves = st.lists(
    st.one_of(
        st.tuples(st.just("trade"), st.integers(-50, 50).filter(bool)),
        st.tuples(st.just("session"), st.just(0)),
        st.tuples(st.just("credit"), st.integers(-5, 5)),
    ),
    max_size=25,
)


@given(moves, st.integers(0, 3))
def test_settled_and_unsettled_are_the_ledgers_cash(inputs: list[tuple[str, int]], days: int) -> None:
    ledger, cash, sales, session = Ledger(Decimal(100)), SettledCash(Decimal(100), days=days), [], 0
    for seq, (kind, amount) in enumerate(inputs, start=1):
        before = ledger.cash
        if kind == "trade":
            ledger.apply(trade(seq, amount, "10.01", "0.35"))
            cash.book_trade(ledger.cash - before)
            if ledger.cash > before:
                sales.append((session, ledger.cash - before))
        elif kind == "credit":
            ledger.credit(Decimal(amount))
            cash.book_income(Decimal(amount))
        else:
            cash.start_session()
            session += 1
        restored = SettledCash(Decimal(0), days=days)
        restored.restore(pickle.loads(pickle.dumps(cash.snapshot())))  # noqa: S301 our own bytes
        cash = restored
        assert cash.settled + cash.unsettled == ledger.cash
        assert cash.unsettled == sum(
            (proceeds for sale_session, proceeds in sales if session < sale_session + days), Decimal(0)
        )


def test_a_weekend_is_three_nights_and_the_month_is_due_at_its_first_close() -> None:
    """A short of 100 at 49.50 costs 0.51 a night, a debit of 36,000 at 6 % / 360 costs 6 a night.

    The collateral per share is 51 (1.02 x 49.50, rounded up to a dollar). The fee is 5100 x 3.6 % / 360.
    """
    accruals = Accruals(AccrualSettings(borrow_rates={"X": Decimal("0.036")}))
    short = {"X": ShortPosition(Decimal(100), Decimal("49.50"))}
    assert accruals.close_day(FRIDAY - 1, Decimal(-36_000), short) == []
    assert accruals.close_day(FRIDAY, Decimal(-36_000), short) == []
    assert accruals.accrued == Decimal("-6.51")
    assert accruals.close_day(MONDAY, Decimal(5_000), {}) == [
        Charge(MONDAY, "BORROW_FEE", "X", Decimal("-2.04")),
        Charge(MONDAY, "MARGIN_INTEREST", "", Decimal("-24")),
    ]
    assert accruals.accrued == 0
    assert accruals.close_day(MONDAY + 1, Decimal(0), {}) == [], "no interest is paid on credit unless set"


evenings = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.integers(-100_000, 100_000),
        st.dictionaries(st.sampled_from("AB"), st.tuples(st.integers(1, 500), st.integers(1, 20_000))),
    ),
    max_size=30,
)


@given(evenings)
def test_any_evenings_equal_a_sum_night_by_night(inputs: list[tuple[int, int, dict[str, tuple[int, int]]]]) -> None:
    settings = AccrualSettings(credit_rate=Decimal("0.01"), borrow_rates={"A": Decimal("0.25")})
    accruals, paid, day, naive, nights = Accruals(settings), Decimal(0), FRIDAY, Fraction(0), 0
    evening: tuple[int, dict[str, tuple[int, int]]] = (0, {})
    for gap, cash, drawn_shorts in inputs:
        for _ in range(gap):  # each night between the last evening and this one
            debit, shorts = evening
            naive += Fraction(debit) * (Fraction(6, 100) if debit < 0 else Fraction(1, 100)) / 360
            for symbol, (quantity, cents) in shorts.items():
                collateral = -(-(Fraction(cents, 100) * Fraction(102, 100)) // 1)
                naive -= quantity * collateral * (Fraction(1, 4) if symbol == "A" else Fraction(3, 1000)) / 360
            nights += 3
        day += gap
        short_positions = {s: ShortPosition(Decimal(q), Decimal(cents) / 100) for s, (q, cents) in drawn_shorts.items()}
        restored = Accruals(settings)
        restored.restore(pickle.loads(pickle.dumps(accruals.snapshot())))  # noqa: S301 our own bytes
        accruals = restored
        paid += sum((charge.amount for charge in accruals.close_day(day, Decimal(cash), short_positions)), Decimal(0))
        evening = (cash, drawn_shorts)
    assert abs(Fraction(paid + accruals.accrued) - naive) <= Fraction(nights + 1, 10**9)


def test_day_out_of_order_is_rejected() -> None:
    accruals = Accruals()
    accruals.close_day(MONDAY, Decimal(0), {})
    with pytest.raises(InvalidField, match="day must be after 2024-06-03, found 2024-05-31"):
        accruals.close_day(FRIDAY, Decimal(0), {})


def test_dividend_is_paid_to_longs_and_charged_to_shorts_of_the_ex_date() -> None:
    dividends = Dividends()
    dividends.record_ex_date(
        CashDividend(action_id="d1", ex_day=FRIDAY, pay_day=MONDAY, symbol="X", per_share=Decimal("0.25")), Decimal(100)
    )
    dividends.record_ex_date(
        CashDividend(action_id="d2", ex_day=FRIDAY, pay_day=MONDAY + 1, symbol="Y", per_share=Decimal("0.10")),
        Decimal(-30),
    )
    dividends.record_ex_date(
        CashDividend(action_id="d2", ex_day=FRIDAY, pay_day=MONDAY + 1, symbol="Y", per_share=Decimal("0.10")),
        Decimal(-30),
    )
    dividends.record_ex_date(
        CashDividend(action_id="d3", ex_day=FRIDAY, pay_day=MONDAY, symbol="Z", per_share=Decimal("9")), Decimal(0)
    )
    assert dividends.receivable == Decimal("22")
    assert dividends.pop_due(FRIDAY) == []
    assert dividends.pop_due(MONDAY) == [
        Charge(day=MONDAY, kind="DIVIDEND", symbol="X", amount=Decimal(25), cause_id="d1")
    ]
    restored = Dividends()
    restored.restore(pickle.loads(pickle.dumps(dividends.snapshot())))  # noqa: S301 our own bytes
    ledger = Ledger(Decimal(0))
    for charge in restored.pop_due(MONDAY + 5):
        assert charge.kind == "SHORT_DIVIDEND"
        ledger.credit(charge.amount)
    assert (ledger.cash, ledger.income, restored.receivable) == decimals("-3 -3 0")


@pytest.mark.parametrize(("per_share", "pay_day"), [("-1", MONDAY), ("NaN", MONDAY), ("1", FRIDAY - 1)])
def test_invalid_dividend_is_rejected(per_share: str, pay_day: int) -> None:
    with pytest.raises(InvalidField, match=r"^d: per_share"):
        Dividends().record_ex_date(
            CashDividend(action_id="d", ex_day=FRIDAY, pay_day=pay_day, symbol="X", per_share=Decimal(per_share)),
            Decimal(1),
        )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("margin_rate", Decimal(-1)),
        ("borrow_rate", Decimal("NaN")),
        ("borrow_rates", {"X": Decimal(-1)}),
        ("collateral", Decimal("0.9")),
        ("year_days", 364),
    ],
)
def test_invalid_setting_is_reported(field: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"accruals {field}"):
        AccrualSettings(**{field: value})


def test_negative_settlement_days_are_rejected() -> None:
    with pytest.raises(BadInput, match="settlement days"):
        SettledCash(Decimal(0), days=-1)

"""The decision hash is equal for equal decisions in any text or format, and different for different decisions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from operators.decision_hash import DecisionHash, canonical_text, decision_hash
from schemas.records import BUY, SUSPENDED, CheckResult, Lot, StrategySuspension
from schemas.records.flat import from_flat, to_flat, to_flat_dict
from tests.builders import (
    bar,
    execution,
    fence,
    lot_match,
    order,
    position,
    refusal,
    signal,
    strategy_action,
    valuation,
)

D = Decimal
ORDER = order(1, BUY, 5, "A", ts_ns=60, risk_epoch=1, checks=[CheckResult("cash", "1", "2")])
FENCE = fence(2, epoch=2, ts_ns=120, reason="test", cause_id="c1")
FILL = execution(1, 120, "A", 5, 10.5, "1.25", bar_seq=1)
MATCH = lot_match(
    3, 180, "A", match_id="m1", quantity=2, entry_price=10, exit_price=11, pnl=2, fees="0.5", opened_ns=120
)
POSITION = position(1, 120, "A", 5, 10.5, fees="1.25")
LOT = Lot(
    seq=2, ts_ns=120, lot_id="lot-1", symbol="A", opened_ns=120, quantity=D(5), price=D("10.5"), execution_id="exe-1"
)
VALUATION = valuation(1, 120, 100, cash=46.25, gross_exposure=54, unrealized_pnl=1.5, fees=1.25, open_positions=1)
DECISION_RECORDS: list[Any] = [ORDER, FENCE, FILL, MATCH, POSITION, LOT, VALUATION]


def test_hash_equals_the_pinned_value() -> None:
    """Two releases are comparable only if the hash function stays the same."""
    assert decision_hash(DECISION_RECORDS) == "b8207d31136b28eaed76d905e126b9b02edc0d7938d68ae8658d59e58c38e945"


def test_reworded_prose_does_not_change_the_hash() -> None:
    reworded = [
        FENCE._replace(reason="worded by another release") if record is FENCE else record for record in DECISION_RECORDS
    ]
    reworded = [FILL._replace(text="filled at the open") if record is FILL else record for record in reworded]
    assert reworded != DECISION_RECORDS
    assert decision_hash(reworded) == decision_hash(DECISION_RECORDS)


def test_trailing_zeros_do_not_change_the_hash() -> None:
    def padded(value: Any) -> Any:
        return value.quantize(D("0.000000001")) if isinstance(value, Decimal) else value

    padded_records = [from_flat(type(r), map(padded, to_flat(r))) for r in DECISION_RECORDS]
    assert decision_hash(padded_records) == decision_hash(DECISION_RECORDS)


def test_hash_depends_on_order_only_within_a_record_type() -> None:
    assert decision_hash(reversed(DECISION_RECORDS)) == decision_hash(DECISION_RECORDS)
    second = FILL._replace(seq=2, execution_id="exe-2")
    assert decision_hash([FILL, second]) != decision_hash([second, FILL])


@pytest.mark.parametrize(
    ("record", "change"),
    [
        (record, {name: value})
        for record, names in [
            (
                ORDER,
                ("seq", "ts_ns", "order_id", "cause_id", "symbol", "side", "quantity", "limit_price", "risk_epoch"),
            ),
            (FENCE, ("ts_ns", "epoch", "state", "cause_id")),
            (FILL, ("ts_ns", "price", "quantity", "fee", "filled_at_ns", "exec_type")),
            (MATCH, ("pnl", "fees", "quantity", "lot_id")),
            (POSITION, ("quantity", "cost_basis", "realized_pnl", "fees")),
            (LOT, ("quantity", "price", "lot_id")),
            (VALUATION, ("cash",)),
        ]
        for name in names
        for value in [
            "other"
            if isinstance(to_flat_dict(record)[name], str)
            else D("7.7")
            if isinstance(to_flat_dict(record)[name], Decimal | None)
            else 99
        ]
    ],
)
def test_any_other_decision_gives_another_hash(record: Any, change: dict[str, Any]) -> None:
    changed_record = from_flat(type(record), (to_flat_dict(record) | change).values())
    changed = [changed_record if r is record else r for r in DECISION_RECORDS]
    assert decision_hash(changed) != decision_hash(DECISION_RECORDS)


def test_a_missing_record_of_any_kind_gives_another_hash() -> None:
    for record in DECISION_RECORDS:
        assert decision_hash([r for r in DECISION_RECORDS if r is not record]) != decision_hash(DECISION_RECORDS)


def test_other_records_do_not_change_the_hash() -> None:
    other_records: list[Any] = [bar("A", 1, 60), signal("A", 1, 60), refusal(1, 60, "A")]
    assert decision_hash([*DECISION_RECORDS, *other_records]) == decision_hash(DECISION_RECORDS)
    repriced = VALUATION._replace(unrealized_pnl=D(9), equity=D(9))
    assert decision_hash([repriced if r is VALUATION else r for r in DECISION_RECORDS]) == decision_hash(
        DECISION_RECORDS
    ), "marks are not decisions"


def test_closed_lot_adds_only_its_matches() -> None:
    closed = LOT._replace(seq=9, quantity=D(0))
    assert decision_hash([ORDER, LOT, closed]) == decision_hash([ORDER])


def test_order_checks_do_not_change_the_hash() -> None:
    assert decision_hash([ORDER._replace(checks=[])]) == decision_hash([ORDER])


def test_a_suspension_for_an_exceeded_time_limit_changes_the_hash_and_its_wording_does_not() -> None:
    arguments = {"error_type": "HandlerTimeLimit", "message": "5 s", "file": "/srv/own.py", "line": "3"}
    timeout = strategy_action(SUSPENDED, "", ts_ns=60)._replace(arguments=arguments)
    raised = timeout._replace(arguments={**arguments, "error_type": "ValueError"})
    reworded = timeout._replace(arguments={**arguments, "message": "five seconds", "file": "own.py", "line": "4"})
    view = StrategySuspension("A", 1, 60, "view", "SUSPENDED", "feat-A-1", "HandlerTimeLimit", "5 s", "view.py", 7)
    base = decision_hash(DECISION_RECORDS)
    assert decision_hash([*DECISION_RECORDS, raised]) == base
    assert decision_hash([*DECISION_RECORDS, timeout]) == decision_hash([reworded, *DECISION_RECORDS]) != base
    assert decision_hash([view, timeout]) == decision_hash([timeout, view]) != decision_hash([timeout])


def test_the_state_of_a_hash_without_time_limits_is_continued() -> None:
    """A version 2 state has one element less."""
    before, after = DecisionHash(), DecisionHash()
    for record in DECISION_RECORDS:
        before.add(record)
    after.restore((2, *before.snapshot()[1:5]))
    assert after.hexdigest() == decision_hash(DECISION_RECORDS)


@pytest.mark.parametrize("cut", range(len(DECISION_RECORDS) + 1))
def test_a_restart_anywhere_gives_the_same_hash(cut: int) -> None:
    before, after = DecisionHash(), DecisionHash()
    for record in DECISION_RECORDS[:cut]:
        before.add(record)
    after.restore(before.snapshot())
    for record in DECISION_RECORDS[cut:]:
        after.add(record)
    assert after.hexdigest() == decision_hash(DECISION_RECORDS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(D("0E-9"), "0"), (D("-0"), "0"), (D("1E+3"), "1000"), (D("0.10"), "0.1"), (None, "-"), (7, "7"), ("x", "x")],
)
def test_equal_values_have_one_text(value: Any, expected: str) -> None:
    assert canonical_text(value) == expected


@pytest.mark.parametrize(
    "text", ["0", "-0.000", "100", "1E+4", "-1200.500", "1E-9", "0.000000012", "9" * 30, "1.5E+30"]
)
def test_a_number_has_one_text_whatever_its_exponent(text: str) -> None:
    number = Decimal(text)
    assert canonical_text(number) == (f"{number.normalize():f}" if number else "0")

"""The positions that `verify` accepts from a broker around the time of trades."""

from __future__ import annotations

from decimal import Decimal

from deploy.verification.broker import ANY_ORDER_MAX, _possible_sums


def test_the_broker_may_have_booked_any_of_the_trades_of_the_window() -> None:
    """Two trades with one time: the ledger booked 17 first, the broker 5."""
    trades = [Decimal(5), Decimal(17)]  # newest first
    assert _possible_sums(Decimal(17), trades) == {Decimal(17), Decimal(22), Decimal(34), Decimal(39)}
    assert _possible_sums(Decimal(3), []) == {Decimal(3)}


def test_the_newest_of_very_many_trades_follow_in_order() -> None:
    newest_first = [Decimal(1000), Decimal(100), *[Decimal(1)] * ANY_ORDER_MAX]
    sums = _possible_sums(Decimal(0), newest_first)
    assert sums == {Decimal(n) for n in range(ANY_ORDER_MAX + 1)} | {Decimal(112), Decimal(1112)}

"""A cancel or amendment that loses a race is answered with what won, and applies to the order that lives."""

from __future__ import annotations

import pickle
from decimal import Decimal

import pytest

from operators.portfolio import PortfolioStage
from operators.risk import RiskSettings, RiskStage
from operators.trading_loop import TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.records import AMEND_ORDER, CANCEL_ORDER, SUBMIT_ORDER, TRADE, Command, Execution, OrderRefusal, Record
from tests.builders import bar, command
from tests.builders.market import MINUTE_NS

TERMS = {"symbol": "X", "side": "BUY", "quantity": "100", "order_type": "LIMIT", "limit_price": "90"}


def submit(name: str) -> Command:
    return command(name, kind=SUBMIT_ORDER, arguments={**TERMS, "time_in_force": "GTC"})


def amend(name: str, order_id: str = "ord-cmd-a", **changes: str) -> Command:
    return command(name, kind=AMEND_ORDER, arguments={"order_id": order_id, **changes})


def cancel(name: str, order_id: str = "ord-cmd-a") -> Command:
    return command(name, kind=CANCEL_ORDER, arguments={"order_id": order_id})


def trading_loop() -> TradingLoop:
    venue = VenueStage(VenueSettings(fee_model="none", slippage_bps=Decimal(0)))
    return TradingLoop(venue, PortfolioStage(), RiskStage(RiskSettings.unlimited()))


def run(prices: list[float], commands: dict[int, list[Command]], *, restart: bool) -> list[Record]:
    """Run one bar a minute, flat at its price. `commands` are by minute, from 1."""
    loop, output = trading_loop(), []
    for minute, price in enumerate(prices, 1):
        if restart:
            state = pickle.dumps(loop.snapshot())
            loop = trading_loop()
            loop.restore(pickle.loads(state))  # noqa: S301 - our own snapshot
        ts_ns = minute * MINUTE_NS
        output += loop.on_slice(ts_ns, [*commands.get(minute, []), bar("X", minute, ts_ns, price)])
    return output


def lines(output: list[Record]) -> list[str]:
    reports = [f"{e.order_id} {e.exec_type}" for e in output if isinstance(e, Execution) and e.exec_type != "NEW"]
    return reports + [f"{r.cause_id}: {r.message}" for r in output if isinstance(r, OrderRefusal)]


@pytest.mark.parametrize("restart", [False, True])
def test_a_cancel_by_the_old_id_after_an_amendment_cancels_the_successor(restart: bool) -> None:
    first, second = amend("cmd-b", limit_price="95"), cancel("cmd-c")
    output = run([100, 100, 100, 94, 94], {1: [submit("cmd-a")], 3: [first, second]}, restart=restart)
    assert lines(output) == ["ord-cmd-a REPLACED", "ord-cmd-b CANCELED"]
    # The same, when the venue has already replaced the order.
    output = run([100, 100, 100, 100, 100, 94], {1: [submit("cmd-a")], 3: [first], 4: [second]}, restart=restart)
    assert lines(output) == ["ord-cmd-a REPLACED", "ord-cmd-b CANCELED"]


@pytest.mark.parametrize("restart", [False, True])
def test_an_amendment_after_a_cancel_is_rejected_with_what_won(restart: bool) -> None:
    output = run(
        [100] * 5, {1: [submit("cmd-a")], 3: [cancel("cmd-c"), amend("cmd-b", limit_price="95")]}, restart=restart
    )
    assert lines(output) == ["ord-cmd-a CANCELED", "ord-cmd-b REJECTED"]
    [rejected] = [e for e in output if isinstance(e, Execution) and e.exec_type == "REJECTED"]
    assert rejected.text == "order to replace is not open: ord-cmd-a is cancelled"


@pytest.mark.parametrize("restart", [False, True])
def test_a_command_for_a_filled_order_is_refused_with_what_won(restart: bool) -> None:
    late: dict[int, list[Command]] = {1: [submit("cmd-a")], 5: [cancel("cmd-c"), amend("cmd-b", limit_price="95")]}
    answer = "open_order: X order ord-cmd-a has already ended: filled"
    assert lines(run([100, 90, 90, 90, 90], late, restart=restart)) == [
        f"ord-cmd-a {TRADE}",
        f"cmd-c: {answer}",
        f"cmd-b: {answer}",
    ]


@pytest.mark.parametrize("restart", [False, True])
def test_a_command_for_an_ended_order_names_the_end_of_its_successor(restart: bool) -> None:
    commands = {1: [submit("cmd-a")], 3: [amend("cmd-b", limit_price="95")], 6: [cancel("cmd-c")]}
    output = run([100, 100, 100, 94, 94, 94], commands, restart=restart)
    assert lines(output) == [
        "ord-cmd-a REPLACED",
        f"ord-cmd-b {TRADE}",
        "cmd-c: open_order: X order ord-cmd-a has already ended: replaced by ord-cmd-b, filled",
    ]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("minute", [3, 4])
def test_a_second_amendment_by_the_old_id_keeps_the_changes_of_the_first(minute: int, restart: bool) -> None:
    commands = {1: [submit("cmd-a")], 3: [amend("cmd-b", limit_price="95")]}
    commands[minute] = [*commands.get(minute, []), amend("cmd-d", quantity="50")]
    output = run([100, 100, 100, 100, 100, 94], commands, restart=restart)
    [trade] = [e for e in output if isinstance(e, Execution) and e.exec_type == TRADE]
    assert (trade.order_id, trade.quantity, trade.price) == ("ord-cmd-d", Decimal(50), Decimal(94))
    assert lines(output) == ["ord-cmd-a REPLACED", "ord-cmd-b REPLACED", f"ord-cmd-d {TRADE}"]

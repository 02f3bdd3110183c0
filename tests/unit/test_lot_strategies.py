"""Each closed lot names the strategy of the order that opened it, whoever closes it."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

from operators.ledger import Ledger
from operators.ledger.events import to_ledger_event
from operators.portfolio.order_strategies import PROPOSALS_MAX, OrderStrategies
from schemas.records import LotMatch
from tests.builders import command, corporate_action, execution
from tests.unit.trading_desk import TradingDesk
from tests.unit.trading_harness import Scripted

D = Decimal


class Named(Scripted):
    def __init__(self, name: str, act: Any) -> None:
        super().__init__(act)
        self.name = name


def buying(name: str, units: int, *, by_target: bool) -> Named:
    """A strategy that buys KO in the first minute, by a target or by an order of its own."""

    def act(ctx: Any, number: int) -> None:
        if number == 1 and by_target:
            ctx.target_quantity("KO", units)
        elif number == 1:
            ctx.submit("KO", "BUY", units)

    return Named(name, act)


def sale(units: int) -> Any:
    return command("cmd-s", 1, "SUBMIT_ORDER", {"symbol": "KO", "side": "SELL", "quantity": str(units)})


def closed_lots(desk: TradingDesk) -> list[tuple[str, float]]:
    return [(one.strategy, float(one.quantity)) for one in desk.of(LotMatch)]


def test_a_manual_sale_closes_lots_of_the_strategies_that_opened_them() -> None:
    """Also after a restart with the lots and the orders open."""
    strategies = (buying("first", 60, by_target=False), buying("second", 40, by_target=True))
    desk, restarted = TradingDesk(*strategies), TradingDesk(*strategies)
    desk.step(1, KO=100.0)
    restarted.restore(desk.snapshot())
    restarted.minute = desk.minute
    for one in (desk, restarted):
        one.step(2, KO=100.0)
        one.step(2, sale(100), KO=110.0)
    assert sorted(closed_lots(desk)) == [("first", 60), ("second", 40)]
    assert restarted.of(LotMatch) == desk.of(LotMatch)


def test_a_lot_of_an_order_for_several_strategies_names_all_of_them() -> None:
    def views(ctx: Any, number: int) -> None:
        if number == 1:
            ctx.target_view("KO", 1, 1.0)

    desk = TradingDesk(Named("first", views), Named("second", views))
    desk.step(3, KO=100.0)
    desk.step(2, sale(150), KO=110.0)
    assert closed_lots(desk) == [("first+second", 150)]


def test_distributed_shares_keep_the_strategy_of_their_lot() -> None:
    spin_off = corporate_action(
        "spin", "SPIN_OFF", "KO", ts_ns=0, new_symbol="NEW", ratio=D("0.5"), cost_share=D("0.2"), amount=D(20)
    )
    ledger = Ledger(D(100_000))
    ledger.apply(execution(1, 1, "KO", 5, 100), strategy="first")
    event = to_ledger_event(spin_off, 2, ledger.quantity("KO"))
    assert event is not None
    records = ledger.apply_action(event)
    records += ledger.apply(execution(2, 3, "NEW", -2, 30))
    assert [one.strategy for one in records if type(one) is LotMatch] == ["first", "first"], "fraction and sale"


def test_a_ledger_of_an_earlier_release_closes_its_lots_without_a_strategy() -> None:
    ledger = Ledger(D(100_000))
    ledger.apply(execution(1, 1, "KO", 5, 100), strategy="first")
    version, totals, seq, execution_seq, rates, positions = pickle.loads(pickle.dumps(ledger.snapshot()))  # noqa: S301
    assert version == 4
    earlier = [
        (symbol, pnl, fees, (method, sums, [lot[:10] for lot in lots]))
        for symbol, pnl, fees, (method, sums, lots) in positions
    ]
    upgraded = Ledger(D(100_000))
    upgraded.restore((3, totals, seq, execution_seq, rates, earlier))
    records = upgraded.apply(execution(2, 2, "KO", -5, 110), strategy="second")
    assert [one.strategy for one in records if type(one) is LotMatch] == [""]
    assert [one._replace(strategy="first") if type(one) is LotMatch else one for one in records] == ledger.apply(
        execution(2, 2, "KO", -5, 110)
    )


def test_only_the_last_proposals_of_a_symbol_are_remembered() -> None:
    strategies = OrderStrategies()
    for number in range(10):
        strategies.record("KO", f"prop-{number}", "first")
    ((symbol, proposals),) = strategies.snapshot()
    assert (symbol, len(proposals)) == ("KO", PROPOSALS_MAX)
    report = execution(1, 1, "KO", 5, 100)._replace(cause_id="prop-9")
    assert strategies.of(report) == "first"
    assert strategies.of(report._replace(cause_id="prop-0")) == ""
    assert strategies.of(report._replace(cause_id="cmd-1", order_id="ord-cmd-1")) == "manual"

"""Risk rejects an order under an old name by a sentence that names the present symbol, until the name is used again."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest

from operators.ended_symbols import NAMES_MAX, EndedSymbols
from operators.risk import RiskSettings, RiskStage
from schemas.records import (
    BUY,
    CASH_MERGER,
    DELISTING,
    SPIN_OFF,
    STOCK_MERGER,
    SUBMIT_ORDER,
    SYMBOL_CHANGE,
    Order,
    OrderRefusal,
    Record,
)
from tests.builders import bar, command, corporate_action
from tests.unit.trading_harness import DAY, minute

RENAME = corporate_action("r", SYMBOL_CHANGE, "FB", ex_date=DAY, new_symbol="META")
DELISTED = corporate_action("d", DELISTING, "FB", ex_date=DAY, amount=1)


def manual(number: int, symbol: str) -> Record:
    arguments = {"symbol": symbol, "side": BUY, "quantity": "1", "order_type": "MARKET"}
    return command(f"c{number}", minute(number), kind=SUBMIT_ORDER, arguments=arguments)


def run(stage: RiskStage, number: int, *records: Record, **closes: float) -> list[Any]:
    """Process the minute `number`: its records, and a bar of each symbol. Return the decisions on orders."""
    bars = [bar(symbol, number, minute(number), close, day=DAY) for symbol, close in closes.items()]
    changes = [one for one in records if type(one).__name__ == "CorporateAction"]
    others = [one for one in records if one not in changes]
    out = stage.on_slice(minute(number), [*changes, *others, *bars])
    return [one for one in out if type(one) in (Order, OrderRefusal)]


def stage_with(*changes: Record, later: str = "META") -> RiskStage:
    """Return the stage after a minute of FB and a second one with `changes` and bars of `later`."""
    stage = RiskStage(RiskSettings.unlimited())
    run(stage, 1, FB=300.0, KO=60.0)
    run(stage, 2, *changes, **{later: 300.0, "KO": 60.0})
    return stage


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (RENAME, "ended_symbol: FB is META since 2024-01-02; order META"),
        (RENAME._replace(ex_date=0), "ended_symbol: FB is META since 2024-01-02; order META"),
        (RENAME._replace(kind=STOCK_MERGER, ratio=Decimal(2)), "ended_symbol: FB is META since 2024-01-02; order META"),
        (DELISTED, "ended_symbol: FB was delisted on 2024-01-02"),
        (DELISTED._replace(kind=CASH_MERGER), "ended_symbol: FB was delisted on 2024-01-02"),
    ],
)
def test_a_manual_order_under_an_old_name_is_rejected_and_the_message_names_the_present_symbol(
    change: Record, message: str
) -> None:
    """The price of FB is two minutes old, and there is no limit of its age."""
    [refused, approved] = run(stage_with(change), 3, manual(3, "FB"), manual(4, "META"), META=300.0, KO=60.0)
    assert (refused.check, refused.message) == ("ended_symbol", message)
    assert isinstance(approved, Order) and "ended_symbol" not in [one.check for one in approved.checks]


def test_an_order_in_the_time_slice_of_the_change_is_rejected() -> None:
    stage = RiskStage(RiskSettings.unlimited())
    run(stage, 1, FB=300.0)
    [refused] = run(stage, 2, RENAME, manual(2, "FB"), META=300.0)
    assert refused.check == "ended_symbol"


def test_the_message_names_the_last_of_several_names() -> None:
    stage = stage_with(RENAME)
    second = RENAME._replace(action_id="r2", symbol="META", new_symbol="ZZ", ex_date=0)
    [refused] = run(stage, 3, second, manual(3, "FB"), ZZ=300.0)
    assert refused.message == "ended_symbol: FB is ZZ since 2024-01-02; order ZZ"


def test_a_company_that_gets_its_old_name_back_trades_under_it() -> None:
    stage = stage_with(RENAME)
    back = RENAME._replace(action_id="r2", symbol="META", new_symbol="FB", ex_date=0)
    [approved, refused] = run(stage, 3, back, manual(3, "FB"), manual(4, "META"), FB=300.0)
    assert isinstance(approved, Order)
    assert refused.message == "ended_symbol: META is FB since 2024-01-02; order FB"


def test_the_first_trade_of_another_company_ends_the_rejections() -> None:
    stage = stage_with(RENAME)
    untraded = bar("FB", 3, minute(3), 300.0, day=DAY, traded=False)
    [refused] = [one for one in stage.on_slice(minute(3), [manual(3, "FB"), untraded]) if type(one) is OrderRefusal]
    assert refused.check == "ended_symbol", "the feed repeats the last close of the old company"
    [approved] = run(stage, 4, manual(4, "FB"), FB=9.0)
    assert isinstance(approved, Order)


def test_the_number_of_names_is_bounded() -> None:
    ended = EndedSymbols()
    ended.apply([RENAME._replace(symbol=f"S{number}") for number in range(NAMES_MAX + 5)], ())
    assert len(ended.snapshot()[1]) == NAMES_MAX
    assert ended.find("S4") is None and ended.find("S5") is not None


def test_a_change_from_before_the_first_bar_of_a_symbol_does_not_count() -> None:
    stage = RiskStage(RiskSettings.unlimited())
    [approved] = run(stage, 1, RENAME._replace(ex_date=20220609), manual(1, "FB"), FB=9.0)
    assert isinstance(approved, Order)


@pytest.mark.parametrize("number", [1, 2])
def test_a_restart_changes_no_decision(number: int) -> None:
    stage = stage_with(*([RENAME] if number == 2 else []))
    restored = RiskStage(RiskSettings.unlimited())
    restored.restore(pickle.loads(pickle.dumps(stage.snapshot())))  # noqa: S301  (written above)
    changes = [] if number == 2 else [RENAME._replace(ex_date=0)]
    found = [run(one, 3, *changes, manual(3, "FB"), META=300.0) for one in (stage, restored)]
    assert found[0] == found[1] and found[0][0].check == "ended_symbol"


def test_shares_that_are_distributed_under_an_old_name_can_be_ordered_at_their_own_price() -> None:
    stage = stage_with(RENAME)
    spin = corporate_action("s", SPIN_OFF, "KO", new_symbol="FB", ratio="0.5", cost_share="0.2")
    [approved] = run(stage, 3, spin, manual(3, "FB"), KO=48.0, META=300.0)
    assert isinstance(approved, Order)
    assert stage.book.last_bars["FB"].close == 24.0, "a fifth of 60 for half a share, not the 300 of the old company"
    stage.on_slice(minute(4), [bar("FB", 4, minute(4), 300.0, day=DAY, traded=False)])
    assert stage.book.last_bars["FB"].close == 24.0, "the feed repeats the last close of the old company"
    run(stage, 5, FB=25.0)
    assert stage.book.last_bars["FB"].close == 25.0

"""A stage that is restored at any time slice continues alike, and an unchanged stage is a function of its inputs."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.strategies import at, every
from operators.trading.stage import TradingStrategyStage
from schemas.records import BUY, CANCELED, NEW, REPLACED, SELL, SUSPENDED, TRADE, Record, StrategyAction
from tests.builders import (
    cash_transfer,
    command,
    corporate_action,
    feature_row,
    fundamentals,
    order,
    prediction,
    proposal,
    refusal,
    report,
    sentiment_score,
)
from tests.unit.trading_harness import DAY, Recording, bars, minute, session, stage_of

SETTINGS: dict[str, Any] = {"sessions": {"XNYS": {DAY: session()}}, "flatten_on_error": frozenset({"fragile"})}


class Busy(Recording):
    """Use every kind of memory: state, orders, histories, indicators, timers and warm-up."""

    name = "busy"
    history = {"1m": 3, "5m": 2}  # noqa: RUF012  (never changed)
    features = {"1m": ("sma_2",), "5m": ("ema_2", "macd_2_3_2")}  # noqa: RUF012  (never changed)
    warm_up = 2

    def __init__(self) -> None:
        super().__init__(self._step)

    @staticmethod
    def _step(ctx: Any, number: int) -> None:
        closes = ctx.history("KO", "5m")["close"].tolist()
        ctx.state["closes"] = closes
        ctx.note(
            f"{number} {closes} {ctx.feature('KO', 'ema_2', '5m')} {ctx.feature('KO', 'macd_2_3_2_signal', '5m')} "
            f"{ctx.position('KO'):g} {ctx.equity:.2f} {ctx.cash:.2f} {len(ctx.orders())} {ctx.sentiment('KO') is None} "
            f"{ctx.fundamentals('KO') is None} {ctx.prediction('KO') is None} {ctx.session.minutes_to_close}"
        )
        if number == 1:
            ctx.target_weight("KO", 0.1)  # too early
        elif number == 3:
            ctx.state["id"] = ctx.submit("KO", BUY, 10, limit_price=99, take_profit=110, stop_loss=90)
        elif number == 5:
            ctx.amend(ctx.state["id"], limit_price=101)
        elif number == 8:
            ctx.target_weight("PEP", 0.25)
        elif number == 11:
            ctx.close("KO")

    @every("3m")
    def often(self, ctx: Any) -> None:
        ctx.note("often")

    @at("09:37")
    def once(self, ctx: Any) -> None:
        ctx.note("once")


class Fragile(Recording):
    name = "fragile"

    def __init__(self) -> None:
        super().__init__(self._step)

    @staticmethod
    def _step(ctx: Any, number: int) -> None:
        ctx.target_quantity("KO", number)
        if number == 6:
            raise ValueError("broken")


def new_stage() -> TradingStrategyStage:
    return stage_of(Busy(), Fragile(), **SETTINGS)


def time_slices() -> list[list[Record]]:
    """Return time slices with every kind of input."""
    old = order(1, BUY, 10, "KO", order_id="ord-act-busy-6", cause_id="act-busy-6", limit_price=99)
    new = order(4, BUY, 10, "KO", order_id="ord-act-busy-12", cause_id="act-busy-12", limit_price=101)
    new = new._replace(replaces=old.order_id)
    take_profit = order(2, SELL, 10, "KO", order_id="ord-act-busy-6-tp", cause_id="act-busy-6-tp", limit_price=110)
    own = order(5, BUY, 3, "KO")
    first: dict[int, list[Record]] = {
        3: [refusal(1, minute(2), "KO", cause_id="act-busy-99")],
        4: [old, take_profit, report(1, old, NEW), report(2, take_profit, NEW)],
        6: [new, report(3, old, REPLACED), report(4, new, NEW)],
        7: [proposal(BUY, 3, "KO", seq=5, strategy="fragile"), report(5, new, TRADE, 4, 100, remaining=6, filled=4)],
        8: [report(6, own, TRADE, 3, 100, fee=1), corporate_action("spl-1", "SPLIT", "KO", ratio=2)],
        9: [cash_transfer(7, "DEPOSIT", 1000), fundamentals("fun-1", 1, "KO"), sentiment_score(1, minute(9), "KO")],
        12: [proposal(BUY, 3, "KO", seq=6, strategy="busy+fragile")],
        14: [refusal(2, minute(13), "KO", cause_id="prop-6")],
        10: [command("cmd-1", kind="RESUME_STRATEGY", arguments={"strategy": "fragile"})],
        11: [corporate_action("div-1", "CASH_DIVIDEND", "KO", amount="0.5"), prediction("KO", 1, minute(11))],
        13: [report(8, take_profit, CANCELED)],
    }
    slices: list[list[Record]] = []
    for number in range(1, 16):
        close = 100.0 + number if number < 8 else 50.0 + number
        rows: list[Record] = [feature_row("KO", number, minute(number), close, values={"sma_2": close})]
        market = bars(number, "KO", close=close) + (bars(number, "PEP") if number > 2 else [])
        slices.append(first.get(number, []) + market + rows)
    return slices


def run(stage: TradingStrategyStage, slices: list[list[Record]], first: int = 1) -> list[Record]:
    return [one for number, records in enumerate(slices, first) for one in stage.on_slice(minute(number), records)]


def test_the_tape_uses_what_it_is_meant_to_use() -> None:
    actions = [one for one in run(new_stage(), time_slices()) if type(one) is StrategyAction]
    kinds = {action.kind for action in actions}
    assert kinds >= {"SUBMIT_ORDER", "AMEND_ORDER", "TARGET_WEIGHT", "TARGET_QUANTITY", "NOTE", SUSPENDED, "RESUMED"}
    texts = " ".join(action.arguments.get("text", "") for action in actions)
    assert all(part in texts for part in ("often", "once", "accepted", "amended", "fill", "rejected"))


def test_a_restored_stage_continues_alike_from_every_time_slice() -> None:
    slices = time_slices()
    expected = run(new_stage(), slices)
    stage, out = new_stage(), []
    for number, records in enumerate(slices, 1):
        saved = deepcopy(stage.snapshot())
        stage = new_stage()
        stage.restore(saved)
        out += stage.on_slice(minute(number), records)
    assert out == expected


def test_a_snapshot_is_not_changed_by_later_time_slices() -> None:
    slices, stage = time_slices(), new_stage()
    for number, records in enumerate(slices, 1):
        snapshot = stage.snapshot()
        before = deepcopy(snapshot)
        stage.on_slice(minute(number), records)
        assert before == snapshot


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 14), max_size=4), empty=st.lists(st.integers(1, 15), max_size=3))
def test_restores_and_empty_time_slices_between_change_nothing(cuts: list[int], empty: list[int]) -> None:
    slices = time_slices()
    stage, out = new_stage(), []
    for number, records in enumerate(slices, 1):
        if number in cuts:
            snapshot = stage.snapshot()
            stage = new_stage()
            stage.restore(snapshot)
        out += stage.on_slice(minute(number), records)
        if number in empty:
            # Rejections of warm-up are delivered with the next time slice, which is then the empty one.
            later = stage.on_slice(minute(number) + 1, [])
            out += [one._replace(ts_ns=minute(number + 1)) for one in later if type(one) is StrategyAction]
    out = [one for one in out if type(one) is StrategyAction]
    expected = [one for one in run(new_stage(), slices) if type(one) is StrategyAction]
    key = lambda one: (one.strategy, one.kind, one.action_id, one.symbol)  # noqa: E731
    assert sorted(map(key, out)) == sorted(map(key, expected))


def test_a_new_strategy_starts_beside_restored_ones() -> None:
    slices = time_slices()
    before = stage_of(Busy(), **SETTINGS)
    run(before, slices[:5])
    after = new_stage()
    after.restore(before.snapshot())
    out = [one for one in run(after, slices[5:], 6) if type(one) is StrategyAction]
    assert next(one for one in out if one.strategy == "fragile").action_id == "act-fragile-1"
    assert next(one for one in out if one.strategy == "busy").action_id != "act-busy-1"


def test_a_strategy_that_no_longer_runs_is_dropped() -> None:
    slices, before = time_slices(), new_stage()
    run(before, slices[:7])
    after = stage_of(Busy(), **SETTINGS)
    after.restore(before.snapshot())
    assert {one.strategy for one in run(after, slices[7:], 8) if type(one) is StrategyAction} == {"busy"}
    assert after.suspended == []

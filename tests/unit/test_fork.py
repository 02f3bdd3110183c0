"""A fork equals what happened where nothing was changed, and differs from the moment of the change on where it was."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from dataflows.replay.fork import Forked, fork
from deploy.commands.fork import changed
from operators.stage import Tick
from schemas.errors import BadInput
from schemas.records import TRADE, Execution, LotMatch, Order, Signal
from tests.unit.tape import decided, market, recorded, settings

GIVEN = market(80)
MADE = decided(GIVEN, settings())
AT = GIVEN[40].ts_ns


def forked(at_ns: int = AT, **sections: Any) -> Forked:
    return fork(settings(), settings(**sections), recorded(GIVEN, MADE), at_ns)


def risk(**limits: Any) -> dict[str, Any]:
    return {"risk_manager": settings().risk_manager.__dict__ | limits}


def test_without_a_change_both_sides_are_the_same() -> None:
    result = forked()
    assert result.happened == result.forked
    assert (result.apart, result.ticks_apart, result.difference) == ((), 0, None)
    assert (result.ticks, result.last_ns) == (40, GIVEN[-1].ts_ns)


def test_what_happened_is_what_was_recorded_since_the_fork() -> None:
    since = [record for tick in MADE[40:] for record in tick.records]
    happened = forked(**risk(max_order_notional=1)).happened
    assert happened.orders == sum(type(r) is Order for r in since) > 3
    assert happened.fills == sum(type(r) is Execution and r.exec_type == TRADE for r in since)
    assert happened.realized_pnl == sum(r.pnl for r in since if type(r) is LotMatch)


def test_a_limit_that_refuses_everything_leaves_what_was_held() -> None:
    result = forked(**risk(max_order_notional=1))
    assert result.happened.orders > 3 and result.forked.orders == 0
    assert result.forked.refusals == {"max_order_notional": sum(result.forked.refusals.values())}
    held = forked(GIVEN[-1].ts_ns).happened.positions
    assert result.happened.positions == held
    # An order sent before the fork is with the venue and still fills; later ones do not.
    assert result.forked.fills <= 1
    first = result.apart[0]
    assert first.ts_ns >= AT and first.only_happened and "refused by max_order_notional" in first.only_forked[0]


def test_the_state_up_to_the_fork_is_the_old_settings() -> None:
    double = {"portfolio_manager": {"sizing": {"fraction": "0.04"}}}
    early, late = forked(GIVEN[5].ts_ns, **double), forked(GIVEN[70].ts_ns, **double)
    assert early.ticks_apart > late.ticks_apart
    assert early.forked.traded_quantity > early.happened.traded_quantity
    never = forked(GIVEN[-1].ts_ns + 1, **double)
    assert (never.ticks, never.forked) == (0, never.happened)


def test_another_strategy_takes_over() -> None:
    result = forked(signals={"strategies": [{"name": "buy_and_hold"}]})
    # It says "buy" once a symbol; what the old strategy held stays.
    assert 1 <= result.forked.orders <= 3 < result.happened.orders


def test_a_recording_that_does_not_replay_is_not_forked() -> None:
    ts_ns, records = MADE[20]
    wrong = [r._replace(text="changed") if type(r) is Execution else r for r in records]
    wrong += [Signal("AAPL", 999, ts_ns, "x", 1, 1.0, 1.0, 1.0, "feat-AAPL-1", {})]
    made = [*MADE[:20], Tick(ts_ns, wrong), *MADE[21:]]
    result = fork(settings(), settings(), recorded(GIVEN, made), AT)
    assert result.difference is not None and result.difference.ts_ns == ts_ns and result.ticks == 0


def test_equity_is_cash_and_holdings_on_both_sides() -> None:
    result = forked(portfolio_manager={"sizing": {"fraction": "0.04"}})
    closes = {bar.symbol: Decimal(repr(bar.close)) for bar in GIVEN[-1].records}  # type: ignore[union-attr]
    for side in (result.happened, result.forked):
        assert side.equity == side.cash + sum(quantity * closes[symbol] for symbol, quantity in side.positions.items())


@pytest.mark.parametrize(
    ("sets", "strategies", "words"),
    [
        ([], [], "needs at least one"),
        (["risk_manager.max_daily_loss"], [], "SECTION.KEY=VALUE"),
        (["max_daily_loss=3"], [], "SECTION.KEY=VALUE"),
        (["kafka.bootstrap_servers=x:1"], [], "SECTION.KEY=VALUE"),
        ([], ["ema_cross {fast"], "must be JSON"),
    ],
)
def test_wrong_changes_are_one_sentence(sets: list[str], strategies: list[str], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        changed(sets, strategies)


def test_changes_become_settings_and_win_over_named_variables() -> None:
    told = changed(["risk_manager.max_position_size=5"], ['ema_cross {"fast": 3}'])
    assert told["MAX_POSITION_SIZE"] == told["RISK_MANAGER__MAX_POSITION_SIZE"] == "5"
    assert told["SIGNALS__STRATEGIES"] == '[{"name": "ema_cross", "parameters": {"fast": 3}}]'

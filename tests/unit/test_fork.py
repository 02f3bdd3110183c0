"""A fork without a change equals the original run. A fork with a change differs from the time of the change on."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from configs.configuration_changes import with_overrides
from configs.settings import load_settings
from dataflows.replay.fork import ForkComparison, fork
from dataflows.replay.settings_change import SettingsChange
from deploy.commands.fork import _rows, overrides
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import TRADE, Execution, LotMatch, Order
from tests.builders import signal
from tests.unit.tape import market, platform_output, recording, settings

INPUTS = market(80)
OUTPUTS = platform_output(INPUTS, settings())
FORK_NS = INPUTS[40].ts_ns


def run_fork(at_ns: int = FORK_NS, **sections: Any) -> ForkComparison:
    return fork(settings(), SettingsChange(settings(**sections), at_ns), recording(INPUTS, OUTPUTS))


def risk_section(**limits: Any) -> dict[str, Any]:
    return {"risk_manager": settings().risk_manager.__dict__ | limits}


def test_without_a_change_both_sides_are_the_same() -> None:
    result = run_fork()
    assert result.happened == result.forked
    assert (result.divergences, result.divergent_slices, result.difference) == ((), 0, None)
    assert (result.ticks, result.last_ns) == (40, INPUTS[-1].ts_ns)


def test_original_side_equals_the_records_since_the_fork() -> None:
    records_since = [record for time_slice in OUTPUTS[40:] for record in time_slice.records]
    happened = run_fork(**risk_section(max_order_notional=1)).happened
    assert happened.orders == sum(type(r) is Order for r in records_since) > 3
    assert happened.fills == sum(type(r) is Execution and r.exec_type == TRADE for r in records_since)
    assert happened.realized_pnl == sum(r.pnl for r in records_since if type(r) is LotMatch)


def test_limit_that_rejects_every_order_keeps_the_positions() -> None:
    result = run_fork(**risk_section(max_order_notional=1))
    assert result.happened.orders > 3 and result.forked.orders == 0
    assert result.forked.refusals == {"max_order_notional": sum(result.forked.refusals.values())}
    assert "rejected by max_order_notional" in [name for name, *_ in _rows(result.happened, result.forked)]
    last_positions = run_fork(INPUTS[-1].ts_ns).happened.positions
    assert result.happened.positions == last_positions
    # An order sent before the fork is at the venue and still fills. Later orders do not fill.
    assert result.forked.fills <= 1
    first = result.divergences[0]
    assert first.ts_ns >= FORK_NS and first.only_happened and "rejected by max_order_notional" in first.only_forked[0]


def test_state_before_the_fork_uses_the_old_settings() -> None:
    double = {"portfolio_manager": {"sizing": {"fraction": "0.04"}}}
    early, late = run_fork(INPUTS[5].ts_ns, **double), run_fork(INPUTS[70].ts_ns, **double)
    assert early.divergent_slices > late.divergent_slices
    assert early.forked.traded_quantity > early.happened.traded_quantity
    never = run_fork(INPUTS[-1].ts_ns + 1, **double)
    assert (never.ticks, never.forked) == (0, never.happened)


def test_another_strategy_takes_over() -> None:
    result = run_fork(signals={"strategies": [{"name": "buy_and_hold"}]})
    # The new strategy buys each symbol once. Positions of the old strategy remain open.
    assert 1 <= result.forked.orders <= 3 < result.happened.orders


def test_a_recording_that_does_not_replay_is_not_forked() -> None:
    ts_ns, records = OUTPUTS[20]
    altered = [r._replace(text="changed") if type(r) is Execution else r for r in records]
    altered += [signal("AAPL", 999, ts_ns)]
    outputs = [*OUTPUTS[:20], TimeSlice(ts_ns, altered), *OUTPUTS[21:]]
    result = fork(settings(), SettingsChange(settings(), FORK_NS), recording(INPUTS, outputs))
    assert result.difference is not None and result.difference.ts_ns == ts_ns and result.ticks == 0


def test_equity_is_cash_and_holdings_on_both_sides() -> None:
    result = run_fork(portfolio_manager={"sizing": {"fraction": "0.04"}})
    closes = {bar.symbol: Decimal(repr(bar.close)) for bar in INPUTS[-1].records}  # type: ignore[union-attr]
    for side in (result.happened, result.forked):
        assert side.equity == side.cash + sum(quantity * closes[symbol] for symbol, quantity in side.positions.items())


@pytest.mark.parametrize(
    ("sets", "strategies", "message"),
    [
        ([], [], "needs at least one"),
        (["risk_manager.max_daily_loss"], [], "SECTION.KEY=VALUE"),
        (["max_daily_loss=3"], [], "SECTION.KEY=VALUE"),
        (["kafka.bootstrap_servers=x:1"], [], "SECTION.KEY=VALUE"),
        (["risk_manager.max_daily_loss=[1"], [], "setting risk_manager.max_daily_loss: expected YAML"),
        ([], ["ema_cross {fast"], "must be JSON"),
    ],
)
def test_invalid_changes_give_a_one_line_error(sets: list[str], strategies: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        overrides(sets, strategies)


def test_changes_apply_on_top_of_the_environment() -> None:
    changes = overrides(["risk_manager.max_position_size=5"], ['ema_cross {"fast": 3}'])
    settings = with_overrides(load_settings(environment={"MAX_POSITION_SIZE": "7"}), changes)
    assert settings.risk_manager.max_position_size == 5
    assert [(one.name, one.parameters) for one in settings.signals.strategies] == [("ema_cross", {"fast": 3})]


def test_an_error_names_the_setting_and_no_environment_variable() -> None:
    with pytest.raises(BadInput) as error:
        with_overrides(load_settings(environment={}), overrides(["risk_manager.max_dayly_loss=5"], []))
    assert str(error.value) == "unknown setting risk_manager.max_dayly_loss; did you mean max_daily_loss?"

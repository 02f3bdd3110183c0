"""The pre-trade checks in the order they are asked; the first that refuses decides.

To add one: a file here with `check(order, view, limits) -> Verdict`, its line in `CHECKS`, a row in
`tests/unit/test_risk_checks.py`. See `docs/howto/risk-check.md`.
"""

from collections.abc import Callable
from typing import NamedTuple

from operators.instruments import NOTHING_LISTED
from operators.risk.checks import (
    amend_rate,
    cash,
    circuit_breaker,
    day_trades,
    duplicate,
    instrument,
    kill_switch,
    known_price,
    lot_size,
    margin_initial,
    max_beta_exposure,
    max_concentration,
    max_daily_loss,
    max_drawdown,
    max_expected_shortfall,
    max_gross_exposure,
    max_group_share,
    max_net_exposure,
    max_open_orders,
    max_order_notional,
    max_portfolio_leverage,
    max_position,
    max_position_size,
    max_sector_share,
    max_volume_share,
    min_order_notional,
    order_quantity,
    order_rate,
    order_terms,
    price_collar,
    reconciling,
    reversal,
    self_trade,
    session_open,
    short_sale,
    stale_price,
    tick_size,
    wash_sale,
)
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict
from operators.risk.view import View
from schemas.records import OrderProposal

Check = Callable[[OrderProposal, View, RiskSettings], Verdict]
Wanted = Callable[[RiskSettings], bool]


def _always(limits: RiskSettings) -> bool:
    return True


def _defined(limits: RiskSettings) -> bool:
    """Somebody said which instruments there are, so that there is something to check."""
    return limits.instruments != NOTHING_LISTED


def _on(limit: str) -> Wanted:
    """The check is asked unless its limit is "unlimited"."""
    return lambda limits: limits.wants(limit)


class Entry(NamedTuple):
    """A check, and for which settings it is asked at all."""

    check: Check
    wanted: Wanted = _always


CHECKS: tuple[Entry, ...] = (
    Entry(kill_switch.check),
    Entry(reconciling.check),
    Entry(order_terms.check),
    Entry(circuit_breaker.check, lambda limits: bool(limits.all_breakers())),
    Entry(instrument.check, _defined),
    # From here on the terms make sense; from known_price on there is a price.
    Entry(known_price.check),
    Entry(stale_price.check),
    Entry(session_open.check, _defined),
    Entry(tick_size.check, _defined),
    Entry(lot_size.check, _defined),
    Entry(order_quantity.check, lambda limits: _defined(limits) or limits.wants("max_order_quantity")),
    Entry(min_order_notional.check, lambda limits: _defined(limits) or limits.min_order_notional > 0),
    Entry(max_order_notional.check),
    Entry(price_collar.check, _on("price_collar_bps")),
    Entry(max_volume_share.check, _on("max_volume_share")),
    Entry(duplicate.check, lambda limits: limits.duplicate_window_s > 0),
    Entry(self_trade.check, lambda limits: limits.prevent_self_trade),
    Entry(order_rate.check, _on("max_orders_in_window")),
    Entry(amend_rate.check, _on("max_amends_in_window")),
    Entry(max_open_orders.check, _on("max_open_orders")),
    Entry(short_sale.check, lambda limits: _defined(limits) or not limits.allow_short),
    Entry(reversal.check, lambda limits: not limits.allow_reversal),
    Entry(max_position.check),
    Entry(max_position_size.check),
    Entry(max_concentration.check, _on("max_concentration")),
    Entry(max_sector_share.check, _on("max_sector_share")),
    Entry(max_group_share.check, _on("max_group_share")),
    Entry(cash.check, lambda limits: limits.margin is None),
    Entry(margin_initial.check, lambda limits: limits.margin is not None),
    Entry(day_trades.check, _on("max_day_trades")),
    Entry(max_portfolio_leverage.check),
    Entry(max_gross_exposure.check, _on("max_gross_exposure")),
    Entry(max_net_exposure.check, _on("max_net_exposure")),
    Entry(max_beta_exposure.check, _on("max_beta_exposure")),
    Entry(max_daily_loss.check),
    Entry(max_drawdown.check, _on("max_drawdown")),
    Entry(max_expected_shortfall.check, _on("max_expected_shortfall")),
    Entry(wash_sale.check, lambda limits: limits.wash_sale_days > 0),
)


def checks_for(limits: RiskSettings) -> tuple[Check, ...]:
    """The checks that these settings ask for, in order."""
    return tuple(entry.check for entry in CHECKS if entry.wanted(limits))

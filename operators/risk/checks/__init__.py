"""The pre-trade checks in the order in which they run. The first rejection decides.

To add a check, create a file here with `check(order, context, limits) -> Verdict`, add an entry to `CHECKS`, and add a
row to `tests/unit/risk_order_cases.py` or `tests/unit/risk_portfolio_cases.py`. See `docs/howto/risk-check.md`.
"""

from collections.abc import Callable
from typing import NamedTuple

from operators.risk.checks import (
    amend_rate,
    cash,
    circuit_breaker,
    day_trades,
    duplicate,
    ended_symbol,
    exchange_halt,
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
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict
from schemas.records import OrderTerms

RiskCheck = Callable[[OrderTerms, OrderContext, RiskSettings], Verdict]
EnabledWhen = Callable[[RiskSettings], bool]


def _always(limits: RiskSettings) -> bool:
    return True


def _instruments_defined(limits: RiskSettings) -> bool:
    """Whether the settings define instruments."""
    return limits.instruments.is_defined


def _collar_is_set(limits: RiskSettings) -> bool:
    """Whether the settings set a price collar other than the default."""
    return limits.price_collar_bps != RiskSettings.price_collar_bps


def _limit_set(limit: str) -> EnabledWhen:
    """Enable a check unless its limit is "unlimited"."""
    return lambda limits: limits.is_enabled(limit)


class CheckEntry(NamedTuple):
    """A check, a predicate that tells for which settings it runs, and one for which settings approved orders list it.

    Rules that apply by default are not listed: an order that they accept is the same record as without them, so that
    logs of earlier releases replay to equal orders.
    """

    check: RiskCheck
    enabled: EnabledWhen = _always
    listed: EnabledWhen = _always


CHECKS: tuple[CheckEntry, ...] = (
    CheckEntry(kill_switch.check),
    CheckEntry(reconciling.check),
    CheckEntry(order_terms.check),
    CheckEntry(circuit_breaker.check, lambda limits: bool(limits.all_breakers())),
    CheckEntry(exchange_halt.check, listed=lambda limits: False),
    CheckEntry(ended_symbol.check, listed=lambda limits: False),
    CheckEntry(instrument.check, _instruments_defined),
    # The checks below rely on valid terms. The checks after known_price also rely on a price.
    CheckEntry(known_price.check),
    CheckEntry(stale_price.check),
    CheckEntry(session_open.check, _instruments_defined),
    CheckEntry(tick_size.check, listed=_instruments_defined),
    CheckEntry(lot_size.check, listed=_instruments_defined),
    CheckEntry(
        order_quantity.check, lambda limits: _instruments_defined(limits) or limits.is_enabled("max_order_quantity")
    ),
    CheckEntry(min_order_notional.check, lambda limits: _instruments_defined(limits) or limits.min_order_notional > 0),
    CheckEntry(max_order_notional.check),
    CheckEntry(price_collar.check, _limit_set("price_collar_bps"), listed=_collar_is_set),
    CheckEntry(max_volume_share.check, _limit_set("max_volume_share")),
    CheckEntry(duplicate.check, lambda limits: limits.duplicate_window_s > 0),
    CheckEntry(self_trade.check, lambda limits: limits.prevent_self_trade),
    CheckEntry(order_rate.check, _limit_set("max_orders_in_window")),
    CheckEntry(amend_rate.check, _limit_set("max_amends_in_window")),
    CheckEntry(max_open_orders.check, _limit_set("max_open_orders")),
    CheckEntry(short_sale.check, lambda limits: _instruments_defined(limits) or not limits.allow_short),
    CheckEntry(reversal.check, lambda limits: not limits.allow_reversal),
    CheckEntry(max_position.check),
    CheckEntry(max_position_size.check),
    CheckEntry(max_concentration.check, _limit_set("max_concentration")),
    CheckEntry(max_sector_share.check, _limit_set("max_sector_share")),
    CheckEntry(max_group_share.check, _limit_set("max_group_share")),
    CheckEntry(cash.check, lambda limits: limits.margin is None),
    CheckEntry(margin_initial.check, lambda limits: limits.margin is not None),
    CheckEntry(day_trades.check, _limit_set("max_day_trades")),
    CheckEntry(max_portfolio_leverage.check),
    CheckEntry(max_gross_exposure.check, _limit_set("max_gross_exposure")),
    CheckEntry(max_net_exposure.check, _limit_set("max_net_exposure")),
    CheckEntry(max_beta_exposure.check, _limit_set("max_beta_exposure")),
    CheckEntry(max_daily_loss.check),
    CheckEntry(max_drawdown.check, _limit_set("max_drawdown")),
    CheckEntry(max_expected_shortfall.check, _limit_set("max_expected_shortfall")),
    CheckEntry(wash_sale.check, lambda limits: limits.wash_sale_days > 0),
)


def enabled_checks(limits: RiskSettings) -> tuple[RiskCheck, ...]:
    """Return the checks that these settings enable, in order."""
    return tuple(entry.check for entry in CHECKS if entry.enabled(limits))


def unlisted_checks(limits: RiskSettings) -> frozenset[RiskCheck]:
    """Return the checks whose results approved orders do not list."""
    return frozenset(entry.check for entry in CHECKS if not entry.listed(limits))

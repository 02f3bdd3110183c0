"""The pre-trade checks in the order they are asked; the first that refuses decides.

To add one: a file here with `check(order, view, limits) -> Verdict`, its name in `CHECKS`, a row in
`tests/unit/test_risk_checks.py`. See `docs/howto/risk-check.md`.
"""

from collections.abc import Callable

from operators.risk.checks import (
    cash,
    kill_switch,
    known_price,
    max_daily_loss,
    max_order_notional,
    max_portfolio_leverage,
    max_position,
    max_position_size,
    order_terms,
    stale_price,
)
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict
from operators.risk.view import View
from schemas.records import OrderProposal

Check = Callable[[OrderProposal, View, RiskSettings], Verdict]

CHECKS: tuple[Check, ...] = (
    kill_switch.check,
    order_terms.check,
    known_price.check,
    stale_price.check,
    max_order_notional.check,
    max_position.check,
    max_position_size.check,
    cash.check,
    max_portfolio_leverage.check,
    max_daily_loss.check,
)

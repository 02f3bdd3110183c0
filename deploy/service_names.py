"""Names of services as people write them: with dashes, or as the settings call them."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.errors import BadInput

OTHER_NAMES = {
    "portfolio_manager": "portfolio",
    "portfolio_management": "portfolio",
    "risk_manager": "risk",
    "risk_management": "risk",
    "order_gateway": "execution",
    "feature_engineering": "features",
    "signal_aggregation": "signals",
    "sentiment_analysis": "sentiment",
    "quant_model": "predictions",
    "fundamental": "fundamentals",
    "feedback_loop": "feedback",
}
"""What the settings or people call a service that has a shorter name here."""


def service_named(text: str, known: Iterable[str]) -> str:
    """The service that is meant. Raises BadInput naming those there are.

    >>> service_named("risk-manager", ["portfolio", "risk"]), service_named("market-data", ["market_data"])
    ('risk', 'market_data')
    """
    names = list(known)
    underscored = text.strip().lower().replace("-", "_")
    for name in (text, underscored, OTHER_NAMES.get(underscored, "")):
        if name in names:
            return name
    raise BadInput(f"there is no service {text!r}; there are {', '.join(names) or 'none'}")

"""Names of services as people write them: with dashes, or as the settings call them."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.errors import BadInput

SERVICE_ALIASES = {
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


def resolve_service(text: str, services: Iterable[str]) -> str:
    """The service that is meant. Raises BadInput naming those there are.

    >>> resolve_service("risk-manager", ["portfolio", "risk"]), resolve_service("market-data", ["market_data"])
    ('risk', 'market_data')
    """
    names = list(services)
    underscored = text.strip().lower().replace("-", "_")
    for name in (text, underscored, SERVICE_ALIASES.get(underscored, "")):
        if name in names:
            return name
    raise BadInput(f"there is no service {text!r}; there are {', '.join(names) or 'none'}")

"""Resolve service names as users write them: with dashes or underscores, or by the name used in the settings."""

from __future__ import annotations

from collections.abc import Iterable

from deploy.name_arguments import unknown_name
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
"""Other names of services, mapped to their service names."""


def resolve_service(text: str, services: Iterable[str]) -> str:
    """Return the name of the service that `text` means. Raises BadInput, with a suggestion, if it is not known.

    >>> resolve_service("risk-manager", ["portfolio", "risk"]), resolve_service("market-data", ["market_data"])
    ('risk', 'market_data')
    """
    names = list(services)
    underscored = text.strip().lower().replace("-", "_")
    for name in (text, underscored, SERVICE_ALIASES.get(underscored, "")):
        if name in names:
            return name
    raise BadInput(unknown_name("service", text, names))

"""The topics that the service strategies reads only because a trading strategy declares their records."""

from __future__ import annotations

from configs.declared_trade_bars import declared_trade_bars
from configs.settings import Settings
from configs.strategies import configured_strategies
from schemas.errors import BadInput
from schemas.records import TOPIC_OF, Trade


def declared_topics(settings: Settings) -> frozenset[str]:
    """Return the topics of the quotes, headlines and trades that the trading strategies declare.

    Raises BadInput like `configured_strategies`.
    """
    # Imported here because a platform without trading strategies does not need it.
    from operators.trading.market_events import TOPICS

    events = {name for strategy in configured_strategies(settings).trading for name in strategy.events}
    topics = {topic for name, topic in TOPICS.items() if name in events}
    if settings.market_data.has_trades() and declared_trade_bars(settings):
        topics.add(TOPIC_OF[Trade])
    return frozenset(topics)


def require_read_topics(settings: Settings, changed: Settings) -> None:
    """Raises BadInput if a strategy of the changed settings needs a topic that the service does not read.

    The service selects its topics when it starts, with `settings`.
    """
    missing = sorted(declared_topics(changed) - declared_topics(settings))
    if missing:
        raise BadInput(
            f"a strategy needs {' and '.join(missing)}, which the running service strategies does not read: "
            "change the strategy in the settings file, then run `python cli.py restart`"
        )

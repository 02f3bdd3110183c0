"""Build the source of company figures from the settings."""

from __future__ import annotations

from collections.abc import Callable

from configs.settings import Settings
from dataflows.sources.background_poller import BackgroundPoller, BlockingSource
from dataflows.sources.fundamentals.files import FundamentalsFileSource
from dataflows.sources.fundamentals.sec import COMPANY_FACTS_URL, SecFactsSource
from dataflows.sources.polled_source import PollableSource
from schemas.errors import BadInput


def fundamentals_source(settings: Settings, read_stored_ids: Callable[[], list[str]]) -> PollableSource | None:
    """Return the service's source, or None if there is none. `read_stored_ids` returns the ids in the topic."""
    source = _build_source(settings)
    if source is None:
        return None
    return BackgroundPoller(
        "fundamentals", source, read_stored_ids=read_stored_ids, ids_max=settings.fundamentals.remembered
    ).start()


def _build_source(settings: Settings) -> BlockingSource | None:
    fundamentals = settings.fundamentals
    if fundamentals.feed == "sec":
        sec = fundamentals.sec
        if not sec.companies or "@" not in sec.user_agent:
            raise BadInput(
                "fundamentals.feed sec needs fundamentals.sec.companies (symbol: CIK) and "
                "fundamentals.sec.user_agent with a name and an e-mail address, which the SEC requires"
            )
        return SecFactsSource(
            sec.companies,
            user_agent=sec.user_agent,
            interval_s=fundamentals.poll_interval_s,
            requests_per_s=sec.requests_per_s,
            timeout_s=sec.timeout_s,
            history_days=sec.history_days,
            url=sec.url or COMPANY_FACTS_URL,
            private_addresses=sec.private_addresses,
        )
    if fundamentals.feed == "files":
        if not fundamentals.files.paths:
            raise BadInput("fundamentals.feed files needs fundamentals.files.paths, found none")
        return FundamentalsFileSource(fundamentals.files.paths, interval_s=fundamentals.poll_interval_s)
    return None

"""From the settings to the source of companies' figures."""

from __future__ import annotations

from collections.abc import Callable

from configs.settings import Settings
from dataflows.sources.background import Background, Outside
from dataflows.sources.fundamentals.files import FundamentalsFiles
from dataflows.sources.fundamentals.sec import URL, SecFacts
from dataflows.sources.polling import Polled
from schemas.errors import BadInput


def fundamentals_source(settings: Settings, written: Callable[[], list[str]]) -> Polled | None:
    """What the service asks, None where there is nothing to ask for. `written` gives the ids in the topic."""
    outside = _outside(settings)
    if outside is None:
        return None
    return Background("fundamentals", outside, written=written, remembered=settings.fundamentals.remembered).start()


def _outside(settings: Settings) -> Outside | None:
    given = settings.fundamentals
    if given.feed == "sec":
        sec = given.sec
        if not sec.companies or "@" not in sec.user_agent:
            raise BadInput(
                "fundamentals.feed sec needs fundamentals.sec.companies (symbol: CIK) and, as the SEC asks, "
                "fundamentals.sec.user_agent with a name and an e-mail address"
            )
        return SecFacts(
            sec.companies,
            user_agent=sec.user_agent,
            interval_s=given.poll_interval_s,
            requests_per_s=sec.requests_per_s,
            timeout_s=sec.timeout_s,
            history_days=sec.history_days,
            url=sec.url or URL,
        )
    if given.feed == "files":
        if not given.files.paths:
            raise BadInput("fundamentals.feed files needs fundamentals.files.paths, found none")
        return FundamentalsFiles(given.files.paths, interval_s=given.poll_interval_s)
    return None

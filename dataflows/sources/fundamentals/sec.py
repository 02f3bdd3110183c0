"""Fetch the SEC's companyfacts over HTTP, company by company, within the SEC's rate limit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog

from dataflows.sources.conditional_get import ConditionalGet
from operators.fundamentals import filings
from schemas.errors import InvalidField, Unavailable
from schemas.records import Record

log = structlog.get_logger(__name__)

COMPANY_FACTS_URL = "https://data.sec.gov/api/xbrl/companyfacts/CIK{cik:010d}.json"
MAX_BYTES = 100_000_000


class SecFactsSource:
    """A `BlockingSource` (`background_poller.py`) of the filings of the last `history_days`, oldest first.

    `companies` maps each symbol to its CIK. `user_agent` must name the requester with an address: the SEC rejects
    others.
    """

    def __init__(
        self,
        companies: Mapping[str, int],
        *,
        user_agent: str,
        interval_s: float,
        requests_per_s: float,
        timeout_s: float,
        history_days: int,
        url: str = COMPANY_FACTS_URL,
        private_addresses: bool = False,
        now_ns: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.interval_s = interval_s
        self._companies, self._url, self._history_days = companies, url, history_days
        self._pause_s, self._now_ns, self._sleep = 1.0 / requests_per_s, now_ns, sleep
        self._http = ConditionalGet(
            timeout_s=timeout_s,
            max_bytes=MAX_BYTES,
            headers={"User-Agent": user_agent},
            private_addresses=private_addresses,
        )

    def fetch(self) -> list[Record]:
        records: list[Record] = []
        failures: list[str] = []
        for index, (symbol, cik) in enumerate(self._companies.items()):
            if index:
                self._sleep(self._pause_s)
            try:
                records += self._fetch_company(symbol, self._url.format(cik=cik))
            except (Unavailable, InvalidField) as error:
                failures.append(f"{symbol}: {error}")
        if failures and len(failures) == len(self._companies):
            raise Unavailable("; ".join(failures[:3]))
        for failure in failures:
            log.warning("companyfacts request failed", reason=failure)
        return records

    def close(self) -> None:
        self._http.close()

    def _fetch_company(self, symbol: str, url: str) -> list[Record]:
        content = self._http.get(url)
        if content is None:
            return []
        try:
            company_filings = filings(json.loads(content), symbol)
        except (ValueError, RecursionError) as error:
            self._http.forget_validators(url)
            raise InvalidField(f"{url}: the response must be JSON, found {content[:40]!r}") from error
        now_ns = self._now_ns()
        oldest = datetime.fromtimestamp(now_ns / 1e9, UTC) - timedelta(days=self._history_days)
        oldest_filed = oldest.year * 10_000 + oldest.month * 100 + oldest.day
        return [record._replace(ts_ns=now_ns) for record in company_filings if record.filed >= oldest_filed]

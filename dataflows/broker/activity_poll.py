"""Poll the broker's account activities page by page, and publish each one once per process."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from dataflows.broker.alpaca_api import ACTIVITY_PAGE, AlpacaApi
from dataflows.broker.broker_errors import BrokerRejected
from dataflows.broker.updates import activities_listed, activity_record
from schemas.records import BrokerActivity

log = structlog.get_logger(__name__)

DAYS = 30
"""Days that every poll reads again: a broker books some activities days after their date."""
RETRY_S = 2.0


class ActivityPoll:
    """Reads one page per `poll`. The gateway discards what an earlier process published."""

    def __init__(
        self, api: AlpacaApi, publish: Callable[[BrokerActivity], None], now_ns: Callable[[], int], interval_s: float
    ) -> None:
        self._api, self._publish, self._now_ns, self._interval_s = api, publish, now_ns, interval_s
        self.due_s = 0.0
        self._page_token = ""
        self._published: dict[str, None] = {}  # ids of the current window
        self._window: dict[str, None] = {}  # ids that the current poll has read
        self._listed = False

    def poll(self, now_s: float) -> None:
        """Read and publish the next page. Raises BrokerThrottled or BrokerUncertain.

        A rejected request is logged and retried at the next interval: it must not stop trading by itself. Cash that
        the platform misses then is a difference of the reconciliation.
        """
        self.due_s = now_s + RETRY_S
        now_ns = self._now_ns()
        after = datetime.fromtimestamp(now_ns / 1e9, UTC).date() - timedelta(days=DAYS)
        try:
            rows = self._api.activities(after.isoformat(), self._page_token)
        except BrokerRejected as rejection:
            log.warning("account activities not available", reason=rejection.message)
            self._page_token, self.due_s = "", now_s + self._interval_s
            return
        for row in rows:
            record = activity_record(row, now_ns)
            self._window[record.update_id] = None
            if record.activity_id and record.update_id not in self._published:
                self._publish(record)
        self._published.update(self._window)
        if len(rows) == ACTIVITY_PAGE:
            self._page_token, self.due_s = str(rows[-1].get("id", "")), now_s
            return
        self._published, self._window = self._window, {}
        self._page_token, self.due_s = "", now_s + self._interval_s
        if not self._listed:
            self._listed = True
            self._publish(activities_listed(now_ns))

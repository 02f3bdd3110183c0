"""The process `alerts`: `python -m api.alerting`. Reads the metrics page, keeps the open alerts, delivers messages."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import structlog
from sqlalchemy.exc import SQLAlchemyError

from api.alerting.channels import Channels
from api.alerting.conditions import Conditions, Figures, Found
from api.alerting.outbox import Message, Outbox, utc_now
from configs import logs
from configs.alerts import Alerts
from configs.settings import Settings, load_settings
from sinks.database import open_engine

log = structlog.get_logger(__name__)

TIMEOUT_S = 5.0


class Watch:
    """One round after the other. A condition counts when it has lasted for its `hold_s`."""

    def __init__(self, settings: Settings, channels: Channels, home: Path | None) -> None:
        self._alerts: Alerts = settings.alerts
        token = settings.api.metrics_token
        headers = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
        self._client = httpx.Client(headers=headers, timeout=TIMEOUT_S)
        self._conditions = Conditions(settings.alerts, market_open=lambda: market_open(settings, utc_now()))
        self._channels = channels
        self._outbox = Outbox(open_engine(settings.database.postgres.url, pool_size=1), settings.alerts)
        self._since: dict[str, float] = {}
        self._told_directly: dict[str, float] = {}
        self._sign = None if home is None else home / "run" / "alerts.json"

    def round(self) -> None:
        now = time.monotonic()
        found = {one.key: one for one in self._conditions.of(self._page(), now)}
        self._since = {key: self._since.get(key, now) for key in found}
        met = {key: one for key, one in found.items() if now - self._since[key] >= one.hold_s}
        try:
            self._outbox.keep(met, utc_now())
            self._outbox.deliver(self._channels.send, utc_now())
            self._told_directly.clear()
        except SQLAlchemyError as error:
            log.warning("the database did not take the alerts", error=str(error).splitlines()[0])
            self._tell_without_database(met, now)
        self._show(len(met))

    def _tell_without_database(self, met: dict[str, Found], now: float) -> None:
        """That the database is away must be told too: once within the window, for it cannot be remembered there."""
        for key, one in sorted(met.items()):
            if now - self._told_directly.get(key, -1e12) < self._alerts.dedupe_window:
                continue
            severity = self._alerts.severity_of(one.name)
            wanted = [channel.name for channel in self._alerts.channels if channel.takes(severity)]
            messages = [
                Message(f"{key}/direct/{name}", name, severity, f"{severity}: {one.name}", one.summary, 0)
                for name in wanted
            ]
            errors = [self._channels.send(message) for message in messages]
            if not any(errors):
                self._told_directly[key] = now

    def _page(self) -> Figures | None:
        try:
            answer = self._client.get(self._alerts.metrics_url)
            if answer.status_code == 200:
                return Figures(answer.text)
            log.warning("the metrics page answers", status=answer.status_code)
        except (httpx.HTTPError, ValueError) as error:
            log.warning("the metrics page does not answer", error=str(error))
        return None

    def _show(self, met: int) -> None:
        """For the supervisor: a process that hangs shows as one whose file grows old."""
        if self._sign is not None and self._sign.parent.is_dir():
            beside = self._sign.with_suffix(f".{os.getpid()}")
            beside.write_text(json.dumps({"pid": os.getpid(), "updated_at": time.time(), "met": met}))
            beside.replace(self._sign)

    def close(self) -> None:
        self._client.close()


def market_open(settings: Settings, now: datetime) -> bool:
    """Whether bars are to be expected: always, but for the exchange's nights, weekends and holidays.

    With extended hours from 4:00 to 20:00 at New York on days when the exchange is open.
    """
    data = settings.market_data
    if data.feed == "simulator" or data.files.calendar != "XNYS":
        return True
    # Imported here: pandas and the calendars are most of this process, and needed only when a feed is silent.
    import exchange_calendars

    local = now.astimezone(UTC)
    calendar = exchange_calendars.get_calendar("XNYS")
    day = local.astimezone(calendar.tz).date()
    if not calendar.is_session(day.isoformat()):
        return False
    opens, closes = calendar.session_open(day.isoformat()), calendar.session_close(day.isoformat())
    before_s, after_s = (0, 0) if data.files.session == "regular" else (5.5 * 3600, 4 * 3600)
    return bool(opens.timestamp() - before_s <= local.timestamp() <= closes.timestamp() + after_s)


def main() -> None:
    """Until SIGTERM. Raises BadInput for wrong settings or channels."""
    logs.configure("alerts")
    settings = load_settings()
    logs.configure("alerts", settings.platform.log_level)
    # Each request and address would be a line; what matters is logged above.
    for name in ("httpx", "apprise", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    home = os.environ.get("PLATFORM_HOME")
    watch = Watch(settings, Channels(settings.alerts), Path(home) if home else None)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    log.info("service starts", channels=[channel.name for channel in settings.alerts.channels])
    while not ended.is_set():
        watch.round()
        ended.wait(settings.alerts.check_every)
    watch.close()


if __name__ == "__main__":
    main()

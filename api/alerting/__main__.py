"""The process `alerts`: `python -m api.alerting`. Reads the metrics page, stores open alerts and delivers messages."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from pathlib import Path

import httpx
import structlog
from sqlalchemy.exc import SQLAlchemyError

from api.alerting.channels import AlertChannels
from api.alerting.conditions import ActiveCondition, Conditions, MetricsPage
from api.alerting.outbox import Message, Outbox, utc_now
from api.market_hours import market_open
from api.metrics_token import load_metrics_token
from configs import logs
from configs.alerts import AlertsSection
from configs.secrets import secrets_folder
from configs.settings import Settings, load_settings
from sinks.database import open_engine

log = structlog.get_logger(__name__)

TIMEOUT_S = 5.0


class AlertMonitor:
    """Evaluates the conditions in rounds. A condition opens an alert when it has lasted for its `hold_s`."""

    def __init__(self, settings: Settings, channels: AlertChannels, home: Path | None) -> None:
        self._alerts: AlertsSection = settings.alerts
        token = load_metrics_token(settings.api, secrets_folder(os.environ) if home is None else home / "secrets")
        self._client = httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S)
        self._conditions = Conditions(settings.alerts, market_open=lambda: market_open(settings, utc_now()))
        self._channels = channels
        self._outbox = Outbox(open_engine(settings.database.postgres.url, pool_size=1), settings.alerts)
        self._since: dict[str, float] = {}
        self._sent_directly: dict[str, float] = {}
        self._status_path = None if home is None else home / "run" / "alerts.json"

    def check(self) -> None:
        now = time.monotonic()
        conditions = {condition.key: condition for condition in self._conditions.evaluate(self._fetch_metrics(), now)}
        self._since = {key: self._since.get(key, now) for key in conditions}
        firing = {key: condition for key, condition in conditions.items() if now - self._since[key] >= condition.hold_s}
        try:
            self._outbox.synchronize(firing, utc_now())
            self._outbox.deliver(self._channels.send, utc_now())
            self._sent_directly.clear()
        except SQLAlchemyError as error:
            log.warning("database write failed, alerts are sent without it", error=str(error).splitlines()[0])
            self._send_without_database(firing, now)
        self._write_status(firing)

    def _send_without_database(self, firing: dict[str, ActiveCondition], now: float) -> None:
        """Send alerts while the database is unavailable. It remembers in memory which alerts it sent."""
        for key, condition in sorted(firing.items()):
            if now - self._sent_directly.get(key, -1e12) < self._alerts.dedupe_window:
                continue
            severity = self._alerts.severity_of(condition.name)
            channel_names = [channel.name for channel in self._alerts.channels if channel.accepts(severity)]
            messages = [
                Message(
                    delivery_id=f"{key}/direct/{name}",
                    channel=name,
                    severity=severity,
                    title=f"{severity}: {condition.name}",
                    body=condition.summary,
                    attempts=0,
                )
                for name in channel_names
            ]
            errors = [self._channels.send(message) for message in messages]
            if not any(errors):
                self._sent_directly[key] = now

    def _fetch_metrics(self) -> MetricsPage | None:
        try:
            response = self._client.get(self._alerts.metrics_url)
            if response.status_code == 200:
                return MetricsPage(response.text)
            log.warning("metrics request failed", status=response.status_code)
        except (httpx.HTTPError, ValueError) as error:
            log.warning("metrics request failed", error=str(error))
        return None

    def _write_status(self, firing: dict[str, ActiveCondition]) -> None:
        """Write the status file: the open alerts for `status`, which works without the database and the API.

        The supervisor detects a hung process by the age of this file.
        """
        if self._status_path is not None and self._status_path.parent.is_dir():
            temporary = self._status_path.with_suffix(f".{os.getpid()}")
            alerts = [
                {"severity": self._alerts.severity_of(condition.name), "name": key, "summary": condition.summary}
                for key, condition in sorted(firing.items())
            ]
            document = {"pid": os.getpid(), "updated_at": time.time(), "met": len(firing), "alerts": alerts}
            temporary.write_text(json.dumps(document))
            temporary.replace(self._status_path)

    def close(self) -> None:
        self._client.close()


def main() -> None:
    """Run until SIGTERM or SIGINT. Raises BadInput for invalid settings or channels."""
    logs.configure("alerts")
    settings = load_settings()
    logs.configure("alerts", settings.platform.log_level)
    # These libraries log every request and address.
    for name in ("httpx", "apprise", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    home = os.environ.get("PLATFORM_HOME")
    monitor = AlertMonitor(settings, AlertChannels(settings.alerts), Path(home) if home else None)
    stop_requested = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop_requested.set())
    signal.signal(signal.SIGINT, lambda *_: stop_requested.set())
    log.info("service started", channels=[channel.name for channel in settings.alerts.channels])
    while not stop_requested.is_set():
        monitor.check()
        stop_requested.wait(settings.alerts.check_every)
    monitor.close()


if __name__ == "__main__":
    main()

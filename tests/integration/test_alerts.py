"""Alerts on a real PostgreSQL: from a figure on the metrics page to a message at an HTTP address."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from api.alerting.__main__ import AlertMonitor
from api.alerting.channels import AlertChannels
from api.alerting.conditions import ActiveCondition
from api.alerting.outbox import Message, Outbox
from api.app import create_app
from configs.alerts import AlertsSection
from configs.settings import Settings, load_settings
from deploy.home import Home
from schemas.errors import BadInput
from sinks.alerts import alert_deliveries
from sinks.database import open_engine
from tests.integration.api_users import log_in
from tests.integration.recorded_platform import cli

NOW = datetime(2024, 3, 8, 12, 0, tzinfo=UTC)
DAILY_LOSS = ActiveCondition(
    key="daily_loss_threshold",
    name="daily_loss_threshold",
    summary="today's result is -6,000.00",
    value=-6000.0,
    threshold=-5000.0,
)
CONCENTRATION = ActiveCondition(
    key="position_concentration/SPY",
    name="position_concentration",
    summary="SPY is 20.0% of equity",
    value=0.2,
    threshold=0.15,
)


METRICS_TOKEN = "the-token-of-this-page"


class AlertReceiver:
    """An HTTP server that accepts or rejects alert messages and serves a metrics page."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.page, self.status = "", 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if receiver.status == 200:
                    receiver.messages.append(body)
                self._answer(receiver.status, b"")

            def do_GET(self) -> None:
                authorized = self.headers["Authorization"] == f"Bearer {METRICS_TOKEN}"
                self._answer(200 if authorized else 401, receiver.page.encode())

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    receiver = AlertReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    return make_database()


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    yield engine
    engine.dispose()


def settings_of(url: str, **overrides: Any) -> Settings:
    variables = {
        f"ALERTS__{key.upper()}": yaml.safe_dump(value, default_flow_style=True) for key, value in overrides.items()
    }
    return load_settings(environment={"DATABASE_URL": url, "METRICS_TOKEN": METRICS_TOKEN, **variables})


def delivery_lines(messages: list[Message]) -> list[str]:
    return [f"{message.title} -> {message.channel}" for message in messages]


def collect_into(messages: list[Message]) -> Callable[[Message], None]:
    return messages.append


def test_an_alert_and_its_resolution_are_sent_once(engine: Engine, url: str) -> None:
    outbox, sent = Outbox(engine, settings_of(url).alerts), list[Message]()
    for second in range(3):
        now = NOW + timedelta(seconds=second)
        outbox.synchronize({DAILY_LOSS.key: DAILY_LOSS}, now)
        outbox.deliver(collect_into(sent), now)
    # Another process, or this one after a restart, reads the open alerts from the database.
    Outbox(engine, settings_of(url).alerts).synchronize({DAILY_LOSS.key: DAILY_LOSS}, NOW + timedelta(seconds=9))
    outbox.deliver(collect_into(sent), NOW + timedelta(seconds=9))
    assert delivery_lines(sent) == ["critical: daily_loss_threshold -> people"]
    assert sent[0].body == "today's result is -6,000.00 (limit -5000)"
    outbox.synchronize({}, NOW + timedelta(seconds=10))
    outbox.deliver(collect_into(sent), NOW + timedelta(seconds=10))
    assert delivery_lines(sent)[1:] == ["resolved: critical: daily_loss_threshold -> people"]


def test_a_flapping_alert_is_sent_once_per_window(engine: Engine, url: str) -> None:
    outbox, sent = Outbox(engine, settings_of(url, dedupe_window="10m").alerts), list[Message]()
    for minute in range(0, 12, 2):
        outbox.synchronize({CONCENTRATION.key: CONCENTRATION}, NOW + timedelta(minutes=minute))
        outbox.synchronize({}, NOW + timedelta(minutes=minute + 1))
        outbox.deliver(collect_into(sent), NOW + timedelta(minutes=minute + 1))
    opened = [message for message in sent if not message.title.startswith("resolved")]
    assert len(opened) == 2, "at the beginning, and when the window was over"
    assert len(sent) == 4
    assert len(outbox.list_alerts(include_resolved=True, limit=100)) == 6, "each time is in the list"


def test_a_rejected_message_is_resent_with_the_same_id(engine: Engine, url: str) -> None:
    outbox, attempts = Outbox(engine, settings_of(url).alerts), list[tuple[float, str]]()

    def send(message: Message) -> str | None:
        attempts.append(((now - NOW).total_seconds(), message.delivery_id))
        return "away" if len(attempts) < 4 else None

    outbox.synchronize({DAILY_LOSS.key: DAILY_LOSS}, NOW)
    for second in range(120):
        now = NOW + timedelta(seconds=second)
        outbox.deliver(send, now)
    assert [elapsed_s for elapsed_s, _ in attempts] == [0, 5, 15, 35], "the delay doubles: 5, 10, 20 s"
    assert len({delivery_id for _, delivery_id in attempts}) == 1


def test_a_crash_after_sending_resends_and_loses_nothing(engine: Engine, url: str) -> None:
    outbox, sent = Outbox(engine, settings_of(url).alerts), list[Message]()

    def send_and_crash(message: Message) -> str | None:
        sent.append(message)
        raise KeyboardInterrupt

    outbox.synchronize({DAILY_LOSS.key: DAILY_LOSS}, NOW)
    with pytest.raises(KeyboardInterrupt):
        outbox.deliver(send_and_crash, NOW)
    outbox.deliver(collect_into(sent), NOW)
    outbox.deliver(collect_into(sent), NOW)
    assert len(sent) == 2 and sent[0] == sent[1]


def test_quiet_hours_delay_all_but_critical_alerts(engine: Engine, url: str) -> None:
    quiet = {"begin": "11:00", "end": "13:00", "let_through": "critical"}
    outbox, sent = Outbox(engine, settings_of(url, quiet_hours=quiet).alerts), list[Message]()
    latency = ActiveCondition(key="database_latency", name="database_latency", summary="slow", value=0.2, threshold=0.1)
    outbox.synchronize({alert.key: alert for alert in (DAILY_LOSS, CONCENTRATION, latency)}, NOW)
    outbox.deliver(collect_into(sent), NOW)
    assert delivery_lines(sent) == ["critical: daily_loss_threshold -> people"]
    outbox.synchronize(
        {alert.key: alert for alert in (DAILY_LOSS, CONCENTRATION)}, NOW + timedelta(minutes=30)
    )  # PostgreSQL is available again
    outbox.deliver(collect_into(sent), NOW + timedelta(minutes=61))
    assert delivery_lines(sent)[1:] == ["warning: position_concentration -> people"], (
        "an alert that ended before then is not sent"
    )
    with engine.connect() as db:
        dropped = db.execute(select(alert_deliveries.c.delivery_id).where(alert_deliveries.c.dropped_at.is_not(None)))
        assert [name.split("@")[0] for name in dropped.scalars()] == ["database_latency"]


def test_a_channel_receives_only_its_minimum_severity(engine: Engine, url: str) -> None:
    channels = [
        {"name": "pager", "secret": "ALERT_URLS", "severity": "critical"},
        {"name": "chat", "secret": "ALERT_URLS", "severity": "info"},
    ]
    outbox, sent = Outbox(engine, settings_of(url, channels=channels).alerts), list[Message]()
    outbox.synchronize({DAILY_LOSS.key: DAILY_LOSS, CONCENTRATION.key: CONCENTRATION}, NOW)
    outbox.deliver(collect_into(sent), NOW)
    assert sorted((message.channel, message.severity) for message in sent) == [
        ("chat", "critical"),
        ("chat", "warning"),
        ("pager", "critical"),
    ]


def make_watch(url: str, receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch) -> AlertMonitor:
    monkeypatch.setenv("ALERT_URLS", f"json://127.0.0.1:{receiver.port}/")
    settings = settings_of(url, metrics_url=f"http://127.0.0.1:{receiver.port}/metrics")
    return AlertMonitor(settings, AlertChannels(settings.alerts), None)


def test_a_metric_becomes_a_message_at_the_configured_address(
    url: str, receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch, redis_url: str, tmp_path: Path
) -> None:
    watch = make_watch(url, receiver, monkeypatch)
    receiver.page = 'platform_trading_halted 1\nplatform_service_up{service="risk"} 0\n'
    watch.check()
    watch.check()
    # A service may restart within 30 s before its alert is sent. The alert of the halt is sent at once, and only once.
    assert receiver.titles() == ["critical: circuit_breaker_activation"]
    assert receiver.messages[0]["type"] == "failure"
    assert "trading is halted" in receiver.messages[0]["message"]
    settings = load_settings(environment={"DATABASE_URL": url, "REDIS_URL": redis_url})
    with TestClient(create_app(settings, home=tmp_path)) as client:
        assert client.get("/api/v1/alerts").status_code == 401
        [alert] = log_in(client).get("/api/v1/alerts").json()
        assert (alert["key"], alert["state"], alert["messages_sent"]) == (
            "circuit_breaker_activation/kill_switch",
            "open",
            1,
        )
        receiver.page = "platform_trading_halted 0\n"
        watch.check()
        assert receiver.titles()[1:] == ["resolved: critical: circuit_breaker_activation"]
        assert client.get("/api/v1/alerts").json() == []
        [alert] = client.get("/api/v1/alerts?include_resolved=true").json()
        assert alert["state"] == "resolved" and alert["resolved_at"] >= alert["opened_at"]
    watch.close()


def test_alerts_are_sent_without_the_database(receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = make_watch("postgresql://u:secret@127.0.0.1:1/none", receiver, monkeypatch)
    receiver.page = "platform_trading_halted 1\n"
    watch.check()
    watch.check()
    assert receiver.titles() == ["critical: circuit_breaker_activation"], "once, although nothing can be remembered"
    watch.close()


def test_an_invalid_address_is_reported_without_the_secret() -> None:
    alerts: AlertsSection = load_settings(environment={}).alerts
    with pytest.raises(BadInput, match="secret ALERT_URLS: line 2 is not an apprise URL") as error:
        AlertChannels(
            alerts, {"ALERT_URLS": "json://127.0.0.1/\nnonsense-with-a-token", "PLATFORM_HOME": "/nonexistent"}
        )
    assert "nonsense" not in str(error.value)


def test_the_command_line_lists_alerts_and_sends_a_test(url: str, receiver: AlertReceiver, tmp_path: Path) -> None:
    address = f"json://127.0.0.1:{receiver.port}/"
    completed = cli(tmp_path, "alerts", "test", ALERT_URLS=address)
    assert completed.returncode == 0, completed.stderr
    assert "people: accepted by 1 address(es)" in completed.stdout and receiver.titles() == ["info: test"]
    receiver.status = 500
    assert cli(tmp_path, "alerts", "test", ALERT_URLS=address).returncode == 1
    Home(tmp_path).create_folders()
    engine = open_engine(url)
    Outbox(engine, load_settings(environment={}).alerts).synchronize({DAILY_LOSS.key: DAILY_LOSS}, NOW)
    engine.dispose()
    completed_list = cli(tmp_path, "alerts", "list", DATABASE_URL=url)
    assert "daily_loss_threshold" in completed_list.stdout and "-6,000.00" in completed_list.stdout, (
        completed_list.stderr
    )

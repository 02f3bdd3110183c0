"""From a figure on the metrics page to a message at a real address, over a real Postgres."""

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

from api.alerting.__main__ import Watch
from api.alerting.channels import Channels
from api.alerting.conditions import Found
from api.alerting.outbox import Message, Outbox
from api.app import create_app
from configs.alerts import Alerts
from configs.settings import Settings, load_settings
from deploy.home import Home
from schemas.errors import BadInput
from sinks.alerts import alert_deliveries
from sinks.database import open_engine
from tests.integration.api_people import logged_in
from tests.integration.recorded_platform import cli

NOW = datetime(2024, 3, 8, 12, 0, tzinfo=UTC)
LOSS = Found("daily_loss_threshold", "daily_loss_threshold", "today's result is -6,000.00", -6000.0, -5000.0)
BIG = Found("position_concentration/SPY", "position_concentration", "SPY is 20.0% of equity", 0.2, 0.15)


class Listener:
    """An address that takes messages, or refuses them, and a metrics page."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.page, self.status = "", 200
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if listener.status == 200:
                    listener.messages.append(body)
                self._answer(listener.status, b"")

            def do_GET(self) -> None:
                self._answer(200, listener.page.encode())

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
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    return make_database()


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    yield engine
    engine.dispose()


def settings_of(url: str, **over: Any) -> Settings:
    given = {f"ALERTS__{key.upper()}": yaml.safe_dump(value, default_flow_style=True) for key, value in over.items()}
    return load_settings(environment={"DATABASE_URL": url, **given})


def told(found: list[Message]) -> list[str]:
    return [f"{message.title} -> {message.channel}" for message in found]


def taking(found: list[Message]) -> Callable[[Message], None]:
    return found.append


def test_an_alert_is_told_once_and_its_end_too(engine: Engine, url: str) -> None:
    outbox, sent = Outbox(engine, settings_of(url).alerts), list[Message]()
    for second in range(3):
        at = NOW + timedelta(seconds=second)
        outbox.keep({LOSS.key: LOSS}, at)
        outbox.deliver(taking(sent), at)
    # Another process, or this one after a restart, knows what is open.
    Outbox(engine, settings_of(url).alerts).keep({LOSS.key: LOSS}, NOW + timedelta(seconds=9))
    outbox.deliver(taking(sent), NOW + timedelta(seconds=9))
    assert told(sent) == ["critical: daily_loss_threshold -> people"]
    assert sent[0].body == "today's result is -6,000.00 (limit -5000)"
    outbox.keep({}, NOW + timedelta(seconds=10))
    outbox.deliver(taking(sent), NOW + timedelta(seconds=10))
    assert told(sent)[1:] == ["resolved: critical: daily_loss_threshold -> people"]


def test_what_comes_and_goes_is_told_once_within_the_window(engine: Engine, url: str) -> None:
    outbox, sent = Outbox(engine, settings_of(url, dedupe_window="10m").alerts), list[Message]()
    for minute in range(0, 12, 2):
        outbox.keep({BIG.key: BIG}, NOW + timedelta(minutes=minute))
        outbox.keep({}, NOW + timedelta(minutes=minute + 1))
        outbox.deliver(taking(sent), NOW + timedelta(minutes=minute + 1))
    opened = [message for message in sent if not message.title.startswith("resolved")]
    assert len(opened) == 2, "at the beginning, and when the window was over"
    assert len(sent) == 4
    assert len(outbox.listed(include_resolved=True, limit=100)) == 6, "each time is in the list"


def test_a_message_that_is_refused_is_sent_again_with_the_same_id(engine: Engine, url: str) -> None:
    outbox, tries = Outbox(engine, settings_of(url).alerts), list[tuple[float, str]]()

    def send(message: Message) -> str | None:
        tries.append(((at - NOW).total_seconds(), message.delivery_id))
        return "away" if len(tries) < 4 else None

    outbox.keep({LOSS.key: LOSS}, NOW)
    for second in range(120):
        at = NOW + timedelta(seconds=second)
        outbox.deliver(send, at)
    assert [when for when, _ in tries] == [0, 5, 15, 35], "ever later: 5, 10, 20 s"
    assert len({delivery_id for _, delivery_id in tries}) == 1


def test_a_crash_behind_the_sending_sends_again_and_nothing_is_lost(engine: Engine, url: str) -> None:
    outbox, sent = Outbox(engine, settings_of(url).alerts), list[Message]()

    def send_and_die(message: Message) -> str | None:
        sent.append(message)
        raise KeyboardInterrupt

    outbox.keep({LOSS.key: LOSS}, NOW)
    with pytest.raises(KeyboardInterrupt):
        outbox.deliver(send_and_die, NOW)
    outbox.deliver(taking(sent), NOW)
    outbox.deliver(taking(sent), NOW)
    assert len(sent) == 2 and sent[0] == sent[1]


def test_quiet_hours_hold_back_all_but_what_is_critical(engine: Engine, url: str) -> None:
    quiet = {"begin": "11:00", "end": "13:00", "let_through": "critical"}
    outbox, sent = Outbox(engine, settings_of(url, quiet_hours=quiet).alerts), list[Message]()
    over = Found("database_latency", "database_latency", "slow", 0.2, 0.1)
    outbox.keep({one.key: one for one in (LOSS, BIG, over)}, NOW)
    outbox.deliver(taking(sent), NOW)
    assert told(sent) == ["critical: daily_loss_threshold -> people"]
    outbox.keep({one.key: one for one in (LOSS, BIG)}, NOW + timedelta(minutes=30))  # the database is well again
    outbox.deliver(taking(sent), NOW + timedelta(minutes=61))
    assert told(sent)[1:] == ["warning: position_concentration -> people"], "what was over by then is not told"
    with engine.connect() as db:
        dropped = db.execute(select(alert_deliveries.c.delivery_id).where(alert_deliveries.c.dropped_at.is_not(None)))
        assert [name.split("@")[0] for name in dropped.scalars()] == ["database_latency"]


def test_a_channel_gets_only_what_is_grave_enough(engine: Engine, url: str) -> None:
    channels = [
        {"name": "pager", "secret": "ALERT_URLS", "severity": "critical"},
        {"name": "chat", "secret": "ALERT_URLS", "severity": "info"},
    ]
    outbox, sent = Outbox(engine, settings_of(url, channels=channels).alerts), list[Message]()
    outbox.keep({LOSS.key: LOSS, BIG.key: BIG}, NOW)
    outbox.deliver(taking(sent), NOW)
    assert sorted((message.channel, message.severity) for message in sent) == [
        ("chat", "critical"),
        ("chat", "warning"),
        ("pager", "critical"),
    ]


def watching(url: str, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setenv("ALERT_URLS", f"json://127.0.0.1:{listener.port}/")
    settings = settings_of(url, metrics_url=f"http://127.0.0.1:{listener.port}/metrics")
    return Watch(settings, Channels(settings.alerts), None)


def test_a_figure_becomes_a_message_at_the_address(
    url: str, listener: Listener, monkeypatch: pytest.MonkeyPatch, redis_url: str, tmp_path: Path
) -> None:
    watch = watching(url, listener, monkeypatch)
    listener.page = 'platform_trading_halted 1\nplatform_service_up{service="risk"} 0\n'
    watch.round()
    watch.round()
    # The service has 30 s to come back; the halt is told at once, and once.
    assert listener.titles() == ["critical: circuit_breaker_activation"]
    assert listener.messages[0]["type"] == "failure"
    assert "trading is halted" in listener.messages[0]["message"]
    settings = load_settings(environment={"DATABASE_URL": url, "REDIS_URL": redis_url})
    with TestClient(create_app(settings, home=tmp_path)) as client:
        assert client.get("/api/v1/alerts").status_code == 401
        [alert] = logged_in(client).get("/api/v1/alerts").json()
        assert (alert["key"], alert["state"], alert["messages_sent"]) == (
            "circuit_breaker_activation/kill_switch",
            "open",
            1,
        )
        listener.page = "platform_trading_halted 0\n"
        watch.round()
        assert listener.titles()[1:] == ["resolved: critical: circuit_breaker_activation"]
        assert client.get("/api/v1/alerts").json() == []
        [alert] = client.get("/api/v1/alerts?include_resolved=true").json()
        assert alert["state"] == "resolved" and alert["resolved_at"] >= alert["opened_at"]
    watch.close()


def test_without_the_database_people_are_told_all_the_same(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watching("postgresql://u:secret@127.0.0.1:1/none", listener, monkeypatch)
    listener.page = "platform_trading_halted 1\n"
    watch.round()
    watch.round()
    assert listener.titles() == ["critical: circuit_breaker_activation"], "once, although nothing can be remembered"
    watch.close()


def test_an_address_that_is_none_is_one_sentence_without_the_secret() -> None:
    alerts: Alerts = load_settings(environment={}).alerts
    with pytest.raises(BadInput, match="secret ALERT_URLS: line 2 is no address") as error:
        Channels(alerts, {"ALERT_URLS": "json://127.0.0.1/\nnonsense-with-a-token", "PLATFORM_HOME": "/nonexistent"})
    assert "nonsense" not in str(error.value)


def test_the_command_line_lists_alerts_and_sends_a_test(url: str, listener: Listener, tmp_path: Path) -> None:
    address = f"json://127.0.0.1:{listener.port}/"
    done = cli(tmp_path, "alerts", "test", ALERT_URLS=address)
    assert done.returncode == 0, done.stderr
    assert "people: taken by 1 address(es)" in done.stdout and listener.titles() == ["info: test"]
    listener.status = 500
    assert cli(tmp_path, "alerts", "test", ALERT_URLS=address).returncode == 1
    Home(tmp_path).make()
    engine = open_engine(url)
    Outbox(engine, load_settings(environment={}).alerts).keep({LOSS.key: LOSS}, NOW)
    engine.dispose()
    listed = cli(tmp_path, "alerts", "list", DATABASE_URL=url)
    assert "daily_loss_threshold" in listed.stdout and "-6,000.00" in listed.stdout, listed.stderr

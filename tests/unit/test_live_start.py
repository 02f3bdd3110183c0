"""Live trading refuses to start on each missing precondition, lists all of them at once, and names each repair."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from configs.settings import Settings, load_settings
from configs.settings.execution import AlpacaSection
from dataflows.broker import broker_setup, live_preconditions
from dataflows.broker.first_reconciliation import FirstReconciliation
from dataflows.broker.live_preconditions import require_live_preconditions, settings_problems
from deploy.alpaca_server import AlpacaServer
from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor import live_start
from deploy.supervisor.live_start import (
    RecordedAccount,
    account_problems,
    alert_problems,
    read_verify_problems,
    verify_problems,
)
from deploy.verification.verdict import Comparison, VerificationResult
from schemas.errors import BadInput
from schemas.records import DOWN, READY, GatewayState, GatewayStatus
from sinks.host_kill_switch import HostKillSwitch, new_halt_command
from tests.builders import broker_account, order
from tests.unit.alpaca_broker import local_broker
from tests.unit.gateway_session import PREFIX, GatewaySession
from tests.unit.local_http_server import LocalServer, local_server

LIVE = {
    "TRADING_MODE": "live",
    "EXECUTION__BROKER": "alpaca",
    "EXECUTION__LIVE_ACCOUNT": "'LOCAL1'",
    "MARKET_DATA__FEED": "alpaca",
}
SASL = {
    "KAFKA__SECURITY__PROTOCOL": "SASL_PLAINTEXT",
    "KAFKA__SECURITY__USER": "platform",
    "KAFKA_PASSWORD": "not-to-be-seen",  # pragma: allowlist secret
}
COPIES = {"KAFKA__REPLICATION": "3"}
ADDRESS = {"ALERT_URLS": "json://127.0.0.1:9/"}


def live_settings(**variables: str) -> Settings:
    return load_settings(environment={**LIVE, **SASL, **COPIES, **variables})


def at_local_broker(settings: Settings, server: AlpacaServer) -> Settings:
    """Live settings refuse `alpaca.url`; the check itself must not reach Alpaca in a test."""
    return settings.model_copy(update={"alpaca": AlpacaSection(url=server.url)})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.create_folders()
    return home


@pytest.fixture(autouse=True)
def no_stored_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    monkeypatch.delenv("ALERT_URLS", raising=False)


# -- the settings ------------------------------------------------------------------------------------------------------


def test_complete_settings_have_no_finding() -> None:
    assert settings_problems(live_settings(), ADDRESS) == []


def test_a_cluster_without_authentication_is_named() -> None:
    settings = load_settings(environment={**LIVE, **COPIES})
    assert settings_problems(settings, ADDRESS) == [
        "kafka.security.protocol is PLAINTEXT without credentials, so every program that reaches Kafka can write "
        "orders; use a cluster that authenticates its clients, and set kafka.security"
    ]
    encrypted_only = load_settings(environment={**LIVE, **COPIES, "KAFKA__SECURITY__PROTOCOL": "SSL"})
    assert "kafka.security.protocol is SSL without credentials" in settings_problems(encrypted_only, ADDRESS)[0]


def test_one_copy_of_each_topic_needs_an_acknowledgement() -> None:
    one_copy = {"KAFKA__REPLICATION": "1"}
    (problem,) = settings_problems(live_settings(**one_copy), ADDRESS)
    assert problem.startswith("kafka.replication is 1, so the loss of one disk loses records; ")
    assert problem.endswith("or accept the risk with kafka.replication_acknowledged: 1")
    assert settings_problems(live_settings(**one_copy, KAFKA__REPLICATION_ACKNOWLEDGED="1"), ADDRESS) == []


def test_a_missing_alert_address_is_named() -> None:
    assert settings_problems(live_settings(), {}) == [
        "no alert address is set; set one with `python cli.py secrets set ALERT_URLS`"
    ]
    without_channels = live_settings(ALERTS__CHANNELS="[]")
    assert settings_problems(without_channels, ADDRESS) == [
        "no alert channel is configured; add one under alerts.channels"
    ]


@pytest.mark.parametrize(
    ("visible", "copies", "acknowledged", "expected"),
    [
        (None, 3, None, []),
        ([], 3, None, []),
        (["orders"], 3, None, ["accepts clients without credentials; require SASL or client certificates"]),
        (None, 1, None, ["1 topic of Kafka have fewer than 2 copies (orders); reassign"]),
        (None, 1, 1, []),
    ],
    ids=["refused", "authorization hides every topic", "accepted", "one copy", "acknowledged"],
)
def test_the_cluster_itself_is_checked(
    visible: list[str] | None,
    copies: int,
    acknowledged: int | None,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_preconditions, "topic_replication", lambda cluster: {"orders": copies, "of-others": 1})
    monkeypatch.setattr(live_preconditions, "anonymous_topics", lambda cluster: visible)
    kafka = live_settings().kafka.model_copy(update={"replication_acknowledged": acknowledged})
    problems = live_preconditions.kafka_problems(kafka)
    assert len(problems) == len(expected)
    assert all(text in problem for text, problem in zip(expected, problems, strict=True))


# -- the books and the account -----------------------------------------------------------------------------------------


def test_the_books_are_verified_from_the_first_record_on(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[dict[str, object]] = []

    def check_all(settings: Settings, home: Home, **given: object) -> VerificationResult:
        options.append(given)
        return VerificationResult([], "", "")

    monkeypatch.setattr("deploy.commands.verify.check_all", check_all)
    assert read_verify_problems(home, load_settings()) == []
    assert options[0]["from_start"] is True


def test_differences_of_verify_are_named_except_those_of_the_broker() -> None:
    checks = [
        Comparison("positions", 3, "AAPL: 5 in the table, 6 in the ledger"),
        Comparison("orders caused", 1, None),
        Comparison("broker", 1, "position of AAPL is 5 at the broker, the ledger has 6"),
    ]
    (problem,) = verify_problems(VerificationResult(checks, ""))
    assert problem.startswith(
        "`verify` found differences in the books (positions: AAPL: 5 in the table, 6 in the ledger); restore a backup"
    )
    assert verify_problems(VerificationResult(checks[1:], "")) == []
    unread = Comparison("topics", 0, None, "not compared: no connection")
    assert verify_problems(VerificationResult([unread], "")) == [
        "`verify` could not compare the topics: not compared: no connection"
    ]


@pytest.mark.parametrize(
    ("at_broker", "orders_at_broker", "books", "foreign", "difference"),
    [
        ({"AAPL": "5"}, (), RecordedAccount({"AAPL": Decimal(5)}, {}), {}, None),
        ({"AAPL": "7"}, (), RecordedAccount({"AAPL": Decimal(5)}, {}), {"AAPL": Decimal(2)}, None),
        ({"AAPL": "6"}, (), RecordedAccount({"AAPL": Decimal(5)}, {}), {}, "AAPL: position is 5 here, 6 at the broker"),
        ({}, (), RecordedAccount({"AAPL": Decimal(5)}, {}), {}, "AAPL: position is 5 here, 0 at the broker"),
        # Its fills while the platform was down are not in the books yet.
        ({"AAPL": "6"}, (), RecordedAccount({"AAPL": Decimal(5)}, {"ord-1": "AAPL"}), {}, None),
        ({}, ("ord-2",), RecordedAccount({}, {"ord-1": "AAPL"}), {}, "order ord-2 is open at the broker but not here"),
    ],
    ids=["equal", "foreign units", "another quantity", "closed at the broker", "open order", "unknown order"],
)
def test_the_account_is_compared_with_the_books(
    at_broker: dict[str, str],
    orders_at_broker: tuple[str, ...],
    books: RecordedAccount,
    foreign: dict[str, Decimal],
    difference: str | None,
) -> None:
    problems = account_problems(broker_account(1, at_broker, orders_at_broker), books, foreign)
    if difference is None:
        assert problems == []
    else:
        (problem,) = problems
        assert problem.startswith(f"the account is not reconciled ({difference}); correct the account at the broker")


def test_another_account_and_foreign_positions_are_named() -> None:
    with local_broker() as server:
        server.broker.book.positions["AAPL"], server.broker.book.costs["AAPL"] = Decimal(3), Decimal(300)
        settings = at_local_broker(live_settings(EXECUTION__LIVE_ACCOUNT="'OTHER'"), server)
        problems = live_start.read_account_problems(settings, new_platform=True)
    assert len(problems) == 2
    assert problems[0].endswith("use the keys of the account, or name the account of the keys")
    assert "AAPL: position is 0 here, 3 at the broker" in problems[1]


# -- the alert address -------------------------------------------------------------------------------------------------


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    with local_server() as server:
        monkeypatch.setenv("ALERT_URLS", server.url.replace("http", "json") + "/")
        yield server


def test_a_test_message_must_be_accepted(receiver: LocalServer) -> None:
    receiver.set_response("/", b"ok")
    assert alert_problems(live_settings()) == []
    assert b"Live trading on account LOCAL1 is about to start" in receiver.requests[0].body
    receiver.set_response("/", b"full", status=500)
    (problem,) = alert_problems(live_settings())
    assert problem.startswith("alert channel people did not accept a test message: ")


# -- all together ------------------------------------------------------------------------------------------------------


def test_all_findings_are_one_message(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(environment={**LIVE, "EXECUTION__LIVE_ACCOUNT": "'OTHER'"})
    found = verify_problems(VerificationResult([Comparison("cash", 1, "cash is 1, expected 2")], ""))
    monkeypatch.setattr(live_start, "read_verify_problems", lambda home, settings: found)
    monkeypatch.setattr(live_start, "kafka_problems", lambda kafka: ["Kafka accepts clients without credentials"])
    monkeypatch.setattr(live_start, "read_recorded_account", lambda url: RecordedAccount({"AAPL": Decimal(1)}, {}))
    monkeypatch.setattr(broker_setup, "platform_id", lambda settings: "p1")
    with local_broker() as server, pytest.raises(DeployError) as refusal:
        live_start.require_live_start(home, at_local_broker(settings, server), new_platform=False)
    text = str(refusal.value)
    assert text.startswith("live trading does not start, for 7 reasons: (1) ")
    for number, part in enumerate(
        (
            "kafka.security.protocol is PLAINTEXT",
            "kafka.replication is 1",
            "no alert address is set",
            "Kafka accepts clients without credentials",
            "`verify` found differences in the books (cash: cash is 1, expected 2)",
            "the keys belong to account LOCAL1, but execution.live_account is OTHER",
            "AAPL: position is 1 here, 0 at the broker",
        ),
        1,
    ):
        start = text.index(f"({number}) ")
        assert part in text[start:], (number, text)
    assert "\n" not in text


def test_the_substitute_for_kafka_is_refused_without_a_request(home: Home) -> None:
    with pytest.raises(DeployError) as refusal:
        live_start.require_live_start(home, live_settings(), new_platform=True, degraded=["Kafka is replaced by Tansu"])
    assert str(refusal.value) == (
        "live trading does not start, for 2 reasons: (1) Kafka is replaced by Tansu; make Kafka available (KAFKA_HOME "
        "or the network), or set KAFKA_BOOTSTRAP_SERVERS. (2) no alert address is set; set one with "
        "`python cli.py secrets set ALERT_URLS`."
    )


def test_under_a_halt_the_books_may_be_repaired(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERT_URLS", "json://127.0.0.1:9/")
    monkeypatch.setattr(live_start, "kafka_problems", lambda kafka: [])
    monkeypatch.setattr(live_start, "alert_problems", lambda settings: [])
    monkeypatch.setattr(live_start, "read_verify_problems", lambda home, settings: ["the books differ"])
    monkeypatch.setattr(live_start, "read_account_problems", lambda settings, new_platform: [])
    with pytest.raises(DeployError, match=r"for 1 reason: .1. the books differ"):
        live_start.require_live_start(home, live_settings(), new_platform=False)
    HostKillSwitch(home.run).engage(new_halt_command("host:test", "repair"))
    lines: list[str] = []
    live_start.require_live_start(home, live_settings(), new_platform=False, report=lines.append)
    assert lines == ["live trading is halted by the kill switch: the books differ"]


def test_paper_trading_needs_none_of_it(home: Home) -> None:
    settings = load_settings(environment={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    live_start.require_live_start(home, settings, new_platform=False)


def test_a_gateway_that_is_started_by_hand_refuses_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        live_preconditions, "kafka_problems", lambda kafka: ["Kafka accepts clients without credentials"]
    )
    settings = load_settings(
        environment={**LIVE, "ALPACA_API_KEY": "k", "ALPACA_SECRET_KEY": "s"}  # pragma: allowlist secret
    )
    with pytest.raises(BadInput, match="live trading does not start, for 4 reasons: ") as refusal:
        broker_setup.build_broker_sink(settings)
    assert "(4) Kafka accepts clients" in str(refusal.value)
    with pytest.raises(BadInput, match="Kafka is replaced by Tansu"):
        require_live_preconditions(live_settings(), {**ADDRESS, "PLATFORM_DEGRADED": "Kafka is replaced by Tansu"})


# -- no order before the gateway is reconciled -------------------------------------------------------------------------


def status(state: GatewayState, reason: str = "") -> GatewayStatus:
    return GatewayStatus(seq=1, ts_ns=1, state=state, broker="alpaca", reason=reason, cause_id="")


def test_a_repeated_status_of_an_earlier_process_does_not_count() -> None:
    reconciliation = FirstReconciliation(1_000_000_000, required=True)
    assert reconciliation.text == "the gateway restarted at 1970-01-01 00:00:01.000000 UTC"
    completed = []
    for one in (
        status(DOWN, "the gateway restarted at 1970-01-01 00:00:00.500000 UTC"),
        status(READY),
        status(DOWN, reconciliation.text),
        status(READY),
    ):
        reconciliation.on_status(one)
        completed.append(reconciliation.completed)
    assert completed == [False, False, False, True]
    assert FirstReconciliation(1, required=False).completed


def test_no_order_is_sent_before_the_account_is_reconciled() -> None:
    with local_broker() as server:
        server.broker.book.positions["AAPL"], server.broker.book.costs["AAPL"] = Decimal(5), Decimal(500)
        session = GatewaySession(server, reconcile_first=True)
        try:
            session.step(order(1))
            session.run_until(
                lambda: any("AAPL: position is 0 here, 5 at the broker" in one.reason for one in session.statuses),
                "the difference",
            )
            assert session.intents, "the order waits at the edge"
            assert PREFIX + "ord-1" not in server.broker.book.by_client
            server.broker.book.positions.clear()
            session.run_until_ready()
            session.run_until(lambda: PREFIX + "ord-1" in server.broker.book.by_client, "the order arrives")
        finally:
            session.kill()

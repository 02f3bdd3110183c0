"""Cash transfers from the API's command to the tables, and the figures net of flows that PostgreSQL computes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from fastapi.testclient import TestClient
from sqlalchemy import text

from api.app import create_app
from api.metrics.portfolio import PortfolioMetrics
from api.roles import Role
from configs.settings import Settings, load_settings
from dataflows.runtime import stages
from deploy.supervisor.topics import TopicSpec, create_topics
from deploy.verification.ledger_tables import compare_ledger
from operators.ledger import Ledger
from operators.performance import Performance
from operators.stage import Stage, TimeSlice
from schemas.codec import decode
from schemas.records import Bar, Command, Record
from sinks.database import open_engine
from sinks.postgres import PostgresWriter
from tests.builders import bar
from tests.integration.api_users import bearer, token_of

PREFIX = f"cash-{time.time_ns()}-"
T0, MINUTE = 1_705_314_600_000_000_000, 60_000_000_000
TRANSFERS = "/api/v1/portfolio/cash-transfers"
PERFORMANCE = "/api/v1/portfolio/performance"


class CashPlatform:
    """The trading loop in this process: commands from Kafka, output to PostgreSQL."""

    def __init__(self, settings: Settings) -> None:
        self.loop: Stage = stages.trading_loop(settings)()
        self.writer = PostgresWriter(settings.database.postgres.url, name="test")
        self.performance = Performance(settings.portfolio_manager.initial_capital)
        self.consumer = Consumer(
            {"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": PREFIX, "enable.auto.commit": False}
        )
        self.consumer.assign([TopicPartition(f"{PREFIX}commands", 0, 0)])
        self.minute = 0

    def next_command(self) -> Command:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            message = self.consumer.poll(0.2)
            if message is not None and message.error() is None:
                record = decode(message.value() or b"")
                assert isinstance(record, Command)
                return record
        raise AssertionError("no command arrived")

    def run_minute(self, close: float, *commands: Command) -> list[Record]:
        self.minute += 1
        ts_ns = T0 + self.minute * MINUTE
        records: list[Record] = [*commands, bar("AAPL", self.minute, ts_ns, close, day=20240115)]
        output = self.loop.on_slice(ts_ns, records)
        self.performance.on_slice(TimeSlice(ts_ns, [*records, *output]))
        self.writer.write([*(record for record in records if type(record) in (Bar, Command)), *output])
        return output

    def close(self) -> None:
        self.consumer.close()
        self.writer.close()


@pytest.fixture(scope="module")
def settings(database_url: str, redis_url: str, kafka: str) -> Settings:
    create_topics(kafka, [TopicSpec(f"{PREFIX}commands", 1)])
    return load_settings(
        environment={
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "KAFKA__TOPIC_PREFIX": PREFIX,
            "PORTFOLIO_MANAGER__INITIAL_CAPITAL": "100000",
            "RISK_MANAGER__MAX_DRAWDOWN": "0.5",
            "RISK_MANAGER__MAX_DAILY_LOSS": "50000",
            "RISK_MANAGER__CIRCUIT_BREAKER_THRESHOLD": "unlimited",
            "API__COMMAND_RATE": "10000/minute",
            "API__READ_RATE": "10000/minute",
        }
    )


@pytest.fixture(scope="module")
def client(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(create_app(settings, home=tmp_path_factory.mktemp("home"))) as client:
        yield client


@pytest.fixture(scope="module")
def risk(client: TestClient) -> dict[str, str]:
    return bearer(token_of(client.app, Role.RISK))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def platform(settings: Settings, client: TestClient, risk: dict[str, str]) -> Iterator[CashPlatform]:
    """A position of 500 AAPL, bought at 100, that falls to 80; then 90,000 come in, then it rises to 90."""
    running = CashPlatform(settings)
    running.run_minute(100.0)
    order = {"symbol": "AAPL", "side": "BUY", "quantity": 500}
    trader = bearer(token_of(client.app, Role.ADMIN))  # type: ignore[arg-type]
    submitted = client.post("/api/v1/orders", json=order, headers=trader)
    assert submitted.status_code == 202, submitted.text
    running.run_minute(100.0, running.next_command())
    running.run_minute(100.0)
    running.run_minute(80.0)
    body = {"kind": "DEPOSIT", "amount": "90000.00", "reason": "new capital", "reference": "wire 4711"}
    for _ in range(2):  # the second request is a retry
        response = client.post(TRANSFERS, json=body, headers={**risk, "Idempotency-Key": "deposit-1"})
        assert response.status_code == 202, response.text
    assert response.json()["amount"] == 90_000 and response.json()["status"] == "PENDING"
    running.run_minute(80.0, running.next_command())
    running.run_minute(90.0)
    yield running
    running.close()


def get(client: TestClient, path: str, headers: dict[str, str]) -> Any:
    response = client.get(path, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_recorded_transfer_is_listed_with_its_origin(
    client: TestClient, platform: CashPlatform, risk: dict[str, str]
) -> None:
    [transfer] = get(client, TRANSFERS, risk)["transfers"]
    assert (transfer["kind"], transfer["amount"], transfer["currency"]) == ("DEPOSIT", 90_000, "USD")
    assert (transfer["source"], transfer["actor"], transfer["reference"]) == ("COMMAND", "the-risk", "wire 4711")
    assert get(client, f"{TRANSFERS}?kind=FEE", risk) == {"transfers": [], "next": None}
    lineage = get(client, f"/api/v1/lineage/{transfer['transfer_id']}", risk)
    assert transfer["cause_id"] in str(lineage) and "DEPOSIT of 90000 USD by the-risk" in str(lineage)
    state = get(client, "/api/v1/portfolio/state", risk)
    assert state["net_flows"] == 90_000


def test_the_report_of_the_api_is_that_of_the_backtest_and_net_of_the_flow(
    client: TestClient, platform: CashPlatform, risk: dict[str, str]
) -> None:
    report, run = get(client, PERFORMANCE, risk), platform.performance
    assert report["net_flows"] == 90_000
    assert report["profit"] == pytest.approx(report["final_equity"] - 190_000)
    assert -0.08 < report["total_return"] < -0.07, "10 % lost of 100,000, then 2.8 % won on 180,000"
    assert report["total_return"] == pytest.approx(run.time_weighted_return())
    assert report["money_weighted_return"] == pytest.approx(run.money_weighted_return())
    assert report["max_drawdown"] == pytest.approx(run.max_drawdown)
    summary = run.summary()
    times = [f"max_drawdown_{name}" for name in ("start", "trough", "recovered")]
    assert [report[name] for name in times] == [summary[name] for name in times]
    same = ("exposure", "turnover", "expectancy", "value_at_risk", "expected_shortfall", "win_rate", "profit_factor")
    assert {name: report[name] for name in same} == pytest.approx({name: summary[name] for name in same})
    curve = get(client, "/api/v1/portfolio/equity", risk)
    assert curve[-1]["equity"] == report["final_equity"] and curve[0]["equity_net_of_flows"] == curve[0]["equity"]
    assert curve[-1]["equity_net_of_flows"] == pytest.approx(100_000 * (1 + report["total_return"]))


def test_the_report_compares_with_a_benchmark_that_has_bars(client: TestClient, risk: dict[str, str]) -> None:
    assert get(client, f"{PERFORMANCE}?benchmark=AAPL", risk)["beta"] is None  # one day is no comparison
    response = client.get(f"{PERFORMANCE}?benchmark=NONE", headers=risk)
    assert (response.status_code, response.json()["detail"]) == (404, "No bars of the benchmark NONE.")


def test_metrics_and_the_preview_of_risk_are_net_of_the_flow(
    client: TestClient, platform: CashPlatform, risk: dict[str, str], settings: Settings
) -> None:
    engine = open_engine(settings.database.postgres.url)
    found = {metric.name: metric for metric in PortfolioMetrics(settings, engine).read()}
    engine.dispose()
    report = get(client, PERFORMANCE, risk)

    def value(name: str, window: str | None = None) -> float:
        samples = found[f"platform_portfolio_{name}"].samples
        return next(one.value for one in samples if window is None or one.labels["window"] == window)

    assert value("net_flows") == 90_000
    assert value("time_weighted_return_ratio") == pytest.approx(report["total_return"])
    assert value("pnl", "day") == pytest.approx(report["profit"])
    assert value("return_ratio", "day") == pytest.approx(report["total_return"])
    assert value("drawdown_ratio") == pytest.approx(-report["total_return"], abs=1e-4)
    order = {"symbol": "AAPL", "side": "BUY", "quantity": 1, "order_type": "MARKET"}
    preview = client.post("/api/v1/risk/validate", json=order, headers=risk).json()
    assert preview["approved"], preview
    [drawdown] = [check for check in preview["checks"] if check["check"] == "max_drawdown"]
    assert float(drawdown["found"]) == pytest.approx(value("drawdown_ratio"), abs=1e-3)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"kind": "DEPOSIT", "amount": "-5", "reason": "r"}, 400),
        ({"kind": "WITHDRAWAL", "amount": "-5", "reason": "r"}, 400),
        ({"kind": "DEPOSIT", "amount": "0", "reason": "r"}, 400),
        ({"kind": "GIFT", "amount": "5", "reason": "r"}, 422),
        ({"kind": "DEPOSIT", "amount": "5"}, 422),
    ],
)
def test_an_invalid_transfer_is_rejected_and_sends_no_command(
    client: TestClient, risk: dict[str, str], body: dict[str, str], status: int
) -> None:
    response = client.post(TRANSFERS, json=body, headers=risk)
    assert response.status_code == status and response.json()["detail"]


def test_verify_rebuilds_the_books_with_the_transfer_and_names_a_changed_one(
    platform: CashPlatform, settings: Settings
) -> None:
    url = settings.database.postgres.url
    verdict = compare_ledger(url, Ledger(Decimal(100_000)))
    assert [check.difference for check in verdict.checks if check.difference] == []
    assert verdict.decision_hash == platform.performance.decisions.hexdigest()
    engine = open_engine(url)
    with engine.begin() as db:
        db.execute(text("UPDATE cash_transfers SET amount = 90001"))
    differences = [check.difference for check in compare_ledger(url, Ledger(Decimal(100_000))).checks]
    with engine.begin() as db:
        db.execute(text("UPDATE cash_transfers SET amount = 90000"))
    engine.dispose()
    assert any("cash_flows cash-" in (difference or "") for difference in differences), differences


def test_a_withdrawal_of_everything_is_no_loss(
    client: TestClient, platform: CashPlatform, risk: dict[str, str]
) -> None:
    before = get(client, PERFORMANCE, risk)
    cash = get(client, "/api/v1/portfolio/state", risk)["cash_balance"]
    body = {"kind": "WITHDRAWAL", "amount": str(cash), "reason": "wind down"}
    assert client.post(TRANSFERS, json=body, headers=risk).status_code == 202
    platform.run_minute(90.0, platform.next_command())
    after = get(client, PERFORMANCE, risk)
    assert after["total_return"] == pytest.approx(before["total_return"])
    assert after["max_drawdown"] == pytest.approx(before["max_drawdown"])
    assert after["net_flows"] == pytest.approx(90_000 - cash)

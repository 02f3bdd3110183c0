"""The values on `/metrics` against sums by hand, on a real PostgreSQL and Kafka, and the access to the page."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.metrics.learning import ModelMetrics, StrategyMetrics
from api.metrics.portfolio import PortfolioMetrics
from api.metrics.services import ServiceMetrics
from api.metrics.trading import TradingMetrics
from api.resources import Resources
from configs.settings import Settings, load_settings
from dataflows.runtime.suspension_files import release_suspension, write_suspension
from operators.ledger import Ledger
from schemas.records import (
    BUY,
    CANCELED,
    HALTED,
    LIMIT,
    SELL,
    TRADE,
    Execution,
    Order,
    OrderProposal,
    Record,
    RiskEvent,
    RiskUsage,
    StrategyWeights,
)
from schemas.records.constants import ExecType, Side
from sinks.database import open_engine
from sinks.postgres import PostgresWriter
from tests.builders import (
    attribution,
    bar,
    fence,
    model_score,
    order,
    position,
    prediction,
    proposal,
    refusal,
    report,
    signal_outcome,
    valuation,
)
from tests.integration.api_users import bearer, metrics_of
from tests.integration.recorded_platform import kafka_settings, make_topics

D = Decimal
SECOND, MINUTE, DAY = 1_000_000_000, 60_000_000_000, 86_400_000_000_000
T0 = 1_705_314_600_000_000_000  # Monday 2024-01-15T10:30:00Z
MetricValues = dict[tuple[str, tuple[str, ...]], float]


def minute_proposal(seq: int, strategy: str) -> OrderProposal:
    return proposal(seq=seq, ts_ns=T0, strategy=strategy)


def minute_order(seq: int, side: Side = BUY, **terms: Any) -> Order:
    """Build the order of minute `seq`, for 10 AAPL."""
    return order(seq, side, ts_ns=T0 + seq * MINUTE, **terms)


def minute_report(
    seq: int, side: Side, price: float, exec_type: ExecType = TRADE, quantity: int = 10, latency_s: int = 1
) -> Execution:
    """Build the report on the order of minute `seq`, received `latency_s` after the order."""
    ts_ns = T0 + seq * MINUTE + latency_s * SECOND
    return report(seq, minute_order(seq, side), exec_type, quantity, price, fee=1, ts_ns=ts_ns)


REPORTS = [
    minute_report(1, BUY, 101),  # 100 basis points above the proposal's 100
    minute_report(2, BUY, 99, latency_s=100),  # 100 basis points below
    minute_report(3, SELL, 97),  # 300 basis points worse; closes the lot of 101 at a loss
    minute_report(4, BUY, 0, CANCELED, quantity=0),
]


def sample_records() -> list[Record]:
    ledger = Ledger(D(1_000_000))
    ledger_records = [record for execution in REPORTS for record in (execution, *ledger.apply(execution))]
    proposals = [minute_proposal(seq, strategy) for seq, strategy in enumerate(("slow", "fast", "slow", "fast"), 1)]
    orders = [minute_order(1), minute_order(2), minute_order(3, SELL), minute_order(4, order_type=LIMIT)]
    equity = [(T0 - 40 * DAY, 900_000), (T0 - 3 * DAY, 1_100_000), (T0, 1_000_000), (T0 + 10 * MINUTE, 990_000)]
    valuations = [
        valuation(n, ts_ns, equity_value, cash=5000, gross_exposure=198_000, fees=3, open_positions=1)
        for n, (ts_ns, equity_value) in enumerate(equity, 1)
    ]
    return [
        *proposals,
        *orders,
        *ledger_records,
        refusal(1, T0, "AAPL", "max_order_notional", cause_id="prop-5"),
        *valuations,
        fence(5, epoch=1, ts_ns=T0),
        RiskEvent(
            seq=1,
            ts_ns=T0,
            breaker="max_drawdown",
            scope="PORTFOLIO",
            scope_key="",
            state=HALTED,
            found="0.2",
            limit="0.1",
            actor="automatic",
            reason="fell",
            cause_id="val-1",
        ),
        RiskUsage(seq=2, ts_ns=T0, measure="margin_initial", scope_key="", used=D(50), limit=D(200), share=0.25),
        bar("AAPL", 1, T0 + 2 * MINUTE, 120.0),
    ]


@pytest.fixture(scope="module")
def settings(database_url: str, redis_url: str, kafka: str) -> Settings:
    loaded = load_settings(environment={"DATABASE_URL": database_url, "REDIS_URL": redis_url})
    return loaded.model_copy(update={"kafka": kafka_settings(loaded, kafka, make_topics(kafka))})


@pytest.fixture(scope="module")
def client(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    write(settings, sample_records())
    with TestClient(create_app(settings, home=tmp_path_factory.mktemp("home"))) as client:
        yield client


def write(settings: Settings, records: list[Record]) -> None:
    writer = PostgresWriter(settings.database.postgres.url, name="test")
    writer.write(records)
    writer.close()


def parse_metrics(text: str) -> MetricValues:
    """Return the metric values by name and label values, in the label order of the page."""
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


def test_portfolio_metrics_show_the_last_valuation(client: TestClient) -> None:
    metrics = parse_metrics(metrics_of(client))
    assert metrics["platform_portfolio_value", ()] == 990_000
    assert metrics["platform_portfolio_leverage_ratio", ()] == 0.2
    # T0 is a Monday: the last value before the day is Friday's. The month began before all values but the first.
    pnl = {window: metrics["platform_portfolio_pnl", (window,)] for window in ("day", "week", "month")}
    assert pnl == {"day": -110_000, "week": -110_000, "month": 90_000}
    assert metrics["platform_portfolio_return_ratio", ("month",)] == pytest.approx(0.1)
    assert metrics["platform_portfolio_drawdown_ratio", ()] == pytest.approx(0.1)
    position_values = {labels: value for (name, labels), value in metrics.items() if name == "platform_position_value"}
    assert position_values == {("unlisted", "AAPL"): 10 * 120}
    assert metrics["platform_position_share_ratio", ("unlisted", "AAPL")] == pytest.approx(1200 / 990_000)
    # The last bar is two minutes after T0, the last valuation ten.
    assert metrics["platform_position_price_age_seconds", ("unlisted", "AAPL")] == 480
    assert metrics["platform_risk_limit_usage_ratio", ("margin_initial", "")] == 0.25
    assert metrics["platform_trading_halted", ()] == 1
    assert metrics["platform_circuit_breaker_open", ("max_drawdown", "", "PORTFOLIO", "HALTED")] == 1


def test_strategy_and_model_metrics_show_the_last_feedback(client: TestClient, settings: Settings) -> None:
    gains = [0.02, -0.01, 0.01, 0.0]
    signal_outcomes = [signal_outcome(n, T0, "slow", gain) for n, gain in enumerate(gains, 1)]
    earlier = attribution(9, T0 - MINUTE, "gone", realized_pnl=5, unrealized_pnl=5, fees=5, trades=1)
    attributions = [
        attribution(10, T0, "account", cash_flows="1.5"),
        attribution(11, T0, "slow", realized_pnl=-42, unrealized_pnl=7, fees=2, cash_flows=1, trades=2),
    ]
    weights = [
        StrategyWeights(seq=n, ts_ns=T0, weights={"slow": n / 2, "fast": 1 - n / 2}, scores={}, reason="why")
        for n in (1, 2)
    ]
    scores = [model_score(20 + n, T0, "trees", "ab" * 32, predictions=30 + n, drift=0.1 * n) for n in (1, 2)]
    predictions = [prediction("AAPL", n, T0 + n, model="trees", model_hash="ab" * 32, drift=0.05 * n) for n in (1, 2)]
    write(settings, [*signal_outcomes, earlier, *attributions, *weights, *scores, *predictions])
    engine = open_engine(settings.database.postgres.url)
    trading = TradingMetrics(engine)
    _metric_values(trading.read())
    metrics = _metric_values(
        [*trading.read(), *StrategyMetrics(engine).read(), *ModelMetrics(settings, engine, Path("none")).read()]
    )
    outcome_counts = {
        labels: value for (name, labels), value in metrics.items() if name == "platform_signal_outcomes_total"
    }
    assert outcome_counts == {("slow", "won"): 2, ("slow", "lost"): 1, ("slow", "flat"): 1}
    total = {labels: value for (name, labels), value in metrics.items() if name == "platform_strategy_total_pnl"}
    assert total == {("account",): 1.5, ("slow",): -42 + 7 - 2 + 1}
    assert metrics["platform_strategy_attributed_pnl", ("slow", "realized")] == -42
    assert metrics["platform_strategy_attributed_timestamp_seconds", ()] == T0 / 1e9
    assert metrics["platform_strategy_weight", ("slow",)] == 1
    assert metrics["platform_model_predictions_judged", ("trees", "abababababab")] == 32
    assert metrics["platform_model_drift", ("trees", "abababababab")] == pytest.approx(0.2)
    assert metrics["platform_prediction_drift", ("AAPL",)] == pytest.approx(0.1)
    page = parse_metrics(metrics_of(client))
    assert page["platform_metrics_readable", ("strategies",)] == page["platform_metrics_readable", ("models",)] == 1
    engine.dispose()


def test_orders_and_executions_are_counted(client: TestClient) -> None:
    metrics = parse_metrics(metrics_of(client))
    assert metrics["platform_orders_total", ("MARKET", "BUY")] == 2
    assert metrics["platform_order_refusals_total", ("max_order_notional", "BUY")] == 1
    assert metrics["platform_executions_total", ("TRADE", "SELL")] == 1
    assert metrics["platform_orders_ended_total", ("FILLED",)] == 3
    assert metrics["platform_orders_ended_total", ("CANCELED",)] == 1
    assert metrics["platform_strategy_fills_total", ("slow",)] == 2
    assert metrics["platform_closed_lots_total", ("lost", "slow")] == 1
    assert metrics["platform_strategy_realized_pnl", ("slow",)] == (97 - 101) * 10 - 2
    assert metrics["platform_order_to_fill_seconds_bucket", ("0.5",)] == 0
    assert metrics["platform_order_to_fill_seconds_bucket", ("1.0",)] == 2
    assert metrics["platform_order_to_fill_seconds_count", ()] == 3
    assert metrics["platform_order_to_fill_seconds_sum", ()] == 102
    assert metrics["platform_slippage_mean_bps", ()] == pytest.approx((100 - 100 + 300) / 3)
    assert metrics["platform_order_rejection_ratio", ()] == pytest.approx(1 / 5)


def test_counters_do_not_depend_on_when_the_api_started(settings: Settings, client: TestClient) -> None:
    resources: Resources = client.app.state.resources  # type: ignore[attr-defined]
    early = TradingMetrics(resources.engine)
    early.read()
    write(settings, [minute_order(6), minute_report(6, BUY, 100, latency_s=2), minute_proposal(6, "fast")])
    early.read()  # reads these records
    assert _metric_values(early.read()) == _metric_values(TradingMetrics(resources.engine).read())
    assert _metric_values(early.read())["platform_strategy_fills_total", ("fast",)] == 2


def test_a_suspended_dataflow_is_reported_until_released(settings: Settings, tmp_path: Path) -> None:
    def suspended_by_service() -> dict[str, float]:
        metrics = _metric_values(ServiceMetrics(settings, tmp_path).read())
        return {labels[0]: value for (name, labels), value in metrics.items() if name == "platform_dataflow_halted"}

    before = suspended_by_service()
    assert before["features"] == before["risk"] == 0.0 == max(before.values())
    for name in ("features", "news"):
        write_suspension(tmp_path / "run", name, T0, "12 of 100 records were dead letters")
    assert suspended_by_service() == before | {"features": 1.0, "news": 1.0}
    for name in ("features", "news"):
        release_suspension(tmp_path / "run", name)
    assert suspended_by_service() == before


def _metric_values(metrics: list[Any]) -> MetricValues:
    return {(s.name, tuple(s.labels.values())): s.value for metric in metrics for s in metric.samples}


def test_the_price_age_of_a_renamed_share_without_bars_increases(make_database: Callable[[], str]) -> None:
    """META has no bar since the position was moved to it. MSFT has bars, also without a trade."""
    url = make_database()
    loaded = load_settings(environment={"DATABASE_URL": url})
    records: list[Record] = [
        position(1, T0, "META", 10, 300),
        position(2, T0, "MSFT", 10, 100),
        bar("MSFT", 1, T0, 100.0),
        bar("MSFT", 2, T0 + 10 * MINUTE, 100.0, traded=False),
        valuation(3, T0 + 10 * MINUTE, 1_000_000),
    ]
    write(loaded, records)
    engine = open_engine(url)
    try:
        metrics = _metric_values(PortfolioMetrics(loaded, engine).read())
    finally:
        engine.dispose()
    ages = {labels[0]: age for (name, labels), age in metrics.items() if name == "platform_position_price_age_seconds"}
    assert ages == {"META": 600, "MSFT": 0}


def test_server_sizes_are_exported(client: TestClient, settings: Settings) -> None:
    metrics = parse_metrics(metrics_of(client))
    assert (
        metrics["platform_database_up", ()] == metrics["platform_kafka_up", ()] == metrics["platform_redis_up", ()] == 1
    )
    assert metrics["platform_database_query_seconds", ()] > 0
    assert metrics["platform_database_table_bytes", ("orders",)] > 0
    assert metrics["platform_kafka_log_end_offset", ("3", "market-bars")] == 0
    assert {labels[1] for (name, labels) in metrics if name == "platform_kafka_log_end_offset"} == set(
        settings.kafka.topics
    )


def test_check_results_and_dataflow_stats_are_exported(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "run" / "checks").mkdir(parents=True)
    (tmp_path / "run" / "stats").mkdir()
    check_result = {
        "name": "verify",
        "ok": False,
        "finished_at": 1e9,
        "duration_s": 2.5,
        "counts": {"differ": 3},
        "message": "x",
    }
    (tmp_path / "run" / "checks" / "verify.json").write_text(json.dumps(check_result))
    now = time.time()
    base_stats = {
        "pid": 1,
        "updated_at": now + 600,
        "started_at": now - 60,
        "moved_at": now - 30,
        "ticks": 9,
        "cpu_s": 1.5,
    }
    for service, lag_s in (("market_data", 0), ("risk", 120)):
        stats = {"service": service, "last_tick_ns": T0 - lag_s * SECOND, "records_in": 7, "rss_bytes": 5, **base_stats}
        (tmp_path / "run" / "stats" / f"{service}.json").write_text(json.dumps(stats))
    with TestClient(create_app(settings, home=tmp_path)) as client:
        metrics = parse_metrics(metrics_of(client))
    assert metrics["platform_check_ok", ("verify",)] == 0
    assert metrics["platform_check_finished_timestamp_seconds", ("verify",)] == 1e9
    assert metrics["platform_check_findings", ("verify", "differ")] == 3
    assert metrics["platform_dataflow_event_lag_seconds", ("risk",)] == 120
    assert 30 <= metrics["platform_dataflow_still_seconds", ("risk",)] < 330
    assert metrics["platform_dataflow_ticks_total", ("risk",)] == 9
    assert metrics["platform_process_cpu_seconds_total", ("risk",)] == 1.5
    # Without a supervisor, a dataflow counts as up while it writes stats. One that never wrote stats counts as down.
    assert (metrics["platform_service_up", ("risk",)], metrics["platform_service_up", ("features",)]) == (1, 0)


def test_an_unreachable_server_leaves_the_other_metrics(settings: Settings, tmp_path: Path) -> None:
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    with TestClient(create_app(settings.model_copy(update={"kafka": kafka}), home=tmp_path)) as client:
        metrics = parse_metrics(metrics_of(client))
    assert metrics["platform_kafka_up", ()] == 0 and metrics["platform_database_up", ()] == 1
    postgres = settings.database.postgres.model_copy(update={"url": "postgresql://u:secret@127.0.0.1:1/none"})
    without_postgres = settings.model_copy(
        update={"database": settings.database.model_copy(update={"postgres": postgres})}
    )
    with TestClient(create_app(without_postgres, home=tmp_path)) as client:
        metrics = parse_metrics(metrics_of(client))
    assert metrics["platform_database_up", ()] == 0 and metrics["platform_kafka_up", ()] == 1
    assert metrics["platform_metrics_readable", ("books",)] == 0
    assert ("platform_portfolio_value", ()) not in metrics


def test_repeated_scrapes_query_the_servers_once(client: TestClient) -> None:
    def statement_count() -> float:
        return parse_metrics(metrics_of(client))["platform_database_statement_seconds_count", ()]

    before = statement_count()
    for _ in range(10):
        after = statement_count()
    assert after - before < 60, "ten scrapes within a moment"


def test_metrics_need_the_token_from_every_address(settings: Settings, tmp_path: Path) -> None:
    for address in ("203.0.113.5", "127.0.0.1", "unknown"):
        with TestClient(create_app(settings, home=tmp_path), client=(address, 4000)) as client:
            for headers in ({}, {"X-Forwarded-For": "unknown"}, {"X-Forwarded-For": "127.0.0.1"}, bearer("wrong")):
                response = client.get("/metrics", headers=headers)
                assert response.status_code == 401 and "METRICS_TOKEN" in response.json()["detail"]
            assert "platform_portfolio_value" in metrics_of(client)
    # Without METRICS_TOKEN, the API generates a token that only the owner of the state folder can read.
    file = tmp_path / "secrets" / "metrics-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and len(file.read_text().strip()) >= 32
    api_settings = load_settings(environment={"METRICS_TOKEN": "0123456789abcdef"}).api
    with TestClient(create_app(settings.model_copy(update={"api": api_settings}), home=tmp_path)) as client:
        assert client.get("/metrics", headers=bearer(file.read_text().strip())).status_code == 401
        assert client.get("/metrics", headers=bearer("0123456789abcdef")).status_code == 200

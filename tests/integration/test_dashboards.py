"""Runs each query of the dashboards and the alert rules on a real Prometheus that scraped a running API."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from confluent_kafka import Consumer, TopicPartition

from api.app import create_app
from configs.model_registry import ModelRegistry
from configs.settings import Settings, load_settings
from dataflows.runtime.topology import SERVICES
from deploy.grafana.write import BOARDS
from deploy.local.ports import free_ports
from schemas.records import (
    NOTE,
    SELL,
    Record,
    RiskUsage,
    StrategyWeights,
)
from tests import http
from tests.app_server import AppServer
from tests.builders import (
    attribution,
    bar,
    lot_match,
    model_score,
    prediction,
    signal_outcome,
    strategy_account,
    strategy_action,
)
from tests.debian import find_program
from tests.integration.recorded_platform import kafka_settings, make_topics
from tests.integration.test_api_metrics import (
    MINUTE,
    SECOND,
    T0,
    D,
    minute_order,
    minute_proposal,
    minute_report,
    sample_records,
    write,
)

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules.yml"
QUERIES = sorted(
    {query.expr for board in BOARDS.values() for row in board.rows for panel in row.panels for query in panel.queries}
)
CONDITIONS = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
METRICS_TOKEN = "the-token-of-this-page"
METRIC_NAME = re.compile(r"\bplatform_[a-z_]+\b")


def write_state_folder(home: Path) -> None:
    """Write the files that the supervisor, the dataflows and the checks leave in a state folder."""
    now = time.time()
    for folder in ("stats", "checks"):
        (home / "run" / folder).mkdir(parents=True)
    counts = dict.fromkeys(("records_in", "records_out", "dead_letters", "late_records", "duplicates", "seq_gaps"), 5)
    base_stats = {
        **counts,
        "pid": 1,
        "updated_at": now + 3600.0,  # never stale, however long the tests take
        "started_at": now - 9,
        "moved_at": now,
        "ticks": 9,
        "cpu_s": 1.5,
    }
    for service in SERVICES:
        stats = {"service": service, "last_tick_ns": T0, "rss_bytes": 5, "feed_finished": False, **base_stats}
        (home / "run" / "stats" / f"{service}.json").write_text(json.dumps(stats))
    children = [{"name": name, "status": "healthy", "pid": None, "restarts": 0} for name in (*SERVICES, "api")]
    (home / "run" / "state.json").write_text(json.dumps({"updated_at": now, "children": children}))
    check = {"name": "verify", "ok": True, "finished_at": now, "duration_s": 1.0, "counts": {"positions": 3}}
    (home / "run" / "checks" / "verify.json").write_text(json.dumps(check))


@pytest.fixture(scope="module")
def settings(database_url: str, redis_url: str, kafka: str) -> Settings:
    loaded = load_settings(
        environment={"DATABASE_URL": database_url, "REDIS_URL": redis_url, "METRICS_TOKEN": METRICS_TOKEN}
    )
    return loaded.model_copy(update={"kafka": kafka_settings(loaded, kafka, make_topics(kafka))})


@pytest.fixture(scope="module")
def api(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an API with data in its database and state folder."""
    home = tmp_path_factory.mktemp("home")
    write_state_folder(home)
    register_model(home)
    write(settings, sample_records())
    server = AppServer(create_app(settings, home=home))
    with reporting_supervisor(home / "run" / "state.json"):
        yield server.address
    server.stop()


@contextmanager
def reporting_supervisor(state_file: Path) -> Iterator[None]:
    """Renew the state file every second, as a supervisor does: an older state is outdated."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(1.0):
            state = json.loads(state_file.read_text()) | {"updated_at": time.time()}
            state_file.with_suffix(".new").write_text(json.dumps(state))
            state_file.with_suffix(".new").replace(state_file)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="module")
def prometheus(api: str, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a Prometheus with the platform's alert rules that has scraped the API several times."""
    folder, [port] = tmp_path_factory.mktemp("prometheus"), free_ports(1)
    binary = find_program("prometheus", "prometheus", folder)
    config = {
        "global": {"scrape_interval": "2s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": "platform",
                "authorization": {"credentials_file": str(folder / "metrics-token")},
                "static_configs": [{"targets": [api]}],
            }
        ],
    }
    (folder / "metrics-token").write_text(METRICS_TOKEN)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [str(binary), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=log, stdout=log)
    with http.client(base_url=f"http://127.0.0.1:{port}/api/v1") as client:
        try:
            _wait(client, child, folder / "log", 2)
            http.get(f"http://{api}/health")
            # Counters must increase between two scrapes, so that rates are not empty.
            write(settings, more_records())
            _commit(settings)
            _wait(client, child, folder / "log", 6)
            yield client
        finally:
            child.terminate()
            child.wait(60)


def more_records() -> list[Record]:
    """A fill within its own bar, a lot closed with a profit, and the use of a position limit."""
    ts_ns = T0 + 7 * MINUTE + SECOND
    closed_lot = lot_match(
        1000, ts_ns, quantity=10, entry_price=100, exit_price=130, pnl=300, fees=2, opened_ns=T0, closed_ns=ts_ns
    )
    usage = RiskUsage(
        seq=3, ts_ns=ts_ns, measure="position_size", scope_key="AAPL", used=D(50), limit=D(200), share=0.25
    )
    return [
        minute_order(7, SELL),
        minute_report(7, SELL, 130),
        minute_proposal(7, "slow"),
        closed_lot,
        usage,
        bar("AAPL", 2, ts_ns, 130.0),
        strategy_action(NOTE, "", seq=1, ts_ns=ts_ns, strategy="pairs", text="start"),
        strategy_account(2, ts_ns, "pairs", capital=500_000, equity=500_300, open_positions=1),
        *feedback_records(ts_ns),
    ]


def feedback_records(ts_ns: int) -> list[Record]:
    """Feedback records of a strategy and of a model, and a prediction of the model."""
    return [
        attribution(2, ts_ns, "slow", realized_pnl=300, unrealized_pnl=7, fees=2, cash_flows=1, trades=2),
        signal_outcome(3, ts_ns, "slow", 0.01, signal_id="sig-AAPL-1"),
        StrategyWeights(
            seq=1, ts_ns=ts_ns, weights={"fast": 0.25, "slow": 0.75}, scores={"fast": 0.0, "slow": 0.1}, reason="why"
        ),
        model_score(4, ts_ns, "trees", "ab" * 32, hit_rate=0.6, drift=0.1),
        prediction("AAPL", 1, ts_ns, model="trees", model_hash="ab" * 32, drift=0.05),
    ]


def register_model(home: Path) -> None:
    """Register a model with a card only: the metrics page needs nothing else."""
    card = {
        "name": "trees",
        "features": [],
        "inputs": [],
        "horizon_bars": 5,
        "symbols": ["AAPL"],
        "rows": 10,
        "trained_from_ns": T0 - MINUTE,
        "trained_until_ns": T0,
        "data_sha256": "cd",
        "parameters": {},
        "folds": [],
        "metrics": {},
        "libraries": {},
    }
    ModelRegistry(home / "models").register(b"frozen", card)


def _commit(settings: Settings) -> None:
    """Commit an offset as a dataflow does for monitoring tools."""
    kafka = settings.kafka
    group = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": f"{kafka.topic_prefix}platform-risk"}
    consumer = Consumer(group)
    consumer.commit(offsets=[TopicPartition(kafka.topic_prefix + "commands", 0, 0)], asynchronous=False)
    consumer.close()


def _wait(client: httpx.Client, child: subprocess.Popen[bytes], log: Path, scrapes: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            samples = _query(client, "count_over_time(platform_portfolio_value[5m])")
            if samples and float(samples[0]["value"][1]) >= scrapes:
                return
        except (httpx.TransportError, ValueError):  # not up yet, or "Service Unavailable" while it reads its log
            assert child.poll() is None, log.read_text()[-1000:]
        assert time.monotonic() < deadline, log.read_text()[-1000:]
        time.sleep(0.3)


def _query(client: httpx.Client, expr: str) -> list[dict[str, Any]]:
    response = client.get("/query", params={"query": expr}).json()
    assert response["status"] == "success", f"{expr}: {response}"
    result: list[dict[str, Any]] = response["data"]["result"]
    return result


def test_every_queried_metric_is_exported(api: str) -> None:
    headers = {"Authorization": f"Bearer {METRICS_TOKEN}"}
    http.get(f"http://{api}/metrics", headers=headers)
    page = http.get(f"http://{api}/metrics", headers=headers).text
    exported = set(re.findall(r"^# HELP (\S+)", page, re.MULTILINE))
    exported |= {f"{name}_{part}" for name in exported for part in ("bucket", "count", "sum")}
    queried = {name for expr in (*QUERIES, *CONDITIONS) for name in METRIC_NAME.findall(expr)}
    assert len(queried) > 60
    assert queried <= exported, queried - exported


def test_every_dashboard_query_returns_data(prometheus: httpx.Client) -> None:
    unanswered, deadline = set(QUERIES), time.monotonic() + 90
    # A late scrape on a busy machine leaves a gap. The next scrape fills it.
    while unanswered and time.monotonic() < deadline:
        unanswered = {expr for expr in unanswered if not _query(prometheus, expr)}
        time.sleep(0.5)
    assert not unanswered


def test_prometheus_evaluates_every_rule_without_an_error(prometheus: httpx.Client) -> None:
    groups = prometheus.get("/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(CONDITIONS)
    assert {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] != "ok"} == {}
    firing = {rule["name"] for rule in rules if rule["state"] == "firing"}
    # The test data contains a daily loss, an open circuit breaker and an active kill switch.
    assert {"DailyLoss", "CircuitBreaker", "TradingHalted"} <= firing

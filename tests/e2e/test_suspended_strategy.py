"""A strategy that raises is suspended on the real services: others trade, a manual order fills, a replay is equal."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from api.alerting.conditions import Conditions, MetricsPage
from api.metrics.learning import StrategyMetrics
from deploy.supervisor.process_spec import DATAFLOW_NAMES
from operators.explain.no_trade import explain_symbol_at
from schemas.codec import encode
from schemas.records import RESUME_STRATEGY, SUBMIT_ORDER, TRADE, Execution, Order, Signal, StrategySuspension
from sinks.database import open_engine
from sinks.lineage import DatabaseRecordLookup
from sinks.suspensions import suspended_strategies
from tests import failing_strategy
from tests.builders import command
from tests.e2e.conftest import MakePlatform
from tests.e2e.process_platform import ProcessPlatform
from tests.e2e.test_kill_switch import with_recorded_commands
from tests.replay.runs import fused_hash, read_time_slices

pytestmark = pytest.mark.timeout(1200)


def test_a_strategy_that_raises_stops_no_other_trading(make_platform: MakePlatform, bars: list[Path]) -> None:
    strategies = [
        {"name": "ema_cross", "parameters": {"fast": 3, "slow": 8, "rsi_period": 5, "rsi_max": 90}},
        {"name": f"{failing_strategy.__file__}:FailsOnThirdBar", "on_error": "flatten"},
    ]
    time_slices = read_time_slices(bars)
    with make_platform(speed="400", overrides={"SIGNALS__STRATEGIES": json.dumps(strategies)}) as platform:
        platform.start(*(name for name in DATAFLOW_NAMES if name != "market_data"))
        platform.wait_until(lambda: bool(platform.stats("risk")), "the services before the feed")
        platform.start("market_data")
        # Stop the feed after an hour of the tape. Otherwise, with slow services, it could end before the commands.
        platform.wait_until_past("market_data", time_slices[60].ts_ns)
        platform.kill("market_data")
        platform.wait_until_past("risk", time_slices[20].ts_ns)
        # A killed shard still knows which strategy is suspended.
        platform.restart("signals")
        platform.wait_until_past("risk", time_slices[50].ts_ns)
        check_what_operators_see(platform)
        send_manual_order(platform)
        resume = command("test-resume", time.time_ns(), RESUME_STRATEGY, {"strategy": "fragile"})
        platform.produce("commands", 0, encode(resume))
        platform.start("market_data")
        platform.run_to_end()

        logs = platform.logs()
        first, resumed, second = (r for r in logs.records("strategy-suspensions") if type(r) is StrategySuspension)
        assert (first.state, resumed.state, second.state) == ("SUSPENDED", "RESUMED", "SUSPENDED")
        assert (first.symbol, first.error_type, first.file) == ("B", "ZeroDivisionError", failing_strategy.__file__)
        others = [r for r in logs.records("signals") if type(r) is Signal and r.strategy == "ema_cross"]
        assert [r for r in others if r.ts_ns > first.ts_ns], "the other strategy goes on"
        orders = [r for r in logs.records("orders") if type(r) is Order]
        [manual] = [order for order in orders if order.cause_id == "test-order"]
        fills = [r for r in logs.records("executions") if type(r) is Execution and r.exec_type == TRADE]
        assert [fill for fill in fills if fill.order_id == manual.order_id], "the manual order is filled"
        replayed = with_recorded_commands(platform, time_slices)
        assert platform.decision_hash() == fused_hash(replayed, settings=platform.read_settings())


def send_manual_order(platform: ProcessPlatform) -> None:
    terms = {"symbol": "A", "side": "BUY", "quantity": "5", "order_type": "MARKET", "time_in_force": "DAY"}
    platform.produce("commands", 0, encode(command("test-order", time.time_ns(), SUBMIT_ORDER, terms)))


class _Page(Collector):
    def __init__(self, metrics: StrategyMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> object:  # type: ignore[override]
        return self._metrics.read()


def check_what_operators_see(platform: ProcessPlatform) -> None:
    """The table, the metrics, the alert and `explain` name strategy, file, line and exception."""
    engine = open_engine(platform.servers.database_url)
    try:
        with engine.connect() as db:
            [suspension] = suspended_strategies(db)
            slice_ns = platform.last_tick_ns("risk")
            explained = explain_symbol_at(DatabaseRecordLookup(db), "A", slice_ns, {"fragile": ()})
        registry = CollectorRegistry()
        registry.register(_Page(StrategyMetrics(engine)))
        page = MetricsPage(generate_latest(registry).decode())
    finally:
        engine.dispose()
    position = f"{failing_strategy.__file__}:{suspension.line}"
    assert (suspension.strategy, suspension.error_type) == ("fragile", "ZeroDivisionError")
    alerts = {a.key: a.summary for a in Conditions(platform.read_settings().alerts).evaluate(page, 0.0)}
    assert f"ZeroDivisionError at {position} on B" in alerts["strategy_suspension/fragile"]
    [reason] = [reason for reason in explained.reasons if reason.startswith("fragile: suspended since ")]
    assert f"ZeroDivisionError: float division by zero at {position} on B" in reason
    with closing(psycopg2.connect(platform.servers.database_url)) as db_connection, db_connection.cursor() as cursor:
        cursor.execute("SELECT state FROM strategy_suspensions WHERE strategy = 'fragile'")
        assert cursor.fetchall() == [("SUSPENDED",)]

"""What `performance` computes: hop latency from clocks, findings and hints from statistics, and a stage's profile."""

from __future__ import annotations

import random
import statistics
from pathlib import Path

import numpy as np
import pytest

from configs.settings import load_settings
from dataflows.backtest import run
from dataflows.runtime import stages
from deploy.performance.analysis import DataflowLoad, SlowStatement, TableUse, findings
from deploy.performance.benchmark import ClosedSlices, hop_latencies, quantile, without_catch_up
from deploy.performance.stage_profile import profile_stage, profiled_services
from deploy.performance.tuning_hints import database_hints
from deploy.supervisor.state import ChildState, ChildStatus, Phase, PlatformState
from deploy.testing.temporary_platform import write_random_walk

SETTINGS = load_settings(environment={"MARKET_DATA__FILES__CALENDAR": "24/7"})


def test_hop_latency_is_measured_between_clocks_of_slices_with_records() -> None:
    rng = random.Random(3)
    numbers = range(1000)
    bars = {number: number * 100 for number in numbers}
    durations = {number: rng.randint(1, 30) for number in numbers}
    orders = {number: bars[number] + durations[number] for number in numbers if number % 7}
    with_records = {number for number in numbers if number % 3 == 0}
    recorded = ClosedSlices({"market-bars": bars, "orders": orders}, {"orders": with_records})
    figures = {figure.name: figure for figure in hop_latencies(recorded)}
    expected = [durations[number] for number in numbers if number % 7 and number % 3 == 0]
    assert figures["Order latency"].n == len(expected)
    assert figures["Order latency"].p50 == statistics.median(expected)
    assert figures["Order latency"].p99 == pytest.approx(np.quantile(expected, 0.99))
    assert figures["Order latency"].met is False
    assert figures["Market data latency"].p50 is None
    assert figures["Market data latency"].met is None


def test_slices_that_waited_for_the_start_of_a_service_are_left_out() -> None:
    """Without that, the p99 of a fresh platform is the time that its services need to start."""
    rng = random.Random(4)
    feed = {number: 100 * number for number in range(600)}
    orders: dict[int, int] = {}
    free_ms = 3300  # the service is ready only then, and processes a slice in 5 ms
    for number, closed_ms in feed.items():
        orders[number] = free_ms = max(closed_ms + rng.randint(1, 9), free_ms + 5)
    recorded = ClosedSlices({"market-bars": feed, "orders": orders}, {"orders": set(feed)})
    [before] = [figure for figure in hop_latencies(recorded) if figure.name == "Order latency"]
    assert before.p99 is not None and before.p99 > 2500
    kept, catch_up = without_catch_up(recorded)
    [after] = [figure for figure in hop_latencies(kept) if figure.name == "Order latency"]
    assert after.p99 is not None and after.p99 <= 105
    assert (catch_up.ended, catch_up.slices + after.n) == (True, 600)
    assert 33 <= catch_up.slices <= 40 and catch_up.seconds == catch_up.slices / 10
    assert "caught up with the feed" in catch_up.describe()


def test_a_platform_that_is_always_behind_shows_its_backlog() -> None:
    feed = {number: 100 * number for number in range(100)}
    recorded = ClosedSlices({"market-bars": feed, "orders": {number: 150 * number + 200 for number in feed}}, {})
    kept, catch_up = without_catch_up(recorded)
    assert kept == recorded and "all the time" in catch_up.describe()
    assert without_catch_up(ClosedSlices({"market-bars": feed, "orders": feed}, {}))[1].describe() == (
        "the services were never behind the feed"
    )


def test_quantiles_match_numpy() -> None:
    values = [random.Random(5).gauss(10, 3) for _ in range(137)]
    for share in (0.0, 0.5, 0.99, 1.0):
        assert quantile(values, share) == pytest.approx(np.quantile(values, share))


def table_use(**changes: object) -> TableUse:
    return TableUse(
        name="bars",
        rows=200_000,
        dead_rows=0,
        bytes=1,
        sequential_scans=0,
        rows_scanned=0,
        index_scans=5,
        analyzed=True,
        unused_indexes=(),
    )._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("table", "message", "statement"),
    [
        (table_use(), None, ""),
        (table_use(dead_rows=90_000), "90,000 dead and 200,000 live rows", 'VACUUM (ANALYZE) "bars"'),
        (table_use(analyzed=False), "no planner statistics yet", 'ANALYZE "bars"'),
        (
            table_use(sequential_scans=11),
            "11 sequential scans, 5 index scans: an index may be missing",
            "",
        ),
        (table_use(unused_indexes=("ix_x",)), "index ix_x was never read, and slows each write", ""),
        (table_use(unused_indexes=("ix_x",), rows=10), None, ""),
    ],
)
def test_hints_report_problems_and_only_safe_ones_have_a_statement(
    table: TableUse, message: str | None, statement: str
) -> None:
    hints = [(hint.text, hint.statement) for hint in database_hints([table])]
    assert hints == ([] if message is None else [(message, statement)])


def test_findings_report_lag_high_load_and_slow_statements() -> None:
    state = PlatformState(
        phase=Phase.RUNNING,
        message="",
        supervisor_pid=1,
        supervisor_started_at=0.0,
        updated_at=0.0,
        children=(ChildState("risk", "dataflow", ChildStatus.FAILED, reason="gone"),),
    )
    loads = [
        DataflowLoad(service="risk", lag_s=9.5, cores=0.95, records_in=10, dead_letters=3, rss_mb=100.0),
        DataflowLoad(service="news", lag_s=None, cores=None, records_in=0, dead_letters=0, rss_mb=None),
    ]
    slow = [SlowStatement("SELECT 1", None, 250.0), SlowStatement("SELECT 2", None, 9.0)]
    assert findings(state, loads, [table_use(dead_rows=90_000)], slow) == [
        "risk is failed: gone",
        "risk is 9.5 s of event time behind",
        "risk uses 95% of a core: `performance profile risk`",
        "risk has 3 dead letters: `dead-letters list`",
        "table bars has 90,000 dead and 200,000 live rows: `performance optimize --apply`",
        "a statement takes 250 ms: SELECT 1",
    ]
    healthy = PlatformState(
        phase=Phase.RUNNING, message="", supervisor_pid=1, supervisor_started_at=0.0, updated_at=0.0
    )
    assert (
        findings(
            healthy,
            [DataflowLoad(service="risk", lag_s=0.0, cores=0.1, records_in=10, dead_letters=0, rss_mb=1.0)],
            [table_use()],
            [],
        )
        == []
    )


def test_profile_covers_only_the_stage_and_changes_no_decision(tmp_path: Path) -> None:
    bars = [write_random_walk(tmp_path / f"S{number}.csv", 300, number) for number in range(2)]
    original = stages.features
    summary, profile_rows = profile_stage(SETTINGS, "features", bars)
    assert stages.features is original
    functions = {row.function for row in profile_rows}
    assert "operators/features.py" in " ".join(functions)
    assert not [name for name in functions if "risk/" in name or "venue/" in name]
    assert summary["decision_hash"] == run(SETTINGS, bars)[1]["decision_hash"]
    assert {"features", "signals", "risk", "portfolio"} <= set(profiled_services())

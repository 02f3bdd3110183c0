"""What `performance` reckons: quantiles of hops from clocks, findings and hints from statistics, a stage's profile."""

from __future__ import annotations

import random
import statistics
from pathlib import Path

import numpy as np
import pytest

from configs.settings import load_settings
from dataflows.backtest import run
from dataflows.runtime import stages
from deploy.performance.analysis import Load, Statement, TableUse, findings
from deploy.performance.benchmark import Ticks, measured, quantile
from deploy.performance.optimization import database_hints
from deploy.performance.stage_profile import profile_stage, profiled_services
from deploy.supervisor.state import ChildState, Phase, State, Status
from deploy.testing.temporary_platform import write_walk

SETTINGS = load_settings(environment={"MARKET_DATA__FILES__CALENDAR": "24/7"})


def test_a_hop_is_the_time_between_the_clocks_of_ticks_that_had_records() -> None:
    drawn = random.Random(3)
    ticks = range(1000)
    bars = {tick: tick * 100 for tick in ticks}
    took = {tick: drawn.randint(1, 30) for tick in ticks}
    orders = {tick: bars[tick] + took[tick] for tick in ticks if tick % 7}
    held = {tick for tick in ticks if tick % 3 == 0}
    read = Ticks({"market-bars": bars, "orders": orders}, {"orders": held})
    figures = {figure.name: figure for figure in measured(read)}
    expected = [took[tick] for tick in ticks if tick % 7 and tick % 3 == 0]
    assert figures["Order latency"].n == len(expected)
    assert figures["Order latency"].p50 == statistics.median(expected)
    assert figures["Order latency"].p99 == pytest.approx(np.quantile(expected, 0.99))
    assert figures["Order latency"].met is False
    assert figures["Market data latency"].p50 is None
    assert figures["Market data latency"].met is None


def test_quantiles_are_numpys() -> None:
    values = [random.Random(5).gauss(10, 3) for _ in range(137)]
    for share in (0.0, 0.5, 0.99, 1.0):
        assert quantile(values, share) == pytest.approx(np.quantile(values, share))


def use(**changed: object) -> TableUse:
    return TableUse("bars", 200_000, 0, 1, 0, 0, 5, True, ())._replace(**changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("table", "said", "statement"),
    [
        (use(), None, ""),
        (use(dead_rows=90_000), "90,000 dead rows beside 200,000", 'VACUUM (ANALYZE) "bars"'),
        (use(analyzed=False), "the planner has no statistics of it yet", 'ANALYZE "bars"'),
        (use(sequential_scans=11), "read from end to end 11 times, by index 5 times: a query may want an index", ""),
        (use(unused_indexes=("ix_x",)), "nothing has read index ix_x so far; each write pays for it", ""),
        (use(unused_indexes=("ix_x",), rows=10), None, ""),
    ],
)
def test_hints_say_what_is_wrong_and_only_safe_ones_have_a_statement(
    table: TableUse, said: str | None, statement: str
) -> None:
    found = [(hint.said, hint.statement) for hint in database_hints([table])]
    assert found == ([] if said is None else [(said, statement)])


def test_findings_name_what_lags_works_too_much_or_is_slow() -> None:
    state = State(
        Phase.RUNNING, "", 1, 0.0, 0.0, children=(ChildState("risk", "dataflow", Status.FAILED, reason="gone"),)
    )
    loads = [Load("risk", 9.5, 0.95, 10, 3, 100.0), Load("news", None, None, 0, 0, None)]
    slow = [Statement("SELECT 1", None, 250.0), Statement("SELECT 2", None, 9.0)]
    assert findings(state, loads, [use(dead_rows=90_000)], slow) == [
        "risk is failed: gone",
        "risk is 9.5 s of event time behind",
        "risk uses 95% of a core: `performance profile risk`",
        "risk set 3 dead letters aside: `dead-letters list`",
        "table bars has 90,000 dead rows beside 200,000: `performance optimize --apply`",
        "a statement takes 250 ms: SELECT 1",
    ]
    well = State(Phase.RUNNING, "", 1, 0.0, 0.0)
    assert findings(well, [Load("risk", 0.0, 0.1, 10, 0, 1.0)], [use()], []) == []


def test_a_profile_is_of_the_stage_alone_and_changes_no_decision(tmp_path: Path) -> None:
    bars = [write_walk(tmp_path / f"S{number}.csv", 300, number) for number in range(2)]
    before = stages.features
    summary, spent = profile_stage(SETTINGS, "features", bars)
    assert stages.features is before
    functions = {row.function for row in spent}
    assert "operators/features.py" in " ".join(functions)
    assert not [name for name in functions if "risk/" in name or "venue/" in name]
    assert summary["decision_hash"] == run(SETTINGS, bars)[1]["decision_hash"]
    assert {"features", "signals", "risk", "portfolio"} <= set(profiled_services())

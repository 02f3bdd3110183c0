"""The report of a process that runs several services has a row for each of them in the API."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from api.dataflow_stats import process_rows, read_stats, shared_processes, with_services
from api.metrics.services import ServiceMetrics
from configs.settings import load_settings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A state folder with the reports of the layout `compact`, in which risk found two unverified commands."""
    now = time.time()
    progress = {"started_at": now - 9, "updated_at": now, "moved_at": now, "last_tick_ns": 5 * 10**9}
    counts = {"records_in": 3, "dead_letters": 0, "late_records": 0, "duplicates": 0, "seq_gaps": 0}
    services = {
        "risk": {**counts, "unverified_commands": 2},
        "execution": {**counts, "unverified_commands": 0},
    }
    (tmp_path / "run" / "stats").mkdir(parents=True)
    for row in (
        {"service": "market_data", "records_in": 1, **progress},
        {"service": "compact", "records_out": 7, "records_in": 6, "cpu_s": 1.5, **progress, "services": services},
    ):
        (tmp_path / "run" / "stats" / f"{row['service']}.json").write_text(json.dumps(row))
    children = [{"name": name, "status": "healthy", "restarts": 0} for name in ("market_data", "compact")]
    state = {"updated_at": now, "children": children}
    (tmp_path / "run" / "state.json").write_text(json.dumps(state))
    return tmp_path


def test_each_service_has_its_counts_and_the_progress_of_the_process(home: Path) -> None:
    stats = read_stats(home)
    assert stats["risk"]["unverified_commands"] == 2
    assert stats["risk"]["last_tick_ns"] == 5 * 10**9
    assert shared_processes(stats) == {"compact": ["execution", "risk"]}
    assert set(process_rows(stats)) == {"market_data", "compact"}
    children = {"compact": {"name": "compact", "status": "healthy"}}
    assert with_services(children, stats)["risk"] == {"name": "risk", "status": "healthy"}


def test_the_metrics_count_each_record_once_and_know_the_gateway(home: Path) -> None:
    metrics = {metric.name: metric for metric in ServiceMetrics(load_settings(environment={}), home).read()}

    def values(name: str) -> dict[str, float]:
        return {sample.labels["service"]: sample.value for sample in metrics[name].samples}

    assert values("platform_dataflow_records_in") == {"market_data": 1, "execution": 3, "risk": 3}
    assert values("platform_dataflow_records_out") == {"compact": 7}
    assert values("platform_dataflow_unverified_commands")["risk"] == 2
    assert set(values("platform_dataflow_event_timestamp_seconds")) == {"market_data", "compact"}
    assert values("platform_service_up") == {"market_data": 1, "compact": 1, "execution": 1}

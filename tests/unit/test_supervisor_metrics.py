"""What the API and `status` report while the supervisor, a thread, a check or a clock fails."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from api.metrics.checks import read_checks
from api.metrics.clock import WINDOW_S, ClockMetrics
from api.metrics.services import ServiceMetrics
from configs.settings import load_settings
from configs.settings.platform import ChecksSection
from deploy.commands.platform_status import read_open_alerts
from deploy.home import Home

SETTINGS = load_settings(environment={})
DAY_S = 86_400


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "run" / "stats").mkdir(parents=True)
    (tmp_path / "run" / "checks").mkdir()
    return tmp_path


def write_state(home: Path, age_s: float, started_at: float = 0.0) -> None:
    children = [
        {"name": "kafka", "status": "healthy", "restarts": 0},
        {"name": "risk", "status": "healthy", "restarts": 2},
        {"name": "checks", "status": "healthy", "restarts": 0, "process_started_at": started_at},
    ]
    state = {"updated_at": time.time() - age_s, "children": children}
    (home / "run" / "state.json").write_text(json.dumps(state))


def write_report(home: Path, service: str, age_s: float, **values: Any) -> None:
    report = {"service": service, "updated_at": time.time() - age_s, **values}
    (home / "run" / "stats" / f"{service}.json").write_text(json.dumps(report))


def values_of(metrics: list[Any], name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for metric in metrics
        for sample in metric.samples
        if sample.name == name
    }


def test_old_state_of_the_supervisor_leaves_the_services_unknown(home: Path) -> None:
    write_report(home, "risk", age_s=60.0)
    write_report(home, "features", age_s=1.0)
    write_state(home, age_s=1.0)
    metrics = ServiceMetrics(SETTINGS, home).read()
    assert values_of(metrics, "platform_supervisor_up") == {(): 1.0}
    assert values_of(metrics, "platform_service_up") == {("kafka",): 1.0, ("risk",): 1.0, ("checks",): 1.0}

    for age_s in (11.0, -60.0):  # the second: a report from the future
        write_state(home, age_s=age_s)
        metrics = ServiceMetrics(SETTINGS, home).read()
        assert values_of(metrics, "platform_supervisor_up") == {(): 0.0}
        up = values_of(metrics, "platform_service_up")
        assert (up["risk",], up["features",]) == (0.0, 1.0), "by their own reports"
        assert ("kafka",) not in up, "unknown is not healthy, and not unhealthy either"


def test_without_a_supervisor_there_is_none_to_alert_on(home: Path) -> None:
    write_report(home, "risk", age_s=1.0)
    metrics = ServiceMetrics(SETTINGS, home).read()
    assert values_of(metrics, "platform_supervisor_up") == {}
    assert values_of(metrics, "platform_service_up")["risk",] == 1.0


def test_deaths_of_threads_are_summed_over_the_processes_of_a_dataflow(home: Path) -> None:
    now = time.time()
    dead = {"name": "redis-latest", "running": 1, "deaths": 2, "died_at": now - 100.0, "error": "x"}
    alive = {"name": "redis-latest", "running": 1, "deaths": 0, "died_at": 0.0, "error": ""}
    write_report(home, "features", 1.0, threads=[dead, {**alive, "name": "other"}])
    row = json.loads((home / "run" / "stats" / "features.json").read_text())
    (home / "run" / "stats" / "features-2of2.json").write_text(json.dumps({**row, "threads": [alive]}))
    metrics = ServiceMetrics(SETTINGS, home).read()
    key = ("features", "redis-latest")
    assert values_of(metrics, "platform_thread_deaths_total") == {key: 2.0, ("features", "other"): 0.0}
    assert values_of(metrics, "platform_thread_running")[key] == 2.0
    assert values_of(metrics, "platform_thread_death_age_seconds") == {key: pytest.approx(100.0, abs=30.0)}


def test_check_that_did_not_run_is_overdue(home: Path) -> None:
    schedule = ChecksSection(verify=300, replay_check="02:00", checkpoint=None, archive=None)
    now = time.time()

    def overdue() -> dict[tuple[str, ...], float]:
        return values_of(read_checks(home, schedule, now), "platform_check_overdue_seconds")

    assert overdue() == {}, "nothing runs checks here"
    write_state(home, age_s=1.0, started_at=now - 300.0)
    assert overdue() == {("verify",): 0.0, ("replay_check",): 0.0}
    write_state(home, age_s=1.0, started_at=now - 1000.0)
    assert overdue()["verify",] == pytest.approx(100.0, abs=1.0)
    for name, age_s in (("verify", 200.0), ("replay_check", 3.0 * DAY_S)):
        row = {"name": name, "ok": True, "finished_at": now - age_s, "duration_s": 1.0, "counts": {"findings": 0}}
        (home / "run" / "checks" / f"{name}.json").write_text(json.dumps(row))
    # The daily check counts from its last end, also if the platform restarts every day.
    assert overdue() == {("verify",): 0.0, ("replay_check",): pytest.approx(2.0 * DAY_S - 7200.0, abs=1.0)}


def test_check_without_counts_did_not_complete(home: Path) -> None:
    row = {"name": "verify", "ok": False, "finished_at": 1.0, "duration_s": 1.0, "counts": {}, "message": "no Kafka"}
    (home / "run" / "checks" / "verify.json").write_text(json.dumps(row))
    assert values_of(read_checks(home, ChecksSection()), "platform_check_completed") == {("verify",): 0.0}


def test_an_archive_that_deleted_nothing_failed_and_found_no_difference(home: Path) -> None:
    row = {"name": "archive", "finished_at": 1.0, "duration_s": 1.0, "counts": {"archived": 500, "deleted": 0}}
    for ok in (False, True):
        (home / "run" / "checks" / "archive.json").write_text(json.dumps({**row, "ok": ok, "message": ""}))
        for name in ("platform_check_ok", "platform_check_completed"):
            assert values_of(read_checks(home, ChecksSection()), name) == {("archive",): float(ok)}, name


def test_step_of_the_clock_shows_for_five_minutes() -> None:
    wall, monotonic = [1000.0], [0.0]
    clock = ClockMetrics(lambda: wall[0], lambda: monotonic[0])

    def step_after(wall_s: float, monotonic_s: float) -> float:
        wall[0] += wall_s
        monotonic[0] += monotonic_s
        return values_of(clock.read(), "platform_clock_step_seconds")[()]

    assert step_after(10.0, 10.0) == 0.0
    assert step_after(10.0, 10.0) == 0.0
    assert step_after(-3590.0, 10.0) == 3600.0
    assert step_after(WINDOW_S - 10.0, WINDOW_S - 10.0) == 3600.0
    assert step_after(11.0, 11.0) == 0.0


def test_open_alerts_are_unknown_while_their_process_does_not_report(home: Path) -> None:
    assert read_open_alerts(Home(home)) is None
    alert = {"severity": "critical", "name": "disk_space", "summary": "5.0% of the disk is free"}
    document = {"pid": 1, "updated_at": time.time(), "met": 1, "alerts": [alert]}
    (home / "run" / "alerts.json").write_text(json.dumps(document))
    assert read_open_alerts(Home(home)) == [alert]
    (home / "run" / "alerts.json").write_text(json.dumps({**document, "updated_at": time.time() - 120.0}))
    assert read_open_alerts(Home(home)) is None

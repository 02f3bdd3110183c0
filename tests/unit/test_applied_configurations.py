"""Which configuration each service has applied: its reports, the metrics, and those that are behind."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from api.dataflow_stats import AppliedConfiguration, applied_configurations, process_rows, read_stats
from api.metrics.services import ServiceMetrics
from configs.settings import Settings, load_settings
from dataflows.runtime.configured_stage import StageFactory, observe_configurations
from dataflows.runtime.stats import Stats
from deploy.commands.platform_status import _behind_lines, _configuration
from schemas.records import Configuration
from tests.builders import configuration


class Nothing:
    def on_slice(self, ts_ns: int, records: object) -> list[object]:
        return []

    def snapshot(self) -> object:
        return (1,)

    def restore(self, snapshot: object) -> None: ...


@pytest.fixture
def settings() -> Settings:
    return load_settings(environment={})


def report(home: Path, service: str, *applied: Configuration | None, replica: str | None = None) -> None:
    """Write the report of a process whose stages have applied these configurations; None: none yet."""
    stats = Stats(service, home / "run" / "stats", interval_s=0, replica=replica)
    for stage, one in enumerate(applied):
        if one is not None:
            stats.report_configuration(one, 60 * one.number, stage)
    stats.write(last_tick_ns=1)


def test_a_process_reports_the_configuration_that_all_its_stages_have_applied(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows.runtime.configured_stage._observers", None)
    stats = Stats("features", tmp_path)
    observe_configurations(lambda _: None, stats.report_configuration)
    factory = StageFactory(lambda _: Nothing, settings)  # type: ignore[arg-type, return-value]
    first, second = factory(), factory()
    assert not stats.configuration
    for stage in (first, second):
        stage.on_slice(10, [configuration(1, settings)])
    first.on_slice(20, [configuration(2, settings)])
    assert stats.configuration == {"id": "config-1", "number": 1, "since_ns": 10}, "the second stage is behind"
    second.on_slice(20, [configuration(2, settings)])
    assert stats.configuration == {"id": "config-2", "number": 2, "since_ns": 20}


def test_a_restarted_process_reports_the_configuration_of_its_snapshot(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows.runtime.configured_stage._observers", None)
    stats = Stats("features", tmp_path)
    observe_configurations(lambda _: None, stats.report_configuration)
    factory = StageFactory(lambda _: Nothing, settings)  # type: ignore[arg-type, return-value]
    stage = factory()
    stage.on_slice(10, [configuration(1, settings)])
    restarted = Stats("features", tmp_path)
    observe_configurations(lambda _: None, restarted.report_configuration)
    StageFactory(lambda _: Nothing, settings)().restore(stage.snapshot())  # type: ignore[arg-type, return-value]
    assert restarted.configuration == {"id": "config-1", "number": 1, "since_ns": 10}


def test_a_service_with_an_earlier_configuration_is_behind(tmp_path: Path, settings: Settings) -> None:
    first, second = configuration(1, settings), configuration(2, settings)
    report(tmp_path, "risk", second)
    report(tmp_path, "features", second, replica="1of2")
    report(tmp_path, "features", second, first, replica="2of2")
    report(tmp_path, "news", None)
    stats = read_stats(tmp_path)
    assert applied_configurations(stats) == {
        "risk": AppliedConfiguration("config-2", 2, 120, False),
        "features": AppliedConfiguration("config-1", 1, 60, True),
    }
    metrics = {metric.name: metric for metric in ServiceMetrics(settings, tmp_path).read()}
    behind = metrics["platform_service_configuration_behind"].samples
    assert {sample.labels["service"]: sample.value for sample in behind} == {"risk": 0, "features": 1}


def test_the_services_of_a_shared_process_have_its_configuration(tmp_path: Path, settings: Settings) -> None:
    report(tmp_path, "compact", configuration(3, settings))
    file = tmp_path / "run" / "stats" / "compact.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"services": {"risk": {}, "signals": {}}}))
    applied = applied_configurations(read_stats(tmp_path))
    assert {name: one.number for name, one in applied.items()} == {"compact": 3, "risk": 3, "signals": 3}
    assert set(applied_configurations(process_rows(read_stats(tmp_path)))) == {"compact"}


def test_status_names_the_services_that_are_behind(tmp_path: Path, settings: Settings) -> None:
    report(tmp_path, "risk", configuration(12, settings))
    report(tmp_path, "features", configuration(11, settings))
    applied = applied_configurations(read_stats(tmp_path))
    shown = {name: _configuration(applied.get(name)) for name in ("risk", "features", "news")}
    assert shown == {"risk": "12", "features": "11 behind", "news": "-"}
    [line] = _behind_lines(applied)
    assert line == "features has applied config-11 since the time slice at 1970-01-01 00:00:00; the newest is config-12"


def test_a_report_of_an_earlier_release_has_only_the_id(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "stats"
    folder.mkdir(parents=True)
    row = {"service": "risk", "updated_at": time.time(), "configuration": {"id": "config-7", "since_ns": 5}}
    (folder / "risk.json").write_text(json.dumps(row))
    assert applied_configurations(read_stats(tmp_path)) == {"risk": AppliedConfiguration("config-7", 7, 5, False)}

"""The recovery stores of a stopped platform are converted to another layout, or stay as they were."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings
from dataflows.replay.layout_stores import write_service_store
from dataflows.runtime import topology
from dataflows.runtime.store_lock import locked_store
from dataflows.runtime.topology import COMPACT, COMPACT_SERVICES, Layout
from deploy.errors import DeployError
from deploy.home import Home
from deploy.recovery import layout_change
from deploy.recovery.layout_change import change_layout, read_service_states
from deploy.recovery.store_positions import read_positions
from deploy.supervisor.initialize import make_recovery_store
from deploy.supervisor.layout import dataflow_names, read_beside, read_layout, shared_services
from deploy.supervisor.replicas import require_scalable
from operators.sentiment import LlmSettings, SentimentSettings
from tests.replay.compact_runs import MemoryTopics
from tests.replay.in_memory_platform import Logs
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import pinned_settings, read_time_slices
from tests.replay.test_layout_change import run_staged, staged_states

States = Mapping[str, Mapping[str, Any]]


class Platform:
    """A stopped platform: its topics in memory, the states of its services, and their stores in `home`."""

    def __init__(self, folder: Path, settings: Settings, logs: Logs, states: States) -> None:
        self.home, self.settings, self.logs, self.states = Home(folder), settings, logs, states
        self.home.create_folders()
        for service, shards in states.items():
            make_recovery_store(self.home.recovery / service)
            write_service_store(service, shards, self.home.recovery / service)

    def change(self, target: Layout) -> str:
        return change_layout(self.home, self.settings, target)

    def run_beside(self, *services: str) -> None:
        """Change the settings, so that these services run beside the compact process."""
        llm = LlmSettings(enabled="sentiment" in services, base_url="http://127.0.0.1:9/v1", model="m")
        broker = "alpaca" if "execution" in services else "simulated"
        self.settings = self.settings.model_copy(
            update={
                "sentiment": SentimentSettings(llm=llm),
                "execution": self.settings.execution.model_copy(update={"broker": broker}),
            }
        )

    def replace_store(self, service: str, *, earlier_ns: int) -> None:
        """Write the store of a service again, as of an earlier time slice."""
        [(shard, ((version, passed_ns, *reader), stage))] = self.states[service].items()
        folder = self.home.recovery / service
        shutil.rmtree(folder)
        make_recovery_store(folder)
        write_service_store(service, {shard: ((version, passed_ns - earlier_ns, *reader), stage)}, folder)

    def stored_states(self) -> States:
        return read_service_states({service: [self.home.recovery / service] for service in COMPACT_SERVICES})


class _OpenTopics(MemoryTopics):
    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Logs, States]:
    settings = pinned_settings()
    settings = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"symbol_partitions": 2})})
    files = write_market(
        tmp_path_factory.mktemp("market"), symbols=("A", "B"), days=[MONDAY], open_time=time(9, 30), minutes=12
    )
    logs = Logs(2)
    logs.write("market_data", topology.FEED_SHARD, read_time_slices(files))
    return settings, logs, staged_states(run_staged(settings, logs, {}))


@pytest.fixture
def platform(tmp_path: Path, run: tuple[Settings, Logs, States], monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setattr(layout_change, "KafkaTopics", lambda _: _OpenTopics(run[1]))
    return Platform(tmp_path / "home", *run)


def test_stores_are_converted_in_both_directions(platform: Platform) -> None:
    assert platform.stored_states() == platform.states
    assert "converted from services" in platform.change(Layout.COMPACT)
    assert read_layout(platform.home) is Layout.COMPACT
    assert {path.name for path in platform.home.recovery.iterdir() if path.is_dir()} == {COMPACT}
    [positions] = read_positions(platform.home, COMPACT)
    assert positions.starts == 1
    assert positions.last_slice_ns == next(iter(platform.states["risk"].values()))[0][1]
    topics = {topic for topic, _ in positions.next_offsets}
    assert "market-bars" in topics and not topics & topology.compact_topics()
    assert "converted from compact" in platform.change(Layout.SERVICES)
    assert platform.stored_states() == platform.states
    assert dataflow_names(platform.home) == tuple(topology.SERVICES)
    assert not (platform.home.recovery / COMPACT).exists()


@pytest.mark.parametrize("beside", [("execution",), ("sentiment",), ("sentiment", "execution")])
def test_the_store_of_a_service_beside_the_compact_process_stays(platform: Platform, beside: tuple[str, ...]) -> None:
    """In a last step, the process gives these services their own stores, and takes them up again."""
    platform.run_beside(*beside)
    kept = {path: path.read_bytes() for name in beside for path in (platform.home.recovery / name).iterdir()}
    assert "converted from services" in platform.change(Layout.COMPACT)
    assert read_beside(platform.home) == beside
    assert {path.name for path in platform.home.recovery.iterdir() if path.is_dir()} == {COMPACT, *beside}
    assert {path: path.read_bytes() for path in kept} == kept
    [positions] = read_positions(platform.home, COMPACT)
    read = {topic for topic, _ in positions.next_offsets}
    assert {"executions" in read, "sentiment" in read} == {name in beside for name in ("execution", "sentiment")}
    platform.change(Layout.SERVICES)
    assert platform.stored_states() == platform.states and read_beside(platform.home) == ()
    platform.run_beside()
    platform.change(Layout.COMPACT)
    platform.run_beside(*beside)
    assert f"compact with {' and '.join(beside)} beside it, converted from compact" in platform.change(Layout.COMPACT)
    assert dataflow_names(platform.home) == topology.processes(Layout.COMPACT, beside)
    platform.run_beside()
    assert "layout: compact, converted from compact" in platform.change(Layout.COMPACT)
    platform.change(Layout.SERVICES)
    assert platform.stored_states() == platform.states


def test_a_service_that_stopped_at_another_time_slice_does_not_join_the_compact_process(platform: Platform) -> None:
    platform.run_beside("sentiment")
    platform.change(Layout.COMPACT)
    platform.replace_store("sentiment", earlier_ns=60_000_000_000)
    platform.run_beside()
    with pytest.raises(DeployError, match=r"cannot move sentiment .*found sentiment at \d+ and compact at .*--drain"):
        platform.change(Layout.COMPACT)
    assert (read_layout(platform.home), read_beside(platform.home)) == (Layout.COMPACT, ("sentiment",))
    platform.change(Layout.SERVICES)
    assert read_layout(platform.home) is Layout.SERVICES


def test_an_interrupted_conversion_leaves_the_old_stores_in_use(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(layout_change, "write_layout", interrupt)
    with pytest.raises(KeyboardInterrupt):
        platform.change(Layout.COMPACT)
    assert read_layout(platform.home) is Layout.SERVICES
    assert platform.stored_states() == platform.states
    monkeypatch.undo()
    monkeypatch.setattr(layout_change, "KafkaTopics", lambda _: _OpenTopics(platform.logs))
    platform.change(Layout.COMPACT)
    platform.change(Layout.SERVICES)
    assert platform.stored_states() == platform.states


def test_services_at_different_time_slices_are_refused(platform: Platform) -> None:
    platform.replace_store("risk", earlier_ns=60_000_000_000)
    with pytest.raises(DeployError, match=r"same time slice, found risk at \d+, features at .*stop --drain"):
        platform.change(Layout.COMPACT)
    assert read_layout(platform.home) is Layout.SERVICES


def test_a_store_in_use_or_without_states_is_refused(platform: Platform) -> None:
    with locked_store(platform.home.recovery / "risk"), pytest.raises(DeployError, match="in use by"):
        platform.change(Layout.COMPACT)
    folder = platform.home.recovery / "signals"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    make_recovery_store(folder)
    with pytest.raises(DeployError, match="the recovery store of signals has no state of shard 0"):
        platform.change(Layout.COMPACT)
    assert read_layout(platform.home) is Layout.SERVICES


def test_a_new_platform_starts_in_any_layout(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create_folders()
    assert change_layout(home, pinned_settings(), Layout.COMPACT) == "layout: compact, for a new platform"
    assert dataflow_names(home) == ("market_data", "news", "fundamentals", COMPACT)
    assert shared_services(home) == COMPACT_SERVICES


@pytest.mark.parametrize(
    ("service", "beside", "message"),
    [
        (
            "features",
            (),
            "cannot scale features in the layout compact, because it shares a process with sentiment, pred",
        ),
        ("features", ("execution",), r"shares a process with (?!.*execution).*; stop the platform and start it with"),
        (
            "execution",
            ("execution",),
            "execution has a single instance because only one gateway may send orders; .* none",
        ),
        ("risk", (), "risk has a single instance because limits and the kill switch belong to the whole account"),
        ("compact", ("sentiment",), "cannot scale compact, because one process runs features, predictions, signals"),
    ],
)
def test_the_reason_why_a_service_cannot_be_scaled_is_its_own(
    service: str, beside: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DeployError, match=message):
        require_scalable(service, 2, 4, topology.compact_services(beside))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wide\n", "must contain one of services, compact, found 'wide'"),
        ("", "must contain one of services, compact, found ''"),
        ("compact\nrisk\n", "must contain only the services sentiment, execution after the layout, found 'risk'"),
    ],
)
def test_an_unknown_layout_is_refused(tmp_path: Path, text: str, message: str) -> None:
    home = Home(tmp_path)
    home.create_folders()
    (home.recovery / "layout").write_text(text)
    with pytest.raises(DeployError, match=message):
        read_layout(home)

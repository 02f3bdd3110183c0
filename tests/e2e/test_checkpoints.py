"""Checkpoints of running services: sealed or absent, also if a service is killed between the parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from threading import Thread
from typing import Any

import pytest

from dataflows.replay.checkpoint_replay import compare_from_checkpoint, open_replay
from dataflows.replay.comparison import ReplayComparison, ReplayWindow
from dataflows.runtime.checkpoint_parts import PARTS
from dataflows.runtime.topology import COMPACT, Layout
from deploy.checkpoints.checkpoint_files import Manifest, checkpoint_ids
from deploy.checkpoints.create_checkpoint import create_checkpoint
from deploy.checkpoints.selection import later_checkpoints, newest_checkpoint
from deploy.errors import DeployError
from deploy.supervisor.platform_identity import write_folder_identity
from tests.e2e.conftest import SLOW, MakePlatform
from tests.e2e.process_platform import ProcessPlatform
from tests.replay.checkpoint_runs import platform_identity

pytestmark = pytest.mark.timeout(600)


def prepare(platform: ProcessPlatform) -> None:
    identity = platform_identity(prefix=platform.prefix, partitions=platform.partitions)
    write_folder_identity(platform.home, identity)
    platform.start_feed_last()


def create(platform: ProcessPlatform, wait_s: float = 150.0) -> Manifest:
    return create_checkpoint(
        platform.home,
        platform.read_settings(),
        actor="tester",
        reason="test",
        release="test",
        report=lambda _: None,
        wait_s=wait_s,
    )


def replay(platform: ProcessPlatform, from_ns: int) -> ReplayComparison:
    """Replay from the newest checkpoint at or before a time slice to the end."""
    settings, skipped = platform.read_settings(), list[str]()
    start = newest_checkpoint(platform.home, settings, from_ns, skipped.append)
    assert start is not None and not skipped, skipped
    with closing(open_replay(settings, start)) as opened:
        later = later_checkpoints(platform.home, start.slice_ns, "test")
        return compare_from_checkpoint(opened, start, later, ReplayWindow())


def in_background(call: Callable[[], Any]) -> tuple[Thread, list[Any]]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except DeployError as error:
            results.append(error)

    thread = Thread(target=run)
    thread.start()
    return thread, results


def wait_for_some_parts(platform: ProcessPlatform) -> None:
    folder = platform.home.checkpoints / PARTS
    platform.wait_until(lambda: bool(list(folder.rglob("*.part"))), "the first parts")


@pytest.mark.parametrize("layout", [Layout.SERVICES, pytest.param(Layout.COMPACT, marks=pytest.mark.long)])
def test_a_replay_from_the_checkpoint_of_running_services_equals_their_records_and_states(
    make_platform: MakePlatform, layout: Layout
) -> None:
    with make_platform(speed=SLOW, layout=layout) as platform:
        prepare(platform)
        first = create(platform)
        platform.restart(COMPACT if layout is Layout.COMPACT else "portfolio")
        second = create(platform)
        platform.drain()
        assert first.slice_ns < second.slice_ns and first.layout == layout
        assert checkpoint_ids(platform.home.checkpoints) == [first.checkpoint_id, second.checkpoint_id]
        assert not (platform.home.checkpoints / PARTS).exists()
        result = replay(platform, first.slice_ns)
        assert (result.difference, result.checkpoints) == (None, (second.checkpoint_id,))
        assert result.last_ns == platform.stats("market_data")["last_tick_ns"]


def test_a_service_that_is_killed_between_the_parts_writes_its_part_after_its_restart(
    make_platform: MakePlatform,
) -> None:
    """Without the part of a service, nothing is sealed."""
    with make_platform(speed=SLOW) as platform:
        prepare(platform)
        platform.kill("feedback")
        # Services that wait for the weights of feedback miss the marker too; the first one is named.
        with pytest.raises(DeployError, match=r"(signals|feedback), shard .*, has not reached the marker"):
            create(platform, wait_s=8.0)
        assert not checkpoint_ids(platform.home.checkpoints)
        assert not (platform.home.checkpoints / PARTS).exists()
        platform.kill("risk")
        thread, results = in_background(lambda: create(platform))
        wait_for_some_parts(platform)
        assert not checkpoint_ids(platform.home.checkpoints)
        platform.start("risk", "feedback")
        time.sleep(0.5)
        platform.restart("signals")
        thread.join()
        [manifest] = results
        assert isinstance(manifest, Manifest), manifest
        platform.drain()
        assert replay(platform, manifest.slice_ns).difference is None

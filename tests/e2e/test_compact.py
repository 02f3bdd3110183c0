"""The layout `compact` on real services: the same tables, topics and decisions as one process per service."""

from __future__ import annotations

import random
import time

import pytest

from dataflows.runtime.topology import COMPACT, Layout
from deploy.errors import DeployError
from deploy.recovery.layout_change import change_layout
from tests.e2e.conftest import MakePlatform, RunResult, assert_same, read_result

MINUTE_NS = 60 * 10**9
OPEN_NS = 1_710_162_000_000_000_000  # 2024-03-11 09:00 in New York
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
def test_kill_9_of_the_compact_process_changes_no_table_and_no_topic(
    kills: int, make_platform: MakePlatform, uninterrupted: RunResult
) -> None:
    rng = random.Random()
    with make_platform(speed="1000", layout=Layout.COMPACT) as platform:
        platform.start_feed_last()
        for _ in range(kills):
            time.sleep(rng.uniform(0.1, 1.5))
            platform.restart(COMPACT)
        platform.wait_drained()
        # A restart at the end of the tape has no work left.
        platform.restart(COMPACT)
        platform.run_to_end()
        assert_same(read_result(platform), uninterrupted)


def test_a_change_of_layout_in_both_directions_changes_no_table_and_no_topic(
    make_platform: MakePlatform, uninterrupted: RunResult
) -> None:
    with make_platform(speed="1000") as platform:
        platform.start_feed_last()
        platform.wait_until_past("risk", OPEN_NS + 30 * MINUTE_NS)
        with pytest.raises(DeployError, match="in use by"):
            change_layout(platform.home, platform.read_settings(), Layout.COMPACT)
        platform.drain()
        assert "converted" in change_layout(platform.home, platform.read_settings(), Layout.COMPACT)
        assert not (platform.home.recovery / "risk").exists()
        platform.set_layout(Layout.COMPACT)
        platform.start_feed_last()
        platform.restart(COMPACT)
        platform.wait_until_past(COMPACT, OPEN_NS + 120 * MINUTE_NS)
        platform.kill(COMPACT)
        platform.kill("market_data")
        platform.stop()
        change_layout(platform.home, platform.read_settings(), Layout.SERVICES)
        platform.set_layout(Layout.SERVICES)
        platform.start()
        platform.run_to_end()
        assert_same(read_result(platform), uninterrupted)

"""The layout `compact` on real services: the same tables, topics and decisions as one process per service."""

from __future__ import annotations

import random
import time

import pytest

from dataflows.runtime.topology import COMPACT, Layout
from tests.e2e.conftest import MakePlatform, RunResult, assert_same, read_result

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
def test_kill_9_of_the_compact_process_changes_no_table_and_no_topic(
    kills: int, make_platform: MakePlatform, uninterrupted: RunResult
) -> None:
    rng = random.Random()
    with make_platform(speed="1500", layout=Layout.COMPACT) as platform:
        platform.start_feed_last()
        for _ in range(kills):
            time.sleep(rng.uniform(0.1, 1.5))
            platform.restart(COMPACT)
        platform.wait_drained()
        # A restart at the end of the tape has no work left.
        platform.restart(COMPACT)
        platform.run_to_end()
        assert_same(read_result(platform), uninterrupted)

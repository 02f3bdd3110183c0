"""A platform whose topics and tables were cut: it starts again, and every replay spans archive and topics."""

from __future__ import annotations

import json
import random
import shutil
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from dataflows.replay.checkpoint_replay import compare_from_checkpoint, open_replay
from dataflows.replay.comparison import ReplayWindow, compare
from dataflows.replay.recording import open_recording
from dataflows.runtime.topology import COMPACT, Layout
from deploy.archive.create_archive import ArchiveResult, create_archive
from deploy.checkpoints.create_checkpoint import create_checkpoint
from deploy.checkpoints.selection import later_checkpoints, newest_checkpoint
from deploy.errors import DeployError
from deploy.supervisor.platform_identity import configured_identity, read_cluster_id, write_identities
from deploy.supervisor.state_check import check_state
from tests.e2e.conftest import MakePlatform
from tests.e2e.process_platform import ProcessPlatform
from tests.replay.runs import read_time_slices

pytestmark = pytest.mark.timeout(600)
FIRST_DAY, DAYS = date(2024, 1, 16), 49
"""Until 4 March, before daylight saving time begins."""
CHECKPOINT_NS = int(datetime(2024, 1, 31, 18, tzinfo=UTC).timestamp()) * 10**9
CUT_NS = int(datetime(2024, 3, 1, 18, tzinfo=UTC).timestamp()) * 10**9
"""The topics and tables are cut after this time."""
SETTINGS = {
    "MARKET_DATA__FILES__BAR_INTERVAL": "1h",
    "KAFKA__RETENTION": json.dumps(dict.fromkeys(("market-bars", "features", "predictions"), 3)),
    "DATABASE__POSTGRES__RETENTION": json.dumps({"bars": 20, "features": 20}),
}


def write_hours(folder: Path) -> list[Path]:
    """Write hourly bars of two symbols for seven weeks, six on each weekday."""
    files = []
    for symbol in ("A", "B"):
        rng, price, rows = random.Random(symbol), 50.0, ["ts_open_utc,symbol,open,high,low,close,volume"]
        for day in (FIRST_DAY + timedelta(days=number) for number in range(DAYS)):
            for hour in range(14, 20) if day.weekday() < 5 else ():
                close = round(price * (1 + rng.gauss(0, 0.01)), 2)
                high, low = max(price, close), min(price, close)
                rows.append(f"{day}T{hour}:30:00Z,{symbol},{price},{high},{low},{close},500")
                price = close
        files.append(folder / f"{symbol}.csv")
        files[-1].write_text("\n".join(rows) + "\n")
    return files


def archive_and_cut(platform: ProcessPlatform) -> ArchiveResult:
    settings = platform.read_settings()
    url = settings.database.postgres.url
    return create_archive(
        platform.home,
        settings,
        database_url=url,
        delete=True,
        dry_run=False,
        now=datetime.now(UTC),
        report=lambda line: None,
    )


def test_a_platform_continues_after_its_topics_and_tables_were_cut(make_platform: MakePlatform, tmp_path: Path) -> None:
    files = write_hours(tmp_path)
    with make_platform(files, speed="36000", layout=Layout.COMPACT, overrides=SETTINGS) as platform:
        settings, home = platform.read_settings(), platform.home
        identity = configured_identity(settings, read_cluster_id(settings.kafka.cluster))
        write_identities(home, settings, identity)
        platform.start_feed_last()
        platform.drain()
        old_store = shutil.copytree(home.recovery / COMPACT, tmp_path / "old")
        platform.start_feed_last()
        platform.wait_until_past(COMPACT, CHECKPOINT_NS)
        checkpoint = create_checkpoint(
            home, settings, actor="tester", reason="test", release="test", report=lambda line: None
        )
        platform.wait_until_past(COMPACT, CUT_NS)
        platform.drain()

        result = archive_and_cut(platform)
        assert not result.undeleted_reason
        assert {one.topic for one in result.deletions} == {"market-bars", "features", "predictions"}
        cut = [one.partition for one in result.partitions]
        assert cut == ["bars_2024_01", "features_2024_01"]

        # An older store needs messages that only the archive has: refused, with the command that repairs it.
        check_state(home, settings)
        newest_store = (home.recovery / COMPACT).rename(tmp_path / "newest")
        shutil.copytree(old_store, home.recovery / COMPACT)
        with pytest.raises(DeployError, match=r"older than topic \S+: .* the topic starts at \d+; .* rebuild compact"):
            check_state(home, settings)
        shutil.rmtree(home.recovery / COMPACT)
        newest_store.rename(home.recovery / COMPACT)

        platform.speed = "max"
        platform.start()
        platform.run_to_end()
        check_state(home, settings)
        with closing(open_recording(settings.kafka, "replay-check")) as recording:
            whole = compare(settings, recording)
        assert (whole.difference, whole.ticks) == (None, len(read_time_slices(files)))
        skipped = list[str]()
        start = newest_checkpoint(home, settings, checkpoint.slice_ns, skipped.append)
        assert start is not None and not skipped
        with closing(open_replay(settings, start)) as replay:
            later = later_checkpoints(home, start.slice_ns, "test")
            assert compare_from_checkpoint(replay, start, later, ReplayWindow()).difference is None

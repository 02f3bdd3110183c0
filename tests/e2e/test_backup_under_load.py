"""A backup that was taken in the middle of a fast run continues to the same result as the run without interruption."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from dataflows.runtime.topology import COMPACT, Layout
from deploy.backup.archive import ArchiveReader
from deploy.backup.platform_backup import write_platform_backup
from deploy.backup.platform_restore import read_sealed_manifest, restore_platform
from deploy.backup.servers import PlatformServers
from deploy.recovery.layout_change import change_layout
from deploy.supervisor.platform_identity import configured_identity, read_cluster_id, write_identities
from tests.e2e.conftest import MakePlatform, RunResult, assert_same, read_result
from tests.e2e.process_platform import ProcessPlatform
from tests.replay.runs import SETTINGS_FILE

pytestmark = pytest.mark.timeout(600)

KEY = "k" * 40
SPEED = "120"
"""Two minutes of the market a second: slow enough for a backup before the end, also on a busy machine."""


def back_up(platform: ProcessPlatform, file: Path) -> int:
    """Back up a platform whose dataflows are running. Returns the time (ns) at which the topics in the file end."""
    servers = PlatformServers(platform.read_settings(), is_running=True)
    manifest = write_platform_backup(
        platform.home, servers, file, release="1", key=KEY, recipient=None, report=lambda line: None
    )
    assert manifest.cut_ns is not None
    return manifest.cut_ns


def restore(platform: ProcessPlatform, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("KAFKA_BOOTSTRAP_SERVERS", platform.servers.kafka),
        ("DATABASE_URL", platform.servers.database_url),
        ("KAFKA__TOPIC_PREFIX", platform.prefix),
        ("PLATFORM_SETTINGS", str(SETTINGS_FILE)),
    ):
        monkeypatch.setenv(name, value)
    with closing(ArchiveReader(file)) as archive:
        manifest = read_sealed_manifest(archive, KEY, None)
        restore_platform(platform.home, archive, manifest, None, key=KEY, force=False, report=lambda line: None)
    monkeypatch.undo()


def backup_of_a_run(make_platform: MakePlatform, file: Path, layout: Layout) -> None:
    """Write a backup in the middle of a run, which continues until it is past the end of the backup."""
    with make_platform(speed=SPEED, layout=layout) as platform:
        settings = platform.read_settings()
        identity = configured_identity(settings, read_cluster_id(settings.kafka.cluster))
        write_identities(platform.home, settings, identity)
        platform.start_feed_last()
        cut_ns = back_up(platform, file)
        assert not platform.is_drained(), "the backup is of the middle of the run"
        # What the platform does later is not in the backup.
        platform.wait_until_past("risk" if layout is Layout.SERVICES else COMPACT, cut_ns)


def result_of_restored_run(
    make_platform: MakePlatform, file: Path, monkeypatch: pytest.MonkeyPatch, layout: Layout
) -> RunResult:
    """Restore a backup, convert it to the layout, and return the result of the run at its end."""
    restored = make_platform()
    restore(restored, file, monkeypatch)
    change_layout(restored.home, restored.read_settings(), layout)
    restored.set_layout(layout)
    try:
        restored.start()
        restored.run_to_end()
        return read_result(restored)
    finally:
        restored.__exit__()


def test_a_backup_under_load_continues_to_the_result_of_the_uninterrupted_run(
    make_platform: MakePlatform, uninterrupted: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup_of_a_run(make_platform, tmp_path / "all.tar", Layout.SERVICES)
    result = result_of_restored_run(make_platform, tmp_path / "all.tar", monkeypatch, Layout.SERVICES)
    assert_same(result, uninterrupted)


def test_a_backup_of_a_compact_platform_continues_in_either_layout(
    make_platform: MakePlatform, uninterrupted: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup_of_a_run(make_platform, tmp_path / "all.tar", Layout.COMPACT)
    for layout in Layout:
        result = result_of_restored_run(make_platform, tmp_path / "all.tar", monkeypatch, layout)
        assert_same(result, uninterrupted)

"""A backup that was taken in the middle of a fast run continues to the same result as the run without interruption."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from deploy.backup.archive import ArchiveReader
from deploy.backup.platform_backup import write_platform_backup
from deploy.backup.platform_restore import read_sealed_manifest, restore_platform
from deploy.backup.servers import PlatformServers
from deploy.supervisor.platform_identity import configured_identity, read_cluster_id, write_identities
from tests.e2e.conftest import MakePlatform, RunResult, assert_same, read_result
from tests.e2e.process_platform import ProcessPlatform
from tests.replay.runs import SETTINGS_FILE

pytestmark = pytest.mark.timeout(600)

KEY = "k" * 40
SPEED = "180"
"""Three minutes of the market a second: slow enough for a backup before the end, also on a busy machine."""


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


def test_a_backup_under_load_continues_to_the_result_of_the_uninterrupted_run(
    make_platform: MakePlatform, uninterrupted: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "all.tar"
    with make_platform(speed=SPEED) as platform:
        settings = platform.read_settings()
        identity = configured_identity(settings, read_cluster_id(settings.kafka.cluster))
        write_identities(platform.home, settings, identity)
        platform.start_feed_last()
        cut_ns = back_up(platform, file)
        assert not platform.is_drained(), "the backup is of the middle of the run"
        platform.wait_until_past("risk", cut_ns)  # what the platform does later is not in the backup
    restored = make_platform()
    restore(restored, file, monkeypatch)
    try:
        restored.start()
        restored.run_to_end()
        assert_same(read_result(restored), uninterrupted)
    finally:
        restored.__exit__()

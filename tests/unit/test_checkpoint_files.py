"""A checkpoint is sealed or does not exist; a damaged or foreign one is skipped with one sentence."""

from __future__ import annotations

import json
import os
import pickle
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from configs.settings import Settings
from dataflows.replay.checkpoint_states import CheckpointState
from dataflows.runtime import checkpoint_parts
from dataflows.runtime.checkpoint_parts import PARTS, ReaderCheckpoint, part_name, write_part, write_shard_part
from dataflows.runtime.topology import Layout
from deploy.checkpoints import checkpoint_files
from deploy.checkpoints.books import first_book_difference
from deploy.checkpoints.checkpoint_files import (
    MANIFEST,
    Manifest,
    checkpoint_ids,
    read_manifest,
    read_state,
    remove_unsealed,
)
from deploy.checkpoints.create_checkpoint import NoTimeSlice, expected_parts, wait_for_parts
from deploy.checkpoints.selection import (
    expired_checkpoints,
    later_checkpoints,
    list_checkpoints,
    newest_checkpoint,
    remove_expired,
)
from deploy.errors import DeployError
from deploy.home import Home
from schemas.records import CheckpointMarker
from tests.replay.checkpoint_runs import WholeRun, home_of, platform_identity, seal_checkpoint, with_markers
from tests.unit.tape import market, settings

MARKERS = (5, 20, 35)
PARTITIONS = 2
IDENTITY = platform_identity(partitions=PARTITIONS)


@pytest.fixture(scope="module")
def own_settings() -> Settings:
    current = settings()
    return current.model_copy(update={"kafka": current.kafka.model_copy(update={"symbol_partitions": PARTITIONS})})


@pytest.fixture(scope="module")
def checkpoints(own_settings: Settings) -> list[CheckpointState]:
    run = WholeRun(own_settings, with_markers(market(40), MARKERS), PARTITIONS)
    return [run.checkpoint(slice_ns) for slice_ns in run.states]


@pytest.fixture
def home(tmp_path: Path, own_settings: Settings, checkpoints: list[CheckpointState]) -> Home:
    home = home_of(tmp_path / "home", IDENTITY)
    for number, state in enumerate(checkpoints):
        seal_checkpoint(home, own_settings, state, IDENTITY, created_ns=number + 1)
    return home


def test_a_sealed_checkpoint_has_the_state(home: Home, checkpoints: list[CheckpointState]) -> None:
    for state in checkpoints:
        manifest = read_manifest(home.checkpoints, state.checkpoint_id)
        assert read_state(home.checkpoints, manifest) == state
    assert [one.problem for one in list_checkpoints(home)] == [""] * 3
    later = later_checkpoints(home, checkpoints[0].slice_ns, "test")
    assert [one.checkpoint_id for one in later.values()] == [state.checkpoint_id for state in checkpoints[1:]]
    assert {one.other_release for one in later.values()} == {""}
    assert {one.other_release for one in later_checkpoints(home, 0, "0.9").values()} == {"test"}
    assert later[checkpoints[1].slice_ns].read() == checkpoints[1].compact


def test_the_newest_checkpoint_before_a_time_is_selected(
    home: Home, own_settings: Settings, checkpoints: list[CheckpointState]
) -> None:
    first, second, third = checkpoints
    skipped: list[str] = []
    for upto_ns, expected in (
        (third.slice_ns, third),
        (third.slice_ns - 1, second),
        (second.slice_ns, second),
        (first.slice_ns, first),
        (first.slice_ns - 1, None),
    ):
        assert newest_checkpoint(home, own_settings, upto_ns, skipped.append) == expected
    assert not skipped


@pytest.mark.parametrize("file", ["risk-books.state", "pending.state", MANIFEST])
@pytest.mark.parametrize("position", [0.0, 0.5, 0.99])
def test_one_flipped_byte_is_named(
    home: Home, own_settings: Settings, checkpoints: list[CheckpointState], file: str, position: float
) -> None:
    _, second, third = checkpoints
    path = home.checkpoints / third.checkpoint_id / file
    content = bytearray(path.read_bytes())
    content[int(len(content) * position)] ^= 1
    path.write_bytes(content)
    before = {one: one.read_bytes() for one in home.checkpoints.rglob("*") if one.is_file()}
    skipped: list[str] = []
    assert newest_checkpoint(home, own_settings, third.slice_ns, skipped.append) == second
    [sentence] = skipped
    assert third.checkpoint_id in sentence and file in sentence and "\n" not in sentence
    assert {one: one.read_bytes() for one in home.checkpoints.rglob("*") if one.is_file()} == before


def test_a_missing_part_is_named(home: Home, own_settings: Settings, checkpoints: list[CheckpointState]) -> None:
    _, second, third = checkpoints
    (home.checkpoints / third.checkpoint_id / "features-1.state").unlink()
    skipped: list[str] = []
    assert newest_checkpoint(home, own_settings, third.slice_ns, skipped.append) == second
    assert skipped[0].startswith(f"{third.checkpoint_id} lacks its part features-1.state")


def test_a_part_that_the_manifest_does_not_list_is_missed(home: Home, checkpoints: list[CheckpointState]) -> None:
    path = home.checkpoints / checkpoints[0].checkpoint_id / MANIFEST
    manifest = read_manifest(home.checkpoints, checkpoints[0].checkpoint_id)
    parts = {name: part for name, part in manifest.parts.items() if name != "signals-0.state"}
    changed = replace(manifest, parts=parts).with_hash()
    path.write_text(json.dumps(changed.__dict__))
    with pytest.raises(DeployError, match="is incomplete: it lacks the state of signals, shard 0"):
        read_state(home.checkpoints, read_manifest(home.checkpoints, manifest.checkpoint_id))


@pytest.mark.parametrize(
    ("identity", "text"),
    [
        (replace(IDENTITY, platform_id="p-2"), "belongs to platform p-1, the state folder to platform p-2"),
        (replace(IDENTITY, epoch=2), "is from before a restore (epoch 1, now 2)"),
        (replace(IDENTITY, symbol_partitions=4), "has topic prefix '' and 2 partitions"),
    ],
)
def test_a_checkpoint_of_another_platform_is_skipped(
    tmp_path: Path, own_settings: Settings, checkpoints: list[CheckpointState], identity: object, text: str
) -> None:
    home = home_of(tmp_path / "home", identity)  # type: ignore[arg-type]
    seal_checkpoint(home, own_settings, checkpoints[0], IDENTITY)
    skipped: list[str] = []
    assert newest_checkpoint(home, own_settings, checkpoints[0].slice_ns, skipped.append) is None
    assert text in skipped[0]
    assert not later_checkpoints(home, 0, "test")
    assert not remove_expired(home, 1, datetime.now(UTC)), "those of another platform are not removed"


def test_a_state_that_a_stage_cannot_restore_is_skipped(
    home: Home, own_settings: Settings, checkpoints: list[CheckpointState]
) -> None:
    """A later release may have another version of a stage's state."""
    *_, third = checkpoints
    compact = pickle.loads(pickle.dumps(third.compact))  # noqa: S301  (written here)
    reader, (version, stage) = compact[2]["features"]["0"]
    compact[2]["features"]["0"] = (reader, (version, (999, *stage[1:])))
    newer = third._replace(checkpoint_id="checkpoint-newer", compact=compact, slice_ns=third.slice_ns)
    seal_checkpoint(home, own_settings, newer, IDENTITY, created_ns=9)
    skipped: list[str] = []
    assert newest_checkpoint(home, own_settings, third.slice_ns, skipped.append) == third
    assert "checkpoint-newer of release test cannot be restored by this release" in skipped[0]


def test_a_crash_at_any_file_of_a_seal_leaves_no_checkpoint(
    tmp_path: Path, own_settings: Settings, checkpoints: list[CheckpointState], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_of(tmp_path / "home", IDENTITY)
    written: list[Path] = []
    seal_checkpoint(home, own_settings, checkpoints[0], IDENTITY)
    file_count = sum(path.is_file() for path in (home.checkpoints / checkpoints[0].checkpoint_id).iterdir())
    original = checkpoint_parts.write_durably

    def crash_at(number: int) -> None:
        def write(path: Path, content: bytes) -> None:
            if len(written) == number:
                raise KeyboardInterrupt
            written.append(path)
            original(path, content)

        monkeypatch.setattr(checkpoint_files, "write_durably", write)

    for number in range(file_count):
        written.clear()
        crash_at(number)
        with pytest.raises(KeyboardInterrupt):
            seal_checkpoint(home, own_settings, checkpoints[1], IDENTITY)
        assert checkpoint_ids(home.checkpoints) == [checkpoints[0].checkpoint_id]
        remove_unsealed(home.checkpoints)
    monkeypatch.setattr(checkpoint_files, "write_durably", original)
    seal_checkpoint(home, own_settings, checkpoints[1], IDENTITY)
    assert len(checkpoint_ids(home.checkpoints)) == 2
    assert not list(home.checkpoints.glob(".*"))


def test_the_books_in_a_checkpoint_agree(own_settings: Settings, checkpoints: list[CheckpointState]) -> None:
    for state in checkpoints:
        assert first_book_difference(own_settings, state.compact[2]) == ""
    mixed = checkpoints[1].compact[2] | {"risk": checkpoints[0].compact[2]["risk"]}
    assert "recovery store of risk: cash is" in first_book_difference(own_settings, mixed)


# -- parts -------------------------------------------------------------------------------------------------------------

MARKER = CheckpointMarker("checkpoint-20240115T211500Z-0a1b2c3d", 1, "tester", "test")


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    return tmp_path / checkpoint_parts.FOLDER / PARTS


def test_parts_of_all_services_are_one_state(parts: Path) -> None:
    names = expected_parts(Layout.SERVICES, 2)
    assert len(names) == 3 * 2 + 6
    assert list(expected_parts(Layout.COMPACT, 2, ["execution"])) == ["compact.part", "execution-books.part"]
    for service, shard in names.values():
        write_shard_part(ReaderCheckpoint(MARKER, 60, service, shard, (1, 60, {})), (1, "state"))
    slice_ns, (compact, states) = wait_for_parts(parts / MARKER.checkpoint_id, names, time.monotonic())
    assert compact is None
    assert slice_ns == 60 and states["features"] == {"0": ((1, 60, {}), (1, "state")), "1": ((1, 60, {}), (1, "state"))}
    assert {path.stat().st_mode & 0o777 for path in parts.rglob("*.part")} == {0o600}


def test_missing_parts_are_named(parts: Path) -> None:
    names, folder = expected_parts(Layout.SERVICES, 2), parts / MARKER.checkpoint_id
    with pytest.raises(NoTimeSlice, match="no service has reached the marker"):
        wait_for_parts(folder, names, time.monotonic())
    for service, shard in list(names.values())[1:]:
        write_shard_part(ReaderCheckpoint(MARKER, 60, service, shard, None), None)
    with pytest.raises(DeployError, match="features, shard 0, has not reached the marker"):
        wait_for_parts(folder, names, time.monotonic())
    write_shard_part(ReaderCheckpoint(MARKER, 120, "features", "0", None), None)
    with pytest.raises(DeployError, match=r"the time slices \[60, 120\], expected one"):
        wait_for_parts(folder, names, time.monotonic())


def test_a_part_outside_the_folder_is_not_written(parts: Path) -> None:
    """Everyone who can write to the topic chooses the id."""
    for checkpoint_id in ("../../x", "checkpoint-../x", "checkpoint-" + "a" * 90, ""):
        write_part(MARKER._replace(checkpoint_id=checkpoint_id), 60, part_name("risk", "books"), ())
    assert not parts.exists()


def test_a_part_that_cannot_be_written_stops_nothing(parts: Path) -> None:
    parts.parent.mkdir(parents=True)
    parts.write_text("a file in place of the folder")
    write_part(MARKER, 60, part_name("risk", "books"), ())
    assert parts.read_text().startswith("a file")


# -- retention ---------------------------------------------------------------------------------------------------------


def manifest_at(when: datetime) -> Manifest:
    return Manifest(
        f"checkpoint-{when:%Y%m%d}", 0, int(when.timestamp() * 1e9), "", "", "", "", "p", 1, "", 1, "", (), {}, {}, 0
    )


def test_old_checkpoints_are_removed_except_the_first_of_each_month() -> None:
    start = datetime(2024, 1, 10, 21, 15, tzinfo=UTC)
    days = [start + timedelta(days=number) for number in range(100)]
    now = days[-1] + timedelta(hours=1)
    expired = set(expired_checkpoints([manifest_at(day) for day in days], 30, now))
    kept = [day for day in days if f"checkpoint-{day:%Y%m%d}" not in expired]
    old = [day for day in kept if day < now - timedelta(days=30)]
    assert [f"{day:%m-%d}" for day in old] == ["01-10", "02-01", "03-01"]
    assert len(kept) - len(old) == 30


def test_the_newest_checkpoint_is_never_removed() -> None:
    start = datetime(2024, 1, 10, tzinfo=UTC)
    manifests = [manifest_at(start + timedelta(days=number)) for number in range(3)]
    assert expired_checkpoints(manifests, 1, start + timedelta(days=900)) == ["checkpoint-20240111"]


def test_removal_and_leftovers(home: Home, checkpoints: list[CheckpointState]) -> None:
    (home.checkpoints / f"{checkpoint_files.SEALING_PREFIX}x").mkdir()
    assert remove_expired(home, 1, datetime.now(UTC)) == [checkpoints[1].checkpoint_id]
    assert sorted(os.listdir(home.checkpoints)) == sorted(one.checkpoint_id for one in (checkpoints[0], checkpoints[2]))

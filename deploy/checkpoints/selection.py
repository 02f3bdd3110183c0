"""Select the checkpoint from which a replay starts, and remove old ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from dataflows.replay.checkpoint_replay import LaterCheckpoint, replay_stages
from deploy.checkpoints.checkpoint_files import (
    Manifest,
    checkpoint_ids,
    read_manifest,
    read_state,
    remove_checkpoint,
    remove_unsealed,
)
from deploy.errors import DeployError
from deploy.verification.audit import ChainHead
from schemas.errors import BadInput

if TYPE_CHECKING:
    from configs.settings import Settings
    from dataflows.replay.checkpoint_states import CheckpointState
    from dataflows.replay.recorded_source import RecordedSource
    from deploy.home import Home

OnSkipped = Callable[[str], None]
"""Receives a sentence about a checkpoint that cannot be used."""
Loaded = TypeVar("Loaded")


class CheckpointStatus(NamedTuple):
    """A checkpoint of the folder. `manifest` is None if it cannot be read, and `problem` is a sentence, or ""."""

    checkpoint_id: str
    manifest: Manifest | None
    problem: str


def list_checkpoints(home: Home) -> list[CheckpointStatus]:
    """Return all checkpoints, oldest first. Reads only their manifests."""
    out = []
    for checkpoint_id in checkpoint_ids(home.checkpoints):
        try:
            manifest = read_manifest(home.checkpoints, checkpoint_id)
        except DeployError as error:
            out.append(CheckpointStatus(checkpoint_id, None, str(error)))
        else:
            out.append(CheckpointStatus(checkpoint_id, manifest, platform_problem(home, manifest)))
    return sorted(out, key=lambda one: (-1 if one.manifest is None else one.manifest.slice_ns, one.checkpoint_id))


def platform_problem(home: Home, manifest: Manifest) -> str:
    """Return why a checkpoint does not belong to the state of a platform, "" if it does."""
    from deploy.supervisor.platform_identity import read_folder_identity

    identity = read_folder_identity(home)
    name = manifest.checkpoint_id
    if identity is None:
        return f"{name} cannot be used: the platform in {home.root} has no identity"
    found, expected = manifest.platform_id, identity.platform_id
    if found != expected:
        return f"{name} belongs to platform {found}, the state folder to platform {expected}"
    if manifest.epoch != identity.epoch:
        return f"{name} is from before a restore (epoch {manifest.epoch}, now {identity.epoch})"
    logs = (manifest.topic_prefix, manifest.symbol_partitions)
    if logs != (identity.topic_prefix, identity.symbol_partitions):
        return (
            f"{name} has topic prefix {logs[0]!r} and {logs[1]} partitions, the platform {identity.topic_prefix!r} and "
            f"{identity.symbol_partitions}"
        )
    return ""


def load_checkpoint(
    home: Home, settings: Settings, manifest: Manifest, source: RecordedSource | None = None
) -> CheckpointState:
    """Return the state of a checkpoint that every stage of this release can restore. Raises DeployError."""
    problem = platform_problem(home, manifest)
    if problem:
        raise DeployError(problem)
    state = read_state(home.checkpoints, manifest)
    try:
        replay_stages(settings, state.compact, {}, source).snapshot()
    except BadInput as error:  # the file of a strategy or an indicator has changed
        raise DeployError(f"{manifest.checkpoint_id} cannot be used: {error}") from error
    except Exception as error:  # a state of another release can fail in any way
        release = manifest.release
        raise DeployError(
            f"{manifest.checkpoint_id} of release {release} cannot be restored by this release: "
            f"{type(error).__name__}: {error}"
        ) from error
    return state


def newest_checkpoint(
    home: Home, settings: Settings, upto_ns: int, skipped: OnSkipped, source: RecordedSource | None = None
) -> CheckpointState | None:
    """Return the newest usable checkpoint at or before a time slice, None without one.

    `skipped` receives one sentence for each newer one that cannot be used, and for each one without a time slice.
    """
    return newest_usable(
        home,
        lambda manifest: manifest.slice_ns <= upto_ns,
        lambda manifest: load_checkpoint(home, settings, manifest, source),
        skipped,
    )


def newest_usable(
    home: Home, is_candidate: Callable[[Manifest], bool], load: Callable[[Manifest], Loaded], skipped: OnSkipped
) -> Loaded | None:
    """Return what `load` reads from the newest candidate that it can read, None without one.

    `load` raises DeployError. `skipped` is that of `newest_checkpoint`.
    """
    checkpoints = list_checkpoints(home)
    for one in checkpoints:
        if one.manifest is None:
            skipped(f"{one.problem}; it is not used")
    for one in reversed(checkpoints):
        if one.manifest is not None and is_candidate(one.manifest):
            try:
                return load(one.manifest)
            except DeployError as error:
                skipped(f"{error}; an older checkpoint is used, if there is one")
    return None


def later_checkpoints(home: Home, after_ns: int, release: str) -> dict[int, LaterCheckpoint]:
    """Return the checkpoints after a time slice, whose states a replay must reach. Skip those of another platform.

    `release` is the release of this process.
    """
    return {one.slice_ns: one for one in _later(home, after_ns, release)}


def sealed_heads(home: Home) -> list[ChainHead]:
    """Return the heads of the audit chains in all checkpoints of this platform. Raises nothing: others are skipped."""
    return [
        ChainHead(topic, position, head)
        for _, manifest, problem in list_checkpoints(home)
        if manifest is not None and not problem
        for topic, position, head in manifest.audit_heads
    ]


def _later(home: Home, after_ns: int, release: str) -> Iterator[LaterCheckpoint]:
    for checkpoint_id, manifest, problem in list_checkpoints(home):
        if manifest is not None and not problem and manifest.slice_ns > after_ns:
            other_release = "" if manifest.release == release else manifest.release
            yield LaterCheckpoint(checkpoint_id, manifest.slice_ns, _reader(home, manifest), other_release)


def _reader(home: Home, manifest: Manifest) -> Callable[[], object]:
    def read() -> object:
        try:
            return read_state(home.checkpoints, manifest).compact
        except DeployError as error:
            raise BadInput(str(error)) from error

    return read


def unreadable_after(home: Home, checkpoint_id: str) -> list[str]:
    """Return a sentence for each checkpoint without a readable manifest that was created after another one.

    Its time slice is unknown. Ids begin with the time of creation.
    """
    checkpoints = list_checkpoints(home)
    return [one.problem for one in checkpoints if one.manifest is None and one.checkpoint_id > checkpoint_id]


def expired_checkpoints(manifests: list[Manifest], retain_days: int, now: datetime) -> list[str]:
    """Return the ids of the checkpoints to remove: older than `retain_days`, unless the first one of a month or the
    newest one. Months are those of the wall clock, in UTC.
    """
    ordered = sorted(manifests, key=lambda one: one.created_ns)
    oldest_ns = int((now - timedelta(days=retain_days)).timestamp() * 1e9)
    months: set[tuple[int, int]] = set()
    expired = []
    for manifest in ordered[:-1]:
        created = datetime.fromtimestamp(manifest.created_ns / 1e9, UTC)
        is_first_of_month = (created.year, created.month) not in months
        months.add((created.year, created.month))
        if manifest.created_ns < oldest_ns and not is_first_of_month:
            expired.append(manifest.checkpoint_id)
    return expired


def remove_expired(home: Home, retain_days: int, now: datetime) -> list[str]:
    """Remove old checkpoints of this platform, and what an interrupted run has left. Return the removed ids."""
    remove_unsealed(home.checkpoints)
    manifests = [one.manifest for one in list_checkpoints(home) if one.manifest is not None and not one.problem]
    expired = expired_checkpoints(manifests, retain_days, now)
    for checkpoint_id in expired:
        remove_checkpoint(home.checkpoints, checkpoint_id)
    return expired

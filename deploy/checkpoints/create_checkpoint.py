"""Create a checkpoint of a running platform: write the marker, wait for all parts, and seal them.

The services write their parts right after the time slice of the marker (`dataflows/runtime/checkpoint_parts.py`). If
this process or a service is killed, no checkpoint appears. The next one removes what is left.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dataflows.replay.checkpoint_books import books_of
from dataflows.replay.checkpoint_states import CheckpointParts, CheckpointState, combined_state, require_all_shards
from dataflows.replay.layout_stores import KafkaTopics
from dataflows.runtime import topology
from dataflows.runtime.checkpoint_parts import COMPACT_PART, PARTS, part_name
from dataflows.runtime.topology import COMPACT_SERVICES, Layout
from deploy.checkpoints.books import books_hash, first_book_difference
from deploy.checkpoints.checkpoint_files import Manifest, remove_unsealed, seal
from deploy.errors import DeployError
from deploy.recovery.recovery_store import load_plain
from deploy.supervisor.layout import read_beside, read_layout
from schemas.errors import BadInput, Unavailable
from schemas.records import CheckpointMarker

if TYPE_CHECKING:
    from configs.settings import Settings
    from deploy.home import Home
    from deploy.supervisor.platform_identity import PlatformIdentity
    from deploy.supervisor.process_spec import ProgressCallback

WAIT_S = 150.0
"""How long the services may take to reach the marker. Clocks of minute bars are 60 s apart."""
POLL_S = 0.2


class NoTimeSlice(DeployError):
    """No service has processed a time slice since the marker was written: the feed writes no clock."""


def new_marker(actor: str, reason: str) -> CheckpointMarker:
    """Return a marker with a new id, which begins with the present time."""
    now = datetime.now(UTC)
    checkpoint_id = f"checkpoint-{now:%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}"
    return CheckpointMarker(checkpoint_id=checkpoint_id, ts_ns=time.time_ns(), actor=actor, reason=reason)


def create_checkpoint(
    home: Home,
    settings: Settings,
    *,
    actor: str,
    reason: str,
    release: str,
    report: ProgressCallback,
    wait_s: float = WAIT_S,
) -> Manifest:
    """Create a checkpoint of the platform in `home`, and return its manifest.

    Raises NoTimeSlice and DeployError if a part is missing after `wait_s`, if the books differ, or if another process
    creates one. Nothing is sealed then.
    """
    from deploy.supervisor.platform_identity import read_folder_identity
    from sinks.commands import CommandLog

    identity = read_folder_identity(home)
    if identity is None:
        raise DeployError(f"the platform in {home.root} has no identity yet; start it with `python cli.py start`")
    marker = new_marker(actor, reason)
    parts = home.checkpoints / PARTS
    with _only_one(home.checkpoints):
        remove_unsealed(home.checkpoints)
        shutil.rmtree(parts, ignore_errors=True)
        try:
            CommandLog(settings.kafka.cluster, prefix=settings.kafka.topic_prefix).send(marker)
            report("waiting for the services to reach the marker")
            deadline = time.monotonic() + wait_s
            layout = read_layout(home)
            names = expected_parts(layout, settings.kafka.symbol_partitions, read_beside(home))
            slice_ns, found = wait_for_parts(parts / marker.checkpoint_id, names, deadline)
            report("waiting for the topics")
            state = _combine(settings, marker.checkpoint_id, slice_ns, found, deadline)
            manifest = _manifest(settings, marker, identity, state, release=release, layout=layout)
            return seal(home.checkpoints, manifest, state)
        except (BadInput, Unavailable) as error:
            raise DeployError(f"no checkpoint created: {error}") from error
        except OSError as error:
            raise DeployError(f"no checkpoint created: cannot write to {home.checkpoints}: {error.strerror}") from error
        finally:
            shutil.rmtree(parts, ignore_errors=True)


def _manifest(
    settings: Settings,
    marker: CheckpointMarker,
    identity: PlatformIdentity,
    state: CheckpointState,
    *,
    release: str,
    layout: Layout,
) -> Manifest:
    """Return the manifest of a state. `seal` adds the files and their hashes."""
    return Manifest(
        checkpoint_id=marker.checkpoint_id,
        slice_ns=state.slice_ns,
        created_ns=marker.ts_ns,
        actor=marker.actor,
        reason=marker.reason,
        release=release,
        layout=str(layout),
        platform_id=identity.platform_id,
        epoch=identity.epoch,
        topic_prefix=settings.kafka.topic_prefix,
        symbol_partitions=settings.kafka.symbol_partitions,
        books=_books(settings, state),
        audit_heads=read_heads(settings.database.postgres.url),
        outputs={},
        parts={},
        state_version=0,
    )


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(folder / "create.lock", os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DeployError("another process creates a checkpoint; try again when it has finished") from error
        yield


def expected_parts(layout: Layout, partitions: int, beside: Sequence[str] = ()) -> dict[str, tuple[str, str]]:
    """Return the names of the parts that the services write, each with its service and shard.

    In the layout `compact`, `beside` are the services with a process of their own.
    """
    is_compact = layout is Layout.COMPACT
    parts = {COMPACT_PART: (topology.COMPACT, "")} if is_compact else {}
    return parts | {
        part_name(service, shard): (service, shard)
        for service in (beside if is_compact else COMPACT_SERVICES)
        for shard in topology.shards(service, partitions)
    }


def wait_for_parts(folder: Path, names: dict[str, tuple[str, str]], deadline: float) -> tuple[int, CheckpointParts]:
    """Return the time slice of all parts, and the parts.

    Raises NoTimeSlice if there is no part at the deadline (`time.monotonic`), and DeployError if some are missing.
    """
    while missing := [name for name in names if not (folder / name).exists()]:
        if time.monotonic() > deadline:
            if len(missing) == len(names):
                raise NoTimeSlice(
                    "no checkpoint created: no service has reached the marker; market_data writes no clock at present, "
                    "or the services keep their state in other folders"
                )
            service, shard = names[missing[0]]
            raise DeployError(
                f"no checkpoint created: {service}, shard {shard}, has not reached the marker; check it with "
                f"`python cli.py status`, then run `python cli.py checkpoint create` again"
            )
        time.sleep(POLL_S)
    read = {name: load_plain((folder / name).read_bytes(), f"part {name}") for name in names}
    slices = {slice_ns for slice_ns, _ in read.values()}
    if len(slices) > 1:
        raise DeployError(f"no checkpoint created: the parts have the time slices {sorted(slices)}, expected one")
    states: dict[str, dict[str, Any]] = {}
    for name, (service, shard) in names.items():
        if name != COMPACT_PART:
            states.setdefault(service, {})[shard] = read[name][1]
    compact = read[COMPACT_PART][1] if COMPACT_PART in read else None
    return next(iter(slices)), CheckpointParts(compact, states)


def _combine(
    settings: Settings, checkpoint_id: str, slice_ns: int, parts: CheckpointParts, deadline: float
) -> CheckpointState:
    """Combine the parts when all topics contain the time slice. The services write a part before their records."""
    with closing(KafkaTopics(settings.kafka)) as topics:
        while True:
            try:
                state = combined_state(topics, checkpoint_id, slice_ns, parts, settings.kafka.symbol_partitions)
                break
            except BadInput as error:
                if time.monotonic() > deadline:
                    raise DeployError(f"no checkpoint created: {error}") from error
                time.sleep(POLL_S)
    require_all_shards(state.compact, settings.kafka.symbol_partitions)
    return state


def _books(settings: Settings, state: CheckpointState) -> str:
    services = state.compact[2]
    difference = first_book_difference(settings, services)
    if difference:
        raise DeployError(f"no checkpoint created: the books of the services differ: {difference}")
    return books_hash(books_of(settings, services))


def read_heads(database_url: str) -> tuple[tuple[str, int, str], ...]:
    """Return (topic, position, head) of every audit chain. Raises DeployError."""
    import psycopg2

    from sinks.database import libpq_url

    query = "SELECT DISTINCT ON (topic) topic, position, head FROM audit_chain ORDER BY topic, position DESC"
    try:
        with closing(psycopg2.connect(libpq_url(database_url), connect_timeout=5)) as db, db.cursor() as cursor:
            cursor.execute(query)
            return tuple((topic, position, bytes(head).hex()) for topic, position, head in cursor.fetchall())
    except psycopg2.Error as error:
        raise DeployError(f"cannot read the audit chain: {str(error).strip().splitlines()[0]}") from error

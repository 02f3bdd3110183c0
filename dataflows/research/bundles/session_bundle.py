"""Collect what reproduces a recorded session of the platform: the messages of all its topics, and its settings.

The inputs among the messages (bars, commands, configurations, timeouts) are replayed through the stages, and every
record that results is compared with the recorded one. A configuration in the log holds the strategy code in force.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from configs.recorded_settings import read_sources, recorded_text
from configs.settings import Settings
from dataflows.replay.archived_recording import open_archived_recording
from dataflows.replay.comparison import ReplayComparison, compare
from dataflows.replay.differences import Difference
from dataflows.replay.recorded_source import RecordedSource
from dataflows.research.bundles import bundle_file
from dataflows.research.bundles.bundle_contents import LOCK_FILE, commit_facts
from dataflows.research.bundles.bundle_file import BundlePart, json_part, write_bundle
from dataflows.research.run_sources import code_sha256, strategy_labels
from operators.time_text import iso
from schemas.codec import decode
from schemas.errors import BadInput, Undecodable
from schemas.records import TOPIC_OF, Configuration
from sinks.archive.topic_archive import TopicArchive

RECORDING_FOLDER = "recording"
"""The folder of the archived topics in a bundle."""
_STAGE = "bundle"


def create_session_bundle(
    archive: TopicArchive, settings: Settings, path: Path, name: str, source: RecordedSource
) -> ReplayComparison:
    """Write the bundle of the session that an archive records. `settings` are those before its first configuration.

    Returns the extent of the session. Raises BadInput if the session does not replay equal with the present code or
    has code that must not run (`source`), and Unavailable if the archive is damaged or lacks the first messages of a
    topic.
    """
    owner = archive.owner()
    assert owner is not None, "the archive was just written"
    comparison = replay_session(archive, settings, owner.symbol_partitions, source)
    if not comparison.ticks and comparison.difference is None:
        raise BadInput("the session has no time slice that every topic has recorded")
    if comparison.difference is not None:
        raise BadInput(
            f"the session does not replay equal with this code: {difference_text(comparison.difference)}; "
            "`replay-check` shows the records"
        )
    sources, paths = _source_parts(archive, settings)
    session = {"symbol_partitions": owner.symbol_partitions, "platform_id": owner.platform_id}
    parts = [
        json_part(bundle_file.INPUTS, "inputs", {"files": [], "sources": paths, "session": session}),
        json_part(bundle_file.SETTINGS, "settings", json.loads(recorded_text(settings))),
        json_part(bundle_file.COMMIT, "commit", commit_facts()),
        BundlePart(bundle_file.LOCK, "lock", LOCK_FILE),
        json_part(bundle_file.RESULT, "result", session_facts(comparison, name, strategy_labels(settings))),
        *sources,
        *_recording_parts(archive),
    ]
    write_bundle(path, parts, {"session": name, "decision_hash": comparison.decision_hash})
    return comparison


def replay_session(
    archive: TopicArchive, settings: Settings, symbol_partitions: int, source: RecordedSource
) -> ReplayComparison:
    """Replay a session and compare it with its records, with the strategy code that `source` lets run."""
    with closing(open_archived_recording(archive, symbol_partitions, _STAGE)) as recording:
        return compare(settings, recording, source=source)


def session_facts(comparison: ReplayComparison, name: str, strategies: Sequence[str]) -> dict[str, Any]:
    """Return what a reproduction has to give again. `strategies` are those of the settings before the first change."""
    return {
        "name": name,
        "strategies": list(strategies),
        "decision_hash": comparison.decision_hash,
        "code_sha256": code_sha256(),
        "time_slices": comparison.ticks,
        "from": iso(comparison.first_ns),
        "to": iso(comparison.last_ns),
        "given": comparison.given,
        "records": comparison.records,
    }


def difference_text(difference: Difference) -> str:
    """Return where a replay differs from its recording, with the first field that differs."""
    text = f"{difference.place} at {iso(difference.ts_ns)}"
    if not difference.fields:
        return text
    field = difference.fields[0]
    return f"{text}: {field.field} is {field.replayed}, recorded {field.recorded}"


def recorded_code(archive: TopicArchive) -> dict[str, str]:
    """Return each text of strategy or indicator code in the configurations of a session, by its SHA-256."""
    texts: dict[str, str] = {}
    for message in archive.messages(TOPIC_OF[Configuration], 0):
        try:
            record = decode(message.value)
        except Undecodable:
            continue
        if type(record) is Configuration:
            texts |= {hashlib.sha256(text.encode()).hexdigest(): text for text in record.sources.values()}
    return texts


def _source_parts(archive: TopicArchive, settings: Settings) -> tuple[list[BundlePart], dict[str, str]]:
    """Return the parts with code, and the part of each file of the settings. The recorded code is there to be read."""
    parts, paths = list[BundlePart](), dict[str, str]()
    for path, text in read_sources(settings).items():
        paths[path] = f"source/{len(parts):04d}/{Path(path).name}"
        parts.append(BundlePart(paths[path], "source", text.encode()))
    packed = {part.content for part in parts}
    for sha256, text in recorded_code(archive).items():
        if text.encode() not in packed:
            parts.append(BundlePart(f"source/{len(parts):04d}/recorded-{sha256[:12]}.py", "source", text.encode()))
    return parts, paths


def _recording_parts(archive: TopicArchive) -> Iterator[BundlePart]:
    for file in sorted(path for path in archive.folder.rglob("*") if path.is_file()):
        yield BundlePart(f"{RECORDING_FOLDER}/{file.relative_to(archive.folder).as_posix()}", "data", file)

"""The uninterrupted run: the fused stages on the tape, as what every topic and table must hold.

They are the stages of the backtest in one loop: it takes a second and knows nothing of Kafka, Postgres or processes.
That a quiet platform equals it is a test of its own; so a storm is compared with the simplest thing that can be right,
and not with a second platform that may be wrong in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from configs.settings import Settings
from dataflows.runtime import stages, topology
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.tape import Tape, TapeFiles
from operators.partitions import partition_of
from operators.stage import TimeSlice
from schemas.codec import decode, encode
from schemas.errors import Undecodable
from schemas.records import BY_SYMBOL, EXTERNAL_RECORDS, TOPIC_OF, Clock, DeadLetter, Record, sequence_key

Log = tuple[str, int]
Logs = dict[Log, list[str]]
"""Of each partition of a topic its records and clocks, in order, as text."""


def tape_slices(settings: Settings, files: Sequence[Path]) -> list[TimeSlice]:
    """What the feed gives: the bars of the files, and what else the tape of the settings holds."""
    file_settings, reading = settings.market_data.files, settings.market_data.files.feed_settings()
    tape_files = TapeFiles(
        file_settings.quotes, file_settings.reference_data, file_settings.news, file_settings.fundamentals
    )
    return list(FileFeed(files, reading, Tape(tape_files, reading) if any(tape_files) else None))


def run_stages(settings: Settings, time_slices: Iterable[TimeSlice]) -> list[TimeSlice]:
    """Every record that the stages make of what edges wrote, behind it, tick by tick."""
    analysis, deciding = stages.analysis(settings)(), stages.decision_loop(settings)()
    results = []
    for ts_ns, records in time_slices:
        analysed = analysis.on_slice(ts_ns, records)
        results.append(TimeSlice(ts_ns, [*analysed, *deciding.on_slice(ts_ns, analysed)]))
    return results


def expected_logs(time_slices: Iterable[TimeSlice], partitions: int) -> Logs:
    """What the topics hold of an uninterrupted run: behind the records of each tick its clock, in every partition."""
    clocked = {topic for service in topology.SERVICES.values() for topic in service.outputs}
    owned = clocked.union(*(service.unclocked for service in topology.SERVICES.values()))
    logs: Logs = {(topic, p): [] for topic in owned for p in topology.partitions_of(topic, partitions)}
    seen: set[tuple[str, str]] = set()
    for time_slice in time_slices:
        for record in time_slice.records:
            topic = TOPIC_OF[type(record)]
            if type(record) in EXTERNAL_RECORDS:
                # The tape may hold a headline twice; its readers take the first.
                if (topic, str(record[0])) in seen:
                    continue
                seen.add((topic, str(record[0])))
            if topic in owned:
                partition = partition_of(record.symbol, partitions) if type(record) in BY_SYMBOL else 0  # type: ignore[union-attr]
                # Through the codec: a number reads as it does in a topic.
                logs[topic, partition].append(repr(decode(encode(record))))
        for (topic, _), log in logs.items():
            if topic in clocked:
                log.append(_clock_text(time_slice.ts_ns))
    return logs


def deduplicated(messages: Iterable[bytes]) -> list[str]:
    """A log as its readers take it: records with a `seq` that was seen are dropped, those of edges with an id that was
    seen, and clocks that have passed.
    """
    seen: dict[str, int] = {}
    ids: set[str] = set()
    passed_ns = -1
    lines: list[str] = []
    for message in messages:
        try:
            record: Record | Clock = decode(message)
        except Undecodable:
            lines.append(f"undecodable {message!r}")
            continue
        if type(record) is Clock:
            if record.ts_ns > passed_ns:
                passed_ns = record.ts_ns
                lines.append(_clock_text(passed_ns))
            continue
        if type(record) in EXTERNAL_RECORDS:
            if str(record[0]) in ids:
                continue
            ids.add(str(record[0]))
        key = None if type(record) is DeadLetter else sequence_key(record)  # type: ignore[arg-type]
        if key is not None:
            if record.seq <= seen.get(key, 0):  # type: ignore[union-attr]
                continue
            seen[key] = record.seq  # type: ignore[union-attr]
        lines.append(repr(record))
    return lines


def _clock_text(ts_ns: int) -> str:
    # Without its writer, which names the release.
    return f"Clock(ts_ns={ts_ns})"


def first_difference(actual: Logs, expected: Logs) -> str | None:
    """In one sentence; None when all logs are equal."""
    for log in sorted(expected.keys() | actual.keys()):
        topic, partition = log
        actual_log, expected_log = actual.get(log, []), expected.get(log, [])
        for index, (entry, expected_entry) in enumerate(zip(actual_log, expected_log, strict=False)):
            if entry != expected_entry:
                return f"topic {topic} partition {partition}: entry {index} is {entry}, expected {expected_entry}"
        if len(actual_log) != len(expected_log):
            first_extra = (actual_log if len(actual_log) > len(expected_log) else expected_log)[
                min(len(actual_log), len(expected_log))
            ]
            problem = "has too many" if len(actual_log) > len(expected_log) else "misses some"
            return f"topic {topic} partition {partition}: {len(actual_log)} entries, expected {len(expected_log)}, {problem}: {first_extra}"
    return None

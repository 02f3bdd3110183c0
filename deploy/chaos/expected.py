"""Compute the expected contents of every topic and table: the fused stages on the tape, without interruption.

These are the stages of the backtest in one loop, without Kafka, PostgreSQL or processes, which takes a second. The
comparison does not use a second platform, which could have the same defect. A separate test shows that an undisturbed
platform equals this loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from configs.settings import Settings
from dataflows.runtime import stages, topology
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.session_announcements import SessionAnnouncements
from dataflows.sources.tape import Tape, TapeFiles
from dataflows.sources.trading_calendar import session_table
from operators.partitions import partition_of
from operators.stage import TimeSlice
from schemas.codec import decode, encode
from schemas.errors import Undecodable
from schemas.log_names import LogName
from schemas.records import EXTERNAL_RECORDS, TOPIC_OF, Clock, Record, has_seq, has_symbol, sequence_key

Logs = dict[LogName, list[str]]
"""Records and clocks of each partition of a topic, in order, as text."""


def tape_slices(settings: Settings, files: Sequence[Path]) -> list[TimeSlice]:
    """Return the time slices of the feed: the bars of the files, the other inputs in the settings, and the sessions."""
    feed = settings.market_data.files
    tape_files = TapeFiles(
        quotes=feed.quotes,
        trades=feed.trades,
        reference_data=feed.reference_data,
        data=feed.data,
        news=feed.news,
        fundamentals=feed.fundamentals,
    )
    time_slices = list(FileFeed(files, feed, Tape(tape_files, feed) if any(tape_files) else None))
    calendar = settings.trading_calendar()
    return SessionAnnouncements(calendar, session_table(calendar)).add(time_slices, -1)


def run_stages(settings: Settings, time_slices: Iterable[TimeSlice]) -> list[TimeSlice]:
    """Run the stages, and return per time slice the input records followed by the output records."""
    analysis, deciding = stages.analysis(settings)(), stages.decision_loop(settings)()
    results = []
    for ts_ns, records in time_slices:
        analysed = analysis.on_slice(ts_ns, records)
        results.append(TimeSlice(ts_ns, [*analysed, *deciding.on_slice(ts_ns, analysed)]))
    return results


def expected_logs(time_slices: Iterable[TimeSlice], partitions: int) -> Logs:
    """Return the topics of an uninterrupted run. In every partition, a clock follows the records of each time slice."""
    clocked = {topic for service in topology.SERVICES.values() for topic in service.outputs}
    owned = clocked.union(*(service.unclocked for service in topology.SERVICES.values())) - topology.HINT_TOPICS
    logs: Logs = {(topic, p): [] for topic in owned for p in topology.partitions_of(topic, partitions)}
    seen: set[tuple[str, str]] = set()
    for time_slice in time_slices:
        for record in time_slice.records:
            topic = TOPIC_OF[type(record)]
            if type(record) in EXTERNAL_RECORDS:
                # The tape may hold a headline twice; readers discard the second.
                if (topic, str(record[0])) in seen:
                    continue
                seen.add((topic, str(record[0])))
            if topic in owned:
                partition = partition_of(record.symbol, partitions) if has_symbol(record) else 0
                # A round trip through the codec makes numbers as they are in a topic.
                logs[topic, partition].append(repr(decode(encode(record))))
        for (topic, _), log in logs.items():
            if topic in clocked:
                log.append(_clock_text(time_slice.ts_ns))
    return logs


def deduplicated(messages: Iterable[bytes]) -> list[str]:
    """Return a log as its readers see it: without repeated records (known `seq`, or known id at an edge) and clocks."""
    return [_text(entry) for entry in _without_repeats(messages)]


def records_by_topic(messages: Mapping[LogName, Iterable[bytes]]) -> dict[str, list[Record]]:
    """Return the records of each topic without clocks and repeats, in the order of each partition."""
    records: dict[str, list[Record]] = {}
    for (topic, _), log in messages.items():
        topic_records = records.setdefault(topic, [])
        topic_records += [
            entry for entry in _without_repeats(log) if not isinstance(entry, bytes) and type(entry) is not Clock
        ]
    return records


def _without_repeats(messages: Iterable[bytes]) -> Iterator[Record | Clock | bytes]:
    """Yield the records and clocks that readers do not discard, and messages that cannot be decoded as they are."""
    seen: dict[str, int] = {}
    ids: set[str] = set()
    passed_ns = -1
    for message in messages:
        try:
            record: Record | Clock = decode(message)
        except Undecodable:
            yield message
            continue
        if type(record) is Clock:
            if record.ts_ns > passed_ns:
                passed_ns = record.ts_ns
                yield record
            continue
        if type(record) in EXTERNAL_RECORDS:
            if str(record[0]) in ids:
                continue
            ids.add(str(record[0]))
        if has_seq(record):
            key = sequence_key(record)
            if record.seq <= seen.get(key, 0):
                continue
            seen[key] = record.seq
        yield record


def _text(entry: Record | Clock | bytes) -> str:
    if isinstance(entry, bytes):
        return f"undecodable {entry!r}"
    return _clock_text(entry.ts_ns) if type(entry) is Clock else repr(entry)


def _clock_text(ts_ns: int) -> str:
    # The writer is omitted because it contains the release.
    return f"Clock(ts_ns={ts_ns})"


def first_difference(actual: Logs, expected: Logs) -> str | None:
    """Return the first difference as a sentence, or None if all logs are equal."""
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
            problem = "first extra" if len(actual_log) > len(expected_log) else "first missing"
            counts = f"{len(actual_log)} entries, expected {len(expected_log)}"
            return f"topic {topic} partition {partition}: {counts}; {problem}: {first_extra}"
    return None

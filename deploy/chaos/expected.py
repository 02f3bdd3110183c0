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
from dataflows.sources.files import FileFeed
from dataflows.sources.tape import Tape, TapeFiles
from operators.partitions import partition_of
from operators.stage import Tick
from schemas.codec import decode, encode
from schemas.errors import Undecodable
from schemas.records import BY_SYMBOL, FROM_EDGES, TOPIC_OF, Clock, DeadLetter, Record, key_of

Log = tuple[str, int]
Logs = dict[Log, list[str]]
"""Of each partition of a topic its records and clocks, in order, as text."""


def tape_ticks(settings: Settings, files: Sequence[Path]) -> list[Tick]:
    """What the feed gives: the bars of the files, and what else the tape of the settings holds."""
    given, reading = settings.market_data.files, settings.market_data.files.reading()
    others = TapeFiles(given.quotes, given.reference_data, given.news, given.fundamentals)
    return list(FileFeed(files, reading, Tape(others, reading) if any(others) else None))


def fused(settings: Settings, given: Iterable[Tick]) -> list[Tick]:
    """Every record that the stages make of what edges wrote, behind it, tick by tick."""
    analysis, deciding = stages.analysis(settings)(), stages.deciding(settings)()
    out = []
    for ts_ns, records in given:
        analysed = analysis.on_tick(ts_ns, records)
        out.append(Tick(ts_ns, [*analysed, *deciding.on_tick(ts_ns, analysed)]))
    return out


def expected_logs(ticks: Iterable[Tick], partitions: int) -> Logs:
    """What the topics hold of an uninterrupted run: behind the records of each tick its clock, in every partition."""
    clocked = {topic for described in topology.SERVICES.values() for topic in described.outputs}
    owned = clocked.union(*(described.unclocked for described in topology.SERVICES.values()))
    logs: Logs = {(topic, p): [] for topic in owned for p in topology.partitions_of(topic, partitions)}
    seen: set[tuple[str, str]] = set()
    for tick in ticks:
        for record in tick.records:
            topic = TOPIC_OF[type(record)]
            if type(record) in FROM_EDGES:
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
                log.append(_clock(tick.ts_ns))
    return logs


def by_the_sequence_rule(messages: Iterable[bytes]) -> list[str]:
    """A log as its readers take it: records with a `seq` that was seen are dropped, those of edges with an id that was
    seen, and clocks that have passed.
    """
    seen: dict[str, int] = {}
    ids: set[str] = set()
    passed = -1
    out: list[str] = []
    for message in messages:
        try:
            record: Record | Clock = decode(message)
        except Undecodable:
            out.append(f"undecodable {message!r}")
            continue
        if type(record) is Clock:
            if record.ts_ns > passed:
                passed = record.ts_ns
                out.append(_clock(passed))
            continue
        if type(record) in FROM_EDGES:
            if str(record[0]) in ids:
                continue
            ids.add(str(record[0]))
        key = None if type(record) is DeadLetter else key_of(record)  # type: ignore[arg-type]
        if key is not None:
            if record.seq <= seen.get(key, 0):  # type: ignore[union-attr]
                continue
            seen[key] = record.seq  # type: ignore[union-attr]
        out.append(repr(record))
    return out


def _clock(ts_ns: int) -> str:
    # Without its writer, which names the release.
    return f"Clock(ts_ns={ts_ns})"


def first_difference(found: Logs, expected: Logs) -> str | None:
    """In one sentence; None when all logs are equal."""
    for log in sorted(expected.keys() | found.keys()):
        topic, partition = log
        there, wanted = found.get(log, []), expected.get(log, [])
        for at, (one, other) in enumerate(zip(there, wanted, strict=False)):
            if one != other:
                return f"topic {topic} partition {partition}: entry {at} is {one}, expected {other}"
        if len(there) != len(wanted):
            rest = (there if len(there) > len(wanted) else wanted)[min(len(there), len(wanted))]
            which = "has too many" if len(there) > len(wanted) else "misses some"
            return f"topic {topic} partition {partition}: {len(there)} entries, expected {len(wanted)}, {which}: {rest}"
    return None

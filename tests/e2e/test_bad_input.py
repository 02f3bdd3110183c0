"""Bad rows and bad messages become dead letters with place and reason, and they do not change any decision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from operators.partitions import partition_of
from schemas.codec import encode
from schemas.records import LateRecord
from tests.builders import bar
from tests.e2e.conftest import SLOW, MakePlatform, RunResult, assert_same_tables

pytestmark = pytest.mark.timeout(1200)

READERS = ("execution", "features", "strategies", "portfolio", "risk", "feedback")
VALID_BAR = bar(
    "A", 1_000_000, 4_000_000_000_000_000_000, 10.0, high=11.0, low=9.0, volume=1.0, day=20960101, open_ns=0
)
LATE_BAR = VALID_BAR._replace(ts_ns=60)
BAD_MESSAGES = {
    b"not avro": "",
    (b"\0" + (9999).to_bytes(4, "big") + b"xx"): "9999",
    encode(VALID_BAR._replace(high=8.0)): "field high must be >= low 9.0, found 8.0",
    encode(VALID_BAR._replace(low=-1.0)): "field low must be > 0",
    encode(VALID_BAR._replace(close=float("nan"))): "field close must be > 0 and finite",
}
"""Messages of a foreign producer to market-bars, and a word that the dead letter's reason must contain."""
BAD_ROWS = {
    "not a time,A,1,1,1,1,1": "time",
    "2024-03-11T13:00:00Z,A,1,1,1,1,1": "must be after",
    "2024-03-11T17:31:00Z,A,10,9,11,10,1": "high",
    "2024-03-11T17:31:00Z,A,10,11,9,nan,1": "finite",
    "2024-03-11T17:31:00Z,A,10,11,-9,10,1": "low must be > 0",
}


def test_bad_rows_and_messages_become_dead_letters_and_nothing_else_changes(
    make_platform: MakePlatform, uninterrupted: RunResult, bars: list[Path], tmp_path: Path
) -> None:
    files = [tmp_path / path.name for path in bars]
    for path, copy in zip(bars, files, strict=True):
        copy.write_text(path.read_text())
    with files[0].open("a") as file:
        file.write("".join(row + "\n" for row in BAD_ROWS))
    partition = partition_of("A", 4)
    with make_platform(files, speed=SLOW) as platform:
        platform.start_feed_last()
        platform.kill("market_data")
        platform.produce("market-bars", partition, *BAD_MESSAGES, encode(LATE_BAR))
        platform.produce("signals", 0, b"not a signal")
        platform.speed = "max"
        platform.start("market_data")
        platform.run_to_end()
        tables = platform.tables()
        assert_same_tables(tables, uninterrupted.tables, "dead_letters", "late_records")
        assert platform.decision_hash() == uninterrupted.decision_hash
        check_dead_letters(tables["dead_letters"], partition)
        check_late_records(tables["late_records"], partition)
        dead_letter_counts = {name: platform.stats(name)["dead_letters"] for name in (*READERS, "signals")}
        assert dead_letter_counts == {
            **dict.fromkeys(READERS, len(BAD_MESSAGES)),
            "portfolio": len(BAD_MESSAGES) + 1,
            "feedback": len(BAD_MESSAGES) + 1,
            "signals": 0,
        }
        # A process counts its own dead letters; the feed reads some of the bad rows before it is killed.
        assert 0 < platform.stats("market_data")["dead_letters"] <= len(BAD_ROWS)
        assert platform.stats("portfolio")["late_records"] == 1
        assert len(platform.messages("dead-letters")) == len(tables["dead_letters"])
        assert len(platform.messages("late-records")) == len(tables["late_records"])


def check_late_records(rows: list[tuple[Any, ...]], partition: int) -> None:
    assert sorted(row[3] for row in rows) == sorted(READERS), "each reader of bars reports the discarded message"
    for row in rows:
        late = LateRecord._make(row)
        assert (late.topic, late.partition, late.record_ts_ns, late.raw) == (
            "market-bars",
            partition,
            60,
            encode(LATE_BAR),
        )
        assert late.ts_ns > 60 and late.reason.startswith("late: field ts_ns must be >")


def check_dead_letters(rows: list[tuple[Any, ...]], partition: int) -> None:
    by_place: dict[tuple[str, str, int], list[tuple[Any, ...]]] = {}
    for topic, letter_partition, offset, stage, _ts_ns, reason, schema_id, raw in rows:
        by_place.setdefault((stage, topic, letter_partition), []).append((offset, reason, schema_id, raw))
    for stage in READERS:
        letters = sorted(by_place.pop((stage, "market-bars", partition)))
        assert len(letters) == len(BAD_MESSAGES), f"{stage}: {letters}"
        for (offset, reason, _, _), (message, expected) in zip(letters, BAD_MESSAGES.items(), strict=True):
            assert expected in reason and reason, f"{stage} at {offset}: {reason!r} of {message!r}"
        assert letters[0][3] == b"not avro"
        assert letters[1][2] == 9999
    for stage in ("portfolio", "feedback"):
        [(_, _, _, raw)] = by_place.pop((stage, "signals", 0))
        assert raw == b"not a signal"
    file_letters = sorted(by_place.pop(("market_data", "file:A.csv", 0)))
    for (_, reason, _, raw), (row, expected) in zip(file_letters, BAD_ROWS.items(), strict=True):
        assert expected in reason, f"{row}: {reason}"
        assert raw == row.encode()
    assert not by_place, "dead letters of nothing that is bad"

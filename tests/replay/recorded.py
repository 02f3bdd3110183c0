"""The recorded run: one file per topic, which is the input of its readers and the expected output of its owner.

Each line is `[partition, type, [field, ...]]` as JSON, so that a diff shows each change. After an intended change of
decisions, record again with `python -m tests.replay.record`.
"""

from __future__ import annotations

import json
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from schemas.records import TOPIC_OF, CheckResult, Clock, Order
from schemas.records.flat import from_flat, to_flat
from sinks.record_tables import fields_of

FOLDER = Path(__file__).parent / "recorded"
BARS = FOLDER / "bars"
SUMMARY = FOLDER / "backtest.json"
PARTITIONS = 2
RECORD_TYPES: dict[str, Any] = {kind.__name__: kind for kind in (*TOPIC_OF, Clock)}


def to_line(partition: int, record: Any) -> str:
    values = [_plain(value) for value in to_flat(record)]
    return json.dumps([partition, type(record).__name__, values], separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.decode() if isinstance(value, bytes) else value


def from_line(line: str) -> tuple[int, Any]:
    partition, type_name, values = json.loads(line)
    record_type = RECORD_TYPES[type_name]
    if record_type is Clock:
        return partition, Clock._make(values)
    fields = fields_of(record_type)
    # Fields that a type got after the recording have their defaults, as in messages of an earlier schema.
    added = [record_type._field_defaults.get(field.name) for field in fields[len(values) :]]
    assert len(values) <= len(fields) and None not in added, (
        f"{type_name} has other fields now: python -m tests.replay.record"
    )
    values += added
    record = from_flat(record_type, [_typed(field.kind, value) for field, value in zip(fields, values, strict=True)])
    if record_type is Order:
        record = record._replace(checks=[CheckResult._make(check) for check in record.checks])
    return partition, record


def _typed(kind: type, value: Any) -> Any:
    if value is None:
        return None
    if kind is Decimal:
        return Decimal(value)
    return value.encode() if kind is bytes else value


def save(topic: str, messages: dict[int, list[Any]]) -> None:
    lines = [to_line(partition, record) for partition, records in sorted(messages.items()) for record in records]
    (FOLDER / f"{topic}.jsonl").write_text("".join(line + "\n" for line in lines))


CLOCKS_AS = {
    "strategy-suspensions": "signals",
    "strategy-actions": "executions",
    "history-bars": "market-bars",
    "market-trades": "market-bars",
    "configuration": "commands",
}
"""Topics that are newer than the recording and hold no records: their clocks are those of another topic."""


@cache
def log(topic: str, partition: int) -> list[Any]:
    """Return the records and clocks of one partition in log order."""
    if topic in CLOCKS_AS:
        return [record for record in log(CLOCKS_AS[topic], partition) if type(record) is Clock]
    lines = (FOLDER / f"{topic}.jsonl").read_text().splitlines()
    return [record for record_partition, record in map(from_line, lines) if record_partition == partition]

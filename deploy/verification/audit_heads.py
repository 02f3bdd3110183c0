"""Heads of the audit chain, put aside where who administers the database cannot rewrite them: a file, the topic."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflows.replay.recording import read_untimed
from deploy.verification.audit import Head
from schemas.codec import encode
from schemas.errors import BadInput, Unavailable
from schemas.records import TOPIC_OF, AuditHead
from sinks.kafka import producer

if TYPE_CHECKING:
    from configs.settings import Kafka

AUDIT_HEADS = TOPIC_OF[AuditHead]


def read_heads(file: Path) -> list[Head]:
    """The heads in a file, a line of JSON each; none where there is no file yet. Raises BadInput."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadInput(f"--heads {file}: {error.strerror}") from error
    heads = []
    for number, line in enumerate(lines, start=1):
        try:
            tree = json.loads(line)
            heads.append(Head(str(tree["topic"]), int(tree["position"]), str(tree["head"])))
        except (ValueError, KeyError, TypeError) as error:
            expected = 'a line such as {"topic": "orders", "position": 12, "head": "5f…"}'
            raise BadInput(f"--heads {file} line {number}: expected {expected}, found {line[:60]!r}") from error
    return heads


def add_heads(file: Path, heads: Iterable[Head], known: Iterable[Head]) -> int:
    """Append the heads that are new. Returns how many there were. Raises BadInput."""
    before = set(known)
    new = [head for head in heads if head.position and head not in before]
    try:
        with file.open("a") as out:
            out.writelines(json.dumps(head._asdict()) + "\n" for head in new)
    except OSError as error:
        raise BadInput(f"--heads {file}: {error.strerror}") from error
    return len(new)


def published_heads(kafka: Kafka) -> list[Head]:
    """The heads in the topic `audit-heads`. Raises Unavailable."""
    found = []
    for record in read_untimed(kafka, AUDIT_HEADS):
        assert isinstance(record, AuditHead), f"{AUDIT_HEADS} holds heads alone"
        found.append(Head(record.topic, record.position, record.head.hex()))
    return found


def publish(kafka: Kafka, heads: Iterable[Head], known: Iterable[Head], ts_ns: int) -> int:
    """Write the heads that are new to the topic. Returns how many. Raises Unavailable."""
    before = set(known)
    new = [head for head in heads if head.position and head not in before]
    failed: list[str] = []

    def delivered(error: Any, _: Any) -> None:
        if error is not None:
            failed.append(error.str())

    client = producer(kafka.cluster)
    for head in new:
        value = encode(AuditHead(head.topic, head.position, ts_ns, bytes.fromhex(head.head)))
        client.produce(kafka.topic_prefix + AUDIT_HEADS, value, partition=0, on_delivery=delivered)
    if client.flush(30) or failed:
        raise Unavailable(f"topic {AUDIT_HEADS} did not take the heads: {failed[0] if failed else 'no answer in 30 s'}")
    return len(new)

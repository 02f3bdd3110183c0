"""Store heads of the audit chain where a database administrator cannot rewrite them: in a file or a topic."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflows.sources.unclocked_topic import read_unclocked
from deploy.verification.audit import ChainHead
from schemas.codec import encode
from schemas.errors import BadInput, Unavailable
from schemas.records import TOPIC_OF, AuditHead
from sinks.kafka import producer

if TYPE_CHECKING:
    from configs.settings import KafkaSection

AUDIT_HEADS = TOPIC_OF[AuditHead]


def read_heads(file: Path) -> list[ChainHead]:
    """Read the heads in a file, one JSON object per line; empty if the file does not exist. Raises BadInput."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadInput(f"cannot read --heads {file}: {error.strerror}") from error
    heads = []
    for number, line in enumerate(lines, start=1):
        try:
            tree = json.loads(line)
            heads.append(ChainHead(str(tree["topic"]), int(tree["position"]), str(tree["head"])))
        except (ValueError, KeyError, TypeError) as error:
            expected = 'a line such as {"topic": "orders", "position": 12, "head": "5f…"}'
            raise BadInput(f"--heads {file}, line {number}: expected {expected}, found {line[:60]!r}") from error
    return heads


def add_heads(file: Path, heads: Iterable[ChainHead], stored: Iterable[ChainHead]) -> int:
    """Append the new heads to the file, and return their number. Raises BadInput."""
    stored_set = set(stored)
    new = [head for head in heads if head.position and head not in stored_set]
    try:
        with file.open("a") as out:
            out.writelines(json.dumps(head._asdict()) + "\n" for head in new)
    except OSError as error:
        raise BadInput(f"cannot write --heads {file}: {error.strerror}") from error
    return len(new)


def published_heads(kafka: KafkaSection, since_ns: int | None = None) -> list[ChainHead]:
    """Read the heads in the topic `audit-heads`, or those written since `since_ns` (wall clock). Raises Unavailable."""
    heads = []
    for record in read_unclocked(kafka, AUDIT_HEADS, since_ns=since_ns):
        assert isinstance(record, AuditHead), f"topic {AUDIT_HEADS} holds only heads"
        heads.append(ChainHead(record.topic, record.position, record.head.hex()))
    return heads


def publish_heads(kafka: KafkaSection, heads: Iterable[ChainHead], stored: Iterable[ChainHead], ts_ns: int) -> int:
    """Publish the new heads to the topic, and return their number. Raises Unavailable."""
    stored_set = set(stored)
    new = [head for head in heads if head.position and head not in stored_set]
    errors: list[str] = []

    def on_delivery(error: Any, _: Any) -> None:
        if error is not None:
            errors.append(error.str())

    client = producer(kafka.cluster)
    for head in new:
        value = encode(AuditHead(head.topic, head.position, ts_ns, bytes.fromhex(head.head)))
        client.produce(kafka.topic_prefix + AUDIT_HEADS, value, partition=0, on_delivery=on_delivery)
    if client.flush(30) or errors:
        raise Unavailable(
            f"heads not published to topic {AUDIT_HEADS}: {errors[0] if errors else 'no response in 30 s'}"
        )
    return len(new)

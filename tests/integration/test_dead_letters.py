"""The commands list dead letters, show their bytes from the log, and replay them only where a reader accepts them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflows.replay.recording import INPUT_TOPICS
from operators.partitions import partition_of
from schemas.codec import encode
from schemas.records import Bar, Clock, Order, Record
from sinks.kafka import producer
from sinks.postgres import PostgresWriter
from tests.builders import command, dead_letter
from tests.integration.recorded_platform import cli, make_topics, write
from tests.unit.tape import MINUTE_NS, market

SESSION_SLICES = market(5)
LAST_NS = SESSION_SLICES[-1].ts_ns
BAR = next(r for r in SESSION_SLICES[-1].records if isinstance(r, Bar) and r.symbol == "SPY")
SPY_PARTITION = partition_of("SPY", 4)
HALT = command("cmd-1")


class DeadLetterTopics:
    """Topics with dead letters and the table that lists them."""

    def __init__(self, kafka: str, database_url: str, home: Path) -> None:
        self.kafka, self.url, self.home = kafka, database_url, home
        self.prefix = make_topics(kafka)
        write(kafka, self.prefix, SESSION_SLICES, INPUT_TOPICS)

    def produce_dead_letter(self, topic: str, partition: int, raw: bytes, *stages: str) -> str:
        """Write bytes into a topic and store the dead letters of the given stages. Return the place."""
        offsets: list[int] = []
        sender = producer(self.kafka)
        sender.produce(
            self.prefix + topic,
            raw,
            partition=partition,
            on_delivery=lambda _, message: offsets.append(message.offset() or 0),
        )
        assert sender.flush(20) == 0
        self.store_letters(
            *(
                dead_letter(topic, offsets[0], partition=partition, stage=stage, ts_ns=LAST_NS, reason="why")
                for stage in stages
            )
        )
        return f"{topic}/{partition}@{offsets[0]}"

    def store_letters(self, *letters: Record) -> None:
        writer = PostgresWriter(self.url, name="test")
        writer.write(letters)
        writer.close()

    def run(self, *arguments: str) -> Any:
        environment = {
            "DATABASE_URL": self.url,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "KAFKA__TOPIC_PREFIX": self.prefix,
        }
        return cli(self.home, "dead-letters", *arguments, **environment)


@pytest.fixture
def platform(kafka: str, redis_url: str, make_database: Callable[[], str], tmp_path: Path) -> DeadLetterTopics:
    return DeadLetterTopics(kafka, make_database(), tmp_path)


def test_a_readable_dead_letter_is_replayed_to_the_end_of_its_topic(platform: DeadLetterTopics) -> None:
    place = platform.produce_dead_letter("commands", 0, encode(HALT), "risk", "portfolio")
    listed = json.loads(platform.run("list", "--json").stdout)
    assert [(letter["place"], sorted(letter["read_by"])) for letter in listed] == [(place, ["portfolio", "risk"])]
    assert "KILL_SWITCH" in platform.run("show", place).stdout
    unconfirmed = platform.run("replay", place)
    assert unconfirmed.returncode == 1 and "appended" not in unconfirmed.stdout, "without an answer nothing is written"
    completed = platform.run("replay", place, "--yes")
    assert completed.returncode == 0, completed.stderr
    new_offset = int(completed.stdout.strip().rpartition("@")[2])
    assert new_offset == int(place.rpartition("@")[2]) + 1


@pytest.mark.parametrize(
    ("topic", "partition", "raw", "expected_text"),
    [
        ("commands", 0, b"garbage", "still undecodable: expected a zero byte"),
        ("market-bars", SPY_PARTITION, encode(BAR), "the bar is late"),
        (
            "market-bars",
            SPY_PARTITION,
            encode(BAR._replace(high=1.0, ts_ns=LAST_NS + MINUTE_NS)),
            "the bar is still invalid: field",
        ),
        ("market-bars", SPY_PARTITION, encode(HALT), "it is a Command, which topic market-bars does not accept"),
        ("commands", 0, encode(Clock(LAST_NS, "x")), "it is a Clock"),
        ("orders", 0, b"garbage", "only risk publishes to topic orders"),
    ],
)
def test_a_replay_that_would_fail_again_is_rejected(
    platform: DeadLetterTopics, topic: str, partition: int, raw: bytes, expected_text: str
) -> None:
    place = platform.produce_dead_letter(topic, partition, raw, "risk")
    completed = platform.run("replay", place, "--yes")
    assert (
        completed.returncode == 1 and expected_text in completed.stderr and len(completed.stderr.splitlines()) == 1
    ), completed.stderr


def test_file_rows_and_unknown_names_are_one_error_sentence(platform: DeadLetterTopics) -> None:
    platform.store_letters(dead_letter("file:bars.csv", 12, ts_ns=LAST_NS, reason="field high", raw=b"1,2,3"))
    completed = platform.run("replay", "file:bars.csv/0@12", "--yes")
    assert completed.returncode == 1 and "a row of a file" in completed.stderr
    assert "31 2c 32" in platform.run("show", "file:bars.csv/0@12").stdout
    assert platform.run("show", "nonsense").returncode == 2
    assert "no dead letter at orders/0@77" in platform.run("show", "orders/0@77").stderr
    assert Order.__name__ not in platform.run("list", "--topic", "orders").stdout

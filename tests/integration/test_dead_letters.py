"""Dead letters are listed, shown with the bytes of the log, and go back only where they can be taken in now."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflows.replay.recording import GIVEN
from operators.partitions import partition_of
from schemas.codec import encode
from schemas.records import KILL_SWITCH, Bar, Clock, Command, DeadLetter, Order, Record
from sinks.kafka import producer
from sinks.postgres import PostgresWriter
from tests.integration.recorded_platform import cli, make_topics, write
from tests.unit.tape import MINUTE_NS, market

TICKS = market(5)
LAST_NS = TICKS[-1].ts_ns
BAR = next(r for r in TICKS[-1].records if isinstance(r, Bar) and r.symbol == "SPY")
SPY = partition_of("SPY", 4)
HALT = Command("cmd-1", 1, KILL_SWITCH, "ann", "drill", {})


class Platform:
    """A log with dead letters in it and the table that names them."""

    def __init__(self, kafka: str, database_url: str, home: Path) -> None:
        self.kafka, self.url, self.home = kafka, database_url, home
        self.prefix = make_topics(kafka)
        write(kafka, self.prefix, TICKS, GIVEN)

    def put(self, topic: str, partition: int, raw: bytes, *stages: str) -> str:
        """Write bytes into the log and the letters that readers would make of them; returns the place."""
        offsets: list[int] = []
        made = producer(self.kafka)
        made.produce(
            self.prefix + topic,
            raw,
            partition=partition,
            on_delivery=lambda _, message: offsets.append(message.offset() or 0),
        )
        assert made.flush(20) == 0
        self.store(*(DeadLetter(topic, partition, offsets[0], stage, LAST_NS, "why", None, b"") for stage in stages))
        return f"{topic}/{partition}@{offsets[0]}"

    def store(self, *letters: Record) -> None:
        writer = PostgresWriter(self.url, name="test")
        writer.write(letters)
        writer.close()

    def run(self, *arguments: str) -> Any:
        told = {"DATABASE_URL": self.url, "KAFKA_BOOTSTRAP_SERVERS": self.kafka, "KAFKA__TOPIC_PREFIX": self.prefix}
        return cli(self.home, "dead-letters", *arguments, **told)


@pytest.fixture
def platform(kafka: str, redis_url: str, make_database: Callable[[], str], tmp_path: Path) -> Platform:
    return Platform(kafka, make_database(), tmp_path)


def test_a_letter_that_can_be_read_now_goes_to_the_end_of_its_topic(platform: Platform) -> None:
    place = platform.put("commands", 0, encode(HALT), "risk", "portfolio")
    listed = json.loads(platform.run("list", "--json").stdout)
    assert [(one["place"], sorted(one["read_by"])) for one in listed] == [(place, ["portfolio", "risk"])]
    assert "KILL_SWITCH" in platform.run("show", place).stdout
    asked = platform.run("replay", place)
    assert asked.returncode == 1 and "written" not in asked.stdout, "without an answer nothing is written"
    done = platform.run("replay", place, "--yes")
    assert done.returncode == 0, done.stderr
    again = int(done.stdout.strip().rpartition("@")[2])
    assert again == int(place.rpartition("@")[2]) + 1


@pytest.mark.parametrize(
    ("topic", "partition", "raw", "words"),
    [
        ("commands", 0, b"garbage", "still undecodable: expected a zero byte"),
        ("market-bars", SPY, encode(BAR), "is over, the topic is at"),
        ("market-bars", SPY, encode(BAR._replace(high=1.0, ts_ns=LAST_NS + MINUTE_NS)), "still wrong: field"),
        ("market-bars", SPY, encode(HALT), "it holds a Command, which does not belong into market-bars"),
        ("commands", 0, encode(Clock(LAST_NS, "x")), "it holds a Clock"),
        ("orders", 0, b"garbage", "topic orders is written by risk alone"),
    ],
)
def test_what_would_be_a_dead_letter_again_is_refused(
    platform: Platform, topic: str, partition: int, raw: bytes, words: str
) -> None:
    place = platform.put(topic, partition, raw, "risk")
    done = platform.run("replay", place, "--yes")
    assert done.returncode == 1 and words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_rows_of_files_and_wrong_names_are_one_sentence(platform: Platform) -> None:
    platform.store(DeadLetter("file:bars.csv", 0, 12, "market_data", LAST_NS, "field high", None, b"1,2,3"))
    done = platform.run("replay", "file:bars.csv/0@12", "--yes")
    assert done.returncode == 1 and "a row of a file" in done.stderr
    assert "31 2c 32" in platform.run("show", "file:bars.csv/0@12").stdout
    assert platform.run("show", "nonsense").returncode == 2
    assert "there is no dead letter" in platform.run("show", "orders/0@77").stderr
    assert Order.__name__ not in platform.run("list", "--topic", "orders").stdout

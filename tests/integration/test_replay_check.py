"""`replay-check` on topics in a real Kafka: restarts, commands and unfinished ticks in them, and records changed."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dataflows.replay.comparison import Compared, compare
from dataflows.replay.recording import DERIVED, GIVEN, recording
from operators.manual_orders import SUBMIT_ORDER
from operators.partitions import partition_of
from operators.stage import Tick
from schemas.codec import encode
from schemas.errors import Unavailable
from schemas.records import KILL_SWITCH, RELEASE, Bar, Command, Order, Signal
from sinks.kafka import producer
from tests.integration.recorded_platform import cli, kafka_settings, make_topics, write
from tests.unit.tape import QUICK, decided, market, settings, with_command

HALT = Command("cmd-1", 1, KILL_SWITCH, "tester", "drill", {})
GIVEN_TICKS = with_command(market(60), 40, HALT)
MADE = decided(GIVEN_TICKS, settings())


@pytest.fixture
def prefix(kafka: str) -> str:
    return make_topics(kafka)


def checked(kafka: str, prefix: str) -> Compared:
    with closing(recording(kafka_settings(settings(), kafka, prefix), "replay-check")) as runs:
        return compare(settings(), runs)


def test_a_recorded_session_replays_to_the_same_records(kafka: str, prefix: str) -> None:
    write(kafka, prefix, GIVEN_TICKS, GIVEN)
    write(kafka, prefix, MADE, DERIVED)
    result = checked(kafka, prefix)
    assert (result.difference, result.ticks, result.given) == (None, 60, {"Bar": 180, "Command": 1})
    assert result.records["RiskFence"] == 1 and result.records["Execution"] > 5


def test_writers_that_died_and_wrote_again_change_nothing(kafka: str, prefix: str) -> None:
    for part in (slice(0, 30), slice(20, 50), slice(45, 60)):
        # A command is its sender's to repeat, not the feed's.
        given = [Tick(ts, [r for r in records if part.start == 20 or r != HALT]) for ts, records in GIVEN_TICKS[part]]
        write(kafka, prefix, given, GIVEN)
        write(kafka, prefix, MADE[part], DERIVED)
    result = checked(kafka, prefix)
    assert (result.difference, result.ticks) == (None, 60)


def test_a_session_with_orders_by_hand_a_halt_restarts_and_late_data_replays(kafka: str, prefix: str) -> None:
    terms = {"symbol": "IBM", "side": "BUY", "quantity": "3"}
    by_hand = Command("cmd-order-1", 5, SUBMIT_ORDER, "ann", "I want them", terms)
    given = with_command(with_command(market(60), 20, by_hand), 40, HALT)
    given = with_command(given, 45, Command("cmd-2", 2, RELEASE, "tester", "over", {}))
    made = decided(given, settings())
    late = next(r for r in given[3].records if type(r) is Bar)._replace(seq=10**6, close=1.0, low=1.0)
    for part in (slice(0, 30), slice(20, 50), slice(45, 60)):
        # What a person sent once stands in the log once.
        again = [Tick(ts, [r for r in rs if type(r) is Bar]) for ts, rs in given[part]]
        fresh = given[part][-10 if part.start == 45 else (-20 if part.start else -30) :]
        write(kafka, prefix, again[: len(again) - len(fresh)] + fresh, GIVEN)
        write(kafka, prefix, made[part], DERIVED)
        client = producer(kafka)
        client.produce(prefix + "market-bars", encode(late), partition=partition_of(late.symbol, 4))
        assert client.flush(20) == 0
    result = checked(kafka, prefix)
    assert (result.difference, result.ticks) == (None, 60)
    assert result.given == {"Bar": 180, "Command": 3}
    manual = [r for tick in made for r in tick.records if type(r) is Order and r.cause_id == by_hand.command_id]
    assert len(manual) == 1 and result.records["RiskFence"] == 2


def test_a_session_that_ends_in_the_middle_is_compared_up_to_the_last_tick_of_all(kafka: str, prefix: str) -> None:
    write(kafka, prefix, GIVEN_TICKS, GIVEN)
    write(kafka, prefix, MADE[:30], DERIVED)
    write(kafka, prefix, [Tick(t.ts_ns, [r for r in t.records if type(r) is Signal]) for t in MADE[30:]], ["signals"])
    result = checked(kafka, prefix)
    assert (result.difference, result.ticks) == (None, 30)


def test_the_command_says_equal_or_names_the_record(kafka: str, prefix: str, tmp_path: Path) -> None:
    at = next(n for n, tick in enumerate(MADE) if any(type(r) is Order for r in tick.records))
    wrong: list[Any] = [r._replace(risk_epoch=5) if type(r) is Order else r for r in MADE[at].records]
    write(kafka, prefix, GIVEN_TICKS, GIVEN)
    write(kafka, prefix, [*MADE[:at], Tick(MADE[at].ts_ns, wrong), *MADE[at + 1 :]], DERIVED)
    told = {"KAFKA_BOOTSTRAP_SERVERS": kafka, "KAFKA__TOPIC_PREFIX": prefix, "SIGNALS__STRATEGIES": json.dumps([QUICK])}
    done = cli(tmp_path, "replay-check", **told)
    assert done.returncode == 1, done.stderr
    assert "in topic orders: ord-1" in done.stdout
    assert "risk_epoch\n    recorded  5\n    replayed  0" in done.stdout
    assert "made from prop-1" in done.stdout
    later = str(MADE[at].ts_ns + 1)
    done = cli(tmp_path, "replay-check", "--from", later, "--json", **told)
    answer = json.loads(done.stdout)
    assert done.returncode == 0 and answer["equal"] is True and answer["ticks"] == 60 - at - 1
    done = cli(tmp_path, "replay-check", "--to", later, "--json", **told)
    assert done.returncode == 1 and json.loads(done.stdout)["difference"]["causes"] == ["prop-1"]


def test_a_kafka_that_is_away_and_an_empty_home_are_one_line(tmp_path: Path) -> None:
    done = cli(tmp_path, "replay-check", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert done.returncode == 1 and done.stderr.startswith("error: Kafka at 127.0.0.1:1 does not answer")
    assert len(done.stderr.splitlines()) == 1
    done = cli(tmp_path, "replay-check", KAFKA_BOOTSTRAP_SERVERS="")
    assert done.returncode == 1 and "nothing is recorded in" in done.stderr
    done = cli(tmp_path, "replay-check", "--portfolio", "mine")
    assert done.returncode == 2
    assert done.stderr == "error: --portfolio mine: there is no such portfolio; there is default_portfolio\n"
    done = cli(tmp_path, "replay-check", "--from", "yesterday")
    assert done.returncode == 2 and done.stderr.startswith("error: --from must be a time such as")


def test_a_log_without_its_beginning_is_an_error(kafka: str, prefix: str) -> None:
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    write(kafka, prefix, GIVEN_TICKS, GIVEN)
    write(kafka, prefix, MADE, DERIVED)
    admin = AdminClient({"bootstrap.servers": kafka})
    for done in admin.delete_records([TopicPartition(f"{prefix}market-bars", 0, 50)]).values():
        done.result(20)
    with pytest.raises(Unavailable, match="not in the log any more"):
        checked(kafka, prefix)

"""`replay-check` on topics in a real Kafka with restarts, commands, incomplete time slices and changed records."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dataflows.replay.comparison import ReplayComparison, compare
from dataflows.replay.recording import DERIVED_TOPICS, INPUT_TOPICS, open_recording
from operators.partitions import partition_of
from operators.stage import TimeSlice
from schemas.codec import encode
from schemas.errors import Unavailable
from schemas.records import RELEASE, SUBMIT_ORDER, Bar, Order, Signal, Trade
from sinks.kafka import producer
from tests.builders import command
from tests.integration.recorded_platform import cli, kafka_settings, make_topics, write
from tests.unit.tape import FAST_STRATEGY, market, platform_output, settings, with_command

HALT = command("cmd-1")
INPUT_SLICES = with_command(market(60), 40, HALT)
OUTPUT_SLICES = platform_output(INPUT_SLICES, settings())


@pytest.fixture
def prefix(kafka: str) -> str:
    return make_topics(kafka)


def run_check(kafka: str, prefix: str) -> ReplayComparison:
    with closing(open_recording(kafka_settings(settings(), kafka, prefix), "replay-check")) as runs:
        return compare(settings(), runs)


def test_a_recorded_session_replays_to_the_same_records(kafka: str, prefix: str) -> None:
    write(kafka, prefix, INPUT_SLICES, INPUT_TOPICS)
    write(kafka, prefix, OUTPUT_SLICES, DERIVED_TOPICS)
    result = run_check(kafka, prefix)
    assert (result.difference, result.ticks, result.given) == (None, 60, {"Bar": 180, "Command": 1})
    assert result.records["RiskFence"] == 1 and result.records["Execution"] > 5


def test_a_recording_of_an_earlier_release_has_trades_without_clocks(kafka: str, prefix: str) -> None:
    trade = Trade(symbol="IBM", seq=1, ts_ns=INPUT_SLICES[3].ts_ns, price=10.0, size=1.0)
    inputs = [TimeSlice(ts, [*records, trade] if ts == trade.ts_ns else records) for ts, records in INPUT_SLICES]
    write(kafka, prefix, inputs, [topic for topic in INPUT_TOPICS if topic != "market-trades"])
    write(kafka, prefix, OUTPUT_SLICES, DERIVED_TOPICS)
    result = run_check(kafka, prefix)
    assert (result.difference, result.ticks, result.given) == (None, 60, {"Bar": 180, "Command": 1})


def test_repeats_of_restarted_writers_change_nothing(kafka: str, prefix: str) -> None:
    for part in (slice(0, 30), slice(20, 50), slice(45, 60)):
        # Only the sender of a command may repeat it, not the feed.
        inputs = [
            TimeSlice(ts, [r for r in records if part.start == 20 or r != HALT]) for ts, records in INPUT_SLICES[part]
        ]
        write(kafka, prefix, inputs, INPUT_TOPICS)
        write(kafka, prefix, OUTPUT_SLICES[part], DERIVED_TOPICS)
    result = run_check(kafka, prefix)
    assert (result.difference, result.ticks) == (None, 60)


def test_a_session_with_manual_orders_a_halt_restarts_and_late_data_replays(kafka: str, prefix: str) -> None:
    terms = {"symbol": "IBM", "side": "BUY", "quantity": "3"}
    manual_command = command("cmd-order-1", 5, SUBMIT_ORDER, terms)
    inputs = with_command(with_command(market(60), 20, manual_command), 40, HALT)
    inputs = with_command(inputs, 45, command("cmd-2", 2, RELEASE))
    outputs = platform_output(inputs, settings())
    late_bar = next(r for r in inputs[3].records if type(r) is Bar)._replace(seq=10**6, close=1.0, low=1.0)
    for part in (slice(0, 30), slice(20, 50), slice(45, 60)):
        # The topic contains each command of a person once.
        repeated = [TimeSlice(ts, [r for r in rs if type(r) is Bar]) for ts, rs in inputs[part]]
        new_slices = inputs[part][-10 if part.start == 45 else (-20 if part.start else -30) :]
        write(kafka, prefix, repeated[: len(repeated) - len(new_slices)] + new_slices, INPUT_TOPICS)
        write(kafka, prefix, outputs[part], DERIVED_TOPICS)
        client = producer(kafka)
        client.produce(prefix + "market-bars", encode(late_bar), partition=partition_of(late_bar.symbol, 4))
        assert client.flush(20) == 0
    result = run_check(kafka, prefix)
    assert (result.difference, result.ticks) == (None, 60)
    assert result.given == {"Bar": 180, "Command": 3}
    manual_orders = [
        r
        for time_slice in outputs
        for r in time_slice.records
        if type(r) is Order and r.cause_id == manual_command.command_id
    ]
    assert len(manual_orders) == 1 and result.records["RiskFence"] == 2


def test_an_incomplete_session_is_compared_up_to_the_last_common_slice(kafka: str, prefix: str) -> None:
    write(kafka, prefix, INPUT_SLICES, INPUT_TOPICS)
    write(kafka, prefix, OUTPUT_SLICES[:30], DERIVED_TOPICS)
    write(
        kafka,
        prefix,
        [TimeSlice(t.ts_ns, [r for r in t.records if type(r) is Signal]) for t in OUTPUT_SLICES[30:]],
        ["signals"],
    )
    result = run_check(kafka, prefix)
    assert (result.difference, result.ticks) == (None, 30)


def test_the_command_reports_equality_or_the_differing_record(kafka: str, prefix: str, tmp_path: Path) -> None:
    slice_number = next(
        n for n, time_slice in enumerate(OUTPUT_SLICES) if any(type(r) is Order for r in time_slice.records)
    )
    changed_records: list[Any] = [
        r._replace(risk_epoch=5) if type(r) is Order else r for r in OUTPUT_SLICES[slice_number].records
    ]
    write(kafka, prefix, INPUT_SLICES, INPUT_TOPICS)
    write(
        kafka,
        prefix,
        [
            *OUTPUT_SLICES[:slice_number],
            TimeSlice(OUTPUT_SLICES[slice_number].ts_ns, changed_records),
            *OUTPUT_SLICES[slice_number + 1 :],
        ],
        DERIVED_TOPICS,
    )
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA__TOPIC_PREFIX": prefix,
        "SIGNALS__STRATEGIES": json.dumps([FAST_STRATEGY]),
    }
    completed = cli(tmp_path, "replay-check", **environment)
    assert completed.returncode == 1, completed.stderr
    assert "in topic orders: ord-1" in completed.stdout
    assert "risk_epoch\n    recorded  5\n    replayed  0" in completed.stdout
    assert "causes: prop-1" in completed.stdout
    later = str(OUTPUT_SLICES[slice_number].ts_ns + 1)
    completed = cli(tmp_path, "replay-check", "--from", later, "--json", **environment)
    report = json.loads(completed.stdout)
    assert completed.returncode == 0 and report["equal"] is True and report["ticks"] == 60 - slice_number - 1
    completed = cli(tmp_path, "replay-check", "--to", later, "--json", **environment)
    assert completed.returncode == 1 and json.loads(completed.stdout)["difference"]["causes"] == ["prop-1"]


def test_an_unreachable_kafka_and_an_empty_home_are_one_error_line(tmp_path: Path) -> None:
    completed = cli(tmp_path, "replay-check", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert completed.returncode == 1 and completed.stderr.startswith("error: Kafka at 127.0.0.1:1 is unreachable")
    assert len(completed.stderr.splitlines()) == 1
    completed = cli(tmp_path, "replay-check", KAFKA_BOOTSTRAP_SERVERS="")
    assert completed.returncode == 1 and "no recorded topics in" in completed.stderr
    completed = cli(tmp_path, "replay-check", "--portfolio", "mine")
    assert completed.returncode == 2
    assert completed.stderr == "error: unknown portfolio 'mine'. Known portfolios: default_portfolio\n"
    completed = cli(tmp_path, "replay-check", "--from", "yesterday")
    assert completed.returncode == 2 and completed.stderr.startswith("error: --from must be a time such as")


def test_a_log_with_a_deleted_beginning_is_an_error(kafka: str, prefix: str) -> None:
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    write(kafka, prefix, INPUT_SLICES, INPUT_TOPICS)
    write(kafka, prefix, OUTPUT_SLICES, DERIVED_TOPICS)
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.delete_records([TopicPartition(f"{prefix}market-bars", 0, 50)]).values():
        future.result(20)
    with pytest.raises(Unavailable, match="no longer in the log"):
        run_check(kafka, prefix)

"""`explain` and the API's lineage on real tables and topics: they find each record at its exact place."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from fastapi.testclient import TestClient

from api.app import create_app
from api.json_types import utc
from configs.settings import Settings
from dataflows.replay.recording import DERIVED_TOPICS, INPUT_TOPICS
from deploy.time_arguments import format_ns
from operators.explain.record_ids import record_id_of
from operators.sizing import TARGET_WEIGHTS
from operators.stage import TimeSlice
from schemas.codec import decode
from schemas.records import (
    Bar,
    LlmAnswer,
    LlmRequest,
    Order,
    OrderProposal,
)
from sinks.postgres import PostgresWriter
from sinks.record_locator import RecordLocator
from tests.builders import broker_update, command, configuration, exchange_rate, fundamentals, llm_answer, news_item
from tests.integration.api_users import log_in
from tests.integration.recorded_platform import cli, kafka_settings, make_topics, write
from tests.unit.tape import FAST_STRATEGY, market, platform_output, settings

INPUT_SLICES = market(60)
OUTPUT_SLICES = platform_output(INPUT_SLICES, settings())
CONFIGURATIONS = [
    configuration(1, settings(), ts_ns=2**62, actor="ann", reason="start", sources={"mine.py": "x = 1"}),
    configuration(2, settings(), ts_ns=1, actor="bob", reason="earnings this evening"),
]
"""Recorded in the first time slice and in that of the thirtieth bar. Their wall clocks are in the opposite order."""
RECORDS = [r for a, b in zip(INPUT_SLICES, OUTPUT_SLICES, strict=True) for r in (*a.records, *b.records)]


@pytest.fixture(scope="module")
def prefix(kafka: str) -> str:
    name = make_topics(kafka)
    configured = [
        TimeSlice(ts_ns, [*([CONFIGURATIONS[index // 30]] if index in (0, 30) else []), *records])
        for index, (ts_ns, records) in enumerate(INPUT_SLICES)
    ]
    write(kafka, name, configured, INPUT_TOPICS)
    # The stages crashed once, so the topics contain some of their records twice.
    write(kafka, name, OUTPUT_SLICES[:40], DERIVED_TOPICS)
    write(kafka, name, OUTPUT_SLICES[35:], DERIVED_TOPICS)
    return name


@pytest.fixture(scope="module")
def recorded_url(database_url: str) -> str:
    writer = PostgresWriter(database_url, name="test")
    writer.write([*CONFIGURATIONS, *RECORDS])
    writer.close()
    return database_url


@pytest.fixture(scope="module")
def running_settings(kafka: str, prefix: str, recorded_url: str, redis_url: str) -> Settings:
    base = settings()
    postgres = base.database.postgres.model_copy(update={"url": recorded_url})
    redis = base.database.redis.model_copy(update={"url": redis_url})
    database = base.database.model_copy(update={"postgres": postgres, "redis": redis})
    return base.model_copy(update={"database": database, "kafka": kafka_settings(base, kafka, prefix)})


@pytest.fixture(scope="module")
def client(running_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(create_app(running_settings, home=tmp_path_factory.mktemp("home"))) as client:
        yield log_in(client)


def message_at(kafka: str, prefix: str, place: dict[str, Any]) -> Any:
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "look"})
    consumer.assign([TopicPartition(prefix + place["topic"], place["partition"], place["offset"])])
    message = consumer.poll(10)
    consumer.close()
    assert message is not None
    return decode(message.value())


def flatten(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(descendant for cause in node["causes"] for descendant in flatten(cause))]


def test_every_record_is_located_in_its_log(kafka: str, prefix: str) -> None:
    with closing(RecordLocator(kafka, 4, prefix=prefix)) as places:
        for record in RECORDS[:: len(RECORDS) // 60]:
            place = places.find(record)
            assert place is not None, record
            assert message_at(kafka, prefix, place._asdict()) == record
        order = next(r for r in RECORDS if type(r) is Order)
        assert places.find(order._replace(seq=999)) is None
        assert places.find(order._replace(ts_ns=order.ts_ns * 2)) is None


def test_the_api_traces_an_order_back_with_places(kafka: str, prefix: str, client: TestClient) -> None:
    response = client.get("/api/v1/orders/ord-3/lineage")
    assert response.status_code == 200, response.text
    tree = response.json()
    nodes = flatten(tree["root"])
    assert [node["kind"] for node in nodes] == ["Order", "OrderProposal", "Signal", "FeatureRow", "Bar"]
    for node in nodes:
        assert record_id_of(message_at(kafka, prefix, node["place"])) == node["id"]
        assert node["place"]["event_time"] == node["timestamp"]
    assert tree["root"]["record"]["checks"][0]["check"] == "kill_switch"
    assert tree["consequences"] and tree["note"] == ""
    assert client.get("/api/v1/orders/ord-999/lineage").status_code == 404
    assert client.get("/api/v1/lineage/exe-2?places=false").json()["root"]["place"] is None


def test_explain_names_the_configuration_in_force(client: TestClient) -> None:
    orders = [record for record in RECORDS if type(record) is Order]
    changed_ns = INPUT_SLICES[30].ts_ns
    early, late = orders[0], next(one for one in orders if one.ts_ns >= changed_ns)
    assert early.ts_ns < changed_ns
    first, second = CONFIGURATIONS
    for order, expected, since_ns in ((early, first, INPUT_SLICES[0].ts_ns), (late, second, changed_ns)):
        tree = client.get(f"/api/v1/orders/{order.order_id}/lineage").json()
        *_, found = tree["configurations"]
        assert (found["configuration_id"], found["actor"]) == (expected.configuration_id, expected.actor)
        assert found["sha256"] == expected.sha256 and found["source_sha256"] == expected.source_sha256
        assert order.order_id in found["records"] and found["since"] == utc(since_ns)


def test_the_api_explains_why_nothing_was_traded(client: TestClient) -> None:
    response = client.get("/api/v1/inaction/SPY", params={"at": format_ns(INPUT_SLICES[1].ts_ns)})
    assert response.status_code == 200, response.text
    assert "ema_cross: ema_4, rsi_3 not warmed up yet" in response.json()["reasons"]
    assert client.get("/api/v1/inaction/SPY", params={"at": "1999-01-01T00:00:00Z"}).status_code == 404


def test_the_command_explains_with_places_and_reports_missing_ones(
    kafka: str, prefix: str, recorded_url: str, tmp_path: Path
) -> None:
    environment = {
        "DATABASE_URL": recorded_url,
        "KAFKA__TOPIC_PREFIX": prefix,
        "SIGNALS__STRATEGIES": json.dumps([FAST_STRATEGY]),
    }
    completed = cli(tmp_path, "explain", "ord-3", KAFKA_BOOTSTRAP_SERVERS=kafka, **environment)
    assert completed.returncode == 0, completed.stderr
    assert "was filled at" in completed.stdout and "check kill_switch: found ACTIVE, limit ACTIVE" in completed.stdout
    assert (
        "[orders/0@" in completed.stdout
        and "sizing: fixed_fraction" in completed.stdout
        and "Bar bar-" in completed.stdout
    )
    assert not [line for line in completed.stdout.splitlines() if line.endswith(": ")], "fields without a value"
    assert "\nconfiguration\n  config-1 by ann: start\n      in force from the time slice at " in completed.stdout
    assert f"      file mine.py sha256 {CONFIGURATIONS[0].source_sha256['mine.py']}\n" in completed.stdout
    completed = cli(tmp_path, "explain", "ord-3", "--json", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", **environment)
    tree = json.loads(completed.stdout)
    assert tree["root"]["place"] is None and "Kafka is not reachable" in tree["note"]
    first = next(r for r in RECORDS if type(r) is OrderProposal)
    completed = cli(
        tmp_path,
        *("explain", "--symbol", first.terms.symbol, "--at", format_ns(first.ts_ns)),
        KAFKA_BOOTSTRAP_SERVERS=kafka,
        **environment,
    )
    assert f"{first.proposal_id} was proposed in this time slice" in completed.stdout, completed.stderr


def test_invalid_explain_arguments_are_one_error_line(kafka: str, recorded_url: str, tmp_path: Path) -> None:
    environment = {"DATABASE_URL": recorded_url, "KAFKA_BOOTSTRAP_SERVERS": kafka}
    for arguments, status, expected_text in (
        (("explain",), 2, "explain needs either a record id"),
        (("explain", "ord-1", "--symbol", "SPY"), 2, "explain needs either a record id"),
        (("explain", "ord-1", "--at", "2024-01-02"), 2, "--at requires --symbol"),
        (("explain", "--symbol", "SPY", "--at", "noon"), 2, "--at must be a time"),
        (("explain", "order-7"), 2, "did you mean ord-7?"),
        (("explain", "ord-99999"), 1, "no record ord-99999 in the tables"),
        (("explain", "--symbol", "NONE"), 1, "no bar of NONE at or before this time. Symbols with bars: AAPL, "),
        (("explain", "--symbol", "aapl"), 1, "; did you mean AAPL?"),
        (("explain", "--symbol", "AAPL", "--at", "1999-01-04"), 1, "; its bars are later"),
    ):
        completed = cli(tmp_path, *arguments, **environment)
        assert (completed.returncode, len(completed.stderr.splitlines())) == (status, 1), completed.stderr
        assert expected_text in completed.stderr


# -- records of the edge services --------------------------------------------------------------------------------------

RECEIVED_NS = time.time_ns()
"""Time of the external records: far from the event time of the recorded session."""
EDGE_SLICE = 20
"""Index of the time slice with the external record."""
STRATEGIES = [{"name": "sentiment", "parameters": {"enter": 0.2, "exit": 0.1}}, {"name": "fundamental_value"}]


def edge_records() -> list[Any]:
    """One record of each kind that an edge service writes. The strategies buy the symbols of headline and filing."""
    filing = fundamentals(
        "fund-1",
        RECEIVED_NS,
        "SPY",
        facts={"eps": 20.0, "equity": 1e10, "shares": 1e8, "net_income": 2e9},
        ratios={"return_on_equity": 0.2},
        filed=20240101,
    )
    return [
        news_item("news-1", RECEIVED_NS, ["IBM"]),
        filing,
        command("cmd-w", RECEIVED_NS, TARGET_WEIGHTS, {"IBM": "0.02", "SPY": "0.02"}),
        exchange_rate("rate-1", 1.1, ts_ns=RECEIVED_NS),
        broker_update("", "CONNECTED", ts_ns=RECEIVED_NS),
    ]


def edge_settings() -> Settings:
    portfolio = settings().portfolio_manager.__dict__ | {"sizing": {"method": "target_weights"}}
    llm = {"enabled": True, "base_url": "http://127.0.0.1:9/v1", "model": "m", "timeout_s": 600.0}
    signals = {"strategies": STRATEGIES}
    return settings(signals=signals, portfolio_manager=portfolio, sentiment={"llm": llm})


def edge_slices() -> list[TimeSlice]:
    """The market with the edge records, and the answer of a language model three time slices later."""
    time_slices = market(40)
    time_slices[EDGE_SLICE] = TimeSlice(
        time_slices[EDGE_SLICE].ts_ns, [*edge_records(), *time_slices[EDGE_SLICE].records]
    )
    request = next(
        r
        for time_slice in platform_output(time_slices, edge_settings())
        for r in time_slice.records
        if type(r) is LlmRequest
    )
    text = json.dumps({"scores": [{"symbol": "IBM", "score": 0.9, "confidence": 0.9}]})
    answer = llm_answer(request, text, answer_id="answer-1", ts_ns=RECEIVED_NS)
    later_slice = time_slices[EDGE_SLICE + 3]
    time_slices[EDGE_SLICE + 3] = TimeSlice(later_slice.ts_ns, [answer, *later_slice.records])
    return time_slices


@pytest.fixture(scope="module")
def edge_session(kafka: str, make_database: Any) -> Iterator[tuple[str, str, list[TimeSlice]]]:
    """Prefix, database and time slices of a session with edge records. The feed crashed once and repeats clocks."""
    prefix_name, inputs = make_topics(kafka), edge_slices()
    outputs = platform_output(inputs, edge_settings())
    bars = [TimeSlice(ts, [r for r in records if type(r) is Bar]) for ts, records in inputs]
    write(kafka, prefix_name, inputs[: EDGE_SLICE - 1], INPUT_TOPICS)
    # Before the crash, the feed wrote time slices that it repeats after the restart. The edge records come in between.
    write(kafka, prefix_name, bars[EDGE_SLICE - 1 : EDGE_SLICE], INPUT_TOPICS)
    write(kafka, prefix_name, [TimeSlice(0, edge_records())], ())
    write(kafka, prefix_name, bars[EDGE_SLICE - 3 : EDGE_SLICE + 1], INPUT_TOPICS)
    write(kafka, prefix_name, inputs[EDGE_SLICE + 1 :], INPUT_TOPICS)
    write(kafka, prefix_name, outputs, DERIVED_TOPICS)
    url = make_database()
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write([r for a, b in zip(inputs, outputs, strict=True) for r in (*a.records, *b.records)])
    yield prefix_name, url, inputs


def test_edge_records_have_a_place_and_the_slice_that_consumed_them(
    kafka: str, edge_session: tuple[str, str, list[TimeSlice]]
) -> None:
    prefix, _, inputs = edge_session
    (answer,) = [r for slice_number in inputs for r in slice_number.records if type(r) is LlmAnswer]
    with closing(RecordLocator(kafka, 4, prefix=prefix)) as places:
        for record, slice_number in [*((record, EDGE_SLICE) for record in edge_records()), (answer, EDGE_SLICE + 3)]:
            place = places.find(record)
            assert place is not None, record
            assert message_at(kafka, prefix, place._asdict()) == record
            assert place.event_ns == inputs[slice_number].ts_ns, record
            # Records from a tape carry the time of the tape, not the time of their write.
            assert places.find(record._replace(ts_ns=inputs[slice_number].ts_ns)) == place
            assert places.find(type(record)("gone", *record[1:])) is None
        late = command("cmd-late", RECEIVED_NS)
        write(kafka, prefix, [TimeSlice(0, [late])], ())
        place = places.find(late)
        assert place is not None and place.event_ns is None


def test_an_order_traces_back_to_news_llm_answer_filing_and_weights(
    kafka: str, edge_session: tuple[str, str, list[TimeSlice]], tmp_path: Path
) -> None:
    prefix, url, inputs = edge_session
    environment = {"DATABASE_URL": url, "KAFKA__TOPIC_PREFIX": prefix, "KAFKA_BOOTSTRAP_SERVERS": kafka}
    trees = []
    for order in ("ord-1", "ord-2"):
        completed = cli(tmp_path, "explain", order, "--json", **environment)
        assert completed.returncode == 0, completed.stderr
        trees.append(json.loads(completed.stdout))
    nodes = {node["id"]: node for tree in trees for node in flatten(tree["root"])}
    edge_ns, answer_ns = inputs[EDGE_SLICE].ts_ns, inputs[EDGE_SLICE + 3].ts_ns
    expected = {
        "news-1": ("news", edge_ns),
        "fund-1": ("fundamentals", edge_ns),
        "cmd-w": ("commands", edge_ns),
        "answer-1": ("llm-answers", answer_ns),
    }
    for name, (topic, event_ns) in expected.items():
        place = nodes[name]["place"]
        assert (place["topic"], place["event_ns"]) == (topic, event_ns), name
        assert record_id_of(message_at(kafka, prefix, place)) == name
    assert all(node["place"] is not None for node in nodes.values())
    completed = cli(tmp_path, "explain", "ord-1", **environment)
    assert f", in the time slice at {format_ns(edge_ns)}]" in completed.stdout

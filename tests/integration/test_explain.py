"""`explain` and the API's lineage on real tables and a real log: every record found, at its very place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from fastapi.testclient import TestClient

from api.app import create_app
from configs.settings import Settings
from dataflows.replay_topics import DERIVED, GIVEN
from deploy.moments import written
from operators.lineage import name_of
from schemas.codec import decode
from schemas.records import Order, OrderProposal
from sinks.places import Places
from sinks.postgres import PostgresWriter
from tests.integration.api_people import logged_in
from tests.integration.recorded_platform import cli, kafka_settings, make_topics, write
from tests.unit.tape import QUICK, decided, market, settings

GIVEN_TICKS = market(60)
MADE = decided(GIVEN_TICKS, settings())
RECORDS = [r for a, b in zip(GIVEN_TICKS, MADE, strict=True) for r in (*a.records, *b.records)]


@pytest.fixture(scope="module")
def prefix(kafka: str) -> str:
    name = make_topics(kafka)
    write(kafka, name, GIVEN_TICKS, GIVEN)
    # The stages died once: some of what they wrote stands there twice.
    write(kafka, name, MADE[:40], DERIVED)
    write(kafka, name, MADE[35:], DERIVED)
    return name


@pytest.fixture(scope="module")
def recorded(database_url: str) -> str:
    writer = PostgresWriter(database_url, name="test")
    writer.write(RECORDS)
    writer.close()
    return database_url


@pytest.fixture(scope="module")
def running(kafka: str, prefix: str, recorded: str, redis_url: str) -> Settings:
    base = settings()
    postgres = base.database.postgres.model_copy(update={"url": recorded})
    redis = base.database.redis.model_copy(update={"url": redis_url})
    database = base.database.model_copy(update={"postgres": postgres, "redis": redis})
    return base.model_copy(update={"database": database, "kafka": kafka_settings(base, kafka, prefix)})


@pytest.fixture(scope="module")
def client(running: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(create_app(running, home=tmp_path_factory.mktemp("home"))) as client:
        yield logged_in(client)


def message_at(kafka: str, prefix: str, place: dict[str, Any]) -> Any:
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "look"})
    consumer.assign([TopicPartition(prefix + place["topic"], place["partition"], place["offset"])])
    message = consumer.poll(10)
    consumer.close()
    assert message is not None
    return decode(message.value())


def flat(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(below for cause in node["causes"] for below in flat(cause))]


def test_every_record_is_found_at_a_place_that_holds_it(kafka: str, prefix: str) -> None:
    with closing(Places(kafka, 4, prefix=prefix)) as places:
        for record in RECORDS[:: len(RECORDS) // 60]:
            place = places.find(record)
            assert place is not None, record
            assert message_at(kafka, prefix, place._asdict()) == record
        order = next(r for r in RECORDS if type(r) is Order)
        assert places.find(order._replace(seq=999)) is None
        assert places.find(order._replace(ts_ns=order.ts_ns * 2)) is None


def test_the_api_walks_an_order_back_with_places(kafka: str, prefix: str, client: TestClient) -> None:
    answer = client.get("/api/v1/orders/ord-3/lineage")
    assert answer.status_code == 200, answer.text
    tree = answer.json()
    found = flat(tree["root"])
    assert [node["kind"] for node in found] == ["Order", "OrderProposal", "Signal", "FeatureRow", "Bar"]
    for node in found:
        assert name_of(message_at(kafka, prefix, node["place"])) == node["id"]
    assert tree["root"]["record"]["checks"][0]["check"] == "kill_switch"
    assert tree["consequences"] and tree["note"] == ""
    assert client.get("/api/v1/orders/ord-999/lineage").status_code == 404
    assert client.get("/api/v1/lineage/exe-2?places=false").json()["root"]["place"] is None


def test_the_api_says_why_nothing_was_traded(client: TestClient) -> None:
    answer = client.get("/api/v1/inaction/SPY", params={"at": written(GIVEN_TICKS[1].ts_ns)})
    assert answer.status_code == 200, answer.text
    assert "ema_cross: waits for ema_4, rsi_3 to warm up" in answer.json()["reasons"]
    assert client.get("/api/v1/inaction/SPY", params={"at": "1999-01-01T00:00:00Z"}).status_code == 404


def test_the_command_explains_with_places_and_says_when_it_has_none(
    kafka: str, prefix: str, recorded: str, tmp_path: Path
) -> None:
    told = {"DATABASE_URL": recorded, "KAFKA__TOPIC_PREFIX": prefix, "SIGNALS__STRATEGIES": json.dumps([QUICK])}
    done = cli(tmp_path, "explain", "ord-3", KAFKA_BOOTSTRAP_SERVERS=kafka, **told)
    assert done.returncode == 0, done.stderr
    assert "was filled at" in done.stdout and "check kill_switch: found ACTIVE, limit ACTIVE" in done.stdout
    assert "[orders/0@" in done.stdout and "sizing: fixed_fraction" in done.stdout and "Bar bar-" in done.stdout
    done = cli(tmp_path, "explain", "ord-3", "--json", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", **told)
    tree = json.loads(done.stdout)
    assert tree["root"]["place"] is None and "Kafka does not answer" in tree["note"]
    first = next(r for r in RECORDS if type(r) is OrderProposal)
    done = cli(
        tmp_path,
        *("explain", "--symbol", first.symbol, "--at", written(first.ts_ns)),
        KAFKA_BOOTSTRAP_SERVERS=kafka,
        **told,
    )
    assert f"{first.proposal_id} was made at this tick" in done.stdout, done.stderr


def test_wrong_questions_are_one_line(kafka: str, recorded: str, tmp_path: Path) -> None:
    told = {"DATABASE_URL": recorded, "KAFKA_BOOTSTRAP_SERVERS": kafka}
    for arguments, status, words in (
        (("explain",), 2, "explain takes an id"),
        (("explain", "ord-1", "--symbol", "SPY"), 2, "explain takes an id"),
        (("explain", "ord-1", "--at", "2024-01-02"), 2, "--at belongs to --symbol"),
        (("explain", "--symbol", "SPY", "--at", "noon"), 2, "--at must be a time"),
        (("explain", "ord-99999"), 1, "there is no order"),
        (("explain", "--symbol", "NONE"), 1, "there is no bar of NONE"),
    ):
        done = cli(tmp_path, *arguments, **told)
        assert (done.returncode, len(done.stderr.splitlines())) == (status, 1), done.stderr
        assert words in done.stderr

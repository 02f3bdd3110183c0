"""`explain` and the API's lineage on real tables and a real log: every record found, at its very place."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from fastapi.testclient import TestClient

from api.app import create_app
from configs.settings import Settings
from dataflows.replay.recording import DERIVED, GIVEN
from deploy.time_arguments import written
from operators.explain.lineage import name_of
from operators.sizing import TARGET_WEIGHTS
from operators.stage import Tick
from schemas.codec import decode
from schemas.records import (
    KILL_SWITCH,
    Bar,
    BrokerUpdate,
    Command,
    ExchangeRate,
    Fundamentals,
    LlmAnswer,
    LlmRequest,
    NewsItem,
    Order,
    OrderProposal,
)
from sinks.log_positions import Places
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
        assert node["place"]["event_time"] == node["timestamp"]
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


# -- what edges told ---------------------------------------------------------------------------------------------------

LEARNT_NS = time.time_ns()
"""When the edges learnt what they tell: far from the event time of the recorded session."""
TOLD_AT = 20
"""The tick that holds it."""
STRATEGIES = [{"name": "sentiment", "parameters": {"enter": 0.2, "exit": 0.1}}, {"name": "fundamental_value"}]


def told() -> list[Any]:
    """One record of each kind that an edge writes, the headline and the filing about a symbol that is then bought."""
    nothing = (Decimal(0), Decimal(0), Decimal(0))
    return [
        NewsItem("news-1", LEARNT_NS, LEARNT_NS, "wire", "Profit beats estimates", "", "", ["IBM"]),
        Fundamentals(
            "fund-1",
            *(LEARNT_NS, "SPY", 20231231, 20240101, "10-K", "sec"),
            {"eps": 20.0, "equity": 1e10, "shares": 1e8, "net_income": 2e9},
            {"return_on_equity": 0.2},
            "USD",
        ),
        Command("cmd-w", LEARNT_NS, TARGET_WEIGHTS, "ann", "an optimiser's", {"IBM": "0.02", "SPY": "0.02"}),
        ExchangeRate("rate-1", LEARNT_NS, "EUR", "USD", Decimal("1.1"), "bank"),
        BrokerUpdate("update-1", LEARNT_NS, "alpaca", "", "", "CONNECTED", "", "", *nothing, LEARNT_NS, ""),
    ]


def edge_settings() -> Settings:
    portfolio = settings().portfolio_manager.__dict__ | {"sizing": {"method": "target_weights"}}
    llm = {"enabled": True, "base_url": "http://127.0.0.1:9/v1", "model": "m", "timeout_s": 600.0}
    signals = {"strategies": STRATEGIES}
    return settings(signals=signals, portfolio_manager=portfolio, sentiment={"llm": llm})


def edge_ticks() -> list[Tick]:
    """The market with what was told, and a language model's answer three ticks later."""
    ticks = market(40)
    ticks[TOLD_AT] = Tick(ticks[TOLD_AT].ts_ns, [*told(), *ticks[TOLD_AT].records])
    asked = next(r for tick in decided(ticks, edge_settings()) for r in tick.records if type(r) is LlmRequest)
    text = json.dumps({"scores": [{"symbol": "IBM", "score": 0.9, "confidence": 0.9}]})
    answer = LlmAnswer("answer-1", LEARNT_NS, *asked[2:], text, 1, 1, "")
    answered = ticks[TOLD_AT + 3]
    ticks[TOLD_AT + 3] = Tick(answered.ts_ns, [answer, *answered.records])
    return ticks


@pytest.fixture(scope="module")
def edges(kafka: str, make_database: Any) -> Iterator[tuple[str, str, list[Tick]]]:
    """Prefix, database and ticks of a session that the edges told something. The feed died once and repeats clocks."""
    name, given = make_topics(kafka), edge_ticks()
    made = decided(given, edge_settings())
    bars = [Tick(ts, [r for r in records if type(r) is Bar]) for ts, records in given]
    write(kafka, name, given[: TOLD_AT - 1], GIVEN)
    # It wrote two ticks more, of which it knew nothing when it was started again; in between the edges told theirs.
    write(kafka, name, bars[TOLD_AT - 1 : TOLD_AT], GIVEN)
    write(kafka, name, [Tick(0, told())], ())
    write(kafka, name, bars[TOLD_AT - 3 : TOLD_AT + 1], GIVEN)
    write(kafka, name, given[TOLD_AT + 1 :], GIVEN)
    write(kafka, name, made, DERIVED)
    url = make_database()
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write([r for a, b in zip(given, made, strict=True) for r in (*a.records, *b.records)])
    yield name, url, given


def test_what_edges_told_has_its_place_and_the_tick_that_took_it(
    kafka: str, edges: tuple[str, str, list[Tick]]
) -> None:
    prefix, _, given = edges
    (answer,) = [r for tick in given for r in tick.records if type(r) is LlmAnswer]
    with closing(Places(kafka, 4, prefix=prefix)) as places:
        for record, tick in [*((record, TOLD_AT) for record in told()), (answer, TOLD_AT + 3)]:
            place = places.find(record)
            assert place is not None, record
            assert message_at(kafka, prefix, place._asdict()) == record
            assert place.event_ns == given[tick].ts_ns, record
            # A tape's records carry the tape's time, not that at which they were written.
            assert places.find(record._replace(ts_ns=given[tick].ts_ns)) == place
            assert places.find(type(record)("gone", *record[1:])) is None
        late = Command("cmd-late", LEARNT_NS, KILL_SWITCH, "ann", "behind the last clock", {})
        write(kafka, prefix, [Tick(0, [late])], ())
        place = places.find(late)
        assert place is not None and place.event_ns is None


def test_an_order_walks_back_to_headline_answer_filing_and_weights_with_their_places(
    kafka: str, edges: tuple[str, str, list[Tick]], tmp_path: Path
) -> None:
    prefix, url, given = edges
    environment = {"DATABASE_URL": url, "KAFKA__TOPIC_PREFIX": prefix, "KAFKA_BOOTSTRAP_SERVERS": kafka}
    trees = []
    for order in ("ord-1", "ord-2"):
        done = cli(tmp_path, "explain", order, "--json", **environment)
        assert done.returncode == 0, done.stderr
        trees.append(json.loads(done.stdout))
    found = {node["id"]: node for tree in trees for node in flat(tree["root"])}
    told_ns, answered_ns = given[TOLD_AT].ts_ns, given[TOLD_AT + 3].ts_ns
    wanted = {
        "news-1": ("news", told_ns),
        "fund-1": ("fundamentals", told_ns),
        "cmd-w": ("commands", told_ns),
        "answer-1": ("llm-answers", answered_ns),
    }
    for name, (topic, event_ns) in wanted.items():
        place = found[name]["place"]
        assert (place["topic"], place["event_ns"]) == (topic, event_ns), name
        assert name_of(message_at(kafka, prefix, place)) == name
    assert all(node["place"] is not None for node in found.values())
    done = cli(tmp_path, "explain", "ord-1", **environment)
    assert f", in the tick at {written(told_ns)}]" in done.stdout

"""Before a start: which combinations of recovery stores, topics and tables are refused, and with which sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from configs.settings import load_settings
from dataflows.runtime import topology
from deploy.errors import DeployError
from deploy.home import Home
from deploy.recovery.store_positions import StorePositions
from deploy.supervisor.initialize import make_recovery_store
from deploy.supervisor.platform_identity import (
    PlatformIdentity,
    RecordedIdentities,
    broker_kind,
    feed_kind,
    read_folder_identity,
    restored_identity,
    write_folder_identity,
)
from deploy.supervisor.state_check import find_problem, require_same_configuration
from deploy.supervisor.state_contents import StateContents
from tests.builders.platform import platform_identity

IDENTITY = platform_identity("one", cluster_id="kafka-1")
LOGS = {("orders", 0): (0, 50), ("executions", 0): (10, 60), ("market-bars", 0): (0, 90), ("commands", 0): (0, 20)}
RISK = StorePositions("risk", Path("recovery/risk"), 3, {("executions", 0): 60, ("market-bars", 0): 90}, 900)
FEED = StorePositions("market_data", Path("recovery/market_data"), 3, {}, 900, "Simulator")
RUNNING = StateContents(
    identities=RecordedIdentities(IDENTITY, IDENTITY, IDENTITY),
    cluster_id="kafka-1",
    log_ranges=LOGS,
    stores={"risk": [RISK], "market_data": [FEED]},
    tables=["orders"],
    last_seqs={"orders": (12, 12), "executions": (7, 9)},
    starts={"risk": 3, "market_data": 2},
)
EMPTY = StateContents(RecordedIdentities(None, None, None), "kafka-1", {("orders", 0): (0, 0)}, {})
NOWHERE = RecordedIdentities(None, None, None)
OTHER = replace(IDENTITY, platform_id="two")


def places(
    folder: PlatformIdentity | None, database: PlatformIdentity | None, topics: PlatformIdentity | None
) -> object:
    return RecordedIdentities(folder, database, topics)


def risk_store(**changes: object) -> dict[str, list[StorePositions]]:
    return {"risk": [RISK._replace(**changes)], "market_data": [FEED]}  # type: ignore[arg-type]


ACCEPTED: dict[str, StateContents] = {
    "nothing yet": EMPTY,
    "a running platform": RUNNING,
    "a platform of an earlier release": replace(RUNNING, identities=NOWHERE),
    "a lost identity file": replace(RUNNING, identities=RecordedIdentities(None, IDENTITY, IDENTITY)),
    "commands before the first start": replace(EMPTY, log_ranges={("commands", 0): (0, 1)}, missing_stores=["risk"]),
    "killed before the first snapshot": replace(RUNNING, stores=risk_store(next_offsets={}, last_slice_ns=-1)),
    "a start on the substitute that failed": replace(
        EMPTY, identities=RecordedIdentities(replace(IDENTITY, substitute=True), None, None)
    ),
    "a first start that failed after it recorded the signing keys": replace(
        EMPTY,
        identities=RecordedIdentities(*[replace(IDENTITY, broker="alpaca-paper")] * 3),
        log_ranges={("commands", 0): (0, 5)},
    ),
    "a compact process that has written nothing, beside a service that has": replace(
        RUNNING,
        log_ranges={("sentiment", 0): (0, 5), ("market-bars", 0): (0, 90)},
        stores={
            "compact": [RISK._replace(name="compact", starts=0, next_offsets={}, last_slice_ns=-1)],
            "sentiment": [RISK._replace(name="sentiment", next_offsets={("market-bars", 0): 90})],
            "market_data": [FEED],
        },
        last_seqs={},
        starts={},
    ),
    "a first start that failed": replace(EMPTY, identities=RecordedIdentities(None, None, IDENTITY)),
}
REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "store missing": (
        {"missing_stores": ["risk"], "stores": {"market_data": [FEED]}},
        "the recovery store of risk is missing, but topic orders holds its records; restore the store with "
        "`python cli.py rebuild risk`",
    ),
    "all stores missing": (
        {"missing_stores": ["market_data", "risk", "news"], "stores": {}},
        "the recovery stores of market_data, risk are missing, but their topics hold records; restore each store with",
    ),
    "store new": (
        {"stores": risk_store(starts=0, next_offsets={})},
        "the recovery store of risk was never used, but topic orders holds records of risk; restore the store with "
        "`python cli.py rebuild risk`",
    ),
    "store is an old copy": (
        {"stores": risk_store(starts=2)},
        "the recovery store of risk is older than the platform: it has 2 starts, expected at least 3; restore the "
        "store with `python cli.py rebuild risk`",
    ),
    "store newer than its topics": (
        {"stores": risk_store(next_offsets={("executions", 0): 61})},
        "the recovery store of risk is newer than topic executions/0: it continues at offset 61, but the topic ends at "
        "60;",
    ),
    "store older than its topics": (
        {"stores": risk_store(next_offsets={("executions", 0): 9})},
        "the recovery store of risk is older than topic executions/0: it continues at offset 9, but the topic starts "
        "at 10; restore a backup with `python cli.py restore FILE`",
    ),
    "store older than its topics, and the archive has the messages between": (
        {"stores": risk_store(next_offsets={("executions", 0): 9}), "archived": {("executions", 0): (0, 30)}},
        "the recovery store of risk is older than topic executions/0: it continues at offset 9, but the topic starts "
        "at 10; restore the store with `python cli.py rebuild risk`",
    ),
    "store older than its topics, and the archive lacks the messages": (
        {"stores": risk_store(next_offsets={("executions", 0): 3}), "archived": {("executions", 0): (5, 30)}},
        "the recovery store of risk is older than topic executions/0: it continues at offset 3, but the topic starts "
        "at 10; restore a backup with",
    ),
    "topics gone": (
        {"log_ranges": {}, "identities": places(IDENTITY, IDENTITY, None)},
        "the database belongs to platform one, but Kafka holds no topics of this platform",
    ),
    "topics gone, earlier release": (
        {"log_ranges": {}, "identities": NOWHERE},
        "table orders and recovery store risk hold records of a platform, but Kafka holds none of its topics' records",
    ),
    "database of another platform": (
        {"identities": places(IDENTITY, OTHER, IDENTITY)},
        "the database belongs to platform two, but the state folder to platform one",
    ),
    "Kafka of another platform": (
        {"identities": places(IDENTITY, IDENTITY, OTHER)},
        "the topic platform-identity belongs to platform two, but the state folder to platform one",
    ),
    "database without identity": (
        {"identities": places(IDENTITY, None, IDENTITY)},
        "the state folder belongs to platform one, but the database to none",
    ),
    "restored in part": (
        {"identities": places(IDENTITY, restored_identity(IDENTITY, "kafka-1"), IDENTITY)},
        "the database belongs to epoch 2 of platform one, but the state folder to epoch 1, because only a part was",
    ),
    "another cluster": (
        {"cluster_id": "kafka-2"},
        "platform one has its topics in Kafka cluster kafka-1, found kafka-2",
    ),
    "database newer": (
        {"last_seqs": {"orders": (13, 12)}},
        "table orders is newer than topic orders: its last seq is 13, expected at most 12",
    ),
    "database empty": (
        {"tables": [], "last_seqs": {"executions": (0, 9)}},
        "table executions is empty, but topic executions holds records up to seq 9",
    ),
    "state of a substitute": (
        {"identities": places(replace(IDENTITY, substitute=True), None, None)},
        "this state comes from a run on the substitute for Kafka, whose topics are lost, and cannot continue",
    ),
}
CHANGED: dict[str, tuple[object, str]] = {
    "broker": ("alpaca-paper", "broker 'simulated' and cannot continue with 'alpaca-paper'"),
    "feed": ("files", "feed 'simulator' and cannot continue with 'files'"),
    "symbol_partitions": (8, "kafka.symbol_partitions 4 and cannot continue with 8"),
    "topic_prefix": ("x-", "kafka.topic_prefix '' and cannot continue with 'x-'"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_state_that_belongs_together_is_accepted(name: str) -> None:
    assert find_problem(ACCEPTED[name], IDENTITY) is None


@pytest.mark.parametrize("name", REFUSED)
def test_state_that_does_not_belong_together_is_refused_with_one_sentence(name: str) -> None:
    changes, sentence = REFUSED[name]
    problem = find_problem(replace(RUNNING, **changes), IDENTITY)  # type: ignore[arg-type]
    assert problem is not None and problem.startswith(sentence) and "\n" not in problem
    assert "PLATFORM_HOME" in problem or "`python cli.py" in problem, "the sentence says what to do"


@pytest.mark.parametrize("name", CHANGED)
def test_a_change_of_what_the_state_depends_on_is_refused(name: str) -> None:
    value, sentence = CHANGED[name]
    configured = replace(IDENTITY, **{name: value})  # type: ignore[arg-type]
    problem = find_problem(RUNNING, configured)
    assert problem is not None and sentence in problem and "`python cli.py restart`" in problem
    assert find_problem(EMPTY, configured) is None


def test_a_feed_is_recognized_by_its_store_if_no_identity_was_recorded() -> None:
    contents = replace(RUNNING, identities=NOWHERE, stores={"market_data": [FEED._replace(feed="FileFeed")]})
    problem = find_problem(contents, IDENTITY)
    assert problem is not None and "feed 'files' and cannot continue with 'simulator'" in problem


def test_the_substitute_for_kafka_requires_an_empty_platform() -> None:
    configured = replace(IDENTITY, substitute=True)
    assert find_problem(EMPTY, configured) is None
    for contents in (
        replace(EMPTY, tables=["orders"]),
        replace(EMPTY, stores={"risk": [RISK]}),
        replace(EMPTY, log_ranges=LOGS),
    ):
        problem = find_problem(contents, configured)
        assert problem is not None and "its in-memory substitute is not allowed" in problem


def test_the_folder_identity_survives_a_round_trip_and_a_malformed_file_is_an_error(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert read_folder_identity(home) is None
    write_folder_identity(home, IDENTITY)
    assert read_folder_identity(home) == IDENTITY
    (home.recovery / "identity.json").write_text("{")
    with pytest.raises(DeployError, match=r"identity\.json does not hold a platform identity"):
        read_folder_identity(home)


def test_options_may_change_until_a_dataflow_has_run(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for service in topology.SERVICES:
        make_recovery_store(home.recovery / service)
    write_folder_identity(home, replace(IDENTITY, broker="alpaca-paper"))
    require_same_configuration(home, load_settings(environment={}))


@pytest.mark.parametrize(
    ("environment", "broker", "feed"),
    [
        ({}, "simulated", "simulator"),
        ({"MARKET_DATA__FEED": "polygon"}, "simulated", "live"),
        ({"EXECUTION__BROKER": "alpaca", "MARKET_DATA__FEED": "alpaca"}, "alpaca-paper", "live"),
        (
            {"EXECUTION__BROKER": "alpaca", "ALPACA__URL": "http://127.0.0.1:8090", "MARKET_DATA__FEED": "alpaca"},
            "local-alpaca",
            "live",
        ),
    ],
)
def test_broker_and_feed_of_the_settings(environment: dict[str, str], broker: str, feed: str) -> None:
    settings = load_settings(environment=environment)
    assert (broker_kind(settings), feed_kind(settings)) == (broker, feed)

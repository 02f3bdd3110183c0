"""A service that repeats its records after a crash stops if they differ from those in its topics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from configs.settings import load_settings
from dataflows.replay.recording import DERIVED_TOPICS, INPUT_TOPICS
from dataflows.runtime import topology
from dataflows.runtime.repeated_records import RepeatedRecords
from dataflows.sources.simulator import WAVES, Simulator
from deploy.errors import DeployError
from deploy.recovery.store_positions import StorePositions
from deploy.supervisor.configuration_record import record_start
from deploy.supervisor.platform_identity import RecordedIdentities
from deploy.supervisor.source_check import require_same_source
from deploy.supervisor.state_contents import StateContents
from operators.stage import TimeSlice
from schemas.errors import Unavailable
from schemas.records import TOPIC_OF, Order
from tests.builders import bar
from tests.integration.recorded_platform import make_topics, write
from tests.unit.tape import market, platform_output, settings

INPUT_SLICES = market(60)
SNAPSHOT = 20
OWN_TOPICS = topology.SERVICES["risk"].outputs


@dataclass
class Risk:
    """The topics of risk, and what it writes after its snapshot."""

    kafka: str
    prefix: str
    repeated: list[TimeSlice]

    def compare(self, time_slices: list[TimeSlice], *, passed: int = SNAPSHOT) -> RepeatedRecords:
        logs = topology.clocked_logs("risk", topology.GLOBAL_SHARD, settings().kafka.symbol_partitions)
        passed_ns = INPUT_SLICES[passed - 1].ts_ns if passed else -1
        repeated = RepeatedRecords(self.kafka, self.prefix, "risk", logs, passed_ns)
        for time_slice in time_slices:
            repeated.compare([time_slice])
        return repeated

    def with_orders(self, change: Any) -> list[TimeSlice]:
        """The repeated time slices with each order replaced by `change(order)`, or left out for None."""
        return [
            TimeSlice(
                ts_ns,
                [new for r in records if (new := change(r) if type(r) is Order else r) is not None],
            )
            for ts_ns, records in self.repeated
        ]


@pytest.fixture(scope="module")
def risk(kafka: str) -> Risk:
    prefix, outputs = make_topics(kafka), platform_output(INPUT_SLICES, settings())
    write(kafka, prefix, INPUT_SLICES, INPUT_TOPICS)
    write(kafka, prefix, outputs, DERIVED_TOPICS)
    own = [TimeSlice(ts_ns, [r for r in records if TOPIC_OF[type(r)] in OWN_TOPICS]) for ts_ns, records in outputs]
    assert sum(type(r) is Order for _, records in own[SNAPSHOT:] for r in records) > 3
    return Risk(kafka, prefix, own[SNAPSHOT:])


def test_equal_records_pass_and_nothing_remains(risk: Risk) -> None:
    assert risk.compare([]).pending
    assert not risk.compare(risk.repeated).pending
    assert not risk.compare([], passed=len(INPUT_SLICES)).pending, "a service that stopped cleanly repeats nothing"


def test_another_wording_is_no_difference(risk: Risk) -> None:
    reworded = risk.with_orders(
        lambda order: order._replace(checks=[check._replace(limit="?") for check in order.checks])
    )
    assert reworded != risk.repeated
    assert not risk.compare(reworded).pending


def test_another_order_with_the_same_number_stops_the_service(risk: Risk) -> None:
    changed = risk.with_orders(
        lambda order: order._replace(terms=order.terms._replace(quantity=order.terms.quantity + 1))
    )
    with pytest.raises(Unavailable, match="risk repeats its records since its last snapshot, but one differs: Order"):
        risk.compare(changed)


def test_a_missing_order_stops_the_service_before_its_number_is_given_again(risk: Risk) -> None:
    later = TimeSlice(INPUT_SLICES[-1].ts_ns + 1, [])
    with pytest.raises(Unavailable, match=r"one differs: Order\(.* is missing; the settings or the code have changed"):
        risk.compare([*risk.with_orders(lambda order: None), later])


# -- a simulator or a file feed repeats its bars -----------------------------------------------------------------------

START_NS = 1_700_000_000 * 1_000_000_000
SYMBOLS = ("AAPL", "MSFT")


def simulator(symbols: Sequence[str] = SYMBOLS, seed: int = 7, **options: Any) -> Simulator:
    return Simulator(symbols, seed, start_ns=START_NS, fast=True, with_trades=True, **options)


@pytest.fixture(scope="module")
def killed_feed(kafka: str) -> tuple[Risk, dict[str, Any]]:
    """The topics of a simulator that was killed 20 time slices after its snapshot, and the snapshot."""
    prefix, feed = make_topics(kafka), simulator()
    before = feed.take(30)
    state = feed.state()
    after = feed.take(20)
    write(kafka, prefix, [*before, *after], INPUT_TOPICS)
    return Risk(kafka, prefix, after), state


def repeat(killed: tuple[Risk, dict[str, Any]], resumed: Simulator) -> None:
    topics, state = killed
    logs = topology.clocked_logs("market_data", topology.FEED_SHARD, settings().kafka.symbol_partitions)
    last_slice_ns = state["next_open"]
    repeated = RepeatedRecords(topics.kafka, topics.prefix, "market_data", logs, last_slice_ns)
    for time_slice in resumed.resume(state).take(40):
        repeated.compare([time_slice])
    assert not repeated.pending


def test_a_simulator_with_the_same_settings_repeats_its_bars(killed_feed: tuple[Risk, dict[str, Any]]) -> None:
    repeat(killed_feed, simulator())


def test_messages_of_another_program_that_readers_reject_are_no_difference(kafka: str) -> None:
    prefix, feed = make_topics(kafka), simulator()
    before, state = feed.take(30), feed.state()
    [first, *after] = feed.take(20)
    late = bar("AAPL", 1_000_000, 60, 10.0)
    invalid = late._replace(ts_ns=after[-1].ts_ns + 10**18, high=1.0, low=2.0)
    mixed = TimeSlice(first.ts_ns, [*first.records, late, invalid])
    write(kafka, prefix, [*before, mixed, *after], INPUT_TOPICS)
    repeat((Risk(kafka, prefix, [first, *after]), state), simulator())


@pytest.mark.parametrize(
    "changed",
    [
        {"interval_s": 5},
        {"seed": 8},
        {"waves": WAVES["choppy"]},
        {"symbols": ("AAPL",)},
        {"symbols": (*SYMBOLS, "TSLA")},
        {"with_trades": False},
    ],
    ids=str,
)
def test_a_simulator_with_other_settings_does_not_use_a_number_again(
    killed_feed: tuple[Risk, dict[str, Any]], changed: dict[str, Any]
) -> None:
    """A new symbol changes no other bar, and its numbers are new."""
    options: dict[str, Any] = {"symbols": SYMBOLS, "seed": 7, "with_trades": True} | changed
    resumed = Simulator(options.pop("symbols"), options.pop("seed"), start_ns=START_NS, fast=True, **options)
    if len(changed.get("symbols", ())) > len(SYMBOLS):
        repeat(killed_feed, resumed)
        return
    with pytest.raises(Unavailable, match="market_data repeats its records since its last snapshot, but one differs"):
        repeat(killed_feed, resumed)


@pytest.fixture(scope="module")
def killed_platform(
    killed_feed: tuple[Risk, dict[str, Any]], make_database: Callable[..., str]
) -> tuple[dict[str, str], StateContents]:
    """The environment of the killed platform, whose settings are recorded, and what its state contains."""
    topics, state = killed_feed
    environment = {
        "DATABASE_URL": make_database(),
        "KAFKA_BOOTSTRAP_SERVERS": topics.kafka,
        "KAFKA__TOPIC_PREFIX": topics.prefix,
        "MARKET_DATA__FEED": "simulator",
    }
    record_start(load_settings(environment=environment), "1.0", None)
    store = StorePositions("market_data", Path("market_data"), 1, {}, state["next_open"], "Simulator", state)
    nowhere = RecordedIdentities(None, None, None)
    contents = StateContents(nowhere, "", {("market-bars", 0): (0, 9)}, {"market_data": [store]})
    return environment, contents


def test_a_start_with_another_simulator_is_refused_before_any_service_runs(
    killed_platform: tuple[dict[str, str], StateContents],
) -> None:
    environment, contents = killed_platform
    require_same_source(load_settings(environment=environment), contents)
    changed = load_settings(environment={**environment, "MARKET_DATA__SIMULATOR__INTERVAL_S": "5"})
    with pytest.raises(
        DeployError, match=r"simulator.interval_s has changed from 1 to 5 .* rebuild market_data`, then"
    ):
        require_same_source(changed, contents)
    [store] = contents.stores["market_data"]
    stopped = store._replace(last_slice_ns=START_NS + 50 * 1_000_000_000)
    require_same_source(changed, replace(contents, stores={"market_data": [stopped]}))

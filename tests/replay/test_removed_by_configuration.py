"""A configuration removes strategies: their positions stay, or are closed (`signals.on_remove: flatten`)."""

from __future__ import annotations

import json
from datetime import time
from decimal import Decimal
from typing import Any

import pytest

from configs.configuration_changes import with_overrides
from configs.settings import Settings
from dataflows.replay.comparison import configured_pipeline
from dataflows.replay.differences import derived_records
from operators.explain.cause_tree import walk
from operators.explain.lineage import explain
from operators.stage import TimeSlice
from schemas.records import CANCEL_ORDER, Order, Position, Record, Signal, StrategyAction
from tests.builders import configuration
from tests.replay.in_memory_platform import InMemoryPlatform
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import by_topic, logged_by_topic, pinned_settings, read_time_slices
from tests.unit.memory_record_store import MemoryRecordStore

VIEW, TRADING = {"name": "buy_and_hold"}, {"name": "grid", "parameters": {"weight": 0.1}}
OTHER = {"name": "ema_cross", "parameters": {"fast": 3, "slow": 8}}
LIMITED = {"name": "buy_and_hold", "limits": {"max_position_size": "30000"}}
REMOVED_AT = 60
FLATTEN = {"signals.on_remove": '"flatten"'}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    files = write_market(
        tmp_path_factory.mktemp("market"), symbols=("A", "B"), days=[MONDAY], open_time=time(10), minutes=120
    )
    return list(read_time_slices(files))


def settings_of(strategies: list[Any], **others: str) -> Settings:
    return with_overrides(pinned_settings(), {"signals.strategies": json.dumps(strategies), **others})


def session(market: list[TimeSlice], before: list[Any], after: list[Any], **others: str) -> list[TimeSlice]:
    """Return the time slices with the configurations `before`, from the first one on, and `after`."""
    ensemble = {name: value for name, value in others.items() if name != "signals.on_remove"}
    first, second = settings_of(before, **ensemble), settings_of(after, **others)
    out = []
    for index, (ts_ns, records) in enumerate(market):
        added = {0: [configuration(1, first)], REMOVED_AT: [configuration(2, second)]}.get(index, [])
        out.append(TimeSlice(ts_ns, [*added, *records]))
    return out


def run(time_slices: list[TimeSlice]) -> list[list[Any]]:
    pipeline = configured_pipeline(pinned_settings())
    return [derived_records(pipeline.on_slice(ts_ns, records)) for ts_ns, records in time_slices]


def positions(outputs: list[list[Any]], until: int | None = None) -> dict[str, Decimal]:
    """Return the account's open positions."""
    last = {one.symbol: one.quantity for records in outputs[:until] for one in records if type(one) is Position}
    return {symbol: quantity for symbol, quantity in last.items() if quantity}


@pytest.mark.parametrize("removed", [VIEW, TRADING, LIMITED], ids=["view", "trading", "limited view"])
def test_a_removed_strategy_keeps_its_positions_by_default(market: list[TimeSlice], removed: dict[str, Any]) -> None:
    outputs = run(session(market, [removed], []))
    assert positions(outputs, REMOVED_AT) != {}
    later = [one for records in outputs[REMOVED_AT:] for one in records if type(one) in (Signal, StrategyAction, Order)]
    assert not later
    if removed is not TRADING:  # whose orders at the venue can still fill
        assert positions(outputs) == positions(outputs, REMOVED_AT)


@pytest.mark.parametrize("removed", [VIEW, TRADING, LIMITED], ids=["view", "trading", "limited view"])
@pytest.mark.parametrize("others", [[], [OTHER]], ids=["all removed", "one stays"])
def test_flatten_closes_the_positions_of_a_removed_strategy(
    market: list[TimeSlice], removed: dict[str, Any], others: list[Any]
) -> None:
    outputs = run(session(market, [removed, *others], others, **FLATTEN))
    alone = run(session(market, others, others, **FLATTEN)) if others else []
    assert positions(outputs, REMOVED_AT) != {}
    if others:
        assert positions(outputs).keys() == positions(alone).keys(), "those of the other strategy stay"
    else:
        assert positions(outputs) == {}
    decided = [one for one in outputs[REMOVED_AT] if type(one) in (Signal, StrategyAction)]
    closing = [one for one in decided if one.strategy == removed["name"]]
    assert closing and all(one.cause_ids == ["config-2"] for one in closing)
    if removed is TRADING:
        assert CANCEL_ORDER in {one.kind for one in closing}, "its limit orders are cancelled"


def test_the_closing_order_is_traced_to_the_configuration(market: list[TimeSlice]) -> None:
    time_slices = session(market, [VIEW, TRADING], [], **FLATTEN)
    outputs = run(time_slices)
    records: list[Record] = [record for one in time_slices for record in one.records]
    records += [record for one in outputs for record in one]
    store = MemoryRecordStore(records)
    orders = [record for one in outputs[REMOVED_AT:] for record in one if type(record) is Order]
    assert orders
    for order in orders:
        explanation = explain(store, order.order_id)
        assert explanation is not None
        [node] = [one for one in walk(explanation.root) if one.kind == "Configuration"]
        assert node.record_id == "config-2" and node.record is not None


def test_a_strategy_that_was_removed_before_is_not_closed_by_a_later_configuration(market: list[TimeSlice]) -> None:
    time_slices = session(market, [VIEW, TRADING], [])
    third = configuration(3, settings_of([], **FLATTEN))
    time_slices[80] = TimeSlice(time_slices[80].ts_ns, [third, *time_slices[80].records])
    outputs = run(time_slices)
    assert positions(outputs) == positions(outputs, REMOVED_AT) != {}


def test_the_ensemble_closes_positions_that_only_the_removed_strategy_held(market: list[TimeSlice]) -> None:
    ensemble = {"signals.ensemble": '{"enabled": true}'}
    outputs = run(session(market, [VIEW, OTHER], [OTHER], **FLATTEN, **ensemble))
    late = {"name": "ema_cross", "parameters": {"fast": 100, "slow": 200}}  # without a view in this session
    alone = run(session(market, [VIEW, late], [late], **FLATTEN, **ensemble))
    assert positions(alone, REMOVED_AT) != {} and positions(alone) == {}
    changed = [one for one in outputs[REMOVED_AT] if type(one) is Signal and one.strategy == "ensemble"]
    assert changed, "the views are combined again without the removed one"


@pytest.mark.parametrize(("partitions", "crash_rate"), [(2, 0.0), (1, 0.004)])
def test_staged_services_close_the_same_positions(market: list[TimeSlice], partitions: int, crash_rate: float) -> None:
    time_slices = session(market, [VIEW, TRADING, OTHER], [OTHER], **FLATTEN)
    platform = InMemoryPlatform(
        settings_of([VIEW, TRADING, OTHER]), time_slices, partitions=partitions, seed=partitions, crash_rate=crash_rate
    )
    logs = platform.run()
    expected = by_topic([record for records in run(time_slices) for record in records])
    assert logged_by_topic(logs) == expected
    assert bool(platform.crash_count) == bool(crash_rate)

"""Recovery stores stay readable: every service and its reader restore what each release wrote.

A version constant that is raised without a reader of the old state fails here, whichever module it is in.
"""

from __future__ import annotations

import importlib
import pickle
import pkgutil
import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import dataflows
import operators
from dataflows.runtime import stages, topology
from dataflows.runtime.wiring import StageLogic
from dataflows.sources.feed_source import FeedSource
from operators.alignment import AlignedLogs
from operators.dead_letter_rate import DeadLetterRate
from tests.builders import configuration
from tests.replay.compact_runs import compact_stages
from tests.replay.in_memory_platform import stage_of
from tests.replay.release_stores import (
    FEEDS,
    GATEWAY,
    STORES,
    ServiceStores,
    gateway_settings,
    open_feeds,
    run_services,
    shard_state,
    take_stores,
)
from tests.unit.edge_tape import edge_settings

FILES = sorted(STORES.glob("*.stores"))
SERVICES = (*topology.STAGED_SERVICES, GATEWAY)
STATELESS = {"news", "fundamentals"}
"""Services whose topic holds everything: `PolledSource` stores nothing."""
NOT_IN_STORES = {
    "dataflows.replay.comparison": "state of a replay",
    "dataflows.replay.fork": "state of a replay",
    "dataflows.replay.recorded_feed": "state of a backtest over recorded topics",
    "dataflows.research.bundles.bundle_file": "version of a file of its own, not the state of a service",
    "dataflows.research.report": "state of a backtest report",
    "dataflows.research.shard_merge": "state of the fused backtest",
    "dataflows.research.sweeps.outcome_store": "tables of a file of its own, not the state of a service",
    "dataflows.research.trial_ledger": "tables of a file of its own, not the state of a service",
    "dataflows.sources.tape.feed_with_orders": "state of a backtest with a tape of orders",
    "operators.decision_hash": "state of a backtest report",
    "operators.performance": "state of a backtest report",
    "operators.sentiment.llm_prompt": "version of a prompt",
    "operators.trading_loop": "state of the fused backtest",
    **dict.fromkeys(
        [
            f"operators.trading.{name}"
            for name in (
                "account_records",
                "accounts",
                "exchange_sessions",
                "market",
                "market_events",
                "pair_statistics",
                "running_strategy",
                "sessions",
                "stage",
                "trade_prints",
                "universe",
                "user_data",
            )
        ],
        "state of trading strategies, which run in no store of a release (tests/unit/test_trading_snapshots.py)",
    ),
}
NEW_SERVICES = {"strategies"}
"""Services since 0.3.0. Earlier releases have no store of them: they start at the beginning of the topics."""


INPUTS_ADDED = {
    "execution": ("valuations", "commands"),
    "execution with a broker": ("valuations", "commands"),
    "features": ("history-bars",),
    "signals": ("strategy-suspensions", "commands"),
    "portfolio": ("strategy-actions",),
    "risk": ("strategy-actions",),
    "feedback": ("strategy-actions",),
}
"""Inputs that a service reads since 0.3.0, beside `configuration`. Stores of earlier releases have no position in
them.
"""
_LEARNED = "the score of a strategy is the t-value of its outcomes since 0.3.0"
_NEXT_BAR, _NEXT_VALUATION = "known from the next bar on", "known from the next valuation on"
_ENDED_ORDERS = "ended orders are stored since 0.3.0, to report what a late command met"
CHANGED_STATE: dict[str, dict[str, str]] = {
    "features": {r"\.1\.1\.2\[\w+\]\.2": f"last close of a symbol: {_NEXT_BAR}"},
    "signals": {
        r"\.1\.1\.3\.(0|1\[\w+\])": f"learned weights and their number: {_LEARNED}",
        r"\.0\.2\[weights/0\]\.[02](\[\])?": f"position in the learned weights: {_LEARNED}",
        r"\.1\.1\.1\[\w+\]\.4\.[12]": f"strength and confidence of the ensemble: {_LEARNED}",
        r"\.1\.1\.1\[\w+\]\.6": "time of the last feature row, stored since 0.3.0: unknown until the next row",
    },
    "execution": {
        r"\.1\.1\.6\.3": _ENDED_ORDERS,
        r"\.1\.1\.9\.0": f"cash of a cash account: {_NEXT_VALUATION}",
    },
    "portfolio": {
        r"\.1\.1\.5\.\d\.1\.0\.2": f"strength of the ensemble's signals: {_LEARNED}",
        r"\.1\.1\.1\.5\.\d\.3\.2\.\d\.10": "strategies of open lots: unknown for lots from before 0.3.0",
        r"\.1\.1\.12\.2": "strategies of the last proposals, stored since 0.3.0: known of pending orders only",
    },
    "risk": {r"\.1\.1\.9\.0": _ENDED_ORDERS},
    "feedback": {
        r"\.1\.1\.5\.[023](\.\d)?\[\w+\](\[\w+\])?(\.\d+)*(\[\w+\])?": f"open outcomes and learned weights: {_LEARNED}",
        r"\.1\.1\.5\.2\.(0|1\[\w+\])": f"learned weights and their number: {_LEARNED}",
        r"\.1\.1\.5\.3\.6\.0": "strategies that have traded through the ensemble: those of its last signals",
        r"\.1\.1\.7\.[01](\.[01])?(\[\w*\])?(\.[01])?": "costs and the market's move: counted since 0.3.0",
    },
    GATEWAY: {
        r"\.1\.1\.5\.1\.(1|3\[EUR\])": "exchange rates, which only the ledger uses, are stored since 0.3.0",
        r"\.1\.1\.6\.6": "positions of the last account snapshot: unknown until the next snapshot",
        r"\.1\.1\.7\.2\.1": f"cash of the books: {_NEXT_VALUATION}",
    },
}
"""Parts of a state that differ after a restore, as a pattern of their path behind the shard, and why."""


REWORDED = {
    "positions and open orders agree": "positions and open orders match",
    "known terms": "valid terms",
}
"""Texts in states that later versions write in other words."""


def reworded(value: Any) -> Any:
    """Return plain data with the texts of this version."""
    if isinstance(value, str):
        return REWORDED.get(value, value)
    if isinstance(value, dict):
        return {key: reworded(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(map(reworded, value)) if type(value) in (tuple, list) else value
    return value


def load(file: Path) -> ServiceStores:
    stores: ServiceStores = pickle.loads(file.read_bytes())  # noqa: S301  (a file of our own)
    return stores


def restore_service(service: str, stores: ServiceStores) -> dict[str, tuple[Any, Any]]:
    """Restore every shard of a service as its process does, and return the snapshots of the result."""
    settings = gateway_settings() if service == GATEWAY else edge_settings()
    name = "execution" if service == GATEWAY else service
    restored: dict[str, tuple[Any, Any]] = {}
    for shard, (source_state, stage_state) in stores[service].items():
        reader = AlignedLogs(name, topology.input_logs(name, shard, settings.kafka.symbol_partitions), source_state)
        limits = settings.platform.dead_letters.limits_for(name)
        assert limits is not None
        rate = DeadLetterRate(limits, source_state[3] if len(source_state) > 3 else None)
        logic = StageLogic(getattr(stages, name)(settings)(), stage_state)
        restored[shard] = ((*reader.snapshot(), rate.snapshot()), logic.snapshot())
    return restored


def restore_feed(kind: str, stores: ServiceStores) -> Any:
    """Open a feed from its state as `market_data` does, and return its state."""
    state, _ = stores["market_data"][kind]
    with tempfile.TemporaryDirectory() as folder:
        open_feed = open_feeds(Path(folder))[kind]
        partition = FeedSource(open_feed).build_part("market_data.ticks", topology.FEED_SHARD, state)
        return partition.snapshot()


def restore_everything(stores: ServiceStores) -> None:
    for service in SERVICES:
        if service in stores:
            restore_service(service, stores)
    for kind in FEEDS:
        restore_feed(kind, stores)


def restore_processes(compact_state: Any, configured_state: Any) -> None:
    """Restore the state of the compact process, and that of a stage under a recorded configuration."""
    settings = edge_settings()
    compact_stages(settings, settings.kafka.symbol_partitions, compact_state)
    stage_of("sentiment", settings).restore(configured_state)


@cache
def process_states_of_this_version() -> tuple[Any, Any]:
    """Return the states that `restore_processes` restores."""
    settings = edge_settings()
    stage = stage_of("sentiment", settings)
    stage.on_slice(1, [configuration(1, settings)])
    return compact_stages(settings, settings.kafka.symbol_partitions).snapshot(), stage.snapshot()


@cache
def states_of_this_version(service: str) -> dict[str, tuple[Any, Any]]:
    """Return the states after the same time slices with the current code."""
    settings = gateway_settings() if service == GATEWAY else edge_settings()
    name = "execution" if service == GATEWAY else service
    return {
        shard.shard: shard_state(shard, settings)
        for shard in run_services(settings, broker=service == GATEWAY)
        if shard.service == name
    }


@cache
def stores_of_this_version() -> ServiceStores:
    return take_stores()


def differing_paths(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each part in which two states differ: `.2` for an index, `[SPY]` for a key."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            if key not in one or key not in other:
                yield f"{path}[{key}]"
            else:
                yield from differing_paths(one[key], other[key], f"{path}[{key}]")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differing_paths(left, right, f"{path}.{index}")
    elif one != other:
        yield path


@pytest.mark.parametrize("service", [service for service in SERVICES if service not in NEW_SERVICES])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_store_of_a_release_gives_the_state_of_this_version(file: Path, service: str) -> None:
    stores = load(file)
    restored, expected = restore_service(service, stores), states_of_this_version(service)
    for shard, (source_state, _) in stores[service].items():
        added = (*INPUTS_ADDED.get(service, ()), "configuration")
        for log in [log for log in expected[shard][0][2] if log.rpartition("/")[0] in added]:
            assert log not in source_state[2], "the store has a position, which must be restored"
            passed_ns = expected[shard][0][1]
            assert restored[shard][0][2][log] == (0, passed_ns, {}), "the input joins at the time of the store"
            restored[shard][0][2][log] = expected[shard][0][2][log]
    paths = {path.partition("]")[2] for path in differing_paths(reworded(restored), expected)}
    patterns = CHANGED_STATE.get(service, {})
    assert not [path for path in paths if not any(re.fullmatch(pattern, path) for pattern in patterns)]
    assert not [pattern for pattern in patterns if not any(re.fullmatch(pattern, path) for path in paths)], "outdated"


@pytest.mark.parametrize("kind", FEEDS)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_feed_continues_from_the_store_of_a_release(file: Path, kind: str) -> None:
    stores = load(file)
    written, _ = stores["market_data"][kind]
    restored = restore_feed(kind, stores)
    # A live feed stores its positions in the topics since version 2, instead of the wall clock of the snapshot.
    positions = {"[feed][v]", "[feed][at_ns]", "[feed][offsets]"} if kind == "LiveFeed" else set()
    paths = set(differing_paths(restored, written))
    assert paths == {"[feed][minutes][v]", "[feed][minutes][pending]"} | positions
    assert restored["feed"]["minutes"]["pending"] == [], "corporate actions that wait for their slice, since 0.3.0"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_release_has_the_stores_of_every_service(file: Path) -> None:
    stores = load(file)
    assert set(stores) == {*topology.SERVICES, GATEWAY} - STATELESS - NEW_SERVICES
    assert set(stores["market_data"]) == set(FEEDS)


def version_constants() -> list[tuple[str, str]]:
    """Return every version of a state, as module and name."""
    found = []
    for package in (operators, dataflows):
        for module_info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module_info.name in NOT_IN_STORES:
                continue
            source = importlib.util.find_spec(module_info.name)
            assert source is not None and source.origin is not None, module_info.name
            text = Path(source.origin).read_text()
            found += [
                (module_info.name, name)
                for name in ("VERSION", "SNAPSHOT_VERSION", "STATE_VERSION")
                if any(line.startswith((f"{name} = ", f"{name}: Final = ")) for line in text.splitlines())
                and type(getattr(importlib.import_module(module_info.name), name)) is int
            ]
    return found


@pytest.mark.parametrize(("module", "name"), version_constants())
def test_a_raised_version_without_a_reader_of_the_old_state_is_noticed(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest, processes = stores_of_this_version(), process_states_of_this_version()
    restore_everything(newest)
    restore_processes(*processes)
    patched = importlib.import_module(module)
    monkeypatch.setattr(patched, name, getattr(patched, name) + 1)
    with pytest.raises(AssertionError):
        restore_everything(newest)
        restore_processes(*processes)

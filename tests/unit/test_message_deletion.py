"""What limits the deletion of archived messages from Kafka: stores, consumer groups, and a store that is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.settings import load_settings
from dataflows.runtime.topology import COMPACT, Layout, processes
from deploy.archive import message_deletion
from deploy.archive.message_deletion import RequiredMessages, read_required
from deploy.errors import DeployError
from deploy.home import Home
from deploy.recovery.store_positions import StorePositions
from schemas.log_names import LogName

DAY_NS = 86_400_000_000_000
START_NS = 19_723 * DAY_NS  # 2024-01-01
KAFKA = load_settings(environment={}).kafka


def required(
    monkeypatch: pytest.MonkeyPatch,
    positions: dict[str, tuple[int, dict[LogName, int]]],
    groups: dict[LogName, tuple[int, str]] | None = None,
    missing: tuple[str, ...] = (),
) -> RequiredMessages:
    """`positions`: service -> hours of its last time slice since START_NS, and next offsets."""

    def read_positions(home: Home, service: str) -> list[StorePositions]:
        hours, offsets = positions.get(service, (240, {}))
        last_ns = -1 if hours < 0 else START_NS + hours * 3_600_000_000_000
        return [StorePositions(service, Path(), 1, offsets, last_ns)]

    monkeypatch.setattr(message_deletion, "read_positions", read_positions)
    monkeypatch.setattr(message_deletion, "missing_stores", lambda home: list(missing))
    monkeypatch.setattr(message_deletion, "_offsets_of_groups", lambda kafka: groups or {})
    return read_required(Home(Path("/nowhere")), KAFKA)


def test_the_service_that_is_furthest_behind_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    bars, features = ("market-bars", 0), ("features", 1)
    found = required(
        monkeypatch, {"risk": (30, {bars: 70}), "features": (50, {bars: 90}), "signals": (48, {features: 5})}
    )
    assert found.first_day == "2024-01-02"
    assert found.offsets == {bars: (70, "the recovery store of risk"), features: (5, "the recovery store of signals")}


def test_a_consumer_group_of_another_program_counts_where_it_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    bars, trades = ("market-bars", 0), ("market-trades", 2)
    groups = {bars: (10, "report"), trades: (3, "charts"), ("market-bars", 1): (99, "report")}
    found = required(monkeypatch, {"risk": (30, {bars: 70, ("market-bars", 1): 80})}, groups)
    assert found.offsets == {
        bars: (10, "consumer group report"),
        trades: (3, "consumer group charts"),
        ("market-bars", 1): (80, "the recovery store of risk"),
    }


def test_without_every_recovery_store_nothing_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DeployError, match=r"the recovery store of risk is missing; restore it with `python cli\.py rebuild"
    ):
        required(monkeypatch, {}, missing=("risk",))
    for service in processes(Layout.SERVICES):
        if service in ("news", "fundamentals"):  # they have no time slices
            continue
        with pytest.raises(DeployError, match=f"{service} has not processed a time slice yet"):
            required(monkeypatch, {service: (-1, {})})


def test_the_store_of_the_compact_layout_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_deletion, "dataflow_names", lambda home: processes(Layout.COMPACT))
    bars = ("market-bars", 0)
    found = required(monkeypatch, {COMPACT: (30, {bars: 70})})
    assert found == RequiredMessages("2024-01-02", {bars: (70, f"the recovery store of {COMPACT}")})

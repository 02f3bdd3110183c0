"""The configurations under which decisions were made, by the time slices of their log."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from operators.explain.cause_tree import CauseNode, RecordPosition, node_of
from operators.explain.configurations import configurations_of
from schemas.errors import Unavailable
from schemas.records import Configuration
from tests.builders import configuration, order, signal


@dataclass
class Log:
    """Stored configurations by id, and the time slice of each; None while no clock follows it."""

    stored: dict[str, Configuration]
    slices: dict[str, int | None]

    def configuration_ids(self) -> list[str]:
        return list(self.stored)

    def configuration(self, configuration_id: str) -> Configuration | None:
        return self.stored.get(configuration_id)

    def find(self, record: Configuration) -> RecordPosition | None:
        name = record.configuration_id
        return RecordPosition("configuration", 0, record.number, self.slices[name]) if name in self.slices else None


def log_of(*slices: int | None) -> Log:
    """Return configurations 1, 2, ... whose wall clocks are in the reverse order of their time slices."""
    stored = {f"config-{n}": configuration(n, ts_ns=1_000 - n) for n in range(1, len(slices) + 1)}
    return Log(stored, dict(zip(stored, slices, strict=True)))


def in_force(log: Log, root: CauseNode, invalid: tuple[str, ...] = ()) -> list[tuple[str, int, tuple[str, ...]]]:
    found = configurations_of(root, log, log.find, lambda one: one.configuration_id not in invalid)
    return [(one.configuration.configuration_id, one.since_ns, one.record_ids) for one in found]


def test_each_decision_has_the_configuration_of_its_time_slice() -> None:
    """The signal was decided under another configuration than the order. Wall clocks do not count."""
    root = node_of(order(1, ts_ns=60), node_of(signal("AAPL", 3, 40)))
    name = root.record_id
    assert in_force(log_of(10, 50, 70), root) == [
        ("config-1", 10, ("sig-AAPL-3",)),
        ("config-2", 50, (name,)),
    ]
    assert in_force(log_of(10, 60), root) == [("config-1", 10, ("sig-AAPL-3",)), ("config-2", 60, (name,))]
    assert in_force(log_of(10), root) == [("config-1", 10, ("sig-AAPL-3", name))]


def test_nothing_is_in_force_before_the_first_configuration_and_without_one() -> None:
    root = node_of(signal("AAPL", 3, 40))
    assert in_force(log_of(41), root) == [] == in_force(log_of(), root) == in_force(log_of(None), root)


def test_an_invalid_configuration_was_never_in_force() -> None:
    root = node_of(signal("AAPL", 3, 40))
    assert in_force(log_of(10, 20, 30), root, ("config-2", "config-3")) == [("config-1", 10, ("sig-AAPL-3",))]
    assert in_force(log_of(10), root, ("config-1",)) == []


def test_a_configuration_that_the_log_lacks_is_an_error() -> None:
    log = log_of(10, 20)
    del log.slices["config-2"]
    with pytest.raises(Unavailable, match="config-2 is not in the log"):
        in_force(log, node_of(signal("AAPL", 3, 40)))


def test_the_bisection_finds_what_a_plain_search_finds() -> None:
    rng = random.Random(7)
    for _ in range(200):
        slices: list[int | None] = [*sorted(rng.randrange(100) for _ in range(rng.randrange(9)))]
        slices += [None] * rng.randrange(2)
        log, at_ns = log_of(*slices), rng.randrange(100)
        invalid = tuple(name for name in log.stored if rng.random() < 0.2)
        valid = [(name, ts_ns) for name, ts_ns in log.slices.items() if name not in invalid and ts_ns is not None]
        expected = [(name, ts_ns, ("sig-AAPL-1",)) for name, ts_ns in valid if ts_ns <= at_ns][-1:]
        assert in_force(log, node_of(signal("AAPL", 1, at_ns)), invalid) == expected


def test_the_settings_and_the_source_code_are_left_out() -> None:
    log = log_of(10)
    log.stored["config-1"] = configuration(1, text="{}", sources={"a.py": "x = 1"})
    [found] = configurations_of(node_of(signal("AAPL", 1, 20)), log, log.find, lambda _: True)
    assert (found.configuration.settings, found.configuration.sources) == ("", {})
    assert list(found.configuration.source_sha256) == ["a.py"]

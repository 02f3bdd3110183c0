"""A replay equals its recording, and says exactly where it does not."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflows.replay.comparison import Pipeline, Window, compare
from dataflows.replay.differences import derived, first_difference
from dataflows.replay.recording import DERIVED, GIVEN, Recording
from dataflows.runtime import topology
from operators.decision_hash import decision_hash
from operators.stage import Tick
from schemas.records import KILL_SWITCH, Command, Execution, Order, OrderProposal, OrderRefusal, Signal
from tests.unit import builders
from tests.unit.tape import MINUTE_NS, START_NS, decided, market, recorded, settings, with_command

HALT = Command("cmd-1", 1, KILL_SWITCH, "tester", "drill", {})


def changed(ticks: list[Tick], kind: type, number: int, **fields: Any) -> tuple[list[Tick], Any]:
    """The same ticks with the `number`-th record of a type changed, and the record as it was."""
    seen = -1
    for at, (ts_ns, records) in enumerate(ticks):
        for place, record in enumerate(records):
            seen += type(record) is kind
            if type(record) is kind and seen == number:
                other = [*records[:place], record._replace(**fields), *records[place + 1 :]]
                return [*ticks[:at], Tick(ts_ns, other), *ticks[at + 1 :]], record
    raise AssertionError(f"fewer than {number + 1} {kind.__name__}s")


def test_every_topic_that_a_stage_writes_is_compared() -> None:
    written = {topic for service in topology.SERVICES.values() for topic in service.outputs}
    assert {*GIVEN, *DERIVED} == written
    assert not set(GIVEN) & set(DERIVED)


def test_a_replay_equals_its_recording_commands_included() -> None:
    given = with_command(market(60), 40, HALT)
    made = decided(given, settings())
    result = compare(settings(), recorded(given, made))
    assert result.difference is None
    assert (result.ticks, result.given) == (60, {"Bar": 180, "Command": 1})
    assert result.records["Order"] > 5 and result.records["Execution"] > 5 and result.records["RiskFence"] == 1
    assert result.decision_hash == decision_hash(record for tick in made for record in tick.records)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Signal, {"strength": 0.5}),
        (OrderProposal, {"sizing": "by hand"}),
        (Order, {"risk_epoch": 7}),
        (Execution, {"text": "changed"}),
    ],
)
def test_a_changed_record_is_named_with_both_values_and_its_causes(kind: type, fields: dict[str, Any]) -> None:
    given = market(60)
    made, was = changed(decided(given, settings()), kind, 3, **fields)
    difference = compare(settings(), recorded(given, made)).difference
    assert difference is not None
    assert (difference.replayed, difference.ts_ns) == (was, was.ts_ns)
    ((field, value),) = fields.items()
    assert difference.fields == ((field, value, getattr(was, field)),)
    assert difference.causes


def test_a_removed_and_an_added_record_are_named() -> None:
    given = market(60)
    made = decided(given, settings())
    at = next(n for n, tick in enumerate(made) if any(type(record) is Order for record in tick.records))
    order = next(record for record in made[at].records if type(record) is Order)
    without = Tick(made[at].ts_ns, [record for record in made[at].records if record is not order])
    difference = compare(settings(), recorded(given, [*made[:at], without, *made[at + 1 :]])).difference
    assert difference is not None and (difference.recorded, difference.replayed) == (None, order)
    added = Tick(made[at].ts_ns, [*made[at].records, order._replace(seq=99, order_id="ord-99")])
    difference = compare(settings(), recorded(given, [*made[:at], added, *made[at + 1 :]])).difference
    assert difference is not None and difference.replayed is None and difference.name == "ord-99"


def test_the_first_difference_is_the_earliest_topic_of_the_earliest_tick() -> None:
    given = market(60)
    made, _ = changed(decided(given, settings()), Order, 5, risk_epoch=3)
    made, row = changed(made, Signal, 0, price=1.0)
    difference = compare(settings(), recorded(given, made)).difference
    assert difference is not None and difference.topic == "signals" and difference.replayed == row


CLOCK_STRATEGY = """
import time
from operators.strategies import View

class WallClock:
    name, features = "wall_clock", ()

    def decide(self, row, state):
        return None, View(1, time.time_ns() % 1_000_000 / 1_000_000, 1.0, {})
"""


def test_an_operator_that_looks_at_the_clock_fails(tmp_path: Path) -> None:
    file = tmp_path / "wall_clock.py"
    file.write_text(CLOCK_STRATEGY)
    chosen = settings(signals={"strategies": [{"name": f"{file}:WallClock"}]})
    given = market(30)
    difference = compare(chosen, recorded(given, decided(given, chosen))).difference
    assert difference is not None and difference.topic == "signals"
    assert [field.field for field in difference.fields] == ["strength"]
    assert difference.causes == [f"feat-{difference.replayed.symbol}-1"]  # type: ignore[union-attr]


def test_other_settings_than_then_are_found() -> None:
    given = market(60)
    made = decided(given, settings())
    other = settings(portfolio_manager={"sizing": {"fraction": "0.03"}})
    difference = compare(other, recorded(given, made)).difference
    assert difference is not None and difference.topic == "order-proposals"
    stricter = settings(risk_manager=settings().risk_manager.__dict__ | {"max_order_notional": 100})
    difference = compare(stricter, recorded(given, made)).difference
    assert difference is not None and (difference.name, difference.replayed) == ("ord-1", None)
    assert type(difference.instead) is OrderRefusal and difference.instead.check == "max_order_notional"


def test_only_the_window_is_compared_with_the_state_of_all_before_it() -> None:
    given = market(60)
    made, was = changed(decided(given, settings()), Signal, 2, strength=0.5)
    before, after = Window(to_ns=was.ts_ns - 1), Window(from_ns=was.ts_ns + 1)
    result = compare(settings(), recorded(given, made), after)
    assert result.difference is None and result.first_ns > was.ts_ns and result.last_ns == given[-1].ts_ns
    result = compare(settings(), recorded(given, made), before)
    assert result.difference is None and result.last_ns < was.ts_ns
    assert compare(settings(), recorded(given, made), Window(was.ts_ns, was.ts_ns)).difference is not None


def test_a_recording_that_ends_early_is_compared_as_far_as_it_goes() -> None:
    given = market(60)
    made = decided(given, settings())
    result = compare(settings(), recorded(given, made[:45]))
    assert (result.difference, result.ticks) == (None, 45)


def test_a_tick_that_one_run_lacks_is_a_difference() -> None:
    given = market(20)
    made = decided(given, settings())
    found = compare(settings(), recorded(given, [*made[:7], *made[8:]])).difference
    assert found is not None and (found.ts_ns, found.missing_tick) == (
        given[7].ts_ns,
        "in the inputs, but no stage recorded it",
    )
    found = compare(settings(), recorded([*given[:7], *given[8:]], made)).difference
    assert found is not None and found.ts_ns == given[7].ts_ns and "recorded, but" in found.missing_tick


def test_a_value_that_is_not_equal_to_itself_is_still_the_same() -> None:
    given = market(12)
    record = next(r for tick in decided(given, settings()) for r in tick.records if type(r) is Signal)
    nan = record._replace(price=float("nan"))
    other = record._replace(price=float("nan"))
    assert first_difference(1, [nan], [other]) is None
    assert first_difference(1, [nan], [record]) is not None


def test_the_state_of_the_pipeline_can_be_cut_anywhere() -> None:
    given = market(40)
    whole = decided(given, settings())
    for cut in (1, 13, 27):
        first, second = Pipeline(settings()), Pipeline(settings())
        for ts_ns, records in given[:cut]:
            first.on_tick(ts_ns, records)
        second.restore(first.snapshot())
        rest = [Tick(ts_ns, derived(second.on_tick(ts_ns, records))) for ts_ns, records in given[cut:]]
        assert rest == whole[cut:]


def test_memory_does_not_grow_with_the_length() -> None:
    chosen = settings()

    def endless() -> Iterator[Tick]:
        for n in range(1, 2501):
            bar = builders.bar("A", n, START_NS + n * MINUTE_NS, 100.0 + n % 7)
            yield Tick(bar.ts_ns, [bar])

    pipeline = Pipeline(chosen)
    made = (Tick(ts_ns, pipeline.on_tick(ts_ns, records)) for ts_ns, records in endless())
    sizes: list[int] = []

    def note(_: Any) -> None:
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        result = compare(chosen, Recording(endless(), made), progress=note)
    finally:
        tracemalloc.stop()
    assert result.difference is None and result.ticks == 2500
    assert sizes[-1] - sizes[0] < 100_000, f"grew by {sizes[-1] - sizes[0]} bytes"

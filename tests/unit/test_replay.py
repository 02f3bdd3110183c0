"""A replay equals its recording, or reports exactly where it differs."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dataflows.replay.comparison import Pipeline, ReplayWindow, compare
from dataflows.replay.differences import derived_records, first_difference
from dataflows.replay.recording import DERIVED_TOPICS, INPUT_TOPICS, Recording
from dataflows.runtime import topology
from deploy.chaos.expected import tape_slices
from deploy.chaos.tape import write_tape
from operators.decision_hash import decision_hash
from operators.stage import TimeSlice
from schemas.records import Bar, Execution, Order, OrderProposal, OrderRefusal, Signal, bar_id
from tests.builders import bar, command, refusal
from tests.unit.tape import MINUTE_NS, START_NS, market, platform_output, recording, settings, with_command

HALT = command("cmd-1")


def with_record_changed(
    time_slices: list[TimeSlice], kind: type, number: int, **fields: Any
) -> tuple[list[TimeSlice], Any]:
    """Return the same time slices with record `number` of a type changed, and the original record."""
    occurrence = -1
    for slice_index, (ts_ns, records) in enumerate(time_slices):
        for record_index, record in enumerate(records):
            occurrence += type(record) is kind
            if type(record) is kind and occurrence == number:
                changed_records = [*records[:record_index], record._replace(**fields), *records[record_index + 1 :]]
                return [
                    *time_slices[:slice_index],
                    TimeSlice(ts_ns, changed_records),
                    *time_slices[slice_index + 1 :],
                ], record
    raise AssertionError(f"fewer than {number + 1} {kind.__name__}s")


def test_every_topic_that_a_stage_writes_is_compared() -> None:
    written = {topic for service in topology.SERVICES.values() for topic in service.outputs}
    assert {*INPUT_TOPICS, *DERIVED_TOPICS} == written
    assert not set(INPUT_TOPICS) & set(DERIVED_TOPICS)


def test_a_replay_equals_its_recording_commands_included() -> None:
    inputs = with_command(market(60), 40, HALT)
    outputs = platform_output(inputs, settings())
    result = compare(settings(), recording(inputs, outputs))
    assert result.difference is None
    assert (result.ticks, result.given) == (60, {"Bar": 180, "Command": 1})
    assert result.records["Order"] > 5 and result.records["Execution"] > 5 and result.records["RiskFence"] == 1
    assert result.decision_hash == decision_hash(record for time_slice in outputs for record in time_slice.records)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Signal, {"strength": 0.5}),
        (OrderProposal, {"sizing": "by hand"}),
        (Order, {"risk_epoch": 7}),
        (Execution, {"fee": Decimal("7.25")}),
    ],
)
def test_changed_record_is_reported_with_both_values_and_its_causes(kind: type, fields: dict[str, Any]) -> None:
    inputs = market(60)
    outputs, original = with_record_changed(platform_output(inputs, settings()), kind, 3, **fields)
    difference = compare(settings(), recording(inputs, outputs)).difference
    assert difference is not None
    assert (difference.replayed, difference.ts_ns) == (original, original.ts_ns)
    ((field, value),) = fields.items()
    assert difference.fields == ((field, value, getattr(original, field)),)
    assert difference.causes


def test_removed_and_added_records_are_reported() -> None:
    inputs = market(60)
    outputs = platform_output(inputs, settings())
    slice_index = next(
        n for n, time_slice in enumerate(outputs) if any(type(record) is Order for record in time_slice.records)
    )
    order = next(record for record in outputs[slice_index].records if type(record) is Order)
    without = TimeSlice(
        outputs[slice_index].ts_ns, [record for record in outputs[slice_index].records if record is not order]
    )
    difference = compare(
        settings(), recording(inputs, [*outputs[:slice_index], without, *outputs[slice_index + 1 :]])
    ).difference
    assert difference is not None and (difference.recorded, difference.replayed) == (None, order)
    added = TimeSlice(
        outputs[slice_index].ts_ns, [*outputs[slice_index].records, order._replace(seq=99, order_id="ord-99")]
    )
    difference = compare(
        settings(), recording(inputs, [*outputs[:slice_index], added, *outputs[slice_index + 1 :]])
    ).difference
    assert difference is not None and difference.replayed is None and difference.name == "ord-99"


def test_first_difference_is_the_earliest_topic_of_the_earliest_slice() -> None:
    inputs = market(60)
    outputs, _ = with_record_changed(platform_output(inputs, settings()), Order, 5, risk_epoch=3)
    outputs, row = with_record_changed(outputs, Signal, 0, price=1.0)
    difference = compare(settings(), recording(inputs, outputs)).difference
    assert difference is not None and difference.topic == "signals" and difference.replayed == row


def test_an_edited_bar_file_is_found_by_its_first_changed_bar(tmp_path: Path) -> None:
    """The recorded run has read the files as they were. The first record that differs names the bar as its cause."""
    files = write_tape(tmp_path / "tape", 3, 60)
    recorded = tape_slices(settings(), files)
    outputs = platform_output(recorded, settings())
    lines = files[0].read_text().splitlines()
    time, symbol, opened, high, low, close, volume = lines[30].split(",")
    assert float(close) != float(low)
    lines[30] = ",".join([time, symbol, opened, high, low, low, volume])
    files[0].write_text("\n".join(lines) + "\n")
    edited = tape_slices(settings(), files)
    [(before, after)] = [
        (one, other)
        for earlier, later in zip(recorded, edited, strict=True)
        for one, other in zip(earlier.records, later.records, strict=True)
        if one != other
    ]
    assert type(before) is Bar and type(after) is Bar
    difference = compare(settings(), recording(edited, outputs)).difference
    assert difference is not None and (difference.topic, difference.ts_ns) == ("features", before.ts_ns)
    assert difference.causes == [bar_id(before.symbol, before.seq)]
    assert ("close", before.close, after.close) in difference.fields
    assert compare(settings(), recording(recorded, outputs)).difference is None


CLOCK_STRATEGY = """
import time
from operators.strategies import TargetView

class WallClock:
    name, features = "wall_clock", ()

    def decide(self, row, state):
        return None, TargetView(1, time.time_ns() % 1_000_000 / 1_000_000, 1.0, {})
"""


def test_operator_that_reads_the_clock_is_detected(tmp_path: Path) -> None:
    file = tmp_path / "wall_clock.py"
    file.write_text(CLOCK_STRATEGY)
    platform_settings = settings(signals={"strategies": [{"name": f"{file}:WallClock"}]})
    inputs = market(30)
    difference = compare(platform_settings, recording(inputs, platform_output(inputs, platform_settings))).difference
    assert difference is not None and difference.topic == "signals"
    assert [field.field for field in difference.fields] == ["strength"]
    assert difference.causes == [f"feat-{difference.replayed.symbol}-1"]  # type: ignore[union-attr]


def test_different_settings_are_detected() -> None:
    inputs = market(60)
    outputs = platform_output(inputs, settings())
    other = settings(portfolio_manager={"sizing": {"fraction": "0.03"}})
    difference = compare(other, recording(inputs, outputs)).difference
    assert difference is not None and difference.topic == "order-proposals"
    stricter = settings(risk_manager=settings().risk_manager.__dict__ | {"max_order_notional": 100})
    difference = compare(stricter, recording(inputs, outputs)).difference
    assert difference is not None and (difference.name, difference.replayed) == ("ord-1", None)
    assert type(difference.instead) is OrderRefusal and difference.instead.check == "max_order_notional"


def test_only_the_window_is_compared_with_the_state_of_all_before_it() -> None:
    inputs = market(60)
    outputs, original = with_record_changed(platform_output(inputs, settings()), Signal, 2, strength=0.5)
    before, after = ReplayWindow(to_ns=original.ts_ns - 1), ReplayWindow(from_ns=original.ts_ns + 1)
    result = compare(settings(), recording(inputs, outputs), after)
    assert result.difference is None and result.first_ns > original.ts_ns and result.last_ns == inputs[-1].ts_ns
    result = compare(settings(), recording(inputs, outputs), before)
    assert result.difference is None and result.last_ns < original.ts_ns
    assert (
        compare(settings(), recording(inputs, outputs), ReplayWindow(original.ts_ns, original.ts_ns)).difference
        is not None
    )


def test_a_recording_that_ends_early_is_compared_as_far_as_it_goes() -> None:
    inputs = market(60)
    outputs = platform_output(inputs, settings())
    result = compare(settings(), recording(inputs, outputs[:45]))
    assert (result.difference, result.ticks) == (None, 45)


def test_missing_slice_is_a_difference() -> None:
    inputs = market(20)
    outputs = platform_output(inputs, settings())
    difference = compare(settings(), recording(inputs, [*outputs[:7], *outputs[8:]])).difference
    assert difference is not None and (difference.ts_ns, difference.missing_tick) == (
        inputs[7].ts_ns,
        "in the inputs, but not recorded by any stage",
    )
    difference = compare(settings(), recording([*inputs[:7], *inputs[8:]], outputs)).difference
    assert difference is not None and difference.ts_ns == inputs[7].ts_ns and "recorded, but" in difference.missing_tick


def test_nan_values_compare_equal() -> None:
    inputs = market(12)
    record = next(
        r for time_slice in platform_output(inputs, settings()) for r in time_slice.records if type(r) is Signal
    )
    nan = record._replace(price=float("nan"))
    other = record._replace(price=float("nan"))
    assert first_difference(1, [nan], [other]) is None
    assert first_difference(1, [nan], [record]) is not None


def test_pipeline_can_be_restored_at_any_slice() -> None:
    inputs = market(40)
    uninterrupted = platform_output(inputs, settings())
    for cut in (1, 13, 27):
        first, second = Pipeline(settings()), Pipeline(settings())
        for ts_ns, records in inputs[:cut]:
            first.on_slice(ts_ns, records)
        second.restore(first.snapshot())
        rest = [TimeSlice(ts_ns, derived_records(second.on_slice(ts_ns, records))) for ts_ns, records in inputs[cut:]]
        assert rest == uninterrupted[cut:]


@pytest.mark.parametrize("length", [1500, pytest.param(2500, marks=pytest.mark.long)])
def test_memory_does_not_grow_with_the_length(length: int) -> None:
    platform_settings = settings()

    def long_market() -> Iterator[TimeSlice]:
        for n in range(1, length + 1):
            ts_ns = START_NS + n * MINUTE_NS
            yield TimeSlice(ts_ns, [bar("A", n, ts_ns, 100.0 + n % 7)])

    pipeline = Pipeline(platform_settings)
    outputs = (TimeSlice(ts_ns, pipeline.on_slice(ts_ns, records)) for ts_ns, records in long_market())
    sizes: list[int] = []

    def sample_memory(_: Any) -> None:
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        result = compare(platform_settings, Recording(long_market(), outputs), progress=sample_memory)
    finally:
        tracemalloc.stop()
    assert result.difference is None and result.ticks == length
    assert sizes[-1] - sizes[0] < 50 * (length - 500), f"grew by {sizes[-1] - sizes[0]} bytes since slice 500"


def test_reworded_texts_are_no_difference_but_changed_figures_are() -> None:
    recorded = refusal(1, 1, "A", found="150.5 USD", limit="100 USD", message="the order is too large")
    reworded = recorded._replace(found="USD 150.5", limit="USD 100", message="Order value exceeds the limit.")
    assert first_difference(1, [recorded], [reworded]) is None
    difference = first_difference(1, [recorded], [reworded._replace(limit="USD 90")])
    assert difference is not None
    assert [field.field for field in difference.fields] == ["limit"]

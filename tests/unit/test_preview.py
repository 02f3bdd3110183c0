"""The preview of a configuration: the counts of a fork on each side, and errors that name the cause."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from dataflows.replay.fork import fork
from dataflows.replay.preview import preview_tree
from dataflows.replay.settings_change import SettingsChange
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import TRADE, Execution, LotMatch, Order, OrderRefusal
from tests.builders import configuration, signal
from tests.unit.tape import market, platform_output, recording, settings

INPUTS = market(80)
OUTPUTS = platform_output(INPUTS, settings())
SINCE_NS = INPUTS[40].ts_ns


def run_preview(since_ns: int = SINCE_NS, inputs: list[TimeSlice] = INPUTS, **limits: Any) -> dict[str, Any]:
    changed = settings(risk_manager=settings().risk_manager.__dict__ | limits)
    result = preview_tree(fork(settings(), SettingsChange(changed, since_ns), recording(inputs, OUTPUTS)))
    assert json.loads(json.dumps(result)) == result, "it is sent as JSON"
    return result


def test_a_preview_counts_what_a_fork_counts() -> None:
    """The recorded side equals counts over the records, and the changed side a run with the changed limit."""
    result = run_preview(max_order_notional=1)
    later = [record for time_slice in OUTPUTS[40:] for record in time_slice.records]
    recorded, changed = result["recorded"], result["changed"]
    assert recorded["orders"] == sum(type(one) is Order for one in later) > 3
    assert recorded["fills"] == sum(type(one) is Execution and one.exec_type == TRADE for one in later)
    assert Decimal(recorded["realized_pnl"]) == sum(one.pnl for one in later if type(one) is LotMatch)
    assert sum(recorded["rejections"].values()) == sum(type(one) is OrderRefusal for one in later)
    assert changed["orders"] == 0 and changed["rejections"]["max_order_notional"] > 3
    assert result["differing_time_slices"] >= len(result["differences"]) > 0
    first = result["differences"][0]
    assert first["ts_ns"] >= SINCE_NS and "rejected by max_order_notional" in first["changed"][0]
    assert (result["time_slices"], result["until_ns"], result["configurations"]) == (40, INPUTS[-1].ts_ns, 0)


def test_a_preview_without_an_effect_has_no_differences() -> None:
    result = run_preview(max_order_notional=10**9)
    assert result["recorded"] == result["changed"] and result["differences"] == []


def test_a_preview_counts_the_configurations_of_its_period() -> None:
    def with_configuration(index: int) -> list[TimeSlice]:
        return [
            TimeSlice(ts_ns, [configuration(1, settings()), *records] if number == index else records)
            for number, (ts_ns, records) in enumerate(INPUTS)
        ]

    assert run_preview(inputs=with_configuration(20))["configurations"] == 0
    assert run_preview(inputs=with_configuration(60))["configurations"] == 1


def test_a_preview_without_time_slices_and_one_that_does_not_replay_are_errors() -> None:
    with pytest.raises(BadInput, match="no time slices at or after 2024-01-02T15:51:00Z"):
        run_preview(INPUTS[-1].ts_ns + 60_000_000_000)
    ts_ns, records = OUTPUTS[20]
    altered = [*OUTPUTS[:20], TimeSlice(ts_ns, [*records, signal("AAPL", 999, ts_ns)]), *OUTPUTS[21:]]
    with pytest.raises(BadInput, match=r"does not replay: the first difference is at .*; print it with .*replay-check"):
        preview_tree(fork(settings(), SettingsChange(settings(), SINCE_NS), recording(INPUTS, altered)))

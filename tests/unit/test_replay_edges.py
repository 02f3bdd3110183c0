"""`replay-check` over quotes, headlines, filings, model answers and rates: equal, or it names the first difference."""

from __future__ import annotations

from typing import Any

import pytest

from dataflows.replay.comparison import compare
from operators.stage import TimeSlice
from schemas.records import Fundamentals, LlmAnswer, NewsItem, Record, Signal
from tests.unit.edge_tape import HEADLINE_INDEXES, edge_market, edge_settings, with_record_replaced
from tests.unit.tape import platform_output, recording


@pytest.fixture(scope="module")
def session() -> tuple[list[TimeSlice], list[TimeSlice]]:
    inputs = edge_market()
    return inputs, platform_output(inputs, edge_settings())


def first_of(time_slices: list[TimeSlice], kind: type) -> Any:
    return next(record for time_slice in time_slices for record in time_slice.records if type(record) is kind)


def test_a_session_of_all_edges_replays_to_the_same_records(session: tuple[list[TimeSlice], list[TimeSlice]]) -> None:
    inputs, outputs = session
    result = compare(edge_settings(), recording(inputs, outputs))
    assert (result.difference, result.ticks) == (None, 60)
    expected_counts = {"Bar": 180, "Quote": 180, "NewsItem": 3, "Fundamentals": 3, "LlmAnswer": 2, "ExchangeRate": 3}
    assert result.given == expected_counts
    strategies = {record.strategy for time_slice in outputs for record in time_slice.records if type(record) is Signal}
    assert strategies == {"ema_cross", "sentiment", "fundamental_value", "ensemble"}
    assert result.records["StrategyWeights"] > 0 and result.records["Execution"] > 0


@pytest.mark.parametrize(
    ("kind", "changes", "topic", "name", "slices_later"),
    [
        (NewsItem, {"headline": "Profit misses estimates"}, "llm-requests", "LlmRequest", 0),
        (LlmAnswer, {"answer": "{}"}, "sentiment", "sent-1", 3),
        (Fundamentals, {"facts": {"eps": 0.1}}, "signals", "sig-AAPL-3", 1),
    ],
)
def test_first_record_affected_by_a_change_is_reported(
    session: tuple[list[TimeSlice], list[TimeSlice]],
    kind: type[Record],
    changes: dict[str, Any],
    topic: str,
    name: str,
    slices_later: int,
) -> None:
    inputs, outputs = session
    original = first_of(inputs, kind)
    difference = compare(
        edge_settings(), recording(with_record_replaced(inputs, original, original._replace(**changes)), outputs)
    ).difference
    assert difference is not None
    ts_ns = inputs[HEADLINE_INDEXES[0] + slices_later].ts_ns
    assert (difference.topic, difference.name, difference.ts_ns) == (topic, name, ts_ns)


def test_removed_headline_is_reported_by_its_missing_request(session: tuple[list[TimeSlice], list[TimeSlice]]) -> None:
    inputs, outputs = session
    original = first_of(inputs, NewsItem)
    without = [TimeSlice(ts_ns, [record for record in records if record != original]) for ts_ns, records in inputs]
    difference = compare(edge_settings(), recording(without, outputs)).difference
    assert difference is not None and difference.recorded is not None and difference.replayed is None
    assert (difference.topic, difference.ts_ns) == ("llm-requests", inputs[HEADLINE_INDEXES[0]].ts_ns)

"""`replay-check` over quotes, headlines, filings, a model's answers and rates: equal, or the first is named."""

from __future__ import annotations

from typing import Any

import pytest

from dataflows.replay.comparison import compare
from operators.stage import Tick
from schemas.records import Fundamentals, LlmAnswer, NewsItem, Record, Signal
from tests.unit.edge_tape import ASKED_AT, changed, edge_market, edge_settings
from tests.unit.tape import decided, recorded


@pytest.fixture(scope="module")
def session() -> tuple[list[Tick], list[Tick]]:
    given = edge_market()
    return given, decided(given, edge_settings())


def first_of(ticks: list[Tick], kind: type) -> Any:
    return next(record for tick in ticks for record in tick.records if type(record) is kind)


def test_a_session_of_all_edges_replays_to_the_same_records(session: tuple[list[Tick], list[Tick]]) -> None:
    given, made = session
    result = compare(edge_settings(), recorded(given, made))
    assert (result.difference, result.ticks) == (None, 60)
    told = {"Bar": 180, "Quote": 180, "NewsItem": 3, "Fundamentals": 3, "LlmAnswer": 2, "ExchangeRate": 3}
    assert result.given == told
    spoke = {record.strategy for tick in made for record in tick.records if type(record) is Signal}
    assert spoke == {"ema_cross", "sentiment", "fundamental_value", "ensemble"}
    assert result.records["StrategyWeights"] > 0 and result.records["Execution"] > 0


@pytest.mark.parametrize(
    ("kind", "instead", "topic", "name", "ticks_later"),
    [
        (NewsItem, {"headline": "Profit misses estimates"}, "llm-requests", "LlmRequest", 0),
        (LlmAnswer, {"answer": "{}"}, "sentiment", "sent-1", 3),
        (Fundamentals, {"facts": {"eps": 0.1}}, "signals", "sig-AAPL-3", 1),
    ],
)
def test_the_first_record_that_a_changed_one_changes_is_named(
    session: tuple[list[Tick], list[Tick]],
    kind: type[Record],
    instead: dict[str, Any],
    topic: str,
    name: str,
    ticks_later: int,
) -> None:
    given, made = session
    was = first_of(given, kind)
    found = compare(edge_settings(), recorded(changed(given, was, was._replace(**instead)), made)).difference
    assert found is not None
    at = given[ASKED_AT[0] + ticks_later].ts_ns
    assert (found.topic, found.name, found.ts_ns) == (topic, name, at)


def test_a_headline_that_was_removed_is_named_by_the_question_about_it(session: tuple[list[Tick], list[Tick]]) -> None:
    given, made = session
    was = first_of(given, NewsItem)
    without = [Tick(ts_ns, [record for record in records if record != was]) for ts_ns, records in given]
    found = compare(edge_settings(), recorded(without, made)).difference
    assert found is not None and found.recorded is not None and found.replayed is None
    assert (found.topic, found.ts_ns) == ("llm-requests", given[ASKED_AT[0]].ts_ns)

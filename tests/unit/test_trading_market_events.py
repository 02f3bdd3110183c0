"""Quotes, headlines, sentiment scores and filings reach the trading strategies that declare them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from dataflows.runtime import topology
from operators.alignment import AlignedLogs
from operators.strategies import TradingStrategy
from operators.trading import market_events
from operators.trading.market_events import EVENT_NAMES, TOPICS, EventName
from operators.trading.stage import TradingStrategyStage
from schemas.errors import BadInput
from schemas.records import Clock, Fundamentals, NewsItem, Quote, Record, SentimentScore
from tests.builders import fundamentals, news_item, quote, sentiment_score
from tests.unit.trading_harness import bars, feed, minute, notes, stage_of


class Informed(TradingStrategy):
    """Note each event with its cause."""

    symbols = ("KO",)

    def __init__(self, *events: Any) -> None:
        self.events = events

    def on_event(self, ctx: Any, event: Any) -> None:
        symbols = "+".join(event.symbols) if event.kind == "NEWS" else event.symbol
        ctx.note(f"{event.kind} {symbols}".strip())


def every_event(symbol: str = "KO") -> list[Record]:
    return [
        quote(symbol, 3, minute(1), 99, 101),
        fundamentals(f"fund-{symbol}", 1, symbol),
        news_item(f"news-{symbol}", 1, (symbol, "OTHER")),
        sentiment_score(4, minute(1), symbol),
        *bars(1, symbol),
    ]


ALL_NOTES = {"quotes": "QUOTE KO", "news": "NEWS KO+OTHER", "sentiment": "SENTIMENT KO", "filings": "FILING KO"}


@pytest.mark.parametrize("declared", [(), ("news",), ("filings", "quotes"), EVENT_NAMES])
def test_a_strategy_receives_the_events_that_it_declares(declared: tuple[str, ...]) -> None:
    actions = feed(stage_of(Informed(*declared)), [every_event()])
    assert notes(actions) == [text for name, text in ALL_NOTES.items() if name in declared]


def test_an_event_is_the_cause_of_what_the_strategy_does() -> None:
    actions = feed(stage_of(Informed(*EVENT_NAMES)), [every_event()])
    assert [one.cause_ids for one in actions] == [["quote-KO-3"], ["news-KO"], ["sent-4"], ["fund-KO"]]


def test_events_of_other_symbols_do_not_reach_a_strategy() -> None:
    assert notes(feed(stage_of(Informed(*EVENT_NAMES)), [every_event("PEP")])) == []


def test_a_headline_without_symbols_reaches_every_strategy() -> None:
    assert notes(feed(stage_of(Informed("news")), [[news_item("n", 1, ()), *bars(1, "KO")]])) == ["NEWS"]


def test_an_event_needs_no_bar() -> None:
    assert notes(feed(stage_of(Informed("quotes")), [[quote("KO", 1, minute(1), 99, 101)]])) == ["QUOTE KO"]


@pytest.mark.parametrize("crash", [False, True])
def test_a_duplicate_headline_or_filing_is_delivered_once(crash: bool) -> None:
    stage = stage_of(Informed("news", "filings"))
    found = notes(feed(stage, [every_event()]))
    if crash:
        restored = stage_of(Informed("news", "filings"))
        restored.restore(stage.snapshot())
        stage = restored
    assert found + notes(feed(stage, [every_event()], 2)) == ["NEWS KO+OTHER", "FILING KO"]


def test_the_memory_of_ids_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_events, "IDS_MAX", 2)
    stage = stage_of(Informed("news"))
    assert len(feed(stage, [[news_item(f"n{number}", 1, ("KO",)) for number in range(9)]])) == 9
    repeated = feed(stage, [[news_item(f"n{number}", 1, ("KO",)) for number in (8, 7, 1)]], 2)
    assert [one.cause_ids for one in repeated] == [["n1"]]


class Quoted(TradingStrategy):
    symbols = ("KO", "PEP")
    events: Sequence[EventName] = ("quotes",)

    def on_slice(self, ctx: Any) -> None:
        newest = ctx.quote("KO")
        ctx.note("none" if newest is None else f"{newest.bid:g}/{newest.ask:g} {ctx.quote('PEP')}")


@pytest.mark.parametrize("crash", [False, True])
def test_the_context_shows_the_newest_quote(crash: bool) -> None:
    stage = stage_of(Quoted())
    quoted = [quote("KO", 1, minute(2), 97, 98), quote("KO", 2, minute(2), 99, 101), *bars(2, "KO")]
    found = notes(feed(stage, [bars(1, "KO"), quoted]))
    if crash:
        restored = stage_of(Quoted())
        restored.restore(stage.snapshot())
        stage = restored
    assert found + notes(feed(stage, [bars(3, "KO")], 3)) == ["none", "99/101 None", "99/101 None"]


def test_a_quote_that_is_not_declared_is_an_error_in_a_sentence() -> None:
    class Undeclared(Quoted):
        events = ()

    actions = feed(stage_of(Undeclared()), [bars(1, "KO")])
    assert [one.kind for one in actions] == ["SUSPENDED"]
    assert actions[0].arguments["message"] == 'quotes are not declared; add events = ("quotes",) to the strategy'


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("quotes", r"`events` must be a tuple of names, such as \(\"quotes\",\), found 'quotes'"),
        (5, "`events` must be a tuple of names"),
        (
            ("quote",),
            "`events` must only contain quotes, news, sentiment, filings, found 'quote'; did you mean quotes?",
        ),
        ((5,), "`events` must only contain quotes, news, sentiment, filings, found 5"),
    ],
)
def test_an_invalid_declaration_is_rejected(declared: Any, message: str) -> None:
    class Wrong(TradingStrategy):
        events = declared

    with pytest.raises(BadInput, match=message):
        stage_of(Wrong())


def test_a_snapshot_of_version_2_is_restored_without_events() -> None:
    stage = stage_of(Informed("news"))
    feed(stage, [every_event()])
    version, *parts, later, _ = stage.snapshot()
    assert version == 4
    restored: TradingStrategyStage = stage_of(Informed("news"))
    restored.restore((2, *parts, later[:3]))
    assert notes(feed(restored, [[news_item("n2", 1, ("KO",))]], 2)) == ["NEWS KO"]


@pytest.mark.parametrize(
    ("declared", "unread"),
    [((), {"market-quotes", "news"}), (("news",), {"market-quotes"}), (("quotes", "filings"), {"news"})],
)
def test_the_stage_names_the_topics_that_it_needs_only_for_events(declared: Any, unread: set[str]) -> None:
    needed = stage_of(Informed(*declared)).event_topics
    assert set(TOPICS.values()) - set(needed) == unread
    read = {log.topic for log in topology.input_logs("strategies", topology.GLOBAL_SHARD, 2, unread)}
    everything = {log.topic for log in topology.input_logs("strategies", topology.GLOBAL_SHARD, 2)}
    assert everything - read == unread


def test_a_topic_that_is_added_to_a_running_service_starts_at_its_state() -> None:
    """Quotes up to the snapshot are skipped, and none of them counts as late."""
    logs = topology.input_logs("strategies", topology.GLOBAL_SHARD, 1)
    without = [log for log in logs if log.topic not in TOPICS.values()]
    reader = AlignedLogs("strategies", without)
    for log in without:
        reader.feed(log.topic, log.partition, [(0, Clock(minute(1), "test"))])
    assert [one.ts_ns for one in reader.take_slices()] == [minute(1)]
    added = AlignedLogs("strategies", logs, reader.snapshot())
    for log in logs:
        start, messages = added.next_offsets()[log.topic, log.partition], list[Any]()
        if log.topic == "market-quotes":
            messages = [quote("KO", 1, minute(1), 97, 98), Clock(minute(1), "test")]
            messages += [quote("KO", 2, minute(2), 99, 101)]
        messages.append(Clock(minute(2), "test"))
        added.feed(log.topic, log.partition, [(start + number, one) for number, one in enumerate(messages)])
    (time_slice,) = added.take_slices()
    assert (time_slice.ts_ns, list(time_slice.records)) == (minute(2), [quote("KO", 2, minute(2), 99, 101)])
    assert (added.counts.late, added.counts.gaps) == (0, 0)


def test_the_records_name_their_kind() -> None:
    kinds = {type(one): one.kind for one in every_event() if isinstance(one, Quote | NewsItem | Fundamentals)}
    assert kinds == {Quote: "QUOTE", NewsItem: "NEWS", Fundamentals: "FILING"}
    score = sentiment_score(1, 1, "KO")
    assert isinstance(score, SentimentScore) and score.kind == "SENTIMENT"

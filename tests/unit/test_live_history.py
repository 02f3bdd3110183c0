"""A live feed loads the bars before its start, for the symbols that have no bar yet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from configs.settings import LiveFeedSection
from dataflows.sources.market.alpaca import AlpacaHistory, AlpacaOptions
from dataflows.sources.market.clock_recovery import FeedTopicState
from dataflows.sources.market.live_feed import LiveFeed
from dataflows.sources.market.provider import RowsBySymbol
from operators.features import FeatureStage
from operators.stage import TimeSlice
from schemas.records import Bar, FeatureRow, HistoryBar, HistoryRow
from tests.unit.test_live_feed import MINUTE_NS, SECOND_NS, START_NS, FakeProvider, row
from tests.unit.trading_harness import Scripted, stage_of

COUNT = 5


class ProviderWithHistory(FakeProvider):
    """A provider with a bar of A in each minute before the start, and of B in every second one."""

    def __init__(self, name: str = "first") -> None:
        super().__init__(name)
        self.requests: list[tuple[int, int, bool]] = []
        for number in range(1, 20):
            rows: RowsBySymbol = {"A": row("A", 100.0 - number)}
            if number % 2:
                rows["B"] = row("B", 50.0 - number)
            self.history_by_minute[START_NS - number * MINUTE_NS] = rows

    def history(self, first_open_ns: int, end_ns: int, *, adjusted: bool = False) -> dict[int, RowsBySymbol]:
        self.requests.append((first_open_ns, end_ns, adjusted))
        return super().history(first_open_ns, end_ns)


class Run:
    """A feed of A and B whose wall clock a test controls."""

    def __init__(self, *providers: FakeProvider, written: FeedTopicState | None = None) -> None:
        self.now = START_NS
        settings = LiveFeedSection(symbols=("A", "B"), calendar="24/7")
        self.feed = LiveFeed(
            settings, providers, lambda _: written or FeedTopicState(), now_ns=lambda: self.now, history_bars=COUNT
        )

    def take_at(self, seconds: float) -> list[TimeSlice]:
        self.now = START_NS + round(seconds * SECOND_NS)
        return self.feed.take(100)


def history_of(time_slices: Sequence[TimeSlice]) -> list[HistoryBar]:
    return [record for t in time_slices for record in t.records if type(record) is HistoryBar]


def test_the_bars_before_the_start_are_in_the_first_time_slice() -> None:
    provider = ProviderWithHistory()
    run = Run(provider)
    first, *later = run.take_at(0.5)
    history = history_of([first])
    assert provider.requests == [(START_NS - COUNT * MINUTE_NS, START_NS, True)]
    assert [(r.symbol, r.seq, r.close, r.traded) for r in history] == [
        ("A", 1, 95.0, True),
        ("A", 2, 96.0, True),
        ("A", 3, 97.0, True),
        ("A", 4, 98.0, True),
        ("A", 5, 99.0, True),
        ("B", 1, 45.0, True),
        ("B", 2, 45.0, False),
        ("B", 3, 47.0, True),
        ("B", 4, 47.0, False),
        ("B", 5, 49.0, True),
    ]
    assert {record.ts_ns for record in history} == {first.ts_ns}
    assert [record.end_ns for record in history[:5]] == [START_NS - n * MINUTE_NS for n in (4, 3, 2, 1, 0)]
    assert {record.adjusted_day for record in history} == {20260101}
    provider.bar(START_NS, "A", 100.0)
    provider.bar(START_NS, "B", 50.0)
    later += run.take_at(61)
    assert not history_of(later)
    assert [(r.symbol, r.seq) for t in later for r in t.records if type(r) is Bar] == [("A", 1), ("B", 1)]


def test_the_next_provider_is_asked_if_the_first_has_no_bars() -> None:
    second = ProviderWithHistory("second")
    assert len(history_of(Run(FakeProvider(), second).take_at(0))) == 2 * COUNT


def test_without_history_the_feed_starts_as_before() -> None:
    provider = FakeProvider()
    run = Run(provider)
    assert [t.ts_ns for t in run.take_at(0)] == [START_NS]
    provider.bar(START_NS, "A", 10.0)
    provider.bar(START_NS, "B", 20.0)
    assert not history_of(run.take_at(61))


def test_a_restart_loads_only_symbols_without_a_bar() -> None:
    """B was added to the settings, or has not traded yet."""
    provider = ProviderWithHistory()
    before = Run(provider)
    before.take_at(0)
    provider.bar(START_NS, "A", 100.0)
    before.take_at(66)
    state = before.feed.state()
    after = Run(provider)
    after.now = START_NS + 70 * SECOND_NS
    provider.history_by_minute[START_NS] = {"A": row("A", 100.0)}
    history = history_of(after.feed.resume(state).take(100))
    assert {record.symbol for record in history} == {"B"}
    assert [record.seq for record in history] == [6, 7, 8, 9], "numbers continue; B has four bars in the window"


def test_a_start_interrupted_while_it_wrote_the_history_continues_the_numbers() -> None:
    """The readers receive both runs in one time slice and use each bar once."""
    provider = ProviderWithHistory()
    interrupted = history_of(Run(provider).take_at(0))[:3]
    written = FeedTopicState(history={"A": 3})
    [first] = Run(provider, written=written).take_at(0.25)
    repeated = history_of([first])
    assert [record.seq for record in repeated if record.symbol == "A"] == [4, 5, 6, 7, 8]
    in_one_slice, at_once = FeatureStage(["sma_5"]), FeatureStage(["sma_5"])
    in_one_slice.on_slice(first.ts_ns, [*interrupted, *repeated])
    at_once.on_slice(first.ts_ns, repeated)
    assert in_one_slice.snapshot()[2] == at_once.snapshot()[2]


def test_indicators_are_warm_at_the_first_live_bar() -> None:
    provider = ProviderWithHistory()
    run, stage = Run(provider), FeatureStage(["sma_5"])
    time_slices = run.take_at(0)
    provider.bar(START_NS, "A", 100.0)
    provider.bar(START_NS, "B", 50.0)
    time_slices += run.take_at(61)
    rows = [out for t in time_slices for out in stage.on_slice(t.ts_ns, t.records)]
    assert [type(out) for out in rows] == [HistoryRow] * 2 * COUNT + [FeatureRow] * 2
    assert [out.values for out in rows if type(out) is FeatureRow] == [{"sma_5": 98.0}, {"sma_5": 47.6}]


def test_a_beta_is_warm_at_the_first_live_bar() -> None:
    provider, betas = ProviderWithHistory(), list[float | None]()
    strategy = Scripted(lambda ctx, number: betas.append(ctx.feature("A", "beta_4(B)")), symbols=("A",))
    strategy.features = ("beta_4(B)",)
    run, stage = Run(provider), stage_of(strategy)
    time_slices = run.take_at(0)
    provider.bar(START_NS, "A", 102.0)
    provider.bar(START_NS, "B", 50.0)
    for time_slice in [*time_slices, *run.take_at(61)]:
        stage.on_slice(time_slice.ts_ns, time_slice.records)
    own, other = np.array([96, 97, 98, 99, 102]), np.array([45, 47, 47, 49, 50])
    covariance = np.cov(np.diff(own) / own[:-1], np.diff(other) / other[:-1])
    assert betas[-1] == pytest.approx(covariance[0, 1] / covariance[1, 1], rel=1e-12)


def test_alpaca_adjusts_the_history_for_splits() -> None:
    requests: list[str] = []
    history = AlpacaHistory(AlpacaOptions(key="k", secret="s", live=LiveFeedSection()))

    class Client:
        def get_stock_bars(self, request: object) -> dict[str, object]:
            requests.append(str(request.adjustment.value))  # type: ignore[attr-defined]  # of alpaca-py
            return {}

    history._client = Client()
    history.adjusted_bars(START_NS, START_NS + MINUTE_NS)
    history.bars(START_NS, START_NS + MINUTE_NS)
    assert requests == ["split", "raw"]

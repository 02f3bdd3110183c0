"""The strategies that trade on news sentiment and company fundamentals, alone and in the signal stage."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from configs.strategies import load_strategies
from operators.signals import SignalStage
from operators.strategies.fundamental_value import FundamentalValue
from operators.strategies.sentiment import Sentiment
from schemas.errors import BadInput
from schemas.records import Fundamentals, Record
from tests.builders import feature_row, fundamentals, sentiment_score

HOUR_NS = 3600 * 10**9
DAY_NS = 24 * HOUR_NS
FILED_NS = 1_704_067_200 * 10**9  # 2024-01-01


def filing(number: int = 1, filed: int = 20240101, period_end: int = 20231231, **changes: Any) -> Fundamentals:
    facts = {"eps": 10.0, "equity": 500.0, "shares": 10.0} | changes.get("facts", {})
    ratios = {"return_on_equity": 0.2, "debt_to_equity": 0.5} | changes.get("ratios", {})
    currency = changes.get("currency", "USD")
    return fundamentals(
        f"fund-{number}",
        5,
        "A",
        facts=facts,
        ratios=ratios,
        period_end=period_end,
        filed=filed,
        currency=currency,
    )


def views(strategy: Any, records: list[Record]) -> list[tuple[int, int, tuple[str, ...]]]:
    """Return (record index, direction, causes) for each view."""
    state, changes = None, []
    for index, record in enumerate(records):
        state, view = strategy.decide(record, pickle.loads(pickle.dumps(state)))  # noqa: S301  (its own pickle)
        if view is not None:
            changes.append((index, view.direction, view.causes))
    return changes


def test_good_news_is_followed_until_it_has_faded() -> None:
    """A tone of 0.8 decays to 0.2 after two half-lives. The strategy exits after that."""
    records: list[Record] = [
        sentiment_score(1, 0, "A", 0.8),
        feature_row("A", 1, HOUR_NS),
        feature_row("A", 1, 2 * HOUR_NS),
        feature_row("A", 1, 2 * HOUR_NS + 1),
        feature_row("A", 1, 9 * HOUR_NS),
    ]
    assert views(Sentiment(), records) == [(0, 1, ("sent-1",)), (3, 0, ("sent-1",))]


def test_several_small_headlines_count_together_and_a_contrary_one_cancels_them() -> None:
    tones = ((0.3, 0.9), (0.3, 0.9), (-0.5, 1.0), (-0.7, 1.0))
    records: list[Record] = [
        sentiment_score(n, n, "A", value, confidence=sure) for n, (value, sure) in enumerate(tones, 1)
    ]
    assert views(Sentiment(), records) == [
        (1, 1, ("sent-1", "sent-2")),
        (2, 0, ("sent-1", "sent-2", "sent-3")),
        (3, -1, ("sent-2", "sent-3", "sent-4")),
    ]


def test_an_unsure_score_counts_less() -> None:
    assert views(Sentiment(), [sentiment_score(1, 0, "A", 1.0, confidence=0.4)]) == []


def test_time_without_news_closes_a_position_once() -> None:
    records: list[Record] = [
        sentiment_score(1, 0, "A", -0.9),
        *(feature_row("A", 1, n * HOUR_NS) for n in range(1, 50)),
    ]
    assert [direction for _, direction, _ in views(Sentiment(), records)] == [-1, 0]


def test_cheap_sound_company_is_bought_and_sold_when_expensive() -> None:
    # Entry at 150 or less: P/E 15 x earnings 10, and P/B 3 x book value 50. Exit above 220: P/E 22 x earnings 10.
    closes = (160.0, 150.0, 200.0, 220.0, 220.1, 200.0)
    records: list[Record] = [filing(), *(feature_row("A", 1, FILED_NS + n, close) for n, close in enumerate(closes))]
    assert views(FundamentalValue(), records) == [(2, 1, ("fund-1",)), (5, 0, ("fund-1",))]


@pytest.mark.parametrize(
    "changes",
    [
        {"facts": {"eps": -1.0}},
        {"facts": {"equity": -5.0}},
        {"facts": {"shares": 0.0}},
        {"ratios": {"return_on_equity": 0.05}},
        {"ratios": {"debt_to_equity": 2.0}},
        {"currency": "EUR"},
    ],
)
def test_unsound_company_is_never_bought(changes: dict[str, Any]) -> None:
    assert views(FundamentalValue(), [filing(**changes), feature_row("A", 1, FILED_NS, 0.01)]) == []


def test_failing_new_filing_closes_and_an_older_period_changes_nothing() -> None:
    old = filing(2, filed=20240102, period_end=20230930, facts={"eps": -1.0})
    bad = filing(3, filed=20240301, period_end=20240131, facts={"eps": -1.0})
    records: list[Record] = [
        filing(),
        feature_row("A", 1, FILED_NS),
        old,
        feature_row("A", 1, FILED_NS + DAY_NS),
        bad,
        feature_row("A", 1, FILED_NS + 70 * DAY_NS),
    ]
    assert views(FundamentalValue(), records) == [(1, 1, ("fund-1",)), (5, 0, ("fund-3",))]


def test_old_figures_close_the_position() -> None:
    records: list[Record] = [
        filing(),
        feature_row("A", 1, FILED_NS),
        feature_row("A", 1, FILED_NS + 200 * DAY_NS - 1),
        feature_row("A", 1, FILED_NS + 200 * DAY_NS),
    ]
    assert [(index, direction) for index, direction, _ in views(FundamentalValue(), records)] == [(1, 1), (3, 0)]


def test_stage_signals_name_their_causes() -> None:
    stage = SignalStage([Sentiment(), FundamentalValue()])
    assert stage.on_slice(1, [sentiment_score(1, 1, "A", 0.9), filing()]) == [], "there is no price yet"
    first: Any = stage.on_slice(FILED_NS, [feature_row("A", 1, FILED_NS)])
    assert [(s.strategy, s.direction, s.price, s.cause_ids) for s in first] == [("sentiment", 1, 100.0, ["sent-1"])]
    second: Any = stage.on_slice(FILED_NS + 1, [feature_row("A", 2, FILED_NS + 1)])
    assert [(s.strategy, s.direction, s.cause_ids) for s in second] == [
        ("sentiment", 0, ["sent-1"]),
        ("fundamental_value", 1, ["fund-1"]),
    ]


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("sentiment", {"half_life_s": 0}, "half_life_s must be > 0, found 0"),
        ("sentiment", {"enter": 0.1}, "must satisfy 0 < exit < enter"),
        ("fundamental_value", {"pe_max": "x"}, "pe_max must be a number > 0, found 'x'"),
        ("fundamental_value", {"pe_max": 30}, "pe_max must be below pe_exit"),
    ],
)
def test_invalid_parameters_give_a_one_line_error(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_strategies([{"name": name, "parameters": parameters}])

"""Indicators of the best quote: the spread and the imbalance of the sizes."""

from __future__ import annotations

import pickle

import pytest

from operators.features import FeatureStage
from operators.indicators import INDICATORS, build
from operators.indicators.quoted_spread import QuotedSpread
from schemas.records import SPLIT, DeadLetter, FeatureRow, Quote, Record
from tests.builders import bar, corporate_action, quote

CASES = ("order_imbalance", "quoted_spread")
SPECS = ["quoted_spread", "order_imbalance", "sma_2(quoted_spread)", "sma_2"]


def sized_quote(seq: int, bid: float, ask: float, bid_size: float, ask_size: float) -> Quote:
    return quote("A", seq, seq, bid, ask)._replace(bid_size=bid_size, ask_size=ask_size)


def row_of(stage: FeatureStage, seq: int, *records: Record) -> dict[str, float]:
    """Process the records and a bar in one slice. Return the values."""
    [row] = stage.on_slice(seq, [*records, bar("A", seq, seq, 10.0)])
    assert type(row) is FeatureRow
    return row.values


def test_a_bar_has_the_values_of_the_last_quote_of_its_slice_or_before() -> None:
    stage = FeatureStage(SPECS)
    assert row_of(stage, 1) == {}
    values = row_of(stage, 2, sized_quote(1, 8.0, 9.0, 1.0, 1.0), sized_quote(2, 9.0, 11.0, 300.0, 100.0))
    assert values == {"quoted_spread": pytest.approx(0.2), "order_imbalance": 0.5, "sma_2": 10.0}
    values = row_of(stage, 3)
    assert values["sma_2(quoted_spread)"] == values["quoted_spread"] == pytest.approx(0.2)
    values = row_of(stage, 4, sized_quote(3, 10.0, 10.0, 0.0, 50.0))
    assert (values["quoted_spread"], values["order_imbalance"]) == (0.0, -1.0)
    assert values["sma_2(quoted_spread)"] == pytest.approx(0.1)


def test_a_value_is_absent_without_two_sides() -> None:
    stage = FeatureStage(SPECS)
    row_of(stage, 1)
    assert row_of(stage, 2, sized_quote(1, 0.0, 11.0, 0.0, 0.0)) == {"sma_2": 10.0}


def test_quotes_of_other_symbols_and_before_the_first_bar_are_skipped() -> None:
    stage = FeatureStage(["quoted_spread"])
    assert row_of(stage, 1, quote("A", 1, 1, 9.0, 11.0), quote("B", 1, 1, 9.0, 11.0)) == {}
    assert row_of(stage, 2, quote("B", 2, 2, 9.0, 11.0)) == {}
    assert row_of(stage, 3, quote("A", 2, 3, 9.0, 11.0)) == {"quoted_spread": pytest.approx(0.2)}


def test_a_restart_after_any_slice_and_a_split_change_no_value() -> None:
    stage, restarted = FeatureStage(SPECS), FeatureStage(SPECS)
    quotes = [sized_quote(seq, 9.0 + seq % 3, 13.0, 100.0 * seq, 50.0) for seq in range(1, 8)]
    split = corporate_action("s", SPLIT, "A", ratio=4)
    for seq in range(1, 8):
        records: list[Record] = [quotes[seq - 1]] if seq % 2 else []
        if seq == 6:
            before, after = row_of(stage, seq), row_of(stage, seq + 1, split)
            for name in ("quoted_spread", "order_imbalance", "sma_2(quoted_spread)"):
                assert after[name] == pytest.approx(before[name])
            return
        expected = row_of(stage, seq, *records)
        assert row_of(restarted, seq, *records) == expected
        snapshot = pickle.loads(pickle.dumps(restarted.snapshot()))  # noqa: S301 - our own, made here
        restarted = FeatureStage(SPECS)
        restarted.restore(snapshot)


def test_an_indicator_that_raises_on_a_quote_is_suspended_for_its_symbol(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: QuotedSpread, quote: Quote) -> None:
        raise ValueError("no such quote")

    monkeypatch.setattr(QuotedSpread, "update_quote", failing)
    stage = FeatureStage(SPECS)
    row_of(stage, 1)
    row, *letters = stage.on_slice(2, [quote("A", 1, 2, 9.0, 11.0), bar("A", 2, 2, 10.0)])
    assert type(row) is FeatureRow and set(row.values) == {"order_imbalance", "sma_2"}
    assert [letter.topic for letter in letters if type(letter) is DeadLetter] == [
        "indicator:quoted_spread/A",
        "indicator:sma_2(quoted_spread)/A",
    ]
    assert set(row_of(stage, 3, quote("A", 2, 3, 9.0, 11.0))) == {"order_imbalance", "sma_2"}


def test_only_these_indicators_read_quotes() -> None:
    assert {kind for kind, one in INDICATORS.items() if one.reads_quotes} == set(CASES)
    assert build("sma_2(quoted_spread)").components[0].reads_quotes

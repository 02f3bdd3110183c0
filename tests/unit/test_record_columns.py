"""Records of every readable topic become one table, also of topics with several types of records."""

from __future__ import annotations

import pytest

from dataflows.research.record_columns import frame_of, record_table, record_types
from dataflows.research.topics import READABLE
from schemas.records import Record
from tests.builders import corporate_action, exchange_rate, feature_row


@pytest.mark.parametrize("topic", READABLE)
def test_a_topic_without_records_is_an_empty_table(topic: str) -> None:
    kinds = record_types(topic)
    table = record_table(kinds, [])
    assert len(table) == 0 and table.column_names[0] == ("time" if len(kinds) == 1 else "type")


def test_a_column_with_two_types_is_text() -> None:
    """The limit of a risk event is text, that of a usage a number."""
    frame = frame_of(record_table(record_types("risk-events"), []))
    assert frame["limit"].dtype == "str"


def test_records_of_several_types_remain_in_their_order() -> None:
    records: list[Record] = [
        exchange_rate("rate-1", "1.1", ts_ns=1),
        corporate_action("action-1", "SPLIT", "A", ts_ns=2, ratio=2),
        exchange_rate("rate-2", "1.2", ts_ns=3),
    ]
    frame = frame_of(record_table(record_types("reference-data"), records))
    assert list(frame["type"]) == ["ExchangeRate", "CorporateAction", "ExchangeRate"]
    assert [time.value for time in frame["time"]] == [1, 2, 3]
    assert frame["rate"].isna().tolist() == [False, True, False] and frame["ratio"].iloc[1] == 2.0


def test_features_are_columns_that_a_row_can_lack() -> None:
    rows = [feature_row("A", 1, 1, values={"ema_5": 1.5}), feature_row("A", 2, 2, values={"rsi_3": 70.0})]
    frame = frame_of(record_table(record_types("features"), rows))
    assert frame["ema_5"].isna().tolist() == [False, True] and frame["rsi_3"].iloc[1] == 70.0

"""Trading strategies see the user's own data from the time at which it is available."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataflows.sources.tape import Tape, TapeFiles
from operators.bar_completion import FeedSettings
from operators.strategies import TradingStrategy
from operators.trading import user_data
from schemas.errors import BadInput
from schemas.records import DataRow, DeadLetter, Record
from tests.unit.trading_harness import bars, feed, minute, notes, stage_of


def row(number: float, close: float, *, name: str = "vix", symbol: str = "", row_id: str = "") -> DataRow:
    """Build a row that is available at the minute `number`."""
    ts_ns = minute(0) + round(number * 60) * 10**9
    return DataRow(row_id or f"data-{name}-{symbol}-{number}-{close}", ts_ns, name, symbol, {"close": close}, "test")


class Vix(TradingStrategy):
    """Note each row, and the newest one in each time slice."""

    symbols = ("KO",)
    data = ("vix",)

    def on_event(self, ctx: Any, event: Any) -> None:
        ctx.note(f"{event.kind} {event.name}{event.symbol} {event.values['close']:g}")

    def on_slice(self, ctx: Any) -> None:
        newest = ctx.data("vix")
        ctx.note("none" if newest is None else f"{newest.values['close']:g}")


def run(*slices: list[Record], crash_at: int | None = None) -> list[str]:
    """Return the notes of the strategy over time slices with a bar each, and restore it before one of them."""
    stage, out = stage_of(Vix()), list[str]()
    for number, records in enumerate(slices, start=1):
        if number == crash_at:
            restored = stage_of(Vix())
            restored.restore(stage.snapshot())
            stage = restored
        out += notes(feed(stage, [[*records, *bars(number, "KO")]], number))
    return out


@pytest.mark.parametrize("crash_at", [None, 1, 2, 3, 4])
def test_a_row_counts_from_the_time_at_which_it_is_available(crash_at: int | None) -> None:
    """The row of minute 2.5 is published with the first time slice."""
    found = run([row(0.5, 14), row(2.5, 15)], [], [], [], crash_at=crash_at)
    assert found == ["DATA vix 14", "14", "14", "DATA vix 15", "15", "15"]


def test_of_rows_that_come_after_their_time_only_the_newest_is_an_event() -> None:
    found = run([row(-3, 11), row(-1, 13), row(-2, 12)], [row(-9, 1)], [row(1.5, 14), row(0.5, 9)])
    assert found == ["DATA vix 13", "13", "13", "DATA vix 14", "14"]


def test_rows_of_one_time_slice_are_events_in_order_of_time() -> None:
    assert run([], [row(1.75, 12), row(1.5, 11)])[1:] == ["DATA vix 11", "DATA vix 12", "12"]


def test_duplicates_and_undeclared_names_have_no_effect() -> None:
    found = run([row(0.5, 14), row(0.5, 14), row(0.5, 99, name="other")], [row(0.5, 14)])
    assert found == ["DATA vix 14", "14", "14"]


def test_a_long_file_that_is_published_twice_has_no_effect_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than are remembered by id: those of one symbol after those of the other."""
    monkeypatch.setattr(user_data, "ROW_IDS_MAX", 3)
    rows: list[Record] = [row(0.1 * number, number, symbol=symbol) for symbol in ("KO", "PEP") for number in (1, 2, 3)]
    future: list[Record] = [row(3.5, 7), *(row(9, number, symbol="PEP") for number in range(4))]
    found = run([*rows, *future], [*rows, *future], [], [])
    assert found == ["DATA vixKO 3", "DATA vixPEP 3", "none", "none", "none", "DATA vix 7", "7"]


def test_rows_of_symbols_are_separate() -> None:
    class Short(TradingStrategy):
        symbols = ("KO", "PEP")
        data = ("short_interest",)

        def on_slice(self, ctx: Any) -> None:
            rows = [ctx.data("short_interest", symbol) for symbol in ctx.universe]
            ctx.note(" ".join("-" if one is None else f"{one.values['close']:g}" for one in rows))

    records: list[Record] = [row(0, 3, name="short_interest", symbol="PEP"), *bars(1, "KO")]
    assert notes(feed(stage_of(Short()), [records])) == ["- 3"]


def test_data_that_is_not_declared_is_an_error_in_a_sentence() -> None:
    class Undeclared(Vix):
        data = ("vixx",)

    actions = feed(stage_of(Undeclared()), [bars(1, "KO")])
    assert [one.kind for one in actions] == ["SUSPENDED"]
    assert actions[0].arguments["message"] == "data 'vix' is not declared; did you mean vixx? Declared: vixx"


@pytest.mark.parametrize("declared", ["vix", ("",), 5])
def test_an_invalid_declaration_is_rejected(declared: Any) -> None:
    class Wrong(TradingStrategy):
        data = declared

    with pytest.raises(BadInput, match="`data` must be a tuple of names of your data"):
        stage_of(Wrong())


def read(folder: Path, text: str, name: str = "vix.csv", **settings: Any) -> list[Record]:
    """Return all records and dead letters of a file of data."""
    (folder / name).write_text(text)
    tape = Tape(TapeFiles(data=[folder / name]), FeedSettings(**settings))
    records, dead_letters = tape.pop_until(minute(10), minute(9), minute(8))
    return [*records, *dead_letters]


def test_a_file_becomes_rows_with_its_name(tmp_path: Path) -> None:
    rows = ["2024-01-01,2024-01-02T14:31:00Z,13.5,", "2024-01-02,2024-01-02T14:32:00Z,14,0.5"]
    text = "\n".join(["date,available_at,Close,change", *rows])
    first, second = read(tmp_path, text)
    assert type(first) is DataRow
    assert (first.name, first.symbol, first.values, first.ts_ns) == ("vix", "", {"close": 13.5}, minute(1))
    assert type(second) is DataRow
    assert (second.values, second.ts_ns, second.source) == ({"close": 14.0, "change": 0.5}, minute(2), "file:vix.csv")
    assert read(tmp_path, text)[0] == first, "the id depends on the content only"
    assert first.row_id != second.row_id


def test_a_selection_of_symbols_does_not_apply_to_data(tmp_path: Path) -> None:
    """The data may be about a symbol that is not traded."""
    text = "available_at,symbol,close\n2024-01-02T14:31:00Z,^VIX,13.5\n"
    assert [one.symbol for one in read(tmp_path, text, symbols=("KO",)) if type(one) is DataRow] == ["^VIX"]


def test_malformed_rows_become_dead_letters(tmp_path: Path) -> None:
    rows = ["2024-01-02T14:31:00Z,13.5", "2024-01-02T14:32:00Z,high", "yesterday,14", "2024-01-02T14:33:00Z,"]
    text = "\n".join(["available_at,close", *rows])
    reasons = [one.reason for one in read(tmp_path, text) if type(one) is DeadLetter]
    assert reasons == [
        "field close must be a number, found 'high'",
        "field available_at must be an ISO time or an epoch number, found 'yesterday'",
        "row must have a number besides available_at, symbol and name, found none",
    ]


def test_a_file_without_the_column_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no column for available_at; its columns are date, close"):
        read(tmp_path, "date,close\n2024-01-02,13.5\n")

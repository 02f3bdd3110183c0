"""Quotes, reference data, news and fundamentals from files: time slices, resume after a restart, and dead letters."""

from __future__ import annotations

import gzip
import json
import pickle
import random
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dataflows.sources.file_feed import FileFeed
from dataflows.sources.row_times import iso
from dataflows.sources.tape import Tape, TapeFiles
from operators.bar_completion import FeedSettings
from operators.stage import TimeSlice
from schemas.codec import decode, encode
from schemas.errors import BadInput
from schemas.records import Bar, CorporateAction, DeadLetter, ExchangeRate, Fundamentals, NewsItem, Quote

MINUTE_NS = 60 * 10**9
BARS = "ts_open_utc,symbol,open,high,low,close,volume\n" + "".join(
    f"2013-10-07T13:3{minute}:00Z,{symbol},10,11,9,10,100\n" for minute in range(6) for symbol in "AB"
)
QUOTES = """time,symbol,bid,ask,bid_size,ask_size
2013-10-07T13:29:59Z,A,9,10,1,1
2013-10-07T13:30:59.5Z,B,9.9,10.1,3,4
2013-10-07T13:30:59.5Z,A,9.9,10.1,3,4
2013-10-07T13:31:00Z,A,9.8,10.1,,
2013-10-07T13:31:00.000000001Z,A,9.7,10.1,1,1
"""
NEWS = """published,headline,symbols,url
2013-10-05T13:00:00Z,Two days old,A,
2013-10-07T09:00:00Z,In the night,A,
2013-10-07T13:32:30Z,"Rises, and how",A B;A,http://x/1
2013-10-07T13:40:00Z,After the last bar,A,
"""
REFERENCE = """kind,symbol,ex_date,ratio,amount,new_symbol,time,base,quote,rate,pay_date
SPLIT,A,2013-10-07,4:1,,,,,,,
cash dividend,B,20131008,,0.25,,2013-10-07T13:33:00Z,,,,2013-11-01
EXCHANGE_RATE,,,,,,2013-10-07T13:31:30Z,EUR,USD,1.3575,
SYMBOL_CHANGE,B,2013-10-07,,,C,,,,,
DELISTING,A,,,1.5,,2013-10-07T13:34:01Z,,,,
"""
FILINGS = [
    {
        "symbol": "A",
        "filed": "2013-08-01",
        "period_end": "2013-06-30",
        "form": "10-Q",
        "revenue": 200,
        "net_income": 30,
    },
    {"symbol": "A", "filed": 20131006, "period_end": 20130630, "facts": {"eps": 2.5}, "ratios": {"own": 1.0}},
    {"symbol": "B", "filed": "2013-10-07", "period_end": "2013-06-30", "revenue": 1, "time": "2013-10-07T13:33:30Z"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("bars", BARS), ("quotes", QUOTES), ("news", NEWS), ("reference", REFERENCE)):
        (tmp_path / f"{name}.csv").write_text(text)
    (tmp_path / "filings.jsonl").write_text("\n".join(map(json.dumps, FILINGS)))
    return tmp_path


def tape(folder: Path, settings: FeedSettings | None = None, **files: str) -> Tape:
    named = files or {"quotes": "quotes.csv", "reference_data": "reference.csv", "news": "news.csv"} | {
        "fundamentals": "filings.jsonl"
    }
    return Tape(TapeFiles(**{kind: [folder / name] for kind, name in named.items()}), settings or FeedSettings())


def feed(folder: Path, settings: FeedSettings | None = None, **files: str) -> FileFeed:
    return FileFeed([folder / "bars.csv"], settings, tape(folder, settings, **files))


def non_bar_records(time_slice: TimeSlice) -> list[Any]:
    return [record for record in time_slice.records if not isinstance(record, Bar)]


def test_each_record_is_in_the_first_slice_at_or_after_its_time(folder: Path) -> None:
    time_slices = list(feed(folder))
    assert [iso(time_slice.ts_ns)[11:16] for time_slice in time_slices] == [
        "13:31",
        "13:32",
        "13:33",
        "13:34",
        "13:35",
        "13:36",
    ]
    summaries = [[_summary(record) for record in non_bar_records(time_slice)] for time_slice in time_slices]
    assert summaries == [
        # quotes by time, symbol and seq; then reference data, news and fundamentals, each by time
        ["A 1 9.9", "B 1 9.9", "A 2 9.8", "SPLIT A", "SYMBOL_CHANGE B", "In the night", "A 20130801", "A 20131006"],
        ["A 3 9.7", "EUR 1.3575"],
        ["CASH_DIVIDEND B", "Rises, and how"],
        ["B 20131007"],
        ["DELISTING A"],
        [],
    ]
    kinds = [[isinstance(record, Bar) for record in time_slice.records] for time_slice in time_slices]
    assert all(is_bar == sorted(is_bar) for is_bar in kinds), "bars stand behind what else the tick holds"


def _summary(record: Any) -> str:
    if isinstance(record, Quote):
        return f"{record.symbol} {record.seq} {record.bid}"
    if isinstance(record, NewsItem):
        return record.headline
    if isinstance(record, Fundamentals):
        return f"{record.symbol} {record.filed}"
    if isinstance(record, ExchangeRate):
        return f"{record.base} {record.rate.normalize()}"
    return f"{record.kind} {record.symbol}"


def test_records_equal_their_rows_and_survive_encoding(folder: Path) -> None:
    records = [record for time_slice in feed(folder) for record in non_bar_records(time_slice)]
    for record in records:
        assert decode(encode(record)) == record
    kinds: tuple[type, ...] = (CorporateAction, NewsItem, Fundamentals)
    by_type: dict[type, list[Any]] = {kind: [r for r in records if isinstance(r, kind)] for kind in kinds}
    split, change, dividend, delisting = by_type[CorporateAction]
    assert (split.ratio, split.ex_date, iso(split.ts_ns)) == (Decimal(4), 20131007, "2013-10-07T00:00:00Z")
    assert (dividend.amount, dividend.pay_date, dividend.ex_date) == (Decimal("0.25"), 20131101, 20131008)
    assert (change.new_symbol, delisting.amount, delisting.source) == ("C", Decimal("1.5"), "file:reference.csv")
    assert by_type[NewsItem][1].symbols == ["A", "B"]
    first, second, _ = by_type[Fundamentals]
    assert (first.facts, first.ratios) == ({"revenue": 200.0, "net_income": 30.0}, {"net_margin": 0.15})
    assert (second.facts, second.ratios) == ({"eps": 2.5}, {"own": 1.0})
    assert iso(first.ts_ns) == "2013-08-02T04:00:00Z", "a filing without a time is known when its day is over"


def test_ids_depend_only_on_the_content(folder: Path) -> None:
    ids = [
        record[0]
        for time_slice in feed(folder)
        for record in non_bar_records(time_slice)
        if not isinstance(record, Quote)
    ]
    repeated = [
        record[0]
        for time_slice in feed(folder)
        for record in non_bar_records(time_slice)
        if not isinstance(record, Quote)
    ]
    assert ids == repeated
    assert len(set(ids)) == len(ids)


def test_feed_resumed_after_any_slice_gives_the_rest(folder: Path) -> None:
    with (folder / "news.csv").open("a") as file:
        file.write("2013-10-07T13:31:30Z,Out of order,B,\nno time,Bad,B,\n")
    uninterrupted = list(feed(folder))
    for count in range(len(uninterrupted)):
        first = feed(folder)
        first_part = first.take(count)
        second = feed(folder).resume(pickle.loads(pickle.dumps(first.state())))  # noqa: S301  (its own pickle)
        assert first_part + list(second) == uninterrupted
        assert second.counts.others == 15


def test_feed_cannot_resume_with_other_files(folder: Path) -> None:
    state = feed(folder).state()
    with pytest.raises(BadInput, match="cannot continue without files of quotes"):
        FileFeed([folder / "bars.csv"]).resume(state)
    with pytest.raises(BadInput, match=r"cannot continue with \['news/news.csv'\]"):
        feed(folder, news="news.csv").resume(state)


def test_files_not_ordered_by_time_give_the_same_slices(folder: Path) -> None:
    ordered = list(feed(folder))
    for name in ("news.csv", "reference.csv"):
        header, *rows = (folder / name).read_text().splitlines()
        random.Random(3).shuffle(rows)
        (folder / name).write_text("\n".join([header, *rows]))
    (folder / "filings.jsonl").write_text("\n".join(map(json.dumps, reversed(FILINGS))))
    assert list(feed(folder)) == ordered


def test_gzip_and_json_lines_give_the_same_records_as_csv(folder: Path) -> None:
    from_csv = [non_bar_records(time_slice) for time_slice in feed(folder, news="news.csv")]
    header, *rows = NEWS.replace('"Rises, and how"', "Rises").splitlines()
    objects: list[dict[str, Any]] = [dict(zip(header.split(","), row.split(","), strict=True)) for row in rows]
    objects[2] |= {"headline": "Rises, and how", "symbols": ["A", "B"]}
    with gzip.open(folder / "news.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, objects)))
    from_json = [non_bar_records(time_slice) for time_slice in feed(folder, news="news.jsonl.gz")]
    assert [[r._replace(source="", news_id="") for r in time_slice] for time_slice in from_json] == [
        [r._replace(source="", news_id="") for r in time_slice] for time_slice in from_csv
    ]


def test_only_the_symbols_of_the_settings_are_given(folder: Path) -> None:
    records = [
        record for time_slice in feed(folder, FeedSettings(symbols=("A",))) for record in non_bar_records(time_slice)
    ]
    assert {record.symbol for record in records if hasattr(record, "symbol")} == {"A"}
    assert any(isinstance(record, ExchangeRate) for record in records)


BAD_ROWS = [
    ("quotes", "2013-10-07T13:31:30Z,A,9,8,1,1", "field ask must be >= bid 9.0 and finite, found 8.0"),
    ("quotes", "2013-10-07T13:31:30Z,A,x,8,1,1", "field bid must be a number, found 'x'"),
    ("quotes", "2013-10-07T13:31:30Z,A,9,10,1", "row must have 6 columns, found 5"),
    (
        "quotes",
        "2013-10-07T13:30:00Z,A,9,10,1,1",
        "field time must not be before 2013-10-07T13:31:00.000000001Z, ",
    ),
    ("news", "soon,Headline,A,", "field published must be an ISO time or an epoch number, found 'soon'"),
    ("news", ",Headline,A,", "field time must be an ISO time or an epoch number, found nothing"),
    ("news", "2013-10-07T13:31:30Z,,A,", "field headline must be a text, found nothing"),
    (
        "reference",
        "MERGER,A,,,,,,,,,",
        "field kind must be one of SPLIT, STOCK_DIVIDEND, CASH_DIVIDEND, SYMBOL_CHANGE, ",
    ),
    ("reference", "SPLIT,A,2013-10-07,0,,,,,,,", "field ratio must be a number > 0, found '0'"),
    ("reference", "SPLIT,A,2013-10-07,,,,,,,,", "field ratio must be a text, found nothing"),
    ("reference", "SPLIT,A,,2,,,,,,,", "field ex_date must be a date where the row has no time, found nothing"),
    ("reference", "SPLIT,A,2013-02-30,2,,,,,,,", "field ex_date must be a date such as 2024-11-01, found '2013-02-30'"),
    ("reference", "SYMBOL_CHANGE,A,2013-10-07,,,,,,,,", "field new_symbol must be a text, found nothing"),
    ("reference", "EXCHANGE_RATE,,,,,,2013-10-07T13:31:30Z,EUR,EUR,1,", "field quote must be another currency than "),
    (
        "reference",
        "EXCHANGE_RATE,,,,,,2013-10-07T13:31:30Z,EUR,USD,nan,",
        "field rate must be a number > 0, found 'nan'",
    ),
    ("filings", '{"symbol": "A"}', "field filed must be a text, found nothing"),
    ("filings", '{"symbol": "A", "filed": 20130801, "period_end": 20130630}', "field facts must hold one of revenue, "),
    (
        "filings",
        '{"symbol": "A", "filed": 20130801, "period_end": 20130630, "facts": {"eps": "?"}}',
        "field eps must be",
    ),
    ("filings", "[1]", "row must be a JSON object, found [1]"),
    ("filings", "{", "row must be a JSON object, found '{'"),
]


@pytest.mark.parametrize(("name", "row", "reason"), BAD_ROWS)
def test_a_bad_row_is_a_dead_letter_with_file_line_reason_and_bytes(
    folder: Path, name: str, row: str, reason: str
) -> None:
    path = next(folder.glob(f"{name}.*"))
    text = path.read_text()
    good_records = [record for time_slice in feed(folder) for record in non_bar_records(time_slice)]
    path.write_text(text if text.endswith("\n") else text + "\n")
    with path.open("a") as file:
        file.write(f"{row}\n")
    # The last headline is later than the last bar. Remove it, so that the bad row is not later too.
    if name == "news":
        path.write_text(path.read_text().replace("2013-10-07T13:40:00Z,After the last bar,A,\n", ""))
    records = [record for time_slice in feed(folder) for record in non_bar_records(time_slice)]
    (dead_letter,) = [record for record in records if isinstance(record, DeadLetter)]
    assert [record for record in records if record is not dead_letter] == good_records
    assert dead_letter.topic == f"file:{path.name}"
    assert dead_letter.reason.startswith(reason)
    assert (dead_letter.raw, dead_letter.offset) == (row.encode(), len(path.read_text().splitlines()))


def test_dead_letter_is_last_in_the_slice_of_the_preceding_good_row(folder: Path) -> None:
    (folder / "news.csv").write_text(NEWS.replace("2013-10-07T13:40", "bad,row,,\n2013-10-07T13:40"))
    time_slices = list(feed(folder, news="news.csv"))
    dead_letter = time_slices[2].records[-1]
    assert isinstance(dead_letter, DeadLetter)
    assert (dead_letter.offset, dead_letter.ts_ns, dead_letter.stage) == (5, time_slices[1].ts_ns, "market_data")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("n.csv", "time,title\n", "has no column for headline; its columns are time, title"),
        ("n.csv", "", "is empty or starts with an empty line"),
        ("n.xml", "", "is neither CSV, JSON lines nor Parquet"),
        ("n.csv", "time,headline\nnever,x\nnever,y\n", "the first bad row is line 2: field time must be an ISO time"),
    ],
)
def test_unusable_file_gives_a_one_line_error(folder: Path, name: str, text: str, message: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(BadInput, match=message) as error:
        list(feed(folder, news=name))
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_is_reported_before_anything_runs(folder: Path) -> None:
    for name in ("gone.csv", "gone.jsonl"):
        with pytest.raises(BadInput, match=f"{name} does not exist"):
            tape(folder, news=name)


def test_a_headline_without_symbols_is_given_to_the_tagger(folder: Path) -> None:
    (folder / "n.csv").write_text("time,headline,symbols\n2013-10-07T13:31:30Z,About $A,\n2013-10-07T13:31:31Z,x,B\n")
    tagged_tape = Tape(TapeFiles(news=[folder / "n.csv"]), FeedSettings(), lambda text: ["A"] if "$A" in text else [])
    items = [
        r for time_slice in FileFeed([folder / "bars.csv"], None, tagged_tape) for r in non_bar_records(time_slice)
    ]
    assert [item.symbols for item in items] == [["A"], ["B"]]


@pytest.mark.parametrize("most", [10_000, pytest.param(40_000, marks=pytest.mark.long)])
def test_memory_does_not_grow_with_the_number_of_quotes(tmp_path: Path, most: int) -> None:
    def peak(quotes: int) -> int:
        path = tmp_path / f"{quotes}.csv"
        with path.open("w") as file:
            file.write("time,symbol,bid,ask\n")
            file.writelines(f"{1381152600000 + n},A,9,10\n" for n in range(quotes))
        quote_tape = Tape(TapeFiles(quotes=[path]), FeedSettings())
        tracemalloc.start()
        count = sum(len(quote_tape.pop_until(ts_ns, ts_ns - 1000, 0)[0]) for ts_ns in _seconds(quotes))
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == quotes
        return peak_bytes

    assert peak(most) < peak(most // 10) + 1_000_000, "a quote that stays is 300 bytes or more"


def _seconds(quotes: int) -> Iterator[int]:
    start = int(datetime(2013, 10, 7, 13, 30, tzinfo=UTC).timestamp()) * 10**9
    return (start + n * 10**9 for n in range(quotes // 1000 + 2))

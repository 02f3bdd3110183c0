"""Python programs read recorded topics from a real Kafka: as frames, as bars, and in a backtest."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from dataflows.replay.recording import DERIVED_TOPICS, INPUT_TOPICS
from dataflows.research import backtest, load_bars, sql, topics
from dataflows.research.recorded_platform import recorded_platform
from dataflows.research.topics import TopicPeriod, read_table
from dataflows.sources.row_times import iso
from operators.stage import TimeSlice
from schemas.errors import BadInput, Unavailable
from schemas.records import Bar, Record
from sinks.postgres import PostgresWriter
from tests.builders import corporate_action, exchange_rate
from tests.integration.recorded_platform import cli, make_topics, write
from tests.replay.market import write_market
from tests.replay.runs import SETTINGS_FILE, read_time_slices
from tests.unit.tape import platform_output, settings


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_market(tmp_path_factory.mktemp("bars"), symbols=("A", "B", "C"))


@pytest.fixture(scope="module")
def recorded(kafka: str, bars: list[Path]) -> tuple[str, list[TimeSlice]]:
    """The prefix of topics with the bars, reference data and what the platform derives from the bars, and the bars."""
    slices = read_time_slices(bars)
    middle_ns = slices[50].ts_ns
    known: list[Record] = [
        exchange_rate("rate-1", "1.1", ts_ns=middle_ns),
        corporate_action("split-1", "SPLIT", "A", ts_ns=middle_ns, ratio=2),
    ]
    given = [TimeSlice(ts, [*known, *records]) if ts == middle_ns else TimeSlice(ts, records) for ts, records in slices]
    derived = platform_output(given[:120], settings())
    prefix = make_topics(kafka)
    write(kafka, prefix, given, INPUT_TOPICS)
    write(kafka, prefix, derived, DERIVED_TOPICS)
    return prefix, slices


@pytest.fixture
def platform(
    kafka: str, recorded: tuple[str, list[TimeSlice]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[TimeSlice]:
    """Set the environment of a program that uses this platform, and return the time slices of the bars."""
    prefix, slices = recorded
    for name, value in (
        ("KAFKA_BOOTSTRAP_SERVERS", kafka),
        ("KAFKA__TOPIC_PREFIX", prefix),
        ("PLATFORM_HOME", tmp_path),
    ):
        monkeypatch.setenv(name, str(value))
    return slices


def test_a_topic_is_a_frame_of_a_period_and_of_symbols(platform: list[TimeSlice]) -> None:
    first, last = platform[10].ts_ns, platform[100].ts_ns
    frame = topics.read("features", start=iso(first), end=pd.Timestamp(last, tz="UTC"), symbols=["A", "B"])
    assert frame["time"].dtype == "datetime64[ns, UTC]" and frame["close"].dtype == "float64"
    assert frame["time"].iloc[0].value == first and frame["time"].max().value < last
    bars = [one for time_slice in platform[10:100] for one in time_slice.records if type(one) is Bar]
    expected = [(one.ts_ns, one.symbol, one.close) for one in bars if one.symbol in ("A", "B")]
    found = zip((time.value for time in frame["time"]), frame["symbol"], frame["close"], strict=True)
    assert list(found) == expected and {"A", "B"} == set(frame["symbol"])
    assert {"ema_2", "ema_4", "rsi_3"} <= set(frame.columns) and frame["ema_2"].notna().any()
    bar_frame = topics.read("market-bars", start=iso(first), end=iso(last), symbols=["A", "B"])
    pd.testing.assert_frame_equal(bar_frame[["time", "symbol", "close"]], frame[["time", "symbol", "close"]])
    assert bar_frame["open_time"].iloc[0] == frame["time"].iloc[0] - pd.Timedelta("1min")


def test_as_of_leaves_out_what_was_not_known_yet(platform: list[TimeSlice]) -> None:
    known = topics.read("reference-data")
    assert list(known["type"]) == ["ExchangeRate", "CorporateAction"]
    assert known["rate"].iloc[0] == 1.1 and known["symbol"].iloc[1] == "A" and pd.isna(known["rate"].iloc[1])
    assert topics.read("reference-data", as_of=iso(platform[49].ts_ns)).empty
    assert len(topics.read("reference-data", as_of=iso(platform[50].ts_ns))) == 2
    assert len(topics.read("reference-data", symbols=["B"])) == 1, "records without a symbol remain"


def test_every_topic_with_a_clock_is_a_table(platform: list[TimeSlice]) -> None:
    with recorded_platform() as platform_settings:
        tables = {topic: read_table(platform_settings, topic, TopicPeriod()) for topic in topics.READABLE}
    assert {"market-bars", "features", "signals", "valuations"} <= {name for name, one in tables.items() if len(one)}
    assert all(one.column_names[0] in ("time", "type") for one in tables.values())


def test_recorded_bars_are_those_of_the_files_and_give_the_hash_of_the_command(
    platform: list[TimeSlice], bars: list[Path], tmp_path: Path
) -> None:
    start = iso(platform[100].ts_ns)
    pd.testing.assert_frame_equal(
        load_bars("topics:A,C", start=start), load_bars([bars[0], bars[2]], start=start), check_exact=True
    )
    options = ("--settings", str(SETTINGS_FILE), "--start", start, "--json", "-")
    completed = cli(tmp_path, "backtest", "--bars", "topics:A,C", *options)
    assert completed.returncode == 0, completed.stderr
    result = backtest(None, "topics:", settings=SETTINGS_FILE, start=start, symbols=["A", "C"])
    assert result.summary["fills"] > 10
    assert result.decision_hash == json.loads(completed.stdout)["decision_hash"]
    assert result.sources.data == ("topics:A,C",)


def test_an_error_is_one_sentence(platform: list[TimeSlice], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match=r"^unknown topic 'featurs'; did you mean features\?$"):
        topics.read("featurs")
    with pytest.raises(BadInput, match=r"^start must be an ISO date or time such as 2024-01-31, found 'soon'$"):
        topics.read("features", start="soon")
    with pytest.raises(BadInput, match=r"^no recorded bars of symbol 'AA' in this period; did you mean A\?$"):
        load_bars("topics:AA")
    with pytest.raises(BadInput, match=r"^symbols are set twice, found A in the bars and B$"):
        backtest("ema_cross", "topics:A", symbols=["B"])
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS")
    with pytest.raises(Unavailable, match=r"^no recorded topics in .*; start the platform first with"):
        topics.read("features")


def test_sql_joins_topics_with_tables_of_postgres(
    platform: list[TimeSlice], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    bars = [one for time_slice in platform[:60] for one in time_slice.records if type(one) is Bar]
    with closing(PostgresWriter(database_url, name="test")) as writer:
        writer.write(bars)
    query = """
        SELECT t.symbol, count(*) AS bars, max(abs(t.close - p.close)) AS difference, max(p.time) AS last
        FROM topics.market_bars t JOIN postgres.bars p USING (symbol, time) GROUP BY ALL ORDER BY ALL
    """
    frame = sql(query)
    assert dict(zip(frame["symbol"], frame["bars"], strict=True)) == Counter(one.symbol for one in bars)
    assert set(frame["difference"]) == {0.0} and frame["last"].max().value == bars[-1].ts_ns
    assert len(sql("SELECT * FROM topics.market_bars", rows_max=7)) == 7
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:none@127.0.0.1:9/none")
    with pytest.raises(Unavailable, match=r"^PostgreSQL does not respond: .*; start the platform first$"):
        sql("SELECT * FROM postgres.bars")

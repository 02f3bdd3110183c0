"""A tape with more than bars: the staged services and the fused backtest read and write the same."""

from __future__ import annotations

import json
import random
from datetime import time
from pathlib import Path

import pytest

from configs.settings import Settings
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.tape import Tape, TapeFiles
from operators.alignment import AlignedLogs
from operators.log_cursor import LogInput
from operators.sentiment import LlmSettings, SentimentSettings, SentimentStage
from operators.stage import TimeSlice
from schemas.codec import decode
from schemas.records import BY_SYMBOL, TOPIC_OF, LlmAnswer, LlmRequest, NewsItem, Quote, SentimentScore
from tests.builders import llm_answer
from tests.replay.in_memory_platform import InMemoryPlatform, Logs
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import by_topic, fused_hash, in_order, logged_by_topic, pinned_settings, replay, staged_hash

SYMBOLS = ("A", "B", "C")
HEADLINE_TERMS = ("beats", "strong", "loss", "lawsuit", "great", "weak", "growth", "terrible", "not", "good")


def write_tape(folder: Path, seed: int) -> TapeFiles:
    """Write quotes at arbitrary nanoseconds and at the clocks, duplicate headlines, filings and an exchange rate."""
    rng = random.Random(seed)
    start = 1_710_162_000_000_000_000  # 2024-03-11 09:00 in New York
    times = sorted(
        start + rng.choice((rng.randrange(150 * 60 * 10**9), 60 * 10**9 * rng.randrange(150))) for _ in range(500)
    )
    quotes = [
        f"{ns},{rng.choice(SYMBOLS)},{10 + rng.random():.2f},{11 + rng.random():.2f},1,{1 + n % 9}"
        for n, ns in enumerate(times)
    ]
    (folder / "quotes.csv").write_text("\n".join(["time,symbol,bid,ask,bid_size,ask_size", *quotes]))
    headlines = [
        {"time": ns, "headline": " ".join(rng.choices(HEADLINE_TERMS, k=4)), "symbols": rng.sample(SYMBOLS, 2)}
        for ns in times[::10]
    ]
    (folder / "news.jsonl").write_text("\n".join(map(json.dumps, [*headlines, *headlines[::3]])))
    filings = [
        {"time": ns, "symbol": rng.choice(SYMBOLS), "filed": 20240311, "period_end": 20231231, "eps": n}
        for n, ns in enumerate(times[::50])
    ]
    (folder / "filings.jsonl").write_text("\n".join(map(json.dumps, filings)))
    (folder / "rates.csv").write_text(f"time,kind,base,quote,rate\n{times[100]},EXCHANGE_RATE,EUR,USD,1.09\n")
    file_names = {
        "quotes": "quotes.csv",
        "news": "news.jsonl",
        "fundamentals": "filings.jsonl",
        "reference_data": "rates.csv",
    }
    return TapeFiles(**{kind: [folder / name] for kind, name in file_names.items()})


@pytest.fixture(scope="module")
def time_slices(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    folder = tmp_path_factory.mktemp("market")
    bars = write_market(folder / "bars", symbols=SYMBOLS, days=[MONDAY], open_time=time(9), minutes=150)
    read_options = pinned_settings().market_data.files
    return list(FileFeed(bars, read_options, Tape(write_tape(folder, 5), read_options)))


@pytest.fixture(scope="module")
def fused_output(time_slices: list[TimeSlice]) -> dict[str, list[str]]:
    """The output of the fused stages by topic. Records of symbol topics are sorted by symbol and `seq`."""
    output = by_topic([record for records in replay(pinned_settings(), time_slices) for record in records])
    assert output["sentiment"], "or the equality would say nothing of news"
    return output


@pytest.mark.parametrize("crashes", [0.0, 0.02])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("partitions", [1, 3])
def test_staged_and_fused_write_the_same(
    time_slices: list[TimeSlice], fused_output: dict[str, list[str]], partitions: int, seed: int, crashes: float
) -> None:
    logs = InMemoryPlatform(pinned_settings(), time_slices, partitions=partitions, seed=seed, crash_rate=crashes).run()
    assert logged_by_topic(logs) == fused_output


def with_answers(time_slices: list[TimeSlice], settings: Settings) -> list[TimeSlice]:
    """Answer two of three requests three time slices later: one validly, one with an error. The third has no answer."""
    stage = SentimentStage(settings.sentiment)
    answers: dict[int, list[LlmAnswer]] = {}
    for number, time_slice in enumerate(time_slices):
        for request in stage.on_slice(time_slice.ts_ns, time_slice.records):
            if isinstance(request, LlmRequest) and request.seq % 3:
                scores = [{"symbol": symbol, "score": 0.5, "confidence": 0.5} for symbol in SYMBOLS]
                text, error = (json.dumps({"scores": scores}), "") if request.seq % 3 == 1 else ("", "away")
                answer = llm_answer(request, text, error=error)
                answers.setdefault(number + 3, []).append(answer)
    return [
        TimeSlice(time_slice.ts_ns, [*answers.get(number, []), *time_slice.records])
        for number, time_slice in enumerate(time_slices)
    ]


def test_a_replay_with_recorded_answers_sends_no_llm_requests(time_slices: list[TimeSlice]) -> None:
    """A replay has the answers as inputs: the fused stages write the same records as the services."""
    llm = LlmSettings(enabled=True, base_url="http://127.0.0.1:9/v1", model="m", timeout_s=300.0)
    llm_settings = pinned_settings().model_copy(update={"sentiment": SentimentSettings(llm=llm)})
    answered_slices = with_answers(time_slices, llm_settings)
    records = [record for output in replay(llm_settings, answered_slices) for record in output]
    scores = [record for record in records if isinstance(record, SentimentScore)]
    score_parts = {"llm", "llm_error", "llm_timeout"}
    assert {name for score in scores for name in score.parts} >= score_parts
    logs = InMemoryPlatform(llm_settings, answered_slices, partitions=2, seed=4, crash_rate=0.01).run()
    for topic in ("sentiment", "llm-requests", "signals", "orders"):
        assert in_order(logs.records(topic)) == in_order([r for r in records if TOPIC_OF[type(r)] == topic])


@pytest.mark.parametrize("shards", [1, 2])
def test_the_backtest_decides_as_the_staged_services_on_any_number_of_shards(
    time_slices: list[TimeSlice], shards: int
) -> None:
    expected_hash = staged_hash(InMemoryPlatform(pinned_settings(), time_slices, partitions=2, seed=9).run())
    assert fused_hash(time_slices, shards=shards) == expected_hash


def test_a_reader_of_quotes_gets_them_in_the_order_of_the_tape(time_slices: list[TimeSlice]) -> None:
    """The order does not depend on the number of partitions. Venue and features read this input as one stage."""
    for partitions in (1, 4):
        logs = Logs(partitions)
        logs.write("market_data", "feed", time_slices)
        log_names = [(topic, p) for topic in ("market-quotes", "market-bars") for p in range(partitions)]
        reader = AlignedLogs("execution", [LogInput(topic, p, int(topic == "market-bars")) for topic, p in log_names])
        for log_name in log_names:
            reader.feed(
                *log_name, [(offset, decode(message)) for offset, message in enumerate(logs.messages[log_name])]
            )
        expected = [[r for r in time_slice.records if type(r) in BY_SYMBOL] for time_slice in time_slices]
        assert [list(time_slice.records) for time_slice in reader.take_slices(10**9)] == expected
    assert sum(type(r) is Quote for time_slice in time_slices for r in time_slice.records) > 300
    assert sum(type(r) is NewsItem for time_slice in time_slices for r in time_slice.records) > 40

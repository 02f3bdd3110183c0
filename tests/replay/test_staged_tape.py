"""A tape that holds more than bars: the staged services and the fused backtest see and say the same of it."""

from __future__ import annotations

import json
import random
from datetime import time
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings
from dataflows.replay.comparison import Pipeline
from dataflows.replay.recording import DERIVED
from dataflows.sources.files import FileFeed
from dataflows.sources.tape import Tape, TapeFiles
from operators.alignment import AlignedLogs, Log
from operators.sentiment import LlmSettings, SentimentSettings, SentimentStage
from operators.stage import Tick
from schemas.codec import decode
from schemas.records import BY_SYMBOL, TOPIC_OF, LlmAnswer, LlmRequest, NewsItem, Quote, SentimentScore
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import fused_hash, settings, staged_hash
from tests.replay.staged import Logs, Staged

SYMBOLS = ("A", "B", "C")
WORDS = ("beats", "strong", "loss", "lawsuit", "great", "weak", "growth", "terrible", "not", "good")


def write_tape(folder: Path, seed: int) -> TapeFiles:
    """Quotes at any nanosecond and at the clocks, headlines that come twice, filings, an exchange rate."""
    dice = random.Random(seed)
    start = 1_710_162_000_000_000_000  # 2024-03-11 09:00 in New York
    times = sorted(
        start + dice.choice((dice.randrange(150 * 60 * 10**9), 60 * 10**9 * dice.randrange(150))) for _ in range(500)
    )
    quotes = [
        f"{ns},{dice.choice(SYMBOLS)},{10 + dice.random():.2f},{11 + dice.random():.2f},1,{1 + n % 9}"
        for n, ns in enumerate(times)
    ]
    (folder / "quotes.csv").write_text("\n".join(["time,symbol,bid,ask,bid_size,ask_size", *quotes]))
    headlines = [
        {"time": ns, "headline": " ".join(dice.choices(WORDS, k=4)), "symbols": dice.sample(SYMBOLS, 2)}
        for ns in times[::10]
    ]
    (folder / "news.jsonl").write_text("\n".join(map(json.dumps, [*headlines, *headlines[::3]])))
    filings = [
        {"time": ns, "symbol": dice.choice(SYMBOLS), "filed": 20240311, "period_end": 20231231, "eps": n}
        for n, ns in enumerate(times[::50])
    ]
    (folder / "filings.jsonl").write_text("\n".join(map(json.dumps, filings)))
    (folder / "rates.csv").write_text(f"time,kind,base,quote,rate\n{times[100]},EXCHANGE_RATE,EUR,USD,1.09\n")
    kinds = {
        "quotes": "quotes.csv",
        "news": "news.jsonl",
        "fundamentals": "filings.jsonl",
        "reference_data": "rates.csv",
    }
    return TapeFiles(**{kind: [folder / name] for kind, name in kinds.items()})


@pytest.fixture(scope="module")
def ticks(tmp_path_factory: pytest.TempPathFactory) -> list[Tick]:
    folder = tmp_path_factory.mktemp("market")
    bars = write_market(folder / "bars", symbols=SYMBOLS, days=[MONDAY], opens=time(9), minutes=150)
    reading = settings().market_data.files.reading()
    return list(FileFeed(bars, reading, Tape(write_tape(folder, 5), reading)))


@pytest.fixture(scope="module")
def fused(ticks: list[Tick]) -> dict[str, list[str]]:
    """What the fused stages write, by topic: topics by symbol in order of symbol and `seq`."""
    pipeline = Pipeline(settings())
    made = [record for tick in ticks for record in pipeline.on_tick(tick.ts_ns, tick.records)]
    out: dict[str, list[Any]] = {topic: [] for topic in DERIVED}
    for record in made:
        out[TOPIC_OF[type(record)]].append(record)
    assert out["sentiment"], "or the equality would say nothing of news"
    return {topic: _in_order(records) for topic, records in out.items()}


def _in_order(records: list[Any]) -> list[str]:
    if records and type(records[0]) in BY_SYMBOL:
        records = sorted(records, key=lambda record: (record.symbol, record.seq))
    return [repr(record) for record in records]


@pytest.mark.parametrize("crashes", [0.0, 0.02])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("partitions", [1, 3])
def test_staged_and_fused_write_the_same(
    ticks: list[Tick], fused: dict[str, list[str]], partitions: int, seed: int, crashes: float
) -> None:
    logs = Staged(settings(), ticks, partitions=partitions, seed=seed, crashes=crashes).run()
    assert {topic: _in_order(logs.records(topic)) for topic in DERIVED} == fused


def with_answers(ticks: list[Tick], decided: Settings) -> list[Tick]:
    """Two of three questions are answered three ticks later: one well, one with an error; the third never."""
    stage = SentimentStage(decided.sentiment)
    extra: dict[int, list[LlmAnswer]] = {}
    for number, tick in enumerate(ticks):
        for asked in stage.on_tick(tick.ts_ns, tick.records):
            if isinstance(asked, LlmRequest) and asked.seq % 3:
                scores = [{"symbol": symbol, "score": 0.5, "confidence": 0.5} for symbol in SYMBOLS]
                text, error = (json.dumps({"scores": scores}), "") if asked.seq % 3 == 1 else ("", "away")
                answer = LlmAnswer(f"a{asked.seq}", 1, *asked[2:], text, 1, 1, error)
                extra.setdefault(number + 3, []).append(answer)
    return [Tick(tick.ts_ns, [*extra.get(number, []), *tick.records]) for number, tick in enumerate(ticks)]


def test_a_run_with_recorded_answers_is_replayed_without_asking(ticks: list[Tick]) -> None:
    """A replay has the answers among its inputs: fused stages over them write what the services wrote."""
    llm = LlmSettings(enabled=True, base_url="http://127.0.0.1:9/v1", model="m", timeout_s=300.0)
    decided = settings().model_copy(update={"sentiment": SentimentSettings(llm=llm)})
    answered = with_answers(ticks, decided)
    pipeline = Pipeline(decided)
    made = [record for tick in answered for record in pipeline.on_tick(tick.ts_ns, tick.records)]
    scores = [record for record in made if isinstance(record, SentimentScore)]
    ways = {"llm", "llm_error", "llm_timeout"}
    assert {name for score in scores for name in score.parts} >= ways
    logs = Staged(decided, answered, partitions=2, seed=4, crashes=0.01).run()
    for topic in ("sentiment", "llm-requests", "signals", "orders"):
        assert _in_order(logs.records(topic)) == _in_order([r for r in made if TOPIC_OF[type(r)] == topic])


@pytest.mark.parametrize("shards", [1, 2])
def test_the_backtest_decides_as_the_staged_services_on_any_number_of_shards(ticks: list[Tick], shards: int) -> None:
    staged = staged_hash(Staged(settings(), ticks, partitions=2, seed=9).run())
    assert fused_hash(ticks, shards=shards) == staged


def test_a_reader_of_quotes_gets_them_in_the_order_of_the_tape(ticks: list[Tick]) -> None:
    """Whatever the number of partitions: the venue's and the features' input, as one stage sees it."""
    for partitions in (1, 4):
        logs = Logs(partitions)
        logs.write("market_data", "feed", ticks)
        names = [(topic, p) for topic in ("market-quotes", "market-bars") for p in range(partitions)]
        reader = AlignedLogs("execution", [Log(topic, p, int(topic == "market-bars")) for topic, p in names])
        for name in names:
            reader.feed(*name, [(at, decode(message)) for at, message in enumerate(logs.messages[name])])
        wanted = [[r for r in tick.records if type(r) in BY_SYMBOL] for tick in ticks]
        assert [list(tick.records) for tick in reader.ticks(10**9)] == wanted
    assert sum(type(r) is Quote for tick in ticks for r in tick.records) > 300
    assert sum(type(r) is NewsItem for tick in ticks for r in tick.records) > 40

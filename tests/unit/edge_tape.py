"""The short market of `tape.py` with other edge records: quotes, headlines, filings, model answers, exchange rates."""

from __future__ import annotations

import json
from typing import Any

from configs.settings import Settings
from operators.stage import TimeSlice
from schemas.records import LlmRequest
from tests.builders import exchange_rate, fundamentals, llm_answer, news_item, quote
from tests.unit.tape import FAST_STRATEGY, SYMBOLS, market, platform_output, settings

STRATEGIES = [
    FAST_STRATEGY,
    {"name": "sentiment", "parameters": {"enter": 0.2, "exit": 0.1}},
    {"name": "fundamental_value"},
]
HEADLINE_INDEXES = (10, 20, 30)
"""Time slices with a headline. The first two get an answer three time slices later, the third none."""
FACTS = {"eps": 20.0, "equity": 1e10, "shares": 1e8, "net_income": 2e9}


def edge_settings() -> Settings:
    """Enable a language model, and an ensemble of the strategies that need no model, with learned weights."""
    llm = {"enabled": True, "base_url": "http://127.0.0.1:9/v1", "model": "m", "timeout_s": 600.0}
    return settings(
        signals={"strategies": STRATEGIES, "ensemble": {"enabled": True, "weights": "learned", "threshold": 0.2}},
        sentiment={"llm": llm},
        feedback={"horizon_bars": 5, "weights_interval_s": 600, "attribution_interval_s": 60},
    )


def edge_market() -> list[TimeSlice]:
    """Build 60 minutes. The edge records carry arbitrary wall-clock times of 2026."""
    wall_ns = 1_790_000_000_000_000_000
    records_by_slice: list[list[Any]] = []
    for number, (ts_ns, bars) in enumerate(market(60)):
        quotes = [quote(symbol, number + 1, ts_ns - 1, 99.0, 99.5) for symbol in SYMBOLS]
        records_by_slice.append([*quotes, *bars])
    for number, index in enumerate(HEADLINE_INDEXES):
        symbol = SYMBOLS[number]
        news = news_item(f"news-{number}", wall_ns, [symbol])
        filing = fundamentals(
            f"fund-{number}", wall_ns, symbol, facts=FACTS, ratios={"return_on_equity": 0.2}, filed=20240101
        )
        rate = exchange_rate(f"rate-{number}", "1.1", ts_ns=wall_ns)
        records_by_slice[index] = [rate, news, filing, *records_by_slice[index]]
    time_slices = [TimeSlice(ts_ns, records) for (ts_ns, _), records in zip(market(60), records_by_slice, strict=True)]
    llm_requests = [
        r
        for time_slice in platform_output(time_slices, edge_settings())
        for r in time_slice.records
        if type(r) is LlmRequest
    ]
    for number, index in enumerate(HEADLINE_INDEXES[:2]):
        text = json.dumps({"scores": [{"symbol": SYMBOLS[number], "score": 0.9, "confidence": 0.9}]})
        answer = llm_answer(llm_requests[number], text, answer_id=f"answer-{number}", ts_ns=wall_ns)
        time_slices[index + 3] = TimeSlice(time_slices[index + 3].ts_ns, [answer, *time_slices[index + 3].records])
    return time_slices


def with_record_replaced(time_slices: list[TimeSlice], old: Any, new: Any) -> list[TimeSlice]:
    """Return the same market with the record `old` replaced by `new`."""
    return [
        TimeSlice(ts_ns, [new if record == old else record for record in records]) for ts_ns, records in time_slices
    ]

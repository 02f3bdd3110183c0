"""The short market of `tape.py` with what edges tell beside bars: quotes, headlines, filings, answers, rates."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from configs.settings import Settings
from operators.stage import Tick
from schemas.records import ExchangeRate, Fundamentals, LlmAnswer, LlmRequest, NewsItem, Quote
from tests.unit.tape import QUICK, SYMBOLS, decided, market, settings

STRATEGIES = [QUICK, {"name": "sentiment", "parameters": {"enter": 0.2, "exit": 0.1}}, {"name": "fundamental_value"}]
ASKED_AT = (10, 20, 30)
"""Ticks with a headline; the first two are answered three ticks later, the third never."""
FACTS = {"eps": 20.0, "equity": 1e10, "shares": 1e8, "net_income": 2e9}


def edge_settings() -> Settings:
    """All strategies that need no model, traded as the ensemble with learned weights; a language model judges."""
    llm = {"enabled": True, "base_url": "http://127.0.0.1:9/v1", "model": "m", "timeout_s": 600.0}
    return settings(
        signals={"strategies": STRATEGIES, "ensemble": {"enabled": True, "weights": "learned", "threshold": 0.2}},
        sentiment={"llm": llm},
        feedback={"horizon_bars": 5, "weights_interval_s": 600, "attribution_interval_s": 60},
    )


def edge_market() -> list[Tick]:
    """60 minutes. Times of edges' records are wall clocks' of 2026, and say nothing."""
    wall_ns = 1_790_000_000_000_000_000
    ticks: list[list[Any]] = []
    for number, (ts_ns, bars) in enumerate(market(60)):
        quotes = [Quote(symbol, number + 1, ts_ns - 1, 99.0, 99.5, 3.0, 4.0) for symbol in SYMBOLS]
        ticks.append([*quotes, *bars])
    for number, at in enumerate(ASKED_AT):
        symbol = SYMBOLS[number]
        news = NewsItem(f"news-{number}", wall_ns, wall_ns, "wire", "Profit beats estimates", "", "", [symbol])
        filing = Fundamentals(
            *(f"fund-{number}", wall_ns, symbol, 20231231, 20240101, "10-K", "sec"),
            FACTS,
            {"return_on_equity": 0.2},
            "USD",
        )
        rate = ExchangeRate(f"rate-{number}", wall_ns, "EUR", "USD", Decimal("1.1"), "bank")
        ticks[at] = [rate, news, filing, *ticks[at]]
    given = [Tick(ts_ns, records) for (ts_ns, _), records in zip(market(60), ticks, strict=True)]
    asked = [r for tick in decided(given, edge_settings()) for r in tick.records if type(r) is LlmRequest]
    for number, at in enumerate(ASKED_AT[:2]):
        text = json.dumps({"scores": [{"symbol": SYMBOLS[number], "score": 0.9, "confidence": 0.9}]})
        answer = LlmAnswer(f"answer-{number}", wall_ns, *asked[number][2:], text, 1, 1, "")
        given[at + 3] = Tick(given[at + 3].ts_ns, [answer, *given[at + 3].records])
    return given


def changed(given: list[Tick], was: Any, becomes: Any) -> list[Tick]:
    """The same with one record in the place of another."""
    return [Tick(ts_ns, [becomes if record == was else record for record in records]) for ts_ns, records in given]

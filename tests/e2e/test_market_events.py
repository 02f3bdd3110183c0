"""Quotes, trades, headlines, filings and halts of files: decisions of real services equal a backtest and a replay."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from datetime import time
from pathlib import Path

import pytest

from dataflows import backtest
from dataflows.replay.comparison import compare
from dataflows.replay.recording import open_recording
from schemas.records import NOTE, SUBMIT_ORDER, SUSPENDED, StrategyAction
from tests import informed_strategy, trade_bar_strategy
from tests.e2e.conftest import MakePlatform
from tests.replay.market import MONDAY, write_market

pytestmark = pytest.mark.timeout(600)

SYMBOLS = ("A", "B", "C")
MINUTES = 30
OPEN_NS = 1_710_163_800 * 10**9  # Monday, 9:30 in New York
SECOND_NS = 10**9


def write_files(folder: Path) -> dict[str, str]:
    """Write quotes, trades, headlines, filings and a halt. Return them by the name of their setting."""
    seconds = range(5, MINUTES * 60, 20)
    quotes = [f"{OPEN_NS + second * SECOND_NS},{SYMBOLS[second // 20 % 3]},5,500" for second in seconds]
    trades = [
        f"{OPEN_NS + second * SECOND_NS},{SYMBOLS[second % 3]},{20 + second * 7 % 11 / 50},{second * 31 % 400 + 1}"
        for second in range(1, MINUTES * 60, 4)
    ]
    news = [
        {
            "time": OPEN_NS + (minute * 60 + 30) * SECOND_NS,
            "headline": ("strong growth beats", "terrible loss, weak")[minute // 2 % 2] + f" {minute}",
            "symbols": [SYMBOLS[minute % 3]],
        }
        for minute in range(1, MINUTES, 2)
    ]
    filings = [f"{OPEN_NS + 600 * SECOND_NS},{symbol},20240311,20231231,2.5" for symbol in SYMBOLS]
    halts = [f"{OPEN_NS + 480 * SECOND_NS},TRADING_HALT,A,T1", f"{OPEN_NS + 1200 * SECOND_NS},TRADING_RESUMED,A,"]
    texts = {
        "quotes.csv": "\n".join(["time,symbol,bid,ask", *quotes]),
        "trades.csv": "\n".join(["time,symbol,price,size", *trades]),
        "news.jsonl": "\n".join(map(json.dumps, news)),
        "filings.csv": "\n".join(["time,symbol,filed,period_end,eps", *filings]),
        "reference.csv": "\n".join(["time,kind,symbol,code", *halts]),
    }
    for name, text in texts.items():
        (folder / name).write_text(text + "\n")
    names = {
        "quotes": "quotes",
        "trades": "trades",
        "news": "news",
        "fundamentals": "filings",
        "reference_data": "reference",
    }
    paths = {name.partition(".")[0]: str(folder / name) for name in texts}
    return {f"MARKET_DATA__FILES__{setting.upper()}": json.dumps([paths[name]]) for setting, name in names.items()}


def test_events_of_files_lead_to_the_same_decisions_live_in_a_backtest_and_in_a_replay(
    make_platform: MakePlatform, tmp_path: Path
) -> None:
    bars = write_market(tmp_path / "bars", symbols=SYMBOLS, days=[MONDAY], open_time=time(9, 30), minutes=MINUTES)
    paths = (f"{informed_strategy.__file__}:Informed", f"{trade_bar_strategy.__file__}:TradeBarStrategy")
    strategies = json.dumps([{"name": path} for path in paths])
    overrides = {"SIGNALS__STRATEGIES": strategies, **write_files(tmp_path)}
    with make_platform(bars, overrides=overrides) as platform:
        platform.start()
        platform.run_to_end()
        settings, logs = platform.read_settings(), platform.logs()
        live_hash = platform.decision_hash()
        with closing(open_recording(settings.kafka, "replay-check")) as recording:
            replayed = compare(settings, recording)
    actions = [one for one in logs.records("strategy-actions") if type(one) is StrategyAction]
    causes = {cause.partition("-")[0] for one in actions if one.strategy == "informed" for cause in one.cause_ids}
    assert causes == {"news", "sent", "fund", "status"}
    assert any(one.kind == NOTE and one.arguments["text"] == "TRADING_HALT A True" for one in actions)
    on_trades = Counter(one.kind for one in actions if one.strategy == "trade_bar_strategy")
    assert on_trades[NOTE] >= 10 and on_trades[SUBMIT_ORDER] and SUSPENDED not in on_trades, on_trades
    assert any(one.check == "exchange_halt" for one in logs.records("order-refusals"))
    assert (replayed.difference, replayed.decision_hash) == (None, live_hash)
    _, summary = backtest.run(settings, bars)
    assert summary["decision_hash"] == live_hash

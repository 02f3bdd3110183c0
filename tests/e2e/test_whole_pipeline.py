"""From news, filings, quotes and bars to fills, lots, attribution and weights, on real services: as the fused stages
decide it, with `feedback` and `sentiment` killed on the way.
"""

from __future__ import annotations

import json
from datetime import time
from decimal import Decimal
from typing import Any

import pytest

from dataflows.replay.comparison import Pipeline
from dataflows.replay.recording import DERIVED
from dataflows.sources.files import FileFeed
from dataflows.sources.tape import Tape
from operators.decision_hash import decision_hash
from schemas.records import (
    BY_SYMBOL,
    TOPIC_OF,
    TRADE,
    Attribution,
    Execution,
    LotMatch,
    Signal,
    SignalOutcome,
    StrategyWeights,
    Valuation,
)
from tests.e2e.conftest import MakePlatform
from tests.replay.market import MONDAY, write_market
from tests.replay.staged import Logs
from tests.replay.test_staged_tape import SYMBOLS, write_tape

STRATEGIES = [
    {"name": "ema_cross", "parameters": {"fast": 3, "slow": 8, "rsi_period": 5, "rsi_max": 90}},
    {"name": "sentiment"},
    {"name": "fundamental_value"},
]
TOLD = {
    "SIGNALS__STRATEGIES": json.dumps(STRATEGIES),
    "SIGNALS__ENSEMBLE": json.dumps({"enabled": True, "weights": "learned", "threshold": 0.6, "change_min": 0.05}),
    "FEEDBACK__HORIZON_BARS": "5",
    "FEEDBACK__WEIGHTS_INTERVAL_S": "600",
    "FEEDBACK__ATTRIBUTION_INTERVAL_S": "60",
}


@pytest.fixture(scope="module")
def ran(make_platform: MakePlatform, tmp_path_factory: pytest.TempPathFactory) -> tuple[Logs, list[Any]]:
    """What stands in the topics, and what the fused stages write of the same tape under the same settings."""
    folder = tmp_path_factory.mktemp("tape")
    bars = write_market(folder / "bars", symbols=SYMBOLS, days=[MONDAY], opens=time(9), minutes=150)
    tape = write_tape(folder, 5)
    files = {
        f"MARKET_DATA__FILES__{kind.upper()}": json.dumps([str(p) for p in paths])
        for kind, paths in tape._asdict().items()
    }
    with make_platform(bars, speed="600", told={**TOLD, **files}) as platform:
        platform.begin()
        for name in ("feedback", "sentiment", "signals"):
            platform.restart(name)
        platform.run_to_end()
        logs, settings = platform.logs(), platform.own_settings()
    reading = settings.market_data.files.reading()
    pipeline = Pipeline(settings)
    made = [
        record
        for tick in FileFeed(bars, reading, Tape(tape, reading))
        for record in pipeline.on_tick(tick.ts_ns, tick.records)
    ]
    return logs, made


def test_every_topic_holds_what_the_fused_stages_write(ran: tuple[Logs, list[Any]]) -> None:
    logs, made = ran
    for topic in DERIVED:
        expected = [record for record in made if TOPIC_OF[type(record)] == topic]
        if expected and type(expected[0]) in BY_SYMBOL:
            expected = sorted(expected, key=lambda record: (record.symbol, record.seq))
        found = logs.records(topic)
        if found and type(found[0]) in BY_SYMBOL:
            found = sorted(found, key=lambda record: (record.symbol, record.seq))
        assert list(map(repr, found)) == list(map(repr, expected)), topic
    found_all = [record for topic in DERIVED for record in logs.records(topic)]
    assert decision_hash(found_all) == decision_hash(made)


def test_the_tape_reaches_from_news_to_weights(ran: tuple[Logs, list[Any]]) -> None:
    logs, _ = ran
    everything = [record for topic in DERIVED for record in logs.records(topic)]
    spoke = {record.strategy for record in everything if type(record) is Signal}
    assert spoke >= {"ema_cross", "sentiment", "ensemble"}
    assert any(type(record) is Execution and record.exec_type == TRADE for record in everything)
    assert any(type(record) is LotMatch for record in everything)
    assert any(type(record) is SignalOutcome for record in everything)
    weights = [record for record in everything if type(record) is StrategyWeights]
    assert weights and all(abs(sum(one.weights.values()) - 1.0) < 1e-9 for one in weights)


def test_attribution_sums_to_the_ledger_at_each_of_its_moments(ran: tuple[Logs, list[Any]]) -> None:
    logs, _ = ran
    rows: dict[int, list[Attribution]] = {}
    for record in logs.records("attribution"):
        if type(record) is Attribution:
            rows.setdefault(record.ts_ns, []).append(record)
    valuations: dict[int, Valuation] = {record.ts_ns: record for record in logs.records("valuations")}
    assert len(rows) > 10
    for ts_ns, shares in rows.items():
        ledger = valuations[ts_ns]
        flows = sum((share.cash_flows for share in shares), Decimal(0))
        assert sum((share.realized_pnl for share in shares), Decimal(0)) + flows == ledger.realized_pnl
        assert sum((share.unrealized_pnl for share in shares), Decimal(0)) == ledger.unrealized_pnl
        assert sum((share.fees for share in shares), Decimal(0)) == ledger.fees

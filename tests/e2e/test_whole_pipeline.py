"""From news, filings, quotes and bars to fills, lots, attribution and weights, on real services.

The test kills services on the way. The topics contain what the fused stages decide.
"""

from __future__ import annotations

import json
from datetime import time
from decimal import Decimal
from typing import Any

import pytest

from dataflows.replay.comparison import Pipeline
from dataflows.replay.recording import DERIVED_TOPICS
from dataflows.sources.file_feed import FileFeed
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
from tests.replay.in_memory_platform import Logs
from tests.replay.market import MONDAY, write_market
from tests.replay.test_staged_tape import SYMBOLS, write_tape

STRATEGIES = [
    {"name": "ema_cross", "parameters": {"fast": 3, "slow": 8, "rsi_period": 5, "rsi_max": 90}},
    {"name": "sentiment"},
    {"name": "fundamental_value"},
]
OVERRIDES = {
    "SIGNALS__STRATEGIES": json.dumps(STRATEGIES),
    "SIGNALS__ENSEMBLE": json.dumps({"enabled": True, "weights": "learned", "threshold": 0.6, "change_min": 0.05}),
    "FEEDBACK__HORIZON_BARS": "5",
    "FEEDBACK__WEIGHTS_INTERVAL_S": "600",
    "FEEDBACK__ATTRIBUTION_INTERVAL_S": "60",
}


@pytest.fixture(scope="module")
def pipeline_run(make_platform: MakePlatform, tmp_path_factory: pytest.TempPathFactory) -> tuple[Logs, list[Any]]:
    """Return the topics of the run, and the records of the fused stages on the same tape with the same settings."""
    folder = tmp_path_factory.mktemp("tape")
    bars = write_market(folder / "bars", symbols=SYMBOLS, days=[MONDAY], open_time=time(9), minutes=150)
    tape = write_tape(folder, 5)
    tape_overrides = {
        f"MARKET_DATA__FILES__{kind.upper()}": json.dumps([str(p) for p in paths])
        for kind, paths in tape._asdict().items()
    }
    with make_platform(bars, speed="600", overrides={**OVERRIDES, **tape_overrides}) as platform:
        platform.start_feed_last()
        for name in ("feedback", "sentiment", "signals"):
            platform.restart(name)
        platform.run_to_end()
        logs, settings = platform.logs(), platform.read_settings()
    read_options = settings.market_data.files
    pipeline = Pipeline(settings)
    fused_records = [
        record
        for time_slice in FileFeed(bars, read_options, Tape(tape, read_options))
        for record in pipeline.on_slice(time_slice.ts_ns, time_slice.records)
    ]
    return logs, fused_records


def test_every_topic_equals_the_output_of_the_fused_stages(pipeline_run: tuple[Logs, list[Any]]) -> None:
    logs, fused_records = pipeline_run
    for topic in DERIVED_TOPICS:
        expected = [record for record in fused_records if TOPIC_OF[type(record)] == topic]
        if expected and type(expected[0]) in BY_SYMBOL:
            expected = sorted(expected, key=lambda record: (record.symbol, record.seq))
        topic_records = logs.records(topic)
        if topic_records and type(topic_records[0]) in BY_SYMBOL:
            topic_records = sorted(topic_records, key=lambda record: (record.symbol, record.seq))
        assert list(map(repr, topic_records)) == list(map(repr, expected)), topic
    all_records = [record for topic in DERIVED_TOPICS for record in logs.records(topic)]
    assert decision_hash(all_records) == decision_hash(fused_records)


def test_the_tape_produces_every_record_from_news_to_weights(pipeline_run: tuple[Logs, list[Any]]) -> None:
    logs, _ = pipeline_run
    all_records = [record for topic in DERIVED_TOPICS for record in logs.records(topic)]
    strategies = {record.strategy for record in all_records if type(record) is Signal}
    assert strategies >= {"ema_cross", "sentiment", "ensemble"}
    assert any(type(record) is Execution and record.exec_type == TRADE for record in all_records)
    assert any(type(record) is LotMatch for record in all_records)
    assert any(type(record) is SignalOutcome for record in all_records)
    weights = [record for record in all_records if type(record) is StrategyWeights]
    assert weights and all(abs(sum(weights_record.weights.values()) - 1.0) < 1e-9 for weights_record in weights)


def test_attribution_sums_to_the_ledger_at_every_timestamp(pipeline_run: tuple[Logs, list[Any]]) -> None:
    logs, _ = pipeline_run
    rows: dict[int, list[Attribution]] = {}
    for record in logs.records("attribution"):
        if type(record) is Attribution:
            rows.setdefault(record.ts_ns, []).append(record)
    valuations: dict[int, Valuation] = {record.ts_ns: record for record in logs.records("valuations")}
    assert len(rows) > 10
    for ts_ns, attributions in rows.items():
        valuation = valuations[ts_ns]
        cash_flows = sum((share.cash_flows for share in attributions), Decimal(0))
        assert sum((share.realized_pnl for share in attributions), Decimal(0)) + cash_flows == valuation.realized_pnl
        assert sum((share.unrealized_pnl for share in attributions), Decimal(0)) == valuation.unrealized_pnl
        assert sum((share.fees for share in attributions), Decimal(0)) == valuation.fees

"""`verify` sums the P&L by strategy: it equals the ledger's P&L exactly, and the check names each change."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing

import psycopg2
import pytest

from configs.settings import Settings
from deploy.verification import attribution
from deploy.verification.all_checks import empty_ledger, verify_weights
from deploy.verification.ledger_tables import compare_ledger, snapshot_connection
from deploy.verification.verdict import Comparison
from operators.stage import TimeSlice
from schemas.records import (
    CASH_DIVIDEND,
    SPLIT,
    SUBMIT_ORDER,
    SYMBOL_CHANGE,
    Attribution,
    Bar,
    CashFlow,
    Record,
    StrategyWeights,
)
from sinks.postgres import PostgresWriter
from tests.builders import command, corporate_action
from tests.unit.tape import FAST_STRATEGY, market, platform_output, settings

SLOW_STRATEGY = {
    "name": "ema_cross",
    "parameters": {"name": "slow", "fast": 5, "slow": 20, "rsi_period": 3, "rsi_max": 100.0},
}
MANUAL_ORDER = {"symbol": "SPY", "side": "BUY", "quantity": "7", "order_type": "MARKET"}
SPLIT_MINUTE, RENAME_MINUTE = 40, 70
RECORDS_BY_MINUTE: dict[int, list[Record]] = {
    10: [command("cmd-1", kind=SUBMIT_ORDER, arguments=MANUAL_ORDER)],
    12: [command("cmd-2", kind=SUBMIT_ORDER, arguments={**MANUAL_ORDER, "symbol": "AAPL"})],
    SPLIT_MINUTE: [corporate_action("s", SPLIT, "SPY", ratio=1.5, amount=60)],
    50: [corporate_action("d", CASH_DIVIDEND, "SPY", amount=0.37)],
    RENAME_MINUTE: [corporate_action("r", SYMBOL_CHANGE, "AAPL", new_symbol="APPL")],
}


def make_settings(**sections: object) -> Settings:
    feedback = {"horizon_bars": 3, "attribution_interval_s": 60, "weights_interval_s": 300}
    return settings(signals={"strategies": [FAST_STRATEGY, SLOW_STRATEGY]}, feedback=feedback, **sections)


def has_bar(number: int, symbol: str) -> bool:
    """SPY has no bars for four minutes after its split. AAPL has no bars after its rename, under neither name."""
    return not (symbol == "SPY" and SPLIT_MINUTE <= number < SPLIT_MINUTE + 4) and not (
        symbol == "AAPL" and number >= RENAME_MINUTE
    )


def make_session() -> list[TimeSlice]:
    inputs = [
        TimeSlice(
            ts,
            [*RECORDS_BY_MINUTE.get(number, []), *(r for r in rs if isinstance(r, Bar) and has_bar(number, r.symbol))],
        )
        for number, (ts, rs) in enumerate(market(140))
    ]
    outputs = platform_output(inputs, make_settings())
    return [
        TimeSlice(input_slice.ts_ns, [*input_slice.records, *output_slice.records])
        for input_slice, output_slice in zip(inputs, outputs, strict=True)
    ]


SESSION_SLICES = make_session()
ROWS = [record for time_slice in SESSION_SLICES for record in time_slice.records if isinstance(record, Attribution)]
LAST_NS = max(row.ts_ns for row in ROWS)


class SessionDatabase:
    """The session in its own database."""

    def __init__(self, url: str) -> None:
        self.url = url
        with closing(PostgresWriter(url, name="test")) as writer:
            for time_slice in SESSION_SLICES:
                writer.write(time_slice.records)

    def change(self, statement: str, *values: object) -> None:
        with closing(psycopg2.connect(self.url)) as db, db, db.cursor() as cursor:
            cursor.execute(statement, values)
            assert cursor.rowcount >= 1

    def check(self) -> Comparison:
        verdict = compare_ledger(self.url, empty_ledger(make_settings()))
        return next(check for check in verdict.checks if check.name == "attribution")

    def weights(self) -> Comparison:
        database = make_settings().database.model_dump()
        database["postgres"]["url"] = self.url
        return verify_weights(make_settings(database=database))


@pytest.fixture
def session_database(make_database: Callable[[], str]) -> SessionDatabase:
    return SessionDatabase(make_database())


def test_the_strategies_sum_to_the_rebuilt_ledger_at_recent_and_earlier_timestamps(
    session_database: SessionDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {row.strategy for row in ROWS}
    assert names == {"ema_cross", "manual", "slow"}
    flows = {flow.kind for time_slice in SESSION_SLICES for flow in time_slice.records if isinstance(flow, CashFlow)}
    assert flows == {"SPLIT", "DIVIDEND", "SYMBOL_CHANGE"}
    timestamps = sorted({row.ts_ns for row in ROWS})
    assert len(timestamps) > attribution.NEWEST_COUNT + attribution.EARLIER_COUNT
    monkeypatch.setattr(attribution, "EARLIER_COUNT", len(SESSION_SLICES))
    assert session_database.check() == Comparison("attribution", len(ROWS), None)
    monkeypatch.setattr(attribution, "EARLIER_COUNT", 10)
    monkeypatch.setattr(attribution, "NEWEST_COUNT", 5)
    check = session_database.check()
    newest = sum(row.ts_ns in timestamps[-5:] for row in ROWS)
    assert check.difference is None and newest + 10 <= check.records <= newest + 10 * len(names)


@pytest.mark.parametrize(
    ("change", "expected_text"),
    [
        ("SET realized_pnl = realized_pnl + 0.000000001", "realized_pnl and cash_flows of the strategies sum to "),
        ("SET unrealized_pnl = unrealized_pnl - 0.000000001", "unrealized_pnl of the strategies sum to "),
        ("SET fees = 0", "fees of the strategies sum to "),
        ("SET cash_flows = cash_flows + 1", "realized_pnl and cash_flows of the strategies sum to "),
        ("SET strategy = 'zzz'", "manual follows zzz; expected one row per strategy, sorted by name"),
    ],
)
def test_a_changed_row_is_named(session_database: SessionDatabase, change: str, expected_text: str) -> None:
    session_database.change(f"UPDATE attribution {change} WHERE strategy = 'ema_cross' AND ts_ns = %s", LAST_NS)
    check = session_database.check()
    assert check.difference is not None and expected_text in check.difference
    assert check.difference.startswith(f"attribution at {LAST_NS}: ")


def test_a_missing_strategy_is_detected_by_the_sum(session_database: SessionDatabase) -> None:
    session_database.change(
        "DELETE FROM attribution WHERE strategy = 'slow' AND ts_ns = %s", LAST_NS
    )  # the last one in its time slice
    assert "the strategies sum to " in (session_database.check().difference or "")


def test_a_missing_row_is_named_by_its_seq(session_database: SessionDatabase) -> None:
    seq = next(row.seq for row in ROWS if row.ts_ns == LAST_NS and row.strategy == "manual")
    session_database.change("DELETE FROM attribution WHERE seq = %s", seq)
    assert session_database.check().difference == f"attribution at {LAST_NS}: the row of seq {seq} is missing"


def test_a_wrong_ledger_does_not_agree_with_its_attribution(session_database: SessionDatabase) -> None:
    session_database.change(
        "UPDATE bars SET close = close + 0.01 WHERE symbol = 'SPY' AND seq = (SELECT max(seq) FROM bars)"
    )
    assert "unrealized_pnl of the strategies sum to" in (session_database.check().difference or "")


def test_unattributed_pnl_counts_and_is_noted(session_database: SessionDatabase) -> None:
    session_database.change(
        "UPDATE attribution SET strategy = 'unattributed' WHERE strategy = 'slow' AND ts_ns = %s", LAST_NS
    )
    assert session_database.check() == Comparison(
        "attribution", session_database.check().records, None, "1 with unattributed P&L"
    )
    assert session_database.check().records > 100


def test_weights_are_shares_of_strategies_that_exist(session_database: SessionDatabase) -> None:
    weight_records = [
        record for time_slice in SESSION_SLICES for record in time_slice.records if isinstance(record, StrategyWeights)
    ]
    assert session_database.weights() == Comparison("weights", len(weight_records), None) and len(weight_records) > 3
    last_seq = weight_records[-1].seq
    for weights, expected_text in (
        ({"ema_cross": 0.5, "slow": 0.49}, "the weights sum to 0.99, expected 1"),
        ({"ema_cross": 1.0, "slow": -0.5}, "the weight of slow must be in [0, 1], found -0.5"),
        ({"ema_cross": 0.5, "nobody": 0.5}, "nobody is not a configured strategy and has no signals"),
    ):
        session_database.change("UPDATE weights SET weights = %s WHERE seq = %s", json.dumps(weights), last_seq)
        assert session_database.weights() == Comparison(
            "weights", len(weight_records) - 1, f"weights {last_seq}: {expected_text}"
        )
    with closing(snapshot_connection(session_database.url)) as db:
        # A strategy that no longer runs is identified by its signals.
        session_database.change("UPDATE weights SET weights = %s WHERE seq = %s", '{"slow": 1.0}', last_seq)
        assert attribution.check_weights(db, []).difference is None

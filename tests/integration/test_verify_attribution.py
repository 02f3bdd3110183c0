"""`verify` adds up the P&L by strategy: it is the ledger's to the last place, and whatever was changed is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal

import psycopg2
import pytest

from configs.settings import Settings
from deploy.verification import attribution
from deploy.verification.all_checks import empty_ledger, verify_weights
from deploy.verification.ledger_tables import compare_books, moment
from deploy.verification.verdict import Check
from operators.manual_orders import SUBMIT_ORDER
from operators.stage import Tick
from schemas.records import Attribution, Bar, CashFlow, Command, CorporateAction, Record, StrategyWeights
from sinks.postgres import PostgresWriter
from tests.unit.tape import QUICK, decided, market, settings

SLOW = {
    "name": "ema_cross",
    "parameters": {"name": "slow", "fast": 5, "slow": 20, "rsi_period": 3, "rsi_max": 100.0},
}
BY_HAND = {"symbol": "SPY", "side": "BUY", "quantity": "7", "order_type": "MARKET"}
SPLIT, RENAMED = 40, 70
GIVEN: dict[int, list[Record]] = {
    10: [Command("cmd-1", 1, SUBMIT_ORDER, "ann", "by hand", BY_HAND)],
    12: [Command("cmd-2", 1, SUBMIT_ORDER, "ann", "by hand", {**BY_HAND, "symbol": "AAPL"})],
    SPLIT: [CorporateAction("s", 0, "SPLIT", "SPY", 0, 0, Decimal("1.5"), Decimal(60), "USD", "", "test")],
    50: [CorporateAction("d", 0, "CASH_DIVIDEND", "SPY", 0, 0, None, Decimal("0.37"), "USD", "", "test")],
    RENAMED: [CorporateAction("r", 0, "SYMBOL_CHANGE", "AAPL", 0, 0, None, None, "USD", "APPL", "test")],
}


def chosen(**sections: object) -> Settings:
    feedback = {"horizon_bars": 3, "attribution_interval_s": 60, "weights_interval_s": 300}
    return settings(signals={"strategies": [QUICK, SLOW]}, feedback=feedback, **sections)


def has_bar(number: int, symbol: str) -> bool:
    """SPY has none in the minutes behind its split, AAPL none under its old name any more, nor under its new one."""
    return not (symbol == "SPY" and SPLIT <= number < SPLIT + 4) and not (symbol == "AAPL" and number >= RENAMED)


def session() -> list[Tick]:
    given = [
        Tick(ts, [*GIVEN.get(number, []), *(r for r in rs if isinstance(r, Bar) and has_bar(number, r.symbol))])
        for number, (ts, rs) in enumerate(market(140))
    ]
    made = decided(given, chosen())
    return [Tick(one.ts_ns, [*one.records, *more.records]) for one, more in zip(given, made, strict=True)]


TICKS = session()
ROWS = [record for tick in TICKS for record in tick.records if isinstance(record, Attribution)]
LAST = max(row.ts_ns for row in ROWS)


class Stored:
    """The session in a database of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        with closing(PostgresWriter(url, name="test")) as writer:
            for tick in TICKS:
                writer.write(tick.records)

    def change(self, statement: str, *values: object) -> None:
        with closing(psycopg2.connect(self.url)) as db, db, db.cursor() as cursor:
            cursor.execute(statement, values)
            assert cursor.rowcount >= 1

    def check(self) -> Check:
        verdict = compare_books(self.url, empty_ledger(chosen()))
        return next(check for check in verdict.checks if check.name == "attribution")

    def weights(self) -> Check:
        database = chosen().database.model_dump()
        database["postgres"]["url"] = self.url
        return verify_weights(chosen(database=database))


@pytest.fixture
def stored(make_database: Callable[[], str]) -> Stored:
    return Stored(make_database())


def test_the_strategies_sum_to_the_rebuilt_ledger_at_the_newest_and_at_earlier_ticks(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {row.strategy for row in ROWS}
    assert names == {"account", "ema_cross", "manual", "slow"}
    flows = {flow.kind for tick in TICKS for flow in tick.records if isinstance(flow, CashFlow)}
    assert flows == {"SPLIT", "DIVIDEND", "SYMBOL_CHANGE"}
    ticks = sorted({row.ts_ns for row in ROWS})
    assert len(ticks) > attribution.NEWEST + attribution.EARLIER
    monkeypatch.setattr(attribution, "EARLIER", len(TICKS))
    assert stored.check() == Check("attribution", len(ROWS), None)
    monkeypatch.setattr(attribution, "EARLIER", 10)
    monkeypatch.setattr(attribution, "NEWEST", 5)
    compared = stored.check()
    newest = sum(row.ts_ns in ticks[-5:] for row in ROWS)
    assert compared.difference is None and newest + 10 <= compared.records <= newest + 10 * len(names)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("SET realized_pnl = realized_pnl + 0.000000001", "realized_pnl and cash_flows of the strategies sum to "),
        ("SET unrealized_pnl = unrealized_pnl - 0.000000001", "unrealized_pnl of the strategies sum to "),
        ("SET fees = 0", "fees of the strategies sum to "),
        ("SET cash_flows = cash_flows + 1", "realized_pnl and cash_flows of the strategies sum to "),
        ("SET strategy = 'zzz'", "manual comes behind zzz: there is one row a strategy, by name"),
    ],
)
def test_a_row_that_was_changed_is_named(stored: Stored, change: str, words: str) -> None:
    stored.change(f"UPDATE attribution {change} WHERE strategy = 'ema_cross' AND ts_ns = %s", LAST)
    found = stored.check()
    assert found.difference is not None and words in found.difference
    assert found.difference.startswith(f"attribution at {LAST}: ")


def test_a_strategy_that_is_missing_is_found_by_the_sum(stored: Stored) -> None:
    stored.change("DELETE FROM attribution WHERE strategy = 'slow' AND ts_ns = %s", LAST)  # the last of its tick
    assert "the strategies sum to " in (stored.check().difference or "")


def test_a_row_between_others_that_is_gone_is_named_by_its_number(stored: Stored) -> None:
    seq = next(row.seq for row in ROWS if row.ts_ns == LAST and row.strategy == "manual")
    stored.change("DELETE FROM attribution WHERE seq = %s", seq)
    assert stored.check().difference == f"attribution at {LAST}: the row of seq {seq} is missing"


def test_books_that_are_wrong_do_not_agree_with_their_attribution(stored: Stored) -> None:
    stored.change("UPDATE bars SET close = close + 0.01 WHERE symbol = 'SPY' AND seq = (SELECT max(seq) FROM bars)")
    assert "unrealized_pnl of the strategies sum to" in (stored.check().difference or "")


def test_what_belongs_to_no_strategy_counts_and_is_told(stored: Stored) -> None:
    stored.change("UPDATE attribution SET strategy = 'unattributed' WHERE strategy = 'slow' AND ts_ns = %s", LAST)
    assert stored.check() == Check("attribution", stored.check().records, None, "1 hold P&L of no strategy")
    assert stored.check().records > 100


def test_weights_are_shares_of_strategies_that_exist(stored: Stored) -> None:
    given = [record for tick in TICKS for record in tick.records if isinstance(record, StrategyWeights)]
    assert stored.weights() == Check("weights", len(given), None) and len(given) > 3
    last = given[-1].seq
    for changed, words in (
        ({"ema_cross": 0.5, "slow": 0.49}, "the weights sum to 0.99, not to 1"),
        ({"ema_cross": 1.0, "slow": -0.5}, "the weight of slow must be in [0, 1], found -0.5"),
        ({"ema_cross": 0.5, "nobody": 0.5}, "nobody is no strategy of the settings and never gave a signal"),
    ):
        stored.change("UPDATE weights SET weights = %s WHERE seq = %s", json.dumps(changed), last)
        assert stored.weights() == Check("weights", len(given) - 1, f"weights {last}: {words}")
    with closing(moment(stored.url)) as db:
        # A strategy that runs no more is known by its signals.
        stored.change("UPDATE weights SET weights = %s WHERE seq = %s", '{"slow": 1.0}', last)
        assert attribution.check_weights(db, []).difference is None

"""The endpoints of the dashboard beyond the brief's endpoints, against sums by hand."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.roles import Role
from configs.settings import Settings, load_settings
from operators.excursions import SymbolBars, excursion
from operators.ledger import Ledger
from schemas.records import (
    BUY,
    CANCELED,
    SELL,
    TRADE,
    Execution,
    Record,
    Signal,
    StrategyWeights,
)
from schemas.records.constants import Side
from sinks.postgres import PostgresWriter
from tests.builders import (
    attribution,
    bar,
    lot_match,
    order,
    prediction,
    proposal,
    report,
    signal,
    signal_outcome,
    valuation,
)
from tests.integration.api_users import bearer, log_in, token_of

D = Decimal
MINUTE = 60_000_000_000
T0 = 1_705_314_600_000_000_000  # 2024-01-15T10:30:00Z
ZERO = D(0)


def _fill(seq: int, side: Side, quantity: int, price: float, cause_id: str | None = None) -> Execution:
    """Build a fill at the start of minute `seq`, received at its end."""
    ts_ns = T0 + seq * MINUTE
    filled = order(seq, side, quantity, cause_id=cause_id)
    return report(seq, filled, TRADE, quantity, price, fee=1, ts_ns=ts_ns, filled_at_ns=ts_ns - MINUTE)


REPORTS = [
    _fill(1, BUY, 10, 100),
    _fill(2, BUY, 10, 110),
    _fill(3, SELL, 10, 120, "prop-3"),  # closes the first lot: (120 - 100) * 10, minus both fees
    _fill(4, SELL, 4, 105, "cmd-7"),  # manual order, part of the second lot: (105 - 110) * 4, minus 1 + 4/10
    report(5, order(5, cause_id="prop-4"), CANCELED, fee=1, ts_ns=T0 + 5 * MINUTE, filled_at_ns=T0 + 4 * MINUTE),
]
EQUITY = [D(1_000_000 + 10 * number) for number in range(100)]


@pytest.fixture(scope="module")
def settings(database_url: str, redis_url: str) -> Settings:
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    return load_settings(environment={**environment, "RISK_MANAGER__USAGE_INTERVAL_S": "0"})


@pytest.fixture(scope="module")
def client(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    ledger = Ledger(D(1_000_000))
    records: list[Record] = [
        proposal(seq=seq, ts_ns=T0, strategy=strategy) for seq, strategy in enumerate(("slow", "fast", "slow"), 1)
    ]
    # The second lot was opened before the strategies of lots were recorded.
    strategies = {"prop-1": "slow"}
    records += [
        record for one in REPORTS for record in (one, *ledger.apply(one, strategy=strategies.get(one.cause_id, "")))
    ]
    records += [bar("AAPL", seq, T0 + seq * MINUTE, 50.0 + seq) for seq in (1, 2)]
    records += [bar("MSFT", seq, T0 + seq * MINUTE, 50.0 + seq, day=20240113 + seq) for seq in (1, 2)]
    for seq, equity in enumerate(EQUITY):
        records.append(
            valuation(
                seq + 1,
                T0 + seq * MINUTE,
                equity,
                cash=equity - 300,
                gross_exposure=300,
                net_exposure=200,
                open_positions=1,
            )
        )
    writer = PostgresWriter(settings.database.postgres.url, name="test")
    writer.write(records)
    writer.close()
    with TestClient(create_app(settings, home=tmp_path_factory.mktemp("home"))) as client:
        yield log_in(client)


def _get(client: TestClient, path: str) -> Any:
    response = client.get(f"/api/v1{path}")
    assert response.status_code == 200, response.text
    return response.json()


def test_executions_are_paged_newest_first_with_their_orders(client: TestClient) -> None:
    page = _get(client, "/executions?limit=2")
    assert [one["execution_id"] for one in page["executions"]] == ["exe-5", "exe-4"]
    assert page["next"] == 4
    second_page = _get(client, f"/executions?before={page['next']}&limit=2")
    assert [one["execution_id"] for one in second_page["executions"]] == ["exe-3", "exe-2"]
    assert _get(client, "/executions?before=2")["next"] is None
    newest = page["executions"][0]
    assert (newest["type"], newest["order_id"], newest["filled_at"]) == ("CANCELED", "ord-5", None)
    fills = _get(client, "/executions?type=TRADE&symbol=AAPL")["executions"]
    assert [one["execution_id"] for one in fills] == ["exe-4", "exe-3", "exe-2", "exe-1"]
    # The fill happens at the start of the bar. The platform receives it at the end of the bar.
    assert (fills[-1]["filled_at"], fills[-1]["timestamp"]) == ("2024-01-15T10:30:00Z", "2024-01-15T10:31:00Z")
    assert _get(client, "/executions?symbol=MSFT")["executions"] == []
    assert client.get("/api/v1/executions?type=LOST").status_code == 422


def test_the_equity_curve_is_thinned_and_keeps_the_last_valuation(client: TestClient) -> None:
    full_curve = _get(client, "/portfolio/equity")
    assert [point["equity"] for point in full_curve] == EQUITY
    condensed = _get(client, "/portfolio/equity?points=10")
    assert 5 <= len(condensed) <= 11
    assert condensed[-1] == full_curve[-1] and [point for point in condensed if point not in full_curve] == []
    assert [point["timestamp"] for point in condensed] == sorted({point["timestamp"] for point in condensed})
    point = full_curve[0]
    assert (point["cash"], point["gross_exposure"], point["net_exposure"]) == (999_700, 300, 200)
    later_points = _get(client, "/portfolio/equity?since=2024-01-15T12:00:00Z")
    assert [point["equity"] for point in later_points] == EQUITY[90:]
    assert _get(client, "/portfolio/equity?since=2025-01-01") == []


def test_a_strategy_result_counts_the_lots_its_orders_opened(client: TestClient) -> None:
    by_strategy = {one["strategy"]: one for one in _get(client, "/portfolio/strategies")}
    fields = ("fills", "traded_notional", "fees", "closed_lots", "won", "realized_pnl")
    values_by_strategy = {strategy: tuple(one[name] for name in fields) for strategy, one in by_strategy.items()}
    assert values_by_strategy == {
        "slow": (2, 2200, 2, 1, 1, 198),
        "fast": (1, 1100, 1, 1, 0, pytest.approx(-21.4)),  # a person has closed its lot
        "manual": (1, 420, 1, 0, 0, 0),
    }
    assert [one["strategy"] for one in _get(client, "/portfolio/closed-lots")["lots"]] == [None, "slow"]
    assert [one["match_id"] for one in _get(client, "/portfolio/closed-lots?strategy=slow")["lots"]] == ["match-3-1"]
    report = _get(client, "/portfolio/performance")
    assert sum(one["closed_lots"] for one in by_strategy.values()) == report["trades"]


def test_the_last_price_of_every_symbol_is_in_one_response(client: TestClient) -> None:
    prices = _get(client, "/market/prices")
    assert [(one["symbol"], one["price"], one["timestamp"], one["day_open"]) for one in prices] == [
        ("AAPL", 52.0, "2024-01-15T10:32:00Z", 51.0),
        ("MSFT", 52.0, "2024-01-15T10:32:00Z", 52.0),
    ]


def test_unrecorded_risk_usage_is_computed_from_the_ledger(client: TestClient) -> None:
    usage = {(one["measure"], one["scope_key"]): one for one in _get(client, "/risk/usage")}
    # The account holds 6 units at 52. Cash comes from the last valuation.
    position_value, cash = 6 * 52, float(EQUITY[-1]) - 300
    assert usage["gross_exposure", ""]["used"] == position_value
    assert usage["equity", ""]["used"] == position_value + cash
    assert usage["position_size", "AAPL"]["share"] == pytest.approx(position_value / 100_000)
    assert usage["portfolio_leverage", ""]["limit"] == 2
    shares = [one["share"] for one in _get(client, "/risk/usage") if one["share"] is not None]
    assert shares == sorted(shares, reverse=True)


def test_the_portfolio_state_shows_the_exposure(client: TestClient) -> None:
    state = _get(client, "/portfolio/state")
    assert (state["gross_exposure"], state["net_exposure"]) == (300, 200)


def test_auth_me_lists_the_permissions_of_the_role(client: TestClient) -> None:
    def permissions(role: Role) -> list[str]:
        response = client.get("/api/v1/auth/me", headers=bearer(token_of(client.app, role)))  # type: ignore[arg-type]
        return list(response.json()["permissions"])

    assert permissions(Role.VIEWER) == ["READ"]
    assert permissions(Role.TRADER) == ["CANCEL", "READ", "TRADE", "VALIDATE"]
    assert permissions(Role.RISK) == ["AUDIT", "BREAKER", "CANCEL", "CASH", "CONFIGURE", "READ", "VALIDATE"]


def test_strategy_pnl_weights_and_forecasts_are_the_latest(client: TestClient, settings: Settings) -> None:
    rows = [
        attribution(1, T0, "slow", realized_pnl=5, unrealized_pnl=1, fees=2, trades=3),
        attribution(2, T0 + MINUTE, "slow", realized_pnl=5.5, unrealized_pnl=1, fees=2, cash_flows=0.25, trades=4),
        attribution(3, T0 + MINUTE, "fast", realized_pnl=-1, trades=1),
    ]
    weights = [
        StrategyWeights(seq=seq, ts_ns=T0 + seq, weights={"slow": 0.5 + seq / 10}, scores={"slow": 0.1}, reason="why")
        for seq in (1, 2)
    ]
    predictions = [prediction("AAPL", n, T0 + n * MINUTE, 0.01 * n, model_hash="ab") for n in (1, 2)]
    writer = PostgresWriter(settings.database.postgres.url, name="test")
    writer.write([*rows, *weights, *predictions])
    writer.close()
    latest = _get(client, "/portfolio/attribution")
    assert [(one["strategy"], one["total_pnl"]) for one in latest["strategies"]] == [
        ("fast", -1.0),
        ("slow", 4.75),
    ]
    assert latest["last_updated"] == "2024-01-15T10:31:00Z"
    # Use the valuation at the time of the attribution, not the last one.
    equities = [
        one["equity"] for one in _get(client, "/portfolio/equity") if one["timestamp"] <= latest["last_updated"]
    ]
    assert latest["ledger_pnl"] == equities[-1] - _get(client, "/portfolio/performance")["initial_equity"]
    assert _get(client, "/strategies/weights")["weights"] == {"slow": 0.7}
    forecasts = _get(client, "/predictions/AAPL?limit=1")
    assert [(one["expected_return"], one["model_hash"]) for one in forecasts] == [(0.02, "ab")]
    assert client.get("/api/v1/predictions/NONE").status_code == 404
    assert _get(client, "/models") == []


def test_each_strategy_row_has_its_full_performance(client: TestClient, settings: Settings) -> None:
    gains = [("slow", 0.02), ("slow", -0.01), ("slow", 0.0), ("quiet", -0.03)]
    later_ns = T0 + 9 * MINUTE
    writer = PostgresWriter(settings.database.postgres.url, name="test")
    writer.write(
        [
            *(
                signal_outcome(seq, later_ns, strategy, gain, signal_id=f"sig-{seq}")
                for seq, (strategy, gain) in enumerate(gains, 10)
            ),
            attribution(20, later_ns, "account", cash_flows="1.5"),
            attribution(21, later_ns, "slow", realized_pnl=5.5, unrealized_pnl=1, fees=2, cash_flows=0.25, trades=4),
            StrategyWeights(
                seq=30,
                ts_ns=later_ns,
                weights={"slow": 0.75, "quiet": 0.25},
                scores={"slow": 0.1, "quiet": 0.0},
                reason="why",
            ),
        ]
    )
    writer.close()
    by_strategy = {one["strategy"]: one for one in _get(client, "/portfolio/strategies")}
    assert list(by_strategy) == ["account", "fast", "manual", "quiet", "slow"]
    slow = by_strategy["slow"]
    attribution_fields = ("realized_pnl", "unrealized_pnl", "fees", "cash_flows", "total_pnl", "trades", "last_updated")
    assert [slow["attribution"][name] for name in attribution_fields] == [
        5.5,
        1,
        2,
        0.25,
        4.75,
        4,
        "2024-01-15T10:39:00Z",
    ]
    assert (slow["fills"], slow["realized_pnl"]) == (2, 198)
    outcome_fields = ("weight", "outcomes", "hits", "hit_rate", "mean_gained", "mean_net")
    assert [slow[name] for name in outcome_fields] == [0.75, 3, 1, 0.5, *[pytest.approx(0.01 / 3)] * 2]
    assert [by_strategy["quiet"][name] for name in outcome_fields] == [0.25, 1, 0, 0.0, -0.03, -0.03]
    assert [by_strategy["manual"][name] for name in outcome_fields] == [None, 0, 0, None, None, None]
    # The API omits values of earlier attributions, so that the values of one time sum to the ledger.
    assert by_strategy["fast"]["attribution"] is None and by_strategy["quiet"]["fills"] == 0
    assert by_strategy["account"]["attribution"]["total_pnl"] == 1.5


def test_signals_are_the_latest_of_each_strategy_and_of_the_ensemble(client: TestClient, settings: Settings) -> None:
    def make_signal(seq: int, strategy: str, direction: int, parts: dict[str, float], symbol: str = "AAPL") -> Signal:
        return signal(
            symbol, seq, T0 + seq, 0.5, direction, strategy=strategy, confidence=0.75, price=150.0, parts=parts
        )

    writer = PostgresWriter(settings.database.postgres.url, name="test")
    writer.write(
        [
            *(make_signal(seq, "slow", direction, {"ema": float(seq)}) for seq, direction in ((1, 1), (2, -1))),
            make_signal(3, "ensemble", -1, {"slow": -0.4, "fast": 0.1}),
            make_signal(1, "slow", 1, {}, symbol="MSFT"),
        ]
    )
    writer.close()
    ensemble, slow = _get(client, "/signals/AAPL")
    assert (slow["id"], slow["direction"], slow["parts"], slow["price"]) == ("sig-AAPL-2", -1, {"ema": 2.0}, 150)
    assert (ensemble["strategy"], ensemble["parts"]) == ("ensemble", {"slow": -0.4, "fast": 0.1})
    assert _get(client, "/signals/NONE") == []


def test_closed_lots_have_the_excursions_of_a_backtest(
    client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KO has bars from 10:30 to 10:36 with the lows 90, 92, 94 … and the highs 109, 108, 107 …"""
    bars = [
        bar("KO", seq, T0 + seq * MINUTE, 100, open=99.5, high=110.0 - seq, low=88.0 + 2 * seq) for seq in range(1, 7)
    ]
    market, limited = order(100, BUY, 5, "KO"), order(101, BUY, 5, "KO", limit_price=100)
    lots = (  # order, minutes of entry and exit, entry price of the lot
        (market, 0, 3, 100),  # the first bar counts whole
        (market, 1.5, 3, 100),  # of the second bar, only the close counts
        (limited, 0, 5, 100),  # inside the first bar, of which the close counts
        (market, 0, 4, 25),  # split 4:1
        (market, 9, 10, 100),  # no bar
    )
    entries, matches = [], []
    for seq, (opening_order, opened, closed, entry_price) in enumerate(lots, 100):
        opened_ns = T0 + int(opened * MINUTE)
        entries.append(report(seq, opening_order, TRADE, 1, 100, filled_at_ns=opened_ns))
        match = lot_match(
            *(seq, T0 + closed * MINUTE, "KO"), entry_price=entry_price, exit_price=100, opened_ns=opened_ns
        )
        matches.append(match._replace(open_execution_id=entries[-1].execution_id))
    writer = PostgresWriter(settings.database.postgres.url, name="test")
    writer.write([*bars, market, limited, *entries, *matches])
    writer.close()
    page = _get(client, "/portfolio/closed-lots?symbol=KO&limit=4")
    assert [one["match_id"] for one in page["lots"]] == ["match-104", "match-103", "match-102", "match-101"]
    last_page = _get(client, f"/portfolio/closed-lots?symbol=KO&before={page['next']}")
    assert last_page["next"] is None
    (first,) = last_page["lots"]
    assert (first["direction"], first["opened_at"], first["closed_at"]) == (
        *("LONG", "2024-01-15T10:30:00Z", "2024-01-15T10:33:00Z"),
    )
    assert (first["entry_price"], first["exit_price"], first["pnl"], first["fees"]) == (100, 100, 1, 0)
    measured = {one["seq"]: (one["mae"], one["mfe"]) for one in [first, *page["lots"]]}
    assert measured == {
        100: (-0.1, 0.09),
        101: (-0.06, 0.07),
        102: (-0.08, 0.08),
        103: (None, None),
        104: (None, None),
    }
    recorded = SymbolBars()
    for one in bars:
        recorded.add(one)
    for match, (opening_order, *_) in zip(matches[:3], lots, strict=False):
        backtested = excursion(match, recorded.holding_period(match), is_market=opening_order is market)
        assert measured[match.seq] == backtested.fractions(match)
    # The third lot has four bars between those of its entry and its exit.
    monkeypatch.setattr("api.excursions.BARS_MAX", 3)
    bounded = _get(client, "/portfolio/closed-lots?symbol=KO")["lots"]
    assert {one["seq"] for one in bounded if one["mae"] is not None} == {100, 101}

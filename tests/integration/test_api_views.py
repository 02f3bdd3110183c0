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
from operators.ledger import Ledger
from schemas.records import (
    CANCELED,
    SELL,
    TRADE,
    Attribution,
    Execution,
    OrderProposal,
    Prediction,
    Record,
    Signal,
    SignalOutcome,
    StrategyWeights,
    Valuation,
)
from sinks.postgres import PostgresWriter
from tests.integration.api_users import bearer, log_in, token_of
from tests.unit.builders import bar

D = Decimal
MINUTE = 60_000_000_000
T0 = 1_705_314_600_000_000_000  # 2024-01-15T10:30:00Z
ZERO = D(0)


def _proposal(seq: int, strategy: str) -> OrderProposal:
    terms = ("AAPL", "BUY", D(10), "MARKET", None, "DAY")
    return OrderProposal(seq, T0, f"prop-{seq}", *terms, strategy, D(100), "", [])


def _report(seq: int, side: str, quantity: str, price: str, cause_id: str, kind: str = TRADE) -> Execution:
    ts_ns, size = T0 + seq * MINUTE, D(quantity)
    ids = (f"exe-{seq}", f"ord-{seq}", "AAPL", side, kind)
    return Execution(seq, ts_ns, *ids, size, D(price), D(1), ZERO, size, ts_ns - MINUTE, 0, "", cause_id)


REPORTS = [
    _report(1, "BUY", "10", "100", "prop-1"),
    _report(2, "BUY", "10", "110", "prop-2"),
    _report(3, SELL, "10", "120", "prop-3"),  # closes the first lot: (120 - 100) * 10, minus both fees
    _report(4, SELL, "4", "105", "cmd-7"),  # manual order, part of the second lot: (105 - 110) * 4, minus 1 + 4/10
    _report(5, "BUY", "0", "0", "prop-4", CANCELED),
]
EQUITY = [D(1_000_000 + 10 * number) for number in range(100)]


@pytest.fixture(scope="module")
def settings(database_url: str, redis_url: str) -> Settings:
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    return load_settings(environment={**environment, "RISK_MANAGER__USAGE_INTERVAL_S": "0"})


@pytest.fixture(scope="module")
def client(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    ledger = Ledger(D(1_000_000))
    records: list[Record] = [_proposal(seq, strategy) for seq, strategy in ((1, "slow"), (2, "fast"), (3, "slow"))]
    records += [record for report in REPORTS for record in (report, *ledger.apply(report))]
    records += [bar("AAPL", seq, T0 + seq * MINUTE, 50.0 + seq) for seq in (1, 2)]
    records += [bar("MSFT", seq, T0 + seq * MINUTE, 50.0 + seq, day=20240113 + seq) for seq in (1, 2)]
    for seq, equity in enumerate(EQUITY):
        money = (equity, equity - 300, D(300), D(200), ZERO, ZERO, ZERO)
        records.append(Valuation(seq + 1, T0 + seq * MINUTE, *money, 1))
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


def test_a_strategy_result_counts_the_lots_its_orders_closed(client: TestClient) -> None:
    by_strategy = {one["strategy"]: one for one in _get(client, "/portfolio/strategies")}
    fields = ("fills", "traded_notional", "fees", "closed_lots", "won", "realized_pnl")
    values_by_strategy = {strategy: tuple(one[name] for name in fields) for strategy, one in by_strategy.items()}
    assert values_by_strategy == {
        "slow": (2, 2200, 2, 1, 1, 198),
        "fast": (1, 1100, 1, 0, 0, 0),
        "manual": (1, 420, 1, 1, 0, pytest.approx(-21.4)),
    }
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
    assert permissions(Role.RISK) == ["AUDIT", "BREAKER", "CANCEL", "READ", "VALIDATE"]


def test_strategy_pnl_weights_and_forecasts_are_the_latest(client: TestClient, settings: Settings) -> None:
    rows = [
        Attribution(1, T0, "slow", D(5), D(1), D(2), ZERO, 3),
        Attribution(2, T0 + MINUTE, "slow", D("5.5"), D(1), D(2), D("0.25"), 4),
        Attribution(3, T0 + MINUTE, "fast", D(-1), ZERO, ZERO, ZERO, 1),
    ]
    weights = [StrategyWeights(seq, T0 + seq, {"slow": 0.5 + seq / 10}, {"slow": 0.1}, "why") for seq in (1, 2)]
    predictions = [
        Prediction("AAPL", n, T0 + n * MINUTE, "gradient_boosting", "ab", f"feat-AAPL-{n}", 5, 0.01 * n, 0.6, 0.0)
        for n in (1, 2)
    ]
    writer = PostgresWriter(settings.database.postgres.url, name="test")
    writer.write([*rows, *weights, *predictions])
    writer.close()
    attribution = _get(client, "/portfolio/attribution")
    assert [(one["strategy"], one["total_pnl"]) for one in attribution["strategies"]] == [
        ("fast", -1.0),
        ("slow", 4.75),
    ]
    assert attribution["last_updated"] == "2024-01-15T10:31:00Z"
    # Use the valuation at the time of the attribution, not the last one.
    equities = [
        one["equity"] for one in _get(client, "/portfolio/equity") if one["timestamp"] <= attribution["last_updated"]
    ]
    assert attribution["ledger_pnl"] == equities[-1] - _get(client, "/portfolio/performance")["initial_equity"]
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
                SignalOutcome(seq, later_ns, f"sig-{seq}", "AAPL", strategy, 1, 0.5, 30, 100.0, 100.0 + gain, gain)
                for seq, (strategy, gain) in enumerate(gains, 10)
            ),
            Attribution(20, later_ns, "account", ZERO, ZERO, ZERO, D("1.5"), 0),
            Attribution(21, later_ns, "slow", D("5.5"), D(1), D(2), D("0.25"), 4),
            StrategyWeights(30, later_ns, {"slow": 0.75, "quiet": 0.25}, {"slow": 0.1, "quiet": 0.0}, "why"),
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
    outcome_fields = ("weight", "outcomes", "hits", "hit_rate", "mean_gained")
    assert [slow[name] for name in outcome_fields] == [0.75, 3, 1, 0.5, pytest.approx(0.01 / 3)]
    assert [by_strategy["quiet"][name] for name in outcome_fields] == [0.25, 1, 0, 0.0, -0.03]
    assert [by_strategy["manual"][name] for name in outcome_fields] == [None, 0, 0, None, None]
    # The API omits values of earlier attributions, so that the values of one time sum to the ledger.
    assert by_strategy["fast"]["attribution"] is None and by_strategy["quiet"]["fills"] == 0
    assert by_strategy["account"]["attribution"]["total_pnl"] == 1.5


def test_signals_are_the_latest_of_each_strategy_and_of_the_ensemble(client: TestClient, settings: Settings) -> None:
    def make_signal(seq: int, strategy: str, direction: int, parts: dict[str, float], symbol: str = "AAPL") -> Signal:
        return Signal(symbol, seq, T0 + seq, strategy, direction, 0.5, 0.75, 150.0, f"feat-{symbol}-{seq}", parts)

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

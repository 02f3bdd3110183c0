"""Margin rules: worked numbers, and the forced reduction against a lot-by-lot reference."""

import pickle
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.instruments import FUTURE, NO_INSTRUMENTS, Instrument
from operators.risk import RiskSettings, RiskStage
from operators.risk.margin import MarginClass, MarginPosition, MarginSettings, forced_reduction, requirement
from schemas.errors import BadInput
from schemas.records import ACTIVE, REDUCING, Order, RiskEvent, RiskUsage
from tests.builders import bar, execution
from tests.unit.risk_check_cases import MINUTE_NS, NOW_NS

RULES = MarginSettings()
FUTURES = Instrument(symbol="ES", asset_class=FUTURE, multiplier=Decimal(50), margin_initial=Decimal(12_000))


@pytest.mark.parametrize(
    ("instrument", "quantity", "price", "initial", "maintenance"),
    [
        (Instrument(symbol="AAPL"), 100, 200, 10_000, 5_000),
        (Instrument(symbol="AAPL"), -100, 200, 10_000, 6_000),
        (Instrument(symbol="BTCUSD", margin_class="crypto"), 1, 200, 200, 200),
        (FUTURES, -2, 5_000, 24_000, 24_000),
        (FUTURES, 0, 5_000, 0, 0),
    ],
)
def test_margin_required_for_a_position(
    instrument: Instrument, quantity: int, price: int, initial: int, maintenance: int
) -> None:
    margins = requirement(RULES, instrument, Decimal(quantity), Decimal(price))
    assert margins == (Decimal(initial), Decimal(maintenance))


def test_margin_call_closes_the_largest_margin_first_and_no_more_than_needed() -> None:
    big = MarginPosition("BIG", Instrument(symbol="BIG"), Decimal(100), Decimal(100))  # requires 2,500
    small = MarginPosition("SML", Instrument(symbol="SML"), Decimal(-50), Decimal(100))  # requires 1,500
    assert forced_reduction(RULES, Decimal(4_000), [small, big]) == []
    assert forced_reduction(RULES, Decimal(3_976), [small, big]) == [("BIG", Decimal(-1))]
    assert forced_reduction(RULES, Decimal(3_974), [small, big]) == [("BIG", Decimal(-2))]
    assert forced_reduction(RULES, Decimal(1_471), [small, big]) == [("BIG", Decimal(-100)), ("SML", Decimal(1))]
    assert forced_reduction(RULES, Decimal(-5), [small, big]) == [("BIG", Decimal(-100)), ("SML", Decimal(50))]


POSITIONS = st.lists(st.tuples(st.integers(-30, 30), st.integers(1, 50)), max_size=5)


@given(POSITIONS, st.integers(0, 3_000))
def test_forced_reduction_covers_the_margin_with_the_fewest_lots(positions: list[tuple[int, int]], equity: int) -> None:
    holdings = [
        MarginPosition(f"S{n}", Instrument(symbol=f"S{n}"), Decimal(quantity), Decimal(price))
        for n, (quantity, price) in enumerate(positions)
    ]
    cuts = dict(forced_reduction(RULES, Decimal(equity), holdings))

    def required_margin(reduced_symbol: str | None = None) -> Decimal:
        total = Decimal(0)
        for holding in holdings:
            cut = cuts.get(holding.symbol, Decimal(0))
            if holding.symbol == reduced_symbol:
                cut -= Decimal(1).copy_sign(cut)
            assert cut * holding.quantity <= 0 and abs(cut) <= abs(holding.quantity), (
                "a reduction never adds or reverses"
            )
            total += requirement(RULES, holding.instrument, holding.quantity + cut, holding.price).maintenance
        return total

    assert required_margin() <= equity
    if cuts:
        assert required_margin(list(cuts)[-1]) > equity


def test_margin_call_reduces_until_the_margin_is_covered_and_reports_it() -> None:
    limits = RiskSettings.unlimited(initial_capital=Decimal(5_000), margin=RULES, instruments=NO_INSTRUMENTS)
    stage = RiskStage(limits)
    purchase = execution(1, NOW_NS, "AAPL", 100, 100.0)  # buys 10,000 with 5,000 of equity
    assert stage.on_slice(NOW_NS, [purchase, bar("AAPL", 1, NOW_NS, 67.0)]) == []
    # At 66 the equity is 1,600 and the maintenance margin 1,650.
    [event, order] = stage.on_slice(NOW_NS + MINUTE_NS, [bar("AAPL", 2, NOW_NS + MINUTE_NS, 66.0)])
    assert isinstance(event, RiskEvent) and isinstance(order, Order)
    assert (event.breaker, event.state, event.found, event.limit) == ("margin_call", REDUCING, "1600", "1650")
    assert (order.terms.side, order.terms.quantity, order.terms.reduce_only) == ("SELL", Decimal(4), True)
    state = pickle.dumps(stage.snapshot())
    stage = RiskStage(limits)
    stage.restore(pickle.loads(state))  # noqa: S301 - our own snapshot
    assert stage.on_slice(NOW_NS + 2 * MINUTE_NS, [bar("AAPL", 3, NOW_NS + 2 * MINUTE_NS, 66.0)]) == [], (
        "one is on its way"
    )
    sale = execution(2, NOW_NS, "AAPL", -4, 66.0, order_id=order.order_id)
    [reset] = stage.on_slice(NOW_NS + 3 * MINUTE_NS, [sale, bar("AAPL", 4, NOW_NS + 3 * MINUTE_NS, 66.0)])
    assert isinstance(reset, RiskEvent) and (reset.state, reset.limit) == (ACTIVE, "1584")


def test_usage_is_written_on_change_at_most_once_per_interval() -> None:
    limits = RiskSettings.unlimited(
        initial_capital=Decimal(10_000),
        max_gross_exposure=Decimal(5_000),
        max_position_size=Decimal(4_000),
        max_drawdown=Decimal("0.5"),
        margin=RULES,
        usage_interval_s=60,
    )
    stage = RiskStage(limits)
    stage.on_slice(NOW_NS, [execution(1, NOW_NS, "AAPL", 10, 100.0), bar("AAPL", 1, NOW_NS)])
    assert stage.on_slice(NOW_NS + MINUTE_NS - 1, [bar("AAPL", 2, NOW_NS + MINUTE_NS - 1, 110.0)]) == []
    output = stage.on_slice(NOW_NS + MINUTE_NS, [bar("AAPL", 2, NOW_NS + MINUTE_NS, 110.0)])
    assert all(isinstance(record, RiskUsage) for record in output)
    usage = {r.measure + r.scope_key: (str(r.used.normalize()), r.share) for r in output if isinstance(r, RiskUsage)}
    assert usage["gross_exposure"] == ("1.1E+3", 0.22)
    assert usage["position_sizeAAPL"] == ("1.1E+3", 0.275)
    assert usage["margin_maintenance"] == ("275", 275 / 10_100)
    assert usage["portfolio_leverage"] == ("0.108910891", None)
    assert stage.on_slice(NOW_NS + 2 * MINUTE_NS, [bar("AAPL", 3, NOW_NS + 2 * MINUTE_NS, 110.0)]) == []
    sale = execution(2, NOW_NS, "AAPL", -10, 110.0)
    output = stage.on_slice(NOW_NS + 3 * MINUTE_NS, [sale, bar("AAPL", 4, NOW_NS + 3 * MINUTE_NS, 110.0)])
    latest_usage = {r.measure + r.scope_key: r.used for r in output if isinstance(r, RiskUsage)}
    assert latest_usage["position_sizeAAPL"] == Decimal(0), "a closed position uses nothing, and that is written"
    assert stage.on_slice(NOW_NS + 4 * MINUTE_NS, [bar("AAPL", 5, NOW_NS + 4 * MINUTE_NS, 111.0)]) == []


@pytest.mark.parametrize("changes", [{"initial_long": Decimal(-1)}, {"maintenance_short": Decimal("0.6")}])
def test_invalid_margin_fractions_are_rejected(changes: dict[str, Decimal]) -> None:
    with pytest.raises(BadInput, match="margin class equity"):
        MarginClass(**changes)  # type: ignore[arg-type]

"""The streaming estimates against slow reference calculations, and the portfolio that uses them for sizing."""

from __future__ import annotations

import math
import pickle
import random
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.settings import load_settings
from operators.indicators import build
from operators.instruments import FUTURE, Instrument, Instruments
from operators.money import ONE, ZERO
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.sizing import (
    AtrStopSettings,
    Estimates,
    EwmaVolatility,
    KellySettings,
    RiskParitySettings,
    SizingInput,
    SizingSettings,
    VolatilitySettings,
)
from operators.sizing.volatility import decay_factor
from schemas.errors import BadInput
from schemas.records import OrderProposal, Valuation
from tests.builders import bar
from tests.builders.market import MINUTE_NS
from tests.unit.portfolio_harness import PortfolioHarness, advance_order, check_cap, signed_quantities

VOLATILITY = VolatilitySettings(target=Decimal("0.02"), half_life_bars=5, bars_min=3, bars_per_year=10_000)
TARGET = SizingSettings(method="volatility_target", volatility=VOLATILITY)
PARITY = SizingSettings(method="risk_parity", volatility=VOLATILITY)
STOP = SizingSettings(method="atr_stop", atr_stop=AtrStopSettings(period=3))
ESTIMATES = 9
"""Where they are in the portfolio's snapshot."""
KELLY = SizingSettings(method="kelly", kelly=KellySettings(trades_min=2, shrinkage_trades=2))

prices = st.lists(st.integers(50, 200).map(float), min_size=2, max_size=60)


def portfolio_settings(sizing: SizingSettings, rebalance_interval_s: int | None = None) -> PortfolioSettings:
    """Return portfolio settings whose caps do not bind."""
    return PortfolioSettings(
        sizing=sizing,
        rebalance_interval_s=rebalance_interval_s,
        max_position_percentage=Decimal(1),
        cash_buffer=Decimal(0),
    )


@given(prices, st.integers(1, 50))
def test_volatility_is_the_weighted_mean_of_squared_returns(closes: list[float], half_life: int) -> None:
    estimate, decay = EwmaVolatility(), decay_factor(half_life)
    for close in closes:
        estimate.update(close, decay)
    squares = [math.log(b / a) ** 2 for a, b in pairwise(closes)]
    weights = [0.5 ** (age / half_life) for age in reversed(range(len(squares)))]
    expected = math.sqrt(sum(w * s for w, s in zip(weights, squares, strict=True)) / sum(weights))
    assert estimate.per_bar == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert estimate.returns == len(squares)


def test_annual_volatility_of_a_simulated_process() -> None:
    """Normal returns of 0.001 per bar and 98,280 bars per year: the annual volatility is 31.35 %."""
    rng = random.Random(5)
    volatility = VolatilitySettings(half_life_bars=2000, bars_per_year=252 * 390)
    estimates = Estimates(replace(TARGET, volatility=volatility))
    close = 100.0
    for seq in range(20_000):
        close *= math.exp(rng.gauss(0, 0.001))
        estimates.update([bar("X", seq, seq, close)])
    assert estimates.volatility("X") == pytest.approx(0.001 * math.sqrt(98_280), rel=0.05)
    assert estimates.volatility("Y") is None


def test_average_range_equals_the_atr_indicator() -> None:
    rng = random.Random(5)
    estimates, indicator = Estimates(STOP), build("atr_3")
    for seq in range(1, 50):
        close = 100 + rng.random()
        current_bar = bar("X", seq, seq, close)._replace(high=close + rng.random(), low=close - rng.random())
        values: dict[str, float] = {}
        indicator.update(current_bar, values)
        estimates.update([current_bar])
        atr = values.get("atr_3")
        assert estimates.average_range("X") == (None if atr is None else atr / close)


@pytest.mark.parametrize(
    ("feed", "expected"),
    [
        ("{feed: simulator, simulator: {interval_s: 1}}", 365 * 86_400),
        ("{feed: files}", 252 * 16 * 60),
        ("{feed: files, files: {session: regular}}", 252 * 390),
        ("{feed: files, files: {session: regular, bar_interval_s: 300}}", 252 * 78),
        ("{feed: files, files: {calendar: 24/7}}", 365 * 1440),
    ],
)
def test_bars_per_year_come_from_the_feed(feed: str, expected: float, tmp_path: Any) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"market_data: {feed}\nportfolio_manager: {{sizing: {{method: risk_parity}}}}\n")
    loaded = load_settings(file, {})
    assert loaded.portfolio().sizing.volatility.bars_per_year == expected
    assert loaded.portfolio().sizing.method == "risk_parity"
    assert loaded.for_backtest().market_data.feed == "files"


def test_volatility_without_bars_per_year_is_rejected_at_start() -> None:
    with pytest.raises(BadInput, match="volatility bars_per_year must be set for risk_parity"):
        PortfolioStage(PortfolioSettings(sizing=SizingSettings(method="risk_parity")))


def test_the_default_method_stores_nothing_for_a_bar() -> None:
    stage = PortfolioStage()
    stage.on_slice(MINUTE_NS, [bar("X", 1, MINUTE_NS)])
    assert stage.snapshot()[ESTIMATES] == (1, {}, {}, {}, {})


# -- in the portfolio --------------------------------------------------------------------------------------------------


def test_nothing_is_entered_before_the_volatility_is_estimated() -> None:
    desk = PortfolioHarness(portfolio_settings(TARGET, 60))
    desk.signal(1)
    closes = [100.0, 101.0, 100.0, 101.0]
    assert [signed_quantities(desk.step({"X": close})) for close in closes[:3]] == [[], [], []]
    (proposal,) = desk.step({"X": closes[3]})
    assert int(proposal.terms.quantity) == 199, "0.02 of a year's volatility of 0.995: 0.0201 of a million at 101"
    assert proposal.sizing == (
        "volatility_target 0.020099 (0.02 / volatility 0.995033, at most 1) x equity 1000000 x strength 1 / 101 = 199"
    )


def test_a_rebalance_adjusts_to_the_volatility_beyond_the_band() -> None:
    desk = PortfolioHarness(portfolio_settings(TARGET, 300))
    for close in (100.0, 101.0, 100.0):
        desk.step({"X": close})
    desk.signal(1)
    assert signed_quantities(desk.step({"X": 101.0})) == [199]
    desk.report("TRADE", price=101.0)
    assert signed_quantities(desk.step({"X": 100.0})) == [], "minute 5: as volatile as before"
    adjustments = [signed_quantities(desk.step({"X": 100.0})) for _ in range(5)]
    assert adjustments[:4] == [[], [], [], []]
    assert adjustments[4][0] > 30, "minute 10: calmer, so more"


def test_risk_parity_resizes_all_positions_when_one_is_added() -> None:
    sizing = replace(PARITY, risk_parity=RiskParitySettings(exposure=Decimal("0.5")))
    desk = PortfolioHarness(portfolio_settings(sizing))
    closes = [{"X": 100.0, "Y": 100.0}, {"X": 101.0, "Y": 103.0}] * 3
    for minute_closes in closes[:4]:
        desk.step(minute_closes)
    desk.signal(1, "X")
    (single,) = desk.step(closes[4])
    assert int(single.terms.quantity) == 5000, "0.5 of a million at 100"
    desk.report("TRADE", price=100.0)
    desk.signal(1, "Y")
    first, second = desk.step(closes[5])
    assert (first.terms.symbol, first.terms.side, second.terms.symbol, second.terms.side) == ("X", "SELL", "Y", "BUY")
    remaining, added = 5000 - int(first.terms.quantity), int(second.terms.quantity)
    assert remaining * 101 + added * 103 <= 0.5 * 1_005_000
    assert remaining * 101 / (added * 103) == pytest.approx(math.log(1.03) / math.log(1.01), rel=0.01)


def test_turnover_limit_is_shared_by_adjustments_and_never_delays_exits() -> None:
    sizing = SizingSettings(
        method="target_percent", fraction=Decimal("0.1"), turnover_max=Decimal("0.01"), no_trade_band=Decimal(0)
    )
    desk = PortfolioHarness(portfolio_settings(sizing, 300))
    for symbol in ("X", "Y", "Z"):
        desk.signal(1, symbol)
    start = {"X": 100.0, "Y": 100.0, "Z": 100.0}
    assert signed_quantities(desk.step(start)) == [1000, 1000, 1000], "entries are not limited"
    for symbol in start:
        desk.report("TRADE", symbol=symbol)
    moved_prices = {"X": 120.0, "Y": 80.0, "Z": 100.0}
    desk.step(moved_prices)
    desk.step(moved_prices)
    desk.step(moved_prices)
    desk.signal(0, "Z")
    proposals = desk.step(moved_prices)
    assert signed_quantities(proposals) == [-41, 62, -1000], "the exit is not limited"
    assert proposals[0].sizing == (
        "target_percent 0.1 x equity 1000000 x strength 1 / 120 = 833; "
        "adjusted to 959: turnover 40040 is above the limit 10000"
    ), "required: 167 at 120 and 250 at 80; allowed: 0.01 of a million; so 0.24975 of each"


def test_kelly_learns_from_the_strategys_own_closed_orders() -> None:
    desk = PortfolioHarness(portfolio_settings(KELLY))
    texts = []
    for exits in ((101.0, 103.0), (99.0,), (100.0,)):
        desk.signal(1)
        (entry,) = desk.step()
        texts.append(entry.sizing.split(" x equity")[0])
        desk.report("TRADE")
        desk.signal(0)
        (exit_proposal,) = desk.step()
        for price in exits[:-1]:
            desk.report("TRADE", int(exit_proposal.terms.quantity) // 2, price)
        desk.report("TRADE", 0, exits[-1])
        desk.step()
    assert texts == [
        "kelly 0.005 (0 of 2 trades closed)",
        "kelly 0.005 (1 of 2 trades closed)",
        "kelly 0.05 (0.5 x 2/4 x won 1/2 x (1 - lost 0.01 / won 0.02), in [0, 0.05])",
    ], "two fills of one exit are one trade, of 2 %"
    (record,) = desk.stage.snapshot()[ESTIMATES][3].items()
    assert record == ("s", (3, 1, 0.02, 0.01))


def test_a_trade_counts_after_fees_on_what_was_paid_with_the_multiplier() -> None:
    future = Instrument(symbol="X", asset_class=FUTURE, multiplier=Decimal(50))
    desk = PortfolioHarness(
        replace(portfolio_settings(KELLY), sizing=replace(KELLY, kelly=KellySettings())), Instruments(listed=(future,))
    )
    desk.signal(1)
    desk.step()
    desk.report("TRADE")
    desk.signal(0)
    desk.step()
    desk.report("TRADE", price=101.0)
    # One contract (multiplier 50) at 100 costs 5,000. A gain of 50 less a fee of 60 is a loss of 10.
    desk.queued[-1] = desk.queued[-1]._replace(fee=Decimal(60))  # type: ignore[call-arg]
    desk.step()
    assert desk.stage.snapshot()[ESTIMATES][3] == {"s": (1, 0, 0.0, 0.002)}


@given(st.permutations(range(12)))
def test_the_order_of_the_views_does_not_change_their_sum(order: list[int]) -> None:
    rng = random.Random(2)
    estimates = Estimates(PARITY)
    for seq in range(1, 6):
        estimates.update([bar(str(n), seq, seq, 100.0 + rng.random()) for n in range(12)])
    estimates.set_active_symbols(map(str, range(12)))
    first = estimates.add_estimates(
        SizingInput(direction=1, strength=ONE, price=ONE, equity=ONE, current_quantity=ZERO, lot_size=ONE), "0", "s"
    )
    estimates.set_active_symbols(map(str, order))
    assert (
        estimates.add_estimates(
            SizingInput(direction=1, strength=ONE, price=ONE, equity=ONE, current_quantity=ZERO, lot_size=ONE), "0", "s"
        )
        == first
    )


def test_a_snapshot_without_estimates_is_read() -> None:
    desk = PortfolioHarness(portfolio_settings(TARGET))
    desk.signal(1)
    desk.step()
    old = (1, *desk.stage.snapshot()[1:ESTIMATES])
    fresh = PortfolioStage(desk.settings)
    fresh.restore(old)
    assert fresh.snapshot()[ESTIMATES] == (1, {}, {}, {}, {})


def test_another_method_after_a_restart_starts_without_estimates() -> None:
    desk = PortfolioHarness(portfolio_settings(STOP))
    desk.step()
    stored = desk.stage.snapshot()
    for sizing in (TARGET, KELLY, SizingSettings(), replace(STOP, atr_stop=AtrStopSettings(period=4))):
        other = PortfolioStage(replace(desk.settings, sizing=sizing))
        other.restore(stored)
        assert other.snapshot()[ESTIMATES] == (1, {}, {}, {}, {})


actions = st.sampled_from(["fill", "fill", "part", "cancel", "refuse", "wait"])
slice_inputs = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from("XYZ"), st.sampled_from("ab"), st.sampled_from([-1, 0, 1])), max_size=2),
        st.fixed_dictionaries(dict.fromkeys("XYZ", actions)),
        st.fixed_dictionaries({symbol: st.integers(9_000, 11_000) for symbol in "XYZ"}),
    ),
    max_size=14,
)
portfolios = st.builds(
    PortfolioSettings,
    initial_capital=st.sampled_from([Decimal(20_000), Decimal(1_000_000)]),
    max_position_percentage=st.sampled_from([Decimal("0.05"), Decimal(1)]),
    allow_short=st.booleans(),
    rebalance_interval_s=st.sampled_from([None, 120]),
    cash_buffer=st.just(Decimal("0.5")),
    sizing=st.builds(
        replace,
        st.sampled_from([TARGET, PARITY, STOP, KELLY]),
        turnover_max=st.sampled_from([None, Decimal("0.01")]),
        no_trade_band=st.sampled_from([Decimal(0), Decimal("0.05")]),
    ),
)


@settings(max_examples=150, deadline=None)
@given(portfolios, slice_inputs)
def test_no_cap_is_broken_and_restarts_change_nothing(portfolio: PortfolioSettings, minutes: list[Any]) -> None:
    desk = PortfolioHarness(portfolio)
    working: set[str] = set()
    for signals, actions_by_symbol, cents in minutes:
        closes = {symbol: c / 100 for symbol, c in cents.items()}
        for symbol in sorted(working):
            if advance_order(desk, symbol, actions_by_symbol[symbol], closes[symbol]):
                working.discard(symbol)
                desk.accepted.discard(symbol)
        for symbol, strategy, direction in signals:
            desk.signal(direction, symbol, strategy)
        stored = pickle.dumps(desk.stage.snapshot())
        proposals = desk.step(closes)
        restored = PortfolioStage(portfolio)
        restored.restore(pickle.loads(stored))  # noqa: S301 our own bytes
        assert restored.on_slice(desk.minute * MINUTE_NS, desk.last_input) == desk.output
        assert restored.snapshot() == desk.stage.snapshot()
        for proposal in proposals:
            assert proposal.terms.symbol not in working, "proposed while an order is open"
            assert proposal.terms.quantity > 0 and proposal.terms.quantity % 1 == 0
            working.add(proposal.terms.symbol)
            check_cap(desk, proposal, closes)
        check_turnover(desk, proposals)
        assert desk.stage.ledger.cash >= 0 or portfolio.allow_short


def check_turnover(desk: PortfolioHarness, proposals: list[OrderProposal]) -> None:
    share = desk.settings.sizing.turnover_max
    if share is not None:
        equity = next(r for r in desk.output if type(r) is Valuation).equity
        adjusted = [p for p in proposals if "may be" in p.sizing]
        assert sum(p.terms.quantity * p.reference_price for p in adjusted) <= equity * share + Decimal("0.0001")

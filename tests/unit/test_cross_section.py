"""Correlation and beta to another symbol, and ranks and z-scores over the universe, against pandas."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib

from configs.strategies import load_strategies
from operators.indicators import build
from operators.trading.cross_section import ranks, z_scores
from operators.trading.pair_statistics import PairStatistic, parse_pair_spec
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from schemas.errors import BadInput
from tests.builders import corporate_action
from tests.unit.trading_desk import TradingDesk
from tests.unit.trading_harness import Scripted, closes, minute, run

NAMES = ("correlation_20(SPY)", "beta_20(SPY)")


def prices(count: int, seed: int = 1, scale: float = 1.0) -> pd.DataFrame:
    """Build closes of SPY and of KO, which follows it in part."""
    rng = np.random.default_rng(seed)
    market = rng.normal(0, 0.001, count)
    own = 0.7 * market + rng.normal(0, 0.001 * scale, count)
    return pd.DataFrame({"KO": 60 * np.cumprod(1 + own), "SPY": 400 * np.cumprod(1 + market)}).round(2)


def by_pandas(table: pd.DataFrame, period: int) -> dict[str, pd.Series[float]]:
    returns = table / table.shift(1) - 1
    window, market = returns["KO"].rolling(period), returns["SPY"]
    return {"correlation": window.corr(market), "beta": window.cov(market) / market.rolling(period).var()}


@pytest.mark.parametrize("kind", ["correlation", "beta"])
@pytest.mark.parametrize("period", [2, 5, 60])
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e-3])
def test_a_statistic_of_two_symbols_equals_that_of_pandas(kind: str, period: int, scale: float) -> None:
    table = prices(400, scale=scale)
    if period == 2:
        table = table.round(9) + np.arange(400)[:, None] * 1e-4  # no window without a variance
    spec = parse_pair_spec(f"{kind}_{period}(SPY)")
    assert spec is not None
    statistic, found = PairStatistic(spec), []
    for number, (own, market) in enumerate(zip(table["KO"], table["SPY"], strict=True)):
        statistic.update(number, own, market)
        found.append(np.nan if statistic.value is None else statistic.value)
        restored = PairStatistic(spec)
        restored.restore(pickle.loads(pickle.dumps(statistic.snapshot())))  # noqa: S301  (written here)
        statistic = restored
    expected = by_pandas(table, period)[kind].to_numpy()
    assert np.isnan(found)[: period + 1].tolist() == [True] * period + [False]
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_correlation_and_beta_equal_those_of_talib(scale: float) -> None:
    """TA-Lib's BETA divides by the variance of its first series, and uses one more price than CORREL uses returns."""
    table, period = prices(400, scale=scale), 20
    own, market = table["KO"].to_numpy(), table["SPY"].to_numpy()
    returns = (table / table.shift(1) - 1).fillna(0.0)
    expected = {
        "correlation": talib.CORREL(returns["KO"].to_numpy(), returns["SPY"].to_numpy(), period),
        "beta": talib.BETA(market, own, period),
    }
    for kind, values in expected.items():
        spec = parse_pair_spec(f"{kind}_{period}(SPY)")
        assert spec is not None
        statistic, found = PairStatistic(spec), []
        for number, (one, other) in enumerate(zip(own, market, strict=True)):
            statistic.update(number, one, other)
            found.append(np.nan if statistic.value is None else statistic.value)
        np.testing.assert_allclose(found[period:], values[period:], rtol=1e-9, atol=1e-9, err_msg=kind)


def test_prices_that_do_not_move_have_no_value() -> None:
    for name in ("correlation_3(SPY)", "beta_3(SPY)"):
        spec = parse_pair_spec(name)
        assert spec is not None
        statistic = PairStatistic(spec)
        for number in range(10):
            statistic.update(number, 10.0 + number, 400.0)
            assert statistic.value is None


def test_a_strategy_reads_statistics_of_the_feeds_bars_and_of_longer_ones() -> None:
    """The benchmark need not be in the strategy's universe."""
    table, found = prices(200), list[Any]()
    features = {"1m": (*NAMES, "sma_3"), "5m": ("beta_10(SPY)",)}

    def act(ctx: Any, number: int) -> None:
        found.append([*(ctx.feature("KO", name) for name in NAMES), ctx.feature("KO", "beta_10(SPY)", "5m")])
        assert (ctx.feature("KO", "sma_3") is not None) == (number >= 3)
        assert ctx.universe == ("KO",)

    desk = TradingDesk(Scripted(act, symbols=("KO",), features=features))
    for ko, spy in zip(table["KO"], table["SPY"], strict=True):
        desk.step(1, KO=ko, SPY=spy)
    expected, longer = by_pandas(table, 20), by_pandas(table[4::5], 10)["beta"]
    columns = np.array(found, dtype=float).T
    np.testing.assert_allclose(columns[0], expected["correlation"], rtol=1e-8)
    np.testing.assert_allclose(columns[1], expected["beta"], rtol=1e-8)
    np.testing.assert_allclose(columns[2], longer.reindex(table.index).ffill(), rtol=1e-8)


@pytest.mark.parametrize("symbol", ["KO", "SPY"])
def test_a_split_of_either_symbol_and_a_restart_change_nothing(symbol: str) -> None:
    table = prices(60)
    results = []
    for split in (False, True):
        found: list[Any] = []

        def act(ctx: Any, number: int, found: list[Any] = found) -> None:
            found.append([ctx.feature("KO", name) for name in NAMES])

        strategy = Scripted(act, symbols=("KO", "SPY"), features=NAMES)
        stage = TradingStrategyStage([strategy], TradingSettings())
        for number, (ko, spy) in enumerate(zip(table["KO"], table["SPY"], strict=True), start=1):
            one = {"KO": ko, "SPY": spy}
            if split and number >= 40:
                one[symbol] /= 2
            records: list[Any] = [*closes(number, **one)]
            if split and number == 40:
                records.insert(0, corporate_action("spl-1", "SPLIT", symbol, ratio=2))
            stage.on_slice(minute(number), records)
            if split:
                snapshot = pickle.dumps(stage.snapshot())
                stage = TradingStrategyStage([strategy], TradingSettings())
                stage.restore(pickle.loads(snapshot))  # noqa: S301  (written here)
        results.append(np.array(found, dtype=float))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-9)
    assert not np.isnan(results[0][-1]).any()


def test_the_error_for_an_indicator_of_two_symbols_names_trading_strategies(tmp_path: Path) -> None:
    sentence = "reads two symbols, but view strategies, the settings and other indicators read one; only a trading"
    for spec in ("correlation_60(SPY)", "beta_60(SPY)@15m", "ema_5(beta_60(SPY))", "correlation"):
        with pytest.raises(BadInput, match=sentence):
            build(spec)
    file = tmp_path / "own.py"
    file.write_text(
        "class Own:\n    name, features = 'own', ('beta_60(SPY)',)\n"
        "    def decide(self, row, state):\n        return state, None\n"
    )
    with pytest.raises(BadInput, match=rf"strategy '{file}:Own': indicator 'beta_60\(SPY\)' {sentence}"):
        load_strategies([{"name": f"{file}:Own"}])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("correlation_60", "must have the form correlation_<period>"),
        ("beta(SPY)", "must have the form beta_<period>"),
        ("beta_1(SPY)", "a period must be at least 2 bars, found 1"),
        ("corelation_60(SPY)", "unknown indicator"),
    ],
)
def test_a_malformed_statistic_is_rejected(spec: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        run(Scripted(lambda ctx, number: None, features=(spec,)), [])


@pytest.mark.parametrize("seed", range(100))
def test_ranks_and_z_scores_equal_those_of_pandas(seed: int) -> None:
    """Up to 30 numbers, with ties, missing numbers, and all of them equal."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(0, 31))
    numbers = rng.choice([*range(-3, 4), *rng.normal(0, 1e3, 5)], size) if seed % 10 else np.ones(size)
    values = {f"S{index}": None if rng.random() < 0.2 else float(number) for index, number in enumerate(numbers)}
    series = pd.Series(values, dtype=float)
    assert [np.nan if one is None else one for one in ranks(values).values()] == pytest.approx(
        series.rank().tolist(), nan_ok=True
    )
    if series.nunique() > 1:
        expected = ((series - series.mean()) / series.std(ddof=0)).tolist()
        found = [np.nan if one is None else one for one in z_scores(values).values()]
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-6, nan_ok=True)
    else:
        assert not any(z_scores(values).values())


def test_a_strategy_ranks_its_universe_and_new_symbols_have_no_rank_until_they_are_warm() -> None:
    found: list[Any] = []

    def act(ctx: Any, number: int) -> None:
        found.append((ctx.rank("roc_1"), ctx.z_score("roc_1"), ctx.rank("sma_1", "2m")))

    desk = TradingDesk(Scripted(act, symbols=("A", "B", "C"), features={"1m": ("roc_1",), "2m": ("sma_1",)}))
    desk.step(1, A=100.0, B=100.0)
    desk.step(1, A=103.0, B=101.0, C=50.0)
    desk.step(1, A=103.0, B=102.01, C=50.5)
    nothing = {"A": None, "B": None, "C": None}
    assert found[0] == (nothing, nothing, nothing)
    assert found[1][0] == {"A": 2.0, "B": 1.0, "C": None}
    assert found[1][1] == pytest.approx({"A": 1.0, "B": -1.0, "C": None})
    assert found[1][2] == {"A": 3.0, "B": 2.0, "C": 1.0}
    assert found[2][0]["A"] == 1.0
    assert sorted(found[2][0].values()) in ([1.0, 2.0, 3.0], [1.0, 2.5, 2.5])

"""The example settings let all strategies trade, on a tape and with the bars and news of the simulator."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import time
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings, load_settings
from dataflows import backtest
from dataflows.replay.comparison import Pipeline
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.fundamentals.files import FundamentalsFileSource
from dataflows.sources.news.simulator import SimulatedNewsSource
from dataflows.sources.simulator import Simulator
from dataflows.sources.tape import Tape
from operators.signals.ensemble import ENSEMBLE
from operators.stage import TimeSlice
from operators.strategies import STRATEGIES, TradingStrategy
from schemas.records import TRADE, Execution, Order, Record, Signal, SignalOutcome, StrategyWeights
from tests.replay.market import MONDAY, write_market
from tests.replay.test_staged_tape import SYMBOLS, write_tape

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "configs" / "examples" / "all-strategies.yaml"
STRATEGIES_WITH_DATA = {"ema_cross", "sentiment", "fundamental_value"}
"""Without a registered model, the strategy `model` has no input."""
START_NS = 1_710_162_000_000_000_000
MINUTES_SIMULATED = 20


@pytest.fixture(scope="module")
def example() -> Settings:
    return load_settings(EXAMPLE, environment={})


def pipeline_output(settings: Settings, time_slices: Iterable[TimeSlice]) -> list[Record]:
    """Return the records of the stages, wired as in the backtest."""
    pipeline = Pipeline(settings)
    return [record for time_slice in time_slices for record in pipeline.on_slice(time_slice.ts_ns, time_slice.records)]


def of_type(kind: Any, records: Iterable[Record]) -> list[Any]:
    return [record for record in records if type(record) is kind]


def assert_all_trade(records: list[Record]) -> None:
    signals = of_type(Signal, records)
    assert {signal.strategy for signal in signals} == STRATEGIES_WITH_DATA | {ENSEMBLE}
    ensemble_signals = [signal for signal in signals if signal.strategy == ENSEMBLE]
    contributors = {name for signal in ensemble_signals for name in signal.parts}
    assert contributors >= STRATEGIES_WITH_DATA, "each strategy has a part in the ensemble"
    assert all(signal.parts for signal in ensemble_signals if signal.direction)
    assert of_type(Order, records)
    assert [one for one in of_type(Execution, records) if one.exec_type == TRADE]
    assert {outcome.strategy for outcome in of_type(SignalOutcome, records)} >= STRATEGIES_WITH_DATA
    weights = of_type(StrategyWeights, records)
    assert weights and weights[0].weights.keys() == STRATEGIES_WITH_DATA | {"model"}
    assert any(len(set(one.weights.values())) > 1 for one in weights), "the weights are no longer equal"
    assert all(abs(sum(one.weights.values()) - 1.0) < 1e-5 for one in weights)


def write_filings(file: Path) -> Path:
    """Write filings of sound companies whose prices are near the limits of the strategy."""
    rows = ["symbol,filed,period_end,net_income,eps,shares,equity"]
    for symbol, price in zip(SYMBOLS, (20.0, 40.0, 60.0), strict=True):
        eps = price / 15
        rows.append(f"{symbol},20240301,20231231,{eps * 1000},{eps},1000,{price * 500}")
    file.write_text("\n".join(rows) + "\n")
    return file


def test_example_contains_every_view_strategy_except_the_benchmark(example: Settings) -> None:
    views = {name for name, one in STRATEGIES.items() if not issubclass(one, TradingStrategy)}
    assert {entry.name for entry in example.signals.strategies} == views - {"buy_and_hold"}
    assert example.signals.ensemble.enabled
    assert example.signals.ensemble.weights == "learned"


def test_default_settings_trade_only_ema_cross() -> None:
    defaults = load_settings(environment={})
    assert [entry.name for entry in defaults.signals.strategies] == ["ema_cross"]
    assert not defaults.signals.ensemble.enabled


def test_backtest_with_the_example_trades_all_strategies(example: Settings, tmp_path: Path) -> None:
    bars = write_market(tmp_path / "bars", symbols=SYMBOLS, days=[MONDAY], open_time=time(9), minutes=150)
    tape = write_tape(tmp_path, 5)._replace(fundamentals=[write_filings(tmp_path / "sound.csv")])
    settings = example.with_files(tape._asdict())
    feed_settings = settings.market_data.files
    assert_all_trade(pipeline_output(settings.for_backtest(), FileFeed(bars, feed_settings, Tape(tape, feed_settings))))
    _, summary = backtest.run(settings, bars)
    assert summary["signals"] and summary["orders"] and summary["fills"]
    assert summary["dead_letters"] == 0


def test_simulator_with_the_example_trades_all_strategies(example: Settings) -> None:
    simulator = example.market_data.simulator
    bars = Simulator(
        simulator.symbols,
        simulator.seed,
        interval_s=simulator.interval_s,
        start_ns=START_NS,
        end_after_slices=MINUTES_SIMULATED * 60,
        fast=True,
    )
    slot_s = example.news.simulator.interval_s
    news = SimulatedNewsSource(simulator.symbols, example.news.simulator.seed, interval_s=slot_s)
    paths = [ROOT / path for path in example.fundamentals.files.paths]
    filings = FundamentalsFileSource(paths, interval_s=1, now_ns=lambda: START_NS).fetch()
    time_slices = []
    for time_slice in bars:
        slot, offset_ns = divmod(time_slice.ts_ns, round(slot_s * 1e9))
        item = news.item(slot - 1) if offset_ns == 0 else None
        news_items = [item] if item is not None else []
        time_slices.append(TimeSlice(time_slice.ts_ns, [*news_items, *filings, *time_slice.records]))
        filings = []
    assert_all_trade(pipeline_output(example, time_slices))


def test_invented_filings_belong_to_simulated_symbols(example: Settings) -> None:
    rows = [row for path in example.fundamentals.files.paths for row in csv.DictReader((ROOT / path).open())]
    assert {row["symbol"] for row in rows} < set(example.market_data.simulator.symbols)
    assert {row["source"] for row in rows} == {"invented"}

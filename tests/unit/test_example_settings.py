"""The example settings in which all strategies trade: they do, on a tape and with the simulator's bars and news."""

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
from dataflows.sources.files import FileFeed
from dataflows.sources.fundamentals.files import FundamentalsFiles
from dataflows.sources.news.simulator import NewsSimulator
from dataflows.sources.simulator import Simulator
from dataflows.sources.tape import Tape
from operators.signals.ensemble import ENSEMBLE
from operators.stage import Tick
from operators.strategies import STRATEGIES
from schemas.records import TRADE, Execution, Order, Record, Signal, SignalOutcome, StrategyWeights
from tests.replay.market import MONDAY, write_market
from tests.replay.test_staged_tape import SYMBOLS, write_tape

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "configs" / "examples" / "all-strategies.yaml"
WITH_DATA = {"ema_cross", "sentiment", "fundamental_value"}
"""No model is registered, so `model` has nothing to follow."""
START_NS = 1_710_162_000_000_000_000
MINUTES_SIMULATED = 20


@pytest.fixture(scope="module")
def example() -> Settings:
    return load_settings(EXAMPLE, environment={})


def made_of(settings: Settings, ticks: Iterable[Tick]) -> list[Record]:
    """What the stages write, the same that the backtest wires."""
    pipeline = Pipeline(settings)
    return [record for tick in ticks for record in pipeline.on_tick(tick.ts_ns, tick.records)]


def of_type(kind: Any, records: Iterable[Record]) -> list[Any]:
    return [record for record in records if type(record) is kind]


def assert_all_trade(made: list[Record]) -> None:
    signals = of_type(Signal, made)
    assert {signal.strategy for signal in signals} == WITH_DATA | {ENSEMBLE}
    together = [signal for signal in signals if signal.strategy == ENSEMBLE]
    contributed = {name for signal in together for name in signal.parts}
    assert contributed >= WITH_DATA, "each strategy was heard in the ensemble"
    assert all(signal.parts for signal in together if signal.direction)
    assert of_type(Order, made)
    assert [one for one in of_type(Execution, made) if one.exec_type == TRADE]
    assert {outcome.strategy for outcome in of_type(SignalOutcome, made)} >= WITH_DATA
    weights = of_type(StrategyWeights, made)
    assert weights and weights[0].weights.keys() == WITH_DATA | {"model"}
    assert any(len(set(one.weights.values())) > 1 for one in weights), "the weights are no longer equal"
    assert all(abs(sum(one.weights.values()) - 1.0) < 1e-5 for one in weights)


def write_filings(file: Path) -> Path:
    """Sound companies, priced about where the strategy's limits are."""
    rows = ["symbol,filed,period_end,net_income,eps,shares,equity"]
    for symbol, price in zip(SYMBOLS, (20.0, 40.0, 60.0), strict=True):
        eps = price / 15
        rows.append(f"{symbol},20240301,20231231,{eps * 1000},{eps},1000,{price * 500}")
    file.write_text("\n".join(rows) + "\n")
    return file


def test_every_strategy_but_the_yardstick_is_in_it(example: Settings) -> None:
    assert {entry.name for entry in example.signals.strategies} == STRATEGIES.keys() - {"buy_and_hold"}
    assert example.signals.ensemble.enabled
    assert example.signals.ensemble.weights == "learned"


def test_without_it_ema_cross_trades_alone() -> None:
    delivered = load_settings(environment={})
    assert [entry.name for entry in delivered.signals.strategies] == ["ema_cross"]
    assert not delivered.signals.ensemble.enabled


def test_a_backtest_with_it_trades_all_strategies(example: Settings, tmp_path: Path) -> None:
    bars = write_market(tmp_path / "bars", symbols=SYMBOLS, days=[MONDAY], opens=time(9), minutes=150)
    tape = write_tape(tmp_path, 5)._replace(fundamentals=[write_filings(tmp_path / "sound.csv")])
    settings = example.with_files(tape._asdict())
    reading = settings.market_data.files.reading()
    assert_all_trade(made_of(settings.of_files(), FileFeed(bars, reading, Tape(tape, reading))))
    _, summary = backtest.run(settings, bars)
    assert summary["signals"] and summary["orders"] and summary["fills"]
    assert summary["dead_letters"] == 0


def test_started_with_it_the_simulators_bars_and_news_trade_all_strategies(example: Settings) -> None:
    simulator = example.market_data.simulator
    bars = Simulator(
        simulator.symbols,
        simulator.seed,
        interval_s=simulator.interval_s,
        start_ns=START_NS,
        end_after_ticks=MINUTES_SIMULATED * 60,
        fast=True,
    )
    slot_s = example.news.simulator.interval_s
    news = NewsSimulator(simulator.symbols, example.news.simulator.seed, interval_s=slot_s)
    paths = [ROOT / path for path in example.fundamentals.files.paths]
    waiting = FundamentalsFiles(paths, interval_s=1, now_ns=lambda: START_NS).ask()
    ticks = []
    for tick in bars:
        slot, within = divmod(tick.ts_ns, round(slot_s * 1e9))
        item = news.item(slot - 1) if within == 0 else None
        told = [item] if item is not None else []
        ticks.append(Tick(tick.ts_ns, [*told, *waiting, *tick.records]))
        waiting = []
    assert_all_trade(made_of(example, ticks))


def test_the_invented_filings_are_of_the_simulators_symbols(example: Settings) -> None:
    rows = [row for path in example.fundamentals.files.paths for row in csv.DictReader((ROOT / path).open())]
    assert {row["symbol"] for row in rows} < set(example.market_data.simulator.symbols)
    assert {row["source"] for row in rows} == {"invented"}

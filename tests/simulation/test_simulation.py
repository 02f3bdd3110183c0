"""Thousands of schedules of the whole platform: all keep the invariants and end with the records of the fused run."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from operators.features import FeatureStage
from operators.feedback import FeedbackSettings, FeedbackStage
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.predictions import PredictionStage
from operators.risk import RiskStage
from operators.risk.settings import RiskSettings
from operators.sentiment import SentimentStage
from operators.signals import SignalStage
from operators.signals.ensemble import ENSEMBLE, EnsembleSettings
from operators.sizing import SizingSettings
from operators.stage import Stage, TimeSlice
from operators.strategies import TargetView
from operators.trading.idle import IdleStrategies
from operators.trading_loop import Analysis, LearningLoop, TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.records import Execution, FeatureRow, LotMatch, Order, OrderRefusal, Record, StrategyWeights
from tests.builders import bar
from tests.simulation.invariants import Invariants
from tests.simulation.simulated_platform import SimulatedPlatform

TAPES, SLICES_PER_TAPE, SYMBOLS = 7, 12, ("A", "B", "C")
POSITION_MAX = Decimal(29)  # a little below the sizing's target quantity at prices under 100
CAPITAL = Decimal(10_000)


class Mod3Strategy:
    """Changes its direction about every third bar, by the digits of the price. This trades often on a short tape."""

    name, features = "restless", ("ema_2",)

    def decide(self, row: FeatureRow, state: Any) -> tuple[Any, TargetView | None]:
        direction = round(row.close * 100) % 3 - 1
        return direction, TargetView(direction, 1.0, 1.0, {"close": row.close})


class Mod5Strategy(Mod3Strategy):
    """Another direction from the same digits, so that the ensemble weighs two strategies."""

    name = "stubborn"

    def decide(self, row: FeatureRow, state: Any) -> tuple[Any, TargetView | None]:
        direction = round(row.close * 100) % 5 - 2
        direction = (direction > 0) - (direction < 0)
        return direction, TargetView(direction, 1.0, 0.05, {"close": row.close})


STAGES: dict[str, Callable[[], Stage]] = {
    "features": lambda: FeatureStage(["ema_2"]),
    "signals": lambda: SignalStage(
        [Mod3Strategy(), Mod5Strategy()],
        EnsembleSettings(enabled=True, weights="learned", threshold=0.05, change_min=0.0),
    ),
    "portfolio": lambda: PortfolioStage(
        PortfolioSettings(
            initial_capital=CAPITAL,
            max_position_percentage=Decimal(2),
            sizing=SizingSettings(fraction=Decimal("0.315")),
            allow_short=True,
            exit_retry_s=0,
            strategies=(ENSEMBLE,),
        )
    ),
    "strategies": IdleStrategies,
    "risk": lambda: RiskStage(RiskSettings.unlimited(initial_capital=CAPITAL, max_position=POSITION_MAX)),
    "execution": lambda: VenueStage(VenueSettings()),
    "sentiment": SentimentStage,
    "predictions": lambda: PredictionStage(None),
    "feedback": lambda: FeedbackStage(
        FeedbackSettings(horizon_bars=2, attribution_interval_s=60, weights_interval_s=60, half_life_s=600),
        ("restless", "stubborn"),
    ),
}


@cache
def make_tape(number: int) -> list[TimeSlice]:
    """Twelve minutes of three symbols. A few tapes are enough, because the schedules differ."""
    rng = random.Random(number)
    last = dict.fromkeys(SYMBOLS, 100.0)
    out = []
    for seq in range(1, SLICES_PER_TAPE + 1):
        ts_ns = seq * 60_000_000_000
        bars: list[Record] = []
        for symbol in SYMBOLS:
            open_price, traded = last[symbol], rng.random() < 0.9
            close = last[symbol] = round(open_price + rng.gauss(0, 0.5), 2) if traded else open_price
            bars.append(bar(symbol, seq, ts_ns, close, open=open_price, volume=10.0, traded=traded))
        out.append(TimeSlice(ts_ns, bars))
    return out


class FusedPipeline:
    """The stages in one chain. It returns all their records."""

    def __init__(self, stages: dict[str, Callable[[], Stage]]) -> None:
        self._analysis = Analysis(stages["features"](), stages["predictions"]())
        trading = TradingLoop(stages["execution"](), stages["portfolio"](), stages["risk"]())
        self._learning_loop = LearningLoop(stages["sentiment"](), stages["signals"](), trading, stages["feedback"]())

    def on_slice(self, ts_ns: int, records: Any) -> list[Record]:
        analysed = self._analysis.on_slice(ts_ns, records)
        return analysed[len(records) :] + self._learning_loop.on_slice(ts_ns, analysed)

    def snapshot(self) -> Any:
        return (self._analysis.snapshot(), self._learning_loop.snapshot())

    def restore(self, snapshot: Any) -> None:
        self._analysis.restore(snapshot[0])
        self._learning_loop.restore(snapshot[1])


def simulate(seed: int, **broken_stages: Callable[[], Stage]) -> tuple[SimulatedPlatform, Invariants]:
    """Run one seed. `broken_stages` replaces stages of the services, but not of the fused run."""
    invariants = Invariants(FusedPipeline(STAGES), CAPITAL, POSITION_MAX)
    world = SimulatedPlatform(seed, make_tape(seed % TAPES), {**STAGES, **broken_stages}, invariants, crash_rate=0.002)
    try:
        world.run()
        invariants.at_end(world)
    except AssertionError as error:
        error.add_note(f"again with: pytest tests/simulation --seed {seed}")
        raise
    return world, invariants


def test_every_schedule_keeps_the_invariants_and_matches_the_fused_run(seeds: list[int]) -> None:
    seeds = [int(os.environ["SIMULATION_SEED"])] if "SIMULATION_SEED" in os.environ else seeds
    started, kills, steps, records = time.monotonic(), 0, 0, 0
    for seed in seeds:
        world, invariants = simulate(seed)
        kills, steps, records = kills + world.kills, steps + world.steps, records + invariants.record_count
    elapsed_s = time.monotonic() - started
    seeds_per_minute = 60 * len(seeds) / elapsed_s
    print(f"{len(seeds)} seeds, {steps} steps, {kills} kills, {records} records, {seeds_per_minute:.0f} seeds/minute")
    assert len(seeds) == 1 or kills > 2 * len(seeds), "the schedules must hurt"


def test_the_tapes_trade_and_reach_the_limits() -> None:
    record_counts: Counter[type] = Counter()
    for number in range(TAPES):
        fused = FusedPipeline(STAGES)
        for ts_ns, records in make_tape(number):
            record_counts.update(type(record) for record in fused.on_slice(ts_ns, records))
    assert all(
        record_counts[record_type] > 3 * TAPES for record_type in (LotMatch, Order, OrderRefusal, StrategyWeights)
    ), record_counts


# -- the simulation must detect faults in a broken platform ------------------------------------------------------------


class RiskStageLosingCash(RiskStage):
    """Its snapshot omits the cash."""

    def restore(self, snapshot: Any) -> None:
        super().restore(snapshot)
        self._book.cash = CAPITAL


class SignalStageResettingSeq(SignalStage):
    """Restarts its `seq` at 0 after a restore."""

    def restore(self, snapshot: Any) -> None:
        super().restore(snapshot)
        for symbol_state in self._symbols.values():
            symbol_state.seq = 0


class PortfolioStageResettingSeq(PortfolioStage):
    """Its snapshot omits the number of proposals."""

    def restore(self, snapshot: Any) -> None:
        version, ledger, marks, (valuation_seq, _proposal_seq, *counters), *rest = snapshot
        super().restore((version, ledger, marks, (valuation_seq, 0, *counters), *rest))


class RandomFillVenueStage(VenueStage):
    """Changes fills at random."""

    rng = random.Random(1)

    def on_slice(self, ts_ns: int, records: Any) -> list[Record]:
        output = super().on_slice(ts_ns, records)
        return [
            record._replace(text="lucky") if type(record) is Execution and self.rng.random() < 0.2 else record
            for record in output
        ]


BROKEN_STAGES: dict[str, tuple[str, Callable[[], Stage]]] = {
    "risk forgets its cash": (
        "risk",
        lambda: RiskStageLosingCash(RiskSettings.unlimited(initial_capital=CAPITAL, max_position=POSITION_MAX)),
    ),
    "signals count again": ("signals", lambda: SignalStageResettingSeq([Mod3Strategy()])),
    "portfolio counts again": (
        "portfolio",
        lambda: PortfolioStageResettingSeq(STAGES["portfolio"]().settings),  # type: ignore[attr-defined]
    ),
    "a venue that rolls dice": ("execution", lambda: RandomFillVenueStage(VenueSettings())),
}


@pytest.mark.parametrize("fault", BROKEN_STAGES)
def test_a_broken_stage_is_detected_within_a_few_seeds(fault: str) -> None:
    service, make_stage = BROKEN_STAGES[fault]
    for seed in range(40):
        try:
            simulate(seed, **{service: make_stage})
        except AssertionError as error:
            assert "--seed" in error.__notes__[0]
            return
    raise AssertionError(f"40 seeds did not notice: {fault}")


def test_a_seed_runs_the_same_way_twice() -> None:
    first, second = simulate(3)[0], simulate(3)[0]
    assert first.topics.logs == second.topics.logs and (first.steps, first.kills) == (second.steps, second.kills)

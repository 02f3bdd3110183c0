"""Thousands of schedules of the whole platform: all keep the rules and end with the records of the fused run."""

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
from operators.stage import Stage, Tick
from operators.strategies import View
from operators.trading_loop import Analysis, LearningLoop, TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.records import REGULAR, Bar, Execution, FeatureRow, LotMatch, Order, OrderRefusal, Record, StrategyWeights
from tests.simulation.invariants import Invariants
from tests.simulation.world import World

TAPES, TICKS, SYMBOLS = 7, 12, ("A", "B", "C")
POSITION_MAX = Decimal(29)  # a little below what the sizing asks for while a price is under 100
CAPITAL = Decimal(10_000)


class Restless:
    """Changes its mind about every third bar, by the digits of the price: much trading on a short tape."""

    name, features = "restless", ("ema_2",)

    def decide(self, row: FeatureRow, state: Any) -> tuple[Any, View | None]:
        direction = round(row.close * 100) % 3 - 1
        return direction, View(direction, 1.0, 1.0, {"close": row.close})


class Stubborn(Restless):
    """Another mind about the same digits: what both say is weighed."""

    name = "stubborn"

    def decide(self, row: FeatureRow, state: Any) -> tuple[Any, View | None]:
        direction = round(row.close * 100) % 5 - 2
        direction = (direction > 0) - (direction < 0)
        return direction, View(direction, 1.0, 0.05, {"close": row.close})


STAGES: dict[str, Callable[[], Stage]] = {
    "features": lambda: FeatureStage(["ema_2"]),
    "signals": lambda: SignalStage(
        [Restless(), Stubborn()], EnsembleSettings(enabled=True, weights="learned", threshold=0.05, change_min=0.0)
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
def tape(number: int) -> list[Tick]:
    """Twelve minutes of three symbols. A few tapes are enough: the schedules differ."""
    rng = random.Random(number)
    last = dict.fromkeys(SYMBOLS, 100.0)
    out = []
    for seq in range(1, TICKS + 1):
        ts_ns = seq * 60_000_000_000
        bars: list[Record] = []
        for symbol in SYMBOLS:
            opened, traded = last[symbol], rng.random() < 0.9
            close = last[symbol] = round(opened + rng.gauss(0, 0.5), 2) if traded else opened
            low, high = min(opened, close), max(opened, close)
            bars.append(
                Bar(
                    symbol,
                    seq,
                    ts_ns,
                    ts_ns - 60_000_000_000,
                    opened,
                    high,
                    low,
                    close,
                    10.0,
                    REGULAR,
                    20240102,
                    traded,
                )
            )
        out.append(Tick(ts_ns, bars))
    return out


class Fused:
    """The stages in one chain, giving everything they make."""

    def __init__(self, stages: dict[str, Callable[[], Stage]]) -> None:
        self._analysis = Analysis(stages["features"](), stages["predictions"]())
        trading = TradingLoop(stages["execution"](), stages["portfolio"](), stages["risk"]())
        self._deciding = LearningLoop(stages["sentiment"](), stages["signals"](), trading, stages["feedback"]())

    def on_tick(self, ts_ns: int, records: Any) -> list[Record]:
        analysed = self._analysis.on_tick(ts_ns, records)
        return analysed[len(records) :] + self._deciding.on_tick(ts_ns, analysed)

    def snapshot(self) -> Any:
        return (self._analysis.snapshot(), self._deciding.snapshot())

    def restore(self, snapshot: Any) -> None:
        self._analysis.restore(snapshot[0])
        self._deciding.restore(snapshot[1])


def simulate(seed: int, **broken: Callable[[], Stage]) -> tuple[World, Invariants]:
    """Run one seed; `broken` puts other stages into the services, not into the fused run beside them."""
    invariants = Invariants(Fused(STAGES), CAPITAL, POSITION_MAX)
    world = World(seed, tape(seed % TAPES), {**STAGES, **broken}, invariants, crash_share=0.002)
    try:
        world.run()
        invariants.at_end(world)
    except AssertionError as error:
        error.add_note(f"again with: pytest tests/simulation --seed {seed}")
        raise
    return world, invariants


def test_every_schedule_keeps_the_rules_and_ends_like_the_fused_run(seeds: list[int]) -> None:
    seeds = [int(os.environ["SIMULATION_SEED"])] if "SIMULATION_SEED" in os.environ else seeds
    began, kills, steps, records = time.monotonic(), 0, 0, 0
    for seed in seeds:
        world, invariants = simulate(seed)
        kills, steps, records = kills + world.kills, steps + world.steps, records + invariants.records
    took_s = time.monotonic() - began
    print(
        f"{len(seeds)} seeds, {steps} steps, {kills} kills, {records} records, {60 * len(seeds) / took_s:.0f} a minute"
    )
    assert len(seeds) == 1 or kills > 2 * len(seeds), "the schedules must hurt"


def test_the_tapes_trade_and_meet_the_limits() -> None:
    kinds: Counter[type] = Counter()
    for number in range(TAPES):
        fused = Fused(STAGES)
        for ts_ns, records in tape(number):
            kinds.update(type(record) for record in fused.on_tick(ts_ns, records))
    assert all(kinds[kind] > 3 * TAPES for kind in (LotMatch, Order, OrderRefusal, StrategyWeights)), kinds


# -- a simulation that finds nothing in a broken platform would prove nothing ------------------------------------------


class ForgetfulRisk(RiskStage):
    """Its snapshot has no cash."""

    def restore(self, snapshot: Any) -> None:
        super().restore(snapshot)
        self._book.cash = CAPITAL


class CountsAgain(SignalStage):
    """Starts its seq anew after a restart."""

    def restore(self, snapshot: Any) -> None:
        super().restore(snapshot)
        for views in self._symbols.values():
            views.seq = 0


class ProposesAgain(PortfolioStage):
    """Its snapshot has no count of proposals."""

    def restore(self, snapshot: Any) -> None:
        super().restore(snapshot)
        self._proposal_seq = 0


class Dice(VenueStage):
    """Fills by chance."""

    chance = random.Random(1)

    def on_tick(self, ts_ns: int, records: Any) -> list[Record]:
        made = super().on_tick(ts_ns, records)
        return [
            record._replace(text="lucky") if type(record) is Execution and self.chance.random() < 0.2 else record
            for record in made
        ]


BROKEN: dict[str, tuple[str, Callable[[], Stage]]] = {
    "risk forgets its cash": (
        "risk",
        lambda: ForgetfulRisk(RiskSettings.unlimited(initial_capital=CAPITAL, max_position=POSITION_MAX)),
    ),
    "signals count again": ("signals", lambda: CountsAgain([Restless()])),
    "portfolio counts again": (
        "portfolio",
        lambda: ProposesAgain(STAGES["portfolio"]().settings),  # type: ignore[attr-defined]
    ),
    "a venue that rolls dice": ("execution", lambda: Dice(VenueSettings())),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_stage_is_found_within_a_few_seeds(fault: str) -> None:
    service, make = BROKEN[fault]
    for seed in range(40):
        try:
            simulate(seed, **{service: make})
        except AssertionError as error:
            assert "--seed" in error.__notes__[0]
            return
    raise AssertionError(f"40 seeds did not notice: {fault}")


def test_a_seed_runs_the_same_way_twice() -> None:
    first, second = simulate(3)[0], simulate(3)[0]
    assert first.topics.logs == second.topics.logs and (first.steps, first.kills) == (second.steps, second.kills)

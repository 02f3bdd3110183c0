"""What a release's stages held in the middle of a session, pickled as in a recovery store.

Written by the release itself. In a checkout of its commit, with this file and the platform's environment:
`python -m tests.replay.release_states FILE`.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
from datetime import time
from pathlib import Path
from typing import Any, NamedTuple

from configs.settings import Settings
from dataflows.runtime import stages
from operators.stage import Tick
from operators.trading_loop import TradingLoop
from schemas.codec import decode, encode
from schemas.records import KILL_SWITCH, RELEASE, Bar, Command, Order, OrderCancel, OrderRefusal, RiskFence
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import feed_ticks, settings

RELEASES = Path(__file__).parent / "releases"
SERVICES = ("features", "signals", "execution", "portfolio", "risk")
LIMIT = {"order_type": "LIMIT", "limit_price": "19", "time_in_force": "GTC"}
BY_HAND = {"symbol": "A", "side": "BUY", "quantity": "7", **LIMIT}
ASKED: dict[int, tuple[str, dict[str, str]]] = {40: (KILL_SWITCH, {}), 44: (RELEASE, {}), 70: ("SUBMIT_ORDER", BY_HAND)}
"""By number of the tick: trading stopped and let go, an order that rests from then on."""


class States(NamedTuple):
    """After `ticks` ticks: each service's pickled snapshot, and what was on its way in topics, as messages."""

    ticks: int
    stages: dict[str, bytes]
    waiting: list[bytes]


def session() -> list[Tick]:
    """Pre-market into the regular session, the same at every call."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_market(Path(folder), symbols=("A", "B", "C", "D", "E"), days=[MONDAY], opens=time(9), minutes=150)
        ticks = feed_ticks(files)
    for number, (kind, arguments) in ASKED.items():
        ts_ns, records = ticks[number]
        ticks[number] = Tick(ts_ns, [*records, Command(f"cmd-{number}", ts_ns, kind, "tester", "asked", arguments)])
    return ticks


class Stages:
    """The five services that release 0.1.0 had, one shard each."""

    def __init__(self, decided: Settings) -> None:
        self.of = {name: getattr(stages, name)(decided)() for name in SERVICES}
        self.loop = TradingLoop(self.of["execution"], self.of["portfolio"], self.of["risk"])
        self.decided: list[Any] = []

    def on_tick(self, tick: Tick) -> list[Any]:
        bars = [record for record in tick.records if type(record) is Bar]
        commands = [record for record in tick.records if type(record) is Command]
        rows = self.of["features"].on_tick(tick.ts_ns, bars)
        signals = self.of["signals"].on_tick(tick.ts_ns, rows)
        out = self.loop.on_tick(tick.ts_ns, [*bars, *signals, *commands])
        self.decided = [record for record in out if type(record) in (Order, OrderCancel, OrderRefusal, RiskFence)]
        return [*rows, *signals, *out]

    def states(self, ticks: int) -> States:
        held = {name: pickle.dumps(stage.snapshot()) for name, stage in self.of.items()}
        return States(ticks, held, [encode(record) for record in self.decided])

    def restore(self, states: States) -> None:
        held = {name: pickle.loads(state) for name, state in states.stages.items()}  # noqa: S301  (a file of our own)
        version = self.loop.snapshot()[0]
        waiting = [(type(record).__name__, tuple(record)) for record in map(decode, states.waiting)]
        self.loop.restore((version, waiting, held["execution"], held["portfolio"], held["risk"]))
        for name in ("features", "signals"):
            self.of[name].restore(held[name])


def main(file: Path) -> None:
    """After the first tick past two thirds that leaves an order on its way."""
    ran, ticks = Stages(settings()), session()
    for number, tick in enumerate(ticks, 1):
        ran.on_tick(tick)
        if number > 2 * len(ticks) // 3 and any(type(record) is Order for record in ran.decided):
            file.write_bytes(pickle.dumps(tuple(ran.states(number))))
            return
    raise AssertionError("no order was on its way in the last third of the session")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

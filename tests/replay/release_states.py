"""The state of a release's stages in the middle of a session, pickled as in a recovery store.

The release itself writes the file. In a checkout of its commit, with this file and the platform's environment, run
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
from operators.stage import TimeSlice
from operators.trading_loop import TradingLoop
from schemas.codec import decode, encode
from schemas.records import KILL_SWITCH, RELEASE, Bar, Command, Order, OrderCancel, OrderRefusal, RiskFence
from schemas.records.flat import to_flat
from tests.builders import command
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import pinned_settings, read_time_slices

RELEASES = Path(__file__).parent / "releases"
SERVICES = ("features", "signals", "execution", "portfolio", "risk")
LIMIT_TERMS = {"order_type": "LIMIT", "limit_price": "19", "time_in_force": "GTC"}
MANUAL_ORDER = {"symbol": "A", "side": "BUY", "quantity": "7", **LIMIT_TERMS}
COMMANDS: dict[int, tuple[str, dict[str, str]]] = {
    40: (KILL_SWITCH, {}),
    44: (RELEASE, {}),
    70: ("SUBMIT_ORDER", MANUAL_ORDER),
}
"""By index of the time slice: a halt, its release, and an order that rests from then on."""


class ReleaseStates(NamedTuple):
    """The state after `slice_count` time slices: each service's pickled snapshot and the pending messages in topics."""

    slice_count: int
    stage_snapshots: dict[str, bytes]
    pending_messages: list[bytes]


def session_slices() -> list[TimeSlice]:
    """Time slices from the pre-market into the regular session, the same at every call."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_market(
            Path(folder), symbols=("A", "B", "C", "D", "E"), days=[MONDAY], open_time=time(9), minutes=150
        )
        time_slices = read_time_slices(files)
    for number, (kind, arguments) in COMMANDS.items():
        ts_ns, records = time_slices[number]
        time_slices[number] = TimeSlice(
            ts_ns, [*records, command(f"cmd-{number}", ts_ns, kind, arguments, reason="asked")]
        )
    return time_slices


class ReleasePipeline:
    """The five services of release 0.1.0, one shard each."""

    def __init__(self, settings: Settings) -> None:
        self.stage_by_service = {name: getattr(stages, name)(settings)() for name in SERVICES}
        self.loop = TradingLoop(
            self.stage_by_service["execution"], self.stage_by_service["portfolio"], self.stage_by_service["risk"]
        )
        self.decisions: list[Any] = []

    def on_slice(self, time_slice: TimeSlice) -> list[Any]:
        bars = [record for record in time_slice.records if type(record) is Bar]
        commands = [record for record in time_slice.records if type(record) is Command]
        rows = self.stage_by_service["features"].on_slice(time_slice.ts_ns, bars)
        signals = self.stage_by_service["signals"].on_slice(time_slice.ts_ns, rows)
        out = self.loop.on_slice(time_slice.ts_ns, [*bars, *signals, *commands])
        self.decisions = [record for record in out if type(record) in (Order, OrderCancel, OrderRefusal, RiskFence)]
        return [*rows, *signals, *out]

    def take_states(self, slice_count: int) -> ReleaseStates:
        snapshots = {name: pickle.dumps(stage.snapshot()) for name, stage in self.stage_by_service.items()}
        return ReleaseStates(slice_count, snapshots, [encode(record) for record in self.decisions])

    def restore(self, states: ReleaseStates) -> None:
        snapshots = {name: pickle.loads(state) for name, state in states.stage_snapshots.items()}  # noqa: S301  (a file of our own)
        version = self.loop.snapshot()[0]
        pending = [(type(record).__name__, tuple(to_flat(record))) for record in map(decode, states.pending_messages)]
        self.loop.restore((version, pending, snapshots["execution"], snapshots["portfolio"], snapshots["risk"]))
        for name in ("features", "signals"):
            self.stage_by_service[name].restore(snapshots[name])


def main(file: Path) -> None:
    """Save the state after the first time slice beyond two thirds of the session that leaves an order pending."""
    pipeline, time_slices = ReleasePipeline(pinned_settings()), session_slices()
    for number, time_slice in enumerate(time_slices, 1):
        pipeline.on_slice(time_slice)
        if number > 2 * len(time_slices) // 3 and any(type(record) is Order for record in pipeline.decisions):
            file.write_bytes(pickle.dumps(tuple(pipeline.take_states(number))))
            return
    raise AssertionError("no order was on its way in the last third of the session")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Runs of the venue stage for tests: bars of one symbol, one time slice a minute, and summaries of the reports."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

from operators.venue import VenueSettings, VenueStage
from schemas.records import NEW, TRADE, Bar, Execution, Record
from tests.builders import bar
from tests.builders.market import MINUTE_NS

NO_FEE: dict[str, Any] = {"fee_model": "none", "slippage_bps": Decimal(0)}
FREE = VenueSettings(**NO_FEE)


def minute_bar(
    seq: int, open: float = 100.0, low: float = 99.0, high: float = 101.0, close: float | None = None, **fields: Any
) -> Bar:
    """Build the bar of minute `seq`, of AAPL by default. It closes at its open by default."""
    symbol = fields.pop("symbol", "AAPL")
    return bar(symbol, seq, seq * MINUTE_NS, close or open, open=open, low=low, high=high, **fields)


def run_slices(stage: VenueStage, *slices: list[Record]) -> list[Execution]:
    executions: list[Execution] = []
    for number, records in enumerate(slices, 1):
        output = stage.on_slice(number * MINUTE_NS, records)
        executions += [record for record in output if isinstance(record, Execution)]
    return executions


def restarted(stage: VenueStage, settings: VenueSettings) -> VenueStage:
    """Return a new stage with the pickled snapshot of `stage`."""
    restored = VenueStage(settings)
    restored.restore(pickle.loads(pickle.dumps(stage.snapshot())))  # noqa: S301 - our own snapshot
    return restored


def run(settings: VenueSettings, *slices: list[Record], restart: bool = False) -> list[Execution]:
    """Run the slices on a new stage; with `restart`, restart it before each slice."""
    stage, executions = VenueStage(settings), []
    for number, records in enumerate(slices, 1):
        if restart:
            stage = restarted(stage, settings)
        executions += [e for e in stage.on_slice(number * MINUTE_NS, records) if isinstance(e, Execution)]
    return executions


def report_lines(executions: list[Execution]) -> list[str]:
    """Return a line such as `1 TRADE 10@100` for each report except NEW, in order."""
    lines = []
    for e in executions:
        if e.exec_type == TRADE:
            lines.append(f"{e.order_id[4:]} TRADE {e.quantity.normalize():f}@{e.price.normalize():f}")
        elif e.exec_type != NEW:
            lines.append(f"{e.order_id[4:]} {e.exec_type}")
    return lines

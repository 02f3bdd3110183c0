"""The loop from bars and signals to the ledger, closed: venue, portfolio and risk as one stage.

It gives each of the three, tick by tick, exactly what the aligned topics would give it when they run as services of
their own: orders and refusals come back one tick later (`operators/alignment.py`). The fused backtest runs this; a
test holds that the staged services decide the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operators.stage import Stage
from schemas.records import (
    Bar,
    Command,
    Execution,
    Order,
    OrderCancel,
    OrderProposal,
    OrderRefusal,
    Record,
    RiskFence,
    Signal,
)

VERSION = 1


class TradingLoop:
    """Reads Bars, Signals and Commands of a tick; gives Executions, the books, Proposals, Orders and Refusals."""

    def __init__(self, execution: Stage, portfolio: Stage, risk: Stage) -> None:
        self._execution, self._portfolio, self._risk = execution, portfolio, risk
        self._orders: list[Record] = []
        self._refusals: list[Record] = []

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        bars: list[Record] = [record for record in records if type(record) is Bar]
        signals: list[Record] = []
        commands: list[Record] = []
        if len(bars) < len(records):
            signals = [record for record in records if type(record) is Signal]
            commands = [record for record in records if type(record) is Command]
        executions = self._execution.on_tick(ts_ns, self._orders + bars)
        assert all(type(record) is Execution for record in executions), "the venue gives executions only"
        books = self._portfolio.on_tick(ts_ns, self._refusals + executions + commands + bars + signals)
        proposals: list[Record] = [record for record in books if type(record) is OrderProposal]
        decided = self._risk.on_tick(ts_ns, executions + commands + bars + proposals)
        self._orders = [record for record in decided if type(record) in (Order, OrderCancel, RiskFence)]
        self._refusals = [record for record in decided if type(record) is OrderRefusal]
        return executions + books + decided

    def snapshot(self) -> Any:
        waiting = [(type(record).__name__, tuple(record)) for record in self._orders + self._refusals]
        return (VERSION, waiting, self._execution.snapshot(), self._portfolio.snapshot(), self._risk.snapshot())

    def restore(self, snapshot: Any) -> None:
        version, waiting, execution, portfolio, risk = snapshot
        assert version == VERSION, f"trading loop state of version {version}, expected {VERSION}"
        kinds: dict[str, Any] = {kind.__name__: kind for kind in (Order, OrderCancel, RiskFence, OrderRefusal)}
        records = [kinds[name]._make(values) for name, values in waiting]
        self._orders = [record for record in records if type(record) is not OrderRefusal]
        self._refusals = [record for record in records if type(record) is OrderRefusal]
        self._execution.restore(execution)
        self._portfolio.restore(portfolio)
        self._risk.restore(risk)


class Chain:
    """Stages in a row, each reading what the one before it gives. `keep_input` gives the input as well, in front."""

    def __init__(self, *stages: Stage, keep_input: bool = False) -> None:
        self._stages, self._keep_input = stages, keep_input

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out = records
        for stage in self._stages:
            out = stage.on_tick(ts_ns, out)
        return [*records, *out] if self._keep_input else list(out)

    def snapshot(self) -> Any:
        return (VERSION, *(stage.snapshot() for stage in self._stages))

    def restore(self, snapshot: Any) -> None:
        version, *states = snapshot
        assert version == VERSION, f"chain state of version {version}, expected {VERSION}"
        for stage, state in zip(self._stages, states, strict=True):
            stage.restore(state)

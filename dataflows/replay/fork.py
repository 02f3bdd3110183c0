"""What would have happened: the recorded inputs under other settings from some moment on, beside what did happen.

Up to that moment the stages run with the old settings; then stages with the new ones take their state over, as they
would after a restart of the platform. Both sides are read tick by tick, so memory does not grow with the length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from configs.settings import Settings
from dataflows.replay.comparison import Pipeline, side_by_side
from dataflows.replay.differences import Difference, derived, first_difference
from dataflows.replay.recording import Recording
from operators.money import ZERO
from operators.stage import Stage
from schemas.records import TRADE, Execution, Lot, LotMatch, Order, OrderRefusal, Position, Record, RiskFence, Valuation

EXAMPLES_MAX = 20
_PROGRESS_TICKS = 500
Progress = Callable[[int], None]


class Outcome(NamedTuple):
    """One side, from the fork on. Money in account currency; `positions` and `open_lots` as of the end."""

    orders: int
    refusals: dict[str, int]  # by check
    fences: int
    fills: int
    traded_quantity: Decimal
    closed_lots: int
    realized_pnl: Decimal  # of the lots closed since the fork
    fees: Decimal
    equity: Decimal
    cash: Decimal
    unrealized_pnl: Decimal
    max_drawdown: Decimal  # of equity, in money
    positions: dict[str, Decimal]
    open_lots: dict[str, int]  # by symbol


class Apart(NamedTuple):
    """Orders and refusals of one tick that only one side has, each as `SIDE QUANTITY SYMBOL`, with the check."""

    ts_ns: int
    only_happened: tuple[str, ...]
    only_forked: tuple[str, ...]


class Forked(NamedTuple):
    """`difference` is the first one before the fork: then the recording does not replay, and nothing was compared.

    `apart` holds the first ticks whose orders or refusals differ, of `ticks_apart` in all.
    """

    ticks: int
    at_ns: int
    last_ns: int
    happened: Outcome
    forked: Outcome
    apart: tuple[Apart, ...]
    ticks_apart: int
    difference: Difference | None


def fork(before: Settings, after: Settings, runs: Recording, at_ns: int, progress: Progress = lambda _: None) -> Forked:
    """Replay with the settings `before` up to the first tick at or after `at_ns`, and with `after` from there on."""
    happened, forked = _Side(), _Side()
    apart: list[Apart] = []
    ticks = ticks_apart = last_ns = 0
    difference: Difference | None = None
    for recorded, replayed in side_by_side(_Switch(before, after, at_ns), runs):
        was, now = derived(recorded.records), derived(replayed.records)
        if recorded.ts_ns < at_ns:
            difference = first_difference(recorded.ts_ns, was, now)
            if difference is not None:
                break
            happened.note(was)
            forked.note(now)
            continue
        ticks, last_ns = ticks + 1, recorded.ts_ns
        happened.add(was)
        forked.add(now)
        one = _apart(recorded.ts_ns, was, now)
        if one is not None:
            ticks_apart += 1
            if len(apart) < EXAMPLES_MAX:
                apart.append(one)
        if ticks % _PROGRESS_TICKS == 0:
            progress(ticks)
    return Forked(ticks, at_ns, last_ns, happened.outcome(), forked.outcome(), tuple(apart), ticks_apart, difference)


class _Switch:
    """The pipeline with the old settings, and from `at_ns` on one with the new settings and the old one's state."""

    def __init__(self, before: Settings, after: Settings, at_ns: int) -> None:
        self._stage: Stage = Pipeline(before)
        self._after: Settings | None = after
        self._at_ns = at_ns

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        if self._after is not None and ts_ns >= self._at_ns:
            state, self._stage = self._stage.snapshot(), Pipeline(self._after)
            self._stage.restore(state)
            self._after = None
        return self._stage.on_tick(ts_ns, records)


class _Side:
    def __init__(self) -> None:
        self._counts: Counter[type] = Counter()
        self._refusals: Counter[str] = Counter()
        self._positions: dict[str, Decimal] = {}
        self._lots: dict[str, str] = {}
        self._fills = 0
        self._quantity = self._pnl = self._fees = self._drawdown = ZERO
        self._peak: Decimal | None = None
        self._last: Valuation | None = None

    def note(self, records: Sequence[Any]) -> None:
        """What was before the fork: only what is held counts."""
        for record in records:
            kind = type(record)
            if kind is Position:
                self._positions[record.symbol] = record.quantity
            elif kind is Lot:
                if record.quantity:
                    self._lots[record.lot_id] = record.symbol
                else:
                    self._lots.pop(record.lot_id, None)
            elif kind is Valuation:
                self._last = record

    def add(self, records: Sequence[Any]) -> None:
        if self._peak is None and self._last is not None:
            self._peak = self._last.equity
        self.note(records)
        for record in records:
            kind = type(record)
            self._counts[kind] += 1
            if kind is OrderRefusal:
                self._refusals[record.check] += 1
            elif kind is LotMatch:
                self._pnl += record.pnl
            elif kind is Execution:
                self._fees += record.fee
                if record.exec_type == TRADE:
                    self._fills += 1
                    self._quantity += record.quantity
            elif kind is Valuation:
                self._peak = record.equity if self._peak is None else max(self._peak, record.equity)
                self._drawdown = max(self._drawdown, self._peak - record.equity)

    def outcome(self) -> Outcome:
        last = self._last
        return Outcome(
            orders=self._counts[Order],
            refusals=dict(sorted(self._refusals.items())),
            fences=self._counts[RiskFence],
            fills=self._fills,
            traded_quantity=self._quantity,
            closed_lots=self._counts[LotMatch],
            realized_pnl=self._pnl,
            fees=self._fees,
            equity=ZERO if last is None else last.equity,
            cash=ZERO if last is None else last.cash,
            unrealized_pnl=ZERO if last is None else last.unrealized_pnl,
            max_drawdown=self._drawdown,
            positions={symbol: held for symbol, held in sorted(self._positions.items()) if held},
            open_lots=dict(sorted(Counter(self._lots.values()).items())),
        )


def _apart(ts_ns: int, was: Sequence[Record], now: Sequence[Record]) -> Apart | None:
    # Ids are counted and shift behind the first difference; what is ordered is what counts.
    then, would = Counter(_lines(was)), Counter(_lines(now))
    if then == would:
        return None
    return Apart(ts_ns, tuple((then - would).elements()), tuple((would - then).elements()))


def _lines(records: Sequence[Record]) -> list[str]:
    out = []
    for record in records:
        if isinstance(record, Order):
            limit = "" if record.limit_price is None else f" limit {record.limit_price}"
            out.append(f"{record.side} {record.quantity.normalize():f} {record.symbol}{limit}")
        elif isinstance(record, OrderRefusal):
            wanted = f"{record.side} {record.quantity.normalize():f} {record.symbol}"
            out.append(f"{wanted} refused by {record.check}: {record.found} against {record.limit}")
        elif isinstance(record, RiskFence):
            out.append(f"{record.state} by {record.cause_id}: {record.reason}")
    return out

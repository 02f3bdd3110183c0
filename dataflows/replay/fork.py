"""Fork a recording: replay its inputs under other settings from a given time on, beside what happened.

Until that time the stages run with the old settings. Then stages with the new settings restore their state, as after a
restart of the platform. Both runs are read slice by slice, so memory does not grow with their length. The replay begins
with the recording, or with a checkpoint before that time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from configs.settings import Settings
from dataflows.replay.checkpoint_replay import Replay, paired_slices_after
from dataflows.replay.comparison import Pipeline, compare_slices, configured_pipeline, paired_slices
from dataflows.replay.differences import Difference, derived_records, first_difference
from dataflows.replay.recorded_source import RecordedSource
from dataflows.replay.recording import Recording
from dataflows.replay.settings_change import ChangingStage, SettingsChange
from operators.money import ZERO
from operators.stage import TimeSlice
from schemas.records import TRADE, Execution, Lot, LotMatch, Order, OrderRefusal, Position, Record, RiskFence, Valuation

DIVERGENCES_MAX = 20
_PROGRESS_SLICES = 500
Progress = Callable[[int], None]


class ForkOutcome(NamedTuple):
    """One side, from the fork on. Money is in account currency; `positions` and `open_lots` are as of the end."""

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
    max_drawdown: Decimal  # of equity without deposits and withdrawals, in money
    positions: dict[str, Decimal]
    open_lots: dict[str, int]  # by symbol


class DivergentSlice(NamedTuple):
    """Orders and refusals of one time slice that only one side has, each as `SIDE QUANTITY SYMBOL` with the check."""

    ts_ns: int
    only_happened: tuple[str, ...]
    only_forked: tuple[str, ...]


class ForkComparison(NamedTuple):
    """The result of a fork.

    `difference` is the first one before the fork, or a time slice that only one side has. With one, the recording does
    not replay and nothing is compared. `divergences` holds the first of the `divergent_slices` time slices with
    different orders or refusals. `configurations` counts the recorded configurations since the fork. `from_checkpoint`
    is the checkpoint from which the replay started, "" without one.
    """

    ticks: int
    at_ns: int
    last_ns: int
    happened: ForkOutcome
    forked: ForkOutcome
    divergences: tuple[DivergentSlice, ...]
    divergent_slices: int
    difference: Difference | None
    configurations: int = 0
    from_checkpoint: str = ""


class BooksAtStart(NamedTuple):
    """The books before the first replayed time slice.

    `positions` are quantities by symbol, `open_lots` the symbols by lot, `valuation` is the last one, None if there was
    none.
    """

    positions: dict[str, Decimal]
    open_lots: dict[str, str]
    valuation: Valuation | None


def fork(
    before: Settings,
    change: SettingsChange,
    recording: Recording,
    progress: Progress = lambda _: None,
    source: RecordedSource | None = None,
) -> ForkComparison:
    """Replay the time slices before the change with the recorded configurations (with `before`, if none is recorded
    yet), and those after it without regard to the recorded configurations. Recorded source code can run only before the
    change (`RecordedSource`); the changed settings use the files of this host.
    """
    stage = ChangingStage(configured_pipeline(before, source), lambda: Pipeline(change.settings), change)
    return _compare_sides(paired_slices(stage, recording), change, None, progress)


def fork_from_checkpoint(
    replay: Replay,
    change: SettingsChange,
    checkpoint_id: str,
    books: BooksAtStart,
    progress: Progress = lambda _: None,
) -> ForkComparison:
    """Compare a replay that starts at a checkpoint before the change, and whose stages have this change.

    `books` are those of the checkpoint. The result equals that of `fork`, except that differences before the checkpoint
    are not found.
    """
    forked = _compare_sides(paired_slices_after(replay), change, books, progress)
    return forked._replace(from_checkpoint=checkpoint_id)


def _compare_sides(
    pairs: Iterable[tuple[TimeSlice, TimeSlice]], change: SettingsChange, books: BooksAtStart | None, progress: Progress
) -> ForkComparison:
    at_ns = change.at_ns
    happened, forked = _ForkTotals(books), _ForkTotals(books)
    divergences: list[DivergentSlice] = []
    slices = divergent_slices = last_ns = 0
    difference: Difference | None = None
    for recorded, replayed in pairs:
        if recorded.ts_ns != replayed.ts_ns:
            difference = compare_slices(recorded, replayed)
            break
        recorded_records, replayed_records = derived_records(recorded.records), derived_records(replayed.records)
        if recorded.ts_ns < at_ns:
            difference = first_difference(recorded.ts_ns, recorded_records, replayed_records)
            if difference is not None:
                break
            happened.track(recorded_records)
            forked.track(replayed_records)
            continue
        slices, last_ns = slices + 1, recorded.ts_ns
        happened.add(recorded_records)
        forked.add(replayed_records)
        divergence = _divergence(recorded.ts_ns, recorded_records, replayed_records)
        if divergence is not None:
            divergent_slices += 1
            if len(divergences) < DIVERGENCES_MAX:
                divergences.append(divergence)
        if slices % _PROGRESS_SLICES == 0:
            progress(slices)
    return ForkComparison(
        ticks=slices,
        at_ns=at_ns,
        last_ns=last_ns,
        happened=happened.outcome(),
        forked=forked.outcome(),
        divergences=tuple(divergences),
        divergent_slices=divergent_slices,
        difference=difference,
        configurations=change.configurations,
    )


class _ForkTotals:
    def __init__(self, books: BooksAtStart | None) -> None:
        self._counts: Counter[type] = Counter()
        self._refusals: Counter[str] = Counter()
        self._positions = {} if books is None else dict(books.positions)
        self._open_lots = {} if books is None else dict(books.open_lots)
        self._fills = 0
        self._traded_quantity = self._realized_pnl = self._fees = self._max_drawdown = ZERO
        self._peak_equity: Decimal | None = None
        self._last_valuation = None if books is None else books.valuation

    def track(self, records: Sequence[Any]) -> None:
        """Track positions, lots and the valuation, without counting anything."""
        for record in records:
            record_type = type(record)
            if record_type is Position:
                self._positions[record.symbol] = record.quantity
            elif record_type is Lot:
                if record.quantity:
                    self._open_lots[record.lot_id] = record.symbol
                else:
                    self._open_lots.pop(record.lot_id, None)
            elif record_type is Valuation:
                self._last_valuation = record

    def add(self, records: Sequence[Any]) -> None:
        if self._peak_equity is None and self._last_valuation is not None:
            self._peak_equity = self._last_valuation.equity - self._last_valuation.net_flows
        self.track(records)
        for record in records:
            record_type = type(record)
            self._counts[record_type] += 1
            if record_type is OrderRefusal:
                self._refusals[record.check] += 1
            elif record_type is LotMatch:
                self._realized_pnl += record.pnl
            elif record_type is Execution:
                self._fees += record.fee
                if record.exec_type == TRADE:
                    self._fills += 1
                    self._traded_quantity += record.quantity
            elif record_type is Valuation:
                equity = record.equity - record.net_flows
                self._peak_equity = equity if self._peak_equity is None else max(self._peak_equity, equity)
                self._max_drawdown = max(self._max_drawdown, self._peak_equity - equity)

    def outcome(self) -> ForkOutcome:
        valuation = self._last_valuation
        return ForkOutcome(
            orders=self._counts[Order],
            refusals=dict(sorted(self._refusals.items())),
            fences=self._counts[RiskFence],
            fills=self._fills,
            traded_quantity=self._traded_quantity,
            closed_lots=self._counts[LotMatch],
            realized_pnl=self._realized_pnl,
            fees=self._fees,
            equity=ZERO if valuation is None else valuation.equity,
            cash=ZERO if valuation is None else valuation.cash,
            unrealized_pnl=ZERO if valuation is None else valuation.unrealized_pnl,
            max_drawdown=self._max_drawdown,
            positions={symbol: quantity for symbol, quantity in sorted(self._positions.items()) if quantity},
            open_lots=dict(sorted(Counter(self._open_lots.values()).items())),
        )


def _divergence(
    ts_ns: int, recorded_records: Sequence[Record], replayed_records: Sequence[Record]
) -> DivergentSlice | None:
    # Ids are sequential and shift after the first difference, so compare the order terms.
    recorded_orders, replayed_orders = Counter(_order_lines(recorded_records)), Counter(_order_lines(replayed_records))
    if recorded_orders == replayed_orders:
        return None
    return DivergentSlice(
        ts_ns,
        tuple((recorded_orders - replayed_orders).elements()),
        tuple((replayed_orders - recorded_orders).elements()),
    )


def _order_lines(records: Sequence[Record]) -> list[str]:
    lines = []
    for record in records:
        if isinstance(record, Order):
            terms = record.terms
            limit = "" if terms.limit_price is None else f" limit {terms.limit_price}"
            lines.append(f"{terms.side} {terms.quantity.normalize():f} {terms.symbol}{limit}")
        elif isinstance(record, OrderRefusal):
            order_text = f"{record.side} {record.quantity.normalize():f} {record.symbol}"
            lines.append(f"{order_text} rejected by {record.check}: {record.found} against {record.limit}")
        elif isinstance(record, RiskFence):
            lines.append(f"{record.state} by {record.cause_id}: {record.reason}")
    return lines

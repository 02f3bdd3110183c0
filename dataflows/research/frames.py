"""Results as tables: executions, orders, closed trades and equity, from the records of a backtest or of a platform.

`RunFrames` takes the records in the order of the run. A backtest passes its time slices, `export` the tables of
PostgreSQL, so both have the same columns and rows. Money and quantities are decimals in account currency and units.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final, NamedTuple

from dataflows.research.order_rows import OrderRows
from operators.excursions import (
    Excursion,
    SymbolBars,
    excursion,
    is_market_order,
    is_measurable,
    summarize_excursions,
)
from operators.instruments import NO_INSTRUMENTS, Instruments
from operators.manual_orders import (
    ACTION_PREFIX,
    LIQUIDATION_PREFIX,
    MANUAL,
    client_id_of,
    command_id_of,
    entry_cause_id,
    order_id_of,
    request_id_of,
    trading_strategy_of,
)
from operators.money import NANO, ZERO
from operators.order_lifecycle import OrderState, state_of
from operators.returns import NetOfFlows
from schemas.records import (
    AMEND_ORDER,
    CANCEL_ORDER,
    LONG,
    MARKET,
    NEW,
    REJECTED,
    REPLACED,
    SUBMIT_ORDER,
    TRADE,
    Bar,
    Command,
    CorporateAction,
    Execution,
    LotMatch,
    Order,
    OrderProposal,
    OrderRefusal,
    Record,
    Signal,
    StrategyAction,
    Valuation,
)

FrameName = str
EXECUTIONS: Final = "executions"
TRADES: Final = "trades"
ORDERS: Final = "orders"
EQUITY: Final = "equity"
SIGNALS: Final = "signals"
FRAME_NAMES = (EXECUTIONS, TRADES, ORDERS, EQUITY)
"""The tables of a backtest and of a platform."""
RUN_FRAME_NAMES = (*FRAME_NAMES, SIGNALS)
"""The tables of a backtest."""
COLUMNS: dict[FrameName, tuple[str, ...]] = {
    EXECUTIONS: (
        *("time", "order_id", "id", "symbol", "side", "type", "event", "quantity", "price", "fee", "leaves", "reason"),
    ),
    TRADES: (
        *("symbol", "side", "quantity", "entry_time", "entry_price", "exit_time", "exit_price", "pnl", "fees"),
        *("strategy", "tag", "mae", "mfe", "bars"),
    ),
    ORDERS: (
        *("time", "order_id", "id", "symbol", "side", "quantity", "type", "limit_price", "stop_price", "trail_amount"),
        *("trail_percent", "time_in_force", "expires_at", "reduce_only", "group", "parent", "replaces", "strategy"),
        *("status", "filled", "average_price", "fees", "reason"),
    ),
    EQUITY: ("time", "equity", "cash", "gross", "net", "drawdown"),
    SIGNALS: ("time", "symbol", "strategy", "direction", "strength", "confidence", "price", "reason"),
}
TIME_COLUMNS = frozenset({"time", "entry_time", "exit_time", "expires_at"})
"""Columns of nanoseconds since 1970."""


def time_column(name: FrameName) -> str:
    """Return the column by which the rows of a table are ordered.

    >>> time_column("executions"), time_column("trades")
    ('time', 'exit_time')
    """
    return "exit_time" if name == TRADES else "time"


def signal_row(signal: Signal) -> tuple[Any, ...]:
    """Return the row of a change of a view. Its reason is the values on which the view is based."""
    reason = ", ".join(f"{name} {value:.6g}" for name, value in signal.parts.items())
    view = (signal.direction, signal.strength, signal.confidence, signal.price)
    return (signal.ts_ns, signal.symbol, signal.strategy, *view, reason)


class Frame(NamedTuple):
    """A table: one tuple per row, in the order of `columns`. A missing value is None."""

    name: FrameName
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def _used_types(names: Collection[FrameName], *, with_bars: bool) -> frozenset[type]:
    """Return the types of the records that the tables need; most records of a run are of other types."""
    used: set[type] = {Bar} if with_bars else set()
    if EQUITY in names:
        used.add(Valuation)
    if SIGNALS in names:
        used.add(Signal)
    if not {EXECUTIONS, TRADES, ORDERS}.isdisjoint(names):
        used |= {Execution, Order, OrderProposal, OrderRefusal, LotMatch, Command, StrategyAction}
    return frozenset(used)


class RunFrames:
    """Builds the `names` of `RUN_FRAME_NAMES` from the records of a run, added in their order.

    `instruments` have the lot sizes to which a split rounds open orders. Memory grows with the number of rows, and with
    the number of bars if `names` contains `trades`. Without `excursions`, no bars are stored, and the trades have
    neither excursions nor a number of bars.
    """

    def __init__(
        self,
        names: Collection[FrameName],
        initial_equity: Decimal,
        instruments: Instruments = NO_INSTRUMENTS,
        *,
        excursions: bool = True,
    ) -> None:
        self.names = frozenset(names)
        self._stores_bars = excursions and TRADES in self.names
        self._used = _used_types(self.names, with_bars=self._stores_bars)
        self._signal_rows: list[tuple[Any, ...]] = []
        self._with_orders = bool(self.names & {EXECUTIONS, TRADES, ORDERS})
        self._order_rows = OrderRows(instruments)
        self._open_reasons: dict[str, str] = {}
        self._order_types: dict[str, str] = {}  # of proposals, commands and actions, by their id
        self._command_targets: dict[str, str] = {}  # amend or cancel -> order
        self._tags: dict[str, str] = {}  # action -> tag of the strategy
        self._strategies: dict[str, str] = {}  # proposal -> strategy
        self._reports: list[Execution | OrderRefusal] = []
        self._matches: list[LotMatch] = []
        self._fills: dict[str, Execution] = {}
        self._bars: dict[str, SymbolBars] = {}
        self._equity_rows: list[tuple[Any, ...]] = []
        self._net_of_flows = NetOfFlows()
        self._peak = float(initial_equity)

    def add_all(self, records: Iterable[Record]) -> None:
        """Add records in the order of the run. A split is effective when it is added."""
        for record in records:
            if type(record) is CorporateAction and self._with_orders:
                self._order_rows.apply_splits([record])
            self.add(record)

    def add_slice(self, records: Sequence[Record]) -> None:
        """Add the records of one time slice. A split takes effect before them, on its ex-date."""
        if self._with_orders:
            self._order_rows.apply_splits(records)
        used = self._used
        for record in records:
            if type(record) in used:
                self.add(record)

    @property
    def bars(self) -> Mapping[str, SymbolBars]:
        """The bars by symbol; empty unless the trades have excursions."""
        return self._bars

    def end_run(self) -> None:
        """Note why orders are open at the end of a backtest. Call it after the last record."""
        self._open_reasons = self._order_rows.open_reasons()

    def add(self, record: Record) -> None:
        """Add one record. Types that no table needs are ignored."""
        if type(record) is Bar:
            if self._stores_bars:
                self._bars.setdefault(record.symbol, SymbolBars()).add(record)
        elif type(record) is Valuation:
            if EQUITY in self.names:
                self._add_valuation(record)
        elif type(record) is Signal:
            if SIGNALS in self.names:
                self._signal_rows.append(signal_row(record))
        elif self._with_orders:
            self._add_order_record(record)

    def _add_order_record(self, record: Record) -> None:
        if isinstance(record, Execution):
            self._reports.append(record)
            self._order_rows.add_report(record)
            if record.exec_type == TRADE:
                self._fills[record.execution_id] = record
        elif isinstance(record, Order):
            self._order_rows.add_order(record)
        elif isinstance(record, OrderProposal):
            self._strategies[record.proposal_id] = record.strategy
            self._order_types[record.proposal_id] = record.terms.order_type
        elif isinstance(record, OrderRefusal):
            self._reports.append(record)
        elif type(record) is LotMatch:
            self._matches.append(record)
        elif type(record) is Command or type(record) is StrategyAction:
            request_id = request_id_of(record)
            if record.kind == SUBMIT_ORDER:
                self._order_types[request_id] = record.arguments.get("order_type", MARKET)
            elif record.kind in (AMEND_ORDER, CANCEL_ORDER):
                self._command_targets[request_id] = record.arguments.get("order_id", "")
            if type(record) is StrategyAction and record.reason:
                self._tags[request_id] = record.reason

    def _add_valuation(self, valuation: Valuation) -> None:
        net_equity = self._net_of_flows.add(float(valuation.equity), float(valuation.net_flows))
        self._peak = max(self._peak, net_equity)
        drawdown = round(1 - net_equity / self._peak, 9) if self._peak > 0 else None
        exposures = (valuation.gross_exposure, valuation.net_exposure)
        self._equity_rows.append((valuation.ts_ns, valuation.equity, valuation.cash, *exposures, drawdown))

    # -- tables --------------------------------------------------------------------------------------------------------

    def frame(self, name: FrameName) -> Frame:
        """Return one of the tables that were asked for."""
        assert name in self.names, f"{name} is not among {sorted(self.names)}"
        builders: dict[FrameName, Callable[[], list[tuple[Any, ...]]]] = {
            EXECUTIONS: self._execution_rows,
            TRADES: self._trade_rows,
            ORDERS: self._order_table,
            EQUITY: self._equity_rows.copy,
            SIGNALS: self._signal_rows.copy,
        }
        return Frame(name, COLUMNS[name], builders[name]())

    def _execution_rows(self) -> list[tuple[Any, ...]]:
        """Return the rows by time. An order is accepted before it fills, although the venue reports both with a bar."""
        first_fills: dict[str, int] = {}
        for fill in self._fills.values():
            first_fills.setdefault(fill.order_id, fill.filled_at_ns)
        successors = {order.replaces: order_id for order_id, order in self._order_rows.orders.items()}
        rows = []
        for report in self._reports:
            if isinstance(report, OrderRefusal):
                rows.append(self._refusal_row(report))
                continue
            accepted_id = {NEW: report.order_id, REPLACED: successors.get(report.order_id, "")}.get(
                report.exec_type, ""
            )
            first_fill_ns = first_fills.get(accepted_id, report.filled_at_ns)
            rows.append(self._report_row(report, min(report.filled_at_ns, first_fill_ns)))
        return sorted(rows, key=itemgetter(0))

    def _report_row(self, report: Execution, time_ns: int) -> tuple[Any, ...]:
        order = self._order_rows.orders.get(report.order_id)
        is_liquidation = report.order_id.startswith(LIQUIDATION_PREFIX)
        order_type = MARKET if is_liquidation else "" if order is None else order.terms.order_type
        return (
            time_ns,
            report.order_id,
            report.order_id if is_liquidation else client_id_of(report.order_id),
            report.symbol,
            report.side,
            order_type,
            report.exec_type,
            report.quantity,
            report.price,
            report.fee,
            report.leaves_quantity,
            report.text,
        )

    def _refusal_row(self, refusal: OrderRefusal) -> tuple[Any, ...]:
        """A rejection by risk: of an order, which never reached the venue, or of an amendment or a cancel."""
        is_requested = refusal.cause_id.startswith(("cmd-", ACTION_PREFIX))
        order_id = order_id_of(refusal.cause_id) if is_requested else refusal.cause_id
        return (
            refusal.ts_ns,
            order_id,
            client_id_of(order_id),
            refusal.symbol,
            refusal.side,
            self._order_types.get(refusal.cause_id) or self._target_type(refusal.cause_id),
            REJECTED,
            *(ZERO, ZERO, ZERO, ZERO),
            refusal.message,
        )

    def _target_type(self, cause_id: str) -> str:
        """The type of the order that a rejected amendment or cancel names, or of a rejected exit of a bracket."""
        order = self._order_rows.orders.get(self._command_targets.get(cause_id, order_id_of(cause_id)))
        return "" if order is None else order.terms.order_type

    def _order_table(self) -> list[tuple[Any, ...]]:
        reports: dict[str, list[Execution]] = {}
        for report in self._reports:
            if isinstance(report, Execution):
                reports.setdefault(report.order_id, []).append(report)
        return [self._order_row(order, reports.get(order.order_id, [])) for order in self._order_rows.orders.values()]

    def _order_row(self, order: Order, reports: list[Execution]) -> tuple[Any, ...]:
        terms, filled = self._order_rows.present_terms(order.order_id), self._order_rows.filled(order.order_id)
        # A split does not change the value of earlier fills.
        value = sum((report.quantity * report.price for report in reports), ZERO)
        state = state_of(reports)
        return (
            order.ts_ns,
            order.order_id,
            client_id_of(order.order_id),
            terms.symbol,
            terms.side,
            terms.quantity,
            terms.order_type,
            terms.limit_price,
            terms.stop_price,
            terms.trail_amount,
            terms.trail_percent,
            terms.time_in_force,
            terms.expires_ns,
            terms.reduce_only,
            terms.group_id,
            client_id_of(order_id_of(terms.parent_id)) if terms.parent_id else "",
            order.replaces,
            self._strategy_of(order),
            "PENDING" if state is OrderState.APPROVED else state.name,
            filled,
            (value / filled).quantize(NANO) if filled else None,
            sum((report.fee for report in reports), ZERO),
            self._open_reasons.get(order.order_id) or (reports[-1].text if reports else ""),
        )

    def _strategy_of(self, order: Order | None) -> str:
        if order is None:
            return ""
        strategy = trading_strategy_of(order.order_id)
        if strategy is None and command_id_of(order.order_id):
            return MANUAL
        return strategy or self._strategies.get(order.cause_id, "")

    def _tag_of(self, order: Order | None) -> str:
        """The tag that a strategy gave its order, or the id of a manual order."""
        if order is None:
            return ""
        cause_id = order.cause_id
        return self._tags.get(entry_cause_id(cause_id) or cause_id, "") or client_id_of(order.order_id)

    def _trade_rows(self) -> list[tuple[Any, ...]]:
        return [self._trade_row(match) for match in self._matches]

    def _trade_row(self, match: LotMatch) -> tuple[Any, ...]:
        entry = self._fills.get(match.open_execution_id)
        order = None if entry is None else self._order_rows.orders.get(entry.order_id)
        adverse, favourable, bars = self._excursions(match, entry, order)
        return (
            match.symbol,
            match.direction,
            match.quantity,
            match.opened_ns,
            match.entry_price,
            match.closed_ns,
            match.exit_price,
            match.pnl,
            match.fees,
            match.strategy or self._strategy_of(order),
            self._tag_of(order),
            adverse,
            favourable,
            bars,
        )

    def _excursions(
        self, match: LotMatch, entry: Execution | None, order: Order | None
    ) -> tuple[Decimal | None, Decimal | None, int | None]:
        """Return (adverse, favourable) excursion in money and the bars; None where the bars do not show them."""
        excursion = self._excursion_of(match, entry, order)
        if excursion is None:
            return None, None, None
        sign = 1 if match.direction == LONG else -1
        move = sign * (match.exit_price - match.entry_price)
        # Multiplier and exchange rate are in the lot's profit.
        unit_value = match.pnl / move if move else match.quantity
        adverse, favourable = excursion.moves(match)
        return (adverse * unit_value).quantize(NANO), (favourable * unit_value).quantize(NANO), excursion.bars

    def _excursion_of(self, match: LotMatch, entry: Execution | None, order: Order | None) -> Excursion | None:
        bars = self._bars.get(match.symbol)
        if bars is None or entry is None or not is_measurable(match, entry):
            return None
        is_market = order is not None and is_market_order(order.terms.order_type, order.terms.time_in_force)
        return excursion(match, bars.holding_period(match), is_market=is_market)

    def excursion_figures(self) -> dict[str, float | None]:
        """Return mean and extreme of the excursions of all closed lots, as fractions of their entry prices.

        `mae` is the worst, `mfe` the best unrealized result of a lot. None if no lot has one. Requires `trades`.
        """
        assert TRADES in self.names, f"{TRADES} is not among {sorted(self.names)}"
        shares: list[tuple[float, float]] = []
        for match in self._matches:
            entry = self._fills.get(match.open_execution_id)
            order = None if entry is None else self._order_rows.orders.get(entry.order_id)
            excursion = self._excursion_of(match, entry, order)
            fractions = None if excursion is None else excursion.fractions(match)
            if fractions is not None:
                shares.append(fractions)
        return summarize_excursions(shares)

"""Check an order with the checks of the risk service, on a book rebuilt from PostgreSQL.

The risk service keeps its own book in its state. PostgreSQL is slightly behind, and the amounts reserved for open
market orders are computed at current prices. The result is therefore a forecast; the risk service decides when it
receives the order.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, desc, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by, distinct_on

from api.current_orders import open_orders
from api.flows import read_flows
from operators.ended_symbols import EndedSymbols
from operators.exchange_halts import EXCHANGE_HALT
from operators.money import ZERO
from operators.reference_data import split_merger
from operators.risk.book import RiskBook
from operators.risk.breakers import Breakers
from operators.risk.commands import RECONCILED, RECONCILING
from operators.risk.history import RiskHistory
from operators.risk.last_price import LastBar
from operators.risk.order_checks import OrderChecks
from operators.risk.order_context import OrderContext
from operators.risk.position import OpenOrder
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal
from schemas.records import (
    ACTIVE,
    BUY,
    CASH_MERGER,
    DELISTING,
    HALTED,
    SELL,
    STOCK_MERGER,
    SYMBOL_CHANGE,
    TRADE,
    Bar,
    CheckResult,
    CorporateAction,
    Execution,
    Order,
    OrderProposal,
    TradingState,
    TradingStatus,
)
from sinks.record_tables import record_of
from sinks.tables import (
    bars,
    commands,
    corporate_actions,
    executions,
    orders,
    positions,
    risk_events,
    risk_fences,
    valuations,
)

_NS = 1_000_000_000
_DAY_NS = int(timedelta(days=1).total_seconds()) * _NS
_ENDING_KINDS = (SYMBOL_CHANGE, DELISTING, STOCK_MERGER, CASH_MERGER)
_TRADING_WEEK_NS = 8 * _DAY_NS  # five trading days are within it


class RebuiltRiskState(NamedTuple):
    """The rebuilt book with its history, as of event time `ts_ns`."""

    book: RiskBook
    history: RiskHistory
    breakers: Breakers
    limits: RiskSettings
    ts_ns: int


def run_checks(risk_state: RebuiltRiskState, proposal: OrderProposal) -> list[CheckResult | Refusal]:
    """Return the verdicts that an order lists, in order, up to the first rejection, as `RiskStage` does."""
    results, refusal = OrderChecks(risk_state.limits).run(proposal.terms, OrderContext(proposal, *risk_state))
    return [*results, refusal] if refusal is not None else [*results]


def rebuild_risk_state(db: Connection, limits: RiskSettings, symbol: str) -> RebuiltRiskState:
    """Rebuild the book for checking an order in `symbol`. All queries run in the transaction of `db`.

    Reads one row per position and open order.
    """
    book = RiskBook(limits.initial_capital, limits.instruments)
    history, breakers = RiskHistory(limits, limits.initial_capital), _breakers(db, limits)
    position_rows = db.execute(select(positions.c.symbol, positions.c.quantity).where(positions.c.quantity != 0)).all()
    working_orders = open_orders(db, limits.instruments)
    last_valuation = db.execute(select(valuations).order_by(desc(valuations.c.seq)).limit(1)).mappings().first()
    ts_ns = 0 if last_valuation is None else last_valuation["ts_ns"]
    latest_bar: Bar | None = None
    for name in sorted(
        {symbol, *(row.symbol for row in position_rows), *(order.terms.symbol for order, _ in working_orders)}
    ):
        bar = _last_bar(db, name)
        if bar is not None:
            book.last_bars[name] = LastBar(bar.ts_ns, bar.close, bar.session)
            ts_ns = max(ts_ns, bar.ts_ns)
            latest_bar = bar if latest_bar is None or bar.ts_ns > latest_bar.ts_ns else latest_bar
    for row in position_rows:
        book.fold_execution(_opening_trade(row.symbol, row.quantity, ts_ns))
    for order, remaining in working_orders:
        terms = order.terms
        if terms.symbol in book.last_bars:
            proposal = _to_proposal(order)
            unit = OrderContext(proposal, book, history, breakers, limits, ts_ns).unit_value
            book.add_order(
                order.order_id,
                proposal,
                OpenOrder(
                    side=terms.side,
                    remaining=remaining,
                    price=unit,
                    limit=terms.limit_price,
                    reduce_only=terms.reduce_only,
                ),
            )
    book.cash = limits.initial_capital if last_valuation is None else last_valuation["cash"]
    book.accrued = ZERO if last_valuation is None else last_valuation["accrued_dividends"]
    book.state, book.epoch = _fence(db)
    book.reconciling = _reconciling_reason(db)
    book.ended_symbols = _ended_symbols(db, symbol, ts_ns)
    if latest_bar is not None:
        net_flows = Decimal(0) if last_valuation is None else last_valuation["net_flows"]
        book.trading_day, book.day_start_equity = latest_bar.trading_day, _day_equity(db, limits, latest_bar, net_flows)
    _load_history(db, history, book, limits, symbol, ts_ns)
    return RebuiltRiskState(book=book, history=history, breakers=breakers, limits=limits, ts_ns=ts_ns)


def _opening_trade(symbol: str, quantity: Decimal, ts_ns: int) -> Execution:
    """Return a trade at price 0 that opens this position; the cash comes from the last valuation."""
    return Execution(
        seq=0,
        ts_ns=ts_ns,
        execution_id="",
        order_id="",
        symbol=symbol,
        side=BUY if quantity > 0 else SELL,
        exec_type=TRADE,
        quantity=abs(quantity),
        price=ZERO,
        fee=ZERO,
        leaves_quantity=ZERO,
        cum_quantity=abs(quantity),
        filled_at_ns=ts_ns,
        bar_seq=0,
        text="",
    )


def _to_proposal(order: Order) -> OrderProposal:
    """Convert an approved order to a proposal with the same terms. The strategy is irrelevant here."""
    return OrderProposal(
        seq=order.seq,
        ts_ns=order.ts_ns,
        proposal_id=order.cause_id,
        terms=order.terms,
        strategy="",
        reference_price=ZERO,
        sizing="",
        signal_ids=[],
    )


def _breakers(db: Connection, limits: RiskSettings) -> Breakers:
    """Return the circuit breakers in the states of their last events."""
    breakers = Breakers(limits.all_breakers())
    key = (risk_events.c.breaker, risk_events.c.scope, risk_events.c.scope_key)
    last = select(risk_events).ext(distinct_on(*key)).order_by(*key, desc(risk_events.c.seq)).subquery()
    for row in db.execute(select(last).where(last.c.state != ACTIVE).order_by(last.c.seq)).mappings():
        if row["breaker"] == EXCHANGE_HALT:
            breakers.exchange_halts.apply(_status_of(row))
            continue
        breaker_key = (row["breaker"], row["scope"], row["scope_key"], row["state"])
        breakers.set_manually(row["ts_ns"], *breaker_key, row["actor"], row["reason"])
    return breakers


def _status_of(event: Mapping[Any, Any]) -> TradingStatus:
    """Return the halt behind a row of the risk events."""
    return TradingStatus(
        status_id=event["cause_id"],
        ts_ns=event["ts_ns"],
        symbol=event["scope_key"],
        state=HALTED,
        code=event["found"],
        reason=event["reason"],
        source=event["actor"],
    )


def _ended_symbols(db: Connection, symbol: str, ts_ns: int) -> EndedSymbols:
    """Return what has become of a symbol at event time `ts_ns`, if it was renamed, merged or delisted.

    An action counts from the day of its ex-date on (UTC), unless the symbol has traded since.
    """
    ended, names = EndedSymbols(), [symbol]
    while (action := _last_end(db, names[-1], ts_ns)) is not None and action.new_symbol not in names:
        ended.apply([action], ())
        names.append(action.new_symbol)
    return ended


def _last_end(db: Connection, symbol: str, ts_ns: int) -> CorporateAction | None:
    """Return the last symbol change, merger or delisting of a symbol, unless the symbol has traded since."""
    today = _day(ts_ns)
    of_symbol = (corporate_actions.c.symbol == symbol, corporate_actions.c.kind.in_(_ENDING_KINDS))
    rows = db.execute(select(corporate_actions).where(*of_symbol)).mappings().all()
    ends = [
        part._replace(ex_date=part.ex_date or _day(part.ts_ns))
        for row in rows
        for part in split_merger(record_of(CorporateAction, row))
        if isinstance(part, CorporateAction) and part.kind in (SYMBOL_CHANGE, DELISTING)
    ]
    last = max((one for one in ends if one.ex_date <= today), key=lambda one: one.ex_date, default=None)
    if last is None:
        return None
    trades = (bars.c.symbol == symbol, bars.c.trading_day >= last.ex_date, bars.c.traded, bars.c.ts_ns > last.ts_ns)
    has_traded = db.execute(select(bars.c.seq).where(*trades).limit(1)).first() is not None
    return None if has_traded else last


def _day(ts_ns: int) -> int:
    """Return the day of a time (yyyymmdd, UTC)."""
    return int(datetime.fromtimestamp(ts_ns // _NS, UTC).strftime("%Y%m%d"))


def _last_bar(db: Connection, symbol: str) -> Bar | None:
    query = select(bars).where(bars.c.symbol == symbol).order_by(desc(bars.c.ts_ns)).limit(1)
    row = db.execute(query).mappings().first()
    return None if row is None else record_of(Bar, row)


def _fence(db: Connection) -> tuple[TradingState, int]:
    row = db.execute(select(risk_fences).order_by(desc(risk_fences.c.seq)).limit(1)).mappings().first()
    return (ACTIVE, 0) if row is None else (row["state"], row["epoch"])


def _reconciling_reason(db: Connection) -> str:
    """Return why the gateway is reconciling with its broker, or "" if it is not."""
    query = select(commands).where(commands.c.kind.in_((RECONCILING, RECONCILED))).order_by(desc(commands.c.ts_ns))
    row = db.execute(query.limit(1)).mappings().first()
    return "" if row is None or row["kind"] == RECONCILED else row["reason"] or "no reason given"


def _day_equity(db: Connection, limits: RiskSettings, latest_bar: Bar, net_flows: Decimal) -> Decimal:
    """Return the equity of the last valuation before the first bar of the trading day, plus the net flows since.

    `net_flows` are those of the last valuation.
    """
    same_day = (bars.c.symbol == latest_bar.symbol, bars.c.trading_day == latest_bar.trading_day)
    day_start = (
        select(func.min(bars.c.ts_ns)).where(*same_day, bars.c.ts_ns > latest_bar.ts_ns - 4 * _DAY_NS).scalar_subquery()
    )
    query = select(valuations).where(valuations.c.ts_ns < day_start).order_by(desc(valuations.c.ts_ns)).limit(1)
    row = db.execute(query).mappings().first()
    if row is None:
        return limits.initial_capital + net_flows
    day_equity: Decimal = row["equity"] + net_flows - row["net_flows"]
    return day_equity


def _load_history(
    db: Connection, history: RiskHistory, book: RiskBook, limits: RiskSettings, symbol: str, ts_ns: int
) -> None:
    """Load only the history that the enabled limits need, like the risk service."""
    trading_day = book.trading_day
    windows = [limits.duplicate_window_s]
    if limits.is_enabled("max_orders_in_window"):
        windows.append(limits.order_window_s)
    if max(windows):
        since = ts_ns - int(max(windows) * _NS)
        recent = select(orders).where(orders.c.ts_ns > since).order_by(orders.c.seq)
        for row in db.execute(recent).mappings():
            order = record_of(Order, row)
            history.record_approval(order.terms, order.ts_ns)
    if limits.is_enabled("max_drawdown"):
        flows = read_flows(db)
        peak = db.execute(select(func.max(flows.net_equity().c.equity))).scalar()
        history.peak_equity = flows.scale(max(limits.initial_capital, peak or limits.initial_capital))
    if limits.is_enabled("max_volume_share"):
        history.volumes[symbol] = _daily_values(db, symbol, func.sum(bars.c.volume), trading_day, limits.volume_days)
    if limits.is_enabled("max_expected_shortfall"):
        closing = func.array_agg(aggregate_order_by(bars.c.close, desc(bars.c.ts_ns)))[1]
        for name in sorted({symbol, *book.positions}):
            history.closes[name] = _daily_values(db, name, closing, trading_day, limits.shortfall_days + 1)
    if limits.is_enabled("max_day_trades") or limits.wash_sale_days:
        since = ts_ns - max(_TRADING_WEEK_NS, limits.wash_sale_days * _DAY_NS)
        trades = select(executions).where(executions.c.exec_type == TRADE, executions.c.ts_ns > since)
        for row in db.execute(trades.order_by(executions.c.seq)).mappings():
            history.fold_execution(record_of(Execution, row))


def _daily_values(db: Connection, symbol: str, measure: ColumnElement[float], before: int, days: int) -> list[float]:
    """Return one value per completed trading day, oldest first."""
    query = select(measure).where(bars.c.symbol == symbol, bars.c.trading_day < before).group_by(bars.c.trading_day)
    values = db.execute(query.order_by(desc(bars.c.trading_day)).limit(days)).scalars().all()
    return list(values)[::-1]

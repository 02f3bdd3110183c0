"""Simulated changes of symbols and limits: renames, mergers, delistings, distributions, halts, breakers, margin calls.

Each set of changes has a tape of its own, because a change ends what the strategy does with its symbol, or halts it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from operators.ledger.events import distribution_prices, share_ratio
from operators.reference_data import split_merger
from operators.risk import RiskSettings, RiskStage
from operators.risk.breakers import SCOPES_OF_MEASURE, Breaker
from operators.risk.commands import SET_BREAKER
from operators.risk.margin import MarginSettings
from operators.risk.margin_call import MARGIN_CALL, margin_status
from schemas.records import (
    ACTIVE,
    CASH_MERGER,
    DELISTING,
    HALTED,
    MERGER_CASH,
    PORTFOLIO,
    REDUCING,
    RIGHTS,
    SPIN_OFF,
    STOCK_DIVIDEND,
    STOCK_MERGER,
    STRATEGY,
    SYMBOL,
    SYMBOL_CHANGE,
    TRADING,
    Command,
    CorporateAction,
    Record,
    RiskEvent,
    TradingState,
    TradingStatus,
)

CHANGE_MINUTES_MIN = 14
"""The shortest tape that contains all changes of each set, which start in its middle, and their events."""
SOURCE = "simulated"
_BREAKERS_AT_ONCE = 4
_NEVER = Decimal(10) ** 15
_CASH_PER_SHARE, _SHARE_VALUE, _PAID = Decimal(5), Decimal(200), Decimal(50)
_HALT_MINUTES = 3
_MARGIN_CALL_MINUTES = 2
Change = CorporateAction | TradingStatus | Command | RiskEvent
Changes = Mapping[int, Sequence[Change]]
"""Records by minute of the tape, counted from 0. They take effect before the bars of the minute."""

BREAKERS = tuple(
    Breaker(measure=measure, scope=scope, threshold=_NEVER)  # type: ignore[arg-type]
    for measure, scopes in SCOPES_OF_MEASURE.items()
    for scope in scopes
)
"""One circuit breaker of each measure and scope that no bar trips. Commands set their states."""


def listing_changes(minutes: int, symbols: Sequence[str]) -> Iterator[Changes]:
    """Return the corporate actions of each tape, which end a symbol in the middle of its `minutes`.

    The first symbol is renamed, after a stock dividend and the distribution of other shares, or is delisted. The last
    one merges for stock, for stock and cash, or for cash.
    """
    middle, symbol, merged = minutes // 2, symbols[0], symbols[-1]
    yield {
        middle - 3: [_action(STOCK_DIVIDEND, symbol, ratio=Decimal("0.1"))],
        middle - 2: [_distribution(SPIN_OFF, symbol, "SPIN")],
        middle - 1: [_distribution(RIGHTS, symbol, "RIGHTS")],
        middle: [_action(SYMBOL_CHANGE, symbol, new_symbol=f"{symbol}.NEW")],
    }
    stock_merger = _action(STOCK_MERGER, merged, ratio=Decimal("0.5"), new_symbol=f"{merged}.NEW")
    yield {middle: [stock_merger]}
    yield {middle: [stock_merger._replace(amount=_SHARE_VALUE, cash_per_share=_CASH_PER_SHARE)]}
    yield {middle: [_action(DELISTING, symbol, amount=_PAID)]}
    yield {middle: [_action(CASH_MERGER, merged, amount=_PAID)]}


def halt_changes(minutes: int, symbols: Sequence[str]) -> Changes:
    """Return a halt of the first symbol in the middle of the `minutes` of a tape, and its end."""
    middle, state = minutes // 2, TradingStatus(f"{SOURCE}-halt", 0, symbols[0], HALTED, "T1", "simulated halt", SOURCE)
    resumed = state._replace(status_id=f"{SOURCE}-resumption", state=TRADING, code="", reason="")
    return {middle: [state], middle + _HALT_MINUTES: [resumed]}


def limit_changes(minutes: int, symbols: Sequence[str], strategy: str) -> Changes:
    """Return the commands that trip and reset each circuit breaker, and a margin call with its end.

    They start in the middle of the `minutes` of a tape. The margin call reduces positions (`RiskWithMarginCalls`).
    """
    changes: dict[int, list[Change]] = {}
    keys = {PORTFOLIO: "", STRATEGY: strategy, SYMBOL: symbols[0]}
    for number, breaker in enumerate(BREAKERS):
        minute = minutes // 2 + number // _BREAKERS_AT_ONCE
        tripped: TradingState = HALTED if number % 2 else REDUCING
        for at, state in ((minute, tripped), (minute + 1, ACTIVE)):
            changes.setdefault(at, []).append(_breaker_command(breaker, keys[breaker.scope], state))
    last = max(changes)
    changes[last].append(_margin_call(REDUCING))
    changes[last + _MARGIN_CALL_MINUTES] = [_margin_call(ACTIVE)]
    return changes


def apply_to_prices(prices: dict[str, float], record: Change) -> None:
    """Apply a corporate action to the symbols of the market and their prices, before their next bar."""
    for part in split_merger(record) if isinstance(record, CorporateAction) else ():
        assert isinstance(part, CorporateAction), "the parts of an action are actions"
        symbol = part.symbol
        if part.kind == SYMBOL_CHANGE:
            prices[part.new_symbol] = prices.pop(symbol)
        elif part.kind == DELISTING:
            del prices[symbol]
        elif part.kind in (SPIN_OFF, RIGHTS):
            prices[symbol], prices[part.new_symbol] = distribution_prices(part, prices[symbol])
        elif part.kind == MERGER_CASH:
            prices[symbol] -= float(part.cash_per_share or 0)
        else:
            prices[symbol] /= float(share_ratio(part))


class RiskWithMarginCalls:
    """The risk stage, which also carries out the margin calls of the tape: `due` holds those of the time slice.

    In each time slice of a margin call, orders close positions that require half of the maintenance margin, the largest
    ones first, by the rules of a real one.
    """

    def __init__(self, risk: RiskStage) -> None:
        self._risk, self._seq, self._is_called = risk, 0, False
        self.due: list[RiskEvent] = []

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        for record in [*self._risk.on_slice(ts_ns, records), *self.due]:
            if type(record) is RiskEvent:
                self._seq += 1
                record = record._replace(seq=self._seq)
            out.append(record)
        for event in self.due:
            self._is_called = event.state == REDUCING
        return [*out, *self._reducing_orders(ts_ns)]

    def _reducing_orders(self, ts_ns: int) -> list[Record]:
        rules = MarginSettings()
        status = margin_status(self._risk.book, rules, RiskSettings.unlimited()) if self._is_called else None
        if status is None:
            return []
        return self._risk.reduce_positions(ts_ns, status._replace(equity=status.maintenance / 2), rules)

    def snapshot(self) -> Any:
        return self._seq, self._is_called, self._risk.snapshot()

    def restore(self, snapshot: Any) -> None:
        self._seq, self._is_called, risk = snapshot
        self._risk.restore(risk)


def _action(kind: Any, symbol: str, *, new_symbol: str = "", **terms: Decimal) -> CorporateAction:
    return CorporateAction(
        action_id=f"{SOURCE}-{kind.lower()}-{symbol}",
        ts_ns=0,
        kind=kind,
        symbol=symbol,
        ex_date=0,
        pay_date=0,
        ratio=terms.get("ratio"),
        amount=terms.get("amount"),
        currency="USD",
        new_symbol=new_symbol,
        source=SOURCE,
    )


def _distribution(kind: Any, symbol: str, suffix: str) -> CorporateAction:
    return _action(kind, symbol, new_symbol=f"{symbol}.{suffix}")._replace(
        ratio=Decimal("0.5"), cost_share=Decimal("0.1")
    )


def _breaker_command(breaker: Breaker, key: str, state: TradingState) -> Command:
    arguments = {"measure": breaker.measure, "scope": breaker.scope, "key": key, "state": state}
    command_id = f"{SOURCE}-{breaker.measure}-{breaker.scope}-{state}".lower()
    return Command(command_id, 0, SET_BREAKER, SOURCE, "simulated circuit breaker", arguments)


def _margin_call(state: TradingState) -> RiskEvent:
    return RiskEvent(
        seq=0,
        ts_ns=0,
        breaker=MARGIN_CALL,
        scope=PORTFOLIO,
        scope_key="",
        state=state,
        found="20000",
        limit="25000" if state == REDUCING else "0",
        actor="automatic",
        reason="simulated margin call",
        cause_id=f"{SOURCE}-margin-{state.lower()}",
    )

"""Find what a strategy does wrong when a symbol ends, a circuit breaker changes or a margin call starts."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from dataflows.research.simulated_changes import CHANGE_MINUTES_MIN, limit_changes, listing_changes
from dataflows.research.strategy_dry_run import (
    SESSION_MINUTES,
    line_of_action,
    make_tape,
    market_symbols,
    run_over,
)
from dataflows.research.strategy_source import Finding
from operators.handler_limit import HandlerLimit
from operators.reference_data import describe_action, split_merger
from operators.risk.checks.stale_price import NAME as STALE_PRICE
from operators.strategies import TradingStrategy
from schemas.records import (
    DELISTING,
    SUBMIT_ORDER,
    SYMBOL_CHANGE,
    TARGET_QUANTITY,
    TARGET_VIEW,
    TARGET_WEIGHT,
    CorporateAction,
    OrderRefusal,
    Record,
    StrategyAction,
)

_TRADING_KINDS = (SUBMIT_ORDER, TARGET_QUANTITY, TARGET_VIEW, TARGET_WEIGHT)


def change_findings(strategy: TradingStrategy, minutes: int, limit: HandlerLimit | None = None) -> list[Finding]:
    """Run a strategy over each set of changes. Return its failures and orders for ended symbols, each line once.

    The tapes have at most the `minutes` of the dry run, and at most one session. A strategy without `on_event` receives
    none of these changes, and has no findings.
    """
    if type(strategy).on_event is TradingStrategy.on_event:
        return []
    length, symbols = max(CHANGE_MINUTES_MIN, min(minutes, SESSION_MINUTES)), market_symbols(strategy)
    others = [f"{symbols[0]}.OTHER"] if len(symbols) == 1 else []  # a market always has bars
    found: dict[tuple[str, str, int], Finding] = {}
    for changes in (*listing_changes(length, symbols), limit_changes(length, symbols, strategy.name)):
        tape = make_tape(strategy, length, changes=changes, other_symbols=others)
        refusals: list[list[OrderRefusal]] = []
        decisions, failures = run_over(strategy, tape, limit, refusals)
        for one in failures or _orders_for_ended_symbols(strategy, tape, decisions, refusals):
            found.setdefault((one.check, one.file, one.line), one)
    return list(found.values())


def _orders_for_ended_symbols(
    strategy: TradingStrategy,
    tape: Sequence[Sequence[Record]],
    decisions: Sequence[Sequence[Record]],
    refusals: Sequence[Sequence[OrderRefusal]],
) -> list[Finding]:
    """Find the first order that risk rejects because its symbol was renamed, merged or delisted."""
    ended: dict[str, CorporateAction] = {}
    last_actions: dict[str, StrategyAction] = {}
    for records, decided, refused in zip(tape, decisions, refusals, strict=True):
        for record in records:
            for part in split_merger(record) if type(record) is CorporateAction else ():
                if isinstance(part, CorporateAction) and part.kind in (DELISTING, SYMBOL_CHANGE):
                    ended[part.symbol] = part
        last_actions |= {
            one.symbol: one for one in decided if type(one) is StrategyAction and one.kind in _TRADING_KINDS
        }
        for refusal in refused:
            if refusal.check == STALE_PRICE and refusal.symbol in ended and refusal.symbol in last_actions:
                text = f"{describe_action(ended[refusal.symbol])}, and risk rejects the strategy's order for it"
                file = inspect.getsourcefile(type(strategy)) or ""
                action_id = last_actions[refusal.symbol].action_id
                return [Finding("orders", text, file, line_of_action(strategy, tape, action_id, file))]
    return []

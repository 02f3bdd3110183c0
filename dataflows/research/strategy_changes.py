"""Find what a strategy does wrong when a symbol ends or is halted, a breaker changes or a margin call starts."""

from __future__ import annotations

from dataflows.research.simulated_changes import CHANGE_MINUTES_MIN, halt_changes, limit_changes, listing_changes
from dataflows.research.strategy_dry_run import SESSION_MINUTES, make_tape, market_symbols, run_over
from dataflows.research.strategy_source import Finding
from operators.handler_limit import HandlerLimit
from operators.strategies import Strategy, TradingStrategy


def change_findings(
    strategy: Strategy | TradingStrategy, minutes: int, limit: HandlerLimit | None = None
) -> list[Finding]:
    """Run a strategy over each set of changes. Return its failures and orders for ended symbols, each line once.

    The tapes have at most the `minutes` of the dry run, and at most one session. View strategies have no orders and
    receive no limits: only the symbols change.
    """
    length, symbols = max(CHANGE_MINUTES_MIN, min(minutes, SESSION_MINUTES)), market_symbols(strategy)
    others = [f"{symbols[0]}.OTHER"] if len(symbols) == 1 else []  # a market always has bars
    sets = [*listing_changes(length, symbols)]
    if isinstance(strategy, TradingStrategy):
        sets += [halt_changes(length, symbols), limit_changes(length, symbols, strategy.name)]
    found: dict[tuple[str, str, int], Finding] = {}
    for changes in sets:
        tape = make_tape(strategy, length, changes=changes, other_symbols=others)
        for one in run_over(strategy, tape, limit)[1]:
            found.setdefault((one.check, one.file, one.line), one)
    return list(found.values())

"""The rows of an attribution: the P&L of each strategy, which sum exactly to the ledger's valuation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from operators.feedback.strategy_positions import StrategyTotals, SymbolAttribution
from operators.feedback.trade_allocation import UNATTRIBUTED
from operators.money import ZERO, multiply, to_decimal
from operators.strategy_shares import allocate_by_weight
from schemas.records import Attribution, Valuation


def attribution_rows(
    valuation: Valuation,
    totals_by_strategy: Mapping[str, StrategyTotals],
    books: Iterable[tuple[str, SymbolAttribution, Decimal]],
    closes: Mapping[str, float],
    seq: int,
) -> list[Attribution]:
    """Return one row per strategy that ever traded, by name, with `seq` numbers starting at `seq`.

    `books` are the symbols with their positions and the value of one unit at a price of 1. The rows sum to the
    valuation: realized P&L plus cash flows to `realized_pnl`, unrealized P&L and fees to the fields of the same name.
    """
    realized = {name: totals.realized for name, totals in totals_by_strategy.items()}
    unrealized: dict[str, Decimal] = {}
    for symbol, book, unit_value in books:
        price = to_decimal(closes[symbol]) if symbol in closes else None
        _add_symbol_values(book, price, unit_value, realized, unrealized)
    residuals = (
        valuation.realized_pnl - sum(realized.values(), sum((t.cash_flows for t in totals_by_strategy.values()), ZERO)),
        valuation.unrealized_pnl - sum(unrealized.values(), ZERO),
        valuation.fees - sum((t.fees for t in totals_by_strategy.values()), ZERO),
    )
    names = set(realized) | set(unrealized)
    if any(residuals):
        names.add(UNATTRIBUTED)
        realized[UNATTRIBUTED] = realized.get(UNATTRIBUTED, ZERO) + residuals[0]
        unrealized[UNATTRIBUTED] = unrealized.get(UNATTRIBUTED, ZERO) + residuals[1]
    out = []
    for index, name in enumerate(sorted(names)):
        totals = totals_by_strategy.get(name) or StrategyTotals()
        fees = totals.fees + residuals[2] if name == UNATTRIBUTED else totals.fees
        out.append(
            Attribution(
                seq=seq + index,
                ts_ns=valuation.ts_ns,
                strategy=name,
                realized_pnl=realized.get(name, ZERO),
                unrealized_pnl=unrealized.get(name, ZERO),
                fees=fees,
                cash_flows=totals.cash_flows,
                trades=totals.trades,
            )
        )
    return out


def _add_symbol_values(
    book: SymbolAttribution,
    price: Decimal | None,
    unit_value: Decimal,
    realized: dict[str, Decimal],
    unrealized: dict[str, Decimal],
) -> None:
    """Add a symbol's unrealized P&L, and shift amounts between realized and unrealized as in the ledger."""
    shares = book.holders()
    if not shares:
        return
    cost_shifts = dict(
        allocate_by_weight(book.cost - sum((position.cost for position in book.positions.values()), ZERO), shares)
    )
    values: dict[str, Decimal] = {}
    if price is not None:
        values = {
            name: multiply(multiply(position.quantity, price), unit_value)
            for name, position in book.positions.items()
            if position.quantity
        }
        total_value = multiply(multiply(book.quantity, price), unit_value)
        values[max(shares, key=lambda share: share[1])[0]] += total_value - sum(values.values(), ZERO)
    for name, position in book.positions.items():
        shift = cost_shifts.get(name, ZERO)
        realized[name] = realized.get(name, ZERO) + shift
        unrealized[name] = unrealized.get(name, ZERO) + values.get(name, position.cost + shift) - position.cost - shift

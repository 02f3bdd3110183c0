"""Whose profit and loss it is: the ledger's, split by strategy so that the parts sum to it exactly.

Each strategy has its own quantity and cost of a symbol, kept at average cost; they sum to the ledger's quantity, and
what they paid and received sums to what the ledger did. A strategy's total (realized + unrealized) therefore does not
depend on which lots the ledger takes first. How much of the total counts as realized is the ledger's affair: the
difference between its cost and the sum of the strategies' is shared out over the holders by quantity.

All amounts have nine places. Where one is shared out, each share is rounded and the largest takes what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from operators.instruments import Instrument
from operators.manual_orders import MANUAL, is_manual
from operators.money import ONE, ZERO, multiply, portion, quantize, to_decimal
from operators.signals.ensemble import ENSEMBLE
from schemas.records import BUY, TRADE, Attribution, CashFlow, Execution, OrderProposal, Position, Signal, Valuation

ACCOUNT = "account"
"""Whose it is when no symbol is: interest on the whole account."""
UNATTRIBUTED = "unattributed"
"""What the rows would lack to the ledger's totals: there only where the books began before the feedback did."""
PROPOSALS_KEPT = 2
"""A symbol has one proposal at a time; a late report may still come on the one before."""
Shares = list[tuple[str, Decimal]]


class Part:
    """One strategy's holding of a symbol; both negative when short."""

    __slots__ = ("cost", "quantity")

    def __init__(self, quantity: Decimal = ZERO, cost: Decimal = ZERO) -> None:
        self.quantity = quantity
        self.cost = cost


class Totals:
    """One strategy over all symbols, since the beginning."""

    __slots__ = ("cash_flows", "fees", "realized", "trades")

    def __init__(self) -> None:
        self.realized = ZERO
        self.fees = ZERO
        self.cash_flows = ZERO
        self.trades = 0


class SymbolBook:
    """What the ledger says of a symbol, and whose it is. `last` are the shares of those who held it last."""

    __slots__ = ("cost", "last", "parts", "quantity", "realized")

    def __init__(self) -> None:
        self.quantity = ZERO
        self.cost = ZERO
        self.realized = ZERO
        self.parts: dict[str, Part] = {}
        self.last: Shares = []

    def holders(self) -> Shares:
        return [(name, abs(part.quantity)) for name, part in self.parts.items() if part.quantity]


class Owner(NamedTuple):
    """Who stands behind a proposal: the strategies that it names, and the shares of what it opens."""

    proposal_id: str
    names: tuple[str, ...]
    opens: tuple[tuple[str, Decimal], ...]


class AttributionBook:
    """Folds signals, proposals, executions and the ledger's records; gives the rows of a Valuation."""

    def __init__(self, instruments: Iterable[Instrument] = (), currency: str = "USD") -> None:
        """`currency` is the account's."""
        listed = list(instruments)
        self._multipliers = {one.symbol: one.multiplier for one in listed if one.multiplier != 1}
        self._currencies = {one.symbol: one.currency for one in listed if one.currency != currency}
        self._rates: dict[str, Decimal] = {}
        self._books: dict[str, SymbolBook] = {}
        self._totals: dict[str, Totals] = {}
        self._views: dict[str, dict[str, tuple[int, float]]] = {}
        self._parts: dict[str, dict[str, float]] = {}  # symbol -> contributions to the ensemble's last view
        self._owners: dict[str, list[Owner]] = {}
        self._executions: dict[str, Execution] = {}  # of the tick under way

    # -- what happened -------------------------------------------------------------------------------------------------

    def see(self, signal: Signal) -> None:
        self._views.setdefault(signal.symbol, {})[signal.strategy] = (signal.direction, signal.strength)
        if signal.strategy == ENSEMBLE:
            self._parts[signal.symbol] = signal.parts

    def propose(self, proposal: OrderProposal) -> None:
        """Remember whose it is, by the views of this moment."""
        symbol, names = proposal.symbol, tuple(proposal.strategy.split("+"))
        side = 1 if proposal.side == BUY else -1
        if names == (ENSEMBLE,):
            wanted = self._parts.get(symbol, {})
        else:
            views = self._views.get(symbol, {})
            wanted = {name: views[name][0] * views[name][1] for name in names if name in views}
        opens = tuple((name, share) for name, part in wanted.items() if (share := to_decimal(part * side)) > 0)
        self._owners[symbol] = [*self._owners.get(symbol, []), Owner(proposal.proposal_id, names, opens)][
            -PROPOSALS_KEPT:
        ]

    def report(self, execution: Execution) -> None:
        """The ledger's records on it come later in the tick."""
        if execution.exec_type == TRADE:
            self._executions[execution.execution_id] = execution

    def moved(self, position: Position) -> None:
        """The ledger booked an execution or a corporate action."""
        book = self._books.get(position.symbol)
        if book is None:
            book = self._books[position.symbol] = SymbolBook()
        change = position.quantity - book.quantity
        cost, realized = position.cost_basis - book.cost, position.realized_pnl - book.realized
        book.quantity, book.cost, book.realized = position.quantity, position.cost_basis, position.realized_pnl
        if not position.quantity and (holders := book.holders()):
            book.last = holders
        execution = self._executions.pop(position.execution_id, None)
        if execution is None:
            self._act(book, position.quantity, cost, realized)
        else:
            # What was paid, signed like the quantity: cash went down by it.
            self._fill(book, execution, change, cost - realized)
        book.parts = {name: part for name, part in book.parts.items() if part.quantity or part.cost}

    def flowed(self, flow: CashFlow) -> None:
        book = self._books.get(flow.symbol)
        holders = [] if book is None else book.holders() or book.last
        for name, amount in share_out(quantize(flow.amount), holders or [(ACCOUNT, ONE)]):
            self._total(name).cash_flows += amount

    def set_rate(self, currency: str, rate: Decimal) -> None:
        """One unit of `currency` is worth `rate` in account currency from here on."""
        self._rates[currency] = quantize(rate)

    def rename(self, old: str, new: str) -> None:
        """A symbol has another name, ahead of the ledger's Position under it."""
        gone = self._books.pop(old, None)
        kept: tuple[Any, ...] = (self._views, self._parts, self._owners)
        for by_symbol in kept:
            if old in by_symbol:
                by_symbol[new] = by_symbol.pop(old)
        if gone is None:
            return
        book = self._books.setdefault(new, SymbolBook())
        book.quantity += gone.quantity
        book.cost += gone.cost
        book.realized += gone.realized
        book.last = book.last or gone.last
        for name, part in gone.parts.items():
            mine = book.parts.setdefault(name, Part())
            mine.quantity += part.quantity
            mine.cost += part.cost

    def _fill(self, book: SymbolBook, execution: Execution, change: Decimal, paid: Decimal) -> None:
        pieces = self._pieces(book, execution, change)
        if len(pieces) == 1:
            # Nearly every fill is of one strategy: there is nothing to share out.
            ((name, quantity),) = pieces
            totals = self._total(name)
            self._move(book.parts.setdefault(name, Part()), totals, quantity, paid)
            totals.fees += quantize(execution.fee)
            totals.trades += 1
            return
        weights = [(name, abs(quantity)) for name, quantity in pieces]
        values = [value for _, value in share_out(paid, weights)]
        for (name, quantity), value in zip(pieces, values, strict=True):
            self._move(book.parts.setdefault(name, Part()), self._total(name), quantity, value)
        for name, fee in share_out(quantize(execution.fee), weights):
            self._total(name).fees += fee
        for name in dict.fromkeys(name for name, _ in pieces):
            self._total(name).trades += 1

    def _pieces(self, book: SymbolBook, execution: Execution, change: Decimal) -> Shares:
        """Whose the traded quantity is, signed: first what closes holdings of the other side, then what opens."""
        against = {name: part.quantity for name, part in book.parts.items() if part.quantity * change < 0}
        if is_manual(execution.order_id):
            # As the portfolio takes it off: manual holdings, then the strategies.
            closing = _in_turn(change, against, sorted(against, key=lambda name: (name != MANUAL, name)))
            return _with_rest(closing, change, [(MANUAL, ONE)])
        owner = next(
            (one for one in self._owners.get(execution.symbol, ()) if one.proposal_id == execution.cause_id), None
        )
        if owner is None:
            return _with_rest(_pro_rata(change, against), change, [(UNATTRIBUTED, ONE)])
        opens = list(owner.opens)
        if owner.names == (ENSEMBLE,):
            ours = {name: held for name, held in against.items() if name != MANUAL}
            return _with_rest(_pro_rata(change, ours), change, opens or [(ENSEMBLE, ONE)])
        closing = _pro_rata(change, {name: held for name, held in against.items() if name in owner.names})
        rest = change - sum((quantity for _, quantity in closing), ZERO)
        if rest and not opens:
            # None of them wants to be on that side: what they give up beyond their own stands in for others.
            others = sorted(
                (name for name in against if name not in owner.names), key=lambda name: (name == MANUAL, name)
            )
            closing += _in_turn(rest, against, others)
        return _with_rest(closing, change, opens or [(name, ONE) for name in owner.names])

    @staticmethod
    def _move(part: Part, totals: Totals, quantity: Decimal, paid: Decimal) -> None:
        """Book `quantity` for `paid`, both signed; what closes realizes the difference to the average cost."""
        held = part.quantity
        if held * quantity < 0:
            closing = quantity if abs(quantity) <= abs(held) else -held
            value = paid if closing == quantity else portion(paid, closing, quantity)
            cost = part.cost if closing == -held else portion(part.cost, -closing, held)
            totals.realized -= value + cost
            part.cost -= cost
            part.quantity += closing
            quantity, paid = quantity - closing, paid - value
        part.quantity += quantity
        part.cost += paid

    def _act(self, book: SymbolBook, quantity: Decimal, cost: Decimal, realized: Decimal) -> None:
        """A corporate action: everybody has the same share of the holding as before, and of what it paid."""
        before = [(name, part.quantity) for name, part in book.parts.items() if part.quantity]
        if not before:
            before = [(UNATTRIBUTED, ONE)]
            book.parts[UNATTRIBUTED] = Part()
        shares = [(name, abs(held)) for name, held in before]
        if not quantity:
            for name, paid in share_out(cost - realized, shares):
                part = book.parts[name]
                self._total(name).realized -= paid + part.cost
                part.quantity = part.cost = ZERO
            return
        for (name, held), (_, spent), (_, made) in zip(
            share_out(quantity, before), share_out(cost, shares), share_out(realized, shares), strict=True
        ):
            part = book.parts[name]
            part.quantity = held
            part.cost += spent
            self._total(name).realized += made

    def _total(self, name: str) -> Totals:
        totals = self._totals.get(name)
        if totals is None:
            totals = self._totals[name] = Totals()
        return totals

    # -- the rows ------------------------------------------------------------------------------------------------------

    def rows(self, valuation: Valuation, closes: Mapping[str, float], seq: int) -> list[Attribution]:
        """One row for each strategy that ever traded, by name, with seqs from `seq` on. They sum to the valuation:
        realized and cash flows to its `realized_pnl`, the others each to their own.
        """
        realized = {name: totals.realized for name, totals in self._totals.items()}
        unrealized: dict[str, Decimal] = {}
        for symbol, book in self._books.items():
            self._value(symbol, book, closes, realized, unrealized)
        missing = (
            valuation.realized_pnl - sum(realized.values(), sum((t.cash_flows for t in self._totals.values()), ZERO)),
            valuation.unrealized_pnl - sum(unrealized.values(), ZERO),
            valuation.fees - sum((t.fees for t in self._totals.values()), ZERO),
        )
        names = set(realized) | set(unrealized)
        if any(missing):
            names.add(UNATTRIBUTED)
            realized[UNATTRIBUTED] = realized.get(UNATTRIBUTED, ZERO) + missing[0]
            unrealized[UNATTRIBUTED] = unrealized.get(UNATTRIBUTED, ZERO) + missing[1]
        out = []
        for number, name in enumerate(sorted(names)):
            totals = self._totals.get(name) or Totals()
            fees = totals.fees + missing[2] if name == UNATTRIBUTED else totals.fees
            out.append(
                Attribution(
                    seq + number,
                    valuation.ts_ns,
                    name,
                    realized.get(name, ZERO),
                    unrealized.get(name, ZERO),
                    fees,
                    totals.cash_flows,
                    totals.trades,
                )
            )
        return out

    def _value(
        self,
        symbol: str,
        book: SymbolBook,
        closes: Mapping[str, float],
        realized: dict[str, Decimal],
        unrealized: dict[str, Decimal],
    ) -> None:
        """Add a symbol's unrealized P&L, and move what the ledger's lot method counts otherwise."""
        shares = book.holders()
        if not shares:
            return
        moved = dict(share_out(book.cost - sum((part.cost for part in book.parts.values()), ZERO), shares))
        worth: dict[str, Decimal] = {}
        if symbol in closes:
            price, unit = to_decimal(closes[symbol]), self._unit(symbol)
            worth = {
                name: multiply(multiply(part.quantity, price), unit)
                for name, part in book.parts.items()
                if part.quantity
            }
            whole = multiply(multiply(book.quantity, price), unit)
            worth[max(shares, key=lambda share: share[1])[0]] += whole - sum(worth.values(), ZERO)
        for name, part in book.parts.items():
            shift = moved.get(name, ZERO)
            realized[name] = realized.get(name, ZERO) + shift
            unrealized[name] = unrealized.get(name, ZERO) + worth.get(name, part.cost + shift) - part.cost - shift

    def _unit(self, symbol: str) -> Decimal:
        """What one unit is worth in account currency at a price of 1, as the ledger has it."""
        multiplier, currency = self._multipliers.get(symbol, ONE), self._currencies.get(symbol)
        return multiplier if currency is None else multiply(multiplier, self._rates.get(currency, ONE))

    # -- state ---------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        books = [
            (
                symbol,
                b.quantity,
                b.cost,
                b.realized,
                [(n, p.quantity, p.cost) for n, p in b.parts.items()],
                list(b.last),
            )
            for symbol, b in self._books.items()
        ]
        totals = [(name, t.realized, t.fees, t.cash_flows, t.trades) for name, t in self._totals.items()]
        owners = [(symbol, [tuple(one) for one in kept]) for symbol, kept in self._owners.items()]
        views = {symbol: dict(views) for symbol, views in self._views.items()}
        return (
            books,
            totals,
            views,
            {symbol: dict(parts) for symbol, parts in self._parts.items()},
            owners,
            dict(self._rates),
        )

    def restore(self, snapshot: Any) -> None:
        books, totals, views, parts, owners, rates = snapshot
        self._books, self._totals = {}, {}
        for symbol, quantity, cost, realized, held, last in books:
            book = self._books[symbol] = SymbolBook()
            book.quantity, book.cost, book.realized, book.last = quantity, cost, realized, list(last)
            book.parts = {name: Part(units, spent) for name, units, spent in held}
        for name, realized, fees, cash_flows, trades in totals:
            total = self._total(name)
            total.realized, total.fees, total.cash_flows, total.trades = realized, fees, cash_flows, trades
        self._views = {symbol: dict(one) for symbol, one in views.items()}
        self._parts = {symbol: dict(one) for symbol, one in parts.items()}
        self._owners = {symbol: [Owner(*one) for one in kept] for symbol, kept in owners}
        self._rates = dict(rates)
        self._executions = {}


def share_out(total: Decimal, weights: Sequence[tuple[str, Decimal]]) -> Shares:
    """`total` by weight, each share rounded to nine places, the largest weight (the first of equals) taking what is
    left.

    >>> [(name, str(share)) for name, share in share_out(Decimal(10), [("a", Decimal(1)), ("b", Decimal(2))])]
    [('a', '3.333333333'), ('b', '6.666666667')]
    """
    if len(weights) == 1:
        return [(weights[0][0], total)]
    whole = sum((weight for _, weight in weights), ZERO)
    if not total or not whole:
        return [(name, total if place == 0 else ZERO) for place, (name, _) in enumerate(weights)]
    shares = [(name, portion(total, weight, whole)) for name, weight in weights]
    largest = max(range(len(weights)), key=lambda place: abs(weights[place][1]))
    left = total - sum((share for _, share in shares), ZERO)
    shares[largest] = (shares[largest][0], shares[largest][1] + left)
    return shares


def _pro_rata(change: Decimal, against: Mapping[str, Decimal]) -> Shares:
    """What closes of these holdings (of the other side than `change`), each its part."""
    held = [(name, abs(quantity)) for name, quantity in against.items()]
    whole = sum((quantity for _, quantity in held), ZERO)
    if not whole:
        return []
    if whole <= abs(change):
        return [(name, -quantity) for name, quantity in against.items()]
    return share_out(change, held)


def _in_turn(change: Decimal, against: Mapping[str, Decimal], names: Iterable[str]) -> Shares:
    """What closes of these holdings, one after the other."""
    pieces, left = [], change
    for name in names:
        if not left:
            break
        part = min(left, -against[name], key=abs)
        pieces.append((name, part))
        left -= part
    return pieces


def _with_rest(closing: Shares, change: Decimal, opens: Shares) -> Shares:
    rest = change - sum((quantity for _, quantity in closing), ZERO)
    return [*closing, *share_out(rest, opens)] if rest else closing

"""The inputs of the checks for one order: its price, its effect on the position, and the book."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from operators.manual_orders import order_id_of
from operators.money import ONE, ZERO, divide, multiply
from operators.risk.book import RiskBook
from operators.risk.breakers import Breakers
from operators.risk.exposure import Exposure
from operators.risk.history import RiskHistory
from operators.risk.position import RiskPosition, cash_to_reserve
from operators.risk.settings import RiskSettings
from schemas.records import BUY, OrderProposal, OrderTerms

_BPS = Decimal(10_000)
_TOLERANCE_ABSOLUTE, _TOLERANCE_RELATIVE = Decimal("0.05"), Decimal("1E-9")


_NO_POSITION = RiskPosition()


class OrderContext:
    """One order and the state that its checks read. Derived values are computed once, on first use.

    order         the order's terms
    strategy      the strategy that proposes the order, or several ("a+b")
    changes       of an order for several strategies: the change of each one's position (`OrderProposal.changes`)
    last_price    the symbol's last close, or None
    position      position and open orders of the symbol
    instrument    the definition of the symbol, or None if unknown
    history       peak equity, volumes, recent orders
    breakers      the states of the circuit breakers
    old_terms     the terms of the open order that this order amends, or None
    entry         the terms of the open entry order for which this order waits, or None
    """

    __slots__ = (
        "_exposure",
        "_order_price",
        "_required_cash",
        "_resulting_quantity",
        "book",
        "breakers",
        "changes",
        "entry",
        "history",
        "instrument",
        "last_price",
        "limits",
        "old_terms",
        "order",
        "position",
        "strategy",
        "ts_ns",
    )

    def __init__(
        self,
        proposal: OrderProposal,
        book: RiskBook,
        history: RiskHistory,
        breakers: Breakers,
        limits: RiskSettings,
        ts_ns: int,
        old_terms: OrderTerms | None = None,
        entry: OrderTerms | None = None,
    ) -> None:
        order = proposal.terms
        self.order = order
        self.strategy = proposal.strategy
        self.changes = proposal.changes
        self.old_terms = old_terms
        if entry is None and order.parent_id:
            parent = book.proposals.get(order_id_of(order.parent_id))
            entry = None if parent is None else parent.terms
        self.entry = entry
        self.book = book
        self.limits = limits
        self.ts_ns = ts_ns
        self.history = history
        self.breakers = breakers
        self.instrument = limits.instruments.get(order.symbol)
        position = book.positions.get(order.symbol)
        if position is None:
            multiplier = book.multiplier(order.symbol)
            position = _NO_POSITION if multiplier == ONE else RiskPosition(multiplier=multiplier)
        self.position = position
        self.last_price = book.price(order.symbol)
        self._order_price: Decimal | None = None
        self._resulting_quantity: Decimal | None = None
        self._required_cash: Decimal | None = None
        self._exposure: Exposure | None = None

    @property
    def is_amendment(self) -> bool:
        """Whether the order amends an open order."""
        return self.old_terms is not None

    @property
    def order_price(self) -> Decimal:
        """The assumed price of one unit.

        For a buy with a limit, the limit. For a sell with a limit, the higher of the limit and the last price. Without
        a limit, the last price (for a buy, the stop price if that is higher) plus `reserve_bps`.
        """
        if self._order_price is None:
            assert self.last_price is not None, "known_price runs before every check that needs a price"
            limit = self.order.limit_price
            if limit is not None:
                self._order_price = limit if self.order.side == BUY else max(limit, self.last_price)
            else:
                stop = self.order.stop_price
                base_price = self.last_price if stop is None or self.order.side != BUY else max(self.last_price, stop)
                reserve = self.limits.reserve_bps
                self._order_price = base_price + divide(multiply(base_price, reserve), _BPS) if reserve else base_price
        return self._order_price

    @property
    def unit_value(self) -> Decimal:
        """Value of one unit at `order_price`, in account currency."""
        multiplier = self.position.multiplier
        return self.order_price if multiplier == ONE else multiply(self.order_price, multiplier)

    @property
    def resulting_quantity(self) -> Decimal:
        """The position after this order and all open orders of its side are filled, positive in the order's direction.

        For a sell, the sign is reversed. A reduce-only order results in at most 0.
        """
        if self._resulting_quantity is None:
            position, order = self.position, self.order
            if order.side == BUY:
                self._resulting_quantity = position.quantity + position.buys.quantity + order.quantity
            else:
                self._resulting_quantity = position.sells.quantity + order.quantity - position.quantity
            if order.reduce_only:
                self._resulting_quantity = min(ZERO, self._resulting_quantity)
        return self._resulting_quantity

    @property
    def required_cash(self) -> Decimal:
        """Cash that the order reserves in addition to the current reserve; 0 for an order that only reduces."""
        if self._required_cash is None:
            order, position = self.order, self.position
            if order.reduce_only:
                self._required_cash = ZERO
                return ZERO
            side = position.buys if order.side == BUY else position.sells
            closable = position.closable(order.side)
            unit_value = self.unit_value
            cost = side.cost + multiply(order.quantity, unit_value)
            after = cash_to_reserve(side.quantity + order.quantity, cost, max(side.price_max, unit_value), closable)
            self._required_cash = after - side.reserved_cash(closable)
        return self._required_cash

    @property
    def only_reduces(self) -> bool:
        """Whether the order, together with all open orders of its side, cannot open or reverse a position."""
        return self.resulting_quantity <= 0

    @property
    def exposure(self) -> Exposure:
        if self._exposure is None:
            self._exposure = self.book.exposure()
        return self._exposure

    @property
    def unpriced_symbol(self) -> str | None:
        """A symbol in the book without a price, or None. If there is one, `exposure` must not be read."""
        return self.book.unpriced_symbol()

    @property
    def opening_quantity(self) -> Decimal:
        """Units by which the order opens or increases a position after all open orders of its side are filled."""
        order, position = self.order, self.position
        if order.reduce_only:
            return ZERO
        side = position.buys if order.side == BUY else position.sells
        return min(order.quantity, max(ZERO, side.quantity + order.quantity - position.closable(order.side)))

    @property
    def added_exposure(self) -> Decimal:
        """Money by which the order raises the largest gross value that the open orders of its symbol can result in."""
        order, position = self.order, self.position
        if order.reduce_only:
            return ZERO
        if order.side == BUY:
            after = abs(position.quantity + position.buys.quantity + order.quantity)
        else:
            after = abs(position.quantity - position.sells.quantity - order.quantity)
        return max(ZERO, self.last_value(after - position.worst_quantity()))

    def last_value(self, quantity: Decimal) -> Decimal:
        """Value of `quantity` units at the last price, in account currency."""
        assert self.last_price is not None, "known_price runs before every check that needs a price"
        return self.position.value(quantity, self.last_price)

    def equity(self, exposure: Exposure) -> Decimal:
        """Cash, accrued dividends and positions at last prices, in account currency."""
        return self.book.equity_at(exposure)

    def evaluate(self, function: Callable[[Exposure], Decimal]) -> Decimal:
        """Apply `function` to the exposure. The sign of the result is always exact.

        Uses the fast exposure first, and the exact one if the result is within the rounding tolerance of 0.
        """
        estimate = function(self.exposure)
        tolerance = _TOLERANCE_ABSOLUTE + _TOLERANCE_RELATIVE * (self.exposure.worst_gross + abs(self.book.cash))
        return estimate if abs(estimate) > tolerance else function(self.book.exact_exposure())

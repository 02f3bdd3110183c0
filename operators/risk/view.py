"""What the checks see of one order: its price, where it leads, and the book around it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import cached_property

from operators.money import ZERO, divide, multiply
from operators.risk.book import Exposure, Holding, OpenOrder, RiskBook, commitment
from operators.risk.settings import RiskSettings
from schemas.records import BUY, OrderProposal

_BPS = Decimal(10_000)
_NEAR_ABSOLUTE, _NEAR_RELATIVE = Decimal("0.05"), Decimal("1E-9")
_NOTHING = Holding()


class View:
    """One order before the book. Derived numbers are worked out once, when a check first asks.

    `last` is the symbol's last close or None; `price` is what one unit is taken to cost: the limit of a buy, the higher
    of limit and last of a sell, last and the reserve on top for a market order.
    """

    def __init__(self, order: OrderProposal, book: RiskBook, limits: RiskSettings, ts_ns: int) -> None:
        self.order = order
        self.book = book
        self.limits = limits
        self.ts_ns = ts_ns
        self.holding = book.holdings.get(order.symbol, _NOTHING)
        self.last = book.price(order.symbol)

    @cached_property
    def price(self) -> Decimal:
        assert self.last is not None, "known_price comes before every check that needs a price"
        limit = self.order.limit_price
        if limit is None:
            return self.last + divide(multiply(self.last, self.limits.reserve_bps), _BPS)
        return limit if self.order.side == BUY else max(limit, self.last)

    @cached_property
    def reached(self) -> Decimal:
        """The position in the order's own direction (a sell's is turned round) if it and all before it were filled."""
        holding, order = self.holding, self.order
        if order.side == BUY:
            return holding.quantity + holding.buys + order.quantity
        return -(holding.quantity - holding.sells - order.quantity)

    @cached_property
    def needed(self) -> Decimal:
        """Cash that the order sets aside beyond what is set aside already; 0 for an order that only reduces."""
        mine = OpenOrder(self.order.side, self.order.quantity, self.price)
        _, _, reserve = commitment(self.holding.quantity, [*self.holding.orders.values(), mine])
        return max(ZERO, reserve - self.holding.reserve)

    @cached_property
    def reduces(self) -> bool:
        """Whether the order, with all open ones before it, cannot open or turn round a position."""
        return self.reached <= 0

    @cached_property
    def exposure(self) -> Exposure:
        return self.book.exposure()

    @cached_property
    def unpriced(self) -> str | None:
        """A symbol in the book whose price is not known, if there is one; `exposure` must not be asked then."""
        return self.book.unpriced()

    def measure(self, found: Callable[[Exposure], Decimal]) -> Decimal:
        """`found` of the exposure, where the sign of the result decides: exact whenever the sign is in doubt."""
        rough = found(self.exposure)
        doubt = _NEAR_ABSOLUTE + _NEAR_RELATIVE * (self.exposure.worst + abs(self.book.cash))
        return rough if abs(rough) > doubt else found(self.book.exact_exposure())

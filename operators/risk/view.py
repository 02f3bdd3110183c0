"""What the checks see of one order: its price, where it leads, and the book around it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from operators.money import ONE, ZERO, divide, multiply
from operators.risk.book import Exposure, Holding, RiskBook, set_aside
from operators.risk.breakers import Breakers
from operators.risk.history import History
from operators.risk.settings import RiskSettings
from schemas.records import BUY, OrderProposal

_BPS = Decimal(10_000)
_NEAR_ABSOLUTE, _NEAR_RELATIVE = Decimal("0.05"), Decimal("1E-9")


_NOTHING = Holding()


class View:
    """One order before the book. What only some checks need is worked out once, when one first asks.

    last         the symbol's last close, or None
    holding      position and open orders of the symbol
    instrument   the definition of the symbol, or None where it is not known
    history      what the book remembers of before: highs, volumes, recent orders
    breakers     the circuit breakers' states
    amends       whether it changes an order that works already
    """

    __slots__ = (
        "_exposure",
        "_needed",
        "_price",
        "_reached",
        "amends",
        "book",
        "breakers",
        "history",
        "holding",
        "instrument",
        "last",
        "limits",
        "order",
        "ts_ns",
    )

    def __init__(
        self,
        order: OrderProposal,
        book: RiskBook,
        history: History,
        breakers: Breakers,
        limits: RiskSettings,
        ts_ns: int,
        amends: bool = False,
    ) -> None:
        self.order = order
        self.amends = amends
        self.book = book
        self.limits = limits
        self.ts_ns = ts_ns
        self.history = history
        self.breakers = breakers
        self.instrument = limits.instruments.get(order.symbol)
        held = book.holdings.get(order.symbol)
        if held is None:
            multiplier = book.multiplier(order.symbol)
            held = _NOTHING if multiplier == ONE else Holding(multiplier=multiplier)
        self.holding = held
        self.last = book.price(order.symbol)
        self._price: Decimal | None = None
        self._reached: Decimal | None = None
        self._needed: Decimal | None = None
        self._exposure: Exposure | None = None

    @property
    def price(self) -> Decimal:
        """What one unit is taken to cost: a buy's limit; a sell's limit or the last price, whichever is higher; without
        a limit the last price, or a buy's stop above it, and the reserve on top."""
        if self._price is None:
            assert self.last is not None, "known_price comes before every check that needs a price"
            limit = self.order.limit_price
            if limit is not None:
                self._price = limit if self.order.side == BUY else max(limit, self.last)
            else:
                stop = self.order.stop_price
                base = self.last if stop is None or self.order.side != BUY else max(self.last, stop)
                reserve = self.limits.reserve_bps
                self._price = base + divide(multiply(base, reserve), _BPS) if reserve else base
        return self._price

    @property
    def unit(self) -> Decimal:
        """Money that one unit is worth at `price`."""
        multiplier = self.holding.multiplier
        return self.price if multiplier == ONE else multiply(self.price, multiplier)

    @property
    def reached(self) -> Decimal:
        """The position in the order's own direction (a sell's is turned round) if it and all before it were filled."""
        if self._reached is None:
            holding, order = self.holding, self.order
            if order.side == BUY:
                self._reached = holding.quantity + holding.buys.quantity + order.quantity
            else:
                self._reached = holding.sells.quantity + order.quantity - holding.quantity
            if order.reduce_only:
                self._reached = min(ZERO, self._reached)
        return self._reached

    @property
    def needed(self) -> Decimal:
        """Cash that the order sets aside beyond what is set aside already; 0 for an order that only reduces."""
        if self._needed is None:
            order, holding = self.order, self.holding
            if order.reduce_only:
                self._needed = ZERO
                return ZERO
            side = holding.buys if order.side == BUY else holding.sells
            closable = holding.closable(order.side)
            unit = self.unit
            worth = side.worth + multiply(order.quantity, unit)
            after = set_aside(side.quantity + order.quantity, worth, max(side.dearest, unit), closable)
            self._needed = after - side.reserve(closable)
        return self._needed

    @property
    def reduces(self) -> bool:
        """Whether the order, with all open ones before it, cannot open or turn round a position."""
        return self.reached <= 0

    @property
    def exposure(self) -> Exposure:
        if self._exposure is None:
            self._exposure = self.book.exposure()
        return self._exposure

    @property
    def unpriced(self) -> str | None:
        """A symbol in the book whose price is not known, if there is one; `exposure` must not be asked then."""
        return self.book.unpriced()

    @property
    def opens(self) -> Decimal:
        """Units by which the order would open or enlarge a position once all open orders of its side are filled."""
        order, holding = self.order, self.holding
        if order.reduce_only:
            return ZERO
        side = holding.buys if order.side == BUY else holding.sells
        return min(order.quantity, max(ZERO, side.quantity + order.quantity - holding.closable(order.side)))

    @property
    def added(self) -> Decimal:
        """Money by which the order raises the largest gross value that its symbol's open orders can lead to."""
        order, holding = self.order, self.holding
        if order.reduce_only:
            return ZERO
        if order.side == BUY:
            after = abs(holding.quantity + holding.buys.quantity + order.quantity)
        else:
            after = abs(holding.quantity - holding.sells.quantity - order.quantity)
        return max(ZERO, self.last_value(after - holding.worst()))

    def last_value(self, quantity: Decimal) -> Decimal:
        """Money that `quantity` units are worth at the last price."""
        assert self.last is not None, "known_price comes before every check that needs a price"
        return self.holding.value(quantity, self.last)

    def equity(self, exposure: Exposure) -> Decimal:
        """Cash and positions at last prices."""
        return self.book.cash + exposure.long - exposure.short

    def measure(self, found: Callable[[Exposure], Decimal]) -> Decimal:
        """`found` of the exposure, where the sign of the result decides: exact whenever the sign is in doubt."""
        rough = found(self.exposure)
        doubt = _NEAR_ABSOLUTE + _NEAR_RELATIVE * (self.exposure.worst + abs(self.book.cash))
        return rough if abs(rough) > doubt else found(self.book.exact_exposure())

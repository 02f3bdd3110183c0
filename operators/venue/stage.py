"""Orders meet bars, or quotes.

An order is decided on bars up to one clock and reaches the venue before the next bar, so the first price it can trade
at is that bar's open. A bar without a trade fills nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from operators.ledger.events import moved
from operators.ledger.lots import DUST
from operators.money import ONE, ZERO, multiply, quantize, to_decimal
from operators.orders import FINAL, OrderEvent, follow
from operators.reference_data import ReferenceData
from operators.venue.arrival import Arrival
from operators.venue.fees import owed
from operators.venue.matching import Match, match, without_limit
from operators.venue.settings import VenueSettings
from operators.venue.slippage import slippage
from operators.venue.working import WorkingOrder
from schemas.records import (
    CANCELED,
    CASH_DIVIDEND,
    CLS,
    DAY,
    EXPIRED,
    FOK,
    HALTED,
    IOC,
    NEW,
    OPG,
    REDUCING,
    REGULAR,
    REJECTED,
    REPLACED,
    TRADE,
    Bar,
    CorporateAction,
    ExchangeRate,
    Execution,
    Order,
    OrderCancel,
    Quote,
    Record,
    RiskFence,
    execution_id,
)

SNAPSHOT_VERSION = 3
_ORDERS = frozenset({Order, OrderCancel, RiskFence})
_EVENT = {
    NEW: OrderEvent.ACCEPT,
    CANCELED: OrderEvent.CANCEL,
    REPLACED: OrderEvent.REPLACE,
    EXPIRED: OrderEvent.EXPIRE,
    REJECTED: OrderEvent.REJECT,
}


class VenueStage:
    """Reads orders, cancels and fences, quotes, reference data, then bars; writes `Execution`. Orders of a symbol fill
    in order of approval.

    Market order: the next bar with a trade, at its open, worse by the slippage. Limit order: at the open where that is
    at the limit or better, else at the limit where the bar touches it, else it rests. On its first bar a limit order
    takes liquidity, with slippage up to its limit; later it rests in the book and has none. Stops: `matching`.

    At the open (OPG): the open of the first regular bar of a day, or expired. At the close (CLS): the close of the last
    regular bar, reported with the first bar after it, when it is known to have been the last.
    """

    def __init__(self, settings: VenueSettings) -> None:
        self.settings = settings
        self._arrival = Arrival(settings)
        self._seq = 0
        self._epoch = 0
        self._state = ""
        self._working: dict[str, list[WorkingOrder]] = {}  # by symbol, in the order of approval
        self._held = 0  # orders that wait for a parent
        self._position: dict[str, Decimal] = {}
        self._dust: dict[str, None] = {}  # symbols that were split
        self._reference = ReferenceData()
        self._by_quotes = settings.fills_from == "quotes"
        # Trading day and session of the first bar of this tick and of the one before: says when a session opens.
        self._now = self._before = (0, "")

    @property
    def positions(self) -> Mapping[str, Decimal]:
        """What was bought less what was sold here, by symbol; 0 is left out."""
        return self._position

    def on_tick(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        out: list[Record] = []
        working = self._working
        opened = False
        due = self._reference.due(records)
        for record in records:
            kind = type(record)
            if due and kind not in _ORDERS:
                # Behind the orders, which were decided before it, and ahead of the prices that know of it.
                self._take_effect(ts_ns, due, out)
                due = []
            if kind is Bar:
                if not opened:
                    opened = True
                    self._before, self._now = self._now, (record.trading_day, record.session)  # type: ignore[union-attr]
                if not working:
                    break  # bars come last; without an order none of them matters
                if record.symbol in working:  # type: ignore[union-attr]
                    self._meet_bar(ts_ns, record, out)  # type: ignore[arg-type]
            elif kind is Quote:
                if self._by_quotes and record.symbol in working:  # type: ignore[union-attr]
                    self._meet_quote(ts_ns, record, out)  # type: ignore[arg-type]
            elif isinstance(record, Order):
                self._take_order(ts_ns, record, out)
            elif isinstance(record, OrderCancel):
                self._take_cancel(ts_ns, record, out)
            elif isinstance(record, RiskFence):
                self._take_fence(ts_ns, record, out)
        return out

    # -- what comes in -------------------------------------------------------------------------------------------------

    def _take_order(self, ts_ns: int, order: Order, out: list[Record]) -> None:
        taken = WorkingOrder(order)
        replaced = self._find(order.symbol, order.replaces) if order.replaces else None
        reason = self._why_not(order, taken, replaced)
        if reason:
            self._report(ts_ns, taken, REJECTED, out, text=reason)
            return
        if replaced is not None:
            # The new order goes on from what the old one has traded and paid.
            taken.cum_quantity, taken.value, taken.taken = replaced.cum_quantity, replaced.value, replaced.taken
            taken.fees, taken.day = replaced.fees, replaced.day
            self._end(ts_ns, replaced, REPLACED, f"replaced by {order.order_id}", out)
            for child in self._everything():
                if child.held and child.parent_id == replaced.cause_id:
                    child.parent_id = taken.cause_id
        if order.parent_id:
            taken.held = True
            self._held += 1
        self._report(ts_ns, taken, NEW, out, leaves=taken.leaves)
        self._working.setdefault(order.symbol, []).append(taken)

    def _why_not(self, order: Order, taken: WorkingOrder, replaced: WorkingOrder | None) -> str:
        """Why the venue does not take an order, "" when it does."""
        if order.risk_epoch < self._epoch:
            return f"risk epoch {order.risk_epoch} is older than the fence at {self._epoch}"
        if self._state == HALTED:
            return f"trading is halted since risk epoch {self._epoch}"
        if order.replaces:
            if replaced is None:
                return f"{order.replaces} does not work any more"
            if order.quantity <= replaced.cum_quantity:
                return f"{order.replaces} has already traded {replaced.cum_quantity.normalize():f}"
        if order.parent_id and self._parent(order.parent_id) is None:
            return f"its parent {order.parent_id} does not work"
        orders = self._working.get(order.symbol, ())
        return self._arrival.why_not(taken, self._position.get(order.symbol, ZERO), orders)

    def _take_cancel(self, ts_ns: int, cancel: OrderCancel, out: list[Record]) -> None:
        """Cancelling what has ended changes nothing: its own reports have said what became of it."""
        order = self._find(cancel.symbol, cancel.order_id)
        if order is not None:
            self._end(ts_ns, order, CANCELED, cancel.reason, out)

    def _take_fence(self, ts_ns: int, fence: RiskFence, out: list[Record]) -> None:
        self._epoch = max(self._epoch, fence.epoch)
        self._state = fence.state
        if fence.state not in (HALTED, REDUCING):
            return
        for order in self._everything():
            if fence.state == HALTED or not self._reduces(order):
                why = f"{fence.state.lower()} by risk epoch {fence.epoch}: {fence.reason}"
                self._end(ts_ns, order, CANCELED, why, out)

    def _reduces(self, order: WorkingOrder) -> bool:
        held = self._position.get(order.symbol, ZERO)
        return order.reduce_only or order.leaves <= (-held if order.buying else held)

    def _take_effect(self, ts_ns: int, due: Sequence[CorporateAction | ExchangeRate], out: list[Record]) -> None:
        """What works in a symbol whose shares become others is cancelled: its prices and quantities are of the old."""
        for action in due:
            if not isinstance(action, CorporateAction) or action.kind == CASH_DIVIDEND:
                continue
            symbol = action.symbol
            for order in list(self._working.get(symbol, ())):
                self._end(ts_ns, order, CANCELED, f"{action.kind} of {symbol}: {action.action_id}", out)
            self._position = {
                name: held for name, held in moved(self._position, self._dust, action, ts_ns).items() if held
            }

    # -- an order in the book ------------------------------------------------------------------------------------------

    def _everything(self) -> list[WorkingOrder]:
        return sorted((order for orders in self._working.values() for order in orders), key=lambda order: order.seq)

    def _find(self, symbol: str, order_id: str) -> WorkingOrder | None:
        return next((order for order in self._working.get(symbol, ()) if order.order_id == order_id), None)

    def _parent(self, cause_id: str) -> WorkingOrder | None:
        return next((o for orders in self._working.values() for o in orders if o.cause_id == cause_id), None)

    def _end(self, ts_ns: int, order: WorkingOrder, exec_type: str, text: str, out: list[Record]) -> None:
        """An order ends without trading: it leaves the book, and what waits for it ends with it."""
        if order.state in FINAL:
            return  # ended with its parent a moment ago
        self._report(ts_ns, order, exec_type, out, text=text)
        self._leave(order)
        if exec_type == REPLACED or not self._held:
            return
        for child in self._everything():
            if child.held and child.parent_id == order.cause_id:
                self._end(ts_ns, child, CANCELED, f"its parent {order.order_id} ended", out)

    def _leave(self, order: WorkingOrder) -> None:
        orders = self._working[order.symbol]
        orders.remove(order)
        self._held -= order.held
        if not orders:
            del self._working[order.symbol]

    # -- orders and one bar --------------------------------------------------------------------------------------------

    def _meet_bar(self, ts_ns: int, bar: Bar, out: list[Record]) -> None:
        room = self._room(bar)
        for order in list(self._working[bar.symbol]):
            # An earlier fill of this bar may have ended it (one cancels the other).
            if order in self._working.get(bar.symbol, ()):
                traded = self._meet(ts_ns, order, bar, room, out)
                room = None if room is None else room - traded

    def _meet_quote(self, ts_ns: int, quote: Quote, out: list[Record]) -> None:
        """A quote is a bar of one price and of the size that it shows, one for each side."""
        day, session = self._now
        asked = Bar(
            *(quote.symbol, 0, quote.ts_ns, quote.ts_ns, quote.ask, quote.ask, quote.ask, quote.ask, quote.ask_size),
            *(session or REGULAR, day, True),
        )
        bid = asked._replace(open=quote.bid, high=quote.bid, low=quote.bid, close=quote.bid, volume=quote.bid_size)
        rooms = {True: to_decimal(quote.ask_size), False: to_decimal(quote.bid_size)}
        for order in list(self._working[quote.symbol]):
            if order in self._working.get(quote.symbol, ()) and order.time_in_force not in (OPG, CLS):
                side = asked if order.buying else bid
                rooms[order.buying] -= self._meet(ts_ns, order, side, rooms[order.buying], out)

    def _room(self, bar: Bar) -> Decimal | None:
        """What our orders of the symbol may trade in a bar in all, None without a bound."""
        share = self.settings.max_volume_share
        return None if share is None else multiply(to_decimal(bar.volume), share)

    def _meet(self, ts_ns: int, order: WorkingOrder, bar: Bar, room: Decimal | None, out: list[Record]) -> Decimal:
        """Let one order meet one bar. Returns the quantity that traded."""
        if bar.open_ns < order.ts_ns + self.settings.latency_ns and self.settings.latency_ns:
            return ZERO
        day = bar.trading_day
        if not order.day:
            order.day = day
        elif order.time_in_force == DAY and day > order.day:
            self._end(ts_ns, order, EXPIRED, f"day order of {order.day}", out)
            return ZERO
        if order.expires_ns is not None and bar.open_ns >= order.expires_ns:
            self._end(ts_ns, order, EXPIRED, f"good till {order.expires_ns}", out)
            return ZERO
        if order.held:
            return ZERO
        if order.time_in_force == CLS:
            return self._at_close(ts_ns, order, bar, out)
        if not bar.traded or not self._arrival.trades(order, bar):
            return ZERO
        if self._by_quotes and bar.seq and order.time_in_force != OPG:
            return ZERO
        if order.time_in_force == OPG and (bar.session != REGULAR or self._before == (day, REGULAR)):
            return ZERO
        found = match(order, bar)
        if found is not None and not bar.seq and order.rests and not found.takes and order.limit_price is not None:
            found = Match(order.limit_price, takes=False)  # who came to it paid what it showed
        order.rests = True
        traded = ZERO
        if found is not None:
            traded = self._trade(ts_ns, order, bar, found.price, found.takes, room, out)
        if order.time_in_force in (IOC, FOK, OPG) and order.leaves and self._find(order.symbol, order.order_id):
            exec_type = EXPIRED if order.time_in_force == OPG else CANCELED
            self._end(ts_ns, order, exec_type, f"{order.time_in_force}: the rest did not trade", out)
        return traded

    def _at_close(self, ts_ns: int, order: WorkingOrder, bar: Bar, out: list[Record]) -> Decimal:
        if bar.session == REGULAR and (order.last_regular is None or bar.trading_day == order.day):
            order.day = bar.trading_day
            if bar.traded:
                order.last_regular = (bar.close, bar.ts_ns, bar.seq, bar.volume)
            return ZERO
        if order.last_regular is None:
            return ZERO
        close, closed_ns, seq, volume = order.last_regular
        closing = bar._replace(open=close, open_ns=closed_ns, seq=seq, volume=volume)
        price, room = to_decimal(close), self._room(closing)
        traded = ZERO
        limit = order.limit_price
        if limit is None or (price <= limit if order.buying else price >= limit):
            traded = self._trade(ts_ns, order, closing, price, True, room, out)
        if order.leaves and self._find(order.symbol, order.order_id):
            self._end(ts_ns, order, EXPIRED, "CLS: the close did not trade it", out)
        return traded

    def _trade(
        self,
        ts_ns: int,
        order: WorkingOrder,
        bar: Bar,
        price: Decimal,
        takes: bool,
        room: Decimal | None,
        out: list[Record],
    ) -> Decimal:
        """Trade what the bar has room for. Returns the quantity."""
        quantity = order.leaves
        if order.reduce_only:
            held = self._position.get(order.symbol, ZERO)
            quantity = min(quantity, max(ZERO, -held if order.buying else held))
            if not quantity:
                self._end(ts_ns, order, CANCELED, "reduce only: nothing is left to close", out)
                return ZERO
        if room is not None and room < quantity:
            quantity = self._arrival.lots(order.symbol, max(ZERO, room))
        if not quantity or (order.time_in_force == FOK and quantity < order.leaves):
            return ZERO
        if takes:
            price = self._slipped(order, price, quantity, bar)
        self._fill(ts_ns, order, bar, quantity, price, takes, out)
        return quantity

    def _slipped(self, order: WorkingOrder, price: Decimal, quantity: Decimal, bar: Bar) -> Decimal:
        part = slippage(self.settings, quantity, bar.volume)
        slipped = multiply(price, ONE + part if order.buying else ONE - part)
        tick = self.settings.tick_size
        if tick is not None:
            ticks = (slipped / tick).to_integral_value(ROUND_CEILING if order.buying else ROUND_FLOOR)
            slipped = quantize(max(ticks, ONE) * tick)
        if without_limit(order) or order.limit_price is None:
            return slipped
        return min(slipped, order.limit_price) if order.buying else max(slipped, order.limit_price)

    def _fill(
        self,
        ts_ns: int,
        order: WorkingOrder,
        bar: Bar,
        quantity: Decimal,
        price: Decimal,
        takes: bool,
        out: list[Record],
    ) -> None:
        value = multiply(quantity, price)
        order.cum_quantity += quantity
        order.value += value
        order.taken += value if takes else ZERO
        # What the order owes in all so far, less what earlier fills paid: the minimum counts once.
        due = owed(self.settings, order.side, order.cum_quantity, order.value, order.taken)
        fee, order.fees = max(ZERO, due - order.fees), max(due, order.fees)
        leaves = order.leaves
        event = OrderEvent.FILL_PART if leaves else OrderEvent.FILL
        order.state = follow(order.state, event, order_id=order.order_id)
        signed = quantity if order.buying else -quantity
        before = self._position.get(order.symbol, ZERO)
        position = before + signed
        if position and not (order.symbol in self._dust and abs(position) <= min(DUST, abs(before))):
            self._position[order.symbol] = position
        else:
            self._position.pop(order.symbol, None)
        self._seq += 1
        ids = (execution_id(self._seq), order.order_id, order.symbol, order.side, TRADE)
        amounts = (quantity, price, quantize(fee), leaves, order.cum_quantity)
        out.append(Execution(self._seq, ts_ns, *ids, *amounts, bar.open_ns, bar.seq, "", order.cause_id))
        if not leaves:
            self._leave(order)
        if order.group_id or (self._held and not leaves):
            self._follow_up(ts_ns, order, quantity, out)

    def _follow_up(self, ts_ns: int, order: WorkingOrder, traded: Decimal, out: list[Record]) -> None:
        """The others of an OCO group are left with what this one did not trade, and end where nothing is left or they
        are of the other side; what waited for a filled parent begins to work.
        """
        for other in self._everything():
            if order.group_id and other.group_id == order.group_id and other is not order:
                if order.leaves and other.buying is order.buying and other.leaves > traded:
                    other.quantity -= traded
                    continue
                self._end(ts_ns, other, CANCELED, f"{order.order_id} of group {order.group_id} traded", out)
            elif not order.leaves and other.held and other.parent_id == order.cause_id:
                other.held = False
                self._held -= 1

    def _report(
        self,
        ts_ns: int,
        order: WorkingOrder,
        exec_type: str,
        out: list[Record],
        *,
        leaves: Decimal = ZERO,
        text: str = "",
    ) -> None:
        """A report that moves no money: acknowledged, cancelled, replaced, expired, rejected."""
        order.state = follow(order.state, _EVENT[exec_type], order_id=order.order_id)
        self._seq += 1
        ids = (execution_id(self._seq), order.order_id, order.symbol, order.side, exec_type)
        amounts = (ZERO, ZERO, ZERO, leaves, order.cum_quantity)
        out.append(Execution(self._seq, ts_ns, *ids, *amounts, ts_ns, 0, text, order.cause_id))

    # -- recovery ------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        orders = [order.plain() for working in self._working.values() for order in working]
        reference = (list(self._dust), self._reference.snapshot())
        return (
            SNAPSHOT_VERSION,
            self._seq,
            self._epoch,
            self._state,
            orders,
            dict(self._position),
            self._now,
            reference,
        )

    def restore(self, snapshot: Any) -> None:
        """Version 2 knew no corporate actions."""
        version, *state = snapshot
        assert version in (2, SNAPSHOT_VERSION), f"venue snapshot: version {version} is not known"
        if version == 2:
            state.append(([], self._reference.snapshot()))
        self._seq, self._epoch, self._state, orders, position, self._now, (dust, reference) = state
        self._dust = dict.fromkeys(dust)
        self._reference.restore(reference)
        self._position = dict(position)
        self._working, self._held = {}, 0
        for plain in orders:
            order = WorkingOrder.revive(plain)
            self._working.setdefault(order.symbol, []).append(order)
            self._held += order.held

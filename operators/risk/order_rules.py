"""Rules for the terms of an order: lot, tick, and prices on the right side of market and entry.

The API applies them to a ticket before it sends the command. The risk checks apply them to every order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from operators.instruments import Instrument
from operators.money import ZERO, divide
from operators.risk.settings import Limit
from operators.risk.verdict import PassedLimit, Refusal, Verdict, check_limit, number_text, passed
from schemas.records import BUY, LIMIT, MARKET, STOP, STOP_LIMIT, OrderTerms

LOT_SIZE: Final = "lot_size"
TICK_SIZE: Final = "tick_size"
PRICE_COLLAR: Final = "price_collar"
EXIT_PRICES: Final = "exit_prices"
"""Names of the rules in refusals."""

_BPS = Decimal(10_000)
_NO_TICK, _NO_COLLAR = (passed(check, "no limit price", "any") for check in (TICK_SIZE, PRICE_COLLAR))


class EntryPrices(NamedTuple):
    """The lowest and the highest price at which an entry order is expected to fill."""

    low: Decimal
    high: Decimal


def check_lot(order: OrderTerms, instrument: Instrument, position: Decimal) -> Verdict:
    """Require a multiple of the lot size, or the quantity that closes `position` (signed units) exactly."""
    lot, quantity = instrument.lot_size, order.quantity
    closes_position = position == (-quantity if order.side == BUY else quantity)
    if closes_position or not quantity % lot:
        return PassedLimit(LOT_SIZE, quantity, lot, money=False)
    message = f"{LOT_SIZE}: {order.symbol} quantity {number_text(quantity)} is not a multiple of lot size"
    return Refusal(LOT_SIZE, number_text(quantity), number_text(lot), f"{message} {number_text(lot)}")


def check_tick(order: OrderTerms, instrument: Instrument) -> Verdict:
    """Require limit and stop prices that are multiples of the tick size."""
    if order.limit_price is None and order.stop_price is None:
        return _NO_TICK
    prices = [("limit", order.limit_price), ("stop", order.stop_price)]
    set_prices = [(name, price) for name, price in prices if price is not None]
    for name, price in set_prices:
        tick = instrument.tick_size_at(price)
        if price % tick:
            price_text, tick_text = number_text(price), number_text(tick)
            message = (
                f"{TICK_SIZE}: {order.symbol} {name} price {price_text} is not a multiple of tick size {tick_text}"
            )
            return Refusal(TICK_SIZE, price_text, tick_text, message)
    _, price = set_prices[0]
    return PassedLimit(TICK_SIZE, price, instrument.tick_size_at(price), money=False)


def check_collar(
    order: OrderTerms, last_price: Decimal, collar_bps: Limit, old_terms: OrderTerms | None = None
) -> Verdict:
    """Limit how far a buy limit is above the last price and a sell limit below it. Reject a stop that the last price
    has passed.

    A stop-limit is measured from its stop, because it trades only after the stop has triggered. The limit price of an
    exit (a reduce-only order) passes, because it cannot open a position. The stop of an amendment passes if it equals
    the stop of `old_terms`, because the order may have triggered already.
    """
    stop, limit, is_buy = order.stop_price, order.limit_price, order.side == BUY
    stop_is_unchanged = old_terms is not None and old_terms.stop_price == stop
    if stop is not None and not stop_is_unchanged and (stop < last_price if is_buy else stop > last_price):
        stop_text, last_text = number_text(stop), number_text(last_price)
        side_text = "above" if is_buy else "below"
        message = (
            f"{PRICE_COLLAR}: {order.symbol} stop price {stop_text} of a {order.side} order is on the wrong side of "
            f"the last price {last_text} and would trigger at once. Set it {side_text} the last price"
        )
        return Refusal(PRICE_COLLAR, stop_text, last_text, message)
    if limit is None:
        return _NO_COLLAR
    if order.reduce_only:
        return passed(PRICE_COLLAR, "exit", "any")
    reference = last_price if stop is None else stop
    beyond = limit - reference if is_buy else reference - limit
    beyond_bps = divide(max(ZERO, beyond) * _BPS, reference)
    template = "limit price is {} bps beyond the " + ("last price" if stop is None else "stop price")
    return check_limit(PRICE_COLLAR, order.symbol, template, beyond_bps, collar_bps)


def entry_prices(entry: OrderTerms, last_price: Decimal | None) -> EntryPrices | None:
    """Return the prices at which `entry` is expected to fill; None if they are unknown.

    A limit order that the market has already reached fills at the last price or better than its limit.
    """
    limit, stop, last = entry.limit_price, entry.stop_price, last_price
    if entry.order_type == LIMIT and limit is not None:
        is_reached = last is not None and (limit > last if entry.side == BUY else limit < last)
        other = last if is_reached and last is not None else limit
        return EntryPrices(min(limit, other), max(limit, other))
    if entry.order_type == STOP and stop is not None:
        return EntryPrices(stop, stop)
    if entry.order_type == STOP_LIMIT and stop is not None and limit is not None:
        return EntryPrices(min(stop, limit), max(stop, limit))
    if entry.order_type == MARKET and last is not None:
        return EntryPrices(last, last)
    return None


def check_exits(entry: OrderTerms, exits: Iterable[OrderTerms], last_price: Decimal | None) -> Refusal | None:
    """Reject exit orders that would lose at once: a take profit or a stop loss on the wrong side of their entry.

    The price of a trailing-stop entry is unknown. Its exits are therefore compared only with each other.
    """
    is_long = entry.side == BUY
    prices = entry_prices(entry, last_price)
    take_profits: list[Decimal] = []
    stop_losses: list[Decimal] = []
    for terms in exits:
        if terms.side == entry.side:
            continue
        if terms.stop_price is not None:
            stop_losses.append(terms.stop_price)
            if prices is not None and not (
                terms.stop_price < prices.low if is_long else terms.stop_price > prices.high
            ):
                entry_price = prices.low if is_long else prices.high
                return _wrong_side(entry, "stop loss", terms.stop_price, "below" if is_long else "above", entry_price)
        elif terms.limit_price is not None:
            take_profits.append(terms.limit_price)
            if prices is not None and not (
                terms.limit_price > prices.high if is_long else terms.limit_price < prices.low
            ):
                entry_price = prices.high if is_long else prices.low
                expected = "above" if is_long else "below"
                return _wrong_side(entry, "take profit", terms.limit_price, expected, entry_price)
    for stop in stop_losses:
        for profit in take_profits:
            if stop >= profit if is_long else stop <= profit:
                side_text, profit_text = ("below" if is_long else "above"), number_text(profit)
                message = (
                    f"{EXIT_PRICES}: {entry.symbol} stop loss {number_text(stop)} must be {side_text} "
                    f"the take profit {profit_text}"
                )
                return Refusal(EXIT_PRICES, number_text(stop), f"{side_text} {profit_text}", message)
    return None


def first_refusal(
    order: OrderTerms,
    exits: Sequence[OrderTerms],
    instrument: Instrument,
    position: Decimal,
    last_price: Decimal | None,
    collar_bps: Limit,
) -> Refusal | None:
    """Return the first rule that a new order or the exits of its bracket break.

    The rules that compare with the market are skipped without a last price, and for an order that waits for another
    one, because its prices are compared with that order.
    """
    verdicts = [check_tick(order, instrument), check_lot(order, instrument, position)]
    if last_price is not None and last_price > 0 and not order.parent_id and not isinstance(collar_bps, str):
        verdicts.append(check_collar(order, last_price, collar_bps))
    verdicts += [check_tick(terms, instrument) for terms in exits]
    refusal = next((verdict for verdict in verdicts if isinstance(verdict, Refusal)), None)
    return refusal or check_exits(order, exits, last_price)


def _wrong_side(entry: OrderTerms, name: str, price: Decimal, expected: str, entry_price: Decimal) -> Refusal:
    limit = f"{expected} {number_text(entry_price)}"
    message = (
        f"{EXIT_PRICES}: {entry.symbol} {name} {number_text(price)} of a {entry.side} order must be {expected} "
        f"its entry price {number_text(entry_price)}"
    )
    return Refusal(EXIT_PRICES, number_text(price), limit, message)

"""The broker's side of the account: its orders, and how prices and sessions fill, trigger and end them.

No I/O, no clock. The rules are in `order_request`, `order_legs` and `account_rules`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from deploy.alpaca_server.account import BrokerAccountState
from deploy.alpaca_server.account_rules import check_order
from deploy.alpaca_server.assets import Asset
from deploy.alpaca_server.broker_order import (
    NOT_FOUND,
    BrokerApiError,
    BrokerOrder,
    decimal_text,
    invalid,
    unprocessable,
)
from deploy.alpaca_server.order_legs import attached_orders, check_exit_pair
from deploy.alpaca_server.order_request import check_terms, number, parse_order, text_field, units_for

EXTENDED, REGULAR, CLOSED = "extended", "regular", "closed"
_AUCTIONS = ("opg", "cls")
_STOP_TYPES = ("stop", "stop_limit", "trailing_stop")
_CLIENT_ORDER_ID_MAX = 128


@dataclass
class BrokerBook(BrokerAccountState):
    """The account with its orders. `on_event(event, order, fields)` is called for each event of an order.

    session            regular, extended or closed; `set_session` also runs the auctions and ends day orders
    fill_quantity_max  maximum units of one order that one price fills
    submission_counts  how often each client_order_id was accepted
    """

    session: str = REGULAR
    by_client: dict[str, BrokerOrder] = field(default_factory=dict)
    fill_quantity_max: Decimal | None = None
    submission_counts: dict[str, int] = field(default_factory=dict)

    # -- requests ------------------------------------------------------------------------------------------------------

    def submit(self, request: Mapping[str, Any]) -> BrokerOrder:
        """Accept an order. Raises BrokerApiError with the broker's reason if it is rejected."""
        asset = self.find_asset(request.get("symbol"))
        price = self.price(asset.symbol)
        order = parse_order(request, asset, price, self.now())
        if order.client_order_id in self.by_client:
            raise invalid("client_order_id must be unique")
        if order.time_in_force == "opg" and self.session == REGULAR:
            raise unprocessable("opg orders are accepted outside regular hours only")
        legs = attached_orders(order, request, price, self.position(asset.symbol))
        check_order(self, order, asset, None)
        if order.type == "trailing_stop":
            order.best = price
        self._add(order)
        self.submission_counts[order.client_order_id] = self.submission_counts.get(order.client_order_id, 0) + 1
        self.on_event("new", order, {})
        for leg in legs:
            self._add(leg)
            self.on_event("held", leg, {})
        return order

    def cancel(self, order_id: str) -> BrokerOrder:
        order = self.find(order_id)
        if not order.is_open:
            raise unprocessable(f'order is already in "{order.status}" state')
        self.end_order(order, "canceled")
        return order

    def replace(self, order_id: str, changes: Mapping[str, Any]) -> BrokerOrder:
        """Replace an open order by one with other terms. It keeps its fills, its group, its trigger and its best price.

        Raises BrokerApiError, and then leaves the order as it is.
        """
        old = self.find(order_id)
        if not old.is_open:
            raise unprocessable(f"cannot replace order in {old.status} status")
        new = replace(old, id=str(uuid.uuid4()), created_at=self.now(), replaces=old.id, **self._changes(old, changes))
        check_terms(new, self.find_asset(old.symbol))
        check_exit_pair(new, self.open_partner(old))
        if not new.waits_for_parent:
            check_order(self, new, self.find_asset(old.symbol), old)
        self._add(new)
        self.submission_counts[new.client_order_id] = self.submission_counts.get(new.client_order_id, 0) + 1
        for other in self.orders.values():
            other.partner_id = new.id if other.partner_id == old.id else other.partner_id
            if other.parent_id == old.id:
                other.parent_id = new.id
        old.replaced_by = new.id
        self._end(old, "replaced")
        self.on_event("new" if new.status != "held" else "held", new, {})
        return new

    def _changes(self, old: BrokerOrder, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a replacement that differ. Raises BrokerApiError if none does, or one may not."""
        given = {name: number(changes, name) for name in ("qty", "limit_price", "stop_price", "trail")}
        values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if old.notional is not None:
            raise unprocessable("notional orders cannot be replaced")
        if "qty" in values:
            values["quantity"] = values.pop("qty")
            if old.order_class and values["quantity"] != old.quantity:
                raise unprocessable("qty cannot be changed for advanced orders")
            if values["quantity"] <= old.filled:
                raise unprocessable("qty must be > filled_qty")
        if "trail" in values:
            if old.type != "trailing_stop":
                raise invalid("trail is only valid for trailing stop orders")
            values["trail_price" if old.trail_price is not None else "trail_percent"] = values.pop("trail")
        time_in_force = text_field(changes, "time_in_force", 10)
        if time_in_force:
            if time_in_force not in ("day", "gtc", "ioc", "fok"):
                raise invalid("invalid time_in_force")
            values["time_in_force"] = time_in_force
        values = {name: value for name, value in values.items() if value != getattr(old, name)}
        client_order_id = text_field(changes, "client_order_id", _CLIENT_ORDER_ID_MAX)
        if client_order_id in self.by_client:
            raise invalid("client_order_id must be unique")
        if not values:
            raise unprocessable("order parameters are not changed")
        return {**values, "client_order_id": client_order_id or str(uuid.uuid4())}

    def close_position(self, name: str, request: Mapping[str, Any]) -> BrokerOrder:
        """Submit a market order that closes a position, or `qty` units or `percentage` percent of it."""
        asset = self.find_position(name)
        position = self.position(asset.symbol)
        quantity, percentage = number(request, "qty"), number(request, "percentage")
        if quantity is not None and percentage is not None:
            raise invalid("only one of qty or percentage is accepted")
        if percentage is not None:
            if not 0 < percentage <= 100:
                raise invalid("percentage must be > 0 and <= 100")
            quantity = units_for(abs(position) * percentage, Decimal(100))
        return self.submit(
            {
                "symbol": asset.symbol,
                "qty": decimal_text(abs(position) if quantity is None else quantity),
                "side": "sell" if position > 0 else "buy",
                "type": "market",
                "time_in_force": "gtc" if asset.is_crypto else "day",
            }
        )

    def find(self, order_id: str) -> BrokerOrder:
        if order_id not in self.orders:
            raise BrokerApiError(404, NOT_FOUND, f"order not found for {order_id}")
        return self.orders[order_id]

    def find_by_client_id(self, client_order_id: str) -> BrokerOrder:
        if client_order_id not in self.by_client:
            raise BrokerApiError(404, NOT_FOUND, f"order not found for {client_order_id}")
        return self.by_client[client_order_id]

    def find_asset(self, name: object) -> Asset:
        """Return the asset that a request names by its symbol, also without the slash of a pair."""
        if not isinstance(name, str) or not name:
            raise invalid("symbol is required")
        asset = next((asset for asset in self.assets.values() if name in asset.names), None)
        if asset is None:
            found = name[:32].encode("ascii", "replace").decode()
            raise unprocessable(f'asset "{found}" not found')
        return asset

    def find_position(self, name: str) -> Asset:
        """Return the asset of an open position. Raises BrokerApiError with status 404 if there is none."""
        asset = next((one for one in self.assets.values() if name in one.names and self.position(one.symbol)), None)
        if asset is None:
            raise BrokerApiError(404, NOT_FOUND, "position does not exist")
        return asset

    def legs(self, order: BrokerOrder) -> list[BrokerOrder]:
        """Return the orders that are nested under `order`, also ended ones, without those that were replaced."""
        return [one for one in self.orders.values() if one.parent_id == order.id and one.status != "replaced"]

    def _add(self, order: BrokerOrder) -> None:
        self.orders[order.id] = self.by_client[order.client_order_id] = order

    # -- events --------------------------------------------------------------------------------------------------------

    def end_order(self, order: BrokerOrder, status: str) -> None:
        """End an order without further trading, and with it the open orders of its group."""
        self._end(order, status)
        partner = self.open_partner(order)
        for other in [*([partner] if partner else []), *self.legs(order)]:
            if other.is_open:
                self._end(other, "canceled")
        parent = self.orders.get(order.parent_id or "")
        if parent is not None and order.waits_for_parent and parent.is_open:
            self.end_order(parent, "canceled")

    def _end(self, order: BrokerOrder, status: str) -> None:
        order.status, order.ended_at = status, self.now()
        self.on_event(status, order, {})

    def _end_partner(self, order: BrokerOrder) -> None:
        partner = self.open_partner(order)
        if partner is not None:
            self._end(partner, "canceled")

    def set_session(self, session: str) -> None:
        """Change the session: run the opening or closing auction, and end the day orders of the ended session."""
        previous, self.session = self.session, session
        if session == previous:
            return
        auction = "opg" if session == REGULAR else "cls" if previous == REGULAR else ""
        for order in self._resting(auction):
            if order.limit_price is None or self._is_within_limit(order, self.price(order.symbol)):
                self.fill(order, order.remaining, self.price(order.symbol))
            else:
                self.end_order(order, "expired")
        ends_extended = previous == EXTENDED and session == CLOSED
        for order in self._resting("day") if previous == REGULAR or ends_extended else []:
            if not order.is_crypto and order.is_open and order.extended_hours == ends_extended:
                self.end_order(order, "expired")

    def _resting(self, time_in_force: str) -> list[BrokerOrder]:
        return [order for order in self.open_orders() if order.time_in_force == time_in_force]

    def set_price(self, symbol: str, price: Decimal) -> None:
        """Record a trade at `price`, and match every open order of the symbol against it, oldest first."""
        self.prices[symbol] = price
        # Exits of an entry that this price fills meet the next price.
        for order in [one for one in self.open_orders(symbol) if not one.waits_for_parent]:
            if order.is_open and self._trades_now(order):  # an earlier fill at this price may have ended it
                self._match(order, price)

    def _trades_now(self, order: BrokerOrder) -> bool:
        if order.time_in_force in _AUCTIONS:
            return False
        return order.is_crypto or self.session == REGULAR or (self.session == EXTENDED and order.extended_hours)

    def _match(self, order: BrokerOrder, price: Decimal) -> None:
        if self._is_executable_at(order, price):
            self._set_notional_quantity(order, price)
            quantity = min(order.remaining, self.fill_quantity_max or order.remaining)
            if order.time_in_force != "fok" or quantity == order.remaining:
                self.fill(order, quantity, price)
        if order.time_in_force in ("ioc", "fok") and order.is_open:
            self.end_order(order, "canceled")

    def _set_notional_quantity(self, order: BrokerOrder, price: Decimal) -> None:
        """Set the quantity of a notional order to what its money buys at this price, or what it may close."""
        if order.notional is None:
            return
        quantity = order.filled + units_for(order.notional - order.value, price)
        position = self.position(order.symbol)
        if position * (-1 if order.is_buy else 1) > 0:
            held_by_others = self.held_quantity(order.symbol, order.side, without=order)
            quantity = min(quantity, order.filled + abs(position) - held_by_others)
        order.quantity = quantity

    def fill(self, order: BrokerOrder, quantity: Decimal, price: Decimal) -> None:
        """Fill `quantity` units of an order at `price`."""
        order.filled += quantity
        order.value += quantity * price
        is_complete = not order.remaining
        order.status = "filled" if is_complete else "partially_filled"
        if is_complete:
            order.ended_at = self.now()
        fields = self.book_fill(order, quantity, price)
        self.on_event("fill" if is_complete else "partial_fill", order, fields)
        partner = self.open_partner(order)
        if partner is not None and not is_complete:
            partner.quantity -= quantity
        elif is_complete:
            self._end_partner(order)
            self._activate_legs(order)

    def _activate_legs(self, entry: BrokerOrder) -> None:
        """Activate the exits of a filled entry. The stop loss beside a take profit keeps the status `held`."""
        for leg in self.legs(entry):
            if leg.is_open and leg.waits_for_parent:
                leg.waits_for_parent = False
                if leg.type == "limit" or leg.partner_id is None:
                    leg.status = "new"
                    self.on_event("new", leg, {})

    def _is_executable_at(self, order: BrokerOrder, price: Decimal) -> bool:
        if order.type in _STOP_TYPES and not order.triggered:
            order.triggered = self._is_triggered(order, price)
            if not order.triggered:
                return False
            if order.status == "held":
                order.status = "new"
                self._end_partner(order)
        return self._is_within_limit(order, price)

    def _is_triggered(self, order: BrokerOrder, price: Decimal) -> bool:
        if order.type == "trailing_stop":
            best = price if order.best is None else order.best
            order.best = min(best, price) if order.is_buy else max(best, price)
        stop = order.current_stop_price
        assert stop is not None, f"{order.id}: a stop order without a stop price"
        return price >= stop if order.is_buy else price <= stop

    def _is_within_limit(self, order: BrokerOrder, price: Decimal) -> bool:
        if order.limit_price is None:
            return True
        return price <= order.limit_price if order.is_buy else price >= order.limit_price

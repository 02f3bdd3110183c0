"""Rules that depend on the account: its settings, positions, working orders, buying power and day trades.

Sources: Alpaca, "User Protection" (wash trades: FINRA rule 5210; pattern day trading: FINRA rule 4210, which FINRA
retired in June 2026), "Margin and Short Selling" and "Placing Orders" (buying power).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any, Protocol

from deploy.alpaca_server.assets import MINIMUM_ORDER_VALUE, Asset
from deploy.alpaca_server.broker_order import (
    DAY_TRADING,
    ZERO,
    BrokerApiError,
    BrokerOrder,
    decimal_text,
    forbidden,
    invalid,
    unprocessable,
)
from deploy.alpaca_server.day_trades import DAY_TRADES_MAX, PATTERN_EQUITY_MIN, DayTrades

SHORT_EQUITY_MIN = Decimal(2_000)
"""Equity in USD that an account needs for short sales."""
_CHOICES = {
    "dtbp_check": ("both", "entry", "exit"),
    "pdt_check": ("both", "entry", "exit"),
    "trade_confirm_email": ("all", "none"),
    "max_margin_multiplier": ("1", "2", "4"),
}


@dataclass
class AccountConfiguration:
    """The settings of `/v2/account/configurations`.

    `dtbp_check`, `trade_confirm_email` and `ptp_no_exception_entry` are stored, and have no effect here.
    """

    dtbp_check: str = "both"
    trade_confirm_email: str = "all"
    suspend_trade: bool = False
    no_shorting: bool = False
    fractional_trading: bool = True
    max_margin_multiplier: str = "4"
    pdt_check: str = "both"
    ptp_no_exception_entry: bool = False

    def change(self, values: dict[str, Any]) -> None:
        """Change settings; None leaves one as it is. Raises BrokerApiError, and then changes nothing."""
        known = {field.name for field in fields(self)}
        changes = {name: value for name, value in values.items() if name in known and value is not None}
        for name, value in changes.items():
            choices = _CHOICES.get(name)
            if value not in choices if choices else not isinstance(value, bool):
                raise invalid(f"invalid {name}")
        for name, value in changes.items():
            setattr(self, name, value)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class AccountState(Protocol):
    """What the rules read of the account."""

    configuration: AccountConfiguration
    day_trades: DayTrades
    cash: Decimal

    def position(self, symbol: str) -> Decimal: ...
    def price(self, symbol: str) -> Decimal: ...
    def open_orders(self, symbol: str | None = None) -> list[BrokerOrder]: ...
    def held_quantity(self, symbol: str, side: str, *, without: BrokerOrder | None = None) -> Decimal: ...
    def equity(self) -> Decimal: ...
    def buying_power(self) -> Decimal: ...
    def cash_available(self) -> Decimal: ...
    def reserved_cash(self, order: BrokerOrder) -> Decimal: ...


def check_order(account: AccountState, order: BrokerOrder, asset: Asset, replaces: BrokerOrder | None) -> None:
    """Check a new order, or one that replaces another. Raises BrokerApiError with the rule that it breaks."""
    configuration = account.configuration
    if configuration.suspend_trade:
        raise forbidden("new orders are rejected by user request")
    if not asset.tradable:
        raise unprocessable(f'asset "{asset.symbol}" is not tradable')
    if order.is_fraction and not asset.is_crypto and not configuration.fractional_trading:
        raise forbidden("account is not allowed to trade fractional shares")
    _check_stop_price(account, order)
    _check_wash_trade(account.open_orders(order.symbol), order, replaces)
    opens = _check_quantity(account, order, replaces)
    if opens:
        _check_direction(account.open_orders(order.symbol), order)
    if opens and not order.is_buy:
        _check_short_sale(account, order, asset)
    if replaces is None:
        _check_order_value(account, order)
        _check_day_trades(account, order, asset)
    if opens:
        _check_buying_power(account, order, replaces)


def _check_stop_price(account: AccountState, order: BrokerOrder) -> None:
    """A stop that the market has already passed is rejected."""
    stop, price = order.stop_price, account.price(order.symbol)
    if stop is None or order.triggered or order.is_attached:
        return
    if stop <= price if order.is_buy else stop >= price:
        relation = "greater" if order.is_buy else "less"
        prices = {"market_price": decimal_text(price), "stop_price": decimal_text(stop)}
        raise unprocessable(f"stop price must be {relation} than current price", **prices)


def _check_wash_trade(open_orders: Iterable[BrokerOrder], order: BrokerOrder, replaces: BrokerOrder | None) -> None:
    """Reject an order that could trade against another one of the account (FINRA rule 5210).

    Bracket, OCO, OTO and trailing stop orders are exempt. Two orders with limit prices that cannot meet are allowed.
    """
    if order.order_class or order.type == "trailing_stop":
        return
    for other in open_orders:
        if other is replaces or other.side == order.side or other.order_class or other.type == "trailing_stop":
            continue
        if order.limit_price is not None and other.limit_price is not None:
            buy, sell = (order, other) if order.is_buy else (other, order)
            assert buy.limit_price is not None and sell.limit_price is not None
            if buy.limit_price < sell.limit_price:
                continue
        kind = "limit" if other.limit_price is not None else "market/stop"
        raise forbidden(
            "potential wash trade detected. use complex orders",
            existing_order_id=other.id,
            reject_reason=f"opposite side {kind} order exists",
        )


def _check_quantity(account: AccountState, order: BrokerOrder, replaces: BrokerOrder | None) -> bool:
    """Check that an order does not close more than the position has free. Return whether it opens a position."""
    position = account.position(order.symbol)
    closable = max(ZERO, -position if order.is_buy else position)
    if not closable and not (order.is_crypto and not order.is_buy):
        return True
    held = account.held_quantity(order.symbol, order.side, without=replaces)
    available = max(ZERO, closable - held)
    if order.remaining <= available:
        return False
    numbers = f"(requested: {decimal_text(order.remaining)}, available: {decimal_text(available)})"
    if order.is_crypto:
        name = order.symbol.partition("/")[0]
        quantities = {"available": decimal_text(available), "balance": decimal_text(closable)}
        raise forbidden(f"insufficient balance for {name} {numbers}", symbol=name, **quantities)
    raise forbidden(
        f"insufficient qty available for order {numbers}",
        available=decimal_text(available),
        existing_qty=decimal_text(closable),
        held_for_orders=decimal_text(held),
        symbol=order.symbol,
    )


def _check_direction(open_orders: Iterable[BrokerOrder], order: BrokerOrder) -> None:
    """Reject an order that opens a position while one that opens the opposite position is open."""
    if any(other.side != order.side and not other.is_attached for other in open_orders):
        opened, pending = ("long buy", "short sell") if order.is_buy else ("short sell", "long buy")
        raise forbidden(f"cannot open a {opened} while a {pending} order is open")


def _check_short_sale(account: AccountState, order: BrokerOrder, asset: Asset) -> None:
    if order.is_fraction:
        raise unprocessable("fractional orders cannot be sold short")
    if account.configuration.no_shorting or account.equity() < SHORT_EQUITY_MIN:
        raise forbidden("account is not allowed to short")
    if not asset.shortable:
        raise unprocessable(f'asset "{asset.symbol}" cannot be sold short')


def _check_order_value(account: AccountState, order: BrokerOrder) -> None:
    """Check the minimum value of an order, unless it closes the whole position."""
    price = order.limit_price or order.stop_price or account.price(order.symbol)
    value = order.notional if order.notional is not None else order.quantity * price
    if value < MINIMUM_ORDER_VALUE and order.quantity != abs(account.position(order.symbol)):
        raise forbidden(f"cost basis must be >= minimal amount of order {decimal_text(MINIMUM_ORDER_VALUE)}")


def _check_day_trades(account: AccountState, order: BrokerOrder, asset: Asset) -> None:
    """Reject what would be the fourth day trade within five business days, below 25,000 USD of equity.

    Checked on exit: an order that closes units of the same day. Checked on entry: an order with exits attached.
    """
    check = account.configuration.pdt_check
    trades = account.day_trades
    if asset.is_crypto or not trades.is_enabled or account.equity() >= PATTERN_EQUITY_MIN:
        return
    position = account.position(order.symbol)
    closes = position > 0 if not order.is_buy else position < 0
    adds_one = trades.would_add_one(order.symbol) if closes else order.order_class in ("bracket", "oto")
    is_checked = check in ("both", "exit" if closes else "entry")
    if adds_one and is_checked and trades.count() >= DAY_TRADES_MAX:
        raise BrokerApiError(403, DAY_TRADING, "trade denied due to pattern day trading protection")


def _check_buying_power(account: AccountState, order: BrokerOrder, replaces: BrokerOrder | None) -> None:
    """Shares are bought with the buying power, crypto with cash."""
    cost = account.reserved_cash(order)
    released = account.reserved_cash(replaces) if replaces is not None else ZERO
    if order.is_crypto:
        available = account.cash_available() + released
        if cost > available:
            numbers = f"(requested: {decimal_text(cost)}, available: {decimal_text(available)})"
            cash = decimal_text(account.cash)
            raise forbidden(
                f"insufficient balance for USD {numbers}",
                symbol="USD",
                available=decimal_text(available),
                balance=cash,
            )
        return
    power = account.buying_power()
    if cost > power + released:
        amounts = {"buying_power": decimal_text(power), "cost_basis": decimal_text(cost)}
        raise forbidden("insufficient buying power", **amounts)

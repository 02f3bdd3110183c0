"""Orders that Alpaca accepts, and orders that it rejects with status, code and message.

Source: Alpaca's documentation of orders, crypto orders and fractional trading, and the responses quoted in the issues
of its client libraries.
"""

from __future__ import annotations

from typing import Any

from tests.unit.alpaca_requests import FORBIDDEN, INVALID, UNPROCESSABLE, coin, group, limit, terms

ACCEPTED = {
    "fraction of a share for the day": terms(qty="5.5"),
    "limit fraction for the day": limit("99", qty="5.5"),
    "stop fraction for the day": terms(qty="5.5", type="stop", stop_price="110"),
    "notional amount": terms(qty=None, notional="500.75"),
    "two decimals": limit("41.08"),
    "four decimals below 1 USD": limit("0.1234", qty="100"),
    "coin good till cancelled": coin(),
    "coin immediate or cancel": coin(time_in_force="ioc"),
    "coin limit with many decimals": coin(type="limit", limit_price="99.123456789"),
    "coin stop limit": coin(type="stop_limit", stop_price="110", limit_price="111"),
    "coin notional": coin(qty=None, notional="25"),
    "coin without the slash": coin(symbol="BTCUSD"),
    "extended day limit": limit("99", extended_hours=True),
    "extended good-till-cancelled limit": limit("99", extended_hours=True, time_in_force="gtc"),
    "bracket": group("bracket", "110", "90"),
    "bracket with limit entry": group("bracket", "99.5", "90", type="limit", limit_price="99", time_in_force="gtc"),
    "short bracket": group("bracket", "90", "110", side="sell"),
    "oto with stop loss": group("oto", stop_loss="90"),
    "oto with take profit": group("oto", "110"),
    "trailing stop": terms(type="trailing_stop", trail_percent="2", time_in_force="gtc"),
    "at the close": terms(time_in_force="cls"),
    "short sale": terms(side="sell"),
}

FRACTION = "fractional orders must be DAY orders"
SUB_PENNY = "sub-penny increment does not fulfill minimum pricing criteria"
EXTENDED_RULE = "extended hours order must be DAY or GTC limit orders"
REJECTED: dict[str, tuple[dict[str, Any], int, int, str]] = {
    "fraction good till cancelled": (limit("10", qty="5.5", time_in_force="gtc"), 422, UNPROCESSABLE, FRACTION),
    "notional good till cancelled": (terms(qty=None, notional="50", time_in_force="gtc"), 422, UNPROCESSABLE, FRACTION),
    "fraction at the close": (terms(qty="5.5", time_in_force="cls"), 422, UNPROCESSABLE, FRACTION),
    "trailing fraction": (
        terms(qty="5.5", type="trailing_stop", trail_price="1"),
        *(422, UNPROCESSABLE, "fractional orders must be market, limit, stop or stop_limit orders"),
    ),
    "fraction sold short": (
        terms(qty="0.5", side="sell"),
        422,
        UNPROCESSABLE,
        "fractional orders cannot be sold short",
    ),
    "fractional bracket": (
        group("bracket", "110", "90", qty="1.5"),
        *(422, UNPROCESSABLE, "fractional orders must be simple orders"),
    ),
    "three decimals": (limit("41.085"), 422, UNPROCESSABLE, f"invalid limit_price 41.085. {SUB_PENNY}"),
    "five decimals below 1 USD": (limit("0.12345"), 422, UNPROCESSABLE, f"invalid limit_price 0.12345. {SUB_PENNY}"),
    "stop with three decimals": (
        terms(type="stop", stop_price="110.005"),
        *(422, UNPROCESSABLE, f"invalid stop_price 110.005. {SUB_PENNY}"),
    ),
    "take profit with three decimals": (
        group("bracket", "110.005", "90"),
        *(422, UNPROCESSABLE, f"invalid take_profit.limit_price 110.005. {SUB_PENNY}"),
    ),
    **{
        f"coin {name}": (coin(time_in_force=name), 422, UNPROCESSABLE, "invalid crypto time_in_force")
        for name in ("day", "fok", "opg", "cls")
    },
    "coin limit for the day": (
        coin(type="limit", limit_price="10", time_in_force="day"),
        *(422, UNPROCESSABLE, "invalid crypto time_in_force"),
    ),
    "coin stop": (coin(type="stop", stop_price="110"), 422, INVALID, "invalid order type for crypto order"),
    "coin bracket": (
        coin(order_class="bracket", take_profit={"limit_price": "110"}, stop_loss={"stop_price": "90"}),
        *(422, UNPROCESSABLE, "crypto orders not allowed for advanced order_class: otoco"),
    ),
    "coin sold short": (
        coin(side="sell"),
        *(403, FORBIDDEN, "insufficient balance for BTC (requested: 0.1, available: 0)"),
    ),
    "coin with more than the cash": (
        coin(qty="10001"),
        *(403, FORBIDDEN, "insufficient balance for USD (requested: 1000100, available: 1000000)"),
    ),
    "dust": (coin(qty="0.001"), 403, FORBIDDEN, "cost basis must be >= minimal amount of order 1"),
    "notional and quantity": (terms(notional="50"), 422, INVALID, "only one of qty or notional is accepted"),
    "neither notional nor quantity": (terms(qty=None), 422, INVALID, "qty or notional is required"),
    "notional with three decimals": (
        terms(qty=None, notional="50.125"),
        *(422, UNPROCESSABLE, "notional value must be limited to 2 decimal places"),
    ),
    "small notional": (terms(qty=None, notional="0.99"), 422, UNPROCESSABLE, "notional must be >= 1.00"),
    "extended market": (terms(extended_hours=True), 422, UNPROCESSABLE, EXTENDED_RULE),
    "extended stop": (
        terms(type="stop", stop_price="110", extended_hours=True),
        *(422, UNPROCESSABLE, EXTENDED_RULE),
    ),
    "extended immediate or cancel": (
        limit("99", time_in_force="ioc", extended_hours=True),
        *(422, UNPROCESSABLE, EXTENDED_RULE),
    ),
    "on open in the session": (
        terms(time_in_force="opg"),
        *(422, UNPROCESSABLE, "opg orders are accepted outside regular hours only"),
    ),
    "stop at the close": (
        terms(type="stop", stop_price="110", time_in_force="cls"),
        *(422, UNPROCESSABLE, "stop orders must be DAY or GTC orders"),
    ),
    "stop that the market has passed": (
        terms(type="stop", stop_price="99"),
        *(422, UNPROCESSABLE, "stop price must be greater than current price"),
    ),
    "limit without price": (terms(type="limit"), 422, INVALID, "limit orders require a limit price"),
    "market with price": (terms(limit_price="9"), 422, INVALID, "market orders require no limit price"),
    "trailing stop without trail": (
        terms(type="trailing_stop"),
        *(422, INVALID, "trailing stop orders must specify one of trail_price or trail_percent"),
    ),
    "price of zero": (limit("0"), 422, INVALID, "limit price must be > 0"),
    "quantity of zero": (terms(qty="0"), 422, INVALID, "qty must be > 0"),
    "ten decimals": (coin(qty="0.1000000001"), 422, INVALID, "qty must be limited to 9 decimal places"),
    "no number": (terms(qty="many"), 422, INVALID, "invalid qty"),
    "infinite": (terms(qty="Infinity"), 422, INVALID, "invalid qty"),
    "quantity as list": (terms(qty=["1"]), 422, INVALID, "invalid qty"),
    "side": (terms(side="hold"), 422, INVALID, "invalid side"),
    "type": (terms(type=["market"]), 422, INVALID, "invalid type"),
    "unknown symbol": (terms(symbol="ZZZZ"), 422, UNPROCESSABLE, 'asset "ZZZZ" not found'),
    "no symbol": (terms(symbol=None), 422, INVALID, "symbol is required"),
    "take profit as text": (
        terms(order_class="bracket", take_profit="110", stop_loss="90"),
        400,
        40010000,
        "request body format is invalid",
    ),
    "bracket without stop loss": (group("bracket", "110"), 422, INVALID, "bracket orders require stop_loss.stop_price"),
    "oto with both": (
        group("oto", "110", "90"),
        *(422, INVALID, "oto orders require either take_profit.limit_price or stop_loss.stop_price"),
    ),
    "bracket of a stop": (
        group("bracket", "120", "90", type="stop", stop_price="110"),
        *(422, INVALID, "bracket orders must be market or limit orders"),
    ),
    "bracket immediate or cancel": (
        group("bracket", "110", "90", time_in_force="ioc"),
        *(422, UNPROCESSABLE, "bracket orders must be DAY or GTC orders"),
    ),
    "bracket in extended hours": (
        group("bracket", "110", "90", type="limit", limit_price="99", extended_hours=True),
        *(422, UNPROCESSABLE, "extended hours is not supported for bracket orders"),
    ),
    "crossed exits": (
        group("bracket", "90", "110"),
        *(422, UNPROCESSABLE, "take_profit.limit_price must be > stop_loss.stop_price"),
    ),
    "take profit at the base price": (
        group("bracket", "100", "90"),
        *(422, UNPROCESSABLE, "take_profit.limit_price must be >= base_price + 0.01"),
    ),
    "stop loss at the base price": (
        group("bracket", "110", "95", type="limit", limit_price="95"),
        *(422, UNPROCESSABLE, "stop_loss.stop_price must be <= base_price - 0.01"),
    ),
    "stop loss of a short bracket below the market": (
        group("bracket", "90", "100", side="sell"),
        *(422, UNPROCESSABLE, "stop_loss.stop_price must be >= base_price + 0.01"),
    ),
    "oco without a position": (
        group("oco", "110", "90", side="sell", type="limit"),
        *(422, UNPROCESSABLE, "oco orders must be exit orders"),
    ),
    "exits without a class": (
        terms(take_profit={"limit_price": "110"}),
        *(422, INVALID, "take_profit and stop_loss require an order_class of bracket, oco or oto"),
    ),
}

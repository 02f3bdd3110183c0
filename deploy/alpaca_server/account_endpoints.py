"""The endpoints of the account: balances, settings, positions, activities, assets, clock and calendar."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deploy.alpaca_server import market_hours, request_query
from deploy.alpaca_server.account_lists import list_activities
from deploy.alpaca_server.assets import Asset
from deploy.alpaca_server.broker import LocalBroker
from deploy.alpaca_server.broker_order import NOT_FOUND, ZERO, BrokerApiError, decimal_text
from deploy.alpaca_server.day_trades import DAY_TRADES_MAX, PATTERN_EQUITY_MIN
from deploy.alpaca_server.order_book import REGULAR
from deploy.alpaca_server.order_endpoints import json_object


class AccountEndpoints:
    """One method per endpoint."""

    def __init__(self, broker: LocalBroker) -> None:
        self._broker, self._book = broker, broker.book

    async def account(self, _request: Request) -> Response:
        return JSONResponse(self._account())

    def _account(self) -> dict[str, Any]:
        book, configuration = self._book, self._book.configuration
        values = [units * book.price(symbol) for symbol, units in book.positions.items()]
        equity = book.equity()
        cash_power = book.cash_available()
        money = {
            "cash": book.cash,
            "equity": equity,
            "last_equity": equity,
            "portfolio_value": equity,
            "buying_power": book.buying_power(),
            "regt_buying_power": book.buying_power(),
            "non_marginable_buying_power": cash_power,
            "long_market_value": sum((value for value in values if value > 0), ZERO),
            "short_market_value": sum((value for value in values if value < 0), ZERO),
            "position_market_value": sum(map(abs, values), ZERO),
            "accrued_fees": ZERO,
        }
        day_trades = book.day_trades.count()
        return {
            "id": self._broker.account_id,
            "account_number": "LOCAL1",
            "status": "ACTIVE",
            "crypto_status": "ACTIVE",
            "currency": "USD",
            "created_at": "2026-01-01T00:00:00Z",
            **{name: f"{amount:f}" for name, amount in money.items()},
            "multiplier": f"{book.leverage:f}",
            "daytrade_count": day_trades,
            "pattern_day_trader": day_trades > DAY_TRADES_MAX and equity < PATTERN_EQUITY_MIN,
            "trading_blocked": False,
            "transfers_blocked": False,
            "account_blocked": False,
            "trade_suspended_by_user": configuration.suspend_trade,
            "shorting_enabled": not configuration.no_shorting,
        }

    async def configuration(self, _request: Request) -> Response:
        return JSONResponse(self._book.configuration.as_json())

    async def configure(self, request: Request) -> Response:
        self._book.configuration.change(await json_object(request))
        self._broker.save_account()
        return JSONResponse(self._book.configuration.as_json())

    # -- positions -----------------------------------------------------------------------------------------------------

    async def positions(self, _request: Request) -> Response:
        return JSONResponse([self._position(symbol) for symbol in self._book.positions])

    async def position(self, request: Request) -> Response:
        return JSONResponse(self._position(self._book.find_position(request.path_params["symbol"]).symbol))

    def _position(self, symbol: str) -> dict[str, Any]:
        """Return a position as JSON. As at Alpaca, a crypto pair is written without its slash: BTCUSD."""
        book = self._book
        asset = book.assets.get(symbol) or Asset(symbol)
        units, price, cost = book.position(symbol), book.price(symbol), book.cost(symbol)
        value = units * price
        side = "long" if units > 0 else "short"
        held = book.held_quantity(symbol, "sell" if units > 0 else "buy")
        available = max(ZERO, abs(units) - held)
        profit = value - cost
        numbers = {
            "qty": units,
            "qty_available": available if units > 0 else -available,
            "avg_entry_price": abs(cost / units),
            "market_value": value,
            "cost_basis": cost,
            "unrealized_pl": profit,
            "unrealized_plpc": _ratio(profit, abs(cost)),
            "unrealized_intraday_pl": profit,
            "unrealized_intraday_plpc": _ratio(profit, abs(cost)),
            "current_price": price,
            "lastday_price": price,
            "change_today": ZERO,
        }
        return {
            "asset_id": asset.id,
            "symbol": symbol.replace("/", ""),
            "exchange": asset.exchange,
            "asset_class": asset.asset_class,
            "asset_marginable": asset.marginable,
            "side": side,
            **{name: decimal_text(number) for name, number in numbers.items()},
        }

    # -- activities ----------------------------------------------------------------------------------------------------

    async def activities(self, request: Request) -> Response:
        only_type = request.path_params.get("activity_type", "")
        return JSONResponse(list_activities(self._book, request.query_params, only_type))

    # -- assets, clock and calendar ------------------------------------------------------------------------------------

    async def assets(self, request: Request) -> Response:
        query = request.query_params
        status, exchange = query.get("status") or "active", query.get("exchange") or ""
        asset_class = request_query.choice(query, "asset_class", ("us_equity", "crypto", "us_option"), "us_equity")
        rows = [
            asset.as_json(self._book.price(asset.symbol))
            for asset in self._book.assets.values()
            if asset.asset_class == asset_class and exchange in ("", asset.exchange)
        ]
        return JSONResponse(rows if status == "active" else [])

    async def asset(self, request: Request) -> Response:
        symbol = request.path_params["symbol"]
        try:
            asset = self._book.find_asset(symbol)
        except BrokerApiError:
            raise BrokerApiError(404, NOT_FOUND, f"asset not found for {symbol[:32]}") from None
        return JSONResponse(asset.as_json(self._book.price(asset.symbol)))

    async def clock(self, _request: Request) -> Response:
        is_open = self._book.session == REGULAR
        # The first call loads the calendar, which takes seconds: the broker continues meanwhile.
        return JSONResponse(await asyncio.to_thread(market_hours.clock, datetime.now(UTC), is_open=is_open))

    async def calendar(self, request: Request) -> Response:
        start, end = request_query.day(request.query_params, "start"), request_query.day(request.query_params, "end")
        return JSONResponse(await asyncio.to_thread(market_hours.calendar, start, end))


def _ratio(profit: Decimal, cost: Decimal) -> Decimal:
    return (profit / cost).quantize(Decimal("0.000001")) if cost else ZERO

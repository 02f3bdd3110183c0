"""Trade breakouts of the Donchian channel with stops by the average true range, and add to winners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from operators.ledger.events import share_ratio
from operators.strategies.parameters import check_bars, check_count, check_positive, check_share, universe_of
from operators.strategies.trading_strategy import TradingStrategy
from schemas.records import CorporateAction

if TYPE_CHECKING:
    from operators.strategies.trading_strategy import StrategyEvent
    from operators.trading.context import TradingContext
    from operators.trading.order_updates import Fill, OrderUpdate


class DonchianTurtle(TradingStrategy):
    """Buy one unit at a close above the highest high of the `entry` bars before; exit below the lowest low of `exit`.

    N is the average true range at the entry. A unit loses `risk` of the equity when the price falls by N. The strategy
    adds a unit each time the close is another half N higher, up to `units_max`. A stop order for the whole position is
    `stop` times N below the newest fill. All symbols have at most an equal share of `weight` at the
    entry. The state of a symbol has the channel of the bar before (`upper`, `lower`) and, while invested, `n`, `unit`
    (a quantity), `units`, `next` (the price of the next unit), `stop_price` and `stop_id`. A stop that ends without a
    fill, such as at a symbol change, is placed again. Never short.
    Source: C. Faith, Way of the Turtle (2007).
    """

    def __init__(
        self,
        *,
        entry: int = 20,
        exit: int = 10,
        atr: int = 20,
        stop: float = 2.0,
        risk: float = 0.01,
        units_max: int = 4,
        weight: float = 0.95,
        interval: str = "1d",
        symbols: Sequence[str] | None = None,
        name: str = "donchian_turtle",
    ) -> None:
        """`entry`, `exit`, `atr` in bars of `interval`; `stop` in N; `risk` and `weight` in (0, 1] of the equity.

        Raises BadInput for another value.
        """
        check_bars(name, entry=entry, exit=exit, atr=atr)
        check_positive(name, stop=stop)
        check_count(name, units_max=units_max)
        check_share(name, risk=risk, weight=weight)
        self.name, self.symbols, self.interval = name, universe_of(symbols), interval
        self.stop, self.risk, self.units_max, self.weight = stop, risk, units_max, weight
        self.upper, self.lower, self.atr = f"donchian_{entry}_upper", f"donchian_{exit}_lower", f"atr_{atr}"
        self.features = {interval: (f"donchian_{entry}", f"donchian_{exit}", self.atr)}
        self.warm_up = max(entry, exit, atr + 1)

    def on_slice(self, ctx: TradingContext) -> None:
        for symbol in ctx.closed(self.interval):
            upper, lower = (ctx.feature(symbol, one, self.interval) for one in (self.upper, self.lower))
            n, close = ctx.feature(symbol, self.atr, self.interval), ctx.price(symbol)
            state = ctx.state_of(symbol)
            if n and close and "upper" in state:
                self._trade(ctx, symbol, close, n, state)
            if upper is not None and lower is not None:
                state["upper"], state["lower"] = upper, lower

    def _trade(self, ctx: TradingContext, symbol: str, close: float, n: float, state: dict[str, Any]) -> None:
        if "unit" not in state:
            if close <= state["upper"]:
                return
            room = self.weight * ctx.equity / len(ctx.universe) / close
            unit = min(self.risk * ctx.equity / n, room / self.units_max) // 1
            if unit >= 1:
                state |= {"n": n, "unit": unit, "units": 1, "next": close + n / 2}
                ctx.submit(symbol, "BUY", unit, tag="unit")
        elif close < state["lower"]:
            state.pop("stop_id", None)
            ctx.close(symbol)
        elif close >= state["next"] and state["units"] < self.units_max:
            state["units"] += 1
            state["next"] = close + state["n"] / 2
            ctx.submit(symbol, "BUY", state["unit"], tag="unit")

    def on_fill(self, ctx: TradingContext, fill: Fill) -> None:
        state, position = ctx.state_of(fill.symbol), ctx.position(fill.symbol)
        if position <= 0:
            self._forget(state)
        elif fill.tag == "stop":
            ctx.close(fill.symbol)  # a unit that was bought in the same minute as the stop sold the others
        elif fill.tag == "unit" and "n" in state:
            state["stop_price"] = round(fill.price - self.stop * state["n"], 2)
            if "stop_id" in state:
                ctx.amend(state["stop_id"], quantity=position, stop_price=state["stop_price"])
            else:
                self._place_stop(ctx, fill.symbol, state)

    def _place_stop(self, ctx: TradingContext, symbol: str, state: dict[str, Any]) -> None:
        price = ctx.price(symbol)
        if price is not None and price <= state["stop_price"]:
            state.pop("stop_id", None)
            ctx.close(symbol)
            return
        terms: dict[str, Any] = {"stop_price": state["stop_price"], "time_in_force": "GTC", "reduce_only": True}
        state["stop_id"] = ctx.submit(symbol, "SELL", ctx.position(symbol), **terms, tag="stop")

    def on_order(self, ctx: TradingContext, update: OrderUpdate) -> None:
        symbol = ctx.current(update.symbol)
        if symbol is None or update.status not in ("rejected", "cancelled", "expired"):
            return
        state, position = ctx.state_of(symbol), ctx.position(symbol)
        if update.tag == "unit" and not position:
            self._forget(state)  # the entry failed; the next breakout tries again
        elif update.status == "cancelled" and update.order_id == state.get("stop_id") and position > 0:
            self._place_stop(ctx, symbol, state)

    def on_event(self, ctx: TradingContext, event: StrategyEvent) -> None:
        if not isinstance(event, CorporateAction) or (ratio := float(share_ratio(event))) == 1:
            return
        state = ctx.state_of(event.symbol)
        for key in state.keys() & {"upper", "lower", "n", "next", "stop_price"}:
            state[key] /= ratio
        if "unit" in state:
            state["unit"] = state["unit"] * ratio // 1

    def _forget(self, state: dict[str, Any]) -> None:
        """Remove everything about the position, which has ended, from the state of a symbol."""
        for key in ("n", "unit", "units", "next", "stop_price", "stop_id"):
            state.pop(key, None)

"""The arithmetic of each method. Each size comes with it as text, which travels in `OrderProposal.sizing`."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from operators.money import ZERO, floor_to, multiply, plain, units_for
from operators.sizing.settings import REBALANCED, SizingSettings
from operators.sizing.trade_record import TradeRecord

_MILLIONTH = Decimal("0.000001")


class SizingInput(NamedTuple):
    """What a size is asked for. `held` is the strategy's present target, signed; `price` is what one unit costs.

    `lot_size` is the instrument's, where it is listed, else the settings'. The rest is what `Estimates` knows; None and
    0 stand for what it does not (yet) or what the method does not ask for.
    """

    direction: int
    strength: Decimal
    price: Decimal
    equity: Decimal
    current_quantity: Decimal
    lot_size: Decimal
    volatility: float | None = None  # annual
    inverse_volatilities: float = 0.0  # sum over all active views
    average_range: float | None = None  # as a share of the price
    trade_record: TradeRecord = TradeRecord()
    weight: Decimal | None = None  # of the symbol, in the weights recorded last
    weights_cause: str = ""  # the command that they come from, "" where there is none


class Size(NamedTuple):
    """A signed target quantity, and how it came about."""

    quantity: Decimal
    text: str


class EquityShare(NamedTuple):
    """The share of equity to hold at full strength, None where it cannot be told, and where it comes from."""

    of_equity: Decimal | None
    text: str = ""


def size_position(settings: SizingSettings, inputs: SizingInput) -> Size:
    """The quantity that the view asks for, before any cap. Direction 0, a price of 0 and lost equity ask for none.

    >>> from operators.money import ONE
    >>> size_position(SizingSettings(), SizingInput(1, ONE, Decimal("49.18"), Decimal(1000000), ZERO, ONE)).text
    'fixed_fraction 0.02 x equity 1000000 x strength 1 / 49.18 = 406'
    """
    method = settings.method
    if inputs.direction == 0:
        return Size(ZERO, "flat: direction 0")
    if inputs.price <= 0 or inputs.equity <= 0:
        return Size(ZERO, f"flat: price {plain(inputs.price)}, equity {plain(inputs.equity)}")
    if method == "fixed_quantity":
        quantity = floor_to(settings.quantity, inputs.lot_size)
        return Size(quantity if inputs.direction > 0 else -quantity, f"fixed_quantity {plain(quantity)}")
    same_direction = inputs.current_quantity != 0 and (inputs.current_quantity > 0) is (inputs.direction > 0)
    if same_direction and method not in REBALANCED:
        return Size(inputs.current_quantity, f"{method}: {plain(inputs.current_quantity)} held since entry")
    share = SHARE_METHODS[method](settings, inputs)
    if share.of_equity is None:
        unchanged = inputs.current_quantity if same_direction else ZERO
        return Size(unchanged, f"{method}: {share.text}, so {plain(unchanged)}")
    target = _to_quantity(method, share, inputs)
    if (
        method in REBALANCED
        and abs(target.quantity - inputs.current_quantity) < abs(target.quantity) * settings.no_trade_band
    ):
        return Size(
            inputs.current_quantity,
            f"{target.text}; {plain(inputs.current_quantity)} is within the band of {settings.no_trade_band}",
        )
    return target


def cap_quantity(target: Decimal, current: Decimal, limit: Decimal) -> Decimal:
    """`target` cut towards zero to at most `limit` units on either side.

    What is held already beyond the limit (the price moved) is not added to, and not taken away either.

    >>> cap_quantity(Decimal(100), held=Decimal(0), limit=Decimal(80)), cap_quantity(Decimal(100), held=Decimal(90), limit=Decimal(80))
    (Decimal('80'), Decimal('90'))
    """
    return min(target, max(limit, current)) if target > 0 else max(target, min(-limit, current))


def _to_quantity(method: str, share: EquityShare, inputs: SizingInput) -> Size:
    assert share.of_equity is not None
    notional = multiply(multiply(inputs.equity, share.of_equity), inputs.strength)
    quantity = units_for(notional, inputs.price, inputs.lot_size)
    text = (
        f"{method} {plain(share.of_equity)}{share.text} x equity {plain(inputs.equity)} x strength {plain(inputs.strength)}"
        f" / {plain(inputs.price)} = {plain(quantity)}"
    )
    return Size(quantity if inputs.direction > 0 else -quantity, text)


def _fraction(settings: SizingSettings, inputs: SizingInput) -> EquityShare:
    return EquityShare(settings.fraction)


def _kelly(settings: SizingSettings, inputs: SizingInput) -> EquityShare:
    kelly, trades = settings.kelly, inputs.trade_record
    if trades.trades < kelly.trades_min:
        return EquityShare(kelly.warm_up_fraction, f" ({trades.trades} of {kelly.trades_min} trades closed)")
    share = _capped_share(float(kelly.fraction) * trades.kelly_share(kelly.shrinkage_trades), kelly.cap)
    weight = trades.trades + kelly.shrinkage_trades
    text = (
        f" ({plain(kelly.fraction)} x {trades.trades}/{weight} x won {trades.wins}/{trades.trades}"
        f" x (1 - lost {trades.lost:.6g} / won {trades.won:.6g}), in [{plain(kelly.floor)}, {plain(kelly.cap)}])"
    )
    return EquityShare(max(share, kelly.floor), text)


def _volatility_target(settings: SizingSettings, inputs: SizingInput) -> EquityShare:
    if not inputs.volatility:
        return _no_volatility(inputs)
    target, share_max = settings.volatility.target, settings.share_max
    share = _capped_share(float(target) / inputs.volatility, share_max)
    return EquityShare(share, f" ({plain(target)} / volatility {inputs.volatility:.6g}, at most {plain(share_max)})")


def _risk_parity(settings: SizingSettings, inputs: SizingInput) -> EquityShare:
    if not inputs.volatility:
        return _no_volatility(inputs)
    exposure, share_max = settings.risk_parity.exposure, settings.share_max
    inverse = 1.0 / inputs.volatility
    share = _capped_share(float(exposure) * (inverse / max(inputs.inverse_volatilities, inverse)), share_max)
    text = (
        f" ({plain(exposure)} x 1/volatility {inverse:.6g} of {inputs.inverse_volatilities:.6g} in all,"
        f" at most {plain(share_max)})"
    )
    return EquityShare(share, text)


def _atr_stop(settings: SizingSettings, inputs: SizingInput) -> EquityShare:
    stop, share_max = settings.atr_stop, settings.share_max
    if not inputs.average_range:
        return EquityShare(None, "no average range yet" if inputs.average_range is None else "the price has no range")
    share = _capped_share(float(stop.risk) / (float(stop.multiple) * inputs.average_range), share_max)
    text = (
        f" (risk {plain(stop.risk)} / ({plain(stop.multiple)} x range {inputs.average_range:.6g} of the price),"
        f" at most {plain(share_max)})"
    )
    return EquityShare(share, text)


def _target_weights(settings: SizingSettings, inputs: SizingInput) -> EquityShare:
    if not inputs.weights_cause:
        return EquityShare(None, "no weights recorded yet")
    if inputs.weight is None:
        return EquityShare(ZERO, f" (not among the weights of {inputs.weights_cause})")
    share_max = settings.share_max
    return EquityShare(
        min(inputs.weight, share_max),
        f" (weight {plain(inputs.weight)} of {inputs.weights_cause}, at most {plain(share_max)})",
    )


def _no_volatility(inputs: SizingInput) -> EquityShare:
    return EquityShare(None, "no volatility yet" if inputs.volatility is None else "the price does not move")


def _capped_share(share: float, limit: Decimal) -> Decimal:
    """Down to millionths: what a reader sees is what was used. A negative share is none."""
    if share >= limit:
        return limit
    return Decimal(repr(share)).quantize(_MILLIONTH, ROUND_DOWN) if share > 0 else ZERO


SHARE_METHODS: dict[str, Callable[[SizingSettings, SizingInput], EquityShare]] = {
    "fixed_fraction": _fraction,
    "target_percent": _fraction,
    "kelly": _kelly,
    "volatility_target": _volatility_target,
    "risk_parity": _risk_parity,
    "atr_stop": _atr_stop,
    "target_weights": _target_weights,
}

"""The calculation of each sizing method. Each size includes the calculation as text for `OrderProposal.sizing`."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from operators.money import ZERO, floor_to, multiply, plain, units_for
from operators.sizing.settings import (
    REBALANCED,
    SizingMethod,
    SizingSettings,
)
from operators.sizing.trade_record import TradeRecord

_MILLIONTH = Decimal("0.000001")


class SizingInput(NamedTuple):
    """The inputs of a size. `current_quantity` is the strategy's current signed target, `price` the cost of one unit.

    `lot_size` is the instrument's, or the settings' if the instrument is not listed. The remaining fields come from
    `Estimates`. They are None or 0 during warm-up, and if the method does not use them.
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
    weight: Decimal | None = None  # the symbol's last recorded target weight
    weights_cause: str = ""  # id of the command that set the weights, "" if there is none


class Size(NamedTuple):
    """A signed target quantity, and its calculation as text."""

    quantity: Decimal
    text: str


class EquityShare(NamedTuple):
    """The share of equity at full strength, None if it cannot be computed, and its calculation as text."""

    of_equity: Decimal | None
    text: str = ""


def size_position(settings: SizingSettings, inputs: SizingInput) -> Size:
    """Return the target quantity of a view before any cap. It is 0 if direction, price or equity is 0 or less.

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
        return Size(inputs.current_quantity, f"{method}: {plain(inputs.current_quantity)} unchanged since entry")
    share = SHARE_METHODS[method](settings, inputs)
    if share.of_equity is None:
        unchanged = inputs.current_quantity if same_direction else ZERO
        return Size(unchanged, f"{method}: {share.text}, target {plain(unchanged)}")
    target = _to_quantity(method, share, inputs)
    if (
        method in REBALANCED
        and abs(target.quantity - inputs.current_quantity) < abs(target.quantity) * settings.no_trade_band
    ):
        return Size(
            inputs.current_quantity,
            f"{target.text}; {plain(inputs.current_quantity)} is within the no-trade band of {settings.no_trade_band}",
        )
    return target


def cap_quantity(target: Decimal, current: Decimal, limit: Decimal) -> Decimal:
    """Limit the absolute value of `target` to `limit` units.

    A position above the limit, for example after a price move, is neither increased nor reduced.

    >>> cap_quantity(Decimal(100), current=Decimal(0), limit=Decimal(80))
    Decimal('80')
    >>> cap_quantity(Decimal(100), current=Decimal(90), limit=Decimal(80))
    Decimal('90')
    """
    return min(target, max(limit, current)) if target > 0 else max(target, min(-limit, current))


def _to_quantity(method: SizingMethod, share: EquityShare, inputs: SizingInput) -> Size:
    assert share.of_equity is not None
    notional = multiply(multiply(inputs.equity, share.of_equity), inputs.strength)
    quantity = units_for(notional, inputs.price, inputs.lot_size)
    text = (
        f"{method} {plain(share.of_equity)}{share.text} x equity {plain(inputs.equity)}"
        f" x strength {plain(inputs.strength)} / {plain(inputs.price)} = {plain(quantity)}"
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
        return EquityShare(None, "no average range yet" if inputs.average_range is None else "the price range is 0")
    share = _capped_share(float(stop.risk) / (float(stop.multiple) * inputs.average_range), share_max)
    text = (
        f" (risk {plain(stop.risk)} / ({plain(stop.multiple)} x range {inputs.average_range:.6g} of the price),"
        f" at most {plain(share_max)})"
    )
    return EquityShare(share, text)


def _target_weights(settings: SizingSettings, inputs: SizingInput) -> EquityShare:
    if not inputs.weights_cause:
        return EquityShare(None, "no target weights recorded yet")
    if inputs.weight is None:
        return EquityShare(ZERO, f" (not in the target weights of {inputs.weights_cause})")
    share_max = settings.share_max
    return EquityShare(
        min(inputs.weight, share_max),
        f" (weight {plain(inputs.weight)} of {inputs.weights_cause}, at most {plain(share_max)})",
    )


def _no_volatility(inputs: SizingInput) -> EquityShare:
    return EquityShare(None, "no volatility yet" if inputs.volatility is None else "the volatility is 0")


def _capped_share(share: float, limit: Decimal) -> Decimal:
    """Round down to millionths, so that the text shows the exact value used. A negative share becomes 0."""
    if share >= limit:
        return limit
    return Decimal(repr(share)).quantize(_MILLIONTH, ROUND_DOWN) if share > 0 else ZERO


SHARE_METHODS: dict[SizingMethod, Callable[[SizingSettings, SizingInput], EquityShare]] = {
    "fixed_fraction": _fraction,
    "target_percent": _fraction,
    "kelly": _kelly,
    "volatility_target": _volatility_target,
    "risk_parity": _risk_parity,
    "atr_stop": _atr_stop,
    "target_weights": _target_weights,
}

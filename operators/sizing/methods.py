"""The arithmetic of each method. Each size comes with it as text, which travels in `OrderProposal.sizing`."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from operators.money import ZERO, floor_to, multiply, plain, units_for
from operators.sizing.settings import REBALANCED, SizingSettings
from operators.sizing.trade_record import TradeRecord

_MILLIONTH = Decimal("0.000001")


class View(NamedTuple):
    """What a size is asked for. `held` is the strategy's present target, signed; `price` is what one unit costs.

    `lot_size` is the instrument's, where it is listed, else the settings'. The rest is what `Estimates` knows; None and
    0 stand for what it does not (yet) or what the method does not ask for.
    """

    direction: int
    strength: Decimal
    price: Decimal
    equity: Decimal
    held: Decimal
    lot_size: Decimal
    volatility: float | None = None  # annual
    inverse_volatilities: float = 0.0  # sum over all active views
    average_range: float | None = None  # as a share of the price
    record: TradeRecord = TradeRecord()
    weight: Decimal | None = None  # of the symbol, in the weights recorded last
    weights_cause: str = ""  # the command that they come from, "" where there is none


class Size(NamedTuple):
    """A signed target quantity, and how it came about."""

    quantity: Decimal
    text: str


class Share(NamedTuple):
    """The share of equity to hold at full strength, None where it cannot be told, and where it comes from."""

    of_equity: Decimal | None
    text: str = ""


def size(settings: SizingSettings, view: View) -> Size:
    """The quantity that the view asks for, before any cap. Direction 0, a price of 0 and lost equity ask for none.

    >>> from operators.money import ONE
    >>> size(SizingSettings(), View(1, ONE, Decimal("49.18"), Decimal(1000000), ZERO, ONE)).text
    'fixed_fraction 0.02 x equity 1000000 x strength 1 / 49.18 = 406'
    """
    method = settings.method
    if view.direction == 0:
        return Size(ZERO, "flat: direction 0")
    if view.price <= 0 or view.equity <= 0:
        return Size(ZERO, f"flat: price {plain(view.price)}, equity {plain(view.equity)}")
    if method == "fixed_quantity":
        quantity = floor_to(settings.quantity, view.lot_size)
        return Size(quantity if view.direction > 0 else -quantity, f"fixed_quantity {plain(quantity)}")
    same_way = view.held != 0 and (view.held > 0) is (view.direction > 0)
    if same_way and method not in REBALANCED:
        return Size(view.held, f"{method}: {plain(view.held)} held since entry")
    share = SHARES[method](settings, view)
    if share.of_equity is None:
        kept = view.held if same_way else ZERO
        return Size(kept, f"{method}: {share.text}, so {plain(kept)}")
    target = _units(method, share, view)
    if method in REBALANCED and abs(target.quantity - view.held) < abs(target.quantity) * settings.no_trade_band:
        return Size(view.held, f"{target.text}; {plain(view.held)} is within the band of {settings.no_trade_band}")
    return target


def cap(wanted: Decimal, held: Decimal, limit: Decimal) -> Decimal:
    """`wanted` cut towards zero to at most `limit` units on either side.

    What is held already beyond the limit (the price moved) is not added to, and not taken away either.

    >>> cap(Decimal(100), held=Decimal(0), limit=Decimal(80)), cap(Decimal(100), held=Decimal(90), limit=Decimal(80))
    (Decimal('80'), Decimal('90'))
    """
    return min(wanted, max(limit, held)) if wanted > 0 else max(wanted, min(-limit, held))


def _units(method: str, share: Share, view: View) -> Size:
    assert share.of_equity is not None
    notional = multiply(multiply(view.equity, share.of_equity), view.strength)
    quantity = units_for(notional, view.price, view.lot_size)
    text = (
        f"{method} {plain(share.of_equity)}{share.text} x equity {plain(view.equity)} x strength {plain(view.strength)}"
        f" / {plain(view.price)} = {plain(quantity)}"
    )
    return Size(quantity if view.direction > 0 else -quantity, text)


def _fraction(settings: SizingSettings, view: View) -> Share:
    return Share(settings.fraction)


def _kelly(settings: SizingSettings, view: View) -> Share:
    kelly, record = settings.kelly, view.record
    if record.trades < kelly.trades_min:
        return Share(kelly.warm_up_fraction, f" ({record.trades} of {kelly.trades_min} trades closed)")
    share = _at_most(float(kelly.fraction) * record.kelly(kelly.shrinkage_trades), kelly.cap)
    weight = record.trades + kelly.shrinkage_trades
    text = (
        f" ({plain(kelly.fraction)} x {record.trades}/{weight} x won {record.wins}/{record.trades}"
        f" x (1 - lost {record.lost:.6g} / won {record.won:.6g}), in [{plain(kelly.floor)}, {plain(kelly.cap)}])"
    )
    return Share(max(share, kelly.floor), text)


def _volatility_target(settings: SizingSettings, view: View) -> Share:
    if not view.volatility:
        return _no_volatility(view)
    target, most = settings.volatility.target, settings.share_max
    share = _at_most(float(target) / view.volatility, most)
    return Share(share, f" ({plain(target)} / volatility {view.volatility:.6g}, at most {plain(most)})")


def _risk_parity(settings: SizingSettings, view: View) -> Share:
    if not view.volatility:
        return _no_volatility(view)
    exposure, most = settings.risk_parity.exposure, settings.share_max
    inverse = 1.0 / view.volatility
    share = _at_most(float(exposure) * (inverse / max(view.inverse_volatilities, inverse)), most)
    text = (
        f" ({plain(exposure)} x 1/volatility {inverse:.6g} of {view.inverse_volatilities:.6g} in all,"
        f" at most {plain(most)})"
    )
    return Share(share, text)


def _atr_stop(settings: SizingSettings, view: View) -> Share:
    stop, most = settings.atr_stop, settings.share_max
    if not view.average_range:
        return Share(None, "no average range yet" if view.average_range is None else "the price has no range")
    share = _at_most(float(stop.risk) / (float(stop.multiple) * view.average_range), most)
    text = (
        f" (risk {plain(stop.risk)} / ({plain(stop.multiple)} x range {view.average_range:.6g} of the price),"
        f" at most {plain(most)})"
    )
    return Share(share, text)


def _target_weights(settings: SizingSettings, view: View) -> Share:
    if not view.weights_cause:
        return Share(None, "no weights recorded yet")
    if view.weight is None:
        return Share(ZERO, f" (not among the weights of {view.weights_cause})")
    most = settings.share_max
    return Share(
        min(view.weight, most), f" (weight {plain(view.weight)} of {view.weights_cause}, at most {plain(most)})"
    )


def _no_volatility(view: View) -> Share:
    return Share(None, "no volatility yet" if view.volatility is None else "the price does not move")


def _at_most(share: float, limit: Decimal) -> Decimal:
    """Down to millionths: what a reader sees is what was used. A negative share is none."""
    if share >= limit:
        return limit
    return Decimal(repr(share)).quantize(_MILLIONTH, ROUND_DOWN) if share > 0 else ZERO


SHARES: dict[str, Callable[[SizingSettings, View], Share]] = {
    "fixed_fraction": _fraction,
    "target_percent": _fraction,
    "kelly": _kelly,
    "volatility_target": _volatility_target,
    "risk_parity": _risk_parity,
    "atr_stop": _atr_stop,
    "target_weights": _target_weights,
}

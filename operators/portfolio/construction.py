"""Portfolio construction: from the strategies' views of a symbol to the quantity that is wanted of it.

Each view is sized by itself; their sum is kept within the symbol's share of equity, the turnover and the cash that is
free. Every step that changes a number leaves a text, which travels in `OrderProposal.sizing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from operators.instruments import Instrument
from operators.ledger import Ledger
from operators.ledger.cash import SettledCash
from operators.money import ONE, ZERO, multiply, plain, round_to, to_decimal, units_for
from operators.portfolio.settings import PortfolioSettings
from operators.portfolio.targets import Target, Targets, give_up, total
from operators.sizing import (
    REBALANCED,
    Estimates,
    Size,
    TargetWeights,
    View,
    beyond_band,
    cap,
    part_of_the_way,
    size,
)
from operators.valuation import Marks


class Step(NamedTuple):
    """What to trade of a symbol now. `delta` is signed, 0 for nothing; money per unit."""

    delta: Decimal
    price: Decimal
    unit_cost: Decimal  # to be held back for each unit bought
    text: str


class Construction:
    """Reads the portfolio's books (`operators/portfolio/stage.py`), and writes what is wanted into `targets`."""

    def __init__(
        self,
        settings: PortfolioSettings,
        listed: Mapping[str, Instrument],
        ledger: Ledger,
        settled: SettledCash | None,
        marks: Marks,
        targets: Targets,
        estimates: Estimates,
        weights: TargetWeights,
    ) -> None:
        self._settings, self._listed = settings, listed
        self._ledger, self._settled, self._marks = ledger, settled, marks
        self._targets, self._estimates, self._weights = targets, estimates, weights
        self._by_weights = settings.sizing.method == "target_weights"
        self._rebalances = settings.sizing.method in REBALANCED

    def compare(self) -> None:
        """Let the estimates that compare symbols know which of them are wanted."""
        views = ((s, target) for s, targets in self._targets.items() for target in targets.values())
        self._estimates.compare(symbol for symbol, target in views if self._direction(target))

    def step(self, symbol: str, due: list[str], equity: Decimal, turnover: Decimal, reserved: Decimal) -> Step | None:
        """Act on the views of the strategies `due`. `reserved`: cash that orders under way will take; `turnover`: see
        there. None where the symbol has no price yet.
        """
        targets = self._targets[symbol]
        price, unit, lot = self._terms(symbol, due)
        if price <= 0:
            return None
        held = self._ledger.quantity(symbol)
        sizes = [self._size(symbol, strategy, unit, equity, lot) for strategy in due]
        stays = self._rebalances and self._stays(targets, due, sizes)
        for strategy, sized in zip(due, sizes, strict=True):
            targets[strategy].quantity = sized.quantity
        texts = [sized.text for sized in sizes]
        texts += self._stay_within_cap(targets, due, held, unit, equity, lot)
        if stays:
            texts += self._adjust(targets, due, held, equity, turnover, lot)
        unit_cost = multiply(unit, ONE + self._settings.cash_buffer)
        texts += self._afford(targets, due, held, unit_cost, reserved, lot)
        return Step(total(targets) - held, price, unit_cost, "; ".join(texts))

    def turnover(self, ready: Iterable[tuple[str, list[str]]], equity: Decimal) -> Decimal:
        """The value of all adjustments that this tick would trade, where the settings limit it; else 0. `ready`:
        symbols, each with the strategies whose views are due.
        """
        settings, asked = self._settings, ZERO
        if settings.sizing.turnover_max is None or not self._rebalances:
            return asked
        for symbol, due in ready:
            targets = self._targets[symbol]
            price, unit, lot = self._terms(symbol, due)
            sizes = [self._size(symbol, strategy, unit, equity, lot) for strategy in due]
            if price > 0 and self._stays(targets, due, sizes):
                held = self._ledger.quantity(symbol)
                moved = sum((s.quantity - targets[name].quantity for name, s in zip(due, sizes, strict=True)), ZERO)
                limit = units_for(multiply(equity, settings.max_position_percentage), unit, lot)
                wanted = beyond_band(held, cap(total(targets) + moved, held, limit), settings.sizing.no_trade_band)
                asked += multiply(abs(wanted - held), unit)
        return asked

    def limit_price(self, symbol: str, price: Decimal, *, buying: bool) -> Decimal:
        """Beyond the reference price by the settings' offset, on the instrument's tick."""
        listed = self._listed.get(symbol)
        offset = multiply(price, self._settings.limit_offset_bps / 10_000)
        limit = price + offset if buying else price - offset
        return round_to(limit, self._settings.tick_size if listed is None else listed.tick_at(limit))

    def _terms(self, symbol: str, due: Sequence[str]) -> tuple[Decimal, Decimal, Decimal]:
        """The price, what one unit costs at it, and the lot."""
        price = to_decimal(self._marks.prices.get(symbol, self._targets[symbol][due[0]].price))
        listed = self._listed.get(symbol)
        if listed is None:
            return price, price, self._settings.sizing.lot_size
        if not self._ledger.can_value(symbol):
            return ZERO, ZERO, listed.lot_size  # no exchange rate yet
        return price, multiply(price, self._ledger.unit_value(symbol)), listed.lot_size

    def _direction(self, target: Target) -> int:
        return target.direction if self._settings.allow_short else max(target.direction, 0)

    def _size(self, symbol: str, strategy: str, unit: Decimal, equity: Decimal, lot: Decimal) -> Size:
        """What a strategy's view asks for, and the arithmetic."""
        target = self._targets[symbol][strategy]
        view = View(self._direction(target), to_decimal(target.strength), unit, equity, target.quantity, lot)
        if self._by_weights:
            view = view._replace(weight=self._weights.of(symbol), weights_cause=self._weights.cause)
        return size(self._settings.sizing, self._estimates.add_to(view, symbol, strategy))

    @staticmethod
    def _stays(targets: dict[str, Target], due: Sequence[str], sizes: Sequence[Size]) -> bool:
        """Whether all that is acted on is an adjustment: nothing enters, leaves or turns."""
        return all(targets[name].quantity * sized.quantity > 0 for name, sized in zip(due, sizes, strict=True))

    def _stay_within_cap(
        self, targets: dict[str, Target], due: list[str], held: Decimal, unit: Decimal, equity: Decimal, lot: Decimal
    ) -> list[str]:
        """Cut the net quantity to the symbol's share of equity: the views acted on now give way first."""
        settings, wanted = self._settings, total(targets)
        limit = units_for(multiply(equity, settings.max_position_percentage), unit, lot)
        capped = cap(wanted, held, limit)
        if capped == wanted:
            return []
        give_up(targets, [*due, *sorted(targets.keys() - set(due))], wanted - capped)
        return [f"capped at {plain(capped)} by {plain(settings.max_position_percentage)} of equity {plain(equity)}"]

    def _adjust(
        self,
        targets: dict[str, Target],
        due: list[str],
        held: Decimal,
        equity: Decimal,
        turnover: Decimal,
        lot: Decimal,
    ) -> list[str]:
        """Leave a small adjustment alone, and trade the others in part where together they exceed the turnover."""
        sizing, aim = self._settings.sizing, total(targets)
        wanted, text = beyond_band(held, aim, sizing.no_trade_band), f"within the band of {sizing.no_trade_band}"
        if turnover and sizing.turnover_max is not None and wanted != held:
            allowed = multiply(equity, sizing.turnover_max)
            if turnover > allowed:
                wanted = part_of_the_way(held, wanted, allowed, turnover, lot)
                text = f"turnover {plain(turnover)} may be {plain(allowed)}"
        if wanted == aim:
            return []
        give_up(targets, due, aim - wanted)
        return [f"to {plain(wanted)}: {text}"]

    def _afford(
        self,
        targets: dict[str, Target],
        due: list[str],
        held: Decimal,
        unit_cost: Decimal,
        reserved: Decimal,
        lot: Decimal,
    ) -> list[str]:
        """Cut what is added on the long side to the cash that is free. What covers a short is never cut."""
        added = max(total(targets), ZERO) - max(held, ZERO)
        if added <= 0:
            return []
        cash = self._ledger.cash if self._settled is None else self._settled.settled
        free = cash - self._marks.short_value - reserved
        affordable = units_for(free, unit_cost, lot)
        if affordable >= added:
            return []
        give_up(targets, due, added - affordable)
        return [f"cut to {plain(affordable)} more by free cash {plain(free)}"]

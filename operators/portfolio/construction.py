"""Portfolio construction: compute the target quantity of a symbol from the strategies' views.

Each view is sized separately. The sum is then limited by the symbol's share of equity, by the turnover and by the free
cash. Every step that changes the quantity adds a text to `OrderProposal.sizing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from operators.instruments import Instrument, Instruments
from operators.ledger import Ledger
from operators.ledger.cash import SettledCash
from operators.money import ONE, ZERO, divide, floor_to, multiply, plain, round_to, to_decimal, units_for
from operators.portfolio.requested_targets import RequestedTarget
from operators.portfolio.settings import PortfolioSettings
from operators.portfolio.targets import Target, Targets, limit_changes, net_target, reduce_targets
from operators.sizing import (
    REBALANCED,
    Estimates,
    Size,
    SizingInput,
    TargetWeights,
    adjust_partly,
    apply_no_trade_band,
    cap_quantity,
    size_position,
)
from operators.valuation import Marks
from schemas.records import TARGET_WEIGHT


class Reduction(NamedTuple):
    """A limit that has reduced a strategy's target from `requested` to `quantity`, in signed units."""

    strategy: str
    requested: Decimal
    quantity: Decimal
    check: str
    found: str
    limit: str


class Step(NamedTuple):
    """What one step of the construction has changed: a text, the limit behind it, and the quantities before it."""

    text: str
    check: str
    found: str
    limit: str
    before: dict[str, Decimal]


class PlannedTrade(NamedTuple):
    """The trade for a symbol. `delta` is the signed quantity, 0 for no trade. `price` and `unit_cost` are per unit.

    `reductions` are the targets that a limit has reduced, also of strategies that were not due.
    """

    delta: Decimal
    price: Decimal
    unit_cost: Decimal  # cash to reserve per unit bought
    text: str
    reductions: list[Reduction]


class Construction:
    """Compute target quantities from the portfolio's books (`operators/portfolio/stage.py`), and update `targets`."""

    def __init__(
        self,
        settings: PortfolioSettings,
        instruments: Instruments,
        ledger: Ledger,
        settled_cash: SettledCash | None,
        marks: Marks,
        targets: Targets,
        estimates: Estimates,
        weights: TargetWeights,
    ) -> None:
        self._settings, self._instruments = settings, instruments
        self._listed: dict[str, Instrument] = {instrument.symbol: instrument for instrument in instruments.listed}
        self._ledger, self._settled_cash, self._marks = ledger, settled_cash, marks
        self._targets, self._estimates, self._weights = targets, estimates, weights
        self._uses_target_weights = settings.sizing.method == "target_weights"
        self._rebalances = settings.sizing.method in REBALANCED

    def update_active_symbols(self) -> None:
        """Pass the symbols with an active view to the estimates that compare symbols."""
        views = ((s, target) for s, targets in self._targets.items() for target in targets.values())
        self._estimates.set_active_symbols(symbol for symbol, target in views if self._direction(target))

    def plan_trade(
        self, symbol: str, due: list[str], equity: Decimal, turnover: Decimal, reserved: Decimal
    ) -> PlannedTrade | None:
        """Apply the views of the strategies in `due`. Return the resulting trade; None if the symbol has no price.

        `reserved` is the cash that pending orders need. `turnover` is the result of `adjustment_turnover`.
        """
        targets = self._targets[symbol]
        price, unit_price, lot_size = self._price_terms(symbol, due)
        if price <= 0:
            return None
        position = self._ledger.quantity(symbol)
        sizes = [self._size(symbol, strategy, unit_price, equity, lot_size) for strategy in due]
        is_adjustment = self._rebalances and self._is_adjustment_only(targets, due, sizes)
        for strategy, target_size in zip(due, sizes, strict=True):
            targets[strategy].quantity = target_size.quantity
        texts = [target_size.text for target_size in sizes]
        reductions = self._refused_shorts(targets, due, unit_price, equity, lot_size)
        if step := self._apply_cap(targets, due, position, unit_price, equity, lot_size):
            texts.append(step.text)
            reductions += _reductions(step, targets)
        if is_adjustment:
            texts += self._limit_adjustment(targets, due, position, equity, turnover, lot_size)
        unit_cost = multiply(unit_price, ONE + self._settings.cash_buffer)
        if step := self._apply_cash_limit(targets, due, position, unit_cost, reserved, lot_size):
            texts.append(step.text)
            reductions += _reductions(step, targets)
        target = net_target(targets)
        delta = target - position
        if target and delta % lot_size:
            # A split left a fraction of a lot. Only the order that closes the position can sell it.
            delta = floor_to(delta, lot_size) if delta > 0 else -floor_to(-delta, lot_size)
        return PlannedTrade(delta, price, unit_cost, "; ".join(texts), reductions)

    def crossing_strategies(self, symbol: str, due: list[str], equity: Decimal) -> list[str]:
        """Return those of the strategies in `due` that can trade with each other; [] if all trade in one direction.

        A strategy with limits on its orders never increases its position by a cross, because risk checks only orders.
        """
        price, unit_price, lot_size = self._price_terms(symbol, due)
        if price <= 0:
            return []
        targets, changes = self._targets[symbol], dict[str, Decimal]()
        for name in due:
            held, size = targets[name].held, self._size(symbol, name, unit_price, equity, lot_size).quantity
            if name not in self._settings.order_limited or not _increases(held, size):
                changes[name] = size - held
        is_opposite = min(changes.values(), default=ZERO) < 0 < max(changes.values(), default=ZERO)
        return [name for name, change in changes.items() if change] if is_opposite else []

    def must_wait(self, symbol: str, strategy: str, retried: Iterable[str], equity: Decimal) -> bool:
        """Whether a strategy with limits would increase its position against an exit that is retried.

        Both would cross without an order, and so without the check of the limits. `retried` are the strategies whose
        unfilled changes will have an order.
        """
        if strategy not in self._settings.order_limited:
            return False
        targets = self._targets[symbol]
        others = [targets[name].change for name in retried if name != strategy and targets[name].change]
        price, unit_price, lot_size = self._price_terms(symbol, [strategy])
        if not others or price <= 0:
            return False
        held, size = targets[strategy].held, self._size(symbol, strategy, unit_price, equity, lot_size).quantity
        return _increases(held, size) and any(change * (size - held) < 0 for change in others)

    def adjustment_turnover(self, ready: Iterable[tuple[str, list[str]]], equity: Decimal) -> Decimal:
        """Return the value of all adjustments in this time slice; 0 if the settings do not limit the turnover.

        `ready` contains the symbols, each with the strategies whose views are due.
        """
        settings, turnover = self._settings, ZERO
        if settings.sizing.turnover_max is None or not self._rebalances:
            return turnover
        for symbol, due in ready:
            targets = self._targets[symbol]
            price, unit_price, lot_size = self._price_terms(symbol, due)
            sizes = [self._size(symbol, strategy, unit_price, equity, lot_size) for strategy in due]
            if price > 0 and self._is_adjustment_only(targets, due, sizes):
                position = self._ledger.quantity(symbol)
                change = sum((s.quantity - targets[name].quantity for name, s in zip(due, sizes, strict=True)), ZERO)
                limit = units_for(multiply(equity, settings.max_position_percentage), unit_price, lot_size)
                target = apply_no_trade_band(
                    position, cap_quantity(net_target(targets) + change, position, limit), settings.sizing.no_trade_band
                )
                turnover += multiply(abs(target - position), unit_price)
        return turnover

    def limit_price(self, symbol: str, price: Decimal, *, buying: bool) -> Decimal:
        """Return the reference price plus (buy) or minus (sell) the configured offset, rounded to the tick size."""
        instrument = self._listed.get(symbol)
        offset = multiply(price, self._settings.limit_offset_bps / 10_000)
        limit = price + offset if buying else price - offset
        return round_to(limit, self._settings.tick_size if instrument is None else instrument.tick_size_at(limit))

    def _price_terms(self, symbol: str, due: Sequence[str]) -> tuple[Decimal, Decimal, Decimal]:
        """Return the price, the cost of one unit in account currency, and the lot size."""
        price = to_decimal(self._marks.prices.get(symbol, self._targets[symbol][due[0]].price))
        instrument = self._listed.get(symbol)
        if instrument is None:
            return price, price, self._unlisted_lot_size(symbol)
        if not self._ledger.has_rate(symbol):
            return ZERO, ZERO, instrument.lot_size  # no exchange rate yet
        return price, multiply(price, self._ledger.unit_value(symbol)), instrument.lot_size

    def _unlisted_lot_size(self, symbol: str) -> Decimal:
        """Return the lot size of the settings or, if it is the default of 1, a smaller one of the symbol."""
        lot_size = self._settings.sizing.lot_size
        return min(lot_size, self._instruments.lot_size_of(symbol)) if lot_size == ONE else lot_size

    def _direction(self, target: Target) -> int:
        return target.direction if self._settings.allow_short else max(target.direction, 0)

    def _size(self, symbol: str, strategy: str, unit_price: Decimal, equity: Decimal, lot_size: Decimal) -> Size:
        """Return the target quantity of a strategy's view, with the calculation as text."""
        target = self._targets[symbol][strategy]
        equity = self._capital(strategy, equity)
        if target.requested is not None:
            return self._requested_size(target.requested, unit_price, equity, lot_size)
        inputs = SizingInput(
            direction=self._direction(target),
            strength=to_decimal(target.strength),
            price=unit_price,
            equity=equity,
            current_quantity=target.quantity,
            lot_size=lot_size,
        )
        if self._uses_target_weights:
            inputs = inputs._replace(weight=self._weights.weight_of(symbol), weights_cause=self._weights.command_id)
        return size_position(self._settings.sizing, self._estimates.add_estimates(inputs, symbol, strategy))

    def _capital(self, strategy: str, equity: Decimal) -> Decimal:
        """Return a strategy's share of the equity."""
        share = self._settings.capital.get(strategy)
        return equity if share is None else multiply(equity, share)

    def _requested_size(
        self, requested: RequestedTarget, unit_price: Decimal, equity: Decimal, lot_size: Decimal
    ) -> Size:
        """Return the quantity that a trading strategy requests, rounded to lots towards 0."""
        units = _requested_units(requested, unit_price, equity, lot_size)
        if requested.kind == TARGET_WEIGHT:
            text = (
                f"weight {plain(requested.amount)} x equity {plain(equity)} / {plain(unit_price)} = {plain(abs(units))}"
            )
        else:
            text = f"quantity {plain(requested.amount)}"
        if units >= 0:
            return Size(units, text)
        return Size(units, text) if self._settings.allow_short else Size(ZERO, f"{text}; no short positions")

    def _refused_shorts(
        self, targets: dict[str, Target], due: Sequence[str], unit_price: Decimal, equity: Decimal, lot_size: Decimal
    ) -> list[Reduction]:
        """Return the short targets of strategies in `due`, if the settings allow no short positions."""
        reductions = list[Reduction]()
        for name in due:
            requested = targets[name].requested
            if requested is not None and requested.direction < 0 and not self._settings.allow_short:
                units = _requested_units(requested, unit_price, self._capital(name, equity), lot_size)
                reductions.append(
                    Reduction(
                        strategy=name,
                        requested=units,
                        quantity=ZERO,
                        check="allow_short",
                        found=plain(units),
                        limit="0",
                    )
                )
        return reductions

    @staticmethod
    def _is_adjustment_only(targets: dict[str, Target], due: Sequence[str], sizes: Sequence[Size]) -> bool:
        """Whether all due views only adjust a position, without an entry, an exit or a reversal.

        A target that a strategy has sized itself is traded in full.
        """
        return all(
            targets[name].quantity * target_size.quantity > 0 and targets[name].requested is None
            for name, target_size in zip(due, sizes, strict=True)
        )

    def _apply_cap(
        self,
        targets: dict[str, Target],
        due: list[str],
        position: Decimal,
        unit_price: Decimal,
        equity: Decimal,
        lot_size: Decimal,
    ) -> Step | None:
        """Limit the net quantity to the symbol's share of equity. The due strategies change their positions less.

        Return None if nothing changes.
        """
        settings, target = self._settings, net_target(targets)
        limit = units_for(multiply(equity, settings.max_position_percentage), unit_price, lot_size)
        capped = cap_quantity(target, position, limit)
        if capped == target:
            return None
        before = {name: one.quantity for name, one in targets.items()}
        excess = target - capped
        limit_changes(targets, due, excess)
        share = plain(settings.max_position_percentage)
        found = plain(divide(multiply(abs(target), unit_price), equity)) if equity > 0 else "no equity"
        text = f"capped at {plain(capped)} by {share} of equity {plain(equity)}"
        return Step(text, "max_position_percentage", found, share, before)

    def _limit_adjustment(
        self,
        targets: dict[str, Target],
        due: list[str],
        position: Decimal,
        equity: Decimal,
        turnover: Decimal,
        lot_size: Decimal,
    ) -> list[str]:
        """Skip a small adjustment, and trade the others in part if together they exceed the turnover limit."""
        sizing, full_target = self._settings.sizing, net_target(targets)
        target, text = (
            apply_no_trade_band(position, full_target, sizing.no_trade_band),
            f"within the no-trade band of {sizing.no_trade_band}",
        )
        if turnover and sizing.turnover_max is not None and target != position:
            allowed = multiply(equity, sizing.turnover_max)
            if turnover > allowed:
                target = adjust_partly(position, target, allowed, turnover, lot_size)
                text = f"turnover {plain(turnover)} is above the limit {plain(allowed)}"
        if target == full_target:
            return []
        reduce_targets(targets, due, full_target - target)
        return [f"adjusted to {plain(target)}: {text}"]

    def _apply_cash_limit(
        self,
        targets: dict[str, Target],
        due: list[str],
        position: Decimal,
        unit_cost: Decimal,
        reserved: Decimal,
        lot_size: Decimal,
    ) -> Step | None:
        """Limit the increase of a long position to the free cash. Buying back a short position is never limited.

        Return None if nothing changes.
        """
        added = max(net_target(targets), ZERO) - max(position, ZERO)
        if added <= 0:
            return None
        cash = self._ledger.cash if self._settled_cash is None else self._settled_cash.settled
        free_cash = cash - self._marks.short_value - reserved
        affordable = units_for(free_cash, unit_cost, lot_size)
        if affordable >= added:
            return None
        before = {name: one.quantity for name, one in targets.items()}
        limit_changes(targets, due, added - affordable)
        text = f"increase limited to {plain(affordable)} by free cash {plain(free_cash)}"
        return Step(text, "free_cash", plain(multiply(added, unit_cost)), plain(free_cash), before)


def _requested_units(requested: RequestedTarget, unit_price: Decimal, equity: Decimal, lot_size: Decimal) -> Decimal:
    """Return the signed quantity of a target, rounded to lots towards 0."""
    amount = abs(requested.amount)
    if requested.kind == TARGET_WEIGHT:
        units = units_for(multiply(equity, amount), unit_price, lot_size)
    else:
        units = floor_to(amount, lot_size)
    return -units if requested.direction < 0 else units


def _increases(held: Decimal, size: Decimal) -> bool:
    """Whether a position becomes larger, or changes its side."""
    return size * held < 0 or abs(size) > abs(held)


def _reductions(step: Step, targets: dict[str, Target]) -> list[Reduction]:
    """Return the targets that a step has changed."""
    return [
        Reduction(
            strategy=name,
            requested=step.before[name],
            quantity=target.quantity,
            check=step.check,
            found=step.found,
            limit=step.limit,
        )
        for name, target in targets.items()
        if target.quantity != step.before[name]
    ]

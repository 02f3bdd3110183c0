"""The symbols of one trading strategy: a fixed set, or those that a rule selects on a schedule."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from math import fsum
from typing import Any, Literal, NamedTuple

from operators.strategies.universe_rules import TopDollarVolume
from operators.trading.intervals import DAY_NS
from operators.trading.market import Market
from operators.trading.sessions import week_number
from schemas.records import Bar

VERSION = 1


class Universe:
    """A fixed set of symbols, or, with None, every symbol of the market that has had a bar."""

    __slots__ = ("_market", "_symbols", "known", "symbols")

    def __init__(self, symbols: Iterable[str] | None, market: Market) -> None:
        self._market = market
        self._symbols = None if symbols is None else set(symbols)
        self.symbols: tuple[str, ...] = tuple(sorted(self._symbols or ()))
        """Sorted."""
        self.known: Container[str] = market.symbols if self._symbols is None else self._symbols
        """The symbols that the strategy may read and trade: these symbols, or the candidates of a rule."""

    def __contains__(self, symbol: object) -> bool:
        return symbol in self.known

    def is_active(self, symbol: str) -> bool:
        """Whether the closed bars of a symbol are those of the strategy."""
        return symbol in self.known

    def update(self) -> None:
        """Add the symbols that have had their first bar."""
        if self._symbols is None and len(self.symbols) != len(self._market.symbols):
            self.symbols = tuple(sorted(self._market.symbols))

    def rename(self, symbol: str, new_symbol: str) -> None:
        """Add the new symbol of one that is in the universe."""
        if self._symbols is not None and symbol in self._symbols:
            self._symbols.add(new_symbol)
            self.symbols = tuple(sorted(self._symbols))

    def snapshot(self) -> Any:
        return None if self._symbols is None else sorted(self._symbols)

    def restore(self, snapshot: Any) -> None:
        """Add the symbols of a snapshot, which has the new names of renamed ones."""
        if isinstance(snapshot, tuple):  # of a strategy that had a rule
            snapshot = snapshot[1]
        if self._symbols is not None:
            self._symbols |= set(snapshot or ())
            self.symbols = tuple(sorted(self._symbols))
        self.update()


class UniverseChange(NamedTuple):
    """A symbol that a rule has added or removed, with the figures behind the decision as text."""

    change: Literal["added", "removed"]
    symbol: str
    arguments: dict[str, str]


class SelectedUniverse(Universe):
    """The symbols that a rule has selected from its candidates.

    A symbol that is removed keeps its position, and its bars stay visible until the strategy has closed the position.
    `has_position` returns whether the strategy has one.
    """

    __slots__ = ("_has_position", "_rule", "_selected", "_selected_day")

    def __init__(
        self,
        candidates: Iterable[str] | None,
        market: Market,
        rule: TopDollarVolume,
        has_position: Callable[[str], bool],
    ) -> None:
        super().__init__(candidates, market)
        self._rule, self._has_position = rule, has_position
        self._selected: frozenset[str] = frozenset()
        self._selected_day = 0  # trading day of the last selection
        self.symbols = ()

    def is_active(self, symbol: str) -> bool:
        return symbol in self._selected or self._has_position(symbol)

    def update(self) -> None:
        """The symbols change at a selection only."""

    def rename(self, symbol: str, new_symbol: str) -> None:
        """Make the new symbol a candidate, and select it in place of the old one."""
        if self._symbols is not None and symbol in self._symbols:
            self._symbols.add(new_symbol)
        if symbol in self._selected:
            self._set_selected((self._selected - {symbol}) | {new_symbol})

    def select(self, bar: Bar) -> list[UniverseChange]:
        """Select at the first bar of a new period. Return the changes: removed symbols, then added ones by rank.

        `bar` is a bar of a regular or continuous session in this time slice.
        """
        day = bar.trading_day
        every = self._rule.every if self._selected else "1d"
        if day <= self._selected_day or _period(every, day) == _period(every, self._selected_day):
            return []
        self._selected_day = day
        volumes, filtered = self._dollar_volumes()
        ranked = sorted(volumes, key=lambda symbol: (-volumes[symbol], symbol))
        chosen = ranked[: self._rule.count]
        figures = {
            symbol: {"rank": str(rank), "dollar_volume": f"{volumes[symbol]:.0f}"}
            for rank, symbol in enumerate(ranked, start=1)
        }
        removed = sorted(self._selected.difference(chosen))
        changes = [
            UniverseChange("removed", symbol, figures.get(symbol) or {"filter": filtered.get(symbol, "no_data")})
            for symbol in removed
        ]
        changes += [
            UniverseChange("added", symbol, figures[symbol]) for symbol in chosen if symbol not in self._selected
        ]
        self._set_selected(frozenset(chosen))
        return changes

    def _dollar_volumes(self) -> tuple[dict[str, float], dict[str, str]]:
        """Return the average dollar volume of the candidates that pass the filters, and the filter of the others."""
        volumes: dict[str, float] = {}
        filtered: dict[str, str] = {}
        for symbol, one in self._market.symbols.items():
            if symbol not in self.known:
                continue
            bars = one.histories[DAY_NS].arrays(self._rule.days)
            volume = fsum((bars["close"] * bars["volume"]).tolist()) / max(len(bars["close"]), 1)
            if self._market.is_retired(symbol):
                filtered[symbol] = "delisted"
            elif one.closed_bars(DAY_NS) < self._rule.min_history:
                filtered[symbol] = "min_history"
            elif self._market.prices.get(symbol, 0.0) < self._rule.min_price:
                filtered[symbol] = "min_price"
            elif not volume > 0:
                filtered[symbol] = "no_volume"
            else:
                volumes[symbol] = volume
        return volumes, filtered

    def _set_selected(self, selected: frozenset[str]) -> None:
        self._selected, self.symbols = selected, tuple(sorted(selected))

    def snapshot(self) -> Any:
        return (VERSION, super().snapshot(), list(self.symbols), self._selected_day)

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. If the strategy had no rule then, the rule selects with the next bar of a session."""
        if not isinstance(snapshot, tuple):
            if self._symbols is not None:
                self._symbols |= set(snapshot or ())
            return
        version, candidates, selected, self._selected_day = snapshot
        assert version == VERSION, f"universe snapshot: version {version}, expected {VERSION}"
        if self._symbols is not None:
            self._symbols |= set(candidates or ())
        self._set_selected(frozenset(selected))


def _period(every: str, day: int) -> int:
    """Return the number of the day, week or month of a trading day; 0 for the day 0."""
    if not day or every == "1d":
        return day
    return week_number(day) if every == "1w" else day // 100

"""The symbols of one trading strategy: a fixed set, or the base of those that a rule selects on a schedule."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from operators.trading.market import Market
from operators.trading.sessions import week_number
from schemas.records import Bar

VERSION = 2


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


class Selection(NamedTuple):
    """The symbols that a rule selects, in order, and the figures behind the decision on each candidate, as text."""

    chosen: Sequence[str]
    figures: Mapping[str, dict[str, str]]


class SelectedUniverse(Universe):
    """The symbols that a rule has selected from its candidates. A subclass is the rule.

    The rule selects with the first bar of each day, week or month (`every`), and each day until it has first found a
    symbol. A symbol that is removed keeps its position, and its bars stay visible until the strategy has closed the
    position. `has_position` returns whether the strategy has one.
    """

    __slots__ = ("_every", "_has_position", "_renamed", "_selected", "_selected_day")

    def __init__(
        self, candidates: Iterable[str] | None, market: Market, every: str, has_position: Callable[[str], bool]
    ) -> None:
        super().__init__(candidates, market)
        self._every, self._has_position = every, has_position
        self._selected: frozenset[str] = frozenset()
        self._selected_day = 0  # trading day of the last selection
        self._renamed: dict[str, str] = {}  # old symbol -> new one
        self.symbols = ()

    def is_active(self, symbol: str) -> bool:
        return symbol in self._selected or self._has_position(symbol)

    def update(self) -> None:
        """The symbols change at a selection only."""

    def rename(self, symbol: str, new_symbol: str) -> None:
        """Make the new symbol a candidate, and select it in place of the old one."""
        if self._symbols is not None and symbol in self._symbols:
            self._symbols.add(new_symbol)
            self._renamed[symbol] = new_symbol
        if symbol in self._selected:
            self._set_selected((self._selected - {symbol}) | {new_symbol})

    def select(self, bar: Bar) -> list[UniverseChange]:
        """Select at the first bar of a new period. Return the changes: removed symbols, then added ones by rank.

        `bar` is a bar of a regular or continuous session in this time slice.
        """
        day = bar.trading_day
        every = self._every if self._selected else "1d"
        if day <= self._selected_day or _period(every, day) == _period(every, self._selected_day):
            return []
        self._selected_day = day
        chosen, figures = self._choose(day)
        removed = sorted(self._selected.difference(chosen))
        changes = [UniverseChange("removed", symbol, figures.get(symbol, {"filter": "no_data"})) for symbol in removed]
        changes += [
            UniverseChange("added", symbol, figures[symbol]) for symbol in chosen if symbol not in self._selected
        ]
        self._set_selected(frozenset(chosen))
        return changes

    def _choose(self, day: int) -> Selection:
        """Apply the rule on a trading day."""
        raise NotImplementedError

    def _set_selected(self, selected: frozenset[str]) -> None:
        self._selected, self.symbols = selected, tuple(sorted(selected))

    def snapshot(self) -> Any:
        return (VERSION, super().snapshot(), list(self.symbols), self._selected_day, dict(self._renamed))

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. If the strategy had no rule then, the rule selects with the next bar of a session.

        Version 1 has no renamed symbols.
        """
        if not isinstance(snapshot, tuple):
            if self._symbols is not None:
                self._symbols |= set(snapshot or ())
            return
        version, candidates, selected, self._selected_day, *renamed = snapshot
        assert version in (1, VERSION), f"universe snapshot: version {version}, expected 1 or {VERSION}"
        if self._symbols is not None:
            self._symbols |= set(candidates or ())
        for pairs in renamed:
            self._renamed = dict(pairs)
        self._set_selected(frozenset(selected))


def _period(every: str, day: int) -> int:
    """Return the number of the day, week or month of a trading day; 0 for the day 0."""
    if not day or every == "1d":
        return day
    return week_number(day) if every == "1w" else day // 100

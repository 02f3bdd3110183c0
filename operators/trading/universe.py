"""The symbols of one trading strategy: a fixed set, or the base of those that a rule selects on a schedule."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from operators.trading.market import Market
from operators.trading.sessions import week_number
from operators.trading.symbol_names import EndedSymbol, SymbolNames
from schemas.records import Bar, CorporateAction

VERSION = 3


class Universe:
    """A fixed set of symbols, or, with None, every symbol of the market that has had a bar.

    A symbol that is renamed or merged is replaced by its new one, in its place. A delisted symbol is removed.
    """

    __slots__ = ("_listings", "_market", "_symbols", "known", "names", "symbols")

    def __init__(self, symbols: Iterable[str] | None, market: Market) -> None:
        self._market = market
        self._symbols = None if symbols is None else set(symbols)
        self._listings = market.listings
        self.names = SymbolNames()
        self.known: Container[str] = market.symbols if self._symbols is None else self._symbols
        """The symbols that the strategy may read: these symbols, or the candidates of a rule, and those that ended."""
        self.symbols: tuple[str, ...] = ()
        """Sorted, each new symbol in the place of its old one."""
        self._refresh()

    def __contains__(self, symbol: object) -> bool:
        """Whether the strategy may trade a symbol."""
        return symbol in self.known and not self.names.has_ended(symbol)

    def is_active(self, symbol: str) -> bool:
        """Whether the closed bars of a symbol are those of the strategy."""
        return symbol in self and symbol not in self.names.distributed

    def update(self) -> None:
        """Add the symbols that have had their first bar. A name that has ended may be that of another company now."""
        if self._listings == self._market.listings:
            return
        self._listings = self._market.listings
        for symbol, ended in self.names.ended.items():
            if self.names.has_ended(symbol) and self._market.trades(symbol) and self._admits_reuse(symbol, ended):
                self.names.readmit(symbol)
        self._refresh()

    def admit_distributed(self, symbol: str) -> None:
        """Let the strategy read and sell shares that one of its symbols has distributed. `symbols` stays the same.

        They may use the name of a symbol that has ended.
        """
        if self._symbols is None:
            return
        has_ended = self.names.has_ended(symbol)
        if has_ended or symbol not in self._symbols:
            self._symbols.add(symbol)
            self.names.distributed[symbol] = None
        if has_ended:
            self.names.readmit(symbol, is_declared=False)

    def apply_end(self, action: CorporateAction, day: int, *, had_bars: bool) -> None:
        """Replace or remove the symbol of a symbol change or delisting, whose first day without it is `day`.

        `had_bars` is whether the market had bars of it. Distributed shares that are renamed stay outside `symbols`. If
        a symbol of the universe merges into the company of distributed shares, that company takes its place.
        """
        symbol, new_symbol = action.symbol, action.new_symbol
        if symbol not in self:
            return
        takes_place = bool(new_symbol) and not self._has_place(new_symbol)
        if new_symbol and self._symbols is not None:
            distributed = self.names.distributed
            if symbol not in distributed:
                distributed.pop(new_symbol, None)
            elif new_symbol not in self._symbols:
                distributed[new_symbol] = None
            self._symbols.add(new_symbol)
        self.names.end(symbol, EndedSymbol(new_symbol, day, had_bars), takes_place=takes_place)
        self._refresh()

    def _has_place(self, symbol: str) -> bool:
        """Whether a symbol has a place of its own, such as the acquirer in a merger."""
        if self._symbols is not None:
            return symbol in self._symbols and symbol not in self.names.distributed
        return self._market.trades(symbol)

    def _admits_reuse(self, symbol: str, ended: EndedSymbol) -> bool:
        """Whether the universe contains another company that trades under a name that has ended.

        A declared symbol is the company of that name at the start of the run.
        """
        return self._symbols is None or not ended.had_bars

    def _refresh(self) -> None:
        self.symbols = self.names.ordered(self._market.symbols if self._symbols is None else self._symbols)

    def snapshot(self) -> Any:
        return (VERSION, None if self._symbols is None else sorted(self._symbols), self.names.snapshot())

    def restore(self, snapshot: Any) -> None:
        """Add the symbols of a snapshot, and restore the names that have ended.

        It may be that of a strategy that had a rule. Before version 3, a universe did not know which symbols have
        ended; the market does.
        """
        symbols, names = (snapshot[1], snapshot[2]) if isinstance(snapshot, tuple) else (snapshot, None)
        if self._symbols is not None:
            self._symbols |= set(symbols or ())
        if isinstance(snapshot, tuple) and snapshot[0] == VERSION:
            self.names.restore(names)
        else:
            for symbol in self._market.symbols if self._symbols is None else self._symbols:
                if self._market.is_retired(symbol):
                    self.names.end(symbol, EndedSymbol("", 0, had_bars=True), takes_place=False)
        self._refresh()


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

    __slots__ = ("_every", "_has_position", "_selected", "_selected_day")

    def __init__(
        self, candidates: Iterable[str] | None, market: Market, every: str, has_position: Callable[[str], bool]
    ) -> None:
        self._every, self._has_position = every, has_position
        self._selected: frozenset[str] = frozenset()
        self._selected_day = 0  # trading day of the last selection
        super().__init__(candidates, market)

    def is_active(self, symbol: str) -> bool:
        return symbol in self and (symbol in self._selected or self._has_position(symbol))

    def apply_end(self, action: CorporateAction, day: int, *, had_bars: bool) -> None:
        """Replace or remove a candidate. If it was selected, its new symbol is, too.

        A delisted symbol leaves `symbols` at once. The next selection publishes its removal.
        """
        is_candidate = action.symbol in self
        super().apply_end(action, day, had_bars=had_bars)
        if is_candidate and action.new_symbol and action.symbol in self._selected:
            self._set_selected((self._selected - {action.symbol}) | {action.new_symbol})

    def _has_place(self, symbol: str) -> bool:
        return symbol in self._selected

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
        self._selected = selected
        self._refresh()

    def _refresh(self) -> None:
        self.symbols = self.names.ordered(self._selected)

    def snapshot(self) -> Any:
        return (*super().snapshot(), sorted(self._selected), self._selected_day)

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. If the strategy had no rule then, the rule selects with the next bar of a session."""
        super().restore(snapshot)
        if not isinstance(snapshot, tuple):
            return
        version, _, *later = snapshot
        assert version in (1, 2, VERSION), f"universe snapshot: version {version}, expected 1 to {VERSION}"
        if version < VERSION:
            selected, self._selected_day, *renamed = later
            for old, new_symbol in (renamed[0] if renamed else {}).items():  # version 1 has none
                self.names.end(old, EndedSymbol(new_symbol, 0, had_bars=True), takes_place=True)
        elif len(later) > 1:
            _, selected, self._selected_day = later
        else:  # of a strategy without a rule
            return
        self._set_selected(frozenset(selected))


def _period(every: str, day: int) -> int:
    """Return the number of the day, week or month of a trading day; 0 for the day 0."""
    if not day or every == "1d":
        return day
    return week_number(day) if every == "1w" else day // 100

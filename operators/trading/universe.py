"""The symbols of one trading strategy."""

from __future__ import annotations

from collections.abc import Container, Iterable

from operators.trading.market import Market


class Universe:
    """A fixed set of symbols, or, with None, every symbol of the market that has had a bar."""

    __slots__ = ("_market", "_symbols", "known", "symbols")

    def __init__(self, symbols: Iterable[str] | None, market: Market) -> None:
        self._market = market
        self._symbols = None if symbols is None else set(symbols)
        self.symbols: tuple[str, ...] = tuple(sorted(self._symbols or ()))
        """Sorted."""
        self.known: Container[str] = market.symbols if self._symbols is None else self._symbols
        """The same symbols, for quick tests."""

    def __contains__(self, symbol: object) -> bool:
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

    def snapshot(self) -> list[str] | None:
        return None if self._symbols is None else sorted(self._symbols)

    def restore(self, snapshot: list[str] | None) -> None:
        """Add the symbols of a snapshot, which has the new names of renamed ones."""
        if self._symbols is not None:
            self._symbols |= set(snapshot or ())
            self.symbols = tuple(sorted(self._symbols))
        self.update()

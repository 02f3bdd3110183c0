"""The present names of a strategy's symbols: which symbol continues a renamed one, and which symbols have ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from operators.ended_symbols import NameEnd, describe_end
from schemas.errors import BadInput


class SymbolEnded(BadInput):
    """A strategy has ordered under the name of a symbol that was renamed, merged or delisted."""


class EndedSymbol(NamedTuple):
    """A symbol that no longer exists. `new_symbol` is the one that continues it; "" after a delisting.

    `day` (yyyymmdd) is the first one without the symbol; 0 if an earlier release has not stored it. Without `had_bars`,
    the symbol had no bar when it ended. `is_reused` is whether the name is that of another company of the universe
    now, or of shares that one of its symbols has distributed.
    """

    new_symbol: str
    day: int
    had_bars: bool
    is_reused: bool = False


class SymbolNames:
    """The names of one universe. A new symbol takes the place of the old one, so that the order of symbols stays."""

    __slots__ = ("_continued", "_ended", "_places", "distributed", "readable")

    def __init__(self) -> None:
        self._ended: dict[str, EndedSymbol] = {}
        self._places: dict[str, str] = {}  # new symbol -> the first symbol in whose place it is
        # First name of a company -> its present one. `_ended` knows only the newest company of a name.
        self._continued: dict[str, str] = {}
        self.distributed: dict[str, None] = {}
        """Symbols whose shares were distributed, which are not symbols of the universe."""
        self.readable: frozenset[str] = frozenset()
        """The symbols of the corporate actions that the strategy is receiving. Their last data can be read."""

    @property
    def ended(self) -> Mapping[str, EndedSymbol]:
        return self._ended

    def has_ended(self, symbol: object) -> bool:
        """Whether a symbol was renamed, merged or delisted. Its name does not count for another company."""
        if not self._ended:
            return False
        one = self._ended.get(symbol)  # type: ignore[call-overload]  # a strategy may pass anything hashable
        return one is not None and not one.is_reused

    def is_hidden(self, symbol: object) -> bool:
        """Whether a symbol has ended and is not that of an action that the strategy is receiving."""
        return self.has_ended(symbol) and symbol not in self.readable

    def end(self, symbol: str, ended: EndedSymbol, *, takes_place: bool) -> None:
        """End a symbol. With `takes_place`, its new symbol takes its place."""
        self._ended.pop(ended.new_symbol, None)  # a symbol that gets its old name back
        self._ended[symbol] = ended
        if symbol not in self.distributed:
            self._continue(symbol, ended.new_symbol)
        if takes_place:
            self._places[ended.new_symbol] = self._places.get(symbol, symbol)

    def _continue(self, symbol: str, new_symbol: str) -> None:
        for first, present in self._continued.items():
            if present == symbol:
                self._continued[first] = new_symbol
        self._continued.setdefault(symbol, new_symbol)

    def readmit(self, symbol: str, *, is_declared: bool = True) -> None:
        """Let an ended name count for the company that uses it now. `is_declared`: a declared name means that one."""
        self._ended[symbol] = self._ended[symbol]._replace(is_reused=True)
        if is_declared:
            self._continued[symbol] = symbol

    def declared(self, symbol: str) -> str | None:
        """Return the present name of a symbol that was declared before the run; None if it has no present one.

        Unlike `current`, this follows the first company of a name that another company has taken over.

        >>> names = SymbolNames()
        >>> names.end("FB", EndedSymbol("META", 20220609, had_bars=True), takes_place=True)
        >>> names.end("NEW", EndedSymbol("FB", 20240102, had_bars=True), takes_place=True)
        >>> [(names.declared(symbol), names.current(symbol)) for symbol in ("FB", "NEW")]
        [('META', 'FB'), ('FB', 'FB')]
        """
        return self._continued[symbol] or None if symbol in self._continued else self.current(symbol)

    def current(self, symbol: str) -> str | None:
        """Return the present name of a symbol; None if it has no present one.

        >>> names = SymbolNames()
        >>> names.end("FB", EndedSymbol("META", 20220609, had_bars=True), takes_place=True)
        >>> names.end("TWTR", EndedSymbol("", 20221028, had_bars=True), takes_place=False)
        >>> [names.current(symbol) for symbol in ("FB", "META", "TWTR")]
        ['META', 'META', None]
        """
        last = self._last_link(symbol)
        return symbol if last is None else last.new_symbol or None

    def successor(self, symbol: str) -> str | None:
        """Return the symbol that has taken the place of an ended one, and any other symbol itself.

        None after a delisting, and after a merger into a symbol that had a place of its own.
        """
        while self.has_ended(symbol):
            new_symbol = self._ended[symbol].new_symbol
            if not new_symbol or self._places.get(new_symbol) != self._places.get(symbol, symbol):
                return None
            symbol = new_symbol
        return symbol

    def _last_link(self, symbol: str) -> EndedSymbol | None:
        # Shares that were distributed under an ended name are not the company that a strategy has declared.
        last = self._ended.get(symbol) if symbol in self.distributed else None
        if last is not None:
            symbol = last.new_symbol
        while self.has_ended(symbol):
            last = self._ended[symbol]
            symbol = last.new_symbol
        return last

    def ordered(self, symbols: Iterable[str]) -> tuple[str, ...]:
        """Return the symbols that have not ended, sorted, each new symbol in the place of the old one."""
        if not self._ended and not self.distributed:
            return tuple(sorted(symbols))
        places = self._places
        present = (one for one in symbols if one not in self.distributed and not self.has_ended(one))
        return tuple(sorted(present, key=lambda one: (places.get(one, one), one)))

    def check_not_ended(self, symbol: str) -> None:
        """Raise SymbolEnded for a symbol that has ended, in a sentence that names the present symbol."""
        last = self._last_link(symbol) if self.has_ended(symbol) else None
        if last is not None:
            sentence = describe_end(symbol, NameEnd(last.new_symbol, last.day))
            raise SymbolEnded(f"{sentence}; an order must name {last.new_symbol or 'a symbol of ctx.universe'}")

    # -- state

    def snapshot(self) -> Any:
        return (
            {symbol: tuple(one) for symbol, one in self._ended.items()},
            dict(self._places),
            list(self.distributed),
            dict(self._continued),
        )

    def restore(self, snapshot: Any) -> None:
        # Earlier releases have no distributed or continued symbols. `current` applies to the names of theirs.
        ended, places, distributed, continued = (*snapshot, (), ())[:4]
        self.distributed = dict.fromkeys(distributed)
        self._continued = dict(continued)
        self._ended = {symbol: EndedSymbol(*values) for symbol, values in ended.items()}
        self._places = dict(places)

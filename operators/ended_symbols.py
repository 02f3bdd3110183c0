"""The names of symbols that were renamed, merged or delisted, until another company uses them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from schemas.records import DELISTING, RIGHTS, SPIN_OFF, SYMBOL_CHANGE, Bar, CorporateAction, Record

VERSION = 1
NAMES_MAX = 10_000
"""Number of names remembered. The oldest is forgotten first; the price of a symbol that ended long ago is stale."""


class NameEnd(NamedTuple):
    """The end of a name on `day` (yyyymmdd; 0 if unknown). `new_symbol` is the present name; "" after a delisting."""

    new_symbol: str
    day: int


def describe_end(symbol: str, end: NameEnd) -> str:
    """Return what has become of a symbol.

    >>> describe_end("FB", NameEnd("META", 20220609)), describe_end("TWTR", NameEnd("", 20221028))
    ('FB is META since 2022-06-09', 'TWTR was delisted on 2022-10-28')
    >>> describe_end("FB", NameEnd("META", 0)), describe_end("TWTR", NameEnd("", 0))
    ('FB is META', 'TWTR was renamed or delisted')
    """
    day = f"{end.day:08d}"
    iso_day = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    if end.new_symbol:
        return f"{symbol} is {end.new_symbol}{f' since {iso_day}' if end.day else ''}"
    return f"{symbol} was {f'delisted on {iso_day}' if end.day else 'renamed or delisted'}"


class EndedSymbols:
    """The symbols that have ended, and have not traded since.

    A trade under an ended name is that of another company, whose name it is from then on. A company or distributed
    shares that get an ended name use it, too: `reused` are these names of the last time slice, whose last price is that
    of the company before.
    """

    def __init__(self) -> None:
        self._ends: dict[str, NameEnd] = {}
        self.reused: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Whether any name has ended, or was used again in the last time slice."""
        return bool(self._ends or self.reused)

    def apply(self, actions: Sequence[CorporateAction], records: Sequence[Record]) -> None:
        """Apply the corporate actions that take effect in a time slice, then its trades. Call for each time slice."""
        reused: set[str] = set()
        day = next((record.trading_day for record in records if type(record) is Bar), 0)
        for action in actions:
            if action.kind not in (SYMBOL_CHANGE, DELISTING, SPIN_OFF, RIGHTS):
                continue
            if self._ends.pop(action.new_symbol, None) is not None:
                reused.add(action.new_symbol)
            if action.kind in (SYMBOL_CHANGE, DELISTING):
                self._ends.pop(action.symbol, None)
                self._ends[action.symbol] = NameEnd(action.new_symbol, action.ex_date or day)
                if len(self._ends) > NAMES_MAX:
                    del self._ends[next(iter(self._ends))]
        self.reused = frozenset(reused)
        for record in records:
            # A bar with the number 0 is the opening price of a backtest with orders: a trade follows.
            if type(record) is Bar and record.symbol in self._ends and (record.traded or not record.seq):
                del self._ends[record.symbol]

    def find(self, symbol: str) -> NameEnd | None:
        """Return the end of a name, with the present name of its company; None if the name has not ended.

        The day is that of the last change.
        """
        last: NameEnd | None = None
        while (end := self._ends.get(symbol)) is not None:
            last, symbol = end, end.new_symbol
        return last

    def snapshot(self) -> Any:
        return (VERSION, {symbol: tuple(end) for symbol, end in self._ends.items()})

    def restore(self, snapshot: Any) -> None:
        version, ends = snapshot
        assert version == VERSION, f"ended symbols snapshot: version {version}, expected {VERSION}"
        # The same object, because the checks refer to it.
        self._ends.clear()
        self._ends.update({symbol: NameEnd(*values) for symbol, values in ends.items()})

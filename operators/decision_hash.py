"""What was decided, as one hash: orders, executions and the ledger.

Two runs with the same hash sent the same orders at the same event times, had the same fills, and ended with the same
matches, lots, positions and cash. Batch size, process count, arrival order and restarts must not change it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from schemas.records import Execution, Lot, LotMatch, Order, Position, RiskFence, Valuation

VERSION = 1
_HISTORY: tuple[type, ...] = (Order, RiskFence, Execution, LotMatch)
_EXPLAINING = frozenset({list, tuple, dict})


class Decisions:
    """Folds records in, in the order their stages wrote them, each once. Memory is a row a position and open lot.

    Of orders, fences, executions and matches the whole history counts: each kind is a chain of SHA-256 over
    (digest so far, record). Of positions, lots and cash the last state counts.
    """

    def __init__(self) -> None:
        self._chains = dict.fromkeys(_HISTORY, b"")
        # As records, or as their lines after a restore: most are replaced before anyone asks for the hash.
        self._positions: dict[str, Any] = {}
        self._lots: dict[str, Any] = {}
        self._cash: Any = None

    def add(self, record: Any) -> None:
        """Fold one record in; kinds that are not decisions pass by."""
        kind = type(record)
        if kind in self._chains:
            self._chains[kind] = hashlib.sha256(self._chains[kind] + line(record).encode()).digest()
        elif kind is Valuation:
            self._cash = record.cash
        elif kind is Position:
            self._positions[record.symbol] = record
        elif kind is Lot:
            if record.quantity:
                self._lots[record.lot_id] = record
            else:
                self._lots.pop(record.lot_id, None)

    def hexdigest(self) -> str:
        """64 hex digits."""
        final = hashlib.sha256(b"".join(self._chains[kind] for kind in _HISTORY))
        for book in (self._positions, self._lots):
            for name in sorted(book):
                final.update(_kept(book[name]).encode())
        final.update(text(self._cash).encode())
        return final.hexdigest()

    def snapshot(self) -> Any:
        chains = {kind.__name__: digest for kind, digest in self._chains.items()}
        positions = {symbol: _kept(held) for symbol, held in self._positions.items()}
        lots = {lot_id: _kept(held) for lot_id, held in self._lots.items()}
        return (VERSION, chains, positions, lots, text(self._cash))

    def restore(self, snapshot: Any) -> None:
        version, chains, positions, lots, self._cash = snapshot
        assert version == VERSION, f"decisions state of version {version}, expected {VERSION}"
        self._chains = {kind: chains[kind.__name__] for kind in _HISTORY}
        self._positions, self._lots = dict(positions), dict(lots)


def decision_hash(records: Iterable[Any]) -> str:
    """The hash of records read back from a topic or table, each kind in `seq` order."""
    decisions = Decisions()
    for record in records:
        decisions.add(record)
    return decisions.hexdigest()


def line(record: Any) -> str:
    """A record as one canonical line. Lists of a record are left out: they explain a decision, they are not one.

    >>> line(RiskFence(1, 60, 2, "HALTED", "test", "c1"))
    '1|60|2|HALTED|test|c1\\n'
    """
    parts: list[str] = []
    for value in record:
        kind = type(value)
        if kind is str:
            parts.append(value)
        elif kind not in _EXPLAINING:
            parts.append(text(value))
    return "|".join(parts) + "\n"


def _kept(held: Any) -> str:
    return held if type(held) is str else line(held)


def text(value: Any) -> str:
    """Equal values give equal text, however many zeros a database or codec put behind the point.

    >>> text(Decimal("1.500000000")), text(Decimal("100")), text(None)
    ('1.5', '100', '-')
    """
    if isinstance(value, Decimal):
        return f"{value.normalize():f}" if value else "0"
    return "-" if value is None else str(value)

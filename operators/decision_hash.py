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
_HASHED_RECORDS: tuple[type, ...] = (Order, RiskFence, Execution, LotMatch)
_EXCLUDED_TYPES = frozenset({list, tuple, dict})


class DecisionHash:
    """Folds records in, in the order their stages wrote them, each once. Memory is a row a position and open lot.

    Of orders, fences, executions and matches the whole history counts: each kind is a chain of SHA-256 over
    (digest so far, record). Of positions, lots and cash the last state counts.
    """

    def __init__(self) -> None:
        self._chains = dict.fromkeys(_HASHED_RECORDS, b"")
        # As records, or as their lines after a restore: most are replaced before anyone asks for the hash.
        self._positions: dict[str, Any] = {}
        self._lots: dict[str, Any] = {}
        self._cash: Any = None

    def add(self, record: Any) -> None:
        """Fold one record in; kinds that are not decisions pass by."""
        kind = type(record)
        if kind in self._chains:
            self._chains[kind] = hashlib.sha256(self._chains[kind] + canonical_line(record).encode()).digest()
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
        total_hash = hashlib.sha256(b"".join(self._chains[kind] for kind in _HASHED_RECORDS))
        for latest in (self._positions, self._lots):
            for key in sorted(latest):
                total_hash.update(_as_line(latest[key]).encode())
        total_hash.update(canonical_text(self._cash).encode())
        return total_hash.hexdigest()

    def snapshot(self) -> Any:
        chains = {kind.__name__: digest for kind, digest in self._chains.items()}
        positions = {symbol: _as_line(record) for symbol, record in self._positions.items()}
        lots = {lot_id: _as_line(record) for lot_id, record in self._lots.items()}
        return (VERSION, chains, positions, lots, canonical_text(self._cash))

    def restore(self, snapshot: Any) -> None:
        version, chains, positions, lots, self._cash = snapshot
        assert version == VERSION, f"decisions state of version {version}, expected {VERSION}"
        self._chains = {kind: chains[kind.__name__] for kind in _HASHED_RECORDS}
        self._positions, self._lots = dict(positions), dict(lots)


def decision_hash(records: Iterable[Any]) -> str:
    """The hash of records read back from a topic or table, each kind in `seq` order."""
    decisions = DecisionHash()
    for record in records:
        decisions.add(record)
    return decisions.hexdigest()


def canonical_line(record: Any) -> str:
    """A record as one canonical line. Lists of a record are left out: they explain a decision, they are not one.

    >>> canonical_line(RiskFence(1, 60, 2, "HALTED", "test", "c1"))
    '1|60|2|HALTED|test|c1\\n'
    """
    parts: list[str] = []
    for value in record:
        kind = type(value)
        if kind is str:
            parts.append(value)
        elif kind not in _EXCLUDED_TYPES:
            parts.append(canonical_text(value))
    return "|".join(parts) + "\n"


def _as_line(record: Any) -> str:
    return record if type(record) is str else canonical_line(record)


def canonical_text(value: Any) -> str:
    """Equal values give equal text, however many zeros a database or codec put behind the point.

    >>> canonical_text(Decimal("1.500000000")), canonical_text(Decimal("100")), canonical_text(None)
    ('1.5', '100', '-')
    """
    if isinstance(value, Decimal):
        return f"{value.normalize():f}" if value else "0"
    return "-" if value is None else str(value)

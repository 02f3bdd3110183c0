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

_HISTORY: tuple[type, ...] = (Order, RiskFence, Execution, LotMatch)


class Decisions:
    """Folds records in, in the order their stages wrote them; each repeat-free. Memory is one row a position and
    open lot.
    """

    def __init__(self) -> None:
        self._history = {kind: hashlib.sha256() for kind in _HISTORY}
        self._positions: dict[str, Position] = {}
        self._lots: dict[str, Lot] = {}
        self._cash: Decimal | None = None

    def add(self, record: Any) -> None:
        kind = type(record)
        if kind in self._history:
            self._history[kind].update(line(record).encode())
        elif kind is Position:
            self._positions[record.symbol] = record
        elif kind is Lot:
            if record.quantity:
                self._lots[record.lot_id] = record
            else:
                self._lots.pop(record.lot_id, None)
        elif kind is Valuation:
            self._cash = record.cash

    def hexdigest(self) -> str:
        """64 hex digits."""
        final = hashlib.sha256()
        for kind in _HISTORY:
            final.update(self._history[kind].digest())
        for name in sorted(self._positions):
            final.update(line(self._positions[name]).encode())
        for name in sorted(self._lots):
            final.update(line(self._lots[name]).encode())
        final.update(text(self._cash).encode())
        return final.hexdigest()


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
    return "|".join([text(value) for value in record if not isinstance(value, list | tuple | dict)]) + "\n"


def text(value: Any) -> str:
    """Equal values give equal text, however many zeros a database or codec put behind the point.

    >>> text(Decimal("1.500000000")), text(Decimal("100")), text(None)
    ('1.5', '100', '-')
    """
    if isinstance(value, Decimal):
        return f"{value.normalize():f}" if value else "0"
    return "-" if value is None else str(value)

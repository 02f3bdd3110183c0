"""The symbols whose trading an exchange has halted, from `TradingStatus` records."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from schemas.records import HALTED, TradingStatus

VERSION = 1
EXCHANGE_HALT: Final = "exchange_halt"
"""Name of the risk check, and measure of the risk events about halts."""

BAR_NS_MAX: Final = 24 * 3600 * 1_000_000_000
"""The longest bar: one day."""


class ExchangeHalt(NamedTuple):
    """A halt from `from_ns` until `until_ns`, which is None while it lasts. `ts_ns` is the time of the last record."""

    from_ns: int
    until_ns: int | None
    ts_ns: int
    code: str
    reason: str

    @property
    def text(self) -> str:
        """The reason with its code."""
        return f"{self.reason or 'no reason given'}{f' ({self.code})' if self.code else ''}"


class ExchangeHalts:
    """The last halt of each symbol that has ever been halted."""

    def __init__(self) -> None:
        self._halts: dict[str, ExchangeHalt] = {}

    def __bool__(self) -> bool:
        """Whether a symbol has ever been halted."""
        return bool(self._halts)

    def apply(self, status: TradingStatus) -> bool:
        """Apply a record. Return whether it halts the symbol or resumes its trading.

        A record that is older than the last one of its symbol is ignored.
        """
        last = self._halts.get(status.symbol)
        is_halted = last is not None and last.until_ns is None
        if (status.state == HALTED) is is_halted or (last is not None and status.ts_ns < last.ts_ns):
            return False
        if status.state == HALTED:
            # A bar of this time slice may have opened in the halt before: both count as one.
            follows = last is not None and last.until_ns is not None and status.ts_ns - last.until_ns < BAR_NS_MAX
            from_ns = last.from_ns if last is not None and follows else status.ts_ns
            halt = ExchangeHalt(from_ns, None, status.ts_ns, status.code, status.reason)
        else:
            assert last is not None, "the symbol is halted"
            halt = last._replace(until_ns=status.ts_ns, ts_ns=status.ts_ns)
        self._halts[status.symbol] = halt
        return True

    def current(self, symbol: str) -> ExchangeHalt | None:
        """Return the halt of a symbol that is halted now; None if it trades."""
        halt = self._halts.get(symbol)
        return halt if halt is not None and halt.until_ns is None else None

    def contains(self, symbol: str, ts_ns: int) -> bool:
        """Whether a time is in the last halt of a symbol."""
        halt = self._halts.get(symbol)
        return halt is not None and halt.from_ns <= ts_ns and (halt.until_ns is None or ts_ns < halt.until_ns)

    def rename(self, symbol: str, new_symbol: str) -> None:
        """Move the last halt of a symbol to its new name, unless that is halted or was later.

        Without a new name (a delisted symbol), remove it.
        """
        halts = [one for one in (self._halts.pop(symbol, None), self._halts.get(new_symbol)) if one is not None]
        if halts and new_symbol:
            self._halts[new_symbol] = max(halts, key=lambda halt: (halt.until_ns is None, halt.ts_ns))

    def snapshot(self) -> Any:
        return (VERSION, {symbol: tuple(halt) for symbol, halt in self._halts.items()})

    def restore(self, snapshot: Any) -> None:
        version, halts = snapshot
        assert version == VERSION, f"exchange halts snapshot: version {version}, expected {VERSION}"
        # The same object, because the checks and the venue refer to it.
        self._halts.clear()
        self._halts.update({symbol: ExchangeHalt(*values) for symbol, values in halts.items()})

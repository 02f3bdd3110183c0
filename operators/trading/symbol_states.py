"""The memory of a trading strategy about single symbols (`ctx.state_of`), which follows them through renames."""

from __future__ import annotations

from typing import Any

from operators.trading.purity import plain_state


class SymbolStates:
    """One dict of plain values for each symbol. A dict that is empty after an evaluation is not stored."""

    __slots__ = ("_read", "_states")

    def __init__(self) -> None:
        self._states: dict[str, dict[Any, Any]] = {}
        self._read: dict[str, None] = {}  # in the current evaluation

    def get(self, symbol: str | None) -> dict[Any, Any]:
        """Return the state of a symbol, for changes in this evaluation. Without a symbol, it is not stored."""
        if symbol is None:
            return {}
        self._read[symbol] = None
        return self._states.setdefault(symbol, {})

    def commit(self) -> None:
        """End an evaluation. Raises BadInput for a value that a snapshot cannot hold."""
        if not self._read:
            return
        read, self._read = self._read, {}
        for symbol in read:
            state = plain_state(self._states.pop(symbol), f"ctx.state_of({symbol!r})")
            if state:
                self._states[symbol] = state

    def end(self, symbol: str, successor: str | None) -> None:
        """Move the state of a symbol that has ended to its successor, unless that has one; None removes it."""
        state = self._states.pop(symbol, None)
        if state is not None and successor is not None:
            self._states.setdefault(successor, state)

    def clear(self) -> None:
        self._states, self._read = {}, {}

    def snapshot(self) -> Any:
        return [(symbol, plain_state(state)) for symbol, state in self._states.items()]

    def restore(self, snapshot: Any) -> None:
        self._states = {symbol: plain_state(state) for symbol, state in snapshot}

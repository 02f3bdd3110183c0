"""Time limits of the handlers of strategies, without a clock: what a stage does if a handler exceeds its limit.

A `HandlerLimit` outside the stage measures whether a call exceeds its limit. It records the result as a
`HandlerTimeout`, an input record of the time slice of the call. A stage that receives the record does not call the
handler, and suspends the strategy as after an exception. A restart and a replay therefore decide alike on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from operators.raised_error import RaisedError
from schemas.records import (
    PROCESSOR_TIME,
    Bar,
    FeatureRow,
    HandlerTimeout,
    HistoryBar,
    HistoryRow,
    HistoryTrade,
    Prediction,
    Quote,
    Record,
    Trade,
)

HANDLER_TIME_LIMIT = "HandlerTimeLimit"
"""`error_type` of the suspension of a strategy whose handler exceeded its time limit."""


_TYPES_OF_SHARD = frozenset({Bar, FeatureRow, HistoryBar, HistoryRow, HistoryTrade, Prediction, Quote, Trade})
"""Record types that only the shard of their symbol receives. Other records have symbols of all shards."""


class HandlerCall(NamedTuple):
    """One call of a handler. `number` counts the calls of the strategy (on the symbol) in the time slice, from 1.

    `symbol` is that of a view strategy, "" for a trading strategy. Indicators and models are called like view
    strategies, with a `strategy` such as `indicator:own_range_2` and `model:NAME`. `file` is the source file of the
    handler. `later` returns the calls that the time slice still allows on other symbols: (symbol, first number).
    """

    ts_ns: int
    strategy: str
    symbol: str
    number: int
    handler: str
    file: str
    later: Callable[[], list[tuple[str, int]]] = list


class HandlerTimedOut(Exception):
    """A handler exceeded its time limit. The call has no effect."""

    def __init__(self, timeout: HandlerTimeout) -> None:
        super().__init__(describe_timeout(timeout))
        self.timeout = timeout


class HandlerLimit(Protocol):
    """Calls handlers and measures their time. It belongs to the edge, because it reads a clock."""

    def run(self, call: HandlerCall, handler: Callable[..., Any], *arguments: Any) -> Any:
        """Call the handler and return what it returns. Raises what it raises, and HandlerTimedOut."""
        ...


class HandlerCalls:
    """Calls the handlers of a stage under its limit. Call `begin` first in every time slice.

    Without a limit, as in a replay, a handler may run for any time. A call with a recorded timeout, and later calls on
    the same symbol in the time slice, are never made.
    """

    def __init__(self, limit: HandlerLimit | None = None) -> None:
        self._limit = limit
        self._ts_ns = 0
        self._records: Sequence[Record] = ()
        self._counts: dict[tuple[str, str], int] = {}
        self._timeouts: dict[tuple[str, str], HandlerTimeout] = {}

    def begin(self, ts_ns: int, records: Sequence[Record]) -> bool:
        """Begin a time slice, whose recorded timeouts are its first `records`. Return whether calls must use `run`."""
        self._ts_ns, self._records = ts_ns, records
        self._counts.clear()
        self._timeouts.clear()
        for record in records:
            if type(record) is not HandlerTimeout:
                break
            self._timeouts.setdefault((record.strategy, record.symbol), record)
        return self._limit is not None or bool(self._timeouts)

    def run(self, strategy: str, symbol: str, handler: Callable[..., Any], file: str, *arguments: Any) -> Any:
        """Call a handler. Raises what it raises, and HandlerTimedOut."""
        number = self._counts[strategy, symbol] = self._counts.get((strategy, symbol), 0) + 1
        timeout = self.recorded(strategy, symbol, number)
        if timeout is not None:
            raise HandlerTimedOut(timeout)
        if self._limit is None:
            return handler(*arguments)
        call = HandlerCall(
            ts_ns=self._ts_ns,
            strategy=strategy,
            symbol=symbol,
            number=number,
            handler=getattr(handler, "__name__", "handler"),
            file=file,
            later=lambda: self._later_calls(strategy, symbol),
        )
        try:
            return self._limit.run(call, handler, *arguments)
        except HandlerTimedOut as timed_out:
            for one in timeouts_of(call, timed_out.timeout):  # as after the restart of a live service
                self._timeouts.setdefault((one.strategy, one.symbol), one)
            raise

    def recorded(self, strategy: str, symbol: str, number: int) -> HandlerTimeout | None:
        """Return the recorded timeout because of which a call must not be made."""
        timeout = self._timeouts.get((strategy, symbol))
        return timeout if timeout is not None and number >= timeout.call else None

    def _later_calls(self, strategy: str, symbol: str) -> list[tuple[str, int]]:
        if not symbol:  # a trading strategy is suspended at once
            return []
        symbols = {getattr(record, "symbol", "") for record in self._records if type(record) in _TYPES_OF_SHARD}
        others = sorted(symbols - {symbol})
        return [(other, self._counts.get((strategy, other), 0) + 1) for other in others]


def timeouts_of(call: HandlerCall, timeout: HandlerTimeout) -> list[HandlerTimeout]:
    """Return the records of a call that exceeded its limit.

    A view strategy that does not return on one symbol is not called on the others in this time slice either, or each
    of them would take as long.
    """
    return [timeout, *(timeout._replace(symbol=symbol, call=number) for symbol, number in call.later())]


def timeout_error(timeout: HandlerTimeout) -> RaisedError:
    """Return a timeout in the form of a raised exception, for the suspension of the strategy."""
    return RaisedError(HANDLER_TIME_LIMIT, describe_timeout(timeout), timeout.file, timeout.line)


def describe_timeout(timeout: HandlerTimeout) -> str:
    """
    >>> describe_timeout(HandlerTimeout(0, "pairs", "", 1, "on_slice", "PROCESSOR_TIME", 5.0, "pairs.py", 12))
    'on_slice did not return within its limit of 5 s of processor time'
    """
    measure = "processor time" if timeout.measure == PROCESSOR_TIME else "waiting time"
    return f"{timeout.handler} did not return within its limit of {timeout.limit_s:g} s of {measure}"

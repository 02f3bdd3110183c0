"""The state of one symbol in the features stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from operators.indicator_calls import IndicatorCalls, IndicatorUpdate
from operators.indicators import Indicator, NoConversion
from operators.raised_error import RaisedError
from operators.suspended_analysis import describe_indicator_error


class SymbolHistory(NamedTuple):
    """The `HistoryBar`s of a symbol: number of its last row, end of the last bar, day whose shares they are in."""

    row_seq: int
    end_ns: int
    adjusted_day: int


class SymbolFeatures:
    """One symbol's indicators by spec, last close and number of rows. Suspended indicators are not updated.

    `first_seq` is the number of the first row of the company that trades under the symbol.
    """

    __slots__ = ("_calls", "_functions", "_specs", "close", "first_seq", "indicators", "seq", "suspended", "updates")

    def __init__(
        self,
        specs: Sequence[str],
        indicators: list[Indicator],
        calls: IndicatorCalls,
        seq: int,
        close: float = 0.0,
        first_seq: int = 1,
    ) -> None:
        self._specs, self._calls = specs, calls
        self.indicators = indicators
        self.seq = seq
        self.close = close
        self.first_seq = first_seq
        self.suspended: set[int] = set()
        self.updates: list[IndicatorUpdate] = []
        self._functions: list[IndicatorUpdate] = []
        self.select_updates()

    def select_updates(self) -> None:
        """Select the function to call at a bar for each indicator, and those of the indicators that run."""
        pairs = zip(self._specs, self.indicators, strict=True)
        self._functions = [self._calls.update_of(spec, one) for spec, one in pairs]
        self._select_running()

    def _select_running(self) -> None:
        self.updates = [one for index, one in enumerate(self._functions) if index not in self.suspended]

    def index_of(self, update: IndicatorUpdate) -> int:
        """Return the index of the indicator of one of the `updates`."""
        return self._functions.index(update)

    def suspend(self, index: int) -> None:
        """Stop updating the indicator at `index`."""
        self.suspended.add(index)
        self._select_running()

    def quote_readers(self) -> list[int]:
        """Return the indices of the indicators that read quotes and are not suspended."""
        return [
            index
            for index, indicator in enumerate(self.indicators)
            if index not in self.suspended and any(one.reads_quotes for one in indicator.components)
        ]

    def rescale(self, symbol: str, factor: float, create: Callable[[str], Indicator]) -> list[tuple[str, RaisedError]]:
        """Convert the indicators after a split. One that is suspended or cannot be converted warms up again.

        Returns the spec and the exception of each indicator that raised.
        """
        errors: list[tuple[str, RaisedError]] = []
        for index, (spec, indicator) in enumerate(zip(self._specs, self.indicators, strict=True)):
            try:
                if index in self.suspended:
                    self.indicators[index] = create(spec)
                else:
                    self._calls.run(spec, indicator, symbol, indicator.rescale, factor)
            except NoConversion:
                self.indicators[index] = create(spec)
            except Exception as error:  # noqa: BLE001  (may be code of the user)
                errors.append((spec, describe_indicator_error(error, indicator)))
                self.indicators[index] = create(spec)
        self.suspended.clear()
        self.select_updates()
        return errors

"""A desk of trading strategies whose records include its inputs, for tables that a test writes."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.records import Record
from tests.unit.trading_desk import TradingDesk


class RecordedDesk(TradingDesk):
    """A `TradingDesk` whose `records` contain the bars, feature rows and other inputs of each time slice too."""

    def on_slice(self, ts_ns: int, bars: Sequence[Record], records: Sequence[Record] = ()) -> None:
        inputs = [*records, *bars, *self._features.on_slice(ts_ns, bars)]
        self.records += [*inputs, *self._loop.on_slice(ts_ns, inputs)]

"""Add the commands of an orders tape to the time slices of a feed.

A command inside a bar belongs to the bar's time slice. While no bar is open, a command has a time slice of its own, as
in live trading, so that the order works from the next bar's open on.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from operator import not_
from typing import Any, TypeGuard

from dataflows.sources.feed_source import MarketFeed
from dataflows.sources.row_times import iso
from dataflows.sources.tape.orders import TapeOrder
from operators.bar_completion import OPENING_PRICE_SEQ
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import (
    CASH_DIVIDEND,
    PRE,
    REGULAR,
    RIGHTS,
    SPIN_OFF,
    Bar,
    Command,
    CorporateAction,
    DeadLetter,
    Record,
)
from schemas.suggestions import did_you_mean

STATE_VERSION = 2


def _is_converting(record: Record) -> TypeGuard[CorporateAction]:
    """Whether the record is a corporate action that converts or cancels the open orders of its symbol."""
    return type(record) is CorporateAction and record.kind not in (CASH_DIVIDEND, SPIN_OFF, RIGHTS)


def _opening_price(bar: Bar, interval_ns: int) -> Bar:
    """Return a bar without a trade at the open of a symbol's first bar, as its first known price.

    It belongs to the session before, so that the regular session opens with the first bar.
    """
    return bar._replace(
        seq=OPENING_PRICE_SEQ,
        ts_ns=bar.open_ns,
        open_ns=bar.open_ns - interval_ns,
        high=bar.open,
        low=bar.open,
        close=bar.open,
        volume=0.0,
        session=PRE if bar.session == REGULAR else bar.session,
        traded=False,
    )


class FeedWithOrders:
    """A feed with the commands of an orders tape added to its time slices. Orders before `start_ns` are left out.

    Commands while no bar is open have a time slice at their time, with the feed's other records up to then. Those of a
    symbol without a bar so far wait for its first bar. If no earlier time slice is in the way, they enter at its open,
    with a bar without a trade at this price (`_opening_price`), because risk refuses an order without a known price.
    Otherwise they enter with the bar. So do those after a split that takes effect with the next bar: they are in new
    shares, and the split converts the orders that are open by then.
    """

    def __init__(self, feed: MarketFeed, orders: Sequence[TapeOrder], start_ns: int | None = None) -> None:
        self._feed = feed
        self._orders = [order for order in orders if start_ns is None or order.time_ns >= start_ns]
        self._early = len(orders) - len(self._orders)
        self._next = 0
        self._waiting: list[int] = []  # numbers of the orders that wait for the first bar of their symbol
        self._symbols: set[str] = set()
        self._last_ns = 0  # time of the last time slice

    @property
    def interval_ns(self) -> int:
        return self._feed.interval_ns

    @property
    def finished(self) -> bool:
        return self._feed.finished

    def take(self, count: int) -> list[TimeSlice]:
        """Return the feed's next time slices, at most `count`, and those of commands between them."""
        return [merged for time_slice in self._feed.take(count) for merged in self._with_orders(time_slice)]

    def _with_orders(self, time_slice: TimeSlice) -> list[TimeSlice]:
        """Return the time slice with the commands of its bars, after the time slices of commands before its bars."""
        due, orders, last_ns = self._waiting, self._orders, self._last_ns
        while self._next < len(orders) and orders[self._next].time_ns <= time_slice.ts_ns:
            due = [*due, self._next]
            self._next += 1
        self._last_ns, records = time_slice.ts_ns, time_slice.records
        bars = {record.symbol: record for record in records if type(record) is Bar}
        if not due:
            self._symbols.update(bars)
            return [time_slice]
        open_ns = min((bar.open_ns for bar in bars.values()), default=-1)
        split_ns = {
            action.symbol: action.ts_ns for action in filter(_is_converting, reversed(records))
        }  # the first one
        before: dict[int, list[Record]] = {}
        inside: list[Command] = []
        priced: set[str] = set()
        self._waiting = []
        for number in due:
            order = orders[number]
            symbol, enters_ns = order.symbol, order.time_ns
            if symbol not in self._symbols:
                if symbol not in bars:
                    self._waiting.append(number)
                    continue
                enters_ns = bars[symbol].open_ns if enters_ns <= bars[symbol].open_ns > last_ns else time_slice.ts_ns
            if enters_ns >= min(open_ns + 1, split_ns.get(symbol, open_ns + 1)):
                inside.append(order.command)
                continue
            commands = before.setdefault(enters_ns, [])
            if symbol not in self._symbols and symbol not in priced:
                priced.add(symbol)
                commands.append(_opening_price(bars[symbol], self.interval_ns))
            commands.append(order.command)
        self._symbols.update(bars)
        out = []
        for time_ns in sorted(before):
            is_known = [type(record) not in (Bar, DeadLetter) and record.ts_ns <= time_ns for record in records]
            known = list(compress(records, is_known))
            records = list(compress(records, map(not_, is_known)))
            out.append(TimeSlice(time_ns, [*before[time_ns], *known]))
        return [*out, TimeSlice(time_slice.ts_ns, [*inside, *records])]

    def check_end(self, file_name: str) -> list[str]:
        """Return warnings about orders outside the period of the bars, after the last time slice.

        Raises BadInput for an order of a symbol without bars.
        """
        for order in self._orders[: self._next]:
            if order.symbol not in self._symbols:
                raise BadInput(
                    f"{file_name} line {order.line}: no bars of symbol {order.symbol!r}"
                    f"{did_you_mean(order.symbol, self._symbols)}"
                )
        warnings = []
        if self._early:
            warnings.append(f"{file_name}: {self._early} rows before the start were left out")
        late = self._orders[self._next :]
        if late:
            warnings.append(
                f"{file_name}: {len(late)} rows after the last bar had no effect, the first in line {late[0].line} at "
                f"{iso(late[0].time_ns)}"
            )
        return warnings

    def due_ns(self) -> int | None:
        return self._feed.due_ns()

    def state(self) -> dict[str, Any]:
        own = {"next": self._next, "waiting": self._waiting, "symbols": sorted(self._symbols), "last_ns": self._last_ns}
        return {"v": STATE_VERSION, **own, "feed": self._feed.state()}

    def resume(self, state: dict[str, Any] | None) -> FeedWithOrders:
        if state is not None:
            version = state["v"]
            assert version in (1, STATE_VERSION), f"orders tape state of version {version}, expected {STATE_VERSION}"
            self._next, self._symbols = state["next"], set(state["symbols"])
            # Version 1 has no waiting orders.
            self._waiting, self._last_ns = list(state.get("waiting", ())), state.get("last_ns", 0)
            self._feed = self._feed.resume(state["feed"])
        return self

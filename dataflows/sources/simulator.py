"""Seeded market simulator that trades 24/7, for running the platform without an API key.

A bar is a pure function of (seed, symbol, bar index); the index is the bar's open time in intervals since 1970. Only
the pace depends on a clock: a time slice is emitted when the wall clock has passed its end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from operators.bar_completion import Minute, MinuteCompletion, MinuteRow
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import CONTINUOUS, Trade

STATE_VERSION = 1
NO_TRADE_PROBABILITY = 0.04
REPLAY_NS = 60 * 1_000_000_000
_MASK = (1 << 64) - 1
_ORDER_STREAM = 1000  # number of the stream of random numbers; the streams of the price have lower numbers
# The log price is a sum of smooth waves (period in bars, size). All are bounded, so the price reverts.
Waves = tuple[tuple[int, float], ...]
_LONG_WAVES: Waves = ((14_401, 0.03), (86_399, 0.08))
TRENDING: Waves = ((3, 0.00003), (11, 0.00005), (61, 0.0015), (307, 0.006), (1801, 0.012), *_LONG_WAVES)
"""Trends of one to several minutes of 1-second bars, with little noise: moving averages cross a few times in ten
minutes, and the moves between two crosses exceed the costs of a trade. A strategy that follows trends earns here, by
construction; that is not evidence about real markets."""
CHOPPY: Waves = ((3, 0.0002), (11, 0.0022), (61, 0.001), (307, 0.003), (1801, 0.01), *_LONG_WAVES)
"""Noise: moving averages cross every quarter of a minute of 1-second bars. For tests that need many trades."""
WAVES = {"trending": TRENDING, "choppy": CHOPPY}


class PricePath:
    """One symbol's bars, in any order, without state. Prices lie between about 18 and 450, in whole cents."""

    def __init__(self, seed: int, symbol: str, waves: Waves = TRENDING) -> None:
        self._waves = waves
        self._base = int.from_bytes(blake2b(f"{seed}:{symbol}".encode(), digest_size=8).digest(), "big")
        self._level = 20.0 * math.exp(3.0 * self._uniform(0, 0))

    def row(self, symbol: str, index: int) -> MinuteRow | None:
        """Return the bar of one index, or None if nothing trades (about one in 25)."""
        if self._uniform(1, index) < NO_TRADE_PROBABILITY:
            return None
        open_price, close = self.price(index), self.price(index + 1)
        high = round(max(open_price, close) * (1 + 0.0003 * self._uniform(2, index)), 2)
        low = round(min(open_price, close) * (1 - 0.0003 * self._uniform(3, index)), 2)
        volume = float(round(100 * math.exp(3 * self._uniform(4, index))))
        return MinuteRow(symbol=symbol, open=open_price, high=high, low=low, close=close, volume=volume)

    def is_low_first(self, index: int) -> bool:
        """Whether the low of a bar comes before its high."""
        return self._uniform(_ORDER_STREAM, index) < 0.5

    def price(self, index: int) -> float:
        """Return the price at the open of bar `index`, which is the close of the previous one."""
        log_price = 0.0
        for number, (period, size) in enumerate(self._waves, 5):
            step, remainder = divmod(index, period)
            fraction = remainder / period
            fraction = fraction * fraction * (3 - 2 * fraction)
            before, after = self._uniform(number, step), self._uniform(number, step + 1)
            log_price += size * (2 * (before + (after - before) * fraction) - 1)
        return round(self._level * math.exp(log_price), 2)

    def _uniform(self, stream: int, index: int) -> float:
        """Hash the arguments to [0, 1) with splitmix64's finalizer."""
        x = (self._base + stream * 0xD1B54A32D192ED03 + index * 0x9E3779B97F4A7C15) & _MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
        return (x ^ (x >> 31)) / 2.0**64


class Simulator:
    """Time slices of simulated bars, 24/7, on whole intervals of the wall clock.

    `interval_s` must divide a day. `now_ns` sets the pace: a time slice is due when it has passed the slice's `ts_ns`.
    With `fast`, every slice is due at once, from `start_ns` on (default: now). The simulator ends after
    `end_after_slices`, else never.

    With `with_trades`, each bar that traded has four trades: at its open, its high and low in either order, and its
    close. Their sizes sum to its volume.

    A resumed simulator emits the time slices of the minute after its state, or of the `repeated_s` after it if that is
    longer, possibly again. The records are identical, so this restores what a crash lost between the snapshot and the
    topic. Then it continues at the present: the rest of the downtime has no bars, and `seq` has no gap.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        seed: int,
        *,
        interval_s: int = 1,
        waves: Waves = TRENDING,
        now_ns: Callable[[], int] = time.time_ns,
        start_ns: int | None = None,
        end_after_slices: int | None = None,
        fast: bool = False,
        with_trades: bool = False,
        repeated_s: int = 0,
    ) -> None:
        if not symbols or len(set(symbols)) != len(symbols) or not all(symbols):
            raise BadInput(f"the simulator needs distinct symbols, found {', '.join(symbols) or 'none'}")
        if interval_s < 1 or 86_400 % interval_s:
            raise BadInput(f"the simulator's interval_s must divide 86400, found {interval_s}")
        self.interval_ns = interval_s * 1_000_000_000
        self._paths = {symbol: PricePath(seed, symbol, waves) for symbol in sorted(symbols)}
        self._now_ns, self._fast, self._end_after_slices = now_ns, fast, end_after_slices
        self._completion = MinuteCompletion()
        self._with_trades = with_trades
        self._repeated_ns = max(REPLAY_NS, repeated_s * 1_000_000_000, self.interval_ns)
        self._trade_seqs: dict[str, int] = {}
        self._slice_count = 0
        self._next_open_ns = self._floor(now_ns() if start_ns is None else start_ns)
        self._skip_from_open_ns: int | None = None  # from this open on, a resumed simulator skips to the present

    @property
    def finished(self) -> bool:
        return self._end_after_slices is not None and self._slice_count >= self._end_after_slices

    def __iter__(self) -> Iterator[TimeSlice]:
        return self

    def __next__(self) -> TimeSlice:
        """Return the next due time slice; iteration ends if none is due."""
        time_slices = self.take(1)
        if not time_slices:
            raise StopIteration
        return time_slices[0]

    def take(self, count: int) -> list[TimeSlice]:
        """Return the due time slices, at most `count`, oldest first."""
        time_slices: list[TimeSlice] = []
        now_ns = None if self._fast else self._now_ns()
        while len(time_slices) < count and not self.finished:
            self._skip_to_present(now_ns)
            if now_ns is not None and self._next_open_ns + self.interval_ns > now_ns:
                break
            time_slices.append(self._build_slice(self._next_open_ns))
            self._next_open_ns += self.interval_ns
            self._slice_count += 1
        return time_slices

    def due_ns(self) -> int | None:
        """Return the wall-clock time from which `take` has a time slice, or None for at once."""
        return None if self._fast else self._next_open_ns + self.interval_ns

    def state(self) -> dict[str, Any]:
        """Return the position after the last emitted time slice, as plain data."""
        # States of earlier releases have no trades.
        trades = {"trades": dict(self._trade_seqs)} if self._trade_seqs else {}
        return trades | {
            "v": STATE_VERSION,
            "next_open": self._next_open_ns,
            "ticks": self._slice_count,
            "minutes": self._completion.snapshot(),
        }

    def resume(self, state: dict[str, Any] | None) -> Simulator:
        """Continue after the time slice at which `state()` was called, as the class docstring describes."""
        if state is None:
            return self
        assert state["v"] == STATE_VERSION, f"simulator state of version {state['v']}, expected {STATE_VERSION}"
        # After a change of the interval, the next bar begins on a whole interval.
        self._next_open_ns, self._slice_count = self._ceil(state["next_open"]), state["ticks"]
        self._completion.restore(state["minutes"])
        self._trade_seqs = dict(state.get("trades", {}))
        self._skip_from_open_ns = self._next_open_ns + self._repeated_ns
        return self

    def _skip_to_present(self, now_ns: int | None) -> None:
        if now_ns is None or self._skip_from_open_ns is None or self._next_open_ns < self._skip_from_open_ns:
            return
        self._next_open_ns = max(self._next_open_ns, self._floor(now_ns) - self.interval_ns)
        self._skip_from_open_ns = None

    def _floor(self, ns: int) -> int:
        return ns - ns % self.interval_ns

    def _ceil(self, ns: int) -> int:
        return ns + -ns % self.interval_ns

    def _build_slice(self, open_ns: int) -> TimeSlice:
        index = open_ns // self.interval_ns
        rows = [row for symbol, path in self._paths.items() if (row := path.row(symbol, index)) is not None]
        day = datetime.fromtimestamp(open_ns // 1_000_000_000, UTC)
        trading_day = day.year * 10_000 + day.month * 100 + day.day
        minute = Minute(open_ns, open_ns + self.interval_ns, CONTINUOUS, trading_day)
        trades = [trade for row in rows for trade in self._trades(row, open_ns)] if self._with_trades else []
        return TimeSlice(minute.ts_ns, [*trades, *self._completion.complete(minute, rows)])

    def _trades(self, row: MinuteRow, open_ns: int) -> Iterator[Trade]:
        """Yield the trades of a bar, in order of time."""
        low_first = self._paths[row.symbol].is_low_first(open_ns // self.interval_ns)
        extremes = (row.low, row.high) if low_first else (row.high, row.low)
        size = row.volume // 4
        for number, price in enumerate((row.open, *extremes, row.close), 1):
            self._trade_seqs[row.symbol] = seq = self._trade_seqs.get(row.symbol, 0) + 1
            yield Trade(
                symbol=row.symbol,
                seq=seq,
                ts_ns=open_ns + number * self.interval_ns // 5,
                price=price,
                size=row.volume - 3 * size if number == 4 else size,
            )

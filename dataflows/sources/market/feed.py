"""The live feed: one clock for everything, minutes closed when their bars are there, gaps that show.

The clock goes on every `clock_ms`, with or without records. A minute is closed once every symbol's bar has come, or
`wait_s` after its end; until then the clock stays in front of it, so that no bar comes behind its log's clock. A symbol
that did not trade gets a no-trade bar. A minute of which nobody knows anything gets none at all: its prices grow old,
which is what risk looks at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from dataflows.sources.calendars import TradingCalendar
from dataflows.sources.market.clock_recovery import Written
from dataflows.sources.market.provider import Provider, QuoteSeen, Rows
from operators.bar_completion import Minute, MinuteCompletion
from operators.stage import Tick
from schemas.errors import BadInput
from schemas.records import CONTINUOUS, REGULAR, Command, DeadLetter, Quote, Record, Trade

log = structlog.get_logger(__name__)

STATE_VERSION = 1
STAGE = "market_data"
SWITCHED, SECOND_NS, MILLI_NS = "FEED_SWITCHED", 1_000_000_000, 1_000_000
LOOK_NS = 20 * MILLI_NS
_MUST_TRADE = (REGULAR, CONTINUOUS)


@dataclass(frozen=True, kw_only=True)
class LiveFeedSettings:
    """`symbols` are expected in every minute; `backfill_minutes_max`: so many missed ones are asked for at a start."""

    symbols: tuple[str, ...]
    calendar: str = "XNYS"
    session: str = "extended"
    bar_interval_s: int = 60
    clock_ms: int = 250
    wait_s: float = 5.0
    backfill_minutes_max: int = 960

    def __post_init__(self) -> None:
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise BadInput(f"a live feed needs different symbols, found {', '.join(self.symbols) or 'none'}")
        if self.clock_ms < 10 or (self.bar_interval_s * 1000) % self.clock_ms:
            raise BadInput(f"setting clock_ms must be at least 10 and divide a bar's length, found {self.clock_ms}")


class LiveFeed:
    """A `Feed` (`dataflows/sources/feed.py`) over providers, the preferred one first.

    `written` reads what stands in the feed's own topics, from a wall-clock time on or from their beginning: after a
    crash a part of a tick may be there that no snapshot knows.
    """

    def __init__(
        self,
        settings: LiveFeedSettings,
        providers: Sequence[Provider],
        written: Callable[[int | None], Written],
        *,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._settings, self._providers, self._written, self._now_ns = settings, list(providers), written, now_ns
        self._calendar = TradingCalendar(settings.calendar, settings.session)
        self._completion = MinuteCompletion()
        self._expected = frozenset(settings.symbols)
        self._step_ns = settings.clock_ms * MILLI_NS
        self.interval_ns = settings.bar_interval_s * SECOND_NS
        self._clock_ns = -1
        self._active = 0
        self._quote_seq: dict[str, int] = {}
        self._trade_seq: dict[str, int] = {}
        self._quotes: dict[str, QuoteSeen] = {}  # the latest of each symbol that is not yet in a tick
        self._aside: list[Record] = []  # trades and notes for the next tick
        self._missed: dict[int, Rows] = {}  # bars of minutes that passed while the feed was off
        self._in_log: dict[str, int] = {}  # symbol -> end of its last bar that an earlier process wrote
        self._minutes: Iterator[Minute] = iter(())
        self._minute = Minute(0, 0, "", 0)
        self._looked_ns = 0
        self._opened = False

    @property
    def finished(self) -> bool:
        return False

    def due_ns(self) -> int | None:
        """The next step of the clock, or the next look at a minute that waits for its bars."""
        return max(self._clock_ns + self._step_ns, self._looked_ns + LOOK_NS) if self._opened else None

    def stop(self) -> None:
        """Let go of the providers."""
        for provider in self._providers:
            provider.stop()

    # -- ticks

    def take(self, count: int) -> list[Tick]:
        """The ticks that are due, at most `count`."""
        if not self._opened:
            self._open(self._written(None))
        self._looked_ns = now = self._now_ns()
        self._listen()
        ticks: list[Tick] = []
        while len(ticks) < count:
            minute, target = self._minute, now // self._step_ns * self._step_ns
            if minute.ts_ns <= target:
                rows = self._closing(minute, now)
                if rows is not None:
                    ticks.append(self._tick(minute.ts_ns, self._bars(minute, rows)))
                    self._minute = next(self._minutes)
                    continue
                target = minute.ts_ns - self._step_ns
            if target > self._clock_ns:
                ticks.append(self._tick(target, []))
            break
        return ticks

    def _tick(self, ts_ns: int, bars: Sequence[Record]) -> Tick:
        records: list[Record] = []
        for symbol in sorted(self._quotes):
            seen = self._quotes[symbol]
            self._quote_seq[symbol] = seq = self._quote_seq.get(symbol, 0) + 1
            records.append(Quote(symbol, seq, ts_ns, *seen[1:]))
        records += bars
        records += self._aside
        self._quotes, self._aside, self._clock_ns = {}, [], ts_ns
        return Tick(ts_ns, records)

    def _listen(self) -> None:
        """Quotes as the latest of each symbol, trades each; of all providers only the one in use is heard. What a
        provider could not take in becomes a dead letter, whoever it is from.
        """
        for at, provider in enumerate(self._providers):
            quotes, trades = provider.seen()
            self._aside += [
                DeadLetter(f"feed:{provider.name}", 0, bad.at_ns, STAGE, self._clock_ns, bad.reason, None, bad.raw)
                for bad in provider.set_aside()
            ]
            if at != self._active:
                continue
            for quote in quotes:
                if 0.0 < quote.bid <= quote.ask and quote.symbol in self._expected:
                    self._quotes[quote.symbol] = quote
            for trade in trades:
                self._trade_seq[trade.symbol] = seq = self._trade_seq.get(trade.symbol, 0) + 1
                self._aside.append(Trade(trade.symbol, seq, trade.ts_ns, trade.price, trade.size))

    # -- minutes

    def _closing(self, minute: Minute, now: int) -> Rows | None:
        """The minute's rows; None while it is worth waiting; empty and noted where nobody knows anything."""
        if minute.open_ns in self._missed:
            return self._missed.pop(minute.open_ns)
        over = now - minute.ts_ns >= self._settings.wait_s * SECOND_NS
        wells = [provider.unwell(minute, now) for provider in self._providers]
        preferred = next((at for at, unwell in enumerate(wells) if not unwell), None)
        if preferred is None:
            return {} if over else None
        rows = self._providers[preferred].rows(minute)
        if not (over or self._expected <= rows.keys()):
            return None
        if not rows and minute.session in _MUST_TRADE:
            preferred, rows = self._next_best(minute, wells, preferred)
        if preferred != self._active:
            self._switch(preferred, wells[self._active] or "it has no bars of this minute", minute)
        return rows

    def _next_best(self, minute: Minute, wells: list[str], preferred: int) -> tuple[int, Rows]:
        """Where the preferred provider is well and yet silent in a minute in which something should have traded."""
        for at, unwell in enumerate(wells):
            if at > preferred and not unwell and (rows := self._providers[at].rows(minute)):
                return at, rows
        return preferred, {}

    def _bars(self, minute: Minute, rows: Rows) -> Sequence[Record]:
        known = {symbol: row for symbol, row in rows.items() if symbol in self._expected}
        silent = not known and (minute.session in _MUST_TRADE or self._all_unwell(minute))
        if silent:
            log.warning("no bars of a minute from any provider", open_ns=minute.open_ns)
            return []
        before = self._completion.snapshot()["symbols"] if self._in_log else {}
        bars = self._completion.complete(minute, known.values())
        there = {symbol for symbol, ts_ns in self._in_log.items() if ts_ns >= minute.ts_ns}
        if not there:
            self._in_log = {}
            return bars
        # Cut off in the middle of this minute, an earlier process has written these: their count stays as it was.
        after = self._completion.snapshot()
        kept = {symbol: before[symbol] for symbol in there if symbol in before}
        self._completion.restore({**after, "symbols": {**after["symbols"], **kept}})
        return [bar for bar in bars if bar.symbol not in there]

    def _all_unwell(self, minute: Minute) -> bool:
        now = self._now_ns()
        return all(provider.unwell(minute, now) for provider in self._providers)

    def _switch(self, to: int, reason: str, minute: Minute) -> None:
        """On record as a command that asks nothing of anybody: who looks at the bars sees whose they are."""
        names = (self._providers[self._active].name, self._providers[to].name)
        if to < self._active:
            reason = f"{names[1]} is well again"
        log.warning("feed switched", left=names[0], to=names[1], reason=reason)
        told = {"from": names[0], "to": names[1]}
        self._aside.append(Command(f"feed-{minute.ts_ns}-{names[1]}", minute.ts_ns, SWITCHED, STAGE, reason, told))
        self._active = to

    # -- start and restart

    def _open(self, written: Written) -> None:
        now = self._now_ns()
        self._opened = True
        self._clock_ns = max(self._clock_ns, written.passed_ns)
        self._completion.restore(written.onto(self._completion.snapshot()))
        self._in_log = {symbol: bar.ts_ns for symbol, bar in written.bars.items()}
        for symbol, seq in written.quotes.items():
            self._quote_seq[symbol] = max(seq, self._quote_seq.get(symbol, 0))
        for symbol, seq in written.trades.items():
            self._trade_seq[symbol] = max(seq, self._trade_seq.get(symbol, 0))
        # A minute that is under way at the first start is taken: its bar is the provider's, and whole.
        oldest = now - self._settings.backfill_minutes_max * 60 * SECOND_NS
        first_ns = now // self.interval_ns * self.interval_ns
        if self._clock_ns >= 0:
            # The next minute is the first that ends behind the clock.
            first_ns = max(self._clock_ns, oldest) // self.interval_ns * self.interval_ns
        self._minutes = self._calendar.minutes(first_ns, self.interval_ns)
        self._minute = next(self._minutes)
        for provider in self._providers:
            provider.start()
        if self._clock_ns >= 0 and self._minute.ts_ns <= now:
            self._backfill(now)

    def _backfill(self, now: int) -> None:
        """Bars of the minutes that passed while the feed was off, from the first provider that has any."""
        first_ns, end_ns = self._minute.open_ns, now // self.interval_ns * self.interval_ns
        found: dict[int, Rows] = {}
        for provider in self._providers:
            found = provider.history(first_ns, end_ns)
            if found:
                break
        missed = self._minute
        while missed.ts_ns <= end_ns - self.interval_ns or missed.open_ns in found:
            self._missed[missed.open_ns] = found.get(missed.open_ns, {})
            missed = next(self._minutes)
        self._minutes = self._calendar.minutes(self._minute.ts_ns, self.interval_ns)
        log.info("missed minutes", minutes=len(self._missed), with_bars=len(found))

    def state(self) -> dict[str, Any]:
        return {
            "v": STATE_VERSION,
            "clock_ns": self._clock_ns,
            "at_ns": self._now_ns(),
            "minutes": self._completion.snapshot(),
            "quotes": dict(self._quote_seq),
            "trades": dict(self._trade_seq),
            "active": self._active,
        }

    def resume(self, state: dict[str, Any] | None) -> LiveFeed:
        """Go on behind what stands in the topics, which may be more than the state knows."""
        if state is None:
            return self
        assert state["v"] == STATE_VERSION, f"unknown version of a live feed's state: {state['v']}"
        self._clock_ns = state["clock_ns"]
        self._completion.restore(state["minutes"])
        self._quote_seq, self._trade_seq = dict(state["quotes"]), dict(state["trades"])
        self._active = min(state["active"], len(self._providers) - 1)
        self._open(self._written(state["at_ns"]))
        return self

"""Live feed: one clock for all records, minutes that close when their bars have arrived, and visible gaps.

A time slice is closed when there is a reason (docs/decisions/0014-slices-on-demand.md): the bars of a minute are
complete, a record waits in a followed topic, quotes, trades or halts arrived and `clock_ms` has passed since the last
slice, or a timer of a service or a heartbeat is due. A minute closes when every symbol's bar has arrived, or `wait_s`
after its end; until then, the clock does not reach the end of the minute, so that no bar arrives after its clock
record. A symbol that did not trade gets a no-trade bar. A minute without data from any provider gets no bars: prices
become stale, and risk checks their age.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import structlog

from configs.settings import LiveFeedSection
from dataflows.sources.market.clock_recovery import FeedTopicState, Since
from dataflows.sources.market.live_history import load_history
from dataflows.sources.market.pending_updates import STAGE, PendingUpdates
from dataflows.sources.market.provider import Provider, RowsBySymbol
from dataflows.sources.market.slice_times import RESERVED_NS, SliceTimes
from dataflows.sources.market.waiting_records import WaitingRecords
from dataflows.sources.trading_calendar import TradingCalendar
from operators.bar_completion import Minute, MinuteCompletion
from operators.history_bars import bars_per_symbol, history_bars
from operators.stage import TimeSlice
from schemas.log_names import LogName
from schemas.records import CONTINUOUS, REGULAR, Command, HistoryBar, Record

log = structlog.get_logger(__name__)

STATE_VERSION = 2
TIMESTAMPS_VERSION = 1  # up to release 0.2.0: with the wall-clock time of the snapshot, without offsets
FEED_SWITCHED: Final = "FEED_SWITCHED"
SECOND_NS, MILLI_NS = 1_000_000_000, 1_000_000
RECHECK_NS = 5 * MILLI_NS
_ACTIVE_SESSIONS = (REGULAR, CONTINUOUS)


class Follower(Protocol):
    """Reports the records of other writers to `WaitingRecords`."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def raise_if_failed(self) -> None: ...


class LiveFeed:
    """A `MarketFeed` (`dataflows/sources/feed_source.py`) that reads from `providers`, in order of preference.

    `read_topic_state` reads the feed's own topics since a snapshot. After a crash, they may contain part of a time
    slice that is not in any snapshot. `delivered_offsets` returns, for each log, the offset after the last record that
    Kafka has acknowledged. `history_bars` is the number of bars that a symbol without a bar gets from a provider at a
    start. `waiting` reports why a time slice is due before its heartbeat, and `follower` fills it.
    """

    def __init__(
        self,
        settings: LiveFeedSection,
        providers: Sequence[Provider],
        read_topic_state: Callable[[Since], FeedTopicState],
        *,
        delivered_offsets: Callable[[], Mapping[LogName, int]] = dict,
        now_ns: Callable[[], int] = time.time_ns,
        sign: Callable[[Command], Command] = lambda command: command,
        history_bars: int = 0,
        waiting: WaitingRecords | None = None,
        follower: Follower | None = None,
    ) -> None:
        self._settings, self._providers = settings, list(providers)
        self._read_topic_state, self._delivered_offsets = read_topic_state, delivered_offsets
        self._now_ns, self._sign = now_ns, sign
        self._calendar = TradingCalendar(settings.calendar, settings.session)
        self._completion = MinuteCompletion()
        self._expected_symbols = frozenset(settings.symbols)
        self._times = SliceTimes(settings)
        self._waiting = WaitingRecords(settings.clock_ms * MILLI_NS) if waiting is None else waiting
        self._follower = follower
        self.interval_ns = settings.interval_ns
        self._clock_ns = -1
        self._missing_clocks: deque[int] = deque()  # clocks that an earlier process did not write to every topic
        self._read_from: Mapping[LogName, int] = {}  # the offsets from which `read_topic_state` found them
        self._read_to: Mapping[LogName, int] = {}  # the offsets to which it read
        self._active_provider = 0
        self._updates = PendingUpdates(settings.symbols)
        self._missed_minutes: dict[int, RowsBySymbol] = {}  # bars of minutes that passed while the feed was down
        self._bars_complete_to_ns: dict[str, int] = {}  # symbol -> up to which time an earlier process wrote its bars
        self._history_count = history_bars
        self._history_seq: dict[str, int] = {}
        self._history: list[HistoryBar] = []  # for the next time slice
        self._minutes: Iterator[Minute] = iter(())
        self._minute = Minute(0, 0, REGULAR, 0)
        self._checked_ns = 0
        self._is_open = False

    @property
    def finished(self) -> bool:
        return False

    def due_ns(self) -> int | None:
        """Return when the next time slice is due, or when an incomplete minute is checked again."""
        if not self._is_open:
            return None
        now_ns, minute = self._now_ns(), self._minute
        recheck_ns = self._checked_ns + RECHECK_NS
        timer_ns = self._waiting.next_timer_ns(self._times.event_ns(now_ns, minute))
        if self._missing_clocks:
            return recheck_ns
        times_ns = [recheck_ns if minute.ts_ns <= now_ns else minute.ts_ns]
        if now_ns < minute.ts_ns - RESERVED_NS:
            times_ns.append(self._times.due_ns(self._clock_ns, minute, has_updates=self._has_updates()))
            if timer_ns is not None and timer_ns <= minute.ts_ns - RESERVED_NS:
                times_ns.append(timer_ns)
        waiting_ns = self._waiting.due_in_ns()
        if waiting_ns is not None:
            possible = self._times.on_demand_ns(now_ns, self._clock_ns, minute) is not None
            times_ns.append(now_ns + waiting_ns if possible else recheck_ns)
        return min(times_ns)

    def stop(self) -> None:
        """Stop the providers and the follower."""
        for provider in self._providers:
            provider.stop()
        if self._follower is not None:
            self._follower.stop()

    # -- time slices

    def take(self, count: int) -> list[TimeSlice]:
        """Return the due time slices, at most `count`."""
        if not self._is_open:
            self._open(self._read_topic_state(None))
        if self._follower is not None:
            self._follower.raise_if_failed()
        self._checked_ns = now_ns = self._now_ns()
        self._updates.collect(self._providers, self._active_provider, self._clock_ns)
        time_slices = self._complete_clocks(count, now_ns)
        while len(time_slices) < count and not self._missing_clocks:
            minute = self._minute
            if minute.ts_ns <= now_ns:
                rows = self._closing_rows(minute, now_ns)
                if rows is not None:
                    time_slices.append(self._build_slice(minute.ts_ns, self._complete_bars(minute, rows)))
                    self._minute = next(self._minutes)
                    continue
            ts_ns = self._times.scheduled_ns(now_ns, self._clock_ns, minute, has_updates=self._has_updates())
            self._waiting.next_timer_ns(self._times.event_ns(now_ns, minute))
            if ts_ns is None and self._waiting.due_in_ns() == 0:
                ts_ns = self._times.on_demand_ns(now_ns, self._clock_ns, minute)
            if ts_ns is not None:
                time_slices.append(self._build_slice(ts_ns, []))
            break
        if not time_slices and self._waiting.due_in_ns() == 0:
            self._waiting.block(RECHECK_NS)
        return time_slices

    def _complete_clocks(self, count: int, now_ns: int) -> list[TimeSlice]:
        """Return time slices for the clocks that an earlier process did not write to every topic, at most `count`.

        They hold the missing bars of their minute and the bars before a start. Quotes wait for the next time slice: in
        a topic that has the clock already, they would be late.
        """
        time_slices: list[TimeSlice] = []
        while self._missing_clocks and len(time_slices) < count:
            ts_ns, bars = self._missing_clocks[0], list[Record]()
            while self._minute.ts_ns < ts_ns:  # of another bar interval than the earlier process had
                self._minute = next(self._minutes)
            if self._minute.ts_ns == ts_ns:
                rows = self._closing_rows(self._minute, now_ns)
                if rows is None:
                    break
                bars += self._complete_bars(self._minute, rows)
                self._minute = next(self._minutes)
            time_slices.append(TimeSlice(ts_ns, [*self._drain_history(ts_ns), *bars]))
            self._clock_ns = self._missing_clocks.popleft()
        return time_slices

    def _drain_history(self, ts_ns: int) -> list[HistoryBar]:
        history, self._history = self._history, []
        return [bar._replace(ts_ns=ts_ns) for bar in history]

    def _has_updates(self) -> bool:
        return bool(self._updates or self._history)

    def _build_slice(self, ts_ns: int, bars: Sequence[Record]) -> TimeSlice:
        records = self._updates.drain_quotes(ts_ns)
        records += self._drain_history(ts_ns)
        records += bars
        records += self._updates.drain_records()
        self._clock_ns = ts_ns
        self._waiting.close(ts_ns)
        return TimeSlice(ts_ns, records)

    # -- minutes

    def _closing_rows(self, minute: Minute, now_ns: int) -> RowsBySymbol | None:
        """Return the minute's rows; None while waiting for them; an empty dict if no provider has data."""
        if minute.open_ns in self._missed_minutes:
            return self._missed_minutes.pop(minute.open_ns)
        wait_over = now_ns - minute.ts_ns >= self._settings.wait_s * SECOND_NS
        unhealthy_reasons = [provider.unhealthy_reason(minute, now_ns) for provider in self._providers]
        preferred = next((index for index, reason in enumerate(unhealthy_reasons) if not reason), None)
        if preferred is None:
            return {} if wait_over else None
        rows = self._providers[preferred].rows(minute)
        if not (wait_over or self._expected_symbols <= rows.keys()):
            return None
        if not rows and minute.session in _ACTIVE_SESSIONS:
            preferred, rows = self._next_best(minute, unhealthy_reasons, preferred)
        if preferred != self._active_provider:
            self._switch(preferred, unhealthy_reasons[self._active_provider] or "no bars for this minute", minute)
        return rows

    def _next_best(self, minute: Minute, unhealthy_reasons: list[str], preferred: int) -> tuple[int, RowsBySymbol]:
        """Return the next healthy provider with bars; the preferred one without rows if there is none."""
        for index, reason in enumerate(unhealthy_reasons):
            if index > preferred and not reason and (rows := self._providers[index].rows(minute)):
                return index, rows
        return preferred, {}

    def _complete_bars(self, minute: Minute, rows: RowsBySymbol) -> Sequence[Record]:
        expected_rows = {symbol: row for symbol, row in rows.items() if symbol in self._expected_symbols}
        no_data = not expected_rows and (minute.session in _ACTIVE_SESSIONS or self._all_unhealthy(minute))
        if no_data:
            log.warning("minute without bars from any provider", open_ns=minute.open_ns)
            return []
        counts_before = self._completion.snapshot()["symbols"] if self._bars_complete_to_ns else {}
        bars = self._completion.complete(minute, expected_rows.values())
        already_written = {symbol for symbol, ts_ns in self._bars_complete_to_ns.items() if ts_ns >= minute.ts_ns}
        if not already_written:
            self._bars_complete_to_ns = {}
            return bars
        # An earlier process ended in this minute. It wrote these bars, or the clock of their log: restore their counts.
        snapshot_after = self._completion.snapshot()
        counts = {s: count for s, count in snapshot_after["symbols"].items() if s not in already_written}
        counts |= {symbol: counts_before[symbol] for symbol in already_written if symbol in counts_before}
        self._completion.restore({**snapshot_after, "symbols": counts})
        return [bar for bar in bars if bar.symbol not in already_written]

    def _all_unhealthy(self, minute: Minute) -> bool:
        now_ns = self._now_ns()
        return all(provider.unhealthy_reason(minute, now_ns) for provider in self._providers)

    def _switch(self, provider_index: int, reason: str, minute: Minute) -> None:
        """Record the switch as a command without effect, so that the source of the bars is traceable."""
        previous, provider = self._providers[self._active_provider].name, self._providers[provider_index].name
        if provider_index < self._active_provider:
            reason = f"{provider} is healthy again"
        log.warning("feed switched", previous=previous, provider=provider, reason=reason)
        command = Command(
            command_id=f"feed-{minute.ts_ns}-{provider}",
            ts_ns=minute.ts_ns,
            kind=FEED_SWITCHED,
            actor=STAGE,
            reason=reason,
            arguments={"from": previous, "to": provider},
        )
        self._updates.records.append(self._sign(command))
        self._active_provider = provider_index

    # -- start and restart

    def _open(self, topic_state: FeedTopicState) -> None:
        now_ns = self._now_ns()
        self._is_open = True
        snapshot_clock_ns, self._clock_ns = self._clock_ns, topic_state.common_clock_ns(self._clock_ns)
        bars_clock_ns = topic_state.common_clock_ns(snapshot_clock_ns, "market-bars")
        self._missing_clocks = deque(topic_state.missing_clocks(snapshot_clock_ns))
        self._read_from, self._read_to = topic_state.starts, topic_state.ends
        if self._missing_clocks:
            log.info("clocks that some topics lack are written again", clocks=len(self._missing_clocks))
        self._completion.restore(topic_state.merge_into(self._completion.snapshot()))
        self._bars_complete_to_ns = topic_state.bars_complete_to_ns(self._expected_symbols)
        self._updates.advance(topic_state.quotes, topic_state.trades)
        for symbol, seq in topic_state.history.items():
            self._history_seq[symbol] = max(seq, self._history_seq.get(symbol, 0))
        # At the first start, begin with the current minute: the provider's bar covers all of it.
        oldest_ns = now_ns - self._settings.backfill_minutes_max * 60 * SECOND_NS
        first_ns = now_ns // self.interval_ns * self.interval_ns
        if bars_clock_ns >= 0:
            # The next minute is the first one that ends after the clock of the bars.
            first_ns = max(bars_clock_ns, oldest_ns) // self.interval_ns * self.interval_ns
        self._minutes = self._calendar.minutes(first_ns, self.interval_ns)
        self._minute = next(self._minutes)
        for provider in self._providers:
            provider.start()
        if self._follower is not None:
            self._follower.start()
        self._waiting.start()
        if bars_clock_ns >= 0 and self._minute.ts_ns <= now_ns:
            self._backfill(now_ns)
        self._load_history(now_ns)

    def _load_history(self, now_ns: int) -> None:
        """Load the bars before the next minute of the symbols without a bar, from the first provider that has any.

        After a crash during a start, they are loaded again. Downstream services discard bars that they already have.
        """
        symbols = self._expected_symbols - self._completion.snapshot()["symbols"].keys()
        if not symbols or not self._history_count:
            return
        count = bars_per_symbol(self._history_count, len(symbols))
        history = load_history(self._providers, self._calendar, self._minute.open_ns, self.interval_ns, count, symbols)
        day = self._calendar.date_of(now_ns)
        records = history_bars(history.bars, (), 0, day, count)
        self._history = [one._replace(seq=one.seq + self._history_seq.get(one.symbol, 0)) for one in records]
        for one in self._history:
            self._history_seq[one.symbol] = one.seq
        log.info("bars before the start loaded", provider=history.provider or "none", bars=len(records))

    def _backfill(self, now_ns: int) -> None:
        """Load bars of the minutes missed while the feed was down, from the first provider that has any."""
        first_ns, end_ns = self._minute.open_ns, now_ns // self.interval_ns * self.interval_ns
        rows_by_open: dict[int, RowsBySymbol] = {}
        for provider in self._providers:
            rows_by_open = provider.history(first_ns, end_ns)
            if rows_by_open:
                break
        minute = self._minute
        while minute.ts_ns <= end_ns - self.interval_ns or minute.open_ns in rows_by_open:
            self._missed_minutes[minute.open_ns] = rows_by_open.get(minute.open_ns, {})
            minute = next(self._minutes)
        self._minutes = self._calendar.minutes(self._minute.ts_ns, self.interval_ns)
        log.info("missed minutes backfilled", minutes=len(self._missed_minutes), with_bars=len(rows_by_open))

    def state(self) -> dict[str, Any]:
        # States of earlier releases have no history.
        history = {"history": dict(self._history_seq)} if self._history_seq else {}
        return history | {
            "v": STATE_VERSION,
            "clock_ns": self._clock_ns,
            # A process that continues here must find the missing clocks too.
            "offsets": dict(self._read_from if self._missing_clocks else self._offsets()),
            "minutes": self._completion.snapshot(),
            **self._updates.state(),
            "active": self._active_provider,
        }

    def _offsets(self) -> dict[LogName, int]:
        """Return, for each log, an offset that precedes everything that this feed has not yet emitted."""
        return {**self._read_to, **self._delivered_offsets()}

    def resume(self, state: dict[str, Any] | None) -> LiveFeed:
        """Restore `state`, then continue after the last record in the topics, which may be newer than the state."""
        if state is None:
            return self
        version = state["v"]
        known = version in (STATE_VERSION, TIMESTAMPS_VERSION)
        assert known, f"live feed state of version {version}, expected {STATE_VERSION}"
        self._clock_ns = state["clock_ns"]
        self._completion.restore(state["minutes"])
        self._updates.restore(state)
        self._history_seq = dict(state.get("history", {}))
        self._active_provider = min(state["active"], len(self._providers) - 1)
        self._open(self._read_topic_state(state["at_ns"] if version == TIMESTAMPS_VERSION else state["offsets"]))
        return self

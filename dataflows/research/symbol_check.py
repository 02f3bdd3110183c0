"""Check the bars of one symbol: gaps, outliers, jumps like splits, stale prices, sessions without a row."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import expm1, log
from statistics import median
from typing import Any, NamedTuple

from dataflows.sources.row_times import iso
from schemas.records import CONTINUOUS, REGULAR, Bar

EXAMPLES_MAX = 10
OUTLIER_MEDIANS = 20  # multiple of the symbol's median move above which a move is an outlier
OUTLIER_MOVE_MIN = 0.03
END_MOVE_MIN = 0.2  # of the last bar, which no later bar confirms
REVERSAL_BARS = 5  # within which a wrong price returns
REVERSAL_SHARE = 0.7  # of the move that these bars take back
SPLIT_RATIOS = (1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 100)
SPLIT_TOLERANCE = 0.04
STALE_BARS_MIN = 30
STALE_DAYS_MIN = 5
LIQUID_SHARE = 0.3  # of the intervals of its days: a symbol that trades so often trades every day


@dataclass
class SymbolCheck:
    """The findings about one symbol of one file. Prices are those of the file; each list has at most 10 entries.

    `missing` counts intervals without a trade between the first and the last bar, `gaps` their runs. `missing_days` are
    sessions without a trade, as YYYYMMDD. `is_liquid`: the symbol trades often enough to trade every day.
    """

    bars: int = 0
    missing: int = 0
    gaps: int = 0
    largest_gap: dict[str, Any] | None = None
    sessions: dict[str, int] = field(default_factory=dict)
    days: int = 0
    missing_days: list[int] = field(default_factory=list)
    is_liquid: bool = False
    outliers: list[dict[str, Any]] = field(default_factory=list)
    split_like: list[dict[str, Any]] = field(default_factory=list)
    stale_runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def coverage(self) -> float | None:
        """The share of the open intervals in which the symbol traded, between its first and last bar."""
        total = self.bars + self.missing
        return self.bars / total if total else None

    @property
    def regular_share(self) -> float:
        """The share of the bars in the regular session, or on a market around the clock."""
        return sum(self.sessions.get(phase, 0) for phase in (REGULAR, CONTINUOUS)) / self.bars if self.bars else 0.0


class _Jump(NamedTuple):
    """A move that may be an outlier or a split. `before` is the last close before it, `move` a log return."""

    bar: Bar
    before: float
    move: float
    split_ratio: str | None

    def is_reversed_by(self, bar: Bar) -> bool:
        reversed_move = log(self.bar.close / bar.close) if self.move > 0 else log(bar.close / self.bar.close)
        return reversed_move >= REVERSAL_SHARE * abs(self.move)


class SymbolScanner:
    """Accumulates the check of one symbol, with 8 bytes per bar for the median move."""

    def __init__(self, stale_bars_min: int) -> None:
        self._check = SymbolCheck()
        self._stale_bars_min = stale_bars_min
        self._moves = array("d")
        self._suspects: list[tuple[Bar, float, float]] = []  # (bar, price, log return)
        self._jumps: list[tuple[int, _Jump]] = []  # (number of the bar, jump) not yet decided
        self._last: Bar | None = None
        self._gap = 0
        self._gap_start_ns = 0
        self._run = 1
        self._run_start_ns = 0
        self._gap_days: dict[int, int] = {}  # trading day -> bars of the gap
        self._missing_on_days = 0  # bars of the sessions without a trade

    def add(self, bar: Bar) -> None:
        """Add a bar in order of time, also one without a trade."""
        check = self._check
        if not bar.traded:
            self._gap_start_ns = self._gap_start_ns if self._gap else bar.open_ns
            self._gap += 1
            self._gap_days[bar.trading_day] = self._gap_days.get(bar.trading_day, 0) + 1
            return
        check.bars += 1
        check.sessions[bar.session] = check.sessions.get(bar.session, 0) + 1
        self._end_gap(bar.trading_day)
        last = self._last
        if last is None or bar.trading_day != last.trading_day:
            check.days += 1
        if last is not None:
            self._compare(last, bar)
        else:
            self._run_start_ns = bar.open_ns
        self._suspect_wicks(bar)
        self._last = bar

    def _end_gap(self, trading_day: int) -> None:
        check, last_day = self._check, self._last.trading_day if self._last is not None else 0
        if self._gap:
            check.gaps += 1
            check.missing += self._gap
            whole_days = {day: bars for day, bars in self._gap_days.items() if day not in (last_day, trading_day)}
            check.missing_days += whole_days
            self._missing_on_days += sum(whole_days.values())
            if check.largest_gap is None or self._gap > check.largest_gap["bars"]:
                check.largest_gap = {"time": iso(self._gap_start_ns), "bars": self._gap}
            self._gap, self._gap_days = 0, {}

    def _compare(self, last: Bar, bar: Bar) -> None:
        move = log(bar.close / last.close)
        self._moves.append(abs(move))
        is_return = self._decide_jumps(bar)
        if not is_return and (abs(move) >= OUTLIER_MOVE_MIN or _split_ratio(last, bar) is not None):
            self._jumps.append((self._check.bars, _Jump(bar, last.close, move, _split_ratio(last, bar))))
        is_same = last.close == bar.close == bar.open == bar.high == bar.low
        if is_same:
            self._run += 1
        else:
            self._end_run()
            self._run, self._run_start_ns = 1, bar.open_ns

    def _decide_jumps(self, bar: Bar) -> bool:
        """Decide on the jumps that the bar reverses or that are old. Return whether it reverses one."""
        is_return, pending = False, []
        for number, jump in self._jumps:
            if jump.is_reversed_by(bar):
                self._suspects.append((jump.bar, jump.bar.close, jump.move))
                is_return = True
            elif self._check.bars - number >= REVERSAL_BARS:
                self._note_split(jump)
            else:
                pending.append((number, jump))
        self._jumps = pending
        return is_return

    def _suspect_wicks(self, bar: Bar) -> None:
        """Suspect a high or low far from all other prices of its bar."""
        for price, nearest in ((bar.high, max(bar.open, bar.close)), (bar.low, min(bar.open, bar.close))):
            move = log(price / nearest)
            if abs(move) >= OUTLIER_MOVE_MIN:
                self._suspects.append((bar, price, move))

    def _note_split(self, jump: _Jump) -> None:
        splits = self._check.split_like
        if jump.split_ratio is not None and len(splits) < EXAMPLES_MAX:
            prices = {"before": jump.before, "after": jump.bar.open}
            splits.append({"time": iso(jump.bar.open_ns), "ratio": jump.split_ratio, **prices})

    def _end_run(self) -> None:
        runs = self._check.stale_runs
        if self._run >= self._stale_bars_min and len(runs) < EXAMPLES_MAX:
            assert self._last is not None, "a run has bars"
            runs.append({"time": iso(self._run_start_ns), "bars": self._run, "price": self._last.close})

    def finish(self) -> SymbolCheck:
        """Return the check. An outlier is a move of many median moves that does not last."""
        self._end_run()
        for number, jump in self._jumps:
            self._note_split(jump)
            is_last = number == self._check.bars and abs(jump.move) >= END_MOVE_MIN
            if is_last and jump.split_ratio is None:
                self._suspects.append((jump.bar, jump.bar.close, jump.move))
        check = self._check
        check.outliers = self._outliers(sorted(self._suspects, key=lambda suspect: suspect[0].open_ns))
        check.is_liquid = check.bars >= LIQUID_SHARE * (check.bars + check.missing - self._missing_on_days)
        return check

    def _outliers(self, suspects: Iterable[tuple[Bar, float, float]]) -> list[dict[str, Any]]:
        typical = median(moves) if (moves := [move for move in self._moves if move]) else 0.0
        return [
            {"time": iso(bar.open_ns), "price": price, "move": f"{expm1(move):+.1%}"}
            for bar, price, move in suspects
            if abs(move) >= OUTLIER_MEDIANS * typical
        ][:EXAMPLES_MAX]


def _split_ratio(last: Bar, bar: Bar) -> str | None:
    """Return the usual split ratio that a jump from the last close to the open is close to, such as `4:1`, or None."""
    factor = last.close / bar.open
    size = max(factor, 1 / factor)
    ratio = min(SPLIT_RATIOS, key=lambda usual: abs(log(size / usual)))
    if abs(log(size / ratio)) > SPLIT_TOLERANCE:
        return None
    return f"{ratio:g}:1" if factor > 1 else f"1:{ratio:g}"

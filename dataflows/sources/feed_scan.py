"""Scan files of bars once before they are read: the interval of their bars, their sessions and the order of their rows.

Only the columns of times and symbols are read. Files whose rows are neither ascending nor descending for each symbol
are sorted for it, at 12 bytes per row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from dataflows.sources.blocks import BarTable, Codes
from dataflows.sources.row_distances import HOUR_S, ISOLATION_S, RUN_MIN, RowDistances
from dataflows.sources.row_times import DAY_NS, SECOND_NS, Ints, LocalTimeZone, Mask
from dataflows.sources.trading_calendar import NEW_YORK, TradingCalendar
from operators.bar_completion import DAY_S, FeedSettings, check_interval_s, interval_text
from schemas.errors import BadInput
from schemas.records import POST, PRE, REGULAR, SessionPhase

DEFAULT_INTERVAL_S = 60
USUAL_INTERVALS_S = (60, 300, 900, 1800, 3600, DAY_S)
MIXED_SHARE_MIN = 0.01  # of the distances, for an interval that rows of another one can show by chance
SURE_RUN_BARS = 30  # rows that are missing now and then do not show runs of such distances by chance
DAILY_SHARE_MIN = 0.8  # of the isolated rows, at midnight
HALF_DAY_S = 12 * HOUR_S  # longer distances lie between sessions
DAY_DISTANCE_S_MIN = 23 * HOUR_S  # a day with a change of clock
ZONE_SAMPLE_ROWS = 50_000
FIRST_ROWS = 8
ZONES = (NEW_YORK, "America/Chicago", "America/Los_Angeles", "Europe/London", "Europe/Berlin", "Europe/Athens", "UTC")
"""Zones of vendors' times: of the exchange, of US vendors, of European vendors and of MetaTrader servers."""
AnyFeedSettings = TypeVar("AnyFeedSettings", bound=FeedSettings)
Phases = Counter[SessionPhase | None]


@dataclass
class FileScan:
    """What one file holds.

    `distances_s` counts the seconds between successive rows of a symbol, `runs_s` those within at least `RUN_MIN` equal
    ones. `is_at_midnight`: every row is at midnight. `has_daily_rows`: single rows at midnight stand among rows of
    another interval. `seconds_of_hour` counts rows by their second within the hour. `phases` counts rows by session,
    `on_hour_phases` those that start on the hour. If times have no zone, `zone_phases` counts a sample of the rows by
    session for each zone in which they may be, and for "" as they were read.
    """

    path: Path
    rows: int = 0
    duplicates: int = 0
    first_ns: int = 0
    last_ns: int = 0
    is_ordered: bool = True
    has_local_times: bool = False
    is_at_midnight: bool = True
    weekend_rows: int = 0
    seconds_of_hour: Ints = field(default_factory=lambda: np.zeros(HOUR_S, np.int64))
    distances_s: Counter[float] = field(default_factory=Counter)
    runs_s: Counter[float] = field(default_factory=Counter)
    has_daily_rows: bool = False
    phases: Phases = field(default_factory=Counter)
    on_hour_phases: Phases = field(default_factory=Counter)
    zone_phases: dict[str, Phases] = field(default_factory=dict)

    @property
    def interval_s(self) -> int | None:
        """The interval of the bars, or None if the rows do not prove one. Raises BadInput if there are several."""
        total = sum(self.distances_s.values())
        if self.rows and self.is_at_midnight and (not total or min(self.distances_s) >= DAY_DISTANCE_S_MIN):
            return self._days() if total else DAY_S
        within_day = [(count, seconds) for seconds, count in self.distances_s.items() if seconds < ISOLATION_S]
        if self.has_daily_rows and within_day:
            raise self._mixed(max(within_day)[1], DAY_S)
        if total < 3:
            return None
        interval_s = self._usual_distance_s(total)
        sure_s = SURE_RUN_BARS * max(interval_s or 0, DEFAULT_INTERVAL_S)
        run_min = max(RUN_MIN, MIXED_SHARE_MIN * total)
        candidates_s = {s for s in USUAL_INTERVALS_S if self.runs_s[s] >= (RUN_MIN if s >= sure_s else run_min)}
        if interval_s is not None and interval_s <= DAY_S:
            candidates_s.add(interval_s)
        else:
            candidates_s |= self._two_distances(total)
        if len(candidates_s) > 1:
            raise self._mixed(*sorted(candidates_s)[:2])
        return interval_s

    def _mixed(self, shorter_s: float, longer_s: float) -> BadInput:
        return BadInput(
            f"file {self.path} mixes bars of {distance_text(shorter_s)} and of {distance_text(longer_s)}; pass one "
            "interval at a time"
        )

    def _two_distances(self, total: int) -> set[int]:
        """Return two usual distances that are nearly all distances of a short file, the longer one often, or nothing.

        Minutes that hardly trade have more than two distances.
        """
        usual = [s for s in USUAL_INTERVALS_S[:-1] if self.distances_s[s] >= 3]
        counts = [self.distances_s[s] for s in usual]
        is_mixed = len(usual) == 2 and counts[1] >= RUN_MIN and sum(counts) >= 0.8 * total
        return set(usual) if is_mixed and total < 20 else set()

    @property
    def likely_interval_s(self) -> int | None:
        """The only distance of rows within a day, if it is 5m or longer and all rows lie on its grid, or None.

        With fewer rows than `interval_s` needs, the bars may also be minute bars of a symbol that hardly trades.
        """
        distances = {distance for distance in self.distances_s if distance < HALF_DAY_S}
        usual = [s for s in USUAL_INTERVALS_S[1:-1] if distances == {s}]
        crosses_open = any(s >= HOUR_S for s in usual) and self.on_hour_phases[REGULAR] > 0
        return next((s for s in usual if self._is_grid(s) and not crosses_open), None)

    def _usual_distance_s(self, total: int) -> int | None:
        days = sum(count for distance, count in self.distances_s.items() if distance >= DAY_DISTANCE_S_MIN)
        if days >= 0.9 * total:
            return self._days()
        distance, count = self.distances_s.most_common(1)[0]
        is_usual = count >= 3 and count >= total / 2 and self._multiples(distance) >= 0.8 * total
        if is_usual and distance % 1 == 0 and self._is_grid(int(distance)):
            return int(distance)
        if total < 20:
            return None
        candidates = (s for s in reversed(USUAL_INTERVALS_S[1:-1]) if self._multiples(s) >= 0.99 * total)
        return next((seconds for seconds in candidates if self._is_grid(seconds)), None)

    def _is_grid(self, seconds: int) -> bool:
        """Whether most rows start at multiples of the interval; longer bars start at half hours."""
        step = min(seconds, HOUR_S // 2)
        aligned = self.seconds_of_hour[:: step if HOUR_S % step == 0 else 1].sum()
        return bool(aligned >= 0.9 * self.rows)

    def _multiples(self, distance_s: float) -> int:
        return sum(count for distance, count in self.distances_s.items() if distance % distance_s == 0)

    def _days(self) -> int:
        """Return one day, or the distance of rows that are weeks or months apart."""
        shortest = min(distance for distance in self.distances_s if distance >= DAY_DISTANCE_S_MIN)
        return DAY_S if shortest < 5 * DAY_S else int(self.distances_s.most_common(1)[0][0])


@dataclass(frozen=True)
class FeedScan:
    """The scans of all files of a feed."""

    files: tuple[FileScan, ...]

    def resolve(self, settings: AnyFeedSettings) -> AnyFeedSettings:
        """Return the settings with the recognized interval and session, where they are "auto".

        Raises BadInput if the files have several intervals, or another one than the settings.
        """
        interval_s = self._interval_s(settings)
        self._check_starts(interval_s, settings)
        session = settings.session
        if interval_s == DAY_S:
            session = "regular"
        elif session == "auto":
            phases = self.phases
            session = "regular" if phases[REGULAR] and not phases[PRE] and not phases[POST] else "extended"
        return replace(settings, bar_interval=interval_text(interval_s), bar_interval_s=None, session=session)

    def _check_starts(self, interval_s: int, settings: FeedSettings) -> None:
        """Raise BadInput if bars of a recognized interval do not fill the sessions, or do not start with them."""
        try:
            check_interval_s(interval_s, settings.calendar)
        except BadInput as error:
            names = ", ".join(scan.path.name for scan in self.files if scan.interval_s == interval_s)
            raise BadInput(f"file {names} has rows {interval_text(interval_s)} apart: {error}") from error
        if settings.calendar != "XNYS" or not HOUR_S <= interval_s < DAY_S or settings.time_is != "open":
            return
        for scan in self.files:
            if scan.on_hour_phases[REGULAR] > scan.phases[REGULAR] / 2:
                raise BadInput(
                    f"file {scan.path.name} has bars of {interval_text(interval_s)} that start on the hour and cross "
                    "the open; bars of XNYS start at the open (09:30, 10:30): pass bars of 30m or shorter"
                )

    @property
    def phases(self) -> Phases:
        """Rows of all files by session."""
        return sum((scan.phases for scan in self.files), Counter())

    @property
    def weekend_rows(self) -> int:
        """Rows on Saturdays and Sundays, UTC."""
        return sum(scan.weekend_rows for scan in self.files)

    def zone_warnings(self, settings: FeedSettings) -> list[str]:
        """Return a warning if the times look like local times of New York that were read as another zone."""
        read, local = self._zone_phases(""), self._zone_phases(NEW_YORK)
        rows = read.total()
        if not rows or settings.interval_s == DAY_S or local[None] > 0.01 * rows:
            return []
        is_regular = local[REGULAR] >= 0.9 * rows and local[REGULAR] - read[REGULAR] >= 0.25 * rows
        if not is_regular and read[None] < 0.1 * rows:
            return []
        return [
            f"the times have no zone and were read as {settings.timezone}: {read[REGULAR] / rows:.0%} of the rows lie "
            f"in the regular session and {read[None] / rows:.0%} outside all sessions; as times of New York, "
            f"{local[REGULAR] / rows:.0%} and {local[None] / rows:.0%}. If they are, set market_data.files.timezone "
            f"(--timezone) to {NEW_YORK}"
        ]

    def suspected_zone(self, settings: FeedSettings) -> str | None:
        """Return the zone in which clearly more rows lie in the regular session than as they were read, or None."""
        read = self._zone_phases("")
        if not read or settings.interval_s == DAY_S:
            return None
        best = max(ZONES, key=lambda zone: (self._zone_phases(zone)[REGULAR], -ZONES.index(zone)))
        gain = self._zone_phases(best)[REGULAR] - read[REGULAR]
        return best if gain >= 0.05 * read.total() else None

    def _zone_phases(self, zone: str) -> Phases:
        return sum((scan.zone_phases[zone] for scan in self.files if zone in scan.zone_phases), Counter())

    def _interval_s(self, settings: FeedSettings) -> int:
        interval_s_by_file = {scan.path.name: scan.interval_s for scan in self.files}
        known = {name: interval_s for name, interval_s in interval_s_by_file.items() if interval_s is not None}
        expected_s = settings.interval_s
        for name, interval_s in known.items():
            if interval_s > DAY_S:
                raise BadInput(
                    f"file {name} has rows {interval_text(interval_s)} apart; the longest interval of bars is 1d"
                )
            if expected_s is not None and interval_s != expected_s:
                raise BadInput(
                    f"file {name} has bars of {interval_text(interval_s)}, but the setting bar_interval "
                    f"(--interval) is {interval_text(expected_s)}"
                )
        if len(set(known.values())) > 1:
            (first, first_s), *others = known.items()
            other, other_s = next(pair for pair in others if pair[1] != first_s)
            raise BadInput(
                f"file {first} has bars of {interval_text(first_s)} and file {other} of {interval_text(other_s)}; "
                "pass one interval at a time"
            )
        return expected_s or next(iter(known.values()), None) or self._likely_interval_s() or DEFAULT_INTERVAL_S

    def _likely_interval_s(self) -> int | None:
        """Return the likely interval of files that do not prove one, if all that have one agree."""
        if any(scan.interval_s is not None for scan in self.files):
            return None
        likely = {scan.likely_interval_s for scan in self.files if scan.distances_s}
        return likely.pop() if len(likely) == 1 else None

    def interval_warnings(self, settings: FeedSettings) -> list[str]:
        """Return a warning if no row proves the interval of the bars. `settings` are those before `resolve()`."""
        rows = sum(scan.rows for scan in self.files)
        minutes = sum(scan.distances_s[DEFAULT_INTERVAL_S] for scan in self.files)
        is_proven = minutes >= 3 or any(scan.interval_s is not None for scan in self.files)
        if not rows or settings.interval_s is not None or is_proven:
            return []
        likely_s = self._likely_interval_s()
        if likely_s is None:
            minute = interval_text(DEFAULT_INTERVAL_S)
            text = f"the {rows:,} rows prove no interval and were read as bars of {minute}"
            if rows == 1:
                text = f"the only row proves no interval and was read as a bar of {minute}"
        else:
            text = f"only {rows} rows show that the bar interval is {interval_text(likely_s)}"
        return [f"{text}; set market_data.files.bar_interval (--interval)"]


def distance_text(seconds: float) -> str:
    """Return a distance between rows as text.

    >>> distance_text(300.0), distance_text(0.5)
    ('5m', '0.5s')
    """
    return interval_text(int(seconds)) if seconds % 1 == 0 else f"{seconds}s"


def scan_settings(settings: AnyFeedSettings) -> AnyFeedSettings:
    """Return the settings with which files are read for a scan: every second is the open of a bar."""
    return replace(settings, bar_interval="1s", bar_interval_s=None, time_is="open")


def scan_files(tables: Sequence[BarTable], settings: FeedSettings) -> FeedScan:
    """Scan tables that were opened with `scan_settings`."""
    return FeedScan(tuple(_scan_file(table, settings) for table in tables))


def _scan_file(table: BarTable, settings: FeedSettings) -> FileScan:
    scanner = _Scanner(table.path, settings)
    for times, codes in table.times():
        scanner.add(times, codes)
    if not scanner.is_monotonic:
        blocks = list(table.times())
        times, codes = (np.concatenate(column) for column in zip(*blocks, strict=True))
        order = np.lexsort((times, codes))
        scanner.restart_distances()
        scanner.distances.add(times[order], codes[order])
    scanner.finish_distances()
    scanner.scan.has_local_times = table.has_local_times
    if table.has_local_times and settings.calendar == "XNYS":
        scanner.compare_zones()
    return scanner.scan


class _Scanner:
    """Accumulates the scan of one file."""

    def __init__(self, path: Path, settings: FeedSettings) -> None:
        self.scan = FileScan(path)
        self._calendar = TradingCalendar(settings.calendar)
        self._is_close = int(settings.time_is == "close")  # a bar that ends at the close lies in the session
        self._zone = LocalTimeZone(settings.timezone)
        self._new_york = LocalTimeZone(NEW_YORK)
        self.distances = RowDistances(self._is_midnight)
        self._sample: list[Ints] = []
        self._sample_rows, self._stride = 0, 1

    @property
    def is_monotonic(self) -> bool:
        """Whether the times of each symbol only increase, or only decrease."""
        return not (self.distances.is_ascending and self.distances.is_descending)

    def add(self, times: Ints, codes: Codes) -> None:
        if not len(times):
            return
        scan = self.scan
        first_ns, last_ns = int(times.min()), int(times.max())
        if scan.rows:
            scan.is_ordered &= int(times[0]) >= scan.last_ns
            first_ns, last_ns = min(first_ns, scan.first_ns), max(last_ns, scan.last_ns)
        scan.is_ordered &= bool((np.diff(times) >= 0).all())
        scan.first_ns, scan.last_ns, scan.rows = first_ns, last_ns, scan.rows + len(times)
        # The first rows usually show already that not all times are midnight. Converting all times is slow.
        for rows in (times[:FIRST_ROWS], times):
            scan.is_at_midnight = scan.is_at_midnight and bool(self._is_midnight(rows).all())
        self._add_sample(times)
        scan.seconds_of_hour += np.bincount(times // SECOND_NS % HOUR_S, minlength=HOUR_S)
        scan.weekend_rows += int((((times // DAY_NS) + 3) % 7 >= 5).sum())  # 1970-01-01 was a Thursday
        scan.phases.update(self._calendar.phases(times - self._is_close))
        scan.on_hour_phases.update(self._calendar.phases(times[times % (HOUR_S * SECOND_NS) == 0]))
        if self.is_monotonic:
            self.distances.add(times, codes)

    def restart_distances(self) -> None:
        self.distances = RowDistances(self._is_midnight)

    def finish_distances(self) -> None:
        """Copy the distances of all rows to the scan."""
        distances, scan = self.distances, self.scan
        distances.finish()
        scan.distances_s, scan.runs_s, scan.duplicates = distances.seconds, distances.runs, distances.duplicates
        days = (scan.last_ns - scan.first_ns) / DAY_NS
        is_daily = distances.isolated_midnights >= DAILY_SHARE_MIN * distances.isolated
        is_frequent = distances.isolated_midnights >= max(2, days / 3)
        is_repeated = is_frequent or distances.successive_midnights > 0
        scan.has_daily_rows = is_daily and (is_repeated or self._is_single_daily_row())

    def _is_single_daily_row(self) -> bool:
        """Whether the only isolated row is at midnight, and outside all sessions or alone outside regular ones."""
        distances, phases = self.distances, self.scan.phases
        if distances.isolated != 1 or distances.isolated_midnights != 1:
            return False
        [phase] = self._calendar.phases(np.array([distances.midnight_ns - self._is_close]))
        return phase is None or (phase != REGULAR and phases.total() - phases[REGULAR] == 1)

    def _is_midnight(self, times: Ints) -> Mask:
        """Return which times are midnight of UTC, of the zone of the times, or of New York."""
        is_midnight = np.asarray(times % DAY_NS == 0)
        for zone in (self._zone, self._new_york):
            if is_midnight.all():
                break
            is_midnight |= zone.from_utc(times) % DAY_NS == 0
        return is_midnight

    def _add_sample(self, times: Ints) -> None:
        """Keep rows at equal distances over the whole file, at most `ZONE_SAMPLE_ROWS`."""
        row = self.scan.rows - len(times)
        self._sample.append(times[-row % self._stride :: self._stride])
        self._sample_rows += len(self._sample[-1])
        while self._sample_rows > ZONE_SAMPLE_ROWS:
            self._sample, self._stride = [np.concatenate(self._sample)[::2]], 2 * self._stride
            self._sample_rows = len(self._sample[0])

    def compare_zones(self) -> None:
        """Count the sample by session, as read and as if the times were in each zone."""
        if not self._sample:
            return
        times = np.concatenate(self._sample)
        phases, local_times = self.scan.zone_phases, self._zone.from_utc(times)
        phases[""] = Counter(self._calendar.phases(times - self._is_close))
        for name in ZONES:
            utc_times, _ = LocalTimeZone(name).to_utc(local_times)
            phases[name] = Counter(self._calendar.phases(utc_times - self._is_close))

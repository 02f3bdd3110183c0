"""What a file feed reports about its rows: counts, warnings and the reasons why it has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataflows.sources.feed_scan import FeedScan
from dataflows.sources.row_times import iso
from operators.bar_completion import FeedSettings
from schemas.counted import counted

REJECTED_SHARE_MAX = 0.01  # of the rows, without a warning


@dataclass
class FeedCounts:
    """Counts of the rows so far. `bars` counts all bars, `no_trade_bars` those without a trade, `dead` dead letters.

    Rows that are neither bars nor dead letters: `closed` lie outside all sessions (night, weekend, holiday), `left_out`
    in the pre- or post-market with the setting session=regular. Rows excluded by `symbols`, `start` and `end` are not
    counted. `others` counts the tape's records other than bars. `no_volume` counts rows with volume 0: their bars have
    `traded` False.
    """

    ticks: int = 0
    bars: int = 0
    no_trade_bars: int = 0
    dead: int = 0
    closed: int = 0
    left_out: int = 0
    others: int = 0
    no_volume: int = 0


def row_warnings(counts: FeedCounts, first_rejected: str | None, settings: FeedSettings, scan: FeedScan) -> list[str]:
    """Return warnings about rejected rows and about rows outside the sessions, one sentence each.

    `first_rejected` is the first rejected row in words.
    """
    warnings = []
    rows = counts.bars - counts.no_trade_bars + counts.no_volume + counts.closed + counts.left_out + counts.dead
    if rows and counts.dead > REJECTED_SHARE_MAX * rows:
        first = "" if first_rejected is None else f", the first one in {first_rejected}"
        verb = "was" if counts.dead == 1 else "were"
        warnings.append(f"{counts.dead:,} of {rows:,} rows {verb} rejected{first}")
    if rows and counts.closed > REJECTED_SHARE_MAX * rows and scan.weekend_rows:
        warnings.append(
            f"{counts.closed:,} of {rows:,} rows lie outside the sessions of {settings.calendar}, also at "
            "weekends; for a market around the clock, set market_data.files.calendar (--calendar) to 24/7"
        )
    return warnings


def no_usable_row_message(
    paths: Sequence[Path], settings: FeedSettings, scan: FeedScan, closed: int, bad_row: str | None
) -> str:
    """Return why files have no usable row. `closed` rows lie outside the sessions; `bad_row` is the first bad row."""
    reason = bad_row or _excluded_rows_message(settings, scan)
    if closed:
        reason = (
            f"{counted(closed, 'row lies', 'rows lie')} outside the sessions of calendar "
            f"{settings.calendar} ({settings.session}) and none inside"
        )
        if scan.weekend_rows:
            reason += "; for a market around the clock, set market_data.files.calendar (--calendar) to 24/7"
    return f"no usable row in {file_names(paths)}: {reason}"


def _excluded_rows_message(settings: FeedSettings, scan: FeedScan) -> str:
    """Return why there is neither a row in a session nor a malformed one."""
    files = [one for one in scan.files if one.rows]
    if not files:
        return "there is a header line, but no row"
    first, last = min(one.first_ns for one in files), max(one.last_ns for one in files)
    names = ("symbols", "start", "end")
    selection = ", ".join(f"{name} {value}" for name in names if (value := getattr(settings, name)))
    return f"no row matches {selection}; the rows are from {iso(first)} to {iso(last)}"


def file_names(paths: Sequence[Path]) -> str:
    names = ", ".join(path.name for path in paths)
    return names if len(names) < 100 else f"{len(paths)} files"


def describe_tape(has_tape: bool) -> str:
    return f"{'with' if has_tape else 'without'} files of quotes, trades, reference data, news or fundamentals"

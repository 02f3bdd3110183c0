"""The sink of a backtest, which accumulates its figures, the benchmark, and the figures as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from dataflows.runtime.topology import GLOBAL_SHARD
from operators.performance import Performance
from operators.performance_metrics import TRADING_DAYS_A_YEAR, BenchmarkMetrics, benchmark_metrics, paired_returns
from operators.stage import TimeSlice
from schemas.errors import BadInput
from schemas.records import Bar, Record
from schemas.suggestions import did_you_mean

VERSION = 1
WIDTH, HEIGHT = 960, 260  # of the equity curve, in SVG units

Progress = Callable[[Performance], None]
Observer = Callable[[Sequence[Record]], None]


class ReportPartition(StatefulSinkPartition[list[TimeSlice], Any]):
    def __init__(self, sink: ReportSink, resume: Any) -> None:
        self._sink = sink
        if resume is not None:
            version, state = resume
            assert version == VERSION, f"report state of version {version}, expected {VERSION}"
            sink.performance.restore(state)

    def write_batch(self, values: list[list[TimeSlice]]) -> None:
        add_slice = self._sink.performance.on_slice
        for time_slices in values:
            for time_slice in time_slices:
                add_slice(time_slice)
        for observe in self._sink.observers:
            for time_slices in values:
                for time_slice in time_slices:
                    observe(time_slice.records)
        self._sink.progress(self._sink.performance)

    def snapshot(self) -> Any:
        return (VERSION, self._sink.performance.snapshot())

    def close(self) -> None:
        if self._sink.print_at_end:
            performance = self._sink.performance
            print(json.dumps(performance.summary() | self._sink.notes(performance), indent=2))


class ReportSink(FixedPartitionedSink[list[TimeSlice], Any]):
    """Accumulates a run into `performance`. `observers` receive the records of each slice, `progress` each batch.

    With `print_at_end`, the summary is printed as JSON, together with `notes`.
    """

    def __init__(
        self,
        initial_capital: Decimal,
        *,
        progress: Progress = lambda _: None,
        print_at_end: bool = False,
        notes: Callable[[Performance], dict[str, Any]] = lambda _: {},
        observers: Sequence[Observer] = (),
        days_a_year: int = TRADING_DAYS_A_YEAR,
        multipliers: Mapping[str, Decimal] | None = None,
    ) -> None:
        self.performance = Performance(initial_capital, days_a_year=days_a_year, multipliers=multipliers)
        self.observers = observers
        self.progress, self.print_at_end, self.notes = progress, print_at_end, notes

    def list_parts(self) -> list[str]:
        return [GLOBAL_SHARD]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> ReportPartition:
        return ReportPartition(self, resume_state)


class Benchmark:
    """The last traded close of each trading day of one symbol, to compare a run with."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self._closes: dict[int, float] = {}
        self._symbols: set[str] = set()

    def observe(self, records: Sequence[Record]) -> None:
        for record in records:
            if type(record) is Bar:
                self._symbols.add(record.symbol)
                if record.traded and record.symbol == self.symbol:
                    self._closes[record.trading_day] = record.close

    @property
    def closes(self) -> dict[int, float]:
        """The closes by trading day (yyyymmdd)."""
        return self._closes

    def compare(self, performance: Performance) -> BenchmarkMetrics:
        """Return the metrics of a run against the benchmark. Raises BadInput if it has no bars."""
        if not self._closes:
            raise BadInput(f"no bars of the benchmark {self.symbol!r}{did_you_mean(self.symbol, self._symbols)}")
        pairs = paired_returns(performance.daily_returns, self._closes)
        return benchmark_metrics(*pairs, performance.days_a_year)


class Stopwatch:
    """Elapsed seconds since construction, for the speed in a report."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self._start


def equity_curve_svg(points: Sequence[tuple[int, float]]) -> str:
    """Draw equity over the run's valuations at equal distances, so nights and weekends take no room."""
    if len(points) < 2:
        return "<p>No equity curve: fewer than two valuations.</p>"
    low, high = min(equity for _, equity in points), max(equity for _, equity in points)
    equity_range = (high - low) or 1.0
    step = WIDTH / (len(points) - 1)
    path = " ".join(
        f"{i * step:.1f},{HEIGHT - 10 - (equity - low) / equity_range * (HEIGHT - 20):.1f}"
        for i, (_, equity) in enumerate(points)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Equity">'
        f'<polyline points="{path}" fill="none" stroke="#0b62c4" stroke-width="1.5"/>'
        f'<text x="6" y="16" font-size="12">{high:,.2f}</text>'
        f'<text x="6" y="{HEIGHT - 4}" font-size="12">{low:,.2f}</text>'
        f"</svg><p>Equity from {_format_time(points[0][0])} to {_format_time(points[-1][0])}</p>"
    )


def _format_time(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def figure_label(name: str) -> str:
    """Return the name of a figure of the summary for people.

    >>> figure_label("final_equity"), figure_label("refusals")
    ('final equity', 'rejections by risk')
    """
    return _LABELS.get(name, name.replace("_", " "))


_LABELS = {"refusals": "rejections by risk"}


def json_text(summary: dict[str, Any]) -> str:
    """Return the summary as JSON, with a line break at the end."""
    return json.dumps(summary, indent=2) + "\n"

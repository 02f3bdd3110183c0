"""Run many trials over the same bars in one pass: the files are read once, and the indicators are computed once.

Each trial has the stages of its own single backtest after the analysis, and makes the same decisions: it receives only
the indicators that its settings need. Trials that cannot share a pass exactly run one after the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from configs.settings import Settings
from configs.strategies import configured_features
from dataflows import backtest as fused
from dataflows.research.in_sample import first_slice_check
from dataflows.research.result import METRIC_UNITS
from dataflows.research.shard_merge import ShardMerge
from dataflows.runtime import stages
from dataflows.runtime.handler_watchdog import HandlerWatchdog, OnStuck, time_limits
from dataflows.runtime.stuck_calls import CallInterrupted, needs_guards, watch_of
from dataflows.runtime.wiring import StageLogic
from dataflows.sources.feed_scan import FeedScan
from dataflows.sources.feed_selection import file_history_bars, needs_earlier_trades, renamed_file_bars
from operators.indicator_calls import own_component
from operators.indicators import build
from operators.performance import Performance
from operators.stage import TimeSlice
from operators.trading_loop import Analysis
from schemas.records import FeatureRow, HistoryRow, Record

BATCH_SLICES = 256
_NEW_ROW = tuple.__new__
InterimValues = tuple[float | None, ...]


class TrialOutcome(NamedTuple):
    """The result of one trial. `returns` are the daily returns by day (yyyymmdd).

    `error` is why the trial has no valid result, such as a suspended strategy; "" for none. `interim` are the values of
    its objective at the times of a pruner. A trial with `pruned_percent` was ended there, in percent of its period.
    """

    decision_hash: str
    metrics: dict[str, float | int | None]
    returns: dict[int, float]
    error: str
    interim: InterimValues = ()
    pruned_percent: int | None = None


class Pruner(Protocol):
    """Ends trials at some times of their period. `percent` are these times in percent."""

    times_ns: tuple[int, ...]
    percent: tuple[int, ...]

    def value(self, outcome: TrialOutcome) -> float | None: ...
    def ends(self, values: Sequence[float | None]) -> bool: ...


def run_trials(
    settings: Sequence[Settings],
    bars: Sequence[Path],
    on_stuck: OnStuck = lambda timeout: None,
    pruner: Pruner | None = None,
) -> list[TrialOutcome]:
    """Run one trial for each of the settings, which differ only in the parameters of the strategies.

    A trial whose calls must be measured one by one is not pruned. Raises BadInput if the settings or files are invalid.
    """
    outcomes: list[TrialOutcome] = [_NO_OUTCOME] * len(settings)
    for group in shared_groups(settings):
        selected = [settings[index] for index in group]
        shares_pass = len(group) > 1 or (pruner is not None and not needs_guards(selected[0]))
        found = _run_pass(selected, bars, on_stuck, pruner) if shares_pass else None
        if found is None:
            found = [_run_single(one, bars, on_stuck) for one in selected]
        for index, outcome in zip(group, found, strict=True):
            outcomes[index] = outcome
    return outcomes


def shared_groups(settings: Sequence[Settings]) -> list[list[int]]:
    """Return the indexes of the trials that can share a pass: they need the same history before the start.

    Trials with indicators of the user share one only if they need the same indicators, because those are limited in
    time. Trials whose calls must be measured one by one run on their own.
    """
    groups: dict[Any, list[int]] = {}
    for index, one in enumerate(settings):
        loaded = one.for_backtest()
        key: tuple[Any, ...] = (file_history_bars(loaded), renamed_file_bars(loaded), needs_earlier_trades(loaded))
        specs = configured_features(loaded)
        if any(own_component(build(spec)) is not None for spec in specs):
            key += specs
        groups.setdefault(index if needs_guards(one) else key, []).append(index)
    return list(groups.values())


def _run_single(settings: Settings, bars: Sequence[Path], on_stuck: OnStuck) -> TrialOutcome:
    performance, _ = fused.run(settings, bars, explains=False, on_stuck=on_stuck)
    return _outcome(performance)


def _run_pass(
    settings: Sequence[Settings], bars: Sequence[Path], on_stuck: OnStuck, pruner: Pruner | None
) -> list[TrialOutcome] | None:
    """Run trials over one pass of the bars. Return None if a call of a strategy did not return.

    A single backtest then finds and suspends this call.
    """
    recognized, scan = fused.recognized_bars(settings[0], bars)
    files = recognized.market_data.files
    values = {"bar_interval": files.bar_interval, "bar_interval_s": None, "session": files.session}
    watch = watch_of(recognized, on_stuck)
    shared = _SharedPass([one.with_file_feed(values) for one in settings], bars, scan, on_stuck, pruner)
    try:
        with fused.reduced_gc(), watch:
            shared.run(lambda: watch.is_interrupted)
    except CallInterrupted:
        return None
    return None if watch.is_interrupted else [trial.outcome() for trial in shared.trials]


class _SharedPass:
    """The feed and the analysis that trials share, and the stages of each trial."""

    def __init__(
        self,
        settings: Sequence[Settings],
        bars: Sequence[Path],
        scan: FeedScan,
        on_stuck: OnStuck,
        pruner: Pruner | None,
    ) -> None:
        first = settings[0].for_backtest()
        limit = HandlerWatchdog(time_limits(first), on_stuck=on_stuck)
        self._feed = fused.feed_opener(settings[0], bars, lambda feed: None, scan)()
        self._checks = [check for one in settings if (check := first_slice_check(one)) is not None]
        loaded = [one.for_backtest() for one in settings]
        specs_by_trial = [stages.feature_specs(one) for one in loaded]
        specs = tuple(dict.fromkeys(spec for specs in specs_by_trial for spec in specs))
        analysis = Analysis(stages.features(first, specs=specs)(), stages.predictions(first, limit)())
        self._analysis = StageLogic(analysis, None)
        self.trials = [
            _Trial(one, limit, None if trial_specs == specs else _SelectedValues(trial_specs))
            for one, trial_specs in zip(loaded, specs_by_trial, strict=True)
        ]
        self._running = list(self.trials)
        self._pruner = pruner
        self._pruning_times = deque(() if pruner is None else zip(pruner.times_ns, pruner.percent, strict=True))

    def run(self, is_interrupted: Callable[[], bool]) -> None:
        """Run to the end of the bars, or until all trials have ended or a call was interrupted."""
        feed, analyse = self._feed, self._analysis.run_slice
        while not feed.finished and self._running and not is_interrupted():
            time_slices = feed.take(BATCH_SLICES)
            if time_slices:
                for check in self._checks:
                    check(time_slices[0])
                self._checks = []
            analysed = [analyse(time_slice) for time_slice in time_slices]
            while self._pruning_times and analysed and analysed[-1].ts_ns >= self._pruning_times[0][0]:
                time_ns, percent = self._pruning_times.popleft()
                before = [time_slice for time_slice in analysed if time_slice.ts_ns < time_ns]
                self._add(before)
                analysed = analysed[len(before) :]
                self._prune(percent)
            self._add(analysed)

    def _add(self, time_slices: list[TimeSlice]) -> None:
        for trial in self._running:
            trial.add(time_slices)

    def _prune(self, percent: int) -> None:
        """End the trials that the pruner ends at a time of the period."""
        assert self._pruner is not None, "there are times to prune at"
        for trial in self._running:
            trial.interim.append(self._pruner.value(_outcome(trial.performance)))
            if self._pruner.ends(trial.interim):
                trial.pruned_percent = percent
        self._running = [trial for trial in self._running if trial.pruned_percent is None]


class _Trial:
    """The stages of one trial after the analysis, and its performance."""

    def __init__(self, settings: Settings, limit: HandlerWatchdog, values: _SelectedValues | None) -> None:
        loop = stages.decision_loop(settings, limit, explains=False, limits_views=False)()
        self._merge = ShardMerge(1, loop, None)
        self._values = values
        self.performance = fused.report_sink(settings).performance
        self.interim: list[float | None] = []
        self.pruned_percent: int | None = None

    def outcome(self) -> TrialOutcome:
        outcome = _outcome(self.performance)._replace(interim=tuple(self.interim), pruned_percent=self.pruned_percent)
        if self.pruned_percent is None:
            return outcome
        value = self.interim[-1]
        assert value is not None, "a trial without an interim objective is not pruned"
        return outcome._replace(error=f"pruned at {self.pruned_percent} % of the period with {value:.4g}")

    def add(self, time_slices: list[TimeSlice]) -> None:
        """Process analysed time slices."""
        if self._values is not None:
            time_slices = [*map(self._values.select, time_slices)]
        batches, _ = self._merge.on_batch([("0", time_slices)])
        add_slice = self.performance.on_slice
        for traded in batches:
            for time_slice in traded:
                add_slice(time_slice)


class _SelectedValues:
    """Leaves only the values of some indicators in the rows of a time slice.

    A strategy could otherwise read values that it does not declare, and decide differently from its single backtest.
    """

    def __init__(self, specs: Sequence[str]) -> None:
        names = (f"{spec}{suffix}" for spec in specs for suffix in build(spec).value_suffixes)
        self._names = tuple(dict.fromkeys(names))
        self._read = itemgetter(*self._names) if len(self._names) > 1 else None

    def select(self, time_slice: TimeSlice) -> TimeSlice:
        records: list[Record] = []
        for record in time_slice.records:
            if type(record) is FeatureRow:
                symbol, seq, ts_ns, bar_seq, close, values, first_seq = record
                fields = (symbol, seq, ts_ns, bar_seq, close, self._selected(values), first_seq)
                records.append(_NEW_ROW(FeatureRow, fields))  # skips the constructor, as the features stage does
            elif type(record) is HistoryRow:
                records.append(record._replace(values=self._selected(record.values)))
            else:
                records.append(record)
        return TimeSlice(time_slice.ts_ns, records)

    def _selected(self, values: Mapping[str, float]) -> dict[str, float]:
        if self._read is not None:
            try:
                return dict(zip(self._names, self._read(values), strict=True))
            except KeyError:  # an indicator that warms up, or is suspended
                pass
        return {name: values[name] for name in self._names if name in values}


def _outcome(performance: Performance) -> TrialOutcome:
    summary: Mapping[str, Any] = performance.summary()
    suspended = next(iter(performance.suspensions), None)
    return TrialOutcome(
        decision_hash=str(summary["decision_hash"]),
        metrics={name: summary[name] for name in METRIC_UNITS if name in summary},
        returns=dict(performance.daily_returns),
        error="" if suspended is None else f"suspended: {suspended.error_type}: {suspended.message}",
    )


_NO_OUTCOME = TrialOutcome("", {}, {}, "")

"""Run the trials of a search that have no stored outcome, store each outcome, and record each trial in the ledger."""

from __future__ import annotations

import getpass
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from configs.recorded_settings import DECISION_SECTIONS, canonical_json, recorded_text
from configs.settings import Settings
from configs.strategies import configured_strategies, load_strategies
from configs.strategy_objects import named_strategy
from dataflows import backtest as fused
from dataflows.research.loaded_bars import BarsArgument, bar_files
from dataflows.research.overfitting.sharpe import SharpeEstimate, estimate_sharpe
from dataflows.research.run_sources import sources_of, strategy_labels
from dataflows.research.run_store import RunSources
from dataflows.research.strategy_backtest import BacktestInputs, SettingsInput, settings_of, with_inputs
from dataflows.research.sweeps.outcome_store import OutcomeStore, state_file
from dataflows.research.sweeps.parameter_sets import Parameters, describe_set
from dataflows.research.sweeps.trial_pass import TrialOutcome
from dataflows.research.sweeps.trial_pruning import PruningRule
from dataflows.research.sweeps.trial_workers import TrialGroup, processes_of, run_groups, split_trials
from dataflows.research.trial_ledger import Trial, TrialLedger
from dataflows.sources.file_feed import FileFeed
from schemas.errors import BadInput
from schemas.records import Bar

OBJECTIVES_RECORDED = ("sharpe", "sortino", "calmar", "total_return")
Progress = Callable[[int, int], None]
"""Receives the number of trials that have ended, and the number of trials of the search so far."""


class Period(NamedTuple):
    """Bars that open in [start, end), as ISO dates or times. None: from the first, or to the last bar."""

    start: str | None = None
    end: str | None = None


ALL_BARS = Period()
Scope = tuple[Period | None, str | None]
"""The period and the symbol of a trial; None: those of the settings."""


class TrialRequest(NamedTuple):
    """Parameters to run over a period and the bars of one symbol; None: the period or the symbols of the settings."""

    parameters: Parameters
    period: Period | None = None
    symbol: str | None = None

    @property
    def scope(self) -> Scope:
        return self.period, self.symbol


@dataclass(frozen=True, kw_only=True)
class SearchInputs:
    """What all trials of a search have in common.

    strategy    a class, the name of a strategy of the platform, or `FILE.py:Class`
    bars        files, folders or a frame
    settings    a settings file, values, or `Settings`; None: those of the command line
    parameters  arguments of the strategy that do not vary
    run_inputs  the other arguments of `backtest` that say what a run reads
    processes   number of processes; None: one for each core
    progress    is called when trials end
    """

    strategy: object
    bars: BarsArgument
    settings: SettingsInput = None
    parameters: Mapping[str, Any] | None = None
    run_inputs: BacktestInputs
    processes: int | None = None
    progress: Progress = lambda ended, requested: None


class TrialSearch:
    """The trials of one strategy over the same files under the same settings.

    `name` is that of the strategy in the settings. `run` is the name of the search in the ledger. `label` is the name
    of the strategy in its records. `definition` says what the trials have in common, as texts by part.
    """

    def __init__(self, inputs: SearchInputs, settings: Settings, name: str, bars: Sequence[Path]) -> None:
        self._inputs, self.settings, self._name, self.bars = inputs, settings, name, tuple(bars)
        self._fixed = dict(inputs.parameters or {})
        self._processes = processes_of(inputs.processes)
        self.ledger, self.store = TrialLedger(state_file("trials.sqlite")), OutcomeStore(state_file("searches.sqlite"))
        self._user = _user_name()
        self.run = self.label = self._code_hash = self._files_hash = ""
        self._settings_hashes: dict[Scope, str] = {}
        self._ended = self._requested = 0

    def rejection(self, parameters: Parameters) -> str:
        """Return why the strategy does not accept the parameters; "" if it does."""
        try:
            load_strategies([{"name": self._name, "parameters": self._fixed | parameters}])
        except BadInput as error:
            return str(error)
        return ""

    def check_sets(self, sets: Sequence[Parameters]) -> None:
        """Raise BadInput if the strategy rejects one of the sets."""
        errors = [(one, error) for one in sets if (error := self.rejection(one))]
        if not errors:
            return
        first, error = errors[0]
        if len(errors) == len(sets):
            raise BadInput(error)
        raise BadInput(
            f"the strategy rejects {len(errors)} of {len(sets)} parameter sets, the first with {describe_set(first)} "
            f"({error}); exclude them with a constraint, such as fast < slow"
        )

    def first_accepted(self, sets: Sequence[Parameters]) -> Parameters:
        """Return the first set that the strategy accepts. Raises BadInput if it rejects all."""
        errors: list[str] = []
        for one in sets:
            if not (error := self.rejection(one)):
                return one
            errors.append(error)
        raise BadInput(errors[0])

    def read_sources(self, example: Parameters) -> dict[str, str]:
        """Read the hashes of data, code and settings, with parameters that the strategy accepts.

        Return what the trials have in common, as texts by part.
        """
        settings = self._settings_of(example)
        is_frame = isinstance(self._inputs.bars, pd.DataFrame)
        sources = sources_of(settings, self.bars, data=["frame"] if is_frame else None)
        self.label = strategy_labels(settings)[0]
        self._code_hash = trial_code_hash(sources)
        self._files_hash = sources.data_sha256
        return {
            "strategy": self._name,
            "code": self._code_hash,
            "data": self.data_hash(self.period),
            "settings": self._settings_hash((None, None)),
            "fixed parameters": canonical_json(self._fixed),
        }

    def first_and_last_ns(self) -> tuple[int, int]:
        """Return the times of the first and the last row of the files that lie in the period of the settings."""
        _, scan = fused.recognized_bars(self.settings, self.bars)
        files = self.settings.market_data.files
        scans = [one for one in scan.files if one.rows]
        first_ns = max(min((one.first_ns for one in scans), default=0), files.start_ns or 0)
        last_ns = max((one.last_ns for one in scans), default=0)
        return first_ns, last_ns if files.end_ns is None else min(last_ns, files.end_ns - 1)

    @property
    def period(self) -> Period:
        """The period of the settings."""
        files = self.settings.market_data.files
        return Period(files.start, files.end)

    def symbols(self) -> list[str]:
        """Return the symbols of the settings, or else those of the bars, which are read once for it."""
        files = self.settings.market_data.files
        if files.symbols is not None:
            return sorted(files.symbols)
        feed = FileFeed(self.bars, files)
        return sorted({record.symbol for _, records in feed for record in records if isinstance(record, Bar)})

    def data_hash(self, period: Period, symbol: str | None = None) -> str:
        """Return the hash of the data of a period: that of the files, if nothing of them is left out."""
        symbols = self.settings.market_data.files.symbols if symbol is None else (symbol,)
        return trial_data_hash(self._files_hash, period, symbols)

    def outcomes(self, requests: Sequence[TrialRequest], pruning: PruningRule | None = None) -> list[TrialOutcome]:
        """Return the outcome of each request. Those without a stored outcome run now, each set and period once.

        With `pruning`, an outcome is that under this rule: only one that was stored under the same rule is used.
        """
        trials = {trial.trial_id: (request, trial) for request in requests for trial in [self._trial(request)]}
        suffix = "" if pruning is None else f"/{pruning.digest}"
        stored = self.store.outcomes(f"{trial_id}{suffix}" for trial_id in trials)
        found = {stored_id.removesuffix(suffix): outcome for stored_id, outcome in stored.items()}
        self._record({trial_id: (trials[trial_id][1], outcome) for trial_id, outcome in found.items()})
        self._requested += len(trials)
        self._report(len(found))
        missing = [request for trial_id, (request, _) in trials.items() if trial_id not in found]
        requests_by_group, groups = self._groups(missing, pruning)
        for index, outcomes in run_groups(groups, self._processes):
            ended = {
                trial.trial_id: (trial, outcome)
                for request, outcome in zip(requests_by_group[index], outcomes, strict=True)
                for trial in [self._trial(request)]
            }
            outcomes_by_id = {trial_id: outcome for trial_id, (_, outcome) in ended.items()}
            self.store.save({f"{trial_id}{suffix}": outcome for trial_id, outcome in outcomes_by_id.items()})
            self._record(ended)
            found |= outcomes_by_id
            self._report(len(ended))
        return [found[self._trial(request).trial_id] for request in requests]

    def _groups(
        self, requests: Sequence[TrialRequest], pruning: PruningRule | None
    ) -> tuple[list[list[TrialRequest]], list[TrialGroup]]:
        """Split requests into groups of one period and symbol. Return them with what a process needs to run them."""
        by_scope: dict[Scope, list[TrialRequest]] = {}
        for request in requests:
            by_scope.setdefault(request.scope, []).append(request)
        processes = -(-self._processes // max(1, len(by_scope)))
        parts = [
            [same[index] for index in indexes]
            for same in by_scope.values()
            for indexes in split_trials(len(same), processes)
        ]
        return parts, [
            TrialGroup(
                settings=self._settings_in(part[0].scope),
                strategy=self._inputs.strategy,
                bars=self.bars,
                parameters=tuple(self._fixed | one.parameters for one in part),
                pruning=pruning,
            )
            for part in parts
        ]

    def settings_by_symbol(self, by_symbol: Mapping[str, Parameters]) -> Settings:
        """Return the settings in which each symbol has its own parameters. Raises BadInput for a trading strategy."""
        settings = self.settings.with_strategies([self._name], self._fixed, by_symbol)
        configured_strategies(settings)
        return settings

    def record_run(self, by_symbol: Mapping[str, Parameters], outcome: TrialOutcome) -> None:
        """Record a run in which each symbol had its own parameters."""
        trial = self._trial(TrialRequest({"parameters_by_symbol": dict(by_symbol)}))
        self._record({trial.trial_id: (trial, outcome)})

    def _settings_of(self, parameters: Parameters) -> Settings:
        return self.settings.with_strategies([self._name], self._fixed | parameters)

    def _settings_in(self, scope: Scope) -> Settings:
        period, symbol = scope
        values: dict[str, Any] = {} if period is None else period._asdict()
        if symbol is not None:
            values["symbols"] = (symbol,)
        return self.settings.with_file_feed(values) if values else self.settings

    def _trial(self, request: TrialRequest) -> Trial:
        """Return the trial of a request without its result."""
        return Trial(
            strategy=self.label,
            code_hash=self._code_hash,
            data_hash=self.data_hash(request.period or self.period, request.symbol),
            settings_hash=self._settings_hash(request.scope),
            parameters=self._fixed | request.parameters,
            seed=None,
            objectives={},
            sharpe=None,
            decision_hash="",
            user=self._user,
            run=self.run,
            recorded_ns=time.time_ns(),
        )

    def _settings_hash(self, scope: Scope) -> str:
        """Return the hash of the settings of a period and symbol, computed once: it costs milliseconds."""
        if scope not in self._settings_hashes:
            self._settings_hashes[scope] = settings_hash(self._settings_in(scope))
        return self._settings_hashes[scope]

    def _record(self, ended: Mapping[str, tuple[Trial, TrialOutcome]]) -> None:
        """Record trials in the ledger. Those that it has add nothing."""
        self.ledger.record(ended_trial(trial, outcome) for trial, outcome in ended.values())

    def _report(self, ended: int) -> None:
        self._ended += ended
        self._inputs.progress(self._ended, self._requested)


@contextmanager
def open_search(inputs: SearchInputs) -> Iterator[TrialSearch]:
    """Yield the search with its settings, strategy and files. Raises BadInput."""
    if inputs.strategy is None:
        raise BadInput("a search needs a strategy: a class, the name of a strategy of the platform, or FILE.py:Class")
    if not isinstance(inputs.strategy, str | type):
        kind = type(inputs.strategy).__name__
        raise BadInput(f"a search needs the class of the strategy, found an object; pass {kind} itself")
    settings = with_inputs(settings_of(inputs.settings), inputs.run_inputs)
    named = nullcontext(inputs.strategy) if isinstance(inputs.strategy, str) else named_strategy(inputs.strategy)
    with named as name, bar_files(inputs.bars, settings) as files:
        yield TrialSearch(inputs, settings, name, files.paths or list(settings.market_data.files.paths))


def sharpe_of(outcome: TrialOutcome) -> SharpeEstimate | None:
    """Return the Sharpe ratio of the daily returns; None if there are fewer than 3, or if they do not vary."""
    try:
        return estimate_sharpe(list(outcome.returns.values()))
    except BadInput:
        return None


def ended_trial(trial: Trial, outcome: TrialOutcome) -> Trial:
    """Return a trial with its result.

    A pruned trial is another one than that which runs to its end. Its only objective is the interim one.
    """
    ended = replace(trial, sharpe=sharpe_of(outcome), decision_hash=outcome.decision_hash)
    percent = outcome.pruned_percent
    if percent is None:
        return replace(ended, objectives={name: outcome.metrics.get(name) for name in OBJECTIVES_RECORDED})
    return replace(
        ended,
        settings_hash=_sha256(trial.settings_hash, f"pruned at {percent} %"),
        objectives={f"pruned_at_{percent}_pct": outcome.interim[-1]},
    )


def settings_hash(settings: Settings) -> str:
    """Return the hash of the settings that affect decisions, without the strategies and the paths of the bars."""
    return recorded_settings_hash(json.loads(recorded_text(settings)))


def recorded_settings_hash(tree: Mapping[str, Any]) -> str:
    """Return the `settings_hash` of recorded settings."""
    sections = {name: tree[name] for name in DECISION_SECTIONS}
    sections["signals"] = {name: value for name, value in tree["signals"].items() if name != "strategies"}
    files = {name: value for name, value in tree["market_data"]["files"].items() if name != "paths"}
    sections["market_data"] = {**tree["market_data"], "files": files}
    return _sha256(canonical_json(sections))


def trial_code_hash(sources: RunSources) -> str:
    """Return the hash of the code of a trial: that of the platform, and of the user's files."""
    return _sha256(sources.code_sha256, *sources.source_sha256.values())


def trial_data_hash(files_hash: str, period: Period, symbols: Sequence[str] | None) -> str:
    """Return the hash of the data of a trial: that of the files, if nothing of them is left out."""
    if period == ALL_BARS and symbols is None:
        return files_hash
    return _sha256(files_hash, *map(str, period), *(symbols or ()))


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no entry for this user id
        return ""

"""A stage that applies the configurations in the log: a record `Configuration` replaces the stage in its time slice.

The new stage restores the snapshot of the old one, as after a restart with other settings: a new strategy starts
without state, and all others keep theirs. The snapshot contains the configuration in force, so that a restarted process
continues with it and not with the settings file. Before the first configuration of a log, the settings of the process
are in force.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final, NamedTuple

import structlog

from configs.indicator_files import register_indicator_files
from configs.recorded_settings import require_valid, settings_of
from configs.settings import Settings
from operators.stage import Stage, next_timer_ns
from schemas.errors import BadInput
from schemas.records import CheckpointMarker, Configuration, Record

log = structlog.get_logger(__name__)

CONFIGURED: Final = "configuration"
"""The first element of a snapshot that holds a configuration."""
VERSION: Final = 1

MakeStage = Callable[[Settings], Callable[[], Stage]]
"""A function of `stages.py`. Stages that it makes from the same settings may share loaded strategies and models."""
UseSource = Callable[[Configuration, Settings], Settings]
"""Returns the settings of a replay, which may name recorded source code in place of the files of this host."""
OnApplied = Callable[[Configuration, int, int], None]
"""Receives the configuration that a stage has applied or restored, the time slice from which on it is in force, and the
number of the stage in this process.
"""
CheckSources = Callable[[Configuration], None]
"""Raises BadInput if the strategy and indicator files of this host differ from those of a configuration."""


_stage_numbers = count(1)


class _Observers(NamedTuple):
    check_sources: CheckSources = lambda _: None
    on_applied: OnApplied = lambda *_: None


_observers = _Observers()


def observe_configurations(check_sources: CheckSources, on_applied: OnApplied) -> None:
    """Set the functions that the stages of this process call by default. A replay calls none."""
    global _observers
    _observers = _Observers(check_sources, on_applied)


class ConfiguredState(NamedTuple):
    """The snapshot of a stage, the configuration in force (None before the first one) and since which time slice."""

    configuration: Configuration | None
    since_ns: int
    stage: Any


class StageFactory:
    """Makes the stages of one service. Shards with equal settings share one call of `make` and what it loads.

    A replay passes `use_source`. Raises BadInput if the settings of the process are invalid.
    """

    def __init__(
        self,
        make: MakeStage,
        settings: Settings,
        *,
        check_sources: CheckSources | None = None,
        on_applied: OnApplied | None = None,
        use_source: UseSource | None = None,
    ) -> None:
        self._make, self._settings = make, settings
        self._check_sources = check_sources or _observers.check_sources
        self.on_applied = on_applied or _observers.on_applied
        self._use_source = use_source
        # `make` is called at once, so that a process with invalid settings does not start.
        self._newest: tuple[Settings, Callable[[], Stage]] = (settings, make(settings))
        self._own = self._newest

    def __call__(self) -> ConfiguredStage:
        return ConfiguredStage(self)

    def constructor(self, configuration: Configuration | None) -> Callable[[], Stage]:
        """Return a function that makes a stage with a configuration; None: with the settings of the process.

        Consecutive calls with equal settings return the same function. Raises BadInput.
        """
        if configuration is None:
            return self._own[1]
        settings = settings_of(configuration, self._settings)
        self._check_sources(configuration)
        if self._use_source is not None:
            settings = self._use_source(configuration, settings)
            # A cached function does not load the indicator files again.
            register_indicator_files(settings.features.indicator_files)
        if settings != self._newest[0]:
            self._newest = self._own if settings == self._own[0] else (settings, self._make(settings))
        return self._newest[1]


class ConfiguredStage:
    """A stage that applies each new `Configuration` in its time slices.

    A configuration is discarded if its number is not higher than the number in force: it is a duplicate, or a
    concurrent change was written first. An invalid configuration changes nothing. The stage is made at the first time
    slice. If a file and the configuration have changed before a restart, the old file is therefore not needed.
    """

    def __init__(self, factory: StageFactory) -> None:
        self._factory, self._number = factory, next(_stage_numbers)
        self._configuration: Configuration | None = None
        self._since_ns = -1
        self._make: Callable[[], Stage] | None = None
        self._stage: Stage | None = None
        self._unrestored: Any = None  # the snapshot of a stage that is not made yet

    @property
    def configuration(self) -> Configuration | None:
        """The configuration in force; None before the first one."""
        return self._configuration

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        types = set(map(type, records))
        if Configuration in types:
            applied = self._apply_newest(ts_ns, [record for record in records if type(record) is Configuration])
            # The stage receives the record that it applies: the cause of what it closes for removed strategies.
            records = [record for record in records if type(record) is not Configuration or record is applied]
        if CheckpointMarker in types:
            records = [record for record in records if type(record) is not CheckpointMarker]
        return self._open_stage().on_slice(ts_ns, records)

    def _apply_newest(self, ts_ns: int, configurations: Sequence[Configuration]) -> Configuration | None:
        """Apply the last valid one of the new configurations of a time slice, and return it; None without one."""
        newest = self._configuration
        for configuration in configurations:
            if newest is not None and configuration.number <= newest.number:
                continue
            try:
                require_valid(configuration)
            except BadInput as error:
                log.error("configuration rejected", configuration=configuration.configuration_id, reason=str(error))
                continue
            newest = configuration
        if newest is None or newest is self._configuration:
            return None
        make = self._factory.constructor(newest)
        if self._stage is not None and make is not self._make:
            self._unrestored, self._stage = self._stage.snapshot(), None
        self._configuration, self._since_ns = newest, ts_ns
        self._open_stage()
        self._factory.on_applied(newest, ts_ns, self._number)
        return newest

    def _open_stage(self) -> Stage:
        if self._stage is None:
            self._make = self._factory.constructor(self._configuration)
            self._stage = self._make()
            if self._unrestored is not None:
                self._stage.restore(self._unrestored)
                self._unrestored = None
        return self._stage

    def next_timer_ns(self) -> int | None:
        return next_timer_ns(self._open_stage())

    def snapshot(self) -> Any:
        """Return the stage's own snapshot before the first configuration; else one that holds both."""
        state = self._open_stage().snapshot()
        if self._configuration is None:
            return state
        return (CONFIGURED, VERSION, _packed(self._configuration), self._since_ns, state)

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. A snapshot of an earlier release contains only the stage, without a configuration."""
        self._configuration, self._since_ns, self._unrestored = read_state(snapshot)
        self._stage = self._make = None
        if self._configuration is not None:
            self._factory.on_applied(self._configuration, self._since_ns, self._number)


def read_state(snapshot: Any) -> ConfiguredState:
    """Return the parts of a stage's snapshot, also of one without a configuration."""
    if not (isinstance(snapshot, tuple) and snapshot and snapshot[0] == CONFIGURED):
        return ConfiguredState(None, -1, snapshot)
    _, version, packed, since_ns, state = snapshot
    assert version == VERSION, f"state of a configured stage: version {version}, expected {VERSION}"
    values = json.loads(zlib.decompress(packed))
    return ConfiguredState(Configuration(**values), since_ns, state)


_last_packed: list[tuple[Configuration, bytes]] = []


def _packed(configuration: Configuration) -> bytes:
    """Return the record as compressed JSON without the text of the sources. The last result is cached."""
    if not _last_packed or _last_packed[0][0] != configuration:
        values = configuration._replace(sources={})._asdict()
        _last_packed[:] = [(configuration, zlib.compress(json.dumps(values, sort_keys=True).encode(), 9))]
    return _last_packed[0][1]

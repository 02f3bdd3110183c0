"""Profile one stage: run a backtest with cProfile enabled only while that stage runs."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dataflows.runtime import stages
from schemas.errors import BadInput

if TYPE_CHECKING:
    from configs.settings import Settings
    from operators.stage import Stage
    from schemas.records import Record


class FunctionTime(NamedTuple):
    """One function: calls, seconds in itself, and seconds including the functions that it calls."""

    function: str
    calls: int
    own_s: float
    total_s: float


class ProfiledStage:
    """A stage that enables the profile while it runs."""

    def __init__(self, stage: Stage, profile: cProfile.Profile) -> None:
        self._stage, self._profile = stage, profile

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        self._profile.enable()
        try:
            return self._stage.on_slice(ts_ns, records)
        finally:
            self._profile.disable()

    def snapshot(self) -> Any:
        return self._stage.snapshot()

    def restore(self, snapshot: Any) -> None:
        self._stage.restore(snapshot)


def profile_stage(settings: Settings, service: str, bars: Sequence[Path]) -> tuple[dict[str, Any], list[FunctionTime]]:
    """Return the backtest's summary, and the stage's functions by their own time in descending order.

    Raises BadInput if the backtest does not run the service's stage, or a file is malformed.
    """
    from dataflows.backtest import run

    profile = cProfile.Profile()
    with _profiling(service, profile):
        _, summary = run(settings, bars)
    function_times = _function_times(profile)
    if not function_times:
        raise BadInput(f"cannot profile {service}: the backtest does not run it with these settings")
    return summary, function_times


def profiled_services() -> list[str]:
    """Return the services that have a stage."""
    from dataflows.runtime.topology import SERVICES

    return [name for name in SERVICES if callable(getattr(stages, name, None))]


@contextmanager
def _profiling(service: str, profile: cProfile.Profile) -> Iterator[None]:
    """Profile the stages of this service that are created within the block."""
    original: Callable[..., Callable[[], Stage]] = getattr(stages, service)

    def profiled(settings: Settings, *limits: Any) -> Callable[[], Stage]:
        make_stage = original(settings, *limits)
        return lambda: ProfiledStage(make_stage(), profile)

    setattr(stages, service, profiled)
    try:
        yield
    finally:
        setattr(stages, service, original)


def _function_times(profile: cProfile.Profile) -> list[FunctionTime]:
    # pstats.Stats rejects an empty profile.
    if not profile.getstats():
        return []
    stats: Any = pstats.Stats(profile)  # its attribute `stats` is missing in the type information
    table: dict[tuple[str, int, str], tuple[int, int, float, float, Any]] = stats.stats
    rows = [
        FunctionTime(_location(location), calls, own_s, total_s)
        for location, (_, calls, own_s, total_s, _) in table.items()
        if "_lsprof" not in location[2]
    ]
    return sorted(rows, key=lambda row: -row.own_s)


def _location(location: tuple[str, int, str]) -> str:
    file, line, function = location
    if file == "~":
        return function
    path = Path(file)
    return f"{path.parent.name}/{path.name}:{line} {function}"

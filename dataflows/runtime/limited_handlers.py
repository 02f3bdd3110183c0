"""Build the live stages of the strategies with time limits: each timeout is recorded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from configs.settings import Settings
from dataflows.runtime import store_lock
from dataflows.runtime.configured_stage import StageFactory
from dataflows.runtime.handler_backstop import HandlerBackstop, read_timeout
from dataflows.runtime.handler_timeouts import (
    StageWithTimeouts,
    publish_timeouts,
    record_and_exit,
    recorded_timeouts,
)
from dataflows.runtime.handler_watchdog import HandlerWatchdog, time_limits
from dataflows.runtime.live_endpoints import ServiceEndpoints, stats_folder
from operators.handler_limit import HandlerLimit
from operators.stage import Stage
from schemas.errors import Unavailable


class MakeStages(Protocol):
    """A function that builds the stages of a service, such as `stages.strategies`."""

    def __call__(self, settings: Settings, limit: HandlerLimit | None = None) -> Callable[[], Stage]: ...


def limited_stage(make_stages: MakeStages, endpoints: ServiceEndpoints) -> Callable[[], Stage]:
    """Return the live stage of a service: with the timeouts that it has recorded, and with time limits.

    At a timeout, the process records it and ends. If the last process ended without a record, because its handler
    never released the GIL, the timeout is recorded now. Raises Unavailable if the timeouts cannot be read or written.
    """
    return limited_stages([make_stages], endpoints.settings, endpoints.stats.name)[0]


def limited_stages(services: Sequence[MakeStages], settings: Settings, process: str) -> list[Callable[[], Stage]]:
    """Return the live stages of several services that share a process of this name, as `limited_stage` describes."""
    stats, kafka = stats_folder(), settings.kafka
    backstop: HandlerBackstop | None = None
    if stats is not None:
        folder = stats.parent / "handlers"
        process = f"{process}-{store_lock.store_arguments(sys.argv[1:]).process}"
        unrecorded = read_timeout(folder, process)
        if unrecorded is not None and not publish_timeouts(kafka, [unrecorded]):
            raise Unavailable(f"Kafka at {kafka.bootstrap_servers} did not accept the timeout of a handler")
        backstop = HandlerBackstop(folder, process)
    limits, end_process = time_limits(settings), record_and_exit(kafka)
    watchdog = HandlerWatchdog(limits, end_process=end_process, backstop=backstop)
    timeouts = recorded_timeouts(kafka)

    def factory(make_stages: MakeStages) -> StageFactory:
        make = StageWithTimeouts.under_settings(lambda current: make_stages(current, watchdog), timeouts)
        return StageFactory(make, settings)

    return [factory(make_stages) for make_stages in services]

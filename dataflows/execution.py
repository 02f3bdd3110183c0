"""Execution service: orders, market data -> simulated venue or broker gateway -> executions, order-intents."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, stages
from dataflows.runtime.configured_stage import StageFactory
from dataflows.runtime.stage_timers import with_timers
from dataflows.runtime.wiring import SliceSink, SliceSource, build_stage_flow
from operators.stage import Stage
from sinks.host_kill_switch import HostKillSwitch
from sinks.leases import ServiceLease


def build(
    settings: Settings,
    source: SliceSource,
    sinks: Mapping[str, SliceSink],
    make_stage: Callable[[], Stage] | None = None,
) -> Dataflow:
    """Build the flow. `make_stage` makes a stage that publishes its timers; the default publishes none.

    Source items: (shard, time slices of all inputs). Sink items: (shard, time slices of Executions, GatewayStatuses
    and OrderIntents). With a broker, one sink sends the intents to it.
    """
    return build_stage_flow("execution", make_stage or StageFactory(stages.execution, settings), source, sinks)


def flow() -> Dataflow:
    """Connect the flow to the running platform. Run it with `python -m bytewax.run dataflows.execution`."""
    endpoints = live_endpoints.connect("execution")
    broker_sink = connect_broker(endpoints.settings, endpoints.lease)
    if broker_sink is not None:
        endpoints.sinks["broker"] = broker_sink
    make_stage = with_timers("execution", StageFactory(stages.execution, endpoints.settings), endpoints.settings)
    return build(endpoints.settings, live_endpoints.topics_source("execution", endpoints), endpoints.sinks, make_stage)


def connect_broker(settings: Settings, lease: ServiceLease | None) -> SliceSink | None:
    """Return the sink that sends order intents to the broker; None for the simulated venue, whose guard it starts."""
    if settings.execution.broker != "alpaca":
        start_simulated_guard(settings)
        return None
    # Imported here because it is slow to import and the simulated venue does not use it.
    from dataflows.broker.broker_setup import build_broker_sink

    return build_broker_sink(settings, lease, _kill_switch())


def start_simulated_guard(settings: Settings) -> None:
    """Start the guard that confirms a halt of the simulated venue. Does nothing without a state folder."""
    kill_switch = _kill_switch()
    if kill_switch is not None:
        from dataflows.broker import halt_setup

        halt_setup.start_simulated_guard(settings, kill_switch)


def _kill_switch() -> HostKillSwitch | None:
    stats_folder = live_endpoints.stats_folder()
    return None if stats_folder is None else HostKillSwitch(stats_folder.parent)

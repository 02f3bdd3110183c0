"""Decide which services run beside the compact process: those that send requests to an external system.

A broker or a language model must stay reachable for a kill switch, and must not be affected by a process that hangs.
The service that sends the requests, and the threads that do so, therefore have a process of their own in both layouts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dataflows.runtime.topology import EDGE_SERVICES

if TYPE_CHECKING:
    from configs.settings import Settings

BESIDE_VARIABLE = "PLATFORM_BESIDE_COMPACT"
"""Names the services that run beside the compact process, separated by commas. The supervisor sets it, so that a
process that restarts after an edit of the settings file continues with its store. Without it, the settings decide."""


def services_beside_compact(settings: Settings) -> tuple[str, ...]:
    """Return the services that run beside the compact process: `execution` with a real broker, and `sentiment` with a
    language model.
    """
    sends_requests = {
        "sentiment": settings.sentiment.llm.enabled,
        "execution": settings.execution.broker != "simulated",
    }
    return tuple(name for name in EDGE_SERVICES if sends_requests[name])


def recorded_beside_compact(settings: Settings, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the services that run beside this compact process: those that the supervisor has started, else those of
    the settings.
    """
    recorded = environment.get(BESIDE_VARIABLE)
    if recorded is None:
        return services_beside_compact(settings)
    return tuple(name for name in EDGE_SERVICES if name in recorded.split(","))

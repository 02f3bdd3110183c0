"""How many processes run a service by shard, and where each of them keeps its state.

The folder of a service's recovery store says it, so that the number and the states that were laid out for it cannot
disagree: `recovery/features/part-*` is one process, `recovery/features/1of3` … `3of3` are three.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from dataflows.runtime.topology import SERVICES, Replica
from deploy.errors import DeployError
from deploy.home import Home

_WHY_ONE = {
    "market_data": "it alone closes each minute and writes the clock",
    "portfolio": "positions and cash belong to the whole account",
    "risk": "limits and the kill switch belong to the whole account",
    "execution": "one gateway alone may send an order",
}
_WHY_ONE_OTHERWISE = "it sees all symbols at once"


def replica_name(service: str, replica: Replica) -> str:
    """Of its process, log and statistics: `features`, or `features-2of3`."""
    return service if replica.total == 1 else f"{service}-{replica}"


def store_of(home: Home, service: str, replica: Replica) -> Path:
    """The folder of its recovery store."""
    folder = home.recovery / service
    return folder if replica.total == 1 else folder / str(replica)


def replicas_of(home: Home, service: str) -> list[Replica]:
    """As many as the service has in this state folder; one where it never ran. Raises DeployError where some miss."""
    folder = home.recovery / service
    found = sorted(path.name for path in folder.glob("*of*") if path.is_dir()) if folder.is_dir() else []
    if not found:
        return replicas(1)
    count = Replica.read(found[0]).total
    expected = replicas(count)
    if {str(replica) for replica in expected} != set(found):
        raise DeployError(f"{folder} must hold the states of {count} processes, found {', '.join(found)}")
    return expected


def replicas(count: int) -> list[Replica]:
    return [Replica(number, count) for number in range(1, count + 1)]


def require_scalable(service: str, count: int, partitions: int) -> None:
    """Raises DeployError, in one sentence, where a service cannot run as so many processes."""
    if service not in SERVICES:
        raise DeployError(f"there is no dataflow {service!r}; there are {', '.join(SERVICES)}")
    if not SERVICES[service].by_shard:
        scalable = ", ".join(name for name, described in SERVICES.items() if described.by_shard)
        why = _WHY_ONE.get(service, _WHY_ONE_OTHERWISE)
        raise DeployError(f"{service} has a single instance because {why}; these can be scaled: {scalable}")
    if not 1 <= count <= partitions:
        raise DeployError(
            f"{service} can run as 1 to {partitions} processes, one shard each at most "
            f"(symbol_partitions of kafka_topics.yaml), found {count}"
        )


def settle(home: Home) -> None:
    """Finish a rescale that was interrupted between its last two steps (`deploy/recovery/rescale.py`)."""
    for service in SERVICES:
        folder = home.recovery / service
        made, before = folder.with_name(f"{service}.scaled"), folder.with_name(f"{service}.unscaled")
        if before.exists() and not folder.exists():
            made.replace(folder)
        for leftover in (made, before):
            shutil.rmtree(leftover, ignore_errors=True)

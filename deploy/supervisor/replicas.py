"""Find the number of processes of a service, and the recovery store of each.

The layout of the service's recovery folder defines the number, so that the number always matches the stored states:
`recovery/features/part-*` is one process, `recovery/features/1of3` … `3of3` are three.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from dataflows.runtime.topology import COMPACT, SERVICES, Replica
from deploy.errors import DeployError
from deploy.home import Home

_SINGLE_INSTANCE_REASONS = {
    "market_data": "only one process may close each minute and write the clock",
    "portfolio": "positions and cash belong to the whole account",
    "risk": "limits and the kill switch belong to the whole account",
    "execution": "only one gateway may send orders",
}
_SINGLE_INSTANCE_DEFAULT_REASON = "it processes all symbols together"
_OTHER_LAYOUT = "stop the platform and start it with `python cli.py start --layout services`"


def replica_name(service: str, replica: Replica) -> str:
    """Return the name of a replica's process, log and statistics: `features`, or `features-2of3`."""
    return service if replica.total == 1 else f"{service}-{replica}"


def store_of(home: Home, service: str, replica: Replica) -> Path:
    """Return the folder of a replica's recovery store."""
    folder = home.recovery / service
    return folder if replica.total == 1 else folder / str(replica)


def replicas_of(home: Home, service: str) -> list[Replica]:
    """Return the replicas of a service; one if it never ran. Raises DeployError if some stores are missing."""
    folder = home.recovery / service
    names = sorted(path.name for path in folder.glob("*of*") if path.is_dir()) if folder.is_dir() else []
    if not names:
        return replicas(1)
    count = Replica.parse(names[0]).total
    expected = replicas(count)
    if {str(replica) for replica in expected} != set(names):
        raise DeployError(f"{folder} must have the states of {count} processes, found {', '.join(names)}")
    return expected


def replicas(count: int) -> list[Replica]:
    return [Replica(number, count) for number in range(1, count + 1)]


def require_scalable(service: str, count: int, partitions: int, shared: Collection[str] = ()) -> None:
    """Raises DeployError if a service cannot run as `count` processes. `shared` are the services in the compact
    process; none in the layout `services`.
    """
    if service == COMPACT and shared:
        raise DeployError(
            f"cannot scale {COMPACT}, because one process runs {', '.join(shared)}; {_OTHER_LAYOUT} to scale a service"
        )
    if service not in SERVICES:
        raise DeployError(f"unknown dataflow {service!r}; expected one of {', '.join(SERVICES)}")
    if not SERVICES[service].by_shard:
        scalable = [name for name, spec in SERVICES.items() if spec.by_shard and name not in shared]
        reason = _SINGLE_INSTANCE_REASONS.get(service, _SINGLE_INSTANCE_DEFAULT_REASON)
        names = ", ".join(scalable) or "none in the layout compact"
        raise DeployError(f"{service} has a single instance because {reason}; scalable services: {names}")
    if service in shared:
        others = ", ".join(name for name in shared if name != service)
        raise DeployError(
            f"cannot scale {service} in the layout compact, because it shares a process with {others}; {_OTHER_LAYOUT} "
            "to scale it"
        )
    if not 1 <= count <= partitions:
        raise DeployError(
            f"{service} can run as 1 to {partitions} processes (symbol_partitions in kafka_topics.yaml), found {count}"
        )


def finish_rescale(home: Home) -> None:
    """Complete a rescale that was interrupted between its last two steps (`deploy/recovery/rescale.py`)."""
    for service in SERVICES:
        folder = home.recovery / service
        new_store, old_store = folder.with_name(f"{service}.scaled"), folder.with_name(f"{service}.unscaled")
        if old_store.exists() and not folder.exists():
            new_store.replace(folder)
        for leftover in (new_store, old_store):
            shutil.rmtree(leftover, ignore_errors=True)

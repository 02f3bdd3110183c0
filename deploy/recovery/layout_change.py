"""Convert the recovery stores of a stopped platform to another layout.

The stores of the new layout are written beside the old ones, then the file that names the layout is replaced. Until
then, the old stores are complete and in use; an interrupted conversion starts again. Afterwards the old stores are
removed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflows.replay.layout_stores import (
    KafkaTopics,
    compact_state,
    service_states,
    write_compact_store,
    write_service_store,
)
from dataflows.runtime import topology
from dataflows.runtime.store_lock import locked_store
from dataflows.runtime.topology import COMPACT, Layout
from deploy.errors import DeployError
from deploy.home import Home
from deploy.recovery.recovery_store import count_starts, read_resume_states
from deploy.supervisor.initialize import make_recovery_store
from deploy.supervisor.layout import read_beside, read_layout, services_beside, shared_services, write_layout
from deploy.supervisor.replicas import replicas_of, store_of
from deploy.supervisor.state_contents import forget_starts
from schemas.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from configs.settings import Settings
    from dataflows.replay.recorded_log import RebuildStart
    from dataflows.replay.recorded_source import RecordedSource

States = dict[str, dict[str, tuple[Any, Any]]]


def change_layout(home: Home, settings: Settings, target: Layout) -> str:
    """Convert the stores to the layout `target`, if they have another one. Return a line for the user.

    In `compact`, the settings determine which services run beside the compact process. If only these change, the
    conversion goes through the layout `services`, so that an interrupted one leaves complete stores.

    Raises DeployError if the stores cannot be converted: a store is in use, missing or was never used, the services
    have processed different time slices, or the topics cannot be read. The old stores then stay in place.
    """
    current, beside = read_layout(home), services_beside(settings, target)
    if current is target and read_beside(home) == beside:
        return f"layout: {target}"
    if target is Layout.COMPACT and (conflict := topology.compact_conflict(beside)) is not None:
        raise DeployError(conflict)
    if current is target:
        _require_stopped_together(home, beside)
        _convert(home, settings, Layout.SERVICES, ())
    slice_ns = _convert(home, settings, target, beside)
    description = f"layout: {target}" + (f" with {' and '.join(beside)} beside it" if beside else "")
    if slice_ns is None:
        return f"{description}, for a new platform"
    return f"{description}, converted from {current} at time slice {slice_ns}"


def _convert(home: Home, settings: Settings, target: Layout, beside: Sequence[str]) -> int | None:
    """Convert the stores from one layout to the other. A store of a service beside the compact process stays.

    Return the time slice of the converted stores, None for a new platform.
    """
    is_joining = target is Layout.COMPACT
    shared = topology.compact_services(beside) if is_joining else shared_services(home)
    old, new = (shared, (COMPACT,)) if is_joining else ((COMPACT,), shared)
    with _locked_stores(home, old):
        if not any(_starts(home, name) for name in old):
            _replace_stores(home, target, beside, old, new, written=False)
            return None
        write = _write_compact if is_joining else _write_services
        try:
            slice_ns = write(home, settings, shared)
        except (BadInput, Unavailable) as error:
            raise DeployError(f"cannot change the layout to {target}: {error}") from error
        _replace_stores(home, target, beside, old, new, written=True)
    return slice_ns


def _require_stopped_together(home: Home, beside: Sequence[str]) -> None:
    """Raises DeployError if a service that is to join the compact process has stopped at another time slice."""
    joining = [service for service in read_beside(home) if service not in beside and _starts(home, service)]
    stores = {service: _stores_of(home, service) for service in joining}
    positions = {name: {state[0][1] for state in one.values()} for name, one in read_service_states(stores).items()}
    compact_slices = {state[1] for state in _compact_states(home)}
    for service, slices in positions.items():
        if slices != compact_slices:
            raise DeployError(
                f"cannot move {service} into the process compact: both must have stopped at the same time slice, found "
                f"{service} at {_join(slices)} and compact at {_join(compact_slices)}; start the platform with its "
                "earlier settings, stop it with `python cli.py stop --drain`, and try again"
            )


def _join(slices: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(slices))) or "no time slice"


@contextmanager
def _locked_stores(home: Home, names: tuple[str, ...]) -> Iterator[None]:
    with ExitStack() as locks:
        for name in names:
            for replica in replicas_of(home, name):
                try:
                    locks.enter_context(locked_store(store_of(home, name, replica)))
                except Unavailable as error:
                    raise DeployError(f"cannot change the layout: {error}") from error
        yield


def _starts(home: Home, name: str) -> int:
    """Return how often a process started; 0 without a store."""
    folders = [store_of(home, name, replica) for replica in replicas_of(home, name)]
    return sum(count_starts(folder) for folder in folders if any(folder.glob("part-*.sqlite3")))


def _new_folder(home: Home, name: str) -> Path:
    return home.recovery / f"{name}.converted"


def _replace_stores(
    home: Home, target: Layout, beside: Sequence[str], old: Sequence[str], new: Sequence[str], *, written: bool
) -> None:
    """Put the new stores into place, name the layout, and remove the old stores."""
    for name in new:
        folder = home.recovery / name
        shutil.rmtree(folder, ignore_errors=True)  # left by an interrupted conversion
        if written:
            _new_folder(home, name).rename(folder)
    for name in (*old, *new):
        forget_starts(home, name)
    write_layout(home, target, beside)
    for name in old:
        shutil.rmtree(home.recovery / name, ignore_errors=True)


# -- to compact --------------------------------------------------------------------------------------------------------


def read_service_states(folders: Mapping[str, Sequence[Path]]) -> States:
    """Return the states from which the services would resume, given the stores of each service. Raises DeployError."""
    states: States = {}
    for service, stores in folders.items():
        by_step: dict[str, dict[str, Any]] = {"ticks": {}, "stage": {}}
        for store in stores:
            for snapshot in read_resume_states(store):
                step = snapshot.step.rpartition(".")[2]
                if step in by_step:
                    by_step[step][snapshot.key] = snapshot.state
        states[service] = {
            shard: (reader_state, by_step["stage"].get(shard)) for shard, reader_state in by_step["ticks"].items()
        }
    return states


def common_slice_ns(states: Mapping[str, Mapping[str, tuple[Any, Any]]], partitions: int) -> int:
    """Return the last time slice of all shards. Raises DeployError if they differ or a shard has no state."""
    slices: dict[int, str] = {}
    for service, states_of_service in states.items():
        for shard in topology.shards(service, partitions):
            state = states_of_service.get(shard)
            if state is None or (state[1] is None and state[0][1] >= 0):
                raise DeployError(
                    f"cannot change the layout: the recovery store of {service} has no state of shard {shard}; start "
                    "the platform with `python cli.py restart`, and stop it with `python cli.py stop --drain`"
                )
            slices.setdefault(state[0][1], service)
    if len(slices) > 1:
        found = ", ".join(f"{service} at {slice_ns}" for slice_ns, service in sorted(slices.items()))
        raise DeployError(
            f"cannot change the layout: the services must have stopped at the same time slice, found {found}; start "
            "the platform in its old layout with `python cli.py start --layout services`, stop it with "
            "`python cli.py stop --drain`, and try again"
        )
    return next(iter(slices))


def _stores_of(home: Home, service: str) -> list[Path]:
    return [store_of(home, service, replica) for replica in replicas_of(home, service)]


def _write_compact(home: Home, settings: Settings, services: Sequence[str]) -> int:
    stores = {service: _stores_of(home, service) for service in services}
    return combine_stores(settings, stores, _new_folder(home, COMPACT))


def combine_stores(settings: Settings, stores: Mapping[str, Sequence[Path]], target: Path) -> int:
    """Write a store of the compact process from those of all its services. Return their time slice.

    Raises DeployError, and Unavailable or BadInput if the topics cannot be read.
    """
    states = read_service_states(stores)
    slice_ns = common_slice_ns(states, settings.kafka.symbol_partitions)
    with closing(KafkaTopics(settings.kafka)) as topics:
        state = compact_state(topics, states, slice_ns)
    shutil.rmtree(target, ignore_errors=True)
    make_recovery_store(target)
    write_compact_store(state, target)
    return slice_ns


def rebuild_compact_store(
    settings: Settings,
    services: Sequence[str],
    target: Path,
    source: RecordedSource,
    starts: Mapping[str, RebuildStart] | None = None,
) -> tuple[int, int]:
    """Write a store of the compact process from the topics, as of the last time slice in all topics of its `services`.

    `starts` are the starts of its services, if not the beginning of the topics. Return the number of compared records
    and the time slice. Raises DeployError, BadInput and Unavailable.
    """
    from dataflows.replay.store_rebuild import last_common_slice_ns, rebuild_store

    partitions = settings.kafka.symbol_partitions
    shards = [(service, shard) for service in services for shard in topology.shards(service, partitions)]
    logs = [log for service, shard in shards for log in topology.clocked_logs(service, shard, partitions)]
    until_ns = last_common_slice_ns(settings.kafka, logs)
    if until_ns < 0:
        make_recovery_store(target)
        return 0, -1
    records, stores = 0, dict[str, list[Path]]()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="compact.rebuild-") as name:
        for service in services:
            stores[service] = [Path(name) / service]
            make_recovery_store(stores[service][0])
            own_shards, start = topology.shards(service, partitions), (starts or {}).get(service)
            folder = stores[service][0]
            if start is not None:
                write_service_store(service, start.states, folder)
            rebuilt = rebuild_store(
                settings, service, own_shards, folder, until_ns=until_ns, recorded_source=source, start=start
            )
            records += rebuilt.records
        return records, combine_stores(settings, stores, target)


# -- to services -------------------------------------------------------------------------------------------------------


def _compact_states(home: Home) -> list[Any]:
    """Return the state of the compact process; empty if it has none."""
    return [snapshot.state for snapshot in read_resume_states(home.recovery / COMPACT) if snapshot.state is not None]


def _write_services(home: Home, settings: Settings, services: Sequence[str]) -> int:
    [state] = _compact_states(home)
    if set(state[2]) != set(services):
        raise BadInput(
            f"the recovery store of compact must have the states of {', '.join(services)}, found "
            f"{', '.join(state[2])}; restore a backup"
        )
    with closing(KafkaTopics(settings.kafka)) as topics:
        all_states = service_states(topics, state)
    for service, states in all_states.items():
        folder = _new_folder(home, service)
        shutil.rmtree(folder, ignore_errors=True)
        make_recovery_store(folder)
        write_service_store(service, states, folder)
    slice_ns: int = state[1]
    return slice_ns

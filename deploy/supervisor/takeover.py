"""Take over the processes that a killed supervisor left, instead of ending them.

A process is adopted only if the new supervisor would start exactly the same one (`process_fingerprint.py`). Otherwise
it is ended and started again, so that no process runs with outdated options.
"""

from collections.abc import Iterable, Sequence

from deploy.supervisor.child import Child, end_orphans
from deploy.supervisor.process_spec import ProcessKind
from deploy.supervisor.state import ChildState, ChildStatus, Phase, PlatformState


def survivors(saved: PlatformState | None) -> tuple[ChildState, ...]:
    """Return the processes of a dead supervisor that still run."""
    return tuple(
        child for child in (saved.children if saved else ()) if child.identity is not None and child.identity.alive()
    )


def end_if_interrupted(saved: PlatformState | None, *, unusable: bool = False) -> list[str]:
    """End the processes of a supervisor that died while it started, stopped or rescaled. Return their names.

    `unusable`: none of them can be taken over.
    """
    was_running = saved is None or (saved.phase is Phase.RUNNING and "in progress" not in saved.rescale)
    return [] if was_running and not unusable else end_orphans(survivors(saved))


def adopt_or_end(saved: PlatformState | None, children: Sequence[Child]) -> tuple[list[str], list[str], bool]:
    """Let `children` adopt the processes that still run, and end the others. Blocks until these have ended.

    Returns the names of the adopted and of the ended processes, and whether the platform needs no initialization:
    it ran before, and every process that runs is the one that would be started now.

    - If a server (Kafka, PostgreSQL, Redis) differs or is gone, everything is ended, because all others depend on it.
    - If a process of the platform differs, all of them are ended: they share settings and code.
    """
    alive = survivors(saved)
    by_name = {child.service.name: child for child in children}
    servers = [child for child in children if child.service.kind is ProcessKind.SERVICE and not child.external]
    alive_names = {state.name for state in alive}
    same = {state.name for state in alive if _matches(state, by_name.get(state.name))}
    servers_match = bool(alive) and all(server.service.name in same for server in servers)
    all_match = servers_match and same == alive_names
    adopted: list[str] = []
    ended: list[ChildState] = []
    for state in alive:
        adopt = all_match or (servers_match and state.kind == ProcessKind.SERVICE and state.name in same)
        if adopt and by_name[state.name].adopt(state):
            adopted.append(state.name)
        else:
            ended.append(state)
    if all_match and saved is not None:
        _repeat_requests(saved.children, by_name)
    return adopted, end_orphans(tuple(ended)), all_match


def _matches(state: ChildState, child: Child | None) -> bool:
    return child is not None and bool(state.fingerprint) and state.fingerprint == child.fingerprint


def _repeat_requests(states: Iterable[ChildState], by_name: dict[str, Child]) -> None:
    """Keep stopped the services that a user has stopped, and suspended those that have suspended themselves."""
    for state in states:
        child = by_name.get(state.name)
        if child is None or child.running:
            continue
        if state.status is ChildStatus.STOPPED:
            child.should_run, child.status = False, ChildStatus.STOPPED
        elif state.status is ChildStatus.SUSPENDED:
            child.status, child.reason = ChildStatus.SUSPENDED, state.reason

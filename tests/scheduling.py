"""Distributes the tests to the processes of pytest-xdist: each file to one process, the end-to-end tests to two."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

PLATFORM_FOLDER = "tests/e2e/"
PLATFORM_PROCESSES = 2
"""Number of processes that run end-to-end tests while other tests are left: each test starts twelve processes.
The one that is free first takes the next group of tests, so that all end at about the same time."""
REFERENCE_RUN = PLATFORM_FOLDER + " reference run"
DATAFLOWS = PLATFORM_FOLDER + " dataflows"
REFERENCE_RUN_TESTS = (
    "test_backup_under_load.py",
    "test_bad_input.py",
    "test_compact.py",
    "test_kill_switch.py",
    "test_outages.py",
    "test_staged_services.py",
)
"""These files compare with the same uninterrupted run, so one process runs them."""
SHARED_PLATFORM_OF = {
    "test_backup_restore.py": "simulator_platform",
    "test_operations.py": "simulator_platform",
    "test_roles.py": "simulator_platform",
    "test_signed_commands.py": "simulator_platform",
    "test_lost_supervisor.py": "services_platform",
    "test_state_guards.py": "services_platform",
    "test_broker_books.py": "broker_platform",
    "test_broker_crashes.py": "broker_platform",
    "test_kill_switch_outages.py": "broker_platform",
    "test_dashboard_orders.py": "dashboard",
    "test_dashboard_sessions.py": "dashboard",
    "test_dashboard_views.py": "dashboard",
}
"""The fixture of the platform that these files share with each other, so one process runs them."""
OWN_PLATFORM_TESTS = (
    "test_tutorials.py",
    "test_chaos.py",
    "test_test_env.py",
)
"""These files start a platform each, the slowest file first. The remaining files start dataflows from one fork server,
so one process runs them."""
_GROUP_ORDER = (
    REFERENCE_RUN,
    DATAFLOWS,
    *(f"{PLATFORM_FOLDER} {name}" for name in dict.fromkeys(SHARED_PLATFORM_OF.values())),
    *(PLATFORM_FOLDER + name for name in OWN_PLATFORM_TESTS),
)


def start_with_platforms(items: list[pytest.Item]) -> None:
    """Move the end-to-end tests to the front, the longest groups first: they take longest.

    The tests that share a platform come first among their group, with no other tests between them.
    """

    def order(item: pytest.Item) -> tuple[int, bool]:
        group = group_of(item.nodeid)
        if group not in _GROUP_ORDER:
            return len(_GROUP_ORDER), False
        return _GROUP_ORDER.index(group), shared_platform(item) is None

    items.sort(key=order)


def shared_platform(item: pytest.Item | None) -> str | None:
    """Return the name of the shared platform that a test uses; None if it uses none."""
    names = getattr(item, "fixturenames", ())
    return next((name for name in SHARED_PLATFORM_OF.values() if name in names), None)


def group_of(nodeid: str) -> str:
    """Return the name of the group of tests that one process runs, one after another.

    >>> group_of("tests/e2e/test_outages.py::test_one"), group_of("tests/e2e/test_roles.py::test_two")
    ('tests/e2e/ reference run', 'tests/e2e/ simulator_platform')
    >>> group_of("tests/e2e/test_chaos.py::test_three"), group_of("tests/unit/test_money.py::test_four")
    ('tests/e2e/test_chaos.py', 'tests/unit/test_money.py')
    """
    file = nodeid.split("::", 1)[0]
    name = PurePath(file).name
    if not file.startswith(PLATFORM_FOLDER) or name in OWN_PLATFORM_TESTS:
        return file
    if name in REFERENCE_RUN_TESTS:
        return REFERENCE_RUN
    return f"{PLATFORM_FOLDER} {SHARED_PLATFORM_OF[name]}" if name in SHARED_PLATFORM_OF else DATAFLOWS


class FilesAndPlatforms(LoadFileScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Like `--dist loadfile`, but the files of a group of end-to-end tests count as one file.

    The fixtures of a module are therefore set up once. Files start in the order of collection.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        """Give the next platforms to the first processes that are free, and the other tests to the rest."""
        busy = sum(self._runs_platforms(other) for other in self.nodes if other is not node)
        is_platform = busy < PLATFORM_PROCESSES
        group = next((name for name in self.workqueue if name.startswith(PLATFORM_FOLDER) == is_platform), None)
        if group is not None:
            self.workqueue.move_to_end(group, last=False)
        super()._assign_work_unit(node)

    def _runs_platforms(self, node: Any) -> bool:
        units = self.assigned_work.get(node) or {}
        return any(name.startswith(PLATFORM_FOLDER) and not all(unit.values()) for name, unit in units.items())

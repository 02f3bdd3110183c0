"""The distribution of the tests to the processes of pytest-xdist."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

from deploy.home import REPOSITORY
from tests.scheduling import (
    OWN_PLATFORM_TESTS,
    REFERENCE_RUN_TESTS,
    SHARED_PLATFORM_OF,
    FilesAndPlatforms,
    group_of,
)


class Worker:
    """Takes the place of a process of pytest-xdist."""

    def __init__(self) -> None:
        self.received: list[int] = []

    def send_runtest_some(self, indexes: list[int]) -> None:
        self.received += indexes


def scheduler_of(tests: list[str], workers: list[Worker]) -> Any:
    scheduler = FilesAndPlatforms.__new__(FilesAndPlatforms)
    scheduler.workqueue = OrderedDict()
    for test in tests:
        scheduler.workqueue.setdefault(group_of(test), {})[test] = False
    scheduler.assigned_work = OrderedDict((worker, {}) for worker in workers)
    scheduler.registered_collections = dict.fromkeys(workers, tests)
    return scheduler


def test_two_processes_take_platforms_while_other_tests_are_left() -> None:
    platforms = [f"tests/e2e/{name}::test" for name in (*OWN_PLATFORM_TESTS, "test_roles.py")]
    others = [f"tests/unit/test_{number}.py::test" for number in range(3)]
    tests = [*platforms, *others]
    first, second, third = workers = [Worker() for _ in range(3)]
    scheduler = scheduler_of(tests, workers)
    for worker in (first, second, third, first, third, third):
        scheduler._assign_work_unit(worker)
    taken = [[tests[index] for index in worker.received] for worker in workers]
    assert taken == [[platforms[0], platforms[2]], [platforms[1]], others]

    scheduler._assign_work_unit(third)
    assert tests[third.received[-1]] == platforms[3], "no other tests are left"


def test_a_process_whose_platforms_are_done_makes_room_for_another() -> None:
    tests = [
        "tests/e2e/test_chaos.py::test",
        "tests/e2e/test_test_env.py::test",
        "tests/e2e/test_tutorials.py::test",
    ]
    tests += ["tests/unit/test_1.py::test", "tests/unit/test_2.py::test"]
    _first, second, third = workers = [Worker() for _ in range(3)]
    scheduler = scheduler_of(tests, workers)
    for worker in workers:
        scheduler._assign_work_unit(worker)
    scheduler.assigned_work[second]["tests/e2e/test_test_env.py"][tests[1]] = True
    scheduler._assign_work_unit(third)
    assert [worker.received for worker in workers] == [[0], [1], [3, 2]]


def test_every_named_file_exists() -> None:
    texts = {path.name: path.read_text() for path in Path(REPOSITORY, "tests", "e2e").glob("test_*.py")}
    assert texts.keys() >= {*OWN_PLATFORM_TESTS, *SHARED_PLATFORM_OF}
    for name, fixture in SHARED_PLATFORM_OF.items():
        assert re.search(rf"\b{fixture}:", texts[name]), f"{name} does not use {fixture}"
    users = {name for name, text in texts.items() if re.search(r"\b(simulator|services|broker)_platform:", text)}
    assert users <= SHARED_PLATFORM_OF.keys()
    assert {name for name, text in texts.items() if re.search(r"\buninterrupted:", text)} == {*REFERENCE_RUN_TESTS}

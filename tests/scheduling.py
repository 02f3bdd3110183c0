"""Distributes the tests to the processes of pytest-xdist: each file to one process, all end-to-end tests to one."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadFileScheduling

PLATFORM_FOLDER = "tests/e2e/"
"""Each of these tests starts a platform of eleven processes, so no two of them run at the same time."""


SHARED_PLATFORM = "simulator_platform"
"""The fixture of a platform that several modules use."""


def start_with_platforms(items: list[pytest.Item]) -> None:
    """Move the end-to-end tests to the front: they take longest, and the other workers run the rest at the same time.

    The tests that share a platform come first, with no other tests between them.
    """
    items.sort(key=lambda item: (not item.nodeid.startswith(PLATFORM_FOLDER), not uses_shared_platform(item)))


def uses_shared_platform(item: pytest.Item | None) -> bool:
    return SHARED_PLATFORM in getattr(item, "fixturenames", ())


class FilesAndPlatforms(LoadFileScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Like `--dist loadfile`, but the files of `PLATFORM_FOLDER` count as one file.

    The fixtures of a module are therefore set up once. Files start in the order of collection.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(PLATFORM_FOLDER):
            return PLATFORM_FOLDER
        return str(super()._split_scope(nodeid))

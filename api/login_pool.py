"""Threads for log-ins, apart from those of all other requests.

A password check takes about 0.1 s of CPU time and 64 MiB. In the shared threads, waiting log-ins would delay every
other request. Here, at most `WORKERS` run and `QUEUE_MAX` wait; further ones are rejected at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from schemas.errors import Unavailable

WORKERS = 2
QUEUE_MAX = 16
NICENESS = 10
"""The checks use idle CPU time first, so that they do not slow down other requests on a small machine."""

_Result = TypeVar("_Result")


class LoginQueueFull(Unavailable):
    """Too many log-ins are waiting."""


class LoginPool:
    """Runs blocking log-ins. The threads start with the first one."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="login", initializer=_lower_priority)
        self._free = threading.BoundedSemaphore(WORKERS + QUEUE_MAX)

    async def run(self, call: Callable[[], _Result]) -> _Result:
        """Return the result of `call`. Raises LoginQueueFull if too many calls are waiting."""
        if not self._free.acquire(blocking=False):
            raise LoginQueueFull("Too many log-ins are waiting. Try again in a moment.")
        context = copy_context()
        future = self._threads.submit(context.run, call)
        # A client that disconnects does not free its place: the thread still checks the password.
        future.add_done_callback(lambda _: self._free.release())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _lower_priority() -> None:
    # On Linux, the priority belongs to the thread; the threads of Argon2 inherit it.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)

"""A clean end: on SIGTERM every shard takes one last snapshot, then the worker leaves with nothing to replay.

Bytewax itself dies on SIGTERM, and an end-of-input stop would flush partial results. A source that is asked for its
next batch after a snapshot knows that the epoch of that snapshot is durable: only then does it raise `AbortExecution`.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_stop_event = threading.Event()


def install_signal_handler() -> None:
    """Take SIGTERM from here on. Called by each dataflow's `flow()`, in the main thread of its process."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(_number: int, _frame: FrameType | None) -> None:
    _stop_event.set()


def stop_requested() -> bool:
    """Whether this process was asked to end."""
    return _stop_event.is_set()

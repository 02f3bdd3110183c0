"""Shut down cleanly: on SIGTERM every shard takes a last snapshot, then the worker exits with nothing to replay.

By default SIGTERM kills Bytewax, and an end-of-input stop would flush partial results. When the engine requests the
next batch after a snapshot, the epoch of that snapshot is durable. Only then does the source raise `AbortExecution`.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_stop_event = threading.Event()


def install_signal_handler() -> None:
    """Handle SIGTERM from now on. Each dataflow's `flow()` calls this in the main thread of its process."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(_number: int, _frame: FrameType | None) -> None:
    _stop_event.set()


def stop_requested() -> bool:
    """Return whether this process received SIGTERM."""
    return _stop_event.is_set()

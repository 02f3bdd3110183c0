"""Describe an exception that code of a user raised: its type, its text, and the file and line."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, NamedTuple

MESSAGE_LENGTH_MAX = 500


class RaisedError(NamedTuple):
    """`file` and `line` are the innermost position in the user's own file, or where the exception was raised."""

    error_type: str
    message: str
    file: str
    line: int


def describe_error(error: Exception, *own_files: str) -> RaisedError:
    """Describe an exception that code in one of the user's files `own_files` raised."""
    positions = _positions(error.__traceback__)
    file, line = next((position for position in reversed(positions) if position[0] in own_files), positions[-1])
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  (the exception class is the user's code)
        message = "the exception has no text"
    message = " ".join(message.replace("\0", "").encode(errors="replace").decode().split())[:MESSAGE_LENGTH_MAX]
    return RaisedError(type(error).__name__, message, file, line)


def _positions(traceback: TracebackType | None) -> list[tuple[str, int]]:
    positions: list[tuple[str, int]] = []
    while traceback is not None:
        positions.append((traceback.tb_frame.f_code.co_filename, traceback.tb_lineno))
        traceback = traceback.tb_next
    return positions or [("", 0)]


def source_file(component: Any) -> str:
    """Return the file that defines a function or the class of an object, "" if it has none."""
    return getattr(sys.modules.get(component.__module__), "__file__", None) or ""

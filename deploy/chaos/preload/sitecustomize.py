"""Give a Python process a wall clock that can be set from outside. Python imports this file at start.

Each process maps a file `<pid>` in the folder `CHAOS_CLOCKS`. It holds one double: the offset of the clock in seconds.
The offset applies to the wall clock of Python's `time` and `datetime`. Monotonic clocks, and clocks that C libraries
read directly, are not shifted.
"""

import ctypes
import datetime
import gc
import mmap
import os
import struct
import time
from collections.abc import Callable
from typing import Any

_OFFSET = struct.Struct("d")
_real_time, _real_time_ns = time.time, time.time_ns
_real_gmtime, _real_localtime = time.gmtime, time.localtime


def _offset_file(folder: str) -> mmap.mmap:
    path = os.path.join(folder, str(os.getpid()))
    with open(path, "w+b") as file:
        file.write(_OFFSET.pack(0.0))
        file.flush()
        return mmap.mmap(file.fileno(), _OFFSET.size)


def _install(offsets: mmap.mmap) -> None:
    def offset_s() -> float:
        return float(_OFFSET.unpack_from(offsets)[0])

    def now() -> float:
        return _real_time() + offset_s()

    def datetime_now(cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return cls.fromtimestamp(now(), tz)

    def datetime_utcnow(cls: type[datetime.datetime]) -> datetime.datetime:
        return cls.fromtimestamp(now(), datetime.UTC).replace(tzinfo=None)

    def date_today(cls: type[datetime.date]) -> datetime.date:
        return cls.fromtimestamp(now())

    time.time = now
    time.time_ns = lambda: _real_time_ns() + round(offset_s() * 1e9)
    time.gmtime = lambda seconds=None: _real_gmtime(now() if seconds is None else seconds)
    time.localtime = lambda seconds=None: _real_localtime(now() if seconds is None else seconds)
    _replace(datetime.datetime, now=datetime_now, utcnow=datetime_utcnow, today=date_today)
    _replace(datetime.date, today=date_today)


def _replace(kind: type, **methods: Callable[..., Any]) -> None:
    """Replace class methods of a C type in place. A replacement class would break existing subclasses."""
    [attributes] = gc.get_referents(kind.__dict__)
    for name, method in methods.items():
        attributes[name] = classmethod(method)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


if "CHAOS_CLOCKS" in os.environ:
    _install(_offset_file(os.environ["CHAOS_CLOCKS"]))

"""Strategies that a Python program passes as a class or an object, in place of a name in the settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from threading import Lock

PREFIX = "python:"
_objects: dict[str, object] = {}
_lock = Lock()


@contextmanager
def named_strategy(strategy: object) -> Iterator[str]:
    """Yield a name under which the settings find a class or an object until the block ends.

    >>> with named_strategy(int) as name:
    ...     print(name, find_object(name))
    python:int <class 'int'>
    """
    kind = strategy if isinstance(strategy, type) else type(strategy)
    label = f"{PREFIX}{kind.__qualname__}"
    names = (label if number == 1 else f"{label}#{number}" for number in count(1))
    with _lock:  # backtests in several threads may use classes of the same name
        name = next(name for name in names if name not in _objects)
        _objects[name] = strategy
    try:
        yield name
    finally:
        del _objects[name]


def find_object(name: str) -> object | None:
    """Return the class or object of a name; None if it is not one of `named_strategy`."""
    return _objects.get(name)

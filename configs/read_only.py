"""Lists, dicts, sets and deques of a view strategy that reject changes, because a snapshot does not contain them.

Reading costs the same as for a plain container, because only the methods that change it are replaced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from schemas.errors import BadInput

_CHANGES: dict[type, tuple[str, ...]] = {
    list: (
        *("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"),
        *("__delitem__", "__iadd__", "__imul__", "__setitem__"),
    ),
    dict: ("clear", "pop", "popitem", "setdefault", "update", "__delitem__", "__ior__", "__setitem__"),
    set: (
        *("add", "clear", "difference_update", "discard", "intersection_update", "pop", "remove"),
        *("symmetric_difference_update", "update", "__iand__", "__ior__", "__isub__", "__ixor__"),
    ),
    deque: (
        *("append", "appendleft", "clear", "extend", "extendleft", "insert", "pop", "popleft", "remove", "reverse"),
        *("rotate", "__delitem__", "__iadd__", "__imul__", "__setitem__"),
    ),
}
_DEPTH_MAX = 10


def read_only(attribute: str, value: Any, depth: int = 0) -> Any:
    """Return a copy of a list, dict, set or deque that rejects changes, also in nested ones; other values unchanged.

    A NumPy array is not copied; it becomes read-only.

    >>> levels = read_only("levels", [1, [2]])
    >>> levels == [1, [2]], isinstance(levels, list)
    (True, True)
    >>> levels[1].append(3)
    Traceback (most recent call last):
    schemas.errors.BadInput: decide changes self.levels, which a snapshot does not contain; return it as the state
    """
    kind = type(value)
    if kind.__module__ == "numpy" and hasattr(value, "setflags"):
        value.setflags(write=False)
    if depth > _DEPTH_MAX:
        return value
    if kind is tuple:
        return tuple(read_only(attribute, one, depth + 1) for one in value)
    if kind not in _CHANGES:
        return value
    content: Any
    if kind is dict:
        content = {key: read_only(attribute, one, depth + 1) for key, one in value.items()}
    else:
        content = [read_only(attribute, one, depth + 1) for one in value]
    return _kind_of(attribute, kind)(content, value.maxlen) if kind is deque else _kind_of(attribute, kind)(content)


def reject_change(attribute: str) -> BadInput:
    """Return the error of a view strategy that changes its attribute."""
    return BadInput(f"decide changes self.{attribute}, which a snapshot does not contain; return it as the state")


def _kind_of(attribute: str, kind: type) -> type:
    def refuse(self: object, *arguments: Any, **options: Any) -> None:
        raise reject_change(attribute)

    methods: dict[str, Callable[..., Any]] = dict.fromkeys(_CHANGES[kind], refuse)
    # Copies of a strategy may share them, because they do not change. They are pickled as plain containers.
    methods["__deepcopy__"] = lambda self, memo: self
    methods["__copy__"] = lambda self: self
    methods["__reduce_ex__"] = lambda self, protocol: (kind, _arguments_of(kind, self))
    return type(kind.__name__, (kind,), methods)


def _arguments_of(kind: type, value: Any) -> tuple[Any, ...]:
    """Return the arguments with which `kind` makes a plain copy."""
    if kind is dict:
        return (dict(value),)
    return (list(value), value.maxlen) if kind is deque else (list(value),)

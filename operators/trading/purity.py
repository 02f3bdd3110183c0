"""Check that a strategy keeps its memory in `ctx.state`, and that a snapshot can hold it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np

from schemas.errors import BadInput

_PLAIN_TYPES = frozenset({type(None), bool, int, float, str, bytes, Decimal})
_CONTAINER_TYPES = frozenset({list, dict, set})
_DEPTH_MAX = 50


def plain_state(state: Any, path: str = "ctx.state") -> dict[Any, Any]:
    """Return a copy of a state that contains plain values only. Scalars of NumPy become Python's.

    Raises BadInput with the path of a value that is not plain. `path` is that of the state.

    >>> plain_state({"pairs": [("KO", 1.5)], "last": np.float64(2.0)})
    {'pairs': [('KO', 1.5)], 'last': 2.0}
    """
    if type(state) is not dict:
        raise BadInput(f"{path} must be a dict, found {type(state).__name__}")
    copied: dict[Any, Any] = _copy(state, path, 0)
    return copied


def _copy(value: Any, path: str, depth: int) -> Any:
    kind = type(value)
    if kind in _PLAIN_TYPES:
        return value
    if depth > _DEPTH_MAX:
        raise BadInput(f"{path} is nested more than {_DEPTH_MAX} levels deep")
    if kind is dict:
        return {
            _key(key, path): one if type(one) in _PLAIN_TYPES else _copy(one, f"{path}[{key!r}]", depth + 1)
            for key, one in value.items()
        }
    if kind is list or kind is tuple:
        items = [
            one if type(one) in _PLAIN_TYPES else _copy(one, f"{path}[{index}]", depth + 1)
            for index, one in enumerate(value)
        ]
        return items if kind is list else tuple(items)
    if isinstance(value, np.generic):
        scalar = value.item()
        if type(scalar) in _PLAIN_TYPES:
            return scalar
    raise BadInput(
        f"{path} must be a plain value (number, text, None, list, tuple or dict), found {kind.__name__}; "
        "a snapshot cannot hold it"
    )


def _key(key: Any, path: str) -> Any:
    """Return a key of a dict. A tuple of plain values is one too."""
    if type(key) in _PLAIN_TYPES:
        return key
    if type(key) is tuple:
        return _copy(key, path, 0)
    if isinstance(key, np.generic):
        return _copy(key, path, 0)
    raise BadInput(f"{path} must have plain keys, found {type(key).__name__}")


def fingerprint(value: Any, depth: int = 0) -> Any:
    """Return a value that changes if `value` changes: a copy of containers, the content of arrays, else the identity.

    >>> numbers = [1, 2]
    >>> before = fingerprint(numbers)
    >>> numbers.append(3)
    >>> before == fingerprint(numbers)
    False
    """
    kind = type(value)
    if kind in _PLAIN_TYPES:
        return value
    if depth > _DEPTH_MAX:
        return id(value)
    if kind is dict:
        return ("dict", [(fingerprint(key, depth + 1), fingerprint(one, depth + 1)) for key, one in value.items()])
    if kind is list or kind is tuple:
        return (kind.__name__, [fingerprint(one, depth + 1) for one in value])
    if kind is set:
        return ("set", frozenset(value))
    if isinstance(value, np.ndarray):
        return ("array", value.shape, value.tobytes())
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        return (id(value), fingerprint(attributes, depth + 1))
    return id(value) if not hasattr(value, "__len__") else (id(value), len(value))


def attributes_of(strategy: Any) -> dict[str, Any]:
    """Return the fingerprint of each attribute of a strategy, and of the containers of its classes."""
    attributes = {name: fingerprint(value) for name, value in vars(strategy).items()}
    for one in type(strategy).__mro__[:-1]:
        for name, value in vars(one).items():
            if type(value) in _CONTAINER_TYPES:
                attributes.setdefault(name, fingerprint(value))
    return attributes


def changed_attribute(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """Return the name of the first attribute that has changed, was added or removed; None if there is none."""
    if before == after:
        return None
    return next(name for name in {**before, **after} if before.get(name, before) != after.get(name, before))

"""Check names and choices from the command line, and suggest the nearest known name for an unknown one."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from schemas.errors import BadInput
from schemas.suggestions import did_you_mean


def require_choice(option: str, value: str, allowed: Iterable[str]) -> str:
    """Return `value`. Raises BadInput if it is not one of the `allowed` values of `option`.

    >>> require_choice("--method", "fifo", ("fifo", "lifo"))
    'fifo'
    """
    choices = list(allowed)
    if value not in choices:
        expected = ", ".join(choices) or "nothing"
        raise BadInput(f"{option} must be one of {expected}, found {value!r}{did_you_mean(value, choices)}")
    return value


def parse_choices(option: str, text: str, allowed: Collection[str]) -> list[str]:
    """Return the comma-separated values in `text`. Raises BadInput if there is none, or if one is not `allowed`.

    >>> parse_choices("--faults", "kill, disk", ("kill", "disk", "clock"))
    ['kill', 'disk']
    """
    values = [value.strip() for value in text.split(",") if value.strip()]
    if not values:
        raise BadInput(f"{option} must list one or more of {', '.join(allowed)}, found none")
    for value in values:
        if value not in allowed:
            expected = ", ".join(allowed)
            raise BadInput(f"{option} must list values of {expected}, found {value!r}{did_you_mean(value, allowed)}")
    return values


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the error message for a name that is not known.

    >>> unknown_name("service", "rsk", ["risk", "portfolio"])
    "unknown service 'rsk'; did you mean risk? Known services: risk, portfolio"
    >>> unknown_name("service", "x", ["risk"])
    "unknown service 'x'. Known services: risk"
    """
    names = list(known)
    return f"unknown {kind} {name!r}{did_you_mean(name, names) or '.'} Known {kind}s: {', '.join(names) or 'none'}"

"""Check names and choices from the command line, and suggest the nearest known name for an unknown one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar

from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

Choice = TypeVar("Choice", bound=str)


def require_choice(option: str, value: str, allowed: Iterable[Choice]) -> Choice:
    """Return the choice that equals `value`. Raises BadInput if it is not one of the `allowed` values of `option`.

    >>> require_choice("--method", "fifo", ("fifo", "lifo"))
    'fifo'
    """
    accepted = list(allowed)
    for choice in accepted:
        if choice == value:
            return choice
    expected = ", ".join(accepted) or "nothing"
    raise BadInput(f"{option} must be one of {expected}, found {value!r}{did_you_mean(value, accepted)}")


def parse_values(option: str, text: str, allowed: Collection[Choice]) -> list[Choice]:
    """Return the comma-separated values in `text`. Raises BadInput if there is none, or if one is not `allowed`.

    >>> parse_values("--faults", "kill, disk", ("kill", "disk", "clock"))
    ['kill', 'disk']
    """
    values = [value.strip() for value in text.split(",") if value.strip()]
    if not values:
        raise BadInput(f"{option} must list one or more of {', '.join(allowed)}, found none")
    by_text = {str(choice): choice for choice in allowed}
    for value in values:
        if value not in by_text:
            expected = ", ".join(allowed)
            raise BadInput(f"{option} must list values of {expected}, found {value!r}{did_you_mean(value, allowed)}")
    return [by_text[value] for value in values]


def unknown_name(kind: str, name: str, accepted: Iterable[str]) -> str:
    """Return the error message for a name that is not one of the `accepted` ones.

    >>> unknown_name("service", "rsk", ["risk", "portfolio"])
    "unknown service 'rsk'; did you mean risk? Known services: risk, portfolio"
    >>> unknown_name("service", "x", ["risk"])
    "unknown service 'x'. Known services: risk"
    >>> unknown_name("strategy", "x", [])
    "unknown strategy 'x'. Known strategies: none"
    """
    names = list(accepted)
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    return f"unknown {kind} {name!r}{did_you_mean(name, names) or '.'} Known {plural}: {', '.join(names) or 'none'}"

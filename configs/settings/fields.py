"""The fields of the settings classes: their types, and their meanings in the docstrings.

A section is a pydantic model or a dataclass. Its docstring has one entry per setting: the name, two or more spaces, the
meaning. A unit that the name does not contain precedes the meaning in brackets:

    max_position   [units] |quantity| of one symbol
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from inspect import cleandoc
from typing import Any, NamedTuple, get_args, get_type_hints

from pydantic import BaseModel

_ENTRY = re.compile(r"(?P<name>[a-z][a-z0-9_]*) {2,}(?:\[(?P<unit>[^]]+)\] )?(?P<text>\S.*)")
_UNITS = {"s": "seconds", "ms": "milliseconds", "ns": "nanoseconds", "bps": "basis points"}


class Meaning(NamedTuple):
    """What a setting does, in one sentence, and the unit of its value (empty if it has none)."""

    text: str
    unit: str


def key_types(section: type) -> dict[str, Any]:
    """Return the type of each setting of a section, in the order of the class."""
    names = tuple(section.model_fields) if issubclass(section, BaseModel) else tuple(_fields_of_dataclass(section))
    hints = get_type_hints(section, include_extras=True)
    return {name: hints[name] for name in names}


def _fields_of_dataclass(section: type) -> Iterator[str]:
    assert is_dataclass(section), f"expected a model or a dataclass, found {section}"
    return (field.name for field in fields(section) if field.init)


def sections_in(annotation: Any) -> Iterator[type]:
    """Return the section classes of an annotation, including those inside unions, sequences and mappings."""
    if isinstance(annotation, type) and (is_dataclass(annotation) or issubclass(annotation, BaseModel)):
        yield annotation
    for argument in get_args(annotation):
        yield from sections_in(argument)


def meanings(section: type) -> dict[str, Meaning]:
    """Return the meanings in the docstrings of a section and its base classes. The section's own entry counts first."""
    meaning_by_path: dict[str, Meaning] = {}
    for cls in section.__mro__:
        for name, meaning in read_meanings(cls.__dict__.get("__doc__") or "").items():
            meaning_by_path.setdefault(name, meaning)
    return meaning_by_path


def read_meanings(docstring: str) -> dict[str, Meaning]:
    """Return the entries of a docstring.

    >>> read_meanings('''Limits.
    ...
    ...     wait_s  longest wait for
    ...             bars
    ...     share   [fraction] value / equity
    ... ''')
    {'wait_s': Meaning(text='longest wait for bars', unit='seconds'), 'share': Meaning(text='value / equity', \
unit='fraction')}
    """
    entries: dict[str, tuple[list[str], str]] = {}
    lines: list[str] | None = None
    for line in cleandoc(docstring).splitlines():
        if (entry := _ENTRY.fullmatch(line)) is not None:
            lines = [entry["text"]]
            entries[entry["name"]] = lines, entry["unit"] or _UNITS.get(entry["name"].rpartition("_")[2], "")
        elif lines is not None and line.startswith("  "):
            lines.append(line.strip())
        else:
            lines = None
    return {name: Meaning(" ".join(text), unit) for name, (text, unit) in entries.items()}

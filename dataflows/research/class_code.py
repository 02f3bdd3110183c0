"""One hash over the code of a class of a program, with the functions and classes of its module that it uses.

The source text is not enough: it does not contain the functions around the class, and an interactive Python has none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_PLATFORM = ("operators.", "schemas.")
"""Packages whose code has a hash of its own."""


def class_sha256(kind: type) -> str:
    """Return SHA-256 over the bytecode and the constants of a class and of what it uses in its own module.

    Comments, names of files and line numbers do not change it; another release of Python can.
    """
    total = hashlib.sha256()
    for line in _lines(kind, set()):
        total.update(f"{line}\n".encode())
    return total.hexdigest()


def function_sha256(function: Any) -> str:
    """Return SHA-256 over the bytecode of a function and of what it uses in its own module."""
    return hashlib.sha256("\n".join(_value_lines("", function, "", set())).encode()).hexdigest()


def _lines(kind: type, seen: set[int]) -> Iterator[str]:
    if id(kind) in seen or kind.__module__ == "builtins" or kind.__module__.startswith(_PLATFORM):
        return
    seen.add(id(kind))
    yield f"class {kind.__qualname__}"
    for base in kind.__bases__:
        yield from _lines(base, seen)
    for name, value in vars(kind).items():
        if name not in ("__dict__", "__weakref__", "__module__", "__firstlineno__", "__static_attributes__"):
            yield from _value_lines(name, value, kind.__module__, seen)


def _value_lines(name: str, value: Any, module: str, seen: set[int]) -> Iterator[str]:
    """Yield the lines of an attribute or of a global name."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, property):
        for part in (value.fget, value.fset):
            if part is not None:
                yield from _value_lines(name, part, module, seen)
    elif isinstance(value, FunctionType):
        if id(value) in seen:
            return
        seen.add(id(value))
        yield f"{name} {_text(value.__defaults__)} {_text(value.__kwdefaults__)}"
        yield from _code_lines(value.__code__)
        for cell in value.__closure__ or ():
            yield from _value_lines("closure", _contents(cell), module, seen)
        for used in sorted(_names(value.__code__)):
            if used in value.__globals__:
                yield from _global_lines(used, value.__globals__[used], value.__module__, seen)
    elif isinstance(value, type):
        yield from _lines(value, seen)
    else:
        yield f"{name} {_text(value)}"


def _global_lines(name: str, value: Any, module: str, seen: set[int]) -> Iterator[str]:
    """Yield the lines of a global name: of functions and classes of the same module, and of plain constants."""
    if isinstance(value, type | FunctionType):
        if value.__module__ == module:
            yield from _value_lines(name, value, module, seen)
    elif isinstance(value, bool | int | float | str | tuple | list | dict | set | frozenset):
        yield f"{name} {_text(value)}"


def _code_lines(code: CodeType) -> Iterator[str]:
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_freevars}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_lines(constant)
        else:
            yield _text(constant)


def _names(code: CodeType) -> set[str]:
    nested = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*nested)


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _text(value: Any) -> str:
    """Return the same text for equal values in every process."""
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    return _ADDRESS.sub("", repr(value))

"""Write docs/research-reference.md from docstrings: `python -m deploy.testing.research_page`."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from dataflows import research
from dataflows.research import overfitting, topics
from deploy.home import REPOSITORY

PAGE = REPOSITORY / "docs" / "research-reference.md"
INTRODUCTION = """\
<!-- Written by `python -m deploy.testing.research_page` from docstrings: edit those. -->

# Reference of the research API

This page lists the functions and classes of `dataflows.research` with their arguments, units and errors. It is
generated from their docstrings. [Research in Python](research.md) introduces them with examples, the
[notebooks](notebooks/first_idea.ipynb) show them in use.
"""
SECTIONS: tuple[tuple[str, str, ModuleType, tuple[str, ...]], ...] = (
    ("Bars, backtests and searches", "dataflows.research", research, tuple(research.__all__)),
    ("Recorded topics", "dataflows.research.topics", topics, ("read",)),
    ("Luck or edge", "dataflows.research.overfitting", overfitting, tuple(overfitting.__all__)),
)
"""Title, module as a program imports it, the module, and the names that a program uses."""
_FUNCTION = re.compile(r"<function .+? at 0x[0-9a-f]+>")
"""A default that is a function: its address differs in each process."""


def render_page() -> str:
    """The page. Raises ValueError for a name without a docstring."""
    blocks = [INTRODUCTION.rstrip()]
    for title, module_name, module, names in SECTIONS:
        blocks.append(f"## {title}\n\n`from {module_name} import …`")
        # Functions first: they return the objects of the classes.
        for name in sorted(names, key=lambda one: (inspect.isclass(getattr(module, one)), one)):
            blocks += render_entry(name, getattr(module, name))
    return "\n\n".join(blocks) + "\n"


def render_entry(name: str, value: Any) -> Iterator[str]:
    """Yield the blocks of a function, or of a class with its public methods and properties."""
    is_class = inspect.isclass(value)
    yield f"### `{name}`"
    if not is_class:
        yield _code(f"{name}{_signature(value)}")
    yield _docstring(name, value)
    if not is_class:
        return
    stored = {one.name for one in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else set()
    for member_name, member in vars(value).items():
        if member_name.startswith("_") or member_name in stored or member_name in getattr(value, "_fields", ()):
            continue
        if isinstance(member, classmethod | staticmethod):
            member = member.__func__
        if inspect.isfunction(member):
            yield _code(f"{name}.{member_name}{_signature(member)}")
        elif hasattr(member, "__get__") and getattr(member, "__doc__", None):
            yield _code(f"{name}.{member_name}")
        else:
            continue
        yield _docstring(f"{name}.{member_name}", member)


def _code(text: str) -> str:
    return f"```text\n{text}\n```"


def _docstring(name: str, value: Any) -> str:
    text = inspect.getdoc(value)
    if not text:
        raise ValueError(f"{name} has no docstring")
    return _code(text)


def _signature(function: Any) -> str:
    """The arguments with their types, on one line each if they are longer than a line of the page."""
    signature = inspect.signature(function)
    parameters = [
        _FUNCTION.sub("…", str(one)).replace("'", "") for one in signature.parameters.values() if one.name != "self"
    ]
    keyword = next(
        (i for i, one in enumerate(signature.parameters.values()) if one.kind is inspect.Parameter.KEYWORD_ONLY), None
    )
    if keyword is not None:
        parameters.insert(keyword - ("self" in signature.parameters), "*")
    returned = signature.return_annotation
    end = "" if returned is inspect.Signature.empty else f" -> {returned}".replace("'", "")
    line = f"({', '.join(parameters)}){end}"
    if len(line) < 90:
        return line
    return "(\n" + "".join(f"    {one},\n" for one in parameters) + f"){end}"


def main() -> None:
    PAGE.write_text(render_page())
    print(f"wrote {PAGE.relative_to(REPOSITORY)}", file=sys.stderr)


if __name__ == "__main__":
    main()

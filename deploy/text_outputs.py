"""The text that a command writes: files, which are checked before the work starts, and pages of tables."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import BadInput

if TYPE_CHECKING:
    from api.json_types import ApiModel

STANDARD_OUTPUT = "-"


def require_output(option: str, target: str | Path | None) -> None:
    """Raises BadInput if the option names a folder, or a file in a folder that does not exist.

    >>> require_output("--json", "-"), require_output("--json", None)
    (None, None)
    """
    if target is None or target == STANDARD_OUTPUT:
        return
    path = Path(target)
    if path.is_dir():
        raise BadInput(f"{option} must name a file, found the folder {path}")
    if not path.parent.is_dir():
        raise BadInput(f"{option} {path}: folder {path.parent} does not exist")


def write_output(option: str, target: str | Path, text: str) -> None:
    """Write the text to a file, or to standard output if `target` is `-`. Raises BadInput if that fails."""
    if target == STANDARD_OUTPUT:
        sys.stdout.write(text)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write {option} {target}: {error.strerror or error}") from None


def print_page(page: ApiModel, lines: Iterable[str], empty: str, as_json: bool) -> None:
    """Print a page of a table as JSON, or its lines, or `empty` if there are none."""
    if as_json:
        print(page.model_dump_json(indent=2))
        return
    for line in list(lines) or [empty]:
        print(line.rstrip())

"""Heads of the audit chain, put aside where who administers the database cannot rewrite them: a file, the topic."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from deploy.checks.audit import Head
from schemas.errors import BadInput


def read_heads(file: Path) -> list[Head]:
    """The heads in a file, a line of JSON each; none where there is no file yet. Raises BadInput."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadInput(f"--heads {file}: {error.strerror}") from error
    heads = []
    for number, line in enumerate(lines, start=1):
        try:
            tree = json.loads(line)
            heads.append(Head(str(tree["topic"]), int(tree["position"]), str(tree["head"])))
        except (ValueError, KeyError, TypeError) as error:
            expected = 'a line such as {"topic": "orders", "position": 12, "head": "5f…"}'
            raise BadInput(f"--heads {file} line {number}: expected {expected}, found {line[:60]!r}") from error
    return heads


def add_heads(file: Path, heads: Iterable[Head], known: Iterable[Head]) -> int:
    """Append the heads that are new. Returns how many there were. Raises BadInput."""
    before = set(known)
    new = [head for head in heads if head.position and head not in before]
    try:
        with file.open("a") as out:
            out.writelines(json.dumps(head._asdict()) + "\n" for head in new)
    except OSError as error:
        raise BadInput(f"--heads {file}: {error.strerror}") from error
    return len(new)

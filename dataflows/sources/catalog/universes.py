"""Universes in the catalogue: which symbols were members on which days, such as those of an index.

A backtest of `catalog:@NAME` reads all members, also former ones: a test of today's members alone would be one of the
survivors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dataflows.sources.catalog.bar_catalog import BarCatalog
from operators.strategies.universe_rules import UniverseMember
from schemas.errors import BadInput
from schemas.suggestions import did_you_mean
from sinks.archive.log_manifest import read_rows, write_rows

_FOLDER = "universes"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")


def store_universe(catalog: BarCatalog, name: str, members: Sequence[UniverseMember]) -> None:
    """Store the members under a name, in place of earlier ones. Raises BadInput for a malformed name, and OSError."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"a universe must be named by up to 60 letters, digits, `_` and `-`, found {name!r}")
    folder = catalog.folder / _FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_rows(folder / f"{name}.json", sorted(members))


def universe_names(catalog: BarCatalog) -> list[str]:
    """Return the names of the stored universes, sorted."""
    return sorted(path.stem for path in (catalog.folder / _FOLDER).glob("*.json"))


def stored_universe(catalog: BarCatalog, name: str) -> list[UniverseMember]:
    """Return the members of a universe. Raises BadInput for an unknown one, and Unavailable if its file is damaged."""
    known = universe_names(catalog)
    if name not in known:
        hint = did_you_mean(name, known) or "; store one with `python cli.py data universe NAME FILE`"
        raise BadInput(f"the catalogue has no universe {name!r}{hint}")
    return read_rows(catalog.folder / _FOLDER / f"{name}.json", UniverseMember)

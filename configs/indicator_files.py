"""Load the user's own indicators from the files that the settings name (`features.indicator_files`)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from configs.source_files import load_module, text_sha256
from operators.indicators import INDICATORS, Indicator, indicator_classes, register
from schemas.errors import BadInput

_KIND = re.compile("[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*")


class _LoadedFile(NamedTuple):
    sha256: str
    kinds: frozenset[str]


_loaded: dict[Path, _LoadedFile] = {}


def register_indicator_files(paths: Iterable[Path]) -> tuple[str, ...]:
    """Make the indicators in these files known to this process, like those of the platform.

    A relative path starts at the working directory. Loading a file runs it; an unchanged file is loaded once. An
    indicator replaces that of a file which is not among `paths`, because a replay can load another version of a file
    from another place. Return SHA-256 of the text of each file.

    Raises BadInput for a missing file, a file that fails or has no indicator, and a kind that exists already.
    """
    hashes: list[str] = []
    files = {path: path.expanduser().resolve() for path in paths}
    for path, file in files.items():
        where = f"indicator file {path}"
        if not file.is_file():
            raise BadInput(f"{where}: file {file} does not exist")
        sha256 = text_sha256(file.read_bytes())
        hashes.append(sha256)
        loaded = _loaded.get(file)
        if loaded is not None and loaded.sha256 == sha256 and loaded.kinds <= INDICATORS.keys():
            continue
        classes = list(indicator_classes(load_module(where, file, "user_indicator")))
        if not classes:
            raise BadInput(f"{where}: expected a class derived from Indicator with a `kind`, found none")
        for one in classes:
            _validate(where, one)
            if [other.kind for other in classes].count(one.kind) > 1:
                raise BadInput(f"{where}: two indicators have the kind {one.kind!r}")
            _forget(one.kind, files.values())
            try:
                register(one)
            except BadInput as error:
                raise BadInput(f"{where}: {error}") from error
        _loaded[file] = _LoadedFile(sha256, frozenset(one.kind for one in classes))
    return tuple(hashes)


def _forget(kind: str, current_files: Collection[Path]) -> None:
    """Remove an indicator of a file that is not in use any more."""
    for file, loaded in list(_loaded.items()):
        if kind in loaded.kinds and file not in current_files:
            del _loaded[file]
            for one in loaded.kinds:
                INDICATORS.pop(one, None)


def _validate(where: str, indicator: type[Indicator]) -> None:
    kind = indicator.kind
    if not _KIND.fullmatch(kind):
        raise BadInput(f"{where}: `kind` must be words of lower-case letters and digits, joined by _, found {kind!r}")
    for method in ("update", "snapshot", "restore"):
        if getattr(indicator, method) is getattr(Indicator, method):
            raise BadInput(f"{where}: {indicator.__name__} has no method {method}")

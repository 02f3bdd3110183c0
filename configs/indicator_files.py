"""Load the user's own indicators from the files that the settings name (`features.indicator_files`)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from configs.source_files import load_module
from operators.indicators import Indicator, indicator_classes, register
from schemas.errors import BadInput

_KIND = re.compile("[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*")
_loaded: dict[Path, str] = {}  # sha256 of the source of each loaded file


def register_indicator_files(paths: Iterable[Path]) -> None:
    """Make the indicators in these files known to this process, like those of the platform.

    A relative path starts at the working directory. Loading a file runs it; an unchanged file is loaded once.

    Raises BadInput for a missing file, a file that fails or has no indicator, and a kind that exists already.
    """
    for path in paths:
        file = path.expanduser().resolve()
        where = f"indicator file {path}"
        if not file.is_file():
            raise BadInput(f"{where}: file {file} does not exist")
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        if _loaded.get(file) == sha256:
            continue
        classes = list(indicator_classes(load_module(where, file, "user_indicator")))
        if not classes:
            raise BadInput(f"{where}: expected a class derived from Indicator with a `kind`, found none")
        for one in classes:
            _validate(where, one)
            if [other.kind for other in classes].count(one.kind) > 1:
                raise BadInput(f"{where}: two indicators have the kind {one.kind!r}")
            try:
                register(one)
            except BadInput as error:
                raise BadInput(f"{where}: {error}") from error
        _loaded[file] = sha256


def _validate(where: str, indicator: type[Indicator]) -> None:
    kind = indicator.kind
    if not _KIND.fullmatch(kind):
        raise BadInput(f"{where}: `kind` must be words of lower-case letters and digits, joined by _, found {kind!r}")
    for method in ("update", "snapshot", "restore"):
        if getattr(indicator, method) is getattr(Indicator, method):
            raise BadInput(f"{where}: {indicator.__name__} has no method {method}")

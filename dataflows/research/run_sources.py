"""Hashes of what a run is computed from: its data files, the platform's code and the user's strategies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pyarrow as pa

from configs.recorded_settings import user_files
from configs.settings import Settings
from configs.settings.feeds import EXTRA_FILE_KINDS
from configs.source_files import text_sha256
from configs.strategies import configured_strategies
from configs.strategy_objects import find_object
from dataflows.research.class_code import class_sha256
from dataflows.research.run_store import REPOSITORY, RunSources
from dataflows.sources.bar_files import list_files
from dataflows.sources.catalog.bar_catalog import catalog_months, is_series_folder

SOURCE_FILES: Final = "source_files"
"""The table of the user's files in a saved run."""
_DECIDING_PACKAGES = ("operators", "schemas")


def sources_of(
    settings: Settings, bars: Iterable[Path], orders: Path | None = None, *, data: Iterable[str] | None = None
) -> RunSources:
    """Return the sources of a run of files. `data` names the bars if the files are temporary."""
    section = settings.market_data.files
    files = list_files(list(bars), section.interval_s)
    others = [path for kind in EXTRA_FILE_KINDS for path in getattr(section, kind)]
    hashed = [*files, *(list_files(others) if others else ()), *([orders] if orders is not None else ())]
    return RunSources(
        data=tuple(map(str, files)) if data is None else tuple(data),
        data_sha256=files_sha256(hashed),
        code_sha256=code_sha256(),
        source_sha256=_strategy_sources(settings),
        orders="" if orders is None else str(orders),
    )


def topic_sources(settings: Settings, data: str) -> RunSources:
    """Return the sources of a run of recorded topics, whose contents are not hashed."""
    return RunSources((data,), "", code_sha256(), _strategy_sources(settings))


def strategy_labels(settings: Settings) -> list[str]:
    """Return the names of the strategies of the settings. Raises BadInput if one cannot be loaded."""
    strategies = configured_strategies(settings)
    return [*(one.name for one in strategies.views), *(one.name for one in strategies.trading)]


def source_table(settings: Settings) -> pa.Table | None:
    """Return path and text of the user's strategy and indicator files; None without one."""
    paths = list(dict.fromkeys(user_files(settings)))
    texts = [Path(path).expanduser().read_text(encoding="utf-8", errors="replace") for path in paths]
    return pa.table({"path": paths, "text": texts}) if paths else None


def files_sha256(files: Iterable[Path]) -> str:
    """Return one hash over the names and contents of files, or of the months of symbols in the catalogue.

    The name counts, because it can contain the symbol.
    """
    total = hashlib.sha256()
    for file in files:
        if is_series_folder(file):
            for month in catalog_months(file):
                total.update(f"{file.name}/{month.month}\0{month.sha256}\n".encode())
            continue
        with file.open("rb") as content:
            total.update(f"{file.name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def code_sha256(repository: Path = REPOSITORY) -> str:
    """Return one hash over the sources of the packages that make decisions."""
    files = [path for package in _DECIDING_PACKAGES for path in (repository / package).rglob("*.py")]
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(f"{file.relative_to(repository)}\0{text_sha256(file.read_bytes())}\n".encode())
    return total.hexdigest()


def _strategy_sources(settings: Settings) -> dict[str, str]:
    """Return the hashes of files by strategy, and those of a program's classes by their names in the settings."""
    files = configured_strategies(settings).source_sha256
    hashes = {name: ",".join(found) for name, found in files.items()}
    for entry in settings.signals.strategies:
        if (strategy := find_object(entry.name)) is not None:
            hashes[entry.name] = class_sha256(strategy if isinstance(strategy, type) else type(strategy))
    return hashes

"""Bars of the catalogue by name: `catalog:SPY,AAPL`, `catalog:*` for all symbols, `catalog:@NAME` for a universe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from dataflows.sources.catalog.bar_catalog import BarCatalog, catalog_folder, interval_of, is_series_folder
from dataflows.sources.catalog.universes import stored_universe
from operators.bar_completion import FeedSettings, interval_text
from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

CATALOG_PREFIX = "catalog:"
ALL_SYMBOLS, UNIVERSE = "*", "@"
AnyFeedSettings = TypeVar("AnyFeedSettings", bound=FeedSettings)


def is_catalog_path(path: str | Path) -> bool:
    """
    >>> is_catalog_path("catalog:SPY"), is_catalog_path("bars/SPY.csv")
    (True, False)
    """
    return str(path).startswith(CATALOG_PREFIX)


def with_catalog_interval(settings: AnyFeedSettings, paths: Iterable[str | Path]) -> AnyFeedSettings:
    """Return the settings with the interval of the catalogue's bars, if all paths are of the catalogue. Raises
    BadInput.
    """
    listed = list(paths)
    if not listed or settings.interval_s is not None:
        return settings
    if not all(is_catalog_path(path) or is_series_folder(Path(path)) for path in listed):
        return settings
    folders = [folder for path in listed for folder in catalog_folders(path, None)]
    return replace(settings, bar_interval=_one_interval({interval_of(folder) for folder in folders}))


def catalog_folders(path: str | Path, interval_s: int | None) -> list[Path]:
    """Return the folders of the symbols that a path such as `catalog:SPY,AAPL` names. Raises BadInput.

    `interval_s` None: the only interval of these symbols.
    """
    if not is_catalog_path(path):
        return [Path(path)]
    catalog = BarCatalog(catalog_folder())
    names = catalog_symbols(catalog, str(path).removeprefix(CATALOG_PREFIX), interval_s)
    interval = interval_text(interval_s) if interval_s is not None else _common_interval(catalog, names)
    return [catalog.series_folder(interval, name) for name in names]


def catalog_symbols(catalog: BarCatalog, text: str, interval_s: int | None = None) -> list[str]:
    """Return the symbols of `SPY,AAPL`, all for `*`, and the present and former members of a universe for `@NAME`.

    Raises BadInput for a symbol without bars of the interval.
    """
    intervals = catalog.intervals() if interval_s is None else [interval_text(interval_s)]
    known = sorted({symbol for interval in intervals for symbol in catalog.symbols(interval)})
    of_interval = "" if interval_s is None else f" of {interval_text(interval_s)}"
    if not known:
        raise BadInput(
            f"the catalogue {catalog.folder} has no bars{of_interval}; add some with `python cli.py data download` or "
            "`data import`"
        )
    requested = [name for part in text.split(",") if (name := part.strip())]
    if ALL_SYMBOLS in requested or not requested:
        return known
    universes = [name.removeprefix(UNIVERSE) for name in requested if name.startswith(UNIVERSE)]
    requested = [name for name in requested if not name.startswith(UNIVERSE)]
    for universe in universes:
        requested += _members_with_bars(catalog, universe, known, of_interval)
    for name in requested:
        if name not in known:
            hint = did_you_mean(name, known) or "; `python cli.py data list` lists the symbols"
            raise BadInput(f"the catalogue has no bars{of_interval} of symbol {name!r}{hint}")
    return list(dict.fromkeys(requested))


def _members_with_bars(catalog: BarCatalog, universe: str, known: Sequence[str], of_interval: str) -> list[str]:
    """Return all members of a universe. Raises BadInput if one has no bars: the others would be survivors."""
    members = list(dict.fromkeys(member.symbol for member in stored_universe(catalog, universe)))
    missing = [symbol for symbol in members if symbol not in known]
    if missing:
        raise BadInput(
            f"the catalogue has no bars{of_interval} of {len(missing)} of the {len(members)} members of universe "
            f"{universe}, the first one {missing[0]}; add them, or name the symbols: a test without former members is "
            "one of the survivors"
        )
    return members


def _common_interval(catalog: BarCatalog, symbols: Sequence[str]) -> str:
    having = {interval for interval in catalog.intervals() if not {*symbols}.isdisjoint(catalog.symbols(interval))}
    interval = _one_interval(having)
    missing = sorted({*symbols}.difference(catalog.symbols(interval)))
    assert not missing, f"the symbols were found in some interval, and there is one: {missing}"
    return interval


def _one_interval(intervals: set[str]) -> str:
    if len(intervals) == 1:
        return next(iter(intervals))
    raise BadInput(
        f"the catalogue has bars of {' and '.join(sorted(intervals))} of these symbols; choose one with --interval"
    )

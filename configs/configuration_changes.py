"""Changes of settings at run time: which settings can change, and the record of a change.

A change is an override on top of the settings file: JSON by setting, such as `{"risk_manager.max_daily_loss": "500"}`.
`signals.strategies.NAME.KEY` is a setting of the strategy with that name. Overrides survive a restart.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from configs.recorded_settings import (
    DECISION_SECTIONS,
    UNRECORDED_SETTINGS,
    canonical_json,
    configuration_sha256,
    read_sources,
    recorded_text,
    source_hashes,
)
from configs.settings import Settings
from configs.settings.loading import error_sentence
from schemas.errors import BadInput
from schemas.records import Configuration
from schemas.suggestions import did_you_mean

STRATEGIES: Final = "signals.strategies"
LIVE_SETTINGS: Final = (
    *("instruments", "features", "sentiment", "signals", "portfolio_manager", "risk_manager", "execution.venue"),
    "feedback",
)
"""Sections and settings that can change at run time."""
RESTART_SETTINGS: Final = (
    *("features.indicator_files", "sentiment.llm", "signals.handler_time_limit_s", "signals.handler_waiting_limit_s"),
    *("portfolio_manager.initial_capital", "portfolio_manager.currency", "risk_manager.approvals"),
)
"""Parts of `LIVE_SETTINGS` that change only in the settings file, with a restart: connections, code, time limits of
handlers, the start of the books, and the actions that need a second person."""
PLATFORM_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "risk_manager.initial_capital": "portfolio_manager.initial_capital",
        "risk_manager.account_currency": "portfolio_manager.currency",
        "risk_manager.accruals": "portfolio_manager.accruals",
        "risk_manager.instruments": "instruments",
        "execution.venue.instruments": "instruments",
        "portfolio_manager.trading_strategies": STRATEGIES,
        "portfolio_manager.capital": STRATEGIES,
        "portfolio_manager.order_limited": STRATEGIES,
    }
)
"""Parts of `LIVE_SETTINGS` that the platform sets itself, and the setting from which it does."""
_RESTART_STRATEGY_KEYS: Final = ("name", "universe", "handler_time_limit_s")


def is_live(setting: str) -> bool:
    """Return whether a setting can change at run time.

    >>> is_live("risk_manager.max_daily_loss"), is_live("kafka.symbol_partitions"), is_live("sentiment.llm.model")
    (True, False, False)
    """
    if setting.startswith(f"{STRATEGIES}.") and setting.rpartition(".")[2] in _RESTART_STRATEGY_KEYS:
        return False
    fixed = (*RESTART_SETTINGS, *UNRECORDED_SETTINGS, *PLATFORM_SETTINGS)
    return _is_within(setting, LIVE_SETTINGS) and not _is_within(setting, fixed) and not _restart_part(setting)


def require_live(setting: str) -> None:
    """Raises BadInput if a setting cannot change at run time."""
    section = setting.partition(".")[0]
    if section not in Settings.model_fields:
        raise BadInput(f"unknown setting {setting}{did_you_mean(section, Settings.model_fields) or '.'}")
    for fixed, source in PLATFORM_SETTINGS.items():
        if _is_within(setting, (fixed,)):
            raise BadInput(f"setting {setting} is set by the platform from {source}: change {source} instead")
    if (part := _restart_part(setting)) and _is_within(setting, LIVE_SETTINGS):
        raise BadInput(
            f"setting {setting} contains {part}, which takes effect only at a restart: change the other settings of "
            f"{setting} one by one"
        )
    if not is_live(setting):
        raise BadInput(
            f"setting {setting} takes effect only at a restart: change it in the settings file, "
            "then run `python cli.py restart`"
        )


def with_overrides(settings: Settings, overrides: Mapping[str, str]) -> Settings:
    """Return the settings with overrides. Raises BadInput for an unknown setting or an invalid value."""
    if not overrides:
        return settings
    tree: dict[str, Any] = {name: getattr(settings, name) for name in Settings.model_fields}
    dumped = settings.model_dump(mode="json", include=set(DECISION_SECTIONS))
    for setting in sorted(overrides, key=lambda one: (one.count("."), one)):
        section = setting.partition(".")[0]
        if section not in dumped:
            require_live(setting)
        _set(dumped, setting, _parsed(setting, overrides[setting]))
        tree[section] = dumped[section]
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise BadInput(error_sentence(error)) from error


class SortedOverrides(NamedTuple):
    """Overrides that are valid on top of changed settings, and the reason by setting for those that are not."""

    usable: dict[str, str]
    dropped: dict[str, str]


def sort_overrides(settings: Settings, overrides: Mapping[str, str]) -> SortedOverrides:
    """Return which overrides are valid on top of these settings.

    An override is invalid if, for example, its strategy is no longer in the settings file, or if the setting cannot
    change at run time.
    """
    usable: dict[str, str] = {}
    dropped: dict[str, str] = {}
    for setting, value in sorted(overrides.items()):
        try:
            require_live(setting)  # an earlier release accepted more settings
            with_overrides(settings, {**usable, setting: value})
        except BadInput as error:
            dropped[setting] = str(error)
        else:
            usable[setting] = value
    return SortedOverrides(usable, dropped)


def value_in(configuration: Configuration, setting: str) -> Any:
    """Return the value of a setting in a recorded configuration; None if it has none, as for an unset setting.

    >>> record = Configuration("", 0, 1, "", "", "", '{"risk_manager": {"max_daily_loss": "5"}}', "", {}, {}, {})
    >>> value_in(record, "risk_manager.max_daily_loss"), value_in(record, "risk_manager.other.key")
    ('5', None)
    """
    node: Any = json.loads(configuration.settings)
    if setting.startswith(f"{STRATEGIES}."):
        found = _find_strategy_entry(node.get("signals", {}).get("strategies"), setting)
        if found is None:
            return None
        node, setting = found
    for key in setting.split("."):
        if not isinstance(node, dict):
            return None
        node = node.get(key)
    return node


def next_configuration(
    last: Configuration | None,
    settings: Settings,
    *,
    overrides: Mapping[str, str],
    actor: str,
    reason: str,
    release: str,
) -> Configuration:
    """Return the record after `last`: the settings of the file with overrides.

    Raises BadInput if a setting is invalid or a file cannot be read.
    """
    effective = with_overrides(settings, overrides)
    text, sources = recorded_text(effective), read_sources(effective)
    hashes = source_hashes(sources)
    number = 1 if last is None else last.number + 1
    return Configuration(
        configuration_id=f"config-{number}",
        ts_ns=time.time_ns(),
        number=number,
        actor=actor,
        reason=reason,
        release=release,
        settings=text,
        sha256=configuration_sha256(text, hashes),
        overrides=dict(overrides),
        sources=sources,
        source_sha256=hashes,
    )


def _is_within(setting: str, prefixes: tuple[str, ...]) -> bool:
    return any(setting == prefix or setting.startswith(f"{prefix}.") for prefix in prefixes)


def _restart_part(setting: str) -> str:
    """Return a setting within this one that takes effect only at a restart; "" if there is none."""
    return next((one for one in RESTART_SETTINGS if one.startswith(f"{setting}.")), "")


def _parsed(setting: str, text: str) -> Any:
    try:
        value = json.loads(text)
        canonical_json(value).encode()  # JSON can name half of a character, which no record can hold
    except ValueError as error:
        raise BadInput(f"setting {setting}: expected JSON with Unicode text, found {text[:80]!r}") from error
    return value


def _set(tree: dict[str, Any], setting: str, value: Any) -> None:
    """Set a value in the dumped sections. Raises BadInput for an unknown strategy, or if a parent is not a section."""
    if setting.startswith(f"{STRATEGIES}."):
        entry, key = _strategy_entry(tree["signals"]["strategies"], setting)
        parents, node = key.split("."), entry
    else:
        parents, node = setting.split("."), tree
    *parents, last = parents
    for parent in parents:
        if node.get(parent) is None:
            node[parent] = {}
        node = node[parent]
        if not isinstance(node, dict):
            raise BadInput(f"unknown setting {setting}: {parent} has no settings, found {node!r}")
    node[last] = value


def _strategy_entry(entries: Any, setting: str) -> tuple[dict[str, Any], str]:
    """Return the entry of the strategy that a setting names, and the rest of the setting. Raises BadInput."""
    found = _find_strategy_entry(entries, setting)
    if found is None:
        raise BadInput(_unknown_strategy(entries, setting))
    return found


def _find_strategy_entry(entries: Any, setting: str) -> tuple[dict[str, Any], str] | None:
    rest = setting.removeprefix(f"{STRATEGIES}.")
    for name, entry in _entries_by_name(entries).items():
        if rest.startswith(f"{name}."):
            return entry, rest.removeprefix(f"{name}.")
    return None


def _entries_by_name(entries: Any) -> dict[str, dict[str, Any]]:
    known_entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    by_name = {str(entry["name"]): entry for entry in known_entries if "name" in entry}
    for entry in known_entries:  # an override of the whole list may lack `parameters`
        parameters = entry.get("parameters")
        if isinstance(parameters, dict) and "name" in parameters:
            by_name[str(parameters["name"])] = entry
    return by_name


def _unknown_strategy(entries: Any, setting: str) -> str:
    """Return the error for a strategy that the settings do not name, such as one called by the name in its class."""
    by_name, rest = _entries_by_name(entries), setting.removeprefix(f"{STRATEGIES}.")
    name, _, key = rest.partition(".")
    meant = next((one for one, entry in by_name.items() if name in _names_in_code(entry)), None)
    error = f"unknown strategy {name} in {setting}"
    if meant is not None:
        return f"{error}: its name in the settings is {meant}; did you mean {STRATEGIES}.{meant}.{key}?"
    return f"{error}{did_you_mean(name, by_name) or '.'} Strategies: {', '.join(by_name) or 'none'}"


def _names_in_code(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the class of a strategy in a file, and the name that its signals or actions have. Loads the file."""
    from configs.strategies import load_strategies

    source = str(entry.get("name", ""))
    if ":" not in source:
        return ()
    try:
        (strategy,) = load_strategies([{"name": source, "parameters": entry.get("parameters") or {}}])
    except BadInput:
        return (source.rpartition(":")[2],)
    return source.rpartition(":")[2], strategy.name

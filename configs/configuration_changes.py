"""Changes of settings at run time: which settings can change, and the record of a change.

A change is an override on top of the settings file: JSON by setting, such as `{"risk_manager.max_daily_loss": "500"}`.
`signals.strategies.NAME.KEY` is a setting of the strategy with that name. Overrides survive a restart.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from configs.recorded_settings import (
    DECISION_SECTIONS,
    UNRECORDED_SETTINGS,
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
_RESTART_STRATEGY_KEYS: Final = ("name", "universe", "handler_time_limit_s")


def is_live(setting: str) -> bool:
    """Return whether a setting can change at run time.

    >>> is_live("risk_manager.max_daily_loss"), is_live("kafka.symbol_partitions"), is_live("sentiment.llm.model")
    (True, False, False)
    """
    if setting.startswith(f"{STRATEGIES}.") and setting.rpartition(".")[2] in _RESTART_STRATEGY_KEYS:
        return False
    return _is_within(setting, LIVE_SETTINGS) and not _is_within(setting, (*RESTART_SETTINGS, *UNRECORDED_SETTINGS))


def require_live(setting: str) -> None:
    """Raises BadInput if a setting cannot change at run time."""
    section = setting.partition(".")[0]
    if section not in Settings.model_fields:
        raise BadInput(f"unknown setting {setting}{did_you_mean(section, Settings.model_fields) or '.'}")
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
        tree[section] = dumped[section]
        _set(dumped, setting, _parsed(setting, overrides[setting]))
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise BadInput(error_sentence(error)) from error


def usable_overrides(settings: Settings, overrides: Mapping[str, str]) -> dict[str, str]:
    """Return the overrides that are valid on top of these settings.

    An override is invalid if, for example, its strategy is no longer in the settings file.
    """
    usable: dict[str, str] = {}
    for setting, value in sorted(overrides.items()):
        try:
            with_overrides(settings, {**usable, setting: value})
        except BadInput:
            continue
        usable[setting] = value
    return usable


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


def _parsed(setting: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadInput(f"setting {setting}: expected JSON, found {text!r}") from error


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


def _strategy_entry(entries: list[dict[str, Any]], setting: str) -> tuple[dict[str, Any], str]:
    """Return the entry of the strategy that a setting names, and the rest of the setting."""
    rest = setting.removeprefix(f"{STRATEGIES}.")
    by_name = {entry["name"]: entry for entry in entries} | {
        str(entry["parameters"]["name"]): entry for entry in entries if "name" in entry["parameters"]
    }
    for name, entry in by_name.items():
        if rest.startswith(f"{name}."):
            return entry, rest.removeprefix(f"{name}.")
    name = rest.partition(".")[0]
    known = ", ".join(by_name) or "none"
    raise BadInput(f"unknown strategy {name} in {setting}{did_you_mean(name, by_name) or '.'} Strategies: {known}")

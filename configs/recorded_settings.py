"""The settings as the topic `configuration` records them: canonical JSON, and settings read back from it.

A record contains all settings except secrets, credentials in addresses and `UNRECORDED_SETTINGS`. A stage uses the
sections of a record that affect decisions (`DECISION_SECTIONS`). All other settings are those of its process.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pydantic import SecretStr, TypeAdapter, ValidationError

from configs.settings import Settings
from schemas.errors import BadInput
from schemas.records import Configuration

DECISION_SECTIONS: Final = (
    *("instruments", "market_data", "features", "sentiment", "predictions", "signals", "portfolio_manager"),
    *("risk_manager", "execution", "feedback"),
)
"""The sections that affect decisions. A stage uses those of the record."""
UNRECORDED_SETTINGS: Final = frozenset(
    {
        *("database", "kafka.bootstrap_servers", "kafka.security", "kafka.topics", "kafka.archive_folder"),
        "predictions.registry",
        *("alpaca.url", "polygon.stream_url", "polygon.rest_url", "alerts.metrics_url"),
    }
)
"""Settings that are not recorded: connections, and the folders of the models and the archive."""
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@|(?<=\?)\S*")
_UNKNOWN_KEYS = ("extra_forbidden", "unexpected_keyword_argument")
SOURCES_BYTES_MAX: Final = 600_000
"""Total length of the recorded files. A message of Kafka holds at most one megabyte."""


def recorded_text(settings: Settings) -> str:
    """Return the settings as canonical JSON: sorted keys, no spaces, no secret, no setting of `UNRECORDED_SETTINGS`."""
    return canonical_json(_recorded_tree(settings))


def canonical_json(value: Any) -> str:
    """
    >>> canonical_json({"b": 1, "a": ["x"]})
    '{"a":["x"],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def configuration_sha256(settings_text: str, source_sha256: Mapping[str, str]) -> str:
    """Return SHA-256 over the settings and the hashes of the source files."""
    return hashlib.sha256(canonical_json([settings_text, dict(source_sha256)]).encode()).hexdigest()


def user_files(settings: Settings) -> Iterator[str]:
    """Yield the paths of the strategy and indicator files as they are written in the settings."""
    for entry in settings.signals.strategies:
        path, separator, _ = entry.name.rpartition(":")
        if separator and path.endswith(".py"):
            yield path
    yield from map(str, settings.features.indicator_files)


def read_sources(settings: Settings) -> dict[str, str]:
    """Return the text of the user's own files by path. Raises BadInput if one cannot be read or they are too long."""
    sources: dict[str, str] = {}
    for path in user_files(settings):
        try:
            sources[path] = Path(path).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    length = sum(len(text.encode()) for text in sources.values())
    if length > SOURCES_BYTES_MAX:
        raise BadInput(
            f"the strategy and indicator files have {length} bytes, expected at most {SOURCES_BYTES_MAX}, which one "
            "record of the configuration can hold; move data out of the files"
        )
    return sources


def with_user_files(settings: Settings, files: Mapping[str, str]) -> Settings:
    """Return the settings with other paths for strategy and indicator files, by their paths in the settings."""
    if not files:
        return settings
    entries = []
    for entry in settings.signals.strategies:
        path, separator, class_name = entry.name.rpartition(":")
        renamed = {"name": files[path] + separator + class_name} if separator and path in files else {}
        entries.append(entry.model_copy(update=renamed))
    indicators = tuple(Path(files.get(str(path), path)) for path in settings.features.indicator_files)
    return settings.model_copy(
        update={
            "signals": settings.signals.model_copy(update={"strategies": tuple(entries)}),
            "features": settings.features.model_copy(update={"indicator_files": indicators}),
        }
    )


def source_hashes(sources: Mapping[str, str]) -> dict[str, str]:
    """Return SHA-256 of each text."""
    return {path: text_hash(text) for path, text in sources.items()}


def text_hash(text: str) -> str:
    """Return SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def host_hashes(paths: Iterable[str]) -> dict[str, str]:
    """Return SHA-256 of the files of this host by path, empty for one that cannot be read."""
    hashes: dict[str, str] = {}
    for path in paths:
        try:
            hashes |= source_hashes({path: Path(path).expanduser().read_text(encoding="utf-8")})
        except (OSError, UnicodeDecodeError):
            hashes[path] = ""
    return hashes


def settings_of(configuration: Configuration, own: Settings) -> Settings:
    """Return the settings of a process under a recorded configuration.

    The sections that affect decisions are those of the record, the others those of the process. An unknown key is
    ignored, and a missing key has its default, because the record may be from another release. Raises BadInput if the
    record is invalid.
    """
    return _with_sections(own, require_valid(configuration))


def settings_from_text(text: str, own: Settings) -> Settings:
    """Return the settings of a text of `recorded_text`, as `settings_of` does. Raises BadInput if it is invalid."""
    try:
        return _with_sections(own, _sections(text))
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"the recorded settings are invalid: {_first_line(error)}") from error


def _with_sections(own: Settings, sections: Mapping[str, Any]) -> Settings:
    registry = {"registry": own.predictions.registry}
    predictions = sections["predictions"].model_copy(update=registry)
    return own.model_copy(update={**sections, "predictions": predictions})


def require_valid(configuration: Configuration) -> Mapping[str, Any]:
    """Return the sections of a record that affect decisions. Raises BadInput if one is invalid."""
    try:
        return _sections(configuration.settings)
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{configuration.configuration_id} is invalid: {_first_line(error)}") from error


def is_valid(configuration: Configuration) -> bool:
    """Whether a stage applies the configuration."""
    try:
        require_valid(configuration)
    except BadInput:
        return False
    return True


@lru_cache(maxsize=32)
def _sections(text: str) -> Mapping[str, Any]:
    tree = json.loads(text)
    return MappingProxyType({name: _section(name, tree.get(name) or {}) for name in DECISION_SECTIONS})


def _section(name: str, tree: Any) -> Any:
    adapter: TypeAdapter[Any] = _adapter(name)
    while True:
        try:
            return adapter.validate_python(tree)
        except ValidationError as error:
            unknown = [one["loc"] for one in error.errors() if one["type"] in _UNKNOWN_KEYS]
            if not unknown:
                raise
            for location in unknown:
                _remove(tree, location)


@lru_cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(Settings.model_fields[name].rebuild_annotation())


def _remove(tree: Any, location: tuple[int | str, ...]) -> None:
    *parents, last = location
    for key in parents:
        tree = tree[key]
    del tree[last]


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}, found {first['input']!r}"
    return str(error).splitlines()[0]


def _recorded_tree(settings: Settings) -> dict[str, Any]:
    tree = settings.model_dump(mode="json")
    for path in UNRECORDED_SETTINGS:
        *parents, last = path.split(".")
        section = tree
        for key in parents:
            section = section[key]
        section.pop(last, None)
    _drop_secrets(settings, tree)
    stripped: dict[str, Any] = _without_credentials(tree)
    return stripped


def _drop_secrets(section: Any, tree: dict[str, Any]) -> None:
    """Remove the keys of secrets from a dumped section and the sections in it."""
    for name in list(tree):
        value = getattr(section, name, None)
        if isinstance(value, SecretStr) or _is_secret_field(section, name):
            del tree[name]
        elif isinstance(tree[name], dict) and not isinstance(value, Mapping):
            _drop_secrets(value, tree[name])


def _is_secret_field(section: Any, name: str) -> bool:
    field = getattr(type(section), "model_fields", {}).get(name)
    return field is not None and "SecretStr" in str(field.annotation)


def _without_credentials(value: Any) -> Any:
    """Return the value without the user information and the query of each URL."""
    if isinstance(value, str):
        return _CREDENTIALS.sub("", value) if "://" in value else value
    if isinstance(value, dict):
        return {key: _without_credentials(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_credentials(one) for one in value]
    return value

"""Load the settings from files and environment variables. An error is one sentence.

From lowest to highest precedence: the YAML files of `configs/`, the user's settings file, `SECTION__KEY` environment
variables, the environment variables of `ENVIRONMENT_VARIABLES`, and the values that a program passes. The file `.env`
can set variables that the environment does not set (`configs/env_file.py`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog
import yaml
from pydantic import ValidationError

from configs.env_file import use_env_file
from configs.logs import mask_values
from configs.recorded_endpoints import embedded_kafka_variables
from configs.secrets import declared_secrets, resolve_secrets, secrets_folder
from configs.settings.fields import key_types, sections_in
from configs.settings.tree import Settings
from configs.yaml_text import parse_yaml, yaml_problem
from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

log = structlog.get_logger(__name__)

CONFIGS_FOLDER = Path(__file__).parents[1]
ENVIRONMENT_VARIABLES = {
    "DATABASE_URL": ("database", "postgres", "url"),
    "DATABASE_REPLICA_URL": ("database", "postgres", "replica_url"),
    "REDIS_URL": ("database", "redis", "url"),
    "KAFKA_BOOTSTRAP_SERVERS": ("kafka", "bootstrap_servers"),
    "KAFKA_PASSWORD": ("kafka", "security", "password"),
    "INITIAL_CAPITAL": ("portfolio_manager", "initial_capital"),
    "MAX_POSITION_SIZE": ("risk_manager", "max_position_size"),
    "RISK_TOLERANCE": ("portfolio_manager", "sizing", "fraction"),
    "API_JWT_KEY": ("api", "jwt_key"),
    "METRICS_TOKEN": ("api", "metrics_token"),
    "LOG_LEVEL": ("platform", "log_level"),
    "ALPACA_API_KEY": ("alpaca", "api_key"),
    "ALPACA_SECRET_KEY": ("alpaca", "secret_key"),
    "POLYGON_API_KEY": ("polygon", "api_key"),
    "TRADING_MODE": ("execution", "mode"),
}
"""Environment variables with well-known names, and the settings that they set."""
_UNKNOWN_KEY_ERRORS = ("extra_forbidden", "unexpected_keyword_argument")
_EXTRA_KEYS: Mapping[tuple[str, ...], set[str]] = {("portfolio_manager",): {"rebalance_frequency"}}
"""Keys that a section accepts beside its fields."""
_KEYS_SHOWN_MAX = 12


def load_settings(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> Settings:
    """Return the settings of this process. `file` overrides the YAML files of `configs/`; its default is the path in
    PLATFORM_SETTINGS. `overrides` have the highest precedence: keys and values as in a file, or by dotted names, such
    as `{"portfolio_manager.initial_capital": 50_000}`.

    Secrets come from the sources that `configs/secrets.py` lists. For the embedded Kafka of the state folder, the
    credentials come from there too (`configs/recorded_endpoints.py`). If `environment` is passed, both are read only if
    it contains PLATFORM_HOME. Raises BadInput with the file or variable, the setting, what was expected and what was
    found.
    """
    if environment is None:
        use_env_file(os.environ)
    secrets = _secrets(os.environ if environment is None else environment, own_environment=environment is None)
    environment = os.environ if environment is None else environment
    tree: dict[str, Any] = _read_yaml(CONFIGS_FOLDER / "services.yaml")
    tree.update(_read_yaml(CONFIGS_FOLDER / "alerts.yaml"))
    tree["database"] = _read_yaml(CONFIGS_FOLDER / "database.yaml")
    tree["kafka"] = _read_yaml(CONFIGS_FOLDER / "kafka_topics.yaml")
    if file is None and environment.get("PLATFORM_SETTINGS"):
        file = Path(environment["PLATFORM_SETTINGS"])
    if file is not None:
        _merge(tree, _read_yaml(file))
    home = environment.get("PLATFORM_HOME") or (CONFIGS_FOLDER.parent / "var" if environment is os.environ else None)
    if home is not None:
        tree["predictions"] = {"registry": Path(home).resolve() / "models"} | (tree.get("predictions") or {})
        tree["kafka"] = {"archive_folder": Path(home).resolve() / "archive"} | (tree.get("kafka") or {})
    variables = _from_environment(environment)
    for path, value in [*secrets, *((path, value) for path, value, _ in variables)]:
        _set_path(tree, path, value)
    for name, value in overrides.items():
        _merge(tree, _nested(name.split("."), value))
    if home is not None:
        _use_embedded_kafka(tree, environment)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise BadInput(error_sentence(error, file, {path: name for path, _, name in variables})) from error
    except BadInput as error:
        # Raised by a section's own check, which does not know the source of the value.
        raise BadInput(f"settings file {file}: {error}" if file else str(error)) from error


def is_overridden(
    path: tuple[str, ...], file: Path | None = None, environment: Mapping[str, str] | None = None
) -> bool:
    """Whether the user's settings file or an environment variable sets a key, such as `("signals", "strategies")`.

    `file` defaults to the path in PLATFORM_SETTINGS. Raises BadInput if the file cannot be read.
    """
    environment = os.environ if environment is None else environment
    if any(name.upper() == "__".join(path).upper() for name in environment):
        return True
    if file is None and environment.get("PLATFORM_SETTINGS"):
        file = Path(environment["PLATFORM_SETTINGS"])
    tree: Any = {} if file is None else _read_yaml(file)
    for key in path:
        if not isinstance(tree, dict) or key not in tree:
            return False
        tree = tree[key]
    return True


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text()
        tree = parse_yaml(text)
    except FileNotFoundError as error:
        raise BadInput(f"settings file {file} does not exist") from error
    except OSError as error:
        raise BadInput(f"settings file {file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"settings file {file}: {yaml_problem(error, text)}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise BadInput(f"settings file {file}: expected keys and values, found {type(tree).__name__}")
    return tree


def _merge(tree: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    for key, value in overrides.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    """
    >>> _nested(["risk_manager", "max_daily_loss"], 100)
    {'risk_manager': {'max_daily_loss': 100}}
    """
    first, *rest = path
    return {first: _nested(rest, value) if rest else value}


def _secrets(environment: Mapping[str, str], *, own_environment: bool) -> list[tuple[tuple[str, ...], str]]:
    if not own_environment and not environment.get("PLATFORM_HOME"):
        return []
    resolved = resolve_secrets(environment, secrets_folder(environment))
    mask_values(value for value, _ in resolved.values())
    return [
        (ENVIRONMENT_VARIABLES[name], value) for name, (value, _) in resolved.items() if name in ENVIRONMENT_VARIABLES
    ]


def _use_embedded_kafka(tree: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Add the credentials of the platform's own Kafka, unless the settings have a security protocol."""
    kafka = tree["kafka"]
    security = kafka.get("security") or {}
    if security.get("protocol", "PLAINTEXT") != "PLAINTEXT":
        return
    credentials = embedded_kafka_variables(
        environment, secrets_folder(environment), str(kafka.get("bootstrap_servers", ""))
    )
    for path, value, _ in _from_environment(credentials):
        _set_path(tree, path, value)
    mask_values(value for name, value in credentials.items() if name in declared_secrets())


def _from_environment(environment: Mapping[str, str]) -> list[tuple[tuple[str, ...], Any, str]]:
    """Return (path of the setting, value, name of the variable), in order of increasing precedence."""
    entries: list[tuple[tuple[str, ...], Any, str]] = []
    for name, value in environment.items():
        path = tuple(part.lower() for part in name.split("__"))
        if len(path) == 1:
            continue
        if path[0] in Settings.model_fields:
            entries.append((path, _parse_value(name, value), name))
        elif suggestion := did_you_mean(path[0], Settings.model_fields):
            log.warning("environment variable ignored", name=name, reason=f"unknown section {path[0]}{suggestion}")
    # Last, so that DATABASE_URL overrides DATABASE__POSTGRES__URL.
    for name, path in ENVIRONMENT_VARIABLES.items():
        if environment.get(name):
            entries.append((path, environment[name], name))
    return entries


def _parse_value(name: str, text: str) -> Any:
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        # Without the text itself: it may be a secret.
        raise BadInput(
            f"environment variable {name}: expected YAML; {getattr(error, 'problem', 'malformed')}"
        ) from error


def _set_path(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *parents, last = path
    for key in parents:
        tree = tree.setdefault(key, {})
    tree[last] = value


def error_sentence(
    error: ValidationError, file: Path | None = None, variables: Mapping[tuple[str, ...], str] = MappingProxyType({})
) -> str:
    """Describe the first unknown key, else the first error. `variables` maps settings to environment variables."""
    errors = error.errors()
    first = next((each for each in errors if each["type"] in _UNKNOWN_KEY_ERRORS), errors[0])
    location = tuple(str(part) for part in first["loc"])
    where, source = ".".join(location), _source(location, file, variables)
    if first["type"] in _UNKNOWN_KEY_ERRORS:
        keys = _accepted_keys(location[:-1])
        return f"unknown setting {where}{source}{did_you_mean(location[-1], keys) or _list_keys(keys)}"
    message = _message(first["type"], first["msg"])
    if location[-1:] and location[-1] in _TYPE_TAGS:
        where = ".".join(location[:-1])  # pydantic adds the tried type of a union
        words = [
            each["ctx"]["expected"]
            for each in errors
            if each["type"] == "literal_error" and each["loc"][:-1] == first["loc"][:-1]
        ]
        message += "".join(f" or {word}" for word in words)
    secret_paths = {ENVIRONMENT_VARIABLES[name] for name in declared_secrets() if name in ENVIRONMENT_VARIABLES}
    if not isinstance(first["input"], dict) and location not in secret_paths:
        message += f", found {first['input']!r}" if first["input"] != "" else ""
        if first["type"] == "literal_error":
            message += did_you_mean(str(first["input"]), re.findall(r"'([^']*)'", first["ctx"]["expected"]))
    return f"setting {where or 'tree'}{source}: {message}"


_TYPE_TAGS = frozenset({"decimal", "int", "float", "str", "bool", "none"})


def _message(error_type: str, text: str) -> str:
    """Return the message of a pydantic error in the words of this project.

    >>> _message("decimal_parsing", "Input should be a valid decimal")
    'must be a number'
    """
    return _MESSAGES.get(error_type) or text.removeprefix("Value error, ").replace("Input should be", "must be")


_MESSAGES = {
    "decimal_parsing": "must be a number",
    "decimal_type": "must be a number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "tuple_type": "must be a list, such as [a, b]",
    "list_type": "must be a list, such as [a, b]",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
}


def _source(location: tuple[str, ...], file: Path | None, variables: Mapping[tuple[str, ...], str]) -> str:
    name = next((name for path, name in variables.items() if location[: len(path)] == path), None)
    if name is not None:
        return f" in environment variable {name}"
    return f" in {file}" if file else ""


def _list_keys(keys: Sequence[str]) -> str:
    if not 0 < len(keys) <= _KEYS_SHOWN_MAX:
        return "; docs/settings.md lists all settings"
    return f"; expected one of {', '.join(keys)}"


def _accepted_keys(location: tuple[str, ...]) -> list[str]:
    """The keys that the section at `location` accepts."""
    sections: list[type] = [Settings]
    for part in location:
        types_by_section = [key_types(section) for section in sections]
        # An index of a list and a key of a mapping do not name a field: they stay within the same section.
        if any(part in types for types in types_by_section):
            sections = [inner for types in types_by_section for inner in sections_in(types.get(part))]
    return sorted({key for section in sections for key in key_types(section)} | _EXTRA_KEYS.get(location, set()))

"""The tree out of files and variables. What is wrong in them becomes one sentence.

From weakest to strongest: the YAML files of `configs/`, a settings file of the user's own, `SECTION__KEY` environment
variables, and the few environment variables with names of their own (`ENVIRONMENT_VARIABLES`). The file `.env` may set variables
that the environment does not (`configs/env_file.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from configs.env_file import use_env_file
from configs.logs import mask_values
from configs.secrets import known_secrets, resolve_secrets, secrets_folder
from configs.settings.tree import Settings
from schemas.errors import BadInput

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
"""Environment variables that are known by these names elsewhere, and what they set."""


def load_settings(file: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process. `file` goes before the YAML files here; PLATFORM_SETTINGS names it otherwise.

    Secrets come from where `configs/secrets.py` says; with an `environment` given, only where it names PLATFORM_HOME.
    Raises BadInput naming the file or variable, the key, what was expected and what was found.
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
    for path, value in [*secrets, *_from_environment(environment)]:
        _set_path(tree, path, value)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise BadInput(_error_sentence(error, file)) from error
    except BadInput as error:
        # A part's own check, which does not know where the value is from.
        raise BadInput(f"settings file {file}: {error}" if file else str(error)) from error


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text())
    except OSError as error:
        raise BadInput(f"settings file {file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"settings file {file}: {' '.join(str(error).split())}") from error
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


def _secrets(environment: Mapping[str, str], *, own_environment: bool) -> list[tuple[tuple[str, ...], str]]:
    if not own_environment and not environment.get("PLATFORM_HOME"):
        return []
    resolved = resolve_secrets(environment, secrets_folder(environment))
    mask_values(value for value, _ in resolved.values())
    return [
        (ENVIRONMENT_VARIABLES[name], value) for name, (value, _) in resolved.items() if name in ENVIRONMENT_VARIABLES
    ]


def _from_environment(environment: Mapping[str, str]) -> list[tuple[tuple[str, ...], Any]]:
    entries: list[tuple[tuple[str, ...], Any]] = []
    for name, value in environment.items():
        path = tuple(part.lower() for part in name.split("__"))
        if len(path) > 1 and path[0] in Settings.model_fields:
            entries.append((path, yaml.safe_load(value)))
    # Last, so that DATABASE_URL wins over a nested name for the same thing.
    entries += [(path, environment[name]) for name, path in ENVIRONMENT_VARIABLES.items() if environment.get(name)]
    return entries


def _set_path(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *parents, last = path
    for key in parents:
        tree = tree.setdefault(key, {})
    tree[last] = value


def _error_sentence(error: ValidationError, file: Path | None) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    secret_paths = {".".join(ENVIRONMENT_VARIABLES[name]) for name in known_secrets() if name in ENVIRONMENT_VARIABLES}
    hidden = isinstance(first["input"], dict) or where in secret_paths
    shown_input = "" if hidden else first["input"]
    unknown_key = "" if first["type"] != "extra_forbidden" else "this key is not known"
    message = unknown_key or first["msg"].removeprefix("Value error, ")
    return f"setting {where or 'tree'}{f' in {file}' if file else ''}: {message}{f', found {shown_input!r}' if shown_input != '' else ''}"

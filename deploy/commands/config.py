"""`config`: show the settings in force, their history, and change them while the platform runs."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.errors import DeployError
from deploy.home import Home, home_from_environment

if TYPE_CHECKING:
    from configs.settings import Settings
    from schemas.records import Configuration

Setting = Annotated[str, typer.Argument(help="Setting or section, such as risk_manager (default: all).")]
Assignments = Annotated[
    list[str], typer.Argument(help="Changes, each as SETTING=VALUE. The value is YAML, such as 500 or [sma_20].")
]
Settings_ = Annotated[list[str], typer.Argument(help="Settings to reset to the value of the settings file.")]
Reason = Annotated[str, typer.Option(help="Reason for the change. Stored with the configuration.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
First = Annotated[str, typer.Argument(help="Configuration, such as config-3 (default: the one before the second).")]
Second = Annotated[str, typer.Argument(help="Configuration to compare with it (default: the newest one).")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number of configurations.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Show and change the settings of the running platform.", no_args_is_help=True)
    group.command("show", help="Show the settings in force, who changed them last, and the changes at run time.")(show)
    group.command("set", help="Change settings from the next time slice on, without a restart.")(set_settings)
    group.command("unset", help="Reset settings to the values of the settings file, without a restart.")(unset)
    group.command("history", help="List the configurations, newest first.")(history)
    group.command("diff", help="Compare two configurations, setting by setting.")(diff)
    app.add_typer(group, name="config")


def show(setting: Setting = "", as_json: AsJson = False) -> None:
    from configs.configuration_publishing import newest_of

    newest = newest_of(_settings(home_from_environment()))
    tree = _part(json.loads(newest.settings), setting)
    if as_json:
        print(json.dumps({**_summary(newest), "settings": tree}, indent=2))
        return
    print(_line(newest))
    for name, value in sorted(newest.overrides.items()):
        print(f"changed at run time: {name}={value}")
    for name, value in sorted(_flat(tree, setting).items()):
        print(f"{name}: {json.dumps(value)}")


def set_settings(assignments: Assignments, reason: Reason) -> None:
    from configs.yaml_text import parse_yaml

    changes: dict[str, str | None] = {}
    for assignment in assignments:
        setting, separator, text = assignment.partition("=")
        if not separator:
            raise DeployError(f"expected SETTING=VALUE, found {assignment!r}")
        changes[setting.strip()] = json.dumps(parse_yaml(text), default=str)
    _change(changes, reason)


def unset(settings: Settings_, reason: Reason) -> None:
    _change(dict.fromkeys(settings), reason)


def history(limit: Limit = 20, as_json: AsJson = False) -> None:
    from sinks.configuration_log import stored_configurations

    stored = stored_configurations(_settings(home_from_environment()).database.postgres.url, limit)
    if as_json:
        print(json.dumps([_summary(one) for one in stored], indent=2))
        return
    for one in stored:
        print(_line(one))


def diff(first: First = "", second: Second = "", as_json: AsJson = False) -> None:
    settings = _settings(home_from_environment())
    later = _stored(settings, second)
    earlier = _stored(settings, first or f"config-{later.number - 1}")
    before, after = (_flat(json.loads(one.settings)) for one in (earlier, later))
    changed = {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }
    files = sorted(
        path
        for path in earlier.source_sha256.keys() | later.source_sha256.keys()
        if earlier.source_sha256.get(path) != later.source_sha256.get(path)
    )
    if as_json:
        print(json.dumps({"settings": changed, "files": files}, indent=2))
        return
    print(f"{earlier.configuration_id} and {later.configuration_id}: {len(changed)} settings differ")
    for name, values in changed.items():
        print(f"{name}: {json.dumps(values[0])} -> {json.dumps(values[1])}")
    for path in files:
        print(f"file {path} differs")


def _change(changes: dict[str, str | None], reason: str) -> None:
    from configs.configuration_publishing import newest_of, prepare_change, publish_change
    from deploy.supervisor.command_keys import signing_folder
    from sinks.commands import CommandLog

    home = home_from_environment()
    settings = _settings(home)
    change = prepare_change(settings, newest_of(settings), changes, actor=_actor(), reason=reason)
    if change.record is None:
        print(f"nothing to change: {change.last.configuration_id} has these settings")
        return
    kafka = settings.kafka
    record = publish_change(
        change, settings, signing_folder(home), CommandLog(kafka.cluster, prefix=kafka.topic_prefix)
    )
    if record.sha256 != change.record.sha256:
        raise DeployError(f"{record.actor} changed the settings at the same time ({record.reason}); try again")
    print(f"published {record.configuration_id}; every service applies it from the next time slice on")


def _actor() -> str:
    from deploy.commands.users import HOST_ACTOR_PREFIX

    return HOST_ACTOR_PREFIX + getpass.getuser()


def _settings(home: Home) -> Settings:
    from deploy.commands.kill_switch import settings_of_services

    return settings_of_services(home)


def _stored(settings: Settings, configuration_id: str) -> Configuration:
    from configs.configuration_publishing import newest_of
    from sinks.configuration_log import stored_configuration

    if not configuration_id:
        return newest_of(settings)
    stored = stored_configuration(settings.database.postgres.url, configuration_id)
    if stored is None:
        raise DeployError(f"there is no configuration {configuration_id}; `config history` lists them")
    return stored


def _summary(configuration: Configuration) -> dict[str, Any]:
    names = ("configuration_id", "ts_ns", "actor", "reason", "release", "sha256", "overrides", "source_sha256")
    return {name: getattr(configuration, name) for name in names}


def _line(configuration: Configuration) -> str:
    from deploy.time_arguments import format_ns

    one = configuration
    return f"{one.configuration_id}  {format_ns(one.ts_ns)}  {one.actor}  {one.sha256[:12]}  {one.reason}"


def _part(tree: Any, setting: str) -> Any:
    """Return the part of the settings that a dotted path names. Raises DeployError."""
    from schemas.suggestions import did_you_mean

    for key in filter(None, setting.split(".")):
        if not isinstance(tree, dict) or key not in tree:
            known = tree if isinstance(tree, dict) else ()
            raise DeployError(f"unknown setting {setting}{did_you_mean(key, known) or '; docs/settings.md lists all'}")
        tree = tree[key]
    return tree


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return the values by dotted setting. A list is one value."""
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else key)
    return flat

"""`config`: show the settings in force, their history, and change them while the platform runs."""

from __future__ import annotations

import contextlib
import getpass
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.assignments import parse_assignments
from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from schemas.errors import BadInput

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from configs.configuration_publishing import ConfigurationChange
    from configs.settings import Settings
    from schemas.records import Command, Configuration

Setting = Annotated[str, typer.Argument(help="Setting or section, such as risk_manager (default: all).")]
Assignments = Annotated[
    list[str], typer.Argument(help="Changes, each as SETTING=VALUE. The value is YAML, such as 500 or [sma_20].")
]
Settings_ = Annotated[list[str], typer.Argument(help="Settings to reset to the value of the settings file.")]
Preview = Annotated[
    bool, typer.Option("--preview", help="Print what would have differed with the changes. Change nothing.")
]
Since = Annotated[
    str, typer.Option(help="Start of the preview: an event time, or a duration before the last time slice.")
]
TimeLimit = Annotated[float, typer.Option(min=1.0, max=86_400.0, help="Seconds after which the preview is ended.")]
FromStart = Annotated[
    bool, typer.Option("--from-start", help="Replay the recording from its beginning, without a checkpoint.")
]
OptionalReason = Annotated[
    str, typer.Option("--reason", help="Reason for the change. Stored with the configuration. Not for a preview.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
First = Annotated[str, typer.Argument(help="Configuration, such as config-3 (default: the one before the second).")]
Second = Annotated[str, typer.Argument(help="Configuration to compare with it (default: the newest one).")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number of configurations.")]
RequestId = Annotated[str, typer.Argument(help="Id of the request, as `config set` or `config requests` prints it.")]
RejectionReason = Annotated[str, typer.Option("--reason", help="Reason for the rejection. Stored with it.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Show and change the settings of the running platform.", no_args_is_help=True)
    group.command("show", help="Show the settings in force, who changed them last, and the changes at run time.")(show)
    group.command("set", help="Change settings from the next time slice on, without a restart.")(set_settings)
    group.command("unset", help="Reset settings to the values of the settings file, without a restart.")(unset)
    group.command("history", help="List the configurations, newest first.")(history)
    group.command("requests", help="List the changes that wait for a second person, newest first.")(requests)
    group.command("approve", help="Approve a change that another person requested, and apply it.")(approve)
    group.command("reject", help="Reject a change that waits for a second person, or withdraw your own.")(reject)
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


def set_settings(
    assignments: Assignments,
    reason: OptionalReason = "",
    preview: Preview = False,
    since: Since = "1d",
    time_limit: TimeLimit = 600.0,
    from_start: FromStart = False,
    as_json: AsJson = False,
) -> None:
    changes: dict[str, str | None] = dict(parse_assignments(assignments))
    if preview:
        _preview(changes, since, time_limit, from_start=from_start, as_json=as_json)
    else:
        _change(changes, reason)


def unset(
    settings: Settings_,
    reason: OptionalReason = "",
    preview: Preview = False,
    since: Since = "1d",
    time_limit: TimeLimit = 600.0,
    from_start: FromStart = False,
    as_json: AsJson = False,
) -> None:
    if preview:
        _preview(dict.fromkeys(settings), since, time_limit, from_start=from_start, as_json=as_json)
    else:
        _change(dict.fromkeys(settings), reason)


def _preview(
    changes: dict[str, str | None], since: str, time_limit_s: float, *, from_start: bool, as_json: bool
) -> None:
    from deploy.config_preview import print_preview

    print_preview(home_from_environment(), changes, since, time_limit_s, from_start=from_start, as_json=as_json)


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


def requests(as_json: AsJson = False) -> None:
    from api.release_approvals import pending_requests
    from configs.configuration_requests import read_request
    from deploy.open_tables import open_tables
    from deploy.time_arguments import format_ns

    with open_tables(home_from_environment()) as (_, db):
        pending = [read_request(command) for command in pending_requests(db, configuration=True)]
    if as_json:
        print(json.dumps([one._asdict() for one in pending], indent=2))
        return
    for one in pending:
        changes = [f"{name}={json.dumps(value)}" for name, value in sorted(one.set.items())]
        changes += [f"unset {name}" for name in one.unset]
        print(f"{one.request_id}  {format_ns(one.ts_ns)}  {one.requested_by}  {', '.join(changes)}  {one.reason}")
    if not pending:
        print("no requests")


def approve(request_id: RequestId) -> None:
    from api.release_approvals import request_to_approve
    from configs.configuration_publishing import configuration_of, newest_of
    from configs.configuration_requests import prepare_approved, read_request

    home, approver = home_from_environment(), _actor()
    with _decision_tables(home) as db:
        request = read_request(request_to_approve(db, request_id, approver, configuration=True))
    settings = _settings(home)
    last = newest_of(settings)
    applied = configuration_of(settings, request_id)  # read after `last`, so that no approval is between the two
    if applied is not None:
        raise DeployError(f"the request {request_id} is closed: {applied.actor} has approved it")
    change = prepare_approved(settings, last, request, approver)
    record = _publish(home, settings, change)
    if record.actor != approver:
        raise DeployError(f"the request {request_id} is closed: {record.actor} has approved it")
    print(f"published {record.configuration_id}; every service applies it from the next time slice on")


def reject(request_id: RequestId, reason: RejectionReason) -> None:
    from api.release_approvals import rejection_of
    from configs.configuration_publishing import configuration_of

    home = home_from_environment()
    with _decision_tables(home) as db:
        rejection = rejection_of(db, request_id, _actor(), reason, configuration=True)
    settings = _settings(home)
    applied = configuration_of(settings, request_id)
    if applied is not None:  # risk may not have stored it yet
        raise DeployError(f"the request {request_id} is closed: {applied.actor} has approved it")
    _send(settings, rejection)
    print(f"rejected {request_id}; nothing changes")


@contextlib.contextmanager
def _decision_tables(home: Home) -> Iterator[Connection]:
    """Yield a connection for a decision on a request. Raises DeployError if the request cannot be decided."""
    from api.problems import Conflict, Forbidden, NotFound
    from deploy.open_tables import open_tables

    try:
        with open_tables(home) as (_, db):
            yield db
    except (Conflict, Forbidden, NotFound) as error:
        raise DeployError(str(error)) from error


def _change(changes: dict[str, str | None], reason: str) -> None:
    from configs.configuration_publishing import Origin, needs_second_person, newest_of, prepare_change
    from configs.configuration_requests import request_arguments
    from operators.approvals import RELEASE_REQUESTED
    from sinks.commands import new_command

    if not reason:
        raise BadInput("a change needs --reason TEXT; --preview prints what it would have changed")
    home, actor = home_from_environment(), _actor()
    settings = _settings(home)
    last = newest_of(settings)
    change = prepare_change(settings, last, changes, Origin(actor, reason))
    if change.record is None:
        print(f"nothing to change: {last.configuration_id} has these settings")
        return
    if needs_second_person(last):
        arguments = request_arguments(last, changes)
        request = new_command(RELEASE_REQUESTED, actor=actor, reason=reason, arguments=arguments)
        _send(settings, request)
        print(f"requested {request.command_id}; another person must approve it: config approve {request.command_id}")
        return
    record = _publish(home, settings, change)
    print(f"published {record.configuration_id}; every service applies it from the next time slice on")


def _publish(home: Home, settings: Settings, change: ConfigurationChange) -> Configuration:
    """Publish a change and return its record. Raises DeployError if another change was written first."""
    from configs.configuration_publishing import is_published, publish_change
    from deploy.supervisor.command_keys import signing_folder
    from sinks.commands import CommandLog

    kafka = settings.kafka
    command_log = CommandLog(kafka.cluster, prefix=kafka.topic_prefix)
    record = publish_change(change, settings, signing_folder(home), command_log)
    if not is_published(change, record):
        raise DeployError(f"{record.actor} changed the settings at the same time ({record.reason}); try again")
    return record


def _send(settings: Settings, command: Command) -> None:
    from configs.command_signing import command_signer
    from sinks.commands import send
    from sinks.signing_keys import COMMAND_LINE

    kafka = settings.kafka
    send(kafka.cluster, command, prefix=kafka.topic_prefix, signer=command_signer(COMMAND_LINE))


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
    names = (
        *("configuration_id", "ts_ns", "actor", "requested_by", "request_id", "reason", "release", "sha256"),
        *("overrides", "dropped", "source_sha256"),
    )
    return {name: getattr(configuration, name) for name in names}


def _line(configuration: Configuration) -> str:
    from deploy.time_arguments import format_ns

    one = configuration
    persons = f"{one.actor} (requested by {one.requested_by})" if one.requested_by else one.actor
    dropped = f"  dropped: {', '.join(sorted(one.dropped))}" if one.dropped else ""
    return f"{one.configuration_id}  {format_ns(one.ts_ns)}  {persons}  {one.sha256[:12]}  {one.reason}{dropped}"


def _part(tree: Any, setting: str) -> Any:
    """Return the part of the settings that a dotted path names. Raises BadInput."""
    from schemas.suggestions import did_you_mean

    for key in filter(None, setting.split(".")):
        if not isinstance(tree, dict) or key not in tree:
            known = tree if isinstance(tree, dict) else ()
            raise BadInput(f"unknown setting {setting}{did_you_mean(key, known) or '; docs/settings.md lists all'}")
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

"""`kafka`: print or apply the rights of each principal on a Kafka cluster, and open the topics for a program."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from configs.recorded_endpoints import ADMIN
from deploy.home import home_from_environment

if TYPE_CHECKING:
    from collections.abc import Collection

    from deploy.security.kafka_rights import KafkaRight

Apply = Annotated[
    bool,
    typer.Option(
        "--apply",
        help="Create the rights on the cluster of the settings, and remove outdated ones of these principals.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Show and apply the rights to read and write the Kafka topics.", no_args_is_help=True)
    group.command("acls", help="Print the commands that give each principal its rights, or apply the rights.")(acls)
    group.command(
        "open",
        hidden=True,
        help="Print the environment for programs that read the recorded topics, until standard input ends. For a "
        "stopped platform, Kafka runs meanwhile.",
    )(open_topics)
    app.add_typer(group, name="kafka")


def acls(apply: Apply = False, as_json: AsJson = False) -> None:
    from deploy.recovery.recorded_topics import platform_settings
    from deploy.security.kafka_accounts import apply_rights
    from deploy.security.kafka_rights import all_rights
    from deploy.supervisor.layout import read_beside, read_layout
    from deploy.supervisor.service_addresses import use_running_services

    home = home_from_environment()
    if apply:
        use_running_services(home)
    kafka = platform_settings(home, {}, principal=ADMIN if apply else "").kafka
    rights = all_rights(kafka.topic_prefix, layout=read_layout(home), beside=read_beside(home))
    if apply:
        created, removed = apply_rights(kafka.cluster, rights)
        print(f"{len(rights)} rights: {created} created, {removed} removed")
    elif as_json:
        print(json.dumps([right._asdict() for right in sorted(rights)], indent=2))
    else:
        print("\n".join(kafka_acls_commands(rights, kafka.bootstrap_servers)))


def open_topics() -> None:
    """Print one line of JSON with credentials, for the process that started this one (`research/recorded_platform.py`).

    The end of standard input, also that of a killed parent, ends this process and its Kafka.
    """
    from deploy.recovery.recorded_topics import recorded_variables

    with recorded_variables(home_from_environment(), lambda _: None) as variables:
        print(json.dumps(variables), flush=True)
        sys.stdin.read()


def kafka_acls_commands(rights: Collection[KafkaRight], servers: str) -> list[str]:
    """Return one command of Kafka's `kafka-acls.sh` for each principal, kind of resource and operation."""
    grouped: dict[tuple[str, str, str, bool], list[str]] = {}
    for right in sorted(rights):
        grouped.setdefault((right.principal, right.resource, right.operation, right.is_prefix), []).append(right.name)
    return [
        shlex.join(
            [
                *("kafka-acls.sh", "--bootstrap-server", servers, "--command-config", "admin.properties", "--add"),
                *("--allow-principal", f"User:{principal}", "--operation", operation),
                *(("--resource-pattern-type", "prefixed") if is_prefix else ()),
                *(word for name in names for word in (f"--{resource.lower()}", name)),
            ]
        )
        for (principal, resource, operation, is_prefix), names in grouped.items()
    ]

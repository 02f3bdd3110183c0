"""Addresses of the platform that runs in a state folder, and the credentials of its embedded Kafka.

`start` writes `secrets/endpoints.json`, and one password file for each Kafka principal in `secrets/kafka`. Only the
owner of the state folder can read them. A principal is the name with which a process authenticates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from schemas.errors import BadInput

ENDPOINTS_FILE = "endpoints.json"
PASSWORDS_FOLDER = "kafka"  # pragma: allowlist secret
PRINCIPAL_VARIABLE = "PLATFORM_KAFKA_PRINCIPAL"
"""The principal whose credentials `load_settings` uses for the embedded Kafka; empty: none."""
ADMIN, COMMAND_LINE, VIEWER = "admin", "cli", "viewer"
"""The superuser, which creates topics, users and rights, backs up and restores; the principal of other commands; and
the read-only principal of tools."""
ADDRESS_VARIABLES = ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "REDIS_URL")
PROTOCOL, MECHANISM = "SASL_PLAINTEXT", "SCRAM-SHA-512"
CREDENTIAL_VARIABLES = (
    PRINCIPAL_VARIABLE,
    "KAFKA__SECURITY__PROTOCOL",
    "KAFKA__SECURITY__MECHANISM",
    "KAFKA__SECURITY__USER",
    "KAFKA_PASSWORD",
)
AUTHENTICATION_KEY = "KAFKA_AUTHENTICATION"
"""Stands in `endpoints.json` if the embedded Kafka requires authentication; its value is the mechanism."""


def read_endpoints(secrets: Path) -> dict[str, str]:
    """Return the variables of `endpoints.json`; empty if there is no such file or this user may not read it."""
    try:
        tree = json.loads((secrets / ENDPOINTS_FILE).read_text())
    except (FileNotFoundError, PermissionError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}


def use_recorded_addresses(environment: MutableMapping[str, str], secrets: Path, principal: str) -> None:
    """Add the addresses of the platform in the state folder, for a process of `principal` that a user starts by hand.

    Addresses in the environment have precedence. Without a platform, nothing changes.
    """
    endpoints = read_endpoints(secrets)
    for name in ADDRESS_VARIABLES:
        if endpoints.get(name):
            environment.setdefault(name, endpoints[name])
    environment.setdefault(PRINCIPAL_VARIABLE, principal)


def kafka_variables(secrets: Path, principal: str) -> dict[str, str]:
    """Return the environment variables with the credentials of a principal. Raises BadInput if it has none."""
    path = secrets / PASSWORDS_FOLDER / principal
    try:
        password = path.read_text().strip()
    except OSError as error:
        raise BadInput(
            f"the embedded Kafka has no credentials of principal {principal} ({path}: {error.strerror}); "
            "`python cli.py start` creates them"
        ) from error
    return {
        "KAFKA__SECURITY__PROTOCOL": PROTOCOL,
        "KAFKA__SECURITY__MECHANISM": MECHANISM,
        "KAFKA__SECURITY__USER": principal,
        "KAFKA_PASSWORD": password,
    }


def embedded_kafka_variables(environment: Mapping[str, str], secrets: Path, servers: str) -> dict[str, str]:
    """Return the credentials for `servers` if this is the embedded Kafka of the state folder; else nothing.

    Raises BadInput if the principal of PLATFORM_KAFKA_PRINCIPAL (default: the command line's) has no credentials.
    """
    principal = environment.get(PRINCIPAL_VARIABLE, COMMAND_LINE)
    endpoints = read_endpoints(secrets) if principal else {}
    if AUTHENTICATION_KEY not in endpoints or endpoints.get("KAFKA_BOOTSTRAP_SERVERS") != servers:
        return {}
    return kafka_variables(secrets, principal)

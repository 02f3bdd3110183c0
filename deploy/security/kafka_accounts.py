"""Create the users and rights of Kafka principals on a cluster with SASL/SCRAM and an authorizer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported at run time only
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from dataflows.runtime.topology import Layout
from deploy.errors import DeployError
from deploy.security.kafka_rights import KafkaRight, all_rights, principals
from sinks.admin_operations import ADMIN_TIMEOUT_S, admin_result
from sinks.cluster import Servers, client_config

if TYPE_CHECKING:
    from deploy.home import Home

_ITERATIONS = 4096  # the passwords are random and long, so that a slow hash adds nothing


def create_accounts(
    servers: Servers,
    home: Home,
    topic_prefix: str,
    layout: Layout = Layout.SERVICES,
    beside: Collection[str] = (),
) -> None:
    """Create the users of all principals with the passwords of the state folder, and their rights in a layout.

    Idempotent. `beside` are the services that run beside the compact process.

    Raises DeployError.
    """
    set_passwords(servers, {principal: home.kafka_password(principal) for principal in principals()})
    apply_rights(servers, all_rights(topic_prefix, layout=layout, beside=beside))


def set_passwords(servers: Servers, passwords: Mapping[str, str]) -> None:
    """Create the users, or replace their passwords. Open connections continue. Raises DeployError."""
    changes: list[UserScramCredentialAlteration] = [
        UserScramCredentialUpsertion(
            user, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS), password.encode()
        )
        for user, password in passwords.items()
    ]
    admin = AdminClient(client_config(servers, {"log_level": 0}))
    _wait(servers, "create the Kafka users", admin.alter_user_scram_credentials(changes))


def apply_rights(servers: Servers, rights: Collection[KafkaRight]) -> tuple[int, int]:
    """Create the missing rights, and remove other rights of the platform's principals: those of a layout that is
    not in use lose all. Rights of other principals stay.

    Returns the numbers of created and removed rights. Raises DeployError.
    """
    admin = AdminClient(client_config(servers, {"log_level": 0}))
    required = {_binding(right) for right in rights}
    users = {f"User:{principal}" for principal in principals()} | {binding.principal for binding in required}
    existing = {binding for binding in _existing(servers, admin) if binding.principal in users}
    missing, outdated = required - existing, existing - required
    if missing:
        _wait(servers, "create the rights", admin.create_acls(list(missing)))
    if outdated:
        _wait(servers, "remove outdated rights", admin.delete_acls([_exact_filter(binding) for binding in outdated]))
    return len(missing), len(outdated)


def _binding(right: KafkaRight) -> AclBinding:
    return AclBinding(
        ResourceType[right.resource],
        right.name,
        ResourcePatternType.PREFIXED if right.is_prefix else ResourcePatternType.LITERAL,
        f"User:{right.principal}",
        "*",
        AclOperation[right.operation],
        AclPermissionType.ALLOW,
    )


def _exact_filter(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


def _existing(servers: Servers, admin: AdminClient) -> list[AclBinding]:
    any_text: Any = None  # the stub does not know that None matches every name, principal and host
    everything = AclBindingFilter(
        ResourceType.ANY, any_text, ResourcePatternType.ANY, any_text, any_text, AclOperation.ANY, AclPermissionType.ANY
    )
    try:
        bindings: list[AclBinding] = admin_result(admin.describe_acls(everything, request_timeout=ADMIN_TIMEOUT_S))
    except KafkaException as error:
        raise DeployError(f"cannot read the rights of Kafka at {servers}: {error.args[0].str()}") from error
    return bindings


def _wait(servers: Servers, what: str, futures: Mapping[Any, Future[Any]]) -> None:
    for future in futures.values():
        try:
            admin_result(future)
        except KafkaException as error:
            raise DeployError(f"cannot {what} of Kafka at {servers}: {error.args[0].str()}") from error

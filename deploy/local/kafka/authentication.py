"""The superuser of the embedded Kafka, and how its password reaches the broker's metadata.

Clients authenticate with SCRAM-SHA-512, so that no password is sent. Only the read-only viewer may also use PLAIN:
librdkafka before 2.6.1, which kcat of Debian uses, fails with SCRAM on Kafka 4 (librdkafka issue 4895).

Kafka stores the users in its metadata log. The superuser must be there before the first client connects: it is written
when the log folder is formatted. A log folder of release 0.2.0 gets it once from a temporary broker on another port,
which accepts only a random password.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from configs.recorded_endpoints import ADMIN, MECHANISM, PROTOCOL, VIEWER
from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from deploy.local.ports import free_ports
from deploy.supervisor.processes import end_process, identify, spawn, tail
from sinks.cluster import Cluster

_MARKER = "superuser.sha256"
_UPGRADE_TIMEOUT_S = 90.0

LISTENERS = """\
listeners=CLIENTS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=CLIENTS://127.0.0.1:{advertised}
listener.security.protocol.map=CLIENTS:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
inter.broker.listener.name=CLIENTS
sasl.mechanism.inter.broker.protocol={mechanism}
{client_logins}
# The node connects to its own controller only: SCRAM needs the metadata that the controller serves.
sasl.mechanism.controller.protocol=PLAIN
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config={controller_login}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin
allow.everyone.if.no.acl.found=false
"""
PLAIN = "PLAIN"
_PLAIN_MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"


def admin_cluster(home: Home, servers: str) -> Cluster:
    """Return the cluster with the superuser's credentials."""
    return principal_cluster(home, servers, ADMIN)


def viewer_cluster(home: Home, servers: str) -> Cluster:
    """Return the cluster with the credentials of the read-only viewer, for tools of any age."""
    return Cluster(servers, _client_security(VIEWER, PLAIN, home.kafka_password(VIEWER)))


def principal_cluster(home: Home, servers: str, principal: str) -> Cluster:
    """Return the cluster with the credentials of a principal of the state folder."""
    return Cluster(servers, _client_security(principal, MECHANISM, home.kafka_password(principal)))


def _client_security(user: str, mechanism: str, password: str) -> dict[str, str]:
    return {
        "security.protocol": PROTOCOL,
        "sasl.mechanism": mechanism,
        "sasl.username": user,
        "sasl.password": password,
    }


def listeners(home: Home, *, port: int, advertised: int, controller_port: int) -> str:
    """Return the broker's properties for its listeners and rights. They contain passwords."""
    scram_login = f'{_SCRAM_MODULE} required username="{ADMIN}" password="{home.kafka_password(ADMIN)}";'
    plain_login = f'{_PLAIN_MODULE} required user_{VIEWER}="{home.kafka_password(VIEWER)}";'
    logins = {MECHANISM: scram_login, PLAIN: plain_login}
    return _listeners(home, logins, port=port, advertised=advertised, controller_port=controller_port)


def _listeners(home: Home, logins: Mapping[str, str], *, port: int, advertised: int, controller_port: int) -> str:
    """`logins` are JAAS entries by mechanism. The node connects to itself with the first."""
    lines = [f"listener.name.clients.sasl.enabled.mechanisms={','.join(logins)}"]
    lines += [f"listener.name.clients.{name.lower()}.sasl.jaas.config={login}" for name, login in logins.items()]
    controller_password = home.secret("kafka-controller")
    return LISTENERS.format(
        port=port,
        advertised=advertised,
        controller_port=controller_port,
        mechanism=next(iter(logins)),
        client_logins="\n".join(lines),
        controller_login=_plain_login(controller_password),
    )


def _plain_login(password: str) -> str:
    return f'{_PLAIN_MODULE} required username="{ADMIN}" password="{password}" user_{ADMIN}="{password}";'


def format_option(home: Home) -> str:
    """Return the value of `--add-scram` that stores the superuser in a new log folder. It contains the password."""
    return f"{MECHANISM}=[name={ADMIN},password={home.kafka_password(ADMIN)}]"


def has_superuser(home: Home, data: Path) -> bool:
    """Return whether the metadata in the log folder has the superuser with the password of the state folder."""
    try:
        return (data / _MARKER).read_text() == _password_hash(home)
    except FileNotFoundError:
        return False


def mark_superuser(home: Home, data: Path) -> None:
    """Record that the metadata in the log folder has the superuser. Kafka ignores the file."""
    temporary = data / f"{_MARKER}.new"
    temporary.write_text(_password_hash(home))
    temporary.chmod(0o600)
    temporary.replace(data / _MARKER)


def _password_hash(home: Home) -> str:
    return hashlib.sha256(home.kafka_password(ADMIN).encode()).hexdigest()


def add_superuser(home: Home, data: Path, command: Callable[[Path], list[str]], properties: str) -> None:
    """Start a temporary broker on the log folder, store the superuser in its metadata, and stop the broker.

    `command` returns the command line for a properties file; `properties` are those without listeners, in which
    `{controller_port}` is replaced. No record changes. Raises DeployError.
    """
    from deploy.security.kafka_accounts import set_passwords
    from deploy.supervisor.probes import KafkaProbe

    port, controller_port = free_ports(2)
    password = secrets.token_urlsafe(32)
    ports = _listeners(
        home, {PLAIN: _plain_login(password)}, port=port, advertised=port, controller_port=controller_port
    )
    file, log = home.run / "kafka-upgrade.properties", home.logs / "kafka-upgrade.log"
    write_private(file, ports + properties.replace("{controller_port}", str(controller_port)))
    cluster = Cluster(f"127.0.0.1:{port}", _client_security(ADMIN, PLAIN, password))
    broker = spawn(command(file), log=log, env=dict(os.environ), cwd=REPOSITORY, tied=True)
    identity = identify(broker.pid)
    try:
        probe, deadline = KafkaProbe(cluster), time.monotonic() + _UPGRADE_TIMEOUT_S
        while (reason := probe()) is not None:
            if broker.poll() is not None or time.monotonic() > deadline:
                raise DeployError(f"cannot add authentication to Kafka in {data}: {reason}; {log}: {tail(log)}")
            time.sleep(0.1)
        set_passwords(cluster, {ADMIN: home.kafka_password(ADMIN)})
    finally:
        if identity is not None and broker.poll() is None:
            end_process(identity, timeout_s=30.0, first_signal=signal.SIGTERM)
        broker.wait()
        file.unlink()
    mark_superuser(home, data)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)

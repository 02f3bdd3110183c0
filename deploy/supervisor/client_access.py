"""Give each process the Kafka credentials of its principal, and write the files with which clients connect."""

from __future__ import annotations

import json
from dataclasses import replace

from configs.recorded_endpoints import AUTHENTICATION_KEY, ENDPOINTS_FILE, MECHANISM, PRINCIPAL_VARIABLE
from deploy.home import Home
from deploy.local.endpoints import Endpoints
from deploy.local.kafka.authentication import viewer_cluster
from deploy.security.kafka_rights import API, CHECKS
from deploy.supervisor.process_spec import ProcessKind, ProcessSpec
from deploy.supervisor.state import replace_file
from sinks.cluster import Servers, client_config

CLIENT_FILE = "kafka-viewer.conf"
"""In the folder of the secrets: options for kcat and other clients with librdkafka, with the read-only principal."""
_PRINCIPALS = {ProcessKind.API: API, ProcessKind.CHECKS: CHECKS}


def with_kafka_credentials(spec: ProcessSpec, home: Home, endpoints: Endpoints) -> ProcessSpec:
    """Return the process with the credentials of its principal, if it uses Kafka: dataflows, API and checks."""
    principal = spec.replica_of or _PRINCIPALS.get(spec.kind)
    if principal is None:
        return spec
    credentials = endpoints.kafka_credentials(home, principal)
    return replace(spec, environment={**spec.environment, PRINCIPAL_VARIABLE: principal, **credentials})


def write_endpoints(home: Home, endpoints: Endpoints) -> None:
    """Write the addresses, which contain passwords, for other commands, and the client file of the viewer."""
    variables = endpoints.environment(home)
    if endpoints.kafka_authenticated:
        variables[AUTHENTICATION_KEY] = MECHANISM
    replace_file(home.secrets / ENDPOINTS_FILE, json.dumps(variables), mode=0o600)
    cluster: Servers = endpoints.kafka
    if endpoints.kafka_authenticated:
        cluster = viewer_cluster(home, endpoints.kafka)
    lines = [f"{name}={value}" for name, value in client_config(cluster).items()]
    client_file = home.secrets / CLIENT_FILE
    if endpoints.kafka_authenticated or "kafka" in {service.name for service in endpoints.services}:
        replace_file(client_file, "\n".join(lines) + "\n", mode=0o600)
    else:
        client_file.unlink(missing_ok=True)  # an external Kafka has its own clients

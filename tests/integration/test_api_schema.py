"""Requests that match the OpenAPI schema, and requests that violate it, as each role: never a 5xx response.

The API refuses a role before it reads the values of a request. A refused role therefore sends one request per
operation; the generated requests come from the others, each from one of them. With --long, there are more of them,
and each comes from all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from api.app import create_app
from api.roles import Role
from configs.settings import load_settings
from deploy.supervisor.topics import TopicSpec, create_topics
from sinks.postgres import PostgresWriter
from tests.integration.api_users import bearer, token_of
from tests.integration.test_api import sample_records

REFUSED = (401, 403)
# Excluded: the health check needs Kafka; logout and a password change end the session that the test uses.
EXCLUDED = {("GET", "/health"), ("POST", "/api/v1/auth/logout"), ("POST", "/api/v1/auth/password")}
Headers = dict[str, str]


@pytest.mark.parametrize(
    ("examples", "from_all_roles"), [(4, False), pytest.param(12, True, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_no_request_of_any_role_causes_a_server_error(
    examples: int,
    from_all_roles: bool,
    make_database: Callable[[], str],
    redis_url: str,
    kafka: str,
    tmp_path: Path,
) -> None:
    prefix = f"schema-{time.time_ns()}-"
    create_topics(kafka, [TopicSpec(f"{prefix}commands", 1)])
    url = make_database()
    writer = PostgresWriter(url, name="test")
    writer.write(sample_records())
    writer.close()
    unlimited = {f"API__{name}_RATE": "100000000/minute" for name in ("READ", "COMMAND", "LOGIN")}
    environment = {"DATABASE_URL": url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": kafka}
    environment |= {**unlimited, "KAFKA__TOPIC_PREFIX": prefix}
    app = create_app(load_settings(environment=environment), home=tmp_path)
    with TestClient(app, raise_server_exceptions=False) as client:
        senders = [{}, *(bearer(token_of(app, role)) for role in Role)]
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        request_count = 0

        def send(method: str, path: str, sender: Headers, **arguments: Any) -> int:
            """Send a request, check the response, and return its status."""
            nonlocal request_count
            request_count += 1
            headers = {**dict(arguments.pop("headers", None) or {}), **sender}
            response = client.request(method, headers=headers, **arguments)
            assert response.status_code < 500, f"{method} {arguments} answers {response.text}"
            if response.status_code >= 400 and "schema-registry" not in path:
                assert response.headers["content-type"] == "application/problem+json", response.text
                assert "\n" not in response.json()["detail"]
            return int(response.status_code)

        for result in schema.get_all_operations():
            assert isinstance(result, Ok), result
            operation = result.ok()
            method, path = operation.method.upper(), operation.path
            if (method, path) in EXCLUDED:
                continue
            allowed = [sender for sender in senders if send(method, path, sender, url=path) not in REFUSED]
            allowed = allowed or senders  # refuses all tokens but its own, or all of these values

            @settings(
                max_examples=examples,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(
                case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)),
                chosen=st.just(allowed) if from_all_roles else st.sampled_from(allowed).map(lambda sender: [sender]),
            )
            def send_request(case: schemathesis.Case[Any], chosen: list[Headers]) -> None:
                request = case.as_transport_kwargs(base_url="http://testserver")
                arguments = {key: value for key, value in request.items() if key not in ("method", "verify")}
                for sender in chosen:
                    send(request["method"], case.path, sender, **arguments)

            send_request()
        assert request_count > 500

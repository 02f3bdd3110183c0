"""Whatever the OpenAPI schema allows, and what it does not, asked as each role: never a 5xx, always one sentence."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from api.app import create_app
from api.roles import Role
from configs.settings import load_settings
from sinks.postgres import PostgresWriter
from tests.integration.api_people import bearer, token_of
from tests.integration.test_api import one_story

PREFIX = f"schema-{time.time_ns()}-"
EXAMPLES = 12
# Health asks Kafka; logging out ends the session that the others are asked with.
LEFT_OUT = {("GET", "/health"), ("POST", "/api/v1/auth/logout"), ("POST", "/api/v1/auth/password")}


@pytest.mark.parametrize("role", [*Role, None], ids=str)
def test_no_request_as_any_role_is_a_server_error(
    role: Role | None, make_database: object, redis_url: str, kafka: str, tmp_path: Path
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    topics = [f"{PREFIX}{role}-commands"]
    for future in admin.create_topics([NewTopic(topic, 1, 1) for topic in topics]).values():
        future.result(30)
    url = make_database()  # type: ignore[operator]
    writer = PostgresWriter(url, name="test")
    writer.write(one_story())
    writer.close()
    unlimited = {f"API__{name}_RATE": "100000000/minute" for name in ("READ", "COMMAND", "LOGIN")}
    environment = {"DATABASE_URL": url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": kafka}
    environment |= {**unlimited, "KAFKA__TOPIC_PREFIX": f"{PREFIX}{role}-"}
    app = create_app(load_settings(environment=environment), home=tmp_path)
    with TestClient(app, raise_server_exceptions=False) as client:
        headers = {} if role is None else bearer(token_of(app, role))
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        asked = 0
        for found in schema.get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            if (operation.method.upper(), operation.path) in LEFT_OUT:
                continue

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)))
            def ask(case: schemathesis.Case[Any]) -> None:
                nonlocal asked
                asked += 1
                sent = case.as_transport_kwargs(base_url="http://testserver")
                sent["headers"] = {**dict(sent.get("headers") or {}), **headers}
                response = client.request(**{key: value for key, value in sent.items() if key != "verify"})
                assert response.status_code < 500, f"{case.method} {sent} answers {response.text}"
                if response.status_code >= 400 and "schema-registry" not in case.path:
                    assert response.headers["content-type"] == "application/problem+json", response.text
                    assert "\n" not in response.json()["detail"]

            ask()
        assert asked > 100

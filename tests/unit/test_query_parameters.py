"""The API rejects unknown query parameters and suggests the most similar known one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Query
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from api import problems
from api.app import create_app
from api.query_parameters import reject_unknown_query_parameters
from configs.settings import load_settings


def paging(limit: int = 10, before: Annotated[int | None, Query(alias="before-seq")] = None) -> tuple[int, int | None]:
    return limit, before


@pytest.fixture
def client() -> TestClient:
    """A client of an application with one route, whose dependency declares two of its three parameters."""
    router = APIRouter()

    @router.get("/orders/{order_id}")
    def get_order(order_id: str, page: Annotated[tuple[int, int | None], Depends(paging)], symbol: str = "") -> str:
        return f"{order_id} {symbol} {page}"

    app = FastAPI()
    problems.install(app)
    app.include_router(router, dependencies=[Depends(reject_unknown_query_parameters)])
    return TestClient(app)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[TestClient]:
    """A client of the platform's API. The API's servers are unreachable."""
    unreachable = {"DATABASE_URL": "postgresql://a@127.0.0.1:1/b", "REDIS_URL": "redis://127.0.0.1:1/0"}
    settings = load_settings(environment={**unreachable, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    with TestClient(create_app(settings, home=tmp_path)) as client:
        yield client


def test_declared_parameters_are_accepted(client: TestClient) -> None:
    response = client.get("/orders/a?limit=3&before-seq=9&symbol=AAPL")
    assert (response.status_code, response.json()) == (200, "a AAPL (3, 9)")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("limt=3", 'unknown query parameter "limt"; did you mean "limit"?'),
        ("symbol=A&before=3", 'unknown query parameter "before"; did you mean "before-seq"?'),
        ("order_id=b", 'unknown query parameter "order_id"; expected one of before-seq, limit, symbol'),
        ("a%0Ab=1", 'unknown query parameter "a\\nb"; expected one of before-seq, limit, symbol'),
    ],
)
def test_unknown_parameter_is_rejected_with_a_suggestion(client: TestClient, query: str, detail: str) -> None:
    response = client.get(f"/orders/a?{query}")
    assert (response.status_code, response.json()["detail"]) == (422, detail)
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/health", "/metrics", "/api/v1/users", "/api/v1/auth/me"])
def test_routes_without_parameters_reject_any(platform: TestClient, path: str) -> None:
    response = platform.get(f"{path}?verbose=1")
    assert response.status_code == 422
    assert response.json()["detail"] == 'unknown query parameter "verbose"; this endpoint has no query parameters'


def test_the_schema_registry_ignores_optional_parameters_of_its_clients(platform: TestClient) -> None:
    assert platform.get("/schema-registry/subjects?deleted=true").status_code == 200


@pytest.mark.parametrize("stream", ["market", "portfolio"])
def test_a_stream_closes_with_the_suggestion(platform: TestClient, stream: str) -> None:
    with (
        platform.websocket_connect(f"/api/v1/{stream}/stream?symbls=AAPL") as socket,
        pytest.raises(WebSocketDisconnect) as closed,
    ):
        socket.receive_text()
    assert (closed.value.code, closed.value.reason) == (
        1003,
        'unknown query parameter "symbls"; did you mean "symbols"?',
    )

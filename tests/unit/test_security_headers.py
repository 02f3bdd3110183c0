"""Security headers of the API's responses. HSTS only over HTTPS."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from configs.settings import load_settings


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """An API without servers; no request here needs one."""
    settings = load_settings(environment={"API__TRUSTED_PROXIES": "[10.0.0.5]"})
    return TestClient(create_app(settings, home=Path(tmp_path_factory.mktemp("home"))), client=("10.0.0.5", 1))


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/api/v1/orders", "/none", "/metrics"])
def test_every_response_has_the_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert "Strict-Transport-Security" not in headers
    assert "Strict-Transport-Security" in client.get(path, headers={"X-Forwarded-Proto": "https"}).headers


def test_a_refused_request_has_the_headers_and_its_id(client: TestClient) -> None:
    response = client.post("/api/v1/orders", content=b"{}", headers={"X-Request-ID": "mine"})
    assert response.status_code == 401 and response.json()["request_id"] == "mine"
    assert response.headers["X-Content-Type-Options"] == "nosniff"

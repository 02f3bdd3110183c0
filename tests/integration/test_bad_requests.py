"""More than 200 malformed requests of an admin against one API: each is refused with a 4xx problem, never a 5xx."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.roles import Role
from configs.settings import load_settings
from deploy.supervisor.topics import TopicSpec, create_topics
from tests.integration.api_users import bearer, token_of

PREFIX = f"bad-{time.time_ns()}-"
API = "/api/v1"
ORDER: dict[str, Any] = {"symbol": "AAPL", "side": "BUY", "quantity": 1}
BREAKER: dict[str, Any] = {"action": "halt", "reason": "a drill"}
LONG = "a" * 5_000


class BadRequest(NamedTuple):
    method: str
    path: str
    content: bytes | None = None
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)

    @property
    def label(self) -> str:
        return f"{self.method} {self.path[:60]} {(self.content or b'')[:60]!r}"


def _with(base: dict[str, Any], **values: Any) -> bytes:
    return json.dumps({**base, **values}).encode()


NOT_OBJECTS = (
    *(b"", b"null", b"true", b"1", b"[]", b'"text"', b"{", b"}", b"{]", b"[1,]", b"{'a': 1}", b"nul", b"\xff\xfe{\x00"),
    *(b"{}", b"\x00", b"\xef\xbb\xbf{}", b"-", b"NaN", b"[[[[[[[[[[[[[[[[[[[[[[1", b'{"a":' * 200, b"9" * 5_000),
)
BODY_ENDPOINTS = (
    ("POST", f"{API}/orders"),
    ("PATCH", f"{API}/orders/ord-1"),
    ("POST", f"{API}/exits"),
    ("POST", f"{API}/exits/plan"),
    ("POST", f"{API}/risk/validate"),
    ("POST", f"{API}/risk/circuit-breaker"),
    ("POST", f"{API}/strategies/pairs/resume"),
    ("POST", f"{API}/users"),
    ("PATCH", f"{API}/users/nobody"),
    ("POST", f"{API}/auth/login"),
    ("POST", f"{API}/auth/refresh"),
    ("POST", f"{API}/auth/password"),
    ("POST", f"{API}/auth/totp"),
    ("POST", f"{API}/auth/totp/confirm"),
    ("POST", f"{API}/auth/totp/disable"),
)
AMOUNTS: tuple[Any, ...] = (
    *("NaN", "Infinity", "-Infinity", "sNaN", "1e400", "1e999999999", "1e-30", "0x10", "1,5", "", " ", "ten", "--1"),
    *(0, -1, 1e30, None, [], {}, [1], "1e13", "-0", "0e5"),
)
SYMBOLS: tuple[Any, ...] = ("", " ", "A B", "a" * 33, "AAPL\u0000", "\ud800", "ÄÖÜ", "AA\nPL", None, 1, [], {})
USERNAMES: tuple[Any, ...] = ("", "A", "a", "a b", "x" * 33, "admin;--", "\ud800", None, 1, [], "ädmin", "a\u0000b")
ROLES: tuple[Any, ...] = ("", "emperor", None, 1, [], "ADMIN")
LOGIN_NAMES: tuple[Any, ...] = ("", "a\u0000b", "\ud800", "x" * 300, None, 1, [], "a\nb")
PASSWORDS: tuple[Any, ...] = (None, 1, [], {}, "x" * 5_000, "\ud800", "a\u0000b")
ORDER_FIELDS: dict[str, tuple[Any, ...]] = {
    "quantity": AMOUNTS,
    "symbol": SYMBOLS,
    "side": ("buy", "", "HOLD", None, 1, []),
    "order_type": ("market", "ICEBERG", None, 7, {}),
    "time_in_force": ("FOREVER", "", None, 0, []),
    "limit_price": (1, "NaN", -1, 0, "1e400", []),  # a price is not allowed for a market order
    "stop_price": (1, "Infinity"),
    "trail_percent": (100, 0, -1, "NaN"),
    "expires_at": ("yesterday", 1e300, -1e300, "2024-13-45T00:00:00Z", "9999-12-31T23:59:59Z", [], "0001-01-01"),
    "group_id": (LONG, " ", "\u0000", 1, []),
    "parent_id": (LONG, "ä", None, 1.5),
    "reduce_only": ("perhaps", None, [], 2),
}
QUERIES = {
    f"{API}/orders": (
        "limit=0",
        "limit=501",
        "limit=x",
        "limit=1e3",
        "before=0",
        "before=99999999999999999999",
        "side=UP",
    ),
    f"{API}/audit": ("limit=-1", "before=-1", "before=99999999999999999999", f"actor={LONG}", "kind=%0A", "actor="),
    f"{API}/market/halts": ("before=1", "before=1:%00", "before=:x", "before=99999999999999999999:x", f"before={LONG}"),
    f"{API}/reference/corporate-actions": ("kind=split", "symbol=", "before=--1:x", "from=KO"),
    f"{API}/reference/exchange-rates": ("base=", "quote=%0A", "before=x:1"),
    f"{API}/executions": ("limit=abc", "before=1.5", "limit=", "limit=1&limit=x"),
    f"{API}/portfolio/closed-lots": ("limit=101", "before=0", "symbol="),
    f"{API}/risk/refusals": ("limit=1000", "before=-5", "symbol=%0D%0A", "symbol="),
    f"{API}/market/history/AAPL": ("start=x", "end=9999999999999", "limit=0", "start=0001-01-01T00:00:00", "start=%00"),
    f"{API}/portfolio/equity": ("points=1", "points=1000000", "since=yesterday", "since=0001-01-01T00:00:00%2B14:00"),
    f"{API}/inaction/AAPL": ("", "at=", "at=never", "at=-1e300", "at=9999-12-31T23:59:59"),
    f"{API}/news": ("limit=0", "limit=1e9", "since=1"),
    f"{API}/users": ("page=1",),
    f"{API}/auth/me": ("x=%ff",),
    "/metrics": ("x=1",),
    "/health": ("verbose=1",),
}
PATHS = (
    *("/api", "/api/", "/api/v2/orders", "/api/v1", "/api/v1/", "/api/v1//orders", "/none"),
    *(f"{API}/orders/{LONG}", f"{API}/orders/%00", f"{API}/orders/%ff%fe", f"{API}/orders/..%2f..%2fmetrics"),
    *(f"{API}/market/price/%20", f"{API}/market/price/{'x' * 9_000}", f"{API}/portfolio/positions/%F0%9F%98%80"),
    *(f"{API}/orders/x/lineage", f"{API}/lineage/x'%20OR%201=1", f"{API}/orders/%2e%2e", "/schema-registry/subjects/x"),
    *("/schema-registry/schemas/ids/x", "/schema-registry/schemas/ids/99999999999999999999", "/docs/x", "/openapi"),
)
METHODS = (
    *(("PUT", f"{API}/orders"), ("DELETE", f"{API}/orders"), ("PATCH", f"{API}/audit"), ("POST", "/metrics")),
    *(("TRACE", f"{API}/orders"), ("FOO", f"{API}/orders"), ("POST", "/health"), ("PUT", f"{API}/users/nobody")),
)
BAD_HEADERS: tuple[tuple[str, str], ...] = (
    *(("Idempotency-Key", ""), ("Idempotency-Key", "a b"), ("Idempotency-Key", "k" * 129), ("X-Long", "x" * 20_000)),
    *(
        ("Authorization", "Bearer"),
        ("Authorization", "Basic YTpi"),
        ("Authorization", "Bearer a.b.c"),
        ("X", "\xe4" * 17_000),
    ),
    *(("Authorization", "Bearer \xe4\xf6"), ("Authorization", "Bearer " + "a." * 3_000), ("Content-Length", "-5")),
    *(("Content-Length", "9" * 30), ("Content-Length", "70000"), ("Content-Length", "abc")),
)


def bad_requests() -> Iterator[BadRequest]:
    for method, path in BODY_ENDPOINTS:
        for content in NOT_OBJECTS:
            yield BadRequest(method, path, content)
        yield BadRequest(method, path, b"a=1&b=2", (("Content-Type", "application/x-www-form-urlencoded"),))
        yield BadRequest(method, path, b"<a/>", (("Content-Type", "application/xml"),))
        yield BadRequest(method, path, b"--x\r\n\r\n1\r\n--x--", (("Content-Type", "multipart/form-data; boundary=x"),))
    for field, values in ORDER_FIELDS.items():
        for value in values:
            for path in (f"{API}/orders", f"{API}/risk/validate"):
                yield BadRequest("POST", path, _with(ORDER, **{field: value}))
    for amount in AMOUNTS[:13]:
        yield BadRequest("PATCH", f"{API}/orders/ord-1", json.dumps({"quantity": amount}).encode())
    for changed in (
        {"action": "explode"}, {"action": None}, {"reason": ""}, {"reason": LONG}, {"reason": "a\u0000b"},
        {"reason": "\ud800"}, {"measure": "x"}, {"measure": ""}, {"scope": "WORLD"}, {"key": "a b"}, {"key": LONG},
        {"action": "reduce"}, {"action": "release", "measure": "daily_loss", "scope": "SYMBOL", "key": "\u2028"},
    ):  # fmt: skip
        yield BadRequest("POST", f"{API}/risk/circuit-breaker", _with(BREAKER, **changed))
    for name in USERNAMES:
        yield BadRequest("POST", f"{API}/users", json.dumps({"username": name, "role": "viewer"}).encode())
    for role in ROLES:
        yield BadRequest("POST", f"{API}/users", json.dumps({"username": "someone", "role": role}).encode())
    for username in LOGIN_NAMES:
        yield BadRequest("POST", f"{API}/auth/login", json.dumps({"username": username, "password": "x"}).encode())
    for password in PASSWORDS:
        yield BadRequest("POST", f"{API}/auth/login", json.dumps({"username": "nobody", "password": password}).encode())
    for token in ("", "a", "a.b.c", "\ud800", "x" * 5_000, None, 1, "ey" * 100):
        yield BadRequest("POST", f"{API}/auth/refresh", json.dumps({"refresh_token": token}).encode())
    for path, queries in QUERIES.items():
        for query in queries:
            yield BadRequest("GET", f"{path}?{query}")
    for path in PATHS:
        yield BadRequest("GET", path)
    for method, path in METHODS:
        yield BadRequest(method, path)
    for header in BAD_HEADERS:
        headers = (("Content-Type", "application/json"), header)
        yield BadRequest("POST", f"{API}/orders", _with(ORDER, quantity=0), headers)


@pytest.fixture(scope="module")
def client(
    make_database: Any, redis_url: str, kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    create_topics(kafka, [TopicSpec(f"{PREFIX}commands", 1)])
    environment = {"DATABASE_URL": make_database(), "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": kafka}
    environment |= {f"API__{name}_RATE": "100000000/minute" for name in ("READ", "COMMAND", "LOGIN")}
    settings = load_settings(environment={**environment, "KAFKA__TOPIC_PREFIX": PREFIX})
    app = create_app(settings, home=Path(tmp_path_factory.mktemp("home")))
    with TestClient(app, raise_server_exceptions=False) as client:
        client.headers.update(bearer(token_of(app, Role.ADMIN)))
        yield client


def test_a_bad_request_is_a_problem_and_never_a_server_error(client: TestClient) -> None:
    requests = list(bad_requests())
    assert len(requests) >= 200
    failures = []
    for request in requests:
        headers = [(name, value.encode("latin-1")) for name, value in request.headers]
        response = client.request(request.method, request.path, content=request.content, headers=headers)
        is_problem = response.headers.get("content-type") == "application/problem+json"
        if not 400 <= response.status_code < 500 or not (is_problem or "schema-registry" in request.path):
            failures.append(f"{request.label}: {response.status_code} {response.text[:200]}")
    assert not failures, f"{len(failures)} of {len(requests)}:\n" + "\n".join(failures)

"""Authentication and authorization: each role at each endpoint, and a session from login to logout."""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import psycopg2
import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from api import tokens
from api.app import create_app
from api.roles import GRANTS, Permission, Role
from configs.settings import Settings, load_settings
from deploy.supervisor.topics import TopicSpec, create_topics
from tests.integration.api_users import PASSWORD, bearer, token_of

READ, TRADE, CANCEL = Permission.READ, Permission.TRADE, Permission.CANCEL
# The permission that each endpoint requires. None: no login. "any": any logged-in user.
REQUIRED_PERMISSION: dict[tuple[str, str], Permission | str | None] = {
    ("GET", "/api/v1/portfolio/state"): READ,
    ("GET", "/api/v1/portfolio/positions"): READ,
    ("GET", "/api/v1/portfolio/positions/{symbol}"): READ,
    ("GET", "/api/v1/portfolio/performance"): READ,
    ("GET", "/api/v1/portfolio/equity"): READ,
    ("GET", "/api/v1/portfolio/closed-lots"): READ,
    ("GET", "/api/v1/portfolio/strategies"): READ,
    ("GET", "/api/v1/portfolio/attribution"): READ,
    ("GET", "/api/v1/strategies/suspended"): READ,
    ("GET", "/api/v1/strategies/weights"): READ,
    ("GET", "/api/v1/strategies"): READ,
    ("GET", "/api/v1/strategies/{strategy}"): READ,
    ("GET", "/api/v1/strategies/{strategy}/equity"): READ,
    ("GET", "/api/v1/strategy-actions"): READ,
    ("GET", "/api/v1/internal-crosses"): READ,
    ("POST", "/api/v1/strategies/{strategy}/resume"): Permission.BREAKER,
    ("POST", "/api/v1/strategies/{strategy}/flatten"): Permission.BREAKER,
    ("GET", "/api/v1/models"): READ,
    ("GET", "/api/v1/predictions/{symbol}"): READ,
    ("GET", "/api/v1/signals/{symbol}"): READ,
    ("GET", "/api/v1/orders"): READ,
    ("GET", "/api/v1/executions"): READ,
    ("GET", "/api/v1/orders/{order_id}"): READ,
    ("GET", "/api/v1/orders/{order_id}/lineage"): READ,
    ("GET", "/api/v1/lineage/{record_id}"): READ,
    ("GET", "/api/v1/inaction/{symbol}"): READ,
    ("POST", "/api/v1/orders"): TRADE,
    ("PATCH", "/api/v1/orders/{order_id}"): TRADE,
    ("DELETE", "/api/v1/orders/{order_id}"): CANCEL,
    ("POST", "/api/v1/exits"): CANCEL,  # orders among them need TRADE
    ("POST", "/api/v1/exits/plan"): CANCEL,
    ("GET", "/api/v1/market/price/{symbol}"): READ,
    ("GET", "/api/v1/market/prices"): READ,
    ("GET", "/api/v1/news"): READ,
    ("GET", "/api/v1/sentiment/{symbol}"): READ,
    ("GET", "/api/v1/fundamentals/{symbol}"): READ,
    ("GET", "/api/v1/market/history/{symbol}"): READ,
    ("GET", "/api/v1/reference/corporate-actions"): READ,
    ("GET", "/api/v1/reference/exchange-rates"): READ,
    ("GET", "/api/v1/market/halts"): READ,
    ("GET", "/api/v1/market/sessions"): READ,
    ("GET", "/api/v1/data-rows"): READ,
    ("GET", "/api/v1/alerts"): READ,
    ("GET", "/api/v1/system"): READ,
    ("GET", "/api/v1/risk/limits"): READ,
    ("GET", "/api/v1/risk/refusals"): READ,
    ("GET", "/api/v1/risk/breakers"): READ,
    ("GET", "/api/v1/risk/usage"): READ,
    ("POST", "/api/v1/risk/validate"): Permission.VALIDATE,
    ("POST", "/api/v1/risk/circuit-breaker"): Permission.BREAKER,
    ("GET", "/api/v1/risk/reconciliation"): READ,
    ("POST", "/api/v1/risk/reconciliation/accept"): Permission.BREAKER,
    ("GET", "/api/v1/risk/releases"): READ,
    ("POST", "/api/v1/risk/releases/{request_id}/approve"): Permission.BREAKER,
    ("POST", "/api/v1/risk/releases/{request_id}/reject"): Permission.BREAKER,
    ("GET", "/api/v1/portfolio/cash-transfers"): READ,
    ("POST", "/api/v1/portfolio/cash-transfers"): Permission.CASH,
    ("GET", "/api/v1/config"): READ,
    ("GET", "/api/v1/config/history"): READ,
    ("PATCH", "/api/v1/config"): Permission.CONFIGURE,
    ("POST", "/api/v1/config/preview"): Permission.CONFIGURE,
    ("GET", "/api/v1/config/requests"): READ,
    ("POST", "/api/v1/config/requests/{request_id}/approve"): Permission.CONFIGURE,
    ("POST", "/api/v1/config/requests/{request_id}/reject"): Permission.CONFIGURE,
    ("GET", "/api/v1/audit"): Permission.AUDIT,
    ("GET", "/api/v1/users"): Permission.USERS,
    ("POST", "/api/v1/users"): Permission.USERS,
    ("PATCH", "/api/v1/users/{username}"): Permission.USERS,
    ("POST", "/api/v1/auth/login"): None,
    ("POST", "/api/v1/auth/refresh"): None,
    ("POST", "/api/v1/auth/logout"): "any",
    ("POST", "/api/v1/auth/password"): "any",
    ("POST", "/api/v1/auth/totp"): "any",
    ("POST", "/api/v1/auth/totp/confirm"): "any",
    ("POST", "/api/v1/auth/totp/disable"): "any",
    ("GET", "/api/v1/auth/me"): "any",
}
PREFIX = f"access-{time.time_ns()}-"
ENVIRONMENT = {
    "KAFKA__TOPIC_PREFIX": PREFIX,
    "API__LOGIN_RATE": "1000/minute",
    "API__COMMAND_RATE": "10000/minute",
    "API__READ_RATE": "10000/minute",
}


@pytest.fixture(scope="module")
def settings(database_url: str, redis_url: str, kafka: str) -> Settings:
    create_topics(kafka, [TopicSpec(f"{PREFIX}commands", 1)])
    addresses = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": kafka}
    return load_settings(environment={**addresses, **ENVIRONMENT})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def client(settings: Settings, home: Path) -> Iterator[TestClient]:
    with TestClient(create_app(settings, home=home)) as client:
        yield client


@pytest.fixture(scope="module")
def token_by_role(client: TestClient) -> dict[str, str]:
    """An access token for each role."""
    return {role: token_of(client.app, role) for role in Role}  # type: ignore[arg-type]


def _assert_problem(response: Any, status: int, text: str = "") -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status and text in body["detail"], body
    assert body["request_id"] == response.headers["X-Request-ID"]
    return body


def _routes(client: TestClient) -> set[tuple[str, str]]:
    operations: dict[str, dict[str, Any]] = client.get("/openapi.json").json()["paths"]
    return {
        (method.upper(), path)
        for path, operation_by_method in operations.items()
        for method in operation_by_method
        if path.startswith("/api/")
    }


def test_every_endpoint_has_a_required_permission(client: TestClient) -> None:
    assert _routes(client) == set(REQUIRED_PERMISSION)
    open_ = {route.path for route in client.app.routes if isinstance(route, APIRoute)}  # type: ignore[attr-defined]
    assert {path.split("/")[1] for path in open_} <= {"api", "docs", "health", "metrics", "schema-registry"}


# Logout is excluded: it would end the session that the other cases use. Another test covers it.
@pytest.mark.parametrize(("method", "path"), sorted(REQUIRED_PERMISSION.keys() - {("POST", "/api/v1/auth/logout")}))
def test_each_role_reaches_only_its_permitted_endpoints(
    client: TestClient, token_by_role: dict[str, str], method: str, path: str
) -> None:
    required = REQUIRED_PERMISSION[method, path]
    address = path.replace("{", "").replace("}", "")
    anonymous = client.request(method, address)
    if required is None:
        assert anonymous.status_code == 422, anonymous.text  # the error is about the body, not about a missing token
        return
    _assert_problem(anonymous, 401, "log in")
    assert anonymous.headers["WWW-Authenticate"] == "Bearer"
    for role in Role:
        response = client.request(method, address, headers=bearer(token_by_role[role]))
        if required == "any" or required in GRANTS[role]:
            assert response.status_code not in (401, 403), (role, response.text)
        else:
            _assert_problem(response, 403, f"The role {role} may not")


# The unknown parameter is rejected before the body is validated.
@pytest.mark.parametrize(("method", "path"), sorted(REQUIRED_PERMISSION))
def test_every_endpoint_rejects_unknown_query_parameters(
    client: TestClient, token_by_role: dict[str, str], method: str, path: str
) -> None:
    address = path.replace("{", "").replace("}", "")
    response = client.request(method, f"{address}?limt=1", headers=bearer(token_by_role[Role.ADMIN]))
    detail = _assert_problem(response, 422, 'unknown query parameter "limt"')["detail"]
    if path in ("/api/v1/orders", "/api/v1/audit") and method == "GET":
        assert detail == 'unknown query parameter "limt"; did you mean "limit"?'


@pytest.mark.parametrize("path", ["/health", "/docs", "/openapi.json", "/schema-registry/subjects"])
def test_machine_endpoints_need_no_login(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (200, 503)


def test_the_first_user_is_admin_and_must_change_the_one_time_password(client: TestClient, home: Path) -> None:
    file = home / "secrets" / "admin-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    one_time_password = file.read_text().strip()
    first = client.post("/api/v1/auth/login", json={"username": "admin", "password": one_time_password}).json()
    assert (first["role"], first["must_change_password"]) == ("admin", True)
    headers = bearer(first["access_token"])
    _assert_problem(client.get("/api/v1/portfolio/state", headers=headers), 403, "must change the one-time password")
    change = {"current_password": one_time_password, "new_password": "short"}
    _assert_problem(
        client.post("/api/v1/auth/password", json=change, headers=headers), 400, "12 to 256 characters, found 5"
    )
    change["new_password"] = "my name is admin"
    _assert_problem(client.post("/api/v1/auth/password", json=change, headers=headers), 400, "name")
    change["new_password"] = PASSWORD
    second = client.post("/api/v1/auth/password", json=change, headers=headers).json()
    assert second["must_change_password"] is False
    assert client.get("/api/v1/users", headers=bearer(second["access_token"])).status_code == 200
    assert not file.exists()
    # All tokens issued before the password change are invalid, including the refresh token.
    _assert_problem(client.get("/api/v1/auth/me", headers=headers), 401)
    _assert_problem(client.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]}), 401)
    # A restart does not create the first admin again.
    with TestClient(create_app(client.app.state.resources.settings, home=home)):  # type: ignore[attr-defined]
        assert not file.exists()


def test_concurrent_starts_create_one_first_user(settings: Settings, make_database: Any, home: Path) -> None:
    postgres = settings.database.postgres.model_copy(update={"url": make_database()})
    fresh = settings.model_copy(update={"database": settings.database.model_copy(update={"postgres": postgres})})
    folder = home / "together"
    apps = [create_app(fresh, home=folder) for _ in range(4)]
    created: list[bool] = []
    threads = [
        threading.Thread(target=lambda app=app: created.append(app.state.resources.accounts.make_first_user()))
        for app in apps
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(created) == [False, False, False, True]
    password = (folder / "secrets" / "admin-password").read_text().strip()
    with TestClient(apps[0]) as client:
        login = client.post("/api/v1/auth/login", json={"username": "admin", "password": password})
    assert login.status_code == 200
    assert len({app.state.resources.jwt_key for app in apps}) == 1


def _log_in(client: TestClient, name: str, password: str = PASSWORD) -> Any:
    return client.post("/api/v1/auth/login", json={"username": name, "password": password})


def test_a_wrong_name_and_a_wrong_password_give_the_same_error(
    client: TestClient, token_by_role: dict[str, str]
) -> None:
    details = {_assert_problem(_log_in(client, name, "x"), 401)["detail"] for name in ("the-viewer", "nobody-at-all")}
    assert details == {"Wrong username or password."}
    assert "hunter2" not in client.post("/api/v1/auth/login", json={"username": "a", "password": {"a": "hunter2"}}).text


def test_reusing_a_refresh_token_revokes_the_session(client: TestClient) -> None:
    token_of(client.app, Role.VIEWER, "rotating")  # type: ignore[arg-type]
    first = _log_in(client, "rotating").json()
    second = client.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]}).json()
    assert client.get("/api/v1/orders", headers=bearer(second["access_token"])).status_code == 200
    _assert_problem(client.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]}), 401, "ended")
    # Reuse of a refresh token revokes the whole session, because it signals theft.
    _assert_problem(client.post("/api/v1/auth/refresh", json={"refresh_token": second["refresh_token"]}), 401, "ended")
    for pair in (first, second):
        _assert_problem(client.get("/api/v1/orders", headers=bearer(pair["access_token"])), 401, "ended")


def test_a_revoked_session_stays_ended_without_redis_and_in_other_processes(
    client: TestClient, settings: Settings, home: Path
) -> None:
    """The session in PostgreSQL decides: a restart of Redis or of the API does not revive its access tokens."""
    token_of(client.app, Role.VIEWER, "stolen")  # type: ignore[arg-type]
    first = _log_in(client, "stolen").json()
    second = client.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]}).json()
    client.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]})
    redis = settings.database.redis.model_copy(update={"url": "redis://127.0.0.1:1/0"})
    database = settings.database.model_copy(update={"redis": redis})
    for other in (settings, settings.model_copy(update={"database": database})):
        with TestClient(create_app(other, home=home)) as other_process:
            headers = bearer(second["access_token"])
            _assert_problem(other_process.get("/api/v1/orders", headers=headers), 401, "ended")


def test_access_and_refresh_tokens_are_not_interchangeable(client: TestClient) -> None:
    token_of(client.app, Role.VIEWER, "kinds")  # type: ignore[arg-type]
    token_pair = _log_in(client, "kinds").json()
    _assert_problem(
        client.post("/api/v1/auth/refresh", json={"refresh_token": token_pair["access_token"]}), 401, "another kind"
    )
    _assert_problem(client.get("/api/v1/orders", headers=bearer(token_pair["refresh_token"])), 401, "another kind")


def test_logout_invalidates_both_tokens(client: TestClient) -> None:
    token_of(client.app, Role.VIEWER, "leaving")  # type: ignore[arg-type]
    token_pair, other_session = _log_in(client, "leaving").json(), _log_in(client, "leaving").json()
    assert client.post("/api/v1/auth/logout", headers=bearer(token_pair["access_token"])).status_code == 204
    _assert_problem(client.get("/api/v1/orders", headers=bearer(token_pair["access_token"])), 401, "ended")
    _assert_problem(client.post("/api/v1/auth/refresh", json={"refresh_token": token_pair["refresh_token"]}), 401)
    assert (
        client.get("/api/v1/orders", headers=bearer(other_session["access_token"])).status_code == 200
    )  # the other session stays valid


def test_forged_and_expired_tokens_are_rejected(client: TestClient, token_by_role: dict[str, str]) -> None:
    key = client.app.state.resources.jwt_key  # type: ignore[attr-defined]
    claims = jwt.decode(token_by_role["viewer"], key, ["HS256"], issuer=tokens.ISSUER)
    bad_tokens = {
        "another key": jwt.encode(claims, "k" * 40, "HS256"),
        "no signature": jwt.encode(claims, "", "none"),
        "expired": jwt.encode({**claims, "exp": int(time.time()) - 1}, key, "HS256"),
        "another issuer": jwt.encode({**claims, "iss": "somebody"}, key, "HS256"),
        "a claim missing": jwt.encode({k: v for k, v in claims.items() if k != "sid"}, key, "HS256"),
        "no user": jwt.encode({**claims, "sub": "ghost"}, key, "HS256"),
        "a strange role": jwt.encode({**claims, "role": "emperor", "ver": 99}, key, "HS256"),
        "nonsense": "abc",
    }
    for defect, token in bad_tokens.items():
        assert client.get("/api/v1/orders", headers=bearer(token)).status_code == 401, defect
    for header in ("", "Bearer", "Basic YTpi", f"Token {token_by_role['viewer']}"):
        _assert_problem(client.get("/api/v1/orders", headers={"Authorization": header}), 401)


def test_an_admin_creates_changes_and_disables_users(client: TestClient, token_by_role: dict[str, str]) -> None:
    admin = bearer(token_by_role["admin"])
    response = client.post("/api/v1/users", json={"username": "new-one", "role": "trader"}, headers=admin)
    assert response.status_code == 201
    _assert_problem(
        client.post("/api/v1/users", json={"username": "new-one", "role": "risk"}, headers=admin), 409, "new-one"
    )
    for name in ("A", "a b", "a\0b", "x" * 33, "ädmin"):
        _assert_problem(client.post("/api/v1/users", json={"username": name, "role": "risk"}, headers=admin), 422)
    _assert_problem(
        client.post("/api/v1/users", json={"username": "other", "role": "emperor"}, headers=admin), 422, "role"
    )
    token_pair = _log_in(client, "new-one", response.json()["one_time_password"]).json()
    assert token_pair["must_change_password"] is True
    change = client.patch("/api/v1/users/new-one", json={"role": "viewer"}, headers=admin).json()
    assert (change["role"], change["one_time_password"]) == ("viewer", None)
    # The token still contains the role trader.
    _assert_problem(client.get("/api/v1/auth/me", headers=bearer(token_pair["access_token"])), 401)
    disabled_user = client.patch(
        "/api/v1/users/new-one", json={"disabled": True, "reset_password": True}, headers=admin
    ).json()
    assert disabled_user["disabled"] is True
    _assert_problem(_log_in(client, "new-one", disabled_user["one_time_password"]), 401)
    _assert_problem(client.patch("/api/v1/users/nobody", json={"disabled": True}, headers=admin), 404, "nobody")
    _assert_problem(client.patch("/api/v1/users/nobody", json={}, headers=admin), 400, "at least one")
    _assert_problem(client.patch("/api/v1/users/the-admin", json={"role": "viewer"}, headers=admin), 400, "own role")
    names = [user["username"] for user in client.get("/api/v1/users", headers=admin).json()]
    assert names == sorted(names) and "new-one" in names
    assert "password_hash" not in client.get("/api/v1/users", headers=admin).text


def test_passwords_are_stored_only_as_argon2id(
    client: TestClient, database_url: str, token_by_role: dict[str, str]
) -> None:
    with psycopg2.connect(database_url) as db, db.cursor() as cursor:
        cursor.execute("SELECT password_hash FROM users")
        hashes = [row[0] for row in cursor.fetchall()]
    assert hashes and all(password_hash.startswith("$argon2id$") for password_hash in hashes)


def test_every_request_has_an_id(client: TestClient) -> None:
    assert client.get("/health", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    request_id = client.get("/health", headers={"X-Request-ID": "a b\tc"}).headers["X-Request-ID"]
    assert request_id != "a b\tc" and len(request_id) == 36
    assert _assert_problem(client.get("/api/v1/orders", headers={"X-Request-ID": "mine"}), 401)["request_id"] == "mine"


def test_paths_with_nul_are_rejected_first(client: TestClient, token_by_role: dict[str, str]) -> None:
    _assert_problem(client.get("/api/v1/orders/a%00b", headers=bearer(token_by_role["viewer"])), 400, "NUL")
    _assert_problem(client.get("/api/v1/orders?symbol=%00", headers=bearer(token_by_role["viewer"])), 400, "NUL")


def test_cors_allows_only_the_dashboard_origin(client: TestClient) -> None:
    preflight = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    preflight["Access-Control-Request-Headers"] = "authorization,idempotency-key"
    response = client.options("/api/v1/orders", headers=preflight)
    assert response.headers["access-control-allow-origin"] == "http://localhost:3000"
    foreign_response = client.options("/api/v1/orders", headers={**preflight, "Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in foreign_response.headers

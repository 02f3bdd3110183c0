"""Who gets in, as what, and for how long: every role at every endpoint, and a session from log-in to log-out."""

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
from tests.integration.api_people import PASSWORD, bearer, token_of

READ, TRADE, CANCEL = Permission.READ, Permission.TRADE, Permission.CANCEL
# What each endpoint asks for: None is open to everybody, "any" to whoever is logged in.
NEEDS: dict[tuple[str, str], Permission | str | None] = {
    ("GET", "/api/v1/portfolio/state"): READ,
    ("GET", "/api/v1/portfolio/positions"): READ,
    ("GET", "/api/v1/portfolio/positions/{symbol}"): READ,
    ("GET", "/api/v1/portfolio/performance"): READ,
    ("GET", "/api/v1/portfolio/equity"): READ,
    ("GET", "/api/v1/portfolio/strategies"): READ,
    ("GET", "/api/v1/portfolio/attribution"): READ,
    ("GET", "/api/v1/strategies/weights"): READ,
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
    ("GET", "/api/v1/market/price/{symbol}"): READ,
    ("GET", "/api/v1/market/prices"): READ,
    ("GET", "/api/v1/news"): READ,
    ("GET", "/api/v1/sentiment/{symbol}"): READ,
    ("GET", "/api/v1/fundamentals/{symbol}"): READ,
    ("GET", "/api/v1/market/history/{symbol}"): READ,
    ("GET", "/api/v1/alerts"): READ,
    ("GET", "/api/v1/risk/limits"): READ,
    ("GET", "/api/v1/risk/refusals"): READ,
    ("GET", "/api/v1/risk/breakers"): READ,
    ("GET", "/api/v1/risk/usage"): READ,
    ("POST", "/api/v1/risk/validate"): Permission.VALIDATE,
    ("POST", "/api/v1/risk/circuit-breaker"): Permission.BREAKER,
    ("GET", "/api/v1/audit"): Permission.AUDIT,
    ("GET", "/api/v1/users"): Permission.USERS,
    ("POST", "/api/v1/users"): Permission.USERS,
    ("PATCH", "/api/v1/users/{username}"): Permission.USERS,
    ("POST", "/api/v1/auth/login"): None,
    ("POST", "/api/v1/auth/refresh"): None,
    ("POST", "/api/v1/auth/logout"): "any",
    ("POST", "/api/v1/auth/password"): "any",
    ("GET", "/api/v1/auth/me"): "any",
}
ENVIRONMENT = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "API__LOGIN_RATE": "1000/minute",
    "API__COMMAND_RATE": "10000/minute",
    "API__READ_RATE": "10000/minute",
}


@pytest.fixture(scope="module")
def settings(database_url: str, redis_url: str) -> Settings:
    return load_settings(environment={"DATABASE_URL": database_url, "REDIS_URL": redis_url, **ENVIRONMENT})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def client(settings: Settings, home: Path) -> Iterator[TestClient]:
    with TestClient(create_app(settings, home=home)) as client:
        yield client


@pytest.fixture(scope="module")
def shown(client: TestClient) -> dict[str, str]:
    """A token of each role."""
    return {role: token_of(client.app, role) for role in Role}  # type: ignore[arg-type]


def _problem(response: Any, status: int, words: str = "") -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status and words in body["detail"], body
    assert body["request_id"] == response.headers["X-Request-ID"]
    return body


def _routes(client: TestClient) -> set[tuple[str, str]]:
    operations: dict[str, dict[str, Any]] = client.get("/openapi.json").json()["paths"]
    return {(m.upper(), path) for path, given in operations.items() for m in given if path.startswith("/api/")}


def test_every_endpoint_is_in_the_table(client: TestClient) -> None:
    assert _routes(client) == set(NEEDS)
    open_ = {route.path for route in client.app.routes if isinstance(route, APIRoute)}  # type: ignore[attr-defined]
    assert {path.split("/")[1] for path in open_} <= {"api", "health", "metrics", "schema-registry"}


# Logging out would end the session that the others use; it is shown below.
@pytest.mark.parametrize(("method", "path"), sorted(NEEDS.keys() - {("POST", "/api/v1/auth/logout")}))
def test_each_role_gets_where_the_table_says(client: TestClient, shown: dict[str, str], method: str, path: str) -> None:
    needed = NEEDS[method, path]
    address = path.replace("{", "").replace("}", "")
    nobody = client.request(method, address)
    if needed is None:
        assert nobody.status_code == 422, nobody.text  # asked for a body, not for a token
        return
    _problem(nobody, 401, "log in")
    assert nobody.headers["WWW-Authenticate"] == "Bearer"
    for role in Role:
        response = client.request(method, address, headers=bearer(shown[role]))
        if needed == "any" or needed in GRANTS[role]:
            assert response.status_code not in (401, 403), (role, response.text)
        else:
            _problem(response, 403, f"The role {role} may not")


@pytest.mark.parametrize("path", ["/health", "/metrics", "/docs", "/openapi.json", "/schema-registry/subjects"])
def test_what_machines_ask_is_open(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (200, 503)


def test_the_first_user_is_admin_with_a_password_that_opens_only_its_own_change(client: TestClient, home: Path) -> None:
    file = home / "secrets" / "admin-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    one_time = file.read_text().strip()
    first = client.post("/api/v1/auth/login", json={"username": "admin", "password": one_time}).json()
    assert (first["role"], first["must_change_password"]) == ("admin", True)
    me = bearer(first["access_token"])
    _problem(client.get("/api/v1/portfolio/state", headers=me), 403, "must be changed")
    change = {"current_password": one_time, "new_password": "short"}
    _problem(client.post("/api/v1/auth/password", json=change, headers=me), 400, "12 to 256 characters, found 5")
    change["new_password"] = "my name is admin"
    _problem(client.post("/api/v1/auth/password", json=change, headers=me), 400, "name")
    change["new_password"] = PASSWORD
    second = client.post("/api/v1/auth/password", json=change, headers=me).json()
    assert second["must_change_password"] is False
    assert client.get("/api/v1/users", headers=bearer(second["access_token"])).status_code == 200
    assert not file.exists()
    # The tokens of before the change are gone, refresh token too.
    _problem(client.get("/api/v1/auth/me", headers=me), 401)
    _problem(client.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]}), 401)
    # A restart makes nobody a second time.
    with TestClient(create_app(client.app.state.resources.settings, home=home)):  # type: ignore[attr-defined]
        assert not file.exists()


def test_processes_that_start_together_make_one_first_user(settings: Settings, make_database: Any, home: Path) -> None:
    postgres = settings.database.postgres.model_copy(update={"url": make_database()})
    fresh = settings.model_copy(update={"database": settings.database.model_copy(update={"postgres": postgres})})
    folder = home / "together"
    apps = [create_app(fresh, home=folder) for _ in range(4)]
    made: list[bool] = []
    threads = [
        threading.Thread(target=lambda app=app: made.append(app.state.resources.accounts.make_first_user()))
        for app in apps
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False, False, False, True]
    password = (folder / "secrets" / "admin-password").read_text().strip()
    with TestClient(apps[0]) as client:
        login = client.post("/api/v1/auth/login", json={"username": "admin", "password": password})
    assert login.status_code == 200
    assert len({app.state.resources.jwt_key for app in apps}) == 1


def _log_in(client: TestClient, name: str, password: str = PASSWORD) -> Any:
    return client.post("/api/v1/auth/login", json={"username": name, "password": password})


def test_a_wrong_name_and_a_wrong_password_read_alike(client: TestClient, shown: dict[str, str]) -> None:
    details = {_problem(_log_in(client, name, "x"), 401)["detail"] for name in ("the-viewer", "nobody-at-all")}
    assert details == {"The name or the password is wrong."}
    assert "hunter2" not in client.post("/api/v1/auth/login", json={"username": "a", "password": {"a": "hunter2"}}).text


def test_a_refresh_token_is_good_once_and_shown_twice_ends_the_session(client: TestClient) -> None:
    token_of(client.app, Role.VIEWER, "rotating")  # type: ignore[arg-type]
    first = _log_in(client, "rotating").json()
    second = client.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]}).json()
    assert client.get("/api/v1/orders", headers=bearer(second["access_token"])).status_code == 200
    _problem(client.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]}), 401, "ended")
    # Who has the newer one is put out as well: one of the two is a thief.
    _problem(client.post("/api/v1/auth/refresh", json={"refresh_token": second["refresh_token"]}), 401, "ended")


def test_an_access_token_does_not_refresh_and_a_refresh_token_does_not_open(client: TestClient) -> None:
    token_of(client.app, Role.VIEWER, "kinds")  # type: ignore[arg-type]
    pair = _log_in(client, "kinds").json()
    _problem(client.post("/api/v1/auth/refresh", json={"refresh_token": pair["access_token"]}), 401, "another kind")
    _problem(client.get("/api/v1/orders", headers=bearer(pair["refresh_token"])), 401, "another kind")


def test_after_logging_out_neither_token_is_good(client: TestClient) -> None:
    token_of(client.app, Role.VIEWER, "leaving")  # type: ignore[arg-type]
    pair, other = _log_in(client, "leaving").json(), _log_in(client, "leaving").json()
    assert client.post("/api/v1/auth/logout", headers=bearer(pair["access_token"])).status_code == 204
    _problem(client.get("/api/v1/orders", headers=bearer(pair["access_token"])), 401, "ended")
    _problem(client.post("/api/v1/auth/refresh", json={"refresh_token": pair["refresh_token"]}), 401)
    assert client.get("/api/v1/orders", headers=bearer(other["access_token"])).status_code == 200  # another session


def test_tokens_that_are_not_ours_are_refused(client: TestClient, shown: dict[str, str]) -> None:
    key = client.app.state.resources.jwt_key  # type: ignore[attr-defined]
    claims = jwt.decode(shown["viewer"], key, ["HS256"], issuer=tokens.ISSUER)
    bad = {
        "another key": jwt.encode(claims, "k" * 40, "HS256"),
        "no signature": jwt.encode(claims, None, "none"),
        "expired": jwt.encode({**claims, "exp": int(time.time()) - 1}, key, "HS256"),
        "another issuer": jwt.encode({**claims, "iss": "somebody"}, key, "HS256"),
        "a claim missing": jwt.encode({k: v for k, v in claims.items() if k != "sid"}, key, "HS256"),
        "no user": jwt.encode({**claims, "sub": "ghost"}, key, "HS256"),
        "a strange role": jwt.encode({**claims, "role": "emperor", "ver": 99}, key, "HS256"),
        "nonsense": "abc",
    }
    for what, token in bad.items():
        assert client.get("/api/v1/orders", headers=bearer(token)).status_code == 401, what
    for header in ("", "Bearer", "Basic YTpi", f"Token {shown['viewer']}"):
        _problem(client.get("/api/v1/orders", headers={"Authorization": header}), 401)


def test_an_admin_makes_changes_and_shuts_out_users(client: TestClient, shown: dict[str, str]) -> None:
    admin = bearer(shown["admin"])
    made = client.post("/api/v1/users", json={"username": "new-one", "role": "trader"}, headers=admin)
    assert made.status_code == 201
    _problem(client.post("/api/v1/users", json={"username": "new-one", "role": "risk"}, headers=admin), 409, "new-one")
    for name in ("A", "a b", "a\0b", "x" * 33, "ädmin"):
        _problem(client.post("/api/v1/users", json={"username": name, "role": "risk"}, headers=admin), 422)
    _problem(client.post("/api/v1/users", json={"username": "other", "role": "emperor"}, headers=admin), 422, "role")
    pair = _log_in(client, "new-one", made.json()["one_time_password"]).json()
    assert pair["must_change_password"] is True
    change = client.patch("/api/v1/users/new-one", json={"role": "viewer"}, headers=admin).json()
    assert (change["role"], change["one_time_password"]) == ("viewer", None)
    _problem(client.get("/api/v1/auth/me", headers=bearer(pair["access_token"])), 401)  # it said trader
    shut = client.patch("/api/v1/users/new-one", json={"disabled": True, "reset_password": True}, headers=admin).json()
    assert shut["disabled"] is True
    _problem(_log_in(client, "new-one", shut["one_time_password"]), 401)
    _problem(client.patch("/api/v1/users/nobody", json={"disabled": True}, headers=admin), 404, "nobody")
    _problem(client.patch("/api/v1/users/nobody", json={}, headers=admin), 400, "at least one")
    _problem(client.patch("/api/v1/users/the-admin", json={"role": "viewer"}, headers=admin), 400, "own role")
    names = [user["username"] for user in client.get("/api/v1/users", headers=admin).json()]
    assert names == sorted(names) and "new-one" in names
    assert "password_hash" not in client.get("/api/v1/users", headers=admin).text


def test_passwords_are_kept_as_argon2id_only(client: TestClient, database_url: str, shown: dict[str, str]) -> None:
    with psycopg2.connect(database_url) as db, db.cursor() as cursor:
        cursor.execute("SELECT password_hash FROM users")
        hashes = [row[0] for row in cursor.fetchall()]
    assert hashes and all(each.startswith("$argon2id$") for each in hashes)


def test_every_request_has_an_id(client: TestClient) -> None:
    assert client.get("/health", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    made = client.get("/health", headers={"X-Request-ID": "a b\tc"}).headers["X-Request-ID"]
    assert made != "a b\tc" and len(made) == 36
    assert _problem(client.get("/api/v1/orders", headers={"X-Request-ID": "mine"}), 401)["request_id"] == "mine"


def test_addresses_with_nul_are_refused_before_anything_else(client: TestClient, shown: dict[str, str]) -> None:
    _problem(client.get("/api/v1/orders/a%00b", headers=bearer(shown["viewer"])), 400, "NUL")
    _problem(client.get("/api/v1/orders?symbol=%00", headers=bearer(shown["viewer"])), 400, "NUL")


def test_a_browser_page_of_the_dashboard_may_ask(client: TestClient) -> None:
    asked = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "authorization,idempotency-key"
    answer = client.options("/api/v1/orders", headers=asked)
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    elsewhere = client.options("/api/v1/orders", headers={**asked, "Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in elsewhere.headers

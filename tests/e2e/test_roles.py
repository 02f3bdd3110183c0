"""The API of a running platform over HTTP, for each role: permitted requests take effect, all others are rejected."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from api.roles import Role
from tests import http
from tests.e2e.cli_platform import CliPlatform

pytestmark = pytest.mark.timeout(600)
PASSWORD = "a long password of the tests"  # pragma: allowlist secret  (of users that live as long as this test)
MARKET = {"symbol": "AAPL", "side": "BUY", "quantity": 3, "order_type": "MARKET", "time_in_force": "DAY"}
# Far below any price of the simulator, so the order rests.
RESTING = {**MARKET, "symbol": "MSFT", "order_type": "LIMIT", "limit_price": 50.0, "time_in_force": "GTC"}


@pytest.fixture(scope="module")
def platform(simulator_platform: CliPlatform) -> CliPlatform:
    return simulator_platform


@pytest.fixture(scope="module")
def client_by_role(platform: CliPlatform) -> Iterator[dict[Role, httpx.Client]]:
    """An HTTP client for each role, logged in as a user of that role."""
    one_time_password = (platform.home.secrets / "admin-password").read_text().strip()
    clients = {Role.ADMIN: log_in(platform, "admin", one_time_password)}
    for role in (Role.VIEWER, Role.TRADER, Role.RISK):
        response = clients[Role.ADMIN].post("/users", json={"username": f"a-{role}", "role": role})
        assert response.status_code == 201, response.text
        clients[role] = log_in(platform, f"a-{role}", response.json()["one_time_password"])
    yield clients
    for client in clients.values():
        client.close()


def log_in(platform: CliPlatform, username: str, one_time_password: str) -> httpx.Client:
    client = http.client(base_url=f"{platform.api_url}/api/v1")
    tokens = client.post("/auth/login", json={"username": username, "password": one_time_password}).json()
    client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    response = client.post("/auth/password", json={"current_password": one_time_password, "new_password": PASSWORD})
    assert response.status_code == 200, response.text
    client.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
    return client


def wait_for(read: Callable[[], Any], expected: Any) -> None:
    deadline = time.monotonic() + 300
    while (value := read()) != expected:
        assert time.monotonic() < deadline, f"{value} was not {expected} in time"
        time.sleep(0.3)


def status_of(client: httpx.Client, order_id: str) -> str | None:
    response = client.get(f"/orders/{order_id}")
    return str(response.json()["status"]) if response.status_code == 200 else None


def test_each_role_can_do_only_what_it_is_permitted(client_by_role: dict[Role, httpx.Client]) -> None:
    viewer, trader, risk, admin = (client_by_role[role] for role in (Role.VIEWER, Role.TRADER, Role.RISK, Role.ADMIN))
    for client in client_by_role.values():
        assert client.get("/portfolio/state").status_code == 200
    for client in (viewer, risk):
        assert client.post("/orders", json=MARKET).status_code == 403
    for client in (viewer, trader):
        assert client.post("/risk/circuit-breaker", json={"action": "halt", "reason": "no"}).status_code == 403
        assert client.get("/audit").status_code == 403
    for client in (viewer, trader, risk):
        assert client.post("/users", json={"username": "x", "role": "admin"}).status_code == 403

    filled_id = trader.post("/orders", json=MARKET).json()["order_id"]
    wait_for(lambda: status_of(viewer, filled_id), "FILLED")
    resting_id = trader.post("/orders", json=RESTING).json()["order_id"]
    assert viewer.delete(f"/orders/{resting_id}").status_code == 403
    wait_for(lambda: risk.delete(f"/orders/{resting_id}").status_code, 202)
    wait_for(lambda: status_of(trader, resting_id), "CANCELLED")

    assert risk.post("/risk/circuit-breaker", json={"action": "halt", "reason": "a drill"}).status_code == 202
    wait_for(lambda: viewer.get("/risk/limits").json()["state"], "HALTED")
    verdict = trader.post("/risk/validate", json=MARKET).json()
    assert verdict["approved"] is False and "kill_switch" in verdict["message"]
    assert admin.post("/risk/circuit-breaker", json={"action": "release", "reason": "over"}).status_code == 202
    wait_for(lambda: viewer.get("/risk/limits").json()["state"], "ACTIVE")

    kinds = [(entry["kind"], entry["actor"]) for entry in risk.get("/audit").json()["commands"]]
    assert kinds[:2] == [("RELEASE", "admin"), ("KILL_SWITCH", "a-risk")]
    assert kinds.count(("SUBMIT_ORDER", "a-trader")) == 2

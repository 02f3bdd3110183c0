"""Users of an API under test, with a known password and a token: by default one per role."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.testclient import TestClient

from api import tokens
from api.resources import Resources
from api.roles import Role

PASSWORD = "correct horse battery"


def token_of(app: FastAPI, role: Role, username_override: str | None = None) -> str:
    """Return an access token for a new session. Create the user if it does not exist; its name defaults to the role."""
    resources: Resources = app.state.resources
    accounts, username = resources.accounts, username_override or f"the-{role}"
    if accounts.user(username) is None:
        accounts.change_password(username, accounts.add_user(username, role), PASSWORD)
    return tokens.sign(resources.jwt_key, tokens.ACCESS, accounts.log_in(username, PASSWORD).access)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def metrics_of(client: TestClient) -> str:
    """Return the metrics page, with the token of the API under test."""
    assert isinstance(client.app, FastAPI)
    resources: Resources = client.app.state.resources
    response = client.get("/metrics", headers=bearer(resources.metrics_token))
    assert response.status_code == 200, response.text
    return str(response.text)


def log_in(client: TestClient, role: Role = Role.VIEWER) -> TestClient:
    """Set a token of this role on the client and return the client."""
    assert isinstance(client.app, FastAPI)
    client.headers.update(bearer(token_of(client.app, role)))
    return client

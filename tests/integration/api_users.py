"""Users of an API under test: one of each role, with a password of their own and a token."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.testclient import TestClient

from api import tokens
from api.resources import Resources
from api.roles import Role

PASSWORD = "correct horse battery"


def token_of(app: FastAPI, role: Role, username_override: str | None = None) -> str:
    """The access token of a new session of the user of this name (else the role's), who is made at first."""
    resources: Resources = app.state.resources
    accounts, username = resources.accounts, username_override or f"the-{role}"
    if accounts.user(username) is None:
        accounts.change_password(username, accounts.add_user(username, role), PASSWORD)
    return tokens.sign(resources.jwt_key, tokens.ACCESS, accounts.log_in(username, PASSWORD).access)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def log_in(client: TestClient, role: Role = Role.VIEWER) -> TestClient:
    """The client, from now on with a token of that role."""
    assert isinstance(client.app, FastAPI)
    client.headers.update(bearer(token_of(client.app, role)))
    return client

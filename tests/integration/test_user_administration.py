"""Changes of users are commands in the log and rows of the audit trail; the host can always let an admin in again."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.roles import Role
from api.second_factor import STEP_S, totp
from configs.settings import Settings, load_settings
from dataflows.sources.unclocked_topic import read_unclocked
from deploy.commands.security import audit_rows
from schemas.records import Command
from sinks.database import open_engine
from sinks.postgres import PostgresWriter
from tests.integration.api_users import PASSWORD, bearer, token_of
from tests.integration.recorded_platform import cli, make_topics


class Platform(NamedTuple):
    settings: Settings
    home: Path
    client: TestClient
    environment: dict[str, str]

    def commands(self) -> list[Command]:
        return [record for record in read_unclocked(self.settings.kafka, "commands") if isinstance(record, Command)]

    def changes(self, username: str) -> list[tuple[str, str, dict[str, str]]]:
        """Return actor, kind and arguments of each recorded change of this user."""
        return [
            (command.actor, command.kind, {k: v for k, v in command.arguments.items() if k != "username"})
            for command in self.commands()
            if command.arguments.get("username") == username
        ]

    def users(self, *arguments: str) -> str:
        result = cli(self.home, "users", *arguments, **self.environment)
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture(scope="module")
def platform(
    database_url: str, redis_url: str, kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("home")
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url.rsplit("/", 1)[0] + "/7",  # failed log-ins of other modules count per address
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA__TOPIC_PREFIX": make_topics(kafka),
        "PLATFORM_HOME": str(home),
    }
    settings = load_settings(environment=environment)
    with TestClient(create_app(settings, home=home)) as client:
        yield Platform(settings, home, client, environment)


def test_each_change_of_a_user_is_a_command_and_an_entry_of_the_audit_trail(platform: Platform) -> None:
    admin, client = bearer(token_of(platform.client.app, Role.ADMIN)), platform.client  # type: ignore[arg-type]
    assert client.post("/api/v1/users", json={"username": "ada", "role": "trader"}, headers=admin).status_code == 201
    for change in ({"role": "risk"}, {"disabled": True}, {"reset_password": True}):
        assert client.patch("/api/v1/users/ada", json=change, headers=admin).status_code == 200
    assert client.post("/api/v1/users", json={"username": "ada", "role": "risk"}, headers=admin).status_code == 409
    assert client.patch("/api/v1/users/nobody", json={"disabled": True}, headers=admin).status_code == 404
    assert platform.changes("ada") == [
        ("the-admin", "USER_ADDED", {"role": "trader"}),
        ("the-admin", "USER_CHANGED", {"role": "risk"}),
        ("the-admin", "USER_CHANGED", {"disabled": "true"}),
        ("the-admin", "USER_PASSWORD_RESET", {}),
    ]
    assert platform.changes("nobody") == []
    assert PASSWORD not in str(platform.commands())
    # Risk stores every command of the log in the table `commands`, and thereby in the audit chain.
    writer = PostgresWriter(platform.settings.database.postgres.url, name="test")
    writer.write(platform.commands())
    writer.close()
    engine = open_engine(platform.settings.database.postgres.url)
    with engine.connect() as db:
        entries = [(row["who"], row["did"], row["what"]) for row in audit_rows(db)]
        linked = db.exec_driver_sql("SELECT count(*) FROM audit_chain WHERE table_name = 'commands'").scalar()
    engine.dispose()
    assert ("the-admin", "USER_CHANGED", "role risk, username ada; user administration") in entries
    assert linked == len(platform.commands())


def test_a_change_that_cannot_be_recorded_does_not_happen(platform: Platform, tmp_path: Path) -> None:
    admin = bearer(token_of(platform.client.app, Role.ADMIN))  # type: ignore[arg-type]
    kafka = platform.settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    api = platform.settings.api.model_copy(update={"command_timeout_s": 0.5})
    without_kafka = platform.settings.model_copy(update={"kafka": kafka, "api": api})
    with TestClient(create_app(without_kafka, home=platform.home)) as client:
        response = client.post("/api/v1/users", json={"username": "eve", "role": "admin"}, headers=admin)
        assert response.status_code == 503, response.text
        names = [user["username"] for user in client.get("/api/v1/users", headers=admin).json()]
    assert "eve" not in names


def test_the_host_creates_changes_and_disables_users(platform: Platform) -> None:
    assert re.search(r"one-time password of grace: \S{20,}", platform.users("create", "grace", "viewer"))
    assert platform.users("set-role", "grace", "trader") == "grace has the role trader\n"
    assert platform.users("disable", "grace") == "grace is disabled\n"
    listed = {row["username"]: row for row in json.loads(platform.users("list", "--json"))}
    assert (listed["grace"]["role"], listed["grace"]["disabled"]) == ("trader", True)
    assert "password_hash" not in listed["grace"]
    platform.users("enable", "grace")
    changes = platform.changes("grace")
    assert [(kind, arguments) for _, kind, arguments in changes] == [
        ("USER_ADDED", {"role": "viewer"}),
        ("USER_CHANGED", {"role": "trader"}),
        ("USER_CHANGED", {"disabled": "true"}),
        ("USER_CHANGED", {"disabled": "false"}),
    ]
    assert all(actor.startswith("host:") for actor, _, _ in changes)


def test_a_lost_second_factor_is_reset_by_an_admin_or_on_the_host(platform: Platform) -> None:
    client, admin = platform.client, bearer(token_of(platform.client.app, Role.ADMIN))  # type: ignore[arg-type]
    for number in range(2):
        user = bearer(token_of(client.app, Role.TRADER, f"phone{number}"))  # type: ignore[arg-type]
        enrolment = client.post("/api/v1/auth/totp", json={"current_password": PASSWORD}, headers=user).json()
        code = totp(base64.b32decode(enrolment["secret"]), int(time.time()) // STEP_S)
        assert client.post("/api/v1/auth/totp/confirm", json={"code": code}, headers=user).status_code == 200
    assert client.patch("/api/v1/users/phone0", json={"reset_totp": True}, headers=admin).status_code == 200
    assert client.patch("/api/v1/users/phone0", json={"reset_totp": True}, headers=admin).status_code == 404
    assert platform.users("reset-totp", "phone1") == "phone1 logs in without a second factor\n"
    for number in range(2):
        credentials = {"username": f"phone{number}", "password": PASSWORD}
        assert client.post("/api/v1/auth/login", json=credentials).status_code == 200
        kinds = [kind for _, kind, _ in platform.changes(f"phone{number}")]
        assert kinds == ["USER_TOTP_ENABLED", "USER_TOTP_RESET"]


def test_an_admin_who_lost_the_password_gets_in_again_from_the_host(platform: Platform) -> None:
    printed = platform.users("reset-password", "admin")
    match = re.search(r"one-time password of admin: (\S+)", printed)
    assert match is not None
    credentials = {"username": "admin", "password": match[1]}
    token_pair = platform.client.post("/api/v1/auth/login", json=credentials).json()
    assert (token_pair["role"], token_pair["must_change_password"]) == ("admin", True)


def test_the_host_reports_mistakes_in_one_line(platform: Platform) -> None:
    for arguments, message in (
        (("reset-password", "nobody"), "User nobody does not exist."),
        (("create", "Bad Name", "viewer"), "a username has 2 to 32 characters"),
    ):
        result = cli(platform.home, "users", *arguments, **platform.environment)
        assert result.returncode in (1, 2) and result.stderr.startswith(f"error: {message}"), result.stderr


def test_the_last_enabled_admin_stays(platform: Platform) -> None:
    client, app = platform.client, platform.client.app
    admin = bearer(token_of(app, Role.ADMIN))  # type: ignore[arg-type]
    for user in client.get("/api/v1/users", headers=admin).json():
        if user["role"] == "admin" and user["username"] != "the-admin":
            client.patch(f"/api/v1/users/{user['username']}", json={"disabled": True}, headers=admin)
    result = cli(platform.home, "users", "disable", "the-admin", **platform.environment)
    assert result.stderr == "error: the-admin is the last enabled admin. Make another user an admin first.\n"
    assert client.get("/api/v1/users", headers=admin).status_code == 200

"""A log-in with a second factor: enrolment, codes that are valid once, recovery codes, and the way without it."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api import second_factor
from api.app import create_app
from api.roles import Role
from api.second_factor import STEP_S, totp
from configs.settings import Settings, load_settings
from deploy.supervisor.topics import TopicSpec, create_topics
from tests.integration.api_users import PASSWORD, bearer, token_of

PREFIX = f"totp-{time.time_ns()}-"
REQUIRED = "urn:problem:second-factor-required"


class Clock:
    """The time of the second factor. The tests move it."""

    def __init__(self) -> None:
        self.now = time.time()

    @property
    def step(self) -> int:
        return int(self.now) // STEP_S


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(second_factor, "time", SimpleNamespace(time=lambda: clock.now))
    return clock


@pytest.fixture(scope="module")
def settings(database_url: str, redis_url: str, kafka: str) -> Settings:
    create_topics(kafka, [TopicSpec(f"{PREFIX}commands", 1)])
    addresses = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": kafka}
    return load_settings(environment={**addresses, "KAFKA__TOPIC_PREFIX": PREFIX, "API__LOGIN_RATE": "1000/minute"})


@pytest.fixture(scope="module")
def client(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(create_app(settings, home=tmp_path_factory.mktemp("home"))) as client:
        yield client


class User:
    """A user with a second factor. `code` is the code of a step, relative to the current one."""

    def __init__(self, client: TestClient, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self.name = f"u{time.time_ns()}"[:31]
        self.headers = bearer(token_of(client.app, Role.TRADER, self.name))  # type: ignore[arg-type]
        self.enrolment = self.post("totp", {"current_password": PASSWORD}).json()
        self._secret = base64.b32decode(self.enrolment["secret"])

    def post(self, path: str, body: dict[str, str]) -> Any:
        return self._client.post(f"/api/v1/auth/{path}", json=body, headers=self.headers)

    def code(self, steps: int = 0) -> str:
        return totp(self._secret, self._clock.step + steps)

    def confirm(self) -> list[str]:
        response = self.post("totp/confirm", {"code": self.code()})
        assert response.status_code == 200, response.text
        self._clock.now += STEP_S  # the code of the enrolment is used
        codes: list[str] = response.json()["recovery_codes"]
        return codes

    def log_in(self, code: str | None = None, password: str = PASSWORD) -> Any:
        body = {"username": self.name, "password": password} | ({} if code is None else {"code": code})
        return self._client.post("/api/v1/auth/login", json=body)


@pytest.fixture
def user(client: TestClient, clock: Clock) -> User:
    return User(client, clock)


def test_a_log_in_needs_a_code_from_the_confirmation_on(user: User) -> None:
    assert f"secret={user.enrolment['secret']}" in user.enrolment["uri"] and user.name in user.enrolment["uri"]
    assert user.log_in().status_code == 200, "not confirmed yet"
    assert user.post("totp/confirm", {"code": "000000"}).status_code == 401
    user.confirm()
    missing = user.log_in()
    assert (missing.status_code, missing.json()["type"]) == (401, REQUIRED)
    wrong_password = user.log_in(user.code(), password="wrong")
    assert (wrong_password.status_code, wrong_password.json()["type"]) == (401, "about:blank")
    wrong_code = user.log_in("12345x")
    assert (wrong_code.status_code, wrong_code.json()["type"]) == (401, "about:blank")
    assert user.log_in(user.code()).status_code == 200


def test_a_code_is_valid_once_and_only_near_its_time(user: User, clock: Clock) -> None:
    user.confirm()
    code = user.code()
    assert user.log_in(code).status_code == 200
    assert user.log_in(code).status_code == 401, "the same code again"
    assert user.log_in(user.code(-1)).status_code == 401, "an earlier code"
    assert user.log_in(user.code(+1)).status_code == 200, "the clock of the phone is ahead"
    clock.now += 10 * STEP_S
    assert user.log_in(user.code(-2)).status_code == 401
    assert user.log_in(user.code(+2)).status_code == 401
    assert user.log_in(user.code(-1)).status_code == 200


def test_each_recovery_code_replaces_one_code(user: User) -> None:
    codes = user.confirm()
    assert len(set(codes)) == 10
    assert user.log_in(codes[0]).status_code == 200
    assert user.log_in(codes[0]).status_code == 401
    assert user.log_in(codes[1].upper().replace("-", " ")).status_code == 200


def test_turning_the_second_factor_off_needs_the_password(user: User) -> None:
    user.confirm()
    assert user.post("totp", {"current_password": PASSWORD}).status_code == 401, "there is one already"
    assert user.post("totp/disable", {"current_password": "wrong"}).status_code == 401
    assert user.log_in().status_code == 401
    assert user.post("totp/disable", {"current_password": PASSWORD}).status_code == 204
    assert user.log_in().status_code == 200
    assert user.post("totp/disable", {"current_password": PASSWORD}).status_code == 404


def test_a_change_of_the_password_keeps_the_second_factor(user: User) -> None:
    user.confirm()
    change = {"current_password": PASSWORD, "new_password": PASSWORD + "!"}
    assert user.post("password", change).status_code == 200
    assert user.log_in(password=PASSWORD + "!").json()["type"] == REQUIRED

"""A release that needs two persons: through the API and on the host. Every release passes the same check of risk."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.roles import Role
from configs.settings import Settings, load_settings
from dataflows.sources.unclocked_topic import read_unclocked
from operators.risk import RiskStage
from schemas.records import Command, RiskFence
from sinks.postgres import PostgresWriter
from tests.integration.api_users import bearer, token_of
from tests.integration.recorded_platform import cli, make_topics

API = "/api/v1/risk"


class Platform(NamedTuple):
    settings: Settings
    home: Path
    client: TestClient
    environment: dict[str, str]

    def headers(self, name: str) -> dict[str, str]:
        return bearer(token_of(self.client.app, Role.RISK, name))  # type: ignore[arg-type]

    def set(self, name: str, action: str) -> Any:
        body = {"action": action, "reason": "a drill"}
        response = self.client.post(f"{API}/circuit-breaker", json=body, headers=self.headers(name))
        assert response.status_code == 202, response.text
        return response.json()

    def approve(self, name: str, request_id: str) -> Any:
        return self.client.post(f"{API}/releases/{request_id}/approve", headers=self.headers(name))

    def commands(self) -> list[Command]:
        return [record for record in read_unclocked(self.settings.kafka, "commands") if isinstance(record, Command)]

    def state(self) -> str:
        """Apply the whole log to risk, and return the state of trading. Store the commands as risk's sink does."""
        stage, state = RiskStage(self.settings.risk()), "ACTIVE"
        for number, command in enumerate(self.commands()):
            for record in stage.on_slice(command.ts_ns + number, [command]):
                state = record.state if isinstance(record, RiskFence) else state
        writer = PostgresWriter(self.settings.database.postgres.url, name="test")
        writer.write(self.commands())
        writer.close()
        return state


@pytest.fixture(scope="module")
def platform(
    database_url: str, redis_url: str, kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("home")
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA__TOPIC_PREFIX": make_topics(kafka),
        "RISK_MANAGER__APPROVALS": "[releases]",
    }
    settings = load_settings(environment=environment)
    with TestClient(create_app(settings, home=home)) as client:
        yield Platform(settings, home, client, environment)


def test_a_second_user_approves_a_release(platform: Platform) -> None:
    assert platform.set("ann", "halt")["status"] == "PENDING" and platform.state() == "HALTED"
    request = platform.set("ann", "release")
    assert request["status"] == "APPROVAL_REQUIRED" and platform.state() == "HALTED"
    [listed] = platform.client.get(f"{API}/releases", headers=platform.headers("bob")).json()
    assert (listed["request_id"], listed["requested_by"]) == (request["command_id"], "ann")
    own = platform.approve("ann", request["command_id"])
    assert own.status_code == 403 and "Another person" in own.json()["detail"] and platform.state() == "HALTED"
    approval = platform.approve("bob", request["command_id"])
    assert approval.status_code == 202, approval.text
    assert (approval.json()["requested_by"], approval.json()["approved_by"]) == ("ann", "bob")
    assert platform.state() == "ACTIVE"
    release = platform.commands()[-1]
    assert (release.kind, release.actor, release.arguments["requested_by"]) == ("RELEASE", "bob", "ann")
    assert platform.approve("carl", request["command_id"]).status_code == 409, "it is approved already"
    assert platform.client.get(f"{API}/releases", headers=platform.headers("bob")).json() == []


def test_a_halt_after_the_request_voids_it(platform: Platform) -> None:
    platform.set("ann", "halt")
    request = platform.set("ann", "release")
    platform.set("bob", "halt")
    assert platform.state() == "HALTED"
    refused = platform.approve("carl", request["command_id"])
    assert refused.status_code == 409 and "bob has halted trading after it" in refused.json()["detail"]
    assert platform.approve("carl", "cmd-none").status_code == 404


def test_a_release_on_the_host_needs_a_second_person_too(platform: Platform) -> None:
    platform.set("ann", "halt")
    result = cli(platform.home, "kill-switch", "off", "--reason", "over", **platform.environment)
    assert result.returncode == 0 and "another person must approve it" in result.stdout, result.stderr
    assert platform.state() == "HALTED"
    request = platform.commands()[-1]
    assert (request.kind, request.actor) == ("RELEASE_REQUESTED", getpass.getuser())
    same_person = cli(platform.home, "kill-switch", "approve", request.command_id, **platform.environment)
    assert same_person.returncode == 1 and "Another person must approve it" in same_person.stderr
    by_ann = platform.set("ann", "release")
    approved = cli(platform.home, "kill-switch", "approve", by_ann["command_id"], **platform.environment)
    assert approved.returncode == 0, approved.stderr
    assert platform.state() == "ACTIVE"


def test_a_rejected_release_cannot_be_approved(platform: Platform) -> None:
    platform.set("ann", "halt")
    request = platform.set("ann", "release")
    path = f"{API}/releases/{request['command_id']}/reject"
    rejected = platform.client.post(path, headers=platform.headers("bob"), json={"reason": "not yet"})
    assert rejected.status_code == 202, rejected.text
    assert (rejected.json()["requested_by"], rejected.json()["rejected_by"]) == ("ann", "bob")
    refused = platform.approve("carl", request["command_id"])
    assert refused.status_code == 409 and "bob has rejected it: not yet" in refused.json()["detail"]
    assert platform.client.post(path, headers=platform.headers("bob"), json={"reason": "again"}).status_code == 409
    assert platform.state() == "HALTED"

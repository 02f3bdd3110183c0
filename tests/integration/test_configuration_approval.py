"""A change of the configuration that needs two persons, through the API and on the host; and its idempotency key."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from api.app import create_app
from api.roles import Role
from configs.configuration_changes import with_overrides
from configs.configuration_publishing import newest_of
from configs.settings import Settings, load_settings
from dataflows.sources.unclocked_topic import read_unclocked
from deploy.supervisor.configuration_record import START_REASON, dropped_lines, dropped_of_start, record_start
from deploy.supervisor.topics import TopicSpec, create_topics
from schemas.records import Command, Configuration
from sinks.accounts import submissions
from sinks.commands import CommandLog
from sinks.postgres import PostgresWriter
from sinks.signing_keys import FOLDER, new_key, write_key
from tests.integration.api_users import bearer, token_of
from tests.integration.recorded_platform import cli

API = "/api/v1/config"
LIMIT = "risk_manager.max_order_notional"


class Platform(NamedTuple):
    settings: Settings
    home: Path
    client: TestClient
    environment: dict[str, str]

    def headers(self, name: str) -> dict[str, str]:
        return bearer(token_of(self.client.app, Role.RISK, name))  # type: ignore[arg-type]

    def patch(self, name: str, changes: dict[str, Any], key: str | None = None, reason: str = "earnings") -> Any:
        headers = self.headers(name) | ({"Idempotency-Key": key} if key else {})
        return self.client.patch(API, headers=headers, json={"set": changes, "reason": reason})

    def request(self, name: str, changes: dict[str, Any]) -> str:
        response = self.patch(name, changes)
        assert response.status_code == 202 and response.json()["status"] == "APPROVAL_REQUIRED", response.text
        return str(response.json()["request_id"])

    def decide(self, name: str, request_id: str, action: str) -> Any:
        body = {"reason": "too risky"} if action == "reject" else {}
        return self.client.post(f"{API}/requests/{request_id}/{action}", headers=self.headers(name), json=body)

    def open_requests(self) -> list[str]:
        listed = self.client.get(f"{API}/requests", headers=self.headers("bob")).json()
        return [one["request_id"] for one in listed]

    def newest(self) -> Configuration:
        return newest_of(self.settings)

    def store(self) -> None:
        """Store the configuration and the commands in the log, as the service risk does."""
        commands = [one for one in read_unclocked(self.settings.kafka, "commands") if isinstance(one, Command)]
        writer = PostgresWriter(self.settings.database.postgres.url, name="test")
        writer.write([self.newest(), *commands])
        writer.close()


def open_platform(home: Path, servers: dict[str, str], approvals: str) -> Iterator[Platform]:
    for writer in ("root", "command-line", "api"):
        write_key(home / "secrets" / FOLDER, new_key("platform", writer, 1))
    prefix = f"approval-{time.time_ns()}-"
    create_topics(
        servers["KAFKA_BOOTSTRAP_SERVERS"], [TopicSpec(f"{prefix}{name}", 1) for name in ("commands", "configuration")]
    )
    environment = {**servers, "KAFKA__TOPIC_PREFIX": prefix, "RISK_MANAGER__APPROVALS": approvals}
    settings = load_settings(environment=environment)
    assert record_start(settings, "1.0", home / "secrets" / FOLDER) is not None
    with TestClient(create_app(settings, home=home)) as client:
        platform = Platform(settings, home, client, environment)
        platform.store()
        yield platform


@pytest.fixture
def servers(make_database: Callable[..., str], redis_url: str, kafka: str) -> dict[str, str]:
    return {"DATABASE_URL": make_database(), "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": kafka}


@pytest.fixture
def platform(servers: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Platform]:
    """A platform where changes need the number of persons that the test names; two by default."""
    yield from open_platform(tmp_path, servers, getattr(request, "param", "[releases]"))


def test_a_second_user_approves_a_change(platform: Platform) -> None:
    request_id = platform.request("ann", {LIMIT: 4321})
    assert platform.newest().number == 1 and platform.open_requests() == [request_id]
    [listed] = platform.client.get(f"{API}/requests", headers=platform.headers("bob")).json()
    assert (listed["requested_by"], listed["set"], listed["before"]) == ("ann", {LIMIT: 4321}, {LIMIT: "100000"})
    own = platform.decide("ann", request_id, "approve")
    assert own.status_code == 403 and "You requested this change. Another person must" in own.json()["detail"]
    approved = platform.decide("bob", request_id, "approve")
    assert approved.status_code == 202, approved.text
    assert (approved.json()["requested_by"], approved.json()["approved_by"]) == ("ann", "bob")
    record = platform.newest()
    assert (record.number, record.actor, record.requested_by, record.request_id) == (2, "bob", "ann", request_id)
    assert record.overrides == {LIMIT: "4321"} and record.reason == "earnings"
    again = platform.decide("carl", request_id, "approve")
    assert again.status_code == 409 and "bob has approved it" in again.json()["detail"], "risk has not stored it yet"
    platform.store()
    assert platform.open_requests() == []
    [newest, _] = platform.client.get(f"{API}/history", headers=platform.headers("ann")).json()
    assert (newest["actor"], newest["requested_by"], newest["request_id"]) == ("bob", "ann", request_id)
    assert platform.decide("carl", request_id, "reject").status_code == 409


def test_a_request_survives_a_restart_of_the_api(platform: Platform) -> None:
    request_id = platform.request("ann", {LIMIT: 77})
    with TestClient(create_app(platform.settings, home=platform.home)) as client:
        restarted = platform._replace(client=client)
        assert restarted.decide("bob", request_id, "approve").status_code == 202
    assert platform.newest().overrides == {LIMIT: "77"}


def test_a_rejected_and_a_withdrawn_request_cannot_be_approved(platform: Platform) -> None:
    for person, text in (("bob", "bob has rejected it: too risky"), ("ann", "ann has rejected it: too risky")):
        request_id = platform.request("ann", {LIMIT: 5})
        rejected = platform.decide(person, request_id, "reject")
        assert rejected.status_code == 202 and rejected.json()["rejected_by"] == person, rejected.text
        assert platform.open_requests() == []
        refused = platform.decide("carl", request_id, "approve")
        assert refused.status_code == 409 and text in refused.json()["detail"]
    assert platform.newest().number == 1
    unknown = platform.decide("bob", "cmd-none", "approve")
    assert unknown.status_code == 404 and "No request cmd-none for a change" in unknown.json()["detail"]


def test_of_two_requests_for_one_setting_one_is_applied(platform: Platform) -> None:
    one, two = platform.request("ann", {LIMIT: 5}), platform.request("bob", {LIMIT: 6})
    other = platform.request("ann", {"feedback.horizon_bars": 50})
    assert platform.decide("carl", two, "approve").status_code == 202
    refused = platform.decide("carl", one, "approve")
    assert refused.status_code == 400 and "has changed since the request" in refused.json()["detail"]
    assert platform.decide("carl", other, "approve").status_code == 202
    assert platform.newest().overrides == {LIMIT: "6", "feedback.horizon_bars": "50"}


def test_a_request_expires(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    request_id = platform.request("ann", {LIMIT: 5})
    monkeypatch.setattr("api.release_approvals.VALID_S", 0)
    assert platform.open_requests() == []
    assert platform.decide("bob", request_id, "approve").status_code == 404


def test_an_invalid_change_is_rejected_before_anybody_must_approve_it(platform: Platform) -> None:
    unknown = platform.patch("ann", {"risk_manager.max_ordr_notional": 5})
    assert unknown.status_code == 400 and "did you mean max_order_notional" in unknown.json()["detail"]
    fixed = platform.patch("ann", {"risk_manager.approvals": []})
    assert fixed.status_code == 400 and "takes effect only at a restart" in fixed.json()["detail"]
    body = {"set": {LIMIT: 5}, "unset": [LIMIT], "reason": "both"}
    both = platform.client.patch(API, headers=platform.headers("ann"), json=body)
    assert both.status_code == 400 and f"sets and unsets {LIMIT}" in both.json()["detail"]
    assert platform.open_requests() == []


def test_a_change_on_the_host_needs_a_second_person_too(platform: Platform) -> None:
    def run(*arguments: str) -> Any:
        return cli(platform.home, "config", *arguments, **platform.environment)

    asked = run("set", f"{LIMIT}=4000", "--reason", "earnings")
    assert asked.returncode == 0 and "another person must approve it: config approve cmd-" in asked.stdout, asked.stderr
    platform.store()
    [request_id] = platform.open_requests()
    assert request_id in asked.stdout
    listed = run("requests").stdout
    assert request_id in listed and f"{LIMIT}=4000" in listed and f"host:{getpass.getuser()}" in listed
    own = run("approve", request_id)
    assert own.returncode == 1 and "Another person must approve it" in own.stderr
    withdrawn = run("reject", request_id, "--reason", "not needed")
    assert withdrawn.returncode == 0, withdrawn.stderr
    platform.store()
    assert run("requests").stdout == "no requests\n"

    by_ann = platform.request("ann", {LIMIT: 4100})
    approved = run("approve", by_ann)
    assert approved.returncode == 0 and "published config-2" in approved.stdout, approved.stderr
    again = run("approve", by_ann)
    assert again.returncode == 1 and "has approved it" in again.stderr
    platform.store()
    assert f"host:{getpass.getuser()} (requested by ann)" in run("history").stdout


def test_a_repeated_key_returns_the_same_request(platform: Platform) -> None:
    first, again = (platform.patch("ann", {LIMIT: 5}, key="k1").json() for _ in range(2))
    assert first == again and platform.open_requests() == [first["request_id"]]
    assert platform.patch("ann", {LIMIT: 6}, key="k1").status_code == 409
    assert platform.decide("bob", first["request_id"], "approve").status_code == 202
    assert platform.patch("ann", {LIMIT: 5}, key="k1").json() == first, "also after the setting has changed"


@pytest.mark.parametrize("platform", ["[]"], indirect=True)
def test_a_retry_with_the_same_key_changes_the_settings_once(platform: Platform) -> None:
    first = platform.patch("ann", {LIMIT: 5}, key="k1")
    assert first.status_code == 202 and first.json()["status"] == "PENDING", first.text
    assert platform.patch("bob", {LIMIT: 6}).json()["configuration_id"] == "config-3"
    assert platform.patch("ann", {LIMIT: 5}, key="k1").json() == first.json(), "bob's change stays in force"
    assert platform.newest().overrides == {LIMIT: "6"}
    with platform.client.app.state.resources.engine.begin() as db:  # type: ignore[attr-defined]
        db.execute(update(submissions).values(acknowledged=False))  # the API was killed before it stored the result
    assert platform.patch("ann", {LIMIT: 5}, key="k1").json() == first.json()
    other = platform.patch("ann", {LIMIT: 7}, key="k1")
    assert other.status_code == 409 and "was used for a different request" in other.json()["detail"]

    same = platform.patch("ann", {LIMIT: 6}, key="k2").json()
    assert (same["configuration_id"], same["status"]) == ("config-3", "UNCHANGED")
    assert platform.patch("bob", {LIMIT: 8}).json()["configuration_id"] == "config-4"
    assert platform.patch("ann", {LIMIT: 6}, key="k2").json() == same, "a retry does not undo bob's change"
    assert platform.newest().overrides == {LIMIT: "8"}


def test_a_start_drops_an_override_that_the_file_makes_invalid_and_records_why(
    platform: Platform, tmp_path: Path
) -> None:
    """A start is the act of one person, also where a change needs two."""
    capital = "signals.strategies.ema_cross.capital"
    request_id = platform.request("ann", {capital: "0.5", LIMIT: 5})
    assert platform.decide("bob", request_id, "approve").status_code == 202
    edited = with_overrides(platform.settings, {"signals.strategies": "[]"})
    record = record_start(edited, "1.0", platform.home / "secrets" / FOLDER)
    assert record is not None and record.overrides == {LIMIT: "5"} and list(record.dropped) == [capital]
    assert platform.newest() == record, "the reader of the log accepts it"
    log = tmp_path / "initialize.log"
    log.write_text("\n".join(["tables ready", *dropped_lines(record), "done"]))
    [line] = dropped_of_start(log)
    assert line.startswith(f"change at run time dropped: {capital}: unknown strategy ema_cross")
    assert dropped_of_start(tmp_path / "none.log") == []
    platform.store()
    [newest, *_] = platform.client.get(f"{API}/history", headers=platform.headers("ann")).json()
    assert newest["dropped"] == record.dropped and newest["requested_by"] is None
    assert record_start(edited, "1.0", platform.home / "secrets" / FOLDER) is None


def test_the_record_of_a_start_follows_an_approval_at_the_same_time(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the services would run with the old settings file, and the start would not notice it."""
    request_id, send, answers = platform.request("ann", {LIMIT: 5}), CommandLog.send, list[int]()

    def send_after_approval(log: CommandLog, record: Any) -> None:
        if not answers and type(record) is Configuration and record.reason == START_REASON:
            answers.append(0)
            answers.append(platform.decide("bob", request_id, "approve").status_code)
        send(log, record)

    monkeypatch.setattr(CommandLog, "send", send_after_approval)
    edited = with_overrides(platform.settings, {"portfolio_manager.tick_size": '"0.05"'})
    record = record_start(edited, "1.0", platform.home / "secrets" / FOLDER)
    assert answers == [0, 202]
    assert record is not None and (record.number, record.overrides) == (3, {LIMIT: "5"})
    assert platform.newest() == record and '"tick_size":"0.05"' in record.settings


def test_an_applied_request_cannot_be_rejected_before_risk_has_stored_it(platform: Platform) -> None:
    """The rejection would state that nothing changes."""
    request_id = platform.request("ann", {LIMIT: 5})
    assert platform.decide("bob", request_id, "approve").status_code == 202
    refused = platform.decide("carl", request_id, "reject")
    assert refused.status_code == 409 and "bob has approved it" in refused.json()["detail"], refused.text
    on_host = cli(platform.home, "config", "reject", request_id, "--reason", "late", **platform.environment)
    assert on_host.returncode == 1 and "is closed: bob has approved it" in on_host.stderr


def test_of_two_approvals_at_the_same_time_one_counts(platform: Platform) -> None:
    request_id = platform.request("ann", {LIMIT: 5})
    for name in ("bob", "carl"):
        platform.headers(name)  # the users exist before the race
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda name: platform.decide(name, request_id, "approve"), ("bob", "carl")))
    assert sorted(answer.status_code for answer in answers) == [202, 409], [answer.text for answer in answers]
    record = platform.newest()
    assert (record.number, record.request_id) == (2, request_id)
    [approved] = [answer.json() for answer in answers if answer.status_code == 202]
    assert approved["approved_by"] == record.actor


@pytest.mark.parametrize("platform", ["[]"], indirect=True)
def test_two_retries_at_the_same_time_change_the_settings_once(platform: Platform) -> None:
    platform.headers("ann")
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: platform.patch("ann", {LIMIT: 5}, key="k1"), range(2)))
    assert [answer.status_code for answer in answers] == [202, 202], [answer.text for answer in answers]
    assert answers[0].json() == answers[1].json() and platform.newest().number == 2

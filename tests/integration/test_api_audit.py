"""Pages of the audit log, against the commands in the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.roles import Role
from configs.settings import load_settings
from schemas.records import CANCEL_ORDER, SUBMIT_ORDER
from sinks.postgres import PostgresWriter
from tests.builders import command
from tests.integration.api_users import log_in

T0 = 1_705_314_600_000_000_000
AT_ONCE = tuple(f"cmd-{number}" for number in range(7))
# A script sends seven commands in one instant, between two others.
COMMANDS = [
    command("cmd-z", T0 - 1, SUBMIT_ORDER, actor="ann"),
    *(command(one, T0, CANCEL_ORDER if one == "cmd-3" else SUBMIT_ORDER, actor="script") for one in AT_ONCE),
    command("cmd-a", T0 + 1, SUBMIT_ORDER, actor="ann"),
]


@pytest.fixture(scope="module")
def client(database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    writer = PostgresWriter(database_url, name="test")
    writer.write(list(COMMANDS))
    writer.close()
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    app = create_app(load_settings(environment=environment), home=tmp_path_factory.mktemp("home"))
    with TestClient(app) as client:
        yield log_in(client, Role.ADMIN)


def get(client: TestClient, status: int = 200, **query: Any) -> Any:
    response = client.get("/api/v1/audit", params=query)
    assert response.status_code == status, response.text
    return response.json()


def all_pages(client: TestClient, **query: Any) -> list[str]:
    shown, page = [], get(client, **query)
    while True:
        assert len(page["commands"]) <= query["limit"]
        shown += [one["command_id"] for one in page["commands"]]
        if page["next"] is None:
            return shown
        page = get(client, before=page["next"], **query)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 8, 9, 500])
def test_commands_of_one_instant_are_paged_without_loss_or_repetition(client: TestClient, limit: int) -> None:
    assert all_pages(client, limit=limit) == ["cmd-a", *reversed(AT_ONCE), "cmd-z"]


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_filter_holds_on_every_page(client: TestClient, limit: int) -> None:
    expected = [one for one in reversed(AT_ONCE) if one != "cmd-3"]
    assert all_pages(client, limit=limit, actor="script", kind=SUBMIT_ORDER) == expected


def test_a_time_alone_starts_with_the_commands_before_it(client: TestClient) -> None:
    """As `next` of earlier releases."""
    assert [one["command_id"] for one in get(client, before=T0)["commands"]] == ["cmd-z"]
    assert [one["command_id"] for one in get(client, before=T0 + 1, limit=1)["commands"]] == [AT_ONCE[-1]]


@pytest.mark.parametrize("before", ["yesterday", "-1", f"{2**63}", "x:cmd-1"])
def test_a_value_that_is_no_next_of_a_page_is_rejected(client: TestClient, before: str) -> None:
    assert "before must be `next` of a page" in get(client, 400, before=before)["detail"]

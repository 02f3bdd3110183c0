"""The state of the system in the API: feed, processes and checks from the files of a state folder; waiting orders."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.order_progress import ORDER_PATH
from configs.settings import load_settings
from schemas.records import NEW
from sinks.postgres import PostgresWriter
from tests.builders import order, report
from tests.integration.api_users import log_in

T0 = 1_705_314_600_000_000_000  # 2024-01-15T10:30:00Z
REPORT_AHEAD_S, STATE_AHEAD_S = 3600.0, 10.0
"""Reports carry a later time than now, so that they do not become stale while a slow test runs. A state of the
supervisor that is more than 15 s ahead counts as invalid."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    for name in ("stats", "checks"):
        (folder / "run" / name).mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def client(database_url: str, redis_url: str, home: Path) -> Iterator[TestClient]:
    servers = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    settings = load_settings(environment=servers)
    writer = PostgresWriter(settings.database.postgres.url, name="test")
    waiting, accepted = order(1, ts_ns=T0), order(2, ts_ns=T0)
    writer.write([waiting, accepted, report(1, accepted, NEW, ts_ns=T0)])
    writer.close()
    with TestClient(create_app(settings, home=home)) as client:
        yield log_in(client)


@pytest.fixture(autouse=True)
def _healthy(home: Path) -> None:
    for name in ORDER_PATH:
        write_report(home, name)
    (home / "run" / "state.json").unlink(missing_ok=True)
    for path in (home / "run" / "checks").iterdir():
        path.unlink()


def write_report(home: Path, service: str, age_s: float = -REPORT_AHEAD_S, **values: Any) -> None:
    now = time.time()
    row = {"service": service, "updated_at": now - age_s, "moved_at": now, "last_tick_ns": T0 + 1, **values}
    (home / "run" / "stats" / f"{service}.json").write_text(json.dumps(row))


def system(client: TestClient) -> Any:
    response = client.get("/api/v1/system")
    assert response.status_code == 200, response.text
    return response.json()


def test_the_feed_is_live_until_its_files_end(client: TestClient, home: Path) -> None:
    assert system(client)["feed"]["state"] == "live"
    # A feed that has finished sends no more reports. That is not a failure.
    write_report(home, "market_data", 600.0, moved_at=T0 / 1e9, feed_finished=True)
    feed = system(client)["feed"]
    assert feed == {"state": "finished", "event_time": "2024-01-15T10:30:00Z", "last_slice_at": "2024-01-15T10:30:00Z"}
    write_report(home, "market_data", 600.0)
    assert system(client)["feed"]["state"] == "down"
    write_report(home, "market_data", moved_at=time.time() - 600)
    assert system(client)["feed"]["state"] == "idle", "the market of the simulator is always open"
    (home / "run" / "stats" / "market_data.json").unlink()
    assert system(client)["feed"] == {"state": "down", "event_time": None, "last_slice_at": None}


def test_a_crash_loop_names_its_service_and_the_reason(client: TestClient, home: Path) -> None:
    assert system(client)["processes"] == [], "no supervisor reports"
    reason = "crash loop: exited with status 1; last log entry: no such file"
    children = [
        {"name": "risk", "status": "failed", "restarts": 6, "reason": reason},
        {"name": "api", "status": "healthy", "restarts": 0, "reason": None},
        {"name": "news", "status": "backing off", "restarts": 1, "reason": "exited with status 1"},
    ]
    (home / "run" / "state.json").write_text(
        json.dumps({"updated_at": time.time() + STATE_AHEAD_S, "children": children})
    )
    processes = system(client)["processes"]
    assert [(row["name"], row["crash_loop"], row["restarts"]) for row in processes] == [
        ("api", False, 0),
        ("news", False, 1),
        ("risk", True, 6),
    ]
    assert processes[2]["reason"] == reason
    [waiting] = [row for row in orders(client) if row["status"] == "PENDING"]
    assert waiting["waiting_for"] == {
        "cause": "service_down",
        "service": "risk",
        "text": "risk is in a crash loop and is not restarted.",
    }


def test_each_check_has_its_last_run_result_findings_and_delay(client: TestClient, home: Path) -> None:
    def write(name: str, **values: Any) -> None:
        row = {"name": name, "finished_at": T0 / 1e9, "duration_s": 3.25, "message": "", **values}
        (home / "run" / "checks" / f"{name}.json").write_text(json.dumps(row))

    assert [(row["name"], row["result"], row["finished_at"]) for row in system(client)["checks"]] == [
        ("archive", "none", None),
        ("checkpoint", "none", None),
        ("replay_check", "none", None),
        ("verify", "none", None),
    ]
    write("verify", ok=False, counts={"checks": 31, "findings": 2}, message="positions of AAPL differ")
    write("replay_check", ok=False, counts={}, message="no connection")
    now = time.time()
    checks = {"name": "checks", "status": "healthy", "restarts": 0, "process_started_at": now - 7200}
    (home / "run" / "state.json").write_text(json.dumps({"updated_at": now + STATE_AHEAD_S, "children": [checks]}))
    *_, replay_check, verify = system(client)["checks"]
    assert (
        verify.items()
        >= {
            "result": "differences",
            "finished_at": "2024-01-15T10:30:00Z",
            "duration_s": 3.25,
            "counts": {"checks": 31, "findings": 2},
            "message": "positions of AAPL differ",
        }.items()
    )
    assert verify["overdue_s"] == pytest.approx(7200 - 300 - 600, abs=60)
    assert (replay_check["result"], replay_check["message"]) == ("error", "no connection")
    write("verify", ok=True, counts={"checks": 31, "findings": 0})
    assert system(client)["checks"][3]["result"] == "passed"


def orders(client: TestClient) -> list[dict[str, Any]]:
    response = client.get("/api/v1/orders")
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = response.json()["orders"]
    return rows


def test_open_orders_say_what_they_wait_for(client: TestClient, home: Path) -> None:
    accepted, waiting = orders(client)
    assert (waiting["status"], accepted["status"]) == ("PENDING", "ACCEPTED")
    assert accepted["waiting_for"]["cause"] == "next_bar"
    write_report(home, "execution", last_tick_ns=T0)
    assert orders(client)[1]["waiting_for"]["cause"] == "next_slice"
    write_report(home, "portfolio", 60.0)
    detail = client.get(f"/api/v1/orders/{waiting['order_id']}").json()
    assert (detail["waiting_for"]["cause"], detail["waiting_for"]["service"]) == ("service_down", "portfolio")
    write_report(home, "market_data", 600.0, feed_finished=True)
    assert {row["waiting_for"]["cause"] for row in orders(client)} == {"feed_finished"}

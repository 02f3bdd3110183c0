"""Halts, trading hours and the user's own data in the API and on the command line, against the rows in the tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Connection

from api.app import create_app
from configs.settings import Settings, load_settings
from deploy.commands import reference
from schemas.errors import BadInput
from schemas.records import HALTED, TRADING, Record
from sinks.database import open_engine
from sinks.postgres import PostgresWriter
from tests.builders import data_row, trading_session, trading_status
from tests.integration.api_users import log_in

T0 = 1_705_314_600_000_000_000  # 2024-01-15T10:30:00Z
# Trading of the whole market halts at once, so that many records have one time.
RECORDS: list[Record] = [
    *(trading_status(symbol, HALTED, T0, code="MWC1", reason="market-wide halt") for symbol in ("AAPL", "KO", "PEP")),
    trading_status("KO", TRADING, T0 + 900_000_000_000, code="", reason=""),
    trading_session(20240702, ts_ns=T0),
    trading_session(20240703, ts_ns=T0),
    trading_session(20240703, ts_ns=T0 + 5, close="13:00"),
    data_row("data-1", T0, "vix", close=14.1),
    data_row("data-2", T0, "short_interest", "KO", shares=2e6, share=float("nan")),
    data_row("data-3", T0 + 60_000_000_000, "vix", close=14.5, change=0.4),
]


@pytest.fixture(scope="module")
def loaded(database_url: str, redis_url: str) -> Settings:
    """Settings of a database with the records, some of them written twice, as after a crash."""
    writer = PostgresWriter(database_url, name="test")
    for batch in (RECORDS, RECORDS[5:6], RECORDS[5:]):
        writer.write(batch)
    writer.close()
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    return load_settings(environment=environment)


@pytest.fixture(scope="module")
def client(loaded: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(create_app(loaded, home=tmp_path_factory.mktemp("home"))) as client:
        yield log_in(client)


@pytest.fixture
def command_line(loaded: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def tables(_: Any) -> Iterator[tuple[Settings, Connection]]:
        with open_engine(loaded.database.postgres.url).connect() as db:
            yield loaded, db

    monkeypatch.setattr(reference, "open_tables", tables)


def get(client: TestClient, path: str, status: int = 200) -> Any:
    response = client.get(f"/api/v1{path}")
    assert response.status_code == status, response.text
    return response.json()


def test_halts_of_one_time_are_paged_without_loss_and_filtered(client: TestClient) -> None:
    shown, path = [], "/market/halts?limit=1"
    while True:
        page = get(client, path)
        shown += [(one["symbol"], one["state"]) for one in page["halts"]]
        if page["next"] is None:
            break
        path = f"/market/halts?limit=1&before={page['next']}"
    assert shown == [("KO", TRADING), ("PEP", HALTED), ("KO", HALTED), ("AAPL", HALTED)]
    (resumed,) = get(client, "/market/halts?symbol=KO&state=TRADING")["halts"]
    assert (resumed["timestamp"], resumed["code"]) == ("2024-01-15T10:45:00Z", "")
    assert get(client, "/market/halts?symbol=GE") == {"halts": [], "next": None}
    for wrong in ("state=OPEN", "symbols=KO", "limit=501"):
        get(client, f"/market/halts?{wrong}", 422)
    detail = get(client, "/market/halts?before=yesterday", 400)["detail"]
    assert "before must be `next` of a page" in detail and "'yesterday'" in detail


def test_a_session_has_the_hours_that_were_published_last(client: TestClient) -> None:
    page = get(client, "/market/sessions?limit=1")
    (early,) = page["sessions"]
    assert (early["day"], early["close_time"], early["early_close"]) == ("2024-07-03", "2024-07-03T17:00:00Z", True)
    (full,) = get(client, f"/market/sessions?before={page['next']}")["sessions"]
    assert (full["day"], full["open_time"], full["early_close"]) == ("2024-07-02", "2024-07-02T13:30:00Z", False)
    assert get(client, "/market/sessions?calendar=24/7")["sessions"] == []


def test_rows_of_own_data_are_filtered_by_name_and_symbol(client: TestClient) -> None:
    rows = get(client, "/data-rows")["rows"]
    assert [one["row_id"] for one in rows] == ["data-3", "data-2", "data-1"]
    assert [one["values"] for one in get(client, "/data-rows?name=vix&limit=1")["rows"]] == [
        {"close": 14.5, "change": 0.4}
    ]
    (row,) = get(client, "/data-rows?symbol=KO")["rows"]
    assert row["values"] == {"shares": 2e6, "share": None}, "JSON has no NaN"


@pytest.mark.usefixtures("command_line")
def test_the_commands_list_the_same_records(capsys: pytest.CaptureFixture[str]) -> None:
    reference.halts(symbol="KO")
    reference.sessions()
    reference.data()
    assert capsys.readouterr().out.splitlines() == [
        "2024-01-15 10:45:00  TRADING  KO",
        "2024-01-15 10:30:00  HALTED   KO  MWC1 market-wide halt",
        "XNYS  2024-07-03  2024-07-03 13:30:00 to 2024-07-03 17:00:00 UTC  early close",
        "XNYS  2024-07-02  2024-07-02 13:30:00 to 2024-07-02 20:00:00 UTC",
        "2024-01-15 10:31:00  vix  close 14.5, change 0.4",
        "2024-01-15 10:30:00  short_interest KO  share -, shares 2e+06",
        "2024-01-15 10:30:00  vix  close 14.1",
    ]
    reference.halts(symbol="GE")
    reference.sessions(calendar="24/7")
    reference.data(name="gold")
    assert capsys.readouterr().out.splitlines() == ["no halts", "no trading hours are recorded", "no rows"]
    reference.data(limit=1, as_json=True)
    page = json.loads(capsys.readouterr().out)
    reference.data(before=page["next"], limit=1, as_json=True)
    assert [one["row_id"] for one in json.loads(capsys.readouterr().out)["rows"]] == ["data-2"]
    with pytest.raises(BadInput, match="--state must be HALTED or TRADING, found 'open'"):
        reference.halts(state="open")

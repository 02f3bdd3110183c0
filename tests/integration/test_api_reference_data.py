"""Reference data and the user's own data in the API and on the command line, against the rows in the tables."""

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
from tests.builders import corporate_action, data_row, exchange_rate, trading_session, trading_status
from tests.integration.api_users import log_in

T0 = 1_705_314_600_000_000_000  # 2024-01-15T10:30:00Z
# Trading of the whole market halts at once, so that many records have one time.
RECORDS: list[Record] = [
    *(trading_status(symbol, HALTED, T0, code="MWC1", reason="market-wide halt") for symbol in ("AAPL", "KO", "PEP")),
    trading_status("KO", TRADING, T0 + 900_000_000_000, code="", reason=""),
    trading_session(20240702, ts_ns=T0),
    trading_session(20240703, ts_ns=T0),
    trading_session(20240703, ts_ns=T0 + 5, close="13:00"),
    # Two splits and a merger become known at once, as from a file of one day.
    corporate_action("act-1", "SPLIT", "KO", ts_ns=T0, ex_date=20240116, ratio="0.333333333", amount="61.5"),
    corporate_action("act-2", "SPLIT", "PEP", ts_ns=T0, ex_date=20240117, ratio=4),
    corporate_action(
        "act-3", "STOCK_MERGER", "GE", ts_ns=T0, ratio="0.5", amount=60, new_symbol="KO", cash_per_share=2
    ),
    corporate_action("act-4", "CASH_DIVIDEND", "KO", ts_ns=T0 + 7, ex_date=20240120, pay_date=20240131, amount="0.46"),
    exchange_rate("rate-1", "1.08", ts_ns=T0),
    exchange_rate("rate-2", "1.0925", ts_ns=T0 + 60_000_000_000),
    exchange_rate("rate-3", "0.0069", ts_ns=T0)._replace(base="JPY"),
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


def all_pages(client: TestClient, path: str, rows: str, limit: int = 1) -> list[dict[str, Any]]:
    """Return the rows of a list, page by page."""
    shown, page = [], get(client, f"{path}?limit={limit}")
    shown += page[rows]
    while page["next"] is not None:
        page = get(client, f"{path}?limit={limit}&before={page['next']}")
        assert len(page[rows]) <= limit
        shown += page[rows]
    return shown


def test_halts_of_one_time_are_paged_without_loss_and_filtered(client: TestClient) -> None:
    shown = [(one["symbol"], one["state"]) for one in all_pages(client, "/market/halts", "halts")]
    assert shown == [("KO", TRADING), ("PEP", HALTED), ("KO", HALTED), ("AAPL", HALTED)]
    (resumed,) = get(client, "/market/halts?symbol=KO&state=TRADING")["halts"]
    assert (resumed["timestamp"], resumed["code"]) == ("2024-01-15T10:45:00Z", "")
    assert get(client, "/market/halts?symbol=GE") == {"halts": [], "next": None}
    for wrong in ("state=OPEN", "symbols=KO", "limit=501"):
        get(client, f"/market/halts?{wrong}", 422)
    detail = get(client, "/market/halts?before=yesterday", 400)["detail"]
    assert "before must be `next` of a page" in detail and "'yesterday'" in detail


def test_corporate_actions_of_one_time_are_paged_without_loss_and_filtered(client: TestClient) -> None:
    path = "/reference/corporate-actions"
    for limit in (1, 2, 3, 4, 500):
        shown = [one["action_id"] for one in all_pages(client, path, "actions", limit)]
        assert shown == ["act-4", "act-3", "act-2", "act-1"]
    page = get(client, f"{path}?symbol=KO&kind=SPLIT")
    assert page == {
        "actions": [
            {
                "action_id": "act-1",
                "timestamp": "2024-01-15T10:30:00Z",
                "kind": "SPLIT",
                "symbol": "KO",
                "ex_date": "2024-01-16",
                "pay_date": None,
                "ratio": 0.333333333,
                "amount": 61.5,
                "currency": "USD",
                "new_symbol": "",
                "cost_share": None,
                "cash_per_share": None,
                "source": "test",
            }
        ],
        "next": None,
    }
    to_ko = get(client, f"{path}?symbol=KO")["actions"]
    assert [(one["action_id"], one["symbol"]) for one in to_ko] == [("act-4", "KO"), ("act-3", "GE"), ("act-1", "KO")]
    assert (to_ko[0]["pay_date"], to_ko[1]["ex_date"], to_ko[1]["cash_per_share"]) == ("2024-01-31", None, 2)
    assert get(client, f"{path}?symbol=AAPL") == {"actions": [], "next": None}
    for wrong in ("kind=split", "symbols=KO", "limit=0"):
        get(client, f"{path}?{wrong}", 422)
    get(client, f"{path}?before=act-1", 400)


def test_exchange_rates_are_paged_and_filtered_by_currency(client: TestClient) -> None:
    path = "/reference/exchange-rates"
    shown = [(one["rate_id"], one["base"], one["rate"]) for one in all_pages(client, path, "rates")]
    assert shown == [("rate-2", "EUR", 1.0925), ("rate-3", "JPY", 0.0069), ("rate-1", "EUR", 1.08)]
    (newest,) = get(client, f"{path}?base=EUR&quote=USD&limit=1")["rates"]
    assert (newest["timestamp"], newest["quote"], newest["source"]) == ("2024-01-15T10:31:00Z", "USD", "test")
    assert get(client, f"{path}?quote=EUR") == {"rates": [], "next": None}


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
    reference.actions(symbol="KO")
    reference.rates(base="EUR")
    assert capsys.readouterr().out.splitlines() == [
        "2024-01-15 10:45:00  TRADING  KO",
        "2024-01-15 10:30:00  HALTED   KO  MWC1 market-wide halt",
        "XNYS  2024-07-03  2024-07-03 13:30:00 to 2024-07-03 17:00:00 UTC  early close",
        "XNYS  2024-07-02  2024-07-02 13:30:00 to 2024-07-02 20:00:00 UTC",
        "2024-01-15 10:31:00  vix  close 14.5, change 0.4",
        "2024-01-15 10:30:00  short_interest KO  share -, shares 2e+06",
        "2024-01-15 10:30:00  vix  close 14.1",
        "2024-01-15 10:30:00  CASH_DIVIDEND KO from 2024-01-20  amount 0.46",
        "2024-01-15 10:30:00  STOCK_MERGER GE to KO from now  ratio 0.5, amount 60, cash_per_share 2",
        "2024-01-15 10:30:00  SPLIT KO from 2024-01-16  ratio 0.333333333, amount 61.5",
        "2024-01-15 10:31:00  1 EUR = 1.0925 USD",
        "2024-01-15 10:30:00  1 EUR = 1.08 USD",
    ]
    reference.halts(symbol="GE")
    reference.sessions(calendar="24/7")
    reference.data(name="gold")
    reference.actions(kind="RIGHTS")
    reference.rates(quote="EUR")
    assert capsys.readouterr().out.splitlines() == [
        "no halts",
        "no trading hours are recorded",
        "no rows",
        "no corporate actions",
        "no exchange rates",
    ]
    reference.data(limit=1, as_json=True)
    page = json.loads(capsys.readouterr().out)
    reference.data(before=page["next"], limit=1, as_json=True)
    assert [one["row_id"] for one in json.loads(capsys.readouterr().out)["rows"]] == ["data-2"]
    with pytest.raises(BadInput, match="--state must be HALTED or TRADING, found 'open'"):
        reference.halts(state="open")
    with pytest.raises(BadInput, match=r"--kind must be one of SPLIT, .* found 'split'"):
        reference.actions(kind="split")
    reference.actions(limit=1, as_json=True)
    page = json.loads(capsys.readouterr().out)
    reference.actions(before=page["next"], limit=1, as_json=True)
    assert [one["action_id"] for one in json.loads(capsys.readouterr().out)["actions"]] == ["act-3"]

"""Headlines, scores and filings through the API, against the rows in the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, text

from api.app import create_app
from api.routers.news import news_query
from configs.settings import load_settings
from schemas.records import Record
from sinks.database import open_engine
from sinks.postgres import PostgresWriter
from tests.builders import fundamentals, news_item, sentiment_score
from tests.integration.api_users import log_in

T0 = 1_705_314_600_000_000_000  # 2024-01-15T10:30:00Z
RECORDS: list[Record] = [
    *(
        news_item(f"news-{n}", T0 + n, ["AAPL", "X"] if n % 2 else ["MSFT"], headline=f"Headline {n}", published_ns=T0)
        for n in range(5)
    ),
    *(
        sentiment_score(n, T0 + n, "AAPL", confidence=0.25, news_id=f"news-{n if n < 3 else 99}", parts={"pos": 1.0})
        for n in range(1, 4)
    ),
    fundamentals("fund-1", T0, facts={"eps": 6.0}, ratios={"net_margin": 0.25}, period_end=20230930, filed=20231103),
    fundamentals("fund-2", T0, facts={"eps": 6.5}, period_end=20231231, filed=20240202, form="10-Q"),
]


@pytest.fixture(scope="module")
def client(database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    writer = PostgresWriter(database_url, name="test")
    writer.write(RECORDS)
    writer.close()
    with TestClient(create_app(load_settings(environment=environment), home=tmp_path_factory.mktemp("home"))) as client:
        yield log_in(client)


def get(client: TestClient, path: str, status: int = 200) -> Any:
    response = client.get(f"/api/v1{path}")
    assert response.status_code == status, response.text
    return response.json()


def test_headlines_come_newest_first_and_by_symbol(client: TestClient) -> None:
    assert [item["headline"] for item in get(client, "/news")] == [f"Headline {n}" for n in (4, 3, 2, 1, 0)]
    aapl_news = get(client, "/news?symbol=AAPL&limit=1")
    assert [(item["id"], item["symbols"]) for item in aapl_news] == [("news-3", ["AAPL", "X"])]
    assert aapl_news[0]["published"] == "2024-01-15T10:30:00Z"
    assert get(client, "/news?symbol=NONE") == []
    get(client, "/news?limit=0", 422)


def test_scores_come_with_their_headlines(client: TestClient) -> None:
    scores = get(client, "/sentiment/AAPL")
    assert [(score["id"], score["headline"]) for score in scores] == [
        ("sent-3", None),
        ("sent-2", "Headline 2"),
        ("sent-1", "Headline 1"),
    ]
    assert scores[0]["parts"] == {"pos": 1.0}
    assert get(client, "/sentiment/NONE") == []


def test_filings_come_last_filed_first(client: TestClient) -> None:
    filings = get(client, "/fundamentals/AAPL")
    assert [(filing["filed"], filing["facts"]) for filing in filings] == [
        ("2024-02-02", {"eps": 6.5}),
        ("2023-11-03", {"eps": 6.0}),
    ]
    assert get(client, "/fundamentals/NONE", 404)["detail"] == "No filings for NONE."


def test_the_news_query_of_a_symbol_uses_an_index(make_database: Callable[[], str]) -> None:
    engine = open_engine(make_database())
    with engine.begin() as db:
        db.execute(
            text(
                "INSERT INTO news (news_id, ts_ns, published_ns, source, headline, summary, url, symbols)"
                " SELECT 'news-' || n, n, n, 's', 'Headline ' || n, '', '',"
                " jsonb_build_array('S' || n % 200, CASE WHEN n % 20000 = 7 THEN 'RARE' ELSE 'T' || n % 300 END)"
                " FROM generate_series(1, 100000) n"
            )
        )
        db.execute(text("ANALYZE news"))
    statements: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append((given[2], given[3])))
    with engine.connect() as db:
        for symbol, first in (("RARE", "news-80007"), ("S7", "news-99807"), ("NONE", None)):
            query = news_query(symbol, 50)
            row = db.execute(query).mappings().first()
            assert (None if row is None else row["news_id"]) == first
            (plan,) = db.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statements[-1][0]}", statements[-1][1]).scalar_one()
            # For a symbol with frequent news, a backward scan by time is also fast: table statistics decide.
            assert "ix_news_symbols" in str(plan) or (symbol == "S7" and "ix_news_ts_ns" in str(plan)), str(plan)
            assert "Seq Scan" not in str(plan), str(plan)
    engine.dispose()

"""The first step of a restarted edge service: store all records of its topic in the table and return their ids."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from configs.settings import load_settings
from dataflows.runtime import live_endpoints
from dataflows.runtime.stats import Stats
from dataflows.sources.topic_tail import stored_ids_reader
from operators.stage import TimeSlice
from schemas.errors import Unavailable
from sinks.postgres import PostgresWriter
from tests.builders import news_item
from tests.integration.recorded_platform import kafka_settings, make_topics, write

ITEMS = [news_item(f"news-{number}", number, published_ns=1) for number in range(3)]


def make_ends(database_url: str) -> live_endpoints.ServiceEndpoints:
    settings = load_settings(environment={})
    postgres = settings.database.postgres.model_copy(update={"url": database_url, "retry_s": 0.5})
    database = settings.database.model_copy(update={"postgres": postgres})
    return live_endpoints.ServiceEndpoints(
        settings.model_copy(update={"database": database}), Stats("news", None), {}, None, {}, {}
    )


def test_published_but_unstored_records_are_stored_once(kafka: str, make_database: Callable[[], str]) -> None:
    prefix, url = make_topics(kafka), make_database()
    write(kafka, prefix, [TimeSlice(60, ITEMS)], ["news"])
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(ITEMS[:1])  # a crash after the first of three records
    live_ends = make_ends(url)
    read_ids = stored_ids_reader(
        kafka_settings(live_ends.settings, kafka, prefix), "news", live_endpoints.table_store(live_ends, "news")
    )
    for _ in range(2):
        assert read_ids() == [item.news_id for item in ITEMS]
        with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT news_id, ts_ns FROM news ORDER BY ts_ns")
            assert cursor.fetchall() == [(item.news_id, item.ts_ns) for item in ITEMS]


def test_without_postgres_no_id_counts_as_stored(kafka: str) -> None:
    prefix = make_topics(kafka)
    write(kafka, prefix, [TimeSlice(60, ITEMS)], ["news"])
    live_ends = make_ends("postgresql://nobody@127.0.0.1:9/none")
    read_ids: Any = stored_ids_reader(
        kafka_settings(live_ends.settings, kafka, prefix), "news", live_endpoints.table_store(live_ends, "news")
    )
    with pytest.raises(Unavailable, match="Postgres accepted no batch"):
        read_ids()

"""What an edge does first when it is started again: all that stands in its topic is in its table, and known by id."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from configs.settings import load_settings
from dataflows.runtime import live
from dataflows.runtime.stats import Stats
from dataflows.sources.topic_tail import ids_once_stored
from operators.stage import Tick
from schemas.errors import Unavailable
from schemas.records import NewsItem
from sinks.postgres import PostgresWriter
from tests.integration.recorded_platform import kafka_settings, make_topics, write

ITEMS = [NewsItem(f"news-{number}", number, 1, "wire", "Profit beats estimates", "", "", ["A"]) for number in range(3)]


def ends(database_url: str) -> live.Ends:
    settings = load_settings(environment={})
    postgres = settings.database.postgres.model_copy(update={"url": database_url, "retry_s": 0.5})
    database = settings.database.model_copy(update={"postgres": postgres})
    return live.Ends(settings.model_copy(update={"database": database}), Stats("news", None), {})


def test_what_was_written_and_not_stored_is_stored_once(kafka: str, make_database: Callable[[], str]) -> None:
    prefix, url = make_topics(kafka), make_database()
    write(kafka, prefix, [Tick(60, ITEMS)], ["news"])
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(ITEMS[:1])  # and then it was killed
    at = ends(url)
    read = ids_once_stored(kafka_settings(at.settings, kafka, prefix), "news", live.store(at, "news"))
    for _ in range(2):
        assert read() == [item.news_id for item in ITEMS]
        with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT news_id, ts_ns FROM news ORDER BY ts_ns")
            assert cursor.fetchall() == [(item.news_id, item.ts_ns) for item in ITEMS]


def test_while_postgres_is_away_nothing_counts_as_known(kafka: str) -> None:
    prefix = make_topics(kafka)
    write(kafka, prefix, [Tick(60, ITEMS)], ["news"])
    at = ends("postgresql://nobody@127.0.0.1:9/none")
    read: Any = ids_once_stored(kafka_settings(at.settings, kafka, prefix), "news", live.store(at, "news"))
    with pytest.raises(Unavailable, match="Postgres took no batch"):
        read()

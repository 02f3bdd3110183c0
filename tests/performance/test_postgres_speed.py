"""The PostgreSQL sink compared with the fastest insert of PostgreSQL, binary COPY, into a table of the same shape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import psycopg

from schemas.records import Bar
from sinks.postgres import PostgresWriter
from tests.builders import bar
from tests.performance.conftest import RecordFigure

BATCH, BATCHES = 1_000, 30
COPY = "COPY raw_bars ({}) FROM STDIN (FORMAT BINARY)"
TYPES = ["text", *["int8"] * 3, *["float8"] * 5, "text", "int8", "bool"]


def make_bars(batch: int) -> list[Bar]:
    out = []
    for number in range(BATCH):
        seq = batch * BATCH + number + 1
        price = 100.0 + number % 37
        symbol = f"S{number % 20:02d}"
        out.append(bar(symbol, seq, seq * 60, price + 0.25, open=price, high=price + 0.5, low=price - 0.5))
    return out


def rows_per_s(write: Callable[[list[Bar]], object], batches: Iterable[int]) -> float:
    record_batches = [make_bars(batch) for batch in batches]
    started = time.perf_counter()
    for batch in record_batches:
        write(batch)
    return BATCH * len(record_batches) / (time.perf_counter() - started)


def test_postgres_sink_throughput_is_close_to_binary_copy(database_url: str, figure: RecordFigure) -> None:
    writer = PostgresWriter(database_url, name="performance")
    columns = ", ".join(f'"{name}"' for name in Bar._fields)
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE raw_bars (LIKE bars INCLUDING ALL)")
        connection.commit()

        def copy(batch: list[Bar]) -> None:
            with connection.cursor() as cursor, cursor.copy(COPY.format(columns)) as into:
                into.set_types(TYPES)
                for bar in batch:
                    into.write_row(bar)
            connection.commit()

        # Alternate the two, so that other load on the machine affects both.
        sink, raw = [], []
        for round_ in range(3):
            batches = range(round_ * BATCHES // 3, (round_ + 1) * BATCHES // 3)
            sink.append(rows_per_s(writer.write, batches))
            raw.append(rows_per_s(copy, batches))
        repeated = rows_per_s(writer.write, range(BATCHES // 3))
        count = connection.execute("SELECT count(*) FROM bars").fetchone()
        copied = connection.execute("SELECT count(*) FROM raw_bars").fetchone()
    writer.close()
    assert count == copied == (BATCH * BATCHES,), "a repeat added rows"
    best, limit = max(sink), max(raw)
    figure(f"Postgres sink, bars in batches of {BATCH:,}", f"{best:,.0f} rows/s new, {repeated:,.0f} rows/s repeated")
    figure("  binary COPY by psycopg 3, the same table", f"{limit:,.0f} rows/s; sink to COPY {best / limit:.2f}")
    assert best > 0.1 * limit

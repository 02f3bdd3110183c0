"""Stream tables as records, so that memory does not grow with the period read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, TypeVar

from psycopg2.extensions import connection as Connection  # noqa: N812  (a class, whatever its name says)

from schemas.records import EXTERNAL_RECORDS, SUSPENDED, Bar, Lot, StrategyAccount, StrategyAction
from schemas.records.flat import field_names
from sinks.record_tables import RECORD_TABLES, record_of

FETCH_ROWS = 2000
R = TypeVar("R", bound=tuple[Any, ...])
_cursor_numbers = count(1)


def stream_records(connection: Connection, kind: type[R], after_seq: int | None = None) -> Iterator[R]:
    """Yield all records of a type in order of `seq` (external records: of time), in the transaction of `connection`.

    With `after_seq`, yield only those with a higher `seq`.
    """
    order_by = f"ts_ns, {field_names(kind)[0]}" if kind in EXTERNAL_RECORDS else "seq"
    where = "" if after_seq is None else f"WHERE seq > {after_seq:d} "
    with connection.cursor(f"reading_{next(_cursor_numbers)}") as cursor:
        cursor.itersize = FETCH_ROWS
        cursor.execute(f"SELECT {_columns(kind)} FROM {RECORD_TABLES[kind].name} {where}ORDER BY {order_by}")  # noqa: S608  (our names)
        for row in cursor:
            yield _record(kind, row)


def stream_suspensions(connection: Connection) -> Iterator[StrategyAction]:
    """Yield the suspensions of trading strategies, in their order."""
    with connection.cursor() as cursor:
        query = f"SELECT {_columns(StrategyAction)} FROM strategy_actions WHERE kind = %s ORDER BY seq"  # noqa: S608
        cursor.execute(query, (SUSPENDED,))
        for row in cursor:
            yield _record(StrategyAction, row)


def symbol_bars(connection: Connection, symbol: str, first_ns: int, last_ns: int) -> Iterator[Bar]:
    """Yield the bars of a symbol that overlap [`first_ns`, `last_ns`], in order of time."""
    with connection.cursor(f"reading_{next(_cursor_numbers)}") as cursor:
        cursor.itersize = FETCH_ROWS
        query = f"SELECT {_columns(Bar)} FROM bars WHERE symbol = %s AND ts_ns > %s AND open_ns <= %s ORDER BY ts_ns"  # noqa: S608
        cursor.execute(query, (symbol, first_ns, last_ns))
        for row in cursor:
            yield _record(Bar, row)


def first_bar_ns(connection: Connection, symbol: str, from_ns: int, from_day: int) -> int | None:
    """Return the time of a symbol's first bar from `from_ns` on whose trading day is `from_day` (yyyymmdd) or later."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT ts_ns FROM bars WHERE symbol = %s AND ts_ns >= %s AND trading_day >= %s ORDER BY ts_ns LIMIT 1",
            (symbol, from_ns, from_day),
        )
        row = cursor.fetchone()
    return None if row is None else int(row[0])


def first_action_slice_ns(connection: Connection, from_ns: int, from_day: int) -> int | None:
    """Return the time of the first bar of any symbol from `from_ns` on, on the trading day `from_day` or later."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(ts_ns) FROM bars WHERE ts_ns >= %s AND trading_day >= %s", (from_ns, from_day))
        row = cursor.fetchone()
    return None if row is None or row[0] is None else int(row[0])


def latest_accounts(connection: Connection) -> list[StrategyAccount]:
    """Return the last sub-account of each trading strategy, by name."""
    with connection.cursor() as cursor:
        columns = _columns(StrategyAccount)
        query = f"SELECT DISTINCT ON (strategy) {columns} FROM strategy_accounts ORDER BY strategy, seq DESC"  # noqa: S608
        cursor.execute(query)
        return [_record(StrategyAccount, row) for row in cursor.fetchall()]


def last_record(connection: Connection, kind: type[R]) -> R | None:
    """Return the record with the highest `seq`, or the latest one of a type without `seq`."""
    order_by = "seq" if "seq" in field_names(kind) else "ts_ns"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_columns(kind)} FROM {RECORD_TABLES[kind].name} ORDER BY {order_by} DESC LIMIT 1")  # noqa: S608
        row = cursor.fetchone()
    return None if row is None else _record(kind, row)


def records_between(
    connection: Connection, kind: type[R], first: int, last: int | None = None, column: str = "ts_ns"
) -> list[R]:
    """Return the records whose `column` (`ts_ns` or `seq`) is in [`first`, `last`], in order of `seq`.

    `last` defaults to `first`.
    """
    assert column in ("ts_ns", "seq"), column
    with connection.cursor() as cursor:
        query = f"SELECT {_columns(kind)} FROM {RECORD_TABLES[kind].name} WHERE {column} BETWEEN %s AND %s ORDER BY seq"  # noqa: S608
        cursor.execute(query, (first, first if last is None else last))
        return [_record(kind, row) for row in cursor.fetchall()]


def open_lots(connection: Connection, upto_seq: int) -> list[Lot]:
    """Return the open lots whose last record has at most this `seq`."""
    with connection.cursor() as cursor:
        query = f"SELECT {_columns(Lot)} FROM lots WHERE quantity <> 0 AND seq <= %s ORDER BY seq"  # noqa: S608
        cursor.execute(query, (upto_seq,))
        return [_record(Lot, row) for row in cursor.fetchall()]


def _columns(kind: Any) -> str:
    return ", ".join(f'"{name}"' for name in field_names(kind))


def _record(kind: Any, row: tuple[Any, ...]) -> Any:
    return record_of(kind, dict(zip(field_names(kind), row, strict=True)))

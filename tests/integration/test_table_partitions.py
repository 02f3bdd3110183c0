"""Tables with a partition for each month: writes, migration, and the export of old months to Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from alembic import command as alembic_command
from pyarrow import parquet

from deploy.archive import table_partitions
from deploy.archive.table_partitions import DAY_NS, PartitionDrop, archive_partitions
from deploy.errors import DeployError
from deploy.supervisor.migrate import create_next_partitions
from schemas.errors import Unavailable
from schemas.records import Bar, Record
from sinks.archive.table_archive import TableArchive
from sinks.archived_partitions import list_archived
from sinks.database import alembic_config
from sinks.partitions import Partition, detached_partitions, read_partitions
from sinks.postgres import PostgresWriter
from sinks.record_tables import MONTHLY_TABLES, RECORD_TABLES, fields_of, record_of
from tests.builders import bar, feature_row, position, prediction, quote, valuation

RETENTION = {"bars": 30, "features": 30, "valuations": 60}
NOW_NS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 10**9


def ns(month: int, day: int = 1) -> int:
    return int(datetime(2025, month, day, tzinfo=UTC).timestamp()) * 10**9


def write(url: str, records: Sequence[Record]) -> None:
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(records)


def stored(url: str, kind: Any) -> list[Any]:
    table = RECORD_TABLES[kind]
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        names = [field.name for field in fields_of(kind)]
        columns = ", ".join(f'"{name}"' for name in names)
        cursor.execute(f"SELECT {columns} FROM {table.name} ORDER BY {', '.join(table.primary_key)}")  # noqa: S608
        return [record_of(kind, dict(zip(names, row, strict=True))) for row in cursor.fetchall()]


def partition_names(url: str, table: str) -> list[str]:
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        return [one.name for one in read_partitions(cursor, table)]


def months_of_records(first: int, last: int, count: int = 3) -> list[Record]:
    """Bars, features and valuations of some months of 2025."""
    records: list[Record] = []
    for month in range(first, last + 1):
        for number in range(count):
            seq, at_ns = 100 * month + number, ns(month, 1 + number * 9)
            records += [bar(symbol, seq, at_ns, 1 / 3 + number, volume=seq) for symbol in ("AAPL", "MSFT")]
            records.append(feature_row("AAPL", seq, at_ns, 0.1, values={"ema": 1e-300, "rsi": float(number)}))
            records.append(valuation(seq, at_ns, "100000.000000001", cash="-0.1"))
    return records


def run(url: str, folder: Path, *, dry_run: bool = False) -> list[PartitionDrop]:
    return archive_partitions(
        url, TableArchive(folder), RETENTION, now_ns=NOW_NS, dry_run=dry_run, report=lambda line: None
    )


def archived_records(url: str, folder: Path, kind: Any) -> list[Any]:
    archive = TableArchive(folder)
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        listed = list_archived(cursor, RECORD_TABLES[kind].name)
    return [record for one in listed for record in archive.records(kind, one)]


@pytest.mark.parametrize("count", [1, 60], ids=["values", "stage table"])
def test_a_row_of_any_month_gets_its_partition(make_database: Callable[[], str], count: int) -> None:
    url, times = make_database(), (ns(1), ns(7), ns(1, 28))
    records = [prediction("A", number + 1, times[number % 3] + number) for number in range(3 * count)]
    write(url, records)
    write(url, records)
    assert partition_names(url, "predictions") == ["predictions_2025_01", "predictions_2025_07"]
    assert stored(url, type(records[0])) == records


@pytest.mark.parametrize("count", [1, 60], ids=["values", "stage table"])
def test_a_quote_replaces_one_with_its_number_from_another_month(make_database: Callable[[], str], count: int) -> None:
    """Quotes that a killed feed had written to the table and not to the log."""
    url = make_database()
    lost = [quote("A", seq, ns(1, 31) + seq, 90.0, 92.0) for seq in range(1, count + 1)]
    logged = [quote("A", seq, ns(2, 3) + seq, 91.0, 92.0) for seq in range(1, count + 1)]
    write(url, [*lost, quote("B", 1, ns(1, 31), 1.0, 2.0)])
    write(url, logged)
    write(url, logged)
    assert stored(url, type(lost[0])) == [*logged, quote("B", 1, ns(1, 31), 1.0, 2.0)]


def test_the_platform_creates_the_partitions_of_the_next_months_once(make_database: Callable[[], str]) -> None:
    url = make_database()
    created = create_next_partitions(url)
    assert len(created) == 3 * len(MONTHLY_TABLES) and create_next_partitions(url) == []


def test_the_migration_keeps_rows_keys_and_upserts(make_database: Callable[[], str]) -> None:
    url = make_database()
    records = [*months_of_records(1, 3), quote("A", 1, ns(1), 1.0, 2.0), prediction("A", 1, ns(2))]
    write(url, records)
    config = alembic_config(url)
    alembic_command.downgrade(config, "0028")
    kinds = {type(record) for record in records}
    before = {kind: stored(url, kind) for kind in kinds}
    assert sum(map(len, before.values())) == len(records)
    alembic_command.upgrade(config, "head")
    alembic_command.check(config)
    assert {kind: stored(url, kind) for kind in kinds} == before
    assert partition_names(url, "bars") == ["bars_before_2025_04"] and partition_names(url, "trades") == []
    write(url, records)
    assert {kind: stored(url, kind) for kind in kinds} == before
    revised = bar("AAPL", 100, ns(1), 7.0)
    write(url, [revised, *months_of_records(4, 4)])
    assert stored(url, type(revised))[0] == revised
    assert partition_names(url, "bars") == ["bars_before_2025_04", "bars_2025_04"]


def test_old_months_are_exported_row_by_row_and_dropped(make_database: Callable[[], str], tmp_path: Path) -> None:
    url, records = make_database(), months_of_records(1, 6)
    write(url, records)
    planned = run(url, tmp_path, dry_run=True)
    assert not (tmp_path / "tables").exists()
    drops = run(url, tmp_path)
    assert [one[:3] for one in drops] == [one[:3] for one in planned]
    # The newest rows are of 19 June: 20 May is the first day of the retention of bars, and 20 April of valuations.
    assert [one.partition for one in drops] == [
        *(f"{table}_2025_0{n}" for table in ("bars", "features") for n in range(1, 5)),
        *(f"valuations_2025_0{n}" for n in range(1, 4)),
    ]
    assert run(url, tmp_path) == []
    for kind in {type(record) for record in records}:
        found = [*archived_records(url, tmp_path, kind), *stored(url, kind)]
        assert sorted(found) == sorted(record for record in records if type(record) is kind)
    file = parquet.ParquetFile(tmp_path / "tables" / "bars" / "bars_2025_01.parquet")
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert "bars_2025_07" not in partition_names(url, "bars")  # only the months of rows, and those around the present


STEPS = ("_export", "_detach", "_drop_verified", "_drop")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_killed_run_loses_and_repeats_no_row(
    make_database: Callable[[], str], tmp_path: Path, step: str, before: bool
) -> None:
    url, records = make_database(), months_of_records(1, 3)
    write(url, records)
    original = getattr(table_partitions._ArchiveRun, step)

    def killed(self: Any, *arguments: Any) -> Any:
        if not before:
            original(self, *arguments)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_partitions._ArchiveRun, step, killed)
        with pytest.raises(KeyboardInterrupt):
            run(url, tmp_path)
    run(url, tmp_path)
    for kind in {type(record) for record in records}:
        found = [*archived_records(url, tmp_path, kind), *stored(url, kind)]
        assert sorted(found) == sorted(record for record in records if type(record) is kind)
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        assert detached_partitions(cursor) == []


def test_a_file_that_differs_from_its_partition_drops_nothing(make_database: Callable[[], str], tmp_path: Path) -> None:
    url, records = make_database(), months_of_records(1, 3)
    write(url, records)
    original = table_partitions._ArchiveRun._detach

    def changed(self: Any, partition: Partition, how: str) -> None:
        original(self, partition, how)
        with self._db, self._db.cursor() as cursor:
            cursor.execute(f"UPDATE {partition.name} SET volume = 1 WHERE symbol = 'MSFT'")  # noqa: S608

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_partitions._ArchiveRun, "_detach", changed)
        with pytest.raises(DeployError, match=r"bars_2025_01.parquet differs from the partition .* attached again"):
            run(url, tmp_path)
    assert len(stored(url, type(records[0]))) == 18 and archived_records(url, tmp_path, type(records[0])) == []
    assert "bars_2025_01" in [one.partition for one in run(url, tmp_path)]


def test_a_damaged_file_is_named(make_database: Callable[[], str], tmp_path: Path) -> None:
    url = make_database()
    write(url, months_of_records(1, 3))
    run(url, tmp_path)
    path = tmp_path / "tables" / "bars" / "bars_2025_01.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    archive = TableArchive(tmp_path)
    with pytest.raises(Unavailable, match=r"bars_2025_01\.parquet is damaged: its SHA-256 starts with"):
        archive.verify(archive.partitions("bars")[0])


def test_the_last_bar_of_an_open_position_stays_in_the_table(make_database: Callable[[], str], tmp_path: Path) -> None:
    """A halted stock has no later bar."""
    url = make_database()
    halted = bar("HALT", 1, ns(2), 5.0)
    write(url, [*months_of_records(1, 6), halted, position(1, ns(2), "HALT", 10, 5.0)])
    assert [one.partition for one in run(url, tmp_path) if one.table == "bars"] == ["bars_2025_01"]
    write(url, [position(2, ns(6), "HALT", 0, 0)])
    assert [one.partition for one in run(url, tmp_path)] == ["bars_2025_02", "bars_2025_03", "bars_2025_04"]


def test_rows_that_arrive_after_their_month_was_archived_get_a_file_of_their_own(
    make_database: Callable[[], str], tmp_path: Path
) -> None:
    url, late = make_database(), bar("LATE", 1, ns(1, 5), 5.0)
    write(url, months_of_records(1, 6))
    run(url, tmp_path)
    write(url, [late])
    assert late in stored(url, type(late))
    assert [one.file for one in run(url, tmp_path)] == ["bars/bars_2025_01.2.parquet"]
    assert late in archived_records(url, tmp_path, type(late))


def test_a_reader_does_not_wait_for_a_new_partition(make_database: Callable[[], str]) -> None:
    """A backup or `verify` reads all tables in one transaction that lasts minutes."""
    url = make_database()
    write(url, months_of_records(1, 1))
    with closing(psycopg2.connect(url)) as reader, reader.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM bars")
        writer = PostgresWriter(url, name="test", unavailable_after_s=0)
        with closing(writer):
            writer.write(months_of_records(2, 2))
        assert partition_names(url, "bars") == ["bars_2025_01", "bars_2025_02"]


def test_days_are_counted_back_from_the_newest_row_and_never_from_the_future(
    make_database: Callable[[], str], tmp_path: Path
) -> None:
    """Without newer rows, the last months stay however much time passes. A wrong time in the future changes nothing."""
    url = make_database()
    write(url, months_of_records(1, 3))
    last = [one.partition for one in run(url, tmp_path, dry_run=True) if one.table == "bars"]
    assert last == ["bars_2025_01"]
    write(url, [bar("AAPL", 999, ns(12) + 400 * DAY_NS, 5.0)])
    planned = archive_partitions(
        url, TableArchive(tmp_path), RETENTION, now_ns=ns(3, 25), dry_run=True, report=lambda line: None
    )
    assert [one.partition for one in planned if one.table == "bars"] == ["bars_2025_01"]


def test_an_interrupted_run_whose_file_is_damaged_exports_the_month_again(
    make_database: Callable[[], str], tmp_path: Path
) -> None:
    url, records = make_database(), months_of_records(1, 3)
    write(url, records)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_partitions._ArchiveRun, "_drop_verified", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(url, tmp_path)
    path = tmp_path / "tables" / "bars" / "bars_2025_01.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DeployError, match=r"is damaged: .* attached again, and the next run exports it again"):
        run(url, tmp_path)
    run(url, tmp_path)
    found = [*archived_records(url, tmp_path, Bar), *stored(url, Bar)]
    assert sorted(found) == sorted(record for record in records if type(record) is Bar)


def interrupted(*arguments: object) -> None:
    raise KeyboardInterrupt

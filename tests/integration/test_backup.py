"""A backup brings back what was there, of one moment, all of it or nothing, and says what is wrong with it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from deploy.backup_file import DUMP, MANIFEST, Manifest, read_manifest, require_room, restore_backup, write_backup
from deploy.errors import DeployError
from schemas.errors import BadInput
from schemas.records import Bar, Execution
from sinks.postgres import PostgresWriter

Rows = dict[str, list[str]]


def rows(url: str) -> Rows:
    """Every row of every table as text."""
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        found = {}
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT t::text FROM {table} t ORDER BY 1")  # noqa: S608 - names out of the catalog
            found[table] = [text for (text,) in cursor.fetchall()]
    return found


def write_bars(url: str, first: int, last: int) -> None:
    bars = [
        Bar("AAPL", number, number * 60, number * 60 - 60, 1.5, 2.25, 0.1, 1 / 3, 1e9, "REGULAR", 20240102, True)
        for number in range(first, last)
    ]
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(bars)


@pytest.fixture
def filled(make_database: Callable[[], str]) -> Iterator[str]:
    url = make_database()
    write_bars(url, 1, 500)
    execution = Execution._make(
        {"execution_id": "exe-1", "symbol": "AAPL", "side": "BUY"}.get(field, _value(field))
        for field in Execution._fields
    )
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write([execution])
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        cursor.execute("INSERT INTO users VALUES ('Ünal ''x''', 'hash', 'admin', true, false, 1)")
        db.commit()
    yield url


def _value(field: str) -> object:
    kinds = Execution.__annotations__
    hint = str(kinds[field])
    return Decimal("0.123456789") if "Decimal" in hint else 1 if "int" in hint else "x"


def backup(url: str, file: Path) -> Manifest:
    return write_backup(url, file, release="1", topics={"orders/0": 7})


def test_what_is_restored_is_what_was_there(filled: str, make_database: Callable[[], str], tmp_path: Path) -> None:
    before = rows(filled)
    made = backup(filled, tmp_path / "all.tar")
    assert made.tables == {table: len(each) for table, each in before.items()}
    assert (tmp_path / "all.tar").stat().st_mode & 0o777 == 0o600
    empty = make_database()
    restored = restore_backup(empty, tmp_path / "all.tar", force=False)
    assert rows(empty) == before
    assert restored == made
    assert restored.topics == {"orders/0": 7}


def test_an_empty_database_without_tables_takes_it_too(filled: str, tmp_path: Path) -> None:
    backup(filled, tmp_path / "all.tar")
    before = rows(filled)
    with closing(psycopg2.connect(filled)) as db, db.cursor() as cursor:
        for table in before:
            cursor.execute(f"DROP TABLE {table} CASCADE")
        db.commit()
    restore_backup(filled, tmp_path / "all.tar", force=False)
    assert rows(filled) == before


def test_a_database_with_rows_is_replaced_only_by_force(filled: str, tmp_path: Path) -> None:
    backup(filled, tmp_path / "all.tar")
    before = rows(filled)
    write_bars(filled, 500, 600)
    with pytest.raises(DeployError, match=r"the database is not empty .bars has 599 rows.; --force replaces"):
        restore_backup(filled, tmp_path / "all.tar", force=False)
    assert len(rows(filled)["bars"]) == 599
    restore_backup(filled, tmp_path / "all.tar", force=True)
    assert rows(filled) == before
    with pytest.raises(DeployError, match="not empty"):
        require_room(filled, force=False)


def test_nothing_changes_when_the_restore_fails_at_its_end(filled: str, tmp_path: Path) -> None:
    """The manifest's count is held against the restored table inside the transaction."""
    backup(filled, tmp_path / "all.tar")
    write_bars(filled, 500, 600)
    changed = rewritten(tmp_path, lambda tree: tree["tables"].update(bars=498))
    before = rows(filled)
    with pytest.raises(DeployError, match="table bars has not the 498 rows of the manifest"):
        restore_backup(filled, changed, force=True)
    assert rows(filled) == before


def rewritten(folder: Path, change: Callable[[dict[str, Any]], object], *, dump: bytes | None = None) -> Path:
    """The backup with another manifest, or another dump."""
    with tarfile.open(folder / "all.tar") as tar:
        parts = {name: opened.read() for name in (MANIFEST, DUMP) if (opened := tar.extractfile(name))}
    tree = json.loads(parts[MANIFEST])
    change(tree)
    parts[MANIFEST] = json.dumps(tree).encode()
    with tarfile.open(folder / "changed.tar", "w") as tar:
        for name, content in (parts | ({DUMP: dump} if dump is not None else {})).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return folder / "changed.tar"


def test_a_damaged_file_is_refused_by_the_name_of_its_entry(filled: str, tmp_path: Path) -> None:
    backup(filled, tmp_path / "all.tar")
    with pytest.raises(BadInput, match=r"entry database\.dump is damaged: its SHA-256 begins"):
        read_manifest(rewritten(tmp_path, lambda tree: None, dump=b"PGDMP"))
    with pytest.raises(BadInput, match=r"entry manifest\.json is damaged"):
        read_manifest(rewritten(tmp_path, lambda tree: tree.pop("tables")))
    with pytest.raises(BadInput, match=r"entry manifest\.json has version 9, this release reads 1"):
        read_manifest(rewritten(tmp_path, lambda tree: tree.update(version=9)))
    with pytest.raises(BadInput, match="has schema 9999, which this release does not know"):
        read_manifest(rewritten(tmp_path, lambda tree: tree.update(revision="9999")))
    (tmp_path / "cut.tar").write_bytes((tmp_path / "all.tar").read_bytes()[:3000])
    with pytest.raises(BadInput, match=r"cut\.tar.* damaged"):
        read_manifest(tmp_path / "cut.tar")
    (tmp_path / "text.tar").write_text("no tar")
    with pytest.raises(BadInput, match="is no backup"):
        read_manifest(tmp_path / "text.tar")
    with pytest.raises(BadInput, match="No such file"):
        read_manifest(tmp_path / "absent.tar")


def test_a_backup_is_of_one_moment_while_others_write(
    filled: str, make_database: Callable[[], str], tmp_path: Path
) -> None:
    """Rows that are committed while the dump runs are in neither the counts nor the dump."""
    with closing(psycopg2.connect(filled)) as db:
        db.set_session(isolation_level="READ COMMITTED")
        with db.cursor() as cursor:
            cursor.execute("DELETE FROM bars WHERE seq <= 10")
            made = backup(filled, tmp_path / "all.tar")
        db.commit()
    empty = make_database()
    restore_backup(empty, tmp_path / "all.tar", force=False)
    assert made.tables["bars"] == 499
    assert len(rows(empty)["bars"]) == 499
    assert len(rows(filled)["bars"]) == 489


def test_an_address_without_a_database_is_one_sentence_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="the database cannot be read: connection to server") as caught:
        backup("postgresql://me:very-secret@127.0.0.1:1/none", tmp_path / "all.tar")
    assert "very-secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []

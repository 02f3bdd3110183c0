"""A restore brings back a consistent snapshot completely or changes nothing, and each error names its cause."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import pyrage
import pytest
from pyrage import x25519

from deploy.backup.backup_file import (
    DUMP,
    MANIFEST,
    Manifest,
    read_manifest,
    require_empty_database,
    restore_backup,
    write_backup,
)
from deploy.backup.encryption import backup_identity, recipient_for
from deploy.errors import DeployError
from deploy.home import Home
from schemas.errors import BadInput
from schemas.records import Bar, Execution
from sinks.postgres import PostgresWriter

RowsByTable = dict[str, list[str]]


def read_rows(url: str) -> RowsByTable:
    """Return all rows of all tables as text."""
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows_by_table = {}
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT t::text FROM {table} t ORDER BY 1")  # noqa: S608 - names out of the catalog
            rows_by_table[table] = [text for (text,) in cursor.fetchall()]
    return rows_by_table


def write_bars(url: str, first: int, last: int) -> None:
    bars = [
        Bar("AAPL", number, number * 60, number * 60 - 60, 1.5, 2.25, 0.1, 1 / 3, 1e9, "REGULAR", 20240102, True)
        for number in range(first, last)
    ]
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(bars)


@pytest.fixture
def filled_url(make_database: Callable[[], str]) -> Iterator[str]:
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
    annotations = Execution.__annotations__
    hint = str(annotations[field])
    return Decimal("0.123456789") if "Decimal" in hint else 1 if "int" in hint else "x"


def backup(url: str, file: Path) -> Manifest:
    return write_backup(url, file, release="1", topics={"orders/0": 7})


def test_a_restore_brings_back_every_row(filled_url: str, make_database: Callable[[], str], tmp_path: Path) -> None:
    before = read_rows(filled_url)
    manifest = backup(filled_url, tmp_path / "all.tar")
    assert manifest.tables == {table: len(table_rows) for table, table_rows in before.items()}
    assert (tmp_path / "all.tar").stat().st_mode & 0o777 == 0o600
    empty = make_database()
    restored = restore_backup(empty, tmp_path / "all.tar", force=False)
    assert read_rows(empty) == before
    assert restored == manifest
    assert restored.topics == {"orders/0": 7}


def test_a_database_without_tables_can_be_restored(filled_url: str, tmp_path: Path) -> None:
    backup(filled_url, tmp_path / "all.tar")
    before = read_rows(filled_url)
    with closing(psycopg2.connect(filled_url)) as db, db.cursor() as cursor:
        for table in before:
            cursor.execute(f"DROP TABLE {table} CASCADE")
        db.commit()
    restore_backup(filled_url, tmp_path / "all.tar", force=False)
    assert read_rows(filled_url) == before


def test_a_database_with_rows_is_replaced_only_by_force(filled_url: str, tmp_path: Path) -> None:
    backup(filled_url, tmp_path / "all.tar")
    before = read_rows(filled_url)
    write_bars(filled_url, 500, 600)
    with pytest.raises(DeployError, match=r"the database is not empty .bars has 599 rows.; use --force"):
        restore_backup(filled_url, tmp_path / "all.tar", force=False)
    assert len(read_rows(filled_url)["bars"]) == 599
    restore_backup(filled_url, tmp_path / "all.tar", force=True)
    assert read_rows(filled_url) == before
    with pytest.raises(DeployError, match="not empty"):
        require_empty_database(filled_url, force=False)


def test_nothing_changes_when_the_restore_fails_at_its_end(filled_url: str, tmp_path: Path) -> None:
    """The restore compares the table with the manifest's row count inside the transaction."""
    backup(filled_url, tmp_path / "all.tar")
    write_bars(filled_url, 500, 600)
    changed = write_changed_backup(tmp_path, lambda tree: tree["tables"].update(bars=498))
    before = read_rows(filled_url)
    with pytest.raises(DeployError, match="table bars does not have the 498 rows of the manifest"):
        restore_backup(filled_url, changed, force=True)
    assert read_rows(filled_url) == before


def write_changed_backup(
    folder: Path, change: Callable[[dict[str, Any]], object], *, dump: bytes | None = None
) -> Path:
    """Write a copy of a backup with another manifest or another dump."""
    with tarfile.open(folder / "all.tar") as tar:
        entries = {name: opened.read() for name in (MANIFEST, DUMP) if (opened := tar.extractfile(name))}
    manifest = json.loads(entries[MANIFEST])
    change(manifest)
    entries[MANIFEST] = json.dumps(manifest).encode()
    with tarfile.open(folder / "changed.tar", "w") as tar:
        for name, content in (entries | ({DUMP: dump} if dump is not None else {})).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return folder / "changed.tar"


def test_a_damaged_backup_is_rejected_with_the_name_of_its_entry(filled_url: str, tmp_path: Path) -> None:
    backup(filled_url, tmp_path / "all.tar")
    with pytest.raises(BadInput, match=r"entry database\.dump is damaged: its SHA-256 starts with"):
        read_manifest(write_changed_backup(tmp_path, lambda tree: None, dump=b"PGDMP"))
    with pytest.raises(BadInput, match=r"entry manifest\.json is damaged"):
        read_manifest(write_changed_backup(tmp_path, lambda tree: tree.pop("tables")))
    with pytest.raises(BadInput, match=r"entry manifest\.json has version 9, expected 1"):
        read_manifest(write_changed_backup(tmp_path, lambda tree: tree.update(version=9)))
    with pytest.raises(BadInput, match="has schema 9999, which is unknown"):
        read_manifest(write_changed_backup(tmp_path, lambda tree: tree.update(revision="9999")))
    (tmp_path / "cut.tar").write_bytes((tmp_path / "all.tar").read_bytes()[:3000])
    with pytest.raises(BadInput, match=r"cut\.tar.* damaged"):
        read_manifest(tmp_path / "cut.tar")
    (tmp_path / "text.tar").write_text("no tar")
    with pytest.raises(BadInput, match="is not a backup"):
        read_manifest(tmp_path / "text.tar")
    with pytest.raises(BadInput, match="No such file"):
        read_manifest(tmp_path / "absent.tar")


def test_a_backup_is_a_consistent_snapshot_under_concurrent_writes(
    filled_url: str, make_database: Callable[[], str], tmp_path: Path
) -> None:
    """Rows that are committed during the dump are neither in the counts nor in the dump."""
    with closing(psycopg2.connect(filled_url)) as db:
        db.set_session(isolation_level="READ COMMITTED")
        with db.cursor() as cursor:
            cursor.execute("DELETE FROM bars WHERE seq <= 10")
            manifest = backup(filled_url, tmp_path / "all.tar")
        db.commit()
    empty = make_database()
    restore_backup(empty, tmp_path / "all.tar", force=False)
    assert manifest.tables["bars"] == 499
    assert len(read_rows(empty)["bars"]) == 499
    assert len(read_rows(filled_url)["bars"]) == 489


def test_an_unreachable_database_is_reported_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="cannot read the database: connection to server") as error:
        backup("postgresql://me:very-secret@127.0.0.1:1/none", tmp_path / "all.tar")
    assert "very-secret" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def write_encrypted_backup(url: str, file: Path, key: x25519.Identity) -> Manifest:
    return write_backup(url, file, release="1", topics={}, recipient=key.to_public())


def test_an_encrypted_backup_restores_every_row_and_reveals_nothing(
    filled_url: str, make_database: Callable[[], str], tmp_path: Path
) -> None:
    before, key = read_rows(filled_url), x25519.Identity.generate()
    manifest = write_encrypted_backup(filled_url, tmp_path / "all.tar", key)
    content = (tmp_path / "all.tar").read_bytes()
    assert not [plaintext for plaintext in (b"PGDMP", b"bars", b"created_at") if plaintext in content]
    assert (tmp_path / "all.tar").stat().st_mode & 0o777 == 0o600
    assert read_manifest(tmp_path / "all.tar", key) == manifest
    empty = make_database()
    restore_backup(empty, tmp_path / "all.tar", force=False, identity=key)
    assert read_rows(empty) == before


def test_no_unencrypted_temporary_file_is_written(
    filled_url: str, make_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inspect the temporary folders before their removal. The programs of PostgreSQL use only pipes."""
    temporary_files: list[Path] = []
    temporary_directory, inspected = tempfile.TemporaryDirectory, tmp_path / "seen"
    inspected.mkdir()

    class InspectedFolder(temporary_directory):  # type: ignore[misc, valid-type]
        def cleanup(self) -> None:
            for path in Path(self.name).rglob("*"):
                temporary_files.append(path.rename(inspected / f"{len(temporary_files)}"))
            super().cleanup()

    def clean_up(self: InspectedFolder, *_: object) -> None:
        self.cleanup()

    InspectedFolder.__exit__ = clean_up
    monkeypatch.setattr(tempfile, "TemporaryDirectory", InspectedFolder)
    key = x25519.Identity.generate()
    write_encrypted_backup(filled_url, tmp_path / "all.tar", key)
    assert [path.read_bytes()[:21] for path in temporary_files] == [b"age-encryption.org/v1"]
    restore_backup(make_database(), tmp_path / "all.tar", force=False, identity=key)
    assert len(temporary_files) == 1
    write_backup(filled_url, tmp_path / "plain.tar", release="1", topics={})
    assert temporary_files[-1].read_bytes()[:5] == b"PGDMP"  # proves that the inspection detects unencrypted files


def test_a_wrong_or_missing_key_is_one_error_sentence(filled_url: str, tmp_path: Path) -> None:
    write_encrypted_backup(filled_url, tmp_path / "all.tar", x25519.Identity.generate())
    with pytest.raises(BadInput, match="is encrypted; set its key in BACKUP_KEY"):
        read_manifest(tmp_path / "all.tar")
    with pytest.raises(BadInput, match="BACKUP_KEY is not the key of this backup"):
        read_manifest(tmp_path / "all.tar", x25519.Identity.generate())
    before = read_rows(filled_url)
    with pytest.raises(BadInput, match="is not the key of this backup"):
        restore_backup(filled_url, tmp_path / "all.tar", force=True, identity=x25519.Identity.generate())
    assert read_rows(filled_url) == before


def test_a_tampered_encrypted_backup_is_rejected(filled_url: str, tmp_path: Path) -> None:
    key = x25519.Identity.generate()
    write_encrypted_backup(filled_url, tmp_path / "all.tar", key)
    content = bytearray((tmp_path / "all.tar").read_bytes())
    content[-20_000] ^= 1  # a byte of the dump: at most 10,240 bytes of tar padding follow it
    (tmp_path / "all.tar").write_bytes(content)
    with pytest.raises(BadInput, match=r"cannot read .*: decryption error"):
        read_manifest(tmp_path / "all.tar", key)


def test_the_key_is_created_once_and_its_public_part_is_enough_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BACKUP_KEY", raising=False)
    home = Home(tmp_path)
    home.create_folders()
    assert backup_identity(home) is None
    first, second = recipient_for(home, None, by="me"), recipient_for(home, None, by="me")
    assert (first.is_new_key, second.is_new_key) == (True, False)
    assert str(first.recipient) == str(second.recipient)
    other_key = x25519.Identity.generate()
    other_recipient = recipient_for(home, str(other_key.to_public()), by="me")
    assert pyrage.decrypt(pyrage.encrypt(b"x", [other_recipient.recipient]), [other_key]) == b"x"
    monkeypatch.setenv("BACKUP_KEY", str(other_key))
    assert str(backup_identity(home)) == str(other_key)
    monkeypatch.setenv("BACKUP_KEY", "no key")
    with pytest.raises(BadInput, match=r"BACKUP_KEY \(environment\) must be an age key"):
        backup_identity(home)
    with pytest.raises(BadInput, match="--recipient must be an age public key"):
        recipient_for(home, "age1x", by="me")


def test_a_dump_that_fails_leaves_no_backup(filled_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.backup.backup_file.binaries", lambda: tmp_path)
    (tmp_path / "pg_dump").write_text("#!/bin/sh\necho half\necho 'pg_dump: error: the disk is gone' >&2\nexit 1\n")
    (tmp_path / "pg_dump").chmod(0o700)
    for key in (None, x25519.Identity.generate().to_public()):
        with pytest.raises(DeployError, match="pg_dump: pg_dump: error: the disk is gone"):
            write_backup(filled_url, tmp_path / "all.tar", release="1", topics={}, recipient=key)
        assert not (tmp_path / "all.tar").exists()

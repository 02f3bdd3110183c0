"""The tables of a backup are a consistent snapshot. They are restored completely or not at all, and as data only."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pyrage
import pytest
from pyrage import x25519

from deploy.backup.archive import ArchiveReader, ArchiveWriter
from deploy.backup.database_tables import (
    database_snapshot,
    emptied_database,
    forget_identity,
    require_empty_database,
    row_counts,
    summarize,
    write_tables,
)
from deploy.backup.encryption import backup_identity, recipient_for
from deploy.backup.manifest import BackupManifest, TableContent, table_entry
from deploy.backup.platform_restore import load_tables
from deploy.backup.seal import create_seal_key, seal_key
from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.platform_identity import read_database_identity, write_database_identity
from schemas.errors import BadInput
from tests.builders.platform import platform_identity
from tests.integration.filled_database import fill, read_rows, schemas, write_bars

IDENTITY = platform_identity()


@pytest.fixture
def filled_url(make_database: Callable[[], str]) -> str:
    return fill(make_database())


def backup(url: str, file: Path, recipient: x25519.Recipient | None = None) -> BackupManifest:
    """Write the tables of a database to a file."""
    with file.open("w+b") as target, database_snapshot(url) as db:
        archive = ArchiveWriter(target, recipient)
        summary = summarize(db)
        tables = write_tables(db, archive)
        archive.finish()
    return BackupManifest(
        created_at="2026-01-01T00:00:00+00:00",
        release="1",
        revision=summary.revision,
        server=summary.server,
        identity=IDENTITY,
        cut_ns=None,
        tables=tables,
        logs={},
        stores=(),
        options={},
        settings_sha256="",
        entries=dict(archive.entries),
    )


def restore(url: str, file: Path, manifest: BackupManifest, key: x25519.Identity | None = None) -> str:
    """Restore the tables; returns the schema with the previous ones."""
    with closing(ArchiveReader(file)) as archive, emptied_database(url) as schema:
        load_tables(url, archive, manifest, key)
    return schema


def test_a_restore_brings_back_every_row(filled_url: str, make_database: Callable[[], str], tmp_path: Path) -> None:
    before, keys_before = read_rows(filled_url), foreign_keys(filled_url)
    manifest = backup(filled_url, tmp_path / "all.tar")
    assert {name: table.rows for name, table in manifest.tables.items()} == {
        table: len(rows) for table, rows in before.items() if table != "alembic_version"
    }
    empty = make_database()
    restore(empty, tmp_path / "all.tar", manifest)
    assert read_rows(empty) == before
    assert foreign_keys(empty) == keys_before
    assert ("fk_sessions_username", True) in keys_before


def foreign_keys(url: str) -> list[tuple[str, bool]]:
    """Return the names of the foreign keys, and whether the rows satisfy them."""
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        cursor.execute(
            "SELECT conname, convalidated FROM pg_constraint "
            "WHERE contype = 'f' AND connamespace = 'public'::regnamespace ORDER BY 1"
        )
        return cursor.fetchall()


def test_the_previous_tables_move_to_a_schema_of_their_own(filled_url: str, tmp_path: Path) -> None:
    manifest = backup(filled_url, tmp_path / "all.tar")
    before = read_rows(filled_url)
    write_bars(filled_url, 500, 600)
    with pytest.raises(DeployError, match=r"the database is not empty .bars has 599 rows.; use --force"):
        require_empty_database(filled_url, force=False)
    require_empty_database(filled_url, force=True)
    schema = restore(filled_url, tmp_path / "all.tar", manifest)
    assert read_rows(filled_url) == before
    assert schemas(filled_url) == [schema]
    with closing(psycopg2.connect(filled_url)) as db, db.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {schema}.bars")  # noqa: S608 - our name
        assert cursor.fetchall() == [(599,)]


def test_a_restore_that_fails_at_its_end_changes_nothing(filled_url: str, tmp_path: Path) -> None:
    manifest = backup(filled_url, tmp_path / "all.tar")
    changed = replace(manifest, tables={**manifest.tables, "bars": TableContent(498, manifest.tables["bars"].columns)})
    before = read_rows(filled_url)
    with pytest.raises(DeployError, match="table bars does not have the 498 rows of the manifest"):
        restore(filled_url, tmp_path / "all.tar", changed)
    assert read_rows(filled_url) == before
    assert schemas(filled_url) == []


def test_only_columns_of_the_schema_are_loaded(filled_url: str, tmp_path: Path) -> None:
    manifest = backup(filled_url, tmp_path / "all.tar")
    for columns in (("symbol", "no_such"), ("symbol", "symbol"), ('symbol") FROM PROGRAM', "x")):
        changed = replace(manifest, tables={**manifest.tables, "bars": TableContent(499, columns)})
        with pytest.raises(BadInput, match="unknown columns in table 'bars'"):
            restore(filled_url, tmp_path / "all.tar", changed)
    without_bars = {name: table for name, table in manifest.tables.items() if name != "bars"}
    with pytest.raises(BadInput, match="differ in the tables bars"):
        restore(filled_url, tmp_path / "all.tar", replace(manifest, tables=without_bars))
    assert len(read_rows(filled_url)["bars"]) == 499


def test_a_backup_is_a_consistent_snapshot_under_concurrent_writes(
    filled_url: str, make_database: Callable[[], str], tmp_path: Path
) -> None:
    """Rows that are committed while the backup reads other tables are not in the backup."""
    with (tmp_path / "all.tar").open("w+b") as target, database_snapshot(filled_url) as db:
        assert row_counts(db)["bars"] == 499  # the snapshot begins with the first statement
        write_bars(filled_url, 500, 600)
        archive = ArchiveWriter(target)
        tables = write_tables(db, archive)
        archive.finish()
    assert tables["bars"].rows == 499
    assert len(read_rows(filled_url)["bars"]) == 599


def test_the_newest_market_data_is_reported(filled_url: str, make_database: Callable[[], str]) -> None:
    with database_snapshot(filled_url) as db:
        assert summarize(db).newest_ns == 499 * 60
    with database_snapshot(make_database()) as db:
        assert summarize(db).newest_ns == -1


def test_a_restored_database_has_no_identity_until_its_tables_fit_the_topics(filled_url: str, tmp_path: Path) -> None:
    write_database_identity(filled_url, IDENTITY)
    manifest = backup(filled_url, tmp_path / "all.tar")
    restore(filled_url, tmp_path / "all.tar", manifest)
    assert read_database_identity(filled_url) == IDENTITY
    forget_identity(filled_url)
    assert read_database_identity(filled_url) is None


def test_an_unreachable_database_is_reported_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="cannot use the database: connection to server") as error:
        backup("postgresql://me:very-secret@127.0.0.1:1/none", tmp_path / "all.tar")
    assert "very-secret" not in str(error.value)


def test_an_encrypted_backup_restores_every_row_and_reveals_nothing(
    filled_url: str, make_database: Callable[[], str], tmp_path: Path
) -> None:
    before, key = read_rows(filled_url), x25519.Identity.generate()
    manifest = backup(filled_url, tmp_path / "all.tar", key.to_public())
    content = (tmp_path / "all.tar").read_bytes()
    assert not [plaintext for plaintext in (b"AAPL", b"hash\t", b"(\xb5/\xfd") if plaintext in content]
    assert table_entry("bars") in manifest.entries
    empty = make_database()
    with pytest.raises(BadInput, match="is not the key of this backup"):
        restore(empty, tmp_path / "all.tar", manifest, x25519.Identity.generate())
    restore(empty, tmp_path / "all.tar", manifest, key)
    assert read_rows(empty) == before


def test_no_unencrypted_temporary_file_is_written(
    filled_url: str, make_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows pass through pipes and memory only, at backup and at restore."""
    temporary_files: list[str] = []
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *a, **k: temporary_files.append("folder"))
    monkeypatch.setattr(tempfile, "mkstemp", lambda *a, **k: temporary_files.append("file"))
    key = x25519.Identity.generate()
    manifest = backup(filled_url, tmp_path / "all.tar", key.to_public())
    restore(make_database(), tmp_path / "all.tar", manifest, key)
    assert temporary_files == []
    assert [path.name for path in tmp_path.iterdir()] == ["all.tar"]


def test_the_keys_are_created_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKUP_KEY", raising=False)
    monkeypatch.delenv("BACKUP_SEAL_KEY", raising=False)
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
    assert seal_key(home) is None
    assert create_seal_key(home, by="me") == seal_key(home)
    monkeypatch.setenv("BACKUP_SEAL_KEY", "short")
    with pytest.raises(BadInput, match=r"BACKUP_SEAL_KEY \(environment\) must have at least 32 characters"):
        seal_key(home)

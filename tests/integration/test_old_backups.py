"""Backups of releases 0.1.0 and 0.2.0 can still be restored, but nothing in them is executed."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pyrage import x25519

from deploy.backup.archive import ArchiveReader
from deploy.backup.database_dump import DumpManifest, load_dump, read_dump_manifest
from deploy.backup.database_tables import emptied_database
from deploy.errors import DeployError
from deploy.local.postgres import binaries
from deploy.supervisor.migrate import migrate
from schemas.errors import BadInput
from tests.integration.filled_database import fill, read_rows, schemas, write_bars
from tests.integration.old_backups import write_old_backup


@pytest.fixture
def filled_url(make_database: Callable[[], str]) -> str:
    return fill(make_database())


def read_manifest(file: Path, identity: x25519.Identity | None = None) -> DumpManifest:
    with closing(ArchiveReader(file)) as archive:
        return read_dump_manifest(archive, identity)


def restore(url: str, file: Path, identity: x25519.Identity | None = None) -> DumpManifest:
    with closing(ArchiveReader(file)) as archive:
        manifest = read_dump_manifest(archive, identity)
        with emptied_database(url):
            load_dump(url, archive, manifest, identity)
            migrate(url)
    return manifest


def test_every_row_of_an_old_backup_is_restored(
    filled_url: str, make_database: Callable[[], str], tmp_path: Path
) -> None:
    before = read_rows(filled_url)
    write_old_backup(filled_url, tmp_path / "all.tar")
    empty = make_database()
    assert restore(empty, tmp_path / "all.tar").topics == {"orders/0": 7}
    assert read_rows(empty) == before


def test_an_encrypted_old_backup_needs_its_key(
    filled_url: str, make_database: Callable[[], str], tmp_path: Path
) -> None:
    key = x25519.Identity.generate()
    write_old_backup(filled_url, tmp_path / "all.tar", recipient=key.to_public())
    with pytest.raises(BadInput, match="is encrypted; set its key in BACKUP_KEY"):
        read_manifest(tmp_path / "all.tar")
    with pytest.raises(BadInput, match="BACKUP_KEY is not the key of this backup"):
        read_manifest(tmp_path / "all.tar", x25519.Identity.generate())
    empty = make_database()
    restore(empty, tmp_path / "all.tar", key)
    assert read_rows(empty) == read_rows(filled_url)


def test_a_restore_that_fails_at_its_end_changes_nothing(filled_url: str, tmp_path: Path) -> None:
    """The rows are counted again in the transaction that loads them."""
    write_old_backup(filled_url, tmp_path / "changed.tar", tables={"bars": 498})
    write_bars(filled_url, 500, 600)
    before = read_rows(filled_url)
    with pytest.raises(DeployError, match="table bars does not have the 498 rows of the manifest"):
        restore(filled_url, tmp_path / "changed.tar")
    assert read_rows(filled_url) == before
    assert schemas(filled_url) == []


def test_a_table_name_of_a_tampered_manifest_runs_no_command(filled_url: str, tmp_path: Path) -> None:
    """Release 0.2.0 passed the name to psql, which then ran the command after the backslash."""
    name = f"bars$$ \\! touch {tmp_path}/pwned\n"
    write_old_backup(filled_url, tmp_path / "changed.tar", tables={name: 0})
    before = read_rows(filled_url)
    with pytest.raises(BadInput, match=r"entry manifest\.json is damaged: unknown table"):
        restore(filled_url, tmp_path / "changed.tar")
    assert not (tmp_path / "pwned").exists()
    assert read_rows(filled_url) == before


def test_no_statement_and_no_command_of_a_tampered_dump_is_executed(
    filled_url: str, make_database: Callable[[], str], tmp_path: Path
) -> None:
    """The dump has a function, a trigger and a table of another owner; only rows of known tables are restored."""
    source = make_database()
    script = f"""
        CREATE FUNCTION pwn() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
            COPY (SELECT 1) TO PROGRAM 'touch {tmp_path}/pwned'; RETURN NEW; END $f$;
        CREATE TRIGGER pwn BEFORE INSERT ON bars FOR EACH ROW EXECUTE FUNCTION pwn();
        COMMENT ON TABLE bars IS E'x\n\\\\! touch {tmp_path}/pwned\n';
        CREATE TABLE extra AS SELECT 1 AS x;
    """
    subprocess.run([str(binaries() / "psql"), "-q", "-v", "ON_ERROR_STOP=1", source], input=script.encode(), check=True)
    write_bars_without_trigger(source)
    write_old_backup(source, tmp_path / "all.tar")
    with pytest.raises(BadInput, match="unknown table 'extra'"):
        read_manifest(tmp_path / "all.tar")
    subprocess.run([str(binaries() / "psql"), "-q", source], input=b"DROP TABLE extra", check=True)
    write_old_backup(source, tmp_path / "function.tar")
    assert b"pwned" in unpacked_dump(tmp_path / "function.tar")  # the dump does have the commands
    restore(filled_url, tmp_path / "function.tar")
    assert not (tmp_path / "pwned").exists()
    assert len(read_rows(filled_url)["bars"]) == 5
    assert objects(filled_url) == "0\n"


def write_bars_without_trigger(url: str) -> None:
    statement = b"ALTER TABLE bars DISABLE TRIGGER ALL"
    subprocess.run([str(binaries() / "psql"), "-q", url], input=statement, check=True)
    write_bars(url, 1, 6)


def unpacked_dump(file: Path) -> bytes:
    dump = io.BytesIO()
    with closing(ArchiveReader(file)) as archive:
        archive.decrypt("database.dump", dump, None)
    command = [str(binaries() / "pg_restore"), "--file=-"]
    return subprocess.run(command, input=dump.getvalue(), capture_output=True, check=True).stdout


def objects(url: str) -> str:
    query = "SELECT count(*) FROM pg_proc WHERE proname = 'pwn'"
    command = [str(binaries() / "psql"), "-q", "-t", "-A", "-c", query, url]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


DAMAGES: list[tuple[dict[str, Any], str]] = [
    ({"dump_sha256": "0" * 64}, r"entry database\.dump is damaged: its SHA-256 starts with"),
    ({"version": 9}, r"entry manifest\.json has version 9, expected 1"),
    ({"revision": "9999"}, "has schema 9999, which is unknown"),
    ({"revision": ["0001"]}, r"entry manifest\.json is damaged: revision"),
    ({"tables": {"bars": "499"}}, "the row count of each table must be an integer"),
    ({"surprise": 1}, r"entry manifest\.json is damaged"),
]


def test_a_damaged_old_backup_is_refused_with_the_name_of_its_entry(filled_url: str, tmp_path: Path) -> None:
    for number, (changes, message) in enumerate(DAMAGES):
        write_old_backup(filled_url, tmp_path / f"{number}.tar", **changes)
        with pytest.raises(BadInput, match=message):
            read_manifest(tmp_path / f"{number}.tar")


def test_a_dump_that_is_none_changes_nothing(filled_url: str, tmp_path: Path) -> None:
    write_old_backup(filled_url, tmp_path / "changed.tar", dump=b"PGDMP and nothing else")
    before = read_rows(filled_url)
    with pytest.raises(DeployError, match="pg_restore: "):
        restore(filled_url, tmp_path / "changed.tar")
    assert read_rows(filled_url) == before

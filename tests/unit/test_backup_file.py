"""A backup file is read only where it is what its sealed manifest describes; everything else is one error sentence."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrage import x25519

from deploy.backup.archive import ArchiveReader, ArchiveWriter
from deploy.backup.manifest import (
    BackupManifest,
    LogContent,
    TableContent,
    log_entry,
    manifest_version,
    parse_manifest,
    store_entry,
    table_entry,
)
from deploy.backup.platform_restore import read_sealed_manifest
from deploy.backup.seal import require_seal, seal
from deploy.backup.topic_messages import StoredMessage, clock_of, pack, unpack
from schemas.codec import encode
from schemas.errors import BadInput
from schemas.records import Clock
from tests.builders.platform import platform_identity

KEY = "k" * 40
IDENTITY = platform_identity()
BARS, ORDERS, STORE = table_entry("bars"), log_entry("orders", 0), store_entry("risk", "part-0.sqlite3")


def write_sealed(path: Path, change: Callable[[dict[str, Any]], object] = lambda tree: None, key: str = KEY) -> Path:
    """Write a small backup whose manifest is changed before it is sealed."""
    with path.open("w+b") as file:
        archive = ArchiveWriter(file)
        archive.add(BARS, b"1\t2\n")
        archive.add(ORDERS, pack(StoredMessage(1, None, b"x")))
        archive.add(STORE, b"SQLite")
        manifest = BackupManifest(
            created_at="2026-01-01T00:00:00+00:00",
            release="1",
            revision="0009",
            server="17",
            identity=IDENTITY,
            cut_ns=None,
            tables={"bars": TableContent(1, ("symbol", "seq"))},
            logs={("orders", 0): LogContent(0, 1)},
            stores=("risk",),
            options={},
            settings_sha256="",
            entries=dict(archive.entries),
        )
        tree = json.loads(manifest.to_json())
        change(tree)
        content = json.dumps(tree).encode()
        archive.add_plain("manifest.json", content)
        archive.add_plain("manifest.mac", seal(content, key))
        archive.finish()
    return path


def read_manifest(path: Path, key: str | None = KEY) -> BackupManifest:
    with closing(ArchiveReader(path)) as archive:
        return read_sealed_manifest(archive, key, None)


def test_a_sealed_backup_is_read_back(tmp_path: Path) -> None:
    manifest = read_manifest(write_sealed(tmp_path / "all.tar"))
    assert manifest.identity == IDENTITY
    assert manifest.tables == {"bars": TableContent(1, ("symbol", "seq"))}
    assert manifest.logs == {("orders", 0): LogContent(0, 1)}
    assert parse_manifest(manifest.to_json(), tmp_path) == manifest
    assert tarfile.open(tmp_path / "all.tar").getnames()[0] == BARS  # noqa: SIM115 - an ordinary tar


def test_a_backup_without_the_right_key_is_refused(tmp_path: Path) -> None:
    path = write_sealed(tmp_path / "all.tar")
    with pytest.raises(BadInput, match="is sealed; set the BACKUP_SEAL_KEY"):
        read_manifest(path, None)
    with pytest.raises(BadInput, match="sealed with another BACKUP_SEAL_KEY"):
        read_manifest(path, "x" * 40)


@pytest.mark.parametrize(("before", "after"), [(b'"epoch": 1', b'"epoch": 7'), (b"hmac-sha256", b"none-sha256")])
def test_a_changed_manifest_is_refused(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = write_sealed(tmp_path / "all.tar")
    content = path.read_bytes()
    assert before in content
    path.write_bytes(content.replace(before, after))
    with pytest.raises(BadInput, match=r"does not match its seal|must start with hmac-sha256"):
        read_manifest(path)


def test_a_changed_entry_is_refused(tmp_path: Path) -> None:
    path = write_sealed(tmp_path / "all.tar")
    content = bytearray(path.read_bytes())
    content[512] ^= 1  # the first byte of the first entry
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"entry database/bars\.copy\.zst is damaged"):
        read_manifest(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree["tables"].update({"bars; \\! touch /tmp/x": {"rows": 1, "columns": []}}),
        lambda tree: tree["tables"]["bars"]["columns"].append("a\") FROM PROGRAM ('touch /tmp/x'); --"),
        lambda tree: tree["logs"].update({"../../etc/0": {"start": 0, "end": 1}}),
        lambda tree: tree["logs"].update({"orders/0": {"start": 5, "end": 1}}),
        lambda tree: tree["stores"].append("../secrets"),
        lambda tree: tree["stores"].append("risk/../../secrets"),
        lambda tree: tree["entries"].update({"recovery/risk/../../x.zst": tree["entries"][STORE]}),
        lambda tree: tree["entries"].update({"models/../secrets/x.zst": tree["entries"][STORE]}),
        lambda tree: tree["entries"].pop(BARS),
        lambda tree: tree.pop("tables"),
        lambda tree: tree.update(identity={}),
    ],
)
def test_even_a_sealed_manifest_may_only_have_accepted_names(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    path = write_sealed(tmp_path / "all.tar", change)
    with pytest.raises(BadInput, match=r"entry manifest\.json is damaged: "):
        read_manifest(path)


def test_a_schema_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    path = write_sealed(tmp_path / "all.tar", lambda tree: tree.update(revision="9999"))
    with pytest.raises(BadInput, match="has schema 9999, which is unknown"):
        read_manifest(path)
    with pytest.raises(BadInput, match="has version 9, expected 1 or 2"):
        manifest_version(b'{"version": 9}', path)


def test_an_entry_that_the_manifest_does_not_list_is_refused(tmp_path: Path) -> None:
    path = write_sealed(tmp_path / "all.tar")
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("recovery/risk/part-1.sqlite3.zst")
        tar.addfile(info, io.BytesIO())
    with pytest.raises(BadInput, match="is not in the manifest"):
        read_manifest(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_only_regular_files_are_read(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "link.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("manifest.json")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(BadInput, match="is not a regular file"):
        ArchiveReader(path)


def test_an_entry_may_be_there_only_once(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "twice.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("manifest.json"))
    with pytest.raises(BadInput, match="is there twice"):
        ArchiveReader(tmp_path / "twice.tar")


@pytest.mark.parametrize("content", [b"", b"no tar" * 200, bytes(512), bytes(4096)])
def test_a_file_that_is_no_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "text.tar").write_bytes(content)
    with pytest.raises(BadInput, match="is not a backup or is damaged"):
        ArchiveReader(tmp_path / "text.tar")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    content = write_sealed(tmp_path / "all.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(content[:900])
    with pytest.raises(BadInput, match="ends after the end of the file"):
        ArchiveReader(tmp_path / "cut.tar")
    with pytest.raises(BadInput, match="No such file"):
        ArchiveReader(tmp_path / "absent.tar")


@pytest.mark.parametrize("encrypted", [False, True])
def test_an_entry_never_expands_beyond_the_size_in_the_manifest(tmp_path: Path, encrypted: bool) -> None:
    """50 MB of zeros are about 2 kB in the file."""
    key = x25519.Identity.generate() if encrypted else None
    with (tmp_path / "bomb.tar").open("w+b") as file:
        archive = ArchiveWriter(file, key.to_public() if key is not None else None)
        archive.add("database/bars.copy.zst", bytes(50_000_000))
        archive.finish()
    info = archive.entries["database/bars.copy.zst"]
    assert info.bytes < 20_000
    with closing(ArchiveReader(tmp_path / "bomb.tar")) as reader:
        received = 0
        with pytest.raises(BadInput, match="does not have the 1,000,000 bytes of the manifest"):
            for chunk in reader.chunks("database/bars.copy.zst", info._replace(raw_bytes=1_000_000), key):
                received += len(chunk)
        assert received <= 1_000_000
        assert sum(map(len, reader.chunks("database/bars.copy.zst", info, key))) == 50_000_000


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 3_000_000])
def test_entries_of_every_size_are_read_back_also_encrypted(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    key = x25519.Identity.generate()
    for name, recipient in (("plain", None), ("encrypted", key.to_public())):
        with (tmp_path / name).open("w+b") as file:
            archive = ArchiveWriter(file, recipient)
            archive.add("models/a.zst", content)
            archive.finish()
        with closing(ArchiveReader(tmp_path / name)) as reader:
            assert b"".join(reader.chunks("models/a.zst", archive.entries["models/a.zst"], key)) == content
            if recipient is not None:
                with pytest.raises(BadInput, match="BACKUP_KEY is not the key of this backup"):
                    list(reader.chunks("models/a.zst", archive.entries["models/a.zst"], x25519.Identity.generate()))
                with pytest.raises(BadInput, match="is encrypted; set its key in BACKUP_KEY"):
                    list(reader.chunks("models/a.zst", archive.entries["models/a.zst"], None))


def test_the_seal_does_not_reveal_the_key() -> None:
    sealed = seal(b"manifest", KEY)
    assert KEY.encode() not in sealed
    require_seal(b"manifest", sealed, KEY, Path("x"))
    with pytest.raises(BadInput, match="was changed after it was written"):
        require_seal(b"manifesT", sealed, KEY, Path("x"))


optional_bytes = st.none() | st.binary(max_size=50)
messages = st.builds(
    StoredMessage,
    timestamp_ms=st.integers(-1, 2**62),
    key=optional_bytes,
    value=optional_bytes,
    headers=st.lists(st.tuples(st.text(max_size=5), optional_bytes), max_size=3),
)


@given(st.lists(messages, max_size=8), st.integers(1, 60))
def test_messages_are_read_back_whatever_the_chunks(stored: list[StoredMessage], chunk_size: int) -> None:
    content = b"".join(pack(message) for message in stored)
    chunks = [content[at : at + chunk_size] for at in range(0, len(content), chunk_size)]
    assert [message._replace(headers=list(message.headers)) for message in unpack(chunks, "x")] == stored
    if content:
        with pytest.raises(BadInput, match="entry x ends within a message"):
            list(unpack([content[:-1]], "x"))


def test_a_message_length_is_bounded() -> None:
    frame = pack(StoredMessage(0, None, b"x"))
    too_long = frame[:12] + (2**31 - 1).to_bytes(4, "little") + frame[16:]
    with pytest.raises(BadInput, match="at most 67,108,864"):
        list(unpack([too_long], "x"))


def test_only_clocks_are_clocks() -> None:
    assert clock_of(encode(Clock(7, "market_data@1"))) == 7
    assert clock_of(None) is None
    assert clock_of(b"\0\0\0\0\x01") is None  # malformed
    assert clock_of(b"\0\0\0\0\x02abc") is None


def test_the_summary_has_rows_and_end_offsets(tmp_path: Path) -> None:
    manifest = read_manifest(write_sealed(tmp_path / "all.tar"))
    moved = replace(manifest, logs={("orders", 0): LogContent(5, 9)})
    assert (moved.rows, moved.messages) == (1, 4)
    assert moved.summary()["topics"] == {"orders/0": 9}
    assert moved.summary()["tables"] == {"bars": 1}

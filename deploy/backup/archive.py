"""Read and write a backup file: a tar of regular files, each compressed with zstd and encrypted on request.

Only the entries that the manifest lists are read, after their hashes have been compared. Links, folders and all other
kinds of tar entries are rejected. An entry never expands to more bytes than the manifest states.

The reader parses the tar itself: the parser of the standard library also follows links and long-name headers, which a
backup does not have.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import pyarrow

from deploy.backup.encryption import ENCRYPTED_SUFFIX, copy_decrypted, copy_encrypted
from schemas.errors import BadInput

if TYPE_CHECKING:
    from pyrage.x25519 import Identity, Recipient

BLOCK_BYTES = tarfile.BLOCKSIZE
CHUNK_BYTES = 1 << 20
ENTRIES_MAX = 20_000
_EXTENDED_HEADER_BYTES_MAX = 1 << 16

Write = Callable[[bytes], object]


class EntryInfo(NamedTuple):
    """One entry: bytes and SHA-256 as stored in the file (compressed, encrypted), and its bytes when expanded."""

    bytes: int
    sha256: str
    raw_bytes: int


class StoredEntry(NamedTuple):
    """Where the content of an entry is in the file, in bytes."""

    offset: int
    bytes: int


class _HashedFile(io.RawIOBase):
    """Counts and hashes what is written to `target`. Closing it leaves `target` open."""

    def __init__(self, target: IO[bytes]) -> None:
        super().__init__()
        self._target, self.bytes, self.digest = target, 0, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        content = bytes(block)
        self._target.write(content)
        self.digest.update(content)
        self.bytes += len(content)
        return len(content)


class ArchiveWriter:
    """Writes entries one after another to `file`. With a recipient, each is encrypted and its name ends in `.age`."""

    def __init__(self, file: IO[bytes], recipient: Recipient | None = None) -> None:
        self._file, self._recipient = file, recipient
        self.entries: dict[str, EntryInfo] = {}

    @contextmanager
    def entry(self, name: str) -> Iterator[Write]:
        """Add an entry, compressed and encrypted. The block writes its content with the yielded function."""
        header_at = self._file.tell()
        self._file.write(bytes(BLOCK_BYTES))
        stored, raw_bytes = _HashedFile(self._file), 0
        with self._encrypted(stored) as target:
            sink = pyarrow.CompressedOutputStream(pyarrow.PythonFile(target, mode="w"), "zstd")

            def write(content: bytes) -> None:
                nonlocal raw_bytes
                raw_bytes += len(content)
                sink.write(content)

            try:
                yield write
            finally:
                sink.close()
        self._file.write(bytes(-stored.bytes % BLOCK_BYTES))
        suffix = "" if self._recipient is None else ENCRYPTED_SUFFIX
        self._write_header(name + suffix, header_at, stored.bytes)
        self.entries[name] = EntryInfo(bytes=stored.bytes, sha256=stored.digest.hexdigest(), raw_bytes=raw_bytes)

    def add(self, name: str, content: bytes) -> None:
        with self.entry(name) as write:
            write(content)

    def add_plain(self, name: str, content: bytes) -> None:
        """Add an entry that is neither compressed, encrypted nor listed."""
        header_at = self._file.tell()
        self._file.write(bytes(BLOCK_BYTES) + content + bytes(-len(content) % BLOCK_BYTES))
        self._write_header(name, header_at, len(content))

    def finish(self) -> None:
        """Write the end of the tar."""
        self._file.write(bytes(2 * BLOCK_BYTES))

    def _write_header(self, name: str, header_at: int, size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        end = self._file.tell()
        self._file.seek(header_at)
        self._file.write(info.tobuf(tarfile.GNU_FORMAT))
        self._file.seek(end)

    @contextmanager
    def _encrypted(self, stored: _HashedFile) -> Iterator[io.RawIOBase]:
        if self._recipient is None:
            yield stored
            return
        recipient, failures = self._recipient, list[Exception]()
        read_end, write_end = os.pipe()

        def encrypt() -> None:
            with os.fdopen(read_end, "rb") as source:
                try:
                    copy_encrypted(source, stored, recipient)  # type: ignore[arg-type]  # write and flush are enough
                except Exception as error:  # noqa: BLE001 - raised again by the writing thread
                    failures.append(error)

        thread = threading.Thread(target=encrypt)
        thread.start()
        target = io.FileIO(write_end, "wb")
        try:
            yield target
        except BrokenPipeError:
            pass  # the thread has failed
        finally:
            target.close()
            thread.join()
        if failures:
            raise failures[0]


class ArchiveReader:
    """Finds the entries of a backup file. Raises BadInput if it is not a tar or has an entry that is not a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise BadInput(f"cannot read {path}: {error.strerror}") from error
        try:
            self.entries = self._find_entries()
        except OSError as error:
            self.close()
            raise BadInput(f"cannot read {path}: {error.strerror}") from error
        except BadInput:
            self.close()
            raise

    def close(self) -> None:
        self._file.close()

    def _find_entries(self) -> dict[str, StoredEntry]:
        entries: dict[str, StoredEntry] = {}
        file_bytes, at = os.fstat(self._file.fileno()).st_size, 0
        while True:
            self._file.seek(at)
            header = self._file.read(BLOCK_BYTES)
            if entries and header == bytes(BLOCK_BYTES):
                return entries
            try:
                info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
            except (tarfile.HeaderError, UnicodeDecodeError) as error:
                raise BadInput(f"{self.path} is not a backup or is damaged: {error or 'invalid header'}") from error
            content = StoredEntry(at + BLOCK_BYTES, info.size)
            at = content.offset + info.size + -info.size % BLOCK_BYTES
            if info.size < 0 or at > file_bytes:
                raise BadInput(f"{self.path} is damaged: entry {info.name} ends after the end of the file")
            if info.type == tarfile.XHDTYPE and info.size <= _EXTENDED_HEADER_BYTES_MAX:
                continue  # times in fractions of a second, which releases before 0.3.0 wrote
            if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                raise BadInput(f"{self.path}: entry {info.name} is not a regular file")
            if info.name in entries or len(entries) >= ENTRIES_MAX:
                raise BadInput(f"{self.path}: entry {info.name} is there twice, or there are too many entries")
            entries[info.name] = content

    def stored_name(self, name: str) -> str:
        """Return the name of an entry in the file, with `.age` if it is encrypted. Raises BadInput if it is missing."""
        for stored in (name, name + ENCRYPTED_SUFFIX):
            if stored in self.entries:
                return stored
        raise BadInput(f"{self.path}: entry {name} is missing")

    def read_stored(self, name: str, bytes_max: int) -> bytes:
        """Return a small entry as it is stored. Raises BadInput if it is missing or larger than `bytes_max`."""
        entry = self.entries[self.stored_name(name)]
        if entry.bytes > bytes_max:
            raise BadInput(f"{self.path}: entry {name} has {entry.bytes:,} bytes, at most {bytes_max:,} are expected")
        self._file.seek(entry.offset)
        return self._file.read(entry.bytes)

    def stored_chunks(self, name: str) -> Iterator[bytes]:
        """Yield an entry as it is stored."""
        entry = self.entries[self.stored_name(name)]
        with self.path.open("rb") as file:
            file.seek(entry.offset)
            left = entry.bytes
            while left:
                chunk = file.read(min(left, CHUNK_BYTES))
                if not chunk:
                    raise BadInput(f"{self.path} was truncated while it was read")
                left -= len(chunk)
                yield chunk

    def require_hash(self, name: str, expected: EntryInfo) -> None:
        """Raises BadInput if the stored entry differs from its description."""
        digest = hashlib.sha256()
        for chunk in self.stored_chunks(name):
            digest.update(chunk)
        if (found := digest.hexdigest()) != expected.sha256:
            raise BadInput(
                f"{self.path}: entry {name} is damaged: its SHA-256 starts with {found[:12]}, expected "
                f"{expected.sha256[:12]} (manifest)"
            )

    def decrypt(self, name: str, target: Any, identity: Identity | None) -> None:
        """Copy an entry to `target.write`, decrypted if it is encrypted. Raises BadInput."""
        if self.stored_name(name) == name:
            for chunk in self.stored_chunks(name):
                target.write(chunk)
            return
        source = ChunkReader(self.stored_chunks(name))
        copy_decrypted(source, target, identity, self.path)  # type: ignore[arg-type]  # read is enough

    def chunks(self, name: str, expected: EntryInfo, identity: Identity | None) -> Iterator[bytes]:
        """Yield the expanded content of an entry. Raises BadInput if it has another size than `expected`."""
        with self._decrypted(name, identity) as stored:
            left = expected.raw_bytes
            try:
                with pyarrow.CompressedInputStream(pyarrow.PythonFile(stored, mode="r"), "zstd") as expanded:
                    while chunk := expanded.read(CHUNK_BYTES):
                        left -= len(chunk)
                        if left < 0:
                            break
                        yield chunk
            except (pyarrow.ArrowException, OSError) as error:
                raise BadInput(f"{self.path}: entry {name} cannot be expanded: {error}") from error
            if left:
                raise BadInput(
                    f"{self.path}: entry {name} does not have the {expected.raw_bytes:,} bytes of the manifest"
                )

    @contextmanager
    def _decrypted(self, name: str, identity: Identity | None) -> Iterator[Any]:
        if self.stored_name(name) == name:
            with closing(ChunkReader(self.stored_chunks(name))) as reader:
                yield reader
            return
        read_end, write_end = os.pipe()
        failures: list[Exception] = []

        def decrypt() -> None:
            with suppress(BrokenPipeError), os.fdopen(write_end, "wb") as target:  # broken: the reader has stopped
                try:
                    self.decrypt(name, target, identity)
                except Exception as error:  # noqa: BLE001 - raised again by the reading thread
                    failures.append(error)  # before the end of the pipe, which the reader then sees

        thread = threading.Thread(target=decrypt)
        thread.start()
        source = os.fdopen(read_end, "rb")
        try:
            yield source
        finally:
            decryption_failed = bool(failures)  # else the reader stopped first, and its own error says why
            source.close()
            thread.join()
            if decryption_failed or (failures and sys.exception() is None):
                raise failures[0]


class ChunkReader(io.RawIOBase):
    """A file over chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks, self._left = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = next(self._chunks, b"")
        block = self._left[: len(buffer)]
        buffer[: len(block)] = block
        self._left = self._left[len(block) :]
        return len(block)

"""Read and write Avro object container files of raw messages, compressed with zstd.

A file holds consecutive messages of one log (one partition of a topic), byte for byte as Kafka has them. Any Avro
library with the codec `zstandard` reads it. The metadata `writer.schemas` maps the schema ids in the values to the Avro
schemas of the records, so that a file can be read without the platform.

This module writes the container itself, because fastavro needs another package for zstd. pyarrow already includes zstd.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import fastavro

from schemas.errors import Unavailable

CODEC = "zstandard"
_MAGIC = b"Obj\x01"
_BLOCK_BYTES = 1 << 20
_BLOCK_BYTES_MAX = 256 << 20
_SYNC_BYTES = 16
_OPTIONAL_BYTES = ["null", "bytes"]
_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "ArchivedMessage",
    "namespace": "platform",
    "fields": [
        {"name": "offset", "type": "long"},
        {"name": "timestamp_ms", "type": "long"},
        {"name": "key", "type": _OPTIONAL_BYTES},
        {"name": "value", "type": _OPTIONAL_BYTES},
        {
            "name": "headers",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Header",
                    "fields": [{"name": "name", "type": "string"}, {"name": "value", "type": _OPTIONAL_BYTES}],
                },
            },
        },
    ],
}
_PARSED = fastavro.parse_schema(json.loads(json.dumps(_SCHEMA)))


class ArchivedMessage(NamedTuple):
    """One message. `timestamp_ms` is in ms since 1970, 0 if the broker has none."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class ContainerWriter:
    """Writes messages to `file`, which is open for writing and empty. `metadata` becomes metadata of the file."""

    def __init__(self, file: IO[bytes], metadata: Mapping[str, str]) -> None:
        self._file, self._block, self._count = file, io.BytesIO(), 0
        self._sync = hashlib.sha256(json.dumps(sorted(metadata.items())).encode()).digest()[:_SYNC_BYTES]
        entries = {"avro.codec": CODEC, "avro.schema": json.dumps(_SCHEMA, separators=(",", ":")), **metadata}
        file.write(_MAGIC)
        fastavro.schemaless_writer(
            file,
            {"type": "map", "values": "bytes"},
            {name: text.encode() for name, text in entries.items()},
        )
        file.write(self._sync)

    def add(self, message: ArchivedMessage) -> None:
        offset, timestamp_ms, key, value, headers = message
        row: dict[str, Any] = {"offset": offset, "timestamp_ms": timestamp_ms, "key": key, "value": value}
        row["headers"] = [{"name": name, "value": content} for name, content in headers]
        fastavro.schemaless_writer(self._block, _PARSED, row)
        self._count += 1
        if self._block.tell() >= _BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the messages added so far as a block. Call it after the last message."""
        if not self._count:
            return
        import pyarrow  # here, because the services that archive nothing do not need it

        compressed = pyarrow.compress(self._block.getvalue(), codec="zstd", asbytes=True)
        fastavro.schemaless_writer(self._file, "long", self._count)
        fastavro.schemaless_writer(self._file, "long", len(compressed))
        self._file.write(compressed)
        self._file.write(self._sync)
        self._block, self._count = io.BytesIO(), 0


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal. Raises Unavailable if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Unavailable(f"cannot read the archive file {path}: {error.strerror}") from error


def read_container(path: Path) -> Iterator[ArchivedMessage]:
    """Yield the messages of a file. Raises Unavailable, naming the file, if it is damaged or cannot be read."""
    try:
        with path.open("rb") as file:
            yield from _messages(file)
    except OSError as error:
        raise Unavailable(f"cannot read the archive file {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, KeyError, IndexError, TypeError, StopIteration) as error:
        raise Unavailable(f"the archive file {path} is damaged: {error or type(error).__name__}") from error


def _messages(file: IO[bytes]) -> Iterator[ArchivedMessage]:
    if file.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("it is not an Avro container")
    metadata = cast("dict[str, bytes]", fastavro.schemaless_reader(file, {"type": "map", "values": "bytes"}, None))
    if metadata.get("avro.codec") != CODEC.encode():
        raise ValueError(f"expected the codec {CODEC}, found {metadata.get('avro.codec')!r}")
    sync = file.read(_SYNC_BYTES)
    while start := file.read(1):
        file.seek(-len(start), io.SEEK_CUR)
        count, size = _read_long(file), _read_long(file)
        if not 0 <= size <= _BLOCK_BYTES_MAX:
            raise ValueError(f"a block has {size:,} bytes, expected at most {_BLOCK_BYTES_MAX:,}")
        yield from _block(file.read(size), count)
        if file.read(_SYNC_BYTES) != sync:
            raise ValueError("a block does not end with the marker of the file")


def _read_long(file: IO[bytes]) -> int:
    return cast("int", fastavro.schemaless_reader(file, "long", None))


def _block(compressed: bytes, count: int) -> Iterable[ArchivedMessage]:
    import pyarrow

    with pyarrow.CompressedInputStream(pyarrow.BufferReader(compressed), "zstd") as stream:
        source = io.BytesIO(stream.read())
    for _ in range(count):
        row = cast("dict[str, Any]", fastavro.schemaless_reader(source, _PARSED, None))
        headers = tuple((header["name"], header["value"]) for header in row["headers"])
        yield ArchivedMessage(row["offset"], row["timestamp_ms"], row["key"], row["value"], headers)

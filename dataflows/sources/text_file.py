"""Open text files of market data, plain or gzip, and describe files that are not text of UTF-8."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

from schemas.errors import BadInput

START_BYTES = 4096  # of a file, from which its format is recognized
_SIGNATURES = (
    (b"PK\x03\x04", "is a spreadsheet or a ZIP archive; export the sheet as CSV, or unpack the archive"),
    (b"\xd0\xcf\x11\xe0", "is a spreadsheet of Excel 97; export the sheet as CSV"),
    (b"\x1f\x8b", "is compressed with gzip; its name must end in .gz"),
    (b"PAR1", "is Parquet; its name must end in .parquet"),
)


@contextmanager
def open_text(path: Path) -> Iterator[BufferedIOBase]:
    """Open a file for reading as bytes; a file whose name ends in `.gz` is decompressed.

    Raises BadInput if compressed data is damaged, and OSError if the file cannot be opened.
    """
    is_gzip = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path, "rb") if is_gzip else path.open("rb") as file:
            yield file
    except gzip.BadGzipFile:
        raise BadInput(f"file {path} is not compressed with gzip, although its name ends in .gz") from None
    except (EOFError, zlib.error):
        raise BadInput(f"file {path} is incomplete or damaged gzip data; download or compress it again") from None


def format_problem(start: bytes) -> str | None:
    """Return what a file is that is not CSV of UTF-8, and what to do, from its first bytes; None if it may be CSV.

    >>> format_problem("time,open".encode("utf-16"))
    'is text of UTF-16; save it as CSV UTF-8'
    """
    for signature, problem in _SIGNATURES:
        if start.startswith(signature):
            return problem
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "is text of UTF-16; save it as CSV UTF-8"
    if b"\0" in start.partition(b"\n")[0]:
        nulls = max(start[::2].count(0), start[1::2].count(0))
        return "is text of UTF-16; save it as CSV UTF-8" if nulls > 0.4 * len(start) else "is binary data, not text"
    if start.lstrip()[:9].lower().startswith((b"<html", b"<!doctype", b"<?xml")):
        return "is a web page or XML, not CSV; open it to see what the server answered"
    if start.lstrip().startswith((b"{", b"[{")):
        return "is JSON, not CSV"
    return None


def line_end_problem(start: bytes) -> str | None:
    """Return the problem of a file whose lines end with a carriage return only, or None."""
    if b"\r" in start and b"\n" not in start:
        return "has lines that end with a carriage return (CR) only; save it with line ends LF or CR LF"
    return None

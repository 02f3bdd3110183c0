"""Read the body of an HTTP response with a limit on its size after decompression, and on its duration."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator

import httpx

ACCEPT_ENCODING = "gzip, deflate"
"""Requests must send this as `Accept-Encoding`: other encodings have no bounded decoder here and are refused."""
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_PIECE_BYTES = 65_536


class BodyRefused(httpx.DecodingError):
    """The body is too large, took too long, or has an encoding that was not requested."""


def read_body(response: httpx.Response, *, bytes_max: int, timeout_s: float) -> bytes:
    """Return the decompressed body of a streamed response, of at most `bytes_max` bytes.

    Memory is bounded also for a body that decompresses to gigabytes. `timeout_s` bounds the whole read: httpx starts
    its own timeout again with each chunk. Raises BodyRefused, or another httpx.HTTPError for a failed connection.
    """
    deadline_s = time.monotonic() + timeout_s
    content = bytearray()
    for piece in _decoded(response, response.headers.get("content-encoding", "").strip().lower()):
        content += piece
        if len(content) > bytes_max:
            raise BodyRefused(f"the response is larger than {bytes_max} bytes")
        if time.monotonic() > deadline_s:
            raise BodyRefused(f"the response took longer than {timeout_s:g} s")
    return bytes(content)


def _decoded(response: httpx.Response, encoding: str) -> Iterator[bytes]:
    """Yield the body in pieces of at most `_PIECE_BYTES`, or of one chunk of the connection if it is not compressed."""
    if encoding in ("", "identity"):
        yield from response.iter_raw()
        return
    if encoding not in _WINDOW_BITS:
        raise BodyRefused(f"the response has the encoding {encoding[:40]!r}, expected {ACCEPT_ENCODING}")
    decompressor = zlib.decompressobj(_WINDOW_BITS[encoding])
    for chunk in response.iter_raw():
        waiting = chunk
        while waiting and not decompressor.eof:
            try:
                yield decompressor.decompress(waiting, _PIECE_BYTES)
            except zlib.error as error:
                raise BodyRefused(f"the response is not {encoding}: {error}") from error
            waiting = decompressor.unconsumed_tail
    if not decompressor.eof:
        raise BodyRefused(f"the response ends within its {encoding} data")

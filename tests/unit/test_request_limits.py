"""The middleware against single messages: what it reads, and what it leaves unread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message, Receive, Scope, Send

from api import request_limits
from api.request_limits import ANONYMOUS_BODY_MAX_BYTES, BODY_MAX_BYTES, RequestLimits, exceeds_json_depth

VALID = (b"authorization", b"Bearer valid")


class Endpoint:
    """An application that reads the whole body."""

    def __init__(self) -> None:
        self.body: bytes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.body = b""
        more = True
        while more:
            message = await receive()
            self.body += message.get("body", b"")
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def _request(
    chunks: Iterable[bytes], *headers: tuple[bytes, bytes], path: str = "/api/v1/orders"
) -> tuple[int, bytes | None, int]:
    """Return the status, the body that reached the endpoint, and the number of messages that were read."""
    endpoint, sent, reads = Endpoint(), [], 0
    limits = RequestLimits(endpoint, is_valid_token=lambda token: token == "valid", registry=CollectorRegistry())
    pending = list(chunks)

    async def receive() -> Message:
        nonlocal reads
        reads += 1
        chunk = pending.pop(0) if pending else b""
        return {"type": "http.request", "body": chunk, "more_body": bool(pending)}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": path, "query_string": b"", "scheme": "http"}
    asyncio.run(limits({**scope, "headers": list(headers)}, receive, send))
    return sent[0]["status"], endpoint.body, reads


CHUNKED = (b"transfer-encoding", b"chunked")


def _length(size: int) -> tuple[bytes, bytes]:
    return b"content-length", str(size).encode()


def test_without_a_valid_token_nothing_is_read() -> None:
    for headers in (
        (CHUNKED,),
        (_length(3),),
        (_length(3), (b"authorization", b"Bearer forged")),
        (_length(3), (b"authorization", b"Basic valid")),
        (_length(3), (b"authorization", b"Bearer ")),
    ):
        assert _request([b"abc"], *headers) == (401, None, 0)


def test_a_body_reaches_the_endpoint_unchanged() -> None:
    body = [b'{"a": ', b'"[[[[', b'"}']
    assert _request(body, CHUNKED, VALID) == (200, b'{"a": "[[[["}', 3)
    assert _request(body, _length(13), VALID) == (200, b'{"a": "[[[["}', 3)
    assert _request([], path="/health") == (200, b"", 1)


def test_a_body_above_the_limit_is_refused_by_its_length_or_while_it_arrives() -> None:
    assert _request([b"x" * 10], _length(BODY_MAX_BYTES + 1), VALID) == (413, None, 0)
    assert _request([b"x" * 10], (b"content-length", b"9" * 40), VALID) == (413, None, 0)
    status, body, reads = _request([b"x" * 30_000] * 100, CHUNKED, VALID)
    assert (status, body, reads) == (413, None, 3)
    # A length that is too small does not help: the server counts.
    assert _request([b"x" * 30_000] * 100, _length(5), VALID)[:2] == (413, None)
    assert _request([b"x" * BODY_MAX_BYTES], CHUNKED, VALID)[0] == 200


@pytest.mark.parametrize("path", ["/api/v1/auth/login", "/api/v1/auth/refresh", "/health", "/none"])
def test_a_body_without_need_for_a_token_has_a_small_limit(path: str) -> None:
    assert _request([b"x" * ANONYMOUS_BODY_MAX_BYTES], CHUNKED, path=path)[0] == 200
    assert _request([b"x" * (ANONYMOUS_BODY_MAX_BYTES + 1)], CHUNKED, path=path)[:2] == (413, None)


@pytest.mark.parametrize("length", [b"-1", b"abc", b"1e3", b"", "٣".encode()])
def test_a_length_that_is_no_number_is_refused(length: bytes) -> None:
    assert _request([b"x"], (b"content-length", length), VALID)[0] == 400


def test_a_slow_body_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "BODY_TIMEOUT_S", 0.01)
    limits = RequestLimits(Endpoint(), is_valid_token=lambda token: True, registry=CollectorRegistry())
    sent: list[Message] = []

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("the event is never set")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/api/v1/orders", "query_string": b"", "headers": [CHUNKED, VALID]}
    asyncio.run(limits(scope, never, send))
    assert sent[0]["status"] == 408


@pytest.mark.parametrize(
    ("body", "deep"),
    [
        (b"[" * 3, True),
        (b"[[]]" * 50, False),
        (b'{"a": {"b": 1}}', False),
        (b'{"a": {"b": {}}}', True),
        (b'"[[[[[[" [[', False),
        (b'"\\"[[[[[" [', False),
        (b'"unterminated [[[[[[', False),
        (b"]]]][[", False),
        (b"", False),
    ],
)
def test_nesting_counts_only_outside_strings(body: bytes, deep: bool) -> None:
    assert exceeds_json_depth(body, 2) is deep

"""HTTP GET with the validators of the last response (ETag, Last-Modified), bounded in size and time."""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx

from schemas.errors import Unavailable


class ConditionalGet:
    """Fetches URLs. `max_bytes` bounds a decompressed response, `timeout_s` each wait and, doubled, the request."""

    def __init__(self, *, timeout_s: float, max_bytes: int, headers: Mapping[str, str]) -> None:
        self._timeout_s, self._max_bytes = timeout_s, max_bytes
        self._client = httpx.Client(timeout=timeout_s, follow_redirects=True, headers=dict(headers))
        self._validators: dict[str, dict[str, str]] = {}  # url -> headers of a conditional request

    def get(self, url: str) -> bytes | None:
        """Return the body, or None if it has not changed. Raises Unavailable, naming the URL."""
        try:
            return self._get(url)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            message = " ".join((str(error) or type(error).__name__).split())
            raise Unavailable(f"{url}: {message}") from error

    def _get(self, url: str) -> bytes | None:
        deadline = time.monotonic() + 2 * self._timeout_s  # httpx restarts its own timeout with each chunk
        with self._client.stream("GET", url, headers=self._validators.get(url, {})) as response:
            if response.status_code == httpx.codes.NOT_MODIFIED:
                return None
            response.raise_for_status()
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > self._max_bytes:
                    raise Unavailable(f"{url}: the response is larger than {self._max_bytes} bytes")
                if time.monotonic() > deadline:
                    raise Unavailable(f"{url}: the response took longer than {2 * self._timeout_s:g} s")
        validator_headers = (("If-None-Match", "etag"), ("If-Modified-Since", "last-modified"))
        self._validators[url] = {
            request_header: response.headers[response_header]
            for request_header, response_header in validator_headers
            if response_header in response.headers
        }
        return bytes(content)

    def forget_validators(self, url: str) -> None:
        """Request the full response next time, because the last one was unusable."""
        self._validators.pop(url, None)

    def close(self) -> None:
        self._client.close()

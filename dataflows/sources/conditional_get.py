"""HTTP GET with the validators of the last response (ETag, Last-Modified), bounded in size and time."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import httpx

from dataflows.sources.bounded_body import read_body
from dataflows.sources.public_http import PublicClient
from schemas.errors import Unavailable


class ConditionalGet:
    """Fetches URLs. `max_bytes` bounds a decompressed response, `timeout_s` each wait and, doubled, the request.

    `redirect_hosts` and `private_addresses` define where it may connect (`public_http.py`).
    """

    def __init__(
        self,
        *,
        timeout_s: float,
        max_bytes: int,
        headers: Mapping[str, str],
        redirect_hosts: Collection[str] = (),
        private_addresses: bool = False,
    ) -> None:
        self._timeout_s, self._max_bytes = timeout_s, max_bytes
        self._client = PublicClient(
            timeout_s=timeout_s, headers=headers, redirect_hosts=redirect_hosts, private_addresses=private_addresses
        )
        self._validators: dict[str, dict[str, str]] = {}  # url -> headers of a conditional request

    def get(self, url: str) -> bytes | None:
        """Return the body, or None if it has not changed. Raises Unavailable, naming the URL."""
        try:
            return self._get(url)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            message = " ".join((str(error) or type(error).__name__).split())
            raise Unavailable(f"{url}: {message}") from error

    def _get(self, url: str) -> bytes | None:
        with self._client.stream(url, self._validators.get(url, {})) as response:
            if response.status_code == httpx.codes.NOT_MODIFIED:
                return None
            response.raise_for_status()
            content = read_body(response, bytes_max=self._max_bytes, timeout_s=2 * self._timeout_s)
        validator_headers = (("If-None-Match", "etag"), ("If-Modified-Since", "last-modified"))
        self._validators[url] = {
            request_header: response.headers[response_header]
            for request_header, response_header in validator_headers
            if response_header in response.headers
        }
        return content

    def forget_validators(self, url: str) -> None:
        """Request the full response next time, because the last one was unusable."""
        self._validators.pop(url, None)

    def close(self) -> None:
        self._client.close()

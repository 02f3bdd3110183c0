"""A `requests` session with a default timeout, for Alpaca's clients."""

from __future__ import annotations

from typing import Any

from requests import Response, Session


class BoundedSession(Session):
    """A session whose requests time out after `timeout_s` seconds: `requests` itself has no default timeout."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__()
        self._timeout_s = timeout_s

    def request(self, *arguments: Any, **options: Any) -> Response:
        options.setdefault("timeout", self._timeout_s)
        return super().request(*arguments, **options)

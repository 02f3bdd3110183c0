"""The errors of requests to a broker. Each error states whether the request took effect."""

from __future__ import annotations


class BrokerRejected(Exception):
    """The broker rejected the request: it had no effect."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class BrokerThrottled(Exception):
    """Too many requests: the request had no effect. Retry after `wait_s` seconds."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many requests, retry in {wait_s:g} s")
        self.wait_s = wait_s


class BrokerUncertain(Exception):
    """No response, or an inconclusive one: the request may or may not have taken effect."""

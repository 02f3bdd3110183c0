"""The topic of recorded timeouts of handlers in a real Kafka."""

from __future__ import annotations

import uuid

import pytest

from dataflows.runtime.handler_timeouts import TOPIC, publish_timeouts, recorded_timeouts
from schemas.errors import Unavailable
from schemas.records import HandlerTimeout
from tests.integration.recorded_platform import kafka_settings, make_topics
from tests.unit.tape import settings

TIMEOUT = HandlerTimeout(
    ts_ns=60,
    strategy="pairs",
    symbol="",
    call=2,
    handler="on_slice",
    measure="PROCESSOR_TIME",
    limit_s=5.0,
    file="pairs.py",
    line=12,
)


def test_recorded_timeouts_are_read_by_time_slice(kafka: str) -> None:
    section = kafka_settings(settings(), kafka, make_topics(kafka))
    assert recorded_timeouts(section) == {}
    later = TIMEOUT._replace(ts_ns=120, symbol="A")
    assert publish_timeouts(section, [TIMEOUT, later]) and publish_timeouts(section, [TIMEOUT])
    assert recorded_timeouts(section) == {60: [TIMEOUT, TIMEOUT], 120: [later]}


def test_a_log_of_an_older_release_has_no_timeouts(kafka: str) -> None:
    """It has no such topic. A replay of it reads none."""
    section = kafka_settings(settings(), kafka, f"old-{uuid.uuid4().hex[:8]}.")
    assert recorded_timeouts(section) == {}


def test_timeouts_that_cannot_be_read_are_an_error() -> None:
    """A service without them would call the handler again."""
    section = kafka_settings(settings(), "127.0.0.1:1", "x.")
    with pytest.raises(Unavailable, match=f"topic x.{TOPIC}: "):
        recorded_timeouts(section)

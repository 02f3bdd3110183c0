"""Process logs: one JSON object per line, log levels, and no secrets."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog

from configs import logs
from dataflows.runtime.record_log import LINES_PER_SECOND, LOG_LINES, RecordLog
from deploy.supervisor.processes import last_log_message
from schemas.records import TOPIC_OF
from tests.builders import execution, refusal

ROOT = Path(__file__).parents[2]


@pytest.fixture
def log_stream(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Capture the log of the service `risk`."""
    monkeypatch.setenv("ALPACA_SECRET_KEY", "s3cr3t-of-the-broker")
    stream = io.StringIO()
    logs.configure("risk", "INFO", stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_time_level_event_and_service(log_stream: io.StringIO) -> None:
    structlog.get_logger("part").warning("order refused", symbol="AAPL", quantity=3, why="a\nb")
    logging.getLogger("alembic").error("from the %s library", "standard")
    own, foreign = lines(log_stream)
    assert list(own)[:4] == ["timestamp", "level", "service", "event"]
    assert (own["level"], own["event"], own["service"], own["logger"]) == ("warning", "order refused", "risk", "part")
    assert (own["symbol"], own["quantity"], own["why"]) == ("AAPL", 3, "a\nb")
    assert own["timestamp"].endswith("Z") and own["timestamp"][10] == "T"
    assert (foreign["level"], foreign["event"], foreign["service"]) == ("error", "from the standard library", "risk")


def test_lines_below_the_level_are_not_written(log_stream: io.StringIO) -> None:
    structlog.get_logger("part").debug("too much")
    logs.configure("risk", "DEBUG", stream=log_stream)
    structlog.get_logger("part").debug("asked for")
    logs.configure("risk", "ERROR", stream=log_stream)
    structlog.get_logger("part").warning("too little")
    assert [line["event"] for line in lines(log_stream)] == ["asked for"]


def test_an_exception_is_included_in_its_line(log_stream: io.StringIO) -> None:
    try:
        raise ValueError("no such price")
    except ValueError as error:
        structlog.get_logger("part").error("failed", exc_info=error)
    [line] = lines(log_stream)
    assert "ValueError: no such price" in line["exception"] and "Traceback" in line["exception"]


@pytest.mark.parametrize(
    ("fields", "secret"),
    [
        ({"password": "hunter2"}, "hunter2"),
        ({"alpaca_api_key": "PK123"}, "PK123"),
        ({"headers": {"Authorization": "Basic dXNlcjpwYXNz"}}, "dXNlcjpwYXNz"),
        ({"url": "postgresql://me:p%40ss@db:5432/books"}, "p%40ss"),
        ({"error": "GET /stream?token=abcdef1234 failed"}, "abcdef1234"),
        ({"error": "sent Bearer abcdef.ghijkl-12345"}, "ghijkl"),
        ({"error": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl is old"}, "eyJhbGci"),
        ({"deep": [{"text": "the broker said s3cr3t-of-the-broker"}]}, "s3cr3t-of-the-broker"),
        ({"error": RuntimeError("key s3cr3t-of-the-broker")}, "s3cr3t-of-the-broker"),
        ({"said": "the vault's own-value-99"}, "own-value-99"),
    ],
)
def test_a_secret_is_masked_wherever_it_is(log_stream: io.StringIO, fields: dict[str, Any], secret: str) -> None:
    logs.mask_values(["own-value-99"])
    structlog.get_logger("part").warning("look", **fields)
    assert secret not in log_stream.getvalue() and logs.MASK in log_stream.getvalue()


def test_non_secret_fields_stay_readable(log_stream: io.StringIO) -> None:
    fields = {"username": "ann", "token_version": 3, "password_file": "admin-password", "symbol": "KEY", "path": "/a/b"}
    structlog.get_logger("part").info("the basic facts", **fields)
    [line] = lines(log_stream)
    assert {name: line[name] for name in fields} == fields


def test_fatal_error_is_one_line_of_the_log(tmp_path: Path) -> None:
    program = (
        "from configs import logs; from schemas.errors import BadInput; logs.configure('risk')\n"
        "try:\n raise BadInput('setting x: expected 1, found 2')\n"
        "except BadInput as error:\n raise RuntimeError('the engine stopped') from error\n"
    )
    log = tmp_path / "risk.log"
    with log.open("wb") as out:
        result = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, check=False
        )
    assert result.returncode == 1
    [line] = [json.loads(text) for text in log.read_text().splitlines()]
    assert line["level"] == "critical" and "the engine stopped" in line["exception"]
    assert last_log_message(log) == "error: setting x: expected 1, found 2"


def test_orders_executions_and_refusals_are_in_the_log(log_stream: io.StringIO) -> None:
    record_log = RecordLog()
    record_log(execution(1, 10, "AAPL", 5, 150.0))
    record_log(execution(2, 11, "AAPL", 5, 150.0)._replace(exec_type="EXPIRED"))
    record_log(
        refusal(
            1,
            12,
            "AAPL",
            "kill_switch",
            quantity=5,
            found="HALTED",
            limit="ACTIVE",
            message="trading is halted",
        )
    )
    assert [(line["event"], line["level"]) for line in lines(log_stream)] == [
        ("order execution", "info"),
        ("order update", "info"),
        ("order refused", "warning"),
    ]
    assert set(LOG_LINES) <= TOPIC_OF.keys()


def test_a_flood_of_records_does_not_become_a_flood_of_lines(
    log_stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("dataflows.runtime.record_log.time.monotonic", lambda: now[0])
    record_log = RecordLog()
    for seq in range(1000):
        record_log(execution(seq + 1, 10, "AAPL", 5, 150.0))
    assert len(lines(log_stream)) == LINES_PER_SECOND
    now[0] = 101.5
    record_log(execution(1001, 11, "AAPL", 5, 150.0))
    assert [line.get("suppressed") for line in lines(log_stream)[LINES_PER_SECOND:]] == [1000 - LINES_PER_SECOND, None]

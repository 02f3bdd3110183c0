"""JSON logs of the platform and text logs of other processes form one stream of entries."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.commands.logs import parse_filter
from deploy.home import REPOSITORY
from deploy.service_names import resolve_service
from deploy.supervisor.log_lines import LogFilter, LogTail, parse, read_logs
from schemas.errors import BadInput

RISK = [
    '{"timestamp": "2026-11-22T18:00:01.5Z", "level": "info", "event": "order execution held", "n": 3}',
    '{"timestamp": "2026-11-22T18:00:03Z", "level": "error", "event": "gone", "exception": "Trace\\nX"}',
    "not { json",
    '{"half": ',
]
KAFKA = [
    "[2026-11-22 18:00:02,250] WARN [Broker] slow",
    "java.io.IOException: away",
    "\tat kafka.Broker",
    "2026-11-22T18:00:04,100 INFO up again",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "risk.log").write_text("\n".join(RISK) + "\n")
    (logs / "kafka.log.1").write_text(KAFKA[0] + "\n" + KAFKA[1] + "\n")
    (logs / "kafka.log").write_text("\n".join(KAFKA[2:]) + "\n")
    return logs


def test_entries_of_all_services_come_in_order_of_time_with_rotated_files_first(folder: Path) -> None:
    events = [(entry.service, entry.event) for entry in read_logs(folder, ["kafka", "risk"], LogFilter())]
    assert events == [
        ("risk", "order execution held"),
        ("kafka", KAFKA[0]),
        ("kafka", KAFKA[1]),
        ("kafka", KAFKA[2]),
        ("risk", "gone"),
        ("risk", "not { json"),
        ("risk", '{"half": '),
        ("kafka", KAFKA[3]),
    ]


def test_a_line_without_a_time_belongs_to_the_line_before(folder: Path) -> None:
    entries = list(read_logs(folder, ["kafka"], LogFilter()))
    assert [entry.level for entry in entries] == ["WARNING", "WARNING", "WARNING", "INFO"]
    assert entries[0].ts == entries[2].ts < entries[3].ts


@pytest.mark.parametrize(
    ("log_filter", "events"),
    [
        (parse_filter("error", None, None, None), ["gone", "not { json", '{"half": ']),
        (parse_filter(None, "ORDER EXECUTION", None, None), ["order execution held"]),
        (parse_filter(None, None, r"n=\d", None), ["order execution held"]),
        (parse_filter(None, None, "gone|json", "2026-11-22T18:00:02"), ["gone", "not { json"]),
        (parse_filter("CRITICAL", None, None, None), []),
    ],
)
def test_filter_selects_matching_entries(folder: Path, log_filter: LogFilter, events: list[str]) -> None:
    assert [entry.event for entry in read_logs(folder, ["risk"], log_filter)] == events


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("LOUD", None, None, None), "--level must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, found 'LOUD'"),
        ((None, None, "(", None), "--grep must be a regular expression, found '('"),
        ((None, None, None, "yesterday"), "--since must be 90s, 15m, 1h, 1d or a time"),
    ],
)
def test_invalid_filter_gives_a_one_line_error(arguments: tuple[str | None, ...], message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        parse_filter(*arguments)


def test_followed_log_continues_through_partial_lines_and_rotation(folder: Path) -> None:
    path = folder / "risk.log"
    followed = LogTail(path)
    assert list(followed.read_new()) == []
    with path.open("a") as file:
        file.write('{"event": "first"}\n{"event": "sec')
        file.flush()
        assert [entry.event for entry in followed.read_new()] == ["first"]
        file.write('ond"}\n')
    assert [entry.event for entry in followed.read_new()] == ["second"]
    path.write_text('{"event": "anew"}\n')
    assert [entry.event for entry in followed.read_new()] == ["anew"]


def test_every_entry_exports_as_json_and_keeps_its_fields() -> None:
    [entry] = parse("risk", RISK[:1])
    assert json.loads(json.dumps(entry.tree())) == {
        "timestamp": "2026-11-22T18:00:01.500000+00:00",
        "level": "INFO",
        "service": "risk",
        "event": "order execution held",
        "n": 3,
    }


@pytest.mark.parametrize(("text", "name"), [("portfolio-manager", "portfolio"), ("market-data", "market_data")])
def test_service_names_of_the_brief_are_accepted(text: str, name: str) -> None:
    assert resolve_service(text, ["market_data", "portfolio"]) == name
    with pytest.raises(BadInput, match=f"unknown service '{text}'.* Known services: risk"):
        resolve_service(text, ["risk"])


def test_logs_command_exports_searches_and_rejects_invalid_options(folder: Path) -> None:
    out = folder.parent / "logs.json"

    def logs(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy.cli", "logs", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "PLATFORM_HOME": str(folder.parent)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert logs("--export", "--format", "json", "--output", str(out)).returncode == 0
    assert len([json.loads(line) for line in out.read_text().splitlines()]) == len(RISK) + len(KAFKA)
    search = logs("risk-manager", "--search", "order execution")
    assert search.stdout == "2026-11-22 18:00:01.500 INFO     order execution held n=3\n"
    assert logs("--lines", "1").stdout == f"kafka        {KAFKA[3]}\n"
    rejected = logs("--output", "x")
    assert (rejected.returncode, rejected.stderr) == (2, "error: --format and --output require --export\n")

"""Parse the services' logs: JSON lines from the platform's own processes, plain text from the other services.

The event of a plain line is its text. Its time and level are parsed from the start of the line, else copied from the
line before, because a traceback belongs to the entry that it follows.
"""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_LEVEL_ALIASES = {"WARN": "WARNING", "FATAL": "CRITICAL", "PANIC": "CRITICAL", "TRACE": "DEBUG", "LOG": "INFO"}
_LEVEL = re.compile(rf"\b({'|'.join((*LEVELS, *_LEVEL_ALIASES))})\b")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,6})\d*)?")
_HEAD_CHARS = 80
"""Number of characters at the start of a plain line in which its time and level are searched."""


class LogEntry(NamedTuple):
    """One log line. `ts` is in seconds since 1970, 0.0 if neither this line nor one before has a time.

    `fields` are the other keys of a JSON line. A `plain` entry was not JSON: its event is the whole line.
    """

    service: str
    ts: float
    level: str
    event: str
    fields: dict[str, Any]
    plain: bool = False

    def text(self, *, with_service: bool = True) -> str:
        """Format the entry for a terminal, with the service name first unless `with_service` is False."""
        if self.plain:
            return f"{self.service:12} {self.event}" if with_service else self.event
        time_text = datetime.fromtimestamp(self.ts, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if self.ts else "-"
        fields_text = "".join(f" {name}={value}" for name, value in self.fields.items() if name != "exception")
        exception = self.fields.get("exception")
        line = f"{time_text:23} {self.level:8} {self.event}{fields_text}{f'{chr(10)}{exception}' if exception else ''}"
        return f"{self.service:12} {line}" if with_service else line

    def tree(self) -> dict[str, Any]:
        time = datetime.fromtimestamp(self.ts, UTC).isoformat() if self.ts else None
        return {"timestamp": time, "level": self.level, "service": self.service, "event": self.event, **self.fields}


def parse(service: str, lines: Iterable[str], previous: LogEntry | None = None) -> Iterator[LogEntry]:
    """Parse lines of one log; `previous` is the entry before them. Empty lines are skipped.

    >>> [entry] = parse("kafka", ["[2026-11-22 18:00:00,250] WARN [LocalBroker] slow (kafka.server)"])
    >>> entry.level, entry.ts
    ('WARNING', 1795370400.25)
    """
    for line in lines:
        if line.strip():
            previous = _json_entry(service, line, previous) or _plain_entry(service, line.rstrip("\r\n"), previous)
            yield previous


def _json_entry(service: str, line: str, previous: LogEntry | None) -> LogEntry | None:
    if not line.lstrip().startswith("{"):
        return None
    try:
        tree = json.loads(line)
    except ValueError:
        return None
    if not isinstance(tree, dict) or "event" not in tree:
        return None
    fields = {name: value for name, value in tree.items() if name not in ("timestamp", "level", "event", "service")}
    level = str(tree.get("level", "INFO")).upper()
    ts = _seconds(str(tree.get("timestamp", "")))
    return LogEntry(
        service=str(tree.get("service") or service),
        ts=ts or (previous.ts if previous else 0.0),
        level=_LEVEL_ALIASES.get(level, level if level in LEVELS else "INFO"),
        event=str(tree["event"]),
        fields=fields,
    )


def _plain_entry(service: str, line: str, previous: LogEntry | None) -> LogEntry:
    head = line[:_HEAD_CHARS]
    level, ts = _LEVEL.search(head), _seconds(head)
    if level is not None:
        level_name = _LEVEL_ALIASES.get(level[1], level[1])
    elif line.startswith(("Traceback (", "error: ")):
        level_name = "ERROR"
    else:
        # A line with its own time starts a new entry.
        level_name = previous.level if previous is not None and not ts else "INFO"
    return LogEntry(
        service=service,
        ts=ts or (previous.ts if previous else 0.0),
        level=level_name,
        event=line,
        fields={},
        plain=True,
    )


def _seconds(text: str) -> float:
    """Return the first time in the text, which is UTC, as seconds since 1970; 0.0 if there is none."""
    match = _TIME.search(text)
    if match is None:
        return 0.0
    try:
        parsed = datetime.fromisoformat(f"{match[1]}T{match[2]}").replace(tzinfo=UTC)
    except ValueError:
        return 0.0
    return parsed.timestamp() + float(f"0.{match[3] or 0}")


class LogFilter(NamedTuple):
    """Selects entries. `search` ignores case, `grep` is a regular expression; both apply to the whole line."""

    level: str | None = None
    search: str | None = None
    grep: re.Pattern[str] | None = None
    since: float = 0.0

    def matches(self, entry: LogEntry) -> bool:
        if entry.ts < self.since:
            return False
        if self.level is not None and LEVELS.index(entry.level) < LEVELS.index(self.level):
            return False
        if self.search is None and self.grep is None:
            return True
        text = entry.text()
        if self.search is not None and self.search.lower() not in text.lower():
            return False
        return self.grep is None or self.grep.search(text) is not None


def read_logs(folder: Path, services: Iterable[str], log_filter: LogFilter) -> Iterator[LogEntry]:
    """Return the entries of several services in order of time, including rotated files."""
    streams = [(entry for entry in _service_entries(folder, name) if log_filter.matches(entry)) for name in services]
    return heapq.merge(*streams, key=lambda entry: entry.ts)


def _service_entries(folder: Path, service: str) -> Iterator[LogEntry]:
    def lines() -> Iterator[str]:
        # Oldest first: NAME.log.3, .2, .1, NAME.log.
        rotated = sorted(folder.glob(f"{service}.log.[0-9]"), key=lambda path: path.name, reverse=True)
        for path in (*rotated, folder / f"{service}.log"):
            if path.exists():
                with path.open(errors="replace") as file:
                    yield from file

    return parse(service, lines())


class LogTail:
    """Follows one log from its current end. After rotation has truncated the log, reads it from its beginning."""

    def __init__(self, path: Path) -> None:
        self._service, self._path = path.name.removesuffix(".log"), path
        self._offset = path.stat().st_size
        self._partial_line = ""
        self._previous: LogEntry | None = None

    def read_new(self) -> Iterator[LogEntry]:
        size = self._path.stat().st_size
        if size < self._offset:
            self._offset, self._partial_line = 0, ""
        if size == self._offset:
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read(size - self._offset)
        self._offset = size
        *complete, self._partial_line = (self._partial_line + data.decode(errors="replace")).split("\n")
        for entry in parse(self._service, complete, self._previous):
            self._previous = entry
            yield entry

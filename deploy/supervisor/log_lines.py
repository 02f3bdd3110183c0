"""The services' logs as entries: one JSON object a line from the platform's own processes, any text from the others.

A line that is not JSON keeps its text as the event. Its time and level are taken from it where it states them in a
usual form, else from the line before: a traceback belongs to what it follows.
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
_OTHER_LEVELS = {"WARN": "WARNING", "FATAL": "CRITICAL", "PANIC": "CRITICAL", "TRACE": "DEBUG", "LOG": "INFO"}
_LEVEL = re.compile(rf"\b({'|'.join((*LEVELS, *_OTHER_LEVELS))})\b")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,6})\d*)?")
_WITHIN = 80
"""Time and level stand in the first so many characters of a line, or it does not state them."""


class Entry(NamedTuple):
    """One line of a log. `ts` in seconds since 1970, 0.0 where neither it nor a line before states a time; `fields`
    is what a JSON line says besides. A `plain` entry was not JSON: its event is the whole line.
    """

    service: str
    ts: float
    level: str
    event: str
    fields: dict[str, Any]
    plain: bool = False

    def text(self, *, named: bool = True) -> str:
        """For people. `named` with the service in front."""
        if self.plain:
            return f"{self.service:12} {self.event}" if named else self.event
        time = datetime.fromtimestamp(self.ts, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if self.ts else "-"
        said = "".join(f" {name}={value}" for name, value in self.fields.items() if name != "exception")
        exception = self.fields.get("exception")
        line = f"{time:23} {self.level:8} {self.event}{said}{f'{chr(10)}{exception}' if exception else ''}"
        return f"{self.service:12} {line}" if named else line

    def tree(self) -> dict[str, Any]:
        time = datetime.fromtimestamp(self.ts, UTC).isoformat() if self.ts else None
        return {"timestamp": time, "level": self.level, "service": self.service, "event": self.event, **self.fields}


def parse(service: str, lines: Iterable[str], before: Entry | None = None) -> Iterator[Entry]:
    """The entries of some lines of one log; `before` is the entry in front of them. Empty lines are left out.

    >>> [entry] = parse("kafka", ["[2026-11-22 18:00:00,250] WARN [Broker] slow (kafka.server)"])
    >>> entry.level, entry.ts
    ('WARNING', 1795370400.25)
    """
    for line in lines:
        if line.strip():
            before = _json(service, line, before) or _plain(service, line.rstrip("\r\n"), before)
            yield before


def _json(service: str, line: str, before: Entry | None) -> Entry | None:
    if not line.lstrip().startswith("{"):
        return None
    try:
        tree = json.loads(line)
    except ValueError:
        return None
    if not isinstance(tree, dict) or "event" not in tree:
        return None
    rest = {name: value for name, value in tree.items() if name not in ("timestamp", "level", "event", "service")}
    level = str(tree.get("level", "INFO")).upper()
    ts = _seconds(str(tree.get("timestamp", "")))
    return Entry(
        str(tree.get("service") or service),
        ts or (before.ts if before else 0.0),
        _OTHER_LEVELS.get(level, level if level in LEVELS else "INFO"),
        str(tree["event"]),
        rest,
    )


def _plain(service: str, line: str, before: Entry | None) -> Entry:
    head = line[:_WITHIN]
    level, ts = _LEVEL.search(head), _seconds(head)
    if level is not None:
        named = _OTHER_LEVELS.get(level[1], level[1])
    elif line.startswith(("Traceback (", "error: ")):
        named = "ERROR"
    else:
        # A line with a time of its own begins something new.
        named = before.level if before is not None and not ts else "INFO"
    return Entry(service, ts or (before.ts if before else 0.0), named, line, {}, plain=True)


def _seconds(text: str) -> float:
    """Of the first time in it, in UTC as all of the platform's services write it; 0.0 without one."""
    found = _TIME.search(text)
    if found is None:
        return 0.0
    try:
        moment = datetime.fromisoformat(f"{found[1]}T{found[2]}").replace(tzinfo=UTC)
    except ValueError:
        return 0.0
    return moment.timestamp() + float(f"0.{found[3] or 0}")


class Wanted(NamedTuple):
    """Which entries are asked for. `search` in any case, `grep` a regular expression, both in the whole line."""

    level: str | None = None
    search: str | None = None
    grep: re.Pattern[str] | None = None
    since: float = 0.0

    def takes(self, entry: Entry) -> bool:
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


def read_logs(folder: Path, services: Iterable[str], wanted: Wanted) -> Iterator[Entry]:
    """The entries of several services in order of time, those of rotated files too."""
    each = [(entry for entry in _of_service(folder, name) if wanted.takes(entry)) for name in services]
    return heapq.merge(*each, key=lambda entry: entry.ts)


def _of_service(folder: Path, service: str) -> Iterator[Entry]:
    def lines() -> Iterator[str]:
        # Oldest first: NAME.log.3, .2, .1, NAME.log.
        rotated = sorted(folder.glob(f"{service}.log.[0-9]"), key=lambda path: path.name, reverse=True)
        for path in (*rotated, folder / f"{service}.log"):
            if path.exists():
                with path.open(errors="replace") as file:
                    yield from file

    return parse(service, lines())


class Followed:
    """What is appended to one log from now on; a log that was truncated by rotation is read from its beginning."""

    def __init__(self, path: Path) -> None:
        self._service, self._path = path.name.removesuffix(".log"), path
        self._at = path.stat().st_size
        self._half = ""
        self._before: Entry | None = None

    def new(self) -> Iterator[Entry]:
        size = self._path.stat().st_size
        if size < self._at:
            self._at, self._half = 0, ""
        if size == self._at:
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read(size - self._at)
        self._at = size
        *whole, self._half = (self._half + data.decode(errors="replace")).split("\n")
        for entry in parse(self._service, whole, self._before):
            self._before = entry
            yield entry

"""`logs`: print, search, follow and export the logs of the services."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, TextIO

import typer

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.name_arguments import require_choice
from deploy.service_names import resolve_service
from deploy.supervisor.log_lines import LEVELS, LogEntry, LogFilter, LogTail, read_logs
from deploy.time_arguments import parse_since_s
from schemas.errors import BadInput

Services = Annotated[list[str] | None, typer.Argument(help="Services, as `status` prints them (default: all).")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Print new entries until Ctrl-C.")]
Lines = Annotated[
    int | None, typer.Option("--lines", "-n", min=0, help="Number of last entries (default: 50; all for an export).")
]
Level = Annotated[str | None, typer.Option(help=f"Show entries of this level and above: {', '.join(LEVELS)}.")]
Search = Annotated[str | None, typer.Option(help="Show entries that contain this text, ignoring case.")]
Grep = Annotated[str | None, typer.Option(help="Show entries that match this regular expression.")]
Since = Annotated[str | None, typer.Option(help="Show log entries since a duration (90s, 15m, 1h, 1d) or a timestamp.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
Export = Annotated[bool, typer.Option("--export", help="Export all matching entries, not only the last ones.")]
Format = Annotated[str, typer.Option("--format", help="Export format: json or text.")]
Output = Annotated[Path | None, typer.Option(help="File to write the export to (default: standard output).")]


def register(app: typer.Typer) -> None:
    app.command("logs", help="Print, search, follow or export the logs of the services.")(logs)


def logs(
    services: Services = None,
    follow: Follow = False,
    lines: Lines = None,
    level: Level = None,
    search: Search = None,
    grep: Grep = None,
    since: Since = None,
    as_json: AsJson = False,
    export: Export = False,
    format_: Format = "text",
    output: Output = None,
) -> None:
    log_filter = parse_filter(level, search, grep, since)
    _require_export(export, format_, output, follow=follow)
    folder = home_from_environment().logs
    # These include `initialize` and `supervisor`, which are not services.
    log_names = sorted(path.stem for path in folder.glob("*.log"))
    if not log_names:
        raise DeployError(f"no logs in {folder}; start the platform with `python cli.py start`")
    names = _named_logs(services, log_names) if services else log_names
    tails = [LogTail(folder / f"{name}.log") for name in names] if follow else []
    lines_max = lines if lines is not None or export else 50
    entries: Iterable[LogEntry] = read_logs(folder, names, log_filter)
    if lines_max is not None:
        entries = deque(entries, maxlen=lines_max)
    with_service, in_json = len(names) > 1, as_json or (export and format_ == "json")
    with _open_output(output) as out:
        for entry in entries:
            _write(entry, out, as_json=in_json, with_service=with_service)
        out.flush()
        for entry in _new_entries(tails):
            if log_filter.matches(entry):
                _write(entry, out, as_json=in_json, with_service=with_service)
                out.flush()


def _named_logs(services: list[str], log_names: list[str]) -> list[str]:
    """Return the logs of services. That of a service in the compact process is the log of this process, after its own
    log from the time in the layout `services`, if there is one. Raises BadInput.
    """
    from dataflows.runtime.topology import COMPACT
    from deploy.supervisor.layout import shared_services

    shared = [name for name in shared_services(home_from_environment()) if COMPACT in log_names]
    names: dict[str, None] = {}
    for text in services:
        name = resolve_service(text, dict.fromkeys([*log_names, *shared]))
        if name in shared:
            print(f"{name} runs in the process {COMPACT}; its entries are in the log {COMPACT}", file=sys.stderr)
        names |= dict.fromkeys(log for log in (name, COMPACT if name in shared else name) if log in log_names)
    return list(names)


def parse_filter(level: str | None, search: str | None, grep: str | None, since: str | None) -> LogFilter:
    """Build the filter from the options. Raises BadInput that names the invalid option."""
    if level is not None and level.upper() not in LEVELS:
        require_choice("--level", level, LEVELS)
    try:
        pattern = None if grep is None else re.compile(grep)
    except re.error as error:
        raise BadInput(f"--grep must be a regular expression, found {grep!r}: {error}") from error
    return LogFilter(level.upper() if level else None, search, pattern, parse_since_s("--since", since))


def _require_export(export: bool, format_: str, output: Path | None, *, follow: bool) -> None:
    require_choice("--format", format_, ("json", "text"))
    if not export and (output is not None or format_ != "text"):
        raise BadInput("--format and --output require --export")
    if export and follow:
        raise BadInput("--export and --follow cannot be combined")


@contextlib.contextmanager
def _open_output(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    try:
        with output.open("w") as file:
            yield file
    except OSError as error:
        raise DeployError(f"cannot write {output}: {error.strerror}") from error
    print(f"written to {output}", file=sys.stderr)


def _write(entry: LogEntry, out: TextIO, *, as_json: bool, with_service: bool) -> None:
    out.write((json.dumps(entry.tree(), default=str) if as_json else entry.text(with_service=with_service)) + "\n")


def _new_entries(tails: list[LogTail]) -> Iterator[LogEntry]:
    """Yield new entries until Ctrl-C. Return at once if `tails` is empty."""
    try:
        while tails:
            entries = sorted((entry for tail in tails for entry in tail.read_new()), key=lambda entry: entry.ts)
            yield from entries
            if not entries:
                time.sleep(0.3)
    except KeyboardInterrupt:
        return

"""The kill switch on this host: files in `run/` of the state folder. It works without any server and any other process.

| file | written by | contains |
|---|---|---|
| `kill-switch.json` | `kill-switch on`, the API | the halt; the file is absent while trading is allowed |
| `kill-switch-gateway.json` | the process `execution` | what the gateway has done about the halt |
| `kill-switch-published.json` | who published the command | the id of the last halt that Kafka acknowledged |
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

from operators.kill_switch import AT_ONCE
from schemas.records import HALTED, KILL_SWITCH, Command
from sinks.commands import new_command

FLAG_FILE = "kill-switch.json"
GATEWAY_FILE = "kill-switch-gateway.json"
PUBLISHED_FILE = "kill-switch-published.json"
_UNREADABLE = "unreadable"
_POLL_S = 0.02

GatewayHaltState = Literal["ACTIVE", "PENDING", "HALTED"]
"""ACTIVE: orders are sent. PENDING: blocked, but orders may still work at the broker. HALTED: none works."""


class HostHalt(NamedTuple):
    """A halt of trading on this host. `command_id` is the id of its command in the log."""

    command_id: str
    actor: str
    reason: str
    ts_ns: int

    @property
    def text(self) -> str:
        return f"the kill switch is on ({self.actor}): {self.reason}"

    def as_command(self) -> Command:
        """Return the command for the log. Its id and content are always the same."""
        return Command(
            command_id=self.command_id,
            ts_ns=self.ts_ns,
            kind=KILL_SWITCH,
            actor=self.actor,
            reason=self.reason,
            arguments=dict(AT_ONCE),
        )


class GatewayReport(NamedTuple):
    """What the process `execution` reports. `order_id_prefix` marks the platform's orders at the broker.

    `command_id` is the halt that the state is about. `open_orders` is the number of orders that still work at the
    broker, -1 if unknown. `process_started_at` is in seconds since the epoch and identifies the process with `pid`.
    """

    state: GatewayHaltState
    command_id: str
    cancelled: int
    open_orders: int
    error: str
    at_ns: int
    pid: int
    process_started_at: float
    broker: str
    order_id_prefix: str


def new_halt_command(actor: str, reason: str) -> Command:
    """Build the command that halts trading in its own time slice."""
    return new_command(KILL_SWITCH, actor=actor, reason=reason, arguments=AT_ONCE)


class HostKillSwitch:
    """Reads and writes the files. `halt` costs one `os.stat` while the flag does not change."""

    def __init__(self, run_dir: Path) -> None:
        self._flag, self._gateway = run_dir / FLAG_FILE, run_dir / GATEWAY_FILE
        self._published = run_dir / PUBLISHED_FILE
        self._cached: tuple[tuple[int, int, int], HostHalt] | None = None

    def engage(self, command: Command) -> None:
        """Halt trading on this host. Returns once the flag is on the disk. Raises OSError."""
        fields = {
            "state": HALTED,
            "command_id": command.command_id,
            "actor": command.actor,
            "reason": command.reason,
            "ts_ns": command.ts_ns,
        }
        _replace_file(self._flag, fields, durable=True)

    def clear(self) -> None:
        """Allow trading on this host again. Nothing happens if the flag is not set."""
        self._flag.unlink(missing_ok=True)
        _sync_folder(self._flag.parent)

    def halt(self) -> HostHalt | None:
        """Return the halt, None if there is none. A flag that cannot be read counts as a halt."""
        try:
            flag_stat = os.stat(self._flag)
        except FileNotFoundError:
            return None
        except OSError as error:
            return HostHalt(_UNREADABLE, _UNREADABLE, f"{self._flag}: {error.strerror}", 0)
        version = (flag_stat.st_mtime_ns, flag_stat.st_ino, flag_stat.st_size)
        if self._cached is None or self._cached[0] != version:
            self._cached = (version, self._read_flag())
        return self._cached[1]

    def _read_flag(self) -> HostHalt:
        try:
            fields = json.loads(self._flag.read_text())
            return HostHalt(
                str(fields["command_id"]), str(fields["actor"]), str(fields["reason"]), int(fields["ts_ns"])
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            return HostHalt(_UNREADABLE, _UNREADABLE, f"cannot read {self._flag}: {type(error).__name__}", 0)

    def mark_published(self, command_id: str) -> None:
        """Record that Kafka acknowledged the command of a halt."""
        _replace_file(self._published, {"command_id": command_id})

    def is_published(self, halt: HostHalt) -> bool:
        fields = _read_fields(self._published)
        return fields is not None and fields.get("command_id") == halt.command_id

    def can_publish(self, halt: HostHalt) -> bool:
        """Whether the halt has a command that can be published. A flag that cannot be read has none."""
        return halt.command_id != _UNREADABLE

    def write_report(self, report: GatewayReport) -> None:
        _replace_file(self._gateway, report._asdict())

    def read_report(self) -> GatewayReport | None:
        """Return the last report of the process `execution`, also of one that has ended."""
        fields = _read_fields(self._gateway)
        try:
            return None if fields is None else GatewayReport(**fields)
        except TypeError:
            return None

    def wait_for_gateway(self, command_id: str, timeout_s: float) -> GatewayReport | None:
        """Wait until the gateway reports HALTED for this command. Return its last report in any case."""
        deadline = time.monotonic() + timeout_s
        while True:
            report = self.read_report()
            if is_confirmed(report, command_id) or time.monotonic() >= deadline:
                return report
            time.sleep(_POLL_S)


def is_confirmed(report: GatewayReport | None, command_id: str) -> bool:
    """Whether the gateway has confirmed that no order of the platform works at the broker."""
    return report is not None and report.state == HALTED and report.command_id == command_id


def _read_fields(path: Path) -> dict[str, Any] | None:
    try:
        fields = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return fields if isinstance(fields, dict) else None


def _replace_file(path: Path, fields: dict[str, Any], *, durable: bool = False) -> None:
    """Replace the file atomically; only its owner can read it. With `durable`, it is on the disk afterwards."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(fields, file)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

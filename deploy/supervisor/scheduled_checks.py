"""Run `verify` every few minutes, and `checkpoint create`, `archive create` and `replay-check` once a day.

Each result goes to `run/checks/NAME.json`.

The metrics and `status --detailed` show these results. Each check runs as a separate process with low priority, so that
its memory is freed when it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from configs.recorded_endpoints import CREDENTIAL_VARIABLES
from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home, home_from_environment
from deploy.supervisor.state import replace_file

if TYPE_CHECKING:
    from configs.settings.platform import ChecksSection

NICE = 10
PRINCIPAL = "checks"
VERIFY = ("verify", "--json", "--since", "1d", "--publish")
"""Only the last day of the topics: older records were checked before and do not change."""
REPLAY_CHECK = ("replay-check", "--json")
"""From the time slice on up to which the last one found no difference. Without an earlier one, all topics."""
ARCHIVE = ("archive", "create", "--json")
CHECKPOINT = ("checkpoint", "create", "--reason", "daily", "--json")
COMMANDS = {"verify": VERIFY, "replay_check": REPLAY_CHECK, "archive": ARCHIVE, "checkpoint": CHECKPOINT}
_OWN_PRINCIPAL = frozenset({"archive", "checkpoint"})
"""Jobs that do what the principal `checks` may not do."""


def next_daily_time(now: datetime, at: str) -> datetime:
    """Return the next time after `now` that has the time of day `at` (UTC).

    >>> next_daily_time(datetime(2024, 1, 15, 3, tzinfo=UTC), "02:00").isoformat()
    '2024-01-16T02:00:00+00:00'
    """
    hour, minute = map(int, at.split(":"))
    candidate = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return candidate if candidate > now else candidate + timedelta(days=1)


def result_of(name: str, returncode: int, stdout: str, stderr: str, *, finished_at: float, duration_s: float) -> Any:
    """Build a check's result from its process: name, ok, finished_at, duration_s, counts and message.

    That of a `replay_check` without a difference also has `last_ns`, the last time slice compared; a damaged checkpoint
    is a finding and no difference. `CheckRunner` adds `platform`, because a restore replaces the log.
    """
    row = {"name": name, "ok": returncode == 0, "finished_at": finished_at, "duration_s": round(duration_s, 3)}
    try:
        output = json.loads(stdout)
    except ValueError:
        last_line = (stderr.strip() or stdout.strip() or f"exited with status {returncode}").splitlines()[-1]
        return row | {"ok": False, "counts": {}, "message": last_line}
    if name == "verify":
        failed = [check for check in output["checks"] if check["difference"] is not None]
        counts = {"checks": len(output["checks"]), "findings": len(failed)}
        message = failed[0]["difference"] if failed else ""
    elif name == "archive":
        deleted = sum(cut["end"] - cut["start"] for cut in output["cuts"])
        rows = sum(partition["rows"] for partition in output["partitions"])
        counts = {"archived": output["messages"], "deleted": deleted, "table_rows": rows}
        message = output["uncut_reason"] or output["tables_reason"]
    elif name == "checkpoint":
        created, message = output["checkpoint"], output["reason"]
        counts = {"created": int(created is not None), "removed": len(output["removed"])}
    else:
        difference = output["difference"]
        counts = {"ticks": output["ticks"], "findings": (difference is not None) + len(output["damaged"])}
        message = next(iter(output["damaged"]), "") if difference is None else _difference_text(difference)
        if difference is None:
            row["last_ns"] = output["last_ns"]
    return row | {"counts": counts, "message": message}


def _difference_text(difference: Mapping[str, Any]) -> str:
    return difference.get("state") or f"{difference['topic']} {difference['name']} differs".strip()


def read_results(home: Home) -> list[dict[str, Any]]:
    """Return the last result of every check, by name. Raises DeployError if a file is unreadable."""
    results = []
    for path in sorted(home.checks.glob("*.json")):
        try:
            results.append(json.loads(path.read_text()))
        except (OSError, ValueError) as error:
            raise DeployError(f"cannot read {path}: {error}") from error
    return results


class CheckRunner:
    """Runs one check at a time until `stop`."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._stopping = threading.Event()
        self._child: subprocess.Popen[str] | None = None

    def stop(self, *_: object) -> None:
        self._stopping.set()
        if self._child is not None:
            self._child.terminate()

    def run(self, verify_s: int | None, daily: Mapping[str, str]) -> None:
        """Run the checks until `stop` is called. None skips `verify`; `daily` has the times of day of the others."""
        due: dict[str, float] = {}
        if verify_s is not None:
            due["verify"] = time.time() + verify_s
        for daily_check, at in daily.items():
            due[daily_check] = next_daily_time(datetime.now(UTC), at).timestamp()
        while not self._stopping.is_set():
            name = min(due, key=due.__getitem__, default=None)
            if name is None:
                self._stopping.wait()
            elif not self._stopping.wait(max(0.0, min(due[name] - time.time(), 60.0))) and time.time() >= due[name]:
                self.check(name, self._command(name))
                if name == "verify":
                    due[name] = time.time() + (verify_s or 0)
                else:
                    due[name] = next_daily_time(datetime.now(UTC), daily[name]).timestamp()

    def _command(self, name: str) -> tuple[str, ...]:
        last_ns = self._last_compared_ns() if name == "replay_check" else 0
        return COMMANDS[name] if not last_ns else (*COMMANDS[name], "--from", str(last_ns))

    def _last_compared_ns(self) -> int:
        """Return the time slice up to which `replay-check` found no difference, 0 if unknown or after an error.

        It is unknown after a restore: the log is then another one.
        """
        try:
            row = json.loads((self._home.checks / "replay_check.json").read_text())
        except (OSError, ValueError):
            return 0
        return int(row.get("last_ns", 0)) if row.get("platform", "") == _platform(self._home) else 0

    def check(self, name: str, arguments: tuple[str, ...]) -> None:
        """Run one check and write its result, unless `stop` was called meanwhile."""
        started_at, platform = time.time(), _platform(self._home)
        command = [sys.executable, "-m", "deploy.cli", *arguments]
        self._child = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=command_environment(name, os.environ),
        )
        stdout, stderr = self._child.communicate()
        returncode, self._child = self._child.returncode, None
        if self._stopping.is_set():
            return
        now = time.time()
        row = result_of(name, returncode, stdout, stderr, finished_at=now, duration_s=now - started_at)
        differs = row["counts"].get("findings") and "last_ns" not in row
        if name == "replay_check" and differs and (last_ns := self._last_compared_ns()):
            row["last_ns"] = last_ns  # the next run reports the difference again
        if name == "replay_check":
            row["platform"] = platform
        self._home.checks.mkdir(parents=True, exist_ok=True)
        replace_file(self._home.checks / f"{name}.json", json.dumps(row))
        print(json.dumps(row), flush=True)


def _platform(home: Home) -> str:
    """Return the id and the epoch of the platform in a state folder. A restore begins a new epoch."""
    from deploy.supervisor.platform_identity import read_folder_identity

    identity = read_folder_identity(home)
    return "" if identity is None else f"{identity.platform_id}/{identity.epoch}"


def command_environment(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a check's process.

    `archive create` deletes messages and `checkpoint create` writes a marker, for which the principal `checks` has no
    right. With the embedded Kafka, they use the credentials in the state folder: of the superuser and the command line.
    """
    if name not in _OWN_PRINCIPAL or environment.get("KAFKA__SECURITY__USER") != PRINCIPAL:
        return dict(environment)
    return {key: value for key, value in environment.items() if key not in CREDENTIAL_VARIABLES}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.supervisor.scheduled_checks")
    parser.add_argument("--verify", type=int, metavar="SECONDS")
    parser.add_argument("--replay-check", metavar="HH:MM")
    parser.add_argument("--checkpoint", metavar="HH:MM")
    parser.add_argument("--archive", metavar="HH:MM")
    options = parser.parse_args(arguments)
    os.nice(NICE)
    runner = CheckRunner(home_from_environment())
    signal.signal(signal.SIGTERM, runner.stop)
    signal.signal(signal.SIGINT, runner.stop)
    daily = {name: getattr(options, name) for name in ("replay_check", "checkpoint", "archive")}
    runner.run(options.verify, {name: at for name, at in daily.items() if at is not None})
    return 0


def service_command(schedule: ChecksSection) -> tuple[str, ...]:
    """Return the command with which the supervisor starts this module."""
    times = {
        "--verify": schedule.verify,
        "--replay-check": schedule.replay_check,
        "--checkpoint": schedule.checkpoint,
        "--archive": schedule.archive,
    }
    options = [text for option, at in times.items() if at is not None for text in (option, str(at))]
    return (sys.executable, "-m", "deploy.supervisor.scheduled_checks", *options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

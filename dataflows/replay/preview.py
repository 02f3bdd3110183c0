"""Preview a change of the configuration: fork the recording with the changed settings, and print what would differ.

`python -m dataflows.replay.preview` is a process of its own, with limits of time and memory, because a replay needs the
processor for a long time. The API and the command line start it (`api/preview_process.py`). It reads the request from
standard input and writes the result as JSON to standard output. It writes no record and no table.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Final

from configs.configuration_publishing import Changes, Origin, newest_of, prepare_change
from configs.recorded_settings import settings_of
from configs.secrets import secrets_folder
from configs.settings import Settings
from dataflows.replay.fork import ForkComparison, ForkOutcome, fork
from dataflows.replay.recorded_source import RecordedSource
from dataflows.replay.recording import Recording, open_recording
from operators.money import plain
from operators.stage import TimeSlice
from schemas.errors import BadInput, Unavailable
from schemas.records import Configuration
from sinks.signing_keys import FOLDER, configuration_signers

_NICE: Final = 10
"""Lower priority than the services, which must not wait for a preview."""


def preview(settings: Settings, changes: Changes, since_ns: int) -> dict[str, Any]:
    """Return what would have differed since `since_ns` (event time) with the changes on top of the settings in force.

    Raises BadInput for an invalid change, a recording that does not replay, or one without time slices since then, and
    Unavailable.
    """
    last = newest_of(settings)
    change = prepare_change(settings, last, changes, Origin("preview", "preview"))
    after = settings_of(change.record or last, settings)
    keys = configuration_signers(secrets_folder(os.environ) / FOLDER)
    with RecordedSource(keys) as source, closing(open_recording(settings.kafka, "preview")) as recording:
        return preview_recording(settings, after, recording, since_ns, source)


def preview_recording(
    before: Settings, after: Settings, recording: Recording, since_ns: int, source: RecordedSource | None = None
) -> dict[str, Any]:
    """Return the result for an open recording. `before` are the settings before its first configuration."""
    counted = _ConfigurationCounter(recording.inputs, since_ns)
    forked = fork(before, after, Recording(iter(counted), recording.derived), since_ns, source=source)
    if forked.difference is not None:
        raise BadInput(
            f"the recording does not replay: the first difference is at {_utc(forked.difference.ts_ns)} in "
            f"{forked.difference.topic} {forked.difference.name}; print it with `python cli.py replay-check`"
        )
    if not forked.ticks:
        raise BadInput(f"the recording has no time slices at or after {_utc(since_ns)}")
    return _as_tree(forked, counted.count)


class _ConfigurationCounter:
    """Iterates over time slices, and counts the configurations that came into force in them from a time on."""

    def __init__(self, time_slices: Iterator[TimeSlice], since_ns: int) -> None:
        self._time_slices, self._since_ns = time_slices, since_ns
        self.count = 0

    def __iter__(self) -> Iterator[TimeSlice]:
        for time_slice in self._time_slices:
            if time_slice.ts_ns >= self._since_ns:
                self.count += sum(type(record) is Configuration for record in time_slice.records)
            yield time_slice


def _as_tree(forked: ForkComparison, configurations: int) -> dict[str, Any]:
    return {
        "since_ns": forked.at_ns,
        "until_ns": forked.last_ns,
        "time_slices": forked.ticks,
        "configurations": configurations,
        "recorded": _side(forked.happened),
        "changed": _side(forked.forked),
        "differing_time_slices": forked.divergent_slices,
        "differences": [
            {"ts_ns": one.ts_ns, "recorded": list(one.only_happened), "changed": list(one.only_forked)}
            for one in forked.divergences
        ],
    }


def _side(outcome: ForkOutcome) -> dict[str, Any]:
    return {
        "orders": outcome.orders,
        "rejections": outcome.refusals,
        "fills": outcome.fills,
        "traded_quantity": plain(outcome.traded_quantity),
        "realized_pnl": plain(outcome.realized_pnl),
        "unrealized_pnl": plain(outcome.unrealized_pnl),
        "fees": plain(outcome.fees),
        "equity": plain(outcome.equity),
        "max_drawdown": plain(outcome.max_drawdown),
    }


def _utc(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> int:
    """Answer one request. Return the exit status; a known error is JSON on standard output too.

    The request is a pickle with `settings`, `changes`, `since_ns`, `time_limit_s` and `memory_limit_bytes`, by a parent
    process of the same release.
    """
    request = pickle.load(sys.stdin.buffer)  # noqa: S301  (the pipe of the parent process)
    # The parent may be killed before it can end this process.
    signal.alarm(int(request["time_limit_s"]) + 1)
    memory = int(request["memory_limit_bytes"])
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    os.nice(_NICE)
    try:
        result = preview(request["settings"], request["changes"], int(request["since_ns"]))
    except BadInput as error:
        result = {"invalid": str(error)}
    except Unavailable as error:
        result = {"unavailable": str(error)}
    except MemoryError:
        result = {"unavailable": f"the preview needs more than {memory // 2**20} MiB; use `python cli.py fork`"}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())

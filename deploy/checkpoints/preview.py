"""The process of a preview: replay the recording with a changed configuration, and print what would differ.

`python -m deploy.checkpoints.preview` is a process of its own, with limits of time and memory, because a replay needs
the processor for a long time. The API and the command line start it (`api/preview_process.py`). It reads the request
from standard input and writes the result as JSON to standard output. It writes no record and no table.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import sys
from typing import Any, Final

from configs.configuration_publishing import Changes, Origin, newest_of, prepare_change
from configs.recorded_settings import settings_of
from configs.secrets import secrets_folder
from configs.settings import Settings
from dataflows.replay.preview import preview_tree
from dataflows.replay.recorded_source import RecordedSource
from dataflows.replay.settings_change import SettingsChange
from deploy.checkpoints.recorded_fork import fork_recorded
from deploy.errors import DeployError
from deploy.home import Home
from schemas.errors import BadInput, Unavailable
from sinks.signing_keys import FOLDER, configuration_signers

_NICE: Final = 10
"""Lower priority than the services, which must not wait for a preview."""


def preview(home: Home, settings: Settings, changes: Changes, since_ns: int, *, from_start: bool) -> dict[str, Any]:
    """Return what would have differed since `since_ns` (event time) with the changes on top of the settings in force.

    The replay begins at the newest checkpoint before `since_ns`, unless `from_start`. Raises BadInput for an invalid
    change, a recording that does not replay, or one without time slices since then, and Unavailable.
    """
    last = newest_of(settings)
    change = prepare_change(settings, last, changes, Origin("preview", "preview"))
    after = settings_of(change.record or last, settings)
    skipped: list[str] = []
    with RecordedSource(configuration_signers(secrets_folder(os.environ) / FOLDER)) as source:
        forked = fork_recorded(
            home,
            settings,
            SettingsChange(after, since_ns),
            source,
            reader="preview",
            from_start=from_start,
            skipped=skipped.append,
        )
    return preview_tree(forked) | {"skipped": skipped}


def main() -> int:
    """Answer one request. Return the exit status; a known error is JSON on standard output too.

    The request is a pickle with `home`, `settings`, `changes`, `since_ns`, `from_start`, `time_limit_s` and
    `memory_limit_bytes`, by a parent process of the same release.
    """
    request = pickle.load(sys.stdin.buffer)  # noqa: S301  (the pipe of the parent process)
    # The parent may be killed before it can end this process.
    signal.alarm(int(request["time_limit_s"]) + 1)
    memory = int(request["memory_limit_bytes"])
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    os.nice(_NICE)
    try:
        result = preview(
            Home(request["home"]),
            request["settings"],
            request["changes"],
            int(request["since_ns"]),
            from_start=request["from_start"],
        )
    except BadInput as error:
        result = {"invalid": str(error)}
    except (DeployError, Unavailable) as error:
        result = {"unavailable": str(error)}
    except MemoryError:
        result = {"unavailable": f"the preview needs more than {memory // 2**20} MiB; use `python cli.py fork`"}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())

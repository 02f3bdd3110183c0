"""Run the services of `test-env`: Kafka, PostgreSQL and Redis that keep running between test runs."""

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from deploy.errors import DeployError
from deploy.home import Home
from deploy.local.ports import Ports
from deploy.local.stack import running_stack
from deploy.supervisor.processes import ProcessIdentity, identify
from deploy.supervisor.state import replace_file


def state_file(home: Home) -> Path:
    return home.run / "test-env.json"


def read_state(home: Home) -> tuple[ProcessIdentity, dict[str, str]] | None:
    """Return the process that runs the services, and their addresses; None if it does not run."""
    try:
        tree = json.loads(state_file(home).read_text())
    except FileNotFoundError:
        return None
    identity = ProcessIdentity(tree["pid"], tree["started_at"])
    return (identity, tree["endpoints"]) if identity.alive() else None


def main(home: Home) -> int:
    """Start the services on free ports, write their addresses to the state file, and run them until SIGTERM."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    own_identity = identify(os.getpid())
    assert own_identity is not None, "this process exists"
    try:
        with running_stack(home, Ports.free(), print, environ={}) as stack:
            tree = {
                "pid": own_identity.pid,
                "started_at": own_identity.started_at,
                "endpoints": stack.endpoints.environment(home),
            }
            # The file contains passwords.
            replace_file(state_file(home), json.dumps(tree), mode=0o600)
            signal.pause()
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        state_file(home).unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Home(Path(sys.argv[1]))))

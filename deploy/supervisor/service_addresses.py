"""Set the addresses of the running platform for commands that use its services."""

import json
import os

from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.state import running_state

_ADDRESS_VARIABLES = ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "REDIS_URL")


def use_running_services(home: Home) -> None:
    """Add the addresses of the running embedded services to this process's environment, unless it has its own.

    Raises DeployError if an address is missing and no platform runs.
    """
    if all(os.environ.get(name) for name in _ADDRESS_VARIABLES):
        return
    if running_state(home) is None:
        missing = ", ".join(name for name in _ADDRESS_VARIABLES if not os.environ.get(name))
        raise DeployError(f"no platform runs in {home.root}; run `python cli.py start`, or set {missing}")
    try:
        addresses = json.loads((home.secrets / "endpoints.json").read_text())
    except FileNotFoundError as error:
        raise DeployError("the platform is still preparing its services; try again in a moment") from error
    for name in _ADDRESS_VARIABLES:
        os.environ.setdefault(name, addresses[name])

"""Set the addresses of the running platform for commands that use its services."""

import os

from configs.recorded_endpoints import ADDRESS_VARIABLES, read_endpoints
from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.state import read_state
from deploy.supervisor.takeover import survivors


def use_running_services(home: Home) -> None:
    """Add the addresses of the running embedded services to this process's environment, unless it has its own.

    The services of a supervisor that has ended count as running while one of them does.

    Raises DeployError if an address is missing and no platform runs.
    """
    if all(os.environ.get(name) for name in ADDRESS_VARIABLES):
        return
    state = read_state(home)
    if state is None or not (state.supervisor.alive() or survivors(state)):
        missing = ", ".join(name for name in ADDRESS_VARIABLES if not os.environ.get(name))
        raise DeployError(f"no platform runs in {home.root}; run `python cli.py start`, or set {missing}")
    addresses = read_endpoints(home.secrets)
    if not addresses:
        raise DeployError("the platform is still preparing its services; try again in a moment")
    for name in ADDRESS_VARIABLES:
        os.environ.setdefault(name, addresses[name])

"""`exec`: run a command in the environment of one service."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home, home_from_environment
from deploy.service_names import resolve_service
from deploy.supervisor.state import PlatformState, running_state

Service = Annotated[str, typer.Argument(help="Service, as `status` prints it.")]
CommandArgument = Annotated[list[str], typer.Argument(help="Command to run, with its arguments.")]


class ServiceEnvironment(NamedTuple):
    """Environment variables and working folder of a service's process."""

    environment: dict[str, str]
    folder: Path


def register(app: typer.Typer) -> None:
    app.command(
        "exec",
        # Options after the service name belong to the command.
        context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
        help="Run a command in a service's environment and folder, and return its exit status.",
    )(execute)


def execute(service: Service, command: CommandArgument) -> None:
    from dataflows.runtime.topology import COMPACT
    from deploy.supervisor.layout import shared_services

    home = home_from_environment()
    state = running_state(home)
    if state is None:
        raise DeployError(f"no platform is running in {home.root}; start it with `python cli.py start`")
    name = resolve_service(service, [*(child.name for child in state.children), *shared_services(home)])
    service_env = service_environment(home, state, COMPACT if state.child(name) is None else name)
    sys.stdout.flush()
    try:
        os.chdir(service_env.folder)
        os.execvpe(command[0], command, service_env.environment)  # noqa: S606 - what the user typed, and no shell
    except OSError as error:
        raise DeployError(f"cannot run {command[0]} in {service_env.folder}: {error.strerror}") from error


def service_environment(home: Home, state: PlatformState, name: str) -> ServiceEnvironment:
    """Return the environment of the service's process, or the one that a stopped service would start with.

    The folder of this Python is first on PATH, so that `python` is the platform's own. Raises DeployError for an
    external service and for a process of another user.
    """
    import psutil

    child = state.child(name)
    assert child is not None, "the name was resolved from the state"
    if child.external:
        raise DeployError(f"{name} is external (its address is set in the environment), so it has no local process")
    if child.identity is not None and child.identity.alive():
        try:
            process = psutil.Process(child.identity.pid)
            environment, folder = process.environ(), Path(process.cwd())
        except psutil.Error as error:
            raise DeployError(f"cannot read the environment of {name} (pid {child.pid}): {error}") from error
    else:
        environment, folder = _start_environment(home, child.replica_of or child.name), REPOSITORY
    python_folder = str(Path(sys.executable).parent)
    return ServiceEnvironment(
        {**environment, "PATH": f"{python_folder}{os.pathsep}{environment.get('PATH', os.defpath)}"}, folder
    )


def _start_environment(home: Home, service: str) -> dict[str, str]:
    from configs.recorded_endpoints import PRINCIPAL_VARIABLE
    from deploy.security.kafka_rights import principals
    from deploy.supervisor.platform_services import child_environment
    from deploy.supervisor.service_addresses import use_running_services
    from deploy.supervisor.start_options import load_options

    use_running_services(home)
    principal = service if service in principals() else ""
    variables = {**load_options(home).environment(), "PLATFORM_HOME": str(home.root), PRINCIPAL_VARIABLE: principal}
    return child_environment(variables)

"""`exec`: a command in the environment of one service."""

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

Service = Annotated[str, typer.Argument(help="A service as `status` names it.")]
Command = Annotated[list[str], typer.Argument(help="The command and its arguments.")]


class ServiceEnvironment(NamedTuple):
    """Where a service's process lives: its environment variables and its working folder."""

    environment: dict[str, str]
    folder: Path


def register(app: typer.Typer) -> None:
    app.command(
        "exec",
        # Options behind the service belong to the command.
        context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
        help="Run a command in a service's environment and folder; its exit code is the answer.",
    )(execute)


def execute(service: Service, command: Command) -> None:
    home = home_from_environment()
    state = running_state(home)
    if state is None:
        raise DeployError(f"no platform runs in {home.root}")
    service_env = service_environment(home, state, resolve_service(service, [child.name for child in state.children]))
    sys.stdout.flush()
    try:
        os.chdir(service_env.folder)
        os.execvpe(command[0], command, service_env.environment)  # noqa: S606 - what the user typed, and no shell
    except OSError as error:
        raise DeployError(f"{command[0]} cannot be run in {service_env.folder}: {error.strerror}") from error


def service_environment(home: Home, state: PlatformState, name: str) -> ServiceEnvironment:
    """Of the service's running process; of a stopped one, those that it would be started with.

    The folder of this Python comes first on PATH, so that `python` is the platform's own. Raises DeployError for an
    external service and a process of somebody else.
    """
    import psutil

    child = state.child(name)
    assert child is not None, "the name is one of the state's"
    if child.external:
        raise DeployError(f"{name} runs elsewhere: its address came from the environment")
    if child.identity is not None and child.identity.alive():
        try:
            process = psutil.Process(child.identity.pid)
            environment, folder = process.environ(), Path(process.cwd())
        except psutil.Error as error:
            raise DeployError(f"the environment of {name} (pid {child.pid}) cannot be read: {error}") from error
    else:
        environment, folder = _start_environment(home), REPOSITORY
    python_folder = str(Path(sys.executable).parent)
    return ServiceEnvironment(
        {**environment, "PATH": f"{python_folder}{os.pathsep}{environment.get('PATH', os.defpath)}"}, folder
    )


def _start_environment(home: Home) -> dict[str, str]:
    from deploy.supervisor.platform_services import child_environment
    from deploy.supervisor.service_addresses import use_running_services
    from deploy.supervisor.start_options import load_options

    use_running_services(home)
    return child_environment({**load_options(home).environment(), "PLATFORM_HOME": str(home.root)})

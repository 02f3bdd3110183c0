"""The command line inside the environment: registers the commands in `deploy.commands`."""

import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import Annotated

import structlog
import typer

from deploy import commands
from deploy.bootstrap import PROGRAM_VARIABLE, read_env_file, version_text
from deploy.errors import DeployError
from deploy.option_suggestions import SuggestingGroup
from schemas.errors import BadInput

app = typer.Typer(cls=SuggestingGroup, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(requested: bool) -> None:
    if requested:
        print(version_text())
        raise typer.Exit


@app.callback()
def platform(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Start, monitor and test the trading platform."""


_MODULE_OF = {
    "restore": "backup",
    "init-db": "database",
    "migrate": "database",
    "models": "train",
    "test": "testing",
    "start": "platform",
    "stop": "platform",
    "restart": "platform",
    "service": "platform",
    "status": "platform_status",
    "health-check": "platform_status",
    "lint": "quality",
    "format": "quality",
}
"""Modules of the commands that do not have their module's name."""
_registered: set[str] = set()


def register_all() -> None:
    """Register each module in `deploy.commands` by its function `register(app)`."""
    for module in _module_names():
        _register(module)


def register_for(arguments: Sequence[str]) -> None:
    """Register the module of the command that `arguments` call, and all modules if that is not clear.

    The modules of all commands take a second of processor time to import.
    """
    name = arguments[0] if arguments else ""
    module = _MODULE_OF.get(name, name.replace("-", "_"))
    if module in _module_names():
        _register(module)
    if name not in _command_names():
        register_all()


def _command_names() -> list[str | None]:
    return [command.name for command in app.registered_commands] + [group.name for group in app.registered_groups]


def _module_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(commands.__path__))


def _register(module: str) -> None:
    if module not in _registered:
        _registered.add(module)
        importlib.import_module(f"{commands.__name__}.{module}").register(app)


def main() -> int:
    """Run the command line. A DeployError prints one line and exits with status 1, a BadInput with status 2."""
    program = os.environ.pop(PROGRAM_VARIABLE, "cli.py")
    if not structlog.is_configured():
        # Standard output holds only the result of a command, such as JSON.
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    register_for(sys.argv[1:])
    try:
        read_env_file(sys.argv[1:])
        app(prog_name=program)
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

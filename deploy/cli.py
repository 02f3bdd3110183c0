"""The command line inside the environment: registers every command group in `deploy.commands`."""

import importlib
import os
import pkgutil
import sys
from typing import Annotated

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


def register_all() -> None:
    """Register each module in `deploy.commands` by its function `register(app)`."""
    for module in sorted(pkgutil.iter_modules(commands.__path__), key=lambda info: info.name):
        importlib.import_module(f"{commands.__name__}.{module.name}").register(app)


def main() -> int:
    """Run the command line. A DeployError prints one line and exits with status 1, a BadInput with status 2."""
    program = os.environ.pop(PROGRAM_VARIABLE, "cli.py")
    register_all()
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

"""The command line inside the environment: finds every command group in `deploy.commands` by itself."""

import importlib
import pkgutil
import sys

import typer

from deploy import commands
from deploy.bootstrap import read_env_file
from deploy.errors import DeployError
from schemas.errors import BadInput

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def platform() -> None:
    """Start, watch and test the trading platform."""


def register_all() -> None:
    """A command group is a module in `deploy.commands` with `register(app)`; add the file and it is there."""
    for module in sorted(pkgutil.iter_modules(commands.__path__), key=lambda info: info.name):
        importlib.import_module(f"{commands.__name__}.{module.name}").register(app)


def main() -> int:
    """Run the command line; a DeployError is one line and status 1, a BadInput one line and status 2."""
    register_all()
    try:
        read_env_file(sys.argv[1:])
        app(prog_name="cli.py")
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

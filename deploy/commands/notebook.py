"""`notebook`: open the notebooks of the documentation in JupyterLab, as copies in the state folder."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from deploy.home import REPOSITORY, Home, home_from_environment
from deploy.name_arguments import unknown_name
from schemas.errors import BadInput

NOTEBOOKS = REPOSITORY / "docs" / "notebooks"
LOOPBACK = "127.0.0.1"
_SUFFIX = ".ipynb"


def register(app: typer.Typer) -> None:
    app.command("notebook", help="Open the notebooks of the documentation in JupyterLab.")(notebook)


def notebook(
    name: Annotated[str | None, typer.Argument(help="Name of a notebook, such as first_idea; by default all.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port on loopback; if another program uses it, the next free one.")
    ] = 8888,
) -> None:
    opened = None if name is None else find_notebook(name)
    folder = copy_notebooks(home_from_environment())
    print(f"notebooks: {folder}", file=sys.stderr, flush=True)
    run_jupyterlab(folder, opened, port, opens_browser=browser)


def find_notebook(name: str) -> str:
    """Return the file name of a notebook. Raises BadInput with the nearest name for an unknown one.

    >>> find_notebook("first_idea"), find_notebook("first_idea.ipynb")
    ('first_idea.ipynb', 'first_idea.ipynb')
    """
    known = sorted(path.stem for path in NOTEBOOKS.glob(f"*{_SUFFIX}"))
    stem = name.removesuffix(_SUFFIX)
    if stem not in known:
        raise BadInput(unknown_name("notebook", name, known))
    return f"{stem}{_SUFFIX}"


def copy_notebooks(home: Home) -> Path:
    """Copy the notebooks into the state folder and return the folder. A copy that exists stays as the user left it."""
    folder = home.root / "notebooks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(NOTEBOOKS.glob(f"*{_SUFFIX}")):
            if not (folder / path.name).exists():
                shutil.copyfile(path, folder / path.name)
    except OSError as error:
        raise BadInput(f"cannot write the notebooks into {folder}: {error.strerror or error}") from error
    return folder


def run_jupyterlab(folder: Path, opened: str | None, port: int, *, opens_browser: bool) -> NoReturn:
    """Replace this process by JupyterLab on loopback. Each start has a new token, which the printed address contains.

    Notebooks import the packages of the repository, because PYTHONPATH names it. Extensions and settings of the user's
    own JupyterLab do not apply; their folders are in the state folder.
    """
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.ip={LOOPBACK}", f"--ServerApp.port={port}"]
    command += [f"--ServerApp.root_dir={folder}", "--ServerApp.allow_remote_access=False", "--LabApp.news_url=None"]
    # Root is the only user of many containers. Without this option, Jupyter does not start for it.
    command += ["--ServerApp.allow_root=True", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    command += [] if opens_browser else ["--ServerApp.open_browser=False"]
    if opened is not None:
        command.append(f"--LabApp.default_url=/lab/tree/{opened}")
    own_folder = folder / ".jupyter"
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(own_folder / "config"),
        "JUPYTER_DATA_DIR": str(own_folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(own_folder / "runtime"),
        "IPYTHONDIR": str(own_folder / "ipython"),
    }
    environment.pop("JUPYTER_TOKEN", None)  # a fixed token of another server
    os.execve(sys.executable, command, environment)  # noqa: S606 - our own Python

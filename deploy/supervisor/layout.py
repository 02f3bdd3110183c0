"""Store in the state folder which layout the recovery stores have: which dataflows share a process.

The file is replaced atomically, after the stores of the new layout are complete. It therefore always names a layout
whose stores can be used.
"""

from __future__ import annotations

from dataflows.runtime.topology import Layout, processes
from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.state import replace_file

_FILE = "layout"


def read_layout(home: Home) -> Layout:
    """Return the layout of the stores; `services` for a new platform. Raises DeployError for an unknown layout."""
    path = home.recovery / _FILE
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        return Layout.SERVICES
    if text not in list(Layout):
        raise DeployError(f"{path} must contain one of {', '.join(Layout)}, found {text!r}; restore a backup")
    return Layout(text)


def write_layout(home: Home, layout: Layout) -> None:
    replace_file(home.recovery / _FILE, f"{layout}\n")


def dataflow_names(home: Home) -> tuple[str, ...]:
    """Return the names of the platform's dataflow processes; a scaled service counts once."""
    return processes(read_layout(home))

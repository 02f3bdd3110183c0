"""Store in the state folder which layout the recovery stores have: which dataflows share a process.

The file has the name of the layout in its first line. In `compact`, a second line names the services that run beside
the compact process, if any. The file is replaced atomically, after the stores of the new layout are complete. It
therefore always names a layout whose stores can be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dataflows.runtime.edge_services import services_beside_compact
from dataflows.runtime.topology import EDGE_SERVICES, Layout, compact_services, processes
from deploy.errors import DeployError
from deploy.home import Home
from deploy.supervisor.state import replace_file

if TYPE_CHECKING:
    from configs.settings import Settings

_FILE = "layout"


def read_layout(home: Home) -> Layout:
    """Return the layout of the stores; `services` for a new platform. Raises DeployError for an unknown layout."""
    return _read(home)[0]


def read_beside(home: Home) -> tuple[str, ...]:
    """Return the services that run beside the compact process; none in the layout `services`. Raises DeployError."""
    return _read(home)[1]


def _read(home: Home) -> tuple[Layout, tuple[str, ...]]:
    path = home.recovery / _FILE
    try:
        layout, *beside = path.read_text().split()
    except FileNotFoundError:
        return Layout.SERVICES, ()
    except ValueError:
        layout, beside = "", []
    if layout not in list(Layout):
        raise DeployError(f"{path} must contain one of {', '.join(Layout)}, found {layout!r}; restore a backup")
    if unknown := sorted(set(beside) - set(EDGE_SERVICES)):
        raise DeployError(
            f"{path} must contain only the services {', '.join(EDGE_SERVICES)} after the layout, found {unknown[0]!r}; "
            "restore a backup"
        )
    return Layout(layout), tuple(name for name in EDGE_SERVICES if name in beside)


def write_layout(home: Home, layout: Layout, beside: Sequence[str] = ()) -> None:
    text = f"{layout}\n{' '.join(beside)}\n" if beside else f"{layout}\n"
    replace_file(home.recovery / _FILE, text)


def services_beside(settings: Settings, layout: Layout) -> tuple[str, ...]:
    """Return the services that run beside the compact process with these settings; none in the layout `services`."""
    return services_beside_compact(settings) if layout is Layout.COMPACT else ()


def dataflow_names(home: Home) -> tuple[str, ...]:
    """Return the names of the platform's dataflow processes; a scaled service counts once."""
    return processes(*_read(home))


def shared_services(home: Home) -> tuple[str, ...]:
    """Return the services that share the compact process; none in the layout `services`."""
    return shared_in(*_read(home))


def shared_in(layout: Layout, beside: Sequence[str]) -> tuple[str, ...]:
    """Return the services that share the compact process in a layout, with these services beside it."""
    return compact_services(beside) if layout is Layout.COMPACT else ()

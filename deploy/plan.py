"""The platform's own processes: one Bytewax process per dataflow, and the API."""

import os
import sys
from collections.abc import Mapping

from deploy.home import REPOSITORY, Home
from deploy.probes import DataflowProbe, HttpProbe
from deploy.service import DATAFLOW_NAMES, Kind, Service

_SMALL_PROCESS = {
    # Ten processes share a small machine: no thread pools and no per-thread heaps that nobody uses.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "PYTHONUNBUFFERED": "1",
}
# Set to anything at all, this opens a web server in every dataflow, all on the same port.
_NOT_FOR_CHILDREN = {"BYTEWAX_DATAFLOW_API_ENABLED"}


def child_environment(told: Mapping[str, str]) -> dict[str, str]:
    """The environment of the platform's own processes: ours, with what they are `told` on top."""
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_CHILDREN}
    return {**inherited, **_SMALL_PROCESS, "PYTHONPATH": str(REPOSITORY), **told}


def dataflow_services(home: Home, environment: Mapping[str, str], *, snapshot_interval_s: int) -> list[Service]:
    """One process per dataflow, with its recovery store."""
    return [
        Service(
            name=name,
            kind=Kind.DATAFLOW,
            command=(
                *(sys.executable, "-m", "bytewax.run", f"dataflows.{name}"),
                *("-r", str(home.recovery / name), "-s", str(snapshot_interval_s), "-b", "0"),
            ),
            probe=DataflowProbe(home.stats / f"{name}.json"),
            environment=environment,
        )
        for name in DATAFLOW_NAMES
    ]


def api_service(environment: Mapping[str, str], port: int) -> Service:
    """The API on 127.0.0.1."""
    return Service(
        name="api",
        kind=Kind.API,
        command=(
            *(sys.executable, "-m", "uvicorn", "api.app:served", "--factory"),
            *("--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--log-level", "warning"),
        ),
        probe=HttpProbe(f"http://127.0.0.1:{port}/health"),
        environment=environment,
        stop_timeout_s=5.0,
    )

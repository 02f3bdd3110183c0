"""Describe the platform's own processes: dataflows, API, dashboard, alerts, checks and the local broker."""

import os
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from configs.settings.platform import ChecksSection
from dataflows.runtime.edge_services import BESIDE_VARIABLE
from dataflows.runtime.topology import COMPACT, EDGE_SERVICES, Replica
from deploy.home import REPOSITORY, Home
from deploy.supervisor import scheduled_checks
from deploy.supervisor.layout import dataflow_names
from deploy.supervisor.probes import DataflowProbe, HttpProbe
from deploy.supervisor.process_spec import ProcessKind, ProcessSpec
from deploy.supervisor.replicas import replica_name, replicas, replicas_of, store_of
from deploy.supervisor.start_options import LOCAL_SYMBOLS

_SMALL_PROCESS_VARIABLES = {
    # Ten processes share a small machine: avoid unused thread pools and per-thread heaps.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "PYTHONUNBUFFERED": "1",
}
HTTP_OPTIONS = (
    # The application itself decides which proxies it trusts.
    *("--no-access-log", "--log-level", "warning", "--no-server-header", "--no-proxy-headers"),
    *("--http", "h11", "--h11-max-incomplete-event-size", "32768", "--limit-concurrency", "1200"),
    *("--timeout-keep-alive", "5", "--ws-max-size", "65536", "--ws-max-queue", "16"),
)
"""Options of uvicorn for the API and the dashboard, also in `deploy/containers/container.sh`: limits of headers,
connections and messages."""
# Any value opens a web server in every dataflow, all on the same port.
_BLOCKED_VARIABLES = {"BYTEWAX_DATAFLOW_API_ENABLED"}


def child_environment(overrides: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the platform's own processes: this process's, with `overrides`.

    `PLATFORM_CHILD_PATH` is a folder that comes first on their module path: `chaos` sets their clocks with it.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _BLOCKED_VARIABLES}
    path = os.pathsep.join([*filter(None, [os.environ.get("PLATFORM_CHILD_PATH")]), str(REPOSITORY)])
    return {**inherited, **_SMALL_PROCESS_VARIABLES, "PYTHONPATH": path, **overrides}


def dataflow_services(
    home: Home,
    environment: Mapping[str, str],
    *,
    snapshot_interval_s: int,
    names: Sequence[str] | None = None,
) -> list[ProcessSpec]:
    """Describe the processes of the dataflows, as many of each as it has recovery stores in the state folder.

    `names` are the dataflows to start, by default those of the stored layout. A service without a store of its own (its
    state is still in the stores of another layout) runs as one process.
    """
    stored = dataflow_names(home)
    started = stored if names is None else names
    beside = ",".join(name for name in EDGE_SERVICES if name in started)
    return [
        service
        for name in started
        for service in replica_services(
            home,
            name,
            replicas_of(home, name) if name in stored else replicas(1),
            {**environment, BESIDE_VARIABLE: beside} if name == COMPACT else environment,
            snapshot_interval_s=snapshot_interval_s,
        )
    ]


def replica_services(
    home: Home, name: str, replicas: list[Replica], environment: Mapping[str, str], *, snapshot_interval_s: int
) -> list[ProcessSpec]:
    """Describe one process per replica of a dataflow, each with its recovery store."""
    return [
        ProcessSpec(
            name=replica_name(name, replica),
            kind=ProcessKind.DATAFLOW,
            command=(
                *(sys.executable, "-m", "bytewax.run", f"dataflows.{name}"),
                *("-r", str(store_of(home, name, replica)), "-s", str(snapshot_interval_s), "-b", "0"),
            ),
            probe=DataflowProbe(home.stats / f"{replica_name(name, replica)}.json"),
            environment={**environment, "PLATFORM_REPLICA": str(replica)},
            replica_of=name,
        )
        for replica in replicas
    ]


def local_broker_service(home: Home, environment: Mapping[str, str], port: int, cash: Decimal) -> ProcessSpec:
    """Describe the local broker with Alpaca's protocol. Its account is stored in the state folder.

    A new account has the platform's initial capital as `cash`, so that cash agrees.
    """
    return ProcessSpec(
        name="alpaca_server",
        kind=ProcessKind.SERVICE,
        command=(
            *(sys.executable, "-m", "deploy.cli", "alpaca-server", "--port", str(port), "--bar-interval-s", "1"),
            *("--symbols", ",".join(LOCAL_SYMBOLS), "--state", str(home.data / "alpaca.json")),
            *("--cash", str(cash)),
        ),
        probe=HttpProbe(f"http://127.0.0.1:{port}/control/state"),
        environment=environment,
        stop_timeout_s=5.0,
    )


def api_service(environment: Mapping[str, str], port: int) -> ProcessSpec:
    """Describe the API on 127.0.0.1."""
    return ProcessSpec(
        name="api",
        kind=ProcessKind.API,
        command=(
            *(sys.executable, "-m", "uvicorn", "api.app:served", "--factory"),
            *("--host", "127.0.0.1", "--port", str(port), *HTTP_OPTIONS),
        ),
        probe=HttpProbe(f"http://127.0.0.1:{port}/health"),
        environment=environment,
        stop_timeout_s=5.0,
    )


def checks_service(environment: Mapping[str, str], schedule: ChecksSection) -> ProcessSpec:
    """Describe the scheduled checks. The process is healthy while it runs; findings are in its results."""
    return ProcessSpec(
        name="checks",
        kind=ProcessKind.CHECKS,
        command=scheduled_checks.service_command(schedule),
        probe=lambda pid: None,
        environment=environment,
        stop_timeout_s=5.0,
    )


def alerts_service(home: Home, environment: Mapping[str, str], api: str) -> ProcessSpec:
    """Describe the process that reads the API's metrics and sends alerts."""
    return ProcessSpec(
        name="alerts",
        kind=ProcessKind.ALERTS,
        command=(sys.executable, "-m", "api.alerting"),
        probe=alerts_probe(home),
        environment={**environment, "ALERTS__METRICS_URL": f"{api}/metrics"},
        stop_timeout_s=5.0,
    )


def alerts_probe(home: Home) -> DataflowProbe:
    # A round can wait for a slow alert channel.
    return DataflowProbe(home.run / "alerts.json", age_max_s=60.0)


def dashboard_service(environment: Mapping[str, str], port: int, *, bundle: Path, api: str) -> ProcessSpec:
    """Describe the server of the built dashboard on 127.0.0.1; `api` is the address of the API."""
    return ProcessSpec(
        name="dashboard",
        kind=ProcessKind.DASHBOARD,
        command=(
            *(sys.executable, "-m", "uvicorn", "deploy.local.dashboard_server:create_app", "--factory"),
            *("--host", "127.0.0.1", "--port", str(port), *HTTP_OPTIONS),
        ),
        probe=HttpProbe(f"http://127.0.0.1:{port}/"),
        environment={**environment, "PLATFORM_DASHBOARD_BUNDLE": str(bundle), "PLATFORM_API_URL": api},
        stop_timeout_s=5.0,
    )

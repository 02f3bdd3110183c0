"""Background process that prepares the servers, describes all processes of the platform, and supervises them.

`python cli.py start` starts it. It exits only on request.
"""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from configs import logs
from configs.recorded_endpoints import ADMIN, PRINCIPAL_VARIABLE
from configs.settings import Settings, load_settings
from configs.settings.platform import ChecksSection
from dataflows.runtime.topology import Layout, processes
from deploy.errors import DeployError
from deploy.home import PRIVATE_UMASK, Home, home_from_environment
from deploy.local import dashboard_bundle, postgres
from deploy.local.endpoints import Endpoints, prepare, uses_embedded_kafka
from deploy.local.kafka.authentication import admin_cluster
from deploy.local.kafka.broker import needs_upgrade
from deploy.local.ports import Ports, port_variable, require_free, require_free_ports
from deploy.security.kafka_accounts import create_accounts
from deploy.supervisor import initialize, takeover
from deploy.supervisor.client_access import with_kafka_credentials, write_endpoints
from deploy.supervisor.dev_reload import SourceWatcher
from deploy.supervisor.kafka_requirements import require_own_security, require_simulation
from deploy.supervisor.layout import read_layout, services_beside, shared_in
from deploy.supervisor.live_start import check_live_start
from deploy.supervisor.platform_services import (
    alerts_service,
    api_service,
    checks_service,
    child_environment,
    dashboard_service,
    dataflow_services,
    local_broker_service,
    replica_services,
)
from deploy.supervisor.probes import KafkaProbe, PostgresProbe, RedisProbe
from deploy.supervisor.process_spec import ProcessKind, ProcessSpec
from deploy.supervisor.replicas import finish_rescale, replicas, require_scalable
from deploy.supervisor.rescale_task import RescaleTask
from deploy.supervisor.start_options import StartOptions, load_options, local_broker_port
from deploy.supervisor.state import Phase, PlatformState, initial_state, read_state, write_state
from deploy.supervisor.state_check import require_same_configuration
from deploy.supervisor.supervision import Supervisor, release_suspensions
from schemas.errors import BadInput


def supervise(home: Home, observe: Callable[[PlatformState], None] = lambda state: None) -> int:
    """Prepare and run the platform with the options of `start`. Return the exit status."""
    os.umask(PRIVATE_UMASK)  # inherited by all services
    home.create_folders()
    logs.configure("supervisor", "WARNING" if sys.stderr.isatty() else "INFO")
    with (home.run / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"error: another platform is already running in {home.root}", file=sys.stderr)
            return 1
        saved = read_state(home)
        if ended := takeover.end_if_interrupted(
            saved, unusable=uses_embedded_kafka(os.environ) and needs_upgrade(home)
        ):
            print(f"ended processes of an earlier supervisor: {', '.join(ended)}", flush=True)
        running = takeover.survivors(saved)
        # Recorded until they are taken over: if the preparation fails, `stop` still finds them.
        state = replace(initial_state("preparing services"), children=running)

        def report(message: str) -> None:
            nonlocal state
            state = replace(state, message=message, updated_at=time.time())
            write_state(home, state)
            observe(state)

        report(state.message)
        supervisor: Supervisor | None = None
        try:
            signal.signal(signal.SIGTERM, _interrupt)
            signal.signal(signal.SIGINT, _interrupt)
            supervisor = _build_supervisor(home, state, report, observe)
            supervisor.predecessor = saved if running else None
            signal.signal(signal.SIGTERM, lambda *_: setattr(supervisor, "stop", True))
            signal.signal(signal.SIGINT, lambda *_: setattr(supervisor, "stop", True))
            supervisor.run()
        except (DeployError, BadInput, OSError) as error:
            last_state = supervisor.state if supervisor else state
            write_state(home, replace(last_state, phase=Phase.FAILED, message=_one_line(error), updated_at=time.time()))
            print(f"error: {_one_line(error)}", file=sys.stderr, flush=True)
            return 1
        except KeyboardInterrupt:
            write_state(home, replace(state, phase=Phase.STOPPED, message="stopped", updated_at=time.time()))
        return 0


def _valid_settings(home: Home, options: StartOptions, ports: Ports, owners: Sequence[int]) -> Settings:
    """Load the settings, and check them, the required keys and the ports before anything starts.

    Raises DeployError or BadInput. `owners` are the processes that may use the ports already.
    """
    require_free_ports(ports, os.environ, owners=owners)
    settings = load_settings(environment={**os.environ, **options.environment(), PRINCIPAL_VARIABLE: ""})
    if options.dev and settings.execution.mode == "live":
        raise DeployError("--dev restarts services at every edit and cannot be used with TRADING_MODE=live")
    providers = {name.removesuffix("_rest") for name in settings.market_data.live_providers()}
    if "alpaca" in {settings.execution.broker, *providers}:
        settings.alpaca.keys()
    if "polygon" in providers:
        settings.polygon.key()
    if options.broker == "local-alpaca":
        require_free("the local broker", local_broker_port(), "PLATFORM_ALPACA_PORT", owners=owners)
    require_same_configuration(home, settings)
    require_own_security(settings)
    return settings


def _prepared_endpoints(
    home: Home, settings: Settings, ports: Ports, report: Callable[[str], None], owners: Sequence[int]
) -> tuple[Endpoints, bool]:
    """Prepare the servers. Return their endpoints, and whether the checks of a live start have passed."""
    endpoints = prepare(home, ports, report, owners=owners)
    # Processes that are taken over trade already: their platform was checked when it started.
    live_checked = not owners and check_live_start(home, settings, endpoints, report)
    if settings.execution.mode == "live" and not owners:
        # The check ran servers on other ports, with the same configuration files.
        endpoints = prepare(home, ports, report, owners=owners)
    if endpoints.substitute_kafka:
        require_simulation(settings, endpoints)
    return endpoints, live_checked


class _PreparedPlatform(NamedTuple):
    """The prepared servers, and what the platform's processes have in common.

    `environment` has no credentials for Kafka: each process gets its own. `live_checked` is whether the checks of a
    live start have passed. `beside` are the services beside the compact process.
    """

    home: Home
    options: StartOptions
    ports: Ports
    settings: Settings
    endpoints: Endpoints
    environment: dict[str, str]
    live_checked: bool
    layout: Layout
    beside: tuple[str, ...]

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports.api}"

    def process_specs(self, bundle: Path | None) -> list[ProcessSpec]:
        """Describe all processes, in the order of their start. Without a `bundle`, there is no dashboard."""
        settings, environment = self.settings, self.environment
        cash = settings.portfolio_manager.initial_capital
        local_broker = local_broker_service(self.home, environment, local_broker_port(), cash)
        interval_s, names = settings.platform.snapshot_interval_s, processes(self.layout, self.beside)
        checks = settings.platform.checks
        runs_checks = checks != ChecksSection(verify=None, replay_check=None, checkpoint=None, archive=None)
        specs = [
            *_server_specs(self.endpoints, settings),
            *([local_broker] if self.options.broker == "local-alpaca" else []),
            *dataflow_services(self.home, environment, snapshot_interval_s=interval_s, names=names),
            api_service(environment, self.ports.api),
            *([self._dashboard(bundle)] if bundle is not None else []),
            *([checks_service(environment, checks)] if runs_checks else []),
            alerts_service(self.home, environment, self.api),
        ]
        return self._with_credentials(specs)

    def replica_specs(self, service: str, count: int) -> list[ProcessSpec]:
        """Describe the processes of a service that is scaled to `count`."""
        interval_s = self.settings.platform.snapshot_interval_s
        specs = replica_services(self.home, service, replicas(count), self.environment, snapshot_interval_s=interval_s)
        return self._with_credentials(specs)

    def require_scalable(self, service: str, count: int) -> None:
        """Raises DeployError if the service cannot run as `count` processes."""
        shared = shared_in(self.layout, self.beside)
        require_scalable(service, count, self.settings.kafka.symbol_partitions, shared)

    def initialize_command(self) -> tuple[str, ...]:
        """Return the command that creates the topics and tables."""
        substitute = [initialize.SUBSTITUTE] if self.endpoints.substitute_kafka else []
        live_checked = [initialize.LIVE_CHECKED] if self.live_checked else []
        return (
            *(sys.executable, "-m", initialize.__name__, *substitute, *live_checked),
            *(initialize.LAYOUT, self.layout),
        )

    def initialize_environment(self) -> dict[str, str]:
        return {**self.environment, **self.endpoints.kafka_credentials(self.home, ADMIN)}

    def create_database_and_accounts(self) -> None:
        """Create the database of an embedded PostgreSQL, and the accounts of a Kafka with authentication."""
        endpoints = self.endpoints
        if any(service.name == "postgres" for service in endpoints.services):
            postgres.make_database(self.home, self.ports.postgres)
        if endpoints.kafka_authenticated:
            cluster, prefix = admin_cluster(self.home, endpoints.kafka), self.settings.kafka.topic_prefix
            create_accounts(cluster, self.home, prefix, self.layout, self.beside)

    def _dashboard(self, bundle: Path) -> ProcessSpec:
        return dashboard_service(self.environment, self.ports.dashboard, bundle=bundle, api=self.api)

    def _with_credentials(self, specs: Iterable[ProcessSpec]) -> list[ProcessSpec]:
        return [with_kafka_credentials(spec, self.home, self.endpoints) for spec in specs]


def _build_supervisor(
    home: Home, state: PlatformState, report: Callable[[str], None], observe: Callable[[PlatformState], None]
) -> Supervisor:
    """Prepare the servers and describe all processes. Raises DeployError or BadInput."""
    options = load_options(home)
    ports = Ports.from_environment()
    owners = [child.pid for child in state.children if child.pid is not None]
    settings = _valid_settings(home, options, ports, owners)
    endpoints, live_checked = _prepared_endpoints(home, settings, ports, report, owners)
    write_endpoints(home, endpoints)
    finish_rescale(home)
    layout = options.requested_layout() or read_layout(home)
    variables = {**options.environment(), **endpoints.environment(home), PRINCIPAL_VARIABLE: ""}
    platform = _PreparedPlatform(
        home=home,
        options=options,
        ports=ports,
        settings=settings,
        endpoints=endpoints,
        environment=child_environment(variables),
        live_checked=live_checked,
        layout=layout,
        beside=services_beside(settings, layout),
    )
    bundle, without_dashboard = _dashboard_bundle(home, ports, report, owners)
    if not owners:
        release_suspensions(home)
    edited = [Path(options.settings)] if options.settings else []
    return Supervisor(
        home=home,
        services=platform.process_specs(bundle),
        initialize=platform.initialize_command(),
        initialize_environment=platform.initialize_environment(),
        before_initialize=platform.create_database_and_accounts,
        observe=observe,
        rescale_task=RescaleTask(home, platform.replica_specs, platform.environment, platform.require_scalable),
        source_watcher=SourceWatcher(extra_files=edited) if options.dev else None,
        state=replace(
            state,
            kafka=endpoints.kafka,
            api=platform.api,
            dashboard="" if bundle is None else f"http://localhost:{ports.dashboard}",
            without_dashboard=without_dashboard,
            degraded=endpoints.degraded,
            dev=options.dev,
            layout=layout,
        ),
    )


def _dashboard_bundle(
    home: Home, ports: Ports, report: Callable[[str], None], owners: Collection[int]
) -> tuple[Path | None, str]:
    """Return the built dashboard, or None and the reason. A failed build does not prevent the start of trading."""
    if os.environ.get("PLATFORM_DASHBOARD") == "off":
        return None, "PLATFORM_DASHBOARD=off"
    try:
        require_free("the dashboard", ports.dashboard, port_variable("dashboard"), owners=owners)
        return dashboard_bundle.bundle(home, report), ""
    except DeployError as error:
        return None, _one_line(error)


def _server_specs(endpoints: Endpoints, settings: Settings) -> list[ProcessSpec]:
    """Return the specs of the embedded servers, and of the external servers that the environment specifies."""
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": endpoints.kafka}).cluster
    embedded = {service.name: service for service in endpoints.services}
    external = {
        "kafka": ProcessSpec("kafka", ProcessKind.SERVICE, (), KafkaProbe(kafka)),
        "postgres": ProcessSpec("postgres", ProcessKind.SERVICE, (), PostgresProbe(endpoints.database_url)),
        "redis": ProcessSpec("redis", ProcessKind.SERVICE, (), RedisProbe(endpoints.redis_url)),
    }
    return [embedded.get(name, service) for name, service in external.items()]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(supervise(home_from_environment()))

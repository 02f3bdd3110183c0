"""Background process that starts the platform in order, monitors it, and stops it in reverse order.

It has one thread and one loop. It restarts crashed children, and exits only on request.
"""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from configs import logs
from configs.recorded_endpoints import ADMIN, PRINCIPAL_VARIABLE
from configs.settings import Settings, load_settings
from dataflows.runtime import suspension_files
from deploy.errors import DeployError
from deploy.home import PRIVATE_UMASK, REPOSITORY, Home, home_from_environment
from deploy.local import dashboard_bundle, postgres
from deploy.local.endpoints import Endpoints, Ports, port_variable, prepare, uses_embedded_kafka
from deploy.local.kafka.authentication import admin_cluster
from deploy.local.kafka.broker import needs_upgrade
from deploy.local.ports import require_free
from deploy.security.kafka_accounts import create_accounts
from deploy.supervisor import control, initialize, takeover
from deploy.supervisor.child import STOP_ORDER, Child
from deploy.supervisor.client_access import with_kafka_credentials, write_endpoints
from deploy.supervisor.dev_reload import SourceWatcher
from deploy.supervisor.kafka_requirements import require_own_security, require_simulation
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
from deploy.supervisor.processes import identify, tail
from deploy.supervisor.replicas import finish_rescale, replicas, require_scalable
from deploy.supervisor.rescale_task import RescaleTask
from deploy.supervisor.start_options import load_options, local_broker_port
from deploy.supervisor.state import Phase, PlatformState, Status, read_state, write_state
from deploy.supervisor.state_check import require_same_configuration
from schemas.errors import BadInput

_LOOP_S, _HEARTBEAT_S = 0.2, 2.0
REQUIRED_BY_DATAFLOWS = ("kafka", "postgres")
"""Redis is not required: it is a cache, and trading continues without it."""


@dataclass
class Supervisor:
    """Runs `services`, in this order, until `stop` is set or a shutdown is requested.

    When the servers (Kafka, PostgreSQL, Redis) are healthy, the command `initialize` runs. It must succeed before the
    dataflows, the API and the other processes that need topics and tables start. `before_initialize` runs in this
    process directly before it. `observe` is called with every state that is written. `rescale_task` changes the number
    of a dataflow's processes; None disables rescaling. With `source_watcher`, services restart when their code changes.
    `predecessor` is the last state of a supervisor that was killed: its processes are taken over (`takeover.py`).
    """

    home: Home
    services: list[ProcessSpec]
    initialize: tuple[str, ...] = ()
    initialize_environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    before_initialize: Callable[[], None] = lambda: None
    observe: Callable[[PlatformState], None] = lambda state: None
    rescale_task: RescaleTask | None = None
    source_watcher: SourceWatcher | None = None
    predecessor: PlatformState | None = None
    state: PlatformState = field(default_factory=lambda: _initial_state("starting"))
    stop: bool = False
    _children: list[Child] = field(default_factory=list)
    _initializing: subprocess.Popen[bytes] | None = None
    _initialized: bool = False
    _written_at: float = 0.0

    def run(self) -> None:
        """Run until the platform is stopped. If the initialization fails, stops everything and raises DeployError."""
        self._children = [Child(service, self.home) for service in self.services]
        self._initialized = not self.initialize
        self._take_over()
        server = control.listen(self.home)
        try:
            self._publish(Phase.STARTING, "starting services")
            while not self.stop:
                self._step()
                self._serve(server)
        finally:
            self._shut_down(server)

    def _take_over(self) -> None:
        """Adopt the processes of the predecessor, or end them. Discard the reports of all that do not run."""
        adopted, ended, complete = takeover.adopt_or_end(self.predecessor, self._children)
        self._initialized = self._initialized or complete
        if ended:
            print(f"ended processes of an earlier supervisor: {', '.join(ended)}", flush=True)
        if adopted:
            print(f"took over processes of an earlier supervisor: {', '.join(adopted)}", flush=True)
        for path in self.home.stats.glob("*.json"):
            if path.stem not in adopted:
                path.unlink()
        if self.predecessor is not None and not complete:
            _release_suspensions(self.home)

    def _step(self) -> None:
        for child in self._children:
            child.step(self._blocked_by(child))
        if not self._initialized:
            self._step_initialize()
        if self.rescale_task is not None:
            self._children = self.rescale_task.step(self._children)
        if self.source_watcher is not None:
            self._restart_edited(self.source_watcher)
        all_healthy = self._initialized and all(c.status is Status.HEALTHY for c in self._children if c.should_run)
        phase = Phase.RUNNING if all_healthy or self.state.phase is Phase.RUNNING else Phase.STARTING
        unhealthy = [c.service.name for c in self._children if c.status is not Status.HEALTHY]
        self._publish(phase, f"not healthy: {', '.join(unhealthy)}" if unhealthy else "all healthy")

    def _restart_edited(self, source_watcher: SourceWatcher) -> None:
        names = {child.service.replica_of or child.service.name for child in self._children}
        if self.rescale_task is not None and any(self.rescale_task.is_rescaling(name) for name in names):
            return  # handle edits after the rescale, when the processes are final
        if not (edited := source_watcher.changed_files(time.monotonic())):
            return
        affected = [child for child in self._children if source_watcher.affects(child.service, edited)]
        print(f"edited: {', '.join(path.name for path in edited)}; services restarted: {len(affected)}", flush=True)
        for child in affected:
            child.request_restart()

    def _blocked_by(self, child: Child) -> str | None:
        """Return what a child must wait for, or None. Without Kafka, a dataflow would crash and count as failed."""
        if child.service.kind in (ProcessKind.SERVICE, ProcessKind.DASHBOARD):
            return None
        required = [c for c in self._children if c.service.name in REQUIRED_BY_DATAFLOWS]
        missing = [c.service.name for c in required if c.status is not Status.HEALTHY]
        if missing:
            return " and ".join(missing)
        return None if self._initialized else "topics and tables"

    def _step_initialize(self) -> None:
        services = [child for child in self._children if child.service.kind is ProcessKind.SERVICE]
        log = self.home.logs / "initialize.log"
        if self._initializing is None:
            if all(child.status is Status.HEALTHY for child in services):
                self.before_initialize()
                with log.open("wb") as out:
                    self._initializing = subprocess.Popen(
                        self.initialize,
                        cwd=REPOSITORY,
                        env=dict(self.initialize_environment),
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=subprocess.STDOUT,
                    )
            return
        status = self._initializing.poll()
        if status is not None:
            self._initializing, self._initialized = None, status == 0
            if status != 0:
                raise DeployError(f"{tail(log).removeprefix('error: ')} (see {log})")

    def _handle_request(self, action: str, name: str, count: int) -> str | None:
        """Execute a request from the control socket. Return why it is rejected, or None."""
        if action == "shutdown":
            self.stop = True
            return None
        children = [child for child in self._children if name in (child.service.name, child.service.replica_of)]
        if not children:
            return f"unknown service {name!r}; expected one of {', '.join(c.service.name for c in self._children)}"
        if children[0].external:
            return f"cannot {action} {name}: it is external, its address comes from the environment"
        if self.rescale_task is not None and self.rescale_task.is_rescaling(name):
            return f"{name} is being rescaled; try again in a moment"
        if action == "start":
            for child in children:
                child.request_start()
        elif action == "stop":
            for child in children:
                child.request_stop()
        elif action == "scale" and self.rescale_task is not None:
            if (error := self.rescale_task.begin(name, count, children)) is not None:
                return error
        else:
            return f"unknown action {action!r}"
        self._publish(self.state.phase, f"{action} {name}")
        return None

    def _serve(self, server: socket.socket) -> None:
        """Handle control requests until the loop period ends."""
        deadline = time.monotonic() + _LOOP_S
        while not self.stop and (remaining_s := deadline - time.monotonic()) > 0:
            server.settimeout(remaining_s)
            control.answer_request(server, self._handle_request)

    def _shut_down(self, server: socket.socket) -> None:
        server.close()
        (self.home.run / "control.sock").unlink(missing_ok=True)
        if self._initializing is not None:
            self._initializing.kill()
            self._initializing.wait()
        if self.rescale_task is not None:
            self.rescale_task.abandon()
        for kind in STOP_ORDER:
            group = [child for child in self._children if child.service.kind is kind]
            for child in reversed(group):
                child.request_stop()
            # External services have no process and nothing to wait for.
            while any(child.running for child in group):
                for child in group:
                    child.step(None)
                self._publish(Phase.STOPPING, f"stopping {kind}s")
                time.sleep(0.05)
        self._publish(Phase.STOPPED, "stopped")

    def _publish(self, phase: Phase, message: str) -> None:
        children = tuple(child.state() for child in self._children)
        now = time.time()
        rescale = self.rescale_task.progress if self.rescale_task is not None else ""
        previous = (self.state.phase, self.state.message, self.state.children, self.state.rescale)
        if (phase, message, children, rescale) != previous or now - self._written_at > _HEARTBEAT_S:
            self.state = replace(
                self.state, phase=phase, message=message, children=children, rescale=rescale, updated_at=now
            )
            write_state(self.home, self.state)
            self._written_at = now
            self.observe(self.state)


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
        if ended := takeover.end_if_unclear(saved, unusable=uses_embedded_kafka(os.environ) and needs_upgrade(home)):
            print(f"ended processes of an earlier supervisor: {', '.join(ended)}", flush=True)
        running = takeover.survivors(saved)
        # Recorded until they are taken over: if the preparation fails, `stop` still finds them.
        state = replace(_initial_state("preparing services"), children=running)

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


def _build_supervisor(
    home: Home, state: PlatformState, report: Callable[[str], None], observe: Callable[[PlatformState], None]
) -> Supervisor:
    """Prepare the servers and describe all processes. Raises DeployError or BadInput."""
    options = load_options(home)
    ports = Ports.from_environment()
    owners = [child.pid for child in state.children if child.pid is not None]
    require_free("the API", ports.api, port_variable("api"), owners=owners)
    # Validate the settings and required keys before anything starts.
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
    endpoints = prepare(home, ports, report, owners=owners)
    # Processes that are taken over trade already: their platform was checked when it started.
    live_checked = not owners and check_live_start(home, settings, endpoints, report)
    if settings.execution.mode == "live" and not owners:
        # The check ran servers on other ports, with the same configuration files.
        endpoints = prepare(home, ports, report, owners=owners)
    if endpoints.substitute_kafka:
        require_simulation(settings, endpoints)
    variables = {**options.environment(), **endpoints.environment(home)}
    write_endpoints(home, endpoints)
    # Each process gets only its own credentials, below.
    environment = child_environment({**variables, PRINCIPAL_VARIABLE: ""})
    interval_s = settings.platform.snapshot_interval_s
    finish_rescale(home)
    cash = settings.portfolio_manager.initial_capital
    local_broker = local_broker_service(home, environment, local_broker_port(), cash)
    services = [
        *_server_specs(endpoints, settings),
        *([local_broker] if options.broker == "local-alpaca" else []),
        *dataflow_services(home, environment, snapshot_interval_s=interval_s),
        api_service(environment, ports.api),
    ]
    api = f"http://127.0.0.1:{ports.api}"
    bundle, without_dashboard = _dashboard_bundle(home, ports, report, owners)
    if bundle is not None:
        services.append(dashboard_service(environment, ports.dashboard, bundle=bundle, api=api))
    checks = settings.platform.checks
    if checks.verify is not None or checks.replay_check is not None:
        services.append(checks_service(environment, checks.verify, checks.replay_check))
    services.append(alerts_service(home, environment, api))
    services = [with_kafka_credentials(service, home, endpoints) for service in services]
    partitions = settings.kafka.symbol_partitions

    def services_of(name: str, count: int) -> list[ProcessSpec]:
        specs = replica_services(home, name, replicas(count), environment, snapshot_interval_s=interval_s)
        return [with_kafka_credentials(spec, home, endpoints) for spec in specs]

    if not owners:
        _release_suspensions(home)

    def prepare_servers() -> None:
        if any(service.name == "postgres" for service in endpoints.services):
            postgres.make_database(home, ports.postgres)
        if endpoints.kafka_authenticated:
            create_accounts(admin_cluster(home, endpoints.kafka), home, settings.kafka.topic_prefix)

    return Supervisor(
        home=home,
        services=services,
        initialize=(
            *(sys.executable, "-m", initialize.__name__),
            *([initialize.SUBSTITUTE] if endpoints.substitute_kafka else []),
            *([initialize.LIVE_CHECKED] if live_checked else []),
        ),
        initialize_environment={**environment, **endpoints.kafka_credentials(home, ADMIN)},
        before_initialize=prepare_servers,
        observe=observe,
        rescale_task=RescaleTask(home, services_of, environment, lambda name, n: require_scalable(name, n, partitions)),
        source_watcher=SourceWatcher(extra_files=[Path(options.settings)] if options.settings else [])
        if options.dev
        else None,
        state=replace(
            state,
            kafka=endpoints.kafka,
            api=api,
            dashboard="" if bundle is None else f"http://localhost:{ports.dashboard}",
            without_dashboard=without_dashboard,
            degraded=endpoints.degraded,
            dev=options.dev,
        ),
    )


def _release_suspensions(home: Home) -> None:
    for suspension in suspension_files.release_all(home.run):
        print(f"released {suspension.service}, which was suspended: {suspension.reason}", flush=True)


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


def _initial_state(message: str) -> PlatformState:
    identity = identify(os.getpid())
    assert identity is not None, "this process exists"
    return PlatformState(
        phase=Phase.PREPARING,
        message=message,
        supervisor_pid=identity.pid,
        supervisor_started_at=identity.started_at,
        updated_at=time.time(),
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(supervise(home_from_environment()))

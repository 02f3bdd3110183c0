"""Background process that starts the platform in order, monitors it, and stops it in reverse order.

It has one thread and one loop. It restarts crashed children, and exits only on request.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from configs import logs
from configs.settings import Settings, load_settings
from dataflows.runtime import halt_files
from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home, home_from_environment
from deploy.local import dashboard_bundle, postgres
from deploy.local.endpoints import Endpoints, Ports, port_variable, prepare
from deploy.local.ports import require_free
from deploy.supervisor import control, initialise
from deploy.supervisor.child import STOP_ORDER, Child, end_orphans
from deploy.supervisor.dev_reload import SourceWatcher
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
from deploy.supervisor.state import Phase, PlatformState, Status, read_state, replace_file, write_state
from schemas.errors import BadInput

_LOOP_S, _HEARTBEAT_S = 0.2, 2.0
REQUIRED_BY_DATAFLOWS = ("kafka", "postgres")
"""Redis is not required: it is a cache, and trading continues without it."""


@dataclass
class Supervisor:
    """Runs `services`, in this order, until `stop` is set or a shutdown is requested.

    When the servers (Kafka, PostgreSQL, Redis) are healthy, the command `initialise` runs. It must succeed before the
    dataflows, the API and the other processes that need topics and tables start. `before_initialise` runs in this
    process directly before it. `observe` is called with every state that is written. `rescale_task` changes the number
    of a dataflow's processes; None disables rescaling. With `source_watcher`, services restart when their code changes.
    """

    home: Home
    services: list[ProcessSpec]
    initialise: tuple[str, ...] = ()
    before_initialise: Callable[[], None] = lambda: None
    observe: Callable[[PlatformState], None] = lambda state: None
    rescale_task: RescaleTask | None = None
    source_watcher: SourceWatcher | None = None
    state: PlatformState = field(default_factory=lambda: _initial_state("starting"))
    stop: bool = False
    _children: list[Child] = field(default_factory=list)
    _initialising: subprocess.Popen[bytes] | None = None
    _initialised: bool = False
    _written_at: float = 0.0

    def run(self) -> None:
        """Run until the platform is stopped. If the initialisation fails, stops everything and raises DeployError."""
        self._children = [Child(service, self.home) for service in self.services]
        self._initialised = not self.initialise
        server = control.listen(self.home)
        try:
            self._publish(Phase.STARTING, "starting services")
            while not self.stop:
                self._step()
                self._serve(server)
        finally:
            self._shut_down(server)

    def _step(self) -> None:
        for child in self._children:
            child.step(self._blocked_by(child))
        if not self._initialised:
            self._step_initialise()
        if self.rescale_task is not None:
            self._children = self.rescale_task.step(self._children)
        if self.source_watcher is not None:
            self._restart_edited(self.source_watcher)
        all_healthy = self._initialised and all(c.status is Status.HEALTHY for c in self._children if c.should_run)
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
        return None if self._initialised else "topics and tables"

    def _step_initialise(self) -> None:
        services = [child for child in self._children if child.service.kind is ProcessKind.SERVICE]
        log = self.home.logs / "initialise.log"
        if self._initialising is None:
            if all(child.status is Status.HEALTHY for child in services):
                self.before_initialise()
                environment = child_environment({**self.services[-1].environment})
                with log.open("wb") as out:
                    self._initialising = subprocess.Popen(
                        self.initialise,
                        cwd=REPOSITORY,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=subprocess.STDOUT,
                    )
            return
        status = self._initialising.poll()
        if status is not None:
            self._initialising, self._initialised = None, status == 0
            if status != 0:
                raise DeployError(f"{tail(log).removeprefix('error: ')} (see {log})")

    def _handle_request(self, action: str, name: str, count: int) -> str | None:
        """Execute a request from the control socket. Returns why it is rejected, or None."""
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
        if self._initialising is not None:
            self._initialising.kill()
            self._initialising.wait()
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
    """Prepare and run the platform with the options of `start`. Returns the exit status."""
    home.create_folders()
    logs.configure("supervisor", "WARNING" if sys.stderr.isatty() else "INFO")
    with (home.run / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"error: another platform is already running in {home.root}", file=sys.stderr)
            return 1
        orphans = end_orphans(saved.children) if (saved := read_state(home)) is not None else []
        state = _initial_state("preparing services")
        if orphans:
            print(f"ended processes of an earlier supervisor: {', '.join(orphans)}", flush=True)

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
    require_free("the API", ports.api, port_variable("api"))
    # Validate the settings and required keys before anything starts.
    settings = load_settings(environment={**os.environ, **options.environment()})
    if options.dev and settings.execution.mode == "live":
        raise DeployError("--dev restarts services at every edit and cannot be used with TRADING_MODE=live")
    providers = {name.removesuffix("_rest") for name in settings.market_data.live_providers()}
    if "alpaca" in {settings.execution.broker, *providers}:
        settings.alpaca.keys()
    if "polygon" in providers:
        settings.polygon.key()
    if options.broker == "local-alpaca":
        require_free("the local broker", local_broker_port(), "PLATFORM_ALPACA_PORT")
    _require_plaintext(settings)
    endpoints = prepare(home, ports, report)
    variables = {**options.environment(), **endpoints.environment(home)}
    # The addresses contain passwords. `verify`, `init-db` and other commands read this file.
    replace_file(home.secrets / "endpoints.json", json.dumps(endpoints.environment(home)), mode=0o600)
    environment = child_environment(variables)
    interval_s = settings.platform.snapshot_interval_s
    finish_rescale(home)
    services = [
        *_server_specs(endpoints, settings),
        *([local_broker_service(home, environment, local_broker_port())] if options.broker == "local-alpaca" else []),
        *dataflow_services(home, environment, snapshot_interval_s=interval_s),
        api_service(environment, ports.api),
    ]
    api = f"http://127.0.0.1:{ports.api}"
    bundle, without_dashboard = _dashboard_bundle(home, ports, report)
    if bundle is not None:
        services.append(dashboard_service(environment, ports.dashboard, bundle=bundle, api=api))
    checks = settings.platform.checks
    if checks.verify is not None or checks.replay_check is not None:
        services.append(checks_service(environment, checks.verify, checks.replay_check))
    services.append(alerts_service(home, environment, api))
    partitions = settings.kafka.symbol_partitions

    def services_of(name: str, count: int) -> list[ProcessSpec]:
        return replica_services(home, name, replicas(count), environment, snapshot_interval_s=interval_s)

    for path in home.stats.glob("*.json"):
        path.unlink()
    for halt in halt_files.release_all_halts(home.run):
        print(f"released the halt of {halt.service}: {halt.reason}", flush=True)
    embedded_postgres = any(service.name == "postgres" for service in endpoints.services)
    return Supervisor(
        home,
        services,
        initialise=(sys.executable, "-m", initialise.__name__),
        before_initialise=(lambda: postgres.make_database(home, ports.postgres)) if embedded_postgres else lambda: None,
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


def _dashboard_bundle(home: Home, ports: Ports, report: Callable[[str], None]) -> tuple[Path | None, str]:
    """Return the built dashboard, or None and the reason. A failed build does not prevent the start of trading."""
    if os.environ.get("PLATFORM_DASHBOARD") == "off":
        return None, "PLATFORM_DASHBOARD=off"
    try:
        require_free("the dashboard", ports.dashboard, port_variable("dashboard"))
        return dashboard_bundle.bundle(home, report), ""
    except DeployError as error:
        return None, _one_line(error)


def _require_plaintext(settings: Settings) -> None:
    """Raises BadInput if the settings require TLS or SASL, which the embedded Kafka does not support."""
    protocol = settings.kafka.security.protocol
    if protocol != "PLAINTEXT" and not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        raise BadInput(
            f"kafka.security.protocol is {protocol}, which the embedded Kafka does not support; "
            "use PLAINTEXT, or set KAFKA_BOOTSTRAP_SERVERS to a Kafka that supports it"
        )


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
    return PlatformState(Phase.PREPARING, message, identity.pid, identity.started_at, time.time())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(supervise(home_from_environment()))

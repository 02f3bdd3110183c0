"""`scale`: set the number of processes of a sharded dataflow."""

from typing import Annotated

import typer

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.service_names import resolve_service
from deploy.supervisor.process_spec import DATAFLOW_NAMES
from deploy.supervisor.state import running_state

Service = Annotated[str, typer.Argument(help="Sharded dataflow, such as features.")]
Count = Annotated[int, typer.Argument(help="Number of processes, from 1 to the number of shards.")]


def register(app: typer.Typer) -> None:
    app.command("scale", help="Set the number of processes of a dataflow, and keep its state.")(scale)


def scale(service: Service, replicas: Count) -> None:
    from dataflows.runtime.topology import COMPACT
    from deploy.recovery.recorded_topics import platform_settings, supervisor_lock
    from deploy.recovery.rescale import rescale_stores
    from deploy.supervisor.control import scale_one
    from deploy.supervisor.layout import shared_services
    from deploy.supervisor.replicas import require_scalable

    home = home_from_environment()
    service = resolve_service(service, [*DATAFLOW_NAMES, COMPACT])
    partitions = platform_settings(home, {}).kafka.symbol_partitions
    require_scalable(service, replicas, partitions, shared_services(home))
    processes = "1 process" if replicas == 1 else f"{replicas} processes"
    if running_state(home) is not None:
        scale_one(home, service, replicas)
        print(f"{service} runs as {processes}")
        return
    if not (home.recovery / service).is_dir():
        raise DeployError(f"{service} has never run in {home.root}; run `python cli.py start` first")
    with supervisor_lock(home):
        rescale_stores(home, service, replicas, partitions)
    print(f"{service} runs as {processes} from the next start on")

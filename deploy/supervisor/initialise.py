"""What must exist before the first dataflow starts: topics, tables, recovery stores. Run again, it changes nothing."""

import shutil
import sys
from pathlib import Path

from configs.settings import load_settings
from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from deploy.supervisor.migrate import migrate
from deploy.supervisor.process_spec import DATAFLOW_NAMES
from deploy.supervisor.topics import create_topics, read_topics
from schemas.errors import BadInput
from sinks.cluster import Servers

RECOVERY_PARTITIONS = 4
"""Fixed for the life of a store; more workers than this would gain nothing in it."""


def initialise(home: Home, *, bootstrap: Servers, database_url: str, replication: int = 1) -> None:
    """Create what is missing. Raises DeployError with the first thing that cannot be had."""
    created = create_topics(bootstrap, read_topics(), replication=replication)
    print(f"topics: {', '.join(created) if created else 'all there'}")
    migrate(database_url)
    print("database: at the newest schema")
    for name in DATAFLOW_NAMES:
        make_recovery_store(home.recovery / name)


def make_recovery_store(folder: Path) -> None:
    """An empty Bytewax store, moved to its place when it is whole; an existing one is left alone."""
    from bytewax.recovery import init_db_dir

    if folder.exists() and any(folder.iterdir()):
        return
    temporary = folder.with_name(f"{folder.name}.making")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    init_db_dir(temporary, RECOVERY_PARTITIONS)
    folder.mkdir(exist_ok=True)
    temporary.replace(folder)


def main() -> int:
    """Initialise with the addresses of this process's settings."""
    try:
        settings = load_settings()
        initialise(
            home_from_environment(),
            bootstrap=settings.kafka.cluster,
            database_url=settings.database.postgres.url,
            replication=settings.kafka.replication,
        )
    except (DeployError, BadInput) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Create the topics, tables and recovery stores that dataflows require. Idempotent."""

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
"""Fixed for the life of a store. More workers than this do not write in parallel."""


def initialise(home: Home, *, bootstrap: Servers, database_url: str, replication: int = 1) -> None:
    """Create the missing topics, tables and recovery stores. Raises DeployError at the first failure."""
    created = create_topics(bootstrap, read_topics(), replication=replication)
    print(f"topics created: {', '.join(created) or 'none, all exist'}")
    migrate(database_url)
    print("database migrated to the newest schema")
    for name in DATAFLOW_NAMES:
        make_recovery_store(home.recovery / name)


def make_recovery_store(folder: Path) -> None:
    """Create an empty Bytewax store, unless one exists. It is moved into place when it is complete."""
    from bytewax.recovery import init_db_dir

    if folder.exists() and any(folder.iterdir()):
        return
    temporary = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    init_db_dir(temporary, RECOVERY_PARTITIONS)
    folder.mkdir(exist_ok=True)
    temporary.replace(folder)


def main() -> int:
    """Initialise the servers of the current settings. Returns the exit status."""
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

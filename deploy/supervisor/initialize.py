"""Create the topics, tables, recovery stores and the identity of a new platform. Idempotent.

State that is there is checked first (`deploy/supervisor/state_check.py`); nothing is created if the check fails.
"""

import shutil
import sys
from pathlib import Path

from configs.settings import Settings, load_settings
from dataflows.runtime.live_endpoints import platform_version
from dataflows.runtime.topology import Layout
from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from deploy.supervisor.command_keys import record_command_keys, signing_folder
from deploy.supervisor.configuration_record import dropped_lines, record_start
from deploy.supervisor.layout import dataflow_names, read_beside, read_layout, services_beside
from deploy.supervisor.live_start import require_live_start
from deploy.supervisor.migrate import create_next_partitions, migrate
from deploy.supervisor.platform_identity import read_folder_identity
from deploy.supervisor.source_check import require_same_source
from deploy.supervisor.state_check import check_state, record_identity
from deploy.supervisor.topics import create_topics, platform_topics
from schemas.errors import BadInput

RECOVERY_PARTITIONS = 4
"""Fixed for the life of a store. More workers than this do not write in parallel."""


SUBSTITUTE, WITHOUT_STORES, LIVE_CHECKED, LAYOUT = "--substitute", "--without-stores", "--live-checked", "--layout"


def initialize(
    home: Home,
    settings: Settings,
    *,
    substitute: bool = False,
    with_stores: bool = True,
    live_checked: bool = False,
    layout: Layout | None = None,
) -> None:
    """Check the existing state, then create the missing topics, tables, recovery stores and identities.

    `substitute`: Kafka is replaced by an in-memory broker. `with_stores` is False where the stores are on other
    volumes (containers). `live_checked`: the supervisor has checked the preconditions of live trading.
    `layout`: convert the stores to this layout first; None keeps the one that they have.
    Raises DeployError at the first failure.
    """
    contents = check_state(home, settings, substitute=substitute, with_stores=with_stores)
    kafka = settings.kafka
    created = create_topics(kafka.cluster, platform_topics(kafka.topic_prefix), replication=kafka.replication)
    print(f"topics created: {', '.join(created) or 'none, all exist'}")
    migrate(settings.database.postgres.url)
    print("database migrated to the newest schema")
    partitions = create_next_partitions(settings.database.postgres.url)
    print(f"partitions created: {', '.join(partitions) or 'none, all exist'}")
    if not live_checked:
        require_live_start(home, settings, new_platform=contents.empty, report=print)
    if with_stores:
        require_same_source(settings, contents)
        if layout is not None and (layout, services_beside(settings, layout)) != (read_layout(home), read_beside(home)):
            # Imported here, because it writes stores with the functions of this module.
            from deploy.recovery.layout_change import change_layout

            print(change_layout(home, settings, layout))
        for name in dataflow_names(home):
            make_recovery_store(home.recovery / name)
    record_identity(home, settings, contents, substitute=substitute)
    identity = read_folder_identity(home)
    # The in-memory broker loses its topics. Where the stores are elsewhere, so are the processes that would sign.
    if identity is not None and not substitute and with_stores:
        recorded = record_command_keys(home, settings, identity.platform_id)
        print(f"signing keys recorded: {len(recorded) or 'none, all exist'}")
    keys = signing_folder(home) if identity is not None and not substitute and with_stores else None
    configuration = record_start(settings, platform_version(), keys)
    print(f"settings recorded: {configuration.configuration_id if configuration else 'unchanged, no new record'}")
    for line in dropped_lines(configuration) if configuration else ():
        print(line)


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
    """Initialize the servers of the current settings. Return the exit status."""
    try:
        initialize(
            home_from_environment(),
            load_settings(),
            substitute=SUBSTITUTE in sys.argv[1:],
            with_stores=WITHOUT_STORES not in sys.argv[1:],
            live_checked=LIVE_CHECKED in sys.argv[1:],
            layout=Layout(sys.argv[sys.argv.index(LAYOUT) + 1]) if LAYOUT in sys.argv[1:] else None,
        )
    except (DeployError, BadInput) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

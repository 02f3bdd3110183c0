"""`rebuild`: recreate the state of a service, or the rows of a table, from the topics."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from deploy.supervisor.control import start_one, stop_one
from deploy.supervisor.process_spec import DATAFLOW_NAMES
from deploy.supervisor.replicas import replicas_of, store_of
from deploy.supervisor.state import running_state
from schemas.errors import BadInput, Unavailable
from schemas.suggestions import did_you_mean

if TYPE_CHECKING:
    from configs.settings import Settings

What = Annotated[str, typer.Argument(help="Dataflow, such as portfolio, or table, such as executions.")]
Table = Annotated[bool, typer.Option("--table", help="Rebuild the table if a dataflow has the same name.")]

EXTRA_WRITERS = {"commands": "risk"}
"""Tables with a second writer besides the owner of the topic."""
_BATCH_SIZE = 5000


def register(app: typer.Typer) -> None:
    app.command("rebuild", help="Rebuild the state of a service, or a table, from the topics.")(rebuild)


def rebuild(what: What, table: Table = False) -> None:
    home = home_from_environment()
    if what in DATAFLOW_NAMES and not table:
        print(rebuild_service(home, what))
    else:
        print(rebuild_table(home, what))


# -- a service ---------------------------------------------------------------------------------------------------------


def rebuild_service(home: Home, name: str) -> str:
    """Replace the recovery store of a service with an empty one, and return a message for the user.

    The service then reads its topics from the beginning and reaches the same state. Its repeated records have known
    sequence numbers and ids, so readers and tables discard them. Raises BadInput for an edge, and DeployError if the
    topics do not replay to their recorded contents, because the new state would contradict them.
    """
    from dataflows.replay.comparison import ReplayWindow
    from deploy.commands.replay_check import run_replay_check
    from deploy.supervisor.initialise import make_recovery_store

    if name == "market_data":
        raise BadInput("cannot rebuild market_data: its state comes from the feed, not from a topic")
    difference = run_replay_check(ReplayWindow()).difference
    if difference is not None:
        raise DeployError(
            f"the topics do not replay with the current settings (first difference: {difference.topic} "
            f"{difference.name}), so a rebuilt {name} would contradict them; see `python cli.py replay-check`"
        )
    with _services_stopped(home, name) as was_running:
        processes = replicas_of(home, name)
        backup_folder = _move_aside(home, name)
        for replica in processes:
            store_of(home, name, replica).parent.mkdir(exist_ok=True)
            make_recovery_store(store_of(home, name, replica))
    when = "now" if was_running else "at the next start"
    return f"{name} reads its topics from the beginning {when}; the old state is in {backup_folder}"


def _move_aside(home: Home, name: str) -> str:
    number = 1
    while (backup_folder := home.recovery / f"{name}.before-{number}").exists():
        number += 1
    shutil.move(home.recovery / name, backup_folder)
    return str(backup_folder)


@contextmanager
def _services_stopped(home: Home, *names: str) -> Iterator[bool]:
    """Stop services for the duration of the block, and start those that ran. Yields whether any of them ran."""
    state = running_state(home)
    children = [child for name in names for child in state.processes_of(name)] if state is not None else []
    running = [child.name for child in children if child.pid is not None]
    for name in running:
        stop_one(home, name)
    try:
        yield bool(running)
    finally:
        for name in running:
            start_one(home, name)


# -- a table -----------------------------------------------------------------------------------------------------------


def rebuild_table(home: Home, name: str) -> str:
    """Truncate the table and write it again from its topic, while its writers are stopped. Return a message.

    If it is interrupted, run it again. Raises BadInput if no topic with a clock holds the table.
    """
    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.service_addresses import use_running_services
    from schemas.records import TOPIC_OF

    kinds = tables_of_topics()
    if name not in kinds:
        tables, services = ", ".join(sorted(kinds)), ", ".join(DATAFLOW_NAMES)
        suggestion = did_you_mean(name, [*DATAFLOW_NAMES, *kinds])
        raise BadInput(f"WHAT must be a service ({services}) or a table ({tables}), found {name!r}{suggestion}")
    use_running_services(home)
    settings = platform_settings(home, {})
    topic = TOPIC_OF[kinds[name]]
    owner = settings.kafka.topics[topic].owner
    writers = [writer for writer in (owner, EXTRA_WRITERS.get(topic)) if writer is not None]
    with _services_stopped(home, *writers):
        return _rewrite_table(settings, name, kinds[name], topic)


def tables_of_topics() -> dict[str, type]:
    """Return the tables that can be rebuilt, with their record types."""
    from schemas.records import TOPIC_OF, DeadLetter
    from sinks.tables import TABLE_OF

    return {table.name: kind for kind, table in TABLE_OF.items() if kind in TOPIC_OF and kind is not DeadLetter}


def _rewrite_table(settings: Settings, name: str, kind: type, topic: str) -> str:
    import psycopg2
    from psycopg2 import sql

    from dataflows.replay.recording import read_topics
    from sinks.database import libpq_url
    from sinks.postgres import PostgresWriter

    url = libpq_url(settings.database.postgres.url)
    try:
        with (
            closing(psycopg2.connect(url)) as connection,
            closing(PostgresWriter(url, name="rebuild", audited=False)) as writer,
        ):
            connection.autocommit = True
            with connection.cursor() as cursor:
                table = sql.Identifier(name)
                # The sum of the row hashes does not depend on the row order and needs no memory.
                checksum_query = sql.SQL(
                    "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM {} t"
                ).format(table)
                cursor.execute(checksum_query)
                before = cursor.fetchone()
                cursor.execute(sql.SQL("TRUNCATE {}").format(table))
                batch = []
                with closing(read_topics(settings.kafka, "rebuild", [topic])) as time_slices:
                    for time_slice in time_slices:
                        batch += [record for record in time_slice.records if type(record) is kind]
                        if len(batch) >= _BATCH_SIZE:
                            writer.write(batch)
                            batch = []
                writer.write(batch)
                cursor.execute(checksum_query)
                after = cursor.fetchone()
    except psycopg2.Error as error:
        raise DeployError(f"cannot rebuild table {name}: {str(error).strip().splitlines()[0]}") from error
    except Unavailable as error:
        raise DeployError(f"table {name} is incomplete; run rebuild again: {error}") from error
    assert before is not None and after is not None, "an aggregate returns a row"
    comparison = "same as before" if before == after else f"different from the {before[0]:,} rows before"
    return f"{name}: {after[0]:,} rows from topic {topic}, {comparison}"

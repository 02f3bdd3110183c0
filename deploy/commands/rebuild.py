"""`rebuild`: makes a service's state or a table anew from the topics, into the same rows."""

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

if TYPE_CHECKING:
    from configs.settings import Settings

What = Annotated[str, typer.Argument(help="A dataflow, such as portfolio, or a table, such as executions.")]
Table = Annotated[bool, typer.Option("--table", help="The table, where a dataflow has the same name.")]

EXTRA_WRITERS = {"commands": "risk"}
"""Tables that another service than the topic's owner writes."""
_BATCH_SIZE = 5000


def register(app: typer.Typer) -> None:
    app.command("rebuild", help="Make a service's state or a table anew from the topics.")(rebuild)


def rebuild(what: What, table: Table = False) -> None:
    home = home_from_environment()
    if what in DATAFLOW_NAMES and not table:
        print(rebuild_service(home, what))
    else:
        print(rebuild_table(home, what))


# -- a service ---------------------------------------------------------------------------------------------------------


def rebuild_service(home: Home, name: str) -> str:
    """Give the service an empty recovery store: it then reads its topics from their beginning and comes to the same
    state. What it writes again has known seqs and ids, so no reader and no table takes it twice.

    Raises BadInput for an edge, and DeployError where the topics do not replay to what they hold: the new state would
    contradict them.
    """
    from dataflows.replay.comparison import ReplayWindow
    from deploy.commands.replay_check import run_replay_check
    from deploy.supervisor.initialise import make_recovery_store

    if name == "market_data":
        raise BadInput("market_data is an edge: its state comes from the feed and is in no topic")
    difference = run_replay_check(ReplayWindow()).difference
    if difference is not None:
        raise DeployError(
            f"the topics do not replay under the settings of today (first difference: {difference.topic} "
            f"{difference.name}), so a rebuilt {name} would contradict them; `python cli.py replay-check` says how"
        )
    with _services_stopped(home, name) as was_running:
        processes = replicas_of(home, name)
        backup_folder = _move_aside(home, name)
        for replica in processes:
            store_of(home, name, replica).parent.mkdir(exist_ok=True)
            make_recovery_store(store_of(home, name, replica))
    when = "it reads them now" if was_running else "it will at the next start"
    return f"{name} starts from the beginning of its topics, {when}; the old state is in {backup_folder}"


def _move_aside(home: Home, name: str) -> str:
    number = 1
    while (backup_folder := home.recovery / f"{name}.before-{number}").exists():
        number += 1
    shutil.move(home.recovery / name, backup_folder)
    return str(backup_folder)


@contextmanager
def _services_stopped(home: Home, *names: str) -> Iterator[bool]:
    """Services that do not run while the block lasts; those that ran before run again behind it."""
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
    """Empty the table and write it again from its topic, while the services that write it are stopped.

    Run it again if it was interrupted. Raises BadInput for a table that no topic with a clock holds.
    """
    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.service_addresses import use_running_services
    from schemas.records import TOPIC_OF

    kinds = tables_of_topics()
    if name not in kinds:
        tables, services = ", ".join(sorted(kinds)), ", ".join(DATAFLOW_NAMES)
        raise BadInput(f"rebuild takes a service ({services}) or a table ({tables}), found {name!r}")
    use_running_services(home)
    settings = platform_settings(home, {})
    topic = TOPIC_OF[kinds[name]]
    owner = settings.kafka.topics[topic].owner
    writers = [writer for writer in (owner, EXTRA_WRITERS.get(topic)) if writer is not None]
    with _services_stopped(home, *writers):
        return _rewrite_table(settings, name, kinds[name], topic)


def tables_of_topics() -> dict[str, type]:
    """The tables that can be rebuilt, and the records in them."""
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
                # A sum of hashes: equal for equal rows in any order, at no memory.
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
        raise DeployError(f"table {name} was not rebuilt: {str(error).strip().splitlines()[0]}") from error
    except Unavailable as error:
        raise DeployError(f"table {name} is not whole, rebuild it again: {error}") from error
    assert before is not None and after is not None, "an aggregate has a row"
    comparison = "the same as before" if before == after else f"before it had {before[0]:,}, or other ones"
    return f"{name}: {after[0]:,} rows from topic {topic}, {comparison}"

"""`rebuild`: recreate the state of a service, or the rows of a table, from the topics."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dataflows.runtime.topology import COMPACT, COMPACT_SERVICES, Replica, table_writers
from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from deploy.recovery.trust_source import TrustSource, source_of_recording
from deploy.supervisor.control import start_one, stop_one
from deploy.supervisor.layout import dataflow_names, shared_services
from deploy.supervisor.replicas import replicas_of, store_of
from deploy.supervisor.state import running_state
from deploy.time_arguments import format_ns
from schemas.errors import BadInput, Unavailable
from schemas.suggestions import did_you_mean

if TYPE_CHECKING:
    from configs.settings import Settings
    from dataflows.replay.recorded_log import RebuildStart
    from dataflows.replay.recorded_source import RecordedSource
    from dataflows.replay.store_rebuild import Rebuilt

What = Annotated[str, typer.Argument(help="Dataflow, such as portfolio, or table, such as executions.")]
FromStart = Annotated[
    bool, typer.Option("--from-start", help="Replay the topics from their beginning, without a checkpoint.")
]
Table = Annotated[bool, typer.Option("--table", help="Rebuild the table if a dataflow has the same name.")]

_BATCH_SIZE = 5000


def register(app: typer.Typer) -> None:
    app.command("rebuild", help="Rebuild the state of a service, or a table, from the topics.")(rebuild)


def rebuild(what: What, table: Table = False, from_start: FromStart = False, trust_source: TrustSource = False) -> None:
    home = home_from_environment()
    if what in shared_services(home) and not table and what not in tables_of_topics():
        raise BadInput(
            f"{what} runs in the process compact; rebuild all its services with `python cli.py rebuild compact`"
        )
    if what in dataflow_names(home) and not table:
        print(rebuild_service(home, what, from_start=from_start, trust_source=trust_source))
    else:
        print(rebuild_table(home, what))


# -- a service ---------------------------------------------------------------------------------------------------------


def rebuild_service(home: Home, name: str, *, from_start: bool = False, trust_source: bool = False) -> str:
    """Replace the recovery store of a service by one from the topics, and return a message for the user.

    The state is that after the last time slice that the service wrote, with the same counters, so that the service
    continues exactly there. The replay begins at the newest checkpoint. With `from_start` or without a checkpoint, it
    begins at the beginning of the topics. Raises BadInput if the topics do not replay to their recorded contents,
    because the new state would contradict them; the old store then stays in place. Raises DeployError if the store is
    in use.
    """
    from rich.console import Console

    from dataflows.runtime.store_lock import locked_store
    from deploy.recovery.recorded_topics import recorded_settings

    console = Console(stderr=True)
    with (
        ExitStack() as locks,
        console.status(f"rebuilding {name}") as status,
        source_of_recording(home, trust_source) as source,
        _services_stopped(home, name) as was_running,
        recorded_settings(home, status.update) as settings,
    ):
        replicas = replicas_of(home, name)
        new_folder = home.recovery / f"{name}.rebuilt"
        shutil.rmtree(new_folder, ignore_errors=True)
        records, last_slice_ns = 0, -1
        starts = {} if from_start or name not in (*COMPACT_SERVICES, COMPACT) else _starts(home, settings, source)
        status.update(f"replaying the inputs of {name}")
        try:
            for replica in replicas:
                locks.enter_context(locked_store(store_of(home, name, replica)))
                target = new_folder if replica.total == 1 else new_folder / str(replica)
                target.parent.mkdir(parents=True, exist_ok=True)
                rebuilt = _rebuild(home, settings, name, replica, target, source, starts)
                records, last_slice_ns = records + rebuilt.records, max(last_slice_ns, rebuilt.last_slice_ns)
        except Unavailable as error:
            raise DeployError(str(error)) from error
        except BaseException:
            shutil.rmtree(new_folder, ignore_errors=True)
            raise
        old = _replace_store(home, name, new_folder)
    when = "now" if was_running else "at the next start"
    after = f" after the checkpoint of {format_ns(min(one.slice_ns for one in starts.values()))}" if starts else ""
    up_to = f"{records:,} records{after} equal the topics up to {format_ns(last_slice_ns)}"
    if not records:
        up_to = f"no records{after}" if starts else "no records yet"
    return f"{name} continues {when} from the end of its topics ({up_to}); the old store is {old or 'missing'}"


def _starts(home: Home, settings: Settings, source: RecordedSource) -> dict[str, RebuildStart]:
    from deploy.checkpoints.rebuild_start import rebuild_starts

    try:
        return rebuild_starts(home, settings, source, lambda text: print(text, file=sys.stderr))
    except Unavailable as error:
        raise DeployError(str(error)) from error


def _rebuild(
    home: Home,
    settings: Settings,
    name: str,
    replica: Replica,
    target: Path,
    source: RecordedSource,
    starts: Mapping[str, RebuildStart],
) -> Rebuilt:
    """Write the store of one process from the topics."""
    from dataflows.replay.layout_stores import write_service_store
    from dataflows.replay.store_rebuild import Rebuilt, rebuild_store
    from dataflows.runtime import topology
    from deploy.recovery.layout_change import rebuild_compact_store
    from deploy.supervisor.initialize import make_recovery_store

    if name == COMPACT:
        records, last_slice_ns = rebuild_compact_store(settings, shared_services(home), target, source, starts)
        return Rebuilt(last_slice_ns, records)
    make_recovery_store(target)
    shards, start = replica.select(topology.shards(name, settings.kafka.symbol_partitions)), starts.get(name)
    if start is not None:
        write_service_store(name, {shard: start.states[shard] for shard in shards}, target)
    return rebuild_store(settings, name, shards, target, recorded_source=source, start=start)


def _replace_store(home: Home, name: str, new_folder: Path) -> Path | None:
    """Move the new store into place, and return the folder of the old one; None if there was none."""
    from deploy.supervisor.state_contents import forget_starts

    folder, backup_folder = home.recovery / name, None
    if folder.exists():
        free_names = (home.recovery / f"{name}.before-{number}" for number in count(1))
        backup_folder = next(path for path in free_names if not path.exists())
        folder.rename(backup_folder)
    new_folder.rename(folder)
    forget_starts(home, name)
    return backup_folder


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
        names = dataflow_names(home)
        tables, services = ", ".join(sorted(kinds)), ", ".join(names)
        suggestion = did_you_mean(name, [*names, *kinds])
        raise BadInput(f"WHAT must be a service ({services}) or a table ({tables}), found {name!r}{suggestion}")
    use_running_services(home)
    settings = platform_settings(home, {})
    topic = TOPIC_OF[kinds[name]]
    writers = {_process_of(home, writer) for writer in table_writers(kinds[name])}
    with _services_stopped(home, *writers):
        return _rewrite_table(settings, name, kinds[name], topic)


def _process_of(home: Home, service: str) -> str:
    """Return the process that runs a service."""
    return COMPACT if service in shared_services(home) else service


def tables_of_topics() -> dict[str, type]:
    """Return the tables that can be rebuilt, with their record types."""
    from schemas.records import TOPIC_OF, DeadLetter
    from sinks.tables import TABLE_OF

    return {table.name: kind for kind, table in TABLE_OF.items() if kind in TOPIC_OF and kind is not DeadLetter}


def _rewrite_table(settings: Settings, name: str, kind: type, topic: str) -> str:
    import psycopg2
    from psycopg2 import sql

    from dataflows.replay.recording import read_topics
    from sinks.archived_partitions import archived_ends
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
                first_ns = archived_ends(cursor).get(name)
                cursor.execute(sql.SQL("TRUNCATE {}").format(table))
                batch = []
                with closing(read_topics(settings.kafka, "rebuild", [topic])) as time_slices:
                    for time_slice in time_slices:
                        records: list[Any] = [record for record in time_slice.records if type(record) is kind]
                        batch += [one for one in records if first_ns is None or one.ts_ns >= first_ns]
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
    archived = "" if first_ns is None else f"; those before {format_ns(first_ns)} stay archived"
    return f"{name}: {after[0]:,} rows from topic {topic}, {comparison}{archived}"

"""`archive`: move old days of the topics and old months of the tables to files; list, verify, replay, restore them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from configs.recorded_endpoints import ADMIN
from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from deploy.recovery.trust_source import TrustSource, source_of_recording
from deploy.time_arguments import format_ns, parse_time_ns
from schemas.errors import BadInput, Unavailable
from sinks.archive.table_archive import ArchivedPartition, TableArchive

if TYPE_CHECKING:
    from deploy.archive.create_archive import ArchiveResult
    from sinks.archive.topic_archive import TopicArchive

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
Keep = Annotated[bool, typer.Option("--keep", help="Archive the topics. Delete nothing from Kafka and PostgreSQL.")]
DryRunFlag = Annotated[
    bool,
    typer.Option("--dry-run", help="Archive the topics, and print what would be deleted."),
]
Topics = Annotated[list[str] | None, typer.Option("--topic", help="Topic to restore (default: all). Can be repeated.")]
Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        help="Table whose archived months to load back into the database, from that of --from on. Can be repeated.",
    ),
]
RetainDays = Annotated[
    int,
    typer.Option("--retain", min=1, help="With --table: days until `archive create` may move the months again."),
]
FromDay = Annotated[str | None, typer.Option("--from", metavar="DAY", help="First UTC day, such as 2024-01-15.")]
ToDay = Annotated[str | None, typer.Option("--to", metavar="DAY", help="Last UTC day, such as 2024-01-31.")]
Replace = Annotated[bool, typer.Option("--replace", help="Delete the topics of an earlier restore first.")]
Since = Annotated[str | None, typer.Option("--from", help="Compare from this event time on (default: the beginning).")]
Until = Annotated[str | None, typer.Option("--to", help="Compare up to this event time (default: the end).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Move old days of the topics and old months of the tables to files, and read them.", no_args_is_help=True
    )
    group.command(
        "create",
        help="Archive complete days of all topics, then delete days beyond kafka.retention from Kafka, and move months "
        "beyond database.postgres.retention from the tables to Parquet files.",
    )(create)
    group.command("list", help="List the archived days of each topic and their size.")(list_archive)
    group.command("verify", help="Compare every archived file with its hash, and read all messages.")(verify)
    group.command(
        "restore",
        help="Write archived days to topics named archived-TOPIC, for other Kafka tools. With --table, load archived "
        "months back into the tables.",
    )(restore)
    group.command("replay", help="Replay the archived days without Kafka, and compare with the recorded decisions.")(
        replay
    )
    app.add_typer(group, name="archive")


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise DeployError(str(error)) from error


def create(keep: Keep = False, dry_run: DryRunFlag = False, as_json: AsJson = False) -> None:
    from deploy.archive.create_archive import create_archive
    from deploy.recovery.recorded_topics import recorded_settings

    home = home_from_environment()
    console = Console(stderr=True)
    with (
        _one_line_errors(),
        console.status("archiving") as status,
        recorded_settings(home, status.update, principal=ADMIN) as settings,
    ):
        result = create_archive(
            home,
            settings,
            database_url=_running_database(home),
            delete=not keep,
            dry_run=dry_run,
            now=datetime.now(UTC),
            report=status.update,
        )
    if as_json:
        print(json.dumps(result.as_tree(), indent=2))
    else:
        _print_result(result, dry_run=dry_run)
    if result.undeleted_reason:
        raise DeployError(result.undeleted_reason)


def _running_database(home: Home) -> str | None:
    """Return the address of the database of a running platform, or of DATABASE_URL; None if there is none."""
    from configs.recorded_endpoints import read_endpoints
    from deploy.supervisor.state import running_state

    configured = os.environ.get("DATABASE_URL")
    if configured or running_state(home) is None:
        return configured or None
    return read_endpoints(home.secrets).get("DATABASE_URL")


def _print_result(result: ArchiveResult, *, dry_run: bool) -> None:
    written = result.written
    print(
        f"archived {written.messages:,} messages in {written.files:,} files ({written.bytes:,} bytes): {result.folder}"
    )
    for one in result.deletions:
        verb = "would delete" if dry_run else "deleted"
        print(
            f"{verb} {one.end - one.start:,} messages of {one.topic}/{one.partition} from Kafka, up to offset "
            f"{one.end} (limited by {one.limited_by})"
        )
    for partition in result.partitions:
        verb = "would move" if dry_run else "moved"
        print(f"{verb} {partition.rows:,} rows of {partition.partition} to Parquet ({partition.bytes:,} bytes)")
    if result.tables_reason:
        print(f"no table was archived: {result.tables_reason}")


def list_archive(as_json: AsJson = False) -> None:
    archive, tables = _own_archive(), _own_table_archive()
    rows: dict[str, dict[str, Any]] = {}
    with _one_line_errors():
        for topic, partition in archive.logs():
            files = archive.files(topic, partition)
            row = rows.setdefault(topic, {"days": set(), "files": 0, "messages": 0, "bytes": 0})
            row["days"] |= {file.day for file in files}
            row["files"] += len(files)
            row["messages"] += sum(file.end - file.start for file in files)
            row["bytes"] += sum(file.bytes for file in files)
        partitions = {name: tables.partitions(name) for name in tables.tables()}
    if as_json:
        tree = {topic: row | {"days": sorted(row["days"])} for topic, row in rows.items()}
        files_by_table = {name: [one._asdict() for one in listed] for name, listed in partitions.items()}
        print(json.dumps({"folder": str(archive.folder), "topics": tree, "tables": files_by_table}, indent=2))
        return
    if not rows and not partitions:
        print(f"the archive {archive.folder} is empty; fill it with `python cli.py archive create`")
        return
    topics = _text_table("topic", "first day", "last day", numbers=("days", "files", "messages", "bytes"))
    for topic, row in rows.items():
        numbers = [f"{number:,}" for number in (len(row["days"]), row["files"], row["messages"], row["bytes"])]
        topics.add_row(topic, min(row["days"]), max(row["days"]), *numbers)
    console = Console(width=120)
    console.print(topics)
    if partitions:
        console.print()
        console.print(_table_of_partitions(partitions))


def _table_of_partitions(partitions: Mapping[str, Sequence[ArchivedPartition]]) -> Table:
    shown = _text_table("table", "first row", "last row", numbers=("files", "rows", "bytes"))
    for name, listed in partitions.items():
        first_ns, last_ns = min(one.first_ns for one in listed), max(one.last_ns for one in listed)
        numbers = (len(listed), sum(one.rows for one in listed), sum(one.bytes for one in listed))
        shown.add_row(name, format_ns(first_ns), format_ns(last_ns), *(f"{number:,}" for number in numbers))
    return shown


def _text_table(*texts: str, numbers: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in texts:
        table.add_column(title)
    for title in numbers:
        table.add_column(title, justify="right")
    return table


def verify(as_json: AsJson = False) -> None:
    archive, tables = _own_archive(), _own_table_archive()
    files = messages = rows = 0
    with _one_line_errors(), Console(stderr=True).status("verifying") as status:
        for topic, number in archive.logs():
            status.update(f"verifying {topic}/{number}")
            for file in archive.files(topic, number):
                messages += sum(1 for _ in archive.file_messages(topic, number, file))
                files += 1
        for partition in (one for name in tables.tables() for one in tables.partitions(name)):
            status.update(f"verifying {partition.file}")
            rows += tables.verify(partition)
            files += 1
    if as_json:
        print(json.dumps({"folder": str(archive.folder), "files": files, "messages": messages, "rows": rows}))
    else:
        print(
            f"verified {files:,} files with {messages:,} messages and {rows:,} rows of tables, no damage found: "
            f"{archive.folder}"
        )


def restore(
    topic: Topics = None,
    first: FromDay = None,
    last: ToDay = None,
    replace: Replace = False,
    table: Tables = None,
    retain: RetainDays = 7,
    as_json: AsJson = False,
) -> None:
    if table:
        if topic or last or replace:
            raise BadInput(
                "--table takes only --from and --retain: the months up to the newest archived one are loaded"
            )
        return _restore_tables(table, _day("--from", first), retain, as_json=as_json)
    from deploy.archive.restored_topics import ArchivedPeriod, restore_days
    from deploy.recovery.recorded_topics import recorded_settings

    period = ArchivedPeriod(tuple(topic or ()), _day("--from", first), _day("--to", last))
    console = Console(stderr=True)
    with (
        _one_line_errors(),
        console.status("restoring") as status,
        recorded_settings(home_from_environment(), status.update, principal=ADMIN) as settings,
    ):
        archive = settings.kafka.archive
        assert archive is not None, "the settings of a state folder have an archive folder"
        counts = restore_days(settings.kafka, archive, period, replace=replace, report=status.update)
    if as_json:
        print(json.dumps(counts, indent=2))
    else:
        print("\n".join(f"{count:,} messages in topic {name}" for name, count in counts.items()))


def _restore_tables(tables: Sequence[str], first_day: str | None, retain_days: int, *, as_json: bool) -> None:
    from deploy.archive.restored_tables import restore_tables

    url = _running_database(home_from_environment())
    if url is None:
        raise DeployError("the database does not run; run `python cli.py start` first, or set DATABASE_URL")
    until = datetime.now(UTC) + timedelta(days=retain_days)
    with _one_line_errors(), Console(stderr=True).status("loading") as status:
        restored = restore_tables(
            url,
            _own_table_archive(),
            list(dict.fromkeys(tables)),
            first_day,
            retain_until_ns=int(until.timestamp() * 1e9),
            report=status.update,
        )
    if as_json:
        print(json.dumps([one._asdict() for one in restored], indent=2))
        return
    for one in restored:
        print(f"loaded {one.rows:,} rows of {one.partition} into the table {one.table}")
    print(f"`archive create` moves them again after {until:%Y-%m-%d}")


def replay(since: Since = None, to: Until = None, trust_source: TrustSource = False, as_json: AsJson = False) -> None:
    from dataflows.replay.archived_recording import open_archived_recording
    from dataflows.replay.comparison import ReplayWindow, compare
    from deploy.commands.replay_check import comparison_as_json, comparison_as_text, show_progress
    from deploy.recovery.recorded_topics import platform_settings

    window = ReplayWindow(parse_time_ns("--from", since), parse_time_ns("--to", to))
    home, archive = home_from_environment(), _own_archive()
    settings = platform_settings(home, {})
    with (
        _one_line_errors(),
        Console(stderr=True).status("replaying") as status,
        source_of_recording(home, trust_source) as source,
    ):
        recording = open_archived_recording(archive, settings.kafka.symbol_partitions, "archive-replay")
        with closing(recording):
            comparison = compare(settings, recording, window, show_progress(status), source)
    if not comparison.ticks and comparison.difference is None:
        raise DeployError(
            f"nothing to compare: no time slice in this window is complete in the archive {archive.folder}"
        )
    print(comparison_as_json(comparison) if as_json else comparison_as_text(comparison))
    raise typer.Exit(0 if comparison.difference is None else 1)


def _own_archive() -> TopicArchive:
    from deploy.recovery.recorded_topics import platform_settings

    archive = platform_settings(home_from_environment(), {}).kafka.archive
    assert archive is not None, "the settings of a state folder have an archive folder"
    return archive


def _own_table_archive() -> TableArchive:
    return TableArchive(_own_archive().folder)


def _day(option: str, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        if not _DAY.fullmatch(text):
            raise ValueError
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        raise BadInput(f"{option} must be a UTC day such as 2024-01-15, found {text!r}") from None

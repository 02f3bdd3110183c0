"""Commands and the API after old months of the tables were moved to Parquet files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import pytest

from api.excursions import excursions_of
from api.performance import performance_report
from api.problems import NotFound
from api.routers.market import get_history
from configs.settings import Settings
from dataflows.replay.recording import DERIVED_TOPICS, INPUT_TOPICS
from dataflows.research.exports import ExportPeriod, export_frame
from dataflows.research.frames import FRAME_NAMES
from dataflows.research.optimization import LOOKBACK_DAYS, closes_from_table
from deploy.archive import restored_tables
from deploy.archive.restored_tables import restore_tables
from deploy.archive.table_partitions import archive_partitions
from deploy.commands.rebuild import _rewrite_table
from deploy.verification import attribution
from deploy.verification.all_checks import empty_ledger, verify_sequences
from deploy.verification.ledger_tables import compare_ledger
from operators.stage import TimeSlice
from schemas.errors import BadInput, Unavailable
from schemas.records import TOPIC_OF, Bar, FeatureRow, LotMatch
from sinks.archive.table_archive import TableArchive
from sinks.archived_partitions import archived_ends
from sinks.database import open_engine
from sinks.postgres import PostgresWriter
from sinks.queries import stream_records
from tests.integration.filled_database import read_rows
from tests.integration.recorded_platform import cli, kafka_settings, make_topics, write
from tests.integration.test_backup import backup, restore
from tests.unit.tape import FAST_STRATEGY, market, platform_output, settings

DAY_NS = 86_400_000_000_000
SLICES_OF_DAY, DAYS, DAYS_APART = 20, 8, 14
"""From 2 January to 9 April 2024."""
MARCH_NS = int(datetime(2024, 3, 1, tzinfo=UTC).timestamp()) * 10**9
APRIL_NS = int(datetime(2024, 4, 1, tzinfo=UTC).timestamp()) * 10**9
RETENTION = {"bars": 8, "features": 8}
FEEDBACK = {"horizon_bars": 3, "attribution_interval_s": 60, "weights_interval_s": 300}


def market_of_months() -> list[TimeSlice]:
    inputs = []
    for number, (ts_ns, records) in enumerate(market(SLICES_OF_DAY * DAYS)):
        later_ns = number // SLICES_OF_DAY * (DAYS_APART * DAY_NS)
        bars: list[Any] = [
            one._replace(ts_ns=one.ts_ns + later_ns, open_ns=one.open_ns + later_ns)
            for one in records
            if type(one) is Bar
        ]
        inputs.append(TimeSlice(ts_ns + later_ns, bars))
    return inputs


SETTINGS = settings(signals={"strategies": [FAST_STRATEGY]}, feedback=FEEDBACK)
INPUTS = market_of_months()
OUTPUTS = platform_output(INPUTS, SETTINGS)


class Archived(NamedTuple):
    settings: Settings
    url: str
    archive: TableArchive
    frames: dict[str, Any]
    """The exports before the months were archived."""
    match_ids: frozenset[str]
    """The lots with excursions before."""
    closes: dict[str, Any]
    """The closes for the optimization of weights before, by interval."""


def exports(url: str, archive: TableArchive | None = None) -> dict[str, Any]:
    capital = SETTINGS.portfolio_manager.initial_capital
    with closing(psycopg2.connect(url)) as db:
        return {name: export_frame(db, name, capital, ExportPeriod(), archive=archive) for name in FRAME_NAMES}


def lots_with_excursions(url: str) -> dict[str, LotMatch]:
    with closing(psycopg2.connect(url)) as db:
        matches = list(stream_records(db, LotMatch))
    engine = open_engine(url)
    with engine.connect() as reader:
        found = excursions_of(reader, matches)
    engine.dispose()
    return {one.match_id: one for one in matches if one.match_id in found}


def closes(url: str, archive: TableArchive | None = None) -> dict[str, Any]:
    engine = open_engine(url)
    found: dict[str, Any] = {
        f"{frequency}, {days} days": closes_from_table(engine, frequency, days, archive=archive)
        for frequency in LOOKBACK_DAYS
        for days in (365, 30)
    }
    engine.dispose()
    return found


@pytest.fixture(scope="module")
def archived(
    kafka: str, make_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Archived]:
    url, prefix, folder = make_database(), make_topics(kafka), tmp_path_factory.mktemp("archive")
    write(kafka, prefix, INPUTS, INPUT_TOPICS)
    write(kafka, prefix, OUTPUTS, DERIVED_TOPICS)
    with closing(PostgresWriter(url, name="test")) as writer:
        for one, output in zip(INPUTS, OUTPUTS, strict=True):
            writer.write([*one.records, *output.records])
    section = kafka_settings(SETTINGS, kafka, prefix).model_copy(update={"archive_folder": folder})
    postgres = SETTINGS.database.postgres.model_copy(update={"url": url})
    database = SETTINGS.database.model_copy(update={"postgres": postgres})
    run_settings = SETTINGS.model_copy(update={"kafka": section, "database": database})
    frames, with_excursions, closes_before = exports(url), frozenset(lots_with_excursions(url)), closes(url)
    archive = TableArchive(folder)
    drops = archive_partitions(
        url, archive, RETENTION, now_ns=INPUTS[-1].ts_ns, dry_run=False, report=lambda line: None
    )
    assert [one.partition for one in drops] == [
        f"{table}_2024_0{month}" for table in ("bars", "features") for month in (1, 2, 3)
    ]
    yield Archived(run_settings, url, archive, frames, with_excursions, closes_before)


def test_verify_takes_old_prices_from_the_files(archived: Archived, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribution, "EARLIER_COUNT", len(INPUTS))
    result = compare_ledger(archived.url, empty_ledger(archived.settings), (), archived.archive)
    assert [check for check in result.checks if check.difference] == []
    assert next(check for check in result.checks if check.name == "attribution").records > 50
    with pytest.raises(Unavailable, match=r"cannot read the archive file .*bars_2024_0\d.parquet"):
        compare_ledger(archived.url, empty_ledger(archived.settings))


def test_verify_compares_the_rows_that_are_still_in_the_tables(archived: Archived) -> None:
    checks = verify_sequences(archived.settings, archived.settings.kafka, None, 0.0)
    assert [check for check in checks if check.difference] == []
    records = {check.name: check.records for check in checks}
    late = sum(type(r) is Bar and r.ts_ns >= APRIL_NS for one in INPUTS for r in one.records)
    assert records["table bars"] == late and 0 < late < records["topic market-bars"]
    with closing(psycopg2.connect(archived.url)) as db, db, db.cursor() as cursor:
        cursor.execute("DELETE FROM features WHERE ts_ns = (SELECT max(ts_ns) FROM features) RETURNING symbol")
        assert cursor.rowcount == 3
    checks = verify_sequences(archived.settings, archived.settings.kafka, None, 0.0)
    assert [check.name for check in checks if check.difference] == ["table features"]
    _rewrite_table(archived.settings, "features", FeatureRow, TOPIC_OF[FeatureRow])


def test_a_rebuilt_table_has_the_rows_that_are_not_archived(archived: Archived) -> None:
    text = _rewrite_table(archived.settings, "bars", Bar, TOPIC_OF[Bar])
    assert text.endswith("same as before; those before 2024-04-01T00:00:00Z stay archived")
    with closing(psycopg2.connect(archived.url)) as db, db.cursor() as cursor:
        assert archived_ends(cursor) == dict.fromkeys(RETENTION, APRIL_NS)


def test_exports_read_archived_bars(archived: Archived) -> None:
    found = exports(archived.url, archived.archive)
    for name, frame in archived.frames.items():
        assert found[name] == frame, name


def test_the_optimization_of_weights_reads_archived_closes(archived: Archived) -> None:
    assert closes(archived.url, archived.archive) == archived.closes


def test_a_comparison_with_a_benchmark_begins_at_its_bars(archived: Archived) -> None:
    engine = open_engine(archived.url)
    with engine.connect() as db:
        assert performance_report(db, archived.settings, "IBM").benchmark_from == "2024-04-01T00:00:00Z"
        assert performance_report(db, archived.settings).benchmark_from is None
    engine.dispose()


def test_the_api_reports_that_older_bars_are_archived(archived: Archived) -> None:
    engine = open_engine(archived.url)
    times = [one.ts_ns for one in INPUTS]
    with engine.connect() as db:

        def history(start_ns: int | None, limit: int = 500) -> tuple[int, str | None]:
            start = None if start_ns is None else datetime.fromtimestamp(start_ns / 1e9, UTC)
            answer = get_history("IBM", db, start=start, limit=limit)
            names_command = "archive restore --table bars" in (answer.archived_note or "")
            assert names_command == (answer.archived_before is not None)
            return len(answer.bars), answer.archived_before

        assert history(times[0]) == (SLICES_OF_DAY, "2024-04-01T00:00:00Z")
        assert history(times[-5]) == (5, None)
        assert history(None) == (SLICES_OF_DAY, "2024-04-01T00:00:00Z")
        assert history(None, limit=5) == (5, None)
        with pytest.raises(NotFound, match=r"No bars for OLD since 2024-04-01T00:00:00Z \(older bars are archived\)"):
            get_history("OLD", db, limit=5)
    engine.dispose()


def test_a_lot_of_an_archived_month_has_no_excursions_instead_of_wrong_ones(archived: Archived) -> None:
    found = lots_with_excursions(archived.url)
    assert found and found.keys() < archived.match_ids
    assert all(match.opened_ns >= APRIL_NS for match in found.values())


def test_a_backup_has_the_list_of_archived_partitions(
    archived: Archived, make_database: Callable[..., str], tmp_path: Path
) -> None:
    file, before, restored = tmp_path / "tables.tar", read_rows(archived.url), make_database()
    restore(restored, file, backup(archived.url, file))
    assert read_rows(restored) == before
    with closing(psycopg2.connect(restored)) as db, db.cursor() as cursor:
        assert archived_ends(cursor) == dict.fromkeys(RETENTION, APRIL_NS)


def restore_months(url: str, archive: TableArchive, *tables: str, first_day: str | None = None) -> list[str]:
    """Load archived months back, to stay for a day after the last bar. Return their partitions."""
    until_ns = INPUTS[-1].ts_ns + DAY_NS
    restored = restore_tables(url, archive, tables, first_day, retain_until_ns=until_ns, report=lambda line: None)
    return [one.partition for one in restored]


def archive_again(url: str, archive: TableArchive, now_ns: int) -> list[str]:
    drops = archive_partitions(url, archive, RETENTION, now_ns=now_ns, dry_run=False, report=lambda line: None)
    return [one.partition for one in drops]


def rows_of(url: str, table: str) -> list[Any]:
    return read_rows(url)[table]


def archived_until(url: str, table: str) -> int | None:
    with closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        return archived_ends(cursor).get(table)


def test_archived_months_are_loaded_back_and_stay_until_their_time(
    archived: Archived, make_database: Callable[..., str]
) -> None:
    url, original, last_ns = make_database(archived.url), make_database(), INPUTS[-1].ts_ns
    with closing(PostgresWriter(original, name="test")) as writer:
        writer.write([record for one in INPUTS for record in one.records])
    assert restore_months(url, archived.archive, "bars", first_day="2024-03-05") == ["bars_2024_03"]
    assert archived_until(url, "bars") == MARCH_NS
    assert restore_months(url, archived.archive, "bars") == ["bars_2024_02", "bars_2024_01"]
    assert archived_until(url, "bars") is None and archived_until(url, "features") == APRIL_NS
    assert rows_of(url, "bars") == rows_of(original, "bars")
    checks = compare_ledger(url, empty_ledger(archived.settings)).checks
    assert [check for check in checks if check.difference] == [], "no archive is needed"
    assert archive_again(url, archived.archive, last_ns) == []
    assert archive_again(url, archived.archive, last_ns + 2 * DAY_NS) == [f"bars_2024_0{month}" for month in (1, 2, 3)]
    assert archived_until(url, "bars") == APRIL_NS


def test_a_failed_load_changes_nothing_and_the_next_one_continues(
    archived: Archived, make_database: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = make_database(archived.url), tmp_path / "archive"
    shutil.copytree(archived.archive.folder.parent, folder)
    file = folder / "tables" / "bars" / "bars_2024_02.parquet"
    intact, before = file.read_bytes(), rows_of(url, "bars")
    file.write_bytes(intact[:-1] + b"x")
    with pytest.raises(Unavailable, match=r"bars_2024_02.parquet is damaged"):
        restore_months(url, TableArchive(folder), "bars", first_day="2024-02-01")
    assert archived_until(url, "bars") == MARCH_NS, "March was loaded before"
    file.write_bytes(intact)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(restored_tables, "attach", interrupt)
        restore_months(url, TableArchive(folder), "bars")
    assert archived_until(url, "bars") == MARCH_NS and len(rows_of(url, "bars")) > len(before)
    assert restore_months(url, TableArchive(folder), "bars") == ["bars_2024_02", "bars_2024_01"]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_impossible_loads_are_refused_with_one_sentence(archived: Archived) -> None:
    for table, first_day, message in (
        ("bar", None, "--table must be one of .*, found 'bar'; did you mean bars?"),
        ("trades", None, "no row of trades is archived"),
        ("bars", "2024-05-01", "the archived rows of bars end before 2024-04-01; --from must be an earlier day"),
    ):
        with pytest.raises(BadInput, match=message):
            restore_months(archived.url, archived.archive, table, first_day=first_day)


def test_explain_names_the_archived_rows_and_the_command_that_loads_them(
    archived: Archived, make_database: Callable[..., str], tmp_path: Path
) -> None:
    url = make_database(archived.url)
    variables = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    sentence = "Rows of features before 2024-04-01 are archived; `python cli.py archive restore --table features` loads"
    text = cli(tmp_path, "explain", "ord-1", **variables).stdout
    assert sentence in text and "FeatureRow" in text
    sentences = json.loads(cli(tmp_path, "explain", "ord-1", "--json", **variables).stdout)["archived"]
    assert [one.partition(" before ")[0] for one in sentences] == ["Rows of bars", "Rows of features"]
    at = datetime.fromtimestamp(INPUTS[3].ts_ns / 1e9, UTC).isoformat()
    refused = cli(tmp_path, "explain", "--symbol", "IBM", "--at", at, **variables)
    assert refused.returncode != 0 and "Rows of bars before 2024-04-01 are archived" in refused.stderr
    restore_months(url, archived.archive, "bars", "features")
    assert "archived" not in cli(tmp_path, "explain", "ord-1", **variables).stdout

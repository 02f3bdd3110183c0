"""Feature rows for training: computed from files by the live stage, or read from the platform's table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import Engine, select

from configs.settings import Settings
from dataflows.sources.file_feed import FileFeed
from dataflows.sources.trading_calendar import session_table
from operators.features import FeatureStage
from schemas.records import FeatureRow
from sinks.record_tables import record_of
from sinks.tables import features as table


def features_from_files(settings: Settings, paths: Sequence[Path], specs: Sequence[str]) -> Iterator[FeatureRow]:
    """Yield feature rows of files in order of time. Raises BadInput if the files or specs are invalid."""
    files = settings.market_data.files
    stage = FeatureStage(specs, session_table(files.calendar))
    for ts_ns, records in FileFeed(paths, files):
        for row in stage.on_slice(ts_ns, records):
            assert isinstance(row, FeatureRow), f"the feature stage returned a {type(row).__name__}"
            yield row


def features_from_table(engine: Engine) -> Iterator[FeatureRow]:
    """Yield all recorded feature rows of Postgres in order of time and symbol."""
    query = select(table).order_by(table.c.ts_ns, table.c.symbol)
    with engine.connect().execution_options(stream_results=True, yield_per=10_000) as connection:
        for row in connection.execute(query).mappings():
            yield record_of(FeatureRow, row)

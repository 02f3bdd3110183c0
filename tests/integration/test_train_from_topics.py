"""`train --from-topics` trains on the feature rows that the platform recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dataflows.research import recorded_features, training
from deploy.cli import app, register_all
from sinks.database import open_engine
from sinks.postgres import PostgresWriter
from tests.replay.runs import SETTINGS_FILE
from tests.unit.test_model_training import HORIZON, SPECS, market, rows_of


def test_training_from_topics_equals_training_from_the_feature_rows(
    make_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(market(("A", "B"), 500, 1))
    by_partition = sorted(rows, key=lambda row: row.symbol)
    url = make_database()
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(by_partition)
    engine = open_engine(url)
    stored_rows = list(recorded_features.features_from_table(engine))
    engine.dispose()
    assert stored_rows == sorted(rows, key=lambda row: (row.ts_ns, row.symbol))

    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    register_all()
    arguments = ["train", "--from-topics", "--horizon", str(HORIZON), "--features", ",".join(SPECS), "--folds", "2"]
    completed = CliRunner().invoke(app, [*arguments, "--trees", "15", "--settings", str(SETTINGS_FILE), "--json"])
    assert completed.exit_code == 0, completed.output
    report = json.loads(completed.stdout)
    trained = training.train(rows, SPECS, horizon_bars=HORIZON, folds=2, trees=15)
    assert report["rows"] == trained.card["rows"] and report["metrics"] == trained.card["metrics"]
    assert (tmp_path / "models").is_dir()

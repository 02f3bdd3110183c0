"""`train --from-topics`: what the platform recorded is what a model learns from."""

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


def test_a_model_of_the_recorded_features_is_that_of_the_features(
    make_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(market(("A", "B"), 500, 1))
    by_partition = sorted(rows, key=lambda row: row.symbol)
    url = make_database()
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write(by_partition)
    engine = open_engine(url)
    read = list(recorded_features.of_table(engine))
    engine.dispose()
    assert read == sorted(rows, key=lambda row: (row.ts_ns, row.symbol))

    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    register_all()
    asked = ["train", "--from-topics", "--horizon", str(HORIZON), "--features", ",".join(SPECS), "--folds", "2"]
    done = CliRunner().invoke(app, [*asked, "--trees", "15", "--settings", str(SETTINGS_FILE), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    made = training.train(rows, SPECS, horizon_bars=HORIZON, folds=2, trees=15)
    assert said["rows"] == made.card["rows"] and said["metrics"] == made.card["metrics"]
    assert (tmp_path / "models").is_dir()

"""A replay after an edit of a strategy or indicator file: refused, or equal with the recorded source code."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from configs.configuration_changes import with_overrides
from configs.recorded_settings import read_sources, text_hash
from configs.settings import Settings
from dataflows.replay.comparison import compare, configured_pipeline
from dataflows.replay.differences import derived_records
from dataflows.replay.fork import fork
from dataflows.replay.recorded_source import RecordedSource
from dataflows.replay.recording import Recording
from dataflows.replay.settings_change import SettingsChange
from dataflows.runtime import stages
from dataflows.runtime.configured_stage import StageFactory
from operators.stage import Stage, TimeSlice
from schemas.errors import BadInput
from schemas.records import Configuration, Signal, StrategyAction
from sinks.signing_keys import PrivateKey, new_key
from tests.builders import configuration
from tests.replay.in_memory_platform import InMemoryPlatform
from tests.replay.market import MONDAY, write_market
from tests.replay.own_files import INDICATOR, TRADING, VIEW
from tests.replay.runs import by_topic, logged_by_topic, pinned_settings, read_time_slices

pytestmark = pytest.mark.usefixtures("restored_indicators")
CHANGED = (
    ("row.close > average", "row.close < average"),
    ("ctx.target_weight(symbol, 0.1)", "ctx.target_weight(symbol, 0.2)"),
    ("bar.high - bar.low", "bar.low - bar.high"),
)
FILES = {"mine.py": VIEW, "trader.py": TRADING, "spread.py": INDICATOR}
SECOND = 20
"""Index of the time slice with the configuration of the changed files."""
Sign = Callable[[Configuration], Configuration]


class Run(NamedTuple):
    """A run with the original files, then with the changed ones, which are still on the host."""

    settings: Settings
    inputs: list[TimeSlice]
    outputs: list[TimeSlice]
    files: list[Path]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> list[TimeSlice]:
    files = write_market(
        tmp_path_factory.mktemp("market"), symbols=("A", "B"), days=[MONDAY], open_time=time(10), minutes=40
    )
    return list(read_time_slices(files))


def record(market: list[TimeSlice], folder: Path, sign: Sign = lambda one: one) -> Run:
    files = [folder / name for name in FILES]
    for file in files:
        file.write_text(FILES[file.name])
    view, trading, indicator = files
    changes = {
        "signals.strategies": json.dumps([{"name": f"{view}:Mine"}, {"name": f"{trading}:Trader"}]),
        "features.indicator_files": json.dumps([str(indicator)]),
        "features.indicators": '["own_spread"]',
    }
    settings = with_overrides(pinned_settings(), changes)
    inputs: list[TimeSlice] = []
    outputs: list[TimeSlice] = []
    pipeline: Any = None
    for index, (ts_ns, records) in enumerate(market):
        if index in (0, SECOND):
            if index:
                for file, (before, after) in zip(files, CHANGED, strict=True):
                    file.write_text(file.read_text().replace(before, after))
            one = configuration(1 + (index > 0), settings, sources=read_sources(settings))
            records = [sign(one), *records]
            state, pipeline = None if pipeline is None else pipeline.snapshot(), configured_pipeline(settings)
            if state is not None:
                pipeline.restore(state[-1])  # a restart with the changed files
        inputs.append(TimeSlice(ts_ns, records))
        outputs.append(TimeSlice(ts_ns, derived_records(pipeline.on_slice(ts_ns, records))))
    return Run(settings, inputs, outputs, files)


def replayed(run: Run, source: RecordedSource | None = None) -> Any:
    return compare(run.settings, Recording(iter(run.inputs), iter(run.outputs)), source=source)


def signed_by(key: PrivateKey, *others: PrivateKey) -> Sign:
    signers = {one.key_id: b64encode(one.public_key).decode() for one in (key, *others)}
    return lambda configuration: key.sign_configuration(configuration._replace(signers=signers))


def test_the_changed_files_decide_differently(market: list[TimeSlice], tmp_path: Path) -> None:
    """Otherwise the equalities of this file would prove nothing."""
    run = record(market, tmp_path)
    unrecorded = [TimeSlice(ts_ns, [r for r in records if type(r) is not Configuration]) for ts_ns, records in market]
    difference = compare(run.settings, Recording(iter(unrecorded), iter(run.outputs))).difference
    assert difference is not None and difference.ts_ns < market[SECOND].ts_ns
    decided = {type(record) for one in run.outputs for record in one.records}
    assert {Signal, StrategyAction} <= decided


def test_a_replay_is_refused_if_a_file_has_changed(market: list[TimeSlice], tmp_path: Path) -> None:
    run = record(market, tmp_path)
    original, changed = text_hash(VIEW)[:12], text_hash(run.files[0].read_text())[:12]
    with pytest.raises(BadInput) as error:
        replayed(run)
    sentence = str(error.value)
    assert sentence.startswith(f"file {run.files[0]} has sha256 {original} in config-1, found {changed} on this host")
    assert "\n" not in sentence and sentence.endswith("or run the recorded source code with --trust-source")
    run.files[0].unlink()
    run.files[0].write_text(VIEW)
    with pytest.raises(BadInput, match=r"trader\.py has sha256 .* in config-1"):
        replayed(run)


def test_a_trusted_replay_runs_the_recorded_source_and_equals_the_recording(
    market: list[TimeSlice], tmp_path: Path
) -> None:
    run = record(market, tmp_path)
    before = {file: file.read_text() for file in run.files}
    with RecordedSource(trusts_all=True) as source:
        result = replayed(run, source)
        assert result.difference is None and result.ticks == len(market)
        folder = source._folder
        assert folder is not None and Path(folder.name).stat().st_mode & 0o077 == 0
    assert not Path(folder.name).exists(), "the copies are removed"
    assert {file: file.read_text() for file in run.files} == before, "the files of the host are not touched"


def test_the_replayed_signals_have_the_hash_of_the_recorded_source(market: list[TimeSlice], tmp_path: Path) -> None:
    run = record(market, tmp_path)
    with RecordedSource(trusts_all=True) as source:
        pipeline = configured_pipeline(run.settings, source)
        outputs = [derived_records(pipeline.on_slice(ts_ns, records)) for ts_ns, records in run.inputs]
    assert outputs == [one.records for one in run.outputs]
    found = {tuple(one.source_sha256) for records in outputs for one in records if type(one) is Signal}
    changed = [file.read_text() for file in run.files]
    assert found == {(text_hash(VIEW), text_hash(INDICATOR)), (text_hash(changed[0]), text_hash(changed[2]))}


def test_services_run_the_recorded_source_too(market: list[TimeSlice], tmp_path: Path) -> None:
    """As `rebuild` does: several shards of a service share a process and are in different time slices."""
    run = record(market, tmp_path)
    with RecordedSource(trusts_all=True) as source:

        def stage_of(service: str, settings: Settings) -> Stage:
            return StageFactory(getattr(stages, service), settings, use_source=source.settings_for)()

        logs = InMemoryPlatform(run.settings, run.inputs, partitions=2, seed=1, make_stage=stage_of).run()
    expected = by_topic([record for time_slice in run.outputs for record in time_slice.records])
    assert logged_by_topic(logs) == expected


def test_a_signed_configuration_needs_no_option(market: list[TimeSlice], tmp_path: Path) -> None:
    root, other = new_key("platform", "root", 1), new_key("platform", "root", 2)
    run = record(market, tmp_path, signed_by(root))
    keys = {root.key_id: b64encode(root.public_key).decode()}
    with RecordedSource(keys) as source:
        assert replayed(run, source).difference is None
    with RecordedSource({other.key_id: b64encode(other.public_key).decode()}) as source, pytest.raises(BadInput):
        replayed(run, source)
    forged = record(market, tmp_path, lambda one: signed_by(root)(one)._replace(actor="mallory"))
    with RecordedSource(keys) as source, pytest.raises(BadInput, match="no key of this host has signed the record"):
        replayed(forged, source)


def test_the_keys_that_an_authentic_configuration_names_are_trusted(settings: Settings, tmp_path: Path) -> None:
    """The key of the API has been rotated since: this host has only the root key and the new one."""
    root, api = new_key("platform", "root", 1), new_key("platform", "api", 2)
    file = tmp_path / "mine.py"
    file.write_text("# changed")
    first = signed_by(root, api)(configuration(1, settings))
    second = signed_by(api)(configuration(2, settings, sources={str(file): VIEW}))
    keys = {root.key_id: b64encode(root.public_key).decode()}
    with RecordedSource(keys) as source:
        with pytest.raises(BadInput):
            source.settings_for(second, settings)
        source.settings_for(first, settings)
        source.settings_for(second, settings)


def test_a_record_whose_text_was_replaced_does_not_run(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("# changed")
    one = configuration(1, settings, sources={str(file): VIEW})
    with RecordedSource(trusts_all=True) as source:
        for sources in ({}, {str(file): "import os"}):
            with pytest.raises(BadInput, match="the record lacks its text"):
                source.settings_for(one._replace(sources=sources), settings)


def test_a_fork_runs_the_recorded_source_before_the_fork_and_the_files_of_the_host_after_it(
    market: list[TimeSlice], tmp_path: Path
) -> None:
    run = record(market, tmp_path)
    at_ns = market[SECOND - 5].ts_ns

    def forked(source: RecordedSource | None) -> Any:
        change = SettingsChange(run.settings, at_ns)
        return fork(run.settings, change, Recording(iter(run.inputs), iter(run.outputs)), source=source)

    with pytest.raises(BadInput, match="--trust-source"):
        forked(None)
    with RecordedSource(trusts_all=True) as source:
        result = forked(source)
    assert result.difference is None and result.divergent_slices > 0


def test_no_live_process_can_run_recorded_source() -> None:
    """Only replays import the module that runs it."""
    importing = {
        str(path)
        for folder in ("api", "configs", "dataflows", "deploy", "operators", "sinks")
        for path in Path(folder).rglob("*.py")
        if "recorded_source import" in path.read_text() or "use_source=" in path.read_text()
    }
    assert importing == {
        "dataflows/replay/checkpoint_replay.py",
        "dataflows/replay/comparison.py",
        "dataflows/replay/fork.py",
        "dataflows/replay/store_rebuild.py",
        "dataflows/research/bundles/session_bundle.py",
        "dataflows/research/bundles/session_rerun.py",
        "deploy/checkpoints/preview.py",
        "deploy/checkpoints/rebuild_start.py",
        "deploy/checkpoints/recorded_fork.py",
        "deploy/checkpoints/selection.py",
        "deploy/commands/rebuild.py",
        "deploy/commands/replay_check.py",
        "deploy/recovery/trust_source.py",
        "deploy/recovery/layout_change.py",
    }


@pytest.fixture
def settings() -> Settings:
    return pinned_settings()

"""A recorded session with twenty changes of the configuration: `replay-check`, `rebuild` and `explain` equal the live
run.

The changes concern limits, strategies (on, off, parameters, capital), the sizing and the source of the user's
strategies, with which the processes start again.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from configs.configuration_changes import with_overrides
from configs.recorded_settings import user_files
from configs.settings import Settings, load_settings
from dataflows.replay.recording import DERIVED_TOPICS, INPUT_TOPICS
from dataflows.research.bundles.bundle_file import BundlePart, read_bundle, read_manifest, write_bundle
from dataflows.research.bundles.session_bundle import RECORDING_FOLDER
from dataflows.research.bundles.verification import verify_bundle
from deploy.recovery.recovery_store import read_resume_states
from operators.stage import TimeSlice
from schemas.codec import encode
from schemas.records import (
    TARGET_WEIGHT,
    Configuration,
    Order,
    OrderRefusal,
    Record,
    Signal,
    StrategyAction,
    StrategySuspension,
)
from sinks.archive.container_file import ContainerWriter, file_hash
from sinks.archive.log_manifest import write_manifest
from sinks.archive.topic_archive import TopicArchive
from sinks.postgres import PostgresWriter
from sinks.tables import TABLE_OF
from tests.builders import configuration
from tests.integration.test_checkpoint_commands import PARTITIONS, RecordedPlatform, record
from tests.replay.checkpoint_runs import WholeRun, with_markers
from tests.replay.own_files import VIEW
from tests.unit.tape import FAST_STRATEGY, market

CHANGES, EVERY = 20, 6
EDIT = 11
"""Number of the configuration with the changed file, at whose time slice the processes start again."""
MARKER = EVERY * EDIT + 3
TRADER = """
from operators.strategies import TradingStrategy


class Trader(TradingStrategy):
    def __init__(self, *, weight: float = 0.05, name: str = "trader") -> None:
        self.weight, self.name = weight, name

    def on_slice(self, ctx):
        for symbol in ctx.closed("1m"):
            bar = ctx.bar(symbol)
            ctx.target_weight(symbol, self.weight if bar.close > bar.open else 0.0)
"""
EDITS = {"row.close > average": "row.close < average", "bar.close > bar.open": "bar.close < bar.open"}


def edited(text: str) -> str:
    for before, after in EDITS.items():
        text = text.replace(before, after)
    return text


def change(number: int, mine: dict[str, Any], trader: dict[str, Any]) -> dict[str, str]:
    """Return the settings of a configuration: each differs from the one before."""
    strategies: list[list[dict[str, Any]]] = [
        [mine, FAST_STRATEGY],
        [mine, FAST_STRATEGY, trader],
        [mine, trader | {"parameters": {"weight": 0.1}}],
        [mine, trader | {"capital": "0.5"}],
        [FAST_STRATEGY, trader],
    ]
    changed = {"signals.strategies": json.dumps(strategies[number % len(strategies)])}
    if number % 3 == 0:
        changed["risk_manager.max_order_notional"] = "1500"
    if number % 4 == 0:
        changed["portfolio_manager.sizing.fraction"] = '"0.01"'
    return changed


class Session(NamedTuple):
    """The live run, its configurations by number, and the time slice in which each takes effect."""

    whole: WholeRun
    settings: Settings
    slices: list[TimeSlice]
    configurations: list[Configuration]

    def in_force_at(self, ts_ns: int) -> Configuration:
        return max((one for one in self.configurations if one.ts_ns <= ts_ns), key=lambda one: one.number)

    def records(self, kind: type) -> list[Any]:
        topics = (*INPUT_TOPICS, *DERIVED_TOPICS)
        return [one for topic in topics for one in self.whole.logs.records(topic) if type(one) is kind]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("strategies")
    files = {folder / "mine.py": VIEW, folder / "trader.py": TRADER}
    for file, text in files.items():
        file.write_text(text)
    mine, trader = {"name": f"{folder}/mine.py:Mine"}, {"name": f"{folder}/trader.py:Trader"}
    strategies = json.dumps([mine, FAST_STRATEGY])
    environment = {"SIGNALS__STRATEGIES": strategies, "MARKET_DATA__SIMULATOR__INTERVAL_S": "60"}
    settings = load_settings(environment=environment)
    configurations: list[Configuration] = []
    slices: list[TimeSlice] = []
    for index, (ts_ns, records) in enumerate(market(EVERY * (CHANGES + 2))):
        number, remainder = divmod(index, EVERY)
        added: list[Record] = []
        if not remainder and number <= CHANGES:
            changed = with_overrides(settings, change(number, mine, trader))
            texts = {str(file): text if number < EDIT else edited(text) for file, text in files.items()}
            sources = {path: texts[path] for path in user_files(changed)}
            configurations.append(configuration(number + 1, changed, ts_ns=ts_ns, sources=sources))
            added.append(configurations[-1])
        slices.append(TimeSlice(ts_ns, [*added, *records]))
    slices = with_markers(slices, (MARKER,))
    restarts = {EVERY * EDIT: lambda: [file.write_text(edited(text)) for file, text in files.items()]}
    return Session(WholeRun(settings, slices, PARTITIONS, restarts), settings, slices, configurations)


@pytest.fixture(scope="module")
def platform(
    kafka: str, session: Session, make_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> RecordedPlatform:
    strategies = [json.loads(one.model_dump_json()) for one in session.settings.signals.strategies]
    platform = record(kafka, tmp_path_factory.mktemp("home"), session.settings, session.whole, strategies=strategies)
    platform.environment["DATABASE_URL"] = url = make_database()
    writer = PostgresWriter(url, name="test")
    topics = (*INPUT_TOPICS, *DERIVED_TOPICS)
    stored = [one for topic in topics for one in session.whole.logs.records(topic) if type(one) in TABLE_OF]
    writer.write(stored)
    writer.close()
    return platform


def test_the_changes_change_the_decisions(session: Session) -> None:
    """Otherwise the equalities of this file would prove nothing."""
    signals = session.records(Signal)
    assert {signal.strategy for signal in signals} == {"mine", "ema_cross"}
    assert {action.strategy for action in session.records(StrategyAction)} == {"trader"}
    assert {action.kind for action in session.records(StrategyAction)} == {TARGET_WEIGHT}, "nobody is suspended"
    assert not session.records(StrategySuspension)
    assert len({tuple(signal.source_sha256) for signal in signals if signal.strategy == "mine"}) == 2, "two sources"
    assert "max_order_notional" in {refusal.check for refusal in session.records(OrderRefusal)}
    under = {session.in_force_at(order.ts_ns).number for order in session.records(Order)}
    assert len(under) > CHANGES // 2, under


def test_replay_check_equals_the_live_run(platform: RecordedPlatform, session: Session) -> None:
    refused = platform.run("replay-check", "--json")
    assert refused.returncode == 2 and "mine.py has sha256" in refused.stderr
    found = platform.check("--trust-source")
    assert (found["equal"], found["ticks"], found["given"]["Configuration"]) == (True, len(session.slices), CHANGES + 1)
    [checkpoint] = platform.checkpoint_ids
    after = platform.check("--from", str(session.slices[MARKER + 1].ts_ns))
    assert (after["from_checkpoint"], after["ticks"]) == (checkpoint, len(session.slices) - MARKER - 1)


FROM_START, FROM_CHECKPOINT = ("--from-start", "--trust-source"), ()
SERVICES = ("signals", "strategies", "portfolio", "risk", "execution")


@pytest.mark.parametrize(
    ("service", "options"),
    [
        *((service, FROM_START) for service in SERVICES),
        ("risk", FROM_CHECKPOINT),
        *(pytest.param(one, FROM_CHECKPOINT, marks=pytest.mark.long) for one in SERVICES if one != "risk"),
    ],
)
def test_a_rebuilt_service_has_the_state_of_the_live_run(
    platform: RecordedPlatform, session: Session, service: str, options: tuple[str, ...]
) -> None:
    completed = platform.run("rebuild", service, *options)
    assert completed.returncode == 0, completed.stderr
    assert ("after the checkpoint of" in completed.stdout) == (not options)
    live = session.whole.end_state[2][service]
    found = {
        one.key: one.state
        for one in read_resume_states(platform.home.recovery / service)
        if one.step.rpartition(".")[2] == "stage"
    }
    assert found == {shard: stage_state for shard, (_, stage_state) in live.items()}


@pytest.fixture(scope="module")
def bundle(platform: RecordedPlatform, session: Session, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("bundles") / "desk.bundle"
    create = ("bundle", "create", "--session", "-o", str(target), "--no-check")
    refused = platform.run(*create)
    assert refused.returncode == 2 and "mine.py has sha256" in refused.stderr and not target.exists()
    created = platform.run(*create, "--trust-source")
    assert created.returncode == 0, created.stderr
    assert f"packed {len(session.slices)} time slices" in created.stdout
    return target


def test_a_bundle_of_the_session_reproduces_it_without_its_files(
    platform: RecordedPlatform, session: Session, bundle: Path
) -> None:
    shown = platform.run("bundle", "show", str(bundle), "--source").stdout
    assert shown.count("class Mine") == shown.count("class Trader") == 2, "the code before and after the edit"

    with moved_files(session):
        assert "--trust-source" in platform.run("bundle", "verify", str(bundle)).stderr
        verified = platform.run("bundle", "verify", str(bundle), "--trust-source")
    assert verified.returncode == 0, verified.stderr
    assert f"reproduced session desk: decision hash {platform.check('--trust-source')['decision_hash']}" in (
        verified.stdout
    )


def test_the_first_changed_record_of_a_bundled_session_is_named(session: Session, bundle: Path, tmp_path: Path) -> None:
    order = session.records(Order)[0]
    archive = TopicArchive(read_bundle(bundle, tmp_path / "parts").folder / RECORDING_FOLDER)
    replace_message(archive, "orders", order, order._replace(terms=order.terms._replace(quantity=Decimal(1_000))))
    with zipfile.ZipFile(bundle) as packed:
        listed = read_manifest(packed)
    parts = [BundlePart(one["name"], one["kind"], tmp_path / "parts" / one["name"]) for one in listed]
    write_bundle(tmp_path / "changed.bundle", parts, {})
    found = verify_bundle(tmp_path / "changed.bundle", trust_source=True)
    assert (found.kind, found.run) == ("session", "desk")
    assert found.difference is not None
    assert (
        found.difference.startswith(f"decisions: orders {order.order_id} at ") and "recorded 1000" in found.difference
    )


def replace_message(archive: TopicArchive, topic: str, before: Record, after: Record) -> None:
    """Replace a record in the archived files of a topic, with hashes that fit."""
    files = []
    for file in archive.files(topic, 0):
        messages = list(archive.file_messages(topic, 0, file))
        path = archive.log_folder(topic, 0) / file.name
        with path.open("wb") as target:
            writer = ContainerWriter(target, {})
            for one in messages:
                writer.add(one._replace(value=encode(after)) if one.value == encode(before) else one)
            writer.flush()
        files.append(file._replace(sha256=file_hash(path)))
    write_manifest(archive.log_folder(topic, 0), files)


@contextmanager
def moved_files(session: Session) -> Iterator[None]:
    """Move the strategy files to another place during the block, as on another machine."""
    files = {Path(path) for one in session.configurations for path in one.source_sha256}
    for file in files:
        file.rename(file.with_suffix(".moved"))
    try:
        yield
    finally:
        for file in files:
            file.with_suffix(".moved").rename(file)


def test_explain_names_the_configuration_of_each_order(platform: RecordedPlatform, session: Session) -> None:
    """One order of every fourth configuration under which there are any."""
    orders: dict[int, Order] = {}
    for order in session.records(Order):
        orders.setdefault(session.in_force_at(order.ts_ns).number, order)
    for number in sorted(orders)[::4]:
        order, expected = orders[number], session.configurations[number - 1]
        completed = platform.run("explain", order.order_id, "--json")
        assert completed.returncode == 0, completed.stderr
        *_, found = json.loads(completed.stdout)["configurations"]
        assert (found["configuration_id"], found["sha256"]) == (expected.configuration_id, expected.sha256)
        assert found["source_sha256"] == expected.source_sha256 and order.order_id in found["records"]

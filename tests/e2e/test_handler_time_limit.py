"""Handlers that do not return, on the real services: recorded, suspended alone, and equal in a replay and a rebuild."""

from __future__ import annotations

import json
import signal
from contextlib import closing
from pathlib import Path

import pytest

from dataflows.replay.comparison import compare
from dataflows.replay.recording import open_recording
from dataflows.replay.store_rebuild import rebuild_store
from dataflows.runtime.exit_status import HANDLER_TIMED_OUT
from dataflows.runtime.handler_timeouts import recorded_timeouts
from dataflows.runtime.topology import GLOBAL_SHARD
from deploy.supervisor.initialize import make_recovery_store
from operators.handler_limit import HANDLER_TIME_LIMIT
from schemas.codec import decode
from schemas.records import SUSPENDED, StrategyAction
from sinks.database import open_engine
from sinks.suspensions import suspended_strategies
from tests import endless_strategy, every_action
from tests.e2e.conftest import MakePlatform
from tests.e2e.process_platform import ProcessPlatform

pytestmark = pytest.mark.timeout(1200)
FILE = endless_strategy.__file__
SPINS_AT, VIEW_SPINS_AT, WAITS_AT, CALCULATES_AT = 10, 15, 20, 25


def test_handlers_that_do_not_return_stop_no_other_trading_and_replay_equal(
    make_platform: MakePlatform, bars: list[Path], tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    calls.touch()
    endless = {"calls": str(calls)}
    strategies = [
        {"name": "ema_cross", "parameters": {"fast": 3, "slow": 8, "rsi_period": 5, "rsi_max": 90}},
        {"name": f"{every_action.__file__}:EveryAction"},
        {"name": f"{FILE}:EndlessView", "parameters": {"at": VIEW_SPINS_AT}, "on_error": "flatten"},
        {
            "name": f"{FILE}:Endless",
            "parameters": {**endless, "at": SPINS_AT, "name": "spins"},
            "handler_time_limit_s": 6,  # long enough to kill the process before
        },
        {
            "name": f"{FILE}:Endless",
            "parameters": {**endless, "at": CALCULATES_AT, "name": "calculates", "how": "calculate"},
        },
        {
            "name": f"{FILE}:Endless",
            "parameters": {**endless, "at": WAITS_AT, "name": "waits", "how": "wait"},
            "on_error": "flatten",
        },
    ]
    overrides = {
        "SIGNALS__STRATEGIES": json.dumps(strategies),
        "SIGNALS__HANDLER_TIME_LIMIT_S": "2",
        "SIGNALS__HANDLER_WAITING_LIMIT_S": "10",
    }
    with make_platform(overrides=overrides) as platform:
        platform.start()
        # A kill in the middle of the handler: no verdict is recorded, and the handler is called again.
        platform.wait_until(lambda: bool(calls.read_text()), "the handler that spins")
        platform.restart("strategies")
        # Each process ends between the record of the timeout and the suspension.
        assert platform.wait_for_exit("strategies") == HANDLER_TIMED_OUT
        assert not [action for action in actions(platform) if action.kind == SUSPENDED]
        platform.start("strategies")
        assert platform.wait_for_exit("signals") == HANDLER_TIMED_OUT
        platform.start("signals")
        assert platform.wait_for_exit("strategies") == HANDLER_TIMED_OUT
        platform.start("strategies")
        # No thread of Python can run beside the calculation. The next start records the timeout.
        assert platform.wait_for_exit("strategies") == -signal.SIGPROF
        platform.start("strategies")
        platform.run_to_end()

        called = calls.read_text().split()
        assert called == ["spins", "spins", "waits", "calculates"], "never called again after its record"
        check_what_operators_see(platform)
        settings = platform.read_settings()
        recorded = [one for timeouts in recorded_timeouts(settings.kafka).values() for one in timeouts]
        assert {(one.strategy, one.handler, one.measure) for one in recorded} == {
            ("spins", "on_slice", "PROCESSOR_TIME"),
            ("waits", "on_slice", "WAITING_TIME"),
            ("calculates", "on_slice", "PROCESSOR_TIME"),
            ("endless_view", "decide", "PROCESSOR_TIME"),
        }
        last = actions(platform)[-1]
        assert last.strategy == "every_action" and last.ts_ns > max(one.ts_ns for one in recorded), "others go on"
        with closing(open_recording(settings.kafka, "replay")) as recording:
            comparison = compare(settings, recording)
        assert comparison.difference is None
        assert comparison.decision_hash == platform.decision_hash()
        assert comparison.records["StrategyAction"] > 10 and comparison.given["Bar"] > 800
        store = tmp_path / "store"
        make_recovery_store(store)
        assert rebuild_store(settings, "strategies", [GLOBAL_SHARD], store).records > 10


def actions(platform: ProcessPlatform) -> list[StrategyAction]:
    records = [decode(message) for message in platform.messages("strategy-actions")]
    return [record for record in records if type(record) is StrategyAction]


def check_what_operators_see(platform: ProcessPlatform) -> None:
    """The suspensions, which status, alerts, `explain` and the dashboard show, name file, line and handler."""
    engine = open_engine(platform.servers.database_url)
    try:
        with engine.connect() as db:
            suspensions = suspended_strategies(db)
    finally:
        engine.dispose()
    shown = {one.strategy: (one.error_type, one.message, one.file) for one in suspensions}
    texts = {
        "spins": "on_slice did not return within its limit of 6 s of processor time",
        "waits": "on_slice did not return within its limit of 10 s of waiting time",
        "calculates": "on_slice did not return within its limit of 2 s of processor time",
        "endless_view": "decide did not return within its limit of 2 s of processor time",
    }
    assert shown == {name: (HANDLER_TIME_LIMIT, text, FILE) for name, text in texts.items()}
    lines = Path(FILE).read_text().splitlines()
    sources = {one.strategy: lines[one.line - 1].strip() for one in suspensions}
    assert sources["calculates"] == "sum(range(10**15))"
    assert sources["waits"] == "time.sleep(3600)"
    assert sources["spins"] in ('while self.how == "spin":', "pass")

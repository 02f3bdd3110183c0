"""Every strategy of the platform on real services: the live decisions are those of the backtest and of a replay."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from dataflows import backtest
from dataflows.replay.comparison import compare
from dataflows.replay.recording import open_recording
from operators.strategies import STRATEGIES
from tests.e2e.conftest import MakePlatform
from tests.replay.shipped_strategies import trade_counts, write_tape

pytestmark = pytest.mark.timeout(1200)


def test_every_shipped_strategy_decides_live_what_it_decides_in_a_backtest_and_a_replay(
    make_platform: MakePlatform, tmp_path: Path
) -> None:
    tape = write_tape(tmp_path)
    overrides = {"PLATFORM_SETTINGS": str(tape.settings_file), **tape.environment}
    with make_platform(tape.bars, overrides=overrides) as platform:
        platform.start()
        platform.run_to_end()
        settings, logs = platform.read_settings(), platform.logs()
        live_hash = platform.decision_hash()
        with closing(open_recording(settings.kafka, "replay-check")) as recording:
            replayed = compare(settings, recording)
    trades = trade_counts(logs.records("attribution"))
    assert not [name for name in STRATEGIES if not trades.get(name)], trades
    assert (replayed.difference, replayed.decision_hash) == (None, live_hash)
    _, summary = backtest.run(settings, tape.bars)
    assert summary["decision_hash"] == live_hash

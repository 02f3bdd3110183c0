"""The ledger of trials: append-only, one row per trial, complete after kills and with several writers."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from dataflows.research.overfitting import SharpeEstimate, deflated_sharpe_ratio, estimate_sharpe
from dataflows.research.trial_ledger import Trial, TrialLedger
from deploy.commands import trials as commands
from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from schemas.errors import BadInput, Unavailable

WRITER = """
import sys
from pathlib import Path
from dataflows.research.trial_ledger import Trial, TrialLedger

causes = {"strategy": "ema_cross", "code_hash": "c0de", "data_hash": "da7a", "settings_hash": "5e77", "seed": None}
result = {"objectives": {}, "sharpe": None, "decision_hash": "d", "user": "quant", "run": "", "recorded_ns": 0}
ledger, first, last = TrialLedger(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
for number in range(first, last):
    ledger.record([Trial(**causes, **result, parameters={"fast": number})])
    print(number, flush=True)
"""


def trial(parameters: Mapping[str, Any], sharpe: float | None = 1.0, **changes: Any) -> Trial:
    """Build a trial whose decision hash follows from its parameters."""
    estimate = None if sharpe is None else SharpeEstimate(sharpe=sharpe / math.sqrt(252), observations=500)
    values: dict[str, Any] = {
        "strategy": "ema_cross",
        "code_hash": "c0de",
        "data_hash": "da7a1111" * 8,
        "settings_hash": "5e77",
        "parameters": parameters,
        "seed": 7,
        "objectives": {"sharpe": sharpe, "trades": 12.0},
        "sharpe": estimate,
        "decision_hash": f"{sorted(parameters.items())}",
        "user": "quant",
        "run": "first-sweep",
        "recorded_ns": 1_700_000_000_000_000_000,
    }
    return Trial(**values | changes)


@pytest.fixture
def ledger(tmp_path: Path) -> TrialLedger:
    return TrialLedger(tmp_path / "state" / "trials.sqlite")


def start_writer(ledger: TrialLedger, first: int, last: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(ledger.path), str(first), str(last)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def test_a_trial_is_read_as_it_was_recorded(ledger: TrialLedger) -> None:
    recorded = [
        trial({"fast": 5, "nested": {"symbols": ["A", "B"]}, "on": True, "limit": None}),
        trial({"fast": 6}, None, seed=None, run=""),
    ]
    assert ledger.record(recorded) == 2
    assert [one.trial for one in ledger.trials()] == recorded
    assert [(one.number, one.trial_id) for one in ledger.trials()] == [
        (number, one.trial_id) for number, one in enumerate(recorded, start=1)
    ]
    assert ledger.trials(run="first-sweep") == ledger.trials()[:1]
    assert ledger.trials(strategy="other") == []
    assert ledger.path.stat().st_mode & 0o777 == 0o600


def test_a_trial_that_is_recorded_again_adds_no_row(ledger: TrialLedger) -> None:
    first = trial({"fast": 5, "slow": Decimal(20)})
    assert ledger.record([first, first]) == 1
    again = trial({"slow": Decimal(20), "fast": 5}, user="another", recorded_ns=first.recorded_ns + 1)
    assert ledger.record([again]) == 0
    assert len(ledger.trials()) == 1
    assert ledger.trials()[0].trial.user == "quant"


@pytest.mark.parametrize(
    "change",
    [
        {"strategy": "other"},
        {"code_hash": "other"},
        {"data_hash": "other"},
        {"settings_hash": "other"},
        {"seed": 8},
        {"parameters": {"fast": 6}},
    ],
)
def test_every_cause_of_a_result_makes_another_trial(ledger: TrialLedger, change: dict[str, Any]) -> None:
    ledger.record([trial({"fast": 5}), trial(**{"parameters": {"fast": 5}} | change)])
    assert len(ledger.trials()) == 2


def test_the_same_causes_with_another_result_are_refused(ledger: TrialLedger) -> None:
    ledger.record([trial({"fast": 5})])
    with pytest.raises(BadInput, match=r"trial 1 has the same .* another decision hash .*, found other\)"):
        ledger.record([trial({"fast": 6}), trial({"fast": 5}, decision_hash="other")])
    assert len(ledger.trials()) == 1, "none of the transaction is recorded"


def test_rows_cannot_be_changed_or_deleted(ledger: TrialLedger) -> None:
    ledger.record([trial({"fast": number}) for number in range(3)])
    with closing(sqlite3.connect(ledger.path)) as database:
        for statement in ("UPDATE trials SET user = 'x'", "DELETE FROM trials WHERE number = 3"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                database.execute(statement)
    assert ledger.verify() == 3


@pytest.mark.parametrize(
    ("statement", "position"),
    [
        ("UPDATE trials SET objectives = '{}' WHERE number = 2", 2),
        ("DELETE FROM trials WHERE number = 1", 1),
        ("UPDATE trials SET number = 9 WHERE number = 3", 3),
    ],
)
def test_a_row_that_was_changed_nevertheless_is_found(ledger: TrialLedger, statement: str, position: int) -> None:
    ledger.record([trial({"fast": number}) for number in range(3)])
    with closing(sqlite3.connect(ledger.path)) as database:
        database.executescript(f"DROP TRIGGER trials_not_changed; DROP TRIGGER trials_not_deleted; {statement};")
    with pytest.raises(BadInput, match=f"trial {position} was changed or removed"):
        ledger.verify()


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_writer_loses_no_acknowledged_trial_and_repeats_none(ledger: TrialLedger, seed: int) -> None:
    """Each writer starts from the beginning. The number of trials after which it is killed is random."""
    chance = random.Random(seed)
    total, acknowledged = 60, -1
    for _ in range(2):
        writer = start_writer(ledger, 0, total)
        assert writer.stdout is not None
        for _ in range(chance.randint(1, 20)):
            acknowledged = max(acknowledged, int(writer.stdout.readline()))
        writer.send_signal(signal.SIGKILL)
        unread, _ = writer.communicate()
        acknowledged = max([acknowledged, *(int(line) for line in unread.split("\n")[:-1])])
        stored = [one.trial.parameters["fast"] for one in ledger.trials()]
        assert stored == list(range(len(stored)))
        assert len(stored) in (acknowledged + 1, acknowledged + 2), "at most one was not acknowledged"
        assert ledger.verify() == len(stored)
    assert start_writer(ledger, 0, total).communicate()[0].split() == [str(number) for number in range(total)]
    assert [one.trial.parameters["fast"] for one in ledger.trials()] == list(range(total))


def test_writers_at_the_same_time_record_each_trial_once(ledger: TrialLedger) -> None:
    """Three processes with overlapping trials."""
    writers = [start_writer(ledger, first, first + 30) for first in (0, 15, 30)]
    for writer in writers:
        assert len(writer.communicate()[0].split()) == 30
        assert writer.returncode == 0
    assert sorted(one.trial.parameters["fast"] for one in ledger.trials()) == list(range(60))
    assert ledger.verify() == 60


@hypothesis_settings(max_examples=30)
@given(
    st.dictionaries(
        st.text(max_size=5),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
        max_size=4,
    )
)
def test_parameters_of_any_json_value_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, parameters: dict[str, Any]
) -> None:
    ledger = TrialLedger(tmp_path_factory.mktemp("ledger") / "trials.sqlite")
    ledger.record([trial(parameters)])
    assert ledger.trials()[0].trial.parameters == parameters
    assert ledger.verify() == 1


# -- best of N trials ----------------------------------------------------------------------------------------------


def test_the_best_trial_is_deflated_by_all_trials_of_the_strategy_and_data(ledger: TrialLedger) -> None:
    generator = np.random.default_rng(0)
    estimates = [estimate_sharpe(generator.normal(0.0003, 0.01, 500)) for _ in range(20)]
    ledger.record(
        trial({"fast": number}, sharpe=estimate.annualized(252), code_hash=f"code {number % 2}")
        for number, estimate in enumerate(estimates)
    )
    ledger.record([trial({"fast": 99}, None), trial({"fast": 5}, 9.0, data_hash="other"), trial({}, 9.0, strategy="b")])
    best = ledger.best("ema_cross", "da7a1111" * 8)
    expected = int(np.argmax([one.sharpe for one in estimates]))
    assert best.best is not None and best.deflated is not None
    assert best.trials == best.deflated.trials == 21
    assert best.best.trial.parameters == {"fast": expected}
    sharpes = [*(one.annualized(252) / math.sqrt(252) for one in estimates), 0.0]
    estimate = best.best.trial.sharpe
    assert estimate is not None
    assert best.deflated == deflated_sharpe_ratio(estimate, sharpes)
    assert ledger.best("ema_cross", "da7a1111" * 8, "trades").best == ledger.trials()[0]


def test_unknown_objectives_and_strategies_give_one_sentence(ledger: TrialLedger) -> None:
    ledger.record([trial({"fast": 5})])
    with pytest.raises(BadInput, match=r"no trial of ema_cross has the objective 'sharp'; did you mean sharpe\?"):
        ledger.best("ema_cross", "da7a1111" * 8, "sharp")
    with pytest.raises(BadInput, match="the ledger has no trial of strategy b on data x"):
        ledger.best("b", "x")
    with pytest.raises(BadInput, match=r"objective sharpe of a trial must be a finite number or None, found nan"):
        ledger.record([trial({}, objectives={"sharpe": math.nan})])
    with pytest.raises(BadInput, match=r"parameters of a trial must be JSON values: found a set"):
        ledger.record([trial({"symbols": {"A"}})])


# -- bad files -----------------------------------------------------------------------------------------------------


def test_a_ledger_that_cannot_be_used_gives_one_sentence(ledger: TrialLedger, tmp_path: Path) -> None:
    assert ledger.trials() == []
    assert ledger.verify() == 0
    assert not ledger.path.exists(), "reading creates no file"
    text = tmp_path / "notes.txt"
    text.write_text("not a database\n" * 100)
    with pytest.raises(BadInput, match="is not a ledger of trials: file is not a database"):
        TrialLedger(text).record([trial({})])
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE x (y)")
    with pytest.raises(BadInput, match="is not a ledger of trials: it has other tables"):
        TrialLedger(other).trials()
    ledger.record([trial({})])
    with closing(sqlite3.connect(ledger.path)) as database:
        database.execute("PRAGMA user_version = 2")
    with pytest.raises(BadInput, match="has version 2, this release reads up to 1"):
        ledger.record([trial({})])


def test_a_file_without_tables_is_an_empty_ledger(ledger: TrialLedger) -> None:
    """A process that is killed before its first commit leaves such a file."""
    ledger.path.parent.mkdir()
    ledger.path.touch()
    assert ledger.trials() == []
    assert ledger.record([trial({})]) == 1


def test_a_locked_ledger_gives_one_sentence(ledger: TrialLedger) -> None:
    ledger.record([trial({})])
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match=r"cannot use the ledger of trials .*: database is locked"):
            TrialLedger(ledger.path, lock_timeout_s=0.05).record([trial({"fast": 5})])


# -- commands ------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    return Home(tmp_path)


def run(*arguments: str) -> str:
    app = typer.Typer()
    commands.register(app)
    result = CliRunner().invoke(app, ["trials", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_commands_show_the_ledger(home: Home) -> None:
    assert run("list") == "no trials\n"
    TrialLedger(home.trial_ledger).record(
        [*(trial({"fast": number}, sharpe=number / 10) for number in range(1, 6)), trial({"fast": 9}, strategy="b")]
    )
    listed = json.loads(run("list", "--strategy", "ema_cross", "--limit", "2", "--json"))
    assert [one["parameters"]["fast"] for one in listed] == [5, 4]
    assert "fast=3" in run("list", "--data", "da7a")
    assert run("list", "--data", "ffff") == "no trials\n"
    shown = json.loads(run("show", "4", "--json"))
    assert (shown["ranks"], shown["trials_of_strategy_and_data"]) == ({"sharpe": 2, "trades": 1}, 5)
    assert json.loads(run("show", shown["trial_id"][:6], "--json")) == shown
    assert "sharpe=0.4, trades=12" in run("show", "4")
    text = run("best", "ema_cross")
    assert text.startswith("best of 5 trials: trial 5, sharpe 0.5\nparameters: fast=5\ndeflated Sharpe ratio: ")
    best = json.loads(run("best", "ema_cross", "--data", "da7a", "--json"))
    assert f"{best['deflated_sharpe']:.3f}" in text
    assert run("verify") == "6 trials are as they were recorded\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("list --strategy ema_cros", "unknown strategy 'ema_cros'; did you mean ema_cross?"),
        ("list --run first-swep", "unknown run 'first-swep'; did you mean first-sweep?"),
        ("show 9", "unknown trial '9'; the ledger has the trials 1 to 2"),
        ("best ema_cross", r"trials on 2 sets of data; choose one with --data: da7a1111, 0ther"),
        ("best ema_cross --data ff", "ema_cross has no trial on data ff; its data: da7a1111, 0ther"),
        ("best ema_cross --data da --objective sharp", "did you mean sharpe?"),
    ],
)
def test_wrong_names_give_one_sentence(home: Home, arguments: str, message: str) -> None:
    TrialLedger(home.trial_ledger).record([trial({"fast": 1}), trial({"fast": 1}, data_hash="0ther")])
    with pytest.raises(BadInput) as error:
        run(*arguments.split())
    assert message in str(error.value)


def test_an_unreadable_ledger_gives_one_line(home: Home) -> None:
    os.mkdir(home.trial_ledger)
    with pytest.raises(DeployError, match="cannot use the ledger of trials"):
        run("list")

"""Optimized weights against hand-calculated cases, and the command's errors for invalid input."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from configs.settings import load_settings
from dataflows.research.optimization import (
    BAR,
    DAILY,
    Close,
    OptimizationMethod,
    ReturnMatrix,
    adjust_for_splits,
    closes_from_files,
    compute_returns,
    optimize,
    suspicious_jumps,
)
from deploy import cli
from operators.sizing import parse_weights
from schemas.errors import BadInput
from schemas.records import SPLIT
from tests.builders import corporate_action
from tests.replay.market import write_market

A, B = [0.01, -0.01, 0.01, -0.01], [0.02, 0.02, -0.02, -0.02]  # uncorrelated, variances 1 : 4
ONE = Decimal(1)


def returns(*columns: list[float], repeat: int = 10, means: tuple[float, ...] = ()) -> ReturnMatrix:
    values = np.tile(np.column_stack(columns), (repeat, 1)) + (np.array(means) if means else 0.0)
    return ReturnMatrix([chr(65 + n) for n in range(len(columns))], values, list(range(1, len(values) + 1)), DAILY)


def test_hierarchical_risk_parity_of_two_uncorrelated_assets_is_inverse_variance() -> None:
    result = optimize(returns(A, B), "hrp")
    assert result.weights == {"A": Decimal("0.8"), "B": Decimal("0.2")}
    assert result.reason.startswith("hrp over 40 daily returns to 1..40, at most 1 each, skfolio 1.")


def test_maximum_sharpe_of_two_uncorrelated_assets_is_mean_over_variance() -> None:
    result = optimize(returns(A, B, means=(0.001, 0.002)), "max_sharpe")
    assert float(result.weights["A"]) == pytest.approx(2 / 3, abs=1e-3), "0.001 / 1 to 0.002 / 4"


def test_cvar_avoids_the_asset_with_the_worst_tail() -> None:
    quiet, tail = [0.001, -0.001] * 10, [0.002] * 19 + [-0.1]
    result = optimize(returns(quiet, tail), "cvar")
    assert result.weights["A"] > Decimal("0.95")


@pytest.mark.parametrize("method", ["hrp", "max_sharpe", "cvar"])
def test_weights_respect_the_limit_and_sum_to_at_most_one(method: OptimizationMethod) -> None:
    result = optimize(
        returns(A, B, [0.03, -0.03, -0.03, 0.03], repeat=30, means=(0.01, 0.001, 0.001)), method, Decimal("0.4")
    )
    assert max(result.weights.values()) <= Decimal("0.4")
    assert Decimal("0.9999") < sum(result.weights.values()) <= 1
    assert parse_weights(result.arguments) == result.weights


@pytest.mark.parametrize(
    ("asset_returns", "method", "limit", "message"),
    [
        (returns(A, B, repeat=7), "hrp", ONE, "hrp of 2 symbols needs at least 30 daily returns .*, found 28"),
        (returns(A, B, repeat=24), "cvar", ONE, "at least 100 daily returns common to all of them, found 96"),
        (returns(*[A, B] * 20), "hrp", ONE, "hrp of 40 symbols needs at least 41 daily returns .*, found 40"),
        (returns(A, B, means=(-0.001, 0.0)), "max_sharpe", ONE, "the mean return of all 2 symbols is negative or 0"),
        (returns(A, [0.0] * 4), "hrp", ONE, "B did not move in 40 daily returns"),
        (returns(A, B), "hrp", Decimal("0.49"), "max weight must be at least 1/2 for 2 symbols, found 0.49"),
        (returns(A, B), "hrp", Decimal("1.1"), r"max weight must be in \(0, 1\], found 1.1"),
        (returns(A, B), "magic", ONE, "method must be one of max_sharpe, hrp, cvar, found 'magic'"),
    ],
)
def test_unsolvable_input_gives_a_one_line_error(
    asset_returns: ReturnMatrix, method: OptimizationMethod, limit: Decimal, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        optimize(asset_returns, method, limit)


def test_missing_skfolio_error_explains_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skfolio", None)
    with pytest.raises(BadInput, match=r"skfolio is not installed; .*deploy/locks/requirements-optimization\.txt"):
        optimize(returns(A, B), "hrp")


def test_returns_are_between_the_times_that_all_symbols_have() -> None:
    result = compute_returns(
        {"B": {1: 10.0, 2: 11.0, 4 * 10**9: 22.0}, "A": {1: 5.0, 2: 6.0, 3: 9.0, 4 * 10**9: 3.0}}, BAR
    )
    assert (result.symbols, result.times) == (["A", "B"], [2, 4 * 10**9])
    assert result.values == pytest.approx(np.array([[0.2, 0.1], [-0.5, 1.0]]))
    assert suspicious_jumps(result) == [
        "A moved by -50.0% to 1970-01-01T00:00:04Z: check for an unrecorded split",
        "B moved by +100.0% to 1970-01-01T00:00:04Z: check for an unrecorded split",
    ]
    with pytest.raises(BadInput, match="no bars of C in the requested days; symbols with bars: A, B"):
        compute_returns({"A": {1: 1.0}, "B": {1: 1.0}}, BAR, ["A", "C"])
    with pytest.raises(BadInput, match="no bars to compute"):
        compute_returns({}, DAILY)


def test_closes_before_a_split_are_adjusted() -> None:
    split = corporate_action("s", SPLIT, "A", ex_date=20240103, ratio=2)
    closes = [Close("A", 20240102, 1, 100.0), Close("A", 20240103, 2, 50.0), Close("B", 20240102, 1, 7.0)]
    assert [c.close for c in adjust_for_splits(closes, [split, split])] == [50.0, 50.0, 7.0]


def test_the_last_close_of_a_day_and_the_requested_days_count(tmp_path: Path) -> None:
    files = write_market(tmp_path, symbols=("A", "B"), minutes=30)
    daily = closes_from_files(load_settings(environment={}), files, DAILY, 365)
    bars = closes_from_files(load_settings(environment={}), files, BAR, 1)
    assert list(daily["A"]) == [20240308, 20240311]
    assert daily["A"][20240311] == bars["A"][max(bars["A"])]
    assert len(bars["A"]) <= 30, "of the last day only"


def test_the_command_prints_weights_and_writes_nothing_when_dry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_market(tmp_path / "bars", symbols=("A", "B"), minutes=120)
    arguments = [
        "optimize-weights",
        "--method",
        "hrp",
        "--bars",
        str(tmp_path / "bars"),
        "--returns",
        "bar",
        "--dry-run",
    ]
    monkeypatch.setattr(sys, "argv", ["cli.py", *arguments, "--json"])
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
    assert exit_info.value.code == 0
    output = json.loads(capsys.readouterr().out)
    assert (output["method"], output["each"], output["command_id"]) == ("hrp", "bar", None)
    assert Decimal("0.99999") < sum(map(Decimal, output["weights"].values())) <= 1
    monkeypatch.setattr(sys, "argv", ["cli.py", *arguments, "--symbols", "A,NONE"])
    assert cli.main() == 2
    assert capsys.readouterr().err == "error: no bars of NONE in the requested days; symbols with bars: A, B\n"

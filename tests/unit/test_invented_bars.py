"""The invented bars are the same on each call, and as files give the decisions of the frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from dataflows.research import backtest, load_bars, sample_bars
from dataflows.research.invented_bars import SAMPLE_MARKETS, SAMPLE_SYMBOLS
from dataflows.research.loaded_bars import BAR_COLUMNS
from deploy.commands import data as command
from schemas.errors import BadInput


def write(folder: Path) -> str:
    app = typer.Typer()
    command.register(app)
    outcome = CliRunner().invoke(app, ["data", "sample", str(folder)], catch_exceptions=False)
    assert outcome.exit_code == 0
    return outcome.output


@pytest.mark.parametrize("market", SAMPLE_MARKETS)
def test_a_frame_and_the_files_give_the_same_bars_and_decisions(market: str, tmp_path: Path) -> None:
    assert f"{tmp_path / market}: 4,518 daily bars of 6 symbols on 753 days" in write(tmp_path)
    frame = sample_bars(market)
    assert tuple(frame.columns) == BAR_COLUMNS and set(frame["symbol"]) == set(SAMPLE_SYMBOLS)
    pd.testing.assert_frame_equal(load_bars(tmp_path / market), frame)
    hashes = {backtest("ema_cross", bars, end="2021-04-01").decision_hash for bars in (frame, tmp_path / market)}
    assert len(hashes) == 1


def test_moves_of_the_market_with_an_edge_are_taken_back_and_those_of_noise_are_not() -> None:
    for market, taken_back in SAMPLE_MARKETS.items():
        closes = sample_bars(market).pivot(index="time", columns="symbol", values="close")
        moves = closes.pct_change().dropna()
        found = np.mean([moves[symbol].autocorr() for symbol in moves])
        assert found == pytest.approx(-taken_back, abs=0.05)


def test_an_unknown_market_and_a_file_in_place_of_the_folder_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"^market must be one of pullback, noise, found 'pulback'; did you mean pullback\?$"
    ):
        sample_bars("pulback")
    (tmp_path / "pullback").touch()
    with pytest.raises(BadInput, match=r"^cannot write the sample bars into .*pullback: File exists$"):
        write(tmp_path)

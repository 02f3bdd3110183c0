"""The examples of docs/howto/overfitting.md run, and print what the page shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from dataflows.research.trial_ledger import TrialLedger

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "overfitting.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def run(code: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(code, str(PAGE), "exec"), {})  # noqa: S102 - the page is part of this repository
    return output.getvalue()


def test_the_worked_example_prints_the_output_of_the_page() -> None:
    assert run(blocks("python")[0]) == blocks("text")[0]


def test_the_example_of_the_ledger_records_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(blocks("python")[1]) == ""
    assert TrialLedger(tmp_path / "var" / "trials.sqlite").verify() == 1

"""A dataflow that is started on a removed recovery store names the command that restores it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dataflows.runtime import live_endpoints, shutdown
from schemas.errors import Unavailable


def test_a_removed_store_is_refused_with_the_command_that_restores_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "recovery" / "risk"
    monkeypatch.setattr(sys, "argv", ["bytewax.run", "dataflows.risk", "-r", str(folder), "-s", "1"])
    monkeypatch.setattr(shutdown, "install_signal_handler", lambda: None)
    with pytest.raises(Unavailable) as refusal:
        live_endpoints.connect("risk")
    assert str(refusal.value) == (
        f"the recovery store of risk is missing: {folder} does not exist; "
        "restore the store with `python cli.py rebuild risk`"
    )

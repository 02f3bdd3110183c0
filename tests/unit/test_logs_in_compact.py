"""`logs SERVICE` in the layout `compact`: the log of the process that runs the service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataflows.runtime.topology import Layout
from deploy.commands.logs import logs
from deploy.home import Home
from deploy.supervisor.layout import write_layout


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A platform that ran in `services` first: the log of features is from that time."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    home = Home(tmp_path)
    home.create_folders()
    for number, name in enumerate(("features", "execution", "compact")):
        entry = {"timestamp": f"2024-01-15T14:3{number}:00Z", "level": "info", "event": f"line of {name}"}
        (home.logs / f"{name}.log").write_text(json.dumps(entry) + "\n")
    return home


def test_the_log_of_the_compact_process_is_printed_and_named(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    write_layout(home, Layout.COMPACT, ["execution"])
    logs(["risk-manager"])
    printed = capsys.readouterr()
    assert printed.err == "risk runs in the process compact; its entries are in the log compact\n"
    assert "line of compact" in printed.out and "line of features" not in printed.out
    logs(["features"])
    assert [line.rpartition(" ")[2] for line in capsys.readouterr().out.splitlines()] == ["features", "compact"]
    logs(["execution"])
    printed = capsys.readouterr()
    assert (printed.err, "line of execution" in printed.out, "compact" in printed.out) == ("", True, False)


def test_a_service_of_the_layout_services_has_its_own_log(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    logs(["features"])
    printed = capsys.readouterr()
    assert printed.err == "" and printed.out.splitlines()[0].endswith("line of features")

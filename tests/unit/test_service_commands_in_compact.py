"""`service stop` in the layout `compact` names the process that a service shares with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflows.runtime.topology import COMPACT, Layout
from deploy.commands import platform
from deploy.home import Home
from deploy.supervisor.layout import write_layout
from deploy.supervisor.state import ChildState, ChildStatus, Phase, PlatformState
from schemas.errors import BadInput


@pytest.fixture
def requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The services that the commands stop on a platform with the processes `market_data`, `compact` and `execution`."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    home = Home(tmp_path)
    home.create_folders()
    write_layout(home, Layout.COMPACT, ["execution"])
    names = ("market_data", COMPACT, "execution")
    children = tuple(ChildState(name, "dataflow", ChildStatus.HEALTHY) for name in names)
    state = PlatformState(Phase.RUNNING, "", 1, 0.0, 0.0, children=children)
    monkeypatch.setattr(platform, "running_state", lambda _: state)
    stopped: list[str] = []
    monkeypatch.setattr("deploy.supervisor.control.stop_one", lambda _, name: stopped.append(name))
    return stopped


def test_a_service_of_the_compact_process_is_not_stopped_alone(requests: list[str]) -> None:
    with pytest.raises(BadInput, match=r"^risk runs in the process compact and has none of its own; name compact$"):
        platform.stop_service("risk-manager")
    with pytest.raises(BadInput, match=r"^unknown service 'rsk'; did you mean risk"):
        platform.stop_service("rsk")
    assert requests == []


def test_a_process_is_stopped_by_its_name(requests: list[str]) -> None:
    for name in ("market-data", "compact", "execution"):
        platform.stop_service(name)
    assert requests == ["market_data", "compact", "execution"]

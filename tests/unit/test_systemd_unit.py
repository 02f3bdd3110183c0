"""The systemd unit starts the command that exists, and a killed supervisor does not take the services with it."""

from __future__ import annotations

import shlex
from pathlib import Path

import typer
from typer.testing import CliRunner

from deploy.commands import platform

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "trading-platform.service"


def entries() -> dict[str, str]:
    lines = (line.strip() for line in UNIT.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_unit_starts_the_platform_in_the_foreground_and_leaves_its_services_to_the_supervisor() -> None:
    unit = entries()
    python, script, *arguments = shlex.split(unit["ExecStart"])
    assert (python, script, arguments[-1]) == ("/usr/bin/python3", "cli.py", "$START_OPTIONS")
    # `restart` would end the services that a killed supervisor left.
    assert arguments[:-1] == ["start", "--foreground"]
    app = typer.Typer()
    platform.register(app)
    assert CliRunner().invoke(app, [*arguments[:-1], "--help"]).exit_code == 0
    assert unit["KillMode"] == "process", "systemd would otherwise kill the services with a killed supervisor"
    assert unit["Restart"] == "always"

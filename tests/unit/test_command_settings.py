"""Commands use the settings file of the last start, not the default settings."""

from __future__ import annotations

from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
COMMANDS = sorted([*(DEPLOY / "commands").glob("*.py"), *(DEPLOY / "security").glob("*.py")])


@pytest.mark.parametrize("file", COMMANDS, ids=lambda file: file.name)
def test_a_command_does_not_load_the_default_settings(file: Path) -> None:
    """`load_settings()` without arguments does not know the file of `start --settings`; `platform_settings` does."""
    lines = [number for number, line in enumerate(file.read_text().splitlines(), 1) if "load_settings()" in line]
    assert lines == [], f"{file} must use platform_settings in lines {lines}"

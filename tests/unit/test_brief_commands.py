"""Every command line that the product was asked for is a command with those arguments and options."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from tests.unit.test_docs import COMMANDS

ASKED_FOR = [
    # the first minutes
    ["start", "--build"],
    ["start", "--dev"],
    ["status"],
    ["status", "--detailed"],
    ["logs", "--follow"],
    ["health-check"],
    ["metrics"],
    ["init-db"],
    # the platform and its services
    ["start"],
    ["start", "--build", "--dev"],
    ["stop"],
    ["restart"],
    ["scale", "features", "2"],
    ["logs", "portfolio-manager", "--follow"],
    ["exec", "portfolio-manager", "env"],
    ["exec", "risk", "python", "-c", "print(1)"],
    # the database
    ["migrate"],
    ["backup"],
    ["restore", "backup.tar"],
    # logs
    ["logs", "portfolio-manager", "--level", "INFO"],
    ["logs", "risk-manager", "--level", "ERROR"],
    ["logs", "market-data", "--level", "DEBUG"],
    ["logs", "--search", "order execution"],
    ["logs", "--grep", "ERROR|CRITICAL"],
    ["logs", "--export", "--format", "json", "--output", "logs.json"],
    # development
    ["test"],
    ["test", "--coverage"],
    ["lint"],
    ["format"],
    ["test-env", "setup"],
    ["test-env", "run"],
    ["test-env", "cleanup"],
    ["create-service", "my_new_service"],
    # secrets and security
    ["secrets", "set", "POLYGON_API_KEY", "your_key_here"],
    ["secrets", "get", "POLYGON_API_KEY"],
    ["secrets", "list"],
    ["secrets", "rotate", "ALPACA_API_KEY"],
    ["security", "scan"],
    ["security", "vulnerabilities"],
    ["security", "compliance"],
    ["security", "audit"],
    # performance
    ["performance"],
    ["performance", "analyze"],
    ["performance", "benchmark"],
    ["performance", "profile", "features"],
    ["performance", "optimize"],
]


[UsageError] = typer.BadParameter.__bases__
"""What typer raises for words it does not understand."""


def parsed(words: list[str]) -> list[str]:
    """The words that are left over; raises UsageError where the command would not run with them."""
    command: Any = COMMANDS.commands[words[0]]
    rest = words[1:]
    while rest and hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    if hasattr(command, "commands"):
        assert command.invoke_without_command, f"{' '.join(words)} needs a subcommand"
    left: list[str] = command.make_context(" ".join(words), rest).args
    return left


@pytest.mark.parametrize("words", ASKED_FOR, ids=" ".join)
def test_the_command_line_is_understood(words: list[str]) -> None:
    assert parsed(words) == []


@pytest.mark.parametrize(
    "words", [["status", "--no-such-option"], ["restore"], ["secrets", "set"], ["backup", "a", "b"]]
)
def test_what_nobody_asked_for_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parsed(words)

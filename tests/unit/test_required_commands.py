"""Every command line in the product requirements is a command with those arguments and options."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from tests.unit.test_docs import COMMANDS

REQUIRED_COMMANDS = [
    # getting started
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
"""The exception that Typer raises for unknown arguments."""


def leftover_arguments(arguments: list[str]) -> list[str]:
    """Return the arguments that the command does not parse. Raise UsageError if it cannot run with them."""
    command: Any = COMMANDS.commands[arguments[0]]
    rest = arguments[1:]
    while rest and hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    if hasattr(command, "commands"):
        assert command.invoke_without_command, f"{' '.join(arguments)} needs a subcommand"
    leftover: list[str] = command.make_context(" ".join(arguments), rest).args
    return leftover


@pytest.mark.parametrize("arguments", REQUIRED_COMMANDS, ids=" ".join)
def test_required_command_line_parses(arguments: list[str]) -> None:
    assert leftover_arguments(arguments) == []


@pytest.mark.parametrize(
    "arguments", [["status", "--no-such-option"], ["restore"], ["secrets", "set"], ["backup", "a", "b"]]
)
def test_unknown_options_and_missing_arguments_are_rejected(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        leftover_arguments(arguments)

"""The command `cash` publishes one command with a signed amount, or nothing if the amount is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from configs.settings import load_settings
from deploy.commands import cash
from schemas.errors import BadInput
from schemas.records import Command
from tests.builders import cash_transfer


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Command]:
    """The commands that were published."""
    published: list[Command] = []
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    monkeypatch.setattr("deploy.recovery.recorded_topics.platform_settings", lambda *_: load_settings(environment={}))
    monkeypatch.setattr("deploy.supervisor.service_addresses.use_running_services", lambda _: None)

    def send(_: object, command: Command, *, signer: object, **__: object) -> None:
        assert signer is not None
        published.append(command)

    monkeypatch.setattr("sinks.commands.send", send)
    return published


def run(*arguments: str) -> str:
    app = typer.Typer()
    cash.register(app)
    result = CliRunner().invoke(app, ["cash", *arguments, "--reason", "test"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("arguments", "kind", "amount"),
    [
        (("deposit", "25000"), "DEPOSIT", "25000"),
        (("withdraw", "1250.50"), "WITHDRAWAL", "-1250.5"),
        (("fee", "-12.00"), "FEE", "-12"),
        (("fee", "3"), "FEE", "3"),
        (("interest", "-0.01"), "INTEREST", "-0.01"),
        (("adjust", "-400"), "ADJUSTMENT", "-400"),
    ],
)
def test_a_command_has_the_signed_amount(
    sent: list[Command], arguments: tuple[str, ...], kind: str, amount: str
) -> None:
    assert f"{kind} {amount} USD" in run(*arguments)
    [command] = sent
    assert command.kind == "CASH_TRANSFER" and command.actor.startswith("host:")
    assert command.arguments == {"kind": kind, "amount": amount, "currency": "USD"}


def test_an_adjustment_is_requested_if_the_settings_require_two_persons(
    sent: list[Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(environment={"RISK_MANAGER__APPROVALS": "[reconciliation]"})
    monkeypatch.setattr("deploy.recovery.recorded_topics.platform_settings", lambda *_: settings)
    output = run("adjust", "-400")
    [request] = sent
    assert f"reconcile approve {request.command_id}" in output
    assert request.kind == "RELEASE_REQUESTED"
    assert request.arguments == {"kind": "ADJUSTMENT", "amount": "-400", "currency": "USD"}
    assert "published" in run("deposit", "5"), "a deposit needs one person"


@pytest.mark.parametrize("arguments", [("deposit", "nan"), ("deposit", "0"), ("withdraw", "much"), ("fee", "1e99")])
def test_a_wrong_amount_publishes_nothing(sent: list[Command], arguments: tuple[str, ...]) -> None:
    with pytest.raises(BadInput, match="amount must be a number"):
        run(*arguments)
    assert sent == []


def test_a_transfer_is_described_in_one_line() -> None:
    line = cash.describe(cash_transfer(3, "DEPOSIT", "25000.00")._replace(reference="wire 4711", actor="ann"))
    assert "transfer-3" in line and "DEPOSIT 25000 USD  by command ann: test [wire 4711]" in line

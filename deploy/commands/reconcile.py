"""`reconcile`: show the differences between the platform's and the broker's books, and take over the broker's."""

from __future__ import annotations

import getpass
import json
import time
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.commands.kill_switch import approve_request, publish_release, settings_of_services
from deploy.commands.users import HOST_ACTOR_PREFIX
from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.open_tables import open_tables
from schemas.errors import BadInput

if TYPE_CHECKING:
    from api.reconciliation import ReconciliationReport
    from schemas.records import Command

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_NO_BROKER = "the platform trades on the simulated venue, which has no books of its own"
_POLL_S = 0.25
CASH = "cash"


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Show the differences between the platform's and the broker's books, and take over the broker's.",
        no_args_is_help=True,
    )
    group.command("show")(show)
    group.command("accept")(accept)
    group.command("approve")(approve)
    app.add_typer(group, name="reconcile")


def show(as_json: AsJson = False) -> None:
    """Print the positions and orders that differ. Exit with status 1 if the gateway is not reconciled."""
    report = _read_report()
    is_ready = report.state == "READY"
    print(json.dumps(_as_tree(report), indent=2) if as_json else _as_text(report))
    raise typer.Exit(0 if is_ready and not report.positions and not report.orders else 1)


def accept(
    symbol: Annotated[
        str | None, typer.Argument(help="Symbol whose position at the broker is taken over, or `cash`.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Take over all positions that differ.")] = False,
    reason: Annotated[str, typer.Option(help="Reason. It is stored with the command and in the audit trail.")] = "",
    price: Annotated[
        str | None, typer.Option(help="Price per unit of the change. The default is the broker's average entry price.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.0, max=300.0, help="Seconds to wait for the gateway.")] = 15.0,
) -> None:
    """Adjust the books to the broker's position, in the next time slice.

    The gateway books it only if neither side has changed since, and stays unreconciled until the broker's next account
    snapshot matches. With `risk_manager.approvals`, a second person must approve it.
    """
    from api.problems import Conflict, NotFound
    from api.reconciliation import accept_differences, describe
    from api.release_approvals import or_request
    from schemas.records import ACCEPT_POSITION
    from sinks.commands import new_command

    if (symbol is None) is not every:
        raise BadInput("reconcile accept needs either a symbol or --all")
    if not reason.strip():
        raise BadInput("reconcile accept needs --reason TEXT")
    if symbol == CASH:
        _accept_cash(reason, price)
        return
    home = home_from_environment()
    settings = settings_of_services(home)
    try:
        differences = accept_differences(_read_report(), symbol, _parse_price(price))
    except (Conflict, NotFound) as error:
        raise DeployError(str(error)) from error
    commands = []
    for difference in differences:
        command = or_request(
            new_command(
                ACCEPT_POSITION,
                actor=HOST_ACTOR_PREFIX + getpass.getuser(),
                reason=reason,
                arguments=difference.arguments(),
            ),
            settings.risk_manager.approvals,
        )
        publish_release(home, settings, command)
        print(describe(difference))
        if command.kind == ACCEPT_POSITION:
            print(f"published {command.command_id}; the gateway books it in the next time slice")
            commands.append(command)
        else:
            _print_request(command)
    _wait_for_outcomes(commands, timeout)


def _accept_cash(reason: str, price: str | None) -> None:
    """Book the difference of cash as a transfer of the kind ADJUSTMENT, or request it."""
    from api.release_approvals import or_request
    from operators.money import plain
    from schemas.records import CASH_TRANSFER
    from sinks.commands import new_command

    if price is not None:
        raise BadInput("--price applies to positions, not to cash")
    home = home_from_environment()
    settings, cash = settings_of_services(home), _read_report().cash
    if cash is None:
        raise DeployError("the platform's cash equals the broker's; there is nothing to accept")
    actor = HOST_ACTOR_PREFIX + getpass.getuser()
    transfer = new_command(CASH_TRANSFER, actor=actor, reason=reason, arguments=cash.arguments())
    command = or_request(transfer, settings.risk_manager.approvals)
    publish_release(home, settings, command)
    print(f"cash: {plain(cash.platform)} here, {plain(cash.broker)} at the broker")
    if command is not transfer:
        _print_request(command)
        return
    print(f"published {command.command_id}; the books apply it in the next time slice")


def _print_request(request: Command) -> None:
    name = request.command_id
    print(f"requested {name}; another person must approve it: reconcile approve {name}")


def approve(
    request_id: Annotated[
        str, typer.Argument(help="Id of the request, as `reconcile accept` and `cash adjust` print it.")
    ],
) -> None:
    """Approve another person's request to take over a position or cash."""
    approve_request(request_id, HOST_ACTOR_PREFIX + getpass.getuser())


def _parse_price(text: str | None) -> Decimal | None:
    from operators.adjustments import parse_signed

    if text is None:
        return None
    price = parse_signed(text)
    if price is None or price <= 0:
        raise BadInput(f"--price must be a number above 0 with at most 9 decimals, found {text!r}")
    return price


def _read_report() -> ReconciliationReport:
    from api.reconciliation import reconciliation_report

    with open_tables(home_from_environment()) as (settings, db):
        if settings.execution.broker == "simulated":
            raise DeployError(_NO_BROKER)
        return reconciliation_report(db, settings.execution.alpaca.foreign_positions)


def _wait_for_outcomes(commands: list[Command], timeout_s: float) -> None:
    """Print what became of each command. Raises DeployError if the gateway did not book one."""
    from sqlalchemy import select

    from operators.adjustments import adjustment_order_id
    from schemas.records import REJECTED
    from sinks.database import open_engine
    from sinks.tables import executions

    if not commands or not timeout_s:
        return
    settings = settings_of_services(home_from_environment())
    pending = {adjustment_order_id(command.command_id): command for command in commands}
    deadline, refused = time.monotonic() + timeout_s, []
    engine = open_engine(settings.database.postgres.url, pool_size=1)
    try:
        while pending and time.monotonic() < deadline:
            with closing(engine.connect()) as db:
                rows = db.execute(select(executions).where(executions.c.order_id.in_(pending))).all()
            for row in rows:
                del pending[row.order_id]
                print(f"{row.execution_id}: {row.text}")
                refused += [row.text] if row.exec_type == REJECTED else []
            if pending:
                time.sleep(_POLL_S)
    finally:
        engine.dispose()
    if refused:
        raise DeployError(refused[0])
    if pending:
        names = ", ".join(command.command_id for command in pending.values())
        raise DeployError(f"the gateway has not processed {names} within {timeout_s:g} s; it will when it runs")


def _as_tree(report: ReconciliationReport) -> dict[str, object]:
    from operators.money import plain

    positions = [
        {name: plain(value) if isinstance(value, Decimal) else value for name, value in one._asdict().items()}
        for one in report.positions
    ]
    cash = None if report.cash is None else {name: plain(value) for name, value in report.cash._asdict().items()}
    return {**report._asdict(), "positions": positions, "orders": list(report.orders), "cash": cash}


def _as_text(report: ReconciliationReport) -> str:
    from operators.money import plain

    lines = [f"gateway {report.state or 'UNKNOWN'}: {report.reason}"]
    if report.account_ns is not None:
        lines.append(
            f"broker's account at {datetime.fromtimestamp(report.account_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC"
        )
    if report.positions:
        lines.append(f"{'symbol':<10}{'platform':>16}{'broker':>16}{'average price':>16}")
    for one in report.positions:
        price = "-" if one.average_price is None else plain(one.average_price)
        sides = f"{plain(one.platform_quantity):>16}{plain(one.broker_quantity):>16}"
        lines.append(f"{one.symbol:<10}{sides}{price:>16}")
    lines += report.orders
    if report.cash is not None:
        lines.append(f"cash: {plain(report.cash.platform)} here, {plain(report.cash.broker)} at the broker")
    if not report.positions and not report.orders:
        lines.append("positions and open orders match")
    elif report.positions:
        lines.append("take over the broker's position: reconcile accept SYMBOL --reason TEXT")
    return "\n".join(lines)

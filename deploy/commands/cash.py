"""`cash`: record deposits, withdrawals and other cash transfers, and list them."""

from __future__ import annotations

import getpass
import json
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.home import home_from_environment
from schemas.errors import BadInput

if TYPE_CHECKING:
    from schemas.records import CashTransfer, CashTransferKind

Amount = Annotated[str, typer.Argument(help="Positive amount in the account currency, such as 25000 or 1250.50.")]
SignedAmount = Annotated[
    str, typer.Argument(help="Amount in the account currency: positive into the account, negative out of it.")
]
Reason = Annotated[str, typer.Option(help="Reason. It is stored with the command and with the transfer.")]
Reference = Annotated[str, typer.Option(help="Your own reference, such as the number of a bank transfer.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Number of transfers to print, newest first.")]
_NEGATIVE = {"ignore_unknown_options": True}  # so that a negative amount is not parsed as an option


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Record deposits, withdrawals and other cash transfers, and list them. No money moves at a broker.",
        no_args_is_help=True,
    )
    group.command("deposit", help="Record a deposit. The books apply it in the next time slice.")(deposit)
    group.command("withdraw", help="Record a withdrawal. The books apply it in the next time slice.")(withdraw)
    group.command(
        "fee",
        help="Record a fee that no execution includes; a positive amount is a refund. It counts as performance.",
        context_settings=_NEGATIVE,
    )(fee)
    group.command(
        "interest",
        help="Record interest of the broker; a negative amount is a charge. It counts as performance.",
        context_settings=_NEGATIVE,
    )(interest)
    group.command(
        "adjust",
        help="Book the amount by which the broker's cash differs from the books. It counts as a deposit or withdrawal. "
        "With risk_manager.approvals, a second person must approve it.",
        context_settings=_NEGATIVE,
    )(adjust)
    group.command("list", help="List the cash transfers, newest first.")(list_transfers)
    app.add_typer(group, name="cash")


def deposit(amount: Amount, reason: Reason, reference: Reference = "") -> None:
    _record("DEPOSIT", amount, reason, reference)


def withdraw(amount: Amount, reason: Reason, reference: Reference = "") -> None:
    _record("WITHDRAWAL", amount, reason, reference)


def fee(amount: SignedAmount, reason: Reason, reference: Reference = "") -> None:
    _record("FEE", amount, reason, reference)


def interest(amount: SignedAmount, reason: Reason, reference: Reference = "") -> None:
    _record("INTEREST", amount, reason, reference)


def adjust(amount: SignedAmount, reason: Reason, reference: Reference = "") -> None:
    _record("ADJUSTMENT", amount, reason, reference)


def list_transfers(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Print the transfers. Works also without the supervisor."""
    from sqlalchemy import desc, select

    from deploy.open_tables import open_tables
    from operators.money import plain
    from schemas.records import CashTransfer
    from sinks.record_tables import record_of
    from sinks.tables import cash_transfers

    with open_tables(home_from_environment()) as (_, db):
        query = select(cash_transfers).order_by(desc(cash_transfers.c.seq)).limit(limit)
        transfers = [record_of(CashTransfer, row) for row in db.execute(query).mappings()]
    if as_json:
        print(json.dumps([one._asdict() for one in transfers], default=plain, indent=2))
    for line in [] if as_json else map(describe, transfers):
        print(line)
    if not transfers and not as_json:
        print("no cash transfers")


def describe(transfer: CashTransfer) -> str:
    """Describe a transfer in one line."""
    from deploy.time_arguments import format_ns
    from operators.money import plain

    amount = f"{plain(transfer.amount)} {transfer.currency}"
    reference = f" [{transfer.reference}]" if transfer.reference else ""
    origin = f"{transfer.source.lower()} {transfer.actor}"
    return (
        f"{transfer.transfer_id}  {format_ns(transfer.ts_ns)}  {transfer.kind} {amount}  by {origin}: "
        f"{transfer.reason}{reference}"
    )


def _record(kind: CashTransferKind, text: str, reason: str, reference: str) -> None:
    """Publish the command. Raises BadInput for an invalid amount, Unavailable if Kafka does not respond."""
    from api.release_approvals import or_request
    from configs.command_signing import command_signer
    from deploy.commands.users import HOST_ACTOR_PREFIX
    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.service_addresses import use_running_services
    from operators.cash_transfers import parse_transfer, transfer_arguments
    from operators.money import plain
    from schemas.records import CASH_TRANSFER
    from sinks.commands import new_command, send
    from sinks.signing_keys import COMMAND_LINE

    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise BadInput(f"amount must be a number, found {text!r}") from None
    home = home_from_environment()
    use_running_services(home)
    settings = platform_settings(home, {})
    currency = settings.portfolio_manager.currency
    arguments = transfer_arguments(kind, amount, currency, reference)
    actor = HOST_ACTOR_PREFIX + getpass.getuser()
    transfer = new_command(CASH_TRANSFER, actor=actor, reason=reason, arguments=arguments)
    terms = parse_transfer(transfer, currency)
    command, kafka = or_request(transfer, settings.risk_manager.approvals), settings.kafka
    send(kafka.cluster, command, prefix=kafka.topic_prefix, signer=command_signer(COMMAND_LINE))
    if command is not transfer:
        request = command.command_id
        print(
            f"requested {request}: {kind} {plain(terms.amount)} {currency}; another person must approve it: "
            f"reconcile approve {request}"
        )
        return
    print(
        f"published {command.command_id}: {kind} {plain(terms.amount)} {currency}; the books apply it in the next "
        "time slice"
    )

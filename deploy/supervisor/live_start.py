"""What `start` requires before live trading, beyond the checks of the gateway itself: books, account, alert address.

Everything is checked before anything trades, and all findings are one message. Paper and simulated trading need none of
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from configs.alerts import CRITICAL
from dataflows.broker.live_preconditions import (
    kafka_problems,
    live_trading_problem,
    settings_problems,
    substitute_problems,
)
from deploy.errors import DeployError
from deploy.home import Home
from operators.gateway.reconciliation import describe_differences
from operators.money import ZERO
from schemas.errors import BadInput, Unavailable
from sinks.host_kill_switch import HostKillSwitch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from configs.settings import Settings
    from deploy.local.endpoints import Endpoints
    from deploy.verification.verdict import VerificationResult
    from schemas.records import BrokerAccount

_VERIFY_WAIT_S = 10.0
_FINDINGS_SHOWN_MAX = 3
_UNDER_HALT = "switch the kill switch on to start without trading, and repair it then"


class RecordedAccount(NamedTuple):
    """What the tables expect at the broker: signed units by symbol, and the symbol of each order that has not ended."""

    positions: Mapping[str, Decimal]
    symbols_by_open_order: Mapping[str, str]


def require_live_start(
    home: Home,
    settings: Settings,
    *,
    new_platform: bool,
    degraded: Sequence[str] = (),
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Raise DeployError with all findings, if the settings trade real money and a precondition is missing.

    `degraded`: why Kafka is replaced by its substitute. A `new_platform` has no books to verify. While the kill switch
    is on, findings about the books and the account are only reported, so that the services can repair them.
    """
    if settings.execution.mode != "live":
        return
    problems = [*substitute_problems(degraded), *settings_problems(settings)]
    problems += [] if degraded else kafka_problems(settings.kafka)
    problems += alert_problems(settings)
    books = [] if degraded or new_platform else read_verify_problems(home, settings)
    books += [] if degraded else read_account_problems(settings, new_platform=new_platform)
    if HostKillSwitch(home.run).halt() is not None:
        for problem in books:
            report(f"live trading is halted by the kill switch: {problem}")
        books = []
    if problems or books:
        raise DeployError(live_trading_problem([*problems, *books]))


def check_live_start(home: Home, settings: Settings, endpoints: Endpoints, report: Callable[[str], None]) -> bool:
    """Check a platform before any of its processes starts. Embedded servers run only for the check.

    Returns False if `initialize` must check, because live trading is off or the tables need a migration first.
    Raises DeployError.
    """
    if settings.execution.mode != "live":
        return False
    if endpoints.substitute_kafka:
        require_live_start(home, settings, new_platform=True, degraded=endpoints.degraded)
    from deploy.backup.servers import started_servers
    from deploy.supervisor.migrate import has_newest_schema
    from deploy.supervisor.state_check import check_state

    report("checking the preconditions of live trading")
    with started_servers(home, report) as running:
        contents = check_state(home, running)
        if not contents.empty and not has_newest_schema(running.database.postgres.url):
            return False
        require_live_start(home, running, new_platform=contents.empty, report=report)
    return True


# -- the books ---------------------------------------------------------------------------------------------------------


def verify_problems(verdict: VerificationResult) -> list[str]:
    """Return what `verify` found, as one sentence. The account is compared with the broker itself, not by `verify`."""
    failed = [check for check in verdict.checks if check.difference is not None and check.name != "broker"]
    # Without the topics, most checks are missing.
    not_compared = [check.note for check in verdict.checks if check.name == "topics" and check.note]
    if not failed:
        return [f"`verify` could not compare the topics: {note}" for note in not_compared]
    shown = "; ".join(f"{check.name}: {check.difference}" for check in failed[:_FINDINGS_SHOWN_MAX])
    more = f"; and {len(failed) - _FINDINGS_SHOWN_MAX} more" if len(failed) > _FINDINGS_SHOWN_MAX else ""
    return [
        f"`verify` found differences in the books ({shown}{more}); restore a backup or run `python cli.py rebuild`, or "
        f"{_UNDER_HALT}"
    ]


def read_verify_problems(home: Home, settings: Settings) -> list[str]:
    """Run every check of `verify` on the stored books, from the first record on: real money trusts no checkpoint."""
    import psycopg2

    from deploy.commands.verify import check_all

    try:
        verdict = check_all(
            settings, home, audit=False, heads=None, since_ns=None, wait_s=_VERIFY_WAIT_S, from_start=True
        )
    except (psycopg2.Error, Unavailable, BadInput) as error:
        return [f"`verify` failed: {_first_line(error)}; repair what it names"]
    return verify_problems(verdict)


# -- the account -------------------------------------------------------------------------------------------------------


def account_problems(account: BrokerAccount, books: RecordedAccount, foreign: Mapping[str, Decimal]) -> list[str]:
    """Compare the broker's account with the books, except symbols with an order whose end the books do not know yet.

    The gateway learns the reports of those orders when it starts, and sends no order before its own comparison agrees.
    `foreign` are signed units on the account that are not the platform's.
    """
    pending = set(books.symbols_by_open_order.values())
    expected = {
        symbol: books.positions.get(symbol, ZERO) + foreign.get(symbol, ZERO)
        for symbol in {*books.positions, *foreign} - pending
    }
    at_broker = {symbol: text for symbol, text in account.positions.items() if symbol not in pending}
    difference = describe_differences(
        account._replace(positions=at_broker), expected, dict.fromkeys(books.symbols_by_open_order, False)
    )
    if not difference:
        return []
    return [
        f"the account is not reconciled ({difference}); correct the account at the broker, set "
        f"execution.alpaca.foreign_positions for positions that are not the platform's, or {_UNDER_HALT}"
    ]


def read_account_problems(settings: Settings, *, new_platform: bool) -> list[str]:
    """Request the account from the broker, and compare it with the tables."""
    import psycopg2

    from dataflows.broker.alpaca_api import AlpacaApi
    from dataflows.broker.broker_errors import BrokerRejected, BrokerThrottled, BrokerUncertain
    from dataflows.broker.broker_setup import platform_id
    from dataflows.broker.updates import OrderIdPrefix, account_record

    execution = settings.execution
    try:
        key, secret = settings.alpaca.keys()
        paper, timeout_s = execution.mode == "paper", execution.alpaca.request_timeout_s
        snapshot = AlpacaApi(key, secret, paper=paper, url=settings.alpaca.url, timeout_s=timeout_s).account_snapshot()
        prefix = OrderIdPrefix("" if new_platform else platform_id(settings) + "-")
        books = RecordedAccount({}, {}) if new_platform else read_recorded_account(settings.database.postgres.url)
    except (BrokerRejected, BrokerThrottled, BrokerUncertain) as error:
        return [f"the broker did not report its account: {error}; check the keys and the connection"]
    except (psycopg2.Error, Unavailable, BadInput) as error:
        return [f"the account cannot be compared with the books: {_first_line(error)}; repair what it names"]
    problems = []
    if snapshot.account_number != execution.live_account:
        problems.append(
            f"the keys belong to account {snapshot.account_number}, but execution.live_account is "
            f"{execution.live_account}; use the keys of the account, or name the account of the keys"
        )
    account = account_record(snapshot, prefix, time.time_ns())
    if new_platform:
        account = account._replace(open_orders={})  # of other programs, or of an earlier platform
    return [*problems, *account_problems(account, books, execution.alpaca.foreign_positions)]


def read_recorded_account(database_url: str) -> RecordedAccount:
    """Read positions and orders without an end. Raises psycopg2.Error and Unavailable."""
    from dataflows.broker.broker_setup import load_open_intents
    from deploy.verification.ledger_tables import snapshot_connection

    with closing(snapshot_connection(database_url)) as db, db.cursor() as cursor:
        cursor.execute("SELECT symbol, quantity FROM positions WHERE quantity <> 0")
        positions: dict[str, Decimal] = dict(cursor.fetchall())
    intents, _ = load_open_intents(database_url, retry_s=5.0)
    return RecordedAccount(positions, {intent.client_order_id: intent.terms.symbol for intent in intents})


# -- the alert address -------------------------------------------------------------------------------------------------


def alert_problems(settings: Settings) -> list[str]:
    """Send a message to each channel of critical alerts that has an address. Return the failures."""
    from api.alerting.channels import AlertChannels
    from api.alerting.outbox import Message

    try:
        channels = AlertChannels(settings.alerts)
    except BadInput as error:
        return [f"{error}; set it with `python cli.py secrets set`"]
    problems = []
    for channel in settings.alerts.channels:
        if not channel.accepts(CRITICAL) or not channels.address_count(channel.name):
            continue
        message = Message(
            delivery_id=f"live-start/{channel.name}",
            channel=channel.name,
            severity="info",
            title="info: live trading starts",
            body=f"Live trading on account {settings.execution.live_account} is about to start. No action is required.",
            attempts=0,
        )
        error_text = channels.send(message)
        if error_text is not None:
            problems.append(
                f"alert channel {channel.name} did not accept a test message: {error_text}; check it with "
                "`python cli.py alerts test`"
            )
    return problems


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

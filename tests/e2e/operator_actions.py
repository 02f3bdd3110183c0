"""What an operator does on a running platform, for the end-to-end tests: queries, orders by hand, the kill switch."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2

from tests.e2e.cli_platform import CliPlatform

SUBMIT = """
import sys
from configs.command_signing import command_signer
from configs.settings import load_settings
from sinks.commands import new_command, send
kafka = load_settings().kafka
terms = {"symbol": "AAPL", "side": "BUY", "quantity": sys.argv[1], "order_type": "MARKET"}
command = new_command("SUBMIT_ORDER", actor="test", reason="test", arguments=terms)
signer = None if sys.argv[2:] == ["unsigned"] else command_signer("command-line")
send(kafka.cluster, command, prefix=kafka.topic_prefix, signer=signer)
"""


def query(platform: CliPlatform, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(platform.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def buy(platform: CliPlatform, quantity: int) -> None:
    """Submit a market order by hand, and wait until the venue has filled it. Use each quantity once."""
    platform.run("exec", "api", "python", "-c", SUBMIT, str(quantity))
    filled = "SELECT 1 FROM executions WHERE symbol = 'AAPL' AND exec_type = 'TRADE' AND quantity = %s"
    wait_for(lambda: query(platform, filled, quantity), f"the order of {quantity} shares is filled")


def switch(platform: CliPlatform, position: str, state: str) -> None:
    """Turn the kill switch on or off, and wait until the newest fence in the database has this state."""
    platform.run("kill-switch", position, "--reason", "test")
    newest = "SELECT state FROM risk_fences ORDER BY seq DESC LIMIT 1"
    wait_for(lambda: query(platform, newest) == [(state,)], f"the newest fence is {state}")

"""The kill switch on a host whose gateway runs on another one: the flag is not enough, so nothing is confirmed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from deploy.home import Home
from deploy.host_halt import halt
from sinks.database import libpq_url
from sinks.host_kill_switch import new_halt_command
from sinks.leases import ServiceLease
from tests.unit.alpaca_broker import local_broker


@pytest.mark.parametrize(
    ("holder", "state", "is_safe"), [("elsewhere process 1", "PENDING", False), (None, "NOT_RUNNING", True)]
)
def test_a_gateway_on_another_host_is_no_confirmation(
    make_database: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    holder: str | None,
    state: str,
    is_safe: bool,
) -> None:
    url, home = make_database(), Home(tmp_path)
    home.create_folders()
    lease = ServiceLease(url, "execution", timeout_s=0.3)
    lease.acquire()
    if holder is not None:
        with closing(psycopg2.connect(libpq_url(url))) as connection:
            connection.autocommit = True
            connection.cursor().execute("UPDATE service_leases SET holder = %s", (holder,))
    with local_broker() as server:
        for name, value in {
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
            "DATABASE_URL": url,
            "EXECUTION__BROKER": "alpaca",
            "EXECUTION__ALPACA__PLATFORM_ID": "p",
            "ALPACA__URL": server.url,
        }.items():
            monkeypatch.setenv(name, value)
        # The lease may be older than the start of the broker: renew it, as its holder does every second.
        lease.require_lease()
        outcome = halt(home, new_halt_command("ann", "test"), 1.0)
    lease.release()
    assert (outcome.gateway, outcome.safe) == (state, is_safe), outcome
    assert any("runs on another host (elsewhere process 1)" in problem for problem in outcome.problems) is not is_safe

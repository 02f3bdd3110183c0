"""The lease of a service in PostgreSQL: one holder, an epoch that rises, and outages of the database."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg2
import pytest

from deploy.home import REPOSITORY
from schemas.errors import Unavailable
from sinks.database import libpq_url
from sinks.leases import LeaseLost, ServiceLease


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    return make_database()


@pytest.fixture
def lease(url: str) -> Iterator[ServiceLease]:
    lease = ServiceLease(url, "market_data", timeout_s=0.3)
    lease.acquire()
    yield lease
    lease.release()


def end_connections(url: str) -> None:
    """End all other connections, as a restart of PostgreSQL does. Returns when their locks are released."""
    with closing(psycopg2.connect(libpq_url(url))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_second_process_does_not_get_the_lease_and_learns_the_holder(url: str, lease: ServiceLease) -> None:
    with pytest.raises(Unavailable, match=r"the lease of market_data is held by .* process \d+; only one process may"):
        ServiceLease(url, "market_data", timeout_s=0.3).acquire()
    other_service = ServiceLease(url, "execution", timeout_s=0.3)
    assert other_service.acquire() == 1
    other_service.release()
    assert lease.require_lease()


def test_a_lease_outlives_the_end_of_its_connection_if_nobody_took_it(url: str, lease: ServiceLease) -> None:
    end_connections(url)
    assert not lease.require_lease(), "the loss of the connection leaves it unknown"
    assert lease.require_lease()
    assert lease.epoch == 1
    with pytest.raises(Unavailable, match="is held by"):
        ServiceLease(url, "market_data", timeout_s=0.3).acquire()


def test_a_former_holder_recognizes_that_its_lease_was_taken(url: str, lease: ServiceLease) -> None:
    end_connections(url)
    successor = ServiceLease(url, "market_data", timeout_s=60)
    assert successor.acquire() == 2
    assert not lease.require_lease()
    with pytest.raises(LeaseLost, match=r"the lease of market_data \(epoch 1\) was taken by .*; this process stops"):
        lease.require_lease()
    assert successor.require_lease()
    successor.release()


def test_without_postgres_the_state_of_the_lease_is_undetermined(url: str, lease: ServiceLease) -> None:
    end_connections(url)
    lease._url = "postgresql://nobody@127.0.0.1:1/none"
    assert [lease.require_lease() for _ in range(3)] == [False] * 3


def test_a_process_that_lost_its_lease_ends_with_one_sentence(url: str) -> None:
    program = (
        "import sys, time; from configs import logs; from sinks.leases import ServiceLease; logs.configure('test');"
        "lease = ServiceLease(sys.argv[1], 'market_data'); lease.acquire(); lease.watch(); print('held', flush=True);"
        "time.sleep(600)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, url],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        successor = ServiceLease(url, "market_data", timeout_s=60)
        deadline = time.monotonic() + 300
        while successor.epoch < 2 and time.monotonic() < deadline:
            end_connections(url)
            try:
                successor.acquire()
            except (Unavailable, psycopg2.Error):
                successor.release()
        _, errors = holder.communicate(timeout=300)
        assert holder.returncode == 1
        assert "the lease of market_data (epoch 1) was taken by" in errors.splitlines()[-1]
        successor.release()
    finally:
        holder.kill()
        holder.wait()

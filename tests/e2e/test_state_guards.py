"""State that is missing, old or of another platform stops a start; its repair continues exactly where the log ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.home import REPOSITORY
from tests.e2e.cli_platform import CliPlatform
from tests.e2e.operator_actions import buy, query, switch

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def platform(services_platform: CliPlatform) -> CliPlatform:
    return services_platform


def second_process_error(platform: CliPlatform, service: str, store: Path) -> str:
    """Start a second process of a service by hand. Return its standard error after it has ended."""
    addresses = {
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{platform.ports.kafka}",
        "DATABASE_URL": platform.database_url,
    }
    second = subprocess.run(
        [sys.executable, "-m", "bytewax.run", f"dataflows.{service}", "-r", str(store), "-s", "1", "-b", "0"],
        cwd=REPOSITORY,
        env={**os.environ, **platform.environment, **addresses},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert second.returncode != 0
    return second.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("**/part-*.sqlite3")}


def test_a_removed_store_stops_the_start_and_its_rebuild_continues_the_log(platform: CliPlatform) -> None:
    buy(platform, 7)
    switch(platform, "on", "HALTED")
    switch(platform, "off", "ACTIVE")
    store = platform.home.recovery / "risk"
    assert f"recovery store {store} is in use by process" in second_process_error(platform, "risk", store)
    # With a copy of the store, as on another machine, the lease in PostgreSQL stops a second feed.
    copy = platform.home.root / "copy"
    shutil.copytree(platform.home.recovery / "market_data", copy)
    assert "the lease of market_data is held by" in second_process_error(platform, "market_data", copy)
    platform.run("stop")
    before = contents(platform.home.recovery)

    # Options that the state does not belong to, and a substitute for Kafka: refused, and nothing is touched.
    assert "feed 'simulator' and cannot continue with 'files'" in platform.run_error(
        "start", "--feed", "files", "--bars", str(REPOSITORY / "pyproject.toml"), status=1
    )
    assert "broker 'simulated' and cannot continue with 'local-alpaca'" in platform.run_error(
        "start", "--broker", "local-alpaca", "--feed", "simulator", status=1
    )
    assert "its in-memory substitute is not allowed" in platform.run_error("start", status=1, KAFKA_HOME="/nowhere")
    assert contents(platform.home.recovery) == before

    shutil.rmtree(store)
    assert platform.run_error("start", status=1).startswith(
        "the recovery store of risk is missing, but topic orders holds its records; restore the store with "
        "`python cli.py rebuild risk`"
    )
    assert not store.exists()
    output = platform.run("rebuild", "risk")
    assert "risk continues at the next start from the end of its topics" in output

    platform.run("start")
    assert "features continues now from the end of its topics" in platform.run("rebuild", "features")
    switch(platform, "on", "HALTED")
    switch(platform, "off", "ACTIVE")
    buy(platform, 11)
    [(fences, epochs)] = query(platform, "SELECT count(*), count(DISTINCT epoch) FROM risk_fences")
    assert fences == epochs == 4
    platform.run("stop")
    assert "the replay equals the recording" in platform.run("replay-check")

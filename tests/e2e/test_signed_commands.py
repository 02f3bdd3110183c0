"""A forged command that is written directly to Kafka places no order, and is reported, on the shared platform."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.e2e.cli_platform import CliPlatform
from tests.e2e.operator_actions import SUBMIT, buy, query, switch, wait_for

REJECTED = "SELECT reason FROM dead_letters WHERE topic = 'commands' AND stage = %s AND reason LIKE 'signature: %%'"
ORDERS = "SELECT count(*) FROM orders WHERE quantity = %s"
READERS = ("execution", "strategies", "portfolio", "risk", "signals")


def current_keys(platform: CliPlatform) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = platform.run_json("security", "keys", "list")["keys"]
    return [key for key in keys if key["state"] == "current"]


@pytest.mark.timeout(600)
def test_forged_commands_reach_the_dead_letters_and_place_no_order(simulator_platform: CliPlatform) -> None:
    platform = simulator_platform
    # Services store the key records at the first clock.
    wait_for(lambda: len(current_keys(platform)) == 5, "the keys are in the table")
    keys = current_keys(platform)
    assert {key["writer"] for key in keys} == {
        "root",
        "api",
        "command-line",
        "market_data",
        "execution",
    }
    platform.run("exec", "api", "python", "-c", SUBMIT, "13", "unsigned")
    for service in READERS:
        wait_for(partial(query, platform, REJECTED, service), f"{service} rejects the forged command")
    assert "no signature" in query(platform, REJECTED, "risk")[0][0]
    assert platform.run_json("security", "audit", "--who", "unverified")

    # A signed order that follows it is executed, so that the forged one had its chance.
    buy(platform, 17)
    assert query(platform, ORDERS, 13) == [(0,)]
    switch(platform, "on", "HALTED")
    switch(platform, "off", "ACTIVE")

    # Rotated while the platform runs: the next commands of this writer have the new key.
    rotated = platform.run_json("security", "keys", "rotate", "command-line", "--overlap", "0")
    buy(platform, 19)
    current = {key["key_id"]: key["state"] for key in platform.run_json("security", "keys", "list")["keys"]}
    assert current[rotated["key_id"]] == "current"
    assert current[rotated["revoked"]] == "revoked"
    [command_id] = [row[0] for row in query(platform, "SELECT cause_id FROM orders WHERE quantity = 19")]
    assert platform.run_json("explain", command_id)["signers"] == {rotated["key_id"]: "command-line"}

    [signatures] = [c for c in platform.verify()["checks"] if c["name"] == "signatures of commands"]
    assert signatures["difference"] is None
    assert signatures["records"] > len(keys)

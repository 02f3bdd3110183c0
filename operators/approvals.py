"""A second person for releases: with `approvals: [releases]`, one person requests a release and another approves it.

The request is a command RELEASE_REQUESTED, which changes nothing. The approval is the release itself, by the second
person, with the first one in its arguments. Risk ignores every release that does not name two persons.

Taking over the broker's position (`ACCEPT_POSITION`) or cash (a `CASH_TRANSFER` of the kind ADJUSTMENT) ends a block of
trading like a release, so it also needs a second person. With `approvals: [reconciliation]`, only these commands do.
The gateway, and for cash also the simulated venue, ignores such a command if it does not name two persons.

The resume of a suspended strategy (`RESUME_STRATEGY`) is a release, which the strategies and signals services check. So
is closing the positions of a suspended or removed strategy (`FLATTEN_STRATEGY`), which the strategies service checks.

A change of the configuration at run time needs a second person with any value of `approvals`, because it can change the
limits that the other values protect. With `approvals: [configuration]`, only such a change does. Its approval is the
record `Configuration`, which names both persons; the readers of the log check it (`operators/configuration_chain.py`).

A command REQUEST_REJECTED ends a request. It changes nothing else.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from schemas.records import (
    ACCEPT_POSITION,
    ADJUSTMENT,
    CASH_TRANSFER,
    FLATTEN_STRATEGY,
    HALTED,
    RELEASE,
    RESUME_STRATEGY,
    Command,
)

SET_BREAKER: Final = "SET_BREAKER"
"""The command that sets a circuit breaker (`operators/risk/commands.py`)."""
RELEASES: Final = "releases"
RECONCILIATION: Final = "reconciliation"
RELEASE_REQUESTED: Final = "RELEASE_REQUESTED"
REQUEST_REJECTED: Final = "REQUEST_REJECTED"
CONFIGURE: Final = "CONFIGURE"
"""A change of the configuration: the kind in its request. It is not published as a command of its own."""
REQUESTED_BY: Final = "requested_by"
REQUEST_ID: Final = "request_id"
_OTHERS = (ACCEPT_POSITION, RESUME_STRATEGY, FLATTEN_STRATEGY)


def is_release(command: Command) -> bool:
    """Whether a command may loosen a halt. Every state of a breaker except HALTED counts, because it may follow one.

    >>> is_release(Command("cmd-1", 0, SET_BREAKER, "ann", "", {"state": "REDUCING"}))
    True
    """
    return command.kind == RELEASE or (command.kind == SET_BREAKER and command.arguments.get("state") != HALTED)


def is_adjustment_of_cash(command: Command) -> bool:
    """Whether a command takes over a difference from the broker's cash."""
    return command.kind == CASH_TRANSFER and command.arguments.get("kind") == ADJUSTMENT


def grants_approval(command: Command) -> bool:
    """Whether a command is of a kind that a second person can approve."""
    return is_release(command) or command.kind in _OTHERS or is_adjustment_of_cash(command)


def lacks_approval(command: Command, approvals: Container[str]) -> bool:
    """Whether a command needs a second person and names none: a release, or the acceptance of a position or cash."""
    is_acceptance = command.kind == ACCEPT_POSITION or is_adjustment_of_cash(command)
    needs_approval = (RELEASES in approvals and grants_approval(command)) or (
        RECONCILIATION in approvals and is_acceptance
    )
    if not needs_approval:
        return False
    requester = person_of(command.arguments.get(REQUESTED_BY, ""))
    return requester in ("", person_of(command.actor))


def person_of(actor: str) -> str:
    """Return the name of the person behind an actor: a user of the API and of the host with one name are one person.

    >>> person_of("host:ann"), person_of("ann")
    ('ann', 'ann')
    """
    return actor.removeprefix("host:")

"""Halt and release trading with the flag of this host (`sinks/host_kill_switch.py`), if the API runs on it.

Without a state folder, as in a container of its own, only the command in the log counts.
"""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from typing import Literal, NamedTuple

import structlog

from api.resources import Resources
from schemas.errors import Unavailable
from schemas.records import RELEASE, Command
from sinks.host_kill_switch import HostKillSwitch, is_confirmed

log = structlog.get_logger(__name__)

CONFIRM_TIMEOUT_S = 2.0


class HostHaltResult(NamedTuple):
    """`gateway` is None if no gateway ever ran on this host."""

    gateway: Literal["CONFIRMED", "PENDING"] | None
    published: bool


def halt_on_host(resources: Resources, command: Command) -> HostHaltResult:
    """Set the flag, publish the command, and wait for the gateway.

    Raises Unavailable if Kafka does not respond and the gateway has not confirmed. The flag is set in this case too.
    """
    switch = _switch(resources)
    try:
        if switch is not None:
            switch.engage(command)
    except OSError as error:
        log.error("cannot set the kill switch of this host", error=str(error))
        switch = None
    if switch is None:
        resources.command_log.send(command)
        return HostHaltResult(None, published=True)
    errors: list[Unavailable] = []

    def publish() -> None:
        try:
            resources.command_log.send(command)
            switch.mark_published(command.command_id)
        except Unavailable as error:
            errors.append(error)

    publication = Thread(target=publish, name="halt-publication", daemon=True)
    publication.start()
    has_gateway = switch.read_report() is not None
    confirmed = has_gateway and is_confirmed(
        switch.wait_for_gateway(command.command_id, CONFIRM_TIMEOUT_S), command.command_id
    )
    if confirmed:
        publication.join(CONFIRM_TIMEOUT_S)
    else:
        publication.join()
    published = not publication.is_alive() and not errors
    if not confirmed and not published:
        reason = errors[0] if errors else "the command was not published"
        raise Unavailable(f"trading is halted on this host, but the gateway has not confirmed, and {reason}")
    if not published:
        log.warning("the command of the kill switch is not in the log yet", command=command.command_id)
    return HostHaltResult("CONFIRMED" if confirmed else "PENDING" if has_gateway else None, published)


def release_on_host(resources: Resources, command: Command) -> None:
    """Publish a command of a breaker or a release. A release then clears the flag. Raises Unavailable."""
    publish_missing_halt(resources, command)
    resources.command_log.send(command)
    clear_flag(resources, command)


def publish_missing_halt(resources: Resources, command: Command) -> None:
    """Before a release, publish the halt if Kafka did not respond then: it must not follow its own release."""
    switch = _switch(resources)
    halt = None if switch is None or command.kind != RELEASE else switch.halt()
    if switch is not None and halt is not None and switch.can_publish(halt) and not switch.is_published(halt):
        resources.command_log.send(halt.as_command())
        switch.mark_published(halt.command_id)


def clear_flag(resources: Resources, command: Command) -> None:
    """Clear the flag of this host after a release was published. Other commands leave it."""
    switch = _switch(resources)
    if switch is not None and command.kind == RELEASE:
        switch.clear()


def _switch(resources: Resources) -> HostKillSwitch | None:
    run_dir: Path = resources.home / "run"
    return HostKillSwitch(run_dir) if run_dir.is_dir() else None

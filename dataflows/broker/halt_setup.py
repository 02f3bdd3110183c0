"""Publish a halt's command to Kafka, and build the guard of the simulated venue."""

from __future__ import annotations

import time
from functools import cached_property

from configs.command_signing import command_signer
from configs.settings import KafkaSection, Settings
from dataflows.broker.halt_guard import HaltGuard, NoWorkingOrders
from dataflows.broker.submission_gate import SubmissionGate
from schemas.records import Command
from sinks.commands import CommandLog
from sinks.host_kill_switch import HostKillSwitch
from sinks.signing_keys import GATEWAY

_PUBLISH_TIMEOUT_S = 2.0


class HaltPublisher:
    """Publishes the command of a halt. It connects to Kafka at the first call."""

    def __init__(self, kafka: KafkaSection) -> None:
        self._kafka = kafka

    @cached_property
    def _log(self) -> CommandLog:
        return CommandLog(
            self._kafka.cluster,
            prefix=self._kafka.topic_prefix,
            timeout_s=_PUBLISH_TIMEOUT_S,
            signer=command_signer(GATEWAY),
        )

    def publish(self, command: Command) -> None:
        """Raises Unavailable if Kafka does not acknowledge the command."""
        self._log.send(command)


def start_simulated_guard(settings: Settings, switch: HostKillSwitch) -> HaltGuard:
    """Start the guard of the simulated venue. A halt that is not in the log yet is published before the first bar."""
    publisher = HaltPublisher(settings.kafka)
    guard = HaltGuard(
        switch,
        NoWorkingOrders(),
        SubmissionGate(switch.halt),
        publisher.publish,
        broker=settings.execution.broker,
        order_id_prefix="",
    )
    guard.publish_missing(time.time_ns())
    guard.start()
    return guard

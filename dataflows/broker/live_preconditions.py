"""What live trading requires before it starts. Each check returns its findings as sentences that name the repair.

`start` adds the checks that need the state folder and the books (`deploy/supervisor/live_start.py`). A gateway that is
started by hand makes the checks of this module.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from configs.alerts import CRITICAL
from configs.secrets import secret
from configs.settings import KafkaSection, Settings
from schemas.errors import BadInput, Unavailable
from sinks.kafka_access import anonymous_topics, topic_replication

REPLICATION_MIN = 2
"""Copies of each topic that live trading requires, unless `kafka.replication_acknowledged` accepts fewer."""
_TOPICS_SHOWN_MAX = 3


def live_trading_problem(problems: Sequence[str]) -> str:
    """Return all findings as one message.

    >>> live_trading_problem(["no alert address is set; set one", "the books differ"])
    'live trading does not start, for 2 reasons: (1) no alert address is set; set one. (2) the books differ.'
    """
    reasons = f"{len(problems)} reasons" if len(problems) > 1 else "1 reason"
    numbered = " ".join(f"({number}) {problem}." for number, problem in enumerate(problems, 1))
    return f"live trading does not start, for {reasons}: {numbered}"


def require_live_preconditions(settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
    """Require what the gateway's process can see itself: settings, Kafka and alert addresses.

    Raises BadInput with all findings.
    """
    degraded = environment.get("PLATFORM_DEGRADED", "")
    problems = [
        *substitute_problems([degraded] if degraded else []),
        *settings_problems(settings, environment),
        *kafka_problems(settings.kafka),
    ]
    if problems:
        raise BadInput(live_trading_problem(problems))


def substitute_problems(degraded: Sequence[str]) -> list[str]:
    """`degraded`: why Kafka is replaced by its in-memory substitute; empty if it is not."""
    repair = "make Kafka available (KAFKA_HOME or the network), or set KAFKA_BOOTSTRAP_SERVERS"
    return [f"{'; '.join(degraded)}; {repair}"] if degraded else []


def settings_problems(settings: Settings, environment: Mapping[str, str] | None = None) -> list[str]:
    """Return what the settings and secrets lack: authentication, copies of new topics, an alert address."""
    problems = []
    kafka, security = settings.kafka, settings.kafka.security
    if not security.uses_password and not (security.encrypted and security.certificate_file):
        problems.append(
            f"kafka.security.protocol is {security.protocol} without credentials, so every program that reaches Kafka "
            "can write orders; use a cluster that authenticates its clients, and set kafka.security"
        )
    if kafka.replication < _required_copies(kafka):
        problems.append(
            f"kafka.replication is {kafka.replication}, so the loss of one disk loses records; use a cluster of three "
            f"nodes with kafka.replication: 3, or accept the risk with kafka.replication_acknowledged: "
            f"{kafka.replication}"
        )
    receivers = [channel for channel in settings.alerts.channels if channel.accepts(CRITICAL)]
    if not any((secret(channel.secret, environment) or "").strip() for channel in receivers):
        names = sorted({channel.secret for channel in receivers})
        problems.append(
            f"no alert address is set; set one with `python cli.py secrets set {names[0]}`"
            if names
            else "no alert channel is configured; add one under alerts.channels"
        )
    return problems


def kafka_problems(kafka: KafkaSection) -> list[str]:
    """Return what the running cluster lacks: a client without credentials must be refused, each topic needs copies."""
    try:
        copies_by_topic = topic_replication(kafka.cluster)
        seen = anonymous_topics(kafka.cluster)
    except Unavailable as error:
        return [f"{error}; check the cluster and kafka.security"]
    own = {
        name: copies
        for name, copies in copies_by_topic.items()
        if name.removeprefix(kafka.topic_prefix) in (*kafka.topics, "platform-identity")
        and name.startswith(kafka.topic_prefix)
    }
    problems = []
    # Where authorization hides every topic, a connection alone is harmless.
    if seen is not None and (seen or not copies_by_topic):
        problems.append(
            f"Kafka at {kafka.cluster} accepts clients without credentials; "
            "require SASL or client certificates on every listener of the cluster"
        )
    few = sorted(name for name, copies in own.items() if copies < _required_copies(kafka))
    if few:
        more = f" and {len(few) - _TOPICS_SHOWN_MAX} more" if len(few) > _TOPICS_SHOWN_MAX else ""
        problems.append(
            f"{_count(len(few), 'topic')} of Kafka have fewer than {_required_copies(kafka)} copies "
            f"({', '.join(few[:_TOPICS_SHOWN_MAX])}{more}); reassign their partitions to more nodes, or accept the "
            f"risk with kafka.replication_acknowledged: {min(own[name] for name in few)}"
        )
    return problems


def _required_copies(kafka: KafkaSection) -> int:
    return REPLICATION_MIN if kafka.replication_acknowledged is None else kafka.replication_acknowledged


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

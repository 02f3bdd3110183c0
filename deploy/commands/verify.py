"""`verify`: check the books, sequences, orders and the audit chain of a running or stopped platform."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.time_arguments import parse_since_s
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from configs.settings import KafkaSection, Settings
    from deploy.home import Home
    from deploy.verification.checkpoint_start import CheckpointStart
    from deploy.verification.verdict import Comparison, VerificationResult

Since = Annotated[
    str | None,
    typer.Option(
        help="Start before a duration (30m, 6h, 1d) or a timestamp, and check topics and their tables from it on "
        "(default: since the newest checkpoint)."
    ),
]
Heads = Annotated[
    Path | None,
    typer.Option(help="File of saved chain heads. Check that they still match, and append the current heads."),
]


def register(app: typer.Typer) -> None:
    app.command(
        "verify", help="Check books, sequences, orders and the audit chain. Exit with status 1 on a difference."
    )(verify)


def verify(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    wait: Annotated[
        float,
        typer.Option(help="Seconds to repeat a failed check. Running services cause temporary differences."),
    ] = 10.0,
    audit: Annotated[bool, typer.Option("--audit", help="Check only the audit chain.")] = False,
    heads: Heads = None,
    since: Since = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="Publish the heads of the chain to the topic audit-heads.")
    ] = False,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Check everything from the first record on, without a checkpoint.")
    ] = False,
) -> None:
    import psycopg2

    from deploy.recovery.recorded_topics import platform_settings
    from deploy.supervisor.service_addresses import use_running_services

    home = home_from_environment()
    has_database_url = bool(os.environ.get("DATABASE_URL"))
    if not has_database_url:
        use_running_services(home)
    since_ns = None if since is None else int(parse_since_s("--since", since) * 1e9)
    try:
        settings = platform_settings(home, {})
        verdict = check_all(
            settings,
            None if has_database_url and "PLATFORM_HOME" not in os.environ else home,
            audit=audit,
            heads=heads,
            since_ns=since_ns,
            wait_s=wait,
            publish=publish,
            from_start=from_start,
        )
    except psycopg2.Error as error:
        raise DeployError(f"cannot read the books from PostgreSQL: {_first_line(error)}") from error
    except Unavailable as error:
        raise DeployError(str(error)) from error
    print(_as_json(verdict) if as_json else _as_text(verdict))
    raise typer.Exit(0 if verdict.agrees else 1)


def check_all(
    settings: Settings,
    home: Home | None,
    *,
    audit: bool,
    heads: Path | None,
    since_ns: int | None,
    wait_s: float,
    publish: bool = False,
    from_start: bool = False,
) -> VerificationResult:
    """Run every check, or with `audit` only those of the audit chain. With `publish`, publish the heads of an intact
    chain to `audit-heads`.

    The checks start at the newest checkpoint of `home` before `since_ns` (wall clock; None: the newest of all), or with
    `from_start` at the first record. Raises psycopg2.Error, Unavailable and BadInput.
    """
    from deploy.verification.all_checks import (
        find_start,
        verify_broker,
        verify_ledger,
        verify_orders,
        verify_sequences,
        verify_strategies,
        verify_weights,
    )
    from deploy.verification.signatures import verify_signatures
    from deploy.verification.verdict import Comparison, VerificationResult

    kafka, reason = _reachable_kafka(settings)
    checks: list[Comparison] = []
    decision_hash = ""
    skipped = list[str]()
    start = None if home is None or from_start else find_start(settings, home, since_ns, skipped.append)
    if start is not None and since_ns is None:
        since_ns = start.written_ns
    if not audit:
        ledger_verdict = verify_ledger(settings, home, wait_s, start)
        checks = [*ledger_verdict.checks, verify_weights(settings), *verify_strategies(settings, wait_s)]
        checks += verify_broker(settings, wait_s)
        checks += verify_orders(settings, wait_s, start)
        decision_hash = ledger_verdict.decision_hash
        if kafka is not None:
            checks += verify_sequences(settings, kafka, since_ns, wait_s)
    checks.append(verify_signatures(settings.database.postgres.url, home))
    if kafka is None:
        checks.append(Comparison("topics", 0, None, f"not compared: {reason}"))
    checks += [Comparison("checkpoint", 0, None, sentence) for sentence in skipped]
    checks += _audit_checks(settings, kafka, home, heads, wait_s, publish, start)
    return VerificationResult(checks, decision_hash, "" if start is None else start.checkpoint_id)


def _audit_checks(
    settings: Settings,
    kafka: KafkaSection | None,
    home: Home | None,
    file: Path | None,
    wait_s: float,
    publish: bool,
    start: CheckpointStart | None,
) -> list[Comparison]:
    from deploy.checkpoints.selection import sealed_heads
    from deploy.verification import audit_heads
    from deploy.verification.all_checks import verify_audit

    in_file = [] if file is None else audit_heads.read_heads(file)
    in_topic = [] if kafka is None else audit_heads.published_heads(kafka, None if start is None else start.written_ns)
    sealed = [] if home is None else sealed_heads(home)
    audited = verify_audit(settings, kafka, [*in_file, *in_topic, *sealed], wait_s, start)
    # The heads of a broken chain prove nothing.
    if not any(result.findings for result in audited):
        new_heads = [result.head for result in audited]
        if file is not None:
            audit_heads.add_heads(file, new_heads, in_file)
        if publish and kafka is not None:
            audit_heads.publish_heads(kafka, new_heads, in_topic, time.time_ns())
    return [result.check for result in audited]


def _reachable_kafka(settings: Settings) -> tuple[KafkaSection | None, str]:
    """Return the Kafka settings if the topics can be read, else None and the reason."""
    from deploy.supervisor.probes import KafkaProbe
    from deploy.supervisor.topics import missing_topics

    kafka = settings.kafka
    reason = KafkaProbe(kafka.cluster)(os.getpid())
    if reason is not None:
        return None, reason
    if missing := missing_topics(kafka.cluster, [kafka.topic_prefix + name for name in kafka.topics]):
        return None, f"{kafka.bootstrap_servers} has no topic {missing[0]}"
    return kafka, ""


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _as_json(verdict: VerificationResult) -> str:
    checks = [check._asdict() for check in verdict.checks]
    document = {"agrees": verdict.agrees, "from_checkpoint": verdict.from_checkpoint, "checks": checks}
    return json.dumps(document | {"decision_hash": verdict.decision_hash}, indent=2)


def _as_text(verdict: VerificationResult) -> str:
    width = max(len(check.name) for check in verdict.checks)
    lines = []
    for check in verdict.checks:
        outcome = "agree" if check.difference is None else "differ"
        lines.append(f"{check.name:{width}} {check.records:>11,}  {outcome}{f'  ({check.note})' if check.note else ''}")
    if verdict.from_checkpoint:
        lines.append(f"started at {verdict.from_checkpoint}; --from-start checks everything")
    if verdict.decision_hash:
        lines.append(f"decision hash {verdict.decision_hash}")
    failed = [check for check in verdict.checks if check.difference is not None]
    if not failed:
        return "\n".join([*lines, f"all {len(verdict.checks)} checks agree"])
    lines += ["", "findings"]
    lines += [f"  {check.name}: {finding}" for check in failed for finding in check.findings]
    names = ", ".join(check.name for check in failed)
    return "\n".join([*lines, f"{len(failed)} of {len(verdict.checks)} checks failed: {names}"])

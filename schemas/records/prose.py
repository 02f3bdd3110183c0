"""The parts of records that are sentences for a reader: they explain a decision and are not part of it.

A release may reword them. The decision hash leaves them out, and so does every comparison of a recorded with a
replayed run.
"""

from __future__ import annotations

import re
from typing import Any

from schemas.records.analysis import HandlerTimeout, Signal, StrategySuspension, StrategyWeights
from schemas.records.constants import RESUMED, SUSPENDED
from schemas.records.dead_letters import DeadLetter, LateRecord
from schemas.records.ledger import CashTransfer, LotMatch
from schemas.records.trading import (
    CheckResult,
    Execution,
    GatewayStatus,
    Order,
    OrderCancel,
    OrderIntent,
    OrderProposal,
    OrderRefusal,
    RiskEvent,
    RiskFence,
    StrategyAction,
    TargetReduction,
)

PROSE_FIELDS: dict[type, tuple[str, ...]] = {
    CashTransfer: ("reason",),
    DeadLetter: ("reason",),
    Execution: ("text",),
    GatewayStatus: ("reason",),
    HandlerTimeout: ("file", "line"),
    LateRecord: ("reason",),
    OrderCancel: ("reason",),
    OrderProposal: ("sizing",),
    OrderRefusal: ("message",),
    RiskEvent: ("reason",),
    RiskFence: ("reason",),
    StrategySuspension: ("message", "file", "line"),
    StrategyWeights: ("reason",),
    TargetReduction: ("message",),
}
"""By record type. A type that is not listed has none."""

_BLANK = {kind: dict.fromkeys(names, "") for kind, names in PROSE_FIELDS.items()}
_FIGURE = re.compile(r"\d[\d.]*")


def without_prose(record: Any) -> Any:
    """Return the record with its prose fields empty, or the record itself if its type has none.

    >>> without_prose(RiskFence(1, 60, 2, "HALTED", "daily loss 120 of 100", "c1")).reason
    ''
    """
    blank = _BLANK.get(type(record))
    return record if blank is None else record._replace(**blank)


def comparable(record: Any) -> Any:
    """Return what must be equal in a recorded and a replayed record.

    Prose is left out. Of a proposal's sizing, of what a risk check or breaker found and of its limit, the figures are
    compared and not the words; of an emulation, whether there is one. The strategy of a closed lot is left out: it
    follows from the compared proposals, and earlier releases have not recorded it. The hashes of source files are left
    out too: they are evidence, and files that differ only in a comment decide the same.
    """
    if type(record) is Order:
        return record._replace(checks=[_figures_of(check) for check in record.checks])
    if type(record) is OrderRefusal:
        return record._replace(message="", found=figures(record.found), limit=figures(record.limit))
    if type(record) is RiskEvent:
        return record._replace(reason="", found=figures(record.found), limit=figures(record.limit))
    if type(record) is OrderProposal:
        return record._replace(sizing=figures(record.sizing))
    if type(record) is LotMatch:
        return record._replace(strategy="")
    if type(record) is OrderIntent:
        return record._replace(emulated="emulated" if record.emulated else "")
    if type(record) is Signal:
        return record._replace(source_sha256=[])
    if type(record) is StrategyAction:
        # Of a suspension, as in a StrategySuspension: the file's path differs between hosts.
        texts = PROSE_FIELDS[StrategySuspension] if record.kind in (SUSPENDED, RESUMED) else ()
        arguments = {name: value for name, value in record.arguments.items() if name not in texts}
        return record._replace(arguments=arguments, source_sha256=[])
    return without_prose(record)


def figures(text: str) -> str:
    """Return the figures in a text, without the words around them.

    >>> figures("12.5 USD of 100 allowed")
    '12.5 100'
    """
    return " ".join(_FIGURE.findall(text))


def _figures_of(check: CheckResult) -> CheckResult:
    return CheckResult(check.check, figures(check.found), figures(check.limit))

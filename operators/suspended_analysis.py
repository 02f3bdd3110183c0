"""Dead letters of indicators and models that raise: each applies to the symbol on which it failed."""

from __future__ import annotations

from operators.raised_error import RaisedError
from schemas.codec import SCHEMA_IDS, encode
from schemas.records import Bar, CorporateAction, DeadLetter, FeatureRow, Quote


def suspension_letter(
    stage: str, kind: str, name: str, record: Bar | Quote | FeatureRow, error: RaisedError
) -> DeadLetter:
    """Return the dead letter of a component that raised on `record`. `kind` is "indicator" or "model".

    `topic` is `indicator:NAME/SYMBOL` or `model:NAME/SYMBOL`, with the record's `seq` as `offset`.
    """
    reason = (
        f"{kind} {name} is suspended for {record.symbol}: it raised {error.error_type}: {error.message} "
        f"at {error.file}:{error.line}"
    )
    return DeadLetter(
        topic=f"{kind}:{name}/{record.symbol}",
        partition=0,
        offset=record.seq,
        stage=stage,
        ts_ns=record.ts_ns,
        reason=reason,
        schema_id=SCHEMA_IDS[type(record)],
        raw=encode(record),
    )


def rescale_letter(spec: str, action: CorporateAction, ts_ns: int, rows: int, error: RaisedError) -> DeadLetter:
    """Return the dead letter of an indicator that raised in `rescale` at a split or stock dividend.

    `ts_ns` is the time of the time slice. `topic` is `indicator:NAME/SYMBOL`, with the number of the
    symbol's feature rows so far as `offset`.
    """
    reason = (
        f"indicator {spec} warms up again for {action.symbol} after {action.kind} {action.action_id}: its rescale "
        f"raised {error.error_type}: {error.message} at {error.file}:{error.line}"
    )
    return DeadLetter(
        topic=f"indicator:{spec}/{action.symbol}",
        partition=0,
        offset=rows,
        stage="features",
        ts_ns=ts_ns,
        reason=reason,
        schema_id=SCHEMA_IDS[CorporateAction],
        raw=encode(action),
    )

"""Suspend a strategy that raises: record the failure, stop the strategy in every shard, and resume it by a command."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Literal

from operators.approvals import lacks_approval
from operators.handler_limit import HandlerTimedOut, timeout_error
from operators.raised_error import RaisedError, describe_error, source_file
from operators.strategies import Strategy
from schemas.errors import BadInput
from schemas.records import RESUMED, SUSPENDED, Command, StrategyAction, StrategySuspension, suspension_id

OnError = Literal["hold", "flatten"]
"""What happens to the views of a suspended strategy: they stay, or their direction becomes 0."""
COMMAND_IDS_MAX = 1_000
"""Number of recent resume commands remembered to discard duplicates."""


def suspension_of(action: StrategyAction) -> StrategySuspension:
    """Return the suspension or resume of a trading strategy in the form of those of view strategies, without a symbol.

    `action` must be of the kind SUSPENDED or RESUMED.
    """
    assert action.kind in (SUSPENDED, RESUMED), f"expected a suspension or resume, found {action.kind}"
    arguments = action.arguments
    return StrategySuspension(
        symbol="",
        seq=action.seq,
        ts_ns=action.ts_ns,
        strategy=action.strategy,
        state=SUSPENDED if action.kind == SUSPENDED else RESUMED,
        cause_id=action.cause_ids[0] if action.cause_ids else "",
        error_type=arguments.get("error_type", ""),
        message=arguments.get("message", action.reason),
        file=arguments.get("file", ""),
        line=int(arguments.get("line", "0")),
    )


def describe_failure(error: Exception, strategy: Strategy) -> RaisedError:
    """Describe why a view strategy failed. If no line of its own raised, `decide` returned an invalid value, and
    the position is that of `decide`.
    """
    if isinstance(error, HandlerTimedOut):
        return timeout_error(error.timeout)
    code = getattr(strategy.decide, "__code__", None)
    file = source_file(strategy) if code is None else code.co_filename
    described = describe_error(error, source_file(strategy), file)
    if code is None or described.file in (source_file(strategy), file):
        return described
    message = described.message
    if not isinstance(error, BadInput):
        message = f"decide must return its state and a TargetView or None ({message})"
    return described._replace(message=message, file=file, line=code.co_firstlineno)


class StrategySuspensions:
    """Which strategies are suspended, and the suspension records of this shard's symbols.

    A failure only writes a record. All shards receive it with the next time slice (`apply`), so that the strategy stops
    at the same time slice for every symbol, for any number of shards. A resume command reaches all shards in the same
    time slice. The shard in which the strategy failed writes the record of the resume.
    """

    def __init__(self, approvals: Container[str] = ()) -> None:
        """`approvals` are the actions that need a second person (`operators/approvals.py`)."""
        self._approvals = approvals
        self._suspended: dict[str, str] = {}  # strategy -> id of its suspension
        self._failed: dict[tuple[str, str], None] = {}  # (strategy, symbol of this shard)
        self._seqs: dict[str, int] = {}
        self._command_ids: dict[str, None] = {}
        self._records: list[StrategySuspension] = []

    def __contains__(self, strategy: str) -> bool:
        return strategy in self._suspended

    def record_failure(self, ts_ns: int, symbol: str, strategy: str, cause_id: str, error: RaisedError) -> None:
        """Record that a strategy failed on a symbol. Its further failures on this symbol write no record."""
        if (strategy, symbol) not in self._failed:
            self._failed[strategy, symbol] = None
            self._write(ts_ns, symbol, strategy, SUSPENDED, cause_id, error)

    def apply(self, suspension: StrategySuspension) -> bool:
        """Apply a record of any shard. Return whether it suspends a strategy that was not suspended before."""
        if suspension.state != SUSPENDED or suspension.strategy in self._suspended:
            return False
        self._suspended[suspension.strategy] = suspension_id(suspension.symbol, suspension.seq)
        return True

    def resume(self, ts_ns: int, command: Command) -> str | None:
        """Apply a resume command. Return the strategy that it resumes, or None if it resumes none.

        A command without the approval that the settings require has no effect.
        """
        strategy = command.arguments.get("strategy", "")
        if lacks_approval(command, self._approvals) or command.command_id in self._command_ids:
            return None
        self._command_ids[command.command_id] = None
        if len(self._command_ids) > COMMAND_IDS_MAX:
            del self._command_ids[next(iter(self._command_ids))]
        if self._suspended.pop(strategy, None) is None:
            return None
        symbols = [symbol for name, symbol in self._failed if name == strategy]
        for symbol in symbols:
            del self._failed[strategy, symbol]
            reason = RaisedError(error_type="", message=command.reason.replace("\0", ""), file="", line=0)
            self._write(ts_ns, symbol, strategy, RESUMED, command.command_id, reason)
        return strategy

    def drain_records(self) -> list[StrategySuspension]:
        """Return the new records in the order in which the readers of the topic receive them."""
        if not self._records:
            return []
        records, self._records = self._records, []
        return sorted(records, key=lambda record: (record.symbol, record.seq))

    def _write(
        self,
        ts_ns: int,
        symbol: str,
        strategy: str,
        state: Literal["SUSPENDED", "RESUMED"],
        cause_id: str,
        error: RaisedError,
    ) -> None:
        seq = self._seqs[symbol] = self._seqs.get(symbol, 0) + 1
        self._records.append(
            StrategySuspension(
                symbol=symbol,
                seq=seq,
                ts_ns=ts_ns,
                strategy=strategy,
                state=state,
                cause_id=cause_id,
                error_type=error.error_type,
                message=error.message,
                file=error.file,
                line=error.line,
            )
        )

    def snapshot(self) -> Any:
        """Return ({strategy: suspension id}, [(strategy, symbol)], {symbol: number of records}, resume command ids)."""
        return dict(self._suspended), list(self._failed), dict(self._seqs), list(self._command_ids)

    def restore(self, snapshot: Any) -> None:
        suspended, failed, seqs, command_ids = snapshot
        self._suspended, self._seqs = dict(suspended), dict(seqs)
        self._failed = dict.fromkeys(failed)
        self._command_ids = dict.fromkeys(command_ids)

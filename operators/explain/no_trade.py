"""Explain why a symbol was not traded at a given time: find the pipeline step that produced no output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from operators.explain.cause_tree import CauseNode, Explanation
from operators.explain.lineage import explain, trace_feature
from operators.explain.record_ids import record_id_of
from operators.explain.record_lookup import RecordLookup
from schemas.records import HALTED, Bar, FeatureRow, OrderProposal, RiskFence, Signal, StrategySuspension


class AsOfLookup(RecordLookup, Protocol):
    """A `RecordLookup` that also finds the latest record at a given time."""

    def bar_until(self, symbol: str, ts_ns: int) -> Bar | None: ...
    def feature_at(self, symbol: str, ts_ns: int) -> FeatureRow | None: ...
    def views_until(self, symbol: str, ts_ns: int) -> list[Signal]: ...
    def proposal_until(self, symbol: str, ts_ns: int) -> OrderProposal | None: ...
    def fence_until(self, ts_ns: int) -> RiskFence | None: ...
    def suspended_until(self, ts_ns: int) -> list[StrategySuspension]: ...


class SymbolAsOf(NamedTuple):
    """The state of a symbol at a given time.

    `slice_ns` is the time of the last bar, 0 if there is none. `reasons` list what each pipeline step did, in order.
    `decision` explains the proposal of this time slice, if there is one.
    """

    symbol: str
    slice_ns: int
    reasons: tuple[str, ...]
    row: CauseNode | None
    views: tuple[Signal, ...]
    decision: Explanation | None


def explain_symbol_at(
    lookup: AsOfLookup, symbol: str, ts_ns: int, strategies: Mapping[str, Sequence[str]]
) -> SymbolAsOf:
    """Explain the state of `symbol` at `ts_ns`. `strategies` maps each running strategy to the indicators it needs."""
    bar = lookup.bar_until(symbol, ts_ns)
    if bar is None:
        return SymbolAsOf(
            symbol=symbol,
            slice_ns=0,
            reasons=(f"no bar of {symbol} at or before this time",),
            row=None,
            views=(),
            decision=None,
        )
    row = lookup.feature_at(symbol, bar.ts_ns)
    views = lookup.views_until(symbol, bar.ts_ns)
    suspended = {suspension.strategy: suspension for suspension in lookup.suspended_until(bar.ts_ns)}
    reasons = [_bar_reason(bar, ts_ns), *_strategy_reasons(row, views, bar.ts_ns, strategies, suspended)]
    proposal = lookup.proposal_until(symbol, bar.ts_ns)
    decision = None
    if proposal is not None and proposal.ts_ns == bar.ts_ns:
        decision = explain(lookup, proposal.proposal_id)
        assert decision is not None, "the proposal was just read"
        reasons.append(f"{proposal.proposal_id} was proposed in this time slice ({proposal.sizing})")
        reasons.append(decision.outcome)
    else:
        reasons.append(_no_proposal_reason(lookup, symbol, bar.ts_ns, views, proposal))
    fence = lookup.fence_until(bar.ts_ns)
    if fence is not None and fence.state == HALTED:
        reasons.append(f"trading was halted by {record_id_of(fence)}: {fence.reason}")
    row_node = None if row is None else trace_feature(lookup, symbol, row.seq, row.ts_ns)
    return SymbolAsOf(
        symbol=symbol, slice_ns=bar.ts_ns, reasons=tuple(reasons), row=row_node, views=tuple(views), decision=decision
    )


def _bar_reason(bar: Bar, ts_ns: int) -> str:
    age_s = (ts_ns - bar.ts_ns) // 1_000_000_000
    traded = "with trades" if bar.traded else "without trades"
    return f"the last bar is {record_id_of(bar)}, {age_s} s before this time, {traded}, close {bar.close}"


def _strategy_reasons(
    row: FeatureRow | None,
    views: Sequence[Signal],
    slice_ns: int,
    strategies: Mapping[str, Sequence[str]],
    suspended: Mapping[str, StrategySuspension],
) -> list[str]:
    last_view_of = {view.strategy: view for view in views}
    reasons = []
    for name, specs in strategies.items():
        missing = [spec for spec in specs if row is not None and not _has_values(row, spec)]
        view = last_view_of.get(name)
        if name in suspended:
            reasons.append(f"{name}: {_suspension_text(suspended[name])}")
        elif row is None:
            reasons.append(f"{name}: no feature row for this bar")
        elif missing:
            reasons.append(f"{name}: {', '.join(missing)} not warmed up yet")
        elif view is None:
            reasons.append(f"{name}: no signal for this symbol yet")
        elif view.ts_ns == slice_ns:
            reasons.append(f"{name}: new signal in this time slice, {_view_text(view)}")
        else:
            reasons.append(f"{name}: signal unchanged, {_view_text(view)}")
    return reasons


def _has_values(row: FeatureRow, spec: str) -> bool:
    """Whether the row has values of an indicator. The names of several values start with the indicator's spec."""
    return any(name == spec or name.startswith(f"{spec}_") for name in row.values)


def _suspension_text(suspension: StrategySuspension) -> str:
    since = datetime.fromtimestamp(suspension.ts_ns // 1_000_000_000, UTC)
    return (
        f"suspended since {since:%Y-%m-%d %H:%M:%S} UTC ({record_id_of(suspension)}): {suspension.error_type}: "
        f"{suspension.message} at {suspension.file}:{suspension.line} on {suspension.symbol}"
    )


def _view_text(view: Signal) -> str:
    return f"direction {view.direction}, strength {view.strength} ({record_id_of(view)})"


def _no_proposal_reason(
    lookup: RecordLookup, symbol: str, slice_ns: int, views: Sequence[Signal], last_proposal: OrderProposal | None
) -> str:
    changed = any(view.ts_ns == slice_ns for view in views)
    open_order_text = "" if last_proposal is None else _open_order_text(lookup, last_proposal, slice_ns)
    if open_order_text:
        return f"no proposal: {open_order_text}; a symbol has at most one open proposal"
    if changed:
        return "no proposal: the position already matches the new signal, or free cash is less than one lot"
    return f"no proposal: no new signal for {symbol}"


def _open_order_text(lookup: RecordLookup, proposal: OrderProposal, slice_ns: int) -> str:
    """Describe the previous proposal's order if it was still open in this time slice; "" if it was not."""
    order = lookup.order_of(proposal.proposal_id)
    if order is None:
        return ""
    reports = [report for report in lookup.executions_of(order.order_id) if report.ts_ns <= slice_ns]
    if reports and (reports[-1].leaves_quantity == 0):
        return ""
    return f"{order.order_id} of {proposal.proposal_id} was still open"

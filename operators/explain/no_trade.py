"""Why nothing was traded in a symbol at a moment: the first step of the pipeline that had nothing to pass on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from operators.explain.lineage import CauseNode, Explanation, RecordLookup, explain, record_id_of, trace_feature
from schemas.records import HALTED, Bar, FeatureRow, OrderProposal, RiskFence, Signal


class AsOfLookup(RecordLookup, Protocol):
    """`Books` that also know what stood at a time."""

    def bar_until(self, symbol: str, ts_ns: int) -> Bar | None: ...
    def feature_at(self, symbol: str, ts_ns: int) -> FeatureRow | None: ...
    def views_until(self, symbol: str, ts_ns: int) -> list[Signal]: ...
    def proposal_until(self, symbol: str, ts_ns: int) -> OrderProposal | None: ...
    def fence_until(self, ts_ns: int) -> RiskFence | None: ...


class SymbolAsOf(NamedTuple):
    """What stood in a symbol at a time. `slice_ns` is the last bar's, 0 where there is none; `reasons` say, in order of
    the pipeline, what happened and what did not. `decision` explains a proposal of that very tick.
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
    """`strategies` are those that run: the indicators each needs, by name."""
    bar = lookup.bar_until(symbol, ts_ns)
    if bar is None:
        return SymbolAsOf(symbol, 0, (f"there is no bar of {symbol} at or before that time",), None, (), None)
    row = lookup.feature_at(symbol, bar.ts_ns)
    views = lookup.views_until(symbol, bar.ts_ns)
    reasons = [_bar_reason(bar, ts_ns), *_strategy_reasons(row, views, bar.ts_ns, strategies)]
    proposal = lookup.proposal_until(symbol, bar.ts_ns)
    decision = None
    if proposal is not None and proposal.ts_ns == bar.ts_ns:
        decision = explain(lookup, proposal.proposal_id)
        assert decision is not None, "the proposal was just read"
        reasons.append(f"{proposal.proposal_id} was made at this tick ({proposal.sizing})")
        reasons.append(decision.outcome)
    else:
        reasons.append(_no_proposal_reason(lookup, symbol, bar.ts_ns, views, proposal))
    fence = lookup.fence_until(bar.ts_ns)
    if fence is not None and fence.state == HALTED:
        reasons.append(f"trading was halted by {record_id_of(fence)}: {fence.reason}")
    row_node = None if row is None else trace_feature(lookup, symbol, row.seq, row.ts_ns)
    return SymbolAsOf(symbol, bar.ts_ns, tuple(reasons), row_node, tuple(views), decision)


def _bar_reason(bar: Bar, ts_ns: int) -> str:
    age_s = (ts_ns - bar.ts_ns) // 1_000_000_000
    traded = "with trades" if bar.traded else "without a trade, at the last close"
    return f"the last bar is {record_id_of(bar)}, {age_s} s before that time, {traded}, close {bar.close}"


def _strategy_reasons(
    row: FeatureRow | None, views: Sequence[Signal], slice_ns: int, strategies: Mapping[str, Sequence[str]]
) -> list[str]:
    last_view_of = {view.strategy: view for view in views}
    reasons = []
    for name, specs in strategies.items():
        missing = [spec for spec in specs if row is not None and not _has_values(row, spec)]
        view = last_view_of.get(name)
        if row is None:
            reasons.append(f"{name}: there is no feature row of that bar")
        elif missing:
            reasons.append(f"{name}: waits for {', '.join(missing)} to warm up")
        elif view is None:
            reasons.append(f"{name}: has never had a view of this symbol")
        elif view.ts_ns == slice_ns:
            reasons.append(f"{name}: changed its view at this tick to {_view_text(view)}")
        else:
            reasons.append(f"{name}: kept its view, {_view_text(view)}")
    return reasons


def _has_values(row: FeatureRow, spec: str) -> bool:
    """An indicator with several values writes them under names that begin with its own."""
    return any(name == spec or name.startswith(f"{spec}_") for name in row.values)


def _view_text(view: Signal) -> str:
    return f"direction {view.direction}, strength {view.strength} ({record_id_of(view)})"


def _no_proposal_reason(
    lookup: RecordLookup, symbol: str, slice_ns: int, views: Sequence[Signal], last_proposal: OrderProposal | None
) -> str:
    changed = any(view.ts_ns == slice_ns for view in views)
    open_order_text = "" if last_proposal is None else _open_order_text(lookup, last_proposal, slice_ns)
    if open_order_text:
        return f"no proposal: {open_order_text}, and a symbol has one at a time"
    if changed:
        return "no proposal: the changed view asks for what is held already, or free cash buys not one lot of it"
    return f"no proposal: no strategy changed its view of {symbol}"


def _open_order_text(lookup: RecordLookup, proposal: OrderProposal, slice_ns: int) -> str:
    """Whether the proposal before could still trade at that tick."""
    order = lookup.order_of(proposal.proposal_id)
    if order is None:
        return ""
    reports = [report for report in lookup.executions_of(order.order_id) if report.ts_ns <= slice_ns]
    if reports and (reports[-1].leaves_quantity == 0):
        return ""
    return f"{order.order_id} of {proposal.proposal_id} was still under way"

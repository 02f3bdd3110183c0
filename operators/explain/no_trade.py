"""Why nothing was traded in a symbol at a moment: the first step of the pipeline that had nothing to pass on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from operators.explain.lineage import Books, Explanation, Node, explain, name_of, trace_feature
from schemas.records import HALTED, Bar, FeatureRow, OrderProposal, RiskFence, Signal


class MomentBooks(Books, Protocol):
    """`Books` that also know what stood at a time."""

    def bar_until(self, symbol: str, ts_ns: int) -> Bar | None: ...
    def feature_at(self, symbol: str, ts_ns: int) -> FeatureRow | None: ...
    def views_until(self, symbol: str, ts_ns: int) -> list[Signal]: ...
    def proposal_until(self, symbol: str, ts_ns: int) -> OrderProposal | None: ...
    def fence_until(self, ts_ns: int) -> RiskFence | None: ...


class Moment(NamedTuple):
    """What stood in a symbol at a time. `tick_ns` is the last bar's, 0 where there is none; `reasons` say, in order of
    the pipeline, what happened and what did not. `decision` explains a proposal of that very tick.
    """

    symbol: str
    tick_ns: int
    reasons: tuple[str, ...]
    row: Node | None
    views: tuple[Signal, ...]
    decision: Explanation | None


def at_moment(books: MomentBooks, symbol: str, ts_ns: int, strategies: Mapping[str, Sequence[str]]) -> Moment:
    """`strategies` are those that run: the indicators each needs, by name."""
    bar = books.bar_until(symbol, ts_ns)
    if bar is None:
        return Moment(symbol, 0, (f"there is no bar of {symbol} at or before that time",), None, (), None)
    row = books.feature_at(symbol, bar.ts_ns)
    views = books.views_until(symbol, bar.ts_ns)
    reasons = [_of_bar(bar, ts_ns), *_of_strategies(row, views, bar.ts_ns, strategies)]
    proposal = books.proposal_until(symbol, bar.ts_ns)
    decision = None
    if proposal is not None and proposal.ts_ns == bar.ts_ns:
        decision = explain(books, proposal.proposal_id)
        assert decision is not None, "the proposal was just read"
        reasons.append(f"{proposal.proposal_id} was made at this tick ({proposal.sizing})")
        reasons.append(decision.outcome)
    else:
        reasons.append(_of_no_proposal(books, symbol, bar.ts_ns, views, proposal))
    fence = books.fence_until(bar.ts_ns)
    if fence is not None and fence.state == HALTED:
        reasons.append(f"trading was halted by {name_of(fence)}: {fence.reason}")
    traced = None if row is None else trace_feature(books, symbol, row.seq, row.ts_ns)
    return Moment(symbol, bar.ts_ns, tuple(reasons), traced, tuple(views), decision)


def _of_bar(bar: Bar, ts_ns: int) -> str:
    age_s = (ts_ns - bar.ts_ns) // 1_000_000_000
    traded = "with trades" if bar.traded else "without a trade, at the last close"
    return f"the last bar is {name_of(bar)}, {age_s} s before that time, {traded}, close {bar.close}"


def _of_strategies(
    row: FeatureRow | None, views: Sequence[Signal], tick_ns: int, strategies: Mapping[str, Sequence[str]]
) -> list[str]:
    held = {view.strategy: view for view in views}
    reasons = []
    for name, needed in strategies.items():
        missing = [spec for spec in needed if row is not None and not _has(row, spec)]
        view = held.get(name)
        if row is None:
            reasons.append(f"{name}: there is no feature row of that bar")
        elif missing:
            reasons.append(f"{name}: waits for {', '.join(missing)} to warm up")
        elif view is None:
            reasons.append(f"{name}: has never had a view of this symbol")
        elif view.ts_ns == tick_ns:
            reasons.append(f"{name}: changed its view at this tick to {_view(view)}")
        else:
            reasons.append(f"{name}: kept its view, {_view(view)}")
    return reasons


def _has(row: FeatureRow, spec: str) -> bool:
    """An indicator with several values writes them under names that begin with its own."""
    return any(name == spec or name.startswith(f"{spec}_") for name in row.values)


def _view(view: Signal) -> str:
    return f"direction {view.direction}, strength {view.strength} ({name_of(view)})"


def _of_no_proposal(
    books: Books, symbol: str, tick_ns: int, views: Sequence[Signal], last: OrderProposal | None
) -> str:
    changed = any(view.ts_ns == tick_ns for view in views)
    under_way = "" if last is None else _under_way(books, last, tick_ns)
    if under_way:
        return f"no proposal: {under_way}, and a symbol has one at a time"
    if changed:
        return "no proposal: the changed view asks for what is held already, or free cash buys not one lot of it"
    return f"no proposal: no strategy changed its view of {symbol}"


def _under_way(books: Books, proposal: OrderProposal, tick_ns: int) -> str:
    """Whether the proposal before could still trade at that tick."""
    order = books.order_of(proposal.proposal_id)
    if order is None:
        return ""
    reports = [report for report in books.executions_of(order.order_id) if report.ts_ns <= tick_ns]
    if reports and (reports[-1].leaves_quantity == 0):
        return ""
    return f"{order.order_id} of {proposal.proposal_id} was still under way"

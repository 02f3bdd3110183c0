"""What a decision was made from: the tree of its causes, down to the bars.

Every derived record names its causes by id (`schemas/records/`); here they are followed. Where the records are looked
up is the caller's affair: `Books` is anything that finds a record by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from schemas.records import (
    TRADE,
    Bar,
    Command,
    Execution,
    FeatureRow,
    Fundamentals,
    LlmAnswer,
    Lot,
    LotMatch,
    NewsItem,
    Order,
    OrderCancel,
    OrderProposal,
    OrderRefusal,
    Position,
    Prediction,
    Record,
    RiskEvent,
    RiskFence,
    RiskUsage,
    SentimentScore,
    Signal,
    StrategyWeights,
    Valuation,
    bar_id,
    feature_id,
    prediction_id,
    sentiment_id,
    signal_id,
    weights_id,
)


class Place(NamedTuple):
    """Where a record stands in the log. `event_ns` is the tick that holds it: its own time, and of what an edge learnt
    that of the first clock behind it, None while there is none.
    """

    topic: str
    partition: int
    offset: int
    event_ns: int | None = None


class Node(NamedTuple):
    """One record and what it was made from. `record` is None where the id is known and the record is not found."""

    kind: str
    name: str
    record: Record | None
    causes: tuple[Node, ...] = ()
    place: Place | None = None


class Explanation(NamedTuple):
    """The answer to "why": `outcome` in one sentence, the record asked for with its causes, and what came of it."""

    outcome: str
    root: Node
    consequences: tuple[Node, ...] = ()


class Books(Protocol):
    """Finds records by id; None or an empty list where there is none."""

    def order(self, order_id: str) -> Order | None: ...
    def order_of(self, cause_id: str) -> Order | None: ...
    def refusal(self, seq: int) -> OrderRefusal | None: ...
    def refusal_of(self, cause_id: str) -> OrderRefusal | None: ...
    def fence_of(self, cause_id: str) -> RiskFence | None: ...
    def execution(self, execution_id: str) -> Execution | None: ...
    def executions_of(self, order_id: str) -> list[Execution]: ...
    def proposal(self, proposal_id: str) -> OrderProposal | None: ...
    def command(self, command_id: str) -> Command | None: ...
    def signal(self, symbol: str, seq: int) -> Signal | None: ...
    def feature(self, symbol: str, seq: int, ts_ns: int) -> FeatureRow | None: ...
    def bar(self, symbol: str, seq: int, ts_ns: int) -> Bar | None: ...
    def score(self, seq: int) -> SentimentScore | None: ...
    def news(self, news_id: str) -> NewsItem | None: ...
    def answer(self, answer_id: str) -> LlmAnswer | None: ...
    def filing(self, fundamentals_id: str) -> Fundamentals | None: ...
    def prediction(self, symbol: str, seq: int) -> Prediction | None: ...
    def weights(self, seq: int) -> StrategyWeights | None: ...


_NAMES: dict[type, Callable[[Any], str]] = {
    Bar: lambda r: bar_id(r.symbol, r.seq),
    FeatureRow: lambda r: feature_id(r.symbol, r.seq),
    Prediction: lambda r: prediction_id(r.symbol, r.seq),
    StrategyWeights: lambda r: weights_id(r.seq),
    Signal: lambda r: signal_id(r.symbol, r.seq),
    OrderProposal: lambda r: str(r.proposal_id),
    Order: lambda r: str(r.order_id),
    RiskFence: lambda r: f"fence-{r.epoch}",
    OrderCancel: lambda r: f"cancel-{r.seq}",
    OrderRefusal: lambda r: f"refusal-{r.seq}",
    RiskEvent: lambda r: f"risk-event-{r.seq}",
    RiskUsage: lambda r: f"risk-usage-{r.seq}",
    Execution: lambda r: str(r.execution_id),
    Position: lambda r: f"position-{r.symbol}-{r.seq}",
    Lot: lambda r: str(r.lot_id),
    LotMatch: lambda r: str(r.match_id),
    Valuation: lambda r: f"valuation-{r.seq}",
    Command: lambda r: str(r.command_id),
    SentimentScore: lambda r: sentiment_id(r.seq),
    NewsItem: lambda r: str(r.news_id),
    LlmAnswer: lambda r: str(r.answer_id),
    Fundamentals: lambda r: str(r.fundamentals_id),
}
_CAUSES: dict[type, Callable[[Any], list[str]]] = {
    FeatureRow: lambda r: [bar_id(r.symbol, r.bar_seq)],
    Prediction: lambda r: [r.feature_id],
    Signal: lambda r: [r.feature_id, *r.cause_ids],
    SentimentScore: lambda r: [r.news_id, *([r.answer_id] if r.answer_id else [])],
    OrderProposal: lambda r: list(r.signal_ids),
    Order: lambda r: [r.cause_id],
    RiskFence: lambda r: [r.cause_id],
    OrderCancel: lambda r: [r.cause_id],
    OrderRefusal: lambda r: [r.cause_id],
    RiskEvent: lambda r: [r.cause_id],
    Execution: lambda r: [r.order_id, *([bar_id(r.symbol, r.bar_seq)] if r.bar_seq else [])],
    Position: lambda r: [r.execution_id],
    Lot: lambda r: [r.execution_id],
    LotMatch: lambda r: [r.open_execution_id, r.close_execution_id],
}


def name_of(record: Record) -> str:
    """The id of a record; one in its style where the record has no field for it.

    >>> name_of(RiskFence(1, 60, 2, "HALTED", "test", "c1"))
    'fence-2'
    """
    name = _NAMES.get(type(record))
    return type(record).__name__ if name is None else name(record)


def causes_of(record: Record) -> list[str]:
    """The ids of what a record was made from, as it says itself."""
    causes = _CAUSES.get(type(record))
    return [] if causes is None else causes(record)


def explain(books: Books, wanted: str) -> Explanation | None:
    """Explain the order, proposal, execution, refusal or command of this id; None where there is none."""
    order = books.order(wanted)
    if order is not None:
        return _of_order(books, order)
    execution = books.execution(wanted)
    if execution is not None:
        ordered = books.order(execution.order_id)
        said = _of_order(books, ordered).outcome if ordered else f"its order {execution.order_id} is not found"
        return Explanation(f"{wanted}: {_report(execution)}; {said}", _trace_execution(books, execution))
    proposal = books.proposal(wanted)
    if proposal is not None:
        return _of_proposal(books, proposal)
    refusal = _refusal(books, wanted)
    if refusal is not None:
        return Explanation(refusal.message, _trace_refusal(books, refusal))
    command = books.command(wanted)
    return None if command is None else _of_command(books, command)


def _of_order(books: Books, order: Order) -> Explanation:
    reports = books.executions_of(order.order_id)
    consequences = tuple(_with_bar(books, report) for report in reports)
    return Explanation(f"{order.order_id} {_end(order, reports)}", _trace_order(books, order), consequences)


def _of_proposal(books: Books, proposal: OrderProposal) -> Explanation:
    root = _trace_proposal(books, proposal)
    order = books.order_of(proposal.proposal_id)
    if order is not None:
        whole = _of_order(books, order)
        said = f"{proposal.proposal_id} was approved as {whole.outcome}"
        return Explanation(said, root, (_node(order), *whole.consequences))
    refusal = books.refusal_of(proposal.proposal_id)
    if refusal is None:
        return Explanation(f"{proposal.proposal_id}: risk has not decided on it yet", root)
    return Explanation(f"{proposal.proposal_id} was refused: {refusal.message}", root, (_node(refusal),))


def _of_command(books: Books, command: Command) -> Explanation:
    found = (
        books.order_of(command.command_id),
        books.fence_of(command.command_id),
        books.refusal_of(command.command_id),
    )
    made = tuple(_node(record) for record in found if record is not None)
    said = ", ".join(node.name for node in made) or "nothing"
    return Explanation(f"{command.actor} asked for {command.kind} ({command.reason}): {said}", _node(command), made)


def _refusal(books: Books, wanted: str) -> OrderRefusal | None:
    seq = wanted.removeprefix("refusal-")
    return books.refusal(int(seq)) if seq != wanted and seq.isdecimal() else None


def _end(order: Order, reports: list[Execution]) -> str:
    fills = [report for report in reports if report.exec_type == TRADE]
    filled = sum((fill.quantity for fill in fills), Decimal(0))
    asked = f"{order.side} {order.quantity} {order.symbol}"
    if filled == order.quantity:
        paid = sum((fill.quantity * fill.price for fill in fills), Decimal(0)) / filled
        return f"({asked}) was filled at {paid.normalize():f} on average"
    last = reports[-1] if reports else None
    if last is None:
        return f"({asked}) is approved, and the venue has not reported on it yet"
    return f"({asked}) traded {filled}, last report: {_report(last)}"


def _report(execution: Execution) -> str:
    if execution.exec_type == TRADE:
        return f"{execution.side} {execution.quantity} {execution.symbol} at {execution.price}, fee {execution.fee}"
    return f"{execution.exec_type} {execution.text}".rstrip()


# -- the tree ----------------------------------------------------------------------------------------------------------


def _node(record: Record, *causes: Node) -> Node:
    return Node(type(record).__name__, name_of(record), record, causes)


def _trace_execution(books: Books, execution: Execution) -> Node:
    order = books.order(execution.order_id)
    cause = Node("Order", execution.order_id, None) if order is None else _trace_order(books, order)
    return _node(execution, *_with_bar(books, execution).causes, cause)


def _with_bar(books: Books, execution: Execution) -> Node:
    if not execution.bar_seq:
        return _node(execution)
    return _node(execution, _trace_bar(books, execution.symbol, execution.bar_seq, execution.ts_ns))


def _trace_order(books: Books, order: Order) -> Node:
    return _node(order, _trace_asker(books, order.cause_id))


def _trace_refusal(books: Books, refusal: OrderRefusal) -> Node:
    return _node(refusal, _trace_asker(books, refusal.cause_id))


def _trace_asker(books: Books, cause_id: str) -> Node:
    """A proposal, or the command of a person."""
    proposal = books.proposal(cause_id)
    if proposal is not None:
        return _trace_proposal(books, proposal)
    command = books.command(cause_id)
    return Node("OrderProposal", cause_id, None) if command is None else _node(command)


def _trace_proposal(books: Books, proposal: OrderProposal) -> Node:
    return _node(proposal, *(_trace_wish(books, name) for name in proposal.signal_ids))


def _trace_wish(books: Books, name: str) -> Node:
    """A signal, or the command whose target weights it was sized by."""
    command = books.command(name)
    if command is not None:
        return _node(command)
    return _trace_signal(books, name) if name.startswith("sig-") else Node("Command", name, None)


def _trace_signal(books: Books, name: str) -> Node:
    symbol, seq = keyed(name)
    signal = books.signal(symbol, seq)
    if signal is None:
        return Node("Signal", name, None)
    _, row_seq = keyed(signal.feature_id)
    read = (_trace_read(books, cause) for cause in signal.cause_ids)
    return _node(signal, trace_feature(books, signal.symbol, row_seq, signal.ts_ns), *read)


def _trace_read(books: Books, name: str) -> Node:
    """What a signal rests on beside its feature row: another signal, a forecast, weights, a score of news, a filing."""
    kind, _, rest = name.partition("-")
    if kind == "sig":
        return _trace_signal(books, name)
    if kind == "sent" and rest.isdecimal():
        score = books.score(int(rest))
        return Node("SentimentScore", name, None) if score is None else _trace_score(books, score)
    if kind == "pred":
        return _trace_prediction(books, name)
    if kind == "weights" and rest.isdecimal():
        weights = books.weights(int(rest))
        return Node("StrategyWeights", name, None) if weights is None else _node(weights)
    filing = books.filing(name)
    return Node("Fundamentals" if kind == "fund" else "Record", name, None) if filing is None else _node(filing)


def _trace_prediction(books: Books, name: str) -> Node:
    """A forecast, which names its model's hash, with the feature row that the model read."""
    forecast = books.prediction(*keyed(name))
    if forecast is None:
        return Node("Prediction", name, None)
    _, row_seq = keyed(forecast.feature_id)
    return _node(forecast, trace_feature(books, forecast.symbol, row_seq, forecast.ts_ns))


def _trace_score(books: Books, score: SentimentScore) -> Node:
    """A score with the headline, and with what a language model was asked and answered."""
    news = books.news(score.news_id)
    causes = [Node("NewsItem", score.news_id, None) if news is None else _node(news)]
    if score.answer_id:
        answer = books.answer(score.answer_id)
        causes.append(Node("LlmAnswer", score.answer_id, None) if answer is None else _node(answer))
    return _node(score, *causes)


def trace_feature(books: Books, symbol: str, seq: int, ts_ns: int) -> Node:
    """A feature row and the bar that it was made at."""
    row = books.feature(symbol, seq, ts_ns)
    if row is None:
        return Node("FeatureRow", feature_id(symbol, seq), None)
    return _node(row, _trace_bar(books, symbol, row.bar_seq, row.ts_ns))


def _trace_bar(books: Books, symbol: str, seq: int, ts_ns: int) -> Node:
    bar = books.bar(symbol, seq, ts_ns)
    return Node("Bar", bar_id(symbol, seq), None) if bar is None else _node(bar)


def keyed(name: str) -> tuple[str, int]:
    """Symbol and seq of an id by symbol.

    >>> keyed("sig-BRK-B-7")
    ('BRK-B', 7)
    """
    _, _, rest = name.partition("-")
    symbol, _, seq = rest.rpartition("-")
    return symbol, int(seq)


def nodes(node: Node) -> Iterator[Node]:
    """The node and all below it, causes last."""
    yield node
    for cause in node.causes:
        yield from nodes(cause)


def located(node: Node, find: Callable[[Record], Place | None]) -> Node:
    """The same tree with the place of each record that `find` knows."""
    place = None if node.record is None else find(node.record)
    return node._replace(place=place, causes=tuple(located(cause, find) for cause in node.causes))


def as_tree(node: Node) -> dict[str, Any]:
    """The node and its causes as plain dictionaries and lists: kind, id, record, place, causes."""
    record: dict[str, Any] | None = None
    if node.record is not None:
        record = node.record._asdict()
        if "checks" in record:
            record["checks"] = [check._asdict() for check in record["checks"]]
    return {
        "kind": node.kind,
        "id": node.name,
        "record": record,
        "place": None if node.place is None else node.place._asdict(),
        "causes": [as_tree(cause) for cause in node.causes],
    }

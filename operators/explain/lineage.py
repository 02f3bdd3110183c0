"""Explain a decision: build the tree of its causes, down to the bars.

Every derived record contains the ids of its causes (`schemas/records/`). The caller supplies a `RecordLookup`, which
finds a record by its id.
"""

from __future__ import annotations

from decimal import Decimal

from operators.adjustments import adjustment_order_id, is_adjustment
from operators.explain.cause_tree import CauseNode, Explanation, node_of
from operators.explain.configurations import without_contents
from operators.explain.record_ids import split_record_id
from operators.explain.record_lookup import RecordLookup
from operators.manual_orders import ACTION_PREFIX, EXIT_SUFFIXES, entry_cause_id
from operators.money import plain
from operators.reference_data import whole_action_id
from operators.risk.margin_call import MARGIN_CAUSE_PREFIX
from schemas.records import (
    TRADE,
    UNIVERSE_ADDED,
    UNIVERSE_REMOVED,
    CashTransfer,
    Command,
    Execution,
    InternalCross,
    Order,
    OrderCancel,
    OrderProposal,
    OrderRefusal,
    Record,
    SentimentScore,
    StrategyAction,
    bar_id,
    feature_id,
)


def explain(lookup: RecordLookup, record_id: str) -> Explanation | None:
    """Explain the order, proposal, execution, internal cross, refusal, cash transfer, command or action of a strategy
    with this id.

    Return None if there is none.
    """
    order = lookup.order(record_id)
    if order is not None:
        return _explain_order(lookup, order)
    execution = lookup.execution(record_id)
    if execution is None and is_adjustment(record_id):
        execution = next(iter(lookup.executions_of(record_id)), None)
    if execution is not None and is_adjustment(execution.order_id):
        outcome = f"{record_id}: {_report_text(execution)}; {execution.text}"
        return Explanation(outcome, _trace_execution(lookup, execution))
    if execution is not None:
        executed_order = lookup.order(execution.order_id)
        order_outcome = (
            _explain_order(lookup, executed_order).outcome
            if executed_order
            else f"order {execution.order_id} not found"
        )
        return Explanation(
            f"{record_id}: {_report_text(execution)}; {order_outcome}", _trace_execution(lookup, execution)
        )
    proposal = lookup.proposal(record_id)
    if proposal is not None:
        return _explain_proposal(lookup, proposal)
    cross = lookup.cross(record_id)
    if cross is not None:
        return Explanation(_cross_text(cross), _trace_cross(lookup, cross))
    refusal = _find_refusal(lookup, record_id)
    if refusal is not None:
        return Explanation(refusal.message, _trace_refusal(lookup, refusal))
    transfer = lookup.transfer(record_id)
    if transfer is not None:
        return Explanation(_transfer_text(transfer), _trace_transfer(lookup, transfer))
    action = lookup.action(record_id)
    if action is not None:
        return _explain_action(lookup, action)
    command = lookup.command(record_id)
    return None if command is None else _explain_command(lookup, command)


def _explain_order(lookup: RecordLookup, order: Order) -> Explanation:
    reports = lookup.executions_of(order.order_id)
    cancels = [_trace_cancel(lookup, cancel) for cancel in lookup.cancels_of(order_id=order.order_id)]
    consequences = (*cancels, *(_with_bar(lookup, report) for report in reports))
    return Explanation(f"{order.order_id} {_order_outcome(order, reports)}", _trace_order(lookup, order), consequences)


def _explain_proposal(lookup: RecordLookup, proposal: OrderProposal) -> Explanation:
    root = _trace_proposal(lookup, proposal)
    order = lookup.order_of(proposal.proposal_id)
    if order is not None:
        order_explanation = _explain_order(lookup, order)
        outcome = f"{proposal.proposal_id} was approved as {order_explanation.outcome}"
        crosses = [node_of(cross) for cross in lookup.crosses_of(proposal.proposal_id)]
        return Explanation(outcome, root, (node_of(order), *order_explanation.consequences, *crosses))
    refusal = lookup.refusal_of(proposal.proposal_id)
    if refusal is None:
        return Explanation(f"{proposal.proposal_id} is pending: no decision by risk yet", root)
    return Explanation(f"{proposal.proposal_id} was rejected by risk: {refusal.message}", root, (node_of(refusal),))


def _explain_command(lookup: RecordLookup, command: Command) -> Explanation:
    results: list[Record | None] = [lookup.fence_of(command.command_id), lookup.transfer_of(command.command_id)]
    results += _results_of_request(lookup, command.command_id)
    results += lookup.executions_of(adjustment_order_id(command.command_id))
    consequences = tuple(node_of(record) for record in results if record is not None)
    names = ", ".join(node.record_id for node in consequences) or "no records yet"
    return Explanation(
        f"{command.actor} requested {command.kind} ({command.reason}): {names}", node_of(command), consequences
    )


def _explain_action(lookup: RecordLookup, action: StrategyAction) -> Explanation:
    if action.kind in (UNIVERSE_ADDED, UNIVERSE_REMOVED):
        change = "added to" if action.kind == UNIVERSE_ADDED else "removed from"
        figures = ", ".join(f"{name} {value}" for name, value in action.arguments.items())
        text = f"{action.symbol} was {change} the universe of {action.strategy} ({figures})"
        return Explanation(text, _trace_action(lookup, action))
    results = _results_of_request(lookup, action.action_id)
    results += [*lookup.reductions_of(action.action_id), *lookup.crosses_of(action.action_id)]
    consequences = tuple(node_of(record) for record in results)
    names = ", ".join(node.record_id for node in consequences) or "no orders or rejections"
    arguments = ", ".join(f"{name} {value}" for name, value in action.arguments.items() if name != "symbol")
    text = f"{action.strategy} requested {action.kind} {action.symbol} ({arguments})".replace("  ", " ")
    return Explanation(f"{text}: {names}", _trace_action(lookup, action), consequences)


def _results_of_request(lookup: RecordLookup, request_id: str) -> list[Record]:
    """Return the orders, refusals and cancels that a command or action caused."""
    results: list[Record | None] = []
    for cause_id in (request_id, *(request_id + suffix for suffix in EXIT_SUFFIXES)):
        results += [lookup.order_of(cause_id), lookup.refusal_of(cause_id)]
    results += lookup.cancels_of(cause_id=request_id)
    return [record for record in results if record is not None]


def _find_refusal(lookup: RecordLookup, record_id: str) -> OrderRefusal | None:
    seq = record_id.removeprefix("refusal-")
    return lookup.refusal(int(seq)) if seq != record_id and seq.isdecimal() else None


def _order_outcome(order: Order, reports: list[Execution]) -> str:
    fills = [report for report in reports if report.exec_type == TRADE]
    filled = sum((fill.quantity for fill in fills), Decimal(0))
    terms = order.terms
    order_text = f"{terms.side} {plain(terms.quantity)} {terms.symbol}"
    if filled == terms.quantity:
        average_price = sum((fill.quantity * fill.price for fill in fills), Decimal(0)) / filled
        return f"({order_text}) was filled at an average price of {average_price.normalize():f}"
    last_report = reports[-1] if reports else None
    if last_report is None:
        return f"({order_text}) was approved by risk, no report from the venue yet"
    return f"({order_text}) filled {plain(filled)} of {plain(terms.quantity)}, status {_report_text(last_report)}"


def _report_text(execution: Execution) -> str:
    if execution.exec_type == TRADE:
        trade = f"{execution.side} {plain(execution.quantity)} {execution.symbol} at {plain(execution.price)}"
        return f"{execution.exec_type} {trade}, fee {plain(execution.fee)}"
    return f"{execution.exec_type}: {execution.text}" if execution.text else execution.exec_type


# -- the tree ----------------------------------------------------------------------------------------------------------


def _trace_execution(lookup: RecordLookup, execution: Execution) -> CauseNode:
    if is_adjustment(execution.order_id):
        command = lookup.command(execution.cause_id)
        return node_of(
            execution, CauseNode("Command", execution.cause_id, None) if command is None else node_of(command)
        )
    order = lookup.order(execution.order_id)
    cause = CauseNode("Order", execution.order_id, None) if order is None else _trace_order(lookup, order)
    return node_of(execution, *_with_bar(lookup, execution).causes, cause)


def _with_bar(lookup: RecordLookup, execution: Execution) -> CauseNode:
    if not execution.bar_seq:
        return node_of(execution)
    return node_of(execution, _trace_bar(lookup, execution.symbol, execution.bar_seq, execution.ts_ns))


def _trace_order(lookup: RecordLookup, order: Order) -> CauseNode:
    """Trace an order to its cause and, if it amends an order, to that order."""
    causes = [_trace_order_cause(lookup, order.cause_id, order.ts_ns)]
    if order.replaces:
        amended = lookup.order(order.replaces)
        causes.append(CauseNode("Order", order.replaces, None) if amended is None else _trace_order(lookup, amended))
    return node_of(order, *causes)


def _trace_refusal(lookup: RecordLookup, refusal: OrderRefusal) -> CauseNode:
    return node_of(refusal, _trace_order_cause(lookup, refusal.cause_id, refusal.ts_ns))


def _trace_transfer(lookup: RecordLookup, transfer: CashTransfer) -> CauseNode:
    """Trace a cash transfer to the user's command or the broker's activity."""
    cause: Record | None = lookup.command(transfer.cause_id) or lookup.activity(transfer.cause_id)
    return node_of(transfer, CauseNode("Record", transfer.cause_id, None) if cause is None else node_of(cause))


def _cross_text(cross: InternalCross) -> str:
    trade = f"{cross.seller} sold {plain(cross.quantity)} {cross.symbol} to {cross.buyer} at {plain(cross.price)}"
    return f"{cross.cross_id}: {trade}, inside the account"


def _trace_cross(lookup: RecordLookup, cross: InternalCross) -> CauseNode:
    """Trace an internal cross to the proposal and fill of the net order, or to the signals and actions."""
    causes: list[CauseNode] = []
    for cause_id in cross.cause_ids:
        proposal = lookup.proposal(cause_id)
        if proposal is not None:
            causes.append(_trace_proposal(lookup, proposal))
        elif cause_id.startswith("exe-"):
            execution = lookup.execution(cause_id)
            causes.append(CauseNode("Execution", cause_id, None) if execution is None else node_of(execution))
        else:
            causes.append(_trace_sizing_cause(lookup, cause_id))
    return node_of(cross, *causes)


def _transfer_text(transfer: CashTransfer) -> str:
    amount = f"{transfer.kind} of {plain(transfer.amount)} {transfer.currency}"
    return f"{transfer.transfer_id}: {amount} by {transfer.actor} ({transfer.reason or transfer.reference})"


def _trace_cancel(lookup: RecordLookup, cancel: OrderCancel) -> CauseNode:
    if cancel.cause_id.startswith(("exe-", "cross-")):
        return node_of(cancel, _trace_action_cause(lookup, cancel.cause_id, cancel.ts_ns))
    request = _trace_request(lookup, cancel.cause_id)
    return node_of(cancel) if request is None else node_of(cancel, request)


def _trace_request(lookup: RecordLookup, request_id: str) -> CauseNode | None:
    """Trace a command, or the action of a trading strategy. None if there is none with this id."""
    if request_id.startswith(ACTION_PREFIX):
        action = lookup.action(request_id)
        return None if action is None else _trace_action(lookup, action)
    command = lookup.command(request_id)
    return None if command is None else node_of(command)


def _trace_action(lookup: RecordLookup, action: StrategyAction) -> CauseNode:
    return node_of(action, *(_trace_action_cause(lookup, cause_id, action.ts_ns) for cause_id in action.cause_ids))


def _trace_action_cause(lookup: RecordLookup, cause_id: str, ts_ns: int) -> CauseNode:
    """Trace a record on which a trading strategy acted, or that the platform acted on for it."""
    kind = cause_id.partition("-")[0]
    if kind == "feat":
        return trace_feature(lookup, *split_record_id(cause_id), ts_ns)
    if kind == "bar":
        return _trace_bar(lookup, *split_record_id(cause_id), ts_ns)
    if kind == "exe":
        execution = lookup.execution(cause_id)
        return CauseNode("Execution", cause_id, None) if execution is None else _with_bar(lookup, execution)
    if kind == "cross":
        cross = lookup.cross(cause_id)
        return CauseNode("InternalCross", cause_id, None) if cross is None else _trace_cross(lookup, cross)
    if kind == "ord":
        order = lookup.order(cause_id)
        return CauseNode("Order", cause_id, None) if order is None else node_of(order)
    if kind == "quote":
        quote = lookup.quote(*split_record_id(cause_id))
        return CauseNode("Quote", cause_id, None) if quote is None else node_of(quote)
    if kind in ("sent", "pred", "fund"):
        return _trace_signal_input(lookup, cause_id)
    if kind == "config":
        return _trace_configuration(lookup, cause_id)
    record: Record | None = lookup.command(cause_id) if kind == "cmd" else lookup.action(cause_id)
    record = record or lookup.news(cause_id) or lookup.reference_record(whole_action_id(cause_id))
    return CauseNode("Record", cause_id, None) if record is None else node_of(record)


def _trace_order_cause(lookup: RecordLookup, cause_id: str, ts_ns: int) -> CauseNode:
    """Trace a proposal, a manual command or action, that of an exit's bracket, or a margin call."""
    proposal = lookup.proposal(cause_id)
    if proposal is not None:
        return _trace_proposal(lookup, proposal)
    if cause_id.startswith(MARGIN_CAUSE_PREFIX):
        event = lookup.margin_call(ts_ns)
        return CauseNode("RiskEvent", cause_id, None) if event is None else node_of(event)
    if cause_id.startswith(("exe-", "cross-")):  # of an order that risk has reduced after this trade
        return _trace_action_cause(lookup, cause_id, ts_ns)
    request = _trace_request(lookup, cause_id)
    if request is None and (entry_id := entry_cause_id(cause_id)) is not None:
        request = _trace_request(lookup, entry_id)
    return CauseNode("OrderProposal", cause_id, None) if request is None else request


def _trace_proposal(lookup: RecordLookup, proposal: OrderProposal) -> CauseNode:
    return node_of(proposal, *(_trace_sizing_cause(lookup, name) for name in proposal.signal_ids))


def _trace_sizing_cause(lookup: RecordLookup, cause_id: str) -> CauseNode:
    """Trace a signal, the action of a trading strategy, or the command that set the target weights."""
    request = _trace_request(lookup, cause_id)
    if request is not None:
        return request
    if cause_id.startswith(ACTION_PREFIX):
        return CauseNode("StrategyAction", cause_id, None)
    return _trace_signal(lookup, cause_id) if cause_id.startswith("sig-") else CauseNode("Command", cause_id, None)


def _trace_signal(lookup: RecordLookup, signal_record_id: str) -> CauseNode:
    symbol, seq = split_record_id(signal_record_id)
    signal = lookup.signal(symbol, seq)
    if signal is None:
        return CauseNode("Signal", signal_record_id, None)
    _, row_seq = split_record_id(signal.feature_id)
    inputs = (_trace_signal_input(lookup, cause) for cause in signal.cause_ids)
    return node_of(signal, trace_feature(lookup, signal.symbol, row_seq, signal.ts_ns), *inputs)


def _trace_signal_input(lookup: RecordLookup, cause_id: str) -> CauseNode:
    """Trace an input of a signal other than its feature row: a signal, forecast, weights, news score, filing, the
    suspension of its strategy, or the configuration that removed it.
    """
    kind, _, seq_text = cause_id.partition("-")
    if kind == "sig":
        return _trace_signal(lookup, cause_id)
    if kind == "config":
        return _trace_configuration(lookup, cause_id)
    if kind == "sent" and seq_text.isdecimal():
        score = lookup.score(int(seq_text))
        return CauseNode("SentimentScore", cause_id, None) if score is None else _trace_score(lookup, score)
    if kind == "pred":
        return _trace_prediction(lookup, cause_id)
    if kind == "weights" and seq_text.isdecimal():
        weights = lookup.weights(int(seq_text))
        return CauseNode("StrategyWeights", cause_id, None) if weights is None else node_of(weights)
    if kind == "susp":
        suspension = lookup.suspension(*split_record_id(cause_id))
        return CauseNode("StrategySuspension", cause_id, None) if suspension is None else node_of(suspension)
    filing = lookup.filing(cause_id)
    return (
        CauseNode("Fundamentals" if kind == "fund" else "Record", cause_id, None) if filing is None else node_of(filing)
    )


def _trace_configuration(lookup: RecordLookup, configuration_id: str) -> CauseNode:
    """Trace what the platform closed for a strategy that this configuration removed."""
    configuration = lookup.configuration(configuration_id)
    if configuration is None:
        return CauseNode("Configuration", configuration_id, None)
    return node_of(without_contents(configuration))


def _trace_prediction(lookup: RecordLookup, cause_id: str) -> CauseNode:
    """Trace a forecast to the feature row that the model used. The forecast contains the model's hash."""
    forecast = lookup.prediction(*split_record_id(cause_id))
    if forecast is None:
        return CauseNode("Prediction", cause_id, None)
    _, row_seq = split_record_id(forecast.feature_id)
    return node_of(forecast, trace_feature(lookup, forecast.symbol, row_seq, forecast.ts_ns))


def _trace_score(lookup: RecordLookup, score: SentimentScore) -> CauseNode:
    """Trace a score to its headline and, if a language model scored it, to the model's response."""
    news = lookup.news(score.news_id)
    causes = [CauseNode("NewsItem", score.news_id, None) if news is None else node_of(news)]
    if score.answer_id:
        answer = lookup.answer(score.answer_id)
        causes.append(CauseNode("LlmAnswer", score.answer_id, None) if answer is None else node_of(answer))
    return node_of(score, *causes)


def trace_feature(lookup: RecordLookup, symbol: str, seq: int, ts_ns: int) -> CauseNode:
    """Trace a feature row to its bar."""
    row = lookup.feature(symbol, seq, ts_ns)
    if row is None:
        return CauseNode("FeatureRow", feature_id(symbol, seq), None)
    return node_of(row, _trace_bar(lookup, symbol, row.bar_seq, row.ts_ns))


def _trace_bar(lookup: RecordLookup, symbol: str, seq: int, ts_ns: int) -> CauseNode:
    bar = lookup.bar(symbol, seq, ts_ns)
    return CauseNode("Bar", bar_id(symbol, seq), None) if bar is None else node_of(bar)

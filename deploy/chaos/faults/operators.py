"""What people do while the platform runs: commands by hand, and the kill switch while an upstream dataflow is dead.

* command: a market order, an order that risk rejects, a limit order that rests, or a deposit. The command is sent until
  Kafka acknowledges it, so that the log may hold it twice.
* kill_switch: a dataflow upstream of the orders stops (SIGSTOP: it responds to nothing, and no time slice passes it).
  The kill switch must confirm the halt nevertheless. When the dataflow continues, risk follows; trading is then
  released.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from dataflows.sources.market.live_feed import FEED_SWITCHED
from deploy.chaos.fault import Fault, FaultRun, Halt, PlannedFault, RunEvidence
from deploy.chaos.tape import SYMBOLS
from deploy.errors import DeployError
from schemas.records import (
    ACTIVE,
    CASH_TRANSFER,
    HALTED,
    HEARTBEAT,
    SIGNING_KEY,
    SIGNING_KEY_REVOKED,
    SIGNING_ROOT,
    SUBMIT_ORDER,
    CashTransfer,
    Command,
    CommandKind,
    Order,
    OrderRefusal,
    Record,
    RiskFence,
)
from sinks.commands import new_command

ACTOR: Final = "chaos"
_PLATFORM_COMMANDS = (SIGNING_ROOT, SIGNING_KEY, SIGNING_KEY_REVOKED, HEARTBEAT, FEED_SWITCHED)
"""Commands that the platform itself publishes."""
_EFFECT_TOPICS = ("orders", "order-refusals", "executions")
_UPSTREAM = ("features", "sentiment", "signals", "strategies", "portfolio", "risk")
_HALT_TIMEOUT_S = 30
"""The platform promises two seconds. This machine also runs the faults."""
_OBSERVED_SLICES, _OBSERVED_TRIES = 4, 60
_PUBLISHED = re.compile(r"published (cmd-\S+?);")


# -- commands by hand --------------------------------------------------------------------------------------------------


def drawn_terms(draw: float) -> tuple[CommandKind, dict[str, str]]:
    """Return the kind and the arguments of a command; `draw` in [0, 1) selects them."""
    symbol, quantity = SYMBOLS[int(draw * 1000) % len(SYMBOLS)], str(1 + int(draw * 10_000) % 20)
    order = {"symbol": symbol, "side": "BUY", "quantity": quantity, "order_type": "MARKET", "time_in_force": "DAY"}
    choices: list[tuple[CommandKind, dict[str, str]]] = [
        (SUBMIT_ORDER, order),
        (SUBMIT_ORDER, {**order, "quantity": "1000000"}),
        (SUBMIT_ORDER, {**order, "order_type": "LIMIT", "limit_price": "1"}),
        (CASH_TRANSFER, {"kind": "DEPOSIT", "amount": str(100 + int(draw * 10_000) % 900)}),
    ]
    return choices[int(draw * 4)]


def _command(run: FaultRun, fault: PlannedFault) -> str:
    kind, arguments = drawn_terms(fault.draw)
    command = new_command(kind, actor=ACTOR, reason="by hand", arguments=arguments)
    run.stack.send(command)
    run.commands.append(command)
    run.pace.advance(1)
    return f"{kind} {' '.join(arguments.values())}"


def _command_problem(evidence: RunEvidence) -> str | None:
    return commands_problem(evidence.run.commands, evidence.run.halts, evidence.records)


def commands_problem(
    sent: Sequence[Command], halts: Sequence[Halt], records: Mapping[str, Sequence[Record]]
) -> str | None:
    """Return the first difference between the commands that were sent and those in the log, or a command without its
    effect: an order, a rejection or a cash transfer.
    """
    logged = [record for record in records["commands"] if type(record) is Command]
    counts = Counter(command.command_id for command in logged)
    by_id = {command.command_id: command for command in logged}
    of_halts = {command_id for halt in halts for command_id in halt}
    for command in sent:
        if counts[command.command_id] != 1:
            return f"command {command.command_id} is in the log {counts[command.command_id]} times, expected once"
        recorded = by_id[command.command_id]
        if recorded._replace(key_id="", signature="") != command:
            return f"command {command.command_id} is {recorded}, expected {command}"
    unknown = by_id.keys() - {command.command_id for command in sent} - of_halts
    for command_id in sorted(unknown):
        if by_id[command_id].kind not in _PLATFORM_COMMANDS:
            return f"command {command_id} is in the log, but nobody sent it: {by_id[command_id]}"
    effects = Counter(cause_id for topic in _EFFECT_TOPICS for cause_id in _decided_causes(records[topic]))
    for command in sent:
        if command.kind in (SUBMIT_ORDER, CASH_TRANSFER) and effects[command.command_id] != 1:
            return f"command {command.command_id} had {effects[command.command_id]} effects, expected one: {command}"
    return None


def _decided_causes(records: Iterable[Record]) -> Iterator[str]:
    for record in records:
        if type(record) is Order or type(record) is OrderRefusal or type(record) is CashTransfer:
            yield record.cause_id


# -- the kill switch ---------------------------------------------------------------------------------------------------


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Stop processes during the block: they respond to nothing, and their connections stay open."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):  # the supervisor may have ended it
                os.kill(pid, signal.SIGCONT)


def _kill_switch(run: FaultRun, fault: PlannedFault) -> str:
    stack = run.stack
    stack.wait_for_servers()
    pids = [stack.wait_for_pid(child.name) for child in stack.children(fault.target)]
    with stopped(pids):
        text = stack.run_command("kill-switch", "on", "--reason", "test", "--timeout", str(_HALT_TIMEOUT_S), "--json")
        outcome = json.loads(text)
        if (problem := halt_problem(outcome, _status(run))) is not None:
            raise DeployError(problem)
    _wait_for_risk(run, HALTED)
    released = _PUBLISHED.search(stack.run_command("kill-switch", "off", "--reason", "test"))
    if released is None:
        raise DeployError("kill-switch off printed no command id")
    run.halts.append(Halt(str(outcome["command_id"]), released[1]))
    _wait_for_risk(run, ACTIVE)
    return f"{fault.target} stopped; halt confirmed after {outcome['confirmed_s'] or outcome['elapsed_s']:.1f} s"


def halt_problem(outcome: dict[str, Any], status: dict[str, Any]) -> str | None:
    """Return what is wrong with a halt while an upstream dataflow is dead, or None.

    `outcome` is what `kill-switch on` printed, `status` what `kill-switch status` printed directly after it.
    """
    if not outcome["safe"] or not outcome["published"]:
        return f"kill-switch on did not halt trading: {outcome}"
    if (status["state"], status["gateway"]) != (HALTED, "CONFIRMED"):
        return f"kill-switch status is {status['state']}, gateway {status['gateway']}; expected HALTED, CONFIRMED"
    return None


def _status(run: FaultRun) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(run.stack.run_command("kill-switch", "status", "--json"))
    return status


def _wait_for_risk(run: FaultRun, state: str) -> None:
    """Let time slices pass until risk has followed the kill switch."""
    run.pace.advance(_OBSERVED_SLICES)
    for _ in range(_OBSERVED_TRIES):
        status = _status(run)
        if status["state"] == status["risk"] == state:
            return
    raise DeployError(f"risk did not follow the kill switch: {status}, expected {state}")


def _kill_switch_problem(evidence: RunEvidence) -> str | None:
    return halts_problem(evidence.run.halts, evidence.records["orders"])


def halts_problem(halts: Sequence[Halt], orders: Sequence[Record]) -> str | None:
    """Return a halt without its fences, or an order that was approved during a halt, or None.

    `orders` are the records of the topic `orders` in their order.
    """
    fences = {(fence.cause_id, fence.state): fence for fence in orders if type(fence) is RiskFence}
    for halt in halts:
        halted, released = fences.get((halt.command_id, HALTED)), fences.get((halt.release_id, ACTIVE))
        if halted is None or released is None:
            missing = halt.command_id if halted is None else halt.release_id
            return f"topic orders has no fence of command {missing}"
        approved = (r for r in orders if type(r) is Order and halted.seq < r.seq < released.seq)
        for order in approved:
            return f"order {order.order_id} was approved while trading was halted by {halt.command_id}"
    return None


COMMAND = Fault(("portfolio", "risk"), _command, _command_problem)
KILL_SWITCH = Fault(_UPSTREAM, _kill_switch, _kill_switch_problem, kills_per_fault=10, tape_s=4.0)

"""What each kind of fault promises is checked, and each check can fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.chaos import raising_strategy
from deploy.chaos.fault import Halt, RaisingPlan
from deploy.chaos.faults.brokers import broker_problem
from deploy.chaos.faults.disks import reports_full_disk
from deploy.chaos.faults.operators import ACTOR, commands_problem, drawn_terms, halt_problem, halts_problem
from deploy.chaos.faults.processes import shift_clock
from deploy.chaos.faults.state import refusal_problem, second_process_problem
from deploy.chaos.faults.strategies import predictions_problem, suspension_problem
from deploy.chaos.faults.supervision import takeover_problem
from deploy.errors import DeployError
from schemas.records import (
    ACTIVE,
    CASH_TRANSFER,
    DEPOSIT,
    HALTED,
    SUBMIT_ORDER,
    Command,
    OrderIntent,
    StrategySuspension,
)
from tests.builders import cash_transfer, command, execution, fence, order, prediction, refusal, signal, strategy_action

ORDER = command("cmd-1", 5, SUBMIT_ORDER, {"symbol": "AAPL"}, actor=ACTOR)
BAD_ORDER = command("cmd-2", 6, SUBMIT_ORDER, {"symbol": "AAPL"}, actor=ACTOR)
TRANSFER = command("cmd-3", 7, CASH_TRANSFER, {"kind": "DEPOSIT"}, actor=ACTOR)
SENT = [ORDER, BAD_ORDER, TRANSFER]
HALT = Halt("cmd-halt", "cmd-release")


def command_records(**changes: list[Any]) -> dict[str, Any]:
    """Return the topics after three commands by hand and a halt, with other records for the topics in `changes`."""
    signed = [sent._replace(key_id="key", signature="signature") for sent in SENT]
    records = {
        "commands": [*signed, command("cmd-halt"), command("cmd-release", kind="RELEASE"), key_record()],
        "orders": [order(1, cause_id="cmd-1"), order(2)],
        "order-refusals": [refusal(1, 6, "AAPL", cause_id="cmd-2")],
        "executions": [cash_transfer(1, DEPOSIT, 100, cause_id="cmd-3")],
    }
    return records | {topic.replace("_", "-"): changed for topic, changed in changes.items()}


def key_record() -> Command:
    return command("key-1", kind="SIGNING_KEY")


def test_commands_by_hand_are_in_the_log_once_and_have_one_effect() -> None:
    assert commands_problem(SENT, [HALT], command_records()) is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"commands": [ORDER, BAD_ORDER]}, "command cmd-3 is in the log 0 times"),
        ({"commands": [*SENT, ORDER]}, "command cmd-1 is in the log 2 times"),
        ({"commands": [ORDER._replace(reason="forged"), BAD_ORDER, TRANSFER]}, "command cmd-1 is "),
        ({"commands": [*SENT, command("cmd-9")]}, "command cmd-9 is in the log, but nobody sent it"),
        ({"orders": []}, "command cmd-1 had 0 effects"),
        ({"orders": [order(1, cause_id="cmd-1"), order(2, cause_id="cmd-1")]}, "command cmd-1 had 2 effects"),
        ({"order_refusals": []}, "command cmd-2 had 0 effects"),
        ({"executions": []}, "command cmd-3 had 0 effects"),
    ],
)
def test_a_lost_repeated_forged_or_ineffective_command_is_reported(changes: dict[str, Any], problem: str) -> None:
    assert str(commands_problem(SENT, [HALT], command_records(**changes))).startswith(problem)


def test_the_draw_selects_every_kind_of_command() -> None:
    drawn = [drawn_terms(number / 100) for number in range(100)]
    assert {kind for kind, _ in drawn} == {SUBMIT_ORDER, CASH_TRANSFER}
    assert {terms.get("order_type") for _, terms in drawn} == {"MARKET", "LIMIT", None}
    assert drawn == [drawn_terms(number / 100) for number in range(100)]


CONFIRMED = {"state": "HALTED", "gateway": "CONFIRMED", "risk": "PENDING"}
SAFE = {"safe": True, "published": True}


@pytest.mark.parametrize(
    ("outcome", "status", "problem"),
    [
        (SAFE, CONFIRMED, None),
        ({**SAFE, "safe": False}, CONFIRMED, "kill-switch on did not halt trading"),
        ({**SAFE, "published": False}, CONFIRMED, "kill-switch on did not halt trading"),
        (SAFE, {**CONFIRMED, "state": "ACTIVE"}, "kill-switch status is ACTIVE"),
        (SAFE, {**CONFIRMED, "gateway": "PENDING"}, "kill-switch status is HALTED, gateway PENDING"),
    ],
)
def test_a_halt_that_nobody_confirmed_is_reported(
    outcome: dict[str, Any], status: dict[str, Any], problem: str | None
) -> None:
    found = halt_problem(outcome, status)
    assert found is None if problem is None else str(found).startswith(problem)


HALT_FENCE = fence(2, epoch=1, state=HALTED, cause_id="cmd-halt")
RELEASE_FENCE = fence(4, epoch=2, state=ACTIVE, cause_id="cmd-release")


@pytest.mark.parametrize(
    ("orders", "problem"),
    [
        ([order(1), HALT_FENCE, RELEASE_FENCE, order(5)], None),
        ([order(1), RELEASE_FENCE], "topic orders has no fence of command cmd-halt"),
        ([order(1), HALT_FENCE, order(5)], "topic orders has no fence of command cmd-release"),
        ([HALT_FENCE, order(3), RELEASE_FENCE], "order ord-3 was approved while trading was halted by cmd-halt"),
    ],
)
def test_an_order_during_a_halt_is_reported(orders: list[Any], problem: str | None) -> None:
    assert halts_problem([HALT], orders) == problem


@pytest.mark.parametrize(
    ("status", "output", "problem"),
    [
        (1, "error: recovery store /x is in use by process 7", None),
        (None, "", "it is still running"),
        (0, "recovery store /x is in use", "it exited with 0"),
        (1, "Traceback\nKeyError: 3", "it exited with 1 and printed 'KeyError: 3'"),
        (1, "", "it exited with 1 and printed 'no output'"),
    ],
)
def test_a_second_process_that_is_not_refused_is_reported(status: int | None, output: str, problem: str | None) -> None:
    found = second_process_problem(status, output, "recovery store /x is in use")
    assert found is None if problem is None else str(found).startswith(problem)


REFUSAL = (
    "the recovery store of risk is missing, but topic orders holds its records; "
    "restore the store with `python cli.py rebuild risk`"
)


def test_a_start_that_is_refused_with_another_sentence_is_reported() -> None:
    assert refusal_problem(REFUSAL, "risk") is None
    assert "expected 'the recovery store of features" in str(refusal_problem(REFUSAL, "features"))
    assert "expected 'the recovery store of risk" in str(refusal_problem("not healthy within 300 s", "risk"))
    assert "rebuild risk" in str(refusal_problem(REFUSAL.replace("rebuild risk", "rebuild feed"), "risk"))


class StartingProcess:
    """A process that has loaded its fake clock at the third attempt."""

    def __init__(self, loaded_after: int) -> None:
        self.missing, self.shifts = loaded_after, list[tuple[int, float]]()

    def wait_for_pid(self, child: str) -> int:
        return 7

    def set_clock(self, pid: int, offset_s: float) -> None:
        if self.missing:
            self.missing -= 1
            raise FileNotFoundError
        self.shifts.append((pid, offset_s))


def test_the_clock_of_a_process_that_is_starting_is_shifted_when_it_can_be() -> None:
    process = StartingProcess(2)
    shift_clock(process, "api", 60.0)  # type: ignore[arg-type]  # the two methods that are used
    assert process.shifts == [(7, 60.0)]
    with pytest.raises(DeployError, match=r"cannot set the clock of api \(pid 7\)"):
        shift_clock(StartingProcess(10**9), "api", 60.0, timeout_s=0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("after", "problem"),
    [
        ({"risk": 1, "features": 9}, None),
        ({"risk": 5, "features": 9}, "risk was not taken over: its pid was 1 and is 5"),
        ({"features": 9}, "risk was not taken over: its pid was 1 and is None"),
        ({"risk": 1, "features": 2}, "features was killed and not restarted: its pid is 2"),
        ({"risk": 1, "features": None}, "features was killed and not restarted: its pid is None"),
    ],
)
def test_a_process_that_is_not_taken_over_is_reported(after: dict[str, int | None], problem: str | None) -> None:
    assert takeover_problem({"risk": 1, "features": 2}, after, "features") == problem


PLAN = RaisingPlan("fragile_1", 1_000)


def suspension(state: Any, ts_ns: int, **fields: Any) -> StrategySuspension:
    suspended = StrategySuspension(
        symbol="AAPL",
        seq=1,
        ts_ns=ts_ns,
        strategy=PLAN.name,
        state=state,
        cause_id="feat-AAPL-1",
        error_type="ZeroDivisionError",
        message="",
        file=raising_strategy.__file__,
        line=1,
    )
    return suspended._replace(**fields)


SUSPENDED, RESUMED = suspension("SUSPENDED", 1_000), suspension("RESUMED", 5_000, error_type="", file="")


@pytest.mark.parametrize(
    ("suspensions", "signals", "problem"),
    [
        ([SUSPENDED, RESUMED], [signal("AAPL", 1, 900, strategy="fragile_1")], None),
        ([SUSPENDED, RESUMED], [signal("AAPL", 1, 3_000, strategy="ema_cross")], None),
        ([RESUMED], [], "strategy fragile_1 raised, but its suspensions are"),
        ([SUSPENDED], [], "strategy fragile_1 raised, but its suspensions are"),
        ([suspension("SUSPENDED", 900), RESUMED], [], "strategy fragile_1 was suspended at 900"),
        ([SUSPENDED._replace(file="other.py"), RESUMED], [], "the suspension of fragile_1 names other.py"),
        ([SUSPENDED._replace(error_type="KeyError"), RESUMED], [], "the suspension of fragile_1 names"),
        (
            [SUSPENDED, RESUMED],
            [signal("AAPL", 1, 3_000, strategy="fragile_1")],
            "strategy fragile_1 decided at 3000",
        ),
    ],
)
def test_a_strategy_that_is_not_suspended_as_promised_is_reported(
    suspensions: list[Any], signals: list[Any], problem: str | None
) -> None:
    found = suspension_problem(PLAN, suspensions, signals)
    assert found is None if problem is None else str(found).startswith(problem)


STOPPED = strategy_action(
    "SUSPENDED",
    "",
    ts_ns=1_000,
    strategy=PLAN.name,
    error_type="ZeroDivisionError",
    file=raising_strategy.__file__,
)
CONTINUED = strategy_action("RESUMED", "", number=2, ts_ns=5_000, strategy=PLAN.name)


@pytest.mark.parametrize(
    ("actions", "problem"),
    [
        ([STOPPED, CONTINUED], None),
        ([STOPPED, strategy_action("NOTE", "", number=2, ts_ns=3_000, strategy="order_strategy"), CONTINUED], None),
        ([STOPPED], "strategy fragile_1 raised, but its suspensions are"),
        ([STOPPED._replace(ts_ns=900), CONTINUED], "strategy fragile_1 was suspended at 900"),
        (
            [STOPPED, strategy_action("TARGET_QUANTITY", number=2, ts_ns=3_000, strategy=PLAN.name), CONTINUED],
            "strategy fragile_1 decided at 3000",
        ),
    ],
)
def test_a_trading_strategy_that_is_not_suspended_as_promised_is_reported(
    actions: list[Any], problem: str | None
) -> None:
    found = suspension_problem(PLAN, actions, actions)
    assert found is None if problem is None else str(found).startswith(problem)


@pytest.mark.parametrize(
    ("times_ns", "model_hash", "problem"),
    [
        ([10, 90], "abc", None),
        ([10], "abc", "the model has no forecasts before or after 50"),
        ([90], "abc", "the model has no forecasts before or after 50"),
        ([10, 90], "other", "a forecast of AAPL at 10 has model other, not abc"),
    ],
)
def test_a_model_that_does_not_serve_is_reported(times_ns: list[int], model_hash: str, problem: str | None) -> None:
    served = [prediction("AAPL", seq, ts_ns, model_hash=model_hash) for seq, ts_ns in enumerate(times_ns, 1)]
    found = predictions_problem("abc", [50], served)
    assert found is None if problem is None else str(found).startswith(problem)


def intent(number: int) -> OrderIntent:
    terms = order(number).terms
    return OrderIntent(
        seq=number,
        ts_ns=1,
        intent_id=f"intent-{number}",
        kind="SUBMIT",
        order_id=f"ord-{number}",
        client_order_id=f"client-{number}",
        terms=terms,
        extended_hours=False,
        emulated="",
        risk_epoch=0,
    )


def at_broker(name: str, filled: str = "10", attached_to: str = "") -> dict[str, str]:
    return {"client_order_id": name, "filled_qty": filled, "attached_to": attached_to}


FILL = execution(1, 5, "AAPL", 10, 100, order_id="ord-1")


@pytest.mark.parametrize(
    ("orders", "problem"),
    [
        ([at_broker("p1-client-1")], None),
        ([at_broker("p1-client-1", "12")], None),  # the last report arrived after the feed had stopped
        ([at_broker("p1-client-1"), at_broker("p1-client-1")], "order p1-client-1 is at the broker 2 times"),
        ([at_broker("p1-client-1"), at_broker("p1-client-9")], "order p1-client-9 is at the broker, but topic"),
        ([at_broker("p1-client-1", "4")], "order ord-1: 10 units are booked, 4 were filled"),
        ([], "order ord-1: 10 units are booked, 0 were filled"),
    ],
)
def test_an_order_that_the_broker_has_twice_or_not_is_reported(orders: list[Any], problem: str | None) -> None:
    found = broker_problem(orders, [intent(1)], [FILL])
    assert found is None if problem is None else str(found).startswith(problem)


def test_the_stop_that_the_broker_creates_with_an_oco_order_is_known_by_its_take_profit() -> None:
    oco = intent(1)._replace(stop_client_order_id="ord-2.3")
    stop_fill = execution(2, 5, "AAPL", -10, 90, order_id="ord-2")
    profit, stop = at_broker("p1-client-1", "0"), at_broker("b7", attached_to="p1-client-1")
    assert broker_problem([profit, stop], [oco], [stop_fill]) is None
    assert str(broker_problem([profit, {**stop, "filled_qty": "4"}], [oco], [stop_fill])).startswith("order ord-2: 10")
    stranger = at_broker("b8", attached_to="p1-client-9")
    assert str(broker_problem([profit, stranger], [oco], [])).startswith("order b8 is at the broker, but topic")


def test_a_full_disk_is_recognised_in_the_new_part_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    log.write_text("ERROR No space left on device\n")
    assert reports_full_disk(log, 0) and not reports_full_disk(log, log.stat().st_size)
    with log.open("a") as file:
        file.write("java.io.IOException: No space left on device\n")
    assert reports_full_disk(log, 30)
    assert reports_full_disk(log, 10_000), "the log was rotated"

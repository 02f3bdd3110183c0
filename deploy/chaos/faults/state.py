"""Faults of the state folder: a second process on a recovery store, and a store that is removed.

* instance: a second process of a dataflow is started with the command and environment of the first. It must refuse: its
  recovery store is in use. For services with a lease, it runs on a copy of the store, as on another machine.
* store: the platform is stopped and the recovery store of a dataflow removed. The start must be refused with a sentence
  that names `rebuild`; `rebuild` restores the store, and the next start continues.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import psutil

from dataflows.runtime.topology import STAGED_SERVICES, own_topics
from deploy.chaos.fault import Fault, FaultRun, PlannedFault
from deploy.chaos.faults.processes import draw_child
from deploy.errors import DeployError
from deploy.home import REPOSITORY
from deploy.supervisor.process_spec import DATAFLOW_NAMES

_SECOND_PROCESS_TIMEOUT_S = 120.0
_STORE_OPTION = "-r"


def _instance(run: FaultRun, fault: PlannedFault) -> str:
    stack = run.stack
    child = draw_child(stack, fault)
    stack.wait_until_healthy(child)
    pid = stack.wait_for_pid(child)
    process = psutil.Process(pid)
    command, environment = process.cmdline(), process.environ()
    expected = "recovery store {store} is in use by process"
    store = command[command.index(_STORE_OPTION) + 1]
    # The simulated venue has no lease: its records are a function of its inputs, and readers discard repeated ones.
    is_leased = fault.target == "market_data" or (fault.target == "execution" and stack.has_broker)
    if is_leased:
        copy = stack.home.root / "second" / child
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(store, copy)
        command[command.index(_STORE_OPTION) + 1], expected = str(copy), "the lease of {service} is held by"
    expected = expected.format(store=store, service=fault.target)
    problem = second_process_problem(*_run_second(command, environment, stack.home.root), expected)
    if problem is not None:
        raise DeployError(f"second process of {child}: {problem}")
    if stack.wait_for_pid(child) != pid:
        raise DeployError(f"{child} ended when a second process was started")
    reason = "its lease is held" if is_leased else "its store is in use"
    return f"a second process of {child} refused to start: {reason}"


def _run_second(command: list[str], environment: dict[str, str], folder: Path) -> tuple[int | None, str]:
    """Run a process until it ends by itself. The first item is None if it did not."""
    with (folder / "logs" / "second-process.log").open("w+") as output:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
        )
        try:
            status: int | None = process.wait(_SECOND_PROCESS_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = None
        output.seek(0)
        return status, output.read()


def second_process_problem(status: int | None, output: str, expected: str) -> str | None:
    """Return why a second process was not refused as promised, or None. `status` is None if it kept running."""
    if status is None:
        return f"it is still running after {_SECOND_PROCESS_TIMEOUT_S:.0f} s, expected it to exit"
    if status == 0 or expected not in output:
        last_line = (output.strip().splitlines() or ["no output"])[-1]
        return f"it exited with {status} and printed {last_line!r}, expected a message with {expected!r}"
    return None


def _store(run: FaultRun, fault: PlannedFault) -> str:
    stack, service = run.stack, run.stack.process_of(fault.target)
    # Without records, a missing store is not a loss.
    stack.wait_until(lambda: stack.passed_ns(fault.target) >= 0, f"the first time slice of {service}")
    stack.stop(run.pace)
    shutil.rmtree(stack.home.recovery / service)
    try:
        stack.start()
    except DeployError as error:
        refusal = str(error)
    else:
        raise DeployError(f"the platform started without the recovery store of {service}, expected a refusal")
    if (problem := refusal_problem(refusal, service)) is not None:
        raise DeployError(problem)
    message = stack.run_command("rebuild", service)
    if f"{service} continues at the next start from the end of its topics" not in message:
        raise DeployError(f"rebuild {service} printed {message!r}, expected that it continues")
    stack.start()
    return f"store of {service} removed; start refused; rebuilt"


def refusal_problem(refusal: str, service: str) -> str | None:
    """Return why the sentence of a refused start is not the promised one, or None."""
    expected = f"the recovery store of {service} is missing, but topic "
    repair = f"restore the store with `python cli.py rebuild {service}`"
    topics = own_topics(service)
    if not refusal.startswith(tuple(f"{expected}{topic} holds its records" for topic in topics)):
        return f"the start was refused with {refusal!r}, expected {expected!r} and one of {', '.join(topics)}"
    return None if repair in refusal else f"the start was refused with {refusal!r}, expected {repair!r} in it"


INSTANCE = Fault(DATAFLOW_NAMES, _instance, kills_per_fault=10, tape_s=4.0)
# Without a registered model, predictions has no records: its missing store is then not a loss.
STORE = Fault(
    ("market_data", *(name for name in STAGED_SERVICES if name != "predictions")),
    _store,
    kills_per_fault=10,
    tape_s=4.0,
)

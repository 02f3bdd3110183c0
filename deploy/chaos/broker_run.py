"""Run a platform on the local broker and its live feed, and compare it with a replay of what the log recorded.

A live feed has no tape: the uninterrupted run receives the inputs that the topics hold. Everything that the stages
derive from them is compared, and the broker's orders with the platform's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from configs.settings import load_settings
from dataflows.runtime.topology import Layout
from deploy.chaos.comparison import RunInputs, compare
from deploy.chaos.edge_records import EdgeLog
from deploy.chaos.fault import FaultKind, FaultRun, PlannedFault
from deploy.chaos.faults.brokers import orders_at_broker, wait_until_ready
from deploy.chaos.injection import PrintLine, RunOutcome, inject_faults
from deploy.chaos.pace import LivePace
from deploy.chaos.pinned_settings import pinned_settings
from deploy.chaos.stack import ChaosStack
from deploy.chaos.throttled_feed import FEED
from deploy.chaos.topic_content import read_inputs, read_logs
from deploy.errors import DeployError
from deploy.supervisor.process_spec import DATAFLOW_NAMES
from deploy.supervisor.start_options import StartOptions
from operators.stage import TimeSlice

KINDS: tuple[FaultKind, ...] = (
    "kill",
    "connection",
    "command",
    "kill_switch",
    "instance",
    "supervisor",
    "store",
    "broker",
)
"""The faults that need no tape. A wrong clock is not one of them: a live feed stamps records with it."""
SECONDS_PER_FAULT, SECONDS_MIN = 6.0, 30.0
_EDGES = ("broker-updates", "commands", "configuration")
# A deposit by hand is in the books only. Like Alpaca, the local broker takes 200 requests a minute, of which a
# reconciliation needs three: more would leave none to the kill switch.
_SETTINGS_OF_BROKER = {"reconcile_s": 3, "settle_s": 2, "cash_tolerance": "unlimited"}


def run_with_broker(
    folder: Path, faults: Sequence[PlannedFault], print_line: PrintLine, layout: Layout = Layout.SERVICES
) -> RunOutcome:
    """Raises DeployError if the run is impossible, or if the platform does not recover from a fault."""
    for fault in faults:
        if fault.kind not in KINDS:
            raise DeployError(f"fault {fault.kind} needs the tape; with broker, choose from {', '.join(KINDS)}")
    folder.mkdir(parents=True, exist_ok=True)
    settings_file = folder / "settings.yaml"
    _write_settings(settings_file)
    options = StartOptions("alpaca", settings=str(settings_file), broker="local-alpaca", layout=layout)
    settings = load_settings(settings_file, environment=options.environment())
    with ChaosStack(folder / "home", options) as stack:
        print_line(f"platform healthy; injecting {len(faults)} faults")
        pace = LivePace(stack, max(SECONDS_MIN, SECONDS_PER_FAULT * len(faults)))
        run = FaultRun(stack, pace)
        wait_until_ready(run)
        injected = inject_faults(run, faults, print_line)
        pace.go_to(1.0)
        wait_until_ready(run)
        stack.wait_until_running()
        stack.stop_services([FEED])
        # What the feed has published, the others must process.
        recorded = read_inputs(stack.kafka())
        stack.run_to_end(recorded[-1].ts_ns, without=FEED)
        run.orders_at_broker = orders_at_broker(stack.broker_port)
        stack.stop_services([*(name for name in DATAFLOW_NAMES if name != FEED), "api"])
        print_line(f"{len(recorded)} time slices recorded; comparing")
        stack.wait_until_healthy("kafka")
        messages = dict(read_logs(stack.kafka(), settings.kafka.symbol_partitions))
        edges = {topic: EdgeLog(messages[topic, 0]) for topic in _EDGES}
        inputs = RunInputs(recorded, edges, TimeSlice(recorded[-1].ts_ns, []))
        comparison = compare(run, [each.fault for each in injected], settings, messages, inputs)
        return RunOutcome(injected, comparison, stack.restarts)


def _write_settings(path: Path) -> None:
    """Write the settings of the tape's run without its language model and watched files. The venue is the broker."""
    tree = pinned_settings()
    del tree["sentiment"]
    tree["execution"] = {"broker": "alpaca", "alpaca": _SETTINGS_OF_BROKER}
    path.write_text(yaml.safe_dump(tree))

"""Run a platform on the fixed tape and the simulated venue, and compare it with the fused stages on the same tape."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from configs.settings import Settings, load_settings
from dataflows.runtime.topology import Layout
from deploy.chaos import edge_records
from deploy.chaos.comparison import RunInputs, compare
from deploy.chaos.expected import tape_slices
from deploy.chaos.fault import FaultRun, PlannedFault, RaisingPlan
from deploy.chaos.fault_settings import extend_settings, raising_plans, register_model
from deploy.chaos.injection import PrintLine, RunOutcome, inject_faults
from deploy.chaos.limited_disk import require_limited_disks
from deploy.chaos.llm_server import LocalLlm
from deploy.chaos.pace import TapePace
from deploy.chaos.schedule import FAULTS
from deploy.chaos.side_inputs import WireFiles, write_settings, write_side_inputs
from deploy.chaos.stack import ChaosStack
from deploy.chaos.tape import write_tape
from deploy.chaos.throttled_feed import LEAD_SLICES_MAX, ThrottledFeed
from deploy.chaos.topic_content import read_logs, wait_for_records
from deploy.supervisor.start_options import StartOptions
from operators.stage import TimeSlice

SECONDS_MIN = 8.0


class RunSetup(NamedTuple):
    """The inputs of a run: the bar files, the time slices of the feed, the watched files, and what the faults need."""

    bars: list[Path]
    tape: list[TimeSlice]
    wire: WireFiles
    settings: Settings
    raising: dict[PlannedFault, RaisingPlan]
    model_hash: str


def run_on_tape(
    folder: Path,
    seed: int,
    minutes: int,
    faults: Sequence[PlannedFault],
    print_line: PrintLine,
    layout: Layout = Layout.SERVICES,
) -> RunOutcome:
    """Raises DeployError if the run is impossible, or if the platform does not recover from a fault."""
    has_space_faults = any(fault.kind == "space" for fault in faults)
    if has_space_faults:
        require_limited_disks()
    with LocalLlm() as llm:
        setup = prepare(folder, seed, minutes, faults, llm.url)
        clocks = [time_slice.ts_ns for time_slice in setup.tape]
        records = sum(len(time_slice.records) for time_slice in setup.tape)
        print_line(f"tape: {len(clocks)} time slices, {records:,} records")
        seconds = max(SECONDS_MIN, sum(FAULTS[fault.kind].tape_s for fault in faults))
        speed = f"{minutes * 60 / seconds:.0f}" if faults else "max"
        settings_file = str(folder / "settings.yaml")
        options = StartOptions("files", tuple(map(str, setup.bars)), speed, settings_file, layout=layout)
        with ChaosStack(folder / "home", options, limited_disks=has_space_faults) as stack:
            print_line(f"platform healthy; injecting {len(faults)} faults")
            with ThrottledFeed(stack, clocks, LEAD_SLICES_MAX) as feed:
                pace = TapePace(stack, feed, clocks)
                run = FaultRun(stack, pace, raising=setup.raising, model_hash=setup.model_hash)
                # The watched files grow just before each fault.
                injected = inject_faults(run, faults, print_line, before=setup.wire.append_rows)
            stack.run_to_end(clocks[-1])
            for topic, wire_records in edge_records.source_records(setup.wire).items():
                wait_for_records(stack.kafka(), topic, wire_records)
            stack.stop_dataflows()
            print_line("end of the tape reached; comparing")
            stack.wait_until_healthy("kafka")
            messages = dict(read_logs(stack.kafka(), setup.settings.kafka.symbol_partitions))
            edges = edge_records.read_edge_logs(messages)
            sources = edge_records.source_records(setup.wire)
            inputs = RunInputs(
                edge_records.with_recorded_edges(setup.tape, edges),
                edges,
                edge_records.trailing_records(setup.tape, edges),
                partial(edge_records.first_difference, setup.tape, edges, sources),
            )
            comparison = compare(run, [each.fault for each in injected], setup.settings, messages, inputs)
            return RunOutcome(injected, comparison, stack.restarts)


def prepare(folder: Path, seed: int, minutes: int, faults: Sequence[PlannedFault], llm_url: str) -> RunSetup:
    """Write the tape and `settings.yaml` into the folder. Equal arguments result in equal decisions."""
    bars, wire = write_tape(folder / "tape", seed, minutes), WireFiles(folder / "tape", seed)
    side_inputs = write_side_inputs(folder / "tape", seed, bars, minutes)
    settings_file = folder / "settings.yaml"
    write_settings(settings_file, side_inputs, wire, llm_url)
    settings = load_settings(settings_file, environment={})
    tape = tape_slices(settings, bars)
    raising = raising_plans(faults, [time_slice.ts_ns for time_slice in tape])
    registry = folder / "models" if any(fault.kind == "model" for fault in faults) else None
    model_hash = "" if registry is None else register_model(settings, tape, registry)
    extend_settings(settings_file, list(raising.values()), registry=registry)
    return RunSetup(
        bars=bars,
        tape=tape,
        wire=wire,
        settings=load_settings(settings_file, environment={}),
        raising=raising,
        model_hash=model_hash,
    )

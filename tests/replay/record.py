"""`python -m tests.replay.record` writes `recorded/` again. The diff shows the effect of a change of decisions."""

from __future__ import annotations

import json
from datetime import time

from dataflows.runtime import topology
from operators.stage import TimeSlice
from schemas.codec import decode
from schemas.records import KILL_SWITCH, RELEASE, DeadLetter
from tests.builders import command
from tests.replay import recorded
from tests.replay.in_memory_platform import InMemoryPlatform
from tests.replay.market import FRIDAY, write_market
from tests.replay.runs import backtest_summary, pinned_settings, read_time_slices

COMMANDS = {24: KILL_SWITCH, 28: RELEASE}
"""By index of the time slice that contains the command."""


def with_commands(time_slices: list[TimeSlice]) -> list[TimeSlice]:
    out = list(time_slices)
    for number, kind in COMMANDS.items():
        ts_ns, records = time_slices[number]
        out[number] = TimeSlice(ts_ns, [*records, command(f"command-{number}", ts_ns, kind, reason="recorded")])
    return out


def main() -> None:
    files = write_market(recorded.BARS, symbols=("AAA", "BBB", "CCC"), days=[FRIDAY], open_time=time(9, 20), minutes=40)
    with files[0].open("a") as file:
        file.write("2024-03-08T14:40:00Z,AAA,not a price,1,1,1,1\n2024-03-08T14:41:00Z,AAA,10,9,11,10,1\n")
    time_slices = read_time_slices(files)
    logs = InMemoryPlatform(pinned_settings(), with_commands(time_slices), partitions=recorded.PARTITIONS, seed=1).run()
    for topic in sorted({topic for service in topology.SERVICES.values() for topic in service.outputs}):
        partitions = topology.partitions_of(topic, recorded.PARTITIONS)
        recorded.save(topic, {p: [decode(message) for message in logs.messages[topic, p]] for p in partitions})
    dead_letters = [record for time_slice in time_slices for record in time_slice.records if type(record) is DeadLetter]
    recorded.save("dead-letters", {0: dead_letters})
    recorded.SUMMARY.write_text(json.dumps(backtest_summary(), indent=1) + "\n")


if __name__ == "__main__":
    main()

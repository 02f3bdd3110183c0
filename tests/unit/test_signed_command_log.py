"""The reader of the log `commands`: the cut-over at one message, dead letters, snapshots and crashes."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import pytest

from operators.alignment import KEYED_VERSION, VERSION, AlignedLogs
from operators.command_signatures import REASON_PREFIX
from operators.log_cursor import LogInput
from schemas.codec import SCHEMA_IDS, decode
from schemas.records import KILL_SWITCH, RELEASE, Bar, Clock, Command, DeadLetter, Record
from tests.builders import bar, command
from tests.builders.signing import SigningAuthority

AUTHORITY = SigningAuthority()
COMMANDS, BARS = LogInput("commands", 0, 0), LogInput("market-bars", 0, 1)
SERVICES = ("portfolio", "risk", "signals", "execution")


def signed(name: str, ts_ns: int = 1, kind: str = RELEASE) -> Command:
    return AUTHORITY.sign(command(name, ts_ns, kind))


LOG: list[Record | Clock] = [
    command("before", 1, RELEASE),
    Clock(10, "test"),
    command("before-2", 1, RELEASE),
    *AUTHORITY.records,
    command("after", 1, RELEASE),
    signed("valid"),
    Clock(20, "test"),
    signed("valid"),
    command("halt", 1, KILL_SWITCH),
    Clock(30, "test"),
    AUTHORITY.revocation(AUTHORITY.keys["api"]),
    signed("revoked"),
    Clock(40, "test"),
]
"""Commands before, around and after the cut-over, which is in the middle of a time slice."""
EXPECTED = {
    10: ["before"],
    20: ["before-2", *(record.command_id for record in AUTHORITY.records), "valid"],
    30: ["halt"],
    40: [AUTHORITY.revocation(AUTHORITY.keys["api"]).command_id],
}
REJECTED = {20: ["after"], 30: ["halt"], 40: ["revoked"]}


def read(reader: AlignedLogs, start: int, messages: Sequence[Record | Clock]) -> list[tuple[int, list[Record]]]:
    reader.feed("commands", 0, list(enumerate(messages, start=start)))
    return [(time_slice.ts_ns, list(time_slice.records)) for time_slice in reader.take_slices()]


def test_the_cut_over_is_one_message_of_the_log() -> None:
    reader = AlignedLogs("risk", [COMMANDS])
    slices = dict(read(reader, 0, LOG))
    applied = {ts: [r.command_id for r in records if type(r) is Command] for ts, records in slices.items()}
    assert applied == EXPECTED
    letters = {ts: [r for r in records if type(r) is DeadLetter] for ts, records in slices.items()}
    raws = {ts: [decode(one.raw).command_id for one in found] for ts, found in letters.items() if found}
    assert raws == REJECTED
    assert reader.counts.unverified_commands == 3
    assert reader.counts.duplicates == 1, "the repeated copy"


def test_a_dead_letter_names_place_and_reason() -> None:
    slices = dict(read(AlignedLogs("risk", [COMMANDS]), 0, LOG))
    [letter] = [record for record in slices[20] if type(record) is DeadLetter]
    offset = LOG.index(command("after", 1, RELEASE))
    assert (letter.topic, letter.partition, letter.offset, letter.stage) == ("commands", 0, offset, "risk")
    assert letter.schema_id == SCHEMA_IDS[Command]
    assert letter.reason == f"{REASON_PREFIX}RELEASE after of actor tester: no signature"


@pytest.mark.parametrize("crash_after", range(len(LOG) + 1))
def test_a_crash_after_any_message_leaves_the_same_verdicts(crash_after: int) -> None:
    expected = read(AlignedLogs("risk", [COMMANDS]), 0, LOG)
    reader = AlignedLogs("risk", [COMMANDS])
    before = read(reader, 0, LOG[:crash_after])
    snapshot = pickle.loads(pickle.dumps(reader.snapshot()))  # noqa: S301  (made here)
    restarted = AlignedLogs("risk", [COMMANDS], snapshot)
    offset = restarted.next_offsets()["commands", 0]
    assert before + read(restarted, offset, LOG[offset:]) == expected
    assert restarted.snapshot() == (reader if crash_after == len(LOG) else restarted).snapshot()


def test_all_services_come_to_the_same_verdict_whatever_arrives_first() -> None:
    verdicts = set()
    for number, service in enumerate(SERVICES):
        reader = AlignedLogs(service, [COMMANDS, BARS])
        bars: list[tuple[int, Bar | Clock]] = [(i, bar("A", i + 1, 10 * (i + 1))) for i in range(1)]
        clocks: list[tuple[int, Bar | Clock]] = [(1 + i, Clock(10 * (i + 1), "test")) for i in range(4)]
        applied: list[tuple[int, str]] = []
        feeds = [("commands", list(enumerate(LOG))), ("market-bars", [*bars, *clocks])]
        for topic, messages in feeds if number % 2 else reversed(feeds):
            reader.feed(topic, 0, messages)  # type: ignore[arg-type]  # a list of either kind
            for time_slice in reader.take_slices():
                applied += [(time_slice.ts_ns, r.command_id) for r in time_slice.records if type(r) is Command]
        verdicts.add(tuple(applied))
    assert len(verdicts) == 1
    assert [name for _, name in next(iter(verdicts))] == [name for names in EXPECTED.values() for name in names]


def test_a_service_that_joins_later_knows_the_keys() -> None:
    earlier = AlignedLogs("signals", [BARS])
    earlier.feed("market-bars", 0, [(number, Clock(10 * (number + 1), "test")) for number in range(2)])
    earlier.take_slices()
    reader = AlignedLogs("signals", [COMMANDS, BARS], earlier.snapshot())
    reader.feed("market-bars", 0, [(2, Clock(30, "test"))])
    reader.feed("commands", 0, list(enumerate([*LOG[:-3], command("late", 1, RELEASE), Clock(40, "test")])))
    [(_, records)] = [(t.ts_ns, t.records) for t in reader.take_slices()]
    assert [record.command_id for record in records if type(record) is Command] == ["halt"]


def test_snapshots_without_keys_are_as_in_earlier_releases() -> None:
    reader = AlignedLogs("risk", [COMMANDS])
    read(reader, 0, LOG[:2])
    assert reader.snapshot() == (VERSION, 10, {"commands/0": (2, 10, {})})
    read(reader, 2, LOG[2:])
    assert reader.snapshot()[0] == KEYED_VERSION

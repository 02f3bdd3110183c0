"""What the services' own edges wrote while the platform ran: headlines, filings, a language model's answers.

Between which clocks such a record stands is decided by when it came: no other run need have it there. So it is read
from the log, as recorded, and the uninterrupted run is given it at the same place. What it says and that it is there
once is compared with its source: a row of the wire's files, or the model, whose answer is a function of the question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dataflows.sources.fundamentals.files import FundamentalsFiles
from dataflows.sources.news.files import NewsFiles
from deploy.chaos.expected import Log
from deploy.chaos.llm_server import answer_of
from deploy.chaos.tape_extras import Wire
from operators.stage import Tick
from schemas.codec import decode, encode
from schemas.errors import Undecodable
from schemas.records import TOPIC_OF, Clock, LlmAnswer, LlmRequest, Record

TOPICS = ("llm-answers", "news", "fundamentals")
"""Written by another edge than the feed. The feed writes what the tape holds into the last two as well."""


class Heard:
    """The records of one such log: `by_tick` those that took effect at a clock, `behind` those after the last one.

    A record that came again, with the same id, is left out as its readers leave it out.
    """

    def __init__(self, messages: Iterable[bytes]) -> None:
        self.by_tick: dict[int, list[Record]] = {}
        waiting: list[Record] = []
        seen: set[str] = set()
        passed = -1
        for message in messages:
            try:
                found = decode(message)
            except Undecodable:
                continue  # named by the comparison of the topics
            if type(found) is Clock:
                if found.ts_ns > passed:
                    passed = found.ts_ns
                    if waiting:
                        self.by_tick[passed], waiting = waiting, []
            elif found[0] not in seen:
                seen.add(found[0])
                waiting.append(found)
        self.behind = waiting

    def ids(self) -> set[str]:
        taken = (record for records in self.by_tick.values() for record in records)
        return {str(record[0]) for record in (*taken, *self.behind)}


def read(messages: Mapping[Log, Iterable[bytes]]) -> dict[str, Heard]:
    """Of each topic of `TOPICS`."""
    return {topic: Heard(messages[topic, 0]) for topic in TOPICS}


def as_recorded(tape: Sequence[Tick], logs: Mapping[str, Heard]) -> list[Tick]:
    """The tape's ticks, each with what stands in these logs at its clock in the place of the tape's own."""
    out = []
    for ts_ns, records in tape:
        kept = [record for record in records if TOPIC_OF[type(record)] not in logs]
        out.append(Tick(ts_ns, [*(r for log in logs.values() for r in log.by_tick.get(ts_ns, ())), *kept]))
    return out


def stored_behind(tape: Sequence[Tick], logs: Mapping[str, Heard]) -> Tick:
    """What no tick took and its writer stored all the same."""
    return Tick(tape[-1].ts_ns, [*logs["news"].behind, *logs["fundamentals"].behind])


def told(wire: Wire) -> dict[str, dict[str, Any]]:
    """The records that the wire's rows are, by topic and id; their `ts_ns` is the time at which they were read."""
    news = NewsFiles([wire.news], interval_s=1.0, tag=_no_symbols).ask()
    filings = FundamentalsFiles([wire.fundamentals], interval_s=1.0).ask()
    return {"news": {str(item[0]): item for item in news}, "fundamentals": {str(item[0]): item for item in filings}}


def first_difference(
    tape: Sequence[Tick], logs: Mapping[str, Heard], told: Mapping[str, Mapping[str, Any]], ticks: Sequence[Tick]
) -> str | None:
    """In one sentence; None when the feed's records stand at their clocks, and all others say what their source does.
    `ticks` hold the questions to the language model.
    """
    for topic in ("news", "fundamentals"):
        difference = _of_tape(topic, tape, logs[topic]) or _of_wire(topic, tape, logs[topic], told[topic])
        if difference is not None:
            return difference
    asked = {r.request_id: r for tick in ticks for r in tick.records if type(r) is LlmRequest}
    answers = [r for records in logs["llm-answers"].by_tick.values() for r in records]
    for answer in (*answers, *logs["llm-answers"].behind):
        assert type(answer) is LlmAnswer, "the topic holds answers"
        question = asked.get(answer.request_id)
        if question is None:
            return f"topic llm-answers: {answer.answer_id} answers {answer.request_id}, which nobody asked"
        expected = (question.news_id, question.prompt, answer_of(question.prompt))
        if not answer.error and (answer.news_id, answer.prompt, answer.answer) != expected:
            return f"topic llm-answers: {answer.answer_id} is {answer}, expected {expected}"
    return None


def _ids_of_tape(topic: str, tape: Sequence[Tick]) -> set[str]:
    return {str(r[0]) for tick in tape for r in tick.records if TOPIC_OF[type(r)] == topic}


def _of_tape(topic: str, tape: Sequence[Tick], log: Heard) -> str | None:
    ids, seen = _ids_of_tape(topic, tape), set[str]()
    for ts_ns, records in tape:
        wanted = []
        for record in records:
            if TOPIC_OF[type(record)] == topic and str(record[0]) not in seen:
                seen.add(str(record[0]))
                wanted.append(_as_written(record))
        there = [repr(record) for record in log.by_tick.get(ts_ns, ()) if str(record[0]) in ids]
        if there != wanted:
            return f"topic {topic} at {ts_ns}: the feed's records are {there}, expected {wanted}"
    return None


def _of_wire(topic: str, tape: Sequence[Tick], log: Heard, told: Mapping[str, Any]) -> str | None:
    ids = _ids_of_tape(topic, tape)
    found: dict[str, Any] = {
        str(record[0]): record
        for records in (*log.by_tick.values(), log.behind)
        for record in records
        if str(record[0]) not in ids
    }
    for name in sorted(found.keys() ^ told.keys()):
        return f"topic {topic}: {name} is {'missing' if name in told else 'from no source'}"
    for name, record in found.items():
        if repr(record._replace(ts_ns=0)) != _as_written(told[name]._replace(ts_ns=0)):
            return f"topic {topic}: {name} is {record}, expected {told[name]} at another time"
    return None


def _as_written(record: Record) -> str:
    """Through the codec: a number reads as it does in a topic."""
    return repr(decode(encode(record)))


def _no_symbols(text: str) -> list[str]:
    return []

"""What the services' own edges wrote while the platform ran: headlines, filings, a language model's answers.

Between which clocks such a record stands is decided by when it came: no other run need have it there. So it is read
from the log, as recorded, and the uninterrupted run is given it at the same place. What it says and that it is there
once is compared with its source: a row of the wire's files, or the model, whose answer is a function of the question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dataflows.sources.fundamentals.files import FundamentalsFileSource
from dataflows.sources.news.files import NewsFileSource
from deploy.chaos.expected import Log
from deploy.chaos.llm_server import model_answer
from deploy.chaos.side_inputs import WireFiles
from operators.stage import TimeSlice
from schemas.codec import decode, encode
from schemas.errors import Undecodable
from schemas.records import TOPIC_OF, Clock, LlmAnswer, LlmRequest, Record

TOPICS = ("llm-answers", "news", "fundamentals")
"""Written by another edge than the feed. The feed writes what the tape holds into the last two as well."""


class EdgeLog:
    """The records of one such log: `by_clock` those that took effect at a clock, `after_last_clock` those after the last one.

    A record that came again, with the same id, is left out as its readers leave it out.
    """

    def __init__(self, messages: Iterable[bytes]) -> None:
        self.by_clock: dict[int, list[Record]] = {}
        pending: list[Record] = []
        seen: set[str] = set()
        passed_ns = -1
        for message in messages:
            try:
                record = decode(message)
            except Undecodable:
                continue  # named by the comparison of the topics
            if type(record) is Clock:
                if record.ts_ns > passed_ns:
                    passed_ns = record.ts_ns
                    if pending:
                        self.by_clock[passed_ns], pending = pending, []
            elif record[0] not in seen:
                seen.add(record[0])
                pending.append(record)
        self.after_last_clock = pending

    def ids(self) -> set[str]:
        consumed = (record for records in self.by_clock.values() for record in records)
        return {str(record[0]) for record in (*consumed, *self.after_last_clock)}


def read_edge_logs(messages: Mapping[Log, Iterable[bytes]]) -> dict[str, EdgeLog]:
    """Of each topic of `TOPICS`."""
    return {topic: EdgeLog(messages[topic, 0]) for topic in TOPICS}


def with_recorded_edges(tape: Sequence[TimeSlice], logs: Mapping[str, EdgeLog]) -> list[TimeSlice]:
    """The tape's ticks, each with what stands in these logs at its clock in the place of the tape's own."""
    time_slices = []
    for ts_ns, records in tape:
        other_records = [record for record in records if TOPIC_OF[type(record)] not in logs]
        time_slices.append(
            TimeSlice(ts_ns, [*(r for log in logs.values() for r in log.by_clock.get(ts_ns, ())), *other_records])
        )
    return time_slices


def trailing_records(tape: Sequence[TimeSlice], logs: Mapping[str, EdgeLog]) -> TimeSlice:
    """What no tick took and its writer stored all the same."""
    return TimeSlice(tape[-1].ts_ns, [*logs["news"].after_last_clock, *logs["fundamentals"].after_last_clock])


def source_records(wire: WireFiles) -> dict[str, dict[str, Any]]:
    """The records that the wire's rows are, by topic and id; their `ts_ns` is the time at which they were read."""
    news = NewsFileSource([wire.news], interval_s=1.0, tag=_no_symbols).fetch()
    filings = FundamentalsFileSource([wire.fundamentals], interval_s=1.0).fetch()
    return {"news": {str(item[0]): item for item in news}, "fundamentals": {str(item[0]): item for item in filings}}


def first_difference(
    tape: Sequence[TimeSlice],
    logs: Mapping[str, EdgeLog],
    sources: Mapping[str, Mapping[str, Any]],
    time_slices: Sequence[TimeSlice],
) -> str | None:
    """In one sentence; None when the feed's records stand at their clocks, and all others say what their source does.
    `time_slices` hold the questions to the language model.
    """
    for topic in ("news", "fundamentals"):
        difference = _tape_difference(topic, tape, logs[topic]) or _wire_difference(
            topic, tape, logs[topic], sources[topic]
        )
        if difference is not None:
            return difference
    requests = {r.request_id: r for time_slice in time_slices for r in time_slice.records if type(r) is LlmRequest}
    answers = [r for records in logs["llm-answers"].by_clock.values() for r in records]
    for answer in (*answers, *logs["llm-answers"].after_last_clock):
        assert type(answer) is LlmAnswer, "the topic holds answers"
        request = requests.get(answer.request_id)
        if request is None:
            return f"topic llm-answers: {answer.answer_id} answers {answer.request_id}, which nobody asked"
        expected = (request.news_id, request.prompt, model_answer(request.prompt))
        if not answer.error and (answer.news_id, answer.prompt, answer.answer) != expected:
            return f"topic llm-answers: {answer.answer_id} is {answer}, expected {expected}"
    return None


def _ids_of_tape(topic: str, tape: Sequence[TimeSlice]) -> set[str]:
    return {str(r[0]) for time_slice in tape for r in time_slice.records if TOPIC_OF[type(r)] == topic}


def _tape_difference(topic: str, tape: Sequence[TimeSlice], log: EdgeLog) -> str | None:
    ids, seen = _ids_of_tape(topic, tape), set[str]()
    for ts_ns, records in tape:
        expected = []
        for record in records:
            if TOPIC_OF[type(record)] == topic and str(record[0]) not in seen:
                seen.add(str(record[0]))
                expected.append(_encoded_text(record))
        actual = [repr(record) for record in log.by_clock.get(ts_ns, ()) if str(record[0]) in ids]
        if actual != expected:
            return f"topic {topic} at {ts_ns}: the feed's records are {actual}, expected {expected}"
    return None


def _wire_difference(topic: str, tape: Sequence[TimeSlice], log: EdgeLog, sources: Mapping[str, Any]) -> str | None:
    ids = _ids_of_tape(topic, tape)
    actual: dict[str, Any] = {
        str(record[0]): record
        for records in (*log.by_clock.values(), log.after_last_clock)
        for record in records
        if str(record[0]) not in ids
    }
    for name in sorted(actual.keys() ^ sources.keys()):
        return f"topic {topic}: {name} is {'missing' if name in sources else 'from no source'}"
    for name, record in actual.items():
        if repr(record._replace(ts_ns=0)) != _encoded_text(sources[name]._replace(ts_ns=0)):
            return f"topic {topic}: {name} is {record}, expected {sources[name]} at another time"
    return None


def _encoded_text(record: Record) -> str:
    """Through the codec: a number reads as it does in a topic."""
    return repr(decode(encode(record)))


def _no_symbols(text: str) -> list[str]:
    return []

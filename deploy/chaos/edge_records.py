"""Compare the records that services received from outside during the run: headlines, filings, model responses.

The arrival time of such a record determines its place between the clocks, so each run has it elsewhere. The comparison
reads it from the log and passes it to the uninterrupted run at the same place. Its contents and its uniqueness are
compared with its source: a row of the watched files, or the model, whose response is a function of the request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dataflows.sources.fundamentals.files import FundamentalsFileSource
from dataflows.sources.news.files import NewsFileSource
from deploy.chaos.llm_server import model_answer
from deploy.chaos.side_inputs import WireFiles
from operators.stage import TimeSlice
from schemas.codec import decode, encode
from schemas.errors import Undecodable
from schemas.log_names import LogName
from schemas.records import TOPIC_OF, Clock, LlmAnswer, LlmRequest, Record

TOPICS = ("llm-answers", "commands", "configuration", "news", "fundamentals")
"""Topics of the edges other than the feed. The feed also publishes the tape's records to the last two. The commands are
the records of the signing keys. The configuration is that of the start.
"""


class EdgeLog:
    """The records of one such log: those that took effect at a clock, and those after the last clock.

    Repeated records (same id) are omitted, as their readers discard them.
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
                continue  # the comparison of the topics reports it
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


def read_edge_logs(messages: Mapping[LogName, Iterable[bytes]]) -> dict[str, EdgeLog]:
    """Return the log of each topic in `TOPICS`."""
    return {topic: EdgeLog(messages[topic, 0]) for topic in TOPICS}


def with_recorded_edges(tape: Sequence[TimeSlice], logs: Mapping[str, EdgeLog]) -> list[TimeSlice]:
    """Return the tape's time slices, with the records of these logs in place of the tape's own ones."""
    time_slices = []
    for ts_ns, records in tape:
        other_records = [record for record in records if TOPIC_OF[type(record)] not in logs]
        time_slices.append(
            TimeSlice(ts_ns, [*(r for log in logs.values() for r in log.by_clock.get(ts_ns, ())), *other_records])
        )
    return time_slices


def trailing_records(tape: Sequence[TimeSlice], logs: Mapping[str, EdgeLog]) -> TimeSlice:
    """Return the records after the last clock, which their writer stored although no time slice contains them."""
    return TimeSlice(tape[-1].ts_ns, [*logs["news"].after_last_clock, *logs["fundamentals"].after_last_clock])


def source_records(wire: WireFiles) -> dict[str, dict[str, Any]]:
    """Return the records of the watched files by topic and id. Their `ts_ns` is the time at which they were read."""
    news = NewsFileSource([wire.news], interval_s=1.0, tag=_no_symbols).fetch()
    filings = FundamentalsFileSource([wire.fundamentals], interval_s=1.0).fetch()
    return {"news": {str(item[0]): item for item in news}, "fundamentals": {str(item[0]): item for item in filings}}


def first_difference(
    tape: Sequence[TimeSlice],
    logs: Mapping[str, EdgeLog],
    sources: Mapping[str, Mapping[str, Any]],
    time_slices: Sequence[TimeSlice],
) -> str | None:
    """Return the first difference as a sentence, or None if there is none.

    The feed's records must be at their clocks, and all others equal to their sources. `time_slices` contain the
    requests to the language model.
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
        assert type(answer) is LlmAnswer, "the topic holds only responses"
        request = requests.get(answer.request_id)
        if request is None:
            return f"topic llm-answers: {answer.answer_id} is a response to an unknown request {answer.request_id}"
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
        return f"topic {topic}: {name} is {'missing' if name in sources else 'not in its source'}"
    for name, record in actual.items():
        if repr(record._replace(ts_ns=0)) != _encoded_text(sources[name]._replace(ts_ns=0)):
            return f"topic {topic}: {name} is {record}, expected {sources[name]} (with any ts_ns)"
    return None


def _encoded_text(record: Record) -> str:
    """Return the text of the record after a round trip through the codec, so that numbers are as in a topic."""
    return repr(decode(encode(record)))


def _no_symbols(text: str) -> list[str]:
    return []

"""`chaos` reads the positions of headlines, filings and model answers from the log and compares their contents."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings, load_settings
from deploy.chaos import edge_records
from deploy.chaos.expected import deduplicated, expected_logs, first_difference, run_stages, tape_slices
from deploy.chaos.llm_server import UNREADABLE_ANSWER, LocalLlm, model_answer
from deploy.chaos.side_inputs import WireFiles, write_settings, write_side_inputs
from deploy.chaos.tape import write_tape
from operators.sentiment.llm_prompt import build_prompt, parse_answer
from operators.stage import TimeSlice
from schemas.codec import encode
from schemas.records import TOPIC_OF, Clock, Fundamentals, LlmAnswer, LlmRequest, NewsItem, SentimentScore, Signal
from tests.builders import configuration, llm_answer
from tests.builders.signing import SigningAuthority

MINUTES = 80
CONFIGURATIONS = [configuration(number) for number in (1, 2, 3)]


class ChaosScenario:
    """A tape, its wire files, and the messages that killed and restarted services leave in the topics."""

    def __init__(self, folder: Path) -> None:
        bars = write_tape(folder / "tape", 3, MINUTES)
        others, self.wire = write_side_inputs(folder / "tape", 3, bars, MINUTES), WireFiles(folder / "tape", 3)
        write_settings(folder / "settings.yaml", others, self.wire, "http://127.0.0.1:9/v1")
        self.settings: Settings = load_settings(folder / "settings.yaml", environment={})
        self.tape = tape_slices(self.settings, bars)
        self.edge_records = edge_records.source_records(self.wire)
        self.messages = {(topic, 0): self._messages(topic) for topic in edge_records.TOPICS}

    def _messages(self, topic: str) -> list[bytes]:
        """Build the messages of a topic. The feed repeats the time slices 30 to 49.

        All records of the edge service except the last arrive in the repeated time slice 40, the first of them twice.
        The last record follows the last clock.
        """
        own_records: list[Any] = list(self.edge_records.get(topic, {}).values())
        if not own_records:
            own_records = self._own_records(topic)
        messages: list[bytes] = []
        for interval in (slice(0, 50), slice(30, None)):
            for index, time_slice in enumerate(self.tape[interval], interval.start or 0):
                messages += [encode(record) for record in time_slice.records if TOPIC_OF[type(record)] == topic]
                if interval.start and index == 40:
                    messages += [encode(record._replace(ts_ns=99)) for record in (*own_records[:-1], own_records[0])]
                messages.append(encode(Clock(time_slice.ts_ns, "market_data@test")))
        return [*messages, encode(own_records[-1])]

    def _own_records(self, topic: str) -> list[Any]:
        if topic == "configuration":
            return list(CONFIGURATIONS)
        return list(SigningAuthority().records) if topic == "commands" else self._answers()

    def _answers(self) -> list[Any]:
        """Return the answers to the first three requests, which precede the time slice of the answers."""
        llm_requests = [
            r
            for time_slice in run_stages(self.settings, self.tape)
            for r in time_slice.records
            if type(r) is LlmRequest
        ]
        return [llm_answer(llm_request, model_answer(llm_request.prompt)) for llm_request in llm_requests[:3]]

    def difference(self) -> str | None:
        edges = edge_records.read_edge_logs(self.messages)
        return edge_records.first_difference(self.tape, edges, self.edge_records, self.time_slices(edges))

    def time_slices(self, edges: dict[str, edge_records.EdgeLog]) -> list[TimeSlice]:
        return run_stages(self.settings, edge_records.with_recorded_edges(self.tape, edges))

    def replace_messages(self, topic: str, record: Any, *replacements: Any) -> None:
        """Replace each message that holds the record."""
        message = encode(record)
        assert message in self.messages[topic, 0]
        log = self.messages[topic, 0]
        self.messages[topic, 0] = [
            m for logged in log for m in ([encode(r) for r in replacements] if logged == message else [logged])
        ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> ChaosScenario:
    return ChaosScenario(tmp_path_factory.mktemp("chaos"))


@pytest.fixture
def scenario(undisturbed: ChaosScenario) -> Iterator[ChaosScenario]:
    """Return a scenario whose messages a test may change."""
    saved_messages = {log: list(messages) for log, messages in undisturbed.messages.items()}
    yield undisturbed
    undisturbed.messages = saved_messages


def test_edge_records_are_read_at_their_position_and_affect_decisions(scenario: ChaosScenario) -> None:
    edges = edge_records.read_edge_logs(scenario.messages)
    assert scenario.difference() is None
    # The record follows repeated clocks, so it takes effect at the first new clock, that of time slice 50.
    ts_ns = scenario.tape[50].ts_ns
    for topic, kind in (("news", NewsItem), ("fundamentals", Fundamentals), ("llm-answers", LlmAnswer)):
        assert any(type(r) is kind and r.ts_ns in (99, 1) for r in edges[topic].by_clock[ts_ns]), topic
        assert len(edges[topic].after_last_clock) == 1
    output = scenario.time_slices(edges)
    without_edges = run_stages(scenario.settings, scenario.tape)
    assert [score for score in _records_of(output, SentimentScore) if "llm" in score.parts], "an answer was recorded"
    assert _records_of(output, Signal) != _records_of(without_edges, Signal), "and the records changed a decision"
    stored = edge_records.trailing_records(scenario.tape, edges).records
    assert {type(record) for record in stored} == {NewsItem, Fundamentals}


def _records_of(time_slices: Sequence[TimeSlice], kind: Any) -> list[Any]:
    return [record for time_slice in time_slices for record in time_slice.records if type(record) is kind]


def test_topics_match_the_fused_stages_with_edge_records_in_place(scenario: ChaosScenario) -> None:
    edges = edge_records.read_edge_logs(scenario.messages)
    expected = expected_logs(scenario.time_slices(edges), 4)
    for topic, edge in edges.items():
        expected[topic, 0] += map(repr, edge.after_last_clock)
    actual = {log: deduplicated(messages) for log, messages in scenario.messages.items()}
    assert first_difference(actual, {log: expected[log] for log in actual}) is None


@pytest.mark.parametrize("topic", ["news", "fundamentals"])
def test_changed_lost_or_moved_tape_record_is_reported(topic: str, scenario: ChaosScenario) -> None:
    tape_records = [r for time_slice in scenario.tape for r in time_slice.records if TOPIC_OF[type(r)] == topic]
    original = list(scenario.messages[topic, 0])
    first: Any = tape_records[0]
    for replacements in ([first._replace(source="forged")], []):
        scenario.messages[topic, 0] = list(original)
        scenario.replace_messages(topic, first, *replacements)
        difference = scenario.difference()
        assert difference is not None and difference.startswith(f"topic {topic} at ")
    scenario.messages[topic, 0] = [encode(Clock(scenario.tape[0].ts_ns - 1, "x")), *original[:1], *original]
    assert scenario.difference() is None, "a repeat of the first record"


@pytest.mark.parametrize("topic", ["news", "fundamentals"])
def test_changed_lost_or_invented_wire_record_is_reported(topic: str, scenario: ChaosScenario) -> None:
    original = list(scenario.messages[topic, 0])
    name, record = next(iter(scenario.edge_records[topic].items()))
    published = record._replace(ts_ns=99)
    scenario.replace_messages(topic, published)
    assert scenario.difference() == f"topic {topic}: {name} is missing"
    scenario.messages[topic, 0] = list(original)
    scenario.replace_messages(topic, published, published._replace(source="forged"))
    assert str(scenario.difference()).startswith(f"topic {topic}: {name} is ")
    scenario.messages[topic, 0] = [*original, encode(type(record)("invented", *record[1:]))]
    assert scenario.difference() == f"topic {topic}: invented is not in its source"


def test_unrequested_or_altered_answers_are_reported_and_failures_accepted(scenario: ChaosScenario) -> None:
    original = list(scenario.messages["llm-answers", 0])
    answer = next(iter(edge_records.read_edge_logs(scenario.messages)["llm-answers"].by_clock.values()))[0]
    assert isinstance(answer, LlmAnswer)
    scenario.replace_messages("llm-answers", answer, answer._replace(answer="forged"))
    assert str(scenario.difference()).startswith(f"topic llm-answers: {answer.answer_id} is ")
    scenario.messages["llm-answers", 0] = list(original)
    scenario.replace_messages("llm-answers", answer, answer._replace(request_id="ask-nobody"))
    assert (
        scenario.difference() == f"topic llm-answers: {answer.answer_id} is a response to an unknown request ask-nobody"
    )
    scenario.messages["llm-answers", 0] = list(original)
    scenario.replace_messages("llm-answers", answer, answer._replace(answer="", error="no answer: it was away"))
    assert scenario.difference() is None


def test_model_answer_depends_only_on_the_question_and_is_readable(scenario: ChaosScenario) -> None:
    items = [r for time_slice in scenario.tape for r in time_slice.records if type(r) is NewsItem]
    answers = [model_answer(build_prompt(item)) for item in items]
    readable = [(item, text) for item, text in zip(items, answers, strict=True) if text != UNREADABLE_ANSWER]
    assert 0 < len(readable) < len(items)
    for item, text in readable:
        assert list(parse_answer(text, item.symbols)) == item.symbols
    with LocalLlm() as model:
        body = json.dumps({"messages": [{"role": "user", "content": build_prompt(items[0])}]}).encode()
        with urllib.request.urlopen(f"{model.url}/chat/completions", body, timeout=60) as response:  # noqa: S310
            reply = json.load(response)
    assert reply["choices"][0]["message"]["content"] == answers[0]

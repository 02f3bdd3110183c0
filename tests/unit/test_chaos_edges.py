"""What `chaos` says of headlines, filings and answers: where they stand is recorded, what they say is checked."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings, load_settings
from deploy.chaos import edge_records
from deploy.chaos.expected import by_the_sequence_rule, expected_logs, first_difference, fused, tape_ticks
from deploy.chaos.llm_server import UNREADABLE, LocalModel, answer_of
from deploy.chaos.stack import SETTINGS
from deploy.chaos.tape import write_tape
from deploy.chaos.tape_extras import Wire, write_others, write_settings
from operators.sentiment.prompt import question, read_answer
from operators.stage import Tick
from schemas.codec import encode
from schemas.records import TOPIC_OF, Clock, Fundamentals, LlmAnswer, LlmRequest, NewsItem, SentimentScore, Signal

MINUTES = 80


class World:
    """A tape, a wire, and the messages of the three topics as services left them that were killed on the way."""

    def __init__(self, folder: Path) -> None:
        bars = write_tape(folder / "tape", 3, MINUTES)
        others, self.wire = write_others(folder / "tape", 3, bars, MINUTES), Wire(folder / "tape", 3)
        write_settings(folder / "settings.yaml", SETTINGS, others, self.wire, "http://127.0.0.1:9/v1")
        self.settings: Settings = load_settings(folder / "settings.yaml", environment={})
        self.tape = tape_ticks(self.settings, bars)
        self.told = edge_records.told(self.wire)
        self.messages = {(topic, 0): self._messages(topic) for topic in edge_records.TOPICS}

    def _messages(self, topic: str) -> list[bytes]:
        """The feed repeats ticks 30 to 49; within that of tick 40 come all of the edge's own records but the last,
        the first of them twice; the last stands behind the last clock.
        """
        own = list(self.told.get(topic, {}).values()) or self._answers()
        out: list[bytes] = []
        for part in (slice(0, 50), slice(30, None)):
            for number, tick in enumerate(self.tape[part], part.start or 0):
                out += [encode(record) for record in tick.records if TOPIC_OF[type(record)] == topic]
                if part.start and number == 40:
                    out += [encode(record._replace(ts_ns=99)) for record in (*own[:-1], own[0])]
                out.append(encode(Clock(tick.ts_ns, "market_data@test")))
        return [*out, encode(own[-1])]

    def _answers(self) -> list[Any]:
        """To the first three questions, which are asked before the tick in which the answers stand."""
        asked = [r for tick in fused(self.settings, self.tape) for r in tick.records if type(r) is LlmRequest]
        return [LlmAnswer(f"answer-{each.seq}", 1, *each[2:], answer_of(each.prompt), 1, 1, "") for each in asked[:3]]

    def difference(self) -> str | None:
        edges = edge_records.read(self.messages)
        return edge_records.first_difference(self.tape, edges, self.told, self.ticks(edges))

    def ticks(self, edges: dict[str, edge_records.Heard]) -> list[Tick]:
        return fused(self.settings, edge_records.as_recorded(self.tape, edges))

    def change(self, topic: str, record: Any, *instead: Any) -> None:
        """In the place of each message that holds the record."""
        message = encode(record)
        assert message in self.messages[topic, 0]
        log = self.messages[topic, 0]
        self.messages[topic, 0] = [
            m for found in log for m in ([encode(r) for r in instead] if found == message else [found])
        ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("chaos"))


@pytest.fixture
def world(undisturbed: World) -> Iterator[World]:
    """Its messages may be changed."""
    kept = {log: list(messages) for log, messages in undisturbed.messages.items()}
    yield undisturbed
    undisturbed.messages = kept


def test_what_edges_told_is_taken_where_it_stands_and_decides(world: World) -> None:
    edges = edge_records.read(world.messages)
    assert world.difference() is None
    # It stands among clocks that the feed repeated: the first new one is that of tick 50.
    at = world.tape[50].ts_ns
    for topic, kind in (("news", NewsItem), ("fundamentals", Fundamentals), ("llm-answers", LlmAnswer)):
        assert any(type(r) is kind and r.ts_ns in (99, 1) for r in edges[topic].by_tick[at]), topic
        assert len(edges[topic].behind) == 1
    made = world.ticks(edges)
    quiet = fused(world.settings, world.tape)
    assert [score for score in _of(made, SentimentScore) if "llm" in score.parts], "an answer was heard"
    assert _of(made, Signal) != _of(quiet, Signal), "and something was decided by what was told"
    stored = edge_records.stored_behind(world.tape, edges).records
    assert {type(record) for record in stored} == {NewsItem, Fundamentals}


def _of(ticks: Sequence[Tick], kind: Any) -> list[Any]:
    return [record for tick in ticks for record in tick.records if type(record) is kind]


def test_the_topics_are_those_of_the_fused_stages_with_the_records_at_their_places(world: World) -> None:
    edges = edge_records.read(world.messages)
    expected = expected_logs(world.ticks(edges), 4)
    for topic, edge in edges.items():
        expected[topic, 0] += map(repr, edge.behind)
    found = {log: by_the_sequence_rule(messages) for log, messages in world.messages.items()}
    assert first_difference(found, {log: expected[log] for log in found}) is None


@pytest.mark.parametrize("topic", ["news", "fundamentals"])
def test_a_record_of_the_tape_that_is_changed_lost_or_moved_is_named(topic: str, world: World) -> None:
    of_tape = [r for tick in world.tape for r in tick.records if TOPIC_OF[type(r)] == topic]
    original = list(world.messages[topic, 0])
    first: Any = of_tape[0]
    for instead in ([first._replace(source="forged")], []):
        world.messages[topic, 0] = list(original)
        world.change(topic, first, *instead)
        difference = world.difference()
        assert difference is not None and difference.startswith(f"topic {topic} at ")
    world.messages[topic, 0] = [encode(Clock(world.tape[0].ts_ns - 1, "x")), *original[:1], *original]
    assert world.difference() is None, "a repeat of the first record"


@pytest.mark.parametrize("topic", ["news", "fundamentals"])
def test_a_record_of_the_wire_that_is_changed_lost_or_invented_is_named(topic: str, world: World) -> None:
    original = list(world.messages[topic, 0])
    name, record = next(iter(world.told[topic].items()))
    written = record._replace(ts_ns=99)
    world.change(topic, written)
    assert world.difference() == f"topic {topic}: {name} is missing"
    world.messages[topic, 0] = list(original)
    world.change(topic, written, written._replace(source="forged"))
    assert str(world.difference()).startswith(f"topic {topic}: {name} is ")
    world.messages[topic, 0] = [*original, encode(type(record)("invented", *record[1:]))]
    assert world.difference() == f"topic {topic}: invented is from no source"


def test_an_answer_to_nothing_or_another_than_the_models_is_named_and_a_failure_is_one(world: World) -> None:
    original = list(world.messages["llm-answers", 0])
    answer = next(iter(edge_records.read(world.messages)["llm-answers"].by_tick.values()))[0]
    assert isinstance(answer, LlmAnswer)
    world.change("llm-answers", answer, answer._replace(answer="forged"))
    assert str(world.difference()).startswith(f"topic llm-answers: {answer.answer_id} is ")
    world.messages["llm-answers", 0] = list(original)
    world.change("llm-answers", answer, answer._replace(request_id="ask-nobody"))
    assert world.difference() == f"topic llm-answers: {answer.answer_id} answers ask-nobody, which nobody asked"
    world.messages["llm-answers", 0] = list(original)
    world.change("llm-answers", answer, answer._replace(answer="", error="no answer: it was away"))
    assert world.difference() is None


def test_the_models_answer_is_a_function_of_the_question_that_the_stage_can_read(world: World) -> None:
    items = [r for tick in world.tape for r in tick.records if type(r) is NewsItem]
    answers = [answer_of(question(item)) for item in items]
    readable = [(item, text) for item, text in zip(items, answers, strict=True) if text != UNREADABLE]
    assert 0 < len(readable) < len(items)
    for item, text in readable:
        assert list(read_answer(text, item.symbols)) == item.symbols
    with LocalModel() as model:
        body = json.dumps({"messages": [{"role": "user", "content": question(items[0])}]}).encode()
        with urllib.request.urlopen(f"{model.url}/chat/completions", body, timeout=10) as said:  # noqa: S310
            found = json.load(said)
    assert found["choices"][0]["message"]["content"] == answers[0]

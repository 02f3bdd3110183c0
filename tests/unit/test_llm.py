"""The asking edge against a local server: slow, garbage, 429 and 500, budget used up; asked once, never in the way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dataflows.llm.llm_client import LlmClient, Told
from dataflows.llm.request_sink import DAY_NS, Asker, AskingSink, Budget
from operators.sentiment.prompt import ANSWER_SCHEMA
from operators.stage import Tick
from schemas.errors import Unavailable
from schemas.records import LlmAnswer, LlmRequest
from tests.unit.alpaca_broker import wait_for
from tests.unit.news_server import Asked, LocalServer, local_server

PATH = "/v1/chat/completions"


def request(number: int) -> LlmRequest:
    return LlmRequest(number, 1, f"ask-{number}", f"n{number}", "m", f"question {number}")


def completion(text: str = '{"scores": []}') -> bytes:
    usage = {"prompt_tokens": 100, "completion_tokens": 20}
    return json.dumps({"choices": [{"message": {"content": text}}], "usage": usage}).encode()


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with local_server() as found:
        found.says(PATH, completion())
        yield found


def client(server: LocalServer, *, key: str | None = "hidden-key", slept: list[float] | None = None) -> LlmClient:
    notes = [] if slept is None else slept
    options: dict[str, Any] = {"timeout_s": 0.5, "retries": 2, "answer_tokens_max": 50, "schema": ANSWER_SCHEMA}
    return LlmClient(f"{server.url}/v1/", key, sleep=notes.append, **options)


def one_after_another(*answers: tuple[int, dict[str, str], bytes]) -> Callable[[Asked], Any]:
    left = list(answers)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


def test_the_question_is_asked_as_the_protocol_has_it(server: LocalServer) -> None:
    assert client(server).ask("m", "What?") == Told('{"scores": []}', 100, 20)
    (asked,) = server.asked
    body = json.loads(asked.body)
    assert (asked.path, asked.headers["authorization"]) == (PATH, "Bearer hidden-key")
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0, 50)
    assert body["messages"] == [{"role": "user", "content": "What?"}]
    assert body["response_format"]["json_schema"]["schema"] == ANSWER_SCHEMA
    client(server, key=None).ask("m", "What?")
    assert "authorization" not in server.asked[1].headers


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again_later_each_time(server: LocalServer, status: int) -> None:
    server.answers[PATH] = one_after_another(
        (status, {}, b""), (status, {"Retry-After": "3"}, b""), (200, {}, completion())
    )
    slept: list[float] = []
    assert client(server, slept=slept).ask("m", "?").tokens_in == 100
    assert slept == [0.25, 3.0]


@pytest.mark.parametrize(
    ("answer", "tries", "reason"),
    [
        ((500, {}, b""), 3, "language model answered with status 500"),
        ((429, {"Retry-After": "86400"}, b""), 3, "language model answered with status 429"),
        ((401, {}, b"hidden-key is wrong"), 1, "language model answered with status 401"),
        ((200, {}, b"<html>"), 1, "which is no chat completion"),
        ((200, {}, b'{"choices": []}'), 1, "which is no chat completion"),
        ((200, {}, b'{"choices": [{"message": {"content": null}}]}'), 1, "answered without a text"),
        ((200, {}, b"x" * 300_000), 3, "no answer: DecodingError more than 200000 bytes"),
    ],
)
def test_what_does_not_pass_is_one_sentence_without_the_key(
    server: LocalServer, answer: Any, tries: int, reason: str
) -> None:
    server.answers[PATH] = one_after_another(answer)
    slept: list[float] = []
    with pytest.raises(Unavailable) as caught:
        client(server, slept=slept).ask("m", "?")
    assert reason in str(caught.value)
    assert "hidden-key" not in str(caught.value) or answer[0] == 200
    assert len(server.asked) == tries
    assert all(0 < pause <= 5 for pause in slept)


def test_a_server_that_hangs_or_is_away_is_given_up(server: LocalServer) -> None:
    def hanging(asked: Asked) -> Any:
        time.sleep(0.8)
        return 200, {}, completion()

    server.answers[PATH] = hanging
    with pytest.raises(Unavailable, match="no answer: ReadTimeout"):
        client(server).ask("m", "?")
    away = LlmClient("http://127.0.0.1:9/v1", None, timeout_s=0.5, retries=0, answer_tokens_max=1, schema={})
    with pytest.raises(Unavailable, match="no answer: ConnectError"):
        away.ask("m", "?")


def asker(llm: Any, told: list[LlmAnswer], **how: Any) -> Asker:
    options: dict[str, Any] = {"budget": Budget(100, 10_000), "patience_s": 5.0, "answered": list} | how
    return Asker(llm, told.append, **options)


def test_each_request_is_asked_once_and_recorded(server: LocalServer) -> None:
    told: list[LlmAnswer] = []
    edge = asker(client(server), told)
    for number in (1, 2, 1, 2, 3):
        edge.take(request(number))
    wait_for(lambda: len(told) == 3, "three answers")
    edge.close()
    assert len(server.asked) == 3
    first = told[0]
    assert (first.answer_id, first.request_id, first.news_id, first.prompt) == ("answer-1", "ask-1", "n1", "question 1")
    assert (first.answer, first.tokens_in, first.tokens_out, first.error) == ('{"scores": []}', 100, 20, "")


def test_what_is_on_record_is_not_asked_again_and_counts_for_the_budget(server: LocalServer) -> None:
    told: list[LlmAnswer] = []
    asker_before = asker(client(server), told)
    asker_before.take(request(1))
    wait_for(lambda: len(told) == 1, "an answer")
    asker_before.close()
    again: list[LlmAnswer] = []
    edge = asker(client(server), again, answered=lambda: told, budget=Budget(2, 10_000))
    for number in (1, 2, 3):
        edge.take(request(number))
    wait_for(lambda: len(again) == 2, "two answers")
    edge.close()
    assert [one.request_id for one in again] == ["ask-2", "ask-3"]
    assert [one.error for one in again] == ["", "the day's budget of 2 requests is used up"]
    assert len(server.asked) == 2


def test_nothing_is_asked_before_it_is_known_what_is_on_record(server: LocalServer) -> None:
    known = threading.Event()
    told: list[LlmAnswer] = []

    def answered() -> list[LlmAnswer]:
        assert known.wait(5)
        return []

    edge = asker(client(server), told, answered=answered)
    edge.take(request(1))
    time.sleep(0.1)
    assert server.asked == []
    known.set()
    wait_for(lambda: len(told) == 1, "an answer")
    edge.close()


def test_failures_are_recorded_too(server: LocalServer) -> None:
    server.says(PATH, b"", 500)
    told: list[LlmAnswer] = []
    edge = asker(client(server), told)
    edge.take(request(1))
    wait_for(lambda: len(told) == 1, "an answer")
    edge.close()
    assert (told[0].answer, told[0].error) == ("", "language model answered with status 500")


def test_tokens_are_counted_by_the_day() -> None:
    budget = Budget(10, 200)
    assert budget.out(0) == ""
    budget.spend(5, 1, 200)
    assert budget.out(6) == "the day's budget of 200 tokens is used up"
    assert budget.out(DAY_NS) == ""
    budget.spend(5, 1, 200)
    assert budget.out(DAY_NS) == "", "what was spent yesterday does not count today"
    assert Budget(0, 1).out(0)


class Hanging:
    """A model that never answers until it is let go."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.asked = 0

    def ask(self, model: str, prompt: str) -> Told:
        self.asked += 1
        self.free.wait(10)
        raise Unavailable("language model no answer")

    def close(self) -> None:
        self.free.set()


def test_a_dead_model_holds_nobody_up_and_old_requests_are_not_asked() -> None:
    model = Hanging()
    told: list[LlmAnswer] = []
    sink = AskingSink("books", lambda: asker(model, told, patience_s=0.2))
    assert sink.list_parts() == ["books"]
    part = sink.build_part("asking", "books", None)
    started = time.monotonic()
    part.write_batch([[Tick(n, [request(n)]) for n in range(5000)]])
    assert time.monotonic() - started < 2.0
    wait_for(lambda: model.asked == 1, "the first question")
    time.sleep(0.3)
    model.free.set()
    wait_for(lambda: len(told) > 100, "the others are given up")
    part.close()
    assert model.asked == 1
    assert {one.error for one in told[1:]} == {"waited too long behind others"}

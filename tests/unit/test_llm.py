"""The language model client with a local server: slow and malformed responses, 429 and 500, exhausted budget.

The client sends each request once and never blocks the dataflow.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dataflows.llm.llm_client import LlmClient, LlmCompletion
from dataflows.llm.request_sink import DAY_NS, LlmBudget, LlmRequester, LlmRequestSink
from operators.sentiment.llm_prompt import ANSWER_SCHEMA
from operators.stage import TimeSlice
from schemas.errors import Unavailable
from schemas.records import LlmAnswer, LlmRequest
from tests.unit.alpaca_broker import wait_for
from tests.unit.local_http_server import LocalServer, RecordedRequest, local_server

PATH = "/v1/chat/completions"


def request(number: int) -> LlmRequest:
    return LlmRequest(
        seq=number, ts_ns=1, request_id=f"ask-{number}", news_id=f"n{number}", model="m", prompt=f"question {number}"
    )


def completion(text: str = '{"scores": []}') -> bytes:
    usage = {"prompt_tokens": 100, "completion_tokens": 20}
    return json.dumps({"choices": [{"message": {"content": text}}], "usage": usage}).encode()


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with local_server() as running:
        running.set_response(PATH, completion())
        yield running


def client(server: LocalServer, *, key: str | None = "hidden-key", pauses: list[float] | None = None) -> LlmClient:
    pause_list = [] if pauses is None else pauses
    options: dict[str, Any] = {"timeout_s": 0.5, "retries": 2, "answer_tokens_max": 50, "schema": ANSWER_SCHEMA}
    return LlmClient(f"{server.url}/v1/", key, sleep=pause_list.append, **options)


def responses_in_turn(*responses: tuple[int, dict[str, str], bytes]) -> Callable[[RecordedRequest], Any]:
    remaining = list(responses)
    return lambda http_request: remaining.pop(0) if len(remaining) > 1 else remaining[0]


def test_request_follows_the_chat_completion_protocol(server: LocalServer) -> None:
    assert client(server).complete("m", "What?") == LlmCompletion('{"scores": []}', 100, 20)
    (http_request,) = server.requests
    body = json.loads(http_request.body)
    assert (http_request.path, http_request.headers["authorization"]) == (PATH, "Bearer hidden-key")
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0, 50)
    assert body["messages"] == [{"role": "user", "content": "What?"}]
    assert body["response_format"]["json_schema"]["schema"] == ANSWER_SCHEMA
    client(server, key=None).complete("m", "What?")
    assert "authorization" not in server.requests[1].headers


@pytest.mark.parametrize("status", [429, 500, 503])
def test_transient_errors_are_retried_with_increasing_delay(server: LocalServer, status: int) -> None:
    server.responses[PATH] = responses_in_turn(
        (status, {}, b""), (status, {"Retry-After": "3"}, b""), (200, {}, completion())
    )
    pauses: list[float] = []
    assert client(server, pauses=pauses).complete("m", "?").tokens_in == 100
    assert pauses == [0.25, 3.0]


@pytest.mark.parametrize(
    ("response", "tries", "reason"),
    [
        ((500, {}, b""), 3, "language model responded with status 500"),
        ((429, {"Retry-After": "86400"}, b""), 3, "language model responded with status 429"),
        ((401, {}, b"hidden-key is wrong"), 1, "language model responded with status 401"),
        ((200, {}, b"<html>"), 1, "expected a chat completion"),
        ((200, {}, b'{"choices": []}'), 1, "expected a chat completion"),
        ((200, {}, b'{"choices": [{"message": {"content": null}}]}'), 1, "a completion without text"),
        ((200, {}, b"x" * 300_000), 3, "request failed: BodyRefused the response is larger than 200000 bytes"),
    ],
)
def test_final_errors_give_one_line_without_the_key(
    server: LocalServer, response: Any, tries: int, reason: str
) -> None:
    server.responses[PATH] = responses_in_turn(response)
    pauses: list[float] = []
    with pytest.raises(Unavailable) as error:
        client(server, pauses=pauses).complete("m", "?")
    assert reason in str(error.value)
    assert "hidden-key" not in str(error.value) or response[0] == 200
    assert len(server.requests) == tries
    assert all(0 < pause <= 5 for pause in pauses)


def test_hanging_or_unreachable_server_raises_unavailable(server: LocalServer) -> None:
    def hanging(http_request: RecordedRequest) -> Any:
        time.sleep(0.8)
        return 200, {}, completion()

    server.responses[PATH] = hanging
    with pytest.raises(Unavailable, match="request failed: ReadTimeout"):
        client(server).complete("m", "?")
    unreachable = LlmClient("http://127.0.0.1:9/v1", None, timeout_s=0.5, retries=0, answer_tokens_max=1, schema={})
    with pytest.raises(Unavailable, match="request failed: ConnectError"):
        unreachable.complete("m", "?")


def make_requester(llm: Any, answers: list[LlmAnswer], **overrides: Any) -> LlmRequester:
    options: dict[str, Any] = {
        "budget": LlmBudget(100, 10_000),
        "queue_age_max_s": 5.0,
        "recorded_answers": list,
    } | overrides
    return LlmRequester(llm, answers.append, **options)


def test_each_request_is_sent_once_and_recorded(server: LocalServer) -> None:
    answers: list[LlmAnswer] = []
    requester = make_requester(client(server), answers)
    for number in (1, 2, 1, 2, 3):
        requester.submit(request(number))
    wait_for(lambda: len(answers) == 3, "three answers")
    requester.close()
    assert len(server.requests) == 3
    first = answers[0]
    assert (first.answer_id, first.request_id, first.news_id, first.prompt) == ("answer-1", "ask-1", "n1", "question 1")
    assert (first.answer, first.tokens_in, first.tokens_out, first.error) == ('{"scores": []}', 100, 20, "")


def test_recorded_answers_are_not_requested_again_and_count_for_the_budget(server: LocalServer) -> None:
    answers: list[LlmAnswer] = []
    first_requester = make_requester(client(server), answers)
    first_requester.submit(request(1))
    wait_for(lambda: len(answers) == 1, "an answer")
    first_requester.close()
    later_answers: list[LlmAnswer] = []
    requester = make_requester(
        client(server), later_answers, recorded_answers=lambda: answers, budget=LlmBudget(2, 10_000)
    )
    for number in (1, 2, 3):
        requester.submit(request(number))
    wait_for(lambda: len(later_answers) == 2, "two answers")
    requester.close()
    assert [answer.request_id for answer in later_answers] == ["ask-2", "ask-3"]
    assert [answer.error for answer in later_answers] == ["", "the daily budget of 2 requests is exhausted"]
    assert len(server.requests) == 2


def test_no_request_before_recorded_answers_are_loaded(server: LocalServer) -> None:
    lookup_allowed = threading.Event()
    answers: list[LlmAnswer] = []

    def answered() -> list[LlmAnswer]:
        assert lookup_allowed.wait(60)
        return []

    requester = make_requester(client(server), answers, recorded_answers=answered)
    requester.submit(request(1))
    time.sleep(0.1)
    assert server.requests == []
    lookup_allowed.set()
    wait_for(lambda: len(answers) == 1, "an answer")
    requester.close()


def test_failures_are_recorded_too(server: LocalServer) -> None:
    server.set_response(PATH, b"", 500)
    answers: list[LlmAnswer] = []
    requester = make_requester(client(server), answers)
    requester.submit(request(1))
    wait_for(lambda: len(answers) == 1, "an answer")
    requester.close()
    assert (answers[0].answer, answers[0].error) == ("", "language model responded with status 500")


def test_tokens_are_counted_by_the_day() -> None:
    budget = LlmBudget(10, 200)
    assert budget.exhausted_reason(0) == ""
    budget.spend(5, 1, 200)
    assert budget.exhausted_reason(6) == "the daily budget of 200 tokens is exhausted"
    assert budget.exhausted_reason(DAY_NS) == ""
    budget.spend(5, 1, 200)
    assert budget.exhausted_reason(DAY_NS) == "", "what was spent yesterday does not count today"
    assert LlmBudget(0, 1).exhausted_reason(0)


class HangingModel:
    """A model that does not respond until `close` releases it."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.request_count = self.response_count = 0

    def complete(self, model: str, prompt: str) -> LlmCompletion:
        self.request_count += 1
        self.released.wait(60)
        self.response_count += 1
        raise Unavailable("language model no answer")

    def close(self) -> None:
        self.released.set()


def test_unresponsive_model_does_not_block_and_stale_requests_are_dropped() -> None:
    model = HangingModel()
    answers: list[LlmAnswer] = []
    sink = LlmRequestSink("books", lambda: make_requester(model, answers, queue_age_max_s=0.2))
    assert sink.list_parts() == ["books"]
    sink_partition = sink.build_part("asking", "books", None)
    sink_partition.write_batch([[TimeSlice(n, [request(n)]) for n in range(5000)]])
    assert model.response_count == 0, "the write waited for the model"
    wait_for(lambda: model.request_count == 1, "the first question")
    time.sleep(0.3)
    model.released.set()
    wait_for(lambda: len(answers) > 100, "the others are given up")
    sink_partition.close()
    assert model.request_count == 1
    # On a busy machine, requests before the one that the model received may be too old already.
    assert {answer.error for answer in answers} == {"language model no answer", "the request was queued for too long"}

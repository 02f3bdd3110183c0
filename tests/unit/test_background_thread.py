"""Background threads: every death is counted and reported, and the thread runs again."""

from __future__ import annotations

import json
import threading
import uuid
from pathlib import Path

import pytest

from dataflows.llm.llm_client import LlmCompletion
from dataflows.llm.request_sink import LlmBudget, LlmRequester
from dataflows.runtime.stats import Stats
from dataflows.sources.background_poller import BackgroundPoller
from dataflows.sources.market.rest_provider import RestBarsProvider
from operators.bar_completion import Minute, MinuteRow
from schemas.records import LlmAnswer, LlmRequest, NewsItem, Record
from sinks.background_thread import BackgroundThread, ThreadReport, thread_reports
from tests.unit.alpaca_broker import wait_for

MINUTE_NS = 60 * 10**9


def report_of(name: str) -> ThreadReport:
    return next(report for report in thread_reports() if report.name == name)


@pytest.fixture
def name() -> str:
    """A name of this test alone: reports are of the process."""
    return f"thread {uuid.uuid4()}"


def test_thread_that_dies_runs_again_and_its_deaths_are_counted(name: str) -> None:
    runs: list[int] = []

    def run() -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            raise ValueError("first\nline")
        if len(runs) > 2:
            thread.stop_requested.wait()

    thread = BackgroundThread(name, run, back_off_s=0.01).start()
    wait_for(lambda: len(runs) == 3, "the third run")
    report = report_of(name)
    assert (report.running, report.deaths, report.error) == (1, 2, "the thread returned without a request")
    assert report.died_at > 0
    assert not thread.ended
    thread.request_stop()
    thread.join(60)
    assert (report_of(name).running, report_of(name).deaths, thread.alive, thread.ended) == (0, 2, False, False)


def test_task_that_raises_is_counted_and_not_repeated(name: str) -> None:
    def fail() -> None:
        raise RecursionError("too deep")

    for task in (fail, lambda: None):
        thread = BackgroundThread(name, task, restart=False).start()
        thread.join(60)
        assert thread.ended
    assert report_of(name)[1:3] == (0, 1)
    assert report_of(name).error == "RecursionError: too deep"


def test_statistics_of_a_dataflow_report_its_threads(name: str, tmp_path: Path) -> None:
    BackgroundThread(name, lambda: 1 / 0, restart=False).start().join(60)
    Stats("news", tmp_path).write(last_tick_ns=-1)
    (row,) = (row for row in json.loads((tmp_path / "news.json").read_text())["threads"] if row["name"] == name)
    assert (row["running"], row["deaths"], row["error"]) == (0, 1, "ZeroDivisionError: division by zero")


class UnreliableSource:
    """A `BlockingSource` that raises an unexpected exception once."""

    interval_s = 0.01

    def __init__(self, item: NewsItem) -> None:
        self.item, self.fetches = item, 0

    def fetch(self) -> list[Record]:
        self.fetches += 1
        if self.fetches == 1:
            raise ValueError("chr() arg not in range(0x110000)")
        return [self.item]

    def close(self) -> None:
        """Nothing to close."""


def test_news_source_goes_on_after_an_unexpected_exception() -> None:
    item = NewsItem(news_id="n", ts_ns=1, published_ns=1, source="s", headline="h", summary="", url="", symbols=[])
    before = next((report.deaths for report in thread_reports() if report.name == "unreliable source"), 0)
    poller = BackgroundPoller("unreliable", UnreliableSource(item), ids_max=10).start()
    received: list[Record] = []

    def has_received() -> bool:
        received.extend(poller.poll())
        return bool(received)

    wait_for(has_received, "the item after the death")
    assert received == [item]
    assert report_of("unreliable source").deaths == before + 1
    poller.close()


def test_rest_provider_requests_again_after_an_unexpected_exception() -> None:
    row = MinuteRow(symbol="A", open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)
    minute = Minute(0, MINUTE_NS, "REGULAR", 20240311)
    server_works = threading.Event()

    def fetch_history(first_open_ns: int, end_ns: int) -> dict[int, dict[str, MinuteRow]]:
        if not server_works.is_set():
            raise TypeError("a bar is a list")
        return {0: {"A": row}}

    provider = RestBarsProvider("unreliable_rest", fetch_history, retry_interval_s=0.0)
    wait_for(lambda: "failed unexpectedly" in provider.unhealthy_reason(minute, 0), "the failed request")
    server_works.set()
    wait_for(lambda: provider.unhealthy_reason(minute, 0) == "", "healthy bars")
    assert provider.rows(minute) == {"A": row}
    assert report_of("unreliable_rest-bars").deaths >= 1


def test_language_model_thread_goes_on_after_an_answer_that_cannot_be_published() -> None:
    published: list[LlmAnswer] = []

    class Model:
        def complete(self, model: str, prompt: str) -> LlmCompletion:
            return LlmCompletion("{}", 1, 1)

        def close(self) -> None:
            """Nothing to close."""

    def publish(answer: LlmAnswer) -> None:
        if answer.request_id == "ask-1":
            raise BufferError("queue full")
        published.append(answer)

    requester = LlmRequester(
        Model(), publish, budget=LlmBudget(10, 10_000), queue_age_max_s=60.0, recorded_answers=list
    )
    for number in (1, 2):
        requester.submit(
            LlmRequest(seq=number, ts_ns=1, request_id=f"ask-{number}", news_id="n", model="m", prompt="?")
        )
    wait_for(lambda: [answer.request_id for answer in published] == ["ask-2"], "the second answer")
    requester.close()

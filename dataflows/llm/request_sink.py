"""Sink that sends LlmRequests to a language model in a separate thread and publishes the answers.

The dataflow never waits for the model. A request that cannot be sent in time gets an answer with an error. The stage
falls back on such an answer or on its own timeout.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Protocol

import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from dataflows.llm.llm_client import LlmCompletion
from operators.stage import TimeSlice
from schemas.errors import Unavailable
from schemas.records import LlmAnswer, LlmRequest
from sinks.background_thread import BackgroundThread

log = structlog.get_logger(__name__)

QUEUE_MAX = 1000
SEEN_IDS_MAX = 100_000
DAY_NS = 86_400 * 1_000_000_000
TEXT_MAX = 20_000
STOP_TIMEOUT_S = 2.0
RETRY_S = 2.0


class CompletionClient(Protocol):
    """A client of a language model. Raises Unavailable if there is no answer."""

    def complete(self, model: str, prompt: str) -> LlmCompletion: ...

    def close(self) -> None: ...


class LlmBudget:
    """Limits the requests and tokens of a day (UTC). A limit of 0 allows nothing."""

    def __init__(self, requests: int, tokens: int) -> None:
        self._limits = (requests, tokens)
        self._day = -1
        self._requests = self._tokens = 0

    def spend(self, now_ns: int, requests: int, tokens: int) -> None:
        day = now_ns // DAY_NS
        if day > self._day:
            self._day, self._requests, self._tokens = day, 0, 0
        if day == self._day:
            self._requests += requests
            self._tokens += tokens

    def exhausted_reason(self, now_ns: int) -> str:
        """Return which limit is exhausted, or "" if none is."""
        self.spend(now_ns, 0, 0)
        requests, tokens = self._limits
        if self._requests >= requests:
            return f"the daily budget of {requests} requests is exhausted"
        return f"the daily budget of {tokens} tokens is exhausted" if self._tokens >= tokens else ""


class LlmRequester:
    """Sends each request id once, in order, in its own thread; `publish` receives every answer, including errors.

    The thread first calls `recorded_answers`, until it succeeds: requests answered there are not sent again, and their
    cost counts against the budget. A request that was queued for longer than `queue_age_max_s` is not sent.
    """

    def __init__(
        self,
        client: CompletionClient,
        publish: Callable[[LlmAnswer], None],
        *,
        budget: LlmBudget,
        queue_age_max_s: float,
        recorded_answers: Callable[[], list[LlmAnswer]],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._client, self._publish, self._budget, self._recorded_answers = client, publish, budget, recorded_answers
        self._queue_age_max_ns, self._now_ns = round(queue_age_max_s * 1e9), now_ns
        self._seen: dict[str, None] = {}
        self._queue: queue.Queue[tuple[int, LlmRequest]] = queue.Queue(QUEUE_MAX)
        self._recorded_loaded = False
        self._thread = BackgroundThread("language model", self._run)
        self._stop = self._thread.stop_requested
        self._thread.start()

    def submit(self, request: LlmRequest) -> None:
        """Queue a request without waiting. If the queue is full, the request is dropped and the stage times out."""
        try:
            self._queue.put_nowait((self._now_ns(), request))
        except queue.Full:
            log.warning("llm request dropped", request_id=request.request_id, reason=f"{QUEUE_MAX} requests pending")

    def close(self) -> None:
        self._thread.request_stop()
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stop.is_set() and not self._load_recorded_answers():
            self._stop.wait(RETRY_S)
        while not self._stop.is_set():
            try:
                queued_ns, request = self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
            if self._is_new(request.request_id):
                self._publish(self._answer(queued_ns, request))
        self._client.close()

    def _load_recorded_answers(self) -> bool:
        if self._recorded_loaded:
            return True
        try:
            recorded = self._recorded_answers()
        except Unavailable as error:
            log.warning("recorded llm answers unavailable, retrying", reason=str(error))
            return False
        for answer in recorded:
            self._is_new(answer.request_id)
            self._budget.spend(answer.ts_ns, answer.tokens_in > 0, answer.tokens_in + answer.tokens_out)
        self._recorded_loaded = True
        return True

    def _is_new(self, request_id: str) -> bool:
        if request_id in self._seen:
            return False
        self._seen[request_id] = None
        if len(self._seen) > SEEN_IDS_MAX:
            del self._seen[next(iter(self._seen))]
        return True

    def _answer(self, queued_ns: int, request: LlmRequest) -> LlmAnswer:
        now_ns = self._now_ns()
        error = self._budget.exhausted_reason(now_ns)
        if now_ns - queued_ns > self._queue_age_max_ns:
            error = "the request was queued for too long"
        completion = LlmCompletion("", 0, 0)
        if not error:
            self._budget.spend(now_ns, 1, 0)
            try:
                completion = self._client.complete(request.model, request.prompt)
            except Unavailable as failure:
                error = str(failure)
            self._budget.spend(self._now_ns(), 0, completion.tokens_in + completion.tokens_out)
        if error:
            log.warning("llm request failed", request_id=request.request_id, reason=error)
        return LlmAnswer(
            answer_id=f"answer-{request.request_id.removeprefix('ask-')}",
            ts_ns=self._now_ns(),
            request_id=request.request_id,
            news_id=request.news_id,
            model=request.model,
            prompt=request.prompt,
            answer=completion.text[:TEXT_MAX],
            tokens_in=completion.tokens_in,
            tokens_out=completion.tokens_out,
            error=error,
        )


class _LlmSinkPartition(StatefulSinkPartition[list[TimeSlice], None]):
    def __init__(self, requester: LlmRequester) -> None:
        self._requester = requester

    def write_batch(self, values: list[list[TimeSlice]]) -> None:
        for time_slices in values:
            for time_slice in time_slices:
                for record in time_slice.records:
                    if type(record) is LlmRequest:
                        self._requester.submit(record)

    def snapshot(self) -> None:
        """No state: answers are recorded, and the stage gives up on unanswered requests."""

    def close(self) -> None:
        self._requester.close()


class LlmRequestSink(FixedPartitionedSink[list[TimeSlice], None]):
    """Items are `(shard, [TimeSlice, ...])` with LlmRequests among the records. `open_requester` starts the thread."""

    def __init__(self, shard: str, open_requester: Callable[[], LlmRequester]) -> None:
        self._shard, self._open_requester = shard, open_requester

    def list_parts(self) -> list[str]:
        return [self._shard]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _LlmSinkPartition:
        return _LlmSinkPartition(self._open_requester())

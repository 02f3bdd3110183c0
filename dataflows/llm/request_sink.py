"""The asking edge: LlmRequests in, a language model asked in a thread of its own, its answers on record.

The dataflow never waits for it: a request that cannot be asked in time gets an answer with an error, and the stage
falls back when it hears of that or when its own time is over.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from dataflows.llm.llm_client import Told
from operators.stage import Tick
from schemas.errors import Unavailable
from schemas.records import LlmAnswer, LlmRequest

log = structlog.get_logger(__name__)

WAITING_MAX = 1000
REMEMBERED = 100_000
DAY_NS = 86_400 * 1_000_000_000
TEXT_MAX = 20_000
STOP_WITHIN_S = 2.0
AGAIN_S = 2.0


class Client(Protocol):
    """Raises Unavailable when there is no answer."""

    def ask(self, model: str, prompt: str) -> Told: ...

    def close(self) -> None: ...


class Budget:
    """What a day (UTC) may cost. A limit of 0 allows nothing."""

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

    def out(self, now_ns: int) -> str:
        """Which limit is used up, "" while none is."""
        self.spend(now_ns, 0, 0)
        requests, tokens = self._limits
        if self._requests >= requests:
            return f"the day's budget of {requests} requests is used up"
        return f"the day's budget of {tokens} tokens is used up" if self._tokens >= tokens else ""


class Asker:
    """Asks each request id once, in order, in its own thread; `tell` gets every answer, errors too.

    `answered` is read first, in the thread, and again until it succeeds: answers on record, whose requests are not
    asked again and whose cost counts. A request older than `patience_s` is not asked any more.
    """

    def __init__(
        self,
        client: Client,
        tell: Callable[[LlmAnswer], None],
        *,
        budget: Budget,
        patience_s: float,
        answered: Callable[[], list[LlmAnswer]],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._client, self._tell, self._budget, self._answered = client, tell, budget, answered
        self._patience_ns, self._now_ns = round(patience_s * 1e9), now_ns
        self._seen: dict[str, None] = {}
        self._waiting: queue.Queue[tuple[int, LlmRequest]] = queue.Queue(WAITING_MAX)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="language model", daemon=True)
        self._thread.start()

    def take(self, request: LlmRequest) -> None:
        """Never waits. With too many in the queue the request is left to the stage's own timeout."""
        try:
            self._waiting.put_nowait((self._now_ns(), request))
        except queue.Full:
            log.warning("language model not asked", request_id=request.request_id, reason=f"{WAITING_MAX} wait")

    def close(self) -> None:
        self._stop.set()
        self._thread.join(STOP_WITHIN_S)

    def _run(self) -> None:
        while not self._stop.is_set() and not self._begin():
            self._stop.wait(AGAIN_S)
        while not self._stop.is_set():
            try:
                taken_ns, request = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            if self._is_new(request.request_id):
                self._tell(self._answer(taken_ns, request))
        self._client.close()

    def _begin(self) -> bool:
        try:
            known = self._answered()
        except Unavailable as error:
            log.warning("recorded answers are not known yet", reason=str(error))
            return False
        for answer in known:
            self._is_new(answer.request_id)
            self._budget.spend(answer.ts_ns, answer.tokens_in > 0, answer.tokens_in + answer.tokens_out)
        return True

    def _is_new(self, request_id: str) -> bool:
        if request_id in self._seen:
            return False
        self._seen[request_id] = None
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return True

    def _answer(self, taken_ns: int, request: LlmRequest) -> LlmAnswer:
        now_ns = self._now_ns()
        error = self._budget.out(now_ns)
        if now_ns - taken_ns > self._patience_ns:
            error = "waited too long behind others"
        told = Told("", 0, 0)
        if not error:
            self._budget.spend(now_ns, 1, 0)
            try:
                told = self._client.ask(request.model, request.prompt)
            except Unavailable as failed:
                error = str(failed)
            self._budget.spend(self._now_ns(), 0, told.tokens_in + told.tokens_out)
        if error:
            log.warning("language model did not answer", request_id=request.request_id, reason=error)
        named = (request.request_id, request.news_id, request.model, request.prompt)
        answer_id = f"answer-{request.request_id.removeprefix('ask-')}"
        costs = (told.tokens_in, told.tokens_out)
        return LlmAnswer(answer_id, self._now_ns(), *named, told.text[:TEXT_MAX], *costs, error)


class _Part(StatefulSinkPartition[list[Tick], None]):
    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def write_batch(self, values: list[list[Tick]]) -> None:
        for ticks in values:
            for tick in ticks:
                for record in tick.records:
                    if type(record) is LlmRequest:
                        self._asker.take(record)

    def snapshot(self) -> None:
        """Nothing to recover: what was answered is on record, what was not the stage gives up."""

    def close(self) -> None:
        self._asker.close()


class AskingSink(FixedPartitionedSink[list[Tick], None]):
    """Items are `(shard, [Tick, ...])` with LlmRequests among the records; `open_asker` begins the thread."""

    def __init__(self, shard: str, open_asker: Callable[[], Asker]) -> None:
        self._shard, self._open_asker = shard, open_asker

    def list_parts(self) -> list[str]:
        return [self._shard]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Part:
        return _Part(self._open_asker())

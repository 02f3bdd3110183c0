"""Client of an OpenAI-compatible chat completion API. Every failure becomes a one-sentence error."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx

from dataflows.sources.bounded_body import ACCEPT_ENCODING, read_body
from schemas.errors import Unavailable

BACK_OFF_S, BACK_OFF_MAX_S = 0.25, 5.0
RESPONSE_BYTES_MAX = 200_000
TOKENS_MAX = 10_000_000
RETRY_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class LlmCompletion(NamedTuple):
    """The model's text and its cost in tokens."""

    text: str
    tokens_in: int
    tokens_out: int


class LlmClient:
    """Sends `POST {base_url}/chat/completions` at temperature 0 with the JSON schema of the answer.

    An attempt may take `timeout_s`. After a connection error, a timeout or a status of `RETRY_STATUSES` it is retried
    up to `retries` times, with exponential backoff or after Retry-After, both capped at `BACK_OFF_MAX_S`.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None,
        *,
        timeout_s: float,
        retries: int,
        answer_tokens_max: int,
        schema: dict[str, Any],
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._url, self._retries, self._sleep = base_url.rstrip("/") + "/chat/completions", retries, sleep
        self._timeout_s, self._tokens_max, self._schema = timeout_s, answer_tokens_max, schema
        headers = {"Accept-Encoding": ACCEPT_ENCODING} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._client = httpx.Client(timeout=timeout_s, headers=headers)

    def complete(self, model: str, prompt: str) -> LlmCompletion:
        """Return the completion. Raises Unavailable, with one sentence without the key, if there is none."""
        body = {
            "model": model,
            "temperature": 0,
            "max_tokens": self._tokens_max,
            "messages": [{"role": "user", "content": prompt}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "scores", "strict": True, "schema": self._schema},
            },
        }
        for attempt in range(self._retries + 1):
            wait_s = min(BACK_OFF_S * 2**attempt, BACK_OFF_MAX_S)
            try:
                status, headers, content = self._post(body)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                reason = f"request failed: {type(error).__name__} {' '.join(str(error).split())}".rstrip()
            else:
                if status == httpx.codes.OK:
                    return _parse_completion(content)
                reason = f"responded with status {status}"
                if status not in RETRY_STATUSES:
                    break
                wait_s = _retry_after_s(headers, wait_s)
            if attempt < self._retries:
                self._sleep(wait_s)
        raise Unavailable(f"language model {reason}")

    def close(self) -> None:
        self._client.close()

    def _post(self, body: dict[str, Any]) -> tuple[int, httpx.Headers, bytes]:
        with self._client.stream("POST", self._url, json=body) as response:
            content = read_body(response, bytes_max=RESPONSE_BYTES_MAX, timeout_s=self._timeout_s)
            return response.status_code, response.headers, content


def _parse_completion(content: bytes) -> LlmCompletion:
    try:
        payload = httpx.Response(200, content=content).json()
        text = payload["choices"][0]["message"]["content"]
        usage = payload.get("usage") or {}
        tokens_in, tokens_out = (
            min(max(int(usage.get(name, 0)), 0), TOKENS_MAX) for name in ("prompt_tokens", "completion_tokens")
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Unavailable(f"language model returned {content[:60]!r}, expected a chat completion") from error
    if not isinstance(text, str):
        raise Unavailable("language model returned a completion without text")
    # Neither Avro nor PostgreSQL can store these characters.
    return LlmCompletion(text.encode("utf-8", "replace").decode().replace("\0", "?"), tokens_in, tokens_out)


def _retry_after_s(headers: httpx.Headers, default_s: float) -> float:
    header = headers.get("retry-after", "")
    return min(float(header), BACK_OFF_MAX_S) if header.isdecimal() else default_s

"""A language model of the storm's own: a server on loopback whose answer is a function of the question."""

from __future__ import annotations

import json
import re
import threading
import time
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

DELAY_S_MAX = 0.3
UNREADABLE_ANSWER = "I would rather not say."
_SYMBOLS = re.compile(r"^Symbols: (.*)$", re.M)


def model_answer(prompt: str) -> str:
    """What the model says to a question (`operators/sentiment/llm_prompt.py`): a score from -1 to 1 for each symbol that
    it names, drawn by the question's hash. One question in eight has an answer that cannot be read.
    """
    match = _SYMBOLS.search(prompt)
    digest = sha256(prompt.encode()).digest()
    if match is None or digest[0] % 8 == 0:
        return UNREADABLE_ANSWER
    symbols = match[1].split(", ")
    scores = [
        {"symbol": symbol, "score": round(digest[number + 1] / 127.5 - 1, 3), "confidence": 0.5 + digest[0] / 512}
        for number, symbol in enumerate(symbols[: len(digest) - 1])
    ]
    return json.dumps({"scores": scores})


class LocalLlm:
    """Use as a context manager; `url` is what a client is told. Slow by up to `DELAY_S_MAX`, as the question has it."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _CompletionRequest)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> LocalLlm:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _CompletionRequest(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """A chat completion, as of an OpenAI-compatible server."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = request["messages"][-1]["content"]
        time.sleep(DELAY_S_MAX * sha256(prompt.encode()).digest()[1] / 255)
        choice = {"message": {"role": "assistant", "content": model_answer(prompt)}}
        usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": 20}
        body = json.dumps({"choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the answers are in the topic."""

"""A language model server on loopback whose response is a function of the request."""

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
    """Return the response to a prompt of `operators/sentiment/llm_prompt.py`.

    It has a score from -1 to 1 for each symbol in the prompt, derived from the prompt's hash. One response in eight is
    malformed.
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
    """The server, a context manager with its address in `url`. It responds after 0 to `DELAY_S_MAX` s, by prompt."""

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
        """Respond with a chat completion, as an OpenAI-compatible server does."""
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
        """Log nothing: the responses are in the topic."""

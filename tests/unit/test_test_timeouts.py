"""No test fails because the machine is busy: its HTTP requests wait long enough."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
REQUEST = re.compile(r"\bhttpx\.(?:get|post|put|patch|delete|request|stream|Client\(|AsyncClient\()")
OWN_TRANSPORT = {"unit/test_public_http.py"}


def test_http_requests_of_tests_wait_two_minutes() -> None:
    sources = {str(path.relative_to(TESTS)): path.read_text() for path in TESTS.rglob("*.py")}
    assert "http.py" in sources and len(sources) > 300
    allowed = OWN_TRANSPORT | {"http.py"}
    direct = [name for name, text in sorted(sources.items()) if name not in allowed and REQUEST.search(text)]
    assert direct == [], "use tests.http, whose requests wait long enough for a busy machine"

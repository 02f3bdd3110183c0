"""A handler that computes in C code without end: its process ends, and the next one knows the call."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from dataflows.runtime.handler_backstop import HandlerBackstop, read_timeout
from deploy.home import REPOSITORY
from operators.handler_limit import HandlerCall
from schemas.records import PROCESSOR_TIME, HandlerTimeout
from tests import endless_strategy

SCRIPT = """
import sys
from pathlib import Path
from dataflows.runtime.handler_backstop import HandlerBackstop
from dataflows.runtime.handler_watchdog import HandlerWatchdog, TimeLimits
from operators.handler_limit import HandlerCall
from tests.endless_strategy import Endless

def end_process(timeouts):
    raise AssertionError("no thread of Python can run")

class Context:
    state, universe = {}, ("KO",)
    def target_quantity(self, *arguments): pass

backstop = HandlerBackstop(Path(sys.argv[1]), "strategies")
watchdog = HandlerWatchdog(TimeLimits(processor_s=0.2), end_process=end_process, backstop=backstop)
handler = Endless(how="calculate", at=2).on_slice
for number in (1, 2):
    call = HandlerCall(60, "endless", "", number, "on_slice", handler.__code__.co_filename)
    watchdog.run(call, handler, Context())
"""
CALL = HandlerCall(60, "pairs", "KO", 1, "on_slice", "own.py")


def test_a_calculation_without_end_ends_the_process_and_is_found_by_the_next(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=REPOSITORY, capture_output=True, check=False
    )
    assert result.returncode == -signal.SIGPROF, result.stderr
    timeout = read_timeout(tmp_path, "strategies")
    assert timeout is not None
    assert timeout._replace(line=0) == HandlerTimeout(
        ts_ns=60,
        strategy="endless",
        symbol="",
        call=2,
        handler="on_slice",
        measure=PROCESSOR_TIME,
        limit_s=0.2,
        file=endless_strategy.__file__,
        line=0,
    )
    source = Path(endless_strategy.__file__).read_text().splitlines()
    assert source[timeout.line - 1].strip() == "sum(range(10**15))"


def test_a_process_that_ends_for_another_reason_leaves_no_timeout(tmp_path: Path) -> None:
    """Such as one that is killed in the middle of a handler."""
    assert read_timeout(tmp_path, "strategies") is None
    backstop = HandlerBackstop(tmp_path, "strategies")
    backstop.begin(CALL, 3600)
    backstop.end()
    assert read_timeout(tmp_path, "strategies") is None


def test_a_new_process_forgets_the_call_of_the_last_one(tmp_path: Path) -> None:
    backstop = HandlerBackstop(tmp_path, "strategies")
    backstop.begin(CALL, 3600)
    backstop.end()
    (tmp_path / "strategies.trace").write_text('File "own.py", line 12 in on_slice')
    found = read_timeout(tmp_path, "strategies")
    assert found is not None and (found.strategy, found.symbol, found.line) == ("pairs", "KO", 12)
    HandlerBackstop(tmp_path, "strategies")
    assert read_timeout(tmp_path, "strategies") is None

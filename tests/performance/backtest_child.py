"""Run one backtest in its own process to measure its memory and processor time. Print one line of JSON.

Arguments: folder of bars, settings file, and "loop" to measure the plain loop over the same bars as well.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path

from configs.settings import load_settings
from dataflows.backtest import run
from dataflows.sources.file_feed import FileFeed
from tests.performance.plain_loop import read_rows, trade


def peak_mb() -> float:
    """Return the peak resident memory of this program. getrusage would include the parent's memory before the exec."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main(folder: Path, settings_file: Path, *, with_loop: bool) -> None:
    settings = load_settings(settings_file, {})
    started = time.process_time()
    _, summary = run(settings, [folder])
    result = {**summary, "cpu_s": time.process_time() - started}
    result["peak_mb"] = peak_mb()
    if with_loop:
        started = time.process_time()
        for _ in FileFeed([folder], settings.market_data.files):
            pass
        result["feed_cpu_s"] = time.process_time() - started
        rows = read_rows(folder)
        gc.freeze()
        started = time.process_time()
        outcome = trade(rows, float(settings.portfolio_manager.initial_capital))
        result["loop_cpu_s"] = time.process_time() - started
        result["loop"] = outcome._asdict()
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), with_loop="loop" in sys.argv[3:])

"""Run the backtest of an extracted bundle in this process: `python -m dataflows.research.bundles.rerun FOLDER`.

Writes the result as JSON and the tables of orders and executions to the folder `again` in it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pyarrow import parquet

from configs.recorded_settings import canonical_json, settings_from_text, with_user_files
from configs.settings import Settings, load_settings
from dataflows import backtest as fused
from dataflows.research.bundles import bundle_file
from dataflows.research.bundles.bundle_contents import commit_facts, result_facts
from dataflows.research.frames import EXECUTIONS, ORDERS, RUN_FRAME_NAMES
from dataflows.research.result import Result
from dataflows.research.run_collector import RunCollector
from dataflows.research.run_sources import sources_of, strategy_labels
from dataflows.research.strategy_backtest import result_of
from schemas.errors import PlatformError

AGAIN = "again"


def rerun(folder: Path) -> Result:
    """Run the backtest of an extracted bundle, and return its result. Raises BadInput."""
    inputs = json.loads((folder / bundle_file.INPUTS).read_text(encoding="utf-8"))
    files: dict[str, list[Path]] = {}
    for one in inputs["files"]:
        files.setdefault(one["kind"], []).append(folder / one["part"] if one["part"] else Path(one["path"]))
    bars, orders = files.pop("bars"), files.pop("orders", [None])[0]
    settings = bundle_settings(folder, inputs).with_files(files)
    labels = strategy_labels(settings)
    collector = RunCollector(RUN_FRAME_NAMES, inputs["benchmark"], settings, excursions=inputs["excursions"])
    performance, summary = fused.run(
        settings, bars, orders=orders, explains=False, make_observers=collector.make_observers
    )
    sources = sources_of(settings, bars, orders)
    return result_of(collector.result(performance, summary), settings, labels, sources)


def bundle_settings(folder: Path, inputs: dict[str, Any]) -> Settings:
    """Return the recorded settings with the files of the bundle. The environment has no effect on them."""
    recorded = json.loads((folder / bundle_file.SETTINGS).read_text(encoding="utf-8"))
    settings = settings_from_text(canonical_json(recorded), load_settings())
    allowed = recorded.get("backtest", {}).get("allow_in_sample", False)
    sources = {path: str(folder / part) for path, part in inputs["sources"].items()}
    settings = with_user_files(settings, sources)
    return settings.allowing_in_sample() if allowed else settings


def main(folder: Path) -> None:
    result = rerun(folder)
    target = folder / AGAIN
    target.mkdir()
    for name in (ORDERS, EXECUTIONS):
        parquet.write_table(result.tables[name], target / f"{name}.parquet")
    facts = {"result": result_facts(result), "commit": commit_facts()}
    (target / bundle_file.RESULT).write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except PlatformError as error:
        sys.exit(f"error: {error}")

"""Replay the session of an extracted bundle: `python -m dataflows.research.bundles.session_rerun FOLDER`.

Writes the result as JSON to the folder `again` in it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dataflows.replay.recorded_source import RecordedSource
from dataflows.research.bundles import bundle_file
from dataflows.research.bundles.bundle_contents import commit_facts
from dataflows.research.bundles.rerun import AGAIN, bundle_settings
from dataflows.research.bundles.session_bundle import (
    RECORDING_FOLDER,
    difference_text,
    replay_session,
    session_facts,
)
from schemas.errors import PlatformError
from sinks.archive.topic_archive import TopicArchive


def main(folder: Path) -> None:
    inputs, expected = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in (bundle_file.INPUTS, bundle_file.RESULT)
    )
    archive = TopicArchive(folder / RECORDING_FOLDER)
    settings = bundle_settings(folder, inputs)
    with RecordedSource(trusts_all=True) as source:  # `verify_bundle` has asked for consent
        comparison = replay_session(archive, settings, inputs["session"]["symbol_partitions"], source)
    difference = None if comparison.difference is None else difference_text(comparison.difference)
    result = session_facts(comparison, expected["name"], expected["strategies"])
    target = folder / AGAIN
    target.mkdir()
    facts = {"result": result, "difference": difference, "commit": commit_facts()}
    (target / bundle_file.RESULT).write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except PlatformError as error:
        sys.exit(f"error: {error}")

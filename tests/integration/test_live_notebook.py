"""The notebook of a live session reads the topics of a platform from a real Kafka."""

from __future__ import annotations

from pathlib import Path

from dataflows.replay.recording import DERIVED_TOPICS, INPUT_TOPICS
from tests.integration.recorded_platform import make_topics, write
from tests.notebooks import WITH_SERVICES, printed_by_cell, run_notebook
from tests.replay.market import write_market
from tests.replay.runs import read_time_slices
from tests.unit.tape import platform_output, settings


def test_the_notebook_of_a_live_session_reads_its_topics(kafka: str, tmp_path: Path) -> None:
    slices = read_time_slices(write_market(tmp_path / "bars", symbols=("A", "B")))[:300]
    prefix = make_topics(kafka)
    write(kafka, prefix, slices, INPUT_TOPICS)
    write(kafka, prefix, platform_output(slices, settings()), DERIVED_TOPICS)
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA__TOPIC_PREFIX": prefix,
        "PLATFORM_HOME": str(tmp_path / "var"),
    }
    bars, known, result, _ = printed_by_cell(run_notebook(WITH_SERVICES[0], tmp_path, variables))
    count = sum(len(one.records) for one in slices)
    assert bars.startswith(f"{count:,} bars of A, B, from 2024-")
    assert " rows of features of A, the last at 2024-" in known
    assert " fills, decision hash " in result

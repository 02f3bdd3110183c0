"""Format the result of a run for the terminal and for docs/guarantees.md: counts by service and fault, summary."""

from __future__ import annotations

import re
from pathlib import Path

from deploy.chaos.result import ChaosResult
from deploy.chaos.schedule import KINDS, fault_counts
from deploy.errors import DeployError
from deploy.home import REPOSITORY

GUARANTEES = REPOSITORY / "docs" / "guarantees.md"
BEGIN, END = "<!-- chaos: made by `python cli.py chaos --write-docs` -->", "<!-- end of chaos -->"


def fault_kinds(result: ChaosResult) -> list[str]:
    """Return the kinds of faults of the run, in their fixed order."""
    injected = {each.fault.kind for each in result.injected}
    return [kind for kind in KINDS if kind in injected]


def fault_rows(result: ChaosResult) -> list[list[str]]:
    """Return one row per service with its number of faults of each kind. The last row is the sum."""
    counts, kinds = fault_counts([each.fault for each in result.injected]), fault_kinds(result)
    table_rows = [[target, *(str(hits[kind] or "-") for kind in kinds)] for target, hits in counts.items()]
    return [*table_rows, ["all", *(str(sum(hits[kind] for hits in counts.values())) for kind in kinds)]]


def summary_line(result: ChaosResult) -> str:
    """Return the outcome and the numbers of the comparison as one line."""
    outcome = "no differences in" if result.difference is None else f"DIFFERENCE: {result.difference}; compared"
    tables = f"{result.tables} tables ({result.rows:,} rows)"
    topics = f"{result.topics} topics ({result.messages:,} messages, {result.repeats:,} of them repeated)"
    return f"{outcome} {tables} and {topics}; {result.restarts} restarts, {result.elapsed_s:.0f} s"


def markdown(result: ChaosResult) -> str:
    lines = [f"**Seed {result.seed}**, {result.date}: {summary_line(result)}", ""]
    kinds = fault_kinds(result)
    lines += ["| service | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in fault_rows(result)]
    return "\n".join(lines)


def write_docs(result: ChaosResult, path: Path = GUARANTEES) -> None:
    """Write the run's table between the markers, replacing the one of the same seed. Raises DeployError."""
    text = path.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise DeployError(f"{path.name} must contain the markers `{BEGIN}` and `{END}` exactly once")
    before, rest = text.split(BEGIN)
    between, after = rest.split(END)
    blocks = {
        int(match[1]): match[0].strip() for match in re.finditer(r"\*\*Seed (\d+)\*\*.*?(?=\*\*Seed|\Z)", between, re.S)
    }
    blocks[result.seed] = markdown(result)
    tables = "\n\n".join(blocks[seed] for seed in sorted(blocks))
    path.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}")

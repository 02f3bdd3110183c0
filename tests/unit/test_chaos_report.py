"""The result tables in docs/guarantees.md are exactly what `chaos --write-docs` prints for the same numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.chaos.fault import PlannedFault
from deploy.chaos.report import BEGIN, END, GUARANTEES, markdown, summary_line, write_docs
from deploy.chaos.result import ChaosResult, InjectedFault
from deploy.chaos.schedule import KINDS

BLOCK = GUARANTEES.read_text().split(BEGIN)[1].split(END)[0]
SUMMARY = re.compile(
    r"\*\*Seed (\d+)\*\*, ([\d-]+): no differences in (\d+) tables \(([\d,]+) rows\) and (\d+) topics "
    r"\(([\d,]+) messages, ([\d,]+) of them repeated\); (\d+) restarts, (\d+) s"
)


def documented_results() -> list[ChaosResult]:
    """Read the numbers of each table back from the page."""
    results = []
    for text in BLOCK.split("**Seed ")[1:]:
        match = SUMMARY.match(f"**Seed {text}")
        assert match is not None, text.splitlines()[0]
        date = match[2]
        seed, tables, rows, topics, messages, repeats, restarts, elapsed_s = (
            int(number.replace(",", "")) for number in match.groups() if number != date
        )
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
        columns = {str(kind): kind for kind in KINDS}
        kinds = [columns[name] for name in lines[0][1:]]
        faults = [
            InjectedFault(PlannedFault(0.5, kind, target, 0.5), "", 0.0)
            for target, *counts in lines[2:-1]
            for kind, count in zip(kinds, counts, strict=True)
            for _ in range(0 if count == "-" else int(count))
        ]
        results.append(
            ChaosResult(
                seed=seed,
                date=date,
                injected=faults,
                difference=None,
                topics=topics,
                messages=messages,
                repeats=repeats,
                tables=tables,
                rows=rows,
                restarts=restarts,
                elapsed_s=float(elapsed_s),
            )
        )
    return results


def test_documented_tables_equal_the_report() -> None:
    results = documented_results()
    seeds = [result.seed for result in results]
    assert seeds == sorted(set(seeds)) and len(seeds) >= 2
    assert BLOCK.strip() == "\n\n".join(markdown(result) for result in results)


def test_write_docs_replaces_the_table_of_its_seed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}{BLOCK}{END}\nafter\n")
    first, second, *_ = documented_results()
    write_docs(second, page)
    assert page.read_text() == f"before\n{BEGIN}{BLOCK}{END}\nafter\n"
    write_docs(first._replace(restarts=99), page)
    assert page.read_text() == f"before\n{BEGIN}{BLOCK}{END}\nafter\n".replace(
        f"{first.restarts} restarts", "99 restarts", 1
    )


@pytest.mark.parametrize(
    ("difference", "start"),
    [
        (None, "no differences in 7 tables"),
        ("table bars: 1 rows missing", "DIFFERENCE: table bars: 1 rows missing; compared 7"),
    ],
)
def test_summary_starts_with_the_outcome(difference: str | None, start: str) -> None:
    assert summary_line(documented_results()[0]._replace(difference=difference, tables=7)).startswith(start)

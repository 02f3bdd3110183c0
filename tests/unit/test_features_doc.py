"""docs/features.md is honest: what it names exists, and no row is without a test or a reason in words."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from starlette.routing import Match

from api.app import create_app
from configs.alerts import AlertsSection
from configs.settings import load_settings
from dataflows.runtime.topology import SERVICES
from deploy.grafana.write import BOARDS
from deploy.performance.benchmark import HOPS
from tests.unit.test_docs import COMMANDS
from tests.unit.test_required_commands import REQUIRED_COMMANDS, leftover_words

ROOT = Path(__file__).parents[2]
HEAD = ("asked for", "where", "shown by", "thinner than asked")
METHODS = ("GET", "POST", "PATCH", "DELETE", "WS")
CODE = re.compile(r"`([^`]+)`")


class FeatureTableRow(NamedTuple):
    """One point: its line in the file, what was asked for, what is named in backticks, and the reason."""

    line: int
    requirement: str
    places: list[str]
    tests: list[str]
    gap_reason: str


def read_rows(text: str) -> list[FeatureTableRow]:
    """The rows of all tables, each of which must have the columns of `HEAD`."""
    rows = []
    lines = ["", *text.splitlines()]
    for number, line in enumerate(lines):
        if not line.startswith("|"):
            continue
        cells = tuple(cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|"))
        assert len(cells) == len(HEAD), f"line {number}: {len(cells)} columns"
        if not lines[number - 1].startswith("|"):
            assert cells == HEAD, f"line {number}: another head"
        elif cells[1].strip("-"):
            requirement, where, test_names, gap_reason = cells
            assert not CODE.sub("", where).strip(), f"line {number}: column 2 says more than names"
            assert not CODE.sub("", test_names).strip(), f"line {number}: column 3 says more than names"
            rows.append(FeatureTableRow(number, requirement, CODE.findall(where), CODE.findall(test_names), gap_reason))
    return rows


TEXT = (ROOT / "docs" / "features.md").read_text()
ROWS = read_rows(TEXT)
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"line {row.line}")


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """`METHOD /path` of the OpenAPI, and `WS /path` of those sockets that the tables name and the app routes."""
    app = create_app(load_settings(environment={}), home=tmp_path_factory.mktemp("home"))
    names = {f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods}
    for name in (place for row in ROWS for place in row.places if place.startswith("WS ")):
        scope = {"type": "websocket", "path": name.removeprefix("WS "), "headers": []}
        if any(route.matches(scope)[0] is Match.FULL for route in app.router.routes):
            names.add(name)
    return names


@cache
def functions_of(file: str) -> frozenset[str]:
    """The tests of a file: its functions, also those of classes."""
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@each_row
def test_files_commands_and_endpoints_of_a_row_exist(row: FeatureTableRow, endpoints: set[str]) -> None:
    assert row.places, f"line {row.line}: no file, command or endpoint"
    for place in row.places:
        if place.startswith("python cli.py "):
            command_of(place)
        elif place.split()[0] in METHODS:
            assert place in endpoints, f"line {row.line}: no endpoint {place}"
        else:
            assert (ROOT / place).is_file(), f"line {row.line}: no file {place}"


@each_row
def test_the_tests_of_a_row_exist(row: FeatureTableRow) -> None:
    for name in row.tests:
        file, _, function = name.partition("::")
        assert function.startswith("test_") and Path(file).name.startswith("test_"), (
            f"line {row.line}: {name} is no test"
        )
        assert function in functions_of(file), f"line {row.line}: {file} has no {function}"


@each_row
def test_row_without_a_test_gives_a_reason(row: FeatureTableRow) -> None:
    assert row.tests or len(row.gap_reason.split()) >= 4, (
        f"line {row.line}: {row.requirement}: neither a test nor a reason"
    )


def command_of(place: str) -> str:
    """The command, with its subcommand if it has one: `secrets list`."""
    words = place.removeprefix("python cli.py ").split()
    assert words[0] in COMMANDS.commands, f"no command {words[0]}"
    subcommands = getattr(COMMANDS.commands[words[0]], "commands", None)
    if subcommands and len(words) > 1:
        assert words[1] in subcommands, f"no command {words[0]} {words[1]}"
        return " ".join(words[:2])
    return words[0]


def test_every_required_command_has_a_row() -> None:
    documented = {command_of(place) for row in ROWS for place in row.places if place.startswith("python cli.py ")}
    for words in REQUIRED_COMMANDS:
        assert leftover_words(words) == []
        assert command_of("python cli.py " + " ".join(words)) in documented, f"no row names {' '.join(words)}"


def test_every_dataflow_alert_dashboard_and_measured_target_has_a_row() -> None:
    requirements = "\n".join(row.requirement for row in ROWS)
    places = {place for row in ROWS for place in row.places}
    alerts = [
        name
        for section in (AlertsSection().portfolio, AlertsSection().system, AlertsSection().trading)
        for name in type(section).model_fields
    ]
    assert {name for name in (*SERVICES, *alerts) if f"`{name}`" not in requirements} == set()
    assert {f"dataflows/{name}.py" for name in SERVICES} <= places
    assert {f"deploy/grafana/{name}.py" for name in BOARDS} <= places
    assert {hop[0] for hop in HOPS if hop[0] not in requirements} == set()


def test_false_claims_of_a_row_are_detected() -> None:
    head = "| asked for | where | shown by | thinner than asked |\n|---|---|---|---|\n"
    [bare] = read_rows(head + "| A | `docs/features.md` | | |\n")
    with pytest.raises(AssertionError, match="neither a test nor a reason"):
        test_row_without_a_test_gives_a_reason(bare)
    [wrong] = read_rows(head + "| A | `docs/no.md` `python cli.py fly` | `tests/unit/test_docs.py::test_no` | |\n")
    with pytest.raises(AssertionError, match=r"no file docs/no\.md"):
        test_files_commands_and_endpoints_of_a_row_exist(wrong, set())
    with pytest.raises(AssertionError, match="has no test_no"):
        test_the_tests_of_a_row_exist(wrong)
    [endpoint] = read_rows(head + "| A | `GET /api/v1/no` | | nothing of it is there |\n")
    with pytest.raises(AssertionError, match="no endpoint"):
        test_files_commands_and_endpoints_of_a_row_exist(endpoint, {"GET /api/v1/yes"})

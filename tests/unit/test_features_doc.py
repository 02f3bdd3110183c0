"""docs/features.yaml names only what exists. Each feature has a test or a reason. The page matches the YAML file."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from starlette.routing import Match

from api.app import create_app
from configs.alerts import AlertsSection
from configs.settings import load_settings
from dataflows.runtime.topology import SERVICES
from deploy.grafana.write import BOARDS
from deploy.performance.benchmark import HOPS
from deploy.testing.features_page import PAGE, SOURCE, Feature, read_features, render_page
from tests.unit.test_docs import COMMANDS
from tests.unit.test_required_commands import REQUIRED_COMMANDS, leftover_arguments

ROOT = Path(__file__).parents[2]
METHODS = ("GET", "POST", "PATCH", "DELETE", "WS")
FEATURES = read_features(SOURCE.read_text())
each_feature = pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.feature)


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return `METHOD /path` from the OpenAPI, and `WS /path` for WebSockets that the YAML names and the app routes."""
    app = create_app(load_settings(environment={}), home=tmp_path_factory.mktemp("home"))
    names = {f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods}
    for name in (place for feature in FEATURES for place in feature.where if place.startswith("WS ")):
        scope = {"type": "websocket", "path": name.removeprefix("WS "), "headers": []}
        if any(route.matches(scope)[0] is Match.FULL for route in app.router.routes):
            names.add(name)
    return names


@cache
def functions_of(file: str) -> frozenset[str]:
    """Return the names of all functions and methods of a test file."""
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_the_committed_page_is_what_the_script_writes() -> None:
    assert PAGE.read_text() == render_page(SOURCE.read_text()), "run `python -m deploy.testing.features_page`"


@each_feature
def test_files_commands_and_endpoints_of_a_feature_exist(feature: Feature, endpoints: set[str]) -> None:
    assert feature.where, f"{feature.feature} no file, command or endpoint"
    for place in feature.where:
        if place.startswith("python cli.py "):
            command_of(place)
        elif place.split()[0] in METHODS:
            assert place in endpoints, f"{feature.feature} no endpoint {place}"
        else:
            assert (ROOT / place).is_file(), f"{feature.feature} no file {place}"


@each_feature
def test_the_tests_of_a_feature_exist(feature: Feature) -> None:
    for name in feature.tests:
        file, _, function = name.partition("::")
        assert function.startswith("test_") and Path(file).name.startswith("test_"), (
            f"{feature.feature} {name} is not a test"
        )
        assert function in functions_of(file), f"{feature.feature} {file} has no {function}"


@each_feature
def test_feature_without_a_test_gives_a_reason(feature: Feature) -> None:
    assert feature.tests or any(len(reason.split()) >= 4 for reason in feature.limits), (
        f"{feature.feature} neither a test nor a reason"
    )


def command_of(place: str) -> str:
    """Return the command with its subcommand, if any: `secrets list`."""
    words = place.removeprefix("python cli.py ").split()
    assert words[0] in COMMANDS.commands, f"no command {words[0]}"
    subcommands = getattr(COMMANDS.commands[words[0]], "commands", None)
    if subcommands and len(words) > 1:
        assert words[1] in subcommands, f"no command {words[0]} {words[1]}"
        return " ".join(words[:2])
    return words[0]


def test_every_required_command_has_a_feature() -> None:
    documented = {
        command_of(place) for feature in FEATURES for place in feature.where if place.startswith("python cli.py ")
    }
    for words in REQUIRED_COMMANDS:
        assert leftover_arguments(words) == []
        assert command_of("python cli.py " + " ".join(words)) in documented, f"no feature names {' '.join(words)}"


def test_every_dataflow_alert_dashboard_and_measured_target_has_a_feature() -> None:
    texts = "\n".join(feature.feature for feature in FEATURES)
    places = {place for feature in FEATURES for place in feature.where}
    alerts = [
        name
        for section in (AlertsSection().portfolio, AlertsSection().system, AlertsSection().trading)
        for name in type(section).model_fields
    ]
    assert {name for name in (*SERVICES, *alerts) if f"`{name}`" not in texts} == set()
    assert {f"dataflows/{name}.py" for name in SERVICES} <= places
    assert {f"deploy/grafana/{name}.py" for name in BOARDS} <= places
    assert {hop[0] for hop in HOPS if hop[0] not in texts} == set()


def test_false_statements_about_a_feature_are_detected() -> None:
    bare = Feature("Area", "It flies.", ("docs/features.md",), (), ())
    with pytest.raises(AssertionError, match="neither a test nor a reason"):
        test_feature_without_a_test_gives_a_reason(bare)
    wrong = bare._replace(where=("docs/no.md",), tests=("tests/unit/test_docs.py::test_no",))
    with pytest.raises(AssertionError, match=r"no file docs/no\.md"):
        test_files_commands_and_endpoints_of_a_feature_exist(wrong, set())
    with pytest.raises(AssertionError, match="has no test_no"):
        test_the_tests_of_a_feature_exist(wrong)
    with pytest.raises(AssertionError, match="no endpoint"):
        test_files_commands_and_endpoints_of_a_feature_exist(
            bare._replace(where=("GET /api/v1/no",)), {"GET /api/v1/yes"}
        )


def test_a_row_with_a_missing_or_unknown_key_is_rejected() -> None:
    row = "rows: [{area: A, feature: F, where: [], tests: [], limits: []"
    assert read_features(row + "}]") == [Feature("A", "F", (), (), ())]
    with pytest.raises(TypeError, match="colour"):
        read_features(row + ", colour: red}]")
    with pytest.raises(KeyError, match="limits"):
        read_features("rows: [{area: A, feature: F, where: [], tests: []}]")
    with pytest.raises(ValueError, match="expected text, found 7"):
        read_features("rows: [{area: A, feature: F, where: [7], tests: [], limits: []}]")

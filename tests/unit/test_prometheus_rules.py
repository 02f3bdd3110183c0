"""The Prometheus and Alertmanager files, checked with their own tools."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.debian import find_program

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prometheus")


def run_tool(tool: Path, *arguments: str) -> str:
    result = subprocess.run([tool, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_the_rules_are_valid_and_fire_when_they_should(unpacked: Path) -> None:
    promtool = find_program("promtool", "prometheus", unpacked)
    assert re.search(r"SUCCESS: \d\d rules found", run_tool(promtool, "check", "rules", "rules.yml"))
    assert "SUCCESS" in run_tool(promtool, "test", "rules", "rules.test.yml")
    assert "SUCCESS" in run_tool(promtool, "check", "config", "--syntax-only", "prometheus.yml")


def test_the_configuration_of_alertmanager_is_valid(tmp_path: Path) -> None:
    amtool = find_program("amtool", "prometheus-alertmanager", tmp_path)
    assert "SUCCESS" in run_tool(amtool, "check-config", "alertmanager.yml")


def test_every_rule_has_a_case_that_fires() -> None:
    groups = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    rules = {rule["alert"] for group in groups for rule in group["rules"]}
    cases = yaml.safe_load((FOLDER / "rules.test.yml").read_text())["tests"]
    fired = {one["alertname"] for case in cases for one in case["alert_rule_test"] if one["exp_alerts"]}
    assert fired == rules

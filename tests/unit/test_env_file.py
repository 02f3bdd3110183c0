"""The file `.env` sets variables that the environment does not set. An invalid line gives a one-line error."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from configs.env_file import ENV_FILE_VARIABLE, OFF, parse_variables, use_env_file
from configs.secrets import declared_secrets
from configs.settings import ENVIRONMENT_VARIABLES, load_settings
from schemas.errors import BadInput

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / ".env.example"


def run(command: list[str], file: Path, home: Path, **overrides: str) -> subprocess.CompletedProcess[str]:
    excluded = {ENV_FILE_VARIABLE, *ENVIRONMENT_VARIABLES}
    environment = {name: value for name, value in os.environ.items() if name not in excluded}
    environment |= {
        ENV_FILE_VARIABLE: str(file),
        "PLATFORM_HOME": str(home),
        "PLATFORM_PYTHON_ENV": "current",
        **overrides,
    }
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def with_env_file(path: Path, **initial: str) -> Mapping[str, str]:
    environment = dict(initial)
    use_env_file(environment, path)
    return environment


def test_environment_overrides_the_env_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("INITIAL_CAPITAL=5\nRISK_TOLERANCE=0.03\n")
    environment = with_env_file(file, INITIAL_CAPITAL="7")
    assert environment["INITIAL_CAPITAL"] == "7" and environment["RISK_TOLERANCE"] == "0.03"
    settings = load_settings(environment=environment)
    assert str(settings.portfolio_manager.sizing.fraction) == "0.03"


def test_env_file_is_read_once_so_child_processes_can_skip_it(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("DATABASE_URL=postgresql://a@b/c\n")
    first = dict(with_env_file(file))
    del first["DATABASE_URL"]  # as `chaos` and `test` do, which run their own platforms
    use_env_file(first, file)
    assert "DATABASE_URL" not in first
    assert "DATABASE_URL" not in with_env_file(file, **{ENV_FILE_VARIABLE: OFF})


def test_missing_file_is_an_error_only_when_named(tmp_path: Path) -> None:
    assert with_env_file(tmp_path / "none") == {ENV_FILE_VARIABLE: OFF}
    with pytest.raises(BadInput, match=r"PLATFORM_ENV_FILE names .*none, which does not exist"):
        with_env_file(tmp_path / "other", **{ENV_FILE_VARIABLE: str(tmp_path / "none")})


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("  A = b  ", "b"),
        ("export A=b", "b"),
        ("A=", ""),
        ("A=  # nothing", ""),
        ("A=b  # a comment", "b"),
        ("A=b#c", "b#c"),
        ("A=b=c==", "b=c=="),
        ('A="b # c"', "b # c"),
        ("A=' b '  # a comment", " b "),
        ("A=$B ${B}", "$B ${B}"),
    ],
)
def test_how_a_line_is_read(line: str, value: str) -> None:
    assert parse_variables(f"\n# a comment\n{line}\n", Path(".env")) == {"A": value}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("API_KEY hunter2", ".env line 2: expected NAME=VALUE, found no '='"),
        ("API-KEY=hunter2", ".env line 2: expected a name of letters, digits and _, found 'API-KEY'"),
        ("=hunter2", ".env line 2: expected a name of letters, digits and _, found ''"),
        ("A='hunter2", ".env line 2: A expected a closing ' at the end, found none"),
        ('A="hunter" 2', '.env line 2: A expected a closing " at the end, found none'),
        ('A="hun"t"er2"', '.env line 2: A expected no " within the quotes, found one; use the other kind of quotes'),
        ("B=hunter2", ".env line 2: B is already set in an earlier line"),
    ],
)
def test_invalid_line_gives_one_line_error_without_its_value(line: str, message: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_variables(f"B=1\n{line}\n", Path(".env"))
    assert str(error.value) == message
    assert "hunter2" not in message


def test_example_has_the_defaults_and_names_only_existing_variables() -> None:
    text = EXAMPLE.read_text()
    active = parse_variables(text, EXAMPLE)
    assert active == {"INITIAL_CAPITAL": "1000000", "MAX_POSITION_SIZE": "50000", "RISK_TOLERANCE": "0.02"}
    load_settings(environment=active)
    all_variables = _uncommented(text)
    assert {*active, "DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "POLYGON_API_KEY"} <= all_variables.keys()
    known_names = {*ENVIRONMENT_VARIABLES, *declared_secrets(), "PLATFORM_HOME"}
    assert {name for name in all_variables if "__" not in name} <= known_names
    load_settings(environment={name: value for name, value in all_variables.items() if name != "PLATFORM_HOME"})


def _uncommented(text: str) -> dict[str, str]:
    lines = [line.removeprefix("#") for line in text.splitlines() if not line.startswith("# ")]
    return parse_variables("\n".join(lines), EXAMPLE)


def test_git_ignores_the_file() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_every_command_reads_the_env_file(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("ALPACA_API_KEY=from-the-file\n")
    result = run(["cli.py", "secrets", "get", "ALPACA_API_KEY", "--yes"], tmp_path / "mine", tmp_path / "home")
    assert (result.returncode, result.stdout.strip()) == (0, "from-the-file"), result.stderr
    direct_result = run(
        ["-m", "deploy.cli", "secrets", "get", "ALPACA_API_KEY", "--yes"], tmp_path / "mine", tmp_path / "home"
    )
    assert direct_result.stdout == result.stdout


def test_invalid_file_stops_a_command_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("INITIAL_CAPITAL\n")
    result = run(["cli.py", "status"], tmp_path / "mine", tmp_path / "home")
    assert result.returncode == 2
    assert result.stderr == f"error: {tmp_path}/mine line 1: expected NAME=VALUE, found no '='\n"


def test_manually_started_dataflow_reads_the_env_file(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("INITIAL_CAPITAL=-5\n")
    result = run(["-m", "bytewax.run", "dataflows.features"], tmp_path / "mine", tmp_path / "home")
    assert result.returncode != 0
    assert "initial_capital must be > 0, found -5" in result.stderr


def test_developer_commands_ignore_the_env_file(tmp_path: Path) -> None:
    for start in (["cli.py"], ["-m", "deploy.cli"]):
        result = run([*start, "lint", "--help"], tmp_path / "not-there", tmp_path / "home")
        assert result.returncode == 0, result.stderr

"""The file `.env`: what it sets counts where the environment sets nothing, and a wrong line is said in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from configs.env_file import OFF, VARIABLE, use_env_file, variables
from configs.secrets import known_secrets
from configs.settings import NAMED, load_settings
from schemas.errors import BadInput

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / ".env.example"


def run(command: list[str], file: Path, home: Path, **others: str) -> subprocess.CompletedProcess[str]:
    left_out = {VARIABLE, *NAMED}
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {VARIABLE: str(file), "PLATFORM_HOME": str(home), "PLATFORM_PYTHON_ENV": "current", **others}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def used(path: Path, **given: str) -> Mapping[str, str]:
    environment = dict(given)
    use_env_file(environment, path)
    return environment


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("INITIAL_CAPITAL=5\nRISK_TOLERANCE=0.03\n")
    environment = used(file, INITIAL_CAPITAL="7")
    assert environment["INITIAL_CAPITAL"] == "7" and environment["RISK_TOLERANCE"] == "0.03"
    settings = load_settings(environment=environment)
    assert str(settings.portfolio_manager.sizing.fraction) == "0.03"


def test_it_is_read_once_so_that_a_process_can_start_another_without_it(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("DATABASE_URL=postgresql://a@b/c\n")
    first = dict(used(file))
    del first["DATABASE_URL"]  # as `chaos` and `test` do, whose platforms are their own
    use_env_file(first, file)
    assert "DATABASE_URL" not in first
    assert "DATABASE_URL" not in used(file, **{VARIABLE: OFF})


def test_no_file_is_no_error_unless_it_was_named(tmp_path: Path) -> None:
    assert used(tmp_path / "none") == {VARIABLE: OFF}
    with pytest.raises(BadInput, match=r"PLATFORM_ENV_FILE names .*none, which is not there"):
        used(tmp_path / "other", **{VARIABLE: str(tmp_path / "none")})


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
    assert variables(f"\n# a comment\n{line}\n", Path(".env")) == {"A": value}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("API_KEY hunter2", ".env line 2: expected NAME=VALUE, found no '='"),
        ("API-KEY=hunter2", ".env line 2: expected a name of letters, digits and _, found 'API-KEY'"),
        ("=hunter2", ".env line 2: expected a name of letters, digits and _, found ''"),
        ("A='hunter2", ".env line 2: A expected a closing ' at the end, found none"),
        ('A="hunter" 2', '.env line 2: A expected a closing " at the end, found none'),
        ('A="hun"t"er2"', '.env line 2: A expected no " within the quotes, found one; use the other kind of quotes'),
        ("B=hunter2", ".env line 2: B is set a second time"),
    ],
)
def test_a_wrong_line_is_said_in_one_sentence_without_its_value(line: str, said: str) -> None:
    with pytest.raises(BadInput) as error:
        variables(f"B=1\n{line}\n", Path(".env"))
    assert str(error.value) == said
    assert "hunter2" not in said


def test_the_example_changes_nothing_that_a_start_needs_and_every_name_in_it_is_known() -> None:
    text = EXAMPLE.read_text()
    given = variables(text, EXAMPLE)
    assert given == {"INITIAL_CAPITAL": "1000000", "MAX_POSITION_SIZE": "50000", "RISK_TOLERANCE": "0.02"}
    load_settings(environment=given)
    every = _uncommented(text)
    assert {*given, "DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "POLYGON_API_KEY"} <= every.keys()
    known = {*NAMED, *known_secrets(), "PLATFORM_HOME"}
    assert {name for name in every if "__" not in name} <= known
    load_settings(environment={name: value for name, value in every.items() if name != "PLATFORM_HOME"})


def _uncommented(text: str) -> dict[str, str]:
    lines = [line.removeprefix("#") for line in text.splitlines() if not line.startswith("# ")]
    return variables("\n".join(lines), EXAMPLE)


def test_git_ignores_the_file() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_every_command_reads_it(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("ALPACA_API_KEY=from-the-file\n")
    done = run(["cli.py", "secrets", "get", "ALPACA_API_KEY", "--yes"], tmp_path / "mine", tmp_path / "home")
    assert (done.returncode, done.stdout.strip()) == (0, "from-the-file"), done.stderr
    inner = run(["-m", "deploy.cli", "secrets", "get", "ALPACA_API_KEY", "--yes"], tmp_path / "mine", tmp_path / "home")
    assert inner.stdout == done.stdout


def test_a_wrong_file_stops_a_command_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("INITIAL_CAPITAL\n")
    done = run(["cli.py", "status"], tmp_path / "mine", tmp_path / "home")
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path}/mine line 1: expected NAME=VALUE, found no '='\n"


def test_a_dataflow_that_is_run_by_hand_reads_it(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("INITIAL_CAPITAL=-5\n")
    done = run(["-m", "bytewax.run", "dataflows.features"], tmp_path / "mine", tmp_path / "home")
    assert done.returncode != 0
    assert "initial_capital must be > 0, found -5" in done.stderr


def test_the_commands_of_developers_leave_it_alone(tmp_path: Path) -> None:
    for start in (["cli.py"], ["-m", "deploy.cli"]):
        done = run([*start, "lint", "--help"], tmp_path / "not-there", tmp_path / "home")
        assert done.returncode == 0, done.stderr

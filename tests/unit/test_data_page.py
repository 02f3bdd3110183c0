"""The commands of docs/howto/data.md print what the page shows. A local server speaks Polygon's protocol."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from deploy.cli import app, register_all
from deploy.home import REPOSITORY
from tests.unit.polygon_server import PolygonServer

PAGE = REPOSITORY / "docs" / "howto" / "data.md"
EXAMPLE = re.compile(r"```bash\n([^`]*?)```\n\n```text\n(.*?)```", re.DOTALL)
FILE = re.compile(r"```csv\n(.*?)```", re.DOTALL)
PROGRAM = "python cli.py "


def run(commands: str) -> str:
    """Run the commands of a block, one per line, and return what they print."""
    output = ""
    for line in commands.strip().splitlines():
        assert line.startswith(PROGRAM), line
        result = CliRunner().invoke(app, shlex.split(line.removeprefix(PROGRAM)))
        assert result.exit_code == 0, f"{line}: {result.output} {result.exception!r}"
        output += "\n".join(text.rstrip() for text in result.output.splitlines()) + "\n"
    return output


def test_the_commands_print_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_all()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "var"))
    subprocess.run([sys.executable, REPOSITORY / "docs/tutorials/make_bars.py"], check=True)
    for name, text in zip(("actions.csv", "members.csv"), FILE.findall(PAGE.read_text()), strict=True):
        (tmp_path / name).write_text(text)
    opens = [
        first + number * 60_000_000_000
        for day in pd.date_range("2024-03-04 09:30", periods=5, tz="America/New_York")
        for first in [day.as_unit("ns").value]
        for number in range(390)
    ]
    examples = EXAMPLE.findall(PAGE.read_text())
    assert len(examples) == 5
    with PolygonServer() as server:
        monkeypatch.setenv("POLYGON_API_KEY", server.key)
        monkeypatch.setenv("POLYGON__REST_URL", server.rest_url)
        for symbol in ("SPY", "QQQ"):
            for open_ns in opens:
                server.add_bar(symbol, open_ns, (500.0, 501.0, 499.0, 500.5), 1_000)
        for commands, expected in examples:
            assert run(commands) == expected

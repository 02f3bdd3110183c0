"""Run the command blocks of a page in a shell and compare their output with what the page shows.

A `console` block contains commands (`$ command`, continued by `> ` lines), each followed by its output. `…` matches any
text within a line; a line `…` matches any lines. A code block whose first line is `# NAME` is a file that the reader
writes. An HTML comment above a block selects the test that runs it:

(no comment)                    tests/unit/test_tutorials.py
`<!-- platform -->`             tests/e2e/test_tutorials.py, on a running platform
`<!-- platform: eventually -->` the same; each command is repeated until its output matches
`<!-- not run: reason -->`      no test
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
PAGES = [ROOT / "README.md", *TUTORIALS]
HERE, PLATFORM, EVENTUALLY, NOT_RUN = "", "platform", "platform: eventually", "not run"
EVENTUALLY_S = 90
_BLOCK = re.compile(
    r"(?:^<!-- (?P<marker>[^\n]*) -->\n+)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
_FILE_NAME = re.compile(r"# ([\w/]+\.(?:py|yaml))\n")
_END = "end-of-output"
_SHIM = """#!/bin/sh
export PYTHONPATH={root}
if [ "$1" = cli.py ]; then shift; exec {python} -m deploy.cli "$@"; fi
exec {python} "$@"
"""


class Command(NamedTuple):
    """A command of a page: its line number, the marker of its block, its text and the expected output."""

    line: int
    marker: str
    text: str
    output: str


class PageFile(NamedTuple):
    """A file that the reader writes."""

    name: str
    text: str


def read_page(text: str) -> list[Command | PageFile]:
    """Return the files and commands in page order. Raise ValueError for an unknown comment above a console block."""
    steps: list[Command | PageFile] = []
    for block in _BLOCK.finditer(text):
        content, marker = block["text"], block["marker"] or HERE
        if block["language"] != "console":
            if name := _FILE_NAME.match(content):
                steps.append(PageFile(name[1], content))
            continue
        marker = NOT_RUN if marker.startswith(f"{NOT_RUN}: ") else marker
        if marker not in (HERE, PLATFORM, EVENTUALLY, NOT_RUN):
            raise ValueError(f"unknown comment above a console block: {marker!r}")
        first_line = text[: block.start("text")].count("\n") + 1
        steps += _read_commands(content, marker, first_line)
    return steps


def _read_commands(content: str, marker: str, first_line: int) -> list[Command]:
    commands: list[Command] = []
    for number, line in enumerate(content.splitlines(), first_line):
        if line.startswith("$ "):
            commands.append(Command(number, marker, line[2:], ""))
        elif not commands:
            raise ValueError(f"line {number}: expected a command, found {line!r}")
        elif line.startswith("> ") and not commands[-1].output:
            commands[-1] = commands[-1]._replace(text=f"{commands[-1].text}\n{line[2:]}")
        else:
            commands[-1] = commands[-1]._replace(output=f"{commands[-1].output}{line}\n")
    return commands


def output_matches(expected: str, actual: str) -> bool:
    """Whether the texts match, ignoring white space and empty lines. `…` in `expected` matches any text.

    >>> output_matches("bars  8,460\\n…\\nhash  …", "bars 8,460\\nfees 1\\n\\nhash 21e8")
    True
    >>> output_matches("bars  8,460\\n", "bars 8,460\\nfees 1")
    False
    """
    pattern = ""
    for line in _squeeze(expected):
        words = re.escape(line).replace("…", ".*?")
        pattern += r"(?:.*\n)*?" if line == "…" else rf"{words}\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _squeeze(actual))) is not None


def _squeeze(text: str) -> list[str]:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if line]


class TutorialShell:
    """A bash in `folder`. For the reader it acts as the root of the repository: `python cli.py` is the command line.

    `replacements` are applied to files, commands and the output of a page, for example to replace the port of the API.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], replacements: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self._replacements = dict(replacements or {})
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        for name in ("configs", "docs"):
            if not (folder / name).exists():
                (folder / name).symlink_to(ROOT / name)
        shim = folder / "bin" / "python"
        shim.write_text(_SHIM.format(root=ROOT, python=sys.executable))
        shim.chmod(0o755)
        self._bash = subprocess.Popen(
            ["/bin/bash", "--norc", "--noprofile"],
            cwd=folder,
            env={**environment, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "COLUMNS": "200"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def close(self) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        self._bash.wait(60)

    def run(self, text: str) -> tuple[str, int]:
        """Run a command. Return its output, including errors, and its exit code. Variables persist between commands."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{{ {text}\n}} </dev/null\nprintf '\\n{_END} %d\\n' $?\n")
        self._bash.stdin.flush()
        output = ""
        for line in self._bash.stdout:
            if line.startswith(_END):
                return output, int(line.split()[1])
            output += line
        raise AssertionError(f"the shell ended: {text}: {output}")

    def run_steps(self, steps: list[Command | PageFile], *markers: str) -> None:
        """Write the files and run the commands with these markers, in order. Stop at the first output that differs."""
        for step in steps:
            if isinstance(step, PageFile):
                file = self.folder / step.name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(self._replace(step.text))
            elif step.marker in markers:
                self._run_command(step)

    def _run_command(self, command: Command) -> None:
        text, expected = self._replace(command.text), self._replace(command.output)
        give_up = time.monotonic() + EVENTUALLY_S
        while True:
            actual, status = self.run(text)
            # A page may show an error message; any other command has to succeed.
            succeeded = status == 0 or expected.startswith("error: ")
            if succeeded and output_matches(expected, actual):
                return
            if command.marker != EVENTUALLY or time.monotonic() > give_up:
                raise AssertionError(
                    f"line {command.line}: $ {text}\nexit code {status}, expected:\n{expected}\nfound:\n{actual}"
                )
            time.sleep(1)

    def _replace(self, text: str) -> str:
        for old, new in self._replacements.items():
            text = text.replace(old, new)
        return text

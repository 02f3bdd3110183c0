"""Files, commands, options and topics in the documents exist. The diagram matches the topology."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer
import yaml

from dataflows.runtime.topology import SERVICES
from deploy.cli import app, register_all

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
TOP_LEVEL = ("api", "configs", "dataflows", "deploy", "docs", "operators", "schemas", "sinks", "tests")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PATH = re.compile(rf"(?<![\w/.-])((?:{'|'.join(TOP_LEVEL)})/[\w./-]*\w|(?:{'|'.join(TOP_LEVEL)})/)")
COMMAND = re.compile(r"python cli\.py ([^`\n|]+)")
MODULE = re.compile(r"bytewax\.run\s+(dataflows\.\w+)")
RECIPE_PATH = "operators/indicators/difference.py"
"""A path of an example, which need not exist. The same holds for paths with NAME in them."""


def commands() -> click.Group:
    register_all()
    group = typer.main.get_command(app)
    assert hasattr(group, "commands")
    return group  # type: ignore[return-value]


COMMANDS = commands()


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_link_and_path_exists(name: str) -> None:
    text = text_of(name)
    for target in LINK.findall(text):
        if "://" not in target:
            assert ((ROOT / name).parent / target).exists(), f"{name} links to {target}"
    for path in PATH.findall(text):
        if path != RECIPE_PATH and "NAME" not in path:
            assert (ROOT / path).exists() or (ROOT / f"{path}.py").exists(), f"{name} names {path}"
    for module in MODULE.findall(text):
        if module != "dataflows.NAME":
            assert (ROOT / (module.replace(".", "/") + ".py")).exists(), f"{name} names {module}"


@pytest.mark.parametrize("name", [*NAMES, ".github/workflows/ci.yml"])
def test_every_command_and_option_exists(name: str) -> None:
    for line in COMMAND.findall(text_of(name)):
        tokens = shlex.split(line.split("  ")[0].rstrip(".,;:)"), comments=True)
        if tokens[0].startswith("-"):
            continue
        command = _command(tokens, f"{name}: python cli.py {line}")
        if command.name in ("test", "lint", "format"):
            continue  # further arguments go to pytest
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for token in tokens:
            if token.startswith("-") and token not in ("-", "--help"):
                assert token.split("=")[0].rstrip("],") in options, (
                    f"{name}: python cli.py {line} has no option {token}"
                )


def _command(tokens: list[str], where: str) -> click.Command:
    command: click.Command | None = COMMANDS.commands.get(tokens[0].strip("[]"))
    assert command is not None, f"{where}: no such command"
    subcommands = getattr(command, "commands", None)
    if subcommands and len(tokens) > 1:
        # `on|off` lists alternatives; each of them must exist.
        names = tokens[1].split("|")
        assert all(one in subcommands for one in names), f"{where}: no such command"
        return subcommands[names[0]]  # type: ignore[no-any-return]
    return command


def topic_table(text: str) -> dict[str, tuple[set[str], set[str]]]:
    """Read a table with the columns topics read, dataflow, topics written. Return {dataflow: (read, written)}."""
    table = {}
    for line in text.splitlines():
        cells = [re.findall(r"`([\w-]+)`", cell) for cell in line.strip("|").split("|")]
        if len(cells) == 3 and len(cells[1]) == 1 and cells[1][0] in SERVICES:
            table[cells[1][0]] = (set(cells[0]), set(cells[2]))
    return table


TOPICS_BY_SERVICE = {
    name: ({read.topic for read in service.inputs}, {*service.outputs, *service.unclocked})
    for name, service in SERVICES.items()
}


def test_topic_table_matches_the_topology() -> None:
    assert topic_table(text_of("docs/architecture.md")) == TOPICS_BY_SERVICE


def test_diagram_matches_the_topology() -> None:
    """An arrow carries records (not only clocks) from writer to reader. A dotted arrow adds one time slice of delay."""
    diagram = re.search(r"```mermaid\n(.*?)```", text_of("README.md"), re.DOTALL)
    assert diagram is not None
    drawn: set[tuple[str, str, bool]] = set()
    for line in diagram[1].splitlines():
        sides = re.split(r"-->|-\. next time slice \.->", re.sub(r"\(\[.*?\]\)", "", line))
        for left in sides[0].split("&"):
            drawn |= {
                (left.strip(), right.strip(), "time slice" in line) for right in sides[-1].split("&") if len(sides) == 2
            }
    writer = {topic: name for name, service in SERVICES.items() for topic in service.outputs}
    writer |= {topic: name for name, service in SERVICES.items() for topic in service.unclocked} | {
        "commands": "people"
    }
    wired = {
        (writer[read.topic], name, read.feedback)
        for name, service in SERVICES.items()
        for read in service.inputs
        if writer[read.topic] != name and read.topic != "configuration"  # every service reads it
    }
    edges = {("feed", name, False) for name, service in SERVICES.items() if not service.inputs}
    assert drawn == wired | edges


def test_topic_settings_match_the_topology() -> None:
    topics = yaml.safe_load(text_of("configs/kafka_topics.yaml"))["topics"]
    for topic, entry in topics.items():
        owners = [name for name, service in SERVICES.items() if topic in service.outputs]
        readers = {name for name, (read, _) in TOPICS_BY_SERVICE.items() if topic in read}
        assert owners == ([entry["owner"]] if entry["owner"] else []), topic
        assert readers == set(entry["readers"]), topic
    assert {topic for read, written in TOPICS_BY_SERVICE.values() for topic in read | written} <= topics.keys()

"""Generate the files of a new dataflow that reads bars, and register it in the files that list all dataflows.

Each entry is inserted at a text anchor. `tests/unit/test_create_service.py` fails if an anchor moves.
"""

from __future__ import annotations

import json
import keyword
import re
from pathlib import Path
from typing import NamedTuple

from deploy.errors import DeployError
from schemas.errors import BadInput

_BANNED_NAMES = ("utils", "helpers", "common", "base", "core", "manager", "handler", "processor", "engine")

STAGE_TEMPLATE = '''"""Keep the last close of every symbol. Extend this stage to build {title}."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.records import Bar, Record

VERSION = 1


class {type}:
    """Reads Bars and returns no records. State: the last close of each symbol, in the price unit of the bars."""

    def __init__(self) -> None:
        self.closes: dict[str, float] = {{}}

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        for record in records:
            if type(record) is Bar:
                self.closes[record.symbol] = record.close
        return []

    def snapshot(self) -> Any:
        return (VERSION, dict(self.closes))

    def restore(self, snapshot: Any) -> None:
        version, closes = snapshot
        assert version == VERSION, f"{title} state of version {{version}}, expected {{VERSION}}"
        self.closes = dict(closes)
'''
MODULE_TEMPLATE = '''"""market-bars -> {title}."""

from __future__ import annotations

from collections.abc import Mapping

from bytewax.dataflow import Dataflow

from configs.settings import Settings
from dataflows.runtime import live_endpoints, stages
from dataflows.runtime.wiring import SliceSink, SliceSource, build_stage_flow


def build(settings: Settings, source: SliceSource, sinks: Mapping[str, SliceSink]) -> Dataflow:
    """Build the dataflow. The source emits (shard, time slices of Bars); the sinks receive the stage's time slices."""
    return build_stage_flow("{name}", stages.{name}(settings), source, sinks)


def flow() -> Dataflow:
    """Build the dataflow of the running platform, for `python -m bytewax.run dataflows.{name}`."""
    endpoints = live_endpoints.connect("{name}")
    return build(endpoints.settings, live_endpoints.topics_source("{name}", endpoints), endpoints.sinks)
'''
TEST_TEMPLATE = '''"""The stage of {name} keeps the last close of each symbol, in any batches and after any crash."""

from __future__ import annotations

import random

import pytest

from operators.{name} import {type}
from schemas.records import Bar, Record

DRAW = random.Random(1)
BARS = [
    Bar(symbol, n, n * 60, n * 60 - 60, 10.0, 12.0, 9.0, 9.0 + DRAW.random(), 1.0, "REGULAR", 20240102, True)
    for n in range(1, 50)
    for symbol in ("A", "B", "C")
]


@pytest.mark.parametrize("batch", [1, 3, 7, len(BARS)])
@pytest.mark.parametrize("crashes", [False, True])
def test_state_is_the_last_close_of_each_symbol(batch: int, crashes: bool) -> None:
    stage = {type}()
    for start in range(0, len(BARS), batch):
        records: list[Record] = list(BARS[start : start + batch])
        assert stage.on_slice(start, records) == []
        if crashes:
            resumed = {type}()
            resumed.restore(stage.snapshot())
            stage = resumed
    assert stage.closes == {{bar.symbol: bar.close for bar in BARS}}


def test_snapshot_does_not_change_with_later_bars() -> None:
    stage = {type}()
    stage.on_slice(60, [BARS[0]])
    snapshot = stage.snapshot()
    stage.on_slice(120, [BARS[3]])
    assert snapshot == (1, {{"A": BARS[0].close}})
'''


class NewServiceFiles(NamedTuple):
    """Paths, relative to the repository, of the new files and of the files with a new entry."""

    new: list[str]
    changed: list[str]


def create_service(root: Path, text: str) -> NewServiceFiles:
    """Write the files of the service and register it. Raises BadInput, and writes nothing, if the name is invalid."""
    name = validated_name(root, text)
    values = {"name": name, "type": f"{''.join(part.capitalize() for part in name.split('_'))}Stage"}
    values["title"] = name.replace("_", " ")
    new = {
        f"operators/{name}.py": STAGE_TEMPLATE.format(**values),
        f"dataflows/{name}.py": MODULE_TEMPLATE.format(**values),
        f"tests/unit/test_{name}.py": TEST_TEMPLATE.format(**values),
    }
    changed = {
        "dataflows/runtime/topology.py": _topology(root, name),
        "dataflows/runtime/stages.py": _stages(root, name, values["type"]),
        "configs/kafka_topics.yaml": _topic_readers(root, name),
        "tests/unit/step_ids.json": _step_ids(root, name),
        "tests/unit/test_step_ids.py": _shard_assertion(root, name),
        "README.md": _insert(root, "README.md", r"(^    market_data --> [^\n]*)", rf"\g<1> & {name}"),
        "docs/architecture.md": _architecture_row(root, "docs/architecture.md", name),
    }
    for path, content in {**new, **changed}.items():
        (root / path).write_text(content)
    return NewServiceFiles(list(new), list(changed))


def validated_name(root: Path, text: str) -> str:
    """Return the name with underscores. Raises BadInput if it is malformed, too general or already in use."""
    name = text.strip().replace("-", "_")
    if re.fullmatch(r"[a-z][a-z0-9_]{1,39}", name) is None or keyword.iskeyword(name) or name.endswith("_"):
        raise BadInput(f"a service name has lower-case letters, digits and _, such as order_flow; found {text!r}")
    if any(part in _BANNED_NAMES for part in name.split("_")):
        raise BadInput(f"service name {name} is too general: do not use {', '.join(_BANNED_NAMES)} in a name")
    for path in (f"operators/{name}.py", f"operators/{name}", f"dataflows/{name}.py", f"tests/unit/test_{name}.py"):
        if (root / path).exists():
            raise BadInput(f"service name {name} is already in use by {path}")
    return name


def _insert(root: Path, path: str, pattern: str, replacement: str) -> str:
    text, count = re.subn(pattern, replacement, (root / path).read_text(), count=1, flags=re.MULTILINE | re.DOTALL)
    if count != 1:
        raise DeployError(f"cannot register the service in {path}: no text matches {pattern!r}")
    return text


def _topology(root: Path, name: str) -> str:
    entry = f'    "{name}": ServiceSpec(inputs=(ServiceInput("market-bars"),), outputs=()),\n'
    return _insert(
        root,
        "dataflows/runtime/topology.py",
        r"(^SERVICES: dict\[str, ServiceSpec\] = \{\n.*?)(^\}\n)",
        rf"\g<1>{entry}\g<2>",
    )


def _stages(root: Path, name: str, type_: str) -> str:
    path = "dataflows/runtime/stages.py"
    lines = (root / path).read_text().splitlines(keepends=True)
    import_line = f"from operators.{name} import {type_}\n"
    import_lines = [number for number, line in enumerate(lines) if line.startswith("from operators.")]
    if not import_lines:
        raise DeployError(f"cannot register the service in {path}: no line starts with `from operators.`")
    earlier = [number for number in import_lines if lines[number].split()[1] < f"operators.{name}"]
    position = earlier[-1] + 1 if earlier else import_lines[0]
    # An import can span several lines.
    while position < len(lines) and lines[position].startswith((" ", ")")):
        position += 1
    function_text = f"\n\ndef {name}(settings: Settings) -> Callable[[], Stage]:\n    return {type_}\n"
    return "".join([*lines[:position], import_line, *lines[position:]]) + function_text


def _topic_readers(root: Path, name: str) -> str:
    pattern = r"(^  market-bars:\n(?:    [^\n]*\n)*?    readers: \[[^\]]*)\]"
    return _insert(root, "configs/kafka_topics.yaml", pattern, rf"\g<1>, {name}]")


def _step_ids(root: Path, name: str) -> str:
    tree = json.loads((root / "tests/unit/step_ids.json").read_text())
    steps = [f"{name}.{step}" for step in ("kafka", "postgres", "stage", "ticks")]
    return json.dumps({**tree, name: {"flow_id": name, "steps": steps}}, indent=1) + "\n"


def _shard_assertion(root: Path, name: str) -> str:
    entry = f'        "{name}": books,\n'
    return _insert(root, "tests/unit/test_step_ids.py", r"(^    assert shards == \{\n)", rf"\g<1>{entry}")


def _architecture_row(root: Path, path: str, name: str) -> str:
    return _insert(root, path, r"(^\| [^\n]*\| `market_data` \|[^\n]*\n)", rf"\g<1>| `market-bars` | `{name}` | |\n")

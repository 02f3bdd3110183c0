"""Reproduce a bundle in a new process, and name the first thing that differs.

The order is that of the causes: parts, data, commit, lock, source, and then the decisions and metrics that follow.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from pyarrow import parquet

from configs.env_file import ENV_FILE_VARIABLE, OFF
from configs.recorded_settings import settings_from_text, user_files
from configs.settings import load_settings
from dataflows.research.bundles import bundle_file
from dataflows.research.bundles.bundle_contents import LOCK_FILE
from dataflows.research.bundles.bundle_file import BundleContents, read_bundle
from dataflows.research.bundles.rerun import AGAIN
from dataflows.research.bundles.session_bundle import RECORDING_FOLDER, recorded_code
from dataflows.research.frames import EXECUTIONS, ORDERS
from dataflows.research.run_comparison import first_differing_decision
from dataflows.research.run_sources import code_sha256, files_sha256
from dataflows.research.run_store import REPOSITORY
from schemas.errors import BadInput
from sinks.archive.topic_archive import TopicArchive

_SOURCE_KIND, _DATA_KIND = "source", "data"
_RUN_MODULE, _SESSION_MODULE = "rerun", "session_rerun"
_SESSION = "session"
_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
"""What the new process inherits. Other variables could change settings."""


class Workplace(NamedTuple):
    """Where the backtest runs again: the folder of the platform's code, and a Python that has its packages."""

    code: Path
    python: Path


class Verification(NamedTuple):
    """The result of a verification of a run or a session (`kind`) named `run`.

    `difference` names the first thing that differs; None if the bundle is reproduced. `notes` are differences of the
    environment, which may be a cause. `decision_hash` is that of the bundle.
    """

    kind: str
    run: str
    decision_hash: str
    difference: str | None
    notes: list[str]


PrepareWorkplace = Callable[[str, str, Path], Workplace]
"""Takes the commit, the text of the lock and an empty folder. Raises BadInput if the commit or the lock differ."""


def this_workplace(commit: str, lock: str, folder: Path) -> Workplace:
    """Return the code and the Python of this process."""
    return Workplace(REPOSITORY, Path(sys.executable))


def verify_bundle(
    path: Path, *, prepare: PrepareWorkplace = this_workplace, trust_source: bool = False
) -> Verification:
    """Reproduce a bundle.

    Without `trust_source`, a bundle with strategy code is not run. Raises BadInput then, and if the file is no bundle.
    """
    with TemporaryDirectory(prefix="bundle-") as name:
        folder = Path(name) / "parts"
        folder.mkdir()
        bundle = read_bundle(path, folder)
        expected, commit = bundle.json(bundle_file.RESULT), bundle.json(bundle_file.COMMIT)
        sources = _packed_source(bundle)
        if sources and not trust_source:
            raise BadInput(
                f"the bundle has strategy code ({', '.join(sources)}), which would run with your rights; read it with"
                f" `bundle show {path} --source`, then pass --trust-source"
            )
        difference = _data_difference(bundle)
        notes: list[str] = []
        if difference is None:
            fresh = Path(name) / "fresh"
            fresh.mkdir()
            workplace = prepare(commit["commit"] or "", bundle.text(bundle_file.LOCK), fresh)
            difference = _code_difference(expected, commit, workplace)
            notes = _lock_notes(bundle, workplace)
            if difference is None:
                difference = _rerun_difference(bundle, expected, commit, workplace, notes)
        return Verification(
            kind="session" if _SESSION in bundle.json(bundle_file.INPUTS) else "run",
            run=expected["name"],
            decision_hash=expected["decision_hash"],
            difference=difference,
            notes=notes,
        )


def _packed_source(bundle: BundleContents) -> list[str]:
    """Return the parts with strategy code. Raises BadInput if the bundle would run or read anything else as a part."""
    inputs = bundle.json(bundle_file.INPUTS)
    settings = settings_from_text(bundle.text(bundle_file.SETTINGS), load_settings())
    for path in user_files(settings):
        if bundle.kinds.get(inputs["sources"].get(path, "")) != _SOURCE_KIND:
            raise BadInput(f"the settings of the bundle name the strategy code {path}, which is not a part of it")
    for one in inputs["files"]:
        if one["part"] and not any(
            kind == _DATA_KIND and (name == one["part"] or name.startswith(f"{one['part']}/"))
            for name, kind in bundle.kinds.items()
        ):
            raise BadInput(f"the data file {one['part']} is not a part of the bundle")
    if _SESSION in inputs:
        _require_readable_code(bundle)
    return [part for part, kind in bundle.kinds.items() if kind == _SOURCE_KIND]


def _require_readable_code(bundle: BundleContents) -> None:
    """Raise BadInput if the configurations of a session would run code that is not a part to be read."""
    parts = {name: bundle.text(name) for name, kind in bundle.kinds.items() if kind == _SOURCE_KIND}
    for sha256, text in recorded_code(TopicArchive(bundle.folder / RECORDING_FOLDER)).items():
        if text not in parts.values():
            raise BadInput(f"a configuration of the session has strategy code (SHA-256 {sha256[:12]}) without a part")


def _data_difference(bundle: BundleContents) -> str | None:
    """Check the files that the bundle only refers to."""
    for one in bundle.json(bundle_file.INPUTS)["files"]:
        if one["part"]:
            continue
        path = Path(one["path"])
        if not path.exists():
            return f"data: the file {path} does not exist, and the bundle only refers to it"
        if files_sha256([path]) != one["sha256"]:
            return f"data: the file {path} has changed since the run"
    return None


def _code_difference(expected: Mapping[str, Any], commit: Mapping[str, Any], workplace: Workplace) -> str | None:
    if code_sha256(workplace.code) == expected["code_sha256"]:
        return None
    changed = commit["changed_files"]
    uncommitted = f", with uncommitted changes in {', '.join(changed[:5])}" if changed else ""
    advice = "" if changed else f"; run `git checkout {commit['commit']}`, or pass --fresh-environment"
    return f"commit: the run had the platform's code of commit {commit['commit']}{uncommitted}{advice}"


def _lock_notes(bundle: BundleContents, workplace: Workplace) -> list[str]:
    lock = workplace.code / LOCK_FILE.relative_to(REPOSITORY)
    if lock.read_text(encoding="utf-8") == bundle.text(bundle_file.LOCK):
        return []
    return ["lock: the locked packages are not those of the run"]


def _rerun_difference(
    bundle: BundleContents,
    expected: Mapping[str, Any],
    commit: Mapping[str, Any],
    workplace: Workplace,
    notes: list[str],
) -> str | None:
    """Run the backtest or the session again, and compare its causes, then its decisions and metrics."""
    is_session = _SESSION in bundle.json(bundle_file.INPUTS)
    if (failure := _run_again(bundle.folder, workplace, _SESSION_MODULE if is_session else _RUN_MODULE)) is not None:
        return f"the {'replay' if is_session else 'backtest'} fails: {failure}"
    facts = json.loads((bundle.folder / AGAIN / bundle_file.RESULT).read_text(encoding="utf-8"))
    found = facts["result"]
    notes += [
        f"environment: {name} {facts['commit'][name]}, the run had {commit[name]}"
        for name in ("python", "machine", "system")
        if facts["commit"][name] != commit[name]
    ]
    if is_session:
        return _session_difference(expected, found, facts["difference"])
    for name, label in (("data_sha256", "data"), ("source_sha256", "source of the strategies")):
        if found[name] != expected[name]:
            return f"{label}: SHA-256 is {found[name]}, the run had {expected[name]}"
    if found["decision_hash"] != expected["decision_hash"]:
        tables = [
            {name: parquet.read_table(folder / f"{name}.parquet") for name in (ORDERS, EXECUTIONS)}
            for folder in (bundle.folder / "decisions", bundle.folder / AGAIN)
        ]
        return f"decisions: {first_differing_decision(*tables)}"
    for name, value in expected["metrics"].items():
        if found["metrics"].get(name) != value:
            return f"metric {name}: {found['metrics'].get(name)}, the run had {value}"
    return None


def _session_difference(expected: Mapping[str, Any], found: Mapping[str, Any], difference: str | None) -> str | None:
    """Compare the replay of a session: with its records, then its extent with that of the session."""
    if difference is not None:
        return f"decisions: {difference}"
    for name in ("time_slices", "from", "to", "given", "records", "decision_hash"):
        if found[name] != expected[name]:
            return f"{name.replace('_', ' ')}: {found[name]}, the session had {expected[name]}"
    return None


def _run_again(folder: Path, workplace: Workplace, module: str) -> str | None:
    """Run a module of this package in a new process without the user's settings. Return its last line if it fails."""
    environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    environment |= {"PYTHONPATH": str(workplace.code), "PLATFORM_HOME": str(folder / AGAIN), ENV_FILE_VARIABLE: OFF}
    # -P: Python imports nothing from the working folder, which holds parts of the bundle.
    command = [str(workplace.python), "-P", "-m", f"dataflows.research.bundles.{module}", str(folder)]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if run.returncode == 0:
        return None
    lines = [line for line in run.stderr.splitlines() if line.strip()]
    return (lines or [f"exit status {run.returncode}"])[-1].removeprefix("error: ")

"""Collect what reproduces a saved run: data or references to it, source, settings, lock, commit, result and trials."""

from __future__ import annotations

import io
import json
import platform
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from configs.settings.feeds import EXTRA_FILE_KINDS
from configs.source_files import text_sha256
from dataflows.research.bundles import bundle_file
from dataflows.research.bundles.bundle_file import BundlePart, json_part, write_bundle
from dataflows.research.frames import EXECUTIONS, ORDERS
from dataflows.research.result import Result
from dataflows.research.run_sources import SOURCE_FILES, code_sha256, files_sha256
from dataflows.research.run_store import REPOSITORY
from dataflows.research.trial_ledger import TrialLedger
from dataflows.research.trial_notes import data_hash_of
from dataflows.sources.bar_files import list_files
from dataflows.sources.catalog.bar_catalog import catalog_months, is_series_folder, verified_file
from schemas.errors import BadInput
from sinks.archive.log_manifest import MANIFEST_FILE

LOCK_FILE = REPOSITORY / "deploy" / "locks" / "requirements.txt"
_OBJECT_PREFIX = "python:"


class InputFile(NamedTuple):
    """A data file of a run, or the folder of a symbol in the catalogue.

    `part` is its part in the bundle, or the folder of its parts; "" if the bundle only refers to `path`.
    """

    kind: str
    path: str
    part: str
    sha256: str


def create_bundle(result: Result, path: Path, ledger: TrialLedger, *, with_data: bool = True) -> None:
    """Write the bundle of a saved run. Without `with_data`, it refers to the data files by path and hash.

    Raises BadInput if the run cannot be reproduced: from a frame, from recorded topics, with a class of a program, or
    because the data or the platform's code have changed since.
    """
    _require_reproducible(result)
    sources = _source_parts(result)
    inputs = _input_files(result, with_data=with_data)
    parts = [
        json_part(bundle_file.INPUTS, "inputs", _inputs(result, inputs, [part.name for part in sources])),
        json_part(bundle_file.SETTINGS, "settings", result.settings),
        json_part(bundle_file.COMMIT, "commit", commit_facts()),
        BundlePart(bundle_file.LOCK, "lock", LOCK_FILE),
        json_part(bundle_file.RESULT, "result", result_facts(result)),
        BundlePart(bundle_file.TRIALS, "trials", _trial_lines(result, ledger)),
        BundlePart(bundle_file.ORDERS, "decisions", _parquet(result.tables[ORDERS])),
        BundlePart(bundle_file.EXECUTIONS, "decisions", _parquet(result.tables[EXECUTIONS])),
        *sources,
        *(part for one in inputs if one.part for part in _data_parts(one)),
    ]
    write_bundle(path, parts, {"run": result.name, "decision_hash": result.decision_hash})


def result_facts(result: Result) -> dict[str, Any]:
    """Return what a reproduction has to give again: hashes and metrics."""
    return {
        "name": result.name,
        "strategies": list(result.strategies),
        "decision_hash": result.decision_hash,
        "data_sha256": result.sources.data_sha256,
        "code_sha256": result.sources.code_sha256,
        "source_sha256": result.sources.source_sha256,
        "metrics": result.metrics,
        "warnings": list(result.warnings),
    }


def commit_facts() -> dict[str, Any]:
    """Return the commit of the platform's code, whether the code differs from it, and the versions that ran."""
    commit = _git("rev-parse", "HEAD")
    changed = None if commit is None else _git("status", "--porcelain", "--untracked-files=no")
    return {
        "commit": commit,
        "changed_files": None if changed is None else [line[3:] for line in changed.splitlines()],
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
    }


def _git(*arguments: str) -> str | None:
    """Return the output of git; None without git, or if the code is not in a repository."""
    command = ["git", "-C", str(REPOSITORY), *arguments]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.rstrip("\n")


def _require_reproducible(result: Result) -> None:
    name = f"run {result.name}" if result.name else "this run"
    sources = result.sources
    if not sources.data_sha256:
        raise BadInput(f"{name} read recorded topics, whose contents are not hashed; a bundle needs a run of files")
    if "frame" in sources.data:
        raise BadInput(f"{name} read a pandas frame; write it to a file (frame.to_parquet), and run the file")
    for entry in result.settings["signals"]["strategies"]:
        if entry["name"].startswith(_OBJECT_PREFIX):
            raise BadInput(f"{name} ran {entry['name']}, a class of a program; save it in a file and run FILE.py:Class")
        if entry.get("universe"):
            raise BadInput(f"{name} used the universe file {entry['universe']}, which a bundle does not hold")
    for table in (ORDERS, EXECUTIONS):
        if table not in result.tables:
            raise BadInput(f"{name} has no table {table}")
    if sources.code_sha256 != code_sha256():
        raise BadInput(f"{name} ran other code of the platform; check out its commit, or run it again")


def _input_files(result: Result, *, with_data: bool) -> list[InputFile]:
    """Return the data files of the run in its order. Raises BadInput if one is missing or has changed."""
    files = [("bars", Path(path)) for path in result.sources.data]
    section = result.settings["market_data"]["files"]
    for kind in EXTRA_FILE_KINDS:
        if paths := section.get(kind):
            files += [(kind, path) for path in list_files([Path(path) for path in paths])]
    if result.sources.orders:
        files.append(("orders", Path(result.sources.orders)))
    for _, path in files:
        if not (path.is_file() or is_series_folder(path)):
            raise BadInput(f"the data file {path} of run {result.name} does not exist; run this where the run was made")
    if files_sha256(path for _, path in files) != result.sources.data_sha256:
        raise BadInput(f"the data files of run {result.name} have changed since: {', '.join(str(p) for _, p in files)}")
    return [
        InputFile(
            kind=kind,
            path=str(path.resolve()),
            part=_part_name(kind, number, path) if with_data else "",
            sha256=files_sha256([path]),
        )
        for number, (kind, path) in enumerate(files)
    ]


def _part_name(kind: str, number: int, path: Path) -> str:
    """Return the name of the part of a file. It ends as the path does, because names of files and folders count."""
    name = f"{path.parent.name}/{path.name}" if is_series_folder(path) else path.name
    return f"data/{kind}/{number:04d}/{name}"


def _data_parts(one: InputFile) -> Iterator[BundlePart]:
    """Yield the part of a file, or those of a folder of the catalogue: its manifest and the months that it lists."""
    path = Path(one.path)
    if not is_series_folder(path):
        yield BundlePart(one.part, "data", path)
        return
    yield BundlePart(f"{one.part}/{MANIFEST_FILE}", "data", path / MANIFEST_FILE)
    for month in catalog_months(path):
        yield BundlePart(f"{one.part}/{month.file}", "data", verified_file(path, month))


def _source_parts(result: Result) -> list[BundlePart]:
    """Return the user's strategy and indicator files as they were when the run was saved."""
    stored: pa.Table | None = result.tables.get(SOURCE_FILES)
    if stored is None:
        if result.sources.source_sha256:
            raise BadInput(f"run {result.name} was saved without the source of its strategies; run it again")
        return []
    parts = []
    for number, row in enumerate(stored.to_pylist()):
        content = row["text"].encode()
        recorded = {sha256 for hashes in result.sources.source_sha256.values() for sha256 in hashes.split(",")}
        if recorded and text_sha256(content) not in recorded:
            raise BadInput(f"the source {row['path']} was changed while the run {result.name} was saved; run it again")
        parts.append(BundlePart(f"source/{number:04d}/{Path(row['path']).name}", "source", content))
    return parts


def _inputs(result: Result, files: Sequence[InputFile], sources: Sequence[str]) -> dict[str, Any]:
    stored: pa.Table | None = result.tables.get(SOURCE_FILES)
    paths = [] if stored is None else stored.column("path").to_pylist()
    return {
        "files": [one._asdict() for one in files],
        "sources": dict(zip(paths, sources, strict=True)),
        "benchmark": result.summary.get("benchmark"),
        "excursions": "mae_mean" in result.summary,
    }


def _trial_lines(result: Result, ledger: TrialLedger) -> bytes:
    """Return the trials of the run's strategies on its data, one JSON object per line."""
    return "".join(f"{line}\n" for line in _trials(result, ledger)).encode()


def _trials(result: Result, ledger: TrialLedger) -> Iterator[str]:
    data = data_hash_of(result)
    for strategy in result.strategies:
        for one in ledger.trials(strategy=strategy, data_hash=data):
            facts = {"number": one.number, "trial_id": one.trial_id, **asdict(one.trial)}
            yield json.dumps(facts, sort_keys=True)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()

"""The scanners of the development packages over this tree and its lock: code, secrets, known vulnerabilities, SBOM.

A scanner that cannot do its work is an error, never a clean result.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from deploy.errors import DeployError
from deploy.home import REPOSITORY

PACKAGES = ("api", "cli.py", "configs", "dataflows", "deploy", "operators", "schemas", "sinks")
LOCK = "deploy/locks/requirements.txt"
_BIN = Path(sys.executable).parent
_BANDIT_SKIPS = ("B101", "B105", "B106", "B107", "B403", "B404", "B603")
"""As pyproject.toml ignores them for ruff: asserts guard invariants; programs are started by our own argument lists. An
import alone does nothing. Passwords in code are ruff's S105 to S107 and detect-secrets' matter.
"""
_NOT_SCANNED = (
    r"deploy/locks/.*",
    r"deploy/local/kafka/jars.*",
    r"schemas/examples/.*",
    r"tests/.*",
    r".*package-lock\.json",
)
"""Hashes of packages, bytes of examples, passwords of throw-away test services."""
_ALLOWED = "pragma: allowlist secret"
_TIMEOUT_S = 600


class Outcome(StrEnum):
    CLEAN = "clean"
    FOUND = "found"
    FAILED = "failed"


class Scan(NamedTuple):
    """What one scanner says, a line a finding; `said` in one sentence."""

    name: str
    outcome: Outcome
    said: str
    lines: list[str]


def code(tree: Path = REPOSITORY) -> list[Scan]:
    """bandit and ruff's security rules over the packages."""
    return [_bandit(tree), _ruff(tree)]


def _bandit(tree: Path) -> Scan:
    names = [name for name in PACKAGES if (tree / name).exists()]
    command = ["bandit", "--recursive", "--quiet", "--format=json", "--confidence-level=medium"]
    command += [f"--skip={','.join(_BANDIT_SKIPS)}", *names]
    found = _json(command, tree, "bandit", (0, 1))
    lines = [
        f"{row['filename'].removeprefix('./')}:{row['line_number']} {row['test_id']} {row['issue_text']}"
        for row in found["results"]
        if not _excused(tree / row["filename"], row)
    ]
    if found["errors"]:
        first = found["errors"][0]
        return Scan("bandit", Outcome.FAILED, f"{first['filename']} cannot be read: {first['reason']}", lines)
    return _scan("bandit", lines, "finds nothing in the code")


def _excused(file: Path, row: dict[str, Any]) -> bool:
    """Whether the lines say `noqa` with ruff's name of the same rule: ruff holds those to be used."""
    lines = file.read_text().splitlines()
    ours = "\n".join(lines[number - 1] for number in row["line_range"] if number <= len(lines))
    return _ALLOWED in ours or re.search(rf"noqa:[^\n]*\bS{row['test_id'][1:]}\b", ours) is not None


def _ruff(tree: Path) -> Scan:
    command = ["ruff", "check", "--select=S", "--ignore=S101,S603", "--output-format=json", "."]
    lines = []
    for row in _json(command, tree, "ruff", (0, 1)):
        file = Path(row["filename"]).relative_to(tree)
        lines.append(f"{file}:{row['location']['row']} {row['code']} {row['message']}")
    return _scan("ruff S", lines, "finds nothing in the code")


def secrets(tree: Path = REPOSITORY) -> Scan:
    """detect-secrets over every file under version control, or every file where there is none."""
    exclude = [f"--exclude-files={pattern}" for pattern in _NOT_SCANNED]
    command = ["detect-secrets", "scan", *exclude, f"--exclude-lines={_ALLOWED}"]
    if not (tree / ".git").exists():
        command.append("--all-files")
    found = _json(command, tree, "detect-secrets", (0,))
    lines = [
        f"{file}:{row['line_number']} {row['type']}"
        for file, rows in sorted(found["results"].items())
        for row in rows
        if not _example(tree / file, row)
    ]
    return _scan("detect-secrets", lines, f"finds no secret; a line that only looks like one says `{_ALLOWED}`")


def _example(file: Path, row: dict[str, Any]) -> bool:
    """Whether it only looks like one: the name of a file, an address as documents write them, prose about passwords."""
    if file.suffix == ".md" and row["type"] == "Secret Keyword":
        return True
    line = file.read_text(errors="replace").splitlines()[row["line_number"] - 1]
    return re.search(r"noqa: S10[56]|://\w*:(secret|pass|pw|password|PASSWORD|hunter2+)@", line) is not None


def vulnerabilities(osv_url: str | None = None, lock: Path = REPOSITORY / LOCK, timeout_s: int = 15) -> Scan:
    """pip-audit over the lock. Asks a public service, or the OSV server at `osv_url`."""
    command = ["pip-audit", "--strict", "--require-hashes", "--disable-pip", "--format=json", "--progress-spinner=off"]
    command += [f"--requirement={lock}", f"--timeout={timeout_s}"]
    if osv_url is not None:
        command += ["--vulnerability-service=osv", f"--osv-url={osv_url}"]
    try:
        found = _json(command, REPOSITORY, "pip-audit", (0, 1))
    except DeployError as error:
        said = f"whether packages have known vulnerabilities is not known: {error}"
        return Scan("pip-audit", Outcome.FAILED, said, [])
    lines = [
        f"{row['name']} {row['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no version'}"
        for row in found["dependencies"]
        for flaw in row.get("vulns", [])
    ]
    skipped = [row["name"] for row in found["dependencies"] if "skip_reason" in row]
    if skipped:
        return Scan("pip-audit", Outcome.FAILED, f"was not told of {', '.join(skipped)}", lines)
    return _scan("pip-audit", lines, f"knows no vulnerability of the {len(found['dependencies'])} packages of the lock")


def bill_of_materials(target: Path) -> Scan:
    """What the platform is made of, as CycloneDX JSON out of the lock."""
    target.parent.mkdir(parents=True, exist_ok=True)
    command = ["cyclonedx-py", "requirements", LOCK, "--pyproject=pyproject.toml", "--of=JSON", "--output-reproducible"]
    try:
        _run([*command, f"--output-file={target}"], REPOSITORY, "cyclonedx-py", (0,))
        parts = json.loads(target.read_text())["components"]
    except (OSError, ValueError, KeyError) as error:
        raise DeployError(f"cyclonedx-py wrote no bill of materials: {error}") from error
    return Scan("SBOM", Outcome.CLEAN, f"{len(parts)} packages in {target}", [])


def _scan(name: str, lines: list[str], clean: str) -> Scan:
    if lines:
        return Scan(name, Outcome.FOUND, f"{len(lines)} to look at", lines)
    return Scan(name, Outcome.CLEAN, clean, [])


def _json(command: list[str], folder: Path, name: str, good: tuple[int, ...]) -> Any:
    said = _run(command, folder, name, good)
    try:
        return json.loads(said)
    except ValueError as error:
        raise DeployError(f"{name} did not answer in JSON: {said.strip()[:200] or 'nothing'}") from error


def _run(command: list[str], folder: Path, name: str, good: tuple[int, ...]) -> str:
    """Standard output. Raises DeployError with the scanner's last words where it failed."""
    try:
        done = subprocess.run(
            [str(_BIN / command[0]), *command[1:]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise DeployError(f"{name} is not installed: it is in the development packages") from error
    except subprocess.TimeoutExpired as error:
        raise DeployError(f"{name} did not end within {_TIMEOUT_S} s") from error
    if done.returncode not in good or (done.returncode and not done.stdout.strip()):
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise DeployError(f"{name}: {lines[-1].strip()[:300] if lines else f'ended with {done.returncode}'}")
    return done.stdout

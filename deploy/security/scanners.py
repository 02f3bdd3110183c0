"""Scan the source tree and its lock: code, secrets, known vulnerabilities and bill of materials (SBOM).

A scanner that fails is an error, never a clean result.
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
"""Skipped as in pyproject.toml for ruff: asserts guard invariants, and programs start with our own argument lists.
Imports alone (B403, B404) do no harm. Ruff's S105 to S107 and detect-secrets find passwords in code.
"""
_EXCLUDED_FILES = (
    r"deploy/locks/.*",
    r"deploy/local/kafka/jars.*",
    r"schemas/examples/.*",
    r"tests/.*",
    r".*package-lock\.json",
)
"""Hashes of packages, bytes of examples, passwords of temporary test services."""
_ALLOWLIST_COMMENT = "pragma: allowlist secret"
_TIMEOUT_S = 600
_CANDIDATES_PROGRAM = Path(__file__).with_name("secret_candidates.py")


class ScanOutcome(StrEnum):
    CLEAN = "clean"
    FINDINGS = "found"
    FAILED = "failed"


class ScanResult(NamedTuple):
    """The result of one scanner: `summary` is one sentence, `lines` has one line per finding."""

    name: str
    outcome: ScanOutcome
    summary: str
    lines: list[str]


def scan_code(tree: Path = REPOSITORY) -> list[ScanResult]:
    """Run bandit and ruff's security rules on the code."""
    return [_bandit(tree), _ruff(tree)]


def _bandit(tree: Path) -> ScanResult:
    names = [name for name in PACKAGES if (tree / name).exists()]
    command = ["bandit", "--recursive", "--quiet", "--format=json", "--confidence-level=medium"]
    command += [f"--skip={','.join(_BANDIT_SKIPS)}", *names]
    report = _run_json(command, tree, "bandit", (0, 1))
    lines = [
        f"{row['filename'].removeprefix('./')}:{row['line_number']} {row['test_id']} {row['issue_text']}"
        for row in report["results"]
        if not _is_suppressed(tree / row["filename"], row)
    ]
    if report["errors"]:
        first = report["errors"][0]
        return ScanResult("bandit", ScanOutcome.FAILED, f"cannot read {first['filename']}: {first['reason']}", lines)
    return _scan_result("bandit", lines, "no findings")


def _is_suppressed(file: Path, row: dict[str, Any]) -> bool:
    """Return whether the lines have ruff's `noqa` for the same rule. Ruff reports unused ones."""
    lines = file.read_text().splitlines()
    flagged_text = "\n".join(lines[number - 1] for number in row["line_range"] if number <= len(lines))
    return (
        _ALLOWLIST_COMMENT in flagged_text
        or re.search(rf"noqa:[^\n]*\bS{row['test_id'][1:]}\b", flagged_text) is not None
    )


def _ruff(tree: Path) -> ScanResult:
    command = ["ruff", "check", "--select=S", "--ignore=S101,S603", "--output-format=json", "."]
    lines = []
    for row in _run_json(command, tree, "ruff", (0, 1)):
        file = Path(row["filename"]).relative_to(tree)
        lines.append(f"{file}:{row['location']['row']} {row['code']} {row['message']}")
    return _scan_result("ruff S", lines, "no findings")


def scan_secrets(tree: Path = REPOSITORY) -> ScanResult:
    """Run detect-secrets on every file under version control, or on all files without version control."""
    exclude = [f"--exclude-files={pattern}" for pattern in _EXCLUDED_FILES]
    command = ["detect-secrets", "scan", *exclude, f"--exclude-lines={_ALLOWLIST_COMMENT}"]
    all_files = [] if (tree / ".git").exists() else ["--all-files"]
    # -P: the program is in a folder with other modules, which are not to be imported.
    program = ["python", "-P", str(_CANDIDATES_PROGRAM), *all_files, *_EXCLUDED_FILES]
    files = _run_json(program, tree, "detect-secrets", (0,))
    report = _run_json([*command, *files], tree, "detect-secrets", (0,)) if files else {"results": {}}
    lines = [
        f"{file}:{row['line_number']} {row['type']}"
        for file, rows in sorted(report["results"].items())
        for row in rows
        if not _is_example(tree / file, row)
    ]
    return _scan_result("detect-secrets", lines, f"no findings (mark a false positive with `{_ALLOWLIST_COMMENT}`)")


def _is_example(file: Path, row: dict[str, Any]) -> bool:
    """Return whether a finding is a false positive: a file name, an example address, or prose about passwords."""
    if file.suffix == ".md" and row["type"] == "Secret Keyword":
        return True
    line = file.read_text(errors="replace").splitlines()[row["line_number"] - 1]
    return re.search(r"noqa: S10[56]|://\w*:(secret|pass|pw|password|PASSWORD|hunter2+)@", line) is not None


def scan_vulnerabilities(osv_url: str | None = None, lock: Path = REPOSITORY / LOCK, timeout_s: int = 15) -> ScanResult:
    """Run pip-audit on the lock, with a public service or the OSV server at `osv_url`."""
    command = ["pip-audit", "--strict", "--require-hashes", "--disable-pip", "--format=json", "--progress-spinner=off"]
    command += [f"--requirement={lock}", f"--timeout={timeout_s}"]
    if osv_url is not None:
        command += ["--vulnerability-service=osv", f"--osv-url={osv_url}"]
    try:
        report = _run_json(command, REPOSITORY, "pip-audit", (0, 1))
    except DeployError as error:
        detail = f"cannot check for known vulnerabilities: {error}"
        return ScanResult("pip-audit", ScanOutcome.FAILED, detail, [])
    lines = [
        f"{row['name']} {row['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no version'}"
        for row in report["dependencies"]
        for flaw in row.get("vulns", [])
    ]
    skipped = [row["name"] for row in report["dependencies"] if "skip_reason" in row]
    if skipped:
        return ScanResult("pip-audit", ScanOutcome.FAILED, f"skipped {', '.join(skipped)}", lines)
    return _scan_result(
        "pip-audit", lines, f"no known vulnerabilities in {len(report['dependencies'])} locked packages"
    )


def write_bill_of_materials(target: Path) -> ScanResult:
    """Write the bill of materials of the lock as CycloneDX JSON. Raises DeployError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    command = ["cyclonedx-py", "requirements", LOCK, "--pyproject=pyproject.toml", "--of=JSON", "--output-reproducible"]
    try:
        _run([*command, f"--output-file={target}"], REPOSITORY, "cyclonedx-py", (0,))
        components = json.loads(target.read_text())["components"]
    except (OSError, ValueError, KeyError) as error:
        raise DeployError(f"cyclonedx-py wrote no valid bill of materials: {error}") from error
    return ScanResult("SBOM", ScanOutcome.CLEAN, f"{len(components)} packages in {target}", [])


def _scan_result(name: str, lines: list[str], clean_message: str) -> ScanResult:
    if lines:
        return ScanResult(name, ScanOutcome.FINDINGS, f"{len(lines)} findings", lines)
    return ScanResult(name, ScanOutcome.CLEAN, clean_message, [])


def _run_json(command: list[str], folder: Path, name: str, ok_statuses: tuple[int, ...]) -> Any:
    output = _run(command, folder, name, ok_statuses)
    try:
        return json.loads(output)
    except ValueError as error:
        raise DeployError(f"{name} did not print JSON, found {output.strip()[:200] or 'no output'}") from error


def _run(command: list[str], folder: Path, name: str, ok_statuses: tuple[int, ...]) -> str:
    """Run a scanner and return its standard output. Raises DeployError with its last line if it fails."""
    try:
        completed = subprocess.run(
            [str(_BIN / command[0]), *command[1:]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise DeployError(f"{name} is not installed; install the development packages (the extra `dev`)") from error
    except subprocess.TimeoutExpired as error:
        raise DeployError(f"{name} did not finish within {_TIMEOUT_S} s") from error
    if completed.returncode not in ok_statuses or (completed.returncode and not completed.stdout.strip()):
        lines = [line for line in completed.stderr.splitlines() if line.strip()]
        raise DeployError(
            f"{name}: {lines[-1].strip()[:300] if lines else f'exited with status {completed.returncode}'}"
        )
    return completed.stdout

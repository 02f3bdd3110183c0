"""The scanners detect planted flaws and report failures; the checklist and the audit report the real state."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import insert

from configs.settings import load_settings
from deploy.commands.security import audit_rows
from deploy.home import REPOSITORY, Home
from deploy.security import scanners
from deploy.security.compliance import database_checks, settings_checks
from deploy.security.scanners import ScanOutcome
from sinks.accounts import submissions, users
from sinks.database import open_engine
from sinks.postgres import PostgresWriter
from tests.builders import command

HASH = "--hash=sha256:" + "0" * 64
VULNERABILITY = {
    "id": "OSV-1",
    "summary": "bad",
    "aliases": [],
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.0"}]}],
        }
    ],
}


class OsvHandler(BaseHTTPRequestHandler):
    """A minimal OSV server that reports one vulnerability, in jinja2."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"vulns": [VULNERABILITY]} if request["package"]["name"] == "jinja2" else {}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Suppress the request log."""


@contextmanager
def osv_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OsvHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    file = tmp_path / "lock.txt"
    file.write_text(f"jinja2==2.0 {HASH}\nclick==8.1.7 {HASH}\n")
    return file


def test_a_published_vulnerability_is_reported(lock: Path) -> None:
    with osv_server() as url:
        result = scanners.scan_vulnerabilities(url, lock)
        lock.write_text(f"click==8.1.7 {HASH}\n")
        clean = scanners.scan_vulnerabilities(url, lock)
    assert result.outcome is ScanOutcome.FINDINGS
    assert result.lines == ["jinja2 2.0: OSV-1, fixed in 3.0"]
    assert clean.outcome is ScanOutcome.CLEAN
    assert clean.summary == "no known vulnerabilities in 1 locked packages"


def test_an_unreachable_service_is_never_a_clean_result(lock: Path) -> None:
    failed = scanners.scan_vulnerabilities("http://127.0.0.1:1/v1/query", lock, timeout_s=2)
    assert failed.outcome is ScanOutcome.FAILED
    assert failed.summary.startswith("cannot check for known vulnerabilities: pip-audit")


def test_this_tree_is_clean() -> None:
    """Run the scans that need no network. Known vulnerabilities can change without a change of the tree."""
    for scan in (*scanners.scan_code(), scanners.scan_secrets()):
        assert scan.outcome is ScanOutcome.CLEAN, f"{scan.name}: {scan.summary} {scan.lines}"


def test_a_planted_code_flaw_is_detected(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "bad.py").write_text("import subprocess\nsubprocess.run('ls ' + input(), shell=True)\n")
    for scan in scanners.scan_code(tmp_path):
        assert scan.outcome is ScanOutcome.FINDINGS, scan
        assert all(line.startswith("api/bad.py:2 ") for line in scan.lines), scan
    (tmp_path / "api" / "bad.py").write_text("print('good')\n")
    assert [scan.outcome for scan in scanners.scan_code(tmp_path)] == [ScanOutcome.CLEAN, ScanOutcome.CLEAN]


def test_a_planted_secret_is_detected_and_an_allowed_line_is_not(tmp_path: Path) -> None:
    key = "AKIA" + "Q" * 6 + "7Z2KX4LMNP"
    (tmp_path / "settings.py").write_text(f'AWS_KEY = "{key}"\n')
    scan = scanners.scan_secrets(tmp_path)
    assert scan.outcome is ScanOutcome.FINDINGS
    assert scan.lines[0].startswith("settings.py:1 ")
    assert key not in "".join(scan.lines)
    (tmp_path / "settings.py").write_text(f'AWS_KEY = "{key}"  # pragma: allowlist secret\n')
    assert scanners.scan_secrets(tmp_path).outcome is ScanOutcome.CLEAN


def test_the_selection_of_files_hides_no_finding_of_detect_secrets(tmp_path: Path) -> None:
    """Findings in each form in which detect-secrets reads a file, beside lines that its filters remove."""
    key, word = "AKIA" + "Q" * 6 + "7Z2KX4LMNP", "aB3dE6gH9jK2mN5pQ8sT1vW4"
    texts = {
        "code.py": f'KEY = "{key}"\npassword = "{word}"\nurl = "https://ann:{word}@db.example/x"\n',
        "values.yaml": f"db:\n  password: {word}\n  quoted: '{word}{word}'\nkey: {key}\n",
        "settings.ini": f"[db]\npassword = {word}\n",
        "page.md": f"The password is `{word}`.\n\n-----BEGIN RSA PRIVATE KEY-----\n",
        "filtered.py": f'key = "{key}"  # {scanners._ALLOWLIST_COMMENT}\npassword = get_password()\n',
        "clean.py": "print('good')\n",
        "tests/excluded.py": f'KEY = "{key}"\n',
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [str(scanners._BIN / "detect-secrets"), "scan", "--all-files", "--exclude-files=tests/.*"]
    command.append(f"--exclude-lines={scanners._ALLOWLIST_COMMENT}")
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    expected = {
        f"{file}:{row['line_number']} {row['type']}"
        for file, rows in json.loads(output)["results"].items()
        for row in rows
        if not scanners._is_example(tmp_path / file, row)
    }
    assert {line.split(":")[0] for line in expected} == {"code.py", "values.yaml", "settings.ini", "page.md"}
    assert set(scanners.scan_secrets(tmp_path).lines) == expected


def test_the_bill_of_materials_has_every_package_of_the_lock(tmp_path: Path) -> None:
    scanners.write_bill_of_materials(tmp_path / "sbom.json")
    tree = json.loads((tmp_path / "sbom.json").read_text())
    assert tree["bomFormat"] == "CycloneDX"
    listed = {(part["name"].lower(), part["version"]) for part in tree["components"]}
    lines = (REPOSITORY / scanners.LOCK).read_text().splitlines()
    locked = [line.split(" ")[0].split("==") for line in lines if "==" in line and line[0].isalpha()]
    assert len(locked) > 50
    assert {(name.split("[")[0].lower(), version) for name, version in locked} <= listed


def test_the_checklist_follows_the_settings_and_the_files(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create_folders()
    home.secret("api-jwt-key")
    environment = {
        "DATABASE_URL": "postgresql://platform:a-long-password-of-its-own@127.0.0.1:5432/trading",
        "REDIS_URL": "redis://127.0.0.1:6379/0",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092",
        "KAFKA__SECURITY__PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA__SECURITY__USER": "cli",
        "KAFKA_PASSWORD": "a-password-of-its-own",  # pragma: allowlist secret
    }

    def failed_checks(**changes: str) -> set[str]:
        return {
            c.name
            for c in settings_checks(home, load_settings(environment={**environment, **changes}))
            if c.passed is False
        }

    backup = {
        "the newest backup is at most 7 days old",
        "commands are signed, and no key is missing or about to expire",
    }
    assert failed_checks() == backup, "a new state folder has neither a backup nor keys"
    remote_url = "postgresql://platform:postgres@db.example:5432/trading"
    assert failed_checks(DATABASE_URL=remote_url) == backup | {
        "the database password is strong",
        "PostgreSQL uses TLS or loopback",
    }
    assert (
        failed_checks(
            DATABASE_URL=f"{environment['DATABASE_URL'].replace('127.0.0.1', 'db.example')}?sslmode=verify-full"
        )
        == backup
    )
    assert failed_checks(DATABASE_REPLICA_URL="postgresql://db2.example/trading") == backup | {
        "PostgreSQL replica uses TLS or loopback"
    }
    assert failed_checks(REDIS_URL="redis://cache.example") == backup | {"Redis uses TLS or loopback"}
    kafka = {"Kafka uses TLS or loopback"}
    assert failed_checks(KAFKA_BOOTSTRAP_SERVERS="kafka.example:9093") == backup | kafka
    assert failed_checks(KAFKA_BOOTSTRAP_SERVERS="kafka.example:9093", KAFKA__SECURITY__PROTOCOL="SASL_SSL") == backup
    anonymous = {"clients of Kafka authenticate"}
    assert failed_checks(KAFKA__SECURITY__PROTOCOL="PLAINTEXT") == backup | anonymous
    assert failed_checks(KAFKA__SECURITY__PROTOCOL="SSL") == backup | anonymous
    assert failed_checks(API__LOGIN_RATE="100/second") == backup | {"at most 60 logins per minute"}
    (home.secrets / "api-jwt-key").chmod(0o644)
    assert failed_checks() == backup | {"only the owner can read files with secrets"}
    (home.secrets / "api-jwt-key").chmod(0o600)
    home.logs.chmod(0o755)
    assert failed_checks() == backup | {"other users cannot read the state folder"}
    home.logs.chmod(0o700)
    (home.secrets / "admin-password").touch(0o600)
    assert failed_checks() == backup | {"the one-time admin password was changed"}


def test_user_checks_and_audit_entries_come_from_the_tables(make_database: Callable[[], str]) -> None:
    url = make_database()
    with closing(PostgresWriter(url, name="test")) as writer:
        writer.write([command("cmd-1", 60_000_000_000, arguments={"symbol": "SPY"}, actor="ann", reason="too hot")])
    engine = open_engine(url)
    user_fields = {"password_hash": "x", "disabled": False, "token_version": 1}
    submission_fields = {
        "ts_ns": 0,
        "kind": "SUBMIT_ORDER",
        "actor": "bob",
        "reason": "",
        "arguments": {},
        "acknowledged": False,
    }
    with engine.begin() as db:
        db.execute(insert(users).values(username="ann", role="admin", must_change_password=True, **user_fields))
        db.execute(insert(submissions).values(command_id="cmd-1", **submission_fields))
        db.execute(insert(submissions).values(command_id="cmd-2", **submission_fields))
    with engine.connect() as db:
        passed_by_check = {check.name: check.passed for check in database_checks(db)}
        audit_entries = {(entry["who"], entry["did"], entry["what"]) for entry in audit_rows(db)}
    engine.dispose()
    assert passed_by_check == {
        "admins exist and are at most half of the users": True,
        "users have changed their initial passwords": False,
        "every command has an actor": True,
    }
    assert ("ann", "KILL_SWITCH", "symbol SPY; too hot") in audit_entries
    assert ("bob", "SUBMIT_ORDER (not in the log)", "") in audit_entries
    assert len([entry for entry in audit_entries if entry[0] == "bob"]) == 1, "cmd-1 is in the log"

"""Check the signature of every command in table `commands` again, with the keys that the same table records."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from deploy.verification.ledger_tables import snapshot_connection
from deploy.verification.verdict import FINDINGS_MAX, Comparison
from operators.command_signatures import ROOT_WRITER, CommandSignatures
from schemas.errors import BadInput
from schemas.records import Command
from sinks.signing_keys import FOLDER, read_key

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)

    from deploy.home import Home

_QUERY = (
    "SELECT c.command_id, c.ts_ns, c.kind, c.actor, c.reason, c.arguments, c.key_id, c.signature FROM commands c "
    "JOIN audit_chain a ON a.table_name = 'commands' AND a.row_key = c.command_id ORDER BY a.position"
)
_BLOCK_ROWS = 1000


class CheckedCommands(NamedTuple):
    """The keys after the last command, and what was found: numbers of commands and findings, one sentence each."""

    signatures: CommandSignatures
    signed: int
    unsigned_before_cut_over: int
    unverified_halts: int
    findings: list[str]


def check_commands(db: Connection) -> CheckedCommands:
    """Check the commands of the table in the order of the log."""
    signatures, signed, before, halts = CommandSignatures(), 0, 0, 0
    findings: list[str] = []
    for command in _commands(db):
        was_required = signatures.required
        signatures, is_accepted, reason = signatures.check(command)
        if not is_accepted:
            findings.append(f"{command.command_id}: {reason or 'a command with this id precedes it'}")
        elif reason:
            halts += 1
        elif was_required or signatures.required:
            signed += 1
        else:
            before += 1
    return CheckedCommands(signatures, signed, before, halts, findings)


def verify_signatures(database_url: str, home: Home | None) -> Comparison:
    """Check all signatures, and that the log's root key is that of the state folder. Raises psycopg2.Error."""
    with closing(snapshot_connection(database_url)) as db:
        checked = check_commands(db)
    findings = list(checked.findings)
    if not checked.signatures.required:
        note = f"no signing keys are recorded; {checked.unsigned_before_cut_over} commands without a signature"
        return _comparison(checked, findings, note)
    findings += _root_findings(checked.signatures, home)
    notes = [f"signed with {sum(not key.is_revoked for key in checked.signatures.keys.values())} keys"]
    if checked.unsigned_before_cut_over:
        notes.append(f"{checked.unsigned_before_cut_over} unsigned before the cut-over")
    if checked.unverified_halts:
        notes.append(f"{checked.unverified_halts} halts applied without a valid signature")
    return _comparison(checked, findings, ", ".join(notes))


def _comparison(checked: CheckedCommands, findings: list[str], note: str) -> Comparison:
    first, more = (findings[0], tuple(findings[1:FINDINGS_MAX])) if findings else (None, ())
    return Comparison("signatures of commands", checked.signed, first, note, more)


def _root_findings(signatures: CommandSignatures, home: Home | None) -> list[str]:
    try:
        root = None if home is None else read_key(home.secrets / FOLDER, ROOT_WRITER)
    except BadInput as error:
        return [str(error)]
    if root is None or root.key_id == signatures.root_id:
        return []
    public_key = b64encode(signatures.keys[signatures.root_id].public_key).decode()
    return [f"the root key in the log is {signatures.root_id} ({public_key}), in the state folder {root.key_id}"]


def _commands(db: Connection) -> Iterator[Command]:
    with db.cursor("commands_in_log_order") as cursor:
        cursor.itersize = _BLOCK_ROWS
        cursor.execute(_QUERY)
        for row in cursor:
            yield Command._make(row)

"""The outcomes of trials by their ids, and the definitions of searches by their names, in one SQLite file.

The ledger of trials proves how many trials there were; this file holds what a search needs to continue: the metrics and
the daily returns. An outcome is stored before its trial is recorded in the ledger.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from dataflows.research.run_store import runs_folder
from dataflows.research.sweeps.trial_pass import TrialOutcome
from schemas.errors import BadInput, Unavailable

VERSION = 1
_BUSY_S = 60.0
_IDS_MAX = 500
_TABLES = (
    "CREATE TABLE searches (name TEXT PRIMARY KEY, created_ns INTEGER NOT NULL, definition TEXT NOT NULL)",
    "CREATE TABLE outcomes (trial_id TEXT PRIMARY KEY, outcome TEXT NOT NULL)",
)


def state_file(name: str) -> Path:
    """Return a file of the state folder."""
    return runs_folder().parent / name


class OutcomeStore:
    """Stores outcomes in a file, which is created at first use. Several processes can use it at once.

    Raises Unavailable if the file cannot be used, and BadInput if a newer release wrote it.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def claim(self, name: str, definition: Mapping[str, str]) -> None:
        """Store the definition of a search under its name. Raises BadInput if the name has another definition."""
        text = json.dumps(dict(definition), sort_keys=True)
        with self._transaction() as database:
            database.execute("INSERT OR IGNORE INTO searches VALUES (?, ?, ?)", (name, time.time_ns(), text))
            [(stored,)] = database.execute("SELECT definition FROM searches WHERE name = ?", (name,)).fetchall()
        known: dict[str, str] = json.loads(stored)
        different = [part for part in {**known, **definition} if known.get(part) != definition.get(part)]
        if different:
            raise BadInput(
                f"a search named {name!r} exists with another {' and another '.join(different)}; choose another name to"
                " start a new search, or repeat the first one unchanged to continue it"
            )

    def outcomes(self, trial_ids: Iterable[str]) -> dict[str, TrialOutcome]:
        """Return the stored outcomes of these trials by id."""
        ids = list(dict.fromkeys(trial_ids))
        found: dict[str, TrialOutcome] = {}
        if not self.file.exists():
            return found
        with self._transaction() as database:
            for first in range(0, len(ids), _IDS_MAX):
                part = ids[first : first + _IDS_MAX]
                marks = ", ".join("?" * len(part))
                query = f"SELECT trial_id, outcome FROM outcomes WHERE trial_id IN ({marks})"  # noqa: S608 - only marks
                found |= {trial_id: _outcome(text) for trial_id, text in database.execute(query, part)}
        return found

    def save(self, outcomes: Mapping[str, TrialOutcome]) -> None:
        """Store outcomes by the ids of their trials. They are on disk when this returns."""
        rows = [(trial_id, json.dumps(outcome._asdict())) for trial_id, outcome in outcomes.items()]
        with self._transaction() as database:
            database.executemany("INSERT OR REPLACE INTO outcomes VALUES (?, ?)", rows)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.file, os.O_CREAT | os.O_RDWR, 0o600))
            with closing(sqlite3.connect(self.file, timeout=_BUSY_S, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous = EXTRA")
                database.execute("BEGIN IMMEDIATE")
                version = int(database.execute("PRAGMA user_version").fetchone()[0])
                if version > VERSION:
                    raise BadInput(f"{self.file} has version {version}, this release reads up to {VERSION}")
                if version == 0:
                    for statement in (*_TABLES, f"PRAGMA user_version = {VERSION}"):
                        database.execute(statement)
                yield database
                database.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise Unavailable(f"the store of searches {self.file} cannot be used: {reason}") from error


def _outcome(text: str) -> TrialOutcome:
    fields: dict[str, Any] = json.loads(text)
    returns = {int(day): value for day, value in fields["returns"].items()}
    return TrialOutcome(**fields | {"returns": returns, "interim": tuple(fields.get("interim", ()))})

"""The ledger of trials: every backtest of a search, in one append-only SQLite file.

A statistic of the best trial needs the number of trials behind it (`dataflows.research.overfitting`).

- The id of a trial follows from its causes: strategy, code, data, settings, parameters and seed. A trial that is
  recorded again, because its process was killed before it knew the first one to be stored, adds no row.
- `record` returns after the rows are on disk. A killed process leaves a trial whole or not at all.
- Rows are never changed or deleted. Each has a digest of itself and of the row before it; `verify` checks them.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from dataflows.research.overfitting.deflated_sharpe import DeflatedSharpe, deflated_sharpe_ratio
from dataflows.research.overfitting.sharpe import SharpeEstimate
from schemas.errors import BadInput, Unavailable
from schemas.suggestions import did_you_mean

VERSION = 1
"""Version of the tables, stored as SQLite's `user_version`."""
LOCK_TIMEOUT_S = 60.0
ID_LENGTH = 16
_TABLES = (
    """CREATE TABLE trials (
        number INTEGER PRIMARY KEY, trial_id TEXT NOT NULL UNIQUE, recorded_ns INTEGER NOT NULL, user TEXT NOT NULL,
        run TEXT NOT NULL, strategy TEXT NOT NULL, code_hash TEXT NOT NULL, data_hash TEXT NOT NULL,
        settings_hash TEXT NOT NULL, parameters TEXT NOT NULL, seed INTEGER, objectives TEXT NOT NULL,
        decision_hash TEXT NOT NULL, sharpe REAL, observations INTEGER, skewness REAL, kurtosis REAL,
        digest TEXT NOT NULL
    )""",
    "CREATE INDEX trials_strategy ON trials (strategy, data_hash)",
    """CREATE TRIGGER trials_not_changed BEFORE UPDATE ON trials
        BEGIN SELECT RAISE(ABORT, 'the ledger of trials is append-only'); END""",
    """CREATE TRIGGER trials_not_deleted BEFORE DELETE ON trials
        BEGIN SELECT RAISE(ABORT, 'the ledger of trials is append-only'); END""",
)
_COLUMNS = (
    *("number", "trial_id", "recorded_ns", "user", "run", "strategy", "code_hash", "data_hash", "settings_hash"),
    *("parameters", "seed", "objectives", "decision_hash", "sharpe", "observations", "skewness", "kurtosis"),
)
_INSERT = f"INSERT INTO trials ({', '.join(_COLUMNS)}, digest) VALUES ({', '.join('?' * (len(_COLUMNS) + 1))})"  # noqa: S608
_SELECT = f"SELECT {', '.join(_COLUMNS)}, digest FROM trials"  # noqa: S608 - names of this module


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One backtest of a search.

    strategy       name of the strategy
    code_hash      hash of the source that ran
    data_hash      hash of the data that the backtest read
    settings_hash  hash of the other settings, such as fees and capital
    parameters     arguments of the strategy: JSON values by name
    seed           seed of the simulated venue or of the search; None without one
    objectives     figures of the result by name, such as sharpe; None if not defined. A larger one is better
    sharpe         Sharpe ratio per period with its moments; None if the returns do not vary
    decision_hash  hash of all decisions of the run
    user           who ran it
    run            name of the run, sweep or walk-forward that it belongs to; "" for none
    recorded_ns    time of the recording, in ns since 1970
    """

    strategy: str
    code_hash: str
    data_hash: str
    settings_hash: str
    parameters: Mapping[str, Any]
    seed: int | None
    objectives: Mapping[str, float | None]
    sharpe: SharpeEstimate | None
    decision_hash: str
    user: str
    run: str
    recorded_ns: int

    @property
    def trial_id(self) -> str:
        """Hash of the causes of the result, as hexadecimal digits. Raises BadInput if a parameter is no JSON value."""
        causes = (self.strategy, self.code_hash, self.data_hash, self.settings_hash, dict(self.parameters), self.seed)
        return sha256(canonical_json("parameters", causes).encode()).hexdigest()[:ID_LENGTH]


class RecordedTrial(NamedTuple):
    """A trial in the ledger. `number` counts from 1 in the order of recording."""

    number: int
    trial_id: str
    trial: Trial


class BestOfTrials(NamedTuple):
    """The best trial of a strategy on the same data, judged by the number of trials.

    `deflated` is None if the best trial has no Sharpe ratio. `best` is None if no trial has the objective.
    """

    objective: str
    trials: int
    best: RecordedTrial | None
    deflated: DeflatedSharpe | None


class TrialLedger:
    """The ledger in one file, which is created at first use. Several processes may write to it at the same time.

    Raises Unavailable if the file is locked for a minute or cannot be read or written, and BadInput if a newer release
    wrote it or if it is no ledger.
    """

    def __init__(self, path: Path, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self.path = path
        self._lock_timeout_s = lock_timeout_s

    def record(self, trials: Iterable[Trial]) -> int:
        """Append trials in one transaction, and return how many are new.

        Raises BadInput, and records none of them, if a recorded trial with the same causes has another result.
        """
        rows = [_row_of(trial) for trial in trials]
        with self._transaction() as database:
            number, digest = _last_row(database)
            added = 0
            for row in rows:
                known = database.execute(f"{_SELECT} WHERE trial_id = ?", (row["trial_id"],)).fetchone()
                if known is not None:
                    _require_same_result(_recorded(known), row)
                    continue
                number += 1
                values = (number, *(row[name] for name in _COLUMNS[1:]))
                digest = _digest(digest, values)
                database.execute(_INSERT, (*values, digest))
                added += 1
        return added

    def trials(
        self, *, strategy: str | None = None, data_hash: str | None = None, run: str | None = None
    ) -> list[RecordedTrial]:
        """Return the trials in the order of recording. An empty list without a file."""
        given = {"strategy": strategy, "data_hash": data_hash, "run": run}
        conditions = {name: value for name, value in given.items() if value is not None}
        where = "WHERE " + " AND ".join(f"{name} = ?" for name in conditions) if conditions else ""
        return [_recorded(row) for row in self._select(where, tuple(conditions.values()))]

    def best(self, strategy: str, data_hash: str, objective: str = "sharpe") -> BestOfTrials:
        """Return the trial with the largest objective among all trials of the strategy on this data, whatever its code.

        The deflated Sharpe ratio counts a trial without a Sharpe ratio as 0. Raises BadInput if there is no trial, or
        none with this objective.
        """
        recorded = self.trials(strategy=strategy, data_hash=data_hash)
        if not recorded:
            raise BadInput(f"the ledger has no trial of strategy {strategy} on data {data_hash}")
        names = {name for one in recorded for name in one.trial.objectives}
        if objective not in names:
            found = ", ".join(sorted(names)) or "none"
            raise BadInput(
                f"no trial of {strategy} has the objective {objective!r}{did_you_mean(objective, names)}; found {found}"
            )
        values = [(one.trial.objectives.get(objective), one) for one in recorded]
        defined = [(value, one) for value, one in values if value is not None]
        best = max(defined, key=lambda pair: pair[0])[1] if defined else None
        estimate = None if best is None else best.trial.sharpe
        deflated = None
        if estimate is not None:
            sharpes = [0.0 if one.trial.sharpe is None else one.trial.sharpe.sharpe for one in recorded]
            deflated = deflated_sharpe_ratio(estimate, sharpes)
        return BestOfTrials(objective, len(recorded), best, deflated)

    def verify(self) -> int:
        """Check the digests of all rows and return their number. Raises BadInput with the first one that differs."""
        digest = ""
        rows = self._select()
        for number, (*values, stored) in enumerate(rows, start=1):
            digest = _digest(digest, tuple(values))
            if values[0] != number or stored != digest:
                raise BadInput(
                    f"{self.path}: trial {number} was changed or removed after it was recorded; restore the file from a"
                    " backup"
                )
        return len(rows)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the database with its write lock. The changes are on disk after the block, or undone if it raises."""
        with self._connection() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                if _version(database, self.path) == 0:
                    for statement in (*_TABLES, f"PRAGMA user_version = {VERSION}"):
                        database.execute(statement)
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def _select(self, condition: str = "", values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return rows in the order of recording; none without a file."""
        if not self.path.exists():
            return []
        with self._connection() as database:
            if _version(database, self.path) == 0:
                return []
            return database.execute(f"{_SELECT} {condition} ORDER BY number", values).fetchall()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            with closing(sqlite3.connect(self.path, timeout=self._lock_timeout_s, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous = EXTRA")  # a commit is on disk when it returns
                yield database
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise BadInput(f"{self.path} is not a ledger of trials: {error}") from error
            raise Unavailable(f"cannot use the ledger of trials {self.path}: {error}") from error
        except OSError as error:
            raise Unavailable(f"cannot use the ledger of trials {self.path}: {error.strerror}") from error


def canonical_json(name: str, value: Any) -> str:
    """Return the same text for equal values. Decimals become text. Raises BadInput for what is no JSON value.

    >>> canonical_json("parameters", {"slow": 20, "fast": Decimal("5.0")})
    '{"fast":"5.0","slow":20}'
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_decimal_text)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{name} of a trial must be JSON values: {error}") from None


def _decimal_text(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"found a {type(value).__name__}")


def _version(database: sqlite3.Connection, path: Path) -> int:
    """Return the version of the tables; 0 for an empty file, which a killed process leaves before its first commit."""
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise BadInput(f"{path} has version {version}, this release reads up to {VERSION}; use the newer release")
    if version == 0 and database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise BadInput(f"{path} is not a ledger of trials: it has other tables")
    return version


def _row_of(trial: Trial) -> dict[str, Any]:
    for name, value in trial.objectives.items():
        if value is not None and not math.isfinite(value):
            raise BadInput(f"objective {name} of a trial must be a finite number or None, found {value}")
    estimate = trial.sharpe
    return {
        "trial_id": trial.trial_id,
        "recorded_ns": trial.recorded_ns,
        "user": trial.user,
        "run": trial.run,
        "strategy": trial.strategy,
        "code_hash": trial.code_hash,
        "data_hash": trial.data_hash,
        "settings_hash": trial.settings_hash,
        "parameters": canonical_json("parameters", dict(trial.parameters)),
        "seed": trial.seed,
        "objectives": canonical_json("objectives", dict(trial.objectives)),
        "decision_hash": trial.decision_hash,
        "sharpe": None if estimate is None else estimate.sharpe,
        "observations": None if estimate is None else estimate.observations,
        "skewness": None if estimate is None else estimate.skewness,
        "kurtosis": None if estimate is None else estimate.kurtosis,
    }


def _recorded(row: tuple[Any, ...]) -> RecordedTrial:
    values = dict(zip(_COLUMNS, row[: len(_COLUMNS)], strict=True))
    estimate = None
    moments = {name: values.pop(name) for name in ("sharpe", "observations", "skewness", "kurtosis")}
    if moments["sharpe"] is not None:
        estimate = SharpeEstimate(**moments)
    number, trial_id = values.pop("number"), values.pop("trial_id")
    for name in ("parameters", "objectives"):
        values[name] = json.loads(values[name])
    return RecordedTrial(number, trial_id, Trial(**values, sharpe=estimate))


def _require_same_result(known: RecordedTrial, row: Mapping[str, Any]) -> None:
    if known.trial.decision_hash != row["decision_hash"]:
        raise BadInput(
            f"trial {known.number} has the same strategy, code, data, settings, parameters and seed, and another"
            f" decision hash ({known.trial.decision_hash[:8]}, found {row['decision_hash'][:8]}); a cause of the result"
            " is missing in the hashes"
        )


def _last_row(database: sqlite3.Connection) -> tuple[int, str]:
    """Return the number and the digest of the last row; 0 and "" without one."""
    row = database.execute("SELECT number, digest FROM trials ORDER BY number DESC LIMIT 1").fetchone()
    return (0, "") if row is None else (row[0], row[1])


def _digest(previous: str, values: tuple[Any, ...]) -> str:
    return sha256(f"{previous}\n{json.dumps(values)}".encode()).hexdigest()

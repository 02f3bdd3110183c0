"""The SEC's companyfacts file as a file of a tape: `AAPL.json` holds the filings of AAPL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from dataflows.sources.rows import RowRules
from dataflows.sources.tape.fields import start_of_day_ns
from dataflows.sources.tape.rules import FUNDAMENTALS
from dataflows.sources.tape.tape_file import TapeFile, TapeRow
from operators.fundamentals import filings
from schemas.errors import BadInput, InvalidField

COMPANY_FACTS_ENDING = ".json"


class CompanyFactsFile:
    """Filings of one company, known from the end of the day of filing. The file is read whole. Raises BadInput."""

    kind = FUNDAMENTALS

    def __init__(self, path: Path) -> None:
        self.path = path
        self._symbol = path.name[: -len(COMPANY_FACTS_ENDING)].split("_")[0]
        if not path.is_file():
            raise BadInput(f"file {path} does not exist")
        if self._symbol.upper().startswith("CIK"):
            raise BadInput(f"file {path} must be named after its symbol, such as AAPL{COMPANY_FACTS_ENDING}")

    def rows(self) -> Iterator[TapeRow]:
        try:
            company_filings = filings(json.loads(self.path.read_bytes()), self._symbol)
        except (InvalidField, ValueError) as error:
            raise BadInput(
                f"file {self.path} is not a companyfacts file of the SEC: {' '.join(str(error).split())}"
            ) from error
        for number, record in enumerate(company_filings, 1):
            time_ns = start_of_day_ns(record.filed, days_later=1)
            yield TapeRow(time_ns, number, record._replace(ts_ns=time_ns))


def open_fundamentals(path: Path, rules: RowRules) -> TapeFile | CompanyFactsFile:
    """Open a file by its name: companyfacts, or rows. Raises BadInput."""
    if path.name.lower().endswith(COMPANY_FACTS_ENDING):
        return CompanyFactsFile(path)
    return TapeFile(path, FUNDAMENTALS, rules, lambda text: [])

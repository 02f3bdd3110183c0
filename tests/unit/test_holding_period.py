"""Holding periods: the day rules of the IRS, with leap days."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.ledger.holding_period import first_long_term_day, is_long_term

# Acquired, last short-term day of a sale, first long-term day.
CASES = """
2008-02-05  2009-02-05  2009-02-06   the example of Pub. 550: bought on 5 February
2023-01-10  2024-01-10  2024-01-11   an ordinary day, 29 February in between
2023-02-27  2024-02-27  2024-02-28   the day before the last of the month
2023-02-28  2024-02-29  2024-03-01   last day of the month: its month ends on 29 February (Rev. Rul. 66-7)
2024-02-28  2025-02-28  2025-03-01   the holding period begins on 29 February, and no such day follows
2024-02-29  2025-02-28  2025-03-01   acquired on 29 February
2024-03-01  2025-03-01  2025-03-02   the day after it
2027-02-28  2028-02-29  2028-03-01   the next leap year
2023-12-31  2024-12-31  2025-01-01   over the turn of a year
"""


@pytest.mark.parametrize("line", CASES.strip().splitlines())
def test_long_term_is_more_than_one_year_from_the_day_after_the_acquisition(line: str) -> None:
    acquired, last_short, first_long = map(date.fromisoformat, line.split()[:3])
    assert not is_long_term(acquired, last_short)
    assert is_long_term(acquired, first_long)
    assert first_long_term_day(acquired) == first_long


@given(st.dates(date(1950, 1, 1), date(2150, 1, 1)))
def test_a_later_acquisition_is_never_long_term_earlier(acquired: date) -> None:
    later = acquired + timedelta(days=1)
    first, next_first = first_long_term_day(acquired), first_long_term_day(later)
    assert first <= next_first
    assert 366 <= (first - acquired).days <= 367

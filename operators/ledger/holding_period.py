"""The day rules of holding periods: IRS Pub. 550, "Holding Period", and Rev. Rul. 66-7."""

from __future__ import annotations

from datetime import date, timedelta


def first_long_term_day(acquired: date) -> date:
    """Return the first day on which the sale of property acquired on `acquired` is long-term.

    The holding period begins on the day after the acquisition and includes the day of the sale; long-term is more than
    one year. Each month begins on the same day of the month. Property acquired on the last day of a month is therefore
    long-term from the first day of the thirteenth month after it, whether or not 29 February exists:

    >>> first_long_term_day(date(2008, 2, 5)), first_long_term_day(date(2023, 2, 28))
    (datetime.date(2009, 2, 6), datetime.date(2024, 3, 1))
    >>> first_long_term_day(date(2024, 2, 28)) == first_long_term_day(date(2024, 2, 29)) == date(2025, 3, 1)
    True
    """
    start = acquired + timedelta(days=1)
    if (start.month, start.day) == (2, 29):
        return date(start.year + 1, 3, 1)
    return start.replace(year=start.year + 1)


def is_long_term(acquired: date, sold: date) -> bool:
    """Whether a sale on `sold` is long-term. After a wash sale, `acquired` is the shifted date of acquisition."""
    return sold >= first_long_term_day(acquired)

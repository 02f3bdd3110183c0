"""Command line options that say how bar files are read. They set the keys of `market_data.files`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

CalendarName = Annotated[str | None, typer.Option(help="Trading calendar: XNYS or 24/7.")]
SessionChoice = Annotated[
    str | None, typer.Option(help="Sessions to read: regular, extended with pre- and post-market, or auto.")
]
Timezone = Annotated[str | None, typer.Option(help="IANA time zone of times without a zone.")]
Interval = Annotated[
    str | None,
    typer.Option(help="Length of a bar: 1m, 5m, 15m, 30m, 1h, 1d, or auto to recognize it from the rows."),
]
Symbol = Annotated[str | None, typer.Option(help="Symbol of the files without a symbol column.")]
DateOrder = Annotated[str | None, typer.Option(help="Order of dates such as 01/02/2024: mdy, dmy or auto.")]
DecimalMark = Annotated[str | None, typer.Option("--decimal", help="Decimal mark of the numbers: . or ,")]
Volume = Annotated[
    str | None, typer.Option(help="reported, or none if the files have no volume: every row then counts as traded.")
]
TimeIs = Annotated[str | None, typer.Option(help="What the time of a row is: the open or the close of its bar.")]


def feed_values(options: dict[str, str | None], interval: str | None) -> dict[str, Any]:
    """Return the values of `market_data.files` that the options set."""
    values: dict[str, Any] = {name: text for name, text in options.items() if text is not None}
    if interval is not None:
        values |= {"bar_interval": interval, "bar_interval_s": None}
    return values

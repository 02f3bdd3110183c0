"""The frame of a page: head, style, title, warnings and sections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dataflows.research.html_report.number_formats import escaped
from dataflows.research.html_report.style import STYLE
from schemas.errors import BadInput


class ReportSection(NamedTuple):
    """A section of a report. A section with an empty body is left out."""

    anchor: str
    title: str
    body: str


def html_page(title: str, introduction: str, sections: Sequence[ReportSection]) -> str:
    """Return a complete page."""
    shown = [section for section in sections if section.body]
    links = "".join(f'<a href="#{section.anchor}">{escaped(section.title)}</a> ' for section in shown)
    body = "".join(
        f'<section id="{section.anchor}"><h2>{escaped(section.title)}</h2>{section.body}</section>\n'
        for section in shown
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(title)}</title>\n<style>{STYLE}</style></head><body>\n<h1>{escaped(title)}</h1>\n"
        f"{introduction}<nav>{links}</nav>\n{body}</body></html>\n"
    )


def write_page(page: str, path: str | Path) -> None:
    """Write a page to a file. Raises BadInput."""
    try:
        Path(path).write_text(page, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write the report {path}: {error.strerror or error}") from error


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, wrapped: Sequence[int] = ()) -> str:
    """Return a table of texts. The columns `wrapped` hold long texts, which may use several lines."""
    if not rows:
        return ""
    head = "".join(
        f'<th class="text">{escaped(text)}</th>' if number in wrapped else f"<th>{escaped(text)}</th>"
        for number, text in enumerate(headings)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="wrap">{escaped(cell)}</td>' if number in wrapped else f"<td>{escaped(cell)}</td>"
            for number, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph; `kind` is a class of the style sheet."""
    return f'<p class="{kind}">{escaped(text)}</p>' if kind else f"<p>{escaped(text)}</p>"


def warning_box(sentences: Sequence[str]) -> str:
    """Return a box of warnings; empty without one."""
    items = "".join(f"<li>{escaped(sentence)}</li>" for sentence in sentences)
    return f'<div class="warnings"><b>Warnings</b><ul>{items}</ul></div>' if sentences else ""

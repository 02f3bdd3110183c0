"""docs/settings.md describes every setting. Each setting has a meaning in the docstring of its class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, SecretStr

from configs.settings import Settings, load_settings
from configs.settings.fields import Meaning, key_types, meanings, sections_in
from configs.settings.sections import Duration, Section
from deploy.testing.settings_page import PAGE, PageSection, describe_type, render_page, render_section, sections


def classes_of(section: type) -> Iterator[type]:
    yield section
    for annotation in key_types(section).values():
        for inner in sections_in(annotation):
            yield from classes_of(inner)


CLASSES = sorted(set(classes_of(Settings)), key=lambda cls: f"{cls.__module__}.{cls.__qualname__}")


class Described(Section):
    """Two settings. Raises BadInput for a value out of range.

    size     [units] size of the
             thing | box; None: no limit
    token    what opens it
    """

    size: Annotated[int, Field(ge=1, le=9)] | None = 3
    token: SecretStr = SecretStr("do not print")


class Undescribed(Described):
    colour: str = "red"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule.

    name   name of the rule
    value  value of the rule
    """

    name: str
    value: Decimal = Decimal(2)


class Rules(Section):
    """Rules.

    rules  the rules
    """

    rules: tuple[Rule, ...] = (Rule(name="a"), Rule(name="b", value=Decimal(3)))


def test_the_committed_page_is_what_the_script_writes() -> None:
    assert PAGE.read_text() == render_page(), "run `python -m deploy.testing.settings_page`"


@pytest.mark.parametrize("section", CLASSES, ids=lambda cls: cls.__name__)
def test_the_docstring_describes_exactly_the_settings_of_the_class(section: type) -> None:
    described = meanings(section)
    assert described.keys() == key_types(section).keys(), f"docstring of {section.__name__}"


def test_each_class_of_the_settings_has_one_section_on_the_page() -> None:
    all_sections = list(sections("", Settings, load_settings(environment={}), set()))
    titles = [f"## {part.path or 'All parts'}" for part in all_sections]
    assert len(set(titles)) == len(titles)
    assert {part.cls for part in all_sections} == set(CLASSES)
    headings = [line for line in PAGE.read_text().splitlines() if line.startswith("## ")]
    assert [heading for heading in headings if heading in titles] == titles


def test_a_section_is_a_table_of_its_settings() -> None:
    assert render_section(PageSection("box", Described, Described()), {}).splitlines() == [
        "## box",
        "",
        "Two settings.",
        "",
        "| key | type | default | unit | meaning |",
        "|---|---|---|---|---|",
        r"| `size` | whole number >= 1 and <= 9 or unset | `3` | units | Size of the thing \| box; unset: no limit. |",
        "| `token` | secret | not shown |  | What opens it. |",
    ]


def test_defaults_of_a_list_of_sections_show_what_differs_from_the_class() -> None:
    page = render_section(PageSection("all", Rules, Rules()), {Rule: "all.rules[]"})
    assert "| list of [`all.rules[]`](#allrules) | `[{name: a}, {name: b, value: 3}]` |" in page
    entry = render_section(PageSection("all.rules[]", Rule, None), {})
    assert "| `name` | text | required |" in entry
    assert "| `value` | number | `2` |" in entry


def test_a_setting_without_a_meaning_stops_the_script() -> None:
    with pytest.raises(KeyError, match=r"box\.colour has no meaning in the docstring of Undescribed"):
        render_section(PageSection("box", Undescribed, Undescribed()), {})


def test_units_come_from_the_name_or_the_brackets() -> None:
    described = {cls.__name__: meanings(cls) for cls in CLASSES}
    assert described["LiveFeedSection"]["clock_ms"].unit == "milliseconds"
    assert described["VenueSettings"]["slippage_bps"].unit == "basis points"
    assert described["RiskSettings"]["max_day_trades"].unit == "day trades"
    assert described["FileFeedSection"]["symbol"] == Meaning(
        "symbol of the files without a symbol column; None: from the file name", ""
    )


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Literal["a", "b"] | None, "`a`, `b` or unset"),
        (tuple[Annotated[int, Field(ge=1)], ...], "list of whole number >= 1"),
        (dict[str, Path], "mapping of text to path"),
        (Duration, "duration >= 1"),
        (Annotated[Decimal, Field(gt=0, lt=1)] | Literal["unlimited"], "number > 0 and < 1 or `unlimited`"),
    ],
)
def test_types_read_as_plain_words(annotation: object, text: str) -> None:
    assert describe_type(annotation) == text

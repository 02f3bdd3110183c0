"""Write docs/features.md from docs/features.yaml: `python -m deploy.testing.features_page`."""

from __future__ import annotations

import re
import sys
from itertools import groupby
from textwrap import wrap
from typing import Any, NamedTuple

from configs.yaml_text import parse_yaml
from deploy.home import REPOSITORY

SOURCE = REPOSITORY / "docs" / "features.yaml"
PAGE = REPOSITORY / "docs" / "features.md"
WIDTH = 118
_CODE = re.compile(r"`[^`]+`")
_NO_BREAK_SPACE = "\xa0"
INTRODUCTION = """\
<!-- Written by `python -m deploy.testing.features_page` from features.yaml: edit that file. -->

# Features

This page lists the features of the product's brief in the order of the brief: where each one is, which tests show it,
and its limits: what is less than the brief asks for. "Not there" means that the feature does not exist.

To run one test, pass its name: `python cli.py test tests/unit/test_ledger.py::TEST`. `tests/unit/test_features_doc.py`
checks that all named files, commands, endpoints and tests exist, that every feature has a test or a reason for having
none, and that every dataflow, required command, alert and dashboard is listed.
"""


class Feature(NamedTuple):
    """One row of features.yaml.

    area     heading on the page
    feature  one short sentence
    where    paths, commands (`python cli.py …`) and endpoints (`METHOD /path`)
    tests    `path::test`
    limits   what is not there, or less than the brief asks for, in sentences
    """

    area: str
    feature: str
    where: tuple[str, ...]
    tests: tuple[str, ...]
    limits: tuple[str, ...]


def read_features(text: str) -> list[Feature]:
    """Raises KeyError or TypeError for a missing or unknown key, ValueError for a value that is not text."""
    features = []
    for row in parse_yaml(text)["rows"]:
        fields: dict[str, Any] = row | {name: tuple(row[name]) for name in ("where", "tests", "limits")}
        feature = Feature(**fields)
        for value in (feature.area, feature.feature, *feature.where, *feature.tests, *feature.limits):
            if not isinstance(value, str):
                raise ValueError(f"{feature.feature}: expected text, found {value!r}")
        features.append(feature)
    return features


def render_page(text: str) -> str:
    """The page for the content of features.yaml."""
    notes: dict[str, str] = parse_yaml(text)["notes"]
    blocks = [INTRODUCTION.rstrip()]
    for area, features in groupby(read_features(text), key=lambda feature: feature.area):
        blocks.append(f"## {area}")
        if area in notes:
            blocks.append("\n".join(wrap(notes[area], WIDTH, break_on_hyphens=False)))
        blocks += [render_feature(feature) for feature in features]
    return "\n\n".join(blocks) + "\n"


def render_feature(feature: Feature) -> str:
    """
    >>> print(render_feature(Feature("API", "It pings.", ("api/app.py", "GET /ping"), (), ("No pong.",))))
    **It pings.**
    <BLANKLINE>
    - Where: `api/app.py`, `GET /ping`
    - Limits: No pong.
    """
    where = ", ".join(f"`{place}`" for place in feature.where)
    lines = [f"**{feature.feature}**", "", *_wrap_item(f"Where: {where}")]
    lines += _render_list("Tests:", [f"`{test}`" for test in feature.tests])
    lines += _render_list("Limits:", list(feature.limits))
    return "\n".join(lines)


def _render_list(label: str, entries: list[str]) -> list[str]:
    """A list entry for one text, a nested list for several, nothing for none."""
    if len(entries) == 1:
        return _wrap_item(f"{label} {entries[0]}")
    lines = [f"- {label}"] if entries else []
    for entry in entries:
        lines += _wrap_item(entry, indent="  ")
    return lines


def _wrap_item(text: str, indent: str = "") -> list[str]:
    # A command in backticks stays on one line: its spaces are no-break spaces while the text is wrapped.
    lines = wrap(
        _CODE.sub(lambda code: code[0].replace(" ", _NO_BREAK_SPACE), text),
        WIDTH,
        initial_indent=f"{indent}- ",
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_NO_BREAK_SPACE, " ") for line in lines]


def main() -> None:
    PAGE.write_text(render_page(SOURCE.read_text()))
    print(f"wrote {PAGE.relative_to(REPOSITORY)}", file=sys.stderr)


if __name__ == "__main__":
    main()

"""docs/research-reference.md describes every name of the research API as its docstring does."""

from __future__ import annotations

import pytest

from dataflows import research
from deploy.testing.research_page import PAGE, render_entry, render_page


class Sized:
    """Has a size."""

    @property
    def size(self) -> int:
        """The size in units."""
        return 1

    def grow(self, units: int, *, twice: bool = False) -> Sized:
        """Return a larger one."""
        return self


def test_the_page_is_that_of_the_docstrings() -> None:
    assert PAGE.read_text() == render_page(), "run `python -m deploy.testing.research_page`"


def test_every_exported_name_has_an_entry() -> None:
    page = PAGE.read_text()
    assert [name for name in research.__all__ if f"### `{name}`\n" not in page] == []


def test_an_entry_has_the_signature_and_docstring_of_each_public_member() -> None:
    text = "\n".join(render_entry("Sized", Sized))
    assert "Sized.size\n```\n```text\nThe size in units." in text
    assert "Sized.grow(units: int, *, twice: bool = False) -> Sized\n" in text


def test_a_name_without_a_docstring_is_an_error() -> None:
    def undescribed() -> None: ...

    with pytest.raises(ValueError, match="undescribed has no docstring"):
        list(render_entry("undescribed", undescribed))
